//! The verbs that bring a plugin from its author to a host: keys, signatures, installing and removing.

pub(super) mod install;
pub(super) mod keygen;
pub(super) mod publish;
pub(super) mod remove;
pub(super) mod sign;
