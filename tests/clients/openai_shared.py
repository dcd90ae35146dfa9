"""Helpers of the cases of the official Python client.

Reads BASE_URL, KEY (may do everything), KEY_CHAT (scope chat only), KEY_LIMITED (two requests a minute), KEY_PLAIN (a tenant
without plugins), KEY_ONE (one stream at a time, and tools that wait for a word which never comes) and EMBED_MODEL from the
environment.
"""

import os
import sys
import traceback
import urllib.request

import openai

BASE = os.environ["BASE_URL"]
QUESTION = "What is 1234 * 87?"
ANSWER = "107358"
CASES = []


def client(key="KEY", **options):
    return openai.OpenAI(base_url=f"{BASE}/v1", api_key=os.environ.get(key, key), max_retries=0, timeout=120, **options)


def case(function):
    CASES.append(function)
    return function


def chat(text=QUESTION, key="KEY", **options):
    options.setdefault("temperature", 0)
    messages = options.pop("messages", [{"role": "user", "content": text}])
    return client(key).chat.completions.create(model="ember", messages=messages, **options)


def refused(kind, param=None, code=None, **options):
    """Runs a chat that must be refused, and returns the error."""
    try:
        chat(**options)
    except kind as error:
        body = error.body or {}
        assert param is None or body.get("param") == param, body
        assert code is None or body.get("code") == code, body
        assert body.get("message") and body.get("type"), body
        return error
    raise AssertionError("was not refused")


def metric(line):
    """The value of a line of /metrics, or 0 if there is none."""
    request = urllib.request.Request(f"{BASE}/metrics", headers={"Authorization": f"Bearer {os.environ['KEY']}"})
    with urllib.request.urlopen(request, timeout=30) as response:
        text = response.read().decode()
    found = [row for row in text.splitlines() if row.startswith(line)]
    return float(found[0].rsplit(" ", 1)[1]) if found else 0.0


CALCULATOR = {
    "type": "function",
    "function": {
        "name": "calculator",
        "description": "Evaluates an arithmetic expression exactly.",
        "parameters": {
            "type": "object",
            "properties": {"expression": {"type": "string"}},
            "required": ["expression"],
        },
    },
}


def main():
    failed = 0
    for run in CASES:
        try:
            run()
            print(f"ok {run.__name__}", flush=True)
        except Exception:
            failed += 1
            print(f"FAILED {run.__name__}\n{traceback.format_exc()}", flush=True)
    print(f"{len(CASES) - failed} of {len(CASES)} passed")
    sys.exit(1 if failed else 0)
