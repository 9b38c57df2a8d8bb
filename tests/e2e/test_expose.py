"""The host as a member of its networks: expose and hide, what is translated, what of it comes back.

     c1 ─┐                                              ┌─ c2
         h1 (exposed) ═══════ underlay ═══════ h2 (daemon)
                         │
                         h3: a host outside, without a daemon
"""

import json
import socket
import threading

from lib import bare, in_netns, topology, wait_linked, wait_until

PORT = 7070


class Echo:
    """A TCP service that says whence it was called. Connections are answered one by one."""

    def __init__(self, place, port=PORT, family=socket.AF_INET):
        with in_netns(place.netns):
            self.socket = socket.socket(family, socket.SOCK_STREAM)
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self.socket.bind(("", port))
        self.socket.listen(8)
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self):
        while True:
            try:
                conn, addr = self.socket.accept()
            except OSError:
                return
            with conn:
                conn.sendall(addr[0].encode())

    def close(self):
        self.socket.close()


def call(place, addr, port=PORT, timeout=2):
    """What the service answers: the caller's address as it sees it; None when it cannot be reached."""
    with in_netns(place.netns):
        s = socket.socket(socket.AF_INET6 if ":" in addr else socket.AF_INET, socket.SOCK_STREAM)
    s.settimeout(timeout)
    try:
        s.connect((addr, port))
        return s.recv(64).decode()
    except OSError:
        return None
    finally:
        s.close()


def forwarding(host):
    host.exec("sysctl", "-qw", "net.ipv4.ip_forward=1", "net.ipv6.conf.all.forwarding=1")


def exposed(host):
    """Addresses on the bridge, but for the one for names."""
    return [a for a in host.addresses("weft") if not a.startswith("169.254.")]


@topology(timeout=60)
def test_C5_expose_gives_the_host_an_address_and_hide_takes_it(h1, h2, c1, c2):
    h1.start_daemon()
    h2.start_daemon(peers=[h1])
    wait_linked(h1, h2)
    a1, a2 = bare(h1.attach(c1)[0]), bare(h2.attach(c2)[0])
    assert not h1.ping(a1) and not h1.ping(a2), "a host has no way to containers before it is exposed"
    host = h1.weft_ok("expose").strip()
    assert exposed(h1) == [f"{host}/12"], exposed(h1)
    assert h1.weft_ok("expose").strip() == host and exposed(h1) == [f"{host}/12"], "twice is once"
    assert h1.ping(a1), "the host reaches its own container"
    wait_until(lambda: h1.ping(a2), 5, "the host reaches a container of the other host")
    assert c1.ping(host) and c2.ping(host), "containers reach the host"
    line = h1.weft_ok("ps").splitlines()[0].split()
    assert line[0] == "weft:expose" and line[1] == h1.mac("weft") and line[2:] == [f"{host}/12"], line
    assert len(h1.weft_ok("ps").splitlines()) == 2, h1.weft_ok("ps")
    assert h1.weft_ok("hide").strip() == host
    assert h1.weft_ok("hide").strip() == "", "nothing is left to hide"
    assert exposed(h1) == []
    assert not h1.ping(a1) and not h1.ping(a2) and not c1.ping(host)
    assert h1.weft_ok("ps").splitlines()[0].split()[2:] == []
    assert c1.ping(a2), "containers are as they were"


@topology(timeout=60)
def test_C5_addresses_names_and_subnets(h1, h2, c1, c2):
    h1.start_daemon()
    h2.start_daemon(peers=[h1])
    wait_linked(h1, h2)
    inside, other = "10.2.2.1/24", "10.2.3.1/24"
    h1.attach(c1, inside)
    h2.attach(c2, other)
    assert h1.weft_ok("expose", "10.2.2.101/24", "-h", "gate.weft.local").strip() == "10.2.2.101"
    assert h1.ping("10.2.2.1") and not h1.ping("10.2.3.1", timeout=0.5), "only that subnet"
    for h in (h1, h2):
        wait_until(lambda h=h: h.weft("dns-lookup", "gate.weft.local").stdout.split() == ["10.2.2.101"], 5, "the name is known")
    assert h1.weft_ok("expose", "ip:10.2.3.101/24").strip() == "10.2.3.101"
    wait_until(lambda: h1.ping("10.2.3.1"), 5, "the second subnet is reached")
    got = json.loads(h1.weft_ok("-o", "json", "expose", "net:default"))
    assert got["addresses"][0].endswith("/12") and len(exposed(h1)) == 3
    assert not c1.ping("10.2.3.1", timeout=0.5), "subnets stay apart"
    assert "10.2.2.101/24\n" in h1.api("GET", "/expose").text
    assert h1.weft_ok("hide", "10.2.2.101/24").strip() == "10.2.2.101"
    wait_until(lambda: h2.weft("dns-lookup", "gate.weft.local").stdout == "", 5, "the name went with its address")
    assert not h1.ping("10.2.2.1", timeout=0.5) and h1.ping("10.2.3.1")
    assert "10.2.3.101/24 " in h1.weft_ok("ps").splitlines()[0] + " "
    taken = h2.weft("expose", got["addresses"][0])
    assert taken.returncode == 1 and "h1" in taken.stderr, taken.stderr
    for wrong in (("10.1.2.3",), ("net:10.2.3.2/31",), ("--bogus",), ("-h", "gate.example.org"), ("--network", "nosuch")):
        p = h1.weft("expose", *wrong)
        assert p.returncode in (1, 2, 4) and p.stderr.count("\n") == 1 and p.stdout == "", (wrong, p)


@topology(timeout=60)
def test_C5_what_crosses_the_host_is_masqueraded_unless_told_not_to(h1, h2, h3, c1, c2):
    forwarding(h1)
    h1.start_daemon()
    h2.start_daemon(peers=[h1])
    wait_linked(h1, h2)
    a1, a2 = bare(h1.attach(c1)[0]), bare(h2.attach(c2)[0])
    host = h1.weft_ok("expose").strip()
    for c in (c1, c2):
        c.exec("ip", "route", "add", "default", "via", host)
    services = [Echo(p) for p in (h3, c1, c2)]
    h3.exec("ip", "route", "add", "10.32.0.0/12", "via", h1.ip)
    for c in (c1, c2):
        wait_until(lambda c=c: call(c, h3.ip) == h1.ip, 5, "what leaves has the host's address")
    for a in (a1, a2):
        assert call(h3, a) == host, "what comes in has the host's address"
        assert call(h1, a) == host
    assert h1.weft_ok("expose", "--without-masquerade").strip() == host
    for a in (a1, a2):
        assert call(h3, a) == h3.ip, "now it is left as it was"
    for c, a in ((c1, a1), (c2, a2)):
        assert call(c, h3.ip) == a
    h1.weft_ok("expose")
    assert call(h3, a2) == host, "the last word holds"
    for s in services:
        s.close()
