"""Attaching and listing containers.

     c1 (a namespace by name, by path)   p (a process: pid:N)   c2        all on h1, the last one watches
"""

import json
import re

from lib import DNS, Capture, bare, command, topology, wait_linked, wait_until


def routes(c):
    return {r["dst"]: r for r in json.loads(c.exec("ip", "-json", "route", "show", "dev", "ethwe").stdout)}


def interface_is_complete(c, addrs):
    assert c.addresses() == [f"{a}/12" for a in addrs], c.addresses()
    link = json.loads(c.exec("ip", "-json", "link", "show", "ethwe").stdout)[0]
    assert "UP" in link["flags"] and link["mtu"] == 1406, link
    r = routes(c)
    assert "10.32.0.0/12" in r and r["10.32.0.0/12"]["prefsrc"] == addrs[0], r
    assert "224.0.0.0/4" in r and DNS in r, r
    assert c.dig("weft.local", "SOA", server=DNS).status == "NOERROR", "the container reaches the resolver"


def test_C1_by_name_path_and_pid(net, h1, c4):
    h1.start_daemon()
    watcher = bare(h1.attach(c4)[0])
    for n, ref in enumerate(["NAME", "netns:PATH", "PATH", "pid:N"]):
        c = net.process_container(n + 10, f"c{n}") if ref == "pid:N" else net.container(n + 10)
        call = {"NAME": c.netns, "netns:PATH": f"netns:/run/netns/{c.netns}", "PATH": f"/run/netns/{c.netns}", "pid:N": c.ref}[ref]
        p = h1.weft("attach", call)
        assert p.returncode == 0 and p.stderr == "" and re.fullmatch(r"10\.32\.0\.\d+\n", p.stdout), (ref, p)
        addrs = p.stdout.split()
        interface_is_complete(c, addrs)
        assert c.ping(watcher)
        mac, index = c.mac(), c.exec("cat", "/sys/class/net/ethwe/ifindex").stdout
        assert h1.weft_ok("attach", call).split() == addrs, "attaching again prints the same"
        assert (c.mac(), c.exec("cat", "/sys/class/net/ethwe/ifindex").stdout) == (mac, index), "and changes nothing"
        interface_is_complete(c, addrs)
        p = h1.weft("detach", call)
        assert p.returncode == 0 and p.stdout.split() == addrs, (ref, p)
        assert c.addresses() == [] and c.exec("ip", "link", "show", "ethwe", check=False).returncode != 0
        p = h1.weft("detach", call)
        assert p.returncode == 4 and p.stdout == "" and len(p.stderr.splitlines()) == 1, f"detached twice: {p}"
        assert call not in h1.weft_ok("ps")
        owned = [e["containerid"] for e in h1.api("GET", "/ip").json()["owned"]]
        assert owned == [str(c4)], owned
        assert h1.weft_ok("attach", call).split() == addrs, "its address was free again"
        h1.detach(call)


def test_C1_several_addresses_come_and_go(h1, c1, c2):
    h1.start_daemon("--ipalloc-range", "10.2.0.0/16", "--ipalloc-default-subnet", "10.2.1.0/24")
    a = h1.attach(c1, "net:default", "ip:10.2.2.7/24", "net:10.2.3.0/24")
    assert a == ["10.2.1.1", "10.2.2.7", "10.2.3.1"] == sorted(c1.ips())
    assert {"10.2.1.0/24", "10.2.2.0/24", "10.2.3.0/24"} <= set(routes(c1))
    assert h1.attach(c1, "ip:10.2.4.4/24") == ["10.2.4.4"] and len(c1.addresses()) == 4
    assert h1.detach(c1, "net:10.2.3.0/24") == ["10.2.3.1"]
    assert h1.detach(c1, "ip:10.2.2.7/24", "ip:10.2.4.4/24") == ["10.2.2.7", "10.2.4.4"]
    assert c1.addresses() == ["10.2.1.1/24"] and "10.2.2.0/24" not in routes(c1)
    assert h1.weft("detach", "ip:10.2.2.7/24", c1).returncode == 4
    assert h1.attach(c2, "ip:10.2.2.7/24") == ["10.2.2.7"], "a freed address can be claimed by another"
    assert h1.detach(c1) == ["10.2.1.1"]


def test_C1_a_gratuitous_arp_is_sent(h1, h2, c1, c2, c3):
    h1.start_daemon()
    h2.start_daemon(peers=[h1])
    wait_linked(h1, h2)
    h1.attach(c2)
    h2.attach(c3)
    wait_until(lambda: c2.ping(c3.ips()[0]), 5, "the network stands")
    with Capture(c2, "ethwe") as here:
        addr = bare(h1.attach(c1)[0])

        def announced(seen):
            """ARP frames to all, in which an address speaks of itself."""
            raw = bytes(map(int, addr.split(".")))
            return [f for _, f in list(seen.frames) if f[:6] == b"\xff" * 6 and f[12:14] == b"\x08\x06" and f[28:32] == raw == f[38:42]]

        wait_until(lambda: announced(here), 3, "a gratuitous ARP on the same host")
        assert announced(here)[0][6:12].hex(":") == c1.mac()
    old = c1.mac()
    h1.detach(c1)
    assert h1.attach(c1, "--mac", "02:aa:bb:cc:dd:ee", f"ip:{addr}/12") == [addr]
    assert c1.mac() == "02:aa:bb:cc:dd:ee" != old
    wait_until(lambda: c2.ping(addr) and c3.ping(addr), 3, "an address with a new MAC is reached at once")


def test_C1_options_of_attach(net, h1):
    h1.start_daemon()
    p1, p2 = net.process_container(1, "alpha.weft.local"), net.process_container(2, "beta.weft.local")
    h1.attach(p1, "--no-multicast-route")
    assert "224.0.0.0/4" not in routes(p1)
    h1.attach(p2, "--without-dns")
    assert h1.weft_ok("dns-lookup", "alpha") == p1.ips()[0]
    assert h1.weft("dns-lookup", "beta").stdout == ""


def test_C1_fields_of_the_api(net, h1, c1, c2):
    """What plugins ask for: an id of their own, the interface's name, routes, a port that gives back."""
    h1.start_daemon()
    body = {"container": c1.ref, "id": "cni:77/net5", "ifname": "net5", "addresses": ["10.32.4.1/12"], "mac": "02:00:5e:00:00:05",
            "routes": [{"dst": "0.0.0.0/0", "gw": "10.32.0.9"}, {"dst": "198.51.100.0/24"}], "hairpin": True, "multicast_route": False}
    r = h1.api("POST", "/attach", doc=body, headers={"Accept": "application/json"})
    assert r.status == 200, r
    doc = r.json()
    port = doc.pop("host_ifname")
    assert doc == {"schema": 1, "addresses": ["10.32.4.1/12"], "mac": body["mac"], "ifname": "net5", "mtu": 1406}
    assert port.startswith("vethwe") and "hairpin on" in h1.exec("bridge", "-d", "link", "show", "dev", port).stdout
    r = {r["dst"]: r for r in json.loads(c1.exec("ip", "-json", "route", "show", "dev", "net5").stdout)}
    assert r["default"]["gateway"] == "10.32.0.9" and "198.51.100.0/24" in r and "224.0.0.0/4" not in r
    assert c1.mac("net5") == body["mac"] and c1.addresses("net5") == ["10.32.4.1/12"]
    assert h1.api("POST", "/attach", doc={**body, "ifname": "net6"}).status == 409
    h1.attach(c1)
    h1.attach(c2)
    assert c1.ips() and c2.ping("10.32.4.1"), "both interfaces live beside each other"
    for bad in ({"ifname": "a/b"}, {"ifname": 7}, {"id": ""}, {"id": "x" * 129}, {"routes": [{"dst": "x"}]}, {"routes": {}},
                {"routes": [{"dst": "10.0.0.0/8", "gw": "fd00::1"}]}, {"routes": [{"gw": "10.0.0.1"}]}, {"hairpin": "yes"},
                {"routes": [{"dst": "10.0.0.0/8", "via": "10.32.0.1"}]}, {"routes": [{"dst": "10.0.0.0/8"}] * 33}):
        r = h1.api("POST", "/attach", doc={"container": c2.ref, "id": "other", **bad})
        assert r.status in (400, 409) and "error" in r.json(), (bad, r)
    r = h1.api("POST", "/attach", doc={**body, "container": c2.ref, "id": "cni:78/net5", "addresses": ["net:default"], "mac": "02:00:5e:00:00:06",
                                        "routes": [{"dst": "0.0.0.0/0", "gw": "203.0.113.1"}]})
    assert r.status >= 400 and c2.addresses("net5") == [], f"a gateway that nobody reaches: {r}"
    assert "cni:78/net5" not in h1.weft_ok("ps") and "cni:78" not in str(h1.api("GET", "/ip").json()), "nothing of it is left"
    assert h1.api("POST", "/detach", doc={"id": "cni:77/net5", "addresses": ["10.32.4.1/12"]}).status == 400
    r = h1.api("POST", "/detach", doc={"id": "cni:77/net5"})
    assert r.status == 200 and r.text == "10.32.4.1\n", r
    assert h1.api("POST", "/detach", doc={"id": "cni:77/net5"}).status == 404
    assert c1.addresses("net5") == [] and c1.ips()


@topology(timeout=120)
def test_C1_D_containers_of_docker_by_name_and_id(d1):
    d1.start_daemon()
    a, b = d1.run("aa", "--net", "none"), d1.run("bb")
    full = a.id
    addr = d1.weft_ok("attach", "aa").split()
    assert a.ips() == addr and len(addr) == 1
    for name in ("aa", full, full[:12], full[:5]):
        assert d1.weft_ok("attach", name).split() == addr, f"attaching it as {name} is the same"
    assert d1.weft_json("ps")["containers"][0]["id"] == full
    assert [line.split()[0] for line in d1.weft_ok("ps").splitlines()] == ["weft:expose", full[:12]]
    assert d1.weft_ok("ps", full[:12]) == d1.weft_ok("ps", "aa") != ""
    d1.attach(b)
    assert b.ips() != addr and a.ping(b.ips()[0]) and b.ping(addr[0])
    d1.docker("stop", "-t", "1", "bb")
    p = d1.weft("attach", "bb")
    assert p.returncode == 1 and "does not run" in p.stderr, p
    p = d1.weft("attach", "nobody")
    assert p.returncode == 4 and "nobody" in p.stderr and len(p.stderr.splitlines()) == 1, p
    d1.run("hosty", "--net", "host")
    p = d1.weft("attach", "hosty")
    assert p.returncode == 1 and "host network namespace" in p.stderr, p
    d1.exec("ip", "netns", "add", "plain")
    d1.weft_ok("attach", "plain")
    assert d1.weft_ok("detach", full[:12]).split() == addr and a.ips() == []
    assert d1.weft("detach", "aa").returncode == 4
    d1.dockerd_kill()
    d1.weft_ok("detach", "plain")
    p = d1.weft("attach", "aa")
    assert p.returncode == 4 and len(p.stderr.splitlines()) == 1, f"Docker is not there: {p}"


def test_C1_what_is_no_container_is_refused(h1, c1):
    h1.start_daemon()
    for what, code in (("no-such-container", 4), ("pid:4194303", 4), ("pid:999999999", 1), ("netns:/no/such/file", 4),
                       ("netns:/etc/passwd", None), ("pid:x", None), ("pid:1", None), (f"netns:/run/netns/{h1.netns}", 1)):
        p = h1.weft("attach", what)
        assert p.returncode == (code or p.returncode) != 0 and p.stdout == "" and len(p.stderr.splitlines()) == 1, (what, p)
        assert what.split(":", 1)[-1] in p.stderr, (what, p.stderr)
    assert h1.api("GET", "/ip").json()["owned"] == [], "an address stayed with what was refused"
    assert h1.weft("attach").returncode == 2 and h1.weft("attach", "--mac", "xx", c1).returncode in (1, 2)
    c1.exec("ip", "link", "add", "ethwe", "type", "veth", "peer", "name", "other")
    p = h1.weft("attach", c1)
    assert p.returncode == 1 and "ethwe" in p.stderr, f"another's interface of that name: {p}"
    assert h1.api("GET", "/ip").json()["owned"] == []


def test_C1_a_container_that_vanished_can_be_detached(net, h1, c1):
    h1.start_daemon()
    addr = h1.attach(c1)
    h1.weft_ok("dns-add", c1, "-h", "gone.weft.local")
    command("ip", "netns", "del", c1.netns)
    assert h1.detach(c1) == addr
    assert h1.weft("dns-lookup", "gone").stdout == "" and h1.api("GET", "/ip").json()["owned"] == []


# C7 and N14


def says(c, group):
    """Whether a datagram to the group can be sent at all."""
    return c.exec("python3", "-c", f"import socket; socket.socket(socket.AF_INET, socket.SOCK_DGRAM).sendto(b'x', ('{group}', 5000))",
                  check=False).returncode == 0


@topology(timeout=60)
def test_C7_multicast_has_a_route_unless_told_not_to(net, h1, h2, c1, c2, c3, c4):
    h1.start_daemon()
    h2.start_daemon("--no-multicast-route", peers=[h1])
    wait_linked(h1, h2)
    h1.attach(c1)
    h1.attach(c2, "--no-multicast-route")
    h2.attach(c3)
    h2.attach(c4)
    assert "224.0.0.0/4" in routes(c1) and not any("224.0.0.0/4" in routes(c) for c in (c2, c3, c4))
    assert says(c1, "239.1.1.1") and not says(c2, "239.1.1.1") and not says(c3, "239.1.1.1")
    h1.attach(c2)
    assert "224.0.0.0/4" in routes(c2), "attached again without the option it gets one"
    # and what is sent to a group arrives on the other host
    script = ("import socket, struct, sys\n"
              "s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); s.bind(('', 5000)); s.settimeout(20)\n"
              "s.setsockopt(socket.IPPROTO_IP, socket.IP_ADD_MEMBERSHIP, socket.inet_aton('239.1.1.1') + socket.inet_aton(sys.argv[1]))\n"
              "print('heard', s.recv(10).decode())")
    log = f"{net.dir}/heard"
    listener = c3.spawn("python3", "-c", script, c3.ips()[0], log=log)

    def heard():
        says(c1, "239.1.1.1")
        return listener.poll() is not None

    wait_until(heard, 15, "a member on the other host hears it")
    with open(log) as f:
        assert f.read() == "heard x\n"


@topology(timeout=60)
def test_N14_no_dns_and_without_dns(net, h1, h2, c1, c2):
    h1.start_daemon("--no-dns")
    h2.start_daemon(peers=[h1])
    wait_linked(h1, h2)
    # a host without names: no way to the resolver, no names published, the verbs say so; addresses are as ever
    p = net.process_container(3, "three.weft.local")
    h1.attach(c1)
    h1.attach(p)
    assert DNS not in routes(c1) and DNS not in routes(p)
    assert c1.dig("weft.local", "SOA", server=DNS, timeout=1).status is None
    assert h1.weft_ok("dns-args") == "", "nothing to be told to docker run"
    for args in (("dns-lookup", "three"), ("dns-add", c1, "-h", "one.weft.local"), ("status", "dns")):
        r = h1.weft(*args)
        assert r.returncode in (1, 4) and r.stdout == "" and "--no-dns" in r.stderr, (args, r)
    assert "Service: dns" not in h1.weft_ok("status")
    # a container without its name, beside one with it
    q, r = net.process_container(4, "four.weft.local"), net.process_container(5, "five.weft.local")
    h2.attach(q, "--without-dns")
    h2.attach(r)
    assert DNS in routes(q), "it can ask all the same"
    assert q.dig("five.weft.local", "A", server=DNS).data == r.ips()
    assert h2.weft_ok("dns-lookup", "five").split() == r.ips() and h2.weft("dns-lookup", "four").stdout == ""
    assert h2.weft("dns-lookup", "three").stdout == "", "of the host without names"
    assert q.ping(c1.ips()[0])
    h2.weft_ok("dns-add", q, "-h", "by-hand.weft.local")
    assert r.dig("by-hand.weft.local", "A", server=DNS).data == q.ips(), "a name given by hand is another matter"


# C8


@topology(timeout=60)
def test_C8_ps_lists_id_mac_and_addresses(net, h1, h2, c1, c2, c3):
    h1.start_daemon()
    h2.start_daemon(peers=[h1])
    wait_linked(h1, h2)
    p = net.process_container(9, "nine")
    held = {c: h1.attach(c, *a) for c, a in ((c1, ()), (c2, ("net:default", "net:10.33.1.0/24")), (p, ()))}
    h2.attach(c3)
    rows = {line.split()[0]: line.split()[1:] for line in h1.weft_ok("ps").splitlines()}
    for c, addrs in held.items():
        assert rows[c.ref] == [c.mac(), *c.addresses()] and c.ips() == addrs, rows
    assert c3.ref not in rows, "another host's container"
    host = [r for i, r in rows.items() if i not in [c.ref for c in held]]
    bridge = json.loads(h1.exec("ip", "-json", "link", "show", "weft").stdout)[0]["address"]
    assert len(host) == 1 and host[0][0] == bridge, f"the host's own line: {rows}"
    one = h1.weft_ok("ps", c2).splitlines()
    assert [line.split() for line in one] == [[c2.ref, c2.mac(), *c2.addresses()]]
    assert h1.weft("ps", c3).returncode == 4
    doc = h1.weft_json("ps")
    assert doc["schema"] == 1 and all(c.ref in json.dumps(doc) and c.mac() in json.dumps(doc) for c in held)
    h1.detach(c1)
    assert c1.ref not in h1.weft_ok("ps")
    # the host itself, when it is exposed
    exposed = h1.weft_ok("expose", "net:default", "ip:10.34.7.7/24").split()
    text = h1.weft_ok("ps")
    row = next(line.split() for line in text.splitlines() if line.startswith("weft:expose "))
    assert row[1] == bridge and [a.split("/")[0] for a in row[2:]] == exposed, text
    assert len([line for line in text.splitlines() if line.split()[1] == bridge]) == 1, f"one line for the host: {text}"
    h1.weft_ok("hide", "net:default", "ip:10.34.7.7/24")
    assert "weft:expose " + bridge == h1.weft_ok("ps").splitlines()[0]
