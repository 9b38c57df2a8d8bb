/* Reader: every length is checked by the cursor; a name's pointers each lie below the run of labels they were found in, so a chain of
 * them strictly falls and ends. Records of known types are decoded in place and must fill their rdlength exactly.
 *
 * Writer: each piece asks for room first (`put`), and the first that finds none marks the writer `over`; the exported function that
 * began the record then takes the message back to where it was. So a wbuf over fixed memory never fails here. */
#include "dns/wire.h"

#include <assert.h>
#include <string.h>

#define POINTER     0xc0u
#define POINTER_MAX 0x3fffu
#define EDNS_DO     0x8000u
#define RR_FIXED    10u /* type, class, ttl, rdlength */

void dns_header_read(struct rbuf *r, struct dns_header *out)
{
	out->id = rbuf_u16(r);
	out->flags = rbuf_u16(r);
	out->qd = rbuf_u16(r);
	out->an = rbuf_u16(r);
	out->ns = rbuf_u16(r);
	out->ar = rbuf_u16(r);
}

/* Reads labels at c into out. true: a pointer ended them, *target is where it leads; false: the root did, or c failed. */
static bool read_labels(struct rbuf *c, struct dns_name *out, size_t *target)
{
	for (;;) {
		uint8_t n = rbuf_u8(c);
		if (!rbuf_ok(c))
			return false;
		if ((n & POINTER) == POINTER) {
			*target = (size_t)(n & ~POINTER) << 8 | rbuf_u8(c);
			return rbuf_ok(c);
		}
		/* The two other label types of RFC 1035 and 2673 are dead; and the root must still fit. */
		if (n > DNS_LABEL_MAX || (size_t)out->len + n + (n != 0 ? 2 : 1) > DNS_NAME_MAX) {
			rbuf_fail(c);
			return false;
		}
		out->b[out->len++] = n;
		if (n == 0)
			return false;
		rbuf_copy(c, out->b + out->len, n);
		out->len = (uint8_t)(out->len + n);
	}
}

void dns_name_read(struct rbuf *r, struct dns_name *out)
{
	struct rbuf c = *r;
	size_t run = r->pos, target = 0, after = 0;
	unsigned hops = 0;

	*out = (struct dns_name){ 0 };
	while (read_labels(&c, out, &target)) {
		if (hops == 0)
			after = c.pos;
		if (target >= run || target < DNS_HEADER_SIZE || ++hops > DNS_POINTERS_MAX) {
			rbuf_fail(&c);
			break;
		}
		run = target;
		rbuf_init(&c, r->data, r->len);
		rbuf_skip(&c, target);
	}
	if (!rbuf_ok(&c)) {
		*out = (struct dns_name){ 0 };
		rbuf_fail(r);
		return;
	}
	if (hops == 0)
		after = c.pos;
	rbuf_skip(r, after - r->pos);
}

void dns_question_read(struct rbuf *r, struct dns_question *out)
{
	dns_name_read(r, &out->name);
	out->type = rbuf_u16(r);
	out->cls = rbuf_u16(r);
}

static void read_soa(struct rbuf *r, struct dns_soa *soa)
{
	dns_name_read(r, &soa->mname);
	dns_name_read(r, &soa->rname);
	soa->serial = rbuf_u32(r);
	soa->refresh = rbuf_u32(r);
	soa->retry = rbuf_u32(r);
	soa->expire = rbuf_u32(r);
	soa->minimum = rbuf_u32(r);
}

static void read_ip(struct rbuf *r, struct ip *ip, uint8_t family)
{
	rbuf_copy(r, ip->b, family == 4 ? 4 : 16);
	ip->family = rbuf_ok(r) ? family : 0;
}

void dns_rr_read(struct rbuf *r, struct dns_rr *out)
{
	memset(out, 0, sizeof(*out));
	dns_name_read(r, &out->name);
	out->type = rbuf_u16(r);
	out->cls = rbuf_u16(r);
	out->ttl = rbuf_u32(r);
	size_t n = rbuf_u16(r);
	struct rbuf at = *r;
	out->rdata = rbuf_bytes(r, n);
	if (!rbuf_ok(r))
		return;
	size_t end = r->pos;

	switch (out->type) {
	case DNS_A:
	case DNS_AAAA:
		if (out->cls != DNS_IN)
			return; /* other classes' address records have other forms */
		read_ip(&at, &out->ip, out->type == DNS_A ? 4 : 6);
		break;
	case DNS_MX:
		out->preference = rbuf_u16(&at);
		dns_name_read(&at, &out->name1);
		break;
	case DNS_NS:
	case DNS_CNAME:
	case DNS_PTR: dns_name_read(&at, &out->name1); break;
	case DNS_SOA: read_soa(&at, &out->soa); break;
	default: return;
	}
	if (!rbuf_ok(&at) || at.pos != end)
		rbuf_fail(r);
}

enum err dns_edns_from_rr(const struct dns_rr *rr, struct dns_edns *out)
{
	struct rbuf r;
	*out = (struct dns_edns){ 0 };
	if (rr->type != DNS_OPT || !dns_name_is_root(&rr->name))
		return ERR_MALFORMED;
	rbuf_init(&r, rr->rdata.p, rr->rdata.n);
	while (rbuf_left(&r) > 0) {
		(void)rbuf_u16(&r); /* option code: none concerns us */
		rbuf_skip(&r, rbuf_u16(&r));
	}
	if (rbuf_end(&r) != ERR_OK)
		return ERR_MALFORMED;
	out->present = true;
	out->size = rr->cls;
	out->ext_rcode = (uint8_t)(rr->ttl >> 24);
	out->version = (uint8_t)(rr->ttl >> 16);
	out->dnssec_ok = (rr->ttl & EDNS_DO) != 0;
	return ERR_OK;
}

size_t dns_writer_size(const struct dns_writer *d)
{
	return d->w->len - d->base;
}

/* Is there room for n more octets? The first no makes the record fail. */
static bool put(struct dns_writer *d, size_t n)
{
	if (d->over || dns_writer_size(d) + d->reserved + n > d->limit)
		d->over = true;
	return !d->over;
}

static void put_u16(struct dns_writer *d, uint16_t v)
{
	if (put(d, 2))
		wbuf_u16(d->w, v);
}

static void put_u32(struct dns_writer *d, uint32_t v)
{
	if (put(d, 4))
		wbuf_u32(d->w, v);
}

static void put_bytes(struct dns_writer *d, const void *p, size_t n)
{
	if (n > 0 && put(d, n))
		wbuf_bytes(d->w, p, n);
}

/* Is the name that begins at offset `at` of our own message the same, octet by octet, as b[0..n)? */
static bool written_is(const struct dns_writer *d, size_t at, const uint8_t *b, size_t n)
{
	struct slice all = wbuf_slice(d->w);
	const uint8_t *m = all.p + d->base;
	size_t size = all.n - d->base;
	for (size_t i = 0; at < size;) {
		uint8_t c = m[at];
		if ((c & POINTER) == POINTER) {
			if (at + 1 >= size)
				return false;
			at = (size_t)(c & ~POINTER) << 8 | m[at + 1];
			continue;
		}
		if (i + c + 1 > n || at + c + 1 > size || memcmp(m + at, b + i, (size_t)c + 1) != 0)
			return false;
		i += (size_t)c + 1;
		at += (size_t)c + 1;
		if (c == 0)
			return i == n;
	}
	return false;
}

static void put_name(struct dns_writer *d, const struct dns_name *n)
{
	assert(n->len > 0);
	size_t known = d->n_names; /* a name has no tail in common with itself */
	for (size_t i = 0; n->b[i] != 0; i += (size_t)n->b[i] + 1) {
		for (size_t k = 0; k < known; k++) {
			if (written_is(d, d->names[k], n->b + i, (size_t)n->len - i)) {
				put_u16(d, (uint16_t)(POINTER << 8 | d->names[k]));
				return;
			}
		}
		size_t here = dns_writer_size(d);
		put_bytes(d, n->b + i, (size_t)n->b[i] + 1);
		if (!d->over && here <= POINTER_MAX && d->n_names < DNS_WRITER_NAMES)
			d->names[d->n_names++] = (uint16_t)here;
	}
	put_bytes(d, "", 1);
}

/* The state to go back to when a record does not fit. */
struct mark {
	size_t len, n_names;
};

static struct mark begin(struct dns_writer *d)
{
	d->over = false;
	return (struct mark){ .len = d->w->len, .n_names = d->n_names };
}

static bool end(struct dns_writer *d, struct mark m, size_t counter)
{
	if (!d->over && d->counts[counter] < UINT16_MAX && !d->w->failed) {
		d->counts[counter]++;
		return true;
	}
	d->w->len = m.len;
	d->n_names = m.n_names;
	return false;
}

bool dns_writer_init(struct dns_writer *d, struct wbuf *w, size_t limit, uint16_t id, uint16_t flags)
{
	*d = (struct dns_writer){ .w = w, .base = w->len, .limit = limit < DNS_MESSAGE_MAX ? limit : DNS_MESSAGE_MAX };
	size_t room = w->max - w->len;
	if (d->limit > room)
		d->limit = room;
	put_u16(d, id);
	put_u16(d, flags);
	put_u32(d, 0);
	put_u32(d, 0);
	return !d->over && !w->failed;
}

bool dns_write_question(struct dns_writer *d, const struct dns_question *q)
{
	struct mark m = begin(d);
	put_name(d, &q->name);
	put_u16(d, q->type);
	put_u16(d, q->cls);
	return end(d, m, 0);
}

static void put_soa(struct dns_writer *d, const struct dns_soa *soa)
{
	put_name(d, &soa->mname);
	put_name(d, &soa->rname);
	put_u32(d, soa->serial);
	put_u32(d, soa->refresh);
	put_u32(d, soa->retry);
	put_u32(d, soa->expire);
	put_u32(d, soa->minimum);
}

static void put_rdata(struct dns_writer *d, const struct dns_rr *rr)
{
	switch (rr->type) {
	case DNS_A:
	case DNS_AAAA:
		if (rr->cls == DNS_IN)
			put_bytes(d, rr->ip.b, rr->type == DNS_A ? 4 : 16);
		else
			put_bytes(d, rr->rdata.p, rr->rdata.n);
		return;
	case DNS_MX:
		put_u16(d, rr->preference);
		put_name(d, &rr->name1);
		return;
	case DNS_NS:
	case DNS_CNAME:
	case DNS_PTR: put_name(d, &rr->name1); return;
	case DNS_SOA: put_soa(d, &rr->soa); return;
	default: put_bytes(d, rr->rdata.p, rr->rdata.n);
	}
}

bool dns_write_rr(struct dns_writer *d, enum dns_section section, const struct dns_rr *rr)
{
	struct mark m = begin(d);
	put_name(d, &rr->name);
	put_u16(d, rr->type);
	put_u16(d, rr->cls);
	put_u32(d, rr->ttl);
	size_t length_at = d->w->len;
	put_u16(d, 0);
	put_rdata(d, rr);
	if (!d->over && !d->w->failed)
		wbuf_patch_u16(d->w, length_at, (uint16_t)(d->w->len - length_at - 2));
	return end(d, m, 1u + (size_t)section);
}

bool dns_write_opt(struct dns_writer *d, const struct dns_edns *e)
{
	struct dns_rr rr = {
		.name = dns_name_root(),
		.type = DNS_OPT,
		.cls = e->size,
		.ttl = (uint32_t)e->ext_rcode << 24 | (uint32_t)e->version << 16 | (e->dnssec_ok ? EDNS_DO : 0u),
	};
	static_assert(DNS_OPT_SIZE == 1 + RR_FIXED, "an OPT record is the root and the fixed part");
	return dns_write_rr(d, DNS_ADDITIONAL, &rr);
}

void dns_writer_reserve(struct dns_writer *d, size_t n)
{
	d->reserved = n;
}

void dns_writer_set_flags(struct dns_writer *d, uint16_t flags)
{
	wbuf_patch_u16(d->w, d->base + 2, flags);
}

enum err dns_writer_finish(struct dns_writer *d)
{
	for (size_t i = 0; i < 4 && !d->w->failed; i++)
		wbuf_patch_u16(d->w, d->base + 4 + 2 * i, d->counts[i]);
	return wbuf_end(d->w);
}
