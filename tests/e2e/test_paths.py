"""Which way frames go between hosts, how soon another one is taken, and what passes on each.

     c1 ── h1 ══════ underlay ══════ h2 ── c2        fast: VXLAN on UDP 6784; userspace and relay: our datagrams on UDP 6783
"""

import json
import socket
import struct
import threading
import time

from lib import (
    SCALE, Capture, bare, connections, metric, socket_in, tcp_sweep, topology, udp_sweep, wait_linked, wait_until)

FAST, USERSPACE = 6784, 6783
EDGES = sorted({n for b in (500, 540, 576, 700, 1206, 1280, 1314, 1350, 1406, 1450, 1500, 2812, 4168, 8906, 9000, 60_000) for n in range(b - 3, b + 4)
                if n <= 60_000} | {1, 64, 100, 20_000})


def pair(h1, h2, c1, c2, *args, env=None):
    h1.start_daemon(*args, env=env)
    h2.start_daemon(*args, peers=[h1], env=env)
    wait_linked(h1, h2)
    addrs = bare(h1.attach(c1)[0]), bare(h2.attach(c2)[0])
    wait_until(lambda: c1.ping(addrs[1]) and c2.ping(addrs[0]), 10, "c1 and c2 reach each other")
    return addrs


def line(host, other):
    """The line of `status connections` about another host."""
    found = [c for c in connections(host) if c.nick == other.name and c.state == "established"]
    return found[0] if found else None


def path(host, other):
    c = line(host, other)
    return c.path if c else None


def since_last_answer(container, addr, seconds):
    """Pings without a pause for so long: the longest time between two answers."""
    last = start = time.monotonic()
    longest = 0.0
    while time.monotonic() - start < seconds * SCALE:
        if container.ping(addr, timeout=0.2):
            now = time.monotonic()
            longest, last = max(longest, now - last), now
    return max(longest, time.monotonic() - last)


# D3


@topology(timeout=180)
def test_D3_a_blocked_fast_path_is_left_and_comes_back(net, h1, h2, c1, c2):
    a2 = pair(h1, h2, c1, c2)[1]
    for h, other in ((h1, h2), (h2, h1)):
        wait_until(lambda h=h, other=other: path(h, other) == "fast", 10, f"{h.name} uses the fast path")
    rule = net.drop_udp_port(h1, FAST)
    assert since_last_answer(c1, a2, 8) < 5 * SCALE, "traffic stopped for too long"
    for h, other in ((h1, h2), (h2, h1)):
        wait_until(lambda h=h, other=other: path(h, other) == "userspace", 5, f"{h.name} has left the fast path")
        assert "probe" in line(h, other).keys["reason"], line(h, other)
    assert c1.ping(a2)
    net.allow(rule)
    for h, other in ((h1, h2), (h2, h1)):
        wait_until(lambda h=h, other=other: path(h, other) == "fast", 60, f"{h.name} is back on the fast path")
        assert metric(h, "weft_path_changes_total", **{"from": "fast", "to": "userspace"}) >= 1
        assert metric(h, "weft_path_changes_total", **{"from": "userspace", "to": "fast"}) >= 1
        assert "path to" in h.log()
    assert c1.ping(a2)


@topology(timeout=120)
def test_D3_packets_of_full_size_that_vanish_count_as_a_failed_path(net, h1, h2, c1, c2):
    """Small packets pass and large ones do not: the path that looks alive is the one that hurts."""
    a2 = pair(h1, h2, c1, c2)[1]
    wait_until(lambda: path(h1, h2) == path(h2, h1) == "fast", 10, "the fast path is used")
    net.drop_larger(1300)
    c1.ping(a2, size=1370, timeout=0.3)
    wait_until(lambda: c1.ping(a2, size=1370), 8, "large packets pass again")
    wait_until(lambda: path(h1, h2) == "userspace", 5, "by the userspace path")
    tcp_sweep(c1, c2, a2, over=EDGES)
    net.heal()


@topology(timeout=60)
def test_D3_a_vxlan_device_that_is_removed_is_a_visible_failure(h1, h2, c1, c2):
    a2 = pair(h1, h2, c1, c2)[1]
    wait_until(lambda: path(h1, h2) == "fast" == path(h2, h1), 10, "the fast path is used")
    h2.exec("ip", "link", "del", "weft-vx")
    assert since_last_answer(c1, a2, 4) < 3 * SCALE
    wait_until(lambda: path(h1, h2) == "fast" == path(h2, h1), 60, "the device is there again, and in use")
    assert c1.ping(a2)


# D4, D5


def whole_sizes(c1, c2, a1, a2):
    for a, b, addr in ((c1, c2, a2), (c2, c1, a1)):
        udp_sweep(a, b, addr, over=EDGES, tries=5)
        tcp_sweep(a, b, addr, over=EDGES, timeout=20)


def mtu_shown(host, other):
    return int(line(host, other).keys["mtu"])


def swept(net, h1, h2, c1, c2, mtu, *args, env=None):
    net.set_mtu(mtu)
    net.drop_icmp()
    h1.forget_state()
    a1, a2 = pair(h1, h2, c1, c2, *args, env=env)
    whole_sizes(c1, c2, a1, a2)
    wait_until(lambda: mtu - 130 <= mtu_shown(h1, h2) < mtu, 20, f"the MTU found fits an underlay of {mtu}")


@topology(timeout=120)
def test_D4_underlay_of_576(net, h1, h2, c1, c2):
    swept(net, h1, h2, c1, c2, 576)


@topology(timeout=120)
def test_D4_underlay_of_1280(net, h1, h2, c1, c2):
    swept(net, h1, h2, c1, c2, 1280)


@topology(timeout=120)
def test_D4_underlay_of_1400_sealed(net, h1, h2, c1, c2):
    swept(net, h1, h2, c1, c2, 1400, env={"WEFT_PASSWORD": "sweeping"})


@topology(timeout=120)
def test_D4_underlay_of_9000(net, h1, h2, c1, c2):
    swept(net, h1, h2, c1, c2, 9000)


@topology(timeout=180)
def test_D4_a_narrow_place_in_the_middle_is_found_by_probing(net, h1, h2, c1, c2):
    """Hosts see 1500 bytes, the path drops everything above 700 without a word."""
    net.drop_icmp()
    net.drop_larger(700)
    for env in (None, {"WEFT_PASSWORD": "narrow"}):
        a1, a2 = pair(h1, h2, c1, c2, env=env)
        wait_until(lambda: path(h1, h2) == path(h2, h1) == "userspace", 15, "large packets cannot go by the fast path")
        whole_sizes(c1, c2, a1, a2)
        wait_until(lambda: 550 <= mtu_shown(h1, h2) <= 690 and 550 <= mtu_shown(h2, h1) <= 690, 30, "the MTU is found")
        for h in (h1, h2):
            h.stop()


@topology(timeout=120)
def test_D4_the_path_narrows_and_widens_while_it_is_used(net, h1, h2, c1, c2):
    a1, a2 = pair(h1, h2, c1, c2, "--no-fastdp")
    wait_until(lambda: mtu_shown(h1, h2) >= 1400, 15, "the MTU of the path is found")
    net.drop_larger(900)
    wait_until(lambda: c1.ping(a2, size=1370) and c2.ping(a1, size=1370), 10, "large packets pass the narrowed path")
    udp_sweep(c1, c2, a2, over=EDGES, tries=5)
    wait_until(lambda: mtu_shown(h1, h2) < 900, 20, "the smaller MTU is shown")


@topology(timeout=60)
def test_D5_too_large_with_DF_is_told_with_the_right_mtu(net, h1, h2, c1, c2):
    net.drop_icmp()
    net.drop_larger(800)
    a2 = pair(h1, h2, c1, c2, "--no-fastdp")[1]
    wait_until(lambda: mtu_shown(h1, h2) < 800, 20, "the path's MTU is found")
    mtu = mtu_shown(h1, h2)
    out = c1.exec("ping", "-n", "-c", "3", "-i", "0.3", "-W", "1", "-M", "do", "-s", "1300", a2, check=False).stdout
    assert f"mtu = {mtu}" in out or f"mtu={mtu}" in out, (mtu, out)
    wait_until(lambda: c1.ping(a2, size=mtu - 28, df=True), 5, "what fits passes with DF")
    assert not c1.ping(a2, size=mtu - 27, df=True)
    assert c1.exec("sh", "-c", f"ip route get {a2}").stdout.count(f"mtu {mtu}") == 1


@topology(timeout=60)
def test_D5_ipv6_packets_too_large_are_told(net, h1, h2, c1, c2):
    net.drop_icmp()
    net.drop_larger(1400)
    pair(h1, h2, c1, c2, "--no-fastdp")
    wait_until(lambda: mtu_shown(h1, h2) < 1400, 20, "the path's MTU is found")
    mtu = mtu_shown(h1, h2)
    there = json.loads(c2.exec("ip", "-j", "-6", "addr", "show", "dev", "ethwe", "scope", "link").stdout)[0]["addr_info"][0]["local"] + "%ethwe"
    wait_until(lambda: c1.ping(there), 10, "IPv6 passes")
    out = c1.exec("ping", "-n", "-c", "3", "-i", "0.3", "-W", "1", "-M", "do", "-s", "1352", there, check=False).stdout
    assert f"mtu={mtu}" in out or f"mtu = {mtu}" in out, (mtu, out)
    wait_until(lambda: c1.ping(there, size=1352), 5, "fragmented by its sender it passes")


# D6, L3


def receivers(containers, port):
    socks = []
    for c in containers:
        s = socket_in(c, timeout=1)
        s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        s.bind(("", port))
        mreq = struct.pack("4s4s", socket.inet_aton("239.1.2.3"), socket.inet_aton(c.ips()[0]))
        s.setsockopt(socket.IPPROTO_IP, socket.IP_ADD_MEMBERSHIP, mreq)
        socks.append(s)
    return socks


def copies(s, wanted, wait):
    """How many of each of the wanted payloads come within that time of silence."""
    found = dict.fromkeys(wanted, 0)
    s.settimeout(wait * SCALE)
    try:
        while True:
            data = s.recv(65536)
            if data in found:
                found[data] += 1
    except TimeoutError:
        return found


def exactly_once(sender, others, tag):
    group = [f"{tag} group {i}".encode() * 50 for i in range(10)]
    everyone = [f"{tag} all {i}".encode() * 50 for i in range(10)]
    socks = receivers(others, 7100)
    with socket_in(sender) as s:
        s.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)
        s.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_IF, socket.inet_aton(sender.ips()[0]))
        s.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_TTL, 4)
        s.bind((sender.ips()[0], 0))
        for a, b in zip(group, everyone):
            s.sendto(a, ("239.1.2.3", 7100))
            s.sendto(b, ("10.47.255.255", 7100))
    for c, r in zip(others, socks):
        got = copies(r, group + everyone, 1)
        r.close()
        assert set(got.values()) == {1}, f"{c}: copies of each: {sorted(got.values())}"


@topology(timeout=90)
def test_D6_broadcast_and_multicast_arrive_exactly_once(net, h1, h2, h3, c1, c2, c3, c4):
    h1.start_daemon()
    h2.start_daemon(peers=[h1])
    h3.start_daemon("--no-fastdp", peers=[h1])
    wait_linked(h1, h2, h3)
    for h, c in ((h1, c1), (h2, c2), (h3, c3), (h2, c4)):
        h.attach(c)
    for c in (c2, c3, c4):
        wait_until(lambda c=c: c1.ping(c.ips()[0]), 10, f"c1 reaches {c}")
    exactly_once(c1, [c2, c3, c4], "c1")
    exactly_once(c3, [c1, c2, c4], "c3")


def chain(h1, h2, h3, *args, env=None):
    h2.start_daemon("--no-discovery", *args, env=env)
    h1.start_daemon("--no-discovery", *args, peers=[h2], env=env)
    h3.start_daemon("--no-discovery", *args, peers=[h2], env=env)
    wait_linked(h1, h2)
    wait_linked(h2, h3)


@topology(timeout=120)
def test_L3_containers_of_unlinked_hosts_talk_through_the_middle(net, h1, h2, h3, c1, c2, c3):
    chain(h1, h2, h3)
    a1, a2, a3 = (bare(h.attach(c)[0]) for h, c in ((h1, c1), (h2, c2), (h3, c3)))
    wait_until(lambda: c1.ping(a3) and c3.ping(a1) and c1.ping(a2), 15, "all reach all")
    with Capture(h1) as seen:
        udp_sweep(c1, c3, a3, over=EDGES, tries=5)
        tcp_sweep(c1, c3, a3, over=EDGES, timeout=20)
        direct = [1 for _, f in seen.frames if f[12:14] == b"\x08\x00" and f[26:30] == socket.inet_aton(h1.ip) and f[30:34] == socket.inet_aton(h3.ip)]
    assert not direct, "packets between h1 and h3 that did not go through h2"
    shown = h1.weft_ok("status", "connections") + h1.weft_ok("status", "peers")
    assert "relay" in shown, shown
    exactly_once(c1, [c2, c3], "over the relay")
    h2.stop()
    wait_until(lambda: not c1.ping(a3, timeout=0.3), 10, "without the middle they stop")


@topology(timeout=90)
def test_L3_a_relay_cannot_read_what_it_passes_on(net, h1, h2, h3, c1, c3):
    chain(h1, h2, h3, env={"WEFT_PASSWORD": "known to the relay, too"})
    h1.attach(c1)
    a3 = bare(h3.attach(c3)[0])
    wait_until(lambda: c1.ping(a3), 15, "c1 reaches c3")
    secret = b"nothing for the host in the middle "
    with Capture(h2) as seen:
        with socket_in(c3, timeout=5) as r, socket_in(c1) as s:
            r.bind((a3, 7200))
            s.sendto(secret * 20, (a3, 7200))
            assert r.recv(4096) == secret * 20
        wait_until(lambda: len(seen.segments(17, dport=USERSPACE)) >= 2, 5, "it passes h2")
        assert secret not in seen.payload()


@topology(timeout=120)
def test_L3_a_third_host_goes_between_two_whose_datagrams_do_not_get_through(net, h1, h2, h3, c1, c2):
    """A firewall lets TCP pass between h1 and h2, and no UDP."""
    h1.start_daemon()
    h2.start_daemon(peers=[h1])
    h3.start_daemon(peers=[h1])
    wait_linked(h1, h2, h3)
    a1, a2 = (bare(h.attach(c)[0]) for h, c in ((h1, c1), (h2, c2)))
    wait_until(lambda: c1.ping(a2) and path(h1, h2) == "fast", 10, "c1 reaches c2 directly")
    rule = net._rule(*(f'iifname "{a.port}" oifname "{b.port}" meta l4proto udp drop' for a, b in ((h1, h2), (h2, h1))))
    assert since_last_answer(c1, a2, 10) < 8 * SCALE, "traffic stopped for too long"
    for h, other in ((h1, h2), (h2, h1)):
        wait_until(lambda h=h, other=other: path(h, other) == "relay", 10, f"{h.name} goes over h3")
    udp_sweep(c1, c2, a2, over=EDGES, tries=5)
    net.allow(rule)
    for h, other in ((h1, h2), (h2, h1)):
        wait_until(lambda h=h, other=other: path(h, other) == "fast", 60, f"{h.name} goes straight again")
    assert c2.ping(a1)


# D7


@topology(timeout=90)
def test_D7_an_address_that_moves_is_reached_within_a_second(net, h1, h2, h3, c1, c2, c3):
    h1.start_daemon()
    h2.start_daemon(peers=[h1])
    h3.start_daemon("--no-fastdp", peers=[h1])
    wait_linked(h1, h2, h3)
    a1 = bare(h1.attach(c1)[0])
    moving = "10.40.0.1/12"
    h2.attach(c2, moving)
    wait_until(lambda: c1.ping(bare(moving)) and c2.ping(a1), 10, "it is reached at h2")
    h2.detach(c2)
    h3.attach(c3, moving)
    wait_until(lambda: c1.ping(bare(moving), timeout=0.2), 1.5, "it is reached at h3")


# D10, D11


@topology(timeout=60)
def test_D10_strict_modes_refuse_and_say_why(h1, h2, c1, c2):
    h1.start_daemon("--no-fallback")
    h2.start_daemon("--no-fastdp", peers=[h1])
    wait_linked(h1, h2)
    a2 = (h1.attach(c1), bare(h2.attach(c2)[0]))[1]
    wait_until(lambda: "fallback" in line(h1, h2).keys["reason"], 10, "the downgrade is refused")
    assert path(h1, h2) == "-", line(h1, h2)
    assert not c1.ping(a2)


@topology(timeout=60)
def test_D10_required_encryption_seals_although_both_trust(h1, h2, c1, c2):
    trusted = ("--trusted-subnets", "10.99.0.0/24")
    h1.start_daemon("--require-encryption", *trusted, env={"WEFT_PASSWORD": "strict"})
    h2.start_daemon(*trusted, peers=[h1], env={"WEFT_PASSWORD": "strict"})
    wait_linked(h1, h2)
    a2 = (h1.attach(c1), bare(h2.attach(c2)[0]))[1]
    wait_until(lambda: c1.ping(a2), 10, "c1 reaches c2")
    for h, other in ((h1, h2), (h2, h1)):
        assert path(h, other) == "userspace" and line(h, other).keys["encrypted"] == "yes", line(h, other)


@topology(timeout=60)
def test_D11_a_kernel_without_vxlan_is_said_and_done_without(h1, h2, c1, c2):
    """The name of the fast path's device is taken by something else, so it cannot be made."""
    h1.exec("ip", "link", "add", "weft-vx", "type", "veth", "peer", "name", "other")
    a1, a2 = pair(h1, h2, c1, c2)
    wait_until(lambda: path(h1, h2) == path(h2, h1) == "userspace", 10, "the userspace path is used")
    assert "vxlan" in line(h1, h2).keys["reason"], line(h1, h2)
    whole_sizes(c1, c2, a1, a2)


# D14, L8


def fdb(host):
    return host.exec("bridge", "fdb", "show", "dev", "weft-vx").stdout + host.exec("bridge", "fdb", "show", "dev", "weft-tap").stdout


@topology(timeout=60)
def test_D14_a_dead_peer_is_sent_nothing_more(net, h1, h2, c1, c2):
    a2 = pair(h1, h2, c1, c2)[1]
    wait_until(lambda: path(h1, h2) == "fast", 10, "the fast path is used")
    mac = c2.mac()
    assert mac in fdb(h1)
    stop = threading.Event()

    def talk():
        with socket_in(c1) as s:
            while not stop.is_set():
                try:
                    s.sendto(b"anybody there?" * 90, (a2, 7300))
                except OSError:
                    pass
                time.sleep(0.02)

    t = threading.Thread(target=talk)
    t.start()
    try:
        h2.exec("ip", "link", "set", "eth0", "down")  # the power is cut
        died = time.monotonic()
        wait_until(lambda: mac not in fdb(h1), 5, "its MACs are forgotten")
        assert time.monotonic() - died < 4.5 * SCALE
        neighbours = h1.exec("ip", "neigh", "show", "dev", "weft").stdout
        assert a2 not in neighbours, neighbours
        with Capture(h1) as seen:
            time.sleep(1)
            late = [f for _, f in seen.frames if f[12:14] == b"\x08\x00" and f[23] == 17 and struct.unpack("!H", f[36:38])[0] == FAST]
        assert not late, f"{len(late)} packets still go to the dead host"
    finally:
        stop.set()
        t.join()
    h2.exec("ip", "link", "set", "eth0", "up")


@topology(timeout=90)
def test_L8_a_daemon_that_stays_away_leaves_the_fast_path_alone(h1, h2, c1, c2):
    """Its host lives (it answers "connection refused"), so what the kernel forwards goes on."""
    a1, a2 = pair(h1, h2, c1, c2)
    wait_until(lambda: path(h1, h2) == path(h2, h1) == "fast", 10, "the fast path is used")
    h2.kill()
    assert c1.ping_many(a2, 200, interval=0.04) == 200
    assert c2.ping_many(a1, 10) == 10
    h2.start_daemon("--resume", peers=[h1])
    assert c1.ping_many(a2, 100, interval=0.02) == 100
    wait_linked(h1, h2)
