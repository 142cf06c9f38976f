#!/bin/bash
# The examples of the documentation of Redis' vector sets, against a real server: by redis-cli, redis-py and node-redis, in RESP2
# and RESP3. RESP3 by redis-py takes its version 5, its typed commands take version 6: with Debian's, raw commands in RESP2.
set -euo pipefail
cd "$(dirname "$0")/../.."
. tests/lib/check_server.sh
need_server
start_server
examples=tests/clients/vector_sets.txt
replay() { # replay COMMAND...: on an empty server
    redis-cli -s "$dir/s" flushall > "$dir/flushed"
    "$@"
}

for protocol in 2 3; do
    replay "$python" tests/clients/transcript.py cli "$dir/s" $protocol $examples
done

# Debian's, and another that may be at hand; each version once.
seen=" "
for python in /usr/bin/python3 python3; do
    version=$("$python" -c 'import redis; print(redis.__version__)' 2>/dev/null) || continue
    case $seen in *" $version "*) continue ;; esac
    seen="$seen$version "
    replay "$python" tests/clients/transcript.py py "$dir/s" 2 $examples
    if [ "${version%%.*}" -ge 5 ]; then
        replay "$python" tests/clients/transcript.py py "$dir/s" 3 $examples
    fi
    replay "$python" tests/clients/vset.py "$dir/s"
done
if [ "$seen" = " " ]; then
    echo "no redis-py (deps/install.sh tests installs it): NOT TESTED"
fi

if [ ! -f tests/integration/node/node_modules/.package-lock.json ] || ! command -v node >/dev/null; then
    echo "no node-redis (deps/install.sh tests installs it): NOT TESTED"
    exit 0
fi
for protocol in 2 3; do
    replay node tests/integration/node/transcript.mjs "$dir/s" $protocol $examples
done
replay node tests/integration/node/vector_sets.mjs "$dir/s"
