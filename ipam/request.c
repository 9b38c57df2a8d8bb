/* Pending requests. Every ALLOCATE, CLAIM and PRIME becomes pending first and is tried at the end of the step; what can be decided at
 * once is, so most are gone before the step ends. A request leaves the list in the moment its answer is put among the actions. */
#include <assert.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "ipam/internal.h"

static const struct prefix no_prefix;

bool in_universe(const struct ipam *i, uint64_t addr)
{
	return range4_contains(universe_range(i->cfg.universe), addr);
}

/* --- leases and their records --- */

static struct slice lease_key(const struct ipam *i, uint32_t addr, uint8_t mem[RECORD_KEY_MAX])
{
	uint8_t a[4];
	struct wbuf w;
	wbuf_fixed(&w, a, sizeof a);
	wbuf_u32(&w, addr);
	return record_key(i, "lease/", a, sizeof a, mem);
}

enum err lease_store(struct ipam *i, const struct lease *l)
{
	uint8_t key[RECORD_KEY_MAX], value[IPAM_IDENT_MAX + 8];
	struct wbuf w;
	wbuf_fixed(&w, value, sizeof value);
	wbuf_u8(&w, l->len);
	wbuf_lv(&w, slice_str(l->ident));
	assert(!w.failed);
	return out_persist(i, lease_key(i, l->addr, key), wbuf_slice(&w));
}

enum err lease_load(struct ipam *i, uint32_t addr, struct slice value)
{
	struct rbuf r;
	char ident[IPAM_IDENT_MAX + 1];
	struct lease *l;
	rbuf_init(&r, value.p, value.n);
	uint8_t len = rbuf_u8(&r);
	struct slice s = rbuf_lv(&r, IPAM_IDENT_MAX);
	if (rbuf_end(&r) != ERR_OK || len > 32 || s.n == 0 || memchr(s.p, 0, s.n) || space_lease_at(&i->space, addr))
		return ERR_MALFORMED;
	if (i->space.n_leases >= IPAM_LEASES_MAX)
		return ERR_LIMIT;
	memcpy(ident, s.p, s.n);
	ident[s.n] = '\0';
	return space_lease(&i->space, ident, addr, len, &l);
}

/* Makes the lease and its record. On error neither is there. */
static enum err lease_take(struct ipam *i, const char *ident, uint32_t addr, uint8_t len)
{
	struct lease *l;
	enum err e = space_lease(&i->space, ident, addr, len, &l);
	if (e != ERR_OK)
		return e;
	e = lease_store(i, l);
	if (e != ERR_OK) {
		space_release(&i->space, l);
		return e;
	}
	i->usage_dirty = true;
	if (!ranges_has(&i->space.mine, addr))
		i->holds_dirty = true;
	return ERR_OK;
}

static enum err lease_drop(struct ipam *i, struct lease *l)
{
	uint8_t key[RECORD_KEY_MAX];
	enum err e = usage_unhold(i, l);
	if (e == ERR_OK)
		e = out_persist(i, lease_key(i, l->addr, key), slice_of(NULL, 0));
	if (e != ERR_OK)
		return e;
	space_release(&i->space, l);
	i->usage_dirty = i->freed = true;
	return ERR_OK;
}

enum err lease_drop_all(struct ipam *i)
{
	enum err e = ERR_OK;
	while (i->space.n_leases > 0 && e == ERR_OK)
		e = lease_drop(i, i->space.leases[i->space.n_leases - 1]);
	return e;
}

/* --- the list --- */

static void pending_free(struct pending *p)
{
	if (p)
		mem_free(p->ident);
	mem_free(p);
}

void request_free_all(struct ipam *i)
{
	for (size_t n = 0; n < i->n_pending; n++)
		pending_free(i->pending[n]);
	mem_free(i->pending);
	i->pending = NULL;
	i->n_pending = 0;
}

/* Answers and forgets it; pending[n] is another one then. */
static enum err answer(struct ipam *i, size_t n, enum err err, struct prefix result, const char *text)
{
	enum err e = out_reply(i, i->pending[n]->request, err, result, 0, text);
	if (e != ERR_OK)
		return e;
	pending_free(i->pending[n]);
	i->n_pending--;
	memmove(i->pending + n, i->pending + n + 1, (i->n_pending - n) * sizeof(struct pending *));
	return ERR_OK;
}

static enum err refuse(struct ipam *i, uint64_t request, enum err err, const char *text)
{
	return out_reply(i, request, err, no_prefix, 0, text);
}

static size_t pending_find(const struct ipam *i, uint64_t request)
{
	size_t n = 0;
	while (n < i->n_pending && i->pending[n]->request != request)
		n++;
	return n;
}

enum err request_cancel(struct ipam *i, uint64_t request)
{
	size_t n = pending_find(i, request);
	return n < i->n_pending ? answer(i, n, ERR_CANCELLED, no_prefix, "cancelled") : ERR_OK;
}

enum err request_refuse_all(struct ipam *i, enum err why, const char *text)
{
	enum err e = ERR_OK;
	while (i->n_pending > 0 && e == ERR_OK)
		e = answer(i, i->n_pending - 1, why, no_prefix, text);
	return e;
}

static bool ident_valid(const char *ident)
{
	return ident && ident[0] && strlen(ident) <= IPAM_IDENT_MAX;
}

/* Is it one of the two addresses of its subnet that are never given? */
static bool is_edge(struct prefix p)
{
	struct range4 r = range4_of(prefix_network(p));
	uint64_t a = ip_to_v4(p.addr);
	return p.len <= IPAM_SUBNET_MAX_LEN && (a == r.start || a == r.end - 1);
}

static enum err check(
	const struct ipam *i, enum pending_kind kind, const char *ident, struct prefix subnet, struct err_note *note)
{
	char a[PREFIX_TEXT], b[PREFIX_TEXT];
	struct universe u = i->cfg.universe;
	struct prefix whole = { ip_v4(u.first), u.len };
	if (kind == PENDING_PRIME)
		return ERR_OK;
	if (!ident_valid(ident))
		return err_note(note, ERR_USAGE, "a container's id has 1 to %d characters", IPAM_IDENT_MAX);
	if (subnet.addr.family != 4 || subnet.len > 32)
		return err_note(note, ERR_UNSUPPORTED, "only IPv4 addresses are given out");
	if (kind == PENDING_CLAIM) {
		if (in_universe(i, ip_to_v4(subnet.addr)) && is_edge(subnet))
			return err_note(
				note, ERR_RANGE, "%s: the first and the last address of a subnet are never given", prefix_format(subnet, a));
		return ERR_OK;
	}
	enum err e = ipam_check_subnet(subnet, note);
	if (e == ERR_OK && !prefix_overlaps(subnet, whole))
		e = err_note(note, ERR_RANGE, "%s is outside the range %s from which addresses are given", prefix_format(subnet, a),
			prefix_format(whole, b));
	return e;
}

enum err request_add(struct ipam *i, const struct ipam_event *ev)
{
	struct err_note note = { "" };
	enum pending_kind kind = ev->kind == IPAM_PRIME ? PENDING_PRIME : ev->kind == IPAM_CLAIM ? PENDING_CLAIM : PENDING_ALLOCATE;
	struct prefix subnet = kind == PENDING_ALLOCATE && ev->subnet.addr.family == 0 ? i->cfg.default_subnet : ev->subnet;
	if (pending_find(i, ev->request) < i->n_pending)
		return ERR_DUPLICATE;
	enum err e = check(i, kind, ev->ident, subnet, &note);
	if (e != ERR_OK)
		return refuse(i, ev->request, e, note.text);
	if (i->n_pending >= IPAM_PENDING_MAX)
		return refuse(i, ev->request, ERR_LIMIT, "too many requests are waiting already");
	void *mem = i->pending;
	bool ok = mem_grow(&mem, &i->cap_pending, i->n_pending + 1, sizeof *i->pending);
	i->pending = mem;
	struct pending *p = ok ? mem_zalloc(1, sizeof *p) : NULL;
	if (p)
		p->ident = mem_strdup(kind == PENDING_PRIME ? "" : ev->ident);
	if (!p || !p->ident) {
		pending_free(p);
		return ERR_NOMEM;
	}
	p->request = ev->request;
	p->kind = kind;
	p->subnet = subnet;
	p->wait = ev->wait;
	p->in_use = ev->on;
	line_format(p->reason, sizeof p->reason, "not tried yet");
	i->pending[i->n_pending++] = p;
	return ERR_OK;
}

/* --- trying --- */

/* The lease of ident in the subnet: one given for exactly this subnet before others. */
static const struct lease *lease_in(const struct ipam *i, const char *ident, struct prefix subnet)
{
	size_t n, from = space_leases_of(&i->space, ident, &n);
	const struct lease *found = NULL;
	for (size_t k = from; k < from + n; k++) {
		const struct lease *l = i->space.leases[k];
		if (prefix_contains(subnet, ip_v4(l->addr)) && (!found || (l->len == subnet.len && found->len != subnet.len)))
			found = l;
	}
	return found;
}

static struct prefix lease_prefix(const struct lease *l)
{
	return (struct prefix){ ip_v4(l->addr), l->len };
}

/* What keeps every request waiting; false: nothing does. Asked once for all of them. */
static bool blocked(const struct ipam *i, char reason[REASON_MAX])
{
	char majority[REASON_MAX / 2];
	if (i->suspended)
		line_format(reason, REASON_MAX, "another host uses our name: no addresses are given out until one of them is stopped");
	else if (!ring_exists(i) && i->cfg.init == IPAM_OBSERVER)
		line_format(reason, REASON_MAX, "waiting for the other hosts to agree who gives out which addresses");
	else if (!ring_exists(i))
		agree_awaits(i, reason, REASON_MAX);
	else if (lease_over(i)) {
		lease_majority_text(i, majority, sizeof majority);
		line_format(reason, REASON_MAX, "our lease has run out, no new addresses until a majority renews it: %s", majority);
	} else
		return false;
	return true;
}

/* The lowest free address of ours in the subnet that no container elsewhere is known to use. */
static bool lowest(const struct ipam *i, struct prefix subnet, uint32_t *addr)
{
	struct range4 r = range4_of(subnet);
	r.start++;
	r.end--;
	for (; space_lowest(&i->space, r, addr); r.start = (uint64_t)*addr + 1) {
		uint64_t holder;
		if (!i->cfg.in_use_elsewhere(i->cfg.ctx, *addr, &holder))
			return true;
	}
	return false;
}

static void waiting_text(const struct ipam *i, const struct ask *a, char reason[REASON_MAX])
{
	char name[WHO_TEXT];
	if (i->doubt.n > 0) {
		recover_waiting_for(i, name, sizeof name);
		line_format(reason, REASON_MAX, "waiting for space: recovering what is ours, waiting to hear from %s", name);
	} else if (a->unreachable > 0) {
		line_format(reason, REASON_MAX, "waiting for space: none is free here; %s%s cannot be reached",
			ipam_who(i, a->unreachable_name, name), a->unreachable > 1 ? " and others" : "");
	} else {
		line_format(reason, REASON_MAX, "waiting for space: every host is full in this subnet");
	}
}

/* Free space of ours that is kept spare: a majority has to hear first that it is not. Where none can be reached others may have some. */
static bool want_spare(struct ipam *i, struct range4 r, char reason[REASON_MAX])
{
	char majority[REASON_MAX / 2];
	if (!lease_locked(i, r))
		return false;
	lease_want(i, r);
	lease_majority_text(i, majority, sizeof majority);
	line_format(reason, REASON_MAX, "waiting for a majority to hear that what is free here is not spare any more: %s", majority);
	return reclaim_reachable(i) >= instance_quorum(&i->reclaim.in);
}

/* Each try_* answers pending[n] (and then *done) or leaves the reason why not. */
static enum err try_allocate(struct ipam *i, size_t n, const char *block, bool *done)
{
	struct pending *p = i->pending[n];
	const struct lease *l = lease_in(i, p->ident, p->subnet);
	size_t has;
	uint32_t addr;
	struct ask *a;
	*done = true;
	if (l)
		return answer(i, n, ERR_OK, lease_prefix(l), NULL);
	if (i->stopped)
		return answer(i, n, ERR_STATE, no_prefix,
			"this host has handed over its addresses and gives out no more until it is launched again");
	space_leases_of(&i->space, p->ident, &has);
	if (has >= IPAM_PER_IDENT_MAX || i->space.n_leases >= IPAM_LEASES_MAX)
		return answer(i, n, ERR_LIMIT, no_prefix,
			has >= IPAM_PER_IDENT_MAX ? "the container has too many addresses" : "this host has too many addresses");
	if (!block) {
		if (lowest(i, p->subnet, &addr)) {
			enum err e = lease_take(i, p->ident, addr, p->subnet.len);
			return e == ERR_OK ? answer(i, n, ERR_OK, (struct prefix){ ip_v4(addr), p->subnet.len }, NULL) : e;
		}
		if (ring_learning(i)) {
			line_format(p->reason, sizeof p->reason, "learning who owns which addresses");
			*done = false;
			return ERR_OK;
		}
		if (want_spare(i, range4_of(p->subnet), p->reason)) {
			*done = false;
			return ERR_OK;
		}
		enum err e = ask_for(i, range4_of(p->subnet), &a);
		if (e != ERR_OK)
			return e;
		if (a->exhausted)
			waiting_text(i, a, p->reason);
		else
			line_format(p->reason, sizeof p->reason, "asking another host for space");
	} else {
		line_format(p->reason, sizeof p->reason, "%s", block);
	}
	*done = false;
	return ERR_OK;
}

/* An address of ours, or of nobody, that is wanted: taken unless it is in use. */
static enum err claim_here(struct ipam *i, size_t n)
{
	struct pending *p = i->pending[n];
	uint32_t addr = ip_to_v4(p->subnet.addr);
	uint64_t holder = space_holder(&i->space, addr);
	char text[256], name[WHO_TEXT], ip[IP_TEXT];
	size_t has;
	space_leases_of(&i->space, p->ident, &has);
	if (has >= IPAM_PER_IDENT_MAX || i->space.n_leases >= IPAM_LEASES_MAX)
		return answer(i, n, ERR_LIMIT, no_prefix, "too many addresses");
	if (in_universe(i, addr) && (holder != PEER_NONE || i->cfg.in_use_elsewhere(i->cfg.ctx, addr, &holder))) {
		line_format(text, sizeof text, "address %s is in use on %s", ip_format(p->subnet.addr, ip), ipam_who(i, holder, name));
		return answer(i, n, ERR_BUSY, no_prefix, text);
	}
	enum err e = lease_take(i, p->ident, addr, p->subnet.len);
	return e == ERR_OK ? answer(i, n, ERR_OK, p->subnet, NULL) : e;
}

/* Keeps waiting, or gives up when the asker will not. */
static enum err claim_wait(struct ipam *i, size_t n, enum err err, const char *reason, bool *done)
{
	struct pending *p = i->pending[n];
	*done = !p->wait;
	if (*done)
		return answer(i, n, err, no_prefix, reason);
	line_format(p->reason, sizeof p->reason, "%s", reason);
	return ERR_OK;
}

static enum err claim_elsewhere(struct ipam *i, size_t n, uint64_t owner, bool *done)
{
	struct pending *p = i->pending[n];
	uint64_t addr = ip_to_v4(p->subnet.addr);
	char reason[REASON_MAX], name[WHO_TEXT], ip[IP_TEXT];
	struct ask *a;
	ipam_who(i, owner, name);
	ip_format(p->subnet.addr, ip);
	if (owner == PEER_NONE || owner == i->cfg.self) {
		if (owner == PEER_NONE)
			line_format(reason, sizeof reason, "it is not known yet which host owns %s", ip);
		else if (lease_locked(i, (struct range4){ addr, addr + 1 }))
			(void)want_spare(i, (struct range4){ addr, addr + 1 }, reason);
		else
			line_format(reason, sizeof reason, "%s is ours only when all the other hosts were heard", ip);
		return claim_wait(i, n, ERR_AGAIN, reason, done);
	}
	enum err e = ask_for(i, (struct range4){ addr, addr + 1 }, &a);
	if (e != ERR_OK)
		return e;
	if (a->refused)
		return answer(i, n, ERR_BUSY, no_prefix, a->text);
	if (!i->cfg.reachable(i->cfg.ctx, owner)) {
		line_format(reason, sizeof reason, "%s is owned by %s, which cannot be reached", ip, name);
		return claim_wait(i, n, ERR_UNREACHABLE, reason, done);
	}
	if (a->exhausted) {
		line_format(reason, sizeof reason, "%s is owned by %s: %s", ip, name, a->text[0] ? a->text : "no answer");
		return claim_wait(i, n, ERR_AGAIN, reason, done);
	}
	line_format(p->reason, sizeof p->reason, "asking %s for %s", name, ip);
	*done = false;
	return ERR_OK;
}

static enum err try_claim(struct ipam *i, size_t n, const char *block, bool *done)
{
	struct pending *p = i->pending[n];
	uint32_t addr = ip_to_v4(p->subnet.addr);
	const struct lease *l = space_lease_at(&i->space, addr);
	char text[256], ip[IP_TEXT];
	*done = true;
	if (l && strcmp(l->ident, p->ident) == 0)
		return answer(i, n, ERR_OK, lease_prefix(l), NULL);
	if (l) {
		line_format(text, sizeof text, "address %s is in use here by %s", ip_format(p->subnet.addr, ip), l->ident);
		return answer(i, n, ERR_BUSY, no_prefix, text);
	}
	if (i->stopped)
		return answer(i, n, ERR_STATE, no_prefix, "this host has handed over its addresses");
	if (!in_universe(i, addr))
		return claim_here(i, n);
	if (block)
		return claim_wait(i, n, ERR_AGAIN, block, done);
	if (own_accepts_claim(i, addr, p->in_use))
		return claim_here(i, n);
	return claim_elsewhere(i, n, ring_owner(i->cfg.ring, i->cfg.universe, addr), done);
}

static enum err try_prime(struct ipam *i, size_t n, const char *block, bool *done)
{
	*done = ring_exists(i);
	if (*done)
		return answer(i, n, ERR_OK, no_prefix, NULL);
	line_format(i->pending[n]->reason, REASON_MAX, "%s", block ? block : "");
	return ERR_OK;
}

/* Primes, then claims, then allocates: whoever wants one address in particular comes before who takes any. */
enum err request_retry(struct ipam *i)
{
	static enum err (*const try_one[])(struct ipam *, size_t, const char *,
		bool *) = { [PENDING_PRIME] = try_prime, [PENDING_CLAIM] = try_claim, [PENDING_ALLOCATE] = try_allocate };
	enum err e = ERR_OK;
	char reason[REASON_MAX];
	const char *block = blocked(i, reason) ? reason : NULL;
	ask_unmark(i);
	for (int kind = PENDING_PRIME; kind <= PENDING_ALLOCATE && e == ERR_OK; kind++) {
		for (size_t n = 0; n < i->n_pending && e == ERR_OK;) {
			bool done = false;
			if ((int)i->pending[n]->kind == kind)
				e = try_one[kind](i, n, block, &done);
			if (!done)
				n++;
		}
	}
	if (e == ERR_OK)
		ask_sweep(i);
	return e;
}

/* --- looking up and freeing --- */

static const struct lease *look_up(const struct ipam *i, const char *ident, struct prefix subnet)
{
	struct prefix in = subnet.addr.family == 0 ? i->cfg.default_subnet : subnet;

	return ident_valid(ident) && in.addr.family == 4 ? lease_in(i, ident, in) : NULL;
}

bool ipam_has_lease(const struct ipam *i, const char *ident, struct prefix subnet)
{
	return look_up(i, ident, subnet) != NULL;
}

enum err request_lookup(struct ipam *i, const struct ipam_event *ev)
{
	struct prefix subnet = ev->subnet.addr.family == 0 ? i->cfg.default_subnet : ev->subnet;
	const struct lease *l = look_up(i, ev->ident, subnet);
	char text[256], a[PREFIX_TEXT];
	if (l)
		return out_reply(i, ev->request, ERR_OK, lease_prefix(l), 0, NULL);
	line_format(
		text, sizeof text, "%.*s has no address in %s", IPAM_IDENT_MAX, ev->ident ? ev->ident : "", prefix_format(subnet, a));
	return refuse(i, ev->request, ERR_NOT_FOUND, text);
}

enum err request_free(struct ipam *i, const struct ipam_event *ev)
{
	size_t n = 0, from = ident_valid(ev->ident) ? space_leases_of(&i->space, ev->ident, &n) : 0;
	uint64_t freed = 0;
	/* All or nothing: an answer that cannot be given would leave the asker in the dark. */
	enum err e = out_reserve(i, 2 * n + 2, (2 * n + 2) * RECORD_BYTES);
	for (size_t k = from + n; k > from && e == ERR_OK; k--) {
		struct lease *l = i->space.leases[k - 1];
		if (ev->addr.family != 0 && !ip_eq(ev->addr, ip_v4(l->addr)))
			continue;
		e = lease_drop(i, l);
		freed += e == ERR_OK;
	}
	if (e != ERR_OK)
		return e;
	if (freed > 0)
		return out_reply(i, ev->request, ERR_OK, no_prefix, freed, NULL);
	char text[256], a[IP_TEXT];
	line_format(text, sizeof text, "%.*s has no address%s%s", IPAM_IDENT_MAX, ev->ident ? ev->ident : "",
		ev->addr.family ? " " : "", ev->addr.family ? ip_format(ev->addr, a) : "");
	return refuse(i, ev->request, ERR_NOT_FOUND, text);
}
