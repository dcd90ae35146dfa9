//! The WIT files for a project outside of this repository.

use firebox_contract::limits;

use super::{NewProject, Project};

macro_rules! wit {
    ($($name:literal),* $(,)?) => {
        &[$(($name, include_str!(concat!("../../../../wit/", $name)))),*]
    };
}

/// The files of the package `firebox:plugin`: name and text.
pub(super) const FILES: &[(&str, &str)] = wit!(
    "embedding.wit",
    "kv.wit",
    "metrics.wit",
    "model.wit",
    "prompt.wit",
    "secrets.wit",
    "text.wit",
    "token.wit",
    "tool-call.wit",
    "tool.wit",
    "types.wit",
    "worlds.wit"
);

/// The packages of WASI that plugins can use.
pub(super) const DEPENDENCIES: &[(&str, &str)] = wit!(
    "deps/wasi-clocks-0.2.0/monotonic-clock.wit",
    "deps/wasi-config-0.2.0-draft/runtime.wit",
    "deps/wasi-config-0.2.0-draft/store.wit",
    "deps/wasi-config-0.2.0-draft-2024-09-27/store.wit",
    "deps/wasi-config-0.2.0-rc.1/store.wit",
    "deps/wasi-http-0.2.0/outgoing-handler.wit",
    "deps/wasi-http-0.2.0/types.wit",
    "deps/wasi-io-0.2.0/error.wit",
    "deps/wasi-io-0.2.0/poll.wit",
    "deps/wasi-io-0.2.0/streams.wit",
    "deps/wasi-keyvalue-0.2.0-draft/atomics.wit",
    "deps/wasi-keyvalue-0.2.0-draft/batch.wit",
    "deps/wasi-keyvalue-0.2.0-draft/store.wit",
    "deps/wasi-keyvalue-0.2.0-draft2/atomics.wit",
    "deps/wasi-keyvalue-0.2.0-draft2/batch.wit",
    "deps/wasi-keyvalue-0.2.0-draft2/store.wit",
    "deps/wasi-logging/logging.wit",
    "deps/wasi-logging-0.1.0-draft/logging.wit",
);

/// Version 0.2 of the prompt stage.
pub(super) const NEWER_PROMPT: &str = include_str!("../../../../wit/v0.2/prompt.wit");

/// The folder `wit` of a project whose language reads WIT: the world `plugin`, and the packages that it can use.
pub(super) fn folder(project: &NewProject) -> Vec<(String, String)> {
    let stage = project.stage;
    // The bytes of tokens are of use in this stage only.
    let vocabulary = if stage == "token" { "    import firebox:plugin/vocabulary@0.1.0;\n" } else { "" };
    let world = format!(
        "package plugin:{name};\n\n/// What this plugin uses and offers. Add an export for each further stage.\n\
         world plugin {{\n    import firebox:plugin/log@0.1.0;\n    import firebox:plugin/progress@0.1.0;\n{vocabulary}    \
         export firebox:plugin/lifecycle@0.1.0;\n    export firebox:plugin/{stage}@0.1.0;\n}}\n",
        name = project.name
    );
    let package = FILES.iter().map(|(name, text)| (format!("wit/deps/firebox-plugin/{name}"), (*text).to_owned()));
    let newer = [("wit/deps/firebox-plugin-0.2/prompt.wit".to_owned(), NEWER_PROMPT.to_owned())];
    let wasi = DEPENDENCIES.iter().map(|(name, text)| (format!("wit/{name}"), (*text).to_owned()));
    [("wit/plugin.wit".to_owned(), world)].into_iter().chain(package).chain(newer).chain(wasi).collect()
}

/// Whether the world of `project` imports `wasi:http`.
pub(super) fn imports_http(project: &Project) -> bool {
    let world = project.folder.join("wit/plugin.wit");
    let text = firebox_sandbox::read_file(&world, limits::PLUGIN_MANIFEST_BYTES_MAX).unwrap_or_default();
    let is_import = |line: &str| line.trim_start().starts_with("import wasi:http/");
    String::from_utf8_lossy(&text).lines().any(is_import)
}

#[cfg(test)]
mod tests {
    use super::{DEPENDENCIES, FILES};

    fn entries(folder: &str) -> Vec<String> {
        let folder = format!("{}/wit{folder}", env!("CARGO_MANIFEST_DIR"));
        let entries = std::fs::read_dir(folder).expect("a folder");
        let mut names: Vec<String> =
            entries.map(|entry| entry.expect("readable").file_name().to_string_lossy().into_owned()).collect();
        names.sort();
        names
    }

    #[test]
    fn every_wit_file_is_part_of_the_program() {
        let own = entries("").into_iter().filter(|name| name.ends_with(".wit"));
        assert_eq!(own.collect::<Vec<_>>(), FILES.iter().map(|file| file.0).collect::<Vec<_>>());
        let packages = entries("/deps").into_iter().flat_map(|package| {
            let files = entries(&format!("/deps/{package}"));
            files.into_iter().map(move |file| format!("deps/{package}/{file}"))
        });
        assert_eq!(packages.collect::<Vec<_>>(), DEPENDENCIES.iter().map(|file| file.0).collect::<Vec<_>>());
    }
}
