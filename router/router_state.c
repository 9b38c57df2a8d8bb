/* What is stored, read back at the start.
 *
 * Records about addresses belong to a range. Those of another range than this run's are moved to aside/ in one transaction, and said once;
 * those at aside/ of this run's range come back before anything is read. So a host that is launched with another range and then with the
 * former one again knows what it owned, what its containers had, and what it voted for. */
#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/mem.h"
#include "router/internal.h"

#define IPAM  "ipam/"
#define ASIDE "aside/"

struct record {
	struct slice key, value;
};

struct records {
	struct record *v;
	size_t n, cap;
	struct universe u;
};

static void records_free(struct records *r)
{
	for (size_t i = 0; i < r->n; i++)
		mem_free((void *)(uintptr_t)r->v[i].key.p);
	mem_free(r->v);
	*r = (struct records){ 0 };
}

/* Copies both. */
static enum err records_add(struct records *r, struct slice key, struct slice value)
{
	uint8_t *copy = mem_alloc(key.n + value.n + 1);

	if (copy == NULL || !mem_grow((void **)&r->v, &r->cap, r->n + 1, sizeof(*r->v))) {
		mem_free(copy);
		return ERR_NOMEM;
	}
	memcpy(copy, key.p, key.n);
	if (value.n > 0)
		memcpy(copy + key.n, value.p, value.n);
	r->v[r->n++] = (struct record){ slice_of(copy, key.n), slice_of(copy + key.n, value.n) };
	return ERR_OK;
}

static bool begins(struct slice key, const char *with)
{
	size_t n = strlen(with);

	return key.n >= n && memcmp(key.p, with, n) == 0;
}

/* "ipam/", a tag that ends with "/", then the universe. false: no record about addresses. */
static bool universe_of(struct slice key, struct universe *u)
{
	struct rbuf r;
	size_t at = strlen(IPAM);

	if (!begins(key, IPAM))
		return false;
	while (at < key.n && key.p[at] != '/')
		at++;
	if (at == key.n)
		return false;
	rbuf_init(&r, key.p + at + 1, key.n - at - 1);
	u->first = rbuf_u32(&r);
	u->len = rbuf_u8(&r);
	return rbuf_ok(&r) && u->len <= 32;
}

static bool same(struct universe a, struct universe b)
{
	return a.first == b.first && a.len == b.len;
}

/* Each record's value goes from one key to the other, all or none. */
static enum err move_all(struct store *s, const struct records *r, const char *from, const char *to, struct err_note *note)
{
	uint8_t a[STORE_KEY_MAX + 16], b[STORE_KEY_MAX + 16];
	enum err err = store_begin(s, note);

	if (err != ERR_OK)
		return err;
	for (size_t i = 0; err == ERR_OK && i < r->n; i++) {
		struct wbuf x, y;
		wbuf_fixed(&x, a, sizeof(a));
		wbuf_fixed(&y, b, sizeof(b));
		wbuf_bytes(&x, from, strlen(from));
		wbuf_bytes(&y, to, strlen(to));
		wbuf_bytes(&x, r->v[i].key.p, r->v[i].key.n);
		wbuf_bytes(&y, r->v[i].key.p, r->v[i].key.n);
		assert(!x.failed && !y.failed);
		err = store_put(s, wbuf_slice(&y), r->v[i].value, note);
		if (err == ERR_OK)
			err = store_put(s, wbuf_slice(&x), slice_of(NULL, 0), note);
	}
	if (err != ERR_OK) {
		store_abort(s);
		return err;
	}
	return store_commit(s, note);
}

/* --- which range it was --- */

static enum err first_universe(void *ctx, struct slice key, struct slice value)
{
	struct universe u;

	(void)value;
	if (!universe_of(key, &u) || u.len < 8)
		return ERR_OK;
	*(struct prefix *)ctx = (struct prefix){ ip_v4(u.first), u.len };
	return ERR_CANCELLED; /* enough */
}

enum err router_stored_range(const char *dir, struct prefix *out, struct err_note *note)
{
	struct store *s;
	char path[4096 + 16];

	*out = (struct prefix){ 0 };
	(void)snprintf(path, sizeof(path), "%s/weft.mdb", dir);
	if (access(path, F_OK) != 0)
		return ERR_OK;
	enum err err = store_open(&s, dir, note);
	if (err != ERR_OK)
		return err;
	err = store_each(s, IPAM "ring/", first_universe, out, note);
	store_close(s);
	return err == ERR_CANCELLED ? ERR_OK : err;
}

/* --- coming back --- */

static enum err collect_ours(void *ctx, struct slice key, struct slice value)
{
	struct records *r = ctx;
	struct universe u;
	struct slice rest = slice_of(key.p + strlen(ASIDE), key.n - strlen(ASIDE));

	return universe_of(rest, &u) && same(u, r->u) ? records_add(r, rest, value) : ERR_OK;
}

static enum err any(void *ctx, struct slice key, struct slice value)
{
	struct records *r = ctx;
	struct universe u;

	(void)value;
	r->n += universe_of(key, &u) && same(u, r->u);
	return ERR_OK;
}

enum err router_bring_back(struct router *r, struct universe u, struct err_note *note)
{
	struct records ours = { .u = u }, there = { .u = u };
	char range[PREFIX_TEXT];
	enum err err = store_each(r->store, IPAM, any, &there, note);

	/* What is stored of this range is newer than what was set aside of it. */
	if (err == ERR_OK && there.n == 0)
		err = store_each(r->store, ASIDE IPAM, collect_ours, &ours, note);
	if (err == ERR_NOMEM)
		err = err_note(note, err, "out of memory while reading the state in %.150s", r->opt->state_dir);
	if (err == ERR_OK && ours.n > 0) {
		err = move_all(r->store, &ours, ASIDE, "", note);
		if (err == ERR_OK)
			log_write(r->log, LOG_LEVEL_INFO, "what was set aside about addresses of %s is back: %zu records",
				prefix_format((struct prefix){ ip_v4(u.first), u.len }, range), ours.n);
	}
	records_free(&ours);
	return err;
}

/* --- reading --- */

struct restore_ctx {
	struct router *r;
	struct records other, bad; /* of another range; unreadable */
};

static enum err restore_one(void *ctx, struct slice key, struct slice value)
{
	struct restore_ctx *x = ctx;
	struct err_note note = { "" };
	struct universe u;

	if (begins(key, "meta/") || begins(key, ASIDE) || begins(key, ROUTER_KEEP))
		return ERR_OK;
	enum err err = core_restore(x->r->core, key, value, &note);
	if (err == ERR_OK || err == ERR_NOMEM)
		return err;
	if (err == ERR_RANGE && universe_of(key, &u)) {
		x->other.u = u;
		return records_add(&x->other, key, value);
	}
	log_write(
		x->r->log, LOG_LEVEL_WARNING, "setting a stored record aside: %s", note.text[0] != '\0' ? note.text : err_text(err));
	return records_add(&x->bad, key, slice_of(NULL, 0));
}

static void say_other_range(struct router *r, const struct records *other)
{
	char theirs[PREFIX_TEXT], ours[PREFIX_TEXT];

	log_write(r->log, LOG_LEVEL_WARNING,
		"this host managed addresses of %s before, and now of %s: %zu records about them are set aside; they come back when it is launched "
		"with --ipalloc-range %s again",
		prefix_format((struct prefix){ ip_v4(other->u.first), other->u.len }, theirs), prefix_format(r->opt->range, ours),
		other->n, theirs);
}

enum err router_restore(struct router *r, struct err_note *note)
{
	struct restore_ctx x = { .r = r };
	enum err err = store_each(r->store, "", restore_one, &x, note);

	if (err == ERR_NOMEM)
		err = err_note(note, err, "out of memory while reading the state in %.150s", r->opt->state_dir);
	if (err == ERR_OK && x.other.n > 0) {
		err = move_all(r->store, &x.other, "", ASIDE, note);
		if (err == ERR_OK)
			say_other_range(r, &x.other);
	}
	for (size_t i = 0; i < x.bad.n && err == ERR_OK; i++)
		err = store_set_aside(r->store, x.bad.v[i].key, note);
	records_free(&x.other);
	records_free(&x.bad);
	return err;
}
