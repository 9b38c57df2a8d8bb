"""Addresses: who gets which, and how hosts agree.

     h1 ── h2 ── h3        containers c1 … on them; where only addresses matter they are asked for over the API (POST /ip/ID)
"""

import ipaddress
import re
import threading
import time

from lib import (
    SCALE, Relay, bare, command, established, metric, service, shares, topology, wait_linked, wait_until)


def allocate(host, container, subnet=None, timeout=20):
    """An address over the API."""
    r = host.api("POST", f"/ip/{container}" + (f"/{subnet}" if subnet else ""), timeout=timeout)
    assert r.status == 200, f"{host.name}: POST /ip/{container}: {r}"
    return r.text.strip()


class Asking(threading.Thread):
    """An allocation that may have to wait. .answer: the response, .took: seconds."""

    def __init__(self, host, container, path="/ip/", timeout=60):
        super().__init__(daemon=True)
        self.host, self.path, self.limit = host, path + container, timeout
        self.answer, self.took, self.done_at = None, None, None
        self.start()

    def run(self):
        begun = time.monotonic()
        try:
            self.answer = self.host.api("POST", self.path, timeout=self.limit)
        except OSError as e:
            self.answer = e
        self.done_at = time.monotonic()
        self.took = self.done_at - begun

    def result(self, timeout, what):
        wait_until(lambda: self.done_at, timeout, what)
        assert getattr(self.answer, "status", None) == 200, f"{what}: {self.answer!r}"
        return self.answer.text.strip()


def status(host):
    return service(host, "ipam", "Status")


def held(host):
    """{container: [addresses]} of GET /ip."""
    return {e["containerid"]: e["addrs"] for e in host.api("GET", "/ip").json()["owned"]}


def no_duplicates(*hosts):
    everything = [a for h in hosts for addrs in held(h).values() for a in addrs]
    double = {a for a in everything if everything.count(a) > 1}
    assert not double, f"given twice: {double}"
    return set(everything)


def refused(p, *words):
    assert p.returncode == 1 and p.stdout == "" and len(p.stderr.splitlines()) == 1, p
    assert all(w in p.stderr for w in words), p.stderr


# I1


def test_I1_the_default_range_and_subnet(h1, c1, c2):
    h1.start_daemon()
    assert service(h1, "ipam", "Range") == service(h1, "ipam", "DefaultSubnet") == "10.32.0.0/12"
    assert h1.attach(c1) == ["10.32.0.1"] and c1.addresses() == ["10.32.0.1/12"]
    assert h1.attach(c2, "net:default") == ["10.32.0.2"]
    assert h1.api("GET", "/ipinfo/defaultsubnet").text.strip() == "10.32.0.0/12"


def test_I1_range_and_default_subnet_as_given(h1, c1, c2, c3, c4, c5):
    h1.start_daemon("--ipalloc-range", "10.2.0.0/16", "--ipalloc-default-subnet", "10.2.3.0/24")
    assert service(h1, "ipam", "Range") == "10.2.0.0/16"
    assert service(h1, "ipam", "DefaultSubnet") == "10.2.3.0/24"
    assert h1.attach(c1) == ["10.2.3.1"] and c1.addresses() == ["10.2.3.1/24"]
    assert h1.attach(c2, "net:default", "net:10.2.9.0/28") == ["10.2.3.2", "10.2.9.1"]
    assert sorted(c2.addresses()) == ["10.2.3.2/24", "10.2.9.1/28"]
    assert h1.attach(c3, "ip:10.2.1.77/24") == ["10.2.1.77"] and c3.addresses() == ["10.2.1.77/24"]
    assert h1.attach(c4, "10.2.1.78/24") == ["10.2.1.78"] and c4.addresses() == ["10.2.1.78/24"]
    assert h1.attach(c5, "192.168.7.7/24") == ["192.168.7.7"], "an address outside the range is the user's own business"
    wait_until(lambda: c3.ping("10.2.1.78"), 2, "containers of one subnet reach each other")
    assert held(h1) == {str(c1): ["10.2.3.1/24"], str(c2): ["10.2.3.2/24", "10.2.9.1/28"], str(c3): ["10.2.1.77/24"],
                        str(c4): ["10.2.1.78/24"], str(c5): ["192.168.7.7/24"]}
    refused(h1.weft("attach", "ip:10.2.1.77/24", c5), "10.2.1.77", str(c3))


def test_I1_the_first_and_last_address_of_a_subnet_are_never_given(h1):
    h1.start_daemon("--ipalloc-range", "10.2.0.0/16", "--ipalloc-default-subnet", "10.2.255.0/24")
    given = [allocate(h1, f"a{i}", "10.2.5.8/29") for i in range(6)]
    assert given == [f"10.2.5.{n}/29" for n in range(9, 15)]
    late = Asking(h1, "a6/10.2.5.8/29")
    wait_until(lambda: metric(h1, "weft_ipam_pending_allocates") == 1, 3, "the seventh waits")
    assert h1.api("DELETE", "/ip/a2").status in (200, 204)
    assert late.result(3, "it completes when one is free") == "10.2.5.11/29"
    assert [allocate(h1, f"b{i}", "10.2.6.0/30") for i in range(2)] == ["10.2.6.1/30", "10.2.6.2/30"]
    assert [allocate(h1, f"e{i}", "10.2.0.0/30") for i in range(2)] == ["10.2.0.1/30", "10.2.0.2/30"], "at the range's beginning"
    assert [allocate(h1, f"z{i}", "10.2.255.252/30") for i in range(2)] == ["10.2.255.253/30", "10.2.255.254/30"], "and at its end"


def test_I1_bad_subnets_are_refused_with_exit_1(h1, c1):
    h1.start_daemon("--ipalloc-range", "10.2.0.0/16")
    refused(h1.weft("attach", "net:10.2.5.0/31", c1), "10.2.5.0/31", "small")
    refused(h1.weft("attach", "net:10.2.5.0/32", c1), "10.2.5.0/32", "small")
    refused(h1.weft("attach", "net:10.2.5.1/24", c1), "10.2.5.1/24", "10.2.5.0/24")
    refused(h1.weft("attach", "net:10.2.5.0/33", c1), "10.2.5.0/33")
    refused(h1.weft("attach", "ip:10.2.5/24", c1), "10.2.5/24")
    refused(h1.weft("attach", "net:172.16.0.0/24", c1), "172.16.0.0/24")
    assert c1.addresses() == [] and held(h1) == {}
    h1.stop()
    for option, value in (("--ipalloc-range", "10.2.0.1/16"), ("--ipalloc-range", "10.2.0.0/31"), ("--ipalloc-range", "10.2.0.0/40"),
                          ("--ipalloc-default-subnet", "10.32.0.9/24"), ("--ipalloc-default-subnet", "10.32.0.0/31"),
                          ("--ipalloc-default-subnet", "192.168.0.0/24")):
        p = h1.run_daemon(option, value)
        assert p.returncode in (1, 2) and p.stdout == "" and len(p.stderr.splitlines()) == 1, p
        assert value in p.stderr and option in p.stderr, p.stderr


# I2


def test_I2_the_same_container_and_subnet_get_the_same_address(h1, c1):
    h1.start_daemon()
    first = h1.attach(c1)
    assert h1.attach(c1) == h1.attach(c1, "net:default") == first
    other = h1.attach(c1, "net:10.33.0.0/24")
    assert other == ["10.33.0.1"] == h1.attach(c1, "net:10.33.0.0/24") and sorted(c1.ips()) == sorted(first + other)
    assert allocate(h1, "x") == allocate(h1, "x") == allocate(h1, "x", "10.32.0.0/12") != f"{first[0]}/12"
    assert h1.api("GET", "/ip/x").text.strip() == allocate(h1, "x")
    assert h1.api("GET", "/ip/y").text == "" and "y" not in held(h1), "looking does not allocate"


def test_I2_the_lowest_free_owned_address_is_given(h1, h2):
    h1.start_daemon()
    assert [allocate(h1, f"a{i}") for i in range(5)] == [f"10.32.0.{i}/12" for i in range(1, 6)]
    for gone in ("a1", "a3"):
        assert h1.api("DELETE", f"/ip/{gone}").status in (200, 204)
    assert [allocate(h1, f"b{i}") for i in range(3)] == ["10.32.0.2/12", "10.32.0.4/12", "10.32.0.6/12"]
    h2.start_daemon(peers=[h1])
    wait_linked(h1, h2)
    theirs = [allocate(h2, f"c{i}") for i in range(3)]
    low = ipaddress.ip_address(bare(theirs[0]))
    assert theirs == [f"{low + i}/12" for i in range(3)], "h2 gives the lowest of what it got from h1"
    assert h2.api("DELETE", "/ip/c0").status in (200, 204)
    assert allocate(h2, "d") == theirs[0]


# I3: a smoke test; its proof is the simulator's


@topology(timeout=120)
def test_I3_many_askers_on_three_hosts_get_no_address_twice(h1, h2, h3):
    """220 of 254 addresses, asked for unevenly and at once, so that space has to move between hosts meanwhile."""
    hosts = {h1: 110, h2: 70, h3: 40}
    h1.start_daemon("--ipalloc-range", "10.9.0.0/24")
    h2.start_daemon("--ipalloc-range", "10.9.0.0/24", peers=[h1])
    h3.start_daemon("--ipalloc-range", "10.9.0.0/24", peers=[h1, h2])
    wait_linked(h1, h2, h3)
    given, problems, lock = [], [], threading.Lock()

    def ask(h, worker, workers):
        for i in range(worker, hosts[h], workers):
            try:
                a = allocate(h, f"{h.name}-{i}", timeout=30)
                with lock:
                    given.append(a)
            except Exception as e:
                problems.append(e)
                return

    threads = [threading.Thread(target=ask, args=(h, w, 8)) for h in hosts for w in range(8)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert not problems, problems[:3]
    assert len(given) == len(set(given)) == 220
    assert no_duplicates(h1, h2, h3) == set(given)
    assert {"10.9.0.0/24", "10.9.0.255/24"}.isdisjoint(given)
    wait_until(lambda: all(sum(s[0] for s in shares(h).values()) == 256 for h in hosts), 5, "all agree who owns the range")


# I4


def test_I4_the_first_allocation_triggers_the_agreement(h1, h2, h3):
    h1.start_daemon()
    h2.start_daemon(peers=[h1])
    h3.start_daemon(peers=[h1, h2])
    wait_linked(h1, h2, h3)
    for h in (h1, h2, h3):
        assert status(h) == "idle", status(h)
        assert shares(h) == {}, f"{h.name} has decided something: {h.weft_ok('status', 'ipam')}"
    allocate(h2, "x")
    for h in (h1, h2, h3):
        wait_until(lambda h=h: set(shares(h)) == {"h1", "h2", "h3"}, 5, f"{h.name} knows everyone's share")
        assert status(h) == "ready"
        parts = [s[0] for s in shares(h).values()]
        assert sum(parts) == 1 << 20 and max(parts) <= 2 * min(parts), parts


def test_I4_two_hosts_get_half_each(h1, h2, c1):
    h1.start_daemon()
    h2.start_daemon(peers=[h1])
    wait_linked(h1, h2)
    h2.attach(c1)
    for h in (h1, h2):
        wait_until(lambda h=h: set(shares(h)) == {"h1", "h2"}, 5, f"{h.name} knows both shares")
    assert allocate(h1, "x") and allocate(h2, "y")
    for h in (h1, h2):
        assert [s[0] for s in shares(h).values()] == [1 << 19, 1 << 19], h.weft_ok("status", "ipam")


def test_I4_prime_waits_for_the_agreement(h1, h2, h3):
    h1.start_daemon(peers=[h2, h3])
    prime = threading.Thread(target=lambda: outcome.append(h1.weft("prime", timeout=40)), daemon=True)
    outcome = []
    prime.start()
    wait_until(lambda: "quorum" in status(h1) or "priming" in status(h1), 5, "prime has begun")
    assert not outcome and shares(h1) == {}
    h2.start_daemon(peers=[h1, h3])
    wait_until(lambda: outcome, 10, "prime is done when a majority is there")
    assert outcome[0].returncode == 0, outcome
    assert set(shares(h1)) >= {"h1", "h2"} and status(h1) == "ready"
    assert h1.weft("prime").returncode == 0, "when all is decided prime is done at once"


# I5


def test_I5_consensus_waits_for_a_majority_and_says_for_what(h1, h2, h3):
    h1.start_daemon("--ipalloc-init", "consensus=3")
    asking = Asking(h1, "x")
    wait_until(lambda: status(h1) == "awaiting consensus (quorum: 2, known: 1)", 3, "status says what is missing")
    assert metric(h1, "weft_ipam_pending_allocates") == 1
    assert asking.done_at is None
    # it waits on while one, the other half of the quorum, is not reachable
    h2.start_daemon("--ipalloc-init", "consensus=3")
    assert asking.done_at is None
    h2.weft_ok("connect", h1.ip)
    wait_until(lambda: "h2" in established(h1) or asking.done_at, 5, "the majority is reachable")
    reachable = time.monotonic()
    address = asking.result(2, "the address is given")
    assert asking.done_at - reachable <= 1 * SCALE, f"it took {asking.done_at - reachable:.2f} s after the majority was there"
    assert address.endswith("/12") and status(h1) == "ready"
    h3.start_daemon("--ipalloc-init", "consensus=3", peers=[h1])
    wait_linked(h1, h3)
    assert allocate(h3, "y") != address, "a late one gets space by asking"


def test_I5_the_same_list_of_peers_on_every_host_counts_each_once(h1, h2, h3):
    """Three hosts, each given all three: a majority is two, so one that is down does not matter."""
    everyone = [h1, h2, h3]
    h1.start_daemon(peers=everyone)
    h2.start_daemon(peers=everyone)
    wait_linked(h1, h2)
    wait_until(lambda: "ourselves" in h1.weft_ok("status", "connections"), 5, "h1 has met itself")
    assert Asking(h1, "x").result(5, "two of three are enough").endswith("/12")


def test_I5_a_request_whose_asker_goes_is_cancelled(h1):
    h1.start_daemon("--ipalloc-init", "consensus=2")
    try:
        h1.api("POST", "/ip/x", timeout=0.5 / SCALE)
        raise AssertionError("an address without a majority")
    except TimeoutError:
        pass
    wait_until(lambda: metric(h1, "weft_ipam_pending_allocates") == 0, 3, "nobody waits any more")


# I6

A, B = "02:00:00:00:00:0a", "02:00:00:00:00:0b"


def test_I6_seeds_need_no_agreement_and_merge(h1, h2, h3, c1, c2):
    seed = ("--ipalloc-init", f"seed={A},{B}")
    h1.start_daemon(*seed, "--name", A)
    h2.start_daemon(*seed, "--name", B)
    assert not established(h1) and not established(h2)
    begun = time.monotonic()
    a1, a2 = h1.attach(c1), h2.attach(c2)
    assert time.monotonic() - begun < 2 * SCALE, "unconnected seeds allocate at once"
    assert a1 != a2
    for h in (h1, h2):
        assert sorted(s[0] for s in shares(h).values()) == [1 << 19, 1 << 19], h.weft_ok("status", "ipam")
    h2.weft_ok("connect", h1.ip)
    wait_linked(h1, h2)
    wait_until(lambda: c1.ping(bare(a2[0])), 5, "c1 reaches c2")
    for h in (h1, h2):
        wait_until(lambda h=h: set(shares(h)) == {"h1", "h2"} and status(h) == "ready", 5, "one ring")
    h3.start_daemon("--ipalloc-init", f"seed={A},{B}", peers=[h1])
    wait_linked(h1, h3)
    assert bare(allocate(h3, "x")) not in a1 + a2, "who is no seed gets space by asking"
    no_duplicates(h1, h2, h3)


def test_I6_the_name_that_a_seed_needs_can_be_asked_for(h1):
    p = h1.run_daemon("--print-peer-name")
    assert p.returncode == 0 and re.fullmatch(r"([0-9a-f]{2}:){5}[0-9a-f]{2}\n", p.stdout), p
    h1.start_daemon("--ipalloc-init", f"seed={p.stdout.strip()}")
    assert service(h1, "router", "Name") == f"{p.stdout.strip()}(h1)"
    assert allocate(h1, "x") == "10.32.0.1/12"


# I7


def test_I7_an_observer_never_votes_but_can_trigger_an_election(h1, h2, h3, c3):
    h3.start_daemon("--ipalloc-init", "observer")
    h1.start_daemon("--ipalloc-init", "consensus=2", peers=[h3])
    wait_linked(h1, h3)
    asking = Asking(h3, "x")
    wait_until(lambda: "consensus" in status(h3) or "priming" in status(h3), 5, "the observer waits for the others")
    wait_until(lambda: status(h1) == "awaiting consensus (quorum: 2, known: 1)", 5, "it made h1 call an election, and is not counted")
    assert asking.done_at is None and shares(h1) == {}
    h2.start_daemon("--ipalloc-init", "consensus=2", peers=[h1, h3])
    address = asking.result(10, "the observer gets an address once the voters agree")
    for h in (h1, h2, h3):
        wait_until(lambda h=h: {"h1", "h2", "h3"} == set(shares(h)), 5, "the observer has space from a donor")
    parts = shares(h1)
    assert sum(p[0] for p in parts.values()) == 1 << 20
    whole = [n for n in ("h1", "h2") if parts[n][0] == 1 << 19]
    assert whole, f"the ring was not divided among the voters alone: {parts}"
    assert h3.attach(c3) and c3.addresses()[0] != address
    no_duplicates(h1, h2, h3)


# I8


def trio(h1, h2, h3, cidr="10.7.0.0/28"):
    h1.start_daemon("--ipalloc-range", cidr)
    h2.start_daemon("--ipalloc-range", cidr, peers=[h1])
    h3.start_daemon("--ipalloc-range", cidr, peers=[h1, h2])
    wait_linked(h1, h2, h3)


@topology(timeout=90)
def test_I8_space_comes_from_others_until_all_is_used(h1, h2, h3):
    trio(h1, h2, h3)
    given = [allocate(h1, f"a{i}") for i in range(14)]
    assert sorted(given, key=lambda a: ipaddress.ip_address(bare(a))) == [f"10.7.0.{i}/28" for i in range(1, 15)]
    late = Asking(h2, "late")
    wait_until(lambda: status(h2) == "waiting for space", 5, "h2 waits for space, and says so")
    assert metric(h2, "weft_ipam_pending_allocates") == 1 and late.done_at is None
    assert h1.api("DELETE", "/ip/a7").status in (200, 204)
    assert late.result(3, "it completes when space is freed on another host") == given[7]
    wait_until(lambda: status(h2) == "ready", 3, "nobody waits any more")
    late = [Asking(h3, "l3"), Asking(h2, "l2")]
    wait_until(lambda: status(h2) == status(h3) == "waiting for space", 5, "both wait")
    assert h1.api("DELETE", "/ip/a0").status in (200, 204) and h1.api("DELETE", "/ip/a1").status in (200, 204)
    assert {a.result(5, f"{a.host.name} gets one") for a in late} == {given[0], given[1]}
    assert len(no_duplicates(h1, h2, h3)) == 14


@topology(timeout=90)
def test_I8_a_container_waits_for_space_and_then_works(h1, h2, h3, c1, c2):
    trio(h1, h2, h3, "10.7.0.0/29")
    given = [allocate(h1, f"a{i}") for i in range(5)]
    a2 = h2.attach(c2)[0]
    outcome = []
    t = threading.Thread(target=lambda: outcome.append(h3.weft("attach", c1, timeout=40)), daemon=True)
    t.start()
    wait_until(lambda: status(h3) == "waiting for space", 5, "h3 waits")
    assert not outcome and c1.addresses() == []
    h1.api("DELETE", "/ip/a3")
    wait_until(lambda: outcome, 5, "attach is done")
    assert outcome[0].returncode == 0 and outcome[0].stdout == bare(given[3]) + "\n" and c1.addresses() == [given[3]]
    wait_until(lambda: c1.ping(bare(a2)), 5, "the container is on the network")


def test_I8_asking_costs_one_round_trip(net, h1, h2):
    """With 100 ms each way between the hosts, an address from the other's space takes one round trip and not two."""
    h1.start_daemon("--no-discovery", "--ipalloc-range", "10.7.0.0/28")
    h2.start_daemon("--no-discovery", "--ipalloc-range", "10.7.0.0/28")
    slow = Relay(net, h2.ip, 6783)
    h1.weft_ok("connect", slow.address)
    wait_until(lambda: established(h1) == {"h2"} and established(h2) == {"h1"}, 5, "h1 is linked with h2 through the relay")
    assert allocate(h1, "first")
    wait_until(lambda: {"h1", "h2"} == set(shares(h1)) == set(shares(h2)), 5, "the ring is known")
    slow.delay = 0.1
    took = []
    for i in range(12):
        begun = time.monotonic()
        allocate(h1, f"more{i}")
        took.append(time.monotonic() - begun)
    asked = [t for t in took if t > 0.1]
    assert asked, "nothing came from h2"
    assert all(0.2 <= t < 0.2 + 0.15 * SCALE for t in asked), f"asking took {asked} s with a round trip of 0.2 s"


# I10


@topology(timeout=90)
def test_I10_a_host_without_its_state_learns_and_claims_what_it_had(h1, h2, h3, c1, c2, c3, c4):
    h1.start_daemon("--name", A)
    h2.start_daemon(peers=[h1])
    h3.start_daemon(peers=[h1, h2])
    wait_linked(h1, h2, h3)
    a1, a2, a3 = h1.attach(c1), h2.attach(c2), h3.attach(c3)
    wait_until(lambda: set(shares(h2)) == {"h1", "h2", "h3"}, 5, "the ring is known")
    share = shares(h2)["h1"][0]
    h1.stop()
    h1.forget_state()
    h1.start_daemon("--name", A, peers=[h2])
    wait_linked(h1, h2, h3, timeout=20)
    wait_until(lambda: shares(h1).get("h1", (0,))[0] == share and status(h1) == "ready", 10, "h1 knows again what it owns")
    wait_until(lambda: held(h1).get(str(c1)) == [f"{a1[0]}/12"], 5, "h1 has claimed what its container uses")
    a4 = h1.attach(c4)
    assert a4[0] not in a1 + a2 + a3 and h1.attach(c1) == a1
    no_duplicates(h1, h2, h3)
    wait_until(lambda: c2.ping(bare(a1[0])) and c3.ping(bare(a4[0])), 5, "old and new containers are reached")


@topology(timeout=90)
def test_I10_restart_of_all_with_their_state(h1, h2, h3, c1, c2, c3):
    trio(h1, h2, h3, "10.7.0.0/27")
    addrs = [f"{a}/27" for h, c in ((h1, c1), (h2, c2), (h3, c3)) for a in h.attach(c)]
    for h in (h1, h2, h3):
        for i in range(5):
            addrs.append(allocate(h, f"{h.name}-{i}"))
    before, ring = [held(h) for h in (h1, h2, h3)], shares(h1)
    for h in (h1, h2, h3):
        h.stop()
    for h in (h3, h1, h2):
        h.restart()
    wait_linked(h1, h2, h3, timeout=20)
    assert [held(h) for h in (h1, h2, h3)] == before
    for h in (h1, h2, h3):
        wait_until(lambda h=h: {n: s[:2] for n, s in shares(h).items()} .keys() == ring.keys(), 5, "the ring is as it was")
    new = [allocate(h, f"new-{h.name}-{i}") for h in (h1, h2, h3) for i in range(3)]
    assert not set(new) & set(addrs) and len(set(new)) == 9
    assert len(no_duplicates(h1, h2, h3)) == 18 + 9
    wait_until(lambda: c1.ping(bare(addrs[1])) and c3.ping(bare(addrs[0])), 5, "the containers reach each other")


def test_I10_one_alone_without_its_state(h1, c1, c2):
    """Nobody is there to ask: what the kernel says is attached is claimed before anything is given."""
    h1.start_daemon()
    a1 = h1.attach(c1)
    h1.stop()
    h1.forget_state()
    h1.start_daemon()
    a2 = h1.attach(c2)
    assert a2 != a1 and held(h1) == {str(c1): [f"{a1[0]}/12"], str(c2): [f"{a2[0]}/12"]}
    assert command("ip", "-n", c1.netns, "link", "show", "ethwe").returncode == 0
