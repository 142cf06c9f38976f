#!/bin/bash
# The README's program: compiled by the README's command against the library of $BUILD, it prints what the README says.
set -euo pipefail
cd "$(dirname "$0")/../.."
build=${BUILD:-build}
made=$(mktemp -d "${TMPDIR:-/tmp}/vecstore-example-XXXXXX")
trap 'rm -rf "$made"' EXIT

sed -n '/^<!-- example:begin -->$/,/^<!-- example:end -->$/p' README.md | sed '/^<!--/d; /^```/d' > "$made/example.c"
if [ ! -s "$made/example.c" ]; then
    echo "README.md has no program between its example marks" >&2
    exit 1
fi
# "    cc ... && ./a.out", then the lines it prints.
command=$(sed -n 's|^    \(cc .*example\.c .*\) && \./a\.out$|\1|p' README.md)
sed -n '/^    cc .*example\.c .*\.\/a\.out$/,/^$/p' README.md | sed '1d; /^$/d; s/^    //' > "$made/said"
if [ -z "$command" ] || [ ! -s "$made/said" ]; then
    echo "README.md does not say how its program is compiled, or what it prints" >&2
    exit 1
fi

${MAKE:-make} --no-print-directory BUILD="$build" "$build/libvecstore.a" >/dev/null
command=${command/ example.c / $made/example.c }
command=${command/ build\// $build/}
# shellcheck disable=SC2086
${command/#cc /${CC:-cc} -Wall -Wextra -Werror -o $made/example }
"$made/example" > "$made/printed"
diff "$made/said" "$made/printed"
