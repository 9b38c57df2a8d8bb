/* The name service on real sockets, in a network namespace of its own with nothing but lo. Client and upstream are in the same loop.
 * What is answered is tested in dns/; here: that it arrives, on both transports, pipelined, from several upstreams. */
#include "tests/unit/dataplane/ns.h"

#include <net/if.h>
#include <netinet/in.h>
#include <sys/socket.h>

#include "base/mem.h"
#include "dns/wire.h"
#include "router/dns_server.h"

#define CONF_DIR "/tmp/weft-dns-XXXXXX"

struct world {
	uv_loop_t loop;
	struct dns_server *server;
	struct dns_table *table;
	struct dns_server_cfg cfg;
	char dir[sizeof(CONF_DIR)], conf[64];
	bool stopped;
	long live;
};

static bool may; /* have a namespace of our own */

/* What setup made; without it the test is skipped. */
static struct world *there(void **state)
{
	if (!*state)
		skip();
	return *state;
}

static struct hostport at(const char *text)
{
	struct hostport h;
	assert_int_equal(hostport_parse(text, 53, &h), ERR_OK);
	return h;
}

static struct sockaddr_in v4(const char *text)
{
	struct hostport h = at(text);
	struct sockaddr_in a = { .sin_family = AF_INET, .sin_port = htons(h.port) };
	memcpy(&a.sin_addr, h.ip.b, 4);
	return a;
}

static void write_conf(const struct world *w, const char *text)
{
	char fresh[80];
	snprintf(fresh, sizeof(fresh), "%s.new", w->conf);
	FILE *f = fopen(fresh, "w");
	assert_non_null(f);
	assert_true(fputs(text, f) >= 0);
	assert_int_equal(fclose(f), 0);
	assert_int_equal(rename(fresh, w->conf), 0);
}

static int setup(void **state)
{
	*state = NULL;
	if (!may)
		return 0;
	struct world *w = calloc(1, sizeof(*w));
	struct dns_name n;
	assert_non_null(w);
	w->live = mem_live();
	strcpy(w->dir, CONF_DIR);
	assert_non_null(mkdtemp(w->dir));
	snprintf(w->conf, sizeof(w->conf), "%s/resolv.conf", w->dir);
	write_conf(w, "nameserver 127.0.0.1\nnameserver 127.0.0.2\nnameserver 127.0.0.3\n");
	assert_int_equal(uv_loop_init(&w->loop), 0);
	assert_int_equal(dns_table_new(&w->table, 1), ERR_OK);
	assert_int_equal(dns_name_parse("web.weft.local", &n), ERR_OK);
	assert_int_equal(dns_table_add(w->table, 1, "c", &n, ip_v4(0x0a200001)), ERR_OK);
	w->cfg = (struct dns_server_cfg){
		.listen = { at("127.0.0.1:53"), at("[::1]:53") }, .n_listen = 2, .resolv_conf = w->conf, .ttl = 1, .table = w->table
	};
	assert_int_equal(dns_server_start(&w->server, &w->loop, &w->cfg, NULL), ERR_OK);
	*state = w;
	return 0;
}

static void on_stopped(void *ctx)
{
	*(bool *)ctx = true;
}

static int teardown(void **state)
{
	struct world *w = *state;
	if (!w)
		return 0;
	dns_server_stop(w->server, on_stopped, &w->stopped);
	assert_int_equal(uv_run(&w->loop, UV_RUN_DEFAULT), 0);
	assert_true(w->stopped);
	assert_int_equal(uv_loop_close(&w->loop), 0);
	dns_table_free(w->table);
	assert_int_equal(mem_live(), w->live);
	assert_int_equal(unlink(w->conf), 0);
	assert_int_equal(rmdir(w->dir), 0);
	free(w);
	return 0;
}

static int open_socket(int type, const char *from, const char *to)
{
	int s = socket(AF_INET, type | SOCK_CLOEXEC, 0), on = 1;
	struct timeval patience = { .tv_usec = 1000 };
	assert_true(s >= 0);
	assert_int_equal(setsockopt(s, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience)), 0);
	assert_int_equal(setsockopt(s, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on)), 0);
	if (from) {
		struct sockaddr_in a = v4(from);
		assert_int_equal(bind(s, (const struct sockaddr *)&a, sizeof(a)), 0);
	}
	if (to) {
		struct sockaddr_in a = v4(to);
		assert_int_equal(connect(s, (const struct sockaddr *)&a, sizeof(a)), 0);
	}
	return s;
}

/* A query for an A record, with its length in front. */
static size_t make_query(uint8_t out[300], uint16_t id, const char *qname)
{
	struct wbuf w;
	struct dns_writer d;
	struct dns_question q = { .type = DNS_A, .cls = DNS_IN };
	assert_int_equal(dns_name_parse(qname, &q.name), ERR_OK);
	wbuf_fixed(&w, out, 300);
	wbuf_u16(&w, 0);
	assert_true(dns_writer_init(&d, &w, 298, id, DNS_RD));
	assert_true(dns_write_question(&d, &q));
	assert_int_equal(dns_writer_finish(&d), ERR_OK);
	wbuf_patch_u16(&w, 0, (uint16_t)(w.len - 2));
	return w.len;
}

static struct dns_header header_of(const uint8_t *p, size_t n)
{
	struct rbuf r;
	struct dns_header h;
	rbuf_init(&r, p, n);
	dns_header_read(&r, &h);
	assert_true(rbuf_ok(&r));
	return h;
}

/* Runs the loop until something comes, for ten seconds at most. */
static size_t receive(struct world *w, int s, uint8_t *out, size_t max, struct sockaddr_in *from)
{
	struct sockaddr_in peer;
	for (uint64_t end = uv_hrtime() + UINT64_C(10000000000); uv_hrtime() < end;) {
		socklen_t len = sizeof(peer);
		uv_run(&w->loop, UV_RUN_NOWAIT);
		ssize_t n = recvfrom(s, out, max, 0, (struct sockaddr *)&peer, &len);
		if (n > 0) {
			if (from)
				*from = peer;
			return (size_t)n;
		}
	}
	fail_msg("nothing came");
	return 0;
}

/* As many octets of a stream as are asked for. */
static void receive_all(struct world *w, int s, uint8_t *out, size_t n)
{
	for (size_t got = 0; got < n;)
		got += receive(w, s, out + got, n - got, NULL);
}

static void local_udp(void **state)
{
	struct world *w = there(state);
	uint8_t q[300], a[600];
	int s = open_socket(SOCK_DGRAM, NULL, "127.0.0.1:53");
	size_t n = make_query(q, 0x1234, "web.weft.local");
	struct dns_server_stats st;
	assert_int_equal(send(s, q + 2, n - 2, 0), (ssize_t)(n - 2));
	n = receive(w, s, a, sizeof(a), NULL);
	struct dns_header h = header_of(a, n);
	assert_true(h.id == 0x1234 && h.an == 1 && (h.flags & DNS_AA) && (h.flags & DNS_RCODE) == DNS_NOERROR);
	dns_server_stats(w->server, &st);
	uint64_t all = 0;
	for (size_t i = 0; i <= DNS_LATENCY_EDGES; i++)
		all += st.latency[DNS_STAT_LOCAL][i];
	assert_int_equal(all, 1);
	assert_int_equal(st.queries->answers[DNS_STAT_LOCAL][DNS_STAT_TYPE_A][DNS_STAT_RCODE_NOERROR], 1);
	close(s);
}

/* Turns a received query into its answer. */
static void answer(uint8_t *m, uint16_t flags)
{
	struct wbuf w;
	wbuf_fixed(&w, m, 4);
	w.len = 2;
	wbuf_u16(&w, flags);
}

static void forwarded_udp(void **state)
{
	struct world *w = there(state);
	uint8_t q[300], m[600];
	struct sockaddr_in from1, from2;
	int up2 = open_socket(SOCK_DGRAM, "127.0.0.2:53", NULL), up3 = open_socket(SOCK_DGRAM, "127.0.0.3:53", NULL);
	int s = open_socket(SOCK_DGRAM, NULL, "127.0.0.1:53");
	struct hostport ups[DNS_UPSTREAM_MAX];

	assert_int_equal(dns_server_upstreams(w->server, ups), 2); /* without ourselves */
	assert_true(hostport_eq(ups[0], at("127.0.0.2:53")));
	size_t n = make_query(q, 0x1234, "example.org");
	assert_int_equal(send(s, q + 2, n - 2, 0), (ssize_t)(n - 2));
	size_t got = receive(w, up2, m, sizeof(m), &from1);
	assert_int_equal(got, n - 2);
	answer(m, 0x8185); /* REFUSED: the next one is asked, from another port */
	assert_int_equal(sendto(up2, m, got, 0, (struct sockaddr *)&from1, sizeof(from1)), (ssize_t)got);
	got = receive(w, up3, m, sizeof(m), &from2);
	assert_int_not_equal(from1.sin_port, from2.sin_port);
	answer(m, 0x8183);
	assert_int_equal(sendto(up3, m, got, 0, (struct sockaddr *)&from2, sizeof(from2)), (ssize_t)got);
	got = receive(w, s, m, sizeof(m), NULL);
	struct dns_header h = header_of(m, got);
	assert_true(h.id == 0x1234 && h.flags == 0x8183);

	/* Nobody listens at either any more: the kernel says so, and the client hears it without a time-out. */
	close(up2);
	close(up3);
	uint64_t since = uv_hrtime();
	assert_int_equal(send(s, q + 2, n - 2, 0), (ssize_t)(n - 2));
	got = receive(w, s, m, sizeof(m), NULL);
	assert_int_equal(header_of(m, got).flags & DNS_RCODE, DNS_SERVFAIL);
	assert_true(uv_hrtime() - since < UINT64_C(1500000000));
	close(s);
}

static void pipelined_tcp(void **state)
{
	struct world *w = there(state);
	uint8_t q[300], m[600];
	int up = open_socket(SOCK_STREAM, "127.0.0.2:53", NULL);
	int s = open_socket(SOCK_STREAM, NULL, "127.0.0.1:53");
	struct dns_server_stats st;
	assert_int_equal(listen(up, 5), 0);

	/* One that is forwarded, in two pieces, and two that are not: those overtake it. */
	size_t n = make_query(q, 1, "example.org");
	assert_int_equal(send(s, q, 1, 0), 1);
	uv_run(&w->loop, UV_RUN_NOWAIT);
	assert_int_equal(send(s, q + 1, n - 1, 0), (ssize_t)(n - 1));
	for (uint16_t id = 2; id <= 3; id++) {
		size_t k = make_query(q, id, "web.weft.local");
		assert_int_equal(send(s, q, k, 0), (ssize_t)k);
	}
	for (uint16_t id = 2; id <= 3; id++) {
		receive_all(w, s, m, 2 + 32 + 16);
		assert_int_equal(m[1], 32 + 16);
		assert_int_equal(header_of(m + 2, 48).id, id);
	}
	int c = -1;
	while (c < 0) {
		uv_run(&w->loop, UV_RUN_NOWAIT);
		c = accept(up, NULL, NULL);
	}
	struct timeval patience = { .tv_usec = 1000 };
	assert_int_equal(setsockopt(c, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience)), 0);
	receive_all(w, c, m, n);
	answer(m + 2, 0x8183);
	assert_int_equal(send(c, m, 5, 0), 5);
	uv_run(&w->loop, UV_RUN_NOWAIT);
	assert_int_equal(send(c, m + 5, n - 5, 0), (ssize_t)(n - 5));
	receive_all(w, s, m, n);
	assert_true(header_of(m + 2, n - 2).id == 1 && header_of(m + 2, n - 2).flags == 0x8183);
	dns_server_stats(w->server, &st);
	assert_true(st.tcp_open == 1 && st.tcp_accepted == 1 && st.tcp_refused == 0 && st.forwarding == 0);
	/* What is no query ends the connection. */
	assert_int_equal(send(s, "\0\1x", 3, 0), 3);
	for (uint64_t end = uv_hrtime() + UINT64_C(5000000000); st.tcp_open > 0 && uv_hrtime() < end;) {
		uv_run(&w->loop, UV_RUN_NOWAIT);
		dns_server_stats(w->server, &st);
	}
	assert_int_equal(st.tcp_open, 0);
	close(c);
	close(up);
	close(s);
}

/* The client says that it has no more questions: it still gets the answer it waits for, then the end. The first upstream cannot even be
 * sent to, as this namespace has no route to it. */
static void half_closed_tcp(void **state)
{
	struct world *w = there(state);
	uint8_t q[300], m[600];
	struct hostport ups[DNS_UPSTREAM_MAX];
	struct dns_server_stats st;
	write_conf(w, "nameserver 192.0.2.1\nnameserver 2001:db8::1\n");
	for (uint64_t end = uv_hrtime() + UINT64_C(5000000000); uv_hrtime() < end;) {
		uv_run(&w->loop, UV_RUN_ONCE);
		if (dns_server_upstreams(w->server, ups) == 2)
			break;
	}
	int s = open_socket(SOCK_STREAM, NULL, "127.0.0.1:53"), u = open_socket(SOCK_DGRAM, NULL, "127.0.0.1:53");
	size_t n = make_query(q, 7, "example.org");
	uint64_t since = uv_hrtime();
	assert_int_equal(send(s, q, n, 0), (ssize_t)n);
	assert_int_equal(shutdown(s, SHUT_WR), 0);
	receive_all(w, s, m, n);
	assert_true(header_of(m + 2, n - 2).id == 7 && (header_of(m + 2, n - 2).flags & DNS_RCODE) == DNS_SERVFAIL);
	assert_int_equal(send(u, q + 2, n - 2, 0), (ssize_t)(n - 2));
	assert_int_equal(header_of(m, receive(w, u, m, sizeof(m), NULL)).flags & DNS_RCODE, DNS_SERVFAIL);
	assert_true(uv_hrtime() - since < UINT64_C(1500000000));
	do {
		uv_run(&w->loop, UV_RUN_NOWAIT);
		dns_server_stats(w->server, &st);
	} while (st.tcp_open > 0 && uv_hrtime() - since < UINT64_C(5000000000));
	assert_int_equal(st.tcp_open, 0);
	close(s);
	close(u);
}

static void connection_limit(void **state)
{
	struct world *w = there(state);
	int s[DNS_TCP_MAX + 3];
	struct dns_server_stats st = { 0 };
	for (size_t i = 0; i < DNS_TCP_MAX + 3; i++) {
		s[i] = open_socket(SOCK_STREAM, NULL, "127.0.0.1:53");
		uv_run(&w->loop, UV_RUN_NOWAIT);
	}
	for (uint64_t end = uv_hrtime() + UINT64_C(5000000000);
		 st.tcp_accepted + st.tcp_refused < DNS_TCP_MAX + 3 && uv_hrtime() < end;) {
		uv_run(&w->loop, UV_RUN_NOWAIT);
		dns_server_stats(w->server, &st);
	}
	assert_int_equal(st.tcp_open, DNS_TCP_MAX);
	assert_int_equal(st.tcp_refused, 3);
	for (size_t i = 0; i < DNS_TCP_MAX + 3; i++)
		close(s[i]);
}

static void follows_resolv_conf(void **state)
{
	struct world *w = there(state);
	struct hostport ups[DNS_UPSTREAM_MAX];
	write_conf(w, "nameserver 127.0.0.9\n");
	for (uint64_t end = uv_hrtime() + UINT64_C(5000000000); dns_server_upstreams(w->server, ups) != 1 && uv_hrtime() < end;)
		uv_run(&w->loop, UV_RUN_ONCE);
	assert_int_equal(dns_server_upstreams(w->server, ups), 1);
	assert_true(hostport_eq(ups[0], at("127.0.0.9:53")));
}

static void refusals(void **state)
{
	struct world *w = there(state);
	struct dns_server *other = NULL;
	struct err_note note;
	assert_int_equal(dns_server_start(&other, &w->loop, &w->cfg, &note), ERR_BUSY);
	assert_non_null(strstr(note.text, "127.0.0.1:53"));
	struct dns_server_cfg cfg = w->cfg;
	cfg.n_listen = 1;
	cfg.listen[0] = at("192.0.2.1:53");
	assert_int_equal(dns_server_start(&other, &w->loop, &cfg, &note), ERR_NOT_FOUND);
	assert_non_null(strstr(note.text, "192.0.2.1:53"));
	cfg.domain = "no domain";
	assert_int_equal(dns_server_start(&other, &w->loop, &cfg, &note), ERR_MALFORMED);
	assert_null(other);
}

/* --- networks: the resolver's address on several interfaces, behind which the same addresses are in use */

enum { NETWORKS = 3 }; /* the first one is the socket's for all */
#define RESOLVER "169.254.67.83:53"

static void run(int ns, const char *text)
{
	if (ns_run(ns, text) != 0)
		fail_msg("%s", text);
}

/* An interface on our side, as link_dns_address makes bridges, and a client at its other end. */
static int make_client(unsigned i)
{
	char text[512];
	int ns = ns_new();
	snprintf(text, sizeof(text),
		"ip link add net%u type veth peer name eth netns /proc/%d/fd/%d && ip addr add 169.254.67.83/32 dev net%u && ip link set net%u up && "
		"ip route add table 6784 default dev net%u metric %u && sysctl -qw net.ipv4.conf.net%u.rp_filter=2",
		i, getpid(), ns, i, i, i, i, i);
	run(-1, text);
	run(ns, "ip addr add 10.9.0.1/24 dev eth && ip link set eth up && ip route add 169.254.67.83 dev eth");
	return ns;
}

static int ask_from(int ns, int type)
{
	int home = ns_here();
	ns_go(ns);
	int s = open_socket(type, "10.9.0.1:0", type == SOCK_DGRAM ? RESOLVER : NULL);
	if (type == SOCK_STREAM) {
		struct sockaddr_in a = v4(RESOLVER);
		assert_int_equal(fcntl(s, F_SETFL, O_NONBLOCK), 0);
		assert_true(connect(s, (const struct sockaddr *)&a, sizeof(a)) == 0 || errno == EINPROGRESS);
	}
	ns_go(home);
	close(home);
	return s;
}

/* Whether a client gets its answer in that time, by UDP or TCP. */
static bool answered(struct world *w, int ns, int type, unsigned ms)
{
	uint8_t q[300], m[600];
	int s = ask_from(ns, type);
	size_t n = make_query(q, 5, "web.weft.local"), skip_length = type == SOCK_DGRAM ? 2 : 0;
	bool sent = false, got = false;
	for (uint64_t end = uv_hrtime() + UINT64_C(1000000) * ms; !got && uv_hrtime() < end;) {
		sent = sent || send(s, q + skip_length, n - skip_length, 0) > 0;
		uv_run(&w->loop, UV_RUN_NOWAIT);
		got = recv(s, m, sizeof(m), 0) > 0;
	}
	close(s);
	return got;
}

static enum err set_networks(struct world *w, unsigned first, unsigned end, struct err_note *note)
{
	char names[NETWORKS][IF_NAMESIZE];
	struct dns_server_network v[NETWORKS];
	for (unsigned i = first; i < end; i++) {
		snprintf(names[i], sizeof(names[i]), "net%u", i);
		v[i - first] = (struct dns_server_network){ names[i], names[i], (int)if_nametoindex(names[i]) };
	}
	return dns_server_set_networks(w->server, v, end - first, note);
}

static void expect(struct world *w, const int clients[NETWORKS], const bool want[NETWORKS])
{
	for (int i = 0; i < NETWORKS; i++)
		for (int type = 0; type < 2; type++)
			if (answered(w, clients[i], type ? SOCK_STREAM : SOCK_DGRAM, want[i] ? 5000 : 30) != want[i])
				fail_msg("net%d is %sanswered by %s", i, want[i] ? "not " : "", type ? "TCP" : "UDP");
}

static void networks(void **state)
{
	struct world *w = there(state);
	static const bool first[] = { true, false, false }, two[] = { true, true, false }, all[] = { true, true, true };
	int clients[NETWORKS], home = ns_here(), ns = ns_new();
	struct err_note why = { "" };
	struct dns_server_cfg cfg = w->cfg;
	ns_go(ns);
	run(-1, "ip rule add from 169.254.67.83 lookup 6784");
	for (unsigned i = 0; i < NETWORKS; i++)
		clients[i] = make_client(i);
	dns_server_stop(w->server, NULL, NULL);
	cfg.listen[0] = at(RESOLVER);
	cfg.n_listen = 1;
	cfg.resolver = ip_v4(0xa9fe4353);
	cfg.resolv_conf = NULL;
	OK(dns_server_start(&w->server, &w->loop, &cfg, &note));
	expect(w, clients, first);
	OK(set_networks(w, 1, 2, &note));
	expect(w, clients, two);
	OK(set_networks(w, 1, 3, &note));
	OK(set_networks(w, 1, 3, &note)); /* they are there */
	expect(w, clients, all);
	/* Another server is still refused. */
	struct dns_server *other;
	assert_int_equal(dns_server_start(&other, &w->loop, &cfg, &why), ERR_BUSY);
	/* One that is made anew is another one. */
	run(-1, "ip link del net1");
	close(clients[1]);
	clients[1] = make_client(1);
	expect(w, clients, (const bool[]){ true, false, true });
	OK(set_networks(w, 1, 3, &note));
	expect(w, clients, all);
	OK(set_networks(w, 1, 2, &note));
	expect(w, clients, two);
	/* One that is not there; the others are. */
	struct dns_server_network v[] = { { "net7", "net7", 77 }, { "two", "net2", (int)if_nametoindex("net2") } };
	assert_int_equal(dns_server_set_networks(w->server, v, 2, &why), ERR_NOT_FOUND);
	assert_non_null(strstr(why.text, "net7"));
	expect(w, clients, (const bool[]){ true, false, true });
	OK(set_networks(w, 1, 1, &note));
	expect(w, clients, first);
	/* At no address in particular: networks are answered all the same, from the address that was asked. */
	dns_server_stop(w->server, NULL, NULL);
	cfg.listen[0] = at("0.0.0.0:53");
	OK(dns_server_start(&w->server, &w->loop, &cfg, &note));
	OK(set_networks(w, 1, 3, &note));
	for (int i = 1; i < NETWORKS; i++)
		assert_true(answered(w, clients[i], SOCK_DGRAM, 5000) && answered(w, clients[i], SOCK_STREAM, 5000));
	/* Elsewhere nobody of them asks, so nothing more is opened. */
	dns_server_stop(w->server, NULL, NULL);
	cfg.listen[0] = at("127.0.0.1:53");
	OK(dns_server_start(&w->server, &w->loop, &cfg, &note));
	assert_int_equal(dns_server_set_networks(w->server, v, 2, &why), ERR_OK);
	for (int i = 0; i < NETWORKS; i++)
		close(clients[i]);
	ns_go(home);
	close(home);
	close(ns);
}

/* --- who asks --- */

struct who {        /* what is said of askers */
	unsigned later; /* how often it is not known yet */
	unsigned calls;
	bool hides;
	char network[32]; /* of the last one; "-": none */
	struct ip from;
};

static bool hidden(const void *ctx, uint64_t owner, const char *id, struct ip a)
{
	(void)ctx, (void)owner, (void)id, (void)a;
	return false;
}

static enum dns_asker who_asks(void *ctx, struct ip from, const char *network, struct dns_view *view)
{
	struct who *who = ctx;
	who->calls++;
	who->from = from;
	snprintf(who->network, sizeof(who->network), "%s", network ? network : "-");
	if (who->later > 0) {
		who->later--;
		return DNS_ASKER_LATER;
	}
	if (who->hides)
		*view = (struct dns_view){ hidden, who };
	return DNS_ASKER_KNOWN;
}

static void restart_with(struct world *w, struct who *who)
{
	dns_server_stop(w->server, NULL, NULL);
	w->cfg.asker = who_asks;
	w->cfg.ctx = who;
	w->cfg.resolver = ip_v4(0x7f000001);
	OK(dns_server_start(&w->server, &w->loop, &w->cfg, NULL));
}

static void ask_web(int s, uint16_t id)
{
	uint8_t q[300];
	size_t n = make_query(q, id, "web.weft.local");
	assert_int_equal(send(s, q + 2, n - 2, 0), n - 2);
}

static void turn(struct world *w, const struct who *who, unsigned calls)
{
	for (uint64_t end = uv_hrtime() + UINT64_C(10000000000); who->calls < calls && uv_hrtime() < end;)
		uv_run(&w->loop, UV_RUN_NOWAIT);
	assert_int_equal(who->calls, calls);
}

static void by_who_asks(void **state)
{
	struct world *w = there(state);
	struct who who = { .hides = true };
	struct dns_server_network lo = { "loop", "lo", (int)if_nametoindex("lo") };
	uint8_t m[600];
	int s = open_socket(SOCK_DGRAM, "127.0.0.9:4000", "127.0.0.1:53");
	restart_with(w, &who);
	ask_web(s, 1);
	struct dns_header h = header_of(m, receive(w, s, m, sizeof(m), NULL));
	assert_true((h.flags & DNS_RCODE) == DNS_NXDOMAIN && h.an == 0);
	assert_true(ip_eq(who.from, ip_v4(0x7f000009)));
	assert_string_equal(who.network, "-");
	/* by TCP too, and by a network's interface */
	OK(dns_server_set_networks(w->server, &lo, 1, NULL));
	int tcp = open_socket(SOCK_STREAM, "127.0.0.8:4000", "127.0.0.1:53");
	uint8_t q[300];
	size_t n = make_query(q, 2, "web.weft.local");
	assert_int_equal(send(tcp, q, n, 0), n);
	assert_true(receive(w, tcp, m, sizeof(m), NULL) > 14);
	assert_int_equal(header_of(m + 2, 12).flags & DNS_RCODE, DNS_NXDOMAIN);
	assert_true(ip_eq(who.from, ip_v4(0x7f000008)));
	assert_string_equal(who.network, "loop");
	close(tcp);
	close(s);
}

static void later(void **state)
{
	struct world *w = there(state);
	struct who who = { .later = 1 };
	uint8_t m[600];
	int s = open_socket(SOCK_DGRAM, NULL, "127.0.0.1:53");
	restart_with(w, &who);
	/* nothing is said before it is known who asks, and then what is for him */
	ask_web(s, 1);
	turn(w, &who, 1);
	assert_int_equal(recv(s, m, sizeof(m), 0), -1);
	dns_server_askers_known(w->server);
	assert_int_equal(header_of(m, receive(w, s, m, sizeof(m), NULL)).an, 1);
	assert_int_equal(who.calls, 2);
	dns_server_askers_known(w->server);
	assert_int_equal(who.calls, 2);
	/* not for ever, and not for more than so many */
	who = (struct who){ .later = 100000 };
	ask_web(s, 2);
	turn(w, &who, 1);
	for (unsigned i = 0; i < DNS_LATER_TRIES; i++)
		dns_server_askers_known(w->server);
	assert_int_equal(header_of(m, receive(w, s, m, sizeof(m), NULL)).an, 1);
	who.calls = 0;
	for (unsigned i = 0; i < DNS_LATER_MAX; i++) {
		ask_web(s, 3);
		turn(w, &who, i + 1);
	}
	assert_int_equal(recv(s, m, sizeof(m), 0), -1);
	ask_web(s, 4);
	struct dns_header h = header_of(m, receive(w, s, m, sizeof(m), NULL));
	assert_true(h.id == 4 && h.an == 1);
	close(s); /* those that wait go with the server */
}

/* A query waits for an upstream when its network goes, and comes back: it was for another one. */
static void network_goes_under_a_query(void **state)
{
	struct world *w = there(state);
	uint8_t q[300], m[600];
	struct sockaddr_in from;
	struct dns_server_stats st;
	struct dns_server_network lo = { "loop", "lo", (int)if_nametoindex("lo") };
	int up = open_socket(SOCK_DGRAM, "127.0.0.2:53", NULL);
	dns_server_stop(w->server, NULL, NULL);
	w->cfg.resolver = ip_v4(0x7f000001);
	OK(dns_server_start(&w->server, &w->loop, &w->cfg, NULL));
	OK(dns_server_set_networks(w->server, &lo, 1, NULL));
	int s = open_socket(SOCK_DGRAM, NULL, "127.0.0.1:53");
	size_t n = make_query(q, 9, "example.org");
	for (int round = 0; round < 2; round++) {
		assert_int_equal(send(s, q + 2, n - 2, 0), (ssize_t)(n - 2));
		size_t got = receive(w, up, m, sizeof(m), &from);
		if (round == 0) {
			OK(dns_server_set_networks(w->server, NULL, 0, NULL));
			uv_run(&w->loop, UV_RUN_NOWAIT); /* closed, and freed */
		}
		answer(m, 0x8183);
		assert_int_equal(sendto(up, m, got, 0, (struct sockaddr *)&from, sizeof(from)), (ssize_t)got);
		do {
			uv_run(&w->loop, UV_RUN_ONCE);
			dns_server_stats(w->server, &st);
		} while (st.forwarding > 0);
		ssize_t back = recv(s, m, sizeof(m), 0);
		assert_int_equal(back, round == 0 ? -1 : (ssize_t)(n - 2));
	}
	close(s);
	close(up);
}

#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
	may = ns_start() && system("ip link set lo up") == 0;
	const struct CMUnitTest tests[] = {
		T(local_udp),
		T(forwarded_udp),
		T(pipelined_tcp),
		T(half_closed_tcp),
		T(connection_limit),
		T(follows_resolv_conf),
		T(refusals),
		T(networks),
		T(by_who_asks),
		T(later),
		T(network_goes_under_a_query),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
