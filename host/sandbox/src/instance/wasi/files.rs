//! Opens only files and folders. A named pipe or a device in a granted folder could keep a thread of the host waiting.

use wasmtime::component::{Linker, Resource};
use wasmtime_wasi::filesystem::{Descriptor, WasiFilesystemView as _};
use wasmtime_wasi::p2::bindings::filesystem::types::{
    DescriptorFlags, DescriptorType, ErrorCode, HostDescriptor as _, OpenFlags, PathFlags,
};

use crate::instance::guest::GuestData;

/// The interface as `wasmtime-wasi` defines it.
const INTERFACE: &str = "wasi:filesystem/types@0.2.12";

/// The arguments of `open-at`.
type OpenArguments = (Resource<Descriptor>, PathFlags, String, OpenFlags, DescriptorFlags);

/// What `open-at` returns.
type Opened = Result<Resource<Descriptor>, ErrorCode>;

/// Replaces the function that opens files in the imports of guests.
///
/// # Errors
/// Wasmtime's error, if the function cannot be defined.
pub(super) fn link(linker: &mut Linker<GuestData>) -> wasmtime::Result<()> {
    linker.allow_shadowing(true);
    let linked = linker.instance(INTERFACE).and_then(|mut instance| {
        instance.func_wrap_async("[method]descriptor.open-at", |mut store, arguments: OpenArguments| {
            Box::new(async move { open(store.data_mut(), arguments).await.map(|opened| (opened,)) })
        })
    });
    linker.allow_shadowing(false);
    linked
}

async fn open(data: &mut GuestData, arguments: OpenArguments) -> wasmtime::Result<Opened> {
    let (folder, follow, path, how, flags) = arguments;
    let mut files = data.filesystem();
    // What is not there yet, or cannot be read, is for the call itself to refuse.
    let found = files.stat_at(Resource::new_borrow(folder.rep()), follow, path.clone()).await;
    let is_other = found.is_ok_and(|found| {
        !matches!(found.type_, DescriptorType::RegularFile | DescriptorType::Directory | DescriptorType::SymbolicLink)
    });
    if is_other {
        return Ok(Err(ErrorCode::NotPermitted));
    }
    match files.open_at(folder, follow, path, how, flags).await {
        Ok(opened) => Ok(Ok(opened)),
        Err(error) => Ok(Err(error.downcast()?)),
    }
}
