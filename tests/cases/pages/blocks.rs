/// A fenced block of a page.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Block {
    /// The line of its opening fence, counted from 1.
    pub(super) line: usize,
    pub(super) language: String,
    pub(super) text: String,
    /// The comments on the lines directly above it, without `<!--` and `-->`.
    pub(super) marks: Vec<String>,
    /// Whether only blank lines and comments separate it from the block before.
    pub(super) follows: bool,
}

impl Block {
    /// The reason why it is not run, if it is marked so.
    pub(super) fn not_run(&self) -> Option<&str> {
        self.marks.iter().find_map(|mark| mark.strip_prefix("not run:")).map(str::trim)
    }

    fn is_marked(&self, mark: &str) -> bool {
        self.marks.iter().any(|own| own == mark)
    }

    pub(super) fn is_command(&self) -> bool {
        ["sh", "bash", "console"].contains(&self.language.as_str())
    }
}

/// Every fenced block of a page, in order.
pub(super) fn blocks(page: &str) -> Vec<Block> {
    let mut blocks: Vec<Block> = Vec::new();
    let (mut marks, mut open, mut follows): (Vec<String>, Option<String>, bool) = (Vec::new(), None, false);
    for (at, line) in page.lines().enumerate() {
        match (&open, line.trim_start().strip_prefix("```")) {
            (None, Some(language)) => {
                open = Some(line.chars().take_while(|c| *c == ' ').collect());
                let language = language.trim().to_owned();
                blocks.push(Block {
                    line: at + 1,
                    language,
                    text: String::new(),
                    marks: std::mem::take(&mut marks),
                    follows,
                });
            }
            (Some(_), Some(_)) => (open, follows) = (None, true),
            (Some(indent), None) => {
                let block = blocks.last_mut().expect("an open block");
                block.text.push_str(line.strip_prefix(indent.as_str()).unwrap_or(line));
                block.text.push('\n');
            }
            (None, None) if line.trim().starts_with("<!--") => {
                marks.push(line.trim().trim_start_matches("<!--").trim_end_matches("-->").trim().to_owned());
            }
            (None, None) if line.trim().is_empty() => {}
            (None, None) => {
                marks.clear();
                follows = false;
            }
        }
    }
    blocks
}

/// What a step must print.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Expected {
    Text(String),
    /// As `Text`, without numbers and ids.
    Pattern(String),
    Json(String),
}

/// Some lines of shell, and what they must print.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Step {
    pub(super) line: usize,
    pub(super) script: String,
    pub(super) expected: Option<Expected>,
}

/// Steps that run in one shell and one folder.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Session {
    /// Whether the folder has the plugins of the repository.
    pub(super) in_clone: bool,
    pub(super) steps: Vec<Step>,
}

/// The sessions of a page, without those that run nothing.
pub(super) fn sessions(blocks: &[Block]) -> Vec<Session> {
    let mut sessions = vec![Session::default()];
    for (at, block) in blocks.iter().enumerate() {
        let in_clone = block.is_marked("in a clone");
        if in_clone || block.is_marked("new folder") {
            sessions.push(Session { in_clone, steps: Vec::new() });
        }
        if !block.is_command() || block.not_run().is_some() {
            continue;
        }
        let session = sessions.last_mut().expect("one at least");
        if block.language == "console" {
            session.steps.extend(console(block));
            continue;
        }
        let output = blocks.get(at + 1).filter(|next| next.follows && !block.is_marked("output varies"));
        let output = output.filter(|next| !next.is_marked("output varies") && next.not_run().is_none());
        let numbers_vary = |next: &Block| block.is_marked("numbers vary") || next.is_marked("numbers vary");
        let expected = output.and_then(|next| match next.language.as_str() {
            "text" if numbers_vary(next) => Some(Expected::Pattern(next.text.clone())),
            "text" => Some(Expected::Text(next.text.clone())),
            "json" => Some(Expected::Json(next.text.clone())),
            _ => None,
        });
        session.steps.push(Step { line: block.line, script: block.text.clone(), expected });
    }
    sessions.retain(|session| !session.steps.is_empty());
    sessions
}

/// The steps of a `console` block: `$ command` lines, each with its output below it.
fn console(block: &Block) -> Vec<Step> {
    let mut steps: Vec<Step> = Vec::new();
    for (at, line) in block.text.lines().enumerate() {
        if let Some(command) = line.strip_prefix("$ ") {
            let expected = match block.is_marked("numbers vary") {
                true => Expected::Pattern(String::new()),
                false => Expected::Text(String::new()),
            };
            let expected = Some(expected).filter(|_| !block.is_marked("output varies"));
            steps.push(Step { line: block.line + at + 1, script: format!("{command}\n"), expected });
        } else if let Some(step) = steps.last_mut() {
            let continued = step.script.trim_end().ends_with('\\');
            match &mut step.expected {
                _ if continued => step.script.push_str(&format!("{line}\n")),
                Some(Expected::Text(text) | Expected::Pattern(text)) => text.push_str(&format!("{line}\n")),
                _ => {}
            }
        }
    }
    steps
}

#[test]
fn blocks_are_read_with_their_marks() {
    let page = "# A\n\n```sh\na\n```\n\n```text\nA\n```\n\nB\n\n<!-- not run: needs a GPU -->\n```sh\nb\n```\n\n<!-- new folder -->\n\
                ```console\n$ c \\\n  d\nC\n$ e\n```\n";
    let blocks = blocks(page);
    assert_eq!(blocks.iter().map(|block| block.line).collect::<Vec<_>>(), [3, 7, 14, 19]);
    assert_eq!(blocks[2].not_run(), Some("needs a GPU"));
    let text = |text: &str| Some(Expected::Text(text.to_owned()));
    let step = |line, script: &str, expected| Step { line, script: script.to_owned(), expected };
    let first = Session { in_clone: false, steps: vec![step(3, "a\n", text("A\n"))] };
    let second = vec![step(20, "c \\\n  d\n", text("C\n")), step(23, "e\n", text(""))];
    assert_eq!(sessions(&blocks), [first, Session { in_clone: false, steps: second }]);
}
