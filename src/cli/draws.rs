//! What `inpaint` and `denoise` share: images in, draws of each out, with their mean and deviation.

use super::chain_options::described;
use super::ends::{Ends, Names, print_accepted, warn};
use super::given::{free_picture, read_input};
use super::options::{DeviceOption, Models, ModelsOptions, RangeOption};
use super::paths::OutputFile;
use super::{Summary, check_output, print_line, steps_bar};
use std::collections::BTreeSet;
use std::path::PathBuf;
use std::time::Instant;
use thalweg::data::write_npy;
use thalweg::picture::{film, save_png};
use thalweg::plan::ChainConfig;
use thalweg::sampling::mean_and_deviation;
use thalweg::{Composition, Device, Error, Images, Recipe, Result, Sampler};

/// Options of commands that draw images given others.
#[derive(clap::Args)]
pub(crate) struct DrawOptions {
    #[command(flatten)]
    models: ModelsOptions,
    /// The images: IDX, .npy or .npz (floats, or integers from 0 to 255; [n, channels, height, width], [n, height, width] or
    /// channels last; FILE.npz:NAME chooses an array), PNG, or a folder of these; or `digits`, of which the held-out part is
    /// taken. Smaller images than the network's input are padded with black
    #[arg(long, value_name = "FILE|DIR|NAME")]
    pub input: String,
    #[command(flatten)]
    range: RangeOption,
    /// Images to take, the first ones of the input
    #[arg(long, default_value = "8", value_name = "N", allow_negative_numbers = true,
          value_parser = clap::value_parser!(u32).range(1..=65_536))]
    count: u32,
    /// Draws of each image
    #[arg(long, default_value = "6", value_name = "N", allow_negative_numbers = true,
          value_parser = clap::value_parser!(u32).range(1..=65_536))]
    pub draws: u32,
    /// Seed of all random numbers: same seed, same device, same draws
    #[arg(long, default_value = "0", value_name = "N", allow_negative_numbers = true)]
    pub seed: u64,
    #[command(flatten)]
    device: DeviceOption,
    /// Picture of the first 16 images, a row for each: what was given, the first 8 draws, the mean of all draws, and their
    /// standard deviation (black 0, white 1) [default: the command's name, as in inpaint.png or the next free inpaint-1.png, in
    /// the current folder]. A file that is named is replaced
    #[arg(long, value_name = "FILE.png")]
    out: Option<OutputFile>,
    /// The draws as numbers: f32, [images x draws, channels, height, width], the first image's first [default: none]
    #[arg(long, value_name = "FILE.npy")]
    npy: Option<OutputFile>,
    /// The mean over each image's draws: f32, [images, channels, height, width] [default: none]
    #[arg(long, value_name = "FILE.npy")]
    mean: Option<OutputFile>,
    /// The standard deviation over each image's draws, likewise [default: none]
    #[arg(long, value_name = "FILE.npy")]
    deviation: Option<OutputFile>,
}

/// What a command works on.
pub(crate) struct Given {
    /// The models.
    pub composition: Composition,
    /// How the first was trained.
    pub recipe: Recipe,
    /// How each was.
    pub recipes: Vec<Recipe>,
    /// The images, as they were read.
    pub images: Images,
    /// What to call them.
    pub what: String,
    picture: PathBuf,
}

/// Draws, where their chains ended.
pub(crate) struct Drawn<'a> {
    /// The chains' numbers.
    pub chain_config: ChainConfig,
    /// Columns of the picture in front of the draws, an image for each that is given.
    pub columns: Vec<(&'a str, Images)>,
    /// More to say, a line each.
    pub lines: Vec<String>,
}

/// Draws of all images together, at most.
const MOST: u32 = 65_536;
/// Rows of the picture.
const ROWS: usize = 16;
/// Draws in a row of it.
const SHOWN: usize = 8;
/// Steps between two looks at how the chains are getting on.
const SEGMENT: u32 = 100;

impl DrawOptions {
    /// Checks the outputs, and reads models and images; `command` names it.
    ///
    /// # Errors
    /// What can't be read or written; [`Error::Usage`] for models of something else than images, and too many draws.
    pub(crate) fn open(&self, command: &str) -> Result<Given> {
        let picture = self.out.as_ref().map_or_else(|| free_picture(command), |path| path.to_path_buf());
        check_output("--out", &picture, &["png"])?;
        for (option, path) in [("--npy", &self.npy), ("--mean", &self.mean), ("--deviation", &self.deviation)]
        {
            path.as_ref().map_or(Ok(()), |path| check_output(option, path, &["npy"]))?;
        }
        let Models { composition, recipes, .. } = self.models.open()?;
        let input = composition.input();
        if !input.is_image() {
            return Err(Error::Usage(format!(
                "`{command}` is for images, but the model's examples are {input}"
            )));
        }
        let reading = self.range.reading(input, &recipes[0]);
        let (mut images, what) = read_input("--input", &self.input, input, &reading)?;
        images.values.truncate(self.count as usize * images.shape.len());
        let n = images.count() as u32;
        if n == 0 {
            return Err(Error::Usage(format!("--input {}: holds no images", self.input)));
        }
        if n.saturating_mul(self.draws) > MOST {
            let draws = self.draws;
            let text = format!(
                "--draws {draws} of {n} images: {MOST} draws in all are the most; lower --draws or --count"
            );
            return Err(Error::Usage(text));
        }
        Ok(Given { composition, recipe: recipes[0].clone(), recipes, images, what, picture })
    }

    /// Opens the device.
    pub(crate) async fn device(&self) -> Result<Device> {
        self.device.open().await
    }

    /// Runs the chains to their end, and writes what was asked for.
    ///
    /// # Errors
    /// A device that is lost, files that can't be written; [`Error::Diverged`] where chains did, when all is written.
    pub(crate) async fn finish(
        &self,
        mut sampler: Sampler,
        given: &Given,
        warnings: BTreeSet<String>,
        drawn: Drawn<'_>,
        device: &Device,
    ) -> Result<()> {
        warnings.iter().for_each(|text| warn(text));
        let (began, steps, draws) = (Instant::now(), drawn.chain_config.steps, self.draws as usize);
        let bar = steps_bar(steps);
        let first_energies = sampler.energies().await?;
        while sampler.steps() < steps {
            sampler.run(SEGMENT.min(steps - sampler.steps()))?;
            sampler.energies().await?; // keeps the device from being sent more than it can do in a while
            bar.set_position(u64::from(sampler.steps()));
        }
        let (images, energies) = (sampler.images().await?, sampler.energies().await?);
        let accepted = sampler.accepted().await?;
        bar.finish_and_clear();
        let [mean, deviation] = mean_and_deviation(&images, draws);

        let (n, what, seconds) = (given.images.count(), &given.what, began.elapsed().as_secs_f64());
        print_line(format_args!(
            "{draws} draws of each of {n} images from {what} after {steps} steps, seed {}, on {device}, {seconds:.2} s",
            self.seed
        ));
        print_line(described(&drawn.chain_config));
        drawn.lines.iter().for_each(print_line);
        let Summary { mean: centre, min, max, .. } = Summary::of(&energies);
        print_line(format_args!("energy: mean {centre:.6}, min {min:.6}, max {max:.6}"));
        if let Some(accepted) = &accepted {
            print_accepted(accepted, steps);
        }

        let rows = n.min(ROWS);
        let first = |images: Images| images.pick(0..rows);
        let mut columns: Vec<(String, Images)> =
            drawn.columns.into_iter().map(|(title, images)| (title.to_owned(), first(images))).collect();
        for draw in 0..draws.min(SHOWN) {
            let of_rows = images.pick((0..rows).map(|row| row * draws + draw));
            columns.push((format!("draw {}", draw + 1), of_rows));
        }
        let mut shown = deviation.clone();
        shown.values.iter_mut().for_each(|v| *v = 2.0 * *v - 1.0);
        columns.extend([("mean".to_owned(), first(mean.clone())), ("deviation".to_owned(), first(shown))]);
        save_png(&given.picture, &film(&columns, &[]))?;
        print_line(format_args!("Wrote {}: {rows} images, with their draws.", given.picture.display()));
        for (path, images, what) in [
            (&self.npy, &images, "draws"),
            (&self.mean, &mean, "means"),
            (&self.deviation, &deviation, "deviations"),
        ] {
            if let Some(path) = path {
                let dims = write_npy(path, images)?;
                print_line(format_args!("Wrote {}: {what}, f32, shape {dims:?}.", path.display()));
            }
        }
        let (first_energies, accepted) = (Some(&first_energies[..]), accepted.as_deref());
        let (chain_config, images, energies) = (&drawn.chain_config, &images, &energies[..]);
        Ends { chain_config, steps, images, energies, first_energies, accepted, names: Names::Options }
            .check()
    }
}
