//! From a core module to a component: the module takes the place of the empty one in a shell.
//!
//! A shell is a component that was made around an empty module with the imports and exports of all stages
//! (`plugins/c-bindings`). Everything around the module depends on these names and types alone. A plugin exports its own
//! stages; the exports of the others are left out. The host checks the whole component when it is loaded, as any other.

const HEADER_BYTES: usize = 8;
const COMPONENT: &[u8] = b"\0asm\x0d\0\x01\0";
const MODULE: &[u8] = b"\0asm\x01\0\0\0";
/// The interface that plugins of all stages export.
const LIFECYCLE: &str = "firebox:plugin/lifecycle@0.1.0";
/// Sections of a component.
const CUSTOM_SECTION: u8 = 0;
const MODULE_SECTION: u8 = 1;
const EXPORT_SECTION: u8 = 11;
/// What an export is, if it is an instance.
const INSTANCE: u8 = 5;
/// The sections of a module that this file reads.
const IMPORTS: u8 = 2;
const EXPORTS: u8 = 7;

/// One section: its id, and its content.
type WasmSection<'a> = (u8, &'a [u8]);

/// The first of `shells` that has all imports of `module`. If none has them, the last one, whose [`fill`] names what is missing.
///
/// # Errors
/// What is wrong with the module.
pub(super) fn smallest<'a>(shells: &[&'a [u8]], module: &[u8]) -> Result<&'a [u8], String> {
    let found = names(module)?;
    for shell in shells {
        let sections = sections(shell, COMPONENT)?;
        let empty = sections.iter().find(|section| section.0 == MODULE_SECTION).ok_or("the shell has no module")?;
        let given = names(empty.1)?;
        if found.imports.iter().all(|import| given.imports.contains(import)) {
            return Ok(shell);
        }
    }
    shells.last().copied().ok_or_else(|| "there is no shell".to_owned())
}

/// The component that `shell` becomes with `module` in it and `exports` as its exports, which are interfaces.
///
/// # Errors
/// What the module imports that a plugin cannot have, or lacks; an export that the shell does not have.
pub(super) fn fill(shell: &[u8], module: &[u8], exports: &[String]) -> Result<Vec<u8>, String> {
    let sections = sections(shell, COMPONENT)?;
    let at = sections.iter().position(|section| section.0 == MODULE_SECTION).ok_or("the shell has no module")?;
    let empty = sections.get(at).map(|section| section.1).unwrap_or_default();
    check(empty, module)?;
    let mut component = COMPONENT.to_vec();
    let (mut kept, mut left_out) = (0, 0);
    for (index, (id, content)) in sections.into_iter().enumerate() {
        match id {
            // The names in them are of things by their numbers, which change.
            CUSTOM_SECTION => {}
            EXPORT_SECTION => {
                let export = ShellExport::read(content)?;
                if export.name != LIFECYCLE && !exports.contains(&export.name) {
                    left_out += 1;
                    continue;
                }
                kept += 1;
                append(&mut component, id, &export.write(left_out));
            }
            _ => append(&mut component, id, if index == at { module } else { content }),
        }
    }
    if kept == exports.len() + 1 { Ok(component) } else { Err("the shell lacks an export".to_owned()) }
}

fn append(component: &mut Vec<u8>, id: u8, content: &[u8]) {
    component.push(id);
    write_number(component, content.len());
    component.extend_from_slice(content);
}

/// The export of a shell. Each is alone in its section, after the instance that it exports.
struct ShellExport {
    name: String,
    instance: usize,
}

impl ShellExport {
    fn read(content: &[u8]) -> Result<Self, String> {
        let mut reader = Reader(content);
        let (count, form) = (reader.number()?, reader.byte()?);
        let export = Self { name: reader.name()?, instance: { reader.byte().and_then(|_| reader.number())? } };
        let (is_typed, rest) = (reader.byte()?, reader.0);
        if (count, form, is_typed, rest) == (1, 0, 0, &[][..]) {
            Ok(export)
        } else {
            Err("the shell has an export of another form".to_owned())
        }
    }

    /// The section. An export is an instance of its own, so each one that was left out lowers the numbers after it.
    fn write(&self, left_out: usize) -> Vec<u8> {
        let mut section = vec![1, 0];
        write_number(&mut section, self.name.len());
        section.extend_from_slice(self.name.as_bytes());
        section.push(INSTANCE);
        write_number(&mut section, self.instance.saturating_sub(left_out));
        section.push(0);
        section
    }
}

/// # Errors
/// The first import of `module` that `empty` does not have, or the first export that it lacks.
fn check(empty: &[u8], module: &[u8]) -> Result<(), String> {
    let (given, found) = (names(empty)?, names(module)?);
    if let Some((from, name)) = found.imports.iter().find(|import| !given.imports.contains(import)) {
        return Err(format!(
            "the code needs \"{name}\" of \"{from}\", which a plugin does not have: it has no files, network, clock or \
             environment; leave out the call, or define the function"
        ));
    }
    match given.exports.iter().find(|export| !found.exports.contains(export)) {
        None => Ok(()),
        Some(export) => Err(format!("the code lacks the function for \"{export}\"; bindings/plugin.h declares it")),
    }
}

/// The names of the imports and exports of a module.
#[derive(Default)]
struct Names {
    imports: Vec<(String, String)>,
    exports: Vec<String>,
}

fn names(module: &[u8]) -> Result<Names, String> {
    let mut names = Names::default();
    for (id, content) in sections(module, MODULE)? {
        let mut reader = Reader(content);
        match id {
            IMPORTS => {
                for _ in 0..reader.number()? {
                    names.imports.push((reader.name()?, reader.name()?));
                    // A function and its type: the compiler imports nothing else.
                    if reader.byte()? != 0 {
                        return Err("the module imports something that is not a function".to_owned());
                    }
                    reader.number()?;
                }
            }
            EXPORTS => {
                for _ in 0..reader.number()? {
                    names.exports.push(reader.name()?);
                    reader.byte()?;
                    reader.number()?;
                }
            }
            _ => {}
        }
    }
    Ok(names)
}

fn sections<'a>(bytes: &'a [u8], header: &[u8]) -> Result<Vec<WasmSection<'a>>, String> {
    if !bytes.starts_with(header) {
        return Err("the compiler wrote no WebAssembly module".to_owned());
    }
    let mut reader = Reader(bytes.get(HEADER_BYTES..).unwrap_or_default());
    let mut sections = Vec::new();
    while !reader.0.is_empty() {
        let id = reader.byte()?;
        let length = reader.number()?;
        sections.push((id, reader.bytes(length)?));
    }
    Ok(sections)
}

/// Reads numbers and names of the binary format.
struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn byte(&mut self) -> Result<u8, String> {
        self.bytes(1).map(|bytes| bytes.first().copied().unwrap_or_default())
    }

    fn bytes(&mut self, count: usize) -> Result<&'a [u8], String> {
        let cut = || "the module ends in the middle".to_owned();
        let (taken, rest) = self.0.split_at_checked(count).ok_or_else(cut)?;
        self.0 = rest;
        Ok(taken)
    }

    /// A number of 7 bits a byte, lowest first.
    fn number(&mut self) -> Result<usize, String> {
        let mut number = 0_usize;
        for shift in [0, 7, 14, 21, 28] {
            let byte = self.byte()?;
            number |= usize::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                return Ok(number);
            }
        }
        Err("the module has a number that is too long".to_owned())
    }

    fn name(&mut self) -> Result<String, String> {
        let length = self.number()?;
        let bytes = self.bytes(length)?;
        String::from_utf8(bytes.to_vec()).map_err(|_| "the module has a name that is not UTF-8".to_owned())
    }
}

fn write_number(out: &mut Vec<u8>, mut number: usize) {
    loop {
        let low = (number & 0x7f) as u8;
        number >>= 7;
        if number == 0 {
            return out.push(low);
        }
        out.push(low | 0x80);
    }
}

#[cfg(test)]
mod tests {
    use firebox_sandbox::{ComponentReport, ComponentSource};

    use super::super::STAGES;
    use super::super::c::SHELLS;
    use super::*;

    const SHELL: &[u8] = SHELLS[0];

    fn empty() -> Vec<u8> {
        let sections = sections(SHELL, COMPONENT).expect("a shell");
        sections.iter().find(|section| section.0 == MODULE_SECTION).expect("a module").1.to_vec()
    }

    fn filled(module: &[u8], stages: &[&str]) -> Result<Vec<u8>, String> {
        let names: Vec<String> = stages.iter().map(|stage| format!("firebox:plugin/{stage}@0.1.0")).collect();
        fill(SHELL, module, &names)
    }

    /// What a component exports, with the number of each instance.
    fn exports(component: &[u8]) -> Vec<(String, usize)> {
        let sections = sections(component, COMPONENT).expect("a component");
        let exports = sections.into_iter().filter(|section| section.0 == EXPORT_SECTION);
        exports
            .map(|section| ShellExport::read(section.1).expect("an export"))
            .map(|export| (export.name, export.instance))
            .collect()
    }

    #[test]
    fn the_component_has_the_exports_of_its_stages_and_no_others() {
        let all: Vec<&str> = STAGES.iter().map(|row| row.name).collect();
        let whole = exports(&filled(&empty(), &all).expect("a component"));
        assert_eq!(whole, exports(SHELL));
        let two = exports(&filled(&empty(), &["text", "token"]).expect("a component"));
        let names: Vec<&str> = two.iter().map(|export| export.0.as_str()).collect();
        assert_eq!(names.len(), 3, "{names:?}");
        // A stage is an instance and its export, which is one more. Of `prompt` only the instance is left.
        let first = two[0].1;
        let numbers: Vec<usize> = two.iter().map(|export| export.1).collect();
        assert_eq!(numbers, [first, first + 3, first + 5], "{names:?}");
        assert!(filled(&empty(), &["texts"]).is_err());
    }

    #[test]
    fn every_choice_of_stages_gives_a_component_with_these_stages() {
        for choice in 1..1_u32 << STAGES.len() {
            let chosen = STAGES.iter().enumerate().filter(|(bit, _)| choice & (1 << bit) != 0);
            let names: Vec<&str> = chosen.map(|(_, row)| row.name).collect();
            let component = filled(&empty(), &names).expect("a component");
            let report = ComponentReport::of("c", &ComponentSource::Bytes(component.into())).expect("readable");
            assert_eq!(report.stages.len(), names.len(), "{names:?}: {:?}", report.stages);
        }
    }

    #[test]
    fn a_plugin_imports_no_more_capabilities_than_its_shell_needs() {
        let importing = |from: &str, name: &str| {
            let mut content = vec![1, from.len() as u8];
            content.extend_from_slice(from.as_bytes());
            content.push(name.len() as u8);
            content.extend_from_slice(name.as_bytes());
            content.extend_from_slice(&[0, 0]);
            let mut module = MODULE.to_vec();
            append(&mut module, IMPORTS, &content);
            module
        };
        for (from, name, expected) in [
            ("firebox:plugin/log@0.1.0", "write", 0),
            ("wasi:config/store@0.2.0-rc.1", "get", 1),
            ("firebox:plugin/secrets@0.1.0", "placeholder", 1),
            ("wasi:keyvalue/store@0.2.0-draft2", "[resource-drop]bucket", 1),
            ("wasi:http/outgoing-handler@0.2.0", "handle", 2),
            ("wasi:cli/environment@0.2.0", "get-environment", 2),
        ] {
            let shell = smallest(&SHELLS, &importing(from, name)).expect("a shell");
            assert!(std::ptr::eq(shell, SHELLS[expected]), "{from} {name}");
        }
        for shell in SHELLS {
            let report = ComponentReport::of("c", &ComponentSource::Bytes(shell.into())).expect("readable");
            assert!(report.imports.iter().all(|import| import.1), "{:?}", report.imports);
        }
    }

    #[test]
    fn a_missing_function_and_an_unknown_import_are_named() {
        let error = filled(MODULE, &["text"]).expect_err("it exports nothing");
        assert!(error.contains("lacks the function"), "{error}");
        let import = b"\x02\x13\x01\x06system\x08get_time\x00\x00";
        let error = filled(&[MODULE, import].concat(), &["text"]).expect_err("it imports");
        assert!(error.contains("\"get_time\" of \"system\""), "{error}");
    }

    #[test]
    fn bytes_that_are_cut_off_anywhere_are_an_error() {
        let module = empty();
        for length in 0..module.len() {
            // A cut between two sections leaves a module that lacks exports, which is an error too.
            assert!(filled(&module[..length], &["text"]).is_err() || length > module.len() / 2, "{length}");
        }
        assert!(filled(b"\0asm\x01\0\0\0\x02\xff\xff\xff\xff\xff\xff", &["text"]).is_err());
    }
}
