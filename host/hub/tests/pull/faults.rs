//! What goes wrong on the way: connections, statuses, bytes, disks.

use super::*;

/// Bytes after which the connection ends in these tests.
const PART: usize = 100_000;

#[test]
fn a_download_continues_where_the_connection_ended() {
    let bench = Bench::new();
    bench.hub.fail("bytes/", HubFault::Short(PART), 2);
    let pulled = bench.pull("o/m").expect("pulled");
    bench.assert_whole();
    assert_eq!(pulled.received, LENGTH as u64, "no byte came twice");
    let ranges: Vec<_> = bench.hub.downloads().into_iter().filter(|request| request.elsewhere).collect();
    let range = |at: usize| ranges[at].headers.get("range").map(String::as_str);
    assert_eq!((ranges.len(), range(0), range(1), range(2)), (3, None, Some("bytes=100000-"), Some("bytes=200000-")));
    assert!(ranges[1].headers["if-range"].contains("own-"), "the part must be of the same file");
    assert!(bench.events().contains("the connection broke"), "{}", bench.events());
}

#[test]
fn a_later_run_continues_an_earlier_one() {
    let bench = Bench::new();
    std::fs::create_dir_all(bench.partial().parent().expect("a folder")).expect("writable");
    std::fs::write(bench.partial(), &noise(LENGTH)[..PART]).expect("writable");
    assert_eq!(bench.pull("o/m").expect("pulled").received, (LENGTH - PART) as u64);
    bench.assert_whole();
}

#[test]
fn what_an_earlier_run_left_is_not_trusted() {
    for left in [vec![7; PART], vec![7; LENGTH], vec![7; LENGTH + 1]] {
        let bench = Bench::new();
        std::fs::create_dir_all(bench.partial().parent().expect("a folder")).expect("writable");
        std::fs::write(bench.partial(), &left).expect("writable");
        bench.pull("o/m").expect("begun again");
        bench.assert_whole();
    }
}

#[test]
fn servers_without_ranges_and_with_wrong_ones_are_read_from_the_start() {
    for fault in [HubFault::NoRange, HubFault::WrongRange] {
        let bench = Bench::new();
        bench.hub.fail("bytes/", HubFault::Short(PART), 1).fail("bytes/", fault.clone(), 1);
        bench.pull("o/m").expect("pulled");
        bench.assert_whole();
    }
}

#[test]
fn a_file_that_changes_in_between_is_not_mixed() {
    let bench = Bench::new();
    // The rest would come from a file with another entity tag, so the server sends the whole one.
    bench.hub.fail("bytes/", HubFault::Short(PART), 1).fail("bytes/", HubFault::Tag("other"), 1);
    bench.pull("o/m").expect("pulled");
    bench.assert_whole();
    let whole = bench.hub.downloads().into_iter().filter(|request| request.elsewhere).count();
    assert_eq!(whole, 2, "the second answer was the whole file");
}

#[test]
fn a_file_that_changes_on_the_hub_is_asked_for_again() {
    let bench = Bench::new();
    bench.hub.fail("/resolve/", HubFault::Tag("another"), 1);
    bench.pull("o/m").expect("the second list is right");
    bench.assert_whole();
    assert!(bench.events().contains("changed on the hub"), "{}", bench.events());
    bench.hub.fail("/resolve/", HubFault::Tag("another"), 9).add("o/m", "n-Q4_0.gguf", b"x".to_vec(), &sha256(b"x"));
    let refused = bench.pull("o/m:Q4_0").expect_err("each time").to_string();
    assert!(refused.contains("changed on the hub"), "{refused}");
}

#[test]
fn wrong_bytes_never_get_a_name() {
    let bench = Bench::new();
    let mut wrong = noise(LENGTH);
    wrong[LENGTH / 2] ^= 1;
    bench.hub.fail("bytes/", HubFault::Bytes(wrong.clone()), 1);
    bench.pull("o/m").expect("the second attempt is right");
    bench.assert_whole();
    let bench = Bench::new();
    bench.hub.fail("bytes/", HubFault::Bytes(wrong), 9);
    let refused = bench.refused("o/m");
    assert!(refused.contains("has the digest") && refused.contains(&sha256(&noise(LENGTH))), "{refused}");
    assert!(!bench.partial().exists(), "a later run does not continue wrong bytes");
}

#[test]
fn small_files_are_compared_with_their_git_id() {
    // `printf hello | git hash-object --stdin`
    let id = "b6fc4c620b67d95f953a5c1c1230aaab5db5a1b0";
    let bench = Bench::new();
    for path in ["config.json", "tokenizer.json", "model.safetensors"] {
        bench.hub.add("o/s", path, *b"hello", id);
    }
    assert_eq!(bench.pull("o/s").expect("pulled").files, 3);
    // `printf world | git hash-object --stdin`
    let other = "04fea06420ca60892f73becee3614f6d023a4b7f";
    bench.hub.add("o/t", "config.json", *b"world", other).add("o/t", "model.safetensors", *b"hellp", id);
    let refused = bench.pull("o/t").expect_err("one byte differs").to_string();
    assert!(refused.contains("\"model.safetensors\" has the digest"), "{refused}");
}

#[test]
fn pointers_of_git_lfs_are_named() {
    let bench = Bench::new();
    let pointer = b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 300000\n".to_vec();
    bench.hub.fail("bytes/", HubFault::Bytes(pointer), 9);
    let refused = bench.refused("o/m");
    assert!(refused.contains("git-lfs pointer") && refused.contains("HF_ENDPOINT"), "{refused}");
}

#[test]
fn limits_of_the_rate_are_waited_for() {
    let bench = Bench::new();
    bench.hub.fail("/api/", HubFault::Status(429, "retry-after: 1\r\n"), 1);
    let started = std::time::Instant::now();
    bench.pull("o/m").expect("after a second");
    assert!(started.elapsed() >= Duration::from_secs(1));
    assert!(bench.events().contains("wait: 1s"), "{}", bench.events());
    bench.hub.fail("/api/", HubFault::Status(429, "retry-after: 9999\r\n"), 1);
    match bench.pull("o/m").expect_err("nobody waits for that") {
        HubError::Limited { message, retry_after } => {
            assert!(message.contains("HF_TOKEN"), "{message}");
            assert_eq!(retry_after, Duration::from_secs(9_999));
        }
        other => panic!("{other}"),
    }
}

#[test]
fn errors_of_the_server_are_tried_again() {
    let bench = Bench::new();
    bench.hub.fail("/api/", HubFault::Status(503, ""), 2).fail("/resolve/", HubFault::Status(500, ""), 2);
    bench.hub.fail("bytes/", HubFault::Status(403, ""), 1);
    bench.pull("o/m").expect("in the end");
    bench.assert_whole();
    bench.hub.fail("/api/", HubFault::Status(502, ""), 99);
    let refused = bench.pull("o/m").expect_err("each time").to_string();
    assert!(refused.contains("502") && refused.contains("6 times in a row"), "{refused}");
}

#[test]
fn a_connection_that_stands_still_or_drips_is_left() {
    let bench = Bench::new();
    let mut settings = bench.settings(&[]);
    settings.retry.idle = Duration::from_millis(300);
    settings.retry.speed_window = Duration::from_millis(400);
    let drip = HubFault::Drip(10, Duration::from_millis(20));
    bench.hub.fail("bytes/", HubFault::Stall(PART), 1).fail("bytes/", drip, 1);
    bench.pull_with(settings, "o/m").expect("pulled");
    bench.assert_whole();
    let events = bench.events();
    assert!(events.contains("stood still") && events.contains("too slow"), "{events}");
}

#[test]
fn refusals_have_a_remedy_and_are_not_repeated() {
    let rows = [
        (401, "", "for a private model set HF_TOKEN"),
        (401, "x-error-code: RepoNotFound\r\n", "check the name"),
        (403, "", "accept its terms at"),
        (404, "", "no model \"o/m\""),
        (418, "", "status 418"),
    ];
    for (status, headers, expected) in rows {
        let bench = Bench::new();
        bench.hub.fail("/api/", HubFault::Status(status, headers), 9);
        let refused = bench.refused("o/m");
        assert!(refused.contains(expected) && refused.contains("as it was asked to") | (status == 404), "{refused}");
        assert_eq!(bench.hub.requests().len(), 1, "{status}");
    }
}

#[test]
fn a_size_that_no_disk_has_is_refused_before_a_byte_is_written() {
    let bench = Bench::new();
    bench.hub.announce(1 << 40);
    let refused = bench.refused("o/m");
    assert!(refused.contains("needs 1.1 TB") && refused.contains("models cache --max"), "{refused}");
    bench.hub.announce(u64::MAX);
    assert!(bench.refused("o/m").contains("at most"));
    assert_eq!(bench.hub.downloads().len(), 0);
    assert!(!bench.repo().exists());
}

#[test]
fn a_body_of_another_size_than_announced_is_refused() {
    let bench = Bench::new();
    bench.hub.announce(LENGTH as u64 + 1);
    let refused = bench.refused("o/m");
    assert!(refused.contains("sends 300000 bytes") && refused.contains("300001"), "{refused}");
}

#[test]
fn an_answer_that_is_none_of_a_hub_names_the_endpoint() {
    let bench = Bench::new();
    bench.hub.fail("/api/", HubFault::Status(200, ""), 1);
    let refused = bench.refused("o/m");
    assert!(refused.contains("does not answer as a hub does") && refused.contains("HF_ENDPOINT"), "{refused}");
}

#[test]
fn a_hub_that_nobody_serves_is_named() {
    let bench = Bench::new();
    let free = std::net::TcpListener::bind("127.0.0.1:0").expect("a port").local_addr().expect("bound");
    let endpoint = format!("http://{free}");
    let error = bench.pull_with(bench.settings(&[("HF_ENDPOINT", &endpoint)]), "o/m").expect_err("nobody listens");
    assert!(
        matches!(&error, HubError::Unreachable(why) if why.contains("cannot be reached") && why.contains("127.0.0.1")),
        "{error}"
    );
}
