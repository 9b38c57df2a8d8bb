"""Who has which address: answered on the host for containers that weft knows, and said aloud as soon as weft knows it.

     c1 c3 ── h1 ══════ underlay ══════ h2 ── c2        what of it crosses the underlay is seen at h1's eth0
"""

import concurrent.futures
import json
import socket
import struct
import time

from lib import Capture, bare, in_netns, topology, wait_linked, wait_until
from lib.proc import SCALE

FAST, USERSPACE = 6784, 6783
INNER = {FAST: 8 + 8, USERSPACE: 8 + 16}  # bytes of UDP and of the tunnel before the container's frame
ROUNDS = 20
ALL, ETH_ARP = b"\xff" * 6, b"\x08\x06"


def inner(capture):
    """The containers' frames among the datagrams on the underlay."""
    return [body[INNER[port]:] for port in INNER for _, _, body in capture.segments(17, dport=port) if len(body) > INNER[port] + 14]


def arp_to_all(capture):
    """(operation, sender, target) of the ARP frames to all that crossed."""
    return [(f[21], socket.inet_ntoa(f[28:32]), socket.inet_ntoa(f[38:42])) for f in inner(capture) if f[:6] == ALL and f[12:14] == ETH_ARP]


def neighbours(host):
    """What the daemon told the host's bridge: {address: MAC}."""
    lines = json.loads(host.exec("ip", "-4", "-j", "neigh", "show", "dev", "weft", "nud", "permanent").stdout or "[]")
    return {line["dst"]: line["lladdr"] for line in lines}


def pair(h1, h2, *args):
    h1.start_daemon(*args)
    h2.start_daemon(*args, peers=[h1])
    wait_linked(h1, h2)


def echo_request(n):
    body = struct.pack(">BBHHH", 8, 0, 0, 0x7766, n)
    total = sum(struct.unpack(">4H", body))
    return body[:2] + struct.pack(">H", 0xFFFF - (total % 0xFFFF)) + body[4:]


def first_answer(place, addr, attached):
    """Asks every few milliseconds from before it has an interface; seconds from when both were attached to the first answer."""
    with in_netns(place.netns):
        s = socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP)
    s.settimeout(0.005)
    end = time.monotonic() + 20 * SCALE
    n = 0
    with s:
        while time.monotonic() < end:
            n += 1
            try:
                s.sendto(echo_request(n & 0xFFFF), (addr, 0))
            except OSError:  # no interface yet
                time.sleep(0.001)
                continue
            try:
                got, sender = s.recvfrom(2048)
            except TimeoutError:
                continue
            except OSError:  # the kernel asked for the MAC in vain and says so
                continue
            if sender[0] == addr and got[20] == 0:
                answered = time.monotonic()
                return answered - attached()
    raise AssertionError(f"{addr} does not answer {place}")


def at_once(net, h1, h2, *args):
    """Rounds of two new containers, attached at the same moment, each of which calls the other from the first moment on."""
    pair(h1, h2, *args)
    times = []
    for n in range(ROUNDS):
        ends = [(h1, net.container(2 * n + 1), f"10.32.1.{n + 1}"), (h2, net.container(2 * n + 2), f"10.32.2.{n + 1}")]
        with concurrent.futures.ThreadPoolExecutor(4) as pool:
            def attach(h, c, addr):
                h.attach(c, f"ip:{addr}/12")
                return time.monotonic()

            attached = [pool.submit(attach, *e) for e in ends]

            def both(attached=attached):
                return max(f.result() for f in attached)

            answers = [pool.submit(first_answer, ends[i][1], ends[1 - i][2], both) for i in (0, 1)]
            times += [a.result() for a in answers]
    late = {n: round(t, 3) for n, t in enumerate(times) if t > 0.3 * SCALE}
    assert not late, f"stalled: {late}, median {sorted(times)[len(times) // 2]:.3f}"


@topology(timeout=180)
def test_D7_containers_attached_at_the_same_moment_reach_each_other_at_once_on_the_fast_path(net, h1, h2):
    at_once(net, h1, h2)


@topology(timeout=180)
def test_D7_containers_attached_at_the_same_moment_reach_each_other_at_once_on_the_userspace_path(net, h1, h2):
    at_once(net, h1, h2, "--no-fastdp")


def known_stay_here(h1, h2, c1, c2, c3, *args):
    pair(h1, h2, *args)
    a1, a2, a3 = (bare(h.attach(c)[0]) for h, c in ((h1, c1), (h2, c2), (h1, c3)))
    want = {a1: c1.mac(), a2: c2.mac(), a3: c3.mac()}
    for h in (h1, h2):
        wait_until(lambda h=h: neighbours(h) == want, 3, f"{h.name} knows the three addresses")
    with Capture(h1) as seen:
        for c in (c1, c2, c3):
            c.exec("ip", "neigh", "flush", "all")
        for c, others in ((c1, (a2, a3)), (c2, (a1, a3)), (c3, (a1, a2))):
            for other in others:
                assert c.ping(other), f"{c} reaches {other}"
        # one for an address that nobody has, so that there is something to be seen
        assert not c1.ping("10.32.77.77")
        wait_until(lambda: any(target == "10.32.77.77" for _, _, target in arp_to_all(seen)), 3, "a question nobody can answer goes out")
        assert {target for _, _, target in arp_to_all(seen)} == {"10.32.77.77"}, arp_to_all(seen)


def test_D6_arp_for_known_containers_does_not_cross_the_underlay(h1, h2, c1, c2, c3):
    known_stay_here(h1, h2, c1, c2, c3)


def test_D6_arp_for_known_containers_does_not_cross_the_underlay_on_the_userspace_path(h1, h2, c1, c2, c3):
    known_stay_here(h1, h2, c1, c2, c3, "--no-fastdp")


def test_D7_an_address_with_another_mac_is_announced_on_other_hosts(h1, h2, c1, c2, c3):
    pair(h1, h2)
    addr, a2 = bare(h1.attach(c1)[0]), bare(h2.attach(c2)[0])
    wait_until(lambda: c2.ping(addr), 5, "c2 reaches c1")
    h1.detach(c1)
    with Capture(c2, "ethwe") as here, Capture(h1) as there:
        h1.attach(c3, f"ip:{addr}/12")
        raw = socket.inet_aton(addr)

        def announced():
            return [f for _, f in list(here.frames) if f[:6] == ALL and f[12:14] == ETH_ARP and f[28:32] == raw == f[38:42]]

        wait_until(announced, 3, "c2 is told")
        assert c2.ping(addr) and c3.ping(a2), "the new one is reached at the first try"
        assert [f[6:12].hex(":") for f in announced()] == [c3.mac()], "once, and of the new MAC"
        assert not arp_to_all(there), "nothing of that has crossed the underlay"


def test_D14_neighbours_of_a_host_that_died_are_removed(h1, h2, c1, c2):
    pair(h1, h2)
    a1, a2 = bare(h1.attach(c1)[0]), bare(h2.attach(c2)[0])
    wait_until(lambda: set(neighbours(h1)) == {a1, a2}, 3, "h1 knows both")
    h2.kill()
    wait_until(lambda: set(neighbours(h1)) == {a1}, 60, "the dead host's address is answered for no more")
    assert c2.mac() not in h1.exec("bridge", "fdb", "show", "br", "weft").stdout


def test_D13_nobody_is_told_that_the_address_for_names_is_elsewhere(h1, h2, c1, c2):
    pair(h1, h2)
    h1.attach(c1)
    dns = "169.254.67.83"
    said = h2.weft("attach", f"ip:{dns}/32", c2).stdout.split()
    wait_until(lambda: set(neighbours(h1)) >= set(c1.ips()), 3, "h1 has looked")
    time.sleep(0.5)  # nothing may happen, so there is nothing to wait for
    assert dns not in neighbours(h1) and dns not in neighbours(h2), said


def test_O_entries_are_kept_over_a_restart(h1, h2, c1, c2):
    for h in (h1, h2):
        h.exec("ip", "-6", "addr", "flush", "dev", "eth0")
    pair(h1, h2)
    a1, a2 = bare(h1.attach(c1)[0]), bare(h2.attach(c2)[0])
    want = {a1: c1.mac(), a2: c2.mac()}
    wait_until(lambda: neighbours(h1) == want and c1.ping(a2), 5, "h1 knows both")
    h1.exec("ip", "neigh", "replace", "10.32.99.9", "lladdr", "02:00:00:00:00:99", "dev", "weft", "nud", "permanent")
    h1.stop()
    assert neighbours(h1) == want | {"10.32.99.9": "02:00:00:00:00:99"}
    watch = h1.net.spawn(h1.netns, "ip", "monitor", "neigh", "dev", "weft", log=h1.net.dir + "/neigh")
    time.sleep(0.2)
    h1.restart()
    wait_until(lambda: neighbours(h1) == want, 20, "what nobody has is removed, the rest is there")
    watch.kill()
    watch.wait()
    with open(h1.net.dir + "/neigh") as f:
        changed = [line for line in f if a1 in line or a2 in line]
    assert not [line for line in changed if "Deleted" in line or "PERMANENT" in line], changed
    assert c1.ping(a2)


@topology(timeout=60)
def test_O_a_tap_device_that_was_removed_is_made_anew(h1, h2, c1, c2):
    pair(h1, h2, "--no-fastdp")
    h1.attach(c1)
    a2 = bare(h2.attach(c2)[0])
    wait_until(lambda: c1.ping(a2), 5, "c1 reaches c2")
    h1.exec("ip", "link", "del", "weft-tap")
    wait_until(lambda: c1.ping(a2), 10, "c1 reaches c2 again")
    assert "weft-tap was removed" in h1.log()
    # while another interface has the name nothing can be done; then it can
    h1.exec("sh", "-c", "ip link del weft-tap && ip link add weft-tap type veth peer name other")
    wait_until(lambda: "there is no userspace path" in h1.log(), 10, "it is said")
    assert h1.weft("status").returncode == 0 and h1.api("GET", "/metrics").status == 200
    h1.exec("ip", "link", "del", "weft-tap")
    wait_until(lambda: c1.ping(a2), 15, "c1 reaches c2 once more")
