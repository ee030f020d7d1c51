//! Reading and writing data: what works, and one clear error for each thing that can be wrong.

use std::fs;
use std::path::Path;

use crate::common::{
    content, file, gzip, idx as file_of, le, npy_case, npy_file, npy_raw, put, rows_refused, shape, unescaped,
};
use thalweg::data::toy::TOYS;
use thalweg::data::{self, ByteImages, Dataset, Examples, Images, idx, npy, picture_file};
use thalweg::files::write_atomically;
use thalweg::{Error, Result};

// ---- helpers

/// Images of bytes 0, 1, 2, ...
fn idx_images(count: u32, height: u32, width: u32) -> Vec<u8> {
    let bytes: Vec<u8> = (0..count * height * width).map(|i| i as u8).collect();
    file_of(0x803, &[count, height, width], &bytes)
}

fn write_png(path: &Path, color: image::ExtendedColorType, width: u32, bytes: &[u8]) {
    let height = bytes.len() as u32 * 8 / u32::from(color.bits_per_pixel()) / width;
    image::save_buffer(path, bytes, width, height, color).unwrap();
}

/// Asserts that the message names `path` and contains each of `words`.
#[track_caller]
fn assert_says<T>(result: Result<T>, path: &Path, words: &[&str]) {
    let message = match result {
        Ok(_) => panic!("no error; expected one that says {words:?}"),
        Err(error) => error.to_string(),
    };
    for word in words.iter().copied().chain(path.to_str()) {
        assert!(message.contains(word), "{word:?} is missing in: {message}");
    }
}

#[track_caller]
fn assert_idx_fails(content: &[u8], words: &[&str]) {
    let (_folder, path) = put("some.idx", content);
    assert_says(idx::read_images(&path), &path, words);
}

#[track_caller]
fn assert_npy_fails(content: &[u8], words: &[&str]) {
    let (_folder, path) = put("some.npy", content);
    assert_says(data::read_images(&path), &path, words);
}

fn names_in(folder: &Path) -> Vec<String> {
    let mut names: Vec<_> =
        fs::read_dir(folder).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

// ---- IDX

#[test]
fn idx_reads_plain_and_gzipped_whatever_the_name() {
    let raw = idx_images(3, 4, 5);
    let expected = ByteImages { shape: shape(1, 4, 5), bytes: (0..60).collect() };
    for (name, content) in [("a.gz", &raw), ("a.idx", &gzip(&raw)), ("a.gz", &gzip(&raw)), ("a", &raw)] {
        let (_folder, path) = put(name, content);
        assert_eq!(idx::read_images(&path).unwrap(), expected);
        assert_eq!(data::read_images(&path).unwrap(), expected.to_images());
    }
    let labels = file_of(0x801, &[4], &[7, 2, 1, 0]);
    for content in [&labels, &gzip(&labels)] {
        let (_folder, path) = put("labels", content);
        assert_eq!(idx::read_labels(&path).unwrap(), [7, 2, 1, 0]);
    }
}

#[test]
fn idx_missing() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("none");
    assert_says(idx::read_images(&path), &path, &["could not read", "No such file"]);
    assert_says(data::read_images(&path), &path, &["could not read", "No such file"]);
}

#[test]
fn idx_truncated() {
    let raw = idx_images(3, 4, 5);
    assert_idx_fails(b"", &["truncated", "only 0 found"]);
    assert_idx_fails(&raw[..3], &["truncated", "4 bytes of magic", "only 3 found"]);
    assert_idx_fails(&raw[..15], &["truncated", "header takes 16 bytes", "only 15 found"]);
    let words = ["truncated", "promises 60 bytes", "3x4x5", "offset 16", "only 59 found"];
    assert_idx_fails(&raw[..75], &words);
    assert_idx_fails(&gzip(&raw[..75]), &words);
    let zipped = gzip(&raw);
    for len in [2, 9, 15, 40, zipped.len() - 1] {
        assert_idx_fails(&zipped[..len], &["truncated", "gzip stream breaks off"]);
    }
}

#[test]
fn idx_files_that_can_not_be() {
    rows_refused("parsers.txt", "idx", |case| {
        let parts: Vec<_> = case.split(" ; ").collect();
        let dims: Vec<u32> = parts[1].split(' ').map(|dim| dim.parse().unwrap()).collect();
        let raw = file_of(u32::from_str_radix(parts[0], 16).unwrap(), &dims, &content(parts[2]));
        // Packed, it is refused with the same words, unless it would unpack to too much.
        let folder = tempfile::tempdir().unwrap();
        let messages = [&raw, &gzip(&raw)].map(|bytes| {
            let path = file(&folder, "some.idx", bytes);
            Some(idx::read_images(&path).err()?.to_string())
        });
        let is_large = messages[1].as_ref().is_some_and(|text| text.contains("unpacks to more than"));
        assert!(is_large || messages[0] == messages[1], "{messages:?}");
        messages[0].clone()
    });
    let words = ["no IDX file", "68, 65", "offset 0", "expected [00, 00, 08, 03]"];
    assert_idx_fails(b"hello, world, what now", &words);
    let (_folder, path) = put("images", idx_images(1, 2, 2));
    assert_says(idx::read_labels(&path), &path, &["holds images", "not labels", "labels-idx1-ubyte"]);
    let (_folder, path) = put("labels", file_of(0x801, &[0], &[]));
    assert_says(idx::read_labels(&path), &path, &["holds no labels"]);
}

#[test]
fn idx_gzip_bomb() {
    // 64 MiB of zeros behind a header that promises 784 bytes, broken off half-way: a reader that went on past the
    // promised bytes would run into the break and say so instead.
    let bomb = gzip([file_of(0x803, &[1, 28, 28], &[]), vec![0; 64 << 20]].concat());
    let words = ["trailing garbage", "promises 784 bytes", "more at offset 800"];
    assert_idx_fails(&bomb, &words);
    assert_idx_fails(&bomb[..bomb.len() / 2], &words);
}

#[test]
fn idx_trailing_garbage() {
    let mut raw = idx_images(3, 4, 5);
    let packed = gzip(&raw);
    raw.push(0);
    assert_idx_fails(&raw, &["trailing garbage", "promises 60 bytes", "offset 76"]);
    assert_idx_fails(&gzip(&raw), &["trailing garbage", "offset 76"]);
    assert_idx_fails(&[&packed[..], b"x"].concat(), &["trailing garbage", "end of its gzip stream"]);
    // Two members are one file after the other.
    assert_idx_fails(&[&packed[..], &packed].concat(), &["trailing garbage", "offset 76"]);
}

#[test]
fn idx_corrupt_gzip() {
    let mut packed = gzip(idx_images(3, 4, 5));
    let checksum = packed.len() - 8;
    packed[checksum] ^= 1;
    assert_idx_fails(&packed, &["corrupt gzip"]);
    packed[checksum] ^= 1;
    packed[10] = 0xff; // reserved block type
    assert_idx_fails(&packed, &["corrupt gzip"]);
}

// ---- npy

#[test]
fn npy_reads_floats_of_either_byte_order_and_bytes() {
    let values = [0.0, -1.0, 1.0, 0.25, f32::MIN_POSITIVE, -0.0];
    let be: Vec<u8> = values.iter().flat_map(|v| v.to_be_bytes()).collect();
    let expected = Images { shape: shape(1, 3, 1), values: values.to_vec() };
    for (descr, shape, bytes) in [
        ("'<f4'", "(2, 3, 1)", &le(&values)),
        ("'>f4'", "(2, 1, 3, 1)", &be),
        ("\"<f4\"", "[2,3,1]", &le(&values)),
    ] {
        let (_folder, path) = put("a.npy", npy_file(descr, "False", shape, bytes));
        assert_eq!(data::read_images(&path).unwrap(), expected);
    }
    let (_folder, path) =
        put("named.anything", npy_file("'|u1'", "False", "(1, 3, 1, 2)", &[0, 255, 1, 2, 3, 4]));
    let bytes = ByteImages { shape: shape(3, 1, 2), bytes: vec![0, 255, 1, 2, 3, 4] };
    assert_eq!(data::read_images(&path).unwrap(), bytes.to_images());
    // Version 2 has a longer length field.
    let header = b"{'descr': '|u1', 'fortran_order': False, 'shape': (1, 1, 2)}";
    let (_folder, path) =
        put("v2.npy", npy_raw(&[2, 0], &(header.len() as u32).to_le_bytes(), header, &[0, 255]));
    assert_eq!(data::read_images(&path).unwrap().values, [-1.0, 1.0]);
}

#[test]
fn npy_writes_what_it_and_npyz_read() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.npy");
    let values: Vec<f32> = (0..24).map(|i| i as f32 / 24.0 - 0.5).collect();
    for dims in [&[2, 1, 3, 4][..], &[2, 3, 4], &[24], &[24, 1]] {
        npy::write_f32(&path, dims, &values).unwrap();
        let content = fs::read(&path).unwrap();
        assert_eq!((content.len() - 96) % 64, 0, "data is aligned");
        let other = npyz::NpyFile::new(&content[..]).unwrap();
        assert_eq!(other.shape(), dims.iter().map(|&d| d as u64).collect::<Vec<_>>());
        assert_eq!(other.into_vec::<f32>().unwrap(), values);
        if dims.len() > 2 {
            assert_eq!(
                data::read_images(&path).unwrap(),
                Images { shape: shape(1, 3, 4), values: values.clone() }
            );
        }
    }
    npy::write_f32(&path, &[], &[0.5]).unwrap();
    assert!(npyz::NpyFile::new(&fs::read(&path).unwrap()[..]).unwrap().shape().is_empty());
    assert_eq!(names_in(folder.path()), ["a.npy"]);
}

#[test]
fn npy_truncated_or_longer() {
    let whole = npy_file("'<f4'", "False", "(2, 1, 1)", &le(&[0.5, 0.5]));
    assert_npy_fails(b"", &["is empty"]);
    assert_npy_fails(&whole[..4], &["truncated", "10 bytes", "only 4 found"]);
    assert_npy_fails(&whole[..30], &["truncated", "header takes", "only 20 found"]);
    assert_npy_fails(&whole[..whole.len() - 1], &["truncated", "promise 8 bytes", "only 7 found", "offset"]);
    assert_npy_fails(&[&whole[..], b"\0"].concat(), &["trailing bytes", "promise 8 bytes", "offset"]);
}

#[test]
fn npy_files_that_can_not_be() {
    let refuse = |case: &str| {
        let (_folder, path) = put("some.npy", npy_case(case));
        Some(data::read_images(&path).err()?.to_string())
    };
    rows_refused("parsers.txt", "npy images", refuse);
    assert_eq!(refuse("'<f4' ; (1, 1, 2) ; f 1 -1.0009"), None);
    assert_npy_fails(b"PK\x03\x04 this is an npz", &["zip archive", "unpack"]);
    assert_npy_fails(&npy_raw(&[9, 0], &[0, 0], b"", b""), &["version 9"]);
    assert_npy_fails(&npy_raw(&[1, 0], &[3, 0], b"{'a", b""), &["header", "not readable"]);
    assert_npy_fails(&npy_raw(&[2, 0], &[255; 4], b"{", b""), &["4294967295 bytes", "10000"]);
    // Would keep npyz busy for days.
    assert_npy_fails(&npy_raw(&[1, 0], &40_u16.to_le_bytes(), &[b'['; 40], b""), &["structured"]);
    let nested = format!("'False', 'a': {}1{}", "[".repeat(40), "]".repeat(40));
    assert_npy_fails(&npy_file("'<f4'", &nested, "(1, 1, 1)", &[0; 4]), &["structured"]);
}

// ---- PNG

#[test]
fn png_colours() {
    use image::ExtendedColorType::{L8, La8, Rgb8, Rgba8};
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.png");
    for (color, bytes, channels, expected) in [
        (L8, &[0, 1, 2, 3, 254, 255][..], 1, &[0, 1, 2, 3, 254, 255][..]),
        (Rgb8, &[1, 2, 3, 4, 5, 6], 3, &[1, 4, 2, 5, 3, 6]),
        (La8, &[100, 255, 100, 0, 100, 128, 255, 128], 1, &[100, 0, 50, 128]),
        (Rgba8, &[10, 20, 30, 255, 10, 20, 30, 0], 3, &[10, 0, 20, 0, 30, 0]),
    ] {
        write_png(&path, color, 2, bytes);
        let width_2 = shape(channels, expected.len() / channels / 2, 2);
        let images = ByteImages { shape: width_2, bytes: expected.to_vec() };
        assert_eq!(picture_file::read_file(&path).unwrap(), images, "{color:?}");
        assert_eq!(data::read_images(&path).unwrap(), images.to_images());
    }
}

#[test]
fn png_folder_in_order_of_names() {
    let folder = tempfile::tempdir().unwrap();
    for (name, byte) in [("b.png", 2), ("a.PNG", 1), ("c.png", 3)] {
        write_png(&folder.path().join(name), image::ExtendedColorType::L8, 1, &[byte]);
    }
    fs::write(folder.path().join("notes.txt"), "not an image").unwrap();
    fs::write(folder.path().join("._a.png"), "not an image").unwrap();
    let expected: Vec<f32> = [1, 2, 3].map(data::byte_to_value).to_vec();
    assert_eq!(data::read_images(folder.path()).unwrap().values, expected);

    let odd = folder.path().join("bb.png");
    write_png(&odd, image::ExtendedColorType::L8, 2, &[0, 0]);
    assert_says(data::read_images(folder.path()), &odd, &["is 1x2 pixels", "a.PNG is 1x1", "one size"]);
}

#[test]
fn png_bad() {
    let folder = tempfile::tempdir().unwrap();
    assert_says(data::read_images(folder.path()), folder.path(), &["Looked for *.png", "It is empty"]);
    let path = folder.path().join("a.png");
    write_png(&path, image::ExtendedColorType::L8, 4, &[9; 64]);
    let whole = fs::read(&path).unwrap();
    // An enormous size, with the chunk's sum set right.
    let mut huge = whole.clone();
    huge[16..24].copy_from_slice(&[0x7f, 0xff, 0xff, 0xff, 0x7f, 0xff, 0xff, 0xff]);
    let mut sum = flate2::Crc::new();
    sum.update(&huge[12..29]);
    huge[29..33].copy_from_slice(&sum.sum().to_be_bytes());
    for (content, words) in [
        (&whole[..whole.len() / 2], &["no readable PNG"][..]),
        (b"not a png", &["no readable PNG", "it is text"]),
        (b"", &["no readable PNG", "it is empty"]),
        (&huge, &["no readable PNG"]),
    ] {
        fs::write(&path, content).unwrap();
        assert_says(data::read_images(folder.path()), &path, words);
    }
}

// ---- in memory

#[test]
fn bytes_scale_exactly() {
    let images = ByteImages { shape: shape(1, 16, 16), bytes: (0..=255).collect() };
    let scaled = images.to_images();
    assert_eq!((scaled.shape, scaled.count()), (images.shape, 1));
    assert_eq!((scaled.values[0], scaled.values[255]), (-1.0, 1.0));
    for (v, value) in scaled.values.iter().enumerate() {
        assert_eq!(*value, (v as f32 - 127.5) / 127.5);
        assert_eq!(*value, -scaled.values[255 - v]);
        assert_eq!((value * 127.5 + 127.5).round(), v as f32);
    }
}

#[test]
fn images_counted_and_split() {
    let mut images = ByteImages { shape: shape(3, 1, 2), bytes: (0..30).collect() };
    assert_eq!(images.count(), 5);
    assert_eq!(images.image(2), [12, 13, 14, 15, 16, 17]);
    let last = images.split_off_last(2);
    assert_eq!((images.count(), last.count(), last.shape), (3, 2, images.shape));
    assert_eq!(last.bytes, (18..30).collect::<Vec<u8>>());
    assert_eq!(images.split_off_last(0).count(), 0);
    assert_eq!(ByteImages { shape: shape(1, 0, 0), bytes: vec![] }.count(), 0);
}

#[test]
fn padding() {
    let images = Images { shape: shape(1, 1, 2), values: vec![0.1, 0.2, 0.3, 0.4] };
    let padded = images.padded_to(shape(1, 2, 5)).unwrap();
    let n = -1.0;
    #[rustfmt::skip]
    let expected = [
        n, 0.1, 0.2, n, n,
        n,   n,   n, n, n,
        n, 0.3, 0.4, n, n,
        n,   n,   n, n, n,
    ];
    assert_eq!(padded, Images { shape: shape(1, 2, 5), values: expected.to_vec() });
    assert_eq!(padded.image(1), &expected[10..]);
    assert_eq!(images.padded_to(images.shape).unwrap(), images);
    for wrong in [shape(1, 1, 1), shape(1, 0, 9), shape(3, 9, 9)] {
        assert_says(images.padded_to(wrong), Path::new(&wrong.to_string()), &["1x1x2"]);
    }
    let colour = Images { shape: shape(3, 1, 1), values: vec![0.1, 0.2, 0.3] };
    let padded = colour.padded_to(shape(3, 2, 2)).unwrap();
    assert_eq!(padded.values, [0.1, n, n, n, 0.2, n, n, n, 0.3, n, n, n]);
}

// ---- data sets

#[test]
fn shipped_digits() {
    let digits = Dataset::open("digits").unwrap();
    assert_eq!(digits.name, "digits");
    assert_eq!((digits.train.count(), digits.held_out.count()), (9_000, 1_000));
    assert_eq!((digits.train.shape(), digits.held_out.shape), (shape(1, 28, 28), shape(1, 28, 28)));
    let Examples::Bytes(train) = &digits.train else { panic!("digits are bytes") };
    let mean = train.bytes.iter().map(|&byte| f64::from(byte)).sum::<f64>() / (9_000.0 * 784.0);
    assert!((32.0..35.0).contains(&mean), "mean {mean}; MNIST's is 33.3");
}

#[test]
fn folder_of_idx_files() {
    let folder = tempfile::tempdir().unwrap();
    let dir = folder.path().to_str().unwrap();
    let put = |name: &str, content: &[u8]| fs::write(folder.path().join(name), content).unwrap();
    assert_says(
        Dataset::open(dir),
        folder.path(),
        &["Looked for", "train-images-idx3-ubyte", ".gz", "data_batch_1.bin"],
    );

    for name in ["train-images-idx3-ubyte", "train-images.idx3-ubyte.gz"] {
        put(name, &gzip(idx_images(25, 2, 3)));
        let alone = Dataset::open(dir).unwrap();
        assert_eq!((alone.train.count(), alone.held_out.count()), (23, 2));
        let last: Vec<f32> = (138..150).map(data::byte_to_value).collect();
        assert_eq!(alone.held_out.values, last);
        assert_eq!(data::read_images(dir).unwrap().count(), 25);

        put("t10k-images-idx3-ubyte.gz", &idx_images(4, 2, 3));
        let both = Dataset::open(dir).unwrap();
        assert_eq!((both.name.as_str(), both.train.count(), both.held_out.count()), (dir, 25, 4));
        assert_eq!(data::read_images(dir).unwrap().count(), 4);

        put("t10k-images-idx3-ubyte.gz", &idx_images(4, 3, 2));
        let odd = folder.path().join("t10k-images-idx3-ubyte.gz");
        assert_says(Dataset::open(dir), &odd, &["1x3x2", "1x2x3"]);
        put("t10k-images-idx3-ubyte.gz", b"");
        assert_says(Dataset::open(dir), &odd, &["truncated"]);
        fs::remove_file(odd).unwrap();
        fs::remove_file(folder.path().join(name)).unwrap();
    }
}

#[test]
fn one_file_as_a_data_set() {
    let open = |path: &Path| Dataset::open(path.to_str().unwrap());
    let (_folder, path) = put("a.idx", idx_images(20, 2, 3));
    let set = open(&path).unwrap();
    assert_eq!((set.train.count(), set.held_out.count()), (18, 2));
    let (_folder, path) = put("a.npy", npy_file("'|u1'", "False", "(5, 3, 1, 1)", &[0; 15]));
    let set = open(&path).unwrap();
    assert_eq!((set.train.count(), set.held_out.count(), set.train.shape()), (4, 1, shape(3, 1, 1)));

    let (_folder, path) = put("one.idx", idx_images(1, 2, 3));
    assert_says(open(&path), &path, &["at least 2"]);
    let (_folder, path) = put("a.png", b"\x89PNG");
    assert_says(open(&path), &path, &["one picture", "IDX"]);
    let (_folder, path) = put("labels.gz", gzip(file_of(0x801, &[3], &[1, 2, 3])));
    assert_says(open(&path), &path, &["holds labels", "not images"]);
    let (_folder, path) = put("words.txt", b"some words");
    assert_says(open(&path), &path, &["no rows of numbers"]);
    assert_says(data::read_images(&path), &path, &["table", "images are needed"]);
    let (_folder, path) = put("empty", b"");
    assert_says(open(&path), &path, &["empty"]);
    let path = path.with_file_name("absent");
    assert_says(
        open(&path),
        &path,
        &["no such file or folder", "`digits`", "train-images-idx3-ubyte", ".npy"],
    );
    assert_says(Dataset::open(""), Path::new(""), &["no such file or folder"]);
}

#[test]
fn npy_of_points_and_sequences() {
    let open = |path: &Path| Dataset::open(path.to_str().unwrap());
    let values: Vec<f32> = (0..24).map(|i| i as f32 * 10.0 - 100.0).collect();
    let wide: Vec<u8> = values.iter().flat_map(|v| f64::from(*v).to_be_bytes()).collect();
    for (descr, bytes) in [("'<f4'", le(&values)), ("'>f8'", wide)] {
        let (_folder, path) = put("a.npy", npy_file(descr, "False", "(12, 2)", &bytes));
        let set = open(&path).unwrap();
        let Examples::Floats(train) = &set.train else { panic!("{set:?}") };
        assert_eq!((train.shape, train.count(), set.held_out.count()), (shape(2, 1, 1), 11, 1));
        assert_eq!([&train.values[..], &set.held_out.values].concat(), values);
        assert_eq!(data::read_points(&path).unwrap().values, values);

        // [n, time, d]: a channel's moments lie side by side in memory, and a moment's channels in the file.
        let (_folder, path) = put("a.npy", npy_file(descr, "False", "(2, 4, 3)", &bytes));
        let sequences = data::read_points(&path).unwrap();
        assert_eq!(sequences.shape, shape(3, 1, 4));
        for (n, time, d) in [(0, 0, 0), (0, 1, 0), (0, 3, 2), (1, 2, 1)] {
            assert_eq!(sequences.image(n)[d * 4 + time], values[(n * 4 + time) * 3 + d]);
        }
        assert_eq!(npy::swap(&sequences.values, 3, 4), values);
    }
    // Four dimensions are images, of floats as well.
    let (_folder, path) = put("a.npy", npy_file("'<f4'", "False", "(2, 1, 2, 2)", &le(&[0.5; 8])));
    let set = open(&path).unwrap();
    assert!(matches!(&set.train, Examples::Floats(images) if images.shape == shape(1, 2, 2)));
    assert_says(data::read_points(&path), &path, &["holds images", "CSV"]);

    let both = |bytes: Vec<u8>| {
        let (_folder, path) = put("a.npy", bytes);
        let messages = [open(&path).err()?.to_string(), data::read_points(&path).err()?.to_string()];
        assert_eq!(messages[0], messages[1]);
        messages.into_iter().next()
    };
    rows_refused("parsers.txt", "npy points", |case| both(npy_case(case)));
    let wide = [0.0_f64, 1e300].map(f64::to_le_bytes).concat();
    let message = both(npy_file("'<f8'", "False", "(1, 1, 2)", &wide)).unwrap();
    assert!(["1e300", "[0, 0, 1]", "32-bit"].iter().all(|word| message.contains(word)), "{message}");
}

#[test]
fn csv_files() {
    let open = |path: &Path| Dataset::open(path.to_str().unwrap());
    for text in [
        "1,2.5\n-3e1,4\n5,6\n",
        "x, y\r\n1, 2.5\r\n\r\n -30 ,4\r\n5,6",
        "\u{feff}1,2.5\n-30,\"4\"\n5,6\n",
        "\u{feff}\"a, b\",c\n1,2.5\n-30,4\n5,6\n",
    ] {
        let (_folder, path) = put("a.csv", text.as_bytes());
        let points = data::read_points(&path).unwrap();
        assert_eq!(
            (points.shape, &points.values[..]),
            (shape(2, 1, 1), &[1.0, 2.5, -30.0, 4.0, 5.0, 6.0][..])
        );
        let set = open(&path).unwrap();
        assert_eq!((set.train.count(), set.held_out.count(), set.train.shape()), (2, 1, shape(2, 1, 1)));
        assert_says(data::read_images(&path), &path, &["CSV", "images are needed"]);
    }
    rows_refused("parsers.txt", "tables", |text| {
        let (_folder, path) = put("a.csv", unescaped(text));
        let messages = [open(&path).err()?.to_string(), data::read_points(&path).err()?.to_string()];
        assert!(messages.iter().all(|message| *message == messages[0]), "{messages:?}");
        messages.into_iter().next()
    });
    let (_folder, path) = put("a.csv", b"1,2\n");
    assert_says(open(&path), &path, &["1 example", "at least 2"]);
}

#[test]
fn cifar_10_batches() {
    let batch = |labels: &[u8]| -> Vec<u8> {
        labels.iter().flat_map(|label| [&[*label][..], &[label * 10; 3072]].concat()).collect()
    };
    let folder = tempfile::tempdir().unwrap();
    let dir = folder.path().to_str().unwrap();
    let put = |name: &str, content: &[u8]| fs::write(folder.path().join(name), content).unwrap();
    put("data_batch_2.bin", &batch(&[3, 4]));
    put("data_batch_1.bin", &batch(&[0, 1, 2]));
    let Examples::Bytes(train) = Dataset::open(dir).unwrap().train else { panic!("bytes") };
    assert_eq!((train.shape, train.count()), (shape(3, 32, 32), 4)); // one is held out
    assert!((0..4).all(|i| train.image(i).iter().all(|byte| usize::from(*byte) == i * 10)));
    assert_eq!(data::read_images(dir).unwrap().count(), 5);

    put("test_batch.bin", &batch(&[9]));
    let set = Dataset::open(dir).unwrap();
    assert_eq!((set.train.count(), set.held_out.count()), (5, 1));
    assert_eq!(set.held_out.values, vec![data::byte_to_value(90); 3072]);
    assert_eq!(data::read_images(dir).unwrap(), set.held_out);

    let one = folder.path().join("data_batch_1.bin");
    let set = Dataset::open(one.to_str().unwrap()).unwrap();
    assert_eq!((set.train.count(), set.held_out.count()), (2, 1));
    put("data_batch_1.bin", &batch(&[0, 1])[1..]);
    assert_says(Dataset::open(dir), &one, &["6145 bytes", "3073"]);
    put("data_batch_1.bin", &batch(&[0, 10]));
    assert_says(Dataset::open(one.to_str().unwrap()), &one, &["label 10 at offset 3073"]);
    put("data_batch_1.bin", b"");
    assert_says(Dataset::open(dir), &one, &["0 bytes"]);
}

#[test]
fn folder_of_pictures_as_a_data_set() {
    let folder = tempfile::tempdir().unwrap();
    let dir = folder.path().to_str().unwrap();
    let picture = |level: u8| image::RgbImage::from_pixel(8, 8, image::Rgb([level, 2 * level, 100]));
    for level in 0..10 {
        picture(level).save(folder.path().join(format!("{level}.png"))).unwrap();
    }
    let photo = folder.path().join("9b.JPG");
    picture(50).save(&photo).unwrap();
    let set = Dataset::open(dir).unwrap();
    assert_eq!((set.train.count(), set.held_out.count(), set.train.shape()), (10, 1, shape(3, 8, 8)));
    let Examples::Bytes(train) = &set.train else { panic!("bytes") };
    assert_eq!([train.image(3)[0], train.image(3)[64], train.image(3)[128]], [3, 6, 100]);
    // The photo comes last, and JPEG keeps a plain surface to within a level or two.
    let close = |at: usize, level: u8| (set.held_out.values[at] - data::byte_to_value(level)).abs() < 0.03;
    assert!(close(0, 50) && close(64, 100) && close(128, 100), "{:?}", set.held_out.image(0));

    let odd = folder.path().join("5b.jpeg");
    image::GrayImage::new(8, 9).save(&odd).unwrap();
    assert_says(Dataset::open(dir), &odd, &["is 9x8 pixels", "0.png is 8x8", "one size"]);
}

#[test]
fn toy_sets() {
    for toy in TOYS {
        let set = Dataset::open(toy.name()).unwrap();
        assert_eq!((&set.train, set.toy), (&Examples::Toy(toy, 10_000), Some(toy)));
        assert_eq!(
            (set.train.shape(), set.held_out.shape, set.held_out.count()),
            (shape(2, 1, 1), shape(2, 1, 1), 1000)
        );
        let fixed = Dataset::open(&format!("{}:500", toy.name())).unwrap();
        let Examples::Floats(points) = &fixed.train else { panic!("{fixed:?}") };
        assert_eq!((points.count(), fixed.held_out.count(), fixed.toy), (500, 50, Some(toy)));
        assert_eq!(fixed, Dataset::open(&format!("{}:500", toy.name())).unwrap());
        assert_ne!(points.values[..100], fixed.held_out.values[..], "held out is held out");
    }
    for (spec, words) in [("rings:1", "`1` is no number of points"), ("rings:many", "`many` is no number")] {
        let error = Dataset::open(spec).unwrap_err().to_string();
        assert!(error.contains(words), "{error}");
    }
    assert_says(Dataset::open("ring"), Path::new("ring"), &["did you mean `rings`", "pinwheel", "`digits`"]);
}

// ---- writing

#[test]
fn atomic_write_replaces_whole_files() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("file");
    for content in ["first", "second"] {
        write_atomically(&path, |w| w.write_all(content.as_bytes())).unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), content);
    }
    assert_eq!(names_in(folder.path()), ["file"]);
}

#[test]
fn atomic_write_failing_midway_keeps_the_old_file() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("file");
    fs::write(&path, "old").unwrap();
    let result = write_atomically(&path, |writer| {
        writer.write_all(&[b'x'; 100_000])?;
        let names = names_in(folder.path());
        let (start, end) = (names[0].starts_with(".file."), names[0].ends_with(".tmp"));
        assert!(names.len() == 2 && start && end && names[0].len() == ".file.XXXX.tmp".len(), "{names:?}");
        Err(std::io::Error::other("the disk is full"))
    });
    assert!(matches!(result, Err(Error::Io { action: "write", .. })));
    assert_says(result, &path, &["could not write", "the disk is full"]);
    assert_eq!(fs::read_to_string(&path).unwrap(), "old");
    assert_eq!(names_in(folder.path()), ["file"]);

    let panicked = std::panic::catch_unwind(|| write_atomically(&path, |_| panic!("a bug")));
    assert!(panicked.is_err());
    assert_eq!(fs::read_to_string(&path).unwrap(), "old");
    assert_eq!(names_in(folder.path()), ["file"]);
}

#[test]
fn atomic_write_refuses_what_it_must_not_replace() {
    let folder = tempfile::tempdir().unwrap();
    let write = |path: &Path| write_atomically(path, |w| w.write_all(b"new"));
    let path = folder.path().join("none/file");
    assert_says(write(&path), &path, &["folder", "none does not exist", "create it"]);
    fs::write(folder.path().join("plain"), "old").unwrap();
    let path = folder.path().join("plain/file");
    assert_says(write(&path), &path, &["plain is a file, not a folder"]);
    assert_says(write(folder.path()), folder.path(), &["not a regular file"]);
    assert_says(write(Path::new("..")), Path::new(".."), &["name of a file"]);
    #[cfg(unix)]
    assert_says(write(Path::new("/dev/null")), Path::new("/dev/null"), &["not a regular file"]);
    assert_eq!(names_in(folder.path()), ["plain"]);
    assert_eq!(fs::read_to_string(folder.path().join("plain")).unwrap(), "old");
}

/// Root may write into a read-only folder, so one in which nobody can create a file stands in.
#[cfg(target_os = "linux")]
#[test]
fn atomic_write_into_a_folder_that_cannot_be_written() {
    let path = Path::new("/proc/self/file");
    assert_says(write_atomically(path, |_| Ok(())), Path::new("/proc/self"), &["could not create a file in"]);
}

#[cfg(unix)]
#[test]
fn atomic_write_gives_the_rights_of_any_new_file() {
    use std::os::unix::fs::PermissionsExt;
    let folder = tempfile::tempdir().unwrap();
    let (ours, plain) = (folder.path().join("ours"), folder.path().join("plain"));
    write_atomically(&ours, |w| w.write_all(b"x")).unwrap();
    fs::write(&plain, "x").unwrap();
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode();
    assert_eq!(mode(&ours), mode(&plain));
}
