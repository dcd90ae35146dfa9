//! Whether a caller may still go on. A key can be revoked, expire or lose rights while something of its caller lasts.

use std::fmt;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

use crate::BoxFuture;
use crate::error::Error;
use crate::tool::Permission;

/// What a caller may still do. Whoever authenticates implements it; whoever acts for the caller asks it.
pub trait Liveness: Send + Sync {
    /// Asked just before each step that has an effect.
    ///
    /// # Errors
    /// `Error::Unauthorized` once the caller's key is no longer good, `Error::Denied` once the key lost the scope that
    /// the request needs.
    fn check(&self) -> Result<(), Error>;

    /// What the caller's policy says now about `tool`. Asked just before each tool call.
    fn permission(&self, tool: &str) -> Permission;

    /// Ends when [`Liveness::check`] fails, with its error.
    fn ended(&self) -> BoxFuture<'static, Error>;
}

/// Travels with a caller. The default never ends: it is for callers of this process itself.
#[derive(Clone, Default)]
pub struct LivenessHandle(Option<Arc<dyn Liveness>>);

impl LivenessHandle {
    /// A handle on `liveness`.
    #[must_use]
    pub fn new(liveness: Arc<dyn Liveness>) -> Self {
        Self(Some(liveness))
    }

    /// Whether it can end at all.
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

    /// As [`Liveness::permission`]; without an end everything is allowed that the request itself allows.
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

/// It says nothing about who the caller is: two requests of one key are the same caller.
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

    struct Gone;

    impl Liveness for Gone {
        fn check(&self) -> Result<(), Error> {
            Err(Error::Unauthorized("gone".to_owned()))
        }

        fn permission(&self, _tool: &str) -> Permission {
            Permission::Deny
        }

        fn ended(&self) -> BoxFuture<'static, Error> {
            Box::pin(std::future::ready(Error::Unauthorized("gone".to_owned())))
        }
    }

    #[test]
    fn a_handle_asks_and_is_no_part_of_who_the_caller_is() {
        let lasting = Caller::local();
        let gone = Caller { liveness: LivenessHandle::new(Arc::new(Gone)), ..Caller::local() };
        assert!(lasting.liveness.check().is_ok() && !lasting.liveness.can_end());
        assert!(gone.liveness.check().is_err() && gone.liveness.can_end());
        assert_eq!(lasting.liveness.permission("any"), Permission::Allow);
        assert_eq!(gone.liveness.permission("any"), Permission::Deny);
        assert_eq!(lasting, gone);
    }
}
