//! The WIT files for a project outside of this repository.

use super::NewProject;

macro_rules! wit {
    ($($name:literal),*) => {
        /// The files of the package `firebox:plugin`: name and text.
        pub(super) const FILES: &[(&str, &str)] =
            &[$(($name, include_str!(concat!("../../../../wit/", $name)))),*];
    };
}

wit!(
    "embedding.wit",
    "kv.wit",
    "prompt.wit",
    "text.wit",
    "token.wit",
    "tool-call.wit",
    "tool.wit",
    "types.wit",
    "worlds.wit"
);

/// The folder `wit` of a project whose language reads WIT: the world `plugin`, and the package that it uses.
pub(super) fn folder(project: &NewProject) -> Vec<(String, String)> {
    let stage = project.stage;
    let world = format!(
        "package plugin:{name};\n\n/// What this plugin uses and offers. Add an export for each further stage.\n\
         world plugin {{\n    import firebox:plugin/log@0.1.0;\n    import firebox:plugin/progress@0.1.0;\n    \
         export firebox:plugin/lifecycle@0.1.0;\n    export firebox:plugin/{stage}@0.1.0;\n}}\n",
        name = project.name
    );
    let package = FILES.iter().map(|(name, text)| (format!("wit/deps/firebox-plugin/{name}"), (*text).to_owned()));
    [("wit/plugin.wit".to_owned(), world)].into_iter().chain(package).collect()
}

#[cfg(test)]
mod tests {
    use super::FILES;

    #[test]
    fn every_wit_file_is_part_of_the_program() {
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/wit");
        let mut names: Vec<String> = std::fs::read_dir(folder)
            .expect("a folder")
            .map(|entry| entry.expect("readable").file_name().to_string_lossy().into_owned())
            .filter(|name| name.ends_with(".wit"))
            .collect();
        names.sort();
        assert_eq!(FILES.iter().map(|file| file.0).collect::<Vec<_>>(), names);
    }
}
