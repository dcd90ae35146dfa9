"""A small MCP server that is odd in one way, which its argument names: `odd.py stdio CASE`, or `odd.py http`, which prints
its port and takes the case from the path (`/CASE`). Revisions by hand, so that nothing corrects it.
"""
import json
import os
import signal
import subprocess
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

TEXT = {"type": "text", "text": "hello"}
TOOL = {"name": "t", "description": "d", "inputSchema": {"type": "object"}, "annotations": {"readOnlyHint": True}}
GOOD = {"content": [TEXT]}


def initialized(**over):
    about = {"protocolVersion": "2025-06-18", "capabilities": {"tools": {}}, "serverInfo": {"name": "odd", "version": "1"}}
    about.update(over)
    return {key: value for key, value in about.items() if value is not ...}


def reply(identity, result):
    return {"jsonrpc": "2.0", "id": identity, "result": result}


def refusal(identity, code, words):
    return {"jsonrpc": "2.0", "id": identity, "error": {"code": code, "message": words}}


NO_METHOD = (-32601, "no such method")

# What differs from the ordinary, by case: results of calls, of `initialize`, and lists of tools.
RESULTS = {
    "content_text": {"content": "hello"},
    "content_object": {"content": TEXT},
    "content_unknown": {"content": [TEXT, {"type": "video", "data": "AA==", "mimeType": "video/mp4"}]},
    "content_null_structured": {"content": None, "structuredContent": [1, 2]},
    "annotations_null": {"content": [dict(TEXT, annotations=None, _meta=None)], "_meta": None, "isError": None},
    "error_text": {"content": [TEXT], "isError": "false"},
    "link_without_name": {"content": [TEXT, {"type": "resource_link", "uri": "x://a"}]},
    "empty_result": {},
    "tool_failed": {"content": [TEXT], "isError": "true"},
    "old_result": {"toolResult": "hello"},
    "input_required": {"resultType": "input_required", "inputRequests": {}},
}
INITIALIZE = {
    "revision_unknown": initialized(protocolVersion="2099-01-01"),
    "revision_number": initialized(protocolVersion=20250618),
    "revision_missing": initialized(protocolVersion=...),
    "about_missing": initialized(serverInfo=..., capabilities=None),
    "about_strange": initialized(capabilities={"tools": True, "logging": []}, serverInfo={"name": 7}, instructions=None),
    "initialize_list": [],
}
TOOLS = {
    "tools_mixed": [TOOL, {"name": "text", "inputSchema": {"type": "string"}}, TOOL, {"inputSchema": {}}, "tool", {"name": 5}],
    "tools_bare": [{"name": "t"}, {"name": "u", "inputSchema": None, "title": None, "annotations": None, "icons": 3}],
    "tools_many": [TOOL] + [{"name": f"t{n}", "inputSchema": {"type": "object"}} for n in range(10_000)],
    "tools_named": [dict(TOOL, name="größe it.now"), dict(TOOL, name="x" * 300), TOOL],
}


def answer(case, message):
    """The message that answers, or None."""
    identity, method = message.get("id"), message.get("method")
    if identity is None:
        return None
    if method == "initialize":
        return reply(identity, INITIALIZE.get(case, initialized()))
    if method == "ping":
        return reply(identity, {})
    if method == "tools/list":
        result = {"tools": TOOLS.get(case, [TOOL])}
        if case == "pages_repeat":
            result["nextCursor"] = "again"
        if case == "pages_without_news":
            result["nextCursor"] = str(time.monotonic_ns())
        if case == "pages_end_empty":
            result["nextCursor"] = ""
        if case == "tools_none":
            return reply(identity, {"tools": "none"})
        return reply(identity, result)
    if method == "tools/call":
        return reply(identity, RESULTS.get(case, GOOD))
    return refusal(identity, *NO_METHOD)


# ---- Over standard input and output -----------------------------------------------------------------------------------

LOCK = threading.Lock()


def write(data):
    with LOCK:
        sys.stdout.buffer.write(data)
        sys.stdout.buffer.flush()


def line(message):
    return json.dumps(message).encode() + b"\n"


def stdio_call(case, message):
    identity = message["id"]
    good = reply(identity, RESULTS.get(case, GOOD))
    raw = {
        "noise": b"starting up ...\n\n[]\n\x1b[2J42\n" + line(good),
        "bom": b"\xef\xbb\xbf" + line(good),
        "crlf": line(good)[:-1] + b"\r\n",
        "not_utf8": b'{"jsonrpc":"2.0","id":%d,"result":{"content":[{"type":"text","text":"caf\xe9"}]}}\n' % identity,
        "half_character": b'{"jsonrpc":"2.0","id":%d,"result":{"content":[{"type":"text","text":"a\\ud800b"}]}}\n' % identity,
        "not_a_number": b'{"jsonrpc":"2.0","id":%d,"result":{"structuredContent":{"a":NaN,"b":-Infinity}}}\n' % identity,
        "large_number": b'{"jsonrpc":"2.0","id":%d,"result":{"structuredContent":123456789012345678901234567890}}\n' % identity,
        "broken": b'{"jsonrpc":"2.0","id":%d,"result":{"content":[{"type":"text","text":"hel\n' % identity,
        "id_text": line(reply(str(identity), GOOD)),
        "id_other": line(reply(identity + 1000, GOOD)),
        "id_null_error": line(refusal(None, -32700, "cannot parse this")),
        "twice": line(good) * 2,
        "both": line(dict(good, error=None)),
        "both_filled": line(dict(good, error={"code": -1, "message": "it failed"})),
        "neither": line({"jsonrpc": "2.0", "id": identity}),
        "error_is_text": line({"jsonrpc": "2.0", "id": identity, "error": "it failed"}),
        "error_code_text": line({"jsonrpc": "2.0", "id": identity, "error": {"code": "-5", "message": None, "why": "it failed"}}),
        "no_version": line({"id": identity, "result": GOOD}),
        "batch": line([{"jsonrpc": "2.0", "method": "notifications/message", "params": {"level": 3}}, good]),
        "no_line_end": line(good)[:-1],
    }.get(case, line(good))
    if case == "asks_first":
        for number, method in enumerate(["ping", "sampling/createMessage", "roots/list", "elicitation/create", "odd/thing"]):
            write(line({"jsonrpc": "2.0", "id": f"s{number}", "method": method, "params": {}}))
        return  # The answers are counted in `stdio`.
    if case == "exit_before":
        print("I give up", file=sys.stderr, flush=True)
        os._exit(7)
    if case == "killed":
        os.kill(os.getpid(), signal.SIGKILL)
    if case == "orphan":
        subprocess.Popen(["sleep", "30"])
        os._exit(3)
    if case == "closes_output":
        os.close(1)
        time.sleep(30)
    if case == "silent":
        return
    if case == "stderr_flood":
        for number in range(5_000):
            print(f"line {number} of many", file=sys.stderr)
    if case == "progress_text":
        token = message["params"]["_meta"]["progressToken"]
        for step in range(1, 7):
            note = {"progressToken": str(token), "progress": str(step), "message": "on"}
            write(line({"jsonrpc": "2.0", "method": "notifications/progress", "params": note}))
            time.sleep(0.3)
    if case == "huge":
        raw = b'{"jsonrpc":"2.0","id":%d,"result":{"content":["' % identity + b"x" * (17 << 20) + b'"]}}\n'
    if case == "split":
        for byte in json.dumps(reply(identity, {"content": [{"type": "text", "text": "höllo"}]}), ensure_ascii=False).encode():
            write(bytes([byte]))
        raw = b"\n"
    write(raw)
    if case in ("no_line_end", "exit_after"):
        os._exit(0)


def stdio(case):
    answers = []
    if case == "slow_start":
        time.sleep(3)
    for text in sys.stdin:
        message = json.loads(text)
        method = message.get("method")
        if case == "old_and_deaf" and method == "server/discover":
            continue
        if case == "old_and_dies" and method == "server/discover":
            sys.exit(4)
        if case == "ends_at_once":
            print("no licence", file=sys.stderr, flush=True)
            sys.exit(9)
        if case == "discover_anything" and method == "server/discover":
            write(line(reply(message["id"], {"ok": True})))
        elif method is None:
            answers.append("error" if "error" in message else "result")
            if len(answers) == 5:
                write(line(reply(waiting, {"content": [{"type": "text", "text": " ".join(sorted(answers))}]})))
        elif method == "tools/call":
            waiting = message["id"]
            stdio_call(case, message)
        elif (said := answer(case, message)) is not None:
            write(line(said))


# ---- Over HTTP --------------------------------------------------------------------------------------------------------

SSE, JSON, PLAIN, HTML = "text/event-stream", "application/json", "text/plain", "text/html"
PAGE = "<!doctype html><html><head><title>Sign in</title><style>p{}</style></head><body>\x1b[2JWelcome</body></html>"
# Answers to every POST, by case: status, kind, body, headers.
ALWAYS = {
    "unauthorized": (401, JSON, '{"error":"invalid_token","error_description":"no key"}', {"WWW-Authenticate": "Bearer"}),
    "forbidden": (403, PLAIN, "not for you", {}),
    "login_page": (200, HTML, PAGE, {}),
    "bad_gateway": (502, HTML, "<html><h1>502 Bad Gateway</h1></html>", {}),
    "nothing_here": (404, PLAIN, "404 page not found", {}),
    "moved_away": (301, PLAIN, "", {"Location": "https://elsewhere.example/mcp"}),
    "moved_in_circles": (307, PLAIN, "", {"Location": "moved_in_circles"}),
    "always_empty": (200, JSON, "", {}),
    "always_accepted": (202, None, "", {}),
    "json_of_another_kind": (200, JSON, '{"status":"up"}', {}),
}
# Answers to the call alone.
CALL = {
    "call_error_without_id": (500, JSON, json.dumps(refusal(None, -32000, "the disk is full")), {}),
    "call_refused": (400, JSON, '{"detail":"no such thing"}', {}),
    "call_busy": (429, PLAIN, "slow down", {"Retry-After": "7"}),
    "call_broken": (500, PLAIN, "Traceback:\n  line 3", {}),
    "call_empty": (200, JSON, "", {}),
    "call_accepted": (202, None, "", {}),
    "call_page": (200, HTML, PAGE, {}),
    "call_text": (200, PLAIN, "hello there", {}),
}
BEFORE = {
    "sse_comments": ": keep-alive\n\n:\n\n",
    "sse_ping_event": "event: ping\ndata: 2026-01-01\n\nevent: keepalive\ndata: {}\n\n",
    "sse_empty_data": "id: 1\ndata:\n\nretry: 10\ndata: \n\n",
    "sse_heartbeat": 'data: {"type":"heartbeat"}\n\n',
    "sse_bom": "\ufeff",
    "sse_noise": "data: not json\n\nunknown: field\nnonsense\n\n",
    "sse_log": 'data: {"jsonrpc":"2.0","method":"notifications/message","params":{"level":"info","data":"x"}}\n\n',
}


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    streams = {}
    seen = {}

    def log_message(self, *_):
        pass

    def out(self, status, kind, body="", headers=None):
        body = body if isinstance(body, bytes) else body.encode()
        self.send_response(status)
        if kind:
            self.send_header("Content-Type", kind)
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def chunks(self, pieces, pause=0.0, end=True):
        self.send_response(200)
        self.send_header("Content-Type", SSE)
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        for piece in pieces:
            self.wfile.write(b"%x\r\n%s\r\n" % (len(piece), piece))
            self.wfile.flush()
            time.sleep(pause)
        if end:
            self.wfile.write(b"0\r\n\r\n")
        else:
            self.close_connection = True

    def do_POST(self):
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        message, case = json.loads(body), self.path.strip("/").split("/")[0]
        if case.startswith("first") and self.path.endswith("/messages"):
            said = answer(case, message)
            if said:
                self.streams[case].put(said)
            return self.out(202, PLAIN, "Accepted")
        if case.startswith("first"):
            return self.out(405, PLAIN, "Method Not Allowed")
        if case in ALWAYS:
            return self.out(*ALWAYS[case])
        if case == "moved_a_little" and not self.path.endswith("/new"):
            return self.out(308, PLAIN, "", {"Location": "/moved_a_little/new"})
        if case == "wants_key" and self.headers.get("x-key") != "hunter22":
            return self.out(401, PLAIN, "no key")
        if case == "hangs_at_the_new" and message.get("method") == "server/discover":
            time.sleep(20)
        if "id" not in message:
            refused = case == "notes_refused"
            return self.out(400 if refused else 202, PLAIN, "no notes please" if refused else "")
        if case.startswith("session"):
            return self.session(case, message)
        said = answer(case, message)
        if message.get("method") != "tools/call":
            return self.out(200, JSON, json.dumps(said))
        if case in CALL:
            return self.out(*CALL[case])
        self.call(case, message, said)

    def session(self, case, message):
        if message["method"] == "initialize":
            self.seen[case] = self.seen.get(case, 0) + 1
            return self.out(200, JSON, json.dumps(answer(case, message)), {"Mcp-Session-Id": f"s{self.seen[case]}"})
        gone = self.headers.get("Mcp-Session-Id") == "s1" or case == "session_always_gone"
        if message["method"] == "tools/call" and gone:
            status = 400 if case == "session_gone_400" else 404
            return self.out(status, JSON, json.dumps(refusal(None, -32000, "no valid session")))
        self.out(200, JSON, json.dumps(answer(case, message)))

    def call(self, case, message, said):
        identity, good = message["id"], json.dumps(said, ensure_ascii=False)
        event = f"event: message\ndata: {good}\n\n"
        if case in BEFORE:
            return self.out(200, SSE, BEFORE[case] + event)
        if case == "sse_cr":
            return self.out(200, SSE, event.replace("\n", "\r"))
        if case == "sse_crlf":
            return self.out(200, SSE, event.replace("\n", "\r\n"))
        if case == "sse_many_lines":
            return self.out(200, SSE, "data: " + json.dumps(said, indent=1).replace("\n", "\ndata:") + "\n\n")
        if case == "sse_without_end":
            return self.out(200, SSE, f"data:{good}")
        if case == "sse_bare":
            return self.out(200, SSE, good + "\n")
        if case == "sse_as_json":
            return self.out(200, JSON, event)
        if case == "json_as_sse_name":
            return self.out(200, SSE, f"event: response\ndata: {good}\n\n")
        if case == "no_content_type":
            return self.out(200, None, good)
        if case == "sse_split":
            text = json.dumps(reply(identity, {"content": [{"type": "text", "text": "höllo"}]}), ensure_ascii=False)
            data = f"data: {text}\r\n\r\n".encode()
            return self.chunks([data[at : at + 1] for at in range(len(data))])
        if case == "sse_ends_early":
            return self.chunks([b": soon\n\n"])
        if case == "sse_breaks_off":
            return self.chunks([b"data: {\"jsonrpc\""], end=False)
        if case == "sse_huge":
            return self.chunks([b"data: "] + [b"x" * (1 << 20)] * 17)
        if case in ("sse_resumed", "sse_lost"):
            return self.chunks([b"id: 5\nretry: 10\ndata:\n\n"])
        if case == "sse_asks_first":
            ask = json.dumps({"jsonrpc": "2.0", "id": "s1", "method": "ping"})
            return self.chunks([f"data: {ask}\n\n".encode(), event.encode()], pause=0.2)
        if case == "id_wrong":
            return self.out(200, JSON, json.dumps(reply(identity + 1000, GOOD)))
        if case == "id_none":
            return self.out(200, JSON, json.dumps(reply(None, GOOD)))
        if case == "batch":
            note = {"jsonrpc": "2.0", "method": "notifications/message", "params": {"level": "info", "data": 1}}
            return self.out(200, JSON, json.dumps([note, said]))
        if case == "json_broken":
            return self.out(200, JSON, good[:-5])
        if case == "json_huge":
            return self.out(200, JSON, b'{"jsonrpc":"2.0","result":"' + b"x" * (17 << 20) + b'"}')
        if case == "hangs_up":
            self.close_connection = True
            return None
        return self.out(200, JSON, good)

    def do_GET(self):
        case = self.path.strip("/").split("/")[0]
        if case.startswith("first"):
            return self.first(case)
        if case == "sse_resumed" and self.headers.get("Last-Event-ID") == "5":
            # The only call of this case has the id that follows the handshake and the list.
            return self.chunks([f"data: {json.dumps(reply(self.seen['id'], GOOD))}\n\n".encode()])
        return self.out(405, PLAIN, "")

    def first(self, case):
        if case == "first_without_address":
            return self.chunks([b"event: hello\ndata: x\n\n"])
        if case == "first_elsewhere":
            return self.chunks([b"event: endpoint\ndata: http://elsewhere.example/messages\n\n"], pause=1)
        import queue

        waiting = self.streams[case] = queue.Queue()
        self.send_response(200)
        self.send_header("Content-Type", SSE)
        self.end_headers()
        self.wfile.write(f"event: endpoint\r\ndata: /{case}/messages\r\n\r\n: hi\n\n".encode())
        self.wfile.flush()
        while True:
            message = waiting.get()
            self.wfile.write(f"event: message\ndata: {json.dumps(message)}\n\n".encode())
            self.wfile.flush()

    def do_DELETE(self):
        self.out(405, None)


def http():
    class Remembering(Handler):
        def call(self, case, message, said):
            if case == "sse_resumed":
                self.seen["id"] = message["id"]
            return super().call(case, message, said)

    server = ThreadingHTTPServer(("127.0.0.1", 0), Remembering)
    server.daemon_threads = True
    # A client that hangs up is what some of these rows are about.
    server.handle_error = lambda *_: None
    threading.Thread(target=server.serve_forever, daemon=True).start()
    print(server.server_address[1], flush=True)
    # Ends with whoever started it.
    sys.stdin.read()


if sys.argv[1] == "http":
    http()
else:
    stdio(sys.argv[2])
