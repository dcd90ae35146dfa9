//! A component with the world of wassette's example `fetch-rs`, written from its WIT alone. There is nothing of Firebox in it.

#[cfg(target_arch = "wasm32")]
mod guest {
    #![allow(missing_docs, unreachable_pub, reason = "generated; the documentation is in the WIT files")]

    wit_bindgen::generate!({
        inline: "
            package microsoft:fetch-rs;
            world fetch-rs {
                import wasi:http/outgoing-handler@0.2.0;
                /// The text of the page at an address.
                export fetch: func(url: string) -> result<string, string>;
            }
        ",
        path: "../../wit",
        generate_all,
    });

    use std::fmt::Debug;

    use self::wasi::http::outgoing_handler;
    use self::wasi::http::types::{Fields, OutgoingRequest, Scheme};
    use self::wasi::io::streams::StreamError;

    /// Bytes that are read at a time.
    const READ_BYTES: u64 = 64 << 10;

    struct Fetch;

    fn failed(error: impl Debug) -> String {
        format!("{error:?}")
    }

    impl Guest for Fetch {
        fn fetch(url: String) -> Result<String, String> {
            let (scheme, rest) = match url.split_once("://") {
                Some(("https", rest)) => (Scheme::Https, rest),
                Some(("http", rest)) => (Scheme::Http, rest),
                _ => return Err("the address has no scheme".to_owned()),
            };
            let (host, path) = rest.find('/').map_or((rest, "/"), |at| rest.split_at(at));
            let request = OutgoingRequest::new(Fields::new());
            let wrong = |()| "the address is not valid".to_owned();
            request.set_scheme(Some(&scheme)).map_err(wrong)?;
            request.set_authority(Some(host)).map_err(wrong)?;
            request.set_path_with_query(Some(path)).map_err(wrong)?;
            let answer = outgoing_handler::handle(request, None).map_err(failed)?;
            answer.subscribe().block();
            let response = answer.get().and_then(Result::ok).ok_or("there is no answer")?.map_err(failed)?;
            let body = response.consume().map_err(|()| "there is no body")?;
            let stream = body.stream().map_err(|()| "there is no body")?;
            let mut bytes = Vec::new();
            loop {
                match stream.blocking_read(READ_BYTES) {
                    Ok(part) => bytes.extend(part),
                    Err(StreamError::Closed) => break,
                    Err(error) => return Err(failed(error)),
                }
            }
            String::from_utf8(bytes).map_err(failed)
        }
    }

    export!(Fetch);
}
