use std::cell::Cell;
use std::rc::Rc;

use firebox_sdk::vocabulary::SpelledToken;
use firebox_sdk::{TokenAction, TokenSequence, TokenSession, TokenStep, Weighted};

use super::*;

fn matches(pattern: &str, text: &[u8]) -> bool {
    let mut automaton = Automaton::new(&parse(pattern).unwrap_or_else(|error| panic!("{pattern}: {error}"))).unwrap();
    let end = automaton.run(automaton.start(), text).unwrap();
    end.is_some_and(|state| automaton.can_end(state))
}

#[test]
fn patterns_match_whole_texts() {
    for (pattern, yes, no) in [
        ("", vec![""], vec!["a"]),
        ("^ab?$", vec!["a", "ab"], vec!["", "b", "abb"]),
        (r"\d{2,3}", vec!["12", "123"], vec!["1", "1234", "1a", "١٢"]),
        (r"a{2}b{0,1}c{1,}", vec!["aac", "aabccc"], vec!["ac", "aabbc", "aab"]),
        ("(yes|no|maybe so)+", vec!["yes", "noyes", "maybe so"], vec!["", "maybe"]),
        (r"[^a-z\]]+", vec!["A é😀"], vec!["a", "]", ""]),
        (r"[-+]?[\d.]+", vec!["-1.5", "2"], vec!["+", "1e"]),
        (r".\.\$\\", vec!["é.$\\"], vec!["\n.$\\", "éx$\\"]),
        (r"\x41\u00e9\u{1f600}[\n\t]", vec!["Aé😀\n"], vec!["Aé😀"]),
        (r"\w+\s\W", vec!["ab_9 é"], vec!["é a"]),
        (r"(?:a*)*b", vec!["b", "aaab"], vec!["a"]),
        (r"[α-ω]+?", vec!["αβγ"], vec!["abc", "Α"]),
        (r"[]a]", vec!["]", "a"], vec!["b"]),
    ] {
        yes.iter().for_each(|text| assert!(matches(pattern, text.as_bytes()), "{pattern} matches {text:?}"));
        no.iter().for_each(|text| assert!(!matches(pattern, text.as_bytes()), "{pattern} does not match {text:?}"));
    }
    assert!(!matches(".", b"\xff") && !matches(".*", b"\xed\xa0\x80"), "an answer is UTF-8");
}

#[test]
fn what_cannot_be_used_is_named_with_its_place() {
    for (pattern, expected) in [
        ("(", "character 2: a group has no end"),
        ("a)", "character 2: ')' has no beginning"),
        ("*a", "character 1: '*' repeats nothing"),
        ("a**", "repeats a repetition"),
        ("a{2", "a repetition is {2}"),
        ("a{x}", "needs a number"),
        ("a{5,2}", "a repetition is"),
        ("a{1001}", "more than 1000 repetitions"),
        ("[a", "a class has no end"),
        ("[z-a]", "the range z-a is empty"),
        ("[[:digit:]]", "named classes"),
        (r"[^\x00-\u{10ffff}]", "a class has no character"),
        (r"\ba", "\\b is not supported"),
        (r"\p{L}", "\\p is not supported"),
        (r"\u{d800}", "not valid"),
        (r"\u12", "not valid"),
        ("(?=a)", "only groups"),
        ("a^b", "anchors stand only at both ends"),
        ("\\", "ends too early"),
    ] {
        let error = parse(pattern).expect_err(pattern);
        assert!(error.contains(expected), "{pattern}: {error}");
    }
    assert!(parse(&"(".repeat(100_000)).is_err());
    let large = parse("((a{1000}){1000}){1000}").unwrap();
    assert!(Automaton::new(&large).expect_err("too large").contains("smaller repetitions"));
    // "one of the last 20 characters is an a" needs a million states.
    let mut wide = Automaton::new(&parse("[ab]*a[ab]{20}").unwrap()).unwrap();
    let text: Vec<u8> =
        (0..100_000_u32).map(|place| if mixed(place).is_multiple_of(2) { b'a' } else { b'b' }).collect();
    assert!(wide.run(0, &text).expect_err("too many").contains("states"));
}

/// A number that depends on `place` and looks random.
fn mixed(place: u32) -> u32 {
    let mut z = place.wrapping_mul(0x9E37_79B9) ^ 0x5bd1_e995;
    z = (z ^ (z >> 15)).wrapping_mul(0x85eb_ca6b);
    z ^ (z >> 13)
}

/// Token 0 ends the answer; the others have these bytes.
struct Words {
    words: Vec<Vec<u8>>,
    asked: Rc<Cell<usize>>,
}

impl Words {
    /// Every byte, and every text of two or three of some characters.
    fn new() -> (Self, Rc<Cell<usize>>) {
        let some = b"ab01 \"{}:,-.";
        let mut words: Vec<Vec<u8>> = vec![Vec::new()];
        words.extend((0..=255).map(|byte| vec![byte]));
        for first in some {
            words.extend(some.iter().map(|second| vec![*first, *second]));
            words.extend(some.iter().flat_map(|second| some.iter().map(|third| vec![*first, *second, *third])));
        }
        words.push("é".as_bytes().to_vec());
        let asked = Rc::default();
        (Self { words, asked: Rc::clone(&asked) }, asked)
    }
}

impl Vocabulary for Words {
    fn spell(&self, tokens: &[u32]) -> Vec<SpelledToken> {
        tokens.iter().map(|token| (*token, self.words.get(*token as usize).cloned().unwrap_or_default())).collect()
    }

    fn sorted(&self, start: &[u8], count: u32) -> Vec<SpelledToken> {
        let mut all: Vec<SpelledToken> = (0..).zip(self.words.iter().cloned()).skip(1).collect();
        all.retain(|(_, bytes)| bytes.as_slice() >= start);
        all.sort_by(|a, b| a.1.cmp(&b.1));
        all.truncate(count as usize);
        self.asked.set(self.asked.get() + all.len());
        all
    }
}

fn sequence() -> TokenSequence {
    TokenSequence { id: String::new(), model: "m".to_owned(), vocabulary: 10_000, ends: vec![0], prompt: vec![1] }
}

fn step(accepted: &[u32], candidates: Vec<u32>) -> TokenStep {
    let values = vec![0.0; candidates.len()];
    TokenStep {
        taken_back: 0,
        accepted: accepted.to_vec(),
        held: 0,
        candidates: Weighted { tokens: candidates, values },
    }
}

/// The tokens that the session allows.
fn allowed(session: &mut ConstraintSession, accepted: &[u32], candidates: Vec<u32>) -> Vec<u32> {
    match session.next(step(accepted, candidates)) {
        Ok(TokenAction::Allow(tokens)) => tokens,
        other => panic!("{other:?}"),
    }
}

/// A text that a model writes whose candidates are random.
fn write(constraint: &Constraint, words: &Words, seed: u32) -> String {
    let mut session = constraint.start(sequence()).unwrap();
    let (mut text, mut accepted) = (Vec::new(), Vec::new());
    for place in 0..400 {
        let count = words.words.len() as u32;
        let candidates = (0..8).map(|rank| mixed(seed * 10_007 + place * 31 + rank) % count).collect();
        let tokens = allowed(&mut session, &accepted, candidates);
        let token = tokens[mixed(seed + place) as usize % tokens.len()];
        if token == 0 {
            return String::from_utf8(text).expect("UTF-8");
        }
        text.extend(&words.words[token as usize]);
        accepted = vec![token];
    }
    panic!("the answer does not end: {}", String::from_utf8_lossy(&text));
}

#[test]
fn whatever_the_model_prefers_the_answer_matches() {
    for pattern in [r"-?[01]{1,9}(\.[01]+)?", r#"\{"a": "[^"]{0,5}"\}"#, "(ab|é|b{3}){1,4}", r"[^\x00-\x1f]{3}"] {
        let constraint = Constraint::with_vocabulary(&parse(pattern).unwrap(), Words::new().0).unwrap();
        let mut texts = std::collections::BTreeSet::new();
        for seed in 0..40 {
            let text = write(&constraint, &Words::new().0, seed);
            assert!(matches(pattern, text.as_bytes()), "{pattern}: {text:?}");
            texts.insert(text);
        }
        assert!(texts.len() > 5, "{pattern}: {texts:?}");
    }
}

#[test]
fn a_search_finds_every_token_and_asks_for_few() {
    let (words, asked) = Words::new();
    let expected: Vec<u32> =
        (1..).zip(&words.words[1..]).filter(|(_, bytes)| matches("a[01]{0,9}", bytes)).map(|pair| pair.0).collect();
    let count = words.words.len();
    let constraint = Constraint::with_vocabulary(&parse("a[01]{5,9}").unwrap(), words).unwrap();
    let mut session = constraint.start(sequence()).unwrap();
    asked.set(0);
    let mut found = allowed(&mut session, &[], vec![0, 5]);
    found.sort_unstable();
    assert_eq!(found, expected);
    assert!(asked.get() < count, "{} of {count}", asked.get());
    let before = asked.get();
    let mut other = constraint.start(sequence()).unwrap();
    assert_eq!(allowed(&mut other, &[], vec![]).len(), expected.len());
    assert_eq!(asked.get(), before + 1, "the sessions share what was found; only the start asks");
}

#[test]
fn sessions_are_independent_and_follow_tokens_that_are_taken_back() {
    let (words, _) = Words::new();
    let token = |text: &str| words.words.iter().position(|word| word == text.as_bytes()).unwrap() as u32;
    let (a, b, dot) = (token("a"), token("b"), token("."));
    let constraint = Constraint::with_vocabulary(&parse("(a\\.|b)").unwrap(), Words::new().0).unwrap();
    let (mut first, mut second) = (constraint.start(sequence()).unwrap(), constraint.start(sequence()).unwrap());
    assert_eq!(allowed(&mut first, &[], vec![a, b, dot, 0]), [a, b]);
    assert_eq!(allowed(&mut first, &[a], vec![b, dot, 0]), [dot]);
    assert_eq!(allowed(&mut second, &[b], vec![b, dot, 0]), [0], "the end alone");
    let back = TokenStep { taken_back: 1, ..step(&[b], vec![a, 0]) };
    assert_eq!(first.next(back), Ok(TokenAction::Allow(vec![0])));
    let error = second.next(step(&[dot], vec![])).expect_err("another plugin forced it");
    assert!(error.contains("not part of an allowed answer"), "{error}");
}

#[test]
fn a_model_without_token_texts_is_refused() {
    let constraint = Constraint::new(&parse("a").unwrap()).unwrap();
    assert!(constraint.start(sequence()).err().unwrap().contains("\"m\""));
}
