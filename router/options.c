/* The daemon's options.
 *
 * One list (OPTION_LIST) says for each its name, what it takes, who sets it, and its line of help. Sources are applied from the weakest to
 * the strongest: file, environment, command line. The first value that a source gives to an option takes the place of what weaker sources
 * said, so lists are not joined across sources. Malformed values are refused wherever they stand, also where a stronger source
 * says otherwise. */
#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <sodium.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/mem.h"
#include "gossip/gossip.h"
#include "router/core/core.h"
#include "router/options_internal.h"

enum {
	FILE_MAX = 1 << 20, /* bytes of the configuration file */
	VALUE_SHOWN = 60,   /* bytes of a wrong value that the error line repeats */
};
#define DEFAULT_CONFIG     "/etc/weft/weftd.conf"
#define DEFAULT_RANGE      "10.32.0.0/12"
#define DEFAULT_DNS_DOMAIN "weft.local."

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

/* Values are repeated as they were given: nothing in them may reach a terminal as a command. */
static void make_showable(struct err_note *note)
{
	if (note == NULL || core_text_ok(slice_str(note->text)))
		return;
	for (char *p = note->text; *p != '\0'; p++)
		if ((unsigned char)*p < 0x20 || (unsigned char)*p > 0x7e)
			*p = '?';
}

/* "--port '99999' (weftd.conf:3): a port is …" */
enum err options_wrong(const struct setting *s, const char *right)
{
	char where[96], env[48], value[VALUE_SHOWN + 8];

	switch (s->source) {
	case FROM_FILE: (void)snprintf(where, sizeof(where), "%.70s:%u", s->file, s->line); break;
	case FROM_ENVIRONMENT:
		env_name(s->option->name, env, sizeof(env));
		(void)snprintf(where, sizeof(where), "environment, %s", env);
		break;
	case FROM_DEFAULT:
	case FROM_COMMAND_LINE: (void)snprintf(where, sizeof(where), "command line"); break;
	}
	if (is_secret(s->option))
		value[0] = '\0';
	else
		(void)snprintf(value, sizeof(value), " '%.*s'", VALUE_SHOWN, s->value);
	return err_note(s->note, ERR_USAGE, "--%s%s (%s): %s", s->option->name, value, where, right);
}

enum err options_no_memory(struct err_note *note)
{
	return err_note(note, ERR_NOMEM, "out of memory");
}

/* --- the list --------------------------------------------------------------------------------------------------------------------------- */

#define SWITCH ""
/* X(name, argument, who sets it, field, may be repeated, in file and environment too, help) */
#define OPTION_LIST(X)                                                                                                          \
	X("host", " ADDR", options_set_host, host, 0, 1, "listen here and connect from here (all addresses)")                       \
	X("port", " N", options_set_port, port, 0, 1, "TCP for peers and UDP for data; VXLAN takes N+1 (6783)")                     \
	X("nickname", " NAME", options_set_nickname, nickname, 0, 1, "what people call this host (its host name)")                  \
	X("name", " MAC", options_set_name, name, 0, 1, "peer name (made of the identity key)")                                     \
	X("state-dir", " DIR", options_set_path, state_dir, 0, 1, "identity and what was promised (/var/lib/weft)")                 \
	X("socket", " PATH", options_set_socket, socket, 0, 1, "where the API listens (/run/weft/weft.sock)")                       \
	X("http-addr", " ADDR:PORT", options_set_http_addr, http_addr, 0, 1,                                                        \
		"the API over TCP as well, without authentication (off)")                                                               \
	X("status-addr", " ADDR:PORT", options_set_status_addr, status_addr, 0, 1, "status and metrics, read only, over TCP (off)") \
	X("password", " PW", options_set_password, password, 0, 1, "who knows it may join; better by file or WEFT_PASSWORD")        \
	X("password-file", " FILE", options_set_password_file, password, 0, 1, "the same, from a file")                             \
	X("old-password-file", " FILE", options_set_password_file, old_password, 0, 1,                                              \
		"accepted as well while the password is being changed")                                                                 \
	X("trusted-subnets", " CIDR,...", options_set_trusted, trusted, 1, 1,                                                       \
		"data goes unencrypted between hosts whose addresses lie in these on both ends")                                        \
	X("require-encryption", SWITCH, options_set_switch, require_encryption, 0, 1, "send no data unencrypted")                   \
	X("no-fallback", SWITCH, options_set_switch, no_fallback, 0, 1, "no userspace path where the fast path fails")              \
	X("conn-limit", " N", options_set_conn_limit, conn_limit, 0, 1, "links to other hosts, 0 for no limit (200)")               \
	X("no-discovery", SWITCH, options_set_switch, no_discovery, 0, 1, "connect only to the peers given")                        \
	X("resume", SWITCH, options_set_switch, resume, 0, 1, "connect to the peers of the last run as well")                       \
	X("no-fastdp", SWITCH, options_set_switch, no_fastdp, 0, 1, "no kernel VXLAN")                                              \
	X("mtu", " N", options_set_mtu, mtu, 0, 1, "of containers' interfaces (0: that of the underlay less 94)")                   \
	X("capture", " tap|pcap|auto", options_set_capture, capture, 0, 1, "where the userspace path takes frames from (auto)")     \
	X("data-queues", " N", options_set_queues, data_queues, 0, 1, "threads of the userspace path, 0 to 8 (0: by itself)")       \
	X("ipalloc-range", " CIDR|auto|\"\"", options_set_range, range, 0, 1,                                                       \
		"where addresses come from, the same on all hosts (10.32.0.0/12)")                                                      \
	X("ipalloc-range6", " PREFIX", options_set_range6, range6, 0, 1, "IPv6 addresses beside them (none)")                       \
	X("ipalloc-default-subnet", " CIDR", options_set_default_subnet, default_subnet, 0, 1,                                      \
		"subnet of requests that name none (the range)")                                                                        \
	X("ipalloc-init", " HOW", options_set_init, init, 0, 1,                                                                     \
		"first division: consensus[=N], seed=NAME,..., observer (consensus)")                                                   \
	X("reclaim-after", " TIME", options_set_duration, reclaim_after_ms, 0, 1,                                                   \
		"free addresses of a host not heard of for so long go to others: 45s, 30m, 24h, 0 for never (24h)")                     \
	X("no-dns", SWITCH, options_set_switch, no_dns, 0, 1, "no name service")                                                    \
	X("dns-domain", " DOMAIN", options_set_domain, dns_domain, 0, 1, "domain of containers' names (weft.local.)")               \
	X("dns-listen-address", " ADDR:PORT", options_set_dns_listen, dns_listen, 1, 1,                                             \
		"where names are answered (169.254.67.83:53 on the bridge)")                                                            \
	X("dns-ttl", " S", options_set_ttl, dns_ttl, 0, 1, "seconds an answer may be kept (1)")                                     \
	X("resolv-conf", " FILE", options_set_path, resolv_conf, 0, 1, "upstream name servers (/etc/resolv.conf)")                  \
	X("docker-host", " unix://...|tcp://A:P|\"\"", options_set_docker, docker_host, 0, 1,                                       \
		"Docker's API, \"\" for none (unix:///var/run/docker.sock)")                                                            \
	X("plugin", SWITCH, options_set_switch, plugin, 0, 1, "serve Docker's plugin socket (true)")                                \
	X("plugin-socket", " PATH", options_set_socket, plugin_socket, 0, 1,                                                        \
		"where (/run/docker/plugins/weft.sock; with another --socket: nowhere)")                                                \
	X("plugin-scope", " local|global", options_set_scope, plugin_global, 0, 1, "global for swarm, in a managed plugin (local)") \
	X("no-multicast-route", SWITCH, options_set_switch, no_multicast_route, 0, 1, "give containers no route for multicast")     \
	X("log-level", " LEVEL", options_set_level, log_level, 0, 1, "debug, info, warning or error (info)")                        \
	X("log-format", " FORMAT", options_set_format, log_json, 0, 1, "text or json (text)")                                       \
	X("peer", " PEER,...", options_set_peer, peers, 1, 1, "peers, for file and environment")                                    \
	X("config", " FILE", options_set_path, config, 0, 0, "options as 'name = value' lines (/etc/weft/weftd.conf)")              \
	X("check-config", SWITCH, options_set_action, action, 0, 0, "only say whether the options are right")                       \
	X("print-peer-name", SWITCH, options_set_action, action, 0, 0, "only print this host's peer name")                          \
	X("version", SWITCH, options_set_action, action, 0, 0, "only print the version")                                            \
	X("help", SWITCH, options_set_action, action, 0, 0, "only print this")

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
	return o->set == options_set_password;
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
		return options_wrong(&s, "it stands in the file twice");
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
	char value[OPTIONS_LINE_MAX];
	const char *eq, *v;

	n = trim(&line, n);
	if (n == 0 || line[0] == '#')
		return ERR_OK;
	if (n >= sizeof(value) || memchr(line, '\0', n) != NULL)
		return err_note(p->note, ERR_USAGE,
			"%.100s:%u: a line of more than 4095 bytes, or with a zero byte; is this the right file?", p->file, p->line);
	eq = memchr(line, '=', n);
	if (eq == NULL)
		return err_note(p->note, ERR_USAGE, "%.100s:%u: '%.*s' is not of the form name = value", p->file, p->line,
			(int)(n < VALUE_SHOWN ? n : VALUE_SHOWN), line);
	const char *name = line;
	size_t name_len = trim(&name, (size_t)(eq - line));
	const struct option *option = find_option(name, name_len);
	if (option == NULL || !option->anywhere)
		return err_note(p->note, ERR_USAGE, "%.100s:%u: '%.*s' is no option for the file; weftd --help lists them", p->file,
			p->line, (int)(name_len < VALUE_SHOWN ? name_len : VALUE_SHOWN), name);
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
		err = options_no_memory(note);
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
static enum err split_option(
	int argc, char *const *argv, int *i, const struct option **option, const char **value, struct err_note *note)
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
		return err_note(note, ERR_USAGE, "--%s (command line): its value is missing: --%s%s", (*option)->name, (*option)->name,
			(*option)->arg);
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
	o->reclaim_after_ms = 24 * UINT64_C(3600000);
	o->dns_ttl = 1;
	o->plugin = true;
	o->log_level = LOG_LEVEL_INFO;
	o->state_dir = mem_strdup("/var/lib/weft");
	o->socket = mem_strdup(OPTIONS_SOCKET);
	o->dns_domain = mem_strdup(DEFAULT_DNS_DOMAIN);
	o->resolv_conf = mem_strdup("/etc/resolv.conf");
	o->docker_host = mem_strdup("unix:///var/run/docker.sock");
	o->config = mem_strdup(DEFAULT_CONFIG);
	if (o->state_dir == NULL || o->socket == NULL || o->dns_domain == NULL || o->resolv_conf == NULL || o->docker_host == NULL ||
		o->config == NULL)
		return options_no_memory(note);
	enum err err = prefix_parse(DEFAULT_RANGE, &o->range);
	assert(err == ERR_OK);
	(void)gethostname(name, sizeof(name) - 1);
	name[GOSSIP_NICKNAME_MAX] = '\0';
	(void)snprintf(o->nickname, sizeof(o->nickname), "%s", options_is_nickname(name) ? name : "localhost");
	return ERR_OK;
}

enum err options_check(const struct options *o, struct err_note *note)
{
	char a[PREFIX_TEXT], b[PREFIX_TEXT];

	if (!o->ipam && o->init_given)
		return err_note(note, ERR_USAGE,
			"--ipalloc-init is given, but address management is off (--ipalloc-range \"\"); leave one of them out");
	if (!o->ipam && o->default_subnet.addr.family != 0)
		return err_note(note, ERR_USAGE,
			"--ipalloc-default-subnet is given, but address management is off (--ipalloc-range \"\"); leave one of them out");
	if (!o->ipam && o->range6.addr.family != 0)
		return err_note(note, ERR_USAGE,
			"--ipalloc-range6 is given, but address management is off (--ipalloc-range \"\"); leave one of them out");
	if (o->ipam && o->range.addr.family != 0 && o->default_subnet.addr.family != 0 &&
		!prefix_overlaps(o->range, o->default_subnet))
		return err_note(note, ERR_USAGE, "--ipalloc-default-subnet %s lies outside --ipalloc-range %s; they have to overlap",
			prefix_format(o->default_subnet, a), prefix_format(o->range, b));
	if (o->range6.addr.family != 0 && o->range.addr.family != 0 && o->range6.len + 32u - o->range.len > 128)
		return err_note(note, ERR_USAGE,
			"--ipalloc-range6 %s is smaller than --ipalloc-range %s; every IPv4 address needs one there: give at most /%u",
			prefix_format(o->range6, a), prefix_format(o->range, b), 96u + o->range.len);
	if (o->range_auto && o->range6.len > 96 + OPTIONS_AUTO_RANGE_LEN)
		return err_note(note, ERR_USAGE,
			"--ipalloc-range6 %s is smaller than what --ipalloc-range auto may find; give at most /%d",
			prefix_format(o->range6, a), 96 + OPTIONS_AUTO_RANGE_LEN);
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
	if (err != ERR_OK) {
		make_showable(note);
		options_free(o);
	}
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
	mem_free(o->plugin_socket);
	mem_free(o->config);
	sodium_free(o->password);
	sodium_free(o->old_password);
	options_clear_texts(&o->seeds, &o->n_seeds);
	options_clear_texts(&o->peers, &o->n_peers);
	memset(o, 0, sizeof(*o));
}
