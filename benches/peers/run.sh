#!/usr/bin/env bash
# Measures Thalweg beside what else one would take, each in turn on the same two CPUs, and prints a Markdown table.
#   benches/peers/run.sh [FOLDER]    FOLDER for the virtual environments (about 7 GB), default /tmp/thalweg-peers
#   PAIRS=4 benches/peers/run.sh     turns a peer, default 2
set -euo pipefail
folder=${1:-/tmp/thalweg-peers}
mkdir -p "$folder"
folder=$(cd "$folder" && pwd)
cd "$(dirname "$0")"
pairs=${PAIRS:-2}
unset OPENBLAS_CORETYPE # no peer runs with kernels for another processor

# install NAME PACKAGE...: a virtual environment with just these, made once for each list of packages.
install() {
    local name=$1 environment=$folder/$1
    shift
    [ "$(cat "$environment/installed" 2>/dev/null)" != "$*" ] || return 0
    rm -rf "$environment"
    echo "installing $* ..." >&2
    if python3 -m venv "$environment" && "$environment/bin/pip" install --quiet "$@" >&2; then
        echo "$*" >"$environment/installed"
    else
        echo "run.sh: skipping $name: pip can't install $* here" >&2
        return 1
    fi
}

# PyPI has no CPU-only wheel of PyTorch for Linux on x86: what it has brings CUDA along, which nothing here uses.
install torch torch==2.15.0 numpy==2.4.6 torchebm==0.8.9 || install torch torch==2.15.0 numpy==2.4.6 || true
install jax jax==0.10.2 numpy==2.4.6 || true
case $(uname -sm) in
    "Linux x86_64") install tensorflow tensorflow-cpu==2.21.0 || true ;;
    *) install tensorflow tensorflow==2.21.0 || true ;;
esac

# Half an hour on two cores.
if cargo build --release --locked --manifest-path burn_peer/Cargo.toml --target-dir "$folder/burn" >&2; then
    touch "$folder/burn/installed"
fi

cargo build --release --locked --manifest-path ../../Cargo.toml >&2
exec python3 paired.py "$folder" --pairs "$pairs"
