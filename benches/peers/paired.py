"""Runs each peer in turn with `thalweg bench` (ours, peer, ours, peer) on the same two CPUs and prints the table."""

import argparse
import datetime
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
PEERS = [  # virtual environment, script and argument; ours where there is none, with a device
    (None, ["cpu:bf16"]),
    ("torch", ["torch_peer.py", "bf16"]),
    ("torch", ["torch_peer.py", "f32"]),
    ("torch", ["torchebm_peer.py"]),
    ("jax", ["jax_peer.py", "slices"]),
    ("jax", ["jax_peer.py", "conv"]),
    ("tensorflow", ["tensorflow_peer.py"]),
    ("burn", ["release/burn_peer", "cpu"]),
    ("burn", ["release/burn_peer", "wgpu"]),  # on Mesa's lavapipe, where there is no GPU
]
FIGURES = ["langevin_step_ms", "training_step_ms", "cold_start_s"]


def two_cpus():
    """Two allowed CPUs on different cores; None where Linux does not tell."""
    if not hasattr(os, "sched_getaffinity"):
        return None
    cores = {}
    for cpu in sorted(os.sched_getaffinity(0)):
        siblings = Path(f"/sys/devices/system/cpu/cpu{cpu}/topology/thread_siblings_list")
        cores.setdefault(siblings.read_text() if siblings.exists() else cpu, cpu)
    return set(list(cores.values())[:2])


def cpu_model():
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        field = lambda name: next(l.split(":", 1)[1].strip() for l in lines if l.startswith(name))
        return f"{field('model name')} (family {field('cpu family')}, model {field('model')})"
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()


def start(command):
    environment = {k: v for k, v in os.environ.items() if k != "OPENBLAS_CORETYPE"}
    for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS"):
        environment[name] = "2"
    environment["PEER_START"] = repr(time.time())
    result = subprocess.run(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=HERE)
    if result.returncode != 0:
        raise RuntimeError((result.stderr.strip().splitlines() or [f"exit code {result.returncode}"])[-1])
    return result.stdout


def ours(binary, device="cpu"):
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "bench.json"
        start([binary, "bench", "--device", device, "--json", str(path)])
        return json.loads(path.read_text())


def peer(environment, script):
    """A program of the environment's own, or a script for its Python."""
    program = environment / script[0]
    command = [str(program), *script[1:]] if program.exists() else [str(environment / "bin/python"), *script]
    return json.loads(start(command).strip().splitlines()[-1])


def middle(results):
    return {f: statistics.median(r[f] for r in results) for f in FIGURES}


def row(name, figures, ratios, error):
    cell = lambda f: f"{figures[f]:.2f}" + (f" ({ratios[f]:.1f}x)" if ratios else "")
    return f"| {name} | {cell(FIGURES[0])} | {cell(FIGURES[1])} | {cell(FIGURES[2])} | {error} |"


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("environments", type=Path, help="folder of virtual environments, one a peer")
    parser.add_argument("--thalweg", default=str(ROOT / "target/release/thalweg"))
    parser.add_argument("--pairs", type=int, default=2, help="how often ours and a peer take turns")
    arguments = parser.parse_args()
    cpus = two_cpus()
    if cpus:
        os.sched_setaffinity(0, cpus)

    all_ours, rows, skipped, began = [], [], [], time.time()
    for environment, script in PEERS:
        folder = arguments.environments / (environment or "")
        label = " ".join(script)
        if environment and not (folder / "installed").exists():
            skipped.append(f"{label}: not installed")
            continue
        print(f"{label} ...", file=sys.stderr, flush=True)
        a, b = [], []
        try:
            for _ in range(arguments.pairs):
                a.append(ours(arguments.thalweg))
                b.append(peer(folder, script) if environment else ours(arguments.thalweg, *script))
        except RuntimeError as e:
            skipped.append(f"{label}: {e}")
            continue
        all_ours += a
        ratios = {f: statistics.median(y[f] / x[f] for x, y in zip(a, b)) for f in FIGURES}
        if environment:
            name, error = f"{b[0]['name']} ({b[0]['version']})", f"{b[0]['gradient_error']:.0e}"
        else:
            name, error = f"Thalweg ({b[0]['device']})", "tested"
        rows.append(row(name, middle(b), ratios, error))

    if not all_ours:
        sys.exit("no peer ran:\n" + "\n".join(skipped))
    commit = subprocess.run(["git", "rev-parse", "--short", "HEAD"], cwd=ROOT, capture_output=True, text=True).stdout.strip()
    peak = statistics.median(r["peak_gflops"] for r in all_ours)
    # The share of the peak is each run's own: a neighbour slows both.
    share = statistics.median(r["peak_share"] for r in all_ours)
    print(f"{datetime.date.today()}, {cpu_model()}, {len(cpus or [0, 0])} threads, {platform.system()}.")
    print(f"FMA peak measured by `thalweg bench`: {peak:.0f} GFLOP/s; ours reaches {100 * share:.0f} % of it, by counted FLOP.")
    print(f"Recipe R1, batch 128, 100 Langevin steps a training step. {arguments.pairs} pairs (ours, peer) a row;")
    print("medians, and in brackets how many times ours in the same pairing.\n")
    print("| | ms a Langevin step | ms a training step | s from start to the first training step | error of dE/dx |")
    print("| --- | --- | --- | --- | --- |")
    print(row(f"Thalweg ({commit}, {all_ours[0]['device']})", middle(all_ours), None, "tested"))
    print("\n".join(rows))
    steps = sorted(r["langevin_step_ms"] for r in all_ours)
    print(f"\nOurs over its {len(steps)} runs: {steps[0]:.2f} to {steps[-1]:.2f} ms a Langevin step.")
    for line in skipped:
        print(f"Left out: {line}")
    print(f"Wall time of the measurement: {time.time() - began:.0f} s.")


if __name__ == "__main__":
    main()
