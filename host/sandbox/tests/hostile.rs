//! Hostile components that are expensive to load. Each is loaded in a process of its own, once with a child process that
//! compiles and once without. The test measures the CPU time and memory of the process and its children. No component may use
//! more than the constants below.
//!
//! This program has its own `main`: it is also the compiler that the sandbox starts, and the process that loads one row.

#[path = "hostile/bytes.rs"]
mod bytes;
#[path = "hostile/rows.rs"]
mod rows;
#[path = "hostile/usage.rs"]
mod usage;

use std::borrow::Cow;
use std::io::{self, Write};
use std::process::{Command, ExitCode};

use firebox_contract::{Error, ErrorKind};
use firebox_sandbox::{Allocation, CompilerCommand, ComponentSource, PluginSpec, Sandbox, SandboxOptions};

use self::rows::{HostileRow, ROWS};
use self::usage::Usage;

/// Maximum CPU time and memory for refusing one component or stopping its compiler.
const CPU_MILLISECONDS_MAX: u64 = 5_000;
const PEAK_MIB_MAX: u64 = 512;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match arguments.iter().map(String::as_str).collect::<Vec<_>>().as_slice() {
        ["compile"] => code(firebox_sandbox::compile_component(io::stdin().lock(), io::stdout().lock()).is_ok()),
        ["load", name, compiler] => load(name, *compiler == "guarded"),
        filters => all(filters),
    }
}

fn code(good: bool) -> ExitCode {
    if good { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// Loads one row, and prints its usage and its error.
fn load(name: &str, guarded: bool) -> ExitCode {
    let row = ROWS.iter().find(|row| row.name == name).expect("a row");
    let program = std::env::current_exe().expect("this program");
    let command = CompilerCommand { program, arguments: vec!["compile".into()] };
    let options = SandboxOptions {
        compiler: guarded.then_some(command),
        allocation: Allocation::OnDemand,
        pool_memories: 4,
        ..SandboxOptions::default()
    };
    let spec = PluginSpec::new("hostile", ComponentSource::Bytes(Cow::Owned((row.component)())));
    let before = Usage::now();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let loaded = runtime.block_on(async { Sandbox::new(options).expect("an engine").load(spec).await });
    let used = Usage::now().since(&before);
    let (kind, message) = match loaded {
        Ok(_) => (None, "loaded".to_owned()),
        Err(error) => (Some(Error::from(error.clone()).kind()), error.to_string()),
    };
    let is_fault = kind == Some(ErrorKind::PluginFault);
    let message = message.replace(['\n', '\t'], "\u{7}");
    let line = format!("{}\t{}\t{is_fault}\t{message}\n", used.cpu_milliseconds, used.peak_mib);
    code(io::stdout().write_all(line.as_bytes()).is_ok())
}

/// Loads the rows that match one of the filters, or all rows without a filter.
fn all(filters: &[&str]) -> ExitCode {
    let names: Vec<&str> = filters.iter().copied().filter(|filter| !filter.starts_with('-')).collect();
    if filters.contains(&"--list") {
        return ExitCode::SUCCESS;
    }
    let asked = |row: &&HostileRow| {
        names.is_empty() || names.iter().any(|name| format!("hostile::{}", row.name).contains(name))
    };
    let mut report = String::new();
    let mut findings = 0;
    for row in ROWS.iter().filter(asked) {
        for compiler in ["guarded", "alone"] {
            let (line, wrong) = judge(row, compiler);
            findings += usize::from(wrong);
            report.push_str(&line);
        }
    }
    report.push_str(&format!("{findings} hostile components were not refused as they should be\n"));
    code(io::stdout().write_all(report.as_bytes()).is_ok() && findings == 0)
}

fn judge(row: &HostileRow, compiler: &str) -> (String, bool) {
    let program = std::env::current_exe().expect("this program");
    let output = Command::new(program).args(["load", row.name, compiler]).output().expect("it starts");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let fields: Vec<&str> = text.trim_end().split('\t').collect();
    let [cpu, peak, is_fault, message] = fields.as_slice() else {
        let message = String::from_utf8_lossy(&output.stderr);
        return (format!("WRONG {} {compiler}: {} {message}\n", row.name, output.status), true);
    };
    let number = |text: &str| text.parse::<u64>().unwrap_or(u64::MAX);
    let cheap = number(cpu) <= CPU_MILLISECONDS_MAX && number(peak) <= PEAK_MIB_MAX;
    // A compiler in this process has lower limits, so another limit may be exceeded first.
    let refused = *is_fault == "true" && (compiler == "alone" || message.contains(row.expected));
    let short = message.len() < 1_000 && !message.chars().any(char::is_control);
    let verdict = if cheap && refused && short { "ok" } else { "WRONG" };
    let shown: String = message.chars().take(120).collect();
    (format!("{verdict} {} {compiler}: {cpu} ms, {peak} MiB: {shown}\n", row.name), verdict != "ok")
}
