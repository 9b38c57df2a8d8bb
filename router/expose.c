/* The host as a member of its networks: addresses on their bridges, made known to the other hosts like a container's.
 *
 * An address comes from the core, as a container's does, under an ident of the host's own; then it is put on the bridge, published as part of an endpoint whose
 * MAC is the bridge's, and written down with how it is to be translated. Each network has such an endpoint. What goes wrong half-way gives back the
 * addresses that this very request obtained. At the start what was written down is made again. */
#include "router/expose.h"

#include <stdio.h>
#include <string.h>

#include "base/mem.h"
#include "dns/name.h"
#include "router/internal.h"
#include "router/lease_request.h"
#include "router/status.h"

#define KEEP "expose/"
enum { RECORD_VERSION = 1, RECORD_MASQUERADE = 1 };

struct expose_op {
	struct router *r;
	uint64_t number;
	struct lease_request leases; /* with the IPv6 addresses that go with them, in the end; of hide only want and n_want */
	bool fresh[CORE_ADDRS_MAX];  /* leases.want[i] was not exposed before */
	bool publishing;
	bool masquerade;
	size_t unstored;
	enum err err;
	char why[256];
	char network[CORE_NETWORK_MAX + 1], ident[CORE_IDENT_MAX + 1], fqdn[CORE_FQDN_MAX + 1];
	router_done done;
	void *ctx;
};

const char *expose_ident(const char *network, char out[CORE_IDENT_MAX + 1])
{
	if (strcmp(network, CORE_NETWORK_DEFAULT) == 0)
		(void)snprintf(out, CORE_IDENT_MAX + 1, "%s", STATUS_HOST_ID);
	else
		(void)snprintf(out, CORE_IDENT_MAX + 1, "%s@%s", STATUS_HOST_ID, network);
	return out;
}

bool expose_is_ident(const char *ident)
{
	const size_t n = strlen(STATUS_HOST_ID);

	return strncmp(ident, STATUS_HOST_ID, n) == 0 && (ident[n] == '\0' || ident[n] == '@');
}

/* --- the list ------------------------------------------------------------------------------------------------------------------------------ */

static struct plane_exposed *listed(const struct router *r, const char *network, struct ip addr)
{
	for (size_t i = 0; i < r->n_exposed; i++)
		if (ip_eq(r->exposed[i].addr.addr, addr) && strcmp(r->exposed[i].network, network) == 0)
			return &r->exposed[i];
	return NULL;
}

static bool enlist(struct router *r, const char *network, struct prefix addr, bool masquerade)
{
	struct plane_exposed *e = listed(r, network, addr.addr);

	if (e == NULL) {
		if (!mem_grow((void **)&r->exposed, &r->cap_exposed, r->n_exposed + 1, sizeof(*r->exposed)))
			return false;
		e = &r->exposed[r->n_exposed++];
	}
	memset(e, 0, sizeof(*e));
	(void)snprintf(e->network, sizeof(e->network), "%s", network);
	e->addr = addr;
	e->masquerade = masquerade;
	return true;
}

static void strike(struct router *r, struct plane_exposed *e)
{
	*e = r->exposed[--r->n_exposed];
}

bool router_next_exposed(const struct router *r, size_t *it, struct plane_exposed *out)
{
	if (*it >= r->n_exposed)
		return false;
	*out = r->exposed[(*it)++];
	return true;
}

const char *expose_next_warning(const struct router *r, size_t *it)
{
	bool grave;

	return plane_next_obstacle(r->plane, it, &grave);
}

static size_t count_on(const struct router *r, const char *network)
{
	size_t n = 0;

	for (size_t i = 0; i < r->n_exposed; i++)
		n += strcmp(r->exposed[i].network, network) == 0;
	return n;
}

static enum err apply(struct router *r, struct err_note *note)
{
	enum err err = plane_set_exposed(r->plane, r->exposed, r->n_exposed, note);

	plane_look_for_obstacles(r->plane);
	return err;
}

static void record_key(const char *network, struct prefix addr, char out[ROUTER_KEEP_KEY_MAX])
{
	char text[PREFIX_TEXT];

	(void)snprintf(out, ROUTER_KEEP_KEY_MAX, KEEP "%s/%s", prefix_format(addr, text), network);
}

static void endpoint_of(const struct router *r, const char *network, struct core_endpoint *e)
{
	memset(e, 0, sizeof(*e));
	e->peer = r->id.name;
	(void)expose_ident(network, e->ident);
	e->mac = link_peer_mac(r->id.name);
	(void)snprintf(e->network, sizeof(e->network), "%s", network);
	for (size_t i = 0; i < r->n_exposed && e->n_addrs < CORE_ADDRS_MAX; i++)
		if (strcmp(r->exposed[i].network, network) == 0)
			e->addrs[e->n_addrs++] = r->exposed[i].addr;
}

/* --- giving back, and the end of a request ------------------------------------------------------------------------------------------------------ */

static bool in_use(const void *arg, struct ip addr)
{
	const struct expose_op *op = arg;

	return listed(op->r, op->network, addr) != NULL;
}

static void free_op(struct expose_op *op)
{
	(void)map_del64(op->r->exposing, op->number);
	mem_free(op);
}

/* What this request has put on the list goes from there, and from the bridge. */
static void strike_fresh(struct expose_op *op)
{
	for (size_t i = 0; i < op->leases.n_want; i++) {
		struct plane_exposed *e = op->fresh[i] ? listed(op->r, op->network, op->leases.want[i].prefix.addr) : NULL;
		if (e != NULL)
			strike(op->r, e);
		op->fresh[i] = false;
	}
	if (apply(op->r, NULL) != ERR_OK)
		router_forwarding(op->r); /* tried again */
}

/* It cannot be made known. A record that may have been made all the same is found at the next start. */
static void undo(struct expose_op *op)
{
	for (size_t i = 0; i < op->leases.n_want; i++) {
		struct core_event gone = { .kind = CORE_DETACHED, .ident = op->ident, .addr = op->leases.want[i].prefix.addr };
		char key[ROUTER_KEEP_KEY_MAX];
		if (!op->fresh[i])
			continue;
		record_key(op->network, op->leases.want[i].prefix, key);
		(void)router_keep(op->r, key, slice_of(NULL, 0), NULL, NULL);
		(void)router_submit(op->r, &gone, router_ignore, NULL);
	}
	strike_fresh(op);
}

static void finish(struct expose_op *op, enum err err, const char *text)
{
	struct router_result res = { .err = err, .text = text };
	struct prefix addrs[CORE_ADDRS_MAX];

	if (err != ERR_OK && err != ERR_CLOSED && op->publishing)
		undo(op);
	if (err != ERR_OK)
		lease_request_give_back(&op->leases, in_use, op);
	for (size_t i = 0; err == ERR_OK && i < op->leases.n_want; i++)
		addrs[res.n_addrs++] = op->leases.want[i].prefix;
	res.addrs = addrs;
	op->done(op->ctx, &res);
	free_op(op);
}

static uint64_t refuse(router_done done, void *ctx, enum err err, const char *text)
{
	struct router_result res = { .err = err, .text = text };

	done(ctx, &res);
	return 0;
}

/* --- making it known --------------------------------------------------------------------------------------------------------------------------- */

static void on_stored(void *ctx, const struct router_result *res)
{
	struct expose_op *op = ctx;

	if (res->err != ERR_OK && op->err == ERR_OK) {
		op->err = res->err;
		(void)snprintf(op->why, sizeof(op->why), "%s", res->text != NULL ? res->text : err_text(res->err));
	}
	if (--op->unstored == 0)
		finish(op, op->err, op->why);
}

static void keep(struct expose_op *op, struct prefix addr)
{
	const uint8_t record[2] = { RECORD_VERSION, op->masquerade ? RECORD_MASQUERADE : 0 };
	char key[ROUTER_KEEP_KEY_MAX];

	record_key(op->network, addr, key);
	op->unstored++;
	(void)router_keep(op->r, key, slice_of(record, sizeof(record)), on_stored, op);
}

/* Endpoint, records and names share one commit. */
static void publish(struct expose_op *op)
{
	struct core_endpoint e;
	struct core_event ev = { .kind = CORE_ATTACHED, .endpoint = &e };

	endpoint_of(op->r, op->network, &e);
	op->publishing = true;
	op->unstored = 2; /* one for the endpoint, one for us */
	(void)router_submit(op->r, &ev, on_stored, op);
	for (size_t i = 0; i < op->leases.n_want; i++) {
		struct core_event name = {
			.kind = CORE_NAME_PUT, .ident = op->ident, .fqdn = op->fqdn, .addr = op->leases.want[i].prefix.addr
		};
		keep(op, op->leases.want[i].prefix);
		if (op->fqdn[0] == '\0')
			continue;
		op->unstored++;
		(void)router_submit(op->r, &name, on_stored, op);
	}
	if (--op->unstored == 0)
		finish(op, op->err, op->why);
}

/* One that it has already keeps its length, unless another was asked for by name. */
static void settle_length(struct expose_op *op, struct wanted *w)
{
	const struct plane_exposed *e = listed(op->r, op->network, w->prefix.addr);
	char key[ROUTER_KEEP_KEY_MAX];

	if (e == NULL || e->addr.len == w->prefix.len)
		return;
	if (!w->claim) {
		w->prefix.len = e->addr.len;
		return;
	}
	record_key(op->network, e->addr, key);
	(void)router_keep(op->r, key, slice_of(NULL, 0), NULL, NULL);
}

/* The IPv6 addresses that go with them. */
static void add_companions(struct expose_op *op)
{
	const size_t n = op->leases.n_want;

	for (size_t i = 0; i < n && op->leases.n_want < CORE_ADDRS_MAX; i++) {
		struct wanted *w = &op->leases.want[op->leases.n_want];
		*w = (struct wanted){ .claim = true, .had = true };
		if (core_companion(op->r->core, op->network, op->leases.want[i].prefix, &w->prefix))
			op->leases.n_want++;
	}
}

static void plumb(struct expose_op *op)
{
	struct router *r = op->r;
	struct core_network network;
	struct kernel *k = NULL;
	struct err_note note = { "" };

	enum err err = core_network(r->core, op->network, &network)
		? plane_need(r->plane, r->core, &network, &k, &note)
		: err_note(&note, ERR_NOT_FOUND, "there is no network '%.64s' any more", op->network);

	for (size_t i = 0; err == ERR_OK && i < op->leases.n_want; i++)
		settle_length(op, &op->leases.want[i]);
	if (err == ERR_OK)
		add_companions(op);
	size_t fresh = 0; /* those that it has already are counted */
	for (size_t i = 0; i < op->leases.n_want; i++)
		fresh += listed(r, op->network, op->leases.want[i].prefix.addr) == NULL;
	if (err == ERR_OK && count_on(r, op->network) + fresh > CORE_ADDRS_MAX)
		err = err_note(&note, ERR_LIMIT, "a host has at most %d addresses on a network", CORE_ADDRS_MAX);
	for (size_t i = 0; err == ERR_OK && i < op->leases.n_want; i++) {
		op->fresh[i] = listed(r, op->network, op->leases.want[i].prefix.addr) == NULL;
		if (!enlist(r, op->network, op->leases.want[i].prefix, op->masquerade))
			err = err_note(&note, ERR_NOMEM, "out of memory");
	}
	if (err == ERR_OK) {
		router_dns_networks(r);
		err = apply(r, &note);
		if (err != ERR_OK)
			strike_fresh(op);
	}
	if (err != ERR_OK)
		finish(op, err, note.text);
	else
		publish(op);
}

/* --- addresses ------------------------------------------------------------------------------------------------------------------------------------ */

static void on_leases(void *ctx, enum err err, const char *text)
{
	struct expose_op *op = ctx;

	if (err == ERR_OK)
		plumb(op);
	else
		finish(op, err, text);
}

/* --- the request --------------------------------------------------------------------------------------------------------------------------------- */

/* What is hidden may be named as expose printed it, without a length. */
static enum err parse_one(const char *text, bool hide, struct prefix subnet, struct wanted *w, struct err_note *note)
{
	const char *cidr = strncmp(text, "ip:", 3) == 0 ? text + 3 : text;

	w->claim = true;
	if (hide && ip_parse(cidr, &w->prefix.addr) == ERR_OK) {
		w->prefix.len = (uint8_t)ip_bits(w->prefix.addr);
		return ERR_OK;
	}
	if (prefix_parse(cidr, &w->prefix) == ERR_OK && w->prefix.addr.family == 6)
		return ERR_OK; /* nobody gives those out */
	w->claim = false;
	return ipam_parse_addr(text, subnet, &w->prefix, &w->claim, note);
}

/* Of addresses that are not managed: another host, or a container, may have published it. */
static enum err check_holder(const struct router *r, struct prefix want, const struct expose_op *op, struct err_note *note)
{
	const struct core_endpoint *holder = core_address_holder(r->core, want.addr, op->network);
	char text[IP_TEXT], peer[PEER_TEXT];

	if (holder == NULL || (holder->peer == r->id.name && strcmp(holder->ident, op->ident) == 0))
		return ERR_OK;
	return err_note(note, ERR_CONFLICT, "%s is that of %.100s on host %s; choose another", ip_format(want.addr, text),
		holder->ident, peer_format(holder->peer, peer));
}

static enum err parse_addrs(
	const struct router *r, const struct expose_request *req, struct expose_op *op, bool hide, struct err_note *note)
{
	struct core_network network;

	if (!core_network(r->core, op->network, &network))
		return err_note(note, ERR_NOT_FOUND,
			"there is no network '%.64s'; 'weft network ls' lists them, 'weft network create' makes one", op->network);
	const struct prefix subnet = network.subnet.addr.family != 0 ? network.subnet : core_cfg(r->core)->default_subnet;
	if (req->n_addrs > CORE_ADDRS_MAX)
		return err_note(note, ERR_LIMIT, "at most %d addresses", CORE_ADDRS_MAX);
	if (req->n_addrs == 0)
		op->leases.want[op->leases.n_want++] = (struct wanted){ .prefix = subnet };
	for (size_t i = 0; i < req->n_addrs; i++) {
		struct wanted *w = &op->leases.want[op->leases.n_want];
		enum err err = parse_one(req->addrs[i], hide, subnet, w, note);
		if (err == ERR_OK && !hide && w->claim && (w->prefix.addr.family == 6 || core_ipam(r->core) == NULL))
			err = check_holder(r, w->prefix, op, note);
		if (err != ERR_OK)
			return err;
		op->leases.n_want++;
	}
	for (size_t i = 0; core_ipam(r->core) == NULL && !hide && i < op->leases.n_want; i++)
		if (!op->leases.want[i].claim)
			return err_note(note, ERR_STATE,
				"address management is off on this host (--ipalloc-range \"\"): give the address, as ip:10.1.2.3/24");
	return ERR_OK;
}

/* The host has one way to a subnet. */
static enum err check_subnets(const struct expose_op *op, struct err_note *note)
{
	char text[PREFIX_TEXT];

	for (size_t i = 0; i < op->leases.n_want; i++) {
		const struct prefix mine = prefix_network(op->leases.want[i].prefix);
		for (size_t j = 0; j < op->r->n_exposed; j++) {
			const struct plane_exposed *e = &op->r->exposed[j];
			if (strcmp(e->network, op->network) != 0 && prefix_eq(prefix_network(e->addr), mine))
				return err_note(note, ERR_CONFLICT,
					"this host reaches %s by network %.64s already; 'weft hide --network %.64s' ends that, or give network %.64s a subnet of its "
					"own when it is made (weft network create --subnet)",
					prefix_format(mine, text), e->network, e->network, op->network);
		}
	}
	return ERR_OK;
}

static enum err check_name(const struct router *r, const char *fqdn, struct expose_op *op, struct err_note *note)
{
	struct dns_name domain, name;

	if (fqdn == NULL || fqdn[0] == '\0')
		return ERR_OK;
	if (r->opt->no_dns)
		return err_note(note, ERR_STATE, "names are off on this host; start it without --no-dns");
	if (strlen(fqdn) > CORE_FQDN_MAX)
		return err_note(note, ERR_LIMIT, "a name has at most %d characters", CORE_FQDN_MAX);
	enum err err = dns_name_parse(r->opt->dns_domain, &domain);
	if (err == ERR_OK)
		err = dns_name_check(fqdn, &domain, &name, note);
	(void)snprintf(op->fqdn, sizeof(op->fqdn), "%s", fqdn);
	return err;
}

static bool ended(const struct router *r)
{
	return r->stopping || r->erased || r->fatal[0] != '\0';
}

static enum err prepare(
	struct router *r, const struct expose_request *req, struct expose_op *op, bool hide, struct err_note *note)
{
	const char *network = req->network != NULL && req->network[0] != '\0' ? req->network : CORE_NETWORK_DEFAULT;

	if (ended(r))
		return err_note(note, ERR_CLOSED, "the daemon is stopping");
	if (strlen(network) > CORE_NETWORK_MAX)
		return err_note(note, ERR_LIMIT, "a network's name has at most %d characters", CORE_NETWORK_MAX);
	op->r = r;
	(void)snprintf(op->network, sizeof(op->network), "%s", network);
	(void)expose_ident(op->network, op->ident);
	op->leases.r = r;
	op->leases.ident = op->ident;
	op->leases.done = on_leases;
	op->leases.ctx = op;
	op->masquerade = req->masquerade;
	enum err err = parse_addrs(r, req, op, hide, note);
	if (err == ERR_OK && !hide)
		err = check_subnets(op, note);
	return err == ERR_OK ? check_name(r, req->fqdn, op, note) : err;
}

uint64_t router_expose(struct router *r, const struct expose_request *req, router_done done, void *ctx)
{
	struct err_note note = { "out of memory" };
	struct expose_op *op = mem_zalloc(1, sizeof(*op));
	enum err err = op == NULL ? ERR_NOMEM : prepare(r, req, op, false, &note);

	if (err == ERR_OK) {
		op->number = r->next_request++;
		op->done = done;
		op->ctx = ctx;
		err = map_put64(r->exposing, op->number, op, NULL);
	}
	if (err != ERR_OK) {
		mem_free(op);
		return refuse(done, ctx, err, note.text);
	}
	uint64_t number = op->number;
	lease_request_start(&op->leases);
	return map_get64(r->exposing, number) != NULL ? number : 0;
}

bool expose_cancel(struct router *r, uint64_t request)
{
	struct expose_op *op = map_get64(r->exposing, request);

	if (op == NULL)
		return false;
	op->done = router_ignore;
	if (op->publishing) /* too late: it is exposed */
		return true;
	lease_request_cancel(&op->leases);
	return true;
}

void expose_end_all(struct router *r, enum err err, const char *text)
{
	struct slice key;
	void *value;

	for (size_t at = 0; map_next(r->exposing, &at, &key, &value);) {
		struct expose_op *op = value;
		if (op->publishing) /* ends with the requests that it waits for */
			continue;
		lease_request_drop(&op->leases);
		finish(op, err, text);
		at = 0;
	}
}

/* --- hide ---------------------------------------------------------------------------------------------------------------------------------------- */

static void hide_one(struct expose_op *op, struct plane_exposed e)
{
	struct core_event gone = { .kind = CORE_DETACHED, .ident = op->ident, .addr = e.addr.addr };
	char key[ROUTER_KEEP_KEY_MAX];

	op->leases.want[op->leases.n_want++].prefix = e.addr;
	strike(op->r, listed(op->r, op->network, e.addr.addr));
	record_key(op->network, e.addr, key);
	op->unstored += 2;
	(void)router_keep(op->r, key, slice_of(NULL, 0), on_stored, op);
	(void)router_submit(op->r, &gone, on_stored, op);
}

static bool is_meant(const struct expose_op *op, const struct wanted *w, const struct plane_exposed *e)
{
	if (strcmp(e->network, op->network) != 0)
		return false;
	return w->claim ? ip_eq(e->addr.addr, w->prefix.addr)
					: prefix_contains(w->prefix, e->addr.addr) && e->addr.len == w->prefix.len;
}

/* The IPv6 address that goes with the one that goes. */
static void hide_companion(struct expose_op *op, struct prefix addr)
{
	struct prefix companion;

	if (!core_companion(op->r->core, op->network, addr, &companion))
		return;
	const struct plane_exposed *e = listed(op->r, op->network, companion.addr);
	if (e != NULL && op->leases.n_want < CORE_ADDRS_MAX)
		hide_one(op, *e);
}

static void hide_meant(struct expose_op *op, const struct wanted *w)
{
	for (size_t j = 0; j < op->r->n_exposed && op->leases.n_want < CORE_ADDRS_MAX;) {
		const struct plane_exposed e = op->r->exposed[j];
		if (is_meant(op, w, &e)) {
			hide_one(op, e);
			hide_companion(op, e.addr);
			j = 0; /* the list has another order now */
		} else {
			j++;
		}
	}
}

uint64_t router_hide(struct router *r, const struct expose_request *req, router_done done, void *ctx)
{
	struct err_note note = { "out of memory" };
	struct expose_op *op = mem_zalloc(1, sizeof(*op));
	struct wanted want[CORE_ADDRS_MAX];
	enum err err = op == NULL ? ERR_NOMEM : prepare(r, req, op, true, &note);

	if (err == ERR_OK) {
		op->number = r->next_request++;
		err = map_put64(r->exposing, op->number, op, NULL);
	}
	if (err != ERR_OK) {
		mem_free(op);
		return refuse(done, ctx, err, note.text);
	}
	const size_t n = op->leases.n_want;
	memcpy(want, op->leases.want, sizeof(want));
	op->leases.n_want = 0;
	op->done = done;
	op->ctx = ctx;
	op->publishing = true;
	op->unstored = 1;
	for (size_t i = 0; i < n; i++)
		hide_meant(op, &want[i]);
	if (op->leases.n_want > 0 && apply(r, &note) != ERR_OK) {
		log_write(r->log, LOG_LEVEL_WARNING, "%s", note.text);
		router_forwarding(r);
	}
	if (--op->unstored == 0)
		finish(op, op->err, op->why);
	return 0; /* not to be taken back */
}

/* --- the start ------------------------------------------------------------------------------------------------------------------------------------- */

static enum err read_record(void *ctx, struct slice key, struct slice value)
{
	struct router *r = ctx;
	char text[ROUTER_KEEP_KEY_MAX + 1];
	struct prefix addr;

	if (key.n <= strlen(KEEP) || key.n >= sizeof(text) || value.n < 2 || value.p[0] != RECORD_VERSION)
		return ERR_OK;
	memcpy(text, key.p, key.n);
	text[key.n] = '\0';
	char *network = strchr(text + strlen(KEEP), '/'); /* ADDRESS/LENGTH/NETWORK */
	network = network != NULL ? strchr(network + 1, '/') : NULL;
	if (network == NULL)
		return ERR_OK;
	*network++ = '\0';
	if (prefix_parse(text + strlen(KEEP), &addr) != ERR_OK || strlen(network) > CORE_NETWORK_MAX)
		return ERR_OK;
	return enlist(r, network, addr, (value.p[1] & RECORD_MASQUERADE) != 0) ? ERR_OK : ERR_NOMEM;
}

static void claim(struct router *r, const struct plane_exposed *e)
{
	char ident[CORE_IDENT_MAX + 1];
	struct ipam_event ask = {
		.kind = IPAM_CLAIM, .ident = expose_ident(e->network, ident), .subnet = e->addr, .wait = true, .on = true
	};
	struct core_event ev = { .kind = CORE_IPAM, .ipam = &ask };
	if (core_ipam(r->core) != NULL && e->addr.addr.family == 4 && !lease_is_held(r, ident, e->addr.addr))
		(void)router_submit(r, &ev, router_ignore, NULL);
}

struct adoption {
	struct router *r;
	const char *network;
};

static void adopt(struct prefix addr, void *arg)
{
	const struct adoption *a = arg;
	const uint8_t record[2] = { RECORD_VERSION, RECORD_MASQUERADE };
	char key[ROUTER_KEEP_KEY_MAX], text[PREFIX_TEXT];

	if (listed(a->r, a->network, addr.addr) != NULL || !enlist(a->r, a->network, addr, true))
		return;
	log_write(a->r->log, LOG_LEVEL_INFO, "found this host exposed as %s on network %s", prefix_format(addr, text), a->network);
	record_key(a->network, addr, key);
	(void)router_keep(a->r, key, slice_of(record, sizeof(record)), NULL, NULL);
}

/* What the bridges have, and no record tells of: the store was lost, or somebody else put it there. It is in use, so nobody else may have it. */
static void adopt_strays(struct router *r)
{
	struct plane_net_view net;
	struct err_note note = { "" };

	for (size_t it = 0; plane_next_net(r->plane, &it, &net);) {
		struct adoption a = { r, net.name };
		if (link_address_list(net.kernel, adopt, &a, &note) != ERR_OK)
			log_write(r->log, LOG_LEVEL_WARNING, "%s", note.text);
	}
}

/* An endpoint without a record: the daemon ended between the two. */
static void forget_strays(struct router *r)
{
	const struct core_endpoint *e;

	for (size_t it = 0; core_next_local(r->core, &it, &e);) {
		struct core_event gone = { .kind = CORE_DETACHED };
		char ident[CORE_IDENT_MAX + 1];
		bool found = !expose_is_ident(e->ident);
		for (size_t i = 0; !found && i < r->n_exposed; i++)
			found = strcmp(r->exposed[i].network, e->network) == 0;
		if (found)
			continue;
		(void)snprintf(ident, sizeof(ident), "%s", e->ident);
		gone.ident = ident;
		(void)router_submit(r, &gone, router_ignore, NULL);
		it = 0;
	}
}

enum err expose_restore(struct router *r, struct err_note *note)
{
	enum err err = router_kept(r, KEEP, read_record, r, note);

	if (err == ERR_NOMEM)
		return err_note(note, err, "out of memory");
	if (err != ERR_OK)
		return err;
	adopt_strays(r);
	for (size_t i = 0; i < r->n_exposed; i++) {
		struct core_endpoint e;
		struct core_event ev = { .kind = CORE_ATTACHED, .endpoint = &e };
		endpoint_of(r, r->exposed[i].network, &e);
		(void)router_submit(r, &ev, router_ignore, NULL);
		claim(r, &r->exposed[i]);
	}
	forget_strays(r);
	struct err_note why = { "" };
	plane_adopt(r->plane, r->core); /* networks of which nothing else is here */
	if (apply(r, &why) != ERR_OK)
		log_write(r->log, LOG_LEVEL_WARNING, "the host is not exposed as it was (tried again): %s", why.text);
	return ERR_OK;
}

void expose_free(struct router *r)
{
	mem_free(r->exposed);
	map_free(r->exposing);
}
