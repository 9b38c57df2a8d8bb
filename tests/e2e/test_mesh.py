"""Launching, meeting, topology.

      h1 ────────── h2 ────────── h3          a chain of introductions: h2 is told of h1, h3 of h2
      │                           │           (discovery links h1 and h3 as well, --no-discovery does not)
     c1                          c3
"""

import itertools
import re
import threading
import time

from lib import (
    SCALE, Capture, bare, command, connections, established, service, shares, topology, wait_linked, wait_until)

CONTROL = 6783


def targets(host):
    return sorted(host.weft_ok("status", "targets").split())


def ask_in_background(host, container, timeout=30):
    """POST /ip for a container; a list that holds the response once it is there."""
    answers = []

    def ask():
        try:
            answers.append(host.api("POST", f"/ip/{container}", timeout=timeout))
        except OSError as e:
            answers.append(e)

    threading.Thread(target=ask, daemon=True).start()
    return answers


# L1


def test_L1_the_order_of_starting_does_not_matter(h1, h2, h3):
    for order in itertools.permutations((h1, h2, h3)):
        h1.start_daemon() if order[0] is h1 else None
        for h in order:
            if not h.running():
                h.start_daemon(peers=[o for o in (h1, h2, h3) if o is not h] if h is not h1 else [])
        wait_linked(h1, h2, h3)
        for h in (h1, h2, h3):
            h.stop()


def test_L1_a_peer_that_comes_later_is_found(h1, h2):
    h1.start_daemon(peers=[h2])
    wait_until(lambda: connections(h1)[0].state in ("retrying", "failed"), 5, "h1 has tried in vain")
    h2.start_daemon()
    wait_linked(h1, h2)
    assert established(h2) == {"h1"}, "h2, which was told of nobody, knows who called"


def test_L1_names_of_hosts_and_ports_are_targets_too(h1, h2):
    h1.start_daemon("--port", 7001)
    h2.start_daemon(peers=[f"{h1.ip}:7001"])
    wait_linked(h1, h2)
    assert any(c.address == f"{h1.ip}:7001" for c in connections(h2)), h2.weft_ok("status", "connections")


@topology(timeout=180)
def test_L1_a_target_that_is_down_is_retried_with_growing_jittered_pauses(h1, h2, h3):
    with Capture(h1) as seen:
        h1.start_daemon(peers=[h2, h3])
        wait_until(lambda: min(len(seen.syns(CONTROL, h.ip)) for h in (h2, h3)) >= 6, 40, "six attempts at each")
        pauses = {}
        for h in (h2, h3):
            at = seen.syns(CONTROL, h.ip)
            pauses[h] = [b - a for a, b in zip(at, at[1:])]
        for h, p in pauses.items():
            assert p[0] < 2 * SCALE, f"the first retry of {h.name} comes after {p[0]:.1f} s"
            assert max(p[-2:]) > 2 * p[0], f"pauses do not grow: {p}"
            assert max(p) <= 31, f"a pause above the cap of 30 s: {p}"
        a, b = pauses.values()
        long = [(x, y) for x, y in zip(a, b) if min(x, y) > 0.4]  # beside which the machine's own delays are small
        assert any(abs(x - y) > 0.04 * max(x, y) for x, y in long), f"no jitter: {a} and {b}"

        # `connect` does not wait for the back-off's turn
        tries = len(seen.syns(CONTROL, h2.ip))
        wait_until(lambda: len(seen.syns(CONTROL, h2.ip)) > tries, 40, "the next attempt")
        tries, asked = len(seen.syns(CONTROL, h2.ip)), time.monotonic()
        h1.weft_ok("connect", h2.ip)
        wait_until(lambda: len(seen.syns(CONTROL, h2.ip)) > tries, 1, "`connect` tries at once")
        assert time.monotonic() - asked < max(pauses[h2][-1] * 0.8, 0.5)

        h2.start_daemon()
        h1.weft_ok("connect", h2.ip)
        wait_until(lambda: "h2" in established(h1), 1, "`connect` links at once with a host that has come up")


def test_L1_a_link_that_breaks_comes_back(net, h1, h2):
    h1.start_daemon()
    h2.start_daemon(peers=[h1])
    wait_linked(h1, h2)
    h1.kill()
    wait_until(lambda: not established(h2), 5, "h2 notices that h1 is gone")
    h1.start_daemon()
    wait_linked(h1, h2)
    cut = net.partition([h1], [h2])
    wait_until(lambda: not established(h1) and not established(h2), 8, "both notice the silence")
    net.allow(cut)
    wait_linked(h1, h2, timeout=15)


# L2


def test_L2_a_chain_becomes_a_mesh_and_outlives_its_middle(h1, h2, h3, c1, c3):
    h1.start_daemon()
    h2.start_daemon(peers=[h1])
    h3.start_daemon(peers=[h2])
    wait_linked(h1, h2, h3)
    h1.attach(c1)
    addr = bare(h3.attach(c3)[0])
    wait_until(lambda: c1.ping(addr), 5, "c1 reaches c3")
    h2.stop()
    wait_until(lambda: "h2" not in established(h1) | established(h3), 5, "h2 is missed")
    assert established(h1) == {"h3"} and established(h3) == {"h1"}
    assert c1.ping_many(addr, 50) == 50, "packets are lost without h2"


# L3: what of it this version has. Containers' packets go straight between their hosts: there are no relays yet.


def test_L3_without_discovery_addresses_and_names_cross_the_middle(h1, h2, h3, c1, c3):
    h1.start_daemon("--no-discovery")
    h2.start_daemon("--no-discovery", "--ipalloc-range", "", "--no-dns", peers=[h1])
    h3.start_daemon("--no-discovery", peers=[h2])
    wait_until(lambda: established(h1) == {"h2"} and established(h3) == {"h2"}, 10, "the chain stands")
    a1, a3 = h1.attach(c1), h3.attach(c3)
    assert a1 != a3 and len(a1) == len(a3) == 1
    h1.weft_ok("dns-add", c1, "-h", "one.weft.local")
    wait_until(lambda: h3.weft_ok("dns-lookup", "one") == bare(a1[0]), 5, "h3 knows the name that h1 was given")
    for h in (h1, h3):
        wait_until(lambda h=h: {"h1", "h3"} <= set(shares(h)), 5, f"{h.name} sees both shares")
        assert sum(s[0] for s in shares(h).values()) == 1 << 20, shares(h)
        assert "h2" not in shares(h)
    assert established(h1) == {"h2"} and established(h3) == {"h2"}, "a link that nobody asked for"
    h2.stop()
    wait_until(lambda: shares(h3)["h1"][2] and shares(h1)["h3"][2], 8, "h1 and h3 are unreachable to each other")
    wait_until(lambda: h3.weft("dns-lookup", "one").stdout == "", 5, "the name of the unreachable host is left out")


# L4


def test_L4_connect_adds_lists_and_replaces(h1, h2, h3):
    for h in (h1, h2, h3):
        h.start_daemon("--no-discovery")
    h1.weft_ok("connect", h2.ip, "10.99.0.77")
    assert targets(h1) == sorted([h2.ip, "10.99.0.77"])
    wait_until(lambda: established(h1) == {"h2"}, 5, "h1 is linked with h2")
    wait_until(lambda: any(c.ip == "10.99.0.77" and c.state != "established" for c in connections(h1)), 5, "the dead target is shown")
    h1.weft_ok("connect", h3.ip)
    assert targets(h1) == sorted([h2.ip, h3.ip, "10.99.0.77"])
    wait_until(lambda: established(h1) == {"h2", "h3"}, 5, "h1 is linked with h2 and h3")
    h1.weft_ok("connect", "--replace", h3.ip, f"[{h2.ip6}]:7000")
    assert targets(h1) == sorted([h3.ip, f"[{h2.ip6}]:7000"])
    wait_until(lambda: not any(c.ip == "10.99.0.77" for c in connections(h1)), 5, "the dead target is no longer tried")
    assert "h3" in established(h1)
    p = h1.weft("connect", "no such:host:name")
    assert p.returncode in (1, 2) and p.stderr.count("\n") == 1 and "no such" in p.stderr, p
    assert len(targets(h1)) == 2


def test_L4_forget_keeps_the_link_and_stops_reconnecting(h1, h2, h3):
    for h in (h1, h2, h3):
        h.start_daemon("--no-discovery")
    h1.weft_ok("connect", h2.ip, h3.ip)
    wait_until(lambda: established(h1) == {"h2", "h3"}, 5, "h1 is linked with both")
    h1.weft_ok("forget", h2.ip)
    assert targets(h1) == [h3.ip]
    before = h1.weft_ok("status", "connections")
    assert established(h1) == {"h2", "h3"}, f"`forget` closed a live link:\n{before}"
    with Capture(h1) as seen:
        h2.restart()
        h3.restart()
        wait_until(lambda: established(h1) == {"h3"}, 20, "the target that was not forgotten is back")
        h3.restart()
        wait_until(lambda: established(h1) == {"h3"}, 20, "and again")
        assert len(seen.syns(CONTROL, h3.ip)) >= 2
        assert seen.syns(CONTROL, h2.ip) == [], "a forgotten target is dialled"


# L5


def test_L5_targets_are_remembered_and_the_command_line_wins(h1, h2, h3):
    h1.start_daemon(peers=[h2])
    h1.weft_ok("connect", h3.ip)
    h1.restart(args=("--resume",), peers=())
    assert targets(h1) == sorted([h2.ip, h3.ip]), "--resume brings back what the command line and `connect` said"
    h1.kill()
    h1.start_daemon("--resume")
    assert targets(h1) == sorted([h2.ip, h3.ip]), "also after a crash"
    h1.restart(args=("--resume",), peers=["10.99.0.77"])
    assert targets(h1) == sorted([h2.ip, h3.ip, "10.99.0.77"]), "peers on the command line are added to what is resumed"
    h1.restart(args=(), peers=[h3])
    assert targets(h1) == [h3.ip], "without --resume the command line wins"
    h1.restart(args=("--resume",), peers=())
    assert targets(h1) == [h3.ip], "and is what is remembered"
    h2.start_daemon()
    h3.start_daemon()
    wait_until(lambda: established(h1) == {"h3"}, 15, "a resumed target is connected to")


# L6: oneself; a namesake met directly; a namesake met through a third host.


def contested(host, other, patience=10):
    """Until the host has said whose address has its name and gives out no address."""
    wait_until(lambda: "contested" in service(host, "ipam", "Status").lower(), patience, f"{host.name} knows that its name is contested")
    said = [line for line in host.log().splitlines() if other.ip in line and "name" in line]
    assert said, f"{host.name} does not say that {other.ip} has its name\n{host.log_tail()}"
    assert any(re.search(r"--name|state directory", line) for line in said), f"what to do is not said: {said}"
    held = host.api("GET", "/ip").json()["owned"]
    try:
        r = host.api("POST", f"/ip/contested-{host.name}", timeout=1)
        assert r.status >= 400, f"{host.name} gave out {r.body!r} from a contested name"
    except TimeoutError:
        pass
    assert host.api("GET", "/ip").json()["owned"] == held


def test_L6_oneself_is_detected_said_once_and_not_retried(h1, h2):
    with Capture(h1, "lo") as seen:
        h1.start_daemon(peers=[h1, h2])
        wait_until(lambda: "ourselves" in h1.log(), 5, "h1 says that it was told to connect to itself")
        wait_until(lambda: len(seen.syns(CONTROL, h1.ip)) >= 1, 5, "the attempt is seen")
        h2.start_daemon()
        wait_linked(h1, h2, timeout=15)  # as long as a retry of h2 took, one of oneself would have come
        h1.weft_ok("connect", h2.ip)
        assert len(seen.syns(CONTROL, h1.ip)) == 1, "it is dialled again"
    assert len([line for line in h1.log().splitlines() if "ourselves" in line]) == 1, h1.log_tail()
    assert not any(c.ip == h1.ip and c.state == "established" for c in connections(h1))


NAME = "02:11:22:33:44:55"


def test_L6_two_of_one_name_that_meet_refuse_each_other(h1, h2):
    h1.start_daemon("--name", NAME)
    before = h1.api("POST", "/ip/before").text
    assert before == "10.32.0.1/12"
    h2.start_daemon("--name", NAME, peers=[h1])
    contested(h1, h2)
    contested(h2, h1)
    assert not established(h1) and not established(h2)
    line = next(c.line for c in connections(h2) if c.ip == h1.ip)
    assert "failed" in line and h1.ip in line, line
    assert h1.api("POST", "/ip/before").text == before, "what a container has it keeps"


def test_L6_two_of_one_name_that_dial_each_other(h1, h2):
    h1.start_daemon("--name", NAME, peers=[h2])
    h2.start_daemon("--name", NAME, peers=[h1])
    contested(h1, h2)
    contested(h2, h1)


def test_L6_two_of_one_name_behind_a_third_host(h1, h2, h3):
    h3.start_daemon("--no-discovery")
    h1.start_daemon("--no-discovery", "--name", NAME, peers=[h3])
    wait_linked(h1, h3)
    h2.start_daemon("--no-discovery", "--name", NAME, peers=[h3])
    contested(h2, h1)
    contested(h1, h2)
    said = [line for line in h3.log().splitlines() if NAME in line and "refused" in line]
    assert said and h1.ip in said[0] and h2.ip in said[0], f"h3 does not say who is who: {said}"
    assert established(h3) == {"h1"}, "the one that was there first keeps its link"
    assert h3.api("POST", "/ip/third").status == 200 or "h1" in shares(h3)


@topology(timeout=90)
def test_L6_two_of_one_name_whose_meshes_join(net, h1, h2, h3):
    """Each has a mesh of its own when the two meet: h1 alone with h3; h2; then h3 is told of h2."""
    h3.start_daemon("--no-discovery")
    h1.start_daemon("--no-discovery", "--name", NAME, peers=[h3])
    h2.start_daemon("--no-discovery", "--name", NAME)
    wait_linked(h1, h3)
    h3.weft_ok("connect", h2.ip)
    contested(h1, h2)
    contested(h2, h1)


# L8


@topology(timeout=90)
def test_L8_traffic_outlives_a_killed_daemon_and_a_restart_adopts(h1, h2, c1, c2, net):
    h1.start_daemon("--resume", peers=[h2])
    h2.start_daemon()
    wait_linked(h1, h2)
    a1, a2 = h1.attach(c1), h2.attach(c2)
    h1.weft_ok("dns-add", c1, "-h", "one.weft.local")
    held = h1.api("GET", "/ip").json()
    name = service(h1, "router", "Name")
    index = c1.exec("cat", "/sys/class/net/ethwe/ifindex").stdout
    wait_until(lambda: c1.ping(bare(a2[0])) and c2.ping(bare(a1[0])), 5, "c1 and c2 talk")
    pings = [None, None]

    def ping(i, here, there):
        pings[i] = here.ping_many(there, 300, interval=0.02)

    threads = [threading.Thread(target=ping, args=a) for a in ((0, c1, bare(a2[0])), (1, c2, bare(a1[0])))]
    for t in threads:
        t.start()
    h1.kill()
    wait_until(lambda: not established(h2), 5, "h2 has noticed")
    h1.start_daemon("--resume")  # no lock is in its way
    for t in threads:
        t.join()
    assert pings == [300, 300], f"of 300 pings each way {pings} were answered over kill -9 and restart"
    wait_linked(h1, h2, timeout=15)
    assert service(h1, "router", "Name") == name and targets(h1) == [h2.ip]
    assert h1.api("GET", "/ip").json() == held
    assert h1.weft_ok("dns-lookup", "one") == bare(a1[0])
    assert [str(c1), c1.mac(), f"{a1[0]}/12"] in [line.split() for line in h1.weft_ok("ps").splitlines()]
    assert c1.exec("cat", "/sys/class/net/ethwe/ifindex").stdout == index and c1.ips() == a1
    c3 = net.container(3)
    wait_until(lambda: c2.ping(bare(a1[0])), 5, "c2 reaches c1")
    assert h1.attach(c3)[0] not in a1 + a2
    wait_until(lambda: c2.ping(bare(c3.addresses()[0])), 5, "c2 reaches what is attached now")
    assert h1.detach(c1) == a1 and c1.addresses() == []


def test_L8_killed_at_any_instant_gives_nothing_twice(h1):
    """kill -9 while addresses are being given out: whatever the API said was given is held afterwards."""
    given = {}
    for round_ in range(5):
        h1.start_daemon("--resume") if round_ else h1.start_daemon()
        stop = threading.Event()

        def ask(round_=round_, stop=stop):
            for i in range(10000):
                try:
                    r = h1.api("POST", f"/ip/r{round_}-{i}")
                except Exception:
                    return  # it was killed
                if r.status == 200:
                    given[f"r{round_}-{i}"] = r.text.strip()
                if stop.is_set():
                    return

        t = threading.Thread(target=ask)
        t.start()
        goal = len(given) + 20
        wait_until(lambda goal=goal: len(given) >= goal, 10, "addresses are given")
        h1.kill()
        stop.set()
        t.join()
    h1.start_daemon("--resume")
    assert len(set(given.values())) == len(given), "an address was given twice"
    held = {e["containerid"]: e["addrs"] for e in h1.api("GET", "/ip").json()["owned"]}
    lost = {c: a for c, a in given.items() if held.get(c) != [a]}
    assert not lost, f"given and not held after the restart: {lost}"
    assert command("ls", h1.state_dir).stdout
