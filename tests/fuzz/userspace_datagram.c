/* Datagrams of the userspace path from anyone, through the receiver as it is, with a capture that looks at what comes out. The first byte chooses the
 * sender's address and what becomes of the rest: it comes as it is, as a run of equal datagrams, or sealed (and in RELAYED) for a session that we
 * have, because nobody finds a tag by trying. Nothing that is written may claim a MAC of another host, come from a stranger, or lie about its
 * offload fields. */
#include <assert.h>
#include <fcntl.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/map.h"
#include "base/mem.h"
#include "router/dataplane/internal.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { SELF = 1, AS_RUN = 8, AS_SEALED = 16, AS_RELAYED = 32, AS_PIECES = 64, MAX = 4096 };

/* A frame that was written to network 0 came in a datagram from peer 2 or 3 by its address, or in the session, which is 2's. */
static bool written(struct capture *c, unsigned queue, const struct vnet *v, const struct iovec *parts, size_t n)
{
	static const uint8_t mac[3][6] = { { 2, 0, 0, 0, 0, 1 }, { 2, 0, 0, 0, 0, 2 }, { 2, 0, 0, 0, 0, 3 } };
	const unsigned *peer = c->state;
	size_t bytes = 0;
	assert(queue == 0 && n > 0 && n <= JOIN_PARTS && *peer != 0);
	for (size_t i = 0; i < n; i++) {
		const volatile uint8_t *p = parts[i].iov_base;
		for (size_t j = 0; j < parts[i].iov_len; j++)
			(void)p[j];
		bytes += parts[i].iov_len;
	}
	const uint8_t *head = parts[0].iov_base;
	assert(bytes >= 14 && bytes <= FRAME_MAX && parts[0].iov_len >= 12 && !(head[6] & 1));
	for (unsigned i = 0; i < 3; i++)
		assert(i + 1 == *peer || memcmp(head + 6, mac[i], 6) != 0);
	if (v->flags & VNET_NEEDS_CSUM)
		assert((size_t)v->csum_start + v->csum_offset + 2 <= bytes);
	if (v->gso_type != VNET_GSO_NONE)
		assert((v->flags & VNET_NEEDS_CSUM) && v->gso_size > 0 && v->hdr_len < bytes);
	return true;
}

static size_t sealed_of(struct seal_keys *k, const uint8_t *data, size_t n, uint8_t kind, uint8_t *out)
{
	if (n < 2)
		return 0;
	const uint8_t flags = data[0] & (WIRE_PARTIAL | WIRE_FRAGMENT);
	size_t at = 0;
	if (kind & AS_RELAYED) {
		const struct wire_head h = { .type = WIRE_RELAYED, .flags = WIRE_HOPS, .src = 2, .dst = SELF };
		wire_write(out, &h);
		at = WIRE_HEAD;
	}
	return at + seal_datagram(k, 0, flags, data[1] & 1, slice_of(data + 2, n - 2), out + at);
}

static void keys_of(uint32_t ours, uint32_t theirs, uint64_t peer, struct seal_keys **out)
{
	static const uint8_t key[32] = { 7 };
	const struct seal_keys_cfg cfg = {
		.peer = peer, .our_index = ours, .their_index = theirs, .aead = NOISE_CHACHAPOLY, .tx = key, .rx = key
	};
	const enum err e = seal_keys_new(out, &cfg);
	assert(e == ERR_OK);
}

static void table_of(struct userspace *u, struct seal_keys *session)
{
	const struct hostport two = { ip_v4(0x01010101), 6783 }, three = { ip_v4(0x02020202), 6783 };
	const struct fwd_peer fwd[] = { { .name = 2, .to = two, .member = true }, { .name = 3, .to = three } };
	const struct fwd_mac macs[] = { { { { 2, 0, 0, 0, 0, 1 } }, 1 }, { { { 2, 0, 0, 0, 0, 2 } }, 2 },
		{ { { 2, 0, 0, 0, 0, 3 } }, 3 } };
	const struct userspace_peer peers[] = {
		{ .name = 2, .to = two, .datagram = 1472, .relay_to = two },
		{ .name = 3, .to = three, .from = { ip_v4(0x03030303) }, .n_from = 1, .datagram = 1472, .relay_to = three },
	};
	struct userspace_net net = { 0, NULL };
	const struct userspace_table t = {
		.peers = peers, .n_peers = 2, .nets = &net, .n_nets = 1, .sessions = &session, .n_sessions = 1
	};
	enum err e = fwd_table_new(SELF, fwd, 2, macs, 3, NULL, 0, &net.table);
	assert(e == ERR_OK);
	struct table *table;
	e = table_new(u, &t, &table);
	assert(e == ERR_OK);
	table_own(table, &t);
	generation_install(u, generation_new(u, table));
	table_unref(table);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static uint8_t bytes[3 * MAX];
	if (size < 2 || size > MAX)
		return 0;
	const uint8_t kind = data[0];
	unsigned peer = (kind & AS_SEALED) || (kind & 7) == 1 ? 2 : (kind & 7) == 2 || (kind & 7) == 3 ? 3 : 0;
	const struct hostport from = { ip_v4(UINT32_C(0x01010101) * (kind & 7)), 6783 };
	const struct capture_ops ops = { .write = written };
	struct capture c = { .ops = &ops, .queues = 1, .tcp = true, .udp = true, .state = &peer };
	struct device d = { .net = 0, .c = &c, .refs = 1 };
	for (unsigned q = 0; q < CAPTURE_QUEUES_MAX; q++)
		pthread_mutex_init(&d.write_lock[q], NULL);
	struct userspace *u = mem_zalloc(1, sizeof *u);
	struct seal_keys *ours, *theirs;
	struct receiver *r;
	keys_of(100, 200, 2, &ours);
	keys_of(200, 100, SELF, &theirs);
	u->cfg.self = SELF;
	u->queues = 1;
	u->sock[0] = u->control[0] = u->control[1] = open("/dev/null", O_RDWR | O_CLOEXEC); /* nothing gets out */
	u->lives = map_new(1);
	u->family = AF_INET;
	u->devices = &d;
	u->n_devices = 1;
	table_of(u, ours);
	const enum err e = receiver_new(u, 0, &r, NULL);
	assert(e == ERR_OK && u->lives);
	u->worker[u->workers++] = receiver_worker(r);

	size_t n = size - 1, each = n;
	memcpy(bytes, data + 1, n);
	if (kind & AS_SEALED) {
		each = n = sealed_of(theirs, data + 1, size - 1, kind, bytes);
	} else if (kind & AS_RUN) {
		each = n > 60 ? n / 3 : n;
	}
	if (kind & AS_PIECES && !(kind & AS_RUN)) { /* the same thrice */
		memcpy(bytes + n, bytes, n);
		memcpy(bytes + 2 * n, bytes, n);
		n *= 3;
	}
	if (n > 0)
		receiver_feed(r, from, bytes, n, each);

	generation_free(atomic_exchange(&u->current, NULL));
	generation_collect(u);
	receiver_free(r);
	map_free(u->lives);
	seal_keys_unref(ours);
	seal_keys_unref(theirs);
	for (unsigned q = 0; q < CAPTURE_QUEUES_MAX; q++)
		pthread_mutex_destroy(&d.write_lock[q]);
	close(u->sock[0]);
	mem_free(u);
	return 0;
}
