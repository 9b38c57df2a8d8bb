"""Processes, conditions with a time limit, network namespaces of this thread, and the ledger of what was made."""

import contextlib
import ctypes
import fcntl
import http.client
import os
import shutil
import signal
import subprocess
import tempfile
import time

RUN = "/run/weft-e2e"
SCALE = float(os.environ.get("WEFT_TIME_SCALE", "1"))  # slower programs (sanitizers, valgrind) get more time
CLONE_NEWNET = 0x40000000
_libc = ctypes.CDLL(None, use_errno=True)


class Failed(AssertionError):
    """A command or a daemon did what it should not."""


class Skip(Exception):
    """The test cannot run here; its text says why."""


class TimeLimit(BaseException):
    """The test's own time limit; no `except Exception` may eat it."""


def skip(reason):
    raise Skip(reason)


def sanitized():
    """Is the daemon under test an AddressSanitizer build?"""
    program = os.path.join(build_dir(), "weftd")
    with open(program, "rb") as f:
        return "libasan" in command("ldd", program).stdout or b"__asan_init" in f.read()


def topology(timeout=120, mtu=1500):
    """Decorates a test with its time limit in seconds and the underlay's MTU."""

    def mark(test):
        test.topology = {"timeout": timeout, "mtu": mtu}
        return test

    return mark


def build_dir():
    """Where weftd and weft are: WEFT_BUILD, relative to the root of the tree, or build."""
    root = os.path.dirname(os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__)))))
    return os.path.join(root, os.environ.get("WEFT_BUILD") or "build")


def command(*args, check=True, timeout=30, stdin=None, env=None):
    """Runs a command to its end; text in and out. A status other than 0 is a failure unless check is False."""
    args = [str(a) for a in args]
    p = subprocess.run(
        args, input=stdin, stdin=subprocess.DEVNULL if stdin is None else None, capture_output=True, text=True, errors="replace",
        timeout=timeout * SCALE, env=env)
    if check and p.returncode != 0:
        raise Failed(f"{' '.join(args)}: exit {p.returncode}\n{p.stdout}{p.stderr}".rstrip())
    return p


def wait_until(cond, timeout, what):
    """Calls cond until it gives something true, which is returned. A failed look counts as not yet. Fails naming `what`."""
    limit = time.monotonic() + timeout * SCALE
    pause, last = 0.005, None
    while True:
        try:
            value = cond()
            if value:
                return value
            last = f"last seen: {value!r}"
        except (AssertionError, OSError, LookupError, ValueError, TypeError, http.client.HTTPException, subprocess.SubprocessError) as e:
            last = f"last failure: {type(e).__name__}: {e}"
        if time.monotonic() >= limit:
            raise Failed(f"waited {timeout * SCALE:g} s in vain until {what}; {last}")
        time.sleep(min(pause, max(0.0, limit - time.monotonic())))
        pause = min(pause * 1.5, 0.1)


@contextlib.contextmanager
def in_netns(name):
    """This thread inside a network namespace of /run/netns. Sockets made here stay there."""
    with open(f"/run/netns/{name}") as target, open("/proc/thread-self/ns/net") as home:
        _setns(target, name)
        try:
            yield
        finally:
            _setns(home, "home")


def _setns(file, what):
    if _libc.setns(file.fileno(), CLONE_NEWNET) != 0:
        raise OSError(ctypes.get_errno(), f"setns to {what}: {os.strerror(ctypes.get_errno())}")


def start_time(pid):
    """A process's start in clock ticks since boot, which with its pid names it for good; None when it is gone or a zombie."""
    try:
        with open(f"/proc/{pid}/stat") as f:
            fields = f.read().rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return None
    return None if fields[0] in "ZX" else int(fields[19])


def kill_and_wait(pids, timeout=5):
    """SIGKILL to processes given as {pid: start time}, and waits until they are gone."""
    for pid, start in pids.items():
        if start is not None and start_time(pid) == start:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
    limit = time.monotonic() + timeout
    while any(start is not None and start_time(p) == start for p, start in pids.items()):
        if time.monotonic() > limit:
            raise Failed(f"processes {sorted(pids)} outlive SIGKILL")
        time.sleep(0.005)


def pids_in(netns):
    """{pid: start time} of the processes whose network namespace this is."""
    try:
        inode = os.stat(f"/run/netns/{netns}").st_ino
    except FileNotFoundError:
        return {}
    found = {}
    for pid in filter(str.isdigit, os.listdir("/proc")):
        with contextlib.suppress(OSError):
            if os.stat(f"/proc/{pid}/ns/net").st_ino == inode:
                found[int(pid)] = start_time(pid)
    found.pop(os.getpid(), None)
    return found


def pids_marked(name, value):
    """{pid: start time} of the processes that have this in their environment: what a command that got it has started, whoever is its parent now."""
    mark, found = f"{name}={value}".encode(), {}
    for pid in filter(str.isdigit, os.listdir("/proc")):
        with contextlib.suppress(OSError):
            with open(f"/proc/{pid}/environ", "rb") as f:
                if mark in f.read().split(b"\0"):
                    found[int(pid)] = start_time(pid)
    found.pop(os.getpid(), None)
    return found


def kill_marked(name, value):
    """SIGKILL to all of them, until there is none; what one of them has just started has the mark, too."""
    while pids := pids_marked(name, value):
        kill_and_wait(pids, timeout=30)


def command_of_session(*args, check=True, timeout=30, env=None):
    """As command, for one that starts others: when it takes too long, or the test is over, all of its session end, and not only itself. What has made itself a
    session of its own is meant to stay."""
    args = [str(a) for a in args]
    with tempfile.TemporaryFile("w+", errors="replace") as out, tempfile.TemporaryFile("w+", errors="replace") as err:
        p = subprocess.Popen(args, stdin=subprocess.DEVNULL, stdout=out, stderr=err, env=env, start_new_session=True)
        try:
            p.wait(timeout * SCALE)
        except BaseException:
            _kill_session(p.pid)
            p.wait()
            raise
        done = subprocess.CompletedProcess(args, p.returncode, *(f.seek(0) or f.read() for f in (out, err)))
    if check and done.returncode != 0:
        raise Failed(f"{' '.join(args)}: exit {done.returncode}\n{done.stdout}{done.stderr}".rstrip())
    return done


def _kill_session(leader):
    """The leader is ours and not waited for yet, so its number is nobody else's."""
    while True:
        members = {}
        for pid in map(int, filter(str.isdigit, os.listdir("/proc"))):
            with contextlib.suppress(OSError):
                if os.getsid(pid) == leader and start_time(pid) is not None:
                    members[pid] = start_time(pid)
        if not members:
            return
        kill_and_wait(members)


class Ledger:
    """One file per prefix: locked while its owner lives, one line for each thing it made. Opening it removes what a dead owner left."""

    def __init__(self, prefix):
        self.path = os.path.join(RUN, prefix)
        while True:
            os.makedirs(RUN, exist_ok=True)
            try:
                self.file = open(self.path, "a+")
            except FileNotFoundError:
                continue  # another ledger's close took the folder away
            try:
                fcntl.flock(self.file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                self.file.close()
                raise Failed(f"the prefix {prefix} is in use by another test run") from None
            with contextlib.suppress(FileNotFoundError):
                if os.stat(self.path).st_ino == os.fstat(self.file.fileno()).st_ino:
                    break
            self.file.close()
        self.clean()

    def add(self, kind, *values):
        """kind: proc PID START, netns NAME, dir PATH, dock TOOL ROOT PREFIX (Docker hosts, see dockerhosts.py)."""
        self.file.write(" ".join([kind, *map(str, values)]) + "\n")
        self.file.flush()

    def clean(self):
        """Removes everything that is written here, and nothing else."""
        self.file.seek(0)
        lines = [line.split() for line in self.file.read().splitlines()]
        kill_and_wait({int(a[1]): int(a[2]) for a in lines if a[0] == "proc"})
        for tool, root, prefix in dict.fromkeys(tuple(a[1:]) for a in lines if a[0] == "dock"):
            kill_marked("DK_ROOT", root)  # also what is half-way through making a host, and would go on
            command("bash", tool, "down", timeout=60, env={**os.environ, "DK_ROOT": root, "DK_PREFIX": prefix})
        for name in dict.fromkeys(a[1] for a in lines if a[0] == "netns"):
            kill_and_wait(pids_in(name))  # also what a daemon of ours left running there
            if os.path.exists(f"/run/netns/{name}"):
                command("ip", "netns", "del", name)
        for path in dict.fromkeys(a[1] for a in lines if a[0] == "dir"):
            shutil.rmtree(path, ignore_errors=True)
        self.file.truncate(0)

    def close(self):
        self.clean()
        with contextlib.suppress(FileNotFoundError):
            os.unlink(self.path)
        self.file.close()
        with contextlib.suppress(OSError):
            os.rmdir(RUN)  # refused while others use it
