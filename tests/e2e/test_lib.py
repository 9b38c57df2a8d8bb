"""The topology library itself: what other tests stand on must be able to fail. Needs no weftd."""

import concurrent.futures
import os
import signal
import subprocess
import sys
import time

from lib import (Failed, Net, command, in_netns, sizes, skip, socket_in, tcp_sweep, topology, udp_sweep, wait_until)
from lib.proc import Ledger, pids_in, pids_marked, start_time

HERE = os.path.dirname(os.path.abspath(__file__))


def expect_failure(words, call, *args, **kw):
    try:
        call(*args, **kw)
    except Failed as e:
        assert words in str(e), f"the failure '{e}' does not say '{words}'"
        return
    raise AssertionError(f"{call.__name__} did not fail")


def test_lib_hosts_reach_each_other(h1, h2, h3):
    for a in (h1, h2, h3):
        for b in (h1, h2, h3):
            assert a.ping(b.ip) and a.ping(b.ip6), f"{a.name} does not reach {b.name}"
    assert not h1.ping("10.99.0.77", timeout=0.3)
    assert h1.ping_many(h2.ip, 10) == 10


def test_lib_partition_blocks_and_heals(net, h1, h2, h3):
    cut = net.partition([h1], [h2, h3])
    assert not h1.ping(h2.ip, timeout=0.3) and not h3.ping(h1.ip6, timeout=0.3)
    assert h2.ping(h3.ip)
    net.allow(cut)
    assert h1.ping(h2.ip) and h1.ping(h3.ip)
    net.partition([h1], [h2], [h3])
    assert not h2.ping(h3.ip, timeout=0.3)
    net.heal()
    assert h2.ping(h3.ip) and h1.ping(h3.ip)


def received(a, b, addr, data=b"x", port=7007):
    with socket_in(b, timeout=0.5) as sb, socket_in(a) as sa:
        sb.bind((addr, port))
        sa.sendto(data, (addr, port))
        try:
            return sb.recv(65536) == data
        except TimeoutError:
            return False


def test_lib_one_direction_and_one_port_are_blocked(net, h1, h2):
    assert received(h1, h2, h2.ip) and received(h2, h1, h1.ip)  # neighbour entries are there from now on
    rule = net.block(h1, h2)
    assert not received(h1, h2, h2.ip) and received(h2, h1, h1.ip)
    net.allow(rule)
    assert received(h1, h2, h2.ip)
    net.drop_udp_port(h2, 6784)
    assert not received(h1, h2, h2.ip, port=6784) and not received(h2, h1, h1.ip, port=6784)
    assert received(h1, h2, h2.ip, port=6783)


@topology(mtu=1400)
def test_lib_underlay_mtu(net, h1, h2):
    wait_until(lambda: h1.ping(h2.ip, size=1372, df=True), 5, "packets of that size pass")
    assert not h1.ping(h2.ip, size=1373, df=True, timeout=0.3)
    net.set_mtu(9000)
    wait_until(lambda: h1.ping(h2.ip, size=8972, df=True), 5, "the larger packets pass once all interfaces carry them")
    rule = net.drop_larger(700)
    assert h1.ping(h2.ip, size=672) and not h1.ping(h2.ip, size=673, timeout=0.3)
    net.allow(rule)
    net.drop_icmp()
    assert not h1.ping(h2.ip, timeout=0.3) and received(h1, h2, h2.ip)


def test_lib_sweeps_pass_and_find_losses(net, h1, h2):
    assert {1, 1472, 1473, 60000} <= set(sizes())
    udp_sweep(h1, h2, h2.ip)
    udp_sweep(h1, h2, h2.ip6, over=(1, 60000))
    tcp_sweep(h1, h2, h2.ip)
    net.drop_larger(1000)
    expect_failure("1200, 1400] bytes", udp_sweep, h1, h2, h2.ip, over=(1, 1200, 1400), tries=1)
    expect_failure("broke at 20000 bytes", tcp_sweep, h1, h2, h2.ip, over=(1, 20000), timeout=1)


def test_lib_containers_are_seen_from_processes_started_before(net, h1):
    """A daemon started in a host's namespace sees containers that are made later, as `weft attach` needs it."""
    p = h1.spawn("sleep", "infinity")
    c1 = net.container(1)
    wait_until(lambda: os.readlink(f"/proc/{p.pid}/exe").endswith("sleep"), 5, "sleep runs")
    assert os.readlink(f"/proc/{p.pid}/ns/mnt") != os.readlink("/proc/self/ns/mnt")
    assert os.stat(f"/proc/{p.pid}/root/run/netns/{c1.ref}").st_ino == os.stat(f"/run/netns/{c1.netns}").st_ino
    assert c1.ping("127.0.0.1") and c1.addresses("lo") == ["127.0.0.1/8"] and c1.addresses("ethwe") == []


def test_lib_process_containers_have_a_name_and_namespace(net):
    c1, c2 = net.process_container(1, "alpha"), net.process_container(2, "beta")
    for c, name in ((c1, "alpha"), (c2, "beta")):
        assert command("nsenter", "-u", "-t", c.pid, "hostname").stdout.strip() == name
        assert os.stat(f"/proc/{c.pid}/ns/net").st_ino == os.stat(f"/run/netns/{c.netns}").st_ino
        assert c.ref == f"pid:{c.pid}" and c.ping("127.0.0.1")
    assert os.stat(f"/proc/{c1.pid}/ns/net").st_ino != os.stat(f"/proc/{c2.pid}/ns/net").st_ino


def test_lib_in_netns_comes_back(h1):
    home = os.stat("/proc/thread-self/ns/net").st_ino
    with in_netns(h1.netns):
        assert os.stat("/proc/thread-self/ns/net").st_ino == os.stat(f"/run/netns/{h1.netns}").st_ino != home
    assert os.stat("/proc/thread-self/ns/net").st_ino == home


def test_lib_wait_until_fails_in_time():
    start = time.monotonic()
    expect_failure("in vain until pigs fly; last seen: 0", wait_until, lambda: 0, 0.2, "pigs fly")
    expect_failure("last failure: KeyError", wait_until, lambda: {}["x"], 0.1, "x")
    assert 0.3 <= time.monotonic() - start < 5
    seen = []
    assert wait_until(lambda: seen.append(1) or len(seen) == 3, 5, "the third look") is True


def leftovers(prefix):
    return [n for n in os.listdir("/run/netns") if n.startswith(prefix)] + [n for n in os.listdir("/tmp") if f"weft-e2e-{prefix}-" in n]


def test_lib_cleanup_leaves_nothing_and_spares_others(net):
    stranger = subprocess.Popen(["sleep", "infinity"])
    net.ledger.add("proc", stranger.pid, start_time(stranger.pid))  # so that even a failure here ends it
    other = net.prefix + "x"
    with Net(other) as second:
        h1, c1 = second.host(1), second.process_container(1, "alpha")
        daemon = h1.spawn("sh", "-c", "sleep 1000 & exec sleep 2000")  # leaves a child that no one recorded
        wait_until(lambda: len(pids_in(h1.netns)) == 2, 5, "both sleep")
        inside = {**pids_in(h1.netns), **pids_in(c1.netns)}
        assert len(inside) == 3 and daemon.pid in inside
        expect_failure("in use by another test run", Net, other)
    assert leftovers(other) == [] and not any(start_time(p) == s for p, s in inside.items())
    assert not os.path.exists(f"/run/weft-e2e/{other}")
    assert stranger.poll() is None and os.path.exists(f"/run/netns/{net.underlay}")
    stranger.kill()
    stranger.wait()


CRASHING = """
import os, sys
sys.path.insert(0, sys.argv[1])
from lib import Net
net = Net(sys.argv[2])
p = net.host(1).spawn("sleep", "infinity")
print(p.pid, flush=True)
os.kill(os.getpid(), 9)
"""


def test_lib_a_crashed_run_is_cleaned_up_by_the_next(net):
    other = net.prefix + "y"
    crashed = subprocess.run([sys.executable, "-c", CRASHING, HERE, other], capture_output=True, text=True)
    assert crashed.returncode == -signal.SIGKILL
    pid = int(crashed.stdout)
    assert start_time(pid) is not None and leftovers(other)
    Ledger(other).close()
    assert start_time(pid) is None and leftovers(other) == []


def test_lib_a_namespace_of_someone_else_is_not_taken(net):
    other = net.prefix + "z"
    foreign = other + "h1"
    net.ledger.add("netns", foreign)
    command("ip", "netns", "add", foreign)
    with Net(other) as second:
        expect_failure("did not make", second.host, 1)
    assert os.path.exists(f"/run/netns/{foreign}")


RUNNER_TESTS = '''
from lib import skip, topology, wait_until
def test_passes(h1, h2): assert h1.ping(h2.ip)
def test_fails(net): assert 1 == 2, "one is not two"
def test_skips(net): skip("not on this machine")
@topology(timeout=1)
def test_hangs(h1):
    h1.spawn("sleep", "infinity")
    wait_until(lambda: False, 60, "never")
def test_dies(h1):
    import os
    h1.spawn("sleep", "infinity")
    os.kill(os.getpid(), 9)
def test_wants(h0): pass
'''


def test_lib_runner_counts_and_cleans(net):
    """The runner over a folder of tests of which one passes, one skips, and four fail in four ways."""
    folder = os.path.join(net.dir, "e2e")
    os.mkdir(folder)
    command("cp", "-r", os.path.join(HERE, "run"), os.path.join(HERE, "lib"), folder)
    with open(os.path.join(folder, "test_x.py"), "w") as f:
        f.write(RUNNER_TESTS)
    env = {**os.environ, "WEFT_BUILD": os.path.join(net.dir, "build"), "WEFT_TIME_SCALE": "1", "WEFT_E2E_PREFIX": net.prefix + "r"}
    p = command(os.path.join(folder, "run"), "-j", 2, check=False, timeout=60, env=env)
    assert p.returncode == 1 and p.stdout.endswith("1 passed, 4 failed, 1 skipped\n"), p.stdout
    for words in ("ok   test_passes", "one is not two", "skip test_skips (test_x", "not on this machine", "longer than its 1 s",
                  "ended with -9", "no one makes a parameter 'h0'"):
        assert words in p.stdout, f"'{words}' is not in\n{p.stdout}"
    assert leftovers(net.prefix + "r") == []
    p = command(os.path.join(folder, "run"), "passes", check=False, env=env)
    assert p.returncode == 0 and p.stdout.endswith("1 passed, 0 failed\n"), p.stdout
    assert command(os.path.join(folder, "run"), "no-such-name", check=False, env=env).returncode == 1


STAND_IN = """#!/usr/bin/python3
import http.server, os, signal, socketserver, sys
a = sys.argv[1:]
if "--bad" in a:
    sys.exit("--bad is no option")
open(a[a.index("--state-dir") + 1], "a").write("started\\n")
path = a[a.index("--socket") + 1]
class Answer(http.server.BaseHTTPRequestHandler):
    def log_message(self, *_): pass
    def do_GET(self):
        body = repr(a).encode()
        self.send_response(200); self.send_header("Content-Length", str(len(body))); self.end_headers(); self.wfile.write(body)
    def do_POST(self):
        n = int(self.headers["Content-Length"])
        self.send_response(204 if self.rfile.read(n) == b"peer=10.99.0.2" else 400); self.end_headers()
def term(*_):
    if "--noisy" in a: print("foo.c:1: runtime error: signed overflow", flush=True)
    os._exit(3 if "--rude" in a else 0)
signal.signal(signal.SIGTERM, signal.SIG_IGN if "--deaf" in a else term)
if os.path.exists(path): os.unlink(path)
socketserver.UnixStreamServer(path, Answer).serve_forever()
"""


def test_lib_daemons_start_stop_and_are_checked(net, h1, h2):
    """With a stand-in for weftd that answers HTTP: what a Host does to a daemon, and what it refuses to overlook."""
    os.environ["WEFT_BUILD"] = net.dir
    expect_failure("is not built", h1.start_daemon)
    with open(os.path.join(net.dir, "weftd"), "w") as f:
        f.write(STAND_IN)
    os.chmod(f.name, 0o755)
    h1.start_daemon("--mtu", 1400, peers=[h2, "10.99.0.9"])
    assert h1.api("GET", "/status").text.endswith("'--nickname', 'h1', '--mtu', '1400', '10.99.0.2', '10.99.0.9']")
    assert h1.api("POST", "/connect", {"peer": h2.ip}).status == 204 and h1.api("POST", "/connect", "x").status == 400
    assert h1.api_bytes(b"nonsense\r\n\r\n").startswith(b"<!DOCTYPE") or b"400" in h1.api_bytes(b"nonsense\r\n\r\n")
    assert h1.daemon.pid in pids_in(h1.netns) and 1 << 20 < h1.rss_bytes() < 1 << 30
    first = h1.daemon.pid
    h1.restart(peers=[])
    assert first != h1.daemon.pid and h1.api("GET", "/status").text.endswith("'1400']")
    h1.kill()
    assert not h1.running()
    h1.restart()
    h1.stop()
    with open(h1.state_dir) as f:
        assert f.read() == "started\n" * 3
    bad = h1.run_daemon("--bad")
    assert (bad.returncode, bad.stderr) == (1, "--bad is no option\n")
    expect_failure("ended with 1\n--bad is no option", h1.start_daemon, "--bad")
    h1.daemon = None
    h1.start_daemon("--rude")
    expect_failure("ended with 3 instead of 0", h1.stop)
    h1.start_daemon("--deaf")
    expect_failure("still runs", h1.stop, timeout=0.2)
    h1.kill()


def test_lib_a_broken_daemon_fails_its_test(net):
    """At the end of a test that passed: a daemon that does not end in order, or a log with a sanitizer's report."""
    os.environ["WEFT_BUILD"] = net.dir
    with open(os.path.join(net.dir, "weftd"), "w") as f:
        f.write(STAND_IN)
    os.chmod(f.name, 0o755)
    second = Net(net.prefix + "n")
    second.host(1).start_daemon("--rude")
    second.host(2).start_daemon("--noisy")
    try:
        second.close(check=True)
    except Failed as e:
        assert "h1: weftd ended with 3" in str(e) and "h2: its log says: runtime error:" in str(e), e
    else:
        raise AssertionError("no one noticed")
    assert leftovers(net.prefix + "n") == []


@topology(timeout=180)
def test_lib_docker_hosts_live_lose_power_and_are_cut_off(net, dock, d1, d2):
    d1.start_daemon()
    d2.start_daemon(peers=[d1])
    assert d1.weft_ok("version") and d2.api("GET", "/status").status == 200
    c = d1.run("one", "--hostname", "uno")
    assert c.sh("hostname") == "uno" and c.exec("hostname").stdout.strip() == "h1", "files and names of the host outside, its own inside"
    assert c.addresses("eth0") == [f"{c.ip('bridge')}/16"] and c.reaches(d2.ip)
    d2.cut()
    assert not c.reaches(d2.ip)
    d2.heal()
    wait_until(lambda: c.reaches(d2.ip), 5, "d2 is back")
    dock.partition([d1], [d2])
    assert not d1.ping(d2.ip, timeout=0.3)
    dock.heal()
    assert d1.ping(d2.ip)
    d1.kill()
    assert not d1.running() and d2.running()
    d1.restart()
    d1.dockerd_kill()
    d1.dockerd_start()
    assert d1.docker("ps", "-aq").stdout.strip(), "the container is known to the next dockerd"
    key = os.path.join(d2.state_dir, "identity.key")
    assert os.path.exists(key)
    d2.power_off()
    assert not d2.running() and not os.path.exists(f"/run/netns/{d2.netns}")
    d2.power_on()
    assert os.path.exists(key) and not os.path.exists(d2.socket), "its disk is there, its /run is not"
    d2.restart()
    d2.stop()
    c.rm()


@topology(timeout=120)
def test_lib_a_dockerd_that_dies_while_it_starts_leaves_no_process(net):
    """docker-hosts.sh goes on waiting for it then, longer than anybody here does."""
    inner = Net(f"{net.prefix}half")
    try:
        dock = inner.docker_hosts(1)
        d1 = dock.host(1)
        d1.dockerd_stop()
        dock.env["DK_DOCKERD_ARGS"] = "--there-is-no-such-option"  # it dies at once
        try:
            dock.tool("dockerd-start", 1, timeout=2)
            raise AssertionError("a dockerd that cannot start was waited for no longer than two seconds")
        except subprocess.TimeoutExpired:
            pass
        left = [" ".join(argv) for argv in map(argv_of, pids_marked("DK_ROOT", dock.root)) if "dockerd-start" in argv or "dockerd" in argv]
        assert not left, f"of a command that took too long there is still: {left}"
        assert d1.exec("true").returncode == 0, "the host itself lives on"
        # started and powered on by others, who are waiting when all is taken down
        with concurrent.futures.ThreadPoolExecutor() as pool:
            waiting = pool.submit(d1.dockerd_start)
            wait_until(lambda: any("dockerd-start" in argv_of(p) for p in pids_marked("DK_ROOT", dock.root)), 5, "it is being started")
            inner.close()
            try:
                waiting.result(timeout=10)
                raise AssertionError("it was started")
            except Failed:
                pass
    finally:
        inner.close()
    left = [" ".join(argv_of(p)) for p in pids_marked("DK_ROOT", dock.root)]
    assert not left, f"there is still: {left}"
    assert not [n for n in os.listdir("/run/netns") if n.startswith(inner.prefix)] and not os.path.exists(dock.root)


def argv_of(pid):
    try:
        with open(f"/proc/{pid}/cmdline") as f:
            return f.read().split("\0")
    except (FileNotFoundError, ProcessLookupError):
        return []


def test_lib_docker_hosts_of_a_crashed_run_are_removed(net):
    prefix = f"{net.prefix}crash"
    child = subprocess.run(
        [sys.executable, "-c", f"import os, sys; sys.path.insert(0, {HERE!r}); from lib import Net\n"
         f"net = Net({prefix!r}); net.docker_hosts(1).host(1).run('left'); os.kill(os.getpid(), 9)"], capture_output=True, text=True, timeout=100)
    if "lib.proc.Skip" in child.stderr:
        skip(child.stderr.splitlines()[-1])
    assert child.returncode == -signal.SIGKILL, child.stderr
    assert os.path.exists(f"/run/netns/{prefix}dh1")
    Ledger(prefix).close()
    assert not os.path.exists(f"/run/netns/{prefix}dh1") and not os.path.exists(f"/run/netns/{prefix}dfab")
    assert not command("pgrep", "-f", f"/{prefix}d/h1", check=False).stdout, "its dockerd is gone"
