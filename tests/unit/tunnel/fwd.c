/* Decisions about frames: a table of cases both ways, the table's own laws, and random tables and frames against a slow model. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdio.h>
#include <string.h>

#include "base/mem.h"
#include "base/rng.h"
#include "tunnel/fwd.h"

#define SELF 1u

static struct ip v4(uint8_t last)
{
	return ip_v4(UINT32_C(0xc0000200) + last);
}

static struct mac mac(uint8_t last)
{
	return (struct mac){ { 0x02, 0, 0, 0, 0, last } };
}

static const struct mac everyone = { { 0xff, 0xff, 0xff, 0xff, 0xff, 0xff } };

/* Hosts 2 (members), 3 (none), 4 (members, nowhere to send to), 5 (members). MACs 1 ours, 2 3 4 5 theirs, 9 of host 9, whom we do not know. */
static struct fwd_table *usual(void)
{
	struct fwd_peer peers[5] = {
		{ .name = 5, .to = { v4(5), 6783 }, .member = true },
		{ .name = 2, .to = { v4(2), 6783 }, .member = true },
		{ .name = SELF, .to = { v4(1), 6783 }, .member = true },
		{ .name = 3, .to = { v4(3), 7000 } },
		{ .name = 4, .member = true },
	};
	const struct fwd_mac macs[] = { { mac(9), 9 }, { mac(5), 5 }, { mac(1), SELF }, { mac(2), 2 }, { mac(4), 4 }, { mac(3), 3 } };
	struct fwd_table *t;
	assert_int_equal(fwd_table_new(SELF, peers, 5, macs, 6, NULL, 0, &t), ERR_OK);
	return t;
}

struct frame {
	uint8_t b[128];
	size_t n;
};

static struct frame frame_of(struct mac dst, struct mac src, uint16_t type)
{
	struct frame f = { .n = 60 };
	memcpy(f.b, dst.b, 6);
	memcpy(f.b + 6, src.b, 6);
	f.b[12] = (uint8_t)(type >> 8);
	f.b[13] = (uint8_t)type;
	return f;
}

static struct slice bytes(const struct frame *f)
{
	return slice_of(f->b, f->n);
}

static struct frame arp(struct mac src, uint32_t sender, uint32_t target)
{
	static const uint8_t head[8] = { 0, 1, 8, 0, 6, 4, 0, 1 };
	struct frame f = frame_of(everyone, src, 0x0806);
	memcpy(f.b + 14, head, 8);
	memcpy(f.b + 28, ip_v4(sender).b, 4);
	memcpy(f.b + 38, ip_v4(target).b, 4);
	f.n = 42;
	return f;
}

static struct frame ip4(struct mac dst, struct mac src, uint32_t from, uint32_t to)
{
	struct frame f = frame_of(dst, src, 0x0800);
	f.b[14] = 0x45;
	memcpy(f.b + 26, ip_v4(from).b, 4);
	memcpy(f.b + 30, ip_v4(to).b, 4);
	return f;
}

/* Puts n VLAN tags behind the addresses. */
static struct frame tagged(struct frame f, unsigned n)
{
	for (; n > 0; n--) {
		static const uint8_t tag[4] = { 0x81, 0, 0, 7 };
		memmove(f.b + 16, f.b + 12, f.n - 12);
		memcpy(f.b + 12, tag, 4);
		f.n += 4;
	}
	return f;
}

static void goes_to(const struct fwd_table *t, struct frame f, uint64_t name)
{
	struct fwd_verdict v = fwd_decide(t, bytes(&f));
	assert_int_equal(v.drop, FWD_PASSED);
	assert_false(v.flood);
	assert_int_equal(v.n, 1);
	assert_int_equal(fwd_table_peer(t, v.peers[0])->name, name);
}

static void goes_to_members(const struct fwd_table *t, struct frame f)
{
	struct fwd_verdict v = fwd_decide(t, bytes(&f));
	assert_int_equal(v.drop, FWD_PASSED);
	assert_true(v.flood);
	assert_int_equal(v.n, 2); /* once each; not ourselves, not who has no members, not who cannot be reached */
	assert_int_equal(fwd_table_peer(t, v.peers[0])->name, 2);
	assert_int_equal(fwd_table_peer(t, v.peers[1])->name, 5);
}

static void is_dropped(const struct fwd_table *t, struct frame f, enum fwd_drop why)
{
	struct fwd_verdict v = fwd_decide(t, bytes(&f));
	assert_string_equal(fwd_drop_name(v.drop), fwd_drop_name(why));
	assert_int_equal(v.n, 0);
}

static void outgoing(void **s)
{
	(void)s;
	struct fwd_table *t = usual();
	goes_to(t, frame_of(mac(2), mac(1), 0x88b5), 2);
	goes_to(t, frame_of(mac(3), mac(1), 0x88b5), 3);
	goes_to(t, frame_of(mac(5), mac(77), 0x0801), 5); /* a source nobody has published yet */
	goes_to_members(t, frame_of(everyone, mac(1), 0x88b5));
	goes_to_members(t, frame_of((struct mac){ { 0x33, 0x33, 0, 0, 0, 1 } }, mac(1), 0x88b5));
	goes_to_members(t, frame_of(mac(88), mac(1), 0x88b5)); /* unknown destination */
	is_dropped(t, frame_of(mac(4), mac(1), 0x88b5), FWD_NO_PEER);
	is_dropped(t, frame_of(mac(9), mac(1), 0x88b5), FWD_NO_PEER);
	is_dropped(t, frame_of(mac(1), mac(77), 0x88b5), FWD_LOCAL);
	is_dropped(t, frame_of(mac(2), mac(3), 0x88b5), FWD_FORGED);
	is_dropped(t, frame_of(everyone, mac(9), 0x88b5), FWD_FORGED);
	is_dropped(t, frame_of(mac(2), everyone, 0x88b5), FWD_MALFORMED);
	for (uint8_t i = 0; i < 16; i++)
		is_dropped(t, frame_of((struct mac){ { 1, 0x80, 0xc2, 0, 0, i } }, mac(1), 0x88cc), FWD_LINK_LOCAL);
	goes_to_members(t, frame_of((struct mac){ { 1, 0x80, 0xc2, 0, 0, 0x10 } }, mac(1), 0x88cc));
	fwd_table_free(t);
}

static void dns_address(void **s)
{
	(void)s;
	struct fwd_table *t = usual();
	const uint32_t a = UINT32_C(0x0a200001), b = UINT32_C(0x0a200002), dns = UINT32_C(0xa9fe4353);
	assert_int_equal(dns, WEFT_DNS_V4);
	goes_to_members(t, arp(mac(1), a, b));
	goes_to(t, ip4(mac(2), mac(1), a, b), 2);
	for (unsigned tags = 0; tags <= 2; tags++) {
		is_dropped(t, tagged(arp(mac(1), a, dns), tags), FWD_DNS_ADDRESS);
		is_dropped(t, tagged(arp(mac(1), dns, b), tags), FWD_DNS_ADDRESS);
		is_dropped(t, tagged(ip4(mac(2), mac(1), a, dns), tags), FWD_DNS_ADDRESS);
		is_dropped(t, tagged(ip4(mac(2), mac(1), dns, b), tags), FWD_DNS_ADDRESS);
		is_dropped(t, tagged(ip4(mac(88), mac(1), dns, b), tags), FWD_DNS_ADDRESS);
	}
	goes_to_members(t, tagged(arp(mac(1), a, b), 2));
	is_dropped(t, tagged(arp(mac(1), a, b), 3), FWD_MALFORMED);
	/* Cut before the address is known. */
	struct frame f = arp(mac(1), a, dns), g = ip4(mac(2), mac(1), a, dns);
	for (f.n = 0; f.n < 42; f.n++)
		is_dropped(t, f, FWD_MALFORMED);
	for (g.n = 0; g.n < 34; g.n++)
		is_dropped(t, g, FWD_MALFORMED);
	/* ARP for something else than IPv4 is not ours to read. */
	f = arp(mac(1), a, dns);
	f.b[16] = 0x08, f.b[17] = 0x01;
	goes_to_members(t, f);
	fwd_table_free(t);
}

static void incoming(void **s)
{
	(void)s;
	struct fwd_table *t = usual();
	const struct frame f = frame_of(mac(1), mac(2), 0x88b5), unknown = frame_of(everyone, mac(66), 0x88b5);
	assert_int_equal(fwd_accept(t, 2, bytes(&f)), FWD_PASSED);
	assert_int_equal(fwd_accept(t, 2, bytes(&unknown)), FWD_PASSED);
	const struct frame own4 = frame_of(mac(1), mac(4), 0x88b5);
	assert_int_equal(fwd_accept(t, 4, bytes(&own4)), FWD_PASSED);   /* cannot be sent to, may send */
	assert_int_equal(fwd_accept(t, SELF, bytes(&f)), FWD_STRANGER); /* ourselves */
	/* Source MACs of a third host, of us, of a host we do not know. */
	for (uint8_t i = 1; i <= 9; i++) {
		const struct frame forged = frame_of(everyone, mac(i), 0x88b5);
		bool refused = i == 1 || i == 3 || i == 4 || i == 5 || i == 9;
		assert_int_equal(fwd_accept(t, 2, bytes(&forged)), refused ? FWD_FORGED : FWD_PASSED);
	}
	const struct frame dns = arp(mac(2), WEFT_DNS_V4, UINT32_C(0x0a200001)),
					   stp = frame_of((struct mac){ { 1, 0x80, 0xc2, 0, 0, 0 } }, mac(2), 39);
	assert_int_equal(fwd_accept(t, 2, bytes(&dns)), FWD_DNS_ADDRESS);
	assert_int_equal(fwd_accept(t, 2, bytes(&stp)), FWD_LINK_LOCAL);
	assert_int_equal(fwd_accept(t, 2, slice_of(f.b, 13)), FWD_MALFORMED);
	assert_int_equal(fwd_accept(t, 2, slice_of(NULL, 0)), FWD_MALFORMED);
	fwd_table_free(t);
}

static void tables(void **s)
{
	(void)s;
	struct fwd_table *t;
	assert_int_equal(fwd_table_new(SELF, NULL, 0, NULL, 0, NULL, 0, &t), ERR_OK);
	is_dropped(t, frame_of(everyone, mac(1), 0x88b5), FWD_NO_PEER);
	is_dropped(t, frame_of(mac(2), mac(1), 0x88b5), FWD_NO_PEER);
	fwd_table_free(t);
	const struct fwd_peer twice[] = { { .name = 7 }, { .name = 8 }, { .name = 7 } };
	assert_int_equal(fwd_table_new(SELF, twice, 3, NULL, 0, NULL, 0, &t), ERR_DUPLICATE);
	assert_int_equal(fwd_table_new(SELF, twice, FWD_PEERS_MAX + 1, NULL, 0, NULL, 0, &t), ERR_LIMIT);
	assert_int_equal(fwd_table_new(SELF, NULL, 0, NULL, FWD_MACS_MAX + 1, NULL, 0, &t), ERR_LIMIT);
	const struct fwd_addr nothing = { .peer = 7 };
	assert_int_equal(fwd_table_new(SELF, NULL, 0, NULL, 0, NULL, FWD_ADDRS_MAX + 1, &t), ERR_LIMIT);
	assert_int_equal(fwd_table_new(SELF, NULL, 0, NULL, 0, &nothing, 1, &t), ERR_RANGE);
	/* One MAC claimed by two: the lower name, whatever the order. */
	const struct fwd_peer two[] = { { .name = 7, .to = { v4(7), 1 } }, { .name = 8, .to = { v4(8), 1 } } };
	const struct fwd_mac ab[] = { { mac(3), 8 }, { mac(3), 7 } }, ba[] = { { mac(3), 7 }, { mac(3), 8 } };
	assert_int_equal(fwd_table_new(SELF, two, 2, ab, 2, NULL, 0, &t), ERR_OK);
	goes_to(t, frame_of(mac(3), mac(1), 0x88b5), 7);
	fwd_table_free(t);
	assert_int_equal(fwd_table_new(SELF, two, 2, ba, 2, NULL, 0, &t), ERR_OK);
	goes_to(t, frame_of(mac(3), mac(1), 0x88b5), 7);
	assert_int_equal(fwd_table_peers(t), 2);
	fwd_table_free(t);
	fwd_table_free(NULL);
	for (int i = 0; i < FWD_DROPS; i++)
		assert_true(strlen(fwd_drop_name((enum fwd_drop)i)) > 0);
}

static void memory_out(void **s)
{
	(void)s;
	const struct fwd_peer peer = { .name = 7 };
	const struct fwd_mac m = { mac(3), 7 };
	const struct fwd_addr a = { v4(3), 7 };
	const long before = mem_live();
	size_t failed = 0;
	for (size_t n = 1;; n++) {
		struct fwd_table *t = NULL;
		mem_fail_at(n, false);
		enum err e = fwd_table_new(SELF, &peer, 1, &m, 1, &a, 1, &t);
		mem_fail_at(0, false);
		if (e == ERR_OK) {
			fwd_table_free(t);
			break;
		}
		assert_int_equal(e, ERR_NOMEM);
		assert_null(t);
		failed++;
	}
	assert_true(failed >= 5);
	assert_int_equal(mem_live(), before);
}

/* The address belongs to others than `name`, by a linear search. */
static bool others_have(const struct fwd_addr *addrs, size_t n, struct ip a, uint64_t name)
{
	bool owned = false;
	for (size_t i = 0; i < n; i++) {
		if (ip_eq(addrs[i].ip, a) && addrs[i].peer == name)
			return false;
		owned |= ip_eq(addrs[i].ip, a);
	}
	return owned;
}

/* Random tables and well-formed frames: the answer of a linear search. */
static void model(void **s)
{
	(void)s;
	const uint64_t seed = 4711;
	printf("seed %llu\n", (unsigned long long)seed);
	struct rng g;
	rng_seed(&g, seed);
	size_t unicasts = 0, floods = 0, accepted = 0, forged = 0;
	for (int round = 0; round < 400; round++) {
		struct fwd_peer peers[12] = { 0 };
		struct fwd_mac macs[40];
		size_t n_peers = rng_below(&g, 12), n_macs = rng_below(&g, 40), members = 0;
		for (size_t i = 0; i < n_peers; i++) {
			peers[i].name = 2 + i * 3;
			if (rng_chance(&g, 800000))
				peers[i].to = (struct hostport){ v4((uint8_t)i), 1 };
			peers[i].member = rng_chance(&g, 500000);
			members += peers[i].member && peers[i].to.ip.family;
		}
		rng_shuffle(&g, peers, n_peers, sizeof *peers);
		for (size_t i = 0; i < n_macs; i++)
			macs[i] = (struct fwd_mac){ mac((uint8_t)i), rng_below(&g, 14) * 3 + (rng_chance(&g, 100000) ? 1 : 2) };
		rng_shuffle(&g, macs, n_macs, sizeof *macs);
		struct fwd_addr addrs[40];
		const size_t n_addrs = rng_below(&g, 40);
		for (size_t i = 0; i < n_addrs; i++)
			addrs[i] =
				(struct fwd_addr){ ip_v4((uint32_t)rng_below(&g, 60)), rng_below(&g, 14) * 3 + (rng_chance(&g, 100000) ? 1 : 2) };
		struct fwd_table *t;
		assert_int_equal(fwd_table_new(SELF, peers, n_peers, macs, n_macs, addrs, n_addrs, &t), ERR_OK);
		for (int k = 0; k < 300; k++) {
			struct mac dst = mac((uint8_t)rng_below(&g, 50)), src = mac((uint8_t)rng_below(&g, 50));
			const uint32_t address = (uint32_t)rng_below(&g, 70);
			struct frame f = ip4(dst, src, address, 0);
			uint64_t dst_peer = 0, src_peer = 0;
			const struct fwd_peer *to = NULL;
			for (size_t i = 0; i < n_macs; i++) {
				dst_peer = mac_eq(macs[i].mac, dst) ? macs[i].peer : dst_peer;
				src_peer = mac_eq(macs[i].mac, src) ? macs[i].peer : src_peer;
			}
			for (size_t i = 0; i < n_peers; i++)
				if (peers[i].name == dst_peer)
					to = &peers[i];
			struct fwd_verdict v = fwd_decide(t, bytes(&f));
			if (src_peer && src_peer != SELF) {
				assert_int_equal(v.drop, FWD_FORGED);
			} else if (others_have(addrs, n_addrs, ip_v4(address), SELF)) {
				assert_int_equal(v.drop, FWD_FORGED_ADDRESS);
				forged++;
			} else if (dst_peer == SELF) {
				assert_int_equal(v.drop, FWD_LOCAL);
			} else if (dst_peer ? !to || !to->to.ip.family : !members) {
				assert_int_equal(v.drop, FWD_NO_PEER);
			} else if (dst_peer) {
				assert_true(v.drop == FWD_PASSED && v.n == 1 && fwd_table_peer(t, v.peers[0])->name == dst_peer);
				unicasts++;
			} else {
				assert_true(v.drop == FWD_PASSED && v.flood && v.n == members);
				floods++;
			}
			if (n_peers == 0)
				continue;
			const struct fwd_peer *from = &peers[rng_below(&g, n_peers)];
			enum fwd_drop d = fwd_accept(t, from->name, bytes(&f));
			bool good = from->name != SELF && (!src_peer || src_peer == from->name) &&
				!others_have(addrs, n_addrs, ip_v4(address), from->name);
			assert_int_equal(d == FWD_PASSED, good);
			accepted += good;
		}
		fwd_table_free(t);
	}
	assert_true(unicasts > 1000 && floods > 1000 && accepted > 1000 && forged > 1000);
}

/* An IPv6 packet of 40 bytes and n of payload, as long as the frame takes. */
static struct frame ip6(struct mac dst, struct mac src, struct ip from, uint8_t next, const uint8_t *payload, size_t n)
{
	struct frame f = frame_of(dst, src, 0x86dd);
	f.b[14] = 0x60;
	f.b[19] = (uint8_t)n;
	f.b[20] = next;
	f.b[21] = 255;
	memcpy(f.b + 22, from.b, 16);
	f.b[38] = 0xfe, f.b[39] = 0x80, f.b[53] = 9;
	if (n > 0)
		memcpy(f.b + 54, payload, n);
	f.n = 54 + n;
	return f;
}

static struct ip v6(uint8_t last)
{
	return (struct ip){ 6, { 0xfd, 1, [15] = last } };
}

static struct ip overlay(uint8_t last)
{
	return ip_v4(UINT32_C(0x0a200000) + last);
}

/* Address n of host n, of both families, for hosts 1 (we), 2, 3, 9 (no peer); 7 of hosts 2 and 3. */
static struct fwd_table *addressed(void)
{
	const struct fwd_peer peers[] = { { .name = 2, .to = { v4(2), 6783 }, .member = true },
		{ .name = 3, .to = { v4(3), 6783 }, .member = true } };
	struct fwd_addr addrs[12];
	size_t n = 0;
	for (uint8_t host = 1; host <= 9; host++) {
		if (host > 3 && host < 9)
			continue;
		addrs[n++] = (struct fwd_addr){ overlay(host), host };
		addrs[n++] = (struct fwd_addr){ v6(host), host };
	}
	addrs[n++] = (struct fwd_addr){ overlay(7), 3 };
	addrs[n++] = (struct fwd_addr){ overlay(7), 2 };
	const struct fwd_mac macs[] = { { mac(1), SELF }, { mac(2), 2 }, { mac(3), 3 } };
	struct fwd_table *t;
	assert_int_equal(fwd_table_new(SELF, peers, 2, macs, 3, addrs, n, &t), ERR_OK);
	return t;
}

/* A frame of host's container that claims address n of the host that has it: what both directions say. */
static enum fwd_drop claims(const struct fwd_table *t, uint8_t host, struct frame f)
{
	return host == SELF ? fwd_decide(t, bytes(&f)).drop : fwd_accept(t, host, bytes(&f));
}

static void addresses(void **s)
{
	(void)s;
	struct fwd_table *t = addressed();
	for (uint8_t host = 1; host <= 3; host++)
		for (uint8_t n = 1; n <= 9; n++) {
			const bool own = n == host || (n == 7 && host > 1), known4 = n <= 3 || n == 7 || n == 9, known6 = n <= 3 || n == 9;
			const enum fwd_drop want4 = known4 && !own ? FWD_FORGED_ADDRESS : FWD_PASSED,
								want6 = known6 && n != host ? FWD_FORGED_ADDRESS : FWD_PASSED;
			const uint32_t a = ip_to_v4(overlay(n)), b = ip_to_v4(overlay(2));
			for (unsigned tags = 0; tags <= 2; tags++) {
				assert_int_equal(claims(t, host, tagged(arp(mac(host), a, b), tags)), want4);
				assert_int_equal(claims(t, host, tagged(ip4(everyone, mac(host), a, b), tags)), want4);
				struct frame f = tagged(ip6(everyone, mac(host), v6(n), 17, (const uint8_t[8]){ 0 }, 8), tags);
				assert_int_equal(claims(t, host, f), want6);
			}
			/* the hardware may be called otherwise, as Linux allows */
			struct frame f = arp(mac(host), a, b);
			f.b[15] = 6;
			assert_int_equal(claims(t, host, f), want4);
			/* who is asked for is not claimed */
			if (n != host)
				assert_int_equal(claims(t, host, arp(mac(host), ip_to_v4(overlay(host)), a)), FWD_PASSED);
		}
	/* ARP of another shape is not ours to read */
	struct frame odd = arp(mac(2), ip_to_v4(overlay(3)), 1);
	odd.b[18] = 8;
	assert_int_equal(fwd_accept(t, 2, bytes(&odd)), FWD_PASSED);
	/* a MAC of another is the graver claim */
	assert_int_equal(claims(t, 2, arp(mac(3), ip_to_v4(overlay(3)), 1)), FWD_FORGED);
	assert_int_equal(claims(t, SELF, arp(mac(3), ip_to_v4(overlay(3)), 1)), FWD_FORGED);
	assert_int_equal(fwd_accept(t, SELF, slice_of(arp(mac(1), 1, 2).b, 42)), FWD_STRANGER);
	/* nobody's: probes, and what is not published */
	assert_int_equal(claims(t, 2, arp(mac(2), 0, ip_to_v4(overlay(3)))), FWD_PASSED);
	assert_int_equal(claims(t, 2, ip6(everyone, mac(2), (struct ip){ .family = 6 }, 17, (const uint8_t[8]){ 0 }, 8)), FWD_PASSED);
	/* IPv4 is not the IPv6 address of the same bits */
	assert_int_equal(
		claims(t, 2, ip6(everyone, mac(2), (struct ip){ 6, { 0x0a, 0x20, 0, 3 } }, 17, (const uint8_t[8]){ 0 }, 8)), FWD_PASSED);
	fwd_table_free(t);
}

/* Addresses of which half is the same, in a small table. */
static void halves(void **s)
{
	(void)s;
	struct fwd_addr addrs[16];
	struct fwd_table *t;
	for (uint8_t i = 0; i < 16; i++)
		addrs[i] = (struct fwd_addr){ { 6, { 0xfd, i < 8 ? i : 9, [15] = i < 8 ? 1 : i } }, 3 };
	assert_int_equal(fwd_table_new(SELF, NULL, 0, NULL, 0, addrs, 16, &t), ERR_OK);
	for (unsigned high = 0; high < 256; high++)
		for (unsigned low = 0; low < 32; low++) {
			const struct ip a = { 6, { 0xfd, (uint8_t)high, [15] = (uint8_t)low } };
			const bool known = (high < 8 && low == 1) || (high == 9 && low >= 8 && low < 16);
			const struct frame f = ip6(everyone, mac(2), a, 59, NULL, 0);
			assert_int_equal(fwd_accept(t, 2, bytes(&f)), known ? FWD_FORGED_ADDRESS : FWD_PASSED);
		}
	fwd_table_free(t);
}

static void neighbours(void **s)
{
	(void)s;
	struct fwd_table *t = addressed();
	static const uint8_t option[8] = { 58, 0, 1, 4 }, fragment[8] = { 58, 0, 0, 1 }, later[8] = { 58, 0, 1, 1 };
	static const uint8_t before[] = { 0, 43, 60, 135, 139, 140 };
	for (uint8_t type = 133; type <= 137; type++)
		for (uint8_t n = 1; n <= 3; n++) {
			uint8_t nd[24] = { type }, longer[40];
			memcpy(nd + 8, v6(n).b, 16);
			/* only an advertisement claims its target */
			const enum fwd_drop want = type == 136 && n != 2 ? FWD_FORGED_ADDRESS : FWD_PASSED;
			assert_int_equal(claims(t, 2, ip6(everyone, mac(2), v6(2), 58, nd, 24)), want);
			assert_int_equal(claims(t, 2, tagged(ip6(everyone, mac(2), v6(2), 58, nd, 24), 2)), want);
			assert_int_equal(claims(t, 2, ip6(everyone, mac(2), v6(2), 59, nd, 24)), FWD_PASSED);
			for (size_t i = 0; i < sizeof before; i++) {
				memcpy(longer, option, 8);
				memcpy(longer + 8, nd, 24);
				assert_int_equal(claims(t, 2, ip6(everyone, mac(2), v6(2), before[i], longer, 32)), want);
			}
			memcpy(longer, fragment, 8);
			assert_int_equal(claims(t, 2, ip6(everyone, mac(2), v6(2), 44, longer, 32)), want);
			memcpy(longer, later, 8);
			assert_int_equal(claims(t, 2, ip6(everyone, mac(2), v6(2), 44, longer, 32)), FWD_PASSED);
		}
	/* Cut anywhere. */
	uint8_t nd[24] = { 136 };
	struct frame f = ip6(everyone, mac(2), v6(2), 58, nd, 24);
	for (f.n = 0; f.n < 54; f.n++)
		assert_int_equal(claims(t, 2, f), FWD_MALFORMED);
	assert_int_equal(claims(t, 2, f), FWD_PASSED);
	for (f.n = 55; f.n < 78; f.n++)
		assert_int_equal(claims(t, 2, f), FWD_MALFORMED);
	assert_int_equal(claims(t, 2, f), FWD_PASSED);
	f = ip6(everyone, mac(2), v6(2), 0, (const uint8_t[16]){ 17, 1 }, 16);
	for (f.n = 54; f.n < 70; f.n++)
		assert_int_equal(claims(t, 2, f), FWD_MALFORMED);
	assert_int_equal(claims(t, 2, f), FWD_PASSED);
	fwd_table_free(t);
}

int main(void)
{
	const struct CMUnitTest tests[] = { cmocka_unit_test(outgoing), cmocka_unit_test(dns_address), cmocka_unit_test(incoming),
		cmocka_unit_test(addresses), cmocka_unit_test(halves), cmocka_unit_test(neighbours), cmocka_unit_test(tables),
		cmocka_unit_test(memory_out), cmocka_unit_test(model) };
	return cmocka_run_group_tests(tests, NULL, NULL);
}
