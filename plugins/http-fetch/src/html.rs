//! HTML as plain text: without tags, scripts and styles, with a line for each block.

/// Elements whose content is no text.
const HIDDEN: &[&str] = &["script", "style", "noscript", "template", "svg", "head"];
/// Elements that begin a line.
const BLOCKS: &[&str] = &[
    "p",
    "br",
    "div",
    "li",
    "ul",
    "ol",
    "tr",
    "table",
    "h1",
    "h2",
    "h3",
    "h4",
    "h5",
    "h6",
    "section",
    "article",
    "pre",
    "blockquote",
    "header",
    "footer",
    "main",
    "nav",
    "dt",
    "dd",
    "hr",
    "title",
    "option",
];
/// Named characters.
const NAMED: &[(&str, &str)] = &[
    ("amp", "&"),
    ("lt", "<"),
    ("gt", ">"),
    ("quot", "\""),
    ("apos", "'"),
    ("nbsp", " "),
    ("ndash", "–"),
    ("mdash", "—"),
    ("hellip", "…"),
    ("copy", "©"),
];

/// The text of a page. Its time grows with the length of the page.
pub(crate) fn text(html: &str) -> String {
    let (mut out, mut rest) = (String::with_capacity(html.len() / 4), html);
    while let Some(start) = rest.find('<') {
        append(&mut out, &rest[..start]);
        rest = &rest[start..];
        if let Some(comment) = rest.strip_prefix("<!--") {
            rest = comment.find("-->").map_or("", |end| &comment[end + 3..]);
            continue;
        }
        let is_tag = rest[1..].starts_with(|c: char| c.is_ascii_alphabetic() || matches!(c, '/' | '!' | '?'));
        if !is_tag {
            append(&mut out, "<");
            rest = &rest[1..];
            continue;
        }
        let Some(end) = rest.find('>') else { break };
        let name = rest[1..end].trim_start_matches('/');
        let name = name.split(|c: char| !c.is_ascii_alphanumeric()).next().unwrap_or_default().to_ascii_lowercase();
        let is_end = rest[1..].starts_with('/');
        rest = &rest[end + 1..];
        if !is_end && HIDDEN.contains(&name.as_str()) {
            rest = after_end(rest, &name);
        } else if BLOCKS.contains(&name.as_str()) && !out.is_empty() && !out.ends_with('\n') {
            out.truncate(out.trim_end_matches(' ').len());
            out.push('\n');
        }
    }
    if !rest.starts_with('<') {
        append(&mut out, rest);
    }
    out.trim().to_owned()
}

/// What follows the end tag of `name`.
fn after_end<'a>(text: &'a str, name: &str) -> &'a str {
    let mut from = 0;
    while let Some(found) = text[from..].find("</") {
        let start = from + found + 2;
        let is_same =
            text.as_bytes()[start..].get(..name.len()).is_some_and(|own| own.eq_ignore_ascii_case(name.as_bytes()));
        if is_same {
            return text[start..].find('>').map_or("", |end| &text[start + end + 1..]);
        }
        from = start;
    }
    ""
}

/// Appends text whose white space is one space, and whose named characters are themselves.
fn append(out: &mut String, text: &str) {
    let mut rest = text;
    while let Some(c) = rest.chars().next() {
        if c == '&'
            && let Some((character, length)) = entity(rest)
        {
            out.push_str(&character);
            rest = &rest[length..];
            continue;
        }
        if !c.is_whitespace() {
            out.push(c);
        } else if !out.is_empty() && !out.ends_with([' ', '\n']) {
            out.push(' ');
        }
        rest = &rest[c.len_utf8()..];
    }
}

/// The character that `text` begins with in the form `&name;` or `&#number;`, and the length of that form.
fn entity(text: &str) -> Option<(String, usize)> {
    let end = text.bytes().take(10).position(|byte| byte == b';')?;
    let name = text.get(1..end)?;
    if let Some((_, character)) = NAMED.iter().find(|named| named.0 == name) {
        return Some(((*character).to_owned(), end + 1));
    }
    let number = name.strip_prefix('#')?;
    let code = match number.strip_prefix(['x', 'X']) {
        Some(hex) => u32::from_str_radix(hex, 16).ok()?,
        None => number.parse().ok()?,
    };
    Some((char::from_u32(code)?.to_string(), end + 1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_becomes_its_text() {
        for (html, expected) in [
            ("<p>Hello <b>world</b></p><p>again", "Hello world\nagain"),
            ("<html><head><title>T</title></head><body>x</body>", "x"),
            ("a<script>if (a</b) { '</p>' }</SCRIPT >b<style>p{}</style>c", "abc"),
            ("1 &lt; 2 &amp;&amp; &#x41;&#66; &unknown; &", "1 < 2 && AB &unknown; &"),
            ("  a\n\n  b<br>c <!-- <p>hidden</p> -->d", "a b\nc d"),
            ("2 < 3 and <unclosed", "2 < 3 and"),
            ("<ul><li>one<li>two</ul>", "one\ntwo"),
            ("<script>never ends", ""),
            ("<!-- never ends", ""),
            ("é&#0;<p", "é\0"),
        ] {
            assert_eq!(text(html), expected, "{html}");
        }
    }

    #[test]
    fn hostile_pages_take_time_by_their_length() {
        for part in ["<", "</", "<script></", "&#", "<!--", "&amp;"] {
            let page = part.repeat(1 << 18);
            let begun = std::time::Instant::now();
            assert!(text(&page).len() <= page.len());
            assert!(begun.elapsed().as_secs() < 5, "{part}");
        }
    }
}
