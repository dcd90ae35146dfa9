//! The capabilities of a guest, with and without grants, through the probe: a component that uses what its arguments say.

mod config;
mod files;
pub(crate) mod http;
mod keyvalue;
pub(crate) mod memory_store;
mod metrics;
pub(crate) mod model;
mod visits;

use std::collections::BTreeMap;
use std::sync::Arc;

use firebox_contract::{Progress, TenantId, ToolCall};
use firebox_sandbox::{
    ComponentSource, Grants, KeyValueService, PluginChain, PluginSpec, Sandbox, SandboxOptions, Services, TenantGrants,
};

use self::memory_store::MemoryStore;

pub(crate) const PROBE: &[u8] = include_bytes!("../../../plugins/prebuilt/probe.wasm");

pub(crate) struct NoProgress;

impl Progress for NoProgress {
    fn report(&self, _done: f64, _total: Option<f64>, _message: Option<&str>) {}
}

fn texts(texts: &[&str]) -> Vec<String> {
    texts.iter().map(|text| (*text).to_owned()).collect()
}

/// A sandbox whose store keeps buckets in memory.
fn sandbox() -> Sandbox {
    let keyvalue = KeyValueService::new(Arc::new(MemoryStore::default()));
    let services = Services { keyvalue, ..Services::default() };
    let options = SandboxOptions { pool_memories: 16, services, ..SandboxOptions::default() };
    Sandbox::new(options).expect("an engine")
}

/// What is asked for and granted.
#[derive(Clone, Copy)]
struct Three<'a> {
    manifest: &'a [&'a str],
    operator: &'a [&'a str],
    tenant: &'a [&'a str],
}

impl<'a> Three<'a> {
    fn all(texts: &'a [&'a str]) -> Self {
        Self { manifest: texts, operator: texts, tenant: &["*"] }
    }
}

/// The probe called `name` in requests of `tenant`.
async fn probe(sandbox: &Sandbox, name: &str, tenant: &str, grants: Three<'_>) -> PluginChain {
    let spec = PluginSpec {
        asks: texts(grants.manifest),
        grants: Grants::parse(grants.operator).expect("valid"),
        config_json: Some("{\"city\": \"Oslo\", \"limit\": 3}".to_owned()),
        ..PluginSpec::new(name, ComponentSource::BuiltIn(PROBE))
    };
    let plugin = sandbox.load(spec).await.unwrap_or_else(|error| panic!("{error}"));
    let own = BTreeMap::from([(name.to_owned(), Grants::parse(grants.tenant).expect("valid"))]);
    let tenant = TenantGrants::new(TenantId::new(tenant), own);
    PluginChain::new(vec![plugin]).expect("a chain").for_tenant(Arc::new(tenant))
}

/// The answer of the probe to `arguments`, and its log.
async fn ask(chain: &PluginChain, arguments: &str) -> (String, Vec<String>) {
    let call = ToolCall { id: "1".to_owned(), name: "probe".to_owned(), arguments_json: arguments.to_owned() };
    let run = chain.call_tool(&call, &NoProgress).await.expect("it has the tool");
    let outcome = run.outcome.unwrap_or_else(|error| panic!("{arguments}: {error}"));
    (outcome.content, run.log.into_iter().map(|line| format!("{} {}", line.level, line.message)).collect())
}

async fn answer(chain: &PluginChain, arguments: &str) -> String {
    ask(chain, arguments).await.0
}
