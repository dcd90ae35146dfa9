use super::*;

#[test]
fn an_incomplete_answer_is_refused() {
    let allowed = CompileLimits::of(0, 100);
    let framed = |kind: u8, length: u64, answer: &[u8]| {
        let mut output = vec![kind];
        output.extend(length.to_le_bytes());
        output.extend(answer);
        output
    };
    assert_eq!(answer("p", framed(1, 3, b"abc"), &allowed), Ok(b"abc".to_vec()));
    let said = answer("p", framed(0, 3, b"bad"), &allowed);
    assert!(matches!(&said, Err(SandboxError::Invalid { reason, .. }) if reason == "bad"), "{said:?}");
    for broken in [Vec::new(), vec![1; 5], framed(1, 4, b"abc"), framed(1, 2, b"abc")] {
        let read = answer("p", broken, &allowed);
        assert!(matches!(read, Err(SandboxError::Host(_))), "{read:?}");
    }
    let long = answer("p", framed(1, allowed.output_bytes, b"abc"), &allowed);
    assert!(matches!(&long, Err(SandboxError::Compiling { limit, .. }) if limit.contains("compiled code")), "{long:?}");
}

#[test]
fn the_limits_grow_with_the_code() {
    let small = CompileLimits::of(60_000, 80_000);
    assert!(small.cpu_seconds <= 5 && small.memory_bytes < 512 << 20, "{small:?}");
    let large = CompileLimits::of(9_200_000, 12_000_000);
    assert!(large.cpu_seconds > 60, "{large:?}");
    assert!(large.output_bytes <= max::PLUGIN_ARTIFACT_BYTES_MAX);
    let mut header = &small.header(7)[..];
    let read = CompileLimits::read_header(&mut header).expect("a whole header");
    assert_eq!(read, [small.cpu_seconds, small.memory_bytes, 7]);
}
