#!/bin/bash
# The pages of docs/commands are those that the table of commands gives.
set -euo pipefail
cd "$(dirname "$0")/../.."
build=${BUILD:-build}
made=$(mktemp -d "${TMPDIR:-/tmp}/vecstore-docs-XXXXXX")
trap 'rm -rf "$made"' EXIT
${MAKE:-make} --no-print-directory BUILD="$build" "$build/utils/docs_gen" >/dev/null
"$build/utils/docs_gen" "$made"
if ! diff -r docs/commands "$made"; then
    echo "docs/commands is not what the table gives: run make docs" >&2
    exit 1
fi
