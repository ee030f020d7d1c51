#!/usr/bin/env bash
# Runs all tests, those of the GPU path included: where Linux has no Vulkan driver, it installs Mesa's software one
# (Debian and Ubuntu; needs root or sudo). Arguments go to `cargo test`.
set -euo pipefail
cd "$(dirname "$0")"

has_driver() {
    [ "$(uname -s)" != Linux ] || ls /usr/share/vulkan/icd.d/*.json /etc/vulkan/icd.d/*.json >/dev/null 2>&1
}

packages=()
has_driver || packages+=(mesa-vulkan-drivers)
command -v cc >/dev/null || packages+=(gcc libc6-dev) # Rust links with it
if [ ${#packages[@]} -gt 0 ]; then
    if ! command -v apt-get >/dev/null; then
        echo "test.sh: missing here: ${packages[*]} (Debian's names). Install them, then run this again." >&2
        exit 2
    fi
    sudo=; [ "$(id -u)" = 0 ] || sudo=sudo
    $sudo apt-get update -q
    DEBIAN_FRONTEND=noninteractive $sudo apt-get install -y -q --no-install-recommends "${packages[@]}"
fi

# Without a desktop session Mesa's device-select layer prints errors that look like ours.
[ -n "${XDG_RUNTIME_DIR-}" ] || export NODEVICE_SELECT=1

# The gate runs them with debug assertions and overflow checks: THALWEG_PROFILE=gate.
exec cargo test --profile "${THALWEG_PROFILE:-release}" --locked "$@"
