"""Payloads of chosen sizes between two places, through sockets of this process that live in their namespaces."""

import hashlib
import queue
import socket
import struct
import threading
import time

from .proc import SCALE, Failed, in_netns

PORT = 7007


def socket_in(place, family=socket.AF_INET, kind=socket.SOCK_DGRAM, timeout=1):
    """A socket in a host's or container's network namespace."""
    with in_netns(place.netns):
        s = socket.socket(family, kind)
    s.settimeout(timeout * SCALE)
    return s


def payload(size, salt):
    """Bytes that are different for every size and direction, so that a mix-up shows."""
    block = hashlib.sha256(f"{size}/{salt}".encode()).digest()
    return (block * (size // len(block) + 1))[:size]


def sizes(step=997, last=60_000):
    """1 … last: every size around the usual borders, and strides between them."""
    borders = (0, 64, 512, 1200, 1280, 1348, 1362, 1378, 1406, 1420, 1450, 1472, 1500, 2800, 4096, 8192, 8900, 9000, 16384, 32768, last)
    near = {b + d for b in borders for d in range(-3, 4)}
    return sorted(n for n in near | set(range(1, last + 1, step)) if 1 <= n <= last)


def _family(addr):
    return socket.AF_INET6 if ":" in addr else socket.AF_INET


def udp_sweep(a, b, b_addr, over=None, tries=3):
    """For each size a datagram from a to b and another back. Fails with the sizes of which none of `tries` came through whole."""
    lost = []
    with socket_in(a, _family(b_addr)) as sa, socket_in(b, _family(b_addr)) as sb:
        sb.bind((b_addr, PORT))
        for size in over or sizes():
            there, back = payload(size, "there"), payload(size, "back")
            for _ in range(tries):
                try:
                    sa.sendto(there, (b_addr, PORT))
                    sender = _receive(sb, there)
                    sb.sendto(back, sender)
                    _receive(sa, back)
                    break
                except OSError:  # nothing came in time; or the path's MTU was learnt just now
                    continue
            else:
                lost.append(size)
                if len(lost) >= 5:
                    break
    if lost:
        raise Failed(f"UDP from {a.name} to {b.name} ({b_addr}) does not pass with payloads of {lost} bytes")


def _receive(s, expected):
    """Waits for the expected datagram and gives its sender; one of an earlier try is passed over, a changed one is not."""
    while True:
        got, sender = s.recvfrom(65536)
        if got == expected:
            return sender
        if len(got) == len(expected):
            raise Failed(f"a datagram of {len(got)} bytes arrived changed")


def tcp_sweep(a, b, b_addr, over=None, timeout=10):
    """For each size a message from a to b over one TCP connection, and another of that size back."""
    trouble = []

    def serve(listener):
        try:
            s, _ = listener.accept()
            with s:
                s.settimeout(timeout * SCALE)
                while head := _exactly(s, 4, eof=True):
                    (size,) = struct.unpack("!I", head)
                    if _exactly(s, size) != payload(size, "there"):
                        raise Failed(f"{size} bytes arrived changed at {b.name}")
                    s.sendall(payload(size, "back"))
        except (OSError, Failed) as e:
            trouble.append(e)

    size = 0
    with socket_in(b, _family(b_addr), socket.SOCK_STREAM, timeout) as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((b_addr, PORT))
        listener.listen(1)
        server = threading.Thread(target=serve, args=(listener,), daemon=True)
        server.start()
        try:
            with socket_in(a, _family(b_addr), socket.SOCK_STREAM, timeout) as s:
                s.connect((b_addr, PORT))
                for size in over or sizes():
                    s.sendall(struct.pack("!I", size) + payload(size, "there"))
                    if _exactly(s, size) != payload(size, "back"):
                        raise Failed(f"{size} bytes arrived changed at {a.name}")
        except (OSError, Failed) as e:
            trouble.append(e)
        server.join(timeout * SCALE)
    if trouble:
        raise Failed(f"TCP from {a.name} to {b.name} ({b_addr}) broke at {size} bytes: {trouble[0]}")


def _exactly(s, n, eof=False):
    got = bytearray()
    while len(got) < n:
        chunk = s.recv(n - len(got))
        if not chunk:
            if eof and not got:
                return b""
            raise Failed(f"the connection ended {n - len(got)} bytes early")
        got += chunk
    return bytes(got)


class Capture:
    """All frames that pass an interface while it is open: [(time.monotonic(), frame)], link-layer header first."""

    def __init__(self, place, iface="eth0"):
        with in_netns(place.netns):
            self.socket = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(3))
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 23)
        self.socket.bind((iface, 3))
        self.socket.settimeout(0.05)
        self.frames, self.ended = [], False
        self.thread = threading.Thread(target=self._run, daemon=True)
        self.thread.start()

    def _run(self):
        while not self.ended:
            try:
                self.frames.append((time.monotonic(), self.socket.recv(65536)))
            except TimeoutError:
                continue
            except OSError:
                return

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def close(self):
        self.ended = True
        self.thread.join()
        self.socket.close()

    def payload(self):
        """Everything that was seen, one after the other."""
        return b"\n".join(frame for _, frame in self.frames)

    def segments(self, protocol, dport=None, src=None, dst=None):
        """[(time, source port, payload of IP)] of IPv4 packets of a protocol (6 TCP, 17 UDP)."""
        found = []
        for at, f in list(self.frames):
            if f[12:14] != b"\x08\x00" or f[23] != protocol:
                continue
            ip = f[14:]
            body = ip[(ip[0] & 15) * 4:]
            if src and ip[12:16] != socket.inet_aton(src) or dst and ip[16:20] != socket.inet_aton(dst):
                continue
            if dport is not None and struct.unpack("!H", body[2:4])[0] != dport:
                continue
            found.append((at, struct.unpack("!H", body[:2])[0], body))
        return found

    def syns(self, port, dst):
        """When connections to that address and port were tried, repetitions of one SYN counted once."""
        times = {}
        for at, sport, body in self.segments(6, dport=port, dst=dst):
            if body[13] & 0x12 == 0x02:
                times.setdefault((sport, body[4:8]), at)
        return sorted(times.values())


class Relay:
    """A TCP port on the underlay that leads to another one and can be slow: delay in seconds each way, changed at any time."""

    def __init__(self, net, host, port):
        self.to, self.delay = (host, port), 0.0
        net.add_underlay_address("10.99.0.250/24")
        with in_netns(net.underlay):
            self.listener = socket.create_server(("10.99.0.250", 0))
        self.netns, self.address = net.underlay, "10.99.0.250:%d" % self.listener.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self):
        while True:
            a, _ = self.listener.accept()
            with in_netns(self.netns):
                b = socket.create_connection(self.to)
            for s in (a, b):
                s.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            for here, there in ((a, b), (b, a)):
                late = queue.Queue()
                threading.Thread(target=self._read, args=(here, late), daemon=True).start()
                threading.Thread(target=self._write, args=(there, late), daemon=True).start()

    def _read(self, s, late):
        data = b"x"
        while data:
            try:
                data = s.recv(65536)
            except OSError:
                data = b""
            late.put((time.monotonic() + self.delay, data))

    @staticmethod
    def _write(s, late):
        data = b"x"
        while data:
            due, data = late.get()
            time.sleep(max(0.0, due - time.monotonic()))
            try:
                s.sendall(data) if data else s.shutdown(socket.SHUT_WR)
            except OSError:
                return
