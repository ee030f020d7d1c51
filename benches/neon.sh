#!/usr/bin/env bash
# The CPU executor on aarch64 without such a machine: builds its tests for that target, counts NEON's four-lane multiply-adds
# in them, and runs those of the fast bodies under emulation.
# Needs Debian's gcc-aarch64-linux-gnu and qemu-user, and rustup's target aarch64-unknown-linux-gnu.
set -euo pipefail
cd "$(dirname "$0")/.."
target=aarch64-unknown-linux-gnu
export CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_LINKER=aarch64-linux-gnu-gcc
export CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_RUNNER="qemu-aarch64 -L /usr/aarch64-linux-gnu"
rustup target add $target
cargo test --release --locked --target $target --test main --no-run
binary=$(ls -t target/$target/release/deps/main-* | grep -v '\.d$' | head -1)
aarch64-linux-gnu-objdump -d --no-show-raw-insn "$binary" >/tmp/thalweg-neon.s
echo "multiply-adds: $(grep -cE 'fmla.*\.4s' /tmp/thalweg-neon.s) of four lanes, $(grep -cE 'fmadd\s+s' /tmp/thalweg-neon.s) of one"
cargo test --release --locked --target $target --test main -- bodies_match_their_twins
