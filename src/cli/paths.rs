//! What a command reads and what it writes, told by the types of its options: no command writes over what it reads.
//!
//! Every option with a file or folder that is written has one of the two types here. Whatever else an option names is
//! read, if it is there, so that a new command has this protection without doing anything for it.

use clap::{ArgMatches, Command};
use same_file::Handle;
use std::any::TypeId;
use std::ffi::{OsStr, OsString};
use std::ops::Deref;
use std::path::{Path, PathBuf};
use thalweg::data::toy::Toy;
use thalweg::{Error, Result};

/// An option's file that is written.
#[derive(Clone, Debug)]
pub(crate) struct OutputFile(PathBuf);

/// An option's folder that files are written to: those of [`writes`].
#[derive(Clone, Debug)]
pub(crate) struct OutputFolder(PathBuf);

macro_rules! output {
    ($($name:ident),*) => {$(
        impl From<OsString> for $name {
            fn from(path: OsString) -> Self {
                Self(path.into())
            }
        }

        impl Deref for $name {
            type Target = Path;
            fn deref(&self) -> &Path {
                &self.0
            }
        }

        impl AsRef<Path> for $name {
            fn as_ref(&self) -> &Path {
                &self.0
            }
        }
    )*};
}

output!(OutputFile, OutputFolder);

/// Options whose text is never a path.
const NO_PATHS: [&str; 5] = ["device", "preset", "set", "on_divergence", "epochs"];
/// Words that stand for something else than a file of that name.
const WORDS: [&str; 3] = ["digits", "noise", "buffer"];

/// Whether a command that writes to a folder gives a file there this name.
pub(crate) fn writes(command: &str, name: &str) -> bool {
    let of_plot = ["curves.png", "landscape.png", "histograms.png", "samples.png"];
    if command == "plot" {
        return of_plot.contains(&name);
    }
    let files = ["checkpoint.safetensors", "metrics.csv", "held_out.csv", "figures.json", "config.toml"];
    let is_of_epoch = ["samples-", "buffer-", "monitor-"].iter().any(|kind| {
        let epoch = name.strip_prefix(kind).and_then(|rest| rest.strip_suffix(".png"));
        epoch.is_some_and(|epoch| epoch.len() >= 4 && epoch.bytes().all(|byte| byte.is_ascii_digit()))
    });
    files.contains(&name) || of_plot.contains(&name) || is_of_epoch
}

/// An option with a path.
struct Named {
    option: String,
    path: PathBuf,
}

/// Refuses a command line by which a file that is read would be written over, through links too, a folder of pictures that
/// is read would get others, or two outputs would be one file. `command` is the subcommand.
///
/// # Errors
/// [`Error::Usage`] with both options.
pub(crate) fn check(command: &Command, matches: &ArgMatches) -> Result<()> {
    let (mut inputs, mut files, mut folders) = (Vec::new(), Vec::new(), Vec::new());
    for argument in command.get_arguments() {
        let (id, kind) = (argument.get_id().as_str(), argument.get_value_parser().type_id());
        let Ok(Some(values)) = matches.try_get_raw(id) else { continue };
        let option = argument.get_long().map_or_else(|| id.to_owned(), |long| format!("--{long}"));
        let named = values.map(|value| Named { option: option.clone(), path: value.into() });
        if kind == TypeId::of::<OutputFile>() {
            files.extend(named);
        } else if kind == TypeId::of::<OutputFolder>() {
            folders.extend(named);
        } else if kind == TypeId::of::<PathBuf>() {
            inputs.extend(named);
        } else if kind == TypeId::of::<String>() && !NO_PATHS.contains(&id) {
            inputs.extend(named.filter(|input| may_be_path(id, &input.path)));
        }
    }
    for (ix, file) in files.iter().enumerate() {
        if let Some(input) = inputs.iter().find(|input| is_same(&input.path, &file.path)) {
            return Err(same(input, file));
        }
        if let Some(other) = files[..ix].iter().find(|other| is_same(&other.path, &file.path)) {
            return Err(same(other, file));
        }
        let is_picture = has_ending(&file.path, &PICTURES);
        let folder = inputs.iter().find(|input| is_picture && is_within(&file.path, &input.path));
        if let Some(input) = folder {
            return Err(Error::Usage(format!(
                "{} {} lies in the folder that {} names, where the next command would take it for one of the images; \
                 give it another folder",
                file.option,
                file.path.display(),
                input.option
            )));
        }
    }
    for (folder, input) in folders.iter().flat_map(|folder| inputs.iter().map(move |input| (folder, input))) {
        check_folder(command.get_name(), folder, input)?;
    }
    Ok(())
}

/// [`check`] for data that the command line does not name: those that a checkpoint does.
///
/// # Errors
/// [`Error::Usage`].
pub(crate) fn check_data(command: &str, data: &str, out: &Path) -> Result<()> {
    let named = |option: &str, path: &Path| Named { option: option.to_owned(), path: path.to_owned() };
    match may_be_path("data", Path::new(data)) {
        true => check_folder(command, &named("--out", out), &named("--data", Path::new(data))),
        false => Ok(()),
    }
}

/// Refuses a folder for outputs in which an input would be written over, or the outputs taken for data.
fn check_folder(command: &str, folder: &Named, input: &Named) -> Result<()> {
    let (to, from) = (folder.path.display(), input.path.display());
    let refuse = |text: String| Err(Error::Usage(text));
    if input.path.is_dir() {
        if is_same(&input.path, &folder.path) {
            return refuse(format!(
                "{} and {} name the same folder, {to}: its files would lie among the data; choose another folder with {}",
                input.option, folder.option, folder.option
            ));
        }
        if is_within(&folder.path, &input.path) && holds_pictures(&input.path, &folder.path) {
            return refuse(format!(
                "{} {to} lies in {from}, which {} names: its pictures would be taken for data; choose a folder elsewhere",
                folder.option, input.option
            ));
        }
        return Ok(());
    }
    let is_written = |name: &OsStr| name.to_str().is_some_and(|name| writes(command, name));
    let places = std::fs::read_dir(&folder.path).into_iter().flatten().flatten();
    let mut places = places.filter(|entry| is_written(&entry.file_name())).map(|entry| entry.path());
    if let Some(place) = places.find(|place| is_same(place, &input.path)) {
        return refuse(format!(
            "{} {from} is {}, which this command writes; copy it elsewhere, or choose another folder with {}",
            input.option,
            place.display(),
            folder.option
        ));
    }
    Ok(())
}

fn same(one: &Named, other: &Named) -> Error {
    let path = other.path.display();
    if one.option == other.option {
        return Error::Usage(format!("{} names the same file twice, {path}", one.option));
    }
    Error::Usage(format!("{} and {} name the same file, {path}", one.option, other.option))
}

/// Endings of pictures.
const PICTURES: [&str; 3] = ["png", "jpg", "jpeg"];

fn has_ending(path: &Path, endings: &[&str]) -> bool {
    path.extension().is_some_and(|own| endings.iter().any(|ending| own.eq_ignore_ascii_case(ending)))
}

/// Whether the text of an option may be the name of a file or folder.
fn may_be_path(id: &str, text: &Path) -> bool {
    let Some(text) = text.to_str() else { return true };
    if id == "network" {
        return text.ends_with(".toml");
    }
    let word = text.split_once(':').map_or(text, |(word, _)| word);
    !WORDS.contains(&text) && Toy::named(word).is_none()
}

/// What is at a path, links followed: the same for all its names. Pipes and the like are not opened.
fn handle(path: &Path) -> Option<Handle> {
    let found = std::fs::metadata(path).ok()?;
    (found.is_file() || found.is_dir()).then(|| Handle::from_path(path).ok())?
}

/// The folder that a path lies in.
fn parent(path: &Path) -> &Path {
    path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

/// Whether two paths are the same file or folder, or would be if they were there. Names that differ by case alone are the
/// same to some file systems.
fn is_same(one: &Path, other: &Path) -> bool {
    match (handle(one), handle(other)) {
        (Some(one), Some(other)) => one == other,
        (None, None) => {
            let name = |path: &Path| path.file_name().map(|name| name.to_string_lossy().to_lowercase());
            let folders = (handle(parent(one)), handle(parent(other)));
            name(one) == name(other) && matches!(folders, (Some(one), Some(other)) if one == other)
        }
        _ => canonical(one).is_some_and(|one| canonical(other) == Some(one)),
    }
}

/// For what is there but can't be opened.
fn canonical(path: &Path) -> Option<PathBuf> {
    path.canonicalize().ok()
}

/// Whether a path lies in a folder, or in one of its folders. It need not be there yet.
fn is_within(path: &Path, folder: &Path) -> bool {
    let Some(folder) = handle(folder).filter(|_| folder.is_dir()) else { return false };
    let Ok(path) = std::path::absolute(path) else { return false };
    let Some(nearest) = path.ancestors().skip(1).find_map(|above| above.canonicalize().ok()) else {
        return false;
    };
    nearest.ancestors().any(|above| handle(above).is_some_and(|above| above == folder))
}

/// Whether a folder holds pictures, itself or in the folders of classes in it; `but` is one that does not count, nor do
/// those of runs.
fn holds_pictures(folder: &Path, but: &Path) -> bool {
    let entries = |folder: &Path| -> Vec<PathBuf> {
        std::fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.path()).collect()
    };
    let is_run = |path: &Path| path.join("checkpoint.safetensors").exists() || is_same(path, but);
    let own = entries(folder);
    let name = |path: &PathBuf| path.file_name().unwrap_or_default().to_string_lossy().into_owned();
    if own.iter().any(|path| name(path).contains("idx3-ubyte") || has_ending(path, &["bin"])) {
        return false; // MNIST's or CIFAR-10's files, and pictures beside them are not looked at
    }
    let is_picture = |path: &PathBuf| has_ending(path, &PICTURES);
    own.iter().any(is_picture)
        || own
            .iter()
            .filter(|path| path.is_dir() && !is_run(path))
            .any(|path| entries(path).iter().any(is_picture))
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;
    use std::fs;

    /// Options whose file or folder is only read. One that is new and written is to be an [`OutputFile`] or
    /// [`OutputFolder`].
    const READ: [&str; 6] = ["model", "input", "ood", "metrics", "config", "mask"];

    #[test]
    fn every_path_is_known_to_be_read_or_written() {
        let mut unknown = Vec::new();
        for command in crate::Arguments::command().get_subcommands() {
            for argument in command.get_arguments() {
                let id = argument.get_id().as_str();
                if argument.get_value_parser().type_id() == TypeId::of::<PathBuf>() && !READ.contains(&id) {
                    unknown.push(format!("{} --{id}", command.get_name()));
                }
            }
        }
        assert!(unknown.is_empty(), "is it read, or is it an OutputFile? {unknown:?}");
    }

    #[test]
    fn one_file_by_many_names() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        fs::create_dir(at("sub")).unwrap();
        fs::write(at("a.npy"), "a").unwrap();
        fs::write(at("b.npy"), "b").unwrap();
        fs::hard_link(at("a.npy"), at("hard.npy")).unwrap();
        assert!(is_same(&at("a.npy"), &at("sub/../a.npy")));
        assert!(is_same(&at("a.npy"), &at("hard.npy")));
        assert!(!is_same(&at("a.npy"), &at("b.npy")));
        assert!(!is_same(&at("a.npy"), &at("new.npy")));
        assert!(is_same(&at("new.npy"), &at("sub/../new.npy")));
        assert!(is_same(&at("new.npy"), &at("NEW.npy")));
        assert!(!is_same(&at("new.npy"), &at("sub/new.npy")));
        #[cfg(unix)]
        {
            std::os::unix::fs::symlink(at("a.npy"), at("soft.npy")).unwrap();
            std::os::unix::fs::symlink(at("sub"), at("way")).unwrap();
            assert!(is_same(&at("a.npy"), &at("soft.npy")));
            assert!(is_same(&at("way/new.npy"), &at("sub/new.npy")));
            assert!(is_within(&at("way/x/y.png"), &at("sub")));
        }
        assert!(is_within(&at("sub/x/y.png"), folder.path()));
        assert!(is_within(&at("sub/x.png"), &at("sub")));
        assert!(!is_within(&at("x.png"), &at("sub")));
        assert!(!is_within(&at("sub"), &at("sub")));
    }

    #[test]
    fn names_that_a_run_writes() {
        for name in ["metrics.csv", "samples-0012.png", "monitor-12345.png", "curves.png", "samples.png"] {
            assert!(writes("train", name), "{name}");
        }
        for name in ["samples-12.png", "samples-00a2.png", "data.csv", "0001.png", ".metrics.csv"] {
            assert!(!writes("train", name), "{name}");
        }
        assert!(writes("plot", "curves.png") && !writes("plot", "metrics.csv"));
    }
}
