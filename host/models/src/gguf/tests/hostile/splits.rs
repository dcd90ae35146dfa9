//! Models in several files that are not there, or that name each other in circles.

use super::*;

fn part(number: u32, count: u32, file: File) -> File {
    file.number("split.count", count).number("split.no", number)
}

/// Writes `files` as parts of one model, and opens the first.
fn opened(files: &[File]) -> Result<Checkpoint, ModelError> {
    let folder = Folder::new();
    let name = |index: usize| format!("m-{:05}-of-{:05}.gguf", index + 1, files.len());
    let paths: Vec<PathBuf> =
        files.iter().enumerate().map(|(index, file)| folder.write(&name(index), &file.bytes())).collect();
    Checkpoint::open(&paths[0])
}

fn halves() -> [File; 2] {
    let mut first = llama();
    let second = File { keys: first.keys.clone(), tensors: first.tensors.split_off(5) };
    [first, second]
}

#[test]
fn counts_of_parts_that_cannot_be_are_refused() {
    let folder = Folder::new();
    for count in [2, 1_000_000_000, u32::MAX] {
        let path = folder.write("model.gguf", &part(0, count, llama()).bytes());
        let error = Checkpoint::open(&path).expect_err("there are no parts").to_string();
        assert!(error.contains("split.count"), "{error}");
    }
    let path = folder.write("m-00001-of-00003.gguf", &part(0, 2, llama()).bytes());
    let error = Checkpoint::open(&path).expect_err("the name says three").to_string();
    assert!(error.contains("split.count") && error.contains("00002"), "{error}");
    let path = folder.write("m-00001-of-00001.gguf", &part(0, 0, llama()).bytes());
    Checkpoint::open(&path).expect("no part but itself");
}

#[test]
fn parts_in_a_circle_are_refused() {
    let [first, second] = halves();
    let same = [part(0, 2, first), part(0, 2, second)];
    let error = opened(&same).expect_err("both are the first").to_string();
    assert!(error.contains("split.no"), "{error}");
    let [first, second] = halves();
    let swapped = [part(1, 2, first), part(0, 2, second)];
    let error = opened(&swapped).expect_err("they are in the wrong order").to_string();
    assert!(error.contains("split.no"), "{error}");
    #[cfg(unix)]
    {
        let folder = Folder::new();
        let path = folder.write("m-00001-of-00002.gguf", &part(0, 2, llama()).bytes());
        std::os::unix::fs::symlink(&path, folder.0.path().join("m-00002-of-00002.gguf")).expect("a link");
        let error = Checkpoint::open(&path).expect_err("the second is the first").to_string();
        assert!(error.contains("split.no"), "{error}");
        std::fs::remove_file(folder.0.path().join("m-00002-of-00002.gguf")).expect("removed");
        std::os::unix::fs::symlink("m-00002-of-00002.gguf", folder.0.path().join("m-00002-of-00002.gguf"))
            .expect("a link");
        let error = Checkpoint::open(&path).expect_err("a link to itself").to_string();
        assert!(error.contains("m-00002-of-00002.gguf"), "{error}");
    }
}

#[test]
fn parts_of_other_counts_and_parts_that_repeat_a_tensor_are_refused() {
    let [first, second] = halves();
    let error = opened(&[part(0, 2, first), part(1, 3, second)]).expect_err("two counts").to_string();
    assert!(error.contains("split.count"), "{error}");
    let [first, mut second] = halves();
    second.tensors.push(first.tensors[0].clone());
    let error = opened(&[part(0, 2, first), part(1, 2, second)]).expect_err("a tensor twice").to_string();
    assert!(error.contains("token_embd.weight") && error.contains("two of the files"), "{error}");
    let [first, second] = halves();
    let first = part(0, 2, first).key("split.tensors.count", 5, 99_i32.to_le_bytes());
    let error = opened(&[first, part(1, 2, second)]).expect_err("tensors are missing").to_string();
    assert!(error.contains("split.tensors.count") && error.contains("99"), "{error}");
}
