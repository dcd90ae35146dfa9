//! Models whose matrices are quantized or repacked when they are loaded, once.

use std::path::Path;
use std::time::{Duration, Instant};

use firebox_contract::{Error, limits};
use firebox_models::{Checkpoint, Mixture, QuantizeProgress, QuantizedCache};

use super::download::size_text;
use crate::system::directories;

/// Opens the model at `path`. With a type of weights, its matrices are quantized into the user's cache, or mapped from there;
/// `say` gets lines about how far that is.
///
/// # Errors
/// Those of the checkpoint; `Usage` where the user has no cache directory.
pub(crate) fn open(path: &Path, mixture: Option<&'static Mixture>, say: &dyn Fn(&str)) -> Result<Checkpoint, Error> {
    let checkpoint = Checkpoint::open(path)?;
    let Some(mixture) = mixture else { return Ok(checkpoint) };
    let folder = directories::cache_dir("quantized").ok_or_else(|| {
        Error::Usage(
            "quantized weights are kept in the cache directory, and there is none; set FIREBOX_CACHE".to_owned(),
        )
    })?;
    let cache = QuantizedCache { folder, bytes_max: limits::QUANTIZED_CACHE_BYTES_MAX };
    let doing = format!("quantizing \"{}\" to {}", checkpoint.name(), mixture.name);
    let mut lines = ProgressLines { doing, said: None };
    Ok(checkpoint.quantized(mixture, &cache, &mut |progress| lines.show(progress, say))?)
}

/// Repacks the quantized matrices of a model that runs on the CPU into the user's cache, or maps them from there. A cache that
/// cannot be used is no error: the model then computes with the matrices as they are. `say` gets lines.
pub(crate) fn repack(checkpoint: &mut Checkpoint, say: &dyn Fn(&str)) {
    let Some(folder) = directories::cache_dir("quantized") else { return };
    let cache = QuantizedCache { folder, bytes_max: limits::QUANTIZED_CACHE_BYTES_MAX };
    let doing = format!("repacking \"{}\" for this processor", checkpoint.name());
    let mut lines = ProgressLines { doing, said: None };
    if let Err(error) = checkpoint.repack(&cache, &mut |progress| lines.show(progress, say)) {
        say(&format!("the weights are used as they are, which is slower, since they cannot be repacked: {error}"));
    }
}

/// Time between two lines.
const LINE_PERIOD: Duration = Duration::from_secs(5);

/// Says from time to time how far it is.
struct ProgressLines {
    doing: String,
    said: Option<Instant>,
}

impl ProgressLines {
    fn show(&mut self, progress: QuantizeProgress, say: &dyn Fn(&str)) {
        let (doing, total) = (&self.doing, size_text(progress.bytes_total));
        match self.said {
            None => say(&format!("{doing}, {total}; the next load maps the file")),
            Some(said) if said.elapsed() < LINE_PERIOD => return,
            Some(_) => {
                let percent = progress.bytes * 100 / progress.bytes_total.max(1);
                say(&format!("{doing}: {percent} % of {total}"));
            }
        }
        self.said = Some(Instant::now());
    }
}
