//! `firebox mcp serve`: the tools of plugins for an MCP client.

use std::io::Write;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use clap::Args as ClapArgs;
use firebox_contract::{Caller, ToolSource, limits};
use firebox_mcp::server::{self, ServerHttpOptions, ServerInfo};
use tokio::net::TcpListener;

use super::listen;
use crate::cli::Io;
use crate::cli::options::{PluginOptions, parse_bytes, parse_duration};
use crate::error::CliError;
use crate::plugins::tools::PluginTools;
use crate::plugins::{self, sandbox};

/// Offer the tools of plugins to an MCP client: the one that started this process, or those of this machine.
#[derive(ClapArgs, Debug)]
pub struct Args {
    /// Offer the tools of a plugin by NAME or PATH (repeatable); without any, those that come built in
    #[arg(long = "plugin", value_name = "NAME|PATH")]
    plugins: Vec<String>,
    /// Configure a plugin with a JSON object (repeatable)
    #[arg(long = "plugin-config", value_name = "NAME=JSON")]
    configs: Vec<String>,
    /// Fuel of each call (about 10 million a millisecond)
    #[arg(long, value_name = "N")]
    fuel: Option<u64>,
    /// Memory of each call, such as 64MiB (a bare number is MiB)
    #[arg(long, value_name = "SIZE", value_parser = parse_bytes)]
    plugin_memory: Option<usize>,
    /// Wall-clock time of each call, such as 500ms or 2s (a bare number is milliseconds)
    #[arg(long, value_name = "TIME", value_parser = parse_duration)]
    plugin_timeout: Option<Duration>,
    /// Grant a capability to the plugins that ask for it: clock or random (repeatable)
    #[arg(long = "grant", value_name = "CAPABILITY")]
    grants: Vec<String>,
    /// Serve http://ADDR/mcp, to this machine alone, instead of standard input and output
    #[arg(long, value_name = "ADDR")]
    listen: Option<SocketAddr>,
}

/// Runs the action.
///
/// # Errors
/// Plugins that cannot be loaded or offer no tool, an address that cannot be had, a client that speaks another protocol.
pub fn run(args: Args, io: &mut Io) -> Result<(), CliError> {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    let ended = runtime.block_on(serve(args, io));
    // A read of standard input that waits cannot be cancelled everywhere; nobody needs what it would bring.
    runtime.shutdown_background();
    ended
}

async fn serve(args: Args, io: &mut Io) -> Result<(), CliError> {
    if let Some(address) = args.listen.filter(|address| !address.ip().is_loopback()) {
        let message = format!(
            "\"{address}\" can be reached from other machines, and this server asks nobody for a key; listen at \
             127.0.0.1, or use `firebox serve`, which has tenants"
        );
        return Err(CliError::usage(message));
    }
    let listen = args.listen;
    let tools = tools(args, io).await?;
    match listen {
        Some(address) => over_http(tools, address, io).await,
        None => tokio::select! {
            ended = server::serve_stdio(tools, Caller::local(), ServerInfo::firebox()) => Ok(ended?),
            () = listen::stop_signal() => Ok(()),
        },
    }
}

async fn tools(args: Args, io: &mut Io) -> Result<Arc<dyn ToolSource>, CliError> {
    let builtin = args.plugins.is_empty();
    let options = PluginOptions {
        plugins: args.plugins,
        configs: args.configs,
        fuel: args.fuel,
        plugin_memory: args.plugin_memory,
        plugin_timeout: args.plugin_timeout,
        grants: args.grants,
        no_tools: false,
        tool_rounds: limits::TOOL_ROUNDS_DEFAULT,
    };
    let mut notes = Vec::new();
    let chain = sandbox::load_chain(plugins::resolve(&options, builtin)?, crate::cli::notice(), &mut notes).await?;
    for note in notes {
        writeln!(io.err, "firebox: {note}")?;
    }
    if chain.tools().is_empty() {
        let names: Vec<&str> = chain.plugins().iter().map(|plugin| plugin.name()).collect();
        let message = format!("no tool to offer: \"{}\" has none; name a plugin with tools", names.join("\", \""));
        return Err(CliError::usage(message));
    }
    Ok(Arc::new(PluginTools::of(chain)))
}

async fn over_http(tools: Arc<dyn ToolSource>, address: SocketAddr, io: &mut Io) -> Result<(), CliError> {
    let count = tools.tools(&Caller::local()).await.len();
    let listener = TcpListener::bind(address).await.map_err(|error| {
        CliError::usage(format!("cannot listen at \"{address}\": {error}; choose another address, or port 0 for any"))
    })?;
    let service = server::http_service(tools, ServerHttpOptions::default(), Arc::new(|_| Some(Caller::local())));
    let router = axum::Router::new().nest_service("/mcp", service.clone());
    let mut stop = std::pin::pin!(listen::stop_signal());
    // Polled once, it listens: who reads the address below may send a signal at once.
    if futures_util::poll!(&mut stop).is_ready() {
        return Ok(());
    }
    writeln!(io.err, "firebox: {count} tools at http://{}/mcp; Ctrl-C ends it", listener.local_addr()?)?;
    io.err.flush()?;
    let cut = listen::serve(listener, router, &service, stop).await;
    if cut > 0 {
        writeln!(io.err, "firebox: {cut} calls were still running and were cut off")?;
    }
    Ok(())
}
