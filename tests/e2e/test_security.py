"""Who may join, and what a stranger sees.

     h1 (the mesh) ── h2 (a member) ── h3 (a stranger: another password, or a program that only opens connections)
"""

import re
import socket
import time

from lib import (
    SCALE, Capture, bare, connections, established, metric, socket_in, topology, wait_linked, wait_until)

CONTROL = 6783
# What would be told about the mesh if anything were sent in the clear.
SECRETS = ("nick-of-h1", "nick-of-h2", "nick-of-h3", "secret-name", "weft.local", "10.32.0.")


def refused_line(host, other):
    return next(c for c in connections(host) if other.ip in c.address and c.state != "established")


def wrong_password(h1, h3, options1, options3):
    with Capture(h1) as seen:
        h1.start_daemon("--nickname", "nick-of-h1", *options1)
        h1.weft_ok("dns-add", "10.32.0.99", "-h", "secret-name.weft.local")
        h1.api("POST", "/ip/some-container")
        h3.start_daemon("--nickname", "nick-of-h3", *options3, peers=[h1])
        wait_until(lambda: "password" in refused_line(h3, h1).line, 10, "the one that dials says why")
        wait_until(lambda: "password" in refused_line(h1, h3).line, 10, "the one that is dialled says why")
        for h, other in ((h1, h3), (h3, h1)):
            assert refused_line(h, other).state == "failed", refused_line(h, other)
            said = [line for line in h.log().splitlines() if "password" in line and other.ip in line]
            assert said, f"{h.name} does not say who has a wrong password\n{h.log_tail()}"
            assert not established(h)
        wait_until(lambda: len(seen.syns(CONTROL, h1.ip)) >= 3, 20, "it tries again")
        assert not any(c.state == "established" for c in connections(h1) + connections(h3))
        assert metric(h1, "weft_handshakes_total") >= 3 and metric(h1, "weft_connections", state="established") == 0
        bytes_seen = seen.payload()
    for secret in SECRETS:
        assert secret.encode() not in bytes_seen, f"the capture shows '{secret}'"
    for h in (h1, h3):
        name = re.search(r"Name: ([0-9a-f:]{17})", h.weft_ok("status")).group(1)
        assert name.encode() not in bytes_seen and bytes.fromhex(name.replace(":", "")) not in bytes_seen.replace(
            bytes.fromhex(h.mac("eth0").replace(":", "")), b""), f"the capture shows the peer name {name}"
    assert h3.weft_ok("status", "peers").count("nick-of-h1") == 0 and h1.weft_ok("status", "peers").count("nick-of-h3") == 0
    assert h1.weft_ok("status", "ipam") and "nick-of-h1" not in h3.weft_ok("status", "ipam")


def test_S1_a_wrong_password_is_refused_and_nothing_disclosed(h1, h3):
    wrong_password(h1, h3, ("--password", "correct horse"), ("--password", "battery staple"))


def test_S1_a_missing_password_is_refused(h1, h3):
    wrong_password(h1, h3, ("--password", "correct horse"), ())


def test_S1_a_password_where_the_others_have_none_is_refused(h1, h3):
    wrong_password(h1, h3, (), ("--password", "correct horse"))


def test_S1_members_are_not_disturbed_by_a_refused_one(h1, h2, h3, c1, c2):
    pw = ("--password", "correct horse")
    h1.start_daemon(*pw)
    h2.start_daemon(*pw, peers=[h1])
    wait_linked(h1, h2)
    h1.attach(c1)
    addr = bare(h2.attach(c2)[0])
    wait_until(lambda: c1.ping(addr), 5, "c1 reaches c2")
    ended = metric(h1, "weft_connection_terminations_total")
    h3.start_daemon("--password", "battery staple", peers=[h1, h2])
    wait_until(lambda: "password" in refused_line(h2, h3).line, 10, "h2 refuses h3")
    assert c1.ping_many(addr, 50) == 50 and established(h1) == {"h2"} and established(h2) == {"h1"}
    assert metric(h1, "weft_connection_terminations_total") == ended
    h3.restart(args=pw)
    wait_linked(h1, h2, h3)  # with the right one it may


def test_S1_the_password_comes_by_file_or_environment_and_is_in_no_listing(h1, h2):
    path = f"{h1.dir}/password"
    with open(path, "w") as f:
        f.write("correct horse\n")
    h1.start_daemon("--password-file", path)
    h2.start_daemon(peers=[h1], env={"WEFT_PASSWORD": "correct horse"})
    wait_linked(h1, h2)
    for h in (h1, h2):
        assert "horse" not in h.log() + h.weft_ok("status") + h.weft_ok("report")
        assert all(c.keys.get("encrypted") in ("yes", "no") for c in connections(h))
    h1.stop()
    h1.start_daemon("--password", "correct horse")
    with open(f"/proc/{h1.daemon.pid}/cmdline", "rb") as f:
        line = f.read()
    if b"weftd" in line:
        assert b"horse" not in line, "`ps` shows the password"


@topology(timeout=120)
def test_S1_a_thousand_half_open_connections_do_not_keep_a_peer_out(h1, h2, h3):
    h1.start_daemon("--password", "correct horse")
    held = []

    def scan():
        """Brings the scanner's connections back up to 1,000."""
        held[:] = [s for s in held if alive(s)]
        while len(held) < 1000:
            s = socket_in(h3, kind=socket.SOCK_STREAM, timeout=5)
            s.connect((h1.ip, CONTROL))
            s.setblocking(False)
            held.append(s)

    def alive(s):
        try:
            return s.recv(4096) != b""
        except BlockingIOError:
            return True
        except OSError:
            return False

    scan()
    begun = time.monotonic()
    h2.start_daemon("--password", "correct horse", peers=[h1])
    while "h2" not in established(h1):
        scan()
        assert time.monotonic() - begun < 10 * SCALE, f"h2 is kept out\n{h2.weft_ok('status', 'connections')}"
    wait_until(lambda: established(h2) == {"h1"}, 1, "both ends are linked")
    scan()
    assert h1.api("POST", "/ip/x", timeout=5).status == 200
    wait_until(lambda: len([s for s in held if alive(s)]) < 300, 15, "half-open connections are cut off")
    assert established(h1) == {"h2"}
    assert len(h1.log().splitlines()) < 100, f"the scanner filled the log with {len(h1.log().splitlines())} lines"
    for s in held:
        s.close()


def test_S1_the_accept_rate_is_limited(h1, h3):
    """Refusals in a row cost the daemon little, and its log and answers go on."""
    h1.start_daemon("--password", "correct horse")
    for _ in range(500):
        with socket_in(h3, kind=socket.SOCK_STREAM, timeout=5) as s:
            s.connect((h1.ip, CONTROL))
            try:
                s.sendall(b"GET / HTTP/1.0\r\n\r\n")
            except OSError:
                pass
    begun = time.monotonic()
    assert h1.api("GET", "/status").status == 200
    assert time.monotonic() - begun < 1 * SCALE
    assert len(h1.log().splitlines()) < 100
    wait_until(lambda: metric(h1, "weft_handshakes_total", result="garbage") > 10, 5, "they are counted")
