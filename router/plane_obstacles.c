/* What keeps the host from passing on what it is exposed for: forwarding that is switched off, other programs' packet filters. Nothing of that is ours to change, so
 * it is said, with what to do: in the answer to weft expose, in status and health, and once in the log. It is looked at when something is exposed, when
 * nftables changed, and now and then, since other filters do not tell. */
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "router/dataplane/foreign.h"
#include "router/plane_internal.h"

enum { LOOK_TICKS = 20, REST_TICKS = 4, REST_MAX = 600 };
#define ELSEWHERE "eth0" /* where there is no default route to take the interface of */

static void add(struct plane *p, const char *text)
{
	for (size_t i = 0; i < p->n_obstacles; i++)
		if (strcmp(p->obstacles[i], text) == 0)
			return;
	if (p->n_obstacles < PLANE_OBSTACLES_MAX)
		(void)snprintf(p->obstacles[p->n_obstacles++], sizeof(p->obstacles[0]), "%s", text);
}

static void ask(
	struct plane *p, const struct foreign *f, const struct foreign_packet *packet, const char *bridge, const char *what)
{
	struct foreign_verdict v;
	char text[PLANE_OBSTACLE_TEXT];

	foreign_forward(f, packet, bridge, &v);
	if (!v.drops)
		return;
	(void)snprintf(text, sizeof(text), "%s are dropped by %s, which is not weft's; let them pass: %s", what, v.where, v.remedy);
	add(p, text);
}

static void look_at_forwarding(struct plane *p, int family)
{
	char text[PLANE_OBSTACLE_TEXT];

	if (foreign_forwarding(family) != 0)
		return;
	(void)snprintf(text, sizeof(text),
		"IPv%d forwarding is off on this host, so nothing is passed on between containers and other hosts; switch it on: sysctl -w %s=1",
		family, family == 6 ? "net.ipv6.conf.all.forwarding" : "net.ipv4.ip_forward");
	add(p, text);
}

/* One bridge and family that something is exposed on. */
static void look_at(struct plane *p, const struct foreign *f, const char *bridge, const char *network, int family)
{
	char other[16], what[160];

	look_at_forwarding(p, family);
	foreign_default_interface(family, other);
	if (other[0] == '\0')
		(void)snprintf(other, sizeof(other), "%s", ELSEWHERE);
	(void)snprintf(what, sizeof(what), "IPv%d packets between the network %.64s and other hosts", family, network);
	const struct foreign_packet out = { family, bridge, other }, in = { family, other, bridge };
	ask(p, f, &out, bridge, what);
	ask(p, f, &in, bridge, what);
}

static void look_at_frames(struct plane *p, const struct foreign *f)
{
	char what[64];

	for (int family = 4; family <= 6; family += 2) {
		for (const struct plane_net *n = p->nets; n != NULL; n = n->next) {
			const char *bridge = kernel_bridge_name(n->kernel);
			const struct foreign_packet between = { family, bridge, bridge };
			(void)snprintf(what, sizeof(what), "IPv%d frames from container to container", family);
			if (bridges_all_shown(family) == 1)
				ask(p, f, &between, bridge, what);
		}
	}
}

static void look(struct plane *p, const struct foreign *f)
{
	const size_t before = p->n_obstacles;

	p->n_obstacles = 0;
	if (p->frames_shown)
		look_at_frames(p, f);
	p->obstacles_of_frames = p->n_obstacles;
	for (size_t i = 0; i < p->n_exposed; i++) {
		const struct plane_net *net = p->nets;
		while (net != NULL && strcmp(net->name, p->exposed[i].network) != 0)
			net = net->next;
		if (net != NULL)
			look_at(p, f, kernel_bridge_name(net->kernel), net->name, p->exposed[i].addr.addr.family);
		if (p->exposed[i].masquerade && (p->nft == NULL || !nft_translates(p->nft)))
			add(p, "nothing is masqueraded: the kernel has no NAT in nftables; load it: modprobe nft_chain_nat");
	}
	if (before == 0)
		for (size_t i = 0; i < p->n_obstacles; i++)
			log_write(p->cfg.log, LOG_LEVEL_WARNING, "%s", p->obstacles[i]);
}

static uint64_t now_us(void)
{
	struct timespec t;

	(void)clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000000 + (uint64_t)t.tv_nsec / 1000;
}

void plane_look_for_obstacles(struct plane *p)
{
	struct foreign *f = NULL;
	struct err_note note = { "" };
	const uint64_t start = now_us();

	p->obstacles_due = false;
	if (p->reset || (p->n_exposed == 0 && !p->frames_shown && p->n_obstacles == 0)) {
		p->n_obstacles = 0;
		return;
	}
	if (foreign_read(&f, &note) == ERR_OK)
		look(p, f);
	else
		log_write(p->cfg.log, LOG_LEVEL_DEBUG, "%s", note.text); /* what cannot be read is not said to drop */
	foreign_free(f);
	/* With very many rules it is done so seldom that it takes a hundredth of the time. */
	const uint64_t ticks = (now_us() - start) / (PLANE_TICK_MS * 10);
	p->obstacles_rest = ticks < REST_MAX ? (unsigned)ticks : REST_MAX;
}

void obstacles_tick(struct plane *p)
{
	if (p->obstacles_rest > 0)
		p->obstacles_rest--;
	p->obstacles_age++;
	if (p->obstacles_rest > 0 || (p->obstacles_age < LOOK_TICKS && !(p->obstacles_due && p->obstacles_age >= REST_TICKS)))
		return;
	p->obstacles_age = 0;
	plane_look_for_obstacles(p);
}

const char *plane_next_obstacle(const struct plane *p, size_t *it, bool *grave)
{
	if (*it >= p->n_obstacles)
		return NULL;
	*grave = *it < p->obstacles_of_frames;
	return p->obstacles[(*it)++];
}
