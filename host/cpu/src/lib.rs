//! How the threads of one process share its CPU cores: models, guests (plugin code) and the threads that serve requests.
//!
//! The state is process-wide, because the cores are. Models count the threads they compute on in [`cores`]; guests read that
//! count before they continue. [`delivery`] tells threads that compute a model when a token waits for a core.
//! [`priority`] sets what the system gives one thread.

pub mod cores;
pub mod delivery;
pub mod priority;
