/* The filter table of iptables-legacy, in the kernel's own form: entries one behind the other, each with a packet's description, matches and a target. A chain is
 * a place among them; a verdict below zero ends, any other is the place to go on at, and the place behind a jump is come back to.
 *
 * Asking for a table makes it where it is not there (and loads its module), so the kernel's list of those that are is read first. What an entry asks for
 * besides interfaces is not known, and then it does not match. */
#include <stdio.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/netfilter.h>
#include <linux/netfilter/x_tables.h>
#include <linux/netfilter_ipv4/ip_tables.h>
#include <linux/netfilter_ipv6/ip6_tables.h>
#include <stddef.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/mem.h"
#include "router/dataplane/foreign_internal.h"

enum { SIZE_MAX_BYTES = 64 << 20, GETINFO = 64, GETENTRIES = 65, TRIES_MAX = 8 };

/* Where things stand in an entry. */
static const struct shape {
	const char *names; /* of the tables that are there */
	int family, level;
	size_t entry, addrs, in, out, in_mask, out_mask, proto, flags, inverted, target, next;
	size_t n_addrs; /* bytes of addresses and their masks: masks are the second half */
	uint8_t go;     /* flag: a goto */
} shapes[] = {
	{ "/proc/self/net/ip_tables_names", AF_INET, IPPROTO_IP, sizeof(struct ipt_entry), offsetof(struct ipt_entry, ip.src),
		offsetof(struct ipt_entry, ip.iniface), offsetof(struct ipt_entry, ip.outiface),
		offsetof(struct ipt_entry, ip.iniface_mask), offsetof(struct ipt_entry, ip.outiface_mask),
		offsetof(struct ipt_entry, ip.proto), offsetof(struct ipt_entry, ip.flags), offsetof(struct ipt_entry, ip.invflags),
		offsetof(struct ipt_entry, target_offset), offsetof(struct ipt_entry, next_offset), 16, IPT_F_GOTO },
	{ "/proc/self/net/ip6_tables_names", AF_INET6, IPPROTO_IPV6, sizeof(struct ip6t_entry), offsetof(struct ip6t_entry, ipv6.src),
		offsetof(struct ip6t_entry, ipv6.iniface), offsetof(struct ip6t_entry, ipv6.outiface),
		offsetof(struct ip6t_entry, ipv6.iniface_mask), offsetof(struct ip6t_entry, ipv6.outiface_mask),
		offsetof(struct ip6t_entry, ipv6.proto), offsetof(struct ip6t_entry, ipv6.flags),
		offsetof(struct ip6t_entry, ipv6.invflags), offsetof(struct ip6t_entry, target_offset),
		offsetof(struct ip6t_entry, next_offset), 64, IP6T_F_GOTO },
};

struct table {
	const struct shape *s;
	uint8_t *bytes;             /* the entries */
	size_t n, start, underflow; /* of chain FORWARD; its policy */
};

static bool is_there(const struct shape *s)
{
	char text[512];
	int fd = open(s->names, O_RDONLY | O_CLOEXEC);
	ssize_t got = fd >= 0 ? read(fd, text, sizeof text - 1) : -1;
	if (fd >= 0)
		close(fd);
	text[got > 0 ? got : 0] = '\0';
	const char *at = strstr(text, "filter\n");
	return at == text || (at && at[-1] == '\n');
}

static int read_table(int fd, struct table *t)
{
	struct ipt_getinfo info = { .name = "filter" }; /* both families' are alike */
	socklen_t len = sizeof info;
	if (getsockopt(fd, t->s->level, GETINFO, &info, &len) != 0)
		return -errno;
	if (info.size > SIZE_MAX_BYTES || !(info.valid_hooks & 1u << NF_INET_FORWARD))
		return -EPROTO;
	const size_t head = offsetof(struct ipt_get_entries, entrytable);
	t->bytes = mem_zalloc(1, head + info.size + 1);
	if (!t->bytes)
		return -ENOMEM;
	struct ipt_get_entries ask = { .name = "filter", .size = info.size };
	memcpy(t->bytes, &ask, head < sizeof ask ? head : sizeof ask);
	len = (socklen_t)(head + info.size);
	if (getsockopt(fd, t->s->level, GETENTRIES, t->bytes, &len) != 0)
		return errno == EAGAIN ? -EAGAIN : -errno;
	t->n = info.size;
	memmove(t->bytes, t->bytes + head, t->n);
	t->start = info.hook_entry[NF_INET_FORWARD];
	t->underflow = info.underflow[NF_INET_FORWARD];
	return 0;
}

static uint16_t word(const struct table *t, size_t at)
{
	uint16_t v;
	memcpy(&v, t->bytes + at, sizeof v);
	return v;
}

static bool all_zero(const uint8_t *p, size_t n)
{
	for (size_t i = 0; i < n; i++)
		if (p[i])
			return false;
	return true;
}

static bool interface_is(const uint8_t *name, const uint8_t *mask, const char *have, bool inverted)
{
	char padded[IFNAMSIZ] = { 0 };
	bool same = true;
	memcpy(padded, have, strnlen(have, IFNAMSIZ - 1));
	for (size_t i = 0; i < IFNAMSIZ && same; i++)
		same = ((uint8_t)padded[i] & mask[i]) == (name[i] & mask[i]);
	return same != inverted;
}

/* Everything that it asks for is known, and so. */
static bool matches(const struct table *t, size_t at, const struct foreign_packet *p)
{
	const struct shape *s = t->s;
	const uint8_t *e = t->bytes + at, inverted = e[s->inverted];
	return word(t, at + s->target) == s->entry && all_zero(e + s->addrs + s->n_addrs / 2, s->n_addrs / 2) &&
		word(t, at + s->proto) == 0 && interface_is(e + s->in, e + s->in_mask, p->in, inverted & IPT_INV_VIA_IN) &&
		interface_is(e + s->out, e + s->out_mask, p->out, inverted & IPT_INV_VIA_OUT);
}

/* The target of the entry at `at`, which lies within. */
static enum foreign_end target(const struct table *t, size_t at, int *verdict, bool *standard)
{
	const size_t from = at + word(t, at + t->s->target), name_at = from + offsetof(struct xt_entry_target, u.user.name);
	char name[XT_EXTENSION_MAXNAMELEN + 1] = { 0 };
	memcpy(name, t->bytes + name_at, XT_EXTENSION_MAXNAMELEN);
	*standard = name[0] == '\0';
	if (*standard)
		memcpy(verdict, t->bytes + from + sizeof(struct xt_entry_target), sizeof *verdict);
	return strcmp(name, "REJECT") == 0 ? FOREIGN_DROP : FOREIGN_GOES_ON;
}

static bool lies_within(const struct table *t, size_t at)
{
	if (at > t->n || t->n - at < t->s->entry)
		return false;
	const size_t target = word(t, at + t->s->target), next = word(t, at + t->s->next);
	return target >= t->s->entry && next >= target + sizeof(struct xt_entry_target) + sizeof(int) && next <= t->n - at;
}

static enum foreign_end follow(const struct table *t, const struct foreign_packet *p)
{
	size_t back[FOREIGN_DEPTH_MAX], depth = 0, at = t->start;
	for (int steps = 0; steps < FOREIGN_STEPS_MAX && lies_within(t, at); steps++) {
		const size_t next = at + word(t, at + t->s->next);
		int verdict = 0;
		bool standard = false;
		enum foreign_end end = FOREIGN_GOES_ON;
		const bool matched = matches(t, at, p);
		if (matched)
			end = target(t, at, &verdict, &standard);
		if (end != FOREIGN_GOES_ON)
			return end;
		if (!matched || !standard) {
			at = next;
		} else if (verdict == -NF_ACCEPT - 1) {
			return FOREIGN_ACCEPT;
		} else if (verdict == -NF_DROP - 1) {
			return FOREIGN_DROP;
		} else if (verdict < 0) { /* return */
			at = depth > 0 ? back[--depth] : t->underflow;
		} else {
			if (!(t->bytes[at + t->s->flags] & t->s->go) && (size_t)verdict != next) {
				if (depth == FOREIGN_DEPTH_MAX)
					return FOREIGN_GOES_ON;
				back[depth++] = next;
			}
			at = (size_t)verdict;
		}
	}
	return FOREIGN_GOES_ON;
}

/* A chain's head is an error target with its name. */
static bool has_chain(const struct table *t, const char *chain)
{
	const size_t n = strlen(chain) + 1;
	for (size_t at = 0; lies_within(t, at); at += word(t, at + t->s->next)) {
		const size_t from = at + word(t, at + t->s->target), left = t->n - from;
		const uint8_t *e = t->bytes + from;
		if (left >= sizeof(struct xt_error_target) &&
			strncmp((const char *)e + offsetof(struct xt_entry_target, u.user.name), "ERROR", XT_EXTENSION_MAXNAMELEN) == 0 &&
			memcmp(e + offsetof(struct xt_error_target, errorname), chain, n) == 0)
			return true;
	}
	return false;
}

struct foreign_legacy {
	struct table t;
};

int foreign_legacy_read(int family, struct foreign_legacy **out)
{
	const struct shape *shape = &shapes[family == 6];
	if (!is_there(shape))
		return -ENOENT;
	struct foreign_legacy *f = mem_zalloc(1, sizeof *f);
	int fd = f ? socket(shape->family, SOCK_RAW | SOCK_CLOEXEC, IPPROTO_RAW) : -1;
	int result = !f ? -ENOMEM : fd < 0 ? -errno : -EAGAIN;
	for (int i = 0; i < TRIES_MAX && result == -EAGAIN; i++) { /* it changed in between */
		mem_free(f->t.bytes);
		f->t = (struct table){ .s = shape };
		result = read_table(fd, &f->t);
	}
	if (fd >= 0)
		close(fd);
	if (result == 0)
		*out = f;
	else
		foreign_legacy_free(f);
	return result;
}

void foreign_legacy_free(struct foreign_legacy *f)
{
	if (!f)
		return;
	mem_free(f->t.bytes);
	mem_free(f);
}

void foreign_legacy_ask(const struct foreign_legacy *f, const struct foreign_packet *p, struct foreign_verdict *out)
{
	if (follow(&f->t, p) != FOREIGN_DROP)
		return;
	out->drops = true;
	(void)snprintf(
		out->where, sizeof out->where, "iptables-legacy's table filter, chain FORWARD (ip%stables)", p->family == 6 ? "6" : "");
	foreign_iptables_remedy(out, "-legacy", p->family, has_chain(&f->t, "DOCKER-USER"));
}
