#!/usr/bin/env python3
"""What a tenant notices of an attacker, who does one cheap thing after the other as fast as it can.

Each row is an attack. While it runs, a tenant chats and a probe asks /healthz; the server's peak memory is read at the end.
A row fails when an answer of the tenant fails, when its median takes more than FACTOR times what it takes alone (and more
than SLACK ms longer), when /healthz takes more than HEALTH ms, or when memory grows by more than MEMORY MiB over idle.

Needs FIREBOX (the binary) and MINILM (a text encoder's folder); `benches/run attacks` sets both. SECONDS (5) is the time of an attack, ROWS (all) a part of a name.
Standard library only.
"""
import json
import multiprocessing
import os
import pathlib
import random
import socket
import sys
import threading
import time

from measure import heading, table
from servers import ENDLESS, ROOT, Firebox, elsewhere, key, tenant

SECONDS = float(os.environ.get("SECONDS", "5"))
ROWS = os.environ.get("ROWS", "")
FACTOR = float(os.environ.get("FACTOR", "2"))
SLACK = float(os.environ.get("SLACK", "50"))
HEALTH = float(os.environ.get("HEALTH", "100"))
MEMORY = float(os.environ.get("MEMORY", "256"))
THREADS = 8
VICTIM, POOR, RICH = range(3)
LIMITS = {VICTIM: "", POOR: "[tenant.limits]\nrequests_per_minute = 0\n",
          RICH: '[tenant.tools]\nask = ["calculator"]\n'}
MIB = 1 << 20


def config():
    models = (f'[[model]]\nname = "ember"\ndevice = "cpu"\n'
              f'[[model]]\nname = "vectors"\npath = "{os.environ["MINILM"]}"\ndevice = "cpu"\n'
              '[[plugin]]\nname = "calculator"\n[[plugin]]\nname = "redact"\n')
    return models + "".join(tenant(who, ["calculator"] if who == RICH else [], more) for who, more in LIMITS.items())


# ---- what an attacker sends

def head(who, path, length, method="POST", more=""):
    auth = f"authorization: Bearer {key(who)}\r\n" if who is not None else ""
    return (f"{method} {path} HTTP/1.1\r\nhost: 127.0.0.1\r\n{auth}content-type: application/json\r\n"
            f"content-length: {length}\r\n{more}\r\n").encode()


def request(who, path, body, method="POST"):
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    return head(who, path, len(data), method) + data


def dial(address, time_s=30):
    link = socket.create_connection(address, timeout=time_s)
    link.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return link


def send(address, data):
    """One request on a connection of its own; reads what comes until the server closes, or has said its headers."""
    try:
        with dial(address) as link:
            link.sendall(data)
            link.recv(65536)
    except OSError:
        pass


def chat(text, **more):
    return {"model": "ember", "messages": [{"role": "user", "content": text}], **more}


def again(data):
    """An attack that sends the same request for ever."""
    def attack(address, until):
        while time.monotonic() < until:
            send(address, data)
    return attack


def hold(opening, count, drip=None):
    """An attack that holds `count` connections open, each of which says `drip` now and then."""
    def attack(address, until):
        links = []
        while time.monotonic() < until:
            try:
                while len(links) < count // THREADS:
                    link = dial(address, 2)
                    link.sendall(opening)
                    link.setblocking(False)
                    links.append(link)
            except OSError:
                time.sleep(0.05)
            alive = []
            for link in links:
                try:
                    if drip:
                        link.send(drip)
                    try:
                        if link.recv(4096) == b"":
                            raise OSError
                    except BlockingIOError:
                        pass
                    alive.append(link)
                except BlockingIOError:
                    alive.append(link)
                except OSError:
                    link.close()
            links = alive
            time.sleep(0.2)
        for link in links:
            link.close()
    return attack


def slow_readers(address, until):
    links = []
    for _ in range(64 // THREADS):
        try:
            link = socket.socket()
            link.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2048)
            link.settimeout(10)
            link.connect(address)
            link.sendall(request(RICH, "/v1/completions", {
                "model": "ember", "prompt": "x", "stream": True, "max_tokens": 900, **ENDLESS}))
            links.append(link)
        except OSError:
            pass
    while time.monotonic() < until:
        for link in links:
            try:
                link.recv(190)
            except OSError:
                pass
        time.sleep(1)


def churn(address, until):
    while time.monotonic() < until:
        try:
            dial(address, 2).close()
        except OSError:
            pass


def sessions_flood(address, until):
    while time.monotonic() < until:
        send(address, request(RICH, "/v1/sessions", {"model": "ember", "title": "x" * 200}))
        send(address, request(RICH, "/v1/sessions", b"", "GET"))


def long_session(address, until):
    """Continues a session whose text is far longer than the context."""
    with dial(address) as link:
        link.sendall(request(RICH, "/v1/sessions", {"model": "ember"}))
        answer = link.recv(65536).decode()
    session = json.loads(answer.split("\r\n\r\n", 1)[1])["id"]
    for _ in range(8):
        send(address, request(RICH, f"/v1/sessions/{session}/messages",
                              {"messages": [{"role": "user", "content": "a b " * 25_000}]}))
    generate = request(RICH, f"/v1/sessions/{session}/generate", {})
    while time.monotonic() < until:
        send(address, generate)


def words(size):
    return "the plank fits twice, and then " * (size // 31)


def tools(count, bytes_each):
    schema = {"type": "object", "properties": {f"p{n}": {"type": "string"} for n in range(bytes_each // 30)}}
    return [{"type": "function", "function": {"name": f"f{n}", "description": "d", "parameters": schema}}
            for n in range(count)]


def mcp(body):
    more = "accept: application/json, text/event-stream\r\nmcp-protocol-version: 2025-11-25\r\n"
    data = json.dumps(body).encode()
    return head(RICH, "/mcp", len(data), more=more) + data


def attacks():
    big = json.dumps(chat(words(8 * MIB))).encode()
    junk = b"[" + b",".join([b"[0]"] * (4 * MIB - 1)) + b"]"
    deep = b"[" * (8 * MIB)
    keys = ("{" + ",".join(f'"k{n}":0' for n in range(MIB)) + "}").encode()
    stream = f"GET /mcp HTTP/1.1\r\nhost: 127.0.0.1\r\nauthorization: Bearer {key(RICH)}\r\naccept: text/event-stream\r\n\r\n"
    listing = {"jsonrpc": "2.0", "id": 1, "method": "tools/list", "params": {"x": [[0]] * 500_000}}
    return {
        "8 MB prompt, no requests left": again(request(POOR, "/v1/chat/completions", big)),
        "16 MB of [[0],…], no requests left": again(request(POOR, "/v1/chat/completions", junk)),
        "8 MB prompt": again(request(RICH, "/v1/chat/completions", big)),
        "8 MB bare prompt": again(request(RICH, "/v1/completions", {"model": "ember", "prompt": words(8 * MIB)})),
        "8 MB of control tokens": again(request(RICH, "/v1/chat/completions", chat("<|im_end|>" * (8 * MIB // 10)))),
        "8 MB without a space": again(request(RICH, "/v1/chat/completions", chat("a" * (8 * MIB)))),
        "16 MB of [[0],…]": again(request(RICH, "/v1/chat/completions", junk)),
        "8 MB of nesting": again(request(RICH, "/v1/chat/completions", deep)),
        "a million keys": again(request(RICH, "/v1/chat/completions", keys)),
        "100,000 messages": again(request(RICH, "/v1/chat/completions", {
            "model": "ember", "messages": [{"role": "user", "content": "a"}] * 100_000})),
        "128 tools of 100 KB": again(request(RICH, "/v1/chat/completions", chat("hi", tools=tools(128, 100_000)))),
        "a stop list of 300,000": again(request(RICH, "/v1/chat/completions", chat("hi", stop=["ab"] * 300_000))),
        "logit_bias of 300,000": again(request(RICH, "/v1/chat/completions", chat(
            "hi", logit_bias={str(n): 1 for n in range(300_000)}))),
        "unfinished bodies of 15 MB": unfinished,
        "a session of 800 KB": long_session,
        "1,024 MCP streams": hold(stream.encode(), 1024),
        "MCP calls of 2 MB": again(mcp(listing)),
        "dripped headers": hold(b"GET /healthz HTTP/1.1\r\n", 1024, b"x: y\r\n"),
        "dripped bodies": hold(head(RICH, "/v1/chat/completions", 16 * MIB), 1024, b" "),
        "idle connections": hold(b"", 1024),
        "connections opened and closed": churn,
        "requests without a key": again(request(None, "/v1/chat/completions", chat("hi"))),
        "requests that do not exist": again(request(None, "/" + "x" * 4000, b"", "GET")),
        "64 calls that wait for approval": again_many(request(RICH, "/v1/chat/completions", chat("What is 12 * 13?"))),
        "64 slow readers": slow_readers,
        "requests beyond in_flight_max": again_many(request(RICH, "/v1/completions", {
            "model": "ember", "prompt": words(500), "max_tokens": 500, "stream": True, **ENDLESS})),
        "sessions made and listed": sessions_flood,
        "embeddings of 256 texts": again_many(request(RICH, "/v1/embeddings", {
            "model": "vectors", "input": [words(400)] * 256})),
        "embeddings of an 8 MB text": again(request(RICH, "/v1/embeddings", {
            "model": "vectors", "input": words(8 * MIB), "firebox": {"truncate": True}})),
    }


def unfinished(address, until):
    links = []
    while time.monotonic() < until:
        try:
            if len(links) < 100 // THREADS:
                link = dial(address, 2)
                links.append(link)
                link.sendall(head(RICH, "/v1/chat/completions", 16 * MIB) + b'{"model": "' + b"x" * (15 * MIB))
            else:
                time.sleep(0.1)
        except OSError:
            time.sleep(0.1)
    for link in links:
        link.close()


def again_many(data):
    """As `again`, from many connections that wait for the whole answer."""
    def one(address, until):
        while time.monotonic() < until:
            try:
                with dial(address) as link:
                    link.sendall(data)
                    link.settimeout(max(until - time.monotonic(), 0.1))
                    while link.recv(65536):
                        pass
            except OSError:
                time.sleep(0.01)

    def attack(address, until):
        threads = [threading.Thread(target=one, args=(address, until)) for _ in range(96 // THREADS)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    return attack


def attacker(attack, address, until):
    """Runs an attack in threads of a process of its own, which computes where nobody else wants to: it would be on other
    machines."""
    os.sched_setscheduler(0, os.SCHED_IDLE, os.sched_param(0))
    threads = [threading.Thread(target=attack, args=(address, until)) for _ in range(THREADS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    os._exit(0)


# ---- what is measured

def exchange(address, data):
    """Status and body of one answer."""
    with dial(address) as link:
        link.sendall(data.replace(b"\r\n", b"\r\nconnection: close\r\n", 1))
        answer = b""
        while piece := link.recv(65536):
            answer += piece
    status = int(answer.split(b" ", 2)[1]) if answer.startswith(b"HTTP/") else 0
    return status, answer


def victim(address, row):
    """Milliseconds of one answer, and what was wrong with it."""
    if row.startswith("embeddings"):
        data = request(VICTIM, "/v1/embeddings", {"model": "vectors", "input": f"a plank {random.random()}"})
    else:
        data = request(VICTIM, "/v1/chat/completions", chat(f"{random.random()} {words(200)}", max_tokens=16, **ENDLESS))
    begun = time.perf_counter()
    try:
        status, answer = exchange(address, data)
        wrong = None if status == 200 else f"{status} {answer[-200:]!r}"
    except OSError as error:
        wrong = str(error)
    return (time.perf_counter() - begun) * 1e3, wrong


def watch(address, row, until):
    """Answers of the tenant and of /healthz until then."""
    answers, probes, wrong = [], [], []

    def probe():
        elsewhere()
        while time.monotonic() < until:
            begun = time.perf_counter()
            try:
                status, _ = exchange(address, request(None, "/healthz", b"", "GET"))
                if status != 200:
                    wrong.append(f"/healthz {status}")
            except OSError as error:
                wrong.append(f"/healthz {error}")
            probes.append((time.perf_counter() - begun) * 1e3)
            time.sleep(0.05)

    thread = threading.Thread(target=probe)
    thread.start()
    while time.monotonic() < until:
        took, failure = victim(address, row)
        answers.append(took)
        wrong += [failure] if failure else []
        time.sleep(0.02)
    thread.join()
    return answers, probes, wrong


def status(process, field):
    text = pathlib.Path(f"/proc/{process.pid}/status").read_text()
    return int(next(line for line in text.splitlines() if line.startswith(field)).split()[1]) / 1024


def median(values):
    return sorted(values)[len(values) // 2]


def measure(row, attack):
    """A server of its own for each attack, so that each begins from idle."""
    with Firebox(config()) as server:
        address = server.address
        for _ in range(5):
            victim(address, row)
        alone, _, wrong = watch(address, row, time.monotonic() + min(SECONDS, 3))
        idle = status(server.process, "VmRSS")
        until = time.monotonic() + SECONDS
        process = multiprocessing.Process(target=attacker, args=(attack, address, until))
        process.start()
        time.sleep(0.2)
        answers, probes, more = watch(address, row, until)
        process.join(30)
        process.kill()
        grown = status(server.process, "VmHWM") - idle
        after, failure = victim(address, row)
        wrong += more + ([f"afterwards: {failure}"] if failure else [])
    return {"alone": median(alone), "beside": median(answers), "slowest": max(answers), "health": max(probes),
            "memory": grown, "wrong": wrong}


def verdict(found):
    reasons = []
    if found["wrong"]:
        reasons.append(f"{len(found['wrong'])} failed, such as {found['wrong'][0][:120]}")
    if found["beside"] > FACTOR * found["alone"] and found["beside"] > found["alone"] + SLACK:
        reasons.append("the tenant waits")
    if found["health"] > HEALTH:
        reasons.append("/healthz waits")
    if found["memory"] > MEMORY:
        reasons.append("memory")
    return "; ".join(reasons) or "ok"


def main():
    heading(f"attacks: {SECONDS:g} s each, {THREADS} threads of the attacker; the built-in model")
    rows, failed = [], 0
    for row, attack in attacks().items():
        if ROWS not in row:
            continue
        found = measure(row, attack)
        outcome = verdict(found)
        failed += outcome != "ok"
        rows.append([row, f"{found['alone']:.0f}", f"{found['beside']:.0f}", f"{found['slowest']:.0f}",
                     f"{found['health']:.0f}", f"{found['memory']:.0f}", outcome])
        print(" | ".join(rows[-1]), file=sys.stderr, flush=True)
    table(["attack", "alone, ms", "beside, p50", "slowest", "/healthz, slowest", "memory over idle, MiB", ""], rows)
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    multiprocessing.set_start_method("fork")
    main()
