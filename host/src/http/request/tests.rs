use firebox_contract::{Permission, Role, ToolChoice};
use serde_json::json;

use super::*;

/// The field that the refusal of `body` names.
fn param(body: &Value) -> String {
    let Err(failure) = chat(body, None) else { panic!("{body} was accepted") };
    assert_eq!(failure.status(), 400, "{body}");
    let error = serde_json::to_value(failure.body_for("r")).expect("JSON");
    error["error"]["param"].as_str().unwrap_or_default().to_owned()
}

/// A chat request with `extra` fields.
fn body_with(extra: Value) -> Value {
    let mut body = json!({"model": "m", "messages": [{"role": "user", "content": "hi"}]});
    for (field, value) in extra.as_object().expect("an object") {
        body[field] = value.clone();
    }
    body
}

#[test]
fn every_part_of_a_chat_request_is_read() {
    let body = json!({
        "model": "m", "stream": true, "stream_options": {"include_usage": true}, "seed": -2, "stop": "x",
        "max_tokens": 9, "max_completion_tokens": 7, "logit_bias": {"5": -100}, "tool_choice": "required",
        "parallel_tool_calls": false, "user": "u",
        "tools": [{"type": "function", "function": {"name": "f", "description": "d"}}],
        "messages": [
            {"role": "developer", "content": [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]},
            {"role": "assistant", "content": null, "tool_calls":
                [{"id": "c1", "type": "function", "function": {"name": "f", "arguments": "{\"x\": 1}"}}]},
            {"role": "tool", "tool_call_id": "c1", "content": "1"},
        ],
        "firebox": {"plugins": ["redact"], "timeout_ms": 50, "tools": {"rounds": 2, "deny": ["a*"], "only": ["a*", "b"]}},
    });
    let completion = chat(&body, None).unwrap_or_else(|failure| panic!("{failure}"));
    assert!(completion.stream && completion.include_usage && completion.client_tools.contains("f"));
    let request = &completion.generation;
    assert_eq!((request.sampling.max_tokens, request.sampling.seed), (Some(7), Some(u64::MAX - 1)));
    assert_eq!((&request.sampling.stop, &request.sampling.logit_bias), (&vec!["x".to_owned()], &vec![(5, -100.0)]));
    assert_eq!(
        (&request.tools.choice, request.tools.parallel, request.tools.rounds),
        (&ToolChoice::Required, false, 2)
    );
    assert_eq!((request.plugins.len(), request.timeout), (1, Some(Duration::from_millis(50))));
    let Prompt::Chat(messages) = &request.prompt else { panic!("a chat") };
    assert_eq!((messages[0].role, messages[0].content.as_str()), (Role::System, "ab"));
    assert_eq!(messages[2].name.as_deref(), Some("f"), "a result has the name of its tool");
    let rule = |tool: &str| request.tools.tightened.permission(tool);
    assert_eq!((rule("a1"), rule("b"), rule("c")), (Permission::Deny, Permission::Allow, Permission::Deny));
}

#[test]
fn the_error_for_an_invalid_value_names_its_field() {
    for (extra, expected) in [
        (json!({"messages": "hi"}), "messages"),
        (json!({"messages": []}), "messages"),
        (json!({"messages": [7]}), "messages[0]"),
        (json!({"messages": [{"role": "user"}]}), "messages[0].content"),
        (json!({"messages": [{"role": "user", "content": null}]}), "messages[0].content"),
        (json!({"messages": [{"role": "assistant"}]}), "messages[0].content"),
        (json!({"messages": [{"role": "assistant", "function_call": {"name": "f"}}]}), "messages[0].function_call"),
        (json!({"messages": [{"role": "assistant", "audio": {"id": "a"}}]}), "messages[0].audio"),
        (json!({"messages": [{"role": "user", "content": [{"type": "image_url"}]}]}), "messages[0].content[0].type"),
        (json!({"messages": [{"role": "tool", "content": "x"}]}), "messages[0].tool_call_id"),
        (json!({"model": null}), "model"),
        (json!({"temperature": "1"}), "temperature"),
        (json!({"max_tokens": -1}), "max_tokens"),
        (json!({"max_completion_tokens": 0}), "max_completion_tokens"),
        (json!({"stop": [1]}), "stop[0]"),
        (json!({"logit_bias": {"x": 1}}), "logit_bias.x"),
        (json!({"tools": [{"type": "web_search"}]}), "tools[0].type"),
        (json!({"tools": [{"function": {"name": "a b"}}]}), "tools[0].function.name"),
        (json!({"tools": [{"function": {"name": "a"}}, {"function": {"name": "a"}}]}), "tools[1].function.name"),
        (json!({"tool_choice": "sometimes"}), "tool_choice"),
        (json!({"stream_options": {"include_usage": true}}), "stream_options"),
        (json!({"n": 99}), "n"),
        (json!({"response_format": {"type": "json_schema"}}), "response_format.json_schema"),
        (json!({"functions": [{}]}), "functions"),
        (
            json!({"stream": true, "stream_options": {"continuous_usage_stats": true}}),
            "stream_options.continuous_usage_stats",
        ),
        (json!({"tool_choice": {"type": "custom"}}), "tool_choice"),
        (json!({"tool_choice": {"type": "function"}}), "tool_choice.function"),
        (json!({"stop_token_ids": [-1]}), "stop_token_ids[0]"),
        (json!({"max_tokens": 2, "min_tokens": 3}), "min_tokens"),
        (json!({"firebox": {"plugins": "redact"}}), "firebox.plugins"),
        (json!({"firebox": {"timeout_ms": 0}}), "firebox.timeout_ms"),
    ] {
        assert_eq!(param(&body_with(extra.clone())), expected, "{extra}");
    }
}

#[test]
fn a_request_to_a_session_needs_no_messages_and_no_model() {
    let completion = chat(&json!({}), Some("s")).unwrap_or_else(|failure| panic!("{failure}"));
    assert_eq!((completion.session.as_deref(), completion.model), (Some("s"), None));
    let completion =
        chat(&body_with(json!({"firebox": {"session": "t"}})), None).unwrap_or_else(|failure| panic!("{failure}"));
    assert_eq!(completion.session.as_deref(), Some("t"));
}

#[test]
fn plain_text_must_be_one_prompt() {
    let prompt = |value: Value| text(&json!({"model": "m", "prompt": value}));
    for good in [json!("x"), json!(["x"])] {
        assert!(
            prompt(good.clone()).is_ok_and(|completion| completion.generation.prompt == Prompt::Text("x".to_owned())),
            "{good}"
        );
    }
    for bad in [json!(["x", "y"]), json!([1, 2]), json!([]), json!(7), json!(null)] {
        assert!(prompt(bad.clone()).is_err(), "{bad}");
    }
    assert!(text(&json!({"model": "m", "prompt": "x", "suffix": "y"})).is_err());
    assert!(text(&json!({"model": "m", "prompt": "x", "echo": true})).is_err());
}

#[test]
fn an_earlier_tool_call_may_have_no_arguments() {
    let arguments = |value: Value| {
        let call = json!({"id": "c", "type": "function", "function": {"name": "f", "arguments": value}});
        let body = body_with(json!({"messages": [{"role": "assistant", "content": null, "tool_calls": [call]}]}));
        let completion = chat(&body, None).map_err(|failure| failure.to_string())?;
        let Prompt::Chat(messages) = completion.generation.prompt else { panic!("a chat") };
        Ok::<_, String>(messages[0].tool_calls[0].arguments_json.clone())
    };
    for none in [json!(""), json!(" "), json!("null"), json!("{}"), json!(null), json!({})] {
        assert_eq!(arguments(none.clone()).as_deref(), Ok("{}"), "{none}");
    }
    assert_eq!(arguments(json!({"a": 1})).as_deref(), Ok("{\"a\":1}"));
    for bad in [json!("[]"), json!("{"), json!(7), json!([])] {
        assert!(arguments(bad.clone()).is_err_and(|why| why.contains("JSON object")), "{bad}");
    }
}

#[test]
fn a_tool_can_be_chosen_in_every_known_form() {
    let tools = |extra: Value| {
        let functions = ["f", "g"].map(|name| json!({"type": "function", "function": {"name": name}}));
        let mut body = body_with(json!({"tools": functions}));
        body["tool_choice"] = extra;
        chat(&body, None).unwrap_or_else(|failure| panic!("{failure}")).generation.tools
    };
    let named = ToolChoice::Named("f".to_owned());
    for (form, expected) in [
        (json!(null), ToolChoice::Auto),
        (json!("auto"), ToolChoice::Auto),
        (json!("none"), ToolChoice::None),
        (json!("required"), ToolChoice::Required),
        (json!("any"), ToolChoice::Required),
        (json!({"type": "auto"}), ToolChoice::Auto),
        (json!({"type": "any"}), ToolChoice::Required),
        (json!({"type": "function", "function": {"name": "f"}}), named.clone()),
        (json!({"type": "function", "name": "f"}), named.clone()),
        (json!({"type": "tool", "name": "f"}), named),
    ] {
        let chosen = tools(form.clone());
        assert_eq!((chosen.choice, chosen.client.len()), (expected, 2), "{form}");
    }
    let list = json!([{"type": "function", "function": {"name": "g"}}]);
    let allowed = tools(json!({"type": "allowed_tools", "allowed_tools": {"mode": "required", "tools": list}}));
    assert_eq!((&allowed.choice, allowed.client[0].name.as_str()), (&ToolChoice::Required, "g"));
    let rule = |tool: &str| allowed.tightened.permission(tool);
    assert_eq!((allowed.client.len(), rule("g"), rule("calculator")), (1, Permission::Allow, Permission::Deny));
}

#[test]
fn the_content_of_an_assistant_message_may_be_null() {
    for message in [
        json!({"role": "assistant", "content": null}),
        json!({"role": "assistant", "content": null, "refusal": "no"}),
        json!({"role": "assistant", "content": null, "refusal": null, "tool_calls": null, "function_call": null}),
        json!({"role": "assistant", "content": "", "tool_calls": []}),
    ] {
        let body = body_with(json!({"messages": [message, {"role": "user", "content": "hi"}]}));
        assert!(chat(&body, None).is_ok(), "{body}");
    }
}
