#!/usr/bin/env bash
# Runs a command with SwiftShader, Google's Vulkan driver for processors, as the only Vulkan driver: a second opinion beside
# Mesa's. It comes out of Debian's `chromium-common`, which is fetched but not installed.
#
#   tools/swiftshader.sh cargo test --release --locked --test main -- golden::
set -euo pipefail

at=${XDG_CACHE_HOME:-$HOME/.cache}/thalweg-swiftshader
library=$at/libvk_swiftshader.so
driver=$at/swiftshader.json
if [ ! -e "$driver" ]; then
    work=$(mktemp -d)
    trap 'rm -rf "$work"' EXIT
    chmod 755 "$work" # apt fetches as a user of its own
    mkdir -p "$at"
    fetch() { (cd "$work" && apt-get download -q chromium-common >&2); }
    if ! fetch; then # the list of packages is old or not there
        sudo=; [ "$(id -u)" = 0 ] || sudo=sudo
        $sudo apt-get update -q >&2
        fetch
    fi
    dpkg-deb -x "$work"/chromium-common_*.deb "$work/unpacked"
    cp "$(find "$work/unpacked" -name libvk_swiftshader.so)" "$library"
    echo '{"file_format_version": "1.0.0", "ICD": {"library_path": "'"$library"'", "api_version": "1.3.0"}}' >"$driver"
    rm -rf "$work"
    trap - EXIT
fi

export VK_DRIVER_FILES=$driver VK_ICD_FILENAMES=$driver NODEVICE_SELECT=1
exec "$@"
