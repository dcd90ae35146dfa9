//! Loading plugins: errors, the cache, and the plugins that come with Firebox.

mod cache;
mod load;
mod prebuilt;
