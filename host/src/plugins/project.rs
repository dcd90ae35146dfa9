//! Projects of plugin authors: the files of a new project, and how each language builds its component.

mod c;
mod javascript;
mod python;
mod rust;
mod shell;
mod toolchain;
mod wit;

use std::io::Write;
use std::path::{Path, PathBuf};

use firebox_contract::{Error, limits};

use super::manifest::{self, Manifest};
use crate::error::CliError;

/// A language that plugins can be written in.
pub struct Language {
    /// Its name on the command line.
    pub name: &'static str,
    /// The file that the author edits.
    pub source: &'static str,
    /// A file that a project in this language has and no other.
    marker: &'static str,
    /// The files of a new project besides those that every project has.
    files: fn(&NewProject) -> Vec<(String, String)>,
    /// Builds the component of a project.
    build: fn(&Project, &mut dyn Write) -> Result<Vec<u8>, CliError>,
}

/// Every language: one row and one file each.
pub const LANGUAGES: &[Language] = &[rust::LANGUAGE, c::LANGUAGE, javascript::LANGUAGE, python::LANGUAGE];

/// A stage that templates exist for.
pub struct StageTemplate {
    /// Its name.
    pub name: &'static str,
    /// What the plugin of the template does.
    about: &'static str,
    /// The cases of the plugin.
    cases: &'static str,
    /// The source of the plugin in each language that has a template for the stage.
    sources: &'static [(&'static str, &'static str)],
}

macro_rules! template {
    ($name:literal, $about:literal $(, $language:literal: $end:literal)*) => {
        StageTemplate {
            name: $name,
            about: $about,
            cases: include_str!(concat!("../../../plugins/templates/", $name, ".cases.toml")),
            sources: &[$((
                $language,
                include_str!(concat!("../../../plugins/templates/", $language, "/", $name, ".", $end)),
            )),*],
        }
    };
}

/// The stages that templates exist for: one row each.
pub const STAGES: &[StageTemplate] = &[
    template!("prompt", "Refuses prompts with the word password.", "rust": "rs", "c": "c", "js": "js", "python": "py"),
    template!("token", "Never lets a token follow itself.", "rust": "rs", "c": "c", "js": "js", "python": "py"),
    template!("text", "Says everything louder.", "rust": "rs", "c": "c", "js": "js", "python": "py"),
    template!("tool-call", "Refuses calls with paths of the system, and cuts long results.", "rust": "rs", "c": "c", "js": "js", "python": "py"),
    template!("tool", "A tool that turns a text into upper case.", "rust": "rs", "c": "c", "js": "js", "python": "py"),
    template!("embedding", "Says what texts are for, and halves their vectors.", "rust": "rs", "c": "c", "js": "js", "python": "py"),
];

/// A project that is to be made.
pub struct NewProject {
    /// The plugin's name.
    pub name: String,
    /// Its stage, of [`STAGES`].
    pub stage: &'static str,
    /// What the plugin does.
    pub description: &'static str,
    template: &'static StageTemplate,
}

impl NewProject {
    /// A project for the plugin `name` with the stage `stage`.
    ///
    /// # Errors
    /// A `CliError` of usage for a name that is not valid in every language, or an unknown stage.
    pub fn new(name: &str, stage: &str) -> Result<Self, CliError> {
        let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
        let starts = name.chars().next().is_some_and(|first| first.is_ascii_lowercase());
        if !starts || name.ends_with('-') || name.len() > limits::PLUGIN_NAME_BYTES_MAX || !name.chars().all(plain) {
            let shown = manifest::shown(name);
            let max = limits::PLUGIN_NAME_BYTES_MAX;
            return Err(CliError::usage(format!(
                "\"{shown}\" cannot be the name of a plugin; write a letter and then letters, digits or '-', at most {max} \
                 in all, in lower case: for example word-count"
            )));
        }
        let names: Vec<&str> = STAGES.iter().map(|row| row.name).collect();
        let unknown = || {
            let shown = manifest::shown(stage);
            CliError::usage(format!(
                "there is no template for the stage \"{shown}\"; the stages are {}",
                names.join(", ")
            ))
        };
        let template = STAGES.iter().find(|row| row.name == stage).ok_or_else(unknown)?;
        Ok(Self { name: name.to_owned(), stage: template.name, description: template.about, template })
    }

    /// Writes the files of the project in `language` to the new folder `folder`.
    ///
    /// # Errors
    /// A `CliError` of usage if the language has no template for the stage or the folder is not empty, `CliError::File` if a file
    /// cannot be written.
    pub fn write(&self, language: &Language, folder: &Path) -> Result<Vec<String>, CliError> {
        let sources = self.template.sources;
        if !sources.iter().any(|source| source.0 == language.name) {
            let names: Vec<&str> = sources.iter().map(|source| source.0).collect();
            return Err(CliError::usage(format!(
                "there is no template for the stage {} in {}; there is one in {}",
                self.stage,
                language.name,
                names.join(", ")
            )));
        }
        let failed = |path: &Path, source| CliError::File { action: "write", path: path.display().to_string(), source };
        std::fs::create_dir_all(folder).map_err(|error| failed(folder, error))?;
        if std::fs::read_dir(folder).map_err(|error| failed(folder, error))?.next().is_some() {
            let folder = folder.display();
            return Err(CliError::usage(format!("the folder \"{folder}\" is not empty; give a new one with --path")));
        }
        let mut files = self.common(language);
        files.extend((language.files)(self));
        for (name, text) in &files {
            let path = folder.join(name);
            if let Some(above) = path.parent() {
                std::fs::create_dir_all(above).map_err(|error| failed(above, error))?;
            }
            std::fs::write(&path, text).map_err(|error| failed(&path, error))?;
        }
        Ok(files.into_iter().map(|file| file.0).collect())
    }

    /// The files that every project has.
    fn common(&self, language: &Language) -> Vec<(String, String)> {
        let manifest = self.filled(include_str!("../../../plugins/templates/plugin.toml"));
        let limits = if language.name == "python" { PYTHON_LIMITS } else { "" };
        let readme = include_str!("../../../plugins/templates/README.md").replace("{{source}}", language.source);
        vec![
            ("plugin.toml".to_owned(), manifest + limits),
            ("cases.toml".to_owned(), self.template.cases.to_owned()),
            ("README.md".to_owned(), self.filled(&readme)),
            (".gitignore".to_owned(), "*.wasm\ntarget/\n__pycache__/\n".to_owned()),
        ]
    }

    /// The source of the plugin in `language`, empty without a template.
    fn source(&self, language: &str) -> String {
        let source = self.template.sources.iter().find(|source| source.0 == language);
        source.map(|source| self.filled(source.1)).unwrap_or_default()
    }

    /// `text` with the name, the stage and the description of the plugin.
    fn filled(&self, text: &str) -> String {
        text.replace("{{name}}", &self.name)
            .replace("{{stage}}", self.stage)
            .replace("{{description}}", self.description)
    }
}

/// The limits that the Python interpreter needs.
const PYTHON_LIMITS: &str =
    "\n# The Python interpreter has about 20 MiB before it does anything.\n[limits]\nmemory_mib = 64\n";

/// A project that is there.
pub struct Project {
    /// Its folder.
    pub folder: PathBuf,
    /// The plugin's name.
    pub name: String,
    /// The names of the stages that its manifest lists.
    stages: Vec<String>,
    /// Its language.
    pub language: &'static Language,
}

impl Project {
    /// The project in `folder`.
    ///
    /// # Errors
    /// A `CliError` of usage if the folder is no project, `Error::Plugin` for a manifest that is not valid.
    pub fn open(folder: &Path) -> Result<Self, CliError> {
        let path = folder.join(manifest::FILE);
        let shown = folder.display();
        if !path.is_file() {
            return Err(CliError::usage(format!(
                "there is no plugin.toml in the folder \"{shown}\"; make a project with \
                 firebox plugins new NAME --lang rust --stage tool"
            )));
        }
        let manifest = Manifest::read(&path)?;
        let language = LANGUAGES.iter().find(|language| folder.join(language.marker).is_file()).ok_or_else(|| {
            let markers: Vec<String> = LANGUAGES.iter().map(|row| format!("{} ({})", row.marker, row.name)).collect();
            CliError::usage(format!(
                "\"{shown}\" has none of the files {}; its language is unknown",
                markers.join(", ")
            ))
        })?;
        let Manifest { id, stages, .. } = manifest;
        Ok(Self { folder: folder.to_owned(), name: id, stages: stages.unwrap_or_default(), language })
    }

    /// The path of the component: beside the manifest, where `--plugin FOLDER` looks for it.
    #[must_use]
    pub fn component(&self) -> PathBuf {
        self.folder.join(format!("{}.wasm", self.name))
    }

    /// Builds the component and writes it to [`Project::component`]. `notes` gets a line about each slow step.
    ///
    /// # Errors
    /// A `CliError` of usage that names a missing tool and how to install it; `Error::Plugin` if the build fails.
    pub fn build(&self, notes: &mut dyn Write) -> Result<PathBuf, CliError> {
        let component = (self.language.build)(self, notes)?;
        let path = self.component();
        let failed = |source| CliError::File { action: "write", path: path.display().to_string(), source };
        // A running server must never read half of it.
        let fresh = path.with_extension("wasm.new");
        std::fs::write(&fresh, component).map_err(failed)?;
        std::fs::rename(&fresh, &path).map_err(failed)?;
        Ok(path)
    }
}

/// A folder for the files of one build.
fn scratch() -> Result<tempfile::TempDir, CliError> {
    tempfile::tempdir().map_err(|source| CliError::File {
        action: "write",
        path: std::env::temp_dir().display().to_string(),
        source,
    })
}

/// The error of a build that failed.
fn failed(what: impl Into<String>) -> CliError {
    CliError::Host(Error::Plugin(what.into()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_new_project_in_each_language_is_recognized_again() {
        for language in LANGUAGES {
            for template in STAGES {
                let stage = template.name;
                let folder = tempfile::tempdir().expect("a folder");
                let new = NewProject::new("word-count", stage).expect("valid");
                if template.sources.iter().all(|source| source.0 != language.name) {
                    let error = new.write(language, folder.path()).expect_err("no template").to_string();
                    assert!(error.contains("there is one in rust"), "{error}");
                    continue;
                }
                let files = new.write(language, folder.path()).expect("written");
                assert!(files.iter().any(|file| file == language.source), "{files:?}");
                // The source of the SDK is copied as it is.
                for file in files.iter().filter(|file| !file.starts_with("firebox-sdk/src/")) {
                    let text = std::fs::read_to_string(folder.path().join(file)).expect("readable");
                    assert!(!text.contains("{{"), "{file}: {text}");
                }
                let project = Project::open(folder.path()).expect("a project");
                assert_eq!((project.language.name, project.name.as_str()), (language.name, "word-count"));
                assert_eq!(project.stages, [stage]);
                assert!(new.write(language, folder.path()).is_err(), "the folder is not empty");
            }
        }
    }

    #[test]
    fn a_name_that_some_language_cannot_have_is_refused() {
        let long = "x".repeat(65);
        for bad in ["", "a b", "Word", "../x", "-x", "x-", "x_y", "1x", "x\u{1b}", long.as_str()] {
            assert!(NewProject::new(bad, "tool").is_err(), "{bad:?}");
        }
        assert!(NewProject::new("x", "tools").is_err());
        assert!(NewProject::new("word-count2", "tool").is_ok());
    }
}
