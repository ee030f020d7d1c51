//! What several tests need.

use thalweg::device::Device;
use thalweg::gpu::{Gpu, adapters};

/// The first adapter, be it software: tests of the GPU path never pass for want of one.
pub fn gpu() -> Device {
    pollster::block_on(async {
        let adapter = adapters().await.into_iter().next();
        let adapter =
            adapter.expect("no Vulkan, Metal or DX12 adapter: run ./test.sh, which installs a software one");
        Device::Gpu(Gpu::open(adapter).await.expect("the adapter opens"))
    })
}
