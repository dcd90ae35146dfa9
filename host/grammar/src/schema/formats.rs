//! Formats of strings as patterns. Each describes a part of its format that every validator accepts: RFC 3339 for times
//! without leap seconds, RFC 5321 for e-mail addresses without quoted parts, and so on.

const DATE: &str = "(?:[0-9]{4}-(?:(?:0[13578]|1[02])-(?:0[1-9]|[12][0-9]|3[01])|(?:0[469]|11)-(?:0[1-9]|[12][0-9]|30)|02-(?:0[1-9]|1[0-9]|2[0-8]))|(?:[0-9]{2}(?:0[48]|[2468][048]|[13579][26])|(?:0[48]|[2468][048]|[13579][26])00)-02-29)";
const TIME: &str =
    "(?:[01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9](?:\\.[0-9]{1,9})?(?:Z|[+-](?:[01][0-9]|2[0-3]):[0-5][0-9])";
const LABEL: &str = "[a-z0-9](?:-?[a-z0-9]){0,30}";
const OCTET: &str = "(?:25[0-5]|2[0-4][0-9]|1[0-9]{2}|[1-9]?[0-9])";
const PATH: &str = "(?:[A-Za-z0-9._~!$&'()*+,;=:@-]|%[0-9A-F]{2})";

/// The names of all formats.
const NAMES: [&str; 11] =
    ["date", "time", "date-time", "duration", "email", "hostname", "ipv4", "ipv6", "uuid", "uri", "json-pointer"];

/// The names of all formats, for messages.
pub(super) fn names() -> String {
    NAMES.join(", ")
}

/// The pattern of a format, from the beginning to the end of a string.
pub(super) fn pattern(name: &str) -> Option<String> {
    let hostname = format!("{LABEL}(?:\\.{LABEL}){{0,3}}");
    let inner = match name {
        "date" => DATE.to_owned(),
        "time" => TIME.to_owned(),
        "date-time" => format!("{DATE}T{TIME}"),
        "duration" => {
            let day = "[0-9]{1,9}D";
            let month = format!("[0-9]{{1,9}}M(?:{day})?");
            let date = format!("(?:[0-9]{{1,9}}Y(?:{month})?|{month}|{day})");
            let second = "[0-9]{1,9}S";
            let minute = format!("[0-9]{{1,9}}M(?:{second})?");
            let time = format!("T(?:[0-9]{{1,9}}H(?:{minute})?|{minute}|{second})");
            format!("P(?:[0-9]{{1,9}}W|{date}(?:{time})?|{time})")
        }
        "email" => "[A-Za-z0-9_+-]{1,30}(?:\\.[A-Za-z0-9_+-]{1,30})?@[a-z](?:-?[a-z0-9]){0,30}(?:\\.[a-z](?:-?[a-z0-9]){0,30}){1,3}".to_owned(),
        "hostname" => hostname,
        "ipv4" => format!("{OCTET}(?:\\.{OCTET}){{3}}"),
        "ipv6" => ipv6(),
        "uuid" => "[0-9A-Fa-f]{8}-[0-9A-Fa-f]{4}-[0-9A-Fa-f]{4}-[0-9A-Fa-f]{4}-[0-9A-Fa-f]{12}".to_owned(),
        "uri" => {
            let after = format!("(?:\\?(?:{PATH}|[/?])*)?(?:\\#(?:{PATH}|[/?])*)?");
            let port = "(?::[0-9]{1,4})?";
            format!("[a-z][a-z0-9+.-]*:(?://{hostname}{port}(?:/{PATH}*)*|{PATH}+(?:/{PATH}*)*){after}")
        }
        "json-pointer" => "(?:/(?:[^~/]|~[01])*)*".to_owned(),
        _ => return None,
    };
    Some(format!("^(?:{inner})$"))
}

/// All groups, or a run of zeros left out as `::`.
fn ipv6() -> String {
    let group = "[0-9a-fA-F]{1,4}";
    let mut forms = vec![format!("(?:{group}:){{7}}{group}"), format!("(?:{group}:){{1,7}}:"), "::".to_owned()];
    forms.extend((1..=6).map(|after| {
        let before = 7 - after;
        format!("(?:{group}:){{1,{before}}}(?::{group}){{1,{after}}}")
    }));
    forms.push(format!(":(?::{group}){{1,7}}"));
    format!("(?:{})", forms.join("|"))
}
