/* Text from documents, requests' texts taken apart, labels escaped. What the documents hold is tested end to end. */
#include "tests/unit/base/cmocka_all.h"

#include <string.h>

#include "base/mem.h"
#include "router/api_request.h"
#include "router/metrics.h"
#include "router/status.h"

static void expect_text(enum status_part part, const char *json, const char *want)
{
	struct wbuf w;
	json_t *doc = json_loads(json, 0, NULL);

	assert_non_null(doc);
	wbuf_grow(&w, 1 << 16);
	status_text(part, doc, &w);
	wbuf_u8(&w, 0);
	assert_int_equal(wbuf_end(&w), ERR_OK);
	assert_string_equal((const char *)w.data, want);
	wbuf_free(&w);
	json_decref(doc);
}

static void connections(void **state)
{
	(void)state;
	expect_text(STATUS_CONNECTIONS,
		"{\"connections\": [{\"outbound\": true, \"address\": \"10.99.0.2:6783\", \"state\": \"established\", \"path\": \"fast\","
		"\"peer\": \"02:00:00:00:00:02\", \"nickname\": \"h2\", \"mtu\": 1450, \"reason\": \"both ends  offer it\", \"since\": 0.5,"
		"\"rtt_ms\": 0.254, \"encrypted\": false},"
		"{\"outbound\": false, \"address\": \"10.99.0.3:40000\", \"state\": \"failed\", \"path\": null, \"peer\": null, \"nickname\": \"\","
		"\"mtu\": 0, \"reason\": \"wrong password\", \"since\": 86400.0, \"rtt_ms\": null, \"encrypted\": true}]}",
		"-> 10.99.0.2:6783 established fast 02:00:00:00:00:02(h2) mtu=1450 reason=both-ends-offer-it since=1970-01-01T00:00:00Z rtt=0.25ms "
		"encrypted=no\n"
		"<- 10.99.0.3:40000 failed - - mtu=- reason=wrong-password since=1970-01-02T00:00:00Z rtt=- encrypted=yes\n");
	expect_text(STATUS_CONNECTIONS, "{\"connections\": []}", "");
	expect_text(STATUS_CONNECTIONS,
		"{\"connections\": [{\"outbound\": null, \"address\": \"10.99.0.3:6783\", \"state\": \"indirect\", \"path\": \"relay\","
		"\"peer\": \"02:00:00:00:00:03\", \"nickname\": \"h3\", \"via\": \"02:00:00:00:00:02\", \"via_nickname\": \"h2\", \"mtu\": 1406,"
		"\"reason\": \"no-answer\", \"since\": 0.5, \"rtt_ms\": null, \"encrypted\": true}]}",
		"-- 10.99.0.3:6783 indirect relay 02:00:00:00:00:03(h3) mtu=1406 reason=no-answer since=1970-01-01T00:00:00Z rtt=- "
		"encrypted=yes via=02:00:00:00:00:02(h2)\n");
	expect_text(STATUS_CONNECTIONS,
		"{\"connections\": [{\"outbound\": true, \"address\": \"h\", \"state\": \"connecting\", \"reason\": \"\"}]}",
		"-> h connecting - - mtu=- reason=- since=1970-01-01T00:00:00Z rtt=- encrypted=no\n");
}

static void peers_and_targets(void **state)
{
	(void)state;
	expect_text(STATUS_PEERS,
		"{\"peers\": [{\"name\": \"02:00:00:00:00:01\", \"nickname\": \"h1\", \"reachable\": true, \"connections\": [{\"name\": "
		"\"02:00:00:00:00:02\", \"nickname\": \"h2\", \"address\": \"10.99.0.2:6783\", \"outbound\": true, \"established\": true}]},"
		"{\"name\": \"02:00:00:00:00:02\", \"nickname\": \"h\\u001b2\", \"reachable\": false, \"connections\": [{\"name\": "
		"\"02:00:00:00:00:01\", \"nickname\": \"h1\", \"address\": null, \"outbound\": null, \"established\": false}]}]}",
		"02:00:00:00:00:01(h1)\n"
		"   -> 10.99.0.2:6783        02:00:00:00:00:02(h2)                 established\n"
		"02:00:00:00:00:02(h?2) - unreachable!\n"
		"   --                       02:00:00:00:00:01(h1)                 pending\n");
	expect_text(STATUS_TARGETS, "{\"targets\": [\"10.99.0.1\", \"h:7\"]}", "10.99.0.1\nh:7\n");
}

static void ipam(void **state)
{
	(void)state;
	expect_text(STATUS_IPAM,
		"{\"status\": \"ready\", \"peers\": [{\"name\": \"02:00:00:00:00:01\", \"nickname\": \"h1\", \"addresses\": 786304, \"percent\": 74.99,"
		"\"reachable\": true, \"active\": 3}, {\"name\": \"02:00:00:00:00:02\", \"nickname\": \"h2\", \"addresses\": 128, \"percent\": 0.012,"
		"\"reachable\": false, \"active\": null}], \"pending\": [], \"conflict\": null}",
		"02:00:00:00:00:01(h1)                   786304 IPs (75.0% of total) (3 active)\n"
		"02:00:00:00:00:02(h2)                      128 IPs (00.0% of total) - unreachable!\n");
	expect_text(STATUS_IPAM,
		"{\"status\": \"awaiting consensus (quorum: 2, known: 1)\", \"peers\": [], \"conflict\": null, \"pending\": [{\"kind\": \"allocate\","
		"\"ident\": \"c1\", \"subnet\": \"10.32.0.0/12\", \"reason\": \"awaiting consensus\"}]}",
		"awaiting consensus (quorum: 2, known: 1): nothing is decided yet, the first request for an address starts the agreement\n"
		"pending: allocate c1 10.32.0.0/12: awaiting consensus\n");
}

static void names_and_containers(void **state)
{
	(void)state;
	expect_text(STATUS_DNS,
		"{\"domain\": \"weft.local.\", \"entries\": [{\"hostname\": \"pingme.weft.local.\", \"address\": \"10.32.0.1\", \"container\": \"cont1\","
		"\"origin\": \"02:00:00:00:00:01\", \"reachable\": true}, {\"hostname\": \"weft.local.\", \"address\": \"10.44.0.0\","
		"\"container\": \"cont22222222333\", \"origin\": \"02:00:00:00:00:02\", \"reachable\": false}]}",
		"pingme       10.32.0.1              cont1 02:00:00:00:00:01\n"
		"weft.local.  10.44.0.0       cont22222222 02:00:00:00:00:02 - unreachable!\n");
	expect_text(STATUS_PS,
		"{\"containers\": [{\"id\": \"c1\", \"mac\": \"02:00:00:00:00:0a\", \"addresses\": [\"10.32.0.1/12\", \"10.2.0.1/24\"]}]}",
		"c1 02:00:00:00:00:0a 10.32.0.1/12 10.2.0.1/24\n");
	expect_text(STATUS_PS,
		"{\"containers\": [{\"id\": \"c1\", \"mac\": \"02:00:00:00:00:0a\", \"addresses\": [\"10.32.0.1/12\"], \"network\": \"weft\"},"
		"{\"id\": \"c2\", \"mac\": \"02:00:00:00:00:0b\", \"addresses\": [\"10.40.0.1/16\"], \"network\": \"blue\"}]}",
		"c1 02:00:00:00:00:0a 10.32.0.1/12\nc2 02:00:00:00:00:0b 10.40.0.1/16 network=blue\n");
	expect_text(STATUS_NETWORKS,
		"{\"networks\": [{\"name\": \"weft\", \"number\": 0, \"subnet\": \"10.32.0.0/12\", \"subnet6\": null, \"containers\": 3, "
		"\"local_containers\": 1}, {\"name\": \"blue\", \"number\": 7, \"subnet\": null, \"subnet6\": \"fd00:1::/64\", \"containers\": 0, "
		"\"local_containers\": 0}]}",
		"weft number=0 subnet=10.32.0.0/12 subnet6=- containers=3 here=1\n"
		"blue number=7 subnet=- subnet6=fd00:1::/64 containers=0 here=0\n");
}

static void overview(void **state)
{
	(void)state;
	expect_text(STATUS_ALL,
		"{\"version\": \"9\", \"router\": {\"name\": \"02:00:00:00:00:01\", \"nickname\": \"h1\", \"encryption\": true, \"peer_discovery\": false,"
		"\"fast_path\": true, \"targets\": 2, \"connections\": {\"total\": 3, \"established\": 2, \"failed\": 1}, \"peers\": {\"total\": 3,"
		"\"established\": 6}, \"trusted_subnets\": [\"10.0.0.0/8\", \"fd00::/8\"], \"health\": \"ok\"}}",
		"        Version: 9\n\n        Service: router\n           Name: 02:00:00:00:00:01(h1)\n     Encryption: enabled\n"
		"  PeerDiscovery: disabled\n       FastPath: enabled\n        Targets: 2\n    Connections: 3 (2 established, 1 failed)\n"
		"          Peers: 3 (with 6 established connections)\n TrustedSubnets: 10.0.0.0/8, fd00::/8\n         Health: ok\n");
}

static void dataplane(void **state)
{
	(void)state;
	expect_text(STATUS_ALL,
		"{\"version\": \"9\", \"router\": {\"fast_path\": true, \"health\": \"ok\"}, \"dataplane\": {\"networks\": [{\"name\": \"weft\", "
		"\"fast\": true, \"capture\": \"tap\"}, {\"name\": \"blue\", \"fast\": false, \"capture\": \"pcap\"}, {\"name\": \"red\", "
		"\"fast\": true, \"capture\": null}], \"queues\": 2, \"filter\": true, \"container_mtu\": 1406, \"sessions\": {\"count\": 3, "
		"\"begun\": 2, \"renewed\": 1}, \"troubles\": [{\"text\": \"no USO\", \"broken\": false}, {\"text\": \"weft-tap is gone\", "
		"\"broken\": true}], \"health\": \"degraded\"}}",
		"        Version: 9\n\n        Service: router\n           Name: -\n     Encryption: disabled\n"
		"  PeerDiscovery: disabled\n       FastPath: enabled\n        Targets: 0\n    Connections: 0\n"
		"          Peers: 0\n TrustedSubnets: none\n         Health: ok\n\n        Service: dataplane\n"
		"       Networks: weft (fast, tap), blue (pcap), red (fast)\n        Threads: 2\n         Filter: nftables\n            MTU: 1406\n"
		"       Sessions: 3 (2 begun, 1 renewed)\n          Lacks: no USO\n        Trouble: weft-tap is gone\n         Health: degraded\n");
}

static void path_and_form(void **state)
{
	struct api_request q = { 0 };

	(void)state;
	assert_int_equal(api_split_path(&q, "/ip/netns:%2Frun%2fx/"), ERR_OK);
	assert_int_equal(q.n_segments, 3);
	assert_string_equal(q.segments[1], "netns:/run/x");
	assert_string_equal(q.segments[2], "");
	assert_int_equal(api_split_form(&q, slice_str("peer=a+b&peer=%5Bfd00::1%5D&&replace=true&odd")), ERR_OK);
	assert_string_equal(api_param(&q, "peer", 0), "a b");
	assert_string_equal(api_param(&q, "peer", 1), "[fd00::1]");
	assert_null(api_param(&q, "peer", 2));
	assert_string_equal(api_param(&q, "replace", 0), "true");
	assert_string_equal(api_param(&q, "odd", 0), "");
	api_request_clear(&q);
}

static void docker(void **state)
{
	(void)state;
	expect_text(STATUS_DOCKER,
		"{\"docker\": {\"host\": \"unix:///d\", \"version\": \"20.10\", \"containers\": 3, \"named\": 2, \"attached\": 1, \"trouble\": null,"
		"\"health\": \"ok\"}}",
		"        Service: docker\n           Host: unix:///d (Docker 20.10)\n"
		"     Containers: 3 running, 2 endpoints named, 1 kept attached\n         Health: ok\n");
	expect_text(STATUS_DOCKER,
		"{\"docker\": {\"host\": \"unix:///d\", \"version\": \"\", \"trouble\": \"no\\u001bbody\", \"health\": \"absent\"}}",
		"        Service: docker\n           Host: unix:///d\n"
		"     Containers: 0 running, 0 endpoints named, 0 kept attached\n        Trouble: no?body\n         Health: absent\n");
	expect_text(
		STATUS_DOCKER, "{\"docker\": {\"host\": \"\", \"health\": \"off\"}}", "        Service: docker\n         Health: off\n");
}

static void bad_escapes(void **state)
{
	static const char *const bad[] = { "/a%", "/a%1", "/a%g1", "/a%1g", "/%00", "a", "" };

	(void)state;
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		struct api_request q = { 0 };
		assert_int_equal(api_split_path(&q, bad[i]), ERR_MALFORMED);
		api_request_clear(&q);
		assert_int_equal(mem_live(), 0);
	}
	struct api_request q = { 0 };
	assert_int_equal(api_split_path(&q, "/1/2/3/4/5/6/7/8/9"), ERR_LIMIT);
	api_request_clear(&q);
	/* a cut escape at the very end of what there is to read */
	const uint8_t cut[] = { 'a', '=', '%', '4' };
	assert_int_equal(api_split_form(&q, slice_of(cut, sizeof(cut))), ERR_MALFORMED);
	assert_int_equal(api_split_form(&q, slice_of("a=%41", 5)), ERR_OK);
	assert_string_equal(api_param(&q, "a", 0), "A");
	api_request_clear(&q);
	assert_int_equal(mem_live(), 0);
}

static void codes(void **state)
{
	(void)state;
	assert_int_equal(api_code_of(ERR_MALFORMED), 400);
	assert_int_equal(api_code_of(ERR_NOT_FOUND), 404);
	assert_int_equal(api_code_of(ERR_CONFLICT), 409);
	assert_int_equal(api_code_of(ERR_FULL), 503);
	assert_int_equal(api_code_of(ERR_SYSTEM), 500);
}

static void labels(void **state)
{
	char out[64];

	(void)state;
	assert_string_equal(metrics_escape("plain", out, sizeof(out)), "plain");
	assert_string_equal(metrics_escape("a\"b\\c\nd\x01\xff", out, sizeof(out)), "a\\\"b\\\\c\\nd??");
	assert_true(strlen(metrics_escape("\"\"\"\"\"\"\"\"\"\"", out, 8)) < 8);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(connections),
		cmocka_unit_test(peers_and_targets),
		cmocka_unit_test(ipam),
		cmocka_unit_test(names_and_containers),
		cmocka_unit_test(overview),
		cmocka_unit_test(dataplane),
		cmocka_unit_test(path_and_form),
		cmocka_unit_test(docker),
		cmocka_unit_test(bad_escapes),
		cmocka_unit_test(codes),
		cmocka_unit_test(labels),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
