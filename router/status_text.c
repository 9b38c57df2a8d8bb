/* The documents of status.c as text (INTERFACES section 5; columns as Weave Net's users know them). */
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "router/status.h"

enum { FIELD_TEXT_MAX = 512, LINE_MAX_BYTES = 2048, DOCKER_ID_LEN = 64, DOCKER_ID_SHOWN = 12 };

static PRINTF_LIKE(2, 3) void line(struct wbuf *w, const char *fmt, ...)
{
	char out[LINE_MAX_BYTES];
	va_list args;

	va_start(args, fmt);
	int n = vsnprintf(out, sizeof(out), fmt, args);
	va_end(args);
	if (n < 0)
		return;
	size_t len = (size_t)n < sizeof(out) ? (size_t)n : sizeof(out) - 1;
	for (size_t i = 0; i < len; i++)
		if (((unsigned char)out[i] < 0x20 && out[i] != '\n') || out[i] == 0x7f)
			out[i] = '?'; /* names come from elsewhere: nothing of them reaches a terminal as a command */
	wbuf_bytes(w, out, len);
}

static const char *str(const json_t *o, const char *key)
{
	const char *s = json_string_value(json_object_get(o, key));

	return s != NULL ? s : "";
}

static long long num(const json_t *o, const char *key)
{
	return (long long)json_integer_value(json_object_get(o, key));
}

static bool yes(const json_t *o, const char *key)
{
	return json_is_true(json_object_get(o, key));
}

static const char *enabled(const json_t *o, const char *key)
{
	return yes(o, key) ? "enabled" : "disabled";
}

void status_peer_text(const char *name, const char *nickname, char *out, size_t size)
{
	if (name[0] == '\0')
		(void)snprintf(out, size, "-");
	else if (nickname[0] == '\0')
		(void)snprintf(out, size, "%s", name);
	else
		(void)snprintf(out, size, "%s(%s)", name, nickname);
}

static const char *who(const json_t *o, const char *name_key, char out[FIELD_TEXT_MAX])
{
	status_peer_text(str(o, name_key), str(o, "nickname"), out, FIELD_TEXT_MAX);
	return out;
}

/* A value for key=value: without blanks, and never empty. */
static const char *joined(const char *value, char out[FIELD_TEXT_MAX])
{
	size_t n = 0;

	for (; *value != '\0' && n + 1 < FIELD_TEXT_MAX; value++) {
		bool blank = (unsigned char)*value <= ' ';
		if (!blank || (n > 0 && out[n - 1] != '-'))
			out[n++] = blank ? '-' : *value;
	}
	out[n] = '\0';
	return n > 0 ? out : "-";
}

static const char *comma_list(const json_t *list, char out[FIELD_TEXT_MAX])
{
	size_t at = 0, i;
	const json_t *v;

	out[0] = '\0';
	json_array_foreach(list, i, v)
	{
		int n = snprintf(out + at, FIELD_TEXT_MAX - at, "%s%s", i > 0 ? ", " : "", json_string_value(v));
		if (n < 0 || (size_t)n >= FIELD_TEXT_MAX - at)
			break;
		at += (size_t)n;
	}
	return at > 0 ? out : "none";
}

/* "3 (2 established, 1 failed)" */
static const char *connection_counts(const json_t *c, char out[FIELD_TEXT_MAX])
{
	static const char *const states[] = { "established", "handshake", "connecting", "retrying", "failed" };
	size_t at = (size_t)snprintf(out, FIELD_TEXT_MAX, "%lld", num(c, "total"));
	const char *before = " (";

	for (size_t i = 0; i < sizeof(states) / sizeof(states[0]); i++) {
		if (num(c, states[i]) == 0)
			continue;
		at += (size_t)snprintf(out + at, FIELD_TEXT_MAX - at, "%s%lld %s", before, num(c, states[i]), states[i]);
		before = ", ";
	}
	if (num(c, "total") > 0)
		(void)snprintf(out + at, FIELD_TEXT_MAX - at, ")");
	return out;
}

static void dataplane_text(const json_t *p, struct wbuf *w)
{
	const json_t *sessions = json_object_get(p, "sessions"), *v;
	char list[FIELD_TEXT_MAX] = "";
	size_t i, at = 0;

	line(w, "\n        Service: dataplane\n");
	json_array_foreach(json_object_get(p, "networks"), i, v)
	{
		int n = snprintf(list + at, sizeof(list) - at, "%s%s (%s%s%s)", i > 0 ? ", " : "", str(v, "name"),
			yes(v, "fast") ? "fast" : "", yes(v, "fast") && str(v, "capture")[0] != '\0' ? ", " : "", str(v, "capture"));
		if (n < 0 || (size_t)n >= sizeof(list) - at)
			break;
		at += (size_t)n;
	}
	line(w, "       Networks: %s\n", at > 0 ? list : "none");
	line(w, "        Threads: %lld\n", num(p, "queues"));
	line(w, "         Filter: %s\n", yes(p, "filter") ? "nftables" : "none");
	line(w, "            MTU: %lld\n", num(p, "container_mtu"));
	line(w, "       Sessions: %lld (%lld begun, %lld renewed)\n", num(sessions, "count"), num(sessions, "begun"),
		num(sessions, "renewed"));
	json_array_foreach(json_object_get(p, "troubles"), i, v)
		line(w, "%s: %s\n", yes(v, "broken") ? "        Trouble" : "          Lacks", str(v, "text"));
	line(w, "         Health: %s\n", str(p, "health"));
}

static void plugin_text(const json_t *p, struct wbuf *w)
{
	line(w, "         Plugin: %s (%lld networks, %lld endpoints; %lld requests, %lld refused, %lld waiting)\n", str(p, "socket"),
		num(p, "networks"), num(p, "endpoints"), num(p, "calls"), num(p, "refused"), num(p, "waiting"));
}

static void docker_text(const json_t *d, struct wbuf *w)
{
	const json_t *p = json_object_get(d, "plugin");

	line(w, "        Service: docker\n");
	if (json_is_object(p))
		plugin_text(p, w);
	if (str(d, "host")[0] == '\0') {
		line(w, "         Health: off\n");
		return;
	}
	line(w, "           Host: %s%s%s%s\n", str(d, "host"), str(d, "version")[0] != '\0' ? " (Docker " : "", str(d, "version"),
		str(d, "version")[0] != '\0' ? ")" : "");
	line(w, "     Containers: %lld running, %lld endpoints named, %lld kept attached\n", num(d, "containers"), num(d, "named"),
		num(d, "attached"));
	if (str(d, "trouble")[0] != '\0')
		line(w, "        Trouble: %s\n", str(d, "trouble"));
	line(w, "         Health: %s\n", str(d, "health"));
}

static void expose_text(const json_t *e, struct wbuf *w)
{
	const json_t *v;
	size_t i;

	line(w, "\n        Service: expose\n");
	json_array_foreach(json_object_get(e, "addresses"), i, v) line(w, "        Address: %s network=%s masquerade=%s\n",
		str(v, "address"), str(v, "network"), yes(v, "masquerade") ? "yes" : "no");
	json_array_foreach(json_object_get(e, "warnings"), i, v) line(w, "        Warning: %s\n", json_string_value(v));
	line(w, "         Health: %s\n", str(e, "health"));
}

static void all_text(const json_t *doc, struct wbuf *w)
{
	const json_t *r = json_object_get(doc, "router"), *i = json_object_get(doc, "ipam"), *d = json_object_get(doc, "dns");
	const json_t *peers = json_object_get(r, "peers"), *p = json_object_get(doc, "dataplane");
	char a[FIELD_TEXT_MAX];

	line(w, "        Version: %s\n\n", str(doc, "version"));
	line(w, "        Service: router\n");
	line(w, "           Name: %s\n", who(r, "name", a));
	line(w, "     Encryption: %s\n", enabled(r, "encryption"));
	line(w, "  PeerDiscovery: %s\n", enabled(r, "peer_discovery"));
	if (yes(r, "fast_path"))
		line(w, "       FastPath: enabled\n");
	else
		line(w, "       FastPath: disabled: %s\n", str(r, "fast_path_reason"));
	line(w, "        Targets: %lld\n", num(r, "targets"));
	line(w, "    Connections: %s\n", connection_counts(json_object_get(r, "connections"), a));
	if (num(peers, "established") > 0)
		line(w, "          Peers: %lld (with %lld established connections)\n", num(peers, "total"), num(peers, "established"));
	else
		line(w, "          Peers: %lld\n", num(peers, "total"));
	line(w, " TrustedSubnets: %s\n", comma_list(json_object_get(r, "trusted_subnets"), a));
	line(w, "         Health: %s\n", str(r, "health"));
	if (i != NULL) {
		line(w, "\n        Service: ipam\n");
		line(w, "         Status: %s\n", str(i, "status"));
		line(w, "          Range: %s\n", str(i, "range"));
		line(w, "  DefaultSubnet: %s\n", str(i, "default_subnet"));
		if (str(i, "range6")[0] != '\0')
			line(w, "         Range6: %s\n", str(i, "range6"));
		if (str(i, "conflict")[0] != '\0')
			line(w, "       Conflict: %s\n", str(i, "conflict"));
		line(w, "         Health: %s\n", str(i, "health"));
	}
	if (d != NULL) {
		line(w, "\n        Service: dns\n");
		line(w, "         Domain: %s\n", str(d, "domain"));
		line(w, "       Upstream: %s\n", comma_list(json_object_get(d, "upstream"), a));
		line(w, "            TTL: %lld\n", num(d, "ttl"));
		line(w, "        Entries: %lld\n", num(d, "count"));
		line(w, "         Health: %s\n", str(d, "health"));
	}
	if (json_object_get(doc, "docker") != NULL) {
		line(w, "\n");
		docker_text(json_object_get(doc, "docker"), w);
	}
	if (json_object_get(doc, "expose") != NULL)
		expose_text(json_object_get(doc, "expose"), w);
	if (p != NULL)
		dataplane_text(p, w);
}

static void connection_text(const json_t *c, struct wbuf *w)
{
	char peer[FIELD_TEXT_MAX], address[FIELD_TEXT_MAX], reason[FIELD_TEXT_MAX], since[32] = "-", mtu[24] = "-", rtt[32] = "-";
	char via[FIELD_TEXT_MAX + 8] = "";
	time_t t = (time_t)json_real_value(json_object_get(c, "since"));
	const char *path = str(c, "path");
	struct tm tm;

	if (gmtime_r(&t, &tm) != NULL)
		(void)strftime(since, sizeof(since), "%Y-%m-%dT%H:%M:%SZ", &tm);
	if (num(c, "mtu") > 0)
		(void)snprintf(mtu, sizeof(mtu), "%lld", num(c, "mtu"));
	if (json_is_real(json_object_get(c, "rtt_ms")))
		(void)snprintf(rtt, sizeof(rtt), "%.2fms", json_real_value(json_object_get(c, "rtt_ms")));
	const json_t *out = json_object_get(c, "outbound");
	if (str(c, "via")[0] != '\0') {
		status_peer_text(str(c, "via"), str(c, "via_nickname"), peer, sizeof(peer));
		(void)snprintf(via, sizeof(via), " via=%s", joined(peer, address));
	}
	line(w, "%s %s %s %s %s mtu=%s reason=%s since=%s rtt=%s encrypted=%s%s\n",
		json_is_true(out)        ? "->"
			: json_is_false(out) ? "<-"
								 : "--",
		joined(str(c, "address"), address), str(c, "state"), path[0] != '\0' ? path : "-", who(c, "peer", peer), mtu,
		joined(str(c, "reason"), reason), since, rtt, yes(c, "encrypted") ? "yes" : "no", via);
}

static void peer_text(const json_t *p, struct wbuf *w)
{
	char name[FIELD_TEXT_MAX];
	const json_t *c;
	size_t i;

	line(w, "%s%s\n", who(p, "name", name), yes(p, "reachable") ? "" : " - unreachable!");
	json_array_foreach(json_object_get(p, "connections"), i, c)
	{
		const json_t *out = json_object_get(c, "outbound");
		const char *dir = json_is_true(out) ? "->" : json_is_false(out) ? "<-" : "--";
		line(w, "   %s %-21s %-37s %s\n", dir, str(c, "address"), who(c, "name", name),
			yes(c, "established") ? "established" : "pending");
	}
}

/* "h2(02:…)" */
static const char *host_text(const json_t *o, const char *nick, const char *name, char out[FIELD_TEXT_MAX])
{
	(void)snprintf(out, FIELD_TEXT_MAX, "%s(%s)", str(o, nick), str(o, name));
	return out;
}

/* Nothing before there is a lease: so it is with fewer than three hosts, and in the first minutes. */
static void reclaim_text(const json_t *r, struct wbuf *w)
{
	const json_t *lease = json_object_get(r, "lease_s"), *a;
	char from[FIELD_TEXT_MAX], heir[FIELD_TEXT_MAX];
	size_t i;

	if (json_is_number(lease))
		line(w,
			"epoch %lld: %zu hosts vote, %lld can be reached, %lld are needed; lease for another %.0f s, %lld addresses spare\n",
			num(r, "epoch"), json_array_size(json_object_get(r, "members")), num(r, "reachable"), num(r, "quorum"),
			json_number_value(lease), num(r, "spare"));
	json_array_foreach(json_object_get(r, "reclaimed"), i, a)
		line(w, "reclaimed: %s-%s of %s by %s in epoch %lld\n", str(a, "first"), str(a, "last"),
			host_text(a, "nickname", "name", from), host_text(a, "heir_nickname", "heir", heir), num(a, "epoch"));
}

static void ipam_text(const json_t *doc, struct wbuf *w)
{
	const json_t *peers = json_object_get(doc, "peers"), *p;
	char name[FIELD_TEXT_MAX], active[48];
	size_t i;

	if (json_array_size(peers) == 0)
		line(w, "%s: nothing is decided yet, the first request for an address starts the agreement\n", str(doc, "status"));
	json_array_foreach(peers, i, p)
	{
		active[0] = '\0';
		if (json_is_integer(json_object_get(p, "active")))
			(void)snprintf(active, sizeof(active), " (%lld active)", num(p, "active"));
		line(w, "%-37s %8lld IPs (%04.1f%% of total)%s%s\n", who(p, "name", name), num(p, "addresses"),
			json_real_value(json_object_get(p, "percent")), active, yes(p, "reachable") ? "" : " - unreachable!");
	}
	if (json_array_size(peers) > 0 && strcmp(str(doc, "status"), "ready") != 0)
		line(w, "status: %s\n", str(doc, "status"));
	if (str(doc, "conflict")[0] != '\0')
		line(w, "conflict: %s\n", str(doc, "conflict"));
	reclaim_text(json_object_get(doc, "reclaim"), w);
	json_array_foreach(json_object_get(doc, "pending"), i, p)
		line(w, "pending: %s %s %s: %s\n", str(p, "kind"), str(p, "ident"), str(p, "subnet"), str(p, "reason"));
}

/* The name as people type it inside the domain. */
static void cut_domain(const char *name, const char *domain, char out[FIELD_TEXT_MAX])
{
	size_t n = strlen(name), d = strlen(domain);

	(void)snprintf(out, FIELD_TEXT_MAX, "%s", name);
	if (n > d + 1 && n < FIELD_TEXT_MAX && name[n - d - 1] == '.' && strcmp(name + n - d, domain) == 0)
		out[n - d - 1] = '\0';
}

static void dns_text(const json_t *doc, struct wbuf *w)
{
	char name[FIELD_TEXT_MAX];
	const json_t *e;
	size_t i;

	json_array_foreach(json_object_get(doc, "entries"), i, e)
	{
		cut_domain(str(e, "hostname"), str(doc, "domain"), name);
		line(w, "%-12s %-15s %12.12s %s%s\n", name, str(e, "address"), str(e, "container"), str(e, "origin"),
			yes(e, "reachable") ? "" : " - unreachable!");
	}
}

/* Of an id of Docker's as much as Docker shows of it; that much can be given wherever a container is named. */
static int id_shown(const char *id)
{
	size_t n = strspn(id, "0123456789abcdef");

	return n == DOCKER_ID_LEN && id[n] == '\0' ? DOCKER_ID_SHOWN : (int)strlen(id);
}

static void container_text(const json_t *c, struct wbuf *w)
{
	const json_t *a;
	size_t i;

	line(w, "%.*s %s", id_shown(str(c, "id")), str(c, "id"), str(c, "mac"));
	json_array_foreach(json_object_get(c, "addresses"), i, a) line(w, " %s", json_string_value(a));
	if (str(c, "network")[0] != '\0' && strcmp(str(c, "network"), CORE_NETWORK_DEFAULT) != 0)
		line(w, " network=%s", str(c, "network"));
	line(w, "\n");
}

static void ps_text(const json_t *doc, struct wbuf *w)
{
	const json_t *c, *host = json_object_get(doc, "host");
	size_t i;

	if (host != NULL)
		container_text(host, w);
	json_array_foreach(json_object_get(doc, "containers"), i, c) container_text(c, w);
}

static void network_text(const json_t *n, struct wbuf *w)
{
	const char *subnet = str(n, "subnet"), *subnet6 = str(n, "subnet6");

	line(w, "%s number=%lld subnet=%s subnet6=%s containers=%lld here=%lld\n", str(n, "name"), num(n, "number"),
		subnet[0] != '\0' ? subnet : "-", subnet6[0] != '\0' ? subnet6 : "-", num(n, "containers"), num(n, "local_containers"));
}

void status_text(enum status_part part, const json_t *doc, struct wbuf *w)
{
	const json_t *v;
	size_t i;

	switch (part) {
	case STATUS_ALL: all_text(doc, w); break;
	case STATUS_CONNECTIONS: json_array_foreach(json_object_get(doc, "connections"), i, v) connection_text(v, w); break;
	case STATUS_PEERS: json_array_foreach(json_object_get(doc, "peers"), i, v) peer_text(v, w); break;
	case STATUS_TARGETS: json_array_foreach(json_object_get(doc, "targets"), i, v) line(w, "%s\n", json_string_value(v)); break;
	case STATUS_IPAM: ipam_text(doc, w); break;
	case STATUS_DNS: dns_text(doc, w); break;
	case STATUS_PS: ps_text(doc, w); break;
	case STATUS_DOCKER: docker_text(json_object_get(doc, "docker"), w); break;
	case STATUS_NETWORKS: json_array_foreach(json_object_get(doc, "networks"), i, v) network_text(v, w); break;
	}
}
