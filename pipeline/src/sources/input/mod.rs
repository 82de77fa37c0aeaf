//! Input files: found, fingerprinted, opened, decompressed, decoded.

mod compression;
mod fingerprint;
mod place;
mod postgres;
mod remote;

use std::fmt;
use std::io::BufRead;
use std::path::Path;
use std::str::FromStr;

pub use fingerprint::Fingerprint;
pub use place::{Found, Place};

use crate::{Error, Result};

const BUFFER_BYTES: usize = 256 * 1024;

/// A file to be read, with the other files that its rows depend on.
#[derive(Debug, Clone)]
pub struct InputFile {
    /// Where it is.
    pub place: Place,
    /// Files whose content also decides what the rows become (OMOP's `concept` table, a metadata file).
    pub companions: Vec<Place>,
}

impl InputFile {
    /// A file without companions.
    ///
    /// # Errors
    /// When there is no readable file at the place, or the file is empty.
    pub fn open(place: &Place) -> Result<Self> {
        Self::with_companions(place, Vec::new())
    }

    /// A file and the files that its rows depend on.
    ///
    /// # Errors
    /// As [`InputFile::open`].
    pub fn with_companions(place: &Place, companions: Vec<Place>) -> Result<Self> {
        if place.size()? == 0 {
            return Err(Error::Empty { path: place.path().to_path_buf() });
        }
        Ok(Self { place: place.clone(), companions })
    }

    /// Its path or URI, for messages.
    pub fn path(&self) -> &Path {
        self.place.path()
    }

    /// Its name without folders.
    pub fn name(&self) -> String {
        self.place.name()
    }

    /// Its name without folders, compression and the extension before that.
    pub fn stem(&self) -> String {
        let name = self.place.bare_name();
        name.rsplit_once('.').map_or(name.as_str(), |(stem, _)| stem).to_string()
    }

    /// What its content and that of its companions is called; reads local files whole, asks remote stores.
    ///
    /// # Errors
    /// When a file cannot be read.
    pub fn fingerprint(&self) -> Result<Fingerprint> {
        let places = std::iter::once(&self.place).chain(&self.companions);
        let parts: Vec<[u8; 32]> = places.map(Place::content_hash).collect::<Result<_>>()?;
        Ok(Fingerprint::of(&parts.iter().map(<[u8; 32]>::as_slice).collect::<Vec<_>>()))
    }

    /// Opens the file for reading, decompressed by its magic bytes, decoded to UTF-8 where an encoding is given.
    ///
    /// # Errors
    /// When the file cannot be opened.
    pub fn reader(&self, encoding: Option<Encoding>) -> Result<Box<dyn BufRead + Send>> {
        self.place.reader(encoding)
    }
}

/// A text encoding by one of its names in the WHATWG standard: `windows-1252`, `latin1`, `utf-16le`.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Encoding(&'static encoding_rs::Encoding);

impl FromStr for Encoding {
    type Err = String;

    fn from_str(text: &str) -> std::result::Result<Self, String> {
        let found = encoding_rs::Encoding::for_label(text.as_bytes());
        found
            .map(Self)
            .ok_or_else(|| "expected an encoding's name: utf-8, windows-1252, latin1, utf-16le …".to_string())
    }
}

impl fmt::Debug for Encoding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0.name())
    }
}
