//! The text of an answer: its length, its stop strings, its reasoning and its probabilities.

mod answer_length;
mod logprobs;
mod reasoning;
mod stop_string_cost;
mod streamed_calls;
