//! The programs that keep passwords for Docker: `docker-credential-NAME get`.
//!
//! Protocol: <https://github.com/docker/docker-credential-helpers#development>

use std::io::{ErrorKind, Read as _, Write as _};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use firebox_contract::limits;
use serde::Deserialize;

use crate::error::shown;

/// Time between two looks at a program that runs.
const POLL_PERIOD: Duration = Duration::from_millis(10);
/// The name of a user whose secret is a token for another protocol.
const TOKEN_USER: &str = "<token>";

/// What a helper answers.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct HelperAnswer {
    username: String,
    secret: String,
}

/// Asks the helper `name` who this user is for `server`: `USER:PASSWORD`, or `None` if it does not know.
///
/// # Errors
/// Why there is no answer, as a sentence without its end. It has nothing of the answer in it.
pub(super) fn ask(name: &str, server: &str, timeout: Duration) -> Result<Option<String>, String> {
    let safe = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    if name.is_empty() || !name.chars().all(safe) {
        return Err(format!("\"{}\" cannot be the name of a credential helper", shown(name)));
    }
    ask_program(&format!("docker-credential-{name}"), server, timeout)
}

/// As [`ask`], with the name of the program, or its path.
fn ask_program(program: &str, server: &str, timeout: Duration) -> Result<Option<String>, String> {
    let failed = |why: &str| format!("the credential helper \"{program}\" {why}");
    let mut command = Command::new(program);
    command.arg("get").stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
    let mut child = command.spawn().map_err(|error| match error.kind() {
        ErrorKind::NotFound => failed("is not in PATH"),
        _ => failed(&format!("cannot be started: {error}")),
    })?;
    let answered = talk(&mut child, server, timeout);
    // It may have ended by itself; a stopped one must not stay as a zombie.
    let _ended = child.kill();
    let status = child.wait().map_err(|error| failed(&format!("did not end: {error}")))?;
    let (bytes, is_ended) = answered.map_err(|why| failed(&why))?;
    let text = String::from_utf8(bytes).map_err(|_| failed("answers with bytes that are no text"))?;
    if is_ended && !status.success() {
        // The words of the protocol for a server that it does not know.
        if text.contains("credentials not found") {
            return Ok(None);
        }
        return Err(failed(&format!("failed: {}", shown(&text))));
    }
    let answer: HelperAnswer = serde_json::from_str(&text).map_err(|_| failed("answers with no JSON of a user"))?;
    if answer.username == TOKEN_USER {
        return Err(failed("has a token that only Docker can use"));
    }
    let is_empty = answer.username.is_empty() && answer.secret.is_empty();
    let is_valid = !(is_empty || answer.username.contains(':'));
    Ok(is_valid.then(|| format!("{}:{}", answer.username, answer.secret)))
}

/// Writes the server's name to `child` and reads its answer. Returns it, and whether the program ended by itself.
fn talk(child: &mut Child, server: &str, timeout: Duration) -> Result<(Vec<u8>, bool), String> {
    let (input, output) = (child.stdin.take(), child.stdout.take());
    let server = format!("{server}\n");
    let (sender, answers) = mpsc::sync_channel(limits::REGISTRY_HELPER_ANSWERS_MAX);
    // Threads of their own, since a program may neither read nor write.
    let exchange = move || {
        if let Some(mut input) = input {
            // A program that does not read it may answer all the same.
            let _unread = input.write_all(server.as_bytes());
        }
        let mut bytes = Vec::new();
        let max = limits::REGISTRY_HELPER_BYTES_MAX as u64 + 1;
        let read = output.map_or(Ok(0), |output| output.take(max).read_to_end(&mut bytes));
        // The caller may have given up.
        let _late = sender.send(read.map(|_| bytes));
    };
    thread::Builder::new().spawn(exchange).map_err(|error| format!("cannot be asked: {error}"))?;
    let slow = || format!("does not answer within {} s", timeout.as_secs_f32());
    let bytes =
        answers.recv_timeout(timeout).map_err(|_| slow())?.map_err(|error| format!("cannot be read: {error}"))?;
    if bytes.len() > limits::REGISTRY_HELPER_BYTES_MAX {
        return Err(format!("answers with more than {} KiB", limits::REGISTRY_HELPER_BYTES_MAX >> 10));
    }
    // Its output has ended, so it is about to end.
    let polls = timeout.as_millis() / POLL_PERIOD.as_millis();
    for _ in 0..polls {
        if child.try_wait().map_err(|error| format!("did not end: {error}"))?.is_some() {
            return Ok((bytes, true));
        }
        thread::sleep(POLL_PERIOD);
    }
    Err(slow())
}

#[cfg(all(test, unix))]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;
    use std::time::Instant;

    use super::*;

    /// What a helper with this script says about `ghcr.io`.
    fn asked(script: &str) -> Result<Option<String>, String> {
        let folder = tempfile::tempdir().expect("writable");
        let path = folder.path().join("docker-credential-test");
        std::fs::write(&path, format!("#!/bin/sh\n{script}\n")).expect("written");
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).expect("executable");
        ask_program(&path.display().to_string(), "ghcr.io", Duration::from_secs(2))
    }

    #[test]
    fn a_helper_says_who_this_user_is() {
        let answer = "read server; echo \"{\\\"ServerURL\\\":\\\"$server\\\",\\\"Username\\\":\\\"ada-$1\\\",\\\"Secret\\\":\\\"$server:x\\\"}\"";
        assert_eq!(asked(answer), Ok(Some("ada-get:ghcr.io:x".to_owned())));
        let ignoring = "echo '{\"Username\":\"a\",\"Secret\":\"b\"}'";
        assert_eq!(asked(ignoring), Ok(Some("a:b".to_owned())), "it need not read the name");
        assert_eq!(asked("echo credentials not found in native keychain; exit 1"), Ok(None));
        assert_eq!(asked("echo '{\"Username\":\"\",\"Secret\":\"\"}'"), Ok(None));
    }

    #[test]
    fn a_helper_that_fails_is_named_with_its_words_and_without_secrets() {
        for (script, word) in [
            ("echo 'the keychain is\\033[2J locked'; exit 3", "failed: the keychain is"),
            ("echo '{\"Username\":\"ada\"}'", "no JSON of a user"),
            ("printf '\\377'", "bytes that are no text"),
            ("echo '{\"Username\":\"<token>\",\"Secret\":\"topsecret\"}'", "a token that only Docker can use"),
            ("yes", "more than 64 KiB"),
            ("kill -9 $$", "failed"),
        ] {
            let problem = asked(script).expect_err(word);
            assert!(problem.contains(word) && problem.contains("docker-credential-test"), "{problem}");
            assert!(!problem.contains('\u{1b}') && !problem.contains("topsecret"), "{problem}");
        }
    }

    #[test]
    fn a_helper_that_does_not_answer_is_stopped() {
        for script in ["sleep 30", "exec >&-; sleep 30", "sleep 10 & echo '{\"Username\":\"a\",\"Secret\":\"b\"}'"] {
            let begun = Instant::now();
            let problem = asked(script).expect_err("slow");
            assert!(problem.contains("does not answer within 2 s"), "{problem}");
            assert!(begun.elapsed() < Duration::from_secs(20), "{script}");
        }
    }
}
