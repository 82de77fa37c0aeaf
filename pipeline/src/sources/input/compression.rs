//! Decompression by magic bytes, whatever the file's name says.

use std::io::{BufRead, BufReader, Read};
use std::num::NonZero;

use super::BUFFER_BYTES;

/// Extensions that say how a file is compressed, not what it is.
pub(super) const EXTENSIONS: [&str; 7] = [".gz", ".bgz", ".bgzf", ".zst", ".zstd", ".bz2", ".b.gz"];

/// The decompressed bytes of a stream.
pub(super) fn decompressed(mut raw: Box<dyn BufRead + Send>) -> std::io::Result<Box<dyn BufRead + Send>> {
    let head = raw.fill_buf()?;
    let buffered = |reader: Box<dyn Read + Send>| -> Box<dyn BufRead + Send> {
        Box::new(BufReader::with_capacity(BUFFER_BYTES, reader))
    };
    Ok(if is_bgzf(head) {
        // Its blocks are independent: inflated on all cores.
        let workers = std::thread::available_parallelism().unwrap_or(NonZero::<usize>::MIN);
        buffered(Box::new(noodles_bgzf::io::MultithreadedReader::with_worker_count(workers, raw)))
    } else if head.starts_with(&[0x1f, 0x8b]) {
        buffered(Box::new(flate2::bufread::MultiGzDecoder::new(raw)))
    } else if head.starts_with(&[0x28, 0xb5, 0x2f, 0xfd]) {
        buffered(Box::new(zstd::stream::read::Decoder::with_buffer(raw)?))
    } else if head.starts_with(b"BZh") {
        buffered(Box::new(bzip2::bufread::MultiBzDecoder::new(raw)))
    } else if head.starts_with(b"\xfd7zXZ\0") {
        return Err(std::io::Error::new(std::io::ErrorKind::Unsupported, "xz is not read; unpack it first (unxz)"));
    } else if head.starts_with(b"PK\x03\x04") {
        return Err(std::io::Error::new(std::io::ErrorKind::Unsupported, "a zip archive; unpack it first (unzip)"));
    } else {
        raw
    })
}

/// BGZF: gzip whose first member has the extra field `BC`.
fn is_bgzf(head: &[u8]) -> bool {
    head.len() > 16 && head.starts_with(&[0x1f, 0x8b, 8]) && head[3] & 4 != 0 && &head[12..14] == b"BC"
}
