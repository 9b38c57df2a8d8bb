"""The overlays that bench/throughput compares, each set up over a topology of its own so that all stand ready at the same time.

    c1 ──veth── [bridge or route] h1 ══ underlay bridge ══ h2 [bridge or route] ──veth── c2

An overlay is a class with a name, whom it stands for, `up()` and the address by which c1 reaches c2. Everything of host n runs on processor
n - 1 (processes by affinity, packets by RPS): figures are what one core a host does, and do not jump with the scheduler's moods.
Settings of the others are what their manuals give for this use; MTUs are the largest that do not fragment on a 1,500-byte underlay.
"""

import contextlib
import json
import os
import subprocess

from lib import Net, command, wait_linked, wait_until

CPUS = os.cpu_count() or 1
SHAPES = {
    # TSO, USO and tunnel TSO cross the wire whole, as with a NIC that can all of it
    "offload": {},
    # real packets of 1,500 bytes on the wire, cut in software at the sender, GRO at the receiver: a plain cloud NIC
    "gro": {"hosts": ["tso", "off", "tx-udp-segmentation", "off", "gro", "on"], "underlay": ["tso", "off", "tx-udp-segmentation", "off"]},
}


@contextlib.contextmanager
def on_processor(n):
    """What is started meanwhile stays on that processor."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {n % CPUS})
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


class Overlay:
    name, what, packages, sealed = "", "", (), False

    def __init__(self, prefix, wire):
        self.net, self.wire = Net(prefix), wire
        self.h = self.net.hosts(2)
        self.c = [self.net.container(1), self.net.container(2)]
        self.daemons, self.addr = [], None
        for host in self.h:
            self._shape(host)

    def _shape(self, host):
        shape = SHAPES[self.wire]
        if not shape:
            return
        host.exec("ethtool", "-K", "eth0", *shape["hosts"])
        command("ip", "netns", "exec", self.net.underlay, "ethtool", "-K", host.port, *shape["underlay"])
        for feature in ("tx-udp_tnl-segmentation", "tx-udp_tnl-csum-segmentation", "tx-gso-list"):
            host.exec("ethtool", "-K", "eth0", feature, "off", check=False)

    def steer(self):
        """Received packets of host n and its container are worked on by processor n - 1."""
        for n, (host, container) in enumerate(zip(self.h, self.c)):
            mask = f"{1 << (n % CPUS):x}"
            for place in (host, container):
                place.exec("sh", "-c", f'for q in /sys/class/net/*/queues/rx-*/rps_cpus; do echo {mask} > "$q"; done', check=False)

    def spawn(self, n, *argv):
        """A daemon of host n (0, 1)."""
        with on_processor(n):
            p = self.net.spawn(self.h[n].netns, *argv, log=os.path.join(self.net.dir, f"{self.name}{n + 1}.log"))
        self.daemons.append(p)
        return p

    def ip(self, place, *lines):
        for line in lines:
            place.exec("ip", *line.split())

    def container_port(self, n, mtu):
        host, container = self.h[n], self.c[n]
        self.ip(host, f"link add vc mtu {mtu} type veth peer name eth0 mtu {mtu} netns {container.netns}", "link set vc up")
        self.ip(container, "link set eth0 up")

    def bridged(self, mtu, uplink):
        """Containers of both hosts in one subnet, on a bridge with the overlay's interface."""
        for n in (0, 1):
            self.container_port(n, mtu)
            self.ip(self.h[n], f"link add br-o mtu {mtu} type bridge stp_state 0 forward_delay 0", "link set br-o up",
                    f"link set {uplink} mtu {mtu} master br-o up", "link set vc master br-o")
            self.ip(self.c[n], f"addr add 10.32.0.{n + 1}/16 dev eth0")
        self.addr = "10.32.0.2"

    def routed(self, mtu):
        """A subnet a host: for overlays that carry IP packets only."""
        for n in (0, 1):
            self.container_port(n, mtu)
            self.ip(self.h[n], f"addr add 10.32.{n + 1}.1/24 dev vc")
            self.h[n].exec("sysctl", "-qw", "net.ipv4.ip_forward=1")
            self.ip(self.c[n], f"addr add 10.32.{n + 1}.2/24 dev eth0", f"route add default via 10.32.{n + 1}.1")
        self.addr = "10.32.2.2"

    def wait_device(self, name):
        for host in self.h:
            wait_until(lambda host=host: host.exec("ip", "link", "show", name, check=False).returncode == 0, 20, f"{host.name} has {name}")

    def up(self):
        raise NotImplementedError

    def ready(self):
        wait_until(lambda: self.c[0].ping(self.addr), 30, f"{self.name}: c1 reaches c2")
        self.steer()

    def memory_mb(self):
        """Resident memory of the larger daemon; 0 where the kernel does the work."""
        sizes = []
        for p in self.daemons:
            with open(f"/proc/{p.pid}/status") as f:
                sizes += [int(line.split()[1]) * 1024 / 1e6 for line in f if line.startswith("VmRSS:")]
        return max(sizes, default=0)

    def close(self):
        self.net.close()


class Underlay(Overlay):
    name, what = "underlay", "no encapsulation: container and underlay in one bridge"

    def up(self):
        for host in self.h:
            self.ip(host, "addr flush dev eth0")
        self.bridged(1500, "eth0")


class KernelVxlan(Overlay):
    name, what = "vxlan", "the kernel's VXLAN on a bridge, as flannel's vxlan back end and swarm have it"

    def up(self, mtu=1450):
        for n in (0, 1):
            me, other = self.h[n].ip, self.h[1 - n].ip
            self.ip(self.h[n], f"link add vx0 type vxlan id 42 local {me} dstport 4789 dev eth0 nolearning")
            self.h[n].exec("bridge", "fdb", "append", "00:00:00:00:00:00", "dev", "vx0", "dst", other)
        self.bridged(mtu, "vx0")
        for n in (0, 1):
            mac = self.c[1 - n].mac("eth0")
            self.h[n].exec("bridge", "fdb", "replace", mac, "dev", "vx0", "dst", self.h[1 - n].ip)
            self.h[n].exec("bridge", "fdb", "replace", mac, "dev", "vx0", "master", "static")


class KernelVxlanSameMtu(KernelVxlan):
    name, what = "vxlan-1406", "the same with the MTU that weft gives containers"

    def up(self):
        super().up(1406)


class Weft(Overlay):
    options, path = (), "fast"

    def up(self):
        env = {"WEFT_PASSWORD": "only for this bench"} if self.sealed else None
        for n, host in enumerate(self.h):
            with on_processor(n):
                self.daemons.append(host.start_daemon(*self.options, peers=self.h[:n], env=env))
        wait_linked(*self.h)
        addrs = [host.attach(container)[0] for host, container in zip(self.h, self.c)]
        self.addr = addrs[1].split("/")[0]
        for host in self.h:
            wait_until(lambda host=host: self.paths(host) == [self.path], 20, f"{self.name}: the path is {self.path}")

    @staticmethod
    def paths(host):
        words = [line.split() for line in host.weft_ok("status", "connections").splitlines()]
        return [w[3] for w in words if len(w) > 3 and w[2] == "established"]


class WeftFast(Weft):
    name, what = "weft-fast", "weft, kernel fast path"


class WeftClear(Weft):
    name, what, options, path = "weft-userspace", "weft, userspace path in the clear (TAP)", ("--no-fastdp",), "userspace"


class WeftPcap(Weft):
    name, what, options, path = "weft-pcap", "weft, userspace path in the clear (libpcap)", ("--no-fastdp", "--capture", "pcap"), "userspace"


class WeftSealed(Weft):
    name, what, path, sealed = "weft-sealed", "weft, userspace path sealed", "userspace", True


class WireguardGo(Overlay):
    name, what, packages, sealed = "wireguard-go", "wireguard-go, userspace WireGuard", ("wireguard-go", "wireguard-tools"), True

    def up(self):
        keys = []
        for n in (0, 1):
            key = command("wg", "genkey").stdout.strip()
            path = os.path.join(self.net.dir, f"wg{n}.key")
            with open(path, "w", opener=lambda p, f: os.open(p, f, 0o600)) as f:
                f.write(key)
            keys.append((path, command("wg", "pubkey", stdin=key).stdout.strip()))
        names = [f"{self.net.prefix}wg{n + 1}" for n in (0, 1)]  # its control socket's name is the interface's, machine-wide
        for n in (0, 1):
            self.spawn(n, "env", "LOG_LEVEL=error", "WG_PROCESS_FOREGROUND=1", "wireguard-go", "-f", names[n])
        self.routed(1420)
        for n in (0, 1):
            host, other = self.h[n], self.h[1 - n]
            sock = f"/var/run/wireguard/{names[n]}.sock"
            wait_until(lambda sock=sock: os.path.exists(sock), 20, "wireguard-go is up")
            host.exec("wg", "set", names[n], "listen-port", "51820", "private-key", keys[n][0], "peer", keys[1 - n][1], "endpoint",
                      f"{other.ip}:51820", "allowed-ips", f"10.99.9.{2 - n}/32,10.32.{2 - n}.0/24")
            self.ip(host, f"addr add 10.99.9.{n + 1}/24 dev {names[n]}", f"link set {names[n]} mtu 1420 up",
                    f"route add 10.32.{2 - n}.0/24 dev {names[n]}")


class Nebula(Overlay):
    name, what, packages, sealed = "nebula", "nebula, AES-256-GCM", ("nebula",), True

    def up(self):
        d = self.net.dir
        subprocess.run(["nebula-cert", "ca", "-name", "bench", "-out-crt", f"{d}/ca.crt", "-out-key", f"{d}/ca.key"], check=True, capture_output=True)
        for n in (0, 1):
            me, other = self.h[n], self.h[1 - n]
            subprocess.run(
                ["nebula-cert", "sign", "-ca-crt", f"{d}/ca.crt", "-ca-key", f"{d}/ca.key", "-name", me.name, "-ip", f"10.99.9.{n + 1}/24", "-subnets",
                 f"10.32.{n + 1}.0/24", "-out-crt", f"{d}/{me.name}.crt", "-out-key", f"{d}/{me.name}.key"], check=True, capture_output=True)
            cfg = {
                "pki": {"ca": f"{d}/ca.crt", "cert": f"{d}/{me.name}.crt", "key": f"{d}/{me.name}.key"},
                "static_host_map": {f"10.99.9.{2 - n}": [f"{other.ip}:4242"]},
                "lighthouse": {"am_lighthouse": n == 0, "interval": 60, "hosts": [] if n == 0 else ["10.99.9.1"]},
                "listen": {"host": "0.0.0.0", "port": 4242}, "punchy": {"punch": False}, "cipher": "aes",
                "tun": {"disabled": False, "dev": "neb0", "tx_queue": 500, "mtu": 1400,
                        "unsafe_routes": [{"route": f"10.32.{2 - n}.0/24", "via": f"10.99.9.{2 - n}"}]},
                "logging": {"level": "error", "format": "text"},
                "firewall": {"conntrack": {"tcp_timeout": "12m", "udp_timeout": "3m", "default_timeout": "10m"},
                             "outbound": [{"port": "any", "proto": "any", "host": "any"}], "inbound": [{"port": "any", "proto": "any", "host": "any"}]},
            }
            with open(f"{d}/{me.name}.yml", "w") as f:
                json.dump(cfg, f)  # JSON is YAML
            self.spawn(n, "nebula", "-config", f"{d}/{me.name}.yml")
        self.wait_device("neb0")
        self.routed(1400)


class Tinc(Overlay):
    name, what, packages, sealed = "tinc", "tinc 1.0, switch mode, its default cipher", ("tinc",), True

    def up(self):
        d = self.net.dir
        public = []
        for n in (0, 1):
            os.makedirs(f"{d}/tinc{n}/hosts")
            key = f"{d}/tinc{n}/rsa_key.priv"
            command("openssl", "genrsa", "-traditional", "-out", key, "2048", timeout=60)
            os.chmod(key, 0o600)
            public.append(command("openssl", "rsa", "-in", key, "-RSAPublicKey_out").stdout)
        for n in (0, 1):
            with open(f"{d}/tinc{n}/tinc.conf", "w") as f:
                f.write(f"Name = h{n + 1}\nMode = switch\nDeviceType = tap\nInterface = tap0\nAddressFamily = ipv4\nConnectTo = h{2 - n}\n")
            for of in (0, 1):
                with open(f"{d}/tinc{n}/hosts/h{of + 1}", "w") as f:
                    f.write(f"Address = {self.h[of].ip}\n{public[of]}")
            self.spawn(n, "tincd", "-c", f"{d}/tinc{n}", "-D", f"--pidfile={d}/tinc{n}/pid")
        self.wait_device("tap0")
        self.bridged(1400, "tap0")


class Fastd(Overlay):
    name, what, packages, sealed = "fastd", "fastd, salsa2012+umac (its recommended method)", ("fastd",), True

    def up(self):
        keys = []
        for n in (0, 1):
            secret = command("fastd", "--generate-key", "--machine-readable").stdout.strip()
            path = f"{self.net.dir}/key{n}.conf"
            with open(path, "w") as f:
                f.write(f'secret "{secret}";\n')
            keys.append((secret, command("fastd", "--show-key", "--machine-readable", "-c", path).stdout.strip()))
        for n in (0, 1):
            path = f"{self.net.dir}/fastd{n}.conf"
            with open(path, "w") as f:
                f.write(
                    f'mode tap;\ninterface "fd0";\nmtu 1406;\nbind {self.h[n].ip}:10000;\nmethod "salsa2012+umac";\nsecret "{keys[n][0]}";\n'
                    f'peer "other" {{ key "{keys[1 - n][1]}"; remote {self.h[1 - n].ip}:10000; }}\n')
            self.spawn(n, "fastd", "-c", path, "--log-level", "warn")
        self.wait_device("fd0")
        self.bridged(1406, "fd0")


class Openvpn(Overlay):
    name, what, packages, sealed = "openvpn", "openvpn, tap, AES-256-GCM", ("openvpn",), True

    def up(self):
        d, prints = self.net.dir, []
        for n in (0, 1):
            command("openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:secp384r1", "-keyout", f"{d}/o{n}.key", "-out",
                    f"{d}/o{n}.crt", "-nodes", "-sha256", "-days", "30", "-subj", f"/CN=h{n + 1}")
            prints.append(command("openssl", "x509", "-fingerprint", "-sha256", "-in", f"{d}/o{n}.crt", "-noout").stdout.strip().split("=")[1])
        for n in (0, 1):
            role = ["--tls-server", "--dh", "none"] if n == 0 else ["--tls-client"]
            self.spawn(n, "openvpn", "--dev", "ov0", "--dev-type", "tap", "--proto", "udp4", "--local", self.h[n].ip, "--port", "1194", "--remote",
                       self.h[1 - n].ip, "1194", *role, "--cert", f"{d}/o{n}.crt", "--key", f"{d}/o{n}.key", "--peer-fingerprint", prints[1 - n],
                       "--verb", "1", "--tun-mtu", "1400", "--mssfix", "0", "--disable-dco", "--cipher", "AES-256-GCM", "--data-ciphers", "AES-256-GCM")
        self.wait_device("ov0")
        self.bridged(1400, "ov0")


OURS = [Underlay, KernelVxlan, WeftFast, WeftClear, WeftPcap, WeftSealed]
OTHERS = [WireguardGo, Nebula, Tinc, Fastd, Openvpn]
ALL = {o.name: o for o in [*OURS, KernelVxlanSameMtu, *OTHERS]}
