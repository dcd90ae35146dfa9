//! WASI 0.2 gives a guest no access to the system: what each of its interfaces returns.
//!
//! | interface | what a guest gets | tested by |
//! |---|---|---|
//! | `cli/environment` | nothing | `wasi.wat` |
//! | `cli/stdin`, `cli/terminal-*` | end of file at once, no terminal | - |
//! | `cli/stdout`, `cli/stderr` | lines of the log | `src/instance/wasi.rs` |
//! | `cli/exit` | a fault | `containment.rs` |
//! | `clocks/wall-clock` | 1970; with `clock` the machine's | `world.wat` |
//! | `clocks/monotonic-clock` | a virtual clock, sleep takes no time; with `clock` the machine's | `world.wat` |
//! | `clocks/timezone` | not provided: a component that imports it is refused | - |
//! | `filesystem/*` | no preopened folder | `wasi.wat` |
//! | `io/*` | streams and pollables of the others | `sleep.wat` |
//! | `random/*` | numbers derived from request and plugin; with `random` the machine's | `world.wat` |
//! | `sockets/*` | access denied | `wasi.wat` |

use std::collections::HashSet;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use firebox_contract::{Caller, HookSource, RequestInfo, TextVerdict};
use firebox_sandbox::{Capability, Plugin, PluginLimits, PluginSpec, Sandbox};

use crate::support::{chain, guest_with, load, push_once, request, sandbox, spec};

#[tokio::test]
async fn a_guest_finds_no_environment_no_arguments_no_files_and_no_sockets() {
    let plugin = load(&sandbox(), "wasi").await;
    let verdict = push_once(&plugin, "x").await.expect("no fault");
    assert_eq!(verdict, TextVerdict::Emit("0001111".to_owned()));
}

/// The readings of `world.wat`.
#[derive(Debug, PartialEq, Eq)]
struct WorldReadings {
    wall: u64,
    monotonic: u64,
    random: u64,
    insecure: u64,
    seed: u64,
    after_sleep: u64,
}

async fn world(sandbox: &Sandbox, name: &str, sleep: Duration, grants: &[(&str, Capability)]) -> Arc<Plugin> {
    let component = guest_with("world", &[("@SLEEP@", &sleep.as_nanos().to_string())]);
    let asks = grants.iter().map(|row| row.0.to_owned()).collect();
    let grants = grants.iter().map(|row| row.1).collect();
    let limits = PluginLimits { timeout: Duration::from_secs(60), ..PluginLimits::default() };
    sandbox.load(PluginSpec { asks, grants, limits, ..spec(name, component) }).await.expect("loaded")
}

async fn look(plugin: &Arc<Plugin>, id: &str) -> WorldReadings {
    let request = RequestInfo { id: id.to_owned(), ..request() };
    let mut hooks = chain(&[plugin]).bind(&Caller::local(), request).await.expect("bound");
    let Ok(TextVerdict::Emit(letters)) = hooks.push("x".to_owned()).await else { panic!("no fault") };
    let number = |at: usize| {
        let digits = letters.as_bytes()[16 * at..16 * (at + 1)].iter().rev();
        digits.fold(0, |sum: u64, letter| sum << 4 | u64::from(letter - b'a'))
    };
    WorldReadings {
        wall: number(0),
        monotonic: number(1),
        random: number(2),
        insecure: number(3),
        seed: number(4),
        after_sleep: number(5),
    }
}

const MINUTE: Duration = Duration::from_secs(60);

#[tokio::test]
async fn without_a_grant_clock_and_random_numbers_reveal_nothing() {
    let sandbox = sandbox();
    let plugin = world(&sandbox, "world", MINUTE, &[]).await;
    let begun = Instant::now();
    let first = look(&plugin, "r-1").await;
    assert!(begun.elapsed() < MINUTE / 2, "sleep takes no time");
    assert_eq!((first.wall, first.monotonic), (0, 0));
    assert!(u128::from(first.after_sleep) >= MINUTE.as_nanos(), "but the clock advances: {first:?}");
    assert_eq!(look(&plugin, "r-1").await, first, "the same request gets the same readings at any time");
    let other = look(&plugin, "r-2").await;
    let neighbour = look(&world(&sandbox, "neighbour", MINUTE, &[]).await, "r-1").await;
    let numbers = [&first, &other, &neighbour].map(|seen| [seen.random, seen.insecure, seen.seed]);
    let different: HashSet<u64> = numbers.into_iter().flatten().collect();
    assert_eq!(different.len(), 9, "each request and each plugin has its own numbers: {numbers:?}");
}

#[tokio::test]
async fn with_a_grant_a_guest_gets_the_machines_clock_and_random_numbers() {
    let sandbox = sandbox();
    let sleep = Duration::from_millis(20);
    let both = [("clock", Capability::Clock), ("random", Capability::Random)];
    let plugin = world(&sandbox, "world", sleep, &both).await;
    let before = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).expect("after 1970").as_secs();
    let begun = Instant::now();
    let (first, second) = (look(&plugin, "r-1").await, look(&plugin, "r-1").await);
    assert!(begun.elapsed() >= 2 * sleep && first.wall >= before, "{first:?}");
    assert!(u128::from(first.after_sleep - first.monotonic) >= sleep.as_nanos(), "{first:?}");
    assert!(first.random != second.random && first.insecure != second.insecure && first.seed != second.seed);
    let clock = world(&sandbox, "clock", sleep, &both[..1]).await;
    let (first, second) = (look(&clock, "r-1").await, look(&clock, "r-1").await);
    assert!(first.wall >= before && first.random == second.random, "a grant for the clock gives no random numbers");
}

#[tokio::test]
async fn a_capability_must_be_asked_for_and_granted() {
    let sandbox = sandbox();
    let component = || guest_with("world", &[("@SLEEP@", "1")]);
    let grants = [Capability::Clock, Capability::Random].into_iter().collect();
    let silent = sandbox.load(PluginSpec { grants, ..spec("silent", component()) }).await.expect("loaded");
    assert_eq!(silent.stand_ins(), ["clock", "random"], "the host can list them");
    assert_eq!(look(&silent, "r-1").await.wall, 0);
    let asks = vec!["clock".to_owned(), "random".to_owned()];
    let asking = sandbox.load(PluginSpec { asks, ..spec("asking", component()) }).await.expect("it has substitutes");
    assert_eq!((asking.stand_ins(), look(&asking, "r-1").await.wall), (vec!["clock", "random"], 0));
}
