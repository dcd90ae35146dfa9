//! A component as its author would write it for Spin or wasmCloud: plain functions, `wasi:http/outgoing-handler`, and both drafts
//! of `wasi:keyvalue`. There is nothing of Firebox in it. Its functions become tools.

#[cfg(target_arch = "wasm32")]
mod guest;

/// Where an address leads: whether it is encrypted, the host with its port, and the path with its query.
#[cfg_attr(not(target_arch = "wasm32"), allow(dead_code, reason = "the guest is not part of native builds"))]
fn parts(url: &str) -> Option<(bool, &str, &str)> {
    let (is_https, rest) = match url.split_once("://")? {
        ("https", rest) => (true, rest),
        ("http", rest) => (false, rest),
        _ => return None,
    };
    let (host, path) = rest.find('/').map_or((rest, "/"), |at| rest.split_at(at));
    (!host.is_empty()).then_some((is_https, host, path))
}

#[cfg(test)]
mod tests {
    use super::parts;

    #[test]
    fn an_address_has_a_scheme_a_host_and_a_path() {
        assert_eq!(parts("http://a.org:80/b?c"), Some((false, "a.org:80", "/b?c")));
        assert_eq!(parts("https://a.org"), Some((true, "a.org", "/")));
        for bad in ["a.org", "ftp://a.org", "https://", "https:///b"] {
            assert_eq!(parts(bad), None, "{bad}");
        }
    }
}
