"""Looking at frames: weft capture and GET /capture.

     c1 ── h1 ══ h2 ── c2
"""

import contextlib
import os
import re
import signal
import socket
import struct
import subprocess
import tempfile
import time

from lib import SCALE, Failed, bare, build_dir, command, in_netns, socket_in, wait_linked, wait_until


def blocks(data):
    """[(type, body)] of a pcapng section in network byte order; fails when one is broken or cut off."""
    found, at = [], 0
    while at < len(data):
        if at + 12 > len(data):
            raise Failed(f"{len(data) - at} bytes are left at the end")
        kind, size = struct.unpack_from("!II", data, at)
        if size % 4 or size < 12 or at + size > len(data) or struct.unpack_from("!I", data, at + size - 4)[0] != size:
            raise Failed(f"the block at {at} is broken: type {kind}, {size} bytes of {len(data) - at}")
        found.append((kind, data[at + 8:at + size - 4]))
        at += size
    return found


def options(data):
    found, at = {}, 0
    while at + 4 <= len(data):
        code, size = struct.unpack_from("!HH", data, at)
        if code == 0:
            break
        found[code] = data[at + 4:at + 4 + size]
        at += 4 + (size + 3) // 4 * 4
    return found


class Pcapng:
    """frames: [(time, bytes, length on the wire, comment)]; statistics: {received, dropped, written}, None: it was cut off."""

    def __init__(self, data):
        all_blocks = blocks(data)
        assert [k for k, _ in all_blocks[:2]] == [0x0A0D0D0A, 1], all_blocks[:2]
        interface = options(all_blocks[1][1][8:])
        self.device, self.about, self.frames, self.statistics = interface[2].decode(), interface[3].decode(), [], None
        for kind, body in all_blocks[2:]:
            if kind == 6:
                _, high, low, size, length = struct.unpack_from("!5I", body)
                comment = options(body[20 + (size + 3) // 4 * 4:]).get(1, b"").decode()
                self.frames.append((((high << 32) + low) / 1e9, body[20:20 + size], length, comment))
            elif kind == 5:
                o = options(body[12:])
                self.statistics = {name: struct.unpack("!Q", o[code])[0] for name, code in (("received", 4), ("dropped", 5), ("written", 8))}
        assert all_blocks[-1][0] == 5 or self.statistics is None

    def comments(self, payload):
        """Of the UDP datagrams that hold it."""
        return [c for _, f, _, c in self.frames if f[12:14] == b"\x08\0" and f[23] == 17 and payload in f]


class Running:
    """weft capture going on, with its output in a file; ready when it has begun."""

    def __init__(self, host, *args):
        self.out = tempfile.NamedTemporaryFile()
        self.process = subprocess.Popen(
            ["ip", "netns", "exec", host.netns, os.path.join(build_dir(), "weft"), "--socket", host.socket, "capture", *map(str, args)],
            stdin=subprocess.DEVNULL, stdout=self.out, stderr=subprocess.PIPE, text=True)
        if "-w" not in args:
            wait_until(lambda: os.path.getsize(self.out.name) > 0 or self.process.poll() is not None, 5, "the capture has begun")

    def end(self, sig=signal.SIGINT):
        if sig:
            self.process.send_signal(sig)
        _, err = self.process.communicate(timeout=10 * SCALE)
        with open(self.out.name, "rb") as f:
            return self.process.returncode, f.read(), err

    def done(self, sig=signal.SIGINT):
        code, data, err = self.end(sig)
        if code != 0 or err:
            raise Failed(f"weft capture ended with {code}: {err}")
        return Pcapng(data)


def pair(h1, h2, c1, c2):
    h1.start_daemon()
    h2.start_daemon(peers=[h1])
    wait_linked(h1, h2)
    a1, a2 = bare(h1.attach(c1)[0]), bare(h2.attach(c2)[0])
    wait_until(lambda: c1.ping(a2), 10, "c1 reaches c2")
    return a1, a2


def send(place, to, *payloads):
    with in_netns(place.netns):
        s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    with s:
        for p in payloads:
            s.sendto(p, (to, 9))


def tcpdump(data, *args):
    """Lines that a stranger to us reads in it."""
    with tempfile.NamedTemporaryFile(suffix=".pcapng") as f:
        f.write(data)
        f.flush()
        p = command("tcpdump", "-n", "-r", f.name, *args)
    assert "truncated" not in p.stderr, p.stderr
    return p.stdout.splitlines()


def test_capture_a_containers_frames_have_names(h1, h2, c1, c2):
    a1, a2 = pair(h1, h2, c1, c2)
    r = Running(h1, c1)
    start = time.time()
    send(c1, a2, b"from the first")
    send(c2, a1, b"from the second" * 80)
    assert c1.ping(a2)
    code, data, err = r.end()
    assert (code, err) == (0, ""), (code, err)
    cap = Pcapng(data)
    assert cap.device.startswith("vethwe") and cap.about == f"container {c1}, network weft", (cap.device, cap.about)
    assert cap.comments(b"from the first") == [f"{c1} (h1) > {c2} (h2)"], [c for *_, c in cap.frames]
    assert cap.comments(b"from the second") == [f"{c2} (h2) > {c1} (h1)"]
    assert cap.statistics["written"] == len(cap.frames) and cap.statistics["dropped"] == 0, cap.statistics
    assert all(abs(t - start) < 60 for t, *_ in cap.frames)
    lines = tcpdump(data, "icmp[0] == 0 or icmp[0] == 8")
    assert len(lines) == 2 and f"{a1} > {a2}: ICMP echo request" in lines[0], lines


def test_capture_a_network_is_seen_whole(h1, h2, c1, c2, c3):
    a1, a2 = pair(h1, h2, c1, c2)
    a3 = bare(h1.attach(c3)[0])
    r = Running(h1)
    send(c1, a3, b"on one host")
    send(c1, a2, b"to another host")
    send(c2, a3, b"from another host")
    wait_until(lambda: all(x in open(r.out.name, "rb").read() for x in (b"on one host", b"to another host", b"from another host")), 5, "all are seen")
    cap = r.done()
    assert cap.device == "weft" and cap.about == "network weft"
    assert cap.comments(b"on one host") == [f"{c1} (h1) > {c3} (h1)"]
    assert cap.comments(b"to another host") == [f"{c1} (h1) > {c2} (h2)"]
    assert cap.comments(b"from another host") == [f"{c2} (h2) > {c3} (h1)"]


def test_capture_limits_and_ends(h1, h2, c1, c2):
    a1, a2 = pair(h1, h2, c1, c2)
    with socket_in(c2) as sink:
        sink.bind((a2, 9))
        r = Running(h1, "--count", "3", "--snaplen=100", c1)
        send(c1, a2, *[b"x" * 1000] * 5)
        cap = r.done(sig=None)  # by itself
    assert len(cap.frames) == 3 and cap.statistics["written"] == 3
    assert [(len(f), n) for _, f, n, _ in cap.frames] == [(100, 1042)] * 3, [(len(f), n) for _, f, n, _ in cap.frames]
    # The container goes: so does its capture.
    r = Running(h1, c1)
    h1.weft_ok("detach", c1)
    assert r.done(sig=None).statistics is not None
    # At most four.
    running = [Running(h1, "--network", "weft") for _ in range(4)]
    p = h1.weft("capture")
    assert p.returncode == 1 and p.stdout == "" and "four" in p.stderr and len(p.stderr.splitlines()) == 1, p
    for r in running:
        r.done(signal.SIGTERM)
    Running(h1).done()
    # The daemon stops: what it had is whole.
    r = Running(h2, c2)
    send(c2, "10.32.0.77", b"anything")
    h2.stop()
    code, data, err = r.end(sig=None)
    assert code == 0 and Pcapng(data).statistics is not None, (code, err)


def test_capture_refusals(h1, c1):
    p = h1.weft("capture")
    assert p.returncode == 3 and p.stdout == "" and len(p.stderr.splitlines()) == 1, p
    h1.start_daemon()
    for verb in (("a", "b"), ("--no-such",), ("--snaplen",)):
        p = h1.weft("capture", *verb)
        assert p.returncode == 2 and p.stdout == "" and p.stderr, f"{verb}: {p}"
    for verb in (("no-such-container",), ("--network", "no-such")):
        p = h1.weft("capture", *verb)
        assert p.returncode == 4 and p.stdout == "" and len(p.stderr.splitlines()) == 1, f"{verb}: {p}"
    for verb in (("--snaplen", "63"), ("--snaplen", "x"), ("--count", "0"), ("--count", "-1"), ("-w", "/no/such/dir/x")):
        p = h1.weft("capture", *verb)
        assert p.returncode == 1 and p.stdout == "" and len(p.stderr.splitlines()) == 1, f"{verb}: {p}"
    with tempfile.NamedTemporaryFile() as f:
        f.write(b"mine")
        f.flush()
        assert h1.weft("capture", "-w", f.name, "no-such-container").returncode == 4
        assert open(f.name, "rb").read() == b"mine", "a refusal has emptied a file"
    h1.attach(c1)
    r = h1.api("GET", f"/capture?container={c1}&network=weft-no")
    assert r.status == 409, r.text
    assert h1.api("GET", "/capture", headers={"Host": "evil.example.com"}).status == 400
    assert h1.api("POST", "/capture").status == 405
    # Not onto a terminal.
    p = command("script", "-qec", f"ip netns exec {h1.netns} {build_dir()}/weft --socket {h1.socket} capture", "/dev/null", check=False)
    assert "terminal" in p.stdout and p.returncode == 2, p


def test_capture_a_file_and_a_slow_reader(h1, h2, c1, c2):
    a1, a2 = pair(h1, h2, c1, c2)
    with tempfile.TemporaryDirectory() as d:
        path = os.path.join(d, "x.pcapng")
        r = Running(h1, "-w", path, c1)
        wait_until(lambda: os.path.exists(path) and os.path.getsize(path) > 0, 5, "the capture has begun")
        send(c1, a2, b"into a file")
        code, out, err = r.end()
        assert (code, out, err) == (0, b"", "")
        assert os.stat(path).st_mode & 0o777 == 0o600, "others may not read what goes over the network"
        assert len(Pcapng(open(path, "rb").read()).comments(b"into a file")) == 1
    # One who reads nothing: the daemon keeps no more than it has to, goes on with its work, and says at the end what is missing.
    before = h1.rss_bytes()
    with socket.socket(socket.AF_UNIX) as s:
        s.settimeout(20 * SCALE)
        s.connect(h1.socket)
        s.sendall(f"GET /capture?container={c1} HTTP/1.1\r\nHost: weft\r\n\r\n".encode())
        head = s.recv(10000)
        assert head.startswith(b"HTTP/1.1 200"), head
        for _ in range(300):
            send(c1, a2, *[b"flood" * 270] * 60)
        assert h1.rss_bytes() - before < 8 << 20, f"{h1.rss_bytes() - before} bytes more"
        assert c1.ping(a2) and h1.api("GET", "/status").status == 200
        # When it reads again, it goes on.
        data = head
        s.settimeout(0.5 * SCALE)
        with contextlib.suppress(TimeoutError):
            while chunk := s.recv(1 << 16):
                data += chunk
        send(c1, a2, b"after the flood")
        s.settimeout(20 * SCALE)
        s.shutdown(socket.SHUT_WR)
        while chunk := s.recv(1 << 16):
            data += chunk
    body, rest = b"", data[data.index(b"\r\n\r\n") + 4:]
    while rest:
        size, _, rest = rest.partition(b"\r\n")
        body, rest = body + rest[:int(size, 16)], rest[int(size, 16) + 2:]
    cap = Pcapng(body)
    assert len(cap.comments(b"after the flood")) == 1
    assert cap.statistics["dropped"] > 1000 and cap.statistics["written"] == len(cap.frames) > 500, cap.statistics
    # One who goes away without a word costs nothing in the end.
    for _ in range(6):
        with socket.socket(socket.AF_UNIX) as s:
            s.connect(h1.socket)
            s.sendall(b"GET /capture HTTP/1.1\r\nHost: weft\r\n\r\n")
            s.settimeout(5 * SCALE)
            assert s.recv(12) == b"HTTP/1.1 200"
        wait_until(
            lambda: len(re.findall("client captures on", h1.log())) == len(re.findall("capture on .* has ended", h1.log())), 5,
            "the daemon has noticed")
