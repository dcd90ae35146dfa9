"""The client under test for the MCP conformance suite: firebox, asked to do what the scenario wants.

FIREBOX is the binary; the suite puts the scenario into the environment and its address last.
"""
import json
import os
import subprocess
import sys

SCENARIO = os.environ["MCP_CONFORMANCE_SCENARIO"]
CONTEXT = json.loads(os.environ.get("MCP_CONFORMANCE_CONTEXT") or "{}")
SERVER = ["--mcp", "server=" + sys.argv[-1]]
# Where the suite does not say by itself which tools it waits for.
CALLS = {
    "tools_call": [("add_numbers", {"a": 5, "b": 3})],
    "sse-retry": [("test_reconnection", {})],
    "http-standard-headers": [("test_headers", {}), ("my-hyphenated-tool", {})],
    "http-invalid-tool-headers": [("valid_tool", {"region": "us-east1"})],
}


def firebox(*arguments):
    return subprocess.run([os.environ["FIREBOX"], "mcp", *arguments, *SERVER], check=True, timeout=60)


def main():
    asked = [(call["name"], call["arguments"]) for call in CONTEXT.get("toolCalls", [])]
    firebox("tools", "--json")
    for name, arguments in asked or CALLS.get(SCENARIO, []):
        firebox("call", "server", name, json.dumps(arguments))


main()
