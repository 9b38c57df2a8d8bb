/* The daemon's options.
 *
 * One list (OPTION_LIST) says for each its name, what it takes, who sets it, and its line of help. Sources are applied from the weakest to
 * the strongest: file, environment, command line. The first value that a source gives to an option takes the place of what weaker sources
 * said, so lists are not joined across sources. Malformed values are refused wherever they stand, also where a stronger source
 * says otherwise. */
#include "router/options.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/mem.h"
#include "dns/name.h"
#include "gossip/gossip.h"
#include "router/link.h"

enum {
	FILE_MAX = 1 << 20,     /* bytes of the configuration file */
	LINE_OPTION_MAX = 4096, /* bytes of one of its lines */
	PASSWORD_MAX = 1024,
	VALUE_SHOWN = 60, /* bytes of a wrong value that the error line repeats */
};
#define DEFAULT_CONFIG     "/etc/weft/weftd.conf"
#define DEFAULT_RANGE      "10.32.0.0/12"
#define DEFAULT_DNS_DOMAIN "weft.local."

enum source { FROM_DEFAULT, FROM_FILE, FROM_ENVIRONMENT, FROM_COMMAND_LINE };

struct setting { /* one value being set */
	struct options *o;
	const struct option *option;
	const char *value;
	enum source source;
	const char *file;
	unsigned line;
	bool first; /* of this source for this option */
	struct err_note *note;
};
typedef enum err (*option_set)(const struct setting *s);

struct option {
	const char *name, *arg; /* arg: with a blank before it; empty: a switch */
	option_set set;
	size_t field;
	bool list, anywhere; /* may be repeated; may stand in file and environment */
};

/* --- saying what is wrong ------------------------------------------------------------------------------------------------------------- */

static void env_name(const char *option, char *out, size_t size)
{
	size_t n = 0;

	for (const char *p = "WEFT_"; *p != '\0' && n + 1 < size; p++)
		out[n++] = *p;
	for (const char *p = option; *p != '\0' && n + 1 < size; p++)
		out[n++] = *p == '-' ? '_' : (char)(*p >= 'a' && *p <= 'z' ? *p - 'a' + 'A' : *p);
	out[n] = '\0';
}

static bool is_secret(const struct option *o);

/* "--port '99999' (weftd.conf:3): a port is …" */
static enum err wrong(const struct setting *s, const char *right)
{
	char where[96], env[48], value[VALUE_SHOWN + 8];

	switch (s->source) {
	case FROM_FILE:
		(void)snprintf(where, sizeof(where), "%.70s:%u", s->file, s->line);
		break;
	case FROM_ENVIRONMENT:
		env_name(s->option->name, env, sizeof(env));
		(void)snprintf(where, sizeof(where), "environment, %s", env);
		break;
	case FROM_DEFAULT:
	case FROM_COMMAND_LINE:
		(void)snprintf(where, sizeof(where), "command line");
		break;
	}
	if (is_secret(s->option))
		value[0] = '\0';
	else
		(void)snprintf(value, sizeof(value), " '%.*s'", VALUE_SHOWN, s->value);
	return err_note(s->note, ERR_USAGE, "--%s%s (%s): %s", s->option->name, value, where, right);
}

static enum err no_memory(struct err_note *note)
{
	return err_note(note, ERR_NOMEM, "out of memory");
}

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
		return no_memory(s->note);
	mem_free(*field);
	*field = copy;
	return ERR_OK;
}

static enum err set_switch(const struct setting *s)
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
	return wrong(s, "it is true or false");
}

static enum err set_path(const struct setting *s)
{
	return s->value[0] != '\0' ? set_text(s, s->value) : wrong(s, "it is the path of a file or directory");
}

static enum err set_socket(const struct setting *s)
{
	if (s->value[0] == '\0' || strlen(s->value) >= sizeof(((struct sockaddr_un *)NULL)->sun_path))
		return wrong(s, "it is a path of at most 107 bytes (a limit of Unix sockets)");
	return set_text(s, s->value);
}

static enum err set_host(const struct setting *s)
{
	if (s->value[0] == '\0') {
		*(struct ip *)field_of(s) = (struct ip){ 0 };
		return ERR_OK;
	}
	if (ip_parse(s->value, field_of(s)) != ERR_OK)
		return wrong(s, "it is an address of this host, like 192.0.2.1");
	return ERR_OK;
}

static enum err set_port(const struct setting *s)
{
	uint64_t v;

	if (!parse_number(s->value, 65534, &v) || v == 0)
		return wrong(s, "a port from 1 to 65534 (VXLAN takes the one after it)");
	*(uint16_t *)field_of(s) = (uint16_t)v;
	return ERR_OK;
}

static bool is_nickname(const char *v)
{
	size_t n = strlen(v);

	for (size_t i = 0; i < n; i++)
		if ((unsigned char)v[i] <= ' ' || v[i] == 0x7f || strchr("(),", v[i]) != NULL)
			return false;
	return n > 0 && n <= GOSSIP_NICKNAME_MAX;
}

static enum err set_nickname(const struct setting *s)
{
	if (!is_nickname(s->value))
		return wrong(s, "1 to 64 bytes without blanks, commas and parentheses");
	(void)snprintf(s->o->nickname, sizeof(s->o->nickname), "%s", s->value);
	return ERR_OK;
}

static enum err set_name(const struct setting *s)
{
	if (peer_parse(s->value, field_of(s)) != ERR_OK || s->o->name == PEER_NONE)
		return wrong(s, "a peer name is 48 bits written as a MAC, like 02:00:00:00:00:01, and not zero");
	return ERR_OK;
}

static enum err set_listen(const struct setting *s, struct hostport *out)
{
	if (hostport_parse(s->value, 0, out) != ERR_OK || out->port == 0)
		return wrong(s, "it is an address and a port, like 127.0.0.1:6784");
	return ERR_OK;
}

static enum err set_http_addr(const struct setting *s)
{
	s->o->http = s->value[0] != '\0';
	return s->o->http ? set_listen(s, &s->o->http_addr) : ERR_OK;
}

static enum err set_status_addr(const struct setting *s)
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
		return wrong(s, "the password is empty; leave the option out for a mesh without one");
	if (memchr(text, '\0', n) != NULL || n > PASSWORD_MAX)
		return wrong(s, "a password has at most 1024 bytes and no zero byte");
	if (sodium_init() < 0)
		return err_note(s->note, ERR_SYSTEM, "libsodium does not start: no source of random numbers");
	copy = sodium_malloc(n + 1);
	if (copy == NULL)
		return no_memory(s->note);
	memcpy(copy, text, n);
	copy[n] = '\0';
	sodium_free(*field);
	*field = copy;
	return ERR_OK;
}

static enum err set_password(const struct setting *s)
{
	return keep_password(s, s->value, strlen(s->value));
}

static enum err set_password_file(const struct setting *s)
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
		return wrong(s, why);
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
	char part[LINE_OPTION_MAX];
	struct setting one = *s;

	one.value = part;
	for (const char *p = text; *text != '\0'; p++) {
		size_t n = strcspn(p, ",");
		if (n >= sizeof(part))
			return wrong(s, "too long");
		memcpy(part, p, n);
		part[n] = '\0';
		if (n == 0)
			return wrong(s, "an empty place in a list; parts are separated by single commas");
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
		return wrong(s, "at most 256 subnets");
	struct prefix *p = &o->trusted[o->n_trusted];
	if (prefix_parse(s->value, p) != ERR_OK || !prefix_is_network(*p))
		return wrong(s, "a subnet like 192.0.2.0/24, without bits after the prefix");
	o->n_trusted++;
	return ERR_OK;
}

static enum err set_trusted(const struct setting *s)
{
	if (s->first)
		s->o->n_trusted = 0;
	return each_part(s, s->value, add_subnet);
}

static enum err set_conn_limit(const struct setting *s)
{
	uint64_t v;

	if (!parse_number(s->value, UINT32_MAX, &v))
		return wrong(s, "a number of connections, 0 for no limit");
	*(uint32_t *)field_of(s) = (uint32_t)v;
	return ERR_OK;
}

static enum err set_mtu(const struct setting *s)
{
	uint64_t v;

	if (!parse_number(s->value, LINK_MTU_MAX, &v) || (v != 0 && v < LINK_MTU_MIN))
		return wrong(s, "0 (found by itself), or 576 to 65485");
	*(uint32_t *)field_of(s) = (uint32_t)v;
	return ERR_OK;
}

static enum err set_range(const struct setting *s)
{
	struct options *o = s->o;

	o->ipam = s->value[0] != '\0';
	o->range_auto = strcmp(s->value, "auto") == 0;
	o->range_given = true;
	o->range = (struct prefix){ .len = 0 };
	if (!o->ipam || o->range_auto)
		return ERR_OK;
	if (prefix_parse(s->value, &o->range) != ERR_OK || o->range.addr.family != 4)
		return wrong(s, "an IPv4 range like 10.32.0.0/12, or auto, or \"\" for no address management");
	if (!prefix_is_network(o->range))
		return wrong(s, "it has bits after the prefix");
	if (o->range.len < 8 || o->range.len > 30)
		return wrong(s, "the prefix is 8 to 30 bits long");
	return ERR_OK;
}

static enum err set_range6(const struct setting *s)
{
	struct prefix *p = field_of(s);

	*p = (struct prefix){ .len = 0 };
	if (s->value[0] == '\0')
		return ERR_OK;
	if (prefix_parse(s->value, p) != ERR_OK || p->addr.family != 6)
		return wrong(s, "an IPv6 prefix like fd00:1234::/64");
	return prefix_is_network(*p) ? ERR_OK : wrong(s, "it has bits after the prefix");
}

static enum err set_default_subnet(const struct setting *s)
{
	struct prefix *p = field_of(s);

	if (prefix_parse(s->value, p) != ERR_OK || p->addr.family != 4)
		return wrong(s, "an IPv4 subnet like 10.32.1.0/24");
	if (!prefix_is_network(*p))
		return wrong(s, "it has bits after the prefix");
	if (p->len < 1 || p->len > 30)
		return wrong(s, "the prefix is 1 to 30 bits long: first and last address of a subnet are never given");
	return ERR_OK;
}

static void clear_texts(char ***list, size_t *n)
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
		return no_memory(s->note);
	}
	*list = more;
	more[(*n)++] = copy;
	return ERR_OK;
}

static enum err add_seed(const struct setting *s)
{
	uint64_t name;

	if (s->o->n_seeds == OPTIONS_SEEDS_MAX)
		return wrong(s, "at most 1024 seeds");
	if (peer_parse(s->value, &name) != ERR_OK && !is_nickname(s->value))
		return wrong(s, "a seed is a peer name or nickname");
	for (size_t i = 0; i < s->o->n_seeds; i++)
		if (strcmp(s->o->seeds[i], s->value) == 0)
			return wrong(s, "the same seed twice");
	return add_text(s, &s->o->seeds, &s->o->n_seeds, s->value);
}

static enum err set_init(const struct setting *s)
{
	static const char forms[] = "one of consensus, consensus=N (N hosts, 1 or more), seed=NAME,…, observer";
	struct options *o = s->o;
	uint64_t n = 0;

	clear_texts(&o->seeds, &o->n_seeds);
	o->consensus = 0;
	o->init_given = true;
	if (strcmp(s->value, "observer") == 0) {
		o->init = INIT_OBSERVER;
		return ERR_OK;
	}
	if (strncmp(s->value, "consensus", 9) == 0 && (s->value[9] == '\0' || s->value[9] == '=')) {
		o->init = INIT_CONSENSUS;
		if (s->value[9] == '=' && (!parse_number(s->value + 10, OPTIONS_PEERS_MAX, &n) || n == 0))
			return wrong(s, forms);
		o->consensus = (uint32_t)n;
		return ERR_OK;
	}
	if (strncmp(s->value, "seed=", 5) == 0 && s->value[5] != '\0') {
		o->init = INIT_SEED;
		return each_part(s, s->value + 5, add_seed);
	}
	return wrong(s, forms);
}

static enum err set_domain(const struct setting *s)
{
	struct dns_name name;
	struct err_note why = { "" };
	char text[DNS_NAME_TEXT];

	if (dns_domain_check(s->value, &name, &why) != ERR_OK)
		return wrong(s, why.text);
	return set_text(s, dns_name_format(&name, text));
}

static enum err add_listen(const struct setting *s)
{
	struct options *o = s->o;

	if (o->n_dns_listen == OPTIONS_LISTEN_MAX)
		return wrong(s, "at most 8 addresses");
	struct hostport *h = &o->dns_listen[o->n_dns_listen];
	if (hostport_parse(s->value, 53, h) != ERR_OK || h->port == 0)
		return wrong(s, "an address, with a port unless it is 53, like 192.0.2.1:53");
	o->n_dns_listen++;
	return ERR_OK;
}

static enum err set_dns_listen(const struct setting *s)
{
	if (s->first)
		s->o->n_dns_listen = 0;
	return each_part(s, s->value, add_listen);
}

static enum err set_ttl(const struct setting *s)
{
	uint64_t v;

	if (!parse_number(s->value, 604800, &v))
		return wrong(s, "seconds, 0 to 604800");
	*(uint32_t *)field_of(s) = (uint32_t)v;
	return ERR_OK;
}

static enum err set_docker(const struct setting *s)
{
	if (s->value[0] != '\0' && strncmp(s->value, "unix:///", 8) != 0)
		return wrong(s, "a Unix socket like unix:///var/run/docker.sock, or \"\" for no Docker");
	return set_text(s, s->value);
}

static enum err set_level(const struct setting *s)
{
	static const char *const levels[] = { "debug", "info", "warning", "error" };

	for (size_t i = 0; i < sizeof(levels) / sizeof(levels[0]); i++) {
		if (strcmp(s->value, levels[i]) == 0) {
			s->o->log_level = (enum log_level)i;
			return ERR_OK;
		}
	}
	return wrong(s, "one of debug, info, warning, error");
}

static enum err set_format(const struct setting *s)
{
	s->o->log_json = strcmp(s->value, "json") == 0;
	return s->o->log_json || strcmp(s->value, "text") == 0 ? ERR_OK : wrong(s, "text or json");
}

static enum err add_peer(const struct setting *s)
{
	char host[256];
	uint16_t port;
	struct err_note why = { "" };

	if (s->o->n_peers == OPTIONS_PEERS_MAX)
		return wrong(s, "at most 1024 peers");
	if (strlen(s->value) >= GOSSIP_TARGET_TEXT || hostport_split(s->value, s->o->port, host, sizeof(host), &port, &why) != ERR_OK ||
	    host[0] == '\0' || port == 0)
		return wrong(s, "a peer is a host name or address, with a port if it is another: host, host:6783, [fd00::1]:6783");
	return add_text(s, &s->o->peers, &s->o->n_peers, s->value);
}

static enum err set_peer(const struct setting *s)
{
	if (s->source == FROM_COMMAND_LINE && s->value[0] == '\0')
		return add_peer(s); /* an empty word: refused there */
	if (s->first)
		clear_texts(&s->o->peers, &s->o->n_peers);
	return each_part(s, s->value, add_peer);
}

static enum err set_action(const struct setting *s)
{
	static const struct {
		const char *name;
		enum option_action action;
	} actions[] = { { "version", OPTIONS_VERSION }, { "help", OPTIONS_HELP }, { "check-config", OPTIONS_CHECK },
		{ "print-peer-name", OPTIONS_PRINT_PEER_NAME } };

	if (strcmp(s->value, "true") != 0)
		return wrong(s, "it takes no value");
	for (size_t i = 0; i < sizeof(actions) / sizeof(actions[0]); i++)
		if (strcmp(s->option->name, actions[i].name) == 0)
			s->o->action = actions[i].action;
	return ERR_OK;
}

/* --- the list --------------------------------------------------------------------------------------------------------------------------- */

#define SWITCH ""
/* X(name, argument, who sets it, field, may be repeated, in file and environment too, help) */
#define OPTION_LIST(X)                                                                                                                       \
	X("host", " ADDR", set_host, host, 0, 1, "listen here and connect from here (all addresses)")                                             \
	X("port", " N", set_port, port, 0, 1, "TCP for peers and UDP for data; VXLAN takes N+1 (6783)")                                           \
	X("nickname", " NAME", set_nickname, nickname, 0, 1, "what people call this host (its host name)")                                        \
	X("name", " MAC", set_name, name, 0, 1, "peer name (made of the identity key)")                                                           \
	X("state-dir", " DIR", set_path, state_dir, 0, 1, "identity and what was promised (/var/lib/weft)")                                       \
	X("socket", " PATH", set_socket, socket, 0, 1, "where the API listens (/run/weft/weft.sock)")                                             \
	X("http-addr", " ADDR:PORT", set_http_addr, http_addr, 0, 1, "the API over TCP as well, without authentication (off)")                    \
	X("status-addr", " ADDR:PORT", set_status_addr, status_addr, 0, 1, "status and metrics, read only, over TCP (off)")                       \
	X("password", " PW", set_password, password, 0, 1, "who knows it may join; better by file or WEFT_PASSWORD")                              \
	X("password-file", " FILE", set_password_file, password, 0, 1, "the same, from a file")                                                   \
	X("old-password-file", " FILE", set_password_file, old_password, 0, 1, "accepted as well while the password is being changed")            \
	X("trusted-subnets", " CIDR,...", set_trusted, trusted, 1, 1, "data between hosts in these goes unencrypted")                             \
	X("require-encryption", SWITCH, set_switch, require_encryption, 0, 1, "send no data unencrypted")                                        \
	X("no-fallback", SWITCH, set_switch, no_fallback, 0, 1, "no userspace path where the fast path fails")                                   \
	X("conn-limit", " N", set_conn_limit, conn_limit, 0, 1, "links to other hosts, 0 for no limit (200)")                                     \
	X("no-discovery", SWITCH, set_switch, no_discovery, 0, 1, "connect only to the peers given")                                             \
	X("resume", SWITCH, set_switch, resume, 0, 1, "connect to the peers of the last run as well")                                            \
	X("no-fastdp", SWITCH, set_switch, no_fastdp, 0, 1, "no kernel VXLAN")                                                                   \
	X("mtu", " N", set_mtu, mtu, 0, 1, "of containers' interfaces (0: that of the underlay less 94)")                                         \
	X("ipalloc-range", " CIDR|auto|\"\"", set_range, range, 0, 1, "where addresses come from, the same on all hosts (10.32.0.0/12)")          \
	X("ipalloc-range6", " PREFIX", set_range6, range6, 0, 1, "IPv6 addresses beside them (none)")                                             \
	X("ipalloc-default-subnet", " CIDR", set_default_subnet, default_subnet, 0, 1, "subnet of requests that name none (the range)")           \
	X("ipalloc-init", " HOW", set_init, init, 0, 1, "first division: consensus[=N], seed=NAME,..., observer (consensus)")                     \
	X("no-dns", SWITCH, set_switch, no_dns, 0, 1, "no name service")                                                                         \
	X("dns-domain", " DOMAIN", set_domain, dns_domain, 0, 1, "domain of containers' names (weft.local.)")                                     \
	X("dns-listen-address", " ADDR:PORT", set_dns_listen, dns_listen, 1, 1, "where names are answered (169.254.67.83:53 on the bridge)")      \
	X("dns-ttl", " S", set_ttl, dns_ttl, 0, 1, "seconds an answer may be kept (1)")                                                           \
	X("resolv-conf", " FILE", set_path, resolv_conf, 0, 1, "upstream name servers (/etc/resolv.conf)")                                        \
	X("docker-host", " unix://...|\"\"", set_docker, docker_host, 0, 1, "Docker's API (unix:///var/run/docker.sock)")                         \
	X("plugin", SWITCH, set_switch, plugin, 0, 1, "serve Docker's plugin socket (true)")                                                     \
	X("no-multicast-route", SWITCH, set_switch, no_multicast_route, 0, 1, "give containers no route for multicast")                          \
	X("log-level", " LEVEL", set_level, log_level, 0, 1, "debug, info, warning or error (info)")                                              \
	X("log-format", " FORMAT", set_format, log_json, 0, 1, "text or json (text)")                                                             \
	X("peer", " PEER,...", set_peer, peers, 1, 1, "peers, for file and environment")                                                          \
	X("config", " FILE", set_path, config, 0, 0, "options as 'name = value' lines (/etc/weft/weftd.conf)")                                    \
	X("check-config", SWITCH, set_action, action, 0, 0, "only say whether the options are right")                                            \
	X("print-peer-name", SWITCH, set_action, action, 0, 0, "only print this host's peer name")                                               \
	X("version", SWITCH, set_action, action, 0, 0, "only print the version")                                                                 \
	X("help", SWITCH, set_action, action, 0, 0, "only print this")

static const struct option options[] = {
#define X(name, arg, set, field, list, anywhere, help) { name, arg, set, offsetof(struct options, field), list, anywhere },
	OPTION_LIST(X)
#undef X
};
enum { OPTION_COUNT = sizeof(options) / sizeof(options[0]) };

const char *options_help(void)
{
	static const char text[] =
		"weftd [OPTION...] [PEER...]: the weft router of this host.\n\n"
		"Each option may stand as WEFT_NAME_IN_CAPITALS in the environment and as 'name = value' in the file of --config;\n"
		"the command line wins over the environment, the environment over the file. Switches take =false.\n\n"
#define X(name, arg, set, field, list, anywhere, help) "  --" name arg "\n        " help "\n"
		OPTION_LIST(X)
#undef X
		"\nweftd(8) says more.\n";

	return text;
}

static bool is_secret(const struct option *o)
{
	return o->set == set_password;
}

static const struct option *find_option(const char *name, size_t n)
{
	for (size_t i = 0; i < OPTION_COUNT; i++)
		if (strlen(options[i].name) == n && memcmp(options[i].name, name, n) == 0)
			return &options[i];
	return NULL;
}

/* --- sources ----------------------------------------------------------------------------------------------------------------------------- */

struct parse {
	struct options *o;
	enum source source;
	const char *file;
	unsigned line;
	bool seen[OPTION_COUNT]; /* by this source */
	struct err_note *note;
};

static enum err apply(struct parse *p, const struct option *option, const char *value)
{
	size_t i = (size_t)(option - options);
	struct setting s = {
		.o = p->o,
		.option = option,
		.value = value,
		.source = p->source,
		.file = p->file,
		.line = p->line,
		.first = !p->seen[i],
		.note = p->note,
	};

	if (p->source == FROM_FILE && p->seen[i] && !option->list)
		return wrong(&s, "it stands in the file twice");
	p->seen[i] = true;
	return option->set(&s);
}

static void begin(struct parse *p, enum source source, const char *file)
{
	p->source = source;
	p->file = file;
	p->line = 0;
	memset(p->seen, 0, sizeof(p->seen));
}

static size_t trim(const char **p, size_t n)
{
	while (n > 0 && ((*p)[0] == ' ' || (*p)[0] == '\t')) {
		(*p)++;
		n--;
	}
	while (n > 0 && strchr(" \t\r", (*p)[n - 1]) != NULL && (*p)[n - 1] != '\0')
		n--;
	return n;
}

/* One line of the file without its end: empty, a comment, or name = value. The value may stand in double quotes. */
static enum err parse_line(struct parse *p, const char *line, size_t n)
{
	char value[LINE_OPTION_MAX];
	const char *eq, *v;

	n = trim(&line, n);
	if (n == 0 || line[0] == '#')
		return ERR_OK;
	if (n >= sizeof(value) || memchr(line, '\0', n) != NULL)
		return err_note(p->note, ERR_USAGE, "%.100s:%u: a line of more than 4095 bytes, or with a zero byte; is this the right file?", p->file, p->line);
	eq = memchr(line, '=', n);
	if (eq == NULL)
		return err_note(p->note, ERR_USAGE, "%.100s:%u: '%.*s' is not of the form name = value", p->file, p->line,
		                (int)(n < VALUE_SHOWN ? n : VALUE_SHOWN), line);
	const char *name = line;
	size_t name_len = trim(&name, (size_t)(eq - line));
	const struct option *option = find_option(name, name_len);
	if (option == NULL || !option->anywhere)
		return err_note(p->note, ERR_USAGE, "%.100s:%u: '%.*s' is no option for the file; weftd --help lists them", p->file, p->line,
		                (int)(name_len < VALUE_SHOWN ? name_len : VALUE_SHOWN), name);
	v = eq + 1;
	size_t v_len = trim(&v, n - (size_t)(eq + 1 - line));
	if (v_len >= 2 && v[0] == '"' && v[v_len - 1] == '"') {
		v++;
		v_len -= 2;
	}
	memcpy(value, v, v_len);
	value[v_len] = '\0';
	enum err err = apply(p, option, value);
	if (is_secret(option))
		sodium_memzero(value, sizeof(value));
	return err;
}

static enum err parse_text(struct parse *p, struct slice text)
{
	const char *at = (const char *)text.p;
	size_t left = text.n;
	enum err err = ERR_OK;

	while (err == ERR_OK && left > 0) {
		const char *end = memchr(at, '\n', left);
		size_t n = end != NULL ? (size_t)(end - at) : left;
		p->line++;
		err = parse_line(p, at, n);
		n = end != NULL ? n + 1 : n;
		at += n;
		left -= n;
	}
	return err;
}

enum err options_parse_file(struct options *o, const char *file, struct slice text, struct err_note *note)
{
	struct parse p = { .o = o, .note = note };

	begin(&p, FROM_FILE, file);
	return parse_text(&p, text);
}

static enum err read_config(struct options *o, bool given, struct err_note *note)
{
	int fd = open(o->config, O_RDONLY | O_CLOEXEC);
	char *text = NULL;
	size_t n = 0;
	ssize_t got = 1;
	enum err err = ERR_OK;

	if (fd < 0 && !given && (errno == ENOENT || errno == ENOTDIR))
		return ERR_OK;
	if (fd < 0)
		return err_note(note, ERR_USAGE, "--config '%.150s': cannot be opened: %s", o->config, strerror(errno));
	text = mem_alloc(FILE_MAX + 1);
	if (text == NULL)
		err = no_memory(note);
	while (err == ERR_OK && got > 0 && n <= FILE_MAX) {
		got = read(fd, text + n, FILE_MAX + 1 - n);
		if (got < 0)
			err = err_note(note, ERR_USAGE, "--config '%.150s': cannot be read: %s", o->config, strerror(errno));
		else
			n += (size_t)got;
	}
	if (err == ERR_OK && n > FILE_MAX)
		err = err_note(note, ERR_USAGE, "--config '%.150s': over 1 MiB; is this the right file?", o->config);
	if (err == ERR_OK)
		err = options_parse_file(o, o->config, slice_of(text, n), note);
	if (text != NULL)
		sodium_memzero(text, n);
	mem_free(text);
	(void)close(fd);
	return err;
}

static enum err parse_environment(struct parse *p, char *const *envp)
{
	char name[48];

	begin(p, FROM_ENVIRONMENT, NULL);
	for (size_t i = 0; i < OPTION_COUNT; i++) {
		if (!options[i].anywhere)
			continue;
		env_name(options[i].name, name, sizeof(name));
		size_t n = strlen(name);
		for (char *const *e = envp; e != NULL && *e != NULL; e++) {
			if (strncmp(*e, name, n) != 0 || (*e)[n] != '=')
				continue;
			enum err err = apply(p, &options[i], *e + n + 1);
			if (err != ERR_OK)
				return err;
			break;
		}
	}
	return ERR_OK;
}

/* Takes one option apart: *value is what follows '=', or the next word, or "true" for a switch. */
static enum err split_option(int argc, char *const *argv, int *i, const struct option **option, const char **value, struct err_note *note)
{
	const char *word = argv[*i] + 2;
	size_t n = strcspn(word, "=");

	*option = find_option(word, n);
	if (*option == NULL)
		return err_note(note, ERR_USAGE, "unknown option '--%.*s' (command line); weftd --help lists the options",
		                (int)(n < VALUE_SHOWN ? n : VALUE_SHOWN), word);
	if (word[n] == '=') {
		*value = word + n + 1;
	} else if ((*option)->arg[0] == '\0') {
		*value = "true";
	} else if (*i + 1 < argc) {
		*value = argv[++*i];
	} else {
		return err_note(note, ERR_USAGE, "--%s (command line): its value is missing: --%s%s", (*option)->name, (*option)->name, (*option)->arg);
	}
	return ERR_OK;
}

/* early: only those options that say what else is to be read. */
static enum err parse_command_line(struct parse *p, int argc, char *const *argv, bool early)
{
	bool words_only = false;

	begin(p, FROM_COMMAND_LINE, NULL);
	for (int i = 1; i < argc; i++) {
		const struct option *option = find_option("peer", 4);
		const char *value = argv[i];
		enum err err = ERR_OK;
		if (!words_only && strcmp(value, "--") == 0) {
			words_only = true;
			continue;
		}
		if (!words_only && strncmp(value, "--", 2) == 0)
			err = split_option(argc, argv, &i, &option, &value, p->note);
		else if (!words_only && value[0] == '-')
			err = err_note(p->note, ERR_USAGE, "unknown option '%.60s' (command line); options begin with two dashes", value);
		if (err == ERR_OK && early == !option->anywhere)
			err = apply(p, option, value);
		if (err != ERR_OK)
			return err;
	}
	return ERR_OK;
}

enum err options_defaults(struct options *o, struct err_note *note)
{
	char name[256] = "";

	memset(o, 0, sizeof(*o));
	o->port = 6783;
	o->conn_limit = 200;
	o->ipam = true;
	o->dns_ttl = 1;
	o->plugin = true;
	o->log_level = LOG_LEVEL_INFO;
	o->state_dir = mem_strdup("/var/lib/weft");
	o->socket = mem_strdup("/run/weft/weft.sock");
	o->dns_domain = mem_strdup(DEFAULT_DNS_DOMAIN);
	o->resolv_conf = mem_strdup("/etc/resolv.conf");
	o->docker_host = mem_strdup("unix:///var/run/docker.sock");
	o->config = mem_strdup(DEFAULT_CONFIG);
	if (o->state_dir == NULL || o->socket == NULL || o->dns_domain == NULL || o->resolv_conf == NULL || o->docker_host == NULL ||
	    o->config == NULL)
		return no_memory(note);
	enum err err = prefix_parse(DEFAULT_RANGE, &o->range);
	assert(err == ERR_OK);
	(void)gethostname(name, sizeof(name) - 1);
	name[GOSSIP_NICKNAME_MAX] = '\0';
	(void)snprintf(o->nickname, sizeof(o->nickname), "%s", is_nickname(name) ? name : "localhost");
	return ERR_OK;
}

enum err options_check(const struct options *o, struct err_note *note)
{
	char a[PREFIX_TEXT], b[PREFIX_TEXT];

	if (!o->ipam && o->init_given)
		return err_note(note, ERR_USAGE, "--ipalloc-init is given, but address management is off (--ipalloc-range \"\"); leave one of them out");
	if (!o->ipam && o->default_subnet.addr.family != 0)
		return err_note(note, ERR_USAGE,
		                "--ipalloc-default-subnet is given, but address management is off (--ipalloc-range \"\"); leave one of them out");
	if (!o->ipam && o->range6.addr.family != 0)
		return err_note(note, ERR_USAGE, "--ipalloc-range6 is given, but address management is off (--ipalloc-range \"\"); leave one of them out");
	if (o->ipam && o->range.addr.family != 0 && o->default_subnet.addr.family != 0 && !prefix_overlaps(o->range, o->default_subnet))
		return err_note(note, ERR_USAGE, "--ipalloc-default-subnet %s lies outside --ipalloc-range %s; they have to overlap",
		                prefix_format(o->default_subnet, a), prefix_format(o->range, b));
	if (o->range6.addr.family != 0 && o->range.addr.family != 0 && o->range6.len + 32u - o->range.len > 128)
		return err_note(note, ERR_USAGE, "--ipalloc-range6 %s is smaller than --ipalloc-range %s; every IPv4 address needs one there",
		                prefix_format(o->range6, a), prefix_format(o->range, b));
	if (o->require_encryption && o->password == NULL)
		return err_note(note, ERR_USAGE, "--require-encryption needs a password; give --password-file or WEFT_PASSWORD");
	return ERR_OK;
}

enum err options_parse(struct options *o, int argc, char *const *argv, char *const *envp, struct err_note *note)
{
	struct parse p = { .o = o, .note = note };
	const struct option *config = find_option("config", 6);
	bool given = false;
	enum err err = options_defaults(o, note);

	if (err == ERR_OK) {
		const char *from_env = NULL;
		for (char *const *e = envp; e != NULL && *e != NULL; e++)
			if (strncmp(*e, "WEFT_CONFIG=", 12) == 0)
				from_env = *e + 12;
		if (from_env != NULL) {
			begin(&p, FROM_ENVIRONMENT, NULL);
			err = apply(&p, config, from_env);
			given = true;
		}
	}
	if (err == ERR_OK)
		err = parse_command_line(&p, argc, argv, true);
	given = given || p.seen[config - options];
	if (err == ERR_OK && o->action != OPTIONS_VERSION && o->action != OPTIONS_HELP) {
		err = read_config(o, given, note);
		if (err == ERR_OK)
			err = parse_environment(&p, envp);
		if (err == ERR_OK)
			err = parse_command_line(&p, argc, argv, false);
		if (err == ERR_OK)
			err = options_check(o, note);
	}
	if (err != ERR_OK)
		options_free(o);
	return err;
}

void options_free(struct options *o)
{
	if (o == NULL)
		return;
	mem_free(o->state_dir);
	mem_free(o->socket);
	mem_free(o->dns_domain);
	mem_free(o->resolv_conf);
	mem_free(o->docker_host);
	mem_free(o->config);
	sodium_free(o->password);
	sodium_free(o->old_password);
	clear_texts(&o->seeds, &o->n_seeds);
	clear_texts(&o->peers, &o->n_peers);
	memset(o, 0, sizeof(*o));
}
