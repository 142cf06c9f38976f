#!/bin/bash
# Installs from Debian what building, testing and measuring VecStore need and this machine lacks.
#
#   deps/install.sh [build] [tests] [bench]       (build when nothing is named)
#
# Quiet when nothing is missing. Needs root, or sudo, only to install; where it cannot, it says what to install by hand.
set -euo pipefail
cd "$(dirname "$0")/.."

missing=()

have_pkgconfig() { pkg-config --exists "$1" 2>/dev/null; }
have_command() { command -v "$1" >/dev/null 2>&1; }
have_header() { echo "#include <$1>" | "${CXX:-g++}" -E -x c++ - >/dev/null 2>&1; }
have_library() { echo 'int main(void) { return 0; }' | gcc -x c - -o /dev/null "-l$1" >/dev/null 2>&1; }
have_file() { [ -e "$1" ]; }
need() { # need PACKAGE TEST ARGUMENT
    "$2" "$3" || missing+=("$1")
}

need_build() {
    need gcc have_command gcc
    need make have_command make
    need pkg-config have_command pkg-config
    need libevent-dev have_pkgconfig libevent_core
    need libjemalloc-dev have_pkgconfig jemalloc
    need libzstd-dev have_pkgconfig libzstd
    need libxxhash-dev have_pkgconfig libxxhash
    need libjansson-dev have_pkgconfig jansson
    need libsystemd-dev have_pkgconfig libsystemd
    need libhiredis-dev have_pkgconfig hiredis
}

have_fuzzer() {
    echo 'int LLVMFuzzerTestOneInput(const unsigned char *p, unsigned long n) { (void)p; return n > 1u << 30; }' |
        clang -fsanitize=fuzzer,address -x c - -o /dev/null >/dev/null 2>&1
}

# The runtime's package carries clang's version in its name from Debian 12 on.
fuzzer_package() {
    local version
    version=$(clang -dumpversion 2>/dev/null | cut -d. -f1)
    if [ -z "$version" ]; then
        version=$(apt-cache depends clang 2>/dev/null | sed -n 's/.*Depends: clang-\([0-9]*\)$/\1/p' | head -n 1)
    fi
    if [ -n "$version" ] && apt-cache show "libclang-rt-$version-dev" >/dev/null 2>&1; then
        echo "libclang-rt-$version-dev"
    else
        echo libclang-rt-dev
    fi
}

have_python_redis() { python3 -c 'import redis' 2>/dev/null || /usr/bin/python3 -c 'import redis' 2>/dev/null; }

need_tests() {
    need_build
    need libcmocka-dev have_pkgconfig cmocka
    need redis-tools have_command redis-cli
    need redis-sentinel have_command redis-sentinel
    need clang have_command clang
    have_fuzzer || missing+=("$(fuzzer_package)")
    need python3-redis have_python_redis redis
    need nodejs have_command node
    need npm have_command npm
    # tests/check/neon.sh
    if [ "$(uname -m)" = x86_64 ]; then
        need gcc-aarch64-linux-gnu have_command aarch64-linux-gnu-gcc
        need libc6-dev-arm64-cross have_file /usr/aarch64-linux-gnu/include/stdio.h
        need qemu-user have_command qemu-aarch64
    fi
}

need_bench() {
    need_build
    need g++ have_command g++
    need libhnswlib-dev have_header hnswlib/hnswlib.h
    need libfaiss-dev have_header faiss/IndexHNSW.h
    need python3 have_command python3
    need liblapack-dev have_library lapack
}

install_missing() {
    [ ${#missing[@]} -gt 0 ] || return 0
    local packages sudo=()
    mapfile -t packages < <(printf '%s\n' "${missing[@]}" | sort -u)
    if ! have_command apt-get; then
        echo "Missing, and this is not Debian. Install by hand what provides: ${packages[*]}" >&2
        exit 1
    fi
    if [ "$(id -u)" -ne 0 ]; then
        if ! have_command sudo; then
            echo "Missing, and neither root nor sudo. As root: apt-get install ${packages[*]}" >&2
            exit 1
        fi
        sudo=(sudo)
    fi
    echo "Installing ${packages[*]}"
    "${sudo[@]}" apt-get update -qq >/dev/null 2>&1 || true
    if ! "${sudo[@]}" env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends \
        "${packages[@]}" >/dev/null; then
        echo "Could not install. By hand: apt-get install ${packages[*]}" >&2
        exit 1
    fi
}

# Clients newer than Debian's, at the versions of the lock file.
install_node_clients() {
    local dir=tests/integration/node
    [ -f $dir/package-lock.json ] || return 0
    [ ! $dir/node_modules/.package-lock.json -nt $dir/package-lock.json ] || return 0
    echo "Installing the Node clients of $dir"
    if ! (cd $dir && npm ci --silent --no-audit --no-fund >/dev/null && touch node_modules/.package-lock.json); then
        echo "Could not install them. By hand: cd $dir && npm ci" >&2
        exit 1
    fi
}

[ $# -gt 0 ] || set -- build
for part in "$@"; do
    case $part in
        build) need_build ;;
        tests) need_tests ;;
        bench) need_bench ;;
        *) echo "usage: deps/install.sh [build] [tests] [bench]" >&2; exit 2 ;;
    esac
done
install_missing
for part in "$@"; do
    [ "$part" != tests ] || install_node_clients
done
