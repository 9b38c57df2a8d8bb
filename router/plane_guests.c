/* What weft has to see to because others have bridges on the host, too: Docker above all.
 *
 * Where frames that bridges pass on are shown to the host's iptables (bridge-nf-call-iptables), Docker's FORWARD policy drops those between our containers. So the
 * switch for all bridges is put off, and each bridge of others gets its own put on instead, first: for them nothing changes. New ones get theirs when the kernel
 * tells of them. Somebody may put the switch on again (dockerd does when it makes a network without communication between containers), so it is looked at
 * in every tick. That it was us who put it off is noted on our bridge, which lives as long as the switch does: so a new daemon goes on, a reset
 * puts it on again, and a switch that was off before is left alone with all that it means. Who wants frames of one of weft's bridges shown
 * switches that bridge's own on.
 *
 * Bridges of Docker's hold containers: they are kept from the control port as ours are. Containers that are on weft only have docker_gwbridge besides; from there
 * Docker's resolver asks, and answers have to leave by it. */
#include <string.h>

#include "base/mem.h"
#include "router/dataplane/bridges.h"
#include "router/plane_internal.h"

enum { WATCH_BRIDGES = 4, GUESTS_MAX = 512, DOCKER_ID = 12 };
#define GATEWAY_BRIDGE "docker_gwbridge"

static const int families[] = { 4, 6 };

struct guests {
	struct plane *p;
	struct bridges_one *v;
	size_t n, cap;
	bool nomem;
};

static void take(const struct bridges_one *one, void *arg)
{
	struct guests *g = arg;

	if (strncmp(one->name, "weft", 4) == 0)
		return;
	if (mem_grow((void **)&g->v, &g->cap, g->n + 1, sizeof(*g->v)))
		g->v[g->n++] = *one;
	else
		g->nomem = true;
}

static bool is_dockers(const char *name)
{
	if (strcmp(name, "docker0") == 0 || strcmp(name, GATEWAY_BRIDGE) == 0)
		return true;
	return strncmp(name, "br-", 3) == 0 && strlen(name) == 3 + DOCKER_ID && strspn(name + 3, "0123456789abcdef") == DOCKER_ID;
}

/* --- frames shown to iptables --------------------------------------------------------------------------------------------------------------- */

static enum err leave_note(struct plane *p, unsigned hidden, struct err_note *note)
{
	return bridges_note(p->bridges, kernel_bridge_name(plane_default(p)->kernel), bridges_hidden_text(hidden), note);
}

/* First each, then all. */
static enum err switch_family(struct plane *p, const struct guests *g, size_t f, struct err_note *note)
{
	const int family = families[f];
	const bool on = bridges_all_shown(family) == 1, before = p->frames_hidden & 1u << f;
	enum err err = ERR_OK;

	if (!on && !before) /* off, and not by us; or br_netfilter is not there */
		return ERR_OK;
	if (!before)
		err = leave_note(p, p->frames_hidden | 1u << f, note);
	for (size_t i = 0; err == ERR_OK && i < g->n; i++)
		if (!(family == 6 ? g->v[i].shown6 : g->v[i].shown4))
			err = bridges_show(p->bridges, g->v[i].index, family, true, note);
	if (err == ERR_OK && on)
		err = bridges_show_all(family, false, note);
	if (err == ERR_OK && !before)
		log_write(p->cfg.log, g->n > 0 ? LOG_LEVEL_INFO : LOG_LEVEL_DEBUG, /* else nobody misses anything */
			"IPv%d frames between containers are not shown to iptables any more; those of the host's %zu other bridges are as before",
			family, g->n);
	if (err == ERR_OK)
		p->frames_hidden |= 1u << f;
	return err;
}

static enum err hide_frames(struct plane *p, const struct guests *g, struct err_note *note)
{
	enum err err = switch_family(p, g, 0, note);

	return err == ERR_OK ? switch_family(p, g, 1, note) : err;
}

/* --- Docker's ------------------------------------------------------------------------------------------------------------------------------------ */

struct answering {
	struct plane *p;
	int index;
	enum err err;
	struct err_note *note;
};

static void answer_by(struct prefix subnet, void *arg)
{
	struct answering *a = arg;

	if (a->err == ERR_OK)
		a->err = bridges_answer_by(a->p->bridges, a->index, subnet, a->note);
}

static enum err keep_guests(struct plane *p, const struct guests *g, struct err_note *note)
{
	const char *names[GUESTS_MAX] = { "docker0", GATEWAY_BRIDGE }; /* before they are made, too */
	size_t n = 2;
	enum err err = ERR_OK;

	for (size_t i = 0; i < g->n; i++) {
		if (n < GUESTS_MAX && strncmp(g->v[i].name, "br-", 3) == 0 && is_dockers(g->v[i].name))
			names[n++] = g->v[i].name;
		if (err == ERR_OK && strcmp(g->v[i].name, GATEWAY_BRIDGE) == 0) {
			struct answering a = { p, g->v[i].index, ERR_OK, note };
			err = bridges_subnets(p->bridges, a.index, answer_by, &a, note);
			err = err == ERR_OK ? a.err : err;
		}
	}
	if (err == ERR_OK && p->nft != NULL)
		err = nft_set_guests(p->nft, names, n, note);
	return err;
}

/* --- looking ------------------------------------------------------------------------------------------------------------------------------------ */

static void look(struct plane *p)
{
	struct err_note note = { "" };
	struct guests g = { .p = p };
	enum err err = bridges_list(p->bridges, take, &g, &note);

	if (err == ERR_OK && g.nomem)
		err = err_note(&note, ERR_NOMEM, "out of memory");
	p->guests_news = false;
	if (err == ERR_OK)
		err = hide_frames(p, &g, &note);
	p->frames_shown = err != ERR_OK && (bridges_all_shown(4) == 1 || bridges_all_shown(6) == 1);
	if (p->frames_shown && !p->guests_said)
		log_write(
			p->cfg.log, LOG_LEVEL_WARNING, "frames between containers are shown to iptables, which may drop them: %s", note.text);
	if (err == ERR_OK || p->frames_shown)
		err = keep_guests(p, &g, &note);
	if (err != ERR_OK && !p->guests_said)
		log_write(p->cfg.log, LOG_LEVEL_WARNING, "the host's other bridges are not seen to: %s", note.text);
	p->guests_said = err != ERR_OK || p->frames_shown;
	mem_free(g.v);
}

enum err guests_open(struct plane *p, struct err_note *note)
{
	enum err err = bridges_open(&p->bridges, note);

	if (err == ERR_OK)
		err = plane_watch(p, bridges_fd(p->bridges), WATCH_BRIDGES, note);
	if (err != ERR_OK)
		return err;
	p->frames_hidden = bridges_hidden(p->bridges, kernel_bridge_name(plane_default(p)->kernel));
	look(p);
	return ERR_OK;
}

void guests_poll(struct plane *p)
{
	if (p->reset || !bridges_news(p->bridges))
		return;
	look(p);
	p->exposed_due = p->n_exposed > 0; /* somebody may have taken an address of ours */
}

void guests_tick(struct plane *p)
{
	struct err_note note = { "" };

	if (p->exposed_due && !p->reset && expose_apply(p, &note) != ERR_OK)
		p->failures++; /* plane_apply tries again, and says so */
	p->exposed_due = false;
	if (!p->reset && p->bridges != NULL &&
		((!p->frames_shown && (bridges_all_shown(4) == 1 || bridges_all_shown(6) == 1)) || p->guests_news))
		look(p);
}

void guests_bridge_made(struct plane *p)
{
	p->guests_news = true;
	if (p->bridges != NULL && p->frames_hidden != 0 && leave_note(p, p->frames_hidden, NULL) != ERR_OK)
		p->failures++;
}

/* Before our bridge goes, and the note with it. Each other bridge's own is left as it is: with that for all on it has no effect. */
void guests_reset(struct plane *p)
{
	struct err_note note = { "" };

	if (p->bridges != NULL && bridges_show_again(p->frames_hidden, &note) != ERR_OK)
		log_write(p->cfg.log, LOG_LEVEL_WARNING, "%s", note.text);
	p->frames_hidden = 0;
}

void guests_close(struct plane *p)
{
	bridges_close(p->bridges);
	p->bridges = NULL;
}
