//! Bindings of `wit/`, one world per stage, so that a plugin exports the stages it names and no others.
//!
//! Each world of `wit/worlds.wit` includes the lifecycle, so two of them in one plugin would define it twice. The worlds below do
//! not overlap. The linker merges those that a plugin exports.

#![allow(missing_docs, reason = "generated; the documentation is in the WIT files")]
#![allow(unreachable_pub, reason = "generated")]

/// Log and lifecycle, which every plugin has.
pub mod base {
    wit_bindgen::generate!({
        inline: "
            package firebox:sdk-base;
            world sdk-base {
                import firebox:plugin/log@0.1.0;
                export firebox:plugin/lifecycle@0.1.0;
            }
        ",
        path: "wit",
        generate_all,
        pub_export_macro: true,
    });
}

/// Progress reports, imported by plugins that use them.
pub mod progress {
    wit_bindgen::generate!({
        inline: "
            package firebox:sdk-progress;
            world sdk-progress { import firebox:plugin/progress@0.1.0; }
        ",
        path: "wit",
        generate_all,
    });
}

/// Version 0.2 of the prompt stage. Its messages are those of 0.1, which the module `types` names.
pub mod prompt {
    wit_bindgen::generate!({
        inline: "
            package firebox:sdk-prompt;
            world sdk-prompt { export firebox:plugin/prompt@0.2.0; }
        ",
        path: ["wit", "wit/v0.2"],
        generate_all,
        pub_export_macro: true,
        additional_derives: [PartialEq, Clone],
    });

    pub use self::exports::firebox::plugin0_2_0::prompt as stage;
    pub use self::firebox::plugin0_1_0::types;
}

pub mod token {
    wit_bindgen::generate!({
        inline: "
            package firebox:sdk-token;
            world sdk-token { export firebox:plugin/token@0.1.0; }
        ",
        path: "wit",
        generate_all,
        pub_export_macro: true,
        additional_derives: [PartialEq, Clone],
    });
}

/// The bytes of tokens, imported by plugins that use them.
pub mod vocabulary {
    wit_bindgen::generate!({
        inline: "
            package firebox:sdk-vocabulary;
            world sdk-vocabulary { import firebox:plugin/vocabulary@0.1.0; }
        ",
        path: "wit",
        generate_all,
    });
}

pub mod text {
    wit_bindgen::generate!({
        inline: "
            package firebox:sdk-text;
            world sdk-text { export firebox:plugin/text@0.1.0; }
        ",
        path: "wit",
        generate_all,
        pub_export_macro: true,
        additional_derives: [PartialEq, Eq, Clone],
    });
}

pub mod tool_call {
    wit_bindgen::generate!({
        inline: "
            package firebox:sdk-tool-call;
            world sdk-tool-call { export firebox:plugin/tool-call@0.1.0; }
        ",
        path: "wit",
        with: { "firebox:plugin/types@0.1.0": crate::bindings::prompt::types },
        generate_all,
        pub_export_macro: true,
        additional_derives: [PartialEq, Eq, Clone],
    });
}

pub mod embedding {
    wit_bindgen::generate!({
        inline: "
            package firebox:sdk-embedding;
            world sdk-embedding { export firebox:plugin/embedding@0.1.0; }
        ",
        path: "wit",
        generate_all,
        pub_export_macro: true,
        additional_derives: [PartialEq, Clone],
    });
}

pub mod tool {
    wit_bindgen::generate!({
        inline: "
            package firebox:sdk-tool;
            world sdk-tool { export firebox:plugin/tool@0.1.0; }
        ",
        path: "wit",
        generate_all,
        pub_export_macro: true,
        additional_derives: [PartialEq, Eq, Clone],
    });
}

/// Key-value buckets whose values expire, imported by plugins that use them.
pub mod kv {
    wit_bindgen::generate!({
        inline: "
            package firebox:sdk-kv;
            world sdk-kv { import firebox:plugin/kv@0.1.0; }
        ",
        path: "wit",
        generate_all,
    });
}

/// Key-value buckets, imported by plugins that use them.
pub mod keyvalue {
    wit_bindgen::generate!({
        inline: "
            package firebox:sdk-keyvalue;
            world sdk-keyvalue {
                import wasi:keyvalue/store@0.2.0-draft2;
                import wasi:keyvalue/atomics@0.2.0-draft2;
                import wasi:keyvalue/batch@0.2.0-draft2;
            }
        ",
        path: "wit",
        generate_all,
    });
}

/// The model that serves the request, imported by plugins that use it.
pub mod model {
    wit_bindgen::generate!({
        inline: "
            package firebox:sdk-model;
            world sdk-model { import firebox:plugin/model@0.1.0; }
        ",
        path: "wit",
        with: { "firebox:plugin/types@0.1.0": crate::bindings::prompt::types },
        generate_all,
        additional_derives: [PartialEq, Clone],
    });
}
