"""An MCP server over standard input and output whose tools are in a file. A change of the file is a change of the list.

usage: listed_server.py TOOLS.json ANSWER      Every tool answers with ANSWER.
"""
import json
import os
import sys
import threading
import time

PATH, ANSWER = sys.argv[1:3]
LOCK = threading.Lock()


def send(message):
    with LOCK:
        print(json.dumps({"jsonrpc": "2.0", **message}), flush=True)


def tools():
    with open(PATH, encoding="utf-8") as file:
        return json.load(file)


def result(method, params):
    if method == "initialize":
        about = {"name": "listed", "version": "1"}
        capabilities = {"tools": {"listChanged": True}}
        return {"protocolVersion": "2025-11-25", "capabilities": capabilities, "serverInfo": about}
    if method == "ping":
        return {}
    if method == "tools/list":
        return {"tools": tools()}
    if method == "tools/call":
        return {"content": [{"type": "text", "text": ANSWER}], "isError": False}
    return None


def watch():
    seen = os.stat(PATH).st_mtime_ns
    while True:
        time.sleep(0.02)
        now = os.stat(PATH).st_mtime_ns
        if now != seen:
            seen = now
            send({"method": "notifications/tools/list_changed"})


threading.Thread(target=watch, daemon=True).start()
for line in sys.stdin:
    message = json.loads(line)
    if "id" not in message or "method" not in message:
        continue
    answer = result(message["method"], message.get("params", {}))
    if answer is None:
        send({"id": message["id"], "error": {"code": -32601, "message": "no such method"}})
    else:
        send({"id": message["id"], "result": answer})
