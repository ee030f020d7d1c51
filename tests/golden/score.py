"""Writes score.safetensors: the score-matching objectives by PyTorch's double backward, in double precision, on fixed
images and fixed noise. tests/golden_score.rs holds the engine against it.

    python tests/golden/score.py      # needs torch, and nothing else
"""

import json
import os
import struct

import torch
import torch.nn.functional as F

torch.manual_seed(0)
torch.set_default_dtype(torch.float64)
N = 5


def exact(t):
    """Numbers that single precision holds, too."""
    return t.float().double()


def parameters(shapes):
    out = {}
    for name, shape in shapes.items():
        fan_in = torch.Size(shape[1:]).numel() if len(shape) > 1 else 4
        out[name] = exact((torch.rand(shape) * 2 - 1) * (3 / fan_in) ** 0.5).requires_grad_()
    return out


def mlp(p, x):
    x = torch.tanh(F.linear(x.flatten(1), p["dense1.weight"], p["dense1.bias"]))
    x = F.silu(F.linear(x, p["dense2.weight"], p["dense2.bias"]))
    return F.linear(x, p["dense3.weight"], p["dense3.bias"])[:, 0]


def conv(p, x):
    x = F.silu(F.conv2d(F.pad(x, (0, 1, 0, 1)), p["conv1.weight"], p["conv1.bias"], stride=2))
    x = F.softplus(F.conv2d(x, p["conv2.weight"], p["conv2.bias"], padding=1))
    x = F.elu(F.linear(x.flatten(1), p["dense1.weight"], p["dense1.bias"]))
    return F.linear(x, p["dense2.weight"], p["dense2.bias"])[:, 0]


NETWORKS = {
    "mlp": (mlp, [3, 1, 1], {
        "dense1.weight": [6, 3], "dense1.bias": [6],
        "dense2.weight": [5, 6], "dense2.bias": [5],
        "dense3.weight": [1, 5], "dense3.bias": [1],
    }),
    "conv": (conv, [2, 6, 5], {
        "conv1.weight": [4, 2, 3, 3], "conv1.bias": [4],
        "conv2.weight": [3, 4, 3, 3], "conv2.bias": [3],
        "dense1.weight": [5, 18], "dense1.bias": [5],
        "dense2.weight": [1, 5], "dense2.bias": [1],
    }),
}


def grad(y, x):
    return torch.autograd.grad(y.sum(), x, create_graph=True)[0].flatten(1)


def along(g, x, v):
    """v^T (d2E/dx2) v of each image, for probes v [image, probe, value]."""
    return torch.stack([(grad((g * v[:, k]).sum(), x) * v[:, k]).sum(1) for k in range(v.shape[1])], 1)


def trace(g, x):
    return torch.stack([grad(g[:, i], x)[:, i] for i in range(g.shape[1])], 1).sum(1)


def losses(net, x, level):
    """Name: what was drawn, and the two parts of each image's loss."""
    d = x[0].numel()
    signs = lambda k: torch.randint(0, 2, (N, k, d)) * 2.0 - 1
    energy_gradient = lambda y: grad(net(y), y)
    x.requires_grad_()
    g = energy_gradient(x)
    half = 0.5 * (g * g).sum(1)
    if d <= 16:
        yield "matching", None, half, -trace(g, x)
    else:
        v = signs(3)
        yield "matching", v, half, -along(g, x, v).mean(1)
    v = exact(torch.randn(N, 2, d))
    yield "sliced", v, 0.5 * torch.einsum("nd,nkd->nk", g, v).square().mean(1), -along(g, x, v).mean(1)
    v = signs(2)
    yield "sliced-reduced", v, half, -along(g, x, v).mean(1)
    n = exact(torch.randn(N, d))
    for name, levels in [("denoising", 1), ("denoising-ladder", 5), ("denoising-velocity", 5)]:
        sigma = torch.full((N, 1), 0.5)
        if levels > 1:
            rung = torch.floor(0.5 * (level + 1) * levels)
            sigma = (0.1 * (2.0 / 0.1) ** (rung / (levels - 1)))[:, None]
        image, weight = x.detach().flatten(1), sigma[:, 0] ** 2 if levels > 1 else 1.0
        blurred, target = image + sigma * n, n / sigma
        if name == "denoising-velocity":
            alpha, s, weight = 1 / (1 + sigma**2).sqrt(), sigma / (1 + sigma**2).sqrt(), 1.0
            blurred, target = alpha * image + s * n, alpha * n - s * image
        y = blurred.reshape(x.shape).requires_grad_()
        error = energy_gradient(y) - target
        yield name, n[:, None], weight * 0.5 * (error * error).sum(1), torch.zeros(N)


def main():
    tensors = {}
    for name, (forward, shape, shapes) in NETWORKS.items():
        p = parameters(shapes)
        x, level = exact(torch.rand(N, *shape) * 2 - 1), exact(torch.rand(N) * 2 - 1)
        tensors |= {f"{name}.{k}": v for k, v in p.items()}
        tensors |= {f"{name}.x": x.clone(), f"{name}.level": level}
        for objective, drawn, first, second in losses(lambda y: forward(p, y), x, level):
            loss = (first + second).mean()
            gradients = torch.autograd.grad(loss, list(p.values()), retain_graph=True, allow_unused=True)
            key = f"{name}.{objective}"
            if drawn is not None:
                tensors[f"{key}.drawn"] = drawn
            tensors[f"{key}.loss"] = torch.stack([loss, first.mean(), second.mean()])
            for (k, v), g in zip(p.items(), gradients):
                tensors[f"{key}.grad.{k}"] = torch.zeros_like(v) if g is None else g
    header, data = {}, b""
    for k, v in tensors.items():
        part = v.detach().float().contiguous().numpy().tobytes()
        header[k] = {"dtype": "F32", "shape": list(v.shape), "data_offsets": [len(data), len(data) + len(part)]}
        data += part
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    with open(os.path.join(os.path.dirname(__file__), "score.safetensors"), "wb") as f:
        f.write(struct.pack("<Q", len(text)) + text + data)


main()
