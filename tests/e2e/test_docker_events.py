"""Names and addresses of Docker's containers, kept by what Docker tells; containers by their Docker names."""

from lib import topology, wait_until


def connected(d):
    wait_until(lambda: d.status()["docker"]["connected"], 15, f"{d.name}'s daemon hears Docker")


def lookup(d, name):
    return sorted(d.weft("dns-lookup", name).stdout.split())


@topology(timeout=180)
def test_C1_docker_containers_are_attached_by_name(d1):
    d1.start_daemon()
    connected(d1)
    web = d1.run("web", "-h", "shop", "--network", "none")
    addr = d1.weft_ok("attach", "web").strip()
    wait_until(lambda: lookup(d1, "web") == [addr], 2, "its name is there")
    assert lookup(d1, "shop") == [addr], lookup(d1, "shop")
    d1.docker("restart", "-t", "0", "web")
    wait_until(lambda: web.ips() == [addr], 5, "it is attached again")
    wait_until(lambda: lookup(d1, "web") == [addr], 2, "its name is back")
    d1.docker("kill", "web")
    wait_until(lambda: lookup(d1, "web") == [], 2, "its name is gone")
    d1.docker("rm", "web")
