//! Which way chains run fastest on a GPU: measured on request ([`crate::bench::calibrate`]) and kept in a file that the
//! caller names.
//!
//! [`ChainPath::Auto`] measures nothing by itself: a run takes the same path, and yields the same bits, until the user
//! measures again.

use crate::data::Shape;
use crate::device::ChainPath;
use crate::files::write_atomically;
use crate::gpu::Adapter;
use crate::network::{LayerSpec, Network, NetworkSpec};
use crate::source::read_text;
use crate::{Error, Result};
use serde::{Deserialize, Serialize};
use std::path::Path;

/// What one network's chains took on one adapter, each way.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Calibration {
    /// The adapter's name.
    pub adapter: String,
    /// Vulkan, Metal or DX12.
    pub backend: String,
    /// Driver and version: another one compiles other code.
    pub driver: String,
    /// The network.
    pub network: NetworkSpec,
    /// Chains side by side.
    pub batch: usize,
    /// One Langevin step of all of them by the fused chain, in ms: median.
    pub fused_ms: f64,
    /// The same in workgroup memory, if the adapter has enough of it.
    #[serde(default)]
    pub fused_workgroup_ms: Option<f64>,
    /// The same by layers.
    pub layers_ms: f64,
}

impl Calibration {
    /// The fastest way.
    pub fn path(&self) -> ChainPath {
        let workgroup = self.fused_workgroup_ms.unwrap_or(f64::INFINITY);
        if self.layers_ms < self.fused_ms.min(workgroup) {
            ChainPath::Layers
        } else if workgroup < self.fused_ms {
            ChainPath::FusedWorkgroup
        } else {
            ChainPath::Fused
        }
    }

    /// Whether it was measured on this adapter, for these layers.
    pub fn is_of(&self, adapter: &Adapter, network: &Network) -> bool {
        self.is_on(adapter) && (self.network.input, &self.network.layers) == (network.input, &network.specs)
    }

    /// Whether it was measured on this adapter, by this driver.
    pub fn is_on(&self, adapter: &Adapter) -> bool {
        (&self.adapter, &self.backend, &self.driver) == (&adapter.name, &adapter.backend, &adapter.driver)
    }

    fn key(&self) -> (&str, &str, &str, Shape, &[LayerSpec]) {
        (&self.adapter, &self.backend, &self.driver, self.network.input, &self.network.layers)
    }

    /// Adds it to `file`, in place of an older one of the same adapter and layers. A file that holds something else is kept
    /// beside it, as `calibrations.json.bad`.
    ///
    /// # Errors
    /// Those of [`write_atomically`], and a file that can't be moved away.
    pub fn save(self, file: &Path) -> Result<()> {
        let mut all = match Self::read(file) {
            Ok(all) => all,
            Err(_) => {
                let mut aside = file.as_os_str().to_owned();
                aside.push(".bad");
                std::fs::rename(file, aside).map_err(Error::io("move away", file))?;
                Vec::new()
            }
        };
        all.retain(|other| other.key() != self.key());
        all.push(self);
        if let Some(folder) = file.parent() {
            std::fs::create_dir_all(folder).map_err(Error::io("create", folder))?;
        }
        write_atomically(file, |to| Ok(serde_json::to_writer_pretty(to, &all)?))
    }

    /// All that were kept in `file`; none if there is no such file.
    ///
    /// # Errors
    /// A file that can't be read, or that holds something else.
    pub fn read(file: &Path) -> Result<Vec<Self>> {
        let text = match read_text(file, MAX_FILE, "calibrations") {
            Err(Error::Io { source, .. }) if source.kind() == std::io::ErrorKind::NotFound => {
                return Ok(Vec::new());
            }
            text => text?,
        };
        serde_json::from_str(&text).map_err(|error| {
            Error::file(file, format!("holds no calibrations as this version writes them ({error})"))
        })
    }
}

/// The most bytes of the file; an entry takes some 1,000.
const MAX_FILE: u64 = 16 << 20;

impl std::fmt::Display for Calibration {
    /// Which way, and why.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { fused_ms, layers_ms, batch, .. } = self;
        write!(f, "{}: calibration measured {fused_ms:.3} ms a Langevin step of {batch} fused", self.path())?;
        if let Some(ms) = self.fused_workgroup_ms {
            write!(f, ", {ms:.3} in workgroup memory")?;
        }
        write!(f, ", {layers_ms:.3} by layers")
    }
}
