//! The program from outside: what it writes, what it draws and what it says.
//!
//! Everything runs in temporary folders and, but for the tests of devices, on the CPU.

use crate::common::{
    TINY, adapter, all_refused, assert_near, digits, floats, folder_of_digits, golden, gzip, idx, le,
    network_toml, npy_file, outcome, read_npy, run, texts, train_tiny, weights, works,
};
use std::fs;
use std::io::BufReader;
use std::path::Path;
use thalweg::checkpoint::replay_images;
use thalweg::data::{Dataset, Images, npy};
use thalweg::picture::plot::{curves, sequences};
use thalweg::picture::{GridOptions, film, grid};
use thalweg::plan::ChainConfig;
use thalweg::train::log::MetricsTable;
use thalweg::{Device, EnergyModel, Model, Sampler};

// ---- energy

#[test]
fn energies_and_gradients_are_pytorchs() {
    let folder = folder_of_digits();
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
    let folder = folder_of_digits();
    let images = digits(3);
    for (ix, name) in ["b.png", "a, \"1\".png", "c.png"].iter().enumerate() {
        fs::create_dir_all(folder.path().join("png")).unwrap();
        let path = folder.path().join("png").join(name);
        image::save_buffer(path, images.image(ix), 28, 28, image::ExtendedColorType::L8).unwrap();
    }
    fs::create_dir(folder.path().join("idx")).unwrap();
    let file = gzip(idx(0x803, &[3, 28, 28], &images.bytes));
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
    let folder = folder_of_digits();
    let at = |name: &str| folder.path().join(name);
    fs::write(at("points.csv"), "x,y\n0,0\n1,2\n-1.5,0.5\n").unwrap();
    npy::write_f32(at("rows.npy"), &[2, 3], &[1.0, 1.0, 1.0, 0.0, 0.5, -1.0]).unwrap();
    for (name, energy) in [("three.toml", "gaussian"), ("solid.toml", "rosenbrock")] {
        fs::write(at(name), network_toml("[3]", &format!("{{ analytic = \"{energy}\" }}"))).unwrap();
    }
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

    all_refused(folder.path(), "analytic", &[]);
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
    let (folder, adapter) = (folder_of_digits(), adapter());
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
    let layers = "{ conv = 6, kernel = 4, stride = 4, activation = \"swish\" }, { dense = 1 }";
    fs::write(at("rgb.toml"), network_toml("[3, 32, 32]", layers)).unwrap();
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
    all_refused(folder.path(), "colour", &[]);
}

/// 20 sequences of two waves of 6 moments.
fn write_sequences(path: impl AsRef<Path>) {
    let wave = |i: usize| ((i % 12 / 2 + i / 12) as f32 * 0.7 + (i % 2) as f32 * 1.5).sin();
    npy::write_f32(path, &[20, 6, 2], &(0..240).map(wave).collect::<Vec<_>>()).unwrap();
}

#[test]
fn sequences_are_drawn_as_curves() {
    let folder = folder_of_digits();
    let at = |name: &str| folder.path().join(name);
    write_sequences(at("waves.npy"));
    fs::write(at("lstm.toml"), network_toml("[2, 1, 6]", "{ lstm = 4 }, { dense = 1 }")).unwrap();
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
    all_refused(folder.path(), "sequences", &[]);
}

// ---- sample

#[test]
fn samples_are_the_librarys_and_repeat() {
    let folder = folder_of_digits();
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
    let folder = folder_of_digits();
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
    let padded = digits(3).to_images().padded_to(model.network.input).unwrap();
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

// ---- plot, objectives and bounds on log Z

#[test]
fn a_runs_curves_are_drawn_and_drawn_again() {
    let folder = folder_of_digits();
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
    all_refused(folder.path(), "plot", &[]);
}

#[test]
fn objectives_that_fit_the_score_have_no_fakes() {
    let folder = folder_of_digits();
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
    let layers = "{ dense = 4, activation = \"relu\" }, { dense = 1 }";
    put("kinks.toml", &network_toml("[1, 28, 28]", layers));
    let kinks = ["--config=kinks.toml"];
    let stdout = train("kinks", "score-matching", &kinks);
    assert!(stdout.contains("Warning: dense1's activation is made of straight lines"), "{stdout}");
    assert!(!train("denoised", "denoising-score-matching", &kinks).contains("Warning"));

    let sequences: Vec<f32> = (0..20 * 6).map(|i| (i % 7) as f32 / 7.0).collect();
    let file = npy_file("'<f4'", "False", "(20, 3, 2)", &le(&sequences));
    fs::write(folder.path().join("sequences.npy"), file).unwrap();
    put("lstm.toml", &network_toml("[2, 1, 3]", "{ lstm = 4 }, { dense = 1 }"));
    for objective in ["score-matching", "sliced-score-matching", "denoising-score-matching"] {
        all_refused(folder.path(), "scores", &[("objective", objective)]);
    }
}

#[test]
fn bounds_on_log_z_and_long_chains_are_told() {
    let folder = folder_of_digits();
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

    all_refused(folder.path(), "bounds", &[]);
}
