//! Validates the arguments of a tool call against the tool's JSON Schema, before the call runs (F15).
//!
//! A schema may come from an untrusted server, so it is checked before it is compiled. Its bytes, its nesting and its
//! parts (with all references followed) are limited, and references outside of it are refused. Patterns have a limited
//! number of steps. The work runs on a blocking thread with a time limit. Calls of a tool whose schema is refused are
//! refused too.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use firebox_contract::{Clock, limits};
use jsonschema::{PatternOptions, Validator};
use serde_json::Value;

/// The result of a check.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum SchemaVerdict {
    /// The arguments fit.
    Fits,
    /// The arguments do not fit, for this reason.
    Misfit(String),
    /// The schema itself is refused, for this reason.
    Unusable(String),
}

/// A compiled schema.
struct CompiledSchema {
    validator: Validator,
    /// Whether it refers to itself. Then its errors are not explained: listing them can take exponential time in the depth
    /// of the arguments, and only the plain check is protected against that.
    recursive: bool,
    /// Whether it has few parts, with references followed, and no pattern. Small arguments are then checked at once.
    small: bool,
}

type CompileResult = Result<Arc<CompiledSchema>, String>;

/// Compiled schemas by their text.
#[derive(Default)]
pub(crate) struct SchemaCache {
    entries: Mutex<SchemaEntries>,
}

#[derive(Default)]
struct SchemaEntries {
    by_text: HashMap<Arc<str>, CompileResult>,
    /// From the oldest to the newest.
    order: VecDeque<Arc<str>>,
}

impl SchemaCache {
    /// Checks `arguments`, which are a JSON object, against the schema with this text.
    pub(crate) async fn check(
        self: Arc<Self>,
        schema: String,
        arguments: Value,
        clock: Arc<dyn Clock>,
    ) -> SchemaVerdict {
        if schema.trim() == "{}" {
            return SchemaVerdict::Fits;
        }
        if let Some(verdict) = self.check_small(&schema, &arguments) {
            return verdict;
        }
        let work = tokio::task::spawn_blocking(move || match self.compiled(&schema) {
            Ok(compiled) => compiled.check(&arguments),
            Err(reason) => SchemaVerdict::Unusable(reason),
        });
        tokio::select! {
            verdict = work => {
                verdict.unwrap_or_else(|_| SchemaVerdict::Unusable("its schema broke the check".to_owned()))
            }
            () = clock.sleep(limits::SCHEMA_CHECK_TIME) => {
                let seconds = limits::SCHEMA_CHECK_TIME.as_secs();
                SchemaVerdict::Unusable(format!("its schema takes longer than {seconds} s to check"))
            }
        }
    }

    /// Checks small arguments against a small schema on this thread, because a blocking thread would take longer than the
    /// check. `None` if the schema is not in the cache or either is not small.
    fn check_small(&self, schema: &str, arguments: &Value) -> Option<SchemaVerdict> {
        let compiled = self.lock().by_text.get(schema)?.clone().ok()?;
        let small = compiled.small && is_within(arguments, &mut { limits::SCHEMA_INLINE_ARGUMENTS_BYTES });
        small.then(|| compiled.check(arguments))
    }

    fn lock(&self) -> MutexGuard<'_, SchemaEntries> {
        // A panic of a holder leaves the entries consistent.
        self.entries.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn compiled(&self, schema: &str) -> CompileResult {
        if let Some(entry) = self.lock().by_text.get(schema) {
            return entry.clone();
        }
        let entry = compile(schema).map(Arc::new);
        if schema.len() > limits::SCHEMA_BYTES_MAX {
            return entry;
        }
        let key: Arc<str> = Arc::from(schema);
        let mut entries = self.lock();
        if entries.by_text.insert(Arc::clone(&key), entry.clone()).is_none() {
            entries.order.push_back(key);
        }
        while entries.order.len() > limits::SCHEMAS_CACHED_MAX {
            if let Some(oldest) = entries.order.pop_front() {
                entries.by_text.remove(&oldest);
            }
        }
        entry
    }

    #[cfg(test)]
    fn len(&self) -> usize {
        self.lock().by_text.len()
    }
}

/// Whether `value` has roughly at most `left` bytes. Subtracts them from `left`.
fn is_within(value: &Value, left: &mut usize) -> bool {
    let own = match value {
        Value::String(text) => text.len(),
        Value::Object(fields) => fields.keys().map(String::len).sum(),
        _ => 0,
    };
    // Every value costs some bytes, so that this ends early however many values there are.
    let Some(rest) = left.checked_sub(own + 8) else { return false };
    *left = rest;
    match value {
        Value::Array(parts) => parts.iter().all(|part| is_within(part, left)),
        Value::Object(fields) => fields.values().all(|part| is_within(part, left)),
        _ => true,
    }
}

impl CompiledSchema {
    fn check(&self, arguments: &Value) -> SchemaVerdict {
        if self.validator.is_valid(arguments) {
            return SchemaVerdict::Fits;
        }
        if self.recursive {
            return SchemaVerdict::Misfit("the arguments do not fit the tool's schema; read it again".to_owned());
        }
        let reasons: Vec<String> = self.validator.iter_errors(arguments).take(3).map(|error| explain(&error)).collect();
        SchemaVerdict::Misfit(cut(&format!("the arguments do not fit the tool's schema: {}", reasons.join("; "))))
    }
}

/// An error of the validator with the path of the value.
fn explain(error: &jsonschema::ValidationError<'_>) -> String {
    let path = error.instance_path().to_string();
    if path.is_empty() { error.to_string() } else { format!("at \"{path}\": {error}") }
}

fn cut(reason: &str) -> String {
    let limit = limits::SCHEMA_REASON_BYTES_MAX;
    if reason.len() <= limit {
        return reason.to_owned();
    }
    format!("{}…", &reason[..reason.floor_char_boundary(limit)])
}

/// Checks that a schema is the text of a JSON object within the limits of bytes and depth.
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

/// The nesting depth of a value. A value that is no array or object has depth 0.
pub(crate) fn depth(value: &Value) -> usize {
    match value {
        Value::Array(items) => 1 + items.iter().map(depth).max().unwrap_or(0),
        Value::Object(members) => 1 + members.values().map(depth).max().unwrap_or(0),
        _ => 0,
    }
}

/// Checks that the schema with this text can be compiled.
///
/// # Errors
/// The reason why not.
pub(crate) fn check(schema: &str) -> Result<(), String> {
    compile(schema).map(|_| ())
}

fn compile(schema: &str) -> Result<CompiledSchema, String> {
    check_text(schema)?;
    let value: Value = serde_json::from_str(schema).map_err(|error| format!("its schema is not JSON: {error}"))?;
    let mut walk = SchemaWalk { root: &value, parts: 0, following: Vec::new(), recursive: false, patterns: false };
    walk.visit(&value, 0)?;
    let recursive = walk.recursive;
    let small = !recursive && walk.parts <= limits::SCHEMA_INLINE_PARTS && !walk.patterns;
    let patterns = PatternOptions::fancy_regex()
        .backtrack_limit(limits::SCHEMA_PATTERN_STEPS_MAX)
        .size_limit(limits::SCHEMA_PATTERN_BYTES_MAX)
        .dfa_size_limit(limits::SCHEMA_PATTERN_BYTES_MAX);
    let options = jsonschema::options().offline().with_pattern_options(patterns).should_validate_formats(false);
    let built = options.build(&value).map_err(|error| cut(&format!("its schema is not valid: {error}")));
    Ok(CompiledSchema { validator: built?, recursive, small })
}

/// Walks a schema and follows every reference, as compiling and checking do. A few lines of references can expand to
/// exponentially many parts, or to a nesting that overflows the stack.
struct SchemaWalk<'a> {
    root: &'a Value,
    parts: usize,
    following: Vec<&'a str>,
    recursive: bool,
    patterns: bool,
}

impl<'a> SchemaWalk<'a> {
    fn visit(&mut self, value: &'a Value, depth: usize) -> Result<(), String> {
        self.parts += 1;
        if self.parts > limits::SCHEMA_PARTS_MAX {
            return Err(format!(
                "its schema has more than {} parts with references followed",
                limits::SCHEMA_PARTS_MAX
            ));
        }
        if depth > limits::SCHEMA_DEPTH_MAX {
            let limit = limits::SCHEMA_DEPTH_MAX;
            return Err(format!("its schema is nested deeper than {limit} with references followed"));
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
                            return Err("its schema contains another schema with an \"$id\" of its own".to_owned());
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
                "its schema refers to \"{target}\", which is not inside it; references outside are not fetched"
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

    struct TokioClock(Instant);

    impl Clock for TokioClock {
        fn now(&self) -> Duration {
            self.0.elapsed()
        }

        fn sleep(&self, time: Duration) -> BoxFuture<'static, ()> {
            Box::pin(tokio::time::sleep(time))
        }
    }

    async fn check(schemas: &Arc<SchemaCache>, schema: &Value, arguments: Value) -> SchemaVerdict {
        Arc::clone(schemas).check(schema.to_string(), arguments, Arc::new(TokioClock(Instant::now()))).await
    }

    #[tokio::test]
    async fn f15_arguments_are_validated_against_the_schema() {
        let schemas = Arc::new(SchemaCache::default());
        let schema = json!({
            "type": "object", "required": ["a"], "additionalProperties": false,
            "properties": { "a": { "type": "number" }, "b": { "type": "string", "pattern": "^x+$" } },
        });
        assert_eq!(check(&schemas, &schema, json!({ "a": 1 })).await, SchemaVerdict::Fits);
        let cases = [
            (json!({}), "\"a\" is a required property"),
            (json!({ "a": "1" }), "at \"/a\": \"1\" is not of type \"number\""),
            (json!({ "a": 1, "c": 2 }), "'c' was unexpected"),
            (json!({ "a": 1, "b": "y" }), "at \"/b\""),
        ];
        for (arguments, expected) in cases {
            match check(&schemas, &schema, arguments.clone()).await {
                SchemaVerdict::Misfit(reason) => {
                    assert!(reason.contains(expected), "{reason} should contain {expected}")
                }
                other => panic!("{arguments} became {other:?}"),
            }
        }
        assert_eq!(schemas.len(), 1, "compiled once");
    }

    #[tokio::test]
    async fn only_small_arguments_of_small_cached_schemas_are_checked_on_this_thread() {
        let schemas = Arc::new(SchemaCache::default());
        let small = json!({ "type": "object", "properties": { "a": { "type": "string" } } });
        let pattern = json!({ "properties": { "a": { "pattern": "^(x+)+$" } } });
        let many: serde_json::Map<String, Value> =
            (0..limits::SCHEMA_INLINE_PARTS).map(|n| (format!("p{n}"), json!({}))).collect();
        let large = json!({ "properties": many });
        let loops = json!({ "properties": { "a": { "$ref": "#" } } });
        let names = json!({ "patternProperties": { "^(x+)+$": {} } });
        let at_once = |schema: &Value, arguments: &Value| schemas.check_small(&schema.to_string(), arguments);
        assert_eq!(at_once(&small, &json!({ "a": "x" })), None, "not in the cache yet");
        for schema in [&small, &pattern, &names, &large, &loops] {
            assert_eq!(check(&schemas, schema, json!({})).await, SchemaVerdict::Fits);
        }
        assert_eq!(at_once(&small, &json!({ "a": "x" })), Some(SchemaVerdict::Fits));
        assert!(matches!(at_once(&small, &json!({ "a": 1 })), Some(SchemaVerdict::Misfit(_))));
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
    async fn recursive_schemas_work() {
        let schemas = Arc::new(SchemaCache::default());
        let schema = json!({
            "$defs": { "node": { "type": "object", "properties": {
                "left": { "$ref": "#/$defs/node" }, "right": { "$ref": "#/$defs/node" }, "value": { "type": "integer" },
            } } },
            "$ref": "#/$defs/node",
        });
        let fitting = json!({ "left": { "value": 1 }, "right": { "left": {} } });
        assert_eq!(check(&schemas, &schema, fitting).await, SchemaVerdict::Fits);
        let misfit = check(&schemas, &schema, json!({ "left": { "right": { "value": "x" } } })).await;
        assert!(matches!(misfit, SchemaVerdict::Misfit(_)), "{misfit:?}");
    }

    #[tokio::test]
    async fn hostile_schemas_are_refused_with_a_reason() {
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
            (json!({ "$defs": doubling, "$ref": "#/$defs/d0" }), "with references followed"),
            (json!({ "$defs": chain, "$ref": "#/$defs/d0" }), "with references followed"),
            (nested, "nested deeper"),
            (json!({ "$ref": "https://example.com/schema.json" }), "references outside are not fetched"),
            (json!({ "$ref": "file:///etc/passwd" }), "references outside are not fetched"),
            (json!({ "$ref": "#/missing" }), "which is not inside it"),
            (json!({ "$schema": "https://example.com/meta.json" }), "not valid"),
            (json!({ "$dynamicRef": "#x" }), "not supported"),
            (json!({ "type": "no such type" }), "not valid"),
            (json!({ "properties": { "a": { "pattern": "(" } } }), "not valid"),
            (json!({ "properties": { "a": { "pattern": "((a{1000}){1000}){1000}" } } }), "not valid"),
            (json!([1]), "not a JSON object"),
            (json!({ "description": "x".repeat(limits::SCHEMA_BYTES_MAX) }), "bytes"),
        ];
        let schemas = Arc::new(SchemaCache::default());
        for (schema, expected) in cases {
            match check(&schemas, &schema, json!({ "a": "b" })).await {
                SchemaVerdict::Unusable(reason) => {
                    assert!(reason.contains(expected), "{reason} should contain {expected}")
                }
                other => panic!("{expected}: {other:?}"),
            }
        }
    }

    #[tokio::test]
    async fn patterns_that_backtrack_endlessly_are_stopped() {
        let schemas = Arc::new(SchemaCache::default());
        let schema = json!({ "properties": { "a": { "pattern": "^(?=(a+)+$)(a|aa)+\\1$" } } });
        let began = Instant::now();
        let verdict = check(&schemas, &schema, json!({ "a": format!("{}b", "a".repeat(5_000)) })).await;
        assert_ne!(verdict, SchemaVerdict::Fits);
        assert!(began.elapsed() < limits::SCHEMA_CHECK_TIME + Duration::from_secs(1));
    }

    #[tokio::test]
    async fn the_schema_cache_is_bounded() {
        let schemas = Arc::new(SchemaCache::default());
        for n in 0..=limits::SCHEMAS_CACHED_MAX {
            assert_eq!(check(&schemas, &json!({ "title": n.to_string() }), json!({})).await, SchemaVerdict::Fits);
        }
        assert_eq!(schemas.len(), limits::SCHEMAS_CACHED_MAX);
    }
}
