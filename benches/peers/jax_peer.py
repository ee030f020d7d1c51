"""R1 in JAX: `jax_peer.py slices` (each convolution as nine slices and one matmul: fast on a CPU) or `jax_peer.py conv`."""

import sys

import common as c
import jax
import jax.numpy as jnp

SLICES = sys.argv[1:] != ["conv"]


def convert(p):
    """PyTorch's layouts to [ky, kx, in, out], the dense layer to (y, x, channel)."""
    p = {name: jnp.asarray(t.transpose(2, 3, 1, 0) if t.ndim == 4 else t) for name, t in p.items()}
    p["dense1.weight"] = p["dense1.weight"].reshape(64, 2, 2).transpose(1, 2, 0).reshape(256, 1)
    return p


def conv(x, w):
    if not SLICES:
        return jax.lax.conv_general_dilated(x, w, (2, 2), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC"))
    n, side = x.shape[0], x.shape[1]
    padded = jnp.pad(x, ((0, 0), (0, 1), (0, 1), (0, 0)))
    taps = [padded[:, ky : ky + side : 2, kx : kx + side : 2] for ky in range(3) for kx in range(3)]
    columns = jnp.concatenate(taps, -1).reshape(n * side * side // 4, -1)
    return (columns @ w.reshape(-1, w.shape[3])).reshape(n, side // 2, side // 2, -1)


def energy(p, x):
    for i in range(1, 5):
        x = jax.nn.silu(conv(x, p[f"conv{i}.weight"]) + p[f"conv{i}.bias"])
    return x.reshape(len(x), 256) @ p["dense1.weight"] + p["dense1.bias"]


gradient = jax.grad(lambda x, p: energy(p, x).sum())


@jax.jit
def step(p, x, key):
    key, use = jax.random.split(key)
    x = jnp.clip(x + c.NOISE * jax.random.normal(use, x.shape), -1, 1)
    x = x - c.STEP_SIZE * jnp.clip(gradient(x, p), -c.CLIP, c.CLIP)
    return jnp.clip(x, -1, 1), key


def refine(p, x, key, steps):
    for _ in range(steps):  # inside a fori_loop, XLA's convolutions take twice as long on two threads
        x, key = step(p, x, key)
    return x, key


def loss(p, real, fake):
    e_real, e_fake = jnp.split(energy(p, jnp.concatenate([real, fake])), 2)
    return e_real.mean() - e_fake.mean() + c.ALPHA * (e_real**2 + e_fake**2).mean()


@jax.jit
def update(p, m, v, t, real, fake, key):
    real = jnp.clip(real + c.NOISE * jax.random.normal(key, real.shape), -1, 1)
    value, g = jax.value_and_grad(loss)(p, real, fake)
    m = jax.tree.map(lambda m, g: 0.9 * m + 0.1 * g, m, g)
    v = jax.tree.map(lambda v, g: 0.999 * v + 0.001 * g * g, v, g)
    rate = c.LEARNING_RATE * jnp.sqrt(1 - 0.999**t) / (1 - 0.9**t)
    p = jax.tree.map(lambda p, m, v: p - rate * m / (jnp.sqrt(v) + c.EPSILON), p, m, v)
    return p, m, v, value


class Peer:
    def __init__(self):
        self.p = convert(c.parameters())
        self.m = jax.tree.map(jnp.zeros_like, self.p)
        self.v = jax.tree.map(jnp.zeros_like, self.p)
        self.t = 0
        self.key = jax.random.key(1, impl="rbg")  # cheaper than threefry
        self.replay = c.Replay((32, 32, 1))
        self.images = jnp.asarray(self.replay.uniform(c.BATCH))

    def chain(self, steps):
        self.images, self.key = refine(self.p, self.images, self.key, steps)
        self.images.block_until_ready()

    def train(self):
        self.t += 1
        fake, self.key = refine(self.p, jnp.asarray(self.replay.draw()), self.key, c.CHAIN)
        self.key, use = jax.random.split(self.key)
        real = self.replay.real()
        self.p, self.m, self.v, value = update(self.p, self.m, self.v, float(self.t), real, fake, use)
        self.replay.store(fake)
        return float(value)


if __name__ == "__main__":
    name = "JAX, nine slices and a matmul" if SLICES else "JAX, lax.conv"
    peer = Peer()
    golden_gradient = lambda x: gradient(jnp.asarray(x.transpose(0, 2, 3, 1)), convert(c.parameters()))
    c.measure(name, jax.__version__, peer.train, peer.chain, golden_gradient)
