//! MCP servers as a person at the command line names them: `--mcp 'NAME=COMMAND …'` and `--mcp NAME=URL`.

use std::sync::Arc;

use firebox_contract::Caller;
use firebox_mcp::client::{ClientPool, PoolOptions, Secret, ServerReport, ServerSpec, ServerTransport};

use crate::error::CliError;

/// A pool of the servers named by these flags, for one person. Nothing is started yet.
///
/// # Errors
/// `CliError` of usage names the first flag that cannot be meant.
pub fn pool(flags: &[String]) -> Result<ClientPool, CliError> {
    let specs = flags.iter().map(|flag| parse(flag)).collect::<Result<Vec<_>, _>>()?;
    ClientPool::check(&specs).map_err(firebox_contract::Error::from)?;
    // A session at the terminal may be quiet for an hour, and a server's memory is part of it.
    Ok(ClientPool::with_options(specs, Arc::new(|_: &Caller, _: &str| true), PoolOptions { idle_time: None }))
}

/// One line about each server that cannot be used.
pub fn complaints(reports: &[ServerReport]) -> impl Iterator<Item = String> {
    let failed = reports.iter().filter_map(|report| report.result.as_ref().err());
    failed.map(|error| format!("{error}; its tools are missing"))
}

/// `NAME=COMMAND ARGUMENT…`, the command with `VARIABLE=VALUE` before it where it needs some, or `NAME=URL`.
fn parse(flag: &str) -> Result<ServerSpec, CliError> {
    let Some((name, rest)) = flag.split_once('=') else {
        return Err(CliError::usage(format!(
            "\"{flag}\" does not name an mcp server; write --mcp NAME=COMMAND or NAME=URL"
        )));
    };
    let (name, rest) = (name.trim(), rest.trim());
    if rest.starts_with("http://") || rest.starts_with("https://") {
        return Ok(ServerSpec::http(name, rest));
    }
    let words = words(rest).map_err(|why| CliError::usage(format!("the command of mcp server \"{name}\" {why}")))?;
    let variables = words.iter().take_while(|word| is_assignment(word)).count();
    let mut spec = ServerSpec::stdio(name, words[variables..].to_vec()).map_err(firebox_contract::Error::from)?;
    if let ServerTransport::Stdio(server) = &mut spec.transport {
        for word in &words[..variables] {
            let (variable, value) = word.split_once('=').unwrap_or((word, ""));
            server.env.push((variable.to_owned(), secret(name, variable, value)?));
        }
    }
    Ok(spec)
}

/// A value, or `env:NAME` for one that must not stand in the list of processes.
fn secret(server: &str, variable: &str, value: &str) -> Result<Secret, CliError> {
    let Some(source) = value.strip_prefix("env:") else { return Ok(Secret::new(value)) };
    let found = std::env::var(source).map_err(|error| {
        let what = match error {
            std::env::VarError::NotPresent => "is not set; set it",
            std::env::VarError::NotUnicode(_) => "is not UTF-8 text; set it anew",
        };
        CliError::usage(format!(
            "\"{variable}\" of mcp server \"{server}\" comes from the variable \"{source}\", which {what}"
        ))
    })?;
    Ok(Secret::new(&found))
}

fn is_assignment(word: &str) -> bool {
    let Some((name, _)) = word.split_once('=') else { return false };
    let begins = name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_');
    begins && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
}

/// Words as a shell splits them: at white space, with `'…'`, `"…"` and `\` to keep it. Nothing is expanded.
fn words(text: &str) -> Result<Vec<String>, String> {
    let mut words = Vec::new();
    let mut word: Option<String> = None;
    let mut characters = text.chars();
    while let Some(c) = characters.next() {
        match c {
            '\'' | '"' => quoted(c, &mut characters, word.get_or_insert_default())?,
            '\\' => match characters.next() {
                Some(next) => word.get_or_insert_default().push(next),
                None => return Err("ends in a \"\\\" that protects nothing".to_owned()),
            },
            c if c.is_whitespace() => words.extend(word.take()),
            c => word.get_or_insert_default().push(c),
        }
    }
    words.extend(word);
    Ok(words)
}

fn quoted(quote: char, characters: &mut std::str::Chars<'_>, word: &mut String) -> Result<(), String> {
    while let Some(c) = characters.next() {
        match c {
            c if c == quote => return Ok(()),
            '\\' if quote == '"' => match characters.next() {
                Some(next @ ('"' | '\\' | '$' | '`')) => word.push(next),
                Some(next) => word.extend(['\\', next]),
                None => break,
            },
            c => word.push(c),
        }
    }
    Err(format!("has a {quote} without its other {quote}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_split_as_a_shell_splits_them() {
        let cases: [(&str, &[&str]); 7] = [
            ("a b  c", &["a", "b", "c"]),
            ("a 'b c' \"d e\"", &["a", "b c", "d e"]),
            (r#"a\ b "c\"d" 'e\f'"#, &["a b", "c\"d", r"e\f"]),
            ("a '' b", &["a", "", "b"]),
            ("x'y'\"z\"", &["xyz"]),
            (r#""a\nb""#, &[r"a\nb"]),
            ("", &[]),
        ];
        for (text, expected) in cases {
            assert_eq!(words(text).expect(text), expected, "{text}");
        }
        for bad in ["a 'b", "a \"b", "a\\", "\"a\\"] {
            assert!(words(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn servers_are_programs_or_addresses() {
        let spec = parse("files=ROOT=/tmp npx server 'a b'").expect("sound");
        let ServerTransport::Stdio(server) = &spec.transport else { panic!("a program") };
        assert_eq!((spec.name.as_str(), server.command.as_str()), ("files", "npx"));
        assert_eq!((server.args.as_slice(), server.env.len()), (&["server".to_owned(), "a b".to_owned()][..], 1));
        let spec = parse("web=https://localhost/mcp?a=b").expect("sound");
        assert!(matches!(&spec.transport, ServerTransport::Http(server) if server.url == "https://localhost/mcp?a=b"));
        let same = ["a=x".to_owned(), "a=y".to_owned()];
        for (bad, words) in [
            (pool(&["server".to_owned()]), "write --mcp NAME=COMMAND"),
            (pool(&["name=".to_owned()]), "has no command"),
            (pool(&["a b=x".to_owned()]), "\"a b\""),
            (pool(&["a='x".to_owned()]), "without its other"),
            (pool(&["a=T=env:NO_SUCH_VARIABLE_1 x".to_owned()]), "NO_SUCH_VARIABLE_1"),
            (pool(&same), "two mcp servers are called \"a\""),
        ] {
            let error = bad.expect_err(words).to_string();
            assert!(error.contains(words), "{error} should contain {words}");
        }
    }
}
