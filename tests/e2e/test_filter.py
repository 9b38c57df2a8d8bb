"""What weft's nftables rules keep out: frames that bear somebody else's addresses, VXLAN from strangers, containers at the control port.

     c1 (forges) ─┐
                  h1 ══════ underlay ══════ h2 ── c2        h3: a host without a daemon
     c3 ──────────┘
"""

import contextlib
import json
import socket
import struct
import threading
import time

from lib import DNS, Capture, bare, in_netns, metric, topology, wait_linked, wait_until

FAST, USERSPACE = 6784, 6783
ARP, IP4, IP6, VLAN, QINQ = 0x0806, 0x0800, 0x86DD, 0x8100, 0x88A8
ALL = b"\xff" * 6
PORT = 7077


def mac_bytes(text):
    return bytes.fromhex(text.replace(":", ""))


def checksum(data):
    total = sum(struct.unpack(f"!{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return 0xFFFF - total


def udp(src, dst, body):
    """An IPv4 packet; UDP without a checksum is allowed."""
    head = struct.pack("!BBHHHBBH4s4s", 0x45, 0, 28 + len(body), 7, 0, 64, 17, 0, socket.inet_aton(src), socket.inet_aton(dst))
    return head[:10] + struct.pack("!H", checksum(head)) + head[12:] + struct.pack("!HHHH", PORT, PORT, 8 + len(body), 0) + body


def arp_reply(mac, src, to_mac, dst):
    return struct.pack("!HHBBH", 1, IP4, 6, 4, 2) + mac + socket.inet_aton(src) + to_mac + socket.inet_aton(dst)


def advertisement(src, dst, target, mac):
    body = struct.pack("!BBHI", 136, 0, 0, 0x60000000) + socket.inet_pton(socket.AF_INET6, target) + b"\x02\x01" + mac
    addrs = socket.inet_pton(socket.AF_INET6, src) + socket.inet_pton(socket.AF_INET6, dst)
    body = body[:2] + struct.pack("!H", checksum(addrs + struct.pack("!II", len(body), 58) + body)) + body[4:]
    return struct.pack("!IHBB", 6 << 28, len(body), 58, 255) + addrs + body


class Sender:
    """Frames as they are, out of a container's interface."""

    def __init__(self, place):
        with in_netns(place.netns):
            self.socket = socket.socket(socket.AF_PACKET, socket.SOCK_RAW)
        self.socket.bind(("ethwe", 0))

    def send(self, dst, src, kind, body, tags=()):
        head = dst + src + b"".join(struct.pack("!HH", t, n + 5) for n, t in enumerate(tags))
        self.socket.send(head + struct.pack("!H", kind) + body)


def dropped(host, reason):
    return metric(host, "weft_frames_dropped_total", reason=reason)


def marked(capture, mark):
    return [f for _, f in list(capture.frames) if mark in f]


class Scene:
    def __init__(self, h1, h2, c1, c2, c3, *args):
        h1.start_daemon(*args)
        h2.start_daemon(*args, peers=[h1])
        wait_linked(h1, h2)
        self.h1, self.h2, self.c1, self.c2, self.c3 = h1, h2, c1, c2, c3
        self.a1, self.a2, self.a3 = (bare(h.attach(c)[0]) for h, c in ((h1, c1), (h2, c2), (h1, c3)))
        self.m1, self.m2, self.m3 = (mac_bytes(c.mac()) for c in (c1, c2, c3))
        for c, others in ((c1, (self.a2, self.a3)), (c2, (self.a1, self.a3)), (c3, (self.a1, self.a2))):
            for a in others:
                wait_until(lambda c=c, a=a: c.ping(a), 5, f"{c} reaches {a}")
        self.out = Sender(c1)
        # with its own addresses it may send, and what is sent is seen
        with Capture(c2, "ethwe") as seen:
            def honest():
                self.out.send(self.m2, self.m1, IP4, udp(self.a1, self.a2, b"honest words"))
                return marked(seen, b"honest words")

            wait_until(honest, 5, "what c1 sends as itself arrives")

    def refused(self, what, reason, frames, mark):
        """None of these frames reaches c2 (or c3), and each is counted."""
        before = dropped(self.h1, reason)
        with Capture(self.c2, "ethwe") as there, Capture(self.c3, "ethwe") as here:
            for f in frames:
                self.out.send(*f)
            # what was sent last arrives, so what was sent before would have
            self.out.send(self.m2, self.m1, IP4, udp(self.a1, self.a2, b"the last words"))
            self.out.send(self.m3, self.m1, IP4, udp(self.a1, self.a3, b"the last words"))
            wait_until(lambda: marked(there, b"the last words") and marked(here, b"the last words"), 5, "the honest frame behind them arrives")
            time.sleep(0.1)
            assert not marked(there, mark) and not marked(here, mark), what
        wait_until(lambda: dropped(self.h1, reason) - before >= len(frames), 15, f"{what}: counted as {reason}")


def forge(h1, h2, c1, c2, c3, *args):
    s = Scene(h1, h2, c1, c2, c3, *args)
    word = b"forged words"
    s.refused("another's MAC", "forged_mac", [(s.m2, s.m3, IP4, udp(s.a3, s.a2, word)), (ALL, s.m2, IP4, udp(s.a1, s.a3, word))], word)
    s.refused("a MAC of nobody", "forged_mac", [(s.m2, b"\x02weft!", IP4, udp(s.a1, s.a2, word))], word)
    s.refused("another's address", "forged_address",
              [(s.m2, s.m1, IP4, udp(s.a3, s.a2, word)), (s.m3, s.m1, IP4, udp(s.a2, s.a3, word)), (s.m2, s.m1, IP4, udp("8.8.8.8", s.a2, word))],
              word)
    lie = arp_reply(s.m1, s.a3, s.m2, s.a2)
    s.refused("an ARP reply for another, to one host's container", "forged_address", [(s.m2, s.m1, ARP, lie)], lie)
    lie = arp_reply(s.m1, s.a2, s.m3, s.a3)
    s.refused("an ARP reply for another, to all", "forged_address", [(ALL, s.m1, ARP, lie)], lie)
    lie = arp_reply(s.m3, s.a1, s.m2, s.a2)
    s.refused("an ARP reply that gives another's MAC", "forged_mac", [(s.m2, s.m1, ARP, lie)], lie)
    lie = advertisement("fe80::7", "ff02::1", "fd32::99", s.m1)
    s.refused("an advertisement for another", "forged_address", [(b"\x33\x33\0\0\0\x01", s.m1, IP6, lie)], lie)
    for tags in ((VLAN,), (VLAN, VLAN), (QINQ, VLAN)):
        lie = arp_reply(s.m1, s.a3, s.m2, s.a2)
        s.refused(f"tags {tags}", "forged_mac", [(s.m2, s.m1, ARP, lie, tags), (s.m2, s.m1, IP4, udp(s.a3, s.a2, word), tags)], word)
        s.refused(f"ARP in tags {tags}", "forged_mac", [(s.m2, s.m1, ARP, lie, tags)], lie)
    # what others know is as it was
    for c, a in ((c2, s.a1), (c2, s.a3), (c3, s.a2), (c1, s.a2)):
        assert c.ping(a), f"{c} reaches {a}"
    known = {n["dst"]: n.get("lladdr") for n in json.loads(c2.exec("ip", "-json", "neigh", "show", "dev", "ethwe").stdout)}
    assert known.get(s.a3) == c3.mac(), known


@topology(timeout=120)
def test_D13_forged_frames_go_nowhere_on_the_fast_path(h1, h2, c1, c2, c3):
    forge(h1, h2, c1, c2, c3)


@topology(timeout=120)
def test_D13_forged_frames_go_nowhere_on_the_userspace_path(h1, h2, c1, c2, c3):
    forge(h1, h2, c1, c2, c3, "--no-fastdp")


def vxlan_frame(mac, src, dst, body):
    return struct.pack("!BxxxI", 8, 6784 << 8) + mac + b"\x02weft!" + struct.pack("!H", IP4) + udp(src, dst, body)


@topology(timeout=120)
def test_D13_vxlan_is_taken_from_peers_only(h1, h2, h3, c1, c2):
    h1.start_daemon()
    h2.start_daemon(peers=[h1])
    wait_linked(h1, h2)
    a1, a2 = bare(h1.attach(c1)[0]), bare(h2.attach(c2)[0])
    wait_until(lambda: c1.ping(a2), 5, "c1 reaches c2")
    before, mac = dropped(h1, "vxlan_stranger"), mac_bytes(c1.mac())
    with Capture(c1, "ethwe") as seen, contextlib.ExitStack() as sockets:
        def sender(h, family):
            with in_netns(h.netns):
                return sockets.enter_context(socket.socket(family, socket.SOCK_DGRAM))

        stranger, peer = sender(h3, socket.AF_INET), sender(h2, socket.AF_INET)
        for _ in range(5):
            stranger.sendto(vxlan_frame(mac, a2, a1, b"a stranger's words"), (h1.ip, FAST))

        def friend():
            peer.sendto(vxlan_frame(mac, a2, a1, b"a peer's words"), (h1.ip, FAST))
            return marked(seen, b"a peer's words")

        wait_until(friend, 5, "a peer's frame arrives")
        assert not marked(seen, b"a stranger's words")
    wait_until(lambda: dropped(h1, "vxlan_stranger") - before >= 5, 15, "strangers' frames are counted")
    # who is a peer no more is a stranger
    h2.stop()

    def gone():
        with Capture(c1, "ethwe") as now:
            with in_netns(h2.netns):
                late = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
            with late:
                late.sendto(vxlan_frame(mac, a2, a1, b"late words"), (h1.ip, FAST))
            time.sleep(0.2)
            return not marked(now, b"late words")

    wait_until(gone, 60, "a host that left is not heard any more")


def reaches(place, addr, port):
    with in_netns(place.netns):
        s = socket.socket()
    s.settimeout(1)
    with s:
        try:
            s.connect((addr, port))
        except TimeoutError:
            return False
        except ConnectionRefusedError:
            return True
    return True


def test_S7_containers_do_not_reach_the_control_port_but_the_resolver(h1, h2, c1, c2):
    h1.start_daemon()
    h2.start_daemon(peers=[h1])
    wait_linked(h1, h2)
    h1.attach(c1)
    wait_until(lambda: c1.ping(DNS), 5, "c1 reaches the host")
    h1.exec("ip", "addr", "add", "10.47.255.254/12", "dev", "weft")
    for addr in (DNS, "10.47.255.254"):
        wait_until(lambda addr=addr: reaches(c1, addr, USERSPACE + 1000), 5, f"another port at {addr}")
        assert not reaches(c1, addr, USERSPACE), f"the control port at {addr}"
    assert reaches(h2, h1.ip, USERSPACE)
    before = dropped(h1, "control_port")
    with in_netns(c1.netns):
        s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    with s:
        for port in (USERSPACE, FAST):
            s.sendto(b"\x24" + bytes(199), (DNS, port))
    wait_until(lambda: dropped(h1, "control_port") - before >= 2, 15, "counted")
    assert c1.dig("nobody.weft.local", server=DNS).status == "NXDOMAIN"


def tables(host):
    return sorted(line for line in host.exec("nft", "list", "tables").stdout.splitlines() if line.endswith(" weft"))


BOTH = ["table bridge weft", "table inet weft"]


@topology(timeout=90)
def test_O_rules_that_somebody_removed_are_back_at_once_and_stay_over_a_restart(h1, h2, c1, c2):
    h1.start_daemon()
    h2.start_daemon(peers=[h1])
    wait_linked(h1, h2)
    h1.attach(c1)
    a2 = bare(h2.attach(c2)[0])
    wait_until(lambda: c1.ping(a2), 5, "c1 reaches c2")
    rules = h1.exec("nft", "-s", "list", "ruleset").stdout
    for harm in (("flush", "ruleset"), ("delete", "table", "bridge", "weft"), ("flush", "chain", "inet", "weft", "vxlan_in")):
        h1.exec("nft", *harm)
        wait_until(lambda: h1.exec("nft", "-s", "list", "ruleset").stdout == rules, 2, f"after {harm} all is as it was")
    assert c1.ping(a2)
    lost = []

    def ping():
        lost.append(200 - c1.ping_many(a2, 200, interval=0.02))

    thread = threading.Thread(target=ping)
    thread.start()
    time.sleep(0.5)
    h1.stop()
    assert tables(h1) == BOTH
    h1.restart()
    thread.join()
    assert lost == [0], lost
    h1.weft_ok("reset")
    wait_until(lambda: tables(h1) == [], 5, "reset removes them")
