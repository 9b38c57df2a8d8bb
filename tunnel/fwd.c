#include "tunnel/fwd.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"

#define ETH_VLAN_MAX 2u /* tags looked behind; more is refused */
#define TYPE_IP4     0x0800u
#define TYPE_ARP     0x0806u
#define TYPE_VLAN    0x8100u
#define TYPE_QINQ    0x88a8u
#define NOBODY       UINT32_MAX /* a MAC's peer that is not in the table */
#define OURSELVES    (UINT32_MAX - 1)

/* A MAC as a number, for order and comparison. */
struct place {
	uint64_t mac;
	uint64_t name; /* of the peer that holds it */
	uint32_t peer; /* its number, NOBODY or OURSELVES */
};

struct fwd_table {
	uint64_t self;
	struct fwd_peer *peers; /* by name */
	uint32_t *one;          /* one[i] = i: what a verdict for one peer points to */
	uint32_t *members;      /* peers that get what is flooded */
	struct place *macs;     /* by MAC */
	size_t n_peers, n_members, n_macs;
};

static const char *const drop_names[] = {
#define X(name, text) text,
	FWD_DROP_LIST(X)
#undef X
};

const char *fwd_drop_name(enum fwd_drop d)
{
	return (unsigned)d < FWD_DROPS ? drop_names[d] : "unknown";
}

static uint64_t mac_number(struct mac m)
{
	uint64_t v = 0;
	for (int i = 0; i < 6; i++)
		v = v << 8 | m.b[i];
	return v;
}

static int by_name(const void *a, const void *b)
{
	const struct fwd_peer *x = a, *y = b;
	return (x->name > y->name) - (x->name < y->name);
}

static int by_mac(const void *a, const void *b)
{
	const struct place *x = a, *y = b;
	if (x->mac != y->mac)
		return x->mac > y->mac ? 1 : -1;
	return (x->name > y->name) - (x->name < y->name);
}

static enum err take_peers(struct fwd_table *t, const struct fwd_peer *peers, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		if (peers[i].n_from > FWD_FROM_MAX)
			return ERR_RANGE;
		if (peers[i].name != t->self)
			t->peers[t->n_peers++] = peers[i];
	}
	if (t->n_peers > 1)
		qsort(t->peers, t->n_peers, sizeof *t->peers, by_name);
	for (size_t i = 0; i < t->n_peers; i++) {
		if (i > 0 && t->peers[i].name == t->peers[i - 1].name)
			return ERR_DUPLICATE;
		t->one[i] = (uint32_t)i;
		if (t->peers[i].member && t->peers[i].to.ip.family)
			t->members[t->n_members++] = (uint32_t)i;
	}
	return ERR_OK;
}

static void take_macs(struct fwd_table *t, const struct fwd_mac *macs, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		struct place *p = &t->macs[i];
		size_t at;
		*p = (struct place){ .mac = mac_number(macs[i].mac), .name = macs[i].peer, .peer = NOBODY };
		if (p->name == t->self)
			p->peer = OURSELVES;
		else if (fwd_table_find(t, p->name, &at))
			p->peer = (uint32_t)at;
	}
	if (n > 1)
		qsort(t->macs, n, sizeof *t->macs, by_mac);
	for (size_t i = 0; i < n; i++)
		if (i == 0 || t->macs[i].mac != t->macs[t->n_macs - 1].mac)
			t->macs[t->n_macs++] = t->macs[i];
}

enum err fwd_table_new(uint64_t self, const struct fwd_peer *peers, size_t n_peers, const struct fwd_mac *macs, size_t n_macs,
	struct fwd_table **out)
{
	if (n_peers > FWD_PEERS_MAX || n_macs > FWD_MACS_MAX)
		return ERR_LIMIT;
	struct fwd_table *t = mem_zalloc(1, sizeof *t);
	if (!t)
		return ERR_NOMEM;
	t->self = self;
	t->peers = mem_zalloc(n_peers + 1, sizeof *t->peers);
	t->one = mem_zalloc(n_peers + 1, sizeof *t->one);
	t->members = mem_zalloc(n_peers + 1, sizeof *t->members);
	t->macs = mem_zalloc(n_macs + 1, sizeof *t->macs);
	enum err e = ERR_NOMEM;
	if (t->peers && t->one && t->members && t->macs)
		e = take_peers(t, peers, n_peers);
	if (e != ERR_OK) {
		fwd_table_free(t);
		return e;
	}
	take_macs(t, macs, n_macs);
	*out = t;
	return ERR_OK;
}

void fwd_table_free(struct fwd_table *t)
{
	if (!t)
		return;
	mem_free(t->peers);
	mem_free(t->one);
	mem_free(t->members);
	mem_free(t->macs);
	mem_free(t);
}

uint64_t fwd_table_self(const struct fwd_table *t)
{
	return t->self;
}

size_t fwd_table_peers(const struct fwd_table *t)
{
	return t->n_peers;
}

const struct fwd_peer *fwd_table_peer(const struct fwd_table *t, size_t i)
{
	assert(i < t->n_peers);
	return &t->peers[i];
}

bool fwd_table_find(const struct fwd_table *t, uint64_t name, size_t *i)
{
	size_t lo = 0, hi = t->n_peers;
	while (lo < hi) {
		size_t mid = lo + (hi - lo) / 2;
		if (t->peers[mid].name < name)
			lo = mid + 1;
		else
			hi = mid;
	}
	*i = lo;
	return lo < t->n_peers && t->peers[lo].name == name;
}

/* NULL: nobody has published it. */
static const struct place *find_mac(const struct fwd_table *t, struct mac m)
{
	const uint64_t mac = mac_number(m);
	size_t lo = 0, hi = t->n_macs;
	while (lo < hi) {
		size_t mid = lo + (hi - lo) / 2;
		if (t->macs[mid].mac < mac)
			lo = mid + 1;
		else
			hi = mid;
	}
	return lo < t->n_macs && t->macs[lo].mac == mac ? &t->macs[lo] : NULL;
}

/* ---- frames */

/* ARP's sender or target protocol address is the daemon's. */
static bool arp_touches_dns(struct rbuf *r)
{
	uint16_t hardware = rbuf_u16(r), protocol = rbuf_u16(r);
	uint8_t hlen = rbuf_u8(r), plen = rbuf_u8(r);
	rbuf_skip(r, 2);
	if (hardware != 1 || protocol != TYPE_IP4 || hlen != 6 || plen != 4)
		return false;
	rbuf_skip(r, 6);
	uint32_t sender = rbuf_u32(r);
	rbuf_skip(r, 6);
	uint32_t target = rbuf_u32(r);
	return sender == WEFT_DNS_V4 || target == WEFT_DNS_V4;
}

static bool ip4_touches_dns(struct rbuf *r)
{
	rbuf_skip(r, 12);
	uint32_t src = rbuf_u32(r), dst = rbuf_u32(r);
	return src == WEFT_DNS_V4 || dst == WEFT_DNS_V4;
}

/* What holds in both directions. dst and src are filled in unless the frame is too short for them. */
static enum fwd_drop inspect(struct slice frame, struct mac *dst, struct mac *src)
{
	struct rbuf r;
	rbuf_init(&r, frame.p, frame.n);
	*dst = rbuf_mac(&r);
	*src = rbuf_mac(&r);
	uint16_t type = rbuf_u16(&r);
	for (unsigned tags = 0; type == TYPE_VLAN || type == TYPE_QINQ; tags++) {
		if (tags == ETH_VLAN_MAX)
			return FWD_MALFORMED;
		rbuf_skip(&r, 2);
		type = rbuf_u16(&r);
	}
	if (!rbuf_ok(&r) || mac_is_group(*src))
		return FWD_MALFORMED;
	if ((mac_number(*dst) & ~UINT64_C(0xf)) == UINT64_C(0x0180c2000000))
		return FWD_LINK_LOCAL;
	bool dns = type == TYPE_ARP ? arp_touches_dns(&r) : type == TYPE_IP4 && ip4_touches_dns(&r);
	if (!rbuf_ok(&r))
		return FWD_MALFORMED;
	return dns ? FWD_DNS_ADDRESS : FWD_PASSED;
}

static struct fwd_verdict dropped(enum fwd_drop why)
{
	return (struct fwd_verdict){ .drop = why };
}

struct fwd_verdict fwd_decide(const struct fwd_table *t, struct slice frame)
{
	struct mac dst, src;
	enum fwd_drop drop = inspect(frame, &dst, &src);
	if (drop != FWD_PASSED)
		return dropped(drop);
	const struct place *from = find_mac(t, src), *to = mac_is_group(dst) ? NULL : find_mac(t, dst);
	if (from && from->peer != OURSELVES)
		return dropped(FWD_FORGED);
	if (to && to->peer == OURSELVES)
		return dropped(FWD_LOCAL);
	if (to) {
		if (to->peer == NOBODY || !t->peers[to->peer].to.ip.family)
			return dropped(FWD_NO_PEER);
		return (struct fwd_verdict){ .peers = &t->one[to->peer], .n = 1 };
	}
	if (t->n_members == 0)
		return dropped(FWD_NO_PEER);
	return (struct fwd_verdict){ .flood = true, .peers = t->members, .n = t->n_members };
}

static bool sends_from(const struct fwd_peer *p, struct ip from)
{
	if (p->to.ip.family && ip_eq(p->to.ip, from))
		return true;
	for (size_t i = 0; i < p->n_from; i++)
		if (ip_eq(p->from[i], from))
			return true;
	return false;
}

enum fwd_drop fwd_accept(const struct fwd_table *t, uint64_t src, uint64_t dst, struct ip from, struct slice frame, size_t *peer)
{
	struct mac dst_mac, src_mac;
	size_t at;
	if (!from.family || !fwd_table_find(t, src, &at) || !sends_from(&t->peers[at], from))
		return FWD_STRANGER;
	if (dst != t->self)
		return FWD_NOT_OURS;
	enum fwd_drop drop = inspect(frame, &dst_mac, &src_mac);
	if (drop != FWD_PASSED)
		return drop;
	const struct place *holder = find_mac(t, src_mac);
	if (holder && holder->peer != at)
		return FWD_FORGED;
	*peer = at;
	return FWD_PASSED;
}
