/* The state of weft's nftables tables, and how it is kept right.
 *
 * The model (elems, drops) says what the kernel's sets hold; a new list is compared with it and the difference sent, as one transaction. Whenever that
 * fails, and whenever the kernel's tables turn out to be other than they should be, both tables are made anew from the model, also in
 * one transaction: packets meet the old rules or the new ones, never none. A new daemon takes the former one's elements into its model first.
 *
 * Whether somebody changed something is told by the kernel's generation number, which every transaction on the host raises by one: as long as
 * it is what our own last one left, there is nothing to look at. Otherwise tables, chains, rules, counters and sets are read and
 * compared with a hash of what was there when they were made (rules have handles, so one that was replaced differs as well), and the sets' elements
 * with the model. Somebody else's changes to somebody else's tables cost that one reading. */
#include <arpa/inet.h>
#include <assert.h>
#include <errno.h>
#include <libmnl/libmnl.h>
#include <libnftnl/common.h>
#include <libnftnl/expr.h>
#include <libnftnl/gen.h>
#include <libnftnl/object.h>
#include <libnftnl/set.h>
#include <linux/netfilter.h>
#include <linux/netfilter/nf_tables.h>
#include <linux/netfilter/nfnetlink.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "base/mem.h"
#include "router/dataplane/netlink.h"
#include "router/dataplane/nft_internal.h"

const char *nft_drop_name(enum nft_drop d)
{
	static const char *const names[NFT_DROPS] = { "vxlan_stranger", "forged_mac", "forged_address", "handshake_flood",
		"control_port", "other_network" };
	return names[d];
}

static enum err error(int result, struct err_note *note, const char *doing)
{
	enum err e = netlink_err_of(result);
	return err_note(note, e, "cannot %s: %s%s", doing, strerror(-result),
		e == ERR_PERMISSION ? "; weftd needs CAP_NET_ADMIN: run it as root or from its systemd unit" : "");
}

/* ---- reading */

/* Counters into the model. adopt: elements that the model lacks as well. Sets that are not there are passed over. */
static int take_counts(struct nft *n, unsigned parts, bool adopt)
{
	struct nft_elems got = { 0 };
	int result = 0;
	for (int s = 0; s < NFT_SETS && result == 0; s++) {
		if (!(parts & nft_set_kinds[s].part) || (!adopt && !nft_set_kinds[s].counted))
			continue;
		result = nft_read_set(n, (enum nft_set_id)s, &got);
		if (result == -ENOENT || result == -EPROTO)
			result = 0;
	}
	for (size_t i = 0; i < got.n && result == 0; i++) {
		struct nft_elem *e = nft_elems_find(&n->elems, &got.v[i]);
		if (e)
			e->counts = got.v[i].counts;
	}
	if (adopt && result == 0) {
		nft_elems_sort(&got);
		mem_free(n->elems.v);
		n->elems = got;
		got = (struct nft_elems){ 0 };
	}
	mem_free(got.v);
	if (result == 0 && parts & NFT_PART_INET)
		result = nft_read_drops(n, NFPROTO_INET, n->drops);
	if (result == 0 && parts & NFT_PART_BRIDGE)
		result = nft_read_drops(n, NFPROTO_BRIDGE, n->drops);
	return result;
}

/* Gone, or of another make, is not right either. */
static int all_right(struct nft *n, bool *right)
{
	uint64_t signature = 0;
	int result = nft_read_signature(n, &signature);
	*right = result == 0 && signature == n->signature;
	if (*right)
		result = nft_same_elems(n, right);
	if (result == -ENOENT || result == -EPROTO) {
		*right = false;
		result = 0;
	}
	return result;
}

/* ---- changing */

/* Our own transaction raised the generation by one; by more, somebody else's came between. */
static void note_generation(struct nft *n, uint32_t before)
{
	uint32_t now;
	n->generation = nft_read_generation(n, &now) == 0 && before != 0 && now == before + 1 ? now : 0;
}

static int commit(struct nft *n, struct nft_batch *b, uint8_t *part)
{
	int result = nft_batch_commit(b, n->commands, part);
	n->seq = b->first + (uint32_t)b->n + 1;
	return result;
}

/* What a kernel says to something it does not know. */
static bool is_lack(int result)
{
	switch (-result) {
	case ENOENT:
	case EINVAL:
	case ENOSYS:
	case EOPNOTSUPP:
	case EAFNOSUPPORT:
	case EPROTONOSUPPORT: return true;
	default: return false;
	}
}

static unsigned without(unsigned parts, uint8_t part)
{
	return parts & ~(unsigned)part & ~(part == NFT_PART_INET ? (unsigned)NFT_PART_HANDSHAKES | NFT_PART_NAT : 0);
}

/* Both tables from the model; parts that the kernel does not know are left out. */
static int make(struct nft *n)
{
	int result = -EOPNOTSUPP;
	while (n->parts) {
		struct nft_batch b;
		uint8_t part = 0;
		uint32_t before = 0;
		(void)nft_read_generation(n, &before);
		result = -ENOMEM;
		if (nft_batch_begin(&b, n->seq + 1)) {
			nft_rules_make(&b, n->parts, &n->cfg, n->drops, &n->elems, &n->nat);
			result = commit(n, &b, &part);
		}
		nft_batch_free(&b);
		if (result == 0) {
			note_generation(n, before);
			return nft_read_signature(n, &n->signature);
		}
		if (!is_lack(result) || !part)
			return result;
		n->parts = without(n->parts, part);
	}
	return result;
}

/* With the counters that are still there, else with those we know. */
static int make_again(struct nft *n)
{
	int result = take_counts(n, n->parts, false);
	result = result ? result : make(n);
	n->unmade = result != 0;
	return result;
}

static bool runs(struct nft_batch *b, unsigned parts, bool add, const struct nft_elems *l)
{
	for (size_t i = 0, len; i < l->n; i += len) {
		for (len = 1; i + len < l->n && l->v[i + len].set == l->v[i].set;)
			len++;
		if (parts & nft_set_kinds[l->v[i].set].part)
			nft_rules_elems(b, add, &l->v[i], len);
	}
	return !b->failed;
}

/* From one ordered list to another; what is in both keeps its counts. false: out of memory. */
static bool differences(const struct nft_elems *from, struct nft_elems *to, struct nft_elems *gone, struct nft_elems *come)
{
	bool ok = true;
	for (size_t i = 0, j = 0; ok && (i < from->n || j < to->n);) {
		int c = i == from->n ? 1 : j == to->n ? -1 : nft_elem_cmp(&from->v[i], &to->v[j]);
		if (c == 0)
			to->v[j++].counts = from->v[i++].counts;
		else
			ok = c < 0 ? nft_elems_add(gone, &from->v[i++]) : nft_elems_add(come, &to->v[j++]);
	}
	return ok;
}

static int send_differences(struct nft *n, const struct nft_elems *gone, const struct nft_elems *come)
{
	struct nft_batch b;
	uint8_t part;
	uint32_t before = n->generation;
	int result = -ENOMEM;
	if (nft_batch_begin(&b, n->seq + 1) && runs(&b, n->parts, false, gone) && runs(&b, n->parts, true, come)) {
		const bool any = b.n > 0;
		result = commit(n, &b, &part);
		if (result == 0 && any)
			note_generation(n, before);
	}
	nft_batch_free(&b);
	return result;
}

/* The sets from `first` to `last` shall hold `want` (in any order), the others what they hold. Takes want's memory. */
static int change(struct nft *n, enum nft_set_id first, enum nft_set_id last, struct nft_elems *want)
{
	struct nft_elems gone = { 0 }, come = { 0 };
	bool ok = true;
	for (size_t i = 0; i < n->elems.n && ok; i++)
		if (n->elems.v[i].set < first || n->elems.v[i].set > last)
			ok = nft_elems_add(want, &n->elems.v[i]);
	nft_elems_sort(want);
	ok = ok && differences(&n->elems, want, &gone, &come);
	int result = ok ? 0 : -ENOMEM;
	if (ok) {
		mem_free(n->elems.v);
		n->elems = *want;
		*want = (struct nft_elems){ 0 };
		if (gone.n + come.n > 0 && !n->unmade)
			result = send_differences(n, &gone, &come);
		if (result || n->unmade) /* the kernel's sets are not what we think, or are gone */
			result = make_again(n);
	}
	mem_free(gone.v);
	mem_free(come.v);
	mem_free(want->v);
	return result;
}

/* ---- what others call */

static const char *what_lacks(unsigned parts)
{
	const unsigned lacking = NFT_PARTS_ALL & ~parts;
	switch (lacking == NFT_PART_NAT ? lacking : lacking & ~(unsigned)NFT_PART_NAT) {
	case 0: return NULL;
	case NFT_PART_NAT:
		return "addresses are not translated: exposing does without masquerade, and Docker's own resolver does not find weft's names (no nat "
			   "chains of the inet family in nftables, which Linux has from 5.2 on; modprobe nft_chain_nat)";
	case NFT_PART_HANDSHAKES: return "floods of handshakes are not limited by the kernel (no dynamic sets in nftables)";
	case NFT_PART_BRIDGE:
		return "containers' frames are not checked for forged addresses (no bridge family, or no concatenations, in nftables)";
	case NFT_PART_BRIDGE | NFT_PART_HANDSHAKES:
		return "containers' frames are not checked for forged addresses, and floods of handshakes are not limited by the kernel "
			   "(no bridge family and no dynamic sets in nftables)";
	default: return "VXLAN from strangers is not kept out and not counted (no inet family in nftables)";
	}
}

static enum err open_sockets(struct nft *n, struct err_note *note)
{
	n->commands = mnl_socket_open2(NETLINK_NETFILTER, SOCK_CLOEXEC);
	n->events = n->commands ? mnl_socket_open2(NETLINK_NETFILTER, SOCK_CLOEXEC | SOCK_NONBLOCK) : NULL;
	if (n->events && mnl_socket_bind(n->commands, 0, MNL_SOCKET_AUTOPID) == 0 &&
		mnl_socket_bind(n->events, 1u << (NFNLGRP_NFTABLES - 1), MNL_SOCKET_AUTOPID) == 0)
		return ERR_OK;
	const int failed = errno;
	if (failed == EPROTONOSUPPORT)
		return err_note(note, ERR_UNSUPPORTED, "the kernel has no nftables");
	return error(-failed, note, "open a socket for nftables");
}

enum err nft_open(struct nft **out, const struct nft_cfg *cfg, const char **lacks, struct err_note *note)
{
	struct nft *n = mem_zalloc(1, sizeof *n);
	if (!n)
		return err_note(note, ERR_NOMEM, "out of memory");
	n->cfg = *cfg;
	n->parts = NFT_PARTS_ALL;
	enum err e = open_sockets(n, note);
	if (e == ERR_OK) {
		/* What cannot be read is not there to be kept; whether something can be made shows next. */
		(void)take_counts(n, NFT_PARTS_ALL, true);
		int result = make(n);
		if (result)
			e = is_lack(result) ? err_note(note, ERR_UNSUPPORTED, "the kernel has no nftables; load it: modprobe nf_tables")
								: error(result, note, "make the nftables tables " NFT_TABLE);
	}
	if (e != ERR_OK) {
		nft_close(n);
		return e;
	}
	*lacks = what_lacks(n->parts);
	*out = n;
	return ERR_OK;
}

void nft_close(struct nft *n)
{
	if (!n)
		return;
	if (n->commands)
		mnl_socket_close(n->commands);
	if (n->events)
		mnl_socket_close(n->events);
	mem_free(n->elems.v);
	mem_free(n->peers);
	mem_free(n->nat.exposed);
	mem_free(n);
}

enum err nft_reset(struct nft *n, struct err_note *note)
{
	int result = 0;
	while (n->parts) {
		struct nft_batch b;
		uint8_t part = 0;
		result = -ENOMEM;
		if (nft_batch_begin(&b, n->seq + 1)) {
			nft_rules_remove(&b, n->parts);
			result = commit(n, &b, &part);
		}
		nft_batch_free(&b);
		if (result && !part)
			break;
		n->parts = result ? without(n->parts, part) : 0;
		if (is_lack(result)) /* it has no such family, so no such table */
			result = 0;
	}
	n->elems.n = 0;
	return result ? error(result, note, "remove the nftables tables " NFT_TABLE) : ERR_OK;
}

enum err nft_remove(struct err_note *note)
{
	struct nft *n = mem_zalloc(1, sizeof *n);
	if (!n)
		return err_note(note, ERR_NOMEM, "out of memory");
	enum err e = open_sockets(n, note);
	n->parts = NFT_PARTS_ALL;
	if (e == ERR_OK)
		e = nft_reset(n, note);
	nft_close(n);
	return e == ERR_UNSUPPORTED ? ERR_OK : e;
}

static int by_peer(const void *a, const void *b)
{
	const struct nft_known_peer *x = a, *y = b;
	return (x->peer > y->peer) - (x->peer < y->peer);
}

static struct nft_elem peer_elem(struct ip underlay, bool sent)
{
	struct nft_elem e = { .set = (uint8_t)(underlay.family == 6 ? (sent ? NFT_TX6 : NFT_RX6) : (sent ? NFT_TX4 : NFT_RX4)) };
	memcpy(e.key, underlay.b, sizeof underlay.b); /* of IPv4 the rest is zero, as in the key */
	return e;
}

static enum err set_peers(struct nft *n, const struct nft_peer *peers, size_t count, bool keep, struct err_note *note)
{
	struct nft_elems want = { 0 };
	struct nft_known_peer *list = mem_zalloc(count + 1, sizeof *list);
	bool ok = list != NULL;
	for (size_t i = 0; i < count && ok; i++) {
		const struct nft_elem in = peer_elem(peers[i].underlay, false), outward = peer_elem(peers[i].underlay, true);
		list[i] = (struct nft_known_peer){ peers[i].peer, peers[i].underlay };
		ok = peers[i].underlay.family == 0 || (nft_elems_add(&want, &in) && nft_elems_add(&want, &outward));
	}
	nft_elems_sort(&want);
	const size_t listed = want.n;
	for (size_t i = 0; i < n->elems.n && keep && ok; i++)
		if (n->elems.v[i].set <= NFT_TX6)
			ok = nft_elems_add(&want, &n->elems.v[i]);
	if (!ok) {
		mem_free(list);
		mem_free(want.v);
		return err_note(note, ERR_NOMEM, "out of memory");
	}
	qsort(list, count, sizeof *list, by_peer);
	mem_free(n->peers);
	n->peers = list;
	n->n_peers = count;
	int result = change(n, NFT_RX4, NFT_TX6, &want);
	size_t have = 0;
	while (have < n->elems.n && n->elems.v[have].set <= NFT_TX6) /* they are the first */
		have++;
	n->keeps = have > listed;
	return result ? error(result, note, "tell nftables the other hosts' addresses") : ERR_OK;
}

enum err nft_set_peers(struct nft *n, const struct nft_peer *peers, size_t count, struct err_note *note)
{
	return set_peers(n, peers, count, false, note);
}

enum err nft_add_peers(struct nft *n, const struct nft_peer *peers, size_t count, struct err_note *note)
{
	return set_peers(n, peers, count, true, note);
}

bool nft_keeps(const struct nft *n)
{
	return n->keeps;
}

static bool port_elems(struct nft_elems *want, const struct nft_port *p)
{
	struct nft_elem e = { .set = NFT_PORTS };
	memcpy(e.key, p->ifname, strlen(p->ifname));
	bool ok = nft_elems_add(want, &e);
	e.set = NFT_MACS;
	memcpy(e.key + NFT_IFNAME, p->mac.b, sizeof p->mac.b);
	ok = ok && nft_elems_add(want, &e);
	for (size_t i = 0; i < p->n_addrs && ok; i++) {
		const struct ip *a = &p->addrs[i].addr;
		e.set = a->family == 6 ? NFT_ADDRS6 : NFT_ADDRS4;
		memcpy(e.key + NFT_IFNAME, a->b, sizeof a->b);
		ok = a->family == 0 || nft_elems_add(want, &e);
	}
	return ok;
}

enum err nft_set_ports(struct nft *n, const struct nft_port *ports, size_t count, struct err_note *note)
{
	struct nft_elems want = { 0 };
	enum err e = ERR_OK;
	for (size_t i = 0; i < count && e == ERR_OK; i++) {
		if (strlen(ports[i].ifname) > NETLINK_NAME_MAX)
			e = err_note(note, ERR_USAGE, "interface name '%s' is longer than %d characters", ports[i].ifname, NETLINK_NAME_MAX);
		else if (!port_elems(&want, &ports[i]))
			e = err_note(note, ERR_NOMEM, "out of memory");
	}
	if (e != ERR_OK) {
		mem_free(want.v);
		return e;
	}
	int result = change(n, NFT_PORTS, NFT_ADDRS6, &want);
	return result ? error(result, note, "tell nftables the containers' addresses") : ERR_OK;
}

/* The set shall hold these, and is told if it does not. Takes want's memory. */
static enum err set_to(struct nft *n, enum nft_set_id set, struct nft_elems *want, const char *what, struct err_note *note)
{
	size_t have = 0;
	bool same = true;
	nft_elems_sort(want);
	for (size_t i = 0; i < n->elems.n && n->elems.v[i].set <= set; i++)
		have += n->elems.v[i].set == set;
	for (size_t i = 0; i < want->n && same; i++)
		same = nft_elems_find(&n->elems, &want->v[i]) != NULL;
	if (same && have == want->n && !n->unmade) {
		mem_free(want->v);
		return ERR_OK;
	}
	int result = change(n, set, set, want);
	return result ? error(result, note, what) : ERR_OK;
}

/* Interfaces' names, each so often in a key. */
static enum err set_names(struct nft *n, enum nft_set_id set, const char *const *ifnames, size_t count, unsigned times,
	const char *what, struct err_note *note)
{
	struct nft_elems want = { 0 };
	enum err e = ERR_OK;
	for (size_t i = 0; i < count && e == ERR_OK; i++) {
		struct nft_elem one = { .set = (uint8_t)set };
		const size_t len = strlen(ifnames[i]);
		if (len > NETLINK_NAME_MAX) {
			e = err_note(note, ERR_USAGE, "interface name '%s' is longer than %d characters", ifnames[i], NETLINK_NAME_MAX);
			break;
		}
		for (unsigned k = 0; k < times; k++)
			memcpy(one.key + (size_t)k * NFT_IFNAME, ifnames[i], len);
		if (!nft_elems_add(&want, &one))
			e = err_note(note, ERR_NOMEM, "out of memory");
	}
	if (e == ERR_OK)
		return set_to(n, set, &want, what, note);
	mem_free(want.v);
	return e;
}

enum err nft_set_bridges(struct nft *n, const char *const *ifnames, size_t count, struct err_note *note)
{
	return set_names(n, NFT_BRIDGES, ifnames, count, 2, "tell nftables the networks' bridges", note);
}

enum err nft_set_guests(struct nft *n, const char *const *ifnames, size_t count, struct err_note *note)
{
	return set_names(n, NFT_GUESTS, ifnames, count, 1, "tell nftables the bridges of other containers", note);
}

/* ---- translating: rules, not sets, so a change makes the tables anew */

bool nft_translates(const struct nft *n)
{
	return (n->parts & NFT_PART_NAT) != 0;
}

static bool same_exposed(const struct nft_nat *nat, const struct nft_exposed *list, size_t count)
{
	bool same = nat->n_exposed == count;
	for (size_t i = 0; i < count && same; i++) {
		const struct nft_exposed *a = &nat->exposed[i], *b = &list[i];
		same = strcmp(a->bridge, b->bridge) == 0 && prefix_eq(a->addr, b->addr) && a->masquerade == b->masquerade;
	}
	return same;
}

enum err nft_set_exposed(struct nft *n, const struct nft_exposed *list, size_t count, struct err_note *note)
{
	if (same_exposed(&n->nat, list, count) && !n->unmade)
		return ERR_OK;
	/* the names behind it */
	struct nft_exposed *copy = mem_zalloc(count + 1, sizeof *copy + NETLINK_NAME_MAX + 1);
	if (!copy)
		return err_note(note, ERR_NOMEM, "out of memory");
	char *names = (char *)(copy + count);
	for (size_t i = 0; i < count; i++) {
		const size_t len = strlen(list[i].bridge);
		if (len > NETLINK_NAME_MAX) {
			mem_free(copy);
			return err_note(
				note, ERR_USAGE, "interface name '%s' is longer than %d characters", list[i].bridge, NETLINK_NAME_MAX);
		}
		copy[i] = list[i];
		copy[i].bridge = memcpy(names + i * (NETLINK_NAME_MAX + 1), list[i].bridge, len + 1);
	}
	mem_free(n->nat.exposed);
	n->nat.exposed = copy;
	n->nat.n_exposed = count;
	int result = n->parts & NFT_PART_NAT ? make_again(n) : 0;
	return result ? error(result, note, "tell nftables what is exposed") : ERR_OK;
}

enum err nft_set_resolvers(struct nft *n, const struct ip *servers, size_t count, struct hostport names, struct err_note *note)
{
	struct nft_elems want = { 0 };
	bool ok = true;
	for (size_t i = 0; i < count && ok && names.ip.family == 4; i++) {
		struct nft_elem e = { .set = NFT_RESOLVERS };
		memcpy(e.key, servers[i].b, 4);
		ok = servers[i].family != 4 || ip_eq(servers[i], names.ip) || nft_elems_add(&want, &e);
	}
	if (!ok) {
		mem_free(want.v);
		return err_note(note, ERR_NOMEM, "out of memory");
	}
	const bool same = ip_eq(n->nat.names.ip, names.ip) && n->nat.names.port == names.port;
	n->nat.names = names;
	n->unmade = n->unmade || (!same && n->parts & NFT_PART_NAT); /* whatever fails from here on */
	enum err e = set_to(n, NFT_RESOLVERS, &want, "tell nftables the host's name servers", note);
	int result = e == ERR_OK && n->unmade ? make_again(n) : 0;
	return result ? error(result, note, "lead questions for names to weft") : e;
}

enum err nft_refresh(struct nft *n, struct err_note *note)
{
	int result = take_counts(n, n->parts, false);
	return result ? error(result, note, "read the counters of nftables") : ERR_OK;
}

bool nft_traffic(const struct nft *n, uint64_t peer, struct nft_traffic *out)
{
	const struct nft_known_peer key = { .peer = peer };
	const struct nft_known_peer *p = n->n_peers > 0 ? bsearch(&key, n->peers, n->n_peers, sizeof key, by_peer) : NULL;
	if (!p)
		return false;
	const struct nft_elem in = peer_elem(p->underlay, false), outward = peer_elem(p->underlay, true);
	const struct nft_elem *received = nft_elems_find(&n->elems, &in), *sent = nft_elems_find(&n->elems, &outward);
	*out = (struct nft_traffic){ 0 };
	if (received) {
		out->packets_received = received->counts.packets;
		out->bytes_received = received->counts.bytes;
	}
	if (sent) {
		out->packets_sent = sent->counts.packets;
		out->bytes_sent = sent->counts.bytes;
	}
	return true;
}

uint64_t nft_dropped(const struct nft *n, enum nft_drop d)
{
	return n->drops[d].packets;
}

int nft_fd(const struct nft *n)
{
	return mnl_socket_get_fd(n->events);
}

/* What the messages say does not matter, nor whether some were lost. */
static void drain_events(struct nft *n)
{
	uint8_t byte;
	for (;;) {
		ssize_t got = recv(mnl_socket_get_fd(n->events), &byte, sizeof byte, MSG_DONTWAIT);
		if (got < 0 && errno != EINTR && errno != ENOBUFS)
			return;
	}
}

enum err nft_same(struct nft *n, bool *same, struct err_note *note)
{
	*same = true;
	int result = n->parts ? all_right(n, same) : 0;
	*same = *same && !n->unmade;
	return result ? error(result, note, "read the nftables tables " NFT_TABLE) : ERR_OK;
}

bool nft_next_port(const struct nft *n, size_t *it, char ifname[16])
{
	for (; *it < n->elems.n; (*it)++) {
		if (n->elems.v[*it].set != NFT_PORTS)
			continue;
		memcpy(ifname, n->elems.v[*it].key, NFT_IFNAME);
		ifname[NFT_IFNAME - 1] = '\0';
		(*it)++;
		return true;
	}
	return false;
}

enum err nft_check(struct nft *n, bool *mended, struct err_note *note)
{
	uint32_t now = 0;
	bool right = true;
	*mended = false;
	drain_events(n);
	if (!n->parts)
		return ERR_OK;
	int result = nft_read_generation(n, &now);
	if (result == 0 && now == n->generation && now != 0 && !n->unmade)
		return ERR_OK;
	if (result == 0)
		result = all_right(n, &right);
	if (result == 0 && right) {
		n->generation = now;
		return ERR_OK;
	}
	if (result == 0)
		result = make_again(n);
	*mended = result == 0;
	return result ? error(result, note, "mend the nftables tables " NFT_TABLE) : ERR_OK;
}
