//! `--format auto`: every format says whether a file looks like its own, how sure that is and why.

use std::io::{BufRead, Read};

use super::input::{Encoding, InputFile, Place};
use super::text::parquet::ParquetFile;
use super::{FORMATS, Source};
use crate::{Error, Result};

/// Bytes that recognition looks at.
const HEAD_BYTES: u64 = 64 * 1024;

/// The beginning of a file.
#[derive(Debug, Clone)]
pub struct Head {
    /// The file's name, lower case, without folders and without the extension of a compression.
    pub name: String,
    /// The first bytes, decompressed, as text; bytes that are none are replaced.
    pub text: String,
}

impl Head {
    /// Reads the beginning of a file.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn read(place: &Place) -> Result<Self> {
        Self::read_as(place, None)
    }

    /// The same, for a file in another encoding than UTF-8. Parquet is seen as the header of a table.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn read_as(place: &Place, encoding: Option<Encoding>) -> Result<Self> {
        if let Some(parquet) = ParquetFile::open(place, 1)? {
            let stem = place.bare_name().to_ascii_lowercase();
            let name = stem.strip_suffix(".parquet").map_or(stem.clone(), |stem| format!("{stem}.tsv"));
            return Ok(Self { name, text: format!("{}\n", parquet.names().join("\t")) });
        }
        let mut bytes = Vec::new();
        let mut reader = place.reader(encoding)?;
        reader.fill_buf().map_err(|e| Error::read(place.path(), 1, e))?;
        reader.take(HEAD_BYTES).read_to_end(&mut bytes).map_err(|e| Error::read(place.path(), 1, e))?;
        let text = String::from_utf8_lossy(&bytes);
        let text = text.strip_prefix('\u{feff}').unwrap_or(&text).to_string();
        Ok(Self { name: place.bare_name().to_ascii_lowercase(), text })
    }

    /// The lines of the text.
    pub fn lines(&self) -> impl Iterator<Item = &str> {
        self.text.lines()
    }

    /// The first line that says something and is no `##` comment.
    pub fn header(&self) -> &str {
        self.lines().find(|line| !line.trim().is_empty() && !line.starts_with("##")).unwrap_or_default()
    }

    /// The header's fields at a separator, trimmed, without quotes, lower case.
    pub fn columns(&self, separator: char) -> Vec<String> {
        let clean = |field: &str| field.trim().trim_matches('"').trim().to_ascii_lowercase();
        if separator == ' ' {
            self.header().split_whitespace().map(clean).collect()
        } else {
            self.header().split(separator).map(clean).collect()
        }
    }

    /// Whether the header has all of these columns (lower case) at this separator.
    pub fn has_columns(&self, separator: char, names: &[&str]) -> bool {
        let columns = self.columns(separator);
        names.iter().all(|name| columns.iter().any(|column| column == name))
    }
}

/// How sure a format is of a file, and what it saw.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Likeness {
    /// 1 (may be) to 100 (it says so itself).
    pub score: u8,
    /// What was seen: `the header has chromosome, base_pair_location`.
    pub because: String,
}

impl Likeness {
    /// A likeness.
    pub fn new(score: u8, because: impl Into<String>) -> Option<Self> {
        Some(Self { score, because: because.into() })
    }
}

/// The format that a file looks most like.
///
/// # Errors
/// When it looks like none, or like two equally.
pub fn recognize(place: &Place, encoding: Option<Encoding>) -> Result<(&'static dyn Source, Likeness)> {
    let head = Head::read_as(InputFile::open(place).map(|_| place)?, encoding)?;
    let mut likely: Vec<(&'static dyn Source, Likeness)> =
        FORMATS.iter().filter_map(|format| Some((*format, format.recognize(&head)?))).collect();
    likely.sort_by_key(|(_, likeness)| std::cmp::Reverse(likeness.score));
    let tied = likely.iter().take_while(|(_, l)| l.score == likely[0].1.score).count();
    if tied > 1 {
        let names: Vec<&str> = likely[..tied].iter().map(|(format, _)| format.name()).collect();
        let message = format!("looks like {} alike; say which with --format", names.join(" and "));
        return Err(Error::format(place.path(), 1, message));
    }
    likely.into_iter().next().ok_or_else(|| {
        let message = "looks like no format known; name one with --format (see generel formats), or describe the table \
                       with --format mapping";
        Error::format(place.path(), 1, message)
    })
}
