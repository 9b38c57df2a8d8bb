"""Isolated networks over two hosts.

     red:  c1 ── h1 ══════ underlay ══════ h2 ── c2        both networks have the same subnet, so only the network keeps them apart
     blue: c3 ── h1                        h2 ── c4
"""

import contextlib
import json
import socket
import struct
import time

from lib import DNS, SCALE, Capture, bare, metric, socket_in, tcp_sweep, topology, udp_sweep, wait_linked, wait_until

ARGS = {"fast": (), "userspace": ("--no-fastdp",)}
SUBNET = "10.40.0.0/24"
MARK = b"not for the other network"
ALL, GROUP = "ff:ff:ff:ff:ff:ff", "01:00:5e:01:02:03"


def networks(host):
    """{name: the rest} of `weft network ls`."""
    return {n["name"]: n for n in json.loads(host.weft_ok("-o", "json", "network", "ls"))["networks"]}


def started(*hosts, args=()):
    for i, h in enumerate(hosts):
        h.start_daemon(*args, peers=hosts[:1] if i else ())
    wait_linked(*hosts)


def made(name, *hosts, subnet=SUBNET):
    hosts[0].weft_ok("network", "create", name, *(("--subnet", subnet) if subnet else ()))
    for h in hosts:
        wait_until(lambda h=h: name in networks(h), 5, f"{h.name} knows of {name}")


def red_and_blue(h1, h2, c1, c2, c3, c4, args=()):
    started(h1, h2, args=args)
    addr = {}
    for name, ends in (("red", ((h1, c1), (h2, c2))), ("blue", ((h1, c3), (h2, c4)))):
        made(name, h1, h2)
        for h, c in ends:
            addr[c] = h.attach(c, "--network", name)[0]
    for a, b in ((c1, c2), (c3, c4)):
        wait_until(lambda a=a, b=b: a.ping(addr[b]) and b.ping(addr[a]), 10, f"{a} and {b} reach each other")
    return addr


def raw_mac(mac):
    return bytes.fromhex(mac.replace(":", ""))


def packet(src, dst, payload):
    """IPv4 and UDP to port 7300."""
    udp = struct.pack(">HHHH", 7300, 7300, 8 + len(payload), 0) + payload
    head = struct.pack(">BBHHHBBH", 0x45, 0, 20 + len(udp), 0, 0, 64, 17, 0) + socket.inet_aton(src) + socket.inet_aton(dst)
    total = sum(struct.unpack(">10H", head))
    total = (total & 0xFFFF) + (total >> 16)
    return head[:10] + struct.pack(">H", 0xFFFF - ((total & 0xFFFF) + (total >> 16))) + head[12:] + udp


def arp(mac, src, dst):
    """Who has dst? The padding is marked."""
    return struct.pack(">HHBBH", 1, 0x0800, 6, 4, 1) + mac + socket.inet_aton(src) + bytes(6) + socket.inet_aton(dst) + MARK


def frames(me, my_addr, others):
    """Everything that a container may try: to each MAC and to all, from its own MAC and from theirs, plain, tagged, and of types nobody knows."""
    macs = [raw_mac(m) for m in (ALL, GROUP, "33:33:00:00:00:01", *(c.mac() for c, _ in others))]
    for src in [raw_mac(me.mac())] + [raw_mac(c.mac()) for c, _ in others]:
        for dst in macs:
            for _, addr in others:
                bodies = [b"\x08\x00" + packet(my_addr, addr, MARK), b"\x08\x06" + arp(src, my_addr, addr), b"\x88\xb5" + MARK * 4]
                for body in bodies:
                    yield dst + src + body
                    for tag in (b"\x81\x00\x00\x00", b"\x81\x00\x00\x01", b"\x88\xa8\x00\x02\x81\x00\x00\x03"):
                        yield dst + src + tag + body


def send_raw(container, some):
    with socket_in(container, socket.AF_PACKET, socket.SOCK_RAW) as s:
        s.bind(("ethwe", 0))
        for f in some:
            s.send(f)


def marked(capture):
    return [f for _, f in list(capture.frames) if MARK in f]


def cross(h1, h2, c1, c2, c3, c4, path):
    addr = red_and_blue(h1, h2, c1, c2, c3, c4, ARGS[path])
    for a in (c1, c2):
        for b in (c3, c4):
            assert addr[a] != addr[b], "no address is given twice, whatever the network"
            assert not a.ping(addr[b], timeout=0.5) and not b.ping(addr[a], timeout=0.5), f"{a} and {b} reach each other"
    with Capture(c2, "ethwe") as friend, Capture(c3, "ethwe") as near, Capture(c4, "ethwe") as far:
        send_raw(c1, frames(c1, addr[c1], [(c3, addr[c3]), (c4, addr[c4])]))
        own = raw_mac(c2.mac()) + raw_mac(c1.mac()) + b"\x08\x00" + packet(addr[c1], addr[c2], MARK + b" last")
        send_raw(c1, [own] * 3)
        wait_until(lambda: any(b" last" in f for f in marked(friend)), 5, "c2 gets what is meant for it")
        time.sleep(0.3 * SCALE)  # for what is slower, and must not come at all
        assert any(f[:6] == b"\xff" * 6 for f in marked(friend)), "what c1 says to all reaches its own network"
        assert not marked(near) and not marked(far), f"{len(marked(near))} frames came to c3 and {len(marked(far))} to c4"


@topology(timeout=120)
def test_D12_no_frame_crosses_two_networks(h1, h2, c1, c2, c3, c4):
    cross(h1, h2, c1, c2, c3, c4, "fast")


@topology(timeout=120)
def test_D12_no_frame_crosses_two_networks_on_the_userspace_path(h1, h2, c1, c2, c3, c4):
    cross(h1, h2, c1, c2, c3, c4, "userspace")


@topology(timeout=120)
def test_D12_no_frame_crosses_to_or_from_the_default_network(h1, h2, c1, c2, c3, c4):
    started(h1, h2)
    made("red", h1, h2)
    a1, a2 = h1.attach(c1, "--network", "red")[0], h2.attach(c2, "--network", "red")[0]
    a3, a4 = bare(h1.attach(c3)[0]), bare(h2.attach(c4)[0])
    wait_until(lambda: c1.ping(a2) and c3.ping(a4), 10, "each network by itself works")
    with Capture(c1, "ethwe") as one, Capture(c2, "ethwe") as two, Capture(c3, "ethwe") as three, Capture(c4, "ethwe") as four:
        send_raw(c1, frames(c1, a1, [(c3, a3), (c4, a4)]))
        wait_until(lambda: marked(two), 5, "c2 gets what c1 says to all")
        time.sleep(0.3 * SCALE)
        assert not marked(three) and not marked(four)
        before = len(marked(one)), len(marked(two))
        send_raw(c3, frames(c3, a3, [(c1, a1), (c2, a2)]))
        wait_until(lambda: marked(four), 5, "c4 gets what c3 says to all")
        time.sleep(0.3 * SCALE)
        assert (len(marked(one)), len(marked(two))) == before


@topology(timeout=120)
def test_D12_the_host_routes_nothing_from_one_network_to_another(h1, h2, c1, c2, c3, c4):
    started(h1, h2)
    made("red", h1, h2)
    a1, a2 = (bare(h.attach(c, "--network", "red")[0]) for h, c in ((h1, c1), (h2, c2)))
    a3, a4 = (bare(h.attach(c, "net:10.33.0.0/24")[0]) for h, c in ((h1, c3), (h2, c4)))
    wait_until(lambda: c1.ping(a2) and c3.ping(a4), 10, "each network by itself works")
    # the host is in both, and a router
    red = f"weft-{networks(h1)['red']['number']}"
    h1.exec("ip", "addr", "add", "10.33.0.254/24", "dev", "weft")
    h1.exec("ip", "addr", "add", "10.40.0.254/24", "dev", red)
    h1.exec("sysctl", "-qw", "net.ipv4.ip_forward=1")
    h1.exec("sysctl", "-qw", "net.bridge.bridge-nf-call-iptables=1", check=False)

    def dropped():
        return metric(h1, "weft_frames_dropped_total", reason="other_network")

    before = dropped() or 0
    gate = {c: raw_mac(json.loads(h1.exec("ip", "-json", "link", "show", dev).stdout)[0]["address"]) for c, dev in ((c1, red), (c3, "weft"))}
    everywhere = [(c1, "ethwe"), (c2, "ethwe"), (c3, "ethwe"), (c4, "ethwe"), (h2, "eth0")]
    with contextlib.ExitStack() as stack:
        seen = {place: stack.enter_context(Capture(place, dev)) for place, dev in everywhere}

        def try_it(me, addr, *others):
            for dst in others:
                send_raw(me, [gate[me] + raw_mac(me.mac()) + b"\x08\x00" + packet(addr, dst, MARK)] * 3)

        try_it(c1, a1, a3, a4)
        try_it(c3, a3, a1, a2)
        assert not any(marked(seen[c]) for c in (c2, c4)), "nobody on the other host gets it"
        assert not any(f[:6] == raw_mac(c.mac()) for c in (c1, c3) for f in marked(seen[c])), "nor here"
        for me, addr in ((c1, a1), (c3, a3)):
            already = len(marked(seen[h2]))
            try_it(me, addr, h2.ip)
            wait_until(lambda already=already: len(marked(seen[h2])) >= already + 3, 5, f"what {me} sends to elsewhere is routed")
        time.sleep(0.3 * SCALE)
        assert not any(marked(seen[c]) for c in (c2, c4))
        assert not any(f[:6] == raw_mac(c.mac()) for c in (c1, c3) for f in marked(seen[c]))
    wait_until(lambda: dropped() == before + 12, 5, "each is counted")
    assert c1.ping(a2) and c3.ping(a4), "with br_netfilter, too, bridged frames are none of it"


def sweeps(h1, h2, c1, c2, c3, c4, path):
    addr = red_and_blue(h1, h2, c1, c2, c3, c4, ARGS[path])
    for a, b in ((c1, c2), (c4, c3)):
        udp_sweep(a, b, addr[b], over=(1, 500, 1364, 1378, 1379, 1406, 1473, 9000, 60_000))
        tcp_sweep(a, b, addr[b], over=(1, 1366, 1367, 60_000, 500_000))


@topology(timeout=120)
def test_D12_every_network_carries_every_size(h1, h2, c1, c2, c3, c4):
    sweeps(h1, h2, c1, c2, c3, c4, "fast")


@topology(timeout=120)
def test_D12_every_network_carries_every_size_on_the_userspace_path(h1, h2, c1, c2, c3, c4):
    sweeps(h1, h2, c1, c2, c3, c4, "userspace")


@topology(timeout=90)
def test_D12_subnets_of_one_network_are_separated_as_subnets_are(h1, h2, c1, c2, c3):
    started(h1, h2)
    made("red", h1, h2, subnet=None)
    a1 = h1.attach(c1, "--network", "red", "net:10.40.1.0/24")[0]
    a2 = h2.attach(c2, "--network", "red", "net:10.40.2.0/24")[0]
    a3 = h2.attach(c3, "--network", "red", "net:10.40.1.0/24", "net:10.40.2.0/24")
    wait_until(lambda: c1.ping(a3[0]) and c2.ping(a3[1]), 10, "who is in both subnets reaches both")
    assert not c1.ping(a2, timeout=0.5) and not c2.ping(a1, timeout=0.5)


@topology(timeout=90)
def test_D12_made_listed_and_removed(h1, h2, c1, c2):
    started(h1, h2)
    assert set(networks(h1)) == {"weft"} and networks(h1)["weft"]["number"] == 0
    h1.weft_ok("network", "create", "red", "--subnet", SUBNET, "--subnet6", "fd00:1::/64")
    wait_until(lambda: networks(h1) == networks(h2) and "red" in networks(h2), 5, "h2 knows of it")
    shown = networks(h2)["red"]
    assert shown["subnet"] == SUBNET and shown["subnet6"] == "fd00:1::/64" and 0 < shown["number"] < 65536 and shown["containers"] == 0
    assert f"red number={shown['number']} subnet={SUBNET} subnet6=fd00:1::/64 containers=0 here=0" in h2.weft_ok("network", "ls").splitlines()
    h2.weft_ok("network", "create", "red", "--subnet", SUBNET, "--subnet6", "fd00:1::/64")  # again
    refused = h2.weft("network", "create", "red", "--subnet", "10.41.0.0/24")
    assert refused.returncode == 1 and SUBNET in refused.stderr, refused.stderr
    assert h1.weft("network", "create", "weft").returncode == 1 and h1.weft("network", "rm", "weft").returncode == 1
    # what cannot be
    for name, *options in (("bad/name",), ("x" * 65,), ("",), ("far", "--subnet", "10.99.0.0/24"), ("odd", "--subnet", "10.40.0.1/24")):
        p = h1.weft("network", "create", name, *options)
        assert p.returncode == 1 and len(p.stderr.splitlines()) == 1 and not p.stdout, (name, p.stderr)
    assert h1.weft("network", "create").returncode == 2 and h1.weft("network", "paint", "red").returncode == 2
    # in use
    assert bare(h2.attach(c2, "--network", "red")[0]).startswith("10.40.0.")
    wait_until(lambda: networks(h1)["red"]["containers"] == 1, 5, "h1 knows of the container")
    assert networks(h1)["red"]["local_containers"] == 0 and networks(h2)["red"]["local_containers"] == 1
    for h in (h1, h2):
        p = h.weft("network", "rm", "red")
        assert p.returncode == 1 and str(c2) in p.stderr and "h2" in p.stderr, p.stderr
    p = h1.api("DELETE", "/network/red")
    assert p.status == 409 and "hint" in p.json(), p
    h2.detach(c2)
    wait_until(lambda: networks(h1)["red"]["containers"] == 0, 5, "h1 knows that it went")
    h1.weft_ok("network", "rm", "red")
    for h in (h1, h2):
        wait_until(lambda h=h: set(networks(h)) == {"weft"}, 5, f"{h.name} has forgotten it")
        wait_until(lambda h=h, n=shown["number"]: h.exec("ip", "link", "show", f"weft-{n}", check=False).returncode != 0, 5,
                   f"{h.name} has removed its bridge")
    assert h2.weft("network", "rm", "red").returncode == 4
    assert h1.api("DELETE", "/network/red").status == 404
    assert h1.api("POST", "/network", body="subnet=10.40.0.0/24", headers={"Content-Type": "application/x-www-form-urlencoded"}).status == 400


@topology(timeout=90)
def test_D12_a_container_is_in_one_network(h1, c1, c2):
    started(h1)
    p = h1.weft("attach", "--network", "red", c1)
    assert p.returncode == 4 and "network ls" in p.stderr, p.stderr
    assert h1.api("POST", "/attach", body=json.dumps({"container": str(c1), "network": "red"})).status == 404
    made("red", h1)
    made("blue", h1, subnet="10.41.0.0/24")
    first = h1.attach(c1, "--network", "red")
    assert h1.attach(c1, "--network", "red") == first and h1.attach(c1) == first, "again, with and without a name for the network"
    for other in ("blue", "weft"):
        p = h1.weft("attach", "--network", other, c1)
        assert p.returncode == 1 and "red" in p.stderr and "detach" in p.stderr, p.stderr
    assert c1.ips() == first
    line = next(x for x in h1.weft_ok("ps").splitlines() if x.startswith(f"{c1} "))
    assert line.endswith(" network=red"), line
    assert h1.detach(c1) == first
    assert h1.attach(c1, "--network", "blue")[0].startswith("10.41.0.")
    h1.attach(c2)
    assert not next(x for x in h1.weft_ok("ps").splitlines() if x.startswith(f"{c2} ")).endswith("network=red")


@topology(timeout=120)
def test_D12_networks_and_their_traffic_outlive_a_restart(h1, h2, c1, c2, c3, c4):
    addr = red_and_blue(h1, h2, c1, c2, c3, c4)
    before = networks(h1)
    h1.kill()
    assert c1.ping(addr[c2]) and c3.ping(addr[c4]), "what the kernel has goes on"
    h1.start_daemon(peers=[h2])
    wait_linked(h1, h2)
    wait_until(lambda: networks(h1) == before, 5, "the same networks, numbers and containers")
    for a, b in ((c1, c2), (c3, c4)):
        wait_until(lambda a=a, b=b: a.ping(addr[b]), 10, f"{a} reaches {b}")
    assert not c1.ping(addr[c3], timeout=0.5) and not c1.ping(addr[c4], timeout=0.5)
    # alone, too: who knows of its networks from nobody else
    h2.stop()
    h1.restart()
    assert {"red", "blue"} <= set(networks(h1)), networks(h1)


@topology(timeout=90)
def test_D12_a_network_removed_after_a_restart_leaves_no_devices(h1, c1):
    """Nobody was attached to it when the daemon started, so the daemon did not open it."""
    started(h1)
    h1.weft_ok("network", "create", "red", "--subnet", SUBNET)
    h1.attach(c1, "--network", "red")
    bridge = f"weft-{networks(h1)['red']['number']}"
    h1.detach(c1)
    h1.kill()
    assert h1.exec("ip", "link", "show", bridge, check=False).returncode == 0
    h1.start_daemon()
    wait_until(lambda: h1.exec("ip", "link", "show", bridge, check=False).returncode != 0, 60, "the bridge that nobody uses is removed")
    h1.weft_ok("network", "rm", "red")
    h1.weft_ok("verify")


@topology(timeout=120)
def test_D12_networks_made_on_both_sides_of_a_partition(net, h1, h2, c1, c2):
    started(h1, h2)
    cut = net.partition([h1], [h2])
    wait_until(lambda: "established" not in h1.weft_ok("status", "connections"), 20, "the partition is felt")
    for h in (h1, h2):
        h.weft_ok("network", "create", "red", "--subnet", SUBNET)
    h1.weft_ok("network", "create", "one")
    h2.weft_ok("network", "create", "two")
    net.allow(cut)
    wait_linked(h1, h2, timeout=40)
    wait_until(lambda: set(networks(h1)) == {"weft", "red", "one", "two"} and networks(h1) == networks(h2), 10, "they agree")
    a1, a2 = h1.attach(c1, "--network", "red")[0], h2.attach(c2, "--network", "red")[0]
    wait_until(lambda: c1.ping(a2) and c2.ping(a1), 15, "one network it is")


# Names in networks


def data(container, *args):
    return container.dig(*args, server=DNS).data


def resolves(container, name, addr):
    """Both ways, by UDP and TCP."""
    wait_until(lambda: data(container, name) == [addr], 5, f"{container} resolves {name}")
    assert data(container, name, "+tcp") == [addr]
    assert data(container, addr, "-x") == [f"{name}."] == data(container, addr, "+tcp", "-x")


def listeners(host):
    """How many sockets wait for names, at which interface: {interface or None: n}."""
    found = {}
    for kind in ("-u", "-t"):
        for line in host.exec("ss", "-Hln", kind).stdout.splitlines():
            for word in line.split():
                if word.startswith(DNS) and word.endswith(":53"):
                    dev = word[len(DNS):-3].lstrip("%") or None
                    found[dev] = found.get(dev, 0) + 1
    return found


@topology(timeout=120)
def test_D12_names_are_answered_in_the_network_they_are_of(net, h1, h2, c3, c4):
    started(h1, h2)
    alpha, beta = net.process_container(1, "alpha.weft.local"), net.process_container(2, "beta.weft.local")
    made("red", h1, h2)
    made("blue", h1, h2)
    a = bare(h1.attach(alpha, "--network", "red")[0])
    b = bare(h2.attach(beta, "--network", "red")[0])
    h1.attach(c3, "--network", "blue")
    h2.attach(c4)
    h1.weft_ok("dns-add", c3, "-h", "gamma.weft.local")
    for c in (alpha, beta):
        resolves(c, "alpha.weft.local", a)
        resolves(c, "beta.weft.local", b)
    gamma = bare(c3.ips()[0])
    resolves(c3, "gamma.weft.local", gamma)
    for h in (h1, h2):  # hosts see all
        resolves(h, "beta.weft.local", b)
        resolves(h, "gamma.weft.local", gamma)
    for c, hidden in ((c3, {"beta.weft.local": b}), (c4, {"beta.weft.local": b, "gamma.weft.local": gamma}), (beta, {"gamma.weft.local": gamma})):
        for name, addr in hidden.items():
            for how in ((), ("+tcp",)):
                assert c.dig(name, *how, server=DNS).status == "NXDOMAIN" and c.dig(addr, "-x", *how, server=DNS).data == [], (c, name)
    h2.weft_ok("dns-add", "192.0.2.9", "-h", "outside.weft.local")  # of no container: for all
    for c in (alpha, c3, c4, h1):
        wait_until(lambda c=c: data(c, "outside.weft.local") == ["192.0.2.9"], 5, f"{c} knows what is outside")
    # the same name in two networks
    h1.weft_ok("dns-add", alpha, "-h", "twin.weft.local")
    h1.weft_ok("dns-add", c3, "-h", "twin.weft.local")
    for c, addr in ((beta, a), (c3, gamma)):
        wait_until(lambda c=c, addr=addr: data(c, "twin.weft.local") == [addr], 5, f"{c} gets its network's twin")
    assert sorted(data(h1, "twin.weft.local")) == sorted((a, gamma)) and data(c4, "twin.weft.local") == []
    red, blue = (f"weft-{networks(h1)[n]['number']}" for n in ("red", "blue"))
    assert listeners(h1) == {None: 2, red: 2, blue: 2} and listeners(h2) == {None: 2, red: 2}, (listeners(h1), listeners(h2))
    # removed and made again
    h1.detach(alpha)
    h2.detach(beta)
    wait_until(lambda: networks(h1)["red"]["containers"] == 0, 5, "h1 knows that they went")
    h1.weft_ok("network", "rm", "red")
    for h, left in ((h1, {None: 2, blue: 2}), (h2, {None: 2})):
        wait_until(lambda h=h, left=left: listeners(h) == left, 5, f"{h.name} listens no more where nobody is")
    wait_until(lambda: data(h1, "beta.weft.local") == [], 5, "the name went with its container")
    made("red", h2, h1)
    a = bare(h1.attach(alpha, "--network", "red")[0])
    b = bare(h2.attach(beta, "--network", "red")[0])
    resolves(alpha, "beta.weft.local", b)
    resolves(beta, "alpha.weft.local", a)
    # its bridge removed by somebody
    h1.exec("ip", "link", "del", red)
    resolves(alpha, "beta.weft.local", b)
    assert data(c3, "beta.weft.local") == []
    wait_until(lambda: alpha.ping(b), 10, "alpha reaches beta")
    # a new daemon
    for h in (h1, h2):
        h.kill()
    for h, rest in ((h1, []), (h2, [h1])):
        h.start_daemon(peers=rest)
    wait_linked(h1, h2)
    resolves(alpha, "beta.weft.local", b)
    resolves(beta, "alpha.weft.local", a)
    wait_until(lambda: data(c3, "gamma.weft.local") == [gamma], 5, "c3 is known again")
    assert data(c3, "alpha.weft.local") == []
