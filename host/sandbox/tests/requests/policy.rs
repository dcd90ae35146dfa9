//! The effect of a fault on the rest of its request and on later requests.

use firebox_contract::{FaultCause, Stage, TextVerdict};
use firebox_sandbox::{OnFault, PluginSpec};

use crate::support::{all_text, bind, chain, fault, guest, load, push_once, sandbox, spec, tag};

#[tokio::test]
async fn a_trapped_instance_is_never_called_again() {
    let panic = load(&sandbox(), "panic").await;
    let mut hooks = bind(&chain(&[&panic])).await;
    assert!(matches!(fault(hooks.push("x".to_owned()).await).cause, FaultCause::Trapped { .. }));
    let second = fault(hooks.push("x".to_owned()).await);
    assert!(matches!(&second.cause, FaultCause::Refused { message } if message.contains("no cheese")), "{second}");
    let calls = hooks.usage().iter().filter(|row| row.stage == Stage::Text).map(|row| row.calls).sum::<u64>();
    assert_eq!(calls, 1, "the second call never reached a guest");
}

#[tokio::test]
async fn a_plugins_own_error_does_not_end_its_instance() {
    let fail = load(&sandbox(), "fail").await;
    let mut hooks = bind(&chain(&[&fail])).await;
    for _ in 0..3 {
        let fault = fault(hooks.push("x".to_owned()).await);
        assert_eq!(fault.cause, FaultCause::Failed { message: "no luck".to_owned() });
    }
    assert_eq!(hooks.finish().await.expect("still alive"), "");
}

#[tokio::test]
async fn a_skipped_fault_bypasses_only_its_plugin() {
    let sandbox = sandbox();
    let (a, b) = (tag(&sandbox, "a", 'a').await, tag(&sandbox, "b", 'b').await);
    let skipped = PluginSpec { on_fault: OnFault::Skip, ..spec("panic", guest("panic")) };
    let panic = sandbox.load(skipped).await.expect("loaded");
    let mut hooks = bind(&chain(&[&a, &panic, &b])).await;
    assert_eq!(all_text(&mut *hooks, &["x", "y"]).await, "xabyabAbB");
    let skips: Vec<_> = hooks.take_log().into_iter().filter(|line| line.message.starts_with("skipped")).collect();
    assert_eq!(skips.len(), 1, "logged once: {skips:?}");
    assert_eq!((skips[0].plugin.as_str(), skips[0].level), ("panic", "warn"));
}

#[tokio::test]
async fn a_plugin_that_cannot_start_is_skipped_or_fatal() {
    let sandbox = sandbox();
    // It starts within its own limits, as loading shows, but not within the caller's.
    let hungry = firebox_sandbox::PluginLimits { memory_bytes: 65_536, ..firebox_sandbox::PluginLimits::MAX };
    for (on_fault, starts) in [(OnFault::Fail, false), (OnFault::Skip, true)] {
        let plugin = sandbox.load(PluginSpec { on_fault, ..spec("tag", guest("count")) }).await.expect("loaded");
        let bound = crate::support::try_bind(&chain(&[&plugin]).limited(hungry).expect("in range")).await;
        assert_eq!(bound.is_ok(), starts, "{on_fault:?}");
        match bound {
            Ok(mut hooks) => assert_eq!(all_text(&mut *hooks, &["x"]).await, "x"),
            Err(error) => {
                let fault = fault::<()>(Err(error));
                assert!(matches!(fault.cause, FaultCause::OutOfMemory { .. }) && fault.stage == Stage::Init, "{fault}");
            }
        }
    }
}

#[tokio::test]
async fn state_lives_as_long_as_its_request() {
    let count = load(&sandbox(), "count").await;
    let mut first = bind(&chain(&[&count])).await;
    let mut second = bind(&chain(&[&count])).await;
    for expected in ["1", "2", "3"] {
        let verdict = first.push("x".to_owned()).await.expect("no fault");
        assert_eq!(verdict, TextVerdict::Emit(expected.to_owned()));
    }
    assert_eq!(second.push("x".to_owned()).await.expect("no fault"), TextVerdict::Emit("1".to_owned()));
    drop(first);
    assert_eq!(push_once(&count, "x").await.expect("no fault"), TextVerdict::Emit("1".to_owned()));
}

#[tokio::test]
async fn the_log_of_a_panicking_plugin_can_be_read() {
    let panic = load(&sandbox(), "panic").await;
    let mut hooks = bind(&chain(&[&panic])).await;
    assert!(hooks.push("x".to_owned()).await.is_err());
    let log = hooks.take_log();
    assert_eq!(log.len(), 1);
    assert_eq!((log[0].plugin.as_str(), log[0].level), ("panic", "error"));
    assert!(log[0].message.contains("no cheese"));
    assert!(hooks.take_log().is_empty());
}

#[tokio::test]
async fn log_lines_beyond_the_limit_are_dropped_and_counted() {
    let chatter = load(&sandbox(), "chatter").await;
    let mut hooks = bind(&chain(&[&chatter])).await;
    hooks.push("x".to_owned()).await.expect("no fault");
    let log = hooks.take_log();
    assert_eq!(log.len(), firebox_contract::limits::PLUGIN_LOG_LINES_MAX + 1);
    assert_eq!(log[0].message.len(), firebox_contract::limits::PLUGIN_LOG_LINE_BYTES_MAX);
    assert!(log[log.len() - 1].message.starts_with("1 more"));
}

#[tokio::test]
async fn usage_is_counted_by_plugin_and_stage() {
    let sandbox = sandbox();
    let (a, b) = (tag(&sandbox, "a", 'a').await, load(&sandbox, "pass").await);
    let mut hooks = bind(&chain(&[&a, &b])).await;
    all_text(&mut *hooks, &["x", "y"]).await;
    let usage = hooks.usage();
    let rows: Vec<_> = usage.iter().map(|row| (row.plugin.as_str(), row.stage, row.calls)).collect();
    // `b` sees the two chunks and the letter that `a` adds at the end.
    assert_eq!(
        rows,
        [("a", Stage::Init, 1), ("a", Stage::Text, 3), ("pass", Stage::Init, 1), ("pass", Stage::Text, 4)]
    );
    assert!(usage.iter().all(|row| row.memory_peak_bytes >= 2 * 65_536 && !row.elapsed.is_zero()), "{usage:?}");
    assert!(usage.iter().filter(|row| row.stage == Stage::Text).all(|row| row.fuel > 0), "{usage:?}");
}
