use super::*;

fn run(name: &str, arguments: &str) -> String {
    TextTools::init("{}").unwrap().call(name, arguments).to_text()
}

#[test]
fn letters_are_counted_without_regard_to_case() {
    assert_eq!(run("count_letter", r#"{"text": "Strawberry Raspberry", "letter": "r"}"#), "6");
    assert_eq!(run("count_letter", r#"{"text": "banana", "letter": "AN"}"#), "2");
    assert_eq!(run("count_letter", r#"{"text": "ÉTÉ été", "letter": "é"}"#), "4");
    assert_eq!(run("count_letter", r#"{"text": "x", "letter": ""}"#), "error: argument \"letter\" must not be empty");
}

#[test]
fn words_are_counted_as_people_count_them() {
    assert_eq!(run("count_words", r#"{"text": "It's 3.5 o'clock -- don't  wait!"}"#), "5");
    assert_eq!(run("count_words", r#"{"text": " \n "}"#), "0");
}

#[test]
fn characters_are_graphemes() {
    assert_eq!(run("count_characters", r#"{"text": "a b."}"#), "4");
    assert_eq!(run("count_characters", r#"{"text": "👨‍👩‍👧é🇫🇷"}"#), "3");
    assert_eq!(run("reverse_text", r#"{"text": "ae\u0301🇫🇷!"}"#), "!🇫🇷e\u{301}a");
}

#[test]
fn case_is_changed() {
    let change = |text: &str, to: &str| case::change(text, to).unwrap_or_else(|message| message);
    assert_eq!(change("Straße", "upper"), "STRASSE");
    assert_eq!(change("ÀB", "lower"), "àb");
    assert_eq!(change("the qUICK don't-stop", "title"), "The Quick Don't-Stop");
    assert_eq!(change("HTTPServer2_isUp, now", "snake"), "http_server2_is_up_now");
    assert_eq!(change("Don't panic (yet)", "kebab"), "dont-panic-yet");
    assert_eq!(change("some words_here", "camel"), "someWordsHere");
    assert_eq!(change("", "camel"), "");
    assert_eq!(change("x", "loud"), "unknown case \"loud\", use one of: upper, lower, title, snake, kebab, camel");
}

#[test]
fn slug_is_ascii_with_single_hyphens() {
    assert_eq!(fold::slug("  Crème Brûlée -- à l'été, 2026! "), "creme-brulee-a-lete-2026");
    assert_eq!(fold::slug("Ærø & Łódź: größer"), "aeroandlodz-groesser".replace("aeroand", "aero-and-"));
    assert_eq!(fold::slug("日本"), "");
}

#[test]
fn every_tool_describes_its_arguments_in_json() {
    let definitions = TextTools.definitions();
    assert!(!definitions.is_empty());
    for definition in definitions {
        let schema = Arguments::parse(&definition.input_schema_json).unwrap();
        assert!(!schema.texts("required").unwrap().unwrap_or_default().is_empty(), "{}", definition.name);
    }
}

#[test]
fn unknown_tool_is_an_error_outcome() {
    assert_eq!(run("count_vowels", "{}"), "error: no tool \"count_vowels\"");
}
