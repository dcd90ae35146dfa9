//! Repacked matrices: made once, the same weights, and never trusted.

use firebox_contract::{SequenceId, Span};

use super::*;

/// The model as a GGUF file of this type.
fn gguf(folder: &Path, mixture: &str) -> PathBuf {
    let file = folder.join(format!("{mixture}.gguf"));
    quantize(folder, &file, mixture).expect("it is written");
    file
}

/// The repacked checkpoint, and how many bytes were repacked for it.
fn repacked(model: &Path, cache: &QuantizedCache) -> (Checkpoint, u64) {
    let (mut checkpoint, mut bytes) = (Checkpoint::open(model).expect("it is read"), 0);
    checkpoint.repack_from(cache, 0, &mut |progress| bytes = progress.bytes).expect("it is repacked");
    (checkpoint, bytes)
}

fn is_repacked(checkpoint: &Checkpoint, name: &str) -> bool {
    matches!(checkpoint.tensors.entries[name].dtype, Ok(StoredType::Repacked(_)))
}

fn logits(checkpoint: &Checkpoint, tokens: &[u32]) -> Vec<f32> {
    let options = crate::LoadOptions { threads: Some(1), ..Default::default() };
    let device = burn::tensor::Device::flex();
    let mut model = crate::load_decoder(checkpoint, &device, options).expect("it is loaded");
    let span = Span { sequence: SequenceId(1), tokens, wants_logits: true };
    model.forward(&[span]).remove(0).expect("no fault").expect("logits")
}

/// Whether this processor has kernels for repacked weights.
fn pays() -> bool {
    firebox_kernels::linear::repacking_pays(firebox_kernels::weights::blocks::named("Q4_0").expect("a type"), 8)
}

#[test]
fn repacked_models_have_the_same_weights_and_logits() {
    for model in ["llama", "qwen2"] {
        let folder = folder(model);
        let cache = cache(folder.path(), 1 << 30);
        for mixture in ["q4_0", "q4_1", "q8_0"] {
            let file = gguf(folder.path(), mixture);
            let own = Checkpoint::open(&file).expect("it is read");
            let (other, made) = repacked(&file, &cache);
            assert_eq!(made > 0, pays(), "{model} {mixture}");
            assert_eq!(names(&own), names(&other));
            assert_eq!((own.stored_bytes(), own.stored_types()), (other.stored_bytes(), other.stored_types()));
            for name in names(&own) {
                assert_eq!(values(&own, &name), values(&other, &name), "{model} {mixture}: {name}");
            }
            // Rows of q and k are stored in another order in a llama file.
            for part in ["self_attn.q_proj", "self_attn.k_proj", "mlp.down_proj"] {
                assert_eq!(is_repacked(&other, &format!("model.layers.1.{part}.weight")), pays(), "{part}");
            }
            for count in [1, 7, 40] {
                let tokens: Vec<u32> = (0..count).map(|at| at * 7 % 96).collect();
                assert_eq!(logits(&own, &tokens), logits(&other, &tokens), "{model} {mixture}: {count} tokens");
            }
            assert_eq!(repacked(&file, &cache).1, 0, "the second load maps the file");
        }
    }
}

#[test]
fn files_of_the_cache_that_are_damaged_or_of_another_model_are_made_again() {
    let folder = folder("llama");
    let cache = cache(folder.path(), 1 << 30);
    let file = gguf(folder.path(), "q4_0");
    let whole = repacked(&file, &cache).1;
    if !pays() {
        return assert_eq!(whole, 0);
    }
    let made = cache.folder.join(&cached(&cache)[0]);
    let good = std::fs::read(&made).expect("readable");
    let own = Checkpoint::open(&file).expect("it is read");
    for (what, bad) in damaged(&good) {
        std::fs::write(&made, bad).expect("writable");
        let (checkpoint, made_again) = repacked(&file, &cache);
        assert_eq!(made_again, whole, "{what}");
        assert!(names(&own).iter().all(|name| values(&own, name) == values(&checkpoint, name)), "{what}");
        assert!(std::fs::read(&made).expect("readable") == good, "{what}");
        assert_eq!(repacked(&file, &cache).1, 0, "{what}: it is whole again");
    }
    // The same file with another time of change.
    let changed = std::fs::OpenOptions::new().append(true).open(&file).expect("writable");
    changed.set_modified(SystemTime::now() - Duration::from_secs(60)).expect("set");
    assert_eq!(repacked(&file, &cache).1, whole);
    assert_eq!(cached(&cache).len(), 2);
}

/// What can be in the place of a file of the cache.
fn damaged(good: &[u8]) -> Vec<(&'static str, Vec<u8>)> {
    let at = |text: &[u8]| good.windows(text.len()).position(|part| part == text).expect("it is in the file");
    let changed = |at: usize, to: &dyn Fn(u8) -> u8| {
        let mut bad = good.to_vec();
        bad[at] = to(bad[at]);
        bad
    };
    let (made_from, checksums) = (at(b"repacked by 8 rows, layout 2"), at(b"firebox.checksums"));
    let mut not_a_number = good.to_vec();
    let last = good.len() - 8 * 18;
    not_a_number[last..last + 2].copy_from_slice(&half::f16::NAN.to_le_bytes());
    vec![
        ("nothing", Vec::new()),
        ("the magic bytes", b"GGUF".to_vec()),
        ("the first half", good[..good.len() / 2].to_vec()),
        ("all but a byte", good[..good.len() - 1].to_vec()),
        ("a file of another layout", changed(made_from + 27, &|_| b'0')),
        ("a file without checksums, as older versions wrote it", changed(checksums, &|_| b'x')),
        ("another checksum", changed(checksums + 40, &|digit| if digit == b'0' { b'1' } else { b'0' })),
        ("a flipped bit in the middle", changed(good.len() / 2, &|byte| byte ^ 1)),
        ("a flipped bit at the end", changed(good.len() - 1, &|byte| byte ^ 0x80)),
        ("a scale that is not a number", not_a_number),
    ]
}

#[test]
fn weights_that_were_quantized_at_load_are_made_again_after_a_flipped_bit() {
    let folder = folder("llama");
    let cache = cache(folder.path(), 1 << 30);
    let (own, made) = load(folder.path(), &cache, "q8_0").expect("quantized");
    let path = cache.folder.join(&cached(&cache)[0]);
    let mut bytes = std::fs::read(&path).expect("readable");
    let middle = bytes.len() / 2;
    bytes[middle] ^= 4;
    // The file that is mapped stays as it is.
    std::fs::remove_file(&path).expect("removed");
    std::fs::write(&path, bytes).expect("writable");
    let (again, made_again) = load(folder.path(), &cache, "q8_0").expect("quantized");
    assert_eq!(made, made_again);
    assert!(names(&own).iter().all(|name| values(&own, name) == values(&again, name)));
}

#[test]
fn two_loads_at_once_repack_once() {
    let folder = folder("qwen2");
    let cache = cache(folder.path(), 1 << 30);
    let file = gguf(folder.path(), "q8_0");
    let made: Vec<u64> = std::thread::scope(|scope| {
        let loads: Vec<_> = (0..2).map(|_| scope.spawn(|| repacked(&file, &cache).1)).collect();
        loads.into_iter().map(|load| load.join().expect("no panic")).collect()
    });
    assert_eq!(made.iter().filter(|bytes| **bytes > 0).count(), usize::from(pays()), "{made:?}");
}

#[test]
fn a_checkpoint_that_is_not_repacked_stays_as_it_was() {
    let folder = folder("llama");
    let small = QuantizedCache { bytes_max: 1_000, ..cache(folder.path(), 0) };
    let file = gguf(folder.path(), "q4_0");
    let own = Checkpoint::open(&file).expect("it is read");
    let mut checkpoint = Checkpoint::open(&file).expect("it is read");
    let failed = checkpoint.repack_from(&small, 0, &mut |_| {});
    assert_eq!(
        failed.map_err(|error| error.to_string().contains("the cache")),
        if pays() { Err(true) } else { Ok(()) }
    );
    // Too small to be worth a file, and in full precision.
    checkpoint.repack(&small, &mut |_| {}).expect("nothing is done");
    let name = "model.layers.0.mlp.up_proj.weight";
    assert!(!is_repacked(&checkpoint, name));
    assert_eq!(values(&own, name), values(&checkpoint, name));
    let (full, made) = repacked(folder.path(), &small);
    assert!(made == 0 && !is_repacked(&full, name));
}

#[test]
fn weights_that_were_quantized_at_load_are_repacked_once_too() {
    let folder = folder("llama");
    let cache = cache(folder.path(), 1 << 30);
    let made: Vec<u64> = (0..3)
        .map(|_| {
            let (mut checkpoint, _) = load(folder.path(), &cache, "q8_0").expect("quantized");
            let mut bytes = 0;
            checkpoint.repack_from(&cache, 0, &mut |progress| bytes = progress.bytes).expect("repacked");
            bytes
        })
        .collect();
    assert_eq!((made[0] > 0, made[1], made[2]), (pays(), 0, 0));
}
