//! Checkpoint files: exact round trips, an error for each kind of damage, whole after a kill, and a fuzzed loader.

use std::collections::BTreeMap;
use std::io::BufRead;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use crate::allocator::peak;
use crate::common::{Rng, assert_says, content, rows_refused, safetensors, unescaped};
use crate::fuzz::{Parser, check};
use serde_json::json;
use thalweg::checkpoint::{
    Checkpoint, FORMAT, Header, Tensor, TensorData, Tensors, load_tensors, read_tensors,
};
use thalweg::device::ChainPath;
use thalweg::recipe::Recipe;
use thalweg::{Error, files};

fn header() -> Header {
    Header {
        format: FORMAT.to_owned(),
        network: json!({"preset": "mnist-small", "layers": [{"conv": 16}, {"dense": 1}]}),
        config: Recipe::preset("mnist-small").unwrap(),
        step: 123_456,
        seed: u64::MAX,
        device: "CPU (AVX2)".to_owned(),
        chain_path: ChainPath::Layers,
        data: "digits 5f3a".to_owned(),
        data_source: "/data/my digits".to_owned(),
        metrics: json!({"loss": 0.1 + 0.2, "energy_real": -1e-7, "epoch": 3, "note": "\u{1F600} \"\\\u{0}"}),
    }
}

fn small() -> Checkpoint {
    let tensors = [
        ("conv1.weight", Tensor::f32(&[2, 1, 2, 2], (0..8).map(|i| i as f32 / 3.0).collect())),
        ("conv1.bias", Tensor::f32(&[2], vec![0.5, -0.25])),
        ("replay.length", Tensor::u32(&[], vec![u32::MAX])),
        ("replay.ring", Tensor::f32(&[0, 4], vec![])),
    ];
    Checkpoint { header: header(), tensors: tensors.map(|(name, t)| (name.to_owned(), t)).into() }
}

fn bytes_of(checkpoint: &Checkpoint) -> Vec<u8> {
    // In memory where there is such a folder: the fuzzer saves thousands.
    let folder = tempfile::tempdir_in(if Path::new("/dev/shm").is_dir() { "/dev/shm" } else { "." }).unwrap();
    let path = folder.path().join("c.safetensors");
    checkpoint.save(&path).unwrap();
    std::fs::read(path).unwrap()
}

fn read(bytes: &[u8]) -> thalweg::Result<(Option<Header>, BTreeMap<String, Tensor>)> {
    read_tensors(bytes, bytes.len() as u64, Path::new("some.safetensors"))
}

/// Shape, type and the bits of every number: NaNs equal themselves.
type Bits = (Vec<usize>, bool, Vec<u32>);

fn bits(tensor: &Tensor) -> Bits {
    match &tensor.data {
        TensorData::F32(v) => (tensor.shape.clone(), true, v.iter().map(|x| x.to_bits()).collect()),
        TensorData::U32(v) => (tensor.shape.clone(), false, v.clone()),
    }
}

fn all_bits(tensors: &BTreeMap<String, Tensor>) -> BTreeMap<&String, Bits> {
    tensors.iter().map(|(name, tensor)| (name, bits(tensor))).collect()
}

/// The message of a file that is refused, with its path in front.
fn message_of(bytes: &[u8]) -> Option<String> {
    let error = read(bytes).err()?;
    assert!(matches!(error, Error::File { .. }), "{error:?}");
    assert!(error.to_string().contains("some.safetensors: "), "{error}");
    Some(error.to_string())
}

#[track_caller]
fn assert_refused(bytes: &[u8], words: &[&str]) {
    let message = message_of(bytes).expect("an error");
    assert!(words.iter().all(|word| message.contains(word)), "{words:?} are not all in: {message}");
}

#[test]
fn round_trip_is_exact() {
    let mut checkpoint = small();
    let odd =
        [0, 1, 0x8000_0000, 0x007F_FFFF, 0x7F80_0000, 0xFF80_0000, 0x7FC0_0001, 0x7F80_0001, 0xFFFF_FFFF];
    let mut random = Rng(1);
    let values: Vec<f32> =
        odd.into_iter().chain((0..9_991).map(|_| random.next() as u32)).map(f32::from_bits).collect();
    checkpoint.tensors.insert("adam.m.conv1.weight".into(), Tensor::f32(&[100, 4, 25], values));
    checkpoint.header.config.seed = u64::MAX - 1;
    checkpoint.header.config.adam.learning_rate = 0.1 + 0.2;

    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("c.safetensors");
    checkpoint.save(&path).unwrap();
    let back = Checkpoint::load(&path).unwrap();
    assert_eq!(back.header, checkpoint.header);
    assert_eq!(all_bits(&back.tensors), all_bits(&checkpoint.tensors));
    assert_eq!(bytes_of(&back), std::fs::read(&path).unwrap(), "equal checkpoints, equal bytes");

    let bytes = std::fs::read(&path).unwrap();
    let theirs = safetensors::SafeTensors::deserialize(&bytes).unwrap();
    assert_eq!(theirs.len(), 5);
    assert_eq!(theirs.tensor("conv1.weight").unwrap().shape(), [2, 1, 2, 2]);
    let listing_length = u64::from_le_bytes(bytes[..8].try_into().unwrap());
    assert_eq!(listing_length % 8, 0, "the tensors are aligned");
}

#[test]
fn no_tensors_at_all() {
    let empty = Checkpoint { header: header(), tensors: BTreeMap::new() };
    assert!(read(&bytes_of(&empty)).unwrap().1.is_empty());
    assert!(matches!(read(&safetensors("{}", b"")), Ok((None, tensors)) if tensors.is_empty()));
}

#[test]
fn memory() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("big.safetensors");
    let values = 8192 * 1024;
    let tensors = [("replay.ring".to_owned(), Tensor::f32(&[8192, 1, 32, 32], vec![0.5; values]))].into();
    let checkpoint = Checkpoint { header: header(), tensors };
    let (saved, cost) = peak(|| checkpoint.save(&path));
    saved.unwrap();
    assert!(cost < 1 << 20, "saving 32 MiB took another {cost} bytes");
    let (loaded, cost) = peak(|| Checkpoint::load(&path).unwrap());
    assert_eq!(loaded, checkpoint);
    assert!(cost < 4 * values + (1 << 20), "loading 32 MiB took {cost} bytes");
}

#[test]
fn files_of_others() {
    // As PyTorch writes them: no Thalweg header, other types beside.
    let listing = r#"{"__metadata__":{"format":"pt"},
        "count":{"dtype":"I64","shape":[1],"data_offsets":[0,8]},
        "double":{"dtype":"F64","shape":[2],"data_offsets":[8,24]},
        "mask":{"dtype":"BOOL","shape":[3],"data_offsets":[24,27]},
        "half":{"dtype":"F16","shape":[9],"data_offsets":[27,45]},
        "brain":{"dtype":"BF16","shape":[2],"data_offsets":[45,49]},
        "float":{"dtype":"F32","shape":[1,1],"data_offsets":[49,53]}}  "#;
    let mut data = vec![7; 8];
    data.extend([0.1f64, -2.5].iter().flat_map(|x| x.to_le_bytes()));
    data.extend([1, 0, 1]);
    let halves = [0x3C00u16, 0xC000, 0x3555, 0x7BFF, 0x0400, 0x03FF, 0x0001, 0x8000, 0xFC00];
    data.extend(halves.iter().flat_map(|x| x.to_le_bytes()));
    data.extend([0x80, 0x3F, 0x20, 0xC0]);
    data.extend(1.5f32.to_le_bytes());
    let (header, tensors) = read(&safetensors(listing, &data)).unwrap();
    assert!(header.is_none());
    assert_eq!(tensors.keys().collect::<Vec<_>>(), ["brain", "double", "float", "half"]);
    let small = 2f32.powi(-24);
    let half =
        [1.0, -2.0, 0.333_251_95, 65504.0, 1024.0 * small, 1023.0 * small, small, -0.0, f32::NEG_INFINITY];
    assert_eq!(bits(&tensors["half"]), bits(&Tensor::f32(&[9], half.to_vec())));
    assert_eq!(tensors["double"], Tensor::f32(&[2], vec![0.1, -2.5]));
    assert_eq!(tensors["brain"], Tensor::f32(&[2], vec![1.0, -2.5]));
    assert_eq!(tensors["float"], Tensor::f32(&[1, 1], vec![1.5]));

    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("weights.safetensors");
    std::fs::write(&path, safetensors(listing, &data)).unwrap();
    assert!(load_tensors(&path).unwrap().0.is_none());
    assert_says(Checkpoint::load(&path), &["no Thalweg header", "name the network"]);
}

#[test]
fn taking_tensors() {
    let mut checkpoint = small();
    checkpoint.tensors.insert("bad".into(), Tensor::f32(&[2, 3], vec![0.0, 1.0, 2.0, 3.0, 4.0, f32::NAN]));
    checkpoint.tensors.insert("worse".into(), Tensor::f32(&[], vec![f32::NEG_INFINITY]));
    let mut tensors = Tensors::new("m.safetensors", checkpoint.tensors);
    assert_eq!(tensors.take_f32("conv1.bias", &[2]).unwrap(), [0.5, -0.25]);
    assert_eq!(tensors.take_u32("replay.length", &[]).unwrap(), [u32::MAX]);
    assert_eq!(tensors.take_f32("replay.ring", &[0, 4]).unwrap(), [0.0; 0]);
    let again = tensors.take_f32("conv1.bias", &[2]);
    assert_says(
        again,
        &["m.safetensors: ", "\"conv1.bias\" ([2]) is missing", "of the 3 there", "conv1.weight"],
    );
    let shape = tensors.take_f32("conv1.weight", &[2, 1, 3, 3]);
    assert_says(shape, &["m.safetensors: ", "\"conv1.weight\"", "[2, 1, 2, 2], not [2, 1, 3, 3]"]);
    assert_says(tensors.take_f32("bad", &[2, 3]), &["\"bad\" has NaN at [1, 2]"]);
    assert_says(tensors.take_f32("worse", &[]), &["\"worse\" has -inf at []"]);
    assert_says(tensors.take_f32("x", &[]), &["missing; the file has no tensor that can be used"]);

    let mut tensors = Tensors::new("m", small().tensors);
    assert_says(tensors.take_u32("conv1.bias", &[2]), &["\"conv1.bias\" holds F32, not U32"]);
    assert_says(tensors.take_f32("replay.length", &[]), &["holds U32, not F32"]);
    assert_eq!(tensors.names().collect::<Vec<_>>(), ["conv1.weight", "replay.ring"]);
}

#[test]
fn damage() {
    let good = bytes_of(&small());
    read(&good).unwrap();
    for length in 0..good.len() {
        assert!(read(&good[..length]).is_err(), "cut to {length} bytes");
    }
    assert_refused(b"", &["0 bytes long, too short"]);
    assert_refused(&good[..7], &["7 bytes long"]);
    assert_refused(&good[..20], &["promises a header of ", "12 follow"]);
    assert_refused(&good[..good.len() - 1], &["lists 44 bytes of tensors, but it has 43"]);
    assert_refused(&[&good[..], b"\0"].concat(), &["lists 44 bytes of tensors, but it has 45"]);
    assert_refused(
        &[&u64::MAX.to_le_bytes(), &good[8..]].concat(),
        &["a header of 18446744073709551615 bytes"],
    );
    assert_refused(
        &[&(1u64 << 40).to_le_bytes()[..], b"{}"].concat(),
        &["1099511627776 bytes, but 2 follow"],
    );
    assert_refused(&safetensors(vec![b' '; (4 << 20) + 1], b""), &["4194305 bytes; the most is 4194304"]);
    assert_refused(b"\x89PNG\r\n\x1a\n and so on", &["no safetensors file"]);
    assert_refused(&safetensors(format!("{{\"x\":{}", "[".repeat(100_000)), b""), &["damaged header"]);
    let deep =
        format!(r#"{{"x":{{"dtype":"F32","shape":[1],"data_offsets":[0,4],"y":{}"#, "[".repeat(100_000));
    assert_refused(&safetensors(deep, b""), &["damaged header"]);

    let tensor = |name: &str, shape: &str, start: u64, end: u64| {
        format!(r#""{name}":{{"dtype":"F32","shape":{shape},"data_offsets":[{start},{end}]}}"#)
    };
    let both = |a: String, b: String| safetensors(format!("{{{a},{b}}}"), &[0; 8]);
    rows_refused("parsers.txt", "safetensors", |case| {
        let (listing, n) = case.rsplit_once(" ; ").unwrap();
        message_of(&safetensors(unescaped(listing), &content(n)))
    });
    read(&both(tensor("a", "[1]", 4, 8), tensor("b", "[1]", 0, 4))).unwrap();
    let long = "n".repeat(1_000_000);
    assert_refused(
        &safetensors(format!("{{{}}}", tensor(&long, "[1]", 0, 4)), &[0; 4]),
        &["name has 1000000 bytes"],
    );
    let huge = safetensors(
        r#"{"x":{"dtype":"F32","shape":[1099511627776],"data_offsets":[0,4398046511104]}}"#,
        &[0; 4],
    );
    let (_, cost) = peak(|| read(&huge));
    assert!(cost < 100_000, "{cost} bytes for a header's word");

    // A length that is not the source's: what a file that shrinks while it is read looks like.
    let error = read_tensors(&good[..good.len() - 4], good.len() as u64, Path::new("f")).unwrap_err();
    assert!(matches!(error, Error::Io { .. }), "{error:?}");
}

#[test]
fn damaged_headers() {
    let with = |json: &str| {
        let listing = json!({"__metadata__": {"thalweg": json}}).to_string();
        safetensors(listing, b"")
    };
    let good = serde_json::to_value(header()).unwrap();
    assert_eq!(read(&with(&good.to_string())).unwrap().0, Some(header()));
    let twice = good.to_string().replacen('{', r#"{"step":1,"#, 1);
    assert_refused(&with(&twice), &["duplicate field `step`"]);
    for field in ["device", "chain_path", "data_source"] {
        let mut without = good.clone();
        without.as_object_mut().unwrap().remove(field);
        assert_refused(
            &with(&without.to_string()),
            &["damaged Thalweg header", &format!("missing field `{field}`")],
        );
    }
    let deep = "[".repeat(100_000) + &"]".repeat(100_000);
    let deep = good.to_string().replacen(r#""step":"#, &format!(r#""network":{deep},"step":"#), 1);
    assert_refused(&with(&deep), &["damaged Thalweg header"]);
    let deep = good.to_string().replacen(
        r#""metrics":{"#,
        &format!(r#""metrics":{{"a":{}{},"#, "[".repeat(200), "]".repeat(200)),
        1,
    );
    assert_refused(&with(&deep), &["recursion limit"]);
    rows_refused("parsers.txt", "checkpoint headers", |json| message_of(&with(json)));
    rows_refused("parsers.txt", "checkpoint values", |case| {
        let (pointer, value) = case.split_once(' ').unwrap();
        let mut spoilt = good.clone();
        *spoilt.pointer_mut(pointer).unwrap() = serde_json::from_str(value).unwrap();
        message_of(&with(&spoilt.to_string()))
    });
}

/// `loss.kl` was a setting of 0.1: files in which it is 0 are read, others are refused.
#[test]
fn the_removed_kl_term() {
    let tensors = BTreeMap::<String, Tensor>::new();
    let with_kl = |kl: serde_json::Value| {
        let mut header = serde_json::to_value(header()).unwrap();
        header["config"]["loss"]["kl"] = kl;
        let listing = json!({"__metadata__": {"thalweg": header.to_string()}});
        safetensors(listing.to_string(), &[])
    };
    assert_eq!(read(&with_kl(json!(0.0))).unwrap(), (Some(header()), tensors));
    assert_refused(&with_kl(json!(0.3)), &["loss.kl", "0.3", "version 0.1"]);
}

#[test]
fn paths_that_are_no_files() {
    let folder = tempfile::tempdir().unwrap();
    let nowhere = folder.path().join("no/such.safetensors");
    assert_says(Checkpoint::load(&nowhere), &["could not read ", "such.safetensors: "]);
    assert_says(Checkpoint::load(folder.path()), &["a file is needed"]);
    assert!(matches!(small().save(&nowhere).unwrap_err(), Error::Io { .. } | Error::File { .. }));
    assert!(matches!(small().save(folder.path()).unwrap_err(), Error::Io { .. } | Error::File { .. }));
    let mut invalid = small();
    invalid.header.config.train.batch = 0;
    let path = folder.path().join("c.safetensors");
    assert_says(invalid.save(&path), &["train.batch"]);
    assert!(!path.exists());
}

#[test]
#[should_panic(expected = "fits its data")]
fn a_shape_that_does_not_fit_is_a_bug() {
    let mut checkpoint = small();
    checkpoint.tensors.get_mut("conv1.bias").unwrap().shape = vec![3];
    let _ = checkpoint.save("never written");
}

#[test]
fn failing_write_leaves_the_old_file() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("c.safetensors");
    small().save(&path).unwrap();
    let old = std::fs::read(&path).unwrap();
    let error = files::write_atomically(&path, |file| {
        file.write_all(&[0; 100_000])?;
        Err(std::io::Error::other("the disk is gone"))
    });
    assert_says(error, &["could not write ", "c.safetensors: the disk is gone"]);
    assert_eq!(std::fs::read(&path).unwrap(), old);
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1, "nothing is left over");
}

/// A checkpoint of 3 MB whose every number is its step.
fn stamped(step: u64) -> Checkpoint {
    let tensors =
        ["a", "b", "c"].map(|name| (name.to_owned(), Tensor::f32(&[250, 1000], vec![step as f32; 250_000])));
    Checkpoint { header: Header { step, ..header() }, tensors: tensors.into() }
}

/// Loads it and checks that it is of one piece.
fn step_of(path: &Path) -> u64 {
    let checkpoint = Checkpoint::load(path).unwrap();
    assert_eq!(checkpoint, stamped(checkpoint.header.step));
    checkpoint.header.step
}

/// Not a test of its own: the process that other tests start, with the path to save to in the environment.
#[test]
fn child_saves_until_it_is_stopped() {
    let Some(path) = std::env::var_os("THALWEG_TEST_SAVE_TO").map(PathBuf::from) else { return };
    let first = step_of(&path) + 1;
    for step in first.. {
        if let Err(error) = stamped(step).save(&path) {
            println!("ERROR {error}");
            return;
        }
        println!("SAVED {step}");
    }
}

const CHILD: [&str; 3] = ["--exact", "checkpoint::child_saves_until_it_is_stopped", "--nocapture"];

#[test]
fn killed_while_saving() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("c.safetensors");
    stamped(0).save(&path).unwrap();
    let (mut random, mut last) = (Rng(20), 0);
    let mut seen = Vec::new();
    for _ in 0..20 {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(CHILD)
            .env("THALWEG_TEST_SAVE_TO", &path)
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = std::io::BufReader::new(child.stdout.take().unwrap()).lines();
        assert!(lines.any(|line| line.unwrap().contains("SAVED")), "the child saves");
        std::thread::sleep(Duration::from_micros(random.next() % 150_000));
        child.kill().unwrap(); // SIGKILL
        child.wait().unwrap();
        let step = step_of(&path);
        assert!(step > last, "{step} after {last}");
        seen.push(step);
        last = step;
    }
    println!("steps found after each kill: {seen:?}");
}

/// A limit on the size of files stands in for a full disk: writing stops half way.
#[cfg(unix)]
#[test]
fn full_disk() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("c.safetensors");
    stamped(7).save(&path).unwrap();
    let output = Command::new("sh")
        .args(["-c", "trap '' XFSZ; ulimit -f 1000; exec \"$0\" \"$@\""]) // 512 or 1024 bytes each
        .arg(std::env::current_exe().unwrap())
        .args(CHILD)
        .env("THALWEG_TEST_SAVE_TO", &path)
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(said.contains("ERROR could not write ") && !said.contains("SAVED"), "{said}");
    assert_eq!(step_of(&path), 7);
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1, "nothing is left over");
}

/// Reads bytes that may be anything. It must not panic, nor take memory that the bytes do not justify. What it reads, the
/// safetensors crate must read too, and the same; what it takes for a checkpoint must be valid and come back the same after
/// another save. True if it was read.
fn survives(bytes: &[u8]) -> bool {
    let (result, cost) = peak(|| read(bytes));
    // Two bytes of F16 become four; an entry of the listing, 60 bytes or more as text, is a few hundred in maps.
    assert!(cost < 20 * bytes.len() + 40_000, "{cost} bytes for {}", bytes.len());
    let Ok((header, tensors)) = result else { return false };
    let theirs = safetensors::SafeTensors::deserialize(bytes).expect("read here, so readable there");
    for (name, tensor) in &tensors {
        let view = theirs.tensor(name).expect("it is there");
        let words = view.data().chunks_exact(4).map(|b| u32::from_le_bytes(b.try_into().unwrap()));
        assert_eq!(view.shape(), tensor.shape);
        if matches!(view.dtype(), safetensors::Dtype::F32 | safetensors::Dtype::U32) {
            assert_eq!(bits(tensor).2, words.collect::<Vec<_>>());
        }
    }
    let Some(header) = header else { return true };
    header.config.validate().unwrap();
    let checkpoint = Checkpoint { header, tensors };
    let back = bytes_of(&checkpoint);
    let back = Checkpoint { header: read(&back).unwrap().0.unwrap(), tensors: read(&back).unwrap().1 };
    assert_eq!(back.header, checkpoint.header);
    assert_eq!(all_bits(&back.tensors), all_bits(&checkpoint.tensors));
    true
}

/// A file that hangs together, but for one or two things: a listing of a few tensors of any type, shape and name.
fn invent(random: &mut Rng) -> Vec<u8> {
    let mut thalweg = serde_json::to_value(header()).unwrap();
    if random.below(4) == 0 {
        let paths = [
            "/step",
            "/seed",
            "/config/seed",
            "/config/train/batch",
            "/config/adam/beta1",
            "/metrics",
            "/data",
        ];
        let values = [
            json!(0),
            json!(-1),
            json!(u64::MAX),
            json!(1e300),
            json!(0.5),
            json!(null),
            json!({"a": [1.5, {}]}),
        ];
        *thalweg.pointer_mut(random.pick(&paths)).unwrap() = values[random.below(values.len())].clone();
    }
    let mut entries = vec![format!(r#""__metadata__":{}"#, json!({"thalweg": thalweg.to_string()}))];
    let mut end = 0u64;
    let huge = if random.below(3) == 0 { random.below(4) } else { 4 }; // which of the tensors is
    for ix in 0..random.below(4) {
        let (dtype, size) = random.pick(&[
            ("F32", 4),
            ("U32", 4),
            ("F64", 8),
            ("F16", 2),
            ("BF16", 2),
            ("I64", 8),
            ("U8", 1),
        ]);
        let lengths: &[u64] = if ix == huge { &[1, 3, 1 << 20, 1 << 32, 1 << 61] } else { &[0, 1, 2, 5] };
        let shape: Vec<u64> = (0..random.below(4)).map(|_| random.pick(lengths)).collect();
        let start = end;
        end = end.wrapping_add(shape.iter().fold(size, |a, &b| a.wrapping_mul(b)));
        let (mut from, mut to) = (start, end);
        match random.below(16) {
            0 => from = random.pick(&[0, start + 1, end]),
            1 => to = random.pick(&[0, start, end.wrapping_add(1), u64::MAX]),
            _ => {}
        }
        let name = match random.below(12) {
            0 => "tensor 0".to_owned(),
            1 => random.pick(&["\\n", "", "\\u0000", "__metadata__ ", "\u{85}", "\\\""]).to_owned(),
            2 => "long".repeat(random.below(200)),
            _ => format!("tensor {ix}"),
        };
        entries.push(format!(
            r#""{name}":{{"dtype":"{dtype}","shape":{shape:?},"data_offsets":[{from},{to}]}}"#
        ));
    }
    if random.below(2) == 0 {
        entries.reverse();
    }
    let extra = random.pick(&[0, 0, 0, 0, 0, 0, 1, 4]);
    let data: Vec<u8> = (0..(end % 1_000 + extra)).map(|_| random.next() as u8).collect();
    safetensors(format!("{{{}}}", entries.join(",")), &data)
}

/// Makes the listing's length fit: up to the last bracket of the first 4 KiB.
#[expect(clippy::ptr_arg, reason = "the type of every parser's `repair`")]
fn repair(bytes: &mut Vec<u8>) {
    let end = bytes.iter().take(4096).rposition(|byte| *byte == b'}');
    if let Some(length) = end.filter(|_| bytes.len() >= 8).and_then(|end| (end + 1).checked_sub(8)) {
        bytes[..8].copy_from_slice(&(length as u64).to_le_bytes());
    }
}

fn parser() -> Parser {
    let listing = r#"{"__metadata__":{"format":"pt"},"h":{"dtype":"F16","shape":[2,2],"data_offsets":[0,8]},
        "d":{"dtype":"F64","shape":[1],"data_offsets":[8,16]},"i":{"dtype":"I64","shape":[1],"data_offsets":[16,24]},
        "w":{"dtype":"F32","shape":[2],"data_offsets":[24,32]},"s":{"dtype":"F32","shape":[],"data_offsets":[32,36]}}"#;
    Parser {
        name: "checkpoint",
        seeds: vec![bytes_of(&small()), safetensors(listing, &[0x3C; 36]), safetensors("{}", b"")],
        #[rustfmt::skip]
        tokens: &[
            "{", "}", "[", "]", ",", ":", "\"", "\\", "\\\"", "null", "true", "0", "-1", "1e999", "1.5", "[]", "{}",
            "[0,0]", "18446744073709551615", "18446744073709551616", "4611686018427387904", "9007199254740993", "\\u0000",
            "\\ud800", "\"F64\"", "\"F16\"", "\"BF16\"", "\"I64\"", "\"F4\"", "\"U32\"", "\"__metadata__\":{},",
            "\u{feff}", "\u{1F600}", "\"x\":{\"dtype\":\"F32\",\"shape\":[0],\"data_offsets\":[0,0]},", "\"dtype\"",
            "\"shape\"", "\"data_offsets\"", "\"thalweg\":\"\",", "[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[", "\\\"step\\\":1,",
            "NaN", "1e-320",
        ],
        repair,
        gzip: false,
        parse: survives,
        invent: Some(invent),
    }
}

#[test]
fn fuzz() {
    check(&parser());
}
