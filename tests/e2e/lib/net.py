"""Hosts, containers and the underlay between them. The drawing is in lib/__init__.py."""

import atexit
import contextlib
import http.client
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import tempfile

from .proc import SCALE, Failed, Ledger, build_dir, command, in_netns, start_time, wait_until

# What no log of a daemon may hold, whatever the test was about.
BROKEN = re.compile(r"AddressSanitizer|LeakSanitizer|ThreadSanitizer|runtime error:|Assertion .* failed|stack smashing detected")


class Net:
    """A topology. Use it with `with`, or take it as a test's parameter `net`. Prefix: what its namespaces' names begin with."""

    def __init__(self, prefix, mtu=1500):
        if os.geteuid() != 0:
            raise Failed("network namespaces need root")
        self.prefix, self.mtu = prefix, mtu
        self.ledger = Ledger(prefix)
        atexit.register(self.close)
        self.closed = False
        self._hosts, self._containers, self._processes, self._rules = {}, {}, [], []
        self._dock = None
        self.dir = tempfile.mkdtemp(prefix=f"weft-e2e-{prefix}-")
        self.ledger.add("dir", self.dir)
        self.underlay = prefix + "ul"
        self._netns(self.underlay)
        self._ip(self.underlay, f"link add br0 mtu {mtu} type bridge stp_state 0 forward_delay 0 mcast_snooping 0", "link set br0 up")

    def __enter__(self):
        return self

    def __exit__(self, kind, value, trace):
        self.close(check=kind is None)

    def close(self, check=False):
        """Removes everything. check: daemons still running must stop in order, and no log may show a broken program."""
        if self.closed:
            return
        problems = []
        try:
            if check:
                for host in self._every_host():
                    try:
                        host.stop()
                    except Failed as e:
                        problems.append(str(e))
                problems += [f"{h.name}: its log says: {m.group(0)}" for h in self._every_host() if (m := BROKEN.search(h.log()))]
        finally:
            self.closed = True
            atexit.unregister(self.close)
            for p in self._processes:
                if p.poll() is None:
                    p.kill()
                p.wait()
            if problems:
                self.save_logs()
            self.ledger.close()
        if problems:
            raise Failed("\n".join(problems))

    # What it is made of

    def host(self, n):
        """Host n (1 …), made on first use."""
        if n not in self._hosts:
            self._hosts[n] = Host(self, n)
        return self._hosts[n]

    def hosts(self, count):
        return [self.host(n) for n in range(1, count + 1)]

    def docker_hosts(self, count=0):
        """The Dock of hosts with a dockerd each (lib/dockerhosts.py); `count` of them are booted when it is made."""
        if self._dock is None:
            from .dockerhosts import Dock

            self._dock = Dock(self)
            self._dock.up(count)
        return self._dock

    def container(self, n):
        """Container n (1 …): an empty namespace under /run/netns. Which host it is on is decided by attaching it."""
        if n not in self._containers:
            name = f"{self.prefix}c{n}"
            self._netns(name)
            self._containers[n] = Container(self, name, name)
        return self._containers[n]

    def process_container(self, n, hostname):
        """Container n as a process with a network namespace and a host name of its own, attached as pid:N."""
        name = f"{self.prefix}c{n}"
        self._claim(name)
        p = self.spawn(
            None, "unshare", "--net", "--uts", "sh", "-c", 'hostname "$0" && ip link set lo up && exec sleep infinity', hostname)
        wait_until(lambda: _cmdline(p.pid).startswith("sleep"), 5, f"the process of container {name} is up")
        command("ip", "netns", "attach", name, p.pid)
        self._containers[n] = Container(self, name, f"pid:{p.pid}", pid=p.pid)
        return self._containers[n]

    def spawn(self, netns, *args, log=None, env=None):
        """Starts a process (in a namespace) that lasts until it is told to stop or the Net is closed. log: a file's path."""
        argv = (["ip", "netns", "exec", netns] if netns else []) + [str(a) for a in args]
        with open(log or os.devnull, "a") as out:
            p = subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=out, stderr=out, env=env)
        self._processes.append(p)
        self.ledger.add("proc", p.pid, start_time(p.pid) or 0)
        return p

    # What can go wrong with an underlay. Rules live in the underlay, so that hosts notice nothing but silence.

    def block(self, a, b):
        """Nothing passes from host a to host b; the other direction is as it was."""
        return self._rule(f'iifname "{a.port}" oifname "{b.port}" drop')

    def partition(self, *groups):
        """Hosts of different groups do not hear each other. Hosts in no group hear all."""
        return [self.block(a, b) for g in groups for other in groups if other is not g for a in g for b in other]

    def drop_udp_port(self, host, port):
        """No UDP datagram to that port leaves or reaches the host, as behind a firewall."""
        return self._rule(f'iifname "{host.port}" udp dport {port} drop', f'oifname "{host.port}" udp dport {port} drop')

    def drop_larger(self, size):
        """IP packets of more than `size` bytes vanish without a word. The hosts' interfaces cut what they send themselves from now on: what is handed
        over whole and cut later would vanish whole, too."""
        for h in self._hosts.values():
            for feature in ("tso", "tx-udp-segmentation", "tx-udp_tnl-segmentation", "tx-udp_tnl-csum-segmentation"):
                h.exec("ethtool", "-K", "eth0", feature, "off", check=False)
        return self._rule(f"ip length > {size} drop", f"ip6 length > {size - 40} drop")

    def drop_icmp(self):
        """No ICMP crosses the underlay (no path MTU is ever told), but IPv6 neighbour discovery does."""
        return self._rule(
            "ip protocol icmp drop",
            "icmpv6 type { destination-unreachable, packet-too-big, time-exceeded, echo-request, echo-reply } drop")

    def allow(self, *rules):
        """Takes back what block, drop_… (one rule) or partition (a list) gave."""
        gone = [id(r) for rule in rules for r in (rule if isinstance(rule, list) else [rule])]
        self._rules = [r for r in self._rules if id(r) not in gone]
        self._load_rules()

    def heal(self):
        """Takes back all of them."""
        self._rules = []
        self._load_rules()

    def set_mtu(self, mtu):
        """Underlay and every host's eth0."""
        self.mtu = mtu
        ports = [f"link set {h.port} mtu {mtu}" for h in self._hosts.values()]
        self._ip(self.underlay, *ports, f"link set br0 mtu {mtu}")
        for h in self._hosts.values():
            self._ip(h.netns, f"link set eth0 mtu {mtu}")

    def add_underlay_address(self, addr):
        """An address in the underlay itself, outside all hosts."""
        self._ip(self.underlay, f"addr add {addr} dev br0")

    # Looking back

    def log_tails(self, lines=40):
        return "".join(f"---- end of {h.name}'s log\n{h.log_tail(lines)}\n" for h in self._every_host() if h.log())

    def save_logs(self):
        """Keeps the daemons' logs in WEFT_E2E_LOGS, if that is set."""
        keep = os.environ.get("WEFT_E2E_LOGS")
        for h in self._every_host():
            for path in h.logs():
                if keep and os.path.exists(path):
                    os.makedirs(keep, exist_ok=True)
                    shutil.copy(path, keep)

    # Inside

    def _every_host(self):
        return [*self._hosts.values(), *(self._dock.list() if self._dock else [])]

    def _claim(self, name):
        if os.path.exists(f"/run/netns/{name}"):
            raise Failed(f"there is a namespace {name} that this test did not make")
        self.ledger.add("netns", name)

    def _netns(self, name):
        self._claim(name)
        command("ip", "netns", "add", name)
        with in_netns(name):
            for key in ("all", "default"):
                with open(f"/proc/sys/net/ipv6/conf/{key}/accept_dad", "w") as f:
                    f.write("0")
        self._ip(name, "link set lo up")

    def _ip(self, netns, *lines):
        command("ip", "-n", netns, "-batch", "-", stdin="\n".join(lines) + "\n")

    def _rule(self, *text):
        self._rules.append(text)
        self._load_rules()
        return text

    def _load_rules(self):
        body = "\n".join(line for rule in self._rules for line in rule)
        command(
            "ip", "netns", "exec", self.underlay, "nft", "-f", "-", stdin="table bridge e2e\ndelete table bridge e2e\n"
            f"table bridge e2e {{ chain forward {{ type filter hook forward priority 0; policy accept;\n{body}\n}}\n}}\n")


def _cmdline(pid):
    with open(f"/proc/{pid}/cmdline") as f:
        return f.read().replace("\0", " ")


class _Place:
    """Something with a network namespace."""

    def __init__(self, net, name, netns):
        self.net, self.name, self.netns = net, name, netns

    def exec(self, *args, check=True, timeout=30, stdin=None):
        """Runs a command there to its end."""
        return command("ip", "netns", "exec", self.netns, *args, check=check, timeout=timeout, stdin=stdin)

    def spawn(self, *args, log=None):
        """Starts a process there that lasts until the Net is closed."""
        return self.net.spawn(self.netns, *args, log=log)

    def ping(self, addr, timeout=1, size=None, df=False):
        """One echo request; whether it was answered in time."""
        args = ["ping", "-n", "-q", "-c", "1", "-W", timeout]
        if size is not None:
            args += ["-s", size]
        if df:
            args += ["-M", "do"]
        return self.exec(*args, addr, check=False, timeout=timeout + 10).returncode == 0

    def ping_many(self, addr, count, interval=0.02, timeout=1):
        """How many of `count` echo requests were answered."""
        out = self.exec(
            "ping", "-n", "-q", "-c", count, "-i", interval, "-W", timeout, addr, check=False, timeout=count * interval + timeout + 10)
        return int(re.search(r"(\d+) received", out.stdout).group(1))

    def addresses(self, iface="ethwe", family=4):
        """["10.32.0.1/12", …] of an interface; [] when there is none such. IPv6 without link-local ones."""
        p = self.exec("ip", "-json", "addr", "show", "dev", iface, check=False)
        if p.returncode != 0:
            return []
        kind = {4: "inet", 6: "inet6"}[family]
        return [f"{a['local']}/{a['prefixlen']}" for link in json.loads(p.stdout) for a in link.get("addr_info", [])
                if a["family"] == kind and a["scope"] != "link"]

    def ips(self, iface="ethwe", family=4):
        """The same without their lengths, as `weft attach` prints them."""
        return [a.split("/")[0] for a in self.addresses(iface, family)]

    def mac(self, iface="ethwe"):
        return json.loads(self.exec("ip", "-json", "link", "show", "dev", iface).stdout)[0]["address"]

    def dig(self, name, *args, server, timeout=2):
        """An Answer from the server's address. args: a type, or any of dig's own (+tcp, +bufsize=…, -x)."""
        p = self.exec("dig", f"@{server}", f"+time={timeout}", "+tries=1", *args, name, check=False, timeout=timeout + 10)
        return Answer(p.stdout)


class Answer:
    """What dig printed. status "NOERROR" …, None when there was no answer; flags; answers and authority as (name, ttl, type, data)."""

    def __init__(self, text):
        self.text = text
        status = re.search(r"status: (\w+), id:", text)
        self.status = status.group(1) if status else None
        flags = re.search(r"^;; flags: ([a-z ]*);", text, re.M)
        self.flags = flags.group(1).split() if flags else []
        self.answers = self._section("ANSWER")
        self.authority = self._section("AUTHORITY")

    def _section(self, which):
        found = re.search(rf"^;; {which} SECTION:\n((?:[^;\n].*\n)+)", self.text, re.M)
        rows = [line.split(None, 4) for line in found.group(1).splitlines()] if found else []
        return [(r[0], int(r[1]), r[3], r[4]) for r in rows]

    @property
    def data(self):
        """The answers' data alone, sorted."""
        return sorted(a[3] for a in self.answers)

    def __repr__(self):
        return f"<{self.status} {' '.join(self.flags)} {self.answers}>"


class Container(_Place):
    """ref is what `weft attach` is told."""

    def __init__(self, net, netns, ref, pid=None):
        super().__init__(net, netns, netns)
        self.ref, self.pid = ref, pid

    def __str__(self):
        return self.ref

    def end(self):
        """It dies, as a container does: its process and its namespace go, and with that its interface."""
        for p in self.net._processes:
            if p.pid == self.pid:
                p.kill()
                p.wait()
        command("ip", "netns", "del", self.netns)


class Response:
    """Of the API: status, headers (names in small letters), body as bytes."""

    def __init__(self, status, headers, body):
        self.status, self.headers, self.body = status, headers, body

    @property
    def text(self):
        return self.body.decode()

    def json(self):
        return json.loads(self.body)

    def __repr__(self):
        return f"<{self.status} {self.body[:200]!r}>"


class _UnixHTTP(http.client.HTTPConnection):
    def __init__(self, path, timeout):
        super().__init__("localhost", timeout=timeout)
        self.path = path

    def connect(self):
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self.path)


class Host(_Place):
    """A host: at most one daemon at a time, whose state outlives it. ip, ip6: its underlay addresses."""

    def __init__(self, net, n):
        super().__init__(net, f"h{n}", f"{net.prefix}h{n}")
        self.n, self.port, self.ip, self.ip6 = n, f"u{n}", f"10.99.0.{n}", f"fd99::{n}"
        self.dir = os.path.join(net.dir, self.name)
        os.mkdir(self.dir)
        self.state_dir = os.path.join(self.dir, "state")
        self.socket = os.path.join(self.dir, "weft.sock")
        self.log_path = os.path.join(self.dir, f"{self.name}.log")
        self.daemon, self._start = None, None
        net._netns(self.netns)
        net._ip(
            net.underlay, f"link add {self.port} mtu {net.mtu} type veth peer name eth0 mtu {net.mtu} netns {self.netns}",
            f"link set {self.port} master br0 up")
        net._ip(
            self.netns, f"addr add {self.ip}/24 dev eth0", f"addr add {self.ip6}/64 dev eth0 nodad", "link set eth0 up")

    # The daemon

    def daemon_argv(self, *args, peers=()):
        """The command line that start_daemon uses. Each host has its own state directory, socket and nickname (h1 …)."""
        return [os.path.join(build_dir(), "weftd"), "--state-dir", self.state_dir, "--socket", self.socket, "--nickname", self.name,
                *map(str, args), *(p.ip if isinstance(p, Host) else str(p) for p in peers)]

    def start_daemon(self, *args, peers=(), wait=True, env=None, wrap=()):
        """Starts weftd and waits until its API answers. peers: hosts or addresses. wrap: words before it (valgrind …)."""
        assert not self.running(), f"{self.name} runs a daemon already"
        argv = self.daemon_argv(*args, peers=peers)
        if not os.access(argv[0], os.X_OK):
            raise Failed(f"{argv[0]} is not built")
        self._start = {"args": args, "peers": peers, "wait": wait, "env": env, "wrap": wrap}
        self.daemon = self.net.spawn(self.netns, *wrap, *argv, log=self.log_path, env={**os.environ, **env} if env else None)
        if wait:
            self.wait_ready()
        return self.daemon

    def wait_ready(self, timeout=10):
        def ready():
            if self.daemon.poll() is not None:
                return True
            return self.api("GET", "/status").status == 200

        wait_until(ready, timeout, f"the API of {self.name} answers")
        if self.daemon.poll() is not None:
            raise Failed(f"{self.name}: weftd ended with {self.daemon.returncode}\n{self.log_tail()}")

    def run_daemon(self, *args, peers=(), timeout=10, env=None):
        """weftd as a command that is expected to end by itself: a CompletedProcess."""
        return command(
            "ip", "netns", "exec", self.netns, *self.daemon_argv(*args, peers=peers), check=False, timeout=timeout,
            env={**os.environ, **env} if env else None)

    def running(self):
        return self.daemon is not None and self.daemon.poll() is None

    def stop(self, timeout=10):
        """SIGTERM; the daemon has to end in time and in order. Nothing to do when it has been stopped."""
        self._end(signal.SIGTERM, timeout, 0)

    def kill(self):
        """SIGKILL, as a crash."""
        self._end(signal.SIGKILL, 5, -signal.SIGKILL)

    def _end(self, sig, timeout, expected):
        if self.daemon is None:
            return
        daemon = self.daemon
        if daemon.poll() is None:
            daemon.send_signal(sig)
        try:
            code = daemon.wait(timeout * SCALE)
        except subprocess.TimeoutExpired:
            raise Failed(f"{self.name}: weftd still runs {timeout * SCALE:g} s after signal {int(sig)}\n{self.log_tail()}") from None
        self.daemon = None
        if code != expected:
            raise Failed(f"{self.name}: weftd ended with {code} instead of {expected}\n{self.log_tail()}")

    def restart(self, **changes):
        """Stops the daemon if it runs and starts it as it was started; changes: arguments of start_daemon, given by name."""
        self.stop()
        how = {**self._start, **changes}
        return self.start_daemon(*how.pop("args"), **how)

    def forget_state(self):
        """The disk is lost."""
        assert not self.running()
        shutil.rmtree(self.state_dir, ignore_errors=True)

    # Talking to it

    def weft(self, *args, timeout=30, stdin=None, env=None):
        """The command line on this host: a CompletedProcess, whatever its status."""
        return command(
            "ip", "netns", "exec", self.netns, os.path.join(build_dir(), "weft"), "--socket", self.socket, *args, check=False,
            timeout=timeout, stdin=stdin, env={**os.environ, **env} if env else None)

    def weft_ok(self, *args, timeout=30):
        """Its output, without the last newline; it has to end with 0."""
        p = self.weft(*args, timeout=timeout)
        if p.returncode != 0:
            raise Failed(f"{self.name}: weft {' '.join(map(str, args))}: exit {p.returncode}: {p.stdout}{p.stderr}".rstrip())
        return p.stdout.rstrip("\n")

    def weft_json(self, *args):
        return json.loads(self.weft_ok("-o", "json", *args))

    def status(self, part=None):
        """The JSON of `weft status [part]`."""
        return self.weft_json("status", *([part] if part else []))

    def attach(self, container, *args):
        """The addresses that `weft attach` printed."""
        return self.weft_ok("attach", *args, container).split()

    def detach(self, container, *args):
        return self.weft_ok("detach", *args, container).split()

    def api(self, method, path, body=None, headers=None, timeout=10, doc=None):
        """One HTTP request over the daemon's socket. body: bytes, text, or a dict for a form; or doc: what is sent as JSON."""
        headers = dict(headers or {})
        if doc is not None:
            body = json.dumps(doc)
        if isinstance(body, dict):
            body = "&".join(f"{k}={v}" for k, v in body.items())
            headers.setdefault("Content-Type", "application/x-www-form-urlencoded")
        link = _UnixHTTP(self.socket, timeout * SCALE)
        try:
            link.request(method, path, body=body, headers=headers)
            r = link.getresponse()
            return Response(r.status, {k.lower(): v for k, v in r.getheaders()}, r.read())
        finally:
            link.close()

    def api_bytes(self, data, timeout=5):
        """Sends bytes as they are to the socket; all that comes back until the daemon closes or is silent for `timeout`."""
        got = b""
        with socket.socket(socket.AF_UNIX) as s:
            s.settimeout(timeout * SCALE)
            s.connect(self.socket)
            with contextlib.suppress(TimeoutError, ConnectionError):
                s.sendall(data)
            with contextlib.suppress(TimeoutError, ConnectionError):
                while chunk := s.recv(65536):
                    got += chunk
        return got

    # Looking at it

    def rss_bytes(self):
        """The daemon's resident memory."""
        with open(f"/proc/{self.daemon.pid}/status") as f:
            return int(re.search(r"^VmRSS:\s+(\d+) kB", f.read(), re.M).group(1)) * 1024

    def log(self):
        try:
            with open(self.log_path, errors="replace") as f:
                return f.read()
        except FileNotFoundError:
            return ""

    def logs(self):
        """The files worth keeping when a test fails."""
        return [self.log_path]

    def log_tail(self, lines=40):
        return "\n".join(self.log().splitlines()[-lines:])
