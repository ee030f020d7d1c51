//! A run's folder: one process at a time works in it, and nothing that is there is written over.

use super::paths::writes;
use same_file::Handle;
use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use thalweg::files::remove_temporaries;
use thalweg::train::run::{CHECKPOINT, METRICS};
use thalweg::{Error, Result};

/// All settings of a run.
pub(crate) const RECIPE: &str = "config.toml";
/// A new run's first checkpoint, until the files of an earlier run are out of its way. To [`remove_temporaries`] it is one.
pub(crate) const FIRST_CHECKPOINT: &str = ".checkpoint.safetensors.0000.tmp";
/// Locked while a run is under way, and gone after it.
const LOCK: &str = "run.lock";

/// A folder that belongs to this process until it is dropped.
#[derive(Debug)]
pub(crate) struct RunFolder {
    path: PathBuf,
    lock: Option<File>,
}

impl RunFolder {
    /// Takes a folder, which is made if it is not there, and clears away what killed runs left half written in it.
    ///
    /// The lock is the operating system's: it goes when the process does, however that ends. On a file system that has
    /// no locks the folder is taken without one, with a warning.
    ///
    /// # Errors
    /// [`Error::Usage`] if another run is under way there; [`Error::Io`] if the folder takes no files.
    pub(crate) fn take(path: &Path) -> Result<Self> {
        fs::create_dir_all(path).map_err(Error::io("create", path))?;
        let lock = lock(path)?;
        if lock.is_none() {
            let text = "its file system has no locks: see to it yourself that no other run uses this folder";
            super::screen::warn(format_args!("{}: {text}.", path.display()));
        }
        remove_temporaries(path, |name| writes("train", name) || name == FIRST_CHECKPOINT);
        Ok(Self { path: path.to_owned(), lock })
    }

    /// The path of a file in it.
    pub(crate) fn join(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }

    /// Moves the files of an earlier run to a new folder inside, and tells its path; `None` where there are none.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub(crate) fn set_aside(&self) -> Result<Option<PathBuf>> {
        let files = files_of_run(&self.path);
        if files.is_empty() {
            return Ok(None);
        }
        let mut names = (1..).map(|n| self.path.join(format!("previous-{n}")));
        let to = loop {
            let to = names.next().expect("numbers without end");
            match fs::create_dir(&to) {
                Ok(()) => break to,
                Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {}
                Err(error) => return Err(Error::io("create", &to)(error)),
            }
        };
        for name in files {
            let from = self.path.join(&name);
            fs::rename(&from, to.join(name)).map_err(Error::io("move away", &from))?;
        }
        Ok(Some(to))
    }
}

impl Drop for RunFolder {
    fn drop(&mut self) {
        if self.lock.take().is_some() {
            // Whoever has opened it meanwhile finds that it is not the file of that name any more: see `lock`.
            let _ = fs::remove_file(self.path.join(LOCK));
        }
    }
}

/// The names of the files in a folder that a new run would write over.
pub(crate) fn files_of_run(path: &Path) -> Vec<String> {
    let entries = fs::read_dir(path).into_iter().flatten().flatten();
    let names = entries.filter_map(|entry| entry.file_name().into_string().ok());
    let mut names: Vec<_> = names.filter(|name| writes("train", name)).collect();
    names.sort();
    names
}

/// Refuses a folder that holds files of a run, or files with the names of a run's.
///
/// # Errors
/// [`Error::Usage`] with what can be done.
pub(crate) fn check_free(path: &Path) -> Result<()> {
    let (files, folder) = (files_of_run(path), path.display());
    let has = |name: &str| files.iter().any(|file| file == name);
    let overwrite = "with --overwrite its files move to a folder inside it, and the run begins anew";
    if has(CHECKPOINT) || has(METRICS) {
        return Err(Error::Usage(format!(
            "{folder} holds a run already. Continue it with --resume, or choose another folder with --out; {overwrite}"
        )));
    }
    let Some(first) = files.first() else { return Ok(()) };
    let more = if files.len() > 1 { format!(" and {} more", files.len() - 1) } else { String::new() };
    Err(Error::Usage(format!(
        "{folder} holds {first}{more}, which the run would write over. Choose another folder with --out; {overwrite}"
    )))
}

/// The lock, held; `None` where there are no locks.
fn lock(folder: &Path) -> Result<Option<File>> {
    let path = folder.join(LOCK);
    loop {
        let mut options = OpenOptions::new();
        let mut file = options
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(&path)
            .map_err(Error::io("create", &path))?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                let mut holder = String::new();
                let _ = file.take(100).read_to_string(&mut holder);
                let holder = holder.trim();
                let by = if holder.is_empty() { String::new() } else { format!(" ({holder})") };
                return Err(Error::Usage(format!(
                    "{} is in use by another run{by}. Wait until it ends, stop it, or choose another folder with --out",
                    folder.display()
                )));
            }
            Err(TryLockError::Error(_)) => {
                let _ = fs::remove_file(&path);
                return Ok(None);
            }
        }
        // A run that ended between opening and locking has taken the file away: what is locked then is nothing.
        let is_still_there = match (file.try_clone().and_then(Handle::from_file), Handle::from_path(&path)) {
            (Ok(locked), Ok(there)) => locked == there,
            (_, there) => there.is_ok(),
        };
        if is_still_there {
            let _ = file.set_len(0).and_then(|()| writeln!(file, "process {}", std::process::id()));
            return Ok(Some(file));
        }
    }
}
