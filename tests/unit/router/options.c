#include "tests/unit/base/cmocka_all.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/mem.h"
#include "router/options.h"

enum { WORDS_MAX = 16 };

/* A command line of words separated by blanks, an environment of one variable or none, no file. */
static enum err parse(struct options *o, const char *words, const char *env, struct err_note *note)
{
	char text[512], *argv[WORDS_MAX + 1], *envp[2] = { (char *)(uintptr_t)env, NULL };
	int argc = 0;

	argv[argc++] = (char *)(uintptr_t) "weftd";
	snprintf(text, sizeof(text), "%s", words);
	for (char *w = strtok(text, " "); w != NULL; w = strtok(NULL, " ")) {
		assert_true(argc < WORDS_MAX);
		argv[argc++] = strcmp(w, "EMPTY") == 0 ? (char *)(uintptr_t) "" : w;
	}
	note->text[0] = '\0';
	return options_parse(o, argc, argv, envp, note);
}

static void accepted(struct options *o, const char *words)
{
	struct err_note note;

	if (parse(o, words, NULL, &note) != ERR_OK)
		fail_msg("%s: %s", words, note.text);
}

/* The line names what is wrong: it holds each of the parts. */
static void refused(const char *words, const char *part, const char *other)
{
	struct options o;
	struct err_note note;

	assert_int_equal(parse(&o, words, NULL, &note), ERR_USAGE);
	if (strstr(note.text, part) == NULL || strstr(note.text, other) == NULL || strchr(note.text, '\n') != NULL)
		fail_msg("'%s' gave: %s", words, note.text);
}

static char *temp_file(const char *text)
{
	static char path[64];
	int fd;

	snprintf(path, sizeof(path), "/tmp/weft-options-XXXXXX");
	fd = mkstemp(path);
	assert_true(fd >= 0);
	assert_int_equal(write(fd, text, strlen(text)), strlen(text));
	close(fd);
	return path;
}

static void defaults(void **state)
{
	struct options o;
	char text[PREFIX_TEXT], host[256];

	(void)state;
	accepted(&o, "");
	assert_int_equal(o.action, OPTIONS_RUN);
	assert_int_equal(o.port, 6783);
	assert_int_equal(o.conn_limit, 200);
	assert_string_equal(o.state_dir, "/var/lib/weft");
	assert_string_equal(o.socket, "/run/weft/weft.sock");
	assert_string_equal(o.dns_domain, "weft.local.");
	assert_string_equal(prefix_format(o.range, text), "10.32.0.0/12");
	assert_true(o.ipam && !o.range_auto && !o.range_given && !o.init_given);
	assert_int_equal(o.default_subnet.addr.family, 0);
	assert_int_equal(o.dns_ttl, 1);
	assert_int_equal(o.log_level, LOG_LEVEL_INFO);
	assert_int_equal(o.capture, OPTIONS_CAPTURE_AUTO);
	assert_int_equal(o.data_queues, 0);
	assert_null(o.password);
	assert_int_equal(gethostname(host, sizeof(host)), 0);
	assert_int_equal(strncmp(o.nickname, host, strlen(o.nickname)), 0);
	options_free(&o);
}

static void any_order_and_both_forms(void **state)
{
	struct options o;
	char text[HOSTPORT_TEXT];

	(void)state;
	accepted(&o, "h1 --port 7000 h2:99 --nickname=n1 --plugin=false --no-dns --http-addr 127.0.0.1:6784 -- --odd-but-a-peer");
	assert_int_equal(o.port, 7000);
	assert_string_equal(o.nickname, "n1");
	assert_false(o.plugin);
	assert_false(o.plugin_global);
	assert_true(o.no_dns && o.http && !o.status);
	assert_string_equal(hostport_format(o.http_addr, text), "127.0.0.1:6784");
	assert_int_equal(o.n_peers, 3);
	assert_string_equal(o.peers[0], "h1");
	assert_string_equal(o.peers[1], "h2:99");
	assert_string_equal(o.peers[2], "--odd-but-a-peer");
	options_free(&o);
	accepted(&o, "--port 1 --port 2"); /* the last one counts */
	assert_int_equal(o.port, 2);
	options_free(&o);
	accepted(&o, "--capture pcap --data-queues 8 --mtu 1400");
	assert_int_equal(o.capture, OPTIONS_CAPTURE_PCAP);
	assert_int_equal(o.data_queues, 8);
	assert_int_equal(o.mtu, 1400);
	options_free(&o);
	accepted(&o, "--plugin-scope=global");
	assert_true(o.plugin_global);
	options_free(&o);
	accepted(&o, "--plugin-scope global --plugin-scope local");
	assert_false(o.plugin_global);
	options_free(&o);
	accepted(&o, "--capture=tap --data-queues=0");
	assert_int_equal(o.capture, OPTIONS_CAPTURE_TAP);
	options_free(&o);
	accepted(&o, "--version");
	assert_int_equal(o.action, OPTIONS_VERSION);
	options_free(&o);
	accepted(&o, "--print-peer-name");
	assert_int_equal(o.action, OPTIONS_PRINT_PEER_NAME);
	options_free(&o);
}

static void wrong_ones_are_named(void **state)
{
	static const char *const bad[][2] = {
		{ "--port 0", "--port '0'" },
		{ "--port 65535", "'65535'" },
		{ "--plugin-scope swarm", "local or global" },
		{ "--port 7x", "1 to 65534" },
		{ "--port -1", "--port" },
		{ "--mtu 575", "--mtu" },
		{ "--mtu 65486", "--mtu" },
		{ "--conn-limit x", "--conn-limit" },
		{ "--dns-ttl 604801", "--dns-ttl" },
		{ "--reclaim-after 1s", "--reclaim-after" },
		{ "--reclaim-after 5", "--reclaim-after" },
		{ "--reclaim-after h", "--reclaim-after" },
		{ "--reclaim-after 8761h", "--reclaim-after" },
		{ "--reclaim-after 1.5h", "--reclaim-after" },
		{ "--reclaim-after -1h", "--reclaim-after" },
		{ "--name 00:00:00:00:00:00", "--name" },
		{ "--name nobody", "--name" },
		{ "--host nowhere", "--host" },
		{ "--http-addr 127.0.0.1", "--http-addr" },
		{ "--status-addr :6782", "--status-addr" },
		{ "--nickname a(b)", "--nickname" },
		{ "--ipalloc-range 10.32.0.1/12", "bits after the prefix" },
		{ "--ipalloc-range 10.0.0.0/7", "--ipalloc-range" },
		{ "--ipalloc-range 10.0.0.0/31", "8 to 30" },
		{ "--ipalloc-range fd00::/64", "IPv4" },
		{ "--ipalloc-range6 10.0.0.0/8", "IPv6" },
		{ "--ipalloc-range6 ff00::/16", "groups" },
		{ "--ipalloc-range6 fe80::/64", "links" },
		{ "--ipalloc-range6 fd00::1/64", "after the prefix" },
		{ "--ipalloc-default-subnet 10.0.0.0/24", "lies outside" },
		{ "--ipalloc-default-subnet 10.32.0.0/31", "1 to 30" },
		{ "--ipalloc-range EMPTY --ipalloc-default-subnet 10.0.0.0/24", "--ipalloc-default-subnet" },
		{ "--ipalloc-range EMPTY --ipalloc-init observer", "--ipalloc-init" },
		{ "--ipalloc-init quorum", "consensus=N" },
		{ "--ipalloc-init consensus=0", "--ipalloc-init" },
		{ "--ipalloc-init consensus=", "--ipalloc-init" },
		{ "--ipalloc-init seed=", "--ipalloc-init" },
		{ "--ipalloc-init seed=a,,b", "empty place" },
		{ "--ipalloc-init seed=02:00:00:00:00:01,02:00:00:00:00:01", "twice" },
		{ "--ipalloc-init observer=1", "--ipalloc-init" },
		{ "--dns-domain EMPTY", "--dns-domain" },
		{ "--dns-domain a..b", "--dns-domain" },
		{ "--dns-listen-address 1.2.3", "--dns-listen-address" },
		{ "--trusted-subnets 10.0.0.1/24", "--trusted-subnets" },
		{ "--trusted-subnets 10.0.0.0/24,10.0.1.0/24,10.0.2.0/24,10.0.3.0/24,10.0.4.0/24,10.0.5.0/24,10.0.6.0/24,10.0.7.0/24,"
		  "10.0.8.0/24,10.0.9.0/24,10.0.10.0/24,10.0.11.0/24,10.0.12.0/24,10.0.13.0/24,10.0.14.0/24,10.0.15.0/24,10.0.16.0/24",
			"at most 16 subnets" },
		{ "--capture afxdp", "tap, pcap, auto" },
		{ "--capture EMPTY", "--capture" },
		{ "--data-queues 9", "1 to 8" },
		{ "--data-queues -1", "--data-queues" },
		{ "--docker-host tcp://1.2.3.4", "--docker-host" },
		{ "--docker-host tcp://localhost:2375", "--docker-host" },
		{ "--docker-host http://1.2.3.4:2375", "--docker-host" },
		{ "--docker-host unix://run/docker.sock", "--docker-host" },
		{ "--log-level loud", "--log-level" },
		{ "--log-format xml", "--log-format" },
		{ "--no-dns=perhaps", "true or false" },
		{ "--bogus", "--bogus" },
		{ "-p", "-p" },
		{ "--port", "missing" },
		{ "EMPTY", "peer" },
		{ "bad/peer", "bad/peer" },
		{ "h:99999", "h:99999" },
		{ "--require-encryption", "password" },
		{ "--password EMPTY", "empty" },
		{ "--version=1", "no value" },
		{ "--password-file /nonexistent", "/nonexistent" },
		{ "--config /nonexistent", "/nonexistent" },
		{ "--ipalloc-range 10.0.0.0/8 --ipalloc-range6 fd00::/112", "at most /104" },
		{ "--ipalloc-range6 fd00::/109", "at most /108" },
		{ "--ipalloc-range auto --ipalloc-range6 fd00::/109", "at most /108" },
	};

	(void)state;
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		refused(bad[i][0], bad[i][1], "");
}

static void a_password_is_not_repeated(void **state)
{
	char words[2000], secret[1200];
	struct options o;
	struct err_note note;

	(void)state;
	memset(secret, 's', sizeof(secret));
	secret[sizeof(secret) - 1] = '\0';
	char *argv[] = { words, words, secret, NULL };
	strcpy(words, "--password");
	assert_int_equal(options_parse(&o, 3, argv, NULL, &note), ERR_USAGE);
	assert_null(strstr(note.text, "ssss"));
}

static void init_forms(void **state)
{
	struct options o;

	(void)state;
	accepted(&o, "--ipalloc-init consensus");
	assert_true(o.init == INIT_CONSENSUS && o.consensus == 0 && o.init_given);
	options_free(&o);
	accepted(&o, "--ipalloc-init consensus=3");
	assert_true(o.init == INIT_CONSENSUS && o.consensus == 3);
	options_free(&o);
	accepted(&o, "--ipalloc-init seed=::1,::2 --ipalloc-init=observer");
	assert_true(o.init == INIT_OBSERVER && o.n_seeds == 0);
	options_free(&o);
	accepted(&o, "--ipalloc-init seed=::1,::2");
	assert_true(o.init == INIT_SEED && o.n_seeds == 2);
	assert_string_equal(o.seeds[1], "::2");
	options_free(&o);
	accepted(&o, "--ipalloc-range EMPTY");
	assert_true(!o.ipam && o.range_given);
	options_free(&o);
	accepted(&o, "--ipalloc-range auto --ipalloc-default-subnet 10.40.0.0/24");
	assert_true(o.ipam && o.range_auto);
	options_free(&o);
	accepted(&o, "--ipalloc-range 10.40.0.0/16 --ipalloc-default-subnet 10.0.0.0/8"); /* larger is right, too */
	options_free(&o);
}

/* Weaker sources give way, the first value of a stronger one replaces a list. */
static void precedence(void **state)
{
	struct options o;
	struct err_note note;
	char words[200];
	const char *file =
		temp_file("# a comment\nport = 1111\n  nickname=\"from-file\"\r\npeer = f1\npeer = f2,f3\ntrusted-subnets = 10.1.0.0/16\n"
				  "trusted-subnets = 10.2.0.0/16\nno-dns = true\ndns-ttl = 7\n\n");

	(void)state;
	snprintf(words, sizeof(words), "--config %s", file);
	assert_int_equal(parse(&o, words, NULL, &note), ERR_OK);
	assert_int_equal(o.port, 1111);
	assert_string_equal(o.nickname, "from-file");
	assert_int_equal(o.n_peers, 3);
	assert_int_equal(o.n_trusted, 2);
	assert_true(o.no_dns);
	options_free(&o);

	assert_int_equal(parse(&o, words, "WEFT_PORT=2222", &note), ERR_OK);
	assert_int_equal(o.port, 2222);
	assert_int_equal(o.dns_ttl, 7);
	options_free(&o);

	assert_int_equal(parse(&o, words, "WEFT_TRUSTED_SUBNETS=10.3.0.0/16", &note), ERR_OK);
	assert_int_equal(o.n_trusted, 1);
	options_free(&o);

	snprintf(words, sizeof(words), "c1 --config=%s --port 3333 --no-dns=false c2", file);
	assert_int_equal(parse(&o, words, "WEFT_PORT=2222", &note), ERR_OK);
	assert_int_equal(o.port, 3333);
	assert_false(o.no_dns);
	assert_int_equal(o.n_peers, 2);
	assert_string_equal(o.peers[0], "c1");
	options_free(&o);

	snprintf(words, sizeof(words), "WEFT_CONFIG=%s", file);
	assert_int_equal(parse(&o, "", words, &note), ERR_OK);
	assert_int_equal(o.port, 1111);
	options_free(&o);

	assert_int_equal(parse(&o, "--trusted-subnets 10.4.0.0/16", "WEFT_TRUSTED_SUBNETS=10.3.0.0/16,10.5.0.0/16", &note), ERR_OK);
	assert_int_equal(o.n_trusted, 1);
	options_free(&o);

	assert_int_equal(parse(&o, "", "WEFT_MTU=12", &note), ERR_USAGE);
	assert_non_null(strstr(note.text, "WEFT_MTU"));
	unlink(file);
}

static void the_file(void **state)
{
	static const struct {
		const char *text, *said; /* said NULL: accepted */
	} cases[] = {
		{ "", NULL },
		{ "port = 5", NULL },
		{ "\n\nport=99999\n", "w.conf:3" },
		{ "port = 5\nport = 6\n", "w.conf:2" },
		{ "bogus = 1\n", "bogus" },
		{ "version = true\n", "version" },
		{ "config = /x\n", "config" },
		{ "no-dns\n", "name = value" },
		{ "peer = bad/peer\n", "bad/peer" },
		{ "peer =\n", NULL },
		{ "ipalloc-range =\n", NULL },
		{ "ipalloc-range = \"\"\n", NULL },
	};

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct options o;
		struct err_note note = { "" };
		assert_int_equal(options_defaults(&o, &note), ERR_OK);
		enum err err = options_parse_file(&o, "w.conf", slice_str(cases[i].text), &note);
		if (cases[i].said == NULL ? err != ERR_OK : err != ERR_USAGE || strstr(note.text, cases[i].said) == NULL)
			fail_msg("case %zu: %s", i, note.text);
		options_free(&o);
	}
	struct options o;
	struct err_note note = { "" };
	assert_int_equal(options_defaults(&o, &note), ERR_OK);
	assert_int_equal(options_parse_file(&o, "w.conf", slice_of("port = 5\0\n", 10), &note), ERR_USAGE);
	options_free(&o);
}

static void passwords(void **state)
{
	struct options o;
	struct err_note note;
	char words[200];
	const char *file = temp_file("from file\n");

	(void)state;
	snprintf(words, sizeof(words), "--password-file %s --require-encryption", file);
	assert_int_equal(parse(&o, words, "WEFT_PASSWORD=from-env", &note), ERR_OK);
	assert_string_equal(o.password, "from file"); /* the command line is stronger; one line end is cut */
	options_free(&o);
	assert_int_equal(parse(&o, "", "WEFT_PASSWORD=from-env", &note), ERR_OK);
	assert_string_equal(o.password, "from-env");
	assert_null(o.old_password);
	options_free(&o);
	unlink(file);
	file = temp_file("\n");
	snprintf(words, sizeof(words), "--old-password-file %s", file);
	refused(words, "--old-password-file", "empty");
	unlink(file);
}

#define HEAD "Iface\tDestination\tGateway \tFlags\tRefCnt\tUse\tMetric\tMask\t\tMTU\tWindow\tIRTT\n"

static enum err settle(struct options *o, const char *words, const char *routes, struct err_note *note)
{
	accepted(o, words);
	note->text[0] = '\0';
	enum err err = options_settle_range_over(o, slice_str(routes), note);
	return err;
}

/* The numbers are as a little-endian machine prints them: 10.40.0.0 is 0000280A. */
static void routes_of_the_host(void **state)
{
	static const char default_route[] = HEAD "eth0\t00000000\t0100630A\t0003\t0\t0\t0\t00000000\t0\t0\t0\n";
	static const char inside[] = HEAD "eth7\t0000280A\t00000000\t0001\t0\t0\t0\t0000FFFF\t0\t0\t0\n";
	static const char ours[] = HEAD "weft\t0000280A\t00000000\t0001\t0\t0\t0\t0000FFFF\t0\t0\t0\n";
	static const char all_of_10[] = HEAD "tun0\t0000000A\t00000000\t0001\t0\t0\t0\t000000FF\t0\t0\t0\n";
	static const char everything[] =
		HEAD "a\t0000000A\t00000000\t0001\t0\t0\t0\t000000FF\t0\t0\t0\n"
			 "b\t000010AC\t00000000\t0001\t0\t0\t0\t0000F0FF\t0\t0\t0\nc\t0000A8C0\t0\t0001\t0\t0\t0\t0000FFFF\t0\t0\t0\n";
	struct options o;
	struct err_note note;
	char text[PREFIX_TEXT];

	(void)state;
	assert_int_equal(settle(&o, "", default_route, &note), ERR_OK);
	options_free(&o);
	assert_int_equal(settle(&o, "", "", &note), ERR_OK);
	options_free(&o);
	assert_int_equal(settle(&o, "", ours, &note), ERR_OK);
	options_free(&o);
	assert_int_equal(settle(&o, "", inside, &note), ERR_CONFLICT);
	assert_true(strstr(note.text, "10.32.0.0/12") != NULL && strstr(note.text, "10.40.0.0/16") != NULL &&
		strstr(note.text, "eth7") != NULL);
	options_free(&o);
	assert_int_equal(settle(&o, "--ipalloc-range EMPTY", inside, &note), ERR_OK);
	options_free(&o);
	assert_int_equal(settle(&o, "--ipalloc-range auto", inside, &note), ERR_OK);
	assert_string_equal(prefix_format(o.range, text), "10.96.0.0/12");
	options_free(&o);
	assert_int_equal(settle(&o, "--ipalloc-range auto", all_of_10, &note), ERR_OK);
	assert_string_equal(prefix_format(o.range, text), "172.16.0.0/13");
	options_free(&o);
	assert_int_equal(settle(&o, "--ipalloc-range auto", everything, &note), ERR_CONFLICT);
	options_free(&o);
	assert_int_equal(settle(&o, "--ipalloc-range auto --ipalloc-default-subnet 10.40.1.0/24", inside, &note), ERR_USAGE);
	options_free(&o);
}

/* Each allocation fails once: an error, no leak, no crash. */
static void out_of_memory(void **state)
{
	enum err err = ERR_NOMEM;
	long before = mem_live();

	(void)state;
	for (size_t n = 1; err == ERR_NOMEM; n++) {
		struct options o;
		struct err_note note;
		assert_true(n < 1000);
		mem_fail_at(n, true);
		err = parse(&o, "a b --ipalloc-init seed=::1,::2 --dns-domain x.y --socket /s", "WEFT_PEER=c,d", &note);
		mem_fail_at(0, false);
		if (err == ERR_OK)
			options_free(&o);
		assert_int_equal(mem_live(), before);
	}
	assert_int_equal(err, ERR_OK);
}

static void help_names_every_option(void **state)
{
	(void)state;
	assert_non_null(strstr(options_help(), "--ipalloc-default-subnet CIDR"));
	assert_non_null(strstr(options_help(), "--no-fastdp\n"));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(defaults),
		cmocka_unit_test(any_order_and_both_forms),
		cmocka_unit_test(wrong_ones_are_named),
		cmocka_unit_test(a_password_is_not_repeated),
		cmocka_unit_test(init_forms),
		cmocka_unit_test(precedence),
		cmocka_unit_test(the_file),
		cmocka_unit_test(passwords),
		cmocka_unit_test(routes_of_the_host),
		cmocka_unit_test(out_of_memory),
		cmocka_unit_test(help_names_every_option),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
