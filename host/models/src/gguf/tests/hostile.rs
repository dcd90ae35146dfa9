//! Files that somebody made to do harm. Each is refused with a reason, at once, and without memory that its own size does not
//! justify.

mod splits;
mod tensors;
mod tokens;

use std::io::{Seek as _, SeekFrom, Write as _};
use std::time::{Duration, Instant};

use super::*;

/// Time in which any small file must be refused, on a busy machine.
const REFUSAL_TIME_MAX: Duration = Duration::from_secs(5);

/// The reason why a file is refused, which must come soon.
fn soon_refused(bytes: &[u8]) -> String {
    let begun = Instant::now();
    let reason = refusal(bytes);
    assert!(begun.elapsed() < REFUSAL_TIME_MAX, "{reason}: after {:?}", begun.elapsed());
    reason
}

fn list(kind: u32, count: u64, elements: &[u8]) -> Vec<u8> {
    [&kind.to_le_bytes()[..], &count.to_le_bytes(), elements].concat()
}

/// The first bytes of a file and nothing but zeros after them, which a disk does not store.
fn sparse(head: &[u8], length: u64) -> (Folder, PathBuf) {
    let folder = Folder::new();
    let path = folder.write("model.gguf", head);
    let mut file = std::fs::OpenOptions::new().write(true).open(&path).expect("writable");
    file.set_len(length).expect("a file with a hole");
    file.seek(SeekFrom::Start(length - 1)).and_then(|_| file.write_all(&[0])).expect("writable");
    (folder, path)
}

/// A file of one key, whose value begins with `value`.
fn one_key(key: &str, kind: u32, value: &[u8]) -> Vec<u8> {
    let counts = [1_u64.to_le_bytes(), 1_u64.to_le_bytes()].concat();
    [b"GGUF".as_slice(), &3_u32.to_le_bytes(), &counts, &text(key), &kind.to_le_bytes(), value].concat()
}

#[test]
fn a_file_that_is_cut_anywhere_is_refused() {
    let good = llama().bytes();
    let folder = Folder::new();
    let path = folder.write("model.gguf", &good);
    let file = std::fs::OpenOptions::new().write(true).open(&path).expect("writable");
    let tables = good.len() - llama().tensors.iter().map(|tensor| tensor.3.len()).sum::<usize>();
    let mut cuts: Vec<usize> = (0..tables).rev().collect();
    cuts.splice(0..0, (tables..good.len()).rev().step_by(997));
    for cut in cuts {
        file.set_len(cut as u64).expect("cut");
        let error = Checkpoint::open(&path).err().unwrap_or_else(|| panic!("{cut} of {} bytes are taken", good.len()));
        assert!(error.to_string().contains("model.gguf"), "{cut}: {error}");
    }
}

#[test]
fn a_file_with_any_one_byte_changed_is_refused_or_read() {
    let good = llama().bytes();
    let (folder, mut refused) = (Folder::new(), 0);
    for at in 0..2_048.min(good.len()) {
        for flip in [1, 0x80, 0xFF] {
            let mut bytes = good.clone();
            bytes[at] ^= flip;
            // Any outcome but a panic is fine.
            refused += usize::from(Checkpoint::open(&folder.write("model.gguf", &bytes)).is_err());
        }
    }
    assert!(refused > 100, "{refused} files are refused");
}

#[test]
fn counts_are_not_believed() {
    let good = llama().bytes();
    for (at, what) in [(8, "tensors"), (16, "metadata keys")] {
        for count in [1 << 20, 1_000_000_000, 1 << 40, 1 << 63, u64::MAX] {
            let mut bytes = good.clone();
            bytes[at..at + 8].copy_from_slice(&count.to_le_bytes());
            let error = soon_refused(&bytes);
            assert!(error.contains(what) && error.contains(&count.to_string()), "{error}");
        }
    }
    for count in [1_000_000_000, 1 << 40, u64::MAX] {
        for kind in [0, 4, 8, 9, 12] {
            let error = soon_refused(&llama().key("tokenizer.ggml.tokens", 9, list(kind, count, &[])).bytes());
            assert!(error.contains("tokenizer.ggml.tokens") && error.contains("elements"), "{error}");
        }
        let error = soon_refused(&llama().key("general.name", 8, count.to_le_bytes()).bytes());
        assert!(error.contains("general.name") && error.contains("longer than the file"), "{error}");
    }
}

#[test]
fn a_vocabulary_of_a_thousand_million_tokens_that_are_there_is_refused_at_once() {
    // A hole of zeros is a list of empty texts, and of empty lists.
    for kind in [8, 9] {
        let head = one_key("tokenizer.ggml.tokens", 9, &list(kind, 1_000_000_000, &[]));
        let (_folder, path) = sparse(&head, 13_000_000_000);
        let begun = Instant::now();
        let error = Checkpoint::open(&path).expect_err("it is refused").to_string();
        assert!(error.contains("1000000000") && error.contains("at most"), "{error}");
        assert!(begun.elapsed() < REFUSAL_TIME_MAX, "after {:?}", begun.elapsed());
    }
}

#[test]
fn many_keys_of_one_name_and_lists_in_lists_are_refused() {
    let mut file = llama();
    file.keys.push(("general.name".to_owned(), 4, vec![0; 4]));
    let error = soon_refused(&file.bytes());
    assert!(error.contains("general.name") && error.contains("twice"), "{error}");
    let mut file = llama();
    (0..limits::GGUF_KEYS_MAX).for_each(|index| file.keys.push((format!("x{index}"), 0, vec![0])));
    let error = soon_refused(&file.bytes());
    assert!(error.contains("metadata keys") && error.contains("at most"), "{error}");
    let deep = (0..10_000).fold(list(4, 0, &[]), |inner, _| list(9, 1, &inner));
    let error = soon_refused(&llama().key("x", 9, deep).bytes());
    assert!(error.contains("nested"), "{error}");
    let long = "k".repeat(70_000);
    let error = soon_refused(&llama().number(&long, 1).bytes());
    assert!(error.contains("70000 bytes"), "{error}");
}

#[test]
fn files_of_other_machines_and_versions_are_called_by_what_they_are() {
    let mut bytes = llama().bytes();
    bytes[4..8].copy_from_slice(&3_u32.to_be_bytes());
    assert!(soon_refused(&bytes).contains("big-endian"));
    bytes[4..8].copy_from_slice(&9_u32.to_le_bytes());
    assert!(soon_refused(&bytes).contains("version 9"));
    let pointer = b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n";
    assert!(soon_refused(pointer).contains("git-lfs"));
}

#[test]
fn texts_that_are_not_utf_8_and_control_characters_do_not_reach_a_message() {
    let error =
        soon_refused(&llama().key("general.architecture", 8, [&4_u64.to_le_bytes()[..], &[0xFF; 4]].concat()).bytes());
    assert!(error.contains("not UTF-8"), "{error}");
    for key in ["\u{1b}]0;x\u{7}", "a\nb"] {
        let error = soon_refused(&llama().key(key, 13, Vec::new()).bytes());
        assert!(!error.chars().any(char::is_control), "{error:?}");
    }
    let error = soon_refused(&llama().text("general.architecture", "a\u{1b}[2Jb").bytes());
    assert!(error.contains("is not supported"), "{error:?}");
}
