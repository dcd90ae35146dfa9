//! Uses a key-value bucket.

use firebox_sdk::Arguments;
use firebox_sdk::keyvalue::{self, Bucket, Cas, CasError, Error};

/// Runs one operation in the bucket `bucket`. `times` repeats a `fill` with other keys.
pub(crate) fn run(given: &Arguments) -> Result<String, String> {
    let bucket = keyvalue::open(&given.text("bucket")?).map_err(shown)?;
    let key = || given.text("key");
    let value = || given.text("value").map(String::into_bytes);
    match given.text("with")?.as_str() {
        "get" => bucket.get(&key()?).map(text).map_err(shown),
        "set" => bucket.set(&key()?, &value()?).map(done).map_err(shown),
        "delete" => bucket.delete(&key()?).map(done).map_err(shown),
        "exists" => bucket.exists(&key()?).map(|found| found.to_string()).map_err(shown),
        "keys" => keys(&bucket),
        "increment" => {
            let by = given.number_text("value")?.parse().map_err(|_| "not a number".to_owned())?;
            keyvalue::increment(&bucket, &key()?, by).map(|sum| sum.to_string()).map_err(shown)
        }
        "many" => many(&bucket, &key()?, &value()?),
        "swap" => swap(&bucket, &key()?, &value()?),
        "lost-swap" => lost_swap(&bucket, &key()?, &value()?),
        "big" => {
            let bytes = given.number_text("value")?.parse().map_err(|_| "not a number".to_owned())?;
            bucket.set(&key()?, &vec![b'x'; bytes]).map(done).map_err(shown)
        }
        "fill" => fill(&bucket, given.number_text("value")?.parse().map_err(|_| "not a number".to_owned())?),
        other => Err(format!("the probe cannot \"{other}\" a bucket")),
    }
}

fn shown(error: Error) -> String {
    format!("{error:?}")
}

fn done(_: ()) -> String {
    "done".to_owned()
}

fn text(value: Option<Vec<u8>>) -> String {
    value.map_or_else(|| "-".to_owned(), |bytes| String::from_utf8_lossy(&bytes).into_owned())
}

/// All keys, with the number of pages.
fn keys(bucket: &Bucket) -> Result<String, String> {
    let (mut all, mut pages, mut cursor) = (Vec::new(), 0, None);
    loop {
        let page = bucket.list_keys(cursor.as_deref()).map_err(shown)?;
        (pages, cursor) = (pages + 1, page.cursor);
        all.extend(page.keys);
        if cursor.is_none() {
            break;
        }
    }
    let count = all.len();
    all.truncate(8);
    Ok(format!("{count} in {pages}: {}", all.join(" ")))
}

fn many(bucket: &Bucket, key: &str, value: &[u8]) -> Result<String, String> {
    let names = [format!("{key}1"), format!("{key}2"), format!("{key}3")];
    let pairs = [(names[0].clone(), value.to_vec()), (names[1].clone(), value.to_vec())];
    keyvalue::set_many(bucket, &pairs).map_err(shown)?;
    let found = keyvalue::get_many(bucket, &names).map_err(shown)?;
    keyvalue::delete_many(bucket, &names).map_err(shown)?;
    let found: Vec<String> = found.into_iter().map(|pair| text(pair.map(|pair| pair.1))).collect();
    Ok(found.join(" "))
}

fn swap(bucket: &Bucket, key: &str, value: &[u8]) -> Result<String, String> {
    let cas = Cas::new(bucket, key).map_err(shown)?;
    let before = text(cas.current().map_err(shown)?);
    match keyvalue::swap(cas, value) {
        Ok(()) => Ok(format!("swapped {before}")),
        Err(CasError::StoreError(error)) => Err(shown(error)),
        Err(CasError::CasFailed(_)) => Err("changed".to_owned()),
    }
}

/// A swap whose value another call has changed. The new handle then succeeds.
fn lost_swap(bucket: &Bucket, key: &str, value: &[u8]) -> Result<String, String> {
    let cas = Cas::new(bucket, key).map_err(shown)?;
    bucket.set(key, b"other").map_err(shown)?;
    match keyvalue::swap(cas, value) {
        Err(CasError::CasFailed(again)) => {
            let seen = text(again.current().map_err(shown)?);
            let second = keyvalue::swap(again, value).is_ok();
            Ok(format!("lost to {seen}, then {second}"))
        }
        other => Err(format!("{other:?}")),
    }
}

/// Sets `count` keys, and returns how many worked and the error of the first that did not.
fn fill(bucket: &Bucket, count: usize) -> Result<String, String> {
    for number in 0..count {
        if let Err(error) = bucket.set(&format!("key{number:06}"), b"x") {
            return Ok(format!("{number} then {}", shown(error)));
        }
    }
    Ok(format!("{count}"))
}
