//! `firebox tenants`: the tenants of a host and their keys.

use std::io::Write;
use std::path::PathBuf;
use std::time::{Duration, SystemTime};

use clap::{Args as ClapArgs, Subcommand};
use firebox_contract::{Error, limits};
use serde_json::json;

use super::Io;
use crate::audit::{Audit, Record};
use crate::config::{self, Scope, TenantConfig};
use crate::error::CliError;
use crate::system::{time, units};
use crate::tenancy::file::{KeyOptions, TenantsFile};
use crate::tenancy::keys::NewKey;

/// Add tenants, give them keys and take keys back.
#[derive(ClapArgs, Debug)]
pub struct Args {
    #[command(subcommand)]
    verb: TenantsCommand,
    /// The configuration whose tenants these are; without it firebox.toml in this folder, if there is one
    #[arg(long, global = true, env = config::FILE_ENV, value_name = "PATH")]
    config: Option<PathBuf>,
    /// Answer in JSON
    #[arg(long, global = true)]
    json: bool,
}

#[derive(Subcommand, Debug)]
enum TenantsCommand {
    /// Add a tenant and print its first key, this once.
    Add {
        /// Its name
        name: String,
        #[command(flatten)]
        settings: TenantOptions,
        #[command(flatten)]
        key: NewKeyOptions,
    },
    /// Print a new key for a tenant, this once; its old keys are good no more.
    Rotate {
        /// The tenant
        name: String,
        /// Keep the old keys until they are revoked
        #[arg(long)]
        keep: bool,
        #[command(flatten)]
        key: NewKeyOptions,
    },
    /// Take back one key, or all keys of a tenant.
    Revoke {
        /// A tenant's name or a key's id
        #[arg(value_name = "NAME|KEYID")]
        which: String,
    },
    /// List tenants and their keys (never the keys themselves).
    List,
}

/// What the key is good for.
#[derive(ClapArgs, Debug)]
struct NewKeyOptions {
    /// The key is good for so long, such as 90d, or until a moment such as 2027-12-31; without it until it is revoked
    #[arg(long, value_name = "TIME", value_parser = parse_expiry)]
    expires: Option<SystemTime>,
    /// What the key opens: chat, embed, sessions, tools, approve, usage, metrics (repeatable); without it all but approve
    /// and metrics
    #[arg(long = "scope", value_name = "SCOPE", value_parser = parse_scope)]
    scopes: Vec<Scope>,
}

/// The tenant's own table; everything else is edited in the file.
#[derive(ClapArgs, Debug)]
struct TenantOptions {
    /// Models it may use, by glob (repeatable); without it all
    #[arg(long = "model", value_name = "GLOB")]
    models: Vec<String>,
    /// A plugin that every request passes (repeatable, in order)
    #[arg(long = "plugin", value_name = "NAME")]
    plugins: Vec<String>,
    /// MCP servers whose tools it sees, by glob (repeatable); without it none
    #[arg(long = "mcp-server", value_name = "GLOB")]
    mcp_servers: Vec<String>,
    /// Its share when several tenants wait
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=i64::from(limits::TENANT_WEIGHT_MAX)))]
    weight: Option<u32>,
    /// Requests in any 60 seconds
    #[arg(long, value_name = "N")]
    requests_per_minute: Option<u64>,
    /// Tokens, prompts and answers together, in any 60 seconds
    #[arg(long, value_name = "N")]
    tokens_per_minute: Option<u64>,
    /// Requests at a time
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
        return Err(format!("\"{text}\" is over already; give a time to come, such as 90d"));
    }
    Ok(moment)
}

fn parse_scope(text: &str) -> Result<Scope, String> {
    let names = || Scope::ALL.iter().map(|row| row.0).collect::<Vec<_>>().join(", ");
    let found = Scope::ALL.iter().find(|row| row.0 == text).map(|row| row.1);
    found.ok_or_else(|| format!("\"{text}\" is not one of {}", names()))
}

impl NewKeyOptions {
    fn options(&self) -> KeyOptions {
        let scopes = if self.scopes.is_empty() { Scope::DEFAULT.to_vec() } else { self.scopes.clone() };
        KeyOptions { expires: self.expires, scopes }
    }
}

impl TenantOptions {
    /// As lines of the tenant's table.
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

/// Nothing watches the file, so that a change of it is never taken over half.
const UNTIL_RELOAD: &str = "a host that runs takes keys until it reloads: send it SIGHUP (kill -HUP PID), which also ends \
                            within a second what runs for them";

/// Runs the verb.
///
/// # Errors
/// `CliError::Usage`-kind for names that are not there or there already; others for files that cannot be read or written.
pub fn run(args: Args, io: &mut Io) -> Result<(), CliError> {
    let place = config::Place::find(args.config.as_deref())?;
    let file = TenantsFile::new(&place.tenants_file);
    match args.verb {
        TenantsCommand::Add { name, settings, key } => {
            if place.tenants.iter().any(|tenant| tenant.name == name) {
                return Err(CliError::usage(format!(
                    "there is a tenant \"{name}\" already, in the configuration itself"
                )));
            }
            let change = || file.add(&name, &settings.toml(), &key.options());
            let key = logged(&place, &format!("tenants add {name}"), change)?;
            show(&name, &key, args.json, io)
        }
        TenantsCommand::Rotate { name, keep, key } => {
            let change = || file.rotate(&name, keep, &key.options());
            let key = logged(&place, &format!("tenants rotate {name}"), change)?;
            show(&name, &key, args.json, io)
        }
        TenantsCommand::Revoke { which } => {
            let gone = logged(&place, &format!("tenants revoke {which}"), || file.revoke(&which))?;
            if args.json {
                writeln!(io.out, "{}", json!({ "revoked": gone }))?;
            }
            let ids = gone.join(", ");
            let what = if gone.is_empty() { "there was no key to revoke".to_owned() } else { format!("revoked {ids}") };
            Ok(writeln!(io.err, "firebox: {what}; {UNTIL_RELOAD}")?)
        }
        TenantsCommand::List => list(&[place.tenants, file.tenants()?].concat(), args.json, io),
    }
}

/// Makes a change between two lines of the audit log, where there is one: none is made that could not be logged.
fn logged<T>(place: &config::Place, action: &str, change: impl FnOnce() -> Result<T, Error>) -> Result<T, Error> {
    let Some(path) = &place.audit else { return change() };
    let audit = Audit::open(path, false, action)?;
    let changed = change();
    let outcome = changed.as_ref().map_or_else(|error| error.kind().code(), |_| "ok");
    audit.record(&Record::Admin { action, outcome: Some(outcome) });
    audit.close()?;
    changed
}

/// Prints a key, for the only time: alone on standard output, so that a script can take it.
fn show(name: &str, key: &NewKey, as_json: bool, io: &mut Io) -> Result<(), CliError> {
    if as_json {
        writeln!(io.out, "{}", json!({ "tenant": name, "id": key.id, "key": key.key }))?;
    } else {
        writeln!(io.out, "{}", key.key)?;
    }
    io.out.flush()?;
    let words = "it is shown this once; a host that runs takes the change over when it gets SIGHUP";
    Ok(writeln!(io.err, "firebox: the key of \"{name}\" has the id {}; {words}", key.id)?)
}

fn list(tenants: &[TenantConfig], as_json: bool, io: &mut Io) -> Result<(), CliError> {
    if as_json {
        let tenants: Vec<_> = tenants.iter().map(as_value).collect();
        return Ok(writeln!(io.out, "{:#}", json!({ "tenants": tenants }))?);
    }
    for tenant in tenants {
        writeln!(io.out, "{}  models {}  weight {}", tenant.name, tenant.models.join(","), tenant.weight)?;
        for key in &tenant.keys {
            let until = key
                .expires
                .map_or_else(|| "until revoked".to_owned(), |expires| format!("until {}", time::rfc3339(expires)));
            writeln!(io.out, "  {}  {until}  {}", key.id, scopes(&key.scopes).join(","))?;
        }
    }
    if tenants.is_empty() {
        writeln!(io.err, "firebox: there are no tenants yet; firebox tenants add NAME makes one")?;
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
