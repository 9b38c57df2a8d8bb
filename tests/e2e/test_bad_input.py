"""What comes from outside and is not as it should be: a named error, a counter, few lines in the log; the rest goes on.

     c1 ── h1 ══ h2 ── c2        a working pair, which each test disturbs and then looks at again
           │
          h3 (no daemon): sends rubbish
"""

import errno
import os
import random
import socket
import struct
import subprocess
import time

from lib import (
    DNS, SCALE, bare, build_dir, command, established, metric, metrics, service, skip, socket_in, topology, wait_linked, wait_until)
from lib.dnswire import ask, encode_name, query

CONTROL, USERSPACE, VXLAN = 6783, 6783, 6784
LOG_LINES_MAX = 100


class Pair:
    """h1 and h2 with a container each, and whether all of that still works."""

    def __init__(self, h1, h2, c1, c2, *args):
        h1.start_daemon(*args)
        h2.start_daemon(*args, peers=[h1])
        wait_linked(h1, h2)
        self.h1, self.h2, self.c1 = h1, h2, c1
        h1.attach(c1)
        self.addr = bare(h2.attach(c2)[0])
        h1.weft_ok("dns-add", c1, "-h", "one.weft.local")
        wait_until(lambda: c1.ping(self.addr), 5, "c1 reaches c2")
        self.ended = metric(h1, "weft_connection_terminations_total")

    def is_well(self):
        assert self.h1.running() and self.h2.running()
        assert established(self.h1) == {"h2"} and established(self.h2) == {"h1"}
        assert metric(self.h1, "weft_connection_terminations_total") == self.ended, "a link was lost"
        assert self.c1.ping_many(self.addr, 10) == 10
        assert self.c1.dig("one.weft.local", server=DNS).status == "NOERROR"
        lines = len(self.h1.log().splitlines())
        assert lines < LOG_LINES_MAX, f"the log has {lines} lines:\n{self.h1.log_tail(20)}"


def rubbish(seed, n):
    r = random.Random(seed)
    return [bytes(r.randrange(256) for _ in range(r.choice((1, 2, 7, 8, 20, 60, 300, 1400)))) for _ in range(n)]


# Messages: what a stranger sends to the control port


def test_bad_input_on_the_control_port(h1, h2, h3, c1, c2):
    pair = Pair(h1, h2, c1, c2)
    with socket_in(h3, kind=socket.SOCK_STREAM) as s:  # what a peer says first
        s.connect((h1.ip, CONTROL))
        greeting = s.recv(64)
    assert greeting, "the daemon does not greet"
    before = metric(h1, "weft_handshakes_total", result="garbage")
    inputs = [b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", b"SSH-2.0-x\r\n", b"\0" * 4096, b"\xff" * 4096, greeting[:-1],
              greeting + b"\0\0", greeting + b"\xff\xff", greeting + b"\0\x20" + b"\1" * 32, greeting + b"\0\x30" + bytes(48),
              greeting[:-1] + b"\xff" + b"\0\x20" + b"\1" * 32, greeting + b"\0\x01\x07", *rubbish(1, 40),
              *(greeting + r for r in rubbish(2, 40))]
    for data in inputs * 3:
        with socket_in(h3, kind=socket.SOCK_STREAM, timeout=2) as s:
            s.connect((h1.ip, CONTROL))
            try:
                s.sendall(data)
                s.shutdown(socket.SHUT_WR)
                while s.recv(65536):
                    pass
            except ConnectionError:
                pass
            except OSError as e:  # it was quicker to hang up than we to stop sending
                if e.errno != errno.ENOTCONN:
                    raise
    wait_until(lambda: metric(h1, "weft_handshakes_total", result="garbage") - before >= len(inputs), 5, "they are counted")
    said = [line for line in h1.log().splitlines() if h3.ip in line]
    assert said, f"the log does not say who sent rubbish\n{h1.log_tail()}"
    pair.is_well()


def test_bad_input_that_stalls_is_cut_off(h1, h2, h3, c1, c2):
    pair = Pair(h1, h2, c1, c2)
    before = metric(h1, "weft_handshakes_total", result="timeout")
    with socket_in(h3, kind=socket.SOCK_STREAM, timeout=15) as s:
        s.connect((h1.ip, CONTROL))
        s.sendall(s.recv(64)[:3])
        begun = time.monotonic()
        while s.recv(4096):
            pass
        assert time.monotonic() - begun < 10 * SCALE
    wait_until(lambda: metric(h1, "weft_handshakes_total", result="timeout") > before, 2, "it is counted")
    pair.is_well()


# Frames: what arrives on the data path's ports, and what a container makes


def test_bad_input_on_the_data_ports(h1, h2, h3, c1, c2):
    pair = Pair(h1, h2, c1, c2)
    before = metric(h1, "weft_frames_dropped_total")
    with socket_in(h3) as s, socket_in(h2) as from_a_peer:
        for sender in (s, from_a_peer):
            for data in [b"", *rubbish(3, 100)]:
                sender.sendto(data, (h1.ip, USERSPACE))
            for data in rubbish(4, 100):
                sender.sendto(data, (h1.ip, VXLAN))
            # VXLAN with our network's number, as if from the network: frames cut short
            for n in (0, 1, 6, 13, 14, 33):
                sender.sendto(struct.pack("!II", 0x08000000, 6784 << 8) + b"\xff" * n, (h1.ip, VXLAN))
    wait_until(lambda: metric(h1, "weft_frames_dropped_total") - before >= 150, 5, "they are counted")
    dropped = {k for k, v in metrics(h1).items() if k.startswith("weft_frames_dropped_total") and v > 0}
    assert dropped, "by reason"
    pair.is_well()


def test_bad_input_frames_from_a_container(h1, h2, c1, c2):
    pair = Pair(h1, h2, c1, c2)
    before = metric(h1, "weft_frames_dropped_total")
    own, theirs = bytes.fromhex(c1.mac().replace(":", "")), bytes.fromhex(c2.mac().replace(":", ""))
    all_ = b"\xff" * 6
    with socket_in(c1, socket.AF_PACKET, socket.SOCK_RAW) as s:
        s.bind(("ethwe", 0))
        for frame in (all_ + own + b"\x08\x06" + b"\0" * 3,  # ARP and IP cut short
                      all_ + own + b"\x08\x00" + b"\x4f" + b"\0" * 5,
                      all_ + own + b"\x86\xdd" + b"\x60" * 7,
                      all_ + all_ + b"\x08\x00" + b"\0" * 40,  # sent by a group
                      all_ + theirs + b"\x08\x06" + b"\0" * 46,  # sent by another host's container
                      bytes.fromhex("0180c2000000") + own + b"\0\x26" + b"B" * 50,  # a bridge's own
                      all_ + own + b"\0\1" + b"\0" * 40, *(all_ + own + r for r in rubbish(5, 60) if len(r) > 2)):
            try:
                s.send(frame)
            except OSError:
                pass
    wait_until(lambda: metric(h1, "weft_frames_dropped_total") > before, 5, "they are counted")
    pair.is_well()


# DNS


def test_bad_input_to_the_resolver(h1, h2, c1, c2):
    pair = Pair(h1, h2, c1, c2)
    head = struct.pack("!6H", 7, 0x100, 1, 0, 0, 0)
    bad = {
        "a loop of compression": head + b"\xc0\x0c" + b"\0\1\0\1",
        "a pointer forward": head + b"\xc0\x40" + b"\0\1\0\1",
        "a label that runs out": head + b"\x3fabc",
        "a label of more than 63": head + b"\x7f" + b"a" * 127 + b"\0\0\1\0\1",
        "a name of more than 255": head + (b"\x3f" + b"a" * 63) * 5 + b"\0\0\1\0\1",
        "no type": head + encode_name("one.weft.local"),
        "half a type": head + encode_name("one.weft.local") + b"\0",
        "no question": struct.pack("!6H", 7, 0x100, 0, 0, 0, 0),
        "more questions than there are": struct.pack("!6H", 7, 0x100, 9, 0, 0, 0) + encode_name("one.weft.local") + b"\0\1\0\1",
        "65535 records that are not there": struct.pack("!6H", 7, 0x100, 1, 65535, 65535, 65535) + encode_name("a") + b"\0\1\0\1",
        "an OPT that is cut": struct.pack("!6H", 7, 0x100, 1, 0, 0, 1) + encode_name("one.weft.local") + b"\0\1\0\1" + b"\0\0\x29\x10",
        "two OPTs": struct.pack("!6H", 7, 0x100, 1, 0, 0, 2) + encode_name("one.weft.local") + b"\0\1\0\1" + (
            b"\0\0\x29\x10\0" + b"\0" * 6) * 2,
    }
    for what, data in bad.items():
        m = ask(c1, data, DNS, timeout=0.3)
        assert m is None or m.rcode in ("FORMERR", "NOTIMP", "REFUSED", "BADVERS"), f"{what}: {m.rcode}"
        assert m is None or m.ident == 7
    assert ask(c1, bad["more questions than there are"], DNS).rcode == "FORMERR"
    before = metric(h1, "weft_dns_dropped_total") + metric(h1, "weft_dns_queries_total")
    with socket_in(c1) as s:
        for n, data in enumerate([b"", b"x", b"\0" * 11, b"\xff" * 512, *rubbish(6, 300)]):
            s.sendto(data, (DNS, 53))
            if n % 30 == 29:  # what came before an answered question has been read: a burst as long as all would overflow the socket
                wait_until(lambda: ask(c1, query("one.weft.local"), DNS), 5, "a question after rubbish is answered")
    answered = ("weft_dns_dropped_total", "weft_dns_queries_total")
    wait_until(lambda: sum(metric(h1, m) for m in answered) - before >= 200, 5, "they are counted")
    assert metric(h1, "weft_dns_queries_total", rcode="FORMERR") > 0 and metric(h1, "weft_dns_dropped_total", reason="short") > 0
    for data in (b"\0\0", b"\0\5abcde", b"\xff\xffabc", b"\0\x0c" + b"\xff" * 12, *rubbish(7, 30)):
        with socket_in(c1, kind=socket.SOCK_STREAM, timeout=2) as s:
            s.connect((DNS, 53))
            try:
                s.sendall(data)
                s.shutdown(socket.SHUT_WR)
                while s.recv(65536):
                    pass
            except OSError:
                pass
    response = struct.pack("!6H", 7, 0x8180, 1, 0, 0, 0) + query("one.weft.local")[12:]
    assert ask(c1, response, DNS, timeout=0.3) is None, "a response is answered"
    pair.is_well()


# HTTP


def test_bad_input_to_the_api(h1, h2, c1, c2):
    pair = Pair(h1, h2, c1, c2)
    expected = [
        (404, "GET", "/no/such/route", None),
        (405, "DELETE", "/status", None),
        (405, "GET", "/attach", None),
        (400, "POST", "/attach", "{not json"),
        (400, "POST", "/attach", "[]"),
        (400, "POST", "/attach", '{"container": 7}'),
        (400, "POST", "/connect", {}),
        (400, "POST", "/connect", {"peer": ""}),
        (400, "PUT", "/ip/x/not-an-address/12", None),
        (400, "PUT", "/ip/x/10.32.0.9/99", None),
        (400, "POST", "/ip/x/10.32.0.1/12", None),
        (400, "PUT", "/name/x/10.32.0.9", None),
        (400, "PUT", "/name/x/10.32.0.9?fqdn=.", None),
        (400, "PUT", "/name/x/1.2.3?fqdn=a.weft.local", None),
        (400, "POST", "/ip/" + "x" * 500, None),
        (404, "DELETE", "/peer/02:00:00:00:00:99", None),
    ]
    for code, method, path, body in expected:
        r = h1.api(method, path, body=body)
        assert r.status == code, f"{method} {path[:60]}: {r} instead of {code}"
        doc = r.json()
        assert doc["error"] and isinstance(doc.get("hint", ""), str), f"{method} {path[:60]}: {r}"
    # more than is read: the refusal comes before all of it is sent
    got = h1.api_bytes(b"POST /attach HTTP/1.1\r\nHost: x\r\nContent-Length: 1048577\r\n\r\n" + b"x" * 1_048_577, timeout=1)
    assert got.split(b"\r\n")[0].split()[1:2] == [b"413"], got[:200]
    pair.is_well()


def test_bad_input_that_is_no_http(h1, h2, c1, c2):
    pair = Pair(h1, h2, c1, c2)
    post = b"POST /attach HTTP/1.1\r\n"
    for data in (b"\r\n\r\n", b"GET\r\n\r\n", b"GET / HTTP/9.9\r\n\r\n", b"GET /status HTTP/1.1\r\nX: " + b"y" * 20_000 + b"\r\n\r\n",
                 post + b"Content-Length: -5\r\n\r\n", post + b"Content-Length: 99999999999999999999\r\n\r\n",
                 post + b"Transfer-Encoding: chunked\r\n\r\nzz\r\n", b"\x16\x03\x01" + b"\0" * 200, *rubbish(8, 20)):
        got = h1.api_bytes(data + b"\r\n\r\n", timeout=1)
        assert not got or got.startswith(b"HTTP/1."), (data[:60], got[:60])
        assert b" 200 " not in got.split(b"\r\n")[0], (data[:60], got[:60])
    # many that say nothing: others are still served
    held = []
    for _ in range(300):
        s = socket.socket(socket.AF_UNIX)
        try:
            s.settimeout(2)
            s.connect(h1.socket)
            held.append(s)
        except OSError:
            s.close()
    for s in held[:-1]:
        s.close()
    wait_until(lambda: h1.api("GET", "/status").status == 200, 5, "the API answers again")
    held[-1].close()
    pair.is_well()


# Options and their values


def one_line(p, code, *words):
    assert p.returncode == code and p.stdout == "", p
    assert len(p.stderr.splitlines()) == 1, p.stderr
    assert all(w in p.stderr for w in words), f"'{p.stderr}' does not name {words}"


def test_bad_input_in_options(h1):
    for args, words in (
            (("--no-such-option",), ("--no-such-option",)), (("--port",), ("--port",)), (("--port", "0"), ("--port", "0")),
            (("--port", "65536"), ("--port", "65536")), (("--port", "x"), ("--port", "x")), (("--mtu", "-1"), ("--mtu", "-1")),
            (("--name", "02:zz:00:00:00:01"), ("--name", "02:zz")), (("--host", "nowhere"), ("--host", "nowhere")),
            (("--ipalloc-range", "10.0.0.0"), ("--ipalloc-range", "10.0.0.0")),
            (("--ipalloc-init", "consensus=x"), ("--ipalloc-init", "consensus=x")),
            (("--ipalloc-init", "maybe"), ("--ipalloc-init", "maybe")), (("--ipalloc-init", "consensus=0"), ("--ipalloc-init",)),
            (("--dns-domain", "a..b"), ("--dns-domain", "a..b")), (("--dns-ttl", "-3"), ("--dns-ttl", "-3")),
            (("--dns-listen-address", "1.2.3.4:port"), ("--dns-listen-address",)), (("--log-level", "loud"), ("--log-level", "loud")),
            (("--log-format", "xml"), ("--log-format", "xml")), (("--trusted-subnets", "10.0.0.0/8,x"), ("--trusted-subnets", "x")),
            (("--password-file", "/no/such/file"), ("--password-file", "/no/such/file")),
            (("--conn-limit", "many"), ("--conn-limit", "many")), (("--nickname", "a b(c)"), ("--nickname",)),
            (("--socket", "x" * 200), ("--socket",)), (("--http-addr", "x"), ("--http-addr",))):
        one_line(h1.run_daemon(*args), 2, *words)
    assert not os.path.exists(os.path.join(h1.state_dir, "weft.mdb")), "state was made before the options were right"
    assert h1.run_daemon("--check-config").returncode == 0
    one_line(h1.run_daemon("--check-config", "--port", "x"), 2, "--port")


def test_bad_input_in_environment_and_file(h1):
    one_line(h1.run_daemon(env={"WEFT_PORT": "x"}), 2, "WEFT_PORT", "x")
    conf = os.path.join(h1.dir, "weftd.conf")

    def with_conf(text, *args, **kw):
        with open(conf, "wb") as f:
            f.write(text)
        return h1.run_daemon("--config", conf, *args, **kw)

    one_line(with_conf(b"# fine\nport = x\n"), 2, "weftd.conf:2", "port")
    one_line(with_conf(b"no-such-option = 1\n"), 2, "weftd.conf:1", "no-such-option")
    one_line(with_conf(b"just words\n"), 2, "weftd.conf:1")
    one_line(with_conf(b"port = 7\0\n"), 2, "weftd.conf")
    one_line(with_conf(b"nickname = " + b"x" * 10_000 + b"\n"), 2, "weftd.conf:1")
    one_line(with_conf(os.urandom(3000)), 2, "weftd.conf")
    for text in (b"port = \x1b[2J\xff\n", b"\x1b]0;x\x07 = 1\n"):
        p = with_conf(text)
        one_line(p, 2, "weftd.conf:1")
        assert p.stderr.strip().isprintable() and "\ufffd" not in p.stderr, f"what is in the file reaches the terminal: {p.stderr!r}"
    one_line(h1.run_daemon("--config", "/no/such/file"), 2, "/no/such/file")
    # the command line before the environment before the file
    assert with_conf(b"port = 7001\n", "--check-config").returncode == 0
    h1.start_daemon("--config", conf, "--nickname", "from-line", env={"WEFT_NICKNAME": "from-env", "WEFT_DNS_DOMAIN": "env.example"})
    assert "from-line" in service(h1, "router", "Name") and service(h1, "dns", "Domain") == "env.example."
    with socket_in(h1, kind=socket.SOCK_STREAM) as s:
        s.connect((h1.ip, 7001))


# State files


def test_bad_input_in_the_state_directory(h1):
    h1.start_daemon()
    h1.api("POST", "/ip/x")
    name = service(h1, "router", "Name")
    h1.stop()
    db, key = (os.path.join(h1.state_dir, f) for f in ("weft.mdb", "identity.key"))
    good, good_key = (open(f, "rb").read() for f in (db, key))
    assert os.stat(h1.state_dir).st_mode & 0o777 == 0o700 and os.stat(key).st_mode & 0o777 == 0o600

    def broken(path, data):
        with open(path, "wb") as f:
            f.write(data)
        try:
            return h1.run_daemon()
        finally:
            kept = open(path, "rb").read()
            assert kept == data, f"{path} was changed"

    for data in (b"rubbish" * 1000, os.urandom(8192), b"\0" * 4096, b"x"):
        one_line(broken(db, data), 1, db)
    with open(db, "wb") as f:
        f.write(good)
    for data in (b"short", b"x" * 33, b""):
        one_line(broken(key, data), 1, key)
    with open(key, "wb") as f:
        f.write(good_key)
    h1.start_daemon()
    assert service(h1, "router", "Name") == name and h1.api("POST", "/ip/x").text.strip() == "10.32.0.1/12"


def test_bad_input_records_in_a_good_database_are_set_aside(h1):
    """A value that cannot be read: said, kept elsewhere, and the rest is used."""
    h1.start_daemon()
    h1.weft_ok("dns-add", "10.40.0.1", "-h", "first.weft.local")
    h1.weft_ok("dns-add", "10.40.0.2", "-h", "second.weft.local")
    h1.weft_ok("connect", "10.99.0.77")
    h1.stop()
    db = os.path.join(h1.state_dir, "weft.mdb")
    with open(db, "r+b") as f:
        data = f.read()
        label = b"\x05first\x04weft\x05local\0"
        assert label in data
        f.seek(0)
        f.write(data.replace(label, b"\x7f" + label[1:]))  # in every page, old ones too
    h1.start_daemon("--resume")
    assert "aside" in h1.log(), h1.log_tail()
    assert h1.weft_ok("dns-lookup", "second") == "10.40.0.2" and h1.weft("dns-lookup", "first").stdout == ""
    assert h1.weft_ok("status", "targets") == "10.99.0.77"
    h1.restart()
    assert h1.log().count("aside") == 1, "it is said once, and then it is out of the way"


# What the machine does not give


def test_bad_input_second_daemon_on_one_state_directory(h1, h2):
    h1.start_daemon()
    p = h2.run_daemon("--state-dir", h1.state_dir)
    one_line(p, 1, h1.state_dir)
    p = h1.run_daemon("--state-dir", h1.state_dir, "--socket", h1.socket + "2", "--port", 7001)
    one_line(p, 1, h1.state_dir, "--state-dir")
    assert h1.api("GET", "/status").status == 200


def test_bad_input_ports_in_use(h1):
    for kind, port, words in (  # in this order: a VXLAN device that has been made stays and keeps its port
            (socket.SOCK_STREAM, CONTROL, ("6783", "--port")), (socket.SOCK_DGRAM, VXLAN, ("6784", "--no-fastdp")),
            (socket.SOCK_DGRAM, USERSPACE, ("6783", "--port"))):
        with socket_in(h1, kind=kind) as s:
            s.bind(("0.0.0.0", port))
            if kind == socket.SOCK_STREAM:
                s.listen()
            one_line(h1.run_daemon(), 1, *words)
    with socket_in(h1) as s:
        s.bind((h1.ip, 5353))
        one_line(h1.run_daemon("--dns-listen-address", f"{h1.ip}:5353"), 1, f"{h1.ip}:5353", "--dns-listen-address")
    with socket_in(h1, kind=socket.SOCK_STREAM) as s:
        s.bind(("127.0.0.1", 6782))
        s.listen()
        one_line(h1.run_daemon("--status-addr", "127.0.0.1:6782"), 1, "127.0.0.1:6782", "--status-addr")
    with socket.socket(socket.AF_UNIX) as s:
        s.bind(h1.socket)
        s.listen()
        one_line(h1.run_daemon(), 1, h1.socket)
    assert os.path.exists(h1.socket)
    h1.start_daemon()  # a socket nobody listens on is no obstacle
    assert h1.api("GET", "/status").status == 200


def test_bad_input_no_address_of_that_kind(h1):
    one_line(h1.run_daemon("--host", "192.0.2.77"), 1, "192.0.2.77", "--host")
    one_line(h1.run_daemon("--dns-listen-address", "192.0.2.77:53"), 1, "192.0.2.77", "--dns-listen-address")


def test_bad_input_only_root_and_the_group_use_the_socket(h1):
    groups = os.path.join(h1.net.dir, "group")
    for line, expected in (("weft:x:4711:\n", (4711, 0o660)), ("weft2:x:4711:\n", (0, 0o600))):
        with open(groups, "w") as f:
            f.write("root:x:0:\nrubbish\n" + line)
        h1.start_daemon(wrap=("unshare", "--mount", "sh", "-c", f'mount --bind {groups} /etc/group && exec "$@"', "sh"))
        s = os.stat(h1.socket)
        assert (s.st_gid, s.st_mode & 0o777) == expected, s
        h1.stop()


def test_bad_input_no_privilege(h1):
    os.makedirs(h1.state_dir, mode=0o777)
    os.chmod(h1.state_dir, 0o777)
    os.chmod(h1.dir, 0o777)
    os.chmod(h1.net.dir, 0o755)
    binary = os.path.join(h1.net.dir, "weftd")
    command("cp", os.path.join(build_dir(), "weftd"), binary)
    argv = [binary, *h1.daemon_argv()[1:]]
    nobody = ("setpriv", "--reuid=65534", "--regid=65534", "--clear-groups")
    p = h1.exec(*nobody, *argv, check=False, timeout=10)
    one_line(p, 1, "root")
    p = h1.exec("setpriv", "--bounding-set=-net_admin", "--inh-caps=-net_admin", *argv, check=False, timeout=10)
    one_line(p, 1, "CAP_NET_ADMIN")
    os.chmod(h1.state_dir, 0o700)
    h1.start_daemon()
    assert os.stat(h1.socket).st_mode & 0o007 == 0, "everybody may use the API"
    cli = os.path.join(h1.net.dir, "weft")
    command("cp", os.path.join(build_dir(), "weft"), cli)
    p = h1.exec(*nobody, cli, "--socket", h1.socket, "status", check=False, timeout=10)
    assert p.returncode in (1, 3) and "ermission" in p.stderr and len(p.stderr.splitlines()) == 1, p


NO_TUN = ("unshare", "--mount", "sh", "-c", 'mount -t tmpfs none /dev/net && exec "$@"', "sh")


def test_bad_input_no_tun(h1, c1, c2):
    p = h1.exec(*NO_TUN, *h1.daemon_argv("--capture", "tap"), check=False, timeout=10)
    one_line(p, 1, "/dev/net/tun")
    assert "modprobe" in p.stderr
    h1.start_daemon(wrap=NO_TUN)  # not asked for TAP, it takes libpcap
    h1.attach(c1)
    a2 = bare(h1.attach(c2)[0])
    assert c1.ping(a2)


NO_PCAP = ("unshare", "--mount", "sh", "-c", """/sbin/ldconfig -p | sed -n 's/.*libpcap.so.0.8 .*=> //p' | while read -r f; do
    mount --bind /dev/null "$f" || exit 1; done && exec "$@" """, "sh")


def has_pcap(host):
    with open(f"/proc/{host.daemon.pid}/maps") as f:
        return "libpcap" in f.read()


def test_bad_input_no_libpcap(h1, h2, c1, c2):
    p = h1.exec(*NO_PCAP, *h1.daemon_argv("--capture", "pcap"), check=False, timeout=10)
    one_line(p, 1, "libpcap0.8", "install")
    h1.start_daemon(wrap=NO_PCAP)  # it does without
    h2.start_daemon(peers=[h1])
    wait_linked(h1, h2)
    h1.attach(c1)
    a2 = bare(h2.attach(c2)[0])
    wait_until(lambda: c1.ping(a2), 10, "c1 reaches c2")
    one_line(h1.weft("capture", "--network", "weft"), 1, "libpcap0.8", "install")
    assert c1.ping(a2) and not has_pcap(h1)
    assert not has_pcap(h2), "libpcap is loaded before it is used"
    c1.spawn("ping", "-q", "-i", "0.1", a2)
    h2.weft_ok("capture", "-w", "/dev/null", "--count", "1", c2)
    assert has_pcap(h2)


# Rewrites the kind in the netlink message, so that it is the kernel that says it knows no such device.
NO_VXLAN = r"""
#include <dlfcn.h>
#include <string.h>
#include <sys/socket.h>
static void spoil(char *p, size_t n)
{
	for (size_t i = 0; i + 6 <= n; i++)
		if (memcmp(p + i, "vxlan", 6) == 0)
			p[i + 4] = 'm';
}
ssize_t sendmsg(int fd, const struct msghdr *m, int flags)
{
	ssize_t (*real)(int, const struct msghdr *, int) = (ssize_t(*)(int, const struct msghdr *, int))dlsym(RTLD_NEXT, "sendmsg");
	struct sockaddr_storage s;
	socklen_t n = sizeof s;
	if (getsockname(fd, (struct sockaddr *)&s, &n) == 0 && s.ss_family == AF_NETLINK)
		for (size_t i = 0; i < m->msg_iovlen; i++)
			spoil(m->msg_iov[i].iov_base, m->msg_iov[i].iov_len);
	return real(fd, m, flags);
}
"""


def test_bad_input_no_vxlan(h1):
    source, library = os.path.join(h1.dir, "novxlan.c"), os.path.join(h1.dir, "novxlan.so")
    with open(source, "w") as f:
        f.write(NO_VXLAN)
    if subprocess.run(["cc", "-D_GNU_SOURCE", "-shared", "-fPIC", "-o", library, source, "-ldl"], check=False).returncode != 0:
        skip("no C compiler to take VXLAN away with")
    env = {"LD_PRELOAD": library, "ASAN_OPTIONS": os.environ.get("ASAN_OPTIONS", "") + ":verify_asan_link_order=0"}
    h1.start_daemon(env=env)
    assert "no vxlan module" in h1.log(), "what is done without is said"
    router = h1.api("GET", "/report").json()["router"]
    assert router["fast_path"] is False and "vxlan" in router["fast_path_reason"], router


@topology(timeout=60)
def test_bad_input_full_disk(h1):
    """Nothing is given out that cannot be kept: the daemon ends with its reason, and what it gave is there afterwards."""
    os.makedirs(h1.state_dir)
    given = {}
    log = os.path.join(h1.dir, "full.log")
    script = f'mount -t tmpfs -o size=1m,mode=700 none {h1.state_dir} && exec "$@"'
    with open(log, "w") as out:
        p = subprocess.Popen(["ip", "netns", "exec", h1.netns, "unshare", "--mount", "sh", "-c", script, "sh", *h1.daemon_argv()],
                             stdout=out, stderr=out, stdin=subprocess.DEVNULL)
    try:
        wait_until(lambda: h1.api("GET", "/status").status == 200, 10, "the API answers")
        for i in range(100_000):
            try:
                r = h1.api("POST", f"/ip/{'x' * 100}{i}")
            except Exception:
                break  # it has ended
            if r.status != 200:
                assert r.status == 503, r
                break
            given[i] = r.text
        assert len(given) > 100
        assert p.wait(10) == 1
        with open(log) as f:
            lines = f.read().splitlines()
        said = [line for line in lines if "space" in line]
        assert len(said) == 1 and h1.state_dir in said[0] and "make room" in said[0], lines[-10:]
    finally:
        if p.poll() is None:
            p.terminate()
            p.wait(10)
