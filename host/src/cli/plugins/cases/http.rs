//! Answers to the HTTP requests of a plugin while its cases run. Nothing goes to the network.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use axum::http::header::{CONNECTION, CONTENT_LENGTH, TRANSFER_ENCODING};
use axum::http::{HeaderName, HeaderValue, Method};
use firebox_contract::limits;
use firebox_sandbox::{HttpFailure, HttpStandIn, SentRequest, StandInAnswer};
use serde::Deserialize;

use crate::cli::output::line;

/// An expected request, and the answer to it. In patterns `*` stands for any text.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct HttpMock {
    /// The pattern of the method and the address, such as `GET https://example.org/*`.
    request: String,
    /// Headers that the request has, with the patterns of their values.
    #[serde(default)]
    request_headers: BTreeMap<String, String>,
    /// The pattern of its body.
    request_body: Option<String>,
    /// How many such requests come. Without it there may be any number.
    times: Option<usize>,
    status: Option<u16>,
    /// The headers of the answer.
    #[serde(default)]
    headers: BTreeMap<String, String>,
    body: Option<String>,
    /// A file with the body, relative to the file of the cases.
    body_file: Option<PathBuf>,
    /// What happens in place of an answer, of [`FAULTS`].
    fault: Option<String>,
}

/// The names of what can happen in place of an answer.
const FAULTS: &[(&str, HttpFailure)] = &[
    ("dns", HttpFailure::UnknownHost),
    ("refused", HttpFailure::Refused),
    ("certificate", HttpFailure::Certificate),
    ("timeout", HttpFailure::Timeout),
    ("cut", HttpFailure::Cut),
];

impl HttpMock {
    /// # Errors
    /// What is wrong with it, as a whole sentence.
    pub(super) fn check(&self) -> Result<(), String> {
        let shown = line(&self.request, limits::CHAT_SHOWN_CHARACTERS_MAX);
        let wrong = |why: &str| Err(format!("[[mock.http]] with the request \"{shown}\": {why}"));
        let method = self.request.split_once(' ').map(|parts| parts.0).unwrap_or_default();
        if method != "*" && (Method::from_bytes(method.as_bytes()).is_err() || method != method.to_ascii_uppercase()) {
            return wrong("write the method and the address, such as \"GET https://example.org/*\"");
        }
        if let Some(fault) = &self.fault {
            let names: Vec<&str> = FAULTS.iter().map(|row| row.0).collect();
            if !names.contains(&fault.as_str()) {
                return wrong(&format!("there is no fault \"{}\"; use one of: {}", line(fault, 64), names.join(", ")));
            }
            if self.status.is_some() || self.body.is_some() || self.body_file.is_some() || !self.headers.is_empty() {
                return wrong("it has both an answer and a fault; write one of them");
            }
        }
        if self.status.is_some_and(|status| !(200..600).contains(&status)) {
            return wrong("the status of an answer is from 200 to 599");
        }
        if self.body.is_some() && self.body_file.is_some() {
            return wrong("it has both body and body_file; write one of them");
        }
        for (name, value) in &self.headers {
            let valid = HeaderName::from_bytes(name.as_bytes()).ok().zip(HeaderValue::from_str(value).ok());
            let name = line(name, 64);
            match valid {
                None => return wrong(&format!("\"{name}\" is no header, or its value cannot be sent")),
                Some((name, _)) if [CONNECTION, CONTENT_LENGTH, TRANSFER_ENCODING].contains(&name) => {
                    return wrong(&format!("leave out \"{name}\", which is written for you"));
                }
                Some(_) => {}
            }
        }
        Ok(())
    }

    fn expects(&self, request: &SentRequest<'_>) -> bool {
        let fits_value = |name: &String, pattern: &String| {
            let name = name.to_ascii_lowercase();
            request.headers.iter().any(|(own, value)| *own == name && fits(pattern, &String::from_utf8_lossy(value)))
        };
        fits(&self.request, &described(request))
            && self.request_headers.iter().all(|(name, pattern)| fits_value(name, pattern))
            && self.request_body.as_ref().is_none_or(|pattern| fits(pattern, &String::from_utf8_lossy(request.body)))
    }

    fn answer(&self, body: &[u8]) -> StandInAnswer {
        let fault = FAULTS.iter().find(|row| self.fault.as_deref() == Some(row.0));
        if let Some((_, failure)) = fault {
            return StandInAnswer::Failure(*failure);
        }
        let headers = self.headers.iter().map(|(name, value)| (name.clone(), value.clone())).collect();
        StandInAnswer::Response { status: self.status.unwrap_or(200), headers, body: body.to_vec() }
    }
}

/// The method and the address.
fn described(request: &SentRequest<'_>) -> String {
    format!("{} {}", request.method, request.url)
}

/// Whether `text` has the form of `pattern`, in which `*` stands for any text.
fn fits(pattern: &str, text: &str) -> bool {
    let Some((first, rest)) = pattern.split_once('*') else { return pattern == text };
    let Some(mut text) = text.strip_prefix(first) else { return false };
    let mut parts = rest.split('*');
    let last = parts.next_back().unwrap_or_default();
    for part in parts {
        let Some((_, after)) = text.split_once(part) else { return false };
        text = after;
    }
    text.ends_with(last)
}

/// What stands in for the network during one case.
#[derive(Debug)]
pub(super) struct StandIn {
    rows: Vec<MockRow>,
    seen: Mutex<SeenRequests>,
}

#[derive(Debug)]
struct MockRow {
    mock: HttpMock,
    body: Vec<u8>,
}

#[derive(Debug, Default)]
struct SeenRequests {
    /// How many requests each row answered.
    counts: Vec<usize>,
    /// The first request that no row expects.
    unexpected: Option<String>,
}

impl StandIn {
    /// Answers with `mocks`, whose files are relative to `base`.
    ///
    /// # Errors
    /// Why a file cannot be read.
    pub(super) fn new(mocks: &[HttpMock], base: &Path) -> Result<Self, String> {
        let row = |mock: &HttpMock| {
            let body = match (&mock.body, &mock.body_file) {
                (Some(text), _) => text.clone().into_bytes(),
                (None, None) => Vec::new(),
                (None, Some(path)) => {
                    let path = base.join(path);
                    firebox_sandbox::read_file(&path, limits::HTTP_RESPONSE_BODY_BYTES_MAX).map_err(|error| {
                        format!("the file \"{}\" of [[mock.http]] cannot be read: {error}", path.display())
                    })?
                }
            };
            Ok(MockRow { mock: mock.clone(), body })
        };
        let rows = mocks.iter().map(row).collect::<Result<Vec<MockRow>, String>>()?;
        let seen = SeenRequests { counts: vec![0; rows.len()], unexpected: None };
        Ok(Self { rows, seen: Mutex::new(seen) })
    }

    fn seen(&self) -> MutexGuard<'_, SeenRequests> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What differs between the requests that were expected and those that came.
    pub(super) fn difference(&self) -> Option<String> {
        let seen = self.seen();
        if let Some(request) = &seen.unexpected {
            return Some(format!("a request that no [[mock.http]] expects: {request}"));
        }
        let missed =
            self.rows.iter().zip(&seen.counts).find(|(row, count)| row.mock.times.is_some_and(|n| n != **count));
        missed.map(|(row, count)| {
            let (request, times) = (&row.mock.request, row.mock.times.unwrap_or_default());
            format!("the request \"{request}\" {count} times; [[mock.http]] expects it {times} times")
        })
    }
}

impl HttpStandIn for StandIn {
    /// The answer of the first row that expects the request and has not answered often enough.
    fn answer(&self, request: &SentRequest<'_>) -> StandInAnswer {
        let mut seen = self.seen();
        for (row, count) in self.rows.iter().zip(&mut seen.counts) {
            if row.mock.times.is_none_or(|times| *count < times) && row.mock.expects(request) {
                *count += 1;
                return row.mock.answer(&row.body);
            }
        }
        seen.unexpected.get_or_insert_with(|| described(request));
        StandInAnswer::Failure(HttpFailure::Refused)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_star_stands_for_any_text() {
        for (pattern, text, expected) in [
            ("GET https://a.org/", "GET https://a.org/", true),
            ("GET https://a.org/", "GET https://a.org/b", false),
            ("GET https://a.org/*", "GET https://a.org/b?c", true),
            ("*", "", true),
            ("a*b*c", "aXbXc", true),
            ("a*b*c", "abc", true),
            ("a*b*c", "ac", false),
            ("*ab", "aab", true),
            ("ab*ba", "aba", false),
            ("*a*", "bab", true),
            ("", "", true),
            ("", "x", false),
        ] {
            assert_eq!(fits(pattern, text), expected, "{pattern} {text}");
        }
    }

    fn mocks(text: &str) -> Vec<HttpMock> {
        #[derive(Deserialize)]
        struct MockFile {
            http: Vec<HttpMock>,
        }
        toml::from_str::<MockFile>(text).expect("TOML").http
    }

    fn request<'a>(method: &'a str, url: &str, body: &'a [u8]) -> SentRequest<'a> {
        SentRequest { method, url: url.to_owned(), headers: vec![("accept", &b"text/html"[..])], body }
    }

    #[test]
    fn the_first_row_that_expects_a_request_answers_until_its_number_is_used_up() {
        let text = "[[http]]\nrequest = \"GET https://a.org/*\"\nstatus = 503\ntimes = 1\n\
                    [[http]]\nrequest = \"GET https://a.org/*\"\nrequest_headers = { Accept = \"*html\" }\nbody = \"hi\"\n\
                    [[http]]\nrequest = \"POST https://a.org/\"\nrequest_body = \"*x*\"\nfault = \"timeout\"\ntimes = 2\n";
        let stand_in = StandIn::new(&mocks(text), Path::new("")).expect("a stand-in");
        let status = |answer: StandInAnswer| match answer {
            StandInAnswer::Response { status, body, .. } => format!("{status} {}", String::from_utf8_lossy(&body)),
            StandInAnswer::Failure(failure) => format!("{failure:?}"),
        };
        let get = || status(stand_in.answer(&request("GET", "https://a.org/1", b"")));
        assert_eq!([get(), get(), get()], ["503 ", "200 hi", "200 hi"]);
        assert_eq!(status(stand_in.answer(&request("POST", "https://a.org/", b"axb"))), "Timeout");
        let missed = stand_in.difference().expect("a difference");
        assert!(missed.contains("\"POST https://a.org/\" 1 times") && missed.contains("expects it 2"), "{missed}");
        assert_eq!(status(stand_in.answer(&request("POST", "https://a.org/", b"x"))), "Timeout");
        assert_eq!(stand_in.difference(), None);
        assert_eq!(status(stand_in.answer(&request("POST", "https://a.org/", b"x"))), "Refused");
        assert!(stand_in.difference().expect("a difference").contains("expects: POST https://a.org/"));
    }

    #[test]
    fn a_row_that_cannot_answer_is_refused_with_the_reason() {
        for (text, word) in [
            ("request = \"https://a.org/\"", "write the method"),
            ("request = \"get https://a.org/\"", "write the method"),
            ("request = \"GET https://a.org/\"\nfault = \"slow\"", "use one of: dns, refused"),
            ("request = \"GET https://a.org/\"\nfault = \"cut\"\nstatus = 200", "both an answer and a fault"),
            ("request = \"GET https://a.org/\"\nstatus = 101", "from 200 to 599"),
            ("request = \"GET https://a.org/\"\nbody = \"\"\nbody_file = \"x\"", "both body and body_file"),
            ("request = \"GET https://a.org/\"\nheaders = { \"a b\" = \"\" }", "is no header"),
            ("request = \"GET https://a.org/\"\nheaders = { a = \"x\\r\\ny: z\" }", "is no header"),
            ("request = \"GET https://a.org/\"\nheaders = { Content-Length = \"3\" }", "written for you"),
        ] {
            let error = mocks(&format!("[[http]]\n{text}\n"))[0].check().expect_err(word);
            assert!(error.contains(word), "{error} should contain {word}");
        }
        let gone = mocks("[[http]]\nrequest = \"GET https://a.org/\"\nbody_file = \"nowhere\"\n");
        assert!(StandIn::new(&gone, Path::new("")).expect_err("no file").contains("nowhere"));
    }
}
