"""The data plane between two hosts.

     c1 ── h1 ══════ underlay ══════ h2 ── c2

fast: VXLAN on UDP 6784; userspace: our datagrams on UDP 6783
"""

from lib import (
    Capture, bare, connections, sizes, tcp_sweep, topology, udp_sweep, wait_linked, wait_until)

FAST, USERSPACE = 6784, 6783
EDGES = [n for b in (548, 576, 1232, 1280, 1350, 1364, 1378, 1406, 1420, 1434, 1442, 1450, 1464, 1472, 1480, 1492, 1500, 2756, 2812, 4168,
                     60_000) for n in range(b - 12, b + 13) if n <= 60_000]
ALL = sorted(set(range(1, 80)) | set(EDGES) | set(sizes(step=1499)))
ARGS = {"fast": (), "userspace": ("--no-fastdp",)}


def pair(h1, h2, c1, c2, *args):
    """Two linked hosts with a container each; the containers' addresses."""
    h1.start_daemon(*args)
    h2.start_daemon(*args, peers=[h1])
    wait_linked(h1, h2)
    addrs = bare(h1.attach(c1)[0]), bare(h2.attach(c2)[0])
    wait_until(lambda: c1.ping(addrs[1]) and c2.ping(addrs[0]), 5, "c1 and c2 reach each other")
    return addrs


def only_link(host):
    lines = [c for c in connections(host) if c.state == "established"]
    assert len(lines) == 1, lines
    return lines[0]


def sweep(h1, h2, c1, c2, path):
    a1, a2 = pair(h1, h2, c1, c2, *ARGS[path])
    wait_until(lambda: only_link(h1).path == only_link(h2).path == path, 5, f"it goes by the {path} path")
    for a, b, addr in ((c1, c2, a2), (c2, c1, a1)):
        udp_sweep(a, b, addr, over=ALL)
        tcp_sweep(a, b, addr, over=ALL)
    for size in (0, 1, 56, 1378, 1379, 1472, 8000, 60_000):
        assert c1.ping(a2, size=size) and c2.ping(a1, size=size), f"pings of {size} bytes"


@topology(timeout=180)
def test_D1_every_size_passes_both_ways_on_the_fast_path(h1, h2, c1, c2):
    sweep(h1, h2, c1, c2, "fast")


@topology(timeout=180)
def test_D1_every_size_passes_both_ways_on_the_userspace_path(h1, h2, c1, c2):
    sweep(h1, h2, c1, c2, "userspace")


@topology(timeout=90)
def test_D1_it_passes_among_containers_of_one_host_and_three(net, h1, h2, h3, c1, c2, c3, c4):
    h1.start_daemon()
    h2.start_daemon(peers=[h1])
    h3.start_daemon("--no-fastdp", peers=[h1])
    wait_linked(h1, h2, h3)
    on = {c1: h1, c4: h1, c2: h2, c3: h3}
    addr = {c: bare(h.attach(c)[0]) for c, h in on.items()}
    for a in on:
        for b in on:
            if a is not b:
                wait_until(lambda a=a, b=b: a.ping(addr[b]), 5, f"{a} reaches {b}")
    for a, b in ((c1, c4), (c1, c2), (c2, c3), (c3, c4)):
        udp_sweep(a, b, addr[b], over=(1, 1364, 1378, 1379, 1406, 9000, 60_000))
        tcp_sweep(a, b, addr[b], over=(1, 1366, 1367, 60_000))


def carried(capture, port):
    """Datagrams to that port that are larger than the mesh's own."""
    return [at for at, _, body in capture.segments(17, dport=port) if len(body) > 1000]


def test_D2_the_fast_path_is_chosen_and_status_says_why(h1, h2, c1, c2):
    a1, a2 = pair(h1, h2, c1, c2)
    for h, other in ((h1, h2), (h2, h1)):
        wait_until(lambda h=h: only_link(h).path == "fast", 5, "the fast path is taken")
        link = only_link(h)
        assert link.path == "fast" and link.nick == other.name and link.ip == other.ip, link
        assert link.direction in ("->", "<-")
        assert {"mtu", "reason", "since", "encrypted"} <= set(link.keys), link
        assert link.keys["encrypted"] == "no" and link.keys["reason"] and link.keys["since"], link
        assert 1406 <= int(link.keys["mtu"]) <= 1450, link
    with Capture(h1) as seen:
        assert c1.ping(a2, size=1200) and c2.ping(a1, size=1200)
        wait_until(lambda: len(carried(seen, FAST)) >= 4, 2, "the packets go through the kernel's VXLAN")
        assert not carried(seen, USERSPACE)


def test_D2_without_the_fast_path_status_says_so_on_both_ends(h1, h2, c1, c2):
    h1.start_daemon("--no-fastdp")
    h2.start_daemon(peers=[h1])
    wait_linked(h1, h2)
    a2 = (h1.attach(c1), bare(h2.attach(c2)[0]))[1]
    wait_until(lambda: c1.ping(a2), 5, "c1 reaches c2")
    here, there = only_link(h1), only_link(h2)
    assert here.path == there.path == "userspace", (here, there)
    assert "vxlan" in here.keys["reason"] and "vxlan" in there.keys["reason"]
    assert here.keys["reason"] != there.keys["reason"], "which of the two ends lacks it is to be seen"
    with Capture(h1) as seen:
        assert c1.ping(a2, size=1200)
        wait_until(lambda: len(carried(seen, USERSPACE)) >= 2, 2, "the packets go through our datagrams")
        assert not carried(seen, FAST)


@topology(mtu=1400)
def test_D2_the_mtu_shown_is_what_passes_in_one_piece(h1, h2, c1, c2):
    a2 = pair(h1, h2, c1, c2)[1]
    mtu = int(only_link(h1).keys["mtu"])
    assert 1306 <= mtu <= 1350, only_link(h1)
    own = int(c1.exec("cat", "/sys/class/net/ethwe/mtu").stdout)
    assert own <= mtu
    with Capture(h1) as seen:
        assert c1.ping(a2, size=own - 28, df=True)
        wait_until(lambda: carried(seen, FAST), 2, "it is seen")
        fragments = [f for _, f in seen.frames if f[12:14] == b"\x08\x00" and (f[20] & 0x3F or f[21])]
        assert not fragments, "what fits the MTU is cut into fragments on the underlay"


def test_D2_linked_over_ipv6_the_fast_path_takes_the_address_its_device_can(h1, h2, c1, c2):
    h1.start_daemon()
    h2.start_daemon(peers=[f"[{h1.ip6}]"])
    wait_linked(h1, h2)
    a2 = (h1.attach(c1), bare(h2.attach(c2)[0]))[1]
    wait_until(lambda: only_link(h2).path == "fast", 5, "the fast path is taken")
    wait_until(lambda: c1.ping(a2), 5, "c1 reaches c2")
    with Capture(h1) as seen:
        assert c1.ping(a2, size=1200)
        wait_until(lambda: len(carried(seen, FAST)) >= 2, 2, "the packets go through the kernel's VXLAN")


def test_D2_both_on_ipv6_only_the_fast_path_is_over_ipv6(h1, h2, c1, c2):
    h1.start_daemon("--host", h1.ip6)
    h2.start_daemon("--host", h2.ip6, peers=[f"[{h1.ip6}]"])
    wait_linked(h1, h2)
    a2 = (h1.attach(c1), bare(h2.attach(c2)[0]))[1]
    wait_until(lambda: only_link(h2).path == "fast", 5, "the fast path is taken")
    wait_until(lambda: c1.ping(a2), 5, "c1 reaches c2")
    assert c1.ping(a2, size=1200)


def test_D2_one_on_ipv6_only_takes_the_userspace_path_and_says_why(h1, h2, c1, c2):
    h1.start_daemon("--host", h1.ip6)
    h2.start_daemon(peers=[f"[{h1.ip6}]"])
    wait_linked(h1, h2)
    a2 = (h1.attach(c1), bare(h2.attach(c2)[0]))[1]
    for h in (h1, h2):
        assert only_link(h).path == "userspace" and only_link(h).keys["reason"] == "vxlan-address-families-differ", only_link(h)
    wait_until(lambda: c1.ping(a2), 5, "c1 reaches c2")
