#include "tests/unit/base/cmocka_all.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "base/rng.h"
#include "dns/table.h"
#include "tests/unit/base/seed.h"

static struct dns_name name(const char *text)
{
	struct dns_name n;
	assert_int_equal(dns_name_parse(text, &n), ERR_OK);
	return n;
}

static struct ip addr(const char *text)
{
	struct ip a;
	assert_int_equal(ip_parse(text, &a), ERR_OK);
	return a;
}

static struct dns_table *fresh(void)
{
	struct dns_table *t = NULL;
	assert_int_equal(dns_table_new(&t, 1), ERR_OK);
	return t;
}

static void add(struct dns_table *t, uint64_t owner, const char *id, const char *n, const char *a)
{
	struct dns_name nm = name(n);
	assert_int_equal(dns_table_add(t, owner, id, &nm, addr(a)), ERR_OK);
}

static bool del(struct dns_table *t, uint64_t owner, const char *id, const char *n, const char *a)
{
	struct dns_name nm = name(n);
	return dns_table_remove(t, owner, id, &nm, addr(a));
}

/* Addresses of a name, in order, as text. */
static const char *look(const struct dns_table *t, const char *n, uint8_t family)
{
	static char out[1024];
	const struct ip *v[16];
	struct dns_name nm = name(n);
	size_t count = dns_table_addresses(t, NULL, &nm, family, v, 16);
	out[0] = '\0';
	for (size_t i = 0; i < count && i < 16; i++) {
		char one[IP_TEXT];
		strcat(out, ip_format(*v[i], one));
		strcat(out, " ");
	}
	return out;
}

static const char *back(const struct dns_table *t, const char *a, bool *known)
{
	static char out[4096];
	struct slice v[4];
	size_t count = dns_table_names(t, NULL, addr(a), v, 4, known);
	out[0] = '\0';
	for (size_t i = 0; i < count; i++) {
		char one[DNS_NAME_TEXT];
		struct dns_name n;
		assert_int_equal(dns_name_from_wire(v[i], &n), ERR_OK);
		strcat(out, dns_name_format(&n, one));
		strcat(out, " ");
	}
	return out;
}

static enum dns_known knows(const struct dns_table *t, const char *n)
{
	struct dns_name nm = name(n);
	return dns_table_knows(t, NULL, &nm);
}

static void names(void **state)
{
	(void)state;
	struct dns_table *t = fresh();
	add(t, 1, "c1", "Web.weft.local", "10.0.0.2");
	add(t, 2, "c2", "web.WEFT.local", "10.0.0.1");
	add(t, 2, "c3", "web.weft.local", "10.0.0.1"); /* the same address twice is one */
	add(t, 2, "c3", "web.weft.local", "2001:db8::1");
	assert_string_equal(look(t, "WEB.weft.LOCAL", 4), "10.0.0.1 10.0.0.2 ");
	assert_string_equal(look(t, "web.weft.local", 6), "2001:db8::1 ");
	assert_string_equal(look(t, "web.weft.local", 0), "10.0.0.1 10.0.0.2 2001:db8::1 ");
	assert_string_equal(look(t, "eb.weft.local", 4), "");
	assert_int_equal(dns_table_count(t), 4);

	struct dns_name nm = name("web.weft.local");
	const struct ip *one[1];
	assert_int_equal(dns_table_addresses(t, NULL, &nm, 4, one, 1), 2); /* says how many there are, writes what fits */

	assert_false(del(t, 1, "c1", "web.weft.local", "10.0.0.2")); /* keys are exact */
	assert_false(del(t, 2, "c1", "Web.weft.local", "10.0.0.2"));
	assert_true(del(t, 1, "c1", "Web.weft.local", "10.0.0.2"));
	assert_false(del(t, 1, "c1", "Web.weft.local", "10.0.0.2"));
	assert_string_equal(look(t, "web.weft.local", 4), "10.0.0.1 ");
	assert_true(del(t, 2, "c2", "web.WEFT.local", "10.0.0.1"));
	assert_string_equal(look(t, "web.weft.local", 4), "10.0.0.1 ");
	dns_table_free(t);
	dns_table_free(NULL);
}

static void names_above(void **state)
{
	(void)state;
	struct dns_table *t = fresh();
	add(t, 1, "c", "a.b.weft.local", "10.0.0.1");
	add(t, 1, "c", "x.B.weft.local", "10.0.0.1");
	assert_int_equal(knows(t, "A.b.weft.local"), DNS_KNOWN_NAME);
	assert_int_equal(knows(t, "b.weft.local"), DNS_KNOWN_ABOVE);
	assert_int_equal(knows(t, "z.a.b.weft.local"), DNS_KNOWN_NOT);
	assert_int_equal(knows(t, "c.weft.local"), DNS_KNOWN_NOT);
	assert_true(del(t, 1, "c", "a.b.weft.local", "10.0.0.1"));
	assert_int_equal(knows(t, "a.b.weft.local"), DNS_KNOWN_NOT);
	assert_int_equal(knows(t, "b.weft.local"), DNS_KNOWN_ABOVE);
	assert_true(del(t, 1, "c", "x.B.weft.local", "10.0.0.1"));
	assert_int_equal(knows(t, "b.weft.local"), DNS_KNOWN_NOT);
	assert_int_equal(knows(t, "local"), DNS_KNOWN_NOT);
	dns_table_free(t);
}

static void reachability(void **state)
{
	(void)state;
	struct dns_table *t = fresh();
	bool known = false;
	add(t, 1, "c1", "web.weft.local", "10.0.0.1");
	add(t, 2, "c2", "web.weft.local", "10.0.0.2");
	assert_int_equal(dns_table_set_reachable(t, 2, false), ERR_OK);
	assert_string_equal(look(t, "web.weft.local", 4), "10.0.0.1 ");
	assert_int_equal(knows(t, "web.weft.local"), DNS_KNOWN_NAME);
	assert_string_equal(back(t, "10.0.0.2", &known), "");
	assert_true(known);
	assert_int_equal(dns_table_count(t), 2);
	assert_int_equal(dns_table_count_reachable(t), 1);
	/* Entries that come while the owner is away are out of sight too, and the flag outlives the entries. */
	add(t, 2, "c3", "web.weft.local", "10.0.0.3");
	assert_string_equal(look(t, "web.weft.local", 4), "10.0.0.1 ");
	assert_int_equal(dns_table_remove_owner(t, 2), 2);
	add(t, 2, "c2", "web.weft.local", "10.0.0.2");
	assert_string_equal(look(t, "web.weft.local", 4), "10.0.0.1 ");
	assert_int_equal(dns_table_set_reachable(t, 2, true), ERR_OK);
	assert_string_equal(look(t, "web.weft.local", 4), "10.0.0.1 10.0.0.2 ");
	assert_int_equal(dns_table_count_reachable(t), 2);
	assert_int_equal(dns_table_set_reachable(t, 9, true), ERR_OK);
	assert_int_equal(dns_table_set_reachable(t, 9, false), ERR_OK);
	/* One address, given by one who is away and one who is here. */
	add(t, 9, "c9", "web.weft.local", "10.0.0.1");
	assert_string_equal(look(t, "web.weft.local", 4), "10.0.0.1 10.0.0.2 ");
	assert_string_equal(back(t, "10.0.0.1", NULL), "web.weft.local. ");
	dns_table_free(t);
}

static void addresses(void **state)
{
	(void)state;
	struct dns_table *t = fresh();
	bool known = true;
	assert_string_equal(back(t, "10.0.0.1", &known), "");
	assert_false(known);
	add(t, 1, "old", "old.weft.local", "10.0.0.1");
	add(t, 1, "new", "new.weft.local", "10.0.0.1");
	add(t, 1, "new", "alias.weft.local", "10.0.0.1");
	add(t, 1, "new", "ALIAS.weft.local", "10.0.0.1");
	assert_string_equal(back(t, "10.0.0.1", NULL), "ALIAS.weft.local. new.weft.local. ");
	/* Said again, it is the latest. */
	add(t, 1, "old", "old.weft.local", "10.0.0.1");
	assert_string_equal(back(t, "10.0.0.1", NULL), "old.weft.local. ");
	assert_int_equal(dns_table_count(t), 4);
	assert_true(del(t, 1, "old", "old.weft.local", "10.0.0.1"));
	assert_string_equal(back(t, "10.0.0.1", NULL), "ALIAS.weft.local. new.weft.local. ");
	/* The same octets in the other family are another address. */
	add(t, 1, "six", "six.weft.local", "a00:1::");
	assert_string_equal(back(t, "a00:1::", NULL), "six.weft.local. ");
	assert_string_equal(back(t, "10.0.0.1", NULL), "ALIAS.weft.local. new.weft.local. ");
	/* The same id with another owner is another container. */
	add(t, 2, "new", "other.weft.local", "10.0.0.1");
	assert_string_equal(back(t, "10.0.0.1", NULL), "other.weft.local. ");
	dns_table_free(t);
}

static void refusals(void **state)
{
	(void)state;
	struct dns_table *t = fresh();
	char text[200];
	struct dns_name n = name("a.weft.local"), root = dns_name_root();
	memset(text, 'i', DNS_ID_MAX + 1);
	text[DNS_ID_MAX + 1] = '\0';
	assert_int_equal(dns_table_add(t, 1, text, &n, addr("10.0.0.1")), ERR_LIMIT);
	text[DNS_ID_MAX] = '\0';
	assert_int_equal(dns_table_add(t, 1, text, &n, addr("10.0.0.1")), ERR_OK);
	assert_int_equal(dns_table_add(t, 1, "", &root, addr("10.0.0.1")), ERR_LIMIT);
	assert_int_equal(dns_table_add(t, 1, "", &n, (struct ip){ 0 }), ERR_RANGE);
	text[0] = '\0';
	for (unsigned i = 0; i < DNS_TABLE_LABELS_MAX + 1; i++)
		strcat(text, "a.");
	n = name(text);
	assert_int_equal(dns_table_add(t, 1, "", &n, addr("10.0.0.1")), ERR_LIMIT);
	n = name(text + 2);
	assert_int_equal(dns_table_add(t, 1, "", &n, addr("10.0.0.1")), ERR_OK);
	assert_int_equal(dns_table_count(t), 2);
	dns_table_free(t);
}

static void iterating(void **state)
{
	(void)state;
	struct dns_table *t = fresh();
	struct dns_entry e, v[4];
	size_t n = 0;
	add(t, 2, "c", "b.weft.local", "10.0.0.2");
	add(t, 1, "c", "B.weft.local", "10.0.0.3");
	add(t, 1, "c", "a.weft.local", "10.0.0.1");
	add(t, 1, "b", "b.weft.local", "10.0.0.3");
	for (const void *it = NULL; dns_table_next(t, &it, &e);)
		v[n++] = e;
	assert_int_equal(n, 4);
	assert_true(v[0].owner == 2 && v[0].reachable && strcmp(v[0].id, "c") == 0);
	qsort(v, n, sizeof(*v), dns_entry_cmp);
	assert_true(ip_eq(v[0].addr, addr("10.0.0.1")) && strcmp(v[1].id, "b") == 0 && v[2].owner == 1 && v[3].owner == 2);
	/* Removing what was just given. */
	n = 0;
	for (const void *it = NULL; dns_table_next(t, &it, &e); n++) {
		struct dns_name nm;
		assert_int_equal(dns_name_from_wire(e.name, &nm), ERR_OK);
		assert_true(dns_table_remove(t, e.owner, e.id, &nm, e.addr));
	}
	assert_int_equal(n, 4);
	assert_int_equal(dns_table_count(t), 0);
	const void *it = NULL;
	assert_false(dns_table_next(t, &it, &e));
	dns_table_free(t);
}

/* A model: a plain array in order of adding. */
struct fact {
	uint64_t owner;
	const char *id;
	struct dns_name name;
	struct ip addr;
};
#define FACTS 400

struct model {
	struct fact v[FACTS];
	size_t n;
	bool away[4];
};

static struct fact random_fact(struct rng *rng)
{
	static const char *const ids[] = { "", "c1", "c2" };
	static const char *const all[] = { "a.d", "A.d", "b.d", "x.b.d", "y.x.b.d", "c.d" };
	struct fact f = { .owner = rng_below(rng, 4), .id = ids[rng_below(rng, 3)], .name = name(all[rng_below(rng, 6)]) };
	f.addr.family = rng_chance(rng, 700000) ? 4 : 6;
	f.addr.b[3] = (uint8_t)rng_below(rng, 5);
	return f;
}

static void check_model(const struct dns_table *t, const struct model *m, const struct fact *ask)
{
	const struct ip *v[FACTS];
	struct slice names_out[FACTS];
	bool known = false, want_known = false;
	enum dns_known want = DNS_KNOWN_NOT;
	size_t want_n = 0;
	const struct fact *latest = NULL;

	for (size_t i = 0; i < m->n; i++) {
		const struct fact *f = &m->v[i];
		bool counts = dns_name_eq(&f->name, &ask->name) && f->addr.family == ask->addr.family && !m->away[f->owner];
		if (dns_name_eq(&f->name, &ask->name))
			want = DNS_KNOWN_NAME;
		else if (want == DNS_KNOWN_NOT && dns_name_in_domain(&f->name, &ask->name))
			want = DNS_KNOWN_ABOVE;
		for (size_t k = 0; k < i && counts; k++)
			counts = !(dns_name_eq(&m->v[k].name, &f->name) && ip_eq(m->v[k].addr, f->addr) && !m->away[m->v[k].owner]);
		want_n += counts;
		want_known = want_known || ip_eq(f->addr, ask->addr);
		if (ip_eq(f->addr, ask->addr) && !m->away[f->owner])
			latest = f;
	}
	assert_int_equal(dns_table_knows(t, NULL, &ask->name), want);
	size_t n = dns_table_addresses(t, NULL, &ask->name, ask->addr.family, v, FACTS);
	assert_int_equal(n, want_n);
	for (size_t i = 1; i < n; i++)
		assert_true(ip_cmp(*v[i - 1], *v[i]) < 0);
	n = dns_table_names(t, NULL, ask->addr, names_out, FACTS, &known);
	assert_int_equal(known, want_known);
	assert_int_equal(n > 0, latest != NULL);
	if (latest)
		assert_true(slice_eq(names_out[0], dns_name_slice(&latest->name)));
	assert_int_equal(dns_table_count(t), m->n);
}

static void model_remove(struct model *m, size_t at)
{
	m->n--;
	memmove(m->v + at, m->v + at + 1, (m->n - at) * sizeof(*m->v));
}

static size_t model_find(const struct model *m, const struct fact *f)
{
	for (size_t i = 0; i < m->n; i++) {
		const struct fact *g = &m->v[i];
		if (g->owner == f->owner && strcmp(g->id, f->id) == 0 && dns_name_exact(&g->name, &f->name) && ip_eq(g->addr, f->addr))
			return i;
	}
	return m->n;
}

/* Random changes, some of them without memory, against the model. */
static void against_model(void **state)
{
	(void)state;
	static struct model m;
	struct rng rng;
	long live = mem_live();
	struct dns_table *t = fresh();
	size_t failures = 0;

	rng_seed(&rng, test_seed("table"));
	for (int step = 0; step < 20000; step++) {
		struct fact f = random_fact(&rng);
		size_t at = model_find(&m, &f);
		uint64_t what = rng_below(&rng, 100);
		if (what < 50 && m.n < FACTS) {
			if (rng_chance(&rng, 300000))
				mem_fail_at((size_t)rng_between(&rng, 1, 8), false);
			enum err e = dns_table_add(t, f.owner, f.id, &f.name, f.addr);
			mem_fail_at(0, false);
			assert_true(e == ERR_OK || e == ERR_NOMEM);
			failures += e == ERR_NOMEM;
			if (e == ERR_OK) {
				if (at < m.n)
					model_remove(&m, at);
				m.v[m.n++] = f;
			}
		} else if (what < 95) {
			assert_int_equal(dns_table_remove(t, f.owner, f.id, &f.name, f.addr), at < m.n);
			if (at < m.n)
				model_remove(&m, at);
		} else if (what < 99) {
			m.away[f.owner] = !m.away[f.owner];
			assert_int_equal(dns_table_set_reachable(t, f.owner, !m.away[f.owner]), ERR_OK);
		} else {
			size_t removed = dns_table_remove_owner(t, f.owner);
			for (size_t i = m.n; i-- > 0;) {
				if (m.v[i].owner == f.owner) {
					model_remove(&m, i);
					removed--;
				}
			}
			assert_int_equal(removed, 0);
		}
		f = random_fact(&rng);
		check_model(t, &m, &f);
	}
	assert_true(failures > 100);
	while (m.n > 0) {
		struct fact f = m.v[--m.n];
		assert_true(dns_table_remove(t, f.owner, f.id, &f.name, f.addr));
	}
	dns_table_free(t);
	assert_int_equal(mem_live(), live);
}

static void out_of_memory(void **state)
{
	(void)state;
	long live = mem_live();
	for (size_t n = 1; n < 5; n++) {
		struct dns_table *t = NULL;
		mem_fail_at(n, true);
		enum err e = dns_table_new(&t, 1);
		mem_fail_at(0, false);
		if (e == ERR_OK)
			dns_table_free(t);
		else
			assert_null(t);
		assert_int_equal(mem_live(), live);
	}
}

/* Sees what the container of this id has, and nothing else. */
static bool only(const void *ctx, uint64_t owner, const char *id, struct ip a)
{
	(void)owner;
	(void)a;
	return strcmp(id, ctx) == 0;
}

static void views(void **state)
{
	(void)state;
	struct dns_table *t = fresh();
	const struct dns_view red = { only, "red" }, blue = { only, "blue" }, green = { only, "green" };
	struct dns_name db = name("db.weft.local"), above = name("x.weft.local");
	const struct ip *v[4];
	struct slice out[4];
	bool known;
	add(t, 1, "red", "db.weft.local", "10.0.0.1");
	add(t, 2, "blue", "db.weft.local", "10.0.0.2");
	add(t, 2, "blue", "a.x.weft.local", "10.0.0.2");
	add(t, 2, "blue", "same.weft.local", "10.0.0.9");
	add(t, 1, "red", "same.weft.local", "10.0.0.9"); /* networks of others' addresses may have the same */
	assert_int_equal(dns_table_addresses(t, NULL, &db, 4, v, 4), 2);
	assert_int_equal(dns_table_addresses(t, &red, &db, 4, v, 4), 1);
	assert_true(ip_eq(*v[0], addr("10.0.0.1")));
	assert_int_equal(dns_table_addresses(t, &blue, &db, 0, v, 4), 1);
	assert_true(ip_eq(*v[0], addr("10.0.0.2")));
	assert_int_equal(dns_table_addresses(t, &green, &db, 4, v, 4), 0);
	assert_int_equal(dns_table_knows(t, &red, &db), DNS_KNOWN_NAME);
	assert_int_equal(dns_table_knows(t, &green, &db), DNS_KNOWN_NOT);
	assert_int_equal(dns_table_knows(t, &blue, &above), DNS_KNOWN_ABOVE);
	add(t, 1, "red", "x.weft.local", "10.0.0.3");
	assert_int_equal(dns_table_knows(t, &red, &above), DNS_KNOWN_NAME);
	assert_int_equal(dns_table_knows(t, &blue, &above), DNS_KNOWN_ABOVE);

	assert_int_equal(dns_table_names(t, &red, addr("10.0.0.2"), out, 4, &known), 0);
	assert_false(known);
	assert_int_equal(dns_table_names(t, &blue, addr("10.0.0.2"), out, 4, &known), 2);
	assert_true(known);
	assert_int_equal(dns_table_set_reachable(t, 1, false), ERR_OK);
	assert_int_equal(dns_table_names(t, &red, addr("10.0.0.9"), out, 4, &known), 0); /* the other one's is not taken for it */
	assert_true(known);
	assert_int_equal(dns_table_names(t, &blue, addr("10.0.0.9"), out, 4, &known), 1);
	assert_int_equal(dns_table_addresses(t, &red, &db, 4, v, 4), 0);
	assert_int_equal(dns_table_knows(t, &red, &db), DNS_KNOWN_NAME); /* out of reach, not gone */
	dns_table_free(t);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(views),
		cmocka_unit_test(names),
		cmocka_unit_test(names_above),
		cmocka_unit_test(reachability),
		cmocka_unit_test(addresses),
		cmocka_unit_test(refusals),
		cmocka_unit_test(iterating),
		cmocka_unit_test(against_model),
		cmocka_unit_test(out_of_memory),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
