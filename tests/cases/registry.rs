//! Plugins from web addresses and from a real registry on this machine, and back to it.

#[path = "registry/local.rs"]
mod local;
#[path = "registry/wassette.rs"]
mod wassette;

use std::path::Path;

use serde_json::json;
use sha2::{Digest, Sha256};

use self::local::{Files, Registry};
use crate::harness::{Firebox, Run, root};

fn sha256(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}

/// A folder with a signed plugin.
struct SignedPlugin {
    folder: tempfile::TempDir,
    key: String,
}

impl SignedPlugin {
    fn new() -> Self {
        let folder = tempfile::tempdir().expect("writable");
        std::fs::copy(root().join("plugins/prebuilt/units.wasm"), folder.path().join("own.wasm")).expect("copied");
        let manifest = "id = \"own\"\nversion = \"1.2.0\"\ndescription = \"Converts.\"\nstages = [\"tool\"]\n";
        std::fs::write(folder.path().join("plugin.toml"), manifest).expect("written");
        let mut plugin = Self { folder, key: String::new() };
        plugin.key = plugin.run(&["plugins", "keygen"]).expect_code(0).stdout.trim().to_owned();
        plugin.run(&["plugins", "sign"]).expect_code(0);
        plugin
    }

    fn path(&self) -> &Path {
        self.folder.path()
    }

    fn bytes(&self, name: &str) -> Vec<u8> {
        std::fs::read(self.path().join(name)).expect("readable")
    }

    fn run(&self, args: &[&str]) -> Run {
        self.run_as(args, None)
    }

    fn run_as(&self, args: &[&str], user: Option<&str>) -> Run {
        let path = |name: &str| self.path().join(name);
        let mut run = Firebox::new(args).current_dir(self.path()).env("FIREBOX_DATA", path("data"));
        run = run.env("DOCKER_CONFIG", path("docker")).env("FIREBOX_DEVICE", "cpu");
        if let Some(user) = user {
            run = run.env("FIREBOX_REGISTRY_USER", user).env("FIREBOX_REGISTRY_PASSWORD", "word");
        }
        run.run()
    }

    /// Asserts that the command fails, and says `expected`.
    fn refused(&self, args: &[&str], code: i32, expected: &str) {
        let run = self.run(args).expect_code(code);
        assert!(run.stderr.contains(expected), "{args:?}: {} should contain {expected}", run.stderr);
    }
}

/// The line of `text` that starts with `begin`, without it.
fn after<'a>(text: &'a str, begin: &str) -> &'a str {
    text.lines().find_map(|line| line.strip_prefix(begin)).unwrap_or_else(|| panic!("no {begin}: {text}")).trim()
}

#[test]
fn a_plugin_goes_to_a_registry_and_back_with_its_manifest_and_signature() {
    let (registry, plugin) = (Registry::start(None), SignedPlugin::new());
    let name = format!("oci://{}/team/own", registry.address);
    let published = plugin.run(&["plugins", "publish", &name]).expect_code(0);
    assert!(published.stdout.contains("published own (signed)"), "{}", published.stdout);
    let pinned = after(&published.stdout, "source ").to_owned();
    assert!(pinned.starts_with(&format!("{name}:1.2.0@sha256:")), "{pinned}");
    plugin.run(&["plugins", "publish", &name]).expect_code(0);
    let installed =
        plugin.run(&["plugins", "install", &format!("{name}:1.2.0"), "--trusted-key", &plugin.key]).expect_code(0);
    assert_eq!(after(&installed.stdout, "signed by "), plugin.key);
    assert_eq!(after(&installed.stdout, "sha256 "), sha256(&plugin.bytes("own.wasm")));
    for file in ["plugin.toml", "own.wasm.sig"] {
        assert_eq!(plugin.bytes(&format!("data/plugins/own/{file}")), plugin.bytes(file), "{file}");
    }
    let policy = format!("[plugins]\ntrusted_keys = [\"{}\"]\nrequire_signature = true\n", plugin.key);
    std::fs::write(plugin.path().join("firebox.toml"), policy).expect("written");
    let run = plugin.run(&["run", "--no-tools", "--plugin", "own", "12 km in miles"]).expect_code(0);
    assert!(run.stdout.contains("7.456"), "{}", run.stdout);
    plugin.run(&["plugins", "remove", "own"]).expect_code(0);
    plugin.run(&["plugins", "install", &pinned]).expect_code(0);
    plugin.refused(&["plugins", "install", &format!("{name}:2")], 2, "check name and tag");
    let wrong = format!("{name}@sha256:{}", "0".repeat(64));
    plugin.refused(&["plugins", "install", &wrong], 2, "has no \"oci://");
    plugin.refused(&["plugins", "install", &format!("{name}:1.2.0"), "--sha256", &"0".repeat(64)], 4, "not installed");
    plugin.refused(&["plugins", "publish", &pinned], 2, "publish to a tag");
    std::fs::copy(root().join("plugins/prebuilt/redact.wasm"), plugin.path().join("own.wasm")).expect("copied");
    plugin.refused(&["plugins", "publish", &name], 2, "is not for this component");
}

#[test]
fn a_registry_that_changes_an_artifact_is_found_out() {
    let (registry, plugin) = (Registry::start(None), SignedPlugin::new());
    let name = format!("oci://{}/own:1", registry.address);
    plugin.run(&["plugins", "publish", &name]).expect_code(0);
    // The registry stores blobs by digest and does not check them again.
    registry.replace(&sha256(&plugin.bytes("own.wasm")), &plugin.bytes("plugin.toml"));
    plugin.refused(&["plugins", "install", &name], 4, "the component of");
    // A plugin of somebody else under the same tag has no signature of the key.
    let (registry, other) = (Registry::start(None), SignedPlugin::new());
    let name = format!("oci://{}/own:1", registry.address);
    other.run(&["plugins", "publish", &name]).expect_code(0);
    plugin.refused(&["plugins", "install", &name, "--trusted-key", &plugin.key], 4, "is no signature of a key");
}

#[test]
fn artifacts_in_the_form_of_wassette_are_installed_and_container_images_refused() {
    let (registry, plugin) = (Registry::start(None), SignedPlugin::new());
    let component = plugin.bytes("own.wasm");
    let policy = b"version: \"1.0\"\n".to_vec();
    let layer = |kind: &str, bytes: &[u8]| {
        registry.upload("tools/units", bytes);
        json!({ "mediaType": kind, "digest": format!("sha256:{}", sha256(bytes)), "size": bytes.len() })
    };
    let config =
        layer("application/vnd.wasm.config.v0+json", br#"{"architecture":"wasm","os":"wasip2","layerDigests":[]}"#);
    let wasm = layer("application/wasm", &component);
    let policy = layer("application/vnd.wasm.policy.v1+yaml", &policy);
    let image = layer("application/vnd.oci.image.layer.v1.tar+gzip", b"not a component");
    registry.manifest("tools/units", "1", &config, &[&wasm, &policy]);
    registry.manifest("tools/units", "image", &config, &[&image]);
    let name = format!("oci://{}/tools/units", registry.address);
    // Its name is that of a built-in plugin, so it is pulled under another one.
    plugin.refused(&["plugins", "install", &format!("{name}:1")], 2, "is the name of a built-in plugin");
    let layer = |kind: &str, bytes: &[u8]| {
        registry.upload("tools/km", bytes);
        json!({ "mediaType": kind, "digest": format!("sha256:{}", sha256(bytes)), "size": bytes.len() })
    };
    let config = layer("application/vnd.wasm.config.v0+json", b"{}");
    let wasm = layer("application/wasm", &component);
    let policy = layer("application/vnd.wasm.policy.v1+yaml", b"version: \"1.0\"\n");
    registry.manifest("tools/km", "1", &config, &[&policy, &wasm]);
    let installed =
        plugin.run(&["plugins", "install", &format!("oci://{}/tools/km:1", registry.address)]).expect_code(0);
    assert!(
        installed.stderr.contains("left out a layer of the type \"application/vnd.wasm.policy"),
        "{}",
        installed.stderr
    );
    plugin.run(&["plugins", "check", "km"]).expect_code(0);
    plugin.refused(&["plugins", "install", &format!("{name}:image")], 4, "container images");
}

#[test]
fn a_registry_with_users_gets_the_password_of_its_user() {
    let (registry, plugin) = (Registry::start(Some("ada")), SignedPlugin::new());
    let name = format!("oci://{}/own:1", registry.address);
    plugin.refused(&["plugins", "publish", &name], 4, "FIREBOX_REGISTRY_USER");
    let wrong = plugin.run_as(&["plugins", "publish", &name], Some("bob")).expect_code(4);
    assert!(wrong.stderr.contains("refuses this user") && !wrong.stderr.contains("word\""), "{}", wrong.stderr);
    plugin.run_as(&["plugins", "publish", &name], Some("ada")).expect_code(0);
    plugin.refused(&["plugins", "install", &name], 4, "sign in with docker login");
    // What docker login stores: ada:word.
    std::fs::create_dir(plugin.path().join("docker")).expect("made");
    let auths = json!({ "auths": { (registry.address.as_str()): { "auth": "YWRhOndvcmQ=" } } });
    std::fs::write(plugin.path().join("docker/config.json"), auths.to_string()).expect("written");
    plugin.run(&["plugins", "install", &name]).expect_code(0);
}

#[cfg(unix)]
#[test]
fn a_credential_helper_of_docker_is_asked_once_a_registry_wants_a_password() {
    use std::os::unix::fs::PermissionsExt as _;
    let (registry, plugin) = (Registry::start(Some("ada")), SignedPlugin::new());
    let name = format!("oci://{}/own:1", registry.address);
    let folder = plugin.path().join("docker");
    std::fs::create_dir(&folder).expect("made");
    let helper = |script: &str| {
        let path = folder.join("docker-credential-vault");
        std::fs::write(&path, format!("#!/bin/sh\n{script}\n")).expect("written");
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).expect("executable");
    };
    let config = |config: serde_json::Value| {
        std::fs::write(folder.join("config.json"), config.to_string()).expect("written");
    };
    let publish = |code: i32| {
        let run = Firebox::new(["plugins", "publish", &name]).current_dir(plugin.path());
        let path = format!("{}:/usr/bin:/bin", folder.display());
        run.env("DOCKER_CONFIG", &folder).env("PATH", path).run().expect_code(code).stderr
    };
    let knows = format!(
        "read server; [ $1 = get ] && [ $server = {} ] && echo '{{\"Username\":\"ada\",\"Secret\":\"word\"}}'",
        registry.address
    );
    config(json!({ "credHelpers": { (registry.address.as_str()): "vault" }, "credsStore": "nowhere" }));
    helper(&knows);
    publish(0);
    config(json!({ "credsStore": "vault" }));
    publish(0);
    helper("echo 'credentials not found in native keychain'; exit 1");
    assert!(publish(4).contains("sign in with docker login"));
    helper("echo 'the keychain is locked'; exit 1");
    let locked = publish(4);
    assert!(locked.contains("\"docker-credential-vault\" failed: the keychain is locked"), "{locked}");
    config(json!({ "credsStore": "nowhere" }));
    assert!(publish(4).contains("\"docker-credential-nowhere\" is not in PATH"));
    // A registry that wants no password does not need the helper.
    let open = Registry::start(None);
    plugin.run(&["plugins", "publish", &format!("oci://{}/own:1", open.address)]).expect_code(0);
}

#[test]
fn a_component_from_the_web_needs_its_digest_or_a_signature() {
    let plugin = SignedPlugin::new();
    let files = Files::serve(&[
        ("/own.wasm", plugin.bytes("own.wasm")),
        ("/own.wasm.sig", plugin.bytes("own.wasm.sig")),
        ("/plugin.toml", plugin.bytes("plugin.toml")),
        ("/bare/own.wasm", plugin.bytes("own.wasm")),
    ]);
    let url = format!("http://{}/own.wasm", files.address);
    let digest = sha256(&plugin.bytes("own.wasm"));
    plugin.refused(&["plugins", "install", &url], 2, "needs its digest");
    let wrong = "0".repeat(64);
    plugin.refused(&["plugins", "install", &format!("{url}#sha256={wrong}")], 4, "it was not installed");
    plugin.refused(&["plugins", "install", &format!("{url}#sha256={digest}"), "--digest", &wrong], 2, "differ");
    let installed = plugin.run(&["plugins", "install", &format!("{url}#sha256={digest}")]).expect_code(0);
    assert_eq!(after(&installed.stdout, "source "), format!("{url}#sha256={digest}"));
    plugin.run(&["plugins", "install", &url, "--digest", &format!("sha256:{digest}")]).expect_code(0);
    let signed = plugin.run(&["plugins", "install", &url, "--trusted-key", &plugin.key]).expect_code(0);
    assert_eq!(after(&signed.stdout, "signed by "), plugin.key);
    assert_eq!(plugin.bytes("data/plugins/own/plugin.toml"), plugin.bytes("plugin.toml"));
    let bare = format!("http://{}/bare/own.wasm", files.address);
    plugin.refused(&["plugins", "install", &bare, "--trusted-key", &plugin.key], 4, "is no signature of a key");
    plugin.refused(
        &["plugins", "install", &format!("http://{}/none.wasm#sha256={digest}", files.address)],
        2,
        "there is no file",
    );
    plugin.refused(
        &["plugins", "install", &format!("http://{}/away#sha256={digest}", files.address)],
        4,
        "was not followed",
    );
    plugin.refused(
        &["plugins", "install", &format!("http://{}/huge#sha256={digest}", files.address)],
        4,
        "more than the",
    );
    plugin.refused(
        &["plugins", "install", &format!("http://example.org/own.wasm#sha256={digest}")],
        2,
        "must begin with https",
    );
    plugin.refused(
        &["plugins", "install", &format!("http://{}/circle#sha256={digest}", files.address)],
        3,
        "redirects more than",
    );
}
