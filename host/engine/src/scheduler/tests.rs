//! Planned steps, and what a flood costs other tenants, on a simulated device.

use firebox_contract::limits::{SHARE_DECAY, SHARE_LEAD_MAX, SHORT_JOB_TIME, THROTTLE_TIME};

use super::*;

const CHUNK: usize = 512;
/// The simulated device: 2 ms per step and 1 ms per row.
const FIXED: Duration = Duration::from_millis(2);
const ROW: Duration = Duration::from_millis(1);

/// The work of each sequence by default.
const LONG: JobSize = JobSize { prompt: 4_000, answer: 4_000 };

fn tenants() -> [TenantId; 3] {
    ["a", "b", "c"].map(TenantId::new)
}

type CandidateRow<'a> = (&'a TenantId, u32, usize, u64);

fn candidates<'a>(rows: &[CandidateRow<'a>]) -> Vec<Candidate<'a>> {
    let row = |&(tenant, weight, pending, last_step): &CandidateRow<'a>| Candidate {
        work: PendingWork { tenant, weight, size: LONG },
        pending_tokens: pending,
        last_step,
        aborted_steps: 0,
    };
    rows.iter().map(row).collect()
}

/// Whether the planned step is aborted for a request of this size.
fn aborts_for(schedulerr: &Scheduler, tenant: &TenantId, size: JobSize, now: Duration) -> bool {
    schedulerr.should_abort_for(std::iter::once(PendingWork { tenant, weight: 1, size }), now)
}

fn step(rows: &[CandidateRow<'_>]) -> Vec<usize> {
    Scheduler::default().plan(&candidates(rows), CHUNK, Duration::ZERO)
}

/// A schedulerr on a simulated device with a clock.
struct SimulatedDevice {
    schedulerr: Scheduler,
    now: Duration,
    fixed: Duration,
    row: Duration,
}

impl Default for SimulatedDevice {
    fn default() -> Self {
        Self { schedulerr: Scheduler::default(), now: Duration::ZERO, fixed: FIXED, row: ROW }
    }
}

impl SimulatedDevice {
    fn step(&mut self, rows: &[CandidateRow<'_>]) -> Vec<usize> {
        self.step_of(&candidates(rows))
    }

    fn step_of(&mut self, candidates: &[Candidate<'_>]) -> Vec<usize> {
        let tokens = self.schedulerr.plan(candidates, CHUNK, self.now);
        let took = self.fixed + self.row * u32::try_from(tokens.iter().sum::<usize>()).expect("few");
        self.now += took;
        let paid = candidates.iter().zip(&tokens).filter(|(_, tokens)| **tokens > 0);
        self.schedulerr.charge(paid.map(|(one, tokens)| (one.work.tenant, one.work.weight, *tokens)), took, self.now);
        tokens
    }

    /// Tokens of each row over `count` steps.
    fn steps(&mut self, rows: &[CandidateRow<'_>], count: usize) -> Vec<usize> {
        let mut sums = vec![0; rows.len()];
        for _ in 0..count {
            self.step(rows).iter().zip(&mut sums).for_each(|(tokens, sum)| *sum += tokens);
        }
        sums
    }
}

#[test]
fn a_single_tenant_gets_the_whole_step() {
    let [a, ..] = tenants();
    assert_eq!(step(&[(&a, 1, 700, 0), (&a, 1, 1, 0), (&a, 1, 90, 0)]), [511, 1, 0]);
    assert_eq!(step(&[(&a, 1, 500, 0), (&a, 1, 90, 0)]), [500, 12]);
    let answers = vec![(&a, 1, 1, 0); 40];
    assert_eq!(step(&answers), vec![1; 40]);
}

#[test]
fn prompts_of_a_tenant_delay_its_own_answers_by_a_limited_time() {
    let [a, ..] = tenants();
    let mut device = SimulatedDevice::default();
    assert_eq!(device.step(&[(&a, 1, 4_000, 0)]), [512], "alone a prompt gets the whole step");
    assert_eq!(device.step(&[(&a, 1, 1, 0)]), [1]);
    let both = device.step(&[(&a, 1, 4_000, 0), (&a, 1, 1, 0)]);
    let most = usize::try_from(STEP_TIME_ALONE.as_millis()).expect("few");
    assert!((most - 20..=most).contains(&both[0]) && both[1] == 1, "one row a millisecond: {both:?}");
}

#[test]
fn twenty_prompts_of_one_tenant_leave_half_to_another() {
    let [a, b, _] = tenants();
    let mut rows = vec![(&a, 1, 4_000, 0); 20];
    rows.push((&b, 1, 4_000, 0));
    let tokens = step(&rows);
    assert_eq!((tokens[..20].iter().sum::<usize>(), tokens[20]), (64, 64));
    rows[20].2 = 20;
    let tokens = step(&rows);
    assert_eq!((tokens[..20].iter().sum::<usize>(), tokens[20]), (108, 20), "the rest goes to the other tenant");
}

#[test]
fn prompt_tokens_are_shared_by_weight() {
    let [a, b, c] = tenants();
    assert_eq!(step(&[(&a, 2, 900, 0), (&b, 1, 900, 0), (&c, 1, 900, 0)]), [64, 32, 32]);
    assert_eq!(step(&[(&a, 5_000, 900, 0), (&b, 1, 900, 0)]), [127, 1]);
}

#[test]
fn a_tenant_ahead_is_throttled_until_the_other_has_caught_up() {
    let [a, b, _] = tenants();
    let mut device = SimulatedDevice::default();
    let flood: Vec<CandidateRow<'_>> = vec![(&a, 1, 1, 0); 30];
    device.steps(&flood, 400);
    let mut both = flood.clone();
    both.push((&b, 1, 1, 0));
    let begun = device.now;
    let mut steps = 0;
    while device.step(&both)[..30].iter().sum::<usize>() <= 1 {
        steps += 1;
    }
    let caught_up = device.now - begun;
    assert!(steps > 100 && caught_up > SHARE_LEAD_MAX, "it had the device for {caught_up:?}, {steps} steps");
    assert!(caught_up < SHARE_DECAY, "the flood moves again after {caught_up:?}");
}

#[test]
fn a_tenant_throttled_for_long_gets_a_small_part_of_the_steps() {
    let [a, b, _] = tenants();
    let mut device = SimulatedDevice::default();
    device.steps(&vec![(&a, 1, 1, 0); 30], 600);
    device.step(&[(&b, 1, 1, 0)]);
    let mut both: Vec<CandidateRow<'_>> = vec![(&a, 1, 1, 0); 29];
    both.extend([(&a, 1, 400, 0), (&b, 1, 1, 0)]);
    let (begun, mut sums) = (device.now, vec![0; 31]);
    while device.now - begun < THROTTLE_TIME {
        sums = device.steps(&both, 1);
        assert_eq!(sums[..30], [0; 30], "at first it waits");
    }
    assert_eq!(sums[30], 1);
    let begun = device.now;
    let sums = device.steps(&both, 200);
    let alone = (FIXED + ROW) * 200;
    let took = device.now - begun;
    assert_eq!(sums[30], 200, "a token in each step");
    assert!(took <= alone * 106 / 100, "{took:?} for {alone:?}");
    let granted: usize = sums[..30].iter().sum();
    assert!((8..=11).contains(&granted), "5 % of 600 ms, at 3 ms each: {granted}");
}

#[test]
fn a_step_ends_the_time_of_throttling() {
    let [a, b, _] = tenants();
    let mut device = SimulatedDevice::default();
    device.steps(&vec![(&a, 1, 1, 0); 30], 600);
    let (flood, both) = ([(&a, 1, 1, 0); 2], [(&a, 1, 1, 0), (&a, 1, 1, 0), (&b, 1, 1, 0)]);
    let mut steps = 0;
    for _ in 0..40 {
        let begun = device.now;
        while device.now - begun < THROTTLE_TIME / 20 {
            assert_eq!(device.step(&both), [0, 0, 1]);
            steps += 1;
        }
        device.step(&flood);
    }
    assert!(steps >= 40, "{steps}");
}

#[test]
fn a_tenant_within_its_share_is_never_throttled() {
    let [a, b, _] = tenants();
    let mut device = SimulatedDevice::default();
    let mut least = usize::MAX;
    for _ in 0..300 {
        // `b` wants a fifth of the time, `a` all of it.
        device.steps(&vec![(&a, 1, 1, 0); 8], 4);
        let mut both: Vec<CandidateRow<'_>> = vec![(&a, 1, 1, 0); 8];
        both.push((&b, 1, 1, 0));
        least = least.min(device.steps(&both, 4)[8]);
    }
    assert_eq!(least, 4);
}

#[test]
fn two_equal_floods_progress_together() {
    let [a, b, _] = tenants();
    let mut device = SimulatedDevice::default();
    let mut rows: Vec<CandidateRow<'_>> = vec![(&a, 1, 1, 0); 6];
    rows.extend(vec![(&b, 2, 1, 0); 12]);
    let sums = device.steps(&rows, 2_000);
    assert!(sums.iter().all(|sum| *sum == 2_000), "both use their share, so none is throttled: {sums:?}");
}

#[test]
fn shared_steps_are_limited_in_time() {
    let [a, b, c] = tenants();
    let pair = candidates(&[(&a, 1, 900, 0), (&b, 1, 900, 0)]);
    let shared = |fixed_us: u64, row_us: u64| {
        let mut schedulerr = Scheduler::default();
        schedulerr.plan(&pair, CHUNK, Duration::ZERO);
        for rows in [1, 32, 128] {
            let took = Duration::from_micros(fixed_us + row_us * rows);
            schedulerr.charge([(&c, 1, usize::try_from(rows).expect("few"))].into_iter(), took, Duration::ZERO);
        }
        schedulerr.plan(&pair, CHUNK, Duration::ZERO).iter().sum::<usize>()
    };
    assert!((95..=100).contains(&shared(0, 10)), "1 ms at a hundred rows a millisecond: {}", shared(0, 10));
    assert!((38..=40).contains(&shared(70_000, 6_000)), "four steps of 76 ms: {}", shared(70_000, 6_000));
    assert_eq!(shared(0, 10_000), STEP_PREFILL_TOKENS_MIN);
    assert_eq!(shared(0, 1), STEP_PREFILL_TOKENS);
}

#[test]
fn a_step_is_aborted_for_a_tenant_that_used_less_a_limited_number_of_times() {
    let [a, b, c] = tenants();
    let mut device = SimulatedDevice::default();
    device.step(&[(&b, 1, 1, 0)]);
    device.steps(&[(&a, 1, 900, 0)], 80);
    let now = device.now;
    let schedulerr = &mut device.schedulerr;
    assert!(aborts_for(schedulerr, &b, LONG, now) && aborts_for(schedulerr, &c, LONG, now), "known or not");
    assert!(!aborts_for(schedulerr, &a, LONG, now), "not for itself");
    let mut row = candidates(&[(&a, 1, 900, 0)]);
    for aborted_steps in 1..=STEP_PREEMPTIONS_MAX {
        row[0].aborted_steps = aborted_steps;
        let tokens = schedulerr.plan(&row, CHUNK, now);
        assert!(tokens[0] < CHUNK / 4, "short: {tokens:?}");
        assert_eq!(
            aborts_for(schedulerr, &c, LONG, now),
            aborted_steps < STEP_PREEMPTIONS_MAX,
            "the last step is not aborted"
        );
    }
    row[0].aborted_steps = 0;
    let tokens = schedulerr.plan(&row, CHUNK, now);
    assert_eq!(tokens, [STEP_PREFILL_TOKENS_SHARED], "b was active recently and would wait for a layer of a long step");
    let both = candidates(&[(&a, 1, 900, 0), (&b, 1, 1, 0)]);
    schedulerr.plan(&both, CHUNK, now);
    assert!(!aborts_for(schedulerr, &c, LONG, now), "b is not over its share");
}

#[test]
fn many_answers_of_a_tenant_alternate_if_another_tenant_has_few() {
    let [a, b, _] = tenants();
    let mut rows: Vec<_> = (0..20).map(|n| (&a, 1, 1, 20 - n)).collect();
    rows.push((&b, 1, 1, 0));
    let tokens = step(&rows);
    assert_eq!(tokens[..20].iter().sum::<usize>(), STEP_SEQUENCES_SHARED);
    assert_eq!(tokens[12..], [1; 9], "those that waited longest, and the other tenant");
    let mut even = vec![(&a, 1, 1, 0); 20];
    even.extend(vec![(&b, 1, 1, 0); 20]);
    assert_eq!(step(&even), vec![1; 40], "tenants with equally many answers are not limited");
}

#[test]
fn every_tenant_gets_a_token_even_above_the_limit() {
    let many: Vec<TenantId> = (0..600).map(|n| TenantId::new(&n.to_string())).collect();
    let rows: Vec<_> = many.iter().map(|tenant| (tenant, 1, 50, 0)).collect();
    assert!(step(&rows).iter().all(|tokens| *tokens == 1));
}

/// 32 ms on the simulated device.
const SHORT: JobSize = JobSize { prompt: 20, answer: 4 };

/// Candidates of which the first `short` have short work.
fn with_short<'a>(rows: &[CandidateRow<'a>], short: usize) -> Vec<Candidate<'a>> {
    let mut all = candidates(rows);
    all[..short].iter_mut().for_each(|candidate| candidate.work.size = SHORT);
    all
}

#[test]
fn short_work_goes_before_long_work_of_a_tenant_with_the_same_use() {
    let [a, b, c] = tenants();
    let mut device = SimulatedDevice::default();
    device.steps(&[(&a, 1, 1, 0), (&b, 1, 1, 0), (&c, 1, 1, 0)], 10);
    device.steps(&[(&a, 1, 64, 0), (&b, 1, 64, 0)], 1);
    let now = device.now;
    let rows = [(&a, 1, 1, 0), (&b, 1, 1, 0), (&b, 1, 400, 0)];
    let schedulerr = &mut device.schedulerr;
    assert_eq!(schedulerr.plan(&candidates(&rows), CHUNK, now)[..2], [1, 1], "equal work shares the step");
    assert_eq!(schedulerr.plan(&with_short(&rows, 1), CHUNK, now), [1, 0, 0]);
    // Two tenants with short work share the step. A tenant with short and long work does not count as short.
    let rows = [(&a, 1, 1, 0), (&c, 1, 1, 0), (&b, 1, 1, 0)];
    assert_eq!(schedulerr.plan(&with_short(&rows, 2), CHUNK, now), [1, 1, 0]);
    let rows = [(&a, 1, 1, 0), (&a, 1, 1, 0), (&b, 1, 1, 0)];
    assert_eq!(schedulerr.plan(&with_short(&rows, 1), CHUNK, now), [1, 1, 1], "a has long work too");
}

#[test]
fn a_slow_first_step_counts_little_after_a_warm_up() {
    let [a, b, _] = tenants();
    for measured in [false, true] {
        let mut schedulerr = Scheduler::default();
        if measured {
            [1, 32].into_iter().for_each(|rows| schedulerr.learn(rows, FIXED + ROW * rows as u32));
        }
        let mut now = Duration::ZERO;
        for (prompt, took) in [(150, 2 * ROW * 150), (400, FIXED + ROW * 400)] {
            schedulerr.plan(&candidates(&[(&b, 1, prompt, 0)]), CHUNK, now);
            now += took;
            schedulerr.charge([(&b, 1, prompt)].into_iter(), took, now);
        }
        let mut both = candidates(&[(&a, 1, 1, 0), (&b, 1, 400, 0)]);
        both[0].work.size = JobSize { prompt: 20, answer: 32 };
        both[1].work.size = JobSize { prompt: 400, answer: 200 };
        let tokens = schedulerr.plan(&both, CHUNK, now);
        assert_eq!(tokens[1] == 0, measured, "0.1 s is short work: {tokens:?}");
    }
}

#[test]
fn endless_short_work_does_not_exceed_the_fair_share() {
    let [a, b, _] = tenants();
    let mut device = SimulatedDevice::default();
    let rows = [(&a, 1, 1, 0), (&b, 1, 1, 0)];
    device.steps(&rows, 10);
    let begun = device.now;
    let mut sums = [0, 0];
    while device.now - begun < 6 * SHARE_DECAY {
        let tokens = device.step_of(&with_short(&rows, 1));
        sums.iter_mut().zip(tokens).for_each(|(sum, tokens)| *sum += tokens);
    }
    assert!(sums[0] > sums[1] && sums[1] * 4 > sums[0] * 3, "a second ahead of about five: {sums:?}");
}

#[test]
fn endless_short_work_of_any_tenants_delays_a_long_answer_by_a_limited_time() {
    let (long, one) = (TenantId::new("long"), TenantId::new("one"));
    let many: Vec<TenantId> = (0..24).map(|n| TenantId::new(&n.to_string())).collect();
    for others in [vec![&one; 3], many.iter().collect()] {
        let mut device = SimulatedDevice::default();
        [1, 32].into_iter().for_each(|rows| device.schedulerr.learn(rows, FIXED + ROW * rows as u32));
        let mut rows: Vec<CandidateRow<'_>> = others.iter().map(|tenant| (*tenant, 1, 1, 0)).collect();
        rows.push((&long, 1, 1, 0));
        let all = with_short(&rows, others.len());
        while device.step_of(&all)[others.len()] == 0 {}
        assert!(
            device.now > THROTTLE_TIME && device.now < SHORT_JOB_TIME,
            "{:?}: deferred, then granted a part",
            device.now
        );
        let (begun, mut steps, mut moved) = (device.now, 0, 0);
        while device.now - begun < SHARE_DECAY {
            moved += device.step_of(&all)[others.len()];
            steps += 1;
        }
        assert!(moved * 2 > steps, "{moved} tokens in {steps} steps");
    }
}

#[test]
fn short_work_with_pauses_goes_before_a_tenant_that_uses_less_than_its_share() {
    let [a, b, _] = tenants();
    let mut device = SimulatedDevice::default();
    [1, 32].into_iter().for_each(|rows| device.schedulerr.learn(rows, FIXED + ROW * rows as u32));
    // `b` wants up to 45 % of the time and `a` a third of it, partly at the same time.
    let (both, own) = ([(&a, 1, 1, 0), (&b, 1, 512, 0)], [(&b, 1, 512, 0)]);
    let mut together = 0;
    while device.now < 6 * SHARE_DECAY {
        let second = device.now.as_millis() % 1_000;
        match second {
            0..333 => together += usize::from(device.step_of(&with_short(&both, 1))[1] > 0),
            333..783 => _ = device.step_of(&with_short(&own, 0)),
            _ => device.now += Duration::from_millis(1_000 - second as u64),
        }
    }
    assert_eq!(together, 0, "steps of `b` while `a` has work");
}

/// The speed of a device: milliseconds per step and per row.
#[derive(Clone, Copy)]
struct DeviceSpeed(u64, u64);

/// The times of twelve answers of `a`, which want a quarter of the device. `flooded` returns which tenant floods at a time:
/// none (0), `b` (1) or `c` (2).
fn answer_times_during(DeviceSpeed(fixed, row): DeviceSpeed, flooded: impl Fn(u128) -> usize) -> Vec<Duration> {
    let [a, b, c] = tenants();
    let [fixed, row] = [fixed, row].map(Duration::from_millis);
    let mut device = SimulatedDevice { fixed, row, ..SimulatedDevice::default() };
    [1, 32, 128].into_iter().for_each(|rows| device.schedulerr.learn(rows, fixed + row * rows as u32));
    let of = |tenant, pending, answer| {
        let size = JobSize { prompt: 128, answer };
        Candidate { work: PendingWork { tenant, weight: 1, size }, ..candidates(&[(tenant, 1, pending, 0)])[0] }
    };
    let floods = [vec![], vec![of(&b, 1, 256); 16], vec![of(&c, 1, 256); 16]];
    let flood = |now: Duration| &floods[flooded(now.as_millis())];
    let every = (fixed * 33 + row * (128 + 32)) * 4;
    let answer = |number| {
        while device.now < every * number {
            match flood(device.now).as_slice() {
                [] => {
                    device.schedulerr.plan(&[], CHUNK, device.now);
                    device.now += row;
                }
                flood => drop(device.step_of(flood)),
            }
        }
        let (begun, mut pending, mut left) = (device.now, 128, 33);
        while left > 0 {
            let mut all = vec![of(&a, pending, 32)];
            all.extend(flood(device.now));
            match device.step_of(&all)[0] {
                0 => {}
                tokens => (pending, left) = ((pending - tokens).max(1), left - usize::from(tokens == pending)),
            }
        }
        device.now - begun
    };
    (0..12).map(answer).collect()
}

#[test]
fn answers_of_seconds_keep_their_latency_from_the_start_of_a_flood() {
    for device in [DeviceSpeed(40, 5), DeviceSpeed(80, 9)] {
        let alone = answer_times_during(device, |_| 0)[0];
        assert!(alone > Duration::from_secs(2), "a flood needs that long to use as much: {alone:?}");
        for from in [0, 8_300, 11_000, 17_500, 30_000] {
            let one = answer_times_during(device, |now| usize::from(now >= from));
            // 8 s of each flood, with pauses in which its use decays.
            let two = answer_times_during(device, |now| {
                (now % (from + 40_000)).saturating_sub(from + 24_000).div_ceil(8_000) as usize
            });
            let slowest = one.iter().chain(&two).max().expect("24");
            assert!(
                *slowest < alone * 106 / 100,
                "{alone:?} alone; from {from} ms on {one:?}, two alternating {two:?}"
            );
        }
    }
}

#[test]
fn overlapping_short_work_does_not_exceed_the_fair_share() {
    let [a, b, _] = tenants();
    let mut device = SimulatedDevice::default();
    [1, 32].into_iter().for_each(|rows| device.schedulerr.learn(rows, FIXED + ROW * rows as u32));
    let size = JobSize { prompt: 20, answer: 100 };
    let mut new = candidates(&[(&a, 1, size.prompt, 0)])[0];
    new.work.size = size;
    // Eight sequences of 0.3 s each.
    let mut short = vec![(new, size.answer); 8];
    let long = candidates(&[(&b, 1, 1, 0)])[0];
    let mut used = [Duration::ZERO; 2];
    while device.now < 6 * SHARE_DECAY {
        let all: Vec<Candidate<'_>> = short.iter().map(|(job, _)| *job).chain([long]).collect();
        let begun = device.now;
        let tokens = device.step_of(&all);
        let each = (device.now - begun) / u32::try_from(tokens.iter().sum::<usize>()).expect("few");
        for ((job, left), tokens) in short.iter_mut().zip(&tokens).filter(|(_, tokens)| **tokens > 0) {
            used[0] += each * *tokens as u32;
            *left -= usize::from(*tokens == job.pending_tokens);
            job.pending_tokens = (job.pending_tokens - tokens).max(1);
        }
        used[1] += each * tokens[8] as u32;
        short.iter_mut().filter(|(_, left)| *left == 0).for_each(|job| *job = (new, size.answer));
    }
    assert!(used[1] * 3 > used[0] * 2, "at least two fifths: {used:?}");
}

#[test]
fn a_step_is_aborted_for_short_work() {
    let [a, b, c] = tenants();
    let mut device = SimulatedDevice::default();
    device.steps(&[(&a, 1, 1, 0), (&b, 1, 1, 0)], 4);
    device.steps(&[(&a, 1, 64, 0)], 1);
    let now = device.now;
    let schedulerr = &mut device.schedulerr;
    schedulerr.plan(&candidates(&[(&a, 1, 400, 0)]), CHUNK, now);
    assert!(aborts_for(schedulerr, &c, SHORT, now) && !aborts_for(schedulerr, &c, LONG, now));
    assert!(!aborts_for(schedulerr, &a, SHORT, now), "not for itself");
    schedulerr.plan(&with_short(&[(&b, 1, 400, 0)], 1), CHUNK, now);
    assert!(!aborts_for(schedulerr, &c, SHORT, now), "the running work is as short");
    let level = SHARE_DECAY.as_secs_f64() / 2.0;
    schedulerr.charge([(&c, 1, 1)].into_iter(), Duration::ZERO, now);
    schedulerr.plan(&candidates(&[(&a, 1, 400, 0), (&c, 1, 1, 0)]), CHUNK, now);
    schedulerr.charge([(&c, 1, 1)].into_iter(), Duration::from_secs_f64(level), now);
    schedulerr.plan(&candidates(&[(&a, 1, 400, 0)]), CHUNK, now);
    assert!(!aborts_for(schedulerr, &c, SHORT, now), "a tenant over its share waits");
}

#[test]
fn work_that_arrives_during_a_step_counts_for_its_tenant() {
    let [a, b, _] = tenants();
    let mut schedulerr = Scheduler::default();
    [1, 32].into_iter().for_each(|rows| schedulerr.learn(rows, FIXED + ROW * rows as u32));
    schedulerr.plan(&candidates(&[(&a, 1, 400, 0)]), CHUNK, Duration::ZERO);
    // 4 s is short compared with four times 16 s, and not compared with 16 s.
    let short = PendingWork { tenant: &b, weight: 1, size: JobSize { prompt: 1_000, answer: 1_000 } };
    let more = PendingWork { tenant: &a, weight: 1, size: LONG };
    assert!(!schedulerr.should_abort_for([short].into_iter(), Duration::ZERO));
    assert!(!schedulerr.should_abort_for([more; 4].into_iter(), Duration::ZERO));
    assert!(schedulerr.should_abort_for([short, more, more, more].into_iter(), Duration::ZERO));
    assert!(schedulerr.should_abort_for([more, more, more, short].into_iter(), Duration::ZERO));
}

#[test]
fn a_tenant_in_its_free_burst_is_not_throttled_at_once() {
    let [a, b, _] = tenants();
    let mut device = SimulatedDevice::default();
    [1, 32].into_iter().for_each(|rows| device.schedulerr.learn(rows, FIXED + ROW * rows as u32));
    let both = [(&a, 1, 400, 0), (&b, 1, 1, 0)];
    for (steps, throttled) in [(17, false), (16, true)] {
        device.steps(&[(&a, 1, 400, 0)], steps);
        assert_eq!(aborts_for(&device.schedulerr, &b, LONG, device.now), throttled);
        let tokens = device.schedulerr.plan(&candidates(&both), CHUNK, device.now);
        assert_eq!(tokens[0] == 0, throttled, "after {:?}", device.now);
    }
    // It had no work and begins again, but it is over its fair share, so it has no new burst.
    device.now += ROW;
    device.schedulerr.plan(&[], CHUNK, device.now);
    assert_eq!(device.steps(&[(&a, 1, 400, 0)], 1), [128]);
    assert_eq!(device.step(&both), [0, 1]);
}
