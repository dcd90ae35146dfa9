//! Faults: plugin calls that ended by a limit, a trap or an error.

use std::fmt;
use std::time::Duration;

/// A point of a request at which plugins run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Stage {
    /// Instantiation and `lifecycle.init`.
    Init,
    /// Before the model sees the messages.
    Prompt,
    /// Before each token of an answer is chosen.
    Token,
    /// On the model's text while it is streamed.
    Text,
    /// Before and after each call that the host runs, of any tool.
    ToolCall,
    /// On a call of one of the plugin's tools.
    Tool,
    /// Before and after an encoder computes vectors.
    Embedding,
}

impl Stage {
    /// Every stage, in the order in which a request meets them.
    pub const ALL: [Self; 7] =
        [Self::Init, Self::Prompt, Self::Token, Self::Text, Self::ToolCall, Self::Tool, Self::Embedding];

    /// The name in messages, metrics and manifests.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Init => "init",
            Self::Prompt => "prompt",
            Self::Token => "token",
            Self::Text => "text",
            Self::ToolCall => "tool-call",
            Self::Tool => "tool",
            Self::Embedding => "embedding",
        }
    }

    /// The stage with this name.
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

/// The cause of a fault, with the limit that was exceeded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FaultCause {
    /// The call used all its fuel.
    OutOfFuel {
        /// The call's limit, in units of fuel.
        limit: u64,
    },
    /// The guest tried to exceed a memory, table or instance limit.
    OutOfMemory {
        /// The limit, in bytes.
        limit_bytes: u64,
        /// The total that the guest asked for, in bytes.
        asked_bytes: u64,
    },
    /// The call exceeded its time limit.
    TimedOut {
        /// The time limit.
        limit: Duration,
        /// The time until the guest was stopped.
        took: Duration,
    },
    /// The guest exceeded its stack.
    StackOverflow {
        /// The limit, in bytes.
        limit_bytes: u64,
    },
    /// The guest returned or passed more data than allowed.
    OutputTooLarge {
        /// The limit, in bytes.
        limit_bytes: u64,
    },
    /// The guest trapped or panicked.
    Trapped {
        /// The trap, or the panic message that the guest logged.
        message: String,
    },
    /// The component needs a capability that was not granted, or the host cannot run it.
    Refused {
        /// The capability, and the remedy.
        message: String,
    },
    /// The plugin returned an error.
    Failed {
        /// The plugin's error message.
        message: String,
    },
}

/// Every stable code of a fault, with its meaning.
pub const FAULT_CODES: &[(&str, &str)] = &[
    ("plugin_out_of_fuel", "the call used all its fuel"),
    ("plugin_out_of_memory", "the guest tried to exceed a memory, table or instance limit"),
    ("plugin_timed_out", "the call exceeded its time limit, which includes host calls"),
    ("plugin_stack_overflow", "the guest exceeded its stack"),
    ("plugin_output_too_large", "the guest returned or passed more bytes than allowed"),
    ("plugin_trapped", "the guest trapped or panicked; the message is the panic message that it logged"),
    ("plugin_refused", "the component needs a capability that was not granted, or the host cannot run it"),
    ("plugin_failed", "the plugin returned an error"),
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
            Self::StackOverflow { limit_bytes } => write!(f, "exceeded its stack of {limit_bytes} bytes"),
            Self::OutputTooLarge { limit_bytes } => write!(f, "returned more than the {limit_bytes} bytes allowed"),
            Self::Trapped { message } => write!(f, "trapped: {message}"),
            Self::Refused { message } => write!(f, "was refused: {message}"),
            Self::Failed { message } => write!(f, "answered with an error: {message}"),
        }
    }
}

/// A plugin call that ended with a fault: the plugin, the stage, the cause and the use.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("plugin \"{plugin}\" at stage \"{stage}\" {cause} (fuel used {fuel}, peak memory {memory_peak_bytes} bytes)")]
pub struct Fault {
    /// The plugin's name.
    pub plugin: String,
    /// The stage.
    pub stage: Stage,
    /// The cause.
    pub cause: FaultCause,
    /// Fuel the call used.
    pub fuel: u64,
    /// Peak linear memory of the instance, in bytes.
    pub memory_peak_bytes: u64,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_cause_has_a_code_and_a_message_with_its_numbers() {
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
