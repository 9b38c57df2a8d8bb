"""Charts as SVG, by hand: no library is worth it for this.

bars: one group a figure, one bar an overlay; whiskers are the smallest and the largest. lines: one chart a figure, one line a series; both axes in
powers of ten.
"""

import math

from xml.sax.saxutils import escape

COLOURS = ["#8d99ae", "#2b2d42", "#2a9d8f", "#52b788", "#95d5b2", "#e76f51", "#b5838d", "#6d6875", "#a68a64", "#936639", "#7f5539", "#582f0e"]
BAR, GAP, HEIGHT, LEFT, TOP, COLUMNS = 26, 60, 220, 60, 50, 2


def bars(path, title, groups):
    """groups: [(heading, unit, [(name, low, middle, high), …]), …]; values from 0 up."""
    names = list(dict.fromkeys(bar[0] for _, _, values in groups for bar in values))
    colour = {name: COLOURS[i % len(COLOURS)] for i, name in enumerate(names)}
    width = LEFT + len(names) * BAR + GAP
    rows = (len(groups) + COLUMNS - 1) // COLUMNS
    full_w, full_h = width * COLUMNS, TOP + rows * (HEIGHT + 80) + 24 * ((len(names) + 3) // 4) + 10
    out = [f'<svg xmlns="http://www.w3.org/2000/svg" width="{full_w}" height="{full_h}" font-family="sans-serif" font-size="11">',
           f'<rect width="{full_w}" height="{full_h}" fill="#ffffff"/>', f'<text x="{LEFT}" y="24" font-size="15">{escape(title)}</text>']
    for g, (heading, unit, values) in enumerate(groups):
        x0, y0 = (g % COLUMNS) * width + LEFT, TOP + (g // COLUMNS) * (HEIGHT + 80)
        top = max((high for _, _, _, high in values), default=1) * 1.05 or 1
        y = lambda v, y0=y0, top=top: y0 + 20 + HEIGHT * (1 - v / top)
        out.append(f'<text x="{x0}" y="{y0 + 8}" font-size="13">{escape(heading)} ({escape(unit)})</text>')
        for tick in range(5):
            v = top * tick / 4
            out.append(f'<line x1="{x0 - 4}" x2="{x0 + len(names) * BAR}" y1="{y(v):.1f}" y2="{y(v):.1f}" stroke="#dddddd"/>')
            out.append(f'<text x="{x0 - 8}" y="{y(v) + 4:.1f}" text-anchor="end">{v:.3g}</text>')
        for name, low, middle, high in values:
            x = x0 + names.index(name) * BAR
            out.append(f'<rect x="{x + 3}" y="{y(middle):.1f}" width="{BAR - 6}" height="{y(0) - y(middle):.1f}" fill="{colour[name]}">'
                       f'<title>{escape(name)}: {middle:.4g} {escape(unit)}</title></rect>')
            out.append(f'<line x1="{x + BAR / 2}" x2="{x + BAR / 2}" y1="{y(low):.1f}" y2="{y(high):.1f}" stroke="#000000"/>')
            out.append(f'<text x="{x + BAR / 2}" y="{y(high) - 3:.1f}" text-anchor="middle" font-size="8">{middle:.3g}</text>')
    legend = TOP + rows * (HEIGHT + 80)
    for i, name in enumerate(names):
        x, yl = LEFT + (i % 4) * (full_w - LEFT) / 4, legend + 24 * (i // 4)
        out.append(f'<rect x="{x:.0f}" y="{yl}" width="12" height="12" fill="{colour[name]}"/><text x="{x + 18:.0f}" y="{yl + 11}">{escape(name)}</text>')
    out.append("</svg>")
    with open(path, "w") as f:
        f.write("\n".join(out) + "\n")


def lines(path, title, x_name, charts):
    """charts: [(heading, unit, {series: [(x, y), …]}), …]; x and y above 0 (what is not is left out)."""
    names = list(dict.fromkeys(name for _, _, series in charts for name in series))
    colour = {name: COLOURS[(2 * i) % len(COLOURS)] for i, name in enumerate(names)}
    plot_w = 380
    width, rows = LEFT + plot_w + GAP, (len(charts) + COLUMNS - 1) // COLUMNS
    full_w, full_h = width * COLUMNS, TOP + rows * (HEIGHT + 80) + 34
    out = [f'<svg xmlns="http://www.w3.org/2000/svg" width="{full_w}" height="{full_h}" font-family="sans-serif" font-size="11">',
           f'<rect width="{full_w}" height="{full_h}" fill="#ffffff"/>', f'<text x="{LEFT}" y="24" font-size="15">{escape(title)}</text>']
    for c, (heading, unit, series) in enumerate(charts):
        points = {n: [(x, y) for x, y in v if x > 0 and y > 0] for n, v in series.items()}
        xs = [x for v in points.values() for x, _ in v] or [1]
        ys = [y for v in points.values() for _, y in v] or [1]
        low, high = math.floor(math.log10(min(ys))), max(math.ceil(math.log10(max(ys))), math.floor(math.log10(min(ys))) + 1)
        left, right = math.log10(min(xs)), max(math.log10(max(xs)), math.log10(min(xs)) + 0.1)
        x0, y0 = (c % COLUMNS) * width + LEFT, TOP + (c // COLUMNS) * (HEIGHT + 80)
        at = lambda x, y, x0=x0, y0=y0, low=low, high=high, left=left, right=right: (
            x0 + (math.log10(x) - left) / (right - left) * plot_w, y0 + 20 + HEIGHT * (1 - (math.log10(y) - low) / (high - low)))
        out.append(f'<text x="{x0}" y="{y0 + 8}" font-size="13">{escape(heading)} ({escape(unit)})</text>')
        for power in range(low, high + 1):
            _, y = at(xs[0], 10.0**power)
            out.append(f'<line x1="{x0 - 4}" x2="{x0 + plot_w}" y1="{y:.1f}" y2="{y:.1f}" stroke="#dddddd"/>')
            out.append(f'<text x="{x0 - 8}" y="{y + 4:.1f}" text-anchor="end">{10.0**power:g}</text>')
        for x in sorted(set(xs)):
            px, py = at(x, 10.0**low)
            out.append(f'<text x="{px:.1f}" y="{py + 16:.1f}" text-anchor="middle">{x:g}</text>')
        out.append(f'<text x="{x0 + plot_w / 2}" y="{y0 + 20 + HEIGHT + 32}" text-anchor="middle">{escape(x_name)}</text>')
        for name, v in points.items():
            if not v:
                continue
            path_points = " ".join(f"{px:.1f},{py:.1f}" for px, py in (at(x, y) for x, y in sorted(v)))
            out.append(f'<polyline points="{path_points}" fill="none" stroke="{colour[name]}" stroke-width="2"/>')
            for x, y in v:
                px, py = at(x, y)
                out.append(f'<circle cx="{px:.1f}" cy="{py:.1f}" r="3" fill="{colour[name]}"><title>{escape(name)}, {x:g}: {y:.4g} {escape(unit)}</title></circle>')
    legend = TOP + rows * (HEIGHT + 80)
    for i, name in enumerate(names):
        x = LEFT + i * (full_w - LEFT) / max(len(names), 1)
        out.append(f'<rect x="{x:.0f}" y="{legend}" width="12" height="12" fill="{colour[name]}"/><text x="{x + 18:.0f}" y="{legend + 11}">{escape(name)}</text>')
    out.append("</svg>")
    with open(path, "w") as f:
        f.write("\n".join(out) + "\n")
