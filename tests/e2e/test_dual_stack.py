"""Containers with an IPv6 address beside their IPv4 one (--ipalloc-range6).

     c1 c2 on h1      c3 on h2         fd00:32::/64 ~ 10.32.0.0/12: 10.32.0.5 is fd00:32::5
"""

import ipaddress
import json

from lib import DNS, bare, topology, wait_linked, wait_until

RANGE6 = "fd00:32::/64"


def with_it(v4, range6=RANGE6, base="10.32.0.0"):
    """The IPv6 address that goes with an IPv4 one."""
    offset = int(ipaddress.ip_address(v4)) - int(ipaddress.ip_address(base))
    return str(ipaddress.ip_network(range6)[offset])


def reaches6(c, addr, timeout=2):
    return c.exec("ping", "-6", "-n", "-q", "-c", 1, "-W", timeout, addr, check=False, timeout=timeout + 10).returncode == 0


def two(h1, h2, *args):
    h1.start_daemon("--ipalloc-range6", RANGE6, *args)
    h2.start_daemon("--ipalloc-range6", RANGE6, *args, peers=[h1])
    wait_linked(h1, h2)


@topology(timeout=60)
def test_I18_every_container_has_both(net, h1, h2, c1, c2, c3):
    two(h1, h2)
    assert "fd00:32::/64" in h1.weft_ok("status") and h1.weft_json("status", "ipam")["range6"] == RANGE6
    seen = set()
    for h, c in ((h1, c1), (h1, c2), (h2, c3)):
        v4, v6 = h.attach(c)
        assert v6 == with_it(v4), (v4, v6)
        assert c.addresses() == [f"{v4}/12"] and c.addresses(family=6) == [f"{v6}/108"]
        seen.add(v6)
        assert h.attach(c) == [v4, v6], "asking again is the same"
        row = next(r for r in h.weft_json("ps")["containers"] if r["id"] == c.ref)
        assert row["addresses"] == [f"{v4}/12", f"{v6}/108"], row
    assert len(seen) == 3
    routes = [r["dst"] for r in json.loads(c1.exec("ip", "-6", "-json", "route", "show", "dev", "ethwe").stdout)]
    assert "fd00:32::/108" in routes, routes
    ones = {c: c.ips(family=6)[0] for c in (c1, c2, c3)}
    wait_until(lambda: all(reaches6(a, ones[b]) for a in ones for b in ones if a is not b), 10, "all reach each other by IPv6")
    assert c1.exec("ping", "-6", "-n", "-q", "-c", 3, "-i", 0.1, "-s", 20000, ones[c3]).returncode == 0, "in fragments, too"
    # names: AAAA beside A, and back again
    h2.weft_ok("dns-add", c3, "-h", "three.weft.local")
    wait_until(lambda: c1.dig("three.weft.local", "AAAA", server=DNS).data == [ones[c3]], 2, "its AAAA record")
    assert c1.dig("three.weft.local", "A", server=DNS).data == c3.ips()
    assert [n.rstrip(".") for n in c1.dig(ones[c3], "-x", server=DNS).data] == ["three.weft.local"]
    for h in (h1, h2):
        p = h.weft("verify")
        assert p.returncode == 0, p
    # it ends in both families
    both = [*c3.ips(), ones[c3]]
    assert h2.detach(c3) == both and c3.addresses() == c3.addresses(family=6) == []
    wait_until(lambda: c1.dig("three.weft.local", "AAAA", server=DNS).data == [], 2, "its names go")


@topology(timeout=60)
def test_I18_neighbours_are_answered_and_forged_ones_are_not(net, h1, h2, c1, c2, c3):
    two(h1, h2)
    for h, c in ((h1, c1), (h1, c2), (h2, c3)):
        h.attach(c)
    six = {c: c.ips(family=6)[0] for c in (c1, c2, c3)}
    wait_until(lambda: reaches6(c1, six[c3]), 10, "the network stands")
    neighbours = h1.exec("ip", "-6", "neigh", "show", "dev", "weft").stdout
    assert six[c3] in neighbours and c3.mac() in neighbours, neighbours
    # c2 takes c1's address as well: what it says of it is dropped, and nobody else believes it
    c2.exec("ip", "-6", "addr", "add", f"{six[c1]}/108", "dev", "ethwe", "nodad")
    c2.exec("ping", "-6", "-n", "-q", "-c", 2, "-i", 0.2, "-W", 1, "-I", six[c1], six[c3], check=False)
    c3.exec("ip", "-6", "neigh", "flush", "dev", "ethwe")
    assert reaches6(c3, six[c1])
    known = c3.exec("ip", "-6", "neigh", "show", six[c1], "dev", "ethwe").stdout
    assert c1.mac() in known and c2.mac() not in known, known


@topology(timeout=60)
def test_I18_subnets_and_networks(net, h1, h2, c1, c2, c3):
    two(h1, h2)
    a = h1.attach(c1, "net:10.33.1.0/24", "ip:10.34.0.9/16")
    assert a == [a[0], "10.34.0.9", with_it(a[0]), with_it("10.34.0.9")], a
    assert set(c1.addresses(family=6)) == {f"{with_it(a[0])}/120", f"{with_it('10.34.0.9')}/112"}
    assert h1.attach(c1, "ip:192.0.2.1/24") == ["192.0.2.1"], "nothing goes with what is not of the range"
    assert h1.detach(c1, "net:10.33.1.0/24") == [a[0], with_it(a[0])]
    assert set(c1.addresses(family=6)) == {f"{with_it('10.34.0.9')}/112"}
    h1.weft_ok("network", "create", "blue", "--subnet", "10.40.0.0/16", "--subnet6", "fd00:32::/72")
    p = h1.weft("network", "create", "small", "--subnet", "10.41.0.0/16", "--subnet6", "fd00:32::/113")
    assert p.returncode == 1 and "/112" in p.stderr, p
    b = h1.attach(c2, "--network", "blue")
    assert b == [b[0], with_it(b[0], "fd00:32::/72")] and c2.addresses(family=6) == [f"{b[1]}/72"]
    wait_until(lambda: "blue" in h2.weft_ok("network", "ls"), 5, "h2 knows the network")
    three = h2.attach(c3, "--network", "blue")
    wait_until(lambda: reaches6(c2, three[1]), 10, "they reach each other there")
    assert not reaches6(c1, three[1], timeout=1)


@topology(timeout=60)
def test_I18_hosts_whose_prefixes_differ_are_told(net, h1, h2):
    h1.start_daemon("--ipalloc-range6", RANGE6)
    h2.start_daemon(peers=[h1])
    wait_linked(h1, h2)
    for h, other, own in ((h1, "none", RANGE6), (h2, RANGE6, "none")):
        wait_until(lambda h=h: "--ipalloc-range6" in h.weft_ok("status", "ipam"), 10, f"{h.name} says that they differ")
        said = h.weft_ok("status", "ipam")
        assert f"IPv6 addresses of {other}, this host of {own}" in said, said
        p = h.weft("verify")
        assert p.returncode != 0 and "--ipalloc-range6" in p.stdout + p.stderr, p
    h2.restart(args=("--ipalloc-range6", RANGE6))
    for h in (h1, h2):
        wait_until(lambda h=h: h.weft("verify").returncode == 0, 10, f"{h.name} finds nothing wrong any more")


@topology(timeout=60)
def test_I18_an_ipv6_address_can_be_asked_for(net, h1, c1, c2):
    h1.start_daemon("--ipalloc-range6", RANGE6)
    assert h1.attach(c1, "ip:fd00:32::1:105/108") == ["10.33.1.5", "fd00:32::1:105"], "it goes with an IPv4 address"
    assert c1.addresses() == ["10.33.1.5/12"] and c1.addresses(family=6) == ["fd00:32::1:105/108"]
    p = h1.weft("attach", "ip:fd00:32::1:105/108", c2)
    assert p.returncode == 1 and "10.33.1.5" in p.stderr, f"that is another's: {p}"
    assert h1.attach(c2, "ip:10.33.1.6/12", "ip:fd00:32::1:106/108", "2001:db8::6/64") == ["10.33.1.6", "2001:db8::6", "fd00:32::1:106"]
    assert h1.detach(c2, "2001:db8::6/64") == ["2001:db8::6"]
    assert h1.detach(c1, "ip:fd00:32::1:105/108") == ["10.33.1.5", "fd00:32::1:105"] and c1.addresses(family=6) == []
    for bad in ("fe80::1/64", "ff02::1/64", "net:fd00:32::/64"):
        assert h1.weft("attach", bad, c1).returncode == 1
    owned = [e["containerid"] for e in h1.api("GET", "/ip").json()["owned"]]
    assert owned == [str(c2)], owned


@topology(timeout=120)
def test_I18_D_a_docker_container_is_started_again(d1):
    d1.start_daemon("--ipalloc-range6", RANGE6)
    a, b = d1.run("aa"), d1.run("bb")
    one, two_ = d1.weft_ok("attach", "--rewrite-hosts", "aa").split(), d1.weft_ok("attach", "bb").split()
    assert one[1] == with_it(one[0]) and reaches6(b, one[1]) and reaches6(a, two_[1]), "also with dockerd's filters"
    d1.docker("restart", "-t", "1", "aa")
    wait_until(lambda: a.ips() == one[:1] and a.ips(family=6) == one[1:], 10, "it has the same addresses again")
    assert reaches6(b, one[1]) and b.ping(one[0])
    wait_until(lambda: one[0] in a.sh("cat /etc/hosts") and one[1] in a.sh("cat /etc/hosts"), 5, "and its names for them")
    d1.docker("rm", "-f", "aa")
    wait_until(lambda: len(d1.weft_json("ps")["containers"]) == 1, 10, "removed, it is gone at once")
    assert [e["addrs"] for e in d1.api("GET", "/ip").json()["owned"]] == [[f"{two_[0]}/12"]]


@topology(timeout=60)
def test_I18_the_daemon_comes_back(net, h1, c1, c2):
    h1.start_daemon()
    v4 = h1.attach(c1)
    assert c1.addresses(family=6) == []
    h1.kill()
    h1.start_daemon("--ipalloc-range6", RANGE6)
    assert h1.attach(c1) == [*v4, with_it(v4[0])], "it gets one when it is attached again"
    h1.kill()
    h1.start_daemon("--ipalloc-range6", RANGE6)
    row = h1.weft_json("ps")["containers"][0]
    assert [bare(a) for a in row["addresses"]] == [*v4, with_it(v4[0])]
    assert c1.ips(family=6) == [with_it(v4[0])]
    h1.attach(c2)
    assert reaches6(c2, with_it(v4[0]))
    assert h1.detach(c1) == [*v4, with_it(v4[0])] and c1.addresses(family=6) == []


def test_I18_what_is_no_prefix_for_it(h1):
    for args, word in ((("--ipalloc-range6", "fd00::/109"), "/108"), (("--ipalloc-range6", "10.0.0.0/8"), "IPv6"),
                       (("--ipalloc-range6", "fd00::1/64"), "prefix"), (("--ipalloc-range6", "ff02::/64"), "groups"),
                       (("--ipalloc-range6", RANGE6, "--ipalloc-range", ""), "address management is off"),
                       (("--ipalloc-range6", "fd00::/120", "--ipalloc-range", "10.0.0.0/16"), "/112"),
                       (("--ipalloc-range6", "fd00::/109", "--ipalloc-range", "auto"), "/108")):
        p = h1.run_daemon("--check-config", *args)
        assert p.returncode == 2 and word in p.stderr and len(p.stderr.splitlines()) == 1, (args, p)
    assert h1.run_daemon("--check-config", "--ipalloc-range6", RANGE6).returncode == 0
