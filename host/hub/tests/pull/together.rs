//! Several downloads of one model at a time.

use super::*;

#[test]
fn two_downloads_of_one_file_share_its_bytes() {
    let bench = Bench::new();
    // Slow enough that the second one meets the first.
    bench.hub.fail("bytes/", HubFault::Drip(10_000, Duration::from_millis(20)), 1);
    let pulls = std::thread::scope(|scope| {
        let pulls = [(); 2].map(|()| scope.spawn(|| bench.pull("o/m").expect("pulled").received));
        pulls.map(|pull| pull.join().expect("no panic"))
    });
    assert_eq!(pulls.iter().sum::<u64>(), LENGTH as u64, "{pulls:?}");
    bench.assert_whole();
    assert!(bench.events().contains("Waiting"), "{}", bench.events());
    let bytes = bench.hub.downloads().into_iter().filter(|request| request.elsewhere).count();
    assert_eq!(bytes, 1);
}

#[test]
fn a_download_that_is_cancelled_can_be_continued() {
    let bench = Bench::new();
    bench.hub.fail("bytes/", HubFault::Drip(10_000, Duration::from_millis(20)), 1);
    let client = bench.client();
    let name: ModelName = "o/m".parse().expect("a name");
    let cut = block_on(async {
        tokio::time::timeout(Duration::from_millis(250), client.pull(&name, &|_| {})).await.is_err()
    });
    assert!(cut, "30 pieces take 600 ms");
    let kept = std::fs::metadata(bench.partial()).expect("it stays").len();
    assert!(kept > 0);
    assert_eq!(bench.pull("o/m").expect("continued").received, LENGTH as u64 - kept);
    bench.assert_whole();
}
