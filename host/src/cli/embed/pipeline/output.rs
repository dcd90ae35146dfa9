//! The output: Parquet or JSON lines.

use std::io::Write;
use std::sync::Arc;

use arrow_array::{ArrayRef, FixedSizeListArray, Float32Array, Float64Array, RecordBatch, StringArray, UInt32Array};
use arrow_schema::{ArrowError, DataType, Field, FieldRef, Schema, SchemaRef};
use firebox_contract::{Encoding, limits};
use parquet::arrow::ArrowWriter;
use parquet::basic::Compression;
use parquet::file::properties::{EnabledStatistics, WriterProperties};
use parquet::schema::types::ColumnPath;
use sha2::{Digest, Sha256};

use super::EmbedError;
use super::input::InputText;

/// The result for one text.
#[derive(Debug, Clone, PartialEq)]
pub struct EmbeddedRow {
    /// The vector and the number of tokens.
    pub encoding: Encoding,
    /// Its share of the time of its batch, in milliseconds.
    pub milliseconds: f64,
}

/// Writes rows in order. The columns are `text`, `text_hash` (SHA-256 of the UTF-8 bytes, hexadecimal), `embedding`,
/// `sequence_length` (tokens) and `processing_time_ms`.
pub trait EmbeddingSink {
    /// Writes one row for each text.
    ///
    /// # Errors
    /// The error of writing the file.
    fn write(&mut self, texts: &[InputText], rows: &[EmbeddedRow]) -> Result<(), EmbedError>;

    /// Writes the buffered rows. Must be the last call.
    ///
    /// # Errors
    /// The error of writing the file.
    fn finish(&mut self) -> Result<(), EmbedError>;
}

/// The output formats. The file's extension selects one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OutputFormat {
    /// `.parquet`
    Parquet,
    /// `.jsonl`
    JsonLines,
}

impl OutputFormat {
    /// The format of the file at `path`; `None` for an unknown extension.
    #[must_use]
    pub fn of(path: &std::path::Path) -> Option<Self> {
        match path.extension()?.to_str()? {
            "parquet" => Some(Self::Parquet),
            "jsonl" => Some(Self::JsonLines),
            _ => None,
        }
    }

    /// A sink for vectors of `dimensions` numbers that writes to `file`.
    ///
    /// # Errors
    /// The error of writing the start of the file.
    pub fn sink<W: Write + Send + 'static>(
        self,
        file: W,
        dimensions: usize,
    ) -> Result<Box<dyn EmbeddingSink>, EmbedError> {
        Ok(match self {
            Self::Parquet => Box::new(ParquetSink::new(file, dimensions)?),
            Self::JsonLines => Box::new(JsonLinesSink { file }),
        })
    }
}

struct ParquetSink<W: Write + Send> {
    /// `None` when the file is finished.
    writer: Option<ArrowWriter<W>>,
    schema: SchemaRef,
    item: FieldRef,
    dimensions: i32,
}

impl<W: Write + Send> ParquetSink<W> {
    fn new(file: W, dimensions: usize) -> Result<Self, EmbedError> {
        let size = i32::try_from(dimensions).map_err(failed)?;
        let item = Arc::new(Field::new("item", DataType::Float32, false));
        let schema = Arc::new(Schema::new(vec![
            Field::new("text", DataType::Utf8, false),
            Field::new("text_hash", DataType::Utf8, false),
            Field::new("embedding", DataType::FixedSizeList(Arc::clone(&item), size), false),
            Field::new("sequence_length", DataType::UInt32, false),
            Field::new("processing_time_ms", DataType::Float64, false),
        ]));
        // Vectors do not repeat, and their ranges are meaningless: no dictionaries and statistics.
        let vectors = ColumnPath::new(vec!["embedding".to_owned(), "list".to_owned(), "item".to_owned()]);
        let properties = WriterProperties::builder()
            .set_compression(Compression::SNAPPY)
            .set_max_row_group_bytes(Some(limits::EMBED_ROW_GROUP_BYTES))
            .set_column_dictionary_enabled(vectors.clone(), false)
            .set_column_statistics_enabled(vectors, EnabledStatistics::None)
            .build();
        let writer = ArrowWriter::try_new(file, Arc::clone(&schema), Some(properties)).map_err(failed)?;
        Ok(Self { writer: Some(writer), schema, item, dimensions: size })
    }

    fn batch(&self, texts: &[InputText], rows: &[EmbeddedRow]) -> Result<RecordBatch, ArrowError> {
        let values: Float32Array = rows.iter().flat_map(|row| row.encoding.embedding.iter().copied()).collect();
        let vectors = FixedSizeListArray::try_new(Arc::clone(&self.item), self.dimensions, Arc::new(values), None)?;
        let tokens = rows.iter().map(|row| u32::try_from(row.encoding.tokens).unwrap_or(u32::MAX));
        let columns: Vec<ArrayRef> = vec![
            Arc::new(StringArray::from_iter_values(texts.iter().map(|text| &text.text))),
            Arc::new(StringArray::from_iter_values(texts.iter().map(|text| hash(&text.text)))),
            Arc::new(vectors),
            Arc::new(UInt32Array::from_iter_values(tokens)),
            Arc::new(Float64Array::from_iter_values(rows.iter().map(|row| row.milliseconds))),
        ];
        RecordBatch::try_new(Arc::clone(&self.schema), columns)
    }
}

impl<W: Write + Send> EmbeddingSink for ParquetSink<W> {
    fn write(&mut self, texts: &[InputText], rows: &[EmbeddedRow]) -> Result<(), EmbedError> {
        let batch = self.batch(texts, rows).map_err(failed)?;
        let writer = self.writer.as_mut().ok_or_else(|| failed("the file is finished"))?;
        writer.write(&batch).map_err(failed)
    }

    fn finish(&mut self) -> Result<(), EmbedError> {
        match self.writer.take() {
            Some(writer) => writer.into_inner().map_err(failed)?.flush().map_err(failed),
            None => Ok(()),
        }
    }
}

struct JsonLinesSink<W: Write> {
    file: W,
}

#[derive(serde::Serialize)]
struct JsonRow<'a> {
    text: &'a str,
    text_hash: String,
    embedding: &'a [f32],
    sequence_length: usize,
    processing_time_ms: f64,
}

impl<W: Write> EmbeddingSink for JsonLinesSink<W> {
    fn write(&mut self, texts: &[InputText], rows: &[EmbeddedRow]) -> Result<(), EmbedError> {
        for (text, row) in texts.iter().zip(rows) {
            let line = JsonRow {
                text: &text.text,
                text_hash: hash(&text.text),
                embedding: &row.encoding.embedding,
                sequence_length: row.encoding.tokens,
                processing_time_ms: row.milliseconds,
            };
            serde_json::to_writer(&mut self.file, &line).map_err(failed)?;
            self.file.write_all(b"\n").map_err(failed)?;
        }
        Ok(())
    }

    fn finish(&mut self) -> Result<(), EmbedError> {
        self.file.flush().map_err(failed)
    }
}

fn failed(error: impl std::fmt::Display) -> EmbedError {
    EmbedError::Write(error.to_string())
}

fn hash(text: &str) -> String {
    use std::fmt::Write as _;
    let mut hex = String::with_capacity(64);
    for byte in Sha256::digest(text.as_bytes()) {
        // Writing to a string cannot fail.
        let _infallible = write!(hex, "{byte:02x}");
    }
    hex
}
