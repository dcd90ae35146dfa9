//! WASI is there, and there is nothing in it.

use firebox_contract::TextVerdict;

use crate::support::{load, push_once, sandbox};

#[tokio::test]
async fn a_guest_finds_no_environment_no_arguments_no_files_and_no_sockets() {
    let plugin = load(&sandbox(), "wasi").await;
    let verdict = push_once(&plugin, "x").await.expect("no fault");
    assert_eq!(verdict, TextVerdict::Emit("00011".to_owned()));
}
