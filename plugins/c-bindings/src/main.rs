//! Writes the generated files of all stages to `plugins/templates/c`.

use std::error::Error;

use firebox_c_bindings::{STAGES, files, folder};

fn main() -> Result<(), Box<dyn Error>> {
    for stage in STAGES {
        let folder = folder().join(stage);
        std::fs::create_dir_all(&folder)?;
        for (name, content) in files(stage)? {
            std::fs::write(folder.join(name), content)?;
        }
    }
    Ok(())
}
