/* What tests of named histories share: doing one thing, and saying what must be seen. */
#ifndef WEFT_TESTS_UNIT_IPAM_SCENARIO_H
#define WEFT_TESTS_UNIT_IPAM_SCENARIO_H

#include "model.h"

static inline struct prefix prefix(const char *text)
{
	struct prefix p;
	assert_int_equal(prefix_parse(text, &p), ERR_OK);
	return p;
}

static inline void start(struct model *m, size_t n, uint8_t len)
{
	model_init(m, 7, n, len);
	model_start(m);
	new_links(m);
	model_run(m, m->now + 50);
}

static inline const char *status(struct model *m, size_t at)
{
	static struct ipam_view v;
	ipam_view(m->h[at].ipam, &v);
	return v.text;
}

static inline const char *conflict(struct model *m, size_t at)
{
	static struct ipam_view v;
	ipam_view(m->h[at].ipam, &v);
	return v.conflict;
}

static inline void expect_text(const char *text, const char *part)
{
	if (!strstr(text, part))
		fail_msg("\"%s\" does not say \"%s\"", text, part);
}

static inline void expect_has(struct model *m, size_t at, size_t n, const char *addr)
{
	char text[PREFIX_TEXT];
	assert_int_equal(m->h[at].c[n].want, HAS);
	assert_string_equal(prefix_format(m->h[at].c[n].addr, text), addr);
}

static inline const char *reason(struct model *m, size_t at, size_t n)
{
	static struct ipam_pending_view v;
	size_t it = 0;
	while (ipam_next_pending(m->h[at].ipam, &it, &v))
		if (strcmp(v.ident, ident_of(n)) == 0)
			return v.reason;
	return "(not pending)";
}

/* The text of the answer to a request made directly. */
struct told {
	bool there;
	enum err err;
	char text[256];
	struct prefix result;
};
static inline struct told direct(struct model *m, size_t at, struct ipam_event ev)
{
	struct told a = { 0 };
	struct ipam_actions out;
	ipam_actions_init(&out, m->arena);
	ev.now_ms = m->now;
	ev.request = ++m->next_request;
	assert_int_equal(ipam_step(m->h[at].ipam, &ev, &out), ERR_OK);
	for (size_t k = 0; k < out.n; k++) {
		if (out.v[k].kind == IPAM_REPLY && out.v[k].u.reply.request == ev.request) {
			assert_false(a.there);
			a.there = true;
			a.err = out.v[k].u.reply.err;
			a.result = out.v[k].u.reply.result;
			snprintf(a.text, sizeof a.text, "%s", out.v[k].u.reply.text);
			continue;
		}
		if (out.v[k].kind == IPAM_PERSIST)
			disk_write(&m->h[at], out.v[k].u.persist.key, out.v[k].u.persist.value);
		do_action(m, at, &out.v[k]);
	}
	return a;
}

static inline void side(struct model *m, size_t at, int s)
{
	m->h[at].side = s;
	model_topology(m);
	new_links(m);
}

static inline void heal_all(struct model *m)
{
	for (size_t k = 0; k < m->n; k++)
		m->h[k].side = 0;
	model_topology(m);
	new_links(m);
}

static inline void expect_direct(struct model *m, size_t at, struct ipam_event ev, enum err err, const char *part)
{
	struct told a = direct(m, at, ev);
	assert_true(a.there);
	if (a.err != err)
		fail_msg("%s, not %s: %s", err_name(a.err), err_name(err), a.text);
	expect_text(a.text, part);
}

#endif
