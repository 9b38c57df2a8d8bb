"""Reading what a host says: lines of status, metrics, and conditions that several tests wait for."""

import re

from .proc import wait_until

DNS = "169.254.67.83"  # where containers, and the host itself, reach the host's resolver


class Connection:
    """A line of `status connections`: DIR ADDRESS STATE PATH PEER(NICK) key=value …"""

    def __init__(self, line):
        head = re.match(r"((?:[^ =]+ +)*?[^ =]+)(?= +[a-z]+=|\s*$)", line)
        words = head.group(1).split()
        self.line, self.direction, self.address, self.state = line, words[0], words[1], words[2]
        self.path = words[3] if len(words) > 3 else ""
        peer = re.fullmatch(r"([0-9a-f:]{17})\((.*)\)", words[4]) if len(words) > 4 else None
        self.peer, self.nick = (peer.group(1), peer.group(2)) if peer else (None, None)
        self.ip = re.sub(r":\d+$", "", self.address).strip("[]")
        self.keys = dict(re.findall(r"(?:^| )([a-z]+)=(\S*)", line))

    def __repr__(self):
        return self.line


def connections(host):
    return [Connection(line) for line in host.weft_ok("status", "connections").splitlines()]


def established(host):
    """Nicknames of the peers that the host has an established link to."""
    return {c.nick for c in connections(host) if c.state == "established"}


def wait_linked(*hosts, timeout=10):
    """Until each of the hosts has an established link to each other one."""
    for h in hosts:
        others = {o.name for o in hosts if o is not h}
        wait_until(lambda h=h, others=others: others <= established(h), timeout, f"{h.name} is linked with {sorted(others)}")


def service(host, name, key):
    """The value of a line `Key: value` below `Service: name` in `weft status`."""
    below = False
    for line in host.weft_ok("status").splitlines():
        k, _, v = line.strip().partition(":")
        if k == "Service":
            below = v.strip() == name
        elif below and k == key:
            return v.strip()
    raise LookupError(f"{host.name}: status has no {key} below {name}")


def shares(host):
    """Of `status ipam`: {nickname (or name where none is known): (addresses owned, active, unreachable)}."""
    found = {}
    for line in host.weft_ok("status", "ipam").splitlines():
        m = re.match(r"([0-9a-f:]{17})(?:\((.*?)\))?\s+(\d+) IPs \(\s*[\d.]+% of total\)(?: \((\d+) active\))?", line)
        if m:
            found[m.group(2) or m.group(1)] = (int(m.group(3)), int(m.group(4) or 0), line.endswith(" - unreachable!"))
    return found


def metrics(host):
    """{name{labels}: value} of GET /metrics, labels as they are written."""
    found = {}
    for line in host.api("GET", "/metrics").text.splitlines():
        if line and not line.startswith("#"):
            name, _, value = line.rpartition(" ")
            found[name] = float(value)
    return found


def metric(host, name, **labels):
    """The sum of a metric's samples that have these labels."""
    total = 0.0
    for key, value in metrics(host).items():
        base, _, rest = key.partition("{")
        if base == name and all(f'{k}="{v}"' in rest for k, v in labels.items()):
            total += value
    return total


def bare(addr):
    """10.32.0.1 of 10.32.0.1/12."""
    return addr.split("/")[0]
