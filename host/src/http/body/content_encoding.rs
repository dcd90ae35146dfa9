//! Compressed bodies. They are decoded in pieces, so that each piece is counted against the limits before it is stored.

use std::io::{self, Write};

use axum::http::HeaderMap;
use axum::http::header::CONTENT_ENCODING;
use firebox_contract::limits;
use flate2::write::MultiGzDecoder;
use flate2::{Decompress, FlushDecompress, Status};

use crate::http::Failure;
use crate::serve::connections::request_bytes::ReservedBytes;

/// The supported encodings, as a value of the header `accept-encoding`.
pub(in crate::http) const ACCEPTED: &str = "gzip, deflate";

/// The encoding of a body.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ContentEncoding {
    Identity,
    Gzip,
    /// With a zlib header, as the standard says, or without one, as some clients send it.
    Deflate,
}

impl ContentEncoding {
    /// The encoding that the headers name.
    ///
    /// # Errors
    /// 415 for an encoding that is not supported, and for more than one.
    pub(super) fn of(headers: &HeaderMap) -> Result<Self, Failure> {
        let lines = headers.get_all(CONTENT_ENCODING).iter().map(|line| String::from_utf8_lossy(line.as_bytes()));
        let text = lines.collect::<Vec<_>>().join(",").to_ascii_lowercase();
        let mut names = text.split(',').map(str::trim).filter(|name| !name.is_empty() && *name != "identity");
        match (names.next(), names.next()) {
            (None, _) => Ok(Self::Identity),
            (Some("gzip" | "x-gzip"), None) => Ok(Self::Gzip),
            (Some("deflate"), None) => Ok(Self::Deflate),
            _ => {
                let shown: String = text.chars().take(80).collect();
                Err(Failure::media_type(format!(
                    "the content-encoding \"{shown}\" is not supported; send the body as gzip, deflate or uncompressed"
                )))
            }
        }
    }
}

/// The decoded bytes of a body, bounded in number and reserved in the budget of request bytes.
#[derive(Debug)]
pub(super) struct DecodedBody {
    pub(super) bytes: Vec<u8>,
    pub(super) reserved: ReservedBytes,
    /// The maximum number of bytes.
    max: usize,
}

impl DecodedBody {
    fn push(&mut self, piece: &[u8]) -> Result<(), Failure> {
        if self.bytes.len().saturating_add(piece.len()) > self.max {
            return Err(Failure::body_too_large(self.max));
        }
        self.reserved.grow(piece.len())?;
        self.bytes.extend_from_slice(piece);
        Ok(())
    }
}

impl Write for DecodedBody {
    fn write(&mut self, piece: &[u8]) -> io::Result<usize> {
        self.push(piece).map(|()| piece.len()).map_err(io::Error::other)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Decodes a body as it arrives.
pub(super) struct BodyDecoder {
    decoder: Decoder,
    encoding: ContentEncoding,
    /// Encoded bytes so far.
    received: usize,
    max: usize,
}

enum Decoder {
    Identity(DecodedBody),
    Gzip(Box<MultiGzDecoder<DecodedBody>>),
    Deflate(Inflater),
}

impl BodyDecoder {
    /// A decoder for a body of at most `max` bytes, both encoded and decoded.
    pub(super) fn new(encoding: ContentEncoding, reserved: ReservedBytes, max: usize) -> Self {
        let bytes = DecodedBody { bytes: Vec::new(), reserved, max };
        let decoder = match encoding {
            ContentEncoding::Identity => Decoder::Identity(bytes),
            ContentEncoding::Gzip => Decoder::Gzip(Box::new(MultiGzDecoder::new(bytes))),
            ContentEncoding::Deflate => Decoder::Deflate(Inflater { state: None, ended: false, bytes }),
        };
        Self { decoder, encoding, received: 0, max }
    }

    /// Decodes a chunk. Yields to other tasks in between, since a small chunk may decode to many bytes.
    ///
    /// # Errors
    /// 413 above the limit, 429 and 503 if the budget is used up, 400 for bytes that the encoding does not allow.
    pub(super) async fn push(&mut self, chunk: &[u8]) -> Result<(), Failure> {
        self.received = self.received.saturating_add(chunk.len());
        if self.received > self.max {
            return Err(Failure::body_too_large(self.max));
        }
        if let Decoder::Identity(bytes) = &mut self.decoder {
            return bytes.push(chunk);
        }
        let mut yielded = self.decoded();
        for piece in chunk.chunks(limits::COMPRESSED_CHUNK_BYTES) {
            self.decode(piece).map_err(|error| failure_of(error, self.encoding))?;
            if self.decoded() - yielded > limits::BODY_INLINE_BYTES {
                yielded = self.decoded();
                tokio::task::yield_now().await;
            }
        }
        Ok(())
    }

    fn decode(&mut self, piece: &[u8]) -> io::Result<()> {
        match &mut self.decoder {
            Decoder::Identity(bytes) => bytes.write_all(piece),
            Decoder::Gzip(decoder) => decoder.write_all(piece),
            Decoder::Deflate(inflater) => inflater.take(piece),
        }
    }

    /// Decoded bytes so far.
    fn decoded(&self) -> usize {
        match &self.decoder {
            Decoder::Identity(bytes) => bytes.bytes.len(),
            Decoder::Gzip(decoder) => decoder.get_ref().bytes.len(),
            Decoder::Deflate(inflater) => inflater.bytes.bytes.len(),
        }
    }

    /// The whole body.
    ///
    /// # Errors
    /// 400 for a body that is cut off.
    pub(super) fn finish(self) -> Result<DecodedBody, Failure> {
        let whole = match self.decoder {
            Decoder::Identity(bytes) => Ok(bytes),
            Decoder::Gzip(decoder) => decoder.finish(),
            Decoder::Deflate(inflater) if inflater.ended => Ok(inflater.bytes),
            Decoder::Deflate(_) => Err(io::ErrorKind::UnexpectedEof.into()),
        };
        whole.map_err(|error| failure_of(error, self.encoding))
    }
}

/// The failure of writing the decoded bytes, or 400 for bytes that the encoding does not allow.
fn failure_of(error: io::Error, encoding: ContentEncoding) -> Failure {
    let damaged = |_| {
        let name = if encoding == ContentEncoding::Gzip { "gzip" } else { "deflate" };
        Failure::usage(format!(
            "the request's body is not valid {name} as its header \"content-encoding\" says, or is cut off"
        ))
    };
    error.downcast().unwrap_or_else(damaged)
}

/// A decoder of deflate.
struct Inflater {
    /// `Some` from the first byte on, which shows whether there is a zlib header.
    state: Option<Decompress>,
    ended: bool,
    bytes: DecodedBody,
}

impl Inflater {
    fn take(&mut self, mut piece: &[u8]) -> io::Result<()> {
        let mut out = [0; limits::DECOMPRESSED_CHUNK_BYTES];
        while let Some(first) = piece.first() {
            if self.ended {
                return Err(io::ErrorKind::InvalidData.into());
            }
            let state = self.state.get_or_insert_with(|| Decompress::new(begins_zlib(*first)));
            let (taken, made) = (state.total_in(), state.total_out());
            let status = state.decompress(piece, &mut out, FlushDecompress::None)?;
            let taken = usize::try_from(state.total_in() - taken).unwrap_or(piece.len());
            let made = usize::try_from(state.total_out() - made).unwrap_or(out.len());
            if taken == 0 && made == 0 {
                return Err(io::ErrorKind::InvalidData.into());
            }
            self.bytes.write_all(&out[..made])?;
            piece = &piece[taken..];
            self.ended = status == Status::StreamEnd;
            self.drain(made == out.len(), &mut out)?;
        }
        Ok(())
    }

    /// Takes the output that the decoder still has of the bytes that it took before.
    fn drain(&mut self, mut more: bool, out: &mut [u8]) -> io::Result<()> {
        while let (true, false, Some(state)) = (more, self.ended, &mut self.state) {
            let made = state.total_out();
            let status = state.decompress(&[], out, FlushDecompress::None)?;
            let made = usize::try_from(state.total_out() - made).unwrap_or(out.len());
            self.bytes.write_all(&out[..made])?;
            self.ended = status == Status::StreamEnd;
            more = made == out.len();
        }
        Ok(())
    }
}

/// Whether a stream that begins with this byte has a zlib header. Without one the byte would begin a stored block with
/// padding other than zero, which no encoder writes.
fn begins_zlib(first: u8) -> bool {
    first & 0x0f == 8 && first >> 4 <= 7
}

#[cfg(test)]
mod tests {
    use firebox_contract::TenantId;
    use flate2::Compression;
    use flate2::write::{DeflateEncoder, GzEncoder, ZlibEncoder};

    use super::*;
    use crate::config::ServerConfig;
    use crate::serve::connections::request_bytes::RequestByteBudget;

    fn budget(bytes: usize) -> RequestByteBudget {
        let share = Some(bytes);
        let config = ServerConfig {
            request_bytes_max: Some(10 * bytes),
            tenant_request_bytes_max: share,
            ..ServerConfig::default()
        };
        RequestByteBudget::of(&config)
    }

    fn gzip(text: &[u8]) -> Vec<u8> {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
        encoder.write_all(text).expect("a vector");
        encoder.finish().expect("a vector")
    }

    fn zlib(text: &[u8]) -> Vec<u8> {
        let mut encoder = ZlibEncoder::new(Vec::new(), Compression::best());
        encoder.write_all(text).expect("a vector");
        encoder.finish().expect("a vector")
    }

    fn raw(text: &[u8]) -> Vec<u8> {
        let mut encoder = DeflateEncoder::new(Vec::new(), Compression::best());
        encoder.write_all(text).expect("a vector");
        encoder.finish().expect("a vector")
    }

    /// Decodes a body that arrives in chunks of `chunk` bytes.
    async fn decoded(
        encoding: ContentEncoding,
        body: &[u8],
        chunk: usize,
        max: usize,
        budget: &RequestByteBudget,
    ) -> Result<Vec<u8>, Failure> {
        let mut decoder = BodyDecoder::new(encoding, budget.begin(&TenantId::new("one")), max);
        for chunk in body.chunks(chunk) {
            let pushed = decoder.push(chunk).await;
            assert!(decoder.decoded() <= max, "never more than the limit");
            pushed?;
        }
        decoder.finish().map(|whole| whole.bytes)
    }

    fn text() -> Vec<u8> {
        (0..60_000_u32).flat_map(|n| n.wrapping_mul(2_654_435_761).to_string().into_bytes()).collect()
    }

    #[tokio::test]
    async fn a_body_decodes_to_the_same_bytes_in_every_encoding_and_chunk_size() {
        let (budget, text) = (budget(1 << 22), text());
        let twice: Vec<u8> = [gzip(&text[..1_000]), gzip(&text[1_000..])].concat();
        let rows = [
            (ContentEncoding::Identity, text.clone()),
            (ContentEncoding::Gzip, gzip(&text)),
            (ContentEncoding::Gzip, twice),
            (ContentEncoding::Deflate, zlib(&text)),
            (ContentEncoding::Deflate, raw(&text)),
        ];
        for (encoding, body) in rows {
            for chunk in [1, 7, 4_096, usize::MAX] {
                let whole = decoded(encoding, &body, chunk, 1 << 20, &budget).await;
                assert!(whole.is_ok_and(|whole| whole == text), "{encoding:?} {chunk}");
            }
        }
    }

    #[tokio::test]
    async fn decoding_stops_at_the_limit_and_at_the_budget() {
        let zeros = vec![0; 8 << 20];
        for (encoding, body) in [
            (ContentEncoding::Gzip, gzip(&zeros)),
            (ContentEncoding::Deflate, zlib(&zeros)),
            (ContentEncoding::Deflate, raw(&zeros)),
        ] {
            assert!(body.len() < 64 << 10, "it is small while it is encoded");
            let large = decoded(encoding, &body, 4_096, 1 << 20, &budget(1 << 22)).await;
            assert_eq!(large.expect_err("too large").status(), 413);
            let full = decoded(encoding, &body, 4_096, 16 << 20, &budget(1 << 20)).await;
            assert_eq!(full.expect_err("over its share").status(), 429);
        }
        // Empty gzip members decode to nothing, but their encoded bytes count too.
        let empty = gzip(b"").repeat(1_000);
        let many = decoded(ContentEncoding::Gzip, &empty, 4_096, 10_000, &budget(1 << 20)).await;
        assert_eq!(many.expect_err("too many").status(), 413);
    }

    #[tokio::test]
    async fn a_damaged_or_cut_off_body_and_one_with_extra_bytes_is_refused() {
        let (budget, text) = (budget(1 << 22), text());
        for (encoding, body) in [
            (ContentEncoding::Gzip, gzip(&text)),
            (ContentEncoding::Deflate, zlib(&text)),
            (ContentEncoding::Deflate, raw(&text)),
        ] {
            let mut damaged = body.clone();
            damaged[body.len() / 2] ^= 0x55;
            let wrong =
                [body[..body.len() - 1].to_vec(), [&body[..], b"more"].concat(), b"{\"model\":1}".to_vec(), Vec::new()];
            for wrong in wrong {
                let failure = decoded(encoding, &wrong, 4_096, 1 << 20, &budget).await.expect_err("not whole");
                assert!(failure.status() == 400 && failure.to_string().contains("content-encoding"), "{failure}");
            }
            let read = decoded(encoding, &damaged, 4_096, 1 << 20, &budget).await;
            assert!(read.is_err_and(|failure| failure.status() == 400) || encoding == ContentEncoding::Deflate);
        }
    }

    #[test]
    fn encodings_are_known_by_all_their_names_and_the_error_names_an_unknown_one() {
        let of = |lines: &[&str]| {
            let mut headers = HeaderMap::new();
            for line in lines {
                headers.append(CONTENT_ENCODING, axum::http::HeaderValue::from_str(line).expect("a value"));
            }
            ContentEncoding::of(&headers)
        };
        assert!(
            matches!(of(&[]), Ok(ContentEncoding::Identity))
                && matches!(of(&["identity"]), Ok(ContentEncoding::Identity))
        );
        assert!(
            matches!(of(&["GZip"]), Ok(ContentEncoding::Gzip)) && matches!(of(&["x-gzip"]), Ok(ContentEncoding::Gzip))
        );
        assert!(matches!(of(&["deflate, identity"]), Ok(ContentEncoding::Deflate)));
        for lines in [&["br"][..], &["zstd"], &["gzip, gzip"], &["gzip", "deflate"], &["utf-8"]] {
            let failure = of(lines).expect_err("not supported");
            assert!(failure.status() == 415 && failure.to_string().contains(lines[0]), "{failure}");
            assert_eq!(failure.response("").headers()["accept-encoding"], ACCEPTED);
        }
    }
}
