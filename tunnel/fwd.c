#include "tunnel/fwd.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "tunnel/packet.h"

#define NOBODY    UINT32_MAX /* a MAC's peer that is not in the table */
#define OURSELVES (UINT32_MAX - 1)

/* A MAC and who holds it. */
struct place {
	uint64_t mac;  /* with MAC_MARK, so that 0 is a free place */
	uint64_t name; /* of the peer that holds it */
	uint32_t peer; /* its number, NOBODY or OURSELVES */
};
#define MAC_MARK (UINT64_C(1) << 48)

/* An address and one that may claim it. IPv4 is kept in IPv6's form ::ffff:a.b.c.d, so :: marks a free place. */
struct owner {
	uint64_t high, low;
	uint64_t name;
};

/* Both are hash tables with open addressing, at most half full, of a power of two places: what is looked for stands at its hash or
 * behind it, before the first free place. */
struct fwd_table {
	uint64_t self;
	struct fwd_peer *peers; /* by name */
	uint32_t *one;          /* one[i] = i: what a verdict for one peer points to */
	uint32_t *members;      /* peers that get what is flooded */
	struct place *macs;
	struct owner *owners;
	size_t macs_mask, owners_mask; /* places - 1 */
	size_t n_peers, n_members;
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

static enum err take_peers(struct fwd_table *t, const struct fwd_peer *peers, size_t n)
{
	for (size_t i = 0; i < n; i++) {
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

/* Mixes all bits into the upper ones and those into the lower. */
static uint64_t mix(uint64_t v)
{
	v *= UINT64_C(0x9e3779b97f4a7c15);
	v ^= v >> 32;
	v *= UINT64_C(0xd6e8feb86659fd93);
	return v ^ v >> 32;
}

/* The place of a MAC, or the free one where it would be. */
static struct place *place_of(const struct fwd_table *t, uint64_t mac)
{
	size_t at = (size_t)mix(mac) & t->macs_mask;
	while (t->macs[at].mac != 0 && t->macs[at].mac != (mac | MAC_MARK))
		at = (at + 1) & t->macs_mask;
	return &t->macs[at];
}

static void take_macs(struct fwd_table *t, const struct fwd_mac *macs, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		struct place *p = place_of(t, mac_number(macs[i].mac));
		size_t at;
		if (p->mac != 0 && p->name <= macs[i].peer)
			continue;
		*p = (struct place){ .mac = mac_number(macs[i].mac) | MAC_MARK, .name = macs[i].peer, .peer = NOBODY };
		if (p->name == t->self)
			p->peer = OURSELVES;
		else if (fwd_table_find(t, p->name, &at))
			p->peer = (uint32_t)at;
	}
}

static const uint8_t mapped[12] = { [10] = 0xff, [11] = 0xff };

static size_t first_owner(const struct fwd_table *t, uint64_t high, uint64_t low)
{
	return (size_t)mix(high ^ mix(low)) & t->owners_mask;
}

static enum err take_addrs(struct fwd_table *t, const struct fwd_addr *addrs, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		uint8_t b[16];
		if (addrs[i].ip.family == 4) {
			memcpy(b, mapped, sizeof mapped);
			memcpy(b + sizeof mapped, addrs[i].ip.b, 4);
		} else if (addrs[i].ip.family == 6) {
			memcpy(b, addrs[i].ip.b, sizeof b);
		} else {
			return ERR_RANGE;
		}
		const struct owner o = { get64(b), get64(b + 8), addrs[i].peer };
		if (!o.high && !o.low)
			continue; /* ::, which nobody can own */
		size_t at = first_owner(t, o.high, o.low);
		while (t->owners[at].high || t->owners[at].low)
			at = (at + 1) & t->owners_mask;
		t->owners[at] = o;
	}
	return ERR_OK;
}

/* Places for n things, one of which is always free. */
static size_t places(size_t n)
{
	size_t size = 2;
	while (size < 2 * n)
		size *= 2;
	return size;
}

enum err fwd_table_new(uint64_t self, const struct fwd_peer *peers, size_t n_peers, const struct fwd_mac *macs, size_t n_macs,
	const struct fwd_addr *addrs, size_t n_addrs, struct fwd_table **out)
{
	if (n_peers > FWD_PEERS_MAX || n_macs > FWD_MACS_MAX || n_addrs > FWD_ADDRS_MAX)
		return ERR_LIMIT;
	struct fwd_table *t = mem_zalloc(1, sizeof *t);
	if (!t)
		return ERR_NOMEM;
	t->self = self;
	t->macs_mask = places(n_macs) - 1;
	t->owners_mask = places(n_addrs) - 1;
	t->peers = mem_zalloc(n_peers + 1, sizeof *t->peers);
	t->one = mem_zalloc(n_peers + 1, sizeof *t->one);
	t->members = mem_zalloc(n_peers + 1, sizeof *t->members);
	t->macs = mem_zalloc(t->macs_mask + 1, sizeof *t->macs);
	t->owners = mem_zalloc(t->owners_mask + 1, sizeof *t->owners);
	enum err e = ERR_NOMEM;
	if (t->peers && t->one && t->members && t->macs && t->owners)
		e = take_peers(t, peers, n_peers);
	if (e == ERR_OK)
		e = take_addrs(t, addrs, n_addrs);
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
	mem_free(t->owners);
	mem_free(t);
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
static const struct place *find_mac(const struct fwd_table *t, uint64_t mac)
{
	const struct place *p = place_of(t, mac);
	return p->mac != 0 ? p : NULL;
}

/* The address is a container's, and none of those of `sender`. */
static bool of_others(const struct fwd_table *t, uint64_t high, uint64_t low, uint64_t sender)
{
	bool owned = false;
	for (size_t at = first_owner(t, high, low); t->owners[at].high || t->owners[at].low; at = (at + 1) & t->owners_mask) {
		const struct owner *o = &t->owners[at];
		if (o->high != high || o->low != low)
			continue;
		if (o->name == sender)
			return false;
		owned = true;
	}
	return owned;
}

static bool of_others4(const struct fwd_table *t, uint32_t address, uint64_t sender)
{
	return of_others(t, 0, UINT64_C(0xffff) << 32 | address, sender);
}

static bool of_others6(const struct fwd_table *t, const uint8_t *address, uint64_t sender)
{
	return of_others(t, get64(address), get64(address + 8), sender);
}

/* ---- frames */

static enum fwd_drop inspect_arp(const struct fwd_table *t, uint64_t sender, struct slice packet)
{
	enum { PROTOCOL = 2, SIZES = 4, FIXED = 8, SENDER = 14, TARGET = 24, SIZE = 28 };
	const uint8_t *p = packet.p;
	if (packet.n < FIXED)
		return FWD_MALFORMED;
	/* Whatever the hardware is called: Linux listens to more than one name of Ethernet. */
	if (get16(p + PROTOCOL) != TYPE_IP4 || get16(p + SIZES) != 0x0604)
		return FWD_PASSED;
	if (packet.n < SIZE)
		return FWD_MALFORMED;
	const uint32_t from = get32(p + SENDER);
	if (from == WEFT_DNS_V4 || get32(p + TARGET) == WEFT_DNS_V4)
		return FWD_DNS_ADDRESS;
	return of_others4(t, from, sender) ? FWD_FORGED_ADDRESS : FWD_PASSED;
}

static enum fwd_drop inspect_ip4(const struct fwd_table *t, uint64_t sender, struct slice packet)
{
	if (packet.n < IP4_HEAD)
		return FWD_MALFORMED;
	const uint32_t from = get32(packet.p + IP4_SRC);
	if (from == WEFT_DNS_V4 || get32(packet.p + IP4_DST) == WEFT_DNS_V4)
		return FWD_DNS_ADDRESS;
	return of_others4(t, from, sender) ? FWD_FORGED_ADDRESS : FWD_PASSED;
}

static enum fwd_drop inspect_ip6(const struct fwd_table *t, uint64_t sender, struct slice packet)
{
	enum { ADVERTISEMENT = 136, TARGET = 8, SIZE = 24 };
	struct packet_upper u;
	if (packet.n < IP6_HEAD || !packet_upper(packet.p, 0, (uint32_t)packet.n, &u))
		return FWD_MALFORMED;
	if (of_others6(t, packet.p + IP6_SRC, sender))
		return FWD_FORGED_ADDRESS;
	if (u.proto != PROTO_ICMP6 || u.offset > 0 || u.at == packet.n || packet.p[u.at] != ADVERTISEMENT)
		return FWD_PASSED;
	if (packet.n - u.at < SIZE)
		return FWD_MALFORMED;
	return of_others6(t, packet.p + u.at + TARGET, sender) ? FWD_FORGED_ADDRESS : FWD_PASSED;
}

/* What holds in both directions; sender is whose frame it is. dst and src are filled in unless the frame is too short for them. */
static enum fwd_drop inspect(const struct fwd_table *t, uint64_t sender, struct slice frame, uint64_t *dst, uint64_t *src)
{
	uint16_t type;
	const uint32_t at = packet_ether(frame, &type);
	if (at == 0)
		return FWD_MALFORMED;
	*dst = get64(frame.p) >> 16;
	*src = get64(frame.p + 4) & PEER_MAX;
	if (frame.p[6] & 1)
		return FWD_MALFORMED;
	if ((*dst & ~UINT64_C(0xf)) == UINT64_C(0x0180c2000000))
		return FWD_LINK_LOCAL;
	const struct slice packet = { frame.p + at, frame.n - at };
	switch (type) {
	case TYPE_ARP: return inspect_arp(t, sender, packet);
	case TYPE_IP4: return inspect_ip4(t, sender, packet);
	case TYPE_IP6: return inspect_ip6(t, sender, packet);
	default: return FWD_PASSED;
	}
}

static struct fwd_verdict dropped(enum fwd_drop why)
{
	return (struct fwd_verdict){ .drop = why };
}

struct fwd_verdict fwd_decide(const struct fwd_table *t, struct slice frame)
{
	uint64_t dst, src;
	enum fwd_drop drop = inspect(t, t->self, frame, &dst, &src);
	if (drop == FWD_PASSED || drop == FWD_FORGED_ADDRESS) {
		const struct place *from = find_mac(t, src);
		if (from && from->peer != OURSELVES)
			drop = FWD_FORGED;
	}
	if (drop != FWD_PASSED)
		return dropped(drop);
	const struct place *to = frame.p[0] & 1 ? NULL : find_mac(t, dst);
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

enum fwd_drop fwd_accept(const struct fwd_table *t, uint64_t src, struct slice frame)
{
	uint64_t dst_mac, src_mac;
	if (src == t->self)
		return FWD_STRANGER;
	enum fwd_drop drop = inspect(t, src, frame, &dst_mac, &src_mac);
	if (drop != FWD_PASSED && drop != FWD_FORGED_ADDRESS)
		return drop;
	const struct place *holder = find_mac(t, src_mac);
	return holder && holder->name != src ? FWD_FORGED : drop;
}
