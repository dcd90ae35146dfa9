"""The servers that the benches start, and a client for them written by hand: no client library is measured with it.

FIREBOX is the binary. Standard library only.
"""
import hashlib
import http.client
import json
import os
import pathlib
import socket
import subprocess
import sys
import tempfile
import time

ROOT = pathlib.Path(__file__).resolve().parent
EMBER = json.loads((ROOT.parent / "host/ember/model/generation_config.json").read_text())
# The built-in model ends its answers; with the token that does it forbidden they are as long as asked.
ENDLESS = {"logit_bias": {str(EMBER["eos_token_id"]): -100}}
# What the models of firebox run on.
DEVICE = os.environ.get("DEVICE", "cpu")
SCOPES = ["chat", "embed", "sessions", "tools", "usage", "metrics"]


def key(number):
    """The key of tenant `number`."""
    return f"fbx_bench{number}_0123456789"


def tenant(number, plugins=(), more=""):
    """Tenant `number` of a configuration, with one key of all scopes; `more` goes before the key."""
    digest = hashlib.sha256(key(number).encode()).hexdigest()
    return (f'[[tenant]]\nname = "t{number}"\nplugins = {json.dumps(list(plugins))}\n{more}\n'
            f'[[tenant.key]]\nid = "bench{number}"\ndigest = "{digest}"\nscopes = {json.dumps(SCOPES)}\n')


def config(folder=None, tenants=1):
    """One model on DEVICE, the built-in one without a folder, and tenants without plugins."""
    named = f'name = "m"\npath = "{folder}"' if folder else 'name = "ember"'
    tables = [f'[server]\nconnections_max = 4096\n[[model]]\n{named}\ndevice = "{DEVICE}"\n']
    return "".join(tables + [tenant(number) for number in range(tenants)])


def elsewhere():
    """The calling thread would be on another machine: it has a core when it is to read, and its clock counts no wait for
    one."""
    try:
        os.sched_setscheduler(0, os.SCHED_RR, os.sched_param(1))
    except PermissionError:
        print("without the right to real-time priority the client waits for the server's threads, too", file=sys.stderr)


class Server:
    """A process that answers completions at `address`."""

    # What its requests say besides.
    body = {}
    headers = {}

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.end()

    def connect(self):
        connection = http.client.HTTPConnection(*self.address, timeout=600)
        connection.connect()
        connection.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return connection

    def memory_kib(self):
        status = pathlib.Path(f"/proc/{self.process.pid}/status").read_text()
        return int(next(line for line in status.splitlines() if line.startswith("VmRSS")).split()[1])

    def stream(self, connection, prompt, tokens):
        """Times of one streamed, greedy completion of `tokens` tokens as its client sees them, in ms."""
        body = {"model": self.model, "prompt": prompt, "stream": True, "temperature": 0, "max_tokens": tokens,
                "stream_options": {"include_usage": True}, **self.body}
        begun = time.perf_counter()
        headers = {"Content-Type": "application/json", **self.headers}
        connection.request("POST", "/v1/completions", json.dumps(body), headers)
        response = connection.getresponse()
        first = last = own = usage = None
        for line in response:
            if not line.startswith(b"data: ") or line.startswith(b"data: [DONE]"):
                continue
            chunk = json.loads(line[6:])
            if chunk.get("choices") and chunk["choices"][0]["text"]:
                last = time.perf_counter()
                first = first or last
            own, usage = chunk.get("firebox") or own, chunk.get("usage") or usage
        if first is None or usage is None:
            raise RuntimeError(f"{self.program}: no answer: {response.status}")
        # All servers are asked for the same work and do all of it.
        cached = (usage.get("prompt_tokens_details") or {}).get("cached_tokens", 0)
        if (usage["completion_tokens"], cached) != (tokens, 0):
            raise RuntimeError(f"{self.program} answered other than asked: {usage}")
        return {"first": (first - begun) * 1e3, "rest": (last - first) * 1e3, "tokens": tokens,
                "prompt_tokens": usage["prompt_tokens"], "own": own and own["timing_ms"]}


class Firebox(Server):
    """`firebox serve` with a configuration of its own; ready when this returns."""

    program = "firebox"

    def __init__(self, config):
        self.folder = tempfile.TemporaryDirectory()
        file = pathlib.Path(self.folder.name) / "firebox.toml"
        file.write_text(config)
        started = time.perf_counter()
        command = [os.environ["FIREBOX"], "serve", "--config", file, "--listen", "127.0.0.1:0"]
        # Into a file: whoever read a pipe would be woken for each request, on the cores that are measured.
        log = pathlib.Path(self.folder.name) / "log"
        self.process = subprocess.Popen(command, stderr=log.open("w"))
        self.headers = {"Authorization": f"Bearer {key(0)}"}
        while "firebox: ready" not in (said := log.read_text().splitlines()):
            if self.process.poll() is not None:
                raise SystemExit("\n".join(["firebox did not start:", *said]))
            time.sleep(0.001)
        self.start_seconds = time.perf_counter() - started
        line = next(line for line in said if "listening on http://" in line)
        host, port = line.strip().rsplit("/", 1)[1].split(":")
        self.address = (host, int(port))
        self.model = "m"
        if 'name = "ember"' in config:
            self.model, self.body = "ember", ENDLESS

    def end(self):
        self.process.terminate()
        self.process.wait()
        self.folder.cleanup()
        return self.process.returncode


class Llama(Server):
    """llama.cpp's server (`peers/llama_cpp.py serve`); ready when this returns."""

    program = "llama.cpp"
    model = "m"
    body = {"ignore_eos": True, "cache_prompt": False}

    def __init__(self, file, parallel, context):
        command = [sys.executable, ROOT / "peers/llama_cpp.py", "serve", file, str(parallel), str(context)]
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        line = self.process.stdout.readline()
        if not line:
            raise SystemExit("llama.cpp's server did not start")
        ready = json.loads(line)
        host, port = ready["address"].rsplit("/", 1)[1].split(":")
        self.address, self.version = (host, int(port)), ready["version"]

    def end(self):
        self.process.stdin.close()
        self.process.wait()
