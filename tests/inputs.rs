//! Files that users give: formats of others, packed ones, pipes, and what they hold; see `src/source.rs`.

use std::io::{Read, Write};
use std::path::{Path, PathBuf};

use flate2::Compression;
use flate2::write::GzEncoder;
use tempfile::TempDir;
use thalweg::error::printable;
use thalweg::source::{Content, Known, Source, read_text};

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut packer = GzEncoder::new(Vec::new(), Compression::default());
    packer.write_all(bytes).unwrap();
    packer.finish().unwrap()
}

fn file(folder: &TempDir, name: &str, bytes: &[u8]) -> PathBuf {
    let path = folder.path().join(name);
    std::fs::write(&path, bytes).unwrap();
    path
}

fn assert_says<T>(result: thalweg::Result<T>, words: &[&str]) {
    let error = result.err().expect("an error").to_string();
    for word in words {
        assert!(error.contains(word), "{word:?} is missing in: {error}");
    }
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
    let packed = file(&folder, "a.gz", &gzip(&[0; 100_000]));
    let plain = file(&folder, "a", &[0; 100_000]);
    for path in [&packed, &plain] {
        assert_eq!(Source::open(path, 100_000).unwrap().read_all().unwrap().len(), 100_000);
    }
    let mut source = Source::open(&packed, 99_999).unwrap();
    assert_says(source.read_all(), &["unpacks to more than"]);
    assert_says(Source::open(&plain, 99_999), &["is 100000 bytes long; at most 99999 are read"]);
    // A thousand times its size.
    let bomb = file(&folder, "bomb.gz", &gzip(&vec![0; 70 << 20]));
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
    for (name, bytes, what) in [
        ("a", b"version https://git-lfs.github.com/spec/v1\noid sha256:00".to_vec(), "Git LFS pointer"),
        ("a", b"\n <!DOCTYPE html>\n<html>".to_vec(), "web page"),
        ("a", b"\xef\xbb\xbf<HTML lang=en>".to_vec(), "web page"),
        ("a", b"<?xml version='1.0'?><Error><Code>AccessDenied".to_vec(), "XML"),
        ("a", zip("archive/data.pkl"), "PyTorch"),
        ("a", zip("model_7/data.pkl"), "PyTorch"),
        ("a", b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19.\x80".to_vec(), "PyTorch"),
        ("a", b"\x80\x04\x95\x10\0\0\0\0\0".to_vec(), "pickle"),
        ("a", b"\x80\x02}q\x01(U\x0bbatch_labelq\x02U\x15".to_vec(), "CIFAR"),
        ("a", b"\x89HDF\r\n\x1a\n\0\0".to_vec(), "HDF5"),
        ("a", [zip("metadata.json"), zip("config.json")].concat(), "Keras"),
        ("a", zip("[Content_Types].xml"), "spreadsheet"),
        ("a", zip("pictures/1.png"), "zip archive"),
        ("a", b"\x08\x07\x12\x07pytorch\x1a".to_vec(), "ONNX"),
        ("m.ONNX", b"\x08\x07\x12\x09skl2onnx\x1a".to_vec(), "ONNX"),
        ("saved_model.pb", b"\x08\x01\x12\xff\x01".to_vec(), "TensorFlow"),
        ("a", b"MATLAB 5.0 MAT-file, Platform".to_vec(), "MATLAB"),
        ("a", b"PAR1\x15\x04".to_vec(), "Parquet"),
        ("a", at(257, b"ustar\x0000"), "tar"),
        ("a", b"\xfd7zXZ\0\0\x04".to_vec(), "xz"),
        ("a", b"BZh91AY&SY".to_vec(), "bzip2"),
        ("a", b"\x28\xb5\x2f\xfd\x24".to_vec(), "zstd"),
        ("a", b"%PDF-1.5".to_vec(), "PDF"),
        ("a", b"GIF89a".to_vec(), "picture of another format"),
        ("a", b"RIFF\x10\0\0\0WEBPVP8 ".to_vec(), "picture of another format"),
    ] {
        for packed in [false, true] {
            let bytes = if packed { gzip(&bytes) } else { bytes.clone() };
            match Source::of_bytes(Path::new(name), bytes, 1 << 20).unwrap().content() {
                Content::Foreign(foreign) => assert!(foreign.what.contains(what), "{what}: {foreign:?}"),
                other => panic!("{what}: {other:?}"),
            }
        }
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
