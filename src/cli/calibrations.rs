//! The user's calibrations: `thalweg/calibrations.json` in the folder for caches.

use std::path::PathBuf;
use thalweg::device::calibration::Calibration;

/// The file: in `$XDG_CACHE_HOME` or `~/.cache` on Linux, `~/Library/Caches` on macOS, `%LOCALAPPDATA%` on Windows. `None` if
/// the user has no such folder.
pub(crate) fn file() -> Option<PathBuf> {
    Some(dirs::cache_dir()?.join("thalweg").join("calibrations.json"))
}

/// Reads the file. A file that can't be read counts as empty; the second value then says why.
pub(crate) fn read() -> (Vec<Calibration>, Option<String>) {
    match file().map(|file| Calibration::read(&file)) {
        None => (Vec::new(), None),
        Some(Ok(all)) => (all, None),
        Some(Err(error)) => {
            let note = format!(
                "{error}. It is left aside, as if nothing had been calibrated: delete it, or run `bench --calibrate` anew"
            );
            (Vec::new(), Some(note))
        }
    }
}
