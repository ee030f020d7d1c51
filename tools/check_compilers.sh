#!/usr/bin/env bash
# Every pipeline through the compilers of other systems, with no GPU:
# * spirv-val, on what Vulkan drivers get;
# * Tint, Chromium's compiler, on the WGSL;
# * DXC and FXC, DX12's compilers, under Wine, on the HLSL that wgpu makes. Each pipeline has 5 seconds of CPU time on the
#   machine that the limit was set on, and as much more on one that takes longer for a reference (check_hlsl.py).
#
#   tools/check_compilers.sh          what a first run takes: `train`, `sample`, `energy`, chains fused and by layers
#   tools/check_compilers.sh --all    every pipeline of the tests' plans and of every preset
#
# Installs what is missing (Debian's and Ubuntu's names; needs root or sudo). The npm package `webgpu` carries Tint and both
# DLLs; it goes to ~/.cache/thalweg-compilers, and nothing of it is kept in this repository. FOLDER=... keeps the exported
# files there.
set -euo pipefail
cd "$(dirname "$0")/.."

case ${1-} in
'') set=first ;;
--all) set=all ;;
*) echo "usage: tools/check_compilers.sh [--all]" >&2; exit 2 ;;
esac
at=${XDG_CACHE_HOME:-$HOME/.cache}/thalweg-compilers

twice() { "$@" || { echo "check_compilers: once more: $*" >&2; sleep 5; "$@"; }; }

packages=()
[ -x /usr/lib/wine/wine64 ] || packages+=(wine64)
command -v x86_64-w64-mingw32-gcc >/dev/null || packages+=(gcc-mingw-w64-x86-64-win32)
command -v spirv-val >/dev/null || packages+=(spirv-tools)
command -v node >/dev/null || packages+=(nodejs)
command -v npm >/dev/null || packages+=(npm)
command -v python3 >/dev/null || packages+=(python3)
if [ ${#packages[@]} -gt 0 ]; then
    if ! command -v apt-get >/dev/null; then
        echo "check_compilers: missing here: ${packages[*]} (Debian's names). Install them, then run this again." >&2
        exit 2
    fi
    sudo=; [ "$(id -u)" = 0 ] || sudo=sudo
    twice $sudo apt-get update -q >&2
    twice $sudo env DEBIAN_FRONTEND=noninteractive \
        apt-get install -y -q --no-install-recommends "${packages[@]}" >&2
fi

mkdir -p "$at"
cp tools/compilers/package.json tools/compilers/package-lock.json "$at"
if ! [ tools/compilers/package-lock.json -ot "$at/fetched" ]; then
    twice npm ci --prefix "$at" --ignore-scripts --no-audit --no-fund --silent >&2
    cp "$at"/node_modules/webgpu/dist/win32-x64/{d3dcompiler_47,dxcompiler}.dll "$at"
    touch "$at/fetched"
fi
x86_64-w64-mingw32-gcc -O2 -o "$at/hlsl_compile.exe" tools/compilers/hlsl_compile.c
# A Wine of its own, with no display, no .NET and no browser; the DLLs are those that lie beside the program.
export WINEPREFIX=$at/wine WINEARCH=win64 WINEDEBUG=-all
export WINEDLLOVERRIDES="mscoree,mshtml,winemenubuilder.exe=;d3dcompiler_47,dxcompiler=n"
unset DISPLAY WAYLAND_DISPLAY
[ -e "$WINEPREFIX/system.reg" ] || /usr/lib/wine/wine64 wineboot --init >&2

if [ -n "${FOLDER-}" ]; then
    work=$FOLDER
else
    work=$(mktemp -d)
    trap 'rm -rf "$work"' EXIT
fi
cargo run --profile "${THALWEG_PROFILE:-release}" --locked --quiet --example export_shaders -- "$work" "$set"

bad=0
start=$SECONDS
validate() { # TARGET FILES: all of them, by as many processes as there are cores
    local target=$1
    shift
    printf '%s\0' "$@" | xargs -0 -P "$(nproc)" -n 1 \
        sh -c 'spirv-val --target-env "$0" "$1" || { echo "spirv-val: $1 is not valid" >&2; exit 1; }' "$target"
}
shopt -s nullglob
first=("$work"/*.vulkan1.spv)
newer=()
for file in "$work"/*.spv; do [[ $file == *.vulkan1.spv ]] || newer+=("$file"); done
validate vulkan1.1 "${first[@]}" || bad=1
validate vulkan1.3 "${newer[@]}" || bad=1
echo "spirv-val: $((${#first[@]} + ${#newer[@]})) modules in $((SECONDS - start)) s"

node tools/compilers/check_tint.mjs "$work" "$at" || bad=1
python3 tools/compilers/check_hlsl.py --self-test "$at" || bad=1
for compiler in dxc fxc; do
    python3 tools/compilers/check_hlsl.py "$compiler" "$work" "$at" "$set" || bad=1
done
exit $bad
