#!/bin/bash
# Three nodes under random commands, readers, kills and failovers for some seconds (make soak runs it longer): exactly, where
# nothing ends or goes by itself, and with everything that a server does by itself.
set -euo pipefail
cd "$(dirname "$0")/../.."
. tests/lib/check_server.sh
need_server
need_redis_py
for features in "" expire,evict,threads; do
    "$python" tests/soak/soak.py --server "$server" --seconds 8 --with "$features"
done
