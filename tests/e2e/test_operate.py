"""Operating it: status in text and JSON, exit codes, metrics, leaks.

     c1 ── h1 ══ h2 ── c2
"""

import json
import os
import re

from lib import (
    DNS, bare, build_dir, command, connections, established, metric, metrics, sanitized, service, shares, skip, topology, wait_linked, wait_until)

PARTS = ("connections", "peers", "targets", "ipam", "dns")


def pair(h1, h2, c1, c2, *args, **kw):
    h1.start_daemon(*args, **kw)
    h2.start_daemon(*args, peers=[h1], **kw)
    wait_linked(h1, h2)
    addrs = bare(h1.attach(c1)[0]), bare(h2.attach(c2)[0])
    wait_until(lambda: {"h1", "h2"} == set(shares(h1)) == set(shares(h2)), 5, "the ring is known")
    return addrs


def flat(doc):
    """All scalars of a JSON document as text."""
    if isinstance(doc, dict):
        return [x for v in doc.values() for x in flat(v)]
    if isinstance(doc, list):
        return [x for v in doc for x in flat(v)]
    return [str(doc)]


# O1


def test_O1_status_has_its_lines(h1, h2, c1, c2):
    pair(h1, h2, c1, c2)
    h1.weft_ok("dns-add", c1, "-h", "one.weft.local")
    text = h1.weft_ok("status")
    assert re.findall(r"^\s*Service: (\w+)", text, re.M)[:3] == ["router", "ipam", "dns"], text
    name = service(h1, "router", "Name")
    assert re.fullmatch(r"(?:[0-9a-f]{2}:){5}[0-9a-f]{2}\(h1\)", name), name
    assert re.search(r"^\s*Version: \d", text, re.M) and service(h1, "router", "PeerDiscovery") and service(h1, "router", "Encryption")
    assert all(service(h1, s, "Health") == "ok" for s in ("router", "ipam", "dns")), text
    assert service(h2, "router", "Targets") == "1" and service(h1, "router", "Targets") == "0"
    assert service(h1, "router", "Connections") == "1 (1 established)", text
    assert service(h1, "router", "Peers") == "2 (with 2 established connections)", text
    service(h1, "router", "TrustedSubnets")
    assert service(h1, "ipam", "Status") == "ready" and service(h1, "ipam", "Range") == "10.32.0.0/12"
    assert service(h1, "ipam", "DefaultSubnet") == "10.32.0.0/12"
    assert service(h1, "dns", "Domain") == "weft.local." and service(h1, "dns", "TTL") and service(h1, "dns", "Upstream") is not None
    wait_until(lambda: service(h2, "dns", "Entries") == "1" == service(h1, "dns", "Entries"), 3, "h2 counts the entry")


def test_O1_every_part_says_the_same_in_text_and_json(h1, h2, h3, c1, c2):
    a1, a2 = pair(h1, h2, c1, c2)
    h1.weft_ok("dns-add", c1, "-h", "one.weft.local")
    h2.weft_ok("dns-add", c2, "-h", "two.weft.local")
    h1.weft_ok("connect", "10.99.0.77")
    wait_until(lambda: h1.weft_ok("dns-lookup", "two") == a2, 3, "h1 knows both names")
    wait_until(lambda: len([c for c in connections(h1) if c.ip == "10.99.0.77"]) == 1, 3, "the dead target is shown")

    doc, scalars = h1.status("connections"), flat(h1.status("connections"))
    assert doc["schema"] == 1
    for c in connections(h1):
        for fact in (c.address, c.state, c.nick, c.peer):
            assert fact is None or fact in scalars, f"'{fact}' of '{c}' is not in {doc}"
    link = next(c for c in connections(h1) if c.state == "established")
    assert "fast" in scalars and link.keys["mtu"] in scalars and link.keys["reason"] in scalars, (link, doc)

    peers, text = h1.status("peers"), h1.weft_ok("status", "peers")
    names = re.findall(r"^([0-9a-f:]{17})\((h\d)\)", text, re.M)
    assert sorted(n for _, n in names) == ["h1", "h2"], text
    assert all(p in flat(peers) and n in flat(peers) for p, n in names) and peers["schema"] == 1
    assert text.count("established") == 2, text

    assert "10.99.0.77" in flat(h1.status("targets")) and h1.weft_ok("status", "targets") == "10.99.0.77"

    doc = h1.status("ipam")
    for nick, (owned, active, gone) in shares(h1).items():
        assert nick in flat(doc) and str(owned) in flat(doc) and not gone, (nick, doc)
    assert shares(h1)["h1"][1] == 1

    doc, text = h1.status("dns"), h1.weft_ok("status", "dns")
    for fact in ("one", a1, "two", a2):
        assert any(x == fact or x.startswith(f"{fact}.weft.local") for x in flat(doc)), (fact, doc)
        assert fact in text, text

    doc = h1.status()
    assert doc["schema"] == 1
    for svc, key in (("router", "Name"), ("ipam", "Range"), ("ipam", "Status"), ("dns", "Domain")):
        value = service(h1, svc, key)
        assert value in flat(doc) or all(x in flat(doc) for x in re.split(r"[()]", value) if x), f"{svc} {key} '{value}' is not in {doc}"

    report = h1.weft_ok("report")
    assert all(fact in flat(json.loads(report)) for fact in ("h1", "h2", "10.99.0.77", a1)), report[:2000]
    for part in (None, *PARTS):
        p = h1.api("GET", "/status" + (f"/{part}" if part else ""))
        assert p.status == 200, part
        if part != "connections":  # which shows round-trip times
            assert p.text.rstrip() == h1.weft_ok("status", *([part] if part else [])).rstrip(), part
    assert h1.api("GET", "/report").json()["schema"] == 1
    assert h1.api("GET", "/health").status == 200


def test_O1_json_of_what_is_done(h1, h2):
    h1.start_daemon()
    h2.start_daemon(peers=[h1])
    wait_linked(h1, h2)
    assert h1.weft_json("dns-args") == {"schema": 1, "dns": DNS, "dns_search": "weft.local."}
    h2.api("POST", "/ip/x")
    wait_until(lambda: set(shares(h1)) == {"h1", "h2"}, 5, "h1 knows who owns what")
    owned = shares(h1)["h2"][0]
    doc = h1.weft_json("rmpeer", "--plan", "h2")
    assert doc["plan"] and [(p["nickname"], p["addresses"], p["reachable"]) for p in doc["peers"]] == [("h2", owned, True)], doc
    refused = h1.weft("-o", "json", "rmpeer", "h2")
    assert refused.returncode == 1 and not refused.stdout and "h2" in refused.stderr, refused
    h2.kill()
    wait_until(lambda: not established(h1), 10, "h1 has noticed")
    doc = h1.weft_json("rmpeer", "h2")
    assert doc["schema"] == 1 and not doc["plan"] and [(p["peer"], p["addresses"]) for p in doc["peers"]] == [("h2", owned)], doc


def test_O1_head_is_get_without_a_body(h1):
    h1.start_daemon()
    for path in ("/status", "/report", "/metrics", "/network", "/nothing"):
        got, head = h1.api("GET", path), h1.api("HEAD", path)
        assert head.status == got.status and not head.text, (path, head.status)
        assert head.headers["content-type"] == got.headers["content-type"] and int(head.headers["content-length"]) > 0, (path, head.headers)


def test_O1_exit_codes(h1, c1):
    for verb in (("status",), ("ps",), ("attach", c1), ("connect", "10.99.0.9"), ("report",), ("prime",), ("stop",)):
        p = h1.weft(*verb)
        assert p.returncode == 3 and p.stdout == "" and len(p.stderr.splitlines()) == 1, f"without a daemon: {verb}: {p}"
    h1.start_daemon()
    for verb in (("no-such-verb",), ("status", "no-such-part"), ("attach",), ("forget",), ("connect",), ("attach", "--no-such-option", c1),
                 ("dns-lookup",), ("rmpeer",), ("-o", "xml", "status"), ()):
        p = h1.weft(*verb)
        assert p.returncode == 2 and p.stdout == "" and p.stderr, f"wrong usage: {verb}: {p}"
    for verb in (("detach", c1), ("ps", c1), ("rmpeer", "02:00:00:00:00:99")):
        p = h1.weft(*verb)
        assert p.returncode == 4 and p.stdout == "" and len(p.stderr.splitlines()) == 1, f"not there: {verb}: {p}"
    p = h1.weft("attach", "net:10.32.0.1/12", c1)
    assert p.returncode == 1 and p.stdout == "" and len(p.stderr.splitlines()) == 1, p
    assert h1.weft("version").returncode == 0 and h1.weft_ok("version").split()[-1] in h1.weft_ok("status").splitlines()[0]
    assert h1.weft("metrics").returncode == 0 and h1.weft("metrics").stdout.startswith("#")


def test_O1_unreachable_hosts_are_seen_and_removed(h1, h2, c1, c2):
    pair(h1, h2, c1, c2)
    owned = shares(h1)["h2"][0]
    name = re.match(r"[0-9a-f:]+", service(h2, "router", "Name")).group(0)
    p = h1.weft("rmpeer", name)
    assert p.returncode == 1 and p.stdout == "" and "h2" in p.stderr + name, f"a reachable peer was removed: {p}"
    h2.kill()
    wait_until(lambda: shares(h1)["h2"][2], 8, "h2 is unreachable")
    assert "unreachable!" in h1.weft_ok("status", "ipam")
    wait_until(lambda: metric(h1, "weft_ipam_unreachable_count") == 1, 3, "the metric says so")
    for words in (("--plan", "h2"), ("h2", "--plan")):
        assert f"{owned} IPs would be taken over" in h1.weft_ok("rmpeer", *words)
    assert h1.weft("rmpeer", "h2", "--bogus").returncode == 2 and set(shares(h1)) == {"h1", "h2"}, "nothing was taken yet"
    assert h1.weft_ok("rmpeer", "h2") == f"{owned} IPs taken over from h2" or h1.weft_ok("status", "ipam")
    assert set(shares(h1)) == {"h1"} and shares(h1)["h1"][0] == 1 << 20


@topology(timeout=60)
def test_O1_launch_stop_and_reset(h1, c1):
    """`weft launch` makes a daemon that outlives it; `stop` keeps what containers use; `reset` leaves nothing."""
    path = build_dir() + ":" + os.environ["PATH"]

    def pid():
        out = command("ip", "netns", "pids", h1.netns).stdout.split()
        return [p for p in out if "weftd" in os.path.realpath(f"/proc/{p}/exe")]

    launch = ("launch", "--state-dir", h1.state_dir, "--nickname", "h1")
    p = h1.weft(*launch, env={"PATH": path})
    assert p.returncode == 0, p
    assert len(pid()) == 1 and service(h1, "router", "Name").endswith("(h1)")
    p = h1.weft(*launch, env={"PATH": path})
    assert p.returncode == 1 and len(p.stderr.splitlines()) == 1 and len(pid()) == 1, f"launched twice: {p}"
    addr = h1.attach(c1)
    assert h1.weft("stop").returncode == 0
    wait_until(lambda: pid() == [], 5, "the daemon has ended")
    assert c1.ips() == addr and h1.exec("ip", "link", "show", "weft", check=False).returncode == 0
    assert h1.weft("status").returncode == 3 and h1.weft("stop").returncode == 3
    assert h1.weft(*launch, "--resume", env={"PATH": path}).returncode == 0
    assert h1.attach(c1) == addr
    assert h1.weft("reset").returncode == 0
    wait_until(lambda: pid() == [], 5, "the daemon has ended")
    links = h1.exec("ip", "-json", "link").stdout
    assert not [x["ifname"] for x in json.loads(links) if "weft" in x["ifname"] or "vethwe" in x["ifname"]], links
    assert "weft" not in h1.exec("nft", "list", "tables").stdout and "6784" not in h1.exec("ip", "rule").stdout
    assert c1.addresses() == []


def test_O1_reset_by_force_spares_a_daemon_that_runs(h1, c1):
    h1.start_daemon()
    addr = h1.attach(c1)
    p = h1.weft("--socket", h1.socket + ".typo", "reset", "--force", "--state-dir", h1.state_dir)
    assert p.returncode == 1 and len(p.stderr.splitlines()) == 1 and "--socket" in p.stderr, p
    assert os.path.exists(h1.state_dir + "/weft.mdb") and c1.ips() == addr and h1.attach(c1) == addr
    h1.kill()
    assert h1.weft("reset", "--force", "--state-dir", h1.state_dir).returncode == 0
    assert not os.path.exists(h1.state_dir + "/weft.mdb") and c1.addresses() == []


def test_O1_reset_by_force_without_a_daemon_leaves_nothing(h1, c1, c2):
    """The daemon was killed: devices of all networks, rules and tables go as they do with one, and bridged frames are shown to iptables again."""
    h1.exec("sysctl", "-qw", "net.bridge.bridge-nf-call-iptables=1", check=False)  # no such switch without br_netfilter
    shown = h1.exec("sysctl", "-n", "net.bridge.bridge-nf-call-iptables", check=False).stdout
    h1.start_daemon()
    h1.weft_ok("network", "create", "other", "--subnet", "10.40.0.0/24")
    h1.attach(c1)
    h1.attach(c2, "--network", "other")

    def left():
        links = [x["ifname"] for x in json.loads(h1.exec("ip", "-json", "link").stdout)]
        return ([x for x in links if "weft" in x or "vethwe" in x],
                [x for x in h1.exec("nft", "list", "tables").stdout.splitlines() if "weft" in x],
                [x for x in h1.exec("ip", "rule").stdout.splitlines() if "6784" in x])

    links, tables, rules = left()
    assert "weft" in links and any(x.startswith("weft-vx") and x != "weft-vx" for x in links) and len(tables) == 2 and rules, left()
    assert h1.exec("sysctl", "-n", "net.bridge.bridge-nf-call-iptables", check=False).stdout == shown.replace("1", "0")
    h1.kill()
    assert h1.weft("reset", "--force", "--state-dir", h1.state_dir).returncode == 0
    assert left() == ([], [], []) and c1.addresses() == [] and c2.addresses() == [], left()
    assert h1.exec("sysctl", "-n", "net.bridge.bridge-nf-call-iptables", check=False).stdout == shown
    assert h1.weft("reset", "--force", "--state-dir", h1.state_dir).returncode == 0, "nothing is there, and that is well"


def test_O1_words_of_the_command_line(h1, c1):
    """`--` ends the options before the verb; what is not UTF-8 is refused, not left out."""
    h1.start_daemon()
    assert h1.weft("--", "status").returncode == 0 and h1.weft("-o", "json", "--", "status").stdout.startswith("{")
    p = h1.weft("--")
    assert p.returncode == 2 and "verb" in p.stderr, p
    before = h1.attach(c1)
    for words in (("attach", "net\udcff", "10.32.0.9/12"), ("attach", "--network", "n\udcff", c1), ("detach", c1, "10.32.0.9\udcff")):
        p = h1.weft(*words)
        assert p.returncode == 2 and "UTF-8" in p.stderr, p
    assert c1.ips() == before


def test_O1_launch_understands_relative_paths(h1):
    here, name = os.path.split(h1.state_dir)
    weft = os.path.abspath(os.path.join(build_dir(), "weft"))
    p = h1.exec(
        "sh", "-c", 'cd "$0" && exec "$@"', here, weft, "launch", "--state-dir", f"./{name}", "--socket", "./rel.sock", "--nickname", "h1",
        check=False)
    assert p.returncode == 0, p
    assert os.path.exists(f"{h1.state_dir}/weft.mdb")
    assert h1.weft("--socket", f"{here}/rel.sock", "stop").returncode == 0


def test_O1_web_pages_change_nothing(h1):
    h1.start_daemon()
    r = h1.api("POST", "/connect", {"peer": "10.99.0.9"}, {"Origin": "http://x"})
    assert r.status == 400 and h1.weft_ok("status", "targets") == ""


# O2

READ = """
import sys
from prometheus_client.parser import text_fd_to_metric_families
families = {f.name: f for f in text_fd_to_metric_families(sys.stdin)}
for f in families.values():
    assert f.documentation and f.type in ("counter", "gauge", "histogram"), (f.name, f.type)
print(" ".join(sorted(families)))
print(" ".join(sorted({s.name for f in families.values() for s in f.samples})))
"""

ALWAYS = {"weft_connections", "weft_peer_bytes", "weft_path_changes", "weft_frames_dropped", "weft_gossip_messages", "weft_gossip_bytes",
          "weft_gossip_backlog_bytes", "weft_reconciliations", "weft_state_digest", "weft_handshakes", "weft_build_info",
          "weft_connection_terminations", "weft_gossip_refused", "weft_peer_packets", "weft_sessions", "weft_session_handshakes", "weft_networks"}
IPAM = {"weft_ips", "weft_max_ips", "weft_ipam_unreachable_count", "weft_ipam_unreachable_percentage", "weft_ipam_pending_allocates",
        "weft_ipam_pending_claims"}
NAMES = {"weft_dns_entries", "weft_dns_queries", "weft_dns_query_seconds"}


def families(text):
    p = command("/usr/bin/python3", "-c", READ, stdin=text)
    return set(p.stdout.splitlines()[0].split())


def test_O2_metrics_are_read_by_a_real_parser(h1, h2, c1, c2):
    if command("/usr/bin/python3", "-c", "import prometheus_client", check=False).returncode != 0:
        skip("python3-prometheus-client is not installed")
    addr = pair(h1, h2, c1, c2, "--status-addr", "127.0.0.1:6782")[1]
    assert c1.ping(addr) and c1.dig("weft.local", "SOA", server=DNS).status == "NOERROR"
    r = h1.api("GET", "/metrics")
    assert r.headers["content-type"].startswith("text/plain"), r.headers
    found = families(r.text)
    assert ALWAYS | IPAM | NAMES <= found, f"missing: {(ALWAYS | IPAM | NAMES) - found}"
    assert [f for f in found if f.startswith("process_")]
    assert metric(h1, "weft_connections", state="established", path="fast") == 1
    assert metric(h1, "weft_max_ips") == 1 << 20 and metric(h1, "weft_ips") >= 1

    def digests(h):
        return {k: v for k, v in metrics(h).items() if k.startswith("weft_state_digest")}

    assert len(digests(h1)) >= 5
    wait_until(lambda: digests(h1) == digests(h2), 5, "digests are equal")
    # the read-only address gives the same, and no more than reading
    curl = h1.exec("curl", "-s", "http://127.0.0.1:6782/metrics")
    assert families(curl.stdout) == found
    code = h1.exec("curl", "-s", "-o", "/dev/null", "-w", "%{http_code}", "-X", "POST", "http://127.0.0.1:6782/ip/x").stdout
    assert code in ("403", "404", "405"), code


def test_O2_metrics_without_names_and_without_addresses(h1, h2, c1, c2):
    if command("/usr/bin/python3", "-c", "import prometheus_client", check=False).returncode != 0:
        skip("python3-prometheus-client is not installed")
    for off, gone, args in (("names", NAMES, ("--no-dns",)), ("addresses", IPAM, ("--ipalloc-range", "")),
                            ("both", NAMES | IPAM, ("--no-dns", "--ipalloc-range", "")),
                            ("the fast path", set(), ("--no-fastdp", "--no-discovery"))):
        h1.start_daemon(*args)
        h2.start_daemon(*args, peers=[h1])
        wait_linked(h1, h2)
        found = families(h1.api("GET", "/metrics").text)
        assert ALWAYS <= found, f"without {off}: missing {ALWAYS - found}"
        for part in (None, "connections", "peers", "targets"):
            h1.weft_ok("status", *([part] if part else []))
            h1.status(part)
        for part in ("ipam", "dns"):
            p = h1.weft("status", part)
            is_off = ("--no-dns" if part == "dns" else "--ipalloc-range") in args
            assert (p.returncode == 4 and " off " in p.stderr) if is_off else p.returncode == 0, (off, part, p)
        h1.weft_ok("report")
        assert h1.api("GET", "/health").status in (200, 503)
        assert established(h1) == {"h2"}, f"without {off} it goes on"
        h1.stop()
        h2.stop()


def test_O2_traffic_is_counted_by_host_and_path(h1, h2, c1, c2):
    h1.start_daemon()
    h2.start_daemon(peers=[h1])
    wait_linked(h1, h2)
    h1.attach(c1)
    addr = h2.attach(c2)[0].split("/")[0]
    h2_name = service(h2, "router", "Name").split("(")[0]
    wait_until(lambda: c1.ping(addr) and connections(h1)[0].path == "fast", 10, "c1 reaches c2 on the fast path")
    before = {(d, what): metric(h1, f"weft_peer_{what}_total", peer=h2_name, path="fast", direction=d) for d in ("in", "out") for what in ("bytes", "packets")}
    assert c1.ping_many(addr, 50, interval=0.01) == 50
    for d in ("in", "out"):
        wait_until(lambda d=d: 50 <= metric(h1, "weft_peer_packets_total", peer=h2_name, path="fast", direction=d) - before[d, "packets"] < 150, 5,
                   f"50 packets {d} are counted")
        assert metric(h1, "weft_peer_bytes_total", peer=h2_name, path="fast", direction=d) - before[d, "bytes"] >= 50 * 84
    h1.stop()
    h2.stop()
    h1.start_daemon("--no-fastdp")
    h2.start_daemon(peers=[h1])
    wait_linked(h1, h2)
    wait_until(lambda: c1.ping(addr), 10, "c1 reaches c2 on the userspace path")
    before = metric(h1, "weft_peer_packets_total", peer=h2_name, path="userspace", direction="out")
    assert c1.ping_many(addr, 50, interval=0.01) == 50
    wait_until(lambda: 50 <= metric(h1, "weft_peer_packets_total", peer=h2_name, path="userspace", direction="out") - before < 150, 5, "50 frames are counted")
    report = json.loads(h1.weft_ok("report"))["dataplane"]
    shown = [t for t in report["traffic"] if t["peer"] == h2_name and t["path"] == "userspace"]
    assert len(shown) == 1 and shown[0]["packets_sent"] >= 50 and shown[0]["packets_received"] >= 50, report
    assert [n["name"] for n in report["networks"]] == ["weft"] and not report["networks"][0]["fast"], report
    assert service(h1, "dataplane", "Networks") == f"weft ({report['networks'][0]['capture']})"


def test_O2_an_address_given_by_hand_works_without_ipam(h1, h2, c1, c2):
    args = ("--ipalloc-range", "")
    h1.start_daemon(*args)
    h2.start_daemon(*args, peers=[h1])
    wait_linked(h1, h2)
    p = h1.weft("attach", c1)
    assert p.returncode == 1 and "ip:" in p.stderr, f"what to do is not said: {p}"
    assert h1.attach(c1, "ip:10.5.0.1/24") == ["10.5.0.1"] and h2.attach(c2, "10.5.0.2/24") == ["10.5.0.2"]
    wait_until(lambda: c1.ping("10.5.0.2"), 5, "c1 reaches c2")
    h1.weft_ok("dns-add", c1, "-h", "one.weft.local")
    wait_until(lambda: h2.weft_ok("dns-lookup", "one") == "10.5.0.1", 3, "its name is known")


# No leak after a start, 100 attach/detach, a stop


@topology(timeout=240)
def test_leak_none_after_100_attaches_and_detaches(h1, h2, c1):
    if sanitized():
        skip("this build's sanitizer looks for leaks itself, in every test")
    out = os.path.join(h1.dir, "valgrind.txt")
    h2.start_daemon()
    h1.start_daemon(peers=[h2], wait=False, wrap=(
        "valgrind", "--leak-check=full", "--show-leak-kinds=definite,indirect", "--errors-for-leak-kinds=definite", "--error-exitcode=99",
        f"--log-file={out}"))
    h1.wait_ready(timeout=60)
    wait_until(lambda: established(h1) == {"h2"}, 30, "linked")
    for _ in range(100):
        assert h1.attach(c1) and h1.detach(c1)
    h1.weft_ok("dns-add", "10.40.0.1", "-h", "one.weft.local")
    h1.weft_ok("report")
    h1.stop(timeout=60)
    with open(out) as f:
        text = f.read()
    assert "ERROR SUMMARY: 0 errors" in text, text[-5000:]
    assert re.search(r"definitely lost: 0 bytes|All heap blocks were freed", text), text[-3000:]
