#!/bin/bash
# Runs fuzz targets that `make fuzz-build` has made: BUILD (build), FUZZ (a target's name, or what the names contain),
# FUZZ_SECONDS (60) each. What is found stays in $BUILD/fuzz/found; the corpus grows in $BUILD/fuzz/corpus, seeded from tests/fuzz/corpus.
set -euo pipefail
cd "$(dirname "$0")/.."

build=${BUILD:-build}/fuzz
seconds=${FUZZ_SECONDS:-60}
export ASAN_OPTIONS=detect_leaks=1:allocator_may_return_null=1
mkdir -p "$build/found"
ran=0
for source in tests/fuzz/fuzz_*.c; do
    name=$(basename "$source" .c)
    if [ -n "${FUZZ:-}" ] && [ -f "tests/fuzz/$FUZZ.c" ]; then
        [ "$name" = "$FUZZ" ] || continue
    fi
    [[ $name == *"${FUZZ:-}"* ]] || continue
    grown=$build/corpus/$name
    mkdir -p "$grown"
    seeds=()
    [ ! -d "tests/fuzz/corpus/$name" ] || seeds+=("tests/fuzz/corpus/$name")
    dictionary=()
    [ ! -f "tests/fuzz/$name.dict" ] || dictionary+=("-dict=tests/fuzz/$name.dict")
    echo "$name for $seconds s"
    "$build/tests/fuzz/$name" -max_total_time="$seconds" -timeout=10 -rss_limit_mb=2048 -print_final_stats=1 -verbosity=0 \
        -artifact_prefix="$build/found/$name-" "${dictionary[@]}" "$grown" "${seeds[@]}"
    ran=$((ran + 1))
done
if [ $ran -eq 0 ]; then
    echo "no fuzz target has '${FUZZ:-}' in its name" >&2
    exit 1
fi
