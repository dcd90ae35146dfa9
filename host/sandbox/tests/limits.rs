//! The limits of guests, and what they can see.

mod containment;
mod residue;
mod returned;
mod shares;
mod wasi;
