//! `firebox plugins`, as an author of plugins meets it.

mod projects;
mod templates;
mod verbs;

pub(in crate::cases) use crate::harness::toolchains::toolchains;
