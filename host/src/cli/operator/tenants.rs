//! `firebox tenants`: tenants and their API keys.

use std::io::Write;
use std::path::PathBuf;
use std::time::{Duration, SystemTime};

use clap::{Args as ClapArgs, Subcommand};
use firebox_contract::{Error, limits};
use serde_json::json;

use crate::audit::{Audit, Record};
use crate::cli::Io;
use crate::config::{self, Scope, TenantConfig};
use crate::error::CliError;
use crate::system::{time, units};
use crate::tenancy::file::{KeyOptions, TenantsFile};
use crate::tenancy::keys::NewKey;

/// Add tenants, and create, rotate or revoke their API keys.
#[derive(ClapArgs, Debug)]
pub struct Args {
    #[command(subcommand)]
    verb: TenantsCommand,
    /// Configuration file of the server [default: firebox.toml in the current folder, if it exists]
    #[arg(long, global = true, env = config::FILE_ENV, value_name = "PATH")]
    config: Option<PathBuf>,
    /// Print JSON
    #[arg(long, global = true)]
    json: bool,
}

#[derive(Subcommand, Debug)]
enum TenantsCommand {
    /// Add a tenant and create its first key. The key is shown once.
    Add {
        /// Name of the new tenant
        name: String,
        #[command(flatten)]
        settings: TenantOptions,
        #[command(flatten)]
        key: NewKeyOptions,
    },
    /// Create a new key and revoke the old ones. The key is shown once.
    Rotate {
        /// Name of the tenant
        name: String,
        /// Keep the old keys; revoke them later with `tenants revoke`
        #[arg(long)]
        keep: bool,
        #[command(flatten)]
        key: NewKeyOptions,
    },
    /// Revoke one key, or all keys of a tenant.
    Revoke {
        /// Name of a tenant or id of a key
        #[arg(value_name = "NAME|KEYID")]
        target: String,
    },
    /// List tenants and the ids of their keys.
    List,
}

/// How long a key is valid and which scopes it has.
#[derive(ClapArgs, Debug)]
struct NewKeyOptions {
    /// Expiry of the key: a time from now such as 90d, or a date such as 2027-12-31 [default: never]
    #[arg(long, value_name = "TIME", value_parser = parse_expiry)]
    expires: Option<SystemTime>,
    /// Scope of the key: chat, embed, sessions, tools, approve, usage or metrics (repeatable) [default: all except approve
    /// and metrics]
    #[arg(long = "scope", value_name = "SCOPE", value_parser = parse_scope)]
    scopes: Vec<Scope>,
}

/// The settings of a new tenant. Other settings are edited in the file.
#[derive(ClapArgs, Debug)]
struct TenantOptions {
    /// Glob of models that the tenant may use (repeatable) [default: all]
    #[arg(long = "model", value_name = "GLOB")]
    models: Vec<String>,
    /// Plugin that runs in every request of the tenant (repeatable, in order)
    #[arg(long = "plugin", value_name = "NAME")]
    plugins: Vec<String>,
    /// Glob of MCP servers whose tools the tenant may use (repeatable) [default: none]
    #[arg(long = "mcp-server", value_name = "GLOB")]
    mcp_servers: Vec<String>,
    /// Weight of the tenant when several tenants share a model [default: 1]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=i64::from(limits::TENANT_WEIGHT_MAX)))]
    weight: Option<u32>,
    /// Maximum requests in 60 seconds [default: no limit]
    #[arg(long, value_name = "N")]
    requests_per_minute: Option<u64>,
    /// Maximum tokens of prompts and answers in 60 seconds [default: no limit]
    #[arg(long, value_name = "N")]
    tokens_per_minute: Option<u64>,
    /// Maximum requests at a time [default: 64]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..=limits::IN_FLIGHT_MAX as u64))]
    in_flight: Option<u64>,
}

fn parse_expiry(text: &str) -> Result<SystemTime, String> {
    let now = SystemTime::now();
    let moment = match units::parse_time(text, None) {
        Ok(time) => now.checked_add(time).ok_or_else(|| format!("\"{text}\" is too long"))?,
        Err(_) => time::parse(text)?,
    };
    if moment <= now + Duration::from_secs(1) {
        return Err(format!("\"{text}\" is in the past; write a time from now such as 90d, or a later date"));
    }
    Ok(moment)
}

fn parse_scope(text: &str) -> Result<Scope, String> {
    let names = || Scope::ALL.iter().map(|row| row.0).collect::<Vec<_>>().join(", ");
    let found = Scope::ALL.iter().find(|row| row.0 == text).map(|row| row.1);
    found.ok_or_else(|| format!("there is no scope \"{text}\"; the scopes are {}", names()))
}

impl NewKeyOptions {
    fn options(&self) -> KeyOptions {
        let scopes = if self.scopes.is_empty() { Scope::DEFAULT.to_vec() } else { self.scopes.clone() };
        KeyOptions { expires: self.expires, scopes }
    }
}

impl TenantOptions {
    /// The settings as lines of the tenant's TOML table.
    fn toml(&self) -> String {
        let mut lines = Vec::new();
        for (key, globs) in [("models", &self.models), ("plugins", &self.plugins), ("mcp_servers", &self.mcp_servers)] {
            if !globs.is_empty() {
                lines.push(format!("{key} = {}\n", config::toml_list(globs)));
            }
        }
        lines.extend(self.weight.map(|weight| format!("weight = {weight}\n")));
        let limits = [
            ("requests_per_minute", self.requests_per_minute),
            ("tokens_per_minute", self.tokens_per_minute),
            ("in_flight_max", self.in_flight),
        ];
        let mut limits = limits.into_iter().filter_map(|(key, limit)| Some((key, limit?))).peekable();
        if limits.peek().is_some() {
            lines.push("\n[tenant.limits]\n".to_owned());
        }
        lines.extend(limits.map(|(key, limit)| format!("{key} = {limit}\n")));
        lines.concat()
    }
}

/// A server does not watch the file, so it never reads a half-written one.
const SERVER_RELOAD: &str = "a running server accepts revoked keys until it reloads: send it SIGHUP (kill -HUP PID); it then \
                             ends their requests within a second";

/// Runs the command.
///
/// # Errors
/// A `CliError` of usage for a tenant that does not exist or already exists; other kinds for files that cannot be read or
/// written.
pub fn run(args: Args, io: &mut Io) -> Result<(), CliError> {
    let context = config::TenantsContext::find(args.config.as_deref())?;
    let file = TenantsFile::new(&context.tenants_file);
    match args.verb {
        TenantsCommand::Add { name, settings, key } => {
            if context.tenants.iter().any(|tenant| tenant.name == name) {
                return Err(CliError::usage(format!(
                    "tenant \"{name}\" already exists in the main configuration file; edit it there"
                )));
            }
            context.check_plugins(&settings.plugins).map_err(CliError::usage)?;
            let change = || file.add(&name, &settings.toml(), &key.options());
            let key = logged(&context, &format!("tenants add {name}"), change)?;
            show(&name, &key, args.json, io)
        }
        TenantsCommand::Rotate { name, keep, key } => {
            let change = || file.rotate(&name, keep, &key.options());
            let key = logged(&context, &format!("tenants rotate {name}"), change)?;
            show(&name, &key, args.json, io)
        }
        TenantsCommand::Revoke { target } => {
            let gone = logged(&context, &format!("tenants revoke {target}"), || file.revoke(&target))?;
            if args.json {
                writeln!(io.out, "{}", json!({ "revoked": gone }))?;
            }
            let ids = gone.join(", ");
            let what =
                if gone.is_empty() { "the tenant has no keys to revoke".to_owned() } else { format!("revoked {ids}") };
            Ok(writeln!(io.err, "firebox: {what}; {SERVER_RELOAD}")?)
        }
        TenantsCommand::List => list(&[context.tenants, file.tenants()?].concat(), args.json, io),
    }
}

/// Makes a change between two records of the audit log, if one is configured. Without a writable log nothing is changed.
fn logged<T>(
    context: &config::TenantsContext,
    action: &str,
    change: impl FnOnce() -> Result<T, Error>,
) -> Result<T, Error> {
    let Some(path) = &context.audit else { return change() };
    let audit = Audit::open(path, false, action)?;
    let changed = change();
    let outcome = changed.as_ref().map_or_else(|error| error.kind().code(), |_| "ok");
    audit.record(&Record::Admin { action, outcome: Some(outcome) });
    audit.close()?;
    changed
}

/// Prints a new key, alone on standard output, so that a script can read it.
fn show(name: &str, key: &NewKey, as_json: bool, io: &mut Io) -> Result<(), CliError> {
    if as_json {
        writeln!(io.out, "{}", json!({ "tenant": name, "id": key.id, "key": key.key }))?;
    } else {
        writeln!(io.out, "{}", key.key)?;
    }
    io.out.flush()?;
    let hint = "shown once; send SIGHUP to a running server to load it";
    Ok(writeln!(io.err, "firebox: created key {} of tenant \"{name}\" ({hint})", key.id)?)
}

fn list(tenants: &[TenantConfig], as_json: bool, io: &mut Io) -> Result<(), CliError> {
    if as_json {
        let tenants: Vec<_> = tenants.iter().map(as_value).collect();
        return Ok(writeln!(io.out, "{:#}", json!({ "tenants": tenants }))?);
    }
    for tenant in tenants {
        writeln!(io.out, "{}  models {}  weight {}", tenant.name, tenant.models.join(","), tenant.weight)?;
        for key in &tenant.keys {
            let expiry = key
                .expires
                .map_or_else(|| "no expiry".to_owned(), |expires| format!("expires {}", time::rfc3339(expires)));
            writeln!(io.out, "  {}  {expiry}  {}", key.id, scopes(&key.scopes).join(","))?;
        }
    }
    if tenants.is_empty() {
        writeln!(io.err, "firebox: there are no tenants; add one with `firebox tenants add NAME`")?;
    }
    Ok(())
}

fn as_value(tenant: &TenantConfig) -> serde_json::Value {
    let key = |key: &config::KeyConfig| json!({ "id": key.id, "expires": key.expires.map(time::rfc3339), "scopes": scopes(&key.scopes) });
    let limits = &tenant.limits;
    json!({
        "name": tenant.name,
        "models": tenant.models,
        "plugins": tenant.plugins,
        "mcp_servers": tenant.mcp_servers,
        "weight": tenant.weight,
        "limits": {
            "requests_per_minute": limits.requests_per_minute,
            "tokens_per_minute": limits.tokens_per_minute,
            "tool_calls_per_minute": limits.tool_calls_per_minute,
            "plugin_fuel_per_minute": limits.plugin_fuel_per_minute,
            "in_flight_max": limits.in_flight_max,
        },
        "keys": tenant.keys.iter().map(key).collect::<Vec<_>>(),
    })
}

fn scopes(scopes: &[Scope]) -> Vec<&'static str> {
    scopes.iter().map(|scope| scope.as_str()).collect()
}
