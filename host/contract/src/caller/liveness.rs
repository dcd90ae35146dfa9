//! Whether a caller's key is still valid. A key can be revoked, expire or lose scopes while a request of its caller runs.

use std::fmt;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

use crate::BoxFuture;
use crate::error::Error;
use crate::tool::Permission;

/// What a caller may still do. The authenticating layer implements it; layers that act for the caller check it.
pub trait Liveness: Send + Sync {
    /// Checked just before each action that has an effect.
    ///
    /// # Errors
    /// `Error::Unauthorized` if the caller's key is not valid any more, `Error::Denied` if the key lost the scope that the
    /// request needs.
    fn check(&self) -> Result<(), Error>;

    /// The current permission of the caller for `tool`. Checked just before each tool call.
    fn permission(&self, tool: &str) -> Permission;

    /// Completes when [`Liveness::check`] fails, with its error.
    fn ended(&self) -> BoxFuture<'static, Error>;
}

/// The liveness of a caller. The default is always valid, for callers inside of this process.
#[derive(Clone, Default)]
pub struct LivenessHandle(Option<Arc<dyn Liveness>>);

impl LivenessHandle {
    /// A handle of `liveness`.
    #[must_use]
    pub fn new(liveness: Arc<dyn Liveness>) -> Self {
        Self(Some(liveness))
    }

    /// Whether it can become invalid.
    #[must_use]
    pub fn can_end(&self) -> bool {
        self.0.is_some()
    }

    /// As [`Liveness::check`].
    ///
    /// # Errors
    /// As [`Liveness::check`].
    pub fn check(&self) -> Result<(), Error> {
        self.0.as_ref().map_or(Ok(()), |liveness| liveness.check())
    }

    /// As [`Liveness::permission`]. The default allows every tool.
    #[must_use]
    pub fn permission(&self, tool: &str) -> Permission {
        self.0.as_ref().map_or(Permission::Allow, |liveness| liveness.permission(tool))
    }

    /// As [`Liveness::ended`].
    #[must_use]
    pub fn ended(&self) -> BoxFuture<'static, Error> {
        self.0.as_ref().map_or_else(|| Box::pin(std::future::pending()) as BoxFuture<'static, Error>, |it| it.ended())
    }
}

impl fmt::Debug for LivenessHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.can_end() { "LivenessHandle(can end)" } else { "LivenessHandle(never ends)" })
    }
}

/// All handles are equal: the identity of a caller does not depend on its liveness.
impl PartialEq for LivenessHandle {
    fn eq(&self, _other: &Self) -> bool {
        true
    }
}

impl Eq for LivenessHandle {}

impl Hash for LivenessHandle {
    fn hash<H: Hasher>(&self, _state: &mut H) {}
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::caller::Caller;

    struct Revoked;

    impl Liveness for Revoked {
        fn check(&self) -> Result<(), Error> {
            Err(Error::Unauthorized("revoked".to_owned()))
        }

        fn permission(&self, _tool: &str) -> Permission {
            Permission::Deny
        }

        fn ended(&self) -> BoxFuture<'static, Error> {
            Box::pin(std::future::ready(Error::Unauthorized("revoked".to_owned())))
        }
    }

    #[test]
    fn a_handle_forwards_and_does_not_change_the_callers_identity() {
        let lasting = Caller::local();
        let revoked = Caller { liveness: LivenessHandle::new(Arc::new(Revoked)), ..Caller::local() };
        assert!(lasting.liveness.check().is_ok() && !lasting.liveness.can_end());
        assert!(revoked.liveness.check().is_err() && revoked.liveness.can_end());
        assert_eq!(lasting.liveness.permission("any"), Permission::Allow);
        assert_eq!(revoked.liveness.permission("any"), Permission::Deny);
        assert_eq!(lasting, revoked);
    }
}
