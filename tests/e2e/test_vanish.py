"""Containers that end without a detach.

     c1 (a process)  c2 c3 (namespaces)  all on h1       c4 on h2, the one that looks
"""

import time

from lib import bare, command, topology, wait_linked, wait_until

KEPT = 30  # s: how long a container without its interface keeps its addresses


def names_on(h, fqdn):
    return h.weft("dns-lookup", fqdn).stdout.split()


def owned(h):
    return {e["containerid"] for e in h.api("GET", "/ip").json()["owned"]}


@topology(timeout=180)
def test_I15_a_container_that_vanishes_frees_names_at_once_and_addresses_later(net, h1, h2, c2, c3):
    h1.start_daemon()
    h2.start_daemon(peers=[h1])
    wait_linked(h1, h2)
    c1 = net.process_container(1, "c1.weft.local")
    for c in (c1, c2, c3):
        h1.attach(c)
    h1.weft_ok("dns-add", c2, "-h", "two.weft.local")
    wait_until(lambda: names_on(h2, "c1.weft.local") and names_on(h2, "two.weft.local"), 5, "the names are known on h2")

    ends = time.monotonic()
    command("ip", "netns", "del", c2.netns)
    wait_until(lambda: not names_on(h2, "two.weft.local"), 5, "its name is gone")
    assert names_on(h2, "c1.weft.local"), "and no other's"
    assert owned(h1) == {str(c1), str(c2), str(c3)}, "addresses are kept for a while: it may be restarting"
    assert str(c2) in h1.weft_ok("ps")

    wait_until(lambda: str(c2) not in owned(h1), KEPT + 15, "its address is free")
    assert time.monotonic() - ends >= KEPT - 1, "not before its time"
    assert owned(h1) == {str(c1), str(c3)} and str(c2) not in h1.weft_ok("ps")
    assert c1.ping(bare(h1.attach(c3)[0])), "the others go on"


@topology(timeout=180)
def test_I15_a_container_that_comes_back_in_time_keeps_its_address(net, h1, c2):
    h1.start_daemon()
    addr = h1.attach(c2)
    command("ip", "netns", "del", c2.netns)
    wait_until(lambda: "its names are removed" in h1.log(), 10, "that it went is noticed")
    command("ip", "netns", "add", c2.netns)
    assert h1.attach(c2) == addr
    time.sleep(KEPT + 10)  # nothing may happen, so there is nothing to wait for
    assert owned(h1) == {str(c2)} and [bare(a) for a in addr] == c2.ips()


@topology(timeout=120)
def test_I15_one_that_went_while_the_daemon_was_down_is_noticed_at_its_start(net, h1, c2, c3):
    h1.start_daemon()
    h1.attach(c2)
    h1.attach(c3)
    h1.weft_ok("dns-add", c2, "-h", "two.weft.local")
    h1.stop()
    command("ip", "netns", "del", c2.netns)
    h1.start_daemon()
    wait_until(lambda: not names_on(h1, "two.weft.local"), 5, "its name is gone")  # the kernel takes its time to end a namespace
    assert owned(h1) == {str(c2), str(c3)}
    wait_until(lambda: owned(h1) == {str(c3)}, KEPT + 15, "its address is free")


def test_C1_ten_addresses_in_one_call_and_detached_again(h1, c1):
    """More than there are levels for steps within steps."""
    h1.start_daemon()
    wanted = [f"ip:10.40.{n}.1/24" for n in range(10)]
    assert h1.attach(c1, *wanted) == [w[3:-3] for w in wanted]
    assert len(c1.ips()) == 10
    h1.detach(c1)
    assert owned(h1) == set()


def test_C1_a_mac_belongs_to_one_container(h1, h2, c1, c2, c3):
    mac = "02:11:22:33:44:55"
    h1.start_daemon()
    h2.start_daemon(peers=[h1])
    wait_linked(h1, h2)
    h1.weft_ok("attach", "--mac", mac, c1)
    p = h1.weft("attach", "--mac", mac, c2)
    assert p.returncode == 1 and mac in p.stderr and str(c1) in p.stderr, p
    wait_until(lambda: h2.weft("attach", "--mac", mac, c3).returncode == 1, 5, "refused on the other host too")
    assert owned(h1) == {str(c1)} and owned(h2) == set()
