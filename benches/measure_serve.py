#!/usr/bin/env python3
"""What serving costs: HTTP, queue and tenancy beside the engine alone, throughput by clients beside llama.cpp's server,
memory of what is idle.

Needs FIREBOX (the binary); DEVICE (what its models run on, by default the CPU); MODEL (a folder; without it only the built-in model is measured) and LLAMA_MODEL (the same
as GGUF; without it there is nothing beside us). `benches/run serve` sets them all.
"""
import json
import os
import pathlib
import socket
import statistics
import subprocess
import threading
import time
from concurrent.futures import ThreadPoolExecutor

from measure import REPEATS, heading, spread, table
from servers import DEVICE, Firebox, Llama, config, elsewhere

FIREBOX = os.environ["FIREBOX"]
MODEL = os.environ.get("MODEL")
LLAMA_MODEL = os.environ.get("LLAMA_MODEL")
REQUESTS = int(os.environ.get("REQUESTS", "200"))
DECODE = 32
# Sequences of llama.cpp, as many as there ever are clients, and room in each for the longest prompt with its answer.
SEQUENCES, TOKENS_EACH = 16, 256


def quantiles(values):
    ordered = sorted(values)
    at = lambda part: ordered[min(len(ordered) - 1, int(part * len(ordered)))]
    return f"{statistics.median(ordered):.2f} / {at(0.99):.2f}"


def prompts(first, count, length=128):
    """Each begins differently, at its first characters, so that no kept prefix shortens the work."""
    text = "Measured twice and cut once, the plank fits; " * 20
    return [f"{str(number)[::-1]:<6} {text}"[:length] for number in range(first, first + count)]


def overhead(model):
    with Firebox(config(model)) as server, ThreadPoolExecutor(1, initializer=elsewhere) as client:
        connection = server.connect()
        ask = lambda prompt: server.stream(connection, prompt, DECODE)
        done = list(client.map(ask, prompts(0, REQUESTS + 5)))[5:]
    added = [one["first"] - one["own"]["first_token"] for one in done]
    steps = [(one["rest"] - one["own"]["decode"]) / (DECODE - 1) for one in done]
    return [
        ("first token as the client sees it, ms", quantiles([one["first"] for one in done])),
        ("of that, the engine (queue included), ms", quantiles([one["own"]["first_token"] for one in done])),
        ("of that, HTTP and tenancy, ms", quantiles(added)),
        ("per token as the client sees it, ms", quantiles([one["rest"] / (DECODE - 1) for one in done])),
        ("of that, HTTP and events, ms", quantiles(steps)),
    ]


def alone(model):
    """The same through `firebox run`: the engine without a server around it."""
    first = []
    for prompt in prompts(0, 10):
        command = [FIREBOX, "run", "--raw", "--json", "--no-tools", "--device", DEVICE, "--temperature", "0",
                   "--max-tokens", str(DECODE)] + (["--model", model] if model else []) + [prompt]
        report = json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout)
        first.append(report["timing"]["first_token_ms"])
    return quantiles(first)


def burst(server, clients, first, each):
    """Tokens/s of all answers together, the times to each first token in ms, and the tokens of all prompts."""
    asks, done = prompts(first, clients * each, 64), []

    def run(number):
        for prompt in asks[number * each:(number + 1) * each]:
            # A connection of its own: llama.cpp's server drops one that waited for a while.
            connection = server.connect()
            done.append(server.stream(connection, prompt, DECODE))
            connection.close()

    begun = time.perf_counter()
    threads = [threading.Thread(target=run, args=(number,)) for number in range(clients)]
    [thread.start() for thread in threads]
    [thread.join() for thread in threads]
    took = time.perf_counter() - begun
    if len(done) != clients * each:
        raise SystemExit(f"{server.program} left {clients * each - len(done)} requests without an answer")
    return {"rate": clients * each * DECODE / took, "firsts": [one["first"] for one in done],
            "prompt_tokens": sum(one["prompt_tokens"] for one in done)}


def throughput(servers, each=4):
    """The servers take turns, so that a busy minute hits all of them; an idle one computes nothing."""
    for server in servers:
        server.stream(server.connect(), "warm", 8)
    rows, asked = [], 0
    for clients in (1, 4, 16):
        runs = {server: [] for server in servers}
        for _ in range(REPEATS):
            for server in servers:
                runs[server].append(burst(server, clients, asked, each))
            if len({runs[server][-1]["prompt_tokens"] for server in servers}) > 1:
                raise SystemExit("the servers read the prompts as different numbers of tokens")
            asked += clients * each
        for server, bursts in runs.items():
            firsts = [first for one in bursts for first in one["firsts"]]
            rows.append((str(clients), server.program, spread([one["rate"] for one in bursts]), quantiles(firsts)))
    return rows


def memory():
    rows = []
    with Firebox(config()) as server:
        ready, start_one = server.memory_kib(), server.start_seconds
        server.stream(server.connect(), "warm", 8)

        def connections():
            held = [socket.create_connection(server.address) for _ in range(1_000)]
            time.sleep(1)
            kib = server.memory_kib()
            [connection.close() for connection in held]
            time.sleep(1)
            return kib

        # The first thousand also make what is kept for the next.
        connections()
        before = server.memory_kib()
        rows.append(("idle connection", (connections() - before) / 1_000))
        connection = server.connect()
        headers = {"Content-Type": "application/json", **server.headers}

        def sessions(count):
            for _ in range(count):
                connection.request("POST", "/v1/sessions", json.dumps({"model": server.model}), headers)
                connection.getresponse().read()
            return server.memory_kib()

        before = sessions(100)
        rows.append(("idle session (in memory)", (sessions(800) - before) / 800))
    with Firebox(config(tenants=1_000)) as many:
        rows.append(("tenant", (many.memory_kib() - ready) / 999))
        print(f"start with 1 tenant {start_one:.2f} s, with 1,000 {many.start_seconds:.2f} s; {ready} KiB when ready\n")
    return rows


def main():
    for model in [None] + ([MODEL] if MODEL else []):
        what = pathlib.Path(model).name if model else "ember"
        heading(f"serve: overhead, {what}, 128 + {DECODE} tokens, {REQUESTS} requests")
        table(["", "p50 / p99"], overhead(model) + [("first token through `firebox run`, ms", alone(model))])
        heading(f"serve: throughput, {what}, 64 + {DECODE} tokens, 4 requests a client")
        head = ["clients", "program", "tokens/s of answers", "first token, ms, p50 / p99"]
        with Firebox(config(model)) as server:
            if model and LLAMA_MODEL:
                with Llama(LLAMA_MODEL, SEQUENCES, TOKENS_EACH) as llama:
                    table(head, throughput([server, llama]))
                print(llama.version + "\n")
            else:
                table(head, throughput([server]))
    heading("serve: memory")
    table(["", "KiB"], [(name, f"{kib:.1f}") for name, kib in memory()])


if __name__ == "__main__":
    main()
