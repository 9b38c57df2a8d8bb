/* The host's own addresses on the networks, and what is translated for them. What shall be is kept as a list; what is there is not read: to set an address that is
 * there already changes nothing, and so all of them are set whenever forwarding is applied. */
#include <string.h>

#include "base/mem.h"
#include "router/plane_internal.h"

static struct plane_net *net_of(const struct plane *p, const char *network)
{
	struct plane_net *n = p->nets;

	while (n != NULL && strcmp(n->name, network) != 0)
		n = n->next;
	return n;
}

enum err expose_apply(struct plane *p, struct err_note *note)
{
	struct nft_exposed *v = mem_zalloc(p->n_exposed + 1, sizeof(*v));
	size_t n = 0;
	enum err err = v == NULL ? err_note(note, ERR_NOMEM, "out of memory") : ERR_OK;

	for (size_t i = 0; v != NULL && i < p->n_exposed; i++) {
		const struct plane_exposed *e = &p->exposed[i];
		const struct plane_net *net = net_of(p, e->network);
		if (net == NULL || !net->bridge.there)
			continue; /* one that is lost is made anew, and then we come again */
		/* One that cannot be set keeps none of the others from its place. */
		enum err one = link_address_set(net->kernel, e->addr, err == ERR_OK ? note : NULL);
		err = err == ERR_OK ? one : err;
		v[n++] = (struct nft_exposed){ kernel_bridge_name(net->kernel), e->addr, e->masquerade };
	}
	enum err filtered = v != NULL && p->nft != NULL ? nft_set_exposed(p->nft, v, n, err == ERR_OK ? note : NULL) : ERR_OK;
	mem_free(v);
	return err == ERR_OK ? filtered : err;
}

static bool listed(const struct plane_exposed *list, size_t n, const struct plane_exposed *e)
{
	bool found = false;

	for (size_t i = 0; i < n && !found; i++)
		found = prefix_eq(list[i].addr, e->addr) && strcmp(list[i].network, e->network) == 0;
	return found;
}

enum err plane_set_exposed(struct plane *p, const struct plane_exposed *list, size_t n, struct err_note *note)
{
	struct plane_exposed *copy = mem_zalloc(n + 1, sizeof(*copy));
	enum err err = ERR_OK;

	if (copy == NULL)
		return err_note(note, ERR_NOMEM, "out of memory");
	if (n > 0)
		memcpy(copy, list, n * sizeof(*copy));
	for (size_t i = 0; !p->reset && i < p->n_exposed; i++) {
		const struct plane_net *net = net_of(p, p->exposed[i].network);
		struct err_note why = { "" };
		if (net == NULL || listed(list, n, &p->exposed[i]))
			continue;
		enum err one = link_address_del(net->kernel, p->exposed[i].addr, &why);
		if (one != ERR_OK && err == ERR_OK)
			err = err_note(note, one, "%s", why.text);
	}
	mem_free(p->exposed);
	p->exposed = copy;
	p->n_exposed = n;
	enum err applied = p->reset ? ERR_OK : expose_apply(p, err == ERR_OK ? note : NULL);
	return err != ERR_OK ? err : applied;
}

void plane_set_resolvers(struct plane *p, const struct ip *servers, size_t n, struct hostport names)
{
	struct err_note note = { "" };

	if (p->reset || p->nft == NULL || nft_set_resolvers(p->nft, servers, n, names, &note) == ERR_OK)
		return;
	p->failures++;
	log_write(p->cfg.log, LOG_LEVEL_WARNING, "Docker's own resolver is not answered: %s", note.text);
}
