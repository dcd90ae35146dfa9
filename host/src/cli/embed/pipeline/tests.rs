//! The whole run with a small fake encoder.

use std::fs::File;
use std::io::{Cursor, Read, Write};
use std::sync::{Arc, Mutex};

use arrow_array::cast::AsArray as _;
use arrow_array::types::{Float32Type, Float64Type, UInt32Type};
use firebox_contract::{EncoderProfile, Error, ModelInfo};
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;

use super::*;

/// Counts words; the vector is `[bytes, words]`.
struct FakeEncoder {
    info: ModelInfo,
    profile: EncoderProfile,
    batches: Vec<Vec<usize>>,
    fails_at: Option<&'static str>,
}

impl FakeEncoder {
    fn new() -> Self {
        let info = ModelInfo {
            name: "fake".to_owned(),
            architecture: "fake".to_owned(),
            parameters: 0,
            context_tokens: 8,
            vocabulary: 1,
            device: "cpu".to_owned(),
            dtype: "f32",
            weights_bytes: 0,
        };
        Self { info, profile: EncoderProfile::plain(2), batches: Vec::new(), fails_at: None }
    }
}

impl Encoder for FakeEncoder {
    fn info(&self) -> &ModelInfo {
        &self.info
    }

    fn profile(&self) -> &EncoderProfile {
        &self.profile
    }

    fn count_tokens(&self, text: &EncoderText<'_>) -> Result<usize, Error> {
        Ok(words(text))
    }

    fn encode(&mut self, texts: &[EncoderText<'_>]) -> Result<Vec<Encoding>, Error> {
        if texts.iter().any(|text| Some(text.text) == self.fails_at) {
            return Err(Error::Model("device lost".to_owned()));
        }
        let cut = |text: &EncoderText<'_>| words(text).min(text.max_tokens.unwrap_or(usize::MAX));
        self.batches.push(texts.iter().map(cut).collect());
        let bytes = |text: &EncoderText<'_>| (text.prompt.len() + text.text.len()) as f32;
        let encoding = |text| Encoding { embedding: vec![bytes(text), cut(text) as f32], tokens: cut(text) };
        Ok(texts.iter().map(encoding).collect())
    }
}

fn words(text: &EncoderText<'_>) -> usize {
    [text.prompt, text.text].concat().split_whitespace().count()
}

/// A file whose bytes can be read after the sink that owns it.
#[derive(Clone, Default)]
struct SharedFile(Arc<Mutex<Vec<u8>>>);

impl Write for SharedFile {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().expect("not poisoned").extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

impl SharedFile {
    fn bytes(&self) -> Vec<u8> {
        self.0.lock().expect("not poisoned").clone()
    }
}

const OPTIONS: EmbedOptions = EmbedOptions {
    batch: 2,
    max_tokens: None,
    prompt: String::new(),
    form: VectorForm { dimensions: 2, normalize: false },
    skip_bad_lines: false,
};

fn texts(input: impl Into<Vec<u8>>) -> InputTexts<'static> {
    InputTexts::new(Box::new(Cursor::new(input.into())), input::InputFormat::Lines)
}

fn field(input: &str) -> InputTexts<'_> {
    InputTexts::new(Box::new(input.as_bytes()), input::InputFormat::JsonLines { field: "t".to_owned() })
}

fn run(
    encoder: &mut FakeEncoder,
    texts: InputTexts<'_>,
    format: output::OutputFormat,
    options: &EmbedOptions,
) -> (Result<EmbedSummary, EmbedError>, Vec<u8>) {
    let file = SharedFile::default();
    let mut sink = format.sink(file.clone(), 2).expect("a sink");
    let mut control = RunControl { stop: &AtomicBool::new(false), progress: &mut |_| {} };
    let outcome = embed(encoder, texts, &mut *sink, options, &mut control);
    (outcome, file.bytes())
}

fn json_rows(bytes: &[u8]) -> Vec<serde_json::Value> {
    let text = std::str::from_utf8(bytes).expect("UTF-8");
    text.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect()
}

fn parquet(bytes: &[u8]) -> ParquetRecordBatchReaderBuilder<File> {
    let mut file = tempfile::tempfile().expect("temporary file");
    file.write_all(bytes).expect("writes");
    ParquetRecordBatchReaderBuilder::try_new(file).expect("Parquet")
}

#[test]
fn rows_are_in_the_order_of_the_input_although_batches_are_sorted_by_length() {
    let mut encoder = FakeEncoder::new();
    let input = texts("a b\na\na b c d\na b c\n");
    let (outcome, bytes) = run(&mut encoder, input, output::OutputFormat::JsonLines, &OPTIONS);
    let summary = outcome.expect("embeds");
    assert_eq!((summary.texts, summary.tokens, summary.bytes_read), (4, 10, 20));
    assert_eq!(encoder.batches, [[4, 3], [2, 1]]);
    let rows = json_rows(&bytes);
    let texts: Vec<_> = rows.iter().map(|row| row["text"].as_str().expect("text")).collect();
    assert_eq!(texts, ["a b", "a", "a b c d", "a b c"]);
    for row in rows {
        assert_eq!(row["embedding"][0], row["text"].as_str().expect("text").len() as f64);
        assert_eq!(row["sequence_length"], row["embedding"][1].as_f64().expect("words") as u64);
    }
}

#[test]
fn a_parquet_file_has_five_columns() {
    let (outcome, bytes) = run(&mut FakeEncoder::new(), texts("abc\nd e"), output::OutputFormat::Parquet, &OPTIONS);
    outcome.expect("embeds");
    let reader = parquet(&bytes).build();
    let batch = reader.expect("reader").next().expect("a batch").expect("rows");
    let names: Vec<_> = batch.schema().fields().iter().map(|field| field.name().clone()).collect();
    assert_eq!(names, ["text", "text_hash", "embedding", "sequence_length", "processing_time_ms"]);
    let text = batch.column(0).as_string::<i32>();
    assert_eq!((text.value(0), text.value(1)), ("abc", "d e"));
    let hash = batch.column(1).as_string::<i32>().value(0);
    assert_eq!(hash, "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad", "FIPS 180-2, example B.1");
    let vectors = batch.column(2).as_fixed_size_list();
    assert_eq!(vectors.value_length(), 2);
    assert_eq!(vectors.values().as_primitive::<Float32Type>().values(), &[3.0, 1.0, 3.0, 2.0]);
    assert_eq!(batch.column(3).as_primitive::<UInt32Type>().values(), &[1, 2]);
    assert!(batch.column(4).as_primitive::<Float64Type>().values().iter().all(|&ms| ms >= 0.0));
}

#[test]
fn an_empty_input_makes_a_file_with_columns_and_no_rows() {
    let (outcome, bytes) = run(&mut FakeEncoder::new(), texts(""), output::OutputFormat::Parquet, &OPTIONS);
    assert_eq!(outcome.expect("embeds").texts, 0);
    let builder = parquet(&bytes);
    assert_eq!(builder.schema().fields().len(), 5);
    assert_eq!(builder.metadata().file_metadata().num_rows(), 0);
}

#[test]
fn max_length_and_json_fields_reach_the_encoder() {
    let options = EmbedOptions { max_tokens: Some(2), ..OPTIONS };
    let input = field("{\"t\":\"a b c\",\"x\":1}\r\n{\"t\":\"\\u00e9\"}");
    let (outcome, bytes) = run(&mut FakeEncoder::new(), input, output::OutputFormat::JsonLines, &options);
    assert_eq!(outcome.expect("embeds").tokens, 3);
    let rows = json_rows(&bytes);
    assert_eq!((rows[0]["sequence_length"].as_u64(), rows[1]["text"].as_str()), (Some(2), Some("é")));
}

#[test]
fn prompts_reach_the_encoder_and_vectors_get_their_form() {
    let form = VectorForm { dimensions: 1, normalize: true };
    let options = EmbedOptions { prompt: "query: the ".to_owned(), form, ..OPTIONS };
    let mut encoder = FakeEncoder::new();
    let (outcome, bytes) = run(&mut encoder, texts("a\na b\n"), output::OutputFormat::JsonLines, &options);
    assert_eq!((outcome.expect("embeds").tokens, encoder.batches), (7, vec![vec![4, 3]]));
    let rows = json_rows(&bytes);
    assert_eq!((&rows[0]["embedding"], &rows[0]["text"]), (&serde_json::json!([1.0]), &serde_json::json!("a")));
}

#[test]
fn the_error_names_an_invalid_line_and_skipped_lines_are_counted() {
    let long = vec![b'x'; limits::EMBED_LINE_BYTES_MAX + 1];
    let longer = vec![b'x'; limits::EMBED_LINE_BYTES_MAX + 100];
    let cases: [(InputTexts<'_>, &str); 8] = [
        (texts(b"ok\nab\xff\nok\n".to_vec()), "line 2 is not UTF-8 (at its byte 3)"),
        (texts("ok\n\nok"), "line 2 is empty"),
        (texts([b"ok\n", &*long, b"\nok"].concat()), "line 2 is longer than 8388608 bytes"),
        (texts([b"ok\n", &*longer, b"\nok"].concat()), "line 2 is longer than 8388608 bytes"),
        (field("{\"t\":\"ok\"}\n{\n{\"t\":\"ok\"}"), "line 2 is not JSON"),
        (field("{\"t\":\"ok\"}\n[1]\n{\"t\":\"ok\"}"), "line 2 is not a JSON object"),
        (field("{\"t\":\"ok\"}\n{\"u\":1}\n{\"t\":\"ok\"}"), "line 2 has no field \"t\""),
        (field("{\"t\":\"ok\"}\n{\"t\":1}\n{\"t\":\"ok\"}"), "line 2 has a field \"t\" that is not a string"),
    ];
    for (mut input, expected) in cases {
        input.next_text().expect("reads").expect("a line").expect("a text");
        let bad = input.next_text().expect("reads").expect("a line").expect_err(expected);
        assert!(bad.to_string().starts_with(expected), "{bad} should start with {expected}");
        assert_eq!(input.next_text().expect("reads").expect("a line").expect("goes on").line, 3);
        assert!(input.next_text().expect("reads").is_none());
    }
    let input = "ok\n\nok\n \n";
    let (outcome, _) = run(&mut FakeEncoder::new(), texts(input), output::OutputFormat::JsonLines, &OPTIONS);
    let error = outcome.expect_err("stops");
    assert!(matches!(error.kind(), ErrorKind::Usage) && error.to_string().starts_with("line 2 is empty"), "{error}");
    let skip = EmbedOptions { skip_bad_lines: true, ..OPTIONS };
    let (outcome, _) = run(&mut FakeEncoder::new(), texts(input), output::OutputFormat::JsonLines, &skip);
    let summary = outcome.expect("goes on");
    assert_eq!((summary.texts, summary.skipped), (2, 2));
}

#[test]
fn the_longest_line_and_a_byte_order_mark_are_accepted() {
    let long = [&vec![b'x'; limits::EMBED_LINE_BYTES_MAX], &b"\r\n"[..]].concat();
    let text = texts(long).next_text().expect("reads").expect("a line").expect("a text");
    assert_eq!(text.text.len(), limits::EMBED_LINE_BYTES_MAX);
    let text = texts("\u{feff}a").next_text().expect("reads").expect("a line").expect("a text");
    assert_eq!(text.text, "a");
}

#[test]
fn a_failing_device_and_an_interrupt_end_the_run() {
    let mut encoder = FakeEncoder { fails_at: Some("b"), ..FakeEncoder::new() };
    let (outcome, _) = run(&mut encoder, texts("a\nb\nc"), output::OutputFormat::JsonLines, &OPTIONS);
    assert!(matches!(outcome.expect_err("fails").kind(), ErrorKind::Model));
    let stop = AtomicBool::new(false);
    let mut batches = 0;
    let mut control = RunControl {
        stop: &stop,
        progress: &mut |_| {
            batches += 1;
            stop.store(true, Ordering::Relaxed);
        },
    };
    let mut sink = output::OutputFormat::JsonLines.sink(SharedFile::default(), 2).expect("a sink");
    let outcome = embed(&mut FakeEncoder::new(), texts("a\nb\nc\nd\ne"), &mut *sink, &OPTIONS, &mut control);
    assert!(matches!(outcome, Err(EmbedError::Interrupted)));
    assert_eq!(batches, 1);
}

#[test]
fn an_encoder_that_loses_a_row_is_an_error() {
    let encodings = [Encoding { embedding: vec![0.0; 2], tokens: 1 }];
    assert!(check(&encodings, 1, 2).is_ok());
    assert!(check(&encodings, 2, 2).is_err());
    assert!(check(&encodings, 1, 3).is_err());
}

/// A million lines need no more memory than a few thousand.
#[test]
fn the_input_is_read_in_windows() {
    struct Endless<'a>(&'a Mutex<u64>);
    impl Read for Endless<'_> {
        fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
            buffer.fill(b'\n');
            buffer.iter_mut().step_by(2).for_each(|byte| *byte = b'a');
            let even = buffer.len() & !1;
            *self.0.lock().expect("not poisoned") += even as u64;
            Ok(even)
        }
    }
    let read = Mutex::new(0);
    let stop = AtomicBool::new(false);
    let mut control = RunControl { stop: &stop, progress: &mut |_| stop.store(true, Ordering::Relaxed) };
    let endless = std::io::BufReader::with_capacity(1 << 10, Endless(&read));
    let mut sink = output::OutputFormat::JsonLines.sink(SharedFile::default(), 2).expect("a sink");
    let endless = InputTexts::new(Box::new(endless), input::InputFormat::Lines);
    let outcome = embed(&mut FakeEncoder::new(), endless, &mut *sink, &OPTIONS, &mut control);
    assert!(matches!(outcome, Err(EmbedError::Interrupted)));
    let most = 2 * limits::EMBED_WINDOW_TEXTS as u64 + (1 << 10);
    assert!(*read.lock().expect("not poisoned") <= most);
}

/// Numbers that do not repeat, so that they cannot be compressed.
fn noise(seed: &mut u64) -> f32 {
    *seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
    (*seed >> 40) as f32
}

/// At most one row group is in memory, and written bytes never change.
#[test]
fn f17_row_groups_are_written_as_soon_as_they_are_full() {
    const DIMENSIONS: usize = 4_096;
    const ROWS: usize = 512;
    let file = SharedFile::default();
    let mut sink = output::OutputFormat::Parquet.sink(file.clone(), DIMENSIONS).expect("a sink");
    let (mut seed, mut given, mut written, mut growths) = (1, 0, Vec::new(), 0);
    for window in 0..24 {
        let texts: Vec<InputText> =
            (0..ROWS).map(|row| InputText { line: row as u64, text: format!("{window} {row}") }).collect();
        let embedding = |seed: &mut u64| (0..DIMENSIONS).map(|_| noise(seed)).collect();
        let rows: Vec<EmbeddedRow> = (0..ROWS)
            .map(|_| EmbeddedRow {
                encoding: Encoding { embedding: embedding(&mut seed), tokens: 2 },
                milliseconds: 1.0,
            })
            .collect();
        sink.write(&texts, &rows).expect("writes");
        given += ROWS * DIMENSIONS * size_of::<f32>();
        let now = file.bytes();
        assert!(now.starts_with(&written), "what is written stays as it is");
        let buffered = given - now.len();
        assert!(
            buffered <= limits::EMBED_ROW_GROUP_BYTES + given / 24,
            "window {window}: {buffered} bytes are buffered"
        );
        growths += usize::from(now.len() > written.len());
        written = now;
    }
    sink.finish().expect("finishes");
    let bytes = file.bytes();
    assert!(bytes.starts_with(&written) && bytes.len() < given + given / 10, "each byte was written once");
    let groups = parquet(&bytes).metadata().num_row_groups();
    assert!(groups >= 3 && growths >= groups - 1, "{groups} row groups, {growths} growths");
}
