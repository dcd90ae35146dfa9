//! The formats of the families, one file each.

mod deepseek;
mod gemma;
mod glm;
mod granite;
mod harmony;
mod hermes;
mod kimi;
mod llama3;
mod mistral;
mod phi;
mod pythonic;
mod qwen_coder;

use super::ToolCallFormat;

/// All formats, in the order in which they are tried: a format with a mark of its own comes before one whose mark is the
/// beginning of another mark.
pub const TOOL_CALL_FORMATS: &[ToolCallFormat] = &[
    harmony::FORMAT,
    deepseek::V3,
    deepseek::V31,
    kimi::FORMAT,
    gemma::GEMMA4,
    gemma::FUNCTION_GEMMA,
    qwen_coder::SEED,
    qwen_coder::FORMAT,
    glm::FORMAT,
    hermes::FORMAT,
    mistral::NAMED,
    mistral::LIST,
    phi::FORMAT,
    granite::FORMAT,
    llama3::FORMAT,
    pythonic::FORMAT,
];
