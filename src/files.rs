//! Writing files so that a crash leaves the old one or the new one, never a half.

use std::io::Write;
use std::path::Path;

use crate::{Error, Result};

/// Writes a file whole or not at all: into a temporary file in the same folder, flushed to the disk, then renamed over
/// `path`. An error from `write`, or from the system, leaves whatever was at `path` as it was.
pub fn write_atomically(
    path: impl AsRef<Path>,
    write: impl FnOnce(&mut dyn Write) -> std::io::Result<()>,
) -> Result<()> {
    let path = path.as_ref();
    try_write(path, write).map_err(Error::io("write", path))
}

fn try_write(path: &Path, write: impl FnOnce(&mut dyn Write) -> std::io::Result<()>) -> std::io::Result<()> {
    let folder = path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let mut builder = tempfile::Builder::new();
    builder.prefix(".thalweg-").suffix(".tmp");
    #[cfg(unix)]
    builder.permissions(std::os::unix::fs::PermissionsExt::from_mode(0o666)); // less the umask, as any new file
    let mut temporary = builder.tempfile_in(folder)?;
    let mut buffered = std::io::BufWriter::new(temporary.as_file_mut());
    write(&mut buffered)?;
    buffered.flush()?;
    drop(buffered);
    temporary.as_file().sync_all()?;
    temporary.persist(path).map_err(|e| e.error)?;
    #[cfg(unix)]
    std::fs::File::open(folder)?.sync_all()?; // the rename itself
    Ok(())
}
