use std::fmt::Write as _;

use firebox::contract::error::ERROR_KINDS;
use firebox::contract::error::fault::FAULT_CODES;

use super::check;
use crate::harness::root;

/// `(HTTP status, code, meaning)` of the answers that have a status or a code of their own.
const HTTP_CODES: &[(u16, &str, &str)] = &[
    (400, "unsupported", "The request uses a field or value of the OpenAI API that Firebox does not support."),
    (
        400,
        "schema_unsupported",
        "The form of the answer, or a strict tool, has a JSON Schema with a part that is not supported. `param` has its JSON Pointer.",
    ),
    (404, "model_not_found", "The model does not exist, or the tenant cannot use it."),
    (405, "method_not_allowed", "The path exists, but not with this method. The header `allow` lists the methods."),
    (408, "timeout", "The request body arrived too slowly."),
    (409, "conflict", "The session has changed, or another request is using it."),
    (413, "too_large", "The request body is larger than `server.body_bytes_max`."),
    (415, "unsupported_media_type", "The `content-encoding` of the request is not supported."),
    (
        503,
        "sessions_unavailable",
        "The session file cannot be read or written now. The log of the server has the reason.",
    ),
];

/// What each kind of error means to a client.
fn meaning(code: &str) -> &'static str {
    match code {
        "invalid_request" => "The command line, the configuration or the request is invalid.",
        "model_error" => "The model, its files or its device failed.",
        "unauthorized" => "The API key is missing, unknown, revoked or expired.",
        "denied" => "The key or the tenant is not allowed to do this.",
        "refused" => "A plugin refused the request.",
        "not_found" => "The object does not exist, or belongs to another tenant.",
        "too_large" => "The request exceeds a fixed limit, such as the context of the model.",
        "rate_limited" => "A rate limit, a quota or a full queue. The header `retry-after` tells when to retry.",
        "timeout" => "The request took longer than its timeout.",
        "unavailable" => "The server, or a part that the request needs, does not work now.",
        "plugin_fault" => "A plugin exceeded its limits, trapped, or could not be loaded.",
        "interrupted" => "The client closed the connection, or the command was interrupted.",
        "internal" => "An error in Firebox or on its machine. The log of the server has the details.",
        other => panic!("{other} has no meaning in tests/cases/reference/errors.rs"),
    }
}

#[test]
fn the_page_of_errors_shows_every_code() {
    let mut page = "# Errors\n\nGenerated from `host/contract/src/error.rs`, `host/contract/src/error/fault.rs` and \
                    `tests/cases/reference/errors.rs`.\n\nEvery error of the HTTP API is \
                    `{\"error\": {\"message\", \"type\", \"param\", \"code\"}}`. Programs compare `code`.\n\n\
                    ## Codes, exit codes and statuses\n\n| code | HTTP status | exit code | meaning |\n|---|---|---|---|\n"
        .to_owned();
    for (_, exit, status, code) in ERROR_KINDS {
        writeln!(page, "| `{code}` | {status} | {exit} | {} |", meaning(code)).expect("a string");
    }
    page.push_str("\nA command that succeeds has the exit code 0.\n\n## Codes of the HTTP API only\n\n");
    page.push_str("| code | HTTP status | meaning |\n|---|---|---|\n");
    for (status, code, meaning) in HTTP_CODES {
        writeln!(page, "| `{code}` | {status} | {meaning} |").expect("a string");
    }
    page.push_str("\n## Plugin faults\n\nA faulty plugin call has one of these codes instead of `plugin_fault`. ");
    page.push_str("The HTTP status is 502 and the exit code is 5.\n\n| code | meaning |\n|---|---|\n");
    for (code, meaning) in FAULT_CODES {
        writeln!(page, "| `{code}` | {meaning} |").expect("a string");
    }
    check("errors.md", &page);
}

/// The codes that the sources of the HTTP API write as literals.
fn codes_in_sources() -> Vec<String> {
    let folder = root().join("host/src/http");
    let mut files = vec![root().join("host/src/http.rs")];
    let mut folders = vec![folder];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).expect("a folder") {
            let path = entry.expect("readable").path();
            if path.is_dir() { folders.push(path) } else { files.push(path) }
        }
    }
    let texts = files.iter().map(|file| std::fs::read_to_string(file).expect("readable"));
    let marks = [".with_code(\"", "code: Some(\"", "let code = Some(\""];
    let found = texts.flat_map(|text| {
        let codes = marks.iter().flat_map(|mark| text.split(mark).skip(1).filter_map(|rest| rest.split('"').next()));
        codes.map(str::to_owned).collect::<Vec<_>>()
    });
    found.collect()
}

#[test]
fn every_code_of_the_http_api_is_on_the_page() {
    let codes = codes_in_sources();
    assert!(codes.len() > 5, "{codes:?}");
    let known = |code: &String| HTTP_CODES.iter().any(|row| row.1 == code);
    let unknown: Vec<&String> = codes.iter().filter(|code| !known(code)).collect();
    assert!(unknown.is_empty(), "codes without a row in tests/cases/reference/errors.rs: {unknown:?}");
}
