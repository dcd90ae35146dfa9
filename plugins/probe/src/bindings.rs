//! Bindings of the interfaces that the SDK has no module for.

#![allow(missing_docs, reason = "generated; the documentation is in the WIT files")]
#![allow(unreachable_pub, reason = "generated")]

wit_bindgen::generate!({
    inline: "
        package firebox:probe;
        world probe {
            import wasi:config/store@0.2.0-rc.1;
            import wasi:config/runtime@0.2.0-draft;
            import wasi:config/store@0.2.0-draft;
            import firebox:plugin/metrics@0.1.0;
            import firebox:plugin/secrets@0.1.0;
            import wasi:logging/logging;
            import wasi:logging/logging@0.1.0-draft;
        }
    ",
    path: "../../wit",
    generate_all,
});
