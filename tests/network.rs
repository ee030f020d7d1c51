//! Networks as users describe them: files, builder, presets, and that a network without a preset trains, saves and loads.

use crate::common::{assert_says, file, floats, put, rows_refused, tensors_file, unescaped_text};
use serde_json::json;
use thalweg::checkpoint::Checkpoint;
use thalweg::data::Shape;
use thalweg::network::{Activation, Initialisation, LayerSpec, Network, NetworkSpec, Operation, Padding};
use thalweg::recipe::presets::{PRESETS, named, preset, preset_for};
use thalweg::{Dataset, Device, Model, Recipe, Trainer};

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
    let (_folder, path) = put("mine.toml", MINE);
    let network = named(path.to_str().unwrap()).unwrap();
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
    let (_folder, path) = put("run.toml", &section);
    assert_eq!(named(path.to_str().unwrap()).unwrap(), network);
    let (_folder, path) = put("p.toml", "input = [3]\nlayers = [{ dense = 1 }]");
    assert_eq!(named(path.to_str().unwrap()).unwrap().input, Shape { channels: 3, height: 1, width: 1 });
}

#[test]
fn descriptions_survive_json_and_toml() {
    let (_folder, path) = put("mine.toml", MINE);
    let all =
        PRESETS.iter().map(|name| preset(name).unwrap()).chain([named(path.to_str().unwrap()).unwrap()]);
    for network in all {
        let spec = network.spec();
        let text = serde_json::to_string(&spec).unwrap();
        assert_eq!(serde_json::from_str::<NetworkSpec>(&text).unwrap(), spec);
        let (_folder, path) = put("again.toml", toml::to_string(&spec).unwrap());
        assert_eq!(named(path.to_str().unwrap()).unwrap(), network);
        let config = Recipe { network: Some(spec), ..Recipe::preset("mnist-small").unwrap() };
        let (_folder, path) = put("config.toml", config.to_toml());
        assert_eq!(Recipe::from_toml_file(&path, Recipe::preset("mnist-small").unwrap()).unwrap(), config);
        let json = serde_json::to_string(&config).unwrap();
        assert_eq!(serde_json::from_str::<Recipe>(&json).unwrap(), config);
    }
}

#[test]
fn wrong_descriptions_name_the_layer_and_the_nearest_word() {
    // As a file of its own, and as the section of a recipe: there with the layer's own line, or the section's.
    let of_file = |text: &str| {
        let (_folder, path) = put("w.toml", text);
        let message = named(path.to_str().unwrap()).err()?.to_string();
        assert!(message.contains("w.toml"), "{message}");
        Some(message)
    };
    let of_section = |text: &str, line: &str| {
        let (_folder, path) = put("w.toml", format!("seed = 1\n[network]\n{text}"));
        assert_says(Recipe::from_toml_file(&path, Recipe::preset("mnist-small").unwrap()), &["w.toml", line]);
    };
    rows_refused("settings.txt", "layers", |layers| {
        let text = format!("input = [1, 8, 8]\nlayers = [{layers}]");
        of_section(&text, "line 4");
        of_file(&text)
    });
    rows_refused("settings.txt", "network files", |text| {
        of_section(&unescaped_text(text), "line ");
        of_file(&unescaped_text(text))
    });
    rows_refused("settings.txt", "network shapes", |text| of_file(&unescaped_text(text)));
    assert_says(named("mnist-deap"), &["did you mean `mnist-deep`"]);
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
        assert_says(builder.dense(1).build(), &["mine", what]);
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
    assert_says(outputs().build(), &["outputs", "one number", "10x1x1"]);
    let none = Network::builder("none", [1, 6, 6]).build_with_outputs();
    assert_says(none, &["none", "no layers"]);
    let wrong = Network::builder("wrong", [1, 6, 6]).stride(2).dense(2).build_with_outputs();
    assert_says(wrong, &["wrong", "stride"]);
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
        let (folder, path) = put("run.toml", &text);
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
        assert_eq!(Model::load(&saved, path.to_str()).unwrap(), after);
        assert_says(Model::load(&saved, Some("mnist-small")), &["of network `mine`", "`mnist-small`"]);
        let checkpoint = Checkpoint::load(&saved).unwrap();
        let mut resumed = Trainer::resume(&device, &saved, checkpoint, &digits).await.unwrap();
        trainer.submit(1).unwrap().metrics().await.unwrap();
        resumed.submit(1).unwrap().metrics().await.unwrap();
        assert_eq!(resumed.model().await.unwrap(), trainer.model().await.unwrap());

        // Weights alone, by the file that describes their network.
        let mut checkpoint = Checkpoint::load(&saved).unwrap();
        let tensors = after.network.tensors();
        let own =
            tensors.iter().map(|t| (&*t.name, &t.shape[..], floats(&checkpoint.tensors[&t.name]).to_vec()));
        let weights = file(&folder, "weights.safetensors", tensors_file(own));
        assert_eq!(Model::load(&weights, path.to_str()).unwrap(), after);
        assert_says(Model::load(&weights, None), &["name the network"]);

        // A header's own description is checked; a preset's name is none.
        checkpoint.header.network = json!({"input": [1, 28, 28], "layers": [{"dens": 1}]});
        checkpoint.save(&saved).unwrap();
        assert_says(Model::load(&saved, None), &["layer 1", "mean `dense`"]);
        checkpoint.header.network = json!("mnist-small");
        checkpoint.save(&saved).unwrap();
        assert_says(Model::load(&saved, None), &["a table", "mnist-small"]);
    });
}

#[test]
fn the_builders_network_is_the_files() {
    let text = "name = \"mine\"\ninput = [1, 28, 28]\nlayers = [{ conv = 6, kernel = 5, stride = 2, padding = 4, \
                activation = \"swish\" }, \"pool\", { dense = 1 }]";
    let (_folder, path) = put("mine.toml", text);
    assert_eq!(named(path.to_str().unwrap()).unwrap(), mine());
}
