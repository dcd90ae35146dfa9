//! Keys and signatures of plugins, and the policies of operators and tenants about them.

use std::path::Path;

use crate::harness::server::{Server, command, tenant};
use crate::harness::{Firebox, Run, root};

/// A folder with a plugin, its manifest, and the key of its author.
struct AuthorFolder {
    folder: tempfile::TempDir,
    key: String,
}

impl AuthorFolder {
    fn new() -> Self {
        let mut author = Self { folder: tempfile::tempdir().expect("writable"), key: String::new() };
        author.component("units");
        author.write("plugin.toml", "id = \"own\"\nversion = \"1.0.0\"\n");
        author.key = author.run(&["plugins", "keygen"]).expect_code(0).stdout.trim().to_owned();
        author
    }

    fn path(&self) -> &Path {
        self.folder.path()
    }

    fn write(&self, name: &str, text: &str) {
        std::fs::write(self.path().join(name), text).expect("written");
    }

    /// Makes `own.wasm` a copy of the component of the built-in plugin `name`.
    fn component(&self, name: &str) {
        let prebuilt = root().join("plugins/prebuilt").join(name).with_extension("wasm");
        std::fs::copy(prebuilt, self.path().join("own.wasm")).expect("copied");
    }

    fn run(&self, args: &[&str]) -> Run {
        let data = self.path().join("data");
        Firebox::new(args).env("FIREBOX_DEVICE", "cpu").env("FIREBOX_DATA", data).current_dir(self.path()).run()
    }

    /// Checks the plugin with the policy of `firebox.toml`.
    fn check(&self, expected: &str) {
        let check = self.run(&["plugins", "check", "."]);
        let text = format!("{}{}", check.stdout, check.stderr);
        match expected {
            "" => assert_eq!(check.code, Some(0), "{text}"),
            _ => {
                assert!(check.code != Some(0) && text.contains(expected), "{:?} {text} without {expected}", check.code)
            }
        }
    }

    fn require(&self, keys: &str) {
        self.write("firebox.toml", &format!("[plugins]\ntrusted_keys = [{keys}]\nrequire_signature = true\n"));
    }
}

#[test]
fn a_key_is_private_and_never_overwritten() {
    let author = AuthorFolder::new();
    assert!(author.key.starts_with("ed25519:") && author.key.len() == 52, "{}", author.key);
    #[cfg(unix)]
    {
        let about = std::fs::metadata(author.path().join("plugin-key.pem")).expect("written");
        assert_eq!(std::os::unix::fs::PermissionsExt::mode(&about.permissions()) & 0o777, 0o600);
    }
    let again = author.run(&["plugins", "keygen"]).expect_code(2);
    assert!(again.stderr.contains("already exists and was not changed"), "{}", again.stderr);
    author.write("bad.pem", "-----BEGIN PRIVATE KEY-----\nxx\n-----END PRIVATE KEY-----\n");
    let bad = author.run(&["plugins", "sign", "--key", "bad.pem"]).expect_code(2);
    assert!(bad.stderr.contains("is not an Ed25519 private key"), "{}", bad.stderr);
    author.run(&["plugins", "sign", "--key", "none.pem"]).expect_code(2);
    let built_in = author.run(&["plugins", "sign", "redact"]).expect_code(2);
    assert!(built_in.stderr.contains("built in"), "{}", built_in.stderr);
}

#[test]
fn a_required_signature_covers_name_component_and_manifest() {
    let author = AuthorFolder::new();
    author.check("");
    author.require("");
    author.check("is no signature of a key in trusted_keys");
    let signed = author.run(&["plugins", "sign"]).expect_code(0);
    assert!(signed.stdout.contains(&format!("signed own with {}", author.key)), "{}", signed.stdout);
    author.check("is no signature of a key in trusted_keys");
    author.require(&format!("\"{}\"", author.key));
    author.check("");
    let inspected = author.run(&["plugins", "inspect", "."]).expect_code(0);
    assert!(inspected.stdout.contains(&format!("signed by     {}", author.key)), "{}", inspected.stdout);
    author.run(&["run", "--plugin", ".", "--no-tools", "12 km in miles"]).expect_code(0);
    author.component("calculator");
    author.check("which the signature in");
    author.run(&["run", "--plugin", ".", "--no-tools", "12 km in miles"]).expect_code(4);
    author.component("units");
    author.write("plugin.toml", "id = \"own\"\nversion = \"1.0.0\"\non_fault = \"skip\"\n");
    author.check("is for another manifest");
    author.write("plugin.toml", "id = \"own\"\nversion = \"1.0.0\"\n");
    let file = author.path().join("own.wasm.sig");
    let text = std::fs::read_to_string(&file).expect("written");
    author.write("own.wasm.sig", &text.replace("name = \"own\"", "name = \"other\""));
    author.check("is not of the key");
    author.write("own.wasm.sig", "nonsense");
    author.check("is not a signature");
    // The built-in plugins are a part of the program.
    author.run(&["plugins", "check", "redact"]).expect_code(0);
}

#[test]
fn a_signed_plugin_does_not_stand_in_for_another() {
    let author = AuthorFolder::new();
    author.run(&["plugins", "sign"]).expect_code(0);
    author.require(&format!("\"{}\"", author.key));
    let other = author.path().join("other");
    std::fs::create_dir(&other).expect("made");
    for (from, to) in [("own.wasm", "guard.wasm"), ("own.wasm.sig", "guard.wasm.sig")] {
        std::fs::copy(author.path().join(from), other.join(to)).expect("copied");
    }
    let check = author.run(&["plugins", "check", "other/guard.wasm"]).expect_code(4);
    assert!(check.stderr.contains("is for the plugin \"own\""), "{}", check.stderr);
}

#[test]
fn an_installed_plugin_keeps_its_signature() {
    let author = AuthorFolder::new();
    author.run(&["plugins", "sign"]).expect_code(0);
    author.require(&format!("\"{}\"", author.key));
    author.run(&["plugins", "install", "."]).expect_code(0);
    author.run(&["plugins", "check", "own"]).expect_code(0);
    let installed = author.path().join("data/plugins/own/own.wasm");
    std::fs::copy(root().join("plugins/prebuilt/calculator.wasm"), &installed).expect("copied");
    let check = author.run(&["plugins", "check", "own"]);
    assert!(check.code != Some(0) && check.stdout.contains("which the signature in"), "{}", check.stdout);
    // One without a manifest of its own has none after it is installed, too.
    std::fs::remove_file(author.path().join("plugin.toml")).expect("removed");
    author.run(&["plugins", "sign", "own.wasm"]).expect_code(0);
    author.run(&["plugins", "install", "own.wasm"]).expect_code(0);
    author.run(&["plugins", "check", "own"]).expect_code(0);
    let list = author.run(&["plugins", "list"]).expect_code(0);
    assert!(list.stdout.contains("own") && list.stdout.contains("installed"), "{}", list.stdout);
    // What is not signed is not installed.
    std::fs::remove_file(author.path().join("own.wasm.sig")).expect("removed");
    author.run(&["plugins", "install", "own.wasm"]).expect_code(4);
}

#[test]
fn a_tenant_requires_signatures_for_its_own_plugins() {
    let author = AuthorFolder::new();
    let config = |tenants: &str| {
        let plugin = "[[plugin]]\nname = \"mine\"\nsource = \"own.wasm\"\n";
        format!("[[model]]\nname = \"ember\"\ndevice = \"cpu\"\n{plugin}{tenants}")
    };
    let strict =
        format!("plugins = [\"mine\", \"redact\"]\nrequire_signature = true\ntrusted_keys = [\"{}\"]", author.key);
    let both = format!("{}{}", tenant("strict", &strict), tenant("open", "plugins = [\"mine\"]"));
    author.write("firebox.toml", &config(&both));
    let refused = command(author.path()).args(["serve", "--listen", "127.0.0.1:0"]).output().expect("it runs");
    let text = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert_eq!(refused.status.code(), Some(4), "{text}");
    assert!(text.contains("tenant \"strict\" requires signatures, and plugin \"mine\" has none"), "{text}");
    author.run(&["plugins", "sign"]).expect_code(0);
    let server = Server::listening_in(author.folder, &config(&both), &[]);
    server.wait_until("ready", |log| log.lines().any(|line| line == "firebox: ready"));
    // A reload with another component keeps what runs.
    std::fs::copy(root().join("plugins/prebuilt/calculator.wasm"), server.folder.path().join("own.wasm"))
        .expect("copied");
    server.signal("HUP");
    server.wait_until("refused", |log| log.contains("configuration not reloaded") && log.contains("the signature in"));
    assert_eq!(server.get("/v1/models", "strict").status, 200);
}
