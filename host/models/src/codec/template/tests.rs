//! Templates compared with transformers.

use std::path::{Path, PathBuf};

use firebox_contract::{Chat, ChatOptions, Error, Message, PromptEnd, Role, ToolCall, ToolDefinition, ToolEffects};
use serde_json::{Value, json};

use super::ChatTemplate;
use crate::checkpoint::Checkpoint;
use crate::codec::jinja::LocalTime;
use crate::error::ModelError;

fn parity(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/parity").join(name)
}

/// The time of the goldens: 2026-02-03 04:05:06.789012, 5:45 hours ahead of UTC.
fn golden_time() -> LocalTime {
    LocalTime { epoch: 1_770_070_806, offset: 20_700, micros: 789_012 }
}

fn compile(sources: &[(&str, &str)]) -> Result<ChatTemplate, ModelError> {
    let tokens = [("bos_token", "<s>"), ("eos_token", "</s>")].map(|(name, text)| (name.to_owned(), text.to_owned()));
    let sources = sources.iter().map(|(name, text)| ((*name).to_owned(), (*text).to_owned())).collect();
    ChatTemplate::compile("test".to_owned(), sources, tokens.to_vec(), golden_time)
}

fn template(source: &str) -> ChatTemplate {
    compile(&[("default", source)]).expect("the template compiles")
}

fn render(template: &ChatTemplate, chat: Chat<'_>) -> Result<String, Error> {
    let rendered = template.render(chat, None, usize::MAX)?;
    Ok(rendered.expect("it is short").text)
}

fn rendered(template: &ChatTemplate, chat: Chat<'_>) -> String {
    render(template, chat).expect("it renders")
}

fn text(value: &Value, key: &str) -> String {
    value[key].as_str().unwrap_or_default().to_owned()
}

/// A message as the server reads it. `sent` keeps the original fields.
fn message(value: &Value, sent: bool) -> Message {
    let role = match value["role"].as_str() {
        Some("system") => Role::System,
        Some("assistant") => Role::Assistant,
        Some("tool") => Role::Tool,
        _ => Role::User,
    };
    let call = |call: &Value| ToolCall {
        id: text(call, "id"),
        name: text(&call["function"], "name"),
        arguments_json: call["function"]["arguments"].to_string(),
    };
    let parts = value["content"].as_array().into_iter().flatten();
    let content = parts.map(|part| text(part, "text")).fold(text(value, "content"), |content, part| content + &part);
    Message {
        role,
        content,
        tool_calls: value["tool_calls"].as_array().into_iter().flatten().map(call).collect(),
        tool_call_id: value["tool_call_id"].as_str().map(str::to_owned),
        name: value["name"].as_str().map(str::to_owned),
        as_sent_json: sent.then(|| value.to_string()),
    }
}

fn tool(value: &Value, sent: bool) -> ToolDefinition {
    let function = &value["function"];
    ToolDefinition {
        name: text(function, "name"),
        title: None,
        output_schema_json: None,
        as_sent_json: sent.then(|| value.to_string()),
        description: text(function, "description"),
        input_schema_json: function["parameters"].to_string(),
        effects: ToolEffects::default(),
    }
}

fn list<T>(value: &Value, read: impl Fn(&Value) -> T) -> Vec<T> {
    value.as_array().into_iter().flatten().map(read).collect()
}

#[test]
fn templates_render_as_in_transformers() {
    let goldens = std::fs::read(parity("templates/golden.json")).expect("the goldens are there");
    let goldens: Vec<Value> = serde_json::from_slice(&goldens).expect("the goldens are JSON");
    assert!(goldens.len() >= 18);
    for golden in &goldens {
        let name = text(golden, "template");
        let source = std::fs::read_to_string(parity("templates").join(&name)).expect("the template is there");
        let messages = list(&golden["messages"], |value| message(value, false));
        let tools = list(&golden["tools"], |value| tool(value, false));
        let rendered = rendered(&template(&source), Chat::new(&messages, &tools));
        assert_eq!(rendered, text(golden, "rendered"), "{name}, {}", text(golden, "chat"));
    }
}

/// The result of a case of the table.
fn of_table(table: &Value, case: &Value) -> Result<String, Error> {
    let shared = |key: &str, instead: &str| if case[key].is_null() { &table[instead] } else { &case[key] };
    let messages = list(shared("messages", "question"), |value| message(value, true));
    let tools = if case["tools"] == "deep" { &table["deep"] } else { &case["tools"] };
    let tools = list(tools, |value| tool(value, true));
    let json = |key: &str| case.get(key).map(Value::to_string);
    let end = match case["end"].as_str() {
        Some("final") => PromptEnd::FinalMessage,
        Some(_) => PromptEnd::Conversation,
        None => PromptEnd::GenerationPrompt,
    };
    let options = ChatOptions { end, variables_json: json("variables"), documents_json: json("documents") };
    let template = compile(&[("default", &text(case, "template"))])?;
    render(&template, Chat { messages: &messages, tools: &tools, prefix: "", options: &options })
}

#[test]
fn every_small_template_renders_as_in_transformers() {
    let table = std::fs::read(parity("templates/table.json")).expect("the table is there");
    let table: Value = serde_json::from_slice(&table).expect("the table is JSON");
    let cases = table["cases"].as_array().expect("a list");
    assert!(cases.len() >= 700 && cases.iter().filter(|case| case["refused"].is_string()).count() >= 50);
    let mut wrong = Vec::new();
    for case in cases {
        let (found, expected) = (of_table(&table, case), case["rendered"].as_str());
        if found.as_ref().ok().map(String::as_str) != expected {
            wrong.push(format!("{}\n  expected {expected:?}\n  found    {found:?}", case["template"]));
        }
    }
    assert!(wrong.is_empty(), "{} of {}:\n{}", wrong.len(), cases.len(), wrong.join("\n"));
}

#[test]
fn dates_are_pythons() {
    let table = std::fs::read(parity("templates/table.json")).expect("the table is there");
    let table: Value = serde_json::from_slice(&table).expect("the table is JSON");
    let dates = table["dates"].as_array().expect("a list");
    assert!(dates.len() >= 20);
    for date in dates {
        let time = LocalTime { epoch: date[0].as_i64().expect("a number"), offset: 0, micros: 7 };
        let written = crate::codec::jinja::strftime(&text(&table, "date_format"), time);
        assert_eq!(written, date[1].as_str().expect("text"), "{}", date[0]);
    }
}

#[test]
fn the_template_for_tools_is_used_with_tools() {
    let template = compile(&[("tool_use", "tools"), ("default", "plain")]).expect("they compile");
    let tools = [tool(&json!({ "function": { "name": "f", "parameters": {} } }), false)];
    assert_eq!(rendered(&template, Chat::new(&[], &[])), "plain");
    assert_eq!(rendered(&template, Chat::new(&[], &tools)), "tools");
    assert_eq!(template.source(), "plain");
    let nameless = compile(&[("rag", "x"), ("tool_use", "tools")]).expect("they compile");
    let error = render(&nameless, Chat::new(&[], &[])).expect_err("none is the default");
    assert!(matches!(&error, Error::Usage(text) if text.contains("\"rag\"")), "{error}");
    assert_eq!(rendered(&nameless, Chat::new(&[], &tools)), "tools");
}

#[test]
fn an_unused_template_may_be_broken() {
    let template = compile(&[("default", "plain"), ("rag", "{% for %}"), ("tool_use", "{{ }}")]).expect("one works");
    assert_eq!(rendered(&template, Chat::new(&[], &[])), "plain");
    assert_eq!(template.broken.len(), 2);
    let tools = [tool(&json!({ "function": { "name": "f", "parameters": {} } }), false)];
    let error = render(&template, Chat::new(&[], &tools)).expect_err("it is broken");
    assert!(matches!(&error, Error::Usage(text) if text.contains("leave the tools out")), "{error}");
    assert!(compile(&[("default", "{% for %}"), ("rag", "x")]).is_err());
}

#[test]
fn templates_are_found_in_the_order_of_transformers() {
    let found = |files: &[(&str, &str)]| {
        let folder = tempfile::tempdir().expect("a folder");
        std::fs::create_dir(folder.path().join("additional_chat_templates")).expect("a folder");
        std::fs::copy(parity("llama/model.safetensors"), folder.path().join("model.safetensors")).expect("weights");
        files.iter().for_each(|(name, text)| std::fs::write(folder.path().join(name), text).expect("it is written"));
        let checkpoint = Checkpoint::open(folder.path()).expect("it opens");
        let settings = checkpoint.json("tokenizer_config.json").expect("it is read");
        let template = ChatTemplate::load(&checkpoint, settings.as_ref(), Vec::new()).expect("it loads");
        let sources = template.map(|template| template.sources).unwrap_or_default();
        let named = sources.into_iter().map(|(name, text)| format!("{name}={text}")).collect::<Vec<_>>().join(" ");
        (named, checkpoint.warnings().list())
    };
    let config = ("tokenizer_config.json", r#"{"chat_template": "c"}"#);
    let list = r#"{"chat_template": [{"name": "tool_use", "template": "t"}, {"name": "default", "template": "d"}]}"#;
    let processor = ("chat_template.json", r#"{"chat_template": "p"}"#);
    let rag = ("additional_chat_templates/rag.jinja", "r");
    assert_eq!(found(&[("chat_template.jinja", "j"), config, processor]).0, "default=j");
    assert_eq!(found(&[config, processor]).0, "default=c");
    assert_eq!(found(&[processor]).0, "default=p");
    assert_eq!(found(&[("tokenizer_config.json", list)]).0, "default=d tool_use=t");
    assert_eq!(found(&[("chat_template.jinja", "j"), rag, config]).0, "default=j rag=r");
    assert_eq!(found(&[rag, config]).0, "rag=r", "files of their own take the place of the config's");
    let (named, warnings) = found(&[("chat_template.jinja", "j"), ("additional_chat_templates/x.jinja", "{% if %}")]);
    assert_eq!(named, "default=j x={% if %}");
    assert!(warnings.iter().any(|warning| warning.contains("\"x\"")), "{warnings:?}");
}

#[test]
fn content_is_text_or_parts_as_the_template_expects() {
    let parts = "{% for m in messages %}{% for c in m.content %}{{ c.text }};{% endfor %}{% endfor %}";
    let either = "{% for m in messages %}{% if m.content is string %}{{ m.content }}.{% else %}{% for c in m.content %}\
                  {{ c.text }};{% endfor %}{% endif %}{% endfor %}";
    let said = message(&json!({ "role": "user", "content": "one two" }), false);
    let sent = json!({ "role": "user", "content": [{ "type": "text", "text": "a" }, { "type": "text", "text": "b" }] });
    let sent = message(&sent, true);
    let changed = Message { content: "c".to_owned(), ..sent.clone() };
    let of =
        |source: &str, message: &Message| rendered(&template(source), Chat::new(std::slice::from_ref(message), &[]));
    assert_eq!(of(parts, &said), "one two;");
    assert_eq!(of(parts, &sent), "a;b;");
    assert_eq!(of(parts, &changed), "c;", "a plugin's text takes the place of what was sent");
    assert_eq!(of(either, &said), "one two.");
    assert_eq!(of(either, &sent), "a;b;");
    assert_eq!(of("{{ messages[0].content }}", &sent), "ab");
    let mixed = "{% for m in messages %}{% if m.role == 'system' %}{{ m.content }}{% else %}{% for c in m.content %}\
                 {{ c.text }}{% endfor %}{% endif %}{% endfor %}";
    let system = Message::text(Role::System, "S");
    assert_eq!(rendered(&template(mixed), Chat::new(&[system, said], &[])), "Sone two");
}

#[test]
fn a_mistake_of_the_client_is_a_usage_error_without_a_path() {
    let user = [Message::text(Role::User, "hi")];
    let refused = |source: &str| match render(&template(source), Chat::new(&user, &[])) {
        Err(Error::Usage(text)) => text,
        other => panic!("{source}: {other:?}"),
    };
    let raised = refused("{% macro m() %}{{ raise_exception('Roles must alternate!') }}{% endmacro %}{{ m() }}");
    assert_eq!(raised, "the chat template refuses the conversation: Roles must alternate!");
    let failed = refused("a\n{{ messages[0].content + 1 }}");
    assert!(failed.contains("fails on this conversation") && failed.contains("line 2"), "{failed}");
    let endless = "{% for a in range(9999) %}{% for b in range(9999) %}{% endfor %}{% endfor %}";
    let error = render(&template(endless), Chat::new(&user, &[])).expect_err("it takes too long");
    assert!(matches!(error, Error::TooLarge(_)), "{error}");
}

#[test]
fn arguments_that_are_not_json_are_named() {
    let call = ToolCall { id: "c7".to_owned(), name: "f".to_owned(), arguments_json: "{".to_owned() };
    let message = Message { tool_calls: vec![call], ..Message::text(Role::Assistant, "") };
    let error = render(&template("x"), Chat::new(&[message], &[])).expect_err("not JSON");
    assert!(error.to_string().contains("\"c7\""), "{error}");
}

#[test]
fn a_null_content_is_absent_unless_the_template_needs_one() {
    let call = json!({ "id": "c", "type": "function", "function": { "name": "f", "arguments": {} } });
    let null = message(&json!({ "role": "assistant", "content": null, "tool_calls": [call] }), true);
    let of = |source: &str| rendered(&template(source), Chat::new(std::slice::from_ref(&null), &[]));
    assert_eq!(of("{{ messages[0].content is defined }}"), "False");
    assert_eq!(of("{{ 'x' + messages[0].content }}"), "x");
}

#[test]
fn variables_that_a_template_always_has_are_refused() {
    let user = [Message::text(Role::User, "hi")];
    let with = |variables: &str, documents: Option<&str>| {
        let options = ChatOptions {
            variables_json: Some(variables.to_owned()),
            documents_json: documents.map(str::to_owned),
            ..ChatOptions::DEFAULT
        };
        render(&template("{{ x }}"), Chat { options: &options, ..Chat::new(&user, &[]) })
    };
    assert_eq!(with(r#"{"x": [1, null]}"#, None).expect("it renders"), "[1, None]");
    for (variables, documents, named) in
        [(r#"{"messages": []}"#, None, "messages"), ("[]", None, "variables"), ("{}", Some("[1]"), "documents")]
    {
        let error = with(variables, documents).expect_err("it is refused");
        assert!(matches!(&error, Error::Usage(text) if text.contains(named)), "{error}");
    }
}

#[test]
fn deep_recursion_ends_in_an_error() {
    let user = [Message::text(Role::User, "hi")];
    let macros = "{% macro f(n) %}{% if n %}{% for i in [1] %}{{ f(n - 1) }}{% endfor %}{% endif %}{% endmacro %}";
    let calls = |n: usize| render(&template(&format!("{macros}{{{{ f({n}) }}}}")), Chat::new(&user, &[]));
    assert_eq!(calls(40).expect("it renders"), "");
    assert!(calls(100_000).is_err());
    let user = [Message::text(Role::User, "hi")];
    for held in ["cycler(ns)", "joiner(ns)", "cycler(cycler(1))", "[cycler([ns])]"] {
        let source = format!("{{% set ns = namespace() %}}{{% set ns.x = {held} %}}{{{{ ns ~ '' }}}}");
        render(&template(&source), Chat::new(&user, &[])).expect_err(held);
    }
    let nested = "'%s' % (".repeat(20_000) + &")".repeat(20_000);
    assert!(compile(&[("default", &format!("{{{{ {nested} }}}}"))]).is_err());
}

#[test]
fn values_made_by_methods_cost_fuel() {
    let user = [Message::text(Role::User, "hi")];
    for code in [
        "'a'.center(1000000000000)",
        "'a'.zfill(1000000000000)",
        "'a' | center(1000000000000)",
        "'\\t'.expandtabs(1000000000000)",
        "'a' | indent(1000000000000, true)",
        "'%1000000000000d' % 1",
        "'{:1000000000000}'.format(1)",
        "('a' * 100000).replace('', 'b' * 100000)",
        "('b' * 100000).join(['a'] * 100000)",
        "('ab ' * 100000) | wordwrap(2, wrapstring='b' * 100000)",
    ] {
        render(&template(&format!("{{{{ {code} }}}}")), Chat::new(&user, &[])).expect_err(code);
    }
}
