//! What a plugin in C needs besides its source: a header and its implementation, stand-ins for the stages that the plugin does
//! not have, and a shell.
//!
//! The shell is a component around an empty core module with the imports and exports of all stages. `firebox plugins build`
//! puts the compiled C code in the place of that module, and leaves out the exports of the other stages, so that an author of
//! C needs no WebAssembly tools.

use std::collections::BTreeMap;
use std::error::Error;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use wit_bindgen_core::Files;
use wit_bindgen_core::wit_parser::{LiftLowerAbi, ManglingAndAbi, Resolve, WorldId};
use wit_component::{ComponentEncoder, StringEncoding, dummy_module, embed_component_metadata};

/// A generated file: its name and its content.
pub type File = (String, Vec<u8>);

/// The stages, which are interfaces of `firebox:plugin@0.1.0`.
pub const STAGES: &[&str] = &["prompt", "token", "text", "tool-call", "tool", "embedding"];

/// The interfaces that every shell imports.
const IMPORTS: &[&str] =
    &["firebox:plugin/log@0.1.0", "firebox:plugin/progress@0.1.0", "firebox:plugin/vocabulary@0.1.0"];
/// Capabilities, besides HTTP.
const CAPABILITIES: &[&str] = &[
    "wasi:config/store@0.2.0-rc.1",
    "wasi:logging/logging@0.1.0-draft",
    "wasi:keyvalue/store@0.2.0-draft2",
    "wasi:keyvalue/atomics@0.2.0-draft2",
    "wasi:keyvalue/batch@0.2.0-draft2",
    "firebox:plugin/kv@0.1.0",
    "firebox:plugin/metrics@0.1.0",
    "firebox:plugin/model@0.1.0",
    "firebox:plugin/secrets@0.1.0",
];
/// HTTP, which brings streams, clocks and waiting.
const HTTP: &[&str] = &["wasi:http/outgoing-handler@0.2.0"];

/// The shells, from the smallest: each has the imports of the ones before. A plugin gets the first that has its imports, since a
/// component imports all of its shell, and an operator reads them.
const SHELLS: &[(&str, &[&[&str]])] = &[
    ("shell.wasm", &[IMPORTS]),
    ("shell-capabilities.wasm", &[IMPORTS, CAPABILITIES]),
    ("shell-http.wasm", &[IMPORTS, CAPABILITIES, HTTP]),
];

/// The folder of the generated files.
#[must_use]
pub fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../templates/c/bindings")
}

/// The files: `plugin.h`, `plugin.c`, `stages.c` and the shells.
///
/// # Errors
/// A message, if the WIT files cannot be used.
pub fn files() -> Result<Vec<File>, Box<dyn Error>> {
    let every = [IMPORTS, CAPABILITIES, HTTP];
    let (mut resolve, world) = world(&every)?;
    let mut generated = Files::default();
    let options = wit_bindgen_c::Opts { no_object_file: true, ..wit_bindgen_c::Opts::default() };
    options.build().generate(&mut resolve, world, &mut generated)?;
    let mut files: Vec<File> = Vec::new();
    for (name, content) in generated.iter().filter(|(name, _)| name.ends_with(".h") || name.ends_with(".c")) {
        files.push((name.to_owned(), content.to_vec()));
    }
    let text = |name: &str| {
        let file = files.iter().find(|file| file.0 == name).ok_or_else(|| format!("there is no {name}"))?;
        Ok::<String, Box<dyn Error>>(String::from_utf8(file.1.clone())?)
    };
    let module = empty_module(&every)?;
    let stages = stand_ins(&text("plugin.h")?)? + &nothing_to_free(&module, &text("plugin.c")?)?;
    files.push(("stages.c".to_owned(), stages.into_bytes()));
    for (name, imports) in SHELLS {
        let module = empty_module(imports)?;
        files.push(((*name).to_owned(), ComponentEncoder::default().validate(true).module(&module)?.encode()?));
    }
    Ok(files)
}

/// The world with these imports and all stages.
fn world(imports: &[&[&str]]) -> Result<(Resolve, WorldId), Box<dyn Error>> {
    let mut resolve = Resolve::default();
    resolve.push_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("../../wit"))?;
    let imports = imports.iter().copied().flatten().map(|name| format!("import {name};"));
    let exports = STAGES.iter().map(|stage| format!("export firebox:plugin/{stage}@0.1.0;"));
    let lifecycle = "export firebox:plugin/lifecycle@0.1.0;".to_owned();
    let items: Vec<String> = imports.chain([lifecycle]).chain(exports).collect();
    let text = format!("package firebox:c; world plugin {{ {} }}", items.join(" "));
    let package = resolve.push_str("plugin.wit", &text)?;
    let world = resolve.select_world(&[package], Some("plugin"))?;
    Ok((resolve, world))
}

/// For each stage, functions that the host never calls in a plugin without it.
///
/// # Errors
/// A message, if `header` lacks the functions of a stage.
fn stand_ins(header: &str) -> Result<String, Box<dyn Error>> {
    let mut of_stage: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    let exported = header.lines().skip_while(|line| !line.starts_with("// Exported Functions"));
    let functions = exported.take_while(|line| !line.starts_with("// Helper"));
    // What frees the state behind a handle is among the helpers.
    let destructors = header.lines().filter(|line| line.contains("_destructor("));
    for line in functions.chain(destructors) {
        let begins = |stage: &&&str| line.contains(&format!(" exports_firebox_plugin_{}_", stage.replace('-', "_")));
        // `tool` begins the names of `tool-call` too.
        let stage = STAGES.iter().filter(begins).max_by_key(|stage| stage.len());
        if let Some(stage) = stage {
            of_stage.entry(stage).or_default().push(line);
        }
    }
    let mut text =
        "// Generated. The functions of the stages that the plugin does not have.\n#include \"plugin.h\"\n".to_owned();
    for stage in STAGES {
        let declared = of_stage.get(stage).ok_or_else(|| format!("{stage} has no functions"))?;
        writeln!(text, "\n#ifndef FIREBOX_STAGE_{}", stage.replace('-', "_").to_uppercase())?;
        for declaration in declared {
            let begin = declaration.strip_suffix(';').ok_or_else(|| format!("\"{declaration}\" is no declaration"))?;
            writeln!(text, "{begin} {{ __builtin_trap(); }}")?;
        }
        writeln!(text, "#endif")?;
    }
    Ok(text)
}

/// The functions after a call that the shell calls in `module` and that the bindings in `source` do not have, because they have
/// nothing to do.
fn nothing_to_free(module: &[u8], source: &str) -> Result<String, Box<dyn Error>> {
    let mut text = "\n// Called after functions whose results need no memory.\n".to_owned();
    let begin = b"cabi_post_";
    let mut number = 0;
    for at in 1..module.len() {
        // In the list of exports the length comes before a name.
        let name = module.get(at..at + usize::from(module[at - 1])).filter(|name| name.starts_with(begin));
        let Some(name) = name else { continue };
        let name = std::str::from_utf8(name)?;
        if !source.contains(&format!("__export_name__(\"{name}\")")) {
            number += 1;
            writeln!(text, "__attribute__((__export_name__(\"{name}\")))")?;
            writeln!(text, "void __firebox_nothing_to_free_{number}(uint8_t *result) {{ (void)result; }}")?;
        }
    }
    Ok(text)
}

/// A module with these imports and the exports of all stages, and nothing in its functions.
fn empty_module(imports: &[&[&str]]) -> Result<Vec<u8>, Box<dyn Error>> {
    let (resolve, world) = world(imports)?;
    let mut module = dummy_module(&resolve, world, ManglingAndAbi::Legacy(LiftLowerAbi::Sync));
    embed_component_metadata(&mut module, &resolve, world, StringEncoding::UTF8)?;
    Ok(module)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_committed_files_are_those_of_the_wit() {
        let mut old = Vec::new();
        for (name, content) in files().expect("generated") {
            let path = folder().join(&name);
            if std::fs::read(&path).unwrap_or_default() != content {
                old.push(path);
            }
        }
        assert!(old.is_empty(), "cargo run -p firebox-c-bindings writes {old:?} again");
    }

    #[test]
    fn a_header_without_the_functions_of_a_stage_is_an_error() {
        assert!(stand_ins("// Exported Functions from `firebox:plugin/tool@0.1.0`\n").is_err());
    }
}
