//! Slabs: pieces of a text file that hold whole rows, so that any thread can parse any of them.
//!
//! One thread reads, decompresses and cuts; what it does per byte is to count line breaks and quotes, while what it read
//! is still in the processor's cache.

use std::io::Read;
use std::path::PathBuf;
use std::sync::Arc;

use super::super::Chunk;
use crate::{Error, Result};

/// Bytes of a slab: enough rows for one Parquet row group, little enough that two a core stay far below 300 MB.
pub(crate) const SLAB_BYTES: usize = 8 << 20;
/// What a row may hold at most; a longer one is an error of the whole file: it is not the text it claims to be.
const MAX_ROW_BYTES: usize = 64 << 20;
/// Bytes read at a time.
const BLOCK_BYTES: usize = 128 << 10;
/// Bytes parsed at a time: their rows stay in the processor's cache until they are encoded.
const PIECE_BYTES: usize = 512 << 10;

/// Parses slabs. Shared by all threads.
pub(crate) trait SlabParser: Send + Sync {
    /// The rows of a slab.
    ///
    /// # Errors
    /// Only for defects of the program: a bad row is a rejected row.
    fn parse(&self, slab: &Slab<'_>) -> Result<Chunk>;
}

/// Whole rows and where they stand.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Slab<'a> {
    /// The rows with their line breaks.
    pub(crate) bytes: &'a [u8],
    /// 1-based line of the first row.
    pub(crate) first_line: u64,
    /// Byte around fields in which line breaks do not end rows.
    pub(crate) quote: Option<u8>,
}

impl<'a> Slab<'a> {
    /// The slab in pieces of about [`PIECE_BYTES`].
    pub(crate) fn pieces(self) -> impl Iterator<Item = Slab<'a>> {
        let (mut rest, mut line) = (self.bytes, self.first_line);
        std::iter::from_fn(move || {
            if rest.is_empty() {
                return None;
            }
            let at = if rest.len() <= PIECE_BYTES { rest.len() } else { cut_after(rest, PIECE_BYTES, self.quote) };
            let (bytes, behind) = rest.split_at(at);
            let piece = Slab { bytes, first_line: line, quote: self.quote };
            rest = behind;
            if !rest.is_empty() {
                line += memchr::memchr_iter(b'\n', bytes).count() as u64;
            }
            Some(piece)
        })
    }
}

/// Cuts a stream into slabs.
pub(crate) struct Slabs {
    input: Box<dyn Read + Send>,
    path: PathBuf,
    quote: Option<u8>,
    slab_bytes: usize,
    next_line: u64,
    /// What was read beyond the last cut.
    rest: Vec<u8>,
    ended: bool,
    /// Line breaks and quotes in what was read and not handed out.
    counts: Counts,
}

/// How often two bytes occur.
#[derive(Debug, Default, Clone, Copy)]
struct Counts {
    breaks: usize,
    quotes: usize,
}

impl Counts {
    fn of(bytes: &[u8], quote: Option<u8>) -> Self {
        let count = |byte| memchr::memchr_iter(byte, bytes).count();
        Self { breaks: count(b'\n'), quotes: quote.map_or(0, count) }
    }
}

impl Slabs {
    /// Slabs of what `input` still has; `next_line` is the line that comes next.
    pub(crate) fn new(input: Box<dyn Read + Send>, path: PathBuf, next_line: u64, quote: Option<u8>) -> Self {
        Self {
            input,
            path,
            quote,
            slab_bytes: SLAB_BYTES,
            next_line,
            rest: Vec::new(),
            ended: false,
            counts: Counts::default(),
        }
    }

    /// With slabs of another size.
    pub(crate) fn with_slab_bytes(mut self, bytes: usize) -> Self {
        self.slab_bytes = bytes.max(1);
        self
    }

    /// Byte around fields in which line breaks do not end rows.
    pub(crate) fn quote(&self) -> Option<u8> {
        self.quote
    }

    /// Fills `buffer` with the next slab; its first line, or `None` at the end of the file.
    ///
    /// # Errors
    /// On I/O, corrupt compression, or a row beyond 64 MiB.
    pub(crate) fn next(&mut self, buffer: &mut Vec<u8>) -> Result<Option<u64>> {
        buffer.clear();
        std::mem::swap(buffer, &mut self.rest);
        // One allocation a buffer: growing step by step would touch twice the memory.
        buffer.reserve_exact(self.slab_bytes.saturating_sub(buffer.len()));
        let mut wanted = self.slab_bytes;
        let cut = loop {
            self.fill(buffer, wanted)?;
            if self.ended {
                break buffer.len();
            }
            match cut_before(buffer, self.quote, self.counts.quotes) {
                Some(at) => break at,
                None if buffer.len() > MAX_ROW_BYTES => {
                    let message = "the line is longer than 64 MiB; is this a text file?";
                    return Err(Error::format(&self.path, self.next_line, message));
                }
                None => wanted = buffer.len() + self.slab_bytes,
            }
        };
        self.rest.clear();
        if cut < buffer.len() {
            self.rest.reserve_exact(self.slab_bytes.max(buffer.len() - cut));
            self.rest.extend_from_slice(&buffer[cut..]);
        }
        buffer.truncate(cut);
        if buffer.is_empty() {
            return Ok(None);
        }
        let (first_line, rest) = (self.next_line, Counts::of(&self.rest, self.quote));
        self.next_line += (self.counts.breaks - rest.breaks) as u64;
        self.counts = rest;
        Ok(Some(first_line))
    }

    fn fill(&mut self, buffer: &mut Vec<u8>, wanted: usize) -> Result<()> {
        while buffer.len() < wanted && !self.ended {
            let (before, missing) = (buffer.len(), (wanted - buffer.len()).min(BLOCK_BYTES));
            let read = (&mut self.input).take(missing as u64).read_to_end(buffer);
            let found = Counts::of(&buffer[before..], self.quote);
            self.counts.breaks += found.breaks;
            self.counts.quotes += found.quotes;
            let read = read.map_err(|e| Error::read(&self.path, self.next_line + self.counts.breaks as u64, e))?;
            self.ended = read < missing;
        }
        Ok(())
    }
}

/// A file as slabs and what parses them.
pub struct SlabReader {
    pub(crate) slabs: Slabs,
    pub(crate) parser: Arc<dyn SlabParser>,
    /// What was understood of the header, for people.
    pub(crate) recognized: Option<String>,
}

/// The end of the last whole row in a buffer with so many quotes. A line break between an odd number of quotes ends
/// none; where no other is found in all of the buffer, a quote was never closed and any line break must do.
fn cut_before(buffer: &[u8], quote: Option<u8>, quotes: usize) -> Option<usize> {
    let last = memchr::memrchr(b'\n', buffer)?;
    let Some(quote) = quote else { return Some(last + 1) };
    let mut quotes_before = quotes;
    let (mut end, mut behind) = (last, buffer.len());
    loop {
        quotes_before -= memchr::memchr_iter(quote, &buffer[end..behind]).count();
        if quotes_before.is_multiple_of(2) {
            return Some(end + 1);
        }
        behind = end;
        match memchr::memrchr(b'\n', &buffer[..behind]) {
            Some(at) => end = at,
            None => return (buffer.len() >= SLAB_BYTES).then_some(last + 1),
        }
    }
}

/// The end of the first whole row that ends at or behind `at`, where a slab begins the buffer.
fn cut_after(buffer: &[u8], at: usize, quote: Option<u8>) -> usize {
    let mut inside = quote.is_some_and(|q| memchr::memchr_iter(q, &buffer[..at]).count() % 2 == 1);
    let mut from = at;
    while let Some(found) = memchr::memchr(b'\n', &buffer[from..]) {
        let end = from + found;
        if let Some(quote) = quote {
            inside ^= memchr::memchr_iter(quote, &buffer[from..end]).count() % 2 == 1;
        }
        if !inside {
            return end + 1;
        }
        from = end + 1;
    }
    buffer.len()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::io::Cursor;

    fn slabs(text: &[u8], bytes: usize, quote: Option<u8>) -> Vec<(u64, Vec<u8>)> {
        let input = Box::new(Cursor::new(text.to_vec()));
        let mut slabs = Slabs::new(input, PathBuf::from("t"), 1, quote).with_slab_bytes(bytes);
        let (mut all, mut buffer) = (Vec::new(), Vec::new());
        while let Some(line) = slabs.next(&mut buffer).unwrap() {
            all.push((line, buffer.clone()));
        }
        all
    }

    #[test]
    fn a_quoted_line_break_is_no_cut() {
        let found = slabs(b"a,\"x\ny\"\nb,1\nc", 9, Some(b'"'));
        let expected: [(u64, &[u8]); 2] = [(1, b"a,\"x\ny\"\n"), (3, b"b,1\nc")];
        assert_eq!(found, expected.map(|(line, text)| (line, text.to_vec())));
    }

    proptest! {
        #[test]
        fn slabs_are_the_file_in_whole_lines(
            lines in proptest::collection::vec("[a-c]{0,9}", 0..40), size in 1usize..50, ended in any::<bool>()
        ) {
            let mut text = lines.join("\n");
            if ended {
                text.push('\n');
            }
            let found = slabs(text.as_bytes(), size, None);
            let joined: Vec<u8> = found.iter().flat_map(|(_, bytes)| bytes.clone()).collect();
            prop_assert_eq!(&joined, text.as_bytes());
            let mut line = 1;
            for (index, (first, bytes)) in found.iter().enumerate() {
                prop_assert_eq!(*first, line);
                prop_assert!(bytes.ends_with(b"\n") || index + 1 == found.len());
                line += bytes.iter().filter(|b| **b == b'\n').count() as u64;
            }
        }

        #[test]
        fn pieces_are_the_slab(text in "([a-b]{0,3}\n|\"[a\n]{0,4}\"\n){0,30}", quoted in any::<bool>()) {
            let quote = quoted.then_some(b'"');
            let slab = Slab { bytes: text.as_bytes(), first_line: 5, quote };
            let joined: Vec<u8> = slab.pieces().flat_map(|p| p.bytes.to_vec()).collect();
            prop_assert_eq!(joined, text.as_bytes());
            for at in 0..text.len() {
                let end = cut_after(text.as_bytes(), at, quote);
                let quotes = text.as_bytes()[..end].iter().filter(|b| **b == b'"').count();
                prop_assert!(end > at && (quote.is_none() || quotes % 2 == 0));
            }
        }
    }
}
