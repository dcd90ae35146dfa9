//! Pieces of a call's arguments, as soon as their text is known to belong to the call.

use super::Piece;
use super::json_scan;

/// Bytes of the beginning of an object in which its name and the key of its arguments are searched.
const BEGINNING_BYTES_MAX: usize = 4_096;

/// What was sent of the arguments of one call.
#[derive(Debug, Default)]
pub(super) struct ArgumentStream {
    sent: usize,
}

impl ArgumentStream {
    /// The part of `arguments`, the text of an object so far, that was not sent yet. Nothing is sent of an object that may
    /// be empty, because an empty one may be written differently.
    pub(super) fn advance(&mut self, name: &str, arguments: &str) -> Option<Piece> {
        let inside = arguments.strip_prefix('{')?.trim_start();
        if inside.is_empty() || inside.starts_with('}') || arguments.len() <= self.sent {
            return None;
        }
        let begins = self.sent == 0;
        let piece =
            Piece::Delta { name: begins.then(|| name.to_owned()), arguments: arguments.get(self.sent..)?.to_owned() };
        self.sent = arguments.len();
        Some(piece)
    }
}

/// The same for a call that is one object with name and arguments: `{"name": "f", "arguments": {…}}`, in this order.
#[derive(Debug, Default)]
pub(super) struct ObjectStream {
    found: Option<(String, usize)>,
    nesting: Option<json_scan::Nesting>,
    ended: Option<usize>,
    stream: ArgumentStream,
}

impl ObjectStream {
    /// The next piece of the arguments in `object`, the text of the call so far.
    pub(super) fn advance(&mut self, object: &str) -> Option<Piece> {
        if self.found.is_none() && object.len() <= BEGINNING_BYTES_MAX {
            self.found = beginning(object);
        }
        let (name, start) = self.found.as_ref()?;
        let nesting = self.nesting.get_or_insert_with(|| json_scan::Nesting::starting_at(*start));
        if self.ended.is_none() {
            self.ended = nesting.end(object);
        }
        self.stream.advance(name, object.get(*start..self.ended.unwrap_or(object.len()))?)
    }
}

/// The name, and the position of the arguments, of an object that begins with both.
fn beginning(object: &str) -> Option<(String, usize)> {
    let rest = object.trim_start().strip_prefix('{')?.trim_start().strip_prefix("\"name\"")?;
    let rest = rest.trim_start().strip_prefix(':')?.trim_start();
    let end = string_end(rest)?;
    let name: String = serde_json::from_str(&rest[..end]).ok()?;
    let rest = rest[end..].trim_start().strip_prefix(',')?.trim_start();
    let rest = rest.strip_prefix("\"arguments\"").or_else(|| rest.strip_prefix("\"parameters\""))?;
    let rest = rest.trim_start().strip_prefix(':')?.trim_start();
    (rest.starts_with('{') && !name.is_empty()).then(|| (name, object.len() - rest.len()))
}

/// The position after the JSON string that `text` begins with.
fn string_end(text: &str) -> Option<usize> {
    let mut escaped = false;
    let inside = text.strip_prefix('"')?;
    let end = inside.char_indices().find(|(_, letter)| {
        let ends = !escaped && *letter == '"';
        escaped = !escaped && *letter == '\\';
        ends
    });
    end.map(|(at, _)| at + 2)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_pieces_are_the_arguments_at_every_split() {
        let object = r#" {"name": "f\"", "arguments": {"a": "}\"", "ü": {"b": []}} } rest"#;
        let expected = r#"{"a": "}\"", "ü": {"b": []}}"#;
        for cut in (0..=object.len()).filter(|cut| object.is_char_boundary(*cut)) {
            let mut stream = ObjectStream::default();
            let pieces = [&object[..cut], object].into_iter().filter_map(|object| stream.advance(object));
            let (mut names, mut arguments) = (Vec::new(), String::new());
            for piece in pieces {
                let Piece::Delta { name, arguments: more } = piece else { panic!("no delta") };
                names.extend(name);
                arguments.push_str(&more);
            }
            assert_eq!((names, arguments.as_str()), (vec!["f\"".to_owned()], expected), "cut at {cut}");
        }
    }

    #[test]
    fn objects_in_another_order_and_empty_arguments_have_no_pieces() {
        for object in [
            r#"{"arguments": {"a": 1}, "name": "f"}"#,
            r#"{"name": "f", "arguments": { }}"#,
            r#"{"name": "f", "arguments": "{}"}"#,
            r#"{"name": "", "arguments": {"a": 1}}"#,
            "[1]",
        ] {
            assert_eq!(ObjectStream::default().advance(object), None, "{object}");
        }
    }
}
