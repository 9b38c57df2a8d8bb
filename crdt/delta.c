#include "crdt/delta.h"

#include "crdt/internal.h"

static size_t count_size(size_t n)
{
	return n < 0x80 ? 1 : n < 0x4000 ? 2 : 3;
}

enum err crdt_delta_encode(
	const struct crdt_map *m, const struct slice *keys, size_t n, size_t max_bytes, struct wbuf *w, size_t *taken)
{
	struct crdt_item it;
	size_t count = 0, bytes = 0, used = 0;
	for (; used < n && count < DELTA_ITEMS_MAX; used++) {
		if (!crdt_map_get(m, keys[used], &it))
			continue;
		size_t size = crdt_item_size(&it);
		if (count_size(count + 1) + bytes + size > max_bytes)
			break;
		bytes += size;
		count++;
	}
	*taken = used;
	if (used < n && count == 0)
		return ERR_LIMIT; /* not even one: max_bytes is too small for any use */
	wbuf_varint(w, count);
	for (size_t i = 0; i < used; i++)
		if (crdt_map_get(m, keys[i], &it))
			crdt_item_encode(w, &it);
	return wbuf_end(w);
}

/* A delta is read to its end three times: to see whether it is well-formed, to merge what is no floor, and to merge the floors. */
enum pass { PASS_CHECK, PASS_ITEMS, PASS_FLOORS };

struct totals {
	size_t items, floors, news;
};

static enum err walk(struct crdt_map *m, struct rbuf *r, enum pass pass, struct crdt_changes *ch, struct totals *t)
{
	enum err result = ERR_OK;
	uint64_t count = rbuf_varint(r);
	if (count > DELTA_ITEMS_MAX)
		return ERR_LIMIT;
	for (uint64_t i = 0; i < count && rbuf_ok(r); i++) {
		struct crdt_item it;
		enum crdt_merge what = CRDT_STALE;
		crdt_item_decode(r, &it);
		if (!rbuf_ok(r))
			break;
		bool floor = crdt_map_owned(m) && crdt_is_floor(&it);
		if (pass == PASS_CHECK) {
			if (!crdt_map_fits(m, &it))
				return ERR_MALFORMED;
			t->items++;
			t->floors += floor;
			continue;
		}
		if (floor != (pass == PASS_FLOORS))
			continue;
		enum err e = crdt_map_merge(m, &it, &what, ch);
		t->news += e == ERR_OK && what == CRDT_NEWS;
		if (e != ERR_OK && e != ERR_LIMIT)
			return e;
		if (e == ERR_LIMIT)
			result = e; /* the map is full: what is known already can still be brought up to date */
	}
	return result == ERR_OK ? rbuf_end(r) : result;
}

enum err crdt_delta_merge(struct crdt_map *m, struct rbuf *r, struct crdt_changes *ch, size_t *items, size_t *news)
{
	struct totals t = { 0 };
	struct rbuf items_reader = *r, floors_reader = *r;
	enum err e = walk(m, r, PASS_CHECK, ch, &t), merged = ERR_OK;
	if (e == ERR_OK)
		e = merged = walk(m, &items_reader, PASS_ITEMS, ch, &t);
	/* Floors last: an item that its owner re-stamped before the floor is there when the floor comes, so nobody sees it gone. */
	if (t.floors > 0 && (merged == ERR_LIMIT || e == ERR_OK)) {
		e = walk(m, &floors_reader, PASS_FLOORS, ch, &t);
		if (e == ERR_OK)
			e = merged;
	}
	if (items != NULL)
		*items = t.items;
	if (news != NULL)
		*news = t.news;
	return e;
}
