#!/usr/bin/env python3
"""Measures how much one tenant slows down another that floods the server, or whose plugin never ends.

A light tenant asks, waits for its answer, and pauses for three times as long as an answer takes alone: it wants a quarter of
the machine. Its answers are measured alone, then while a second tenant keeps 16 long requests in the server, then while the
second tenant keeps 16 requests in it whose plugin computes until its limits end it. A round measures all of these once, so that
a change of the machine's speed affects each of them. The first answer of a new server is measured in the same way.

Needs FIREBOX (the binary), CLIENT (the binary of `benches/client.rs`) and the Python package `wasmtime`, which assembles
the plugin. MODEL names the folder of a larger model; without it only the built-in model is measured. `benches/run isolation`
sets all of them. If RAW names a file, every answer is appended to it: one line of JSON for each model.
"""
import json
import os
import pathlib
import random
import re
import subprocess
import tempfile
import time

import wasmtime

from measure import heading, table
from servers import ROOT, Firebox, config, elsewhere, key, tenant

MODEL = os.environ.get("MODEL")
REQUESTS = int(os.environ.get("REQUESTS", "400"))
ROUNDS = int(os.environ.get("ROUNDS", "20"))
# Answers of the larger model. Each takes seconds.
LARGER = int(os.environ.get("LARGER", "16"))
SERVERS = int(os.environ.get("SERVERS", "5"))
OTHERS = 16
RESAMPLES = 1000
PROMPT, DECODE = 128, 32
TEXT = "Measured twice and cut once, the plank fits; " * 20
LIGHT, FLOOD, LOOP = range(3)
# The second tenant, and the tokens of its answers.
LOADS = {"alone": None, "during a flood": (FLOOD, 256), "during endless plugins": (LOOP, 64)}
# The parts of a round.
PARTS = ["alone", "during a flood", "alone", "during endless plugins"]
# Seconds after which cancelled requests are gone.
LEAVING = 3


def looping_plugin(folder):
    """The guest `spin` of the sandbox's own tests as a component."""
    guests = ROOT.parent / "host/sandbox/tests/guests"
    text = (guests / "text.shell.wat").read_text().split("\n", 1)[1]
    core = (guests / "spin.wat").read_text().split(";;; core\n", 1)[1]
    core += '(func (export "finish") (result i32) (call $string (i32.const 0) (i32.const 0) (i32.const 0)))'
    file = pathlib.Path(folder) / "loop.wasm"
    file.write_bytes(wasmtime.wat2wasm(re.sub("@[a-z-]+@", "", text.replace("@core@", core))))
    return file


def three_tenants(model, plugin):
    looping = f'[[plugin]]\nname = "loop"\nsource = "{plugin}"\n'
    return config(model, tenants=2) + looping + tenant(LOOP, plugins=["loop"])


def client(server, who, prompt, tokens, *what):
    """The command line of the client, as tenant `who`."""
    body = {"model": server.model, "prompt": f"000000 {TEXT}"[:prompt], "stream": True, "temperature": 0,
            "max_tokens": tokens, "stream_options": {"include_usage": True}, **server.body}
    host, port = server.address
    return [os.environ["CLIENT"], f"{host}:{port}", f"Bearer {key(who)}", json.dumps(body), *map(str, what)]


def aside():
    """Gives the calling process only CPU time that no other process wants."""
    os.sched_setscheduler(0, os.SCHED_IDLE, os.sched_param(0))


class Others:
    """Keeps OTHERS requests of one tenant in the server until the end of the block."""

    def __init__(self, server, who):
        self.process, self.ended = None, 0
        if who:
            # Real clients run on other machines, so the CPU time of this one must not slow the server down.
            self.process = subprocess.Popen(client(server, who[0], 512, who[1], "crowd", OTHERS), stdin=subprocess.PIPE,
                                            stdout=subprocess.PIPE, text=True, preexec_fn=aside)

    def __enter__(self):
        if self.process:
            time.sleep(0.5)
        return self

    def __exit__(self, *_):
        if self.process:
            said, _ = self.process.communicate(timeout=60)
            self.ended = int(said)
            time.sleep(LEAVING)


def ask(server, first, count, pause):
    """Asks `count` times, one request after the other. The total time, the time to the first token and the time in the model, in
    ms, of each."""
    command = client(server, LIGHT, PROMPT, DECODE, "ask", first, count, pause * 1e3)
    said = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True, preexec_fn=elsewhere).stdout
    return [dict(zip(("all", "first", "model"), map(float, line.split()))) for line in said.splitlines()]


def at(values, part):
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(part * len(ordered)))]


def measure(model, requests, rounds):
    with tempfile.TemporaryDirectory() as folder, Firebox(three_tenants(model, looping_plugin(folder))) as server:
        pause = 3 * at([one["all"] for one in ask(server, 0, 10, 0)][2:], 0.5) / 1e3
        times, ended = {what: [] for what in LOADS}, dict.fromkeys(LOADS, 0)
        first = 10
        for _ in range(rounds):
            for what in PARTS:
                count = max(requests // rounds // PARTS.count(what), 1)
                with Others(server, LOADS[what]) as others:
                    times[what] += ask(server, first, count, pause)
                ended[what] += others.ended
                first += count
        return times, ended


def first_answers(model):
    """The first answer of the light tenant from a new server, in ms: SERVERS servers for each load, one load after the other."""
    times = {what: [] for what in LOADS}
    with tempfile.TemporaryDirectory() as folder:
        plugin = looping_plugin(folder)
        for _ in range(SERVERS):
            for what, who in LOADS.items():
                with Firebox(three_tenants(model, plugin)) as server, Others(server, who):
                    times[what] += [one["all"] for one in ask(server, 0, 1, 0)]
    return times


def spread(done, alone):
    """The change of the p99 against `alone` in 90 of 100 resamples (bootstrap, Efron 1979), in percent. A p99 depends on few
    answers, so one run is less exact than its digits suggest."""
    one = lambda values: at(random.choices(values, k=len(values)), 0.99)
    ratios = [100 * (one(done) / one(alone) - 1) for _ in range(RESAMPLES)]
    return f"{at(ratios, 0.05):+.1f} to {at(ratios, 0.95):+.1f} %"


def rows(times, ended):
    before, alone = None, [one["all"] for one in next(iter(times.values()))]
    for what, done in times.items():
        own = [at([one[kind] for one in done], part) for kind in ("all", "model") for part in (0.5, 0.99)]
        before = before or own
        moved = [f"{now:.1f} ({100 * (now / then - 1):+.1f} %)" for now, then in zip(own, before)]
        first = [at([one["first"] for one in done], part) for part in (0.5, 0.99)]
        moved.insert(2, spread([one["all"] for one in done], alone))
        yield [what, *moved, f"{first[0]:.1f} / {first[1]:.1f}", str(ended[what])]


def saved(what, times, ended):
    if "RAW" in os.environ:
        with open(os.environ["RAW"], "a", encoding="utf-8") as file:
            print(json.dumps({"model": what, "times": times, "ended": ended}), file=file)
    return times, ended


def main():
    larger = [(MODEL, LARGER, max(LARGER // 8, 1))] if MODEL else []
    for model, requests, rounds in [(None, REQUESTS, ROUNDS)] + larger:
        what = pathlib.Path(model).name if model else "ember"
        heading(f"isolation: {what}, {PROMPT} + {DECODE} tokens, {requests} answers in {rounds} rounds, {OTHERS} requests of the second tenant")
        table(["answers of the light tenant", "p50, ms", "p99, ms", "in 90 of 100 resamples", "time in the model, p50", "p99", "first token, ms, p50 / p99", "ended answers of the second tenant"],
              list(rows(*saved(what, *measure(model, requests, rounds)))))
        heading(f"isolation: {what}, the first answer of a new server, {SERVERS} servers of each kind")
        table(["its first answer, ms", "median", "slowest"],
              [[what, f"{at(done, 0.5):.1f}", f"{max(done):.1f}"] for what, done in first_answers(model).items()])


if __name__ == "__main__":
    main()
