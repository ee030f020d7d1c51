//! Folders of images: what they hold, by the names in them.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use super::picture_file::{self, Pictures};
use super::reading::Reading;
use super::{Examples, Labels, cifar, idx};
use crate::{Error, Result};

/// The most entries of a folder that are looked at.
const MAX_ENTRIES: usize = 2_000_000;
/// Folders with what is trained on, and with what is held out, in lower case.
const TRAIN: [&str; 3] = ["train", "training", "train_images"];
const TEST: [&str; 6] = ["test", "val", "valid", "validation", "testing", "test_images"];

/// Images for training, and to be held out where the folder says which.
pub(super) struct Sets {
    pub train: Examples,
    pub held_out: Option<Examples>,
    pub labels: Option<Labels>,
    pub notes: Vec<String>,
}

/// Reads a folder as a data set. Of classes without a folder that is held out, the last tenth of each is held out.
///
/// # Errors
/// [`Error::Io`] if something can't be read; [`Error::File`] for a folder without training images, a bad file, or sets of
/// different shapes.
pub(super) fn open(path: &Path, reading: &Reading) -> Result<Sets> {
    let (train, held_out, labels, notes) = match inspect(path)? {
        Folder::Idx([Some(train), test]) => {
            let (images, note) = idx::read_examples(&train, reading)?;
            let held_out = test.map(|path| Ok((idx::read_examples(&path, reading)?.0, path))).transpose()?;
            if let Some((others, held_out_path)) = &held_out
                && others.shape() != images.shape()
            {
                let (shape, train) = (images.shape(), train.display());
                let problem = format!("holds images of {}, but {train} of {shape}", others.shape());
                return Err(Error::file(held_out_path, problem));
            }
            (images, held_out.map(|(images, _)| images), None, note.into_iter().collect())
        }
        Folder::Cifar([train, test]) if !train.is_empty() => {
            let held_out = (!test.is_empty()).then(|| cifar::read_images(&test)).transpose()?;
            (Examples::Bytes(cifar::read_images(&train)?), held_out.map(Examples::Bytes), None, Vec::new())
        }
        Folder::Pictures([Some(mut train), test]) => {
            let (n_held_out, test) = match test {
                Some(test) => (test.files.len(), test),
                None if train.classes.is_empty() => (0, PictureList::default()),
                None => (train.hold_out(), PictureList::default()),
            };
            train.files.extend(test.files);
            let Pictures { mut images, notes } = picture_file::read_files(&train.files, reading.input)?;
            let held_out = (n_held_out > 0).then(|| images.split_off_last(n_held_out));
            train.class_of.extend(test.class_of);
            let held_out_labels = train.class_of.split_off(train.class_of.len().saturating_sub(n_held_out));
            let labels = (!train.classes.is_empty()).then_some(Labels {
                names: train.classes,
                train: train.class_of,
                held_out: held_out_labels,
            });
            (Examples::Bytes(images), held_out.map(Examples::Bytes), labels, notes)
        }
        Folder::Idx([None, _]) | Folder::Cifar(_) | Folder::Pictures([None, _]) => {
            let problem = "holds images to be held out, but no training images: those are called \
                           train-images-idx3-ubyte, data_batch_1.bin or train.bin, or lie in a folder `train`";
            return Err(Error::file(path, problem));
        }
    };
    Ok(Sets { train, held_out, labels, notes })
}

/// Reads the images of a folder that are to be held out, or, if there are none, those for training.
///
/// # Errors
/// As [`open`], but for missing training images.
pub(super) fn read(path: &Path, reading: &Reading) -> Result<(Examples, Vec<String>)> {
    Ok(match inspect(path)? {
        Folder::Idx([train, test]) => match test.or(train) {
            Some(file) => idx::read_examples(file, reading)
                .map(|(images, note)| (images, note.into_iter().collect()))?,
            None => return Err(Error::file(path, "holds no images")),
        },
        Folder::Cifar([train, test]) => {
            let batches = if test.is_empty() { train } else { test };
            (Examples::Bytes(cifar::read_images(&batches)?), Vec::new())
        }
        Folder::Pictures([train, test]) => {
            let mut files = test.or(train).unwrap_or_default().files;
            files.truncate(reading.most.unwrap_or(usize::MAX));
            let Pictures { images, notes } = picture_file::read_files(&files, reading.input)?;
            (Examples::Bytes(images), notes)
        }
    })
}

/// The files that [`read`] makes images of, one each, where the folder holds picture files; none elsewhere.
///
/// # Errors
/// Those of [`read`] that come before a file is opened.
pub(super) fn picture_files(path: &Path) -> Result<Vec<PathBuf>> {
    Ok(match inspect(path)? {
        Folder::Pictures([train, test]) => test.or(train).unwrap_or_default().files,
        Folder::Idx(_) | Folder::Cifar(_) => Vec::new(),
    })
}

/// What was found, for training and to be held out.
enum Folder {
    /// IDX files.
    Idx([Option<PathBuf>; 2]),
    /// CIFAR's binary batches.
    Cifar([Vec<PathBuf>; 2]),
    /// Picture files.
    Pictures([Option<PictureList>; 2]),
}

/// Picture files, in the order of their names, class by class.
#[derive(Clone, Debug, Default)]
struct PictureList {
    files: Vec<PathBuf>,
    /// Names of the folders that they lie in, and which of them each picture is in; none if they lie in the folder itself.
    classes: Vec<String>,
    class_of: Vec<u32>,
}

impl PictureList {
    /// Puts what is to be held out, the last tenth of each class (at least one picture in all), behind the others; tells
    /// how many those are.
    fn hold_out(&mut self) -> usize {
        let mut n_of = vec![0_usize; self.classes.len()];
        self.class_of.iter().for_each(|class| n_of[*class as usize] += 1);
        let mut held: Vec<usize> = n_of.iter().map(|n| n / 10).collect();
        if held.iter().all(|n| *n == 0) {
            let largest = (0..n_of.len()).max_by_key(|class| n_of[*class]);
            largest.into_iter().for_each(|class| held[class] = 1);
        }
        let mut seen = vec![0; n_of.len()];
        let is_held: Vec<bool> = self
            .class_of
            .iter()
            .map(|class| {
                let class = *class as usize;
                seen[class] += 1;
                seen[class] > n_of[class] - held[class]
            })
            .collect();
        let mut order: Vec<usize> = (0..self.files.len()).collect();
        order.sort_by_key(|ix| is_held[*ix]);
        self.files = order.iter().map(|ix| std::mem::take(&mut self.files[*ix])).collect();
        self.class_of = order.iter().map(|ix| self.class_of[*ix]).collect();
        held.iter().sum()
    }
}

/// Names in a folder, sorted; hidden ones and what operating systems and programs leave there don't count.
struct Listing {
    path: PathBuf,
    files: Vec<String>,
    folders: Vec<String>,
}

impl Listing {
    fn of(path: &Path) -> Result<Self> {
        let mut listing = Self { path: path.to_owned(), files: Vec::new(), folders: Vec::new() };
        for (n, entry) in std::fs::read_dir(path).map_err(Error::io("read", path))?.enumerate() {
            if n == MAX_ENTRIES {
                let problem =
                    format!("holds more than {MAX_ENTRIES} files; pack the images into an .npy file");
                return Err(Error::file(path, problem));
            }
            let entry = entry.map_err(Error::io("read", path))?;
            // A name that is no Unicode is given by its path all the same.
            let Ok(name) = entry.file_name().into_string() else {
                let problem = "has a name that is not UTF-8; rename it";
                return Err(Error::file(entry.path(), problem));
            };
            if name.starts_with('.') || name.starts_with("__") {
                continue;
            }
            // Through links.
            match std::fs::metadata(entry.path()) {
                Ok(found) if found.is_dir() => listing.folders.push(name),
                Ok(found) if found.is_file() => listing.files.push(name),
                _ => {}
            }
        }
        listing.files.sort();
        listing.folders.sort();
        Ok(listing)
    }

    fn pictures(&self) -> impl Iterator<Item = &String> {
        self.files.iter().filter(|name| {
            let ending = name.rsplit_once('.').map_or("", |(_, ending)| ending);
            picture_file::ENDINGS.iter().any(|known| ending.eq_ignore_ascii_case(known))
        })
    }

    fn named(&self, names: &[&str]) -> Vec<PathBuf> {
        let known = |folder: &&String| names.contains(&folder.to_lowercase().as_str());
        self.folders.iter().filter(known).map(|folder| self.path.join(folder)).collect()
    }
}

/// Tells what a folder holds, in this order: IDX files, CIFAR's binary batches, pictures; torchvision's folders; a folder
/// for training and one to be held out; a folder for each class.
///
/// # Errors
/// A folder that can't be read, or that holds none of these: with what was looked for.
fn inspect(path: &Path) -> Result<Folder> {
    let listing = Listing::of(path)?;
    if let Some(found) = in_itself(&listing)? {
        return Ok(found);
    }
    if let Some(found) = of_torchvision(&listing)? {
        return Ok(found);
    }
    let splits = [listing.named(&TRAIN), listing.named(&TEST)];
    if splits.iter().any(|found| !found.is_empty()) {
        return of_splits(path, splits);
    }
    let list = classes(&listing)?;
    if list.files.is_empty() {
        return Err(Error::file(path, nothing(&listing)));
    }
    Ok(Folder::Pictures([Some(list), None]))
}

/// What lies in the folder itself.
fn in_itself(listing: &Listing) -> Result<Option<Folder>> {
    let idx = idx_files(listing)?;
    if idx.iter().any(Option::is_some) {
        return Ok(Some(Folder::Idx(idx)));
    }
    let cifar = cifar::find(&listing.path);
    if cifar.iter().any(|batches| !batches.is_empty()) {
        return Ok(Some(Folder::Cifar(cifar)));
    }
    let files: Vec<PathBuf> = listing.pictures().map(|name| listing.path.join(name)).collect();
    let list = PictureList { files, ..PictureList::default() };
    Ok((!list.files.is_empty()).then_some(Folder::Pictures([Some(list), None])))
}

/// `NAME/raw` with IDX files, or CIFAR's folders, as torchvision leaves them in its `root`.
fn of_torchvision(listing: &Listing) -> Result<Option<Folder>> {
    let below = ["raw", "cifar-10-batches-bin", "cifar-100-binary"];
    let mut places: Vec<PathBuf> = below.iter().map(|name| listing.path.join(name)).collect();
    places.extend(listing.folders.iter().map(|name| listing.path.join(name).join("raw")));
    let mut found = Vec::new();
    for place in places.into_iter().filter(|place| place.is_dir()) {
        if let Some(folder @ (Folder::Idx(_) | Folder::Cifar(_))) = in_itself(&Listing::of(&place)?)? {
            found.push((place, folder));
        }
    }
    if found.len() > 1 {
        let names: Vec<_> = found.iter().map(|(place, _)| place.display().to_string()).collect();
        let problem = format!("holds several data sets: give one of {}", names.join(", "));
        return Err(Error::file(&listing.path, problem));
    }
    Ok(found.pop().map(|(_, folder)| folder))
}

fn of_splits(path: &Path, splits: [Vec<PathBuf>; 2]) -> Result<Folder> {
    let mut lists = [None, None];
    for (list, folders) in lists.iter_mut().zip(&splits) {
        // Of `test` and `val`, the first that holds something, in this order of the names that are known.
        let mut folders = folders.clone();
        let rank = |folder: &PathBuf| {
            let name = folder.file_name().unwrap_or_default().to_string_lossy().to_lowercase();
            TEST.iter().position(|known| *known == name)
        };
        folders.sort_by_key(rank);
        for folder in folders {
            let listing = Listing::of(&folder)?;
            let found = match in_itself(&listing)? {
                Some(Folder::Pictures([found, _])) => found,
                Some(_) => {
                    let problem = "holds IDX files or CIFAR batches: give this folder itself";
                    return Err(Error::file(folder, problem));
                }
                None => Some(classes(&listing)?).filter(|list| !list.files.is_empty()),
            };
            if found.is_some() {
                *list = found;
                break;
            }
        }
    }
    if lists.iter().all(Option::is_none) {
        let problem = "has folders for training and to be held out, but neither they nor the folders in them (one a \
                       class) hold *.png or *.jpg files";
        return Err(Error::file(path, problem));
    }
    if let [Some(train), Some(test)] = &mut lists {
        if train.classes.is_empty() != test.classes.is_empty() {
            (train.classes, train.class_of) = Default::default();
            (test.classes, test.class_of) = Default::default();
        }
        share_classes(train, test);
    }
    Ok(Folder::Pictures(lists))
}

/// Gives both one list of classes: those of both, sorted.
fn share_classes(train: &mut PictureList, test: &mut PictureList) {
    let all: BTreeMap<String, u32> = {
        let mut names: Vec<String> = train.classes.iter().chain(&test.classes).cloned().collect();
        names.sort();
        names.dedup();
        names.into_iter().zip(0..).collect()
    };
    for list in [train, test] {
        let places: Vec<u32> = list.classes.iter().map(|name| all[name]).collect();
        list.class_of.iter_mut().for_each(|class| *class = places[*class as usize]);
        list.classes = all.keys().cloned().collect();
    }
}

/// The pictures of `class/picture.png`.
fn classes(listing: &Listing) -> Result<PictureList> {
    let mut list = PictureList::default();
    for name in &listing.folders {
        let below = Listing::of(&listing.path.join(name))?;
        let before = list.files.len();
        list.files.extend(below.pictures().map(|picture| below.path.join(picture)));
        if list.files.len() > MAX_ENTRIES {
            let problem =
                format!("holds more than {MAX_ENTRIES} pictures; pack the images into an .npy file");
            return Err(Error::file(&listing.path, problem));
        }
        if list.files.len() > before {
            list.class_of.resize(list.files.len(), list.classes.len() as u32);
            list.classes.push(name.clone());
        }
    }
    Ok(list)
}

/// IDX files of images: `train-images-idx3-ubyte` and `t10k-...` or `test-...`, gzipped or not, with dots, hyphens or
/// underscores between the words, and the name of a set such as `emnist-letters-` before them.
fn idx_files(listing: &Listing) -> Result<[Option<PathBuf>; 2]> {
    let mut sets: BTreeMap<String, [Option<&String>; 2]> = BTreeMap::new();
    for name in &listing.files {
        let plain = name.to_lowercase().replace(['.', '_', ' '], "-");
        let (plain, is_packed) =
            plain.strip_suffix("-gz").map_or((plain.as_str(), false), |plain| (plain, true));
        let ends = ["-images-idx3-ubyte", "-images-ubyte", "-images-idx3", "-images-idx4-ubyte"];
        let Some(before) = ends.iter().find_map(|end| plain.strip_suffix(end)) else { continue };
        let splits = [("train", 0), ("t10k", 1), ("test", 1)];
        let Some((set, split)) = splits.iter().find_map(|(split, ix)| {
            let set = before.strip_suffix(split)?;
            (set.is_empty() || set.ends_with('-')).then_some((set.trim_end_matches('-'), *ix))
        }) else {
            continue;
        };
        let place = &mut sets.entry(set.to_owned()).or_default()[split];
        // Unpacked is faster; names are sorted, and .gz comes after.
        if place.is_none() || !is_packed && place.is_some_and(|other| other.to_lowercase().ends_with("gz")) {
            *place = Some(name);
        }
    }
    if let Some(unnamed) = sets.remove("") {
        return Ok(unnamed.map(|name| name.map(|name| listing.path.join(name))));
    }
    if sets.len() > 1 {
        let names: Vec<_> = sets.keys().cloned().collect();
        let file = sets.values().flatten().flatten().next().map_or("", |name| name.as_str());
        let problem = format!(
            "holds several data sets ({}): give one of their files, such as {file}, or keep one set in a folder",
            names.join(", ")
        );
        return Err(Error::file(&listing.path, problem));
    }
    let set = sets.into_values().next().unwrap_or_default();
    Ok(set.map(|name| name.map(|name| listing.path.join(name))))
}

/// What to say of a folder that holds nothing that is read.
fn nothing(listing: &Listing) -> String {
    let mut text = "holds no images. Looked for *.png and *.jpg files, in it or in folders in it (one a class, or `train` \
                    and `test`); IDX files (train-images-idx3-ubyte, t10k-images-idx3-ubyte, also .gz, and \
                    MNIST/raw/...); and CIFAR's binary batches (data_batch_1.bin ...)"
        .to_owned();
    let has = |wanted: &dyn Fn(&str) -> bool| listing.files.iter().find(|name| wanted(&name.to_lowercase()));
    let is_pickle = |name: &str| {
        ["data_batch_1", "test_batch", "batches.meta"].contains(&name)
            || ["train", "meta"].contains(&name) && listing.files.iter().any(|other| other == "test")
    };
    let ends = |name: &str, endings: &[&str]| endings.iter().any(|ending| name.ends_with(ending));
    let python = listing
        .folders
        .iter()
        .find(|name| ["cifar-10-batches-py", "cifar-100-python"].contains(&name.as_str()));
    if has(&is_pickle).is_some() || python.is_some() {
        text += ". It holds CIFAR's Python version (pickles), which is not read: fetch the binary version \
                 (cifar-10-binary.tar.gz), or convert it in Python: \
                 `numpy.save(\"cifar.npy\", batch[b\"data\"].reshape(-1, 3, 32, 32))`";
    } else if let Some(name) =
        has(&|name| ends(name, &[".npy", ".npz", ".csv", ".csv.gz", ".npy.gz", ".bin"]))
    {
        text += &format!(". It holds {name}: give that file, {}", listing.path.join(name).display());
    } else if let Some(name) = has(&|name| {
        ends(name, &[".webp", ".bmp", ".gif", ".tif", ".tiff", ".heic", ".avif", ".pgm", ".ppm", ".dcm"])
    }) {
        text += &format!(". It holds {name}: convert such pictures to PNG");
    } else if let Some(name) = has(&|name| ends(name, &[".zip", ".tar", ".tar.gz", ".tgz", ".7z", ".rar"])) {
        text += &format!(". It holds {name}: unpack it");
    } else if let Some(name) = has(&|name| ends(name, &[".parquet", ".h5", ".mat", ".pt", ".pkl", ".arrow"]))
    {
        text += &format!(". It holds {name}, which is not read: convert it to .npy or to PNG files");
    } else if let Some((folder, deeper)) = listing.folders.iter().find_map(|folder| {
        let below = Listing::of(&listing.path.join(folder)).ok()?;
        let deeper = below.folders.first()?.clone();
        Some((folder, deeper))
    }) {
        let path = listing.path.join(folder);
        text += &format!(
            ". It holds folders in folders, such as {folder}/{deeper}: if the pictures lie there, give {}",
            path.display()
        );
    } else if listing.files.is_empty() && listing.folders.is_empty() {
        text += ". It is empty";
    } else {
        let n = listing.files.len();
        let first = listing.files.iter().chain(&listing.folders).next().map_or("", |name| name.as_str());
        text += &format!(". It holds {n} files and {} folders, such as {first}", listing.folders.len());
    }
    text
}
