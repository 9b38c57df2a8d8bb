/* Docker's embedded resolver (127.0.0.11 inside containers) passes on what it does not know to the name servers that dockerd found on the host. Those are led to us
 * where they are asked by containers (nft_nat.c), and we ask them what is not ours: so weft's names are found with nothing configured. Which servers
 * these are follows from resolv.conf as dockerd reads it: not those of loopback addresses; where systemd-resolved is the only one, its servers; where there
 * is none at all, two of Google's. */
#include <string.h>

#include "base/mem.h"
#include "dns/forward.h"
#include "router/dns_resolv.h"
#include "router/dns_server.h"
#include "router/internal.h"
#include "tunnel/fwd.h"

#define SYSTEMD_RESOLV_CONF "/run/systemd/resolve/resolv.conf"
#define USUAL_RESOLV_CONF   "/etc/resolv.conf"

struct resolvers {
	struct dns_resolv systemd;
	struct hostport behind[DNS_UPSTREAM_MAX]; /* systemd-resolved */
	size_t n_behind;
	struct ip told[2 * DNS_UPSTREAM_MAX];
	size_t n_told;
	bool any_told;
};

static bool is_loopback(struct ip a)
{
	return a.family == 4 && a.b[0] == 127;
}

static void take(const struct hostport *from, size_t n, struct ip *out, size_t *n_out)
{
	for (size_t i = 0; i < n; i++)
		if (from[i].ip.family == 4 && !is_loopback(from[i].ip))
			out[(*n_out)++] = from[i].ip;
}

static size_t servers(struct router *r, struct ip out[2 * DNS_UPSTREAM_MAX])
{
	struct resolvers *s = r->resolvers;
	struct hostport up[DNS_UPSTREAM_MAX];
	const size_t n_up = dns_server_upstreams(r->dns, up);
	size_t n = 0;

	(void)dns_resolv_changed(&s->systemd, NULL, 0, s->behind, DNS_UPSTREAM_MAX, &s->n_behind);
	take(up, n_up, out, &n);
	if (n == 0)
		take(s->behind, s->n_behind, out, &n);
	if (n == 0) { /* as dockerd does */
		out[n++] = ip_v4(UINT32_C(0x08080808));
		out[n++] = ip_v4(UINT32_C(0x08080404));
	}
	return n;
}

/* Where containers ask us; family 0: nowhere that all of them can reach. */
static struct hostport our_place(const struct router *r)
{
	const struct ip any = { .family = 4 };
	struct hostport at;

	if (r->dns == NULL || !router_dns_address(r, &at) || (!ip_eq(at.ip, any) && !ip_eq(at.ip, ip_v4(WEFT_DNS_V4))))
		return (struct hostport){ 0 };
	at.ip = ip_v4(WEFT_DNS_V4);
	return at;
}

void resolvers_follow(struct router *r)
{
	struct ip now[2 * DNS_UPSTREAM_MAX];
	const struct hostport at = our_place(r);

	if (r->plane == NULL || r->erased || at.ip.family == 0)
		return;
	if (r->resolvers == NULL) {
		r->resolvers = mem_zalloc(1, sizeof(*r->resolvers));
		if (r->resolvers == NULL ||
			dns_resolv_init(&r->resolvers->systemd,
				r->opt->resolv_conf != NULL && strcmp(r->opt->resolv_conf, USUAL_RESOLV_CONF) == 0 ? SYSTEMD_RESOLV_CONF : "") !=
				ERR_OK) {
			mem_free(r->resolvers);
			r->resolvers = NULL;
			return; /* the next tick tries again */
		}
	}
	struct resolvers *s = r->resolvers;
	const size_t n = servers(r, now);
	bool same = s->any_told && n == s->n_told;
	for (size_t i = 0; i < n && same; i++)
		same = ip_eq(now[i], s->told[i]);
	if (same)
		return;
	memcpy(s->told, now, n * sizeof(now[0]));
	s->n_told = n;
	s->any_told = true;
	plane_set_resolvers(r->plane, now, n, at);
}

size_t router_resolvers(const struct router *r, struct ip out[ROUTER_RESOLVERS_MAX])
{
	size_t n = 0;

	while (r->resolvers != NULL && n < r->resolvers->n_told && n < ROUTER_RESOLVERS_MAX) {
		out[n] = r->resolvers->told[n];
		n++;
	}
	return n;
}

void resolvers_end(struct router *r)
{
	if (r->plane != NULL && r->resolvers != NULL && !r->erased)
		plane_set_resolvers(r->plane, NULL, 0, (struct hostport){ 0 });
	if (r->resolvers != NULL)
		dns_resolv_free(&r->resolvers->systemd);
	mem_free(r->resolvers);
	r->resolvers = NULL;
}
