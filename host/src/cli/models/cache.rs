//! `firebox models cache`.

use std::io::Write as _;

use clap::Args as ClapArgs;
use firebox_contract::{Error, limits};
use firebox_hub::Shrunk;
use serde_json::json;

use crate::cli::options::hub::HubOptions;
use crate::cli::{Io, output};
use crate::error::CliError;
use crate::host::download::size_text;
use crate::system::units;

/// Show the cache's folder and size, and keep it below a size.
#[derive(ClapArgs, Debug)]
pub(super) struct Args {
    /// Remove the models that were not used for longest until the cache has at most this size, such as 50GB or 20GiB.
    /// Models in use stay
    #[arg(long, value_name = "SIZE", value_parser = parse_disk_size)]
    max: Option<u64>,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

/// Runs the command.
///
/// # Errors
/// `CliError` if the cache cannot be read or changed, or stays larger because models are in use.
pub(super) fn run(args: Args, io: &mut Io) -> Result<(), CliError> {
    let hub = HubOptions::default().hub()?;
    let cache = hub.cache();
    let shrunk = args.max.map(|max| cache.shrink(max)).transpose().map_err(Error::from)?;
    if let Some(shrunk) = &shrunk {
        report(shrunk, io)?;
    }
    let models = cache.models().map_err(Error::from)?.len();
    let bytes = cache.bytes().map_err(Error::from)?;
    let (root, free) = (cache.root().display().to_string(), cache.free_bytes());
    if args.json {
        let removed: Vec<String> = shrunk.iter().flat_map(|shrunk| &shrunk.removed).map(ToString::to_string).collect();
        let line = json!({"path": root, "models": models, "bytes": bytes, "free_bytes": free, "removed": removed});
        writeln!(io.out, "{line}")?;
    } else {
        writeln!(io.out, "path    {}", output::line(&root, usize::MAX))?;
        writeln!(io.out, "models  {models}")?;
        writeln!(io.out, "size    {}", size_text(bytes))?;
        if let Some(free) = free {
            writeln!(io.out, "free    {}", size_text(free))?;
        }
    }
    match args.max {
        Some(max) if bytes > max => {
            let (bytes, max) = (size_text(bytes), size_text(max));
            let message = format!(
                "the cache has {bytes} and not {max}, because models are in use or downloads are not complete; end those first"
            );
            Err(Error::Unavailable(message).into())
        }
        _ => Ok(()),
    }
}

/// Prints what was removed.
pub(super) fn report(shrunk: &Shrunk, io: &mut Io) -> Result<(), CliError> {
    for name in &shrunk.removed {
        writeln!(io.err, "firebox: removed {name}, which was not used for longest")?;
    }
    for name in &shrunk.in_use {
        writeln!(io.err, "firebox: {name} stays, because a process uses it")?;
    }
    Ok(())
}

/// Parses `50GB` or `500MB` (powers of 1000), or `20GiB` (powers of 1024), as disks and other tools write sizes.
pub(super) fn parse_disk_size(text: &str) -> Result<u64, String> {
    const DECIMAL: [(&str, u64); 4] =
        [("TB", 1_000_000_000_000), ("GB", 1_000_000_000), ("MB", 1_000_000), ("kB", 1_000)];
    let decimal = DECIMAL.iter().find_map(|(unit, scale)| Some((text.trim().strip_suffix(unit)?, scale)));
    let bytes = match decimal {
        None => units::parse_size(text.trim(), None)?,
        Some((number, scale)) => {
            let number: Option<u64> = number.trim().parse().ok();
            number
                .and_then(|number| number.checked_mul(*scale))
                .ok_or_else(|| format!("\"{text}\" is not a size; write 50GB"))?
        }
    };
    let max = limits::HUB_CACHE_BYTES_MAX;
    if bytes <= max { Ok(bytes) } else { Err(format!("\"{text}\" is larger than {}", units::size(max))) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_of_disks_are_parsed() {
        assert_eq!(parse_disk_size("50GB"), Ok(50_000_000_000));
        assert_eq!(parse_disk_size("20 GiB"), Ok(20 << 30));
        assert_eq!(parse_disk_size("0B"), Ok(0));
        for bad in ["", "GB", "50", "-1GB", "1.5GB", "50gb", "99999999999999TB", "9999999TB"] {
            assert!(parse_disk_size(bad).is_err(), "{bad}");
        }
    }
}
