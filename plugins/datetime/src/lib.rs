//! A tool for the model that tells the date and the time, from the machine's clock.

mod calendar;

use firebox_sdk::{Arguments, Definition, Effects, Outcome, Plugin, Tool};

const SCHEMA: &str = r#"{"type":"object","properties":{"offset_minutes":{"type":"integer","minimum":-840,"maximum":840,"description":"Minutes ahead of UTC, such as 60 for Central European Time. The default is 0."}},"additionalProperties":false}"#;
/// The largest offset of a time zone, in minutes.
const OFFSET_MAX: i64 = 14 * 60;

struct DateTime;

impl Plugin for DateTime {
    const DESCRIPTION: &'static str = "A tool for the model that tells the date and the time.";

    fn init(config_json: &str) -> Result<Self, String> {
        Arguments::parse_config(config_json)?.only(&[])?;
        Ok(Self)
    }
}

impl Tool for DateTime {
    fn definitions(&self) -> Vec<Definition> {
        let description = "Tells the current date and time with the day of the week.";
        vec![Definition { effects: Effects::READ_ONLY, ..Definition::pure("current_time", description, SCHEMA) }]
    }

    fn call(&mut self, name: &str, arguments_json: &str) -> Outcome {
        if name != "current_time" {
            return Outcome::unknown_tool(name);
        }
        Outcome::from(Arguments::parse(arguments_json).and_then(|given| answer(&given, seconds())))
    }
}

/// Seconds since 1970, or 0 if the clock was not granted.
#[cfg(target_arch = "wasm32")]
fn seconds() -> u64 {
    wasip2::clocks::wall_clock::now().seconds
}

#[cfg(not(target_arch = "wasm32"))]
fn seconds() -> u64 {
    std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

fn answer(given: &Arguments, now: u64) -> Result<String, String> {
    let offset = match given.get("offset_minutes") {
        None => 0,
        Some(number) => number.parse().map_err(|_| "argument \"offset_minutes\" must be a whole number".to_owned())?,
    };
    if !(-OFFSET_MAX..=OFFSET_MAX).contains(&offset) {
        return Err(format!("argument \"offset_minutes\" must be between -{OFFSET_MAX} and {OFFSET_MAX}"));
    }
    // The clock of a plugin without a grant stands at 1970.
    if now == 0 {
        return Err("the clock was not granted to this plugin".to_owned());
    }
    let now = i64::try_from(now).map_err(|_| "the clock is wrong".to_owned())?;
    Ok(calendar::shown(now, offset))
}

firebox_sdk::plugin!(DateTime: tool);

#[cfg(test)]
mod tests {
    use super::*;

    fn at(json: &str, now: u64) -> Result<String, String> {
        answer(&Arguments::parse(json).expect("JSON"), now)
    }

    #[test]
    fn the_time_is_told_with_its_offset() {
        assert_eq!(at("{}", 951_827_696).as_deref(), Ok("Tuesday, 2000-02-29 12:34:56 UTC"));
        let east = at(r#"{"offset_minutes": 330}"#, 951_827_696);
        assert_eq!(east.as_deref(), Ok("Tuesday, 2000-02-29 18:04:56 UTC+05:30"));
        let west = at(r#"{"offset_minutes": -765}"#, 951_827_696);
        assert_eq!(west.as_deref(), Ok("Monday, 2000-02-28 23:49:56 UTC-12:45"));
    }

    #[test]
    fn a_wrong_offset_and_a_missing_grant_are_errors() {
        for bad in [r#"{"offset_minutes": 841}"#, r#"{"offset_minutes": "x"}"#, r#"{"offset_minutes": 1.5}"#] {
            assert!(at(bad, 1).is_err(), "{bad}");
        }
        assert!(at("{}", 0).expect_err("no clock").contains("not granted"));
    }
}
