//! Real guests in a real engine. The hostile ones are hand-written: `tests/guests`.

mod cache;
mod chain;
mod concurrency;
mod containment;
mod load;
mod policy;
mod prebuilt;
mod residue;
mod returned;
mod shares;
mod stages;
mod support;
mod wasi;
