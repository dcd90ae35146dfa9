//! The options `--mcp 'NAME=COMMAND …'`, `--mcp NAME=URL` and `--mcp-header`.

use std::sync::Arc;

use firebox_contract::{Caller, limits};
use firebox_mcp::client::{ClientPool, PoolOptions, RejectedTool, Secret, ServerReport, ServerSpec, ServerTransport};

use crate::cli::output;
use crate::config::lock;
use crate::error::CliError;

/// A pool of the servers in the `--mcp` options `flags`, with the headers in the `--mcp-header` options `headers`. No server
/// is started yet.
///
/// # Errors
/// A `CliError` of usage names the first wrong option.
pub fn pool(flags: &[String], headers: &[String]) -> Result<ClientPool, CliError> {
    let mut specs = flags.iter().map(|flag| parse(flag)).collect::<Result<Vec<_>, _>>()?;
    headers.iter().try_for_each(|flag| add_header(&mut specs, flag))?;
    // Names that the lock file does not have are of the command line only.
    if let Some(lock) = lock::of_command_line()? {
        specs.iter_mut().filter(|spec| lock.servers.contains_key(&spec.name)).for_each(|spec| lock.pin_server(spec));
    }
    ClientPool::check(&specs).map_err(firebox_contract::Error::from)?;
    // A chat may be idle for an hour, and the server may hold state of it, so idle servers are not stopped.
    Ok(ClientPool::with_options(specs, Arc::new(|_: &Caller, _: &str| true), PoolOptions { idle_time: None }))
}

/// Adds a header `NAME=HEADER: VALUE`. The last word of the value may be `env:NAME` or `file:PATH` for a secret. No message
/// shows a value.
fn add_header(specs: &mut [ServerSpec], flag: &str) -> Result<(), CliError> {
    let usage = "write --mcp-header 'NAME=HEADER: VALUE', with NAME as in --mcp";
    let parts = flag.split_once('=').and_then(|(name, rest)| Some((name.trim(), rest.split_once([':', '='])?)));
    let Some((name, (header, value))) = parts else {
        return Err(CliError::usage(format!("wrong --mcp-header; {usage}")));
    };
    let (header, value) = (header.trim(), value.trim());
    let Some(spec) = specs.iter_mut().find(|spec| spec.name == name) else {
        let name = output::line(name, limits::CHAT_SHOWN_CHARACTERS_MAX);
        return Err(CliError::usage(format!("--mcp-header names an unknown server \"{name}\"; {usage}")));
    };
    let ServerTransport::Http(server) = &mut spec.transport else {
        let remedy = "use a variable: --mcp 'NAME=VARIABLE=env:OTHER COMMAND'";
        return Err(CliError::usage(format!("server \"{name}\" is a program and takes no --mcp-header; {remedy}")));
    };
    // In "Bearer env:TOKEN" only the last word is a reference.
    let (scheme, last) = value.rsplit_once(' ').map_or(("", value), |(scheme, last)| (&value[..=scheme.len()], last));
    let secret = match last.strip_prefix("file:") {
        Some(path) => file(name, header, path)?,
        None => text(name, header, last)?,
    };
    server.headers.push((header.to_ascii_lowercase(), Secret::new(&format!("{scheme}{secret}"))));
    Ok(())
}

fn file(server: &str, header: &str, path: &str) -> Result<String, CliError> {
    let failed = |why: String| {
        CliError::usage(format!("header \"{header}\" of MCP server \"{server}\": the file \"{path}\" {why}"))
    };
    let about = std::fs::metadata(path).map_err(|error| failed(format!("cannot be read: {error}")))?;
    if !about.is_file() || about.len() > limits::SECRET_BYTES_MAX {
        return Err(failed(format!("must be a file of at most {} bytes", limits::SECRET_BYTES_MAX)));
    }
    let text = std::fs::read_to_string(path).map_err(|error| failed(format!("cannot be read: {error}")))?;
    let text = text.trim_end_matches(['\r', '\n']);
    if text.is_empty() { Err(failed("is empty".to_owned())) } else { Ok(text.to_owned()) }
}

/// One line about each server that cannot be used.
pub fn failures(reports: &[ServerReport]) -> impl Iterator<Item = String> {
    let failed = reports.iter().filter_map(|report| report.result.as_ref().err());
    failed.map(|error| format!("{error}; its tools are not offered"))
}

/// One line about each tool of a server that is not offered.
pub fn left_out(report: &ServerReport) -> impl Iterator<Item = String> {
    let shown = |tool: &RejectedTool| {
        let name = output::line(&tool.name, limits::CHAT_SHOWN_CHARACTERS_MAX);
        let why = output::line(&tool.reason, limits::CHAT_SHOWN_CHARACTERS_MAX);
        format!("left out \"{name}\": {why}")
    };
    report.rejected.iter().map(shown)
}

/// Parses `NAME=COMMAND ARGUMENT…`, with optional `VARIABLE=VALUE` before the command, or `NAME=URL`.
fn parse(flag: &str) -> Result<ServerSpec, CliError> {
    let Some((name, rest)) = flag.split_once('=') else {
        return Err(CliError::usage(format!("--mcp \"{flag}\" has no name; write --mcp NAME=COMMAND or NAME=URL")));
    };
    let (name, rest) = (name.trim(), rest.trim());
    if rest.starts_with("http://") || rest.starts_with("https://") {
        return Ok(ServerSpec::http(name, rest));
    }
    let words = words(rest).map_err(|why| CliError::usage(format!("the command of MCP server \"{name}\" {why}")))?;
    let variables = words.iter().take_while(|word| is_assignment(word)).count();
    let mut spec = ServerSpec::stdio(name, words[variables..].to_vec()).map_err(firebox_contract::Error::from)?;
    if let ServerTransport::Stdio(server) = &mut spec.transport {
        for word in &words[..variables] {
            let (variable, value) = word.split_once('=').unwrap_or((word, ""));
            server.env.push((variable.to_owned(), Secret::new(&text(name, variable, value)?)));
        }
    }
    Ok(spec)
}

/// The value itself, or the variable that `env:NAME` refers to. A reference keeps the secret out of the process list.
fn text(server: &str, variable: &str, value: &str) -> Result<String, CliError> {
    let Some(source) = value.strip_prefix("env:") else { return Ok(value.to_owned()) };
    std::env::var(source).map_err(|error| {
        let what = match error {
            std::env::VarError::NotPresent => "is not set",
            std::env::VarError::NotUnicode(_) => "is not UTF-8",
        };
        CliError::usage(format!(
            "\"{variable}\" of MCP server \"{server}\": the environment variable \"{source}\" {what}"
        ))
    })
}

fn is_assignment(word: &str) -> bool {
    let Some((name, _)) = word.split_once('=') else { return false };
    let begins = name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_');
    begins && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
}

/// Splits a command as a shell does: at white space, except inside `'…'` and `"…"` and after `\`. Expands nothing.
fn words(text: &str) -> Result<Vec<String>, String> {
    let mut words = Vec::new();
    let mut word: Option<String> = None;
    let mut characters = text.chars();
    while let Some(c) = characters.next() {
        match c {
            '\'' | '"' => quoted(c, &mut characters, word.get_or_insert_default())?,
            '\\' => match characters.next() {
                Some(next) => word.get_or_insert_default().push(next),
                None => return Err("ends with a \"\\\"".to_owned()),
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
    Err(format!("has a {quote} that is not closed"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_are_split_as_a_shell_does() {
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
    fn a_server_is_a_program_or_a_url() {
        let spec = parse("files=ROOT=/tmp npx server 'a b'").expect("sound");
        let ServerTransport::Stdio(server) = &spec.transport else { panic!("a program") };
        assert_eq!((spec.name.as_str(), server.command.as_str()), ("files", "npx"));
        assert_eq!((server.args.as_slice(), server.env.len()), (&["server".to_owned(), "a b".to_owned()][..], 1));
        let spec = parse("web=https://localhost/mcp?a=b").expect("sound");
        assert!(matches!(&spec.transport, ServerTransport::Http(server) if server.url == "https://localhost/mcp?a=b"));
        let same = ["a=x".to_owned(), "a=y".to_owned()];
        for (bad, words) in [
            (pool(&["server".to_owned()], &[]), "write --mcp NAME=COMMAND"),
            (pool(&["name=".to_owned()], &[]), "has no command"),
            (pool(&["a b=x".to_owned()], &[]), "\"a b\""),
            (pool(&["a='x".to_owned()], &[]), "is not closed"),
            (pool(&["a=T=env:NO_SUCH_VARIABLE_1 x".to_owned()], &[]), "NO_SUCH_VARIABLE_1"),
            (pool(&same, &[]), "two mcp servers are called \"a\""),
        ] {
            let error = bad.expect_err(words).to_string();
            assert!(error.contains(words), "{error} should contain {words}");
        }
    }

    #[test]
    fn headers_go_to_the_named_server_and_are_never_shown() {
        let folder = tempfile::tempdir().expect("writable");
        let path = folder.path().join("key");
        std::fs::write(&path, "hunter22\n").expect("written");
        let value = |flag: &str| {
            let mut specs =
                [ServerSpec::http("other", "http://localhost/b"), ServerSpec::http("web", "http://localhost/a")];
            add_header(&mut specs, flag)?;
            assert!(!format!("{specs:?}").contains("hunter22"));
            let [other, web] = specs;
            assert!(matches!(&other.transport, ServerTransport::Http(server) if server.headers.is_empty()));
            let ServerTransport::Http(server) = web.transport else { panic!("http") };
            Ok::<_, CliError>(server.headers[0].clone())
        };
        let expected = |name: &str, value: &str| (name.to_owned(), Secret::new(value));
        let from_file = format!("web=Authorization: Bearer file:{}", path.display());
        assert_eq!(value(&from_file).expect("sound"), expected("authorization", "Bearer hunter22"));
        assert_eq!(value("web=X-Key:hunter22").expect("sound"), expected("x-key", "hunter22"));
        assert_eq!(value("web=X-Words: a b c").expect("sound"), expected("x-words", "a b c"));
        for (bad, words) in [
            ("web", "write --mcp-header"),
            ("web=Authorization hunter22", "write --mcp-header"),
            ("nobody=A: hunter22", "unknown server \"nobody\""),
            ("web=A: env:NO_SUCH_VARIABLE_1", "NO_SUCH_VARIABLE_1"),
            ("web=A: file:/no/such/file", "cannot be read"),
        ] {
            let error = value(bad).expect_err(words).to_string();
            assert!(error.contains(words) && !error.contains("hunter22"), "{error} should contain {words}");
        }
        let both = (["web=http://localhost/".to_owned()], ["web=Accept: hunter22".to_owned()]);
        let error = pool(&both.0, &both.1).expect_err("the protocol's own").to_string();
        assert!(error.contains("\"accept\"") && !error.contains("hunter22"), "{error}");
        let program = pool(&["a=x".to_owned()], &["a=A: b".to_owned()]).expect_err("a program").to_string();
        assert!(program.contains("is a program"), "{program}");
    }
}
