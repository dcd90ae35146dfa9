//! Counts the parts of one function that make it expensive to compile.

use wasmparser::{BinaryReaderError, BlockType, FunctionBody, Operator};

use super::tally::Tallies;
use super::{ModuleFrame, ShapeError};

/// Counts one function of `module` with `parameters` parameters and results in total.
///
/// # Errors
/// `ShapeError` if a limit is exceeded or the body cannot be read.
pub(super) fn count(
    body: &FunctionBody<'_>,
    parameters: u64,
    module: &ModuleFrame,
    tallies: &mut Tallies,
) -> Result<(), ShapeError> {
    let bytes = body.range().len() as u64;
    tallies.function_bytes.record(bytes)?;
    tallies.code_bytes.add(bytes)?;
    let locals = locals(body)?.saturating_add(parameters);
    tallies.function_locals.record(locals)?;
    tallies.locals.add(locals)?;
    let (mut depth, mut crossings) = (0_u64, 1_u64);
    let mut operators = body.get_operators_reader()?;
    while !operators.eof() {
        match operators.read()? {
            Operator::Block { blockty } | Operator::Loop { blockty } | Operator::If { blockty } => {
                depth += 1;
                tallies.function_depth.record(depth)?;
                let values = arity(blockty, module);
                tallies.blocks.add(1 + values)?;
                crossings += 1 + values;
            }
            Operator::End => depth = depth.saturating_sub(1),
            Operator::BrIf { .. } | Operator::Else => {
                tallies.blocks.add(1)?;
                crossings += 1;
            }
            Operator::BrTable { targets } => {
                tallies.branch_targets.add(u64::from(targets.len()))?;
                crossings += 1;
            }
            Operator::Call { function_index } | Operator::ReturnCall { function_index } => {
                let values = module.function_arity(function_index);
                tallies.calls.add(1 + values)?;
                crossings += 1 + values;
            }
            Operator::CallIndirect { type_index, .. } | Operator::ReturnCallIndirect { type_index, .. } => {
                let values = module.type_arity(type_index);
                tallies.calls.add(1 + values)?;
                crossings += 1 + values;
            }
            _ => {}
        }
    }
    let liveness = locals.saturating_mul(crossings);
    tallies.function_liveness.record(liveness)?;
    tallies.liveness.add(liveness)?;
    Ok(())
}

/// The number of locals that the function declares. Five bytes can declare fifty thousand.
fn locals(body: &FunctionBody<'_>) -> Result<u64, BinaryReaderError> {
    let mut locals = 0_u64;
    for run in body.get_locals_reader()? {
        let (count, _type) = run?;
        locals = locals.saturating_add(u64::from(count));
    }
    Ok(locals)
}

/// The number of parameters and results of a block.
fn arity(block: BlockType, module: &ModuleFrame) -> u64 {
    match block {
        BlockType::Empty => 0,
        BlockType::Type(_) => 1,
        BlockType::FuncType(index) => module.type_arity(index),
    }
}
