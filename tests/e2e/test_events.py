"""What happens, as it happens: GET /events.

     c1 ── h1
"""

import json
import re
import socket
import time

from lib import SCALE, bare, wait_until


class Listener:
    """A client of GET /events over the daemon's socket: whole lines, as they come."""

    def __init__(self, host, query=""):
        self.s = socket.socket(socket.AF_UNIX)
        self.s.settimeout(5 * SCALE)
        self.s.connect(host.socket)
        self.s.sendall(f"GET /events{query} HTTP/1.1\r\nHost: weft\r\n\r\n".encode())
        self.raw, self.text, self.head, self.ended = b"", "", None, False

    def more(self):
        """Takes what comes next. False: nothing does any more."""
        chunk = self.s.recv(1 << 16)
        self.raw += chunk
        if self.head is None and b"\r\n\r\n" in self.raw:
            head, _, self.raw = self.raw.partition(b"\r\n\r\n")
            self.head = head.decode()
        while self.head is not None and b"\r\n" in self.raw and not self.ended:
            size, _, rest = self.raw.partition(b"\r\n")
            n = int(size, 16)
            if len(rest) < n + 2:
                break
            self.text, self.raw, self.ended = self.text + rest[:n].decode(), rest[n + 2:], n == 0
        return bool(chunk) and not self.ended

    def events(self, count):
        while self.text.count("\n") < count:
            assert self.more(), f"ended after {self.text}"
        return [json.loads(line) for line in self.text.splitlines()]

    def to_the_end(self):
        while self.more():
            pass
        return [json.loads(line) for line in self.text.splitlines()]

    def close(self):
        self.s.close()


def test_events_are_told_as_they_happen(h1, c1):
    h1.start_daemon()
    early = Listener(h1)
    hello = early.events(1)[0]
    assert early.head.startswith("HTTP/1.1 200") and "application/x-ndjson" in early.head, early.head
    assert hello["event"] == "hello" and hello["schema"] == 1 and hello["nickname"] == "h1" and hello["version"], hello
    start = time.time()
    addr = h1.attach(c1)[0]
    h1.weft_ok("connect", "10.99.0.66", "10.99.0.67")
    h1.weft_ok("forget", "10.99.0.66")
    assert h1.weft("attach", "no-such").returncode == 4
    h1.weft_ok("detach", c1)
    got = [e for e in early.events(5) if e["event"] != "path"][1:]
    assert [e["event"] for e in got] == ["attach", "connect", "forget", "detach"], got
    assert got[0]["container"] == got[3]["container"] == str(c1)
    assert [bare(a) for a in got[0]["addresses"]] == [bare(addr)] == [bare(a) for a in got[3]["addresses"]], got
    assert got[1]["targets"] == ["10.99.0.66", "10.99.0.67"] and got[2]["targets"] == ["10.99.0.66"]
    for e in got:
        assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", e["time"]), e
        assert abs(time.mktime(time.strptime(e["time"][:19], "%Y-%m-%dT%H:%M:%S")) - time.timezone - start) < 60, e
    # Who comes later hears what he asks for.
    late, none = Listener(h1, "?recent=2"), Listener(h1)
    assert [e["event"] for e in late.events(3)] == ["hello", "forget", "detach"]
    h1.weft_ok("connect", "10.99.0.68")
    assert late.events(4)[3] == none.events(2)[1] == early.events(6)[5]
    # It ends with the daemon, and as a whole.
    h1.stop()
    for x in (early, late, none):
        x.to_the_end()
        assert x.ended, "no end of the answer came"


def test_events_have_limits(h1, c1):
    h1.start_daemon()
    assert h1.api("GET", "/events?recent=257").status == 400 and h1.api("GET", "/events?recent=x").status == 400
    assert h1.api("GET", "/events", headers={"Host": "evil.example.com"}).status == 400
    clients = [Listener(h1) for _ in range(16)]
    for c in clients:
        c.events(1)
    refused = h1.api("GET", "/events")
    assert refused.status == 409 and "sixteen" in refused.text, refused.text
    clients.pop().close()
    wait_until(lambda: _follows(h1), 5, "there is room when one has gone")
    # One that reads nothing is cut off, the others are not.
    slow, quick = clients[0], clients[1]
    name = "x" * 200 + ".example"
    for i in range(500):
        assert h1.api("POST", "/connect", {"peer": f"{name}{i}", "replace": "true"}).status == 200
        quick.events(i + 2)
    told = slow.to_the_end()
    assert not slow.ended and len(told) < 500, f"{len(told)} were kept for one who read none"
    assert len(quick.events(501)) == 501
    h1.weft_ok("connect", "--replace", "10.99.0.66")
    assert quick.events(502)[-1]["targets"] == ["10.99.0.66"]
    for c in clients:
        c.close()


def _follows(host):
    x = Listener(host)
    try:
        x.more()
        return x.head.startswith("HTTP/1.1 200")
    finally:
        x.close()
