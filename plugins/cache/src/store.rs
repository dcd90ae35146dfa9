//! The answers by their keys: a bucket of the tenant, and a map in tests.

#[cfg(not(target_arch = "wasm32"))]
pub(crate) use in_tests::{delete, get, set};
#[cfg(target_arch = "wasm32")]
pub(crate) use of_host::{delete, get, set};

#[cfg(target_arch = "wasm32")]
mod of_host {
    use firebox_sdk::kv;

    /// The bucket that the manifest asks for.
    const BUCKET: &str = "answers";

    pub(crate) fn get(key: &str) -> Result<Option<String>, String> {
        let found = kv::get(BUCKET, key).map_err(|error| kv::message(&error))?;
        Ok(found.and_then(|bytes| String::from_utf8(bytes).ok()))
    }

    pub(crate) fn set(key: &str, answer: &str, milliseconds: u64) -> Result<(), String> {
        kv::set(BUCKET, key, answer.as_bytes(), Some(milliseconds)).map_err(|error| kv::message(&error))
    }

    pub(crate) fn delete(key: &str) -> Result<(), String> {
        kv::delete(BUCKET, key).map_err(|error| kv::message(&error))
    }
}

#[cfg(not(target_arch = "wasm32"))]
mod in_tests {
    use std::cell::RefCell;
    use std::collections::BTreeMap;

    thread_local! {
        static ANSWERS: RefCell<BTreeMap<String, String>> = const { RefCell::new(BTreeMap::new()) };
    }

    pub(crate) fn get(key: &str) -> Result<Option<String>, String> {
        Ok(ANSWERS.with_borrow(|answers| answers.get(key).cloned()))
    }

    pub(crate) fn set(key: &str, answer: &str, _milliseconds: u64) -> Result<(), String> {
        ANSWERS.with_borrow_mut(|answers| answers.insert(key.to_owned(), answer.to_owned()));
        Ok(())
    }

    pub(crate) fn delete(key: &str) -> Result<(), String> {
        ANSWERS.with_borrow_mut(|answers| answers.remove(key));
        Ok(())
    }
}
