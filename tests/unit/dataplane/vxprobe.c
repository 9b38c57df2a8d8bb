/* Probes of the fast path between the devices of two hosts.
 *
 *    namespace a                                        namespace b
 *    weft ── weft-vx ── under 192.0.2.1 ──── veth ──── under 192.0.2.2 ── weft-vx ── weft ── port
 *                             2001:db8::1                    2001:db8::2
 */
#include "tests/unit/dataplane/ns.h"

#include <arpa/inet.h>
#include <linux/if_packet.h>
#include <net/if.h>
#include <poll.h>
#include <sys/socket.h>

#include "router/dataplane/vxprobe.h"
#include "tunnel/probe.h"

enum { A = 0x8000000000a1, B = 0x8000000000b2, MTU = 1450, WAIT_MS = 2000, SILENCE_MS = 60 };

static bool may;

struct host {
	int ns;
	uint64_t name;
	struct kernel *k;
	struct vxprobe *p;
};
struct state {
	int home;
	struct host h[2];
};

static void command(int ns, const char *text)
{
	if (ns_run(ns, text) != 0)
		fail_msg("%s", text);
}

static void devices(struct host *h, struct ip local, unsigned mtu)
{
	const struct link_vxlan fast = { .vni = WEFT_VNI_DEFAULT, .port = WEFT_VXLAN_PORT_DEFAULT, .local = local };
	ns_go(h->ns);
	OK(link_bridge(h->k, link_peer_mac(h->name), mtu, &note));
	OK(link_vxlan(h->k, &fast, mtu, &note));
}

static int setup(void **s)
{
	struct state *t = calloc(1, sizeof *t);
	char text[256];
	*s = t;
	if (!may)
		return 0;
	t->home = ns_here();
	for (int i = 0; i < 2; i++) {
		t->h[i] = (struct host){ .ns = ns_new(), .name = i ? B : A };
		command(t->h[i].ns, "sysctl -qw net.ipv6.conf.default.accept_dad=0");
	}
	ns_go(t->h[0].ns);
	snprintf(text, sizeof text, "ip link add under type veth peer name under netns /proc/%d/fd/%d", getpid(), t->h[1].ns);
	command(-1, text);
	for (int i = 0; i < 2; i++) {
		snprintf(text, sizeof text,
			"ip link set under up && ip addr add 192.0.2.%d/24 dev under && ip addr add 2001:db8::%d/64 dev under", i + 1, i + 1);
		command(t->h[i].ns, text);
		ns_go(t->h[i].ns);
		OK(kernel_open(NULL, &t->h[i].k, &note));
		devices(&t->h[i], (struct ip){ 0 }, MTU);
		OK(vxprobe_open(t->h[i].k, t->h[i].name, &t->h[i].p, &note));
	}
	return 0;
}

static int teardown(void **s)
{
	struct state *t = *s;
	if (may) {
		for (int i = 0; i < 2; i++) {
			vxprobe_close(t->h[i].p);
			kernel_close(t->h[i].k);
		}
		ns_go(t->home);
		close(t->home);
		close(t->h[0].ns);
		close(t->h[1].ns);
	}
	free(t);
	return 0;
}

#define NEEDS_ROOT() \
	if (!may)        \
	skip()

static uint32_t next_id;

static enum err send_probe(struct state *t, int from, const char *to, uint16_t length, uint32_t *id)
{
	uint8_t bytes[4096];
	struct wbuf w;
	*id = ++next_id;
	const struct probe p = { PROBE_REQUEST, 0, *id, t->h[from].name, t->h[!from].name, length, length };
	wbuf_fixed(&w, bytes, sizeof bytes);
	probe_write(&w, &p);
	assert_int_equal(wbuf_end(&w), ERR_OK);
	assert_int_equal(w.len, length);
	return vxprobe_send(t->h[from].p, t->h[!from].name, ip_of(to), wbuf_slice(&w));
}

/* Whether that very probe waits at the host, or comes in time. */
static bool heard(struct host *h, uint32_t id, uint16_t length, int ms)
{
	struct pollfd p = { .fd = vxprobe_fd(h->p), .events = POLLIN };
	while (poll(&p, 1, ms) == 1 && !(p.revents & POLLERR)) {
		struct slice got = vxprobe_receive(h->p);
		struct probe probe;
		if (!got.p)
			continue;
		assert_true(probe_read(got, &probe));
		if (probe.id == id) {
			assert_int_equal(got.n, length);
			assert_int_equal(probe.length, length);
			return true;
		}
	}
	return false;
}

static bool crosses(struct state *t, int from, uint16_t length)
{
	uint32_t id;
	enum err e = send_probe(t, from, from ? "192.0.2.1" : "192.0.2.2", length, &id);
	if (e != ERR_OK)
		fail_msg("%s", err_name(e));
	bool yes = heard(&t->h[!from], id, length, 200);
	assert_null(vxprobe_receive(t->h[!from].p).p);
	return yes;
}

/* Devices that were made just now, and a busy machine, lose some at first. */
static bool comes(struct state *t, int from, uint16_t length)
{
	bool yes = false;
	for (int i = 0; !yes && i < 10; i++)
		yes = crosses(t, from, length);
	return yes;
}

static void there_and_back(void **s)
{
	struct state *t = *s;
	NEEDS_ROOT();
	uint32_t id;
	assert_true(comes(t, 0, PROBE_HEAD) && comes(t, 1, PROBE_HEAD));
	assert_true(comes(t, 0, MTU) && comes(t, 1, MTU));
	assert_int_equal(send_probe(t, 0, "192.0.2.2", MTU + 1, &id), ERR_LIMIT);
	assert_int_equal(send_probe(t, 0, "2001:db8::2", 100, &id), ERR_UNSUPPORTED);
	assert_true(comes(t, 0, MTU));
}

/* What a firewall drops is lost, and what is too long for the path as well: nothing is sent in pieces. */
static void losses(void **s)
{
	struct state *t = *s;
	NEEDS_ROOT();
	command(t->h[1].ns, "nft add table ip t && nft add chain ip t c '{ type filter hook prerouting priority -400; }'");
	command(t->h[1].ns, "nft add rule ip t c udp dport 6784 drop");
	assert_false(crosses(t, 0, MTU));
	assert_false(crosses(t, 0, PROBE_HEAD));
	assert_true(comes(t, 1, MTU));
	command(t->h[1].ns, "nft flush chain ip t c && nft add rule ip t c ip length gt 1000 drop");
	assert_false(crosses(t, 0, MTU));
	assert_false(crosses(t, 0, 951));
	assert_true(comes(t, 0, 950));
	command(t->h[1].ns, "nft flush chain ip t c && nft add rule ip t c ip frag-off '&' 0x3fff != 0 drop");
	assert_true(comes(t, 0, 100));
	command(t->h[0].ns, "ip link set under mtu 1400");
	assert_true(comes(t, 0, 1350));
	assert_false(crosses(t, 0, 1351));
	assert_false(crosses(t, 0, MTU));
	command(t->h[1].ns, "nft flush chain ip t c");
	assert_false(crosses(t, 0, MTU)); /* it was not the rule for pieces that kept it out */
	command(t->h[0].ns, "ip link set under mtu 1500");
	assert_true(comes(t, 0, MTU));
}

static void over_ipv6(void **s)
{
	struct state *t = *s;
	NEEDS_ROOT();
	uint32_t id;
	for (int i = 0; i < 2; i++)
		devices(&t->h[i], ip_of("::"), MTU - 20);
	assert_int_equal(send_probe(t, 0, "2001:db8::2", MTU - 20, &id), ERR_OK);
	assert_true(heard(&t->h[1], id, MTU - 20, WAIT_MS));
	assert_int_equal(send_probe(t, 0, "192.0.2.2", 100, &id), ERR_UNSUPPORTED);
}

static void send_frame(int fd, int index, struct mac to, struct mac from, uint16_t type, struct slice body)
{
	uint8_t bytes[2048];
	struct wbuf w;
	wbuf_fixed(&w, bytes, sizeof bytes);
	wbuf_mac(&w, to);
	wbuf_mac(&w, from);
	wbuf_u16(&w, type);
	wbuf_bytes(&w, body.p, body.n);
	const struct sockaddr_ll at = { .sll_family = AF_PACKET, .sll_ifindex = index };
	assert_int_equal(sendto(fd, bytes, w.len, 0, (const struct sockaddr *)&at, sizeof at), w.len);
}

/* Only what comes from the host it names, and is for us; and no other frames are looked at at all. */
static void only_probes(void **s)
{
	struct state *t = *s;
	NEEDS_ROOT();
	ns_go(t->h[1].ns);
	command(-1, "ip link add port type veth peer name inside && ip link set port master weft up && ip link set inside up");
	/* the kernel lets nothing through a new port before it has noticed that it is up */
	int state = -1;
	for (int i = 0; state != 0 && i < WAIT_MS / 10; i++)
		state = ns_run(-1, "bridge link show dev port | grep -q 'state forwarding' || { sleep 0.01; false; }");
	assert_int_equal(state, 0);
	int fd = socket(AF_PACKET, SOCK_RAW | SOCK_CLOEXEC, 0), index = (int)if_nametoindex("inside");
	uint8_t bytes[200];
	char text[64], mac[MAC_TEXT];
	const struct mac a = link_peer_mac(A), b = link_peer_mac(B), c = { { 2, 0, 0, 0, 0, 7 } };
	const struct mac all = { { 255, 255, 255, 255, 255, 255 } };
	struct probe p = { PROBE_REQUEST, 0, 4711, A, B, 100, 100 };
	for (int i = 0; i < 6; i++) {
		struct wbuf w;
		wbuf_fixed(&w, bytes, sizeof bytes);
		p.id = 100 + (uint32_t)i;
		p.dst = i == 2 ? A : B;
		probe_write(&w, &p);
		struct slice whole = wbuf_slice(&w);
		if (i == 3)
			whole.n -= 1;
		send_frame(fd, index, i == 4 ? all : b, i == 1 ? c : a, i == 5 ? 0x88b6 : PROBE_ETHERTYPE, whole);
	}
	assert_true(heard(&t->h[1], 100, 100, WAIT_MS));
	assert_false(heard(&t->h[1], 1, 100, SILENCE_MS));
	/* /proc/net/packet: sk RefCnt Type Proto Iface … */
	assert_int_equal(ns_run(-1, "test $(awk 'NR > 1 && $4 != \"0000\" && $4 != \"88b5\"' /proc/net/packet | wc -l) = 0"), 0);
	/* nor by another device, whatever its MAC */
	command(-1, "ip link add side type veth peer name beside && ip link set side up && ip link set beside up");
	struct wbuf w;
	wbuf_fixed(&w, bytes, sizeof bytes);
	p.id = 200;
	p.dst = B;
	probe_write(&w, &p);
	send_frame(fd, (int)if_nametoindex("beside"), all, a, PROBE_ETHERTYPE, wbuf_slice(&w));
	snprintf(text, sizeof text, "ip link set side address %s", mac_format(b, mac));
	command(-1, text);
	send_frame(fd, (int)if_nametoindex("beside"), b, a, PROBE_ETHERTYPE, wbuf_slice(&w));
	assert_false(heard(&t->h[1], 200, 100, SILENCE_MS));
	close(fd);
}

static void made_anew(void **s)
{
	struct state *t = *s;
	NEEDS_ROOT();
	uint32_t id;
	assert_true(comes(t, 0, MTU));
	OK(link_vxlan_remove(t->h[0].k, &note));
	assert_int_equal(send_probe(t, 0, "192.0.2.2", 100, &id), ERR_NOT_FOUND);
	devices(&t->h[0], (struct ip){ 0 }, MTU);
	assert_true(comes(t, 0, MTU));
	command(t->h[0].ns, "ip link del weft && ip link del weft-vx");
	devices(&t->h[0], (struct ip){ 0 }, MTU);
	assert_true(comes(t, 0, MTU)); /* finds the new bridge … */
	assert_true(comes(t, 1, MTU)); /* … where answers come */
}

struct list {
	struct link_fdb v[8];
	size_t n;
};

static void on_entry(const struct link_fdb *e, void *arg)
{
	struct list *l = arg;
	assert_true(l->n < 8);
	l->v[l->n++] = *e;
}

/* Entries for probes and entries for containers do not meet. */
static void entries(void **s)
{
	struct state *t = *s;
	NEEDS_ROOT();
	struct kernel *k = t->h[0].k;
	struct list probes = { .n = 0 }, others = { .n = 0 };
	uint32_t id;
	const struct mac c = { { 2, 0, 0, 0, 0, 7 } };
	assert_true(comes(t, 0, 100) && comes(t, 0, 100));
	OK(link_fdb_set(k, c, LINK_FAST, ip_of("192.0.2.2"), &note));
	OK(link_fdb_list(k, on_entry, &others, &note));
	OK(link_probe_list(k, on_entry, &probes, &note));
	assert_int_equal(others.n, 1);
	assert_true(mac_eq(others.v[0].mac, c));
	assert_int_equal(probes.n, 1);
	assert_true(mac_eq(probes.v[0].mac, link_peer_mac(B)) && ip_eq(probes.v[0].underlay, ip_of("192.0.2.2")));
	assert_int_equal(probes.v[0].uplink, LINK_NONE);
	/* it follows the host to another address */
	command(t->h[1].ns, "ip addr add 192.0.2.9/24 dev under");
	assert_int_equal(send_probe(t, 0, "192.0.2.9", MTU, &id), ERR_OK);
	assert_true(heard(&t->h[1], id, MTU, WAIT_MS));
	probes.n = 0;
	OK(link_probe_list(k, on_entry, &probes, &note));
	assert_int_equal(probes.n, 1);
	assert_true(ip_eq(probes.v[0].underlay, ip_of("192.0.2.9")));
	OK(vxprobe_forget(t->h[0].p, B, &note));
	OK(vxprobe_forget(t->h[0].p, B, &note));
	probes.n = 0;
	OK(link_probe_list(k, on_entry, &probes, &note));
	assert_int_equal(probes.n, 0);
	/* a new daemon does not inherit them */
	assert_true(comes(t, 0, 100));
	vxprobe_close(t->h[0].p);
	t->h[0].p = NULL;
	ns_go(t->h[0].ns);
	OK(vxprobe_open(k, A, &t->h[0].p, &note));
	others.n = 0;
	OK(link_probe_list(k, on_entry, &probes, &note));
	OK(link_fdb_list(k, on_entry, &others, &note));
	assert_int_equal(probes.n, 0);
	assert_int_equal(others.n, 1);
}

static void nothing_there(void **s)
{
	struct state *t = *s;
	NEEDS_ROOT();
	struct err_note why = { "" };
	struct vxprobe *p;
	OK(link_vxlan_remove(t->h[0].k, &note));
	assert_int_equal(vxprobe_open(t->h[0].k, A, &p, &why), ERR_NOT_FOUND);
	assert_non_null(strstr(why.text, "weft-vx"));
	vxprobe_close(NULL);
}

int main(void)
{
	may = ns_start();
#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
	const struct CMUnitTest tests[] = {
		T(there_and_back),
		T(losses),
		T(over_ipv6),
		T(only_probes),
		T(made_anew),
		T(entries),
		T(nothing_there),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
