#!/usr/bin/env bash
# `thalweg bench` on the lavapipe of Debian sid (Mesa 26, whose LLVM fills 512-bit registers) where the system has an older
# one: Mesa and all it needs, C library and loader too, unpacked beside the system and never installed. Keeps some 0.5 GB in
# $MESA26 (default ~/.cache/thalweg-mesa26). Needs Debian's or Ubuntu's apt, and a built thalweg. Arguments go to `bench`.
# RUN="FOLDER/burn/release/burn_peer wgpu" benches/mesa26.sh runs something else there: burn, as benches/peers/run.sh builds it.
set -euo pipefail
cd "$(dirname "$0")/.."

at=${MESA26:-${XDG_CACHE_HOME:-$HOME/.cache}/thalweg-mesa26}
root=$at/root
lib=$root/usr/lib/$(gcc -print-multiarch 2>/dev/null || dpkg-architecture -qDEB_HOST_MULTIARCH)
if [ ! -e "$root/usr/share/vulkan/icd.d/lvp_icd.json" ]; then
    mkdir -p "$at"/apt/{lists,state,cache/archives}/partial "$root"
    : >"$at/apt/status" # as if nothing was installed, so that everything needed is fetched
    keys=/usr/share/keyrings/debian-archive-keyring.gpg
    echo "deb [signed-by=$keys] http://deb.debian.org/debian sid main" >"$at/apt/sources.list"
    cat >"$at/apt.conf" <<EOF
Dir::Etc::sourcelist "$at/apt/sources.list";
Dir::Etc::sourceparts "/dev/null";
Dir::Etc::preferencesparts "/dev/null";
Dir::State "$at/apt/state";
Dir::State::status "$at/apt/status";
Dir::State::lists "$at/apt/lists";
Dir::Cache "$at/apt/cache";
APT::Install-Recommends "false";
APT::Sandbox::User "root";
EOF
    export APT_CONFIG=$at/apt.conf
    apt-get update -q >&2
    apt-get install -y -q --download-only mesa-vulkan-drivers libvulkan1 libc6 libgcc-s1 >&2
    for deb in "$at"/apt/cache/archives/*.deb; do
        dpkg-deb -x "$deb" "$root"
    done
    rm -r "$at/apt/cache/archives"
fi

loader=$(find "$lib" -name 'ld-linux*.so.*' | head -1)
icd=$root/usr/share/vulkan/icd.d/lvp_icd.json
export VK_DRIVER_FILES=$icd VK_ICD_FILENAMES=$icd NODEVICE_SELECT=1
export LP_NATIVE_VECTOR_WIDTH=${LP_NATIVE_VECTOR_WIDTH-512}
read -ra program <<<"${RUN:-target/release/thalweg bench --device llvmpipe}"
exec "$loader" --library-path "$lib" "${program[@]}" "$@"
