/* What belongs together: one host in order, and each thing that can be wrong with it, one at a time. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "router/verify.h"

#define SELF      UINT64_C(0x020000000001)
#define OTHER     UINT64_C(0x020000000002)
#define DOCKER_ID "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"

struct t {
	struct verify_facts f;
	struct core_endpoint e[4];
	struct verify_container containers[4];
	struct verify_lease leases[4], claims[2];
	struct verify_interface interfaces[4];
	struct verify_name names[4];
	struct verify_device devices[2];
	struct verify_forward forwards[2];
	struct verify_neigh neighs[2];
	struct verify_digest digests[2];
	struct ip ips[2];
	const char *ports[2], *known[2];
	struct docker_listed docker[2];
	/* what was said */
	size_t findings, notes;
	char said[4096], check[32];
};

static struct prefix addr(const char *text)
{
	struct prefix p;

	assert_int_equal(prefix_parse(text, &p), ERR_OK);
	return p;
}

static struct core_endpoint endpoint(uint64_t peer, const char *ident, uint8_t mac, const char *at)
{
	struct core_endpoint e = {
		.peer = peer, .mac = { { 2, 0, 0, 0, 0, mac } }, .addrs = { addr(at) }, .n_addrs = 1, .network = "weft"
	};

	snprintf(e.ident, sizeof(e.ident), "%s", ident);
	return e;
}

static void interface_for(struct verify_interface *i, const char *name, const struct core_endpoint *e)
{
	*i = (struct verify_interface){ .readable = true, .network = "weft" };
	snprintf(i->name, sizeof(i->name), "%s", name);
	snprintf(i->record.ident, sizeof(i->record.ident), "%s", e->ident);
	i->record.mac = e->mac;
	i->record.addrs[0] = e->addrs[0];
	i->record.n_addrs = 1;
}

/* Two containers here (one of them Docker's), one on another host; all in order. */
static void good(struct t *t)
{
	memset(t, 0, sizeof(*t));
	t->e[0] = endpoint(SELF, "c1", 1, "10.32.0.1/12");
	t->e[1] = endpoint(SELF, "docker:" DOCKER_ID, 2, "10.32.0.2/12");
	t->e[2] = endpoint(OTHER, "c3", 3, "10.40.0.1/12");
	for (size_t i = 0; i < 3; i++) {
		t->containers[i] = (struct verify_container){ .e = &t->e[i], .owner = i < 2 ? VERIFY_PEER_HERE : VERIFY_PEER_REACHABLE };
		snprintf(t->containers[i].host, sizeof(t->containers[i].host), "%s", i < 2 ? "this host" : "h2");
	}
	t->leases[0] = (struct verify_lease){ .ident = "c1", .addr = addr("10.32.0.1/12") };
	t->leases[1] = (struct verify_lease){ .ident = "dockerip:weft:7", .addr = addr("10.32.0.2/12") };
	interface_for(&t->interfaces[0], "vethwe1", &t->e[0]);
	interface_for(&t->interfaces[1], "vethwe2", &t->e[1]);
	t->names[0] = (struct verify_name){ "c1", "a.weft.local.", addr("10.32.0.1/12").addr };
	t->names[1] = (struct verify_name){ CORE_IDENT_EXTERN, "out.weft.local.", addr("10.33.3.3/12").addr };
	snprintf(t->devices[0].name, sizeof(t->devices[0].name), "weft-3");
	t->devices[0].known = true;
	t->forwards[0] = (struct verify_forward){ "weft", t->e[2].mac, true };
	t->neighs[0] = (struct verify_neigh){ "weft", t->e[2].addrs[0].addr, t->e[2].mac, true };
	snprintf(t->digests[0].host, sizeof(t->digests[0].host), "h2");
	t->digests[0].answered = true;
	t->ports[0] = "vethwe1";
	t->known[0] = "docker:" DOCKER_ID;
	snprintf(t->docker[0].id, sizeof(t->docker[0].id), "%.64s", "ff" DOCKER_ID);
	snprintf(t->docker[0].endpoint, sizeof(t->docker[0].endpoint), "%s", DOCKER_ID);
	t->f = (struct verify_facts){ .ipam = true,
		.names = true,
		.range = addr("10.32.0.0/12"),
		.leases = t->leases,
		.n_leases = 2,
		.claims = t->claims,
		.reserved = t->ips,
		.plugin = true,
		.known = t->known,
		.n_known = 1,
		.containers = t->containers,
		.n_containers = 3,
		.interfaces = t->interfaces,
		.n_interfaces = 2,
		.names_v = t->names,
		.n_names = 2,
		.devices = t->devices,
		.n_devices = 1,
		.forwards = t->forwards,
		.n_forwards = 1,
		.neighs = t->neighs,
		.n_neighs = 1,
		.probes = t->ips,
		.ports = t->ports,
		.n_ports = 1,
		.digests = t->digests,
		.n_digests = 1,
		.docker = true,
		.docker_v = t->docker,
		.n_docker = 1 };
}

static void on_said(void *ctx, bool note, const char *check, const char *text, const char *todo)
{
	struct t *t = ctx;

	t->findings += !note;
	t->notes += note;
	assert_true(strlen(todo) > 0);
	snprintf(t->check, sizeof(t->check), "%s", check);
	size_t n = strlen(t->said);
	snprintf(t->said + n, sizeof(t->said) - n, "%s\n", text);
}

static void compare(struct t *t)
{
	long before = mem_live();

	t->findings = t->notes = 0;
	t->said[0] = '\0';
	assert_int_equal(verify_compare(&t->f, on_said, t), ERR_OK);
	assert_int_equal(mem_live(), before);
}

/* One finding (a note: none and one note) of that kind, whose text has these words. */
static void expect(struct t *t, bool note, const char *check, const char *words)
{
	compare(t);
	if (t->findings != !note || t->notes != note || strcmp(t->check, check) != 0 || strstr(t->said, words) == NULL)
		fail_msg("%zu findings, %zu notes, the last one of '%s': %s(wanted '%s': %s)", t->findings, t->notes, t->check, t->said,
			check, words);
}

static void all_is_well(void **state)
{
	struct t t;

	(void)state;
	good(&t);
	compare(&t);
	assert_string_equal(t.said, "");
	t.f.ipam = false; /* addresses are given by hand */
	t.f.n_leases = 0;
	compare(&t);
	assert_string_equal(t.said, "");
	good(&t);
	t.e[1].addrs[1] = addr("fd00::2/64"); /* what is not of the range is nobody's business */
	t.e[1].n_addrs = 2;
	t.interfaces[1].record.addrs[1] = addr("fd00::2/64");
	t.interfaces[1].record.n_addrs = 2;
	compare(&t);
	assert_string_equal(t.said, "");
}

static void addresses(void **state)
{
	struct t t;

	(void)state;
	good(&t);
	t.leases[2] = (struct verify_lease){ .ident = "docker:" DOCKER_ID, .addr = addr("10.32.0.9/12") };
	t.f.n_leases = 3;
	expect(&t, false, "address", "10.32.0.9 is held for docker:0123456789ab, which does not use it");
	t.leases[2].ident = "netns:/gone";
	expect(&t, false, "address", "no such container");
	t.leases[2].ident = "dockerip:weft:9";
	expect(&t, false, "address", "no such container");
	t.leases[2].waits = true;
	expect(&t, true, "address", "no container has");
	t.leases[2].waits = false;
	t.ips[0] = addr("10.32.0.9/12").addr;
	t.f.n_reserved = 1;
	compare(&t);
	assert_int_equal(t.findings, 0); /* a gateway */
	t.f.n_reserved = 0;
	t.leases[2].ident = "someone";
	expect(&t, true, "address", "someone, which is not attached");

	good(&t);
	t.f.n_leases = 1;
	expect(&t, false, "address", "10.32.0.2 is used by docker:0123456789ab and held for nobody");
	t.claims[0] = (struct verify_lease){ .ident = "dockerip:weft:7", .addr = addr("10.32.0.2/12") };
	t.f.n_claims = 1;
	expect(&t, true, "address", "waits for another host");
	good(&t);
	t.leases[0].ident = "other";
	expect(&t, false, "address", "10.32.0.1 is used by c1 and held for other");
	t.leases[0].ident = "dockerip:weft:8"; /* serves only Docker's */
	expect(&t, false, "address", "10.32.0.1 is used by c1 and held for dockerip");
}

static void containers(void **state)
{
	struct t t;

	(void)state;
	good(&t);
	t.f.n_interfaces = 1;
	expect(&t, false, "interface", "docker:0123456789ab has no interface");
	t.containers[1].absent = true;
	expect(&t, true, "interface", "has lost its interface");
	good(&t);
	t.interfaces[0].record.mac.b[5] = 9;
	expect(&t, false, "interface", "other addresses");
	good(&t);
	t.interfaces[0].record.addrs[0] = addr("10.32.0.7/12");
	expect(&t, false, "interface", "other addresses");
	good(&t);
	t.interfaces[0].network = "blue";
	expect(&t, false, "interface", "bridge of network blue");
	good(&t);
	t.containers[0].network_gone = true;
	expect(&t, false, "container", "does not exist");
	good(&t);
	t.containers[2].owner = VERIFY_PEER_UNKNOWN;
	expect(&t, false, "container", "nobody knows");
	good(&t);
	t.e[2].mac = t.e[0].mac;
	expect(&t, false, "container", "02:00:00:00:00:01 has two containers");
	good(&t);
	t.e[2].addrs[0] = t.e[0].addrs[0];
	expect(&t, false, "container", "10.32.0.1 has two containers on network weft: c1 on this host and c3 on h2");
	t.containers[2].owner = VERIFY_PEER_AWAY; /* where nobody sees it */
	compare(&t);
	assert_int_equal(t.findings, 0);
	t.containers[2].owner = VERIFY_PEER_REACHABLE;
	snprintf(t.e[2].network, sizeof(t.e[2].network), "blue"); /* networks do not meet */
	compare(&t);
	assert_int_equal(t.findings, 0);
}

static void docker(void **state)
{
	struct t t;

	(void)state;
	good(&t);
	t.f.n_docker = 0;
	expect(&t, false, "docker", "docker:0123456789ab is attached, and no running container");
	t.f.docker = false; /* it could not be asked */
	compare(&t);
	assert_int_equal(t.findings, 0);
	assert_true(verify_of_docker(&t.f));
	/* what dockerd made and what is attached */
	good(&t);
	t.f.n_known = 0;
	expect(&t, false, "docker", "the plugin knows nothing of it");
	t.f.plugin = false; /* it is not served any more */
	compare(&t);
	assert_int_equal(t.findings, 0);
	good(&t);
	t.known[1] = "docker:gone";
	t.f.n_known = 2;
	expect(&t, false, "docker", "dockerd was given docker:gone");
	/* one that was attached by its id */
	good(&t);
	snprintf(t.e[0].ident, sizeof(t.e[0].ident), "%.64s", "ff" DOCKER_ID);
	t.leases[0].ident = t.e[0].ident;
	t.names[0].ident = t.e[0].ident;
	interface_for(&t.interfaces[0], "vethwe1", &t.e[0]);
	compare(&t);
	assert_string_equal(t.said, "");
	t.docker[0].id[0] = '0';
	expect(&t, false, "docker", "Docker runs no such container");
}

static void interfaces(void **state)
{
	struct t t;

	(void)state;
	good(&t);
	t.interfaces[2] = (struct verify_interface){ .name = "vethwe3" };
	t.f.n_interfaces = 3;
	expect(&t, false, "interface", "vethwe3 is an interface of weft's, and nothing says for whom");
	t.interfaces[2].readable = true;
	snprintf(t.interfaces[2].record.ident, sizeof(t.interfaces[2].record.ident), "gone");
	expect(&t, false, "interface", "vethwe3 is for gone");
	snprintf(t.interfaces[2].record.ident, sizeof(t.interfaces[2].record.ident), "c1");
	expect(&t, false, "interface", "vethwe3 is a second interface for c1");
	good(&t);
	t.interfaces[0].network = NULL;
	expect(&t, false, "interface", "vethwe1 of c1 is on no bridge");
	/* another host's container is not for us */
	good(&t);
	interface_for(&t.interfaces[2], "vethwe3", &t.e[2]);
	t.f.n_interfaces = 3;
	expect(&t, false, "interface", "vethwe3 is for c3, which is not attached");
}

static void names(void **state)
{
	struct t t;

	(void)state;
	good(&t);
	t.names[2] = (struct verify_name){ "c1", "b.weft.local.", addr("10.32.0.2/12").addr };
	t.f.n_names = 3;
	expect(&t, false, "name", "b.weft.local. of c1 is answered with 10.32.0.2, which the container does not have");
	t.names[2].ident = "docker:" DOCKER_ID;
	compare(&t);
	assert_int_equal(t.findings, 0);
	t.names[2].ident = "gone";
	expect(&t, false, "name", "gone is not attached");
	t.names[2].addr = addr("192.0.2.1/24").addr;
	expect(&t, true, "name", "192.0.2.1 for gone");
	t.names[2].ident = "docker:gone";
	expect(&t, false, "name", "not attached");
}

static void kernel(void **state)
{
	struct t t;

	(void)state;
	good(&t);
	t.devices[0].known = false;
	expect(&t, false, "device", "weft-3 belongs to a network that does not exist");
	good(&t);
	t.forwards[0].wanted = false;
	expect(&t, false, "forwarding", "02:00:00:00:00:03");
	good(&t);
	t.neighs[0].wanted = false;
	expect(&t, false, "forwarding", "10.40.0.1 of network weft");
	good(&t);
	t.ips[0] = addr("192.0.2.7/32").addr;
	t.f.n_probes = 1;
	expect(&t, false, "forwarding", "192.0.2.7");
	good(&t);
	t.ports[0] = "vethwe9";
	expect(&t, false, "filter", "vethwe9");
	/* one that is away keeps its rules */
	char name[16];
	container_host_name("c1", 0, name);
	t.ports[0] = name;
	t.containers[0].absent = true;
	compare(&t);
	assert_int_equal(t.findings, 0);
	good(&t);
	t.f.filter = "it is not as it was";
	expect(&t, false, "filter", "it is not as it was");
	good(&t);
	t.f.trouble = "there is no bridge";
	expect(&t, false, "device", "there is no bridge");
}

static void others(void **state)
{
	struct t t;

	(void)state;
	good(&t);
	t.digests[0].answered = false;
	expect(&t, false, "state", "h2 does not say");
	t.digests[0].answered = true;
	t.digests[0].differs = 1u << CHANNEL_NAMES | 1u << CHANNEL_RING;
	expect(&t, false, "state", "h2 knows something else of: ring, names");
	t.digests[0].differs = UINT16_MAX;
	expect(&t, false, "state", "hosts, ring, votes, usage, names, containers, networks");
	good(&t);
	t.f.ring = "10.32.0.0 is nobody's";
	expect(&t, false, "ring", "10.32.0.0 is nobody's");
	good(&t);
	t.f.conflict = "two rings";
	expect(&t, false, "ring", "two rings");
}

static void memory_may_run_out(void **state)
{
	struct t t;
	size_t n = 0;
	enum err err;

	(void)state;
	good(&t);
	do {
		long before = mem_live();
		mem_fail_at(++n, true);
		err = verify_compare(&t.f, on_said, &t);
		mem_fail_at(0, false);
		assert_int_equal(mem_live(), before);
		assert_int_equal(t.findings, 0);
	} while (err == ERR_NOMEM);
	assert_int_equal(err, ERR_OK);
	assert_true(n > 10);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(all_is_well),
		cmocka_unit_test(addresses),
		cmocka_unit_test(containers),
		cmocka_unit_test(docker),
		cmocka_unit_test(interfaces),
		cmocka_unit_test(names),
		cmocka_unit_test(kernel),
		cmocka_unit_test(others),
		cmocka_unit_test(memory_may_run_out),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
