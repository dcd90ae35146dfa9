//! Every request is paid for once, whatever becomes of it.

use super::*;

async fn outcome(bench: &Bench, told: &Told, texts: &[&str]) -> Result<Vectors, Error> {
    let texts = texts.iter().map(|text| (*text).to_owned()).collect();
    bench.send(&caller("a"), texts, told.account()).await.await.expect("no panic")
}

#[tokio::test]
async fn tokens_are_reserved_before_the_work_and_settled_once() {
    let bench = Bench::new().await;
    let told = Told::default();
    outcome(&bench, &told, &["abc", "de"]).await.expect("embeds");
    assert_eq!(told.lines(), ["reserve 5", "go on 0", "settle stop 5 0"]);

    let told = Told { tokens_max: Some(4), ..Told::default() };
    let before = steps(&bench.seen()).len();
    let error = outcome(&bench, &told, &["abc", "de"]).await.expect_err("too many");
    assert!(matches!(error, Error::Limited { .. }), "{error}");
    assert_eq!(told.settled(), "settle rate_limited 0 0");
    assert_eq!(steps(&bench.seen()).len(), before, "nothing was computed");
}

#[tokio::test]
async fn a_panic_is_one_requests_error() {
    let bench = Bench::new().await;
    let held = bench.hold().await;
    let (bad, good) = (Told::default(), Told::default());
    let bad_one = bench.send(&caller("a"), vec!["panic".to_owned()], bad.account()).await;
    let good_one = bench.send(&caller("b"), vec!["fine!".to_owned()], good.account()).await;
    bench.let_go.send(()).expect("held");
    held.await.expect("no panic").expect("embeds");
    assert!(matches!(bad_one.await.expect("no panic"), Err(Error::Model(_))));
    assert!(good_one.await.expect("no panic").is_ok());
    assert_eq!((bad.settled().as_str(), good.settled().as_str()), ("settle model_error 0 0", "settle stop 5 0"));
}

#[tokio::test]
async fn who_leaves_frees_its_place_and_pays_for_what_was_done() {
    let bench = Bench::new().await;
    let told = Told::default();
    let mut all = texts('a', 100, 400);
    all[0] = format!("{HOLD}{}", ".".repeat(500));
    let sent = bench.send(&caller("a"), all, told.account()).await;
    bench.until(|seen| !steps(seen).is_empty()).await;
    sent.abort();
    let _cancelled = sent.await;
    bench.let_go.send(()).expect("held");
    // The next is answered after the thread has seen that the other left.
    bench.send(&caller("b"), texts('b', 1, 8), open()).await.await.expect("no panic").expect("embeds");
    assert_eq!(told.settled(), "settle interrupted 504 0");
    assert_eq!(bench.thread.counters().running, 0);
    let left: usize =
        steps(&bench.seen()).iter().flat_map(|step| step.iter()).filter(|text| text.starts_with('a')).count();
    assert_eq!(left, 0, "what it no longer wants is not computed");
}

#[tokio::test]
async fn who_leaves_while_it_waits_for_its_turn_is_settled_too() {
    let bench = Bench::new().await;
    let held = bench.hold().await;
    let told = Told::default();
    let sent = bench.send(&caller("a"), texts('a', 1, 8), told.account()).await;
    sent.abort();
    let _cancelled = sent.await;
    bench.let_go.send(()).expect("held");
    held.await.expect("no panic").expect("embeds");
    bench.send(&caller("b"), texts('b', 1, 8), open()).await.await.expect("no panic").expect("embeds");
    assert_eq!(told.settled(), "settle interrupted 0 0");
}

#[tokio::test]
async fn a_key_that_is_revoked_ends_its_request_at_the_next_step() {
    let bench = Bench::new().await;
    let told = Told { goes_on_max: Some(2), ..Told::default() };
    let error = bench.send(&caller("a"), texts('a', 100, 500), told.account()).await.await.expect("no panic");
    assert!(matches!(error, Err(Error::Unauthorized(_))), "{error:?}");
    let computed = steps(&bench.seen()).iter().map(|step| step.len()).sum::<usize>();
    assert!((2..100).contains(&computed), "{computed}");
    assert_eq!(told.settled(), format!("settle unauthorized {} 0", computed * 500));
}

#[tokio::test]
async fn time_that_is_up_ends_a_request() {
    let bench = Bench::new().await;
    let told = Told::default();
    let timeout = Duration::from_millis(20);
    let request = EmbedRequest { id: "r".to_owned(), texts: texts('a', 100, 500), form: form(false), timeout };
    let admitted = bench.thread.admit(&caller("a"), request, told.account()).await.expect("room");
    let error = bench.thread.embed(admitted, None, Vec::new()).await.expect_err("too slow");
    assert!(matches!(error, Error::Timeout(_)), "{error}");
    assert!(told.settled().starts_with("settle timeout "), "{}", told.settled());
    assert!(bench.clock.now() < Duration::from_secs(1), "a step or two");
}

#[tokio::test]
async fn what_is_too_long_is_refused_by_its_bytes_or_cut() {
    let bench = Bench::new().await;
    let told = Told::default();
    let ask = |bytes: usize, truncate| {
        let texts = vec!["short".to_owned(), "x".repeat(bytes)];
        EmbedRequest { id: "r".to_owned(), texts, form: form(truncate), timeout: WAIT_MAX }
    };
    let refused = bench.thread.admit(&caller("a"), ask(1 << 20, false), told.account()).await;
    let error = refused.err().expect("too long");
    assert!(error.to_string().contains("input[1] has 1048576 bytes"), "{error}");
    assert_eq!(told.settled(), "settle too_large 0 0");
    assert!(bench.seen().is_empty(), "nothing was tokenized");

    let admitted = bench.thread.admit(&caller("a"), ask(CONTEXT + 1, false), open()).await.expect("by bytes it fits");
    let error = bench.thread.embed(admitted, None, Vec::new()).await.expect_err("too long");
    assert!(error.to_string().contains("input[1] has 513 tokens"), "{error}");

    let admitted = bench.thread.admit(&caller("a"), ask(1 << 20, true), open()).await.expect("it is cut");
    let vectors = bench.thread.embed(admitted, None, Vec::new()).await.expect("embeds");
    assert_eq!(vectors.tokens, 5 + CONTEXT);
    let longest = bench
        .seen()
        .iter()
        .filter_map(|seen| match seen {
            Seen::Count(text) => Some(text.len()),
            Seen::Step(_) => None,
        })
        .max();
    assert_eq!(longest, Some(CONTEXT * limits::EMBED_TOKEN_BYTES_MAX));
}

#[tokio::test]
async fn each_request_has_its_own_prompt_limit_and_form_though_steps_are_shared() {
    let bench = Bench::new().await;
    let ask =
        |form: TextForm| EmbedRequest { id: "r".to_owned(), texts: vec!["ab".to_owned()], form, timeout: WAIT_MAX };
    let prompted = TextForm { prompt: "query: ".to_owned(), max_tokens: Some(4), ..form(false) };
    let unit = TextForm { vector: VectorForm { dimensions: 2, normalize: true }, ..form(false) };
    let mut answers = Vec::new();
    for form in [prompted, unit] {
        let admitted = bench.thread.admit(&caller("a"), ask(form), open()).await.expect("room");
        answers.push(bench.thread.embed(admitted, None, Vec::new()));
    }
    let second = answers.pop().expect("two");
    let first = answers.pop().expect("two");
    let (first, second) = tokio::join!(first, second);
    let (first, second) = (first.expect("embeds"), second.expect("embeds"));
    assert_eq!((first.vectors, first.tokens), (vec![vec![9.0]], 4), "prompt and text are read as one, and cut");
    let [x, y] = second.vectors[0][..] else { panic!("two numbers") };
    assert!((x * x + y * y - 1.0).abs() < 1e-6 && second.tokens == 2, "{x} {y}");
}
