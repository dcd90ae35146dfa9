//! `firebox:plugin/secrets`: secrets that a plugin uses and never has. A guest writes a placeholder into a header; the host
//! puts the secret there when the request goes where the operator bound the secret to. What the guest sends, receives, returns
//! and logs is searched for its secrets, as they are and in common encodings.

pub(crate) mod scan;

use std::fmt;
use std::sync::Arc;

use firebox_contract::limits;
use hyper::header::{HeaderMap, HeaderValue};
use wasmtime::component::{HasSelf, Linker};

use self::bindings::firebox::plugin::secrets::{Error, Host, add_to_linker};
use self::scan::Scanner;
use crate::instance::guest::GuestData;
use crate::plugin::grants::capability::{Capability, Use};
use crate::plugin::grants::http_rule::{HttpRule, HttpTarget};

#[allow(unreachable_pub, missing_docs, reason = "generated code")]
mod bindings {
    wasmtime::component::bindgen!({
        path: "../../wit",
        inline: "package firebox:host-secrets; world imports { import firebox:plugin/secrets@0.1.0; }",
    });
}

/// The value of a secret. It is never printed.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct SecretValue(Arc<str>);

impl SecretValue {
    /// # Errors
    /// What is wrong with the value, without the value.
    pub(crate) fn new(value: &str) -> Result<Self, String> {
        let (min, max) = (limits::PLUGIN_SECRET_BYTES_MIN, limits::PLUGIN_SECRET_BYTES_MAX);
        if !(min..=max).contains(&value.len()) {
            return Err(format!(
                "it has {} bytes; {min} to {max} are allowed, so that it can be found in texts",
                value.len()
            ));
        }
        match HeaderValue::from_str(value) {
            Ok(_) => Ok(Self(value.into())),
            Err(_) => Err("it has characters that no header can have".to_owned()),
        }
    }
}

impl fmt::Debug for SecretValue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SecretValue(…)")
    }
}

/// A secret of one plugin and tenant.
#[derive(Debug, Clone)]
pub(crate) struct BoundSecret {
    pub(crate) name: String,
    pub(crate) value: SecretValue,
    /// The requests that it may go into.
    pub(crate) destination: HttpRule,
}

/// The secrets of one instance.
pub(crate) struct InstanceSecrets {
    /// With the placeholder of each.
    list: Vec<(BoundSecret, String)>,
    pub(crate) scanner: Scanner,
}

/// Why a request with a placeholder is not sent.
pub(crate) struct Misplaced(String);

impl InstanceSecrets {
    /// The secrets of an instance whose placeholders contain `nonce`.
    pub(crate) fn new(secrets: Vec<BoundSecret>, nonce: u64) -> Self {
        let scanner = Scanner::new(secrets.iter().map(|secret| (secret.name.as_str(), &*secret.value.0)));
        let with_placeholder = |secret: BoundSecret| {
            let placeholder = format!("firebox-secret-{}-{nonce:016x}", secret.name);
            (secret, placeholder)
        };
        Self { list: secrets.into_iter().map(with_placeholder).collect(), scanner }
    }

    fn placeholder(&self, name: &str) -> Option<&str> {
        self.list.iter().find(|own| own.0.name == name).map(|own| own.1.as_str())
    }

    /// The headers with secrets in place of their placeholders.
    ///
    /// # Errors
    /// `Misplaced` if the request does not go where a secret is bound to.
    pub(crate) fn expand(&self, headers: &HeaderMap, target: &HttpTarget) -> Result<HeaderMap, Misplaced> {
        let mut expanded = headers.clone();
        for value in expanded.values_mut() {
            let Ok(text) = value.to_str() else { continue };
            let mut whole = text.to_owned();
            for (secret, placeholder) in &self.list {
                if !whole.contains(placeholder.as_str()) {
                    continue;
                }
                if !secret.destination.matches(target) {
                    return Err(Misplaced(secret.name.clone()));
                }
                whole = whole.replace(placeholder.as_str(), &secret.value.0);
            }
            if whole != text {
                *value = HeaderValue::from_str(&whole).map_err(|_| Misplaced(String::new()))?;
                value.set_sensitive(true);
            }
        }
        Ok(expanded)
    }
}

impl fmt::Display for Misplaced {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the secret \"{}\" is bound to another host; the request is not sent", self.0)
    }
}

impl fmt::Debug for InstanceSecrets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("InstanceSecrets").field("count", &self.list.len()).finish()
    }
}

impl Host for GuestData {
    fn placeholder(&mut self, name: String) -> Result<String, Error> {
        self.check(&Use::Named(Capability::Secret, &name)).map_err(|_| Error::Denied)?;
        let found = self.secrets.as_ref().and_then(|secrets| secrets.placeholder(&name));
        found.map(str::to_owned).ok_or_else(|| Error::Unavailable("the secret has no value".to_owned()))
    }
}

/// Adds the interface to the imports of guests.
///
/// # Errors
/// Wasmtime's error, if a name is defined twice.
pub(super) fn link(linker: &mut Linker<GuestData>) -> wasmtime::Result<()> {
    add_to_linker::<GuestData, HasSelf<GuestData>>(linker, |data| data)
}
