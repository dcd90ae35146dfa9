//! Writes the generated files to `plugins/templates/c/bindings`.

use std::error::Error;

use firebox_c_bindings::{files, folder};

fn main() -> Result<(), Box<dyn Error>> {
    std::fs::create_dir_all(folder())?;
    for (name, content) in files()? {
        std::fs::write(folder().join(name), content)?;
    }
    Ok(())
}
