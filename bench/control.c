/* What bench/control has to measure below a millisecond.
 *
 *   weft-bench boot FIFO READY SECONDS (SOCKET LOG PID)…   opens the gate; until every daemon has given an address and its log says that it is linked
 *                                                          with all others. The log costs the daemon nothing, as asking it would.
 *   weft-bench rate SOCKET CLIENTS COUNT PREFIX            POST /ip/PREFIX-N over so many connections at once, each as soon as its last one is answered
 *   weft-bench watch LABEL GAP_US SECONDS (NETNS ADDR)…    asks each resolver for LABEL.weft.local every GAP_US, until SIGTERM; what it answered, and
 *                                                          when that changed (CLOCK_MONOTONIC)
 *
 * A resolver that does not answer within LOST_US, or whose host refuses, counts as lost: neither right nor wrong. */
#include "client.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum {
	LOG_TURN_US = 1000, /* between two looks at a log */
	CLIENTS_MAX = 64,
	RATE_MAX = 1000000,
	LOST_US = 200000,
	CHANGES_MAX = 256,
};

/* --- boot ------------------------------------------------------------------------------------------------------------------------- */

struct boot_host {
	const char *socket, *log;
	clockid_t clock;
	int log_fd;
	struct http http;
	bool connected;
	int64_t api_us, address_us, linked_us, cpu_before_us;
	char line[512];
	size_t n_line, n_linked;
	char linked[HOSTS_MAX][18];
};

static int64_t cpu_us(const struct boot_host *h)
{
	struct timespec t;

	if (clock_gettime(h->clock, &t) != 0)
		bench_die("the processor time of a daemon");
	return (int64_t)t.tv_sec * 1000000 + t.tv_nsec / 1000;
}

/* "… linked with 02:…(h2) at …": each peer once. */
static void take_line(struct boot_host *h, size_t wanted)
{
	const char *at = strstr(h->line, ": linked with ");

	if (at == NULL || strlen(at += strlen(": linked with ")) < 17)
		return;
	for (size_t i = 0; i < h->n_linked; i++)
		if (strncmp(h->linked[i], at, 17) == 0)
			return;
	if (h->n_linked == wanted)
		bench_fail("a daemon is linked with more hosts than there are");
	memcpy(h->linked[h->n_linked++], at, 17);
	if (h->n_linked == wanted)
		h->linked_us = bench_now_us();
}

static void read_log(struct boot_host *h, size_t wanted)
{
	char in[4096];
	ssize_t got;

	if (h->log_fd < 0 && (h->log_fd = open(h->log, O_RDONLY | O_CLOEXEC)) < 0)
		return;
	while ((got = read(h->log_fd, in, sizeof(in))) > 0) {
		for (ssize_t i = 0; i < got; i++) {
			if (in[i] != '\n') {
				if (h->n_line + 1 < sizeof(h->line))
					h->line[h->n_line++] = in[i];
				continue;
			}
			h->line[h->n_line] = '\0';
			h->n_line = 0;
			take_line(h, wanted);
		}
	}
}

static void ask_address(struct boot_host *h)
{
	int status;

	if (!h->connected) {
		h->http.fd = bench_http_connect(h->socket);
		if (h->http.fd < 0)
			return;
		h->connected = true;
		h->api_us = bench_now_us();
		bench_http_send(&h->http, "POST", "/ip/boot", NULL, "");
	} else if (h->address_us == 0 && bench_http_poll(&h->http, &status) != NULL) {
		bench_insist(&h->http, status);
		h->address_us = bench_now_us();
	}
}

int control_boot(int argc, char **argv)
{
	static struct boot_host hosts[HOSTS_MAX]; /* large, and zero */
	struct pollfd fds[HOSTS_MAX];
	long waiters = bench_number(argv[1], HOSTS_MAX);
	int64_t limit = bench_number(argv[2], 3600) * 1000000, cpu = 0, looked = 0;
	size_t n = 0, ready = 0;

	for (int i = 3; i + 2 < argc; i += 3) {
		if (n == HOSTS_MAX)
			bench_fail("too many hosts");
		struct boot_host *h = &hosts[n++];
		*h = (struct boot_host){ .socket = argv[i], .log = argv[i + 1], .log_fd = -1 };
		if (clock_getcpuclockid((pid_t)bench_number(argv[i + 2], 1 << 22), &h->clock) != 0)
			bench_fail("there is no such process");
	}
	int64_t start = bench_open_gate(argv[0], waiters);
	for (size_t i = 0; i < n; i++)
		hosts[i].cpu_before_us = cpu_us(&hosts[i]); /* what the way to the gate has cost */
	for (; ready < n;) {
		int64_t now = bench_now_us();
		bool look = now - looked >= LOG_TURN_US;
		if (now - start > limit)
			bench_fail("not all have an address and all links in time");
		if (look)
			looked = now;
		ready = 0;
		for (size_t i = 0; i < n; i++) {
			struct boot_host *h = &hosts[i];
			if (look && h->linked_us == 0)
				read_log(h, n - 1);
			if (h->address_us == 0 && (h->connected || look))
				ask_address(h);
			fds[i] = (struct pollfd){ .fd = h->connected && h->address_us == 0 ? h->http.fd : -1, .events = POLLIN };
			ready += h->address_us != 0 && h->linked_us != 0 ? 1 : 0;
		}
		bench_wait(fds, n, LOG_TURN_US / 2);
	}
	for (size_t i = 0; i < n; i++)
		cpu += cpu_us(&hosts[i]) - hosts[i].cpu_before_us;
	printf("{\"cpu_us\": %" PRId64 ", \"hosts\": [", cpu);
	for (size_t i = 0; i < n; i++)
		printf("%s{\"api_us\": %" PRId64 ", \"address_us\": %" PRId64 ", \"linked_us\": %" PRId64 "}", i > 0 ? ", " : "",
			hosts[i].api_us - start, hosts[i].address_us - start, hosts[i].linked_us - start);
	printf("]}\n");
	return 0;
}

/* --- rate ------------------------------------------------------------------------------------------------------------------------- */

static void ask_next(struct http *h, int64_t *sent_us, const char *prefix, size_t number)
{
	char path[64];

	(void)snprintf(path, sizeof(path), "/ip/%.32s-%zu", prefix, number);
	*sent_us = bench_now_us();
	bench_http_send(h, "POST", path, NULL, "");
}

int control_rate(char **argv)
{
	static struct http clients[CLIENTS_MAX];
	struct pollfd fds[CLIENTS_MAX];
	int64_t sent[CLIENTS_MAX];
	size_t n = (size_t)bench_number(argv[1], CLIENTS_MAX), count = (size_t)bench_number(argv[2], RATE_MAX), asked = 0, done = 0;
	int64_t *took = bench_times(count), start;
	int status;

	if (count < n)
		bench_fail("fewer requests than clients");
	for (size_t i = 0; i < n; i++)
		bench_http_open(&clients[i], argv[0]);
	start = bench_now_us();
	for (size_t i = 0; i < n; i++)
		ask_next(&clients[i], &sent[i], argv[3], asked++);
	while (done < count) {
		for (size_t i = 0; i < n; i++)
			fds[i] = (struct pollfd){ .fd = sent[i] != 0 ? clients[i].fd : -1, .events = POLLIN };
		bench_wait(fds, n, 100000);
		if (bench_now_us() - start > REQUEST_US * 6)
			bench_fail("the API does not answer");
		for (size_t i = 0; i < n; i++) {
			if (fds[i].revents == 0 || bench_http_poll(&clients[i], &status) == NULL)
				continue;
			bench_insist(&clients[i], status);
			took[done++] = bench_now_us() - sent[i];
			sent[i] = 0;
			if (asked < count)
				ask_next(&clients[i], &sent[i], argv[3], asked++);
		}
	}
	printf("{\"total_us\": %" PRId64 ", ", bench_now_us() - start);
	bench_print_times("address_us", took, count);
	printf("}\n");
	free(took);
	return 0;
}

/* --- watch ------------------------------------------------------------------------------------------------------------------------ */

enum said { SAID_NOTHING, SAID_RIGHT, SAID_WRONG, SAID_LOST };
static const char *const said_names[] = { "nothing", "right", "wrong", "lost" };

struct watched {
	const char *netns;
	int fd;
	uint16_t id;
	bool waiting;
	int64_t sent_us;
	uint64_t count[4];
	enum said last;
	size_t n_changes;
	struct {
		enum said to;
		int64_t at_us;
	} changes[CHANGES_MAX];
};

static volatile sig_atomic_t stop; /* set by the handler of SIGTERM */

static void on_stop(int number)
{
	(void)number;
	stop = 1;
}

static void note_answer(struct watched *w, enum said said)
{
	w->waiting = false;
	w->count[said]++;
	if (said == w->last)
		return;
	w->last = said;
	if (w->n_changes == CHANGES_MAX)
		bench_fail("a resolver's answers change all the time");
	w->changes[w->n_changes].to = said;
	w->changes[w->n_changes++].at_us = bench_now_us();
}

static void ask_name(struct watched *w, const char *label, long gap_us)
{
	uint8_t out[DNS_BYTES];
	int64_t now = bench_now_us(), since = now - w->sent_us;

	if (w->waiting && since >= LOST_US)
		note_answer(w, SAID_LOST);
	if (w->waiting || since < gap_us)
		return;
	w->id++;
	w->waiting = true;
	w->sent_us = now;
	size_t n = bench_dns_query(out, w->id, label);
	if (send(w->fd, out, n, 0) != (ssize_t)n)
		note_answer(w, SAID_LOST); /* the host refused the last one, or is not there */
}

static void hear_answer(struct watched *w)
{
	uint8_t in[DNS_BYTES];
	ssize_t got = recv(w->fd, in, sizeof(in), 0);

	if (got < 0 && errno != EAGAIN && errno != EINTR && w->waiting)
		note_answer(w, SAID_LOST);
	if (got >= 12 && (in[0] << 8 | in[1]) == w->id && w->waiting)
		note_answer(w, (in[3] & 15) == 0 && (in[6] << 8 | in[7]) > 0 ? SAID_RIGHT : SAID_WRONG);
}

static void watch_print(const struct watched *ws, size_t n)
{
	printf("{\"resolvers\": [");
	for (size_t i = 0; i < n; i++) {
		const struct watched *w = &ws[i];
		printf("%s{\"netns\": \"%s\"", i > 0 ? ", " : "", w->netns);
		for (enum said s = SAID_RIGHT; s <= SAID_LOST; s++)
			printf(", \"%s\": %" PRIu64, said_names[s], w->count[s]);
		printf(", \"changes\": [");
		for (size_t k = 0; k < w->n_changes; k++)
			printf("%s[\"%s\", %" PRId64 "]", k > 0 ? ", " : "", said_names[w->changes[k].to], w->changes[k].at_us);
		printf("]}");
	}
	printf("]}\n");
}

int control_watch(int argc, char **argv)
{
	static struct watched ws[HOSTS_MAX];
	struct pollfd fds[HOSTS_MAX];
	struct sigaction act = { .sa_handler = on_stop };
	long gap_us = bench_number(argv[1], 1000000);
	int64_t end = bench_now_us() + bench_number(argv[2], 3600) * 1000000;
	size_t n = 0;

	(void)sigaction(SIGTERM, &act, NULL);
	for (int i = 3; i + 1 < argc; i += 2) {
		struct sockaddr_in to = { .sin_family = AF_INET, .sin_port = htons(53) };
		if (n == HOSTS_MAX || inet_pton(AF_INET, argv[i + 1], &to.sin_addr) != 1)
			bench_fail("a resolver's address is none, or they are too many");
		ws[n].netns = argv[i];
		ws[n].fd = bench_socket_in(argv[i], AF_INET, SOCK_DGRAM, 0);
		if (connect(ws[n].fd, (const struct sockaddr *)&to, sizeof(to)) != 0)
			bench_die(argv[i + 1]);
		n++;
	}
	while (!stop && bench_now_us() < end) {
		for (size_t i = 0; i < n; i++) {
			ask_name(&ws[i], argv[0], gap_us);
			fds[i] = (struct pollfd){ .fd = ws[i].fd, .events = POLLIN };
		}
		bench_wait(fds, n, gap_us < 1000 ? gap_us : 1000);
		for (size_t i = 0; i < n; i++)
			if (fds[i].revents != 0)
				hear_answer(&ws[i]);
	}
	watch_print(ws, n);
	return 0;
}
