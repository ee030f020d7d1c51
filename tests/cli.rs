//! The program from outside: what it writes, what it refuses and how, how it stops and goes on.
//!
//! Everything runs in temporary folders and, but for the tests of devices, on the CPU.

use std::collections::BTreeMap;
use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::LazyLock;
use std::time::{Duration, Instant};

use flate2::{Compression, write::GzEncoder};
use tempfile::TempDir;
use thalweg::checkpoint::replay_images;
use thalweg::checkpoint::{Checkpoint, Tensor, TensorData, load_tensors};
use thalweg::data::{ByteImages, Dataset, Examples, Images, npy};
use thalweg::picture::plot::{curves, sequences};
use thalweg::picture::{GridOptions, film, grid};
use thalweg::plan::ChainConfig;
use thalweg::recipe::Setting;
use thalweg::recipe::presets::preset;
use thalweg::train::log::MetricsTable;
use thalweg::{Device, EnergyModel, Model, Recipe, Sampler};

// ---- helpers

/// Weights of PyTorch, with images and what PyTorch says of them.
const GOLDEN: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/golden/mnist-small.safetensors");
/// Settings of a run that takes no time.
const TINY: [&str; 9] = [
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

/// The program with some arguments, in a folder.
fn command(folder: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_thalweg"));
    command.current_dir(folder).args(arguments).stdin(Stdio::null());
    command
}

fn run(folder: &Path, arguments: &[&str]) -> Output {
    command(folder, arguments).output().unwrap()
}

/// Runs it; it must succeed. Its stdout.
fn works(folder: &Path, arguments: &[&str]) -> String {
    stdout_of(&run(folder, arguments), arguments)
}

/// What a command, which must have succeeded, printed.
fn stdout_of(output: &Output, arguments: &[&str]) -> String {
    let (stdout, stderr) = texts(output);
    assert_eq!(output.status.code(), Some(0), "{arguments:?}\n{stdout}\n{stderr}");
    stdout
}

fn texts(output: &Output) -> (String, String) {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (text(&output.stdout), text(&output.stderr))
}

/// Every file in a folder, with its content.
fn snapshot(folder: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut files = BTreeMap::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            files.extend(snapshot(&path));
        } else if path.is_file() {
            let content = fs::read(&path).unwrap();
            files.insert(path, content);
        }
    }
    files
}

/// What is wrong with how an output refuses: nothing, if it exits with 2 and exactly one `error:` that names all facts.
fn faults_of(output: &Output, facts: &[&str]) -> Vec<String> {
    let (_, stderr) = texts(output);
    let mut faults = Vec::new();
    if output.status.code() != Some(2) {
        faults.push(format!("exits with {:?}", output.status));
    }
    if stderr.matches("error:").count() != 1 || !stderr.starts_with("error: ") {
        faults.push("has not exactly one error".to_owned());
    }
    if stderr.contains("panicked") || stderr.contains("RUST_BACKTRACE") {
        faults.push("panicked".to_owned());
    }
    // clap and long paths break lines.
    let plain = stderr.split_whitespace().collect::<Vec<_>>().join(" ");
    faults.extend(
        facts.iter().filter(|fact| !plain.contains(**fact)).map(|fact| format!("does not say `{fact}`")),
    );
    faults.iter().map(|fault| format!("{fault}: {stderr}")).collect()
}

/// Commands that must be refused, each with what the error has to say, and all faults together at the end.
struct Refusals<'a> {
    folder: &'a Path,
    before: BTreeMap<PathBuf, Vec<u8>>,
    faults: Vec<String>,
}

impl<'a> Refusals<'a> {
    /// All files that the commands may touch or need are in `folder` by now.
    fn new(folder: &'a Path) -> Self {
        Self { folder, before: snapshot(folder), faults: Vec::new() }
    }

    fn refused(&mut self, arguments: &[&str], facts: &[&str]) {
        let output = run(self.folder, arguments);
        self.check(&output, arguments, facts);
    }

    fn check(&mut self, output: &Output, arguments: &[&str], facts: &[&str]) {
        let mut faults = faults_of(output, facts);
        if snapshot(self.folder) != self.before {
            faults.push("left something behind, or changed it".to_owned());
        }
        self.faults.extend(faults.into_iter().map(|fault| format!("{arguments:?} {fault}")));
    }

    fn finish(self) {
        assert!(self.faults.is_empty(), "{} faults:\n{}", self.faults.len(), self.faults.join("\n"));
    }
}

fn idx(magic: u32, dims: &[u32], bytes: &[u8]) -> Vec<u8> {
    let mut file = magic.to_be_bytes().to_vec();
    dims.iter().for_each(|dim| file.extend(dim.to_be_bytes()));
    file.extend(bytes);
    file
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

fn npy_file(descr: &str, fortran: &str, shape: &str, bytes: &[u8]) -> Vec<u8> {
    let header = format!("{{'descr': '{descr}', 'fortran_order': {fortran}, 'shape': {shape}, }}\n");
    [b"\x93NUMPY\x01\x00", &(header.len() as u16).to_le_bytes()[..], header.as_bytes(), bytes].concat()
}

fn le(values: &[f32]) -> Vec<u8> {
    values.iter().flat_map(|v| v.to_le_bytes()).collect()
}

/// A safetensors file with no metadata.
fn weights_file(tensors: &BTreeMap<String, Tensor>) -> Vec<u8> {
    let (mut listing, mut data) = (serde_json::Map::new(), Vec::new());
    for (name, tensor) in tensors {
        let TensorData::F32(values) = &tensor.data else { continue };
        let start = data.len();
        data.extend(le(values));
        let info =
            serde_json::json!({"dtype": "F32", "shape": tensor.shape, "data_offsets": [start, data.len()]});
        listing.insert(name.clone(), info);
    }
    let listing = serde_json::to_vec(&listing).unwrap();
    [&(listing.len() as u64).to_le_bytes()[..], &listing, &data].concat()
}

/// A file of the golden weights alone: among the golden file's other tensors they would be refused.
fn weights() -> &'static str {
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

fn golden(name: &str) -> Tensor {
    load_tensors(GOLDEN).unwrap().1[name].clone()
}

fn floats(tensor: &Tensor) -> &[f32] {
    let TensorData::F32(values) = &tensor.data else { panic!("no floats") };
    values
}

/// Digits `first..first + count` of those that ship inside.
fn digits(first: usize, count: usize) -> ByteImages {
    let Examples::Bytes(all) = Dataset::open("digits").unwrap().train else { panic!("digits are bytes") };
    let len = all.shape.len();
    ByteImages { shape: all.shape, bytes: all.bytes[first * len..][..count * len].to_vec() }
}

/// A folder with `digits.idx`: 80 digits, so 72 to train on and 8 held out.
fn folder() -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    let file = idx(0x803, &[80, 28, 28], &digits(0, 80).bytes);
    fs::write(folder.path().join("digits.idx"), file).unwrap();
    folder
}

/// Trains 2 steps to `run/checkpoint.safetensors`.
fn train_tiny(folder: &Path) -> PathBuf {
    works(folder, &[&["train", "--steps=2"], &TINY[..]].concat());
    folder.join("run/checkpoint.safetensors")
}

fn read_npy(path: impl AsRef<Path>) -> (String, Vec<f32>) {
    let bytes = fs::read(path).unwrap();
    assert_eq!(&bytes[..8], b"\x93NUMPY\x01\x00");
    let end = 10 + usize::from(u16::from_le_bytes([bytes[8], bytes[9]]));
    let header = String::from_utf8(bytes[10..end].to_vec()).unwrap();
    (header, bytes[end..].chunks_exact(4).map(|b| f32::from_le_bytes(b.try_into().unwrap())).collect())
}

/// `err <= tolerance * largest magnitude`, NaN failing.
fn assert_near(values: &[f32], reference: &[f32], tolerance: f32) {
    assert_eq!(values.len(), reference.len());
    let scale = reference.iter().fold(0.0_f32, |most, v| most.max(v.abs()));
    for (ix, (a, b)) in values.iter().zip(reference).enumerate() {
        let ok = (a - b).abs() <= tolerance * scale;
        assert!(ok, "value {ix} is {a}, not {b}");
    }
}

#[test]
fn the_checks_can_fail() {
    let folder = folder();
    let output = run(folder.path(), &["train", "--set=help"]);
    assert_eq!(faults_of(&output, &[]).len(), 2); // exit code, no error
    let output = run(folder.path(), &["sample", "--model=nowhere"]);
    assert_eq!(faults_of(&output, &["nowhere"]), Vec::<String>::new());
    assert_eq!(faults_of(&output, &["elsewhere"]).len(), 1);

    let mut refusals = Refusals::new(folder.path());
    fs::write(folder.path().join("half"), "written").unwrap();
    refusals.check(&output, &[], &["nowhere"]);
    assert_eq!(refusals.faults.len(), 1);
    for value in [1.001, f32::NAN] {
        let near = std::panic::catch_unwind(|| assert_near(&[1.0, value], &[1.0, 1.0], 1e-5));
        assert!(near.is_err(), "{value} passes for 1");
    }
}

// ---- energy

#[test]
fn energies_and_gradients_are_pytorchs() {
    let folder = folder();
    let at = |name: &str| folder.path().join(name);
    let real = golden("real");
    npy::write_f32(at("real.npy"), &real.shape, floats(&real)).unwrap();
    let base = ["energy", "--model", weights(), "--network=mnist-small", "--device=cpu", "--input=real.npy"];
    let stdout = works(folder.path(), &[&base[..], &["--out=e.npy", "--gradient=g.npy"]].concat());

    let (header, energies) = read_npy(at("e.npy"));
    assert!(header.contains("'<f4'") && header.contains("'shape': (5"), "{header}");
    let expected = golden("energy.real");
    assert_near(&energies, floats(&expected), 1e-5);
    let (header, gradient) = read_npy(at("g.npy"));
    assert!(header.contains("(5, 1, 32, 32)"), "{header}");
    assert_near(&gradient, floats(&golden("input_grad.real")), 1e-5);

    let mean = energies.iter().sum::<f32>() / 5.0;
    for fact in ["5 images of 1x32x32", &format!("mean {mean:.6}"), "std ", "min ", "max ", "first: "] {
        assert!(stdout.contains(fact), "{fact}: {stdout}");
    }
    // The same as text, over an older file.
    fs::write(at("e.csv"), "old").unwrap();
    works(folder.path(), &[&base[..], &["--out=e.csv"]].concat());
    let csv = fs::read_to_string(at("e.csv")).unwrap();
    let mut lines = csv.lines();
    assert_eq!(lines.next(), Some("index,energy"));
    let rows: Vec<_> = lines.map(|line| line.split_once(',').unwrap()).collect();
    for (ix, (row, energy)) in rows.iter().zip(&energies).enumerate() {
        assert_eq!((row.0, row.1.parse::<f32>().unwrap().to_bits()), (&*ix.to_string(), energy.to_bits()));
    }
    assert_eq!(rows.len(), 5);
}

#[test]
fn energies_of_png_folders_and_idx_folders() {
    let folder = folder();
    let images = digits(0, 3);
    for (ix, name) in ["b.png", "a, \"1\".png", "c.png"].iter().enumerate() {
        fs::create_dir_all(folder.path().join("png")).unwrap();
        let path = folder.path().join("png").join(name);
        image::save_buffer(path, images.image(ix), 28, 28, image::ExtendedColorType::L8).unwrap();
    }
    fs::create_dir(folder.path().join("idx")).unwrap();
    let file = gzip(&idx(0x803, &[3, 28, 28], &images.bytes));
    fs::write(folder.path().join("idx/t10k-images-idx3-ubyte.gz"), file).unwrap();

    let base = ["energy", "--model", weights(), "--network=mnist-small", "--device=cpu"];
    works(folder.path(), &[&base[..], &["--input=png", "--out=png.csv", "--gradient=g.npy"]].concat());
    works(folder.path(), &[&base[..], &["--input=idx", "--out=idx.csv"]].concat());
    let model = Model::load(weights(), Some("mnist-small")).unwrap();
    let energies = pollster::block_on(async {
        let mut energies = EnergyModel::new(&Device::cpu(), &model).await.unwrap();
        energies.energies(&images.to_images()).await.unwrap()
    });
    let [b, a, c] = energies[..] else { panic!("{energies:?}") };
    let csv = fs::read_to_string(folder.path().join("png.csv")).unwrap();
    assert_eq!(csv, format!("index,energy,file\n0,{a},\"a, \"\"1\"\".png\"\n1,{b},b.png\n2,{c},c.png\n"));
    let csv = fs::read_to_string(folder.path().join("idx.csv")).unwrap();
    assert_eq!(csv, format!("index,energy\n0,{b}\n1,{a}\n2,{c}\n"));
    // As large as the images, not as the network's input.
    assert!(read_npy(folder.path().join("g.npy")).0.contains("(3, 1, 28, 28)"));
}

#[test]
fn analytic_energies_are_their_formulas() {
    let folder = folder();
    let at = |name: &str| folder.path().join(name);
    fs::write(at("points.csv"), "x,y\n0,0\n1,2\n-1.5,0.5\n").unwrap();
    npy::write_f32(at("rows.npy"), &[2, 3], &[1.0, 1.0, 1.0, 0.0, 0.5, -1.0]).unwrap();
    let put = |name: &str, d: usize, energy: &str| {
        fs::write(at(name), format!("[network]\ninput = [{d}]\nlayers = [{{ analytic = \"{energy}\" }}]\n"))
            .unwrap();
    };
    put("three.toml", 3, "gaussian");
    put("solid.toml", 3, "rosenbrock");
    let energy = |network: &str, input: &str, more: &[&str]| {
        let base = ["energy", "--device=cpu", "--out=e.npy", "--network", network, "--input", input];
        works(folder.path(), &[&base[..], more].concat());
        read_npy(at("e.npy")).1
    };
    let ackley = |x: f64, y: f64| {
        let (radius, turn) = (((x * x + y * y) / 2.0).sqrt(), std::f64::consts::TAU);
        let cosines = ((turn * x).cos() + (turn * y).cos()) / 2.0;
        (20.0 * (1.0 - (-radius / 5.0).exp()) + std::f64::consts::E - cosines.exp()) as f32
    };
    // -ln of a fifth of a Gaussian's height, of deviation 0.3.
    let peak = (5.0 * std::f32::consts::TAU * 0.09).ln();
    let cases: [(&str, &[f32]); 6] = [
        ("analytic:gaussian", &[0.0, 8.5, 1.625]),
        ("analytic:double-well", &[2.0, 2.0, 3.25]),
        ("analytic:rosenbrock", &[1.0, 100.0, 312.5]),
        ("analytic:rastrigin", &[0.0, 5.0, 42.5]),
        ("analytic:ackley", &[0.0, ackley(1.0, 2.0), ackley(-1.5, 0.5)]),
        ("analytic:five-gaussians", &[peak]),
    ];
    for (network, want) in cases {
        let found = energy(network, "points.csv", &["--gradient=g.npy"]);
        assert_eq!(found.len(), 3, "{network}");
        assert_near(&found[..want.len()], want, 1e-5);
        if network == "analytic:gaussian" {
            let (header, gradient) = read_npy(at("g.npy"));
            assert!(header.contains("(3, 2)"), "{header}");
            assert_near(&gradient, &[0.0, 0.0, 1.0, 8.0, -1.5, 2.0], 1e-6);
        }
    }
    assert_near(&energy("three.toml", "rows.npy", &[]), &[3.0, 1.0], 1e-6);

    let mut refusals = Refusals::new(folder.path());
    let wrong: [(&str, &str, &[&str]); 8] = [
        ("analytic:gausian", "points.csv", &["`gausian`", "did you mean `gaussian`?", "25-gaussians"]),
        ("analytic:", "points.csv", &["no analytic energy ``", "double-well"]),
        ("gaussian", "points.csv", &["`gaussian`", "analytic:gaussian"]),
        ("mnist-small", "points.csv", &["--model is missing"]),
        ("analytic:gaussian", "rows.npy", &["rows.npy", "3x1x1", "2x1x1"]),
        ("analytic:gaussian", "digits.idx", &["digits.idx", "points are needed"]),
        ("three.toml", "points.csv", &["points.csv", "2x1x1", "3x1x1"]),
        ("solid.toml", "rows.npy", &["solid.toml", "rosenbrock", "2x1x1", "3x1x1"]),
    ];
    for (network, input, facts) in wrong {
        refusals.refused(&["energy", "--device=cpu", "--network", network, "--input", input], facts);
    }
    refusals.finish();
}

// ---- images in colour, and sequences

/// CIFAR-10's records: every image is of one colour, all in the same place.
const COLOURS: [[u8; 3]; 3] = [[230, 40, 90], [20, 200, 60], [50, 30, 250]];

fn cifar_batch(count: usize) -> Vec<u8> {
    let record = |i: usize| -> Vec<u8> {
        let planes = COLOURS[i % 3].iter().flat_map(|value| vec![*value; 1024]);
        [(i % 10) as u8].into_iter().chain(planes).collect()
    };
    (0..count).flat_map(record).collect()
}

/// Pixels of each of the colours in a picture.
fn coloured(path: &Path) -> [usize; 3] {
    let picture = image::open(path).unwrap().into_rgb8();
    COLOURS.map(|colour| picture.pixels().filter(|pixel| pixel.0 == colour).count())
}

#[test]
fn colour_images_are_learned_sampled_and_drawn() {
    let (folder, adapter) = (folder(), adapter());
    let at = |name: &str| folder.path().join(name);
    fs::create_dir(at("cifar")).unwrap();
    fs::write(at("cifar/data_batch_1.bin"), cifar_batch(20)).unwrap();
    fs::write(at("cifar/data_batch_2.bin"), cifar_batch(10)).unwrap();
    fs::write(at("cifar/test_batch.bin"), cifar_batch(6)).unwrap();
    fs::create_dir(at("pictures")).unwrap();
    for (i, colour) in COLOURS.iter().cycle().take(12).enumerate() {
        image::RgbImage::from_pixel(32, 32, image::Rgb(*colour))
            .save(at(&format!("pictures/{i:02}.png")))
            .unwrap();
    }
    fs::write(
        at("rgb.toml"),
        "[network]\ninput = [3, 32, 32]\nlayers = [{ conv = 6, kernel = 4, stride = 4, activation = \"swish\" }, { dense \
         = 1 }]\n",
    )
    .unwrap();
    let set = &TINY[..7];
    let is_colourful = |name: &str| {
        let picture = image::open(at(name)).unwrap().into_rgb8();
        let spread = |p: &image::Rgb<u8>| p.0.iter().max().unwrap() - p.0.iter().min().unwrap();
        let n = picture.pixels().filter(|p| spread(p) > 60).count();
        assert!(n > 1000, "{name}: {n} pixels of colour");
    };
    for (data, device) in [("cifar", "cpu"), ("pictures", "cpu"), ("cifar", &adapter.name)] {
        let train = |out: &str, steps: &str| {
            let own = ["--config=rgb.toml", "--data", data, "--device", device, "--out", out, steps];
            works(folder.path(), &[&["train"], set, &own].concat())
        };
        let stdout = train("straight", "--steps=4");
        assert!(
            stdout.contains(if data == "cifar" { "30 images (6 held" } else { "11 images (1 held" }),
            "{stdout}"
        );
        train("parts", "--steps=2");
        let resume = ["train", "--resume", "--steps=4", "--out=parts", "--data", data, "--device", device];
        works(folder.path(), &resume);
        assert!(
            outcome(&at("parts")) == outcome(&at("straight")),
            "{data} on {device}: the resumed run differs"
        );
        for name in ["straight/samples-0001.png", "straight/buffer-0001.png"] {
            is_colourful(name);
        }
        let model = "--model=straight/checkpoint.safetensors";
        let sample = ["sample", model, "--device", device, "--count=6", "--npy=s.npy", "--out=s.png"];
        works(folder.path(), &[&sample[..], &["--steps=3", "--film=f.png"]].concat());
        let (header, values) = read_npy(at("s.npy"));
        assert!(header.contains("(6, 3, 32, 32)") && values.iter().all(|v| v.abs() <= 1.0), "{header}");
        is_colourful("s.png");
        is_colourful("f.png");
        // As chains' starts, images keep their colours, three times as large: two of each.
        let first = if data == "cifar" { "cifar/data_batch_1.bin" } else { data };
        works(folder.path(), &[&sample[..], &["--steps=0", "--init", first]].concat());
        assert_eq!(coloured(&at("s.png")), [2 * 96 * 96; 3], "{data}");
        let stdout = works(
            folder.path(),
            &["energy", model, "--device", device, "--input", data, "--out=e.csv", "--gradient=g.npy"],
        );
        let n = if data == "cifar" { 6 } else { 12 };
        assert!(stdout.contains(&format!("{n} images of 3x32x32")), "{stdout}");
        assert!(read_npy(at("g.npy")).0.contains(&format!("({n}, 3, 32, 32)")));
        for run in ["straight", "parts"] {
            fs::remove_dir_all(at(run)).unwrap();
        }
    }
    // The presets take three channels, and images of one do not fit them.
    works(
        folder.path(),
        &[&["train", "--data=cifar", "--steps=1", "--out=preset"], set, &["--device=cpu"]].concat(),
    );
    let model = "--model=preset/checkpoint.safetensors";
    let mut refusals = Refusals::new(folder.path());
    let facts = ["digits.idx", "1x28x28", "3x32x32"];
    refusals.refused(&["energy", model, "--device=cpu", "--input=digits.idx"], &facts);
    refusals.refused(
        &["train", "--config=rgb.toml", "--device=cpu", "--data=digits.idx", "--out=new"],
        &["images of up to 3x32x32", "1x28x28"],
    );
    refusals.finish();
}

/// 20 sequences of two waves of 6 moments.
fn write_sequences(path: impl AsRef<Path>) {
    let wave = |i: usize| ((i % 12 / 2 + i / 12) as f32 * 0.7 + (i % 2) as f32 * 1.5).sin();
    npy::write_f32(path, &[20, 6, 2], &(0..240).map(wave).collect::<Vec<_>>()).unwrap();
}

#[test]
fn sequences_are_drawn_as_curves() {
    let folder = folder();
    let at = |name: &str| folder.path().join(name);
    write_sequences(at("waves.npy"));
    fs::write(at("lstm.toml"), "[network]\ninput = [2, 1, 6]\nlayers = [{ lstm = 4 }, { dense = 1 }]\n")
        .unwrap();
    let own = ["--config=lstm.toml", "--data=waves.npy", "--device=cpu"];
    works(folder.path(), &[&["train", "--steps=2"], &TINY[..7], &own].concat());
    let model = Model::load(at("run/checkpoint.safetensors"), None).unwrap();
    let open = |name: &str| image::open(at(name)).unwrap().into_rgb8();
    let drawn = |count: usize, steps: u32, seed: u64| {
        pollster::block_on(async {
            let chain_config = ChainConfig { steps, step_size: 20.0, ..ChainConfig::default() };
            let mut sampler = Sampler::new(&Device::cpu(), &model, count, &chain_config, seed).await.unwrap();
            sampler.run(steps).unwrap();
            let titles: Vec<_> =
                sampler.energies().await.unwrap().iter().map(|e| format!("E = {e:.4}")).collect();
            sequences(&sampler.images().await.unwrap(), &titles)
        })
    };
    assert!(open("run/samples-0001.png") == drawn(4, 2, 1), "train draws others");
    assert!(open("run/buffer-0001.png").width() > 200);
    let stdout = works(
        folder.path(),
        &[
            "sample",
            "--model=run/checkpoint.safetensors",
            "--device=cpu",
            "--count=101",
            "--steps=3",
            "--seed=5",
        ],
    );
    assert!(stdout.contains("grid.png: the first 100 samples"), "{stdout}");
    assert!(open("grid.png") == drawn(101, 3, 5), "sample draws others");
    let stdout = works(folder.path(), &["plot", "--device=cpu"]);
    assert!(stdout.contains("run/samples.png: 4 samples") && stdout.contains("curves.png"), "{stdout}");
    assert!(open("run/samples.png") == drawn(4, 2, 0), "plot draws others");

    // Rows of more numbers than a picture has room for are learned as well, without one.
    npy::write_f32(at("rows.npy"), &[30, 5], &(0..150).map(|i| (i % 7) as f32 / 7.0).collect::<Vec<_>>())
        .unwrap();
    let rows = ["train", "--preset=mlp", "--data=rows.npy", "--steps=2", "--out=rows", "--device=cpu"];
    works(folder.path(), &[&rows[..], &["--set=train.batch=10", "--set=sample.steps=2"]].concat());
    assert!(at("rows/curves.png").exists() && !at("rows/samples-0001.png").exists());
    let mut refusals = Refusals::new(folder.path());
    let sample = ["sample", "--device=cpu", "--model"];
    refusals.refused(
        &[&sample[..], &["rows/checkpoint.safetensors"]].concat(),
        &["no picture", "5x1x1", "--npy"],
    );
    let film = ["run/checkpoint.safetensors", "--film=f.png"];
    refusals.refused(&[&sample[..], &film].concat(), &["--film shows images", "2x1x6"]);
    refusals.refused(&["plot", "--device=cpu", "--data=waves.npy"], &["--data has no use"]);
    refusals.finish();
}

// ---- sample

#[test]
fn samples_are_the_librarys_and_repeat() {
    let folder = folder();
    let base = ["sample", "--model", weights(), "--network=mnist-small", "--device=cpu", "--count=10"];
    let base = [&base[..], &["--steps=112"]].concat();
    let outputs = ["--seed=7", "--out=a.png", "--film=a-film.png", "--npy=a.npy"];
    let stdout = works(folder.path(), &[&base[..], &outputs].concat());
    let facts =
        ["10 samples", "112 steps", "seed 7", "mean", "min", "max", "image-steps/s", "a.png", "a.npy"];
    for fact in facts {
        assert!(stdout.contains(fact), "{fact}: {stdout}");
    }
    works(
        folder.path(),
        &[&base[..], &["--seed=7", "--out=b.png", "--film=b-film.png", "--npy=b.npy"]].concat(),
    );
    works(folder.path(), &[&base[..], &["--out=c.png", "--npy=c.npy", "--seed=8"]].concat());
    let read = |name: &str| fs::read(folder.path().join(name)).unwrap();
    for end in [".png", "-film.png", ".npy"] {
        assert!(read(&format!("a{end}")) == read(&format!("b{end}")), "{end} differs with the same seed");
    }
    assert!(read("a.npy") != read("c.npy"), "another seed gives the same samples");

    let (header, values) = read_npy(folder.path().join("a.npy"));
    assert!(header.contains("(10, 1, 32, 32)"), "{header}");
    assert!(values.iter().all(|v| (-1.0..=1.0).contains(v)));
    // The film looks at the chains on their way; every column must be what a run straight to that step gives.
    let model = Model::load(weights(), Some("mnist-small")).unwrap();
    let straight = |steps: u32| {
        pollster::block_on(async {
            let chain_config = ChainConfig { steps, step_size: 20.0, ..ChainConfig::default() };
            let mut sampler = Sampler::new(&Device::cpu(), &model, 10, &chain_config, 7).await.unwrap();
            sampler.run(steps).unwrap();
            (sampler.images().await.unwrap(), sampler.energies().await.unwrap())
        })
    };
    let (last, energies) = straight(112);
    assert_eq!(last.values, values);
    let titles: Vec<_> = energies.iter().map(|e| format!("E = {e:.4}")).collect();
    let open = |name: &str| image::open(folder.path().join(name)).unwrap().into_rgb8();
    assert!(open("a.png") == grid(&last, &titles, &GridOptions::default()), "another grid");
    let eight = |images: Images| Images { shape: images.shape, values: images.values[..8 * 1024].to_vec() };
    let title = |step: u32| if step == 0 { "step 0".to_owned() } else { step.to_string() };
    let frames = [0, 14, 28, 42, 56, 70, 84, 98, 112].map(|step| (title(step), eight(straight(step).0)));
    assert!(open("a-film.png") == film(&frames, &titles[..8]), "another film");
}

#[test]
fn chains_start_where_they_are_told() {
    let folder = folder();
    let checkpoint = train_tiny(folder.path());
    let base = ["sample", "--model=run/checkpoint.safetensors", "--device=cpu", "--steps=0", "--npy=s.npy"];
    let samples = || read_npy(folder.path().join("s.npy"));
    let stdout = works(folder.path(), &[&base[..], &["--init=buffer", "--count=20"]].concat());
    assert!(stdout.contains("grid.png") && folder.path().join("grid.png").is_file(), "{stdout}");
    let model = Model::load(&checkpoint, None).unwrap();
    let newest = replay_images(&checkpoint, model.network.input, 20).unwrap();
    assert_eq!(samples().1, newest.values);
    assert!(samples().0.contains("(20, 1, 32, 32)"));

    works(folder.path(), &[&base[..], &["--init=digits.idx", "--count=3", "--film=f.png"]].concat());
    let padded = digits(0, 3).to_images().padded_to(model.network.input).unwrap();
    assert_eq!(samples().1, padded.values);

    // From noise: nothing of the images.
    works(folder.path(), &[&base[..], &["--count=3"]].concat());
    let (_, values) = samples();
    let mean = values.iter().sum::<f32>() / values.len() as f32;
    assert!(mean.abs() < 0.05 && values.iter().all(|v| (-1.0..=1.0).contains(v)), "mean {mean}");

    // Too many for a picture: numbers alone. (Steps cost time, so none.)
    fs::remove_file(folder.path().join("grid.png")).unwrap();
    works(folder.path(), &[&base[..], &["--count=10001"]].concat());
    assert!(samples().0.contains("(10001, 1, 32, 32)") && !folder.path().join("grid.png").exists());
}

// ---- what is refused

#[test]
fn bad_images_are_refused() {
    let folder = folder();
    let put = |name: &str, content: &[u8]| fs::write(folder.path().join(name), content).unwrap();
    let good = idx(0x803, &[4, 28, 28], &[9; 4 * 784]);
    put("truncated.idx", &good[..1000]);
    put("magic.idx", &[b"GIF89a", &good[..]].concat());
    put("kind.idx", &idx(0xD03, &[4, 28, 28], &[9; 4 * 784]));
    put("lying.idx", &idx(0x803, &[u32::MAX, 28, 28], &[9; 784]));
    put("bomb.gz", &gzip(&[&good[..], &vec![0; 64 << 20]].concat()));
    put("promised-bomb.gz", &gzip(&[idx(0x803, &[u32::MAX, 28, 28], &[]), vec![0; 64 << 20]].concat()));
    put("trailing.gz", &[gzip(&good), b"garbage".to_vec()].concat());
    put("broken.gz", &gzip(&good)[..30]);
    put("large.idx", &idx(0x803, &[4, 40, 40], &[9; 4 * 1600]));
    put("large.idx", &idx(0x803, &[4, 40, 40], &[9; 4 * 1600]));
    put("labels.idx", &idx(0x801, &[4], &[1, 2, 3, 4]));
    put("colour.npy", &npy_file("<f4", "False", "(1, 3, 2, 2)", &le(&[0.0; 12])));
    put("nan.npy", &npy_file("<f4", "False", "(1, 1, 2, 2)", &le(&[0.0, 0.0, f32::NAN, 0.0])));
    put("bytes.npy", &npy_file("<f4", "False", "(1, 1, 2, 2)", &le(&[0.0, 128.0, 255.0, -3.0])));
    put("rows.npy", &npy_file("<f4", "False", "(4, 2)", &le(&[0.0; 8])));
    put("ragged.csv", b"x,y\n1,2\n3\n");
    put("not.png", b"\x89PNG\r\n\x1a\nnothing");
    put("empty.idx", b"");
    fs::create_dir(folder.path().join("none")).unwrap();
    put("e.npy", b"old");

    let both: [(&str, &[&str]); 11] = [
        ("missing.idx", &["missing.idx"]),
        ("truncated.idx", &["truncated.idx: truncated", "3136", "984"]),
        ("magic.idx", &["magic.idx", "picture of another format"]),
        ("kind.idx", &["kind.idx", "promises 12544 bytes", "only 3136"]),
        ("lying.idx", &["lying.idx", "4294967295x28x28", "4 GiB"]),
        ("bomb.gz", &["bomb.gz: trailing garbage", "3136"]),
        ("promised-bomb.gz", &["promised-bomb.gz", "4294967295x28x28"]),
        ("trailing.gz", &["trailing.gz: trailing garbage"]),
        ("broken.gz", &["broken.gz: truncated"]),
        ("labels.idx", &["labels.idx", "holds labels", "0x00000801"]),
        ("empty.idx", &["empty.idx", "is empty"]),
    ];
    let images: [(&str, &[&str]); 6] = [
        ("large.idx", &["large.idx", "1x40x40", "1x32x32"]),
        ("nan.npy", &["nan.npy", "NaN", "[0, 0, 1, 0]"]),
        ("bytes.npy", &["bytes.npy", "255", "[0, 0, 1, 0]", "[-1, 1]"]),
        ("colour.npy", &["colour.npy", "3x2x2", "1x32x32"]),
        ("not.png", &["not.png", "PNG"]),
        ("none", &["none", "Looked for *.png"]),
    ];
    let mut refusals = Refusals::new(folder.path());
    let energy = ["energy", "--model", weights(), "--network=mnist-small", "--device=cpu", "--out=e.npy"];
    let sample = ["sample", "--model", weights(), "--network=mnist-small", "--device=cpu", "--count=1"];
    for (name, facts) in both.iter().chain(&images) {
        refusals.refused(&[&energy[..], &["--input", name]].concat(), facts);
    }
    for (name, facts) in both.iter().chain(&images) {
        refusals.refused(&[&sample[..], &["--init", name]].concat(), facts);
    }
    for (name, facts) in both {
        refusals.refused(&["train", "--device=cpu", "--data", name], facts);
    }
    let points = ["train", "--device=cpu", "--preset=digits", "--data=rows.npy"];
    refusals.refused(&points, &["rows.npy", "2x1x1", "`digits` is for images"]);
    refusals.refused(&["train", "--device=cpu", "--data=ragged.csv"], &["ragged.csv", "line 3", "1 cells"]);
    refusals.refused(&["train", "--device=cpu", "--data=none"], &["none", "train-images-idx3-ubyte"]);
    refusals.refused(
        &[
            "sample",
            "--model",
            weights(),
            "--network=mnist-small",
            "--device=cpu",
            "--init=digits.idx",
            "--count=81",
        ],
        &["digits.idx", "holds 80 images", "81"],
    );
    refusals.finish();
}

#[test]
fn bad_models_are_refused() {
    let folder = folder();
    let checkpoint = train_tiny(folder.path());
    let put = |name: &str, content: &[u8]| fs::write(folder.path().join(name), content).unwrap();
    let (_, tensors) = load_tensors(weights()).unwrap();
    let (mut missing, mut misshapen, mut nan) = (tensors.clone(), tensors.clone(), tensors.clone());
    missing.remove("conv2.bias");
    let bias = &tensors["conv2.bias"];
    misshapen.insert("conv2.bias".to_owned(), Tensor::f32(&[1, bias.shape[0]], floats(bias).to_vec()));
    let TensorData::F32(values) = &mut nan.get_mut("dense1.weight").unwrap().data else { panic!() };
    values[3] = f32::NAN;
    put("missing.safetensors", &weights_file(&missing));
    put("misshapen.safetensors", &weights_file(&misshapen));
    put("nan.safetensors", &weights_file(&nan));
    let whole = fs::read(weights()).unwrap();
    put("lying.safetensors", &[&u64::MAX.to_le_bytes()[..], &whole[8..]].concat());
    put("truncated.safetensors", &whole[..whole.len() - 100]);
    put("text.safetensors", b"these are no weights");
    put("old.png", b"old");

    // Checkpoints of another network: as a file edited by hand, and as a later version might write it.
    let bytes = fs::read(&checkpoint).unwrap();
    let (from, to) = (br#"preset\":\"mnist-small"#, br#"preset\":\"mnist-large"#);
    let at = bytes.windows(from.len()).position(|window| window == from).unwrap();
    let mut edited = bytes.clone();
    edited[at..at + to.len()].copy_from_slice(to);
    put("edited.safetensors", &edited);
    let mut other = Checkpoint::load(&checkpoint).unwrap();
    other.header.network = "mnist-large".into();
    fs::create_dir(folder.path().join("other")).unwrap();
    other.save(folder.path().join("other/checkpoint.safetensors")).unwrap();
    // One whose ring lies about its length.
    let mut ring = Checkpoint::load(&checkpoint).unwrap();
    let TensorData::U32(state) = &mut ring.tensors.get_mut("state").unwrap().data else { panic!() };
    state[2] = 1 << 30;
    fs::create_dir(folder.path().join("ring")).unwrap();
    ring.save(folder.path().join("ring/checkpoint.safetensors")).unwrap();

    let mut refusals = Refusals::new(folder.path());
    let files: [(&str, &[&str]); 7] = [
        ("nowhere.safetensors", &["nowhere.safetensors"]),
        ("missing.safetensors", &["missing.safetensors", "conv2.bias", "is missing"]),
        ("misshapen.safetensors", &["misshapen.safetensors", "conv2.bias", "[1, 32]", "[32]"]),
        ("nan.safetensors", &["nan.safetensors", "dense1.weight", "NaN", "[0, 3]"]),
        ("lying.safetensors", &["lying.safetensors", "18446744073709551615"]),
        ("truncated.safetensors", &["truncated.safetensors", "truncated"]),
        ("text.safetensors", &["text.safetensors", "is a text file"]),
    ];
    for (name, facts) in files {
        let model = ["--device=cpu", "--network=mnist-small", "--model", name];
        refusals.refused(&[&["sample", "--out=old.png"], &model[..]].concat(), facts);
        refusals.refused(&[&["energy", "--input=digits.idx"], &model[..]].concat(), facts);
    }
    let models: [(&[&str], &[&str]); 7] = [
        (&["--model", weights()], &["mnist-small.safetensors", "weights alone", "--network mnist-small"]),
        (&["--model", weights(), "--network=mnist-smal"], &["mnist-smal", "did you mean `mnist-small`"]),
        (
            &["--model=run/checkpoint.safetensors", "--network=mnist-deep"],
            &["of network `mnist-small`", "`mnist-deep`"],
        ),
        (&["--model=edited.safetensors"], &["edited.safetensors", "preset", "mnist-large"]),
        (&["--model=other/checkpoint.safetensors"], &["other/checkpoint.safetensors", "mnist-large"]),
        (&["--model=run"], &["run", "a file is needed"]),
        (&["--model=digits.idx"], &["digits.idx"]),
    ];
    for (model, facts) in models {
        refusals.refused(&[&["sample", "--device=cpu", "--out=old.png"], model].concat(), facts);
        refusals.refused(&[&["energy", "--device=cpu", "--input=digits.idx"], model].concat(), facts);
    }
    let buffer = ["sample", "--device=cpu", "--init=buffer", "--model"];
    refusals.refused(&[&buffer[..], &[weights(), "--network=mnist-small"]].concat(), &["no replay buffer"]);
    let run = "run/checkpoint.safetensors";
    refusals.refused(&[&buffer[..], &[run, "--count=65"]].concat(), &["holds 64 images", "65"]);
    refusals
        .refused(&[&buffer[..], &["ring/checkpoint.safetensors"]].concat(), &["replay.ring", "1073741824"]);

    let resume = ["train", "--resume", "--device=cpu", "--data=digits.idx", "--steps=4", "--out"];
    refusals.refused(
        &[&resume[..], &["nowhere"]].concat(),
        &["nowhere/checkpoint.safetensors", "nothing to resume"],
    );
    refusals.refused(&[&resume[..], &["other"]].concat(), &["other/checkpoint.safetensors", "mnist-large"]);
    refusals.refused(&[&resume[..], &["ring"]].concat(), &["ring/checkpoint.safetensors", "`state`"]);
    refusals.refused(
        &["train", "--resume", "--device=cpu", "--data=digits"],
        &["other data", "72 images", "9000 images", "--data"],
    );
    refusals.refused(&["train", "--resume", "--preset=mnist-small"], &["--preset", "--resume"]);
    refusals.refused(
        &[&["train", "--steps=2"], &TINY[..]].concat(),
        &["run holds a run already", "--resume", "--out"],
    );
    refusals.finish();
}

#[test]
fn bad_options_are_refused() {
    let folder = folder();
    fs::write(folder.path().join("bad.toml"), "[chain]\nstep = 60\n").unwrap();
    fs::write(folder.path().join("m.safetensors"), fs::read(weights()).unwrap()).unwrap();
    let mut refusals = Refusals::new(folder.path());
    let train: [(&[&str], &[&str]); 16] = [
        (&["--set=chain.stepz=60"], &["chain.stepz", "did you mean `chain.steps`?"]),
        (&["--set=chain.steps"], &["chain.steps", "no value"]),
        (&["--set=train.batch=0"], &["train.batch", "from 1 to", "not `0`"]),
        (&["--set=chain.noise=nan"], &["chain.noise", "not `nan`"]),
        (&["--set=chain.step_size=-1"], &["chain.step_size", "not `-1`"]),
        (&["--preset=mnist-small", "--set=train.batch=9000"], &["train.batch", "replay.capacity", "8192"]),
        (&["--config=bad.toml"], &["bad.toml", "line 2", "chain.step", "did you mean"]),
        (&["--config=nowhere.toml"], &["nowhere.toml"]),
        (&["--preset=mnist-smal"], &["mnist-smal", "did you mean `mnist-small`?"]),
        (&["--set=sample.step_size=0.6"], &["sample.step_size", "0.6", "0.5"]),
        (&["--set=sample.noise=0"], &["sample.noise", "start at"]),
        (&["--preset=mnist-small", "--set=sample.noise_end=0.1"], &["sample.noise_end", "annealed"]),
        (&["--epochs=0"], &["train.epochs", "from 1"]),
        (&["--steps=0"], &["--steps 0"]),
        (&["--steps", "-3"], &["--steps", "-3"]),
        (&["--steps=3", "--epochs=3"], &["--steps", "--epochs"]),
    ];
    for (options, facts) in train {
        refusals.refused(&[&["train", "--device=cpu", "--data=digits.idx"], options].concat(), facts);
    }
    let sample: [(&[&str], &[&str]); 23] = [
        (&["--count=0"], &["--count", "0 is not in 1..=65536"]),
        (&["--count=1000000"], &["--count", "1000000"]),
        (&["--count=10001"], &["10001", "10000", "--npy"]),
        (&["--count=10001", "--out=a.png", "--npy=a.npy"], &["--out a.png", "10001", "10000"]),
        (&["--steps", "-1"], &["--steps", "-1 is not in 0..=1000000000"]),
        (&["--steps=1000000001"], &["--steps", "1000000001"]),
        (&["--step-size=nan"], &["--step-size", "nan", "a number from 0"]),
        (&["--step-size=inf"], &["--step-size", "inf"]),
        (&["--noise", "-0.1"], &["--noise", "-0.1", "a number from 0"]),
        (&["--gradient-clip", "-1"], &["--gradient-clip", "-1"]),
        (&["--seed", "-1"], &["--seed", "-1"]),
        (&["--out=a.jpg"], &["--out a.jpg", ".png"]),
        (&["--film=a"], &["--film a", ".png"]),
        (&["--npy=a.png"], &["--npy a.png", ".npy"]),
        (&["--out=a.png", "--film=./a.png"], &["--out", "--film", "same file"]),
        (&["--out=nowhere/a.png"], &["nowhere/a.png", "nowhere does not exist"]),
        (&["--out=digits.idx/a.png"], &["digits.idx"]),
        (&["--init=nowhere"], &["nowhere", "noise", "buffer"]),
        (&["--trajectory=a.jpg"], &["--trajectory a.jpg", ".png"]),
        (&["--trajectory=a.png", "--film=a.png"], &["--trajectory", "--film", "same file"]),
        (&["--trajectory=a.png"], &["--trajectory", "2x1x1", "not of 1x32x32"]),
        (&["--trajectory=a.png", "--step-sizes=0.1,-1"], &["--step-sizes", "-1", "a number from 0"]),
        (&["--step-sizes=0.1"], &["--trajectory"]),
    ];
    for (options, facts) in sample {
        let base = ["sample", "--device=cpu", "--model", "m.safetensors", "--network=mnist-small"];
        refusals.refused(&[&base[..], options].concat(), facts);
    }
    // Before any work: that there is no such model has not been found out.
    let energy: [(&[&str], &[&str]); 5] = [
        (&["--out=e.txt"], &["--out e.txt", ".npy or .csv"]),
        (&["--gradient=g.csv"], &["--gradient g.csv", ".npy"]),
        (&["--out=nowhere/e.npy"], &["nowhere/e.npy", "does not exist"]),
        (&["--out=e.npy", "--gradient=e.npy"], &["--out", "--gradient", "same file"]),
        (&["--input=a.npy", "--out=a.npy"], &["--input", "--out", "same file"]),
    ];
    for (options, facts) in energy {
        let input: &[&str] = if options[0].starts_with("--input") { &[] } else { &["--input=digits.idx"] };
        refusals.refused(&[&["energy", "--device=cpu", "--model=nowhere"], input, options].concat(), facts);
    }
    refusals.refused(&["sample"], &["--model"]);
    refusals.refused(&["tarin"], &["tarin", "train"]);
    refusals.finish();
}

#[test]
#[cfg(target_os = "linux")]
fn folders_that_take_no_files_are_refused() {
    let folder = folder();
    fs::write(folder.path().join("file"), "content").unwrap();
    for name in ["full.png", "full.npy"] {
        std::os::unix::fs::symlink("/dev/full", folder.path().join(name)).unwrap();
    }
    for name in ["old.npy", "old.csv", "old.png"] {
        fs::write(folder.path().join(name), "old").unwrap();
    }
    let mut refusals = Refusals::new(folder.path());
    for out in ["file", "file/run", "/proc/run", "/dev/full"] {
        refusals.refused(&[&["train", "--steps=1", "--out", out], &TINY[..]].concat(), &[out]);
    }
    let model = ["--model", weights(), "--network=mnist-small", "--device=cpu"];
    for out in ["file/a.png", "/proc/a.png", "full.png"] {
        refusals
            .refused(&[&["sample", "--out", out], &model[..]].concat(), &[out.trim_end_matches("/a.png")]);
    }
    for out in ["file/a.npy", "/proc/a.npy", "full.npy"] {
        let arguments = [&["energy", "--input=digits.idx", "--out", out], &model[..]].concat();
        refusals.refused(&arguments, &[out.trim_end_matches("/a.npy")]);
    }
    // Files of at most 5 or 10 KiB (dash's or bash's blocks): as if the disk ran full amid writing.
    let limited = |arguments: &[&str]| {
        let mut shell = Command::new("sh");
        shell.args(["-c", "trap '' XFSZ; ulimit -f 10; exec \"$@\"", "sh", env!("CARGO_BIN_EXE_thalweg")]);
        shell.current_dir(folder.path()).args(arguments).stdin(Stdio::null()).output().unwrap()
    };
    let works: [&[&str]; 4] = [
        &["energy", "--input=digits.idx", "--gradient=old.npy"],
        &["sample", "--steps=0", "--out=old.png"],
        &["sample", "--steps=0", "--count=10001", "--npy=old.npy"],
        &["sample", "--steps=0", "--count=10001", "--film=old.png"],
    ];
    for arguments in works {
        let arguments = [arguments, &model[..]].concat();
        refusals.check(&limited(&arguments), &arguments, &["could not write old.", "too large"]);
    }
    let arguments = [&["train", "--steps=1"], &TINY[..]].concat();
    let facts = ["could not write run/checkpoint.safetensors", "too large"];
    refusals.check(&limited(&arguments), &arguments, &facts);
    refusals.finish();
}

// ---- devices

/// A software adapter if there is one, else any.
fn adapter() -> thalweg::gpu::Adapter {
    let adapters = pollster::block_on(thalweg::gpu::adapters());
    let software = adapters.iter().find(|a| !a.is_gpu()).or(adapters.first());
    software.expect("no Vulkan, Metal or DX12 adapter: run ./test.sh, which installs a software one").clone()
}

#[test]
fn devices_are_listed_and_wrong_ones_refused() {
    let (folder, adapter) = (folder(), adapter());
    let stdout = works(folder.path(), &["devices"]);
    let max_binding = format!("{} MiB", adapter.max_binding >> 20);
    for fact in [&adapter.name, &adapter.backend, &adapter.driver, &adapter.kind.to_string(), &max_binding] {
        assert!(stdout.contains(fact), "{fact}: {stdout}");
    }
    for fact in ["cpu: ", "threads", "`auto` takes", "subgroup sizes", "workgroup memory", "features"] {
        assert!(stdout.contains(fact), "{fact}: {stdout}");
    }
    works(folder.path(), &["devices", "--json=devices.json"]);
    let json = |name: &str| -> serde_json::Value {
        serde_json::from_str(&fs::read_to_string(folder.path().join(name)).unwrap()).unwrap()
    };
    let list = json("devices.json");
    let found =
        list["adapters"].as_array().unwrap().iter().find(|a| a["name"] == adapter.name.as_str()).unwrap();
    assert_eq!(found["max_binding"], adapter.max_binding);
    assert!(list["auto"].is_string() && list["cpu"]["instructions"].is_string(), "{list}");
    let small = ["--set=train.batch=2", "--set=chain.steps=1", "--json=compare.json"];
    works(folder.path(), &[&["compare", "--device=cpu"], &small[..]].concat());
    let found = json("compare.json");
    assert!(found[0]["report"]["worst"]["adam"]["launches"].as_u64() > Some(0), "{found}");
    assert_eq!(found[0]["report"]["partings"], serde_json::json!([]));
    let mut refusals = Refusals::new(folder.path());
    for device in ["GeForce 9999", "99", " "] {
        let facts = ["nothing here matches", device.trim(), "auto cpu", &adapter.name];
        refusals.refused(&["train", "--steps=1", "--device", device], &facts);
        let model = ["--model", weights(), "--network=mnist-small"];
        refusals.refused(&[&["sample", "--device", device], &model[..]].concat(), &facts);
        let input = ["--input=digits.idx"];
        refusals.refused(&[&["energy", "--device", device], &model[..], &input].concat(), &facts);
    }
    // 2 x 2^20 images of the first layer's 4,096 values take 32 GiB.
    let huge = ["--set=train.batch=1048576", "--data=digits.idx"];
    let facts = [&adapter.name, "too small", "buffer `", "MiB at most", "`train.batch`"];
    refusals.refused(&[&["train", "--device", &adapter.name][..], &huge].concat(), &facts);
    refusals.finish();
}

/// What measures chains of `mlp` in no time.
const BENCH_MLP: [&str; 5] = ["bench", "--preset=mlp", "--batch=16", "--chain=2", "--runs=2"];

/// The program of a user who keeps everything in `folder`, and not where the developer's own calibrations are.
fn at_home(folder: &Path, arguments: &[&str]) -> Command {
    let mut command = command(folder, arguments);
    command.env("HOME", folder).env_remove("XDG_CACHE_HOME");
    command
}

/// Runs it; it must succeed. Its stdout.
fn works_at_home(folder: &Path, arguments: &[&str]) -> String {
    stdout_of(&at_home(folder, arguments).output().unwrap(), arguments)
}

/// Calibrates `mlp`: what the program says, and the file that it keeps.
fn calibrated(folder: &Path, adapter: &str) -> (String, PathBuf) {
    let said = works_at_home(folder, &[&BENCH_MLP[..], &["--calibrate", "--device", adapter]].concat());
    let file = said.split_once(". Kept in ").and_then(|(_, file)| file.trim_end().strip_suffix('.'));
    let file = PathBuf::from(file.unwrap_or_else(|| panic!("{said}")));
    (said, file)
}

/// Windows' folder for caches can't be made another one by a variable.
#[cfg(not(windows))]
#[test]
fn auto_takes_the_path_that_was_measured() {
    let (folder, adapter) = (folder(), adapter());
    let bench = [&BENCH_MLP[..], &["--device", &adapter.name]].concat();
    let works = |arguments: &[&str]| works_at_home(folder.path(), &[&bench, arguments].concat());
    let (first, file) = calibrated(folder.path(), &adapter.name);
    assert!(file.starts_with(folder.path()), "{}", file.display());
    assert!(first.contains("calibration measured"), "{first}");

    // Again: the new one takes the old one's place. And what stands there is what counts, not what is measured now.
    let read = || -> serde_json::Value { serde_json::from_slice(&fs::read(&file).unwrap()).unwrap() };
    let mut old = read();
    old[0]["fused_ms"] = 1e9.into();
    fs::write(&file, old.to_string()).unwrap();
    works(&["--calibrate"]);
    let kept = read();
    assert_eq!(kept.as_array().unwrap().len(), 1, "{kept}");
    assert!(kept[0]["fused_ms"].as_f64().unwrap() < 1e9, "{kept}");
    assert_eq!(kept[0]["fused_workgroup_ms"].is_number(), adapter.workgroup_memory >= 32 << 10, "{kept}");
    for (times, path) in [
        ([1.0, 2.0, 3.0], "fused: "),
        ([2.0, 1.0, 3.0], "fused in workgroup memory: "),
        ([3.0, 2.0, 1.0], "by layers: "),
    ] {
        let mut changed = kept.clone();
        for (name, time) in ["fused_ms", "fused_workgroup_ms", "layers_ms"].iter().zip(times) {
            changed[0][name] = time.into();
        }
        fs::write(&file, changed.to_string()).unwrap();
        let chains = works(&[]);
        assert!(chains.contains(&format!("{path}calibration measured")), "{chains}");
        let devices = works_at_home(folder.path(), &["devices"]);
        assert!(devices.contains(&format!("`mlp` {path}calibration measured")), "{devices}");
        changed[0]["driver"] = "another".into();
        fs::write(&file, changed.to_string()).unwrap();
        let chains = works(&[]);
        assert!(!chains.contains("calibrate"), "{chains}");
    }

    fs::write(&file, "[{}]").unwrap();
    // It is left aside with a word, and left as it is.
    let chains = works(&[]);
    assert!(!chains.contains("measured"), "{chains}");
    let devices = works_at_home(folder.path(), &["devices"]);
    for word in ["Warning: ", "calibrations.json", "bench --calibrate", "missing field", "delete it"] {
        assert!(devices.contains(word), "{word}: {devices}");
    }
    assert_eq!(fs::read(&file).unwrap(), b"[{}]");
    // Where the path is forced, the file does not count.
    works(&["--chain-path=layers"]);
    let mut refusals = Refusals::new(folder.path());
    refusals.refused(&["bench", "--device=cpu", "--calibrate"], &["nothing to calibrate", "the processor"]);
    let arguments = ["bench", "--calibrate", "--preset=conv-pool", "--device", &adapter.name];
    refusals.refused(&arguments, &["nothing to calibrate", "by layers only"]);
    refusals.finish();
}

/// The path of the chains is a part of the run, as its seed is: a resumed one stays with it.
#[cfg(not(windows))]
#[test]
fn a_resumed_run_keeps_its_path_whatever_was_measured_since() {
    let (folder, adapter) = (folder(), adapter());
    let at = |name: &str| folder.path().join(name);
    let (_, file) = calibrated(folder.path(), &adapter.name);
    let measured = |fused: f64, layers: f64| {
        let mut kept: serde_json::Value = serde_json::from_slice(&fs::read(&file).unwrap()).unwrap();
        kept[0]["network"]["input"] = [1, 28, 28].into(); // the same layers on digits
        (kept[0]["fused_ms"], kept[0]["layers_ms"]) = (fused.into(), layers.into());
        fs::write(&file, kept.to_string()).unwrap();
    };
    let works = |arguments: &[&str]| {
        works_at_home(folder.path(), &[&["train", "--data=digits.idx"], arguments].concat())
    };
    let train = |out: &str, steps: &str| {
        // A cosine goes by the run's length, which here is not the same.
        let own = ["--preset=mlp", "--set=schedule.learning_rate=constant", "--out", out, steps];
        works(&[&own[..], &TINY[1..3], &TINY[5..7], &["--device", &adapter.name]].concat())
    };
    let resume = |own: &[&str]| works(&[&["--resume", "--out=parts"], own].concat());
    measured(2.0, 1.0);
    train("layers", "--steps=8");
    let said = train("parts", "--steps=4");
    assert!(said.contains("Chains run by layers: calibration measured"), "{said}");

    measured(1.0, 2.0);
    let said = train("fused", "--steps=8");
    assert!(said.contains("Chains run fused: calibration measured"), "{said}");
    assert!(outcome(&at("fused")) != outcome(&at("layers")), "nothing hangs on the path: the test is none");
    let said = resume(&["--steps=8", "--device", &adapter.name]);
    assert!(said.contains("Chains run by layers, as this run has done so far."), "{said}");
    assert!(outcome(&at("parts")) == outcome(&at("layers")), "the resumed run differs");

    let said = resume(&["--steps=9", "--chain-path=fused", "--device", &adapter.name]);
    assert!(said.contains("Chains run fused, as asked for."), "{said}");
    let said = resume(&["--steps=10", "--device", &adapter.name]);
    assert!(said.contains("Chains run fused, as this run has done so far."), "{said}");
    assert!(!said.contains("not bit for bit"), "{said}");
    let said = resume(&["--steps=11", "--device=cpu"]);
    assert!(said.contains(&format!("It ran on {} ({}) before", adapter.name, adapter.backend)), "{said}");
    assert!(said.contains("not bit for bit"), "{said}");
}

/// On a GPU as on the CPU: a film's stops on the way change nothing.
#[test]
fn a_film_changes_no_sample_on_an_adapter() {
    let (folder, adapter) = (folder(), adapter());
    let base = ["sample", "--model", weights(), "--network=mnist-small", "--count=3", "--steps=12"];
    let read = |name: &str| fs::read(folder.path().join(name)).unwrap();
    for path in ["fused", "fused-workgroup", "layers"] {
        let base = [&base[..], &["--device", &adapter.name, "--chain-path", path]].concat();
        works(folder.path(), &[&base[..], &["--npy=straight.npy"]].concat());
        works(folder.path(), &[&base[..], &["--npy=stops.npy", "--film=film.png"]].concat());
        assert!(read("straight.npy") == read("stops.npy"), "{path}: the film changes the samples");
    }
}

// ---- plot

#[test]
fn a_runs_curves_are_drawn_and_drawn_again() {
    let folder = folder();
    train_tiny(folder.path());
    let at = |name: &str| folder.path().join(name);
    let table = MetricsTable::read(at("run/metrics.csv")).unwrap();
    let open = |name: &str| {
        let file = BufReader::new(fs::File::open(at(name)).unwrap());
        image::DynamicImage::from_decoder(image::codecs::png::PngDecoder::new(file).unwrap())
            .unwrap()
            .to_rgb8()
    };
    assert!(open("run/curves.png") == curves(&table), "train draws other curves");
    fs::remove_file(at("run/curves.png")).unwrap();
    let stdout = works(folder.path(), &["plot"]);
    assert!(stdout.contains("run/curves.png: 2 steps"), "{stdout}");
    assert!(open("run/curves.png") == curves(&table), "plot draws other curves");
    // Elsewhere, of other metrics.
    let longer = fs::read_to_string(at("run/metrics.csv")).unwrap() + "3,1,0.5,0.5,0,1,0.5,1,nan,9.5\n";
    fs::write(at("more.csv"), longer).unwrap();
    works(folder.path(), &["plot", "--metrics=more.csv", "--out=new/pictures"]);
    assert!(open("new/pictures/curves.png") == curves(&MetricsTable::read(at("more.csv")).unwrap()));
    assert!(open("new/pictures/curves.png") != curves(&table));

    let put = |name: &str, content: &str| fs::write(at(name), content).unwrap();
    put("empty.csv", "");
    put("rows.csv", "step,loss\n");
    put("ragged.csv", "step,loss\n1,2\n3\n");
    put("words.csv", "step,loss\n1,2\n3,low\n");
    fs::copy(at("run/checkpoint.safetensors"), at("alone.safetensors")).unwrap();
    fs::write(at("weights.safetensors"), fs::read(weights()).unwrap()).unwrap();
    let mut refusals = Refusals::new(folder.path());
    let plots: [(&[&str], &[&str]); 10] = [
        (&["--model=nowhere"], &["nowhere"]),
        (&["--model=alone.safetensors"], &["alone.safetensors", "no metrics.csv beside it", "--metrics"]),
        (&["--model=weights.safetensors"], &["weights.safetensors", "--network"]),
        (&["--metrics=nowhere.csv"], &["could not read nowhere.csv"]),
        (&["--metrics=empty.csv"], &["empty.csv", "is empty"]),
        (&["--metrics=rows.csv"], &["rows.csv", "no rows"]),
        (&["--metrics=ragged.csv"], &["ragged.csv", "line 3", "1 cells", "2 columns"]),
        (&["--metrics=words.csv"], &["words.csv", "line 3", "column `loss`", "`low`"]),
        (&["--data=digits.idx"], &["run/checkpoint.safetensors", "--data", "2x1x1", "1x32x32"]),
        (&["--out=more.csv/here"], &["more.csv/here"]),
    ];
    for (options, facts) in plots {
        refusals.refused(&[&["plot", "--device=cpu"], options].concat(), facts);
    }
    refusals.finish();
}

#[test]
fn objectives_that_fit_the_score_have_no_negatives() {
    let folder = folder();
    let train = |out: &str, objective: &str, more: &[&str]| {
        let (out, set) = (format!("--out={out}"), format!("--set=objective={objective}"));
        let mut tiny = TINY.to_vec();
        tiny.retain(|option| !option.contains("chain.") && !option.contains("replay.")); // refused without chains
        let output = run(folder.path(), &[&["train", "--steps=2", &out, &set], more, &tiny].concat());
        let (stdout, stderr) = texts(&output);
        assert!(output.status.success(), "{stderr}");
        stdout + &stderr
    };
    for objective in ["score-matching", "sliced-score-matching", "denoising-score-matching"] {
        let stdout = train(objective, objective, &[]);
        assert!(!stdout.contains("Warning"), "swish is smooth: {stdout}");
        let at = |name: &str| folder.path().join(objective).join(name);
        assert!(at("samples-0001.png").exists() && !at("buffer-0001.png").exists(), "{objective}");
        let table = MetricsTable::read(at("metrics.csv")).unwrap();
        let finite = |name: &str| table.column(name).unwrap().iter().filter(|v| v.is_finite()).count();
        assert_eq!((finite("loss"), finite("energy_real"), finite("energy_fake")), (2, 2, 0), "{objective}");
        let all = works(
            folder.path(),
            &["train", "--resume", "--steps=3", "--out", objective, "--device=cpu", "--data=digits.idx"],
        );
        assert!(all.contains("Resumed at step 2"), "{all}");
    }
    let put = |name: &str, text: &str| fs::write(folder.path().join(name), text).unwrap();
    put(
        "kinks.toml",
        "[network]\ninput = [1, 28, 28]\nlayers = [{ dense = 4, activation = \"relu\" }, { dense = 1 }]\n",
    );
    let kinks = ["--config=kinks.toml"];
    let stdout = train("kinks", "score-matching", &kinks);
    assert!(stdout.contains("Warning: dense1's activation is made of straight lines"), "{stdout}");
    assert!(!train("denoised", "denoising-score-matching", &kinks).contains("Warning"));

    let sequences: Vec<f32> = (0..20 * 6).map(|i| (i % 7) as f32 / 7.0).collect();
    let file = npy_file("<f4", "False", "(20, 3, 2)", &le(&sequences));
    fs::write(folder.path().join("sequences.npy"), file).unwrap();
    put("lstm.toml", "[network]\ninput = [2, 1, 3]\nlayers = [{ lstm = 4 }, { dense = 1 }]\n");
    let mut refusals = Refusals::new(folder.path());
    for objective in ["score-matching", "sliced-score-matching", "denoising-score-matching"] {
        let model = format!("--model={objective}/checkpoint.safetensors");
        let sample = ["sample", "--device=cpu", "--init=buffer", "--count=1", "--out=new.png", &model];
        refusals.refused(&sample, &[objective, "without chains", "no replay buffer", "begin from noise"]);
        let set = format!("--set=objective={objective}");
        let lstm =
            ["train", "--device=cpu", "--data=sequences.npy", "--config=lstm.toml", "--out=lstm", &set];
        refusals.refused(&lstm, &["LSTM", "second derivatives", "`replay`, `cd` or `pcd`"]);
        let unused =
            ["train", "--device=cpu", "--data=digits.idx", "--out=new", &set, "--set=loss.smoothness=1"];
        refusals.refused(&unused, &["loss.smoothness", "has no effect"]);
    }
    refusals.finish();
}

// ---- help

#[test]
fn bounds_on_log_z_and_long_chains_are_told() {
    let folder = folder();
    train_tiny(folder.path());
    let base =
        ["evaluate", "--model=run/checkpoint.safetensors", "--data=digits.idx", "--count=8", "--device=cpu"];
    let evaluate = |options: &[&str]| {
        let stdout = works(folder.path(), &[&base[..], &["--json=f.json"], options].concat());
        let json = fs::read(folder.path().join("f.json")).unwrap();
        (stdout, serde_json::from_slice::<serde_json::Value>(&json).unwrap())
    };
    let (stdout, json) = evaluate(&[]);
    assert!(json["annealed"].is_null() && json["long_run"].is_null(), "{json}");
    assert!(!stdout.contains("log Z") && !stdout.contains("x the recipe"), "{stdout}");

    let ais = ["--ais", "--ais-steps=30", "--ais-chains=9", "--ais-leapfrogs=2"];
    let long = ["--long-run", "--long-run-chains=3", "--picture=long.png"];
    let both = [&ais[..], &long[..]].concat();
    let (stdout, json) = evaluate(&both);
    for row in
        ["log Z, lower bound", "its R-hat is", "at temperature T", "1 x the recipe's", "100 x the recipe's"]
    {
        assert!(stdout.contains(row), "{row}: {stdout}");
    }
    let annealed = &json["annealed"];
    // noise^2 / (2 step_size) of the recipe's chains, which are clamped.
    let temperature = annealed["temperature"].as_f64().unwrap();
    assert!((temperature - 0.005 * 0.005 / 20.0).abs() < 1e-12, "{temperature}");
    assert_eq!([&annealed["steps"], &annealed["chains"], &annealed["leapfrogs"]], [30, 9, 2]);
    for key in ["log_z_lower", "log_z_upper"] {
        assert!(annealed[key]["log_z"].is_f64() && annealed[key]["acceptance"].is_f64(), "{annealed}");
    }
    let log_z = annealed["log_z_lower"]["log_z"].as_f64().unwrap();
    let upper = annealed["log_likelihood"]["upper"].as_f64().unwrap();
    let model = Model::load(folder.path().join("run/checkpoint.safetensors"), None).unwrap();
    let mut held_out = Dataset::open(folder.path().join("digits.idx").to_str().unwrap()).unwrap().held_out;
    held_out.values.truncate(8 * held_out.shape.len());
    let energies = pollster::block_on(async {
        EnergyModel::new(&Device::cpu(), &model).await.unwrap().energies(&held_out).await.unwrap()
    });
    let mean = energies.iter().map(|e| f64::from(*e)).sum::<f64>() / 8.0;
    assert!((upper - (-mean / temperature - log_z)).abs() < 1e-3 * upper.abs().max(1.0), "{annealed}");
    let lengths = json["long_run"]["lengths"].as_array().unwrap();
    assert_eq!(lengths.iter().map(|l| l["steps"].as_u64().unwrap()).collect::<Vec<_>>(), [2, 20, 200]);
    assert!(lengths.iter().all(|l| l["energy_mean"].is_f64() && l["saturated"].is_f64()), "{lengths:?}");
    assert_eq!(&fs::read(folder.path().join("long.png")).unwrap()[..4], b"\x89PNG");
    assert_eq!(evaluate(&both), (stdout, json), "the same seed gives the same figures");

    let (stdout, json) = evaluate(&[&ais[..], &["--temperature=1", "--ais-base=normal"]].concat());
    assert_eq!(json["annealed"]["temperature"], 1.0);
    assert!(stdout.contains("base normal, on [-1, 1]"), "{stdout}");

    // At a high temperature chains mix, and the way back is a bound; at the recipe's they do not.
    let holds = |stdout: &str| (stdout.contains("log Z, upper bound"), stdout.contains("NO bound"));
    assert_eq!(holds(&evaluate(&ais).0), (false, true));
    let many = ["--ais", "--ais-steps=400", "--ais-chains=32", "--temperature=1e6", "--ais-base=uniform"];
    assert_eq!(holds(&evaluate(&many).0), (true, false));

    let mut refusals = Refusals::new(folder.path());
    let wrong: [(&[&str], &[&str]); 8] = [
        (&["--ais", "--ais-steps=0"], &["--ais-steps", "0 is not in 1..="]),
        (&["--ais", "--ais-chains=1"], &["--ais-chains", "1 is not in 2..="]),
        (&["--ais", "--temperature=0"], &["--temperature", "a number from"]),
        (&["--ais", "--ais-base=flat"], &["--ais-base", "uniform"]),
        (&["--ais-steps=5"], &["--ais"]),
        (&["--long-run", "--long-run-chains=1"], &["--long-run-chains", "1 is not in 2..="]),
        (&["--picture=a.png"], &["--long-run"]),
        (&["--long-run", "--picture=a.jpg"], &["--picture a.jpg", ".png"]),
    ];
    for (options, facts) in wrong {
        refusals.refused(&[&base[..], options].concat(), facts);
    }
    refusals.finish();
}

#[test]
fn help_names_every_option_and_its_default() {
    let commands: [(&str, &[(&str, &str)]); 9] = [
        (
            "train",
            &[
                ("--data", "[default: what the preset is for: digits, or five-gaussians]"),
                ("--preset", "[default: digits]"),
                ("--epochs", "[default: 10"),
                ("--steps", "instead of --epochs"),
                ("--out", "[default: run]"),
                ("--overwrite", "previous-1"),
                ("--seed", "[default: 0]"),
                ("--device", "[default: auto]"),
                ("--chain-path", "[default: auto]"),
                ("--on-divergence", "[default: rollback"),
                ("--resume", ""),
                ("--config", ""),
                ("--set", "`--set help` lists them"),
            ],
        ),
        (
            "sample",
            &[
                ("--model", "[default: run/checkpoint.safetensors"),
                ("--raw-weights", "moving average"),
                ("--ignore-extra-tensors", "does not have"),
                ("--network", "[default: the one"),
                ("--count", "[default: 16]"),
                ("--steps", "[default: the model's recipe]"),
                ("--form", "[default: the model's recipe]"),
                ("--step-size", "[default: the model's recipe]"),
                ("--noise", "[default: the model's recipe]"),
                ("--temperature", "[default: the model's recipe]"),
                ("--gradient-clip", "[default: the model's recipe]"),
                ("--clamp", "[default: the model's recipe]"),
                ("--init", "[default: noise]"),
                ("--range", "[default: the model's recipe]"),
                ("--seed", "[default: 0]"),
                ("--device", "[default: auto]"),
                ("--chain-path", "[default: auto]"),
                ("--out", "[default: grid.png"),
                ("--film", "[default: none]"),
                ("--trajectory", "[default: none]"),
                ("--step-sizes", "[default: 0.001,0.01,0.1]"),
                ("--npy", "[default: none]"),
                ("--energies", "[default: none]"),
            ],
        ),
        (
            "evaluate",
            &[
                ("--model", "[default: run/checkpoint.safetensors"),
                ("--raw-weights", "moving average"),
                ("--ignore-extra-tensors", "does not have"),
                ("--network", "[default: the one"),
                ("--data", "[default: what the checkpoint"),
                ("--ood", "any number of times"),
                ("--range", "[default: the model's recipe]"),
                ("--count", "[default: 1000]"),
                ("--ais", "log Z"),
                ("--ais-steps", "[default: 1000]"),
                ("--ais-chains", "[default: 128]"),
                ("--ais-leapfrogs", "[default: 1]"),
                ("--ais-base", "[default: nearer]"),
                ("--temperature", "[default: that of the chains"),
                ("--long-run", "1, 10 and 100 times"),
                ("--long-run-chains", "[default: 256]"),
                ("--picture", "[default: none]"),
                ("--seed", "[default: 0]"),
                ("--device", "[default: auto]"),
                ("--json", "[default: none]"),
            ],
        ),
        (
            "plot",
            &[
                ("--model", "[default: run/checkpoint.safetensors, which"),
                ("--raw-weights", "moving average"),
                ("--ignore-extra-tensors", "does not have"),
                ("--network", "[default: the one"),
                ("--metrics", "[default: metrics.csv beside"),
                ("--data", "[default: none]"),
                ("--out", "[default: the model's]"),
                ("--seed", "[default: 0]"),
                ("--device", "[default: auto]"),
            ],
        ),
        (
            "energy",
            &[
                ("--model", "[default: run/checkpoint.safetensors"),
                ("--raw-weights", "moving average"),
                ("--ignore-extra-tensors", "does not have"),
                ("--network", "[default: the one"),
                ("--input", ""),
                ("--range", "[default: the model's recipe]"),
                ("--out", "[default: none"),
                ("--gradient", "[default: none]"),
                ("--device", "[default: auto]"),
            ],
        ),
        (
            "export",
            &[
                ("--model", "[default: run/checkpoint.safetensors]"),
                ("--raw-weights", "moving average"),
                ("--ignore-extra-tensors", "does not have"),
                ("--out", ""),
            ],
        ),
        ("devices", &[("--json", "[default: none]")]),
        (
            "bench",
            &[
                ("--device", "[default: auto]"),
                ("--chain-path", "[default: auto]"),
                ("--calibrate", "from then on `auto` takes that one"),
                ("--preset", "[default: mnist-small]"),
                ("--batch", "[default: the preset's]"),
                ("--chain", "[default: the preset's]"),
                ("--runs", "[default: 9]"),
                ("--json", "[default: none]"),
            ],
        ),
        (
            "compare",
            &[
                ("--device", "[default: auto]"),
                ("--chain-path", "[default: auto]"),
                ("--steps", "[default: 1]"),
                ("--set", "on top of train.batch=32"),
                ("--json", "[default: none]"),
            ],
        ),
    ];
    let folder = folder();
    for (name, options) in commands {
        let help = works(folder.path(), &[name, "--help"]);
        // What stands between an option and the next.
        let mut found: BTreeMap<String, String> = BTreeMap::new();
        let mut current = None;
        for line in help.lines().skip_while(|line| *line != "Options:").skip(1) {
            let start = line.trim_start();
            let short = ["-h, ", "-q, ", "-v, "];
            let start = short.iter().find_map(|short| start.strip_prefix(short)).unwrap_or(start);
            if line.starts_with("  ") && line.len() - line.trim_start().len() < 8 && start.starts_with("--") {
                current = start.split([' ', '=']).next().map(str::to_owned);
            }
            let text = found.entry(current.clone().unwrap_or_default()).or_default();
            *text += &format!("{} ", line.trim());
        }
        for of_all in ["--help", "--quiet", "--verbose"] {
            assert!(found.remove(of_all).is_some(), "{name}: no {of_all}\n{help}");
        }
        for (option, default) in options {
            let text = found.remove(*option).unwrap_or_else(|| panic!("{name}: no {option}\n{help}"));
            assert!(text.contains(default), "{name} {option}: no `{default}` in `{text}`");
        }
        assert!(found.is_empty(), "{name}: options that this test does not know: {found:?}");
    }
    let help = works(folder.path(), &["--help"]);
    assert!(commands.iter().all(|(name, _)| help.contains(name)), "{help}");

    // `--set help`: tests/terminal.rs has the rest. What other options make of the preset's settings.
    let settings =
        works(folder.path(), &["train", "--preset=conv-pool", "--set", "help", "--set=chain.steps=7"]);
    let mut config = Recipe::preset("conv-pool").unwrap();
    config.set("chain.steps=7").unwrap();
    for Setting { name: key, value, .. } in config.settings() {
        let line = settings.lines().find(|line| line.split(' ').next() == Some(key));
        assert!(line.is_some_and(|l| l.split_whitespace().nth(1) == Some(&value)), "{key}: {settings}");
    }
}

// ---- stopping and going on

/// Parameters, optimiser, replay ring and counters of a run, and its metrics without the seconds.
fn outcome(run: &Path) -> (BTreeMap<String, Tensor>, Vec<String>) {
    let metrics = fs::read_to_string(run.join("metrics.csv")).unwrap();
    let rows = metrics.lines().map(|row| row.rsplit_once(',').unwrap().0.to_owned()).collect();
    (Checkpoint::load(run.join("checkpoint.safetensors")).unwrap().tensors, rows)
}

fn start(folder: &Path, arguments: &[&str]) -> Child {
    command(folder, arguments).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap()
}

/// Whatever happens to a test, no process of its stays.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
#[cfg(unix)]
fn ctrl_c_saves_and_the_run_goes_on_bit_for_bit() {
    let folder = folder();
    // One epoch of 300 steps of the shipped digits, so that no save but Ctrl-C's comes between.
    let settings = ["--set=train.batch=16", "--set=sample.steps=2", "--device=cpu"];
    let train = [&["train", "--steps=300"], &settings[..]].concat();
    works(folder.path(), &[&train[..], &["--out=straight"]].concat());
    let run = folder.path().join("run");
    let mut running = Running(start(folder.path(), &[&train[..], &["--out=run"]].concat()));
    let began = Instant::now();
    let rows = || fs::read_to_string(run.join("metrics.csv")).map_or(0, |text| text.lines().count());
    while rows() < 5 {
        assert!(began.elapsed() < Duration::from_secs(60), "no step in a minute");
        std::thread::sleep(Duration::from_millis(2));
    }
    let id = running.0.id().to_string();
    assert!(Command::new("sh").args(["-c", "kill -INT \"$1\"", "sh", &id]).status().unwrap().success());
    let stdout = BufReader::new(running.0.stdout.take().unwrap());
    let last = stdout.lines().map_while(Result::ok).last().unwrap_or_default();
    assert_eq!(running.0.wait().unwrap().code(), Some(130), "{last}");
    assert!(
        last.contains("Stopped after step") && last.contains("of 300") && last.contains("--resume"),
        "{last}"
    );
    let stopped = Checkpoint::load(run.join("checkpoint.safetensors")).unwrap().header.step;
    assert!(last.contains(&format!("step {stopped} ")) && (4..300).contains(&stopped), "{stopped}: {last}");
    assert_eq!(rows() as u64, 1 + stopped);

    let stdout = works(folder.path(), &["train", "--resume", "--out=run", "--device=cpu"]);
    assert!(
        stdout.contains(&format!("Resumed at step {stopped}; {} steps to go", 300 - stopped)),
        "{stdout}"
    );
    assert!(outcome(&run) == outcome(&folder.path().join("straight")), "the resumed run differs");
    let stdout = works(folder.path(), &["train", "--resume", "--out=run", "--device=cpu"]);
    assert!(stdout.contains("All 300 steps are done already"), "{stdout}");
}

#[test]
fn a_killed_run_goes_on_bit_for_bit() {
    let folder = folder();
    // 5 steps an epoch: a checkpoint and two pictures every few milliseconds.
    let train = [&["train", "--steps=120"], &TINY[..]].concat();
    let began = Instant::now();
    works(folder.path(), &[&train[..], &["--out=straight"]].concat());
    let whole = began.elapsed();
    let run = folder.path().join("run");
    works(folder.path(), &[&["train", "--steps=1"], &TINY[..]].concat());
    let resume = ["train", "--resume", "--steps=120", "--device=cpu", "--data=digits.idx"];
    let mut random = 12345_u64;
    let mut steps = vec![1];
    for _ in 0..20 {
        let mut running = Running(start(folder.path(), &resume));
        random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        std::thread::sleep(whole.mul_f64((random >> 33) as f64 / (1_u64 << 31) as f64 / 8.0));
        running.0.kill().unwrap(); // SIGKILL
        running.0.wait().unwrap();
        let checkpoint = Checkpoint::load(run.join("checkpoint.safetensors")).unwrap();
        steps.push(checkpoint.header.step);
    }
    assert!(steps.is_sorted(), "{steps:?}");
    assert!(steps.iter().any(|step| (2..120).contains(step)), "no kill came amid the run: {steps:?}");
    works(folder.path(), &resume);
    assert!(outcome(&run) == outcome(&folder.path().join("straight")), "the resumed run differs; {steps:?}");
}

// ---- divergence

/// What is not a step's row or a plain line of progress.
fn told(folder: &Path, arguments: &[&str]) -> (Option<i32>, String, String) {
    let output = run(folder, arguments);
    let (stdout, stderr) = texts(&output);
    let lines =
        stdout.lines().filter(|line| line.starts_with("At step")).map(|line| format!("{line}\n")).collect();
    (output.status.code(), lines, stderr.lines().filter(|line| line.starts_with("error")).collect())
}

fn is_whole(run: &Path) -> u64 {
    let checkpoint = Checkpoint::load(run.join("checkpoint.safetensors")).unwrap();
    for (name, tensor) in &checkpoint.tensors {
        if let TensorData::F32(values) = &tensor.data {
            assert!(values.iter().all(|v| v.is_finite()), "{name}");
        }
    }
    checkpoint.header.step
}

#[test]
fn a_run_that_diverges_goes_back_and_says_so() {
    let folder = folder();
    let (at, run) = (folder.path(), folder.path().join("run"));
    // 1,000 times the recipe's; halved until it does not explode.
    let mut train = vec!["train", "--steps=12", "--set=adam.learning_rate=0.1", "--set=guard.tries=9"];
    train.extend(TINY);
    let (code, lines, errors) = told(at, &train);
    assert_eq!((code, errors.as_str()), (Some(0), ""), "{lines}");
    assert!(lines.lines().count() >= 1, "it went back nowhere");
    for (number, line) in (1..).zip(lines.lines()) {
        let factor = 0.1 / f64::powi(2.0, number);
        for part in [format!("a learning rate of {factor:e}"), format!("(try {number} of 9).")] {
            assert!(line.contains(&part), "no `{part}` in `{line}`");
        }
        assert!(line.contains("times its usual") || line.contains("times their usual"), "{line}");
    }
    assert_eq!(is_whole(&run), 12);
    // One row a step, those of the last try.
    let (_, rows) = outcome(&run);
    assert!(
        rows.iter().skip(1).map(|row| row.split(',').next().unwrap().parse::<u64>().unwrap()).eq(1..=12),
        "{rows:?}"
    );
    // Again, and in two parts: the same.
    let straight = |out: &str, steps: &str| {
        let out = format!("--out={out}");
        let mut train = train.clone();
        (train[1], _) = (steps, train.push(&out));
        told(at, &train.iter().map(|s| &**s).collect::<Vec<_>>())
    };
    assert_eq!(straight("again", "--steps=12").1, lines);
    assert!(outcome(&at.join("again")) == outcome(&run));
    let (_, first, _) = straight("parts", "--steps=2");
    let (_, second, _) =
        told(at, &["train", "--resume", "--steps=12", "--out=parts", "--device=cpu", "--data=digits.idx"]);
    assert_eq!(first + &second, lines);
    assert!(outcome(&at.join("parts")) == outcome(&run));
}

#[test]
fn a_run_that_always_diverges_stops_with_what_to_change() {
    let folder = folder();
    let at = folder.path();
    let base = ["train", "--steps=12", "--set=adam.learning_rate=1", "--set=guard.learning_rate_factor=1"];
    let train = |options: &[&str]| told(at, &[&base[..], &TINY, options].concat());
    let (code, lines, error) = train(&["--out=rollback"]);
    assert_eq!((code, lines.lines().count()), (Some(2), 3), "{lines}{error}");
    for part in [
        "after 3 tries. At step ",
        "times the",
        "rollback/checkpoint.safetensors holds step 0",
        "`adam.learning_rate` (it was 1e0)",
        "`--resume`",
    ] {
        assert!(error.contains(part), "no `{part}` in `{error}`");
    }
    assert_eq!(is_whole(&at.join("rollback")), 0);
    assert!(at.join("rollback/curves.png").exists());
    // One try more, and the same end; with other random numbers, so at other figures.
    let resume = ["train", "--resume", "--out=rollback", "--device=cpu", "--data=digits.idx"];
    let (code, lines, again) = told(at, &resume);
    assert_eq!((code, lines.as_str()), (Some(2), ""), "{again}");
    assert!(again.contains("At step ") && again != error, "{again}");

    let (code, lines, error) = train(&["--out=stop", "--on-divergence=stop"]);
    assert_eq!((code, lines.as_str()), (Some(2), ""));
    assert!(
        error.contains("training was stopped. At step ") && error.contains("adam.learning_rate"),
        "{error}"
    );
    assert_eq!(is_whole(&at.join("stop")), 0);

    // Nothing halves the rate there, so that the setting of that would be refused.
    let ignore = [&base[..3], &TINY, &["--out=ignore", "--on-divergence=ignore"]].concat();
    let (code, lines, error) = told(at, &ignore);
    assert_eq!((code, lines.as_str(), error.as_str()), (Some(0), "", ""));
    let (code, _, error) = train(&["--out=typo", "--on-divergence=stopp"]);
    assert_eq!(code, Some(2));
    assert!(error.contains("guard.on_divergence") && error.contains("`stop`"), "{error}");
    // A run goes on by other rules than it began by.
    let (code, _, error) =
        told(at, &[&resume[..3], &["--steps=13", "--on-divergence=ignore"], &resume[3..]].concat());
    assert_eq!((code, error.as_str()), (Some(0), ""));
}

/// A run that is killed before its first save by the clock or an epoch.
#[test]
fn a_run_killed_early_can_be_resumed() {
    let folder = folder();
    let run = folder.path().join("run");
    let train = ["train", "--steps=40", "--set=train.batch=16", "--device=cpu"];
    let mut running = Running(start(folder.path(), &train));
    let began = Instant::now();
    while !run.join("metrics.csv").exists() {
        assert!(began.elapsed() < Duration::from_secs(60), "no run in a minute");
        std::thread::sleep(Duration::from_millis(2));
    }
    running.0.kill().unwrap();
    running.0.wait().unwrap();
    assert_eq!(Checkpoint::load(run.join("checkpoint.safetensors")).unwrap().header.step, 0);
    works(folder.path(), &["train", "--resume", "--steps=2", "--device=cpu"]);
    assert_eq!(outcome(&run).1.len(), 3);
}
