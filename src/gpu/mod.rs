//! The only place that names wgpu: adapters, the device, pipelines, running plans, reading back.

mod adapter;
mod executor;

pub use adapter::{Adapter, AdapterKind, adapters, hidden};
pub use executor::{Counters, Executor, Readback};

use crate::kernels::{Access, Kernel};
use crate::plan::{DISPATCH_FLOP, Room, SUBMISSION_FLOP};
use crate::{Error, Result};
use rayon::prelude::*;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// What is asked of an adapter at once, at most.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of a buffer.
    pub buffer: u64,
    /// Workgroups of a dispatch, in each dimension; a launch of more is split.
    pub workgroups: u32,
    /// Floating-point operations of a dispatch, about, if it can be cut.
    pub dispatch_flop: usize,
    /// Floating-point operations of a submission, about.
    pub submission_flop: usize,
}

impl Limits {
    /// What an adapter can do, and what a desktop bears.
    pub fn of(adapter: &Adapter) -> Self {
        Self {
            buffer: adapter.max_binding.min(adapter.max_buffer),
            workgroups: wgpu::Limits::default().max_compute_workgroups_per_dimension,
            dispatch_flop: DISPATCH_FLOP,
            submission_flop: SUBMISSION_FLOP,
        }
    }

    /// As plans are held against.
    pub fn room(&self) -> Room {
        Room { buffer: self.buffer, ..Room::ENDLESS }
    }
}

/// An open GPU: its queue and the pipelines made so far.
#[derive(Debug)]
pub struct Gpu {
    /// What it is.
    pub adapter: Adapter,
    /// What is asked of it at once, at most.
    pub limits: Limits,
    device: wgpu::Device,
    queue: wgpu::Queue,
    pipelines: Mutex<HashMap<PipelineKey, Pipeline>>,
    /// The first error that no call has reported yet: a lost device, or a fault that wgpu found late.
    fault: Arc<Mutex<Option<String>>>,
}

/// What makes two pipelines different.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct PipelineKey {
    name: &'static str,
    source: String,
    overrides: Vec<(&'static str, u64)>, // values by their bits
    access: Vec<Access>,
}

#[derive(Clone, Debug)]
struct Pipeline {
    pipeline: wgpu::ComputePipeline,
    layout: wgpu::BindGroupLayout,
}

impl PipelineKey {
    fn of(kernel: &Kernel, first_group: [u32; 3]) -> Self {
        let overrides = kernel.overrides().into_iter().map(|(name, value)| (name, value.to_bits())).collect();
        let (name, source) = (kernel.name(), kernel.source_from(first_group));
        Self { name, source, overrides, access: kernel.access().to_vec() }
    }
}

impl Gpu {
    /// Opens an adapter, with its own limits on buffers and workgroup memory, timestamps where there are any, and nothing
    /// else beyond what WebGPU guarantees.
    ///
    /// # Errors
    /// [`Error::Device`] if the driver refuses.
    pub async fn open(adapter: Adapter) -> Result<Arc<Self>> {
        let limits = Limits::of(&adapter);
        Self::open_within(adapter, limits).await
    }

    /// [`Self::open`], as if it were a smaller adapter: for tests.
    ///
    /// # Errors
    /// Those of [`Self::open`].
    #[doc(hidden)]
    pub async fn open_within(adapter: Adapter, limits: Limits) -> Result<Arc<Self>> {
        let required_limits = wgpu::Limits {
            max_buffer_size: adapter.max_buffer,
            max_storage_buffer_binding_size: adapter.max_binding.min(limits.buffer),
            max_compute_workgroup_storage_size: adapter.workgroup_memory,
            max_compute_workgroups_per_dimension: limits.workgroups,
            ..wgpu::Limits::default()
        };
        let required_features = adapter.handle.features() & wgpu::Features::TIMESTAMP_QUERY;
        let descriptor = wgpu::DeviceDescriptor {
            label: Some("thalweg"),
            required_features,
            required_limits,
            ..Default::default()
        };
        let (device, queue) = adapter
            .handle
            .request_device(&descriptor)
            .await
            .map_err(|e| Error::Device(format!("{} could not be opened: {e}", adapter.label())))?;
        let fault = Arc::new(Mutex::new(None));
        let note = |fault: &Arc<Mutex<Option<String>>>| {
            let fault = fault.clone();
            move |text: String| {
                fault.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(text);
            }
        };
        let (on_error, on_loss) = (note(&fault), note(&fault));
        device.on_uncaptured_error(Arc::new(move |error: wgpu::Error| on_error(error.to_string())));
        device.set_device_lost_callback(move |reason, text| {
            if reason != wgpu::DeviceLostReason::Destroyed {
                on_loss(format!(
                    "the device was lost ({text}): its driver crashed, was reset, or ended work that took too long. What was \
                     saved before is whole: go on from there, on this device or another. If it happens again, try another \
                     driver, smaller batches, or the CPU"
                ));
            }
        });
        let pipelines = Mutex::default();
        Ok(Arc::new(Self { adapter, limits, device, queue, pipelines, fault }))
    }

    /// The fault that has come up since the last call, if any.
    fn check(&self) -> Result<()> {
        let fault = self.fault.lock().unwrap_or_else(PoisonError::into_inner).take();
        fault.map_or(Ok(()), |text| Err(Error::Device(format!("{}: {text}", self.adapter.name))))
    }

    /// Returns the pipelines of `kernels`, each with the workgroup that its dispatch begins at. Those that are missing are made
    /// on all cores: drivers compile in the calling thread.
    async fn pipelines(&self, kernels: &[(&Kernel, [u32; 3])]) -> Result<Vec<Pipeline>> {
        let keys: Vec<_> = kernels.iter().map(|(kernel, first)| PipelineKey::of(kernel, *first)).collect();
        let mut missing: HashMap<&PipelineKey, &Kernel> = HashMap::new();
        {
            let known = self.known();
            let wanted = keys.iter().zip(kernels.iter().map(|(kernel, _)| *kernel));
            missing.extend(wanted.filter(|(key, _)| !known.contains_key(key)));
        }
        let made: Vec<_> =
            missing.into_par_iter().map(|(key, kernel)| (key, self.pipeline(key, kernel))).collect();
        for (key, (pipeline, error)) in made {
            // On every backend but the browser's the error scope has its answer at once.
            if let Some(error) = error.await {
                let text = format!("{} refuses shader {}.wgsl: {error}", self.adapter.name, key.name);
                return Err(Error::Device(text));
            }
            self.known().insert(key.clone(), pipeline);
        }
        let known = self.known();
        Ok(keys.iter().map(|key| known[key].clone()).collect())
    }

    fn known(&self) -> MutexGuard<'_, HashMap<PipelineKey, Pipeline>> {
        self.pipelines.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Makes a pipeline, and returns with it what its error scope will say.
    fn pipeline(
        &self,
        key: &PipelineKey,
        kernel: &Kernel,
    ) -> (Pipeline, impl Future<Output = Option<wgpu::Error>> + use<>) {
        let scope = self.device.push_error_scope(wgpu::ErrorFilter::Validation);
        let buffer = |binding, ty, has_dynamic_offset| wgpu::BindGroupLayoutEntry {
            binding,
            visibility: wgpu::ShaderStages::COMPUTE,
            ty: wgpu::BindingType::Buffer { ty, has_dynamic_offset, min_binding_size: None },
            count: None,
        };
        let mut entries = vec![buffer(0, wgpu::BufferBindingType::Uniform, true)];
        for (i, access) in kernel.access().iter().enumerate() {
            let read_only = *access == Access::Read;
            entries.push(buffer(i as u32 + 1, wgpu::BufferBindingType::Storage { read_only }, false));
        }
        let layout = self.device.create_bind_group_layout(&wgpu::BindGroupLayoutDescriptor {
            label: Some(key.name),
            entries: &entries,
        });
        let pipeline_layout = self.device.create_pipeline_layout(&wgpu::PipelineLayoutDescriptor {
            label: Some(key.name),
            bind_group_layouts: &[Some(&layout)],
            immediate_size: 0,
        });
        let text = wgpu::ShaderModuleDescriptor {
            label: Some(key.name),
            source: wgpu::ShaderSource::Wgsl(key.source.as_str().into()),
        };
        let module = self.device.create_shader_module(text);
        let pipeline = self.device.create_compute_pipeline(&wgpu::ComputePipelineDescriptor {
            label: Some(key.name),
            layout: Some(&pipeline_layout),
            module: &module,
            entry_point: Some("main"),
            compilation_options: wgpu::PipelineCompilationOptions {
                constants: &kernel.overrides(),
                // Every shader writes what it reads of it; on DX12 one invocation would set all of it to 0.
                zero_initialize_workgroup_memory: false,
            },
            cache: None,
        });
        (Pipeline { pipeline, layout }, scope.pop())
    }
}
