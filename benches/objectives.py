#!/usr/bin/env python3
"""Every objective on toy sets: `objectives.py [OUT [SEEDS [STEPS]]]`.

Trains a network of two hidden layers of 64 (swish) by each objective on each set, once a seed (3), for STEPS (2,000) of 128
points, and lets each run measure itself: sliced Wasserstein distance of 5,000 samples (200 Langevin steps from uniform noise
on the box), AUC of the energy against uniform noise, share of the samples in each mode. Prints tables of means with the lowest
and the highest, and writes them (OUT/tables.md) and a picture of the first seed's energies with samples (OUT/objectives.png: a
row for each set, a column for each objective in the tables' order). A run that is there already is kept, so that one that was
stopped can go on. Needs `cargo build --release`, and nothing beside Python.
"""

import json
import os
import struct
import subprocess
import sys
import zlib
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
THALWEG = os.environ.get("THALWEG", ROOT / "target/release/thalweg")
SETS = ["five-gaussians", "8-gaussians", "checkerboard", "rings"]
OBJECTIVES = {
    "cd": ["cd.start=data"],
    "pcd": [],
    "replay": [],
    "score-matching": [],
    "sliced-score-matching": [],
    "denoising-score-matching": [],
    "energy-discrepancy": [],
    "nce": [],
}
NETWORK = """preset = "mlp"
[network]
name = "small"
input = [2, 1, 1]
initialisation = "pytorch"
layers = [{ dense = 64, activation = "swish" }, { dense = 64, activation = "swish" }, { dense = 1 }]
[adam]
learning_rate = 3e-3
"""


def train(out, name, objective, seed, steps):
    folder = out / f"{name}-{objective}-{seed}"
    config = out / "network.toml"
    config.write_text(NETWORK)
    if not (folder / "figures.json").exists():
        settings = [f"objective={objective}", *OBJECTIVES[objective]]
        command = [THALWEG, "train", "--config", config, "--data", name, "--device", "cpu", "--seed", str(seed)]
        command += ["--steps", str(steps), "--out", folder, "--quiet", "--overwrite"]
        command += [part for setting in settings for part in ("--set", setting)]
        done = subprocess.run(command, capture_output=True, text=True)
        if done.returncode:
            print(f"{folder.name}: {done.stderr.strip()}", file=sys.stderr)
    try:
        last = json.loads((folder / "figures.json").read_text())[-1]
    except (OSError, IndexError):
        return None
    return last["figures"] if last["step"] == steps else None


def cell(values):
    """Mean, lowest and highest."""
    values = [value for value in values if value is not None]
    if not values:
        return "failed"
    text = [f"{v:.3f}".removeprefix("0") for v in (sum(values) / len(values), min(values), max(values))]
    return f"{text[0]} ({text[1]} to {text[2]})"


def share(run):
    """Of a mixture, the rarest mode's share of the samples, as a part of what it should be."""
    coverage = run and run["coverage"]
    return coverage and min(coverage["shares"]) * len(coverage["shares"])


def tables(runs):
    def table(title, figure, sets, truth):
        lines = [f"**{title}**", "", "| objective | " + " | ".join(sets) + " |", "| --- |" + " --- |" * len(sets)]
        for objective in OBJECTIVES:
            cells = [cell([figure(run) for run in runs[name, objective]]) for name in sets]
            lines.append(f"| `{objective}` | " + " | ".join(cells) + " |")
        every = lambda name: [run for o in OBJECTIVES for run in runs[name, o] if run]
        best = [cell([truth(run) for run in every(name)]) if every(name) else "" for name in sets]
        return [*lines, "| the truth | " + " | ".join(best) + " |", ""]

    of = lambda key: lambda run: run and run[key]
    mixtures = [name for name in SETS if name.endswith("gaussians")]
    return "\n".join(
        table("Sliced Wasserstein distance", of("sliced_wasserstein"), SETS, of("sliced_wasserstein_of_truth"))
        + table("AUC of the energy against uniform noise", of("auc"), SETS, of("auc_of_truth"))
        + table("Share of the rarest mode, of what it should be", share, mixtures, lambda run: 1.0)
        + table("Share of the samples within 3 sigma of a mode", lambda r: r and r["coverage"]["within"], mixtures,
                lambda run: 0.989)
    )


def read_png(path):
    """Rows of RGB bytes of a picture of 8 bits a channel."""
    data, chunks, at = path.read_bytes(), {}, 8
    while at < len(data):
        size, kind = struct.unpack(">I4s", data[at:at + 8])
        chunks[kind] = chunks.get(kind, b"") + data[at + 8:at + 8 + size]
        at += size + 12
    width, height = struct.unpack(">II", chunks[b"IHDR"][:8])
    raw, rows, above = zlib.decompress(chunks[b"IDAT"]), [], bytearray(3 * width)
    for y in range(height):
        kind, row = raw[y * (3 * width + 1)], bytearray(raw[y * (3 * width + 1) + 1:(y + 1) * (3 * width + 1)])
        for i in range(3 * width if kind else 0):
            a, b, c = (row[i - 3], above[i], above[i - 3]) if i > 2 else (0, above[i], 0)
            if kind == 4:
                p = a + b - c
                near = min((abs(p - a), 0, a), (abs(p - b), 1, b), (abs(p - c), 2, c))[2]
            row[i] = row[i] + [0, a, b, (a + b) // 2, near if kind == 4 else 0][kind] & 255
        rows.append(row)
        above = row
    return rows


def halved(rows):
    """The picture at half its size."""
    small = []
    for a, b in zip(rows[::2], rows[1::2]):
        pixels = range(0, len(a) - 5, 6)
        small.append(bytearray((a[i + c] + a[i + c + 3] + b[i + c] + b[i + c + 3]) // 4 for i in pixels for c in range(3)))
    return small


def write_png(path, rows):
    chunk = lambda kind, data: struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
    header = struct.pack(">IIBBBBB", len(rows[0]) // 3, len(rows), 8, 2, 0, 0, 0)
    above, data = bytes(len(rows[0])), b""
    for row in rows:
        data, above = data + b"\2" + bytes(a - b & 255 for a, b in zip(row, above)), row
    data = zlib.compress(data, 9)
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", data) + chunk(b"IEND", b""))


def draw(out):
    """The energies of the first seed with samples on them: a row for each set, a column for each objective."""
    rows = []
    for name in SETS:
        paths = [out / f"{name}-{objective}-0/landscape.png" for objective in OBJECTIVES]
        tiles = [halved(halved(read_png(path))) if path.exists() else None for path in paths]
        some = next(tile for tile in tiles if tile)
        blank = [bytes([128]) * len(some[0])] * len(some)
        rows += [b"".join(line) for line in zip(*(tile or blank for tile in tiles))]
    write_png(out / "objectives.png", rows)


def main():
    out = Path(sys.argv[1] if len(sys.argv) > 1 else "objectives")
    seeds, steps = (int(v) for v in (sys.argv[2:4] + ["3", "2000"][len(sys.argv[2:4]):]))
    out.mkdir(parents=True, exist_ok=True)
    runs = {}
    for seed in range(seeds):
        for name in SETS:
            for objective in OBJECTIVES:
                runs.setdefault((name, objective), []).append(train(out, name, objective, seed, steps))
    text = tables(runs)
    (out / "tables.md").write_text(text)
    print(text)
    draw(out)


main()
