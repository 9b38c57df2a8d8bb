"""Containers of LXC, attached by the hook in packaging/lxc as docs/howto/lxc.md describes it.

     web (an LXC container whose network is empty)      c1 (a namespace)         both on h1

Once with LXC itself, where it is installed, and once with a stand-in that calls the hook as LXC does.
"""

import os
import shutil

from lib import DNS, build_dir, command, skip, topology, wait_until
from lib.net import Container

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
HOOK = os.path.join(ROOT, "packaging", "lxc", "weft-hook")
HOWTO = os.path.join(ROOT, "docs", "howto", "lxc.md")


def settings():
    """The configuration in the how-to, with the hook where it is."""
    with open(HOWTO) as f:
        text = f.read()
    block = text.split("For each container", 1)[1].split("```", 2)[1]
    return block.strip().replace("/usr/local/lib/weft/weft-hook", HOOK)


class Inside(Container):
    """By its process: it has no name under /run/netns."""

    def exec(self, *args, check=True, timeout=30, stdin=None):
        return command("nsenter", "-t", self.pid, "-n", *args, check=check, timeout=timeout, stdin=stdin)


class Lxc:
    def __init__(self, net, host, name):
        self.net, self.host, self.name = net, host, name
        self.path = os.path.join(net.dir, "lxc")
        self.dir = os.path.join(self.path, name)
        os.makedirs(self.dir)
        self.env = {**os.environ, "PATH": f"{build_dir()}:{os.environ['PATH']}", "WEFT_SOCKET": host.socket}

    def words(self, text):
        with open(os.path.join(self.dir, "weft"), "w") as f:
            f.write(text + "\n")

    def container(self):
        return Inside(self.net, None, self.name, pid=self.pid())


class RealLxc(Lxc):
    """The root file system is busybox and nothing else."""

    def __init__(self, net, host, name):
        super().__init__(net, host, name)
        root = os.path.join(self.dir, "rootfs")
        for d in ("bin", "etc", "proc", "sys", "dev"):
            os.makedirs(os.path.join(root, d))
        shutil.copy("/bin/busybox", os.path.join(root, "bin"))
        for tool in ("sh", "sleep", "cat"):
            os.symlink("busybox", os.path.join(root, "bin", tool))
        with open(os.path.join(self.dir, "config"), "w") as f:
            f.write(f"{settings()}\nlxc.rootfs.path = dir:{root}\nlxc.apparmor.profile = unconfined\nlxc.mount.auto = proc:mixed\n"
                    "lxc.init.cmd = /bin/sleep 1000\n")

    def tool(self, tool, *args, check=True):
        return command(tool, "-P", self.path, "-n", self.name, *args, check=check, env=self.env)

    def start(self, check=True):
        log = os.path.join(self.net.dir, "lxc.log")
        p = self.tool("lxc-start", "-d", "-l", "INFO", "-o", log, check=False)
        if check and p.returncode != 0:
            with open(log) as f:
                raise AssertionError(f.read())
        return p.returncode == 0

    def pid(self):
        return int(self.tool("lxc-info", "-p", "-H").stdout)

    def stop(self):
        self.tool("lxc-stop", "-k", check=False)

    def destroy(self):
        self.tool("lxc-destroy")

    def files(self, path):
        return self.tool("lxc-attach", "--clear-env", "--", "/bin/cat", path).stdout


class StandIn(Lxc):
    def start(self, check=True):
        settings()  # the how-to holds them
        script = ('mount --make-rprivate / && mount -t tmpfs tmpfs /etc && hostname web.weft.local && ip link set lo up && exec sleep infinity')
        self.process = self.net.spawn(None, "unshare", "--net", "--uts", "--mount", "sh", "-c", script)

        def up():
            with open(f"/proc/{self.process.pid}/cmdline") as f:
                return f.read().startswith("sleep")

        wait_until(up, 5, "the stand-in is up")
        p = self.hook("start-host", LXC_PID=str(self.process.pid))
        if p.returncode != 0:
            assert not check, p
            self.stop()
        return p.returncode == 0

    def hook(self, kind, **env):
        return command(HOOK, self.name, "lxc", kind, check=False,
                       env={**self.env, "LXC_NAME": self.name, "LXC_CONFIG_FILE": os.path.join(self.dir, "config"), **env})

    def pid(self):
        return self.process.pid

    def stop(self):
        self.process.kill()
        self.process.wait()

    def destroy(self):
        assert self.hook("destroy").returncode == 0

    def files(self, path):
        return command("nsenter", "-t", self.pid(), "-m", "cat", path).stdout


def life(net, h1, c1, box):
    """From the first start to the end."""
    assert not box.start(check=False), "without weft it does not start"
    h1.start_daemon()
    h1.attach(c1)
    ident = f"lxc:{box.name}"
    box.start()
    c = box.container()
    addr = c.addresses()[0]
    assert h1.weft_ok("ps", ident).split() == [ident, c.mac(), addr]
    ip = addr.split("/")[0]
    wait_until(lambda: c1.ping(ip), 5, "it is reached")
    assert h1.weft_ok("dns-lookup", "web") == ip and c1.dig("web.weft.local", "A", server=DNS).data == [ip]
    assert f"{ip}\tweb.weft.local web\n" in box.files("/etc/hosts")
    # again, within the time for which its address is kept
    box.stop()
    wait_until(lambda: h1.weft("dns-lookup", "web").stdout == "", 5, "its name goes at once")
    box.start()
    c = box.container()
    assert c.addresses() == [addr], "it has its address again"
    assert h1.weft_ok("dns-lookup", "web") == ip
    box.stop()
    # with words of its own
    box.words("ip:10.32.7.7/12 --add-host gateway:192.0.2.1")
    box.start()
    c = box.container()
    assert "10.32.7.7/12" in c.addresses()
    assert "192.0.2.1\tgateway\n" in box.files("/etc/hosts")
    box.stop()
    box.destroy()
    assert [e["containerid"] for e in h1.api("GET", "/ip").json()["owned"]] == [str(c1)], "destroyed, it has no address any more"
    p = h1.weft("ps", ident)
    assert p.returncode == 4, p


@topology(timeout=60)
def test_C1_lxc_by_its_hook(net, h1, c1):
    for program in ("lxc-start", "lxc-destroy", "/bin/busybox"):
        if not shutil.which(program):
            skip(f"no {program} here; the stand-in is tested")
    box = RealLxc(net, h1, net.prefix + "lxc")
    try:
        life(net, h1, c1, box)
    finally:
        box.stop()


@topology(timeout=60)
def test_C1_lxc_by_its_hook_stand_in(net, h1, c1):
    life(net, h1, c1, StandIn(net, h1, "web"))
