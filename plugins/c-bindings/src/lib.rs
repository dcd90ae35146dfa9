//! What a plugin in C needs besides its source, for each stage: a header and its implementation, and a shell.
//!
//! A shell is a component around an empty core module with the imports and exports of the stage. `firebox plugins build`
//! puts the compiled C code in the place of that module, so that an author of C needs no WebAssembly tools.

use std::error::Error;
use std::path::{Path, PathBuf};

use wit_bindgen_core::Files;
use wit_bindgen_core::wit_parser::{LiftLowerAbi, ManglingAndAbi, Resolve, WorldId};
use wit_component::{ComponentEncoder, StringEncoding, dummy_module, embed_component_metadata};

/// A generated file: its name and its content.
pub type File = (String, Vec<u8>);

/// The stages that have a template in C.
pub const STAGES: &[&str] = &["prompt", "text", "tool"];

/// The folder of the generated files, with a folder for each stage.
#[must_use]
pub fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../templates/c")
}

/// The files of `stage`.
///
/// # Errors
/// A message, if the WIT files or the stage cannot be used.
pub fn files(stage: &str) -> Result<Vec<File>, Box<dyn Error>> {
    let (mut resolve, world) = world(stage)?;
    let mut generated = Files::default();
    let options = wit_bindgen_c::Opts { no_object_file: true, ..wit_bindgen_c::Opts::default() };
    options.build().generate(&mut resolve, world, &mut generated)?;
    let mut files: Vec<File> = Vec::new();
    for (name, content) in generated.iter().filter(|(name, _)| name.ends_with(".h") || name.ends_with(".c")) {
        files.push((name.to_owned(), content.to_vec()));
    }
    files.push(("shell.wasm".to_owned(), shell(stage)?));
    Ok(files)
}

fn world(stage: &str) -> Result<(Resolve, WorldId), Box<dyn Error>> {
    let mut resolve = Resolve::default();
    resolve.push_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("../../wit"))?;
    let text = format!(
        "package firebox:c; world plugin {{ import firebox:plugin/log@0.1.0; import firebox:plugin/progress@0.1.0; \
         export firebox:plugin/lifecycle@0.1.0; export firebox:plugin/{stage}@0.1.0; }}"
    );
    let package = resolve.push_str("plugin.wit", &text)?;
    let world = resolve.select_world(&[package], Some("plugin"))?;
    Ok((resolve, world))
}

fn shell(stage: &str) -> Result<Vec<u8>, Box<dyn Error>> {
    let (resolve, world) = world(stage)?;
    let mut module = dummy_module(&resolve, world, ManglingAndAbi::Legacy(LiftLowerAbi::Sync));
    embed_component_metadata(&mut module, &resolve, world, StringEncoding::UTF8)?;
    Ok(ComponentEncoder::default().validate(true).module(&module)?.encode()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_committed_files_are_those_of_the_wit() {
        let mut old = Vec::new();
        for stage in STAGES {
            for (name, content) in files(stage).expect("generated") {
                let path = folder().join(stage).join(&name);
                if std::fs::read(&path).unwrap_or_default() != content {
                    old.push(path);
                }
            }
        }
        assert!(old.is_empty(), "cargo run -p firebox-c-bindings writes {old:?} again");
    }

    #[test]
    fn an_unknown_stage_is_an_error() {
        assert!(files("nothing").is_err());
    }
}
