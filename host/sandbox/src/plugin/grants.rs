//! Capabilities that a plugin asks for, and that its operator and the tenant of a request grant to it. It has those that all
//! three sets include (invariant I9).

pub(crate) mod capability;
pub(crate) mod explain;
pub(crate) mod http_rule;
pub(crate) mod secret;

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::Path;
use std::sync::Arc;

use firebox_contract::{TenantId, limits};

use self::capability::{Capability, Coverage, Grant, Use};
use self::http_rule::HttpTarget;
use self::http_rule::address::is_private;
use self::secret::SecretGrant;
use crate::capabilities::secrets::BoundSecret;
use crate::error::SandboxError;

/// A list of capabilities. The default is the log, which every plugin may have.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Grants {
    /// Whether it includes every capability.
    everything: bool,
    list: Vec<Grant>,
}

impl Default for Grants {
    fn default() -> Self {
        [Capability::Log].into_iter().collect()
    }
}

impl FromIterator<Capability> for Grants {
    fn from_iter<I: IntoIterator<Item = Capability>>(capabilities: I) -> Self {
        capabilities.into_iter().map(Grant::all).collect()
    }
}

impl FromIterator<Grant> for Grants {
    fn from_iter<I: IntoIterator<Item = Grant>>(grants: I) -> Self {
        Self { everything: false, list: grants.into_iter().collect() }
    }
}

impl Grants {
    /// Every capability with every parameter.
    #[must_use]
    pub fn everything() -> Self {
        Self { everything: true, list: Vec::new() }
    }

    /// The capabilities with these texts; `*` is every capability.
    ///
    /// # Errors
    /// A message for the first text that is not a capability, or for too many texts.
    pub fn parse<S: AsRef<str>>(texts: &[S]) -> Result<Self, String> {
        if texts.len() > limits::CAPABILITIES_MAX {
            return Err(format!("{} capabilities are listed; at most {}", texts.len(), limits::CAPABILITIES_MAX));
        }
        let everything = texts.iter().any(|text| text.as_ref() == "*");
        let named = texts.iter().map(AsRef::as_ref).filter(|text| *text != "*");
        Ok(Self { everything, list: named.map(str::parse).collect::<Result<_, _>>()? })
    }

    /// The same list with folders relative to `base`.
    #[must_use]
    pub fn relative_to(self, base: &Path) -> Self {
        Self { list: self.list.into_iter().map(|grant| grant.relative_to(base)).collect(), ..self }
    }

    /// Reads the values of secrets with `read`, which gets references such as `env:KEY`.
    ///
    /// # Errors
    /// What is wrong with the first reference or value that cannot be used.
    pub fn resolved(self, read: &dyn Fn(&str) -> Result<String, String>) -> Result<Self, String> {
        let list = self.list.into_iter().map(|grant| grant.resolved(read)).collect::<Result<_, _>>()?;
        Ok(Self { list, ..self })
    }

    /// The part of the grants that is about the secret `name`.
    fn secret(&self, name: &str) -> Option<&SecretGrant> {
        self.list.iter().filter_map(Grant::secret).find(|secret| secret.name == name)
    }

    /// Whether every use of `capability` is included.
    #[must_use]
    pub fn has(&self, capability: Capability) -> bool {
        let all = Grant::all(capability);
        self.everything || self.list.iter().any(|grant| grant.coverage(&all) == Coverage::All)
    }

    /// Whether the list is empty.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        !self.everything && self.list.is_empty()
    }

    /// The capabilities of the list, without `*`.
    pub fn iter(&self) -> impl Iterator<Item = &Grant> {
        self.list.iter()
    }

    /// Both lists together.
    #[must_use]
    pub fn with(&self, other: &Self) -> Self {
        let list = self.list.iter().chain(&other.list).cloned().collect();
        Self { everything: self.everything || other.everything, list }
    }

    /// What the manifest of `plugin` asks for. `log` needs no ask.
    ///
    /// # Errors
    /// `SandboxError::Capability` for a text that is not a capability, or that asks for every parameter.
    pub(crate) fn asked(plugin: &str, texts: &[String]) -> Result<Self, SandboxError> {
        let wrong = |reason: String| SandboxError::Capability { plugin: plugin.to_owned(), reason };
        let asked = Self::parse(texts).map_err(wrong)?;
        if asked.everything {
            return Err(wrong("\"*\" is no capability; list what the plugin needs".to_owned()));
        }
        if let Some(grant) = asked.list.iter().find(|grant| grant.is_wide() || grant.has_source()) {
            return Err(wrong(format!("\"{grant}\" must name what the plugin needs")));
        }
        Ok(asked.with(&Self::default()))
    }

    /// The part that names what it is about: without `*`, and without capabilities such as `keyvalue:*`. A component without a
    /// manifest has no list of its own that would say which part of the others it needs.
    #[must_use]
    pub(crate) fn named(&self) -> Self {
        self.list.iter().filter(|grant| !grant.is_wide()).cloned().collect()
    }

    /// The texts of the other part.
    pub(crate) fn unnamed(&self) -> impl Iterator<Item = String> {
        let everything = self.everything.then(|| "*".to_owned());
        everything.into_iter().chain(self.list.iter().filter(|grant| grant.is_wide()).map(Grant::to_string))
    }

    fn permits(&self, wanted: &Use<'_>) -> bool {
        self.everything || self.list.iter().any(|grant| grant.permits(wanted))
    }
}

/// What a tenant grants to its plugins, by their names. The default grants nothing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TenantGrants {
    tenant: TenantId,
    /// Whether every plugin gets whatever its operator grants.
    everything: bool,
    plugins: BTreeMap<String, Grants>,
}

impl TenantGrants {
    /// The grants of `tenant` to each plugin.
    #[must_use]
    pub fn new(tenant: TenantId, plugins: BTreeMap<String, Grants>) -> Self {
        Self { tenant, everything: false, plugins }
    }

    /// `tenant` grants to every plugin whatever the operator grants, as on the command line, where both are one person.
    #[must_use]
    pub fn of_operator(tenant: TenantId) -> Self {
        Self { tenant, everything: true, plugins: BTreeMap::new() }
    }

    /// The tenant.
    #[must_use]
    pub fn tenant(&self) -> &TenantId {
        &self.tenant
    }

    fn permits(&self, plugin: &str, wanted: &Use<'_>) -> bool {
        // What is free for every plugin of the operator is free for its tenants.
        matches!(wanted, Use::Of(Capability::Log))
            || self.everything
            || self.plugins.get(plugin).is_some_and(|grants| grants.permits(wanted))
    }

    /// How much of `asked` the tenant grants to `plugin`.
    fn coverage(&self, plugin: &str, asked: &Grant) -> Coverage {
        let free = self.everything || asked.capability() == Capability::Log;
        if free { Coverage::All } else { self.plugins.get(plugin).map_or(Coverage::Nothing, |own| best(own, asked)) }
    }
}

fn best(grants: &Grants, asked: &Grant) -> Coverage {
    let of_list = grants.list.iter().map(|grant| grant.coverage(asked)).max();
    if grants.everything { Coverage::All } else { of_list.unwrap_or(Coverage::Nothing) }
}

/// Who denies a use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DeniedBy {
    /// The manifest does not ask for it.
    Manifest,
    /// The operator does not grant it.
    Operator,
    /// The tenant of the request does not grant it.
    Tenant,
}

/// The capabilities of one plugin in the requests of one tenant.
#[derive(Debug, Clone)]
pub(crate) struct Permissions {
    pub(crate) plugin: Arc<PluginGrants>,
    pub(crate) tenant: Arc<TenantGrants>,
}

/// The part of the capabilities of a plugin that is the same for every tenant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct PluginGrants {
    pub(crate) name: String,
    pub(crate) asked: Grants,
    pub(crate) operator: Grants,
}

impl Permissions {
    /// Whether the guest may do this, or who denies it.
    pub(crate) fn check(&self, wanted: &Use<'_>) -> Result<(), DeniedBy> {
        if !self.plugin.asked.permits(wanted) {
            return Err(DeniedBy::Manifest);
        }
        if !self.plugin.operator.permits(wanted) {
            return Err(DeniedBy::Operator);
        }
        if self.tenant.permits(&self.plugin.name, wanted) { Ok(()) } else { Err(DeniedBy::Tenant) }
    }

    /// Whether the guest may do this.
    pub(crate) fn allow(&self, wanted: &Use<'_>) -> bool {
        self.check(wanted).is_ok()
    }

    /// Whether a request to `target` may connect to `address`: it is public, or the operator named it.
    pub(crate) fn allow_address(&self, target: &HttpTarget, address: IpAddr) -> bool {
        !is_private(address) || self.plugin.operator.list.iter().any(|grant| grant.permits_private(target, address))
    }

    /// The secrets that the guest may use. The operator says where they may go; a value is the tenant's own, or the operator's.
    pub(crate) fn secrets(&self) -> Vec<BoundSecret> {
        let operator = self.plugin.operator.list.iter().filter_map(Grant::secret);
        let bound = operator.filter_map(|secret| {
            self.allow(&Use::Named(Capability::Secret, &secret.name)).then_some(())?;
            let own = self.tenant.plugins.get(&self.plugin.name).and_then(|grants| grants.secret(&secret.name));
            let value = own.and_then(|own| own.value.as_ref()).or(secret.value.as_ref())?.clone();
            Some(BoundSecret { name: secret.name.clone(), value, destination: secret.destination.clone()? })
        });
        bound.collect()
    }

    /// The folders that the guest may read: the name in the guest, and the path.
    pub(crate) fn folders(&self) -> impl Iterator<Item = (&str, &Path)> {
        let folders = self.plugin.operator.list.iter().filter_map(Grant::folder);
        folders.filter(|(name, _)| self.allow(&Use::Named(Capability::Files, name)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::capabilities::secrets::SecretValue;

    fn grants(texts: &[&str]) -> Grants {
        Grants::parse(texts).unwrap_or_else(|error| panic!("{error}"))
    }

    fn permissions(asked: &[&str], operator: &[&str], tenant: &[&str]) -> Permissions {
        let asks: Vec<String> = asked.iter().map(|text| (*text).to_owned()).collect();
        let asked = Grants::asked("p", &asks).unwrap_or_else(|error| panic!("{error}"));
        let plugin = PluginGrants { name: "p".to_owned(), asked, operator: grants(operator) };
        let plugins = BTreeMap::from([("p".to_owned(), grants(tenant))]);
        let tenant = TenantGrants::new(TenantId::new("acme"), plugins);
        Permissions { plugin: Arc::new(plugin), tenant: Arc::new(tenant) }
    }

    #[test]
    fn a_plugin_has_what_manifest_operator_and_tenant_all_include() {
        let notes = Use::Named(Capability::KeyValue, "notes");
        let full: &[&str] = &["keyvalue:notes"];
        for (asked, operator, tenant, expected) in [
            (full, full, full, Ok(())),
            (full, &["keyvalue:*"], &["*"], Ok(())),
            (&[], &["*"], &["*"], Err(DeniedBy::Manifest)),
            (&["keyvalue:other"], &["*"], &["*"], Err(DeniedBy::Manifest)),
            (full, &[], &["*"], Err(DeniedBy::Operator)),
            (full, &["keyvalue:other"], &["*"], Err(DeniedBy::Operator)),
            (full, &["*"], &[], Err(DeniedBy::Tenant)),
            (full, &["*"], &["keyvalue:other"], Err(DeniedBy::Tenant)),
        ] {
            let permissions = permissions(asked, operator, tenant);
            assert_eq!(permissions.check(&notes), expected, "{asked:?} {operator:?} {tenant:?}");
        }
        let stranger =
            TenantGrants::new(TenantId::new("acme"), BTreeMap::from([("q".to_owned(), Grants::everything())]));
        let of_another = Permissions { tenant: Arc::new(stranger), ..permissions(full, full, full) };
        assert_eq!(of_another.check(&notes), Err(DeniedBy::Tenant), "grants to another plugin do not count");
    }

    #[test]
    fn a_request_must_match_a_rule_of_each_of_the_three() {
        let asked = &["http:GET,POST https://*.example.org"];
        let permissions =
            permissions(asked, &["http:GET https://api.example.org"], &["http:* https://api.example.org/v1/"]);
        let check = |method: &str, host: &str, path: &str| {
            permissions.check(&Use::Http(&HttpTarget::new(method, true, host, None, path)))
        };
        assert_eq!(check("GET", "api.example.org", "/v1/x"), Ok(()));
        assert_eq!(check("DELETE", "api.example.org", "/v1/x"), Err(DeniedBy::Manifest));
        assert_eq!(check("POST", "api.example.org", "/v1/x"), Err(DeniedBy::Operator));
        assert_eq!(check("GET", "www.example.org", "/v1/x"), Err(DeniedBy::Operator));
        assert_eq!(check("GET", "api.example.org", "/v2/x"), Err(DeniedBy::Tenant));
    }

    #[test]
    fn a_manifest_names_what_it_asks_for() {
        for text in ["*", "keyvalue:*", "http:*", "files:docs=/etc", "net"] {
            assert!(Grants::asked("p", &[text.to_owned()]).is_err(), "{text}");
        }
        let many = vec!["clock".to_owned(); limits::CAPABILITIES_MAX + 1];
        assert!(Grants::asked("p", &many).is_err());
        assert!(Grants::asked("p", &[]).expect("nothing").has(Capability::Log), "the log needs no ask");
    }

    #[test]
    fn the_named_part_of_grants_has_no_capability_without_its_parameter() {
        let all = grants(&["*", "clock", "keyvalue:*", "keyvalue:notes", "http:*", "http:GET https://*:*", "model:*"]);
        let texts = |grants: &Grants| grants.iter().map(ToString::to_string).collect::<Vec<_>>();
        assert_eq!(texts(&all.named()), ["clock", "keyvalue:notes", "http:GET https://*:*/"]);
        assert!(!all.named().permits(&Use::Named(Capability::KeyValue, "other")));
        assert_eq!(all.unnamed().collect::<Vec<_>>(), ["*", "keyvalue:*", "http:*", "model:*"]);
    }

    #[test]
    fn only_the_operator_names_a_private_address() {
        let local = HttpTarget::new("GET", false, "127.0.0.1", None, "/");
        let address: IpAddr = "127.0.0.1".parse().expect("an address");
        let rule: &[&str] = &["http:GET http://127.0.0.1"];
        assert!(permissions(rule, rule, rule).allow_address(&local, address));
        for operator in [&["http:*"], &["*"], &["http:GET http://127.0.0.1/v1/"]] {
            assert!(!permissions(rule, operator, rule).allow_address(&local, address), "{operator:?}");
        }
        assert!(permissions(rule, &["http:*"], rule).allow_address(&local, "8.8.8.8".parse().expect("an address")));
    }

    #[test]
    fn a_secret_has_the_value_of_its_tenant_and_the_destination_of_its_operator() {
        let read = |reference: &str| Ok(format!("value of {reference}"));
        let with = |operator: &[&str], tenant: &[&str]| {
            let permissions = permissions(&["secret:key"], operator, tenant);
            let operator = permissions.plugin.operator.clone().resolved(&read).expect("read");
            let own = permissions.tenant.plugins["p"].clone().resolved(&read).expect("read");
            let plugins = BTreeMap::from([("p".to_owned(), own)]);
            let plugin = PluginGrants { operator, ..(*permissions.plugin).clone() };
            let tenant = TenantGrants { plugins, ..(*permissions.tenant).clone() };
            let secrets = Permissions { plugin: Arc::new(plugin), tenant: Arc::new(tenant) }.secrets();
            secrets.first().map(|secret| (secret.value.clone(), secret.destination.to_string()))
        };
        let value = |text: &str| SecretValue::new(text).expect("a value");
        let to = "* https://a.org/".to_owned();
        let full: &[&str] = &["secret:key=env:A for https://a.org/"];
        assert_eq!(with(full, &["*"]), Some((value("value of env:A"), to.clone())));
        assert_eq!(with(full, &["secret:key"]), Some((value("value of env:A"), to.clone())));
        assert_eq!(with(full, &["secret:key=env:T"]), Some((value("value of env:T"), to.clone())));
        assert_eq!(
            with(&["secret:key for https://a.org/"], &["secret:key=env:T"]),
            Some((value("value of env:T"), to))
        );
        for (operator, tenant) in [
            (full, &[][..]),
            (full, &["secret:other"]),
            (&["secret:key for https://a.org/"], &["*"]),
            (&["secret:key=env:A"], &["*"]),
            (&["*"], &["secret:key=env:T for https://evil.test/"]),
            (&[], &["*"]),
        ] {
            assert_eq!(with(operator, tenant), None, "{operator:?} {tenant:?}");
        }
        for asked in ["secret:key=env:A", "secret:key for https://a.org", "secret:*"] {
            assert!(Grants::asked("p", &[asked.to_owned()]).is_err(), "{asked}");
        }
    }

    #[test]
    fn a_tenant_or_a_manifest_names_no_path_of_the_host() {
        let permissions = permissions(&["files:docs"], &["files:docs=/srv/docs", "files:more=/srv/more"], &["*"]);
        let folders: Vec<_> = permissions.folders().collect();
        assert_eq!(folders, [("docs", Path::new("/srv/docs"))]);
    }
}
