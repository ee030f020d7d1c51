//! Commands that must be refused: the fixtures of the sections of `tests/tables/refusals.txt`, and that the table can fail.

use crate::common::{
    Row, TINY, all_refused, assert_near, faults_of, floats, folder_of_digits, folder_of_points, gzip, idx,
    le, npy_file, refusal_faults, run, train_tiny, weights, weights_file, works,
};
use std::fs;
use thalweg::checkpoint::{Checkpoint, Tensor, TensorData, load_tensors};
use thalweg::data::npy;

#[test]
fn the_checks_can_fail() {
    let folder = folder_of_digits();
    let output = run(folder.path(), &["train", "--set=help"]);
    assert_eq!(faults_of(&output, &[""; 0]).len(), 2); // exit code, no error
    let output = run(folder.path(), &["sample", "--model=nowhere"]);
    assert_eq!(faults_of(&output, &["nowhere"]), Vec::<String>::new());
    assert_eq!(faults_of(&output, &["elsewhere"]).len(), 1);

    // A row of other words, one that works, and one that writes: each is named.
    let row =
        |case: &str| Row { place: format!("`{case}`"), case: case.to_owned(), words: vec!["nowhere".into()] };
    let write = "sample --network=analytic:gaussian --count=2 --steps=1 --npy=s.npy --device=cpu";
    for (case, n_faults) in [("sample --model=nowhere", 0), ("tarin", 1), ("train --set=help", 3), (write, 4)]
    {
        let faults = refusal_faults(folder.path(), &[row(case)]);
        assert_eq!(faults.len(), n_faults, "{faults:?}");
        assert!(faults.iter().all(|fault| fault.contains(case)), "{faults:?}");
    }
    for value in [1.001, f32::NAN] {
        let near = std::panic::catch_unwind(|| assert_near(&[1.0, value], &[1.0, 1.0], 1e-5));
        assert!(near.is_err(), "{value} passes for 1");
    }
}

#[test]
fn bad_images_are_refused() {
    let folder = folder_of_digits();
    let put = |name: &str, content: &[u8]| fs::write(folder.path().join(name), content).unwrap();
    let good = idx(0x803, &[4, 28, 28], &[9; 4 * 784]);
    put("truncated.idx", &good[..1000]);
    put("magic.idx", &[b"GIF89a", &good[..]].concat());
    put("kind.idx", &idx(0xD03, &[4, 28, 28], &[9; 4 * 784]));
    put("lying.idx", &idx(0x803, &[u32::MAX, 28, 28], &[9; 784]));
    put("bomb.gz", &gzip([&good[..], &vec![0; 64 << 20]].concat()));
    put("promised-bomb.gz", &gzip([idx(0x803, &[u32::MAX, 28, 28], &[]), vec![0; 64 << 20]].concat()));
    put("trailing.gz", &[gzip(&good), b"garbage".to_vec()].concat());
    put("broken.gz", &gzip(&good)[..30]);
    put("large.idx", &idx(0x803, &[4, 40, 40], &[9; 4 * 1600]));
    put("labels.idx", &idx(0x801, &[4], &[1, 2, 3, 4]));
    put("colour.npy", &npy_file("'<f4'", "False", "(1, 3, 2, 2)", &le(&[0.0; 12])));
    put("nan.npy", &npy_file("'<f4'", "False", "(1, 1, 2, 2)", &le(&[0.0, 0.0, f32::NAN, 0.0])));
    put("bytes.npy", &npy_file("'<f4'", "False", "(1, 1, 2, 2)", &le(&[0.0, 128.0, 255.0, -3.0])));
    put("rows.npy", &npy_file("'<f4'", "False", "(4, 2)", &le(&[0.0; 8])));
    put("ragged.csv", b"x,y\n1,2\n3\n");
    put("not.png", b"\x89PNG\r\n\x1a\nnothing");
    put("empty.idx", b"");
    fs::create_dir(folder.path().join("none")).unwrap();
    put("e.npy", b"old");

    all_refused(folder.path(), "images", &[("weights", weights())]);
}

#[test]
fn bad_models_are_refused() {
    let folder = folder_of_digits();
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
    let save = |run: &str, checkpoint: &Checkpoint| {
        fs::create_dir(folder.path().join(run)).unwrap();
        checkpoint.save(folder.path().join(run).join("checkpoint.safetensors")).unwrap();
    };
    let mut other = Checkpoint::load(&checkpoint).unwrap();
    other.header.network = "mnist-large".into();
    save("other", &other);
    // One whose ring lies about its length.
    let mut ring = Checkpoint::load(&checkpoint).unwrap();
    let TensorData::U32(state) = &mut ring.tensors.get_mut("state").unwrap().data else { panic!() };
    state[2] = 1 << 30;
    save("ring", &ring);
    let values = [("weights", weights()), ("tiny", &TINY.join(" "))];
    all_refused(folder.path(), "models", &values);
}

#[test]
fn bad_options_are_refused() {
    let folder = folder_of_digits();
    fs::write(folder.path().join("bad.toml"), "[chain]\nstep = 60\n").unwrap();
    fs::write(folder.path().join("m.safetensors"), fs::read(weights()).unwrap()).unwrap();
    all_refused(folder.path(), "options", &[]);
}

#[test]
#[cfg(target_os = "linux")]
fn folders_that_take_no_files_are_refused() {
    let folder = folder_of_digits();
    fs::write(folder.path().join("file"), "content").unwrap();
    for name in ["full.png", "full.npy"] {
        std::os::unix::fs::symlink("/dev/full", folder.path().join(name)).unwrap();
    }
    for name in ["old.npy", "old.csv", "old.png"] {
        fs::write(folder.path().join(name), "old").unwrap();
    }
    let values = [("weights", weights()), ("tiny", &TINY.join(" "))];
    all_refused(folder.path(), "outputs", &values);
}

#[test]
fn settings_without_effect_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("chains.toml"), "[pcd]\nchains = 10\n").unwrap();
    all_refused(folder.path(), "settings without effect", &[]);
    all_refused(folder.path(), "no model", &[]);
    let sample =
        ["sample", "--network=analytic:gaussian", "--device=cpu", "--count=2", "--steps=1", "--npy=x.npy"];
    for options in [&["--form=noise-last", "--noise=0.1"][..], &["--temperature=2"]] {
        works(folder.path(), &[&sample[..], options].concat());
    }
}

#[test]
fn evaluations_that_can_not_be_are_refused() {
    let folder = folder_of_digits();
    train_tiny(folder.path());
    fs::write(folder.path().join("points.csv"), "1,2\n3,4\n5,6\n").unwrap();
    fs::write(folder.path().join("wide.idx"), idx(0x803, &[4, 40, 40], &[0; 4 * 1600])).unwrap();
    all_refused(folder.path(), "evaluate", &[]);
}

#[test]
fn nothing_that_is_read_is_written_over() {
    let folder = folder_of_points();
    let at = |name: &str| folder.path().join(name);
    let png = |name: &str, grey: u8| {
        image::GrayImage::from_fn(8, 8, |x, y| image::Luma([grey ^ (x * y) as u8])).save(at(name)).unwrap();
    };
    let train = ["train", "--steps=2", "--set=chain.steps=2", "--set=sample.steps=2", "--device=cpu"];
    works(folder.path(), &[&train[..], &["--set=train.batch=16", "--data=points.csv"]].concat());
    let values: Vec<f32> = (0..60).map(|i| i as f32 / 10.0).collect();
    npy::write_f32(at("x.npy"), &[30, 2], &values).unwrap();
    fs::hard_link(at("x.npy"), at("hard.npy")).unwrap();
    fs::create_dir(at("pictures")).unwrap();
    fs::create_dir(at("runs")).unwrap();
    (0..4).for_each(|i| png(&format!("pictures/{i}.png"), 40 * i));
    fs::copy(at("pictures/0.png"), at("one.png")).unwrap();
    fs::write(at("net.toml"), "preset = \"mlp\"\n").unwrap();
    fs::copy(at("net.toml"), at("runs/config.toml")).unwrap();
    #[cfg(unix)]
    {
        std::os::unix::fs::symlink("x.npy", at("soft.npy")).unwrap();
        std::os::unix::fs::symlink("pictures", at("way")).unwrap();
    }
    fs::write(at("x.json"), "{}").unwrap();
    fs::create_dir_all(at("classes/a")).unwrap();
    png("classes/a/0.png", 7);
    all_refused(folder.path(), "inputs", &[]);
    #[cfg(unix)]
    all_refused(folder.path(), "inputs through links", &[]);
    // The control: an output that is no input may be replaced, for it was named.
    let sample = ["sample", "--network=analytic:gaussian", "--count=5", "--steps=1", "--init=x.npy"];
    for _ in 0..2 {
        works(folder.path(), &[&sample[..], &["--npy=y.npy", "--out=y.png"]].concat());
    }
}
