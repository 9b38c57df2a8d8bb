"""Docker's network and IPAM plugin with real dockerds."""

from lib import topology, wait_until


@topology(timeout=180)
def test_C2_containers_on_two_hosts_talk_by_address(dock, d1, d2):
    d1.start_daemon()
    d2.start_daemon(peers=[d1])
    for d in (d1, d2):
        d.docker("network", "create", "-d", "weft", "--ipam-driver", "weft", "app")
    a = d1.run("c1", "--net", "app")
    b = d2.run("c2", "--net", "app")
    print(a.ip("app"), b.ip("app"))
    wait_until(lambda: a.reaches(b.ip("app")), 5, "a reaches b")
