//! Error messages about plugin limits, with the option or key that raises the limit.

use firebox_contract::{Error, FaultCause};

/// Who reads an error message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Audience {
    /// The user of a command, who can change its options.
    CommandLine,
    /// A client of a server, whose operator can change the configuration.
    ServerClient,
}

/// The message of `error`. If a plugin limit was reached, the message names what raises it.
#[must_use]
pub(crate) fn with_remedy(error: &Error, audience: Audience) -> String {
    let Error::Fault(fault) = error else { return error.to_string() };
    let (option, key) = match fault.cause {
        FaultCause::OutOfFuel { .. } => ("--fuel", "fuel"),
        FaultCause::OutOfMemory { .. } => ("--plugin-memory", "memory"),
        FaultCause::TimedOut { .. } => ("--plugin-timeout", "timeout"),
        _ => return error.to_string(),
    };
    match audience {
        Audience::CommandLine => format!("{error}; raise the limit with {option}"),
        Audience::ServerClient => format!(
            "{error}; the operator can raise \"{key}\" of the [[plugin]] and \"plugin_{key}\" in the limits of the tenant"
        ),
    }
}

#[cfg(test)]
mod tests {
    use firebox_contract::{Fault, Stage};

    use super::*;

    #[test]
    fn the_message_names_the_option_or_the_configuration_key() {
        let fault = |cause| {
            let plugin = "p".to_owned();
            Error::Fault(Fault { plugin, stage: Stage::Tool, cause, fuel: 1, memory_peak_bytes: 2 })
        };
        let second = std::time::Duration::from_secs(1);
        for (cause, option, key) in [
            (FaultCause::OutOfFuel { limit: 7 }, "with --fuel", "\"plugin_fuel\""),
            (FaultCause::OutOfMemory { limit_bytes: 7, asked_bytes: 8 }, "with --plugin-memory", "\"plugin_memory\""),
            (FaultCause::TimedOut { limit: second, took: second }, "with --plugin-timeout", "\"plugin_timeout\""),
        ] {
            let error = fault(cause);
            let (own, operators) =
                (with_remedy(&error, Audience::CommandLine), with_remedy(&error, Audience::ServerClient));
            assert!(own.contains(option) && !own.contains("operator"), "{own}");
            assert!(operators.contains(key) && !operators.contains("--"), "{operators}");
        }
        let panicked = fault(FaultCause::Trapped { message: "x".to_owned() });
        assert_eq!(with_remedy(&panicked, Audience::CommandLine), panicked.to_string());
    }

    /// The named keys exist.
    #[test]
    fn the_named_keys_are_in_the_example_configuration() {
        for key in ["fuel", "memory", "timeout"] {
            for key in [format!("# {key} = "), format!("# plugin_{key} = ")] {
                assert!(crate::config::EXAMPLE.contains(&key), "{key}");
            }
        }
    }
}
