"""Names, asked for with dig and by hand.

     c1 ── h1 ── underlay ── h2 ── c2       each host's resolver is at 169.254.67.83:53, for itself and its containers;
                  │                         a made-up upstream listens on h3's 10.99.0.3:53
                 h3 (no daemon)
"""

import os
import random
import signal
import socket
import struct
import threading
import time

from lib import DNS, SCALE, bare, metric, service, socket_in, topology, wait_linked, wait_until
from lib.dnswire import RCODES, TYPES, Message, ask, encode_name, query, reverse, tcp_exchange

MS = 0.001


def lookup(place, name, qtype="A"):
    """The answers' data, by one quick datagram."""
    m = ask(place, query(name, qtype), DNS)
    return None if m is None else sorted(m.names if qtype == "PTR" else m.addresses)


def two(h1, h2, *args):
    h1.start_daemon(*args)
    h2.start_daemon(*args, peers=[h1])
    wait_linked(h1, h2)


# N1


def test_N1_a_container_resolves_everywhere_within_100_ms(net, h1, h2):
    two(h1, h2)
    alpha, beta = net.process_container(1, "alpha.weft.local"), net.process_container(2, "beta.weft.local")
    other = net.process_container(3, "gamma.example.org")
    h1.attach(other)  # the first attach waits for the agreement; this one is of another domain, too
    late = []
    for host, c, name in ((h1, alpha, "alpha"), (h2, beta, "beta")):
        addr = bare(host.attach(c)[0])
        attached = time.monotonic()
        for place in (h1, h2):
            wait_until(
                lambda place=place, name=name, addr=addr: lookup(place, f"{name}.weft.local") == [addr], 2, f"{place.name} knows {name}")
            late.append(time.monotonic() - attached)
            wait_until(
                lambda place=place, name=name, addr=addr: lookup(place, reverse(addr), "PTR") == [f"{name}.weft.local."], 2, "reverse")
            late.append(time.monotonic() - attached)
    assert max(late) <= 100 * MS * SCALE, f"after attach names took up to {max(late) * 1000:.0f} ms"
    for c in (alpha, beta):  # and in the containers themselves
        assert c.dig("beta.weft.local", server=DNS).data == beta.ips()
        assert c.dig(alpha.ips()[0], "-x", server=DNS).data == ["alpha.weft.local."]
    assert lookup(h1, "gamma.example.org") in (None, []) and lookup(h1, "gamma.weft.local") == []
    h2.detach(beta)
    wait_until(lambda: lookup(h1, "beta.weft.local") == [] == lookup(h2, "beta.weft.local"), 2, "the name goes with the container")


# N2


@topology(timeout=90)
def test_N2_one_name_on_two_hosts(h1, h2, h3, c1, c2):
    two(h1, h2)
    h3.start_daemon(peers=[h1, h2])
    wait_linked(h1, h2, h3)
    a = [bare(h1.attach(c1)[0]), bare(h2.attach(c2)[0])]
    h1.weft_ok("dns-add", c1, "-h", "web.weft.local")
    h2.weft_ok("dns-add", c2, "-h", "web.weft.local")
    for h in (h1, h2, h3):
        wait_until(lambda h=h: lookup(h, "web.weft.local") == sorted(a), 5, f"{h.name} gives both")
    firsts = {ask(h3, query("web.weft.local"), DNS).addresses[0] for _ in range(40)}
    assert firsts == set(a), "the order does not change from answer to answer"
    h2.kill()
    wait_until(lambda: lookup(h1, "web.weft.local") == lookup(h3, "web.weft.local") == [a[0]], 8, "the killed host's address is left out")
    h2.start_daemon("--resume")
    wait_until(lambda: lookup(h3, "web.weft.local") == sorted(a), 40, "it comes back with its host")


# N5


def test_N5_names_by_hand_with_and_without_a_container(h1, h2, c1, c2):
    two(h1, h2)
    a1 = [bare(a) for a in h1.attach(c1, "net:default", "net:10.33.0.0/24")]
    h2.attach(c2)
    # of a container: all its addresses; some of them; without one
    h1.weft_ok("dns-add", c1, "-h", "all.weft.local")
    h1.weft_ok("dns-add", a1[1], c1, "-h", "second.weft.local")
    h1.weft_ok("dns-add", "10.40.0.1", "10.40.0.2", "10.40.0.3", "-h", "ext.weft.local")
    for h in (h1, h2):
        wait_until(lambda h=h: lookup(h, "all.weft.local") == sorted(a1), 3, f"{h.name}: all")
        wait_until(lambda h=h: lookup(h, "second.weft.local") == [a1[1]], 3, f"{h.name}: second")
        wait_until(lambda h=h: lookup(h, "ext.weft.local") == ["10.40.0.1", "10.40.0.2", "10.40.0.3"], 3, f"{h.name}: ext")
        assert sorted(h.weft_ok("dns-lookup", "ext").split("\n")) == ["10.40.0.1", "10.40.0.2", "10.40.0.3"]
        assert sorted(h.weft_ok("dns-lookup", "all.weft.local").split("\n")) == sorted(a1)
    # they survive the daemon
    h1.restart()
    wait_linked(h1, h2, timeout=15)
    for h in (h1, h2):
        wait_until(lambda h=h: lookup(h, "all.weft.local") == sorted(a1), 5, f"{h.name}: all, after the restart")
        wait_until(lambda h=h: lookup(h, "ext.weft.local") == ["10.40.0.1", "10.40.0.2", "10.40.0.3"], 5, f"{h.name}: ext")
    # one address, one name, all of a container
    h1.weft_ok("dns-remove", "10.40.0.2", "-h", "ext.weft.local")
    h1.weft_ok("dns-remove", a1[0], c1, "-h", "all.weft.local")
    for h in (h1, h2):
        wait_until(lambda h=h: lookup(h, "ext.weft.local") == ["10.40.0.1", "10.40.0.3"], 3, f"{h.name}: one address less")
        wait_until(lambda h=h: lookup(h, "all.weft.local") == [a1[1]], 3, f"{h.name}: one address less of the container")
    h1.weft_ok("dns-remove", c1)
    h1.weft_ok("dns-remove", "10.40.0.1", "10.40.0.3", "-h", "ext.weft.local")
    for h in (h1, h2):
        for name in ("all", "second", "ext"):
            wait_until(
                lambda h=h, name=name: ask(h, query(f"{name}.weft.local"), DNS).rcode == "NXDOMAIN", 3, f"{name} is gone from {h.name}")
    assert h1.weft("dns-lookup", "ext").stdout == ""
    p = h1.weft("dns-add", "10.40.0.1", "-h", "host.example.org")
    assert p.returncode == 1 and "weft.local" in p.stderr and len(p.stderr.splitlines()) == 1, p
    assert h1.weft("dns-add", "not-there", "-h", "x.weft.local").returncode in (1, 4)
    assert h1.weft_ok("dns-args") == f"--dns={DNS} --dns-search=weft.local."


# N6


def test_N6_case_single_labels_and_sub_domains(h1, h2):
    two(h1, h2)
    h1.weft_ok("dns-add", "10.40.0.1", "-h", "MiXed.weft.local")
    h1.weft_ok("dns-add", "10.40.0.2", "-h", "lower.weft.local")
    h1.weft_ok("dns-add", "10.40.0.3", "-h", "a.b.Sub.weft.local")
    for h in (h1, h2):
        wait_until(lambda h=h: lookup(h, "a.b.sub.weft.local") == ["10.40.0.3"], 3, f"{h.name} knows the names")
        for name in ("mixed.weft.local", "MIXED.WEFT.LOCAL", "mIxEd.Weft.Local", "mixed", "MIXED"):
            assert lookup(h, name) == ["10.40.0.1"], name
        for name in ("LOWER.weft.local", "Lower", "lower"):
            assert lookup(h, name) == ["10.40.0.2"], name
        assert lookup(h, "A.B.SUB.WEFT.LOCAL") == ["10.40.0.3"] and lookup(h, "a.b.sub") != ["10.40.0.3"]
        got = h.dig("MIXED", server=DNS)
        assert got.status == "NOERROR" and got.answers[0][0].lower() == "mixed." and "aa" in got.flags, got
        assert [n.lower() for n in lookup(h, reverse("10.40.0.1"), "PTR")] == ["mixed.weft.local."]
        for empty in ("b.sub.weft.local", "sub.weft.local"):  # above a name: exists, has nothing
            assert ask(h, query(empty), DNS).rcode == "NOERROR" and lookup(h, empty) == []
        assert ask(h, query("x.sub.weft.local"), DNS).rcode == "NXDOMAIN"


def test_N6_the_domain_with_and_without_the_final_dot(h1, h2):
    h1.start_daemon("--dns-domain", "Cluster.example")
    h2.start_daemon("--dns-domain", "cluster.example.", peers=[h1])
    wait_linked(h1, h2)
    for h in (h1, h2):
        assert service(h, "dns", "Domain").lower() == "cluster.example."
        assert h.api("GET", "/domain").text.strip().lower() == "cluster.example."
    h1.weft_ok("dns-add", "10.40.0.1", "-h", "one.cluster.example")
    h2.weft_ok("dns-add", "10.40.0.2", "-h", "two.cluster.example.")
    h2.weft_ok("dns-add", "10.40.0.3", "-h", "three")
    for h in (h1, h2):
        for name, addr in (("one", "10.40.0.1"), ("two", "10.40.0.2"), ("three", "10.40.0.3")):
            for text in (name, f"{name}.cluster.example"):
                wait_until(lambda h=h, text=text, addr=addr: lookup(h, text) == [addr], 3, f"{h.name} knows {text}")
    assert ask(h1, query("one.weft.local"), DNS).rcode != "NOERROR"


# N7


class Upstream:
    """A name server on a host's port 53, UDP and TCP, that answers by the first label: flags and records as written here."""

    ANSWERS = {  # label: (flags above the code, code, addresses)
        "host": (0x8180, 0, ["192.0.2.1"]), "auth": (0x8580, 0, ["192.0.2.2", "192.0.2.3"]), "ad": (0x81A0, 0, ["192.0.2.4"]),
        "none": (0x8180, 0, []), "nx": (0x8180, 3, []), "refused": (0x8100, 5, []), "fail": (0x8180, 2, []), "notimp": (0x8180, 4, []),
        "many": (0x8180, 0, [f"198.51.100.{i}" for i in range(1, 101)]),
    }

    def __init__(self, host):
        self.queries = []
        self.udp = socket_in(host)
        self.udp.settimeout(None)
        self.tcp = socket_in(host, kind=socket.SOCK_STREAM)
        self.tcp.settimeout(None)
        for s in (self.udp, self.tcp):
            s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            s.bind((host.ip, 53))
        self.tcp.listen()
        for run in (self._udp, self._tcp):
            threading.Thread(target=run, daemon=True).start()

    def answer(self, q, limit):
        m = Message(q)
        self.queries.append((m.ident, m.question))
        flags, code, addresses = self.ANSWERS.get(m.question.split(".")[0].lower(), (0x8180, 3, []))
        end = 12 + len(encode_name(m.question)) + 4
        records = b"".join(b"\xc0\x0c" + struct.pack("!2HIH", 1, 1, 77, 4) + socket.inet_aton(a) for a in addresses)
        n = len(addresses)
        if end + len(records) > limit:
            records, n, flags = b"", 0, flags | 0x200
        return struct.pack("!6H", m.ident, flags | code, 1, n, 0, 0) + q[12:end] + records

    def _udp(self):
        while True:
            q, at = self.udp.recvfrom(4096)
            if len(q) >= 12:
                self.udp.sendto(self.answer(q, 512), at)

    def _tcp(self):
        while True:
            s, _ = self.tcp.accept()
            with s:
                try:
                    size = struct.unpack("!H", s.recv(2, socket.MSG_WAITALL))[0]
                    a = self.answer(s.recv(size, socket.MSG_WAITALL), 65535)
                    s.sendall(struct.pack("!H", len(a)) + a)
                except (OSError, struct.error):
                    pass


def with_upstream(host, upstream):
    conf = os.path.join(host.dir, "resolv.conf")
    with open(conf, "w") as f:
        f.write(f"nameserver {upstream.ip}\n")
    server = Upstream(upstream)
    host.start_daemon("--resolv-conf", conf)
    return server


def soa(m):
    return [r for r in m.records if r[0] == "authority" and r[2] == TYPES["SOA"]]


def test_N7_nodata_and_nxdomain_carry_the_soa(h1, c1):
    h1.start_daemon()
    addr = bare(h1.attach(c1)[0])
    h1.weft_ok("dns-add", c1, "-h", "one.weft.local")
    for qtype in ("AAAA", "TXT", "SRV", 15, "NS"):
        m = ask(h1, query("one.weft.local", qtype), DNS)
        assert m.rcode == "NOERROR" and m.n_answer == 0 and m.aa and len(soa(m)) == 1, (qtype, m.records)
        assert soa(m)[0][1].lower() == "weft.local." and m.flags & 0x100, "the SOA is the domain's, and RD is given back"
    for name in ("two.weft.local", "x.one.weft.local", "two"):
        m = ask(h1, query(name), DNS)
        assert m.rcode == "NXDOMAIN" and m.n_answer == 0 and m.aa, name
        assert len(soa(m)) == 1, name
    for free in ("10.32.7.7",):
        m = ask(h1, query(reverse(free), "PTR"), DNS)
        assert m.rcode == "NXDOMAIN" and m.aa and len(soa(m)) == 1, "an address of ours that nobody has"
    m = ask(h1, query("one.weft.local"), DNS)
    assert m.addresses == [addr] and m.aa and m.qr and m.records[0][3] == 1, "the TTL is 1 s unless told otherwise"
    got = h1.dig("weft.local", "SOA", server=DNS)
    assert got.status == "NOERROR" and got.answers[0][2] == "SOA", got


def test_N7_foreign_names_get_the_upstreams_own_answer(h1, h3):
    upstream = with_upstream(h1, h3)
    for label, (flags, code, addresses) in Upstream.ANSWERS.items():
        if label == "many":
            continue
        ident = random.randrange(65536)
        m = ask(h1, query(f"{label}.example.org", ident=ident), DNS, timeout=2)
        assert m, f"no answer for {label}.example.org"
        assert m.ident == ident and m.rcode == RCODES[code], (label, m.rcode)
        assert m.flags & 0x7FF0 == flags & 0x7FF0, f"{label}: flags {m.flags:04x}, the upstream gave {flags:04x}"
        assert sorted(m.addresses) == addresses and all(r[3] == 77 for r in m.records if r[0] == "answer")
    assert ask(h1, query("HoSt.ExAmPlE.org"), DNS).question == "HoSt.ExAmPlE.org.", "the question comes back as it was put"
    m = ask(h1, query("many.example.org"), DNS)
    assert m.tc, "an upstream's truncated answer is passed on"
    with socket_in(h1, kind=socket.SOCK_STREAM) as s:
        s.connect((DNS, 53))
        m = tcp_exchange(s, query("many.example.org"))[0]
    assert len(m.addresses) == 100 and not m.tc, "asked over TCP all of it comes"
    n = len(upstream.queries)
    assert ask(h1, query("nobody.weft.local"), DNS).rcode == "NXDOMAIN" and len(upstream.queries) == n, "a name of ours left the host"
    assert len({i for i, _ in upstream.queries}) > len(upstream.queries) // 2, "the ids towards the upstream are not random"
    assert metric(h1, "weft_dns_queries_total", source="forward") >= 9


def test_N7_what_is_not_for_us_is_refused(h1, h3):
    upstream = with_upstream(h1, h3)
    h1.weft_ok("dns-add", "10.40.0.1", "-h", "one.weft.local")
    m = ask(h1, query("one.weft.local", "ANY"), DNS)
    assert m.rcode == "NOERROR" and [r[2] for r in m.records if r[0] == "answer"] == [TYPES["HINFO"]], "ANY gets the HINFO of RFC 8482"
    for name in ("version.bind", "one.weft.local", "host.example.org"):
        assert ask(h1, query(name, "TXT", qclass=3), DNS).rcode == "REFUSED", f"CHAOS {name}"
    for opcode, what in ((1, "IQUERY"), (2, "STATUS"), (4, "NOTIFY"), (5, "UPDATE"), (6, "DSO"), (15, "unassigned")):
        m = ask(h1, query("one.weft.local", "SOA", opcode=opcode), DNS)
        assert m and m.rcode == "NOTIMP" and m.opcode == opcode and m.qr, what
    for qtype in (251, 252):
        assert ask(h1, query("weft.local", qtype), DNS).rcode == "REFUSED", "a transfer"
    assert upstream.queries == [], f"what was to be refused went upstream: {upstream.queries}"


# N9


def many(host, name, count, net="10.41"):
    addrs = [f"{net}.{i // 250}.{i % 250 + 1}" for i in range(count)]
    for at in range(0, count, 50):
        host.weft_ok("dns-add", *addrs[at:at + 50], "-h", name)
    return sorted(addrs)


def test_N9_fifty_addresses_under_one_name(h1, c1):
    h1.start_daemon()
    h1.attach(c1)
    addrs = many(h1, "fifty.weft.local", 50)
    for place in (h1, c1):
        plain = place.dig("fifty.weft.local", "+noedns", "+ignore", server=DNS)
        assert plain.status == "NOERROR" and "tc" in plain.flags and 0 < len(plain.data) < 50, plain
        assert set(plain.data) < set(addrs)
        full = place.dig("fifty.weft.local", "+noedns", server=DNS)  # falls back to TCP
        assert full.data == addrs and "tc" not in full.flags
        assert place.dig("fifty.weft.local", "+tcp", server=DNS).data == addrs
        assert place.dig("fifty.weft.local", "+bufsize=4096", "+ignore", server=DNS).data == addrs


def edns(name, size):
    q = query(name)
    return q[:10] + struct.pack("!H", 1) + q[12:] + b"\0" + struct.pack("!2HIH", 41, size, 0, 0)


def test_N9_sizes_are_honoured_and_clamped(h1):
    h1.start_daemon()
    many(h1, "fifty.weft.local", 50)
    addrs = many(h1, "lots.weft.local", 300, net="10.42")
    plain = ask(h1, query("fifty.weft.local"), DNS)
    assert plain.tc and len(plain.data) <= 512 and not any(r[2] == 41 for r in plain.records), "no OPT unless it was asked for"
    for asked, least, most in ((0, 400, 512), (100, 400, 512), (512, 400, 512), (600, 513, 600), (800, 601, 800)):
        m = ask(h1, edns("fifty.weft.local", asked), DNS)
        assert m.tc and least <= len(m.data) <= most, f"EDNS size {asked}: {len(m.data)} bytes"
        opt = [r for r in m.records if r[2] == 41]
        assert len(opt) == 1 and opt[0][0] == "additional", "an OPT is in the answer"
    whole = ask(h1, edns("fifty.weft.local", 1232), DNS)
    assert not whole.tc and len(whole.addresses) == 50 and any(r[2] == 41 for r in whole.records)
    big = ask(h1, edns("lots.weft.local", 65535), DNS)
    assert big.tc and 3500 < len(big.data) <= 4096, f"more than 4096 bytes over UDP: {len(big.data)}"
    with socket_in(h1, kind=socket.SOCK_STREAM) as s:
        s.connect((DNS, 53))
        assert sorted(tcp_exchange(s, query("lots.weft.local"))[0].addresses) == addrs


def test_N9_pipelined_queries_on_one_connection(h1, h3):
    with_upstream(h1, h3)
    addrs = many(h1, "fifty.weft.local", 50)
    with socket_in(h1, kind=socket.SOCK_STREAM, timeout=5) as s:
        s.connect((DNS, 53))
        asked = {}
        for i, name in enumerate(["fifty.weft.local", "host.example.org", "nobody.weft.local", "nx.example.org"] * 5):
            asked[1000 + i] = name
        got = {m.ident: m for m in tcp_exchange(s, *(query(n, ident=i) for i, n in asked.items()))}
        assert got.keys() == asked.keys()
        for i, name in asked.items():
            if name.startswith("fifty"):
                assert sorted(got[i].addresses) == addrs
            elif name.startswith("host"):
                assert got[i].addresses == ["192.0.2.1"]
            else:
                assert got[i].rcode == "NXDOMAIN"
        # one at a time, in pieces
        data = query("fifty.weft.local", ident=7)
        for b in struct.pack("!H", len(data)) + data:
            s.sendall(bytes([b]))
        size = struct.unpack("!H", s.recv(2, socket.MSG_WAITALL))[0]
        assert Message(s.recv(size, socket.MSG_WAITALL)).ident == 7


@topology(timeout=90)
def test_N9_connections_have_a_limit_and_a_time_limit(h1):
    h1.start_daemon()
    h1.weft_ok("dns-add", "10.40.0.1", "-h", "one.weft.local")
    q, opened = query("one.weft.local"), []
    first = socket_in(h1, kind=socket.SOCK_STREAM, timeout=20)
    first.connect((DNS, 53))
    begun = time.monotonic()
    for _ in range(200):
        s = socket_in(h1, kind=socket.SOCK_STREAM, timeout=20)
        s.connect((DNS, 53))
        opened.append(s)
    works = 0
    for s in opened:
        try:
            works += tcp_exchange(s, q)[0].addresses == ["10.40.0.1"]
        except OSError:
            pass
    assert 8 <= works < 200, f"{works} of 200 connections were served"
    assert ask(h1, q, DNS).addresses == ["10.40.0.1"], "UDP goes on"
    assert first.recv(1) == b"", "an idle connection is closed"
    assert 1 < time.monotonic() - begun < 15 * SCALE
    for s in opened:
        assert s.recv(1) == b""
        s.close()
    wait_until(lambda: h1.dig("one.weft.local", "+tcp", server=DNS).data == ["10.40.0.1"], 3, "there is room again")


def test_N9_queries_that_come_while_the_daemon_is_held_up_are_answered_or_counted(h1):
    """A thousand wait in the socket: as many as a host's containers ask when all start at once. What is more is lost, and /metrics says so."""
    h1.start_daemon()
    h1.weft_ok("dns-add", "10.40.0.1", "-h", "one.weft.local")
    sent = 4000
    with socket_in(h1) as s:
        s.connect((DNS, 53))
        answered = metric(h1, "weft_dns_queries_total", rcode="NOERROR")
        h1.daemon.send_signal(signal.SIGSTOP)
        try:
            for i in range(sent):
                s.send(query("one.weft.local", ident=i))
        finally:
            h1.daemon.send_signal(signal.SIGCONT)
        lost = wait_until(lambda: metric(h1, "weft_dns_dropped_total", reason="unread"), 5, "what was lost is counted")
        wait_until(lambda: metric(h1, "weft_dns_queries_total", rcode="NOERROR") - answered == sent - lost, 5, "all others are answered")
    assert sent - lost >= 1000, f"{sent - lost} of {sent} queries were kept"
