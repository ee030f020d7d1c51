"""R1 in PyTorch: `torch_peer.py f32` or `torch_peer.py bf16`; channels-last, eager (torch.compile is slower here).

Keras pads a stride-2 convolution behind the image, PyTorch's `padding=1` before it: mirror images and kernels, and the two
are the same network. So PyTorch needs no extra padding pass, and the golden check mirrors what it feeds in.
"""

import sys

import common as c
import torch
import torch.nn.functional as F

torch.set_num_threads(c.THREADS)
torch.manual_seed(1)


def network(parameters):
    """The mirrored network as a module."""
    layers = []
    for i, (n_in, n_out) in enumerate(zip(c.CHANNELS, c.CHANNELS[1:]), 1):
        conv = torch.nn.Conv2d(n_in, n_out, 3, stride=2, padding=1)
        conv.weight.data.copy_(torch.from_numpy(parameters[f"conv{i}.weight"]).flip(2, 3))
        conv.bias.data.copy_(torch.from_numpy(parameters[f"conv{i}.bias"]))
        layers += [conv, torch.nn.SiLU()]
    dense = torch.nn.Linear(256, 1)
    weight = torch.from_numpy(parameters["dense1.weight"]).reshape(1, 64, 2, 2).flip(2, 3)
    dense.weight.data.copy_(weight.reshape(1, 256))
    dense.bias.data.copy_(torch.from_numpy(parameters["dense1.bias"]))
    return torch.nn.Sequential(*layers, torch.nn.Flatten(), dense).to(memory_format=torch.channels_last)


class Peer:
    def __init__(self, bf16, images=None):
        self.bf16 = bf16
        self.model = network(c.parameters())
        self.adam = torch.optim.Adam(self.model.parameters(), c.LEARNING_RATE, eps=c.EPSILON, foreach=True)
        self.replay = c.Replay((1, 32, 32))
        self.images = channels_last(self.replay.uniform(c.BATCH))

    def energy(self, x):
        with torch.autocast("cpu", torch.bfloat16, enabled=self.bf16):
            return self.model(x)

    def gradient(self, x):
        x.requires_grad_(True)
        return torch.autograd.grad(self.energy(x).sum(), x)[0]

    def refine(self, x, steps):
        self.model.requires_grad_(False)
        for _ in range(steps):
            x = x.detach().add_(torch.randn_like(x), alpha=c.NOISE).clamp_(-1, 1)
            g = self.gradient(x).clamp_(-c.CLIP, c.CLIP)
            x = x.detach().sub_(g, alpha=c.STEP_SIZE).clamp_(-1, 1)
        self.model.requires_grad_(True)
        return x

    def chain(self, steps):
        self.images = self.refine(self.images, steps)

    def train(self):
        real = channels_last(self.replay.real())
        real = real.add_(torch.randn_like(real), alpha=c.NOISE).clamp_(-1, 1)
        fake = self.refine(channels_last(self.replay.draw()), c.CHAIN)
        e_real, e_fake = self.energy(torch.cat([real, fake])).float().chunk(2)
        loss = e_real.mean() - e_fake.mean() + c.ALPHA * (e_real**2 + e_fake**2).mean()
        self.adam.zero_grad()
        loss.backward()
        self.adam.step()
        self.replay.store(fake)
        return loss.item()


def channels_last(images):
    return torch.from_numpy(images).contiguous(memory_format=torch.channels_last)


def golden_gradient(peer, x):
    """dE/dx of the untrained weights, mirrored in and out."""
    trained, peer.model = peer.model, network(c.parameters())
    g = peer.gradient(channels_last(x.copy()).flip(2, 3)).flip(2, 3)
    peer.model = trained
    return g.float().numpy()


if __name__ == "__main__":
    bf16 = sys.argv[1:] == ["bf16"]
    name = "PyTorch, bf16 autocast, channels-last" if bf16 else "PyTorch, f32, channels-last"
    peer = Peer(bf16)
    c.measure(name, torch.__version__, peer.train, peer.chain, lambda x: golden_gradient(peer, x), 5e-2 if bf16 else 1e-3)
