#include <errno.h>
#include <libmnl/libmnl.h>
#include <libnftnl/batch.h>
#include <libnftnl/common.h>
#include <linux/netfilter/nf_tables.h>
#include <string.h>
#include <sys/socket.h>

#include "base/mem.h"
#include "router/dataplane/nft_internal.h"

/* The kernel does all of a transaction, and begins a dump, before sendmsg() returns: what it has to say is there already, and reading never waits. */

bool nft_batch_begin(struct nft_batch *b, uint32_t seq)
{
	*b = (struct nft_batch){ .first = seq };
	b->scratch = mem_zalloc(1, NFT_MESSAGE_MAX);
	b->failed = !b->scratch;
	if (!b->failed)
		nft_batch_add(b, nftnl_batch_begin((char *)b->scratch, seq));
	return !b->failed;
}

void nft_batch_free(struct nft_batch *b)
{
	mem_free(b->data);
	mem_free(b->parts);
	mem_free(b->scratch);
	*b = (struct nft_batch){ 0 };
}

void nft_batch_add(struct nft_batch *b, const struct nlmsghdr *h)
{
	if (b->failed)
		return;
	const size_t n = ((size_t)h->nlmsg_len + MNL_ALIGNTO - 1) / MNL_ALIGNTO * MNL_ALIGNTO;
	b->failed = !mem_grow((void **)&b->data, &b->cap, b->len + n, 1);
	if (b->failed)
		return;
	b->last = b->len;
	memcpy(b->data + b->len, h, n);
	memset(b->scratch, 0, n); /* libmnl leaves the padding of attributes as it was */
	b->len += n;
}

/* Only the last message is to be answered when all is well. */
static void ask_for_ack(struct nft_batch *b)
{
	struct nlmsghdr h;
	memcpy(&h, b->data + b->last, sizeof h);
	h.nlmsg_flags |= NLM_F_ACK;
	memcpy(b->data + b->last, &h, sizeof h);
}

struct nlmsghdr *nft_batch_message(struct nft_batch *b, uint16_t type, uint8_t family, uint16_t flags, uint8_t part)
{
	if (!b->failed)
		b->failed = !mem_grow((void **)&b->parts, &b->parts_cap, b->n + 1, 1);
	if (b->failed)
		return NULL;
	b->parts[b->n++] = part;
	return nftnl_nlmsg_build_hdr((char *)b->scratch, type, family, flags, b->first + (uint32_t)b->n);
}

/* Reads what has come up to now. fn: of messages with this sequence number or one of the n after it. */
static int drain(struct mnl_socket *s, uint32_t seq, size_t n, nft_each fn, void *arg)
{
	uint8_t bytes[32768] __attribute__((aligned(NLMSG_ALIGNTO)));
	int result = 0;
	for (;;) {
		ssize_t got = recv(mnl_socket_get_fd(s), bytes, sizeof bytes, MSG_DONTWAIT);
		if (got < 0 && errno == EINTR)
			continue;
		if (got < 0)
			return result ? result : errno == EAGAIN ? 0 : -errno;
		int left = (int)got;
		for (const struct nlmsghdr *h = (const void *)bytes; mnl_nlmsg_ok(h, left); h = mnl_nlmsg_next(h, &left))
			if (h->nlmsg_seq - seq <= n && !result)
				result = fn(h, arg);
	}
}

struct commit {
	struct nft_batch *b;
	bool done;
	int result;
	uint8_t part;
};

static int on_ack(const struct nlmsghdr *h, void *arg)
{
	struct commit *c = arg;
	if (h->nlmsg_type != NLMSG_ERROR || h->nlmsg_len < mnl_nlmsg_size(sizeof(struct nlmsgerr)))
		return 0;
	const struct nlmsgerr *e = mnl_nlmsg_get_payload(h);
	const uint32_t at = h->nlmsg_seq - c->b->first;
	c->done = c->done || at == c->b->n;
	if (e->error && !c->result) {
		c->result = e->error;
		c->part = at > 0 && at <= c->b->n ? c->b->parts[at - 1] : 0;
	}
	return 0;
}

/* Room for all of it in one datagram of the socket. */
static void make_room(struct mnl_socket *s, size_t need)
{
	int fd = mnl_socket_get_fd(s), have = 0;
	socklen_t n = sizeof have;
	if (getsockopt(fd, SOL_SOCKET, SO_SNDBUF, &have, &n) == 0 && have >= 0 && (size_t)have / 2 >= need)
		return;
	const int want = (int)need;
	if (setsockopt(fd, SOL_SOCKET, SO_SNDBUFFORCE, &want, sizeof want) != 0)
		(void)setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &want, sizeof want); /* what it does not allow, sending says */
}

int nft_batch_commit(struct nft_batch *b, struct mnl_socket *s, uint8_t *part)
{
	struct commit c = { .b = b };
	*part = 0;
	if (!b->failed && b->n == 0)
		return 0;
	if (!b->failed)
		ask_for_ack(b);
	if (!b->failed)
		nft_batch_add(b, nftnl_batch_end((char *)b->scratch, b->first + (uint32_t)b->n + 1));
	if (b->failed)
		return -ENOMEM;
	make_room(s, b->len + 4096);
	if (mnl_socket_sendto(s, b->data, b->len) < 0)
		return -errno;
	int result = drain(s, b->first, b->n, on_ack, &c);
	if (result == 0)
		result = c.result ? c.result : c.done ? 0 : -EIO;
	*part = c.part;
	return result;
}

struct asking {
	nft_each fn;
	void *arg;
	bool done, interrupted;
};

static int on_answer(const struct nlmsghdr *h, void *arg)
{
	struct asking *a = arg;
	a->interrupted = a->interrupted || h->nlmsg_flags & NLM_F_DUMP_INTR;
	if (h->nlmsg_type == NLMSG_ERROR) {
		const struct nlmsgerr *e = mnl_nlmsg_get_payload(h);
		a->done = true;
		return h->nlmsg_len < mnl_nlmsg_size(sizeof *e) ? -EBADMSG : e->error;
	}
	if (h->nlmsg_type == NLMSG_DONE) {
		a->done = true;
		return 0;
	}
	return h->nlmsg_type >= NLMSG_MIN_TYPE ? a->fn(h, a->arg) : 0;
}

int nft_ask(struct mnl_socket *s, struct nlmsghdr *question, uint32_t seq, nft_each fn, void *arg)
{
	struct asking a = { .fn = fn, .arg = arg };
	question->nlmsg_seq = seq;
	if (!(question->nlmsg_flags & NLM_F_DUMP))
		question->nlmsg_flags |= NLM_F_ACK;
	if (mnl_socket_sendto(s, question, question->nlmsg_len) < 0)
		return -errno;
	int result = drain(s, seq, 0, on_answer, &a);
	if (result == 0 && a.interrupted)
		return -EAGAIN;
	return result ? result : a.done ? 0 : -EIO;
}
