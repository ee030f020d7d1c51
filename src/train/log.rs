//! What a training step reports, means of it over many steps, and the file that keeps it.

use crate::files::write_atomically;
use crate::kernels::annealed_loss::{BAND_METRICS, BANDS};
use crate::source::Source;
use crate::{Error, Result};
use std::fs::{File, OpenOptions};
use std::io::{ErrorKind, Write};
use std::path::{Path, PathBuf};

/// One training step's figures, as the device computed them.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, bytemuck::Pod, bytemuck::Zeroable)]
pub struct StepMetrics {
    /// What is minimised: `divergence + regularisation`.
    pub loss: f32,
    /// Contrastive divergence: mean energy of the real images less mean energy of the fake ones.
    pub divergence: f32,
    /// The penalty on large energies.
    pub regularisation: f32,
    /// Mean energy of the real images.
    pub energy_real: f32,
    /// Mean energy of the fake images, after their chains.
    pub energy_fake: f32,
    /// Norm of the gradient of all parameters, before it is clipped.
    pub gradient_norm: f32,
    /// Real images in the batch.
    pub n_real: f32,
    /// Share of the chains' proposals that were accepted, in MALA; else 0.
    pub acceptance: f32,
}

/// Figures of the annealed chains of one training step with contrastive divergence, as the device computed them. A *gap* is
/// the mean energy of chains less that of data images at their levels: 0 where the model fits the data.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, bytemuck::Pod, bytemuck::Zeroable)]
pub struct ChainMetrics {
    /// Gap of each band: the first, second and last third of the levels, chains that arrived at the last one, long chains.
    pub gaps: [f32; BANDS],
    /// Number of chains in each band.
    pub chains: [f32; BANDS],
    /// Number of chains at the last level that ran off: their values vary far more than data images', or far less.
    pub ran_off: f32,
    /// Number of chains at the last level.
    pub at_end: f32,
    /// The denoising loss, times its weight.
    pub denoising: f32,
    spare: [f32; 3],
}

const _: () = assert!(size_of::<ChainMetrics>() == 4 * BAND_METRICS);

/// The plain mean of [`StepMetrics`] over steps, each step counting the same, whatever its batch.
#[derive(Clone, Debug, Default)]
pub struct MetricsMean {
    sums: [f64; 8], // in the order of StepMetrics' fields
    n_steps: u64,
}

impl MetricsMean {
    /// Counts one step in.
    pub fn add(&mut self, metrics: &StepMetrics) {
        let values: [f32; 8] = bytemuck::cast(*metrics);
        for (sum, value) in self.sums.iter_mut().zip(values) {
            *sum += f64::from(value);
        }
        self.n_steps += 1;
    }

    /// How many steps were counted in.
    pub fn n_steps(&self) -> u64 {
        self.n_steps
    }

    /// The means; NaN before the first step, and where one step's value was.
    pub fn mean(&self) -> StepMetrics {
        bytemuck::cast(self.sums.map(|sum| (sum / self.n_steps as f64) as f32))
    }

    /// The means so far; counting starts anew.
    pub fn take(&mut self) -> StepMetrics {
        std::mem::take(self).mean()
    }
}

/// The first line of a metrics file.
pub const METRICS_HEADER: &str =
    "step,epoch,loss,cdiv,reg,energy_real,energy_fake,gradient_norm,acceptance,seconds";

/// The first line of a file of figures of annealed chains.
pub const CHAINS_HEADER: &str =
    "step,epoch,gap_high,gap_middle,gap_low,gap_last,gap_long,ran_off,denoising,seconds";

/// The first line of a file of held-out figures.
pub const HELD_OUT_HEADER: &str = "step,epoch,loss,cdiv,energy_real,energy_noise,seconds";

/// `metrics.csv` in a run's folder: one row a training step.
///
/// Floats are written such that reading them gives the same bits; NaN is `nan`. A row goes to the operating system
/// whole and at once, so a killed process loses no row that was appended before.
#[derive(Debug)]
pub struct MetricsFile(RowsFile);

impl MetricsFile {
    /// Begins a new file.
    ///
    /// # Errors
    /// [`Error::File`] if there is something at `path` already, which is left as it is; [`Error::Io`] if it can't be
    /// written.
    pub fn create(path: &Path) -> Result<Self> {
        RowsFile::create(path, METRICS_HEADER).map(Self)
    }

    /// Goes on with the file of a run that resumes after `step`: drops the rows of later steps, and a last line that
    /// doesn't end, as a killed process may leave it. A file that isn't there, or is empty, is begun anew.
    ///
    /// # Errors
    /// [`Error::File`] if it is not a metrics file (it is left as it is); [`Error::Io`] if it can't be read or written.
    pub fn resume(path: &Path, step: u64) -> Result<Self> {
        RowsFile::resume(path, METRICS_HEADER, step).map(Self)
    }

    /// Appends one row. `seconds` is how long the run has trained, counted by the caller over all its parts.
    ///
    /// # Errors
    /// [`Error::Io`] if it can't be written, as on a full disk: then the row is kept, and written with the next.
    pub fn append(&mut self, step: u64, epoch: u64, metrics: &StepMetrics, seconds: f64) -> Result<()> {
        let m = metrics;
        let figures = [m.loss, m.divergence, m.regularisation, m.energy_real, m.energy_fake, m.gradient_norm];
        self.0.append(step, epoch, figures.into_iter().chain([m.acceptance]), seconds)
    }

    /// Drops the rows of steps after `step`: training went back there.
    ///
    /// # Errors
    /// Those of [`Self::resume`].
    pub fn rewind(&mut self, step: u64) -> Result<()> {
        self.0.rewind(step)
    }

    /// The mean over the rows of an epoch, but of `n_real`, which no row has.
    ///
    /// # Errors
    /// [`Error::Io`] if the file can't be read.
    pub fn mean_of(&self, epoch: u64) -> Result<MetricsMean> {
        let text = std::fs::read_to_string(&self.0.path).map_err(Error::io("read", &self.0.path))?;
        let mut mean = MetricsMean::default();
        for row in text.lines().skip(1) {
            let cells: Vec<&str> = row.split(',').collect();
            let [_, of, figures @ .., _] = cells.as_slice() else { continue };
            if of.parse() == Ok(epoch) {
                // In the order of StepMetrics' fields, but for n_real, which is not in the file.
                let mut values = [f32::NAN; 8];
                for (cell, place) in figures.iter().zip([0, 1, 2, 3, 4, 5, 7]) {
                    values[place] = cell.parse().unwrap_or(f32::NAN);
                }
                mean.add(&bytemuck::cast(values));
            }
        }
        Ok(mean)
    }

    /// The seconds of the last row, 0 without one: where a resumed run's clock goes on.
    pub fn seconds(&self) -> f64 {
        self.0.seconds
    }
}

/// `chains.csv` in a run's folder, of a run with annealed chains: one row a training step with contrastive divergence,
/// written and resumed as [`MetricsFile`] is.
#[derive(Debug)]
pub struct ChainsFile(RowsFile);

impl ChainsFile {
    /// Begins a new file.
    ///
    /// # Errors
    /// Those of [`MetricsFile::create`].
    pub fn create(path: &Path) -> Result<Self> {
        RowsFile::create(path, CHAINS_HEADER).map(Self)
    }

    /// Goes on with the file of a run that resumes after `step`.
    ///
    /// # Errors
    /// Those of [`MetricsFile::resume`].
    pub fn resume(path: &Path, step: u64) -> Result<Self> {
        RowsFile::resume(path, CHAINS_HEADER, step).map(Self)
    }

    /// Appends one row: a gap of no chains is NaN, `ran_off` the share of the chains at the last level.
    ///
    /// # Errors
    /// Those of [`MetricsFile::append`].
    pub fn append(&mut self, step: u64, epoch: u64, metrics: &ChainMetrics, seconds: f64) -> Result<()> {
        let of_any = |value: f32, n: f32| if n > 0.0 { value } else { f32::NAN };
        let gaps = metrics.gaps.into_iter().zip(metrics.chains).map(|(gap, n)| of_any(gap, n));
        let ran_off = of_any(metrics.ran_off / metrics.at_end, metrics.at_end);
        self.0.append(step, epoch, gaps.chain([ran_off, metrics.denoising]), seconds)
    }

    /// Drops the rows of steps after `step`.
    ///
    /// # Errors
    /// Those of [`MetricsFile::resume`].
    pub fn rewind(&mut self, step: u64) -> Result<()> {
        self.0.rewind(step)
    }
}

/// `held_out.csv` in a run's folder: one row an epoch, written and resumed as [`MetricsFile`] is.
#[derive(Debug)]
pub struct HeldOutFile(RowsFile);

/// Held-out images against uniform noise, which no chain has touched.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct HeldOutFigures {
    /// `divergence` plus the penalty on large energies.
    pub loss: f32,
    /// Mean energy of the images less that of the noise.
    pub divergence: f32,
    /// Mean energy of the images.
    pub energy_real: f32,
    /// Mean energy of the noise.
    pub energy_noise: f32,
}

impl HeldOutFile {
    /// Begins a new file.
    ///
    /// # Errors
    /// Those of [`MetricsFile::create`].
    pub fn create(path: &Path) -> Result<Self> {
        RowsFile::create(path, HELD_OUT_HEADER).map(Self)
    }

    /// Goes on with the file of a run that resumes after `step`.
    ///
    /// # Errors
    /// Those of [`MetricsFile::resume`].
    pub fn resume(path: &Path, step: u64) -> Result<Self> {
        RowsFile::resume(path, HELD_OUT_HEADER, step).map(Self)
    }

    /// Appends the row of the epoch that ended after `step`, if there is none yet.
    ///
    /// # Errors
    /// Those of [`MetricsFile::append`].
    pub fn append(&mut self, step: u64, epoch: u64, figures: &HeldOutFigures, seconds: f64) -> Result<()> {
        if self.0.last_step >= Some(step) {
            return Ok(());
        }
        let HeldOutFigures { loss, divergence, energy_real, energy_noise } = *figures;
        self.0.append(step, epoch, [loss, divergence, energy_real, energy_noise], seconds)
    }

    /// Drops the rows of steps after `step`.
    ///
    /// # Errors
    /// Those of [`MetricsFile::resume`].
    pub fn rewind(&mut self, step: u64) -> Result<()> {
        self.0.rewind(step)
    }

    /// The step of the last row.
    pub fn last_step(&self) -> Option<u64> {
        self.0.last_step
    }
}

/// A CSV file whose rows are a step, an epoch, floats, and seconds, as its header names them.
#[derive(Debug)]
struct RowsFile {
    path: PathBuf,
    header: &'static str,
    file: File,
    /// Bytes of whole rows in the file, and rows that could not be written yet.
    length: u64,
    waiting: String,
    last_step: Option<u64>,
    seconds: f64,
}

impl RowsFile {
    fn create(path: &Path, header: &'static str) -> Result<Self> {
        let mut file =
            OpenOptions::new().append(true).create_new(true).open(path).map_err(|e| match e.kind() {
                ErrorKind::AlreadyExists => {
                    Error::file(path, "is there already: resume that run, or choose another folder")
                }
                _ => Error::io("create", path)(e),
            })?;
        let text = format!("{header}\n");
        file.write_all(text.as_bytes()).map_err(Error::io("write", path))?;
        let length = text.len() as u64;
        Ok(Self {
            path: path.to_owned(),
            header,
            file,
            length,
            waiting: String::new(),
            last_step: None,
            seconds: 0.0,
        })
    }

    fn resume(path: &Path, header: &'static str, step: u64) -> Result<Self> {
        let old = match read(path) {
            Err(Error::Io { source, .. }) if source.kind() == ErrorKind::NotFound => {
                return Self::create(path, header);
            }
            old => old?,
        };
        let kept = rows_until(&old, header, step).map_err(|problem| Error::file(path, problem))?;
        if kept.text.as_bytes() != old {
            write_atomically(path, |w| w.write_all(kept.text.as_bytes()))?;
        }
        let file = OpenOptions::new().append(true).open(path).map_err(Error::io("open", path))?;
        Ok(Self {
            path: path.to_owned(),
            header,
            file,
            length: kept.text.len() as u64,
            waiting: String::new(),
            last_step: kept.last_step,
            seconds: kept.seconds,
        })
    }

    fn append(
        &mut self,
        step: u64,
        epoch: u64,
        figures: impl IntoIterator<Item = f32>,
        seconds: f64,
    ) -> Result<()> {
        let had_failed = !self.waiting.is_empty();
        self.waiting += &format!("{step},{epoch}");
        for value in figures {
            self.waiting += &if value.is_nan() { ",nan".to_owned() } else { format!(",{value}") };
        }
        self.waiting += &format!(",{seconds:.3}\n");
        (self.last_step, self.seconds) = (Some(step), seconds);
        let mut write = || {
            if had_failed {
                self.file.set_len(self.length)?; // a part of a row may be there
            }
            self.file.write_all(self.waiting.as_bytes())
        };
        write().map_err(Error::io("write", &self.path))?;
        self.length += self.waiting.len() as u64;
        self.waiting.clear();
        Ok(())
    }

    fn rewind(&mut self, step: u64) -> Result<()> {
        *self = Self { seconds: self.seconds, ..Self::resume(&self.path, self.header, step)? };
        Ok(())
    }
}

/// What is kept of a file.
struct Kept {
    text: String,
    last_step: Option<u64>,
    seconds: f64,
}

/// The header and the rows up to `step` of a file's content, and step and seconds of the last of them; or what is wrong with
/// it.
fn rows_until(content: &[u8], header: &str, step: u64) -> std::result::Result<Kept, String> {
    let mut kept = Kept { text: format!("{header}\n"), last_step: None, seconds: 0.0 };
    let whole = content.iter().rposition(|&byte| byte == b'\n').map_or(0, |newline| newline + 1);
    if whole == 0 && header.as_bytes().starts_with(content) {
        return Ok(kept); // killed before the header was written
    }
    let text = String::from_utf8_lossy(&content[..whole]);
    let mut lines = text.lines();
    if lines.next() != Some(header) {
        return Err(format!("line 1 is not `{header}`, so this is no such file of this program"));
    }
    let n_cells = header.split(',').count();
    for (ix, row) in lines.enumerate() {
        let (row_step, row_seconds) = parse_row(row, n_cells).ok_or_else(|| {
            format!("line {} is not {n_cells} numbers, `{header}`; mend it, or move the file away", ix + 2)
        })?;
        if row_step <= step {
            kept.text += row;
            kept.text.push('\n');
            (kept.last_step, kept.seconds) = (Some(row_step), row_seconds);
        }
    }
    Ok(kept)
}

/// A row's step and seconds, if it is a row.
fn parse_row(row: &str, n_cells: usize) -> Option<(u64, f64)> {
    let cells: Vec<&str> = row.split(',').collect();
    let [step, epoch, figures @ .., seconds] = cells.as_slice() else { return None };
    epoch.parse::<u64>().ok()?;
    let is_row = cells.len() == n_cells && figures.iter().all(|cell| cell.parse::<f32>().is_ok());
    is_row.then_some((step.parse().ok()?, seconds.parse().ok()?))
}

/// What stands in a `metrics.csv`, column by column.
#[derive(Clone, Debug, PartialEq)]
pub struct MetricsTable {
    columns: Vec<(String, Vec<f64>)>,
}

/// The most bytes of a metrics file; a million steps take some 100 MB.
const MAX_FILE: u64 = 2 << 30;

fn read(path: &Path) -> Result<Vec<u8>> {
    Source::open(path, MAX_FILE)?.read_all()
}

impl MetricsTable {
    /// Reads a metrics file of this program or of another version of it: whatever columns its first line names, as long
    /// as `step` is one. A last line that doesn't end, as a killed process may leave it, is left out.
    ///
    /// # Errors
    /// [`Error::Io`] if it can't be read; [`Error::File`] if it is no metrics file, has no rows, a row of another
    /// length than the first line, or a cell that is no number: with the line, and the column's name.
    pub fn read(path: impl AsRef<Path>) -> Result<Self> {
        let path = path.as_ref();
        let content = read(path)?;
        Self::parse(&content).map_err(|problem| Error::file(path, problem))
    }

    fn parse(content: &[u8]) -> std::result::Result<Self, String> {
        if content.is_empty() {
            return Err("is empty; a metrics file begins with the names of its columns".to_owned());
        }
        let end = content.iter().rposition(|&byte| byte == b'\n').unwrap_or(content.len());
        let text = String::from_utf8_lossy(&content[..end]);
        let mut lines = text.lines();
        let header = lines.next().unwrap_or_default();
        let mut columns: Vec<_> =
            header.split(',').map(|name| (name.trim().to_owned(), Vec::new())).collect();
        if !columns.iter().any(|(name, _)| name == "step") {
            return Err(format!(
                "line 1 names no column `step`, so this is no metrics file; `{METRICS_HEADER}` is one"
            ));
        }
        for (ix, row) in lines.enumerate() {
            let (line, n_columns) = (ix + 2, columns.len());
            let cells: Vec<&str> = row.split(',').collect();
            if cells.len() != n_columns {
                return Err(format!(
                    "line {line} has {} cells, but line 1 names {n_columns} columns",
                    cells.len()
                ));
            }
            for ((name, values), cell) in columns.iter_mut().zip(cells) {
                let value = cell.trim().parse();
                values.push(
                    value.map_err(|_| format!("line {line}, column `{name}`: `{cell}` is not a number"))?,
                );
            }
        }
        if columns[0].1.is_empty() {
            return Err("has no rows: no step of the run is done yet".to_owned());
        }
        Ok(Self { columns })
    }

    /// The names of its columns, in order.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.columns.iter().map(|(name, _)| name.as_str())
    }

    /// A column's values, one a row; those that are not finite are what they are.
    pub fn column(&self, name: &str) -> Option<&[f64]> {
        self.columns.iter().find(|column| column.0 == name).map(|column| column.1.as_slice())
    }
}
