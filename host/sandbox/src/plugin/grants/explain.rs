//! What a plugin asks for against what it is granted, for people.

use super::capability::{CAPABILITIES, Capability, Coverage, Grant, Use};
use super::{DeniedBy, Grants, TenantGrants, best};
use crate::error::SandboxError;

/// One capability of a plugin: whether it has it, and what to write if it has not.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GrantRow {
    /// The capability as text, such as `keyvalue:notes`.
    pub capability: String,
    /// Who denies it; `None` if the plugin has it, at least in part.
    pub denied_by: Option<DeniedBy>,
    /// Whether operator or tenant grant a part of it only.
    pub in_part: bool,
    /// What to write to grant it; empty if the plugin has all of it.
    pub remedy: String,
}

/// Compares what a plugin asks for with its grants. `plugin` is its name in grants, `asks` are the capabilities of its manifest,
/// `imports` the interfaces that its component imports. A plugin without a manifest asks for what the operator's grants name.
/// Without `tenant` only the operator's part is compared.
///
/// # Errors
/// `SandboxError::Capability` for an ask that is not a capability.
pub fn explain_grants(
    plugin: &str,
    asks: Option<&[String]>,
    imports: &[String],
    operator: &Grants,
    tenant: Option<&TenantGrants>,
) -> Result<Vec<GrantRow>, SandboxError> {
    let operator = operator.with(&Grants::default());
    let operator = if asks.is_some() { operator } else { operator.named() };
    let asked = match asks {
        Some(asks) => Grants::asked(plugin, asks)?,
        // Without the paths and values that only the operator names.
        None => operator.iter().filter_map(|grant| grant.to_string().parse::<Grant>().ok()).collect(),
    };
    let mut rows: Vec<GrantRow> = Vec::new();
    for ask in asked.iter().filter(|ask| ask.capability() != Capability::Log) {
        let row = explained(plugin, ask, best(&operator, ask), tenant.map(|tenant| tenant.coverage(plugin, ask)));
        if !rows.contains(&row) {
            rows.push(row);
        }
    }
    let is_asked = |capability| asked.iter().any(|ask| ask.capability() == capability);
    for row in CAPABILITIES.iter().filter(|row| !is_asked(row.capability)) {
        let imported = imports.iter().find(|import| row.interfaces.iter().any(|start| import.starts_with(start)));
        if let Some(import) = imported {
            let parameter = row.parameter.map_or_else(String::new, |example| format!(":{example}"));
            rows.push(GrantRow {
                capability: row.name.to_owned(),
                denied_by: Some(DeniedBy::Manifest),
                in_part: false,
                remedy: match asks {
                    Some(_) => format!(
                        "the component imports {import}; its author writes {} in plugin.toml to ask for it",
                        manifest_entry(row.name, &parameter)
                    ),
                    None => {
                        let capability = format!("{}{parameter}", row.name);
                        format!("the component imports {import}; {}", remedy(plugin, &capability, DeniedBy::Operator))
                    }
                },
            });
        }
    }
    Ok(rows)
}

fn explained(plugin: &str, ask: &Grant, operator: Coverage, tenant: Option<Coverage>) -> GrantRow {
    let lower = operator.min(tenant.unwrap_or(Coverage::All));
    let denied_by = match (operator, tenant) {
        (Coverage::Nothing, _) => Some(DeniedBy::Operator),
        (_, Some(Coverage::Nothing)) => Some(DeniedBy::Tenant),
        _ => None,
    };
    let remedy = match (operator, tenant) {
        (Coverage::Nothing | Coverage::Part, _) => remedy(plugin, &ask.to_string(), DeniedBy::Operator),
        (_, Some(Coverage::Nothing | Coverage::Part)) => remedy(plugin, &ask.to_string(), DeniedBy::Tenant),
        _ => String::new(),
    };
    GrantRow { capability: ask.to_string(), denied_by, in_part: lower == Coverage::Part, remedy }
}

/// What to write so that `plugin` gets `capability`.
fn remedy(plugin: &str, capability: &str, denied_by: DeniedBy) -> String {
    match denied_by {
        DeniedBy::Manifest => {
            let (name, parameter) = capability.split_at(capability.find(':').unwrap_or(capability.len()));
            format!("its author writes {} in plugin.toml to ask for it", manifest_entry(name, parameter))
        }
        DeniedBy::Operator => {
            let path = match capability.split(':').next() {
                Some("files") => "=PATH",
                Some("secret") => "=env:VARIABLE for URL",
                _ => "",
            };
            format!(
                "the operator writes grants = [\"{capability}{path}\"] in its [[plugin]], or --grant \
                 \"{capability}{path}\""
            )
        }
        DeniedBy::Tenant => format!("the tenant's [tenant.grants] needs {plugin} = [\"{capability}\"]"),
    }
}

/// `[capabilities] NAME = …` for a capability whose parameter is empty or starts with `:`.
fn manifest_entry(name: &str, parameter: &str) -> String {
    match parameter.strip_prefix(':') {
        Some(parameter) => format!("[capabilities] {name} = [\"{parameter}\"]"),
        None => format!("[capabilities] {name} = true"),
    }
}

/// The line for the log of a plugin that was denied `wanted`.
pub(crate) fn denial(plugin: &str, wanted: &Use<'_>, denied_by: DeniedBy) -> String {
    let capability = wanted.to_string();
    let who = match denied_by {
        DeniedBy::Manifest => "the manifest does not ask for it",
        DeniedBy::Operator => "the operator does not grant it",
        DeniedBy::Tenant => "the tenant does not grant it",
    };
    format!("denied {capability}: {who}; {}", remedy(plugin, &capability, denied_by))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use firebox_contract::TenantId;

    use super::*;

    fn texts(texts: &[&str]) -> Vec<String> {
        texts.iter().map(|text| (*text).to_owned()).collect()
    }

    #[test]
    fn each_ask_is_listed_with_who_denies_it_and_what_to_write() {
        let asks = texts(&["clock", "keyvalue:notes", "http:GET,POST https://example.org", "files:docs"]);
        let operator = Grants::parse(&["clock", "http:GET https://example.org", "keyvalue:notes"]).expect("valid");
        let own = Grants::parse(&["http:* https://example.org", "clock"]).expect("valid");
        let tenant = TenantGrants::new(TenantId::new("acme"), BTreeMap::from([("p".to_owned(), own)]));
        let imports = texts(&["wasi:random/random@0.2.0", "wasi:keyvalue/store@0.2.0-draft2"]);
        let rows = explain_grants("p", Some(&asks), &imports, &operator, Some(&tenant)).expect("valid");
        let shown: Vec<_> = rows.iter().map(|row| (row.capability.as_str(), row.denied_by, row.in_part)).collect();
        assert_eq!(
            shown,
            [
                ("clock", None, false),
                ("keyvalue:notes", Some(DeniedBy::Tenant), false),
                ("http:GET,POST https://example.org/", None, true),
                ("files:docs", Some(DeniedBy::Operator), false),
                ("random", Some(DeniedBy::Manifest), false),
            ]
        );
        assert!(rows[0].remedy.is_empty());
        assert!(rows[1].remedy.contains("p = [\"keyvalue:notes\"]"), "{}", rows[1].remedy);
        assert!(rows[2].remedy.contains("grants = [\"http:GET,POST https://example.org/\"]"), "{}", rows[2].remedy);
        assert!(rows[3].remedy.contains("--grant \"files:docs=PATH\""), "{}", rows[3].remedy);
        assert!(
            rows[4].remedy.contains("random = true") && rows[4].remedy.contains("wasi:random"),
            "{}",
            rows[4].remedy
        );
    }

    #[test]
    fn what_is_to_be_written_is_a_capability() {
        for ask in ["clock", "keyvalue:notes", "http:GET https://example.org/v1/"] {
            let operator = Grants::parse(&[ask]).expect(ask);
            let rows = explain_grants("p", Some(&texts(&[ask])), &[], &operator, None).expect(ask);
            assert_eq!(rows.iter().map(|row| row.denied_by).collect::<Vec<_>>(), [None], "{ask}");
        }
    }

    #[test]
    fn a_plugin_without_a_manifest_asks_for_what_the_operator_grants() {
        let operator =
            Grants::parse(&["http:GET https://example.org", "files:docs=/srv/docs", "keyvalue:*"]).expect("valid");
        let imports = texts(&[
            "wasi:http/outgoing-handler@0.2.0",
            "wasi:clocks/wall-clock@0.2.0",
            "wasi:keyvalue/store@0.2.0-draft2",
        ]);
        let rows = explain_grants("p", None, &imports, &operator, None).expect("valid");
        let granted: Vec<&str> =
            rows.iter().filter(|row| row.denied_by.is_none()).map(|row| row.capability.as_str()).collect();
        assert_eq!(granted, ["http:GET https://example.org/", "files:docs"], "{rows:?}");
        let denied: Vec<&GrantRow> = rows.iter().filter(|row| row.denied_by.is_some()).collect();
        assert_eq!(denied.len(), 2, "{rows:?}");
        assert!(denied[0].capability == "clock" && denied[0].remedy.contains("--grant \"clock\""), "{denied:?}");
        assert!(denied[1].remedy.contains("--grant \"keyvalue:notes\""), "a grant names the bucket: {denied:?}");
    }
}
