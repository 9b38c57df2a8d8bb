"""What an end-to-end test needs: topologies of network namespaces, real daemons in them, and ways to look at both.

            underlay bridge `br0` in namespace <prefix>ul: partitions and drops are nftables rules here
      ┌────────────┬────┴───────┬──────────────┐
     u1           u2           u3              …          10.99.0.0/24, fd99::/64
      │            │            │
     eth0         eth0         eth0
    <prefix>h1   <prefix>h2   <prefix>h3                  hosts: 10.99.0.N, fd99::N; build/weftd runs here
    weft bridge  weft bridge  weft bridge                 (made by the daemon)
      │            │            │
     ethwe        ethwe        ethwe                      (made by `weft attach`)
    <prefix>c1   <prefix>c2   <prefix>c3                  containers: namespaces under /run/netns, or processes

Only names under /run/netns are visible to the rest of the machine; every interface lives inside a namespace. All that a Net makes is
written to /run/weft-e2e/<prefix> before it is made, so that the next Net of that name removes what a crashed one left.
"""

from .dockerhosts import Dock, DockerContainer, DockerHost
from .look import DNS, bare, connections, established, metric, metrics, service, shares, wait_linked
from .net import Container, Host, Net, Response
from .proc import SCALE, Failed, Skip, TimeLimit, build_dir, command, in_netns, sanitized, skip, topology, wait_until
from .traffic import Capture, Relay, sizes, socket_in, tcp_sweep, udp_sweep

__all__ = [
    "DNS", "SCALE", "Capture", "Container", "Dock", "DockerContainer", "DockerHost", "Failed", "Host", "Net", "Relay", "Response", "Skip", "TimeLimit", "bare", "build_dir", "command",
    "connections", "established", "in_netns", "metric", "metrics", "sanitized", "service", "shares", "sizes", "skip", "socket_in", "tcp_sweep",
    "topology", "udp_sweep", "wait_linked", "wait_until",
]
