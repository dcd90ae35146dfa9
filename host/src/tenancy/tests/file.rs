//! Edits of the tenants file change one thing and keep everything else.

use super::super::file::{KeyOptions, TenantsFile};
use super::*;

fn options() -> KeyOptions {
    KeyOptions { expires: None, scopes: Scope::DEFAULT.to_vec() }
}

const DIGESTS: [&str; 3] = ["11", "22", "33"];

/// A file that a person may have written.
fn by_hand() -> String {
    let [one, two, three] = DIGESTS.map(|pair| pair.repeat(32));
    format!(
        "# our tenants\n\n[[tenant]] # the first\nname = \"a\"   # called a\nmodels = [\n  \"ember\",\n  \"[odd]\",\n]\n\n\
         [tenant.limits]\nrequests_per_minute = 5\n\n# laptop\n[[tenant.key]]\nid = \"one\"\ndigest = \"{one}\"\n\n\
         [[tenant.key]]\nid = \"two\" # phone\ndigest = \"{two}\"\nscopes = [\"chat\"]\n\n# this is about b\n[[tenant]]\nname = \"b\"\n\n\
         [[tenant.key]]\nid = \"three\"\ndigest = \"{three}\"\n# the end\n"
    )
}

fn file(text: &str) -> (tempfile::TempDir, TenantsFile, std::path::PathBuf) {
    let dir = tempfile::tempdir().expect("a folder");
    let path = dir.path().join("tenants.toml");
    std::fs::write(&path, text).expect("written");
    (dir, TenantsFile::new(&path), path)
}

fn ids(file: &TenantsFile) -> Vec<(String, Vec<String>)> {
    let of = |tenant: TenantConfig| (tenant.name, tenant.keys.into_iter().map(|key| key.id).collect());
    file.tenants().expect("valid").into_iter().map(of).collect()
}

fn named(name: &str, keys: &[&str]) -> (String, Vec<String>) {
    (name.to_owned(), keys.iter().map(|key| (*key).to_owned()).collect())
}

#[test]
fn revoking_a_key_removes_its_table_only() {
    let (_dir, file, path) = file(&by_hand());
    assert_eq!(file.revoke("two").expect("there"), ["two"]);
    let text = std::fs::read_to_string(&path).expect("readable");
    let digest = "22".repeat(32);
    let gone = format!("\n[[tenant.key]]\nid = \"two\" # phone\ndigest = \"{digest}\"\nscopes = [\"chat\"]\n");
    assert_eq!(text, by_hand().replace(&gone, ""));
    assert_eq!(file.revoke("b").expect("there"), ["three"]);
    assert_eq!(ids(&file), [named("a", &["one"]), named("b", &[])]);
    let text = std::fs::read_to_string(&path).expect("readable");
    for kept in ["# our tenants", "# the first", "# laptop", "# this is about b\n[[tenant]]\nname = \"b\"", "# the end"]
    {
        assert!(text.contains(kept), "{kept} is not in {text}");
    }
    assert!(file.revoke("b").expect("there").is_empty(), "there is none left");
    assert!(matches!(file.revoke("nobody"), Err(Error::NotFound(_))));
}

#[test]
fn rotating_writes_the_new_key_into_the_table_of_its_tenant() {
    let (_dir, file, path) = file(&by_hand());
    let kept = file.rotate("a", true, &options()).expect("there");
    assert_eq!(ids(&file), [named("a", &["one", "two", &kept.id]), named("b", &["three"])]);
    let fresh = file.rotate("a", false, &options()).expect("there");
    assert_eq!(ids(&file), [named("a", &[&fresh.id]), named("b", &["three"])]);
    let text = std::fs::read_to_string(&path).expect("readable");
    assert!(text.contains("# this is about b\n[[tenant]]\nname = \"b\"") && text.contains("\"[odd]\""), "{text}");
    assert!(!text.contains(&fresh.key) && !text.contains(fresh.key.rsplit('_').next().expect("a secret")), "{text}");
    assert!(matches!(file.rotate("nobody", false, &options()), Err(Error::NotFound(_))));
}

#[test]
fn adding_creates_the_file_and_refuses_existing_names() {
    let dir = tempfile::tempdir().expect("a folder");
    let file = TenantsFile::new(dir.path().join("tenants.toml"));
    let key =
        file.add("a", "models = [\"ember\"]\n\n[tenant.limits]\nrequests_per_minute = 3\n", &options()).expect("new");
    file.add("b", "", &options()).expect("new");
    let tenants = file.tenants().expect("valid");
    assert_eq!(tenants[0].limits.requests_per_minute, Some(3));
    assert_eq!(tenants[0].keys[0].digest, keys::digest(&key.key));
    assert_eq!(tenants[1].name, "b");
    for (name, word) in [("a", "already exists"), ("", "not a valid name"), ("x\"]\n[[tenant", "not a valid name")] {
        let error = file.add(name, "", &options()).err().expect("refused");
        assert!(matches!(&error, Error::Usage(why) if why.contains(word)), "{error}");
    }
    assert_eq!(file.tenants().expect("valid").len(), 2);
}

#[test]
fn a_file_with_inline_tables_is_not_edited() {
    let inline =
        format!("tenant = [{{ name = \"a\", key = [{{ id = \"one\", digest = \"{}\" }}] }}]\n", "11".repeat(32));
    let (_dir, file, path) = file(&inline);
    for refused in [file.revoke("one").map(drop), file.rotate("a", false, &options()).map(drop)] {
        assert!(matches!(&refused, Err(Error::Usage(why)) if why.contains("by hand")), "{refused:?}");
    }
    assert_eq!(std::fs::read_to_string(&path).expect("readable"), inline);
}

#[test]
fn concurrent_edits_are_all_kept() {
    let (_dir, file, path) = file(&by_hand());
    std::thread::scope(|scope| {
        for number in 0..16 {
            let file = file.clone();
            scope.spawn(move || file.add(&format!("t{number}"), "", &options()).map(drop).expect("added"));
        }
    });
    assert_eq!(file.tenants().expect("valid").len(), 18);
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        assert_eq!(std::fs::metadata(path).expect("there").permissions().mode() & 0o777, 0o600);
    }
}
