"""What the clients of `soak.py` ask: each task checks its answers and raises where one is not what it should be."""
import http.client
import json
import socket

from servers import ENDLESS, key

# By tenant: what its tools can answer.
SUMS = [("What is 1234 * 87?", "107358"), ("12 km in miles", "7.456454")]
STREAMABLE = "application/json, text/event-stream"


class Client:
    """A tenant's connection, made again after it was closed or broke."""

    def __init__(self, server, number, chance):
        self.server, self.number, self.chance, self.connection = server, number, chance, None

    def request(self, method, path, body=None, headers=None, as_tenant=None):
        """The response, not yet read. Text goes as it is, everything else as JSON."""
        sent = {"Authorization": f"Bearer {key(self.number if as_tenant is None else as_tenant)}",
                "Content-Type": "application/json", **(headers or {})}
        text = body if body is None or isinstance(body, str) else json.dumps(body)
        self.connection = self.connection or self.server.connect()
        try:
            try:
                self.connection.request(method, path, text, sent)
            except BrokenPipeError:
                pass  # refused before all of it was taken: the answer is there
            return self.connection.getresponse()
        except (http.client.HTTPException, OSError) as error:
            self.close()
            raise ConnectionError(f"{method} {path}: {error!r}") from error

    def ask(self, method, path, body=None, expect=200, **more):
        """The answer's JSON; `expect` is the status it must have."""
        response = self.request(method, path, body, **more)
        text = response.read()
        if response.will_close:
            self.close()
        if response.status != expect:
            raise AssertionError(f"{method} {path}: {response.status} instead of {expect}: {text[:300]}")
        kind = response.headers.get_content_type()
        return json.loads(text) if kind == "application/json" and text else text.decode()

    def close(self):
        if self.connection:
            self.connection.close()
        self.connection = None


def chat(text, **more):
    return {"model": "ember", "temperature": 0, "messages": [{"role": "user", "content": text}], **more}


def must_hold(answer, part):
    if part not in answer:
        raise AssertionError(f"\"{part}\" is not in {answer!r:.300}")


def streamed(response):
    """The chunks of a stream that must come to its end."""
    if response.status != 200:
        raise AssertionError(f"{response.status} instead of a stream: {response.read()[:300]}")
    chunks, ended = [], False
    for line in response:
        if line.startswith(b"data: [DONE]"):
            ended = True
        elif line.startswith(b"data: "):
            chunks.append(json.loads(line[6:]))
    if not ended:
        raise AssertionError(f"a stream broke off: {chunks[-1:]}")
    return chunks


def whole_answer_with_tool(client):
    question, answer = SUMS[client.number]
    done = client.ask("POST", "/v1/chat/completions", chat(question))
    must_hold(done["choices"][0]["message"]["content"], answer)


def streamed_answer_with_tool(client):
    question, answer = SUMS[client.number]
    chunks = streamed(client.request("POST", "/v1/chat/completions", chat(question, stream=True)))
    deltas = [chunk["choices"][0]["delta"] for chunk in chunks if chunk["choices"]]
    must_hold("".join(delta.get("content") or "" for delta in deltas), answer)


def redacted_answer(client):
    address = f"ada{client.chance.randrange(1000)}@example.com"
    text = f"make \"write to {address}\" upper case"
    done = client.ask("POST", "/v1/chat/completions", chat(text, max_tokens=64))
    if client.number == 0:
        must_hold(done["choices"][0]["message"]["content"], address)


def plain_completion(client):
    prompt = "".join(client.chance.choice("abcdefgh ") for _ in range(client.chance.randrange(8, 400)))
    body = {"model": "ember", "prompt": prompt, "max_tokens": 32, "temperature": 1, "stream": True, **ENDLESS}
    streamed(client.request("POST", "/v1/completions", body))


def session(client):
    """A conversation from its beginning to its end, a fork of it included."""
    question, answer = SUMS[client.number]
    path = "/v1/sessions/" + client.ask("POST", "/v1/sessions", {"model": "ember"})["id"]
    said = [{"role": "user", "content": "Hello"}, {"role": "assistant", "content": "Hello."}]
    client.ask("POST", f"{path}/messages", {"messages": said, "expected_length": 0})
    client.ask("POST", f"{path}/messages", {"messages": said, "expected_length": 0}, expect=409)
    asked = {"temperature": 0, "messages": [{"role": "user", "content": question}]}
    if client.chance.random() < 0.5:
        must_hold(client.ask("POST", f"{path}/generate", asked)["choices"][0]["message"]["content"], answer)
    else:
        streamed(client.request("POST", f"{path}/generate", {**asked, "stream": True}))
    must_hold(json.dumps(client.ask("GET", path)), question)
    fork = client.ask("POST", f"{path}/fork", {"at": 2})["id"]
    client.ask("GET", path, as_tenant=1 - client.number, expect=404)
    client.ask("DELETE", f"/v1/sessions/{fork}")
    client.ask("DELETE", path)
    client.ask("GET", path, expect=404)


def embeddings(client):
    texts = ["a plank of " + "wood " * client.chance.randrange(1, 60) for _ in range(client.chance.randrange(1, 9))]
    done = client.ask("POST", "/v1/embeddings", {"model": "minilm", "input": texts})
    if [len(row["embedding"]) for row in done["data"]] != [384] * len(texts):
        raise AssertionError("vectors of another number or length")


def cancelled_stream(client):
    """Leaves after the first events, or before any."""
    body = chat("Tell me something.", max_tokens=900, stream=True, **ENDLESS)
    response = client.request("POST", "/v1/chat/completions", body)
    for _ in range(client.chance.randrange(12)):
        response.readline()
    client.close()


def cancelled_request(client):
    """Leaves while the whole answer is computed."""
    connection = client.server.connect()
    headers = {"Authorization": f"Bearer {key(client.number)}", "Content-Type": "application/json"}
    connection.request("POST", "/v1/chat/completions", json.dumps(chat("Tell me.", max_tokens=900, **ENDLESS)), headers)
    connection.sock.settimeout(client.chance.random() / 10)
    try:
        connection.getresponse()
    except (TimeoutError, http.client.HTTPException):
        pass
    connection.close()


def bad_requests(client):
    ask = "POST", "/v1/chat/completions"
    client.ask(*ask, "{\"model\": \"ember\", ", expect=400)
    client.ask(*ask, chat("x", temperature="hot"), expect=400)
    client.ask(*ask, chat("x", n=2), expect=400)
    client.ask(*ask, {**chat("x"), "model": "nobody"}, expect=404)
    client.ask(*ask, chat("x"), expect=401, headers={"Authorization": "Bearer fbx_nobody_0"})
    client.ask("GET", "/v1/nothing", expect=404)
    client.ask("PUT", "/v1/models", expect=405)
    client.ask(*ask, chat("word " * 20_000), expect=400)


def broken_connections(client):
    """No request, half of one, and one with headers that are too long."""
    for sent in (b"", b"POST /v1/chat/completions HTTP/1.1\r\nhost: local", b"GET / HTTP/1.1\r\nx: " + b"x" * 65_536):
        with socket.create_connection(client.server.address, timeout=30) as raw:
            try:
                raw.sendall(sent)
            except OSError:
                pass  # refused before all of it was taken


def looks(client):
    for path in ("/v1/models", "/v1/usage", "/v1/approvals", "/v1/sessions", "/metrics", "/healthz", "/readyz"):
        client.ask("GET", path)


def rpc(client, method, params, session=None, revision=None, expect=200):
    """One JSON-RPC request at /mcp: its result and the session's header."""
    headers = {"Accept": STREAMABLE, "Authorization": f"Bearer {key(client.number)}"}
    headers |= {"mcp-session-id": session} if session else {}
    headers |= {"mcp-protocol-version": revision} if revision else {}
    note = method.startswith("notifications/")
    body = {"jsonrpc": "2.0", "method": method, **({} if note else {"id": 1}), **({"params": params} if params else {})}
    response = client.request("POST", "/mcp", body, headers)
    text = response.read().decode()
    if response.status != expect:
        raise AssertionError(f"{method}: {response.status} instead of {expect}: {text[:300]}")
    events = [line[6:] for line in text.splitlines() if line.startswith("data: {")]
    answer = json.loads(events[-1] if events else text) if text and not note else None
    return answer, response.headers.get("mcp-session-id")


def mcp_session(client):
    """The handshake of 2025-11-25, a list, a call, and the end."""
    revision = "2025-11-25"
    begin = {"protocolVersion": revision, "capabilities": {}, "clientInfo": {"name": "soak", "version": "1"}}
    _, session = rpc(client, "initialize", begin)
    rpc(client, "notifications/initialized", None, session, revision, expect=202)
    listed, _ = rpc(client, "tools/list", None, session, revision)
    names = [tool["name"] for tool in listed["result"]["tools"]]
    if client.number == 0:
        call = {"name": "calculator", "arguments": {"expression": "1234 * 87"}}
        done, _ = rpc(client, "tools/call", call, session, revision)
        must_hold(done["result"]["content"][0]["text"], "107358")
        call["arguments"] = {"expression": "1 / 0"}
        done, _ = rpc(client, "tools/call", call, session, revision)
        must_hold(json.dumps(done["result"]), "isError")
    elif "calculator" in names:
        raise AssertionError("a tool that this tenant was not given")
    client.ask("DELETE", "/mcp", headers={"mcp-session-id": session, "mcp-protocol-version": revision}, expect=202)


TASKS = [whole_answer_with_tool, streamed_answer_with_tool, redacted_answer, plain_completion, session, embeddings,
         cancelled_stream, cancelled_request, bad_requests, broken_connections, looks, mcp_session]
