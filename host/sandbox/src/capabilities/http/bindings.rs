//! The bindings of `wasi:http` 0.2. Any release of 0.2 that a guest was built with matches them.

#![allow(unreachable_pub, missing_docs, reason = "generated code")]

wasmtime::component::bindgen!({
    path: "../../wit",
    inline: "package firebox:host-http; world imports {
        import wasi:http/types@0.2.0;
        import wasi:http/outgoing-handler@0.2.0;
    }",
    imports: { default: trappable },
    require_store_data_send: true,
    with: {
        "wasi:io": wasmtime_wasi::p2::bindings::io,
        "wasi:clocks": wasmtime_wasi::p2::bindings::clocks,
        "wasi:http/types.fields": super::fields::Fields,
        "wasi:http/types.outgoing-request": super::request::OutgoingRequest,
        "wasi:http/types.request-options": super::request::RequestOptions,
        "wasi:http/types.outgoing-body": super::request::body::OutgoingBody,
        "wasi:http/types.future-incoming-response": super::response::FutureResponse,
        "wasi:http/types.incoming-response": super::response::IncomingResponse,
        "wasi:http/types.incoming-body": super::response::body::IncomingBody,
        "wasi:http/types.future-trailers": super::response::body::FutureTrailers,
        "wasi:http/types.incoming-request": super::incoming::IncomingRequest,
        "wasi:http/types.outgoing-response": super::incoming::OutgoingResponse,
        "wasi:http/types.response-outparam": super::incoming::ResponseOutparam,
    },
});
