//! The process's end. CUDA's libraries take themselves down then, while threads that are about to free or use what is on
//! the GPU may still run, and would crash.

use std::sync::{PoisonError, RwLock, RwLockReadGuard};

/// True when the process is ending; read-locked by every call that touches the device.
static ENDING: RwLock<bool> = RwLock::new(false);

/// Begins a call on the device, which the process's end waits for while the guard is held; `None` when the process is ending, and nothing of CUDA may be called any more.
pub(crate) fn begin() -> Option<RwLockReadGuard<'static, bool>> {
    let ending = ENDING.read().unwrap_or_else(PoisonError::into_inner);
    (!*ending).then_some(ending)
}

/// Has the process wait at its end for calls that run, and refuse later ones. Handlers run from the last registered to
/// the first: to be called again whenever a library of CUDA may have registered its own.
pub(crate) fn register() {
    extern "C" fn end() {
        *ENDING.write().unwrap_or_else(PoisonError::into_inner) = true;
    }
    // SAFETY: the handler is a function of this library, which is never unloaded, and does not unwind.
    let refused = unsafe { libc::atexit(end) };
    debug_assert_eq!(refused, 0, "no room for a handler");
}
