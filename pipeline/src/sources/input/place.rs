//! Where a file is: on this machine, or behind a URI of an object store.

use std::fs::File;
use std::io::{BufRead, BufReader, IsTerminal, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use encoding_rs_io::DecodeReaderBytesBuilder;

use super::compression::{EXTENSIONS, decompressed};
use super::postgres::PostgresTable;
use super::remote::RemoteObject;
use super::{BUFFER_BYTES, Encoding, Fingerprint};
use crate::{Error, Result};

/// Bytes that one thread hashes at a time.
const HASH_BLOCK: u64 = 16 << 20;

/// How what is piped in is named in messages and records.
const STDIN: &str = "stdin";

/// What was piped in. Only its owner may read it, and it is removed when it is no longer needed.
#[derive(Debug)]
struct Spooled {
    file: tempfile::TempPath,
    hash: [u8; 32],
}

/// A place that a file may be at. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Place {
    path: PathBuf,
    kind: Kind,
}

#[derive(Debug, Clone)]
enum Kind {
    Local,
    Spooled(Arc<Spooled>),
    Object(Arc<RemoteObject>),
    Postgres(Arc<PostgresTable>),
}

impl Place {
    /// A path on this machine.
    pub fn local(path: &Path) -> Self {
        Self { path: path.to_path_buf(), kind: Kind::Local }
    }

    /// What is piped into the program, kept in a temporary file until the last copy of the place is gone: its content has
    /// to be known before its rows are taken. The same content is the same place.
    fn stdin() -> Result<Self> {
        let name = Path::new(STDIN);
        if std::io::stdin().is_terminal() {
            return Err(Error::Invalid(format!("{STDIN}: nothing is piped in (zcat file.gz | generel ingest … -)")));
        }
        let mut file = tempfile::NamedTempFile::new().map_err(|e| Error::io(name, e))?;
        std::io::copy(&mut std::io::stdin().lock(), &mut file).map_err(|e| Error::io(name, e))?;
        let file = file.into_temp_path();
        let hash = hash_file(&file).map_err(|e| Error::io(name, e))?;
        Ok(Self { path: name.to_path_buf(), kind: Kind::Spooled(Arc::new(Spooled { file, hash })) })
    }

    pub(super) fn remote(object: RemoteObject) -> Self {
        Self { path: PathBuf::from(object.uri()), kind: Kind::Object(Arc::new(object)) }
    }

    pub(super) fn postgres(table: PostgresTable) -> Self {
        Self { path: PathBuf::from(table.uri()), kind: Kind::Postgres(Arc::new(table)) }
    }

    /// Its path or URI.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Its name without folders.
    pub fn name(&self) -> String {
        self.path.file_name().map_or_else(|| self.path.display().to_string(), |n| n.to_string_lossy().into_owned())
    }

    /// Its name without folders and without the extension of a compression.
    pub fn bare_name(&self) -> String {
        let name = self.name();
        let lower = name.to_ascii_lowercase();
        let extension = EXTENSIONS.iter().find(|e| lower.ends_with(*e) && lower.len() > e.len());
        extension.map_or(name.clone(), |e| name[..name.len() - e.len()].to_string())
    }

    /// What tells this place from others, whatever the working directory is.
    pub fn identity(&self) -> String {
        match &self.kind {
            Kind::Spooled(spooled) => format!("{STDIN}:{}", Fingerprint::of(&[&spooled.hash])),
            Kind::Object(object) => object.uri(),
            Kind::Postgres(table) => table.uri(),
            Kind::Local => {
                self.path.canonicalize().unwrap_or_else(|_| self.path.clone()).to_string_lossy().into_owned()
            }
        }
    }

    /// Its path, where it is on this machine.
    pub fn local_path(&self) -> Option<&Path> {
        match &self.kind {
            Kind::Local => Some(&self.path),
            Kind::Spooled(spooled) => Some(&spooled.file),
            Kind::Object(_) | Kind::Postgres(_) => None,
        }
    }

    /// Opens it, where it is on this machine.
    fn local_file(&self) -> Result<File> {
        File::open(self.local_path().unwrap_or(&self.path)).map_err(|e| Error::io(&self.path, e))
    }

    /// Whether its raw bytes begin so. A table of a database is text: it is not asked for its rows to learn that.
    ///
    /// # Errors
    /// When it cannot be read.
    pub(crate) fn starts_with(&self, magic: &[u8]) -> Result<bool> {
        if matches!(self.kind, Kind::Postgres(_)) {
            return Ok(false);
        }
        let mut head = Vec::new();
        self.raw()?.take(magic.len() as u64).read_to_end(&mut head).map_err(|e| Error::io(&self.path, e))?;
        Ok(head == magic)
    }

    fn raw(&self) -> Result<Box<dyn Read + Send>> {
        Ok(match &self.kind {
            Kind::Object(object) => Box::new(object.read()?),
            Kind::Postgres(table) => Box::new(table.read()?),
            Kind::Local | Kind::Spooled(_) => Box::new(self.local_file()?),
        })
    }

    /// Its size in bytes.
    ///
    /// # Errors
    /// When it cannot be read, or is a folder.
    pub fn size(&self) -> Result<u64> {
        match &self.kind {
            Kind::Object(object) => return Ok(object.size()),
            Kind::Postgres(table) => return Ok(table.size()),
            Kind::Local | Kind::Spooled(_) => {}
        }
        let metadata = self.local_file()?.metadata().map_err(|e| Error::io(&self.path, e))?;
        if metadata.is_dir() {
            return Err(Error::IsDirectory { path: self.path.clone() });
        }
        Ok(metadata.len())
    }

    /// Hash of its content; of a remote object, of what its store says of the content (ETag, or size and time).
    ///
    /// # Errors
    /// When it cannot be read.
    pub(super) fn content_hash(&self) -> Result<[u8; 32]> {
        match &self.kind {
            Kind::Object(object) => Ok(*blake3::hash(object.version().as_bytes()).as_bytes()),
            Kind::Postgres(table) => Ok(*blake3::hash(table.version()?.as_bytes()).as_bytes()),
            Kind::Local => hash_file(&self.path).map_err(|e| Error::io(&self.path, e)),
            Kind::Spooled(spooled) => Ok(spooled.hash),
        }
    }

    /// Opens it for reading, decompressed by its magic bytes, decoded to UTF-8 where an encoding is given.
    ///
    /// # Errors
    /// When it cannot be opened.
    pub fn reader(&self, encoding: Option<Encoding>) -> Result<Box<dyn BufRead + Send>> {
        let buffered = Box::new(BufReader::with_capacity(BUFFER_BYTES, self.raw()?));
        let plain = decompressed(buffered).map_err(|e| Error::io(&self.path, e))?;
        Ok(match encoding {
            None => plain,
            Some(encoding) => {
                let decoded = DecodeReaderBytesBuilder::new().encoding(Some(encoding.0)).build(plain);
                Box::new(BufReader::with_capacity(BUFFER_BYTES, decoded))
            }
        })
    }

    /// The whole decompressed content, for files of a modest size.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn read_to_string(&self, encoding: Option<Encoding>) -> Result<String> {
        let mut bytes = Vec::new();
        self.reader(encoding)?.read_to_end(&mut bytes).map_err(|e| Error::read(&self.path, 1, e))?;
        String::from_utf8(bytes).map_err(|_| Error::format(&self.path, 1, "the file is not UTF-8 text"))
    }

    /// The places in the same folder, this one included.
    ///
    /// # Errors
    /// When the folder cannot be listed.
    pub fn siblings(&self) -> Result<Vec<Place>> {
        match &self.kind {
            Kind::Object(object) => Ok(object.siblings()?.into_iter().map(Place::remote).collect()),
            Kind::Postgres(table) => Ok(table.siblings()?.into_iter().map(Place::postgres).collect()),
            Kind::Spooled(_) => Ok(Vec::new()),
            Kind::Local => {
                let folder = self.path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or_else(|| Path::new("."));
                list(folder)
            }
        }
    }
}

/// What stands behind one input on a command line.
#[derive(Debug, Clone)]
pub enum Found {
    /// A file.
    File(Place),
    /// A folder: its path, and the files in it, sorted.
    Folder(PathBuf, Vec<Place>),
}

impl Found {
    /// Finds what an input names: what is piped in (`-`), a file, a folder, a glob (`data/*.tsv.gz`), an object
    /// (`s3://bucket/key`), a prefix (`s3://bucket/folder/`), or a database (`postgresql://user@host/database?schema=cdm`).
    /// `store_options` are the object store's settings, such as `aws_endpoint`.
    ///
    /// Blocking; not to be called on an async thread where the input is a URI.
    ///
    /// # Errors
    /// When nothing is there.
    pub fn resolve(input: &str, store_options: &[(String, String)]) -> Result<Vec<Self>> {
        if input == "-" {
            return Ok(vec![Self::File(Place::stdin()?)]);
        }
        if input.starts_with(&format!("{STDIN}:")) {
            return Err(Error::Invalid(format!("{input}: was piped in and is not kept; pipe it in again")));
        }
        if input.starts_with("postgresql://") || input.starts_with("postgres://") {
            return super::postgres::resolve(input, store_options);
        }
        if input.contains("://") && !input.starts_with("file://") {
            return super::remote::resolve(input, store_options);
        }
        let path = PathBuf::from(input.strip_prefix("file://").unwrap_or(input));
        if path.is_dir() {
            let places = list(&path)?;
            return Ok(vec![Self::Folder(path, places)]);
        }
        if !path.exists() && input.contains(['*', '?', '[']) {
            let invalid = |e: glob::PatternError| Error::Invalid(format!("{input}: not a glob: {e}"));
            let mut files: Vec<PathBuf> = glob::glob(input)
                .map_err(invalid)?
                .filter_map(std::result::Result::ok)
                .filter(|p| p.is_file())
                .collect();
            files.sort();
            if files.is_empty() {
                return Err(Error::Invalid(format!("{input}: no file matches")));
            }
            return Ok(files.iter().map(|path| Self::File(Place::local(path))).collect());
        }
        Ok(vec![Self::File(Place::local(&path))])
    }

    /// The file.
    ///
    /// # Errors
    /// When it is a folder.
    pub fn file(&self) -> Result<&Place> {
        match self {
            Self::File(place) => Ok(place),
            Self::Folder(path, _) => Err(Error::IsDirectory { path: path.clone() }),
        }
    }
}

/// Hash of the hashes of a file's blocks, read and hashed on all cores, since nothing else runs before it is known. Not
/// mapped: the mapped pages of a large file count as the process's memory.
fn hash_file(path: &Path) -> std::io::Result<[u8; 32]> {
    let blocks = File::open(path)?.metadata()?.len().div_ceil(HASH_BLOCK);
    let workers = std::thread::available_parallelism().map_or(1, |n| n.get() as u64).min(blocks.max(1));
    let of = |worker: u64| -> std::io::Result<Vec<(u64, blake3::Hash)>> {
        let (mut file, mut buffer) = (File::open(path)?, vec![0; BUFFER_BYTES]);
        let mine = (worker..blocks).step_by(usize::try_from(workers).unwrap_or(1));
        mine.map(|block| {
            file.seek(SeekFrom::Start(block * HASH_BLOCK))?;
            let (mut hasher, mut rest) = (blake3::Hasher::new(), (&mut file).take(HASH_BLOCK));
            loop {
                match rest.read(&mut buffer)? {
                    0 => return Ok((block, hasher.finalize())),
                    read => _ = hasher.update(&buffer[..read]),
                }
            }
        })
        .collect()
    };
    let mut all = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..workers).map(|worker| scope.spawn(move || of(worker))).collect();
        let lost = || Err(std::io::Error::other("a hashing thread ended without a result"));
        threads.into_iter().map(|thread| thread.join().unwrap_or_else(|_| lost())).collect::<std::io::Result<Vec<_>>>()
    })?
    .concat();
    all.sort_unstable_by_key(|(block, _)| *block);
    let mut hasher = blake3::Hasher::new();
    all.iter().for_each(|(_, hash)| _ = hasher.update(hash.as_bytes()));
    Ok(*hasher.finalize().as_bytes())
}

fn list(folder: &Path) -> Result<Vec<Place>> {
    let mut places = Vec::new();
    for entry in std::fs::read_dir(folder).map_err(|e| Error::io(folder, e))? {
        let path = entry.map_err(|e| Error::io(folder, e))?.path();
        if path.is_file() {
            places.push(Place::local(&path));
        }
    }
    places.sort_by(|a, b| a.path.cmp(&b.path));
    Ok(places)
}
