/* What belongs together, compared. Theory of operation. Each fact is looked up from the other side: leases by address, containers by ident and by address,
 * interfaces by ident. What has no counterpart is a finding, unless it may be so for a reason that the facts name.
 *
 * Who has a lease without a container? Whoever asked by the API (Weave's clients do), so that is worth a note only; but idents that weft's own parts make
 * (docker:, dockerip:, cni:, pid:, netns:, weft:) have containers, and a lease of theirs that has none is a leak. */
#include "router/verify.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "base/map.h"

enum { TEXT_MAX = 640, KEY_MAX = 1 + 16 + 1 + CORE_NETWORK_MAX };

struct comparing {
	const struct verify_facts *f;
	verify_say say;
	void *ctx;
	struct map *leases;   /* address -> struct verify_lease */
	struct map *here;     /* ident -> struct verify_container of this host */
	struct map *by_addr;  /* address ‖ network -> struct verify_container: the first one in reach that has it */
	struct map *by_mac;   /* MAC ‖ network -> the same */
	struct map *users;    /* address -> struct verify_container of this host */
	struct map *names;    /* interface's name -> struct verify_interface */
	struct map *reserved; /* address -> itself */
	struct map *known;    /* ident -> itself */
	struct map *ports;    /* ident -> struct verify_interface */
	struct map *docker;   /* EndpointID, and container's id -> struct docker_listed */
};

static void PRINTF_LIKE(5, 6)
	tell(const struct comparing *c, bool note, const char *check, const char *todo, const char *fmt, ...)
{
	char text[TEXT_MAX];
	va_list args;

	va_start(args, fmt);
	(void)vsnprintf(text, sizeof(text), fmt, args);
	va_end(args);
	c->say(c->ctx, note, check, text, todo);
}
#define FOUND(c, check, todo, ...) tell(c, false, check, todo, __VA_ARGS__)
#define NOTED(c, check, todo, ...) tell(c, true, check, todo, __VA_ARGS__)

/* --- keys and kinds ---------------------------------------------------------------------------------------------------------------------- */

static struct slice ip_key(struct ip ip, const char *network, uint8_t out[KEY_MAX])
{
	size_t n = strlen(network);

	out[0] = ip.family;
	memcpy(out + 1, ip.b, 16);
	memcpy(out + 17, network, n < KEY_MAX - 17 ? n : KEY_MAX - 17);
	return slice_of(out, 17 + (n < KEY_MAX - 17 ? n : KEY_MAX - 17));
}

static struct slice mac_key(struct mac mac, const char *network, uint8_t out[KEY_MAX])
{
	struct ip as_ip = { .family = 0 };

	memcpy(as_ip.b, mac.b, 6);
	return ip_key(as_ip, network, out);
}

static bool begins(const char *ident, const char *with)
{
	return strncmp(ident, with, strlen(with)) == 0;
}

/* Made by weft's own parts for something that is attached. */
static bool has_container(const char *ident)
{
	return begins(ident, "docker:") || begins(ident, "dockerip:") || begins(ident, "cni:") || begins(ident, "pid:") ||
		begins(ident, "netns:") || begins(ident, "weft:");
}

static bool is_docker_id(const char *ident)
{
	return strlen(ident) == 64 && strspn(ident, "0123456789abcdef") == 64;
}

/* As people see containers: Docker's long ids are cut. */
static const char *shown(const char *ident, char out[CORE_IDENT_MAX + 1])
{
	size_t head = begins(ident, "docker:") ? strlen("docker:") : 0;

	(void)snprintf(out, CORE_IDENT_MAX + 1, "%s", ident);
	if (is_docker_id(ident + head))
		out[head + 12] = '\0';
	return out;
}

/* Does the lease of one ident serve the container of another? Docker asks for an address before it says for whom. */
static bool serves(const char *lease, const char *container)
{
	return strcmp(lease, container) == 0 || (begins(lease, "dockerip:") && begins(container, "docker:"));
}

static bool has_address(const struct core_endpoint *e, struct ip ip)
{
	for (size_t i = 0; i < e->n_addrs; i++)
		if (ip_eq(e->addrs[i].addr, ip))
			return true;
	return false;
}

/* --- indices -------------------------------------------------------------------------------------------------------------------------------- */

static enum err keep_first(struct map *m, struct slice key, const void *value)
{
	return map_get(m, key) != NULL ? ERR_OK : map_put(m, key, (void *)(uintptr_t)value, NULL);
}

static enum err index_containers(struct comparing *c)
{
	uint8_t key[KEY_MAX];
	enum err err = ERR_OK;

	/* Our own first: theirs is what is right when several say they have an address. */
	for (int round = 0; round < 2; round++)
		for (size_t i = 0; err == ERR_OK && i < c->f->n_containers; i++) {
			const struct verify_container *v = &c->f->containers[i];
			if (v->owner != (round == 0 ? VERIFY_PEER_HERE : VERIFY_PEER_REACHABLE))
				continue;
			if (round == 0)
				err = keep_first(c->here, slice_str(v->e->ident), v);
			if (err == ERR_OK)
				err = keep_first(c->by_mac, mac_key(v->e->mac, v->e->network, key), v);
			for (size_t a = 0; err == ERR_OK && a < v->e->n_addrs; a++) {
				err = keep_first(c->by_addr, ip_key(v->e->addrs[a].addr, v->e->network, key), v);
				if (err == ERR_OK && round == 0)
					err = keep_first(c->users, ip_key(v->e->addrs[a].addr, "", key), v);
			}
		}
	return err;
}

enum { INDICES = 10 };

static struct map **index_at(struct comparing *c, size_t i)
{
	struct map **const all[INDICES] = { &c->leases, &c->here, &c->by_addr, &c->by_mac, &c->users, &c->names, &c->ports,
		&c->docker, &c->reserved, &c->known };

	return all[i];
}

static enum err make_indices(struct comparing *c)
{
	const struct verify_facts *f = c->f;
	uint8_t key[KEY_MAX];

	for (size_t i = 0; i < INDICES; i++)
		if ((*index_at(c, i) = map_new(i)) == NULL)
			return ERR_NOMEM;
	enum err err = index_containers(c);
	for (size_t i = 0; err == ERR_OK && i < f->n_leases; i++)
		err = keep_first(c->leases, ip_key(f->leases[i].addr.addr, "", key), &f->leases[i]);
	for (size_t i = 0; err == ERR_OK && i < f->n_reserved; i++)
		err = keep_first(c->reserved, ip_key(f->reserved[i], "", key), &f->reserved[i]);
	for (size_t i = 0; err == ERR_OK && i < f->n_known; i++)
		err = keep_first(c->known, slice_str(f->known[i]), f->known[i]);
	for (size_t i = 0; err == ERR_OK && i < f->n_interfaces; i++) {
		err = keep_first(c->names, slice_str(f->interfaces[i].name), &f->interfaces[i]);
		if (err == ERR_OK && f->interfaces[i].readable)
			err = keep_first(c->ports, slice_str(f->interfaces[i].record.ident), &f->interfaces[i]);
	}
	for (size_t i = 0; err == ERR_OK && i < f->n_docker; i++) {
		if (f->docker_v[i].endpoint[0] != '\0')
			err = keep_first(c->docker, slice_str(f->docker_v[i].endpoint), &f->docker_v[i]);
		if (err == ERR_OK)
			err = keep_first(c->docker, slice_str(f->docker_v[i].id), &f->docker_v[i]);
	}
	return err;
}

/* --- addresses ------------------------------------------------------------------------------------------------------------------------------ */

static void look_at_lease(const struct comparing *c, const struct verify_lease *l)
{
	uint8_t key[KEY_MAX];
	char addr[IP_TEXT], a[CORE_IDENT_MAX + 1];
	const struct verify_container *v = map_get(c->here, slice_str(l->ident));

	if (v != NULL && has_address(v->e, l->addr.addr))
		return;
	(void)ip_format(l->addr.addr, addr);
	const struct verify_container *user = map_get(c->users, ip_key(l->addr.addr, "", key));
	if (user != NULL && serves(l->ident, user->e->ident))
		return;
	if (map_get(c->reserved, ip_key(l->addr.addr, "", key)) != NULL)
		return;
	if (user != NULL) /* told as the container's */
		return;
	if (v != NULL)
		FOUND(c, "address", "give it back: DELETE /ip/ID/ADDRESS of the API, see weftd(8)",
			"%s is held for %s, which does not use it", addr, shown(l->ident, a));
	else if (l->waits)
		NOTED(c, "address", "nothing: it is free again in about a minute, unless Docker makes use of it",
			"%s is held for %s, which no container has", addr, shown(l->ident, a));
	else if (has_container(l->ident))
		FOUND(c, "address", "give it back: DELETE /ip/ID/ADDRESS of the API, see weftd(8)",
			"%s is held for %s, and there is no such container", addr, shown(l->ident, a));
	else
		NOTED(c, "address", "nothing, if somebody asked for it by the API; else DELETE /ip/ID/ADDRESS",
			"%s is held for %s, which is not attached", addr, shown(l->ident, a));
}

static const char *waits_for(const struct comparing *c, const struct core_endpoint *e, struct ip ip)
{
	for (size_t i = 0; i < c->f->n_claims; i++)
		if (ip_eq(c->f->claims[i].addr.addr, ip) && serves(c->f->claims[i].ident, e->ident))
			return c->f->claims[i].ident;
	return NULL;
}

static void look_at_address(const struct comparing *c, const struct core_endpoint *e, struct ip ip)
{
	uint8_t key[KEY_MAX];
	char addr[IP_TEXT], a[CORE_IDENT_MAX + 1], b[CORE_IDENT_MAX + 1];

	if (!c->f->ipam || ip.family != 4 || !prefix_contains(c->f->range, ip))
		return;
	const struct verify_lease *l = map_get(c->leases, ip_key(ip, "", key));
	if (l != NULL && serves(l->ident, e->ident))
		return;
	(void)ip_format(ip, addr);
	if (l != NULL)
		FOUND(c, "address", "detach one of the two, and attach it again", "%s is used by %s and held for %s", addr,
			shown(e->ident, a), shown(l->ident, b));
	else if (waits_for(c, e, ip) != NULL)
		NOTED(c, "address", "'weft status ipam' says what it waits for", "%s of %s is claimed, and that waits for another host",
			addr, shown(e->ident, a));
	else
		FOUND(c, "address", "detach the container and attach it again",
			"%s is used by %s and held for nobody: it may be given to another", addr, shown(e->ident, a));
}

/* Two that say they have one address, or one MAC, on one network. */
static void look_for_twins(const struct comparing *c, const struct verify_container *v)
{
	uint8_t key[KEY_MAX];
	char addr[IP_TEXT], mac[MAC_TEXT], a[CORE_IDENT_MAX + 1], b[CORE_IDENT_MAX + 1];
	const struct verify_container *other = map_get(c->by_mac, mac_key(v->e->mac, v->e->network, key));

	if (v->owner != VERIFY_PEER_HERE && v->owner != VERIFY_PEER_REACHABLE)
		return;
	if (other != NULL && other != v)
		FOUND(c, "container", "give one of them another MAC (--mac)",
			"%s has two containers on network %s: %s on %s and %s on %s", mac_format(v->e->mac, mac), v->e->network,
			shown(other->e->ident, a), other->host, shown(v->e->ident, b), v->host);
	for (size_t i = 0; i < v->e->n_addrs; i++) {
		other = map_get(c->by_addr, ip_key(v->e->addrs[i].addr, v->e->network, key));
		if (other != NULL && other != v)
			FOUND(c, "container", "detach one of the two, and attach it again",
				"%s has two containers on network %s: %s on %s and %s on %s", ip_format(v->e->addrs[i].addr, addr), v->e->network,
				shown(other->e->ident, a), other->host, shown(v->e->ident, b), v->host);
	}
}

/* --- containers ------------------------------------------------------------------------------------------------------------------------------ */

static bool same_addresses(const struct core_endpoint *e, const struct container_record *r)
{
	if (e->n_addrs != r->n_addrs)
		return false;
	for (size_t i = 0; i < r->n_addrs; i++)
		if (!has_address(e, r->addrs[i].addr))
			return false;
	return true;
}

static void look_at_docker(const struct comparing *c, const struct verify_container *v)
{
	char a[CORE_IDENT_MAX + 1];
	bool endpoint = begins(v->e->ident, "docker:");

	if (!c->f->docker || (!endpoint && !is_docker_id(v->e->ident)) || v->absent)
		return;
	if (map_get(c->docker, slice_str(v->e->ident + (endpoint ? strlen("docker:") : 0))) != NULL)
		return;
	if (endpoint)
		FOUND(c, "docker", "restart weftd: it then compares its records with Docker's",
			"%s is attached, and no running container of Docker has this endpoint", shown(v->e->ident, a));
	else
		FOUND(c, "docker", "weft detach it", "%s is attached, and Docker runs no such container", shown(v->e->ident, a));
}

/* What dockerd made and the rest of weft has, both ways. */
static void look_at_plugin(const struct comparing *c)
{
	char a[CORE_IDENT_MAX + 1];

	for (size_t i = 0; c->f->plugin && i < c->f->n_known; i++)
		if (map_get(c->here, slice_str(c->f->known[i])) == NULL)
			FOUND(c, "docker", "docker rm -f the container, and start it anew", "dockerd was given %s, and it is not attached",
				shown(c->f->known[i], a));
	for (size_t i = 0; c->f->plugin && i < c->f->n_containers; i++) {
		const struct verify_container *v = &c->f->containers[i];
		if (v->owner == VERIFY_PEER_HERE && begins(v->e->ident, "docker:") && map_get(c->known, slice_str(v->e->ident)) == NULL)
			FOUND(c, "docker", "weft detach it", "%s is attached, and the plugin knows nothing of it", shown(v->e->ident, a));
	}
}

static void look_at_container(const struct comparing *c, const struct verify_container *v)
{
	const struct core_endpoint *e = v->e;
	const struct verify_interface *i = map_get(c->ports, slice_str(e->ident));
	char a[CORE_IDENT_MAX + 1];

	look_for_twins(c, v);
	if (v->owner == VERIFY_PEER_UNKNOWN)
		FOUND(c, "container", "weft rmpeer that host", "%s is said to be on %s, a host that nobody knows", shown(e->ident, a),
			v->host);
	if (v->owner != VERIFY_PEER_HERE)
		return;
	for (size_t n = 0; n < e->n_addrs; n++)
		look_at_address(c, e, e->addrs[n].addr);
	look_at_docker(c, v);
	if (v->network_gone)
		FOUND(c, "container", "detach it; or make the network again: weft network create",
			"%s is on network %s, which does not exist", shown(e->ident, a), e->network);
	if (begins(e->ident, "weft:"))
		return; /* the host itself */
	if (i == NULL && v->absent)
		NOTED(c, "interface", "nothing: it comes back within 30 s, or its addresses are free then", "%s has lost its interface",
			shown(e->ident, a));
	else if (i == NULL)
		FOUND(c, "interface", "detach it, and attach it again", "%s has no interface", shown(e->ident, a));
	else if (!mac_eq(i->record.mac, e->mac) || !same_addresses(e, &i->record))
		FOUND(c, "interface", "detach it, and attach it again", "%s has other addresses than the record on its interface %s says",
			shown(e->ident, a), i->name);
	else if (i->network != NULL && strcmp(i->network, e->network) != 0)
		FOUND(c, "interface", "detach it, and attach it again", "%s of %s is on the bridge of network %s instead of %s", i->name,
			shown(e->ident, a), i->network, e->network);
}

static void look_at_interface(const struct comparing *c, const struct verify_interface *i)
{
	char a[CORE_IDENT_MAX + 1], todo[64];

	(void)snprintf(todo, sizeof(todo), "ip link del %s", i->name);
	if (!i->readable)
		FOUND(c, "interface", todo, "%s is an interface of weft's, and nothing says for whom", i->name);
	else if (map_get(c->here, slice_str(i->record.ident)) == NULL)
		FOUND(c, "interface", todo, "%s is for %s, which is not attached", i->name, shown(i->record.ident, a));
	else if (map_get(c->ports, slice_str(i->record.ident)) != i)
		FOUND(c, "interface", todo, "%s is a second interface for %s", i->name, shown(i->record.ident, a));
	else if (i->network == NULL)
		FOUND(c, "interface", "restart weftd: it puts it back", "%s of %s is on no bridge", i->name, shown(i->record.ident, a));
}

/* --- names ------------------------------------------------------------------------------------------------------------------------------------ */

static bool leased_to(const struct comparing *c, const char *ident, struct ip ip)
{
	uint8_t key[KEY_MAX];
	const struct verify_lease *l = map_get(c->leases, ip_key(ip, "", key));

	return l != NULL && serves(l->ident, ident);
}

static void look_at_name(const struct comparing *c, const struct verify_name *n)
{
	char addr[IP_TEXT], a[CORE_IDENT_MAX + 1];
	const struct verify_container *v = map_get(c->here, slice_str(n->ident));

	if (strcmp(n->ident, CORE_IDENT_EXTERN) == 0 || (v != NULL && has_address(v->e, n->addr)) || leased_to(c, n->ident, n->addr))
		return;
	(void)ip_format(n->addr, addr);
	if (v != NULL)
		FOUND(c, "name", "weft dns-remove it", "%s of %s is answered with %s, which the container does not have", n->fqdn,
			shown(n->ident, a), addr);
	else if (has_container(n->ident) || (c->f->range.addr.family == n->addr.family && prefix_contains(c->f->range, n->addr)))
		FOUND(
			c, "name", "weft dns-remove it", "%s is answered with %s, and %s is not attached", n->fqdn, addr, shown(n->ident, a));
	else
		NOTED(c, "name", "nothing, if it was put by hand", "%s is answered with %s for %s, which is not attached", n->fqdn, addr,
			shown(n->ident, a));
}

bool verify_of_docker(const struct verify_facts *f)
{
	for (size_t i = 0; i < f->n_containers; i++)
		if (f->containers[i].owner == VERIFY_PEER_HERE &&
			(begins(f->containers[i].e->ident, "docker:") || is_docker_id(f->containers[i].e->ident)))
			return true;
	return false;
}

/* --- the kernel ------------------------------------------------------------------------------------------------------------------------------ */

/* One that is away for a moment keeps its rules. */
static bool of_absent(const struct comparing *c, const char *port)
{
	char name[NETLINK_NAME_MAX + 1];

	for (size_t i = 0; i < c->f->n_containers; i++) {
		const struct verify_container *v = &c->f->containers[i];
		if (v->owner != VERIFY_PEER_HERE || !v->absent)
			continue;
		container_host_name(v->e->ident, 0, name);
		if (strcmp(name, port) == 0)
			return true;
	}
	return false;
}

static void look_at_kernel(const struct comparing *c)
{
	const struct verify_facts *f = c->f;
	char addr[IP_TEXT], mac[MAC_TEXT], todo[64];

	for (size_t i = 0; i < f->n_interfaces; i++)
		look_at_interface(c, &f->interfaces[i]);
	for (size_t i = 0; i < f->n_devices; i++) {
		(void)snprintf(todo, sizeof(todo), "ip link del %s", f->devices[i].name);
		if (!f->devices[i].known)
			FOUND(c, "device", todo, "%s belongs to a network that does not exist", f->devices[i].name);
	}
	for (size_t i = 0; i < f->n_forwards; i++)
		if (!f->forwards[i].wanted)
			FOUND(c, "forwarding", "restart weftd: it makes the tables right",
				"frames for %s of network %s are not led to where that container is", mac_format(f->forwards[i].mac, mac),
				f->forwards[i].network);
	for (size_t i = 0; i < f->n_neighs; i++)
		if (!f->neighs[i].wanted)
			FOUND(c, "forwarding", "restart weftd: it makes the tables right",
				"%s of network %s is answered with %s, which nobody has there", ip_format(f->neighs[i].ip, addr),
				f->neighs[i].network, mac_format(f->neighs[i].mac, mac));
	for (size_t i = 0; i < f->n_probes; i++)
		FOUND(c, "forwarding", "restart weftd: it makes the tables right",
			"the VXLAN device leads to %s, and no host is known there", ip_format(f->probes[i], addr));
	for (size_t i = 0; i < f->n_ports; i++)
		if (map_get(c->names, slice_str(f->ports[i])) == NULL && !of_absent(c, f->ports[i]))
			FOUND(c, "filter", "restart weftd: it makes the tables right",
				"the packet filter has rules for %s, and there is no such interface", f->ports[i]);
	if (f->filter != NULL)
		FOUND(c, "filter", "it is mended by itself; if not, restart weftd", "%s", f->filter);
	if (f->trouble != NULL)
		FOUND(c, "device", "it is tried again by itself; 'weft status' says more", "%s", f->trouble);
}

/* --- other hosts ------------------------------------------------------------------------------------------------------------------------------ */

static const char *channels_text(uint16_t differs, char out[96])
{
	static const char *const names[] = { [CHANNEL_PEERS] = "hosts",
		[CHANNEL_RING] = "ring",
		[CHANNEL_PAXOS] = "votes",
		[CHANNEL_USAGE] = "usage",
		[CHANNEL_NAMES] = "names",
		[CHANNEL_ENDPOINTS] = "containers",
		[CHANNEL_NETWORKS] = "networks" };
	size_t n = 0;

	out[0] = '\0';
	for (size_t id = CHANNEL_PEERS; id <= CHANNEL_NETWORKS; id++)
		if (differs & (1u << id))
			n += (size_t)snprintf(out + n, 96 - n, "%s%s", n > 0 ? ", " : "", names[id]);
	return out;
}

static void look_at_others(const struct comparing *c)
{
	char text[96];

	for (size_t i = 0; i < c->f->n_digests; i++) {
		const struct verify_digest *d = &c->f->digests[i];
		if (!d->answered)
			FOUND(c, "state", "look at that host's log and version", "%s does not say what it knows", d->host);
		else if (d->differs != 0)
			FOUND(c, "state", "verify again in half a minute; if it stays, compare 'weft report' of both",
				"%s knows something else of: %s", d->host, channels_text(d->differs, text));
	}
}

enum err verify_compare(const struct verify_facts *f, verify_say say, void *ctx)
{
	struct comparing c = { .f = f, .say = say, .ctx = ctx };
	enum err err = make_indices(&c);

	if (err == ERR_OK) {
		if (f->ring != NULL)
			FOUND(&c, "ring", "'weft status ipam' shows who owns what; give what nobody owns to this host by weft rmpeer", "%s",
				f->ring);
		if (f->conflict != NULL)
			FOUND(&c, "ring", "see 'weft status ipam'", "%s", f->conflict);
		for (size_t i = 0; i < f->n_leases; i++)
			look_at_lease(&c, &f->leases[i]);
		for (size_t i = 0; i < f->n_containers; i++)
			look_at_container(&c, &f->containers[i]);
		look_at_plugin(&c);
		for (size_t i = 0; i < f->n_names; i++)
			look_at_name(&c, &f->names_v[i]);
		look_at_kernel(&c);
		look_at_others(&c);
	}
	for (size_t i = 0; i < INDICES; i++)
		map_free(*index_at(&c, i));
	return err;
}
