/* What the benches need to measure below a millisecond, in one thread and without a library between it and the sockets.
 *
 *   weft-bench gate FIFO COMMAND…                      waits at the gate, then becomes the command
 *   weft-bench reach FIFO READY SECONDS (SOCKET NETNS)…     opens the gate, attaches a container at each socket, pings between all
 *   weft-bench alloc SOCKET COUNT FILE                 POST /ip/ID over one connection, each followed by a 4 KiB append and fdatasync
 *   weft-bench names SOCKET COUNT GAP_US (NETNS ADDR)…  PUT /name at the socket, and queries to the others until they answer it
 *   weft-bench flood NETNS ADDR PORT RATE SECONDS      handshakes of the userspace path, right in form only, RATE a second from one address
 *
 *   weft-bench boot|rate|watch …                       see bench/control.c
 *
 * READY is how many processes wait at the gate. Results go to stdout as one JSON object; times are microseconds.
 *
 * Everything is polled by one loop that never waits longer than TURN_US, so that is what a time may be too long by. Sockets stay in the
 * network namespace in which they were made: the process visits each namespace once and comes home. */
#include "client.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <netinet/ip.h>
#include <netinet/ip_icmp.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

enum {
	COUNT_MAX = 100000,
	BLOCK_BYTES = 4096,
	PING_US = 1000,     /* between two echo requests of a pair */
	RESEND_US = 100000, /* a query without an answer is sent again */
	REST_US = 2000,     /* between two names, so that one does not pay for another */
};

_Noreturn void bench_die(const char *what)
{
	fprintf(stderr, "weft-bench: %s%s%s\n", what, errno != 0 ? ": " : "", errno != 0 ? strerror(errno) : "");
	exit(1);
}

_Noreturn void bench_fail(const char *what)
{
	errno = 0;
	bench_die(what);
}

int64_t bench_now_us(void)
{
	struct timespec t;

	(void)clock_gettime(CLOCK_MONOTONIC, &t);
	return (int64_t)t.tv_sec * 1000000 + t.tv_nsec / 1000;
}

void bench_rest_us(long us)
{
	struct timespec t = { .tv_sec = us / 1000000, .tv_nsec = us % 1000000 * 1000 };

	(void)nanosleep(&t, NULL);
}

void bench_wait(struct pollfd *fds, nfds_t n, long us)
{
	struct timespec t = { .tv_sec = 0, .tv_nsec = us * 1000 };

	if (ppoll(fds, n, &t, NULL) < 0 && errno != EINTR)
		bench_die("ppoll");
}

long bench_number(const char *text, long max)
{
	char *end;
	long n = strtol(text, &end, 10);

	if (*end != '\0' || n < 1 || n > max)
		bench_fail("a number on the command line is out of range");
	return n;
}

/* --- namespaces ------------------------------------------------------------------------------------------------------------------- */

/* A socket in a network namespace of /run/netns. */
int bench_socket_in(const char *netns, int domain, int type, int protocol)
{
	char path[256];
	int home = open("/proc/self/ns/net", O_RDONLY | O_CLOEXEC);

	if (snprintf(path, sizeof(path), "/run/netns/%s", netns) >= (int)sizeof(path))
		bench_fail("the name of a namespace is too long");
	int there = open(path, O_RDONLY | O_CLOEXEC);
	if (home < 0 || there < 0 || setns(there, CLONE_NEWNET) != 0)
		bench_die(path);
	int fd = socket(domain, type | SOCK_CLOEXEC | SOCK_NONBLOCK, protocol);
	if (fd < 0)
		bench_die("socket");
	if (setns(home, CLONE_NEWNET) != 0)
		bench_die("setns");
	(void)close(there);
	(void)close(home);
	return fd;
}

/* --- HTTP over the daemon's socket ------------------------------------------------------------------------------------------------ */

/* -1: nobody listens there yet. */
int bench_http_connect(const char *path)
{
	struct sockaddr_un to = { .sun_family = AF_UNIX };
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	if (fd < 0)
		bench_die("socket");
	if (strlen(path) >= sizeof(to.sun_path))
		bench_fail("the name of a socket is too long");
	memcpy(to.sun_path, path, strlen(path) + 1);
	if (connect(fd, (const struct sockaddr *)&to, sizeof(to)) == 0)
		return fd;
	(void)close(fd);
	return -1;
}

void bench_http_open(struct http *h, const char *path)
{
	h->fd = bench_http_connect(path);
	if (h->fd < 0)
		bench_die(path);
}

void bench_http_send(struct http *h, const char *method, const char *path, const char *type, const char *body)
{
	char out[HTTP_BYTES];
	int n = snprintf(out, sizeof(out), "%s %s HTTP/1.1\r\nHost: weft\r\n%s%s%sContent-Length: %zu\r\n\r\n%s", method, path,
		type != NULL ? "Content-Type: " : "", type != NULL ? type : "", type != NULL ? "\r\n" : "", strlen(body), body);

	if (n < 0 || (size_t)n >= sizeof(out))
		bench_fail("a request is too long");
	h->n = 0;
	if (send(h->fd, out, (size_t)n, MSG_NOSIGNAL) != n)
		bench_die("send to the API");
}

/* Reads what is there. NULL: not whole yet. Otherwise the body; *status is the code. */
const char *bench_http_poll(struct http *h, int *status)
{
	ssize_t got = recv(h->fd, h->in + h->n, HTTP_BYTES - h->n, MSG_DONTWAIT);

	if (got < 0 && (errno == EAGAIN || errno == EINTR))
		return NULL;
	if (got <= 0)
		bench_die("the API closed the connection");
	h->n += (size_t)got;
	h->in[h->n] = '\0';
	const char *head_end = strstr(h->in, "\r\n\r\n");
	if (head_end == NULL)
		return NULL;
	const char *length = strcasestr(h->in, "\r\nContent-Length:");
	size_t want = length != NULL && length < head_end ? strtoul(length + strlen("\r\nContent-Length:"), NULL, 10) : 0;
	const char *body = head_end + 4;
	if ((size_t)(h->in + h->n - body) < want)
		return NULL;
	if (strncmp(h->in, "HTTP/1.1 ", 9) != 0)
		bench_fail("the API does not speak HTTP/1.1");
	*status = (int)strtol(h->in + 9, NULL, 10);
	return body;
}

const char *bench_http_wait(struct http *h, int *status)
{
	int64_t limit = bench_now_us() + REQUEST_US;

	for (;;) {
		struct pollfd p = { .fd = h->fd, .events = POLLIN };
		bench_wait(&p, 1, 100000);
		const char *body = p.revents != 0 ? bench_http_poll(h, status) : NULL;
		if (body != NULL)
			return body;
		if (bench_now_us() > limit)
			bench_fail("the API did not answer");
	}
}

void bench_insist(const struct http *h, int status)
{
	if (status >= 200 && status < 300)
		return;
	errno = 0;
	fprintf(stderr, "%s\n", h->in);
	bench_die("the API refused");
}

/* --- the gate --------------------------------------------------------------------------------------------------------------------- */

/* Each waiter leaves a byte in FIFO.ready and then blocks in open(2) until somebody opens the FIFO for writing: that wakes all at once. */
static void ready_path(char *out, size_t size, const char *fifo)
{
	if (snprintf(out, size, "%s.ready", fifo) >= (int)size)
		bench_fail("the name of the gate is too long");
}

static _Noreturn void gate(char **argv)
{
	char ready[4096];

	ready_path(ready, sizeof(ready), argv[0]);
	int fd = open(ready, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
	if (fd < 0 || write(fd, "+", 1) != 1)
		bench_die(ready);
	if (open(argv[0], O_RDONLY | O_CLOEXEC) < 0)
		bench_die(argv[0]);
	(void)execv(argv[1], argv + 1);
	bench_die(argv[1]);
}

/* Gives the moment at which the gate was opened. */
int64_t bench_open_gate(const char *fifo, long waiters)
{
	char ready[4096];
	struct stat st = { .st_size = 0 };

	ready_path(ready, sizeof(ready), fifo);
	for (int64_t limit = bench_now_us() + REQUEST_US; stat(ready, &st) != 0 || st.st_size < waiters;) {
		if (bench_now_us() > limit)
			bench_fail("not all processes came to the gate");
		bench_rest_us(1000);
	}
	bench_rest_us(20000); /* from the byte to open(2) */
	int64_t at = bench_now_us();
	if (open(fifo, O_WRONLY | O_CLOEXEC) < 0)
		bench_die(fifo);
	return at;
}

/* --- reach ------------------------------------------------------------------------------------------------------------------------ */

struct reach_host {
	const char *socket, *netns;
	struct http http;
	bool connected, attached;
	int icmp;
	struct in_addr addr;
	int64_t api_us, attached_us;
};

struct reach_pair {
	int64_t sent_us, answered_us; /* the last request; the first answer */
	uint16_t requests;
};

struct reach {
	struct reach_host hosts[HOSTS_MAX];
	size_t n, answered;
	struct reach_pair pairs[HOSTS_MAX][HOSTS_MAX];
	int64_t start_us;
};

static uint16_t checksum(const uint8_t *p, size_t n)
{
	uint32_t sum = 0;

	for (size_t i = 0; i + 1 < n; i += 2)
		sum += (uint32_t)p[i] << 8 | p[i + 1];
	while (sum >> 16 != 0)
		sum = (sum & 0xffff) + (sum >> 16);
	return (uint16_t)~sum;
}

static void ping(struct reach *r, size_t from, size_t to)
{
	struct reach_pair *p = &r->pairs[from][to];
	struct sockaddr_in dst = { .sin_family = AF_INET, .sin_addr = r->hosts[to].addr };
	uint8_t echo[16] = { ICMP_ECHO };
	int64_t now = bench_now_us();

	if (p->answered_us != 0 || now - p->sent_us < PING_US)
		return;
	p->sent_us = now;
	p->requests++;
	echo[4] = (uint8_t)from;
	echo[5] = (uint8_t)to;
	echo[6] = (uint8_t)(p->requests >> 8);
	echo[7] = (uint8_t)p->requests;
	uint16_t sum = checksum(echo, sizeof(echo));
	echo[2] = (uint8_t)(sum >> 8);
	echo[3] = (uint8_t)sum;
	/* An error here (no route yet, queue full) is a request without an answer. */
	(void)sendto(r->hosts[from].icmp, echo, sizeof(echo), 0, (const struct sockaddr *)&dst, sizeof(dst));
}

static void pongs(struct reach *r, size_t from)
{
	uint8_t in[128];
	ssize_t got;

	while ((got = recv(r->hosts[from].icmp, in, sizeof(in), 0)) > 0) {
		size_t head = (size_t)(in[0] & 15) * 4;
		if ((size_t)got < head + 8 || in[head] != ICMP_ECHOREPLY || in[head + 4] != from || in[head + 5] >= r->n)
			continue;
		struct reach_pair *p = &r->pairs[from][in[head + 5]];
		if (p->answered_us == 0) {
			p->answered_us = bench_now_us();
			r->answered++;
		}
	}
}

/* The first dotted quad of the answer. */
static void take_address(struct reach_host *h, const char *body)
{
	char quad[INET_ADDRSTRLEN];
	const char *at = strpbrk(body, "0123456789");

	while (at != NULL) {
		size_t n = strspn(at, "0123456789.");
		if (n < sizeof(quad)) {
			memcpy(quad, at, n);
			quad[n] = '\0';
			if (inet_pton(AF_INET, quad, &h->addr) == 1)
				return;
		}
		at = strpbrk(at + n, "0123456789");
	}
	fprintf(stderr, "%s\n", body);
	bench_fail("no address in the answer to an attach");
}

static void advance(struct reach_host *h)
{
	char body[512];
	int status;

	if (!h->connected) {
		h->http.fd = bench_http_connect(h->socket);
		if (h->http.fd < 0)
			return;
		h->api_us = bench_now_us();
		h->connected = true;
		(void)snprintf(body, sizeof(body), "{\"container\": \"%s\"}", h->netns);
		bench_http_send(&h->http, "POST", "/attach", "application/json", body);
	} else if (!h->attached) {
		const char *answer = bench_http_poll(&h->http, &status);
		if (answer == NULL)
			return;
		bench_insist(&h->http, status);
		take_address(h, answer);
		h->attached_us = bench_now_us();
		h->attached = true;
	}
}

/* Since the gate; 0: not yet. */
static int64_t since_start(const struct reach *r, int64_t at)
{
	return at != 0 ? at - r->start_us : 0;
}

static void reach_print(const struct reach *r)
{
	const char *comma = "";

	printf("{\"hosts\": [");
	for (size_t i = 0; i < r->n; i++)
		printf("%s{\"api_us\": %" PRId64 ", \"attached_us\": %" PRId64 "}", i > 0 ? ", " : "", since_start(r, r->hosts[i].api_us),
			since_start(r, r->hosts[i].attached_us));
	printf("], \"pings\": [");
	for (size_t i = 0; i < r->n; i++) {
		for (size_t j = 0; j < r->n; j++) {
			const struct reach_pair *p = &r->pairs[i][j];
			if (i == j)
				continue;
			printf("%s{\"from\": %zu, \"to\": %zu, \"requests\": %u, \"answered_us\": %" PRId64 "}", comma, i + 1, j + 1,
				p->requests, since_start(r, p->answered_us));
			comma = ", ";
		}
	}
	printf("]}\n");
}

static void reach_turn(struct reach *r)
{
	struct pollfd fds[2 * HOSTS_MAX];
	nfds_t n = 0;

	for (size_t i = 0; i < r->n; i++) {
		struct reach_host *h = &r->hosts[i];
		if (!h->attached)
			advance(h);
		for (size_t j = 0; j < r->n; j++)
			if (i != j && h->attached && r->hosts[j].attached)
				ping(r, i, j);
		fds[n++] = (struct pollfd){ .fd = h->icmp, .events = POLLIN };
		if (h->connected && !h->attached)
			fds[n++] = (struct pollfd){ .fd = h->http.fd, .events = POLLIN };
	}
	bench_wait(fds, n, TURN_US);
	for (size_t i = 0; i < r->n; i++)
		pongs(r, i);
}

static int reach(int argc, char **argv)
{
	static struct reach r; /* large, and zero */
	long waiters = bench_number(argv[1], HOSTS_MAX);
	int64_t limit = bench_number(argv[2], 3600) * 1000000;

	for (int i = 3; i + 1 < argc; i += 2) {
		if (r.n == HOSTS_MAX)
			bench_fail("too many hosts");
		struct reach_host *h = &r.hosts[r.n++];
		h->socket = argv[i];
		h->netns = argv[i + 1];
		h->icmp = bench_socket_in(h->netns, AF_INET, SOCK_RAW, IPPROTO_ICMP);
	}
	r.start_us = bench_open_gate(argv[0], waiters);
	while (r.answered < r.n * (r.n - 1)) {
		reach_turn(&r);
		if (bench_now_us() - r.start_us > limit) {
			reach_print(&r);
			bench_fail("not every container was reached in time");
		}
	}
	reach_print(&r);
	return 0;
}

/* --- alloc ------------------------------------------------------------------------------------------------------------------------ */

void bench_print_times(const char *name, const int64_t *v, size_t n)
{
	printf("\"%s\": [", name);
	for (size_t i = 0; i < n; i++)
		printf("%s%" PRId64, i > 0 ? ", " : "", v[i]);
	printf("]");
}

int64_t *bench_times(size_t n)
{
	int64_t *v = calloc(n, sizeof(*v));

	if (v == NULL)
		bench_die("calloc");
	return v;
}

static int alloc(char **argv)
{
	static const uint8_t block[BLOCK_BYTES] = { 1 };
	struct http h;
	size_t count = (size_t)bench_number(argv[1], COUNT_MAX);
	int64_t *api = bench_times(count), *sync = bench_times(count);
	int file = open(argv[2], O_WRONLY | O_CREAT | O_EXCL | O_APPEND | O_CLOEXEC, 0600);
	char path[64];
	int status;

	if (file < 0)
		bench_die(argv[2]);
	bench_http_open(&h, argv[0]);
	for (size_t i = 0; i <= count; i++) { /* the first one warms up and does not count */
		(void)snprintf(path, sizeof(path), "/ip/bench-%zu", i);
		int64_t t0 = bench_now_us();
		bench_http_send(&h, "POST", path, NULL, "");
		(void)bench_http_wait(&h, &status);
		int64_t t1 = bench_now_us();
		bench_insist(&h, status);
		int64_t t2 = bench_now_us();
		if (write(file, block, sizeof(block)) != (ssize_t)sizeof(block) || fdatasync(file) != 0)
			bench_die(argv[2]);
		int64_t t3 = bench_now_us();
		if (i > 0) {
			api[i - 1] = t1 - t0;
			sync[i - 1] = t3 - t2;
		}
	}
	printf("{");
	bench_print_times("address_us", api, count);
	printf(", ");
	bench_print_times("fdatasync_us", sync, count);
	printf("}\n");
	free(api);
	free(sync);
	(void)close(file);
	(void)close(h.fd);
	return 0;
}

/* --- names ------------------------------------------------------------------------------------------------------------------------ */

struct resolver {
	int fd;
	uint16_t id;
	bool waiting, found;
	int64_t sent_us, found_us;
	int64_t *took;
};

/* An A query for LABEL.weft.local. Gives its length. */
size_t bench_dns_query(uint8_t out[DNS_BYTES], uint16_t id, const char *label)
{
	static const char tail[] = "\4weft\5local\0\0\1\0\1"; /* …, type A, class IN */
	const uint8_t head[12] = { (uint8_t)(id >> 8), (uint8_t)id, 1, 0, 0, 1 };
	size_t n = strlen(label);

	memcpy(out, head, sizeof(head));
	out[12] = (uint8_t)n;
	memcpy(out + 13, label, n);
	memcpy(out + 13 + n, tail, sizeof(tail) - 1);
	return 13 + n + sizeof(tail) - 1;
}

static void ask(struct resolver *r, const char *label, long gap_us)
{
	uint8_t out[DNS_BYTES];
	int64_t now = bench_now_us(), since = now - r->sent_us;

	if (r->found || since < gap_us || (r->waiting && since < RESEND_US))
		return;
	r->id++;
	r->waiting = true;
	r->sent_us = now;
	size_t n = bench_dns_query(out, r->id, label);
	if (send(r->fd, out, n, 0) != (ssize_t)n)
		bench_die("send to a resolver");
}

static void hear(struct resolver *r)
{
	uint8_t in[DNS_BYTES];
	ssize_t got = recv(r->fd, in, sizeof(in), 0);

	if (got < 12 || (in[0] << 8 | in[1]) != r->id)
		return;
	r->waiting = false;
	if ((in[3] & 15) == 0 && (in[6] << 8 | in[7]) > 0 && !r->found) {
		r->found = true;
		r->found_us = bench_now_us();
	}
}

/* One name: from the first byte of the PUT to an answer with an address from every resolver. Gives how long the PUT itself took. */
static int64_t put_and_wait(struct http *h, struct resolver *rs, size_t n, size_t i, long gap_us)
{
	char label[32], path[128];
	struct pollfd fds[HOSTS_MAX + 1];
	size_t found = 0;
	int64_t put_us = 0;
	int status;

	(void)snprintf(label, sizeof(label), "b%zu", i);
	(void)snprintf(path, sizeof(path), "/name/bench-%zu/10.47.%zu.%zu?fqdn=%s.weft.local", i, i / 250, i % 250 + 1, label);
	for (size_t k = 0; k < n; k++)
		rs[k].waiting = rs[k].found = false;
	int64_t start = bench_now_us();
	bench_http_send(h, "PUT", path, NULL, "");
	while (found < n || put_us == 0) {
		found = 0;
		for (size_t k = 0; k < n; k++) {
			ask(&rs[k], label, gap_us);
			fds[k] = (struct pollfd){ .fd = rs[k].fd, .events = POLLIN };
		}
		fds[n] = (struct pollfd){ .fd = put_us == 0 ? h->fd : -1, .events = POLLIN };
		bench_wait(fds, n + 1, gap_us < TURN_US ? gap_us : TURN_US);
		for (size_t k = 0; k < n; k++) {
			if (fds[k].revents != 0)
				hear(&rs[k]);
			found += rs[k].found ? 1 : 0;
		}
		if (fds[n].revents != 0 && bench_http_poll(h, &status) != NULL) {
			bench_insist(h, status);
			put_us = bench_now_us() - start;
		}
		if (bench_now_us() - start > REQUEST_US)
			bench_fail("a name was not answered everywhere");
	}
	for (size_t k = 0; k < n; k++)
		rs[k].took[i] = rs[k].found_us - start;
	return put_us;
}

static int names(int argc, char **argv)
{
	struct http h;
	struct resolver rs[HOSTS_MAX] = { { 0 } };
	size_t n = 0, count = (size_t)bench_number(argv[1], 50000);
	long gap_us = bench_number(argv[2], 100000);
	int64_t *put = bench_times(count);

	for (int i = 3; i + 1 < argc; i += 2) {
		struct sockaddr_in to = { .sin_family = AF_INET, .sin_port = htons(53) };
		if (n == HOSTS_MAX || inet_pton(AF_INET, argv[i + 1], &to.sin_addr) != 1)
			bench_fail("a resolver's address is none, or they are too many");
		rs[n].fd = bench_socket_in(argv[i], AF_INET, SOCK_DGRAM, 0);
		rs[n].took = bench_times(count);
		if (connect(rs[n].fd, (const struct sockaddr *)&to, sizeof(to)) != 0)
			bench_die(argv[i + 1]);
		n++;
	}
	bench_http_open(&h, argv[0]);
	for (size_t i = 0; i < count; i++) {
		put[i] = put_and_wait(&h, rs, n, i, gap_us);
		bench_rest_us(REST_US);
	}
	printf("{");
	bench_print_times("put_us", put, count);
	printf(", \"resolvers\": [");
	for (size_t k = 0; k < n; k++) {
		printf("%s{", k > 0 ? ", " : "");
		bench_print_times("answered_us", rs[k].took, count);
		printf("}");
		free(rs[k].took);
		(void)close(rs[k].fd);
	}
	printf("]}\n");
	free(put);
	(void)close(h.fd);
	return 0;
}

/* --- a flood of handshakes ---------------------------------------------------------------------------------------------------------- */

enum { FLOOD_BYTES = 163, FLOOD_BATCH = 50, FLOOD_INIT = 0x24 };

static int flood(char **argv)
{
	uint8_t init[FLOOD_BATCH][FLOOD_BYTES];
	struct iovec part[FLOOD_BATCH];
	struct mmsghdr m[FLOOD_BATCH] = { 0 };
	struct sockaddr_in to = { .sin_family = AF_INET, .sin_port = htons((uint16_t)bench_number(argv[2], 65535)) };
	int fd = bench_socket_in(argv[0], AF_INET, SOCK_DGRAM, 0);
	long rate = bench_number(argv[3], 10000000);
	uint64_t seed = 88172645463325252u;
	int64_t sent = 0;

	if (inet_pton(AF_INET, argv[1], &to.sin_addr) != 1)
		bench_fail("ADDR is no IPv4 address");
	if (connect(fd, (const struct sockaddr *)&to, sizeof(to)) != 0)
		bench_die("connect");
	for (size_t i = 0; i < FLOOD_BATCH; i++) {
		part[i] = (struct iovec){ init[i], FLOOD_BYTES };
		m[i].msg_hdr = (struct msghdr){ .msg_iov = &part[i], .msg_iovlen = 1 };
	}
	int64_t start = bench_now_us(), end = start + bench_number(argv[4], 3600) * 1000000;
	for (int64_t now = start; now < end; now = bench_now_us()) {
		if (sent >= (now - start) * rate / 1000000) {
			bench_rest_us(TURN_US);
			continue;
		}
		for (size_t i = 0; i < FLOOD_BATCH; i++)
			for (size_t j = 0; j < FLOOD_BYTES; j++) {
				seed ^= seed << 13;
				seed ^= seed >> 7;
				seed ^= seed << 17;
				init[i][j] = j == 0 ? FLOOD_INIT : j < 4 ? 0 : (uint8_t)seed;
			}
		int n = sendmmsg(fd, m, FLOOD_BATCH, 0);
		sent += n > 0 ? n : 0;
	}
	printf("{\"sent\": %" PRId64 ", \"per_second\": %" PRId64 "}\n", sent, sent * 1000000 / (bench_now_us() - start));
	(void)close(fd);
	return 0;
}

int main(int argc, char **argv)
{
	errno = 0;
	if (argc == 7 && strcmp(argv[1], "flood") == 0)
		return flood(argv + 2);
	if (argc >= 4 && strcmp(argv[1], "gate") == 0)
		gate(argv + 2);
	if (argc >= 9 && strcmp(argv[1], "reach") == 0)
		return reach(argc - 2, argv + 2);
	if (argc >= 7 && strcmp(argv[1], "boot") == 0)
		return control_boot(argc - 2, argv + 2);
	if (argc == 6 && strcmp(argv[1], "rate") == 0)
		return control_rate(argv + 2);
	if (argc >= 7 && strcmp(argv[1], "watch") == 0)
		return control_watch(argc - 2, argv + 2);
	if (argc == 5 && strcmp(argv[1], "alloc") == 0)
		return alloc(argv + 2);
	if (argc >= 7 && strcmp(argv[1], "names") == 0)
		return names(argc - 2, argv + 2);
	fprintf(stderr,
		"usage: weft-bench gate|reach|alloc|names|flood|boot|rate|watch …; see the tops of bench/client.c and bench/control.c\n");
	return 2;
}
