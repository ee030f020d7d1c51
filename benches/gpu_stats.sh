#!/usr/bin/env bash
# What a real GPU's compiler makes of every shader of a training step, with no GPU: a Markdown table from Mesa's RADV, for
# RDNA2 (navi21) and RDNA3 (gfx1100). Fails where a kernel spills registers, keeps an array in scratch memory, or takes the
# compiler more than a minute. Arguments: LANES TILE_CHANNELS TILE_PIXELS, to try another tile than Target::gpu's.
set -euo pipefail
cd "$(dirname "$0")/.."

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

driver=/usr/share/vulkan/icd.d/radeon_icd.$(uname -m).json
venv=${GPU_STATS_VENV:-${XDG_CACHE_HOME:-$HOME/.cache}/thalweg-gpu-stats}
packages=()
[ -e "$driver" ] || packages+=(mesa-vulkan-drivers)
ldconfig -p | grep -q libvulkan.so.1 || packages+=(libvulkan1)
[ -e "$venv/bin/python" ] || python3 -c 'import ensurepip' 2>/dev/null || packages+=(python3-venv)
if [ ${#packages[@]} -gt 0 ]; then
    sudo=; [ "$(id -u)" = 0 ] || sudo=sudo
    $sudo apt-get update -q >&2
    DEBIAN_FRONTEND=noninteractive $sudo apt-get install -y -q --no-install-recommends "${packages[@]}" >&2
fi
if ! "$venv/bin/python" -c 'import vulkan' 2>/dev/null; then
    python3 -m venv "$venv" >&2
    "$venv/bin/pip" install -q --disable-pip-version-check vulkan==1.3.275.1 >&2
fi

cargo run --profile "${THALWEG_PROFILE:-release}" --locked --quiet --example export_shaders -- "$work" first "$@" >&2
VK_DRIVER_FILES=$driver VK_ICD_FILENAMES=$driver "$venv/bin/python" benches/gpu_stats.py table "$work" navi21 gfx1100
