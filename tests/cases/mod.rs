//! A module per topic.

mod bad_input;
mod both_devices;
mod devices;
mod embed;
mod ember;
mod generation;
mod library;
mod many_tenants;
mod plugins;
mod readme;
mod reference;
