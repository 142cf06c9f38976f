# For checks that need a server: sourced in the project's folder, behind set -euo pipefail.
#
#   need_server           ends the check, saying so, when no server is built
#   need_redis_py         the same when there is no redis-py; sets $python
#   start_server          on the socket $dir/s, in the new folder $dir, which goes with it at the end; waits until it answers
server=$PWD/${BUILD:-build}/vecstore-server
case ${BUILD:-build} in /*) server=$BUILD/vecstore-server ;; esac
python=/usr/bin/python3
export PYTHONDONTWRITEBYTECODE=1

not_tested() {
    echo "$1: NOT TESTED"
    exit 0
}

need_server() { [ -x "$server" ] || not_tested "no server built"; }

need_redis_py() { "$python" -c 'import redis' 2>/dev/null || not_tested "no python3-redis"; }

dir=$(mktemp -d "${TMPDIR:-/tmp}/vecstore-check-XXXXXX")
server_pid=
finish() {
    if [ -n "$server_pid" ]; then
        kill "$server_pid" 2>/dev/null || true
        wait "$server_pid" 2>/dev/null || true
    fi
    rm -rf "$dir"
}
trap finish EXIT

start_server() {
    local deadline=$((SECONDS + 20))
    "$server" --port 0 --unixsocket "$dir/s" --dir "$dir" --save "" --appendonly no > "$dir/log" 2>&1 &
    server_pid=$!
    until [ "$(redis-cli -s "$dir/s" ping 2>/dev/null)" = PONG ]; do
        if [ $SECONDS -ge $deadline ]; then
            echo "the server does not answer" >&2
            exit 1
        fi
    done
}
