"""The managed plugin, which Docker itself runs: static programs, no registry, networks of one host and of a swarm."""

import json
import os
import re
import subprocess

from lib import Failed, build_dir, command, sanitized, skip, topology, wait_until

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))


def make_plugin(net):
    if sanitized():
        skip("programs with sanitizers cannot be static")
    out = os.path.join(net.dir, "plugin")
    command(os.path.join(ROOT, "packaging", "plugin", "make"), build_dir(), out, timeout=120)
    return out


def install(hosts, plugin, *settings):
    for h in hosts:
        h.docker("plugin", "create", "weft", plugin)
        h.docker("plugin", "set", "weft", "WEFT_PEER=" + ",".join(o.ip for o in hosts if o is not h), *settings)
        h.docker("plugin", "enable", "weft")
    for h in hosts:
        wait_until(lambda h=h: len(re.findall(" established ", h.weft("status", "connections").stdout)) == len(hosts) - 1, 20, f"{h.name} is linked")


def pings(host, container, what, count=1):
    return host.docker("exec", container, "ping", "-c", count, "-W", "2", what, check=False, timeout=60).returncode == 0


def test_C2_the_plugin_is_static_and_says_what_can_be_set(net):
    plugin = make_plugin(net)
    for program in ("usr/sbin/weftd", "usr/sbin/weft-plugin", "usr/bin/weft"):
        path = os.path.join(plugin, "rootfs", program)
        head = command("readelf", "-lW", path).stdout
        assert "INTERP" not in head and "NEEDED" not in command("readelf", "-dW", path).stdout, f"{program} wants a loader or a library"
    weftd = os.path.join(plugin, "rootfs", "usr/sbin/weftd")
    known = command(weftd, "--help").stdout
    with open(os.path.join(plugin, "config.json")) as f:
        config = json.load(f)
    for one in config["env"]:
        assert one["settable"] == ["value"] and "value" not in one, one
        option = one["name"].removeprefix("WEFT_").lower().replace("_", "-")
        assert f"--{option} " in known or f"--{option}\n" in known or option == "peer", f"weftd has no option {option}"
    refused = subprocess.run([weftd, "--check-config"], env={"WEFT_PORT": "no number"}, capture_output=True, text=True)
    assert refused.returncode == 2 and "WEFT_PORT" in refused.stderr, refused


@topology(timeout=180)
def test_C2_docker_runs_the_plugin(net, d1, d2):
    hosts = [d1, d2]
    install(hosts, make_plugin(net))
    for h in hosts:
        h.docker("network", "create", "-d", "weft:latest", "--ipam-driver", "weft:latest", "app")
    one, two = d1.run("one", "--network", "app"), d2.run("two", "--network", "app")
    wait_until(lambda: pings(d1, "one", two.ip("app")), 20, "containers of two hosts reach each other")
    wait_until(lambda: pings(d2, "two", "one"), 20, "by name")
    # Off and on again: who the host is, its networks and its containers' addresses are the same.
    name, address = d1.weft_ok("report", "-f", "router.name"), one.ip("app")
    d1.docker("plugin", "disable", "-f", "weft")
    assert pings(d2, "two", address, 3), "traffic stops with the daemon"
    d1.docker("plugin", "enable", "weft")
    assert wait_until(lambda: d1.weft("report", "-f", "router.name").stdout.rstrip("\n"), 10, "the daemon is back") == name
    wait_until(lambda: pings(d2, "two", address), 10, "the container is reached")
    third = d1.run("third", "--network", "app")
    assert third.ip("app") not in (address, two.ip("app"))
    wait_until(lambda: pings(d2, "two", "third"), 20, "a new one, too")
    for h, c in ((d1, one), (d1, third), (d2, two)):
        c.rm()
    for h in hosts:
        h.docker("network", "rm", "app")
        h.weft_ok("verify")


def tasks(hosts, service):
    """(host, container id, address on app) of a service's running tasks."""
    found = []
    for h in hosts:
        for c in h.docker("ps", "-q", "--filter", f"label=com.docker.swarm.service.name={service}").stdout.split():
            found.append((h, c, h.inspect(c)["NetworkSettings"]["Networks"]["app"]["IPAddress"]))
    return found


@topology(timeout=300)
def test_C2_services_of_a_swarm(net, d1, d2, d3):
    hosts = [d1, d2, d3]
    install(hosts, make_plugin(net), "WEFT_PLUGIN_SCOPE=global")
    d1.docker("swarm", "init", "--advertise-addr", d1.ip)
    token = d1.docker("swarm", "join-token", "-q", "worker").stdout.strip()
    for h in (d2, d3):
        h.docker("swarm", "join", "--token", token, f"{d1.ip}:2377")
    d1.docker("network", "create", "-d", "weft:latest", "--ipam-driver", "weft:latest", "--attachable", "app")
    create = ["service", "create", "-d", "--no-resolve-image", "--endpoint-mode", "dnsrr", "--network", "app", "--stop-grace-period", "0s"]
    d1.docker(*create, "--name", "web", "--replicas", "3", "busybox:local", "sh", "-c", "hostname > /tmp/index.html; exec httpd -f -h /tmp")

    def up(count):
        now = tasks(hosts, "web")
        return now if len(now) == count and all(a for _, _, a in now) else None

    web = wait_until(lambda: up(3), 90, "three tasks run")
    assert {h for h, _, _ in web} == set(hosts), "a task on each host"
    assert len({a for _, _, a in web}) == 3, web
    for h, c, _ in web:
        for _, _, address in web:
            wait_until(lambda h=h, c=c, a=address: pings(h, c, a), 20, f"a task of {h.name} reaches {address}")
    # By name, from a container that is no task.
    asks = d3.run("asks", "--network", "app")
    wait_until(lambda: set(asks.resolve("web")) == {a for _, _, a in web}, 20, "the name of the service is all its tasks")
    seen = {d3.docker("exec", "asks", "wget", "-qO-", f"http://{a}/").stdout.strip() for _, _, a in web}
    assert len(seen) == 3, seen
    # More of them, a node that is drained, fewer, none.
    d1.docker("service", "scale", "-d", "web=5")
    web = wait_until(lambda: up(5), 90, "five tasks run")
    assert len({a for _, _, a in web}) == 5, web
    d1.docker("node", "update", "--availability", "drain", "h2")
    wait_until(lambda: (now := up(5)) and all(h is not d2 for h, _, _ in now), 90, "the tasks of h2 run elsewhere")
    web = up(5)
    assert len({a for _, _, a in web} | {asks.ip("app")}) == 6, web
    for _, _, address in web:
        wait_until(lambda a=address: pings(d3, "asks", a), 20, f"{address} is reached")
    asks.rm()
    d1.docker("service", "rm", "web")
    wait_until(lambda: not tasks(hosts, "web"), 60, "no task is left")
    wait_until(lambda: d1.docker("network", "rm", "app", check=False).returncode == 0, 60, "the network goes")
    for h in hosts:
        try:
            wait_until(lambda h=h: h.weft("verify").returncode == 0, 60, f"nothing is left on {h.name}")
        except Failed as e:
            raise Failed(f"{e}\n{h.weft('verify').stdout}") from None
