//! What all requests share: the thread that they run on, name lookup, encryption, and the shares of tenants.

use std::collections::HashMap;
use std::io;
use std::net::{IpAddr, SocketAddr, ToSocketAddrs};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use firebox_contract::{TenantId, limits};
use rustls::ClientConfig;
use rustls_platform_verifier::BuilderVerifierExt;
use tokio::runtime::{Builder, Handle, Runtime};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_rustls::TlsConnector;

use super::bindings::wasi::http::types::{DnsErrorPayload, ErrorCode};
use super::stand_in::HttpStandIn;

/// Looks up the addresses of hosts.
pub trait Resolver: Send + Sync {
    /// The addresses of `host`, each with `port`. It may block: it runs on a thread for lookups.
    ///
    /// # Errors
    /// The system's error, if the name has no address or cannot be looked up.
    fn resolve(&self, host: &str, port: u16) -> io::Result<Vec<SocketAddr>>;
}

/// Asks the system.
struct SystemResolver;

impl Resolver for SystemResolver {
    fn resolve(&self, host: &str, port: u16) -> io::Result<Vec<SocketAddr>> {
        Ok((host, port).to_socket_addrs()?.collect())
    }
}

/// Sends the HTTP requests of plugins. The default sends none.
#[derive(Clone, Default)]
pub struct HttpService(Option<Arc<HttpClient>>);

impl HttpService {
    /// Sends requests to the addresses that the system knows for a host.
    #[must_use]
    pub fn system() -> Self {
        Self::with_resolver(Arc::new(SystemResolver))
    }

    /// Sends requests to the addresses that `resolver` knows for a host.
    #[must_use]
    pub fn with_resolver(resolver: Arc<dyn Resolver>) -> Self {
        Self::new(resolver, None)
    }

    /// Sends nothing: `stand_in` answers each request that a plugin may send.
    #[must_use]
    pub fn with_stand_in(stand_in: Arc<dyn HttpStandIn>) -> Self {
        Self::new(Arc::new(SystemResolver), Some(stand_in))
    }

    fn new(resolver: Arc<dyn Resolver>, stand_in: Option<Arc<dyn HttpStandIn>>) -> Self {
        Self(Some(Arc::new(HttpClient {
            resolver,
            stand_in,
            runtime: OnceLock::new(),
            tls: OnceLock::new(),
            shares: Mutex::default(),
            running: Arc::new(Semaphore::new(limits::HTTP_REQUESTS_RUNNING_MAX)),
        })))
    }

    pub(super) fn client(&self) -> Option<&Arc<HttpClient>> {
        self.0.as_ref()
    }
}

impl std::fmt::Debug for HttpService {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(if self.0.is_some() { "HttpService" } else { "no HttpService" })
    }
}

/// What all requests share.
pub(super) struct HttpClient {
    resolver: Arc<dyn Resolver>,
    /// Answers in place of the network.
    pub(super) stand_in: Option<Arc<dyn HttpStandIn>>,
    /// Its thread starts with the first request; `None` if the system starts none.
    runtime: OnceLock<Option<Runtime>>,
    tls: OnceLock<Option<TlsConnector>>,
    shares: Mutex<HashMap<TenantId, Arc<Semaphore>>>,
    running: Arc<Semaphore>,
}

/// The part of a running request in the share of its tenant and in the whole.
pub(super) type Share = Arc<(OwnedSemaphorePermit, OwnedSemaphorePermit)>;

impl HttpClient {
    /// Where requests run.
    pub(super) fn handle(&self) -> Option<&Handle> {
        let start = || {
            let mut builder = Builder::new_multi_thread();
            builder.worker_threads(1).max_blocking_threads(limits::HTTP_LOOKUP_THREADS_MAX);
            builder.thread_name("firebox-http").enable_all().build().ok()
        };
        self.runtime.get_or_init(start).as_ref().map(Runtime::handle)
    }

    /// Waits for the tenant's earlier requests.
    ///
    /// # Errors
    /// `ConnectionLimitReached` if too many of them run for too long, or too many requests of all tenants run.
    pub(super) async fn share(&self, tenant: &TenantId) -> Result<Share, ErrorCode> {
        let own = {
            let mut shares = self.shares.lock().unwrap_or_else(PoisonError::into_inner);
            if shares.len() >= limits::HTTP_TENANTS_CACHED {
                // A share without a request is as good as a new one.
                shares.retain(|_, share| Arc::strong_count(share) > 1);
            }
            let new = || Arc::new(Semaphore::new(limits::HTTP_REQUESTS_PER_TENANT_MAX));
            Arc::clone(shares.entry(tenant.clone()).or_insert_with(new))
        };
        let full = |_| ErrorCode::ConnectionLimitReached;
        let own = tokio::time::timeout(limits::HTTP_SHARE_WAIT, own.acquire_owned()).await.map_err(full)?;
        let own = own.map_err(|_| ErrorCode::ConnectionLimitReached)?;
        let all = Arc::clone(&self.running).try_acquire_owned().map_err(|_| ErrorCode::ConnectionLimitReached)?;
        Ok(Arc::new((own, all)))
    }

    /// The addresses of `host`. `share` is kept until the lookup ends, also if nobody waits for it any more.
    pub(super) async fn addresses(
        self: &Arc<Self>,
        host: &str,
        port: u16,
        share: &Share,
    ) -> Result<Vec<SocketAddr>, ErrorCode> {
        if let Ok(address) = host.parse::<IpAddr>() {
            return Ok(vec![SocketAddr::new(address, port)]);
        }
        let (own, host, share) = (Arc::clone(self), host.to_owned(), Arc::clone(share));
        let lookup = tokio::task::spawn_blocking(move || {
            let _share = share;
            own.resolver.resolve(&host, port)
        });
        let unknown = || ErrorCode::DnsError(DnsErrorPayload { rcode: None, info_code: None });
        match lookup.await {
            Ok(Ok(addresses)) if !addresses.is_empty() => Ok(addresses),
            _ => Err(unknown()),
        }
    }

    /// What encrypts connections, with the certificates that the system trusts.
    ///
    /// # Errors
    /// `ConfigurationError` if the system has none.
    pub(super) async fn tls(self: &Arc<Self>) -> Result<TlsConnector, ErrorCode> {
        let own = Arc::clone(self);
        // The first call reads files.
        let connector = tokio::task::spawn_blocking(move || own.tls.get_or_init(|| connector().ok()).clone()).await;
        connector.ok().flatten().ok_or(ErrorCode::ConfigurationError)
    }
}

fn connector() -> Result<TlsConnector, rustls::Error> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions()?;
    let mut config = builder.with_platform_verifier()?.with_no_client_auth();
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(TlsConnector::from(Arc::new(config)))
}

impl Drop for HttpClient {
    fn drop(&mut self) {
        if let Some(Some(runtime)) = self.runtime.take() {
            // This may be one of its own threads.
            runtime.shutdown_background();
        }
    }
}
