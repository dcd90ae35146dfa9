//! What stands in for the capabilities of a plugin while its cases run: nothing of the machine and of its user is read or
//! written.

use std::path::Path;
use std::sync::Arc;
use std::time::UNIX_EPOCH;

use firebox_contract::{Caller, ModelHandle};
use firebox_sandbox::{
    BucketId, Grant, Grants, HttpService, KeyValueAnswer, KeyValueError, KeyValueOperation, KeyValueService,
    KeyValueStore, PluginChain, Services,
};

use super::super::target::Target;
use super::canned_model::CannedModel;
use super::case::Mock;
use super::http::StandIn;
use crate::cli::{Io, notice};
use crate::config::KeyValueConfig;
use crate::error::CliError;
use crate::plugins::{self, keyvalue::SqliteBuckets, sandbox};
use crate::system::time;

/// A plugin with its mocks.
pub(super) struct MockedChain {
    pub(super) chain: PluginChain,
    /// What answers its HTTP requests.
    pub(super) stand_in: Option<Arc<StandIn>>,
}

/// A chain of the plugin of `target` with the capabilities of `mock`, and what answers its HTTP requests. Folders and files
/// are relative to `base`.
///
/// # Errors
/// A `CliError` of usage for a mock that cannot be used, and the errors of loading the plugin.
pub(super) async fn chain(mock: &Mock, target: &Target, base: &Path, io: &mut Io) -> Result<MockedChain, CliError> {
    let wrong = |error: serde_json::Error| CliError::usage(format!("the configuration of [mock]: {error}"));
    let config = mock.config.as_ref().map(serde_json::to_string).transpose().map_err(wrong)?;
    let mut spec = target.mocked(config, grants(mock, base)).spec()?;
    spec.grants = spec.grants.with(&secrets(mock).map_err(CliError::usage)?);
    let KeyValueConfig { file_bytes_max, .. } = KeyValueConfig::default();
    let buckets = Arc::new(SqliteBuckets::new(":memory:".into(), file_bytes_max));
    fill(&*buckets, mock, &plugins::name_of(&target.plugin)?).await?;
    let time = mock.time.as_deref().map(time::parse).transpose().map_err(CliError::usage)?;
    let time = time.and_then(|time| time.duration_since(UNIX_EPOCH).ok());
    let stand_in = mock.http.as_deref().map(|rows| StandIn::new(rows, base)).transpose().map_err(CliError::usage)?;
    let stand_in = stand_in.map(Arc::new);
    // Without a stand-in no request is sent; none ever goes to the network.
    let http = stand_in.clone().map_or_else(HttpService::default, |stand_in| HttpService::with_stand_in(stand_in));
    let services = Services { keyvalue: KeyValueService::new(buckets), http, time, ..Services::default() };
    let mut notes = Vec::new();
    let chain = sandbox::load_chain_with(vec![spec], services, notice(), &mut notes).await?;
    for note in notes {
        writeln!(io.err, "firebox: {note}")?;
    }
    let model = mock.model.clone().map(|model| ModelHandle::new(Arc::new(CannedModel::new(model))));
    Ok(MockedChain { chain: chain.with_model(model.unwrap_or_default()), stand_in })
}

/// What the mocks grant.
fn grants(mock: &Mock, base: &Path) -> Vec<String> {
    let buckets = mock.keyvalue.iter().flat_map(|buckets| buckets.keys()).map(|name| format!("keyvalue:{name}"));
    let folder = |(name, path): (&String, &std::path::PathBuf)| format!("files:{name}={}", base.join(path).display());
    let folders = mock.files.iter().flatten().map(folder);
    // Its manifest says which requests it may send.
    let requests = mock.http.iter().flat_map(|_| ["http:* https://*:*", "http:* http://*:*"]).map(str::to_owned);
    let clock = mock.time.iter().map(|_| "clock".to_owned());
    let model = mock.model.iter().flat_map(|_| ["generate", "embed", "tokenize"]).map(|name| format!("model:{name}"));
    buckets.chain(folders).chain(requests).chain(clock).chain(model).collect()
}

/// The grants of the secrets, with their values.
///
/// # Errors
/// What is wrong with one of them, as a whole sentence.
fn secrets(mock: &Mock) -> Result<Grants, String> {
    let Some(secrets) = &mock.secret else { return Ok(std::iter::empty::<Grant>().collect()) };
    // No variable of this name is read: the reference only leads to the row.
    let texts: Vec<String> =
        secrets.iter().map(|(name, secret)| format!("secret:{name}=env:{name} for {}", secret.destination)).collect();
    let value = |reference: &str| {
        let row = reference.strip_prefix("env:").and_then(|name| secrets.get(name));
        row.map(|row| row.value.clone()).ok_or_else(|| "there is no such secret".to_owned())
    };
    Grants::parse(&texts).and_then(|grants| grants.resolved(&value)).map_err(|error| format!("[mock.secret]: {error}"))
}

/// Writes the texts of the buckets.
async fn fill(store: &dyn KeyValueStore, mock: &Mock, plugin: &str) -> Result<(), CliError> {
    let wrong = |name: &str, error: KeyValueError| CliError::usage(format!("the bucket \"{name}\" of [mock]: {error}"));
    for (name, texts) in mock.keyvalue.iter().flatten() {
        let bucket = BucketId { tenant: Caller::local().tenant, plugin: plugin.to_owned(), bucket: name.clone() };
        let pairs = texts.iter().map(|(key, text)| (key.clone(), text.clone().into_bytes())).collect();
        let set = KeyValueOperation::Set { pairs, lifetime: None };
        let KeyValueAnswer::Done = store.run(bucket, set).await.map_err(|error| wrong(name, error))? else { continue };
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::case::SecretMock;
    use super::*;

    fn with(name: &str, value: &str, destination: &str) -> Result<Grants, String> {
        let (value, destination) = (value.to_owned(), destination.to_owned());
        let secret = Some([(name.to_owned(), SecretMock { value, destination })].into());
        secrets(&Mock { secret, ..Mock::default() })
    }

    #[test]
    fn a_secret_of_the_cases_has_a_name_a_value_and_an_address() {
        let granted = with("api-key", "no-real-secret", "https://example.org/v1/").expect("a grant");
        assert_eq!(granted.iter().map(ToString::to_string).collect::<Vec<_>>(), ["secret:api-key"]);
        assert!(secrets(&Mock::default()).expect("none").is_empty());
        for (name, value, destination, word) in [
            ("a b", "no-real-secret", "https://example.org/", "must have 1 to"),
            ("key", "short", "https://example.org/", "5 bytes"),
            ("key", "no-real-secret", "example.org", "is not METHODS URL"),
        ] {
            let error = with(name, value, destination).expect_err(word);
            assert!(error.starts_with("[mock.secret]: ") && error.contains(word), "{error}");
        }
    }
}
