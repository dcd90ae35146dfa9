// The official npm client in a page of another origin, against a running server. Reports a line for each case.
import OpenAI from "openai";

const told = await (await fetch("/environment.json")).json();
const QUESTION = "What is 1234 * 87?";
const ANSWER = "107358";
const client = (key = "KEY", options = {}) =>
  new OpenAI({ baseURL: `${told.BASE_URL}/v1`, apiKey: told[key] ?? key, dangerouslyAllowBrowser: true, ...options });
const ask = { model: "ember", temperature: 0, messages: [{ role: "user", content: QUESTION }] };

function check(truth, what) {
  if (!truth) throw new Error(typeof what === "string" ? what : JSON.stringify(what));
}

/** The error of `work`, which has to be a `kind`: the browser let the page read the answer. */
async function refused(kind, work) {
  try {
    await work();
  } catch (error) {
    check(error instanceof kind, `${error.constructor.name}: ${error.message}`);
    return error;
  }
  throw new Error("was not refused");
}

const cases = {
  async the_page_has_another_origin_than_the_server() {
    check(new URL(told.BASE_URL).origin !== location.origin && location.origin !== "null", location.origin);
  },
  async models_are_listed() {
    const names = [];
    for await (const model of client().models.list()) names.push(model.id);
    check(names.includes("ember") && names.includes(told.EMBED_MODEL), names);
  },
  async a_chat_is_answered_and_its_request_id_is_read() {
    const { data, response } = await client().chat.completions.create(ask).withResponse();
    check(data.choices[0].message.content.includes(ANSWER), data);
    check(data._request_id?.startsWith("req_"), "the request id is not exposed");
    check(response.headers.get("access-control-allow-origin") === null, "a header that is not for scripts is shown");
  },
  async headers_of_the_application_are_allowed() {
    const defaultHeaders = { "X-My-App": "cases", "HTTP-Referer": "https://app.example", "X-Title": "cases" };
    const asking = client("KEY", { defaultHeaders, organization: "org-1", project: "proj_1" });
    const done = await asking.chat.completions.create(ask, { idempotencyKey: "one" });
    check(done.choices[0].message.content.includes(ANSWER), done);
  },
  async a_stream_is_read_as_it_comes() {
    let text = "";
    let chunks = 0;
    for await (const chunk of await client().chat.completions.create({ ...ask, stream: true })) {
      text += chunk.choices[0]?.delta.content ?? "";
      chunks += 1;
    }
    check(text.includes(ANSWER) && chunks > 3, `${chunks} ${text}`);
  },
  async vectors_come_unpacked() {
    const done = await client().embeddings.create({ model: told.EMBED_MODEL, input: ["one", "two"] });
    check(done.data.length === 2 && done.data[1].embedding.length === 384, done.data.length);
    const length = Math.hypot(...done.data[0].embedding);
    check(Math.abs(length - 1) < 1e-3, `${length}`);
  },
  async an_unknown_model_is_told_in_words() {
    const error = await refused(OpenAI.NotFoundError, () => client().chat.completions.create({ ...ask, model: "none" }));
    check(error.status === 404 && error.code === "model_not_found" && error.message.includes("ember"), error.message);
    check(error.requestID?.startsWith("req_"), "the request id is not exposed");
  },
  async an_unknown_endpoint_is_told_in_words() {
    const error = await refused(OpenAI.NotFoundError, () => client().responses.create({ model: "ember", input: "hi" }));
    check(error.message.includes("Responses API"), error.message);
  },
  async a_method_that_is_not_there_is_told_with_those_that_are() {
    const error = await refused(OpenAI.APIError, () => client().put("/models", { body: {} }));
    check(error.status === 405 && error.headers.get("allow").includes("GET"), error.message);
  },
  async a_bad_key_is_told_in_words() {
    const error = await refused(OpenAI.AuthenticationError, () => client("fbx_x_y").chat.completions.create(ask));
    check(error.code === "unauthorized" && error.message.includes("key"), error.message);
  },
  async a_missing_scope_is_told_in_words() {
    const work = () => client("KEY_CHAT").embeddings.create({ model: told.EMBED_MODEL, input: "text" });
    check((await refused(OpenAI.PermissionDeniedError, work)).code === "denied", "another code");
  },
  async a_body_that_is_too_large_is_told_in_words() {
    const messages = [{ role: "user", content: "x".repeat(17 << 20) }];
    const error = await refused(OpenAI.APIError, () => client().chat.completions.create({ ...ask, messages }));
    check(error.status === 413 && error.code === "too_large", error.message);
  },
  async a_rate_tells_when_to_come_back() {
    const limited = client("KEY_LIMITED", { maxRetries: 0 });
    for (const left of ["1", "0"]) {
      const { response } = await limited.chat.completions.create(ask).withResponse();
      check(response.headers.get("x-ratelimit-remaining-requests") === left, "the rates are not exposed");
    }
    const error = await refused(OpenAI.RateLimitError, () => limited.chat.completions.create(ask));
    const [seconds, milliseconds] = ["retry-after", "retry-after-ms"].map((name) => Number(error.headers.get(name)));
    check(seconds >= 1 && seconds <= 61 && milliseconds > 0 && milliseconds <= seconds * 1000, error.message);
  },
  async a_client_with_its_defaults_asks_again_when_it_is_told() {
    // The tenant may have one stream, and its tools wait for an approval that never comes.
    const held = await client("KEY_ONE").chat.completions.create({ ...ask, stream: true });
    await held[Symbol.asyncIterator]().next();
    const statuses = [];
    const watched = async (...request) => {
      const response = await fetch(...request);
      statuses.push(response.status);
      if (response.status === 429) held.controller.abort();
      return response;
    };
    const begun = performance.now();
    const second = await client("KEY_ONE", { fetch: watched }).chat.completions.create({ ...ask, stream: true });
    second.controller.abort();
    check(statuses[0] === 429 && statuses.at(-1) === 200, statuses);
    check(performance.now() - begun > 900, "it did not wait");
  },
  async a_body_may_be_compressed() {
    const stream = new Blob([JSON.stringify(ask)]).stream().pipeThrough(new CompressionStream("gzip"));
    const headers = { authorization: `Bearer ${told.KEY}`, "content-encoding": "gzip", "content-type": "application/json" };
    const body = await new Response(stream).blob();
    const done = await fetch(`${told.BASE_URL}/v1/chat/completions/`, { method: "POST", headers, body });
    check((await done.json()).choices[0].message.content.includes(ANSWER), `${done.status}`);
  },
  async an_origin_that_is_not_named_reads_nothing() {
    // A frame with the origin "null" sends requests to the same server.
    const frame = document.createElement("iframe");
    frame.sandbox = "allow-scripts";
    const heard = new Promise((resolve) => addEventListener("message", (event) => resolve(event.data), { once: true }));
    const url = JSON.stringify(`${told.BASE_URL}/v1/models`);
    frame.srcdoc = `<script>fetch(${url}, { headers: { authorization: "Bearer x" } })
      .then((answer) => parent.postMessage("read " + answer.status, "*"), () => parent.postMessage("blocked", "*"))</script>`;
    document.body.append(frame);
    check((await heard) === "blocked", await heard);
  },
};

let failed = 0;
for (const [name, run] of Object.entries(cases)) {
  const begun = performance.now();
  try {
    await run();
    await fetch("/told", { method: "POST", body: `ok ${name} ${Math.round(performance.now() - begun)} ms` });
  } catch (error) {
    failed += 1;
    await fetch("/told", { method: "POST", body: `FAILED ${name}\n${error.stack}` });
  }
}
const passed = Object.keys(cases).length - failed;
await fetch("/done", { method: "POST", body: `${failed ? "FAILED: " : ""}${passed} of ${passed + failed} passed` });
