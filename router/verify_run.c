/* Looking, and looking again. Theory of operation. Each round asks the other hosts for their digests and Docker for its containers, waits a moment for the answers, and
 * compares all facts. The first round that finds nothing ends it. What a later round does not find any more was under way and is dropped; what is left after
 * the time the asker gave is told. After a start the kernel's tables have entries of the former daemon for some seconds more, so it waits at least
 * until these are sorted out. */
#include <stdio.h>
#include <string.h>

#include "base/mem.h"
#include "router/internal.h"
#include "router/status.h"
#include "router/verify_facts.h"

enum { FIRST_LOOK_MS = 200, SETTLED_MS = 12000, DOCKER_LOOK_MS = 2000 };

struct finding {
	unsigned look; /* the last one that found it */
	char *check, *text, *todo;
};

struct verify {
	struct router *r;
	uint64_t number, begun_ms, until_ms;
	uv_timer_t timer;
	verify_done done;
	void *ctx;
	unsigned looks;
	struct map *found; /* text -> struct finding: what every look so far has found */
	size_t untold;     /* more than are told */
	bool nomem;
	json_t *notes, *looked_at; /* of the last look */
	/* Docker's last answer */
	uint64_t question;
	bool docker_asked, docker_known;
	struct docker_listed *docker;
	size_t n_docker;
};

/* --- what was found ---------------------------------------------------------------------------------------------------------------------- */

static void finding_free(struct finding *f)
{
	if (f == NULL)
		return;
	mem_free(f->check);
	mem_free(f->text);
	mem_free(f->todo);
	mem_free(f);
}

static json_t *finding_doc(const char *check, const char *text, const char *todo)
{
	return json_pack("{s:s+, s:s+, s:s+}", "check", check, "", "text", text, "", "todo", todo, "");
}

static void add_finding(struct verify *v, const char *check, const char *text, const char *todo)
{
	struct finding *f = mem_zalloc(1, sizeof(*f));

	if (f != NULL) {
		*f = (struct finding){ .look = v->looks, .check = mem_strdup(check), .text = mem_strdup(text), .todo = mem_strdup(todo) };
		if (f->check != NULL && f->text != NULL && f->todo != NULL && map_put(v->found, slice_str(text), f, NULL) == ERR_OK)
			return;
	}
	finding_free(f);
	v->nomem = true;
}

static void on_finding(void *ctx, bool note, const char *check, const char *text, const char *todo)
{
	struct verify *v = ctx;
	struct finding *f = map_get(v->found, slice_str(text));

	if (note) {
		if (json_array_size(v->notes) < VERIFY_FINDINGS)
			(void)json_array_append_new(v->notes, finding_doc(check, text, todo));
	} else if (f != NULL) {
		f->look = v->looks;
	} else if (v->looks == 1) {
		if (map_count(v->found) < VERIFY_FINDINGS)
			add_finding(v, check, text, todo);
		else
			v->untold++;
	}
}

/* What this look has not found was under way. */
static void drop_others(struct verify *v)
{
	struct slice key;
	void *value;

	for (size_t it = 0; map_next(v->found, &it, &key, &value);) {
		const struct finding *f = value;
		if (f->look != v->looks)
			finding_free(map_del(v->found, key));
	}
}

/* --- the end ------------------------------------------------------------------------------------------------------------------------------ */

static void on_closed(uv_handle_t *h)
{
	struct verify *v = h->data;
	struct slice key;
	void *value;

	if (v->found != NULL)
		for (size_t it = 0; map_next(v->found, &it, &key, &value);)
			finding_free(map_del(v->found, key));
	map_free(v->found);
	json_decref(v->notes);
	json_decref(v->looked_at);
	mem_free(v->docker);
	mem_free(v);
}

static void end(struct verify *v)
{
	(void)map_del64(v->r->verifies, v->number);
	docker_cancel(router_docker(v->r), v->question);
	v->question = 0;
	uv_close((uv_handle_t *)&v->timer, on_closed);
}

static int by_text(const void *a, const void *b)
{
	const struct finding *const *x = a, *const *y = b;
	int c = strcmp((*x)->check, (*y)->check);

	return c != 0 ? c : strcmp((*x)->text, (*y)->text);
}

static json_t *findings_doc(const struct verify *v)
{
	size_t n = 0, all = map_count(v->found);
	const struct finding **sorted = mem_zalloc(all + 1, sizeof(*sorted));
	json_t *list = json_array();
	struct slice key;
	void *value;

	for (size_t it = 0; sorted != NULL && map_next(v->found, &it, &key, &value);)
		sorted[n++] = value;
	if (n > 0)
		qsort(sorted, n, sizeof(*sorted), by_text);
	for (size_t i = 0; i < n; i++)
		(void)json_array_append_new(list, finding_doc(sorted[i]->check, sorted[i]->text, sorted[i]->todo));
	mem_free(sorted);
	return list;
}

static void finish(struct verify *v)
{
	verify_done done = v->done;
	void *ctx = v->ctx;
	bool ok = map_count(v->found) == 0;
	json_t *doc = json_pack("{s:i, s:b, s:f, s:I, s:o, s:O, s:O}", "schema", STATUS_SCHEMA, "ok", ok, "waited_s",
		(double)(router_now_ms(v->r) - v->begun_ms) / 1000.0, "untold", (json_int_t)v->untold, "findings", findings_doc(v),
		"notes", v->notes, "looked_at", v->looked_at);

	end(v);
	done(ctx, ok, doc);
}

static void give_up(struct verify *v)
{
	verify_done done = v->done;
	void *ctx = v->ctx;

	end(v);
	done(ctx, false, NULL);
}

/* --- a look -------------------------------------------------------------------------------------------------------------------------------- */

static void on_docker(void *ctx, enum err err, const char *why, const struct docker_listed *list, size_t n)
{
	struct verify *v = ctx;

	(void)why;
	v->question = 0;
	mem_free(v->docker);
	v->docker = n > 0 ? mem_dup(list, n * sizeof(*list)) : NULL;
	v->n_docker = v->docker != NULL ? n : 0;
	v->docker_known = err == ERR_OK && v->n_docker == n;
}

static void on_asked(void *ctx, const struct router_result *res)
{
	(void)ctx;
	(void)res;
}

static void on_turn(uv_timer_t *timer);

static void ask(struct verify *v, uint64_t pause_ms)
{
	struct core_event ev = { .kind = CORE_DIGESTS };
	struct docker *d = router_docker(v->r);

	(void)router_submit(v->r, &ev, on_asked, NULL);
	v->docker_asked = docker_connected(d);
	if (v->question == 0) { /* a slow Docker has its whole time */
		v->docker_known = false;
		if (v->docker_asked)
			v->question = docker_list(d, DOCKER_LOOK_MS, on_docker, v);
	}
	(void)uv_timer_start(&v->timer, on_turn, pause_ms, 0);
}

static void note_counts(struct verify *v, const struct verify_facts *f)
{
	size_t here = 0;

	for (size_t i = 0; i < f->n_containers; i++)
		here += f->containers[i].owner == VERIFY_PEER_HERE;
	json_decref(v->looked_at);
	v->looked_at = json_pack("{s:I, s:I, s:I, s:I, s:I, s:I, s:b}", "addresses", (json_int_t)f->n_leases, "containers",
		(json_int_t)here, "names", (json_int_t)f->n_names, "interfaces", (json_int_t)f->n_interfaces, "forwarding",
		(json_int_t)f->n_forwards + (json_int_t)f->n_neighs, "hosts", (json_int_t)f->n_digests, "docker", f->docker);
}

/* false: there is no memory for it, or the kernel does not answer. */
static bool look(struct verify *v)
{
	struct arena *arena = arena_new();
	struct verify_facts facts;
	struct err_note note = { "" };

	if (arena == NULL)
		return false;
	v->looks++;
	json_array_clear(v->notes);
	enum err err = verify_facts(v->r, v->docker, v->n_docker, v->docker_known, arena, &facts, &note);
	if (err == ERR_OK)
		err = verify_compare(&facts, on_finding, v);
	if (err == ERR_OK) {
		drop_others(v);
		note_counts(v, &facts);
	} else {
		log_write(v->r->log, LOG_LEVEL_WARNING, "verify: %s", note.text[0] != '\0' ? note.text : err_text(err));
	}
	if (err == ERR_OK && docker_on(router_docker(v->r)) && !v->docker_known && verify_of_docker(&facts))
		on_finding(v, true, "docker", "Docker was not compared: it does not answer", "'weft status docker' says why");
	arena_free(arena);
	return err == ERR_OK && !v->nomem;
}

/* After the start the kernel has entries of a former daemon for some time. */
static bool inherits(const struct verify *v, uint64_t now)
{
	return now < router_started_ms(v->r) + SETTLED_MS && plane_unsettled(v->r->plane);
}

static void on_turn(uv_timer_t *timer)
{
	struct verify *v = timer->data;
	uint64_t now = router_now_ms(v->r);

	if (v->question != 0 && now < v->until_ms && v->looks == 0 && now - v->begun_ms < DOCKER_LOOK_MS) {
		(void)uv_timer_start(&v->timer, on_turn, FIRST_LOOK_MS, 0); /* Docker is slow */
		return;
	}
	if (!look(v)) {
		give_up(v);
	} else if (map_count(v->found) == 0 && v->untold > 0) { /* of these nobody knows whether they have gone, too */
		v->looks = 0;
		v->untold = 0;
		ask(v, VERIFY_LOOK_MS);
	} else if (map_count(v->found) == 0 || (now >= v->until_ms && !inherits(v, now))) {
		finish(v);
	} else {
		ask(v, VERIFY_LOOK_MS);
	}
}

/* --- requests ------------------------------------------------------------------------------------------------------------------------------ */

uint64_t router_verify(struct router *r, uint32_t wait_ms, verify_done done, void *ctx)
{
	struct verify *v = r->stopping || r->fatal[0] != '\0' ? NULL : mem_zalloc(1, sizeof(*v));
	uint64_t now = router_now_ms(r);

	if (v == NULL)
		return 0;
	*v = (struct verify){ .r = r, .number = r->next_request++, .begun_ms = now, .done = done, .ctx = ctx };
	v->until_ms = now + wait_ms;
	v->found = map_new(v->number);
	v->notes = json_array();
	v->looked_at = json_object();
	if (v->found == NULL || v->notes == NULL || v->looked_at == NULL || map_put64(r->verifies, v->number, v, NULL) != ERR_OK) {
		map_free(v->found);
		json_decref(v->notes);
		json_decref(v->looked_at);
		mem_free(v);
		return 0;
	}
	(void)uv_timer_init(r->loop, &v->timer);
	v->timer.data = v;
	ask(v, FIRST_LOOK_MS);
	return v->number;
}

bool verify_cancel(struct router *r, uint64_t request)
{
	struct verify *v = map_get64(r->verifies, request);

	if (v == NULL)
		return false;
	end(v);
	return true;
}

void verify_end_all(struct router *r)
{
	struct slice key;
	void *value;

	for (size_t it = 0; r->verifies != NULL && map_next(r->verifies, &it, &key, &value); it = 0)
		give_up(value);
}

/* --- text ---------------------------------------------------------------------------------------------------------------------------------- */

static void put(struct wbuf *w, const char *text)
{
	wbuf_bytes(w, text, strlen(text));
}

static void put_lines(struct wbuf *w, const json_t *list, const char *before)
{
	const char *check, *text, *todo;
	json_t *f;
	size_t i;

	json_array_foreach(list, i, f)
	{
		if (json_unpack(f, "{s:s, s:s, s:s}", "check", &check, "text", &text, "todo", &todo) != 0)
			continue;
		put(w, before);
		put(w, check);
		put(w, ": ");
		put(w, text);
		put(w, "; ");
		put(w, todo);
		put(w, "\n");
	}
}

static long long count_of(const json_t *o, const char *key)
{
	return (long long)json_integer_value(json_object_get(o, key));
}

void verify_text(const json_t *doc, struct wbuf *w)
{
	const json_t *findings = json_object_get(doc, "findings"), *at = json_object_get(doc, "looked_at");
	size_t n = json_array_size(findings) + (size_t)count_of(doc, "untold");
	char line[320];

	put_lines(w, findings, "");
	put_lines(w, json_object_get(doc, "notes"), "note: ");
	if (n == 0)
		(void)snprintf(line, sizeof(line),
			"ok: %lld addresses, %lld containers, %lld interfaces, %lld names, %lld forwarding entries belong together; %lld other hosts know the same%s\n",
			count_of(at, "addresses"), count_of(at, "containers"), count_of(at, "interfaces"), count_of(at, "names"),
			count_of(at, "forwarding"), count_of(at, "hosts"),
			json_is_true(json_object_get(at, "docker")) ? ", Docker as well" : "");
	else
		(void)snprintf(line, sizeof(line), "%zu findings\n", n);
	put(w, line);
}
