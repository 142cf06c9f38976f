#!/usr/bin/env python3
"""Draws recall against QPS from the results.json of make bench: one SVG a data set.

    plot.py OUT/results.json FOLDER [PAGE.md ...]

FOLDER gets SET.svg for every data set that was compared. In each PAGE the lines between "<!-- plots:begin -->" and
"<!-- plots:end -->" then show all drawings that lie in FOLDER. Each drawing has a background of its own, dark where the reader
prefers that, so it can be read on any page. A curve is also told by its marker, not by its colour alone.
"""
import json
import math
import os
import re
import sys
from xml.sax.saxutils import escape

BEGIN, END = "<!-- plots:begin -->", "<!-- plots:end -->"
# Name in the results, name in the legend, colour on light and on dark ground, marker, dashes.
CURVES = (
    ("hnswlib", "hnswlib", "#57606a", "#a9b4c0", "square", "6 4"),
    ("faiss", "faiss", "#8a5a00", "#e0a84a", "triangle", "2 3"),
    ("vecstore", "VecStore", "#005fb8", "#5fb2ff", "circle", ""),
    ("vecstore-q4", "VecStore, q4", "#00734f", "#3ecf9c", "diamond", ""),
    ("vecstore-bin", "VecStore, bin", "#a8326e", "#f58bbf", "cross", ""),
)
WIDTH, HEIGHT = 720, 440
LEFT, RIGHT, TOP, BOTTOM = 84, 150, 62, 52  # margins of the plotted area
RECALL_FROM, RECALL_TO = 0.8, 1.0
RECALL_TICKS = ((0.80, "0.80"), (0.85, "0.85"), (0.90, "0.90"), (0.95, "0.95"), (0.99, "0.99"), (1.00, "1"))


def visible(steps):
    """(recall, log10 QPS) from RECALL_FROM on; a segment that crosses it is cut there."""
    points, last = [], None
    for step in steps:
        point = (step["recall"], math.log10(step["qps"]))
        if last and last[0] < RECALL_FROM < point[0]:
            part = (RECALL_FROM - last[0]) / (point[0] - last[0])
            points.append((RECALL_FROM, last[1] + part * (point[1] - last[1]), False))
        if point[0] >= RECALL_FROM:
            points.append((*point, True))
        last = point
    return points


def ticks(lowest, highest):
    """1, 2 and 5 times powers of ten, from the last at or below `lowest` to the first at or above `highest`."""
    every = [m * 10.0**e for e in range(math.floor(lowest) - 1, math.ceil(highest) + 2) for m in (1, 2, 5)]
    first = max(t for t in every if math.log10(t) <= lowest + 1e-9)
    last = min(t for t in every if math.log10(t) >= highest - 1e-9 and t > first)
    return [t for t in every if first <= t <= last]


def marker(kind, x, y):
    if kind == "circle":
        return f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3.5"/>'
    path = {
        "square": "M-3.2-3.2h6.4v6.4h-6.4z",
        "triangle": "M0-4.2l4 7.2h-8z",
        "diamond": "M0-4.8l4.4 4.8l-4.4 4.8l-4.4-4.8z",
        "cross": "M-3.6-3.6l7.2 7.2M3.6-3.6l-7.2 7.2",
    }[kind]
    return f'<path transform="translate({x:.1f} {y:.1f})" d="{path}"/>'


def style(curves):
    light, dark = [], []
    for key, _, on_light, on_dark, _, _ in curves:
        light.append(f".{key}{{stroke:{on_light};fill:{on_light}}}")
        dark.append(f".{key}{{stroke:{on_dark};fill:{on_dark}}}")
    return (
        "text{font-family:system-ui,-apple-system,'Segoe UI',Helvetica,Arial,sans-serif;font-size:13px;fill:#1f2328}"
        ".title{font-size:16px;font-weight:600}.small{font-size:12px;fill:#57606a}"
        ".ground{fill:#ffffff;stroke:#d0d7de}.grid{stroke:#d8dee4;stroke-width:1}.mark{stroke:#8c959f;stroke-dasharray:3 3}"
        ".frame{fill:none;stroke:#8c959f}polyline{fill:none;stroke-width:2.2;stroke-linejoin:round}"
        ".cross path{stroke-width:2}"
        + "".join(light)
        + "@media (prefers-color-scheme:dark){text{fill:#e6edf3}.small{fill:#9aa4af}.ground{fill:#0d1117;stroke:#30363d}"
        ".grid{stroke:#262c34}.mark,.frame{stroke:#6e7681}" + "".join(dark) + "}"
    )


def subtitle(results, data):
    parts = []
    if "rows" in data:
        parts.append(f"{data['rows']:,} vectors, {data['dim']:,} dimensions, {data['metric']}")
    parts.append("one thread, in process")
    if results.get("machine"):
        parts.append(re.sub(r"\((R|TM)\)", "", results["machine"]))
    return "; ".join(parts)


def axes(steps, x_of, y_of):
    bottom, right = HEIGHT - BOTTOM, WIDTH - RIGHT
    lines = []
    for qps in steps:
        y = y_of(math.log10(qps))
        lines.append(f'<path class="grid" d="M{LEFT} {y:.1f}H{right}"/>')
        lines.append(f'<text x="{LEFT - 8}" y="{y + 4:.1f}" text-anchor="end">{qps:,.0f}</text>')
    for recall, label in RECALL_TICKS:
        x = x_of(recall)
        kind = "mark" if recall in (0.95, 0.99) else "grid"
        lines.append(f'<path class="{kind}" d="M{x:.1f} {TOP}V{bottom}"/>')
        lines.append(f'<text x="{x:.1f}" y="{bottom + 18}" text-anchor="middle">{label}</text>')
    lines.append(f'<rect class="frame" x="{LEFT}" y="{TOP}" width="{right - LEFT}" height="{bottom - TOP}"/>')
    lines.append(f'<text x="{(LEFT + right) / 2:.0f}" y="{HEIGHT - 14}" text-anchor="middle">recall@10</text>')
    middle = (TOP + bottom) / 2
    lines.append(
        f'<text transform="translate(20 {middle:.0f}) rotate(-90)" text-anchor="middle">queries a second (log)</text>'
    )
    return lines


def draw(name, compared, results):
    """The SVG of one data set; None where no curve has a point to show."""
    curves = [(c, visible(compared[c[0]]["sweep"])) for c in CURVES if c[0] in compared]
    curves = [(c, points) for c, points in curves if points]
    if not curves:
        return None
    logs = [point[1] for _, points in curves for point in points]
    steps = ticks(min(logs), max(logs))
    low, high = math.log10(steps[0]), math.log10(steps[-1])

    def x_of(recall):
        return LEFT + (recall - RECALL_FROM) / (RECALL_TO - RECALL_FROM) * (WIDTH - RIGHT - LEFT)

    def y_of(log):
        return TOP + (high - log) / (high - low) * (HEIGHT - BOTTOM - TOP)

    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{HEIGHT}" viewBox="0 0 {WIDTH} {HEIGHT}" role="img">',
        f"<title>{escape(name)}: queries a second against recall</title>",
        f"<style>{escape(style([c for c, _ in curves]))}</style>",
        f'<rect class="ground" x="0.5" y="0.5" width="{WIDTH - 1}" height="{HEIGHT - 1}" rx="6"/>',
        f'<text class="title" x="{LEFT}" y="28">{escape(name)}</text>',
        f'<text class="small" x="{LEFT}" y="48">{escape(subtitle(results, compared.get("data", {})))}</text>',
        *axes(steps, x_of, y_of),
    ]
    for (key, _, _, _, shape, dashes), points in curves:
        at = " ".join(f"{x_of(recall):.1f},{y_of(log):.1f}" for recall, log, _ in points)
        dashed = f' stroke-dasharray="{dashes}"' if dashes else ""
        lines.append(f'<g class="curve {key} {shape}" id="{key}"><polyline points="{at}"{dashed}/>')
        lines += [marker(shape, x_of(recall), y_of(log)) for recall, log, measured in points if measured]
        lines.append("</g>")
    for row, ((key, label, _, _, shape, dashes), _) in enumerate(curves):
        x, y = WIDTH - RIGHT + 12, TOP + 14 + 22 * row
        dashed = f' stroke-dasharray="{dashes}"' if dashes else ""
        lines.append(
            f'<g class="{key} {shape}"><polyline points="{x},{y} {x + 26},{y}"{dashed}/>{marker(shape, x + 13, y)}</g>'
            f'<text x="{x + 34}" y="{y + 4}">{escape(label)}</text>'
        )
    return "\n".join(lines + ["</svg>", ""])


def show(page, folder):
    """Lets a page show what lies in the folder, two drawings a line."""
    with open(page) as file:
        text = file.read()
    begin, end = text.find(BEGIN), text.find(END)
    if begin < 0 or end < begin:
        print(f"{page} has no lines {BEGIN} and {END}: left as it is", file=sys.stderr)
        return
    way = os.path.relpath(folder, os.path.dirname(page) or ".")
    lines = []
    for file in sorted(name for name in os.listdir(folder) if name.endswith(".svg")):
        alt = f"{file[:-4]}: queries a second against recall"
        lines.append(f'[<img src="{way}/{file}" width="49%" alt="{alt}">]({way}/{file})')
    with open(page, "w") as file:
        file.write(text[: begin + len(BEGIN)] + "\n" + "".join(line + "\n" for line in lines) + text[end:])


def main():
    if len(sys.argv) < 3:
        sys.exit(__doc__)
    source, folder = sys.argv[1:3]
    with open(source) as file:
        results = json.load(file)
    os.makedirs(folder, exist_ok=True)
    for name, compared in results["compare"].items():
        drawing = draw(name, compared, results)
        if drawing:
            with open(os.path.join(folder, name + ".svg"), "w") as file:
                file.write(drawing)
    for page in sys.argv[3:]:
        if os.path.exists(page):
            show(page, folder)


if __name__ == "__main__":
    main()
