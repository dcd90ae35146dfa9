"""The official Python client with a running server: its handling of answers, errors and timeouts.

Its cases run with those of openai_cases.py.
"""

import asyncio
import gzip
import json
import os
import time
import typing
import urllib.error
import urllib.request

import openai
import pydantic
from openai_shared import ANSWER, BASE, CALCULATOR, QUESTION, case, chat, client, metric, refused

MESSAGES = [{"role": "user", "content": QUESTION}]
ASK = {"model": "ember", "messages": MESSAGES, "temperature": 0}
EMBED = os.environ["EMBED_MODEL"]
CANCELLED = 'firebox_requests_total{model="ember",tenant="one",outcome="cancelled"}'


def fails(kind, work):
    """The error that `work` raises, which must be of the type `kind`."""
    try:
        work()
    except kind as error:
        return error
    raise AssertionError("was not refused")


def eventually(check):
    deadline = time.time() + 60
    while not check():
        assert time.time() < deadline, "never"
        time.sleep(0.02)


def asynchronous(key="KEY", **options):
    return openai.AsyncOpenAI(base_url=f"{BASE}/v1", api_key=os.environ[key], max_retries=0, timeout=120, **options)


@case
def a_client_with_nothing_but_its_environment_is_served():
    os.environ["OPENAI_BASE_URL"], os.environ["OPENAI_API_KEY"] = f"{BASE}/v1", os.environ["KEY"]
    try:
        asking = openai.OpenAI()
        assert asking.max_retries == 2 and asking.timeout.read == 600
        assert ANSWER in asking.chat.completions.create(**ASK).choices[0].message.content
    finally:
        del os.environ["OPENAI_BASE_URL"], os.environ["OPENAI_API_KEY"]


@case
def a_slash_at_the_end_of_the_base_url_changes_nothing():
    for end in ("/v1/", "//v1//"):
        asking = openai.OpenAI(base_url=f"{BASE}{end}", api_key=os.environ["KEY"], max_retries=0)
        assert ANSWER in asking.chat.completions.create(**ASK).choices[0].message.content


@case
def a_base_url_that_is_nearly_right_is_told_the_right_one():
    for base in (BASE, f"{BASE}/v1/v1"):
        asking = openai.OpenAI(base_url=base, api_key=os.environ["KEY"], max_retries=0)
        error = fails(openai.NotFoundError, lambda: asking.chat.completions.create(**ASK))
        assert '"/v1/chat/completions"' in error.message, error.message


@case
def the_headers_of_organizations_projects_and_applications_are_passed_over():
    asking = client(organization="org-1", project="proj_1", default_headers={"X-Title": "cases", "OpenAI-Beta": "x=v2"})
    options = {"extra_headers": {"Idempotency-Key": "one"}, "extra_query": {"api-version": "2024-10-21"}}
    assert ANSWER in asking.chat.completions.create(**ASK, **options).choices[0].message.content


@case
def a_raw_response_has_headers_and_parses():
    raw = client().chat.completions.with_raw_response.create(**ASK)
    assert raw.status_code == 200 and raw.headers["content-type"] == "application/json"
    assert raw.headers["x-request-id"] == raw.request_id and raw.request_id.startswith("req_")
    assert ANSWER in raw.parse().choices[0].message.content
    assert json.loads(raw.content)["object"] == "chat.completion"


@case
def a_raw_response_of_an_error_is_the_error():
    work = lambda: client().chat.completions.with_raw_response.create(**{**ASK, "model": "none"})
    assert fails(openai.NotFoundError, work).response.json()["error"]["code"] == "model_not_found"


@case
def a_streaming_response_is_read_line_by_line():
    with client().chat.completions.with_streaming_response.create(**ASK, stream=True) as response:
        assert response.headers["content-type"].startswith("text/event-stream")
        lines = [line for line in response.iter_lines() if line]
    assert lines[-1] == "data: [DONE]" and all(line.startswith("data: ") for line in lines), lines
    text = "".join(json.loads(line[6:])["choices"][0]["delta"].get("content") or "" for line in lines[:-1])
    assert ANSWER in text, text


@case
def a_streaming_response_of_a_whole_answer_is_parsed():
    with client().chat.completions.with_streaming_response.create(**ASK) as response:
        assert ANSWER in response.parse().choices[0].message.content


@case
def the_id_that_the_client_gives_a_request_comes_back():
    raw = client().chat.completions.with_raw_response.create(**ASK, extra_headers={"X-Request-ID": "mine-1"})
    assert raw.headers["x-client-request-id"] == "mine-1" and raw.headers["x-request-id"] != "mine-1"


@case
def an_asynchronous_client_streams():
    async def work():
        async with asynchronous() as asking:
            stream = await asking.chat.completions.create(**ASK, stream=True)
            return "".join([chunk.choices[0].delta.content or "" async for chunk in stream])

    assert ANSWER in asyncio.run(work())


@case
def an_asynchronous_stream_helper_tells_events():
    async def work():
        async with asynchronous() as asking, asking.chat.completions.stream(**ASK) as stream:
            kinds = [event.type async for event in stream]
            return kinds, (await stream.get_final_completion()).choices[0].message.content

    kinds, text = asyncio.run(work())
    assert {"chunk", "content.delta", "content.done"} <= set(kinds) and ANSWER in text, kinds


@case
def good_and_bad_requests_at_once_do_not_mix():
    async def work():
        async with asynchronous() as asking:
            models = ["ember", "none"] * 8
            asks = [asking.chat.completions.create(**{**ASK, "model": model}) for model in models]
            return await asyncio.gather(*asks, return_exceptions=True)

    answers = asyncio.run(work())
    assert all(ANSWER in done.choices[0].message.content for done in answers[::2]), answers
    assert all(isinstance(error, openai.NotFoundError) for error in answers[1::2]), answers


@case
def asynchronous_vectors_and_raw_responses_work():
    async def work():
        async with asynchronous() as asking:
            done = await asking.embeddings.create(model=EMBED, input="text")
            raw = await asking.models.with_raw_response.list()
            return done, raw.parse()

    done, models = asyncio.run(work())
    assert len(done.data[0].embedding) == 384 and {"ember", EMBED} <= {row.id for row in models.data}


@case
def models_are_paged_through():
    page = client().models.list()
    assert page.object == "list" and not page.has_next_page()
    assert [row.id for row in page] == [row.id for row in page.data]
    assert all(row.object == "model" and row.created > 0 for row in page)


@case
def a_client_asks_again_when_it_is_told():
    statuses = []

    def heard(response):
        statuses.append(response.status_code)
        if response.status_code == 429:
            assert 0 < int(response.headers["retry-after-ms"]) <= 1000 * int(response.headers["retry-after"])
            held.close()

    # The tenant may have one stream. The stream has ended when the client retries.
    held = client("KEY_ONE").chat.completions.create(**ASK, stream=True)
    next(iter(held))
    hooks = openai.DefaultHttpxClient(event_hooks={"response": [heard]})
    asking = openai.OpenAI(base_url=f"{BASE}/v1", api_key=os.environ["KEY_ONE"], http_client=hooks)
    begun = time.time()
    asking.chat.completions.create(**ASK, stream=True).close()
    assert statuses[0] == 429 and statuses[-1] == 200 and len(statuses) <= 3, statuses
    assert time.time() - begun > 0.9, "it did not wait"


@case
def leaving_a_stream_cancels_the_work():
    before = metric(CANCELLED)
    # The tools wait for an approval that never comes, so the request ends only when the client leaves.
    stream = chat(key="KEY_ONE", stream=True)
    next(iter(stream))
    stream.close()
    eventually(lambda: metric(CANCELLED) > before and metric('firebox_requests_running{model="ember"}') == 0)


@case
def leaving_the_block_of_a_stream_cancels_the_work():
    before = metric(CANCELLED)
    with chat(key="KEY_ONE", stream=True) as stream:
        for _ in stream:
            break
    eventually(lambda: metric(CANCELLED) > before)


@case
def a_client_that_waits_no_longer_cancels_the_work():
    before = metric(CANCELLED)
    fails(openai.APITimeoutError, lambda: client("KEY_ONE").with_options(timeout=0.5).chat.completions.create(**ASK))
    eventually(lambda: metric(CANCELLED) > before)


@case
def a_cancelled_task_cancels_the_work():
    before = metric(CANCELLED)

    async def work():
        async with asynchronous("KEY_ONE") as asking:
            await asyncio.wait_for(asking.chat.completions.create(**ASK), timeout=0.5)

    fails((TimeoutError, asyncio.TimeoutError), lambda: asyncio.run(work()))
    eventually(lambda: metric(CANCELLED) > before)


@case
def a_tool_call_streams_in_pieces_of_one_shape():
    chunks = list(chat(key="KEY_PLAIN", tools=[CALCULATOR], stream=True))
    pieces = [call for chunk in chunks for call in chunk.choices[0].delta.tool_calls or []]
    assert pieces[0].id and pieces[0].type == "function" and pieces[0].function.name == "calculator", pieces
    assert {piece.index for piece in pieces} == {0}, pieces
    assert "1234" in json.loads("".join(piece.function.arguments or "" for piece in pieces))["expression"]
    assert [chunk.choices[0].finish_reason for chunk in chunks if chunk.choices[0].finish_reason] == ["tool_calls"]


@case
def the_stream_helper_tells_of_a_tool_call():
    with client("KEY_PLAIN").chat.completions.stream(**ASK, tools=[CALCULATOR]) as stream:
        done = [event for event in stream if event.type == "tool_calls.function.arguments.done"]
    assert len(done) == 1 and done[0].name == "calculator" and "1234" in done[0].arguments, done


@case
def several_calls_of_one_turn_and_their_results_are_taken():
    calls = [
        {"id": f"call_{at}", "type": "function", "function": {"name": "calculator", "arguments": json.dumps({"expression": text})}}
        for at, text in enumerate(["1+1", "2+2"])
    ]
    messages = [
        {"role": "user", "content": "What is 1+1 and 2+2?"},
        {"role": "assistant", "content": None, "tool_calls": calls},
        {"role": "tool", "tool_call_id": "call_1", "content": "4"},
        {"role": "tool", "tool_call_id": "call_0", "content": "2"},
    ]
    done = chat(messages=messages, key="KEY_PLAIN", tools=[CALCULATOR], max_tokens=20)
    assert done.usage.prompt_tokens > 0


@case
def functions_of_the_old_kind_are_refused_by_name():
    old = {"name": "calculator", "parameters": {"type": "object", "properties": {}}}
    error = refused(openai.BadRequestError, code="unsupported", functions=[old], function_call="auto")
    assert "functions" in error.body["param"] and "tools" in error.message, error.body


@case
def structured_answers_are_objects_of_the_class():
    class Sum(pydantic.BaseModel):
        ok: bool
        kind: typing.Literal["sum", "product"]

    ask = {**ASK, "tool_choice": "none"}
    parsed = client().chat.completions.parse(**ask, response_format=Sum).choices[0].message.parsed
    assert isinstance(parsed, Sum), parsed
    odd = {"type": "json_schema", "json_schema": {"name": "a", "schema": {"type": "array", "uniqueItems": True}}}
    error = fails(openai.BadRequestError, lambda: client().chat.completions.create(**ask, response_format=odd))
    assert error.param == "response_format/uniqueItems" and error.code == "schema_unsupported", error.body


@case
def what_else_is_not_offered_is_refused_by_name():
    for options, param in [({"best_of": 2}, "best_of"), ({"suffix": "x"}, "suffix"), ({"echo": True}, "echo")]:
        work = lambda: client().completions.create(model="ember", prompt="x", max_tokens=1, **options)
        error = fails(openai.BadRequestError, work)
        assert error.param == param and error.code == "unsupported", error.body


@case
def other_endpoints_of_openai_are_not_found_in_words():
    asking = client()
    works = [
        lambda: asking.responses.create(model="ember", input="hi"),
        lambda: asking.moderations.create(input="hi"),
        lambda: asking.images.generate(prompt="hi"),
        lambda: asking.audio.speech.create(model="x", voice="alloy", input="hi"),
        lambda: asking.files.list(),
        lambda: asking.files.create(file=b"{}", purpose="batch"),
        lambda: asking.batches.list(),
        lambda: asking.fine_tuning.jobs.list(),
        lambda: asking.vector_stores.list(),
    ]
    for work in works:
        error = fails(openai.NotFoundError, work)
        assert "no endpoint" in error.message and error.code == "not_found", error.body


@case
def each_status_is_the_error_it_should_be():
    asking = client()
    rows = [
        (openai.BadRequestError, 400, lambda: asking.post("/chat/completions", body=[1], cast_to=object)),
        (openai.AuthenticationError, 401, lambda: client("none").models.list()),
        (openai.PermissionDeniedError, 403, lambda: client("KEY_CHAT").get("/usage", cast_to=object)),
        (openai.NotFoundError, 404, lambda: asking.models.retrieve("none")),
        (openai.APIStatusError, 405, lambda: asking.delete("/models", cast_to=object)),
        (openai.APIStatusError, 413, lambda: chat("x" * (17 << 20))),
        (openai.APIStatusError, 415, lambda: asking.chat.completions.create(**ASK, extra_headers={"Content-Encoding": "br"})),
    ]
    for kind, status, work in rows:
        error = fails(kind, work)
        assert error.status_code == status and error.request_id.startswith("req_"), (status, error)
        assert error.message and error.type and error.code and set(error.body) == {"message", "type", "param", "code"}, error.body


@case
def a_model_of_an_organization_is_found_by_its_name():
    error = fails(openai.NotFoundError, lambda: client().models.retrieve("org/no such/näme"))
    assert error.code == "model_not_found" and '"org/no such/näme"' in error.message, error.message


@case
def text_of_every_kind_is_taken():
    for text in ("héllo 👋 中文 العربية", "a\u0000b\u2028c", "\ufeffmark", "<|im_end|>", "\U0010ffff", "e\u0301", " "):
        assert chat(text, key="KEY_PLAIN", max_tokens=2).usage.prompt_tokens > 0


@case
def one_connection_carries_many_requests():
    asking = client()
    for at in range(30):
        if at % 3 == 0:
            fails(openai.NotFoundError, lambda: asking.models.retrieve("none"))
        else:
            assert asking.chat.completions.create(**{**ASK, "max_tokens": 1}).usage.completion_tokens == 1


@case
def a_body_may_be_compressed_and_begin_with_a_mark():
    for encoding, pack in (("gzip", gzip.compress), ("identity", lambda body: b"\xef\xbb\xbf" + body)):
        headers = {"Authorization": f"Bearer {os.environ['KEY']}", "Content-Encoding": encoding}
        body = pack(json.dumps(ASK).encode())
        request = urllib.request.Request(f"{BASE}/v1/chat/completions", data=body, headers=headers)
        with urllib.request.urlopen(request, timeout=120) as response:
            assert ANSWER in json.load(response)["choices"][0]["message"]["content"]


@case
def vectors_refuse_nothing_that_clients_send_and_name_what_they_refuse():
    asking = client()
    done = asking.embeddings.create(model=EMBED, input=["text"], user="somebody", encoding_format="float")
    assert done.model == EMBED and done.object == "list" and done.data[0].object == "embedding"
    for options in ({"input": []}, {"input": ["text", ""]}, {"input": "text", "encoding_format": "int8"}):
        error = fails(openai.BadRequestError, lambda: asking.embeddings.create(model=EMBED, **options))
        assert error.param and error.code, error.body


@case
def what_is_wrong_with_a_stream_is_told_before_it_begins():
    for options, kind in [({"model": "none"}, openai.NotFoundError), ({"temperature": 9}, openai.BadRequestError),
                          ({"messages": [{"role": "user", "content": "word " * 3000}]}, openai.BadRequestError)]:
        error = fails(kind, lambda: client().chat.completions.create(**{**ASK, "stream": True, **options}))
        assert error.response.headers["content-type"] == "application/json" and error.code, error


@case
def odd_values_that_official_clients_send_are_taken():
    for options in ({"max_tokens": 1_000_000}, {"max_completion_tokens": 65_536}, {"top_p": 0}, {"stop": ""}, {"stop": []},
                    {"stop": None, "max_tokens": None, "temperature": None, "tools": None, "seed": None, "user": None},
                    {"tools": [], "tool_choice": None, "response_format": None, "stream_options": None, "logit_bias": {}}):
        done = client().chat.completions.create(**{**ASK, **options})
        assert ANSWER in done.choices[0].message.content and done.choices[0].finish_reason == "stop", (options, done)


@case
def messages_without_text_are_taken():
    call = {"id": "call_1", "type": "function", "function": {"name": "calculator", "arguments": ""}}
    for message in ({"role": "assistant", "content": None, "tool_calls": [call]}, {"role": "assistant", "content": ""},
                    {"role": "assistant", "content": [], "name": "helper"}, {"role": "assistant", "content": "hi", "refusal": None}):
        after = [{"role": "tool", "tool_call_id": "call_1", "content": "4"}] if "tool_calls" in message else []
        messages = [{"role": "user", "content": "hi"}, message, *after, {"role": "user", "content": QUESTION}]
        done = chat(messages=messages, key="KEY_PLAIN", max_tokens=4)
        assert done.usage.completion_tokens > 0, message
