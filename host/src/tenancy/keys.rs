//! Keys: made from the system's randomness, shown once, kept as digests.

use std::fmt::Write as _;

use firebox_contract::Error;
use sha2::{Digest, Sha256};

/// What every key begins with, so that scanners for leaked secrets can know it.
pub const KEY_PREFIX: &str = "fbx_";
/// Bytes of a key's public part; written as twice as many digits.
const ID_BYTES: usize = 8;
/// Bytes of a key's secret part.
const SECRET_BYTES: usize = 32;
/// Longest text that can be a key at all; anything longer is not even hashed.
const KEY_LENGTH_MAX: usize = 256;

/// A key that was just made. It is shown once and only its digest is kept.
pub struct NewKey {
    /// Its public part.
    pub id: String,
    /// The whole key, `fbx_<id>_<secret>`.
    pub key: String,
    /// SHA-256 of the whole key.
    pub digest: [u8; 32],
}

impl NewKey {
    /// Makes one with 256 random bits.
    ///
    /// # Errors
    /// `Error::Internal` when the system gives no randomness.
    pub fn generate() -> Result<Self, Error> {
        let mut random = [0; ID_BYTES + SECRET_BYTES];
        getrandom::fill(&mut random)
            .map_err(|error| Error::Internal(format!("the system gives no random numbers: {error}")))?;
        let (id, secret) = random.split_at(ID_BYTES);
        let id = hex(id);
        let key = format!("{KEY_PREFIX}{id}_{}", hex(secret));
        let digest = digest(&key);
        Ok(Self { id, key, digest })
    }
}

/// SHA-256 of a key.
#[must_use]
pub fn digest(key: &str) -> [u8; 32] {
    Sha256::digest(key.as_bytes()).into()
}

/// `bytes` in hexadecimal digits.
#[must_use]
pub fn hex(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len() * 2);
    for byte in bytes {
        // Writing to a string does not fail.
        let _infallible = write!(text, "{byte:02x}");
    }
    text
}

/// The key in the value of an `Authorization` header.
pub(super) fn bearer(authorization: &str) -> Option<&str> {
    let (scheme, key) = authorization.trim().split_once(' ')?;
    let key = key.trim();
    let plausible = scheme.eq_ignore_ascii_case("bearer") && key.starts_with(KEY_PREFIX) && key.len() <= KEY_LENGTH_MAX;
    plausible.then_some(key)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_have_their_form_and_differ() {
        let (one, two) = (NewKey::generate().expect("random"), NewKey::generate().expect("random"));
        assert_ne!(one.key, two.key);
        assert_eq!(one.key, format!("fbx_{}_{}", one.id, one.key.rsplit('_').next().expect("a secret")));
        assert_eq!((one.id.len(), one.key.len()), (16, 85));
        assert_eq!(one.digest, digest(&one.key));
        assert_eq!(hex(&digest("abc")), "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
    }

    #[test]
    fn only_bearer_keys_of_ours_are_looked_at() {
        assert_eq!(bearer("Bearer fbx_a_b"), Some("fbx_a_b"));
        assert_eq!(bearer("bearer  fbx_a_b "), Some("fbx_a_b"));
        for other in ["", "Bearer", "fbx_a_b", "Basic fbx_a_b", "Bearer sk-abc"] {
            assert_eq!(bearer(other), None, "{other}");
        }
        assert_eq!(bearer(&format!("Bearer fbx_{}", "a".repeat(300))), None);
    }
}
