#!/bin/bash
# The documentation against the tree: every relative link in a .md leads to a file that is there, and its #part to a heading;
# every setting that is named is in vecstore.conf, every test program and every file of the tree is there; no path of somebody's
# machine stands anywhere.
#
#   tests/check/docs_links.sh [ROOT]
set -euo pipefail
cd "${1:-$(dirname "$0")/../..}"
python3 - <<'PYTHON'
import os
import re
import sys

SKIP = {".git", "build", "node_modules"}
wrong = []


def pages():
    for folder, folders, names in os.walk("."):
        folders[:] = sorted(f for f in folders if f not in SKIP and not os.path.islink(os.path.join(folder, f)))
        for name in sorted(names):
            if name.endswith(".md"):
                yield os.path.normpath(os.path.join(folder, name))


def lines_of(path):
    """(number, line, is code) of a page; fenced and indented blocks are code."""
    fenced = False
    with open(path, encoding="utf-8") as file:
        for number, line in enumerate(file, 1):
            fence = line.lstrip().startswith("```")
            yield number, line.rstrip("\n"), fenced or fence or line.startswith("    ")
            fenced ^= fence


def slugs(path):
    """What GitHub makes of a page's headings."""
    found, seen = set(), {}
    for _, line, code in lines_of(path):
        if code or not re.match(r"#{1,6} ", line):
            continue
        text = re.sub(r"\[([^]]*)\]\([^)]*\)", r"\1", line.lstrip("#").strip()).lower()
        slug = re.sub(r"[^\w\- ]", "", text).replace(" ", "-")
        again = seen.get(slug, 0)
        seen[slug] = again + 1
        found.add(f"{slug}-{again}" if again else slug)
    return found


def check_link(path, number, target):
    if re.match(r"[a-z]+:", target):
        return
    file, _, part = target.partition("#")
    full = os.path.normpath(os.path.join(os.path.dirname(path), file)) if file else path
    if not os.path.exists(full):
        wrong.append(f"{path}:{number}: no such file: {target}")
    elif part and full.endswith(".md") and part not in slugs(full):
        wrong.append(f"{path}:{number}: no such heading: {target}")


def words_of_sources():
    """String literals of the sources: what a reply or an option may be called."""
    found = set()
    for folder, _, names in os.walk("src"):
        for name in names:
            with open(os.path.join(folder, name), encoding="utf-8") as file:
                found |= set(re.findall(r'"([a-z0-9]+(?:-[a-z0-9]+)+)"', file.read()))
    return found


def settings():
    with open("vecstore.conf", encoding="utf-8") as file:
        return {m.group(1) for m in re.finditer(r"^(?:# )?([a-z]+(?:-[a-z]+)*)(?= \S)", file.read(), re.M)}


SETTINGS = settings()
WORDS = words_of_sources()
PROGRAMS = re.compile(r"(redis|vecstore|clang|python3|search|vs-io)-[a-z]+(-[a-z]+)*$")


def check_settings(path, number, line, in_table):
    named = set(re.findall(r"(?<!ERR )CONFIG (?:SET|GET) ([a-z]+(?:-[a-z]+)*)(?= [^a-z]|`|$)", line))
    named |= {w for w in re.findall(r"`([a-z]+(?:-[a-z]+)+)(?: [^`]*)?`", line) if w not in WORDS and not PROGRAMS.match(w)}
    if in_table:
        named |= set(re.findall(r"`([^`]+)`", line.split("|")[1]))
    for name in sorted(named - SETTINGS):
        wrong.append(f"{path}:{number}: no such setting: {name}")


def check_files(path, number, line):
    for program in re.findall(r"\bbuild/(?:asan/|tsan/)?(tests/\w+/test_\w+)", line):
        if not os.path.exists(program + ".c"):
            wrong.append(f"{path}:{number}: no such test: {program}.c")
    for file in re.findall(r"`((?:src|tests|utils|docs|deps)/[\w./-]+)`", line):
        if not os.path.exists(file):
            wrong.append(f"{path}:{number}: no such file: {file}")


HERE = re.compile(r"(?<![\w.~/])/(home|root|work|Users|mnt|tmp)/")
for path in pages():
    in_table = False
    for number, line, code in lines_of(path):
        if HERE.search(line):
            wrong.append(f"{path}:{number}: a path of one machine: {line.strip()}")
        check_files(path, number, line)
        if code:
            continue
        for target in re.findall(r"\[[^]]*\]\(([^)\s]+)\)", re.sub(r"`[^`]*`", "``", line)):
            check_link(path, number, target)
        if line.startswith("| setting |"):
            in_table = True
        elif not line.startswith("|"):
            in_table = False
        else:
            check_settings(path, number, line, in_table and not line.startswith("| ---"))
            continue
        if not line.startswith("|"):
            check_settings(path, number, line, False)

for line in wrong:
    print(line, file=sys.stderr)
sys.exit(1 if wrong else 0)
PYTHON
