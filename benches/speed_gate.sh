#!/usr/bin/env bash
# The speed gate: how near chains come to what this processor's own units can do (tests/speed.rs). Not part of ./test.sh: run
# it on a quiet machine. Arguments go to the test program: a test's name, for example.
set -euo pipefail
cd "$(dirname "$0")/.."
exec cargo test --release --locked --test main -- speed:: --ignored --nocapture --test-threads=1 "$@"
