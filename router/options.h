/* What the daemon is told: command line, environment (WEFT_NAME_IN_CAPITALS), file (name = value), in this order of precedence
 * (INTERFACES section 3). Unknown or malformed: one line that names it. */
#ifndef WEFT_ROUTER_OPTIONS_H
#define WEFT_ROUTER_OPTIONS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/addr.h"
#include "base/buf.h"
#include "base/err.h"

#define OPTIONS_PEERS_MAX     1024
#define OPTIONS_SEEDS_MAX     1024
#define OPTIONS_NETS_MAX      16 /* all are published: CORE_TRUSTED_MAX */
#define OPTIONS_QUEUES_MAX    8  /* of the userspace path: QUEUES_MAX there */
#define OPTIONS_LISTEN_MAX    8
#define OPTIONS_SOCKET        "/run/weft/weft.sock"
#define OPTIONS_PLUGIN_SOCKET "/run/docker/plugins/weft.sock"

enum option_action { OPTIONS_RUN, OPTIONS_VERSION, OPTIONS_HELP, OPTIONS_CHECK, OPTIONS_PRINT_PEER_NAME };
enum option_capture { OPTIONS_CAPTURE_AUTO, OPTIONS_CAPTURE_TAP, OPTIONS_CAPTURE_PCAP }; /* in the order of enum capture_kind */
enum option_init { INIT_CONSENSUS, INIT_SEED, INIT_OBSERVER };
enum log_level { LOG_LEVEL_DEBUG, LOG_LEVEL_INFO, LOG_LEVEL_WARNING, LOG_LEVEL_ERROR };

struct options {
	enum option_action action;
	struct ip host;           /* --host: listen here and dial from here; family 0: all */
	uint16_t port;            /* --port, 6783 */
	char nickname[65];        /* --nickname, default the host name */
	uint64_t name;            /* --name; PEER_NONE: from the identity key */
	char *state_dir, *socket; /* /var/lib/weft, /run/weft/weft.sock */
	bool http, status;        /* --http-addr, --status-addr given */
	struct hostport http_addr, status_addr;
	char *password, *old_password; /* NULL: none. Locked memory, zeroed by options_free */
	struct prefix trusted[OPTIONS_NETS_MAX];
	size_t n_trusted;
	bool require_encryption, no_fallback;
	uint32_t conn_limit; /* 0: none; default 200 */
	bool no_discovery, resume, no_fastdp;
	uint32_t mtu;                                /* 0: found */
	enum option_capture capture;                 /* where the userspace path takes its frames from */
	uint32_t data_queues;                        /* threads of the userspace path; 0: as many as suit the machine */
	bool ipam;                                   /* --ipalloc-range "" turns it off */
	bool range_auto;                             /* --ipalloc-range auto */
	struct prefix range_stored;                  /* that of the addresses this host managed last; family 0: none. For auto */
	struct prefix range, range6, default_subnet; /* family 0: not given */
	bool range_given, init_given;
	enum option_init init;
	uint32_t consensus;        /* 0: not given */
	uint64_t reclaim_after_ms; /* 0: never; default 24 h */
	char **seeds;              /* peer names or nicknames as given */
	size_t n_seeds;
	bool no_dns;
	char *dns_domain;                               /* "weft.local." */
	struct hostport dns_listen[OPTIONS_LISTEN_MAX]; /* none given: the bridge's own address, port 53 */
	size_t n_dns_listen;
	uint32_t dns_ttl;           /* s */
	char *resolv_conf;          /* /etc/resolv.conf */
	char *docker_host;          /* "" = off */
	bool plugin, plugin_global; /* --plugin-scope */
	char *plugin_socket;        /* NULL: not given, and then OPTIONS_PLUGIN_SOCKET, if the API's socket is OPTIONS_SOCKET */
	bool no_multicast_route;
	enum log_level log_level;
	bool log_json;
	char *config; /* /etc/weft/weftd.conf */
	char **peers;
	size_t n_peers;
};

/* argv[0] is skipped. ERR_USAGE with the one line (exit 2), ERR_NOMEM. On success the caller calls options_free. */
enum err options_parse(struct options *o, int argc, char *const *argv, char *const *envp, struct err_note *note) MUST_CHECK;
void options_free(struct options *o);
/* The text of --help. */
const char *options_help(void);

/* What options_parse does with the file of --config: `name = value` lines, # comments. file: its name, for the note. *o must have been
 * through options_defaults, and is to be freed also after an error. Nothing is read but what passwords' files are named in it. */
enum err options_defaults(struct options *o, struct err_note *note) MUST_CHECK;
enum err options_parse_file(struct options *o, const char *file, struct slice text, struct err_note *note) MUST_CHECK;
/* Whether what all sources said fits together. */
enum err options_check(const struct options *o, struct err_note *note) MUST_CHECK;

/* Settles --ipalloc-range against this host's IPv4 routes: `auto` becomes the first of a few ranges that none overlaps; a given range that one
 * overlaps is ERR_CONFLICT with both named. The default route and routes by weft's own bridge do not count. */
enum err options_settle_range(struct options *o, struct err_note *note) MUST_CHECK;
/* The same over the text of /proc/net/route. */
enum err options_settle_range_over(struct options *o, struct slice routes, struct err_note *note) MUST_CHECK;

/* What auto picks from, in this order; at most max. */
#define OPTIONS_AUTO_RANGE_LEN 12 /* of the largest of them */
size_t options_auto_ranges(struct prefix *out, size_t max);
/* Does no route of this host overlap it now? */
bool options_range_free(struct prefix range);

#endif
