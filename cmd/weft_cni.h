/* weft-cni: the CNI plugin (containernetworking/cni, SPEC.md 1.1.0), between a container runtime and the daemon.
 *
 *   environment, stdin ─▶ weft_cni_conf.c ─▶ struct cni_conf ─▶ weft_cni_verbs.c: ADD, DEL, CHECK, GC, STATUS, VERSION
 *                                                                  ├▶ weft_cni_exec.c     another IPAM plugin, if one is named
 *                                                                  ├▶ weft_cni_daemon.c   everything else is the daemon's
 *                                                                  └▶ weft_cni_kernel.c   looking at the interface; MTU, bandwidth
 *                                               stdout ◀─ weft_cni_result.c ◀─ struct cni_result, or struct cni_error
 *
 * It keeps no state and takes no lock: what there is to remember is in the daemon, under the ident `cni:CONTAINERID/IFNAME/NETWORKNAME`. The last part is there for
 * GC, which tells of the attachments of one network configuration and must not touch those of another. */
#ifndef WEFT_CMD_WEFT_CNI_H
#define WEFT_CMD_WEFT_CNI_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>

#include "base/addr.h"
#include "base/err.h"

enum {
	CNI_STDIN_MAX = 1 << 20,
	CNI_IPS_MAX = 16,
	CNI_ROUTES_MAX = 64,
	CNI_ALIASES_MAX = 64,
	CNI_IFACES_MAX = 32,
	CNI_VALID_MAX = 65536, /* attachments that GC is told of */
	CNI_IDENT_MAX = 128,
	CNI_NETNS_MAX = CNI_IDENT_MAX - 6, /* the daemon is told it as "netns:" and the path */
	CNI_IFNAME_MAX = 15,
};

/* --- errors ------------------------------------------------------------------------------------------------------------------------------ */

/* Spec section "Error": 1 to 99 are its own, from 100 on the plugin's. */
enum cni_code {
	CNI_OK = 0,
	CNI_BAD_VERSION = 1,
	CNI_UNSUPPORTED = 2, /* a field of the configuration */
	CNI_NO_CONTAINER = 3,
	CNI_BAD_ENV = 4,
	CNI_IO = 5,
	CNI_DECODE = 6,
	CNI_BAD_CONF = 7,
	CNI_TRY_LATER = 11,
	CNI_NOT_READY = 50,
	CNI_NOT_READY_LIMITED = 51, /* and containers that are there have to do without something */
	CNI_REFUSED = 100,          /* by the daemon: an address that is another's, … */
	CNI_DIFFERS = 101,          /* CHECK found something else than there was */
	CNI_KERNEL = 102,
};
struct cni_error {
	int code; /* a delegated plugin's may be any */
	char msg[400], details[400];
};
/* Fills e (what it said before is gone) and gives the code back. */
int cni_fail(struct cni_error *e, int code, const char *fmt, ...) PRINTF_LIKE(3, 4);
json_t *cni_error_json(const struct cni_error *e, const char *version);

/* --- what is asked for ------------------------------------------------------------------------------------------------------------------- */

enum cni_version { CNI_0_3_1, CNI_0_4_0, CNI_1_0_0, CNI_1_1_0, CNI_VERSIONS };
const char *cni_version_text(enum cni_version v);
bool cni_version_parse(const char *text, enum cni_version *out);

enum cni_command { CNI_ADD, CNI_DEL, CNI_CHECK, CNI_GC, CNI_STATUS, CNI_VERSION };

/* The environment, as it is. NULL: not set. */
struct cni_env {
	const char *command, *id, *netns, *ifname, *args, *path;
	const char *socket; /* WEFT_SOCKET */
};

struct cni_rate {
	uint64_t bits_s, burst_bits; /* 0: no limit; the usual burst */
};
struct cni_route {
	struct prefix dst;
	struct ip gw; /* family 0: none */
};
enum cni_choice { CNI_UNSAID, CNI_NO, CNI_YES };

struct cni_conf {
	json_t *doc; /* all of stdin; strings below live in it */
	enum cni_command command;
	enum cni_version version;
	char ident[CNI_IDENT_MAX + 1]; /* "" where no container is meant, or none that can be there (DEL) */
	const char *id, *netns, *ifname, *path;

	const char *name, *socket, *network, *subnet;
	const char *ipam; /* the plugin; NULL: the daemon gives addresses */
	struct ip gateway;
	enum cni_choice is_gateway, is_default_gateway;
	bool hairpin, masquerade, multicast, names;
	unsigned mtu; /* 0: as the daemon says */
	bool routes_given;
	struct cni_route routes[CNI_ROUTES_MAX];
	size_t n_routes;
	json_t *dns; /* NULL: the daemon's */

	struct prefix ips[CNI_IPS_MAX]; /* asked for; len CNI_LEN_UNSAID: that of its subnet */
	size_t n_ips;
	char mac[MAC_TEXT];      /* "": none asked for */
	struct cni_rate in, out; /* into the container, out of it */
	const char *aliases[CNI_ALIASES_MAX];
	size_t n_aliases;
	char pod[64], pod_namespace[64]; /* Kubernetes' or podman's name for it; "": none, or none that fits into a label */

	const json_t *prev;  /* prevResult; NULL: none */
	const json_t *valid; /* cni.dev/valid-attachments */
};
#define CNI_LEN_UNSAID 255

/* Reads what the runtime says. text is n bytes of stdin. A CNI code, with *e; out is to be freed in any case, and its version is what
 * could be learnt. VERSION wants neither environment nor configuration. */
int cni_conf_parse(struct cni_conf *out, const struct cni_env *env, const char *text, size_t n, struct cni_error *e) MUST_CHECK;
void cni_conf_free(struct cni_conf *c);
/* One route of a configuration or a result: {"dst", "gw"}. */
int cni_route_parse(const json_t *v, struct cni_route *out, struct cni_error *e) MUST_CHECK;

/* --- what came of it --------------------------------------------------------------------------------------------------------------------- */

struct cni_iface {
	char name[CNI_IFNAME_MAX + 1], mac[MAC_TEXT];
	unsigned mtu;        /* 0: not said */
	const char *sandbox; /* NULL: on the host */
};
struct cni_ip {
	struct prefix addr;
	struct ip gw;
	int iface; /* -1: none */
};
/* Of ADD, and of an IPAM plugin. */
struct cni_result {
	struct cni_iface ifaces[CNI_IFACES_MAX];
	struct cni_ip ips[CNI_IPS_MAX];
	struct cni_route routes[CNI_ROUTES_MAX];
	size_t n_ifaces, n_ips, n_routes;
	const json_t *dns; /* borrowed */
};
/* In the form of that version, behind what prev (borrowed; NULL: nothing) says already. NULL: out of memory. */
json_t *cni_result_json(const struct cni_result *r, enum cni_version v, const json_t *prev);
/* Any version's form. Strings and dns live in doc. */
int cni_result_parse(const json_t *doc, struct cni_result *out, struct cni_error *e) MUST_CHECK;

/* --- an IPAM plugin (weft_cni_exec.c) ------------------------------------------------------------------------------------------------------ */

/* Runs c->ipam from CNI_PATH with our environment but this command, and our stdin. out: what it printed, if anything; NULL: not wanted. */
int cni_delegate(const struct cni_conf *c, const char *command, json_t **out, struct cni_error *e) MUST_CHECK;

/* --- the daemon (weft_cni_daemon.c) -------------------------------------------------------------------------------------------------------- */

/* One request with a JSON body (NULL: none); *out (NULL: not wanted) is what it answered, JSON or nothing. status: HTTP's, 0 when there was no answer. */
int cni_ask(const struct cni_conf *c, const char *method, const char *path, const json_t *body, json_t **out, int *status,
	struct cni_error *e) MUST_CHECK;
/* A text instead of JSON; "" when what it tells of is off (404). */
int cni_ask_text(const struct cni_conf *c, const char *path, char *out, size_t size, struct cni_error *e) MUST_CHECK;
/* The attachment of that ident is gone, whether or not it was there. netns NULL: unknown. */
int cni_forget(const struct cni_conf *c, const char *ident, const char *netns, struct cni_error *e) MUST_CHECK;

/* --- the kernel (weft_cni_kernel.c) -------------------------------------------------------------------------------------------------------- */

struct cni_seen {
	bool there;
	int index, peer;
	unsigned mtu;
	char mac[MAC_TEXT];
	struct prefix addrs[2 * CNI_IPS_MAX];
	size_t n_addrs;
	struct cni_route routes[4 * CNI_ROUTES_MAX]; /* of the whole namespace: main table */
	size_t n_routes;
	bool shaped;           /* has a tbf */
	struct cni_iface host; /* the other end; name "": not seen */
	bool host_shaped;
};
/* CNI_NO_CONTAINER: there is no such namespace. Not there: no error. */
int cni_look(const char *netns, const char *ifname, struct cni_seen *out, struct cni_error *e) MUST_CHECK;
/* MTU of both ends (0: as it is), and what passes each second. */
int cni_shape(const char *netns, const char *ifname, const char *host, unsigned mtu, struct cni_rate in, struct cni_rate out,
	struct cni_error *e) MUST_CHECK;
/* This host passes packets on; family 4 or 6. */
int cni_forward(int family, struct cni_error *e) MUST_CHECK;

/* --- verbs (weft_cni_add.c, weft_cni_check.c) ---------------------------------------------------------------------------------------------- */

/* *out: what goes to stdout; NULL: nothing. */
int cni_add(const struct cni_conf *c, json_t **out, struct cni_error *e) MUST_CHECK;
int cni_del(const struct cni_conf *c, struct cni_error *e) MUST_CHECK;
int cni_check(const struct cni_conf *c, struct cni_error *e) MUST_CHECK;
int cni_gc(const struct cni_conf *c, struct cni_error *e) MUST_CHECK;
int cni_status(const struct cni_conf *c, struct cni_error *e) MUST_CHECK;

#endif
