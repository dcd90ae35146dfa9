//! `firebox devices`: the devices of this machine, which one is used by default, and whether they work.

use firebox_contract::Error;
use firebox_models::ModelError;
use firebox_models::device::{self, AdapterKind, AdapterReport, DeviceChoice, ShaderLanguage, TestReport};

use crate::cli::Io;
use crate::cli::options::DeviceOptions;
use crate::cli::output::table::TextTable;
use crate::error::CliError;
use crate::host::device::{device_options, open_device};

/// List the devices that models can run on, and show which one is used and why.
#[derive(clap::Args)]
pub struct Args {
    /// Print one JSON object for each device, one a line
    #[arg(long)]
    json: bool,
    /// Test and measure each device for about a second, in a child process
    #[arg(long)]
    test: bool,
    #[command(flatten)]
    device: DeviceOptions,
}

/// Test one device in this process (used by Firebox itself).
#[derive(clap::Args)]
pub struct TestArgs {
    #[command(flatten)]
    device: DeviceOptions,
}

/// A device and its test result.
struct DeviceRow {
    adapter: AdapterReport,
    chosen: bool,
    test: Option<Result<TestReport, String>>,
}

/// Runs the command.
///
/// # Errors
/// If the named device is missing or does not work, or the output cannot be written.
pub fn run(args: Args, io: &mut Io) -> Result<(), CliError> {
    let choice: DeviceChoice = args.device.device.parse().map_err(failed)?;
    let options = device_options();
    let adapters = device::probe();
    // Tests run first, because the choice of the device depends on their results.
    let tests = adapters.iter().map(|adapter| args.test.then(|| device::test_in_child(adapter, &options)));
    let tests: Vec<_> = tests.collect();
    let opened = open_device(&choice)?;
    let chosen = opened.info.choice();
    let lines: Vec<DeviceRow> = adapters
        .into_iter()
        .zip(tests)
        .map(|(adapter, test)| DeviceRow { chosen: adapter.choice() == chosen, adapter, test })
        .collect();
    if args.json {
        for line in &lines {
            writeln!(io.out, "{}", line.json())?;
        }
    } else {
        let mut table = TextTable::new(&[
            "",
            "DEVICE",
            "NAME",
            "TYPE",
            "DRIVER",
            "LARGEST TENSOR",
            "SHADERS",
            "F16",
            "SUBGROUPS",
            "",
        ]);
        lines.iter().for_each(|line| table.row(line.cells()));
        write!(io.out, "{table}")?;
    }
    for note in &opened.notes {
        writeln!(io.err, "firebox: {note}")?;
    }
    Ok(())
}

/// Runs the hidden command `device-test`: tests one device in this process. If the driver crashes, the parent process
/// continues. Prints a report as one line of JSON.
///
/// # Errors
/// If the device is missing or a kernel fails. A wrong result is part of the report and not an error.
pub fn run_test(args: TestArgs, io: &mut Io) -> Result<(), CliError> {
    let choice = args.device.device.parse().map_err(failed)?;
    let report = device::run_self_test(&choice).map_err(failed)?;
    let json = serde_json::to_string(&report).map_err(|error| Error::Internal(error.to_string()))?;
    writeln!(io.out, "{json}")?;
    Ok(())
}

fn failed(error: ModelError) -> CliError {
    Error::from(error).into()
}

impl DeviceRow {
    fn cells(&self) -> Vec<String> {
        let AdapterReport { name, kind, driver, driver_info, limits, shaders, f16, subgroups, .. } = &self.adapter;
        vec![
            if self.chosen { "*" } else { "" }.to_owned(),
            self.adapter.choice(),
            name.clone(),
            kind.as_str().to_owned(),
            format!("{driver} {driver_info}").trim().to_owned(),
            limits.map_or("memory".to_owned(), |limits| mebibytes(limits.binding_bytes)),
            shaders.map_or("none", ShaderLanguage::as_str).to_owned(),
            if *f16 { "yes" } else { "no" }.to_owned(),
            match subgroups {
                Some((least, most)) if least == most => least.to_string(),
                Some((least, most)) => format!("{least}-{most}"),
                None => "no".to_owned(),
            },
            self.remark(),
        ]
    }

    /// The test result, or why the device is used or not.
    fn remark(&self) -> String {
        match &self.test {
            Some(Ok(report)) => {
                format!("works: {:.1} GFLOP/s, error {:.0e}", report.gflops, report.max_difference)
            }
            Some(Err(fault)) => fault.clone(),
            None if self.chosen => "chosen".to_owned(),
            None if self.adapter.is_cpu() => "always available".to_owned(),
            None if self.adapter.kind == AdapterKind::Software => {
                "software emulation, slower than the CPU; used with --device".to_owned()
            }
            None => "used with --device".to_owned(),
        }
    }

    fn json(&self) -> serde_json::Value {
        let AdapterReport { api, name, kind, driver, driver_info, limits, shaders, f16, subgroups, .. } = &self.adapter;
        let mut value = serde_json::json!({
            "device": self.adapter.choice(), "chosen": self.chosen, "api": api, "name": name, "type": kind.as_str(),
            "driver": driver, "driver_info": driver_info, "shaders": shaders.map(ShaderLanguage::as_str), "f16": f16,
            "subgroups": subgroups.map(|(least, most)| [least, most]),
            "buffer_bytes_max": limits.map(|limits| limits.buffer_bytes),
            "binding_bytes_max": limits.map(|limits| limits.binding_bytes),
            "workgroup_bytes_max": limits.map(|limits| limits.workgroup_bytes),
            "invocations_max": limits.map(|limits| limits.invocations),
        });
        value["test"] = match &self.test {
            None => serde_json::Value::Null,
            Some(Ok(report)) => serde_json::json!({
                "ok": true, "max_difference": report.max_difference, "seconds": report.seconds, "gflops": report.gflops,
            }),
            Some(Err(fault)) => serde_json::json!({ "ok": false, "fault": fault }),
        };
        value
    }
}

fn mebibytes(bytes: u64) -> String {
    const MIB: u64 = 1 << 20;
    // Some drivers report all ones for "no limit".
    if bytes > 1 << 50 { "no limit".to_owned() } else { format!("{} MiB", bytes / MIB) }
}
