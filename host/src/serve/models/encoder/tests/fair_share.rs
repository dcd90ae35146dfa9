//! Who is embedded when: counted in steps, so that a slow machine changes nothing.

use super::*;

/// The place of the first step with a text that begins with `whose`.
fn first_step(fixture: &EncoderFixture, whose: char) -> Option<usize> {
    steps(&fixture.seen()).iter().position(|step| step.iter().any(|text| text.starts_with(whose)))
}

#[tokio::test]
async fn one_short_text_is_in_the_next_step_whatever_another_tenant_floods() {
    let fixture = EncoderFixture::new().await;
    let held = fixture.hold().await;
    let mut flood = Vec::new();
    for _ in 0..60 {
        let mut many = texts('f', 64, 500);
        // In the middle of the flood the encoder is held again.
        many[20] = format!("{HOLD}{}", ".".repeat(496));
        flood.push(fixture.send(&caller("flood"), many, open()).await);
    }
    fixture.let_go.send(()).expect("held");
    held.await.expect("no panic").expect("embeds");
    let is_held = |step: &&&Vec<String>| step.iter().any(|text| text.starts_with(HOLD));
    fixture.until(|seen| steps(seen).iter().filter(is_held).count() == 2).await;
    let before = steps(&fixture.seen()).len();
    let other = fixture.send(&caller("other"), vec!["v".to_owned()], open()).await;
    fixture.let_go.send(()).expect("held");
    other.await.expect("no panic").expect("embeds");
    let place = first_step(&fixture, 'v').expect("it was embedded");
    assert!(place <= before + 1, "step {place}, and it came at {before}");
    let flooded = steps(&fixture.seen())[..place].iter().flat_map(|step| step.iter()).count();
    assert!(flooded < 60 * 64, "the flood still waits");
    flood.iter().for_each(JoinHandle::abort);
}

#[tokio::test]
async fn tokens_are_shared_by_weight() {
    let fixture = EncoderFixture::new().await;
    let held = fixture.hold().await;
    let heavy = Caller { weight: 3, ..caller("heavy") };
    let mut all = Vec::new();
    for _ in 0..4 {
        all.push(fixture.send(&heavy, texts('h', 64, 100), open()).await);
        all.push(fixture.send(&caller("light"), texts('l', 64, 150), open()).await);
    }
    fixture.let_go.send(()).expect("held");
    for sent in all {
        sent.await.expect("no panic").expect("embeds");
    }
    held.await.expect("no panic").expect("embeds");
    let mut tokens = [0, 0];
    // Until the heavy one has had half of what it wants, both always want more.
    for text in steps(&fixture.seen()).into_iter().flatten().filter(|text| *text != HOLD) {
        tokens[usize::from(text.starts_with('l'))] += text.len();
        if tokens[0] > 4 * 64 * 100 / 2 {
            break;
        }
    }
    let ratio = tokens[0] as f64 / tokens[1] as f64;
    assert!((2.0..4.5).contains(&ratio), "{tokens:?}");
}

#[tokio::test]
async fn a_long_text_does_not_make_short_ones_as_long() {
    let fixture = EncoderFixture::new().await;
    let held = fixture.hold().await;
    let mut mixed = texts('s', 31, 8);
    mixed.extend(texts('l', 1, 512));
    let sent = fixture.send(&caller("a"), mixed, open()).await;
    let many = fixture.send(&caller("b"), texts('m', 40, 200), open()).await;
    fixture.let_go.send(()).expect("held");
    for sent in [sent, many, held] {
        sent.await.expect("no panic").expect("embeds");
    }
    let mut padded_most = 0;
    for step in steps(&fixture.seen()) {
        let lengths = step.iter().map(String::len);
        let (longest, shortest) = (lengths.clone().max().unwrap_or(0), lengths.min().unwrap_or(0));
        assert!(longest <= 2 * shortest.max(limits::EMBED_STEP_PAD_TOKENS), "{step:?}");
        padded_most = padded_most.max(longest * step.len());
    }
    // 100 ms of a hundredth of a millisecond each, and what it has to learn that from.
    assert!(padded_most <= 16_384, "{padded_most}");
}

#[tokio::test]
async fn counting_a_flood_does_not_hold_up_a_short_text() {
    let fixture = EncoderFixture::new().await;
    // The first text is counted, and the encoder held, when the short one comes.
    let mut long = texts('f', 200, 30_000);
    long[0] = format!("hold count {}", ".".repeat(30_000));
    let flood = fixture.send(&caller("flood"), long, open()).await;
    fixture.until(|seen| !seen.is_empty()).await;
    let other = fixture.send(&caller("other"), vec!["v".to_owned()], open()).await;
    fixture.let_go.send(()).expect("held");
    other.await.expect("no panic").expect("embeds");
    let seen = fixture.seen();
    let place =
        seen.iter().position(|seen| *seen == EncoderCall::Step(vec!["v".to_owned()])).expect("alone in its step");
    let counted = seen[..place].iter().map(|seen| match seen {
        EncoderCall::Count(text) => text.len(),
        EncoderCall::Step(_) => 0,
    });
    let counted: usize = counted.sum();
    assert!(counted <= 2 * (limits::EMBED_TOKENIZE_BYTES_MAX + 30_100), "{counted} bytes");
    flood.abort();
}

#[tokio::test]
async fn a_tenant_has_no_more_requests_here_than_it_may() {
    let fixture = EncoderFixture::new().await;
    let held = fixture.hold().await;
    let one = Caller { in_flight_max: 1, ..caller("one") };
    let first = fixture.send(&one, texts('a', 1, 8), open()).await;
    let log = ReservationLog::default();
    let error =
        fixture.send(&one, texts('a', 1, 8), log.reservation()).await.await.expect("no panic").expect_err("refused");
    assert!(matches!(error, Error::Limited { .. }) && error.to_string().contains("tenant \"one\""), "{error}");
    assert_eq!(log.settled(), "settle rate_limited 0 0");
    let other = fixture.send(&caller("other"), texts('b', 1, 8), open()).await;
    fixture.let_go.send(()).expect("held");
    for sent in [held, first, other] {
        sent.await.expect("no panic").expect("embeds");
    }
    assert_eq!(fixture.thread.counters().running, 0);
    // Its place is free as soon as it has its answer.
    fixture.send(&one, texts('a', 1, 8), open()).await.await.expect("no panic").expect("embeds");
}

#[tokio::test]
async fn vectors_come_in_the_order_of_the_texts_in_few_steps() {
    let fixture = EncoderFixture::new().await;
    let order = ["a", "bbb", "cc"].map(str::to_owned).to_vec();
    let vectors = fixture.send(&caller("a"), order, open()).await.await.expect("no panic").expect("embeds");
    assert_eq!((vectors.vectors, vectors.tokens), (vec![vec![1.0], vec![3.0], vec![2.0]], 6));
    let before = steps(&fixture.seen()).len();
    fixture.send(&caller("a"), texts('m', 96, 8), open()).await.await.expect("no panic").expect("embeds");
    assert_eq!(steps(&fixture.seen()).len() - before, 96 / limits::EMBED_BATCH_TEXTS_DEFAULT);
}
