#!/bin/bash
# vecstore.conf is printed from the table of settings: what lies in the tree must be what the server prints. Without a server in $BUILD the
# unit test of the settings, which compares the same, has to do.
set -euo pipefail
cd "$(dirname "$0")/../.."

server=${BUILD:-build}/vecstore-server
if [ ! -x "$server" ]; then
    echo "no $server: not compared"
    exit 0
fi
if ! diff -u vecstore.conf <("$server" --dump-default-config); then
    echo "vecstore.conf is not what the table of settings says; write it anew: $server --dump-default-config > vecstore.conf" >&2
    exit 1
fi
