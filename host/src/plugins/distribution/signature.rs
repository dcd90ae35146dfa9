//! Signatures of plugins: Ed25519 (RFC 8032) over the name and the digests of component and manifest, in a file beside the
//! component whose name is that of the component with `.sig`.

use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use firebox_contract::limits;
use ring::signature::{ED25519, Ed25519KeyPair, KeyPair as _, UnparsedPublicKey};
use serde::Deserialize;

/// The first line of the signed text.
const CONTEXT: &str = "firebox plugin signature 1";
/// What comes before a key.
const SCHEME: &str = "ed25519:";
/// What comes before a digest.
const SHA256: &str = "sha256:";
/// PKCS #8 (RFC 8410) before the 32 bytes of a private key.
const PKCS8_HEAD: [u8; 16] =
    [0x30, 0x2e, 0x02, 0x01, 0x00, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x04, 0x22, 0x04, 0x20];
const PEM_BEGIN: &str = "-----BEGIN PRIVATE KEY-----";
const PEM_END: &str = "-----END PRIVATE KEY-----";

/// A public key, written as `ed25519:` and its 32 bytes in Base64.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct PublicKey([u8; 32]);

impl fmt::Display for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{SCHEME}{}", BASE64.encode(self.0))
    }
}

impl fmt::Debug for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for PublicKey {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let bytes = text.strip_prefix(SCHEME).and_then(|text| BASE64.decode(text).ok());
        let key = bytes.and_then(|bytes| bytes.try_into().ok());
        key.map(Self).ok_or_else(|| {
            let shown: String = text.chars().take(80).collect();
            format!(
                "\"{}\" is not a public key; firebox plugins keygen prints one: {SCHEME} and 44 characters",
                shown.escape_debug()
            )
        })
    }
}

/// A private key.
pub struct SigningKey(Ed25519KeyPair);

impl fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[private key]")
    }
}

impl SigningKey {
    /// A new key, and its file: PKCS #8 in PEM, which OpenSSL reads too.
    ///
    /// # Errors
    /// A message if the system gives no random numbers.
    pub fn generate() -> Result<(Self, String), String> {
        let mut seed = [0; 32];
        getrandom::fill(&mut seed).map_err(|error| format!("the system gives no random numbers: {error}"))?;
        let key = Ed25519KeyPair::from_seed_unchecked(&seed).map_err(|error| format!("no key can be made: {error}"))?;
        let text = BASE64.encode([&PKCS8_HEAD[..], &seed].concat());
        Ok((Self(key), format!("{PEM_BEGIN}\n{text}\n{PEM_END}\n")))
    }

    /// Reads the file of a key.
    ///
    /// # Errors
    /// What is wrong, as the end of a sentence about the file. It shows nothing of the key.
    pub fn parse(pem: &str) -> Result<Self, String> {
        let wrong = "is not an Ed25519 private key in PEM; firebox plugins keygen makes one";
        let inner = pem.split_once(PEM_BEGIN).and_then(|(_, rest)| rest.split_once(PEM_END)).map(|(inner, _)| inner);
        let text: String = inner.ok_or(wrong)?.split_whitespace().collect();
        let der = BASE64.decode(text).map_err(|_| wrong)?;
        Ed25519KeyPair::from_pkcs8_maybe_unchecked(&der).map(Self).map_err(|_| wrong.to_owned())
    }

    /// Its public key.
    #[must_use]
    pub fn public(&self) -> PublicKey {
        let mut key = [0; 32];
        key.copy_from_slice(self.0.public_key().as_ref());
        PublicKey(key)
    }

    /// Signs `statement`.
    #[must_use]
    pub fn sign(&self, statement: Statement) -> Signature {
        let mut bytes = [0; 64];
        bytes.copy_from_slice(self.0.sign(statement.text().as_bytes()).as_ref());
        Signature { key: self.public(), statement, bytes }
    }
}

/// What a signature is about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Statement {
    /// The id of the plugin, so that one signed plugin cannot stand in for another.
    pub name: String,
    /// SHA-256 of the component, in hex.
    pub component: String,
    /// SHA-256 of the manifest, in hex; `None` without a manifest.
    pub manifest: Option<String>,
}

impl Statement {
    /// The text that is signed.
    fn text(&self) -> String {
        let manifest = self.manifest.as_ref().map_or_else(|| "none".to_owned(), |digest| format!("{SHA256}{digest}"));
        format!("{CONTEXT}\nname {}\ncomponent {SHA256}{}\nmanifest {manifest}\n", self.name, self.component)
    }
}

/// A signature, which may be wrong until [`Signature::verify`] says that it is not.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Signature {
    /// The key that it names.
    pub key: PublicKey,
    /// What it is about.
    pub statement: Statement,
    bytes: [u8; 64],
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct SignatureDocument {
    version: u32,
    name: String,
    component: String,
    manifest: Option<String>,
    key: String,
    signature: String,
}

impl Signature {
    /// Whether the key that it names has signed its statement.
    #[must_use]
    pub fn verify(&self) -> bool {
        let key = UnparsedPublicKey::new(&ED25519, self.key.0);
        key.verify(self.statement.text().as_bytes(), &self.bytes).is_ok()
    }

    /// The text of its file.
    #[must_use]
    pub fn text(&self) -> String {
        let Statement { name, component, manifest } = &self.statement;
        let manifest =
            manifest.as_ref().map_or_else(String::new, |digest| format!("manifest = \"{SHA256}{digest}\"\n"));
        format!(
            "version = 1\nname = \"{name}\"\ncomponent = \"{SHA256}{component}\"\n{manifest}key = \"{}\"\nsignature = \"{}\"\n",
            self.key,
            BASE64.encode(self.bytes)
        )
    }

    /// Reads the text of a file.
    ///
    /// # Errors
    /// What is wrong, as the end of a sentence about the file.
    pub fn parse(text: &str) -> Result<Self, String> {
        let wrong = |what: &str| format!("is not a signature: {what}; firebox plugins sign writes one");
        let SignatureDocument { version, name, component, manifest, key, signature } =
            toml::from_str(text).map_err(|error| wrong(error.message()))?;
        if version != 1 {
            return Err(wrong("its version is not 1"));
        }
        let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
        if name.is_empty() || name.len() > limits::PLUGIN_NAME_BYTES_MAX || !name.chars().all(plain) {
            return Err(wrong("its name is not that of a plugin"));
        }
        let hex = |text: &str| {
            let hex = text.strip_prefix(SHA256);
            let hex = hex.filter(|hex| hex.len() == 64 && hex.bytes().all(|byte| byte.is_ascii_hexdigit()));
            hex.map(str::to_ascii_lowercase).ok_or_else(|| wrong("a digest is not sha256: and 64 hexadecimal digits"))
        };
        let bytes = BASE64.decode(signature).ok().and_then(|bytes| bytes.try_into().ok());
        Ok(Self {
            key: key.parse().map_err(|why: String| wrong(&why))?,
            statement: Statement {
                name,
                component: hex(&component)?,
                manifest: manifest.as_deref().map(hex).transpose()?,
            },
            bytes: bytes.ok_or_else(|| wrong("it does not have 64 bytes in Base64"))?,
        })
    }
}

/// The file of the signature of the component at `component`.
#[must_use]
pub fn path_of(component: &Path) -> PathBuf {
    let mut name = component.as_os_str().to_owned();
    name.push(".sig");
    PathBuf::from(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn statement() -> Statement {
        Statement { name: "p".to_owned(), component: "a".repeat(64), manifest: Some("b".repeat(64)) }
    }

    #[test]
    fn a_signature_is_for_one_statement_and_one_key() {
        let (key, pem) = SigningKey::generate().expect("random numbers");
        let (other, _) = SigningKey::generate().expect("random numbers");
        assert_eq!(SigningKey::parse(&pem).expect("a key").public(), key.public());
        assert_eq!(key.public().to_string().parse(), Ok(key.public()));
        let signature = key.sign(statement());
        let read = Signature::parse(&signature.text()).expect("a signature");
        assert_eq!(read, signature);
        assert!(read.verify());
        let with = |statement: Statement| Signature { statement, ..signature.clone() };
        let changed = [
            with(Statement { name: "q".to_owned(), ..statement() }),
            with(Statement { component: "c".repeat(64), ..statement() }),
            with(Statement { manifest: None, ..statement() }),
            Signature { key: other.public(), ..signature.clone() },
            Signature { bytes: [7; 64], ..signature.clone() },
        ];
        assert!(changed.iter().all(|signature| !signature.verify()));
    }

    #[test]
    fn a_signature_of_openssl_verifies() {
        // openssl genpkey -algorithm ed25519; openssl pkeyutl -sign -rawin over the text of `statement`.
        let pem = "-----BEGIN PRIVATE KEY-----\nMC4CAQAwBQYDK2VwBCIEIAABAgMEBQYHCAkKCwwNDg8QERITFBUWFxgZGhscHR4f\n\
                   -----END PRIVATE KEY-----\n";
        let key = SigningKey::parse(pem).expect("a key of OpenSSL");
        assert_eq!(key.public().to_string(), "ed25519:A6EHv/POEL4dcN0Y50vAmWfk1jCbpQ1fHdyGZBJVMbg=");
        assert_eq!(
            BASE64.encode(key.sign(statement()).bytes),
            "hqeH50v19ZTd3WbaZhTthHmCrsJZYXVQ/VrPdolMN4Ds+4VpfryEsZdtGqdVQv+SFY+XarXgkIbyJ50jyplFDA=="
        );
    }

    #[test]
    fn files_that_are_no_signature_or_key_are_refused() {
        let (key, pem) = SigningKey::generate().expect("random numbers");
        let text = key.sign(statement()).text();
        for bad in [
            String::new(),
            text.replace("version = 1", "version = 2"),
            text.replace("name = \"p\"", "name = \"../p\""),
            text.replace("name = \"p\"", "name = \"p\\nq\""),
            text.replace(&"a".repeat(64), "aa"),
            text.replace("ed25519:", "rsa:"),
            text.replace("signature = \"", "signature = \"AAAA"),
            format!("{text}more = 1\n"),
        ] {
            let why = Signature::parse(&bad).expect_err(&bad);
            assert!(why.starts_with("is not a signature: ") && why.contains("firebox plugins sign"), "{why}");
        }
        for bad in ["", "-----BEGIN PRIVATE KEY-----\n!\n-----END PRIVATE KEY-----", &pem.replace("MC4C", "MC5C")] {
            let why = SigningKey::parse(bad).expect_err("no key");
            assert!(why.contains("firebox plugins keygen") && !why.contains("MC5C"), "{why}");
        }
        assert!("ed25519:AAAA".parse::<PublicKey>().is_err());
    }
}
