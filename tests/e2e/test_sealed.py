"""The userspace path sealed: what a stranger on the underlay sees, and what becomes of what he sends.

     c1 ── h1 ══════ underlay ══════ h2 ── c2
"""

import hashlib
import os
import random
import socket
import struct
import threading
import time

from lib import SCALE, Capture, Failed, bare, connections, in_netns, metric, metrics, service, socket_in, topology, wait_linked, wait_until

FAST, USERSPACE = 6784, 6783
PASSWORD = {"WEFT_PASSWORD": "correct horse battery staple"}


def sealed_pair(h1, h2, c1, c2, *args, env=None):
    env = {**PASSWORD, **(env or {})}
    h1.start_daemon(*args, env=env)
    h2.start_daemon(*args, peers=[h1], env=env)
    wait_linked(h1, h2)
    addrs = bare(h1.attach(c1)[0]), bare(h2.attach(c2)[0])
    wait_until(lambda: c1.ping(addrs[1]) and c2.ping(addrs[0]), 10, "c1 and c2 reach each other")
    return addrs


def line(host):
    lines = [c for c in connections(host) if c.state == "established"]
    assert len(lines) == 1, lines
    return lines[0]


def dropped(host, reason):
    return metric(host, "weft_frames_dropped_total", reason=reason)


def send_file(a, b, b_addr, size, port=7400, timeout=120):
    """Random bytes over TCP from a to b; fails unless the digest is the same. Gives the seconds."""
    result = []

    def serve(listener):
        s, _ = listener.accept()
        digest = hashlib.sha256()
        with s:
            s.settimeout(timeout * SCALE)
            while data := s.recv(1 << 20):
                digest.update(data)
        result.append(digest.hexdigest())

    digest, block = hashlib.sha256(), os.urandom(1 << 20)
    with socket_in(b, kind=socket.SOCK_STREAM, timeout=timeout) as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((b_addr, port))
        listener.listen(1)
        t = threading.Thread(target=serve, args=(listener,))
        t.start()
        start = time.monotonic()
        with socket_in(a, kind=socket.SOCK_STREAM, timeout=timeout) as s:
            s.connect((b_addr, port))
            for i in range(size >> 20):
                part = struct.pack("!Q", i) + block[8:]
                digest.update(part)
                s.sendall(part)
        t.join(timeout * SCALE)
    if result != [digest.hexdigest()]:
        raise Failed(f"{size} bytes from {a} to {b} arrived changed or not at all: {result}")
    return time.monotonic() - start


def corrupt(net, every=5000):
    """One frame in so many to our ports gets a byte changed on its way, behind the headers."""
    rule = f"numgen random mod {every} == 0 @th,1200,8 set 0x5a"
    return net._rule(f"udp dport {USERSPACE} udp length > 400 {rule}")


# D8


def test_D8_no_byte_of_a_payload_is_seen_on_the_underlay(h1, h2, c1, c2):
    a2 = sealed_pair(h1, h2, c1, c2)[1]
    for h in (h1, h2):
        assert line(h).path == "userspace" and line(h).keys["encrypted"] == "yes", line(h)
    secret = b"attack at dawn, not before "
    with Capture(h1) as seen:
        with socket_in(c2, timeout=5) as r, socket_in(c1) as s:
            r.bind((a2, 7401))
            for n in (1, 10, 40, 400):
                s.sendto(secret * n, (a2, 7401))
                assert r.recv(65536) == secret * n
        send_file(c1, c2, a2, 4 << 20)
        everything = seen.payload()
    assert len(everything) > 4 << 20
    assert secret[:12] not in everything
    assert not seen.segments(17, dport=FAST), "something went by the fast path"
    assert "Encryption: enabled" in h1.weft_ok("status")


def unsummed(frame):
    """Without its UDP checksum, which a capture sees before it is complete."""
    return frame[:40] + b"\0\0" + frame[42:]


def replayed(net, h1, frames):
    """Puts frames on h1's wire once more, as a stranger in the underlay would."""
    with in_netns(net.underlay):
        s = socket.socket(socket.AF_PACKET, socket.SOCK_RAW)
        s.bind((h1.port, 0))
    with s:
        for f in frames:
            s.send(f)


def to_host(seen, host):
    """Whole frames to the userspace port of a host that its wire carried."""
    return [f for _, f in seen.frames if f[12:14] == b"\x08\x00" and f[23] == 17 and f[30:34] == socket.inet_aton(host.ip)
            and struct.unpack("!H", f[36:38])[0] == USERSPACE and len(f) < 1515]


@topology(timeout=60)
def test_D8_replayed_and_altered_datagrams_are_counted_and_dropped(net, h1, h2, c1, c2):
    a1, a2 = sealed_pair(h1, h2, c1, c2)
    got = []
    with socket_in(c1, timeout=1) as r, socket_in(c2) as s:
        r.bind((a1, 7402))
        with Capture(h1) as seen:
            for i in range(50):
                s.sendto(b"number %d" % i * 20, (a1, 7402))
                got.append(r.recv(4096))
            wait_until(lambda: len(to_host(seen, h1)) >= 50, 5, "they were seen")
        frames = to_host(seen, h1)
        before = dropped(h1, "replayed"), dropped(h1, "bad_tag")
        replayed(net, h1, [unsummed(f) for f in frames])
        wait_until(lambda: dropped(h1, "replayed") >= before[0] + 50, 5, "replayed ones are counted")
        altered = []
        for f in frames:
            f = bytearray(f)
            f[random.randrange(42 + 16, len(f))] ^= 1 << random.randrange(8)
            f[40:42] = b"\0\0"
            altered.append(bytes(f))
        replayed(net, h1, altered)
        wait_until(lambda: dropped(h1, "bad_tag") >= before[1] + 50, 5, "altered ones are counted")
        r.settimeout(0.3)
        try:
            raise Failed(f"a replayed or altered datagram was delivered: {r.recv(4096)!r}")
        except TimeoutError:
            pass
    assert len(set(got)) == 50 and c1.ping(a2)


@topology(timeout=60)
def test_D8_rubbish_of_strangers_is_counted_and_costs_nothing(net, h1, h2, c1, c2):
    a2 = sealed_pair(h1, h2, c1, c2)[1]
    before = sum(v for k, v in metrics(h1).items() if k.startswith("weft_frames_dropped_total"))
    rss = h1.rss_bytes()
    rng = random.Random(7)
    with in_netns(net.underlay):
        net.add_underlay_address("10.99.0.77/24")
        s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    with s:
        for i in range(3000):
            size = rng.choice((0, 1, 15, 16, 17, 40, 148, 600, 1400))
            data = bytearray(rng.randbytes(size))
            if size and i % 4:
                data[0] = 0x20 | rng.randrange(8)  # our version, every type
            s.sendto(data, (h1.ip, USERSPACE))
    wait_until(lambda: sum(v for k, v in metrics(h1).items() if k.startswith("weft_frames_dropped_total")) >= before + 1000, 10, "they are counted")
    assert h1.rss_bytes() < rss + (2 << 20), "strangers make the daemon keep something"
    assert c1.ping(a2)


@topology(timeout=60)
def test_D8_handshakes_that_are_not_authentic_are_counted(net, h1, h2, c1, c2):
    """The control thread refuses these, not the data threads: its reasons are in the metric as well."""
    a2 = sealed_pair(h1, h2, c1, c2)[1]
    before = dropped(h1, "bad_tag")
    net.add_underlay_address("10.99.0.77/24")
    with in_netns(net.underlay):
        s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    with s:
        for _ in range(5):
            s.sendto(b"\x24\0\0\0" + os.urandom(159), (h1.ip, USERSPACE))
    wait_until(lambda: dropped(h1, "bad_tag") == before + 5, 5, "they are counted")
    assert h1.weft_json("report")["dataplane"]["dropped"]["control"]["bad_tag"] >= 5
    assert c1.ping(a2)


@topology(timeout=60)
def test_D8_keys_are_renewed_without_loss(h1, h2, c1, c2):
    a1, a2 = sealed_pair(h1, h2, c1, c2, env={"WEFT_REKEY_MS": "1000"})
    before = metric(h1, "weft_session_handshakes_total")
    assert c1.ping_many(a2, 400, interval=0.02) == 400
    assert c2.ping_many(a1, 100, interval=0.02) == 100
    assert metric(h1, "weft_session_handshakes_total") >= before + 4, "keys were renewed meanwhile"


# D9


@topology(timeout=60)
def test_D9_trusted_on_both_ends_is_clear_and_fast(h1, h2, c1, c2):
    a2 = sealed_pair(h1, h2, c1, c2, "--trusted-subnets", "10.99.0.0/24")[1]
    for h in (h1, h2):
        wait_until(lambda h=h: line(h).path == "fast" and line(h).keys["encrypted"] == "no", 10, "the data plane is clear")
        assert "10.99.0.0/24" in service(h, "router", "TrustedSubnets")
    known = b"in plain sight, and fast"
    with Capture(h1) as seen:
        with socket_in(c1) as s:
            s.sendto(known * 10, (a2, 7403))
        wait_until(lambda: known in seen.payload(), 5, "it is to be read on the underlay")


@topology(timeout=60)
def test_D9_trusted_on_one_end_only_is_sealed(h1, h2, c1, c2):
    h1.start_daemon("--trusted-subnets", "10.99.0.0/24", env=PASSWORD)
    h2.start_daemon(peers=[h1], env=PASSWORD)
    wait_linked(h1, h2)
    h1.attach(c1)
    a2 = bare(h2.attach(c2)[0])
    wait_until(lambda: c1.ping(a2), 10, "c1 reaches c2")
    for h in (h1, h2):
        assert line(h).path == "userspace" and line(h).keys["encrypted"] == "yes", line(h)


# 200 MB over every back end, also with bytes changed on the way

SIZE = 200 << 20


@topology(timeout=180)
def test_file_of_200_MB_arrives_whole_by_tap(h1, h2, c1, c2):
    h1.start_daemon("--no-fastdp", "--capture", "tap")
    h2.start_daemon("--no-fastdp", "--capture", "tap", peers=[h1])
    wait_linked(h1, h2)
    h1.attach(c1)
    a2 = bare(h2.attach(c2)[0])
    wait_until(lambda: c1.ping(a2), 10, "c1 reaches c2")
    send_file(c1, c2, a2, SIZE)


@topology(timeout=180)
def test_file_of_200_MB_arrives_whole_by_pcap(h1, h2, c1, c2):
    h1.start_daemon("--no-fastdp", "--capture", "pcap")
    h2.start_daemon("--no-fastdp", "--capture", "pcap", peers=[h1])
    wait_linked(h1, h2)
    a1 = bare(h1.attach(c1)[0])
    a2 = bare(h2.attach(c2)[0])
    wait_until(lambda: c1.ping(a2), 10, "c1 reaches c2")
    send_file(c1, c2, a2, SIZE)
    send_file(c2, c1, a1, SIZE >> 3)


@topology(timeout=240)
def test_file_of_200_MB_arrives_whole_sealed_and_altered_on_the_way(net, h1, h2, c1, c2):
    a2 = sealed_pair(h1, h2, c1, c2)[1]
    send_file(c1, c2, a2, SIZE)
    for h in (h1, h2):  # single datagrams on the wire, so that one in 5,000 of them is altered
        h.exec("ethtool", "-K", "eth0", "tx-udp-segmentation", "off")
    corrupt(net)
    send_file(c1, c2, a2, SIZE)
    assert dropped(h2, "bad_tag") > 0, "no datagram was altered: the test shows nothing"


@topology(timeout=240)
def test_file_of_200_MB_arrives_whole_sealed_by_pcap(h1, h2, c1, c2):
    a2 = sealed_pair(h1, h2, c1, c2, "--capture", "pcap")[1]
    send_file(c1, c2, a2, SIZE)


# Floods


@topology(timeout=120)
def test_flood_of_handshakes_leaves_sessions_alone(net, h1, h2, c1, c2):
    """Handshakes by the ten thousand from one address, right in form: sessions go on, and one that is new comes up."""
    a1, a2 = sealed_pair(h1, h2, c1, c2)
    net.add_underlay_address("10.99.0.66/24")
    stop, sent = threading.Event(), [0]
    with in_netns(net.underlay):
        s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    init = bytes([0x24]) + os.urandom(180)

    def flood():
        while not stop.is_set():
            for _ in range(200):
                s.sendto(init, (h1.ip, USERSPACE))
            sent[0] += 200

    t = threading.Thread(target=flood)
    t.start()
    try:
        wait_until(lambda: sent[0] > 20_000, 20, "the flood is on")
        assert c1.ping_many(a2, 100, interval=0.02) >= 99
        send_file(c2, c1, a1, 16 << 20)
    finally:
        stop.set()
        t.join()
        s.close()
    assert dropped(h1, "handshake_flood") + dropped(h1, "flooded") + dropped(h1, "bad_header") + dropped(h1, "bad_tag") > 1000
