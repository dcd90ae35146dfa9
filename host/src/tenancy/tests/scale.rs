//! Start time and cost of look-ups with a thousand tenants.

use std::fmt::Write as _;
use std::time::Instant;

use super::*;

/// A tenants file with `count` tenants, each with two keys and limits.
fn file_of(count: usize) -> String {
    let mut text = String::new();
    for number in 0..count {
        let digest = |key: &str| keys::hex(&keys::digest(&format!("fbx_{key}{number}_secret")));
        write!(
            text,
            "[[tenant]]\nname = \"tenant-{number}\"\nmodels = [\"ember\", \"qwen*\"]\nplugins = [\"redact\"]\nweight = 2\n\
             [tenant.tools]\nask = [\"fs.*\"]\n[tenant.limits]\nrequests_per_minute = 600\ntokens_per_minute = 100000\n\
             [[tenant.key]]\nid = \"a{number}\"\ndigest = \"{}\"\nexpires = 2099-01-01T00:00:00Z\n\
             [[tenant.key]]\nid = \"b{number}\"\ndigest = \"{}\"\nscopes = [\"chat\"]\n\n",
            digest("a"),
            digest("b"),
        )
        .expect("a string");
    }
    text
}

/// The time to load a file of `count` tenants.
fn start(count: usize) -> (Duration, Tenancy) {
    let dir = tempfile::tempdir().expect("a folder");
    std::fs::write(dir.path().join("firebox.toml"), "").expect("written");
    std::fs::write(dir.path().join("tenants.toml"), file_of(count)).expect("written");
    let begun = Instant::now();
    let config = Config::load_with(Some(&dir.path().join("firebox.toml")), &[], &[]).expect("valid");
    let tenancy = Tenancy::new(&config, None).expect("valid");
    (begun.elapsed(), tenancy)
}

#[test]
fn a_thousand_tenants_start_within_two_seconds_of_one() {
    let (one, _) = start(1);
    let (thousand, tenancy) = start(1_000);
    assert!(thousand < one + Duration::from_secs(2), "one: {one:?}, a thousand: {thousand:?}");
    for number in [0, 499, 999] {
        let tenant = tenancy.authenticate(Some(&format!("Bearer fbx_a{number}_secret"))).expect("valid");
        assert_eq!(tenant.id.as_str(), format!("tenant-{number}"));
    }
    assert_eq!(tenancy.tenants().expect("not poisoned").len(), 1_000);
}

/// Resident memory of this process in bytes; 0 if the system does not report it.
fn resident_bytes() -> f64 {
    let pages = std::fs::read_to_string("/proc/self/statm").ok();
    pages.and_then(|pages| pages.split(' ').nth(1)?.parse::<f64>().ok()).unwrap_or_default() * 4_096.0
}

/// Not a test of right or wrong: prints the figures of `specifications/reference/tenancy.md`.
#[test]
#[ignore = "prints figures, which only mean something on a quiet machine"]
fn figures() {
    const ROUNDS: u32 = 200_000;
    let figure = |what: &str, time: Duration| {
        // Through the test's own output, which `--nocapture` shows.
        let line = format!("{what}: {:.2} µs\n", time.as_secs_f64() * 1e6 / f64::from(ROUNDS));
        std::io::Write::write_all(&mut std::io::stderr(), line.as_bytes()).expect("shown");
    };
    let (_, first) = start(1);
    let before = resident_bytes();
    let (_, many) = start(20_000);
    let each = (resident_bytes() - before) / 20_000.0;
    let line = format!("memory of an idle tenant with two keys: {each:.0} bytes at most\n");
    std::io::Write::write_all(&mut std::io::stderr(), line.as_bytes()).expect("shown");
    drop((first, many));
    for count in [1, 1_000] {
        let (time, tenancy) = start(count);
        figure(&format!("load and build, {count} tenants (total, times {ROUNDS})"), time * ROUNDS);
        let begun = Instant::now();
        let mut tenant = None;
        for _ in 0..ROUNDS {
            tenant = Some(tenancy.authenticate(Some("Bearer fbx_a0_secret")).expect("valid"));
        }
        figure("authenticate", begun.elapsed());
        let tenant = tenant.expect("there");
        let begun = Instant::now();
        for _ in 0..ROUNDS {
            let _refused_after_600 = tenancy.admit(&tenant.caller, "ember", "r");
        }
        figure("admit (mostly refused by the rate)", begun.elapsed());
    }
    let (tenancy, _, alice) = alice(limits_of(|limits| limits.tokens_per_minute = Some(u64::MAX >> 1)));
    let begun = Instant::now();
    for _ in 0..ROUNDS {
        let mut reservation = tenancy.admit(&alice.caller, "ember", "r").expect("no limit");
        reservation.reserve(100).expect("no limit");
        settle(reservation.as_mut(), used(10, 10));
    }
    figure("admit, reserve and settle", begun.elapsed());
}
