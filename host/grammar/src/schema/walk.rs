//! Walks a schema, checks each keyword and rewrites it.

use firebox_contract::limits;
use serde_json::{Map, Value, json};

use super::keywords::{self, Draft, KeywordUse};
use super::{formats, pattern, stack};
use crate::error::GrammarError;

/// A schema for the library, with the parts from which it was made.
pub(crate) struct Rewritten {
    /// The rewritten targets of references: `$defs/rN`. The first one is the root.
    definitions: Map<String, Value>,
    /// JSON Pointers in the original schema, and the rewritten parts there, from the outside to the inside.
    pub(super) parts: Vec<(String, Value)>,
}

impl Rewritten {
    /// The whole schema.
    pub(super) fn document(&self) -> Value {
        json!({ "$ref": "#/$defs/r0", "$defs": self.definitions })
    }

    /// The rewritten root.
    pub(crate) fn root(&self) -> &Value {
        self.target("#/$defs/r0")
    }

    /// The rewritten target of a rewritten reference.
    pub(crate) fn target(&self, reference: &str) -> &Value {
        reference.strip_prefix("#/$defs/").and_then(|name| self.definitions.get(name)).unwrap_or(&Value::Bool(false))
    }

    /// A schema that is only `part`, with the definitions that it may refer to.
    pub(super) fn alone(&self, part: &Value) -> Value {
        json!({ "allOf": [part], "$defs": self.definitions })
    }
}

/// Checks and rewrites a schema.
///
/// # Errors
/// `Schema` for the first part that is not supported or exceeds a limit.
pub(crate) fn rewrite(schema: &Value) -> Result<Rewritten, GrammarError> {
    let draft = keywords::draft(schema)?;
    let mut walk = SchemaWalk { root: schema, draft, parts: Vec::new(), targets: Vec::new(), count: 0, patterns: 0 };
    walk.target(String::new());
    let mut definitions = Map::new();
    let mut done = 0;
    // Rewriting a target can find further targets.
    while done < walk.targets.len() {
        let pointer = walk.targets[done].pointer.clone();
        let value = schema.pointer(&pointer).unwrap_or(&Value::Null);
        let rewritten = walk.visit(
            value,
            &SchemaLocation {
                pointer: pointer.clone(),
                depth: pointer.matches('/').count(),
                target: done,
                in_place: true,
            },
        )?;
        definitions.insert(format!("r{done}"), rewritten);
        done += 1;
    }
    walk.refuse_endless()?;
    for (pointer, part) in &walk.parts {
        stack::check(part, &definitions).map_err(|reason| refuse(pointer, reason))?;
    }
    Ok(Rewritten { definitions, parts: walk.parts })
}

struct SchemaWalk<'a> {
    root: &'a Value,
    draft: Draft,
    parts: Vec<(String, Value)>,
    targets: Vec<ReferenceTarget>,
    /// Values visited so far.
    count: usize,
    /// Patterns so far.
    patterns: usize,
}

/// A part that a reference leads to.
struct ReferenceTarget {
    pointer: String,
    /// Targets that describe the same value: they are reached without a step into a property or an item.
    same_value: Vec<usize>,
}

/// Where a part is.
struct SchemaLocation {
    pointer: String,
    depth: usize,
    /// The target that it belongs to.
    target: usize,
    /// Whether it describes the same value as its target.
    in_place: bool,
}

impl SchemaLocation {
    fn inside(&self, key: &str, in_place: bool) -> Self {
        let key = key.replace('~', "~0").replace('/', "~1");
        let (pointer, depth) = (format!("{}/{key}", self.pointer), self.depth + 1);
        Self { pointer, depth, target: self.target, in_place: in_place && self.in_place }
    }

    fn refuse(&self, reason: impl Into<String>) -> GrammarError {
        refuse(&self.pointer, reason)
    }
}

pub(crate) fn refuse(pointer: &str, reason: impl Into<String>) -> GrammarError {
    let pointer = if pointer.is_empty() { "#".to_owned() } else { pointer.to_owned() };
    GrammarError::Schema { pointer, reason: reason.into() }
}

impl SchemaWalk<'_> {
    /// The number of the target at `pointer`.
    fn target(&mut self, pointer: String) -> usize {
        let found = self.targets.iter().position(|target| target.pointer == pointer);
        found.unwrap_or_else(|| {
            self.targets.push(ReferenceTarget { pointer, same_value: Vec::new() });
            self.targets.len() - 1
        })
    }

    fn visit(&mut self, value: &Value, location: &SchemaLocation) -> Result<Value, GrammarError> {
        self.add_parts(1, location)?;
        if location.depth > limits::GRAMMAR_SCHEMA_DEPTH_MAX {
            let limit = limits::GRAMMAR_SCHEMA_DEPTH_MAX;
            return Err(location.refuse(format!("the schema is nested deeper than {limit}; make it flatter")));
        }
        let members = match value {
            Value::Bool(_) => return Ok(value.clone()),
            Value::Object(members) => members,
            _ => return Err(location.refuse("it is neither an object nor true or false")),
        };
        let at = self.parts.len();
        self.parts.push((location.pointer.clone(), Value::Null));
        let mut out = Map::new();
        for (key, member) in members {
            self.keyword(key, member, members, location, &mut out)?;
        }
        keywords::check_together(&out).map_err(|(key, reason)| location.inside(key, false).refuse(reason))?;
        keywords::bound_numbers(&mut out);
        let rewritten = Value::Object(out);
        self.parts[at].1 = rewritten.clone();
        Ok(rewritten)
    }

    fn add_parts(&mut self, count: usize, location: &SchemaLocation) -> Result<(), GrammarError> {
        self.count = self.count.saturating_add(count);
        let limit = limits::GRAMMAR_SCHEMA_PARTS_MAX;
        match self.count > limit {
            true => Err(location.refuse(format!("the schema has more than {limit} parts up to here; make it smaller"))),
            false => Ok(()),
        }
    }

    fn keyword(
        &mut self,
        key: &str,
        member: &Value,
        members: &Map<String, Value>,
        location: &SchemaLocation,
        out: &mut Map<String, Value>,
    ) -> Result<(), GrammarError> {
        let here = location.inside(key, false);
        match keywords::use_of(key, self.draft) {
            KeywordUse::Annotation => {}
            KeywordUse::Refused(harmless, remedy) if !harmless(member) => {
                return Err(here.refuse(format!("\"{key}\" is not supported; {remedy}")));
            }
            KeywordUse::Refused(..) => {}
            KeywordUse::Checked(check) => {
                let value = check(member).map_err(|reason| here.refuse(reason))?;
                self.add_parts(keywords::values(&value), &here)?;
                out.insert(key.to_owned(), value);
            }
            KeywordUse::Reference => self.reference(member, location, &here, out)?,
            KeywordUse::Schemas => {
                let list = member.as_array().filter(|list| !list.is_empty());
                let list = list.ok_or_else(|| here.refuse("it is not a list of schemas; write at least one"))?;
                let location = location.inside(key, true);
                let each = |(at, part): (usize, &Value)| self.visit(part, &location.inside(&at.to_string(), true));
                let list = list.iter().enumerate().map(each).collect::<Result<Vec<_>, _>>()?;
                // A format may have added a part to `allOf`.
                match out.get_mut(key).and_then(Value::as_array_mut) {
                    Some(before) => before.extend(list),
                    None => drop(out.insert(key.to_owned(), Value::Array(list))),
                }
            }
            KeywordUse::Schema => {
                out.insert(key.to_owned(), self.visit(member, &here)?);
            }
            KeywordUse::Items => self.items(member, members, &here, out)?,
            KeywordUse::TupleItems => {
                out.insert(key.to_owned(), self.tuple(member, &here)?);
            }
            KeywordUse::Properties => {
                let properties = object(member, &here)?;
                let mut rewritten = Map::new();
                for (name, part) in properties {
                    rewritten.insert(name.clone(), self.visit(part, &here.inside(name, false))?);
                }
                out.insert(key.to_owned(), Value::Object(rewritten));
            }
            KeywordUse::PatternProperties => self.pattern_properties(member, &here, out)?,
            KeywordUse::Pattern => {
                let text = member.as_str().ok_or_else(|| here.refuse("it is not a string"))?;
                add_pattern(out, &self.pattern(text, &here)?);
            }
            KeywordUse::Format => self.format(member, members, &here, out)?,
        }
        Ok(())
    }

    fn reference(
        &mut self,
        member: &Value,
        location: &SchemaLocation,
        here: &SchemaLocation,
        out: &mut Map<String, Value>,
    ) -> Result<(), GrammarError> {
        let text = member.as_str().ok_or_else(|| here.refuse("it is not a string"))?;
        let pointer = local_pointer(text).ok_or_else(|| {
            here.refuse("references outside of the schema and to anchors are not followed; use \"#/$defs/NAME\"")
        })?;
        if self.root.pointer(&pointer).is_none() {
            return Err(here.refuse("it leads to nothing in the schema; check the reference"));
        }
        let target = self.target(pointer);
        if location.in_place {
            self.targets[location.target].same_value.push(target);
        }
        out.insert("$ref".to_owned(), Value::from(format!("#/$defs/r{target}")));
        Ok(())
    }

    fn items(
        &mut self,
        member: &Value,
        members: &Map<String, Value>,
        here: &SchemaLocation,
        out: &mut Map<String, Value>,
    ) -> Result<(), GrammarError> {
        if !member.is_array() {
            out.insert("items".to_owned(), self.visit(member, here)?);
            return Ok(());
        }
        if self.draft == Draft::New {
            return Err(here.refuse("a list of schemas is not supported here; use \"prefixItems\""));
        }
        // The older drafts describe a tuple with `items` and what follows it with `additionalItems`.
        out.insert("prefixItems".to_owned(), self.tuple(member, here)?);
        if let Some(rest) = members.get("additionalItems") {
            let pointer = here.pointer.replace("/items", "/additionalItems");
            out.insert("items".to_owned(), self.visit(rest, &SchemaLocation { pointer, ..here.inside("", false) })?);
        }
        Ok(())
    }

    fn tuple(&mut self, member: &Value, here: &SchemaLocation) -> Result<Value, GrammarError> {
        let list = member.as_array().filter(|list| !list.is_empty());
        let list = list.ok_or_else(|| here.refuse("it is not a list of schemas; write at least one"))?;
        let each = |(at, part): (usize, &Value)| self.visit(part, &here.inside(&at.to_string(), false));
        Ok(Value::Array(list.iter().enumerate().map(each).collect::<Result<_, _>>()?))
    }

    fn pattern_properties(
        &mut self,
        member: &Value,
        here: &SchemaLocation,
        out: &mut Map<String, Value>,
    ) -> Result<(), GrammarError> {
        let properties = object(member, here)?;
        if properties.len() > limits::GRAMMAR_NAME_PATTERNS_MAX {
            let limit = limits::GRAMMAR_NAME_PATTERNS_MAX;
            return Err(here.refuse(format!("more than {limit} patterns of properties are not supported")));
        }
        let mut rewritten = Map::new();
        for (text, part) in properties {
            let inside = here.inside(text, false);
            rewritten.insert(self.pattern(text, &inside)?, self.visit(part, &inside)?);
        }
        out.insert("patternProperties".to_owned(), Value::Object(rewritten));
        Ok(())
    }

    fn pattern(&mut self, text: &str, here: &SchemaLocation) -> Result<String, GrammarError> {
        self.patterns += 1;
        if self.patterns > limits::GRAMMAR_PATTERNS_MAX {
            let limit = limits::GRAMMAR_PATTERNS_MAX;
            return Err(here.refuse(format!("the schema has more than {limit} patterns up to here; use fewer")));
        }
        pattern::translate(text).map_err(|reason| here.refuse(reason))
    }

    fn format(
        &mut self,
        member: &Value,
        members: &Map<String, Value>,
        here: &SchemaLocation,
        out: &mut Map<String, Value>,
    ) -> Result<(), GrammarError> {
        let name = member.as_str().ok_or_else(|| here.refuse("it is not a string"))?;
        if !keywords::allows_strings(members) {
            keywords::number_format(name, out);
            return Ok(());
        }
        let found = formats::pattern(name).ok_or_else(|| {
            let shown: String = name.chars().take(40).collect();
            here.refuse(format!(
                "the format \"{shown}\" is not supported; use \"pattern\", or one of {}",
                formats::names()
            ))
        })?;
        self.patterns += 1;
        add_pattern(out, &found);
        Ok(())
    }

    /// Refuses a target that describes itself without a step into a property or an item: no value ends it.
    fn refuse_endless(&self) -> Result<(), GrammarError> {
        for start in 0..self.targets.len() {
            let (mut seen, mut open) = (vec![false; self.targets.len()], vec![start]);
            while let Some(at) = open.pop() {
                for next in &self.targets[at].same_value {
                    if *next == start {
                        return Err(refuse(&self.targets[start].pointer, "it refers to itself without end"));
                    }
                    if !std::mem::replace(&mut seen[*next], true) {
                        open.push(*next);
                    }
                }
            }
        }
        Ok(())
    }
}

fn object<'a>(member: &'a Value, here: &SchemaLocation) -> Result<&'a Map<String, Value>, GrammarError> {
    member.as_object().ok_or_else(|| here.refuse("it is not an object"))
}

/// Adds a pattern beside those that are there.
fn add_pattern(out: &mut Map<String, Value>, pattern: &str) {
    if !out.contains_key("pattern") {
        out.insert("pattern".to_owned(), Value::from(pattern));
        return;
    }
    let more = json!({ "pattern": pattern });
    match out.get_mut("allOf").and_then(Value::as_array_mut) {
        Some(list) => list.push(more),
        None => drop(out.insert("allOf".to_owned(), json!([more]))),
    }
}

/// The JSON Pointer of a reference within the schema.
fn local_pointer(reference: &str) -> Option<String> {
    let fragment = reference.strip_prefix('#')?;
    let mut bytes = Vec::with_capacity(fragment.len());
    let mut rest = fragment.as_bytes();
    while let Some((first, after)) = rest.split_first() {
        if *first == b'%' {
            let digits = std::str::from_utf8(after.get(..2)?).ok()?;
            bytes.push(u8::from_str_radix(digits, 16).ok()?);
            rest = &after[2..];
        } else {
            bytes.push(*first);
            rest = after;
        }
    }
    String::from_utf8(bytes).ok().filter(|pointer| pointer.is_empty() || pointer.starts_with('/'))
}
