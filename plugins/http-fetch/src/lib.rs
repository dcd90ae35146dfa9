//! A tool for the model that reads a page as text. The host checks every request against its grants, also those that a
//! redirect leads to.

mod html;
#[cfg(target_arch = "wasm32")]
mod request;
mod url;

use firebox_sdk::{Arguments, Definition, Effects, Outcome, Plugin, Tool};

use self::url::Url;

const SCHEMA: &str = r#"{"type":"object","properties":{"url":{"type":"string","description":"The address, such as https://example.org/page."}},"required":["url"],"additionalProperties":false}"#;
/// Bytes of text for the model by default, and at most.
const TEXT_BYTES_DEFAULT: usize = 32 << 10;
const TEXT_BYTES_MAX: usize = 256 << 10;
/// Bytes of a page that are read at most; the rest is not.
#[cfg(target_arch = "wasm32")]
const PAGE_BYTES_MAX: usize = 1 << 20;
/// Redirects of one call.
const REDIRECTS_MAX: usize = 5;

/// The answer to one request.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
struct Page {
    status: u16,
    /// The values of these headers, if there are any.
    content_type: String,
    location: Option<String>,
    body: Vec<u8>,
    /// Whether the page goes on after `body`.
    is_cut: bool,
}

/// Sends a request for a page.
type Get = fn(&Url) -> Result<Page, String>;

struct HttpFetch {
    text_bytes: usize,
}

impl Plugin for HttpFetch {
    const DESCRIPTION: &'static str = "A tool for the model that reads a page of a granted host as text.";

    fn init(config_json: &str) -> Result<Self, String> {
        let config = Arguments::parse_config(config_json)?;
        config.only(&["max_bytes"])?;
        let wrong = || format!("configuration key \"max_bytes\" must be a number from 1 to {TEXT_BYTES_MAX}");
        let text_bytes = match config.get("max_bytes") {
            None => TEXT_BYTES_DEFAULT,
            Some(number) => number.parse().map_err(|_| wrong())?,
        };
        if (1..=TEXT_BYTES_MAX).contains(&text_bytes) { Ok(Self { text_bytes }) } else { Err(wrong()) }
    }
}

impl Tool for HttpFetch {
    fn definitions(&self) -> Vec<Definition> {
        let description = "Reads a web page as text. Only hosts that the operator granted can be read.";
        let effects = Effects::READ_ONLY | Effects::OPEN_WORLD;
        vec![Definition { effects, ..Definition::pure("fetch", description, SCHEMA) }]
    }

    fn call(&mut self, name: &str, arguments_json: &str) -> Outcome {
        if name != "fetch" {
            return Outcome::unknown_tool(name);
        }
        let url = Arguments::parse(arguments_json).and_then(|given| given.text("url"));
        Outcome::from(url.and_then(|url| fetch(&url, self.text_bytes, GET)))
    }
}

#[cfg(target_arch = "wasm32")]
const GET: Get = request::get;
#[cfg(not(target_arch = "wasm32"))]
const GET: Get = |_| Err("works in WebAssembly only".to_owned());

/// The text of the page at `url`, at most `text_bytes` bytes of it.
fn fetch(url: &str, text_bytes: usize, get: Get) -> Result<String, String> {
    let mut url = Url::parse(url.trim())?;
    for _ in 0..=REDIRECTS_MAX {
        let page = get(&url)?;
        match &page.location {
            Some(location) if matches!(page.status, 301 | 302 | 303 | 307 | 308) => url = url.join(location)?,
            _ => return shown(&page, text_bytes),
        }
    }
    Err(format!("the page redirects more than {REDIRECTS_MAX} times"))
}

/// The page as text, with its status if that is not a success.
fn shown(page: &Page, text_bytes: usize) -> Result<String, String> {
    let kind = page.content_type.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    let is_text = kind.is_empty()
        || kind.starts_with("text/")
        || ["json", "xml", "javascript", "yaml"].iter().any(|part| kind.ends_with(part));
    if !is_text {
        return Err(format!("the page is not text but \"{}\"", kind.chars().take(80).collect::<String>()));
    }
    let text = String::from_utf8_lossy(&page.body);
    let text = if kind.ends_with("html") { html::text(&text) } else { text.into_owned() };
    let mut text: String = text.chars().filter(|c| !c.is_control() || matches!(c, '\n' | '\t')).collect();
    let is_cut = page.is_cut || text.len() > text_bytes;
    let end = (0..=text_bytes.min(text.len())).rev().find(|end| text.is_char_boundary(*end)).unwrap_or(0);
    text.truncate(end);
    if is_cut {
        text.push_str("\n[the page goes on]");
    }
    match page.status {
        200..=299 => Ok(text),
        status => Err(format!("the server answered with status {status}: {text}")),
    }
}

firebox_sdk::plugin!(HttpFetch: tool);

#[cfg(test)]
mod tests;
