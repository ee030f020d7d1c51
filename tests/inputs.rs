//! Files that users give: formats of others, packed ones, pipes, and what they hold; see `src/source.rs`.

use std::io::{Read, Write};
use std::path::{Path, PathBuf};

use crate::common::{
    assert_says, file, gzip, idx as file_of, put, rows_refused, shape, tensors_file, unescaped,
};
use flate2::Compression;
use image::{GrayImage, ImageBuffer, Luma, RgbImage};
use thalweg::checkpoint::LoadOptions;
use thalweg::checkpoint::load_tensors;
use thalweg::data::picture_file::{self, read_files};
use thalweg::data::reading::{Reading, Takes};
use thalweg::data::{Dataset, Examples, Shape, byte_to_value, idx, read_for};
use thalweg::error::printable;
use thalweg::source::{Content, Known, Source, read_text};
use thalweg::{Images, Model};

const FIXTURES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/inputs/");

fn fixture(name: &str) -> PathBuf {
    Path::new(FIXTURES).join(name)
}

/// A PNG file, byte by byte: rows as the format has them, without their filters.
fn png(size: [u32; 2], depth: u8, colour: u8, chunks: &[(&[u8], &[u8])], rows: &[&[u8]]) -> Vec<u8> {
    let [height, width] = size;
    let mut file = b"\x89PNG\r\n\x1a\n".to_vec();
    let mut chunk = |name: &[u8], content: &[u8]| {
        file.extend((content.len() as u32).to_be_bytes());
        let from = file.len();
        file.extend(name);
        file.extend(content);
        let mut sum = flate2::Crc::new();
        sum.update(&file[from..]);
        file.extend(sum.sum().to_be_bytes());
    };
    chunk(b"IHDR", &[&width.to_be_bytes()[..], &height.to_be_bytes(), &[depth, colour, 0, 0, 0]].concat());
    chunks.iter().for_each(|(name, content)| chunk(name, content));
    let mut packer = flate2::write::ZlibEncoder::new(Vec::new(), Compression::best());
    rows.iter().for_each(|row| packer.write_all(&[&[0], *row].concat()).unwrap());
    chunk(b"IDAT", &packer.finish().unwrap());
    chunk(b"IEND", &[]);
    file
}

/// EXIF data that say how a picture is turned.
fn exif(orientation: u16) -> Vec<u8> {
    let mut exif = b"MM\0*\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01".to_vec();
    exif.extend(orientation.to_be_bytes());
    exif.extend([0; 6]);
    exif
}

fn bytes_of(path: &Path) -> (Shape, Vec<u8>) {
    let images = picture_file::read_file(path).unwrap();
    (images.shape, images.bytes)
}

pub fn images_for(path: &Path) -> thalweg::Result<(Images, Vec<String>)> {
    read_for(path, &Reading { takes: Takes::Images, ..Reading::default() })
}

pub fn open(path: &Path) -> thalweg::Result<Dataset> {
    Dataset::open(path.to_str().unwrap())
}

#[test]
fn gzip_of_many_members_and_padding() {
    let folder = tempfile::tempdir().unwrap();
    let text: Vec<u8> = (0..200_000_u32).flat_map(u32::to_le_bytes).collect();
    let (a, b) = text.split_at(70_001);
    for (name, bytes) in [
        ("plain", text.clone()),
        ("one.gz", gzip(&text)),
        ("two.gz", [gzip(a), gzip(b)].concat()),
        ("empty_between.gz", [gzip(a), gzip(b""), gzip(b), gzip(b"")].concat()),
        ("padded.gz", [gzip(&text), vec![0; 10_000]].concat()),
        ("padded_between.gz", [gzip(a), vec![0; 512], gzip(b)].concat()),
    ] {
        let path = file(&folder, name, &bytes);
        let mut source = Source::open(&path, 1 << 20).unwrap();
        assert_eq!(source.start(), &text[..4096], "{name}");
        assert_eq!(source.is_packed(), name.ends_with(".gz"));
        assert_eq!(source.read_all().unwrap(), text, "{name}");
        // In pieces, too.
        let mut source = Source::open(&path, 1 << 20).unwrap();
        let mut pieces = Vec::new();
        loop {
            let piece = source.read_up_to(4_097).unwrap();
            if piece.is_empty() {
                break;
            }
            pieces.extend(piece);
        }
        assert_eq!(pieces, text, "{name}");
    }
    for (bytes, words) in [
        (gzip(&text)[..50_000].to_vec(), "truncated: its gzip stream breaks off"),
        ([gzip(a), gzip(b)[..999].to_vec()].concat(), "truncated: its gzip stream breaks off"),
        ([gzip(&text), b"more".to_vec()].concat(), "trailing garbage"),
        (
            [gzip(&text)[..9_000].to_vec(), vec![7; 20], gzip(&text)[9_020..].to_vec()].concat(),
            "corrupt gzip data",
        ),
    ] {
        let path = file(&folder, "bad.gz", &bytes);
        assert_says(
            Source::open(&path, 1 << 20).and_then(|mut source| source.read_all()),
            &[words, "bad.gz"],
        );
    }
}

#[test]
fn nothing_unpacks_beyond_its_bound() {
    let folder = tempfile::tempdir().unwrap();
    let packed = file(&folder, "a.gz", gzip([0; 100_000]));
    let plain = file(&folder, "a", [0; 100_000]);
    for path in [&packed, &plain] {
        assert_eq!(Source::open(path, 100_000).unwrap().read_all().unwrap().len(), 100_000);
    }
    let mut source = Source::open(&packed, 99_999).unwrap();
    assert_says(source.read_all(), &["unpacks to more than"]);
    assert_says(Source::open(&plain, 99_999), &["is 100000 bytes long; at most 99999 are read"]);
    // A thousand times its size.
    let bomb = file(&folder, "bomb.gz", gzip(vec![0; 70 << 20]));
    let mut source = Source::open(&bomb, 4 << 30).unwrap();
    assert_says(source.check_promise(70 << 20), &["unpacks to more than 64 MiB", "gunzip"]);
    let mut buffer = vec![0; 1 << 20];
    let error = loop {
        match source.read(&mut buffer) {
            Ok(n) => assert!(n > 0, "the end of the bomb"),
            Err(error) => break error,
        }
    };
    assert!(error.to_string().contains("unpacks to more than 64 MiB"), "{error}");
}

#[cfg(unix)]
#[test]
fn only_regular_files_are_opened() {
    let folder = tempfile::tempdir().unwrap();
    let pipe = folder.path().join("pipe");
    assert!(std::process::Command::new("mkfifo").arg(&pipe).status().unwrap().success());
    let socket = folder.path().join("socket");
    let _listener = std::os::unix::net::UnixListener::bind(&socket).unwrap();
    let link = folder.path().join("link");
    std::os::unix::fs::symlink(file(&folder, "text", b"x = 1"), &link).unwrap();
    let what = "a TOML file";
    assert_says(read_text(&pipe, 100, what), &["is a pipe", "regular file", "write what comes from it"]);
    assert_says(read_text(&socket, 100, what), &["is a socket"]);
    assert_says(read_text("/dev/null", 100, what), &["is a device"]);
    assert_says(read_text(folder.path(), 100, what), &["is a folder"]);
    assert_eq!(read_text(&link, 100, what).unwrap(), "x = 1");
    std::fs::remove_file(folder.path().join("text")).unwrap();
    assert_says(read_text(&link, 100, what), &["could not read", "No such file"]);
}

#[test]
fn formats_are_told_by_their_content() {
    let zip = |name: &str| {
        let mut bytes = b"PK\x03\x04\x14\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0".to_vec();
        bytes.extend((name.len() as u16).to_le_bytes());
        bytes.extend([0, 0]);
        bytes.extend(name.as_bytes());
        bytes.extend([0; 50]);
        bytes
    };
    let at = |offset: usize, mark: &[u8]| [&vec![1; offset], mark, &[0; 9]].concat();
    let foreign = |name: &str, bytes: &[u8]| {
        let [plain, packed] = [bytes.to_vec(), gzip(bytes)].map(|bytes| {
            match Source::of_bytes(Path::new(name), bytes, 1 << 20).unwrap().content() {
                Content::Foreign(foreign) => foreign.what.to_string(),
                other => panic!("{name}: {other:?}"),
            }
        });
        assert_eq!(plain, packed);
        plain
    };
    rows_refused("parsers.txt", "foreign", |case| {
        let (name, bytes) = case.split_once(" ; ").unwrap();
        Some(foreign(name, &unescaped(bytes)))
    });
    for (bytes, what) in [
        (zip("archive/data.pkl"), "PyTorch"),
        (zip("model_7/data.pkl"), "PyTorch"),
        ([zip("metadata.json"), zip("config.json")].concat(), "Keras"),
        (zip("[Content_Types].xml"), "spreadsheet"),
        (zip("pictures/1.png"), "zip archive"),
        (at(257, b"ustar\x0000"), "tar"),
    ] {
        let found = foreign("a", &bytes);
        assert!(found.contains(what), "{what}: {found}");
    }
    let text = "x,y\n1,2\n";
    let utf16: Vec<u8> = [0xfeff].into_iter().chain(text.encode_utf16()).flat_map(u16::to_le_bytes).collect();
    for (bytes, expected) in [
        (vec![], Content::Empty),
        (text.as_bytes().to_vec(), Content::Text),
        (utf16, Content::Text),
        (b"caf\xe9,2\n".to_vec(), Content::Text), // Latin-1
        (b"\x01\x02\x03\x04\x05".to_vec(), Content::Unknown),
        (zip("x_train.npy"), Content::Known(Known::Npz)),
        (b"\x93NUMPY\x01\0".to_vec(), Content::Known(Known::Npy)),
        (b"\0\0\x08\x03\0\0\0\x02".to_vec(), Content::Known(Known::Idx)),
        (b"\x10\0\0\0\0\0\0\0{\"a\"".to_vec(), Content::Known(Known::Safetensors)),
    ] {
        assert_eq!(
            Source::of_bytes(Path::new("a"), bytes.clone(), 1 << 20).unwrap().content(),
            expected,
            "{bytes:?}"
        );
    }
}

#[test]
fn text_is_utf_8_without_nul() {
    let folder = tempfile::tempdir().unwrap();
    let read = |bytes: &[u8]| read_text(file(&folder, "a.toml", bytes), 1 << 20, "a TOML file");
    assert_eq!(read(b"\xef\xbb\xbfx = 1").unwrap(), "x = 1");
    assert_eq!(read(b"").unwrap(), "");
    assert_says(read(b"x\0 = 1"), &["NUL", "expected a TOML file"]);
    assert_says(read(b"x = \xff1"), &["not UTF-8", "byte 4"]);
    assert_says(read(b"\xff\xfex\0=\0"), &["not UTF-8"]);
    assert_says(read(b"\x93NUMPY\x01\0"), &["is a NumPy array (.npy); expected a TOML file"]);
    assert_says(read(&[b' '; 2 << 20]), &["at most 1048576 are read"]);
}

#[test]
fn messages_do_not_steer_terminals() {
    assert_eq!(printable("plain\n\tü"), "plain\n\tü");
    assert_eq!(printable("a\0b\x1b[31mc\u{9b}d\u{202e}"), "a\\u{0}b\\u{1b}[31mc\\u{9b}d\\u{202e}");
    let error = read_text(Path::new("no\x1b[2J"), 9, "text").unwrap_err().to_string();
    assert!(!error.contains('\x1b') && error.contains("no\\u{1b}[2J"), "{error}");
    for error in [
        thalweg::Error::file("f", "holds `\x1b]0;x\x07`"),
        thalweg::Error::setting("a\x1b", "b\x1b"),
        thalweg::Error::Network("\x1b".to_owned()),
        thalweg::Error::Usage("\x1b".to_owned()),
    ] {
        assert!(error.to_string().contains("\\u{1b}") && !error.to_string().contains('\x1b'));
    }
}

// ---- pictures

#[test]
fn pictures_of_every_kind() {
    let folder = tempfile::tempdir().unwrap();
    let read = |bytes: &[u8]| bytes_of(&file(&folder, "a.png", bytes));
    // One bit; two with a palette of greys; four with one of colours, one of them transparent.
    assert_eq!(read(&png([1, 3], 1, 0, &[], &[&[0b1010_0000]])), (shape(1, 1, 3), vec![255, 0, 255]));
    let greys = [7, 7, 7, 9, 9, 9];
    assert_eq!(
        read(&png([1, 3], 2, 3, &[(b"PLTE", &greys)], &[&[0b0100_0100]])),
        (shape(1, 1, 3), vec![9, 7, 9])
    );
    let colours: [(&[u8], &[u8]); 2] = [(b"PLTE", &[1, 2, 3, 100, 50, 30]), (b"tRNS", &[255, 0])];
    assert_eq!(read(&png([1, 2], 4, 3, &colours, &[&[0x01]])), (shape(3, 1, 2), vec![1, 0, 2, 0, 3, 0]));
    // Grey with alpha; RGB whose channels are equal; RGB.
    assert_eq!(read(&png([1, 2], 8, 4, &[], &[&[100, 255, 100, 128]])), (shape(1, 1, 2), vec![100, 50]));
    assert_eq!(read(&png([1, 2], 8, 2, &[], &[&[4, 4, 4, 5, 5, 5]])), (shape(1, 1, 2), vec![4, 5]));
    assert_eq!(
        read(&png([1, 2], 8, 2, &[], &[&[4, 4, 4, 5, 5, 6]])),
        (shape(3, 1, 2), vec![4, 5, 4, 5, 4, 6])
    );
    // 16 bits, rounded.
    let deep = [0, 0, 0x01, 0x81, 0x80, 0x00, 0xff, 0xff];
    assert_eq!(read(&png([1, 4], 16, 0, &[], &[&deep])), (shape(1, 1, 4), vec![0, 1, 128, 255]));

    let near = |name: &str, expected: [u8; 3]| {
        let (shape, bytes) = bytes_of(&fixture(name));
        assert_eq!((shape.channels, shape.height, shape.width), (3, 16, 16), "{name}");
        for (plane, expected) in bytes.chunks(256).zip(expected) {
            assert!(
                plane.iter().all(|byte| byte.abs_diff(expected) < 12),
                "{name}: {:?} {expected}",
                &plane[..3]
            );
        }
    };
    near("progressive.jpg", [200, 40, 90]);
    near("cmyk.jpg", [200, 40, 90]);
    assert_eq!(bytes_of(&fixture("palette.png")).0, shape(3, 8, 8));
    let animated = read_files(&[fixture("animated.png")], None).unwrap();
    assert_eq!((animated.images.shape, animated.images.bytes[0]), (shape(1, 4, 4), 10));
    assert!(animated.notes.iter().any(|note| note.contains("animated")), "{:?}", animated.notes);
}

#[test]
fn pictures_are_turned_as_exif_says() {
    let folder = tempfile::tempdir().unwrap();
    // 1 2 3
    // 4 5 6
    let upright = [1, 2, 3, 4, 5, 6];
    for (orientation, turned, expected) in [
        (1, shape(1, 2, 3), [1, 2, 3, 4, 5, 6]),
        (2, shape(1, 2, 3), [3, 2, 1, 6, 5, 4]),
        (3, shape(1, 2, 3), [6, 5, 4, 3, 2, 1]),
        (4, shape(1, 2, 3), [4, 5, 6, 1, 2, 3]),
        (5, shape(1, 3, 2), [1, 4, 2, 5, 3, 6]),
        (6, shape(1, 3, 2), [4, 1, 5, 2, 6, 3]),
        (7, shape(1, 3, 2), [6, 3, 5, 2, 4, 1]),
        (8, shape(1, 3, 2), [3, 6, 2, 5, 1, 4]),
    ] {
        let picture = png([2, 3], 8, 0, &[(b"eXIf", &exif(orientation))], &[&upright[..3], &upright[3..]]);
        let path = file(&folder, "a.png", &picture);
        assert_eq!(bytes_of(&path), (turned, expected.to_vec()), "orientation {orientation}");
        let notes = read_files(&[path], None).unwrap().notes;
        assert_eq!(notes.iter().any(|note| note.contains("EXIF")), orientation != 1, "{notes:?}");
    }
    // A JPEG: the same picture without its EXIF data, turned to the right.
    let jpeg = std::fs::read(fixture("turned.jpg")).unwrap();
    let at = jpeg.windows(4).position(|bytes| bytes == b"Exif").unwrap();
    let mut plain = jpeg.clone();
    plain.drain(at - 4..at + 32);
    let (lying, lying_bytes) = bytes_of(&file(&folder, "plain.jpg", &plain));
    let (turned, turned_bytes) = bytes_of(&fixture("turned.jpg"));
    assert_eq!((turned.height, turned.width), (lying.width, lying.height));
    let (h, w) = (lying.height, lying.width);
    assert!((0..h * w).all(|i| turned_bytes[(i % w) * h + (h - 1 - i / w)] == lying_bytes[i]));
}

#[test]
fn sixteen_bits_mean_what_the_whole_set_says() {
    let folder = tempfile::tempdir().unwrap();
    let deep = |name: &str, values: [u16; 2]| {
        let path = folder.path().join(name);
        ImageBuffer::<Luma<u16>, _>::from_raw(2, 1, values.to_vec()).unwrap().save(&path).unwrap();
        path
    };
    let read = |a, b| read_files(&[deep("a.png", a), deep("b.png", b)], None);
    let set = read([0, 200], [7, 255]).unwrap();
    assert_eq!(set.images.bytes, [0, 200, 7, 255]);
    assert!(set.notes[0].contains("taken as bytes"), "{:?}", set.notes);
    // One picture with more, and they are of 16 bits.
    let set = read([0, 200], [7, 65_535]).unwrap();
    assert_eq!((set.images.bytes, set.notes.len()), (vec![0, 1, 0, 255], 0));
    assert_says(
        read([0, 200], [7, 4000]),
        &["a.png", "from 0 to 4000 of 65535", "of 256 levels they would use 16", "65535.0 / 4000"],
    );
    assert_says(read([32_000, 32_500], [32_100, 33_000]), &["from 32000 to 33000"]);
    assert!(read([0, 200], [7, 10_000]).unwrap().notes[0].contains("from 0 to 10000"));
    // Nothing can be said of one value.
    assert_eq!(read([65_535; 2], [65_535; 2]).unwrap().images.bytes, [255; 4]);
    assert_eq!(read([0; 2], [0; 2]).unwrap().images.bytes, [0; 4]);
    // Bytes that are 0 and 1.
    GrayImage::from_raw(2, 1, vec![0, 1]).unwrap().save(folder.path().join("mask.png")).unwrap();
    let set = read_files(&[folder.path().join("mask.png")], None).unwrap();
    assert!(set.notes[0].contains("all but black"), "{:?}", set.notes);
}

#[test]
fn grey_is_what_a_whole_set_is() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    GrayImage::from_raw(2, 1, vec![10, 250]).unwrap().save(path("0.png")).unwrap();
    RgbImage::from_raw(2, 1, vec![20, 20, 20, 30, 30, 30]).unwrap().save(path("1.png")).unwrap();
    let (images, notes) = images_for(folder.path()).unwrap();
    assert_eq!(
        (images.shape, images.values),
        (shape(1, 1, 2), [10, 250, 20, 30].map(byte_to_value).to_vec())
    );
    assert!(notes[0].contains("1 of 2 pictures are stored in colour but are grey"), "{notes:?}");
    // A network of colour gets three channels all the same.
    let reading = Reading { takes: Takes::Images, input: Some(shape(3, 4, 4)), ..Reading::default() };
    assert_eq!(read_for(folder.path(), &reading).unwrap().0.shape, shape(3, 1, 2));
    RgbImage::from_raw(2, 1, vec![20, 20, 20, 30, 30, 31]).unwrap().save(path("2.png")).unwrap();
    let (images, notes) = images_for(folder.path()).unwrap();
    assert_eq!(images.shape, shape(3, 1, 2));
    assert_eq!(images.image(0), [10, 250, 10, 250, 10, 250].map(byte_to_value));
    assert!(notes[0].contains("2 of 3 pictures are grey"), "{notes:?}");
}

#[test]
fn large_pictures_are_refused_before_they_are_decoded() {
    let folder = tempfile::tempdir().unwrap();
    let row = vec![0; 20_000];
    let bomb = file(&folder, "bomb.png", png([20_000, 20_000], 8, 0, &[], &vec![&row[..]; 20_000]));
    assert!(std::fs::metadata(&bomb).unwrap().len() < 500_000);
    assert_says(images_for(&bomb), &["bomb.png", "20000x20000 pixels", "scale or crop"]);
    assert_says(images_for(folder.path()), &["bomb.png", "20000x20000 pixels"]);
    let lying = file(&folder, "lying.png", png([4000, 4000], 8, 2, &[], &[&[0; 30]]));
    assert_says(images_for(&lying), &["4000x4000", "can't hold"]);
    let reading = Reading { takes: Takes::Images, input: Some(shape(1, 28, 28)), ..Reading::default() };
    GrayImage::new(29, 3).save(folder.path().join("wide.png")).unwrap();
    assert_says(read_for(&folder.path().join("wide.png"), &reading), &["is 3x29 pixels", "takes 28x28"]);
}

#[test]
fn what_is_no_picture_is_named() {
    rows_refused("parsers.txt", "no pictures", |bytes| {
        let (folder, path) = put("a.png", unescaped(bytes));
        let messages = [images_for(folder.path()).err()?, read_files(&[path], None).err()?];
        assert!(messages.iter().all(|message| message.to_string().contains("a.png")), "{messages:?}");
        assert_eq!(messages[0].to_string(), messages[1].to_string());
        Some(messages[0].to_string())
    });
}

// ---- folders

pub fn idx_file(kind: u8, dims: &[u32], bytes: &[u8]) -> Vec<u8> {
    file_of(u32::from(kind) << 8 | dims.len() as u32, dims, bytes)
}

#[test]
fn emnist_is_put_upright() {
    let folder = tempfile::tempdir().unwrap();
    let bytes = idx_file(8, &[2, 2, 2], &[1, 2, 3, 4, 5, 6, 7, 8]);
    let plain = file(&folder, "train-images-idx3-ubyte", &bytes);
    assert_eq!(idx::read_images(plain).unwrap().bytes, [1, 2, 3, 4, 5, 6, 7, 8]);
    let path = file(&folder, "emnist-mnist-train-images-idx3-ubyte.gz", gzip(&bytes));
    assert_eq!(idx::read_images(&path).unwrap().bytes, [1, 3, 2, 4, 5, 7, 6, 8]);
    assert!(images_for(&path).unwrap().1[0].contains("transposed"));
}

#[test]
fn idx_of_other_elements_and_in_colour() {
    let folder = tempfile::tempdir().unwrap();
    let read = |kind: u8, dims: &[u32], bytes: &[u8]| {
        idx::read_examples(file(&folder, "a.idx", idx_file(kind, dims, bytes)), &Reading::default())
    };
    let of_bytes = |examples: Examples| match examples {
        Examples::Bytes(images) => (images.shape, images.bytes),
        other => panic!("{other:?}"),
    };
    let be = |values: &[f32]| values.iter().flat_map(|value| value.to_be_bytes()).collect::<Vec<u8>>();
    let colour: Vec<u8> = (1..=12).collect();
    let expected = vec![1, 4, 7, 10, 2, 5, 8, 11, 3, 6, 9, 12];
    assert_eq!(of_bytes(read(8, &[1, 2, 2, 3], &colour).unwrap().0), (shape(3, 2, 2), expected));
    assert_eq!(of_bytes(read(8, &[1, 3, 2, 2], &colour).unwrap().0), (shape(3, 2, 2), colour.clone()));
    assert_says(read(8, &[1, 2, 2, 2], &[0; 8]), &["1x2x2x2", "colour channels"]);
    assert_eq!(of_bytes(read(11, &[1, 1, 2], &[0, 9, 0, 255]).unwrap().0).1, [9, 255]);
    assert_eq!(of_bytes(read(12, &[1, 1, 1], &[0, 0, 0, 7]).unwrap().0).1, [7]);
    assert_eq!(of_bytes(read(9, &[1, 1, 2], &[0, 127]).unwrap().0).1, [0, 127]);
    assert_says(read(9, &[1, 1, 2], &[0, 200]), &["signed bytes", "from -56 to 0"]);
    assert_eq!(of_bytes(read(13, &[1, 1, 2], &be(&[0.0, 255.0])).unwrap().0).1, [0, 255]);
    let floats = |values: &[f32]| match read(13, &[1, 1, 2], &be(values)).unwrap() {
        (Examples::Floats(images), note) => (images.values, note.is_some()),
        other => panic!("{other:?}"),
    };
    assert_eq!(floats(&[-1.0, 0.5]), (vec![-1.0, 0.5], false));
    assert_eq!(floats(&[0.0, 1.0]), (vec![-1.0, 1.0], true));
    assert_eq!(floats(&[0.0, 255.0 / 2.0]), (vec![-1.0, 0.0], true));
    assert_says(read(13, &[1, 1, 2], &be(&[-3.0, 1.0])), &["from -3 to 1", "scale"]);
    assert_says(read(13, &[1, 1, 2], &be(&[1.0, f32::NAN])), &["NaN at offset 20"]);
    let doubles: Vec<u8> = [0.0_f64, 0.25].iter().flat_map(|value| value.to_be_bytes()).collect();
    assert!(read(14, &[1, 1, 2], &doubles).is_ok());
    assert_says(read(10, &[1, 1, 2], &[0; 2]), &["element type 0x0a", "0x08"]);
    assert_eq!(idx::read_images(fixture("float_elements.idx3")).unwrap().shape, shape(1, 28, 28));
    let members = idx::read_images(fixture("two_members_mid.idx3.gz")).unwrap();
    assert_eq!(members, idx::read_images(fixture("plain.idx3-ubyte")).unwrap());
    // A header that promises what so small a file cannot hold.
    let bomb = file(&folder, "bomb.gz", gzip(idx_file(8, &[4_000_000, 28, 28], &[0; 100])));
    assert_says(idx::read_images(bomb), &["unpacks to more than 64 MiB"]);
}

/// Sparse files of 4 GB.
#[test]
fn idx_files_are_read_as_far_as_the_network_takes_them() {
    let folder = tempfile::tempdir().unwrap();
    let sparse = |name: &str, dims: &[u32], length: u64| {
        let path = file(&folder, name, idx_file(8, dims, &[7; 4]));
        let header = 4 + 4 * dims.len() as u64;
        std::fs::OpenOptions::new().write(true).open(&path).unwrap().set_len(header + length).unwrap();
        path
    };
    let small = Reading { input: Some(shape(1, 28, 28)), takes: Takes::Images, ..Reading::default() };
    let large = sparse("large.idx", &[1_000_000, 64, 64], 4_096_000_000);
    assert_says(read_for(&large, &small), &["1x64x64", "1x28x28", "shrunk"]);
    let colour = sparse("colour.idx", &[100_000, 28, 28, 3], 235_200_000);
    assert_says(read_for(&colour, &small), &["3x28x28", "1x28x28"]);
    // The first images alone are read, and what is wrong with the others' number is found without reading them.
    let first = Reading { most: Some(3), ..small };
    let many = sparse("many.idx", &[5_000_000, 28, 28], 3_920_000_000);
    let (images, _) = read_for(&many, &first).unwrap();
    assert_eq!((images.count(), images.values[3]), (3, byte_to_value(7)));
    let short = sparse("short.idx", &[50_000, 28, 28], 39_199_999);
    assert_says(read_for(&short, &first), &["truncated", "only 39199999 found"]);
}

// ---- weights

#[test]
fn weights_files() {
    let network = fixture("tiny.toml");
    let network = network.to_str();
    let load = |name: &str, ignore_extra_tensors: bool| {
        Model::load_with(
            fixture(name),
            network,
            LoadOptions { ignore_extra_tensors, ..LoadOptions::default() },
        )
    };
    let plain = load("tiny.safetensors", false).unwrap();
    assert!(plain.notes.is_empty());
    let words = ["batch normalisation", "`ignore_extra_tensors`", "running_mean"];
    assert_says(load("tiny_batchnorm.safetensors", false), &words);
    let ignored = load("tiny_batchnorm.safetensors", true).unwrap();
    assert!(ignored.notes[0].contains("are passed over"), "{:?}", ignored.notes);
    let prefixed = load("tiny_module_prefix.safetensors", false).unwrap();
    assert_eq!(prefixed.model, plain.model);
    assert!(prefixed.notes[0].contains("`module.`"), "{:?}", prefixed.notes);
    assert_says(load("tiny_int8_bias.safetensors", false), &["\"dense1.bias\" is of type I8", "F32"]);
    assert_says(load("pytorch_zip.pt", false), &["PyTorch", "safetensors.torch.save_file"]);
    assert_says(load("lfs_pointer.safetensors", false), &["Git LFS pointer", "git lfs pull"]);
    assert_says(load("plain.idx3-ubyte", false), &["is an IDX file", "safetensors"]);
    assert_says(load("tiny.toml", false), &["is a text file", "safetensors"]);
    assert_says(load("turned.jpg", false), &["is a JPEG picture"]);
    // Packed, and given as data.
    let folder = tempfile::tempdir().unwrap();
    let packed = file(&folder, "w.safetensors.gz", gzip(std::fs::read(fixture("tiny.safetensors")).unwrap()));
    assert_eq!(Model::load(&packed, network).unwrap(), plain.model);
    assert_says(open(&fixture("tiny.safetensors")), &["safetensors file of weights", "load it as a model"]);
    assert_says(images_for(&fixture("pytorch_zip.pt")), &["PyTorch", "numpy.save"]);
}

/// A safetensors file of F32 tensors, zeros.
fn zeros<'a>(tensors: impl IntoIterator<Item = (&'a str, &'a [usize])>) -> Vec<u8> {
    tensors_file(tensors.into_iter().map(|(name, dims)| (name, dims, vec![0.0; dims.iter().product()])))
}

#[test]
fn names_of_tensors_in_weights_files() {
    let folder = tempfile::tempdir().unwrap();
    let network = fixture("tiny.toml");
    let load = |prefix: &str, more: &[(&str, &[usize])]| {
        let own: [(&str, &[usize]); 4] = [
            ("dense1.weight", &[4, 2]),
            ("dense1.bias", &[4]),
            ("dense2.weight", &[1, 4]),
            ("dense2.bias", &[1]),
        ];
        let names: Vec<_> = own.iter().map(|(name, shape)| (format!("{prefix}{name}"), *shape)).collect();
        let own = names.iter().map(|(name, shape)| (name.as_str(), *shape));
        let path = file(&folder, "w.safetensors", zeros(own.chain(more.iter().copied())));
        Model::load_with(path, network.to_str(), LoadOptions::default())
    };
    for prefix in ["module.", "model.", "_orig_mod.", "net.", "module._orig_mod.", "a.b.c."] {
        assert!(load(prefix, &[]).unwrap().notes[0].contains(prefix));
    }
    assert!(load("ema.", &[]).unwrap().notes.is_empty());
    // A head that is deeper, an extra bias, a name that does not share the prefix.
    assert_says(
        load("", &[("dense3.weight", &[1, 1]), ("dense3.bias", &[1])]),
        &["2 tensors", "dense3.bias, dense3.weight"],
    );
    assert_says(load("", &[("scale", &[])]), &["1 tensors", "(scale)"]);
    assert_says(
        load("module.", &[("module.norm.running_mean", &[4])]),
        &["norm.running_mean", "batch normalisation"],
    );
    assert_says(load("module.", &[("epoch", &[])]), &["5 tensors"]);
    // Missing in parts.
    let path = file(&folder, "w.safetensors", zeros([("dense1.weight_orig", &[4, 2][..])]));
    let options = LoadOptions { ignore_extra_tensors: true, ..LoadOptions::default() };
    assert_says(
        Model::load_with(path, network.to_str(), options),
        &["dense1.weight", "remove_spectral_norm"],
    );
    // A tensor far larger than the network's is not read.
    let path = folder.path().join("huge.safetensors");
    let listing =
        r#"{"dense1.weight":{"dtype":"F32","shape":[4000000000,2],"data_offsets":[0,32000000000]}}"#;
    let head = [&(listing.len() as u64).to_le_bytes()[..], listing.as_bytes()].concat();
    std::fs::write(&path, &head).unwrap();
    std::fs::OpenOptions::new()
        .write(true)
        .open(&path)
        .unwrap()
        .set_len(head.len() as u64 + 32_000_000_000)
        .unwrap();
    assert_says(
        Model::load(&path, network.to_str()),
        &["dense1.weight", "shape [4000000000, 2], not [4, 2]"],
    );
    assert!(load_tensors(fixture("tiny.safetensors")).unwrap().0.is_none());
}

#[test]
fn toml_of_a_million_layers_is_refused_unread() {
    let folder = tempfile::tempdir().unwrap();
    let many = format!("input = [2]\nlayers = [{}]", "\"pool\", ".repeat(1_000_000));
    let path = file(&folder, "many.toml", many.as_bytes());
    for result in [
        thalweg::network::NetworkSpec::from_toml_file(&path).map(|_| ()),
        thalweg::Recipe::from_toml_file(&path, thalweg::Recipe::default()).map(|_| ()),
    ] {
        assert_says(result, &["many.toml", "bytes long; at most"]);
    }
    let many = format!("input = [2]\nlayers = [{}]", "\"pool\", ".repeat(300));
    let path = file(&folder, "few.toml", many.as_bytes());
    assert_says(thalweg::network::NetworkSpec::from_toml_file(&path), &["300 layers are too many"]);
}
