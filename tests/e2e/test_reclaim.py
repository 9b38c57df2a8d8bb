"""What is free of a host that died for good comes back to the others; what it uses stays its own (--reclaim-after).

     h1 ── h2 ── h3 ── h4 ── h5        everyone linked to everyone; leases of seconds
"""

import time

from lib import SCALE, bare, metric, topology, wait_linked, wait_until
from test_events import Listener
from test_ipam import Asking, allocate, held, no_duplicates

LEASE = 4 * SCALE
RANGE = "10.7.0.0/24"
ARGS = ("--ipalloc-range", RANGE, "--reclaim-after", f"{int(LEASE)}s")
# The lease, a quarter for clocks that differ, and a little for noticing and agreeing.
TAKEN = LEASE * 1.25 + 4 * SCALE


def doc(host):
    return host.weft_json("status", "ipam")


def reclaim(host):
    return doc(host)["reclaim"]


def owned(host, nickname):
    """How many addresses are that host's, by this host's ring."""
    return sum(p["addresses"] for p in doc(host)["peers"] if p["nickname"] == nickname)


def start(*hosts):
    for k, h in enumerate(hosts):
        h.start_daemon(*ARGS, peers=hosts[:k])
    wait_linked(*hosts)
    for h in hosts:
        allocate(h, f"first-{h.name}")
    for h in hosts:
        wait_until(lambda h=h: reclaim(h)["lease_s"], LEASE + 5, f"{h.name} has a lease")
        wait_until(lambda h=h: reclaim(h)["spare"] > 0, 5, f"{h.name} keeps something spare")


@topology(timeout=180)
def test_reclaim_what_is_free_of_a_dead_host_is_used_by_others(h1, h2, h3, h4, h5):
    """After its lease and a margin; the audit says so on every host; it comes back as a zombie and keeps what it had."""
    start(h1, h2, h3, h4, h5)
    mine = held(h5)
    had, spare = owned(h1, "h5"), reclaim(h5)["spare"]
    assert len(reclaim(h1)["members"]) == 5 and reclaim(h1)["quorum"] == 3
    events = Listener(h1)
    events.events(1)
    begun = time.monotonic()
    h5.kill()
    time.sleep(LEASE * 0.5)
    assert owned(h1, "h5") == had, "not before its lease is over"
    wait_until(lambda: owned(h1, "h5") == had - spare, TAKEN, "what was spare is taken")
    assert time.monotonic() - begun > LEASE * 0.75
    for h in (h1, h2, h3, h4):
        wait_until(lambda h=h: len(reclaim(h)["members"]) == 4, 5, f"{h.name} knows who votes")
        r = reclaim(h)
        assert r["epoch"] == 1 and sum(a["addresses"] for a in r["reclaimed"]) == spare
        assert {a["nickname"] for a in r["reclaimed"]} == {"h5"}
        assert "reclaimed: 10.7.0." in bare(h.weft_ok("status", "ipam"))
        assert metric(h, "weft_ipam_epoch") == 1
    assert metric(h1, "weft_ipam_reclaimed_addresses_total") == spare
    while '"event":"reclaimed"' not in events.text:
        assert events.more()
    told = [e for e in events.events(1) if e["event"] == "reclaimed"][0]
    assert told["nickname"] == "h5" and told["epoch"] == 1
    events.close()
    # an address that was h5's is used now
    taken = reclaim(h1)["reclaimed"][0]["first"]
    claim = h1.api("PUT", f"/ip/claimed/{taken}/24", timeout=30)
    assert claim.status in (200, 204), claim
    # the zombie: h5 was not dead
    h5.start_daemon(*ARGS, peers=(h1, h2))
    wait_linked(h1, h2, h3, h4, h5)
    wait_until(lambda: owned(h5, "h5") == had - spare, 10, "h5 knows what it has lost")
    assert held(h5) == mine
    for k in range(4):
        allocate(h5, f"again-{k}")
    no_duplicates(h1, h2, h3, h4, h5)
    wait_until(lambda: len(reclaim(h1)["members"]) == 5, LEASE * 2 + 10, "it votes again")


@topology(timeout=180)
def test_reclaim_a_minority_gives_out_no_new_addresses_and_says_why(net, h1, h2, h3, h4, h5):
    """What is in use goes on; after healing it gives out again."""
    start(h1, h2, h3, h4, h5)
    had = owned(h3, "h1")
    net.partition((h1, h2), (h3, h4, h5))
    wait_until(lambda: "our lease has run out" in bare(h1.weft_ok("status", "ipam")), LEASE + 5, "h1 says that its lease is over")
    before = held(h1)
    asking = Asking(h1, "late")
    wait_until(lambda: any("lease has run out" in p["reason"] for p in doc(h1)["pending"]), 5, "the reason is shown")
    time.sleep(1)
    assert asking.done_at is None and held(h1) == before
    allocate(h3, "majority")
    wait_until(lambda: owned(h3, "h1") < had, TAKEN, "the majority takes what h1 kept spare")
    net.heal()
    asking.result(30 * SCALE, "an address once a majority is heard again")
    assert all(held(h1)[c] == a for c, a in before.items())
    no_duplicates(h1, h2, h3, h4, h5)
