//! What instances export: the types and instances by their names.

use std::collections::BTreeMap;
use std::rc::Rc;

use firebox_contract::limits;

use super::SizedType;

/// The exports of an instance.
#[derive(Debug, Clone, Default)]
pub(super) struct InstanceExports {
    /// Levels of exports in one another.
    depth: u64,
    by_name: BTreeMap<String, Exported>,
}

/// One export.
#[derive(Debug, Clone)]
pub(super) enum Exported {
    Type(SizedType),
    Instance(Rc<InstanceExports>),
}

impl InstanceExports {
    /// Adds an export. One that is too deep is left out, because dropping takes a stack frame for each level.
    pub(super) fn insert(&mut self, name: &str, exported: Exported) {
        let below = match &exported {
            Exported::Type(sized) => sized.exports.as_ref().map_or(0, |exports| exports.depth),
            Exported::Instance(exports) => exports.depth,
        };
        if below < limits::PLUGIN_TYPE_NESTING_DEPTH_MAX {
            self.depth = self.depth.max(below + 1);
            self.by_name.insert(name.to_owned(), exported);
        }
    }

    pub(super) fn get(&self, name: &str) -> Option<&Exported> {
        self.by_name.get(name)
    }
}
