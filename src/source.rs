//! Opens the files that users name: data, weights, settings.
//!
//! Whatever the kind of file, the same holds. Only regular files are opened (through links, too), so that a pipe can't
//! make a command wait for ever; gzip is unpacked; nothing unpacks to more than the caller allows; and a file of another
//! format is named as what it is, with what to do about it.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Cursor, Read};
use std::path::{Path, PathBuf};

use flate2::bufread::GzDecoder;

use crate::{Error, Result};

/// First bytes of a gzip stream.
pub const GZIP_MAGIC: [u8; 2] = [0x1f, 0x8b];
/// So many bytes of a file's start are looked at to tell its format; tar's mark ends at 262, NIfTI's at 348.
const START: usize = 4096;
/// Unpacked data may be larger than the packed file by this factor ...
const MAX_RATIO: u64 = 100;
/// ... or have this size, whatever the factor.
const SMALL: u64 = 64 << 20;

/// An open file, unpacked as it is read.
pub struct Source {
    path: PathBuf,
    reader: Box<dyn BufRead>,
    start: Vec<u8>,
    length: u64,
    is_packed: bool,
}

/// What is wrong with the content, carried in an [`io::Error`] through readers that know of no other errors.
/// [`Error::io`] makes an [`Error::File`] of it.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(crate) struct Fault(pub String);

fn fault(problem: impl Into<String>) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, Fault(problem.into()))
}

/// Makes sure that a path names a regular file, and tells its length in bytes.
///
/// # Errors
/// [`Error::Io`] if it is not there or can't be looked at; [`Error::File`] for a folder, pipe, socket or device.
pub fn check_regular(path: &Path) -> Result<u64> {
    let found = std::fs::metadata(path).map_err(Error::io("read", path))?;
    if found.is_file() {
        return Ok(found.len());
    }
    let kind = found.file_type();
    let problem = if kind.is_dir() {
        "is a folder, and a file is needed: give the file in it".to_owned()
    } else {
        let what = special(kind);
        format!(
            "is {what}, and a regular file is needed, as it may be read more than once: write what comes from it to a \
             file first, and give that"
        )
    };
    Err(Error::file(path, problem))
}

#[cfg(unix)]
fn special(kind: std::fs::FileType) -> &'static str {
    use std::os::unix::fs::FileTypeExt;
    if kind.is_fifo() {
        "a pipe (as `<(...)` makes one)"
    } else if kind.is_socket() {
        "a socket"
    } else {
        "a device"
    }
}

#[cfg(not(unix))]
fn special(_: std::fs::FileType) -> &'static str {
    "no regular file"
}

impl Source {
    /// Opens a file; gzip, of any number of members, is unpacked as it is read.
    ///
    /// `max_bytes` is the most that it may hold, unpacked. A packed file of more than 64 MiB may hold 100 times its own
    /// size, too.
    ///
    /// # Errors
    /// Those of [`check_regular`], a file that can't be read, or is too large.
    pub fn open(path: impl AsRef<Path>, max_bytes: u64) -> Result<Self> {
        let path = path.as_ref();
        let length = check_regular(path)?;
        let file = File::open(path).map_err(Error::io("read", path))?;
        Self::new(path, Box::new(BufReader::with_capacity(1 << 16, file)), length, max_bytes)
    }

    /// [`Self::open`] of bytes in memory; `path` is what to call them in messages.
    ///
    /// # Errors
    /// As [`Self::open`].
    pub fn of_bytes(path: impl AsRef<Path>, bytes: Vec<u8>, max_bytes: u64) -> Result<Self> {
        let length = bytes.len() as u64;
        Self::new(path.as_ref(), Box::new(Cursor::new(bytes)), length, max_bytes)
    }

    fn new(path: &Path, mut file: Box<dyn BufRead>, length: u64, max_bytes: u64) -> Result<Self> {
        let failed = || Error::io("read", path);
        let is_packed = file.fill_buf().map_err(failed())?.starts_with(&GZIP_MAGIC);
        if !is_packed && length > max_bytes {
            return Err(Error::file(path, too_large(length, max_bytes)));
        }
        let mut reader: Box<dyn BufRead> = file;
        if is_packed {
            let allowed = max_bytes.min(SMALL.max(length.saturating_mul(MAX_RATIO)));
            let members = Members { decoder: Some(GzDecoder::new(reader)), left: allowed, allowed };
            reader = Box::new(BufReader::with_capacity(1 << 16, members));
        }
        let mut start = Vec::new();
        (&mut reader).take(START as u64).read_to_end(&mut start).map_err(failed())?;
        let reader = Box::new(Cursor::new(start.clone()).chain(reader));
        Ok(Self { path: path.to_owned(), reader, start, length, is_packed })
    }

    /// The path that was opened.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The first 4,096 bytes after unpacking, or all that there are.
    pub fn start(&self) -> &[u8] {
        &self.start
    }

    /// Bytes of the file itself: packed, if it is gzip.
    pub fn length(&self) -> u64 {
        self.length
    }

    /// Whether it is gzip.
    pub fn is_packed(&self) -> bool {
        self.is_packed
    }

    /// What the content is, by its first bytes.
    pub fn content(&self) -> Content {
        if self.start.is_empty() { Content::Empty } else { content(&self.start, &self.path) }
    }

    /// The next `limit` bytes, or as many as there are. Memory grows with what comes, not with `limit`.
    ///
    /// # Errors
    /// What the system refuses, memory included; damaged gzip; more than may be unpacked.
    pub fn read_up_to(&mut self, limit: u64) -> Result<Vec<u8>> {
        let mut bytes = Vec::new();
        let path = self.path.clone();
        self.take(limit).read_to_end(&mut bytes).map_err(Error::io("read", path))?;
        Ok(bytes)
    }

    /// All the rest of it.
    ///
    /// # Errors
    /// As [`Self::read_up_to`].
    pub fn read_all(&mut self) -> Result<Vec<u8>> {
        self.read_up_to(u64::MAX)
    }

    /// Whether that many bytes can follow, by the length of the file. A header that promises more than the file can
    /// have is found out by this before anything is read for it.
    ///
    /// # Errors
    /// [`Error::File`] if more is promised than a packed file of this size may unpack to. Of a plain file nothing is said
    /// here: reading it tells what is missing.
    pub fn check_promise(&self, bytes: u64) -> Result<()> {
        let allowed = SMALL.max(self.length.saturating_mul(MAX_RATIO));
        if self.is_packed && bytes > allowed {
            return Err(Error::file(&self.path, too_much_unpacked(allowed)));
        }
        Ok(())
    }
}

impl Read for Source {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.reader.read(buffer)
    }
}

impl BufRead for Source {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        self.reader.fill_buf()
    }

    fn consume(&mut self, amount: usize) {
        self.reader.consume(amount);
    }
}

/// Reads a text file, UTF-8 with or without the mark that some editors begin with. `what` it should be is for messages,
/// as in "a TOML file".
///
/// # Errors
/// Those of [`Source::open`]; content that is not text.
pub fn read_text(path: impl AsRef<Path>, max_bytes: u64, what: &str) -> Result<String> {
    let path = path.as_ref();
    let mut source = Source::open(path, max_bytes)?;
    let named = match source.content() {
        Content::Foreign(foreign) => Some(foreign.what),
        Content::Known(known) => Some(known.name()),
        Content::Empty | Content::Text | Content::Unknown => None,
    };
    if let Some(name) = named {
        return Err(Error::file(path, format!("is {name}; expected {what}")));
    }
    let bytes = source.read_all()?;
    let text = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(&bytes);
    match std::str::from_utf8(text) {
        Ok(text) if !text.contains('\0') => Ok(text.to_owned()),
        Ok(_) => Err(Error::file(path, format!("has NUL bytes, so it is no text; expected {what}"))),
        Err(error) => {
            let at = error.valid_up_to() + (bytes.len() - text.len());
            Err(Error::file(path, format!("is not UTF-8 text, at byte {at}; expected {what}")))
        }
    }
}

fn too_large(length: u64, max_bytes: u64) -> String {
    format!("is {length} bytes long; at most {max_bytes} are read")
}

fn too_much_unpacked(allowed: u64) -> String {
    format!(
        "unpacks to more than {} MiB, which is more than a file of this size is read to: if it is meant so, unpack it \
         first (gunzip)",
        allowed >> 20
    )
}

/// Gzip's members, one after the other; zeros after the last one are padding.
struct Members<R> {
    /// None at the end.
    decoder: Option<GzDecoder<R>>,
    /// Bytes that may still come.
    left: u64,
    /// Bytes that may come in all.
    allowed: u64,
}

impl<R: BufRead> Read for Members<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        // One byte more than allowed tells that there is more.
        let most = usize::try_from(self.left).unwrap_or(usize::MAX).saturating_add(1).min(buffer.len());
        if most == 0 {
            return Ok(0);
        }
        while let Some(mut decoder) = self.decoder.take() {
            let n = decoder.read(&mut buffer[..most]).map_err(unpacking)?;
            if n > 0 {
                self.decoder = Some(decoder);
                let too_much = || fault(too_much_unpacked(self.allowed));
                self.left = self.left.checked_sub(n as u64).ok_or_else(too_much)?;
                return Ok(n);
            }
            let mut rest = decoder.into_inner();
            match skip_zeros(&mut rest)? {
                None => return Ok(0),
                Some(byte) if byte == GZIP_MAGIC[0] => self.decoder = Some(GzDecoder::new(rest)),
                Some(_) => {
                    return Err(fault(
                        "trailing garbage: the file goes on after the end of its gzip stream; cut it off, or pack the \
                         file anew (gunzip, then gzip)",
                    ));
                }
            }
        }
        Ok(0)
    }
}

/// The first byte that is not 0, which stays to be read; None at the end.
fn skip_zeros(source: &mut impl BufRead) -> io::Result<Option<u8>> {
    loop {
        let bytes = source.fill_buf()?;
        if bytes.is_empty() {
            return Ok(None);
        }
        let n = bytes.iter().take_while(|byte| **byte == 0).count();
        if let Some(byte) = bytes.get(n).copied() {
            source.consume(n);
            return Ok(Some(byte));
        }
        source.consume(n);
    }
}

/// Names what is wrong with a gzip stream.
fn unpacking(error: io::Error) -> io::Error {
    match error.kind() {
        io::ErrorKind::UnexpectedEof => {
            fault("truncated: its gzip stream breaks off; fetch or copy the file again")
        }
        io::ErrorKind::InvalidData | io::ErrorKind::InvalidInput => {
            fault(format!("corrupt gzip data ({error}); fetch or copy the file again"))
        }
        _ => error,
    }
}

/// What a file's first bytes say that it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Content {
    /// Nothing at all.
    Empty,
    /// A format that is read here, in some place.
    Known(Known),
    /// One that is not.
    Foreign(Foreign),
    /// Text of no format that is known by its first bytes: CSV, TOML.
    Text,
    /// None of these.
    Unknown,
}

/// Formats that are read here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Known {
    /// MNIST's.
    Idx,
    /// An array of NumPy's.
    Npy,
    /// Arrays of NumPy's, in a zip.
    Npz,
    /// A picture.
    Png,
    /// A picture.
    Jpeg,
    /// Weights, or a checkpoint.
    Safetensors,
}

impl Known {
    /// "an IDX file", ...
    pub fn name(self) -> &'static str {
        match self {
            Self::Idx => "an IDX file",
            Self::Npy => "a NumPy array (.npy)",
            Self::Npz => "NumPy arrays (.npz)",
            Self::Png => "a PNG picture",
            Self::Jpeg => "a JPEG picture",
            Self::Safetensors => "a safetensors file of weights",
        }
    }
}

/// A format that is not read here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Foreign {
    /// "a Git LFS pointer, not the file itself", ...
    pub what: &'static str,
    /// What to do with it where data are wanted.
    pub as_data: &'static str,
    /// What to do with it where weights are wanted.
    pub as_weights: &'static str,
}

const LFS: Foreign = both(
    "a Git LFS pointer, not the file itself",
    "fetch the file: run `git lfs pull` in its repository, or download it from the web page",
);
const ANNEX: Foreign = both(
    "a git-annex pointer, not the file itself",
    "fetch the file: run `git annex get` (or `datalad get`) in its repository",
);
const HTML: Foreign = both(
    "a web page (HTML)",
    "the download gave a page in place of the file: a login, a notice or an error; download it again",
);
const XML: Foreign =
    both("an XML file", "if it was downloaded, this is likely the server's error message; download it again");
const TORCH: Foreign = Foreign {
    what: "a file of PyTorch's (torch.save)",
    as_data: "convert it in Python: `numpy.save(\"data.npy\", torch.load(FILE).numpy())`",
    as_weights: "convert it in Python: `safetensors.torch.save_file(torch.load(FILE, map_location=\"cpu\"), \
                 \"weights.safetensors\")`, where the file holds a state_dict",
};
const PICKLE: Foreign = Foreign {
    what: "a Python pickle",
    as_data: "convert it in Python: load it with pickle, and `numpy.save(\"data.npy\", array)`",
    as_weights: "convert it in Python: `safetensors.torch.save_file(torch.load(FILE, map_location=\"cpu\"), \
                 \"weights.safetensors\")` if it is PyTorch's; else load it with pickle, and save the arrays with \
                 safetensors.numpy.save_file",
};
const CIFAR_PICKLE: Foreign = both(
    "a batch of CIFAR's Python version (a pickle)",
    "fetch the binary version (cifar-10-binary.tar.gz, with data_batch_1.bin ...), or convert it in Python: \
     `numpy.save(\"cifar.npy\", batch[b\"data\"].reshape(-1, 3, 32, 32))`",
);
const HDF5: Foreign = Foreign {
    what: "an HDF5 file (.h5)",
    as_data: "convert it in Python: `numpy.save(\"data.npy\", h5py.File(FILE)[NAME][:])`",
    as_weights: "Keras' weights have to be converted in Python: save each layer's arrays under PyTorch's names \
                 (`conv1.weight`, [out, in, height, width]) with safetensors.numpy.save_file",
};
const KERAS: Foreign = Foreign {
    what: "a model of Keras' (.keras)",
    as_data: "that is a model, not data; give the data that it was trained on",
    as_weights: HDF5.as_weights,
};
const TENSORFLOW: Foreign = Foreign {
    what: "a file of TensorFlow's",
    as_data: "convert it in Python: save the arrays with `numpy.save(\"data.npy\", array)`",
    as_weights: "convert it in Python: save each layer's arrays under PyTorch's names (`conv1.weight`, [out, in, height, \
                 width]) with safetensors.numpy.save_file",
};
const ONNX: Foreign = Foreign {
    what: "an ONNX model",
    as_data: KERAS.as_data,
    as_weights: "convert it in Python: read its initializers (onnx.numpy_helper.to_array), and save them under PyTorch's \
                 names with safetensors.numpy.save_file",
};
const GGUF: Foreign = Foreign {
    what: "a GGUF model",
    as_data: KERAS.as_data,
    as_weights: "weights are read from safetensors; save them so where the model was trained",
};
const MAT: Foreign = other(
    "a MATLAB file (.mat)",
    "convert it in Python: `numpy.save(\"data.npy\", scipy.io.loadmat(FILE)[NAME])`",
);
const TABLE: Foreign = other(
    "a table in a binary format",
    "convert it in Python: read it with pandas, then `frame.to_csv(\"data.csv\")`",
);
const PARQUET: Foreign = other(
    "a Parquet, Arrow or Feather table",
    "convert it in Python: `pandas.read_parquet(FILE).to_csv(\"data.csv\", index=False)`; pictures in it have to be \
     written as PNG files",
);
const SPREADSHEET: Foreign =
    other("a document or spreadsheet of an office program", "save the table as CSV there, and give that");
const DATABASE: Foreign = other("an SQLite database", "write the table to a CSV file, and give that");
const RDATA: Foreign =
    other("a file of R's", "write the table in R: `write.csv(x, \"data.csv\", row.names = FALSE)`");
const ZIP: Foreign = both("a zip archive", "unpack it (unzip), and give the file or folder in it");
const TAR: Foreign = both("a tar archive", "unpack it (`tar -xf FILE`), and give the file or folder in it");
const XZ: Foreign = both("packed with xz", "unpack it first: `xz -d FILE`");
const BZIP2: Foreign = both("packed with bzip2", "unpack it first: `bunzip2 FILE`");
const ZSTD: Foreign = both("packed with zstd", "unpack it first: `zstd -d FILE`");
const LZ4: Foreign = both("packed with lz4", "unpack it first: `lz4 -d FILE`");
const COMPRESS: Foreign = both("packed with compress (.Z)", "unpack it first: `gunzip FILE`");
const GZIP: Foreign = both("packed with gzip twice", "unpack it once first: `gunzip FILE`");
const SEVEN_ZIP: Foreign = both("a 7-Zip archive", "unpack it, and give the file or folder in it");
const RAR: Foreign = both("a RAR archive", "unpack it, and give the file or folder in it");
const PDF: Foreign = both("a PDF document", "give the data or weights themselves");
const PROGRAM: Foreign = both("a program", "give the data or weights themselves");
const PICTURE: Foreign =
    other("a picture of another format than PNG and JPEG", "convert it to PNG: `magick FILE picture.png`");
const MEDICAL: Foreign = other(
    "a medical image (DICOM or NIfTI)",
    "write its slices as PNG files of one size, or as an .npy file",
);
const NETCDF: Foreign = other(
    "a NetCDF file",
    "convert it in Python: `numpy.save(\"data.npy\", xarray.open_dataset(FILE)[NAME].values)`",
);

const fn both(what: &'static str, advice: &'static str) -> Foreign {
    Foreign { what, as_data: advice, as_weights: advice }
}

/// A format of data.
const fn other(what: &'static str, as_data: &'static str) -> Foreign {
    let as_weights = "those are no weights; give a checkpoint or a safetensors file";
    Foreign { what, as_data, as_weights }
}

/// Formats by how they begin. The longer come first where one begins as another does.
const BY_START: &[(&[u8], Foreign)] = &[
    (b"version https://git-lfs.github.com/spec/", LFS),
    (b"version https://hawser.github.com/spec/", LFS),
    (b"/annex/objects/", ANNEX),
    (b"\x80\x02\x8a\x0a\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19", TORCH), // before version 1.6
    (b"\x89HDF\r\n\x1a\n", HDF5),
    (b"MATLAB ", MAT),
    (b"GGUF", GGUF),
    (b"PAR1", PARQUET),
    (b"ARROW1", PARQUET),
    (b"FEA1", PARQUET),
    (b"Obj\x01", TABLE),
    (b"<stata_dta>", TABLE),
    (b"$FL2@(#)", TABLE),
    (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", SPREADSHEET),
    (b"SQLite format 3\0", DATABASE),
    (b"RDX2\n", RDATA),
    (b"RDX3\n", RDATA),
    (b"X\n\0\0\0", RDATA),
    (b"\xfd7zXZ\0", XZ),
    (b"BZh", BZIP2),
    (b"\x28\xb5\x2f\xfd", ZSTD),
    (b"\x04\x22\x4d\x18", LZ4),
    (b"\x1f\x9d", COMPRESS),
    (&GZIP_MAGIC, GZIP),
    (b"7z\xbc\xaf\x27\x1c", SEVEN_ZIP),
    (b"Rar!\x1a\x07", RAR),
    (b"%PDF", PDF),
    (b"\x7fELF", PROGRAM),
    (b"MZ\x90\0", PROGRAM),
    (b"GIF8", PICTURE),
    (b"II*\0", PICTURE),
    (b"MM\0*", PICTURE),
    (b"\0\0\0\x0cjP  ", PICTURE),
    (b"\0\0\x01\0\x01\0", PICTURE),
    (b"\x0a\x05\x01\x08", PICTURE),
    (b"P5\n", PICTURE),
    (b"P6\n", PICTURE),
    (b"8BPS", PICTURE),
    (b"CDF\x01", NETCDF),
    (b"CDF\x02", NETCDF),
    (b"cnumpy", PICKLE),
    (b"ccopy_reg\n", PICKLE),
    (b"(dp0\n", PICKLE),
    (b"(dp1\n", PICKLE),
    (b"(lp0\n", PICKLE),
    (b"(lp1\n", PICKLE),
];

/// Formats by what stands further in.
const BY_PLACE: &[(usize, &[u8], Foreign)] = &[
    (257, b"ustar", TAR),
    (8, b"WEBP", PICTURE),
    (4, b"ftyp", PICTURE), // HEIC, AVIF
    (4, b"TFL3", TENSORFLOW),
    (128, b"DICM", MEDICAL),
    (344, b"n+1\0", MEDICAL),
];

/// Formats without a mark of their own, by the ends of names.
const BY_NAME: &[(&str, Foreign)] = &[
    (".onnx", ONNX),
    (".pb", TENSORFLOW),
    (".tfrecord", TENSORFLOW),
    (".tfrecords", TENSORFLOW),
    (".ckpt.index", TENSORFLOW),
    (".ckpt.meta", TENSORFLOW),
    ("-00000-of-00001", TENSORFLOW),
    (".pt", TORCH),
    (".pth", TORCH),
    (".pkl", PICKLE),
    (".pickle", PICKLE),
    (".mat", MAT),
    (".tar", TAR),
];

fn content(start: &[u8], path: &Path) -> Content {
    let known = |known| Content::Known(known);
    if let Some((_, foreign)) = BY_START.iter().find(|(mark, _)| start.starts_with(mark)) {
        return Content::Foreign(*foreign);
    }
    let is_there = |(at, mark, _): &&(usize, &[u8], Foreign)| {
        start.get(*at..).is_some_and(|rest| rest.starts_with(mark))
    };
    if let Some((.., foreign)) = BY_PLACE.iter().find(is_there) {
        return Content::Foreign(*foreign);
    }
    match start {
        [0, 0, 8..=9 | 0xb..=0xe, 1..=8, ..] => return known(Known::Idx),
        [0x93, b'N', b'U', b'M', b'P', b'Y', ..] => return known(Known::Npy),
        [0x89, b'P', b'N', b'G', ..] => return known(Known::Png),
        [0xff, 0xd8, 0xff, ..] => return known(Known::Jpeg),
        // Eight bytes of length, then JSON.
        [_, _, _, _, _, 0, 0, 0, b'{', ..] => return known(Known::Safetensors),
        [b'P', b'K', 3 | 5, 4 | 6, ..] => return zip(start),
        [0x80, 2..=5, b'}' | b']' | b'(' | b'c' | b'X' | 0x95 | 0x8a, ..] => {
            let is_cifar =
                [&b"batch_label"[..], b"fine_labels", b"label_names"].iter().any(|mark| has(start, mark));
            return Content::Foreign(if is_cifar { CIFAR_PICKLE } else { PICKLE });
        }
        [0x08, 1..=15, 0x12, _, b'p', b'y', b't', b'o', b'r', b'c', b'h', ..] => {
            return Content::Foreign(ONNX);
        }
        [b'B', b'M', _, _, _, _, 0, 0, 0, 0, ..] => return Content::Foreign(PICTURE),
        _ => {}
    }
    let text = start.strip_prefix(b"\xef\xbb\xbf").unwrap_or(start).trim_ascii_start();
    let begins =
        |mark: &str| text.get(..mark.len()).is_some_and(|begin| begin.eq_ignore_ascii_case(mark.as_bytes()));
    if ["<!doctype html", "<html", "<head", "<body", "<script"].iter().any(|mark| begins(mark))
        || begins("<?xml") && has(start, b"<html")
    {
        return Content::Foreign(HTML);
    }
    if begins("<?xml") {
        return Content::Foreign(XML);
    }
    if is_text(start) {
        return Content::Text;
    }
    let name = path.file_name().unwrap_or_default().to_string_lossy().to_lowercase();
    let name = name.strip_suffix(".gz").unwrap_or(&name);
    let named = BY_NAME.iter().find(|(end, _)| name.ends_with(end));
    named.map_or(Content::Unknown, |(_, foreign)| Content::Foreign(*foreign))
}

/// What a zip is, by the names of the first files in it.
fn zip(start: &[u8]) -> Content {
    let length = start.get(26..28).map_or(0, |bytes| usize::from(u16::from_le_bytes([bytes[0], bytes[1]])));
    let first = start.get(30..).unwrap_or_default();
    let first = &first[..length.min(first.len())];
    if first.ends_with(b".npy") {
        Content::Known(Known::Npz)
    } else if first.ends_with(b"data.pkl") || has(start, b"/data.pkl") || has(start, b"/constants.pkl") {
        Content::Foreign(TORCH)
    } else if has(start, b"model.weights.h5") || first == b"metadata.json" && has(start, b"config.json") {
        Content::Foreign(KERAS)
    } else if has(start, b"[Content_Types].xml") || has(start, b"opendocument") {
        Content::Foreign(SPREADSHEET)
    } else {
        Content::Foreign(ZIP)
    }
}

fn has(bytes: &[u8], mark: &[u8]) -> bool {
    bytes.windows(mark.len()).any(|window| window == mark)
}

/// Whether it reads as text: UTF-16 by its mark, or bytes without control characters (whatever the encoding).
fn is_text(start: &[u8]) -> bool {
    start.starts_with(b"\xff\xfe")
        || start.starts_with(b"\xfe\xff")
        || start.iter().all(|byte| matches!(byte, b'\t' | b'\n' | b'\r' | 0x0c | 0x20..=0x7e | 0x80..))
}
