"""Names of containers that die, of hosts that are cut off, and old entries that must not come back.

     c1 ── h1 ── underlay ── h2 ── c2
                    │
                   h3 ── c3
"""

import threading
import time

from lib import DNS, SCALE, bare, topology, wait_linked, wait_until
from lib.dnswire import ask, query


def lookup(place, name):
    """The addresses, sorted; [] when there are none; None when nobody answered."""
    m = ask(place, query(name), DNS)
    return None if m is None else sorted(m.addresses)


def three(h1, h2, h3):
    h1.start_daemon()
    h2.start_daemon(peers=[h1])
    h3.start_daemon(peers=[h1, h2])
    wait_linked(h1, h2, h3)


def wait_names(hosts, name, addrs, timeout, what):
    for h in hosts:
        wait_until(lambda h=h: lookup(h, name) == sorted(addrs), timeout, f"{h.name}: {what} ({name} is {sorted(addrs)})")


class Watch:
    """Asks a host for a name every few milliseconds. seen: {answer as a tuple: how often}."""

    def __init__(self, host, name, every=0.01):
        self.host, self.name, self.every, self.seen, self.going = host, name, every, {}, True
        self.thread = threading.Thread(target=self._run, daemon=True)
        self.thread.start()

    def _run(self):
        while self.going:
            got = lookup(self.host, self.name)
            key = None if got is None else tuple(got)
            self.seen[key] = self.seen.get(key, 0) + 1
            time.sleep(self.every)

    def stop(self):
        self.going = False
        self.thread.join(10)
        return self.seen


# N2


@topology(timeout=120)
def test_N2_a_host_cut_off_is_left_out_and_comes_back_by_itself(net, h1, h2, h3, c1, c2):
    """Silence (no packet passes, nothing is closed): left out everywhere within 4 s, and back without anybody's doing."""
    three(h1, h2, h3)
    a = [bare(h1.attach(c1)[0]), bare(h2.attach(c2)[0])]
    h1.weft_ok("dns-add", c1, "-h", "web.weft.local")
    h2.weft_ok("dns-add", c2, "-h", "web.weft.local")
    wait_names((h1, h2, h3), "web.weft.local", a, 5, "both")
    rules = net.partition([h2], [h1, h3])
    cut = time.monotonic()
    for h in (h1, h3):
        wait_until(lambda h=h: lookup(h, "web.weft.local") == [a[0]], 8, f"{h.name} leaves out the host that is silent")
    took = time.monotonic() - cut
    assert took <= 4.0 * SCALE, f"a silent host stayed in answers for {took:.1f} s"
    wait_until(lambda: lookup(h2, "web.weft.local") == [a[1]], 5, "and it leaves out the others")
    net.allow(rules)
    wait_names((h1, h2, h3), "web.weft.local", a, 40, "both again")


@topology(timeout=120)
def test_N2_names_do_not_flap_while_a_daemon_is_started_again(h1, h2, h3, c1):
    """kill -9, and back within the grace: no question that others are asked meanwhile is answered otherwise."""
    three(h1, h2, h3)
    a = bare(h1.attach(c1)[0])
    h1.weft_ok("dns-add", c1, "-h", "db.weft.local")
    wait_names((h2, h3), "db.weft.local", [a], 5, "known")
    watches = [Watch(h, "db.weft.local") for h in (h2, h3)]
    for _ in range(3):
        h1.kill()
        time.sleep(0.5)  # it is down for that long
        h1.start_daemon("--resume")
        wait_linked(h1, h2, h3, timeout=20)
    seen = [w.stop() for w in watches]
    for s in seen:
        assert set(s) == {(a,)}, f"wrong answers while the daemon was started again: {s}"
    # and one that does not come back is left out in the end
    h1.kill()
    for h in (h2, h3):
        wait_until(lambda h=h: lookup(h, "db.weft.local") == [], 12, f"{h.name} leaves out the daemon that stays away")


# N3


@topology(timeout=180)
def test_N3_five_rounds_of_killing_and_starting_three_replicas(net, h1, h2, h3):
    """Exactly the right records on every host after each round, whatever addresses the new containers have got."""
    three(h1, h2, h3)
    hosts = (h1, h2, h3)
    number = 0
    for r in range(5):
        replicas = []
        for h in hosts:
            number += 1
            c = net.process_container(number, "replica.weft.local")
            replicas.append((h, c, bare(h.attach(c)[0])))
        addrs = [a for _, _, a in replicas]
        assert len(set(addrs)) == 3, f"round {r}: an address was given twice: {addrs}"
        wait_names(hosts, "replica.weft.local", addrs, 5, f"round {r}: all three")
        for _, c, _ in replicas:
            c.end()
        wait_names(hosts, "replica.weft.local", [], 8, f"round {r}: none is left")


# N4


@topology(timeout=150)
def test_N4_old_entries_never_come_back(net, h1, h2, h3, c1, c3):
    """h2 is cut off while c1 goes away; c1's host is started again; h2 meets the others again through h3 alone."""
    three(h1, h2, h3)
    a1, a3 = bare(h1.attach(c1)[0]), bare(h3.attach(c3)[0])
    h1.weft_ok("dns-add", c1, "-h", "old.weft.local")
    h3.weft_ok("dns-add", c3, "-h", "new.weft.local")
    wait_names((h1, h2, h3), "old.weft.local", [a1], 5, "known")
    away = net.partition([h2], [h1, h3])
    wait_until(lambda: lookup(h2, "old.weft.local") == [], 8, "h2 does not reach its host")
    h1.detach(c1)
    wait_names((h1, h3), "old.weft.local", [], 5, "gone with its container")
    h1.restart()
    wait_linked(h1, h3, timeout=20)
    between = net.partition([h2], [h1])
    net.allow(away)  # h2 hears h3 again, and never h1
    wait_until(lambda: lookup(h2, "new.weft.local") == [a3], 40, "h2 has met h3")
    limit = time.monotonic() + 5
    while time.monotonic() < limit:  # a reconciliation of old and new took place in this time
        for h in (h1, h2, h3):
            assert lookup(h, "old.weft.local") == [], f"{h.name}: an entry of a container that is gone has come back"
        time.sleep(0.05)
    net.allow(between)
    wait_linked(h1, h2, h3, timeout=40)
    for h in (h1, h2, h3):
        assert lookup(h, "old.weft.local") == [], f"{h.name}: an entry of a container that is gone has come back"
