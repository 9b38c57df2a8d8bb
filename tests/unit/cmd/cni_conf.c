/* What a container runtime says to weft-cni: environment and configuration. */
#include <stdio.h>
#include <string.h>

#include "tests/unit/base/cmocka_all.h"

#include "cmd/weft_cni.h"

#define HEAD "\"cniVersion\": \"1.0.0\", \"name\": \"net\", \"type\": \"weft-cni\""

static const struct cni_env plain = {
	.command = "ADD", .id = "abc", .netns = "/run/netns/x", .ifname = "eth0", .path = "/opt/cni/bin"
};

static int parse_env(struct cni_conf *c, struct cni_env env, const char *text, struct cni_error *e)
{
	return cni_conf_parse(c, &env, text, strlen(text), e);
}

/* Parses with ADD; the caller frees c. */
static int parse(struct cni_conf *c, const char *text, struct cni_error *e)
{
	return parse_env(c, plain, text, e);
}

static void test_all_of_a_configuration_is_read(void **state)
{
	struct cni_conf c;
	struct cni_error e;
	char text[IP_TEXT];

	(void)state;
	int code = parse(&c,
		"{" HEAD ", \"socket\": \"/tmp/s\", \"network\": \"blue\", \"ipam\": {\"type\": \"weft\", \"subnet\": \"10.32.4.0/24\", "
		"\"gateway\": \"10.32.4.1\", \"routes\": [{\"dst\": \"0.0.0.0/0\"}, {\"dst\": \"10.1.2.3/8\", \"gw\": \"10.32.4.9\"}]}, "
		"\"isGateway\": true, \"isDefaultGateway\": false, \"hairpinMode\": false, \"ipMasq\": false, \"multicastRoute\": false, \"mtu\": 1400, "
		"\"dns\": {\"nameservers\": [\"1.1.1.1\"], \"domain\": \"d\", \"search\": [\"s\"], \"options\": [\"o\"]}, "
		"\"capabilities\": {\"ips\": true}, \"cni.dev/attachments\": [], \"args\": {\"cni\": {\"mac\": \"02:00:00:00:00:09\", \"labels\": []}}, "
		"\"runtimeConfig\": {\"ips\": [\"10.32.4.7\", \"10.32.4.8/24\"], \"mac\": \"02:00:00:00:00:01\", \"portMappings\": null, "
		"\"aliases\": {\"net\": [\"web\"], \"other\": [\"no\"]}, "
		"\"bandwidth\": {\"ingressRate\": 1000000, \"ingressBurst\": 80000, \"egressRate\": 2000000, \"egressBurst\": 0}}}",
		&e);
	assert_int_equal(code, CNI_OK);
	assert_int_equal(c.command, CNI_ADD);
	assert_int_equal(c.version, CNI_1_0_0);
	assert_string_equal(c.ident, "cni:abc/eth0/net");
	assert_string_equal(c.socket, "/tmp/s");
	assert_string_equal(c.network, "blue");
	assert_string_equal(c.subnet, "10.32.4.0/24");
	assert_null(c.ipam);
	assert_string_equal(ip_format(c.gateway, text), "10.32.4.1");
	assert_true(c.routes_given);
	assert_int_equal(c.n_routes, 2);
	assert_int_equal(c.routes[0].gw.family, 0);
	assert_string_equal(ip_format(c.routes[1].dst.addr, text), "10.0.0.0");
	assert_string_equal(ip_format(c.routes[1].gw, text), "10.32.4.9");
	assert_int_equal(c.is_gateway, CNI_YES);
	assert_int_equal(c.is_default_gateway, CNI_NO);
	assert_false(c.hairpin || c.masquerade || c.multicast);
	assert_true(c.names);
	assert_int_equal(c.mtu, 1400);
	assert_string_equal(json_string_value(json_array_get(json_object_get(c.dns, "nameservers"), 0)), "1.1.1.1");
	assert_int_equal(c.n_ips, 2);
	assert_int_equal(c.ips[0].len, CNI_LEN_UNSAID);
	assert_int_equal(c.ips[1].len, 24);
	assert_string_equal(c.mac, "02:00:00:00:00:01");
	assert_int_equal(c.n_aliases, 1);
	assert_string_equal(c.aliases[0], "web");
	assert_int_equal(c.in.bits_s, 1000000);
	assert_int_equal(c.in.burst_bits, 80000);
	assert_int_equal(c.out.bits_s, 2000000);
	cni_conf_free(&c);
}

static void test_what_is_not_said_has_its_usual_value(void **state)
{
	struct cni_conf c;
	struct cni_error e;

	(void)state;
	assert_int_equal(parse(&c, "{" HEAD "}", &e), CNI_OK);
	assert_null(c.network);
	assert_null(c.subnet);
	assert_null(c.ipam);
	assert_null(c.socket);
	assert_null(c.dns);
	assert_true(c.hairpin && c.masquerade && c.multicast && c.names);
	assert_false(c.routes_given);
	assert_int_equal(c.is_gateway, CNI_UNSAID);
	assert_int_equal(c.n_ips, 0);
	cni_conf_free(&c);
	assert_int_equal(parse(&c, "{" HEAD ", \"ipam\": {}, \"dns\": {}, \"runtimeConfig\": {\"ips\": null}}", &e), CNI_OK);
	assert_non_null(c.dns); /* said to be nothing */
	cni_conf_free(&c);
}

static void test_an_ipam_plugin_has_its_section_for_itself(void **state)
{
	struct cni_conf c;
	struct cni_error e;

	(void)state;
	assert_int_equal(parse(&c,
						 "{" HEAD ", \"ipam\": {\"type\": \"host-local\", \"ranges\": [[{\"subnet\": \"10.9.0.0/24\"}]]}, "
						 "\"runtimeConfig\": {\"ipRanges\": [[{\"subnet\": \"10.9.0.0/24\"}]]}}",
						 &e),
		CNI_OK);
	assert_string_equal(c.ipam, "host-local");
	cni_conf_free(&c);
}

/* Each with its code and a word that the message has to hold. */
static void test_wrong_configurations_are_refused_with_what_is_wrong(void **state)
{
	static const struct {
		const char *text;
		int code;
		const char *word;
	} wrong[] = {
		{ "", CNI_DECODE, "no configuration" },
		{ "{", CNI_DECODE, "cannot be read" },
		{ "[]", CNI_DECODE, "object" },
		{ "nonsense", CNI_DECODE, "cannot be read" },
		{ "{\"cniVersion\": \"1.0.0\", \"cniVersion\": \"1.0.0\", \"name\": \"a\"}", CNI_DECODE, "duplicate" },
		{ "{\"name\": \"a\"}", CNI_BAD_VERSION, "0.1.0" },
		{ "{\"cniVersion\": \"2.0.0\", \"name\": \"a\"}", CNI_BAD_VERSION, "2.0.0" },
		{ "{\"cniVersion\": 1, \"name\": \"a\"}", CNI_BAD_CONF, "cniVersion" },
		{ "{\"cniVersion\": \"1.0.0\"}", CNI_BAD_CONF, "name" },
		{ "{\"cniVersion\": \"1.0.0\", \"name\": \"\"}", CNI_BAD_CONF, "name" },
		{ "{\"cniVersion\": \"1.0.0\", \"name\": \"a/b\"}", CNI_BAD_CONF, "name" },
		{ "{\"cniVersion\": \"1.0.0\", \"name\": {}}", CNI_BAD_CONF, "name" },
		{ "{" HEAD ", \"hairpinmode\": true}", CNI_UNSUPPORTED, "hairpinmode" },
		{ "{" HEAD ", \"hairpinMode\": 1}", CNI_BAD_CONF, "hairpinMode" },
		{ "{" HEAD ", \"mtu\": \"1400\"}", CNI_BAD_CONF, "mtu" },
		{ "{" HEAD ", \"mtu\": 1e3}", CNI_BAD_CONF, "mtu" },
		{ "{" HEAD ", \"mtu\": 100}", CNI_BAD_CONF, "mtu" },
		{ "{" HEAD ", \"mtu\": -1400}", CNI_BAD_CONF, "mtu" },
		{ "{" HEAD ", \"mtu\": 99999999999}", CNI_BAD_CONF, "mtu" },
		{ "{" HEAD ", \"socket\": \"weft.sock\"}", CNI_BAD_CONF, "socket" },
		{ "{" HEAD ", \"network\": \"\"}", CNI_BAD_CONF, "network" },
		{ "{" HEAD ", \"network\": \"a b\"}", CNI_BAD_CONF, "network" },
		{ "{" HEAD ", \"isGateway\": false, \"isDefaultGateway\": true}", CNI_BAD_CONF, "isGateway" },
		{ "{" HEAD ", \"ipam\": \"weft\"}", CNI_BAD_CONF, "ipam" },
		{ "{" HEAD ", \"ipam\": {\"type\": 5}}", CNI_BAD_CONF, "ipam.type" },
		{ "{" HEAD ", \"ipam\": {\"type\": \"../../../bin/sh\"}}", CNI_BAD_CONF, "ipam.type" },
		{ "{" HEAD ", \"ipam\": {\"type\": \"/bin/sh\"}}", CNI_BAD_CONF, "ipam.type" },
		{ "{" HEAD ", \"ipam\": {\"type\": \"..\"}}", CNI_BAD_CONF, "ipam.type" },
		{ "{" HEAD ", \"ipam\": {\"subnet\": \"10.32.0.1/24\"}}", CNI_BAD_CONF, "subnet" },
		{ "{" HEAD ", \"ipam\": {\"ranges\": []}}", CNI_UNSUPPORTED, "ipam.ranges" },
		{ "{" HEAD ", \"ipam\": {\"routes\": [{}]}}", CNI_BAD_CONF, "dst" },
		{ "{" HEAD ", \"ipam\": {\"routes\": [{\"dst\": \"10.0.0.0/8\", \"gw\": \"fd00::1\"}]}}", CNI_BAD_CONF, "gateway" },
		{ "{" HEAD ", \"ipam\": {\"routes\": [{\"dst\": \"10.0.0.0/8\", \"table\": 7}]}}", CNI_UNSUPPORTED, "table" },
		{ "{" HEAD ", \"ipam\": {\"gateway\": \"x\"}}", CNI_BAD_CONF, "gateway" },
		{ "{" HEAD ", \"dns\": {\"nameservers\": \"1.1.1.1\"}}", CNI_BAD_CONF, "dns" },
		{ "{" HEAD ", \"runtimeConfig\": {\"ips\": [\"10.0.0.300\"]}}", CNI_BAD_CONF, "10.0.0.300" },
		{ "{" HEAD ", \"runtimeConfig\": {\"ips\": [7]}}", CNI_BAD_CONF, "ips" },
		{ "{" HEAD ", \"runtimeConfig\": {\"ips\": \"10.0.0.1\"}}", CNI_BAD_CONF, "ips" },
		{ "{" HEAD ", \"runtimeConfig\": {\"mac\": \"ff:ff:ff:ff:ff:ff\"}}", CNI_BAD_CONF, "MAC" },
		{ "{" HEAD ", \"runtimeConfig\": {\"portMappings\": [{\"hostPort\": 1}]}}", CNI_UNSUPPORTED, "portmap" },
		{ "{" HEAD ", \"runtimeConfig\": {\"ipRanges\": [[]]}}", CNI_UNSUPPORTED, "ipRanges" },
		{ "{" HEAD ", \"runtimeConfig\": {\"infinibandGUID\": \"1\"}}", CNI_UNSUPPORTED, "infinibandGUID" },
		{ "{" HEAD ", \"runtimeConfig\": {\"bandwidth\": {\"ingressRate\": \"1\"}}}", CNI_BAD_CONF, "ingressRate" },
		{ "{" HEAD ", \"runtimeConfig\": {\"bandwidth\": {\"ingressRate\": -5}}}", CNI_BAD_CONF, "ingressRate" },
		{ "{" HEAD ", \"runtimeConfig\": {\"bandwidth\": {\"egressRate\": 7}}}", CNI_BAD_CONF, "egressRate" },
		{ "{" HEAD ", \"runtimeConfig\": {\"bandwidth\": {\"egressBurst\": 70000}}}", CNI_BAD_CONF, "egressRate" },
		{ "{" HEAD ", \"runtimeConfig\": {\"aliases\": {\"net\": \"web\"}}}", CNI_BAD_CONF, "aliases" },
		{ "{" HEAD ", \"runtimeConfig\": {\"aliases\": {\"net\": [\"\"]}}}", CNI_BAD_CONF, "alias" },
		{ "{" HEAD ", \"prevResult\": []}", CNI_BAD_CONF, "prevResult" },
		{ "{" HEAD ", \"cni.dev/valid-attachments\": [{\"containerID\": 1}]}", CNI_BAD_CONF, "valid-attachments" },
	};

	(void)state;
	for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
		struct cni_conf c;
		struct cni_error e;
		int code = parse(&c, wrong[i].text, &e);
		if (code != wrong[i].code || e.code != code || strstr(e.msg, wrong[i].word) == NULL)
			fail_msg("%s: code %d, %s", wrong[i].text, code, e.msg);
		cni_conf_free(&c);
	}
}

static void test_wrong_environments_are_refused_with_what_is_wrong(void **state)
{
	static const struct {
		const char *command, *id, *netns, *ifname, *args;
		const char *word;
	} wrong[] = {
		{ NULL, "a", "/n", "eth0", NULL, "CNI_COMMAND" },
		{ "", "a", "/n", "eth0", NULL, "CNI_COMMAND" },
		{ "add", "a", "/n", "eth0", NULL, "CNI_COMMAND" },
		{ "ADD", NULL, "/n", "eth0", NULL, "CNI_CONTAINERID" },
		{ "ADD", "", "/n", "eth0", NULL, "CNI_CONTAINERID" },
		{ "ADD", "../a", "/n", "eth0", NULL, "CNI_CONTAINERID" },
		{ "ADD", "a/b", "/n", "eth0", NULL, "CNI_CONTAINERID" },
		{ "ADD", "-a", "/n", "eth0", NULL, "CNI_CONTAINERID" },
		{ "ADD", "a", NULL, "eth0", NULL, "CNI_NETNS" },
		{ "ADD", "a", "", "eth0", NULL, "CNI_NETNS" },
		{ "CHECK", "a", NULL, "eth0", NULL, "CNI_NETNS" },
		{ "ADD", "a", "netns", "eth0", NULL, "CNI_NETNS" },
		{ "ADD", "a", "/n", NULL, NULL, "CNI_IFNAME" },
		{ "ADD", "a", "/n", "", NULL, "CNI_IFNAME" },
		{ "ADD", "a", "/n", "sixteen-is-a-lot", NULL, "CNI_IFNAME" },
		{ "ADD", "a", "/n", "et h0", NULL, "CNI_IFNAME" },
		{ "ADD", "a", "/n", "..", NULL, "CNI_IFNAME" },
		{ "ADD", "a", "/n", "a/b", NULL, "CNI_IFNAME" },
		{ "DEL", "a", "/n", NULL, NULL, "CNI_IFNAME" },
		{ "ADD", "a", "/n", "eth0", "IP", "KEY=VALUE" },
		{ "ADD", "a", "/n", "eth0", "IP=nonsense", "nonsense" },
		{ "ADD", "a", "/n", "eth0", "MAC=nonsense", "nonsense" },
		{ "ADD", "a", "/n", "eth0", "FOO=1", "FOO" },
		{ "ADD", "a", "/n", "eth0", "FOO=1;IgnoreUnknown=0", "FOO" },
	};
	struct cni_conf c;
	struct cni_error e;
	char id[200];

	(void)state;
	for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
		struct cni_env env = { wrong[i].command, wrong[i].id, wrong[i].netns, wrong[i].ifname, wrong[i].args, "/p", NULL };
		int code = parse_env(&c, env, "{" HEAD "}", &e);
		if (code != CNI_BAD_ENV || strstr(e.msg, wrong[i].word) == NULL)
			fail_msg("row %zu: code %d, %s", i, code, e.msg);
		cni_conf_free(&c);
	}
	memset(id, 'a', sizeof(id));
	id[sizeof(id) - 1] = '\0';
	struct cni_env env = plain;
	env.id = id;
	assert_int_equal(parse_env(&c, env, "{" HEAD "}", &e), CNI_BAD_ENV);
	cni_conf_free(&c);
	env.command = "DEL"; /* what ADD refuses has to be got rid of */
	assert_int_equal(parse_env(&c, env, "{" HEAD "}", &e), CNI_OK);
	assert_string_equal(c.ident, "");
	cni_conf_free(&c);
	env.command = plain.command;
	id[128 - 4 - 9] = '\0'; /* "cni:" and "/eth0/net": all that fit */
	assert_int_equal(parse_env(&c, env, "{" HEAD "}", &e), CNI_OK);
	assert_int_equal(strlen(c.ident), 128);
	cni_conf_free(&c);

	char text[512], name[202];
	memset(name, 'n', sizeof(name));
	name[sizeof(name) - 1] = '\0';
	(void)snprintf(text, sizeof(text), "{\"cniVersion\":\"1.0.0\",\"type\":\"weft-cni\",\"name\":\"%s\"}", name);
	assert_int_equal(parse_env(&c, plain, text, &e), CNI_BAD_CONF);
	cni_conf_free(&c);
	env = plain;
	env.command = "DEL";
	assert_int_equal(parse_env(&c, env, text, &e), CNI_OK);
	assert_string_equal(c.ident, ""); /* nobody was ever called so */
	cni_conf_free(&c);
}

static void test_cni_args(void **state)
{
	struct cni_env env = plain;
	struct cni_conf c;
	struct cni_error e;

	(void)state;
	env.args =
		"IgnoreUnknown=1;K8S_POD_NAME=pb;K8S_POD_NAMESPACE=shop;K8S_POD_UID=5;MAC=02:aa:bb:cc:dd:ee;IP=10.51.0.77;FOO=BAR;";
	assert_int_equal(parse_env(&c, env, "{" HEAD "}", &e), CNI_OK);
	assert_string_equal(c.pod, "pb");
	assert_string_equal(c.pod_namespace, "shop");
	assert_string_equal(c.mac, "02:aa:bb:cc:dd:ee");
	assert_int_equal(c.n_ips, 1);
	cni_conf_free(&c);
	env.args = "IP=10.51.0.77,10.51.0.78/24,10.51.0.77";
	assert_int_equal(parse_env(&c, env, "{" HEAD "}", &e), CNI_OK);
	assert_int_equal(c.n_ips, 2); /* one named twice is one */
	assert_int_equal(c.ips[1].len, 24);
	cni_conf_free(&c);
	env.args = "";
	assert_int_equal(parse_env(&c, env, "{" HEAD "}", &e), CNI_OK);
	cni_conf_free(&c);
}

/* A container whose ADD failed for what is wrong in the configuration has to be got rid of all the same. */
static void test_del_needs_little(void **state)
{
	struct cni_env env = plain;
	struct cni_conf c;
	struct cni_error e;

	(void)state;
	env.command = "DEL";
	env.netns = "";
	env.args = "FOO";
	assert_int_equal(parse_env(&c, env,
						 "{" HEAD ", \"mtu\": {}, \"nonsense\": 1, \"socket\": \"/tmp/s\", \"ipam\": {\"type\": \"dhcp\"}}", &e),
		CNI_OK);
	assert_null(c.netns);
	assert_string_equal(c.socket, "/tmp/s");
	assert_string_equal(c.ipam, "dhcp");
	cni_conf_free(&c);
	assert_int_equal(parse_env(&c, env, "{" HEAD ", \"ipam\": {\"type\": \"../x\"}}", &e), CNI_OK);
	assert_null(c.ipam);
	cni_conf_free(&c);
}

static void test_commands_and_versions(void **state)
{
	static const struct {
		const char *command, *version;
		int code;
	} cases[] = { { "ADD", "0.3.1", CNI_OK }, { "ADD", "0.4.0", CNI_OK }, { "ADD", "1.0.0", CNI_OK }, { "ADD", "1.1.0", CNI_OK },
		{ "ADD", "0.3.0", CNI_BAD_VERSION }, { "ADD", "0.2.0", CNI_BAD_VERSION }, { "ADD", "1.1.1", CNI_BAD_VERSION },
		{ "DEL", "0.3.1", CNI_OK }, { "DEL", "9", CNI_BAD_VERSION }, { "CHECK", "0.3.1", CNI_BAD_VERSION },
		{ "CHECK", "0.4.0", CNI_OK }, { "GC", "1.0.0", CNI_BAD_VERSION }, { "GC", "1.1.0", CNI_OK },
		{ "STATUS", "1.0.0", CNI_BAD_VERSION }, { "STATUS", "1.1.0", CNI_OK }, { "VERSION", "9.9.9", CNI_OK } };
	struct cni_error e;
	struct cni_conf c;
	char text[256];

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct cni_env env = plain;
		env.command = cases[i].command;
		(void)snprintf(text, sizeof(text), "{\"cniVersion\": \"%s\", \"name\": \"net\", \"prevResult\": {}}", cases[i].version);
		int code = parse_env(&c, env, text, &e);
		if (code != cases[i].code)
			fail_msg("%s %s: %d, %s", cases[i].command, cases[i].version, code, e.msg);
		cni_conf_free(&c);
	}
	struct cni_env env = { .command = "VERSION" };
	assert_int_equal(parse_env(&c, env, "", &e), CNI_OK);
	cni_conf_free(&c);
	env = plain;
	env.command = "CHECK";
	assert_int_equal(parse_env(&c, env, "{" HEAD "}", &e), CNI_BAD_CONF);
	assert_non_null(strstr(e.msg, "prevResult"));
	cni_conf_free(&c);
	env = (struct cni_env){ .command = "GC" };
	assert_int_equal(
		parse_env(&c, env,
			"{\"cniVersion\": \"1.1.0\", \"name\": \"net\", \"cni.dev/valid-attachments\": [{\"containerID\": \"a\", \"ifname\": \"eth0\"}]}",
			&e),
		CNI_OK);
	assert_int_equal(json_array_size(c.valid), 1);
	cni_conf_free(&c);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_all_of_a_configuration_is_read),
		cmocka_unit_test(test_what_is_not_said_has_its_usual_value),
		cmocka_unit_test(test_an_ipam_plugin_has_its_section_for_itself),
		cmocka_unit_test(test_wrong_configurations_are_refused_with_what_is_wrong),
		cmocka_unit_test(test_wrong_environments_are_refused_with_what_is_wrong),
		cmocka_unit_test(test_cni_args),
		cmocka_unit_test(test_del_needs_little),
		cmocka_unit_test(test_commands_and_versions),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
