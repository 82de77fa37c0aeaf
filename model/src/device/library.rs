//! candle in a library of its own, opened at run time: how one program runs with and without a GPU.
//!
//! candle's CUDA build needs the driver's library to start at all, so it never links into the program. `generel-cuda`
//! (folder `model/cuda`) holds what runs on a device behind C functions; strings are UTF-8, arrays are lent for the call.

#![allow(unsafe_code)]

use std::ffi::c_char;
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

/// Calls a function that writes a message where it fails.
///
/// # Errors
/// With the message.
pub(crate) fn with_message<T>(call: impl FnOnce(Message) -> Option<T>) -> Result<T> {
    let mut message = [0u8; MESSAGE];
    call((message.as_mut_ptr().cast(), MESSAGE)).ok_or_else(|| {
        let text: Vec<u8> = message.iter().copied().take_while(|b| *b != 0).collect();
        Error::Device(String::from_utf8_lossy(&text).into_owned())
    })
}
