//! Grammars over a small vocabulary: all bytes, some words, and control tokens.

use std::sync::Arc;
use std::time::{Duration, Instant};

use firebox_contract::{
    ArgumentStyle, ArgumentValues, Chat, Error, Grammar, GrammarCompiler, SamplingOverrides, TenantId, TextCodec,
    TextDecoder, TokenConstraint, TokenId, TokenText, TokenTexts, limits,
};
use serde_json::json;

use crate::Compiler;

/// Tokens after those of the 256 bytes.
const WORDS: [&str; 6] = ["{\"", "\": ", "true", "\"}", "name", "ä"];
/// The control token of the codec, after the words.
const MARKER: &str = "[CALL]";
const MARKER_TOKEN: TokenId = 256 + WORDS.len() as TokenId;

/// A codec of bytes and words.
pub(crate) struct WordCodec {
    defaults: SamplingOverrides,
    words: Vec<Vec<u8>>,
}

impl WordCodec {
    pub(crate) fn new() -> Self {
        let bytes = (0..=u8::MAX).map(|byte| vec![byte]);
        let words = bytes.chain(WORDS.iter().map(|word| word.as_bytes().to_vec())).collect();
        Self { defaults: SamplingOverrides::default(), words }
    }
}

impl TextCodec for WordCodec {
    fn encode_chat(&self, _: Chat<'_>) -> Result<Vec<TokenId>, Error> {
        Err(Error::Internal("not used".to_owned()))
    }

    fn encode_text(&self, _: &str) -> Result<Vec<TokenId>, Error> {
        Err(Error::Internal("not used".to_owned()))
    }

    fn decoder(&self, _: &[TokenId]) -> Box<dyn TextDecoder> {
        panic!("not used")
    }

    fn is_end(&self, _: TokenId) -> bool {
        false
    }

    fn defaults(&self) -> &SamplingOverrides {
        &self.defaults
    }

    fn chat_template(&self) -> Option<&str> {
        None
    }

    fn marker_tokens(&self) -> Vec<(String, TokenId)> {
        vec![(MARKER.to_owned(), MARKER_TOKEN)]
    }

    fn token_texts(&self) -> Option<Arc<TokenTexts>> {
        let text = |(token, bytes): (TokenId, &Vec<u8>)| TokenText { token, bytes: bytes.clone(), indivisible: false };
        TokenTexts::new((0..).zip(&self.words).map(text).collect()).map(Arc::new)
    }
}

pub(crate) fn compiler() -> Compiler {
    Compiler::new(Arc::new(WordCodec::new()))
}

pub(crate) fn compile(grammar: &Grammar) -> Result<Box<dyn TokenConstraint>, Error> {
    compiler().compile(&TenantId::new("t"), grammar)
}

fn schema(schema: &serde_json::Value) -> Grammar {
    Grammar::JsonSchema(schema.to_string())
}

/// Whether `text` is a whole answer.
fn accepts(grammar: &Grammar, text: &str) -> bool {
    let mut state = compile(grammar).unwrap_or_else(|error| panic!("{grammar:?}: {error}"));
    state.accept_text(text).expect("a step") && state.may_end().expect("a step")
}

#[test]
fn an_answer_is_followed_token_by_token_and_ends_by_itself() {
    let grammar =
        schema(&json!({ "type": "object", "properties": { "name": { "type": "boolean" } }, "required": ["name"],
                                  "additionalProperties": false }));
    let mut state = compile(&grammar).expect("compiles");
    let first: Vec<TokenId> = state.mask().expect("a mask").tokens().collect();
    assert_eq!(first, [TokenId::from(b'{'), 256], "a brace, alone or with the quote of the name");
    assert!(!state.allows(TokenId::from(b'x')).expect("a step") && !state.accept(TokenId::from(b'x')).expect("a step"));
    assert!(!state.may_end().expect("a step"));
    for token in [256, 260, 257, 258] {
        assert!(state.allows(token).expect("a step"), "{token}");
        assert!(state.accept(token).expect("a step"), "{token}");
    }
    assert!(!state.has_ended() && !state.may_end().expect("a step"));
    assert!(state.accept(TokenId::from(b'}')).expect("a step"));
    assert!(state.may_end().expect("a step"));
    assert!(state.has_ended(), "nothing follows a whole object");
    assert_eq!(state.mask().expect("a mask").tokens().count(), 0);
    assert!(!state.accept(TokenId::from(b' ')).expect("a step"));
}

#[test]
fn tokens_without_text_and_bytes_outside_of_utf_8_are_never_allowed() {
    let mut state = compile(&Grammar::Regex("(?s:.*)".to_owned())).expect("compiles");
    let mask = state.mask().expect("a mask");
    for token in [MARKER_TOKEN, MARKER_TOKEN + 1, 0xFF, 0xC0, 1 << 20, TokenId::MAX] {
        assert!(!state.allows(token).expect("a step") && !mask.contains(token), "{token}");
    }
    assert!(mask.contains(TokenId::from(b'a')) && mask.contains(261) && mask.contains(0xC3));
    assert!(state.accept(0xC3).expect("a step"), "half of a character");
    assert!(!state.may_end().expect("a step") && !state.allows(TokenId::from(b'a')).expect("a step"));
    assert!(state.accept(0xA4).expect("a step") && state.may_end().expect("a step"));
}

#[test]
fn regular_expressions_match_the_whole_answer() {
    let regex = |text: &str| Grammar::Regex(text.to_owned());
    for (pattern, text, fits) in [
        ("[a-c]+", "abc", true),
        ("[a-c]+", "abcd", false),
        ("^yes|no$", "yes", true),
        ("yes|no", "no", true),
        ("yes|no", "n", false),
        ("\\d{3}/\\d", "123/4", true),
        ("", "", true),
        ("a\nb", "a\nb", true),
    ] {
        assert_eq!(accepts(&regex(pattern), text), fits, "{pattern} on {text:?}");
    }
    let mut state = compile(&regex("yes|no")).expect("compiles");
    assert!(state.accept_text("yes").expect("a step") && state.has_ended());
    for bad in ["(", "(?=a)b", "a\\b", "(a)\\1", "(?P<stop>a)", "[z-a]"] {
        let error = compile(&regex(bad)).map(drop).expect_err(bad);
        assert!(matches!(&error, Error::Usage(text) if text.contains("regular expression")), "{bad}: {error}");
    }
}

#[test]
fn lark_grammars_are_followed() {
    let lark = |text: &str| Grammar::Lark(text.to_owned());
    let sums = lark("start: NUMBER (\"+\" NUMBER)*\nNUMBER: /[0-9]+/\n");
    assert!(accepts(&sums, "1+22+3") && !accepts(&sums, "1+") && !accepts(&sums, "+1"));
    for bad in ["", "start: missing", "start: \"a\" (", "rule: \"a\""] {
        let error = compile(&lark(bad)).map(drop).expect_err(bad);
        assert!(matches!(&error, Error::Usage(text) if text.contains("grammar")), "{bad}: {error}");
    }
    let long = format!("start: \"{}\"", "a".repeat(limits::GRAMMAR_BYTES_MAX));
    assert!(compile(&lark(&long)).is_err());
}

#[test]
fn parts_compose_and_control_tokens_are_chosen_by_their_text() {
    let call = Grammar::Sequence(vec![
        Grammar::Marker(MARKER.to_owned()),
        Grammar::Choice(vec![Grammar::text("a\"b\n"), Grammar::text("c")]),
        Grammar::JsonObject,
    ]);
    assert!(accepts(&call, "[CALL]a\"b\n{\"x\": [1, {}]}"));
    assert!(accepts(&call, "[CALL]c{}") && !accepts(&call, "[CALL]d{}") && !accepts(&call, "[CALL]c"));
    let mut state = compile(&call).expect("compiles");
    assert_eq!(state.mask().expect("a mask").tokens().collect::<Vec<_>>(), [MARKER_TOKEN]);
    assert!(state.accept(MARKER_TOKEN).expect("a step"));
    let plain = Grammar::Marker("<other>".to_owned());
    assert!(accepts(&plain, "<other>"), "a marker that is no token is text");
    let twice = Grammar::Repeat { part: Box::new(Grammar::text("ab")), min: 1, max: 2 };
    assert_eq!(["", "ab", "abab", "ababab"].map(|text| accepts(&twice, text)), [false, true, true, false]);
}

#[test]
fn text_goes_on_to_the_first_occurrence_of_a_mark() {
    let call = Grammar::Sequence(vec![Grammar::through("<call>"), Grammar::text("x")]);
    let text = Grammar::Sequence(vec![
        Grammar::Repeat { part: Box::new(call), min: 0, max: 2 },
        Grammar::Without(vec!["<call>".to_owned()]),
    ]);
    for (answer, fits) in [
        ("", true),
        ("Hi <call", true),
        ("Hi <call>x", true),
        ("Hi <call>x and <call>x.", true),
        ("<call>x", true),
        ("Hi <call>y", false),
        ("<call>x<call>x<call>x", false),
    ] {
        assert_eq!(accepts(&text, answer), fits, "{answer}");
    }
    let marked = Grammar::Sequence(vec![Grammar::through(MARKER), Grammar::text("x")]);
    assert!(accepts(&marked, "so: [CALL]x") && accepts(&marked, "[CALL]x") && !accepts(&marked, "so: x"));
}

#[test]
fn a_tenant_has_a_share_of_the_cache_and_finds_only_its_own_grammars() {
    let compiler = compiler();
    let grammar = |n: usize| Grammar::Text(format!("text {n}"));
    let (a, b) = (TenantId::new("a"), TenantId::new("b"));
    for n in 0..limits::GRAMMARS_CACHED_PER_TENANT + 5 {
        compiler.compile(&a, &grammar(n)).expect("compiles");
    }
    assert_eq!(compiler.cached(), limits::GRAMMARS_CACHED_PER_TENANT);
    compiler.compile(&b, &grammar(0)).expect("compiles");
    compiler.compile(&b, &grammar(0)).expect("compiles");
    assert_eq!(compiler.cached(), limits::GRAMMARS_CACHED_PER_TENANT + 1);
    for tenant in 0..limits::GRAMMARS_CACHED_MAX {
        compiler.compile(&TenantId::new(&format!("t{tenant}")), &grammar(1)).expect("compiles");
    }
    assert_eq!(compiler.cached(), limits::GRAMMARS_CACHED_MAX);
}

#[test]
fn a_step_that_exceeds_its_bound_is_an_error_of_that_answer() {
    // Each of these texts needs a state of its own for every length.
    let pattern = format!(
        "({}){{1,3000}}",
        (b'a'..=b'z').map(|c| format!("{}.{{0,40}}x", char::from(c))).collect::<Vec<_>>().join("|")
    );
    let began = Instant::now();
    if let Ok(mut state) = compile(&Grammar::Regex(pattern)) {
        for step in 0..300 {
            let token = TokenId::from(b"abcdefgx"[step % 8]);
            match state.mask().and_then(|_| state.accept(token)) {
                Ok(true) => {}
                Ok(false) => break,
                Err(error) => {
                    assert!(matches!(&error, Error::Usage(text) if text.contains("too complex")), "{error}");
                    break;
                }
            }
        }
    }
    assert!(began.elapsed() < Duration::from_secs(20), "{:?}", began.elapsed());
}

#[test]
fn arguments_are_written_one_by_one_and_keep_to_their_schema() {
    let plain = ArgumentStyle {
        before_name: "<p=",
        after_name: ">",
        after_value: "</p>",
        between: "",
        values: ArgumentValues::Plain { keeps_breaks: true },
    };
    let python = ArgumentStyle {
        before_name: "",
        after_name: "=",
        after_value: "",
        between: ", ",
        values: ArgumentValues::Json,
    };
    let marked = ArgumentStyle {
        before_name: "",
        after_name: ":",
        after_value: "",
        between: ",",
        values: ArgumentValues::Marked("<q>"),
    };
    let schema = json!({
        "properties": {
            "a": { "type": "string", "pattern": "^x+$", "maxLength": 3 },
            "b": { "type": "integer", "maximum": 9 },
            "c": { "type": "array", "items": { "$ref": "#/$defs/text" }, "maxItems": 2 },
            "d": { "type": "object", "properties": { "e": { "type": "boolean" } }, "required": ["e"] },
        },
        "required": ["b"],
        "$defs": { "text": { "type": "string" } },
    });
    let whole = |style, text: &str| {
        let arguments = Grammar::Arguments { schema: Some(schema.to_string()), style };
        accepts(&Grammar::Sequence(vec![Grammar::text("("), arguments, Grammar::text(")")]), text)
    };
    for (style, valid, invalid) in [
        (
            plain,
            &["(<p=b>7</p>)", "(<p=a>xx</p><p=b>7</p><p=c>[\"</p>\", \"\"]</p>)", "(<p=b>7</p><p=d>{\"e\": true}</p>)"]
                [..],
            &["()", "(<p=a>xx</p>)", "(<p=a>xy</p><p=b>7</p>)", "(<p=a>xxxx</p><p=b>7</p>)", "(<p=b>12</p>)"][..],
        ),
        (
            python,
            &["(b=7)", "(a=\"x\", b=7, c=[\"t\"])", "(b=7, d={\"e\": false})"][..],
            &["(b=7, )", "(, b=7)", "(a=\"\", b=7)", "(b=7, c=[\"\", \"\", \"\"])", "(b=7, b=7)"][..],
        ),
        (
            marked,
            &["(b:7)", "(a:<q>xxx<q>,b:-7)", "(b:7,c:[<q>,<q>,<q><q>],d:{e:true})", "(b:7,c:[])"][..],
            &["(b:7,c:[<q>1<q>,<q>2<q>,<q>3<q>])", "(b:7,d:{})", "(b:<q>7<q>)", "(a:<q>y<q>,b:7)"][..],
        ),
    ] {
        valid.iter().for_each(|text| assert!(whole(style, text), "{text}"));
        invalid.iter().for_each(|text| assert!(!whole(style, text), "{text}"));
        let any = Grammar::Arguments { schema: None, style };
        assert!(accepts(&any, &valid[0][1..valid[0].len() - 1]), "{valid:?}");
    }
}
