//! Arrays and tables as users have them: `.npy`, `.npz`, CSV and its dialects, columns that are standardised.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};

use crate::common::{file, gzip, le, npy_case, npy_file, read_npy, rows_refused, run, shape, works};
use thalweg::data::reading::{Reading, Takes};
use thalweg::data::standard::{Standard, unscaled};
use thalweg::data::{Dataset, Examples, Images, Opened, Shape, npy, read_for};
use thalweg::kernels::dynamics::Form;
use thalweg::plan::ChainConfig;
use thalweg::recipe::Range;
use thalweg::sampling::denoised;
use thalweg::{Device, EnergyModel, Model};

// ---- helpers

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/arrays").join(name)
}

fn npz_file(arrays: &[(&str, Vec<u8>)]) -> Vec<u8> {
    let mut writer = zip::ZipWriter::new(std::io::Cursor::new(Vec::new()));
    let options =
        zip::write::SimpleFileOptions::default().compression_method(zip::CompressionMethod::Deflated);
    for (name, bytes) in arrays {
        writer.start_file(format!("{name}.npy"), options).unwrap();
        writer.write_all(bytes).unwrap();
    }
    writer.finish().unwrap().into_inner()
}

fn reading(takes: Takes) -> Reading {
    Reading { takes, ..Reading::default() }
}

fn for_input(input: Shape) -> Reading {
    Reading {
        input: Some(input),
        ..reading(if input.is_single_row() { Takes::Points } else { Takes::Images })
    }
}

#[track_caller]
fn read(path: &Path, reading: &Reading) -> (Images, String) {
    let (images, notes) = read_for(path, reading).unwrap();
    (images, notes.join(" / "))
}

#[track_caller]
fn refused(path: &Path, reading: &Reading, words: &[&str]) {
    let message = match read_for(path, reading) {
        Ok(found) => panic!("{}: accepted: {:?}", path.display(), found.1),
        Err(error) => error.to_string(),
    };
    for word in words {
        assert!(message.contains(word), "{word:?} is missing in: {message}");
    }
}

// ---- tables

/// Points, names and notes of a table.
#[track_caller]
fn table(text: &[u8]) -> (usize, Vec<f32>, Vec<String>, String) {
    let folder = tempfile::tempdir().unwrap();
    let path = file(&folder, "table.csv", text);
    let rows = thalweg::data::rows::parse_csv(&path, text).unwrap();
    let Examples::Floats(points) = rows.examples else { panic!("points") };
    (points.shape.channels, points.values, rows.columns, rows.notes.join(" / "))
}

#[test]
fn tables_of_all_dialects_are_the_same_points() {
    let expected = vec![2.041, -2.556, 0.418, -0.568, -0.453, -0.216];
    let plain = "x,y\n2.041,-2.556\n0.418,-0.568\n-0.453,-0.216\n";
    let utf16 = |bom: &[u8], of: fn(u16) -> [u8; 2]| {
        let text: Vec<u8> = plain.encode_utf16().flat_map(of).collect();
        [bom, &text].concat()
    };
    for text in [
        plain.as_bytes().to_vec(),
        plain.replace(',', ";").into_bytes(),
        plain.replace(',', ";").replace('.', ",").into_bytes(),
        plain.replace(',', "\t").into_bytes(),
        plain.replace(',', "\t").replace('.', ",").into_bytes(),
        plain.replace(',', "|").into_bytes(),
        plain.replace(',', " ").into_bytes(),
        plain.replace(',', "   ").replace("\n0", "\n   0").into_bytes(),
        plain.replace(',', " \t ").into_bytes(),
        plain.replace(',', ", ").into_bytes(),
        plain.replace('\n', ",\n").into_bytes(),
        plain.replace('\n', ",\n").replace("y,", "y").into_bytes(),
        plain.replace('\n', ";\n").replace(',', ";").into_bytes(),
        plain.replace('\n', "\r\n").into_bytes(),
        plain.replace('\n', "\r").into_bytes(),
        plain.replace('\n', "\n\n").into_bytes(),
        plain.replace('\n', "\r\n\r\n").into_bytes(),
        format!("\u{feff}{plain}").into_bytes(),
        utf16(b"\xff\xfe", u16::to_le_bytes),
        utf16(b"\xfe\xff", u16::to_be_bytes),
        format!("# a\n# b, c\n{plain}# end\n").into_bytes(),
        format!("  % a\n\n{plain}").into_bytes(),
        "\"x\",\"y\"\n\"2.041\",\"-2.556\"\n\"0.418\",\"-0.568\"\n\"-0.453\",\"-0.216\"".as_bytes().to_vec(),
        "\"x\";\"y\"\n\"2,041\";\"-2,556\"\n\"0,418\";\"-0,568\"\n\"-0,453\";\"-0,216\"".as_bytes().to_vec(),
        "\"a b\" \"y\"\n2.041 -2.556\n0.418 -0.568\n-0.453 -0.216".as_bytes().to_vec(),
        plain.replace('-', "\u{2212}").into_bytes(),
        plain.replace("x,y\n", "").into_bytes(),
    ] {
        let (columns, values, ..) = table(&text);
        assert_eq!((columns, values), (2, expected.clone()), "{:?}", String::from_utf8_lossy(&text));
    }
    // Latin-1 in a name.
    assert_eq!(table(b"h\xf6he,y\n1,2\n").1, [1.0, 2.0]);
    assert_eq!(table(b"7\n8\n9.5\n").0, 1);
    assert_eq!(table(b"value\n7\n8\n9.5\n").2, ["value"]);
}

#[test]
fn a_header_of_numbers_is_told_from_points() {
    let named = |text: &str, names: &[&str], rows: usize| {
        let (columns, values, found, notes) = table(text.as_bytes());
        assert_eq!(
            (columns, found.iter().map(String::as_str).collect::<Vec<_>>()),
            (names.len(), names.to_vec()),
            "{text:?}"
        );
        assert_eq!(values.len(), rows * columns, "{text:?}");
        assert!(notes.contains("the first line") && notes.contains(names[0]), "{text:?}: {notes}");
    };
    named("0,1\n2.041,-2.556\n0.418,-0.568\n", &["0", "1"], 2);
    named("0,1,2\n1,0.5,7\n2,1.5,3\n", &["0", "1", "2"], 2);
    named("0,1,2,3,4\n5,3,8,9,9\n2,2,2,2,2\n", &["0", "1", "2", "3", "4"], 2);
    named("1990,1991\n2.5,3.5\n4.5,5.25\n", &["1990", "1991"], 2);
    named("1990,1991,1992\n2.5,3.5,1\n4.5,5.25,2\n", &["1990", "1991", "1992"], 2);
    named("1990,1991\n2,3\n4,5\n", &["1990", "1991"], 2);
    named("10,20,30\n2.5,3.5,1.0\n4.5,5.25,2.0\n", &["10", "20", "30"], 2);
    named("0;1\n2,041;-2,556\n0,418;-0,568\n", &["0", "1"], 2);
    named("0\n2.041\n0.418\n-0.25\n", &["0"], 3);
    let points = |text: &str, rows: usize| {
        let (columns, values, found, notes) = table(text.as_bytes());
        assert_eq!((values.len(), found.len()), (rows * columns, 0), "{text:?}: {notes}");
    };
    points("0,1\n1,0\n1,1\n", 3);
    points("1,2\n3.5,4\n5,6\n", 3);
    points("3.5,79\n1.8,54\n3.333,74\n", 3);
    points("5.1,3.5,1.4\n4.9,3.0,1.4\n", 2);
    points("1,2.5\n-30,4\n5,6\n", 3);
    points("0.5,1\n2.5,3.5\n", 2);
    points("0,0\n2.5,3.5\n", 2);
    points("7\n8\n9\n10\n", 4);
    points("1,2\n", 1);
    points("0,1,2\n2,1,0\n1,2,0\n", 3);
}

#[test]
fn an_index_is_left_out_and_said() {
    for text in [
        ",x,y\n0,1.5,2.5\n1,3.5,4.5\n2,5.5,6.5\n",
        "\"\",\"x\",\"y\"\n\"1\",1.5,2.5\n\"2\",3.5,4.5\n\"3\",5.5,6.5\n",
        "Unnamed: 0,x,y\n0,1.5,2.5\n1,3.5,4.5\n2,5.5,6.5\n",
        "x,y\n1,1.5,2.5\n2,3.5,4.5\n3,5.5,6.5\n",
        "\"x\" \"y\"\n\"1\" 1.5 2.5\n\"2\" 3.5 4.5\n\"3\" 5.5 6.5\n",
        "x,y\nMazda,1.5,2.5\nFord,3.5,4.5\nFiat,5.5,6.5\n",
        ",x,y\n17,1.5,2.5\n3,3.5,4.5\n8,5.5,6.5\n",
        "\tx\ty\n0\t1.5\t2.5\n1\t3.5\t4.5\n2\t5.5\t6.5\n",
        ";x;y\n0;1,5;2,5\n1;3,5;4,5\n2;5,5;6,5\n",
    ] {
        let (columns, values, names, notes) = table(text.as_bytes());
        assert_eq!((columns, values), (2, vec![1.5, 2.5, 3.5, 4.5, 5.5, 6.5]), "{text:?}");
        assert_eq!(names, ["x", "y"]);
        assert!(notes.contains("first column") && notes.contains("left out"), "{notes}");
    }
    let (columns, _, names, notes) = table(b",0,1\n0,1.5,2.5\n1,3.5,4.5\n");
    assert_eq!((columns, names), (2, vec!["0".to_owned(), "1".to_owned()]));
    assert!(notes.contains("left out"), "{notes}");
    for text in [&b",1990,1991\n0,1.5,2.5\n1,3.5,4.5\n"[..], b"Unnamed: 0,0,1\n0,1.5,2.5\n1,3.5,4.5\n"] {
        let (columns, values, ..) = table(text);
        assert_eq!((columns, values), (2, vec![1.5, 2.5, 3.5, 4.5]));
    }
    // A coordinate that has no name.
    let (columns, values, _, notes) = table(b",x\n0.5,1\n0.5,2\n");
    assert_eq!((columns, values), (2, vec![0.5, 1.0, 0.5, 2.0]));
    assert!(notes.contains("taken for a coordinate"), "{notes}");
    // A named column that counts is kept, with a word.
    let (columns, .., notes) = table(b"id,x\n0,1.5\n1,2.5\n2,0.5\n3,0.25\n4,0.125\n");
    assert_eq!(columns, 2);
    assert!(notes.contains("`id` counts the rows"), "{notes}");
}

/// `tests/data.rs` has the table of what else is refused.
#[test]
fn missing_values_are_refused_where_they_stand() {
    let refuse = |text: &str| {
        thalweg::data::rows::parse_csv(Path::new("table.csv"), text.as_bytes()).unwrap_err().to_string()
    };
    for word in ["NA", "NaN", "nan", "null", "-", "?", "None", "N/A"] {
        for (text, place) in [
            (format!("{word},{word}\n2.5,1.5\n3.5,4.5\n"), "line 1, column 1"),
            (format!("x,y\n1,2\n3,{word}\n"), "line 3, column 2 (`y`)"),
        ] {
            let message = refuse(&text);
            assert!([place, word, "missing"].iter().all(|part| message.contains(part)), "{message}");
        }
    }
    let message = refuse("x,y\n1,\x1b[31m\n");
    assert!(!message.contains('\x1b'), "{message:?}");
}

#[test]
fn fixtures_of_tables() {
    for (name, rows, words) in [
        ("decimal_comma.csv", 12, "decimal commas"),
        ("index_column.csv", 12, "left out"),
        ("numeric_header.csv", 12, "first line"),
        ("savetxt_comment.csv", 12, ""),
        ("trailing_comma.csv", 12, ""),
        ("utf16.csv", 12, ""),
        ("points.csv.gz", 12, ""),
    ] {
        let (points, notes) = read(&fixture(name), &Reading::default());
        assert_eq!((points.shape, points.count()), (shape(2, 1, 1), rows), "{name}");
        assert_eq!(points.values[..4], [2.041, -2.556, 0.418, -0.568], "{name}");
        assert!(notes.contains(words), "{name}: {notes}");
    }
    refused(&fixture("missing_first_row.csv"), &Reading::default(), &["line 1, column 1", "`NA`", "missing"]);
    let folder = tempfile::tempdir().unwrap();
    for name in ["a.tsv", "a.txt", "a.dat", "a", "a.csv.gz"] {
        let bytes = if name.ends_with("gz") { gzip(b"1\t2\n3\t4\n") } else { b"1\t2\n3\t4\n".to_vec() };
        assert_eq!(read(&file(&folder, name, &bytes), &Reading::default()).0.values, [1.0, 2.0, 3.0, 4.0]);
    }
}

// ---- arrays

#[test]
fn arrays_of_every_type_are_read_alike() {
    let folder = tempfile::tempdir().unwrap();
    let numbers: Vec<u8> = vec![0, 1, 2, 3, 100, 127];
    macro_rules! types {
        ($($name:literal $type:ty),*) => {
            [$(
                (concat!("'<", $name, "'"), numbers.iter().flat_map(|n| (*n as $type).to_le_bytes()).collect::<Vec<u8>>()),
                (concat!("'>", $name, "'"), numbers.iter().flat_map(|n| (*n as $type).to_be_bytes()).collect()),
            )*]
        };
    }
    let all = types!("u1" u8, "i1" i8, "u2" u16, "i2" i16, "u4" u32, "i4" i32, "u8" u64, "i8" i64, "f4" f32, "f8" f64);
    let half: Vec<u8> =
        numbers.iter().flat_map(|n| half::f16::from_f32(f32::from(*n)).to_le_bytes()).collect();
    for (descr, bytes) in all.into_iter().chain([("'<f2'", half)]) {
        let path = file(&folder, "a.npy", npy_file(descr, "False", "(3, 2)", &bytes));
        let (points, _) = read(&path, &for_input(shape(2, 1, 1)));
        assert_eq!(points.values, [0.0, 1.0, 2.0, 3.0, 100.0, 127.0], "{descr}");
        // The same as pixels.
        let path = file(&folder, "b.npy", npy_file(descr, "False", "(3, 1, 1, 2)", &bytes));
        let (images, notes) = read(&path, &reading(Takes::Images));
        let expected: Vec<f32> = numbers.iter().map(|n| (f32::from(*n) - 127.5) / 127.5).collect();
        assert_eq!((images.shape, images.values), (shape(1, 1, 2), expected), "{descr}");
        assert_eq!(notes.contains("[0, 255]"), descr.contains('f'), "{descr}: {notes}");
        // Fortran order: the first index is the fastest.
        let path = file(&folder, "c.npy", npy_file(descr, "True", "(2, 3)", &bytes));
        let (points, _) = read(&path, &for_input(shape(3, 1, 1)));
        assert_eq!(points.values, [0.0, 2.0, 100.0, 1.0, 3.0, 127.0], "{descr}");
    }
    let path = file(&folder, "b.npy", npy_file("'|b1'", "False", "(2, 1, 2)", &[0, 1, 1, 0]));
    let (images, notes) = read(&path, &reading(Takes::Images));
    assert_eq!((images.values, notes.contains("black and white")), (vec![-1.0, 1.0, 1.0, -1.0], true));
    let signed = [-1_i64, 1, 1, 0].map(i64::to_le_bytes).concat();
    let path = file(&folder, "b.npy", npy_file("'<i8'", "False", "(2, 1, 2)", &signed));
    assert_eq!(read(&path, &reading(Takes::Images)).0.values, [-1.0, 1.0, 1.0, 0.0]);
    // Python 2.
    let found = read(&fixture("python2_shape.npy"), &Reading::default()).0;
    assert_eq!((found.shape, found.count()), (shape(2, 1, 1), 12));
}

#[test]
fn advice_on_types_is_not_refused_next() {
    let folder = tempfile::tempdir().unwrap();
    let message = |reading: &Reading, case: &str| {
        let path = file(&folder, "a.npy", npy_case(case));
        Some(read_for(&path, reading).err()?.to_string())
    };
    for reading in [Reading::default(), reading(Takes::Images)] {
        rows_refused("parsers.txt", "npy types", |case| message(&reading, case));
    }
    rows_refused("parsers.txt", "npy shapes", |case| message(&Reading::default(), case));
    let wide: Vec<u8> = [0_u16, 1, 4095, 7].iter().flat_map(|v| v.to_le_bytes()).collect();
    let path = file(&folder, "a.npy", npy_file("'<u2'", "False", "(1, 2, 2)", &wide));
    refused(&path, &reading(Takes::Images), &["4095", "[0, 1, 0]", "astype('uint8')"]);
    refused(&fixture("huge_float64.npy"), &Reading::default(), &["1e300", "32-bit"]);
    let nan: Vec<u8> = [0.5, f64::NAN].iter().flat_map(|v| v.to_le_bytes()).collect();
    let path = file(&folder, "a.npy", npy_file("'<f8'", "True", "(1, 2)", &nan));
    refused(&path, &Reading::default(), &["NaN", "[0, 1]"]);
}

#[test]
fn shapes_are_what_the_network_takes() {
    let folder = tempfile::tempdir().unwrap();
    let values: Vec<f32> = (0..24).map(|i| i as f32 / 12.0 - 1.0).collect();
    let path = file(&folder, "nhw.npy", npy_file("'<f4'", "False", "(2, 3, 4)", &le(&values)));
    for takes in [Takes::Images, Takes::Sequences, Takes::Anything] {
        let (found, notes) = read(&path, &reading(takes));
        let expected = if takes == Takes::Images { shape(1, 3, 4) } else { shape(4, 1, 3) };
        assert_eq!(found.shape, expected, "{takes:?}");
        assert_eq!(notes.contains("understood as sequences"), takes == Takes::Anything, "{notes}");
    }
    refused(&path, &reading(Takes::Points), &["[2, 3, 4]", "[n, d]", "reshape"]);
    let bytes = file(&folder, "bytes.npy", npy_file("'|u1'", "False", "(2, 3, 4)", &[9; 24]));
    assert_eq!(read(&bytes, &Reading::default()).0.shape, shape(1, 3, 4));
    assert_eq!(read(&bytes, &reading(Takes::Sequences)).0.shape, shape(4, 1, 3));

    // Channels last, where they can be told; two and four of them.
    let path = file(&folder, "last.npy", npy_file("'<f4'", "False", "(2, 2, 2, 3)", &le(&values)));
    for reading in [for_input(shape(3, 2, 2)), reading(Takes::Images)] {
        let (found, notes) = read(&path, &reading);
        assert_eq!(found.shape, shape(3, 2, 2));
        assert_eq!(found.values[..4], [values[0], values[3], values[6], values[9]]);
        assert!(notes.contains("channels come last"), "{notes}");
    }
    let (found, notes) = read(&path, &for_input(shape(2, 2, 3)));
    assert_eq!((found.shape, &found.values, &notes[..]), (shape(2, 2, 3), &values, ""));
    refused(&path, &for_input(shape(1, 28, 28)), &["[2, 2, 2, 3]", "1x28x28"]);
    let path = file(&folder, "four.npy", npy_file("'<f4'", "False", "(1, 4, 2, 3)", &le(&values)));
    assert_eq!(read(&path, &for_input(shape(4, 2, 3))).0.values, values);
    assert_eq!(read(&path, &reading(Takes::Images)).0.shape, shape(3, 4, 2));

    // Flat images, single numbers, single rows, nothing.
    let path = file(&folder, "flat.npy", npy_file("'<f4'", "False", "(6, 4)", &le(&values)));
    refused(&path, &reading(Takes::Images), &["array.reshape(6, 1, 2, 2)", "mlp"]);
    let mnist = file(&folder, "mnist.npy", npy_file("'|u1'", "False", "(2, 784)", &[7; 1568]));
    for trains in [false, true] {
        let reading = Reading { trains, ..reading(Takes::Images) };
        refused(&mnist, &reading, &["array.reshape(2, 1, 28, 28)"]);
    }
    refused(&path, &for_input(shape(1, 2, 2)), &["array.reshape(6, 1, 2, 2)"]);
    refused(&path, &reading(Takes::Sequences), &["array[:, :, None]"]);
    // Fortran order of four dimensions, against the same array in C order.
    let at = |n: usize, c: usize, h: usize, w: usize| values[((n * 2 + c) * 2 + h) * 3 + w];
    let mut turned = Vec::new();
    for w in 0..3 {
        for h in 0..2 {
            for c in 0..2 {
                turned.extend((0..2).map(|n| at(n, c, h, w)));
            }
        }
    }
    let path = file(&folder, "fortran.npy", npy_file("'<f4'", "True", "(2, 2, 2, 3)", &le(&turned)));
    assert_eq!(read(&path, &for_input(shape(2, 2, 3))).0.values, values);
}

#[test]
fn ranges_of_float_images() {
    let folder = tempfile::tempdir().unwrap();
    let put = |values: &[f32]| {
        let dims = format!("({}, 1, 1)", values.len());
        file(&folder, "a.npy", npy_file("'<f4'", "False", &dims, &le(values)))
    };
    let images = reading(Takes::Images);
    let auto = |values: &[f32]| read(&put(values), &images);
    let (found, notes) = auto(&[0.0, 0.25, 1.0]);
    assert_eq!(found.values, [-1.0, -0.5, 1.0]);
    assert!(notes.contains("[0, 1]") && notes.contains("data.range=signed"), "{notes}");
    let (found, notes) = auto(&[0.0, 51.0, 255.0]);
    assert_eq!(found.values, [-1.0, -0.6, 1.0]);
    assert!(notes.contains("[0, 255]"), "{notes}");
    for values in [[0.0, 0.0, 0.0], [-0.25, 0.25, 1.0], [-1.0, -0.5, -0.75]] {
        assert_eq!(auto(&values), (Images { shape: shape(1, 1, 1), values: values.to_vec() }, String::new()));
    }
    refused(&put(&[-1.0, 1.0, 1.5]), &images, &["1.5", "[2, 0, 0]", "outside [-1, 1]"]);
    refused(&put(&[-3.0, 1.0, 1.5]), &images, &["-3", "[0, 0, 0]"]);
    // A recipe without a clamp: as they are. For training, with a word.
    let free = Reading { clamp: 0.0, ..images.clone() };
    assert_eq!(
        read(&put(&[-3.0, 1.0, 1.5]), &free),
        (Images { shape: shape(1, 1, 1), values: vec![-3.0, 1.0, 1.5] }, String::new())
    );
    let trains = Reading { trains: true, ..free.clone() };
    assert!(read(&put(&[-3.0, 1.0, 1.5]), &trains).1.contains("from -3 to 1.5"));
    let option = Reading { range_option: "--range ", ..images.clone() };
    assert!(read(&put(&[0.0, 1.0]), &option).1.contains("say so: --range signed"));
    assert_eq!(read(&put(&[-2.0, 2.0]), &Reading { clamp: 2.0, ..images.clone() }).0.values, [-2.0, 2.0]);
    // Said by hand.
    let of = |range: Range| Reading { range, ..images.clone() };
    assert_eq!(read(&put(&[0.0, 1.0]), &of(Range::Signed)).0.values, [0.0, 1.0]);
    assert_eq!(read(&put(&[0.0, 0.0]), &of(Range::Unit)).0.values, [-1.0, -1.0]);
    assert_eq!(read(&put(&[0.0, 1.0]), &of(Range::Bytes)).0.values[0], -1.0);
    let unit = Reading { trains: true, ..of(Range::Unit) };
    refused(&put(&[-1.0, 1.0]), &unit, &["from -1 to 1", "unit"]);
    // What a model trained on [0, 1] wrote is read all the same.
    assert_eq!(read(&put(&[-1.0, 1.0]), &of(Range::Unit)).0.values, [-1.0, 1.0]);
}

#[test]
fn archives_of_arrays() {
    let folder = tempfile::tempdir().unwrap();
    let pixels =
        |n: usize, level: u8| npy_file("'|u1'", "False", &format!("({n}, 2, 2)"), &vec![level; 4 * n]);
    let labels = |n: usize| npy_file("'<i8'", "False", &format!("({n},)"), &vec![0; 8 * n]);
    let path = |name: &str, arrays: &[(&str, Vec<u8>)]| file(&folder, name, npz_file(arrays));
    let open = |path: &Path| Dataset::open_for(path.to_str().unwrap(), &reading(Takes::Images));
    for (train, test) in [
        ("x_train", "x_test"),
        ("X_train", "X_test"),
        ("train_images", "test_images"),
        ("train_data", "val_data"),
        ("xtrain", "xtest"),
    ] {
        let file = path(
            "set.npz",
            &[
                (train, pixels(5, 10)),
                (
                    &train.replace(['x', 'X'], "y").replace("images", "labels").replace("data", "label"),
                    labels(5),
                ),
                (test, pixels(3, 20)),
                ("test_labels", labels(3)),
            ],
        );
        let Opened { dataset, notes, .. } = open(&file).unwrap();
        assert_eq!((dataset.train.count(), dataset.held_out.count()), (5, 3), "{train}");
        assert_eq!(dataset.held_out.values[0], thalweg::data::byte_to_value(20));
        assert!(notes[0].contains(train) && notes[0].contains(test), "{notes:?}");
        assert_eq!(read(&file, &reading(Takes::Images)).0.count(), 3, "held-out images, as of a folder");
    }
    let one = path("one.npz", &[("whatever", pixels(4, 1))]);
    assert_eq!(open(&one).unwrap().dataset.train.count(), 3);
    let beside = path("beside.npz", &[("images", pixels(4, 1)), ("labels", labels(4))]);
    assert_eq!(open(&beside).unwrap().dataset.train.count(), 3);
    let beside = path("beside.npz", &[("arr_0", pixels(4, 1)), ("arr_1", labels(4))]);
    assert_eq!(open(&beside).unwrap().dataset.train.count(), 3);
    let several = path("several.npz", &[("images", pixels(4, 1)), ("masks", pixels(4, 2))]);
    let message = open(&several).unwrap_err().to_string();
    for word in ["`images` [4, 2, 2]", "`masks`", "several.npz:images"] {
        assert!(message.contains(word), "{message}");
    }
    let chosen = PathBuf::from(format!("{}:masks", several.display()));
    assert_eq!(open(&chosen).unwrap().dataset.train.count(), 3);
    assert_eq!(read(&chosen, &reading(Takes::Images)).0.values[0], thalweg::data::byte_to_value(2));
    refused(
        &PathBuf::from(format!("{}:no", several.display())),
        &reading(Takes::Images),
        &["no array `no`", "`masks`"],
    );
    let whole = fs::read(&one).unwrap();
    for length in [10, whole.len() / 2, whole.len() - 1] {
        let cut = file(&folder, "cut.npz", &whole[..length]);
        assert!(open(&cut).is_err(), "{length}");
    }
    let (found, notes) = read(&fixture("keras_style.npz"), &reading(Takes::Images));
    assert!(found.shape.height == 28 && notes.contains("x_train"), "{:?} {notes}", found.shape);
}

#[test]
fn memory_is_taken_for_what_is_there() {
    let folder = tempfile::tempdir().unwrap();
    // Promises 3 GB; the file is sparse, or short.
    let header = npy_file("'|u1'", "False", "(4000000, 28, 28)", &[]);
    refused(
        &file(&folder, "short.npy", &header),
        &reading(Takes::Images),
        &["truncated", "promise 3136000000"],
    );
    refused(&file(&folder, "short.npy.gz", gzip(&header)), &reading(Takes::Images), &["short.npy.gz"]);
    let sparse = file(&folder, "sparse.npy", npy_file("'<f4'", "False", "(1000000, 64, 64)", &[]));
    fs::File::options().append(true).open(&sparse).unwrap().set_len(16 << 30).unwrap();
    refused(&sparse, &reading(Takes::Images), &["at most"]);
    let header = npy_file("'<f4'", "False", "(1000000, 32, 32)", &[]);
    let wide = file(&folder, "wide.npy", &header);
    let length = header.len() as u64 + 4_096_000_000;
    fs::File::options().append(true).open(&wide).unwrap().set_len(length).unwrap();
    // Refused by its shape before any of it is read.
    refused(&wide, &for_input(shape(1, 28, 28)), &["1x32x32", "1x28x28"]);
    // Of 4 GB of points, those that are wanted are read.
    let header = npy_file("'<f4'", "False", "(500000000, 2)", &le(&[1.0, 2.0, 3.0, 4.0]));
    let points = file(&folder, "points.npy", &header);
    let length = header.len() as u64 - 16 + 4_000_000_000;
    fs::File::options().append(true).open(&points).unwrap().set_len(length).unwrap();
    let first = Reading { most: Some(2), ..for_input(shape(2, 1, 1)) };
    assert_eq!(read(&points, &first).0.values, [1.0, 2.0, 3.0, 4.0]);
    fs::File::options().append(true).open(&points).unwrap().set_len(length - 1).unwrap();
    refused(&points, &first, &["truncated"]);
}

// ---- standardised columns

#[test]
fn standardising_and_back() {
    let points = Images {
        shape: shape(2, 1, 3),
        values: vec![1.0, 2.0, 3.0, 70.0, 70.0, 70.0, 3.0, 2.0, 1.0, 70.0, 70.0, 70.0],
    };
    let standard = Standard::of(&points);
    assert_eq!((standard.mean[0], standard.mean[1], standard.deviation[1]), (2.0, 70.0, 1.0));
    assert!((standard.deviation[0] - (2.0_f64 / 3.0).sqrt()).abs() < 1e-12);
    let mut other = points.clone();
    standard.to_network(&mut other);
    assert_eq!(other.values[3..6], [0.0; 3]);
    assert!((Standard::of(&other).deviation[0] - 1.0).abs() < 1e-6);
    standard.to_data(&mut other);
    other.values.iter().zip(&points.values).for_each(|(a, b)| assert!((a - b).abs() < 1e-6));
    let found = unscaled(&points);
    assert_eq!((found.len(), found[0].column, found[0].deviation), (1, 1, 0.0));
}

/// A run on columns of other units speaks those in all commands, and goes on bit for bit.
#[test]
fn all_commands_speak_the_units_of_the_data() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    fs::copy(fixture("unscaled.csv"), at("geyser.csv")).unwrap();
    // A learning rate that does not follow the run's length, as the run gets longer on its way.
    let train = [
        "train",
        "--preset=mlp",
        "--data=geyser.csv",
        "--device=cpu",
        "--set=sample.count=100",
        "--set=schedule.learning_rate=constant",
    ];
    let raw = works(folder.path(), &[&train[..], &["--steps=2", "--out=raw"]].concat());
    for word in ["Warning: column", "`wait`", "mean 7", "data.standardize=columns"] {
        assert!(raw.contains(word), "{word}: {raw}");
    }
    let standard = [&train[..], &["--set=data.standardize=columns", "--out=run"]].concat();
    let said = works(folder.path(), &[&standard[..], &["--steps=40"]].concat());
    assert!(said.contains("Standardised columns: `minutes` (mean ") && !said.contains("Warning"), "{said}");
    let whole = [&train[..], &["--set=data.standardize=columns", "--out=whole", "--steps=60"]].concat();
    works(folder.path(), &whole);
    works(
        folder.path(),
        &["train", "--resume", "--out=run", "--data=geyser.csv", "--device=cpu", "--steps=60"],
    );

    // Samples are in the data's units, and come back from there.
    let model = "--model=whole/checkpoint.safetensors";
    works(folder.path(), &["sample", model, "--device=cpu", "--count=200", "--npy=s.npy", "--out=s.png"]);
    let samples = read_npy(at("s.npy")).1;
    let mean = |column: usize| samples.iter().skip(column).step_by(2).sum::<f32>() / 200.0;
    assert!(mean(1) > 20.0 && mean(1) < 120.0 && mean(0).abs() < 12.0, "{} {}", mean(0), mean(1));
    works(
        folder.path(),
        &[
            "sample",
            model,
            "--device=cpu",
            "--count=200",
            "--steps=0",
            "--init=s.npy",
            "--npy=t.npy",
            "--out=t.png",
        ],
    );
    for (a, b) in samples.iter().zip(read_npy(at("t.npy")).1) {
        assert!((a - b).abs() <= 1e-5 * a.abs().max(1.0), "{a} {b}");
    }
    // Energies are those of the standardised points, by the same weights without `mean` and `deviation`; gradients go by
    // the data's units: the chain rule.
    works(
        folder.path(),
        &["energy", model, "--device=cpu", "--input=geyser.csv", "--out=e.npy", "--gradient=g.npy"],
    );
    let (energies, gradient) = (read_npy(at("e.npy")).1, read_npy(at("g.npy")).1);
    let (points, _) = read(&at("geyser.csv"), &Reading::default());
    let step = 0.05;
    let mut moved = points.clone();
    moved.values.iter_mut().skip(1).step_by(2).for_each(|v| *v += step);
    npy::write_f32(at("moved.npy"), &[moved.count(), 2], &moved.values).unwrap();
    works(folder.path(), &["energy", model, "--device=cpu", "--input=moved.npy", "--out=m.npy"]);
    let by_steps: f32 = read_npy(at("m.npy")).1.iter().zip(&energies).map(|(a, b)| (a - b) / step).sum();
    let by_gradient: f32 = gradient.iter().skip(1).step_by(2).sum();
    assert!((by_steps - by_gradient).abs() < 0.1 * by_gradient.abs().max(0.5), "{by_steps} {by_gradient}");
    // Annealed importance sampling does not map points to the network's units, and says so.
    let output = run(folder.path(), &["evaluate", model, "--device=cpu", "--data=geyser.csv", "--ais"]);
    let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.code() == Some(2) && stderr.contains("data.standardize"), "{stderr}");
    // A run that went on is the run that was never stopped.
    let last = |run: &str| fs::read_to_string(at(run).join("metrics.csv")).unwrap();
    let figures = |text: String| -> Vec<String> {
        text.lines().map(|line| line.rsplit_once(',').map_or(line, |(all, _)| all).to_owned()).collect()
    };
    assert_eq!(figures(last("run")), figures(last("whole")));
}

/// The long run of `evaluate` and film strips denoise annealed chains.
#[test]
fn annealed_points_are_denoised_in_the_networks_units() {
    pollster::block_on(async {
        let network = thalweg::recipe::presets::preset("mlp").unwrap();
        let plain = Model { parameters: network.initial_parameters(1), network };
        let mut own = plain.clone();
        let standard = Standard { mean: vec![3.0, -70.0], deviation: vec![0.5, 12.0] };
        own.network.standard = Some(standard.clone());
        let chain_config = ChainConfig { form: Form::Annealed, ..ChainConfig::default() };
        let points = Images { shape: shape(2, 1, 1), values: vec![0.3, -0.6, 0.9, 0.1, -0.2, 0.7] };
        let mut in_data = points.clone();
        standard.to_data(&mut in_data);
        let device = Device::cpu();
        let mut energies = EnergyModel::new(&device, &plain).await.unwrap();
        let expected = denoised(&mut energies, points.clone(), &chain_config, 0.5).await.unwrap();
        let mut energies = EnergyModel::new(&device, &own).await.unwrap();
        let mut found = denoised(&mut energies, in_data, &chain_config, 0.5).await.unwrap();
        standard.to_network(&mut found);
        for ((found, expected), before) in found.values.iter().zip(&expected.values).zip(&points.values) {
            assert!(
                (found - expected).abs() < 1e-4 && (expected - before).abs() > 1e-3,
                "{found} {expected} {before}"
            );
        }
    });
}

/// Samples of a recipe without a clamp leave [-1, 1]; all commands read them back.
#[test]
fn what_a_command_writes_the_others_read() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    works(
        folder.path(),
        &[
            "train",
            "--steps=1",
            "--device=cpu",
            "--set=sample.count=2",
            "--set=sample.steps=1",
            "--set=sample.stay=0",
            "--set=train.batch=2",
        ],
    );
    let model = "--model=run/checkpoint.safetensors";
    works(
        folder.path(),
        &["sample", model, "--device=cpu", "--count=4", "--steps=2", "--npy=s.npy", "--out=s.png"],
    );
    let samples = read_npy(at("s.npy")).1;
    assert!(samples.iter().any(|v| v.abs() > 1.1), "no sample leaves [-1, 1], so that nothing is tested");
    works(folder.path(), &["energy", model, "--device=cpu", "--input=s.npy"]);
    works(
        folder.path(),
        &[
            "sample",
            model,
            "--device=cpu",
            "--count=4",
            "--steps=0",
            "--init=s.npy",
            "--npy=t.npy",
            "--out=t.png",
        ],
    );
    assert_eq!(samples, read_npy(at("t.npy")).1);
}
