"""weft verify (O3): what belongs together, and each kind of leak, planted by hand."""

import concurrent.futures
import json
import re
import signal
import threading

from lib import bare, topology, wait_linked, wait_until

FQDN = "lost.weft.local"


def verify(h, *args):
    p = h.weft("verify", *args)
    return p.returncode, p.stdout.splitlines(), p.stderr


def finds(h, check, words, wait=1):
    """One finding of that kind, which says all of the words, and no other one."""
    code, lines, err = verify(h, "--wait", wait)
    assert code == 1 and "each line says what to do" in err, (code, lines, err)
    found = [line for line in lines if not line.startswith("note: ")][:-1]
    assert len(found) == 1 and lines[-1] == "1 findings", lines
    assert found[0].startswith(check + ": ") and all(w in found[0] for w in words), (words, found)
    assert "; " in found[0], "it does not say what to do"


def clean(h, what="all is well"):
    code, lines, err = verify(h)
    assert code == 0 and not err and lines[-1].startswith("ok: "), (what, code, lines, err)
    return lines


@topology(timeout=120)
def test_O3_two_hosts_in_order_have_nothing_to_say(h1, h2, c1, c2):
    h1.start_daemon()
    assert re.match(r"ok: 0 addresses, 0 containers", clean(h1)[-1])
    h2.start_daemon(peers=[h1])
    wait_linked(h1, h2)
    h1.attach(c1)
    h2.attach(c2)
    h2.weft_ok("dns-add", c2, "-h", "two.weft.local")
    wait_until(lambda: c1.ping(c2.ips()[0]), 5, "c1 reaches c2")
    for h in (h1, h2):
        line = clean(h)[-1]
        assert "1 addresses, 1 containers, 1 interfaces" in line and "1 other hosts know the same" in line, line
    doc = h2.weft_json("verify")
    assert doc["schema"] == 1 and doc["ok"] and doc["findings"] == [] and doc["looked_at"]["names"] == 1
    assert doc["waited_s"] < 4, "nothing to wait for"
    assert h1.weft("verify", "--wait", "61").returncode == 2 and h1.weft("verify", "x").returncode == 2
    assert h1.weft("verify", "--wait", "-1").returncode == 2
    h1.stop()
    assert verify(h1)[0] == 3


@topology(timeout=180)
def test_O3_each_kind_of_leak_is_found_and_named(h1, c1):
    h1.start_daemon()
    addr = h1.attach(c1)[0]
    wait_until(lambda: verify(h1)[0] == 0, 20, "the tables of the start are sorted out")
    port = h1.weft_json("ps")["containers"][0]
    assert port["id"] == str(c1)
    veth = next(w for w in h1.exec("ip", "-o", "link").stdout.split() if w.startswith("vethwe")).split("@")[0]

    # an address that nobody uses
    assert h1.api("POST", "/ip/docker:0123").status == 200
    finds(h1, "address", ["docker:0123", "no such container"])
    h1.api("DELETE", "/ip/docker:0123")
    assert h1.api("POST", "/ip/somebody").status == 200
    assert any(line.startswith("note: address: ") and "somebody" in line for line in clean(h1))
    h1.api("DELETE", "/ip/somebody")

    # one that is used and anybody might get
    assert h1.api("DELETE", f"/ip/{c1}/{bare(addr)}").status == 204
    finds(h1, "address", [bare(addr), "held for nobody"])
    assert h1.api("PUT", f"/ip/other/{bare(addr)}/12").status == 204
    finds(h1, "address", [bare(addr), "held for other"])
    h1.api("DELETE", "/ip/other")
    h1.attach(c1)
    clean(h1, "attached again")

    # names
    h1.weft_ok("dns-add", "10.32.7.7", "ghost", "-h", FQDN)
    finds(h1, "name", [FQDN, "10.32.7.7", "ghost"])
    h1.weft_ok("dns-remove", "ghost")
    h1.weft_ok("dns-add", "10.32.7.7", "-h", FQDN)
    clean(h1, "a name by hand is nobody's")

    # interfaces
    h1.exec("ip", "link", "add", "vethwe-lost", "type", "veth", "peer", "name", "lost")
    finds(h1, "interface", ["vethwe-lost", "nothing says for whom", "ip link del"])
    h1.exec("ip", "link", "set", "vethwe-lost", "alias", "weft1 id=ghost mac=02:00:00:00:00:09 addrs=10.32.7.7/12")
    finds(h1, "interface", ["vethwe-lost", "ghost"])
    h1.exec("ip", "link", "del", "vethwe-lost")
    alias = h1.exec("cat", f"/sys/class/net/{veth}/ifalias").stdout.strip()
    h1.exec("ip", "link", "set", veth, "alias", alias.replace(bare(addr), "10.32.7.7"))
    finds(h1, "interface", [veth, "other addresses"])
    h1.exec("ip", "link", "set", veth, "alias", alias)
    clean(h1, "interfaces are as they were")

    # devices of a network that is none
    h1.exec("ip", "link", "add", "weft-77", "type", "bridge")
    finds(h1, "device", ["weft-77", "ip link del weft-77"])
    h1.exec("ip", "link", "del", "weft-77")
    h1.exec("ip", "link", "add", "weft-x", "type", "bridge")
    clean(h1, "weft-x is somebody else's")

    # where no container is
    h1.exec("bridge", "fdb", "add", "02:00:00:00:00:09", "dev", "weft-tap", "master", "static")
    finds(h1, "forwarding", ["02:00:00:00:00:09"])
    h1.exec("bridge", "fdb", "del", "02:00:00:00:00:09", "dev", "weft-tap", "master")
    h1.exec("ip", "neigh", "add", "10.32.7.7", "lladdr", "02:00:00:00:00:09", "dev", "weft", "nud", "permanent")
    finds(h1, "forwarding", ["10.32.7.7", "02:00:00:00:00:09"])
    h1.exec("ip", "neigh", "del", "10.32.7.7", "dev", "weft")

    # two at once, in JSON, with what to do
    h1.exec("ip", "link", "add", "vethwe-lost", "type", "veth", "peer", "name", "lost")
    h1.exec("ip", "link", "add", "weft-77", "type", "bridge")
    p = h1.weft("-o", "json", "verify", "--wait", "0")
    doc = json.loads(p.stdout)
    assert p.returncode == 1 and not doc["ok"] and [f["check"] for f in doc["findings"]] == ["device", "interface"]
    assert all(f["text"] and f["todo"] for f in doc["findings"])
    assert h1.api("GET", "/verify?wait=0").status == 503
    assert h1.api("GET", "/verify?wait=x").status == 400
    for dev in ("vethwe-lost", "weft-77"):
        h1.exec("ip", "link", "del", dev)
    clean(h1, "all is put right")


@topology(timeout=120)
def test_O3_a_container_that_may_be_restarting_is_no_leak(h1, c1):
    h1.start_daemon()
    h1.attach(c1)
    wait_until(lambda: verify(h1)[0] == 0, 20, "the tables of the start are sorted out")
    c1.end()
    wait_until(lambda: any("has lost its interface" in line for line in clean(h1)), 10, "it is known to be away")
    wait_until(lambda: "0 containers" in clean(h1)[-1], 60, "it is given up")
    assert "0 addresses" in clean(h1)[-1]


@topology(timeout=120)
def test_O3_a_host_that_does_not_answer_is_named(h1, h2, h3, c1):
    h1.start_daemon()
    h2.start_daemon(peers=[h1])
    h3.start_daemon(peers=[h1])
    wait_linked(h1, h2, h3)
    h1.attach(c1)
    wait_until(lambda: verify(h1)[0] == 0, 20, "the tables of the start are sorted out")
    h3.daemon.send_signal(signal.SIGSTOP)
    try:
        finds(h1, "state", ["h3", "does not say"], wait=0)
    finally:
        h3.daemon.send_signal(signal.SIGCONT)
    wait_until(lambda: verify(h1)[0] == 0, 20, "h3 is back")


@topology(timeout=120)
def test_O3_more_than_is_told_is_not_forgotten(h1):
    """A thousand findings that are under way, and behind them, never told of, one that stays."""
    h1.start_daemon()
    idents = [f"cni:{n}/eth0/net" for n in range(1000)]

    def each(method, path):
        with concurrent.futures.ThreadPoolExecutor(8) as pool:
            assert all(r.status in (200, 204) for r in pool.map(lambda i: h1.api(method, path.format(i.replace("/", "%2F"))), idents))

    each("POST", "/ip/{}")
    h1.exec("ip", "link", "add", "vethwelost", "type", "veth", "peer", "name", "lost")
    code, lines, _ = verify(h1, "--wait", "0")
    assert code == 1 and lines[-1] == "1001 findings" and not any("vethwelost" in line for line in lines)
    begun = threading.Timer(1, each, ("DELETE", "/ip/{}"))
    begun.start()
    code, lines, _ = verify(h1, "--wait", "15")
    begun.join()
    assert code == 1 and lines[-1] == "1 findings" and "vethwelost" in lines[0], (code, lines[-3:])
    h1.exec("ip", "link", "del", "vethwelost")
    clean(h1)
