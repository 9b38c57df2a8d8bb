"""Hosts with a real dockerd each, made by ../shared/tools/docker-hosts.sh, as the test parameters d1 d2 … (dock: all of them).

             bridge `br0` in namespace <prefix>dfab
      ┌────────────┬───┴────────┬──────────────┐
     h1           h2           h3              …          10.99.0.0/24, fd99::/64
      │            │            │
     eth0         eth0         eth0
    d1           d2           d3               hosts: 10.99.0.N, fd99::N, each with network, mount, UTS, IPC and PID namespaces, /run, /var/lib,
                                               /etc/docker, /etc/cni, /etc/hosts and /etc/resolv.conf of its own, a dockerd, and a weftd with
                                               nothing but its defaults: /var/lib/weft, /run/weft/weft.sock, /run/docker/plugins/weft.sock

Sets of hosts live side by side: everything is under the test's own prefix and directory. That directory stands in the environment of all that the tool starts
(DK_ROOT), by which it is found and ended, also when the tool itself was still at it.
"""

import contextlib
import functools
import json
import os
import shutil
import subprocess

from .net import Host, _Place
from .proc import SCALE, Failed, build_dir, command, command_of_session, skip, start_time, wait_until

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__)))))
TOOL = os.path.join(os.path.dirname(ROOT), "shared", "tools", "docker-hosts.sh")
IMAGE = "busybox:local"
DEFAULT_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


@functools.cache
def why_not():
    """What this machine lacks for a dockerd, or None."""
    if not os.access(TOOL, os.X_OK):
        return "no ../shared/tools/docker-hosts.sh beside the project"
    for program in ("dockerd", "docker", "containerd", "runc", "iptables", "tini", "jq", "nsenter", "unshare", "/bin/busybox"):
        if not shutil.which(program, path=DEFAULT_PATH):
            return f"no {program} on this machine; ./dev deps installs it"
    if command("unshare", "--mount", "--uts", "--ipc", "--pid", "--fork", "true", check=False).returncode != 0:
        return "mount, UTS, IPC and PID namespaces cannot be made here"
    return None


class Dock:
    """All Docker hosts of a Net. Its tool's files are in root."""

    def __init__(self, net):
        if reason := why_not():
            skip(f"no dockerd can run here: {reason}")
        self.net, self.root, self.prefix = net, os.path.join(net.dir, "dk"), net.prefix + "d"
        self.hosts = {}
        # overlay2 does not stand on overlayfs.
        over = command("stat", "-f", "-c", "%T", net.dir).stdout.strip() in ("overlayfs", "tmpfs", "ramfs")
        self.env = {"DK_ROOT": self.root, "DK_PREFIX": self.prefix, "DK_NET": "10.99.0", "DK_NET6": "fd99:", "DK_MTU": str(net.mtu),
                    "DK_DRIVER": "vfs" if over else "overlay2", "DK_WAIT": str(int(90 * SCALE))}
        net.ledger.add("dock", TOOL, self.root, self.prefix)

    def up(self, count, images=("busybox",)):
        """Boots hosts 1 … count side by side; waits until each dockerd answers and has the images."""
        booted = self.tool("up", count, check=False, timeout=180)
        if booted.returncode != 0:  # nothing of weft has run yet
            skip(f"no dockerd can run here: {(booted.stderr.strip() or booted.stdout.strip() or 'no reason given').splitlines()[-1]}")
        for n in range(1, count + 1):
            self.hosts[n] = DockerHost(self, n)
        for image in images:
            self.image(image)
        return self.list()

    def list(self):
        return [self.hosts[n] for n in sorted(self.hosts)]

    def host(self, n):
        return self.hosts[n]

    def image(self, what, *hosts):
        """`busybox` is in all from the start; `tools` (tools:local) has iperf3 dig curl ip bash tcpdump ss ping jq, and takes some 5 s."""
        self.tool("image", what, *(h.n for h in hosts), timeout=120)

    def partition(self, *groups):
        """Hosts of different groups do not hear each other. Each group is a segment of its own; all hosts have to be in one."""
        for n, group in enumerate(groups):
            for h in group:
                self.tool("segment", h.n, n)

    def heal(self):
        self.partition(self.list())

    def tool(self, *args, check=True, timeout=60):
        return command_of_session("bash", TOOL, *args, check=check, timeout=timeout, env={**os.environ, **self.env})


class _Daemon:
    """weftd in a host's PID namespace: nsenter's child, which is what signals go to."""

    def __init__(self, outer, pid):
        self.outer, self.pid = outer, pid

    def poll(self):
        return self.outer.poll()

    def wait(self, timeout=None):
        return self.outer.wait(timeout)

    def send_signal(self, sig):
        with contextlib.suppress(ProcessLookupError):
            os.kill(self.pid, sig)


class DockerHost(Host):
    """A host with a dockerd. Everything a Host has (start_daemon, kill, weft, status, attach, api, log …), and Docker."""

    def __init__(self, dock, n):
        _Place.__init__(self, dock.net, f"h{n}", f"{dock.prefix}h{n}")
        self.dock, self.n, self.port, self.ip, self.ip6 = dock, n, f"h{n}", f"10.99.0.{n}", f"fd99::{n}"
        self.dir = os.path.join(dock.root, self.name)
        self.run_dir = os.path.join(self.dir, "run")  # what the host has as /run
        self.state_dir = os.path.join(self.dir, "var-lib", "weft")
        self.socket = os.path.join(self.run_dir, "weft", "weft.sock")
        self.log_path = os.path.join(dock.net.dir, f"{dock.prefix}{self.name}.log")
        self.daemon, self._start = None, None

    # Inside the host

    def _inside(self, *args):
        try:
            with open(os.path.join(self.dir, "init.pid")) as f:
                pid = f.read().strip()
        except FileNotFoundError:
            raise Failed(f"{self.name} is not powered on") from None
        return ["nsenter", "-t", pid, "-n", "-m", "-u", "-i", "-p", "--wd=/", *(str(a) for a in args)]

    def exec(self, *args, check=True, timeout=30, stdin=None, env=None):
        """Runs a command in all of the host's namespaces, as root there."""
        return command(*self._inside(*args), check=check, timeout=timeout, stdin=stdin, env=env)

    def spawn(self, *args, log=None, env=None):
        """Starts a process there that lasts until the Net is closed (or the host is powered off): poll, wait, send_signal, pid (outside)."""
        outer = self.net.spawn(None, *self._inside(*args), log=log, env=env)
        return _Daemon(outer, wait_until(lambda: _child(outer), 5, f"{args[0]} has been started in {self.name}"))

    # weftd

    def daemon_argv(self, *args, peers=()):
        """Nothing but the defaults, as on a host that is weft's alone; the nickname is the host's name by itself."""
        return [os.path.join(build_dir(), "weftd"), *map(str, args), *(p.ip if isinstance(p, Host) else str(p) for p in peers)]

    def start_daemon(self, *args, peers=(), wait=True, env=None, wrap=()):
        """As Host.start_daemon."""
        assert not self.running(), f"{self.name} runs a daemon already"
        argv = self.daemon_argv(*args, peers=peers)
        if not os.access(argv[0], os.X_OK):
            raise Failed(f"{argv[0]} is not built")
        self._start = {"args": args, "peers": peers, "wait": wait, "env": env, "wrap": wrap}
        self.daemon = self.spawn(*wrap, *argv, log=self.log_path, env={**os.environ, **env} if env else None)
        if wait:
            self.wait_ready()
        return self.daemon

    def run_daemon(self, *args, peers=(), timeout=10, env=None):
        return self.exec(*self.daemon_argv(*args, peers=peers), check=False, timeout=timeout, env={**os.environ, **env} if env else None)

    def weft(self, *args, timeout=30, stdin=None, env=None):
        return self.exec(
            os.path.join(build_dir(), "weft"), *args, check=False, timeout=timeout, stdin=stdin, env={**os.environ, **env} if env else None)

    # dockerd

    def docker(self, *args, check=True, timeout=60, stdin=None):
        """The Docker command line against this host's dockerd: a CompletedProcess."""
        return command(
            "/usr/bin/docker", "-H", f"unix://{self.run_dir}/docker.sock", *args, check=check, timeout=timeout, stdin=stdin)

    def run(self, name, *args, image=IMAGE, cmd=("sleep", "3600"), timeout=60):
        """`docker run -d --name NAME ARGS… IMAGE CMD…`: a DockerContainer. Its process obeys SIGTERM at once (--init)."""
        self.docker("run", "-d", "--init", "--name", name, *args, image, *cmd, timeout=timeout)
        return DockerContainer(self, name)

    def container(self, name):
        return DockerContainer(self, name)

    def inspect(self, what, *kind):
        """The first object of `docker [KIND…] inspect WHAT`."""
        return json.loads(self.docker(*kind, "inspect", what).stdout)[0]

    def dockerd_up(self):
        return self.docker("version", check=False).returncode == 0

    def dockerd_stop(self, timeout=60):
        self.dock.tool("dockerd-stop", self.n, timeout=timeout)

    def dockerd_kill(self):
        """kill -9; containers are left to containerd, as in life."""
        self.dock.tool("dockerd-kill", self.n)
        wait_until(lambda: not self.dockerd_up(), 10, f"dockerd of {self.name} is gone")

    def dockerd_start(self, timeout=90):
        """Returns when it answers; with a network whose plugin is absent that takes 15 s and more."""
        self.dock.tool("dockerd-start", self.n, timeout=timeout + 10)

    def dockerd_log(self):
        with open(os.path.join(self.dir, "dockerd.log"), errors="replace") as f:
            return f.read()

    def logs(self):
        copy = os.path.join(self.net.dir, f"{self.dock.prefix}{self.name}.dockerd.log")
        with contextlib.suppress(OSError):
            shutil.copy(os.path.join(self.dir, "dockerd.log"), copy)
        return [self.log_path, copy]

    # Power and cable

    def power_off(self):
        """Everything of the host is gone at once, its disk stays: weftd, dockerd, containers, namespaces, devices, nftables."""
        self.dock.tool("power-off", self.n)
        if self.daemon is not None:
            with contextlib.suppress(subprocess.TimeoutExpired):
                self.daemon.wait(10)
            self.daemon = None

    def power_on(self, timeout=90):
        """Boots it with its disk: dockerd is started (without weftd, start that yourself) and waited for."""
        self.dock.tool("host-up", self.n, timeout=timeout + 10)

    def power_on_with_daemon(self, timeout=90):
        """The same, and weftd as it was started before, while dockerd comes up: as a host does whose services start side by side."""
        boot = self.net.spawn(None, "bash", TOOL, "host-up", self.n, env={**os.environ, **self.dock.env})
        wait_until(lambda: self.exec("ip", "link", "show", "eth0", check=False).returncode == 0, 20, f"{self.name} has booted")
        self.restart()
        if boot.wait(timeout * SCALE) != 0:
            raise Failed(f"{self.name} did not boot: {self.dockerd_log()[-2000:]}")

    def cut(self):
        """Off the fabric in silence: its link stays up."""
        self.dock.tool("cut", self.n)

    def heal(self):
        self.dock.tool("heal", self.n)


class DockerContainer(_Place):
    """A Docker container by its name or id. As `weft attach` argument it is that name."""

    def __init__(self, host, name):
        super().__init__(host.net, name, None)
        self.host, self.ref = host, name

    def __str__(self):
        return self.ref

    @property
    def pid(self):
        """In the host's PID namespace; 0 when it does not run."""
        return self.host.inspect(self.name)["State"]["Pid"]

    @property
    def id(self):
        return self.host.inspect(self.name)["Id"]

    def endpoint(self, network):
        """What Docker knows of its place on a network: IPAddress, GlobalIPv6Address, MacAddress, EndpointID …"""
        return self.host.inspect(self.name)["NetworkSettings"]["Networks"][network]

    def ip(self, network):
        return self.endpoint(network)["IPAddress"]

    def exec(self, *args, check=True, timeout=30, stdin=None):
        """A program of this machine (ping, dig, ip …) in the container's network namespace; it sees the host's files."""
        return self.host.exec("nsenter", "-t", self.pid, "-n", "--", *args, check=check, timeout=timeout, stdin=stdin)

    def sh(self, script, check=True, timeout=30):
        """A shell script inside the container, by `docker exec`: with its own files, so through Docker's resolver. What it printed."""
        p = self.host.docker("exec", self.name, "sh", "-c", script, check=check, timeout=timeout)
        return p.stdout.strip() if check else p

    def resolve(self, name):
        """The IPv4 addresses that the container's own resolver gives for a name, sorted; [] when it gives none."""
        p = self.sh(f"nslookup -type=a {name} 2>&1", check=False)
        found, answer = [], False
        for line in p.stdout.splitlines():
            answer = answer or line.startswith("Name:")
            if answer and line.startswith("Address"):
                found.append(line.split(":", 1)[1].split()[-1])
        return sorted(found)

    def reaches(self, name, timeout=1):
        """One echo request by name or address from inside the container."""
        return self.sh(f"ping -c 1 -W {timeout} {name} >/dev/null 2>&1", check=False, timeout=timeout + 20).returncode == 0

    def rm(self, timeout=60):
        self.host.docker("rm", "-f", self.name, timeout=timeout)


def _child(outer):
    """The pid of nsenter's child, once it is the program itself."""
    if outer.poll() is not None:
        return outer.pid
    with open(f"/proc/{outer.pid}/task/{outer.pid}/children") as f:
        pids = f.read().split()
    if not pids:
        return None
    with open(f"/proc/{pids[0]}/comm") as f:
        return int(pids[0]) if f.read().strip() != "nsenter" and start_time(int(pids[0])) else None
