"""R1 with TorchEBM's Langevin sampler, around the network of torch_peer.py (f32, channels-last).

TorchEBM adds the noise together with the move, so a step clamps x once instead of twice; its energy's gradient is clipped in
an override, as it has no clip of its own.
"""

import common as c
import torch
import torch_peer
import torchebm
from torchebm.core import BaseModel
from torchebm.samplers import LangevinDynamics


class Energy(BaseModel):
    def __init__(self, network):
        super().__init__()
        self.network = network

    def forward(self, x):
        return self.network(x).squeeze(1)

    def gradient(self, x, model_kwargs=None):
        return super().gradient(x, model_kwargs).clamp_(-c.CLIP, c.CLIP)


class Peer(torch_peer.Peer):
    def __init__(self):
        super().__init__(bf16=False)
        # The integrator adds sqrt(2 * noise_scale^2 * step_size) * N(0, 1).
        noise_scale = c.NOISE / (2 * c.STEP_SIZE) ** 0.5
        self.sampler = LangevinDynamics(Energy(self.model), c.STEP_SIZE, noise_scale, clamp=(-1.0, 1.0))

    def refine(self, x, steps):
        self.model.requires_grad_(False)
        x = self.sampler.sample(x=x, n_steps=steps)
        self.model.requires_grad_(True)
        return x


def golden_gradient(x):
    """As torch_peer's, by way of TorchEBM's own gradient, without the clip."""
    energy = Energy(torch_peer.network(c.parameters()))
    return BaseModel.gradient(energy, torch_peer.channels_last(x.copy()).flip(2, 3)).flip(2, 3).numpy()


if __name__ == "__main__":
    peer = Peer()
    version = f"{torchebm.__version__}, PyTorch {torch.__version__}"
    c.measure("TorchEBM, f32, channels-last", version, peer.train, peer.chain, golden_gradient)
