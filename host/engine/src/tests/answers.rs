//! The text of an answer: its length and its stop strings.

mod answer_length;
mod stop_string_cost;
