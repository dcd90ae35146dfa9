//! GGUF files as llama.cpp's conversion writes them (`tests/parity/make_gguf_models.py`) have the logits that transformers
//! has for the folders they are made of.

use firebox_contract::SequenceId;
use firebox_models::{Checkpoint, load_decoder};

use crate::common::{Golden, argmax, devices, exact, logits_of, max_difference, parity_folder};

const SEQUENCE: SequenceId = SequenceId(1);

#[test]
fn every_architecture_of_gguf_has_the_logits_of_transformers() {
    let entries = std::fs::read_dir(parity_folder().join("gguf")).expect("the files are there");
    let paths = entries.map(|entry| entry.expect("the folder can be read").path());
    let mut paths: Vec<_> = paths.filter(|path| path.extension().is_some_and(|end| end == "gguf")).collect();
    paths.sort();
    assert!(paths.len() >= 10, "{}", paths.len());
    for device in devices() {
        for path in &paths {
            let name = path.file_stem().expect("a name").to_string_lossy();
            let golden = Golden::read(&name);
            let checkpoint = Checkpoint::open(path).unwrap_or_else(|error| panic!("{name}: {error}"));
            let loaded = load_decoder(&checkpoint, &device.device, exact());
            let mut model = loaded.unwrap_or_else(|error| panic!("{name}: {error}"));
            assert_eq!(checkpoint.warnings().list(), Vec::<String>::new(), "{name}");
            let mut row = logits_of(&mut *model, SEQUENCE, &golden.prompt);
            let mut worst = max_difference(&row, &golden.logits[0]);
            for (token, expected) in golden.answer.iter().zip(&golden.logits[1..]) {
                assert_eq!(argmax(&row), *token, "{name} on {}", device.name);
                row = logits_of(&mut *model, SEQUENCE, &[*token]);
                worst = worst.max(max_difference(&row, expected));
            }
            let worst = worst / golden.scale();
            assert!(worst <= device.tolerance, "{name} on {}: {worst:e} of the logits' scale", device.name);
        }
    }
}
