//! Checkpoint files: exact round trips, an error for each kind of damage, whole after a kill, and a fuzzed loader.

use std::collections::BTreeMap;
use std::io::BufRead;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use crate::allocator::peak;
use serde_json::json;
use thalweg::checkpoint::{
    Checkpoint, FORMAT, Header, Tensor, TensorData, Tensors, load_tensors, read_tensors,
};
use thalweg::device::ChainPath;
use thalweg::recipe::Recipe;
use thalweg::{Error, files};

/// splitmix64.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    fn below(&mut self, n: usize) -> usize {
        (self.next() % n.max(1) as u64) as usize
    }
}

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
    let folder = tempfile::tempdir().unwrap();
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

/// A safetensors file of a listing and what follows it.
fn file(listing: impl AsRef<[u8]>, data: &[u8]) -> Vec<u8> {
    let listing = listing.as_ref();
    [&(listing.len() as u64).to_le_bytes(), listing, data].concat()
}

/// A file with one tensor, called `x`.
fn one(dtype: &str, shape: &str, data: &[u8]) -> Vec<u8> {
    file(format!(r#"{{"x":{{"dtype":"{dtype}","shape":{shape},"data_offsets":[0,{}]}}}}"#, data.len()), data)
}

#[track_caller]
fn assert_refused(bytes: &[u8], words: &[&str]) {
    let error = read(bytes).unwrap_err();
    assert!(matches!(error, Error::File { .. }), "{error:?}");
    assert_says(&error, &[&["some.safetensors: "], words].concat());
}

#[track_caller]
fn assert_says(error: &Error, words: &[&str]) {
    let message = error.to_string();
    for word in words {
        assert!(message.contains(word), "`{word}` is not in: {message}");
    }
}

#[test]
fn round_trip_is_exact() {
    let mut checkpoint = small();
    let odd =
        [0, 1, 0x8000_0000, 0x007F_FFFF, 0x7F80_0000, 0xFF80_0000, 0x7FC0_0001, 0x7F80_0001, 0xFFFF_FFFF];
    let mut random = Random(1);
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
    assert!(matches!(read(&file("{}", b"")), Ok((None, tensors)) if tensors.is_empty()));
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
    let (header, tensors) = read(&file(listing, &data)).unwrap();
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
    std::fs::write(&path, file(listing, &data)).unwrap();
    assert!(load_tensors(&path).unwrap().0.is_none());
    assert_says(&Checkpoint::load(&path).unwrap_err(), &["no Thalweg header", "name the network"]);
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
    let again = tensors.take_f32("conv1.bias", &[2]).unwrap_err();
    assert_says(
        &again,
        &["m.safetensors: ", "\"conv1.bias\" ([2]) is missing", "of the 3 there", "conv1.weight"],
    );
    let shape = tensors.take_f32("conv1.weight", &[2, 1, 3, 3]).unwrap_err();
    assert_says(&shape, &["m.safetensors: ", "\"conv1.weight\"", "[2, 1, 2, 2], not [2, 1, 3, 3]"]);
    assert_says(&tensors.take_f32("bad", &[2, 3]).unwrap_err(), &["\"bad\" has NaN at [1, 2]"]);
    assert_says(&tensors.take_f32("worse", &[]).unwrap_err(), &["\"worse\" has -inf at []"]);
    assert_says(
        &tensors.take_f32("x", &[]).unwrap_err(),
        &["missing; the file has no tensor that can be used"],
    );

    let mut tensors = Tensors::new("m", small().tensors);
    assert_says(&tensors.take_u32("conv1.bias", &[2]).unwrap_err(), &["\"conv1.bias\" holds F32, not U32"]);
    assert_says(&tensors.take_f32("replay.length", &[]).unwrap_err(), &["holds U32, not F32"]);
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
    assert_refused(&file(vec![b' '; (4 << 20) + 1], b""), &["4194305 bytes; the most is 4194304"]);
    assert_refused(b"\x89PNG\r\n\x1a\n and so on", &["no safetensors file"]);
    assert_refused(&file(b"{\"\xff\"", b""), &["not UTF-8, at byte 10"]);
    assert_refused(&file("{", b""), &["damaged header", "line 1"]);
    assert_refused(&file("[]", b""), &["an object of tensors by name"]);
    assert_refused(&file("{} {}", b""), &["trailing"]);
    assert_refused(&file(format!("{{\"x\":{}", "[".repeat(100_000)), b""), &["damaged header"]);
    let deep =
        format!(r#"{{"x":{{"dtype":"F32","shape":[1],"data_offsets":[0,4],"y":{}"#, "[".repeat(100_000));
    assert_refused(&file(deep, b""), &["damaged header"]);

    let tensor = |name: &str, shape: &str, start: u64, end: u64| {
        format!(r#""{name}":{{"dtype":"F32","shape":{shape},"data_offsets":[{start},{end}]}}"#)
    };
    let both = |a: String, b: String| file(format!("{{{a},{b}}}"), &[0; 8]);
    read(&both(tensor("a", "[1]", 4, 8), tensor("b", "[1]", 0, 4))).unwrap();
    assert_refused(&both(tensor("a", "[1]", 0, 4), tensor("a", "[1]", 4, 8)), &["\"a\" stands twice"]);
    assert_refused(&both(tensor("a", "[2]", 0, 8), tensor("\\u0061", "[2]", 0, 8)), &["\"a\" stands twice"]);
    assert_refused(&both(tensor("a", "[2]", 0, 8), tensor("b", "[1]", 4, 8)), &["lying header", "`b`"]);
    assert_refused(&both(tensor("a", "[1]", 0, 4), tensor("b", "[1]", 8, 12)), &["lying header", "`b`"]);
    assert_refused(&both(tensor("a", "[1]", 0, 4), tensor("b", "[2]", 4, 12)), &["lists 12 bytes"]);
    assert_refused(&both(tensor("a", "[1]", 0, 4), tensor("b", "[2]", 4, 8)), &["lying header", "shape"]);
    assert_refused(&both(tensor("a", "[1]", 0, 4), tensor("b", "[1]", 8, 4)), &["lying header", "`b`"]);
    assert_refused(&file(format!("{{{}}}", tensor("a", "[-1]", 0, 4)), &[0; 4]), &["damaged header", "-1"]);
    assert_refused(&file(format!("{{{}}}", tensor("a\\n", "[1]", 0, 4)), &[0; 4]), &["the name \"a\\n\""]);
    let long = "n".repeat(1_000_000);
    assert_refused(
        &file(format!("{{{}}}", tensor(&long, "[1]", 0, 4)), &[0; 4]),
        &["name has 1000000 bytes"],
    );
    assert_refused(&one("F33", "[1]", &[0; 4]), &["damaged header", "F33"]);
    assert_refused(&one("F32", "[4294967296,4294967296,2]", &[0; 4]), &["lying header", "overflow"]);
    assert_refused(&one("F32", "[4611686018427387904]", &[0; 4]), &["lying header", "overflow"]);
    assert_refused(&one("F4", "[3]", &[0; 2]), &["lying header"]);
    let huge =
        file(r#"{"x":{"dtype":"F32","shape":[1099511627776],"data_offsets":[0,4398046511104]}}"#, &[0; 4]);
    assert_refused(&huge, &["lists 4398046511104 bytes of tensors, but it has 4"]);

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
        file(listing, b"")
    };
    let good = serde_json::to_value(header()).unwrap();
    assert_eq!(read(&with(&good.to_string())).unwrap().0, Some(header()));
    assert_refused(&with(""), &["damaged Thalweg header"]);
    assert_refused(&with("[1"), &["damaged Thalweg header"]);
    assert_refused(&with("{}"), &["damaged Thalweg header", "format"]);
    assert_refused(&with(r#"{"format":"thalweg-2"}"#), &["\"thalweg-2\"", "reads \"thalweg-1\""]);
    assert_refused(&with(r#"{"format":"thalweg-1"}"#), &["missing field `network`"]);
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
    for (pointer, value, words) in [
        ("/step", json!(-1), "-1"),
        ("/step", json!(1.5), "1.5"),
        ("/config/train/batch", json!(0), "train.batch"),
        ("/config/chain", json!({"stpes": 1}), "stpes"),
        ("/config/adam/beta1", json!(null), "null"),
    ] {
        let mut spoilt = good.clone();
        *spoilt.pointer_mut(pointer).unwrap() = value;
        assert_refused(&with(&spoilt.to_string()), &[words]);
    }
    assert_refused(&file(r#"{"__metadata__":{"thalweg":"{}","thalweg":"{}"}}"#, b""), &["stands twice"]);
    assert_refused(
        &file(r#"{"__metadata__":{},"__metadata__":{}}"#, b""),
        &["\"__metadata__\" stands twice"],
    );
    assert_refused(&file(r#"{"__metadata__":{"thalweg":1}}"#, b""), &["damaged header", "a string"]);
    assert_refused(&file(r#"{"__metadata__":7}"#, b""), &["damaged header", "an object of strings"]);
}

/// `loss.kl` was a setting of 0.1: files in which it is 0 are read, others are refused.
#[test]
fn the_removed_kl_term() {
    let tensors = BTreeMap::<String, Tensor>::new();
    let with_kl = |kl: serde_json::Value| {
        let mut header = serde_json::to_value(header()).unwrap();
        header["config"]["loss"]["kl"] = kl;
        let listing = json!({"__metadata__": {"thalweg": header.to_string()}});
        file(listing.to_string(), &[])
    };
    assert_eq!(read(&with_kl(json!(0.0))).unwrap(), (Some(header()), tensors));
    assert_refused(&with_kl(json!(0.3)), &["loss.kl", "0.3", "version 0.1"]);
}

#[test]
fn paths_that_are_no_files() {
    let folder = tempfile::tempdir().unwrap();
    let nowhere = folder.path().join("no/such.safetensors");
    assert_says(&Checkpoint::load(&nowhere).unwrap_err(), &["could not read ", "such.safetensors: "]);
    assert_says(&Checkpoint::load(folder.path()).unwrap_err(), &["a file is needed"]);
    assert!(matches!(small().save(&nowhere).unwrap_err(), Error::Io { .. } | Error::File { .. }));
    assert!(matches!(small().save(folder.path()).unwrap_err(), Error::Io { .. } | Error::File { .. }));
    let mut invalid = small();
    invalid.header.config.train.batch = 0;
    let path = folder.path().join("c.safetensors");
    assert_says(&invalid.save(&path).unwrap_err(), &["train.batch"]);
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
    assert_says(&error.unwrap_err(), &["could not write ", "c.safetensors: the disk is gone"]);
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
    let (mut random, mut last) = (Random(20), 0);
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
/// another save. True if it was read as a checkpoint.
fn survives(bytes: &[u8], scratch: &Path) -> bool {
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
    let Some(header) = header else { return false };
    header.config.validate().unwrap();
    let checkpoint = Checkpoint { header, tensors };
    checkpoint.save(scratch).unwrap();
    let back = Checkpoint::load(scratch).unwrap();
    assert_eq!(back.header, checkpoint.header);
    assert_eq!(all_bits(&back.tensors), all_bits(&checkpoint.tensors));
    true
}

/// A file that hangs together, but for one or two things: a listing of a few tensors of any type, shape and name.
fn invent(random: &mut Random) -> Vec<u8> {
    fn pick<T: Copy>(random: &mut Random, from: &[T]) -> T {
        from[random.below(from.len())]
    }
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
        *thalweg.pointer_mut(pick(random, &paths)).unwrap() = values[random.below(values.len())].clone();
    }
    let mut entries = vec![format!(r#""__metadata__":{}"#, json!({"thalweg": thalweg.to_string()}))];
    let mut end = 0u64;
    let huge = if random.below(3) == 0 { random.below(4) } else { 4 }; // which of the tensors is
    for ix in 0..random.below(4) {
        let (dtype, size) = pick(
            random,
            &[("F32", 4), ("U32", 4), ("F64", 8), ("F16", 2), ("BF16", 2), ("I64", 8), ("U8", 1)],
        );
        let lengths: &[u64] = if ix == huge { &[1, 3, 1 << 20, 1 << 32, 1 << 61] } else { &[0, 1, 2, 5] };
        let shape: Vec<u64> = (0..random.below(4)).map(|_| pick(random, lengths)).collect();
        let start = end;
        end = end.wrapping_add(shape.iter().fold(size, |a, &b| a.wrapping_mul(b)));
        let (mut from, mut to) = (start, end);
        match random.below(16) {
            0 => from = pick(random, &[0, start + 1, end]),
            1 => to = pick(random, &[0, start, end.wrapping_add(1), u64::MAX]),
            _ => {}
        }
        let name = match random.below(12) {
            0 => "tensor 0".to_owned(),
            1 => pick(random, &["\\n", "", "\\u0000", "__metadata__ ", "\u{85}", "\\\""]).to_owned(),
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
    let extra = pick(random, &[0, 0, 0, 0, 0, 0, 1, 4]);
    let data: Vec<u8> = (0..(end % 1_000 + extra)).map(|_| random.next() as u8).collect();
    file(format!("{{{}}}", entries.join(",")), &data)
}

/// One to three changes: bits, bytes, cuts, the header's length, and pieces of JSON put over or between others.
fn mutate(bytes: &mut Vec<u8>, other: &[u8], random: &mut Random) {
    const PIECES: &[&str] = &[
        "{",
        "}",
        "[",
        "]",
        ",",
        ":",
        "\"",
        "\\",
        "\\\"",
        "null",
        "true",
        "0",
        "-1",
        "1e999",
        "1.5",
        "[]",
        "{}",
        "[0,0]",
        "18446744073709551615",
        "18446744073709551616",
        "4611686018427387904",
        "9007199254740993",
        "\\u0000",
        "\\ud800",
        "\"F64\"",
        "\"F16\"",
        "\"BF16\"",
        "\"I64\"",
        "\"F4\"",
        "\"U32\"",
        "\"__metadata__\":{},",
        "\u{feff}",
        "\u{1F600}",
        "\"x\":{\"dtype\":\"F32\",\"shape\":[0],\"data_offsets\":[0,0]},",
        "\"dtype\"",
        "\"shape\"",
        "\"data_offsets\"",
        "\"thalweg\":\"\",",
        "[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[",
        "\\\"step\\\":1,",
        "NaN",
        "1e-320",
    ];
    for _ in 0..1 + random.below(3) {
        let listing = bytes.get(..8).map_or(0, |b| u64::from_le_bytes(b.try_into().unwrap()));
        let listing_end = (8 + listing.min(1 << 20) as usize).min(bytes.len());
        // Three of four changes fall into the listing, where the structure is.
        let end = if random.below(4) > 0 { listing_end } else { bytes.len() };
        let at = random.below(end);
        let mut keep_length = true; // of the listing, so that changes inside do not all end in the same error
        let before = bytes.len();
        match random.below(12) {
            _ if bytes.is_empty() => bytes.push(random.next() as u8),
            0 => bytes[at] ^= 1 << random.below(8),
            1 => bytes[at] = random.next() as u8,
            2 => bytes.truncate(random.below(bytes.len() + 1)),
            3 => {
                let edits = [
                    0,
                    1,
                    7,
                    8,
                    u64::MAX,
                    1 << 63,
                    listing.wrapping_add(1),
                    listing.wrapping_sub(1),
                    random.next() % 5000,
                ];
                let edit = edits[random.below(edits.len())].to_le_bytes();
                let n = bytes.len().min(8);
                bytes[..n].copy_from_slice(&edit[..n]);
                keep_length = false;
            }
            4 => drop(bytes.drain(at..(at + 1 + random.below(24)).min(bytes.len()))),
            5 => {
                let from = random.below(other.len());
                let piece = other[from..(from + 1 + random.below(80)).min(other.len())].to_vec();
                drop(bytes.splice(at..at, piece));
            }
            6 => {
                let piece = PIECES[random.below(PIECES.len())].bytes();
                drop(bytes.splice(at..at, piece));
            }
            7 => {
                let piece = PIECES[random.below(PIECES.len())].bytes();
                drop(bytes.splice(at..(at + 1 + random.below(12)).min(bytes.len()), piece));
            }
            _ => {
                // One digit of a number in the listing: shapes, offsets, settings.
                if let Some(digit) = (at..end).find(|&i| i >= 8 && bytes[i].is_ascii_digit()) {
                    bytes[digit] = b'0' + random.below(10) as u8;
                }
            }
        }
        if keep_length && at >= 8 && at < listing_end && bytes.len() >= 8 && random.below(8) > 0 {
            let grown = (listing as usize).wrapping_add(bytes.len()).saturating_sub(before) as u64;
            bytes[..8].copy_from_slice(&grown.to_le_bytes());
        }
    }
}

fn corpus() -> Vec<(PathBuf, Vec<u8>)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/corpus/checkpoint");
    let Ok(entries) = std::fs::read_dir(folder) else { return Vec::new() };
    let mut files: Vec<_> =
        entries.map(|e| e.unwrap().path()).map(|p| (p.clone(), std::fs::read(p).unwrap())).collect();
    files.sort();
    files
}

/// Inputs that found something once; these first ones when a check of the loader was taken out to see if the fuzz notices.
#[test]
fn corpus_replays() {
    let folder = tempfile::tempdir().unwrap();
    for (path, bytes) in corpus() {
        println!("{}", path.display());
        survives(&bytes, &folder.path().join("scratch"));
    }
}

/// `THALWEG_FUZZ=N` for more inputs. An input that fails is written to tests/corpus/checkpoint/.
#[test]
fn fuzz() {
    let n: u64 =
        std::env::var("THALWEG_FUZZ").map_or(20_000, |n| n.parse().expect("THALWEG_FUZZ is a number"));
    let weights = {
        let listing = r#"{"__metadata__":{"format":"pt"},"h":{"dtype":"F16","shape":[2,2],"data_offsets":[0,8]},
            "d":{"dtype":"F64","shape":[1],"data_offsets":[8,16]},"i":{"dtype":"I64","shape":[1],"data_offsets":[16,24]},
            "w":{"dtype":"F32","shape":[2],"data_offsets":[24,32]},"s":{"dtype":"F32","shape":[],"data_offsets":[32,36]}}"#;
        file(listing, &[0x3C; 36])
    };
    let mut seeds = vec![bytes_of(&small()), weights, file("{}", b"")];
    seeds.extend(corpus().into_iter().map(|(_, bytes)| bytes));
    let folder = tempfile::tempdir_in(if Path::new("/dev/shm").is_dir() { "/dev/shm" } else { "." }).unwrap();
    let scratch = folder.path().join("scratch");
    let mut read = 0;
    for case in 0..n {
        let mut random = Random(case);
        let bytes = if random.below(4) == 0 {
            invent(&mut random)
        } else {
            let mut bytes = seeds[random.below(seeds.len())].clone();
            let other = seeds[random.below(seeds.len())].clone();
            mutate(&mut bytes, &other, &mut random);
            bytes
        };
        let result = std::panic::catch_unwind(|| survives(&bytes, &scratch));
        match result {
            Ok(was_read) => read += u64::from(was_read),
            Err(panic) => {
                let found = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/corpus/checkpoint");
                std::fs::create_dir_all(&found).unwrap();
                let path = found.join(format!("{case}.safetensors"));
                std::fs::write(&path, &bytes).unwrap();
                eprintln!("case {case} is in {}", path.display());
                std::panic::resume_unwind(panic);
            }
        }
    }
    println!("{read} of {n} files were read as checkpoints");
    assert!(read > n / 100 && read < n / 2, "{read} of {n} files were read: is this still a fuzz?");
}
