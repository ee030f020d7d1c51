//! Networks as users describe them: files, builder, presets, and that a network without a preset trains, saves and loads.

use serde_json::json;
use thalweg::checkpoint::{Checkpoint, Tensor};
use thalweg::data::Shape;
use thalweg::network::{Activation, Initialisation, LayerSpec, Network, NetworkSpec, Operation, Padding};
use thalweg::recipe::presets::{PRESETS, named, preset, preset_for};
use thalweg::{Dataset, Device, Error, Model, Recipe, Trainer};

const MINE: &str = r#"
name = "mine"
input = [1, 28, 28]
layers = [
    { conv = 6, kernel = 5, stride = [2, 3], padding = 4, activation = "silu" },
    { conv = 5, kernel = [3, 2], padding = [0, 1, 2, 0], activation = { leaky-relu = 0.2 } },
    "pool",
    "flatten",
    { dense = 7, activation = "softplus", spectral = 0.7 },
    { dense = 1, spectral = true },
]
"#;

fn file(name: &str, text: &str) -> (tempfile::TempDir, String) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join(name);
    std::fs::write(&path, text).unwrap();
    (folder, path.to_string_lossy().into_owned())
}

fn mine() -> Network {
    Network::builder("mine", [1, 28, 28])
        .conv(6, 5)
        .stride(2)
        .padding(4)
        .activation(Activation::Swish)
        .pool()
        .dense(1)
        .build()
        .unwrap()
}

fn text_of(error: Error) -> String {
    error.to_string()
}

#[track_caller]
fn assert_says(text: &str, parts: &[&str]) {
    for part in parts {
        assert!(text.contains(part), "no `{part}` in `{text}`");
    }
}

#[test]
fn files_describe_networks() {
    let want = [
        LayerSpec::Conv {
            channels: 6,
            kernel: [5, 5],
            stride: [2, 3],
            padding: Padding { top: 4, bottom: 4, left: 4, right: 4 },
            activation: Activation::Swish,
        },
        LayerSpec::Conv {
            channels: 5,
            kernel: [3, 2],
            stride: [1, 1],
            padding: Padding { top: 0, bottom: 1, left: 2, right: 0 },
            activation: Activation::LeakyRelu(0.2),
        },
        LayerSpec::Pool,
        LayerSpec::Flatten,
        LayerSpec::Dense { units: 7, activation: Activation::Softplus },
        LayerSpec::Spectral(0.7),
        LayerSpec::Dense { units: 1, activation: Activation::Identity },
        LayerSpec::Spectral(1.0),
    ];
    let (_folder, path) = file("mine.toml", MINE);
    let network = named(&path).unwrap();
    assert_eq!((network.name.as_str(), &network.specs[..]), ("mine", &want[..]));
    assert_eq!(network.input, Shape { channels: 1, height: 28, width: 28 });
    let names: Vec<_> = network.tensors().into_iter().map(|t| t.name).collect();
    assert_eq!(names[..4], ["conv1.weight", "conv1.bias", "conv2.weight", "conv2.bias"]);
    assert_eq!(names[4..], ["dense1.weight", "dense1.bias", "dense2.weight", "dense2.bias"]);
    // A pool's five values are the dense layer's input: nothing but its name stands in the file's way.
    assert_eq!(network.tensors()[4].shape, [7, 5]);
    let bounded: Vec<_> = network.bounded().into_iter().map(|(t, bound)| (t.name, bound)).collect();
    assert_eq!(bounded, [("dense1.weight".to_owned(), 0.7), ("dense2.weight".to_owned(), 1.0)]);
    // As a section of a run's configuration, too.
    let section = format!("[chain]\nsteps = 3\n[network]\n{MINE}");
    let (_folder, path) = file("run.toml", &section);
    assert_eq!(named(&path).unwrap(), network);
    let (_folder, path) = file("p.toml", "input = [3]\nlayers = [{ dense = 1 }]");
    assert_eq!(named(&path).unwrap().input, Shape { channels: 3, height: 1, width: 1 });
}

#[test]
fn descriptions_survive_json_and_toml() {
    let (_folder, path) = file("mine.toml", MINE);
    let all = PRESETS.iter().map(|name| preset(name).unwrap()).chain([named(&path).unwrap()]);
    for network in all {
        let spec = network.spec();
        let text = serde_json::to_string(&spec).unwrap();
        assert_eq!(serde_json::from_str::<NetworkSpec>(&text).unwrap(), spec);
        let (_folder, path) = file("again.toml", &toml::to_string(&spec).unwrap());
        assert_eq!(named(&path).unwrap(), network);
        let config = Recipe { network: Some(spec), ..Recipe::preset("mnist-small").unwrap() };
        let (_folder, path) = file("config.toml", &config.to_toml());
        assert_eq!(Recipe::from_toml_file(&path, Recipe::preset("mnist-small").unwrap()).unwrap(), config);
        let json = serde_json::to_string(&config).unwrap();
        assert_eq!(serde_json::from_str::<Recipe>(&json).unwrap(), config);
    }
}

#[test]
fn wrong_descriptions_name_the_layer_and_the_nearest_word() {
    let layers = |layers: &str| format!("input = [1, 8, 8]\nlayers = [{layers}]");
    let cases: [(String, &[&str]); 25] = [
        (layers("{ conv = 4, kernel = 3, activation = \"swihs\" }"), &["layer 1", "`swihs`", "mean `swish`"]),
        (layers("{ dense = 4 }, { convv = 4, kernel = 3 }"), &["layer 2", "`convv`", "mean `conv`"]),
        (layers("{ conv = 4, kernal = 3 }"), &["layer 1", "`kernal`", "mean `kernel`"]),
        (layers("{ dense = 4, kernel = 3 }"), &["layer 1", "dense", "`kernel`"]),
        (layers("\"pol\""), &["layer 1", "`pol`", "mean `pool`"]),
        (layers("\"conv\""), &["layer 1", "needs its size"]),
        (layers("{ conv = 4 }"), &["layer 1", "`kernel` is missing"]),
        (layers("{ conv = 4, dense = 4, kernel = 3 }"), &["layer 1", "two layers"]),
        (layers("{ conv = 4, kernel = [3, 3, 3] }"), &["layer 1", "`kernel`", "[height, width]", "[3,3,3]"]),
        (layers("{ conv = 4, kernel = 3, padding = [1, 2, 3] }"), &["layer 1", "`padding`", "bottom"]),
        (layers("{ conv = 4, kernel = 3, stride = -1 }"), &["layer 1", "`stride`", "-1"]),
        (layers("{ dense = 4, activation = \"leaky-relu\" }"), &["layer 1", "slope", "leaky-relu = 0.2"]),
        (layers("{ dense = 4, activation = { leaky-relu = \"x\" } }"), &["layer 1", "slope", "x"]),
        (layers("{ dense = 4, activation = { relu = 1 } }"), &["layer 1", "only leaky-relu"]),
        (layers("{ dense = 4, spectral = 0 }"), &["layer 1", "`spectral`", "above 0", "not 0"]),
        (layers("{ dense = 4, spectral = \"yes\" }"), &["layer 1", "`spectral`", "\"yes\""]),
        (layers("{ dense = 4, spectral = 1e300 }"), &["layer 1", "`spectral`", "1e+300"]),
        (layers("{ dense = 1.5 }"), &["layer 1", "`dense`", "whole number", "1.5"]),
        (layers("3"), &["layer 1", "table", "3"]),
        ("layers = [{ dense = 1 }]".into(), &["`input` is missing"]),
        ("input = [1, 8]\nlayers = []".into(), &["`input`", "[channels, height, width]"]),
        ("input = [1, 8, 8]".into(), &["`layers` are missing"]),
        ("input = [2]\nlayer = []".into(), &["`layer`", "mean `layers`"]),
        ("input = [2]\ninitialisation = \"gloro\"\nlayers = []".into(), &["`gloro`", "mean `glorot`"]),
        ("input = [2\n".into(), &["w.toml"]),
    ];
    for (text, parts) in cases {
        let (_folder, path) = file("w.toml", &text);
        assert_says(&text_of(named(&path).unwrap_err()), &[&["w.toml"], parts].concat());
        let config = format!("seed = 1\n[network]\n{text}");
        let (_folder, path) = file("w.toml", &config);
        let error =
            text_of(Recipe::from_toml_file(&path, Recipe::preset("mnist-small").unwrap()).unwrap_err());
        // The layer's own line, or the section's.
        let line = if parts[0].starts_with("layer ") { "line 4" } else { "line " };
        assert_says(&error, &["w.toml", line]);
    }
    // Shapes.
    let conv = "{ conv = 4, kernel = 3, stride = 2 }, { conv = 4, kernel = 5 }, { dense = 1 }";
    let (_folder, path) = file("w.toml", &layers(conv));
    assert_says(&text_of(named(&path).unwrap_err()), &["w.toml", "conv2", "5x5", "4x3x3"]);
    let (_folder, path) = file("w.toml", &layers("\"flatten\", { conv = 1, kernel = 1 }"));
    assert_says(&text_of(named(&path).unwrap_err()), &["conv1", "1x8x8", "64 values"]);
    let (_folder, path) = file("w.toml", "input = [1, 2, 2]\nlayers = [\"pool\"]");
    assert_says(&text_of(named(&path).unwrap_err()), &["no parameters"]);
    let (_folder, path) = file(
        "w.toml",
        "input = [2]\nlayers = [{ dense = 2, activation = { leaky-relu = 1e300 } }, { dense = 1 }]",
    );
    assert_says(&text_of(named(&path).unwrap_err()), &["finite"]);
    assert_says(&text_of(named("mnist-deap").unwrap_err()), &["did you mean `mnist-deep`"]);
}

#[test]
fn a_builder_refuses_what_no_layer_has() {
    let begin = || Network::builder("mine", [1, 8, 8]);
    for (builder, what) in [
        (begin().stride(2), "stride"),
        (begin().dense(2).padding(1), "padding"),
        (begin().conv(2, 3).pool().activation(Activation::Relu), "activation"),
        (begin().dense(2).stride(2).padding(1), "stride"), // the first of two
        (begin().spectral(1.0), "layer with weights"),
        (begin().conv(2, 3).pool().spectral(1.0), "layer with weights"),
        (begin().dense(2).spectral(1.0).spectral(2.0), "dense1: it has a bound"),
        (begin().dense(2).spectral(f32::NAN), "above 0"),
        (begin().dense(60_001).spectral(1.0), "60001 by 64"),
    ] {
        assert_says(&text_of(builder.dense(1).build().unwrap_err()), &["mine", what]);
    }
    let asymmetric = begin().conv(2, 3).padding(Padding { left: 3, ..Padding::default() }).pool().dense(1);
    let Operation::Conv(shape) = asymmetric.build().unwrap().layers[0].operation else { panic!() };
    assert_eq!([shape.out_height, shape.out_width], [6, 9]);
}

/// Parameters counted by hand from the recipes.
#[test]
fn a_network_of_several_outputs_is_no_energy() {
    let outputs =
        || Network::builder("outputs", [1, 6, 6]).conv(3, 3).stride(2).dense(10).activation(Activation::Tanh);
    let network = outputs().build_with_outputs().unwrap();
    assert_eq!(network.layers.iter().map(|l| l.out_len).collect::<Vec<_>>(), [12, 10]);
    assert_eq!(network.n_parameters, 27 + 3 + 120 + 10);
    assert_says(&text_of(outputs().build().unwrap_err()), &["outputs", "one number", "10x1x1"]);
    let none = Network::builder("none", [1, 6, 6]).build_with_outputs();
    assert_says(&text_of(none.unwrap_err()), &["none", "no layers"]);
    let wrong = Network::builder("wrong", [1, 6, 6]).stride(2).dense(2).build_with_outputs();
    assert_says(&text_of(wrong.unwrap_err()), &["wrong", "stride"]);
}

#[test]
fn presets_are_the_recipes_networks() {
    let sizes = |name: &str| {
        let network = preset(name).unwrap();
        let out: Vec<_> = network.layers.iter().map(|layer| layer.out_len).collect();
        (network.n_parameters, out)
    };
    assert_eq!(sizes("mnist-small").0, 60_481);
    let (n, out) = sizes("mnist-deep");
    assert_eq!(out, [16 * 16 * 16, 32 * 8 * 8, 64 * 4 * 4, 64 * 2 * 2, 64, 1]);
    assert_eq!(n, 416 + 4640 + 18_496 + 36_928 + 256 * 64 + 64 + 65);
    let (n, out) = sizes("conv-pool");
    assert_eq!(out, [64 * 784, 64 * 196, 128 * 196, 128 * 49, 128, 1]);
    assert_eq!(n, 640 + 65_600 + 73_856 + 262_272 + 129);
    let (n, out) = sizes("image-leaky");
    assert_eq!(out, [32 * 784, 64 * 196, 128 * 49, 256 * 9, 1]);
    assert_eq!(n, 320 + 32_832 + 131_200 + 524_544 + 2305);
    assert_eq!(sizes("mlp"), (384 + 16_512 + 129, vec![128, 128, 1]));
    assert_eq!(sizes("mlp-silu"), (768 + 2 * 65_792 + 257, vec![256, 256, 256, 1]));
    // Other data: H / 8 is 4 at 32, colours are channels, and rows have as many columns as they have.
    let shape = |channels, height, width| Shape { channels, height, width };
    let of = |name, data| preset_for(name, data).unwrap();
    assert_eq!(of("image-leaky", shape(3, 32, 32)).tensors()[8].shape, [1, 256 * 16]);
    assert_eq!(of("mlp", shape(5, 1, 1)).tensors()[0].shape, [128, 5]);
    assert_eq!(of("mnist-small", shape(1, 28, 28)), preset("mnist-small").unwrap());
    for name in ["mnist-small", "mnist-deep", "conv-pool", "image-leaky", "mlp", "mlp-silu"] {
        for data in [shape(1, 8, 8), shape(3, 32, 32), shape(3, 64, 64), shape(1, 9, 13)] {
            let network = preset_for(name, data).unwrap_or_else(|e| panic!("{name} on {data}: {e}"));
            assert!(network.input.height >= data.height && network.input.channels == data.channels);
        }
    }
}

/// PyTorch's: biases too, and no bound but the inputs'.
#[test]
fn pytorchs_initialisation() {
    let network = preset("mnist-deep").unwrap();
    assert_eq!(network.initialisation, Initialisation::Pytorch);
    let parameters = network.initial_parameters(3);
    for tensor in network.tensors() {
        let layer = network.layers.iter().find(|l| tensor.name.starts_with(&l.name)).unwrap();
        let bound = (layer.bias_len as f32 / layer.weight_len as f32).sqrt();
        let largest = parameters[tensor.range()].iter().fold(0.0_f32, |m, p| m.max(p.abs()));
        let n = tensor.range().len() as f32;
        assert!(largest <= bound, "{}: {largest} > {bound}", tensor.name);
        assert!(largest >= bound * (1.0 - 10.0 / n), "{}: {largest}, not near {bound}", tensor.name);
    }
}

/// A network without a preset, with a pool and a leaky activation, trains, is saved with its description, and goes on.
#[test]
fn a_described_network_trains_saves_and_loads() {
    pollster::block_on(async {
        let device = Device::cpu();
        let text = format!("train.batch = 8\nchain.steps = 2\nreplay.initial = 8\n[network]\n{MINE}");
        let (folder, path) = file("run.toml", &text);
        let config = Recipe::from_toml_file(&path, Recipe::preset("mnist-small").unwrap()).unwrap();
        let digits = Dataset::open("digits").unwrap();
        let mut trainer = Trainer::new(&device, &config, &digits).await.unwrap();
        assert_eq!(trainer.network().name, "mine");
        let before = trainer.model().await.unwrap().parameters;
        trainer.submit(2).unwrap().metrics().await.unwrap();
        let after = trainer.model().await.unwrap();
        assert!(after.parameters.iter().zip(&before).filter(|(a, b)| a != b).count() > before.len() / 2);

        let saved = folder.path().join("checkpoint.safetensors");
        trainer.checkpoint(json!(null)).await.unwrap().save(&saved).unwrap();
        assert_eq!(Model::load(&saved, None).unwrap(), after);
        assert_eq!(Model::load(&saved, Some(&path)).unwrap(), after);
        let other = Model::load(&saved, Some("mnist-small")).unwrap_err();
        assert_says(&text_of(other), &["of network `mine`", "`mnist-small`"]);
        let checkpoint = Checkpoint::load(&saved).unwrap();
        let mut resumed = Trainer::resume(&device, &saved, checkpoint, &digits).await.unwrap();
        trainer.submit(1).unwrap().metrics().await.unwrap();
        resumed.submit(1).unwrap().metrics().await.unwrap();
        assert_eq!(resumed.model().await.unwrap(), trainer.model().await.unwrap());

        // Weights alone, by the file that describes their network.
        let mut checkpoint = Checkpoint::load(&saved).unwrap();
        let tensors: Vec<(String, Tensor)> = after
            .network
            .tensors()
            .into_iter()
            .map(|t| (t.name.clone(), checkpoint.tensors[&t.name].clone()))
            .collect();
        let views = tensors.iter().map(|(name, tensor)| {
            let thalweg::checkpoint::TensorData::F32(values) = &tensor.data else { panic!() };
            let bytes = bytemuck::cast_slice(values);
            let dtype = safetensors::Dtype::F32;
            (name, safetensors::tensor::TensorView::new(dtype, tensor.shape.clone(), bytes).unwrap())
        });
        let weights = folder.path().join("weights.safetensors");
        std::fs::write(&weights, safetensors::serialize(views, None).unwrap()).unwrap();
        assert_eq!(Model::load(&weights, Some(&path)).unwrap(), after);
        assert_says(&text_of(Model::load(&weights, None).unwrap_err()), &["name the network"]);

        // A header's own description is checked; a preset's name is none.
        checkpoint.header.network = json!({"input": [1, 28, 28], "layers": [{"dens": 1}]});
        checkpoint.save(&saved).unwrap();
        assert_says(&text_of(Model::load(&saved, None).unwrap_err()), &["layer 1", "mean `dense`"]);
        checkpoint.header.network = json!("mnist-small");
        checkpoint.save(&saved).unwrap();
        assert_says(&text_of(Model::load(&saved, None).unwrap_err()), &["a table", "mnist-small"]);
    });
}

#[test]
fn the_builders_network_is_the_files() {
    let text = "name = \"mine\"\ninput = [1, 28, 28]\nlayers = [{ conv = 6, kernel = 5, stride = 2, padding = 4, \
                activation = \"swish\" }, \"pool\", { dense = 1 }]";
    let (_folder, path) = file("mine.toml", text);
    assert_eq!(named(&path).unwrap(), mine());
}
