"""weft-cni: as a runtime calls it, through libcni, and under podman.

     c1, c3 ─ weft-cni ─ h1 ═══ underlay ═══ h2 ─ weft-cni ─ c2
"""

import concurrent.futures
import json
import os
import random
import socket
import stat
import threading
import time

from lib import DNS, bare, command, in_netns, topology, wait_linked, wait_until
from lib import document
from lib.cni import Cni, Runtime, leftovers, plugins, podman
from lib.proc import build_dir

VERSIONS = ("0.3.1", "0.4.0", "1.0.0", "1.1.0")
PORTMAP = {"type": "portmap", "capabilities": {"portMappings": True}, "snat": True}


def routes(container):
    found = json.loads(container.exec("ip", "-json", "route").stdout)
    return {(r["dst"], r.get("gateway")) for r in found}


def reaches(container, *addrs):
    """It gets answers from all of these; on a busy machine perhaps not to the first question."""
    for addr in addrs:
        wait_until(lambda addr=addr: container.ping(addr), 5, f"{container.name} reaches {addr}")
    return True


def held(data):
    """The addresses that host-local has given out."""
    d = os.path.join(data, "net")
    return [f for f in os.listdir(d) if f[0].isdigit()] if os.path.isdir(d) else []


def qdisc(place, dev):
    found = json.loads(place.exec("tc", "-json", "qdisc", "show", "dev", dev).stdout)
    return next((q for q in found if q["kind"] == "tbf" and q.get("root")), None)


@topology(timeout=60)
def test_C4_each_version_has_its_result(h1, c1):
    h1.start_daemon()
    for version in VERSIONS:
        cni = Cni(h1, version)
        r = cni.add(c1, args="IgnoreUnknown=1;K8S_POD_NAME=web;FOO=1")
        assert r.doc["cniVersion"] == version
        assert r.addresses == c1.addresses("eth0"), (r, c1.addresses("eth0"))
        ip, (outer, inner) = r.doc["ips"][0], r.doc["interfaces"]
        assert ip["interface"] == 1 and ("version" in ip) == (version < "1"), ip
        assert inner["name"] == "eth0" and inner["mac"] == c1.mac("eth0") and inner["sandbox"] == f"/run/netns/{c1.netns}"
        assert outer["mac"] == h1.mac(outer["name"]) and "sandbox" not in outer
        assert ("mtu" in inner) == (version == "1.1.0"), inner
        assert r.doc["routes"] == [{"dst": "0.0.0.0/0", "gw": ip["gateway"]}]
        assert ("default", ip["gateway"]) in routes(c1), routes(c1)
        assert f"{ip['gateway']}/12" in h1.addresses("weft"), h1.addresses("weft")
        assert r.doc["dns"] == {"nameservers": [DNS], "domain": "weft.local", "search": ["weft.local"]}
        assert c1.dig("web.weft.local", server=DNS).data == [bare(r.addresses[0])]
        reaches(c1, ip["gateway"])
        assert h1.exec("cat", "/proc/sys/net/ipv4/ip_forward").stdout == "1\n"
        again = cni.call("ADD", c1)
        assert again.code == 4 and "eth0" in again.msg, again
        assert cni.check(c1, r).code == (1 if version == "0.3.1" else 0)
        cni.delete(c1, prevResult=r.doc)
        assert c1.addresses("eth0") == [] and leftovers(h1) == []
        cni.delete(c1)
    r = Cni(h1).call("VERSION", stdin='{"cniVersion": "1.0.0"}')
    assert r.doc == {"cniVersion": "1.0.0", "supportedVersions": list(VERSIONS)}, r
    assert Cni(h1, "0.2.0").call("ADD", c1).code == 1


@topology(timeout=60)
def test_C4_containers_of_two_hosts_reach_each_other_by_name(h1, h2, c1, c2, c3):
    h1.start_daemon()
    h2.start_daemon(peers=[h1])
    wait_linked(h1, h2)
    caps = {"aliases": {"net": ["store", "db.weft.local", "not a name"], "other": ["no"]}}
    r1 = Cni(h1).add(c1, args="IgnoreUnknown=1;K8S_POD_NAME=web;K8S_POD_NAMESPACE=shop", runtimeConfig=caps)
    assert "not a name" in r1.stderr, "what is no name is said"
    r2 = Cni(h2).add(c2)
    a1 = bare(r1.addresses[0])
    wait_until(lambda: c2.ping(a1), 5, "c2 reaches c1")
    for name in ("web.shop.weft.local", "store.weft.local", "db.weft.local"):
        wait_until(lambda name=name: c2.dig(name, server=DNS).data == [a1], 5, f"h2 knows {name}")
    assert c2.dig("no.weft.local", server=DNS).status == "NXDOMAIN"
    Cni(h1).add(c3, names=False, args="K8S_POD_NAME=quiet", dns={"nameservers": ["192.0.2.1"]})
    assert c2.dig("quiet.weft.local", server=DNS).status == "NXDOMAIN"
    Cni(h1).delete(c1)
    wait_until(lambda: c2.dig("store.weft.local", server=DNS).status == "NXDOMAIN", 5, "c1's names are gone everywhere")
    Cni(h2).delete(c2, prevResult=r2.doc)


@topology(timeout=60)
def test_C4_capabilities_and_options(h1, c1):
    h1.start_daemon()
    cni = Cni(h1)
    caps = {"ips": ["10.32.5.5"], "mac": "02:AA:bb:cc:dd:05", "dns": {"servers": ["192.0.2.9"], "searches": ["x.example"], "options": ["ndots:2"]},
            "bandwidth": {"ingressRate": 8000000, "ingressBurst": 800000, "egressRate": 16000000, "egressBurst": 1600000}}
    r = cni.add(c1, runtimeConfig=caps, capabilities={"ips": True, "mac": True}, mtu=1300, hairpinMode=False, multicastRoute=False)
    assert r.addresses == ["10.32.5.5/12"] == c1.addresses("eth0")
    assert c1.mac("eth0") == "02:aa:bb:cc:dd:05" == r.doc["interfaces"][1]["mac"]
    assert r.doc["dns"] == {"nameservers": ["192.0.2.9"], "search": ["x.example"], "options": ["ndots:2"]}
    outer = r.doc["interfaces"][0]["name"]
    into, out = qdisc(h1, outer), qdisc(c1, "eth0")
    assert into["options"]["rate"] == 1000000 and into["options"]["burst"] in range(99000, 101000), into
    assert out["options"]["rate"] == 2000000, out
    assert json.loads(c1.exec("ip", "-json", "link", "show", "eth0").stdout)[0]["mtu"] == 1300 == r.doc["interfaces"][1]["mtu"]
    port = json.loads(h1.exec("ip", "-json", "-details", "link", "show", outer).stdout)[0]
    assert port["linkinfo"]["info_slave_data"]["hairpin"] is False and port["mtu"] == 1300, port
    assert not any(dst.startswith("224.") for dst, _ in routes(c1)), routes(c1)
    assert cni.check(c1, r, runtimeConfig=caps).code == 0
    c1.exec("tc", "qdisc", "del", "dev", "eth0", "root")
    lost = cni.check(c1, r, runtimeConfig=caps)
    assert lost.code == 101 and "bandwidth" in lost.msg, lost
    cni.delete(c1)

    # CNI_ARGS, as podman gives them; the length may be given; the result says so. Hairpin and multicast are on unless said otherwise.
    r = cni.add(c1, args="IgnoreUnknown=1;IP=10.32.7.7/24;MAC=02:aa:bb:cc:dd:07")
    assert r.addresses == ["10.32.7.7/24"] and c1.mac("eth0") == "02:aa:bb:cc:dd:07"
    port = json.loads(h1.exec("ip", "-json", "-details", "link", "show", r.doc["interfaces"][0]["name"]).stdout)[0]
    assert port["linkinfo"]["info_slave_data"]["hairpin"] is True, port
    gw = r.doc["ips"][0]["gateway"]
    assert {(gw, None), ("default", gw)} <= routes(c1) and reaches(c1, gw), "a gateway outside of its subnet is one all the same"
    assert ("224.0.0.0/4", None) in routes(c1), routes(c1)
    cni.delete(c1)

    # Behind another plugin in a list: its results stay first.
    first = {"cniVersion": "1.1.0", "interfaces": [{"name": "other0"}], "ips": [{"address": "192.0.2.5/24", "interface": 0}], "routes": [], "dns": {}}
    r = cni.add(c1, prevResult=first)
    assert [i["name"] for i in r.doc["interfaces"]][::2] == ["other0", "eth0"] and r.addresses == ["192.0.2.5/24", *c1.addresses("eth0")], r
    assert [ip["interface"] for ip in r.doc["ips"]] == [0, 2] and cni.check(c1, r).code == 0, r
    cni.delete(c1, prevResult=r.doc)
    # A subnet, routes of one's own, no default route.
    r = cni.add(c1, ipam={"type": "weft", "subnet": "10.32.9.0/24", "routes": [{"dst": "192.0.2.0/24"}]})
    assert r.addresses[0].startswith("10.32.9.") and r.addresses[0].endswith("/24"), r
    assert not any(dst == "default" for dst, _ in routes(c1)), routes(c1)
    cni.delete(c1)
    # No gateway at all.
    r = cni.add(c1, isGateway=False)
    assert r.doc["routes"] == [] and "gateway" not in r.doc["ips"][0]
    cni.delete(c1)
    # Another of weft's networks.
    assert h1.weft("network", "create", "blue", "--subnet", "10.40.0.0/16").returncode == 0
    r = cni.add(c1, network="blue")
    assert r.addresses[0].startswith("10.40.") and reaches(c1, r.doc["ips"][0]["gateway"]), r
    assert [c["network"] for c in h1.weft_json("ps")["containers"] if c["id"].startswith("cni:")] == ["blue"]
    cni.delete(c1)
    assert leftovers(h1) == []


@topology(timeout=60)
def test_C4_containers_have_ipv6_as_well(h1, c1):
    h1.start_daemon("--ipalloc-range6", "fd00:5::/64")
    cni = Cni(h1)
    r = cni.add(c1)
    four, six = r.doc["ips"]
    assert six["address"] in c1.addresses("eth0", 6) and six["address"].startswith("fd00:5::"), r
    assert [x["dst"] for x in r.doc["routes"]] == ["0.0.0.0/0", "::/0"] and reaches(c1, six["gateway"], four["gateway"]), r
    assert cni.check(c1, r).code == 0
    cni.delete(c1)
    # One that is asked for comes with its IPv4 address; both may be asked for.
    both = [bare(i["address"]) for i in (four, six)]
    assert [bare(a) for a in cni.add(c1, args="IP=" + ",".join(both)).addresses] == both
    cni.delete(c1)
    r = cni.add(c1, runtimeConfig={"ips": ["fd00:5::77"]})
    assert [bare(a) for a in r.addresses] == ["10.32.0.119", "fd00:5::77"] and reaches(c1, r.doc["ips"][1]["gateway"]), r
    assert cni.check(c1, r).code == 0
    cni.delete(c1)
    r = cni.call("ADD", c1, runtimeConfig={"ips": ["fd00:6::77"]})
    assert r.code == 7 and "fd00:6::77" in r.msg, r
    assert c1.addresses("eth0") == [] and leftovers(h1) == []


@topology(timeout=60)
def test_C4_bandwidth_is_held_both_ways(h1, c1, c3):
    h1.start_daemon()
    rate = 16_000_000  # bits a second
    caps = {"bandwidth": {"ingressRate": rate, "ingressBurst": 800000, "egressRate": rate, "egressBurst": 800000}}
    cni = Cni(h1)
    limited, free = cni.add(c1, runtimeConfig=caps), cni.add(c3)

    def seconds(sender, receiver, addr, size=2_000_000):
        with in_netns(receiver.netns):
            server = socket.create_server((addr, 7000))
        with in_netns(sender.netns):
            client = socket.create_connection((addr, 7000))
        start = time.monotonic()
        with client, server.accept()[0] as conn:
            threading.Thread(target=lambda: (client.sendall(b"x" * size), client.shutdown(socket.SHUT_WR)), daemon=True).start()
            left = size
            while left > 0:
                left -= len(conn.recv(65536))
        server.close()
        return time.monotonic() - start

    into = seconds(c3, c1, bare(limited.addresses[0]))
    out = seconds(c1, c3, bare(free.addresses[0]))
    # 2 MB at 2 MB/s, less the burst of 0.1 MB; not so fast as without, not so slow as if it were 1 MB/s
    assert 0.8 < into < 2.5 and 0.8 < out < 2.5, (into, out)
    cni.delete(c1)
    cni.delete(c3)


@topology(timeout=60)
def test_C4_another_plugin_gives_the_addresses(net, h1, c1, c3):
    plugins("host-local")
    h1.start_daemon()
    data = os.path.join(net.dir, "host-local")
    ipam = {"type": "host-local", "dataDir": data, "ranges": [[{"subnet": "10.32.7.0/24", "gateway": "10.32.7.1"}]],
            "routes": [{"dst": "0.0.0.0/0"}, {"dst": "192.0.2.0/24", "gw": "10.32.7.9"}]}
    for version in ("0.3.1", "0.4.0", "1.0.0"):
        cni = Cni(h1, version, ipam=ipam, isGateway=True)
        r = cni.add(c1)
        assert r.addresses == c1.addresses("eth0") and r.addresses[0].startswith("10.32.7."), r
        assert r.doc["ips"][0]["gateway"] == "10.32.7.1" and "10.32.7.1/24" in h1.addresses("weft"), h1.addresses("weft")
        assert {("default", "10.32.7.1"), ("192.0.2.0/24", "10.32.7.9")} <= routes(c1), routes(c1)
        reaches(c1, "10.32.7.1")
        if version != "0.3.1":
            assert cni.check(c1, r).code == 0
        assert held(data) == [bare(r.addresses[0])]
        cni.delete(c1)
        assert leftovers(h1) == [] and not held(data)
    # What the plugin gives out is another container's in weft already: refused, and the plugin has it back.
    cni = Cni(h1, "1.0.0", ipam={**ipam, "ranges": [[{"subnet": "10.32.8.0/30", "rangeStart": "10.32.8.2", "rangeEnd": "10.32.8.2"}]]})
    Cni(h1).add(c3, runtimeConfig={"ips": ["10.32.8.2/24"]})
    r = cni.call("ADD", c1)
    assert r.code == 100 and "10.32.8.2" in r.msg, r
    assert not held(data)
    assert not c1.addresses("eth0")
    Cni(h1).delete(c3)
    # Of both families.
    cni = Cni(h1, "1.0.0", isGateway=True, ipam={**ipam, "ranges": [*ipam["ranges"], [{"subnet": "fd00:9::/64"}]]})
    r = cni.add(c1)
    assert c1.addresses("eth0", 6) == ["fd00:9::2/64"] == r.addresses[1:] and "fd00:9::1/64" in h1.addresses("weft", 6), (r, h1.addresses("weft", 6))
    assert reaches(c1, "fd00:9::1") and cni.check(c1, r).code == 0
    cni.delete(c1)
    assert leftovers(h1) == [] and not held(data)
    # A plugin from before 1.1.0 has nothing to say to what is new there.
    cni = Cni(h1, ipam=ipam)
    assert cni.call("STATUS").code == 0 and cni.call("GC", **{"cni.dev/valid-attachments": []}).code == 0
    # It is not there.
    r = Cni(h1, "1.0.0", ipam={"type": "no-such-plugin"}).call("ADD", c1)
    assert r.code == 7 and "no-such-plugin" in r.msg, r
    assert leftovers(h1) == []


@topology(timeout=90)
def test_C4_libcni_runs_a_list_with_portmap_and_bandwidth(net, h1, h2, c1, c3):
    plugins("portmap", "bandwidth")
    h1.start_daemon()
    run = Runtime(h1, PORTMAP, {"type": "bandwidth", "capabilities": {"bandwidth": True}}, capabilities={"ips": True, "aliases": True})
    caps = {"portMappings": [{"hostPort": 8089, "containerPort": 80, "protocol": "tcp"}],
            "bandwidth": {"ingressRate": 80000000, "ingressBurst": 8000000, "egressRate": 80000000, "egressBurst": 8000000}}
    doc = run.ok("add", c1, args="IgnoreUnknown=1;K8S_POD_NAME=web", caps=caps)
    addr = bare(doc["ips"][0]["address"])
    assert len(doc["interfaces"]) == 3, doc  # the last is an ifb of the bandwidth plugin
    plain = Runtime(h1, name="plain")  # portmap 1.1.1 looks for rules of IPv6 in any case
    plain.ok("add", c1, ifname="eth7")
    plain.ok("check", c1, ifname="eth7")
    plain.ok("del", c1, ifname="eth7")
    with in_netns(c1.netns):
        server = socket.create_server((addr, 80))

    def serve():
        while True:
            try:
                conn, who = server.accept()
            except OSError:
                return
            with conn:
                conn.sendall(who[0].encode())

    threading.Thread(target=serve, daemon=True).start()

    def call(place, to, port):
        with in_netns(place.netns):
            s = socket.socket()
        with s:
            s.settimeout(2)
            s.connect((to, port))
            return s.recv(64).decode()

    reaches(c1, h2.ip)  # a host outside, which knows nothing of containers' addresses
    assert call(h2, h1.ip, 8089), "a host outside reaches the published port"
    assert call(h1, h1.ip, 8089) and call(h1, "127.0.0.1", 8089), "so does the host itself"
    other = run.ok("add", c3)
    assert call(c3, h1.ip, 8089), "so does another container"
    assert call(c1, h1.ip, 8089), "so does the container itself"
    server.close()
    run.ok("del", c1, caps=caps)
    run.ok("del", c1, caps=caps)
    run.ok("del", c3)
    assert other and leftovers(h1) == []
    assert "8089" not in h1.exec("iptables-save", check=False).stdout
    assert not [x for x in json.loads(h1.exec("ip", "-json", "link").stdout) if x["ifname"].startswith("bwp")]


@topology(timeout=60)
def test_C4_several_interfaces_of_one_container(h1, c1, c3):
    h1.start_daemon()
    one, two = Cni(h1, name="one"), Cni(h1, name="two")
    a, b = one.add(c1), two.add(c1, ifname="eth1", ipam={"subnet": "10.32.64.0/24"})
    assert c1.addresses("eth0") == a.addresses and c1.addresses("eth1") == b.addresses
    assert len([r for r in routes(c1) if r[0] == "default"]) == 1 and b.doc["routes"] == [], "the first network's default route stays"
    assert {c["id"] for c in h1.weft_json("ps")["containers"]} == {f"cni:{c1.name}/eth0/one", f"cni:{c1.name}/eth1/two"}
    assert one.check(c1, a).code == 0 and two.check(c1, b, ifname="eth1").code == 0
    assert one.check(c1, b, ifname="eth1").code == 101, "eth1 is not of network one"
    peer = one.add(c3)
    assert reaches(c3, bare(a.addresses[0])) and reaches(c1, bare(peer.addresses[0]))
    two.delete(c1, ifname="eth1")
    assert c1.addresses("eth0") == a.addresses and c1.addresses("eth1") == []
    one.delete(c1)
    one.delete(c3)
    assert leftovers(h1) == []


@topology(timeout=60)
def test_C4_as_ctr_calls_it(net, h1):
    """The namespace by the process, and none when it is to be removed."""
    h1.start_daemon()
    c = net.process_container(1, "alpha.weft.local")
    cni = Cni(h1)
    r = cni.add(c, netns=f"/proc/{c.pid}/ns/net")
    assert r.addresses == c.addresses("eth0") and cni.check(c, r, netns=f"/proc/{c.pid}/ns/net").code == 0
    cni.delete(c, netns="", prevResult=r.doc)
    assert c.addresses("eth0") == [] and leftovers(h1) == []
    cni.add(c, netns=f"/proc/{c.pid}/ns/net")
    c.end()
    cni.delete(c, netns=f"/proc/{c.pid}/ns/net")
    assert leftovers(h1) == []
    # The host's own namespace is no container's.
    r = cni.call("ADD", c, netns=f"/run/netns/{h1.netns}", ifname="eth9")
    assert r.code == 100 and leftovers(h1) == [], r


@topology(timeout=60)
def test_C4_check_finds_what_has_changed(h1, c1):
    h1.start_daemon()
    cni = Cni(h1)

    def differs(word):
        found = cni.check(c1, r)
        assert found.code == 101 and word in found.msg, (word, found)

    r = cni.add(c1)
    addr, gw = r.addresses[0], r.doc["ips"][0]["gateway"]
    c1.exec("ip", "route", "del", "default")
    differs("0.0.0.0/0")
    c1.exec("ip", "route", "add", "default", "via", gw)
    assert cni.check(c1, r).code == 0
    c1.exec("ip", "addr", "del", addr, "dev", "eth0")
    differs(addr)
    c1.exec("ip", "addr", "add", addr, "dev", "eth0")
    c1.exec("ip", "route", "add", "default", "via", gw)
    assert cni.check(c1, r).code == 0
    mac = c1.mac("eth0")
    c1.exec("ip", "link", "set", "eth0", "address", "02:00:00:00:00:77")
    differs("02:00:00:00:00:77")
    c1.exec("ip", "link", "set", "eth0", "address", mac)
    c1.exec("ip", "route", "replace", "default", "via", gw)
    assert cni.check(c1, r).code == 0
    assert cni.call("CHECK", c1, prevResult={**r.doc, "interfaces": []}).code == 7
    other = json.loads(json.dumps(r.doc).replace(addr, "10.32.99.99/12"))
    assert cni.call("CHECK", c1, prevResult=other).code == 101
    assert h1.api("POST", "/detach", json.dumps({"id": f"cni:{c1.name}/eth0/net"})).status == 200
    differs("eth0")
    assert cni.call("CHECK", c1, prevResult=r.doc, netns="/run/netns/no-such").code == 7  # the result is not of that namespace
    cni.delete(c1)


@topology(timeout=60)
def test_C4_gc_removes_what_no_runtime_knows_of(h1, c1, c3):
    h1.start_daemon()
    net, other = Cni(h1), Cni(h1, name="other")
    keep, gone = net.add(c1), net.add(c3, args="K8S_POD_NAME=ghost")
    other.add(c3, ifname="eth1", isDefaultGateway=False)
    # half of an ADD: an address, a name, no interface
    half = "cni:half/eth0/net"
    addr = h1.api("POST", "/ip/cni%3Ahalf%2Feth0%2Fnet").text
    assert h1.api("PUT", f"/name/cni%3Ahalf%2Feth0%2Fnet/{bare(addr)}?fqdn=half.weft.local").status == 204
    assert half in leftovers(h1)
    refused = net.call("GC")
    assert refused.code == 7 and "valid-attachments" in refused.msg, refused
    gc = net.call("GC", **{"cni.dev/valid-attachments": [{"containerID": c1.name, "ifname": "eth0"}]})
    assert gc.code == 0 and gc.doc is None, gc
    assert c1.addresses("eth0") == keep.addresses and c3.addresses("eth0") == [] and gone
    assert c3.addresses("eth1"), "another network's are not touched"
    left = set(leftovers(h1))
    assert half not in left and "half.weft.local." not in left and not any("ghost" in x for x in left), left
    assert net.call("GC", **{"cni.dev/valid-attachments": []}).code == 0
    assert [c["id"] for c in h1.weft_json("ps")["containers"]] == [f"cni:{c3.name}/eth1/other"]
    other.delete(c3, ifname="eth1")
    assert leftovers(h1) == []


@topology(timeout=60)
def test_C4_without_the_daemon_it_says_so_and_del_works_later(net, h1, c1, c3):
    h1.start_daemon()
    cni = Cni(h1)
    assert cni.call("STATUS").code == 0
    r = cni.add(c1, args="IgnoreUnknown=1;K8S_POD_NAME=web")
    cni.add(c3)
    h1.kill()
    for verb, code in (("ADD", 4), ("DEL", 11), ("STATUS", 51), ("GC", 11), ("CHECK", 11)):
        more = {"cni.dev/valid-attachments": [], "prevResult": r.doc}
        got = cni.call(verb, c1 if verb not in ("STATUS", "GC") else None, **more)
        assert got.code == code, (verb, got)
        assert "not running" in got.msg or verb == "ADD", got
    got = cni.call("ADD", c1, ifname="eth5")
    assert got.code == 11 and "not running" in got.msg, got
    c1.end()  # the namespace goes meanwhile
    h1.restart()
    cni.delete(c1, prevResult=r.doc)
    cni.delete(c3, netns=None)
    assert leftovers(h1) == []
    cni.delete(c1, netns=None)
    assert cni.call("ADD", c1).code == 3, "there is no such namespace"
    cni.add(c3)
    for path in ("/run/netns/" + "x" * 115, "/" + "x" * 300, "gone"):  # DEL has no need of it
        assert cni.call("ADD", c3, netns=path).code in (3, 4), path
        cni.delete(c3, netns=path)
    assert cni.call("ADD", c3, ident="a" * 200).code == 4
    cni.delete(c3, ident="a" * 200)
    assert leftovers(h1) == []


@topology(timeout=60)
def test_C4_status_says_whether_addresses_can_be_given_out(h1, c1):
    h1.start_daemon("--ipalloc-init", "consensus=3")
    got = Cni(h1).call("STATUS")
    assert got.code == 50 and "awaiting" in got.msg + "awaiting" * (h1.status("ipam")["status"] == "idle"), got
    h1.restart(args=("--ipalloc-range", ""))
    assert Cni(h1).call("STATUS").code == 50
    got = Cni(h1).call("ADD", c1, isGateway=False)
    assert got.code == 100, got
    Cni(h1).delete(c1)


class Breaker:
    """Stands between the plugin and the daemon's socket, and lets the n-th request fail in one of several ways; then all pass."""

    def __init__(self, host, path):
        self.host, self.path, self.fail_at, self.how, self.seen = host, path, None, None, 0
        self.socket = socket.socket(socket.AF_UNIX)
        self.socket.bind(path)
        self.socket.listen(16)
        threading.Thread(target=self._serve, daemon=True).start()

    def arm(self, n, how):
        self.fail_at, self.how, self.seen, self.held = n, how, 0, threading.Event()

    def _serve(self):
        while True:
            try:
                conn, _ = self.socket.accept()
            except OSError:
                return
            threading.Thread(target=self._one, args=(conn,), daemon=True).start()

    def _one(self, conn):
        with conn, socket.socket(socket.AF_UNIX) as up:
            n = self.seen
            self.seen += 1
            request = b""
            while b"\r\n\r\n" not in request:
                request += conn.recv(65536)
            head, _, body = request.partition(b"\r\n\r\n")
            length = next((int(line.split(b":")[1]) for line in head.split(b"\r\n") if line.lower().startswith(b"content-length")), 0)
            while len(body) < length:
                body += conn.recv(65536)
            fails = n == self.fail_at
            if fails and self.how == "hang up before":
                return
            if fails and self.how == "refuse":
                text = b'{"error": "planted", "hint": ""}'
                conn.sendall(b"HTTP/1.1 503 x\r\nContent-Length: %d\r\n\r\n%s" % (len(text), text))
                return
            up.connect(self.host.socket)
            up.sendall(head + b"\r\n\r\n" + body)
            answer = b""
            while chunk := up.recv(65536):
                answer += chunk
            if fails and self.how == "hang up after":  # done, and nobody was told
                return
            if fails and self.how == "hold":
                self.held.set()
                while conn.recv(65536):
                    pass
                return
            if fails and self.how == "nonsense":
                answer = b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\n{{{{"
            conn.sendall(answer)


@topology(timeout=180)
def test_C4_whatever_step_fails_nothing_is_left(net, h1, c1):
    plugins("host-local")
    h1.start_daemon()
    path = os.path.join(net.dir, "breaker.sock")
    breaker = Breaker(h1, path)
    data = os.path.join(net.dir, "host-local")
    ipam = {"type": "host-local", "dataDir": data, "ranges": [[{"subnet": "10.32.7.0/24"}]]}
    caps = {"aliases": {"net": ["a", "b"]}, "bandwidth": {"ingressRate": 8000000, "egressRate": 8000000}}
    for conf in ({}, {"ipam": ipam}):
        cni = Cni(h1, "1.0.0", socket=path, runtimeConfig=caps, **conf)
        for how in ("refuse", "hang up before", "hang up after", "nonsense"):
            n, failed = 0, 0
            while True:
                breaker.arm(n, how)
                r = cni.call("ADD", c1, args="IgnoreUnknown=1;K8S_POD_NAME=web")
                if r.code == 0 and breaker.seen <= n:
                    break  # there are no more requests than that
                if r.code == 0:  # a request whose answer does not matter
                    assert how in ("nonsense",), (n, how, r)
                    cni.delete(c1)
                else:
                    failed += 1
                assert c1.addresses("eth0") == [] and leftovers(h1) == [], (n, how, r, leftovers(h1))
                assert not held(data), (n, how)
                n += 1
                assert n < 30, (how, r)
            assert failed >= (1 if how == "nonsense" else 3), (how, failed)  # most answers tell nothing but that it is done
            breaker.arm(None, None)
            cni.delete(c1)
    # Steps that are not the daemon's.
    cni = Cni(h1, "1.0.0")
    for conf, code in (({"mtu": 9000}, 7), ({"runtimeConfig": {"ips": ["192.168.250.1"]}}, 7), ({"network": "nowhere"}, 7),
                       ({"ipam": {"gateway": "10.32.0.77", "routes": [{"dst": "10.99.0.0/16", "gw": "172.16.5.5"}]}}, None)):
        r = cni.call("ADD", c1, **conf)
        assert r.code != 0 and code in (None, r.code), (conf, r)
        assert c1.addresses("eth0") == [] and leftovers(h1) == [], (conf, r, leftovers(h1))


@topology(timeout=90)
def test_C4_an_add_that_was_killed_is_cleaned_up_by_del_or_gc(net, h1, c1):
    h1.start_daemon()
    breaker = Breaker(h1, os.path.join(net.dir, "breaker.sock"))
    cni = Cni(h1, socket=breaker.path, runtimeConfig={"aliases": {"net": ["a"]}})
    n = 0
    while True:
        breaker.arm(n, "hold")
        p = cni.start("ADD", c1, args="K8S_POD_NAME=web")
        wait_until(lambda p=p: breaker.held.is_set() or p.poll() is not None, 20, "a request is held, or all is done")
        done = p.poll() is not None
        p.kill()
        p.communicate()
        breaker.arm(None, None)
        if n % 2 or done:
            cni.delete(c1, netns=True if n % 4 == 1 else None)
        else:
            gc(h1, "net")
        assert c1.addresses("eth0") == [] and leftovers(h1) == [], (n, leftovers(h1))
        if done:
            break
        n += 1
    assert n >= 5, n


@topology(timeout=120)
def test_C4_ipam_plugins_that_misbehave(net, h1, c1):
    h1.start_daemon()
    bad = os.path.join(net.dir, "bad")
    os.mkdir(bad)
    log = os.path.join(net.dir, "calls")
    good = '{"cniVersion": "1.0.0", "ips": [{"address": "10.32.6.6/24"}]}'
    scripts = {
        "fails": ('echo \'{"cniVersion": "1.0.0", "code": 123, "msg": "no more", "details": "ask"}\'; exit 1', 123, "no more"),
        "silent": ("exit 3", 5, "3"),
        "killed": ("kill -9 $$", 5, "signal 9"),
        "garbage": ("echo nonsense", 6, "cannot be read"),
        "nothing": ("true", 6, "cannot be read"),
        "empty": ("echo '{}'", 7, "no address"),
        "list": ("echo '[]'", 6, "object"),
        "wrong": ('echo \'{"ips": [{"address": "10.32.6.6"}]}\'', 6, "address"),
        "huge": ("head -c 3000000 /dev/zero", 6, "cannot be read"),
        "deaf": (f"exec <&-; echo '{good}'", 0, None),
        "once": (f"[ $(tr '\\0' '\\n' </proc/$$/environ | grep -c ^CNI_COMMAND=) = 1 ] && echo '{good}'", 0, None),
        "late": (f"cat >/dev/null; echo '{good}'; exit 7", 5, "7"),
    }
    for name, (script, code, word) in scripts.items():
        path = os.path.join(bad, name)
        with open(path, "w") as f:
            f.write(f'#!/bin/sh\necho "$CNI_COMMAND" >>{log}\n[ "$CNI_COMMAND" = DEL ] && exit 0\n{script}\n')
        os.chmod(path, stat.S_IRWXU)
        open(log, "w").close()
        cni = Cni(h1, "1.0.0", path=bad, ipam={"type": name, "filler": "x" * 200000})
        r = cni.call("ADD", c1)
        assert r.code == code and (word is None or word in r.msg), (name, r)
        calls = open(log).read().split()
        assert calls == (["ADD", "DEL"] if code else ["ADD"]), (name, calls)
        if code == 0:
            cni.delete(c1)
        assert c1.addresses("eth0") == [] and leftovers(h1) == [], (name, leftovers(h1))


@topology(timeout=120)
def test_C4_hostile_calls_get_an_error_and_leave_nothing(h1, c1):
    h1.start_daemon()
    cni = Cni(h1)
    rng = random.Random(20261123)
    netns = f"/run/netns/{c1.netns}"
    whole = json.dumps({**cni.conf, "runtimeConfig": {"ips": ["10.32.5.5"], "mac": "02:aa:bb:cc:dd:05"}, "ipam": {"type": "weft"}})
    names = ["", "\x01", "..", "a/b", "a" * 5000, "é", "%2F", "x y", "-x", "$(id)", ";", "\x7f"]
    for text in ("", "{", "[" * 100000, '"', "null", "0", "{}", '{"cniVersion": "1.0.0"}', "\xff\xfe", "a" * 2_000_000, whole[:-1], whole + "x"):
        r = cni.call("ADD", c1, stdin=text)
        assert r.code in (1, 6, 7), (text[:40], r)
    for value in names:
        for key in ("CNI_CONTAINERID", "CNI_IFNAME", "CNI_NETNS", "CNI_COMMAND", "CNI_ARGS"):
            if (key, value) in (("CNI_ARGS", ""), ("CNI_ARGS", ";")) or (key == "CNI_IFNAME" and value in ("é", "%2F", "-x", "$(id)", ";")):
                continue
            r = cni.call("ADD", c1, env={key: value})
            assert r.code in (3, 4), (key, value, r)
    for netns_path in ("/dev/null", "/etc/passwd", "/proc/self/ns/net", "/", "/dev/zero", "/run/netns/" + "x" * 100):
        r = cni.call("ADD", c1, netns=netns_path)
        assert r.code in (3, 4, 5, 100), (netns_path, r)
    for _ in range(60):  # bytes changed at random
        text = bytearray(whole.encode())
        for _ in range(rng.randrange(1, 4)):
            text[rng.randrange(len(text))] = rng.randrange(32, 127)
        r = cni.call("ADD", c1, stdin=text.decode())
        if r.code == 0:
            command("ip", "netns", "exec", c1.netns, "ip", "link", "del", "eth0", check=False)
            for ident in [c["id"] for c in h1.weft_json("ps")["containers"]]:
                h1.api("POST", "/detach", json.dumps({"id": ident}))
    assert netns and c1.addresses("eth0") == [] and leftovers(h1) == [], leftovers(h1)
    # names as interfaces can have them
    for ifname in ("é1", "%2F", "$(id)", "eth0.5", "a" * 15):
        r = cni.call("ADD", c1, ifname=ifname)
        if r.code == 0:
            assert c1.addresses(ifname) == r.addresses
            cni.delete(c1, ifname=ifname)
    assert leftovers(h1) == []


@topology(timeout=120)
def test_C4_many_at_once(net, h1):
    """Eight at a time, as kubelet does."""
    h1.start_daemon()
    cni = Cni(h1)
    containers = [net.container(n) for n in range(1, 33)]

    def turn(c):
        r = cni.call("ADD", c, args=f"K8S_POD_NAME=p{c.name}")
        check = cni.check(c, r) if r.code == 0 else None
        return r, check

    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        done = list(pool.map(turn, containers))
        assert all(r.code == 0 and check.code == 0 for r, check in done), [x for x in done if x[0].code or x[1].code]
        addrs = [r.addresses[0] for r, _ in done]
        assert len(set(addrs)) == len(addrs)
        assert all(pool.map(lambda c: reaches(c, bare(addrs[0])), containers))
        wait_until(lambda: h1.weft("verify").returncode == 0, 15, "verify finds nothing")
        assert all(r.code == 0 for r in pool.map(lambda c: cni.call("DEL", c), containers))
    assert leftovers(h1) == []
    wait_until(lambda: h1.weft("verify").returncode == 0, 15, "verify finds nothing")


@topology(timeout=60)
def test_C4_setup_cni_installs_what_runtimes_need(net, h1, c1):
    plugins("portmap")
    h1.start_daemon()
    conf, binaries = os.path.join(net.dir, "etc/cni/net.d"), os.path.join(net.dir, "opt/cni/bin")
    args = ("setup-cni", "--dir", conf, "--bin-dir", binaries)
    file, plugin = f"{conf}/10-weft.conflist", f"{binaries}/weft-cni"
    assert h1.weft_ok(*args).split() == [plugin, file]
    first = open(file).read()
    doc = json.loads(first)
    assert doc["name"] == "weft" and [p["type"] for p in doc["plugins"]] == ["weft-cni", "portmap"], doc
    assert doc["plugins"][0]["socket"] == h1.socket
    assert h1.weft_ok(*args) and open(file).read() == first, "twice is once"
    with open(file, "a") as f:
        f.write("\n")
    r = h1.weft(*args)
    assert r.returncode == 1 and "--force" in r.stderr and open(file).read() == first + "\n", r
    assert h1.weft_ok(*args, "--force") and open(file).read() == first
    # a later version replaces an earlier one; what is not weft's stays
    with open(plugin, "ab") as f:
        f.write(b"older")
    assert h1.weft_ok(*args) and open(plugin, "rb").read() == open(os.path.join(build_dir(), "weft-cni"), "rb").read()
    with open(plugin, "w") as f:
        f.write("#!/bin/sh\n")
    assert h1.weft(*args).returncode == 1 and h1.weft(*args, "--force").returncode == 0
    assert h1.weft("setup-cni", "word").returncode == 2 and h1.weft("setup-cni", "--name", "a/b").returncode == 2
    assert sorted(os.listdir(conf)) == ["10-weft.conflist"] and os.listdir(binaries) == ["weft-cni"], "nothing half-written"
    # and it works as it was written
    run = Runtime(h1)
    run.file = file
    added = run.ok("add", c1, path=f"{binaries}:/usr/lib/cni", caps={"ips": ["10.32.4.4"]})
    assert [ip["address"] for ip in added["ips"]] == ["10.32.4.4/12"], added
    run.ok("del", c1, path=f"{binaries}:/usr/lib/cni")
    assert leftovers(h1) == []


@topology(timeout=180)
def test_C4_podman_as_the_howto_says(d1, d2):
    plugins("portmap")
    for h in (d1, d2):
        podman(h)
    try:
        document.run("docs/howto/cni.md", [d1, d2])
        for h in (d1, d2):
            assert not [c for c in h.weft_json("ps")["containers"] if c["id"].startswith("cni:")]
            assert leftovers(h) == [], leftovers(h)
    finally:
        for h in (d1, d2):
            h.exec("podman", "rm", "-fa", "-t", "0", check=False, timeout=60)
            h.weft("stop")


@topology(timeout=180)
def test_C4_podman_names_aliases_restarts_and_several_networks(d1):
    plugins("portmap")
    d1.start_daemon()
    podman(d1)
    d1.weft_ok("setup-cni")
    d1.weft_ok("setup-cni", "--dir", "/tmp/second", "--name", "second")
    d1.exec("mv", "/tmp/second/10-weft.conflist", "/etc/cni/net.d/11-second.conflist")

    def pod(*args, check=True):
        return d1.exec("podman", *args, check=check, timeout=60).stdout.strip()

    def two_reaches(name):
        wait_until(lambda: "1 packets received" in pod("exec", "two", "ping", "-c", "1", "-W", "1", name, check=False), 10, f"two reaches {name}")

    run = ("run", "-d", "--cap-add", "NET_RAW", "--network", "weft")
    try:
        pod(*run, "--name", "db", "--network-alias", "store", "--ip", "10.32.5.5", "busybox:local", "sleep", "1000")
        pod(*run, "--network", "second", "--name", "two", "busybox:local", "sleep", "1000")
        # which of two's networks is eth0 podman leaves to chance
        places = sorted(c["id"].split("/")[1:] for c in d1.weft_json("ps")["containers"] if c["id"].startswith("cni:"))
        assert sorted(network for _, network in places) == ["second", "weft", "weft"], places
        assert sorted(ifname for ifname, _ in places) == ["eth0", "eth0", "eth1"], places
        for name in ("db", "store", "db.weft.local"):
            assert "10.32.5.5" in pod("exec", "two", "nslookup", name, check=False), name
            two_reaches(name)
        # an address that is db's
        p = d1.exec("podman", *run, "--name", "thief", "--ip", "10.32.5.5", "busybox:local", "true", check=False, timeout=60)
        assert p.returncode != 0 and "10.32.5.5" in p.stderr, p.stderr
        pod("rm", "-f", "thief", check=False)
        # a restart gives it a place again, with the address that was asked for
        pod("restart", "-t", "0", "db")
        two_reaches("db")
        d1.restart()
        two_reaches("db")
        pod("network", "disconnect", "second", "two")
        assert len([c for c in d1.weft_json("ps")["containers"] if c["id"].startswith("cni:")]) == 2
        pod("network", "connect", "second", "two")
        # the daemon dies, and a container is removed meanwhile: podman does not ask for its removal again
        d1.kill()
        d1.exec("podman", "rm", "-f", "-t", "0", "two", check=False, timeout=60)
        d1.restart()
        wait_until(lambda: not any(n["Hostname"].startswith("two.") for n in d1.api("GET", "/name").json()), 10, "its names are gone")
    finally:
        pod("rm", "-fa", "-t", "0", check=False)
    gc(d1, "weft", "second")
    assert leftovers(d1) == [], leftovers(d1)


def gc(host, *names):
    for name in names:
        r = Cni(host, name=name).call("GC", **{"cni.dev/valid-attachments": []})
        assert r.code == 0, r
