"""Writes sequence.safetensors: a small bidirectional LSTM energy, in PyTorch and double precision.

The network is that of recipe R6 with hidden = 17: LSTM of two layers, both ways, last time, dense 34 -> 1. The
file holds parameters, sequences as images [n, d, 1, time], energies, input gradients, loss and parameter
gradients of the contrastive loss (alpha 0.1), and parameters after one and three Adam steps on the same batch.
`big.*`: energies and input gradients of the same with hidden = 128, whose parameters follow from their number
(`formula` below), and every 997th element of its flat parameter gradient.

    python -m venv v && v/bin/pip install torch && v/bin/python tests/golden/sequence.py
"""

import json
import pathlib
import struct

import torch

torch.set_default_dtype(torch.float64)
torch.manual_seed(6)
torch.set_num_threads(1)


class Sequence(torch.nn.Module):
    def __init__(self, d, hidden):
        super().__init__()
        self.lstm1 = torch.nn.LSTM(d, hidden, num_layers=2, batch_first=True, bidirectional=True)
        self.dense1 = torch.nn.Linear(2 * hidden, 1)

    def forward(self, x):  # [n, d, 1, time], as the engine's images
        output, _ = self.lstm1(x.squeeze(2).transpose(1, 2))
        return self.dense1(output[:, -1, :]).squeeze(-1)

    def in_order(self):
        """Names in the order of the flat parameter vector: each cell's weight_ih, bias_ih, weight_hh, bias_hh."""
        cells = [f"l{layer}{end}" for layer in range(2) for end in ("", "_reverse")]
        parts = ["weight_ih", "bias_ih", "weight_hh", "bias_hh"]
        names = [f"lstm1.{part}_{cell}" for cell in cells for part in parts]
        return names + ["dense1.weight", "dense1.bias"]


def f32(values):
    """Numbers that single precision holds."""
    return values.float().double()


def formula(n, scale):
    """Number i: the high 24 bits of i * 2654435761 mod 2^32, from -scale to scale."""
    bits = (torch.arange(n, dtype=torch.int64) * 2654435761 % 2**32) >> 8
    return f32((bits.double() / 2**23 - 1) * scale)


def energies_and_gradients(model, x):
    x = x.clone().requires_grad_()
    energy = model(x)
    (gradient,) = torch.autograd.grad(energy.sum(), x)
    return energy.detach(), gradient


def contrastive_loss(model, real, fake, alpha=0.1):
    e_real, e_fake = model(real), model(fake)
    return e_real.mean() - e_fake.mean() + alpha * ((e_real**2).mean() + (e_fake**2).mean())


tensors = {}
model = Sequence(d=3, hidden=17)
with torch.no_grad():
    for parameter in model.parameters():  # larger than PyTorch's, so that gates open and close
        parameter.copy_(f32(2.5 * parameter))
tensors |= {name: p.detach().clone() for name, p in model.named_parameters()}
real, fake = (f32(torch.rand(5, 3, 1, 19) * 2 - 1) for _ in range(2))
for name, x in (("real", real), ("fake", fake)):
    tensors[name] = x
    tensors[f"energy.{name}"], tensors[f"input_grad.{name}"] = energies_and_gradients(model, x)
adam = torch.optim.Adam(model.parameters(), lr=1e-4, betas=(0.9, 0.999), eps=1e-7)
losses = []
for step in (1, 2, 3):
    adam.zero_grad()
    loss = contrastive_loss(model, real, fake)
    loss.backward()
    losses.append(loss.detach())
    if step == 1:
        tensors |= {f"grad.{name}": p.grad.clone() for name, p in model.named_parameters()}
    adam.step()
    if step != 2:
        tensors |= {f"adam{step}.{name}": p.detach().clone() for name, p in model.named_parameters()}
tensors["loss"] = torch.stack(losses)

big = Sequence(d=2, hidden=128)
parameters = dict(big.named_parameters())
flat = formula(sum(p.numel() for p in parameters.values()), 0.15)
with torch.no_grad():
    at = 0
    for name in big.in_order():
        p = parameters[name]
        p.copy_(flat[at : at + p.numel()].view_as(p))
        at += p.numel()
real, fake = (f32(torch.rand(5, 2, 1, 50) * 2 - 1) for _ in range(2))
for name, x in (("real", real), ("fake", fake)):
    tensors[f"big.{name}"] = x
    tensors[f"big.energy.{name}"], tensors[f"big.input_grad.{name}"] = energies_and_gradients(big, x)
loss = contrastive_loss(big, real, fake)
loss.backward()
tensors["big.loss"] = loss.detach().view(1)
gradient = torch.cat([parameters[name].grad.flatten() for name in big.in_order()])
tensors["big.grad"] = gradient[::997]

header, data = {"__metadata__": {"made_with": f"PyTorch {torch.__version__} float64"}}, b""
for name, tensor in sorted(tensors.items()):
    flat = tensor.contiguous().float().flatten().tolist()
    bytes_ = struct.pack(f"<{len(flat)}f", *flat)
    offsets = [len(data), len(data) + len(bytes_)]
    header[name] = {"dtype": "F32", "shape": list(tensor.shape), "data_offsets": offsets}
    data += bytes_
text = json.dumps(header).encode()
text += b" " * (-len(text) % 8)
pathlib.Path(__file__).with_suffix(".safetensors").write_bytes(struct.pack("<Q", len(text)) + text + data)
for name in ("energy.real", "energy.fake", "loss", "big.energy.real", "big.energy.fake", "big.loss"):
    print(name, tensors[name].tolist())
for name in model.in_order():
    print(f"{name}: gradient up to {tensors['grad.' + name].abs().max():.1e}")
print("big gradient", gradient.abs().max(), "input gradient", tensors["big.input_grad.real"].abs().max())
