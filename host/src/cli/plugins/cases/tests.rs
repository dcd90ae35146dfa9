use super::*;

fn parse_error(text: &str) -> String {
    parse(text, "cases.toml").expect_err("refused").to_string()
}

#[test]
fn a_case_that_cannot_be_run_is_named_with_the_reason() {
    let head = "[[case]]\nname = \"a\"\n";
    let rows = [
        (String::new(), "has no case"),
        (format!("{head}stage = \"tools\"\n"), "no stage \"tools\""),
        (format!("{head}stage = \"text\"\ninput = \"x\"\n"), "the stage text has chunks; it has input"),
        (format!("{head}stage = \"tool\"\n"), "the stage tool has tool, arguments; it has "),
        (format!("{head}stage = \"prompt\"\ninput = \"x\"\nexpect = \"y\"\nfault = \"z\"\n"), "both expect and fault"),
        (format!("{head}stage = \"embedding\"\n"), "has texts, vectors; it has "),
        (format!("{head}stage = \"token\"\ntokens = [2]\nvocabulary = [\"a\", \"b\"]\n"), "no token 2"),
        (format!("{head}stage = \"prompt\"\ninput = \"x\"\n[case.mock]\nclock = 1\n"), "line 6"),
        (format!("{head}stage = \"prompt\"\ninputs = \"x\"\n"), "line 4"),
        ("[[case]\n".to_owned(), "line 1"),
    ];
    for (text, word) in rows {
        let error = parse_error(&text);
        assert!(error.contains(word), "{error} should contain {word}");
    }
}

#[test]
fn a_case_is_met_by_its_answer_or_its_fault_only() {
    let text = "[[case]]\nname = \"a\"\nstage = \"text\"\nchunks = []\n";
    let case = |more: &str| parse(&format!("{text}{more}"), "cases.toml").expect("cases").remove(0);
    let (answer, fault) = (CaseAnswer::Text("x".to_owned()), CaseAnswer::Fault("f".to_owned(), String::new()));
    assert!(case("expect = \"x\"\n").is_met(&answer) && !case("expect = \"x\"\n").is_met(&fault));
    assert!(case("fault = \"f\"\n").is_met(&fault) && !case("fault = \"f\"\n").is_met(&answer));
    assert!(!case("").is_met(&answer) && !case("expect = \"y\"\n").is_met(&answer));
}

#[test]
fn a_case_has_the_mocks_of_the_file_except_for_its_own() {
    let text = "[mock]\ntime = \"2027-01-31\"\nconfig = { a = 1 }\nkeyvalue.notes = { x = \"y\" }\n\n\
                [[case]]\nname = \"a\"\nstage = \"text\"\nchunks = []\n[case.mock]\nconfig = { b = 2 }\nrandom = 7\n";
    let mock = parse(text, "cases.toml").expect("cases").remove(0).mock;
    assert_eq!(mock.config.expect("a configuration").to_string().trim(), "b = 2");
    assert_eq!((mock.time.as_deref(), mock.random), (Some("2027-01-31"), Some(7)));
    assert_eq!(mock.keyvalue.expect("buckets")["notes"]["x"], "y");
}
