#!/bin/bash
# The kernels for 64-bit ARM: builds vec/ and its unit tests with a cross compiler and runs them under emulation, so that every
# set is compared with the scalar one, and the bits of rows and distances with those of other machines. Says so and
# passes where the tools are missing (deps/install.sh tests installs them). run: first
set -euo pipefail
cd "$(dirname "$0")/../.."

cc=aarch64-linux-gnu-gcc
for tool in $cc qemu-aarch64; do
    if ! command -v "$tool" >/dev/null 2>&1; then
        echo "no $tool: not tested"
        exit 0
    fi
done
# On a machine of that kind the compiler's own folder is the system's.
root=/usr/aarch64-linux-gnu
[ -d $root ] || root=/

work=$(mktemp -d "${TMPDIR:-/tmp}/vecstore-neon-XXXXXX")
trap 'rm -rf "$work"' EXIT
# xxHash is one header, and the only library that is needed.
cp "$(pkg-config --variable=includedir libxxhash 2>/dev/null || echo /usr/include)/xxhash.h" "$work/" 2>/dev/null ||
    cp /usr/include/xxhash.h "$work/"

flags=(-std=gnu17 -O2 -ffp-contract=off -Wall -Wextra -Werror -D_GNU_SOURCE -DVS_NO_JEMALLOC
    -Isrc -Itests -Itests/neon "-I$work")
sources=(src/vec/*.c)
for name in mem rng hash clock log pages status; do
    sources+=("src/base/$name.c")
done
for source in "${sources[@]}"; do
    $cc "${flags[@]}" -c "$source" -o "$work/$(basename "$source" .c).o"
done
for name in test_kernels test_codec; do
    $cc "${flags[@]}" "tests/unit/$name.c" tests/lib/run.c "$work"/*.o -lm -lpthread -o "$work/$name"
done

# run CPU KERNELS TEST: the test must name the set that it chose.
run() {
    local output
    if ! output=$(VECSTORE_TEST_QUICK=1 VECSTORE_KERNELS=$2 qemu-aarch64 -L $root -cpu "$1" "$work/$3"); then
        printf '%s\n%s with %s on %s failed\n' "$output" "$3" "$2" "$1" >&2
        exit 1
    fi
    if [ "$3" = test_codec ] && ! grep -q "kernels=$2\$" <<<"$output"; then
        echo "$3: $2 was not used on $1" >&2
        exit 1
    fi
}
run max neondot test_kernels
run max neondot test_codec
run cortex-a53 neon test_codec
