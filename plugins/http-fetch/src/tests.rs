//! What the tool makes of pages.

use super::*;

fn page(url: &Url) -> Result<Page, String> {
    let html = |text: &str| Page {
        status: 200,
        content_type: "text/html; charset=utf-8".to_owned(),
        body: text.into(),
        ..Page::default()
    };
    let to = |location: &str| Page { status: 302, location: Some(location.to_owned()), ..Page::default() };
    Ok(match (url.authority.as_str(), url.path.as_str()) {
        ("a.test", "/") => html("<h1>Title</h1><p>one &amp; two\u{1b}[2J"),
        ("a.test", "/json") => Page {
            status: 200,
            content_type: "application/json".to_owned(),
            body: b"{\"a\": 1}".to_vec(),
            ..Page::default()
        },
        ("a.test", "/image") => Page { status: 200, content_type: "image/png".to_owned(), ..Page::default() },
        ("a.test", "/missing") => Page { status: 404, body: b"no such page".to_vec(), ..Page::default() },
        ("a.test", "/moved") => to("/json"),
        ("a.test", "/away") => to("https://denied.test/"),
        ("a.test", "/loop") => to("/loop"),
        ("a.test", "/script") => to("javascript:alert(1)"),
        ("a.test", "/long") => Page { status: 200, body: "é".repeat(1_000).into_bytes(), ..Page::default() },
        _ => return Err("this address was not granted to the plugin".to_owned()),
    })
}

fn get(path: &str) -> Result<String, String> {
    fetch(&format!("https://a.test{path}"), 101, page)
}

#[test]
fn pages_become_text() {
    assert_eq!(get("/").as_deref(), Ok("Title\none & two[2J"), "no terminal escape is left");
    assert_eq!(get("/json").as_deref(), Ok("{\"a\": 1}"));
    assert_eq!(get("/moved").as_deref(), Ok("{\"a\": 1}"));
    let long = get("/long").expect("a page");
    assert_eq!(long, format!("{}\n[the page goes on]", "é".repeat(50)));
}

#[test]
fn what_cannot_be_read_is_an_error_that_says_why() {
    for (path, expected) in [
        ("/image", "not text but \"image/png\""),
        ("/missing", "status 404: no such page"),
        ("/away", "not granted"),
        ("/loop", "more than 5 times"),
        ("/script", "the address"),
        ("/unknown", "not granted"),
    ] {
        let error = get(path).expect_err(path);
        assert!(error.contains(expected), "{path}: {error}");
    }
    assert!(fetch("file:///etc/passwd", 100, page).is_err());
}

#[test]
fn the_configuration_has_one_number() {
    assert_eq!(HttpFetch::init("{}").map(|own| own.text_bytes), Ok(TEXT_BYTES_DEFAULT));
    assert_eq!(HttpFetch::init("{\"max_bytes\": 1000}").map(|own| own.text_bytes), Ok(1_000));
    for bad in ["{\"max_bytes\": 0}", "{\"max_bytes\": \"x\"}", "{\"max_bytes\": 99999999}", "{\"hosts\": []}"] {
        assert!(HttpFetch::init(bad).is_err(), "{bad}");
    }
}
