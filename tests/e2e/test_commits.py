"""Requests of one turn of the daemon's loop share a commit, and what was answered is on disk.

     h1        one host; addresses and names are asked for over the API by many at once
"""

import socket
import threading

from lib import SCALE, Failed, metric, topology


class Pipe:
    """One connection to the API that asks and hears at its own time."""

    def __init__(self, host):
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.connect(host.socket)  # waits while the daemon has many to accept
        self.sock.settimeout(10 * SCALE)
        self.read = self.sock.makefile("rb")

    def ask(self, method, path):
        self.sock.sendall(f"{method} {path} HTTP/1.1\r\nHost: weft\r\nContent-Length: 0\r\n\r\n".encode())

    def answer(self):
        """(status, body) of the next one."""
        status = self.read.readline()
        if not status:
            raise EOFError
        headers = {}
        while (line := self.read.readline().strip()):
            k, _, v = line.partition(b":")
            headers[k.lower()] = v.strip()
        return int(status.split()[1]), self.read.read(int(headers.get(b"content-length", 0))).decode().strip()


def held(host):
    """{container: address} that the host says it has given out."""
    return {e["containerid"]: e["addrs"][0].split("/")[0] for e in host.api("GET", "/ip").json()["owned"]}


@topology()
def test_many_requests_share_commits(h1):
    """A hundred connections, all of which ask before any is read: each gets an address of its own, and there are fewer commits than answers."""
    h1.start_daemon()
    assert h1.api("POST", "/ip/first").status == 200
    pipes = [Pipe(h1) for _ in range(100)]
    before = metric(h1, "weft_store_commits_total")
    for i, p in enumerate(pipes):
        p.ask("POST", f"/ip/c{i}")
    answers = [p.answer() for p in pipes]
    after = metric(h1, "weft_store_commits_total")
    assert all(status == 200 for status, _ in answers), answers
    assert len({a for _, a in answers}) == 100, answers
    assert 0 < after - before < 60, f"{after - before} commits for 100 addresses"


@topology(timeout=120)
def test_what_was_answered_is_on_disk(h1):
    """The daemon is killed while eight clients ask as fast as they can. Whatever address was answered is its container's after the start."""
    h1.start_daemon()
    assert h1.api("POST", "/ip/first").status == 200
    told, lock = {}, threading.Lock()

    def client(run, n):
        pipe = Pipe(h1)
        for i in range(100000):
            name = f"r{run}-{n}-{i}"
            try:
                pipe.ask("POST", f"/ip/{name}")
                status, text = pipe.answer()
            except (OSError, EOFError, IndexError):
                return  # killed
            assert status == 200, text
            with lock:
                told[name] = text.split("/")[0]

    for run in range(5):
        clients = [threading.Thread(target=client, args=(run, n)) for n in range(8)]
        seen = len(told)
        for c in clients:
            c.start()
        while len(told) < seen + 200 and any(c.is_alive() for c in clients):
            pass
        h1.kill()
        for c in clients:
            c.join(20)
        if len(told) < seen + 200:
            raise Failed(f"only {len(told) - seen} addresses before the kill")
        h1.restart()
        has = held(h1)
        lost = {k: (v, has.get(k)) for k, v in told.items() if has.get(k) != v}
        assert not lost, f"answered, and not on disk: {dict(list(lost.items())[:5])}"
        assert len(set(has.values())) == len(has), "an address was given twice"


@topology()
def test_a_client_that_goes_leaves_what_was_decided(h1):
    """Clients that close at once after asking: the daemon goes on, gives nothing twice, and a container that is asked for again has what it got."""
    h1.start_daemon()
    assert h1.api("POST", "/ip/first").status == 200
    for _ in range(20):
        for i in range(10):
            pipe = Pipe(h1)
            pipe.ask("POST", f"/ip/gone{i}")
            pipe.sock.close()
        held(h1)  # these ten were taken in before it: never more wait than the daemon has places for, one above which it turns away
    has = held(h1)
    for i in range(10):
        r = h1.api("POST", f"/ip/gone{i}")
        assert r.status == 200
        if f"gone{i}" in has:
            assert r.text.strip().split("/")[0] == has[f"gone{i}"]
    has = held(h1)
    assert len(set(has.values())) == len(has)
