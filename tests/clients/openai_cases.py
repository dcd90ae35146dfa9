"""The official Python client with a running server: fields of requests and answers.

Each case prints a line; the last line counts them. See openai_shared.py for the environment.
"""

import asyncio
import base64
import json
import os
import struct
import time
import urllib.error
import urllib.request

import openai
from openai_shared import ANSWER, BASE, CALCULATOR, QUESTION, case, chat, client, main, refused

# Registers the cases about the client itself.
import openai_client_cases  # noqa: F401

@case
def models_are_listed():
    rows = {row.id: row for row in client().models.list().data}
    assert {"ember", os.environ["EMBED_MODEL"]} <= set(rows), rows
    assert rows["ember"].object == "model" and rows["ember"].owned_by == "firebox"
    assert rows["ember"].firebox["kind"] == "chat" and rows["ember"].firebox["status"] == "ready"


@case
def one_model_is_retrieved():
    assert client().models.retrieve("ember").id == "ember"


@case
def an_unknown_model_is_not_found():
    try:
        client().models.retrieve("gpt-5")
    except openai.NotFoundError as error:
        assert error.body["code"] == "model_not_found", error.body
    else:
        raise AssertionError("was found")


@case
def a_chat_is_answered_with_the_servers_own_tools():
    done = chat()
    choice = done.choices[0]
    assert ANSWER in choice.message.content and choice.message.role == "assistant", done
    assert choice.finish_reason == "stop" and choice.index == 0 and not choice.message.tool_calls
    assert done.object == "chat.completion" and done.id.startswith("chatcmpl-") and done.model == "ember"
    assert abs(done.created - time.time()) < 300
    (call,) = done.firebox["tool_calls"]
    assert call["name"] == "calculator" and call["result"] == ANSWER and call["fuel"] > 0, call
    assert any(use["plugin"] == "calculator" and use["fuel"] > 0 for use in done.firebox["plugins"])


@case
def usage_adds_up():
    usage = chat().usage
    assert usage.prompt_tokens > 0 and usage.completion_tokens > 0
    assert usage.total_tokens == usage.prompt_tokens + usage.completion_tokens
    assert 0 <= usage.prompt_tokens_details.cached_tokens <= usage.prompt_tokens


@case
def a_stream_gives_the_same_text():
    chunks = list(chat(stream=True))
    assert chunks[0].choices[0].delta.role == "assistant"
    text = "".join(chunk.choices[0].delta.content or "" for chunk in chunks)
    assert text == chat().choices[0].message.content, text
    assert [chunk.choices[0].finish_reason for chunk in chunks if chunk.choices[0].finish_reason] == ["stop"]
    assert len({chunk.id for chunk in chunks}) == 1 and chunks[0].object == "chat.completion.chunk"
    assert all(chunk.usage is None for chunk in chunks)


@case
def a_stream_tells_of_server_side_tools_beside_the_deltas():
    events = [chunk.firebox["event"] for chunk in chat(stream=True) if "event" in (chunk.model_extra or {}).get("firebox", {})]
    assert events == ["tool_call", "tool_result"], events


@case
def a_stream_ends_with_its_usage_when_asked():
    chunks = list(chat(stream=True, stream_options={"include_usage": True}))
    assert chunks[-1].choices == [] and chunks[-1].usage.total_tokens > 0
    assert all(chunk.usage is None for chunk in chunks[:-1])


@case
def the_stream_helper_puts_the_answer_together():
    with client().chat.completions.stream(
        model="ember", messages=[{"role": "user", "content": QUESTION}], temperature=0
    ) as stream:
        for _ in stream:
            pass
        done = stream.get_final_completion()
    assert ANSWER in done.choices[0].message.content and done.choices[0].finish_reason == "stop"


@case
def a_seed_repeats_and_another_differs():
    options = {"model": "ember", "prompt": "The", "temperature": 4.0, "max_tokens": 30}
    texts = [client().completions.create(seed=seed, **options).choices[0].text for seed in (1, 1, 2, 3, 4)]
    assert texts[0] == texts[1] and len(set(texts)) > 1, texts


@case
def max_tokens_is_exact():
    done = chat(max_tokens=3)
    assert done.usage.completion_tokens == 3 and done.choices[0].finish_reason == "length", done


@case
def the_newer_name_of_max_tokens_works():
    done = chat(max_completion_tokens=4)
    assert done.usage.completion_tokens == 4 and done.choices[0].finish_reason == "length"


@case
def a_stop_string_ends_the_answer_before_it():
    done = chat(stop=" =")
    assert done.choices[0].message.content == "1234 * 87" and done.choices[0].finish_reason == "stop", done


@case
def stop_strings_may_be_a_list_and_never_show_in_a_stream():
    text = "".join(chunk.choices[0].delta.content or "" for chunk in chat(stop=["no", "= 1"], stream=True))
    assert text == "1234 * 87 ", text


@case
def penalties_bias_and_user_are_accepted():
    done = chat(
        presence_penalty=0.1, frequency_penalty=0.1, top_p=0.9, logit_bias={"5": -100}, user="somebody", n=1,
        response_format={"type": "text"}, parallel_tool_calls=True, store=False,
    )
    assert done.choices[0].message.content


@case
def a_value_out_of_range_names_its_field():
    refused(openai.BadRequestError, param="temperature", code="invalid_request", temperature=9)
    refused(openai.BadRequestError, param="top_p", top_p=2)
    refused(openai.BadRequestError, param="max_tokens", max_tokens=0)
    refused(openai.BadRequestError, param="stop", stop=["x"] * 50)


@case
def a_wrong_type_names_its_field():
    refused(openai.BadRequestError, param="temperature", extra_body={"temperature": "hot"})
    refused(openai.BadRequestError, param="messages[0].content", messages=[{"role": "user", "content": 7}])
    refused(openai.BadRequestError, param="stream", extra_body={"stream": "yes"})
    refused(openai.BadRequestError, param="logit_bias.5", extra_body={"logit_bias": {"5": "much"}})
    refused(openai.BadRequestError, param="firebox.tools.rounds", extra_body={"firebox": {"tools": {"rounds": "two"}}})


@case
def an_unknown_field_is_passed_over():
    assert ANSWER in chat(extra_body={"no_such_field": {"a": [1]}, "cache_prompt": True}).choices[0].message.content


@case
def what_is_not_offered_is_refused_and_not_passed_over():
    refused(openai.BadRequestError, param="response_format.type", code="unsupported", response_format={"type": "xml"})
    refused(openai.BadRequestError, param="n", n=99)
    refused(openai.BadRequestError, param="top_logprobs", logprobs=True, top_logprobs=99)
    refused(openai.BadRequestError, param="top_logprobs", top_logprobs=2)


@case
def tokens_have_probabilities():
    plain = {"key": "KEY_PLAIN", "temperature": 0, "max_tokens": 24}
    done = chat(logprobs=True, top_logprobs=3, **plain).choices[0]
    scored = done.logprobs.content
    assert b"".join(bytes(one.bytes) for one in scored).decode() == done.message.content, scored
    for one in scored:
        assert one.logprob <= 0 and len(one.top_logprobs) == 3, one
        assert one.top_logprobs[0].logprob == one.logprob >= one.top_logprobs[1].logprob, one
    assert chat(**plain).choices[0].logprobs is None
    streamed = [chunk.choices[0] for chunk in chat(logprobs=True, stream=True, **plain)]
    tokens = [one.token for choice in streamed if choice.logprobs for one in choice.logprobs.content]
    assert tokens == [one.token for one in scored], tokens
    text = client().completions.create(model="ember", prompt="Hello", max_tokens=4, temperature=0, logprobs=2).choices[0]
    assert "".join(text.logprobs.tokens) == text.text and len(text.logprobs.top_logprobs[0]) == 2, text
    assert text.logprobs.text_offset == [0, 1, 2, 3] and max(text.logprobs.token_logprobs) <= 0, text


@case
def several_answers_have_indexes_and_one_prompt():
    plain = {"key": "KEY_PLAIN", "temperature": 5, "seed": 7, "max_tokens": 16}
    done = chat(n=3, **plain)
    assert [choice.index for choice in done.choices] == [0, 1, 2], done
    answers = [choice.message.content for choice in done.choices]
    assert len(set(answers)) > 1, answers
    assert answers == [choice.message.content for choice in chat(n=3, **plain).choices]
    assert done.usage.prompt_tokens == chat(**plain).usage.prompt_tokens
    texts, ends, usage = ["", ""], {}, None
    for chunk in chat(n=2, stream=True, stream_options={"include_usage": True}, **plain):
        usage = chunk.usage or usage
        for choice in chunk.choices:
            texts[choice.index] += choice.delta.content or ""
            ends[choice.index] = choice.finish_reason or ends.get(choice.index)
    assert texts == answers[:2] and all(ends.values()), (texts, ends)
    assert usage.prompt_tokens == done.usage.prompt_tokens, usage


@case
def text_may_come_in_parts():
    parts = [{"type": "text", "text": "What is "}, {"type": "text", "text": "1234 * 87?"}]
    assert ANSWER in chat(messages=[{"role": "user", "content": parts}]).choices[0].message.content


@case
def an_image_is_refused():
    parts = [{"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}}]
    refused(openai.BadRequestError, param="messages[0].content[0].type", messages=[{"role": "user", "content": parts}])


@case
def no_messages_or_a_strange_role_are_refused():
    refused(openai.BadRequestError, param="messages", messages=[])
    refused(openai.BadRequestError, param="messages[0].role", messages=[{"role": "ghost", "content": "boo"}])


@case
def a_conversation_goes_on():
    question = {"role": "user", "content": "What is 12 + 30?"}
    earlier = [
        {"role": "user", "content": QUESTION},
        {"role": "assistant", "content": chat().choices[0].message.content},
    ]
    # A tenant without tools, so that each answer has one prompt, whose tokens can be counted.
    alone = chat(messages=[question], key="KEY_PLAIN").usage.prompt_tokens
    whole = chat(messages=[*earlier, question], key="KEY_PLAIN")
    assert whole.choices[0].message.content
    assert whole.usage.prompt_tokens > alone + len(earlier[0]["content"])


@case
def a_prompt_longer_than_the_context_is_refused():
    refused(openai.BadRequestError, param="messages", code="too_large", text="word " * 3000)


@case
def an_unknown_model_is_refused():
    try:
        client().chat.completions.create(model="gpt-5", messages=[{"role": "user", "content": "hi"}])
    except openai.NotFoundError as error:
        assert error.body["code"] == "model_not_found" and error.body["param"] == "model", error.body
    else:
        raise AssertionError("was answered")


@case
def a_bad_key_is_refused():
    for key in ("fbx_nobody_0000", "", "sk-something"):
        error = refused(openai.AuthenticationError, code="unauthorized", key=key or "none")
        assert error.body["type"] == "authentication_error", error.body


@case
def a_key_without_the_scope_is_refused():
    try:
        client("KEY_CHAT").embeddings.create(model=os.environ["EMBED_MODEL"], input="text")
    except openai.PermissionDeniedError as error:
        assert error.body["code"] == "denied", error.body
    else:
        raise AssertionError("was answered")


@case
def a_rate_is_limited_and_says_when_to_come_back():
    answers = [client("KEY_LIMITED").chat.completions.with_raw_response.create(
        model="ember", messages=[{"role": "user", "content": QUESTION}], temperature=0) for _ in range(2)]
    left = [answer.headers["x-ratelimit-remaining-requests"] for answer in answers]
    assert left == ["1", "0"] and answers[0].headers["x-ratelimit-limit-requests"] == "2", left
    assert answers[0].headers["x-ratelimit-reset-requests"].endswith("s")
    error = refused(openai.RateLimitError, code="rate_limited", key="KEY_LIMITED")
    assert 1 <= int(error.response.headers["retry-after"]) <= 61, error.response.headers


@case
def every_answer_has_a_request_id():
    done = chat()
    assert done._request_id.startswith("req_"), done._request_id
    error = refused(openai.BadRequestError, temperature=9)
    assert error.request_id.startswith("req_") and error.request_id != done._request_id


@case
def bare_text_is_continued():
    done = client().completions.create(model="ember", prompt="What is", max_tokens=5, temperature=0)
    assert done.object == "text_completion" and done.usage.completion_tokens <= 5 and done.choices[0].text is not None
    assert done.choices[0].finish_reason in ("stop", "length")


@case
def bare_text_streams():
    options = {"model": "ember", "prompt": ["What is"], "max_tokens": 8, "temperature": 0}
    whole = client().completions.create(**options).choices[0].text
    chunks = list(client().completions.create(stream=True, **options))
    assert "".join(chunk.choices[0].text for chunk in chunks) == whole
    assert chunks[-1].choices[0].finish_reason in ("stop", "length")


@case
def several_prompts_at_once_are_refused():
    try:
        client().completions.create(model="ember", prompt=["a", "b"])
    except openai.BadRequestError as error:
        assert error.body["param"] == "prompt", error.body
    else:
        raise AssertionError("was answered")


@case
def a_client_runs_its_own_tool_and_gets_the_answer():
    options = {"key": "KEY_PLAIN", "tools": [CALCULATOR]}
    first = chat(**options)
    choice = first.choices[0]
    assert choice.finish_reason == "tool_calls", first
    (call,) = choice.message.tool_calls
    assert call.type == "function" and call.function.name == "calculator" and call.id, call
    assert "1234" in json.loads(call.function.arguments)["expression"]
    messages = [
        {"role": "user", "content": QUESTION},
        choice.message.model_dump(exclude_none=True),
        {"role": "tool", "tool_call_id": call.id, "content": ANSWER},
    ]
    done = chat(messages=messages, **options)
    assert ANSWER in done.choices[0].message.content and done.choices[0].finish_reason == "stop", done


@case
def a_tool_call_streams_in_deltas_the_helper_understands():
    with client("KEY_PLAIN").chat.completions.stream(
        model="ember", messages=[{"role": "user", "content": QUESTION}], temperature=0, tools=[CALCULATOR]
    ) as stream:
        for _ in stream:
            pass
        done = stream.get_final_completion()
    (call,) = done.choices[0].message.tool_calls
    assert call.function.name == "calculator" and "1234" in call.function.arguments, call
    assert done.choices[0].finish_reason == "tool_calls"


@case
def a_call_streams_its_arguments_in_parts():
    parts = [
        call
        for chunk in chat(key="KEY_PLAIN", tools=[CALCULATOR], stream=True)
        for call in chunk.choices[0].delta.tool_calls or []
    ]
    first, rest = parts[0], parts[1:]
    assert first.id and first.type == "function" and first.function.name == "calculator", first
    assert first.function.arguments == "" and len(rest) > 2, parts
    assert all(part.index == 0 and part.id is None and part.function.name is None for part in rest), parts
    assert "1234" in json.loads("".join(part.function.arguments for part in rest))["expression"], parts


@case
def reasoning_of_a_model_without_reasoning_is_nothing():
    done = chat(reasoning_effort="none", extra_body={"reasoning_max_tokens": 5})
    assert ANSWER in done.choices[0].message.content and not hasattr(done.choices[0].message, "reasoning_content")
    assert done.usage.completion_tokens_details.reasoning_tokens == 0


@case
def tool_choice_none_offers_no_tool():
    done = chat(key="KEY_PLAIN", tools=[CALCULATOR], tool_choice="none", max_tokens=40)
    assert not done.choices[0].message.tool_calls and done.choices[0].finish_reason != "tool_calls"


@case
def tool_choice_required_and_named_force_a_call():
    named = {"type": "function", "function": {"name": "calculator"}}
    for choice in ("required", named):
        # The arguments of a forced call may be wrong, because the model is small. The call itself must be there.
        done = chat("Hello!", key="KEY_PLAIN", tools=[CALCULATOR], tool_choice=choice, max_tokens=200)
        calls = done.choices[0].message.tool_calls or []
        assert all(call.function.name == "calculator" for call in calls), done
        assert calls or done.firebox["tool_calls"] or done.choices[0].finish_reason == "length", done


@case
def a_tool_choice_that_is_not_there_is_refused():
    named = {"type": "function", "function": {"name": "nothing"}}
    refused(openai.BadRequestError, param="tool_choice", key="KEY_PLAIN", tools=[CALCULATOR], tool_choice=named)
    refused(openai.BadRequestError, param="tools[0].function", tools=[{"type": "function"}])


@case
def the_servers_tools_can_be_left_out():
    done = chat(extra_body={"firebox": {"tools": {"rounds": 0}}}, max_tokens=60)
    assert done.firebox["tool_calls"] == [], done


@case
def a_request_may_only_tighten_the_policy():
    done = chat(extra_body={"firebox": {"tools": {"deny": ["calc*"]}}}, max_tokens=60)
    assert all(row["name"] != "calculator" or row["is_error"] for row in done.firebox["tool_calls"]), done


@case
def a_plugin_that_may_not_be_added_is_refused():
    refused(openai.PermissionDeniedError, code="denied", key="KEY_PLAIN", extra_body={"firebox": {"plugins": ["redact"]}})


@case
def vectors_are_the_same_as_numbers_and_as_base64():
    options = {"model": os.environ["EMBED_MODEL"], "input": ["A fire in a box.", "Tensors burn."]}
    numbers = client().embeddings.create(encoding_format="float", **options)
    packed = client().embeddings.create(**options)
    assert [row.index for row in numbers.data] == [0, 1] and len(numbers.data[0].embedding) == 384
    assert numbers.usage.prompt_tokens == numbers.usage.total_tokens > 0
    for one, other in zip(numbers.data, packed.data):
        assert max(abs(a - b) for a, b in zip(one.embedding, other.embedding)) < 1e-6
        assert abs(sum(a * a for a in one.embedding) - 1) < 1e-4
    raw = client().embeddings.with_raw_response.create(encoding_format="base64", **options)
    text = json.loads(raw.content)["data"][0]["embedding"]
    unpacked = struct.unpack("<384f", base64.b64decode(text))
    assert max(abs(a - b) for a, b in zip(unpacked, numbers.data[0].embedding)) < 1e-6


@case
def vectors_keep_the_order_of_many_texts():
    texts = [f"number {n} " + "and more " * (n % 7) for n in range(70)]
    many = client().embeddings.create(model=os.environ["EMBED_MODEL"], input=texts)
    for at in (0, 33, 69):
        one = client().embeddings.create(model=os.environ["EMBED_MODEL"], input=texts[at])
        cosine = sum(a * b for a, b in zip(one.data[0].embedding, many.data[at].embedding))
        assert cosine > 0.999, (at, cosine)


@case
def embeddings_refuse_what_they_cannot_do():
    for options, param in [
        ({"input": "text", "dimensions": 385}, "dimensions"),
        ({"input": [1, 2, 3]}, "input"),
        ({"input": ""}, "input"),
        ({"input": "word " * 2000}, "input"),
    ]:
        try:
            client().embeddings.create(model=os.environ["EMBED_MODEL"], **options)
        except openai.BadRequestError as error:
            assert error.body["param"] == param, error.body
        else:
            raise AssertionError(f"{param} was taken")
    try:
        client().embeddings.create(model="ember", input="text")
    except openai.BadRequestError as error:
        assert error.body["param"] == "model", error.body
    else:
        raise AssertionError("a chat model embedded")


@case
def many_at_once_are_all_answered():
    async def all_of_them():
        asking = openai.AsyncOpenAI(base_url=f"{BASE}/v1", api_key=os.environ["KEY"], max_retries=0, timeout=120)
        asks = [asking.chat.completions.create(
            model="ember", messages=[{"role": "user", "content": QUESTION}], temperature=0) for _ in range(12)]
        return [done.choices[0].message.content for done in await asyncio.gather(*asks)]

    texts = asyncio.run(all_of_them())
    assert len(set(texts)) == 1 and ANSWER in texts[0], texts


@case
def a_body_that_is_no_json_or_too_large_is_refused():
    def post(body, kind="application/json"):
        headers = {"Authorization": f"Bearer {os.environ['KEY']}", "Content-Type": kind}
        request = urllib.request.Request(f"{BASE}/v1/chat/completions", data=body, headers=headers)
        try:
            urllib.request.urlopen(request, timeout=60)
        except urllib.error.HTTPError as error:
            return error.code, json.loads(error.read())["error"]
        raise AssertionError("was answered")

    assert post(b"{not json")[0] == 400
    status, error = post(b'{"model": "ember", "messages": "' + b"x" * (17 << 20) + b'"}')
    assert status == 413 and error["code"] == "too_large", (status, error)


@case
def a_session_remembers():
    asking = client()
    session = asking.post("/sessions", body={"model": "ember", "title": "sums"}, cast_to=object)
    path = f"/sessions/{session['id']}"
    body = {"messages": [{"role": "user", "content": QUESTION}], "temperature": 0}
    done = asking.post(f"{path}/generate", body=body, cast_to=openai.types.chat.ChatCompletion)
    assert ANSWER in done.choices[0].message.content and done.firebox["session"] == session["id"], done
    roles = [row["role"] for row in asking.get(path, cast_to=object)["messages"]]
    assert roles[0] == "user" and roles[-1] == "assistant" and "tool" in roles, roles
    fork = asking.post(f"{path}/fork", body={}, cast_to=object)
    again = chat("What is 12 + 30?", extra_body={"firebox": {"session": fork["id"]}})
    assert "42" in again.choices[0].message.content, again
    assert len(asking.get(path, cast_to=object)["messages"]) == len(roles), "the fork changed its parent"
    assert asking.delete(path, cast_to=object)["deleted"] is True
    try:
        asking.get(path, cast_to=object)
    except openai.NotFoundError:
        return
    raise AssertionError("a deleted session is still there")


@case
def usage_is_shown_to_its_tenant():
    shown = client().get("/usage", cast_to=object)
    assert shown["tenant"] == "alpha" and shown["total"]["completion_tokens"] > 0, shown


if __name__ == "__main__":
    main()
