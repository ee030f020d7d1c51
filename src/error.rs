//! The one error type. Every message says what was wrong, where, and what to do about it.

use std::borrow::Cow;
use std::path::{Path, PathBuf};

use crate::source::Fault;

/// Everything that can go wrong for a reason outside the program. Bugs panic.
///
/// Messages quote names and content of files: they are safe to print, by [`printable`].
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The operating system refused to read or write a file or folder.
    #[error("{}", printable(&format!("could not {action} {}: {source}", path.display())))]
    Io {
        /// What was tried, as in "could not {action} PATH": "read", "create", "write".
        action: &'static str,
        /// The file or folder.
        path: PathBuf,
        /// What the operating system said.
        source: std::io::Error,
    },
    /// A file's content is not what its format promises, or not what the command can use.
    #[error("{}", printable(&format!("{}: {problem}{}", path.display(), then(*remedy))))]
    File {
        /// The file.
        path: PathBuf,
        /// What is wrong in it, where (offset, line, tensor name), what was expected, what to do.
        problem: String,
        /// What the caller can do, for a front end to say in terms of its own options.
        remedy: Option<Remedy>,
    },
    /// A setting has a value it can't have, or doesn't exist.
    #[error("{}", printable(&format!("setting `{key}`: {problem}")))]
    Setting {
        /// The dotted name, such as `chain.steps`.
        key: String,
        /// What is wrong and what would be right.
        problem: String,
    },
    /// A network whose layers do not fit together, or that does not fit its input.
    #[error("{}", printable(&format!("network: {}", .0)))]
    Network(String),
    /// No such device, or one that can't do the work.
    #[error("{}", printable(&format!("device: {}", .0)))]
    Device(String),
    /// A device that has not enough memory, or takes no buffer so large.
    #[error("device: {0}")]
    Memory(String),
    /// Training diverged or collapsed, and the guard stopped it: where, by which figures, and what to change.
    #[error("{}", printable(.0))]
    Diverged(String),
    /// Anything else a user can cause and mend.
    #[error("{}", printable(.0))]
    Usage(String),
}

/// What the caller can do about an [`Error`] by calling again in another way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Remedy {
    /// Name the network of a file of weights: a preset, or a TOML file that describes it.
    NameNetwork,
    /// Leave out the file: the network has no parameters.
    OmitModel,
    /// Describe the file's network, or pass over the tensors that the network does not have.
    MatchTensors,
    /// Give the data that the run began with.
    SameData,
    /// Load the file of weights as a model.
    LoadAsModel,
}

impl std::fmt::Display for Remedy {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::NameNetwork => "name the network of these weights",
            Self::OmitModel => "build it without a file",
            Self::MatchTensors => {
                "load it as another network, or with `ignore_extra_tensors`: then the energies are those of the network \
                 without them"
            }
            Self::SameData => "give the same data",
            Self::LoadAsModel => "load it as a model",
        })
    }
}

fn then(remedy: Option<Remedy>) -> String {
    remedy.map_or(String::new(), |remedy| format!("; {remedy}"))
}

/// `Result` with this crate's [`Error`].
pub type Result<T> = std::result::Result<T, Error>;

impl Error {
    /// An [`Error::Io`], to be used as `.map_err(Error::io("read", path))`; an [`Error::File`] where a
    /// [`Source`](crate::source::Source) found the content at fault.
    pub fn io(action: &'static str, path: impl AsRef<Path>) -> impl FnOnce(std::io::Error) -> Self {
        let path = path.as_ref().to_owned();
        move |source| match source.get_ref().and_then(|inner| inner.downcast_ref::<Fault>()) {
            Some(Fault(problem)) => Self::File { path, problem: problem.clone(), remedy: None },
            None => Self::Io { action, path, source },
        }
    }

    /// An [`Error::File`].
    pub fn file(path: impl AsRef<Path>, problem: impl Into<String>) -> Self {
        Self::File { path: path.as_ref().to_owned(), problem: problem.into(), remedy: None }
    }

    /// An [`Error::File`] with what the caller can do.
    pub(crate) fn file_with(path: impl AsRef<Path>, problem: impl Into<String>, remedy: Remedy) -> Self {
        Self::File { path: path.as_ref().to_owned(), problem: problem.into(), remedy: Some(remedy) }
    }

    /// What it says, without the kind in front where it is a device's.
    pub(crate) fn text(&self) -> String {
        match self {
            Self::Device(text) | Self::Memory(text) => text.clone(),
            other => other.to_string(),
        }
    }

    /// An [`Error::Setting`].
    pub fn setting(key: impl Into<String>, problem: impl Into<String>) -> Self {
        Self::Setting { key: key.into(), problem: problem.into() }
    }
}

/// A text that may quote a file's name or content, made safe for a terminal: control characters but newlines and tabs,
/// and those that turn the direction of writing, are escaped, as in `\u{1b}`.
pub fn printable(text: &str) -> Cow<'_, str> {
    let is_harmful = |c: char| match c {
        '\n' | '\t' => false,
        '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' => true,
        _ => c.is_control(),
    };
    if !text.contains(is_harmful) {
        return Cow::Borrowed(text);
    }
    let escaped =
        text.chars().map(|c| if is_harmful(c) { c.escape_default().to_string() } else { c.to_string() });
    Cow::Owned(escaped.collect())
}

/// "did you mean `a` or `b`?": the names nearest to a word that is none of them, or `None` where nothing is near. The
/// last part of a name with dots or colons counts for the whole.
pub(crate) fn nearest(word: &str, names: &[&str]) -> Option<String> {
    let plain = |s: &str| s.to_lowercase().replace('-', "_");
    let word = plain(word);
    let score = |name: &str| {
        let name = plain(name);
        let last = name.rsplit(['.', ':']).next().unwrap_or(&name);
        strsim::jaro_winkler(&word, &name).max(strsim::jaro_winkler(&word, last))
    };
    let best = names.iter().map(|name| score(name)).fold(0.0, f64::max);
    let near: Vec<_> =
        names.iter().filter(|name| score(name) == best).map(|name| format!("`{name}`")).collect();
    (best >= 0.75).then(|| format!("did you mean {}?", near.join(" or ")))
}
