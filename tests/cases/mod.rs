//! A module per topic.

#[cfg(target_os = "linux")]
mod address_space;
mod answer_text;
mod bad_input;
mod bench;
mod both_devices;
mod chat;
mod checkpoint;
mod config;
mod devices;
mod embed;
mod ember;
mod generation;
mod gguf;
mod inputs;
mod library;
mod lock;
mod many_tenants;
mod mcp_client;
mod mcp_server;
mod models;
#[cfg(unix)]
mod pages;
mod plugin_authors;
mod plugins;
mod quantize;
mod readme;
mod records;
mod reference;
mod registry;
mod rerank;
mod serve;
mod sessions;
#[cfg(unix)]
mod signals;
mod signatures;
mod structured_output;
mod tenants;
mod terminal;
