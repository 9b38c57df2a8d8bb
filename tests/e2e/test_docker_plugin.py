"""Docker's network and IPAM plugin with real dockerds: docker-hosts.sh."""

import concurrent.futures
import contextlib
import ipaddress
import json
import os
import random
import socket
import threading
import time

from lib import topology, wait_until

NETWORK = ("network", "create", "-d", "weft", "--ipam-driver", "weft")


# --- what tests share


def start(*hosts, unused_ms=3000):
    """Addresses that dockerd was given and forgot are free after unused_ms; a minute otherwise."""
    for h in hosts:
        h.start_daemon(peers=hosts[:1] if h is not hosts[0] else (), env={"WEFT_UNUSED_MS": str(unused_ms)})


def create(hosts, *args):
    for h in hosts:
        h.docker(*NETWORK, *args)


def refused(host, *args, timeout=60):
    """What docker says of a command that it refuses."""
    p = host.docker(*args, check=False, timeout=timeout)
    assert p.returncode != 0, f"docker {' '.join(args)} was not refused: {p.stdout}"
    return p.stderr.strip()


def interface(container, name):
    """What `ip` says of one of its interfaces."""
    return json.loads(container.exec("ip", "-j", "addr", "show", "dev", name).stdout)[0]


def prefixes(container, name, family="inet"):
    return [f"{a['local']}/{a['prefixlen']}" for a in interface(container, name)["addr_info"] if a["family"] == family and a["scope"] == "global"]


def leases(host):
    """Idents of leases, and what they hold."""
    return {x["containerid"]: x["addrs"] for x in json.loads(host.api("GET", "/ip").body)["owned"]}


def wait_clean(host, seconds=8):
    """No endpoint, lease, name, device or record of a container is left, and weft finds nothing wrong."""
    print(host.weft_ok("ps"))
    wait_until(lambda: "docker:" not in host.weft_ok("ps"), seconds, f"no container is attached to {host.name}")
    wait_until(lambda: not [i for i in leases(host) if i.startswith("docker")], seconds, f"no lease is left on {host.name}")
    links = [x["ifname"] for x in json.loads(host.exec("ip", "-j", "link").stdout)]
    assert not [x for x in links if x.startswith(("wd", "vethwe"))], links
    verify(host)


def verify(*hosts):
    for h in hosts:
        v = h.weft("verify", "--wait", "5")
        assert v.returncode == 0, f"{h.name}: {v.stdout}{v.stderr}"


def call(host, method, body=None, raw=None):
    """One request of a plugin's client: (status, JSON)."""
    data = raw if raw is not None else b"" if body is None else json.dumps(body).encode() + b"\n"
    with socket.socket(socket.AF_UNIX) as s:
        s.settimeout(20)
        s.connect(f"{host.run_dir}/docker/plugins/weft.sock")
        s.sendall(f"POST /{method} HTTP/1.1\r\nHost: \r\nUser-Agent: Go-http-client/1.1\r\nContent-Length: {len(data)}\r\n"
                  "Accept: application/vnd.docker.plugins.v1.2+json\r\nConnection: close\r\n\r\n".encode() + data)
        answer = b""
        while part := s.recv(65536):
            answer += part
    head, _, rest = answer.partition(b"\r\n\r\n")
    return int(head.split()[1]), json.loads(rest)


# --- C2: what a Docker user does


@topology(timeout=180)
def test_C2_containers_talk_by_address_and_by_name(dock, d1, d2):
    start(d1, d2)
    create((d1, d2), "app")
    db = d1.run("db", "--net", "app", "--network-alias", "store")
    web = d2.run("web", "--net", "app", "--hostname", "front.weft.local")
    wait_until(lambda: web.reaches(db.ip("app")), 5, "web reaches db by address")
    wait_until(lambda: web.resolve("db") == [db.ip("app")], 5, "web knows db by name")
    assert web.reaches("db") and db.reaches("web")
    wait_until(lambda: web.resolve("store.weft.local") == [db.ip("app")], 5, "web knows db by its alias")
    wait_until(lambda: db.resolve("front.weft.local") == [web.ip("app")], 5, "db knows web by its host name")
    # one network on both hosts: one slice of the range, the same length
    a, b = (ipaddress.ip_interface(prefixes(c, "ethwe0")[0]) for c in (db, web))
    assert a.network == b.network and a.network.prefixlen == 20 and a.network.subnet_of(ipaddress.ip_network("10.32.0.0/12"))
    # a stopped container has no address and no name; a restarted one is reached again
    db.sh("true")
    d1.docker("restart", "-t", "1", "db")
    wait_until(lambda: web.resolve("db") == [db.ip("app")] and web.reaches("db"), 5, "web reaches db after its restart")
    verify(d1, d2)
    for c in (db, web):
        c.rm()
    for d in (d1, d2):
        wait_clean(d)
    assert "app" in d1.weft_ok("network", "ls")
    for d in (d1, d2):
        d.docker("network", "rm", "app")
    for d in (d1, d2):  # the last one took it along
        wait_until(lambda: "app" not in d.weft_ok("network", "ls"), 5, "the network is gone")


@topology(timeout=180)
def test_C2_addresses_that_are_named(dock, d1, d2):
    start(d1, d2)
    create((d1, d2), "--subnet", "10.40.0.0/16", "--ip-range", "10.40.1.0/24", "--gateway", "10.40.0.254",
           "--aux-address", "r=10.40.1.1", "app")
    c1 = d1.run("c1", "--net", "app")
    c2 = d2.run("c2", "--net", "app", "--ip", "10.40.7.7", "--mac-address", "02:42:0a:28:07:07")
    assert c1.ip("app").startswith("10.40.1.") and c1.ip("app") != "10.40.1.1" and prefixes(c1, "ethwe0")[0].endswith("/16")
    assert c2.ip("app") == "10.40.7.7" and interface(c2, "ethwe0")["address"] == "02:42:0a:28:07:07"
    wait_until(lambda: c1.reaches("10.40.7.7"), 5, "c1 reaches c2")
    # an address that is in use: the refusal says where
    for host, where in ((d2, "on this host"), (d1, "h2")):
        why = refused(host, "run", "-d", "--name", "c3", "--net", "app", "--ip", "10.40.7.7", "busybox:local", "sleep", "1")
        assert "10.40.7.7" in why and where in why, why
        host.docker("rm", "-f", "c3")
    assert c1.reaches("10.40.7.7")  # the one who has it keeps it
    for addr, word in (("10.40.0.254", "set aside"), ("10.40.1.1", "set aside"), ("10.40.255.255", "first or last")):
        why = refused(d1, "run", "-d", "--name", "c3", "--net", "app", "--ip", addr, "busybox:local", "sleep", "1")
        assert word in why, why
        d1.docker("rm", "-f", "c3")
    # subnets that cannot be
    for args, word in ((("--subnet", "192.168.77.0/24"), "10.32.0.0/12"), (("--subnet", "10.40.0.0/31"), "/30"),
                       (("--subnet", "10.41.0.0/16", "--ip-range", "10.42.0.0/24"), "10.42.0.0/24")):
        why = refused(d1, *NETWORK, *args, "bad")
        assert word in why, why
    # one name, two subnets: the second host's containers are refused, both named
    d1.docker(*NETWORK, "--subnet", "10.44.0.0/16", "two")
    d1.run("t1", "--net", "two")
    d2.docker(*NETWORK, "--subnet", "10.45.0.0/16", "two")
    why = refused(d2, "run", "-d", "--name", "t2", "--net", "two", "busybox:local", "sleep", "1")
    assert "10.44.0.0/16" in why and "10.45.0.0/16" in why, why
    why = refused(d2, *NETWORK, "--subnet", "10.46.0.0/16", "-o", "weft.network=two", "twice")
    assert "10.44.0.0/16" in why and "10.46.0.0/16" in why, why
    for d, names in ((d1, ("c1", "t1")), (d2, ("c2", "t2"))):
        d.docker("rm", "-f", *names)
        d.docker("network", "rm", "app", "two")
        wait_clean(d)
        assert not leases(d), leases(d)


@topology(timeout=180)
def test_C2_several_networks_on_one_container(dock, d1, d2):
    start(d1, d2)
    create((d1, d2), "red")
    create((d1, d2), "blue")
    one = d1.run("one", "--net", "red")
    r = d2.run("rr", "--net", "red")
    b = d2.run("bb", "--net", "blue")
    wait_until(lambda: one.reaches(r.ip("red")), 5, "the same network is reached")
    assert not one.reaches(b.ip("blue")), "another network is reached"
    d1.docker("network", "connect", "blue", "one")
    wait_until(lambda: one.reaches(b.ip("blue")), 5, "a network connected while running is reached")
    assert one.reaches(r.ip("red"))
    nets = [ipaddress.ip_interface(prefixes(one, name)[0]).network for name in ("ethwe0", "ethwe1")]
    assert not nets[0].overlaps(nets[1]), nets
    d1.docker("network", "disconnect", "red", "one")
    assert not one.reaches(r.ip("red")) and one.reaches(b.ip("blue"))
    verify(d1, d2)
    d1.docker("rm", "-f", "one")
    d2.docker("rm", "-f", "rr", "bb")
    for d in (d1, d2):
        wait_clean(d)


@topology(timeout=180)
def test_N1_each_network_has_its_own_names(dock, d1, d2):
    """Two networks have a `db` each: who is on one of them gets that one's, who is on both gets both, and who is on neither none."""
    start(d1, d2)
    for name in ("red", "blue", "green"):
        create((d1, d2), name)
    db = {name: d2.run(f"db-{name}", "--net", name, "--network-alias", "db") for name in ("red", "blue")}
    ip = {name: c.ip(name) for name, c in db.items()}
    red, blue, green = (d1.run(f"ask-{name}", "--net", name) for name in ("red", "blue", "green"))
    host = lambda: sorted(d1.exec("dig", "+short", "@169.254.67.83", "db.weft.local").stdout.split())  # noqa: E731
    wait_until(lambda: host() == sorted(ip.values()), 10, "the host itself sees all")
    # asked by docker's own resolver over docker_gwbridge, from the first question on
    for c, want in ((red, [ip["red"]]), (blue, [ip["blue"]]), (green, [])):
        for name in ("db", "db.weft.local"):
            assert c.resolve(name) == want, (c.name, name, c.resolve(name))
    assert red.resolve("db-blue") == [] and blue.resolve("db-blue") == [ip["blue"]]
    # a network more, while running, and one less
    d1.docker("network", "connect", "blue", "ask-red")
    wait_until(lambda: red.resolve("db") == sorted(ip.values()), 10, "who is on both gets both")
    d1.docker("network", "disconnect", "red", "ask-red")
    wait_until(lambda: red.resolve("db") == [ip["blue"]], 10, "who is on one only gets that")
    # an address on docker_gwbridge that was another container's before
    d1.docker("rm", "-f", "ask-green", "ask-red")
    green, red = d1.run("again-red", "--net", "red"), d1.run("again-green", "--net", "green")
    for c, want in ((green, [ip["red"]]), (red, [])):
        assert c.resolve("db") == want, (c.name, c.resolve("db"))
    # asked straight, by the network's own bridge
    direct = d1.run("direct", "--net", "blue", "--dns", "169.254.67.83")
    wait_until(lambda: direct.resolve("db") == [ip["blue"]], 10, "asked by the bridge of blue")
    # an address has its names for those who see them
    reverse = lambda c, addr: c.sh(f"nslookup {addr} 2>&1", check=False).stdout  # noqa: E731
    assert "db-blue" in reverse(direct, ip["blue"]) and "db-red" not in reverse(direct, ip["red"])
    # a dockerd that hangs holds no answer up: it is one for those who are not known
    late = d1.run("late", "--net", "red")
    server = d1.exec("cat", "/etc/resolv.conf").stdout.split()[1]  # who docker's own resolver asks
    inside, look = late.pid, ("dig", "+short", "+tries=1", "+time=3", f"@{server}", "db.weft.local")
    d1.exec("pkill", "-STOP", "-x", "dockerd")
    try:
        answer = d1.exec("nsenter", "-t", inside, "-n", "--", *look).stdout.split()
    finally:
        d1.exec("pkill", "-CONT", "-x", "dockerd")
    assert sorted(answer) == sorted(ip.values()), answer
    assert "who is on docker_gwbridge cannot be told" in d1.log()
    wait_until(lambda: late.exec(*look).stdout.split() == [ip["red"]], 20, "it is asked again")
    verify(d1, d2)


@topology(timeout=180)
def test_C2_dual_stack(dock, d1, d2):
    start(d1, d2)
    create((d1, d2), "--ipv6", "--subnet", "10.40.0.0/16", "--subnet", "fd00:40::/64", "app")
    c1 = d1.run("c1", "--net", "app")
    c2 = d2.run("c2", "--net", "app", "--ip6", "fd00:40::9:77")
    six = c1.endpoint("app")["GlobalIPv6Address"]
    assert six and six in prefixes(c1, "ethwe0", "inet6")[0] and prefixes(c1, "ethwe0", "inet6")[0].endswith("/64")
    assert c2.endpoint("app")["GlobalIPv6Address"] == "fd00:40::9:77"
    wait_until(lambda: c1.reaches("fd00:40::9:77"), 10, "c1 reaches c2 by IPv6")
    wait_until(lambda: c2.reaches(six) and c2.reaches(c1.ip("app")), 5, "c2 reaches c1 by both")
    why = refused(d1, "run", "-d", "--name", "c3", "--net", "app", "--ip6", "fd00:40::9:77", "busybox:local", "sleep", "1")
    assert "h2" in why, why
    why = refused(d1, "run", "-d", "--name", "c4", "--net", "app", "--ip6", "fd00:40::ffff:ffff:1", "busybox:local", "sleep", "1")
    assert "fd00:40::ffff:ffff:1" in why, why
    why = refused(d1, *NETWORK, "--ipv6", "--subnet", "fd00:41::/120", "small")
    assert "/108" in why, why
    wait_until(lambda: d1.weft("verify").returncode == 0, 8, "addresses that dockerd forgot are free again")
    verify(d1, d2)
    d1.docker("rm", "-f", "c1", "c3", "c4")
    d2.docker("rm", "-f", "c2")
    for d in (d1, d2):
        wait_clean(d)


@topology(timeout=180)
def test_C2_options_internal_and_published_ports(dock, d1, d2):
    start(d1, d2)
    create((d1, d2), "-o", "weft.mtu=1300", "-o", "weft.multicast=false", "plain")
    create((d1, d2), "--internal", "inner")
    create((d1, d2), "-o", "weft.network=weft", "shared")
    p1, p2 = d1.run("p1", "--net", "plain", "-p", "8080:80"), d2.run("p2", "--net", "plain")
    i1, i2 = d1.run("i1", "--net", "inner"), d2.run("i2", "--net", "inner")
    wait_until(lambda: p1.reaches(p2.ip("plain")) and i1.reaches(i2.ip("inner")), 5, "containers of each network reach each other")
    assert not p1.reaches(i2.ip("inner")), "a container of another network is reached"
    assert interface(p1, "ethwe0")["mtu"] == 1300 < interface(i1, "ethwe0")["mtu"]
    assert "224.0.0.0/4" not in p1.exec("ip", "route").stdout and "224.0.0.0/4 dev ethwe0" in i1.exec("ip", "route").stdout
    # the way out, and ports that are published, are docker's own bridge's
    assert "default via" in p1.exec("ip", "route").stdout and "default" not in i1.exec("ip", "route").stdout
    p1.sh("mkdir -p /w; echo found > /w/index.html; httpd -p 80 -h /w")
    assert d2.exec("busybox", "wget", "-q", "-O", "-", "http://10.99.0.1:8080/").stdout.strip() == "found"
    assert p1.reaches("10.99.0.2") and not i1.reaches("10.99.0.2", timeout=1)
    # by option the network of `weft attach`
    s = d1.run("s1", "--net", "shared")
    o = d2.run("o1", "--net", "none")
    at = d2.attach(o)[0].split("/")[0]
    wait_until(lambda: s.reaches(at), 5, "a container of docker run reaches one of weft attach")
    assert d2.detach(o)
    for args, word in ((("-o", "weft.mut=1300"), "weft.mtu=N"), (("-o", "weft.mtu=9"), "576"), (("-o", "weft.multicast=perhaps"), "neither"),
                       (("-o", "weft.network=-"), "no name"), (("--ipam-opt", "weft.network=x"), "-o")):
        why = refused(d1, *NETWORK, *args, "bad")
        assert word in why, why
    verify(d1, d2)
    d1.docker("rm", "-f", "p1", "i1", "s1")
    d2.docker("rm", "-f", "p2", "i2", "o1")
    for d in (d1, d2):
        wait_clean(d)
        d.docker("network", "rm", "plain", "inner", "shared")
    for d in (d1, d2):
        wait_until(lambda: not any(n in d.weft_ok("network", "ls") for n in ("plain", "inner")), 5, "no network is left")


@topology(timeout=180)
def test_C2_other_ipam_drivers(dock, d1, d2):
    start(d1, d2)
    for d in (d1, d2):
        d.docker("network", "create", "-d", "weft", "--subnet", "10.50.0.0/16", "plain")  # docker's own driver, in weft's range
        d.docker("network", "create", "-d", "weft", "--subnet", "172.30.0.0/16", "far")  # and outside of it
        d.docker("network", "create", "-d", "weft", "--ipam-driver", "null", "none1")
    a = d1.run("aa", "--net", "plain")
    f = d1.run("ff", "--net", "far")
    verify(d1, d2)  # waits until both know the same
    for net, ip in (("plain", a.ip("plain")), ("far", f.ip("far"))):  # docker counts from the same address on each host
        why = refused(d2, "run", "-d", "--name", "bb", "--net", net, "busybox:local", "sleep", "1")
        assert ip in why and "h1" in why and "--ipam-driver weft" in why, why
        d2.docker("rm", "-f", "bb")
    b = d2.run("bb", "--net", "plain", "--ip", "10.50.7.7")
    g = d2.run("gg", "--net", "far", "--ip", "172.30.7.7")
    wait_until(lambda: a.reaches("10.50.7.7") and f.reaches("172.30.7.7"), 5, "addresses of docker's own driver are reached")
    # with no driver the plugin gives them
    n1, n2 = d1.run("n1", "--net", "none1"), d2.run("n2", "--net", "none1")
    at = prefixes(n2, "ethwe0")[0].split("/")[0]
    assert at.startswith("10.") and at != prefixes(n1, "ethwe0")[0].split("/")[0]
    wait_until(lambda: n1.reaches(at), 5, "addresses of the null driver are reached")
    verify(d1, d2)
    d1.docker("rm", "-f", "aa", "ff", "n1")
    d2.docker("rm", "-f", "bb", "gg", "n2")
    assert b.name and g.name
    for d in (d1, d2):
        wait_clean(d)
        assert not leases(d), leases(d)


@topology(timeout=300)
def test_C2_restarts_in_any_order(dock, d1, d2):
    start(d1, d2)
    create((d1, d2), "app")
    a = d1.run("aa", "--net", "app", "--restart", "always")
    b = d2.run("bb", "--net", "app", "--restart", "always")

    def both():
        return a.reaches(b.ip("app")) and b.reaches(a.ip("app"))

    wait_until(both, 5, "both reach each other")
    # weftd: in order, and killed; the containers talk on meanwhile
    at = a.ip("app")
    for end in (d1.stop, d1.kill):
        end()
        assert both(), "traffic stopped with the daemon"
        d1.restart()
        assert both() and a.ip("app") == at
        verify(d1)
    extra = d1.run("xx", "--net", "app")  # CreateNetwork does not come again
    wait_until(lambda: extra.reaches(b.ip("app")), 5, "a container started after the restart reaches the other host")
    extra.rm()
    # dockerd: in order, and killed
    for end in (d1.dockerd_stop, d1.dockerd_kill):
        end()
        d1.dockerd_start()
        wait_until(lambda: a.pid, 20, "docker has started the container again")
        wait_until(both, 10, "both reach each other after dockerd's restart")
        wait_until(lambda: d1.weft("verify").returncode == 0, 10, "nothing is left of the former container")
        verify(d1, d2)
    # the host
    d2.power_off()
    d2.power_on_with_daemon()
    wait_until(lambda: b.pid, 30, "docker has started the container again")
    wait_until(both, 20, "both reach each other after the host's power was off")
    wait_until(lambda: d2.weft("verify").returncode == 0, 40, "nothing is left of the former container")
    verify(d1, d2)
    for d, name in ((d1, "aa"), (d2, "bb")):
        d.docker("rm", "-f", name)
        wait_clean(d)


@topology(timeout=240)
def test_C2_what_went_while_the_daemon_was_away(dock, d1):
    start(d1)
    create((d1,), "app")
    create((d1,), "old")
    a, b = d1.run("aa", "--net", "app"), d1.run("bb", "--net", "app")
    d1.stop()
    with concurrent.futures.ThreadPoolExecutor() as pool:  # docker tries 15 s for each of its calls
        for done in (pool.submit(a.rm, timeout=120), pool.submit(d1.docker, "network", "rm", "old", timeout=120)):
            done.result()
    d1.restart()
    wait_until(lambda: d1.weft_ok("ps").count("docker:") == 1, 20, "the endpoint of a container that went is removed")
    wait_until(lambda: "old" not in d1.weft_ok("network", "ls"), 20, "the network that went is removed")
    wait_until(lambda: len([i for i in leases(d1) if i.startswith("docker")]) == 1, 20, "its address is free again")
    verify(d1)
    b.rm()
    wait_clean(d1)


# --- what others than a well-behaved dockerd may ask; raw requests, without any Docker


def gateway_of(pool):
    return pool["Data"]["com.docker.network.gateway"]


def make(host, number, *, options=None, answer=True):
    """A pool and a network by raw calls: (network's id, pool)."""
    status, pool = call(host, "IpamDriver.RequestPool", {"AddressSpace": "weft", "Pool": "", "SubPool": "", "Options": {}, "V6": False})
    assert status == 200 and not pool.get("Error"), pool
    net = f"{number:064x}"
    done = call(host, "NetworkDriver.CreateNetwork", {
        "NetworkID": net, "IPv6Data": [], "IPv4Data": [{"AddressSpace": "weft", "Gateway": gateway_of(pool), "Pool": pool["Pool"]}],
        "Options": {"com.docker.network.generic": {"weft.network": f"n{number}", **(options or {})}}})
    assert done == (200, {}) or not answer, done
    return net, pool


def address(host, pool, addr=""):
    return call(host, "IpamDriver.RequestAddress", {"PoolID": pool["PoolID"], "Address": addr, "Options": None})[1]


def endpoint(host, net, number, addr, mac=""):
    return call(host, "NetworkDriver.CreateEndpoint", {
        "NetworkID": net, "EndpointID": f"{number:064x}", "Interface": {"Address": addr, "AddressIPv6": "", "MacAddress": mac}, "Options": {}})


def unmake(host, net, pool, endpoints=(), addrs=()):
    for number in endpoints:
        for method in ("Leave", "DeleteEndpoint"):
            assert call(host, f"NetworkDriver.{method}", {"NetworkID": net, "EndpointID": f"{number:064x}"}) == (200, {})
    for addr in addrs:
        assert call(host, "IpamDriver.ReleaseAddress", {"PoolID": pool["PoolID"], "Address": addr.split("/")[0]}) == (200, {})
    assert call(host, "IpamDriver.ReleasePool", {"PoolID": pool["PoolID"]}) == (200, {})
    assert call(host, "NetworkDriver.DeleteNetwork", {"NetworkID": net}) == (200, {})


def plugin_of(h):
    """A host without Docker that serves the plugin all the same."""
    h.run_dir = h.state_dir + "-run"
    return ("--plugin-socket", f"{h.run_dir}/docker/plugins/weft.sock", "--docker-host", "")


def nothing_left(host):
    assert not [i for i in leases(host) if i.startswith("docker")], leases(host)
    assert "docker:" not in host.weft_ok("ps")
    links = [x["ifname"] for x in json.loads(host.exec("ip", "-j", "link").stdout)]
    assert not [x for x in links if x.startswith(("wd", "vethwe"))], links
    verify(host)


@topology(timeout=60)
def test_plugin_handshake_and_sequence(net, h1):
    h1.start_daemon(*plugin_of(h1), env={"WEFT_UNUSED_MS": "2000"})
    assert call(h1, "Plugin.Activate") == (200, {"Implements": ["NetworkDriver", "IpamDriver"]})
    assert call(h1, "NetworkDriver.GetCapabilities")[1]["Scope"] == "local"
    assert call(h1, "IpamDriver.GetDefaultAddressSpaces")[1] == {"LocalDefaultAddressSpace": "weft", "GlobalDefaultAddressSpace": "weftglobal"}
    assert call(h1, "NetworkDriver.DiscoverNew", {"DiscoveryType": 1, "DiscoveryData": {"Address": "10.99.0.1"}}) == (200, {})
    n, pool = make(h1, 1)
    a = address(h1, pool)["Address"]
    assert a.endswith("/20")
    status, made = endpoint(h1, n, 7, a)
    assert status == 200 and list(made["Interface"]) == ["MacAddress"], made
    ids = {"NetworkID": n, "EndpointID": f"{7:064x}"}
    joined = call(h1, "NetworkDriver.Join", {**ids, "SandboxKey": "/x", "Options": {}})[1]
    assert joined["InterfaceName"]["DstPrefix"] == "ethwe" and "Gateway" not in joined
    assert [r["Destination"] for r in joined["StaticRoutes"]] == ["224.0.0.0/4", "169.254.67.83/32"]
    h1.exec("ip", "link", "show", joined["InterfaceName"]["SrcName"])
    assert call(h1, "NetworkDriver.EndpointOperInfo", ids)[1]["Value"]["weft.network"] == "n1"
    # what was said is said again: replays, and what comes twice
    assert endpoint(h1, n, 7, a, made["Interface"]["MacAddress"]) == (200, {})
    assert address(h1, pool, a.split("/")[0])["Address"] == a
    assert call(h1, "IpamDriver.ReleaseAddress", {"PoolID": pool["PoolID"], "Address": a.split("/")[0]}) == (200, {})
    assert any(a in v for v in leases(h1).values()), "the address of a running container was released"
    # and after a restart of the daemon
    h1.kill()
    h1.restart()
    assert call(h1, "NetworkDriver.EndpointOperInfo", ids)[1]["Value"]["weft.network"] == "n1"
    verify(h1)
    plugin = h1.status("docker")["docker"]["plugin"]
    assert (plugin["networks"], plugin["pools"], plugin["endpoints"], plugin["waiting"]) == (1, 1, 1, 0), plugin
    assert "1 networks, 1 endpoints" in h1.weft_ok("status", "docker")
    for _ in range(2):
        unmake(h1, n, pool, [7], [a])
    nothing_left(h1)
    wait_until(lambda: "n1" not in h1.weft_ok("network", "ls"), 5, "the network is gone")


@topology(timeout=60)
def test_plugin_bad_requests_are_answered(net, h1):
    h1.start_daemon(*plugin_of(h1), env={"WEFT_UNUSED_MS": "2000"})
    n, pool = make(h1, 1)
    a = address(h1, pool)["Address"]
    assert endpoint(h1, n, 7, a)[0] == 200
    none, bad = "f" * 64, "../../../etc"
    for method, body, word in (
            ("NetworkDriver.CreateNetwork", {"NetworkID": none, "IPv4Data": [{"AddressSpace": "weft", "Pool": "10.32.0.0/12"}]}, "state lost"),
            ("NetworkDriver.CreateNetwork", {"NetworkID": none, "IPv4Data": []}, "weft.network=NAME"),
            ("NetworkDriver.CreateNetwork", {"NetworkID": bad}, "NetworkID"),
            ("NetworkDriver.CreateNetwork", {"NetworkID": n, "Options": {"com.docker.network.generic": {"weft.network": "other"}}}, "other options"),
            ("NetworkDriver.CreateEndpoint", {"NetworkID": none, "EndpointID": "8", "Interface": {"Address": "10.32.0.9/12"}}, "no network"),
            ("NetworkDriver.CreateEndpoint", {"NetworkID": n, "EndpointID": "8", "Interface": {}}, "Address"),
            ("NetworkDriver.CreateEndpoint", {"NetworkID": n, "EndpointID": "8", "Interface": {"Address": a}}, "another container"),
            ("NetworkDriver.CreateEndpoint", {"NetworkID": n, "EndpointID": f"{7:064x}", "Interface": {"Address": a}}, "already"),
            ("NetworkDriver.CreateEndpoint", {"NetworkID": n}, "EndpointID"),
            ("NetworkDriver.Join", {"NetworkID": n, "EndpointID": "8", "SandboxKey": "/x"}, "no endpoint"),
            ("NetworkDriver.Join", {"NetworkID": n, "EndpointID": f"{7:064x}"}, "SandboxKey"),
            ("NetworkDriver.Join", {"NetworkID": none, "EndpointID": f"{7:064x}", "SandboxKey": "/x"}, "no endpoint"),
            ("NetworkDriver.EndpointOperInfo", {"NetworkID": n, "EndpointID": "8"}, "no endpoint"),
            ("NetworkDriver.DeleteEndpoint", {"NetworkID": none, "EndpointID": f"{7:064x}"}, "another network"),
            ("IpamDriver.RequestPool", {"Pool": "192.168.0.0/16"}, "10.32.0.0/12"),
            ("IpamDriver.RequestPool", {"V6": True}, "--ipalloc-range6"),
            ("IpamDriver.RequestAddress", {"PoolID": "stub"}, "stub"),
            ("IpamDriver.RequestAddress", {"PoolID": pool["PoolID"], "Address": "172.16.0.1"}, "172.16.0.1"),
            ("IpamDriver.RequestAddress", {"PoolID": "weft-any-10.32.0.0_12-169.254.200.1", "Address": ""}, "no network was made"),
            ("IpamDriver.ReleaseAddress", {"PoolID": pool["PoolID"]}, "Address"),
            ("IpamDriver.ReleasePool", {}, "PoolID"),
            ("NetworkDriver.AllocateNetwork", {"NetworkID": 7}, "NetworkID"),
            ("NetworkDriver.DiscoverNew", {"DiscoveryData": "x"}, "DiscoveryData")):
        status, answer = call(h1, method, body)
        assert status == 200 and answer["Err"] == answer["Error"] and word in answer["Err"], (method, body, status, answer)
    for method in ("NetworkDriver.CreateNetwork", "IpamDriver.RequestPool", "NetworkDriver.Leave"):  # bodies that are none
        for raw in (b"[1]", b"{", b"\xff\xfe", b"{\"NetworkID\": \"a\", \"NetworkID\": \"b\"}", b"null", b"[" * 100000):
            status, answer = call(h1, method, raw=raw)
            assert status == 200 and "body" in answer["Err"] and answer["Err"] == answer["Error"], (raw[:20], answer)
    assert call(h1, "NetworkDriver.Nothing", {})[0] == 404 and "Err" in call(h1, "../../x", {})[1]
    with socket.socket(socket.AF_UNIX) as s:  # a body that is announced too long
        s.connect(f"{h1.run_dir}/docker/plugins/weft.sock")
        s.sendall(b"POST /NetworkDriver.Join HTTP/1.1\r\nHost: \r\nContent-Length: 99999999\r\n\r\n")
        assert b" 413 " in s.recv(4096).split(b"\r\n")[0]
    unmake(h1, n, pool, [7], [a])
    wait_until(lambda: not [i for i in leases(h1) if i.startswith("docker")], 8, "what was refused left no lease")
    nothing_left(h1)


@topology(timeout=60)
def test_plugin_waiting_requests_block_nobody(net, h1):
    """Without a majority there is no address; whoever waits for one may go, and others are answered meanwhile."""
    h1.start_daemon(*plugin_of(h1), "--ipalloc-init", "consensus=3", env={"WEFT_UNUSED_MS": "2000"})
    n, pool = make(h1, 1)

    def ask():
        s = socket.socket(socket.AF_UNIX)
        s.connect(f"{h1.run_dir}/docker/plugins/weft.sock")
        body = json.dumps({"PoolID": pool["PoolID"], "Address": "", "Options": None}).encode()
        s.sendall(b"POST /IpamDriver.RequestAddress HTTP/1.1\r\nHost: \r\nContent-Length: %d\r\n\r\n%s" % (len(body), body))
        return s

    def waiting():
        return int(next(x for x in h1.weft_ok("metrics").splitlines() if x.startswith("weft_ipam_pending_allocates ")).split()[1])

    waiters = [ask() for _ in range(30)]
    wait_until(lambda: waiting() == 30, 5, "30 wait")
    assert call(h1, "NetworkDriver.GetCapabilities")[0] == 200
    m, pool2 = make(h1, 2)
    unmake(h1, m, pool2)
    for s in waiters:
        s.close()
    wait_until(lambda: waiting() == 0, 5, "nobody waits any more")
    unmake(h1, n, pool)
    nothing_left(h1)


@topology(timeout=60)
def test_plugin_steps_that_fail_leave_nothing(net, h1):
    h1.start_daemon(*plugin_of(h1), env={"WEFT_UNUSED_MS": "2000"})
    n, pool = make(h1, 1)
    a, b = address(h1, pool)["Address"], address(h1, pool)["Address"]
    before = (sorted(leases(h1)), h1.weft_ok("ps"))

    def fails(number, addr, word, mac=""):
        status, answer = endpoint(h1, n, number, addr, mac)
        assert word in answer.get("Err", ""), (status, answer)
        assert call(h1, "NetworkDriver.Join", {"NetworkID": n, "EndpointID": f"{number:064x}", "SandboxKey": "/x"})[1]["Err"]
        assert (sorted(leases(h1)), h1.weft_ok("ps")) == before

    # its interface's name is taken: the step after the record
    h1.exec("ip", "link", "add", "wd000000000000", "type", "bridge")
    fails(8, a, "wd000000000000")
    h1.exec("ip", "link", "del", "wd000000000000")
    # its MAC is another's, its address is another's
    assert endpoint(h1, n, 0xAAAAAAAAAAAA << 208, b, "02:00:00:00:00:07")[0] == 200
    before = (sorted(leases(h1)), h1.weft_ok("ps"))
    fails(8, a, "02:00:00:00:00:07", "02:00:00:00:00:07")
    fails(8, b, "another container")
    # its network went from weft: it is made again
    unmake_one = {"NetworkID": n, "EndpointID": f"{0xAAAAAAAAAAAA << 208:064x}"}
    assert call(h1, "NetworkDriver.DeleteEndpoint", unmake_one) == (200, {})
    h1.weft_ok("network", "rm", "n1")
    assert endpoint(h1, n, 8, a)[0] == 200
    assert address(h1, pool)["Address"].endswith("/20")
    # an address of another driver's that is in use by somebody else of this host
    c1 = net.container(1)
    held = h1.attach(c1)[0].split("/")[0] + "/12"
    foreign = f"{99:064x}"
    assert call(h1, "NetworkDriver.CreateNetwork", {
        "NetworkID": foreign, "IPv4Data": [{"AddressSpace": "LocalDefault", "Pool": "10.32.0.0/12", "Gateway": "10.32.0.1/12"}],
        "Options": {"com.docker.network.generic": {"weft.network": "n99"}}}) == (200, {})
    before = (sorted(leases(h1)), h1.weft_ok("ps"))
    status, answer = endpoint(h1, foreign, 12, held)
    assert "--ipam-driver weft" in answer["Err"], (status, answer)
    assert (sorted(leases(h1)), h1.weft_ok("ps")) == before
    # networks that cannot be made
    for generic, subnet, word in (({"weft.network": "n1"}, "10.45.0.0/16", "subnet"), ({"weft.network": "n" * 65}, "10.45.0.0/16", "weft.network")):
        p = call(h1, "IpamDriver.RequestPool", {"Pool": subnet})[1]
        answer = call(h1, "NetworkDriver.CreateNetwork", {
            "NetworkID": f"{50:064x}", "IPv4Data": [{"AddressSpace": "weft", "Gateway": gateway_of(p), "Pool": p["Pool"]}],
            "Options": {"com.docker.network.generic": generic}})[1]
        assert word in answer["Err"], answer
        assert call(h1, "IpamDriver.ReleasePool", {"PoolID": p["PoolID"]}) == (200, {})
    assert call(h1, "NetworkDriver.DeleteNetwork", {"NetworkID": foreign}) == (200, {})
    h1.detach(c1)
    unmake(h1, n, pool, [8], [a, b])
    nothing_left(h1)
    wait_until(lambda: not any(x in h1.weft_ok("network", "ls") for x in ("n1", "n99", "n50")), 5, "no network is left")


@topology(timeout=60)
def test_plugin_whoever_goes_leaves_nothing(net, h1):
    """A client that goes while its request waits (for an address, here without a majority) has made nothing."""
    h1.start_daemon(*plugin_of(h1), "--ipalloc-init", "consensus=3", env={"WEFT_UNUSED_MS": "1000"})
    n = f"{5:064x}"
    assert call(h1, "NetworkDriver.CreateNetwork", {
        "NetworkID": n, "IPv4Data": [{"AddressSpace": "null", "Pool": "0.0.0.0/0"}],
        "Options": {"com.docker.network.generic": {"weft.network": "n5"}}}) == (200, {})
    with socket.socket(socket.AF_UNIX) as s:
        s.connect(f"{h1.run_dir}/docker/plugins/weft.sock")
        body = json.dumps({"NetworkID": n, "EndpointID": "77", "Interface": {}}).encode()
        s.sendall(b"POST /NetworkDriver.CreateEndpoint HTTP/1.1\r\nHost: \r\nContent-Length: %d\r\n\r\n%s" % (len(body), body))
        joining = {"NetworkID": n, "EndpointID": "77", "SandboxKey": "/x"}
        wait_until(lambda: "being made" in call(h1, "NetworkDriver.Join", joining)[1]["Err"], 5, "the endpoint is being made")
        assert "being made" in call(h1, "NetworkDriver.DeleteEndpoint", joining)[1]["Err"]
    wait_until(lambda: "no endpoint" in call(h1, "NetworkDriver.Join", joining)[1]["Err"], 5, "it is not made any more")
    assert not [i for i in leases(h1) if i.startswith("docker")]
    assert call(h1, "NetworkDriver.DeleteNetwork", {"NetworkID": n}) == (200, {})


@topology(timeout=60)
def test_plugin_a_docker_that_hangs_holds_up_nobody(net, h1):
    """The network's name has to be asked for, and Docker does not answer: who needs the name is refused in time, others are answered at once."""
    argv = plugin_of(h1)[:2]
    path = f"{h1.state_dir}-docker.sock"
    with socket.socket(socket.AF_UNIX) as docker:
        docker.bind(path)
        docker.listen(64)
        h1.start_daemon(*argv, "--docker-host", f"unix://{path}")
        pool = call(h1, "IpamDriver.RequestPool", {"Pool": ""})[1]
        n = f"{3:064x}"
        assert call(h1, "NetworkDriver.CreateNetwork", {
            "NetworkID": n, "IPv4Data": [{"AddressSpace": "weft", "Gateway": gateway_of(pool), "Pool": pool["Pool"]}]}) == (200, {})
        with concurrent.futures.ThreadPoolExecutor() as pools:
            asked = pools.submit(address, h1, pool)
            for _ in range(20):
                began = time.monotonic()
                assert call(h1, "NetworkDriver.GetCapabilities")[0] == 200
                assert time.monotonic() - began < 1, "somebody waited for Docker"
            began = time.monotonic()
            answer = asked.result()
            assert "weft.network=NAME" in answer["Error"] and time.monotonic() - began < 6, answer
            # a network and a pool of which there is no record: Docker would know
            for asked in (pools.submit(endpoint, h1, "f" * 64, 8, "10.32.0.9/12"), pools.submit(
                    call, h1, "IpamDriver.RequestAddress", {"PoolID": "weft-any-10.32.0.0_12-169.254.200.1", "Address": ""})):
                began = time.monotonic()
                assert call(h1, "NetworkDriver.GetCapabilities")[0] == 200 and time.monotonic() - began < 1, "somebody waited for Docker"
                answer = asked.result()[1]
                assert "Docker does not answer" in answer["Err"] and "create it again" in answer["Err"], answer
                assert time.monotonic() - began < 6, answer
    unmake(h1, n, pool)
    nothing_left(h1)


@topology(timeout=120)
def test_plugin_killed_at_any_moment(net, h1):
    """The daemon is killed while endpoints come and go, again and again; then dockerd's part is done to its end, and nothing is left."""
    seed = int.from_bytes(os.urandom(4), "big")
    print(f"seed {seed}")
    rng = random.Random(seed)
    h1.start_daemon(*plugin_of(h1), env={"WEFT_UNUSED_MS": "1500"})
    n, pool = make(h1, 1)
    given, asked, stop = set(), set(), threading.Event()

    def churn(first):
        number = first
        while not stop.is_set():
            number += 8
            ident = (number << 208) + number
            with contextlib.suppress(OSError, ValueError, IndexError, KeyError):
                addr = address(h1, pool)["Address"]
                given.add(addr)
                asked.add(ident)
                endpoint(h1, n, ident, addr)
                ids = {"NetworkID": n, "EndpointID": f"{ident:064x}"}
                call(h1, "NetworkDriver.Join", {**ids, "SandboxKey": f"/s{number}"})
                if number % 16 < 8:
                    call(h1, "NetworkDriver.Leave", ids)
                    call(h1, "NetworkDriver.DeleteEndpoint", ids)
                    call(h1, "IpamDriver.ReleaseAddress", {"PoolID": pool["PoolID"], "Address": addr.split("/")[0]})

    threads = [threading.Thread(target=churn, args=(i,)) for i in range(3)]
    for t in threads:
        t.start()
    for _ in range(5):
        time.sleep(rng.uniform(0.1, 0.6))
        h1.kill()
        h1.restart()
    stop.set()
    for t in threads:
        t.join()
    assert len(asked) >= 10, f"only {len(asked)} endpoints were asked for"
    unmake(h1, n, pool, asked, given)
    wait_until(lambda: not [i for i in leases(h1) if i.startswith("docker")], 10, "no lease is left")
    nothing_left(h1)
    wait_until(lambda: "n1" not in h1.weft_ok("network", "ls"), 5, "the network is gone")


# --- a disk that was lost


def lose_disk(host):
    host.kill()
    host.forget_state()
    host.restart()


def more_of(host, network, count, taken):
    """So many new containers there: none gets an address that is taken."""
    made = []
    for i in range(count):
        made.append(host.run(f"more-{network}-{i}", "--net", network))
        assert made[-1].ip(network) not in taken, (network, made[-1].ip(network), taken)
        taken.add(made[-1].ip(network))
    return made


@topology(timeout=240)
def test_C2_networks_are_taken_up_again_by_a_host_that_lost_its_disk(dock, d1):
    """Nobody else knows of anything: all is made again from Docker's API and from the kernel."""
    d1.start_daemon("--ipalloc-range6", "fd00:7::/64", env={"WEFT_UNUSED_MS": "3000"})
    networks = {"any": (), "sub": ("--subnet", "10.40.0.0/16"), "any6": ("--ipv6",), "named": ("-o", "weft.network=other", "-o", "weft.mtu=1300"),
                "full": ("--subnet", "10.41.0.0/24", "--ip-range", "10.41.0.0/29", "--gateway", "10.41.0.1", "--aux-address", "r=10.41.0.3"),
                "sub6": ("--ipv6", "--subnet", "10.42.0.0/16", "--subnet", "fd00:42::/64")}
    for name, args in networks.items():
        create((d1,), *args, name)
    old = {name: d1.run(f"old-{name}", "--net", name) for name in networks}
    subnets = {name: prefixes(c, "ethwe0")[0] for name, c in old.items()}
    attached = sorted(d1.weft_ok("ps").splitlines())
    lose_disk(d1)
    wait_until(lambda: sorted(d1.weft_ok("ps").splitlines())[:-1] == attached[:-1], 10, "what runs is attached as before")
    verify(d1)
    taken = {name: {old[name].ip(name)} for name in networks}
    taken["full"] |= {"10.41.0.1", "10.41.0.3"}
    for name in networks:
        new = more_of(d1, name, 3, taken[name])
        assert ipaddress.ip_interface(prefixes(new[0], "ethwe0")[0]).network == ipaddress.ip_interface(subnets[name]).network
        assert new[0].reaches(old[name].ip(name)) and old[name].reaches(new[1].ip(name)), name
    assert interface(d1.container("more-named-0"), "ethwe0")["mtu"] == 1300
    for name in ("any6", "sub6"):
        all6 = [d1.container(f"more-{name}-{i}").endpoint(name)["GlobalIPv6Address"] for i in range(3)]
        assert len({old[name].endpoint(name)["GlobalIPv6Address"], *all6}) == 4, all6
    d1.docker("network", "connect", "sub", "old-any")  # another interface with the routes that each has
    assert old["any"].reaches(old["sub"].ip("sub"))
    why = refused(d1, "run", "-d", "--name", "clash", "--net", "sub", "--ip", old["sub"].ip("sub"), "busybox:local", "sleep", "1")
    assert "another container" in why, why
    d1.docker("rm", "-f", "clash")
    why = refused(d1, "run", "-d", "--name", "clash", "--net", "full", "--ip", "10.41.0.3", "busybox:local", "sleep", "1")
    assert "set aside" in why, why
    d1.docker("rm", "-f", "clash")
    verify(d1)
    # what was taken up again is on disk, ends as all others do, and leaves nothing
    d1.kill()
    d1.restart()
    verify(d1)
    d1.docker("restart", "-t", "1", "old-any", "old-full")
    for name in networks:
        d1.docker("rm", "-f", f"old-{name}", *(f"more-{name}-{i}" for i in range(3)))
    wait_until(lambda: not [i for i, v in leases(d1).items() if i.startswith("docker") and not {"10.41.0.1/24", "10.41.0.3/24"} & set(v)],
               8, "no lease is left but of what is set aside")
    for name in networks:
        d1.docker("network", "rm", name)
    wait_clean(d1)
    wait_until(lambda: not {"any", "sub", "any6", "other", "full", "sub6"} & set(d1.weft_ok("network", "ls").split()), 5, "the networks are gone")


@topology(timeout=180)
def test_C2_a_host_that_lost_its_disk_is_back_in_a_mesh(dock, d1, d2):
    start(d1, d2)
    create((d1, d2), "app")
    a, b = d1.run("aa", "--net", "app"), d2.run("bb", "--net", "app")
    wait_until(lambda: a.reaches(b.ip("app")), 5, "both reach each other")
    lose_disk(d1)
    wait_until(lambda: b.reaches(a.ip("app")), 10, "the container is reached as before")
    c = d1.run("cc", "--net", "app")  # at once
    assert c.ip("app") not in (a.ip("app"), b.ip("app"))
    wait_until(lambda: c.reaches(b.ip("app")) and c.reaches(a.ip("app")) and b.reaches(c.ip("app")), 5, "a new one reaches the other two")
    verify(d1, d2)
    d1.docker("rm", "-f", "aa", "cc")
    wait_clean(d1)
    d1.docker("network", "rm", "app")
    create((d1,), "app")
    d = d1.run("dd", "--net", "app")
    wait_until(lambda: d.reaches(b.ip("app")), 5, "one on a network made anew reaches the other host")


@topology(timeout=180)
def test_C2_two_of_dockers_networks_that_are_one_in_weft_are_taken_up_again(dock, d1):
    """Docker's API does not tell which pool is whose."""
    start(d1)
    for name in ("one", "two"):
        create((d1,), "-o", "weft.network=both", "--subnet", "10.40.0.0/24", name)
    old = {name: d1.run(f"old-{name}", "--net", name) for name in ("one", "two")}
    lose_disk(d1)
    taken = {old[name].ip(name) for name in old}
    wait_until(lambda: d1.weft_ok("ps").count("docker:") == 2, 10, "what runs is attached as before")
    new = more_of(d1, "two", 1, taken) + more_of(d1, "one", 1, taken)
    assert new[0].reaches(old["one"].ip("one")) and new[1].reaches(old["two"].ip("two"))
    d1.docker("rm", "-f", "old-two", "more-two-0")
    d1.docker("network", "rm", "two")
    new = [*new, d1.run("last", "--net", "one")]
    assert new[2].reaches(old["one"].ip("one"))
    verify(d1)
    d1.docker("rm", "-f", "old-one", "more-one-0", "last")
    wait_clean(d1)


@topology(timeout=180)
def test_C2_after_a_reset_addresses_that_docker_still_has_are_nobody_elses(dock, d1):
    """`weft reset` takes the interfaces out of the containers; Docker goes on with their addresses until they are started anew."""
    start(d1)
    create((d1,), "--subnet", "10.40.0.0/29", "app")
    old = d1.run("old", "--net", "app")
    had = old.ip("app")
    d1.weft_ok("reset", "--force")
    wait_until(lambda: not d1.running(), 10, "the daemon has ended")
    d1.restart()
    more = more_of(d1, "app", 3, {had})
    d1.docker("restart", "-t", "1", "old")
    wait_until(lambda: old.reaches(more[0].ip("app")), 5, "started anew it is attached again")
    verify(d1)
    d1.docker("rm", "-f", "old", *(c.name for c in more))
    wait_clean(d1)
