//! The configuration of the plugin.

use firebox_sdk::Arguments;

use crate::detect::Kind;

/// The configuration. The crate documentation describes the keys.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Config {
    pub(crate) kinds: Vec<Kind>,
    pub(crate) pre: bool,
    pub(crate) post: bool,
    pub(crate) restore: bool,
}

impl Config {
    pub(crate) fn parse(json: &str) -> Result<Self, String> {
        let given = Arguments::parse_config(json)?;
        given.only(&["kinds", "pre", "post", "restore"])?;
        let kinds = match given.texts("kinds")? {
            None => Kind::ALL.to_vec(),
            Some(names) => names.iter().map(|name| kind(name)).collect::<Result<_, _>>()?,
        };
        Ok(Self {
            kinds,
            pre: given.flag("pre", true)?,
            post: given.flag("post", true)?,
            restore: given.flag("restore", true)?,
        })
    }
}

fn kind(name: &str) -> Result<Kind, String> {
    Kind::ALL
        .into_iter()
        .find(|kind| kind.name() == name)
        .ok_or_else(|| format!("unknown kind \"{name}\", use some of: email, phone, card, ip"))
}
