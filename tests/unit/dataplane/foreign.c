/* What other packet filters do with what would be forwarded: rule sets as people and programs write them, of nftables, iptables-nft and iptables-legacy, each in a
 * namespace of its own. */
#include "tests/unit/dataplane/ns.h"

#include "router/dataplane/foreign.h"

static bool may;

struct ask {
	int family;
	const char *in, *out;
	bool drops;
	const char *remedy; /* part of it */
};

static enum err ask_all(const struct foreign_packet *p, struct foreign_verdict *v, struct err_note *note)
{
	struct foreign *f;
	enum err err = foreign_read(&f, note);
	if (err != ERR_OK)
		return err;
	foreign_forward(f, p, "weft", v);
	foreign_free(f);
	return ERR_OK;
}

static void judge(const char *rules, const struct ask *asks, size_t n)
{
	int ns = ns_new(), home = ns_here();
	ns_go(ns);
	if (rules[0] && ns_run(-1, rules) != 0)
		fail_msg("cannot set up: %s", rules);
	for (size_t i = 0; i < n; i++) {
		const struct foreign_packet p = { asks[i].family, asks[i].in, asks[i].out };
		struct foreign_verdict v;
		struct err_note note = { "" };
		if (ask_all(&p, &v, &note) != ERR_OK)
			fail_msg("%s", note.text);
		if (v.drops != asks[i].drops)
			fail_msg("%s\nIPv%d from %s to %s: %s", rules, asks[i].family, asks[i].in, asks[i].out, v.drops ? v.where : "passes");
		if (asks[i].remedy && !strstr(v.remedy, asks[i].remedy))
			fail_msg("%s\nwhat helps: '%s'", rules, v.remedy);
		/* what is said to help does */
		if (v.drops && strncmp(v.remedy, "firewall-cmd", 12) != 0) {
			int copy = ns_new();
			ns_go(copy);
			assert_int_equal(ns_run(-1, rules), 0);
			assert_int_equal(ns_run(-1, v.remedy), 0);
			assert_int_equal(ask_all(&p, &v, &note), ERR_OK);
			if (v.drops)
				fail_msg("%s\nwhat was said does not help: %s", rules, v.where);
			ns_go(ns);
			close(copy);
		}
	}
	ns_go(home);
	close(ns);
	close(home);
}
#define JUDGE(rules, ...)                                 \
	do {                                                  \
		static const struct ask asks[] = { __VA_ARGS__ }; \
		judge(rules, asks, sizeof asks / sizeof *asks);   \
	} while (0)
#define NEEDS_ROOT() \
	if (!may)        \
	skip()

static void nothing_drops(void **s)
{
	(void)s;
	NEEDS_ROOT();
	JUDGE("", { 4, "weft", "eth0", false, NULL }, { 6, "eth0", "weft", false, NULL });
	JUDGE("nft 'table inet weft { chain forward { type filter hook forward priority -10; policy drop; }; }'", /* our own */
		{ 4, "weft", "eth0", false, NULL });
	JUDGE("nft 'table ip t { chain input { type filter hook input priority 0; policy drop; }; }'",
		{ 4, "weft", "eth0", false, NULL });
}

static void of_nftables(void **s)
{
	(void)s;
	NEEDS_ROOT();
	JUDGE("nft 'table inet f { chain forw { type filter hook forward priority 0; policy drop; ct state established accept; }; }'",
		{ 4, "weft", "eth0", true, "nft insert rule inet f forw" }, { 6, "eth0", "weft", true, NULL });
	JUDGE("nft 'table ip f { chain forw { type filter hook forward priority 0; policy drop; iifname \"weft*\" accept; }; }'",
		{ 4, "weft", "eth0", false, NULL }, { 4, "weft-7", "eth0", false, NULL }, { 4, "eth0", "weft", true, NULL },
		{ 6, "eth0", "weft", false, NULL });
	JUDGE(
		"nft 'table inet f { chain zones { iifname \"lan0\" accept; iifname \"weft\" goto ours; }; chain ours { oifname != \"eth1\" accept; }; "
		"chain forw { type filter hook forward priority 0; jump zones; reject; }; }'",
		{ 4, "weft", "eth0", false, NULL }, { 4, "weft", "eth1", true, NULL }, { 4, "lan0", "eth1", false, NULL });
	/* an accept ends its own chain only */
	JUDGE("nft 'table inet a { chain f { type filter hook forward priority 0; accept; }; }; "
		  "table inet b { chain f { type filter hook forward priority 5; oifname \"weft\" drop; }; }'",
		{ 4, "eth0", "weft", true, "inet b" }, { 4, "weft", "eth0", false, NULL });
	JUDGE("nft 'table inet f { chain a { tcp dport 22 drop; meta mark 7 drop; return; drop; }; "
		  "chain forw { type filter hook forward priority 0; jump a; }; }'",
		{ 4, "weft", "eth0", false, NULL });
	JUDGE(
		"nft 'table inet firewalld { chain filter_FORWARD { type filter hook forward priority 10; reject with icmpx admin-prohibited; }; }'",
		{ 4, "weft", "eth0", true, "firewall-cmd" });
}

/* As dockerd leaves it. */
#define DOCKERS(ipt)                                                                                       \
	ipt " -P FORWARD DROP && " ipt " -N DOCKER && " ipt " -N DOCKER-USER && " ipt " -N STAGE && " ipt      \
		" -A FORWARD -j DOCKER-USER && " ipt " -A FORWARD -j STAGE && " ipt                                \
		" -A FORWARD -o docker0 -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT && " ipt              \
		" -A FORWARD -o docker0 -j DOCKER && " ipt " -A FORWARD -i docker0 ! -o docker0 -j ACCEPT && " ipt \
		" -A DOCKER-USER -j RETURN && " ipt " -A STAGE -j RETURN"

static void of_docker(void **s)
{
	(void)s;
	NEEDS_ROOT();
	JUDGE(DOCKERS("iptables-nft"), { 4, "weft", "eth0", true, "iptables -I DOCKER-USER -i weft+" },
		{ 4, "eth0", "weft", true, NULL }, { 4, "docker0", "eth0", false, NULL }, { 4, "weft", "weft", true, NULL },
		{ 6, "weft", "eth0", false, NULL });
	JUDGE(DOCKERS("iptables-legacy"), { 4, "weft", "eth0", true, "iptables-legacy -I DOCKER-USER -i weft+" },
		{ 4, "eth0", "weft", true, NULL }, { 4, "docker0", "eth0", false, NULL }, { 6, "weft", "eth0", false, NULL });
	JUDGE(DOCKERS("ip6tables-legacy"), { 6, "weft", "eth0", true, "ip6tables-legacy -I DOCKER-USER" },
		{ 4, "weft", "eth0", false, NULL });
	JUDGE("iptables-legacy -N A && iptables-legacy -A FORWARD -i weft -g A && iptables-legacy -A A -p tcp -j DROP && "
		  "iptables-legacy -A A -s 10.9.0.0/16 -j DROP && iptables-legacy -A A -o eth1 -j REJECT",
		{ 4, "weft", "eth0", false, NULL }, { 4, "weft", "eth1", true, "iptables-legacy -I FORWARD" },
		{ 4, "weft-3", "eth1", false, NULL });
}

/* Asking has no effect: a host without iptables-legacy's tables has none afterwards. */
static void leaves_no_trace(void **s)
{
	(void)s;
	NEEDS_ROOT();
	int ns = ns_new(), home = ns_here();
	const struct foreign_packet p = { 4, "weft", "eth0" };
	struct foreign_verdict v;
	ns_go(ns);
	assert_int_equal(ask_all(&p, &v, NULL), ERR_OK);
	assert_int_equal(ns_run(-1, "! grep -q filter /proc/self/net/ip_tables_names"), 0);
	ns_go(home);
	close(ns);
	close(home);
}

static void the_hosts_routing(void **s)
{
	char name[16];
	(void)s;
	NEEDS_ROOT();
	int ns = ns_new(), home = ns_here();
	ns_go(ns);
	foreign_default_interface(4, name);
	assert_string_equal(name, "");
	assert_int_equal(
		ns_run(-1,
			"ip link add up0 type veth peer name up1 && ip addr add 192.0.2.1/24 dev up0 && ip link set up0 up && ip link set up1 up && "
			"ip route add default via 192.0.2.9 && sysctl -qw net.ipv4.ip_forward=1 net.ipv6.conf.all.forwarding=0"),
		0);
	foreign_default_interface(4, name);
	assert_string_equal(name, "up0");
	foreign_default_interface(6, name);
	assert_string_equal(name, "");
	assert_int_equal(ns_run(-1, "ip -6 route add default dev up1"), 0);
	foreign_default_interface(6, name);
	assert_string_equal(name, "up1");
	assert_int_equal(foreign_forwarding(4), 1);
	assert_int_equal(foreign_forwarding(6), 0);
	ns_go(home);
	close(ns);
	close(home);
}

int main(void)
{
	may = ns_start();
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(nothing_drops),
		cmocka_unit_test(of_nftables),
		cmocka_unit_test(of_docker),
		cmocka_unit_test(leaves_no_trace),
		cmocka_unit_test(the_hosts_routing),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
