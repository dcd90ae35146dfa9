//! How a guest call ended when it did not end well.

use std::fmt;
use std::time::Duration;

/// A point of a request where plugins run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Stage {
    /// Instantiation and `lifecycle.init`.
    Init,
    /// Before the model sees the messages.
    Prompt,
    /// As the model's text streams out.
    Text,
    /// A tool the model called.
    Tool,
}

impl Stage {
    /// Every stage, in the order in which a request meets them.
    pub const ALL: [Self; 4] = [Self::Init, Self::Prompt, Self::Text, Self::Tool];

    /// The name used in messages, metrics and manifests.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Init => "init",
            Self::Prompt => "prompt",
            Self::Text => "text",
            Self::Tool => "tool",
        }
    }

    /// The stage of this name.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|stage| stage.as_str() == name)
    }
}

impl fmt::Display for Stage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Why a guest call ended badly, with the limit it met and what it had used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FaultCause {
    /// All fuel was used.
    OutOfFuel {
        /// Fuel granted for the call.
        limit: u64,
    },
    /// A memory, table or instance limit stopped a growth.
    OutOfMemory {
        /// The limit, in bytes.
        limit_bytes: u64,
        /// What the guest asked to have in all, in bytes.
        asked_bytes: u64,
    },
    /// The wall-clock deadline passed.
    TimedOut {
        /// The time granted.
        limit: Duration,
        /// The time taken until the guest was stopped.
        took: Duration,
    },
    /// The guest recursed too deeply.
    StackOverflow {
        /// Stack granted, in bytes.
        limit_bytes: u64,
    },
    /// The guest returned or passed more data than allowed.
    OutputTooLarge {
        /// The limit, in bytes.
        limit_bytes: u64,
    },
    /// The guest trapped, or panicked: `message` carries the logged panic where there is one.
    Trapped {
        /// What happened.
        message: String,
    },
    /// The component needs something that was not granted, or is not a component this host can run.
    Refused {
        /// What was asked for, and the remedy.
        message: String,
    },
    /// The plugin itself answered with an error.
    Failed {
        /// The plugin's own words.
        message: String,
    },
}

/// Every stable code of a fault, with what it means.
pub const FAULT_CODES: &[(&str, &str)] = &[
    ("plugin_out_of_fuel", "the call used all its fuel"),
    ("plugin_out_of_memory", "a memory, table or instance limit stopped a growth"),
    ("plugin_timed_out", "the wall-clock deadline passed, host calls included"),
    ("plugin_stack_overflow", "the guest recursed past its stack"),
    ("plugin_output_too_large", "the guest returned or passed more bytes than allowed"),
    ("plugin_trapped", "the guest trapped or panicked; the message is what it logged last"),
    ("plugin_refused", "the component needs what was not granted, or cannot run here"),
    ("plugin_failed", "the plugin itself answered with an error"),
];

impl FaultCause {
    /// The stable code that programs compare.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::OutOfFuel { .. } => "plugin_out_of_fuel",
            Self::OutOfMemory { .. } => "plugin_out_of_memory",
            Self::TimedOut { .. } => "plugin_timed_out",
            Self::StackOverflow { .. } => "plugin_stack_overflow",
            Self::OutputTooLarge { .. } => "plugin_output_too_large",
            Self::Trapped { .. } => "plugin_trapped",
            Self::Refused { .. } => "plugin_refused",
            Self::Failed { .. } => "plugin_failed",
        }
    }
}

impl fmt::Display for FaultCause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::OutOfFuel { limit } => {
                write!(f, "used all its fuel ({limit})")
            }
            Self::OutOfMemory { limit_bytes, asked_bytes } => {
                write!(f, "asked for {asked_bytes} bytes of memory where {limit_bytes} are allowed")
            }
            Self::TimedOut { limit, took } => {
                write!(f, "ran {} ms where {} ms are allowed", took.as_millis(), limit.as_millis())
            }
            Self::StackOverflow { limit_bytes } => write!(f, "recursed past its stack of {limit_bytes} bytes"),
            Self::OutputTooLarge { limit_bytes } => write!(f, "returned more than the {limit_bytes} bytes allowed"),
            Self::Trapped { message } => write!(f, "trapped: {message}"),
            Self::Refused { message } => write!(f, "was refused: {message}"),
            Self::Failed { message } => write!(f, "answered with an error: {message}"),
        }
    }
}

/// A guest call that ended badly: which plugin, at which stage, why, and what it used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("plugin \"{plugin}\" at stage \"{stage}\" {cause} (fuel used {fuel}, peak memory {memory_peak_bytes} bytes)")]
pub struct Fault {
    /// The plugin's name.
    pub plugin: String,
    /// The stage.
    pub stage: Stage,
    /// Why.
    pub cause: FaultCause,
    /// Fuel the call used.
    pub fuel: u64,
    /// The most linear memory the instance had, in bytes.
    pub memory_peak_bytes: u64,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_cause_has_a_code_in_the_table_and_a_sentence_with_its_numbers() {
        let text = || "why".to_owned();
        let second = Duration::from_secs(1);
        let causes = [
            FaultCause::OutOfFuel { limit: 7 },
            FaultCause::OutOfMemory { limit_bytes: 7, asked_bytes: 70 },
            FaultCause::TimedOut { limit: second, took: second },
            FaultCause::StackOverflow { limit_bytes: 7 },
            FaultCause::OutputTooLarge { limit_bytes: 7 },
            FaultCause::Trapped { message: text() },
            FaultCause::Refused { message: text() },
            FaultCause::Failed { message: text() },
        ];
        let codes: Vec<&str> = causes.iter().map(FaultCause::code).collect();
        assert_eq!(codes, FAULT_CODES.iter().map(|row| row.0).collect::<Vec<_>>());
        for cause in causes {
            let sentence = cause.to_string();
            assert!(sentence.contains('7') || sentence.contains("1000") || sentence.contains("why"), "{sentence}");
        }
    }
}
