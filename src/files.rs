//! Writing files so that a reader sees the old content or the new one, whole, and never a mixture.

use std::fs::{self, File};
use std::io::{self, BufWriter, Write};
use std::path::Path;

use crate::{Error, Result};

/// Gives `path` the content that `write` produces, or leaves it as it was.
///
/// The content goes to `.NAME.XXXX.tmp` (`XXXX`: four random characters) in the same folder, reaches the disk
/// (fsync), and only then takes the place of `path`; then the folder is synced too. A killed process can leave such
/// a `.tmp` file behind: it is never read and may be deleted ([`remove_temporaries`]). A symbolic link at `path` is replaced, not followed.
///
/// # Errors
/// [`Error::Io`] if the operating system or `write` fails, [`Error::File`] if the parent folder is missing or `path`
/// is there and no regular file. In every case but one the temporary file is gone and `path` is untouched; should
/// syncing the folder fail, the new content is in place but might not outlive a power cut.
pub fn write_atomically(
    path: impl AsRef<Path>,
    write: impl FnOnce(&mut dyn Write) -> io::Result<()>,
) -> Result<()> {
    let path = path.as_ref();
    let mut temporary = temporary_for(path)?;

    // Dropping `temporary`, as every early return does, deletes it.
    let mut writer = BufWriter::new(temporary.as_file_mut());
    write(&mut writer).and_then(|()| writer.flush()).map_err(Error::io("write", path))?;
    drop(writer);
    temporary.as_file().sync_all().map_err(Error::io("write", path))?;
    temporary.persist(path).map_err(|error| Error::io("write", path)(error.error))?;
    #[cfg(unix)]
    {
        let folder = folder_of(path);
        File::open(folder).and_then(|f| f.sync_all()).map_err(Error::io("sync the folder", folder))?;
    }
    Ok(())
}

/// Finds out whether [`write_atomically`] could give `path` a content now, as far as that can be known before there is
/// one: so that hours of work are not lost to a folder that is not there. A file at `path` stays as it is.
///
/// # Errors
/// Those of [`write_atomically`].
pub fn check_writable(path: impl AsRef<Path>) -> Result<()> {
    temporary_for(path.as_ref()).map(drop)
}

/// Deletes the temporary files that killed processes have left in a folder, of [`write_atomically`] for files whose names
/// `is_ours` knows. To be called when nothing writes such files there. What can't be deleted stays.
pub fn remove_temporaries(folder: impl AsRef<Path>, is_ours: impl Fn(&str) -> bool) {
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        let name = entry.file_name();
        let of = name.to_str().and_then(temporary_of).is_some_and(&is_ours);
        if of && entry.file_type().is_ok_and(|kind| kind.is_file()) {
            let _ = fs::remove_file(entry.path());
        }
    }
}

/// The file that a temporary one would have become.
fn temporary_of(name: &str) -> Option<&str> {
    let (of, random) = name.strip_prefix('.')?.strip_suffix(".tmp")?.rsplit_once('.')?;
    (random.len() == RANDOM && random.bytes().all(|byte| byte.is_ascii_alphanumeric())).then_some(of)
}

/// Random characters in a temporary file's name.
const RANDOM: usize = 4;

fn folder_of(path: &Path) -> &Path {
    path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

/// An empty temporary file that may take the place of `path`; dropping it deletes it.
fn temporary_for(path: &Path) -> Result<tempfile::NamedTempFile> {
    let Some(name) = path.file_name() else {
        return Err(Error::file(path, "is not the name of a file; give a path that ends in a file name"));
    };
    let folder = folder_of(path);
    match fs::metadata(folder) {
        Ok(found) if found.is_dir() => {}
        Ok(_) => return Err(Error::file(path, format!("{} is a file, not a folder", folder.display()))),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            let problem = format!("its folder {} does not exist; create it first", folder.display());
            return Err(Error::file(path, problem));
        }
        Err(error) => return Err(Error::io("look into", folder)(error)),
    }
    // Without this, `--out /dev/null` run as root would replace the device by a file.
    if fs::metadata(path).is_ok_and(|found| !found.is_file()) {
        return Err(Error::file(path, "is there already and is not a regular file; choose another name"));
    }

    let mut prefix = std::ffi::OsString::from(".");
    prefix.push(name);
    prefix.push(".");
    let mut builder = tempfile::Builder::new();
    builder.prefix(&prefix).suffix(".tmp").rand_bytes(RANDOM);
    // The rights of any new file (the umask applies), not the owner-only ones of a temporary file.
    #[cfg(unix)]
    builder.permissions(std::os::unix::fs::PermissionsExt::from_mode(0o666));
    builder.tempfile_in(folder).map_err(Error::io("create a file in", folder))
}
