#!/bin/bash
# Shows a failover: a primary, two replicas and three real sentinels on the loopback, an element written every few
# milliseconds; then the primary is stopped for ten seconds, replaced, and comes back as a replica.
#
#   utils/sentinel_demo.sh            the whole show, a minute
#   utils/sentinel_demo.sh --keep     leaves everything running until Ctrl-C, to be played with
#
# Environment: BUILD (build), PORT (7600: nodes at PORT..PORT+2, sentinels at PORT+10..PORT+12), DOWN_AFTER (3000 ms).
# Needs redis-sentinel and redis-cli (Debian: redis-sentinel, redis-tools).
set -euo pipefail
cd "$(dirname "$0")/.."

server=$(realpath "${BUILD:-build}/vecstore-server")
port=${PORT:-7600}
down_after=${DOWN_AFTER:-3000}
keep=${1:-}
for program in redis-sentinel redis-cli; do
    command -v $program >/dev/null || { echo "$program is missing: deps/install.sh tests" >&2; exit 1; }
done
[ -x "$server" ] || { echo "$server is missing: make" >&2; exit 1; }

dir=$(mktemp -d "${TMPDIR:-/tmp}/vecstore-demo-XXXXXX")
pids=()
node_pid=()
writer=

finish() {
    [ -z "$writer" ] || kill "$writer" 2>/dev/null || true
    for pid in "${pids[@]}"; do
        kill -CONT "$pid" 2>/dev/null || true
        kill "$pid" 2>/dev/null || true
    done
    wait 2>/dev/null || true
    rm -rf "$dir"
}
trap finish EXIT
trap 'exit 130' INT TERM

say() { printf '\n\033[1m%s\033[0m\n' "$*"; }
cli() { redis-cli -p "$@" 2>/dev/null; }
field() { cli "$1" INFO replication | tr -d '\r' | sed -n "s/^$2://p"; }
primary() { cli $((port + 10)) SENTINEL GET-MASTER-ADDR-BY-NAME mymaster | tail -n 1; }
until_true() { # until_true SECONDS COMMAND...
    local end=$((SECONDS + $1))
    shift
    until "$@"; do
        [ $SECONDS -lt $end ] || { echo "gave up waiting: $*" >&2; exit 1; }
        sleep 0.1
    done
}
answers() { [ "$(cli "$1" PING)" = PONG ]; }
in_step() { [ "$(field "$1" master_link_status)" = up ]; }
know() {
    local i
    for i in 0 1 2; do
        local state
        state=$(cli $((port + 10 + i)) SENTINEL MASTER mymaster | paste - - || true)
        grep -q $'^num-slaves\t2$' <<<"$state" && grep -q $'^num-other-sentinels\t2$' <<<"$state" || return 1
    done
}
moved() { [ "$(primary)" != "$1" ] && [ "$(field "$(primary)" role)" = master ]; }
returned() { [ "$(field "$1" role)" = slave ] && in_step "$1"; }
show() {
    local i p
    for i in 0 1 2; do
        p=$((port + i))
        if [ -n "${1:-}" ] && [ "$1" = $p ]; then
            printf '  %d  stopped\n' $p
            continue
        fi
        printf '  %d  %-7s offset %-9s elements %-6s %s\n' $p "$(field $p role)" \
            "$(field $p master_repl_offset)" "$(cli $p VCARD demo)" \
            "$(field $p fence | sed 's/^/fence /')"
    done
}

say "A primary at $port, replicas at $((port + 1)) and $((port + 2))"
for i in 0 1 2; do
    mkdir "$dir/node-$i"
    : >"$dir/node-$i/vecstore.conf"
    replicaof=()
    [ $i -eq 0 ] || replicaof=(--replicaof "127.0.0.1 $port")
    (cd "$dir/node-$i" && exec "$server" vecstore.conf --port $((port + i)) --bind 127.0.0.1 --save '' \
        --appendonly yes "${replicaof[@]}" >log 2>&1) &
    pids+=($!)
    node_pid[i]=$!
done
for i in 0 1 2; do until_true 20 answers $((port + i)); done
for i in 1 2; do until_true 20 in_step $((port + i)); done

say "Three sentinels, down-after-milliseconds $down_after, quorum 2"
for i in 0 1 2; do
    cat >"$dir/sentinel-$i.conf" <<CONF
port $((port + 10 + i))
bind 127.0.0.1
protected-mode no
dir $dir
sentinel monitor mymaster 127.0.0.1 $port 2
sentinel down-after-milliseconds mymaster $down_after
sentinel failover-timeout mymaster 10000
sentinel parallel-syncs mymaster 2
CONF
    redis-sentinel "$dir/sentinel-$i.conf" >"$dir/sentinel-$i.log" 2>&1 &
    pids+=($!)
done
for i in 0 1 2; do until_true 20 answers $((port + 10 + i)); done
until_true 40 know
show

# A client that asks Sentinel where the primary is, and waits for one replica after each write.
(
    n=0 at=
    while :; do
        [ -n "$at" ] || at=$(primary)
        reply=$(printf 'VADD demo VALUES 3 1 2 %d e%d\nWAIT 1 500\n' $n $n | timeout 1 redis-cli -p "$at" 2>/dev/null | tr '\n' ' ' || true)
        if [[ $reply == "1 "[12]* ]]; then
            echo "e$n" >>"$dir/acknowledged"
            n=$((n + 1))
        else
            at=
        fi
        sleep 0.02
    done
) &
writer=$!

say "An element is written every few milliseconds"
sleep 3
show

say "SIGSTOP to the primary, $port"
kill -STOP "${node_pid[0]}"
began=$(date +%s%N)
until_true 30 moved $port
new=$(primary)
echo "  after $((($(date +%s%N) - began) / 1000000)) ms the primary is $new"
until_true 30 in_step $((new == port + 1 ? port + 2 : port + 1))
sleep 5
show $port

say "SIGCONT: it does not know yet that it was replaced"
kill -CONT "${node_pid[0]}"
sleep 0.3
echo "  a write to it: $(cli $port VADD demo VALUES 3 1 1 1 stale)"
until_true 40 returned $port
sed -n 's/.* [#*] /  its log: /p' "$dir/node-0/log" | grep -E 'fenced|did not run|Replica of|In step|All data' | tail -n 5
sleep 2
kill "$writer" && wait "$writer" 2>/dev/null || true
writer=
sleep 0.5
show

lost=0
total=0
while read -r id; do
    total=$((total + 1))
    echo "VISMEMBER demo $id"
done <"$dir/acknowledged" >"$dir/questions"
total=$(wc -l <"$dir/acknowledged")
lost=$(redis-cli -p "$new" <"$dir/questions" | grep -vc '^1$' || true)
say "$total writes were acknowledged by a replica, too; lost: $lost"

if [ "$keep" = --keep ]; then
    say "Everything stays up: redis-cli -p $new; redis-cli -p $((port + 10)) SENTINEL MASTERS. Ctrl-C ends it."
    wait
fi
[ "$lost" -eq 0 ]
