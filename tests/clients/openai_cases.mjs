// The official npm client against a running server: chunk shapes that Python forgives, helpers, abort, errors.
// Reads the same environment as openai_cases.py.
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
    const controller = new AbortController();
    // The built-in model's tokens that end an answer or begin a tool call; forbidding them keeps it writing.
    const bias = { 258: -100, 262: -100 };
    const long = { ...ask, stream: true, temperature: 1.5, max_tokens: 900, logit_bias: bias };
    const stream = await client().chat.completions.create(long, { signal: controller.signal });
    let chunks = 0;
    try {
      for await (const _ of stream) if (++chunks === 3) controller.abort();
    } catch (error) {
      assert.ok(error instanceof OpenAI.APIUserAbortError, `${error}`);
    }
    assert.ok(chunks >= 3 && chunks < 900, `${chunks}`);
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
