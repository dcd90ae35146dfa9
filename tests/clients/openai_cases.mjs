// The official npm client with a running server: chunk shapes that Python accepts anyway, helpers, abort, errors.
// Reads the environment variables that openai_shared.py lists.
import assert from "node:assert/strict";
import OpenAI from "openai";

const BASE = process.env.BASE_URL;
const QUESTION = "What is 1234 * 87?";
const ANSWER = "107358";
const client = (key = "KEY") =>
  new OpenAI({ baseURL: `${BASE}/v1`, apiKey: process.env[key] ?? key, maxRetries: 0, timeout: 120_000 });
const ask = { model: "ember", temperature: 0, messages: [{ role: "user", content: QUESTION }] };
const CALCULATOR = {
  type: "function",
  function: {
    name: "calculator",
    description: "Evaluates an arithmetic expression exactly.",
    parameters: { type: "object", properties: { expression: { type: "string" } }, required: ["expression"] },
  },
};

const CANCELLED = 'firebox_requests_total{model="ember",tenant="one",outcome="cancelled"}';

async function metric(line) {
  const headers = { authorization: `Bearer ${process.env.KEY}` };
  const text = await (await fetch(`${BASE}/metrics`, { headers })).text();
  const found = text.split("\n").find((row) => row.startsWith(line));
  return found ? Number(found.split(" ").at(-1)) : 0;
}

async function eventually(check) {
  const deadline = Date.now() + 60_000;
  while (!(await check())) {
    assert.ok(Date.now() < deadline, "never");
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
}

async function refused(kind, work, check = () => {}) {
  try {
    await work();
  } catch (error) {
    assert.ok(error instanceof kind, `${error}`);
    check(error);
    return;
  }
  assert.fail("was not refused");
}

const cases = {
  async models_are_listed() {
    const names = [];
    for await (const model of client().models.list()) names.push(model.id);
    assert.ok(names.includes("ember") && names.includes(process.env.EMBED_MODEL), `${names}`);
  },
  async a_chat_is_answered() {
    const done = await client().chat.completions.create(ask);
    assert.ok(done.choices[0].message.content.includes(ANSWER));
    assert.equal(done.choices[0].finish_reason, "stop");
    assert.equal(done.usage.total_tokens, done.usage.prompt_tokens + done.usage.completion_tokens);
    assert.ok(done._request_id.startsWith("req_"));
  },
  async a_stream_has_chunks_of_one_shape() {
    let text = "";
    const reasons = [];
    for await (const chunk of await client().chat.completions.create({ ...ask, stream: true })) {
      assert.equal(chunk.object, "chat.completion.chunk");
      assert.equal(chunk.choices.length, 1);
      assert.ok("delta" in chunk.choices[0] && "finish_reason" in chunk.choices[0] && chunk.choices[0].index === 0);
      text += chunk.choices[0].delta.content ?? "";
      if (chunk.choices[0].finish_reason) reasons.push(chunk.choices[0].finish_reason);
    }
    assert.ok(text.includes(ANSWER), text);
    assert.deepEqual(reasons, ["stop"]);
  },
  async the_stream_helper_puts_text_and_usage_together() {
    const stream = client().chat.completions.stream({ ...ask, stream_options: { include_usage: true } });
    let text = "";
    stream.on("content", (delta) => (text += delta));
    const done = await stream.finalChatCompletion();
    assert.equal(done.choices[0].message.content, text);
    assert.ok(text.includes(ANSWER));
    assert.ok((await stream.totalUsage()).total_tokens > 0);
  },
  async the_stream_helper_puts_tool_calls_together() {
    const stream = client("KEY_PLAIN").chat.completions.stream({ ...ask, tools: [CALCULATOR] });
    const done = await stream.finalChatCompletion();
    const [call] = done.choices[0].message.tool_calls;
    assert.equal(call.function.name, "calculator");
    assert.ok(JSON.parse(call.function.arguments).expression.includes("1234"));
    assert.equal(done.choices[0].finish_reason, "tool_calls");
  },
  async the_tool_runner_goes_there_and_back() {
    let asked = "";
    const tool = {
      type: "function",
      function: {
        ...CALCULATOR.function,
        parse: JSON.parse,
        function: ({ expression }) => ((asked = expression), ANSWER),
      },
    };
    const runner = client("KEY_PLAIN").chat.completions.runTools({ ...ask, tools: [tool] });
    const text = await runner.finalContent();
    assert.ok(asked.includes("1234") && text.includes(ANSWER), `${asked} ${text}`);
  },
  async a_wrong_type_names_its_field() {
    const work = () => client().chat.completions.create({ ...ask, max_tokens: "many" });
    await refused(OpenAI.BadRequestError, work, (error) => {
      assert.equal(error.param, "max_tokens");
      assert.equal(error.code, "invalid_request");
      assert.equal(error.type, "invalid_request_error");
      assert.ok(error.requestID.startsWith("req_"));
    });
  },
  async an_unknown_field_is_passed_over() {
    const done = await client().chat.completions.create({ ...ask, no_such_field: 1 });
    assert.ok(done.choices[0].message.content.includes(ANSWER));
  },
  async unknown_models_and_bad_keys_are_refused() {
    await refused(OpenAI.NotFoundError, () => client().chat.completions.create({ ...ask, model: "nothing" }));
    await refused(OpenAI.AuthenticationError, () => client("fbx_x_y").chat.completions.create(ask));
    await refused(OpenAI.PermissionDeniedError, () =>
      client("KEY_CHAT").embeddings.create({ model: process.env.EMBED_MODEL, input: "text" }),
    );
  },
  async vectors_come_unpacked() {
    const done = await client().embeddings.create({ model: process.env.EMBED_MODEL, input: ["one", "two"] });
    assert.equal(done.data.length, 2);
    assert.equal(done.data[1].embedding.length, 384);
    const length = Math.hypot(...done.data[0].embedding);
    assert.ok(Math.abs(length - 1) < 1e-3, `${length}`);
  },
  async bare_text_streams() {
    let text = "";
    const options = { model: "ember", prompt: "What is", max_tokens: 6, temperature: 0, stream: true };
    for await (const chunk of await client().completions.create(options)) text += chunk.choices[0]?.text ?? "";
    assert.ok(text.length > 0);
  },
  async an_aborted_stream_ends_here_and_there() {
    const before = await metric(CANCELLED);
    // The tools wait for an approval that never comes, so the request ends only when the client leaves.
    const stream = await client("KEY_ONE").chat.completions.create({ ...ask, stream: true });
    for await (const _ of stream) stream.controller.abort();
    await eventually(async () => (await metric(CANCELLED)) > before);
  },
  async leaving_the_loop_of_a_stream_cancels_the_work() {
    const before = await metric(CANCELLED);
    for await (const _ of await client("KEY_ONE").chat.completions.create({ ...ask, stream: true })) break;
    await eventually(async () => (await metric(CANCELLED)) > before);
  },
  async a_client_that_waits_no_longer_cancels_the_work() {
    const before = await metric(CANCELLED);
    const work = () => client("KEY_ONE").chat.completions.create(ask, { timeout: 500 });
    await refused(OpenAI.APIConnectionTimeoutError, work);
    await eventually(async () => (await metric(CANCELLED)) > before);
  },
  async a_client_with_nothing_but_its_environment_is_served() {
    Object.assign(process.env, { OPENAI_BASE_URL: `${BASE}/v1/`, OPENAI_API_KEY: process.env.KEY });
    const asking = new OpenAI();
    delete process.env.OPENAI_BASE_URL;
    delete process.env.OPENAI_API_KEY;
    assert.equal(asking.maxRetries, 2);
    const done = await asking.chat.completions.create(ask);
    assert.ok(done.choices[0].message.content.includes(ANSWER));
  },
  async a_client_asks_again_when_it_is_told() {
    const held = await client("KEY_ONE").chat.completions.create({ ...ask, stream: true });
    await held[Symbol.asyncIterator]().next();
    const statuses = [];
    const watched = async (...request) => {
      const response = await fetch(...request);
      statuses.push(response.status);
      if (response.status === 429) held.controller.abort();
      return response;
    };
    const asking = new OpenAI({ baseURL: `${BASE}/v1`, apiKey: process.env.KEY_ONE, fetch: watched });
    const begun = performance.now();
    const second = await asking.chat.completions.create({ ...ask, stream: true });
    second.controller.abort();
    assert.ok(statuses[0] === 429 && statuses.at(-1) === 200 && statuses.length <= 3, `${statuses}`);
    assert.ok(performance.now() - begun > 900, "it did not wait");
  },
  async a_tool_call_streams_in_pieces_of_one_shape() {
    const pieces = [];
    const options = { ...ask, tools: [CALCULATOR], stream: true };
    for await (const chunk of await client("KEY_PLAIN").chat.completions.create(options))
      pieces.push(...(chunk.choices[0].delta.tool_calls ?? []));
    assert.ok(pieces[0].id && pieces[0].type === "function" && pieces.every((piece) => piece.index === 0));
    const text = pieces.map((piece) => piece.function?.arguments ?? "").join("");
    assert.ok(JSON.parse(text).expression.includes("1234"), text);
  },
  async the_tool_runner_streams() {
    const tool = {
      type: "function",
      function: { ...CALCULATOR.function, parse: JSON.parse, function: () => ANSWER },
    };
    const runner = client("KEY_PLAIN").chat.completions.runTools({ ...ask, tools: [tool], stream: true });
    const deltas = [];
    runner.on("content", (delta) => deltas.push(delta));
    assert.ok((await runner.finalContent()).includes(ANSWER) && deltas.length > 1, `${deltas}`);
  },
  async a_stream_is_split_in_two_and_passed_on() {
    const read = async (stream) => {
      let text = "";
      for await (const chunk of stream) text += chunk.choices[0]?.delta.content ?? "";
      return text;
    };
    const [left, right] = (await client().chat.completions.create({ ...ask, stream: true })).tee();
    const lines = new Response(right.toReadableStream()).text();
    const text = await read(left);
    const passed = (await lines).trim().split("\n").map((line) => JSON.parse(line));
    assert.ok(text.includes(ANSWER) && passed.map((chunk) => chunk.choices[0].delta.content ?? "").join("") === text);
  },
  async a_raw_answer_is_read_by_hand() {
    const response = await client().chat.completions.create(ask).asResponse();
    assert.equal(response.headers.get("content-type"), "application/json");
    assert.ok((await response.json()).choices[0].message.content.includes(ANSWER));
  },
  async other_endpoints_of_openai_are_not_found_in_words() {
    const asking = client();
    for (const work of [
      () => asking.responses.create({ model: "ember", input: "hi" }),
      () => asking.moderations.create({ input: "hi" }),
      () => asking.images.generate({ prompt: "hi" }),
      () => asking.files.list(),
      () => asking.batches.list(),
    ])
      await refused(OpenAI.NotFoundError, work, (error) => assert.match(error.message, /no endpoint/));
  },
  async structured_answers_keep_to_their_schema() {
    const properties = { kind: { enum: ["sum", "product"] }, ok: { type: "boolean" } };
    const schema = { type: "object", properties, required: ["kind", "ok"], additionalProperties: false };
    const structured = (schema) => ({ type: "json_schema", json_schema: { name: "sum", strict: true, schema } });
    const body = { ...ask, tool_choice: "none", response_format: structured(schema) };
    const answer = JSON.parse((await client().chat.completions.create(body)).choices[0].message.content);
    assert.ok(["sum", "product"].includes(answer.kind) && typeof answer.ok === "boolean", JSON.stringify(answer));
    const odd = { ...body, response_format: structured({ type: "array", uniqueItems: true }) };
    const old = { ...ask, functions: [{ name: "f", parameters: {} }] };
    for (const [body, param, code] of [[odd, "response_format/uniqueItems", "schema_unsupported"],
                                       [old, "functions", "unsupported"]])
      await refused(OpenAI.BadRequestError, () => client().chat.completions.create(body), (error) => {
        assert.equal(error.code, code);
        assert.ok(error.param.startsWith(param), error.param);
      });
  },
  async each_status_is_the_error_it_should_be() {
    const asking = client();
    for (const [status, work] of [
      [400, () => asking.post("/chat/completions", { body: [1] })],
      [404, () => asking.models.retrieve("org/no such/n\u00e4me")],
      [405, () => asking.delete("/models")],
      [413, () => asking.chat.completions.create({ ...ask, messages: [{ role: "user", content: "x".repeat(17 << 20) }] })],
      [415, () => asking.chat.completions.create(ask, { headers: { "content-encoding": "br" } })],
    ])
      await refused(OpenAI.APIError, work, (error) => {
        assert.equal(error.status, status);
        assert.ok(error.requestID.startsWith("req_") && error.type && error.code, `${error}`);
      });
  },
  async models_are_paged_through() {
    const page = await client().models.list();
    assert.equal(page.hasNextPage(), false);
    assert.ok(page.getPaginatedItems().length >= 2);
    assert.equal((await client().models.retrieve("ember")).id, "ember");
  },
  async an_answer_comes_with_its_response() {
    const { data, response } = await client().chat.completions.create(ask).withResponse();
    assert.ok(response.headers.get("x-request-id").startsWith("req_"));
    assert.ok(data.choices[0].message.content.includes(ANSWER));
  },
};

let failed = 0;
for (const [name, run] of Object.entries(cases)) {
  try {
    await run();
    console.log(`ok ${name}`);
  } catch (error) {
    failed += 1;
    console.log(`FAILED ${name}\n${error.stack}`);
  }
}
console.log(`${Object.keys(cases).length - failed} of ${Object.keys(cases).length} passed`);
process.exit(failed ? 1 : 0);
