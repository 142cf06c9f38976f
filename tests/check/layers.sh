#!/bin/bash
# The order of the layers, and a few words that have no place in the sources.
#
#   tests/check/layers.sh [ROOT]      checks ROOT/src (the repository)
#
# An #include "..." is written "layer/file.h" and names the file's own layer or one of a lower rank; layers of one rank do
# not include each other; no .c is included; only net and what stands on it include libevent.
set -euo pipefail
root=${1:-$(dirname "$0")/../..}
cd "$root"

{ find src -name '*.[ch]' | sort | xargs -r awk '
BEGIN {
    split("base vec resp index store persist net config cmd server repl cluster gateway", names, " ")
    split("0 1 1 2 3 4 5 5 6 7 8 9 10", ranks, " ")
    for (i in names)
        rank[names[i]] = ranks[i]
    public = rank["store"]
}
function complain(what) {
    printf "%s:%d: %s\n", FILENAME, FNR, what
    bad++
}
FNR == 1 {
    n = split(FILENAME, part, "/")
    own = n == 3 ? part[2] : ""
    top = n == 2
    if (n > 3 || (n == 3 && !(own in rank)))
        complain("the file lies in no layer")
    if (top && FILENAME != "src/main.c" && FILENAME != "src/vecstore.h")
        complain("only main.c and vecstore.h lie above the layers")
}
/(^|[^A-Za-z_])(TODO|FIXME|XXX)([^A-Za-z_]|$)/ { complain("unfinished: " $0) }
/^[ \t]*#[ \t]*include[ \t]*<event/ && own != "" && rank[own] < rank["net"] { complain("libevent belongs to net") }
/^[ \t]*#[ \t]*include[ \t]*"/ {
    name = $0
    sub(/^[^"]*"/, "", name)
    sub(/".*/, "", name)
    if (name ~ /\.c$/)
        complain("includes a .c file: " name)
    if (name == "vecstore.h") {
        if (own != "" && rank[own] < public)
            complain("vecstore.h stands above " own)
        next
    }
    if (split(name, to, "/") != 2 || !(to[1] in rank)) {
        complain("not written \"layer/file.h\": " name)
        next
    }
    if (FILENAME == "src/main.c")
        next
    if (FILENAME == "src/vecstore.h") {
        if (rank[to[1]] > rank["vec"])
            complain("the public header may include base and vec alone: " name)
        next
    }
    if (to[1] != own && rank[to[1]] >= rank[own])
        complain(own " may not include " name (rank[to[1]] == rank[own] ? ": the same rank" : ": a higher layer"))
}
END { exit bad > 0 }
'; } || exit 1
