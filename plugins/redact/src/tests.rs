//! Tests of detection and placeholders, and that the result does not depend on where a stream is cut.

use firebox_sdk::{Message, Role, ToolCall};

use super::*;
use crate::scan::BUFFERED_BYTES_MAX;

fn redact(config: &str) -> Redact {
    Redact::init(config).unwrap()
}

fn message(role: Role, content: &str) -> Message {
    Message { role, content: content.to_owned(), tool_calls: Vec::new(), tool_call_id: None, name: None }
}

fn prompt(messages: Vec<Message>) -> PromptRequest {
    PromptRequest { id: "1".to_owned(), model: "m".to_owned(), messages, sampling: Default::default() }
}

/// One user message as the model would see it.
fn hidden(text: &str) -> String {
    match redact("{}").process(prompt(vec![message(Role::User, text)])).unwrap() {
        PromptVerdict::Replace(messages) => messages[0].content.clone(),
        PromptVerdict::Unchanged => text.to_owned(),
        other => panic!("{other:?}"),
    }
}

fn check_hidden(label: &str, values: &[&str]) {
    for value in values {
        for (before, after) in
            [("", ""), ("Call ", " now"), ("(", ")"), ("\"", "\","), ("é: ", ". Then"), ("x\n", "\ny"), ("", "!")]
        {
            let text = format!("{before}{value}{after}");
            assert_eq!(hidden(&text), format!("{before}[{label}_1]{after}"), "{text}");
        }
    }
}

#[test]
fn emails_are_found() {
    check_hidden(
        "EMAIL",
        &[
            "ann@example.org",
            "ann.o'neill+tag@mail.example.co.uk",
            "A_b-c%d@x-y.io",
            "x@xn--bcher-kva.xn--p1ai",
            "1@1.de",
        ],
    );
    assert_eq!(hidden("...ann@example.org..."), "...[EMAIL_1]...");
    assert_eq!(hidden("<mailto:ann@example.org>"), "<mailto:[EMAIL_1]>");
    assert_eq!(hidden("a@b@example.org"), "a@[EMAIL_1]");
}

#[test]
fn phones_are_found() {
    check_hidden(
        "PHONE",
        &[
            "+49 151 12345678",
            "+4915112345678",
            "+1 (555) 123-4567",
            "+44 (0)20 7946 0958",
            "+33 6 12 34 56 78",
            "+1.555.234.4567",
            "(555) 123-4567",
            "(030) 1234567",
            "555-234-4567",
            "555.234.4567",
            "555 234 4567",
            "1-800-555-1234",
            "030 12345678",
            "0171/1234567",
            "06 12 34 56 78",
            "020 7946 0958",
        ],
    );
}

#[test]
fn numbers_after_a_phone_number_are_not_changed() {
    assert_eq!(hidden("+4915112345678 20 apples"), "[PHONE_1] 20 apples");
    assert_eq!(hidden("(555) 234-4567 20 apples"), "[PHONE_1] 20 apples");
    assert_eq!(hidden("555-234-4567 20 apples"), "[PHONE_1] 20 apples");
}

#[test]
fn cards_are_found() {
    check_hidden(
        "CARD",
        &[
            "4111 1111 1111 1111",
            "4111-1111-1111-1111",
            "4111111111111111",
            "378282246310005",
            "3782 822463 10005",
            "5555555555554444",
            "2223003122003222",
            "6011 0009 9013 9424",
        ],
    );
    assert_eq!(hidden("4111 1111 1111 1111 12/29"), "[CARD_1] 12/29");
}

#[test]
fn addresses_are_found() {
    check_hidden(
        "IP",
        &[
            "192.168.0.1",
            "8.8.8.8",
            "255.255.255.255",
            "2001:db8::1",
            "::1",
            "fe80::1ff:fe23:4567:890a",
            "::ffff:10.0.0.1",
        ],
    );
    assert_eq!(hidden("10.0.0.0/8"), "[IP_1]/8");
    assert_eq!(hidden("at 2001:db8::1: refused"), "at [IP_1]: refused");
}

#[test]
fn other_text_is_not_changed() {
    for text in [
        "on 2026-11-23 at 10:30:05",
        "01.02.2026 10:30",
        "23/11/2026, 23-11-2026 08:15",
        "2026-11-23T10:30:05.123456Z",
        "version 1.2.3 and v1.2.3.4 and 10.0.19045.3693",
        "1234567 and 107358 and 12345678901234567890",
        "1234 * 87 = 107358",
        "3 + 12345 - 678, 5551234567 / 2",
        "1+15551234567",
        "pi is 3.14159265358979",
        "the years (2024) 15-20",
        "4111 1111 1111 1112",
        "timestamp 20261123103005, 1764000000000000",
        "550e8400-e29b-41d4-a716-446655440000",
        "00:1a:2b:3c:4d:5e",
        "std::net::Ipv6Addr a::b dead::beef",
        "300.1.1.1 and 1.2.3 and 1.2.3.4.5",
        "ISBN 978-3-16-148410-0, SSN 123-45-6789",
        "ann@example, @ann, ann@, ann@-x.org, 5 @ 3.50",
        "[EMAIL_1] [NOTE_1] [1]",
        "0.5 0.25 0.125 1e10 1,234,567.89",
        "日本語 — naïve ☎",
    ] {
        assert_eq!(hidden(text), text);
    }
}

#[test]
fn same_value_has_the_same_placeholder_in_every_message() {
    let mut call = message(Role::Assistant, "ok");
    call.tool_calls.push(ToolCall {
        id: "c".to_owned(),
        name: "mail".to_owned(),
        arguments_json: r#"{"to": "ann@example.org", "n": 4111111111111111, "body": "\nbob@example.org"}"#.to_owned(),
    });
    let messages = vec![
        message(Role::System, "Write to ann@example.org or bob@example.org."),
        message(Role::User, "From 10.0.0.1: bob@example.org"),
        call,
        message(Role::Tool, "ann@example.org bounced"),
    ];
    let PromptVerdict::Replace(messages) = redact("{}").process(prompt(messages)).unwrap() else { panic!() };
    let contents: Vec<&str> = messages.iter().map(|message| message.content.as_str()).collect();
    assert_eq!(contents, ["Write to [EMAIL_1] or [EMAIL_2].", "From [IP_1]: [EMAIL_2]", "ok", "[EMAIL_1] bounced"]);
    assert_eq!(
        messages[2].tool_calls[0].arguments_json,
        r#"{"to": "[EMAIL_1]", "n": 4111111111111111, "body": "\n[EMAIL_2]"}"#
    );
}

#[test]
fn a_prompt_without_personal_data_is_unchanged() {
    let verdict = redact("{}").process(prompt(vec![message(Role::User, "1234 * 87?")])).unwrap();
    assert_eq!(verdict, PromptVerdict::Unchanged);
    let verdict = redact(r#"{"pre": false}"#).process(prompt(vec![message(Role::User, "a@b.de")])).unwrap();
    assert_eq!(verdict, PromptVerdict::Unchanged);
}

#[test]
fn a_placeholder_that_the_user_wrote_is_not_issued() {
    assert_eq!(hidden("[EMAIL_1] is ann@example.org"), "[EMAIL_1] is [EMAIL_2]");
}

/// Pushes `pieces` as one turn.
fn stream<'a>(plugin: &mut Redact, pieces: impl Iterator<Item = &'a str>) -> String {
    let mut output = String::new();
    for piece in pieces.filter(|piece| !piece.is_empty()) {
        match plugin.push(piece.to_owned()).unwrap() {
            TextVerdict::Pass => output.push_str(piece),
            TextVerdict::Emit(text) => output.push_str(&text),
            TextVerdict::Stop(text) => panic!("{text}"),
        }
        assert!(plugin.stream.buffered() <= BUFFERED_BYTES_MAX, "{} bytes wait", plugin.stream.buffered());
    }
    output + &plugin.finish().unwrap()
}

/// A plugin whose prompt held ann's address and a card.
fn primed(config: &str) -> Redact {
    let mut plugin = redact(config);
    plugin.process(prompt(vec![message(Role::User, "ann@example.org, 4111 1111 1111 1111")])).unwrap();
    plugin
}

const ANSWER: &str = "I wrote to [EMAIL_1], not [EMAIL_9] or [EMAIL_]. Card [CARD_1]: bob@mail.example.co.uk. says é+49 151 \
    12345678, 4111 1111 1111 1111 12/29; (555) 234-4567 or 192.168.0.1, 2001:db8::1: and 1.2.3.4.5 on 2026-11-23 [[EMAIL_1]";
const RESTORED: &str = "I wrote to ann@example.org, not [EMAIL_9] or [EMAIL_]. Card 4111 1111 1111 1111: [EMAIL_2]. says \
    é[PHONE_1], [CARD_1] 12/29; [PHONE_2] or [IP_1], [IP_2]: and 1.2.3.4.5 on 2026-11-23 [ann@example.org";

#[test]
fn an_answer_gets_the_original_values_and_hides_new_ones() {
    assert_eq!(stream(&mut primed("{}"), [ANSWER].into_iter()), RESTORED);
}

#[test]
fn post_and_restore_are_separate_switches() {
    let text = "[EMAIL_1] bob@example.org";
    let run = |config: &str| stream(&mut primed(config), [text].into_iter());
    assert_eq!(run(r#"{"restore": false}"#), "[EMAIL_1] [EMAIL_2]");
    assert_eq!(run(r#"{"post": false}"#), "ann@example.org bob@example.org");
    assert_eq!(run(r#"{"post": false, "restore": false}"#), text);
    assert_eq!(run(r#"{"kinds": ["card"]}"#), "[EMAIL_1] bob@example.org");
}

#[test]
fn a_cut_at_any_position_does_not_change_the_result() {
    for at in (0..=ANSWER.len()).filter(|at| ANSWER.is_char_boundary(*at)) {
        let (left, right) = ANSWER.split_at(at);
        assert_eq!(stream(&mut primed("{}"), [left, right].into_iter()), RESTORED, "cut at {at}");
    }
}

#[test]
fn the_size_of_the_pieces_does_not_change_the_result() {
    let boundaries: Vec<usize> = ANSWER.char_indices().map(|(at, _)| at).chain([ANSWER.len()]).collect();
    for size in 1..40 {
        let cuts: Vec<usize> = boundaries.iter().copied().step_by(size).chain([ANSWER.len()]).collect();
        let pieces = cuts.windows(2).map(|pair| &ANSWER[pair[0]..pair[1]]);
        assert_eq!(stream(&mut primed("{}"), pieces), RESTORED, "pieces of {size}");
    }
}

/// A small generator (xorshift64*), so that the cases are the same on every run.
struct Random(u64);

impl Random {
    fn below(&mut self, limit: usize) -> usize {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 33) as usize % limit
    }
}

#[test]
fn random_cuts_of_random_text_do_not_change_the_result() {
    const PARTS: [&str; 24] = [
        "a", "Z", "1", "0", "55", "555", "4111", "1111", " ", "-", ".", ":", "::", "@", "+", "(", ")", "/", "[EMAIL_1",
        "]", "[CARD_1]", "b@c.de", "é", "2001:db8",
    ];
    let mut random = Random(42);
    for _ in 0..4_000 {
        let text: String = (0..random.below(30)).map(|_| PARTS[random.below(PARTS.len())]).collect();
        let whole = stream(&mut primed("{}"), [text.as_str()].into_iter());
        let mut plugin = primed("{}");
        let mut rest = text.as_str();
        let mut pieces = Vec::new();
        while let Some((at, c)) = rest.char_indices().nth(random.below(5)) {
            let (piece, tail) = rest.split_at(at + c.len_utf8());
            pieces.push(piece);
            rest = tail;
        }
        pieces.push(rest);
        assert_eq!(stream(&mut plugin, pieces.into_iter()), whole, "{text:?}");
    }
}

#[test]
fn turns_do_not_affect_each_other() {
    let mut plugin = primed("{}");
    assert_eq!(stream(&mut plugin, ["ann@exam"].into_iter()), "ann@exam");
    assert_eq!(stream(&mut plugin, ["ple.org"].into_iter()), "ple.org");
}

#[test]
fn the_buffer_is_bounded_on_hostile_text() {
    for unit in ["a", "1", "a.", "a@", "a@b.", "1.", "1 ", "+1", "::", "1:", "(", "[EMAIL_", "+1 (2)"] {
        let text = unit.repeat(2_000);
        let mut plugin = primed("{}");
        let pieces = stream(&mut plugin, text.char_indices().map(|(at, _)| &text[at..=at]));
        assert_eq!(pieces, stream(&mut primed("{}"), [text.as_str()].into_iter()), "{unit}");
    }
}

#[test]
fn configuration_is_checked() {
    let error = |json: &str| Redact::init(json).err().unwrap_or_default();
    assert_eq!(error(r#"{"kind": []}"#), "unknown configuration key \"kind\", use one of: kinds, pre, post, restore");
    assert_eq!(error(r#"{"kinds": ["phones"]}"#), "unknown kind \"phones\", use some of: email, phone, card, ip");
    assert_eq!(error(r#"{"pre": 1}"#), "configuration key \"pre\" must be true or false");
    assert_eq!(error("{}"), "");
}
