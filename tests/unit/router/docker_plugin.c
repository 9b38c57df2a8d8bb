/* What dockerd asks of the plugin, read; and the arithmetic of pools. */
#include "tests/unit/base/cmocka_all.h"

#include <stdio.h>
#include <string.h>

#include "base/mem.h"
#include "base/rng.h"
#include "router/docker/inspect.h"
#include "router/docker/plugin_request.h"

#define NET "a4d0fdcd2c67d1300c96cad8baafc99b7f29ec8eae9c33e7a31f678c595f81a9"
#define EP  "f69ba6fbf49b06b5b8a282efe657e5695ec99eb6319c09fb8fa0ba79e6a6a15a"

static struct prefix prefix(const char *text)
{
	struct prefix p;

	assert_int_equal(prefix_parse(text, &p), ERR_OK);
	return p;
}

static struct ip ip(const char *text)
{
	struct ip a;

	assert_int_equal(ip_parse(text, &a), ERR_OK);
	return a;
}

static json_t *body(const char *text)
{
	struct err_note note = { "" };
	json_t *b = NULL;

	assert_int_equal(plugin_parse_body(slice_str(text), &b, &note), ERR_OK);
	return b;
}

/* --- requests ------------------------------------------------------------------------------------------------------------------------------ */

static void bodies(void **state)
{
	static const char *const bad[] = { "[]", "7", "\"x\"", "null", "{", "{}{}", "{\"a\":1,\"a\":2}", "{\"a\":\"\\u0000\"}",
		"\xff" };
	struct err_note note = { "" };
	json_t *b = NULL;

	(void)state;
	json_decref(body("")); /* nothing at all is an empty object: so dockerd has it */
	json_decref(body("\n"));
	json_decref(body("{}\n"));
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		assert_int_equal(plugin_parse_body(slice_str(bad[i]), &b, &note), ERR_MALFORMED);
		assert_null(b);
	}
}

/* Verbatim bodies of dockerd 20.10. */
static void as_dockerd_has_them(void **state)
{
	struct err_note note = { "" };
	struct plugin_pool_request pool;
	struct plugin_address_request address;
	struct plugin_network_request network;
	struct plugin_endpoint_request endpoint;
	json_t *b;

	(void)state;
	b = body(
		"{\"AddressSpace\":\"stublocal\",\"Pool\":\"10.32.0.0/16\",\"SubPool\":\"10.32.1.0/24\",\"Options\":{\"ia\":\"1\"},\"V6\":false}\n");
	assert_int_equal(plugin_parse_pool(b, &pool, &note), ERR_OK);
	assert_string_equal(pool.space, "stublocal");
	assert_true(prefix_eq(pool.pool, prefix("10.32.0.0/16")) && prefix_eq(pool.sub, prefix("10.32.1.0/24")) && !pool.v6);
	json_decref(b);
	b = body("{\"AddressSpace\":\"stubglobal\",\"Pool\":\"\",\"SubPool\":\"\",\"Options\":null,\"V6\":false}");
	assert_int_equal(plugin_parse_pool(b, &pool, &note), ERR_OK);
	assert_int_equal(pool.pool.addr.family, 0);
	json_decref(b);
	b = body("{\"PoolID\":\"p\",\"Address\":\"\",\"Options\":{\"RequestAddressType\":\"com.docker.network.gateway\"}}");
	assert_int_equal(plugin_parse_address(b, false, &address, &note), ERR_OK);
	assert_true(address.gateway && address.addr.family == 0);
	assert_int_equal(plugin_parse_address(b, true, &address, &note), ERR_USAGE);
	json_decref(b);
	b = body(
		"{\"NetworkID\":\"" NET
		"\",\"Options\":{\"com.docker.network.enable_ipv6\":false,\"com.docker.network.generic\":{\"k1\":\"v1\","
		"\"weft.network\":\"red\",\"weft.multicast\":\"false\",\"weft.mtu\":\"1300\"},\"com.docker.network.internal\":true},\"IPv4Data\":[{"
		"\"AddressSpace\":\"stublocal\",\"AuxAddresses\":{\"r1\":\"10.32.1.9/16\"},\"Gateway\":\"10.32.0.254/16\",\"Pool\":\"10.32.0.0/16\"}],"
		"\"IPv6Data\":[]}");
	assert_int_equal(plugin_parse_network(b, false, &network, &note), ERR_OK);
	assert_true(network.internal && network.n_subnets == 1 && ip_eq(network.subnets[0].gateway, ip("10.32.0.254")));
	assert_true(network.options.no_multicast && network.options.mtu == 1300);
	assert_string_equal(network.options.network, "red");
	json_decref(b);
	b = body(
		"{\"NetworkID\":\"c2x6xfrmrighm5orfs9bd1x94\",\"Options\":{\"vni\":\"7\",\"weft.network\":\"x\"},\"IPv4Data\":null,\"IPv6Data\":null}");
	assert_int_equal(plugin_parse_network(b, true, &network, &note), ERR_OK);
	assert_string_equal(network.options.network, "x");
	json_decref(b);
	b = body(
		"{\"NetworkID\":\"" NET "\",\"EndpointID\":\"" EP "\",\"Interface\":{\"Address\":\"10.36.1.77/16\",\"AddressIPv6\":\"\","
		"\"MacAddress\":\"02:aa:bb:cc:dd:ee\"},\"Options\":{\"com.docker.network.endpoint.macaddress\":\"Aqq7zN3u\"}}");
	assert_int_equal(plugin_parse_endpoint(b, &endpoint, &note), ERR_OK);
	assert_true(endpoint.mac_given && prefix_eq(endpoint.addr, prefix("10.36.1.77/16")) && endpoint.addr6.addr.family == 0);
	assert_string_equal(endpoint.id, EP);
	json_decref(b);
}

enum which { POOL, ADDRESS, NETWORK, ENDPOINT, DISCOVERY };

/* Each is refused by a line that has this word in it. */
static void what_is_wrong_is_said(void **state)
{
	static const struct {
		enum which which;
		const char *text, *word;
	} bad[] = {
		{ POOL, "{\"Pool\":7}", "Pool" },
		{ POOL, "{\"Pool\":\"10.32.0.0\"}", "10.32.0.0" },
		{ POOL, "{\"Pool\":\"10.32.0.0/16\",\"V6\":true}", "IPv6" },
		{ POOL, "{\"Pool\":\"fd00::/64\"}", "IPv4" },
		{ POOL, "{\"SubPool\":\"10.32.0.0/24\"}", "--subnet" },
		{ POOL, "{\"V6\":\"yes\"}", "V6" },
		{ POOL, "{\"Options\":[]}", "Options" },
		{ POOL, "{\"Options\":{\"weft.mtu\":\"1\"}}", "--ipam-opt" },
		{ POOL, "{\"AddressSpace\":\"0123456789012345678901234567890123456789012345678901234567890123456789\"}", "AddressSpace" },
		{ POOL, "{\"AddressSpace\":\"a\\u001b[2J\"}", "control" },
		{ ADDRESS, "{}", "PoolID" },
		{ ADDRESS, "{\"PoolID\":\"\"}", "PoolID" },
		{ ADDRESS, "{\"PoolID\":{}}", "PoolID" },
		{ ADDRESS, "{\"PoolID\":\"p\",\"Address\":\"10.32.0\"}", "10.32.0" },
		{ ADDRESS, "{\"PoolID\":\"p\",\"Address\":true}", "Address" },
		{ ADDRESS, "{\"PoolID\":\"p\",\"Options\":\"x\"}", "Options" },
		{ ADDRESS, "{\"PoolID\":\"p\",\"Options\":{\"RequestAddressType\":1}}", "RequestAddressType" },
		{ NETWORK, "{}", "NetworkID" },
		{ NETWORK, "{\"NetworkID\":\"../../etc/passwd\"}", "NetworkID" },
		{ NETWORK, "{\"NetworkID\":\"" NET NET "\"}", "NetworkID" },
		{ NETWORK, "{\"NetworkID\":\"a\",\"IPv4Data\":{}}", "IPv4Data" },
		{ NETWORK, "{\"NetworkID\":\"a\",\"IPv4Data\":[7]}", "IPv4Data" },
		{ NETWORK, "{\"NetworkID\":\"a\",\"IPv4Data\":[{}]}", "Pool" },
		{ NETWORK, "{\"NetworkID\":\"a\",\"IPv4Data\":[{\"Pool\":\"fd00::/64\"}]}", "IPv4" },
		{ NETWORK, "{\"NetworkID\":\"a\",\"IPv4Data\":[{\"Pool\":\"10.0.0.0/8\",\"Gateway\":\"x\"}]}", "Gateway" },
		{ NETWORK, "{\"NetworkID\":\"a\",\"IPv4Data\":[{},{},{},{},{},{},{},{},{}]}", "more than" },
		{ NETWORK, "{\"NetworkID\":\"a\",\"Options\":{\"com.docker.network.internal\":\"true\"}}", "internal" },
		{ NETWORK, "{\"NetworkID\":\"a\",\"Options\":{\"com.docker.network.generic\":{\"weft.colour\":\"red\"}}}", "weft.mtu=N" },
		{ NETWORK, "{\"NetworkID\":\"a\",\"Options\":{\"com.docker.network.generic\":{\"weft.mtu\":\"-1300\"}}}", "weft.mtu" },
		{ NETWORK, "{\"NetworkID\":\"a\",\"Options\":{\"com.docker.network.generic\":{\"weft.mtu\":1300}}}", "weft.mtu" },
		{ NETWORK, "{\"NetworkID\":\"a\",\"Options\":{\"com.docker.network.generic\":{\"weft.network\":\"a b\"}}}",
			"weft.network" },
		{ ENDPOINT, "{\"NetworkID\":\"a\"}", "EndpointID" },
		{ ENDPOINT, "{\"NetworkID\":\"a\",\"EndpointID\":\"B\"}", "EndpointID" },
		{ ENDPOINT, "{\"NetworkID\":\"a\",\"EndpointID\":\"b\",\"Interface\":[]}", "Interface" },
		{ ENDPOINT, "{\"NetworkID\":\"a\",\"EndpointID\":\"b\",\"Interface\":{\"Address\":\"fd00::1/64\"}}", "IPv4" },
		{ ENDPOINT, "{\"NetworkID\":\"a\",\"EndpointID\":\"b\",\"Interface\":{\"MacAddress\":\"01:00:5e:00:00:01\"}}",
			"MacAddress" },
		{ ENDPOINT, "{\"NetworkID\":\"a\",\"EndpointID\":\"b\",\"Interface\":{\"MacAddress\":\"00:00:00:00:00:00\"}}",
			"MacAddress" },
		{ DISCOVERY, "{\"DiscoveryType\":\"1\"}", "DiscoveryType" },
		{ DISCOVERY, "{\"DiscoveryData\":1}", "DiscoveryData" },
	};

	(void)state;
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		struct plugin_pool_request pool;
		struct plugin_address_request address;
		struct plugin_network_request network;
		struct plugin_endpoint_request endpoint;
		struct err_note note = { "" };
		json_t *b = body(bad[i].text);
		enum err err = bad[i].which == POOL ? plugin_parse_pool(b, &pool, &note)
			: bad[i].which == ADDRESS       ? plugin_parse_address(b, false, &address, &note)
			: bad[i].which == NETWORK       ? plugin_parse_network(b, false, &network, &note)
			: bad[i].which == ENDPOINT      ? plugin_parse_endpoint(b, &endpoint, &note)
											: plugin_parse_discovery(b, &note);
		if (err != ERR_USAGE || strstr(note.text, bad[i].word) == NULL)
			fail_msg("%s: %s '%s'", bad[i].text, err_name(err), note.text);
		json_decref(b);
	}
}

/* --- what Docker's API tells --------------------------------------------------------------------------------------------------------------- */

/* Verbatim from dockerd 20.10, but for what does not matter. */
static const char any_json[] =
	"{\"Name\":\"any6\",\"Id\":\"" NET "\",\"Scope\":\"local\",\"Driver\":\"weft\",\"EnableIPv6\":true,\"IPAM\":{\"Driver\":"
	"\"weft\",\"Options\":{},\"Config\":[{\"Subnet\":\"10.32.0.0/12\",\"Gateway\":\"169.254.30.124\"},{\"Subnet\":"
	"\"fd00:7::/64\",\"Gateway\":\"fe80::b59c:18eb:9459:f760/128\"}]},\"Internal\":false,\"Containers\":{},\"Options\":{},"
	"\"Labels\":{}}";
static const char full_json[] =
	"{\"Name\":\"full\",\"Id\":\"" NET
	"\",\"Scope\":\"local\",\"Driver\":\"weft:latest\",\"IPAM\":{\"Driver\":\"weft:latest\",\"Options\":{},"
	"\"Config\":[{\"Subnet\":\"10.41.0.0/16\",\"IPRange\":\"10.41.1.0/24\",\"Gateway\":\"10.41.0.254\",\"AuxiliaryAddresses\":{\"r\":"
	"\"10.41.1.1\",\"s\":\"10.41.1.2/16\"}}]},\"Internal\":true,\"Options\":{\"weft.mtu\":\"1300\",\"weft.network\":\"red\"},"
	"\"Containers\":{\"504df0f56d3edfffa094665a9b083aaa5ec5e25a5bf7d8d923c1f9b7f1d7693e\":{\"Name\":\"c2\",\"EndpointID\":\"" EP
	"\",\"MacAddress\":\"02:71:39:8b:93:bc\",\"IPv4Address\":\"10.41.1.3/16\",\"IPv6Address\":\"\"}}}";

static void see(const char *text, struct docker_network_doc *d)
{
	struct err_note note = { "" };

	assert_int_equal(docker_parse_network(slice_str(text), d, &note), ERR_OK);
}

static void as_docker_tells(void **state)
{
	struct docker_network_doc d;
	struct plugin_seen seen;
	struct plugin_endpoint_request e;
	struct err_note note = { "" };
	struct ip aux[PLUGIN_AUX_MAX];
	size_t n;

	(void)state;
	see(any_json, &d);
	assert_true(plugin_is_ours(&d.n, "/run/docker/plugins/weft.sock") && plugin_is_ours(&d.n, "weft.sock"));
	assert_true(plugin_is_ours(&d.n, "/run/docker/plugins/other.sock")); /* by its tag */
	assert_int_equal(plugin_parse_seen(&d.n, &seen, &note), ERR_OK);
	assert_string_equal(seen.name, "any6");
	assert_true(!seen.internal && !seen.foreign && !seen.gives && seen.n_subnets == 2);
	assert_true(prefix_eq(seen.subnets[0].pool, prefix("10.32.0.0/12")) && ip_eq(seen.subnets[0].gateway, ip("169.254.30.124")));
	assert_true(ip_eq(seen.subnets[1].gateway, ip("fe80::b59c:18eb:9459:f760")) && seen.subnets[1].sub.addr.family == 0);
	docker_drop_network(&d);

	see(full_json, &d);
	assert_true(plugin_is_ours(&d.n, "/run/docker/plugins/weft.sock"));
	assert_false(plugin_is_ours(&d.n, "/run/docker/plugins/wef.sock") || plugin_is_ours(&d.n, "/run/docker/plugins/"));
	assert_int_equal(plugin_parse_seen(&d.n, &seen, &note), ERR_OK);
	assert_string_equal(seen.name, "red");
	assert_true(seen.internal && seen.options.mtu == 1300 && seen.n_subnets == 1);
	assert_true(prefix_eq(seen.subnets[0].sub, prefix("10.41.1.0/24")) && ip_eq(seen.subnets[0].gateway, ip("10.41.0.254")));
	assert_int_equal(plugin_parse_aux(seen.subnets[0].aux, 4, aux, &n, &note), ERR_OK);
	assert_true(n == 2 && ip_eq(aux[0], ip("10.41.1.1")) && ip_eq(aux[1], ip("10.41.1.2")));
	assert_int_equal(plugin_parse_aux(seen.subnets[0].aux, 6, aux, &n, &note), ERR_USAGE);
	assert_int_equal(plugin_parse_aux(NULL, 4, aux, &n, &note), ERR_OK);
	assert_int_equal(n, 0);
	const json_t *v = json_object_iter_value(json_object_iter((json_t *)(uintptr_t)d.n.containers));
	assert_int_equal(plugin_parse_seen_endpoint(v, &e, &note), ERR_OK);
	assert_string_equal(e.id, EP);
	assert_true(prefix_eq(e.addr, prefix("10.41.1.3/16")) && e.addr6.addr.family == 0 && e.mac_given);
	docker_drop_network(&d);
}

/* Whose addresses: ours, another driver's, or those that CreateEndpoint gives. */
static void whose_addresses(void **state)
{
	static const struct {
		const char *ipam;
		bool ours, foreign, gives;
	} cases[] = {
		{ "{\"Driver\":\"weft\",\"Config\":[{\"Subnet\":\"10.40.0.0/16\"}]}", true, false, false },
		{ "{\"Driver\":\"default\",\"Config\":[{\"Subnet\":\"172.18.0.0/16\",\"Gateway\":\"172.18.0.1\"}]}", true, true, false },
		{ "{\"Driver\":\"null\",\"Config\":[{\"Subnet\":\"0.0.0.0/0\"}]}", true, true, true },
		{ "{}", true, true, false },
		{ "7", true, true, false },
	};
	char text[400];

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct docker_network_doc d;
		struct plugin_seen seen;
		struct err_note note = { "" };
		(void)snprintf(text, sizeof(text), "{\"Name\":\"n\",\"Id\":\"" NET "\",\"Driver\":\"weft\",\"IPAM\":%s}", cases[i].ipam);
		see(text, &d);
		assert_int_equal(plugin_is_ours(&d.n, "weft.sock"), cases[i].ours);
		assert_false(plugin_is_ours(&d.n, "x.sock"));
		assert_int_equal(plugin_parse_seen(&d.n, &seen, &note), ERR_OK);
		assert_int_equal(seen.foreign, cases[i].foreign);
		assert_int_equal(seen.gives, cases[i].gives);
		assert_int_equal(seen.n_subnets, cases[i].foreign ? 0 : 1);
		docker_drop_network(&d);
	}
}

static void what_docker_cannot_mean(void **state)
{
	static const struct {
		const char *rest, *word;
	} bad[] = {
		{ "\"IPAM\":{\"Driver\":\"weft\",\"Config\":[7]}", "Config" },
		{ "\"IPAM\":{\"Driver\":\"weft\",\"Config\":[{}]}", "Subnet" },
		{ "\"IPAM\":{\"Driver\":\"weft\",\"Config\":[{\"Subnet\":\"10.40.0.1/16\"}]}", "Subnet" },
		{ "\"IPAM\":{\"Driver\":\"weft\",\"Config\":[{\"Subnet\":\"10.40.0.0/16\",\"IPRange\":\"fd00::/64\"}]}", "IPRange" },
		{ "\"IPAM\":{\"Driver\":\"weft\",\"Config\":[{\"Subnet\":\"10.40.0.0/16\",\"Gateway\":\"fd00::1\"}]}", "Gateway" },
		{ "\"IPAM\":{\"Driver\":\"weft\",\"Config\":[{\"Subnet\":\"10.40.0.0/16\",\"AuxiliaryAddresses\":[]}]}",
			"AuxiliaryAddresses" },
		{ "\"Options\":{\"weft.colour\":\"red\"}", "weft.colour" },
	};
	char text[400];

	(void)state;
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		struct docker_network_doc d;
		struct plugin_seen seen;
		struct err_note note = { "" };
		(void)snprintf(text, sizeof(text), "{\"Name\":\"n\",\"Id\":\"" NET "\",\"Driver\":\"weft\",%s}", bad[i].rest);
		see(text, &d);
		if (plugin_parse_seen(&d.n, &seen, &note) != ERR_USAGE || strstr(note.text, bad[i].word) == NULL)
			fail_msg("%s: '%s'", bad[i].rest, note.text);
		docker_drop_network(&d);
	}
}

/* --- pools --------------------------------------------------------------------------------------------------------------------------------- */

static void slices(void **state)
{
	static const struct {
		const char *range;
		unsigned len;
	} ranges[] = { { "10.32.0.0/12", 20 }, { "10.0.0.0/8", 16 }, { "10.2.0.0/16", 24 }, { "10.2.0.0/20", 24 },
		{ "10.2.3.0/24", 24 }, { "10.2.3.0/26", 26 } };
	struct prefix got[256], one;

	(void)state;
	for (size_t i = 0; i < sizeof(ranges) / sizeof(ranges[0]); i++) {
		struct prefix range = prefix(ranges[i].range);
		size_t n = (size_t)1 << (ranges[i].len - range.len), taken = 0;
		assert_int_equal(plugin_slice_len(range), ranges[i].len);
		/* names get slices of their own, all of the range, and then none is left */
		for (; taken < n; taken++) {
			char name[32];
			(void)snprintf(name, sizeof(name), "net%zu", taken);
			assert_int_equal(plugin_slice(range, name, got, taken, &got[taken]), ERR_OK);
			assert_int_equal(got[taken].len, ranges[i].len);
			assert_true(prefix_is_network(got[taken]) && prefix_contains(range, got[taken].addr));
			for (size_t k = 0; k < taken; k++)
				assert_false(prefix_overlaps(got[taken], got[k]));
		}
		assert_int_equal(plugin_slice(range, "more", got, taken, &one), ERR_FULL);
		/* hosts that know of nothing choose alike */
		assert_int_equal(plugin_slice(range, "net0", NULL, 0, &one), ERR_OK);
		assert_true(prefix_eq(one, got[0]));
	}
	/* whatever overlaps is stepped over, larger or smaller; a family 0 is nothing */
	struct prefix range = prefix("10.32.0.0/12"), taken[] = { got[0], { .len = 0 } };
	assert_int_equal(plugin_slice(range, "x", NULL, 0, &one), ERR_OK);
	taken[0] = (struct prefix){ one.addr, 30 };
	struct prefix other;
	assert_int_equal(plugin_slice(range, "x", taken, 2, &other), ERR_OK);
	assert_false(prefix_overlaps(one, other));
	taken[0] = range;
	assert_int_equal(plugin_slice(range, "x", taken, 2, &other), ERR_FULL);
}

static void both_families(void **state)
{
	struct prefix range = prefix("10.32.0.0/12"), pool = prefix("fd00:40::/64");
	struct ip v4;
	char text[IP_TEXT];
	struct rng rng;

	(void)state;
	rng_seed(&rng, 1);
	assert_true(plugin_pool6_fits(range, pool) && plugin_pool6_fits(range, prefix("fd00::/108")));
	assert_false(plugin_pool6_fits(range, prefix("fd00::/109")) || plugin_pool6_fits(range, range));
	assert_string_equal(ip_format(plugin_addr6(range, pool, ip("10.32.0.5")), text), "fd00:40::5");
	assert_string_equal(ip_format(plugin_addr6(range, pool, ip("10.47.255.254")), text), "fd00:40::f:fffe");
	for (int i = 0; i < 100000; i++) {
		struct ip a = ip_v4(ip_to_v4(range.addr) + (uint32_t)rng_below(&rng, 1 << 20));
		struct prefix p = { .addr = { .family = 6 }, .len = (uint8_t)rng_between(&rng, 8, 108) };
		rng_fill(&rng, p.addr.b, 16);
		p = prefix_network(p);
		struct ip six = plugin_addr6(range, p, a);
		assert_true(prefix_contains(p, six) && plugin_addr4(range, p, six, &v4) && ip_eq(v4, a));
	}
	assert_false(plugin_addr4(range, pool, ip("fd00:40::10:0"), &v4)); /* belongs to none of the range */
	assert_false(plugin_addr4(range, pool, ip("fd00:40::1:0:0:5"), &v4));
	assert_false(plugin_addr4(range, pool, ip("fd00:41::5"), &v4));
	assert_false(plugin_addr4(range, pool, ip("10.32.0.5"), &v4));
}

static void ids(void **state)
{
	static const char *const good[] = { "weft-10.40.0.0_16-169.254.3.4", "weft-10.40.0.0_16-10.40.1.0_24-169.254.3.4",
		"weft-any-10.32.0.0_12-169.254.254.255", "weftg-any-10.32.0.0_12-240.1.2.3", "weft-fd00:40::_64-fe80::1",
		"weft-fd00:40::_64-fd00:40::_96-fe80::1:2:3:4" };
	static const char *const bad[] = { "", "weft", "weft-", "weftx-10.40.0.0_16-169.254.3.4", "weft-10.40.0.0_16",
		"weft-10.40.0.0_16-", "weft-10.40.0.1_16-169.254.3.4", "weft-10.40.0.0_16-10.41.0.0_24-169.254.3.4",
		"weft-10.40.0.0_16-10.40.0.0_8-169.254.3.4", "weft-10.40.0.0_16-10.1.1.1", "weft-10.40.0.0_16-fe80::1",
		"weft-10.40.0.0/16-169.254.3.4", "weft-10.40.0.0_16-169.254.3.4-", "weft-010.40.0.0_16-169.254.3.4",
		"weft-any-any-10.32.0.0_12-169.254.3.4", "dockerip" };
	struct plugin_pool_id id;
	char text[PLUGIN_POOL_ID_MAX + 1];

	(void)state;
	for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++) {
		assert_int_equal(plugin_pool_id_parse(good[i], &id), ERR_OK);
		plugin_pool_id_format(&id, text);
		assert_string_equal(text, good[i]);
	}
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		if (plugin_pool_id_parse(bad[i], &id) == ERR_OK)
			fail_msg("'%s' was taken", bad[i]);
}

static void tags(void **state)
{
	struct rng rng;

	(void)state;
	rng_seed(&rng, 2);
	for (int i = 0; i < 100000; i++) {
		uint64_t r = rng_u64(&rng);
		for (int k = 0; k < 4; k++) {
			struct ip t = plugin_tag(k % 2 == 1, k >= 2, r);
			assert_true(plugin_is_tag(t) && t.family == (k % 2 == 1 ? 6 : 4));
			assert_false(ip_eq(t, ip("169.254.67.83")) || ip_eq(t, ip("255.255.255.255")));
		}
	}
	assert_false(plugin_is_tag(ip("10.40.0.1")) || plugin_is_tag(ip("fd00::1")));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(bodies),
		cmocka_unit_test(as_dockerd_has_them),
		cmocka_unit_test(what_is_wrong_is_said),
		cmocka_unit_test(as_docker_tells),
		cmocka_unit_test(whose_addresses),
		cmocka_unit_test(what_docker_cannot_mean),
		cmocka_unit_test(slices),
		cmocka_unit_test(both_families),
		cmocka_unit_test(ids),
		cmocka_unit_test(tags),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
