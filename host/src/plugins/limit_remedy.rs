//! What can be done about a plugin that reached a limit: another thing at the command line than behind a server.

use firebox_contract::{Error, FaultCause};

/// What the reader of an error can do something with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Audience {
    /// Options of this command.
    CommandLine,
    /// Keys of the operator's configuration.
    ServerClient,
}

/// `error`, and where a limit of plugins was reached, what raises it.
#[must_use]
pub(crate) fn with_remedy(error: &Error, means: Audience) -> String {
    let Error::Fault(fault) = error else { return error.to_string() };
    let (option, key) = match fault.cause {
        FaultCause::OutOfFuel { .. } => ("--fuel", "fuel"),
        FaultCause::OutOfMemory { .. } => ("--plugin-memory", "memory"),
        FaultCause::TimedOut { .. } => ("--plugin-timeout", "timeout"),
        _ => return error.to_string(),
    };
    match means {
        Audience::CommandLine => format!("{error}; raise {option} if the work is legitimate"),
        Audience::ServerClient => format!(
            "{error}; if the work is legitimate, the operator can raise \"{key}\" of the [[plugin]] and \"plugin_{key}\" of \
             the tenant's limits"
        ),
    }
}

#[cfg(test)]
mod tests {
    use firebox_contract::{Fault, Stage};

    use super::*;

    #[test]
    fn each_reader_is_told_of_its_own_means() {
        let fault = |cause| {
            let plugin = "p".to_owned();
            Error::Fault(Fault { plugin, stage: Stage::Tool, cause, fuel: 1, memory_peak_bytes: 2 })
        };
        let second = std::time::Duration::from_secs(1);
        for (cause, option, key) in [
            (FaultCause::OutOfFuel { limit: 7 }, "raise --fuel ", "\"plugin_fuel\""),
            (FaultCause::OutOfMemory { limit_bytes: 7, asked_bytes: 8 }, "raise --plugin-memory ", "\"plugin_memory\""),
            (FaultCause::TimedOut { limit: second, took: second }, "raise --plugin-timeout ", "\"plugin_timeout\""),
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

    /// The keys that are named are keys that can be set.
    #[test]
    fn the_keys_are_in_the_example() {
        for key in ["fuel", "memory", "timeout"] {
            for key in [format!("# {key} = "), format!("# plugin_{key} = ")] {
                assert!(crate::config::EXAMPLE.contains(&key), "{key}");
            }
        }
    }
}
