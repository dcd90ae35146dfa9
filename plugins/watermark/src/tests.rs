use super::*;

fn plugin(config: &str) -> Result<Watermark, String> {
    Watermark::init(config)
}

/// Writes 200 tokens: at each place 64 candidates, of which the plugin's bias chooses.
fn write(config: &str) -> Vec<u32> {
    let mut plugin = plugin(config).unwrap();
    let mut session = plugin
        .start(TokenSequence {
            id: String::new(),
            model: String::new(),
            vocabulary: 1 << 16,
            ends: vec![0],
            prompt: vec![7],
        })
        .unwrap();
    let (mut text, mut accepted) = (vec![7], Vec::new());
    for place in 0..200u32 {
        let tokens: Vec<u32> = (0..64)
            .map(|rank| (place.wrapping_mul(2_654_435_761) >> 16).wrapping_add(rank * 613) % (1 << 16))
            .collect();
        let mut logits: Vec<f32> = (0..64).map(|rank| 3.0 - rank as f32 * 0.1).collect();
        let step = TokenStep {
            taken_back: 0,
            accepted: std::mem::take(&mut accepted),
            held: 0,
            candidates: Weighted { tokens: tokens.clone(), values: logits.clone() },
        };
        if let TokenAction::Bias(bias) = session.next(step).unwrap() {
            for (token, value) in bias.tokens.iter().zip(bias.values) {
                let at = tokens.iter().position(|other| other == token).unwrap();
                logits[at] += value;
            }
        }
        let best = (0..64).max_by(|a, b| logits[*a].total_cmp(&logits[*b])).unwrap();
        accepted.push(tokens[best]);
        text.push(tokens[best]);
    }
    text
}

#[test]
fn a_marked_text_is_recognised_with_its_key_and_with_no_other() {
    let text = write(r#"{"key": "lighthouse"}"#);
    let z = |key: &str| plugin(&format!(r#"{{"key": "{key}"}}"#)).unwrap().green.score(&text).z;
    assert!(z("lighthouse") > 10.0, "{}", z("lighthouse"));
    for other in ["", "lighthouses", "another"] {
        assert!(z(other).abs() < MARKED_FROM, "{other}: {}", z(other));
    }
}

#[test]
fn an_ordinary_text_is_not_recognised() {
    let text: Vec<u32> = (0..300u32).map(|place| place.wrapping_mul(40_503) % 50_000).collect();
    for percent in [10, 50, 90] {
        let config = format!(r#"{{"key": "lighthouse", "green_percent": {percent}}}"#);
        let score = plugin(&config).unwrap().green.score(&text);
        assert!(score.z < MARKED_FROM && score.tokens == 299, "{percent}: {}", score.z);
    }
    let repeated = plugin("{}").unwrap().green.score(&[1, 2, 1, 2, 1, 2]);
    assert_eq!(repeated.tokens, 2, "a repeated pair counts once");
    assert_eq!(plugin("{}").unwrap().green.score(&[]).z, 0.0);
}

#[test]
fn with_detect_the_verdict_is_the_answer() {
    let text = write(r#"{"key": "k"}"#);
    let mut plugin = plugin(r#"{"key": "k", "detect": true}"#).unwrap();
    let sequence =
        TokenSequence { id: String::new(), model: String::new(), vocabulary: 1 << 16, ends: vec![0], prompt: text };
    let mut session = plugin.start(sequence).unwrap();
    let step = TokenStep {
        taken_back: 0,
        accepted: Vec::new(),
        held: 0,
        candidates: Weighted { tokens: Vec::new(), values: Vec::new() },
    };
    assert_eq!(session.next(step), Ok(TokenAction::Stop));
    let verdict = plugin.finish().unwrap();
    assert!(verdict.starts_with("marked with this key: ") && verdict.contains("z = "), "{verdict}");
    assert_eq!(plugin.finish(), Ok(String::new()));
}

#[test]
fn a_wrong_configuration_is_named() {
    for (config, expected) in [
        (r#"{"strength": 0}"#, "\"strength\" must be a number above 0"),
        (r#"{"strength": "much"}"#, "\"strength\""),
        (r#"{"green_percent": 100}"#, "\"green_percent\""),
        (r#"{"detect": 1}"#, "\"detect\" must be true or false"),
        (r#"{"secret": "x"}"#, "unknown configuration key \"secret\""),
    ] {
        let error = plugin(config).err().unwrap();
        assert!(error.contains(expected), "{error}");
    }
}
