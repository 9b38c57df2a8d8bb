"""Names and addresses of Docker's containers, kept by what Docker tells; containers by their Docker names."""

import contextlib
import hashlib
import json
import os
import socket
import threading
import time

from lib import Failed, build_dir, sanitized, topology, wait_until

DNS = "169.254.67.83"


def connected(*hosts):
    for d in hosts:
        wait_until(lambda: d.status()["docker"]["connected"], 15, f"{d.name}'s daemon hears Docker")


def lookup(d, name):
    return sorted(d.weft("dns-lookup", name).stdout.split())


def becomes(d, name, want, seconds=3):
    try:
        wait_until(lambda: lookup(d, name) == sorted(want), seconds, f"{name} on {d.name} becomes {want}")
    except Failed as e:
        raise Failed(f"{e}; it is {lookup(d, name)}") from None


def attach(d, name, *args):
    """Its IPv4 address."""
    return d.weft_ok("attach", *args, name).split()[0]


def active(d):
    """Addresses leased on this host."""
    return {a.split("/")[0] for e in d.api("GET", "/ip").json()["owned"] for a in e["addrs"]}


def verified(*hosts):
    for d in hosts:
        p = d.weft("verify", timeout=60)
        assert p.returncode == 0, f"{d.name}: {p.stdout}{p.stderr}"


def lines(d, text):
    return sum(text in line for line in d.log().splitlines())


@topology(timeout=180)
def test_I15_addresses_of_dead_removed_and_restarted_containers(d1):
    """Names go at once; addresses at once when it is removed, stay when it restarts, go 30 s after it died."""
    d1.start_daemon()
    connected(d1)
    for name in ("dies", "restarts", "removed"):
        d1.run(name, "-h", "h-" + name)
    addr = {name: attach(d1, name) for name in ("dies", "restarts", "removed")}
    for name, a in addr.items():
        becomes(d1, name, [a])
        becomes(d1, "h-" + name, [a])
    assert active(d1) == set(addr.values())
    d1.docker("rm", "-f", "removed")
    becomes(d1, "removed", [], 2)
    becomes(d1, "h-removed", [], 1)
    wait_until(lambda: addr["removed"] not in active(d1), 2, "the removed one's address is free at once")
    d1.docker("kill", "dies")
    died = time.monotonic()
    becomes(d1, "dies", [], 2)
    assert addr["dies"] in active(d1), "its address is kept for a while"
    d1.docker("kill", "restarts")
    becomes(d1, "restarts", [], 2)
    mac = next(c["mac"] for c in d1.weft_json("ps")["containers"] if addr["restarts"] in str(c))
    d1.docker("start", "restarts")
    becomes(d1, "restarts", [addr["restarts"]], 5)
    assert d1.container("restarts").ips() == [addr["restarts"]]
    assert d1.container("restarts").mac() == mac
    wait_until(lambda: addr["dies"] not in active(d1), 45, "30 s after its death its address is free")
    assert time.monotonic() - died >= 28, "its address was kept for 30 s"
    assert active(d1) == {addr["restarts"]}
    # One that was away for longer gets its address back while nobody else has it, and another one otherwise.
    d1.docker("start", "dies")
    becomes(d1, "dies", [addr["dies"]], 5)


@topology(timeout=180)
def test_C1_docker_containers_by_name_prefix_and_not_at_all(d1):
    d1.start_daemon()
    connected(d1)
    ids = {}
    while len({i[0] for i in ids}) == len(ids):  # until two ids begin alike
        ids[d1.docker("create", "busybox:local", "sleep", "1").stdout.strip()] = 1
    first = [i[0] for i in ids]
    twice = next(c for c in first if first.count(c) > 1)
    p = d1.weft("attach", twice)
    assert p.returncode == 1 and "several" in p.stderr, p
    p = d1.weft("attach", next(iter(ids)))
    assert p.returncode == 1 and "does not run" in p.stderr, p
    p = d1.weft("attach", "nobody")
    assert p.returncode == 4, p
    web = d1.run("web", "-h", "shop.weft.local")
    cid = web.id
    addr = attach(d1, cid[:12])
    assert attach(d1, "web") == addr, "attaching again changes nothing"
    becomes(d1, "web", [addr])
    becomes(d1, "shop", [addr])
    capture = d1.spawn(os.path.join(build_dir(), "weft"), "capture", "--count", "1", "-w", "/run/web.pcap", "web")
    wait_until(lambda: web.exec("ping", "-c", "1", "-W", "1", DNS, check=False) and capture.poll() is not None, 10,
               "a frame of it is captured")
    assert capture.poll() == 0, d1.log()
    # A name by hand goes with the container that has it; what was put by Docker's word is left alone by it.
    d1.weft_ok("dns-add", "web", "-h", "by-hand.weft.local")
    d1.weft_ok("dns-add", addr, "web", "-h", "by-address.weft.local")
    becomes(d1, "by-hand", [addr])
    d1.docker("rename", "web", "site")
    becomes(d1, "site", [addr])
    becomes(d1, "web", [])
    becomes(d1, "by-hand", [addr], 1)
    becomes(d1, "by-address", [addr], 1)
    d1.weft_ok("dns-remove", "site", "-h", "by-address.weft.local")
    becomes(d1, "by-address", [])
    assert addr in d1.weft_ok("ps", "site") and d1.weft("ps", "web").returncode == 4
    assert [c["name"] for c in d1.weft_json("ps", "site")["containers"]] == ["site"]
    assert addr in d1.weft_ok("ps", cid[:10])
    assert d1.weft_ok("detach", "site").split()[0] == addr
    becomes(d1, "site", [])
    becomes(d1, "shop", [])
    before = d1.status()["docker"]["events"]
    d1.docker("restart", "-t", "0", "site")
    wait_until(lambda: d1.status()["docker"]["events"] >= before + 2, 5, "the daemon has heard of the restart")
    becomes(d1, "site", [], 0.5)
    assert "ethwe" not in d1.container("site").exec("ip", "-o", "link").stdout, "what was detached is not attached again"


@topology(timeout=180)
def test_I18_both_families_are_named_and_attached_again(d1):
    d1.start_daemon("--ipalloc-range6", "fd00:77::/64")
    connected(d1)
    web = d1.run("web")
    both = d1.weft_ok("attach", "web").split()
    assert len(both) == 2 and both[1].startswith("fd00:77::"), both
    becomes(d1, "web", both)
    d1.docker("restart", "-t", "0", "web")
    wait_until(lambda: web.ips() == both[:1] and both[1] in str(web.addresses(family=6)), 5, "it is attached again in both families")
    becomes(d1, "web", both)
    d1.kill()
    d1.docker("restart", "-t", "0", "web")
    d1.restart()
    connected(d1)
    wait_until(lambda: web.ips() == both[:1] and both[1] in str(web.addresses(family=6)), 5, "and after a restart of the daemon")
    becomes(d1, "web", both)
    verified(d1)


@topology(timeout=180)
def test_N14_without_dns(d1):
    d1.start_daemon()
    connected(d1)
    d1.run("quiet", "-h", "quiet.weft.local")
    addr = attach(d1, "quiet", "--without-dns")
    d1.docker("restart", "-t", "0", "quiet")
    wait_until(lambda: d1.container("quiet").ips() == [addr], 5, "it is attached again")
    time.sleep(0.5)
    assert lookup(d1, "quiet") == []
    d1.stop()
    d1.start_daemon("--no-dns")
    connected(d1)
    d1.run("other")
    attach(d1, "other")
    assert d1.weft("dns-lookup", "other").returncode != 0
    d1.docker("kill", "other")
    d1.docker("rm", "other")
    assert not lines(d1, "cannot be changed"), d1.log()


@topology(timeout=240)
def test_N3_five_rounds_of_killing_and_starting_three_replicas(dock, d1, d2):
    """Attached ones, and ones on a network of the plugin's with an alias: after each round exactly the right records, on both hosts."""
    d1.start_daemon()
    d2.start_daemon(peers=[d1])
    connected(d1, d2)
    for d in (d1, d2):
        d.docker("network", "create", "-d", "weft", "--ipam-driver", "weft", "app")
    where = {"r1": d1, "r2": d2, "r3": d2}
    for name, d in where.items():
        d.run(name, "-h", "svc.weft.local")
        attach(d, name)
        d.run("p" + name, "--net", "app", "--network-alias", "pool")

    def addresses(pre=""):
        return [d.container(pre + n).ips()[0] if not pre else d.container(pre + n).ip("app") for n, d in where.items()]

    for round_ in range(5):
        if round_ > 0:
            for name, d in where.items():
                d.docker("kill", name, "p" + name)
            for d in (d1, d2):
                becomes(d, "svc", [], 5)
                becomes(d, "pool", [], 5)
            for name, d in where.items():
                d.docker("start", name, "p" + name)
        for name, d in where.items():
            wait_until(lambda: d.container(name).ips(), 5, f"{name} is attached again")
        svc, pool = addresses(), addresses("p")
        for d in (d1, d2):
            becomes(d, "svc", svc, 5)
            becomes(d, "pool", pool, 5)
            for name, a in zip(where, svc):
                becomes(d, name, [a])
            for name, a in zip(where, pool):
                becomes(d, "p" + name, [a])
    verified(d1, d2)
    for d in (d1, d2):
        for name, host in where.items():
            if host is d:
                d.docker("rm", "-f", name, "p" + name)
    for d in (d1, d2):
        for name in ("svc", "pool", *where, *("p" + n for n in where)):
            becomes(d, name, [], 5)
        wait_until(lambda: d.status("dns")["entries"] == [], 5, "no record is left")
        wait_until(lambda: active(d) == set(), 5, "no address is left")
    verified(d1, d2)


@topology(timeout=240)
def test_C3_N11_what_happened_while_the_daemon_was_down(d1):
    early = d1.run("early", "-h", "first.weft.local")
    d1.start_daemon()
    connected(d1)
    d1.docker("network", "create", "-d", "weft", "--ipam-driver", "weft", "app")
    addr = {"early": attach(d1, "early")}
    for name in ("stays", "goes", "renamed", "restarted", "removed"):
        d1.run(name)
        addr[name] = attach(d1, name)
    d1.run("plugged", "--net", "app", "--network-alias", "ally")
    for name, a in addr.items():
        becomes(d1, name, [a])
    becomes(d1, "ally", [d1.container("plugged").ip("app")])
    d1.kill()
    d1.docker("kill", "goes")
    d1.docker("rename", "renamed", "newname")
    d1.docker("restart", "-t", "0", "restarted")
    d1.docker("rm", "-f", "removed")
    d1.start_daemon()
    connected(d1)
    for name in ("early", "stays", "restarted"):
        becomes(d1, name, [addr[name]], 5)
    becomes(d1, "first", [addr["early"]])
    becomes(d1, "newname", [addr["renamed"]], 5)
    becomes(d1, "ally", [d1.container("plugged").ip("app")], 5)
    becomes(d1, "plugged", [d1.container("plugged").ip("app")])
    for name in ("renamed", "goes", "removed"):
        becomes(d1, name, [], 5)
    assert early.ips() == [addr["early"]]
    wait_until(lambda: d1.container("restarted").ips() == [addr["restarted"]], 5, "the restarted one is attached again")
    d1.docker("start", "goes")
    becomes(d1, "goes", [addr["goes"]], 5)
    assert d1.container("goes").ips() == [addr["goes"]]
    wait_until(lambda: addr["removed"] not in active(d1), 45, "the removed one's address is free")
    verified(d1)


@topology(timeout=180)
def test_C1_away_for_longer_than_its_address_was_kept(d1):
    """Another has got its address meanwhile: it gets a new one, and keeps its MAC. What was named by hand stays as it was named."""
    d1.start_daemon()
    connected(d1)
    d1.run("long")
    old = attach(d1, "long")
    mac = d1.container("long").mac()
    d1.docker("kill", "long")
    becomes(d1, "long", [])
    wait_until(lambda: old not in active(d1), 45, "its address is free")
    d1.run("heir")
    assert attach(d1, "heir", f"ip:{old}/12") == old
    d1.docker("start", "long")
    wait_until(lambda: d1.container("long").ips() not in ([], [old]), 10, "it is attached again with another address")
    assert d1.container("long").mac() == mac
    becomes(d1, "long", d1.container("long").ips())
    becomes(d1, "heir", [old])


@topology(timeout=240)
def test_C3_L8_a_host_boots_with_what_it_had(d1):
    """Power off: containers of --restart always are attached again when the host is back, names and addresses as before."""
    d1.start_daemon()
    connected(d1)
    d1.run("always", "--restart", "always", "-h", "always.weft.local")
    addr = attach(d1, "always")
    becomes(d1, "always", [addr])
    d1.power_off()
    d1.power_on()
    d1.start_daemon()
    connected(d1)
    wait_until(lambda: d1.container("always").pid != 0, 20, "Docker has started it again")
    wait_until(lambda: d1.container("always").ips() == [addr], 20, "it is attached again")
    becomes(d1, "always", [addr], 5)
    # What a container was attached for ends with it, also when Docker does not tell at that time.
    d1.stop()
    d1.docker("rm", "-f", "always")
    d1.start_daemon()
    connected(d1)
    becomes(d1, "always", [])
    wait_until(lambda: d1.status()["docker"]["attached"] == 0, 5, "nothing is left to be attached again")
    wait_until(lambda: active(d1) == set(), 45, "its address is free")


class Pretender:
    """What passes for Docker on a Unix socket. answers: what a path begins with -> body, or function of the connection; None: no answer.
    Later ones first."""

    def __init__(self, path, answers):
        self.answers = {"/": b"[]", "/version": b'{"Version":"0"}', "/events": self.stream, **answers}
        self.listener = socket.socket(socket.AF_UNIX)
        self.listener.bind(path)
        self.listener.listen(512)
        self.requests, self.streams = [], []
        threading.Thread(target=self.serve, daemon=True).start()

    def serve(self):
        while True:
            try:
                conn, _ = self.listener.accept()
            except OSError:
                return
            threading.Thread(target=self.talk, args=(conn,), daemon=True).start()

    def stream(self, conn):
        conn.sendall(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
        self.streams.append(conn)

    def end_stream(self, conn):
        self.stream(conn)
        conn.shutdown(socket.SHUT_RDWR)

    def tell(self, text):
        for conn in self.streams:
            conn.sendall(b"%x\r\n%s\r\n" % (len(text), text))

    def talk(self, conn):
        with contextlib.suppress(OSError):
            while request := conn.recv(4096):
                path = request.split()[1].decode()
                self.requests.append(path)
                answer = [a for start, a in self.answers.items() if path.startswith(start)][-1]
                if callable(answer):
                    answer(conn)
                elif answer is not None:
                    conn.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(answer) + answer)


@topology(timeout=90)
def test_O5_a_docker_that_comes_and_goes_does_not_fill_the_log(net, h1):
    fake = Pretender(f"{net.dir}/docker.sock", {})
    fake.answers["/events"] = fake.end_stream
    h1.start_daemon("--docker-host", f"unix://{net.dir}/docker.sock")
    wait_until(lambda: len(fake.streams) >= 9, 60, "it came and went nine times")
    fake.listener.close()
    assert 2 <= lines(h1, "Docker") <= 8, h1.log()
    metrics = h1.api("GET", "/metrics").text
    assert "weft_docker_connected " in metrics and 'weft_docker_resyncs_total{result="ok"}' in metrics


@topology(timeout=120)
def test_C3_a_docker_that_answers_too_much_nonsense_and_nothing(net, h1, c1):
    """2,000 containers, of which each answer is another fault; events that are none: the daemon goes on, bounded in memory and log."""
    ids = [f"{n:08x}" + hashlib.sha256(b"%d" % n).hexdigest()[:56] for n in range(1, 2001)]
    fake = Pretender(f"{net.dir}/docker.sock", {
        "/containers/json": json.dumps([{"Id": i, "State": "running"} for i in ids]).encode(),
        "/containers/0": b'{"Id": "not an id"}',
        f"/containers/{ids[0]}": b"[" * 100000,
        f"/containers/{ids[1]}": b'{"Id":"' + ids[1].encode() + b'","State":{"Running":true,"Pid":1},"NetworkSettings":{"Networks":{' +
        b",".join(b'"n%d":{}' % n for n in range(100)) + b"}}}",
        f"/containers/{ids[2]}": b" " * (20 << 20),
        f"/containers/{ids[3]}": None,
    })
    h1.start_daemon("--docker-host", f"unix://{net.dir}/docker.sock")
    connected(h1)
    before = h1.rss_bytes()
    wait_until(lambda: sum(f"/{ids[-1]}/" in r for r in fake.requests) >= 1, 60, "all have been asked about")
    for text in (b"nonsense\n", b"{}\n" * 1000, b'{"Type":"container","Action":"start","Actor":{"ID":"../x"}}\n', b"x" * 600000 + b"\n",
                 b'{"Type":"container","Action":"die","Actor":{"ID":"' + ids[4].encode() + b'"}}\n'):
        fake.tell(text)
    began = time.monotonic()
    assert h1.attach(c1), "what Docker does not know is attached all the same"
    assert time.monotonic() - began < 5
    for _ in range(20):
        began = time.monotonic()
        h1.status()
        assert time.monotonic() - began < 1
    wait_until(lambda: lines(h1, "does not tell") == 1, 40, "one line says that of some nothing is known")
    assert sanitized() or h1.rss_bytes() < before + (96 << 20), h1.rss_bytes()
    assert lines(h1, "Docker") < 30, lines(h1, "Docker")


@topology(timeout=180)
def test_N12_a_used_address_resolves_to_its_present_container(d1):
    d1.spawn("socat", "TCP-LISTEN:2375,bind=127.0.0.1,fork,reuseaddr", "UNIX-CONNECT:/run/docker.sock")
    d1.start_daemon("--docker-host", "tcp://127.0.0.1:2375")  # names come by this way just as well
    connected(d1)
    for name in ("one", "two", "three"):
        c = d1.run(name)
        assert attach(d1, name, "ip:10.32.0.77/12") == "10.32.0.77"
        becomes(d1, name, ["10.32.0.77"])
        p = c.exec("dig", f"@{DNS}", "+short", "-x", "10.32.0.77").stdout.split()
        assert name + ".weft.local." in p, p
        for other in {"one", "two", "three"} - {name}:
            assert other + ".weft.local." not in p, p
        d1.docker("rm", "-f", name)
        becomes(d1, name, [])


@topology(timeout=180)
def test_C3_networks_of_the_plugin_names_aliases_connect_disconnect(d1):
    d1.start_daemon()
    connected(d1)
    for n in ("front", "back"):
        d1.docker("network", "create", "-d", "weft", "--ipam-driver", "weft", n)
    web = d1.run("web", "--net", "front", "-h", "www", "--domainname", "weft.local", "--network-alias", "site", "--network-alias",
                 "a.b.weft.local", "--network-alias", "elsewhere.example.com")
    front = web.ip("front")
    for name in ("web", "www", "site", "a.b.weft.local"):
        becomes(d1, name, [front])
    assert lookup(d1, "elsewhere.example.com") == []
    d1.docker("network", "connect", "--alias", "inner", "back", "web")
    back = web.ip("back")
    becomes(d1, "inner", [back])
    becomes(d1, "web", [front, back])
    becomes(d1, "site", [front])
    d1.docker("network", "disconnect", "front", "web")
    becomes(d1, "web", [back])
    becomes(d1, "site", [])
    d1.docker("rename", "web", "shop")
    becomes(d1, "shop", [back])
    becomes(d1, "web", [])
    d1.docker("rm", "-f", "shop")
    for name in ("shop", "www", "inner"):
        becomes(d1, name, [], 2)


@topology(timeout=240)
def test_C3_dockerd_dead_hanging_and_flapping(d1):
    """weft goes on without, its log stays short, and everything is right when Docker is back."""
    d1.start_daemon()
    connected(d1)
    d1.run("web")
    addr = attach(d1, "web")
    becomes(d1, "web", [addr])
    d1.run("side")
    side = attach(d1, "side")
    becomes(d1, "side", [side])
    d1.dockerd_kill()
    wait_until(lambda: not d1.status()["docker"]["connected"], 5, "the daemon has noticed")
    assert d1.status()["docker"]["health"] == "lost"
    p = d1.weft("attach", "web2")
    assert p.returncode != 0 and "web2" in p.stderr, p
    assert d1.weft_ok("detach", "side").split() == [side], "what Docker said before it died is remembered"
    d1.dockerd_start()
    connected(d1)
    d1.docker("start", "web", check=False)
    becomes(d1, "web", [addr], 10)
    # It hangs: questions end, the loop does not.
    with open(os.path.join(d1.run_dir, "docker.pid")) as f:
        inside = f.read().strip()
    d1.exec("kill", "-STOP", inside)
    try:
        began = time.monotonic()
        p = d1.weft("attach", "web3")
        assert p.returncode == 1 and time.monotonic() - began < 5, p
        for _ in range(20):
            began = time.monotonic()
            d1.status()
            assert time.monotonic() - began < 1, "the daemon answers while Docker hangs"
        wait_until(lambda: not d1.status()["docker"]["connected"], 60, "the daemon has given up the stream")
    finally:
        d1.exec("kill", "-CONT", inside)
    connected(d1)
    assert lookup(d1, "web") == [addr]
    assert lines(d1, "Docker") < 20, d1.log()
