#!/usr/bin/env python3
"""Turns the runs of utils/bench/run.sh into results.json and table.md, and into the table of the README.

    summary.py RUNS OUT [README.md]

RUNS holds one JSON file a run, named SET.ENGINE.TURN.json. Sections of the README's table of which there are no runs stay. Ratios are taken within a turn; all figures are medians over turns.
"""
import glob
import json
import math
import os
import platform
import re
import statistics
import sys

TARGETS = (0.95, 0.99)
# Engines in the order of the table, with their names there; those of the index types are measured beside the default.
ENGINES = (
    ("hnswlib", "hnswlib"),
    ("faiss", "faiss"),
    ("vecstore", "vecstore"),
    ("vecstore-q4", "vecstore q4"),
    ("vecstore-bin", "vecstore bin"),
)
FIGURES = ("build_1", "build_all", "qps_0.95", "qps_0.99", "bytes")
# First words of the sections' titles: what else stands between the marks goes.
TITLES = ("Measured by", "In process;", "Through the", "What a", "Kernels for", "Memory, bytes", "How the")
BEGIN, END = "<!-- bench:begin -->", "<!-- bench:end -->"


def load(folder):
    """{set: {engine: [run of turn 1, run of turn 2, ..]}}"""
    runs = {}
    for path in sorted(glob.glob(os.path.join(folder, "*.json"))):
        parts = os.path.basename(path)[: -len(".json")].split(".")
        with open(path) as file:
            run = json.load(file)
        if parts[0] == "scaling":
            runs.setdefault("scaling", {})[parts[1]] = run
        else:
            runs.setdefault(parts[0], {}).setdefault(parts[1], []).append(run)
    return runs


def sweep(run, threads=1):
    """The searches of one number of threads (peers have one, the network none)."""
    return sorted((s for s in run["searches"] if s.get("threads", threads) == threads), key=lambda s: s["ef"])


def at_recall(steps, target, field="qps"):
    """The field at a recall, its logarithm linear in log(1 - recall) between the neighbouring steps; None where not reached."""
    below = None
    for step in steps:
        if step["recall"] < target:
            below = step
        elif below is None:
            return step[field]
        else:
            miss = [math.log(max(1 - x, 5e-6)) for x in (below["recall"], target, step["recall"])]
            part = (miss[1] - miss[0]) / (miss[2] - miss[0])
            return math.exp(math.log(below[field]) * (1 - part) + math.log(step[field]) * part)
    return None


def median(values):
    values = [v for v in values if v is not None]
    return statistics.median(values) if values else None


def ratio(ours, theirs):
    return median([a / b for a, b in zip(ours, theirs) if a and b])


def build_rate(run, threads):
    if "loads" not in run:
        return run["build_rate"] if run["threads"] == threads else None
    return next((load["linked_rate"] for load in run["loads"] if load["threads"] == threads), None)


def bytes_per_vector(run):
    if "memory" in run:
        return run["memory"]["total"] / run["rows"]
    return run["bytes_per_vector"]


def number(value, digits=0):
    return "n/a" if value is None else f"{value:,.{digits}f}"


def times(value):
    return "n/a" if value is None else f"**{value:.2f}**"


def engine_row(turns, single, threads):
    """The medians of an engine; `single` are the runs that built on one thread."""
    row = {
        "build_1": median(build_rate(r, 1) for r in single),
        "build_all": median(build_rate(r, threads) for r in turns),
        "bytes": median(bytes_per_vector(r) for r in turns),
    }
    for target in TARGETS:
        row[f"qps_{target}"] = median(at_recall(sweep(r), target) for r in turns)
    row["sweep"] = [
        {"ef": s["ef"], "recall": s["recall"], "qps": median(sweep(r)[i]["qps"] for r in turns)}
        for i, s in enumerate(sweep(turns[0]))
    ]
    return row


def engine_ratios(ours, theirs, their_single, threads):
    """Medians of the ratios within a turn."""
    ratios = {
        "build_1": ratio([build_rate(r, 1) for r in ours], [build_rate(r, 1) for r in their_single]),
        "build_all": ratio([build_rate(r, threads) for r in ours], [build_rate(r, threads) for r in theirs]),
        "bytes": ratio([bytes_per_vector(r) for r in ours], [bytes_per_vector(r) for r in theirs]),
    }
    for target in TARGETS:
        ratios[f"qps_{target}"] = ratio([at_recall(sweep(r), target) for r in ours], [at_recall(sweep(r), target) for r in theirs])
    return ratios


def compare_set(name, engines, threads, results):
    theirs = engines["hnswlib"]
    their_single = engines.get("hnswlib-build1", theirs)
    ours = engines["vecstore"][0]
    results["data"] = {"rows": ours["rows"], "dim": ours["dim"], "metric": ours["metric"]}
    rows = []
    for engine, label in ENGINES:
        turns = engines.get(engine)
        if not turns:
            continue
        row = results[engine] = engine_row(turns, engines.get(f"{engine}-build1", turns), threads)
        rows.append([name, label] + [number(row[f]) for f in FIGURES])
        if engine.startswith("vecstore"):
            ratios = engine_ratios(turns, theirs, their_single, threads)
            results["ratio" + engine[len("vecstore"):]] = ratios
            rows.append([name, f"{label}, ratio to hnswlib"] + [times(ratios[f]) for f in FIGURES])
    return rows


def table(header, rows):
    lines = ["| " + " | ".join(header) + " |", "| " + " | ".join("---" for _ in header) + " |"]
    return lines + ["| " + " | ".join(row) + " |" for row in rows]


def memory_rows(runs):
    rows = []
    for name, engines in runs.items():
        if name == "scaling":
            continue
        for label, engine in (
            ("in process", "vecstore"),
            ("in process, q4", "vecstore-q4"),
            ("in process, bin", "vecstore-bin"),
            ("server", "sustained"),
        ):
            turns = engines.get(engine)
            if not turns:
                continue
            run = turns[0]
            m, n = run["memory"], run["rows"]
            rest = (m["total"] - m["codes"] - m["originals"]) / n
            resident = median(
                (r["memory"]["process_rss"] - r["memory"]["process_rss_before"] - r["memory"]["codes"] - r["memory"]["originals"]) / n
                for r in turns
            )
            rows.append([name, label, number(m["codes"] / n), number(m["originals"] / n), number(rest), number(resident)])
    return rows


def network_rows(name, engines, threads, results):
    burst, sustained = engines.get("burst"), engines.get("sustained")
    local = engines.get("vecstore")
    if burst:
        results["burst_acknowledged"] = median(r["loads"][0]["acknowledged_rate"] for r in burst)
        results["burst_loop_turn_max_us"] = max(r["loop_turn_max_us"] for r in burst)
    if sustained:
        results["sustained"] = median(r["loads"][0]["linked_rate"] for r in sustained)
        results["sustained_loop_turn_max_us"] = max(r["loop_turn_max_us"] for r in sustained)
        if local:
            results["sustained_to_building"] = results["sustained"] / median(build_rate(r, threads) for r in local)
    for shape in ("4x16", "64x1", "1x1"):
        turns = engines.get(f"net-{shape}")
        if not turns:
            continue
        for target in TARGETS:
            results[f"qps_{shape}_{target}"] = median(at_recall(sweep(r, 0), target) for r in turns)
            if local:
                inside = median(at_recall(sweep(r, threads), target) for r in local)
                qps = results[f"qps_{shape}_{target}"]
                results[f"ratio_{shape}_{target}"] = qps / inside if qps and inside else None
        results[f"p50_us_{shape}_0.95"] = median(at_recall(sweep(r, 0), 0.95, "p50_us") for r in turns)
        results[f"ping_us_{shape}"] = median(r["ping_us"] for r in turns)
    got = results.get
    return [
        name,
        number(got("burst_acknowledged")),
        number(got("sustained")) + (f" ({got('sustained_to_building'):.2f})" if got("sustained_to_building") else ""),
        "/".join(number(got(f)) for f in ("burst_loop_turn_max_us", "sustained_loop_turn_max_us")),
        *(
            number(got(f"qps_{shape}_0.95")) + (f" ({got(f'ratio_{shape}_0.95'):.2f})" if got(f"ratio_{shape}_0.95") else "")
            for shape in ("4x16", "64x1")
        ),
        number(got("p50_us_1x1_0.95")),
        number(got("ping_us_1x1"), 1),
    ]


def kernel_rows(name, engines, threads, results):
    """AVX2 against AVX-512: QPS of one thread, and building."""
    wide, narrow = engines["kernels-avx512vnni"], engines["kernels-avx2"]
    rates = {"building": [[build_rate(r, threads) for r in turns] for turns in (wide, narrow)]}
    for target in TARGETS:
        rates[f"qps_{target}"] = [[at_recall(sweep(r), target) for r in turns] for turns in (wide, narrow)]
    row = [name]
    for field, (of_wide, of_narrow) in rates.items():
        results[field] = {"avx512": median(of_wide), "avx2": median(of_narrow), "ratio": ratio(of_narrow, of_wide)}
        row.append(f"{number(median(of_wide))} / {number(median(of_narrow))}: {times(results[field]['ratio'])}")
    return row


def probe_rows(name, turns, results):
    """One connection; PING under load; searches beside a writer."""
    results["ef"] = turns[0]["probes"]["ef"]
    single = [t["probes"]["single"][0] for t in turns]
    ping = [t["probes"]["ping"][0] for t in turns]
    mixed = [t["probes"]["mixed"][0] for t in turns]
    over = median(s["search_us"] - s["inside_us"] - s["ping_us"] for s in single)
    for field in ("search_us", "inside_us", "ping_us"):
        results[field] = median(s[field] for s in single)
    results["over_us"] = over
    for who in ("server", "echo"):
        for field in ("p50_us", "p99_us", "p999_us"):
            results[f"{who}_{field}"] = median(p[who][field] for p in ping)
    results["p99_to_echo"] = median(p["server"]["p99_us"] / p["echo"]["p99_us"] for p in ping)
    for phase in ("half", "full"):
        results[f"{phase}_qps"] = median(m[phase]["qps"] / m[phase]["alone_qps"] for m in mixed)
        results[f"{phase}_p99"] = median(m[phase]["p99_us"] / m[phase]["alone_p99_us"] for m in mixed)
        results[f"{phase}_linked"] = median(m[phase]["linked"] / m["build_rate"] for m in mixed)
    got = results.get
    pings = "; ".join(
        " / ".join(number(got(f"{who}_{field}")) for field in ("p50_us", "p99_us", "p999_us")) for who in ("server", "echo"))
    return [
        name,
        f"{got('search_us'):.0f} = {got('inside_us'):.0f} + {got('ping_us'):.0f} + {times(over)}",
        f"{pings}: {times(got('p99_to_echo'))}",
        f"{times(got('half_qps'))}, p99 {times(got('half_p99'))}, linking {got('half_linked'):.2f}",
        f"{times(got('full_qps'))}, linking {times(got('full_linked'))}",
    ]


def scaling_rows(sizes, threads, results):
    rows = []
    for name, run in sorted(sizes.items(), key=lambda item: item[1]["rows"]):
        steps = sweep(run)
        qps = at_recall(steps, 0.95)
        results[name] = {
            "rows": run["rows"],
            "build_all": build_rate(run, threads),
            "qps_0.95": qps,
            "us_0.95": 1e6 / qps if qps else None,
            "ef_0.95": at_recall(steps, 0.95, "ef"),
            "us_ef_40": next((1e6 / s["qps"] for s in steps if s["ef"] == 40), None),
            "recall_ef_40": next((s["recall"] for s in steps if s["ef"] == 40), None),
        }
        r = results[name]
        rows.append([number(r["rows"]), number(r["build_all"]), number(r["us_ef_40"], 1), number(r["recall_ef_40"], 4),
                     number(r["us_0.95"], 1), number(qps)])
    return rows


def sections(text):
    """{first words of a section's title: [lines]}, in order."""
    found, lines = {}, []
    for line in text.strip().split("\n"):
        if line and not line.startswith("|"):
            lines = found.setdefault(" ".join(line.split()[:2]), [])
        lines.append(line)
    return {title: lines for title, lines in found.items() if title in TITLES}


def data_of(section):
    return {line.split("|")[1].strip() for line in section if line.startswith("|")}


def merged(old, new):
    """The new table, with the old one's sections where the new has none, or not all of their data sets; None: of another machine."""
    old, new = sections(old), sections(new)
    if any(title not in new for title in old) and old.get("Measured by") != new.get("Measured by"):
        return None
    for title, lines in old.items():
        if title not in new or not data_of(lines) <= data_of(new[title]):
            new[title] = lines
    order = list(old) + [title for title in new if title not in old]
    return "\n".join("\n".join(new[title]).strip() + "\n" for title in order)


def machine():
    model = platform.processor() or platform.machine()
    try:
        with open("/proc/cpuinfo") as file:
            model = re.search(r"model name\s*:\s*(.*)", file.read()).group(1)
    except (OSError, AttributeError):
        pass
    return model


def main():
    folder, out = sys.argv[1], sys.argv[2]
    runs = load(folder)
    sets = [name for name in runs if name != "scaling"]
    threads = os.cpu_count()
    try:
        threads = len(os.sched_getaffinity(0))
    except AttributeError:
        pass
    results = {"machine": machine(), "threads": threads, "compare": {}, "network": {}, "probes": {}, "kernels": {},
               "scaling": {}}
    lines = [f"Measured by `make bench` on {machine()}, {threads} processors; medians, ratios within a turn.", ""]
    compared = [row for name in sets if "hnswlib" in runs[name] and "vecstore" in runs[name]
                for row in compare_set(name, runs[name], threads, results["compare"].setdefault(name, {}))]
    if compared:
        lines += ["In process; M 16, efConstruction 200, recall@10; searches on one thread; bytes with everything a search needs, originals included.", ""]
        lines += table(["data", "engine", "building, vectors/s, 1 thread", f"{threads} threads", "QPS at 0.95", "QPS at 0.99",
                        "bytes a vector"], compared) + [""]
    served = [network_rows(name, runs[name], threads, results["network"].setdefault(name, {})) for name in sets
              if any(engine in runs[name] for engine in ("burst", "sustained", "net-4x16"))]
    if served:
        lines += ["Through the server, client on the same machine; in brackets the ratio to the engine in process with all threads.", ""]
        lines += table(["data", "burst, VADD/s acknowledged", "sustained, VADD/s", "longest loop turn, us (burst/sustained)",
                        "QPS at 0.95, 4 connections, pipeline 16", "64 connections, pipeline 1", "1 connection, p50 us",
                        "PING p50 us"], served) + [""]
    probed = [probe_rows(name, runs[name]["probes"], results["probes"].setdefault(name, {})) for name in sets if "probes" in runs[name]]
    if probed:
        lines += ["What a client of the server sees, at recall 0.95, beside what it is compared with (in brackets: what it shall reach). "
                  "Both writers beside 4 connections with pipeline 16; shares are of the rates alone.", ""]
        lines += table(["data", "1 connection, p50 us = in process + PING + rest (40 at most)",
                        "PING under load, p50 / p99 / p99.9 us; an idle echo process; p99 to p99 (150 us at p50, 2)",
                        "searches beside a writer at half the rate of building (0.45, p99 below 4)",
                        "neither held (0.25, linking 0.25)"], probed) + [""]
    kernels = [kernel_rows(name, runs[name], threads, results["kernels"].setdefault(name, {})) for name in sets
               if "kernels-avx2" in runs[name]]
    if kernels:
        lines += ["Kernels for AVX-512 / for AVX2 on the same processor: the ratio shall be 0.6. In process, searches on one thread.", ""]
        lines += table(["data", f"building, vectors/s, {threads} threads", "QPS at 0.95", "QPS at 0.99"], kernels) + [""]
    memory = memory_rows(runs)
    if memory:
        lines += ["Memory, bytes a vector (12-byte ids, no attributes).", ""]
        lines += table(["data", "", "codes", "originals", "all else, accounted", "all else, resident"], memory) + [""]
    if "scaling" in runs:
        lines += ["How the cost of a search grows: generated 128-d vectors, one thread.", ""]
        lines += table(["vectors", f"building/s, {threads} threads", "us at EF 40", "recall at EF 40", "us at 0.95", "QPS at 0.95"],
                       scaling_rows(runs["scaling"], threads, results["scaling"])) + [""]
    text = "\n".join(lines)
    with open(os.path.join(out, "results.json"), "w") as file:
        json.dump(results, file, indent=1)
        file.write("\n")
    with open(os.path.join(out, "table.md"), "w") as file:
        file.write(text)
    for path in sys.argv[3:]:
        if not os.path.exists(path):
            continue
        with open(path) as file:
            page = file.read()
        begin, end = page.find(BEGIN), page.find(END)
        if begin < 0 or end < begin:
            print(f"{path} has no lines {BEGIN} and {END}: left as it is", file=sys.stderr)
            continue
        whole = merged(page[begin + len(BEGIN) : end], text)
        if whole is None:
            print(f"{path} has sections that another machine measured and this run did not: left as it is", file=sys.stderr)
            sys.exit(3)
        with open(path, "w") as file:
            file.write(page[: begin + len(BEGIN)] + "\n" + whole + "\n" + page[end:])


if __name__ == "__main__":
    main()
