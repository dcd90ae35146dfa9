//! Limits are exact under 64 threads, refill over time, and refusals carry the time to retry.

use super::*;

#[test]
fn requests_are_admitted_exactly_up_to_the_limit_and_again_after_a_minute() {
    let (tenancy, clock, alice) = alice(limits_of(|limits| limits.requests_per_minute = Some(100)));
    let admit = || tenancy.admit(&alice.caller, "ember", "r").is_ok();
    assert_eq!(storm(640, admit), 100);
    let error = tenancy.admit(&alice.caller, "ember", "r").err().expect("used up");
    assert!(error.to_string().contains("limit of 100 requests a minute"), "{error}");
    let wait = retry_after(&error);
    assert!(wait > Duration::from_secs(59) && wait <= Duration::from_millis(60_250), "{wait:?}");
    clock.advance(wait - Duration::from_millis(1));
    assert_eq!(storm(640, admit), 0);
    clock.advance(Duration::from_millis(1));
    assert_eq!(storm(640, admit), 100);
    let counts = tenancy.usage(&alice.id).expect("there").total;
    assert_eq!((counts.requests, counts.limited), (200, 3 * 640 - 200 + 1));
}

#[test]
fn a_request_is_admitted_once_and_frees_its_slot() {
    let (tenancy, _, alice) = alice(limits_of(|limits| {
        limits.requests_per_minute = Some(3);
        limits.in_flight_max = 2;
    }));
    let begin = |kind| tenancy.begin(&alice.caller, kind, "r");
    let mut first = begin(WorkKind::Generation).expect("room");
    let second = begin(WorkKind::Generation).expect("room");
    let full = begin(WorkKind::Generation).err().expect("no slot").to_string();
    assert!(full.contains("already has 2 requests running"), "{full}");
    assert!(begin(WorkKind::Approval).is_ok() && begin(WorkKind::Mcp).is_ok(), "they have slots of their own");
    let mut reservation = first.open_model("ember").expect("allowed");
    assert!(first.open_model("ember").is_err(), "there is one reservation");
    settle(reservation.as_mut(), used(5, 2));
    drop((first, second));
    drop(begin(WorkKind::Session).expect("the third of the rate"));
    assert!(begin(WorkKind::Generation).is_err() && begin(WorkKind::Mcp).is_err(), "the rate is used up");
    assert!(begin(WorkKind::Approval).is_ok(), "approvals are still admitted");
    let counts = tenancy.usage(&alice.id).expect("there").total;
    assert_eq!((counts.requests, counts.limited, counts.unsettled, counts.prompt_tokens), (3, 3, 0, 5));
}

#[test]
fn slots_are_exact_under_many_threads() {
    let (tenancy, _, alice) = alice(limits_of(|limits| limits.in_flight_max = 5));
    let held = Mutex::new(Vec::new());
    let admitted = storm(640, || {
        let place = tenancy.begin(&alice.caller, WorkKind::Generation, "r");
        place.map(|place| held.lock().expect("lock").push(place)).is_ok()
    });
    assert_eq!(admitted, 5);
    held.lock().expect("lock").clear();
    assert!(tenancy.begin(&alice.caller, WorkKind::Generation, "r").is_ok());
}

#[test]
fn a_clock_that_is_set_back_frees_no_rate() {
    let (tenancy, clock, alice) = alice(limits_of(|limits| limits.requests_per_minute = Some(1)));
    drop(tenancy.admit(&alice.caller, "ember", "r").expect("the first"));
    clock.set(0);
    assert!(tenancy.admit(&alice.caller, "ember", "r").is_err());
}

#[test]
fn a_limit_of_zero_refuses_everything() {
    let (tenancy, _, alice) = alice(limits_of(|limits| {
        limits.tokens_per_minute = Some(0);
        limits.tool_calls_per_minute = Some(0);
    }));
    let mut reservation = tenancy.admit(&alice.caller, "ember", "r").expect("requests are not limited");
    assert!(reservation.reserve(1).expect_err("none").to_string().contains("is 0 tokens a minute"));
    assert!(reservation.allow_call(&call("x")).expect_err("none").to_string().contains("is 0 tool calls a minute"));
}

#[test]
fn tokens_are_reserved_exactly_and_unused_ones_are_given_back() {
    let (tenancy, _, alice) = alice(limits_of(|limits| limits.tokens_per_minute = Some(1_000)));
    let open = || tenancy.admit(&alice.caller, "ember", "r").expect("requests are not limited");
    let reservations = Mutex::new(Vec::new());
    let reserve = || {
        let mut reservation = open();
        let fits = reservation.reserve(7).is_ok();
        reservations.lock().expect("not poisoned").push((reservation, fits));
        fits
    };
    assert_eq!(storm(640, reserve), 142, "142 · 7 = 994");
    let left = || tenancy.rate(&alice.id).expect("there").tokens.expect("limited").remaining;
    assert_eq!(left(), 6);
    for (mut reservation, fits) in reservations.into_inner().expect("not poisoned") {
        settle(reservation.as_mut(), if fits { used(2, 1) } else { used(0, 0) });
    }
    assert_eq!(left(), 1_000 - 142 * 3);
    let total = tenancy.usage(&alice.id).expect("there").total;
    assert_eq!((total.prompt_tokens, total.completion_tokens), (284, 142));
}

#[test]
fn tokens_beyond_the_reservation_are_charged_and_unsettled_ones_stay_spent() {
    let (tenancy, clock, alice) = alice(limits_of(|limits| limits.tokens_per_minute = Some(1_000)));
    let left = || tenancy.rate(&alice.id).expect("there").tokens.expect("limited").remaining;
    let mut reservation = tenancy.admit(&alice.caller, "ember", "1").expect("valid");
    reservation.reserve(100).expect("fits");
    settle(reservation.as_mut(), used(100, 50));
    settle(reservation.as_mut(), used(100, 50));
    assert_eq!(left(), 850, "settled once");
    let mut reservation = tenancy.admit(&alice.caller, "ember", "2").expect("valid");
    reservation.reserve(200).expect("fits");
    drop(reservation);
    assert_eq!(left(), 650);
    assert_eq!(tenancy.usage(&alice.id).expect("there").total.unsettled, 1);
    let mut reservation = tenancy.admit(&alice.caller, "ember", "3").expect("valid");
    reservation.reserve(300).expect("the first round");
    clock.advance(Duration::from_secs(30));
    reservation.reserve(300).expect("the second round");
    let error = reservation.reserve(51).expect_err("51 of 50");
    assert_eq!(retry_after(&error), Duration::from_millis(30_250), "when the first ones are forgotten");
    settle(reservation.as_mut(), used(250, 0));
    assert_eq!(left(), 400, "650 - 250");
}

#[test]
fn a_request_larger_than_the_limit_is_an_error_without_a_retry_time() {
    let (tenancy, _, alice) = alice(limits_of(|limits| {
        limits.tokens_per_minute = Some(1_000);
        limits.context_tokens_max = Some(500);
    }));
    let mut reservation = tenancy.admit(&alice.caller, "ember", "1").expect("valid");
    assert!(
        matches!(reservation.reserve(501), Err(Error::TooLarge(why)) if why.contains("501") && why.contains("500"))
    );
    let (tenancy, _, alice) = super::alice(limits_of(|limits| limits.tokens_per_minute = Some(1_000)));
    let mut reservation = tenancy.admit(&alice.caller, "ember", "1").expect("valid");
    assert!(matches!(reservation.reserve(1_001), Err(Error::TooLarge(why)) if why.contains("1001")));
    reservation.reserve(1_000).expect("just fits");
}

#[test]
fn tool_calls_are_exact_over_all_requests() {
    let (tenancy, clock, alice) = alice(limits_of(|limits| limits.tool_calls_per_minute = Some(50)));
    let one = || tenancy.admit(&alice.caller, "ember", "r").expect("valid").allow_call(&call("x")).is_ok();
    assert_eq!(storm(640, one), 50);
    clock.advance(Duration::from_millis(60_250));
    assert_eq!(storm(640, one), 50);
}

#[test]
fn fuel_is_charged_after_each_call_and_refuses_later_work() {
    let (tenancy, clock, alice) = alice(limits_of(|limits| limits.plugin_fuel_per_minute = Some(1_000)));
    let mut reservation = tenancy.admit(&alice.caller, "ember", "1").expect("valid");
    reservation.allow_call(&call("x")).expect("nothing used yet");
    reservation.record_call(&call("x"), Decision::Allowed, &outcome(600));
    reservation.allow_call(&call("x")).expect("400 are left");
    reservation.record_call(&call("x"), Decision::Allowed, &outcome(600));
    let error = reservation.allow_call(&call("x")).expect_err("used up");
    assert!(error.to_string().contains("1000 units of plugin fuel"), "{error}");
    assert!(reservation.reserve(1).is_err() && tenancy.admit(&alice.caller, "ember", "2").is_err());
    settle(reservation.as_mut(), used(0, 0));
    let total = tenancy.usage(&alice.id).expect("there").total;
    assert_eq!((total.plugin_fuel, total.tool_calls), (1_200, 2));
    clock.advance(retry_after(&error));
    drop(tenancy.admit(&alice.caller, "ember", "3").expect("a minute later"));
}

#[test]
fn fuel_of_stages_is_charged_at_the_end_and_fuel_of_tools_only_once() {
    use firebox_contract::{PluginUse, RequestUsage, Stage};
    let (tenancy, _, alice) = alice(limits_of(|limits| limits.plugin_fuel_per_minute = Some(1_000)));
    let mut reservation = tenancy.admit(&alice.caller, "ember", "1").expect("valid");
    reservation.record_call(&call("x"), Decision::Allowed, &outcome(300));
    let plugin = |stage, fuel| PluginUse {
        plugin: "p".to_owned(),
        stage,
        calls: 1,
        fuel,
        memory_peak_bytes: 1,
        elapsed: Duration::ZERO,
        model_tokens: 0,
    };
    let plugins = [plugin(Stage::Tool, 300), plugin(Stage::Prompt, 600)];
    reservation.settle(&RequestUsage { usage: used(1, 1), plugins: &plugins, outcome: "stop" });
    assert_eq!(tenancy.usage(&alice.id).expect("there").total.plugin_fuel, 900);
    drop(tenancy.admit(&alice.caller, "ember", "2").expect("100 are left"));
}

#[test]
fn fuel_reported_during_a_request_counts_at_once_and_only_once() {
    use firebox_contract::{PluginUse, RequestUsage, Stage};
    let (tenancy, _, alice) = alice(limits_of(|limits| limits.plugin_fuel_per_minute = Some(1_000)));
    let mut reservation = tenancy.admit(&alice.caller, "ember", "1").expect("valid");
    reservation.may_continue(0).expect("nothing used yet");
    reservation.may_continue(600).expect("400 are left");
    assert!(tenancy.admit(&alice.caller, "ember", "2").is_ok());
    let error = reservation.may_continue(600).expect_err("used up");
    assert!(error.to_string().contains("1000 units of plugin fuel"), "{error}");
    assert!(tenancy.admit(&alice.caller, "ember", "3").is_err(), "for other requests, too");
    let (plugin, stage, elapsed) = ("p".to_owned(), Stage::Prompt, Duration::ZERO);
    let plugins = [PluginUse { plugin, stage, calls: 3, fuel: 1_300, memory_peak_bytes: 1, elapsed, model_tokens: 9 }];
    reservation.settle(&RequestUsage { usage: used(1, 0), plugins: &plugins, outcome: "stop" });
    assert_eq!(tenancy.usage(&alice.id).expect("there").total.plugin_fuel, 1_300);
}

#[test]
fn models_are_allowed_by_glob() {
    let mut config = config_of(vec![tenant("alice", TenantLimits::default(), &[("a", &ALICE)])]);
    config.tenants[0].models = vec!["qwen*".to_owned(), "ember".to_owned()];
    let (tenancy, _) = tenancy(&config, None);
    let alice = tenancy.authenticate(Some("Bearer fbx_a_secret")).expect("valid");
    for (model, allowed) in [("qwen3-0.6b", true), ("ember", true), ("ember2", false), ("Qwen", false), ("", false)] {
        assert_eq!(tenancy.admit(&alice.caller, model, "r").is_ok(), allowed, "{model}");
    }
    drop(tenancy.admit_tools(&alice.caller, "r").expect("a request without a model"));
}

#[test]
fn rates_report_what_is_left_and_the_time_to_refill() {
    let (tenancy, clock, alice) = alice(limits_of(|limits| limits.requests_per_minute = Some(10)));
    drop(tenancy.admit(&alice.caller, "ember", "1").expect("valid"));
    clock.advance(Duration::from_secs(20));
    drop(tenancy.admit(&alice.caller, "ember", "2").expect("valid"));
    let rate = tenancy.rate(&alice.id).expect("there");
    let requests = rate.requests.expect("limited");
    assert_eq!((requests.limit, requests.remaining), (10, 8));
    assert_eq!(requests.reset, Duration::from_millis(60_250));
    assert_eq!(rate.tokens, None);
}
