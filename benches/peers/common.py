"""What every peer shares: recipe R1's numbers, the digits, the golden gradient, and the measurement itself."""

import gzip
import json
import os
import statistics
import struct
import sys
import time
from pathlib import Path

STARTED = float(os.environ.get("PEER_START") or time.time())  # paired.py says when it started the process

import numpy as np  # noqa: E402: its import is part of the cold start

ROOT = Path(__file__).resolve().parents[2]
BATCH, CHAIN, STEP_SIZE, NOISE, CLIP, ALPHA, FRESH = 128, 100, 10.0, 0.005, 0.03, 0.1, 0.05
LEARNING_RATE, EPSILON, CAPACITY = 1e-4, 1e-7, 8192
CHANNELS = [1, 16, 32, 64, 64]
THREADS = 2
TIMED_STEPS, RUNS, TRAINING_RUNS = 10, 9, 3


def golden():
    """The tensors of tests/golden/mnist-small.safetensors, by name."""
    data = (ROOT / "tests/golden/mnist-small.safetensors").read_bytes()
    (n,) = struct.unpack("<Q", data[:8])
    header = json.loads(data[8 : 8 + n])
    header.pop("__metadata__", None)
    tensor = lambda t: np.frombuffer(data[8 + n :][slice(*t["data_offsets"])], "<f4").reshape(t["shape"])
    return {name: tensor(t) for name, t in header.items()}


def parameters():
    """The golden network's weights, in PyTorch's names and layouts: as good a start as any."""
    names = [f"{layer}.{part}" for layer in ("conv1", "conv2", "conv3", "conv4", "dense1") for part in ("weight", "bias")]
    tensors = golden()
    return {name: tensors[name].copy() for name in names}


def digits():
    """The shipped digits as (10000, 32, 32), in [-1, 1], padded with -1."""
    raw = gzip.decompress((ROOT / "assets/digits.idx3-ubyte.gz").read_bytes())
    bytes_ = np.frombuffer(raw, np.uint8, offset=16).reshape(-1, 28, 28)
    return np.pad((bytes_.astype(np.float32) - 127.5) / 127.5, ((0, 0), (2, 2), (2, 2)), constant_values=-1)


class Replay:
    """R1's replay buffer: newest chains in front, 5 % of each draw fresh noise."""

    def __init__(self, shape):
        self.rng = np.random.default_rng(1)
        self.shape = shape
        self.images = self.uniform(BATCH)
        self.digits = digits().reshape(-1, *shape)

    def uniform(self, n):
        return self.rng.uniform(-1, 1, (n, *self.shape)).astype(np.float32)

    def real(self):
        return self.digits[self.rng.integers(0, len(self.digits), BATCH)]

    def draw(self):
        n_new = self.rng.binomial(BATCH, FRESH)
        old = self.images[self.rng.integers(0, len(self.images), BATCH - n_new)]
        return np.concatenate([self.uniform(n_new), old])

    def store(self, refined):
        self.images = np.concatenate([np.asarray(refined), self.images])[:CAPACITY]


def measure(name, version, train, chain, gradient, tolerance=1e-3):
    """Measures a peer, checks its gradient and prints one line of JSON.

    `train()` does one training step, `chain(n)` n Langevin steps on 128 images; both return when all is computed.
    `gradient(x)` is dE/dx of (5, 1, 32, 32) images for the weights of `parameters()`, which must not have changed.
    """
    train()
    cold_start_s = time.time() - STARTED

    def median_ms(work, runs):
        times = []
        for _ in range(runs):
            start = time.perf_counter()
            work()
            times.append((time.perf_counter() - start) * 1e3)
        return statistics.median(times)

    training_step_ms = median_ms(train, TRAINING_RUNS)
    chain(TIMED_STEPS)  # warms up
    langevin_step_ms = median_ms(lambda: chain(TIMED_STEPS), RUNS) / TIMED_STEPS

    expected = golden()["input_grad.real"]
    got = np.asarray(gradient(golden()["real"]), np.float32).reshape(expected.shape)
    error = float(np.abs(got - expected).max() / np.abs(expected).max())
    if not error <= tolerance:
        sys.exit(f"{name}: its dE/dx is off by {error:.1e} of the greatest element; {tolerance} is allowed")
    print(
        json.dumps(
            {
                "name": name,
                "version": version,
                "langevin_step_ms": langevin_step_ms,
                "training_step_ms": training_step_ms,
                "cold_start_s": cold_start_s,
                "gradient_error": error,
            }
        ),
        flush=True,
    )
