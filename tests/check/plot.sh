#!/bin/bash
# From made-up runs, utils/bench/summary.py and plot.py make the table and the drawings: every engine has its rows and its curve,
# only data sets that were compared are drawn, what is drawn is well-formed, and pages show it. Measures nothing.
set -euo pipefail
cd "$(dirname "$0")/../.."
export PYTHONDONTWRITEBYTECODE=1
made=$(mktemp -d "${TMPDIR:-/tmp}/vecstore-plot-XXXXXX")
trap 'rm -rf "$made"' EXIT
mkdir -p "$made/runs" "$made/docs"
printf 'before\n<!-- plots:begin -->\nold\n<!-- plots:end -->\nafter\n' > "$made/docs/page.md"
printf 'before\n<!-- bench:begin -->\nold\n<!-- bench:end -->\nafter\n' > "$made/README.md"

python3 - "$made" <<'PYTHON'
import json
import sys

EF = (10, 40, 160)


def write(name, run):
    with open(f"{sys.argv[1]}/runs/{name}.json", "w") as file:
        json.dump(run, file)


def searches(recalls, first, threads=None):
    steps = [{"ef": ef, "recall": recall, "qps": first / ef} for ef, recall in zip(EF, recalls)]
    return [dict(step, threads=threads) for step in steps] if threads else steps


def peer(recalls, first):
    return {"rows": 1000, "dim": 8, "threads": 2, "build_rate": 50.0, "bytes_per_vector": 100.0, "searches": searches(recalls, first)}


def vecstore(recalls, first):
    parts = dict.fromkeys(("codes", "originals", "process_rss", "process_rss_before"), 1000)
    return {"rows": 1000, "dim": 8, "metric": "cosine", "loads": [{"threads": 2, "linked_rate": 150.0}],
            "memory": dict(parts, total=200000), "searches": searches(recalls, first, 1)}


for turn in (1, 2):
    write(f"a&b.hnswlib.{turn}", peer((0.7, 0.96, 0.995), 1e5))
    write(f"a&b.vecstore.{turn}", vecstore((0.7, 0.96, 0.995), 4e5))
    write(f"a&b.vecstore-q4.{turn}", vecstore((0.6, 0.9, 0.97), 6e5))
    write(f"a&b.vecstore-bin.{turn}", vecstore((0.5, 0.85, 0.94), 9e5))
    write(f"short.hnswlib.{turn}", peer((0.81, 0.9, 1.0), 1e5))
    write(f"short.vecstore.{turn}", vecstore((0.1, 0.2, 0.3), 4e5))
write("a&b.faiss.1", peer((0.75, 0.97, 0.995), 8e4))
write("alone.vecstore.1", vecstore((0.8, 0.9, 1.0), 1e5))
PYTHON

python3 utils/bench/summary.py "$made/runs" "$made" "$made/README.md"
python3 utils/bench/plot.py "$made/results.json" "$made/docs/images" "$made/docs/page.md"

# What a run did not measure stays in the page, and nothing changes where another machine measured it.
sed -i 's/^<!-- bench:end -->/How the cost grows:\n\n| vectors |\n| --- |\n| kept |\n\n&/' "$made/README.md"
python3 utils/bench/summary.py "$made/runs" "$made" "$made/README.md"
grep -q '^| kept |' "$made/README.md"
sed 's/^Measured by .*/Measured by another machine./' "$made/README.md" > "$made/other.md"
cp "$made/other.md" "$made/other.before"
status=0
python3 utils/bench/summary.py "$made/runs" "$made" "$made/other.md" 2> /dev/null || status=$?
[ "$status" -eq 3 ]
cmp "$made/other.md" "$made/other.before"

python3 - "$made" <<'PYTHON'
import json
import os
import sys
import xml.etree.ElementTree as tree

made = sys.argv[1]
SVG = "{http://www.w3.org/2000/svg}"


def expect(got, wanted, what):
    if got != wanted:
        sys.exit(f"{what}: {got!r} instead of {wanted!r}")


def text_of(path):
    with open(os.path.join(made, path)) as file:
        return file.read()


def curves(name):
    """{engine: (corners of its line, markers)}"""
    found = {}
    for group in tree.fromstring(text_of(f"docs/images/{name}.svg")).iter(SVG + "g"):
        if group.get("id"):
            corners = [tuple(map(float, at.split(","))) for at in group.find(SVG + "polyline").get("points").split()]
            found[group.get("id")] = (corners, len(group) - 1)
    return found


expect(sorted(os.listdir(f"{made}/docs/images")), ["a&b.svg", "short.svg"], "drawings")
drawn = curves("a&b")
expect(sorted(drawn), ["faiss", "hnswlib", "vecstore", "vecstore-bin", "vecstore-q4"], "curves of a&b")
expect(list(curves("short")), ["hnswlib"], "curves of short, where one stays below the axis")
for engine, (corners, markers) in drawn.items():
    # Two of three steps lie on the axis; the third is where the curve crosses its end.
    expect((len(corners), markers), (3, 2), f"points of {engine}")
    xs, ys = zip(*corners)
    expect(list(xs), sorted(xs), f"recall of {engine} grows to the right")
    expect(list(ys), sorted(ys), f"QPS of {engine} falls")
for (_, ours), (_, theirs) in zip(drawn["vecstore"][0][1:], drawn["hnswlib"][0][1:]):
    expect(ours < theirs, True, "the faster curve lies above")
page = text_of("docs/page.md")
expect("old" in page or not page.startswith("before\n") or not page.endswith("after\n"), False, "old text, or none around it")
expect(page.count("(images/"), 2, "drawings the page shows")

results = json.loads(text_of("results.json"))["compare"]["a&b"]
expect(round(results["ratio"]["qps_0.95"], 6), 4.0, "ratio at 0.95")
expect(results["ratio-q4"]["qps_0.95"] > 1, True, "q4 is faster at 0.95")
expect(results["ratio-bin"]["qps_0.95"], None, "ratio of bin, which does not reach 0.95")
expect(round(results["ratio-q4"]["build_all"], 6), 3.0, "building with q4")
for label in ("vecstore q4", "vecstore bin", "vecstore bin, ratio to hnswlib"):
    expect(text_of("README.md").count(f"| {label} |"), 1, f"rows of {label}")
PYTHON
