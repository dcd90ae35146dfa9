//! The functions, over the imports of the component.

#![allow(missing_docs, unreachable_pub, reason = "generated; the documentation is in the WIT files")]

wit_bindgen::generate!({
    inline: "
        package example:visits;
        world visits {
            import wasi:config/store@0.2.0-draft-2024-09-27;
            import wasi:http/outgoing-handler@0.2.0;
            import wasi:keyvalue/store@0.2.0-draft2;
            import wasi:keyvalue/atomics@0.2.0-draft2;
            import wasi:keyvalue/batch@0.2.0-draft2;
            import wasi:keyvalue/store@0.2.0-draft;
            import wasi:keyvalue/atomics@0.2.0-draft;
            import wasi:keyvalue/batch@0.2.0-draft;
            /// The status of the answer to a GET request.
            export status: func(url: string) -> result<u16, string>;
            /// Stores texts in the bucket `default`. Returns whether the first key is new.
            export remember: func(texts: list<tuple<string, string>>, older: bool) -> result<bool, string>;
            export recall: func(keys: list<string>, older: bool) -> result<list<option<string>>, string>;
            export forget: func(keys: list<string>, older: bool) -> result<_, string>;
            export count: func(key: string, by: u32, older: bool) -> result<s64, string>;
            /// What the operator wrote in the configuration.
            export setting: func(key: string) -> option<string>;
            /// How many keys there are, and on how many pages.
            export keys: func(older: bool) -> result<tuple<u32, u32>, string>;
        }
    ",
    path: "../../wit",
    generate_all,
});

use std::fmt::Debug;

use self::wasi::config0_2_0_draft_2024_09_27::store as config;
use self::wasi::http::outgoing_handler;
use self::wasi::http::types::{Fields, OutgoingRequest, Scheme};
use self::wasi::keyvalue0_2_0_draft::{atomics as older_atomics, batch as older_batch, store as older_store};
use self::wasi::keyvalue0_2_0_draft2::{atomics, batch, store};

const BUCKET: &str = "default";

struct Visits;

fn failed(error: impl Debug) -> String {
    format!("{error:?}")
}

fn bucket() -> Result<store::Bucket, String> {
    store::open(BUCKET).map_err(failed)
}

fn older_bucket() -> Result<older_store::Bucket, String> {
    older_store::open(BUCKET).map_err(failed)
}

fn texts(values: Vec<Option<(String, Vec<u8>)>>) -> Vec<Option<String>> {
    values.into_iter().map(|value| value.map(|(_, bytes)| String::from_utf8_lossy(&bytes).into_owned())).collect()
}

impl Guest for Visits {
    fn status(url: String) -> Result<u16, String> {
        let (is_https, host, path) = crate::parts(&url).ok_or("the address is not valid")?;
        let request = OutgoingRequest::new(Fields::new());
        let scheme = if is_https { Scheme::Https } else { Scheme::Http };
        let wrong = |()| "the address is not valid".to_owned();
        request.set_scheme(Some(&scheme)).map_err(wrong)?;
        request.set_authority(Some(host)).map_err(wrong)?;
        request.set_path_with_query(Some(path)).map_err(wrong)?;
        let answer = outgoing_handler::handle(request, None).map_err(failed)?;
        answer.subscribe().block();
        let response = answer.get().and_then(Result::ok).ok_or("there is no answer")?.map_err(failed)?;
        Ok(response.status())
    }

    fn remember(texts: Vec<(String, String)>, older: bool) -> Result<bool, String> {
        let first = texts.first().map(|pair| pair.0.clone()).ok_or("there is no text")?;
        let pairs: Vec<(String, Vec<u8>)> = texts.into_iter().map(|(key, text)| (key, text.into_bytes())).collect();
        if older {
            let bucket = older_bucket()?;
            let is_new = !bucket.exists(&first).map_err(failed)?;
            older_batch::set_many(&bucket, &pairs).map_err(failed)?;
            return Ok(is_new);
        }
        let bucket = bucket()?;
        let is_new = !bucket.exists(&first).map_err(failed)?;
        batch::set_many(&bucket, &pairs).map_err(failed)?;
        Ok(is_new)
    }

    fn recall(keys: Vec<String>, older: bool) -> Result<Vec<Option<String>>, String> {
        let values = if older {
            older_batch::get_many(&older_bucket()?, &keys).map_err(failed)?
        } else {
            batch::get_many(&bucket()?, &keys).map_err(failed)?
        };
        Ok(texts(values))
    }

    fn forget(keys: Vec<String>, older: bool) -> Result<(), String> {
        if older {
            older_batch::delete_many(&older_bucket()?, &keys).map_err(failed)
        } else {
            batch::delete_many(&bucket()?, &keys).map_err(failed)
        }
    }

    fn count(key: String, by: u32, older: bool) -> Result<i64, String> {
        if older {
            let sum = older_atomics::increment(&older_bucket()?, &key, by.into()).map_err(failed)?;
            return i64::try_from(sum).map_err(failed);
        }
        atomics::increment(&bucket()?, &key, by.into()).map_err(failed)
    }

    fn setting(key: String) -> Option<String> {
        config::get(&key).ok().flatten()
    }

    fn keys(older: bool) -> Result<(u32, u32), String> {
        let (mut count, mut pages) = (0, 0);
        if older {
            let (bucket, mut cursor) = (older_bucket()?, None);
            loop {
                let page = bucket.list_keys(cursor).map_err(failed)?;
                (count, pages, cursor) = (count + page.keys.len() as u32, pages + 1, page.cursor);
                if cursor.is_none() {
                    return Ok((count, pages));
                }
            }
        }
        let (bucket, mut cursor) = (bucket()?, None);
        loop {
            let page = bucket.list_keys(cursor.as_deref()).map_err(failed)?;
            (count, pages, cursor) = (count + page.keys.len() as u32, pages + 1, page.cursor);
            if cursor.is_none() {
                return Ok((count, pages));
            }
        }
    }
}

export!(Visits);
