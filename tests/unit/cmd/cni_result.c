/* What weft-cni answers, in the form of each version of the spec. */
#include <stdlib.h>
#include <string.h>

#include "tests/unit/base/cmocka_all.h"

#include "cmd/weft_cni.h"

static struct prefix prefix_at(const char *text)
{
	struct prefix p = { 0 };

	assert_int_equal(prefix_parse(text, &p), ERR_OK);
	return p;
}

static struct ip ip_at(const char *text)
{
	struct ip a;

	assert_int_equal(ip_parse(text, &a), ERR_OK);
	return a;
}

static struct cni_result sample(void)
{
	struct cni_result r = {
		.ifaces = { { .name = "vethwe1", .mac = "02:00:00:00:00:01", .mtu = 1406 },
			{ .name = "eth0", .mac = "02:00:00:00:00:02", .mtu = 1406, .sandbox = "/run/netns/x" } },
		.n_ifaces = 2,
		.n_ips = 2,
		.n_routes = 2,
	};

	r.ips[0] = (struct cni_ip){ .addr = prefix_at("10.32.0.9/12"), .gw = ip_at("10.32.0.1"), .iface = 1 };
	r.ips[1] = (struct cni_ip){ .addr = prefix_at("fd00::9/64"), .iface = 1 };
	r.routes[0] = (struct cni_route){ .dst = prefix_at("0.0.0.0/0"), .gw = ip_at("10.32.0.1") };
	r.routes[1] = (struct cni_route){ .dst = prefix_at("10.9.0.0/16") };
	return r;
}

static void expect(json_t *got, const char *want)
{
	json_error_t at;
	json_t *doc = json_loads(want, 0, &at);

	assert_non_null(doc);
	assert_non_null(got);
	if (!json_equal(got, doc)) {
		char *text = json_dumps(got, 0);
		fail_msg("got %s, wanted %s", text, want);
	}
	json_decref(doc);
	json_decref(got);
}

#define ROUTES                                                                                    \
	"\"routes\": [{\"dst\": \"0.0.0.0/0\", \"gw\": \"10.32.0.1\"}, {\"dst\": \"10.9.0.0/16\"}], " \
	"\"dns\": {\"nameservers\": [\"169.254.67.83\"]}}"
#define IFACES                                                                   \
	"\"interfaces\": [{\"name\": \"vethwe1\", \"mac\": \"02:00:00:00:00:01\"}, " \
	"{\"name\": \"eth0\", \"mac\": \"02:00:00:00:00:02\", \"sandbox\": \"/run/netns/x\"}], "
#define IPS_1                                                                                   \
	"\"ips\": [{\"address\": \"10.32.0.9/12\", \"gateway\": \"10.32.0.1\", \"interface\": 1}, " \
	"{\"address\": \"fd00::9/64\", \"interface\": 1}], "
#define IPS_0                                                                                                       \
	"\"ips\": [{\"version\": \"4\", \"address\": \"10.32.0.9/12\", \"gateway\": \"10.32.0.1\", \"interface\": 1}, " \
	"{\"version\": \"6\", \"address\": \"fd00::9/64\", \"interface\": 1}], "

static void test_each_version_has_its_form(void **state)
{
	struct cni_result r = sample();
	json_t *dns = json_pack("{s:[s]}", "nameservers", "169.254.67.83");

	(void)state;
	r.dns = dns;
	expect(cni_result_json(&r, CNI_0_3_1, NULL), "{\"cniVersion\": \"0.3.1\", " IFACES IPS_0 ROUTES);
	expect(cni_result_json(&r, CNI_0_4_0, NULL), "{\"cniVersion\": \"0.4.0\", " IFACES IPS_0 ROUTES);
	expect(cni_result_json(&r, CNI_1_0_0, NULL), "{\"cniVersion\": \"1.0.0\", " IFACES IPS_1 ROUTES);
	expect(cni_result_json(&r, CNI_1_1_0, NULL),
		"{\"cniVersion\": \"1.1.0\", \"interfaces\": [{\"name\": \"vethwe1\", \"mac\": \"02:00:00:00:00:01\", \"mtu\": 1406}, "
		"{\"name\": \"eth0\", \"mac\": \"02:00:00:00:00:02\", \"mtu\": 1406, \"sandbox\": \"/run/netns/x\"}], " IPS_1 ROUTES);
	json_decref(dns);
}

/* What plugins before us in a list have made stays first, and our addresses point to our interfaces behind theirs. */
static void test_ours_comes_behind_what_was_there(void **state)
{
	json_t *prev = json_loads(
		"{\"cniVersion\": \"1.0.0\", \"interfaces\": [{\"name\": \"lo\"}], \"ips\": [{\"address\": \"127.0.0.1/8\", \"interface\": "
		"0}], \"routes\": [], \"dns\": {\"domain\": \"first\"}}",
		0, NULL);
	struct cni_result r = sample();
	json_t *dns = json_pack("{s:[s]}", "nameservers", "169.254.67.83");

	(void)state;
	r.dns = dns;
	json_t *got = cni_result_json(&r, CNI_1_0_0, prev);
	assert_int_equal(json_array_size(json_object_get(got, "interfaces")), 3);
	const json_t *ip = json_array_get(json_object_get(got, "ips"), 1);
	assert_string_equal(json_string_value(json_object_get(ip, "address")), "10.32.0.9/12");
	assert_int_equal(json_integer_value(json_object_get(ip, "interface")), 2);
	assert_string_equal(json_string_value(json_object_get(json_object_get(got, "dns"), "domain")), "first");
	assert_int_equal(json_array_size(json_object_get(prev, "interfaces")), 1); /* prev itself is as it was */
	json_decref(got);
	json_decref(prev);
	json_decref(dns);
}

static void test_what_is_written_is_read(void **state)
{
	const struct cni_result want = sample();

	(void)state;
	for (int v = 0; v < CNI_VERSIONS; v++) {
		struct cni_result r;
		struct cni_error e;
		json_t *doc = cni_result_json(&want, (enum cni_version)v, NULL);
		assert_int_equal(cni_result_parse(doc, &r, &e), CNI_OK);
		assert_int_equal(r.n_ifaces, 2);
		assert_string_equal(r.ifaces[1].name, "eth0");
		assert_string_equal(r.ifaces[1].mac, "02:00:00:00:00:02");
		assert_string_equal(r.ifaces[1].sandbox, "/run/netns/x");
		assert_null(r.ifaces[0].sandbox);
		assert_int_equal(r.n_ips, 2);
		assert_true(prefix_eq(r.ips[0].addr, want.ips[0].addr) && ip_eq(r.ips[0].gw, want.ips[0].gw));
		assert_int_equal(r.ips[1].iface, 1);
		assert_int_equal(r.n_routes, 2);
		assert_true(prefix_eq(r.routes[0].dst, want.routes[0].dst) && ip_eq(r.routes[0].gw, want.routes[0].gw));
		json_decref(doc);
	}
}

static void test_results_that_are_none_are_refused(void **state)
{
	static const char *const wrong[] = { "[]", "{\"ips\": [{}]}", "{\"ips\": [{\"address\": \"10.0.0.1\"}]}", "{\"ips\": [7]}",
		"{\"ips\": [{\"address\": \"10.0.0.1/8\", \"gateway\": \"fd00::1\"}]}", "{\"interfaces\": [{}]}",
		"{\"interfaces\": [{\"name\": \"sixteen-is-a-lot\"}]}", "{\"routes\": [{\"dst\": \"x\"}]}", "{\"routes\": [null]}" };
	struct cni_result r;
	struct cni_error e;

	(void)state;
	for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
		json_t *doc = json_loads(wrong[i], 0, NULL);
		assert_non_null(doc);
		if (cni_result_parse(doc, &r, &e) == CNI_OK)
			fail_msg("%s is taken for a result", wrong[i]);
		json_decref(doc);
	}
	json_t *doc = json_object(), *ips = json_array();
	for (int i = 0; i <= CNI_IPS_MAX; i++)
		(void)json_array_append_new(ips, json_pack("{s:s}", "address", "10.0.0.1/8"));
	(void)json_object_set_new(doc, "ips", ips);
	assert_int_equal(cni_result_parse(doc, &r, &e), CNI_DECODE);
	json_decref(doc);
}

static void test_errors(void **state)
{
	struct cni_error e = { 0 };

	(void)state;
	assert_int_equal(cni_fail(&e, CNI_BAD_CONF, "no %s", "good"), CNI_BAD_CONF);
	expect(cni_error_json(&e, "0.4.0"), "{\"cniVersion\": \"0.4.0\", \"code\": 7, \"msg\": \"no good\"}");
	strcpy(e.details, "at all");
	expect(
		cni_error_json(&e, "1.1.0"), "{\"cniVersion\": \"1.1.0\", \"code\": 7, \"msg\": \"no good\", \"details\": \"at all\"}");
	(void)cni_fail(&e, CNI_BAD_ENV, "bytes \xff\xfe");
	json_t *doc = cni_error_json(&e, "1.1.0");
	assert_non_null(doc);
	assert_int_equal(json_integer_value(json_object_get(doc, "code")), CNI_BAD_ENV);
	json_decref(doc);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_each_version_has_its_form),
		cmocka_unit_test(test_ours_comes_behind_what_was_there),
		cmocka_unit_test(test_what_is_written_is_read),
		cmocka_unit_test(test_results_that_are_none_are_refused),
		cmocka_unit_test(test_errors),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
