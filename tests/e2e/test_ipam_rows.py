"""Addresses, the rarer rows: claims, leaving, hosts that died, rings that met, another range.

     h1 ── h2 ── h3        containers c1 … on them; where only addresses matter they are asked for over the API (POST /ip/ID)
"""

import re
import threading
import time

from lib import SCALE, bare, established, metric, service, shares, topology, wait_linked, wait_until
from test_ipam import Asking, allocate, held, no_duplicates, refused, status

A, B = "02:00:00:00:00:0a", "02:00:00:00:00:0b"


def ipam(host):
    return host.weft_ok("status", "ipam")


def mesh(*hosts, args=()):
    for k, h in enumerate(hosts):
        h.start_daemon(*args, peers=hosts[:k])
    wait_linked(*hosts)


def halves(h1, h2):
    """h1 owns 10.7.0.0 to 10.7.0.127, h2 the rest of the /24."""
    h1.start_daemon("--ipalloc-range", "10.7.0.0/24", "--name", A)
    h2.start_daemon("--ipalloc-range", "10.7.0.0/24", "--name", B, peers=[h1])
    wait_linked(h1, h2)
    allocate(h1, "first")
    for h in (h1, h2):
        wait_until(lambda h=h: {n: s[0] for n, s in shares(h).items()} == {"h1": 128, "h2": 128}, 5, "the ring is known")


def total(host):
    return sum(s[0] for s in shares(host).values())


def die(host, *others):
    """The host is gone, and the others have noticed."""
    name = service(host, "router", "Name")
    nick = re.search(r"\((.*)\)", name).group(1)
    host.kill()
    for h in others:
        wait_until(lambda h=h: nick not in established(h) and (nick not in shares(h) or shares(h)[nick][2]), 15, f"{h.name} misses {nick}")
    return name[:17]


# I9


@topology(timeout=60)
def test_I9_claims_here_outside_and_elsewhere(h1, h2, c1, c2, c3, c4):
    """I9: ours and free is taken; outside the range is recorded; owned elsewhere is transferred if free, refused with the holder's name if used."""
    halves(h1, h2)
    assert h1.attach(c1, "10.7.0.5/24") == ["10.7.0.5"] and h1.attach(c1, "10.7.0.5/24") == ["10.7.0.5"]
    refused(h1.weft("attach", "10.7.0.5/24", c2), "10.7.0.5", str(c1))
    begun = time.monotonic()
    assert h1.attach(c2, "192.168.44.4/24") == ["192.168.44.4"]
    assert time.monotonic() - begun < 1 * SCALE, "an address outside the range does not wait"
    assert held(h1)[str(c2)] == ["192.168.44.4/24"]
    # each half is whose: claims of what the other owns and nobody uses
    for h, c, other in ((h1, c3, h2), (h2, c4, h1)):
        theirs = shares(other)[other.name][0]
        addr = {h1: "10.7.0.200", h2: "10.7.0.100"}[h]
        assert h.attach(c, f"{addr}/24") == [addr]
        wait_until(lambda: shares(other)[other.name][0] == theirs - 1, 5, f"{addr} has changed hands")
    # in use there
    for h, addr, who, where in ((h2, "10.7.0.5", c1, "h1"), (h2, "10.7.0.200", c3, "h1"), (h1, "10.7.0.100", c4, "h2")):
        p = h.api("PUT", f"/ip/z/{addr}/24", timeout=10)
        assert p.status == 400 or p.status == 409, p
        assert addr in p.text and where in p.text and str(who) in p.text, p.text
    wait_until(lambda: c1.ping("10.7.0.200"), 5, "the addresses are of use")
    no_duplicates(h1, h2)


@topology(timeout=60)
def test_I9_a_claim_of_what_an_unreachable_host_owns_waits_and_says_so(net, h1, h2, c1):
    """I9: owner unreachable: waits with a visible reason, and completes when it is back."""
    halves(h1, h2)
    cut = net.partition([h1], [h2])
    wait_until(lambda: shares(h1)["h2"][2], 10, "h2 is unreachable")
    outcome = []
    t = threading.Thread(target=lambda: outcome.append(h1.weft("attach", "10.7.0.200/24", c1, timeout=50)), daemon=True)
    t.start()
    wait_until(lambda: "10.7.0.200 is owned by h2" in ipam(h1) and "cannot be reached" in ipam(h1), 5, "status says what it waits for")
    assert "10.7.0.200 is owned by h2" in status(h1)
    assert metric(h1, "weft_ipam_pending_claims") == 1 and not outcome and c1.addresses() == []
    net.allow(cut)
    wait_until(lambda: outcome, 20, "the claim is done when h2 is back")
    assert outcome[0].returncode == 0 and c1.addresses() == ["10.7.0.200/24"], outcome


# I11


@topology(timeout=120)
def test_I11_a_rolling_reset_loses_no_space(h1, h2, h3, h4):
    """I11: each host in turn is reset and launched again; in the end every address is still owned, and can be given."""
    hosts = [h1, h2, h3]
    everyone = {h.name for h in hosts}
    args = ("--ipalloc-range", "10.7.0.0/26")
    # one that manages no addresses is no heir
    h4.start_daemon("--ipalloc-range", "")
    mesh(*hosts, args=args)
    h1.weft_ok("connect", h4.ip)
    wait_linked(*hosts, h4)
    allocate(h1, "first")
    for h in hosts:
        wait_until(lambda h=h: set(shares(h)) == everyone, 5, "the ring is known")
    for h in hosts:
        others = [o for o in hosts if o is not h]
        h.weft_ok("reset")
        wait_until(lambda: not h.running(), 5, f"{h.name} has ended")
        for o in others:
            wait_until(lambda o=o: total(o) == 64 and h.name not in shares(o), 5, f"{o.name} sees that {h.name} left nothing behind")
            assert status(o) == "ready", ipam(o)
        h.start_daemon(*args, peers=others)
        wait_linked(*hosts, timeout=15)
        assert allocate(h, f"again-{h.name}")
        wait_until(lambda: h.name in shares(others[0]) and total(others[0]) == 64, 5, f"{h.name} has got some")
    given = {bare(allocate(h, f"x{i}-{h.name}")) for i in range(19) for h in hosts}
    assert len(given) == 57
    last = [Asking(h2, "y1"), Asking(h3, "y2")]
    given |= {bare(a.result(5, "the last addresses are given")) for a in last}
    assert len(no_duplicates(*hosts)) >= 61


def test_I11_reset_of_the_last_host_says_that_nobody_was_there(h1):
    """I11: with nobody to hand over to, reset still leaves nothing on this host."""
    h1.start_daemon()
    allocate(h1, "x")
    h1.weft_ok("reset")
    wait_until(lambda: not h1.running(), 5, "the daemon has ended")
    assert "no other host" in h1.log()


# I12


@topology(timeout=90)
def test_I12_dead_hosts_are_planned_and_taken_over_together(h1, h2, h3, h4):
    """I12: --plan says what would be taken and what it would wait for; several at once are usable at once; reachable ones are refused; twice is safe."""
    hosts = [h1, h2, h3, h4]
    mesh(*hosts, args=("--ipalloc-range", "10.7.0.0/24"))
    allocate(h1, "first")
    wait_until(lambda: len(shares(h1)) == 4, 5, "the ring is known")
    p = h1.weft("rmpeer", "h2")
    assert p.returncode == 1 and p.stdout == "" and len(p.stderr.splitlines()) == 1 and "reachable" in p.stderr and "reset" in p.stderr, p
    assert "would be refused" in h1.weft_ok("rmpeer", "--plan", "h2")
    dead = {h.name: (die(h, h1, h4), shares(h1)[h.name][0]) for h in (h2, h3)}
    plan = h1.weft_ok("rmpeer", "--plan", "h2").splitlines()
    assert plan[0] == f"{dead['h2'][1]} IPs would be taken over from {dead['h2'][0]}(h2)", plan
    assert len(plan) == 2 and f"{dead['h3'][0]}(h3)" in plan[1] and "h4" not in plan[1], plan
    doc = h1.weft_json("rmpeer", "--plan", "h2")
    assert [p["nickname"] for p in doc["waits_for"]] == ["h3"] and doc["plan"], doc
    plan = h1.weft_ok("rmpeer", "--plan", "h2", "h3").splitlines()
    assert len(plan) == 2 and all("would be taken over" in line for line in plan), plan
    assert len(shares(h1)) == 4, "a plan takes nothing"
    p = h1.weft("rmpeer", "h2", "h4", "h3")
    assert p.stdout.splitlines() == [f"{dead[n][1]} IPs taken over from {n}" for n in ("h2", "h3")], p
    assert p.returncode == 1 and "h4" in p.stderr and "reachable" in p.stderr and "cannot be reached" not in p.stderr, p
    wait_until(lambda: status(h1) == "ready", 15, "all of it can be used once h4 has seen the dead hosts away for as long as no restart takes")
    assert set(shares(h1)) == {"h1", "h4"} and total(h1) == 256
    for name in dead.values():
        assert h1.weft_ok("rmpeer", name[0]) == f"0 IPs taken over from {name[0]}", "twice is safe"
    assert h1.weft("rmpeer", "h2").returncode == 4
    given = {allocate(h1, f"a{i}") for i in range(150)}
    assert len(given) == 150 and len(no_duplicates(h1, h4)) == 151


@topology(timeout=60)
def test_I12_one_of_two_dead_hosts_waits_for_the_other(h1, h2, h3):
    """I12: space taken from one dead host is not used before another one that may know better is back or removed; said by whom it waits."""
    mesh(h1, h2, h3, args=("--ipalloc-range", "10.7.0.0/28"))
    allocate(h1, "first")
    wait_until(lambda: len(shares(h1)) == 3, 5, "the ring is known")
    die(h2, h1)
    third = die(h3, h1)
    p = h1.weft("rmpeer", "h2")
    assert p.returncode == 0 and re.fullmatch(r"\d+ IPs taken over from h2\n", p.stdout) and f"{third}(h3)" in p.stderr, p
    wait_until(lambda: "waiting to hear from h3" in status(h1), 3, "status says whom it waits for")
    h1.restart()
    wait_until(lambda: f"waiting to hear from {third}" in status(h1), 5, "also after a restart, and not for h2")
    late = [Asking(h1, f"a{i}") for i in range(13)]
    wait_until(lambda: metric(h1, "weft_ipam_pending_allocates") > 0, 5, "more than its own share is asked for")
    assert third in ipam(h1)
    h1.weft_ok("rmpeer", third)
    given = {a.result(5, "all of it is usable") for a in late}
    assert len(given) == 13 and status(h1) == "ready" and total(h1) == 16


@topology(timeout=90)
def test_I12_rmpeer_on_two_hosts_at_once_gives_no_address_twice(h1, h2, h3):
    """I12: both take over the same dead host at the same time, and give all there is."""
    mesh(h1, h2, h3, args=("--ipalloc-range", "10.7.0.0/25"))
    allocate(h1, "first")
    wait_until(lambda: len(shares(h1)) == 3 == len(shares(h2)), 5, "the ring is known")
    die(h3, h1, h2)
    results = []
    both = [threading.Thread(target=lambda h=h: results.append(h.weft("rmpeer", "h3")), daemon=True) for h in (h1, h2)]
    for t in both:
        t.start()
    asking = [Asking((h1, h2)[i % 2], f"x{i}") for i in range(100)]
    for t in both:
        t.join()
    assert all(r.returncode in (0, 4) for r in results) and any(r.returncode == 0 for r in results), results
    for a in asking:
        a.result(20, "every one gets an address")
    assert len(no_duplicates(h1, h2)) == 101
    for h in (h1, h2):
        wait_until(lambda h=h: total(h) == 128 and set(shares(h)) == {"h1", "h2"} and status(h) == "ready", 10, "one ring of two")


# I13


@topology(timeout=90)
def test_I13_rings_formed_apart_meet(h1, h2, h3, c1, c2):
    """I13: both keep running, no connection is dropped, and the conflict is named on both with the command that resolves it."""
    one = ("--ipalloc-init", "consensus=1", "--ipalloc-range", "10.7.0.0/24")
    h1.start_daemon(*one)
    h2.start_daemon(*one)
    a1 = h1.attach(c1)[0]
    a2 = h2.attach(c2, "net:10.7.0.128/25")[0]
    assert a1 == "10.7.0.1" and a2 == "10.7.0.129"
    h1.weft_ok("connect", h2.ip)
    wait_linked(h1, h2)
    since = {h: metric(h, "weft_connection_terminations_total") for h in (h1, h2)}
    for h, other in ((h1, "h2"), (h2, "h1")):
        wait_until(lambda h=h, other=other: other in conflict(h) and "weft " in conflict(h), 10, f"{h.name} names {other} and what to do")
    # neither gives what the other's containers use, and both go on
    for h in (h1, h2):
        for i in range(20):
            assert bare(allocate(h, f"{h.name}-{i}")) not in (a1, a2)
    no_duplicates(h1, h2)
    wait_until(lambda: c1.ping(a2, timeout=1) or True, 2, "traffic goes on")
    for h in (h1, h2):
        assert established(h) and metric(h, "weft_connection_terminations_total") == since[h], "no connection was dropped"
    h3.start_daemon("--ipalloc-range", "10.7.0.0/24", peers=[h1])
    wait_linked(h1, h2, h3)
    assert bare(allocate(h3, "z")) not in (a1, a2)


def conflict(host):
    m = re.search(r"^.*[Cc]onflict.*$", ipam(host) + "\n" + host.weft_ok("status"), re.M)
    return m.group(0) if m else ""


# I14


@topology(timeout=60)
def test_I14_another_range_and_back(h1, h2, c1, c2):
    """I14: relaunched with another range, old data is set aside and said so, allocation works; with the old range again it is back."""
    mesh(h1, h2, args=("--ipalloc-range", "10.7.0.0/24"))
    a1 = h1.attach(c1)[0]
    for i in range(5):
        allocate(h1, f"a{i}")
    wait_until(lambda: set(shares(h1)) == {"h1", "h2"} == set(shares(h2)), 5, "the ring is known")
    before, mine = held(h1), shares(h1)["h1"][0]
    for h in (h1, h2):
        h.stop()
    h2.start_daemon("--ipalloc-range", "10.8.0.0/24")
    h1.start_daemon("--ipalloc-range", "10.8.0.0/24", peers=[h2])
    wait_linked(h1, h2)
    for h in (h1, h2):
        said = [line for line in h.log().splitlines() if "set aside" in line]
        assert len(said) == 1 and "10.7.0.0/24" in said[0] and "10.8.0.0/24" in said[0], said
    assert bare(allocate(h1, "new")).startswith("10.8.0.") and bare(allocate(h2, "new")).startswith("10.8.0.")
    assert bare(h1.attach(c2)[0]).startswith("10.8.0.")
    assert total(h1) == 256 and "a0" not in held(h1)
    for h in (h1, h2):
        h.stop()
    h2.start_daemon("--ipalloc-range", "10.7.0.0/24")
    h1.start_daemon("--ipalloc-range", "10.7.0.0/24", peers=[h2])
    wait_linked(h1, h2)
    wait_until(lambda: shares(h1).get("h1", (0,))[0] == mine, 5, "h1 owns what it owned")
    for ident, addrs in before.items():
        assert held(h1).get(ident) == addrs, f"{ident} is {held(h1).get(ident)}, not {addrs}"
    assert h1.attach(c1, "net:default") == [a1]
    assert bare(allocate(h1, "later")) not in {bare(a) for addrs in before.values() for a in addrs}
    no_duplicates(h1, h2)
    assert h1.api("GET", "/ip/new").text == "" and "new" not in held(h1)


# I16


@topology(timeout=60)
def test_I16_a_range_that_a_route_overlaps_is_refused(h1):
    """I16: refused at launch with range and route named; auto picks a free one."""
    h1.exec("ip", "link", "add", "other", "type", "bridge")
    h1.exec("ip", "addr", "add", "10.40.1.1/16", "dev", "other")
    h1.exec("ip", "link", "set", "other", "up")
    p = h1.run_daemon()
    assert p.returncode == 1 and p.stdout == "" and len(p.stderr.splitlines()) == 1, p
    assert "10.32.0.0/12" in p.stderr and "10.40.0.0/16" in p.stderr and "--ipalloc-range" in p.stderr, p
    h1.start_daemon("--ipalloc-range", "auto")
    assert service(h1, "ipam", "Range") == "172.16.0.0/13", "the underlay is in 10.96.0.0/12"
    assert allocate(h1, "x") == "172.16.0.1/13"


@topology(timeout=60)
def test_I16_auto_keeps_what_it_had(h1):
    """I16: a range picked by auto stays when the daemon starts again, also when another would be picked now."""
    h1.exec("ip", "link", "add", "other", "type", "bridge")
    h1.exec("ip", "addr", "add", "10.40.1.1/16", "dev", "other")
    h1.exec("ip", "link", "set", "other", "up")
    h1.start_daemon("--ipalloc-range", "auto")
    assert allocate(h1, "x") == "172.16.0.1/13"
    h1.exec("ip", "link", "del", "other")
    h1.restart()
    assert service(h1, "ipam", "Range") == "172.16.0.0/13" and allocate(h1, "x") == "172.16.0.1/13"


def overlap_with_default(host):
    """A route of the host's own in 10.32.0.0/12; the underlay is in 10.96.0.0/12."""
    host.exec("ip", "link", "add", "other", "type", "bridge")
    host.exec("ip", "addr", "add", "10.40.1.1/16", "dev", "other")
    host.exec("ip", "link", "set", "other", "up")


@topology(timeout=60)
def test_I16_auto_hosts_that_picked_differently_agree_when_they_meet(h1, h2, h3, c1, c2):
    """I16: before anything is divided all go to a range that is free on all of them, whoever has picked what; a request that waits comes along."""
    auto = ("--ipalloc-range", "auto", "--ipalloc-init", "consensus=2")
    overlap_with_default(h2)
    h1.start_daemon(*auto)
    assert service(h1, "ipam", "Range") == "10.32.0.0/12"
    asking = Asking(h1, "early")
    wait_until(lambda: metric(h1, "weft_ipam_pending_allocates") == 1, 5, "h1 waits for a majority")
    h2.start_daemon(*auto, peers=[h1])
    assert bare(asking.result(10, "the request is answered when they have met")).startswith("172.")
    for h in (h1, h2):
        wait_until(lambda h=h: service(h, "ipam", "Range") == "172.16.0.0/13" and set(shares(h)) == {"h1", "h2"}, 5, f"{h.name} has gone over")
        assert not conflict(h), conflict(h)
    a1, a2 = h1.attach(c1)[0], h2.attach(c2)[0]
    wait_until(lambda: c1.ping(a2), 5, "containers reach each other")
    # one that comes later to what is divided already
    h3.start_daemon("--ipalloc-range", "auto", peers=[h1])
    wait_until(lambda: service(h3, "ipam", "Range") == "172.16.0.0/13", 10, "h3 takes the range that is divided")
    assert bare(allocate(h3, "late")).startswith("172.") and len(no_duplicates(h1, h2, h3)) == 4
    h3.restart()
    assert service(h3, "ipam", "Range") == "172.16.0.0/13"


@topology(timeout=60)
def test_I16_auto_gives_way_to_a_range_that_was_named(h1, h2):
    """I16: auto takes what a peer uses, also when nothing is divided there yet."""
    h1.start_daemon("--ipalloc-range", "auto")
    h2.start_daemon("--ipalloc-range", "10.77.0.0/16", peers=[h1])
    wait_until(lambda: service(h1, "ipam", "Range") == "10.77.0.0/16", 10, "h1 has gone over")
    assert bare(allocate(h1, "x")).startswith("10.77.") and bare(allocate(h2, "y")).startswith("10.77.")
    no_duplicates(h1, h2)


@topology(timeout=60)
def test_I16_ranges_that_were_divided_before_their_hosts_met_are_named(h1, h2, c1, c2):
    """I16, I13: two that had picked and divided different ranges both go on; both say which host uses which range, and what to do."""
    overlap_with_default(h2)
    h1.start_daemon("--ipalloc-range", "auto")
    h2.start_daemon("--ipalloc-range", "auto")
    a1, a2 = h1.attach(c1)[0], h2.attach(c2)[0]
    assert a1 == "10.32.0.1" and a2 == "172.16.0.1"
    h1.weft_ok("connect", h2.ip)
    wait_linked(h1, h2)
    for h, other in ((h1, "h2"), (h2, "h1")):
        wait_until(lambda h=h: conflict(h), 5, f"{h.name} says so")
        said = conflict(h)
        assert all(w in said for w in (other, "10.32.0.0/12", "172.16.0.0/13", "weft reset", "--ipalloc-range")), said
        assert allocate(h, "more")
    assert established(h1) == {"h2"}
    # as it says: h1 cannot go where h2 is not free to go, so it is h1 that gives way
    h1.weft_ok("reset")
    wait_until(lambda: not h1.running(), 5, "h1 has ended")
    h1.start_daemon("--ipalloc-range", "172.16.0.0/13", peers=[h2])
    wait_linked(h1, h2)
    assert bare(allocate(h1, "z")).startswith("172.") and not conflict(h1) and not conflict(h2)
