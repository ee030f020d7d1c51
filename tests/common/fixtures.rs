//! Folders, weights and tiny runs that the program's tests begin from.

use super::{floats, tensors_file, works, write_digits};
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::LazyLock;
use tempfile::TempDir;
use thalweg::checkpoint::{Tensor, load_tensors};
use thalweg::gpu::Adapter;
use thalweg::recipe::presets::preset;

/// Weights of PyTorch, with images and what PyTorch says of them.
pub const GOLDEN: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/golden/mnist-small.safetensors");
/// Settings of a run of images that takes no time.
pub const TINY: [&str; 9] = [
    "--preset=mnist-small",
    "--set=chain.steps=2",
    "--set=train.batch=16",
    "--set=replay.capacity=64",
    "--set=replay.initial=32",
    "--set=sample.steps=2",
    "--set=sample.count=4",
    "--data=digits.idx",
    "--device=cpu",
];

/// A file of the golden weights alone: among the golden file's other tensors they would be refused.
pub fn weights() -> &'static str {
    static PATH: LazyLock<&str> = LazyLock::new(|| {
        let path = concat!(env!("CARGO_TARGET_TMPDIR"), "/mnist-small.safetensors");
        let mut tensors = load_tensors(GOLDEN).unwrap().1;
        let own = preset("mnist-small").unwrap().tensors();
        tensors.retain(|name, _| own.iter().any(|tensor| tensor.name == *name));
        fs::write(path, weights_file(&tensors)).unwrap();
        path
    });
    *PATH
}

/// A safetensors file with no metadata.
pub fn weights_file<'a>(tensors: impl IntoIterator<Item = (&'a String, &'a Tensor)>) -> Vec<u8> {
    let own = tensors.into_iter().map(|(name, tensor)| (&**name, &tensor.shape[..], floats(tensor).to_vec()));
    tensors_file(own)
}

pub fn golden(name: &str) -> Tensor {
    load_tensors(GOLDEN).unwrap().1[name].clone()
}

/// A folder with `digits.idx`: 80 digits, so 72 to train on and 8 held out.
pub fn folder_of_digits() -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    write_digits(folder.path().join("digits.idx"), 80);
    folder
}

/// A folder with `points.csv`: 40 points, so 36 to train on.
pub fn folder_of_points() -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    let row = |i: i32| format!("{},{}\n", f64::from(i % 7) / 3.0 - 1.0, f64::from(i % 5) / 2.0 - 1.0);
    let points = "x,y\n".to_owned() + &(0..40).map(row).collect::<String>();
    fs::write(folder.path().join("points.csv"), points).unwrap();
    folder
}

/// Trains 2 steps to `run/checkpoint.safetensors`.
pub fn train_tiny(folder: &Path) -> PathBuf {
    works(folder, &[&["train", "--steps=2"], &TINY[..]].concat());
    folder.join("run/checkpoint.safetensors")
}

/// A software adapter if there is one, else any.
pub fn adapter() -> Adapter {
    let adapters = pollster::block_on(thalweg::gpu::adapters());
    let software = adapters.iter().find(|a| !a.is_gpu()).or(adapters.first());
    software.expect("no Vulkan, Metal or DX12 adapter: run ./test.sh, which installs a software one").clone()
}

/// Asserts `err <= tolerance * largest magnitude`, NaN failing.
#[track_caller]
pub fn assert_near(values: &[f32], reference: &[f32], tolerance: f32) {
    assert_eq!(values.len(), reference.len());
    let scale = reference.iter().fold(0.0_f32, |most, v| most.max(v.abs()));
    for (ix, (a, b)) in values.iter().zip(reference).enumerate() {
        let ok = (a - b).abs() <= tolerance * scale;
        assert!(ok, "value {ix} is {a}, not {b}");
    }
}
