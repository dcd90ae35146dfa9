"""A small MCP server over standard input and output whose misbehaviour is chosen by its arguments.

usage: fake.py [MODE...]     Revision 2025-11-25 by hand, so that nothing corrects it.
"""
import json
import os
import signal
import subprocess
import sys
import threading
import time

MODES = set(sys.argv[1:])
OPTIONS = dict(mode.split("=", 1) for mode in MODES if "=" in mode)
LOCK = threading.Lock()


def send(message):
    with LOCK:
        sys.stdout.write(json.dumps({"jsonrpc": "2.0", **message}) + "\n")
        sys.stdout.flush()


def text(words, error=False):
    return {"content": [{"type": "text", "text": words}], "isError": error}


def tool(name, **annotations):
    schema = {"type": "object", "properties": {"text": {"type": "string"}}}
    return {"name": name, "description": f"the tool {name}", "inputSchema": schema, "annotations": annotations}


def once(path):
    """True the first time, in whichever process."""
    try:
        os.close(os.open(path, os.O_CREAT | os.O_EXCL))
        return True
    except FileExistsError:
        return False


TOOLS = [tool("echo", readOnlyHint=True), tool("write"), tool("fail"), tool("sleep"), tool("steps"), tool("die")]
TOOLS += [tool("die_once", readOnlyHint=True), tool("die_once_writing"), tool("long_line"), tool("grow"), tool("pid")]
TOOLS += [tool("env"), tool("ask"), tool("cancelled"), tool("children"), tool("bare"), tool("requests"), tool("flood")]
CANCELLED = []


def call(identity, name, arguments, token):
    if name == "echo":
        return text(arguments.get("text", ""))
    if name == "write":
        return text("written")
    if name == "fail":
        return text("it did not work", error=True)
    if name == "sleep":
        time.sleep(float(arguments["text"]))
        return text("awake")
    if name == "steps":
        for step in range(1, 6):
            note = {"progressToken": token, "progress": step, "total": 5, "message": f"step {step}"}
            send({"method": "notifications/progress", "params": note})
            time.sleep(0.15)
        return text("done")
    if name == "die":
        print("about to die", file=sys.stderr, flush=True)
        os.kill(os.getpid(), signal.SIGKILL)
    if name in ("die_once", "die_once_writing"):
        with open(arguments["text"] + ".calls", "a", encoding="utf-8") as calls:
            calls.write("x")
        if once(arguments["text"]):
            os.kill(os.getpid(), signal.SIGKILL)
        return text("alive")
    if name == "long_line":
        with LOCK:
            sys.stdout.write("x" * (17 << 20))
            sys.stdout.flush()
        return text("too long")
    if name == "grow":
        TOOLS.append(tool(arguments.get("text", "grown")))
        send({"method": "notifications/tools/list_changed"})
        return text("grown")
    if name == "pid":
        return text(str(os.getpid()))
    if name == "env":
        return text(json.dumps(dict(os.environ)))
    if name == "ask":
        send({"id": "from-server", "method": "roots/list"})
        return text("asked")
    if name == "cancelled":
        return text(json.dumps(CANCELLED))
    if name == "children":
        subprocess.Popen(["sleep", "600"])
        return text("one more")
    if name == "bare":
        return {}
    if name == "flood":
        while True:
            send({"method": "notifications/message", "params": {"level": "info", "data": "again"}})
    if name == "requests":
        for number in range(100_000):
            send({"id": f"r{number}", "method": "ping"})
        return text("asked a lot")
    return None


def answer(message):
    identity, method = message["id"], message["method"]
    params = message.get("params", {})
    if method == "initialize":
        about = {"name": "fake", "version": "1"}
        capabilities = {"tools": {"listChanged": True}}
        version = OPTIONS.get("revision", "2025-11-25")
        return {"protocolVersion": version, "capabilities": capabilities, "serverInfo": about}
    if method == "ping":
        return None if "deaf" in MODES else {}
    if method == "tools/list":
        if "paged" in MODES:
            start = int(params.get("cursor", "0"))
            page = {"tools": TOOLS[start : start + 3]}
            return {**page, "nextCursor": str(start + 3)} if start + 3 < len(TOOLS) else page
        if "fat" in MODES:
            one = tool(f"t{time.monotonic_ns()}")
            one["inputSchema"]["description"] = "x" * 200_000
            return {"tools": [one], "nextCursor": "more"}
        if "endless" in MODES:
            return {"tools": [tool(f"t{params.get('cursor', '0')}")], "nextCursor": str(time.monotonic_ns())}
        return {"tools": TOOLS}
    if method == "tools/call":
        token = params.get("_meta", {}).get("progressToken")
        if "notify_first" in MODES:
            # Another's answer, a notification and noise, each before the reply that is waited for.
            send({"method": "notifications/message", "params": {"level": "info", "data": "first"}})
            send({"id": 987654, "result": text("not yours")})
            with LOCK:
                sys.stdout.write("this is not json\n\n")
                sys.stdout.flush()
        return call(identity, params["name"], params.get("arguments", {}), token)
    return False


def serve(message):
    result = answer(message)
    if result is False:
        send({"id": message["id"], "error": {"code": -32601, "message": "no such method"}})
    elif result is not None:
        send({"id": message["id"], "result": result})


def main():
    if "crash" in MODES:
        print("cannot find my files: TOKEN=" + os.environ.get("TOKEN", ""), file=sys.stderr)
        sys.exit(3)
    if "crash_twice" in OPTIONS and (once(OPTIONS["crash_twice"] + ".1") or once(OPTIONS["crash_twice"] + ".2")):
        sys.exit(3)
    if "silent" in MODES:
        time.sleep(600)
    if "stubborn" in MODES:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
    if "flood_junk" in MODES:
        while True:
            sys.stdout.write("a line of a server that never listens\n" * 100)
    if "flood_notices" in MODES:
        while True:
            send({"method": "notifications/message", "params": {"level": "info", "data": "again"}})
    if "flood_stderr" in MODES:
        threading.Thread(target=lambda: [sys.stderr.write("again and again\n" * 100) for _ in iter(int, 1)]).start()
    if "flood" in MODES:
        for number in range(200_000):
            print(f"line {number} of a server that talks too much", file=sys.stderr)
    for line in sys.stdin:
        message = json.loads(line)
        if "unknown_ends" in MODES and message.get("method") == "server/discover":
            sys.exit(4)
        if message.get("method") == "notifications/cancelled":
            CANCELLED.append(message["params"]["requestId"])
        if "stuffed" in MODES and message.get("method") == "tools/call":
            # Asks and asks, and reads nothing.
            serve(message)
        elif "id" in message and "method" in message:
            threading.Thread(target=serve, args=(message,), daemon=True).start()
    if "stubborn" in MODES:
        time.sleep(600)


main()
