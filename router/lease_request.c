#include "router/lease_request.h"

#include <assert.h>
#include <stdio.h>
#include <string.h>

#include "router/internal.h"

bool lease_is_held(const struct router *r, const char *ident, struct ip addr)
{
	const struct ipam *ipam = core_ipam(r->core);
	const char *holder = ipam != NULL && addr.family == 4 ? ipam_holder(ipam, ip_to_v4(addr)) : NULL;

	return holder != NULL && strcmp(holder, ident) == 0;
}

void lease_request_give_back(struct lease_request *q, bool (*in_use)(const void *arg, struct ip addr), const void *arg)
{
	for (size_t i = 0; core_ipam(q->r->core) != NULL && i < q->n_got; i++) {
		const struct wanted *w = &q->want[i];
		struct ipam_event free_it = { .kind = IPAM_FREE, .ident = q->ident, .addr = w->prefix.addr };
		struct core_event ev = { .kind = CORE_IPAM, .ipam = &free_it };
		if (!w->had && w->prefix.addr.family == 4 && !in_use(arg, w->prefix.addr))
			(void)router_submit(q->r, &ev, router_ignore, NULL);
	}
}

static void advance(struct lease_request *q);

static void on_address(void *ctx, const struct router_result *res)
{
	struct lease_request *q = ctx;

	q->inner = 0;
	q->answered = true;
	q->err = res->err;
	if (res->err == ERR_OK)
		q->want[q->n_got++].prefix = res->addr;
	else
		(void)snprintf(q->why, sizeof(q->why), "%s", res->text);
	if (!q->asking)
		advance(q);
}

/* The next address. true: answered already. */
static bool ask(struct lease_request *q)
{
	struct wanted *w = &q->want[q->n_got];
	const struct ipam *ipam = core_ipam(q->r->core);
	struct ipam_event want = {
		.kind = w->claim ? IPAM_CLAIM : IPAM_ALLOCATE, .ident = q->ident, .subnet = w->prefix, .wait = true
	};
	struct core_event ev = { .kind = CORE_IPAM, .ipam = &want };

	if (ipam == NULL || w->prefix.addr.family != 4) {
		q->n_got++;
		return true;
	}
	/* an allocation may give what the ident has already: then it has a lease in that subnet now */
	w->had = w->claim ? lease_is_held(q->r, q->ident, w->prefix.addr) : ipam_has_lease(ipam, q->ident, w->prefix);
	q->answered = false;
	uint64_t inner = router_submit(q->r, &ev, on_address, q);
	if (!q->answered)
		q->inner = inner;
	return q->answered;
}

/* While one address was waited for, another that was held already may have been freed: by a detach, by hide, or since the container was away for too long. Such a
 * one is to be claimed, unless somebody else has got it by now. */
static bool take_up_lost(struct lease_request *q)
{
	const struct universe u = core_universe(q->r->core);
	const struct prefix range = { ip_v4(u.first), u.len };

	for (size_t i = 0; core_ipam(q->r->core) != NULL && q->n_again < CORE_ADDRS_MAX && i < q->n_got; i++) {
		struct wanted lost = q->want[i];
		if (!prefix_contains(range, lost.prefix.addr) || lease_is_held(q->r, q->ident, lost.prefix.addr))
			continue;
		lost.claim = true;
		q->n_got--;
		q->want[i] = q->want[q->n_got];
		q->want[q->n_got] = lost;
		q->n_again++;
		return true;
	}
	return false;
}

/* One address after the other, in a loop: mostly the answer comes before the question's call returns, and a step within a step within a step for each address would
 * have no end. */
static void advance(struct lease_request *q)
{
	bool waiting = false;
	enum err err;

	q->asking = true;
	while (!waiting && !q->cancelled && q->err == ERR_OK && (q->n_got < q->n_want || take_up_lost(q)))
		waiting = !ask(q);
	q->asking = false;
	if (q->cancelled && router_decided(q->r, q->inner, &err))
		return; /* that address comes first, to be given back as well */
	if (q->cancelled) {
		lease_request_drop(q);
		q->done(q->ctx, ERR_CANCELLED, "cancelled");
	} else if (!waiting) {
		q->done(q->ctx, q->err, q->why);
	}
}

void lease_request_start(struct lease_request *q)
{
	assert(q->n_want <= CORE_ADDRS_MAX && q->n_got == 0);
	advance(q);
}

void lease_request_cancel(struct lease_request *q)
{
	q->cancelled = true;
	if (!q->asking) /* else advance() is on its way and sees to it */
		advance(q);
}

void lease_request_drop(struct lease_request *q)
{
	router_cancel(q->r, q->inner);
	q->inner = 0;
}
