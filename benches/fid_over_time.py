#!/usr/bin/env python3
"""Feature FID over wall time: `fid_over_time.py digits|mnist-small|torch [SECONDS [OUT [FLAGS OF TRAIN]]]`.

Trains (`thalweg train` with that preset, or recipe R1 in PyTorch, benches/peers/torch_peer.py) for SECONDS, 600 by default
(`mnist-small` wants `--epochs 1000` to go on for so long), keeps the weights every 30 seconds at first and every 60 later, and lets `thalweg evaluate` judge each
afterwards: a line of seconds, FID, confidence and rarest digit each. A run that ends sooner stays as it was. Needs
`cargo build --release`; the peer needs PyTorch, NumPy and safetensors (benches/peers/run.sh installs the first two).
Leave the machine alone meanwhile.
"""

import json
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
THALWEG = ROOT / "target/release/thalweg"


def marks(seconds):
    """When to keep the weights."""
    times = [t for t in range(30, 181, 30)] + [t for t in range(240, int(seconds) + 1, 60)]
    return [t for t in times if t <= seconds]


def train_thalweg(preset, seconds, out, flags):
    command = [THALWEG, "train", "--preset", preset, "--device", "cpu", "--out", out / "run", *flags]
    log = (out / "train.log").open("w")
    start = time.time()
    process = subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT)
    kept = []
    for mark in marks(seconds):
        try:
            process.wait(max(0.0, start + mark - time.time()))
        except subprocess.TimeoutExpired:
            pass
        checkpoint = out / "run/checkpoint.safetensors"
        if checkpoint.exists():
            kept.append((time.time() - start, out / f"{mark}.safetensors"))
            shutil.copy(checkpoint, kept[-1][1])
        if process.poll() is not None:
            break
    if process.poll() is None:
        process.terminate()
    process.wait()
    return kept, []


def train_torch(seconds, out):
    sys.path.insert(0, str(ROOT / "benches/peers"))
    start = time.time()
    import torch_peer
    from safetensors.numpy import save_file

    peer = torch_peer.Peer(bf16=False)
    kept, steps = [], 0
    for mark in marks(seconds):
        while time.time() < start + mark:
            peer.train()
            steps += 1
        state, tensors = peer.model.state_dict(), {}
        convolutions = [i for i in range(len(peer.model)) if hasattr(peer.model[i], "stride")]
        for n, i in enumerate(convolutions, 1):
            # The peer's network is the mirror image.
            tensors[f"conv{n}.weight"] = state[f"{i}.weight"].flip(2, 3).contiguous().numpy()
            tensors[f"conv{n}.bias"] = state[f"{i}.bias"].numpy()
        last = len(peer.model) - 1
        weight = state[f"{last}.weight"].reshape(1, 64, 2, 2).flip(2, 3).reshape(1, 256)
        tensors["dense1.weight"], tensors["dense1.bias"] = weight.contiguous().numpy(), state[f"{last}.bias"].numpy()
        kept.append((time.time() - start, out / f"{mark}.safetensors"))
        save_file(tensors, kept[-1][1])
        print(f"{mark} s: {steps} steps", file=sys.stderr, flush=True)
    return kept, ["--network", "mnist-small"]


def main():
    what = sys.argv[1]
    seconds = float(sys.argv[2]) if len(sys.argv) > 2 else 600.0
    out = Path(sys.argv[3] if len(sys.argv) > 3 else tempfile.mkdtemp(prefix="fid-over-time-"))
    out.mkdir(parents=True, exist_ok=True)
    kept, options = train_torch(seconds, out) if what == "torch" else train_thalweg(what, seconds, out, sys.argv[4:])
    print(f"{what}\n{'seconds':>8}{'FID':>10}{'confidence':>12}{'rarest':>8}")
    for at, model in kept:
        report = out / "report.json"
        command = [THALWEG, "evaluate", "--model", model, "--data", "digits", "--json", report, "--device", "cpu", *options]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        sets = {s["name"]: s for s in json.loads(report.read_text())["samples"]["sets"]}
        distances, classes = (sets["samples from noise"][part] for part in ("distances", "classes"))
        print(f"{at:8.0f}{distances['fid']:10.2f}{classes['confidence']:12.3f}{classes['rarest']:8.3f}", flush=True)


if __name__ == "__main__":
    main()
