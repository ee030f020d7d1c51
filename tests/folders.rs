//! Folders that users give: classes, parts that are held out, IDX files by their names, CIFAR's batches.

use crate::common::{assert_says, file, gzip};
use crate::inputs::{idx_file, images_for, open};
use image::{GrayImage, Luma};
use std::path::Path;
use thalweg::Images;
use thalweg::data;

/// A picture of one grey level.
fn level(path: &Path, level: u8) {
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    GrayImage::from_pixel(4, 4, Luma([level])).save(path).unwrap();
}

fn levels(images: &Images) -> Vec<u8> {
    (0..images.count()).map(|ix| (images.image(ix)[0] * 127.5 + 127.5).round() as u8).collect()
}

#[test]
fn folders_of_classes_keep_labels() {
    let folder = tempfile::tempdir().unwrap();
    for i in 0..20 {
        level(&folder.path().join(format!("cats/{i:02}.png")), i);
        level(&folder.path().join(format!("dogs/{i:02}.PNG")), 100 + i);
    }
    level(&folder.path().join("eels/only.jpeg"), 200);
    // What doesn't count.
    for other in [".DS_Store", "Thumbs.db", "labels.csv", "cats/._00.png", "cats/notes.txt"] {
        std::fs::write(folder.path().join(other), "?").unwrap();
    }
    for other in [".ipynb_checkpoints/0.png", "__MACOSX/0.png"] {
        level(&folder.path().join(other), 1);
    }
    std::fs::create_dir(folder.path().join("empty")).unwrap();
    let set = open(folder.path()).unwrap();
    let labels = set.labels.as_ref().unwrap();
    assert_eq!(labels.names, ["cats", "dogs", "eels"]);
    // The last tenth of each class.
    assert_eq!(levels(&set.held_out), [18, 19, 118, 119]);
    assert_eq!(labels.held_out, [0, 0, 1, 1]);
    assert_eq!((set.train.count(), labels.train.len()), (37, 37));
    let train = levels(&set.train.to_images());
    for (level, class) in train.iter().zip(&labels.train) {
        assert_eq!(
            *class,
            match level {
                0..100 => 0,
                100..190 => 1,
                _ => 2,
            }
        );
    }
    // All of them, and their names.
    assert_eq!(images_for(folder.path()).unwrap().0.count(), 41);
    let files = data::picture_files(folder.path()).unwrap();
    assert_eq!((files.len(), &files[20]), (41, &folder.path().join("dogs/00.PNG")));

    // As small as it can be.
    let folder = tempfile::tempdir().unwrap();
    level(&folder.path().join("a/0.png"), 1);
    assert_says(open(folder.path()), &["1 example", "at least 2"]);
    level(&folder.path().join("b/0.png"), 2);
    let set = open(folder.path()).unwrap();
    assert_eq!((set.train.count(), set.held_out.count()), (1, 1));
    // Of another size.
    GrayImage::new(5, 4).save(folder.path().join("b/1.png")).unwrap();
    assert_says(open(folder.path()), &["1.png: is 4x5 pixels", "0.png is 4x4", "one size"]);
}

#[test]
fn folders_that_say_what_is_held_out() {
    for (train, test) in [("train", "test"), ("Training", "val"), ("train", "valid"), ("train", "validation")]
    {
        let folder = tempfile::tempdir().unwrap();
        for i in 0..3 {
            level(&folder.path().join(format!("{train}/a/{i}.png")), i);
            level(&folder.path().join(format!("{train}/c/{i}.png")), 10 + i);
            level(&folder.path().join(format!("{test}/b/{i}.png")), 20 + i);
            level(&folder.path().join(format!("{test}/c/{i}.png")), 30 + i);
        }
        let set = open(folder.path()).unwrap();
        assert_eq!(levels(&set.train.to_images()), [0, 1, 2, 10, 11, 12]);
        assert_eq!(levels(&set.held_out), [20, 21, 22, 30, 31, 32]);
        let labels = set.labels.unwrap();
        assert_eq!(labels.names, ["a", "b", "c"]);
        assert_eq!((labels.train, labels.held_out), (vec![0, 0, 0, 2, 2, 2], vec![1, 1, 1, 2, 2, 2]));
        assert_eq!(levels(&images_for(folder.path()).unwrap().0), [20, 21, 22, 30, 31, 32]);
    }
    // Without classes; without the one or the other.
    let folder = tempfile::tempdir().unwrap();
    for i in 0..20 {
        level(&folder.path().join(format!("train/{i:02}.png")), i);
    }
    let set = open(folder.path()).unwrap();
    assert_eq!((set.train.count(), levels(&set.held_out), set.labels), (18, vec![18, 19], None));
    level(&folder.path().join("test/0.png"), 50);
    assert_eq!(levels(&open(folder.path()).unwrap().held_out), [50]);
    std::fs::remove_dir_all(folder.path().join("train")).unwrap();
    assert_says(open(folder.path()), &["no training images", "`train`"]);
    assert_eq!(images_for(folder.path()).unwrap().0.count(), 1);
}

#[test]
fn idx_files_under_any_of_their_names() {
    let images = |count: u32, byte: u8| idx_file(8, &[count, 2, 2], &vec![byte; count as usize * 4]);
    for (train, test) in [
        ("train-images-idx3-ubyte", "t10k-images-idx3-ubyte"),
        ("train-images.idx3-ubyte", "t10k-images.idx3-ubyte"),
        ("train-images-idx3-ubyte.gz", "t10k-images-idx3-ubyte.gz"),
        ("qmnist-train-images-idx3-ubyte.gz", "qmnist-test-images-idx3-ubyte.gz"),
        ("emnist-letters-train-images-idx3-ubyte", "emnist-letters-test-images-idx3-ubyte.gz"),
        ("train_images_idx3_ubyte", "TEST-IMAGES-IDX3-UBYTE"),
    ] {
        for below in ["", "raw", "MNIST/raw", "KMNIST/raw"] {
            let folder = tempfile::tempdir().unwrap();
            let place = folder.path().join(below);
            std::fs::create_dir_all(&place).unwrap();
            let labels = train.replace("images", "labels").replace("idx3", "idx1");
            std::fs::write(place.join(labels), idx_file(8, &[3], &[1, 2, 3])).unwrap();
            std::fs::write(place.join(train), images(5, 1)).unwrap();
            std::fs::write(place.join(test), gzip(images(3, 2))).unwrap();
            let set = open(folder.path()).unwrap();
            assert_eq!((set.train.count(), set.held_out.count()), (5, 3), "{below}/{train}");
            assert_eq!(images_for(folder.path()).unwrap().0.count(), 3);
        }
    }
    // torchvision keeps the packed files beside the others; and may hold several sets.
    let folder = tempfile::tempdir().unwrap();
    for set in ["MNIST", "FashionMNIST"] {
        let raw = folder.path().join(set).join("raw");
        std::fs::create_dir_all(&raw).unwrap();
        std::fs::write(raw.join("train-images-idx3-ubyte"), images(5, 1)).unwrap();
        std::fs::write(raw.join("train-images-idx3-ubyte.gz"), b"broken").unwrap();
        assert_eq!(open(&folder.path().join(set)).unwrap().train.count(), 4);
    }
    assert_says(open(folder.path()), &["several data sets", "FashionMNIST/raw", ", ", "MNIST/raw"]);
    let folder = tempfile::tempdir().unwrap();
    for set in ["letters", "digits"] {
        let name = format!("emnist-{set}-train-images-idx3-ubyte");
        std::fs::write(folder.path().join(name), images(5, 1)).unwrap();
    }
    assert_says(open(folder.path()), &["several data sets (emnist-digits, emnist-letters)"]);
}

#[test]
fn cifar_100_and_packed_batches() {
    let record = |labels: &[u8], byte: u8| [labels, &[byte; 3072]].concat();
    let folder = tempfile::tempdir().unwrap();
    file(&folder, "train.bin", [record(&[19, 99], 5), record(&[0, 0], 6)].concat());
    file(&folder, "test.bin", record(&[3, 40], 7));
    let set = open(folder.path()).unwrap();
    assert_eq!((levels(&set.train.to_images()), levels(&set.held_out)), (vec![5, 6], vec![7]));
    file(&folder, "train.bin", record(&[20, 0], 5));
    assert_says(open(folder.path()), &["train.bin"]);
    let root = tempfile::tempdir().unwrap();
    let batches = root.path().join("cifar-10-batches-bin");
    std::fs::create_dir(&batches).unwrap();
    std::fs::write(batches.join("data_batch_1.bin.gz"), gzip([record(&[1], 8), record(&[2], 9)].concat()))
        .unwrap();
    assert_eq!(levels(&open(root.path()).unwrap().held_out), [9]);
}

#[test]
fn folders_without_images_say_what_was_looked_for() {
    let says = |names: &[&str], words: &[&str]| {
        let folder = tempfile::tempdir().unwrap();
        for name in names {
            let path = folder.path().join(name);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, "?").unwrap();
        }
        for words in [&["*.png", "`train`", "idx3-ubyte", "data_batch_1.bin"], words] {
            assert_says(open(folder.path()), words);
            assert_says(images_for(folder.path()), words);
        }
    };
    says(&[], &["It is empty"]);
    says(&["data_batch_1", "test_batch"], &["Python version", "cifar-10-binary"]);
    says(&["cifar-10-batches-py/data_batch_1"], &["Python version"]);
    says(&["x.npy"], &["holds x.npy", "give that file"]);
    says(&["a/b/0.png"], &["folders in folders", "a/b"]);
    says(&["1.webp", "2.webp"], &["1.webp", "PNG"]);
    says(&["images.zip"], &["unpack"]);
    says(&["readme.md"], &["1 files", "readme.md"]);
}
