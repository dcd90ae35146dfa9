//! Limits of the command line and of `firebox chat`.

use std::time::Duration;

use super::{KIB, MIB};

// ---- Command line ---------------------------------------------------------------------------------------------

/// Bytes of one error message on the command line. A longer message is cut and its length is printed.
pub const CLI_MESSAGE_BYTES_MAX: usize = 16 << 10;
/// Time that `run`, `chat` and `mcp` have to stop after SIGTERM or SIGHUP.
pub const CLI_TERMINATION_MAX: Duration = Duration::from_secs(15);
/// Time that `firebox run PROMPT` waits for the first byte of a pipe on standard input.
pub const RUN_PIPE_WAIT: Duration = Duration::from_secs(3);
/// Time that a load takes before its progress is shown on a terminal.
pub const LOAD_BAR_DELAY: Duration = Duration::from_millis(500);

// ---- firebox chat ---------------------------------------------------------------------------------------------

/// Sessions stored by `firebox chat`.
pub const CHAT_SESSIONS_MAX: usize = 10_000;
/// Messages of one session of `firebox chat`, without the system message.
pub const CHAT_SESSION_MESSAGES_MAX: usize = 10_000;
/// Lines of the history file that the line editor reads.
pub const CHAT_HISTORY_LINES: usize = 1_000;
/// Bytes of one line of the history file. Longer input is not stored.
pub const CHAT_HISTORY_LINE_BYTES_MAX: usize = 16 * KIB;
/// Lines read ahead from a pipe on standard input.
pub const CHAT_LINES_BUFFERED_MAX: usize = 1;
/// Tool calls that wait for approval on the terminal at the same time.
pub const CHAT_APPROVALS_PENDING_MAX: usize = 1;
/// Characters of one tool call or tool result on the terminal. The rest is cut.
pub const CHAT_SHOWN_CHARACTERS_MAX: usize = 400;
/// Period at which a chat on a terminal interrupts itself after SIGTERM, until it has stopped.
pub const CHAT_TERMINATION_PERIOD: Duration = Duration::from_millis(100);

// ---- firebox bench --------------------------------------------------------------------------------------------

/// Default of `--repetitions`: times that `firebox bench` measures each test.
pub const BENCH_REPETITIONS_DEFAULT: usize = 5;
/// Maximum of `--repetitions`.
pub const BENCH_REPETITIONS_MAX: usize = 1_000;
/// Tests of one `firebox bench`.
pub const BENCH_TESTS_MAX: usize = 1_000;
/// Sequences that `firebox bench` computes in the same steps.
pub const BENCH_SEQUENCES_MAX: usize = 512;
/// Bytes of the file of earlier results that `firebox bench` compares with.
pub const BENCH_RESULTS_BYTES_MAX: usize = 16 * MIB;

// ---- firebox embed --------------------------------------------------------------------------------------------

/// Default of `--batch`: texts of one forward pass of `firebox embed`.
pub const EMBED_BATCH_TEXTS_DEFAULT: usize = 32;
/// Maximum of `--batch`.
pub const EMBED_BATCH_TEXTS_MAX: usize = 1_024;
/// Texts that `firebox embed` reads and sorts by length at a time. Bounds its memory for input of any size.
pub const EMBED_WINDOW_TEXTS: usize = 2_048;
/// Bytes of text that `firebox embed` reads and sorts by length at a time.
pub const EMBED_WINDOW_BYTES_MAX: usize = 64 * MIB;
/// Bytes of one input line of `firebox embed`.
pub const EMBED_LINE_BYTES_MAX: usize = 8 * MIB;
/// Bytes of one Parquet row group, which stays in memory until it is full.
pub const EMBED_ROW_GROUP_BYTES: usize = 64 * MIB;
/// Time that an interrupted `firebox embed` has to stop before it is aborted.
pub const EMBED_INTERRUPT_GRACE: Duration = Duration::from_secs(2);

// ---- firebox rerank -------------------------------------------------------------------------------------------

/// Documents that `firebox rerank` sorts at a time.
pub const RERANK_TEXTS_MAX: usize = 100_000;
/// Bytes of the documents that `firebox rerank` reads.
pub const RERANK_INPUT_BYTES_MAX: u64 = 256 * MIB as u64;
