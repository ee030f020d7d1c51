"""Writes mixing.json: chains, and what ArviZ says of how they mix. tests/long_run.rs holds src/evaluate/mixing.rs to it.

    python3 -m venv venv && venv/bin/pip install "arviz<1" && venv/bin/python tests/golden/mixing.py
"""

import json
import pathlib

import arviz
import numpy as np


def autoregressive(rng, rho, chains, draws, means=0.0):
    x = np.empty((chains, draws))
    x[:, 0] = rng.normal(size=chains)
    for t in range(1, draws):
        x[:, t] = rho * x[:, t - 1] + np.sqrt(1 - rho**2) * rng.normal(size=chains)
    return x + np.broadcast_to(np.asarray(means, float).reshape(-1, 1), (chains, 1))


rng = np.random.default_rng(0)
cases = {f"rho {rho}": autoregressive(rng, rho, 4, 100) for rho in (-0.9, -0.5, 0.0, 0.5, 0.9, 0.97, 0.995)}
cases["apart"] = autoregressive(rng, 0.7, 4, 60, [0, 0, 2, -1])
cases["far apart"] = autoregressive(rng, 0.3, 3, 40, [0, 50, -20])
cases["drifting"] = autoregressive(rng, 0.5, 4, 50) + np.linspace(0, 4, 50)
cases["walks"] = rng.normal(size=(4, 80)).cumsum(axis=1)
cases["odd"] = autoregressive(rng, 0.8, 5, 37)
cases["one chain"] = autoregressive(rng, 0.6, 1, 90)
cases["many short"] = autoregressive(rng, 0.9, 32, 10)
cases["heavy tails"] = rng.standard_cauchy(size=(4, 50))
cases["alternating"] = np.tile([1.0, -1.0], (4, 20)) + 0.01 * rng.normal(size=(4, 40))
for draws in range(4, 15):
    cases[f"{draws} draws"] = autoregressive(rng, 0.5, 3, draws)

found = []
for name, values in cases.items():
    values = np.round(values, 4)
    found.append(
        {
            "name": name,
            "chains": values.tolist(),
            "ess": float(arviz.ess(values, method="mean")),
            # ArviZ gives no split R-hat of one chain, though its halves have one.
            "r_hat": float(arviz.rhat(values, method="split")) if len(values) > 1 else None,
        }
    )
path = pathlib.Path(__file__).with_suffix(".json")
cases = ",\n".join(json.dumps(case, separators=(",", ":")) for case in found)
path.write_text(f'{{"arviz": "{arviz.__version__}", "cases": [\n{cases}\n]}}\n')
