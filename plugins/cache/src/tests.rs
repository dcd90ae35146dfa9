use firebox_sdk::Role;

use super::*;

fn request(text: &str) -> PromptRequest {
    let message =
        Message { role: Role::User, content: text.to_owned(), tool_calls: Vec::new(), tool_call_id: None, name: None };
    let sampling = PromptSampling::default();
    PromptRequest { id: "r".to_owned(), model: "m".to_owned(), messages: vec![message], sampling }
}

/// A request whose model answers with these chunks.
fn ask(request: PromptRequest, chunks: &[&str]) -> Option<String> {
    let mut plugin = Cache::init("{}").unwrap();
    match plugin.process(request).unwrap() {
        PromptVerdict::Respond(answer) => return Some(answer),
        verdict => assert_eq!(verdict, PromptVerdict::Unchanged),
    }
    for chunk in chunks {
        assert_eq!(plugin.push((*chunk).to_owned()), Ok(TextVerdict::Pass));
    }
    plugin.finish().unwrap();
    None
}

#[test]
fn the_second_answer_to_an_equal_request_comes_from_memory() {
    assert_eq!(ask(request("a"), &["Hel", "lo"]), None);
    assert_eq!(ask(PromptRequest { id: "other".to_owned(), ..request("a") }, &[]).as_deref(), Some("Hello"));
    assert_eq!(ask(request("b"), &[]), None);
    assert_eq!(ask(request("b"), &["x"]), None, "an empty answer is not kept");
}

#[test]
fn everything_that_the_answer_depends_on_counts() {
    let same = key(&request("a"));
    let sampling = |change: fn(&mut PromptSampling)| {
        let mut changed = request("a");
        change(&mut changed.sampling);
        key(&changed)
    };
    let mut twice = request("a");
    twice.messages.push(twice.messages[0].clone());
    let others = [
        key(&PromptRequest { model: "n".to_owned(), ..request("a") }),
        key(&request("A")),
        key(&twice),
        sampling(|sampling| sampling.temperature = 0.5),
        sampling(|sampling| sampling.max_tokens = Some(7)),
        sampling(|sampling| sampling.stop = vec!["x".to_owned()]),
    ];
    assert!(others.iter().all(|other| *other != same) && same.len() == 64);
    let distinct: std::collections::BTreeSet<&String> = others.iter().collect();
    assert_eq!(distinct.len(), others.len());
}

#[test]
fn an_answer_that_used_a_tool_is_not_kept() {
    let mut plugin = Cache::init("{}").unwrap();
    plugin.process(request("t")).unwrap();
    plugin.push("Let me see.".to_owned()).unwrap();
    plugin.finish().unwrap();
    let call = ToolCall { id: "1".to_owned(), name: "f".to_owned(), arguments_json: "{}".to_owned() };
    assert_eq!(plugin.before(call), Ok(CallVerdict::Unchanged));
    plugin.push("It is 7.".to_owned()).unwrap();
    plugin.finish().unwrap();
    assert_eq!(ask(request("t"), &[]), None);
}

#[test]
fn a_very_long_answer_is_not_kept() {
    let long = "x".repeat(ANSWER_BYTES_MAX + 1);
    assert_eq!(ask(request("long"), &[&long, "y"]), None);
    assert_eq!(ask(request("long"), &[]), None);
}

#[test]
fn a_wrong_configuration_is_named() {
    for (config, expected) in [
        (r#"{"minutes": 0}"#, "\"minutes\" must be a whole number from 1"),
        (r#"{"minutes": 1.5}"#, "\"minutes\""),
        (r#"{"hours": 1}"#, "unknown configuration key \"hours\""),
    ] {
        let error = Cache::init(config).err().unwrap();
        assert!(error.contains(expected), "{error}");
    }
}
