"""The host as a member of its networks: expose and hide, what is translated, what of it comes back.

     c1 ─┐                                              ┌─ c2
         h1 (exposed) ═══════ underlay ═══════ h2 (daemon)
                         │
                         h3: a host outside, without a daemon
"""

import concurrent.futures
import json
import re
import socket
import threading

from lib import bare, build_dir, connections, in_netns, topology, wait_linked, wait_until

PORT = 7070
REMEDY = re.compile(r"let them pass: (.*)")


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


def as_it_is(host):
    """Addresses, routes and rules."""
    return [host.exec(*what.split()).stdout for what in ("ip -br addr show weft", "ip route", "ip -6 route", "nft list chain inet weft nat_out")]


@topology(timeout=60)
def test_C5_expose_gives_the_host_an_address_and_hide_takes_it(h1, h2, c1, c2):
    h1.start_daemon()
    h2.start_daemon(peers=[h1])
    wait_linked(h1, h2)
    a1, a2 = bare(h1.attach(c1)[0]), bare(h2.attach(c2)[0])
    assert not h1.ping(a1) and not h1.ping(a2), "a host has no way to containers before it is exposed"
    before = as_it_is(h1)
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
    assert as_it_is(h1) == before, "hide undoes exactly what expose did"
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
    # Weave Net's form of it
    r = h1.api("POST", "/expose/10.2.4.1/24?skipNAT=true")
    assert r.status == 200 and r.text.strip() == "10.2.4.1" and "10.2.4.1/24" in exposed(h1)
    assert "10.2.4.1/24 without-masquerade" in h1.api("GET", "/expose").text
    assert h1.api("DELETE", "/expose/10.2.4.1/24").status == 200 and "10.2.4.1/24" not in exposed(h1)
    before = exposed(h1)
    for path in ("/expose/300.1.1.1/24", "/expose/10.2.4.1/33", "/expose?address=x", "/expose?network=" + "n" * 100,
                 "/expose?fqdn=" + "n" * 300, "/expose?" + "&".join(f"address=10.9.0.{i}/16" for i in range(40)), "/expose?address=fe80::%2F"):
        r = h1.api("POST", path)
        assert 400 <= r.status < 500 and r.json()["error"], (path, r.status, r.body)
    assert exposed(h1) == before, "what is refused leaves nothing"
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


@topology(timeout=60)
def test_C5_both_families(h1, h2, h3, c1, c2):
    forwarding(h1)
    h1.start_daemon("--ipalloc-range6", "fd44::/64")
    h2.start_daemon("--ipalloc-range6", "fd44::/64", peers=[h1])
    wait_linked(h1, h2)
    h1.attach(c1)
    h2.attach(c2)
    host, host6 = h1.weft_ok("expose").split()
    assert [a.split("/")[0] for a in h1.addresses("weft", 6)] == [host6] and host6.startswith("fd44::"), host6
    six = [c.ips(family=6)[0] for c in (c1, c2)]
    for a in six:
        wait_until(lambda a=a: h1.ping(a), 5, "the host reaches containers over IPv6")
    assert c1.ping(host6) and c2.ping(host6)
    services = [Echo(p, family=socket.AF_INET6) for p in (c2, h3)]
    h3.exec("ip", "-6", "route", "add", "fd44::/64", "via", h1.ip6)
    c2.exec("ip", "-6", "route", "add", "default", "via", host6)
    assert call(h3, six[1]) == host6, "what comes in has the host's address"
    assert call(c2, h3.ip6) == h1.ip6, "what leaves has the host's address"
    assert h1.weft_ok("expose", "ip:fd77::1/64", "--without-masquerade").split() == ["fd77::1"]
    assert h1.weft_ok("hide").split() == [host, host6]
    assert h1.addresses("weft", 6) == ["fd77::1/64"]
    assert h1.weft_ok("hide", "fd77::1").split() == ["fd77::1"]
    assert exposed(h1) == [] and h1.addresses("weft", 6) == []
    for s in services:
        s.close()


@topology(timeout=60)
def test_C5_both_families_where_the_host_has_ipv6_switched_off(h1, c1):
    h1.exec("sysctl", "-qw", "net.ipv6.conf.all.disable_ipv6=1", "net.ipv6.conf.default.disable_ipv6=1")
    h1.start_daemon("--ipalloc-range6", "fd44::/64")
    addr, addr6 = h1.attach(c1)
    host, host6 = h1.weft_ok("expose").split()
    assert h1.addresses("weft", 6) == [f"{host6}/108"], "and none of the kernel's making"
    assert h1.ping(addr) and h1.ping(addr6) and c1.ping(host) and c1.ping(host6)
    assert h1.weft_ok("hide").split() == [host, host6]


@topology(timeout=60)
def test_C5_each_network_has_its_own(h1, h2, c1, c2):
    h1.start_daemon()
    h2.start_daemon(peers=[h1])
    wait_linked(h1, h2)
    h1.weft_ok("network", "create", "red", "--subnet", "10.41.0.0/24")
    wait_until(lambda: "red" in h2.weft_ok("network", "ls"), 5, "both know the network")
    h1.attach(c1)
    a2 = bare(h2.attach(c2, "--network", "red")[0])
    red = h1.weft_ok("expose", "--network", "red", "-h", "red.weft.local").strip()
    assert red.startswith("10.41.0.")
    plain = h1.weft_ok("expose").strip()
    h1.weft_ok("network", "create", "blue")
    p = h1.weft("expose", "--network", "blue")
    assert p.returncode == 1 and "10.32.0.0/12" in p.stderr, "two networks of one subnet cannot be told apart by the host"
    wait_until(lambda: h1.ping(a2), 5, "the host reaches the container of that network")
    assert c2.ping(red) and c1.ping(plain)
    assert f"weft:expose@red {h1.mac('weft')} {red}/24 network=red" in h1.weft_ok("ps"), h1.weft_ok("ps")
    assert h1.weft("network", "rm", "red").returncode == 1, "the host is in it"
    h1.kill()
    h1.restart()
    wait_linked(h1, h2)
    wait_until(lambda: c2.ping(red), 5, "it is there after a restart")
    assert h1.weft_ok("hide", "--network", "red").strip() == red
    assert not c2.ping(red, timeout=0.5) and c1.ping(plain)


@topology(timeout=90)
def test_L8_what_is_exposed_is_back_after_a_kill_and_gone_after_a_reset(h1, h2, h3, c1, c2):
    forwarding(h1)
    h1.start_daemon()
    h2.start_daemon(peers=[h1])
    wait_linked(h1, h2)
    a1, a2 = bare(h1.attach(c1)[0]), bare(h2.attach(c2)[0])
    host = h1.weft_ok("expose", "-h", "gate.weft.local").strip()
    bare_host = h1.weft_ok("expose", "10.2.2.101/24", "--without-masquerade").strip()
    h3.exec("ip", "route", "add", "10.32.0.0/12", "via", h1.ip)
    service = Echo(c2)
    wait_until(lambda: call(h3, a2) == host, 5, "the outside reaches a container through the host")
    before = h1.api("GET", "/expose", headers={"Accept": "application/json"}).json()["exposed"]
    for end in ("kill", "stop"):
        getattr(h1, end)()
        assert h1.ping(a1) and h1.ping(a2), "what the kernel holds goes on"
        h1.restart()
        wait_linked(h1, h2)
        assert sorted(exposed(h1)) == sorted([f"{host}/12", f"{bare_host}/24"])
        after = h1.api("GET", "/expose", headers={"Accept": "application/json"}).json()["exposed"]
        assert sorted(after, key=str) == sorted(before, key=str), after
        wait_until(lambda: call(h3, a2) == host, 5, "the outside reaches a container through the host")
        wait_until(lambda: h2.weft("dns-lookup", "gate.weft.local").stdout.split() == [host], 5, "the name is there")
        wait_until(lambda: c2.ping(host), 5, "the other host's container reaches the host")
    assert bare(h2.attach(c2)[0]) == a2
    h1.exec("ip", "addr", "del", f"{host}/12", "dev", "weft")
    wait_until(lambda: f"{host}/12" in exposed(h1), 2, "an address that somebody took is put back")
    h1.kill()
    h1.forget_state()
    h1.restart()
    wait_linked(h1, h2)
    assert f"{host}/12" in h1.weft_ok("ps"), "a host without its disk finds on its bridge what it had"
    wait_until(lambda: c2.ping(host), 10, "and is reached")
    h1.exec("ip", "link", "del", "weft")
    wait_until(lambda: sorted(exposed(h1)) == sorted([f"{host}/12", f"{bare_host}/24"]), 10, "a bridge that was removed is made with its addresses")
    h1.weft_ok("reset", "--force")
    assert "weft" not in h1.exec("nft", "list", "tables").stdout and h1.addresses("weft") == []
    service.close()


@topology(timeout=60)
def test_C5_rules_are_back_within_a_second(h1, h3, c1):
    forwarding(h1)
    h1.start_daemon()
    a1 = bare(h1.attach(c1)[0])
    host = h1.weft_ok("expose").strip()
    h3.exec("ip", "route", "add", "10.32.0.0/12", "via", h1.ip)
    service = Echo(c1)
    wait_until(lambda: call(h3, a1) == host, 5, "masqueraded")
    rules = h1.exec("nft", "list", "chain", "inet", "weft", "nat_out").stdout
    assert rules.count("masquerade") == 3
    for wipe in (("flush", "ruleset"), ("delete", "table", "inet", "weft"), ("flush", "chain", "inet", "weft", "nat_out")):
        h1.exec("nft", *wipe)
        wait_until(lambda: h1.exec("nft", "list", "chain", "inet", "weft", "nat_out", check=False).stdout == rules, 1, f"rules are back after {wipe}")
        assert call(h3, a1) == host
    service.close()


@topology(timeout=60)
def test_S7_api_and_control_port_from_containers_of_an_exposed_host(h1, h3, c1):
    h1.start_daemon("--http-addr", "0.0.0.0:8091")
    h1.exec("ip", "link", "add", "docker0", "type", "bridge")
    h1.exec("ip", "addr", "add", "172.17.0.1/16", "dev", "docker0")
    h1.exec("ip", "link", "add", "vethd", "type", "veth", "peer", "name", "eth9", "netns", c1.netns)
    h1.exec("ip", "link", "set", "vethd", "master", "docker0", "up")
    h1.exec("ip", "link", "set", "docker0", "up")
    c1.exec("ip", "addr", "add", "172.17.0.2/16", "dev", "eth9")
    c1.exec("ip", "link", "set", "eth9", "up")
    h1.attach(c1)
    host = h1.weft_ok("expose").strip()
    service = Echo(h1)
    for addr in (host, "172.17.0.1", "169.254.67.83"):
        wait_until(lambda addr=addr: call(c1, addr) is not None, 5, f"{addr} is reached")
        for port in (6783, 8091):
            with in_netns(c1.netns):
                s = socket.socket()
            s.settimeout(0.4)
            assert s.connect_ex((addr, port)) != 0, f"a container reaches port {port} at {addr}"
            s.close()
    assert h3.exec("bash", "-c", f"exec 3<>/dev/tcp/{h1.ip}/8091", check=False).returncode == 0, "others do"
    service.close()


@topology(timeout=120)
def test_C5_an_exposed_host_is_reached_on_every_path(net, h1, h2, c2):
    def path():
        return connections(h2)[0].path

    h1.start_daemon()
    h2.start_daemon(peers=[h1])
    wait_linked(h1, h2)
    a2, host = bare(h2.attach(c2)[0]), h1.weft_ok("expose").strip()
    wait_until(lambda: path() == "fast" and c2.ping(host) and h1.ping(a2), 5, "on the fast path")
    h1.kill()
    assert c2.ping_many(host, 20) == 20, "what the kernel holds goes on"
    h1.restart()
    assert c2.ping_many(host, 50) == 50, "and is not disturbed by a new daemon"
    wait_linked(h1, h2)
    cut = net.drop_udp_port(h1, 6784)
    wait_until(lambda: path() == "userspace" and c2.ping(host) and h1.ping(a2), 10, "on the userspace path")
    net.allow(cut)
    wait_until(lambda: path() == "fast", 70, "back on the fast path")
    assert c2.ping_many(host, 20) == 20 and h1.ping_many(a2, 20) == 20
    for args in (("--no-fastdp",), ("--password", "a long enough one")):
        for h in (h2, h1):
            h.stop()
        h1.start_daemon(*args)
        h2.start_daemon(*args, peers=[h1])
        wait_linked(h1, h2)
        wait_until(lambda: path() == "userspace" and c2.ping(host) and h1.ping(a2), 10, f"with {args[0]}")


@topology(timeout=60)
def test_C5_without_address_management_and_while_it_waits(h1, h2, c1):
    h1.start_daemon("--ipalloc-range", "")
    p = h1.weft("expose")
    assert p.returncode == 1 and "--ipalloc-range" in p.stderr and p.stdout == "", p
    assert h1.weft_ok("expose", "10.3.0.1/24").strip() == "10.3.0.1" and exposed(h1) == ["10.3.0.1/24"]
    h1.attach(c1, "10.3.0.2/24")
    assert h1.ping("10.3.0.2") and h1.weft_ok("hide", "10.3.0.1").strip() == "10.3.0.1" and exposed(h1) == []
    # two hosts that never agree: what waits is given up with its asker, and hiding does not wait
    h2.start_daemon("--ipalloc-init", "consensus=3")
    waiting = h2.spawn(f"{build_dir()}/weft", "--socket", h2.socket, "expose")
    wait_until(lambda: "consensus" in h2.weft_ok("status", "ipam") or waiting.poll() is not None, 5, "it waits")
    assert waiting.poll() is None
    assert h2.weft_ok("expose", "10.2.9.1/24").strip() == "10.2.9.1", "an address outside the range needs no agreement"
    assert h2.weft_ok("hide").strip() == "" and h2.weft_ok("hide", "10.2.9.1/24").strip() == "10.2.9.1"
    waiting.terminate()
    waiting.wait()
    assert exposed(h2) == []
    # many at once
    h2.stop()
    h2.forget_state()
    h2.start_daemon()
    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        got = set(pool.map(lambda n: h2.weft("expose" if n % 3 else "hide").returncode, range(30)))
    assert got == {0}, got
    last = h2.weft_ok("expose").strip()
    assert exposed(h2) == [f"{last}/12"] and h2.weft_ok("hide").strip() == last and exposed(h2) == []
    leases = h2.api("GET", "/ip").text
    assert "weft:expose" not in leases, leases


@topology(timeout=60)
def test_C5_frames_that_a_firewall_drops_are_said_where_the_switch_cannot_be_put_off(h1, c1, c2):
    h1.exec("iptables", "-P", "FORWARD", "DROP")
    h1.exec("sysctl", "-qw", "net.bridge.bridge-nf-call-iptables=1")
    keep = "mount --bind /proc/sys/net/bridge /proc/sys/net/bridge && mount -o remount,ro,bind /proc/sys/net/bridge && exec \"$0\" \"$@\""
    h1.start_daemon(wrap=("unshare", "--mount", "sh", "-c", keep))
    h1.attach(c1)
    a2 = bare(h1.attach(c2)[0])
    assert not c1.ping(a2, timeout=0.5)
    wait_until(lambda: h1.api("GET", "/health").status == 503, 15, "health says so")
    reason = next(r["reason"] for r in h1.api("GET", "/health").json()["reasons"] if "from container to container" in r["reason"])
    h1.exec("sh", "-c", REMEDY.search(reason).group(1))
    assert c1.ping(a2), "what is said to do helps"
    wait_until(lambda: h1.api("GET", "/health").status == 200, 15, "and nothing is said any more")


# Beside Docker, whose FORWARD policy drops


def frames_pass(host, *containers):
    """Each reaches each other one over the bridge."""
    for a in containers:
        for b in containers:
            if a is not b:
                assert a.ping(bare(b.ips()[0]), timeout=1), f"{a} does not reach {b} on {host.name}"


def beside_docker(net, backend):
    dock = net.docker_hosts()
    dock.env["DK_IPTABLES"] = backend
    d1, d2 = dock.up(2)
    tables = "iptables" if backend == "nft" else "iptables-legacy"
    d1.exec(tables, "-P", "FORWARD", "DROP")
    d1.start_daemon()
    a, b = d1.run("ca"), d1.run("cb")
    addrs = {c: bare(d1.weft_ok("attach", c).strip()) for c in (a, b)}
    frames_pass(d1, a, b)
    # Docker's own isolation is as it was
    d1.docker("network", "create", "--opt", "com.docker.network.bridge.enable_icc=false", "noicc")
    x, y = d1.run("nx", "--net", "noicc"), d1.run("ny", "--net", "noicc")
    assert not x.reaches(y.ip("noicc")), "a network without communication between containers has none"
    frames_pass(d1, a, b)
    # neither network's containers reach the control port
    for c, gateway in ((x, d1.inspect("noicc", "network")["IPAM"]["Config"][0]["Gateway"]), (a, "172.17.0.1")):
        for addr in (gateway, d1.ip):
            p = c.exec("timeout", "1", "bash", "-c", f"exec 3<>/dev/tcp/{addr}/6783", check=False)
            assert p.returncode != 0, f"{c} reaches the control port at {addr}"
    assert d2.exec("timeout", "5", "bash", "-c", f"exec 3<>/dev/tcp/{d1.ip}/6783", check=False).returncode == 0, "others do"
    # routed: what is another's drop is said, and what to do helps
    p = d1.weft("expose")
    host = p.stdout.strip()
    said = REMEDY.findall(p.stderr)
    assert said and "DOCKER-USER" in said[0], p.stderr
    assert d1.ping(addrs[a]) and a.ping(host), "the host itself is not forwarded to"
    d2.exec("ip", "route", "add", "10.32.0.0/12", "via", d1.ip)
    assert not d2.ping(addrs[a], timeout=0.5), "Docker's policy holds"
    health = json.loads(d1.weft_ok("-o", "json", "status"))["expose"]
    assert health["health"] == "blocked" and said[0] in health["warnings"][0], health
    health = d1.api("GET", "/health").json()
    assert health["healthy"] and said[0] in health["warnings"][0]["reason"], health
    d1.exec("sh", "-c", said[0])
    assert d2.ping(addrs[a]), "with what was said to do it is passed on"
    assert d1.weft("expose").stderr == ""
    return d1, d2, a, b, addrs


@topology(timeout=150)
def test_C5_beside_docker_with_iptables_nft(net):
    d1, d2, a, b, addrs = beside_docker(net, "nft")
    # a firewall that starts anew flushes everything: ours is back, and so is Docker's once it is told
    d1.exec("nft", "flush", "ruleset")
    wait_until(lambda: "masquerade" in d1.exec("nft", "list", "table", "inet", "weft", check=False).stdout, 1, "our rules are back")
    frames_pass(d1, a, b)
    d1.exec("nft", "-f", "-", stdin="""table inet firewalld {
        chain filter_FORWARD { type filter hook forward priority 10; policy accept; ct state established,related accept; jump zones; reject with icmpx admin-prohibited; }
        chain zones { iifname "docker0" accept; }\n}\n""")
    wait_until(lambda: "firewall-cmd" in d1.weft("expose").stderr, 5, "that one's reject is found, too")
    d1.exec("nft", "insert", "rule", "inet", "firewalld", "zones", "iifname", "weft", "accept")
    d1.exec("nft", "insert", "rule", "inet", "firewalld", "zones", "oifname", "weft", "accept")
    wait_until(lambda: d1.weft("expose").stderr == "", 5, "and that it passes now")
    assert d2.ping(addrs[a])
    frames_pass(d1, a, b)
    # dockerd restarted, swarm: Docker's rules come and go, frames do not
    d1.dockerd_stop()
    d1.dockerd_start()
    d1.docker("swarm", "init", "--advertise-addr", d1.ip)
    d1.docker("start", "ca", "cb")
    for c in (a, b):
        d1.weft_ok("attach", c)
    frames_pass(d1, a, b)
    shown = d1.exec("sysctl", "-n", "net.bridge.bridge-nf-call-iptables").stdout.strip()
    assert shown == "0" and d1.exec("cat", "/sys/class/net/docker0/bridge/nf_call_iptables").stdout.strip() == "1"
    d1.exec("sysctl", "-qw", "net.bridge.bridge-nf-call-iptables=1")
    wait_until(lambda: d1.exec("sysctl", "-n", "net.bridge.bridge-nf-call-iptables").stdout.strip() == "0", 2, "somebody put it on; it is off again")
    d1.weft_ok("reset", "--force")
    assert d1.exec("sysctl", "-n", "net.bridge.bridge-nf-call-iptables").stdout.strip() == "1", "as it was"


@topology(timeout=150)
def test_C5_beside_docker_with_iptables_legacy(net):
    beside_docker(net, "legacy")


@topology(timeout=150)
def test_N_dockers_resolver_finds_names_with_nothing_configured(dock, d1, d2):
    d1.start_daemon()
    d2.start_daemon(peers=[d1])
    for d in (d1, d2):
        d.docker("network", "create", "-d", "weft", "--ipam-driver", "weft", "app")
    a = d1.run("here", "--net", "app")
    d2.weft_ok("dns-add", "10.32.9.9", "-h", "svc.weft.local")
    assert "nameserver 127.0.0.11" in a.sh("cat /etc/resolv.conf")
    wait_until(lambda: a.resolve("svc.weft.local") == ["10.32.9.9"], 5, "the name is found through 127.0.0.11")
    assert a.resolve("svc") == ["10.32.9.9"], "unqualified, too"
    # a network that leads nowhere else
    d1.docker("network", "create", "-d", "weft", "--ipam-driver", "weft", "--internal", "inner")
    inner = d1.run("inner", "--net", "inner")
    wait_until(lambda: inner.resolve("svc.weft.local") == ["10.32.9.9"], 5, "the name is found without docker_gwbridge")
    # the host's servers change
    d1.exec("sh", "-c", "echo nameserver 10.99.0.2 > /etc/resolv.conf")
    resolvers = lambda: d1.exec("nft", "list", "set", "inet", "weft", "resolvers").stdout
    wait_until(lambda: "10.99.0.2" in resolvers() and "10.99.0.1" not in resolvers(), 5, "the new server is answered for")
    b = d1.run("later", "--net", "app")
    wait_until(lambda: b.resolve("svc.weft.local") == ["10.32.9.9"], 5, "a container with the new server finds the name")
    # without the daemon they are asked themselves again
    d1.stop()
    assert "10.99" not in d1.exec("nft", "list", "set", "inet", "weft", "resolvers").stdout
    d1.restart()
    wait_until(lambda: b.resolve("svc.weft.local") == ["10.32.9.9"], 10, "and a new daemon answers")
    d1.kill()
    d1.restart()
    wait_until(lambda: b.resolve("svc.weft.local") == ["10.32.9.9"], 10, "after a kill, too")
