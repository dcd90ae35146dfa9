//! Files that say which plugins and tools are trusted: lock files, signatures and keys.

use firebox::config::LockFile;
use firebox::plugins::distribution::signature::{PublicKey, Signature, SigningKey, Statement};

use super::super::Target;

fn digest(letter: &str) -> String {
    letter.repeat(64)
}

#[test]
fn lock_files() {
    let (one, two) = (digest("a"), digest("0"));
    let seed = format!(
        "version = 1\n\n[[plugin]]\nname = \"redact\"\ncomponent = \"sha256:{one}\"\nmanifest = \"sha256:{two}\"\n\n[[mcp_server]]\nname = \"web\"\ntools \
         = \"sha256:{two}\"\n\n[[mcp_server.tool]]\nname = \"fetch\"\ndescription = \"d\"\ninput_schema = \"{{}}\"\nannotations = []\n"
    );
    let target = Target {
        name: "lock",
        words: &[
            "[[plugin]]",
            "[[mcp_server]]",
            "[[mcp_server.tool]]",
            "name = ",
            "sha256:",
            "annotations = [\"read_only\"]",
            "\"",
            "\n",
            "\u{1b}",
        ],
        seeds: vec![seed.into_bytes()],
    };
    target.run(|input| {
        if let Ok(lock) = std::str::from_utf8(input).map_err(drop).and_then(|text| LockFile::parse(text).map_err(drop))
        {
            assert_eq!(LockFile::parse(&lock.text()), Ok(lock), "what is written reads back");
        }
    });
}

/// No change of a signature's file makes it a signature of another statement.
#[test]
fn signatures() {
    let (key, pem) = SigningKey::generate().expect("random numbers");
    let statement = Statement { name: "redact".to_owned(), component: digest("a"), manifest: Some(digest("b")) };
    let signed = key.sign(statement.clone());
    let target = Target {
        name: "signature",
        words: &[
            "version = 1",
            "name = ",
            "component = ",
            "manifest = ",
            "key = ",
            "signature = ",
            "sha256:",
            "ed25519:",
            "\"",
            "\n",
            "A",
            "=",
        ],
        seeds: vec![signed.text().into_bytes(), pem.into_bytes(), key.public().to_string().into_bytes()],
    };
    target.run(|input| {
        let text = String::from_utf8_lossy(input);
        if let Ok(signature) = Signature::parse(&text) {
            assert_eq!(Signature::parse(&signature.text()).as_ref(), Ok(&signature), "what is written reads back");
            assert!(!signature.verify() || signature.statement == statement, "{signature:?}");
        }
        drop(SigningKey::parse(&text));
        if let Ok(key) = text.parse::<PublicKey>() {
            assert_eq!(key.to_string().parse(), Ok(key));
        }
    });
}
