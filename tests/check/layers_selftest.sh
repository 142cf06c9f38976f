#!/bin/bash
# The layer check must fail on what it forbids, and pass what is right.
set -euo pipefail
cd "$(dirname "$0")"
tree=$(mktemp -d)
trap 'rm -rf "$tree"' EXIT

try() { # try PASS|FAIL FILE TEXT
    rm -rf "$tree/src"
    mkdir -p "$tree/src/$(dirname "$2")"
    printf '%s\n' "$3" >"$tree/src/$2"
    if ./layers.sh "$tree" >/dev/null; then got=PASS; else got=FAIL; fi
    if [ $got != "$1" ]; then
        echo "expected $1 for src/$2: $3"
        exit 1
    fi
}

try PASS store/a.c '#include "base/mem.h"'
try PASS store/a.c '#include "store/b.h"'
try PASS store/a.c '#include "vecstore.h"'
try PASS main.c '#include "server/boot.h"'
try PASS net/a.c '#include <event2/event.h>'
try FAIL base/a.c '#include "vec/kernels.h"'
try FAIL vec/a.c '#include "resp/resp.h"'
try FAIL config/a.c '#include "net/conn.h"'
try FAIL index/a.c '#include "vecstore.h"'
try FAIL store/a.c '#include "mem.h"'
try FAIL store/a.c '  #  include "../base/mem.h"'
try FAIL cmd/a.c '#include "cmd/b.c"'
try FAIL store/a.c '#include <event2/event.h>'
try FAIL store/a.c '/* TO''DO: later */'
try FAIL other/a.c 'int x;'
try FAIL other.c 'int x;'
