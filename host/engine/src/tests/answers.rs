//! The text of an answer: its length, its stop strings, its reasoning, its probabilities, and plugins that decide about its tokens.

mod answer_length;
mod logprobs;
mod reasoning;
mod stop_string_cost;
mod streamed_calls;
mod token_stage;
