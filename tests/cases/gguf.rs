//! A chat model in GGUF that people use: SmolLM2-135M-Instruct in Q4_1.

use std::fs;

use serde_json::{Value, json};

use super::devices::environment;
use crate::harness::server::{Server, events, tenant, text_of};
use crate::harness::{Firebox, scratch};

fn smollm2() -> String {
    let variables = environment("smollm2");
    variables.into_iter().find(|(name, _)| name == "FIREBOX_TEST_SMOLLM2").expect("the tool prints it").1
}

/// Prompts, and the first 32 tokens of the greedy answers of llama.cpp with the same file, which quantizes inputs of products to 8
/// bits as Firebox does (`tests/parity/make_smollm2_goldens.py`). Its best two tokens are apart by more than 0.1 each time.
const ANSWERS: &[(&str, &str)] = &[
    (
        "What is photosynthesis?",
        "Photosynthesis is a vital biological process that occurs in plants, algae, and some bacteria, where \
         they convert light energy from the sun into chemical energy stored in glucose",
    ),
    (
        "Write two sentences about photosynthesis.",
        "Photosynthesis is a vital process that sustains life on Earth. It involves the conversion of light \
         energy into chemical energy, which is used to produce glucose and oxygen.",
    ),
    (
        "What is gravity?",
        "Gravity is a fundamental concept in physics that describes the curvature of spacetime caused by the \
         presence of mass. It's a fundamental aspect of the universe that underlies the",
    ),
    (
        "Write two sentences about gravity.",
        "Gravity is a fundamental concept in physics that describes the force of gravity, which is a result of \
         the curvature of spacetime caused by the presence of mass. It",
    ),
    (
        "Write two sentences about the water cycle.",
        "The water cycle is a fundamental process that sustains life on Earth. It involves the continuous \
         movement of water on Earth, from",
    ),
    (
        "What is an atom?",
        "An atom is the smallest unit of matter that makes up all living organisms, including atoms themselves. \
         It is composed of protons",
    ),
    (
        "Write two sentences about electricity.",
        "Electricity is a fundamental concept that underlies the world of technology and science. It is a form \
         of energy that can be harnessed and used to power devices and machines",
    ),
    (
        "Write two sentences about bread.",
        "Bread is a staple of many cultures around the world, with a rich history of culinary traditions and \
         cultural influences.",
    ),
    (
        "Explain honey bees to a child.",
        "Honey bees are like little honey angels, and they are very important to the world. They are very smart \
         and they live in a big colony called a hive.",
    ),
    (
        "Write two sentences about the Roman Empire.",
        "The Roman Empire was a vast and complex empire that spanned across Europe, stretching from the shores \
         of the Mediterranean to the shores of the Atlantic. It was a testament",
    ),
    (
        "Explain the printing press to a child.",
        "Printing press:\nPrinting press:\nPrint:\nPrinting press:\nPrint:\nPrint:\nPrint:\nPrint:\nPrint:",
    ),
    (
        "What is a steam engine?",
        "A steam engine is a mechanical device that uses heat to produce mechanical energy. It's a type of \
         engine that uses steam as",
    ),
    (
        "Write two sentences about a steam engine.",
        "A steam engine is a mechanical device that uses heat to produce mechanical energy, which is then \
         converted into mechanical power. This engine is widely used in various industries,",
    ),
    (
        "What is a satellite?",
        "A satellite is a device that orbits the Earth, typically in a circular orbit around the planet. It is \
         a tool used",
    ),
];

fn run(model: &str, more: &[&str]) -> Firebox {
    let args = ["run", "--model", model, "--device", "cpu", "--no-tools", "--temperature", "0", "--max-tokens", "24"];
    Firebox::new(args.iter().chain(more))
}

#[test]
fn greedy_answers_of_smollm2_are_those_of_llama_cpp() {
    let model = smollm2();
    for (prompt, answer) in ANSWERS {
        let run = run(&model, &[prompt]).run().expect_code(0);
        let text = run.stdout.trim_end();
        assert!(text.len() > 60 && answer.starts_with(text), "{prompt}: {text:?} and not {answer:?}");
    }
}

/// A server with SmolLM2 as the model `small`.
fn server() -> Server {
    let model = format!("[[model]]\nname = \"small\"\npath = \"{}\"\ndevice = \"cpu\"\n", smollm2());
    Server::start(&format!("{model}{}\n", tenant("alpha", "")))
}

fn question(content: &str, more: Value) -> Value {
    let messages = json!([{ "role": "user", "content": content }]);
    let mut body = json!({ "model": "small", "temperature": 0, "max_tokens": 24, "messages": messages });
    body.as_object_mut().expect("an object").extend(more.as_object().expect("an object").clone());
    body
}

fn content(answer: &Value) -> &str {
    answer["choices"][0]["message"]["content"].as_str().unwrap_or_else(|| panic!("no text: {answer}"))
}

#[test]
fn smollm2_is_served_whole_streamed_by_schema_and_in_a_session() {
    let server = server();
    let post = |path: &str, body: &Value| server.post(path, "alpha", body);
    let whole = post("/v1/chat/completions", &question("Name three primary colors.", json!({}))).json();
    let streamed = post("/v1/chat/completions", &question("Name three primary colors.", json!({ "stream": true })));
    assert_eq!(text_of(&events(&streamed.body)), content(&whole));
    let schema = json!({ "type": "object", "properties": { "city": { "type": "string", "maxLength": 20 } },
                         "required": ["city"], "additionalProperties": false });
    let format = json!({ "type": "json_schema", "json_schema": { "name": "city", "schema": schema } });
    let form = question("Paris is a city.", json!({ "response_format": format, "max_tokens": 60 }));
    let form = post("/v1/chat/completions", &form).json();
    let city: Value = serde_json::from_str(content(&form)).unwrap_or_else(|error| panic!("{error}: {form}"));
    assert!(city["city"].is_string(), "{form}");
    let session = post("/v1/sessions", &json!({ "model": "small" })).json();
    let path = format!("/v1/sessions/{}/generate", session["id"].as_str().expect("an id"));
    let first = post(&path, &question("Name three primary colors.", json!({}))).json();
    assert_eq!(content(&first), content(&whole), "the first turn of a session is a chat of its own");
    let second = post(&path, &question("Name one more.", json!({}))).json();
    let tokens = |answer: &Value| answer["usage"]["prompt_tokens"].as_u64().expect("a number");
    assert!(!content(&second).is_empty() && tokens(&second) > tokens(&first) + 24, "{second}");
}

#[test]
fn a_chat_with_smollm2_on_the_command_line_keeps_its_turns() {
    let args =
        ["chat", "--model", &smollm2(), "--device", "cpu", "--no-tools", "--temperature", "0", "--max-tokens", "24"];
    let data = scratch("smollm2-chat");
    let chat =
        Firebox::new(args).env("FIREBOX_DATA", data).input("Hi!\nName three primary colors.\n").run().expect_code(0);
    assert!(chat.stdout.contains("Hello! How can I assist you today?"), "{}", chat.stdout);
    assert!(chat.stdout.len() > "Hello! How can I assist you today?".len() + 20, "{}", chat.stdout);
}

#[test]
fn a_file_that_is_cut_off_is_refused_with_its_path_and_a_reason() {
    let folder = tempfile::tempdir().expect("temporary directory");
    let path = folder.path().join("cut.gguf");
    let whole = fs::read(smollm2()).expect("readable");
    for (length, reason) in [(2_000, "more than its 2000 bytes can hold"), (whole.len() - 1_000, "lies outside")] {
        fs::write(&path, &whole[..length]).expect("writable");
        let run = run(&path.display().to_string(), &["Hi!"]).run().expect_code(3);
        assert!(run.stderr.contains("cut.gguf") && run.stderr.contains(reason), "{}", run.stderr);
    }
}
