/* What the value of each option may be, and where it goes. */
#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <sodium.h>
#include <stdio.h>
#include <string.h>
#include <sys/un.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/mem.h"
#include "dns/name.h"
#include "gossip/gossip.h"
#include "router/core/core.h"
#include "router/dataplane/capture.h"
#include "router/dataplane/link.h"
#include "router/options_internal.h"

enum { PASSWORD_MAX = 1024 };
#define DURATION_MIN_MS UINT64_C(2000)
#define DURATION_MAX_MS UINT64_C(31536000000) /* 8760 h */

static_assert((int)OPTIONS_NETS_MAX == (int)CORE_TRUSTED_MAX, "all trusted subnets can be published");
static_assert(OPTIONS_QUEUES_MAX <= CAPTURE_QUEUES_MAX, "a capture has a queue for each thread");
static_assert((int)OPTIONS_CAPTURE_TAP == (int)CAPTURE_TAP && (int)OPTIONS_CAPTURE_PCAP == (int)CAPTURE_PCAP, "the same order");

/* --- values --------------------------------------------------------------------------------------------------------------------------- */

static void *field_of(const struct setting *s)
{
	return (uint8_t *)s->o + s->option->field;
}

static bool parse_number(const char *text, uint64_t max, uint64_t *out)
{
	uint64_t v = 0;

	if (text[0] == '\0' || strlen(text) > 10)
		return false;
	for (; *text != '\0'; text++) {
		if (*text < '0' || *text > '9')
			return false;
		v = v * 10 + (uint64_t)(*text - '0');
	}
	*out = v;
	return v <= max;
}

static enum err set_text(const struct setting *s, const char *value)
{
	char **field = field_of(s);
	char *copy = mem_strdup(value);

	if (copy == NULL)
		return options_no_memory(s->note);
	mem_free(*field);
	*field = copy;
	return ERR_OK;
}

enum err options_set_switch(const struct setting *s)
{
	static const char *const words[][2] = { { "false", "true" }, { "no", "yes" }, { "off", "on" }, { "0", "1" } };

	for (size_t i = 0; i < sizeof(words) / sizeof(words[0]); i++) {
		for (int on = 0; on < 2; on++) {
			if (strcmp(s->value, words[i][on]) == 0) {
				*(bool *)field_of(s) = on == 1;
				return ERR_OK;
			}
		}
	}
	return options_wrong(s, "it is true or false");
}

enum err options_set_path(const struct setting *s)
{
	return s->value[0] != '\0' ? set_text(s, s->value) : options_wrong(s, "it is the path of a file or directory");
}

enum err options_set_socket(const struct setting *s)
{
	if (s->value[0] == '\0' || strlen(s->value) >= sizeof(((struct sockaddr_un *)NULL)->sun_path))
		return options_wrong(s, "it is a path of at most 107 bytes (a limit of Unix sockets)");
	return set_text(s, s->value);
}

enum err options_set_host(const struct setting *s)
{
	if (s->value[0] == '\0') {
		*(struct ip *)field_of(s) = (struct ip){ 0 };
		return ERR_OK;
	}
	if (ip_parse(s->value, field_of(s)) != ERR_OK)
		return options_wrong(s, "it is an address of this host, like 192.0.2.1");
	return ERR_OK;
}

enum err options_set_port(const struct setting *s)
{
	uint64_t v;

	if (!parse_number(s->value, 65534, &v) || v == 0)
		return options_wrong(s, "a port from 1 to 65534 (VXLAN takes the one after it)");
	*(uint16_t *)field_of(s) = (uint16_t)v;
	return ERR_OK;
}

bool options_is_nickname(const char *v)
{
	size_t n = strlen(v);

	for (size_t i = 0; i < n; i++)
		if ((unsigned char)v[i] <= ' ' || v[i] == 0x7f || strchr("(),", v[i]) != NULL)
			return false;
	return n > 0 && n <= GOSSIP_NICKNAME_MAX;
}

enum err options_set_nickname(const struct setting *s)
{
	if (!options_is_nickname(s->value))
		return options_wrong(s, "1 to 64 bytes without blanks, commas and parentheses");
	(void)snprintf(s->o->nickname, sizeof(s->o->nickname), "%s", s->value);
	return ERR_OK;
}

enum err options_set_name(const struct setting *s)
{
	if (peer_parse(s->value, field_of(s)) != ERR_OK || s->o->name == PEER_NONE)
		return options_wrong(s, "a peer name is 48 bits written as a MAC, like 02:00:00:00:00:01, and not zero");
	return ERR_OK;
}

static enum err set_listen(const struct setting *s, struct hostport *out)
{
	if (hostport_parse(s->value, 0, out) != ERR_OK || out->port == 0)
		return options_wrong(s, "it is an address and a port, like 127.0.0.1:6784");
	return ERR_OK;
}

enum err options_set_http_addr(const struct setting *s)
{
	s->o->http = s->value[0] != '\0';
	return s->o->http ? set_listen(s, &s->o->http_addr) : ERR_OK;
}

enum err options_set_status_addr(const struct setting *s)
{
	s->o->status = s->value[0] != '\0';
	return s->o->status ? set_listen(s, &s->o->status_addr) : ERR_OK;
}

/* Takes n bytes of text. */
static enum err keep_password(const struct setting *s, const char *text, size_t n)
{
	char **field = field_of(s);
	char *copy;

	if (n == 0)
		return options_wrong(s, "the password is empty; leave the option out for a mesh without one");
	if (memchr(text, '\0', n) != NULL || n > PASSWORD_MAX)
		return options_wrong(s, "a password has at most 1024 bytes and no zero byte");
	if (sodium_init() < 0)
		return err_note(s->note, ERR_SYSTEM, "libsodium does not start: no source of random numbers");
	copy = sodium_malloc(n + 1);
	if (copy == NULL)
		return options_no_memory(s->note);
	memcpy(copy, text, n);
	copy[n] = '\0';
	sodium_free(*field);
	*field = copy;
	return ERR_OK;
}

enum err options_set_password(const struct setting *s)
{
	return keep_password(s, s->value, strlen(s->value));
}

enum err options_set_password_file(const struct setting *s)
{
	char text[PASSWORD_MAX + 3], why[96];
	int fd = open(s->value, O_RDONLY | O_CLOEXEC);
	ssize_t got = fd >= 0 ? 1 : -1;
	size_t n = 0;

	while (got > 0 && n < sizeof(text)) { /* a pipe gives what it has */
		got = read(fd, text + n, sizeof(text) - n);
		n += got > 0 ? (size_t)got : 0;
	}
	int error = errno;
	if (fd >= 0)
		(void)close(fd);
	if (got < 0) {
		(void)snprintf(why, sizeof(why), "cannot be read: %s", strerror(error));
		return options_wrong(s, why);
	}
	if (n > 0 && text[n - 1] == '\n')
		n--;
	if (n > 0 && text[n - 1] == '\r')
		n--;
	enum err err = keep_password(s, text, n);
	sodium_memzero(text, sizeof(text));
	return err;
}

/* Calls fn for each part between commas; empty parts are wrong, an empty text has none. */
static enum err each_part(const struct setting *s, const char *text, enum err (*fn)(const struct setting *part))
{
	char part[OPTIONS_LINE_MAX];
	struct setting one = *s;

	one.value = part;
	for (const char *p = text; *text != '\0'; p++) {
		size_t n = strcspn(p, ",");
		if (n >= sizeof(part))
			return options_wrong(s, "too long");
		memcpy(part, p, n);
		part[n] = '\0';
		if (n == 0)
			return options_wrong(s, "an empty place in a list; parts are separated by single commas");
		enum err err = fn(&one);
		if (err != ERR_OK)
			return err;
		p += n;
		if (*p == '\0')
			break;
	}
	return ERR_OK;
}

static enum err add_subnet(const struct setting *s)
{
	struct options *o = s->o;

	if (o->n_trusted == OPTIONS_NETS_MAX)
		return options_wrong(s, "at most 16 subnets, since every host tells all others of its own; give larger ones");
	struct prefix *p = &o->trusted[o->n_trusted];
	if (prefix_parse(s->value, p) != ERR_OK || !prefix_is_network(*p))
		return options_wrong(s, "a subnet like 192.0.2.0/24, without bits after the prefix");
	o->n_trusted++;
	return ERR_OK;
}

enum err options_set_trusted(const struct setting *s)
{
	if (s->first)
		s->o->n_trusted = 0;
	return each_part(s, s->value, add_subnet);
}

enum err options_set_conn_limit(const struct setting *s)
{
	uint64_t v;

	if (!parse_number(s->value, UINT32_MAX, &v))
		return options_wrong(s, "a number of connections, 0 for no limit");
	*(uint32_t *)field_of(s) = (uint32_t)v;
	return ERR_OK;
}

enum err options_set_mtu(const struct setting *s)
{
	uint64_t v;

	if (!parse_number(s->value, LINK_MTU_MAX, &v) || (v != 0 && v < LINK_MTU_MIN))
		return options_wrong(s, "0 (found by itself), or 576 to 65485");
	*(uint32_t *)field_of(s) = (uint32_t)v;
	return ERR_OK;
}

enum err options_set_capture(const struct setting *s)
{
	static const char *const kinds[] = { "auto", "tap", "pcap" };

	for (size_t i = 0; i < sizeof(kinds) / sizeof(kinds[0]); i++) {
		if (strcmp(s->value, kinds[i]) == 0) {
			s->o->capture = (enum option_capture)i;
			return ERR_OK;
		}
	}
	return options_wrong(s, "one of tap, pcap, auto");
}

enum err options_set_queues(const struct setting *s)
{
	uint64_t v;

	if (!parse_number(s->value, OPTIONS_QUEUES_MAX, &v))
		return options_wrong(s, "0 (as many as suit the machine), or 1 to 8");
	s->o->data_queues = (uint32_t)v;
	return ERR_OK;
}

enum err options_set_range(const struct setting *s)
{
	struct options *o = s->o;

	o->ipam = s->value[0] != '\0';
	o->range_auto = strcmp(s->value, "auto") == 0;
	o->range_given = true;
	o->range = (struct prefix){ .len = 0 };
	if (!o->ipam || o->range_auto)
		return ERR_OK;
	if (prefix_parse(s->value, &o->range) != ERR_OK || o->range.addr.family != 4)
		return options_wrong(s, "an IPv4 range like 10.32.0.0/12, or auto, or \"\" for no address management");
	if (!prefix_is_network(o->range))
		return options_wrong(s, "it has bits after the prefix");
	if (o->range.len < 8 || o->range.len > 30)
		return options_wrong(s, "the prefix is 8 to 30 bits long");
	return ERR_OK;
}

enum err options_set_range6(const struct setting *s)
{
	struct prefix *p = field_of(s);

	*p = (struct prefix){ .len = 0 };
	if (s->value[0] == '\0')
		return ERR_OK;
	if (prefix_parse(s->value, p) != ERR_OK || p->addr.family != 6)
		return options_wrong(s, "an IPv6 prefix like fd00:1234::/64");
	if (p->addr.b[0] == 0xff || (p->addr.b[0] == 0xfe && (p->addr.b[1] & 0xc0) == 0x80) || p->len < 8)
		return options_wrong(s,
			"an IPv6 prefix for hosts, like fd00:1234::/64: not of groups (ff00::/8) or of links (fe80::/10), and /8 or longer");
	return prefix_is_network(*p) ? ERR_OK : options_wrong(s, "it has bits after the prefix");
}

enum err options_set_default_subnet(const struct setting *s)
{
	struct prefix *p = field_of(s);

	if (prefix_parse(s->value, p) != ERR_OK || p->addr.family != 4)
		return options_wrong(s, "an IPv4 subnet like 10.32.1.0/24");
	if (!prefix_is_network(*p))
		return options_wrong(s, "it has bits after the prefix");
	if (p->len < 1 || p->len > 30)
		return options_wrong(s, "the prefix is 1 to 30 bits long: first and last address of a subnet are never given");
	return ERR_OK;
}

void options_clear_texts(char ***list, size_t *n)
{
	for (size_t i = 0; i < *n; i++)
		mem_free((*list)[i]);
	mem_free(*list);
	*list = NULL;
	*n = 0;
}

static enum err add_text(const struct setting *s, char ***list, size_t *n, const char *value)
{
	char *copy = mem_strdup(value);
	char **more = copy != NULL ? mem_realloc(*list, (*n + 1) * sizeof(**list)) : NULL;

	if (more == NULL) {
		mem_free(copy);
		return options_no_memory(s->note);
	}
	*list = more;
	more[(*n)++] = copy;
	return ERR_OK;
}

static enum err add_seed(const struct setting *s)
{
	uint64_t name;

	if (s->o->n_seeds == OPTIONS_SEEDS_MAX)
		return options_wrong(s, "at most 1024 seeds");
	if (peer_parse(s->value, &name) != ERR_OK && !options_is_nickname(s->value))
		return options_wrong(s, "a seed is a peer name or nickname");
	for (size_t i = 0; i < s->o->n_seeds; i++)
		if (strcmp(s->o->seeds[i], s->value) == 0)
			return options_wrong(s, "the same seed twice");
	return add_text(s, &s->o->seeds, &s->o->n_seeds, s->value);
}

enum err options_set_init(const struct setting *s)
{
	static const char forms[] = "one of consensus, consensus=N (N hosts, 1 or more), seed=NAME,…, observer";
	struct options *o = s->o;
	uint64_t n = 0;

	options_clear_texts(&o->seeds, &o->n_seeds);
	o->consensus = 0;
	o->init_given = true;
	if (strcmp(s->value, "observer") == 0) {
		o->init = INIT_OBSERVER;
		return ERR_OK;
	}
	if (strncmp(s->value, "consensus", 9) == 0 && (s->value[9] == '\0' || s->value[9] == '=')) {
		o->init = INIT_CONSENSUS;
		if (s->value[9] == '=' && (!parse_number(s->value + 10, OPTIONS_PEERS_MAX, &n) || n == 0))
			return options_wrong(s, forms);
		o->consensus = (uint32_t)n;
		return ERR_OK;
	}
	if (strncmp(s->value, "seed=", 5) == 0 && s->value[5] != '\0') {
		o->init = INIT_SEED;
		return each_part(s, s->value + 5, add_seed);
	}
	return options_wrong(s, forms);
}

enum err options_set_domain(const struct setting *s)
{
	struct dns_name name;
	struct err_note why = { "" };
	char text[DNS_NAME_TEXT];

	if (dns_domain_check(s->value, &name, &why) != ERR_OK)
		return options_wrong(s, why.text);
	return set_text(s, dns_name_format(&name, text));
}

static enum err add_listen(const struct setting *s)
{
	struct options *o = s->o;

	if (o->n_dns_listen == OPTIONS_LISTEN_MAX)
		return options_wrong(s, "at most 8 addresses");
	struct hostport *h = &o->dns_listen[o->n_dns_listen];
	if (hostport_parse(s->value, 53, h) != ERR_OK || h->port == 0)
		return options_wrong(s, "an address, with a port unless it is 53, like 192.0.2.1:53");
	o->n_dns_listen++;
	return ERR_OK;
}

enum err options_set_dns_listen(const struct setting *s)
{
	if (s->first)
		s->o->n_dns_listen = 0;
	return each_part(s, s->value, add_listen);
}

/* A whole number of s, m or h; 0 needs no unit. */
enum err options_set_duration(const struct setting *s)
{
	static const struct {
		char unit;
		uint64_t ms;
	} units[] = { { 's', 1000 }, { 'm', 60000 }, { 'h', 3600000 } };
	char digits[12];
	size_t n = strlen(s->value);
	uint64_t v = 0, ms = 0;
	bool ok = strcmp(s->value, "0") == 0;

	for (size_t i = 0; !ok && n > 1 && n < sizeof(digits) && i < sizeof(units) / sizeof(units[0]); i++) {
		if (s->value[n - 1] != units[i].unit)
			continue;
		(void)snprintf(digits, sizeof(digits), "%.*s", (int)(n - 1), s->value);
		ok = parse_number(digits, DURATION_MAX_MS / units[i].ms, &v);
		ms = v * units[i].ms;
	}
	if (!ok || (ms != 0 && ms < DURATION_MIN_MS))
		return options_wrong(s, "a time like 45s, 30m or 24h, from 2s to 8760h, or 0 for never");
	*(uint64_t *)field_of(s) = ms;
	return ERR_OK;
}

enum err options_set_ttl(const struct setting *s)
{
	uint64_t v;

	if (!parse_number(s->value, 604800, &v))
		return options_wrong(s, "seconds, 0 to 604800");
	*(uint32_t *)field_of(s) = (uint32_t)v;
	return ERR_OK;
}

enum err options_set_docker(const struct setting *s)
{
	struct hostport at;
	bool local = strncmp(s->value, "unix:///", 8) == 0 && strlen(s->value + 7) < sizeof(((struct sockaddr_un *)0)->sun_path);
	bool tcp = strncmp(s->value, "tcp://", 6) == 0 && hostport_parse(s->value + 6, 0, &at) == ERR_OK && at.port != 0;

	if (s->value[0] != '\0' && !local && !tcp)
		return options_wrong(s,
			"a Unix socket like unix:///var/run/docker.sock (at most 107 bytes), an address like tcp://127.0.0.1:2375, or \"\" for no Docker");
	return set_text(s, s->value);
}

enum err options_set_level(const struct setting *s)
{
	static const char *const levels[] = { "debug", "info", "warning", "error" };

	for (size_t i = 0; i < sizeof(levels) / sizeof(levels[0]); i++) {
		if (strcmp(s->value, levels[i]) == 0) {
			s->o->log_level = (enum log_level)i;
			return ERR_OK;
		}
	}
	return options_wrong(s, "one of debug, info, warning, error");
}

enum err options_set_scope(const struct setting *s)
{
	s->o->plugin_global = strcmp(s->value, "global") == 0;
	return s->o->plugin_global || strcmp(s->value, "local") == 0 ? ERR_OK : options_wrong(s, "local or global");
}

enum err options_set_format(const struct setting *s)
{
	s->o->log_json = strcmp(s->value, "json") == 0;
	return s->o->log_json || strcmp(s->value, "text") == 0 ? ERR_OK : options_wrong(s, "text or json");
}

static enum err add_peer(const struct setting *s)
{
	char host[256];
	uint16_t port;
	struct err_note why = { "" };

	if (s->o->n_peers == OPTIONS_PEERS_MAX)
		return options_wrong(s, "at most 1024 peers");
	if (strlen(s->value) >= GOSSIP_TARGET_TEXT ||
		hostport_split(s->value, s->o->port, host, sizeof(host), &port, &why) != ERR_OK || host[0] == '\0' || port == 0)
		return options_wrong(
			s, "a peer is a host name or address, with a port if it is another: host, host:6783, [fd00::1]:6783");
	return add_text(s, &s->o->peers, &s->o->n_peers, s->value);
}

enum err options_set_peer(const struct setting *s)
{
	if (s->source == FROM_COMMAND_LINE && s->value[0] == '\0')
		return add_peer(s); /* an empty word: refused there */
	if (s->first)
		options_clear_texts(&s->o->peers, &s->o->n_peers);
	return each_part(s, s->value, add_peer);
}

enum err options_set_action(const struct setting *s)
{
	static const struct {
		const char *name;
		enum option_action action;
	} actions[] = { { "version", OPTIONS_VERSION }, { "help", OPTIONS_HELP }, { "check-config", OPTIONS_CHECK },
		{ "print-peer-name", OPTIONS_PRINT_PEER_NAME } };

	if (strcmp(s->value, "true") != 0)
		return options_wrong(s, "it takes no value");
	for (size_t i = 0; i < sizeof(actions) / sizeof(actions[0]); i++)
		if (strcmp(s->option->name, actions[i].name) == 0)
			s->o->action = actions[i].action;
	return ERR_OK;
}
