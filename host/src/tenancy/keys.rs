//! API keys: random, shown once, stored as digests.

use std::fmt::Write as _;

use firebox_contract::Error;
use sha2::{Digest, Sha256};

/// The prefix of every key, so that secret scanners recognize keys.
pub const KEY_PREFIX: &str = "fbx_";
/// Bytes of a key's id, written as hexadecimal digits.
const ID_BYTES: usize = 8;
/// Bytes of a key's secret part.
const SECRET_BYTES: usize = 32;
/// Maximum length of a key in bytes. Longer text is refused without hashing it.
const KEY_LENGTH_MAX: usize = 256;

/// A new key. It is shown once; only its digest is stored.
pub struct NewKey {
    /// Its id, which is not secret.
    pub id: String,
    /// The whole key, `fbx_<id>_<secret>`.
    pub key: String,
    /// SHA-256 of the whole key.
    pub digest: [u8; 32],
}

impl NewKey {
    /// Generates a key with 256 random bits.
    ///
    /// # Errors
    /// `Error::Internal` if the system has no random numbers.
    pub fn generate() -> Result<Self, Error> {
        let mut random = [0; ID_BYTES + SECRET_BYTES];
        getrandom::fill(&mut random)
            .map_err(|error| Error::Internal(format!("cannot read random numbers from the system: {error}")))?;
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
    fn generated_keys_have_the_documented_form_and_differ() {
        let (one, two) = (NewKey::generate().expect("random"), NewKey::generate().expect("random"));
        assert_ne!(one.key, two.key);
        assert_eq!(one.key, format!("fbx_{}_{}", one.id, one.key.rsplit('_').next().expect("a secret")));
        assert_eq!((one.id.len(), one.key.len()), (16, 85));
        assert_eq!(one.digest, digest(&one.key));
        assert_eq!(hex(&digest("abc")), "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
    }

    #[test]
    fn only_bearer_keys_with_the_prefix_are_accepted() {
        assert_eq!(bearer("Bearer fbx_a_b"), Some("fbx_a_b"));
        assert_eq!(bearer("bearer  fbx_a_b "), Some("fbx_a_b"));
        for other in ["", "Bearer", "fbx_a_b", "Basic fbx_a_b", "Bearer sk-abc"] {
            assert_eq!(bearer(other), None, "{other}");
        }
        assert_eq!(bearer(&format!("Bearer fbx_{}", "a".repeat(300))), None);
    }
}
