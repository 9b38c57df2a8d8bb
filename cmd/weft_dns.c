/* Verbs about names. */
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/addr.h"
#include "dns/name.h"
#include "dns/wire.h"
#include "router/netns.h"
#include "weft.h"

enum { QUERY_MS = 2000, TRIES = 2, QUERY_MAX = 512, ADDRESSES_MAX = 4096 };
#define NO_CONTAINER "weft:extern"

/* --- dns-add, dns-remove ------------------------------------------------------------------------------------------------------------------ */

struct name_args {
	const char **ips; /* as given, or as the container has them */
	size_t n_ips;
	const char *container, *fqdn;
};

static int parse_name_args(const struct weft *w, int argc, char **argv, struct name_args *a)
{
	struct words p = { .argc = argc, .argv = argv };
	const char *name, *value;
	struct ip ip;
	enum word kind;

	a->ips = calloc((size_t)argc + 1, sizeof(*a->ips));
	if (a->ips == NULL)
		return say(FAILED, "out of memory");
	while ((kind = next_word(&p, "h= fqdn=", &name, &value)) != WORD_END) {
		if (kind == WORD_WRONG)
			return usage(w, "an option is not understood");
		if (kind == WORD_OPTION)
			a->fqdn = value;
		else if (a->container != NULL)
			return usage(w, "the container stands behind the addresses");
		else if (ip_parse(name, &ip) == ERR_OK)
			a->ips[a->n_ips++] = name;
		else
			a->container = name;
	}
	if (a->container == NULL && (a->n_ips == 0 || a->fqdn == NULL))
		return usage(w, "name a container, or addresses and -h FQDN");
	return DONE;
}

/* PUT or DELETE /name/ID[/IP][?fqdn=] */
static int name_request(const struct weft *w, const char *method, const struct name_args *a, const char *ip)
{
	char *id = escaped(a->container != NULL ? a->container : NO_CONTAINER), *fqdn = escaped(a->fqdn != NULL ? a->fqdn : "");
	char *path =
		format("/name/%s%s%s%s%s", id, ip != NULL ? "/" : "", ip != NULL ? ip : "", a->fqdn != NULL ? "?fqdn=" : "", fqdn);
	struct http_request req = { .method = method, .path = path };
	int code = show(w, &req);

	free(path);
	free(fqdn);
	free(id);
	return code;
}

static int ask_container(const struct weft *w, const struct name_args *a, json_t **doc)
{
	char *id = escaped(a->container), *path = format("/ps?container=%s", id);
	struct http_response r;
	int code = ask_path(w, "GET", path, true, &r);

	free(path);
	free(id);
	if (code != DONE)
		return code;
	*doc = json_loadb(r.body, r.n, 0, NULL);
	http_response_free(&r);
	return *doc != NULL ? DONE : say(FAILED, "the daemon's answer cannot be read");
}

/* All addresses of an attached container, on all of its networks: strings of doc. */
static int container_addresses(struct name_args *a, json_t *doc)
{
	json_t *c, *v;
	size_t i, j, n = 0;

	json_array_foreach(json_object_get(doc, "containers"), i, c) n += json_array_size(json_object_get(c, "addresses"));
	if (n == 0)
		return say(NOT_FOUND, "'%s' is not attached; attach it first, or name addresses", a->container);
	free(a->ips);
	a->ips = calloc(n, sizeof(*a->ips));
	if (a->ips == NULL)
		return say(FAILED, "out of memory");
	json_array_foreach(json_object_get(doc, "containers"), i, c)
	{
		json_array_foreach(json_object_get(c, "addresses"), j, v)
		{
			char *slash = strchr((char *)(uintptr_t)json_string_value(v), '/');
			if (slash != NULL)
				*slash = '\0'; /* the document is ours */
			a->ips[a->n_ips++] = json_string_value(v);
		}
	}
	return DONE;
}

/* The container's own host name: what Docker says it is, or, when it has one with a domain, what its process sees. */
static int own_name(struct name_args *a, const json_t *doc, char fqdn[256])
{
	const char *host = json_string_value(json_object_get(json_array_get(json_object_get(doc, "containers"), 0), "hostname"));
	struct netns_target t;
	struct err_note note = { "" };

	if (host != NULL && host[0] != '\0') {
		a->fqdn = host;
		return DONE;
	}
	if (netns_parse(a->container, &t, &note) != ERR_OK)
		return say(FAILED, "%s", note.text);
	if (t.kind != NETNS_PID || netns_fqdn(t.pid, fqdn, 256, &note) != ERR_OK || strchr(fqdn, '.') == NULL)
		return say(FAILED, "'%s' has no host name with a domain of its own; give the name with -h FQDN", a->container);
	a->fqdn = fqdn;
	return DONE;
}

int verb_dns_add(const struct weft *w, int argc, char **argv)
{
	struct name_args a = { 0 };
	json_t *doc = NULL;
	char fqdn[256];
	int code = parse_name_args(w, argc, argv, &a);

	if (code == DONE && a.container != NULL && (a.n_ips == 0 || (a.fqdn == NULL && strchr(a.container, ':') == NULL)))
		code = ask_container(w, &a, &doc);
	if (code == DONE && a.fqdn == NULL)
		code = own_name(&a, doc, fqdn);
	if (code == DONE && a.n_ips == 0)
		code = container_addresses(&a, doc);
	for (size_t i = 0; code == DONE && i < a.n_ips; i++)
		code = name_request(w, "PUT", &a, a.ips[i]);
	free(a.ips);
	json_decref(doc);
	return code;
}

int verb_dns_remove(const struct weft *w, int argc, char **argv)
{
	struct name_args a = { 0 };
	int code = parse_name_args(w, argc, argv, &a);

	if (code == DONE && a.n_ips == 0)
		code = name_request(w, "DELETE", &a, NULL);
	for (size_t i = 0; code == DONE && i < a.n_ips; i++)
		code = name_request(w, "DELETE", &a, a.ips[i]);
	free(a.ips);
	return code;
}

/* --- dns-args ------------------------------------------------------------------------------------------------------------------------------ */

/* *text: the answer, to be freed; NULL when names are off. */
static int ask_text(const struct weft *w, const char *path, char **text)
{
	struct http_request req = { .method = "GET", .path = path };
	struct http_response r;
	struct err_note note = { "" };
	enum err err = http_request(w->socket, &req, &r, &note);

	*text = NULL;
	if (err != ERR_OK)
		return say(err == ERR_UNREACHABLE ? NOT_RUNNING : FAILED, "%s", note.text);
	if (r.code == 200)
		*text = format("%s", r.body);
	int code = r.code == 200 || r.code == 404 ? DONE : say(FAILED, "the daemon refused with code %d", r.code);
	http_response_free(&r);
	return code;
}

int verb_dns_args(const struct weft *w, int argc, char **argv)
{
	char *address = NULL, *domain = NULL;

	(void)argv;
	if (argc != 0)
		return usage(w, "it takes no words");
	int code = ask_text(w, "/dns-address", &address);
	if (code == DONE)
		code = ask_text(w, "/domain", &domain);
	if (code == DONE && w->json) { /* names that are off: nulls */
		code = print_json(json_pack("{s:i, s:s?, s:s?}", "schema", 1, "dns", address, "dns_search", domain));
	} else if (code == DONE && address != NULL && domain != NULL) {
		(void)printf("--dns=%s --dns-search=%s\n", address, domain);
		code = print_bytes("", 0);
	}
	free(address);
	free(domain);
	return code;
}

/* --- dns-lookup ---------------------------------------------------------------------------------------------------------------------------- */

struct query {
	struct sockaddr_storage to;
	socklen_t to_len;
	struct dns_name name;
	uint16_t type, id;
	uint8_t packet[QUERY_MAX];
	size_t packet_len;
};

static void address_of(struct hostport h, struct query *q)
{
	struct sockaddr_in in = { .sin_family = AF_INET, .sin_port = htons(h.port) };
	struct sockaddr_in6 in6 = { .sin6_family = AF_INET6, .sin6_port = htons(h.port) };

	memcpy(&in.sin_addr, h.ip.b, 4);
	memcpy(&in6.sin6_addr, h.ip.b, 16);
	q->to_len = h.ip.family == 6 ? sizeof(in6) : sizeof(in);
	memcpy(&q->to, h.ip.family == 6 ? (const void *)&in6 : (const void *)&in, q->to_len);
}

static bool make_query(struct query *q, uint16_t type)
{
	struct dns_question ask = { .name = q->name, .type = type, .cls = DNS_IN };
	struct dns_edns edns = { .present = true, .size = DNS_UDP_EDNS_MAX };
	struct dns_writer d;
	struct wbuf w;

	q->type = type;
	if (getrandom(&q->id, sizeof(q->id), 0) != sizeof(q->id))
		return false;
	wbuf_fixed(&w, q->packet, sizeof(q->packet));
	if (!dns_writer_init(&d, &w, sizeof(q->packet), q->id, DNS_RD) || !dns_write_question(&d, &ask) ||
		!dns_write_opt(&d, &edns) || dns_writer_finish(&d) != ERR_OK)
		return false;
	q->packet_len = dns_writer_size(&d);
	return true;
}

static bool readable(int fd)
{
	struct pollfd p = { .fd = fd, .events = POLLIN };

	return poll(&p, 1, QUERY_MS) == 1;
}

static ssize_t exchange_udp(const struct query *q, uint8_t *answer, size_t size)
{
	int fd = socket(q->to.ss_family, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	ssize_t n = -1;

	if (fd >= 0 && connect(fd, (const struct sockaddr *)&q->to, q->to_len) == 0)
		for (int i = 0; n < 0 && i < TRIES; i++)
			if (send(fd, q->packet, q->packet_len, 0) == (ssize_t)q->packet_len && readable(fd))
				n = recv(fd, answer, size, 0);
	if (fd >= 0)
		(void)close(fd);
	return n;
}

static bool read_exactly(int fd, uint8_t *out, size_t n)
{
	while (n > 0) {
		ssize_t got = readable(fd) ? recv(fd, out, n, 0) : -1;
		if (got <= 0)
			return false;
		out += got;
		n -= (size_t)got;
	}
	return true;
}

/* For an answer that no datagram holds. */
static ssize_t exchange_tcp(const struct query *q, uint8_t *answer, size_t size)
{
	uint8_t length[2] = { (uint8_t)(q->packet_len >> 8), (uint8_t)q->packet_len };
	int fd = socket(q->to.ss_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
	ssize_t n = -1;

	if (fd >= 0 && connect(fd, (const struct sockaddr *)&q->to, q->to_len) == 0 &&
		send(fd, length, 2, MSG_NOSIGNAL | MSG_MORE) == 2 &&
		send(fd, q->packet, q->packet_len, MSG_NOSIGNAL) == (ssize_t)q->packet_len && read_exactly(fd, length, 2)) {
		size_t want = (size_t)length[0] << 8 | length[1];
		if (want <= size && read_exactly(fd, answer, want))
			n = (ssize_t)want;
	}
	if (fd >= 0)
		(void)close(fd);
	return n;
}

/* Adds the addresses of one answer to list. *rcode, *truncated. false: it is no answer to the query. */
static bool read_answer(const struct query *q, const uint8_t *bytes, size_t n, json_t *list, unsigned *rcode, bool *truncated)
{
	struct dns_header h;
	struct dns_question ask;
	struct dns_rr rr;
	struct rbuf r;
	char text[IP_TEXT];

	rbuf_init(&r, bytes, n);
	dns_header_read(&r, &h);
	if (!rbuf_ok(&r) || h.id != q->id || (h.flags & DNS_QR) == 0 || h.qd != 1)
		return false;
	dns_question_read(&r, &ask);
	if (!rbuf_ok(&r) || ask.type != q->type || !dns_name_eq(&ask.name, &q->name))
		return false;
	*rcode = h.flags & DNS_RCODE;
	*truncated = (h.flags & DNS_TC) != 0;
	for (unsigned i = 0; !*truncated && i < h.an; i++) {
		dns_rr_read(&r, &rr);
		if (!rbuf_ok(&r))
			return false;
		if (rr.type == q->type && rr.ip.family != 0 && json_array_size(list) < ADDRESSES_MAX)
			(void)json_array_append_new(list, json_string(ip_format(rr.ip, text)));
	}
	return true;
}

static int look_up(struct query *q, uint16_t type, json_t *list)
{
	static const char *const failures[] = { "", "it could not read the question", "it could not find out", "",
		"it does not do that", "it refuses to" };
	uint8_t *answer = malloc(DNS_MESSAGE_MAX);
	unsigned rcode = 0;
	bool truncated = false, ok;

	if (answer == NULL || !make_query(q, type)) {
		free(answer);
		return say(FAILED, "out of memory");
	}
	ssize_t n = exchange_udp(q, answer, DNS_MESSAGE_MAX);
	ok = n >= 0 && read_answer(q, answer, (size_t)n, list, &rcode, &truncated);
	if (ok && truncated) {
		n = exchange_tcp(q, answer, DNS_MESSAGE_MAX);
		ok = n >= 0 && read_answer(q, answer, (size_t)n, list, &rcode, &truncated);
	}
	free(answer);
	if (!ok)
		return say(FAILED, "the daemon's name service does not answer; 'weft status' says whether it is well");
	if (rcode != DNS_NOERROR && rcode != DNS_NXDOMAIN)
		return say(FAILED, "the name service failed: %s",
			rcode < sizeof(failures) / sizeof(failures[0]) ? failures[rcode] : "unknown code");
	return DONE;
}

/* A name without dots is one in the domain. */
static int full_name(const char *text, const char *domain, struct dns_name *out)
{
	char *full = strchr(text, '.') == NULL ? format("%s.%s", text, domain) : format("%s", text);
	int code = dns_name_parse(full, out) == ERR_OK ? DONE : say(WRONG_USAGE, "'%s' is no name", text);

	free(full);
	return code;
}

static int print_addresses(const struct weft *w, const char *name, json_t *list)
{
	const json_t *v;
	size_t i;

	if (json_array_size(list) == 0)
		return say(NOT_FOUND, "'%s' has no address", name);
	if (w->json)
		return print_json(json_pack("{s:i, s:s, s:O}", "schema", 1, "name", name, "addresses", list));
	json_array_foreach(list, i, v)(void) puts(json_string_value(v));
	return print_bytes("", 0);
}

int verb_dns_lookup(const struct weft *w, int argc, char **argv)
{
	char *address = NULL, *domain = NULL;
	struct query q = { .type = 0 };
	struct hostport at;
	json_t *list = json_array();

	if (argc != 1 || argv[0][0] == '-') {
		json_decref(list);
		return usage(w, "give one name");
	}
	int code = ask_text(w, "/dns-address-port", &address);
	if (code == DONE)
		code = ask_text(w, "/domain", &domain);
	if (code == DONE && (address == NULL || domain == NULL || hostport_parse(address, 53, &at) != ERR_OK))
		code = say(FAILED, "names are off on this host; start the daemon without --no-dns");
	if (code == DONE)
		code = full_name(argv[0], domain, &q.name);
	if (code == DONE) {
		address_of(at, &q);
		code = look_up(&q, DNS_A, list);
	}
	if (code == DONE)
		code = look_up(&q, DNS_AAAA, list);
	if (code == DONE)
		code = print_addresses(w, argv[0], list);
	free(address);
	free(domain);
	json_decref(list);
	return code;
}
