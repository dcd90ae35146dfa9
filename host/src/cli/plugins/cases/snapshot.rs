//! Writes the answers of a plugin into the file of its cases. Comments and order stay.

use super::case::CaseAnswer;

/// `source` with `answers` as the expected ones. `None` if the cases cannot be told apart, such as with a `[[case]]` inside a text.
pub(super) fn updated(source: &str, answers: &[CaseAnswer]) -> Option<String> {
    let mut blocks: Vec<Vec<&str>> = vec![Vec::new()];
    for line in source.lines() {
        if line.trim() == "[[case]]" {
            blocks.push(Vec::new());
        }
        blocks.last_mut()?.push(line);
    }
    let (head, cases) = blocks.split_first()?;
    if cases.len() != answers.len() {
        return None;
    }
    let mut out: Vec<String> = head.iter().map(|line| (*line).to_owned()).collect();
    for (block, answer) in cases.iter().zip(answers) {
        let mut lines: Vec<String> = without_expectation(block).into_iter().map(str::to_owned).collect();
        let says = |line: &String| !line.trim().is_empty() && !line.trim().starts_with('#');
        let end = lines.iter().rposition(says).map_or(lines.len(), |last| last + 1);
        lines.insert(end, expectation(answer));
        out.append(&mut lines);
    }
    Some(out.join("\n") + "\n")
}

/// The lines of a case without its expected answer, which may have several lines.
fn without_expectation<'a>(block: &[&'a str]) -> Vec<&'a str> {
    let mut kept = Vec::new();
    let mut lines = block.iter();
    while let Some(line) = lines.next() {
        let (key, value) = line.split_once('=').unwrap_or((line, ""));
        if !["expect", "fault"].contains(&key.trim()) {
            kept.push(*line);
            continue;
        }
        let quotes = ["\"\"\"", "'''"].into_iter().find(|quotes| value.matches(quotes).count() == 1);
        if let Some(quotes) = quotes {
            lines.by_ref().find(|further| further.contains(quotes));
        }
    }
    kept
}

fn expectation(answer: &CaseAnswer) -> String {
    // A JSON string is a TOML string, except for DEL.
    let quoted = |text: &str| serde_json::Value::from(text).to_string().replace('\u{7f}', "\\u007f");
    match answer {
        CaseAnswer::Text(text) => format!("expect = {}", quoted(text)),
        CaseAnswer::Fault(code, _) => format!("fault = {}", quoted(code)),
        CaseAnswer::Unexpected(why) => format!("# {}", quoted(why)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn expectations_are_written_in_place_and_everything_else_stays() {
        let source = "# head\n\n[[case]]\nname = \"a\"\nstage = \"text\"\nexpect = \"\"\"old\n = lines\"\"\"\nchunks = [\"x\"]\n\n\
                      # about b\n[[case]]\nname = \"b\" # with expect = in it\nfault = \"x\"\n";
        let answers = [
            CaseAnswer::Text("a \"b\"\n\u{7f}é".to_owned()),
            CaseAnswer::Fault("plugin_timed_out".to_owned(), String::new()),
        ];
        let written = updated(source, &answers).expect("written");
        assert_eq!(
            written,
            "# head\n\n[[case]]\nname = \"a\"\nstage = \"text\"\nchunks = [\"x\"]\nexpect = \"a \\\"b\\\"\\n\\u007fé\"\n\n\
             # about b\n[[case]]\nname = \"b\" # with expect = in it\nfault = \"plugin_timed_out\"\n"
        );
        let value: toml::Table = written.parse().expect("TOML");
        assert_eq!(value["case"][0]["expect"].as_str(), Some("a \"b\"\n\u{7f}é"));
        assert_eq!(updated(source, &answers[..1]), None);
    }
}
