#!/bin/bash
# docs/backup.md: its commands, run as they stand there against a server that is being written to, give a backup that is
# verified, unlike a damaged one, and that a server starts from.
set -euo pipefail
cd "$(dirname "$0")/../.."
build=$(realpath "${BUILD:-build}")
if [ ! -x "$build/vecstore-server" ] || [ ! -x "$build/vecstore-check-rdb" ] || ! command -v redis-cli >/dev/null; then
    echo "no server or no tool built, or no redis-cli: skipped"
    exit 0
fi
work=$(mktemp -d "${TMPDIR:-/tmp}/vecstore-backup-XXXXXX")
pid=
writer=
finish() {
    for p in $writer $pid; do
        kill "$p" 2>/dev/null || true
        wait "$p" 2>/dev/null || true
    done
    rm -rf "$work"
}
trap finish EXIT
mkdir "$work/bin" "$work/data"
ln -s "$build/vecstore-check-rdb" "$work/bin/vecstore-check-rdb"
export PATH=$work/bin:$PATH DIR=$work/data BACKUP=$work/backup PORT

# The commands between two marks of the page.
commands() { sed -n "/^<!-- $1:begin -->\$/,/^<!-- $1:end -->\$/p" docs/backup.md | sed '/^<!--/d; /^```/d'; }

start() { # start OPTIONS ...
    local try
    for try in 1 2 3 4 5; do
        PORT=$((20000 + (RANDOM % 20000)))
        "$build/vecstore-server" --port "$PORT" --bind 127.0.0.1 --dir "$DIR" --save "" "$@" > "$work/log" 2>&1 &
        pid=$!
        for _ in $(seq 200); do
            kill -0 "$pid" 2>/dev/null || break
            [ "$(redis-cli -p "$PORT" PING 2>/dev/null)" = PONG ] && return 0
            sleep 0.05
        done
        kill "$pid" 2>/dev/null || true
        wait "$pid" 2>/dev/null || true
    done
    cat "$work/log"
    exit 1
}
stop() {
    kill "$pid"
    wait "$pid" || { cat "$work/log"; exit 1; }
    pid=
}

vectors() { # vectors KEY FROM TO: commands for redis-cli
    awk -v key="$1" -v from="$2" -v to="$3" \
        'BEGIN { for (i = from; i < to; i++) print "VADD", key, "VALUES 4", i % 17, i % 23, i % 29, 1, "e" i }'
}

start --appendonly yes
vectors docs 0 3000 | redis-cli -p "$PORT" > /dev/null
vectors small 0 20 | redis-cli -p "$PORT" > /dev/null
(while :; do vectors later 0 200 | redis-cli -p "$PORT" > /dev/null 2>&1 || exit 0; done) &
writer=$!
bash -euo pipefail -c "$(commands backup)"
# What comes after it does not touch it.
for _ in 1 2 3; do
    vectors docs 0 1500 | sed 's/ 1 e/ 2 e/' | redis-cli -p "$PORT" > /dev/null
    redis-cli -p "$PORT" SAVE > /dev/null
done
kill "$writer"
wait "$writer" 2>/dev/null || true
writer=
bash -euo pipefail -c "$(commands check)"
expected=$(redis-cli -p "$PORT" VCARD docs)
stop

# A damaged copy is refused, with file and offset.
cp -r "$BACKUP" "$work/damaged"
file=$(ls -S "$work"/damaged/dump.rdb.d/*.seg | head -n 1)
cp "$file" "$file.new" && mv "$file.new" "$file"
printf '\377' | dd of="$file" bs=1 seek=5000 conv=notrunc status=none
if vecstore-check-rdb "$work/damaged/dump.rdb" > "$work/said" 2>&1; then
    echo "vecstore-check-rdb takes a damaged backup"
    exit 1
fi
grep -q "offset" "$work/said" || { cat "$work/said"; exit 1; }

bash -euo pipefail -c "$(commands restore)"
start --appendonly yes
[ "$(redis-cli -p "$PORT" VCARD docs)" = "$expected" ]
[ "$(redis-cli -p "$PORT" VCARD small)" = 20 ]
# As it was: the last component of the first vectors is 1 again.
[ "$(redis-cli -p "$PORT" VEMB docs e7 | tail -n 1)" = 1 ]
stop
