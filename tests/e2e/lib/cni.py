"""Calling weft-cni as a container runtime does, and a runtime on libcni (cnitool.go)."""

import json
import os
import shutil
import subprocess
import tempfile

from .proc import build_dir, command, skip

HERE = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
DEBIAN = "/usr/lib/cni"  # plugins of Debian's package containernetworking-plugins
GOPATH = "/usr/share/gocode"


def plugins(*names):
    """Skips a test that needs plugins this machine does not have."""
    for name in names:
        if not os.access(f"{DEBIAN}/{name}", os.X_OK):
            skip(f"no CNI plugin {name} in {DEBIAN}; ./dev deps installs containernetworking-plugins")


def cnitool():
    """The runtime, built once a build directory."""
    tool = os.path.join(build_dir(), "e2e", "cnitool")
    source = os.path.join(HERE, "cnitool.go")
    if os.path.exists(tool) and os.path.getmtime(tool) > os.path.getmtime(source):
        return tool
    go = shutil.which("go", path="/usr/bin")
    if not go or not os.path.isdir(f"{GOPATH}/src/github.com/containernetworking/cni/libcni"):
        skip("no Go or no libcni on this machine; ./dev deps installs golang-go and golang-github-appc-cni-dev")
    os.makedirs(os.path.dirname(tool), exist_ok=True)
    with tempfile.TemporaryDirectory(dir=os.path.dirname(tool)) as d:
        env = {**os.environ, "GO111MODULE": "off", "GOPATH": GOPATH, "GOCACHE": f"{d}/cache", "GOFLAGS": "", "CGO_ENABLED": "0"}
        command(go, "build", "-o", f"{d}/cnitool", source, timeout=300, env=env)
        os.rename(f"{d}/cnitool", tool)
    return tool


class Answer:
    """Of one call: its exit status, what it printed as JSON (None: nothing)."""

    def __init__(self, p):
        self.status, self.text, self.stderr = p.returncode, p.stdout, p.stderr
        self.doc = json.loads(p.stdout) if p.stdout.strip() else None

    @property
    def code(self):
        """The spec's error code; 0: done."""
        assert (self.status == 0) == (self.doc is None or "code" not in self.doc), (self.status, self.text)
        assert self.status in (0, 1), (self.status, self.stderr)
        if self.status == 0:
            return 0
        assert set(self.doc) <= {"cniVersion", "code", "msg", "details"} and self.doc["msg"], self.text
        return self.doc["code"]

    @property
    def msg(self):
        return self.doc["msg"] + " " + self.doc.get("details", "")

    @property
    def addresses(self):
        return [ip["address"] for ip in self.doc["ips"]]

    def __repr__(self):
        return f"<{self.status} {self.text} {self.stderr}>"


class Cni:
    """The plugin on a host, with one network configuration: conf, and whatever is given to a call."""

    def __init__(self, host, version="1.1.0", name="net", path=None, **conf):
        self.host, self.path = host, path or f"{build_dir()}:{DEBIAN}"
        self.conf = {"cniVersion": version, "name": name, "type": "weft-cni", "socket": host.socket, **conf}

    def _call(self, cmd, container=None, ifname="eth0", ident=None, netns=True, args=None, stdin=None, env=None, **conf):
        doc = {k: v for k, v in {**self.conf, **conf}.items() if v is not None}
        wants = {"CNI_COMMAND": cmd, "CNI_PATH": self.path, "CNI_IFNAME": ifname, "CNI_ARGS": args}
        if container is not None:
            wants["CNI_CONTAINERID"] = ident or container.name
            wants["CNI_NETNS"] = f"/run/netns/{container.netns}" if netns is True else netns
        wants.update(env or {})
        argv = ["ip", "netns", "exec", self.host.netns, os.path.join(build_dir(), "weft-cni")]
        return argv, json.dumps(doc) if stdin is None else stdin, {"PATH": os.environ["PATH"], **{k: v for k, v in wants.items() if v is not None}}

    def call(self, *args, **more):
        argv, stdin, env = self._call(*args, **more)
        return Answer(command(*argv, check=False, timeout=90, stdin=stdin, env=env))

    def start(self, *args, **more):
        """The same, without waiting for its end."""
        argv, stdin, env = self._call(*args, **more)
        p = subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=env, text=True)
        p.stdin.write(stdin)
        p.stdin.close()
        p.stdin = None
        return p

    def add(self, container, **more):
        """An ADD that has to succeed."""
        r = self.call("ADD", container, **more)
        assert r.code == 0, r
        return r

    def delete(self, container, **more):
        r = self.call("DEL", container, **more)
        assert r.code == 0 and r.doc is None, r
        return r

    def check(self, container, prev, **more):
        return self.call("CHECK", container, prevResult=prev.doc, **more)


class Runtime:
    """cnitool with a list of plugins on a host."""

    def __init__(self, host, *rest, version="1.0.0", name="net", **conf):
        self.host, self.tool = host, cnitool()
        self.file = os.path.join(host.dir, f"{name}.conflist")
        first = {"type": "weft-cni", "socket": host.socket, **conf}
        with open(self.file, "w") as f:
            json.dump({"cniVersion": version, "name": name, "plugins": [first, *rest]}, f)

    def call(self, verb, container, ifname="eth0", args="", caps=None, path=None):
        env = {**os.environ, "CNI_PATH": path or f"{build_dir()}:{DEBIAN}", "CNI_ARGS": args, "CAP_ARGS": json.dumps(caps or {}),
               "CNI_CACHE": os.path.join(self.host.dir, "cni-cache")}
        return command(
            "ip", "netns", "exec", self.host.netns, self.tool, verb, self.file, container.name, f"/run/netns/{container.netns}", ifname,
            check=False, timeout=90, env=env)

    def ok(self, verb, container, **more):
        p = self.call(verb, container, **more)
        assert p.returncode == 0, p.stdout + p.stderr
        return json.loads(p.stdout) if p.stdout.strip() else None


def podman(host):
    """Debian's podman on a host with a dockerd: on CNI, with files of its own and the image busybox:local. /opt is the host's own from now on."""
    if not shutil.which("podman", path="/usr/bin"):
        skip("no podman on this machine; ./dev deps installs it")
    etc, opt = os.path.join(host.dir, "etc-containers"), os.path.join(host.dir, "opt")
    shutil.copytree("/etc/containers", etc)
    os.mkdir(opt)
    runtime = os.path.join(host.dir, "runc-nores")  # docker-hosts.sh makes it where this machine may not raise limits
    if not os.path.exists(runtime):
        runtime = shutil.which("runc", path="/usr/sbin:/usr/bin")
    with open(f"{etc}/containers.conf", "w") as f:
        f.write(f'[network]\nnetwork_backend = "cni"\n[engine]\nruntime = "e2e"\ncgroup_manager = "cgroupfs"\nevents_logger = "file"\n'
                f'[engine.runtimes]\ne2e = ["{runtime}"]\n[containers]\nlog_driver = "k8s-file"\n')
    with open(f"{etc}/storage.conf", "w") as f:
        f.write('[storage]\ndriver = "vfs"\nrunroot = "/run/containers"\ngraphroot = "/var/lib/containers"\n')
    host.exec("mount", "--bind", etc, "/etc/containers")
    host.exec("mount", "--bind", opt, "/opt")
    host.exec("sh", "-c", "docker -H unix:///run/docker.sock save busybox:local | podman load", timeout=120)


def leftovers(host, own=("weft:expose",)):
    """What a host still has for containers: attachments, addresses given out, names, interfaces. Empty when nothing is left."""
    found = [c["id"] for c in host.weft_json("ps")["containers"]]
    found += [i["containerid"] for i in host.api("GET", "/ip").json()["owned"]]
    found += [n["Hostname"] for n in host.api("GET", "/name").json()]
    found += [link["ifname"] for link in json.loads(host.exec("ip", "-json", "link").stdout) if link["ifname"].startswith("veth")]
    return [f for f in found if not f.startswith(tuple(own))]
