"""Trains classifier.safetensors, the small network that `thalweg evaluate` looks at digits with, and writes what the
tests hold it against. Needs PyTorch and NumPy; takes some minutes on two CPU cores.

Usage: python3 make_classifier.py DIR [OUT.safetensors [GOLDEN.safetensors]]

DIR holds MNIST's four IDX files, gzipped. It learns from the last 50,000 training images: the first 10,000 ship with the
program as `digits`, and so stay unseen, as the test images do. Images are as a model of 32x32 pixels has them: bytes
scaled to [-1, 1] and padded with -1 on all sides.
"""

import gzip
import json
import pathlib
import struct
import sys

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

SHIPPED, HELD_OUT = 10_000, 1_000  # digits that ship with the program; the last of them are held out
EPOCHS, BATCH, RATE = 12, 128, 2e-3


def idx(folder, name):
    with gzip.open(folder / f"{name}-ubyte.gz") as file:
        data = file.read()
    sizes = struct.unpack(f">{data[3]}I", data[4 : 4 + 4 * data[3]])
    return torch.from_numpy(np.frombuffer(data, np.uint8, offset=4 + 4 * data[3]).reshape(sizes).copy())


def images(bytes_):
    return F.pad((bytes_[:, None].float() - 127.5) / 127.5, (2, 2, 2, 2), value=-1.0)


class Classifier(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv1 = nn.Conv2d(1, 16, 3, stride=2, padding=1)
        self.conv2 = nn.Conv2d(16, 32, 3, stride=2, padding=1)
        self.conv3 = nn.Conv2d(32, 64, 3, stride=2, padding=1)
        self.dense1 = nn.Linear(64 * 4 * 4, 64)
        self.dense2 = nn.Linear(64, 10)

    def features(self, x, drop=0.0):
        for conv in (self.conv1, self.conv2, self.conv3):
            x = F.silu(conv(x))
        x = F.dropout(x.flatten(1), drop)
        return F.silu(self.dense1(x))

    def forward(self, x, drop=0.0):
        return self.dense2(F.dropout(self.features(x, drop), drop))


def augmented(x):
    """Turned by up to 10 degrees, scaled by up to a tenth, moved by up to 2 pixels, with a little noise."""
    n = len(x)
    uniform = lambda reach: (2 * torch.rand(n) - 1) * reach
    angle, scale, dx, dy = uniform(np.pi / 18), 1 + uniform(0.1), uniform(2 / 16), uniform(2 / 16)
    cos, sin = torch.cos(angle) * scale, torch.sin(angle) * scale
    theta = torch.stack([torch.stack([cos, -sin, dx], 1), torch.stack([sin, cos, dy], 1)], 1)
    grid = F.affine_grid(theta, x.shape, align_corners=False)
    moved = F.grid_sample(x + 1, grid, align_corners=False) - 1  # what comes in from outside is black
    return (moved + 0.05 * torch.rand(n, 1, 1, 1) * torch.randn_like(x)).clamp(-1, 1)


@torch.no_grad()
def accuracy(model, x, labels):
    guesses = torch.cat([model(batch).argmax(1) for batch in x.split(1000)])
    return (guesses == labels).float().mean().item()


def save(path, tensors, note):
    header, data = {"__metadata__": {"made_with": note}}, b""
    for name, tensor in sorted(tensors.items()):
        bytes_ = tensor.detach().contiguous().float().numpy().astype("<f4").tobytes()
        offsets = [len(data), len(data) + len(bytes_)]
        header[name] = {"dtype": "F32", "shape": list(tensor.shape), "data_offsets": offsets}
        data += bytes_
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    pathlib.Path(path).write_bytes(struct.pack("<Q", len(text)) + text + data)


def main():
    folder, here = pathlib.Path(sys.argv[1]), pathlib.Path(__file__).parent
    out = sys.argv[2] if len(sys.argv) > 2 else here / "classifier.safetensors"
    golden = sys.argv[3] if len(sys.argv) > 3 else here.parent / "tests/golden/classifier.safetensors"
    torch.manual_seed(0)
    x, y = images(idx(folder, "train-images-idx3")), idx(folder, "train-labels-idx1").long()
    x_test, y_test = images(idx(folder, "t10k-images-idx3")), idx(folder, "t10k-labels-idx1").long()
    x_shipped, y_shipped = x[:SHIPPED], y[:SHIPPED]
    x, y = x[SHIPPED:], y[SHIPPED:]

    model = Classifier()
    adam = torch.optim.AdamW(model.parameters(), weight_decay=1e-2)
    steps = EPOCHS * (len(x) // BATCH)
    schedule = torch.optim.lr_scheduler.OneCycleLR(adam, RATE, total_steps=steps)
    for epoch in range(EPOCHS):
        order = torch.randperm(len(x))[: len(x) // BATCH * BATCH]
        for batch in order.view(-1, BATCH):
            loss = F.cross_entropy(model(augmented(x[batch]), drop=0.1), y[batch])
            adam.zero_grad()
            loss.backward()
            adam.step()
            schedule.step()
        print(f"epoch {epoch + 1}: loss {loss:.4f}, test accuracy {accuracy(model, x_test, y_test):.4f}", flush=True)
    figures = f"test accuracy {accuracy(model, x_test, y_test):.4f}, of shipped digits {accuracy(model, x_shipped, y_shipped):.4f}"
    print(figures)
    note = f"PyTorch {torch.__version__}, assets/make_classifier.py; {figures}"
    save(out, model.state_dict(), note)

    # What the tests hold the engine against: in double precision, of digits and of noise, and the held-out labels.
    x = torch.cat([x_shipped[-HELD_OUT:][:6], 2 * torch.rand(2, 1, 32, 32) - 1])
    model.double()
    with torch.no_grad():
        tensors = {"images": x, "features": model.features(x.double()), "logits": model(x.double())}
    tensors["labels"] = y_shipped[-HELD_OUT:]
    save(golden, tensors, f"PyTorch {torch.__version__} float64, assets/make_classifier.py")


if __name__ == "__main__":
    main()
