//! Runs one hostile guest: a sandbox with every service, a server, a folder and a model that the guest may attack.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use firebox_contract::{
    Error, Fault, Hooks, Message, ModelHandle, PluginUse, RequestModel, Role, TokenAction, TokenSequence, TokenStep,
    ToolCall, ToolOutcome, limits,
};
use firebox_sandbox::{
    Allocation, ComponentSource, Grants, HttpService, KeyValueService, PluginChain, PluginLimits, PluginSpec, Sandbox,
    SandboxOptions, Services, TenantGrants,
};

use crate::capabilities::http::{Names, server::Server};
use crate::capabilities::memory_store::MemoryStore;
use crate::capabilities::model::FakeModel;
use crate::capabilities::{NoProgress, PROBE};
use crate::support::{bind, chain, guest, guest_with, prebuilt, spec};

/// How a guest is driven. A guest in WebAssembly text is named by its file in `guests/`.
#[derive(Clone, Copy)]
pub(super) enum Attack {
    /// The guest is loaded.
    Load(&'static str),
    /// The guest gets chunks of text, at most this many.
    Text(&'static str, usize),
    /// The guest gets a conversation.
    Prompt(&'static str),
    /// The tool of the guest is called, at most this often.
    Tool(&'static str, usize),
    /// A session of the fixture `scripted` with this configuration is asked at each token, at most this often.
    Token(&'static str, usize),
    /// `scripted` gets a call and its result.
    ToolCall(&'static str),
    /// `scripted` gets texts and vectors.
    Embedding(&'static str),
    /// The probe has these capabilities and is called with these arguments.
    Probe(&'static [&'static str], &'static str),
    /// As `Probe`, with every function of the model, in a request that is this deep in generations.
    Model(usize, &'static str),
}

/// How an attack ends.
#[derive(Debug, Clone, Copy)]
pub(super) enum End {
    /// With a fault of this code, whose text has this part.
    Fault(&'static str, &'static str),
    /// With an error of the interface, or a shortened output: what the guest returns has this part.
    Error(&'static str),
}

/// One row of the table.
#[derive(Clone, Copy)]
pub(super) struct HostileGuest {
    pub(super) name: &'static str,
    pub(super) attack: Attack,
    pub(super) ends: End,
    pub(super) limits: PluginLimits,
    /// The longest time of the attack, on a busy machine too.
    pub(super) within: Duration,
    /// The most linear memory of the guest, in bytes.
    pub(super) memory_max: u64,
}

/// What an attack did.
pub(super) struct Outcome {
    pub(super) end: Result<String, Fault>,
    pub(super) memory_bytes: u64,
    pub(super) fuel: u64,
    pub(super) log: Vec<String>,
}

impl Outcome {
    fn of(end: Result<String, Error>, uses: &[PluginUse], log: Vec<String>) -> Self {
        let end = match end {
            Err(Error::Fault(fault)) => Err(fault),
            // A component that is not loaded, or a request that is refused.
            Err(other) => Ok(format!("{:?}: {other}", other.kind())),
            Ok(text) => Ok(text),
        };
        let memory = uses.iter().map(|row| row.memory_peak_bytes).max().unwrap_or_default();
        let of_fault = end.as_ref().err().map_or(0, |fault| fault.memory_peak_bytes);
        Self { end, memory_bytes: memory.max(of_fault), fuel: uses.iter().map(|row| row.fuel).sum(), log }
    }

    fn of_hooks(end: Result<String, Error>, hooks: &mut dyn Hooks) -> Self {
        let log = hooks.take_log().into_iter().map(|line| line.message).collect();
        Self::of(end, &hooks.usage(), log)
    }
}

/// The sandbox and what guests may attack.
pub(super) struct Lab {
    pub(super) sandbox: Sandbox,
    server: Server,
    /// Has the folder `docs`, and beside it a file that no guest may read.
    above: tempfile::TempDir,
}

impl Lab {
    pub(super) fn new(allocation: Allocation) -> Self {
        let services = Services {
            http: HttpService::with_resolver(Arc::new(Names::default())),
            keyvalue: KeyValueService::new(Arc::new(MemoryStore::with_keys(50))),
            ..Services::default()
        };
        let options = SandboxOptions { pool_memories: 16, allocation, services, ..SandboxOptions::default() };
        let above = tempfile::tempdir().expect("a folder");
        let docs = above.path().join("docs");
        std::fs::create_dir_all(&docs).expect("made");
        std::fs::write(docs.join("a.txt"), "inside").expect("written");
        std::fs::write(above.path().join("secret.txt"), "outside").expect("written");
        #[cfg(unix)]
        for (target, link) in [("../secret.txt", "relative"), ("/etc", "etc"), ("loop", "loop"), ("..", "up")] {
            std::os::unix::fs::symlink(target, docs.join(link)).expect("linked");
        }
        Self { sandbox: Sandbox::new(options).expect("an engine"), server: Server::start(), above }
    }

    /// Requests that reached the server.
    pub(super) fn requests(&self) -> usize {
        self.server.requests()
    }

    pub(super) async fn run(&self, row: &HostileGuest) -> Outcome {
        let load = async |spec: PluginSpec| self.sandbox.load(PluginSpec { limits: row.limits, ..spec }).await;
        let own = |name: &str| {
            let asks = vec!["clock".to_owned(), "model:tokenize".to_owned()];
            let grants = Grants::parse(&asks).expect("valid");
            PluginSpec { asks, grants, ..spec(name, guest(name)) }
        };
        let scripted = |config: &str| prebuilt("scripted.wasm", "scripted", config);
        let loaded = match row.attack {
            Attack::Load(name) => load(own(name)).await,
            Attack::Text(name, _) | Attack::Prompt(name) => load(own(name)).await,
            Attack::Tool(name, _) => load(spec(name, guest_with(name, &[("@TOOL@", "tool")]))).await,
            Attack::Token(config, _) | Attack::ToolCall(config) | Attack::Embedding(config) => {
                load(scripted(config)).await
            }
            Attack::Probe(grants, arguments) => {
                return self.probe(row, grants, ModelHandle::default(), arguments).await;
            }
            Attack::Model(depth, arguments) => {
                let model = Arc::new(FakeModel::new(depth, 9_000));
                let model = ModelHandle::new(model as Arc<dyn RequestModel>);
                return self.probe(row, MODEL, model, arguments).await;
            }
        };
        let plugin = match loaded {
            Ok(plugin) => plugin,
            Err(error) => return Outcome::of(Err(error.into()), &[], Vec::new()),
        };
        let mut hooks = bind(&chain(&[&plugin])).await;
        let end = drive(row.attack, hooks.as_mut()).await;
        Outcome::of_hooks(end, hooks.as_mut())
    }

    async fn probe(&self, row: &HostileGuest, grants: &[&str], model: ModelHandle, arguments: &str) -> Outcome {
        let read = |_: &str| Ok("first-s3cret-value".to_owned());
        self.call(row.limits, &self.filled(grants), &read, model, arguments).await
    }

    /// What the probe answers if its secret has this value.
    pub(super) async fn with_secret(&self, value: &str, arguments: &str) -> Outcome {
        let read = |_: &str| Ok(value.to_owned());
        let grants = self.filled(super::rows::WITH_SECRET);
        self.call(super::rows::PATIENT, &grants, &read, ModelHandle::default(), arguments).await
    }

    fn filled(&self, texts: &[&str]) -> Vec<String> {
        let docs: PathBuf = self.above.path().join("docs");
        let filled = |text: &&str| self.with_port(text).replace("FOLDER", &docs.display().to_string());
        texts.iter().map(filled).collect()
    }

    fn with_port(&self, text: &str) -> String {
        text.replace("PORT", &self.server.address.port().to_string())
    }

    async fn call(
        &self,
        limits: PluginLimits,
        grants: &[String],
        read: &dyn Fn(&str) -> Result<String, String>,
        model: ModelHandle,
        arguments: &str,
    ) -> Outcome {
        // What follows names a source of the operator, and is no part of an ask.
        let ask =
            |grant: &String| grant.split(" at ").next().unwrap_or(grant).split('=').next().unwrap_or(grant).to_owned();
        let spec = PluginSpec {
            asks: grants.iter().map(ask).collect(),
            grants: Grants::parse(grants).and_then(|grants| grants.resolved(read)).expect("valid"),
            limits,
            ..PluginSpec::new("probe", ComponentSource::BuiltIn(PROBE))
        };
        let plugin = self.sandbox.load(spec).await.unwrap_or_else(|error| panic!("{error}"));
        let everything = BTreeMap::from([("probe".to_owned(), Grants::everything())]);
        let tenant = TenantGrants::new(firebox_contract::TenantId::new("acme"), everything);
        let chain = PluginChain::new(vec![plugin]).expect("a chain").for_tenant(Arc::new(tenant)).with_model(model);
        let call = ToolCall { id: "1".to_owned(), name: "probe".to_owned(), arguments_json: self.with_port(arguments) };
        let run = chain.call_tool(&call, &NoProgress).await.expect("it has the tool");
        let log = run.log.into_iter().map(|line| line.message).collect();
        Outcome::of(run.outcome.map(|outcome| outcome.content), &run.uses, log)
    }
}

const MODEL: &[&str] = &["model:generate", "model:embed", "model:tokenize"];

/// Drives an attack to its fault or its end, and returns what the guest returned last.
async fn drive(attack: Attack, hooks: &mut dyn Hooks) -> Result<String, Error> {
    let mut last = String::new();
    match attack {
        Attack::Text(_, times) => {
            for _ in 0..times {
                last = format!("{:?}", hooks.push("x".to_owned()).await?);
            }
        }
        Attack::Prompt(_) => last = format!("{:?}", hooks.process(vec![Message::text(Role::User, "hi")]).await?),
        Attack::Tool(_, times) => {
            let call = ToolCall { id: "1".to_owned(), name: "tool".to_owned(), arguments_json: "{}".to_owned() };
            for _ in 0..times {
                last = hooks.call(&call).await?.content;
            }
        }
        Attack::Token(_, times) => last = tokens(hooks, times).await?,
        Attack::ToolCall(_) => {
            let call = ToolCall { id: "1".to_owned(), name: "mail".to_owned(), arguments_json: "{}".to_owned() };
            hooks.before_call(&call).await?;
            last = hooks.after_call(&call, ToolOutcome::ok("server", "sent")).await?.content;
        }
        Attack::Embedding(_) => {
            last = format!("{:?}", hooks.before_embedding(vec!["a".to_owned(), "b".to_owned()]).await?);
            hooks.after_embedding(vec![vec![1.0, 2.0], vec![3.0, 4.0]]).await?;
        }
        Attack::Load(_) | Attack::Probe(..) | Attack::Model(..) => {}
    }
    Ok(last)
}

/// A sequence of a vocabulary of 70 tokens, of which two are held at each step.
async fn tokens(hooks: &mut dyn Hooks, times: usize) -> Result<String, Error> {
    let sequence = || TokenSequence { vocabulary: 70, ends: vec![0], prompt: vec![5, 6, 7], texts: None };
    let Some(mut session) = hooks.start_tokens(&sequence).await? else { return Ok("no session".to_owned()) };
    let (mut last, mut taken_back) = (TokenAction::Stop, 0);
    for _ in 0..times {
        last = session.next(TokenStep { held: 2, taken_back, ..TokenStep::default() }).await?;
        taken_back = if let TokenAction::Backtrack(count) = last { count } else { 0 };
        assert!(taken_back <= limits::STAGE_TAKEN_BACK_TOKENS_MAX);
    }
    Ok(format!("{last:?}"))
}
