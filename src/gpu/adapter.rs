//! Which adapters there are.

/// An adapter: a GPU, or a software renderer that looks like one, behind one of the system's graphics interfaces.
#[derive(Clone, Debug, serde::Serialize)]
pub struct Adapter {
    /// The name that its driver gives it.
    pub name: String,
    /// Vulkan, Metal or DX12.
    pub backend: String,
    /// What compiles its shaders, where a system has several that do: DXC or FXC, of DX12.
    pub compiler: Option<&'static str>,
    /// Driver and version.
    pub driver: String,
    /// What it is.
    pub kind: AdapterKind,
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
    #[serde(skip)]
    pub(super) handle: wgpu::Adapter,
}

/// Kinds of adapters, in the order in which they are listed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum AdapterKind {
    /// A GPU with memory of its own.
    Discrete,
    /// A GPU that shares the processor's memory.
    Integrated,
    /// A part of a GPU, in a virtual machine.
    Virtual,
    /// Anything else.
    Other,
    /// The processor, as with Mesa's llvmpipe.
    Software,
}

impl std::fmt::Display for AdapterKind {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Discrete => "discrete GPU",
            Self::Integrated => "integrated GPU",
            Self::Virtual => "virtual GPU",
            Self::Other => "other",
            Self::Software => "software",
        })
    }
}

/// All that wgpu has and that runs on a GPU. OpenGL is left out on purpose: on a bare machine it would offer a software
/// renderer as the only "GPU".
const BACKENDS: wgpu::Backends =
    wgpu::Backends::VULKAN.union(wgpu::Backends::METAL).union(wgpu::Backends::DX12);

impl Adapter {
    /// Whether it is a GPU, and not the processor in disguise.
    pub fn is_gpu(&self) -> bool {
        matches!(self.kind, AdapterKind::Discrete | AdapterKind::Integrated | AdapterKind::Virtual)
    }

    /// Its name and its backend: several of one GPU differ in the latter.
    pub fn label(&self) -> String {
        format!("{} ({})", self.name, self.backend)
    }

    fn new(handle: wgpu::Adapter, compiler: Option<&'static str>) -> Self {
        let (info, limits, features) = (handle.get_info(), handle.limits(), handle.features());
        let kind = match info.device_type {
            wgpu::DeviceType::DiscreteGpu => AdapterKind::Discrete,
            wgpu::DeviceType::IntegratedGpu => AdapterKind::Integrated,
            wgpu::DeviceType::VirtualGpu => AdapterKind::Virtual,
            wgpu::DeviceType::Other => AdapterKind::Other,
            wgpu::DeviceType::Cpu => AdapterKind::Software,
        };
        let named = [
            ("timestamps", wgpu::Features::TIMESTAMP_QUERY),
            ("subgroups", wgpu::Features::SUBGROUP),
            ("f16", wgpu::Features::SHADER_F16),
            ("int64", wgpu::Features::SHADER_INT64),
        ];
        Self {
            name: info.name,
            backend: backend_name(info.backend).to_owned(),
            compiler,
            driver: format!("{} {}", info.driver, info.driver_info).trim().to_owned(),
            kind,
            max_binding: limits.max_storage_buffer_binding_size,
            max_buffer: limits.max_buffer_size,
            workgroup_memory: limits.max_compute_workgroup_storage_size,
            subgroup: (info.subgroup_min_size, info.subgroup_max_size),
            features: named.iter().filter(|(_, f)| features.contains(*f)).map(|(name, _)| *name).collect(),
            handle,
        }
    }
}

/// What a backend is called here.
fn backend_name(backend: wgpu::Backend) -> &'static str {
    match backend {
        wgpu::Backend::Vulkan => "Vulkan",
        wgpu::Backend::Metal => "Metal",
        wgpu::Backend::Dx12 => "DX12",
        wgpu::Backend::Gl => "OpenGL",
        _ => "other",
    }
}

/// All adapters of Vulkan, Metal and DX12, or of those of them that the environment variable `WGPU_BACKEND` names: discrete
/// GPUs first, then integrated ones, virtual ones, others, software. Several entries of one GPU stand together, Vulkan and
/// Metal before DX12. DX12's shaders are compiled by DXC where `dxcompiler.dll` is found, else by FXC, or by what
/// `WGPU_DX12_COMPILER` says.
pub async fn adapters() -> Vec<Adapter> {
    let backends = wgpu::Backends::from_env().unwrap_or(BACKENDS) & BACKENDS;
    let mut adapters = enumerate(backends - wgpu::Backends::DX12, None).await;
    if cfg!(windows) && backends.contains(wgpu::Backends::DX12) {
        let asked = wgpu::Dx12Compiler::from_env();
        let (dxc, fxc) = (wgpu::Dx12Compiler::default_dynamic_dxc(), wgpu::Dx12Compiler::Fxc);
        let compilers = match asked {
            None | Some(wgpu::Dx12Compiler::Auto) => vec![dxc, fxc],
            Some(compiler) => vec![compiler],
        };
        for compiler in compilers {
            let of_dx12 = enumerate(wgpu::Backends::DX12, Some(compiler)).await;
            if !of_dx12.is_empty() {
                adapters.extend(of_dx12);
                break;
            }
        }
    }
    in_order(adapters)
}

async fn enumerate(backends: wgpu::Backends, compiler: Option<wgpu::Dx12Compiler>) -> Vec<Adapter> {
    if backends.is_empty() {
        return Vec::new();
    }
    let name = compiler.as_ref().map(|compiler| match compiler {
        wgpu::Dx12Compiler::Fxc => "FXC",
        _ => "DXC",
    });
    let mut descriptor = wgpu::InstanceDescriptor::new_without_display_handle();
    descriptor.backends = backends;
    if let Some(compiler) = compiler {
        descriptor.backend_options.dx12.shader_compiler = compiler;
    }
    let instance = wgpu::Instance::new(descriptor);
    let handles = instance.enumerate_adapters(backends).await;
    handles.into_iter().map(|handle| Adapter::new(handle, name)).collect()
}

fn in_order(mut adapters: Vec<Adapter>) -> Vec<Adapter> {
    let ids: Vec<_> =
        adapters.iter().map(|a| a.handle.get_info()).map(|info| (info.vendor, info.device)).collect();
    let key = |adapter: &Adapter| {
        let info = adapter.handle.get_info();
        let gpu = ids.iter().position(|id| *id == (info.vendor, info.device));
        (adapter.kind, gpu, adapter.backend == "DX12")
    };
    adapters.sort_by_key(key);
    adapters
}

/// What the environment hides, if it may be the reason that an adapter is missing.
pub fn hidden() -> Option<String> {
    let asked = std::env::var("WGPU_BACKEND").ok()?;
    let backends = wgpu::Backends::from_comma_list(&asked) & BACKENDS;
    Some(if backends.is_empty() {
        format!(
            "WGPU_BACKEND is `{asked}`, which hides every GPU: it takes vulkan, metal and dx12, or unset it"
        )
    } else {
        format!("WGPU_BACKEND is `{asked}`: adapters of other backends are hidden")
    })
}
