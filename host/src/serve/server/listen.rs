//! The listeners of a server and their limits.

use std::net::SocketAddr;
use std::sync::Arc;

use firebox_contract::{Error, limits};
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinHandle;

use super::StatusSink;
use crate::config::{Config, ServerConfig};
use crate::http::{Port, probe_paths, router};
use crate::serve::App;
use crate::serve::connections::address::TrustedProxies;
use crate::serve::connections::cors::Cors;
use crate::serve::connections::counters::ConnectionCounters;
use crate::serve::connections::files;
use crate::serve::connections::listener::{self, ConnectionLimits};
use crate::serve::connections::table::ConnectionsMax;

/// Accepts connections on the main port, and on the admin port if there is one, until `stopped` is true.
pub(super) fn accept(
    app: &Arc<App>,
    server: &ServerConfig,
    main: TcpListener,
    admin: Option<(TcpListener, SocketAddr)>,
    stopped: watch::Receiver<bool>,
) -> Vec<JoinHandle<()>> {
    let port = if admin.is_some() { Port::Main } else { Port::Only };
    let counters = app.metrics.connections.clone();
    let grace = limits::HTTP_CLOSE_GRACE;
    let main = listener::serve(main, router(app, port), connection_limits(server), counters, stopped.clone(), grace);
    let mut accepting = vec![tokio::spawn(main)];
    if let Some((listener, _)) = admin {
        let (router, counters) = (router(app, Port::Admin), ConnectionCounters::default());
        accepting.push(tokio::spawn(listener::serve(listener, router, admin_limits(server), counters, stopped, grace)));
    }
    accepting
}

/// Lowers the maximum number of connections to what the system's limit on open files allows.
pub(super) fn limit_by_files(config: &mut Config, status: &StatusSink) {
    let wanted = config.server.connections_max;
    let room = files::room_for(wanted);
    if room < wanted {
        status(&format!(
            "the system's limit on open files allows {room} connections instead of {wanted}; raise it (ulimit -n)"
        ));
        config.server.connections_max = room;
    }
}

/// Listens on an address. Returns the listener, and the address with the port that the system chose for port 0.
///
/// # Errors
/// `Error::Usage` if the system refuses.
pub(super) fn bind(listen: SocketAddr) -> Result<(TcpListener, SocketAddr), Error> {
    let listener = listener::bind(listen);
    let bound = listener.and_then(|listener| listener.local_addr().map(|address| (listener, address)));
    bound.map_err(|error| {
        Error::Usage(format!("cannot listen on \"{listen}\": {error}; choose another address with --listen"))
    })
}

fn connection_limits(server: &ServerConfig) -> ConnectionLimits {
    let total = server.connections_max;
    let default = total.div_ceil(limits::ADDRESS_CONNECTIONS_DIVISOR);
    ConnectionLimits {
        max: ConnectionsMax { total, per_address: server.connections_per_address_max.unwrap_or(default) },
        header_timeout: server.header_timeout,
        reader_timeout: server.reader_timeout,
        trusted_proxies: TrustedProxies::new(server.trusted_proxies.clone()),
        probes: probe_paths(),
        cors: Cors::new(server),
    }
}

/// The limits of the admin port, which only the operator uses.
fn admin_limits(server: &ServerConfig) -> ConnectionLimits {
    let total = limits::HTTP_ADMIN_CONNECTIONS_MAX;
    ConnectionLimits { max: ConnectionsMax { total, per_address: total }, ..connection_limits(server) }
}
