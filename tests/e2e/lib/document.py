"""Runs the commands of a document as they stand there, on hosts with a dockerd each.

A fenced block ```console holds them:

    host1# weft status connections         a command on the first host; both# is one on each of the first two; a trailing \\ goes on in the next line
    -> 10.99.0.2:6783 established …        what it prints, standard output and error; without such lines it is not looked at
    …                                      in a line: anything; alone: any lines

A command must end well, the last one of a block ```console fails must not. One that only asks (weft status, docker exec, dig …) is asked again, for
20 s, until it prints what stands there: the document's reader would do the same. What a fault needs that is not for the reader stands in comments before
the block: <!-- test: host2# pkill weftd -->.
"""

import os
import re

from .proc import SCALE, Failed, build_dir, sanitized, skip, wait_until

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__)))))
ASKS = re.compile(r"(build/)?weft (-o json )?(status|dns-lookup|ps|verify|report|metrics|version)\b|docker exec|docker (logs|inspect|ps)\b|dig |curl |wget |cat |ip |nft ")
PROMPT = re.compile(r"(host\d|both)# (.*)")


class Step:
    def __init__(self, line, who, text, hidden=False):
        self.line, self.who, self.text, self.hidden, self.expected, self.fails = line, who, text, hidden, [], False


def steps_of(path):
    """The commands of a document in its order."""
    with open(os.path.join(ROOT, path)) as f:
        lines = f.read().split("\n")
    steps, block = [], None
    for n, line in enumerate(lines, 1):
        if block is None:
            for m in re.finditer(r"<!-- test: (host\d|both)# (.*?) -->", line):
                steps.append(Step(n, m.group(1), m.group(2), hidden=True))
            if line.lstrip().startswith("```console"):
                block, fails, indent = [], "fails" in line, len(line) - len(line.lstrip())
        elif line.lstrip() == "```":
            if fails and block:
                block[-1].fails = True
            steps += block
            block = None
        else:
            line = line[indent:]
            if m := PROMPT.match(line):
                block.append(Step(n, m.group(1), m.group(2)))
            elif not block:
                raise Failed(f"{path}:{n}: a block begins with a command")
            elif block[-1].text.endswith("\\") and not block[-1].expected:
                block[-1].text = block[-1].text[:-1] + line.strip()
            elif line.strip() or block[-1].expected:
                block[-1].expected.append(line)
    if block is not None:
        raise Failed(f"{path}: a block does not end")
    if not any(not s.hidden for s in steps):
        raise Failed(f"{path}: no command in it")
    return steps


def pattern(expected):
    """A regular expression for what may be printed."""
    parts = []
    for line in expected:
        if line.strip() == "…":
            parts.append(r"(?:.*\n)*?")
        else:
            pieces = [r"\s+".join(map(re.escape, piece.split())) for piece in line.split("…")]
            parts.append(rf"\s*{'.*'.join(pieces)}\s*?\n")
    return re.compile("".join(parts) + r"\s*\Z")


def run(path, hosts, timeout=60):
    """Every command of the document; the first that does something else than is written there fails the test. Gives how many ran."""
    if sanitized():
        skip("documents are held against the programs that people build")
    for i, h in enumerate(hosts, 1):
        h.exec("hostname", f"host{i}")
        for n, o in enumerate(hosts, 1):
            h.exec("sh", "-c", f"grep -q host{n} /etc/hosts || echo {o.ip} host{n} >> /etc/hosts")
        h.docker("tag", "busybox:local", "busybox:latest", check=False)
    steps = steps_of(path)
    for step in steps:
        for n in (1, 2) if step.who == "both" else [int(step.who[4:])]:
            _do(path, step, hosts[n - 1], timeout)
    return len(steps)


def _do(path, step, host, timeout):
    command = step.text.replace("build/weft", os.path.join(build_dir(), "weft"))
    script = f"export PATH={build_dir()}:$PATH WEFT_BUILD={build_dir()}; cd {ROOT}; {command}"
    want, last = pattern(step.expected), []

    def once():
        p = host.exec("bash", "-c", f"exec 2>&1; {script}", check=False, timeout=timeout * SCALE)
        last[:] = [p.stdout, p.returncode]
        return (p.returncode != 0) == step.fails and (not step.expected or want.match(p.stdout + "\n"))

    if once():
        return
    if step.hidden or not ASKS.match(step.text):
        ok = False
    else:
        try:
            ok = wait_until(once, 20, step.text)
        except Failed:
            ok = False
    if not ok:
        says = "\n".join(step.expected) or "(anything)"
        raise Failed(f"{path}:{step.line}: {host.name}# {step.text}\nwas to {'fail' if step.fails else 'end well'} and print\n{says}\n"
                     f"but ended with {last[1]} and printed\n{last[0]}")
