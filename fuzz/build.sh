#!/bin/sh
# Builds the fuzz target on a stable toolchain: coverage for libFuzzer, and the
# address sanitizer, which wants a dynamic executable. $1 is where to.
set -eu
cd "$(dirname "$0")"
export RUSTC_BOOTSTRAP=1
export RUSTFLAGS="--cfg fuzzing -Zsanitizer=address \
  -Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4 \
  -Cllvm-args=-sanitizer-coverage-inline-8bit-counters \
  -Cllvm-args=-sanitizer-coverage-pc-table \
  -Cllvm-args=-sanitizer-coverage-trace-compares"
exec cargo build --release --target x86_64-unknown-linux-gnu --target-dir "$1"
