//! Which hub, with which token, into which folder: the variables that Hugging Face's own tools read.

use std::ffi::OsString;
use std::fmt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use firebox_contract::limits;
use reqwest::Url;

use crate::error::{HubError, shown};

/// The hub if no variable names one.
const ENDPOINT: &str = "https://huggingface.co";

/// A secret that is sent to the hub and to no other host. Its text is never printed.
#[derive(Clone, PartialEq, Eq)]
pub struct Token(String);

impl Token {
    /// The text of the token.
    pub(crate) fn secret(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Token(hidden)")
    }
}

/// How often and when a request that failed is sent again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RetryPolicy {
    /// Attempts that bring nothing.
    pub attempts: u32,
    /// The wait before the second attempt; each further wait is twice as long.
    pub first_wait: Duration,
    /// Time without a byte after which a connection counts as broken.
    pub idle: Duration,
    /// Time over which [`limits::HUB_SPEED_BYTES_MIN`] must arrive.
    pub speed_window: Duration,
}

impl Default for RetryPolicy {
    fn default() -> Self {
        Self {
            attempts: limits::HUB_ATTEMPTS_MAX,
            first_wait: limits::HUB_BACKOFF_MIN,
            idle: limits::HUB_READ_TIMEOUT,
            speed_window: limits::HUB_SPEED_WINDOW,
        }
    }
}

/// The hub, and the folder into which it is downloaded.
#[derive(Debug, Clone)]
pub struct HubSettings {
    /// Address of the hub, without a slash at the end.
    pub endpoint: String,
    /// The token.
    pub token: Option<Token>,
    /// The folder of the cache.
    pub cache: PathBuf,
    /// Whether nothing is downloaded.
    pub offline: bool,
    /// How often and when a request that failed is sent again.
    pub retry: RetryPolicy,
}

/// A value of the environment, by its name.
type Variable<'a> = &'a dyn Fn(&str) -> Option<OsString>;

impl HubSettings {
    /// Reads `HF_ENDPOINT`, `HF_TOKEN` (or the file `HF_TOKEN_PATH`), `HF_HUB_CACHE`, `HF_HOME` and `HF_HUB_OFFLINE`, with the
    /// defaults of Hugging Face's tools.
    ///
    /// # Errors
    /// `HubError::Name` for a value that is not valid, or if no folder for the cache is known.
    pub fn of_environment(variable: Variable<'_>) -> Result<Self, HubError> {
        let text = |name: &str| variable(name).filter(|value| !value.is_empty());
        let home = text("HF_HOME").map(PathBuf::from).or_else(|| default_home(&text));
        let cache = text("HF_HUB_CACHE").or_else(|| text("HUGGINGFACE_HUB_CACHE")).map(PathBuf::from);
        let cache = cache.or_else(|| Some(home.as_ref()?.join("hub"))).ok_or_else(|| {
            HubError::Name("no folder for the model cache is known; set HF_HUB_CACHE or HOME".to_owned())
        })?;
        let endpoint = match text("HF_ENDPOINT") {
            None => ENDPOINT.to_owned(),
            Some(value) => check_endpoint(value.to_str().unwrap_or_default())?,
        };
        let file = text("HF_TOKEN_PATH").map(PathBuf::from).or_else(|| Some(home?.join("token")));
        let token = match text("HF_TOKEN").or_else(|| text("HUGGING_FACE_HUB_TOKEN")) {
            Some(value) => Some(value.into_string().map_err(|_| token_error("HF_TOKEN"))?),
            None if is_true(variable("HF_HUB_DISABLE_IMPLICIT_TOKEN")) => None,
            None => file.as_deref().map(read_token).transpose()?.flatten(),
        };
        let token = token.map(|text| check_token(&text)).transpose()?.flatten();
        let offline = is_true(variable("HF_HUB_OFFLINE"));
        Ok(Self { endpoint, token, cache, offline, retry: RetryPolicy::default() })
    }
}

fn default_home(text: &dyn Fn(&str) -> Option<OsString>) -> Option<PathBuf> {
    let below = |name: &str, path: &str| text(name).map(|base| PathBuf::from(base).join(path));
    below("XDG_CACHE_HOME", "huggingface")
        .or_else(|| below("HOME", ".cache/huggingface"))
        .or_else(|| below("USERPROFILE", ".cache/huggingface"))
}

fn is_true(value: Option<OsString>) -> bool {
    let value = value.and_then(|value| value.into_string().ok()).unwrap_or_default().to_ascii_uppercase();
    ["1", "ON", "YES", "TRUE"].contains(&value.as_str())
}

/// The address of a hub, without a slash at the end.
///
/// # Errors
/// `HubError::Name` for anything but `http://` or `https://`, a host and a path.
pub(crate) fn check_endpoint(text: &str) -> Result<String, HubError> {
    let wrong = || HubError::Name(format!("\"{}\" is not the address of a hub; write {ENDPOINT}", shown(text)));
    let url = Url::parse(text).map_err(|_| wrong())?;
    let is_plain = matches!(url.scheme(), "http" | "https")
        && url.has_host()
        && url.username().is_empty()
        && url.password().is_none()
        && url.query().is_none()
        && url.fragment().is_none();
    if is_plain { Ok(url.as_str().trim_end_matches('/').to_owned()) } else { Err(wrong()) }
}

/// The content of the token's file; `None` if there is none.
fn read_token(path: &Path) -> Result<Option<String>, HubError> {
    match std::fs::read(path) {
        Ok(bytes) => Ok(Some(String::from_utf8(bytes).map_err(|_| token_error(&path.display().to_string()))?)),
        Err(error) if matches!(error.kind(), std::io::ErrorKind::NotFound | std::io::ErrorKind::NotADirectory) => {
            Ok(None)
        }
        Err(error) => Err(HubError::file("read the token", path, error)),
    }
}

/// A token that can be sent in a header; `None` for an empty one.
fn check_token(text: &str) -> Result<Option<Token>, HubError> {
    let text = text.trim();
    if text.len() > limits::HUB_TOKEN_BYTES_MAX || !text.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Err(token_error("HF_TOKEN"));
    }
    Ok(Some(Token(text.to_owned())).filter(|token| !token.0.is_empty()))
}

/// The message never has the token's text.
fn token_error(source: &str) -> HubError {
    let max = limits::HUB_TOKEN_BYTES_MAX;
    HubError::Name(format!("the token of \"{source}\" is not one: it has at most {max} letters, digits and signs"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(variables: &[(&str, &str)]) -> Result<HubSettings, HubError> {
        HubSettings::of_environment(&|name| variables.iter().find(|row| row.0 == name).map(|row| row.1.into()))
    }

    #[test]
    fn folders_are_those_of_hugging_faces_tools() {
        let rows: &[(&[(&str, &str)], &str)] = &[
            (&[("HOME", "/u")], "/u/.cache/huggingface/hub"),
            (&[("HOME", "/u"), ("XDG_CACHE_HOME", "/c")], "/c/huggingface/hub"),
            (&[("HOME", "/u"), ("HF_HOME", "/h")], "/h/hub"),
            (&[("HF_HOME", "/h"), ("HF_HUB_CACHE", "/k")], "/k"),
            (&[("HOME", "/u"), ("HF_HUB_CACHE", "")], "/u/.cache/huggingface/hub"),
        ];
        for (variables, expected) in rows {
            assert_eq!(read(variables).expect("valid").cache, Path::new(expected), "{variables:?}");
        }
        assert!(read(&[]).expect_err("no folder").to_string().contains("HF_HUB_CACHE"));
    }

    #[test]
    fn endpoints_are_checked() {
        let endpoint = |text| read(&[("HOME", "/u"), ("HF_ENDPOINT", text)]).map(|settings| settings.endpoint);
        assert_eq!(endpoint("").expect("the default"), "https://huggingface.co");
        assert_eq!(endpoint("http://127.0.0.1:80/hf/").expect("valid"), "http://127.0.0.1/hf");
        for odd in ["hub", "ftp://h", "https://u:p@h", "https://h/?a=1", "https://h/#a", "file:///etc"] {
            assert!(endpoint(odd).expect_err(odd).to_string().contains("is not the address"), "{odd}");
        }
    }

    #[test]
    fn tokens_come_from_a_variable_or_a_file_and_are_not_shown() {
        let folder = tempfile::tempdir().expect("a folder");
        let home = folder.path().to_str().expect("UTF-8");
        let secret =
            |variables: &[(&str, &str)]| read(variables).expect("valid").token.map(|token| token.secret().to_owned());
        assert_eq!(secret(&[("HF_HOME", home)]), None);
        std::fs::write(folder.path().join("token"), "hf_file\n").expect("writable");
        assert_eq!(secret(&[("HF_HOME", home)]).as_deref(), Some("hf_file"));
        assert_eq!(secret(&[("HF_HOME", home), ("HF_TOKEN", " hf_var ")]).as_deref(), Some("hf_var"));
        assert_eq!(secret(&[("HF_HOME", home), ("HF_HUB_DISABLE_IMPLICIT_TOKEN", "1")]), None);
        let settings = read(&[("HF_HOME", home)]).expect("valid");
        assert!(!format!("{settings:?}").contains("hf_file"));
        let odd = read(&[("HF_HOME", home), ("HF_TOKEN", "hf_a\r\nx: y")]).expect_err("no header").to_string();
        assert!(odd.contains("HF_TOKEN") && !odd.contains("hf_a"), "{odd}");
    }

    #[test]
    fn the_offline_switch_has_the_values_of_hugging_faces_tools() {
        let offline = |value| read(&[("HOME", "/u"), ("HF_HUB_OFFLINE", value)]).expect("valid").offline;
        assert!(["1", "on", "Yes", "TRUE"].into_iter().all(offline));
        assert!(!["", "0", "off", "no"].into_iter().any(offline));
    }
}
