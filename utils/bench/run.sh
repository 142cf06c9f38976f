#!/bin/bash
# make bench: hnswlib, faiss and VecStore side by side on the same vectors, then VecStore through its server.
#
# Everything runs one after another, never two at once; the engines take turns on each data set, several times, and the table shows
# medians, and medians of the ratios within one turn. Results: $BUILD/bench/results.json, table.md, a drawing SET.svg of each data
# set compared, and, after a full run, the part of README.md between the lines "<!-- bench:begin -->" and "<!-- bench:end -->",
# docs/images/SET.svg, and the pages that show these.
#
#   BENCH_QUICK=1       one turn, shorter; not a full run
#   BENCH_TURNS=n       turns of the comparison (3)
#   BENCH_NET_TURNS=n   turns through the server (as many)
#   BENCH_SETS="a b"    of: mnist-784 gen-512 gen-128 gen-1536 (the first three; mnist-784 needs VECSTORE_DATASETS)
#   BENCH_PARTS="a b"   of: compare kernels scaling network probes (all); when given, not a full run
#   BENCH_ADD=1         keeps the runs that are there: a long run in pieces
#   BENCH_README=1      writes what was measured in parts, too, into README.md and the pages: the sections that all of BENCH_SETS have
#   VECSTORE_DATASETS   the folder with mnist-784.base.bvecs.zst, .query.bvecs and .groundtruth.ivecs
set -euo pipefail
cd "$(dirname "$0")/../.."

BUILD=${BUILD:-build}
QUICK=${BENCH_QUICK:-}
TURNS=${BENCH_TURNS:-$([ -n "$QUICK" ] && echo 1 || echo 3)}
NET_TURNS=${BENCH_NET_TURNS:-$TURNS}
PARTS=${BENCH_PARTS:-compare kernels scaling network probes}
DATASETS=${VECSTORE_DATASETS:-}
THREADS=$(nproc)
EF=10,15,20,30,40,60,80,120,160,240,320
# What the short codes lose is won back by a wider beam.
EF_SHORT=$EF,480,640
if [ -n "$QUICK" ]; then MS=200; SECONDS_EACH=0.2; else MS=500; SECONDS_EACH=0.5; fi

bench=$BUILD/vecstore-benchmark
server=$BUILD/vecstore-server
out=$BUILD/bench
data=$out/data
runs=$out/runs
mkdir -p "$data"
[ -n "${BENCH_ADD:-}" ] || rm -rf "$runs"
mkdir -p "$runs"
server_pid=

say() { echo "bench: $*" >&2; }

stop_server() {
    [ -n "$server_pid" ] || return 0
    kill "$server_pid" 2>/dev/null || true
    for _ in $(seq 100); do
        kill -0 "$server_pid" 2>/dev/null || break
        sleep 0.1
    done
    kill -9 "$server_pid" 2>/dev/null || true
    wait "$server_pid" 2>/dev/null || true
    server_pid=
}
trap stop_server EXIT

# ---- the vectors ----

# The index types measured beside the default: those made for many dimensions.
types_of() { case $1 in gen-512 | gen-1536) echo q4 bin ;; esac; }

metric_of() { case $1 in mnist-784 | gen-128*) echo l2 ;; *) echo cosine ;; esac; }

# Writes $data/NAME.base.fvecs, .query.fvecs and .truth.ivecs, once.
prepare() {
    local name=$1
    [ ! -s "$data/$name.truth.ivecs" ] || return 0
    say "preparing $name"
    case $name in
        mnist-784)
            "$bench" -q --base "$DATASETS/mnist-784.base.bvecs.zst" --query "$DATASETS/mnist-784.query.bvecs" \
                --truth "$DATASETS/mnist-784.groundtruth.ivecs" --metric l2 --export "$data/$name" ;;
        gen-512) "$bench" -q --generate 50000 --dim 512 --metric cosine --export "$data/$name" ;;
        gen-1536) "$bench" -q --generate 50000 --dim 1536 --metric cosine --export "$data/$name" ;;
        gen-128) "$bench" -q --generate 200000 --dim 128 --metric l2 --export "$data/$name" ;;
        gen-128-10k) "$bench" -q --generate 10000 --dim 128 --metric l2 --export "$data/$name" ;;
        gen-128-100k) "$bench" -q --generate 100000 --dim 128 --metric l2 --export "$data/$name" ;;
        gen-128-1m) "$bench" -q --generate 1000000 --dim 128 --metric l2 --export "$data/$name" ;;
        *) say "unknown data set $name"; exit 2 ;;
    esac
}

files() { echo "--base $data/$1.base.fvecs --query $data/$1.query.fvecs --truth $data/$1.truth.ivecs --metric $(metric_of "$1")"; }

default_sets() {
    if [ -n "$DATASETS" ] && [ -f "$DATASETS/mnist-784.base.bvecs.zst" ]; then
        echo mnist-784
    else
        say "VECSTORE_DATASETS is not set (or has no mnist-784): that data set is left out"
    fi
    echo gen-512 gen-128
}
SETS=${BENCH_SETS:-$(default_sets)}

# ---- side by side, in process ----

peer() { # peer NAME SET TURN THREADS EF FILE
    "$out/bench_$1" "$data/$2.base.fvecs" "$data/$2.query.fvecs" "$data/$2.truth.ivecs" "$(metric_of "$2")" "$4" "$SECONDS_EACH" \
        "$5" > "$runs/$6.json"
}

in_process() { # in_process SET FILE OPTIONS ...
    local name=$1 file=$2
    shift 2
    # shellcheck disable=SC2046
    "$bench" -q --in-process --threads "$THREADS" $(files "$name") --ef $EF --ms "$MS" --json "$runs/$file.json" "$@" > "$runs/$file.txt"
}

compare() {
    local name turn type
    for name in $SETS; do prepare "$name"; done
    for turn in $(seq "$TURNS"); do
        for name in $SETS; do
            say "turn $turn of $TURNS: $name"
            peer hnswlib "$name" "$turn" "$THREADS" $EF "$name.hnswlib.$turn"
            in_process "$name" "$name.vecstore.$turn" $([ "$turn" -eq 1 ] || echo --build-once)
            for type in $(types_of "$name"); do
                in_process "$name" "$name.vecstore-$type.$turn" --build-once --type "$type" --ef $EF_SHORT
            done
            # a slow baseline and a slow figure: once, on the first set alone
            if [ "$turn" -eq 1 ] && [ "$name" = "${SETS%%[[:space:]]*}" ]; then
                [ "$THREADS" -eq 1 ] || peer hnswlib "$name" "$turn" 1 10 "$name.hnswlib-build1.$turn"
                peer faiss "$name" "$turn" "$THREADS" $EF "$name.faiss.$turn"
            fi
        done
    done
}

# ---- one set of kernels against another ----

# The set chosen by itself and the one for AVX2, in turns; left out where the first is that one, or another processor's.
kernels() {
    local name turn set
    grep -q avx512_vnni /proc/cpuinfo || { say "kernels: no AVX-512 here, nothing to compare"; return 0; }
    for name in $SETS; do
        prepare "$name"
        for turn in $(seq "$TURNS"); do
            say "kernels, turn $turn of $TURNS: $name"
            for set in avx512vnni avx2; do
                VECSTORE_KERNELS=$set in_process "$name" "$name.kernels-$set.$turn" --build-once
            done
        done
    done
}

# ---- how cost grows with size ----

scaling() {
    local name
    for name in gen-128-10k gen-128-100k $([ -n "$QUICK" ] || echo gen-128-1m); do
        prepare "$name"
        say "scaling: $name"
        in_process "$name" "scaling.$name" --build-once
    done
}

# ---- through the server ----

# Starts a server on a free port of the loopback; sets $port.
start_server() {
    local try
    for try in 1 2 3 4 5; do
        port=$((20000 + (RANDOM % 20000)))
        "$server" --port "$port" --bind 127.0.0.1 --loglevel warning --dir "$out" --save "" --appendonly no "$@" > "$out/server.log" 2>&1 &
        server_pid=$!
        for _ in $(seq 100); do
            kill -0 "$server_pid" 2>/dev/null || break
            if (exec 3<> "/dev/tcp/127.0.0.1/$port") 2>/dev/null; then return 0; fi
            sleep 0.05
        done
        stop_server
    done
    say "the server does not start; its log is $out/server.log"
    exit 1
}

over_network() { # over_network FILE OPTIONS ...
    local file=$1
    shift
    "$bench" -q -p "$port" --json "$runs/$file.json" "$@" > "$runs/$file.txt"
}

network() {
    local name turn n=20000
    [ -z "$QUICK" ] || n=10000
    for name in $SETS; do
        prepare "$name"
        for turn in $(seq "$NET_TURNS"); do
            say "network, turn $turn of $NET_TURNS: $name"
            start_server --link-backlog-max 100000
            # shellcheck disable=SC2046
            over_network "$name.burst.$turn" $(files "$name") -c 4 -P 64 --rows 60000 --load-only
            stop_server
            start_server
            # shellcheck disable=SC2046
            over_network "$name.sustained.$turn" $(files "$name") -c 4 -P 16 --keep --ef 10 -n 10
            # shellcheck disable=SC2046
            over_network "$name.net-4x16.$turn" $(files "$name") --search-only -c 4 -P 16 --ef $EF -n $n
            # shellcheck disable=SC2046
            over_network "$name.net-64x1.$turn" $(files "$name") --search-only -c 64 -P 1 --ef $EF -n $n
            # shellcheck disable=SC2046
            over_network "$name.net-1x1.$turn" $(files "$name") --search-only -c 1 -P 1 --ef $EF -n 2000
            stop_server
        done
    done
}

# ---- what the server feels like, beside what it could be at best ----

probes() {
    local name turn pings=10000
    [ -z "$QUICK" ] || pings=2000
    for name in $SETS; do
        prepare "$name"
        for turn in $(seq "$NET_TURNS"); do
            say "probes, turn $turn of $NET_TURNS: $name"
            start_server
            # shellcheck disable=SC2046
            over_network "$name.probes.$turn" $(files "$name") -c 4 -P 16 --probe-single --probe-ping --pings $pings --probe-mixed \
                --ms $((MS * 2))
            stop_server
        done
    done
}

for part in $PARTS; do
    case $part in
        compare | kernels | scaling | network | probes) $part ;;
        *) say "unknown part $part"; exit 2 ;;
    esac
done
full=1
[ -z "$QUICK" ] && [ -z "${BENCH_PARTS:-}" ] || full=
full=${BENCH_README:-$full}
python3 utils/bench/summary.py "$runs" "$out" ${full:+README.md} || { [ $? -eq 3 ] && full=; }
rm -f "$out"/*.svg
python3 utils/bench/plot.py "$out/results.json" "$out"
if [ -n "$full" ]; then
    python3 utils/bench/plot.py "$out/results.json" docs/images docs/performance.md README.md
fi
cat "$out/table.md"
