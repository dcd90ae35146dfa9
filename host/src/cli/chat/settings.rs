//! `/set`: changes sampling options during a chat.

use std::str::FromStr;

use firebox_contract::SamplingOverrides;

use crate::error::CliError;

/// A sampling option: its name, its parser and its printer.
struct SamplingSetting {
    name: &'static str,
    set: fn(&mut SamplingOverrides, &str) -> Result<(), String>,
    show: fn(&SamplingOverrides) -> Option<String>,
}

fn parse_into<T: FromStr>(value: &mut Option<T>, text: &str) -> Result<(), String> {
    if text.is_empty() || text == "default" {
        *value = None;
        return Ok(());
    }
    *value = Some(text.parse().map_err(|_| format!("\"{text}\" is not a number"))?);
    Ok(())
}

macro_rules! setting {
    ($name:literal, $field:ident) => {
        SamplingSetting {
            name: $name,
            set: |all, text| parse_into(&mut all.$field, text),
            show: |all| all.$field.map(|value| value.to_string()),
        }
    };
}

/// The options that can be set.
const SETTINGS: &[SamplingSetting] = &[
    setting!("temperature", temperature),
    SamplingSetting {
        name: "top_k",
        set: |all, text| parse_into(&mut all.top_k, if text == "-1" { "0" } else { text }),
        show: |all| all.top_k.map(|value| value.to_string()),
    },
    setting!("top_p", top_p),
    setting!("min_p", min_p),
    setting!("repetition_penalty", repetition_penalty),
    setting!("presence_penalty", presence_penalty),
    setting!("frequency_penalty", frequency_penalty),
    setting!("seed", seed),
    setting!("max_tokens", max_tokens),
    SamplingSetting {
        name: "stop",
        set: |all, text| {
            all.stop = if text.is_empty() { Vec::new() } else { vec![text.replace("\\n", "\n")] };
            Ok(())
        },
        show: |all| (!all.stop.is_empty()).then(|| format!("{:?}", all.stop)),
    },
];

/// Changes one option, such as `temperature=0.2`. `temperature=` restores the checkpoint's default. Returns a line with the
/// new value. Invalid values change nothing.
pub(super) fn set(all: &mut SamplingOverrides, asked: &str) -> Result<String, CliError> {
    let Some((name, value)) = asked.split_once('=') else {
        return Err(CliError::usage(format!("\"{asked}\" is not NAME=VALUE; write /set temperature=0.2")));
    };
    let name = name.trim().to_lowercase().replace('-', "_");
    let Some(setting) = SETTINGS.iter().find(|setting| setting.name == name) else {
        let names: Vec<&str> = SETTINGS.iter().map(|setting| setting.name).collect();
        return Err(CliError::usage(format!("there is no option \"{name}\"; the options are {}", names.join(", "))));
    };
    let mut changed = all.clone();
    (setting.set)(&mut changed, value.trim()).map_err(|why| CliError::usage(format!("{}: {why}", setting.name)))?;
    changed.resolve(&SamplingOverrides::default(), 0)?;
    *all = changed;
    Ok(line(setting, all))
}

/// One line for each option.
pub(super) fn lines(all: &SamplingOverrides) -> Vec<String> {
    SETTINGS.iter().map(|setting| line(setting, all)).collect()
}

fn line(setting: &SamplingSetting, all: &SamplingOverrides) -> String {
    let value = (setting.show)(all).unwrap_or_else(|| "default of the checkpoint".to_owned());
    format!("{:<20} {value}", setting.name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_are_parsed_checked_and_reset() {
        let mut all = SamplingOverrides::default();
        set(&mut all, "temperature=0.25").expect("set");
        set(&mut all, "Top-K = 7").expect("set");
        set(&mut all, "stop=END").expect("set");
        assert_eq!((all.temperature, all.top_k, all.stop.len()), (Some(0.25), Some(7), 1));
        let before = all.clone();
        for (asked, expected) in [
            ("temperature=warm", "\"warm\" is not a number"),
            ("temperature=99", "temperature \"99\""),
            ("top_p=2", "top-p \"2\""),
            ("humour=1", "\"humour\""),
            ("temperature", "NAME=VALUE"),
        ] {
            let refused = set(&mut all, asked).expect_err(expected).to_string();
            assert!(refused.contains(expected), "{refused} should contain {expected}");
        }
        assert_eq!(all, before, "what is refused changes nothing");
        set(&mut all, "temperature=").expect("taken back");
        assert_eq!(all.temperature, None);
        assert!(lines(&all).iter().any(|line| line.starts_with("top_k") && line.ends_with('7')));
    }
}
