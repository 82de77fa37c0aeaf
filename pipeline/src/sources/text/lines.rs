//! Physical lines of a file: numbered, without their ends, without a byte-order mark.

use std::io::BufRead;
use std::path::PathBuf;

use super::slabs::Slabs;
use crate::{Error, Result};

const BOM: &[u8] = b"\xef\xbb\xbf";
/// Longer lines are an error of the whole file: it is not the text it claims to be.
const MAX_LINE_BYTES: usize = 64 * 1024 * 1024;

/// Reads lines into one buffer that it keeps.
pub(crate) struct Lines {
    reader: Box<dyn BufRead + Send>,
    path: PathBuf,
    buffer: Vec<u8>,
    number: u64,
    terminated: bool,
}

impl Lines {
    pub(crate) fn new(reader: Box<dyn BufRead + Send>, path: PathBuf) -> Self {
        Self { reader, path, buffer: Vec::with_capacity(1024), number: 0, terminated: true }
    }

    /// Moves to the next line; false at the end of the file. After true, [`Lines::line`] is the line.
    ///
    /// # Errors
    /// On I/O, corrupt compression, or a line beyond 64 MiB.
    pub(crate) fn advance(&mut self) -> Result<bool> {
        self.buffer.clear();
        let mut limited = std::io::Read::take(&mut self.reader, MAX_LINE_BYTES as u64);
        let read =
            limited.read_until(b'\n', &mut self.buffer).map_err(|e| Error::read(&self.path, self.number + 1, e))?;
        if read == 0 {
            return Ok(false);
        }
        self.number += 1;
        self.terminated = self.buffer.last() == Some(&b'\n');
        if !self.terminated && read == MAX_LINE_BYTES {
            return Err(Error::format(&self.path, self.number, "the line is longer than 64 MiB; is this a text file?"));
        }
        if self.terminated {
            self.buffer.pop();
            if self.buffer.last() == Some(&b'\r') {
                self.buffer.pop();
            }
        }
        if self.number == 1 && self.buffer.starts_with(BOM) {
            self.buffer.drain(..BOM.len());
        }
        Ok(true)
    }

    /// The current line without `\n` or `\r\n`.
    pub(crate) fn line(&self) -> &[u8] {
        &self.buffer
    }

    /// The 1-based number of the current line.
    pub(crate) fn number(&self) -> u64 {
        self.number
    }

    /// Whether the current line ended with a line break; only the last line of a file can lack one.
    pub(crate) fn terminated(&self) -> bool {
        self.terminated
    }

    /// The file, for messages.
    pub(crate) fn path(&self) -> &PathBuf {
        &self.path
    }

    /// What comes behind the current line, as slabs.
    pub(crate) fn into_slabs(mut self, quote: Option<u8>) -> Slabs {
        if self.number == 0
            && let Ok(head) = self.reader.fill_buf()
            && head.starts_with(BOM)
        {
            self.reader.consume(BOM.len());
        }
        Slabs::new(Box::new(self.reader), self.path, self.number + 1, quote)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Cursor;

    fn lines(text: &'static [u8]) -> Vec<(u64, Vec<u8>, bool)> {
        let mut lines = Lines::new(Box::new(Cursor::new(text)), PathBuf::from("t"));
        let mut all = Vec::new();
        while lines.advance().unwrap() {
            all.push((lines.number(), lines.line().to_vec(), lines.terminated()));
        }
        all
    }

    #[test]
    fn strips_bom_and_line_ends() {
        assert_eq!(
            lines(b"\xef\xbb\xbfa\tb\r\n\nlast"),
            vec![(1, b"a\tb".to_vec(), true), (2, b"".to_vec(), true), (3, b"last".to_vec(), false)]
        );
        assert!(lines(b"").is_empty());
    }
}
