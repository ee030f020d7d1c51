"""Writes objectives.safetensors: every objective by PyTorch's autograd, in double precision, on fixed images and fixed
noise. The objectives that fit the score are given their noise; a training step with chains draws its own, as the engine's
random numbers are a function of the seed, and src/kernels/random.rs says which. tests/golden_objectives.rs holds the
engine against it.

    python tests/golden/objectives.py      # needs torch, and nothing else
"""

import json
import math
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


# ---- objectives that fit the score


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


# ---- a training step with chains

# The second and last step of an epoch of 8 images: 3 of a batch of 5 are real.
SEED, STEP, N_IMAGES, N_REAL, CHAIN_STEPS = 0x0123456789ABCDEF, 3, 8, 3, 3
EPOCH, POSITION = 1, 5
RING = 7
FRESH_START, START_CHOICE, LANGEVIN, DATA_NOISE, PERMUTATION, ACCEPT, SUBSETS, COPY_NOISE = 2, 3, 4, 5, 6, 11, 12, 13


def philox(stream, quad, image, chain_step=0, step=None):
    """Philox4x32-10 (Salmon, Moraes, Dror and Shaw 2011)."""
    step = STEP if step is None else step
    c, key, low = [stream << 24 | quad, image, chain_step, step], [SEED & 0xFFFFFFFF, SEED >> 32], 0xFFFFFFFF
    for _ in range(10):
        p, q = 0xD2511F53 * c[0], 0xCD9E8D57 * c[2]
        c = [q >> 32 ^ c[1] ^ key[0], q & low, p >> 32 ^ c[3] ^ key[1], p & low]
        key = [key[0] + 0x9E3779B9 & low, key[1] + 0xBB67AE85 & low]
    return c


def box_muller(a, b):
    """The lowest bit of b is the cosine's sign, its upper 23 an angle from -1/4 to 1/4 of a turn."""
    radius = math.sqrt(-2 * math.log(1 - (a >> 9) / 2**23))
    angle = math.pi * ((b >> 9) / 2**23 - 0.5)
    return [math.cos(angle) * radius * (-1) ** (b & 1), math.sin(angle) * radius]


def normals(stream, image, shape, chain_step=0):
    """Standard normal numbers of an image: four channels, or pixels, of each draw."""
    c, h, w = shape
    words = [philox(stream, quad, image, chain_step) for quad in range((c * h * w + 3) // 4)]
    values = [v for a in words for v in box_muller(*a[:2]) + box_muller(*a[2:])]
    return torch.tensor(values[: c * h * w]).reshape(h, w, c).permute(2, 0, 1)


def uniforms(stream, image, shape):
    c, h, w = shape
    values = [(v >> 8) / 2**23 - 1 for quad in range((c * h * w + 3) // 4) for v in philox(stream, quad, image)]
    return torch.tensor(values[: c * h * w]).reshape(h, w, c).permute(2, 0, 1)


def permute(stream, index, n, number):
    """A Feistel network that is walked until it lands below n (Black and Rogaway 2002)."""
    half = (max((n - 1).bit_length(), 2) + 1) // 2
    keys = philox(stream, 0, 0, 0, number) + philox(stream, 0, 1, 0, number)

    def mix(v):
        v = (v ^ v >> 16) * 0x7FEB352D & 0xFFFFFFFF
        v = (v ^ v >> 15) * 0x846CA68B & 0xFFFFFFFF
        return v ^ v >> 16

    while True:
        left, right = index >> half, index & (1 << half) - 1
        for key in keys:
            left, right = right, left ^ mix(right ^ key) & (1 << half) - 1
        index = left << half | right
        if index < n:
            return index


NUMBERS = dict(
    starts="replay", fresh=0.0, start="uniform", scale=1.0, data_noise=0.05, form="noise-last", step_size=0.2, noise=0.05,
    temperature=0.5, clip=math.inf, clamp=math.inf, alpha=0.1, square=False, smoothness=0.0, smoothness_noise=0.1,
    weight_l2=0.0,
)
CONTRASTIVE = {
    "replay": dict(form="noise-first", step_size=2.0, fresh=0.3, clip=0.1, clamp=1.0),
    "replay-square": dict(fresh=0.3, clamp=1.0, alpha=0.01, square=True),
    "cd": dict(starts="noise", start="normal", scale=0.5, form="theory", alpha=0.0, weight_l2=0.01),
    "cd-data": dict(starts="data", form="noise-first", clip=0.3, clamp=0.9),
    "pcd": dict(starts="persistent", fresh=0.2, form="theory", smoothness=20.0),
    "pcd-mala": dict(starts="persistent", form="mala", step_size=0.5, temperature=0.02, clip=0.3, clamp=1.2),
    "all": dict(fresh=0.3, clip=0.3, clamp=1.0, square=True, smoothness=20.0, weight_l2=0.01),
}


def starts(s, real, ring):
    if s["starts"] == "data":
        return torch.stack([real[i % N_REAL] for i in range(N)])
    images = []
    for i in range(N):
        choice, shape = philox(START_CHOICE, 0, i), real.shape[1:]
        if s["starts"] == "noise" or (choice[0] >> 8) / 2**24 < s["fresh"]:
            noise = (normals if s["start"] == "normal" else uniforms)(FRESH_START, i, shape)
            images.append((s["scale"] * noise).clamp(-s["clamp"], s["clamp"]))
        else:
            persistent = s["starts"] == "persistent"
            images.append(ring[permute(SUBSETS, i, RING, STEP) if persistent else choice[1] * RING >> 32])
    return torch.stack(images)


def chain(s, net, x):
    """Returns where the chains end, and the share of accepted proposals."""
    noises = [torch.stack([normals(LANGEVIN, i, x.shape[1:], k) for i in range(N)]) for k in range(CHAIN_STEPS)]
    clamp, accepted = lambda y: y.clamp(-s["clamp"], s["clamp"]), 0
    theory = s["form"] in ("theory", "mala")
    drift, scale = s["step_size"], s["noise"]
    if theory:
        drift, scale = s["step_size"] / 2, math.sqrt(s["step_size"] * s["temperature"])

    def slope(y):
        y = y.detach().requires_grad_()
        return torch.autograd.grad(net(y).sum(), y)[0].clamp(-s["clip"], s["clip"])

    def proposal(y):
        return -((y[1] - y[0] + drift * slope(y[0])) ** 2).flatten(1).sum(1) / (2 * scale**2)

    for k, noise in enumerate(noises):
        x = x.detach()
        if s["form"] == "noise-first":
            x = clamp(x + scale * noise)
            x = clamp(x - drift * slope(x))
        elif s["form"] == "mala":
            y = x - drift * slope(x) + scale * noise
            ratio = (net(x) - net(y)) / s["temperature"] + proposal((y, x)) - proposal((x, y))
            u = torch.tensor([((philox(ACCEPT, 0, i, k)[0] >> 8) + 1) / 2**24 for i in range(N)])
            takes = (u.log() <= ratio) & (y.abs() <= s["clamp"]).flatten(1).all(1)
            accepted += takes.sum().item()
            x = torch.where(takes[:, None, None, None], y, x)
        else:
            x = clamp(x - drift * slope(x) + scale * noise)
    return x.detach(), accepted / (N * CHAIN_STEPS)


def contrastive(s, forward, p, data, ring):
    """Returns the loss; its two parts, mean energies and share of accepted proposals; and where chains end."""
    net, shape = lambda y: forward(p, y), data.shape[1:]
    ixs = [permute(PERMUTATION, POSITION + i, N_IMAGES, EPOCH) for i in range(N_REAL)]
    real = torch.stack([data[ix] + s["data_noise"] * normals(DATA_NOISE, i, shape) for i, ix in enumerate(ixs)])
    ends, accepted = chain(s, net, starts(s, real, ring))
    e_real, e_fake = net(real), net(ends)
    if s["square"]:
        penalty = s["alpha"] * (e_real.mean() ** 2 + e_fake.mean() ** 2)
    else:
        penalty = s["alpha"] * ((e_real**2).mean() + (e_fake**2).mean())
    near = torch.stack([real[i] + s["smoothness_noise"] * normals(COPY_NOISE, i, shape) for i in range(N_REAL)])
    penalty = penalty + s["smoothness"] * ((net(near) - e_real) ** 2).mean()
    penalty = penalty + s["weight_l2"] * sum((v**2).sum() for v in p.values())
    divergence = e_real.mean() - e_fake.mean()
    loss = divergence + penalty
    return loss, torch.stack([loss, divergence, penalty, e_real.mean(), e_fake.mean(), torch.tensor(accepted)]), ends


# ---- a training step that tells data from noise

# Name: weight of the constant for energy discrepancy, and how many negatives an image has.
AROUND_NOISE, CONTRAST_NOISE, AROUND = 25, 26, 0.4
NOISE = {"discrepancy": (1.0, 3), "discrepancy-bare": (0.0, 2), "nce": (None, 3)}


def gaussian(d):
    """Mean, factor of the covariance, its inverse, and the logarithm of the density's norm, as single precision has them."""
    factor = exact(torch.randn(d, d).tril(-1) * 0.3 / d**0.5 + torch.diag(torch.rand(d) + 0.5))
    norm = 0.5 * d * math.log(2 * math.pi) + factor.diagonal().log().sum()
    return exact(torch.randn(d) * 0.3), factor, exact(torch.inverse(factor)), exact(norm)


def flat(x):
    """Images in the engine's order of values: channels of a pixel side by side."""
    return x.permute(0, 2, 3, 1).flatten(1)


def noise_step(weight, n_negatives, net, data, base):
    """Returns the loss, and the mean energies of data and of negatives."""
    shape, n = data.shape[1:], N_REAL
    ixs = [permute(PERMUTATION, POSITION + i, N_IMAGES, EPOCH) for i in range(n)]
    real = torch.stack([data[ix] + 0.05 * normals(DATA_NOISE, i, shape) for i, ix in enumerate(ixs)])
    e = net(real)
    if weight is None:
        mean, factor, inverse, norm = base
        log_noise = lambda x: -0.5 * (((flat(x) - mean) @ inverse.T) ** 2).sum(1) - norm
        draw = lambda i, j: mean + factor @ normals(CONTRAST_NOISE, i, shape, j).permute(1, 2, 0).flatten()
        c, h, w = shape
        negatives = torch.stack([draw(i, j) for i in range(n) for j in range(n_negatives)])
        negatives = negatives.reshape(-1, h, w, c).permute(0, 3, 1, 2)
        logit = lambda x: -net(x) - log_noise(x) - math.log(n_negatives)
        loss = F.softplus(-logit(real)).mean() + F.softplus(logit(negatives)).sum() / n
        return loss, e.mean(), net(negatives).mean()
    step = AROUND
    around = lambda i, j: real[i] + step * (normals(AROUND_NOISE, i, shape) + normals(AROUND_NOISE, i, shape, 1 + j))
    negatives = torch.stack([torch.stack([around(i, j) for j in range(n_negatives)]) for i in range(n)])
    e_negative = net(negatives.flatten(0, 1)).reshape(n, n_negatives)
    terms = (e[:, None] - e_negative).exp()
    return ((weight + terms.sum(1)) / n_negatives).log().mean(), e.mean(), e_negative.mean()


# ---- training steps with a pool of annealed chains

# Three steps, of 3, 5 and 3 data images. Chains 0 and 1 of the pool never restart; one of the batch is such a chain.
ANNEALED = dict(
    steps=3, pool=9, long=2, long_batch=1, restart=0.6, levels=6, noise=3.0, noise_end=0.5, step_size=0.05,
    stay_step_size=0.1, weight=0.7, alpha=0.01, below=2.0, dsm=0.5, sigma=0.25, sigma_max=3.0, rungs=5, from_noise=0.4,
    rate=1e-3, beta2=0.99, epsilon=1e-8, decay=0.07,
)
SCORE_NOISE, SCORE_LEVEL, POOL_NOISE = 15, 16, 24


def sigma_at(s, level):
    return s["noise"] * (s["noise_end"] / s["noise"]) ** (min(level, s["levels"]) / s["levels"])


def blur(x, sigma, n):
    alpha = 1 / math.sqrt(1 + sigma**2)
    return alpha * x + sigma * alpha * n, alpha * n - sigma * alpha * x


def annealed_chain(s, net, x, levels):
    """Moves each chain through the levels from its own on."""
    for k in range(s["steps"]):
        y = x.detach().requires_grad_()
        g = torch.autograd.grad(net(y).sum(), y)[0]
        moved = []
        for i, level in enumerate(levels):
            now, then = sigma_at(s, level + k), sigma_at(s, level + k + 1)
            h = s["stay_step_size"] if level + k >= s["levels"] else s["step_size"]
            a, b = 1 / math.sqrt(1 + now**2), 1 / math.sqrt(1 + then**2)
            image, noise = a * y[i] - now * a * g[i], now * a * y[i] + a * g[i]
            fresh = normals(LANGEVIN, i, x.shape[1:], k)
            moved.append(b * image + then * b * (math.sqrt(1 - 2 * h) * noise + math.sqrt(2 * h) * fresh))
        x = torch.stack(moved).detach()
    return x


def annealed(s, forward, p, data, pool, levels):
    """One training step: returns the loss, its parts, and the pool after it."""
    net, shape = lambda y: forward(p, y), data.shape[1:]
    position, epoch = STEP % 2 * N, STEP // 2
    n = min(N, N_IMAGES - position)
    real = torch.stack([data[permute(PERMUTATION, position + i, N_IMAGES, epoch)] for i in range(n)])
    slots, begins, starts = [], [], []
    for i in range(N):
        long = i < s["long_batch"]
        slot = permute(SUBSETS, i, s["long"], STEP) if long else (
            s["long"] + permute(SUBSETS, i - s["long_batch"], s["pool"] - s["long"], STEP))
        coin = (philox(START_CHOICE, 0, i, step=STEP)[0] >> 8) / 2**24
        restarts = slot >= s["long"] and levels[slot] >= s["levels"] and coin < s["restart"]
        slots.append(slot)
        begins.append(0 if restarts else levels[slot])
        starts.append(normals(FRESH_START, i, shape) if restarts else pool[slot])
    ends = annealed_chain(s, net, torch.stack(starts), begins)
    there = [min(level + s["steps"], s["levels"]) for level in begins]
    blurred = [blur(real[i], sigma_at(s, there[i]), normals(POOL_NOISE, i, shape))[0] for i in range(n)]
    e_data, e_chain = net(torch.stack(blurred)), net(ends[:n])
    counts = torch.tensor([float(sigma_at(s, level) <= s["below"]) for level in there[:n]])
    divergence = (counts * (e_data - e_chain)).sum() / n
    penalty = s["alpha"] * (counts * (e_data**2 + e_chain**2)).sum() / n
    noised, targets = [], []
    for i in range(n):
        level = (philox(SCORE_LEVEL, 0, i, step=STEP)[0] >> 8) / 2**23 - 1
        rung, noise = min(int(0.5 * (level + 1) * s["rungs"]), s["rungs"] - 1), normals(SCORE_NOISE, i, shape)
        sigma = s["sigma"] * (s["sigma_max"] / s["sigma"]) ** (rung / (s["rungs"] - 1))
        x, target = (noise, -s["from_noise"] * real[i]) if rung == s["rungs"] - 1 else blur(real[i], sigma, noise)
        noised.append(x)
        targets.append(target)
    y = torch.stack(noised).requires_grad_()
    denoising = s["dsm"] * 0.5 * ((grad(net(y), y) - torch.stack(targets).flatten(1)) ** 2).sum(1).mean()
    loss = s["weight"] * divergence + penalty + denoising
    pool, levels = pool.clone(), list(levels)
    for i, slot in enumerate(slots):
        pool[slot], levels[slot] = ends[i], there[i]
    some = counts.sum().clamp(min=1)
    parts = [loss, divergence, penalty, (counts * e_data).sum() / some, (counts * e_chain).sum() / some, denoising]
    return loss, torch.stack(parts), pool, levels


def annealed_steps(s, forward, p, data, pool, key):
    """Three training steps with AdamW, beta1 = 0."""
    global STEP
    tensors, levels = {}, [6, 2, 0, 3, 6, 6, 1, 5, 6]
    p = {k: v.detach().clone().requires_grad_() for k, v in p.items()}
    v = {k: torch.zeros_like(value) for k, value in p.items()}
    for step in range(3, 6):
        STEP = step
        loss, parts, pool, levels = annealed(s, forward, p, data, pool, levels)
        gradients = torch.autograd.grad(loss, list(p.values()), allow_unused=True)
        tensors |= {f"{key}.{step}.loss": parts, f"{key}.{step}.pool": pool, f"{key}.{step}.levels": torch.tensor(levels)}
        for (k, value), g in zip(p.items(), gradients):
            g = torch.zeros_like(value) if g is None else g
            tensors[f"{key}.{step}.grad.{k}"] = g
            v[k] = s["beta2"] * v[k] + (1 - s["beta2"]) * g**2
            root = (v[k] / (1 - s["beta2"] ** (step + 1))).sqrt() + s["epsilon"]
            p[k] = ((1 - s["rate"] * s["decay"]) * value - s["rate"] * g / root).detach().requires_grad_()
    STEP = 3
    return tensors


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
    for name, (forward, shape, shapes) in NETWORKS.items():
        p = {k: tensors[f"{name}.{k}"] for k in shapes}
        data, ring = [exact(torch.rand(n, *shape) * 2 - 1) for n in (N_IMAGES, RING)]
        tensors |= {f"{name}.data": data, f"{name}.ring": ring}
        for objective, numbers in CONTRASTIVE.items():
            numbers = {k: exact(torch.tensor(v)).item() if type(v) is float else v for k, v in (NUMBERS | numbers).items()}
            loss, metrics, ends = contrastive(numbers, forward, p, data, ring)
            key = f"{name}.{objective}"
            tensors |= {f"{key}.loss": metrics, f"{key}.ends": ends}
            for k, g in zip(p, torch.autograd.grad(loss, list(p.values()))):
                tensors[f"{key}.grad.{k}"] = g
    for name, (forward, shape, shapes) in NETWORKS.items():
        p, pool = {k: tensors[f"{name}.{k}"] for k in shapes}, exact(torch.randn(ANNEALED["pool"], *shape))
        tensors[f"{name}.pool"] = pool
        exactly = {k: exact(torch.tensor(v)).item() if type(v) is float else v for k, v in ANNEALED.items()}
        tensors |= annealed_steps(exactly, forward, p, tensors[f"{name}.data"], pool, f"{name}.annealed")
    for name, (forward, shape, shapes) in NETWORKS.items():
        p, base = {k: tensors[f"{name}.{k}"] for k in shapes}, gaussian(torch.Size(shape).numel())
        tensors[f"{name}.gaussian"] = torch.cat([part.flatten() for part in base])
        for objective, (weight, n_negatives) in NOISE.items():
            loss, real, fake = noise_step(weight, n_negatives, lambda y: forward(p, y), tensors[f"{name}.data"], base)
            gradients = torch.autograd.grad(loss, list(p.values()), allow_unused=True)
            key = f"{name}.{objective}"
            tensors[f"{key}.loss"] = torch.stack([loss, loss, torch.zeros(()), real, fake])
            for (k, v), g in zip(p.items(), gradients):
                is_level = weight is not None and k == list(p)[-1]  # whose sum of gradients is 0 but for rounding
                tensors[f"{key}.grad.{k}"] = torch.zeros_like(v) if g is None or is_level else g
    header, data = {}, b""
    for k, v in tensors.items():
        part = v.detach().float().contiguous().numpy().tobytes()
        header[k] = {"dtype": "F32", "shape": list(v.shape), "data_offsets": [len(data), len(data) + len(part)]}
        data += part
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    with open(os.path.join(os.path.dirname(__file__), "objectives.safetensors"), "wb") as f:
        f.write(struct.pack("<Q", len(text)) + text + data)


main()
