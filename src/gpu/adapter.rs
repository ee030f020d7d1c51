//! Which adapters there are.

/// An adapter: a GPU, or a software renderer that looks like one, behind one of the system's graphics interfaces.
#[derive(Clone, Debug)]
pub struct Adapter {
    /// The name that its driver gives it.
    pub name: String,
    /// Vulkan, Metal or DX12.
    pub backend: String,
    /// Driver and version.
    pub driver: String,
    /// `discrete GPU`, `integrated GPU`, `virtual GPU`, `software` or `other`.
    pub kind: &'static str,
    /// Largest storage buffer that a shader may bind, in bytes.
    pub max_binding: u64,
    /// Largest buffer, in bytes.
    pub max_buffer: u64,
    /// Workgroup memory, in bytes.
    pub workgroup_memory: u32,
    /// Smallest and largest number of invocations in a subgroup.
    pub subgroup: (u32, u32),
    /// Optional features that matter here, by name.
    pub features: Vec<&'static str>,
    pub(super) handle: wgpu::Adapter,
}

impl Adapter {
    /// Whether it is a GPU, and not the processor in disguise.
    pub fn is_gpu(&self) -> bool {
        matches!(self.kind, "discrete GPU" | "integrated GPU" | "virtual GPU")
    }
}

/// All adapters of Vulkan, Metal and DX12: discrete GPUs first, then integrated ones, virtual ones, others, software.
///
/// OpenGL is left out on purpose: on a bare machine it would offer a software renderer as the only "GPU".
pub async fn adapters() -> Vec<Adapter> {
    let mut descriptor = wgpu::InstanceDescriptor::new_without_display_handle();
    descriptor.backends = wgpu::Backends::VULKAN | wgpu::Backends::METAL | wgpu::Backends::DX12;
    let instance = wgpu::Instance::new(descriptor);
    let mut adapters = Vec::new();
    for handle in instance.enumerate_adapters(wgpu::Backends::all()).await {
        let (info, limits, features) = (handle.get_info(), handle.limits(), handle.features());
        let (rank, kind) = match info.device_type {
            wgpu::DeviceType::DiscreteGpu => (0, "discrete GPU"),
            wgpu::DeviceType::IntegratedGpu => (1, "integrated GPU"),
            wgpu::DeviceType::VirtualGpu => (2, "virtual GPU"),
            wgpu::DeviceType::Other => (3, "other"),
            wgpu::DeviceType::Cpu => (4, "software"),
        };
        let named = [
            ("timestamps", wgpu::Features::TIMESTAMP_QUERY),
            ("subgroups", wgpu::Features::SUBGROUP),
            ("f16", wgpu::Features::SHADER_F16),
            ("int64", wgpu::Features::SHADER_INT64),
        ];
        let adapter = Adapter {
            name: info.name,
            backend: format!("{:?}", info.backend),
            driver: format!("{} {}", info.driver, info.driver_info).trim().to_owned(),
            kind,
            max_binding: limits.max_storage_buffer_binding_size,
            max_buffer: limits.max_buffer_size,
            workgroup_memory: limits.max_compute_workgroup_storage_size,
            subgroup: (info.subgroup_min_size, info.subgroup_max_size),
            features: named.iter().filter(|(_, f)| features.contains(*f)).map(|(name, _)| *name).collect(),
            handle,
        };
        adapters.push((rank, adapter));
    }
    adapters.sort_by_key(|(rank, _)| *rank);
    adapters.into_iter().map(|(_, adapter)| adapter).collect()
}
