//! From the bytes of a component to compiled code: read, counted, compiled in a process with limits, and cached.

mod cache;
mod file;
mod loader;
mod process;
mod report;
mod shape;

pub use self::file::{ReadError, read as read_file};
pub use self::loader::ComponentSource;
pub(crate) use self::loader::{CompiledComponent, Loader};
pub(crate) use self::process::{CancelFlag, CancelOnDrop};
pub use self::process::{CompilerCommand, compile_component};
pub use self::report::{ComponentCount, ComponentReport};
pub(crate) use self::shape::Shape;
