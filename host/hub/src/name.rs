//! Names of models on a hub: `org/name`, with a revision after `@` and a choice of files after `:`.

use std::fmt;
use std::str::FromStr;

use firebox_contract::limits;

use crate::error::{HubError, shown};

/// A model's repository: `org/name`. Repositories of the first years have no organisation; they are read in the cache only.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RepoName(String);

impl RepoName {
    /// The name of its folder in the cache.
    #[must_use]
    pub fn folder(&self) -> String {
        format!("models--{}", self.0.replace('/', "--"))
    }

    /// The repository whose folder in the cache is `folder`.
    #[must_use]
    pub fn of_folder(folder: &str) -> Option<Self> {
        let parts: Vec<&str> = folder.strip_prefix("models--")?.split("--").collect();
        let is_name = (1..=2).contains(&parts.len()) && parts.iter().all(|part| is_part(part));
        is_name.then(|| Self(parts.join("/")))
    }

    /// `org/name`.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for RepoName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Which files of a repository are the model.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Choice {
    /// The first of [`crate::QUANTS`] among its GGUF files; the safetensors folder if there are none.
    Best,
    /// The GGUF file at this path, with the other parts of a split model.
    File(String),
    /// The GGUF file of this quantization, in upper case.
    Quant(String),
    /// The safetensors folder.
    Safetensors,
}

/// `org/name[@revision][:choice]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ModelName {
    /// The repository.
    pub repo: RepoName,
    /// A branch, a tag or a commit; `main` if there is none.
    pub revision: Option<String>,
    /// The files.
    pub choice: Choice,
}

/// The revision of names without one.
const MAIN: &str = "main";

impl ModelName {
    /// The revision, or `main`.
    #[must_use]
    pub fn revision(&self) -> &str {
        self.revision.as_deref().unwrap_or(MAIN)
    }
}

impl FromStr for ModelName {
    type Err = HubError;

    fn from_str(text: &str) -> Result<Self, HubError> {
        let wrong =
            |why: &str| HubError::Name(format!("\"{}\" is not the name of a model on a hub: {why}", shown(text)));
        let (left, choice) = text.split_once(':').map_or((text, None), |(left, choice)| (left, Some(choice)));
        let (repo, revision) = left.split_once('@').map_or((left, None), |(repo, revision)| (repo, Some(revision)));
        let parts: Vec<&str> = repo.split('/').collect();
        if parts.len() != 2 || !parts.iter().all(|part| is_part(part)) {
            return Err(wrong("write org/name, org/name:Q4_K_M, org/name:file.gguf or org/name@revision"));
        }
        if revision.is_some_and(|revision| !is_revision(revision)) {
            return Err(wrong("a revision has letters, digits and - _ . / only"));
        }
        let choice = match choice {
            None => Choice::Best,
            Some(choice) => read_choice(choice).ok_or_else(|| {
                wrong("after the colon comes a quantization such as Q8_0, the path of a .gguf file, or safetensors")
            })?,
        };
        Ok(Self { repo: RepoName(repo.to_owned()), revision: revision.map(str::to_owned), choice })
    }
}

impl fmt::Display for ModelName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.repo)?;
        if let Some(revision) = &self.revision {
            write!(f, "@{revision}")?;
        }
        match &self.choice {
            Choice::Best => Ok(()),
            Choice::File(name) | Choice::Quant(name) => write!(f, ":{name}"),
            Choice::Safetensors => f.write_str(":safetensors"),
        }
    }
}

fn read_choice(text: &str) -> Option<Choice> {
    let lower = text.to_ascii_lowercase();
    if lower == "latest" {
        return Some(Choice::Best);
    }
    if lower == "safetensors" {
        return Some(Choice::Safetensors);
    }
    if lower.ends_with(".gguf") {
        return is_file_path(text).then(|| Choice::File(text.to_owned()));
    }
    let fits = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-');
    let is_label = !text.is_empty() && text.len() <= limits::HUB_NAME_BYTES_MAX && text.bytes().all(fits);
    is_label.then(|| Choice::Quant(text.to_ascii_uppercase()))
}

/// The rule of Hugging Face for an organisation and for the name of a repository.
fn is_part(part: &str) -> bool {
    let fits = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
    let ends = ['-', '.'];
    (1..=limits::HUB_NAME_BYTES_MAX).contains(&part.len())
        && part.bytes().all(fits)
        && !part.starts_with(ends)
        && !part.ends_with(ends)
        && !part.contains("--")
        && !part.contains("..")
}

/// Whether `text` can be a branch, a tag or a commit, and the path of a file below `refs`.
pub(crate) fn is_revision(text: &str) -> bool {
    let fits = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.' | b'/');
    text.len() <= limits::HUB_REVISION_BYTES_MAX && text.bytes().all(fits) && text.split('/').all(is_segment)
}

/// Whether `text` can be a commit or an entity tag, and with that the name of a file or a folder.
pub(crate) fn is_id(text: &str) -> bool {
    let fits = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
    (1..=limits::HUB_NAME_BYTES_MAX).contains(&text.len()) && text.bytes().all(fits) && is_segment(text)
}

/// Whether `text` is a relative path below its folder that every file system can hold.
pub(crate) fn is_file_path(text: &str) -> bool {
    let fits = |c: char| !c.is_control() && !matches!(c, '\\' | ':' | '*' | '?' | '"' | '<' | '>' | '|');
    text.len() <= limits::HUB_PATH_BYTES_MAX && text.chars().all(fits) && text.split('/').all(is_segment)
}

fn is_segment(segment: &str) -> bool {
    const SEGMENT_BYTES_MAX: usize = 255;
    !segment.is_empty()
        && segment.len() <= SEGMENT_BYTES_MAX
        && !segment.starts_with("..")
        && !segment.ends_with(['.', ' '])
        && segment != "."
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(text: &str) -> ModelName {
        text.parse().unwrap_or_else(|error| panic!("{text}: {error}"))
    }

    #[test]
    fn names_are_read_with_revision_and_choice() {
        let rows = [
            ("org/name", None, Choice::Best),
            ("org/name:latest", None, Choice::Best),
            ("org/name:q8_0", None, Choice::Quant("Q8_0".to_owned())),
            ("org/name:UD-Q4_K_XL", None, Choice::Quant("UD-Q4_K_XL".to_owned())),
            ("org/name@v1.0:safetensors", Some("v1.0"), Choice::Safetensors),
            ("org/name@refs/pr/3", Some("refs/pr/3"), Choice::Best),
            (
                "o-r.g/n_a.m-e:sub/file-00001-of-00002.gguf",
                None,
                Choice::File("sub/file-00001-of-00002.gguf".to_owned()),
            ),
        ];
        for (text, revision, choice) in rows {
            let read = name(text);
            assert_eq!((read.revision.as_deref(), &read.choice), (revision, &choice), "{text}");
            assert_eq!(read.revision(), revision.unwrap_or("main"));
            assert_eq!(name(&read.to_string()), read, "{text} is written as it is read");
        }
    }

    #[test]
    fn odd_names_are_refused() {
        for text in [
            "",
            "name",
            "/",
            "a/",
            "/b",
            "a/b/c",
            "../b",
            "a/..",
            "a/.b",
            "a/b-",
            "-a/b",
            "a--b/c",
            "a/b:",
            "a/b@",
            "a/b@:Q8_0",
            "a/b@..",
            "a/b@x/../y",
            "a/b@/x",
            "a/b@x//y",
            "a/b@x y",
            "a/b:../x.gguf",
            "a/b:/x.gguf",
            "a/b:x/../y.gguf",
            "a/b:c\\d.gguf",
            "a/b:Q8_0\n",
            "a\n/b",
            "a/b:%2e%2e",
            "é/b",
            "https://huggingface.co/a/b",
            "C:\\a/b",
        ] {
            let refused = text.parse::<ModelName>().expect_err(text).to_string();
            assert!(!refused.contains('\n'), "{refused}");
        }
        assert!(format!("{}/b", "a".repeat(97)).parse::<ModelName>().is_err());
    }

    #[test]
    fn folders_of_the_cache_are_names() {
        assert_eq!(name("org/na-me").repo.folder(), "models--org--na-me");
        let read = |folder: &str| RepoName::of_folder(folder).map(|repo| repo.to_string());
        assert_eq!(read("models--org--na-me").as_deref(), Some("org/na-me"));
        assert_eq!(read("models--gpt2").as_deref(), Some("gpt2"));
        for odd in ["datasets--a--b", "models--", "models--a--b--c", "models--..--b", ".locks"] {
            assert_eq!(read(odd), None, "{odd}");
        }
    }

    #[test]
    fn paths_and_ids_stay_inside_their_folder() {
        assert!(
            is_file_path("1_Pooling/config.json")
                && is_file_path("chat template.jinja")
                && is_file_path(".gitattributes")
        );
        for odd in
            ["", "/a", "a/", "a//b", "../a", "a/../b", "a/./b", "a\\b", "a:b", "a\u{0}", "a\n", "a.", "...", "..a"]
        {
            assert!(!is_file_path(odd), "{odd:?}");
        }
        assert!(is_id("0123456789abcdef") && !is_id("") && !is_id("..") && !is_id("a/b") && !is_id(&"a".repeat(97)));
    }
}
