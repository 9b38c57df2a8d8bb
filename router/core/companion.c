/* A container's IPv6 address goes with its IPv4 one: the prefix, and in it the same offset that the IPv4 address has in the range. What no two containers
 * have in the one family they have not in the other, so that both come of one agreement, and nothing is agreed on for IPv6.
 *
 *   range   10.32.0.0/12   offset 4:  10.32.0.4/12    subnet 10.33.1.0/24   offset 65796:  10.33.1.4/24
 *   prefix  fd00::/64                 fd00::4/108     (as long a part of     it as)        fd00::1:104/120
 *
 * The prefix is that of the network (subnet6), or else --ipalloc-range6. A subnet6 too small for the whole range has the offset in the network's own IPv4
 * subnet. The address is as long as its part of the prefix is that holds the companions of its IPv4 subnet, so that subnets are apart in both families;
 * with a subnet6 it is that one's length. */
#include <assert.h>

#include "router/core/internal.h"

/* Has every address of base a companion in prefix? */
static bool holds_all(struct prefix base, struct prefix prefix)
{
	return prefix.addr.family == 6 && base.addr.family == 4 && prefix.len + 32u - base.len <= 128;
}

static struct prefix range_of(const struct core *c)
{
	return (struct prefix){ ip_v4(c->cfg.universe.first), c->cfg.universe.len };
}

/* By which base and prefix the companions of a network are made; false: it has none. */
static bool pair_of(const struct core *c, const char *network, struct prefix *base, struct prefix *prefix, bool *whole)
{
	struct core_network n;
	bool known = core_network(c, network, &n);

	*base = range_of(c);
	*whole = known && n.subnet6.addr.family == 6;
	*prefix = *whole ? n.subnet6 : c->cfg.range6;
	if (*whole && !holds_all(*base, *prefix))
		*base = n.subnet;
	return c->ipam != NULL && holds_all(*base, *prefix);
}

bool core_companion(const struct core *c, const char *network, struct prefix v4, struct prefix *out)
{
	struct prefix base, prefix;
	bool whole;

	if (v4.addr.family != 4 || !pair_of(c, network, &base, &prefix, &whole) || !prefix_contains(base, v4.addr))
		return false;
	uint32_t offset = ip_to_v4(v4.addr) - ip_to_v4(base.addr);
	*out = prefix;
	for (unsigned i = 0; i < 4; i++)
		out->addr.b[15 - i] |= (uint8_t)(offset >> 8 * i); /* of the prefix these bits are clear */
	if (!whole && v4.len + 96u > prefix.len)
		out->len = (uint8_t)(v4.len + 96);
	return true;
}

bool core_companion_of(const struct core *c, const char *network, struct ip v6, struct ip *v4)
{
	struct prefix base, prefix;
	bool whole;
	uint32_t offset = 0;

	if (v6.family != 6 || !pair_of(c, network, &base, &prefix, &whole) || !prefix_contains(prefix, v6))
		return false;
	struct prefix room = { v6, (uint8_t)(96 + base.len) };
	if (!ip_eq(prefix_network(room).addr, prefix.addr))
		return false; /* beyond what the base has */
	for (unsigned i = 0; i < 4; i++)
		offset = offset << 8 | v6.b[12 + i];
	offset &= base.len == 0 ? UINT32_MAX : (UINT32_C(1) << (32 - base.len)) - 1;
	*v4 = ip_v4(ip_to_v4(base.addr) + offset);
	return true;
}

enum err companion_check(const struct core *c, const struct core_network *want, struct err_note *note)
{
	char a[PREFIX_TEXT], b[PREFIX_TEXT];
	struct prefix base = want->subnet.addr.family != 0 ? want->subnet : range_of(c);

	if (want->subnet6.addr.family == 0 || c->ipam == NULL || holds_all(base, want->subnet6))
		return ERR_OK;
	return err_note(note, ERR_RANGE, "the subnet %s is too small: every IPv4 address of %s needs one in it; give at most /%u",
		prefix_format(want->subnet6, a), prefix_format(base, b), 96u + base.len);
}
