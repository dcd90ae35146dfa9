//! The map between values and their placeholders. A value always gets the same placeholder.

use std::collections::{HashMap, HashSet};

use crate::detect::Kind;
use crate::scan::{Detection, Stream};

/// The placeholders of one request.
#[derive(Default)]
pub(crate) struct PlaceholderMap {
    placeholders: HashMap<String, String>,
    originals: HashMap<String, String>,
    reserved: HashSet<String>,
    issued: HashMap<Kind, usize>,
}

impl PlaceholderMap {
    /// Reserves the placeholders that already occur in `text`, so that they are not used for other values.
    pub(crate) fn reserve(&mut self, text: &str) {
        let reserved = &mut self.reserved;
        Stream::default().push(text, true, &[], true, |found, value| {
            if found == Detection::Placeholder {
                reserved.insert(value.to_owned());
            }
            String::new()
        });
    }

    /// The placeholder for `value`.
    pub(crate) fn placeholder(&mut self, kind: Kind, value: &str) -> String {
        if let Some(known) = self.placeholders.get(value) {
            return known.clone();
        }
        let number = self.issued.entry(kind).or_default();
        let placeholder = loop {
            *number += 1;
            let candidate = format!("[{}_{number}]", kind.label());
            if !self.reserved.contains(&candidate) {
                break candidate;
            }
        };
        self.placeholders.insert(value.to_owned(), placeholder.clone());
        self.originals.insert(placeholder.clone(), value.to_owned());
        placeholder
    }

    /// The value of a placeholder. `None` if the plugin did not issue it.
    pub(crate) fn original(&self, placeholder: &str) -> Option<&str> {
        self.originals.get(placeholder).map(String::as_str)
    }
}
