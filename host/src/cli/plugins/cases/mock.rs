//! What stands in for the capabilities of a plugin while its cases run: nothing of the machine and of its user is read or
//! written.

use std::path::Path;
use std::sync::Arc;
use std::time::UNIX_EPOCH;

use firebox_contract::{Caller, ModelHandle};
use firebox_sandbox::{
    BucketId, HttpService, KeyValueAnswer, KeyValueError, KeyValueOperation, KeyValueService, KeyValueStore,
    PluginChain, Services,
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
    let spec = target.mocked(config, grants(mock, base)).spec()?;
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
    let model = mock.model.iter().map(|_| "model:*".to_owned());
    buckets.chain(folders).chain(requests).chain(clock).chain(model).collect()
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
