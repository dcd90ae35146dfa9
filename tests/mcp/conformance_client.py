"""The client under test for the MCP conformance suite: runs firebox with the calls that the scenario needs.

FIREBOX is the binary; the suite puts the scenario into the environment and its address last.
"""
import json
import os
import socket
import subprocess
import sys
import threading
import urllib.parse

SCENARIO = os.environ["MCP_CONFORMANCE_SCENARIO"]
CONTEXT = json.loads(os.environ.get("MCP_CONFORMANCE_CONTEXT") or "{}")
ADDRESS = urllib.parse.urlsplit(sys.argv[-1])
# The tools that the suite expects in scenarios that do not list them.
CALLS = {
    "tools_call": [("add_numbers", {"a": 5, "b": 3})],
    "sse-retry": [("test_reconnection", {})],
    "http-standard-headers": [("test_headers", {}), ("my-hyphenated-tool", {})],
    "http-invalid-tool-headers": [("valid_tool", {"region": "us-east1"})],
}


def relay(client):
    """Forwards one request to the suite. Refuses the listening stream of a client, as servers without one do.

    The scenario sse-retry takes that stream for the one that a client opens again, where it comes after the call.
    """
    with client:
        head = b""
        while b"\r\n\r\n" not in head:
            head += client.recv(65536)
        head, body = head.split(b"\r\n\r\n", 1)
        lines = head.split(b"\r\n")
        headers = dict(line.lower().split(b": ", 1) for line in lines[1:])
        if lines[0].startswith(b"GET ") and b"last-event-id" not in headers:
            client.sendall(b"HTTP/1.1 405 Method Not Allowed\r\ncontent-length: 0\r\nconnection: close\r\n\r\n")
            return
        while len(body) < int(headers.get(b"content-length", 0)):
            body += client.recv(65536)
        with socket.create_connection((ADDRESS.hostname, ADDRESS.port)) as suite:
            suite.sendall(b"\r\n".join([*lines, b"connection: close", b"", body]))
            while data := suite.recv(65536):
                client.sendall(data)


def relayed():
    """The address of a proxy in front of the suite."""
    listener = socket.create_server(("127.0.0.1", 0))

    def accept():
        while True:
            threading.Thread(target=relay, args=(listener.accept()[0],), daemon=True).start()

    threading.Thread(target=accept, daemon=True).start()
    return ADDRESS._replace(netloc="127.0.0.1:%d" % listener.getsockname()[1]).geturl()


def main():
    server = ["--mcp", "server=" + (relayed() if SCENARIO == "sse-retry" else ADDRESS.geturl())]

    def firebox(*arguments):
        subprocess.run([os.environ["FIREBOX"], "mcp", *arguments, *server], check=True, timeout=60)

    asked = [(call["name"], call["arguments"]) for call in CONTEXT.get("toolCalls", [])]
    firebox("tools", "--json")
    for name, arguments in asked or CALLS.get(SCENARIO, []):
        firebox("call", "server", name, json.dumps(arguments))


main()
