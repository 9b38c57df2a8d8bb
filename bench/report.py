"""What all benches share: lines of JSON, a table with targets, and the entry in bench/RESULTS.md."""

import json
import math
import os
import platform
import re
import shlex
import statistics
import subprocess
import time

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
median = statistics.median


def percentile(values, percent):
    """By nearest rank: the smallest value that `percent` % of them do not exceed."""
    ordered = sorted(values)
    return ordered[max(0, math.ceil(len(ordered) * percent / 100) - 1)]


def machine_load():
    """Processors in use right now by anybody, over a tenth of a second: a figure taken beside other work is worth less."""
    def busy():
        with open("/proc/stat") as f:
            v = [int(x) for x in f.readline().split()[1:9]]
        return sum(v) - v[3] - v[4]

    before, start = busy(), time.monotonic()
    time.sleep(0.1)
    return round((busy() - before) / os.sysconf("SC_CLK_TCK") / (time.monotonic() - start), 2)


def quiet(seconds=20, below=0.15):
    """Waits, but not for ever, until others leave the processors alone. Gives how much they use then."""
    limit = time.monotonic() + seconds
    while (load := machine_load()) >= below and time.monotonic() < limit:
        time.sleep(0.3)
    return load


def _git(*args):
    p = subprocess.run(["git", "-C", ROOT, *args], capture_output=True, text=True)
    return p.stdout.strip() if p.returncode == 0 else ""


def machine():
    """One line: processor, how many, memory, kernel."""
    with open("/proc/cpuinfo") as f:
        model = re.search(r"^model name\s*: (.*)$", f.read(), re.M)
    with open("/proc/meminfo") as f:
        mem = int(re.search(r"^MemTotal: +(\d+) kB", f.read(), re.M).group(1)) / 2**20
    return f"{model.group(1) if model else platform.machine()}, {os.cpu_count()} processors, {mem:.0f} GiB, Linux {platform.release()}"


class Report:
    """name: the bench, as in ./dev bench NAME; args: its arguments as they were given."""

    def __init__(self, name, args):
        self.name = name
        self.command = shlex.join(["./dev", "bench", name, *[a for a in args if a != "--record"]])
        self.rows, self.lines, self.loads, self.started = [], [], [], time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime())

    def line(self, what, **values):
        """One measurement, at once."""
        if "foreign_load" in values:
            self.loads.append(values["foreign_load"])
        rounded = {k: round(v, 6) if isinstance(v, float) else v for k, v in values.items()}
        self.lines.append({"bench": self.name, "what": what, **rounded})
        print(json.dumps(self.lines[-1]), flush=True)

    def row(self, what, value, unit, target, how, least=False):
        """Of the table. target: at most this (least: at least), None when there is none. how: median of what, spread."""
        met = target is not None and (value >= target if least else value <= target)
        verdict = "" if target is None else "pass" if met else "miss"
        text = f"{value:.0f} {unit}" if value >= 1000 else f"{value:.3g} {unit}"
        self.rows.append((what, text.rstrip(), "" if target is None else f"{'≥' if least else '≤'} {target:g} {unit}".rstrip(), verdict, how))

    def print(self):
        if not self.rows:
            return
        width = [max(len(r[i]) for r in self.rows) for i in range(5)]
        print()
        for r in self.rows:
            print("  ".join(c.rjust(w) if i in (1, 2) else c.ljust(w) for i, (c, w) in enumerate(zip(r, width))).rstrip())

    def write_json(self, path):
        """All lines and the table, for plots."""
        keys = ("figure", "value", "target", "verdict", "how")
        with open(path, "w") as f:
            json.dump({"bench": self.name, "command": self.command, "commit": _git("rev-parse", "--short", "HEAD"), "machine": machine(),
                       "started": self.started, "lines": self.lines, "table": [dict(zip(keys, r)) for r in self.rows]}, f, indent=1)

    def record(self, extra=()):
        """Appends a section to bench/RESULTS.md; extra: further lines of it."""
        dirty = " with changes not committed" if _git("status", "--porcelain", "--untracked-files=no") else ""
        text = [
            "", f"## {self.name}, {self.started}", "", f"- commit {_git('rev-parse', '--short', 'HEAD') or 'unknown'}{dirty}",
            f"- {machine()}", f"- `{self.command}`",
        ]
        if self.loads:
            text.append(f"- processors in use by others before each measurement: {min(self.loads):g}–{max(self.loads):g}")
        text += ["", "| figure | value | target | | how |", "|---|---|---|---|---|"]
        text += [f"| {' | '.join(r)} |" for r in self.rows]
        text += extra
        with open(os.path.join(ROOT, "bench", "RESULTS.md"), "a") as f:
            f.write("\n".join(text) + "\n")
        print("\nrecorded in bench/RESULTS.md")
