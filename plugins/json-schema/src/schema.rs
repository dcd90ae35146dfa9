//! From a JSON Schema to the pattern of the texts that are valid.

use firebox_constrain::{Pattern, parse};
use firebox_sdk::{Arguments, json_string};

use crate::keywords;
use crate::values;

/// Levels of schemas at most, those behind references included.
const DEPTH_MAX: usize = 16;

/// The pattern of the valid texts of `schema`, which is JSON text.
///
/// # Errors
/// What cannot be kept, with its place as a JSON pointer.
pub(crate) fn pattern(schema: &str) -> Result<Pattern, String> {
    Reader { root: schema }.value(schema, &Location { path: String::from("#"), depth: 0 })
}

/// Where a schema is.
struct Location {
    path: String,
    depth: usize,
}

impl Location {
    fn below(&self, name: &str) -> Self {
        let name = name.replace('~', "~0").replace('/', "~1");
        Self { path: format!("{}/{name}", self.path), depth: self.depth + 1 }
    }

    fn wrong(&self, what: &str) -> String {
        format!("the schema cannot be kept at {}: {what}", self.path)
    }
}

struct Reader<'a> {
    root: &'a str,
}

impl Reader<'_> {
    fn value(&self, schema: &str, location: &Location) -> Result<Pattern, String> {
        if location.depth > DEPTH_MAX {
            return Err(location.wrong(&format!("it is nested more than {DEPTH_MAX} deep, or refers to itself")));
        }
        match schema.trim() {
            "true" => return values::any(),
            "false" => return Err(location.wrong("no value is valid")),
            _ => {}
        }
        let schema = Arguments::parse(schema).map_err(|reason| location.wrong(&reason))?;
        if let Some(reference) = schema.get("$ref") {
            return self.reference(&schema, reference, location);
        }
        if let Some(branches) = schema.list("anyOf").map_err(|reason| location.wrong(&reason))? {
            keywords::check(&schema, &["anyOf"]).map_err(|reason| location.wrong(&reason))?;
            let location = location.below("anyOf");
            let branch = |(index, branch): (usize, &&str)| self.value(branch, &location.below(&index.to_string()));
            let branches = branches.iter().enumerate().map(branch).collect::<Result<Vec<_>, _>>()?;
            return if branches.is_empty() {
                Err(location.wrong("it is empty"))
            } else {
                Ok(Pattern::Either(branches))
            };
        }
        if let Some(listed) = listed(&schema).map_err(|reason| location.wrong(&reason))? {
            return Ok(listed);
        }
        self.typed(&schema, location)
    }

    fn reference(&self, schema: &Arguments, reference: &str, location: &Location) -> Result<Pattern, String> {
        keywords::check(schema, &["$ref"]).map_err(|reason| location.wrong(&reason))?;
        let reference = reference.trim_matches('"');
        let path = reference.strip_prefix('#').ok_or_else(|| location.wrong("only references to # are supported"))?;
        let mut target = self.root.to_owned();
        for name in path.split('/').skip(1) {
            let name = name.replace("~1", "/").replace("~0", "~");
            let parent = Arguments::parse(&target).map_err(|reason| location.wrong(&reason))?;
            let found = parent.get(&name).ok_or_else(|| location.wrong(&format!("there is no \"{reference}\"")))?;
            target = found.to_owned();
        }
        self.value(&target, &Location { path: reference.to_owned(), depth: location.depth + 1 })
    }

    /// A schema with `type`: a name, or a list of names.
    fn typed(&self, schema: &Arguments, location: &Location) -> Result<Pattern, String> {
        let wrong = |reason: String| location.wrong(&reason);
        let names = match schema.get("type") {
            None if schema.get("properties").is_some() => vec!["object".to_owned()],
            None => {
                keywords::check(schema, &[]).map_err(wrong)?;
                return values::any();
            }
            Some(text) if text.starts_with('[') => schema.texts("type").map_err(wrong)?.unwrap_or_default(),
            Some(_) => vec![schema.text("type").map_err(wrong)?],
        };
        keywords::check(schema, &keywords::of_types(&names)).map_err(wrong)?;
        let patterns = names.iter().map(|name| self.of_type(name, schema, location)).collect::<Result<Vec<_>, _>>()?;
        match patterns.is_empty() {
            true => Err(location.wrong("\"type\" is empty")),
            false => Ok(Pattern::Either(patterns)),
        }
    }

    fn of_type(&self, name: &str, schema: &Arguments, location: &Location) -> Result<Pattern, String> {
        let bound = |key: &str| keywords::count(schema, key).map_err(|reason| location.wrong(&reason));
        match name {
            "null" => Ok(Pattern::text("null")),
            "boolean" => parse("true|false"),
            "integer" => parse(values::INTEGER),
            "number" => parse(values::NUMBER),
            "string" => match schema.get("format").map(|text| text.trim_matches('"')) {
                Some(format) => {
                    let known = values::FORMATS.iter().find(|row| row.0 == format);
                    let names: Vec<&str> = values::FORMATS.iter().map(|row| row.0).collect();
                    let unknown = || location.wrong(&format!("format \"{format}\" is not one of {}", names.join(", ")));
                    keywords::check(schema, &["type", "format"]).map_err(|reason| location.wrong(&reason))?;
                    Ok(values::quoted(parse(known.ok_or_else(unknown)?.1)?))
                }
                None => {
                    let (min, max) = (bound("minLength")?.unwrap_or(0), bound("maxLength")?);
                    in_order(min, max, location)?;
                    values::string(min, max)
                }
            },
            "array" => {
                let (min, max) = (bound("minItems")?.unwrap_or(0), bound("maxItems")?);
                in_order(min, max, location)?;
                let item = match schema.get("items") {
                    Some(items) => self.value(items, &location.below("items"))?,
                    None => values::any()?,
                };
                Ok(values::list("[", item, min, max, "]"))
            }
            "object" => self.object(schema, location),
            other => Err(location.wrong(&format!("there is no type \"{other}\""))),
        }
    }

    fn object(&self, schema: &Arguments, location: &Location) -> Result<Pattern, String> {
        let wrong = |reason: String| location.wrong(&reason);
        let required = schema.texts("required").map_err(wrong)?.unwrap_or_default();
        let listed = schema.get("properties").map(Arguments::parse).transpose().map_err(wrong)?;
        let mut members = Vec::new();
        let below = location.below("properties");
        for (name, value) in listed.iter().flat_map(Arguments::members) {
            let value = self.value(value, &below.below(name))?;
            let member = Pattern::Sequence(vec![Pattern::text(&json_string(name)), values::mark(":"), value]);
            members.push((member, required.iter().any(|other| other == name)));
        }
        let known =
            |name: &&String| listed.iter().flat_map(Arguments::members).any(|(other, _)| other == name.as_str());
        if let Some(name) = required.iter().find(|name| !known(name)) {
            return Err(location.wrong(&format!("\"{name}\" is required and not in \"properties\"")));
        }
        if !members.is_empty() {
            return Ok(of_members(&members));
        }
        match schema.get("additionalProperties").map(str::trim) {
            Some("false") => Ok(Pattern::text("{}")),
            None | Some("true") => Ok(values::list("{", values::member(values::any()?)?, 0, None, "}")),
            Some(value) => {
                let value = self.value(value, &location.below("additionalProperties"))?;
                Ok(values::list("{", values::member(value)?, 0, None, "}"))
            }
        }
    }
}

/// An object with these members in this order. Those that are not required may be left out.
fn of_members(members: &[(Pattern, bool)]) -> Pattern {
    // What follows a member: each further one after a comma.
    let rest = |from: usize| {
        let further = members.iter().skip(from).map(|(member, is_required)| {
            let further = Pattern::Sequence(vec![values::mark(","), member.clone()]);
            if *is_required { further } else { further.optional() }
        });
        Pattern::Sequence(further.collect())
    };
    // The first member that is there: one of those up to the first that is required.
    let last = members.iter().position(|(_, is_required)| *is_required);
    let firsts = members.iter().take(last.map_or(members.len(), |last| last + 1)).enumerate();
    let mut bodies: Vec<Pattern> =
        firsts.map(|(index, (member, _))| Pattern::Sequence(vec![member.clone(), rest(index + 1)])).collect();
    if last.is_none() {
        bodies.push(Pattern::Sequence(Vec::new()));
    }
    Pattern::Sequence(vec![Pattern::text("{"), Pattern::Either(bodies), Pattern::text("}")])
}

/// The values of `enum` or `const`, as their JSON text.
fn listed(schema: &Arguments) -> Result<Option<Pattern>, String> {
    let values = match (schema.list("enum")?, schema.get("const")) {
        (Some(values), None) => values,
        (None, Some(value)) => vec![value],
        (None, None) => return Ok(None),
        (Some(_), Some(_)) => return Err("it has both enum and const".to_owned()),
    };
    keywords::check(schema, &["enum", "const", "type"])?;
    if values.is_empty() {
        return Err("\"enum\" is empty".to_owned());
    }
    Ok(Some(Pattern::Either(values.into_iter().map(|value| Pattern::text(value.trim())).collect())))
}

fn in_order(min: u32, max: Option<u32>, location: &Location) -> Result<(), String> {
    match max {
        Some(max) if max < min => {
            Err(location.wrong(&format!("the largest number {max} is below the smallest, {min}")))
        }
        _ => Ok(()),
    }
}
