//! Which placeholder stands for which value. The same value always gets the same placeholder.

use std::collections::{HashMap, HashSet};

use crate::detect::Kind;
use crate::scan::{Found, Stream};

/// Lives as long as one request.
#[derive(Default)]
pub(crate) struct Vault {
    placeholders: HashMap<String, String>,
    originals: HashMap<String, String>,
    reserved: HashSet<String>,
    issued: HashMap<Kind, usize>,
}

impl Vault {
    /// Placeholders that stand in `text` already mean something else, and are not given out.
    pub(crate) fn reserve(&mut self, text: &str) {
        let reserved = &mut self.reserved;
        Stream::default().push(text, true, &[], true, |found, value| {
            if found == Found::Placeholder {
                reserved.insert(value.to_owned());
            }
            String::new()
        });
    }

    /// What to write in the place of `value`.
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

    /// What a placeholder stands for, if it was given out.
    pub(crate) fn original(&self, placeholder: &str) -> Option<&str> {
        self.originals.get(placeholder).map(String::as_str)
    }
}
