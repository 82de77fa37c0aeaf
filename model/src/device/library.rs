//! candle in a library of its own, opened at run time: how one program runs with and without a GPU.
//!
//! candle's CUDA build needs the driver's library to start at all, so it never links into the program. `generel-cuda`
//! (folder `model/cuda`) holds what runs on a device behind C functions; strings are UTF-8, arrays are lent for the call.

#![allow(unsafe_code)]

use std::ffi::{c_char, c_void};
use std::mem::ManuallyDrop;
use std::path::{Path, PathBuf};

use crate::{Error, Result};

/// Version of the functions' meaning; a library of another version is not used.
pub const ABI: u32 = 5;
/// Room for a message, in bytes.
const MESSAGE: usize = 1024;

/// Where a function writes what went wrong, ended by 0, and how many bytes there are.
pub(crate) type Message = (*mut c_char, usize);

/// An opened library of this version.
#[derive(Debug)]
pub(crate) struct Library {
    /// Never closed: its handlers of the process's end, and CUDA's threads, need its code.
    library: ManuallyDrop<libloading::Library>,
    path: PathBuf,
}

impl Library {
    /// Opens the first library that exists.
    ///
    /// # Errors
    /// With the reason, when there is none, it does not open (no driver), or it is of another version.
    pub(crate) fn open(libraries: &[PathBuf]) -> Result<Self> {
        let Some(path) = libraries.iter().find(|path| path.exists()) else {
            return Err(Error::Device(
                "no GPU library (libgenerel_cuda, made by scripts/cuda-build) beside the program or at GENEREL_CUDA"
                    .into(),
            ));
        };
        // SAFETY: the library is ours by its name and version; its initializers do nothing but CUDA's own.
        let library = unsafe { libloading::Library::new(path) }.map_err(|e| failed(path, &e))?;
        let library = Self { library: ManuallyDrop::new(library), path: path.clone() };
        // SAFETY: every version has this function, of this type.
        let abi = unsafe { library.function::<unsafe extern "C" fn() -> u32>("generel_abi")?() };
        if abi != ABI {
            return Err(Error::folder(path, format!("is of version {abi}, not {ABI}; build it again")));
        }
        Ok(library)
    }

    /// A function of the library, to be called while it is open.
    ///
    /// # Errors
    /// When there is none of this name.
    ///
    /// # Safety
    /// `F` is the type that `model/cuda` gives the function, which the version stands for.
    pub(crate) unsafe fn function<F: Copy>(&self, name: &str) -> Result<F> {
        // SAFETY: the caller's promise.
        unsafe { self.library.get::<F>(name.as_bytes()) }.map(|f| *f).map_err(|e| failed(&self.path, &e))
    }

    /// The file.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }
}

/// Which library or symbol is missing stands in the cause.
fn failed(path: &Path, error: &libloading::Error) -> Error {
    let cause = std::error::Error::source(error).map_or_else(|| error.to_string(), ToString::to_string);
    Error::folder(path, format!("cannot be opened: {cause}"))
}

/// Something that a library has made, closed at the end. The library stays open for good, so that its functions do.
#[derive(Debug)]
pub(crate) struct Handle {
    place: *mut c_void,
    close: unsafe extern "C" fn(*mut c_void),
}

// SAFETY: what a library makes may be used from any thread, and by several at a time where the calls that take it say so.
unsafe impl Send for Handle {}
// SAFETY: as above.
unsafe impl Sync for Handle {}

impl Handle {
    /// What a call makes that gives NULL and a message where it fails; `close` is the library's function for it.
    ///
    /// # Errors
    /// With the message.
    pub(crate) fn new(
        close: unsafe extern "C" fn(*mut c_void),
        call: impl FnOnce(Message) -> *mut c_void,
    ) -> Result<Self> {
        let place = with_message(|message| Some(call(message)).filter(|place| !place.is_null()))?;
        Ok(Self { place, close })
    }

    /// What the library's functions take.
    pub(crate) fn place(&self) -> *mut c_void {
        self.place
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        // SAFETY: the library has made it, and it is used no more.
        unsafe { (self.close)(self.place) };
    }
}

/// Makes a call that gives 0, or another number and a message where it fails.
///
/// # Errors
/// With the message.
pub(crate) fn done(call: impl FnOnce(Message) -> i32) -> Result<()> {
    with_message(|message| (call(message) == 0).then_some(()))
}

/// Calls a function that writes a message where it fails.
fn with_message<T>(call: impl FnOnce(Message) -> Option<T>) -> Result<T> {
    let mut message = [0u8; MESSAGE];
    call((message.as_mut_ptr().cast(), MESSAGE)).ok_or_else(|| {
        let text: Vec<u8> = message.iter().copied().take_while(|b| *b != 0).collect();
        Error::Device(String::from_utf8_lossy(&text).into_owned())
    })
}
