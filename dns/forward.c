/* A pending query is in `socks` under the handle of its present try and in `timers` under the earlier of that try's end and its own.
 * There is always exactly one try under way; ending it moves the query to the next try or ends the query. What a call hands out
 * (the query under its new id, a reply) lies in memory that the struct keeps until the next call. */
#include "dns/forward.h"

#include <assert.h>
#include <string.h>

#include "base/heap.h"
#include "base/map.h"
#include "base/mem.h"
#include "dns/answer.h"
#include "dns/wire.h"

struct pending {
	struct heap_node timer; /* first: the heap gives this back */
	uint64_t client, sock, random, end_ms;
	size_t limit;
	bool is_tcp;
	uint16_t client_id, id;
	struct dns_question q;
	struct hostport upstream;
	size_t next; /* place of the upstream after the present one */
	unsigned tries;
	size_t failed_in_a_row;
	uint8_t *refusal; /* a reply that is given when nothing better comes */
	size_t refusal_len;
	size_t query_len;
	uint8_t query[]; /* as the client sent it, but for the id */
};

static_assert(offsetof(struct pending, timer) == 0, "a timer is its query");

struct dns_forward {
	struct dns_stats *stats;
	struct map *socks;
	struct heap timers;
	struct hostport upstreams[DNS_UPSTREAM_MAX];
	size_t n_upstreams;
	uint64_t last_sock;
	struct pending *done; /* ended by the last call; its memory may be in that call's actions */
	struct wbuf reply;
	uint8_t small[DNS_UDP_PLAIN]; /* our own answers: errors and truncated replies */
};

enum err dns_forward_new(struct dns_forward **out, struct dns_stats *stats)
{
	struct dns_forward *f = mem_zalloc(1, sizeof *f);
	if (!f)
		return ERR_NOMEM;
	f->stats = stats;
	heap_init(&f->timers);
	wbuf_grow(&f->reply, DNS_MESSAGE_MAX);
	/* Keys are our own handles, so nobody can aim at collisions. */
	f->socks = map_new(0);
	if (!f->socks) {
		dns_forward_free(f);
		return ERR_NOMEM;
	}
	*out = f;
	return ERR_OK;
}

static void pending_free(struct pending *p)
{
	if (!p)
		return;
	mem_free(p->refusal);
	mem_free(p);
}

void dns_forward_free(struct dns_forward *f)
{
	if (!f)
		return;
	for (struct heap_node *n; (n = heap_pop(&f->timers)) != NULL;)
		pending_free((struct pending *)(void *)n);
	heap_free(&f->timers);
	map_free(f->socks);
	pending_free(f->done);
	wbuf_free(&f->reply);
	mem_free(f);
}

void dns_forward_set_upstreams(struct dns_forward *f, const struct hostport *v, size_t n)
{
	f->n_upstreams = n < DNS_UPSTREAM_MAX ? n : DNS_UPSTREAM_MAX;
	for (size_t i = 0; i < f->n_upstreams; i++)
		f->upstreams[i] = v[i];
}

size_t dns_forward_upstreams(const struct dns_forward *f, struct hostport out[DNS_UPSTREAM_MAX])
{
	memcpy(out, f->upstreams, sizeof(f->upstreams));
	return f->n_upstreams;
}

static void begin_call(struct dns_forward *f, struct dns_forward_actions *out)
{
	pending_free(f->done);
	f->done = NULL;
	wbuf_reset(&f->reply);
	out->n = 0;
}

static struct dns_forward_action *add(struct dns_forward_actions *out, enum dns_forward_what what)
{
	assert(out->n < DNS_FORWARD_ACTIONS);
	struct dns_forward_action *a = &out->v[out->n++];
	*a = (struct dns_forward_action){ .what = what };
	return a;
}

static void reply_with(struct dns_forward_actions *out, uint64_t client, bool is_tcp, struct slice bytes)
{
	struct dns_forward_action *a = add(out, DNS_FORWARD_REPLY);
	a->client = client;
	a->is_tcp = is_tcp;
	a->bytes = bytes;
}

/* Our own SERVFAIL to a query; nothing when even that is not possible (the query was not one). */
static void refuse(
	struct dns_forward *f, uint64_t client, bool is_tcp, struct slice query, uint16_t type, struct dns_forward_actions *out)
{
	struct wbuf w;
	wbuf_fixed(&w, f->small, sizeof(f->small));
	if (!dns_answer_error(query, DNS_SERVFAIL, &w))
		return;
	dns_stats_answer(f->stats, DNS_STAT_FORWARD, type, DNS_SERVFAIL);
	reply_with(out, client, is_tcp, wbuf_slice(&w));
}

static void put_id(uint8_t *message, uint16_t id)
{
	struct wbuf w;
	wbuf_fixed(&w, message, 2);
	wbuf_u16(&w, id);
}

/* Takes the query out of both indices. Its memory stays until the next call. */
static void finish(struct dns_forward *f, struct pending *p)
{
	map_del64(f->socks, p->sock);
	heap_remove(&f->timers, &p->timer);
	assert(f->done == NULL);
	f->done = p;
}

static void give_up(struct dns_forward *f, struct pending *p, struct dns_forward_actions *out)
{
	finish(f, p);
	put_id(p->query, p->client_id);
	if (p->refusal) {
		struct rbuf r;
		struct dns_header h;
		rbuf_init(&r, p->refusal, p->refusal_len);
		dns_header_read(&r, &h);
		dns_stats_answer(f->stats, DNS_STAT_FORWARD, p->q.type, h.flags & DNS_RCODE);
		reply_with(out, p->client, p->is_tcp, slice_of(p->refusal, p->refusal_len));
		return;
	}
	refuse(f, p->client, p->is_tcp, slice_of(p->query, p->query_len), p->q.type, out);
}

/* Asks the next upstream over a fresh socket with a fresh id. false: there is none, or no memory. The query is in neither index
 * under an old handle when this is called; on false it is in none at all. */
static bool ask(struct dns_forward *f, struct pending *p, uint64_t now_ms, struct dns_forward_actions *out)
{
	uint64_t end = now_ms + DNS_FORWARD_TRY_MS;
	if (f->n_upstreams == 0)
		return false;
	if (p->next >= f->n_upstreams)
		p->next = 0;
	p->upstream = f->upstreams[p->next++];
	p->sock = ++f->last_sock;
	if (map_put64(f->socks, p->sock, p, NULL) != ERR_OK)
		return false;
	if (heap_push(&f->timers, &p->timer, end < p->end_ms ? end : p->end_ms) != ERR_OK) {
		map_del64(f->socks, p->sock);
		return false;
	}
	/* 64 random bits are good for four ids; tries beyond are rare and have fresh ports. */
	p->id = (uint16_t)(p->random >> 16 * (p->tries % 4));
	f->stats->retries += p->tries > 0;
	p->tries++;
	put_id(p->query, p->id);
	struct dns_forward_action *a = add(out, DNS_FORWARD_OPEN);
	a->sock = p->sock;
	a->is_tcp = p->is_tcp;
	a->upstream = p->upstream;
	a->bytes = slice_of(p->query, p->query_len);
	return true;
}

void dns_forward_query(struct dns_forward *f, uint64_t now_ms, uint64_t client, bool is_tcp, size_t limit, struct slice query,
	uint64_t random, struct dns_forward_actions *out)
{
	struct dns_header h;
	struct dns_question q;
	struct rbuf r;

	begin_call(f, out);
	rbuf_init(&r, query.p, query.n);
	dns_header_read(&r, &h);
	dns_question_read(&r, &q);
	if (!rbuf_ok(&r) || h.qd != 1 || query.n > DNS_MESSAGE_MAX) {
		f->stats->drops[DNS_DROP_SHORT]++;
		return;
	}
	struct pending *p = NULL;
	if (f->n_upstreams > 0 && map_count(f->socks) < DNS_FORWARD_MAX)
		p = mem_zalloc(1, sizeof *p + query.n);
	if (p) {
		p->client = client;
		p->is_tcp = is_tcp;
		p->limit = limit;
		p->random = random;
		p->end_ms = now_ms + DNS_FORWARD_TOTAL_MS;
		p->client_id = h.id;
		p->q = q;
		p->query_len = query.n;
		memcpy(p->query, query.p, query.n);
	}
	if (!p || !ask(f, p, now_ms, out)) {
		pending_free(p);
		refuse(f, client, is_tcp, query, q.type, out);
	}
}

/* The present try is over without a usable reply: the next one, or the end. */
static void next_try(struct dns_forward *f, struct pending *p, uint64_t now_ms, bool failed, struct dns_forward_actions *out)
{
	p->failed_in_a_row = failed ? p->failed_in_a_row + 1 : 0;
	add(out, DNS_FORWARD_CLOSE)->sock = p->sock;
	/* With a refusal in hand every upstream gets one chance to do better, not all the time there is. */
	bool all_asked = p->refusal && p->tries >= f->n_upstreams;
	if (now_ms >= p->end_ms || p->failed_in_a_row >= f->n_upstreams || all_asked) {
		give_up(f, p, out);
		return;
	}
	map_del64(f->socks, p->sock);
	heap_remove(&f->timers, &p->timer);
	if (!ask(f, p, now_ms, out))
		give_up(f, p, out);
}

static bool same_question(const struct dns_question *a, const struct dns_question *b)
{
	return a->type == b->type && a->cls == b->cls && dns_name_eq(&a->name, &b->name);
}

/* Whether the reply belongs to the query; counts why not. *question_end is where its question ends. */
static bool matches(struct dns_forward *f, const struct pending *p, struct hostport from, struct slice reply,
	struct dns_header *h, size_t *question_end)
{
	struct dns_question q;
	struct rbuf r;

	if (!hostport_eq(from, p->upstream)) {
		f->stats->drops[DNS_DROP_ADDRESS]++;
		return false;
	}
	rbuf_init(&r, reply.p, reply.n);
	dns_header_read(&r, h);
	if (!rbuf_ok(&r) || (h->flags & DNS_QR) == 0 || dns_opcode(h->flags) != 0 || reply.n > DNS_MESSAGE_MAX) {
		f->stats->drops[DNS_DROP_UPSTREAM_MALFORMED]++;
		return false;
	}
	if (h->id != p->id) {
		f->stats->drops[DNS_DROP_ID]++;
		return false;
	}
	dns_question_read(&r, &q);
	if (!rbuf_ok(&r) || h->qd != 1 || !same_question(&q, &p->q)) {
		f->stats->drops[DNS_DROP_QUESTION]++;
		return false;
	}
	*question_end = r.pos;
	return true;
}

/* The reply as the client gets it: its own id; cut to header and question with TC when it is too large for it. */
static struct slice restore(
	struct dns_forward *f, const struct pending *p, struct slice reply, const struct dns_header *h, size_t question_end)
{
	if (reply.n <= p->limit) {
		wbuf_u16(&f->reply, p->client_id);
		wbuf_bytes(&f->reply, reply.p + 2, reply.n - 2);
		return wbuf_end(&f->reply) == ERR_OK ? wbuf_slice(&f->reply) : slice_of(NULL, 0);
	}
	struct wbuf w;
	wbuf_fixed(&w, f->small, sizeof(f->small));
	wbuf_u16(&w, p->client_id);
	wbuf_u16(&w, (uint16_t)(h->flags | DNS_TC));
	wbuf_u16(&w, 1);
	wbuf_u48(&w, 0);
	wbuf_bytes(&w, reply.p + DNS_HEADER_SIZE, question_end - DNS_HEADER_SIZE);
	f->stats->truncated++;
	return wbuf_end(&w) == ERR_OK ? wbuf_slice(&w) : slice_of(NULL, 0);
}

static bool is_refusal(uint16_t flags)
{
	unsigned rcode = flags & DNS_RCODE;
	return rcode == DNS_SERVFAIL || rcode == DNS_REFUSED || rcode == DNS_NOTIMP;
}

void dns_forward_reply(struct dns_forward *f, uint64_t now_ms, uint64_t sock, struct hostport from, struct slice reply,
	struct dns_forward_actions *out)
{
	struct dns_header h;
	size_t question_end = 0;

	begin_call(f, out);
	struct pending *p = map_get64(f->socks, sock);
	if (!p) {
		f->stats->drops[DNS_DROP_SOCKET]++;
		return;
	}
	if (!matches(f, p, from, reply, &h, &question_end))
		return;
	struct slice bytes = restore(f, p, reply, &h, question_end);
	if (is_refusal(h.flags) || bytes.n == 0) {
		if (!p->refusal && bytes.n > 0) {
			p->refusal = mem_dup(bytes.p, bytes.n);
			p->refusal_len = p->refusal ? bytes.n : 0;
		}
		next_try(f, p, now_ms, true, out);
		return;
	}
	add(out, DNS_FORWARD_CLOSE)->sock = p->sock;
	finish(f, p);
	dns_stats_answer(f->stats, DNS_STAT_FORWARD, p->q.type, h.flags & DNS_RCODE);
	reply_with(out, p->client, p->is_tcp, bytes);
}

void dns_forward_failed(struct dns_forward *f, uint64_t now_ms, uint64_t sock, struct dns_forward_actions *out)
{
	begin_call(f, out);
	struct pending *p = map_get64(f->socks, sock);
	if (p)
		next_try(f, p, now_ms, true, out);
}

void dns_forward_tick(struct dns_forward *f, uint64_t now_ms, struct dns_forward_actions *out)
{
	begin_call(f, out);
	struct heap_node *n = heap_peek(&f->timers);
	if (n && n->key <= now_ms)
		next_try(f, (struct pending *)(void *)n, now_ms, false, out);
}

uint64_t dns_forward_deadline_ms(const struct dns_forward *f)
{
	const struct heap_node *n = heap_peek(&f->timers);
	return n ? n->key : UINT64_MAX;
}

size_t dns_forward_pending(const struct dns_forward *f)
{
	return map_count(f->socks);
}
