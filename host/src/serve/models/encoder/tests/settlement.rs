//! Every request is paid for once, whatever becomes of it.

use super::*;

async fn outcome(fixture: &EncoderFixture, log: &ReservationLog, texts: &[&str]) -> Result<Embeddings, Error> {
    let texts = texts.iter().map(|text| (*text).to_owned()).collect();
    fixture.send(&caller("a"), texts, log.reservation()).await.await.expect("no panic")
}

#[tokio::test]
async fn tokens_are_reserved_before_the_work_and_settled_once() {
    let fixture = EncoderFixture::new().await;
    let log = ReservationLog::default();
    outcome(&fixture, &log, &["abc", "de"]).await.expect("embeds");
    assert_eq!(log.lines(), ["reserve 5", "go on 0", "settle stop 5 0"]);

    let log = ReservationLog { tokens_max: Some(4), ..ReservationLog::default() };
    let before = steps(&fixture.seen()).len();
    let error = outcome(&fixture, &log, &["abc", "de"]).await.expect_err("too many");
    assert!(matches!(error, Error::Limited { .. }), "{error}");
    assert_eq!(log.settled(), "settle rate_limited 0 0");
    assert_eq!(steps(&fixture.seen()).len(), before, "nothing was computed");
}

#[tokio::test]
async fn a_panic_is_one_requests_error() {
    let fixture = EncoderFixture::new().await;
    let held = fixture.hold().await;
    let (bad, good) = (ReservationLog::default(), ReservationLog::default());
    let bad_one = fixture.send(&caller("a"), vec!["panic".to_owned()], bad.reservation()).await;
    let good_one = fixture.send(&caller("b"), vec!["fine!".to_owned()], good.reservation()).await;
    fixture.let_go.send(()).expect("held");
    held.await.expect("no panic").expect("embeds");
    assert!(matches!(bad_one.await.expect("no panic"), Err(Error::Model(_))));
    assert!(good_one.await.expect("no panic").is_ok());
    assert_eq!((bad.settled().as_str(), good.settled().as_str()), ("settle model_error 0 0", "settle stop 5 0"));
}

#[tokio::test]
async fn who_leaves_frees_its_place_and_pays_for_what_was_done() {
    let fixture = EncoderFixture::new().await;
    let log = ReservationLog::default();
    let mut all = texts('a', 100, 400);
    all[0] = format!("{HOLD}{}", ".".repeat(500));
    let sent = fixture.send(&caller("a"), all, log.reservation()).await;
    fixture.until(|seen| !steps(seen).is_empty()).await;
    sent.abort();
    let _cancelled = sent.await;
    fixture.let_go.send(()).expect("held");
    // The next is answered after the thread has seen that the other left.
    fixture.send(&caller("b"), texts('b', 1, 8), open()).await.await.expect("no panic").expect("embeds");
    assert_eq!(log.settled(), "settle interrupted 504 0");
    assert_eq!(fixture.thread.counters().running, 0);
    let left: usize =
        steps(&fixture.seen()).iter().flat_map(|step| step.iter()).filter(|text| text.starts_with('a')).count();
    assert_eq!(left, 0, "what it no longer wants is not computed");
}

#[tokio::test]
async fn who_leaves_while_it_waits_for_its_turn_is_settled_too() {
    let fixture = EncoderFixture::new().await;
    let held = fixture.hold().await;
    let log = ReservationLog::default();
    let sent = fixture.send(&caller("a"), texts('a', 1, 8), log.reservation()).await;
    sent.abort();
    let _cancelled = sent.await;
    fixture.let_go.send(()).expect("held");
    held.await.expect("no panic").expect("embeds");
    fixture.send(&caller("b"), texts('b', 1, 8), open()).await.await.expect("no panic").expect("embeds");
    assert_eq!(log.settled(), "settle interrupted 0 0");
}

#[tokio::test]
async fn a_key_that_is_revoked_ends_its_request_at_the_next_step() {
    let fixture = EncoderFixture::new().await;
    let log = ReservationLog { goes_on_max: Some(2), ..ReservationLog::default() };
    let error = fixture.send(&caller("a"), texts('a', 100, 500), log.reservation()).await.await.expect("no panic");
    assert!(matches!(error, Err(Error::Unauthorized(_))), "{error:?}");
    let computed = steps(&fixture.seen()).iter().map(|step| step.len()).sum::<usize>();
    assert!((2..100).contains(&computed), "{computed}");
    assert_eq!(log.settled(), format!("settle unauthorized {} 0", computed * 500));
}

#[tokio::test]
async fn time_that_is_up_ends_a_request() {
    let fixture = EncoderFixture::new().await;
    let log = ReservationLog::default();
    let timeout = Duration::from_millis(20);
    let request = EmbedRequest { id: "r".to_owned(), texts: texts('a', 100, 500), options: options(false), timeout };
    let admitted = fixture.thread.admit(&caller("a"), request, log.reservation()).await.expect("room");
    let error = fixture.thread.embed(admitted, None, Vec::new()).await.expect_err("too slow");
    assert!(matches!(error, Error::Timeout(_)), "{error}");
    assert!(log.settled().starts_with("settle timeout "), "{}", log.settled());
    assert!(fixture.clock.now() < Duration::from_secs(1), "a step or two");
}

#[tokio::test]
async fn what_is_too_long_is_refused_by_its_bytes_or_cut() {
    let fixture = EncoderFixture::new().await;
    let log = ReservationLog::default();
    let ask = |bytes: usize, truncate| {
        let texts = vec!["short".to_owned(), "x".repeat(bytes)];
        EmbedRequest { id: "r".to_owned(), texts, options: options(truncate), timeout: WAIT_MAX }
    };
    let refused = fixture.thread.admit(&caller("a"), ask(1 << 20, false), log.reservation()).await;
    let error = refused.err().expect("too long");
    assert!(error.to_string().contains("input[1] has 1048576 bytes"), "{error}");
    assert_eq!(log.settled(), "settle too_large 0 0");
    assert!(fixture.seen().is_empty(), "nothing was tokenized");

    let admitted = fixture.thread.admit(&caller("a"), ask(CONTEXT + 1, false), open()).await.expect("by bytes it fits");
    let error = fixture.thread.embed(admitted, None, Vec::new()).await.expect_err("too long");
    assert!(error.to_string().contains("input[1] has 513 tokens"), "{error}");

    let admitted = fixture.thread.admit(&caller("a"), ask(1 << 20, true), open()).await.expect("it is cut");
    let vectors = fixture.thread.embed(admitted, None, Vec::new()).await.expect("embeds");
    assert_eq!(vectors.tokens, 5 + CONTEXT);
    let longest = fixture
        .seen()
        .iter()
        .filter_map(|seen| match seen {
            EncoderCall::Count(text) => Some(text.len()),
            EncoderCall::Step(_) => None,
        })
        .max();
    assert_eq!(longest, Some(CONTEXT * limits::EMBED_TOKEN_BYTES_MAX));
}

#[tokio::test]
async fn each_request_has_its_own_prompt_limit_and_form_though_steps_are_shared() {
    let fixture = EncoderFixture::new().await;
    let ask = |options: TextOptions| EmbedRequest {
        id: "r".to_owned(),
        texts: vec!["ab".to_owned()],
        options,
        timeout: WAIT_MAX,
    };
    let prompted = TextOptions { prompt: "query: ".to_owned(), max_tokens: Some(4), ..options(false) };
    let unit = TextOptions { vector: VectorForm { dimensions: 2, normalize: true }, ..options(false) };
    let mut answers = Vec::new();
    for form in [prompted, unit] {
        let admitted = fixture.thread.admit(&caller("a"), ask(form), open()).await.expect("room");
        answers.push(fixture.thread.embed(admitted, None, Vec::new()));
    }
    let second = answers.pop().expect("two");
    let first = answers.pop().expect("two");
    let (first, second) = tokio::join!(first, second);
    let (first, second) = (first.expect("embeds"), second.expect("embeds"));
    assert_eq!((first.vectors, first.tokens), (vec![vec![9.0]], 4), "prompt and text are read as one, and cut");
    let [x, y] = second.vectors[0][..] else { panic!("two numbers") };
    assert!((x * x + y * y - 1.0).abs() < 1e-6 && second.tokens == 2, "{x} {y}");
}
