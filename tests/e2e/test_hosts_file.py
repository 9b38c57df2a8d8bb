"""A container's /etc/hosts: `weft attach --rewrite-hosts --add-host`.

     c (a process with a host name and an /etc of its own)     a (a container of Docker's, which mounts its /etc/hosts)
"""

import os
import stat

from lib import command, topology, wait_until
from lib.net import Container

DOCKERS = "127.0.0.1\tlocalhost\n172.17.0.2\tbox.weft.local box\n"


def boxed(net, n, setup, hostname="box.weft.local"):
    """A process container whose /etc is its own. setup: what a shell does there before its interface comes."""
    name = f"{net.prefix}c{n}"
    net._claim(name)
    script = ('mount --make-rprivate / && mount -t tmpfs tmpfs /etc && cd /etc && eval "$1" && hostname "$0" && ip link set lo up && '
              "exec sleep infinity")
    p = net.spawn(None, "unshare", "--net", "--uts", "--mount", "sh", "-c", script, hostname, setup)

    def up():
        with open(f"/proc/{p.pid}/cmdline") as f:
            return f.read().startswith("sleep")

    wait_until(up, 5, f"the process of {name} is up")
    command("ip", "netns", "attach", name, p.pid)
    return Container(net, name, f"pid:{p.pid}", pid=p.pid)


def inside(c, *args, check=True):
    return command("nsenter", "-t", c.pid, "-m", "-n", "-u", *args, check=check)


def hosts_of(c):
    return inside(c, "cat", "/etc/hosts").stdout


def lookup(c, name):
    p = inside(c, "getent", "-s", "files", "ahostsv4", name, check=False)
    return sorted({line.split()[0] for line in p.stdout.splitlines()})


def write(text):
    return f"printf '{text}' > hosts".replace("\n", "\\n").replace("\t", "\\t")


def inode(c):
    return os.stat(f"/proc/{c.pid}/root/etc/hosts").st_ino


def test_C1_rewrite_hosts_replaces_a_plain_file(net, h1):
    h1.start_daemon()
    c = boxed(net, 1, write(DOCKERS) + " && chmod 640 hosts && chown 7:8 hosts")
    before = inode(c)
    addr = h1.attach(c, "--rewrite-hosts", "--add-host", "db:192.0.2.7", "--add-host", "six:2001:db8::7")[0]
    assert hosts_of(c) == (f"# weft begin\n{addr}\tbox.weft.local box\n192.0.2.7\tdb\n2001:db8::7\tsix\n# weft end\n"
                           "127.0.0.1\tlocalhost\n#weft# 172.17.0.2\tbox.weft.local box\n")
    assert lookup(c, "box") == lookup(c, "box.weft.local") == [addr] and lookup(c, "db") == ["192.0.2.7"]
    s = os.stat(f"/proc/{c.pid}/root/etc/hosts")
    assert (stat.S_IMODE(s.st_mode), s.st_uid, s.st_gid) == (0o640, 7, 8) and s.st_ino != before, "a new file with the old one's owner"
    text = hosts_of(c)
    after = inode(c)
    h1.attach(c, "--rewrite-hosts", "--add-host", "db:192.0.2.7", "--add-host", "six:2001:db8::7")
    assert hosts_of(c) == text and inode(c) == after, "doing it twice changes nothing"
    more = h1.attach(c, "ip:10.33.0.9/24", "--rewrite-hosts")
    assert hosts_of(c).startswith("# weft begin\n" + "".join(f"{a}\tbox.weft.local box\n" for a in (addr, *more)) + "# weft end\n")
    assert lookup(c, "db") == []
    h1.detach(c, "ip:10.33.0.9/24")
    assert lookup(c, "box") == [addr]
    h1.detach(c)
    assert hosts_of(c) == DOCKERS and inside(c, "ls", "-A", "/etc").stdout.split() == ["hosts"]
    # a name alone, in a container that has no such file
    e = boxed(net, 2, "true")
    h1.attach(e, "--add-host", "db:192.0.2.7")
    assert hosts_of(e) == "# weft begin\n192.0.2.7\tdb\n# weft end\n"
    h1.detach(e)
    assert hosts_of(e) == ""


def test_C1_rewrite_hosts_writes_into_a_mounted_file(net, h1):
    h1.start_daemon()
    c = boxed(net, 1, write(DOCKERS) + " && cp hosts real && mount --bind real hosts")
    before = inode(c)
    addr = h1.attach(c, "--rewrite-hosts")[0]
    assert lookup(c, "box") == [addr] and inode(c) == before, "the mount stands"
    assert "hosts" in inside(c, "cat", "/proc/self/mountinfo").stdout
    h1.detach(c)
    assert hosts_of(c) == DOCKERS


def test_C1_rewrite_hosts_follows_nothing_the_container_put_there(net, h1):
    h1.start_daemon()
    victim = os.path.join(net.dir, "victim")
    with open(victim, "w") as f:
        f.write("mine\n")
    tricks = {
        "a link to a file": f"ln -s {victim} hosts",
        "a link to the host's file by another's root": "ln -s /proc/1/root/etc/hosts hosts",
        "a FIFO": "mkfifo hosts",
        "a directory": "mkdir hosts",
        "a device": "mknod hosts c 1 3",
        "a second name of somebody's file, mounted": f"ln {victim} {victim}2 && touch hosts && mount --bind {victim} hosts",
        "somebody else's file, mounted": f"touch hosts && chown 7 /etc && mount --bind {victim} hosts",
    }
    for n, (what, setup) in enumerate(tricks.items()):
        c = boxed(net, n + 1, setup)
        p = h1.weft("attach", "--rewrite-hosts", c)
        assert p.returncode == 1 and "/etc/hosts" in p.stderr and len(p.stderr.splitlines()) == 1, (what, p)
        assert c.addresses() == [], f"{what}: nothing is left half done"
        with open(victim) as f:
            assert f.read() == "mine\n", what
    # what is found out only when it is written: one that was not attached is not, another stays as it is
    c = boxed(net, 20, write(DOCKERS) + " && mount -o remount,ro /etc")
    p = h1.weft("attach", "--rewrite-hosts", c)
    assert p.returncode == 1 and "/etc/hosts" in p.stderr and "Read-only" in p.stderr, p
    assert c.addresses() == [] and h1.api("GET", "/ip").json()["owned"] == [] and str(c) not in h1.weft_ok("ps")
    addr = h1.attach(c)
    assert h1.weft("attach", "--rewrite-hosts", c).returncode == 1 and c.ips() == addr
    h1.detach(c)
    assert h1.api("GET", "/ip").json()["owned"] == [] and h1.weft("verify").returncode == 0


def test_C1_rewrite_hosts_leaves_the_hosts_own_file_alone(net, h1, c1):
    h1.start_daemon()
    with open("/etc/hosts") as f:
        before = f.read()
    p = net.process_container(2, "two.weft.local")
    for args in (("--rewrite-hosts",), ("--add-host", "db:192.0.2.7")):
        r = h1.weft("attach", *args, p)
        assert r.returncode == 1 and "the host's own" in r.stderr, r
        r = h1.weft("attach", *args, c1)
        assert r.returncode == 1 and "pid:N" in r.stderr, f"a namespace has no files: {r}"
    for bad in ("db", "db:", ":192.0.2.7", "d b:192.0.2.7", "db:192.0.2", "db\nx:192.0.2.7"):
        r = h1.weft("attach", "--add-host", bad, p)
        assert r.returncode == 1 and "NAME:IP" in r.stderr, (bad, r)
    with open("/etc/hosts") as f:
        assert f.read() == before


@topology(timeout=120)
def test_C1_D_rewrite_hosts_of_a_docker_container(d1):
    d1.start_daemon()
    a = d1.run("aa", "--hostname", "web")
    before = a.sh("cat /etc/hosts")
    addr = d1.weft_ok("attach", "--rewrite-hosts", "--add-host", "db:192.0.2.7", "aa").strip()
    assert a.sh("cat /etc/hosts") == f"# weft begin\n{addr}\tweb\n192.0.2.7\tdb\n# weft end\n" + before.replace("172.", "#weft# 172.")
    assert a.sh("ping -c 1 -W 1 web >/dev/null && echo yes") == "yes"
    d1.weft_ok("detach", "aa")
    assert a.sh("cat /etc/hosts") == before
