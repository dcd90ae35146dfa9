//! Arguments against a tool's JSON Schema, before anything runs (F15).
//!
//! A schema may come from a stranger's server. It is bounded before it is compiled: bytes, nesting and parts with all
//! references followed; references lead nowhere outside it; patterns have bounded steps; the work happens on a thread
//! for blocking work and is waited for a bounded time. A schema that does not pass refuses the calls of its tool.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use firebox_contract::{Clock, limits};
use jsonschema::{PatternOptions, Validator};
use serde_json::Value;

/// What became of a check.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// The arguments fit.
    Fits,
    /// They do not, for this reason.
    Misfit(String),
    /// The schema itself cannot be used.
    Unusable(String),
}

/// A schema that passed, compiled.
struct Compiled {
    validator: Validator,
    /// It refers to itself. Its errors are then not explained: only the plain check is protected against schemas
    /// whose paths multiply with the depth of the arguments.
    recursive: bool,
    /// It has few parts, references followed, and no pattern: arguments that are small too are checked in no time.
    small: bool,
}

type Entry = Result<Arc<Compiled>, String>;

/// Compiled schemas by their text.
#[derive(Default)]
pub(crate) struct Schemas {
    kept: Mutex<Kept>,
}

#[derive(Default)]
struct Kept {
    entries: HashMap<Arc<str>, Entry>,
    order: VecDeque<Arc<str>>,
}

impl Schemas {
    /// Checks `arguments`, which are one JSON object, against the schema with this text.
    pub(crate) async fn check(self: Arc<Self>, schema: String, arguments: Value, clock: Arc<dyn Clock>) -> Verdict {
        if schema.trim() == "{}" {
            return Verdict::Fits;
        }
        if let Some(verdict) = self.check_small(&schema, &arguments) {
            return verdict;
        }
        let work = tokio::task::spawn_blocking(move || match self.compiled(&schema) {
            Ok(compiled) => compiled.check(&arguments),
            Err(reason) => Verdict::Unusable(reason),
        });
        tokio::select! {
            verdict = work => {
                verdict.unwrap_or_else(|_| Verdict::Unusable("its schema broke the check".to_owned()))
            }
            () = clock.sleep(limits::SCHEMA_CHECK_TIME) => {
                let seconds = limits::SCHEMA_CHECK_TIME.as_secs();
                Verdict::Unusable(format!("its schema takes longer than {seconds} s to check"))
            }
        }
    }

    /// A check that cannot take long, at once: handing it to another thread would take longer than everything else of
    /// the call. None where it is not known to be one.
    fn check_small(&self, schema: &str, arguments: &Value) -> Option<Verdict> {
        let compiled = self.kept().entries.get(schema)?.clone().ok()?;
        let small = compiled.small && fits(arguments, &mut { limits::SCHEMA_INLINE_ARGUMENTS_BYTES });
        small.then(|| compiled.check(arguments))
    }

    fn kept(&self) -> MutexGuard<'_, Kept> {
        // Nothing that could panic leaves it half changed.
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn compiled(&self, schema: &str) -> Entry {
        if let Some(entry) = self.kept().entries.get(schema) {
            return entry.clone();
        }
        let entry = compile(schema).map(Arc::new);
        if schema.len() > limits::SCHEMA_BYTES_MAX {
            return entry;
        }
        let key: Arc<str> = Arc::from(schema);
        let mut kept = self.kept();
        if kept.entries.insert(Arc::clone(&key), entry.clone()).is_none() {
            kept.order.push_back(key);
        }
        while kept.order.len() > limits::SCHEMAS_CACHED_MAX {
            if let Some(oldest) = kept.order.pop_front() {
                kept.entries.remove(&oldest);
            }
        }
        entry
    }

    #[cfg(test)]
    fn len(&self) -> usize {
        self.kept().entries.len()
    }
}

/// Whether `value` has no more than `left` bytes, about; takes them away.
fn fits(value: &Value, left: &mut usize) -> bool {
    let own = match value {
        Value::String(text) => text.len(),
        Value::Object(fields) => fields.keys().map(String::len).sum(),
        _ => 0,
    };
    // Nothing is free, so that this ends early however many parts there are.
    let Some(rest) = left.checked_sub(own + 8) else { return false };
    *left = rest;
    match value {
        Value::Array(parts) => parts.iter().all(|part| fits(part, left)),
        Value::Object(fields) => fields.values().all(|part| fits(part, left)),
        _ => true,
    }
}

impl Compiled {
    fn check(&self, arguments: &Value) -> Verdict {
        if self.validator.is_valid(arguments) {
            return Verdict::Fits;
        }
        if self.recursive {
            return Verdict::Misfit("the arguments do not fit the tool's schema; read it again".to_owned());
        }
        let reasons: Vec<String> = self.validator.iter_errors(arguments).take(3).map(|error| place(&error)).collect();
        Verdict::Misfit(cut(&format!("the arguments do not fit the tool's schema: {}", reasons.join("; "))))
    }
}

fn place(error: &jsonschema::ValidationError<'_>) -> String {
    let path = error.instance_path().to_string();
    if path.is_empty() { error.to_string() } else { format!("at \"{path}\": {error}") }
}

fn cut(reason: &str) -> String {
    let limit = limits::SCHEMA_REASON_BYTES_MAX;
    if reason.len() <= limit {
        return reason.to_owned();
    }
    let end = (0..=limit).rev().find(|at| reason.is_char_boundary(*at)).unwrap_or(0);
    format!("{}…", &reason[..end])
}

/// Whether a definition's schema is one that may be offered: the text of one JSON object, neither long nor deep.
pub(crate) fn check_text(schema: &str) -> Result<(), String> {
    if schema.len() > limits::SCHEMA_BYTES_MAX {
        let (bytes, limit) = (schema.len(), limits::SCHEMA_BYTES_MAX);
        return Err(format!("its schema has {bytes} bytes where {limit} are allowed"));
    }
    match serde_json::from_str::<Value>(schema) {
        Ok(value @ Value::Object(_)) if depth(&value) <= limits::SCHEMA_DEPTH_MAX => Ok(()),
        Ok(Value::Object(_)) => Err(format!("its schema is nested deeper than {}", limits::SCHEMA_DEPTH_MAX)),
        Ok(_) => Err("its schema is not a JSON object".to_owned()),
        Err(error) => Err(format!("its schema is not JSON: {error}")),
    }
}

/// How deeply a value is nested; a plain value counts nothing.
pub(crate) fn depth(value: &Value) -> usize {
    match value {
        Value::Array(items) => 1 + items.iter().map(depth).max().unwrap_or(0),
        Value::Object(members) => 1 + members.values().map(depth).max().unwrap_or(0),
        _ => 0,
    }
}

/// Whether the schema with this text passes, and can be compiled.
///
/// # Errors
/// Why not.
pub(crate) fn check(schema: &str) -> Result<(), String> {
    compile(schema).map(|_| ())
}

fn compile(schema: &str) -> Result<Compiled, String> {
    check_text(schema)?;
    let value: Value = serde_json::from_str(schema).map_err(|error| format!("its schema is not JSON: {error}"))?;
    let mut walk = Walk { root: &value, steps: 0, following: Vec::new(), recursive: false, patterns: false };
    walk.visit(&value, 0)?;
    let recursive = walk.recursive;
    let small = !recursive && walk.steps <= limits::SCHEMA_INLINE_PARTS && !walk.patterns;
    let patterns = PatternOptions::fancy_regex()
        .backtrack_limit(limits::SCHEMA_PATTERN_STEPS_MAX)
        .size_limit(limits::SCHEMA_PATTERN_BYTES_MAX)
        .dfa_size_limit(limits::SCHEMA_PATTERN_BYTES_MAX);
    let options = jsonschema::options().offline().with_pattern_options(patterns).should_validate_formats(false);
    let built = options.build(&value).map_err(|error| cut(&format!("its schema is not valid: {error}")));
    Ok(Compiled { validator: built?, recursive, small })
}

/// Walks a schema with every reference followed, which is what compiling and checking do: a few lines of references
/// can stand for more parts than there are atoms, or for a nesting deeper than any stack.
struct Walk<'a> {
    root: &'a Value,
    steps: usize,
    following: Vec<&'a str>,
    recursive: bool,
    patterns: bool,
}

impl<'a> Walk<'a> {
    fn visit(&mut self, value: &'a Value, depth: usize) -> Result<(), String> {
        self.steps += 1;
        if self.steps > limits::SCHEMA_PARTS_MAX {
            return Err(format!("its schema has more than {} parts, references followed", limits::SCHEMA_PARTS_MAX));
        }
        if depth > limits::SCHEMA_DEPTH_MAX {
            let limit = limits::SCHEMA_DEPTH_MAX;
            return Err(format!("its schema is nested deeper than {limit}, references followed"));
        }
        match value {
            Value::Array(items) => items.iter().try_for_each(|item| self.visit(item, depth + 1)),
            Value::Object(members) => {
                for (key, member) in members {
                    self.patterns |= matches!(key.as_str(), "pattern" | "patternProperties");
                    match (key.as_str(), member) {
                        ("$ref", Value::String(target)) => self.follow(target, depth)?,
                        ("$dynamicRef" | "$recursiveRef", Value::String(_)) => {
                            return Err(format!("its schema uses \"{key}\", which is not supported; use \"$ref\""));
                        }
                        ("$id", Value::String(_)) if depth > 0 => {
                            return Err("its schema holds another schema with an \"$id\" of its own".to_owned());
                        }
                        _ => self.visit(member, depth + 1)?,
                    }
                }
                Ok(())
            }
            _ => Ok(()),
        }
    }

    fn follow(&mut self, target: &'a str, depth: usize) -> Result<(), String> {
        if self.following.contains(&target) || target == "#" {
            self.recursive = true;
            return Ok(());
        }
        let inside = target.strip_prefix('#').filter(|pointer| pointer.starts_with('/'));
        let found = inside.and_then(|pointer| self.root.pointer(pointer));
        let Some(found) = found else {
            let target: String = target.chars().take(80).collect();
            return Err(format!(
                "its schema refers to \"{target}\", which is not a place inside it; nothing outside is fetched"
            ));
        };
        self.following.push(target);
        self.visit(found, depth + 1)?;
        self.following.pop();
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use firebox_contract::BoxFuture;
    use serde_json::json;

    use super::*;

    struct Now(Instant);

    impl Clock for Now {
        fn now(&self) -> Duration {
            self.0.elapsed()
        }

        fn sleep(&self, time: Duration) -> BoxFuture<'static, ()> {
            Box::pin(tokio::time::sleep(time))
        }
    }

    async fn check(schemas: &Arc<Schemas>, schema: &Value, arguments: Value) -> Verdict {
        Arc::clone(schemas).check(schema.to_string(), arguments, Arc::new(Now(Instant::now()))).await
    }

    #[tokio::test]
    async fn f15_arguments_are_held_to_the_schema() {
        let schemas = Arc::new(Schemas::default());
        let schema = json!({
            "type": "object", "required": ["a"], "additionalProperties": false,
            "properties": { "a": { "type": "number" }, "b": { "type": "string", "pattern": "^x+$" } },
        });
        assert_eq!(check(&schemas, &schema, json!({ "a": 1 })).await, Verdict::Fits);
        let cases = [
            (json!({}), "\"a\" is a required property"),
            (json!({ "a": "1" }), "at \"/a\": \"1\" is not of type \"number\""),
            (json!({ "a": 1, "c": 2 }), "'c' was unexpected"),
            (json!({ "a": 1, "b": "y" }), "at \"/b\""),
        ];
        for (arguments, expected) in cases {
            match check(&schemas, &schema, arguments.clone()).await {
                Verdict::Misfit(reason) => assert!(reason.contains(expected), "{reason} should contain {expected}"),
                other => panic!("{arguments} became {other:?}"),
            }
        }
        assert_eq!(schemas.len(), 1, "compiled once");
    }

    #[tokio::test]
    async fn only_what_is_small_and_known_is_checked_at_once() {
        let schemas = Arc::new(Schemas::default());
        let small = json!({ "type": "object", "properties": { "a": { "type": "string" } } });
        let pattern = json!({ "properties": { "a": { "pattern": "^(x+)+$" } } });
        let many: serde_json::Map<String, Value> =
            (0..limits::SCHEMA_INLINE_PARTS).map(|n| (format!("p{n}"), json!({}))).collect();
        let large = json!({ "properties": many });
        let loops = json!({ "properties": { "a": { "$ref": "#" } } });
        let names = json!({ "patternProperties": { "^(x+)+$": {} } });
        let at_once = |schema: &Value, arguments: &Value| schemas.check_small(&schema.to_string(), arguments);
        assert_eq!(at_once(&small, &json!({ "a": "x" })), None, "not known yet");
        for schema in [&small, &pattern, &names, &large, &loops] {
            assert_eq!(check(&schemas, schema, json!({})).await, Verdict::Fits);
        }
        assert_eq!(at_once(&small, &json!({ "a": "x" })), Some(Verdict::Fits));
        assert!(matches!(at_once(&small, &json!({ "a": 1 })), Some(Verdict::Misfit(_))));
        for schema in [&pattern, &names, &large, &loops] {
            assert_eq!(at_once(schema, &json!({})), None, "{schema}");
        }
        let size = limits::SCHEMA_INLINE_ARGUMENTS_BYTES;
        for long in
            [json!({ "a": "x".repeat(size) }), json!({ "b": vec![0; size / 8] }), json!({ "x".repeat(size): 0 })]
        {
            assert_eq!(at_once(&small, &long), None);
        }
    }

    #[tokio::test]
    async fn schemas_that_refer_to_themselves_work() {
        let schemas = Arc::new(Schemas::default());
        let schema = json!({
            "$defs": { "node": { "type": "object", "properties": {
                "left": { "$ref": "#/$defs/node" }, "right": { "$ref": "#/$defs/node" }, "value": { "type": "integer" },
            } } },
            "$ref": "#/$defs/node",
        });
        let good = json!({ "left": { "value": 1 }, "right": { "left": {} } });
        assert_eq!(check(&schemas, &schema, good).await, Verdict::Fits);
        let bad = check(&schemas, &schema, json!({ "left": { "right": { "value": "x" } } })).await;
        assert!(matches!(bad, Verdict::Misfit(_)), "{bad:?}");
    }

    #[tokio::test]
    async fn hostile_schemas_refuse_calls_and_nothing_worse() {
        let doubling: serde_json::Map<String, Value> = (0..60)
            .map(|n| (format!("d{n}"), json!({ "allOf": [{ "$ref": format!("#/$defs/d{}", n + 1) }, { "$ref": format!("#/$defs/d{}", n + 1) }] })))
            .chain([("d60".to_owned(), json!({}))])
            .collect();
        let chain: serde_json::Map<String, Value> = (0..500)
            .map(|n| (format!("d{n}"), json!({ "$ref": format!("#/$defs/d{}", n + 1) })))
            .chain([("d500".to_owned(), json!({}))])
            .collect();
        let nested = (0..100).fold(json!({}), |inner, _| json!({ "not": inner }));
        let cases = [
            (json!({ "$defs": doubling, "$ref": "#/$defs/d0" }), "references followed"),
            (json!({ "$defs": chain, "$ref": "#/$defs/d0" }), "references followed"),
            (nested, "nested deeper"),
            (json!({ "$ref": "https://example.com/schema.json" }), "nothing outside is fetched"),
            (json!({ "$ref": "file:///etc/passwd" }), "nothing outside is fetched"),
            (json!({ "$ref": "#/missing" }), "not a place inside it"),
            (json!({ "$schema": "https://example.com/meta.json" }), "not valid"),
            (json!({ "$dynamicRef": "#x" }), "not supported"),
            (json!({ "type": "no such type" }), "not valid"),
            (json!({ "properties": { "a": { "pattern": "(" } } }), "not valid"),
            (json!({ "properties": { "a": { "pattern": "((a{1000}){1000}){1000}" } } }), "not valid"),
            (json!([1]), "not a JSON object"),
            (json!({ "description": "x".repeat(limits::SCHEMA_BYTES_MAX) }), "bytes"),
        ];
        let schemas = Arc::new(Schemas::default());
        for (schema, expected) in cases {
            match check(&schemas, &schema, json!({ "a": "b" })).await {
                Verdict::Unusable(reason) => assert!(reason.contains(expected), "{reason} should contain {expected}"),
                other => panic!("{expected}: {other:?}"),
            }
        }
    }

    #[tokio::test]
    async fn patterns_that_backtrack_for_ever_end() {
        let schemas = Arc::new(Schemas::default());
        let schema = json!({ "properties": { "a": { "pattern": "^(?=(a+)+$)(a|aa)+\\1$" } } });
        let begun = Instant::now();
        let verdict = check(&schemas, &schema, json!({ "a": format!("{}b", "a".repeat(5_000)) })).await;
        assert_ne!(verdict, Verdict::Fits);
        assert!(begun.elapsed() < limits::SCHEMA_CHECK_TIME + Duration::from_secs(1));
    }

    #[tokio::test]
    async fn the_cache_is_bounded() {
        let schemas = Arc::new(Schemas::default());
        for n in 0..=limits::SCHEMAS_CACHED_MAX {
            assert_eq!(check(&schemas, &json!({ "title": n.to_string() }), json!({})).await, Verdict::Fits);
        }
        assert_eq!(schemas.len(), limits::SCHEMAS_CACHED_MAX);
    }
}
