//! The server as a whole: start, reload and shutdown.

mod background;
mod build;
pub mod drain;
mod listen;
mod reload;

use std::future::Future;
use std::net::SocketAddr;
use std::sync::{Arc, PoisonError};

use firebox_contract::{Error, limits};
use futures_util::future::join_all;
use tokio::sync::watch;
use tokio::task::JoinHandle;

use self::background::Background;
pub(crate) use self::build::add_local_tenant;
#[cfg(test)]
pub(crate) use self::build::test_app;
use self::build::{build, tenant_session_bytes};
use self::listen::{accept, bind, limit_by_files};
use super::mcp::McpServers;
use super::{App, LOCAL_TENANT, Settings};
use crate::audit::Audit;
use crate::config::Config;

/// Writes a line for the operator.
pub type StatusSink = Arc<dyn Fn(&str) + Send + Sync>;

/// A running server.
pub struct Server {
    app: Arc<App>,
    address: SocketAddr,
    config: Config,
    status: StatusSink,
    stop: watch::Sender<bool>,
    cut: watch::Sender<bool>,
    admin_address: Option<SocketAddr>,
    accepting: Vec<JoinHandle<()>>,
    loading: Option<JoinHandle<Result<(), Error>>>,
    background: Background,
}

/// The result of a shutdown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Drained {
    /// The number of requests that were cut off.
    pub cut: usize,
}

impl Server {
    /// Opens the port, loads plugins and sessions, and starts to load the models. [`Server::loaded`] waits for the models.
    ///
    /// # Errors
    /// The first problem of the configuration, a plugin, the port, the session file or the audit log.
    pub async fn start(mut config: Config, status: StatusSink) -> Result<Self, Error> {
        let is_open = add_local_tenant(&mut config)?;
        limit_by_files(&mut config, &status);
        let (listener, address) = bind(config.server.listen)?;
        config.server.listen = address;
        let admin = config.server.admin_listen.map(bind).transpose()?;
        let admin_address = admin.as_ref().map(|(_, address)| *address);
        config.server.admin_listen = admin_address;
        let (stop, stopped) = watch::channel(false);
        let (cut, cutting) = watch::channel(false);
        let (app, services) = build(&config, is_open, cutting, &status).await?;
        let app = Arc::new(app);
        let accepting = accept(&app, &config.server, listener, admin, stopped);
        if let Some(address) = admin_address {
            status(&format!("probes and metrics on http://{address}"));
        }
        let (models, load_status) = (Arc::clone(&app.models), Arc::clone(&status));
        let loading = Some(tokio::spawn(async move { models.load(&services, &load_status).await }));
        let background = Background::start(&app, &status);
        if is_open {
            status(&format!(
                "no tenants are configured: all clients on this machine are the tenant \"{LOCAL_TENANT}\", without a key"
            ));
        }
        Ok(Self { app, address, config, status, stop, cut, admin_address, accepting, loading, background })
    }

    /// The address of the main port.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The address of the port for probes and metrics, if it is configured.
    #[must_use]
    pub fn admin_address(&self) -> Option<SocketAddr> {
        self.admin_address
    }

    /// Waits until all models have loaded or failed. It may be called again, and the future may be dropped.
    ///
    /// # Errors
    /// The first failure, if no model could be loaded.
    pub async fn loaded(&mut self) -> Result<(), Error> {
        let Some(loading) = &mut self.loading else { return Ok(()) };
        let outcome = loading.await;
        self.loading = None;
        outcome.map_err(|error| Error::Internal(format!("loading the models panicked: {error}")))?
    }

    /// Applies tenants, keys, limits, plugins, policies and MCP servers of `config`, all or nothing. Reports changes that
    /// need a restart.
    ///
    /// # Errors
    /// The first problem of `config`. Then nothing has changed, except that keys which it does not have are revoked.
    pub async fn reload(&mut self, mut config: Config) -> Result<(), Error> {
        let is_open = add_local_tenant(&mut config)?;
        if is_open != self.app.is_open() {
            let message = "a change between a server with tenants and one without needs a restart; nothing was changed";
            return Err(Error::Usage(message.to_owned()));
        }
        self.app.tenancy.revoke_missing(&config)?;
        let mut notes = Vec::new();
        let plugins = self.app.hooks.prepare(&config, &mut notes).await?;
        McpServers::check(&config)?;
        self.app.tenancy.replace(&config)?;
        self.app.hooks.replace(plugins);
        self.app.mcp_servers.replace(&config);
        self.app.mcp_tools.announce();
        self.app.approvals.set_timeout(config.tools.approval_timeout);
        self.app.sessions.share(tenant_session_bytes(&config));
        self.app.set(Settings::of(&config, is_open));
        notes.iter().for_each(|note| (self.status)(note));
        for section in reload::sections_that_need_a_restart(&self.config, &config) {
            (self.status)(&format!("{section} changed in the configuration; restart the server to apply it"));
        }
        Ok(())
    }

    /// Shuts the server down: refuses new requests, waits for running ones until the configured deadline or until `hurry`
    /// completes, cuts the rest off, and closes everything.
    pub async fn drain(self, hurry: impl Future<Output = ()>) -> Drained {
        let Self { app, config, stop, cut, accepting, loading, background, status, .. } = self;
        app.drain.close();
        if let Some(loading) = loading {
            loading.abort();
        }
        background.abort();
        let deadline = config.server.drain_timeout;
        tokio::select! {
            // The MCP service closes its event streams at once. Its calls count as running requests.
            _ = async { tokio::join!(app.drain.idle(), app.mcp_tools.drain(deadline)) } => {}
            () = tokio::time::sleep(deadline) => {}
            () = hurry => {}
        }
        let running = app.drain.running();
        cut.send_replace(true);
        stop.send_replace(true);
        // The listeners give their connections a grace period and then close them.
        let _closed = tokio::time::timeout(limits::SERVE_CLOSE_TIMEOUT, join_all(accepting)).await;
        let children = app.mcp_servers.close().await;
        if children > 0 {
            (status)(&format!("{children} child processes of MCP servers could not be ended"));
        }
        close(app).await;
        Drained { cut: running }
    }
}

impl App {
    /// Whether the server has no tenants, so that no key is needed.
    fn is_open(&self) -> bool {
        self.settings.read().unwrap_or_else(PoisonError::into_inner).open.is_some()
    }
}

/// Joins the threads of the models and writes usage, sessions and audit log to disk, on a thread for blocking work.
async fn close(app: Arc<App>) {
    let work = tokio::task::spawn_blocking(move || {
        app.models.close();
        background::save_usage_now(&app.tenancy, &app.sessions);
        if let Err(error) = app.sessions.flush() {
            tracing::error!(%error, "the sessions could not be flushed");
        }
        if let Some(Err(error)) = app.audit.as_ref().map(Audit::close) {
            tracing::error!(%error, "the audit log could not be closed");
        }
        drop(app);
    });
    // Work that does not end in time ends with the process.
    let _in_time = tokio::time::timeout(limits::SERVE_CLOSE_TIMEOUT, work).await;
}
