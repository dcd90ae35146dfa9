#!/usr/bin/env python3
"""What one tenant notices of another that floods, or whose plugin loops for ever.

A modest tenant asks, waits for its answer, and pauses for three times as long as an answer takes alone, so that it wants
a quarter of the machine. It is measured with nobody else there, beside a tenant that keeps 16 long requests in the server
at all times, and beside one that keeps 16 requests in it whose plugin loops until its limits end it, from the moment these
come; in turns, so that a machine that drifts drifts for all, and alone in between. And the first answer of a new server,
likewise.

Needs FIREBOX (the binary), CLIENT (that of `benches/client.rs`) and the Python package `wasmtime`, which assembles the
plugin; MODEL (a folder; without it only the built-in model is measured). `benches/run isolation` sets all. With RAW, a
file, every answer is kept there, a line of JSON for each model.
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
# Answers of the larger model, which take seconds.
LARGER = int(os.environ.get("LARGER", "16"))
SERVERS = int(os.environ.get("SERVERS", "5"))
OTHERS = 16
RESAMPLES = 1000
PROMPT, DECODE = 128, 32
TEXT = "Measured twice and cut once, the plank fits; " * 20
MODEST, FLOOD, LOOP = range(3)
# Who else is there: tenant and tokens of its answers.
BESIDE = {"alone": None, "beside a flood": (FLOOD, 256), "beside looping plugins": (LOOP, 64)}
# The parts of a round.
PARTS = ["alone", "beside a flood", "alone", "beside looping plugins"]
# Seconds for those who left to be gone.
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
    """The light client's command line, as tenant `who`."""
    body = {"model": server.model, "prompt": f"000000 {TEXT}"[:prompt], "stream": True, "temperature": 0,
            "max_tokens": tokens, "stream_options": {"include_usage": True}, **server.body}
    host, port = server.address
    return [os.environ["CLIENT"], f"{host}:{port}", f"Bearer {key(who)}", json.dumps(body), *map(str, what)]


def aside():
    """The calling process computes where nobody else wants to."""
    os.sched_setscheduler(0, os.SCHED_IDLE, os.sched_param(0))


class Others:
    """So many requests of one tenant at all times, until the end of the block."""

    def __init__(self, server, who):
        self.process, self.ended = None, 0
        if who:
            # These clients would be on other machines: what they compute is not the server's to hold off.
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
    """Answers one after the other, each with the time it took in all, to its first token and in the model, in ms."""
    command = client(server, MODEST, PROMPT, DECODE, "ask", first, count, pause * 1e3)
    said = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True, preexec_fn=elsewhere).stdout
    return [dict(zip(("all", "first", "model"), map(float, line.split()))) for line in said.splitlines()]


def at(values, part):
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(part * len(ordered)))]


def measure(model, requests, rounds):
    with tempfile.TemporaryDirectory() as folder, Firebox(three_tenants(model, looping_plugin(folder))) as server:
        pause = 3 * at([one["all"] for one in ask(server, 0, 10, 0)][2:], 0.5) / 1e3
        times, ended = {what: [] for what in BESIDE}, dict.fromkeys(BESIDE, 0)
        first = 10
        for _ in range(rounds):
            for what in PARTS:
                count = max(requests // rounds // PARTS.count(what), 1)
                with Others(server, BESIDE[what]) as others:
                    times[what] += ask(server, first, count, pause)
                ended[what] += others.ended
                first += count
        return times, ended


def first_answers(model):
    """The first answer that anybody but the other gets of a new server, in ms: SERVERS of each kind, in turns."""
    times = {what: [] for what in BESIDE}
    with tempfile.TemporaryDirectory() as folder:
        plugin = looping_plugin(folder)
        for _ in range(SERVERS):
            for what, who in BESIDE.items():
                with Firebox(three_tenants(model, plugin)) as server, Others(server, who):
                    times[what] += [one["all"] for one in ask(server, 0, 1, 0)]
    return times


def spread(done, alone):
    """Where the p99 against that alone lies in 90 of 100 resamples (bootstrap, Efron 1979), in percent: it is made of few
    answers, and a run says less than its digits do."""
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


def kept(what, times, ended):
    if "RAW" in os.environ:
        with open(os.environ["RAW"], "a", encoding="utf-8") as file:
            print(json.dumps({"model": what, "times": times, "ended": ended}), file=file)
    return times, ended


def main():
    larger = [(MODEL, LARGER, max(LARGER // 8, 1))] if MODEL else []
    for model, requests, rounds in [(None, REQUESTS, ROUNDS)] + larger:
        what = pathlib.Path(model).name if model else "ember"
        heading(f"isolation: {what}, {PROMPT} + {DECODE} tokens, {requests} answers in {rounds} rounds, {OTHERS} of the other")
        table(["the modest tenant's answers", "p50, ms", "p99, ms", "in 90 of 100 resamples", "of it in the model, p50", "p99", "first token, ms, p50 / p99", "the other's, ended"],
              list(rows(*kept(what, *measure(model, requests, rounds)))))
        heading(f"isolation: {what}, the first answer of a new server, {SERVERS} servers of each kind")
        table(["its first answer, ms", "median", "slowest"],
              [[what, f"{at(done, 0.5):.1f}", f"{max(done):.1f}"] for what, done in first_answers(model).items()])


if __name__ == "__main__":
    main()
