/* Theory of operation. The plane has parts that come and go on their own: the packet filter (plane_filter.c), the threads of the userspace path, and for each
 * network of this host its devices and forwarding (plane_net.c). plane_apply is told nothing but "look at the core": it opens and removes networks, makes
 * what is lost, then hands out the tables. The userspace path comes first, so that a MAC that moves there finds it ready; filters before
 * forwarding, so that what is let in is known before anybody is sent here.
 *
 * All descriptors to be watched are in one epoll set, so that the loop around us need not know which parts are there. */
#include "router/plane.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>
#include <unistd.h>

#include "base/mem.h"
#include "router/container.h"
#include "router/plane_internal.h"

enum { WATCH_USERSPACE = 1, WATCH_FILTER = 2, WATCH_PROBE = 3, WATCH_BRIDGES = 4, EVENTS_MAX = 8 };

/* --- parts ------------------------------------------------------------------------------------------------------------------------------ */

void plane_part_is(struct plane *p, struct plane_part *part, const char *what, const struct err_note *note, bool broken)
{
	if (note == NULL) {
		if (!part->there && part->why[0] != '\0')
			log_write(p->cfg.log, LOG_LEVEL_INFO, "the %s is there again", what);
		*part = (struct plane_part){ .there = true };
		return;
	}
	if (part->there || part->why[0] == '\0')
		log_write(p->cfg.log, broken ? LOG_LEVEL_ERROR : LOG_LEVEL_WARNING, "there is no %s%s: %s", what,
			broken ? " (tried again every few seconds)" : ", and it is done without", note->text);
	part->there = false;
	part->broken = broken;
	(void)snprintf(part->why, sizeof(part->why), "there is no %s: %s", what, note->text);
}

enum err plane_watch(struct plane *p, int fd, uint64_t which, struct err_note *note)
{
	/* The filter's messages are looked at in the next tick, and not before. */
	struct epoll_event ev = { .events = EPOLLIN | (which == WATCH_FILTER ? EPOLLONESHOT : 0), .data.u64 = which };

	if (epoll_ctl(p->epoll, EPOLL_CTL_MOD, fd, &ev) == 0 || (errno == ENOENT && epoll_ctl(p->epoll, EPOLL_CTL_ADD, fd, &ev) == 0))
		return ERR_OK;
	return err_note(note, ERR_SYSTEM, "cannot watch a descriptor: %s", strerror(errno));
}

int plane_fd(const struct plane *p)
{
	return p->epoll;
}

void plane_poll(struct plane *p)
{
	struct epoll_event ev[EVENTS_MAX];
	int n = epoll_wait(p->epoll, ev, EVENTS_MAX, 0);

	for (int i = 0; i < n; i++) {
		if (ev[i].data.u64 == WATCH_USERSPACE && p->userspace != NULL)
			userspace_poll(p->userspace);
		else if (ev[i].data.u64 == WATCH_PROBE)
			probe_poll(p);
		else if (ev[i].data.u64 == WATCH_BRIDGES)
			guests_poll(p);
		else if (ev[i].data.u64 == WATCH_FILTER)
			p->filter_changed = true;
	}
}

/* --- start and end ------------------------------------------------------------------------------------------------------------------------ */

static void on_datagram(void *ctx, struct hostport from, struct slice bytes)
{
	struct plane *p = ctx;

	p->cfg.datagram(p->cfg.ctx, CORE_VIA_UDP, from, bytes);
}

static void on_wanted(void *ctx, uint64_t peer)
{
	struct plane *p = ctx;

	p->cfg.wanted(p->cfg.ctx, peer);
}

static void on_roamed(void *ctx, uint64_t peer, struct hostport from)
{
	struct plane *p = ctx;

	p->cfg.roamed(p->cfg.ctx, peer, from);
}

static enum err start_userspace(struct plane *p, struct err_note *note)
{
	struct userspace_cfg cfg = { .listen = { .ip = p->cfg.host, .port = p->cfg.udp_port },
		.queues = p->cfg.queues,
		.self = p->cfg.self,
		.ctx = p,
		.datagram = on_datagram,
		.wanted = on_wanted,
		.roamed = on_roamed };
	enum err err = userspace_start(&cfg, &p->userspace, note);

	return err == ERR_OK ? plane_watch(p, userspace_fd(p->userspace), WATCH_USERSPACE, note) : err;
}

struct numbers { /* of networks the kernel has devices of */
	uint16_t v[CORE_NETWORKS_MAX];
	size_t n;
};

static void note_number(unsigned number, void *arg)
{
	struct numbers *f = arg;

	if (f->n < CORE_NETWORKS_MAX)
		f->v[f->n++] = (uint16_t)number;
}

static void say_answers(const struct plane *p)
{
	if (!link_answers(plane_default(p)->kernel))
		log_write(p->cfg.log, LOG_LEVEL_INFO,
			"this kernel cannot answer ARP for containers of other hosts (neigh_suppress): their hosts are asked");
	if (plane_default(p)->capture != NULL && plane_default(p)->capture->lacks != NULL)
		log_write(p->cfg.log, LOG_LEVEL_INFO, "the userspace path does without: %s", plane_default(p)->capture->lacks);
}

enum err plane_open(struct plane **out, const struct plane_cfg *cfg, struct err_note *note)
{
	struct plane *p = mem_zalloc(1, sizeof(*p));
	struct plane_net *first;

	if (p == NULL)
		return err_note(note, ERR_NOMEM, "out of memory");
	p->cfg = *cfg;
	p->mtu = underlay_container_mtu(cfg->host, cfg->mtu);
	p->seen = map_new(cfg->self);
	p->epoll = epoll_create1(EPOLL_CLOEXEC);
	enum err err = ERR_OK;
	if (p->seen == NULL)
		err = err_note(note, ERR_NOMEM, "out of memory");
	else if (p->epoll < 0)
		err = err_note(note, ERR_SYSTEM, "cannot make an epoll descriptor: %s", strerror(errno));
	if (err == ERR_OK)
		err = start_userspace(p, note);
	if (err == ERR_OK)
		err = net_open(p, 0, CORE_NETWORK_DEFAULT, &first, note);
	if (err == ERR_OK)
		err = filter_open(p, note);
	if (err == ERR_OK)
		err = guests_open(p, note);
	if (err != ERR_OK) {
		plane_close(p);
		return err;
	}
	struct numbers there = { 0 };
	p->remains = link_networks(first->kernel, note_number, &there, NULL) != ERR_OK || there.n > 0;
	probe_open(p);
	say_answers(p);
	*out = p;
	return ERR_OK;
}

static void stop_userspace(struct plane *p)
{
	userspace_stop(p->userspace); /* with all networks at once */
	p->userspace = NULL;
}

void plane_close(struct plane *p)
{
	if (p == NULL)
		return;
	stop_userspace(p);
	while (p->nets != NULL)
		net_close(p, p->nets);
	filter_close(p);
	guests_close(p);
	mem_free(p->exposed);
	traffic_free(p);
	if (p->epoll >= 0)
		(void)close(p->epoll);
	mem_free(p);
}

/* The first failure is what is told. */
static void also(enum err *so_far, enum err err)
{
	if (*so_far == ERR_OK)
		*so_far = err;
}

enum err plane_reset(struct plane *p, struct err_note *note)
{
	enum err err = ERR_OK;

	p->reset = true;
	guests_reset(p);
	stop_userspace(p);
	traffic_free(p);
	for (struct plane_net *net = p->nets; net != NULL; net = net->next)
		if (net->number != 0)
			also(&err, net_reset(p, net, err == ERR_OK ? note : NULL));
	also(&err, link_reset_networks(plane_default(p)->kernel, err == ERR_OK ? note : NULL));
	/* the default one last, and with it the interfaces of containers whose bridge is gone */
	also(&err, net_reset(p, p->nets, err == ERR_OK ? note : NULL));
	if (p->nft != NULL)
		also(&err, nft_reset(p->nft, err == ERR_OK ? note : NULL));
	filter_close(p);
	return err;
}

/* --- networks --------------------------------------------------------------------------------------------------------------------------- */

static struct plane_net *net_named(const struct plane *p, const char *name)
{
	for (struct plane_net *n = p->nets; n != NULL; n = n->next)
		if (strcmp(n->name, name) == 0)
			return n;
	return NULL;
}

/* Removed; or its number is another's or another one, since hosts that did not see each other made networks of one number. One that is known no more
 * and has containers here may come back, and its number is nobody's. */
static bool stale(const struct core *core, const struct plane_net *n)
{
	const struct core_endpoint *e;
	struct core_network net;

	if (n->number == 0)
		return false;
	if (core_network(core, n->name, &net))
		return net.number != n->number;
	for (size_t it = 0; core_next_network(core, &it, &net);)
		if (net.number == n->number)
			return true;
	for (size_t it = 0; core_next_local(core, &it, &e);)
		if (strcmp(e->network, n->name) == 0)
			return false;
	return true;
}

static void close_stale(struct plane *p, const struct core *core)
{
	for (struct plane_net *n = p->nets, *next; n != NULL; n = next) {
		struct err_note note = { "" };
		next = n->next;
		if (!stale(core, n))
			continue;
		log_write(p->cfg.log, LOG_LEVEL_INFO, "network %s is not number %u any more: its devices go", n->name, n->number);
		if (net_reset(p, n, &note) != ERR_OK) {
			p->failures++;
			log_write(p->cfg.log, LOG_LEVEL_WARNING, "%s", note.text);
			p->remains = true;
		}
		net_close(p, n);
	}
}

/* Opens a network of the core's unless it is open. */
static enum err open_net(struct plane *p, const struct core_network *net, struct plane_net **out, struct err_note *note)
{
	*out = net_named(p, net->name);
	if (*out != NULL)
		return ERR_OK;
	enum err err = net_open(p, net->number, net->name, out, note);
	if (err == ERR_OK)
		filter_bridges(p);
	return err;
}

enum err plane_need(
	struct plane *p, const struct core *core, const struct core_network *net, struct kernel **out, struct err_note *note)
{
	struct plane_net *n;

	if (p->reset)
		return err_note(note, ERR_CLOSED, "everything of weft has been removed from this host; start weftd again");
	close_stale(p, core);
	enum err err = open_net(p, net, &n, note);
	if (err == ERR_OK)
		*out = n->kernel;
	return err;
}

static void open_needed(struct plane *p, const struct core *core)
{
	const struct core_endpoint *e;

	for (size_t it = 0; core_next_local(core, &it, &e);) {
		struct plane_net *n = net_named(p, e->network);
		struct core_network net;
		struct err_note note = { "" };
		if (n != NULL || !core_network(core, e->network, &net))
			continue;
		if (open_net(p, &net, &n, &note) == ERR_OK) {
			net_rejoin(p, n, core); /* those that were on its former bridge */
		} else {
			p->failures++;
			log_write(p->cfg.log, LOG_LEVEL_WARNING, "network %s is not there for %s: %s", e->network, e->ident, note.text);
		}
	}
}

static void note_one(const struct container_record *r, const char *host_ifname, void *arg)
{
	bool *any = arg;

	(void)r;
	(void)host_ifname;
	*any = true;
}

/* Also when that cannot be seen. */
static bool has_containers(uint16_t number)
{
	const struct kernel_names names = { .network = number };
	struct kernel *k = NULL;
	bool any = false;
	enum err err = kernel_open(&names, &k, NULL);

	if (err == ERR_OK)
		err = container_list(k, note_one, &any, NULL);
	kernel_close(k);
	return any || (err != ERR_OK && err != ERR_NOT_FOUND);
}

static bool is_open(const struct plane *p, uint16_t number)
{
	for (const struct plane_net *open = p->nets; open != NULL; open = open->next)
		if (open->number == number)
			return true;
	return false;
}

/* Devices of networks that were removed, or whose last container went, while no daemon ran here. Nobody else would remove them: what is removed later is
 * closed, and these are not open. */
static void remove_remains(struct plane *p)
{
	struct numbers there = { 0 };
	struct err_note note = { "" };
	enum err err = link_networks(plane_default(p)->kernel, note_number, &there, &note);

	p->remains = err != ERR_OK;
	for (size_t i = 0; i < there.n; i++) {
		if (is_open(p, there.v[i]))
			continue;
		if (has_containers(there.v[i])) /* of a network that nobody has told us of yet */
			p->remains = true;
		else
			also(&err, link_reset_network(there.v[i], err == ERR_OK ? &note : NULL));
	}
	p->remains = p->remains || err != ERR_OK;
	if (err != ERR_OK) {
		p->failures++;
		log_write(p->cfg.log, LOG_LEVEL_WARNING, "devices of former networks remain: %s", note.text);
	}
}

void plane_adopt(struct plane *p, const struct core *core)
{
	struct numbers there = { 0 };
	struct core_network net;
	struct plane_net *opened;

	if (link_networks(plane_default(p)->kernel, note_number, &there, NULL) != ERR_OK)
		return; /* plane_apply opens those that are needed */
	for (size_t it = 0; core_next_network(core, &it, &net);)
		for (size_t i = 0; i < there.n; i++)
			if (there.v[i] == net.number && has_containers(net.number) && open_net(p, &net, &opened, NULL) != ERR_OK)
				p->failures++;
	open_needed(p, core);
}

/* --- applying --------------------------------------------------------------------------------------------------------------------------- */

static bool probes_lost(const struct plane *p)
{
	return plane_default(p)->fast.there && p->probe == NULL;
}

void plane_apply_table(struct plane *p, const struct core *core)
{
	enum err err = p->reset ? ERR_OK : table_set(p, core);

	if (err == ERR_OK)
		return;
	p->failures++;
	log_write(p->cfg.log, LOG_LEVEL_WARNING, "the userspace path keeps its old table: %s", err_text(err));
}

void plane_apply(struct plane *p, const struct core *core, uint64_t now_ms)
{
	if (p->reset)
		return;
	if (p->inherited_until == 0)
		p->inherited_until = now_ms + PLANE_INHERITED_MS;
	bool settled = now_ms >= p->inherited_until;
	close_stale(p, core);
	open_needed(p, core);
	for (struct plane_net *n = p->nets; n != NULL; n = n->next)
		if (net_lost(p, n))
			net_mend(p, n, core);
	if (probes_lost(p))
		probe_open(p);
	struct err_note note = { "" };
	if (expose_apply(p, &note) != ERR_OK) {
		p->failures++;
		log_write(p->cfg.log, LOG_LEVEL_WARNING, "the host is not exposed as it should be: %s", note.text);
	}
	plane_apply_table(p, core);
	filter_apply(p, core, settled);
	for (struct plane_net *n = p->nets; n != NULL; n = n->next)
		net_apply(p, n, core, settled);
	if (settled && p->remains)
		remove_remains(p);
}

bool plane_bridge_lost(const struct plane *p)
{
	bool lost = false;

	for (const struct plane_net *n = p->nets; !p->reset && n != NULL && !lost; n = n->next)
		lost = net_bridge_lost(p, n);
	return lost;
}

bool plane_unsettled(const struct plane *p)
{
	bool unsettled = !p->reset && (p->remains || p->filter_keeps || probes_lost(p));

	for (const struct plane_net *n = p->nets; !p->reset && n != NULL && !unsettled; n = n->next)
		unsettled = net_inherited(n) > 0 || net_lost(p, n);
	return unsettled;
}

/* --- reading ---------------------------------------------------------------------------------------------------------------------------- */

size_t plane_failures(const struct plane *p)
{
	return p->failures;
}

struct kernel *plane_kernel(struct plane *p)
{
	return plane_default(p)->kernel;
}

struct userspace *plane_userspace(const struct plane *p)
{
	return p->userspace;
}

const struct nft *plane_nft(const struct plane *p)
{
	return p->nft;
}

uint32_t plane_container_mtu(const struct plane *p)
{
	return p->mtu;
}

bool plane_fast(const struct plane *p, const char **why)
{
	const struct plane_part *fast = &plane_default(p)->fast;

	if (!p->cfg.fastdp)
		*why = "switched off (--no-fastdp)";
	else if (!fast->there)
		*why = fast->why;
	else
		*why = p->probe == NULL ? "it cannot be probed" : "";
	return **why == '\0';
}

bool plane_captures(const struct plane *p)
{
	return plane_default(p)->userspace.there;
}

bool plane_next_net(const struct plane *p, size_t *it, struct plane_net_view *out)
{
	const struct plane_net *n = p->nets;

	for (size_t i = 0; i < *it && n != NULL; i++)
		n = n->next;
	if (n == NULL)
		return false;
	++*it;
	*out = (struct plane_net_view){ .number = n->number,
		.name = n->name,
		.capture = n->capture != NULL ? n->capture->ops->name : NULL,
		.kernel = n->kernel,
		.fast = n->fast.there };
	return true;
}

static const char *part_trouble(const struct plane_part *part, bool *broken)
{
	*broken = part->broken;
	return !part->there && part->why[0] != '\0' ? part->why : NULL;
}

/* The i-th thing that can be wrong; NULL: it is not. *end: there are not so many. */
static const char *trouble(const struct plane *p, size_t i, bool *broken, bool *end)
{
	enum { FILTER, FILTER_LACKS, OF_THE_WHOLE };
	enum { BRIDGE, FAST, USERSPACE, CAPTURE_LACKS, OF_EACH };
	const struct plane_net *n = p->nets;

	*broken = false;
	if (i == FILTER)
		return part_trouble(&p->filter, broken);
	if (i == FILTER_LACKS)
		return p->filter_lacks;
	for (i -= OF_THE_WHOLE; i >= OF_EACH && n != NULL; i -= OF_EACH)
		n = n->next;
	*end = n == NULL;
	if (n == NULL)
		return NULL;
	if (i == CAPTURE_LACKS)
		return n->capture != NULL && n->number == 0 ? n->capture->lacks : NULL;
	return part_trouble(i == BRIDGE ? &n->bridge : i == FAST ? &n->fast : &n->userspace, broken);
}

const char *plane_next_trouble(const struct plane *p, size_t *it, bool *broken)
{
	const char *text = NULL;
	bool end = p->reset;

	while (text == NULL && !end)
		text = trouble(p, (*it)++, broken, &end);
	return text;
}
