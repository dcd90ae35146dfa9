#!/usr/bin/env python3
"""What serving costs: HTTP, queue and tenancy beside the engine alone, throughput by clients, memory of what is idle.

Needs FIREBOX (the binary); MODEL (a folder; without it only the built-in model is measured). `benches/run serve` sets
both. Standard library only, so that no client library is measured with it.
"""
import hashlib
import http.client
import json
import os
import pathlib
import socket
import statistics
import subprocess
import tempfile
import threading
import time

FIREBOX = os.environ["FIREBOX"]
MODEL = os.environ.get("MODEL")
REQUESTS = int(os.environ.get("REQUESTS", "200"))
KEY = "fbx_bench_0123456789"
DECODE = 32


def heading(what):
    """The load beside every figure: on a busy machine they are worth less."""
    now, load = time.strftime("%Y-%m-%d %H:%M"), os.getloadavg()[0]
    print(f"\n## {what} ({now}, load {load:.1f})\n", flush=True)


def table(head, rows):
    print("| " + " | ".join(head) + " |\n|" + "---|" * len(head))
    for row in rows:
        print("| " + " | ".join(str(cell) for cell in row) + " |")
    print(flush=True)


def quantiles(values):
    ordered = sorted(values)
    at = lambda part: ordered[min(len(ordered) - 1, int(part * len(ordered)))]
    return f"{statistics.median(ordered):.2f} / {at(0.99):.2f}"


class Server:
    """A server with some tenants, ended at the end of the block."""

    def __init__(self, model=None, tenants=1):
        self.folder = tempfile.TemporaryDirectory()
        rows = [f'[[model]]\nname = "m"\ndevice = "cpu"\npath = "{model}"\n' if model else
                '[[model]]\nname = "ember"\ndevice = "cpu"\n']
        for number in range(tenants):
            key = KEY if number == 0 else f"fbx_bench{number}_0123456789"
            digest = hashlib.sha256(key.encode()).hexdigest()
            rows.append(f'[[tenant]]\nname = "t{number}"\nplugins = []\n[[tenant.key]]\nid = "bench{number}"\n'
                        f'digest = "{digest}"\nscopes = ["chat", "sessions", "metrics", "usage"]\n')
        file = pathlib.Path(self.folder.name) / "firebox.toml"
        file.write_text("[server]\nconnections_max = 4096\n" + "".join(rows))
        started = time.perf_counter()
        self.process = subprocess.Popen([FIREBOX, "serve", "--config", file, "--listen", "127.0.0.1:0"],
                                        stderr=subprocess.PIPE, text=True)
        self.address = None
        for line in self.process.stderr:
            if "listening on http://" in line:
                host, port = line.strip().rsplit("/", 1)[1].split(":")
                self.address = (host, int(port))
            if line.strip() == "firebox: ready":
                break
        self.start_seconds = time.perf_counter() - started
        threading.Thread(target=lambda: all(True for _ in self.process.stderr), daemon=True).start()
        self.name = "m" if model else "ember"

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.terminate()
        self.process.wait()
        self.folder.cleanup()

    def connect(self):
        connection = http.client.HTTPConnection(*self.address, timeout=600)
        connection.connect()
        connection.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return connection

    def memory_kib(self):
        status = pathlib.Path(f"/proc/{self.process.pid}/status").read_text()
        return int(next(line for line in status.splitlines() if line.startswith("VmRSS")).split()[1])

    def stream(self, connection, prompt, tokens):
        """Times of one streamed completion as its client sees them, and the engine's own."""
        body = json.dumps({"model": self.name, "prompt": prompt, "stream": True, "temperature": 0, "max_tokens": tokens})
        headers = {"Authorization": f"Bearer {KEY}", "Content-Type": "application/json"}
        begun = time.perf_counter()
        connection.request("POST", "/v1/completions", body, headers)
        response = connection.getresponse()
        first = last = None
        pieces, own = 0, None
        for line in response:
            if not line.startswith(b"data: ") or line.startswith(b"data: [DONE]"):
                continue
            chunk = json.loads(line[6:])
            if chunk["choices"] and chunk["choices"][0]["text"]:
                last = time.perf_counter()
                first = first or last
                pieces += 1
            own = chunk.get("firebox", own)
        if own is None or first is None:
            raise SystemExit(f"no answer: {response.status}")
        return {"first": (first - begun) * 1e3, "rest": (last - first) * 1e3, "pieces": pieces, "own": own["timing_ms"],
                "all": (time.perf_counter() - begun)}


def prompts(count, length=128):
    """Each begins differently, so that no kept prefix shortens the work."""
    return [(f"{number:06d} " + "Measured twice and cut once, the plank fits; " * 20)[:length] for number in range(count)]


def overhead(model):
    with Server(model) as server:
        connection = server.connect()
        done = [server.stream(connection, prompt, DECODE) for prompt in prompts(REQUESTS + 5)][5:]
    added = [one["first"] - one["own"]["first_token"] for one in done]
    steps = [(one["rest"] - one["own"]["decode"]) / max(one["pieces"] - 1, 1) for one in done]
    return [
        ("first token as the client sees it, ms", quantiles([one["first"] for one in done])),
        ("of that, the engine (queue included), ms", quantiles([one["own"]["first_token"] for one in done])),
        ("of that, HTTP and tenancy, ms", quantiles(added)),
        ("per token as the client sees it, ms", quantiles([one["rest"] / max(one["pieces"] - 1, 1) for one in done])),
        ("of that, HTTP and events, ms", quantiles(steps)),
    ]


def alone(model):
    """The same through `firebox run`: the engine without a server around it."""
    first = []
    for prompt in prompts(10):
        command = [FIREBOX, "run", "--raw", "--json", "--no-tools", "--device", "cpu", "--temperature", "0",
                   "--max-tokens", str(DECODE)] + (["--model", model] if model else []) + [prompt]
        report = json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout)
        first.append(report["timing"]["first_token_ms"])
    return quantiles(first)


def throughput(model, clients, each=4):
    with Server(model) as server:
        asks = prompts(clients * each, 64)
        server.stream(server.connect(), "warm", 8)
        done = []

        def run(number):
            connection = server.connect()
            for prompt in asks[number * each:(number + 1) * each]:
                done.append(server.stream(connection, prompt, DECODE))

        begun = time.perf_counter()
        threads = [threading.Thread(target=run, args=(number,)) for number in range(clients)]
        [thread.start() for thread in threads]
        [thread.join() for thread in threads]
        took = time.perf_counter() - begun
    return sum(one["pieces"] for one in done) / took, quantiles([one["first"] for one in done])


def memory():
    rows = []
    with Server() as server:
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
        headers = {"Authorization": f"Bearer {KEY}", "Content-Type": "application/json"}

        def sessions(count):
            for _ in range(count):
                connection.request("POST", "/v1/sessions", json.dumps({"model": server.name}), headers)
                connection.getresponse().read()
            return server.memory_kib()

        before = sessions(100)
        rows.append(("idle session (in memory)", (sessions(800) - before) / 800))
    with Server(tenants=1_000) as many:
        rows.append(("tenant", (many.memory_kib() - ready) / 999))
        print(f"start with 1 tenant {start_one:.2f} s, with 1,000 {many.start_seconds:.2f} s; {ready} KiB when ready\n")
    return rows


def main():
    for model in [None] + ([MODEL] if MODEL else []):
        what = pathlib.Path(model).name if model else "ember"
        heading(f"serve: overhead, {what}, 128 + {DECODE} tokens, {REQUESTS} requests")
        table(["", "p50 / p99"], overhead(model) + [("first token through `firebox run`, ms", alone(model))])
        heading(f"serve: throughput, {what}, 64 + {DECODE} tokens")
        rows = []
        for clients in (1, 4, 16):
            rate, first = throughput(model, clients)
            rows.append((clients, f"{rate:.1f}", first))
        table(["clients", "tokens/s of answers", "first token, ms, p50 / p99"], rows)
    heading("serve: memory")
    table(["", "KiB"], [(name, f"{kib:.1f}") for name, kib in memory()])


if __name__ == "__main__":
    main()
