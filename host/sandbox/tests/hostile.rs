//! Components that are made to be dear to load. Each is loaded in a process of its own, once with a compiler's process and once
//! without, and what that took of processor and memory is measured, children included. None may take more than stated here.
//!
//! Not a usual test: this program is also the compiler that the sandbox starts, and the process that loads one row.

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

use self::rows::{ROWS, Row};
use self::usage::Usage;

/// What refusing one component, or ending its compiler, may take.
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

/// Loads one row, and says how that ended and what it took.
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
    let (kind, words) = match loaded {
        Ok(_) => (None, "loaded".to_owned()),
        Err(error) => (Some(Error::from(error.clone()).kind()), error.to_string()),
    };
    let is_fault = kind == Some(ErrorKind::PluginFault);
    let words = words.replace(['\n', '\t'], "\u{7}");
    let line = format!("{}\t{}\t{is_fault}\t{words}\n", used.cpu_milliseconds, used.peak_mib);
    code(io::stdout().write_all(line.as_bytes()).is_ok())
}

/// Loads every row that one of the filters names, or all of them.
fn all(filters: &[&str]) -> ExitCode {
    let names: Vec<&str> = filters.iter().copied().filter(|filter| !filter.starts_with('-')).collect();
    if filters.contains(&"--list") {
        return ExitCode::SUCCESS;
    }
    let asked =
        |row: &&Row| names.is_empty() || names.iter().any(|name| format!("hostile::{}", row.name).contains(name));
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

fn judge(row: &Row, compiler: &str) -> (String, bool) {
    let program = std::env::current_exe().expect("this program");
    let output = Command::new(program).args(["load", row.name, compiler]).output().expect("it starts");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let fields: Vec<&str> = text.trim_end().split('\t').collect();
    let [cpu, peak, is_fault, words] = fields.as_slice() else {
        let words = String::from_utf8_lossy(&output.stderr);
        return (format!("WRONG {} {compiler}: {} {words}\n", row.name, output.status), true);
    };
    let number = |text: &str| text.parse::<u64>().unwrap_or(u64::MAX);
    let cheap = number(cpu) <= CPU_MILLISECONDS_MAX && number(peak) <= PEAK_MIB_MAX;
    // Without a compiler of its own other limits may be passed first.
    let said = *is_fault == "true" && (compiler == "alone" || words.contains(row.expected));
    let short = words.len() < 1_000 && !words.chars().any(char::is_control);
    let verdict = if cheap && said && short { "ok" } else { "WRONG" };
    let shown: String = words.chars().take(120).collect();
    (format!("{verdict} {} {compiler}: {cpu} ms, {peak} MiB: {shown}\n", row.name), verdict != "ok")
}
