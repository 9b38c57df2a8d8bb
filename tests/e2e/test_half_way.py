"""Two things at once: what is under way while something else ends it, takes back what it stands on, or goes away.

     h1 ── h2        containers c1 … on them; where Docker has a part in it, it is played by the test (Pretender)
"""

import hashlib
import json
import os
import signal
import socket
import struct
import threading
import time

from lib import bare, metric, shares, topology, wait_linked, wait_until
from test_docker_events import Pretender, connected, lines, lookup, verified
from test_docker_plugin import call
from test_ipam import held
from test_ipam_rows import halves, ipam


def in_background(host, *args):
    """A `weft` command; its outcome is what the list holds, once there is one."""
    outcome = []
    threading.Thread(target=lambda: outcome.append(host.weft(*args, timeout=50)), daemon=True).start()
    return outcome


def apart(net, h1, h2):
    """10.7.0.200 is owned by h2, which h1 does not reach."""
    halves(h1, h2)
    cut = net.partition([h1], [h2])
    wait_until(lambda: shares(h1)["h2"][2], 10, "h2 is unreachable")
    return cut


def waits(host):
    wait_until(lambda: "10.7.0.200 is owned by h2" in ipam(host), 5, "the second address is waited for")


@topology(timeout=90)
def test_I3_an_attach_that_waits_does_not_use_what_was_freed_meanwhile(net, h1, h2, c1, c2):
    """It has one address, waits for the second, and the container is detached."""
    cut = apart(net, h1, h2)
    assert h1.attach(c1, "10.7.0.5/24") == ["10.7.0.5"]
    outcome = in_background(h1, "attach", "10.7.0.5/24", "10.7.0.200/24", str(c1))
    waits(h1)
    h1.detach(c1)
    assert "10.7.0.5/24" not in sum(held(h1).values(), [])
    net.allow(cut)
    wait_until(lambda: outcome, 20, "the attach is through")
    assert outcome[0].returncode == 0 and sorted(c1.ips()) == ["10.7.0.200", "10.7.0.5"], outcome
    assert sorted(held(h1)[str(c1)]) == ["10.7.0.200/24", "10.7.0.5/24"], "what it uses is held for it"
    assert h1.weft("attach", "10.7.0.5/24", c2).returncode != 0, "and not given to another"
    assert h1.weft("verify").returncode == 0


@topology(timeout=90)
def test_I3_an_attach_that_waits_does_not_take_what_another_has_got_meanwhile(net, h1, h2, c1, c2):
    cut = apart(net, h1, h2)
    h1.attach(c1, "10.7.0.5/24")
    outcome = in_background(h1, "attach", "10.7.0.5/24", "10.7.0.200/24", str(c1))
    waits(h1)
    h1.detach(c1)
    assert h1.attach(c2, "10.7.0.5/24") == ["10.7.0.5"]
    net.allow(cut)
    wait_until(lambda: outcome, 20, "the attach is through")
    assert outcome[0].returncode != 0 and "10.7.0.5" in outcome[0].stderr and str(c2) in outcome[0].stderr, outcome
    assert c1.ips() == [] and list(held(h1)) == ["first", str(c2)], "nothing of it is left"


@topology(timeout=90)
def test_C5_an_expose_that_waits_does_not_use_what_was_freed_meanwhile(net, h1, h2, c1):
    cut = apart(net, h1, h2)
    h1.weft_ok("expose", "10.7.0.5/24")
    outcome = in_background(h1, "expose", "10.7.0.5/24", "10.7.0.200/24")
    waits(h1)
    assert h1.weft_ok("hide", "10.7.0.5/24") == "10.7.0.5"
    assert h1.attach(c1, "10.7.0.5/24") == ["10.7.0.5"]
    net.allow(cut)
    wait_until(lambda: outcome, 20, "the expose is through")
    assert outcome[0].returncode != 0 and "10.7.0.5" in outcome[0].stderr and str(c1) in outcome[0].stderr, outcome
    assert [a for a in h1.addresses("weft") if a.startswith("10.")] == []
    h1.detach(c1)
    assert h1.weft_ok("expose", "10.7.0.5/24", "10.7.0.200/24").split() == ["10.7.0.5", "10.7.0.200"]
    assert h1.weft("verify").returncode == 0


ID = hashlib.sha256(b"c").hexdigest()


def container_json(pid):
    return json.dumps({"Id": ID, "Name": "/web", "State": {"Running": True, "Pid": pid}, "Config": {"Hostname": "web"},
                       "NetworkSettings": {"Networks": {}}}).encode()


def docker_with(net, c):
    """A Docker that has one container, `web`."""
    return Pretender(f"{net.dir}/docker.sock", {
        "/containers/json": json.dumps([{"Id": ID, "State": "running"}]).encode(),
        f"/containers/{ID}/json": container_json(c.pid), "/containers/web/json": container_json(c.pid)})


def halves_with_docker(net, h1, h2, c):
    """As halves(), and h1 looks after that one."""
    fake = docker_with(net, c)
    halves(h1, h2)
    h1.restart(args=("--ipalloc-range", "10.7.0.0/24", "--name", "02:00:00:00:00:0a", "--docker-host", f"unix://{net.dir}/docker.sock"))
    connected(h1)
    wait_linked(h1, h2)
    return fake


def happens(fake, action):
    fake.tell(json.dumps({"Type": "container", "Action": action, "Actor": {"ID": ID}}).encode() + b"\n")


@topology(timeout=60)
def test_C1_who_asked_to_detach_goes_as_docker_answers(net, h1):
    """Both are news of one turn of the loop: Docker's answer, and that nobody waits for ours."""
    c1 = net.process_container(1, "web")
    fake = Pretender(f"{net.dir}/docker.sock", {"/containers/web/json": container_json(c1.pid), "/containers/json": b"[]"})
    h1.start_daemon("--docker-host", f"unix://{net.dir}/docker.sock")
    connected(h1)
    for _ in range(3):
        assert bare(h1.attach("web")[0]) in c1.ips()
        asker = socket.socket(socket.AF_UNIX)

        def answer(conn, asker=asker):
            h1.daemon.send_signal(signal.SIGSTOP)
            body = container_json(c1.pid)
            conn.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(body) + body)
            asker.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            asker.close()
            h1.daemon.send_signal(signal.SIGCONT)

        fake.answers["/containers/web/json"] = answer
        asker.connect(h1.socket)
        body = b'{"container": "web"}'
        asker.sendall(b"POST /detach HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n" % len(body) + body)
        wait_until(lambda: c1.ips() == [], 5, "it is detached")
        time.sleep(0.2)
        assert h1.running(), "the daemon goes on"
        assert h1.status() and held(h1) == {}
        fake.answers["/containers/web/json"] = container_json(c1.pid)


@topology(timeout=60)
def test_C3_a_docker_that_hangs_up_in_the_middle_is_asked_again(net, h1):
    """Of the list of containers, and then of the container, the first answer breaks off, while the stream of events goes on."""
    c1 = net.process_container(1, "web")
    cut = []

    def first_breaks_off(path, whole):
        def answer(conn):
            if path not in cut:
                cut.append(path)
                conn.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(whole) + whole[:10])
                conn.shutdown(socket.SHUT_RDWR)
            else:
                conn.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(whole) + whole)

        return answer

    everything = json.dumps([{"Id": ID, "State": "running"}]).encode()
    fake = Pretender(f"{net.dir}/docker.sock", {
        "/containers/json": first_breaks_off("list", everything),
        f"/containers/{ID}/json": first_breaks_off("one", container_json(c1.pid)),
    })
    h1.start_daemon("--docker-host", f"unix://{net.dir}/docker.sock")
    connected(h1)
    h1.weft_ok("attach", "--without-dns", c1)
    wait_until(lambda: sorted(cut) == ["list", "one"], 20, "both have been asked for, and broke off")
    wait_until(lambda: 'weft_docker_resyncs_total{result="ok"} 1' in h1.api("GET", "/metrics").text, 20, "everything has been looked at")
    assert len(fake.streams) == 1, "no new connection was needed for it"
    assert lines(h1, "does not list") == 1


@topology(timeout=90)
def test_C1_a_container_that_restarts_while_its_attach_waits(net, h1, h2):
    """It is asked for by its Docker name, waits for an address, and runs as another process when that comes: the new one gets it."""
    c1, c2 = net.process_container(1, "web"), net.process_container(2, "web")
    fake = halves_with_docker(net, h1, h2, c1)
    cut = net.partition([h1], [h2])
    wait_until(lambda: shares(h1)["h2"][2], 10, "h2 is unreachable")
    outcome = in_background(h1, "attach", "10.7.0.200/24", "web")
    waits(h1)
    fake.answers[f"/containers/{ID}/json"] = fake.answers["/containers/web/json"] = container_json(c2.pid)
    for action in ("die", "start"):
        happens(fake, action)
    wait_until(lambda: fake.requests.count(f"/containers/{ID}/json") >= 1, 5, "it is looked at")
    net.allow(cut)
    wait_until(lambda: outcome, 20, "the attach is through")
    assert outcome[0].returncode == 0, outcome
    wait_until(lambda: c2.ips() == ["10.7.0.200"], 5, "the process that runs now has the address")
    wait_until(lambda: c1.ips() == [], 5, "and the other one no more")
    verified(h1)


@topology(timeout=150)
def test_C1_a_container_that_waits_to_be_attached_again_is_detached(net, h1, h2, c2):
    """It was away for so long that another host got its address, and runs again where that host cannot be asked."""
    c1 = net.process_container(1, "web")
    fake = halves_with_docker(net, h1, h2, c1)
    assert h1.attach("web", "10.7.0.200/24") == ["10.7.0.200"]
    happens(fake, "die")
    c1.exec("ip", "link", "del", "ethwe")
    wait_until(lambda: "10.7.0.200/24" not in sum(held(h1).values(), []), 60, "its address is not kept any longer")
    wait_until(lambda: h2.weft("attach", "10.7.0.200/24", c2).returncode == 0, 10, "h2 has it")
    h2.detach(c2)
    cut = net.partition([h1], [h2])
    wait_until(lambda: shares(h1)["h2"][2], 10, "h2 is unreachable")
    happens(fake, "start")
    waits(h1)
    assert h1.weft("detach", "web").returncode == 0
    assert "10.7.0.200" not in ipam(h1), "nothing waits any more"
    net.allow(cut)
    wait_linked(h1, h2)
    assert h1.attach(c2, "10.7.0.200/24") == ["10.7.0.200"], "what waited for it would have been served first"
    assert c1.ips() == [] and h1.weft("detach", "web").returncode != 0


@topology(timeout=60)
def test_C3_a_name_that_seems_to_be_nobodys_goes_when_all_are_known(net, h1):
    """Its container went while the daemon was down. It may be that of the one of which Docker cannot tell anything at first."""
    c1 = net.process_container(1, "web")
    other = hashlib.sha256(b"other").hexdigest()
    fake = docker_with(net, c1)
    args = ("--docker-host", f"unix://{net.dir}/docker.sock")
    h1.start_daemon(*args)
    connected(h1)
    addr = h1.attach("web")
    web = lambda: lookup(h1, "web")  # noqa: E731
    wait_until(lambda: web() == addr, 5, "it has its name")
    h1.kill()
    busy = lambda conn: conn.sendall(b"HTTP/1.1 500 Internal Server Error\r\nContent-Length: 2\r\n\r\n{}")  # noqa: E731
    fake.answers["/containers/json"] = json.dumps([{"Id": other, "State": "running"}]).encode()
    fake.answers[f"/containers/{other}/json"] = busy
    h1.start_daemon(*args)
    connected(h1)
    wait_until(lambda: any(other in r for r in fake.requests), 5, "the other one is asked about")
    wait_until(lambda: 'weft_docker_resyncs_total{result="ok"} 1' in h1.api("GET", "/metrics").text, 5, "everything has been looked at")
    assert web() == addr
    fake.answers[f"/containers/{other}/json"] = container_json(c1.pid).replace(ID.encode(), other.encode()).replace(b"web", b"other")
    wait_until(lambda: web() == [], 10, "nobody has that name")


@topology(timeout=60)
def test_C1_what_is_attached_while_docker_lists_is_attached_again(net, h1):
    """The list was made before the container was: it says nothing about it."""
    c1, c2 = net.process_container(1, "web"), net.process_container(2, "web")
    go_on = threading.Event()

    def late(conn):
        go_on.wait(30)
        conn.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n[]")

    fake = Pretender(f"{net.dir}/docker.sock", {
        "/containers/json": late, f"/containers/{ID}/json": container_json(c1.pid), "/containers/web/json": container_json(c1.pid)})
    h1.start_daemon("--docker-host", f"unix://{net.dir}/docker.sock")
    connected(h1)
    wait_until(lambda: any(r.startswith("/containers/json") for r in fake.requests), 5, "the list is asked for")
    happens(fake, "start")
    addr = h1.attach("web")
    assert c1.ips() == addr
    go_on.set()
    wait_until(lambda: 'weft_docker_resyncs_total{result="ok"} 1' in h1.api("GET", "/metrics").text, 20, "everything has been looked at")
    fake.answers[f"/containers/{ID}/json"] = container_json(c2.pid)
    for action in ("die", "start"):
        happens(fake, action)
    wait_until(lambda: c2.ips() == addr, 5, "it is attached again when it is started again")


def host_end(ident, salt):
    """container_host_name()."""
    h = hashlib.blake2b(ident.encode(), digest_size=16, key=b"weft" + bytes([salt]) + bytes(11)).digest()
    return "vethwe" + "".join("abcdefghijklmnopqrstuvwxyz234567"[b % 32] for b in h[:9])


@topology(timeout=60)
def test_C2_a_network_whose_endpoint_cannot_be_removed(net, h1):
    """DeleteNetwork removes what is left in it; what the kernel refuses is an error, and is tried again later."""
    run = f"{net.dir}/run"
    os.makedirs(f"{run}/docker/plugins")
    h1.run_dir = run
    h1.start_daemon("--docker-host", "", "--plugin-socket", f"{run}/docker/plugins/weft.sock")
    network, endpoint = "a" * 64, "b" * 64
    status, pool = call(h1, "IpamDriver.RequestPool", {"AddressSpace": "weftlocal", "Pool": "", "SubPool": "", "Options": {}, "V6": False})
    assert status == 200, pool
    status, answer = call(h1, "NetworkDriver.CreateNetwork", {
        "NetworkID": network, "Options": {"com.docker.network.generic": {"weft.network": "app"}}, "IPv6Data": [],
        "IPv4Data": [{"AddressSpace": "weftlocal", "Pool": pool["Pool"], "Gateway": pool["Data"]["com.docker.network.gateway"]}]})
    assert (status, answer) == (200, {}), answer
    status, address = call(h1, "IpamDriver.RequestAddress", {"PoolID": pool["PoolID"], "Address": "", "Options": None})
    assert "Address" in address, address
    status, answer = call(h1, "NetworkDriver.CreateEndpoint", {
        "NetworkID": network, "EndpointID": endpoint, "Options": {}, "Interface": {"Address": address["Address"], "AddressIPv6": "", "MacAddress": ""}})
    assert "Interface" in answer, answer
    names = [host_end(f"docker:{endpoint}", salt) for salt in range(4)]
    assert names[0] in h1.exec("ip", "link").stdout, names
    h1.exec("ip", "link", "del", names[0])
    for n in names:
        h1.exec("ip", "link", "add", n, "type", "bridge")
    status, answer = call(h1, "NetworkDriver.DeleteNetwork", {"NetworkID": network})
    assert h1.running(), "the daemon goes on"
    assert names[3] in answer["Err"], answer
    for n in names:
        h1.exec("ip", "link", "del", n)
    assert call(h1, "NetworkDriver.DeleteNetwork", {"NetworkID": network}) == (200, {})
    call(h1, "IpamDriver.ReleasePool", {"PoolID": pool["PoolID"]})
    assert h1.weft("verify").returncode == 0


@topology(timeout=60)
def test_C2_a_network_that_goes_while_its_endpoint_waits_for_an_address(net, h1, h2):
    """A swarm's: the network stays allocated on its manager when the host's part of it is deleted."""
    run = f"{net.dir}/run"
    os.makedirs(f"{run}/docker/plugins")
    h1.run_dir = run
    h1.start_daemon("--docker-host", "", "--ipalloc-init", "consensus=2", "--plugin-socket", f"{run}/docker/plugins/weft.sock")
    network, endpoint = "a" * 64, "b" * 64
    pools = [{"AddressSpace": "null", "Pool": "0.0.0.0/0"}]
    status, answer = call(h1, "NetworkDriver.AllocateNetwork", {
        "NetworkID": network, "Options": {"weft.network": "app"}, "IPv4Data": pools, "IPv6Data": None})
    assert "Options" in answer, answer
    assert call(h1, "NetworkDriver.CreateNetwork", {
        "NetworkID": network, "Options": {"com.docker.network.generic": {"weft.network": "app"}}, "IPv4Data": pools, "IPv6Data": []}) == (200, {})
    made = []
    threading.Thread(target=lambda: made.append(call(h1, "NetworkDriver.CreateEndpoint", {
        "NetworkID": network, "EndpointID": endpoint, "Options": {}, "Interface": {"Address": "", "AddressIPv6": "", "MacAddress": ""}})), daemon=True).start()
    wait_until(lambda: metric(h1, "weft_ipam_pending_allocates") == 1, 5, "an address is waited for")
    assert call(h1, "NetworkDriver.DeleteNetwork", {"NetworkID": network}) == (200, {})
    h2.start_daemon("--ipalloc-init", "consensus=2", peers=[h1])
    wait_until(lambda: made or not h1.running(), 20, "the call is answered")
    assert h1.running() and "Err" in made[0][1], made
    assert held(h1) == {} and "docker:" not in h1.weft_ok("ps")
    assert call(h1, "NetworkDriver.FreeNetwork", {"NetworkID": network}) == (200, {})
    assert h1.weft("verify").returncode == 0
