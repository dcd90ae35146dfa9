use super::*;

fn guard(config: &str) -> Result<Guard, String> {
    Guard::init(config)
}

fn before(config: &str, name: &str, arguments: &str) -> CallVerdict {
    let call = ToolCall { id: "1".to_owned(), name: name.to_owned(), arguments_json: arguments.to_owned() };
    guard(config).unwrap().before(call).unwrap()
}

fn after(config: &str, content: &str) -> OutcomeVerdict {
    let call = ToolCall { id: "1".to_owned(), name: "read".to_owned(), arguments_json: "{}".to_owned() };
    guard(config).unwrap().after(call, SeenOutcome { content: content.to_owned(), is_error: false }).unwrap()
}

#[test]
fn without_rules_nothing_changes() {
    assert_eq!(before("{}", "any", "{\"a\": 1}"), CallVerdict::Unchanged);
    assert_eq!(after("{}", "text"), OutcomeVerdict::Unchanged);
}

#[test]
fn tools_are_refused_by_name() {
    let config = r#"{"deny": ["delete_*", "*.exec", "shell"]}"#;
    for (name, refused) in [
        ("delete_file", true),
        ("delete_", true),
        ("undelete_file", false),
        ("box.exec", true),
        ("shell", true),
        ("shells", false),
        ("read", false),
    ] {
        let verdict = before(config, name, "{}");
        assert_eq!(matches!(verdict, CallVerdict::Refuse(_)), refused, "{name}: {verdict:?}");
    }
}

#[test]
fn a_text_is_found_in_any_string_however_it_is_written() {
    let config = r#"{"deny_values": ["/etc/", "DROP table"]}"#;
    for (arguments, refused) in [
        (r#"{"path": "/etc/passwd"}"#, true),
        (r#"{"path": "\/etc\/passwd"}"#, true),
        (r#"{"path": "\u002fetc\u002fpasswd"}"#, true),
        (r#"{"a": [{"b": ["x", "/ETC/x"]}]}"#, true),
        (r#"{"query": "drop TABLE users"}"#, true),
        (r#"{"path": "/srv/etc"}"#, false),
        (r#"{"number": 1}"#, false),
    ] {
        let verdict = before(config, "read", arguments);
        assert_eq!(matches!(verdict, CallVerdict::Refuse(_)), refused, "{arguments}: {verdict:?}");
    }
}

#[test]
fn arguments_are_set_whatever_the_model_wrote() {
    let config = r#"{"set": ["search limit 10", "search* safe true"]}"#;
    let rewritten = |json: &str| CallVerdict::Rewrite(json.to_owned());
    assert_eq!(before(config, "search", r#"{"q":"x","limit":1000}"#), rewritten(r#"{"q":"x","limit":10,"safe":true}"#));
    assert_eq!(before(config, "search", r#"{"limit":10,"safe":true}"#), CallVerdict::Unchanged);
    assert_eq!(before(config, "searches", "{}"), rewritten(r#"{"safe":true}"#));
    assert_eq!(before(config, "other", "{}"), CallVerdict::Unchanged);
}

#[test]
fn lines_of_a_result_are_hidden() {
    let config = r#"{"hide": ["password", "token="]}"#;
    let OutcomeVerdict::Rewrite(outcome) = after(config, "name: ann\npassword: x\nurl?token=1\nend") else { panic!() };
    assert_eq!(outcome.content, "name: ann\n[hidden]\n[hidden]\nend");
    assert_eq!(after(config, "nothing"), OutcomeVerdict::Unchanged);
}

#[test]
fn a_wrong_configuration_is_named() {
    for (config, expected) in [
        (r#"{"set": ["search limit"]}"#, "TOOL ARGUMENT JSON"),
        (r#"{"set": ["search limit {"]}"#, "TOOL ARGUMENT JSON"),
        (r#"{"hide": [""]}"#, "an empty text"),
        (r#"{"deny": "x"}"#, "\"deny\" must be a list of strings"),
        (r#"{"allow": []}"#, "unknown configuration key \"allow\""),
    ] {
        let error = guard(config).err().unwrap();
        assert!(error.contains(expected), "{error}");
    }
}
