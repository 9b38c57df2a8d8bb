/* What the files that make status documents share: status.c and status_data.c. */
#ifndef WEFT_ROUTER_STATUS_INTERNAL_H
#define WEFT_ROUTER_STATUS_INTERNAL_H

#include <stdio.h>

#include "router/status.h"

enum { TEXT_SAFE_MAX = 1024 };

struct maker { /* collects failures, so that documents are written down straight */
	const struct router *r;
	const struct core *core;
	bool failed;
};

static inline void put(struct maker *m, json_t *object, const char *key, json_t *value)
{
	if (json_object_set_new(object, key, value) != 0)
		m->failed = true;
}

static inline void add(struct maker *m, json_t *array, json_t *value)
{
	if (json_array_append_new(array, value) != 0)
		m->failed = true;
}

/* What comes from other hosts need not be UTF-8. */
static inline json_t *text(const char *s)
{
	char safe[TEXT_SAFE_MAX];
	json_t *v = json_string(s);

	if (v != NULL)
		return v;
	(void)snprintf(safe, sizeof(safe), "%s", s);
	for (char *p = safe; *p != '\0'; p++)
		if ((unsigned char)*p >= 0x80)
			*p = '?';
	return json_string(safe);
}

static inline json_t *number(uint64_t v)
{
	return json_integer((json_int_t)v);
}

static inline json_t *prefix_of(struct prefix p)
{
	char out[PREFIX_TEXT];

	return p.addr.family != 0 ? json_string(prefix_format(p, out)) : json_null();
}

static inline json_t *hostport_of(struct hostport h)
{
	char out[HOSTPORT_TEXT];

	return json_string(hostport_format(h, out));
}

static inline json_t *address_of(struct ip a)
{
	char out[IP_TEXT];

	return json_string(ip_format(a, out));
}

/* "name" and "nickname" of a peer; null for one that is not known yet. */
static inline void put_peer(struct maker *m, json_t *o, const char *name_key, const char *nick_key, uint64_t peer)
{
	char name[PEER_TEXT];
	struct peer_info info;

	put(m, o, name_key, peer != PEER_NONE ? json_string(peer_format(peer, name)) : json_null());
	if (peer != PEER_NONE && gossip_peer(core_gossip(m->core), peer, &info))
		put(m, o, nick_key, text(info.nickname));
	else
		put(m, o, nick_key, json_string(""));
}

/* status_data.c: what goes into the documents of status.c. */
json_t *status_connections(struct maker *m);
json_t *status_local_endpoints(struct maker *m);
json_t *status_remote_endpoints(struct maker *m);
json_t *status_host_endpoint(struct maker *m);
json_t *status_networks(struct maker *m);
json_t *status_paths(struct maker *m);
/* Devices, threads, sessions; with `everything` also what each host and reason counts. NULL: there is no data plane (yet). */
json_t *status_dataplane(struct maker *m, bool everything);
/* status_docker.c: {"host": "", …} when it is switched off. */
json_t *status_docker(struct maker *m);
/* The live link of this host to a peer. */
bool status_own_link(const struct core *core, uint64_t peer, struct link_view *out);

#endif
