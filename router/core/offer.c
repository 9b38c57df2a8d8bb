/* What a host says of its data plane: TLV in peer_info.extra, u8 type, lv value; unknown types are skipped. docs/wire.md draws it. */
#include <string.h>

#include "router/core/internal.h"

enum offer_type {
	OFFER_VXLAN = 1,         /* u16 port */
	OFFER_USERSPACE = 2,     /* u16 port */
	OFFER_PASSWORD = 3,      /* empty */
	OFFER_RANGE = 4,         /* ip, u8 prefix length */
	OFFER_VXLAN_OVER_V6 = 5, /* empty */
	OFFER_TRUSTED = 6,       /* ip, u8 prefix length; repeated */
	OFFER_SEALED_ONLY = 7,   /* empty */
	OFFER_MTU = 8,           /* u16 */
	OFFER_RANGE6 = 9,        /* ip, u8 prefix length */
};
enum { OFFER_FIELDS_MAX = 48, OFFER_FIELD_MAX = 64 };
static_assert(CORE_TRUSTED_MAX * 20 + 60 <= PATH_OFFER_BYTES, "the longest offer fits");

static void field_u16(struct wbuf *w, enum offer_type type, uint16_t v)
{
	wbuf_u8(w, (uint8_t)type);
	wbuf_varint(w, 2);
	wbuf_u16(w, v);
}

static void field_flag(struct wbuf *w, enum offer_type type, bool on)
{
	if (!on)
		return;
	wbuf_u8(w, (uint8_t)type);
	wbuf_varint(w, 0);
}

static void field_prefix(struct wbuf *w, enum offer_type type, struct prefix p)
{
	if (p.addr.family == 0)
		return;
	wbuf_u8(w, (uint8_t)type);
	wbuf_varint(w, p.addr.family == 4 ? 6 : 18);
	wbuf_ip(w, p.addr);
	wbuf_u8(w, p.len);
}

void path_offer_encode(struct wbuf *w, const struct path_offer *o)
{
	if (o->vxlan_port != 0)
		field_u16(w, OFFER_VXLAN, o->vxlan_port);
	if (o->userspace_port != 0)
		field_u16(w, OFFER_USERSPACE, o->userspace_port);
	field_flag(w, OFFER_PASSWORD, o->password);
	field_prefix(w, OFFER_RANGE, o->range);
	field_flag(w, OFFER_VXLAN_OVER_V6, o->vxlan_over_v6);
	for (size_t i = 0; i < o->n_trusted && i < CORE_TRUSTED_MAX; i++)
		field_prefix(w, OFFER_TRUSTED, o->trusted[i]);
	field_flag(w, OFFER_SEALED_ONLY, o->sealed_only);
	if (o->mtu != 0)
		field_u16(w, OFFER_MTU, o->mtu);
	field_prefix(w, OFFER_RANGE6, o->range6);
}

static struct prefix read_prefix(struct rbuf *r)
{
	struct prefix p = { .addr = rbuf_ip(r) };

	p.len = rbuf_u8(r);
	if (p.addr.family == 0 || p.len > ip_bits(p.addr))
		rbuf_fail(r);
	return p;
}

/* Subnets beyond those we have room for are not trusted, which is the safe side. */
static void read_field(uint8_t type, struct rbuf *f, struct path_offer *o)
{
	struct prefix p;

	switch (type) {
	case OFFER_VXLAN: o->vxlan_port = rbuf_u16(f); break;
	case OFFER_USERSPACE: o->userspace_port = rbuf_u16(f); break;
	case OFFER_PASSWORD: o->password = true; break;
	case OFFER_RANGE:
		o->range = read_prefix(f);
		if (o->range.addr.family != 4)
			rbuf_fail(f);
		break;
	case OFFER_VXLAN_OVER_V6: o->vxlan_over_v6 = true; break;
	case OFFER_TRUSTED:
		p = read_prefix(f);
		if (o->n_trusted < CORE_TRUSTED_MAX)
			o->trusted[o->n_trusted++] = p;
		break;
	case OFFER_SEALED_ONLY: o->sealed_only = true; break;
	case OFFER_MTU: o->mtu = rbuf_u16(f); break;
	case OFFER_RANGE6:
		o->range6 = read_prefix(f);
		if (o->range6.addr.family != 6)
			rbuf_fail(f);
		break;
	default: break;
	}
}

void path_offer_decode(struct slice extra, struct path_offer *out)
{
	struct path_offer o = { 0 };
	struct rbuf r;

	rbuf_init(&r, extra.p, extra.n);
	for (int fields = 0; fields < OFFER_FIELDS_MAX && rbuf_left(&r) > 0; fields++) {
		uint8_t type = rbuf_u8(&r);
		struct slice value = rbuf_lv(&r, OFFER_FIELD_MAX);
		struct rbuf f;
		rbuf_init(&f, value.p, value.n);
		read_field(type, &f, &o);
		if (!rbuf_ok(&f))
			rbuf_fail(&r);
	}
	if (!rbuf_ok(&r))
		memset(&o, 0, sizeof(o));
	*out = o;
}

bool path_offer_trusts(const struct path_offer *o, struct ip a)
{
	for (size_t i = 0; i < o->n_trusted; i++)
		if (a.family != 0 && o->trusted[i].addr.family == a.family && prefix_contains(o->trusted[i], a))
			return true;
	return false;
}
