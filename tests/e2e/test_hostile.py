"""A member that lies (S5): well-formed messages of every kind, signed with its own key or badly, from a program of its own.

     h1 ── h2 ── h3 (all linked)      h4 runs weft-hostile: an honest member whose links carry lies as well
"""

import os
import time

from lib import build_dir, established, metric, shares, topology, wait_linked, wait_until


def allocate(host, container):
    r = host.api("POST", f"/ip/{container}", timeout=20)
    assert r.status == 200, f"{host.name}: POST /ip/{container}: {r}"
    return r.text.strip()


def lines(path):
    with open(path) as f:
        return f.read().splitlines()


def said(path):
    return max([int(line.split()[1]) for line in lines(path) if line.startswith("said ")] or [0])


def ring(host):
    """{nickname: addresses owned}, the liar's left out."""
    return {name: share[0] for name, share in shares(host).items() if name != "hostile"}


@topology(timeout=180)
def test_S5_a_lying_member_takes_nothing_and_stops_nobody(net, h1, h2, h3, h4, c1, c2):
    """S5: thousands of lies: no range, name or MAC changes hands, no daemon ends, all go on giving out addresses and resolving."""
    hosts = (h1, h2, h3)
    for h in hosts:
        h.start_daemon("--log-level", "debug", peers=[o for o in hosts if o is not h])
    wait_linked(*hosts)
    h1.attach(c1)
    h2.attach(c2)
    first = [allocate(h, f"first-{h.name}") for h in hosts]
    h1.weft_ok("dns-add", "10.32.0.99", "-h", "web.weft.local")
    wait_until(lambda: all(len(ring(h)) == 3 for h in hosts), 10, "the ring is known")
    wait_until(lambda: c2.ping(c1.addresses()[0].split("/")[0]), 10, "c1 answers c2")
    before = ring(h1)
    assert before == ring(h2) == ring(h3), "all see the same shares"
    pids = [h.daemon.pid for h in hosts]
    mac, addr = c1.mac(), c1.addresses()[0].split("/")[0]

    log = os.path.join(net.dir, "hostile.log")
    h4.spawn(os.path.join(build_dir(), "weft-hostile"), h4.ip, "7", "500", h1.ip, h2.ip, h3.ip, log=log)
    wait_until(lambda: "lying" in lines(log), 20, "it is a member and knows the ring")
    wait_until(lambda: all("hostile" in h.weft_ok("status", "peers") for h in hosts), 10, "it is among the peers")
    end = time.monotonic() + 20
    given = set(first)
    n = 0
    while time.monotonic() < end or said(log) < 5000:
        assert time.monotonic() < end + 60, f"it has said {said(log)} lies only"
        for h in hosts:
            a = allocate(h, f"more-{n}-{h.name}")
            assert a not in given, f"{a} was given twice"
            given.add(a)
        n += 1
        assert c2.ping(addr), "c1 answers while it is lied about"
        time.sleep(0.5)

    for h, pid in zip(hosts, pids):
        assert h.running() and h.daemon.pid == pid, f"{h.name} has ended\n{h.log_tail()}"
        assert ring(h) == before, f"{h.name} sees {ring(h)}, before: {before}"
        assert len(established(h)) >= 2, "the links of the honest stand"
    assert h3.weft_ok("dns-lookup", "web.weft.local").split() == ["10.32.0.99"]
    # What did it was refused, and is counted; so the lies have come.
    for h in hosts:
        assert metric(h, "weft_gossip_refused_total", reason="signature") > 0, f"{h.name} has refused nothing"
    assert c2.exec("ip", "neigh", "show", addr).stdout.split()[4].lower() == mac.lower(), "the address leads to the same container"
    leases = {a for h in hosts for e in h.api("GET", "/ip").json()["owned"] for a in e["addrs"]}
    assert leases >= given, "no lease is lost"
