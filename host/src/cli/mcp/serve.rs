//! `firebox mcp serve`: serves the tools of plugins to an MCP client.

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
use crate::cli::options::{PluginOptions, parse_bytes, parse_duration, print_grants};
use crate::error::CliError;
use crate::plugins::tools::PluginTools;
use crate::plugins::{self, sandbox};

/// Serve the tools of plugins to an MCP client, over standard input and output or HTTP.
#[derive(ClapArgs, Debug)]
pub struct Args {
    /// Serve the tools of a plugin: a built-in NAME or a PATH (repeatable) [default: the built-in plugins]
    #[arg(long = "plugin", value_name = "NAME|PATH")]
    plugins: Vec<String>,
    /// Configuration of a plugin: a JSON object (repeatable)
    #[arg(long = "plugin-config", value_name = "NAME=JSON")]
    configs: Vec<String>,
    /// Maximum fuel of each call (1 ms of work is about 10 million)
    #[arg(long, value_name = "N")]
    fuel: Option<u64>,
    /// Maximum memory of each call, such as 64MiB (a number without unit: MiB)
    #[arg(long, value_name = "SIZE", value_parser = parse_bytes)]
    plugin_memory: Option<usize>,
    /// Maximum time of each call, such as 500ms or 2s (a number without unit: milliseconds)
    #[arg(long, value_name = "TIME", value_parser = parse_duration)]
    plugin_timeout: Option<Duration>,
    /// Allow plugins to use a capability that they ask for: clock, random, model:generate, keyvalue:BUCKET, files:NAME=PATH,
    /// "http:METHODS URL" or "secret:NAME=env:VARIABLE for URL" (repeatable)
    #[arg(long = "grant", value_name = "CAPABILITY")]
    grants: Vec<String>,
    /// List what each plugin asks for, whether it was granted, and what to write if not
    #[arg(long)]
    explain_grants: bool,
    /// Serve http://ADDR/mcp instead of standard input and output; ADDR must be on this machine, such as 127.0.0.1:0
    #[arg(long, value_name = "ADDR", value_parser = parse_address)]
    listen: Option<SocketAddr>,
}

fn parse_address(text: &str) -> Result<SocketAddr, String> {
    text.parse().map_err(|_| format!("\"{text}\" is not an address with a port; write for example 127.0.0.1:8081"))
}

/// Runs the command.
///
/// # Errors
/// Plugins that cannot be loaded or have no tools, an address that is in use, a client that speaks another protocol.
pub fn run(args: Args, io: &mut Io) -> Result<(), CliError> {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    let ended = runtime.block_on(serve(args, io));
    // A read of standard input cannot be cancelled on every system, so its thread is left behind.
    runtime.shutdown_background();
    ended
}

async fn serve(args: Args, io: &mut Io) -> Result<(), CliError> {
    if let Some(address) = args.listen.filter(|address| !address.ip().is_loopback()) {
        let message = format!(
            "\"{address}\" can be reached from other machines, and this server has no API keys; listen on 127.0.0.1, or use \
             `firebox serve` with tenants"
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
        explain_grants: args.explain_grants,
        no_tools: false,
        tool_rounds: limits::TOOL_ROUNDS_DEFAULT,
    };
    let mut notes = Vec::new();
    let chain = sandbox::load_chain(plugins::resolve(&options, builtin)?, crate::cli::notice(), &mut notes).await?;
    for note in notes {
        writeln!(io.err, "firebox: {note}")?;
    }
    if options.explain_grants {
        print_grants(chain.plugins(), io)?;
    }
    if chain.tools().is_empty() {
        let names: Vec<&str> = chain.plugins().iter().map(|plugin| plugin.name()).collect();
        let message = format!("\"{}\" has no tools; give a plugin with tools", names.join("\", \""));
        return Err(CliError::usage(message));
    }
    Ok(Arc::new(PluginTools::of(chain)))
}

async fn over_http(tools: Arc<dyn ToolSource>, address: SocketAddr, io: &mut Io) -> Result<(), CliError> {
    let count = tools.tools(&Caller::local()).await.len();
    let listener = TcpListener::bind(address).await.map_err(|error| {
        CliError::usage(format!(
            "cannot listen on \"{address}\": {error}; choose another address, or port 0 for any free port"
        ))
    })?;
    let service = server::http_service(tools, ServerHttpOptions::default(), Arc::new(|_| Some(Caller::local())));
    let router = axum::Router::new().nest_service("/mcp", service.clone());
    let mut stop = std::pin::pin!(listen::stop_signal());
    // Polling once installs the handlers, because a client may send a signal as soon as the address is printed.
    if futures_util::poll!(&mut stop).is_ready() {
        return Ok(());
    }
    writeln!(io.err, "firebox: serving {count} tools at http://{}/mcp; press Ctrl-C to stop", listener.local_addr()?)?;
    io.err.flush()?;
    let cut = listen::serve(listener, router, &service, stop).await;
    if cut > 0 {
        writeln!(io.err, "firebox: {cut} running calls were cancelled")?;
    }
    Ok(())
}
