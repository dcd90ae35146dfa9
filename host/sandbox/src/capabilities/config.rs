//! `wasi:config`: the configuration that the operator wrote for the plugin, as texts. A plugin needs no grant for it. Several
//! drafts of the interface are in use, and drafts never match each other, so each has bindings of its own.

use wasmtime::component::{HasSelf, Linker};

use crate::instance::guest::GuestData;

#[allow(unreachable_pub, missing_docs, reason = "generated code")]
mod candidate {
    wasmtime::component::bindgen!({
        path: "../../wit",
        inline: "package firebox:host-config; world imports { import wasi:config/store@0.2.0-rc.1; }",
    });
}

#[allow(unreachable_pub, missing_docs, reason = "generated code")]
mod draft {
    wasmtime::component::bindgen!({
        path: "../../wit",
        inline: "package firebox:host-config; world imports {
            import wasi:config/runtime@0.2.0-draft;
            import wasi:config/store@0.2.0-draft;
        }",
    });
}

#[allow(unreachable_pub, missing_docs, reason = "generated code")]
mod dated {
    wasmtime::component::bindgen!({
        path: "../../wit",
        inline: "package firebox:host-config; world imports { import wasi:config/store@0.2.0-draft-2024-09-27; }",
    });
}

use self::candidate::wasi::config0_2_0_rc_1::store as candidate_store;
use self::dated::wasi::config0_2_0_draft_2024_09_27::store as dated_store;
use self::draft::wasi::config0_2_0_draft::{runtime as draft_runtime, store as draft_store};

/// Implements the functions of each interface, which are the same in all.
macro_rules! read_only {
    ($($interface:ident: $error:ident;)*) => {$(
        impl $interface::Host for GuestData {
            fn get(&mut self, key: String) -> Result<Option<String>, $interface::$error> {
                Ok(self.identity.shared.settings.get(&key).cloned())
            }

            fn get_all(&mut self) -> Result<Vec<(String, String)>, $interface::$error> {
                Ok(self.identity.shared.settings.clone().into_iter().collect())
            }
        }
    )*};
}

read_only! {
    candidate_store: Error;
    dated_store: Error;
    draft_runtime: ConfigError;
    draft_store: Error;
}

pub(super) fn link(linker: &mut Linker<GuestData>) -> wasmtime::Result<()> {
    candidate_store::add_to_linker::<GuestData, HasSelf<GuestData>>(linker, |data| data)?;
    dated_store::add_to_linker::<GuestData, HasSelf<GuestData>>(linker, |data| data)?;
    draft_runtime::add_to_linker::<GuestData, HasSelf<GuestData>>(linker, |data| data)?;
    draft_store::add_to_linker::<GuestData, HasSelf<GuestData>>(linker, |data| data)
}
