#!/usr/bin/env python3
"""Memory, files, threads and children of a server under mixed traffic: are they flat, and back at the end?

Needs FIREBOX (the binary); MINUTES (10); MINILM (an encoder's folder; without it nothing is embedded). `benches/run
soak` sets them. Exit code 1 when something grew, did not come back, or answered what it should not.
"""
import collections
import json
import os
import pathlib
import random
import statistics
import sys
import threading
import time

from measure import heading, table
from servers import Firebox, tenant
from soak_traffic import TASKS, Client

MINUTES = float(os.environ.get("MINUTES", "10"))
CLIENTS = 6
PERIOD_SECONDS = 5
# Of keys and values, of which ended sequences may keep half. Little, so that this half is full when the warm-up is over: with
# more it goes up and down for an hour with what happens to be kept, and hides what leaks.
CACHE = "32MiB"
# Caches fill for a while: kept prefixes, pools of instances and connections, the allocator's own, pages of the models.
WARM_UP_SECONDS = 120
MINUTES_MIN = 4
# Of resident memory from the first minute after the warm-up to the last one.
GROWTH_MAX = 0.05
# Idle connections and the threads of a pool live for some time after the last request.
QUIET_SECONDS = 60
FIRST_SECONDS = 20
# More at rest than before that is no leak: threads for guests that compute for long are made when one first does.
LATE = {"files": 4, "threads": 2, "children": 0}
SEED = 1


def config():
    """Two tenants: one whose tools are plugins, one whose tools are an MCP server's, over standard input and output."""
    firebox = json.dumps(os.environ["FIREBOX"])
    tables = [f'[[model]]\nname = "ember"\ndevice = "cpu"\ncache_bytes = "{CACHE}"\n']
    if "MINILM" in os.environ:
        tables.append(f'[[model]]\nname = "minilm"\npath = "{os.environ["MINILM"]}"\ndevice = "cpu"\n')
    tables += [
        '[[plugin]]\nname = "redact"\nconfig = { restore = true }\n',
        f'[[mcp.server]]\nname = "units"\ncommand = [{firebox}, "mcp", "serve", "--plugin", "units"]\n'
        'env_pass = ["PATH", "HOME", "FIREBOX_CACHE", "XDG_CACHE_HOME"]\nrequired = true\n',
        '[sessions]\npath = "sessions.db"\n[audit]\npath = "audit.jsonl"\n',
        tenant(0, ["redact", "calculator", "text-tools"]),
        tenant(1, ["redact"], 'mcp_servers = ["units"]\nweight = 2'),
    ]
    return "".join(tables)


def children(pid):
    """Processes that `pid` started, theirs included."""
    parents = {}
    for file in pathlib.Path("/proc").glob("[0-9]*/stat"):
        if text := read(file):
            # The name before it is in brackets and may hold anything.
            parents[int(file.parent.name)] = int(text.rsplit(")", 1)[1].split()[1])
    found = {pid}
    while below := {child for child, parent in parents.items() if parent in found} - found:
        found |= below
    return sorted(found - {pid})


def read(path):
    """Empty where the process or thread has just ended."""
    try:
        return path.read_text()
    except OSError:
        return ""


def sample(pid):
    status = dict(line.split(":", 1) for line in read(pathlib.Path(f"/proc/{pid}/status")).splitlines())
    kib = lambda name: int(status[name].split()[0])
    return {"rss_kib": kib("VmRSS"), "anonymous_kib": kib("RssAnon"), "threads": int(status["Threads"]),
            "files": len(os.listdir(f"/proc/{pid}/fd")), "children": len(children(pid))}


class Traffic:
    """Clients that do tasks, drawn with a seed, until they are told to stop."""

    def __init__(self, server):
        self.server, self.stop = server, threading.Event()
        self.done, self.wrong, self.lock = collections.Counter(), [], threading.Lock()
        self.tasks = [task for task in TASKS if task.__name__ != "embeddings" or "MINILM" in os.environ]

    def one(self, client, task):
        try:
            task(client)
        except Exception as error:  # whatever it is, it is an answer that should not have been
            with self.lock:
                self.wrong.append(f"{task.__name__}: {type(error).__name__}: {error}")
        with self.lock:
            self.done[task.__name__] += 1

    def run(self, number):
        chance = random.Random(SEED + number)
        client = Client(self.server, number % 2, chance)
        while not self.stop.is_set() and len(self.wrong) < 100:
            self.one(client, chance.choice(self.tasks))
        client.close()

    def start(self):
        self.stop.clear()
        self.threads = [threading.Thread(target=self.run, args=(number,)) for number in range(CLIENTS)]
        [thread.start() for thread in self.threads]

    def end(self):
        self.stop.set()
        [thread.join() for thread in self.threads]


def watch(pid, seconds):
    """Samples with the time of each, in seconds from the start."""
    began, rows = time.monotonic(), []
    while (at := time.monotonic() - began) < seconds:
        rows.append({"at": at, **sample(pid)})
        time.sleep(max(0, PERIOD_SECONDS - (time.monotonic() - began) % PERIOD_SECONDS))
    return rows


def quiet(pid, before):
    """The server at rest: waits until nothing is more than `before` says, or the time is over."""
    ends = time.monotonic() + QUIET_SECONDS
    while True:
        rest = sample(pid)
        if all(rest[what] <= before[what] for what in LATE):
            return rest
        if time.monotonic() > ends:
            return rest
        time.sleep(1)


def slope(rows):
    """KiB a minute of resident memory, by least squares."""
    times, sizes = [row["at"] / 60 for row in rows], [row["rss_kib"] for row in rows]
    return statistics.linear_regression(times, sizes).slope if len(rows) > 1 else 0.0


def judge(rows, before, after, wrong):
    """Prints what was seen; returns what is wrong with it."""
    end, minute = MINUTES * 60, 60
    warm = [row for row in rows if row["at"] >= WARM_UP_SECONDS]
    spans = {
        "the first minute": [row for row in rows if row["at"] < minute],
        "the minute after warm-up": [row for row in warm if row["at"] < WARM_UP_SECONDS + minute],
        "the last minute": [row for row in rows if row["at"] >= end - minute],
    }
    names = ["rss_kib", "anonymous_kib", "files", "threads", "children"]
    median = {span: {name: statistics.median(row[name] for row in of) for name in names} for span, of in spans.items()}
    show = lambda values: [f"{values[name]:.0f}" for name in names]
    table(["", "resident KiB", "of that anonymous", "open files", "threads", "children"],
          [["at rest, before", *show(before)], *([span, *show(values)] for span, values in median.items()),
           ["at rest, after", *show(after)]])
    first, last = (median[span]["rss_kib"] for span in ("the minute after warm-up", "the last minute"))
    print(f"resident memory after the warm-up: {last - first:+.0f} KiB ({(last / first - 1) * 100:+.2f} %, at most "
          f"{GROWTH_MAX * 100:.0f} %), {slope(warm):+.1f} KiB/min\n")
    found = [f"{len(wrong)} answers were wrong; {', '.join(sorted(set(wrong))[:10])}"] if wrong else []
    if last > first * (1 + GROWTH_MAX):
        found.append(f"resident memory grew from {first:.0f} to {last:.0f} KiB")
    return found + [f"{after[name]} {name} at rest, {before[name]} before" for name, late in LATE.items()
                    if after[name] > before[name] + late]


def main():
    if MINUTES < MINUTES_MIN:
        sys.exit(f"MINUTES is \"{MINUTES:g}\"; say at least {MINUTES_MIN}, since memory settles for 2 minutes")
    heading(f"soak: {MINUTES:g} minutes, {CLIENTS} clients, 2 tenants")
    with Firebox(config()) as server:
        traffic = Traffic(server)
        # Threads, connections and files that are made at their first use, and stay, are there afterwards.
        traffic.start()
        time.sleep(FIRST_SECONDS)
        traffic.end()
        time.sleep(FIRST_SECONDS)
        before = sample(server.process.pid)
        traffic.start()
        rows = watch(server.process.pid, MINUTES * 60)
        traffic.end()
        after = quiet(server.process.pid, before)
        left = children(server.process.pid)
        code = server.end()
    found = judge(rows, before, after, traffic.wrong)
    print("tasks: " + ", ".join(f"{name} {count}" for name, count in sorted(traffic.done.items())) + "\n", flush=True)
    found += [f"the server ended with {code}"] if code else []
    found += [f"the child {pid} outlived the server" for pid in left if pathlib.Path(f"/proc/{pid}").exists()]
    if found:
        sys.exit("soak: " + "; ".join(found))


if __name__ == "__main__":
    main()
