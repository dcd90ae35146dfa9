//! Fitting a session to the context.

use super::super::fit;
use super::*;

/// Messages numbered in order; those at `pins` are pinned.
fn stored(messages: &[Message], pins: &[usize]) -> Vec<StoredMessage> {
    let numbered = messages.iter().cloned().enumerate();
    let stored = numbered.map(|(index, message)| StoredMessage {
        seq: index as u64,
        message,
        pinned: pins.contains(&index),
        created: SystemTime::UNIX_EPOCH,
    });
    stored.collect()
}

/// The texts of the messages that remain if at most `max` fit. A call is shown by its ids, a result by `=`.
fn left(messages: &[Message], pins: &[usize], max: usize) -> Result<Vec<String>, Error> {
    let kept = fit(stored(messages, pins), |messages| Ok(messages.len() <= max))?;
    let shown = kept.into_iter().map(|message| match message.role {
        Role::Tool => format!("={}", message.content),
        _ if !message.tool_calls.is_empty() => {
            message.tool_calls.iter().map(|call| call.id.as_str()).collect::<Vec<_>>().join("+")
        }
        _ => message.content,
    });
    Ok(shown.collect())
}

fn long() -> Vec<Message> {
    vec![
        Message::text(Role::System, "sys"),
        user("q1"),
        calling(&["c1", "c2"]),
        result("c1", "r1"),
        result("c2", "r2"),
        said("a1"),
        user("q2"),
        said("a2"),
        user("q3"),
        said("a3"),
        user("q4"),
    ]
}

#[test]
fn all_messages_are_kept_if_they_fit() {
    assert_eq!(left(&long(), &[], 11).expect("fits").len(), 11);
}

#[test]
fn the_oldest_turns_are_dropped_first_and_as_few_as_needed() {
    assert_eq!(left(&long(), &[], 10).expect("fits"), ["sys", "q2", "a2", "q3", "a3", "q4"]);
    assert_eq!(left(&long(), &[], 6).expect("fits"), ["sys", "q2", "a2", "q3", "a3", "q4"]);
    assert_eq!(left(&long(), &[], 5).expect("fits"), ["sys", "q3", "a3", "q4"]);
    assert_eq!(left(&long(), &[], 2).expect("fits"), ["sys", "q4"]);
}

#[test]
fn pinned_messages_are_kept_with_their_calls_and_results() {
    assert_eq!(left(&long(), &[1], 3).expect("fits"), ["sys", "q1", "q4"]);
    // A pinned result keeps its call, and the call keeps its other result.
    assert_eq!(left(&long(), &[4], 5).expect("fits"), ["sys", "c1+c2", "=r1", "=r2", "q4"]);
    assert_eq!(left(&long(), &[2], 5).expect("fits"), ["sys", "c1+c2", "=r1", "=r2", "q4"]);
}

#[test]
fn a_result_is_never_kept_without_its_call() {
    for max in 2..=11 {
        for pin in 0..11 {
            let Ok(kept) = left(&long(), &[pin], max) else { continue };
            let calls = kept.iter().any(|text| text == "c1+c2");
            let results = kept.iter().filter(|text| text.starts_with('=')).count();
            assert_eq!(results, if calls { 2 } else { 0 }, "max {max}, pin {pin}: {kept:?}");
        }
    }
    let orphan = [result("lost", "r0"), user("q"), result("lost", "r1"), said("a")];
    assert_eq!(left(&orphan, &[0, 2], 9).expect("fits"), ["q", "a"], "a result without a call is dropped");
}

#[test]
fn an_error_says_what_to_do_if_the_kept_messages_do_not_fit() {
    for (pins, max) in [(&[][..], 1), (&[1, 5][..], 3)] {
        let error = left(&long(), pins, max).expect_err("does not fit");
        assert!(matches!(&error, Error::TooLarge(message) if message.contains("new session")), "{error}");
    }
    assert!(left(&[user("only")], &[], 0).is_err());
    assert_eq!(left(&[], &[], 0).expect("nothing fits into nothing"), [""; 0]);
}

#[test]
fn a_long_session_is_counted_only_a_few_times() {
    let messages: Vec<Message> = (0..1_000).flat_map(|n| [user(&format!("q{n}")), said("a")]).collect();
    let asked = std::cell::Cell::new(0);
    let kept = fit(stored(&messages, &[]), |messages| {
        asked.set(asked.get() + 1);
        Ok(messages.len() <= 101)
    });
    assert_eq!(kept.expect("fits").len(), 100);
    assert!(asked.get() <= 13, "{} times", asked.get());
}

#[test]
fn a_failing_count_fails_the_fit() {
    let failed = fit(stored(&long(), &[]), |_| Err(Error::Model("no template".to_owned())));
    assert_eq!(failed, Err(Error::Model("no template".to_owned())));
}
