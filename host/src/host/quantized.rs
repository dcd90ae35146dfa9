//! Models whose matrices are quantized when they are loaded, once.

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
    let mut lines = ProgressLines { name: checkpoint.name(), mixture: mixture.name, said: None };
    Ok(checkpoint.quantized(mixture, &cache, &mut |progress| lines.show(progress, say))?)
}

/// Time between two lines.
const LINE_PERIOD: Duration = Duration::from_secs(5);

/// Says from time to time how far quantizing is.
struct ProgressLines {
    name: String,
    mixture: &'static str,
    said: Option<Instant>,
}

impl ProgressLines {
    fn show(&mut self, progress: QuantizeProgress, say: &dyn Fn(&str)) {
        let (name, mixture, total) = (&self.name, self.mixture, size_text(progress.bytes_total));
        match self.said {
            None => say(&format!("quantizing \"{name}\" to {mixture}, {total}; the next load maps the file")),
            Some(said) if said.elapsed() < LINE_PERIOD => return,
            Some(_) => {
                let percent = progress.bytes * 100 / progress.bytes_total.max(1);
                say(&format!("quantizing \"{name}\" to {mixture}: {percent} % of {total}"));
            }
        }
        self.said = Some(Instant::now());
    }
}
