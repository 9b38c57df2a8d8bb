/* The host's bridges that are not weft's, and whether frames that bridges pass on are shown to the host's iptables (br_netfilter).
 *
 * Where they are, a frame from one container to another on weft's bridge is a packet to be forwarded, and a firewall that forwards nothing (Docker's, by default) drops
 * it; no rule of ours can undo another's drop. The kernel has a switch for all bridges of a network namespace and one for each, and a
 * frame is shown when either is on. So what is meant for all but weft's is: each other bridge's own on, that for all off. docs/adr/0008-nftables.md says
 * when weft does so. Control thread only. */
#ifndef WEFT_DATAPLANE_BRIDGES_H
#define WEFT_DATAPLANE_BRIDGES_H

#include <stdbool.h>

#include "base/addr.h"
#include "base/err.h"
#include "router/dataplane/netlink.h"

struct bridges;
enum err bridges_open(struct bridges **out, struct err_note *note) MUST_CHECK;
void bridges_close(struct bridges *b); /* takes NULL */
/* Readable when something about interfaces or addresses changed; bridges_news then says whether that may concern a bridge. */
int bridges_fd(const struct bridges *b);
bool bridges_news(struct bridges *b);

/* Every bridge of this namespace, weft's too, in no order. */
struct bridges_one {
	int index;
	char name[NETLINK_NAME_MAX + 1];
	bool shown4, shown6; /* its own switches */
};
typedef void (*bridges_each)(const struct bridges_one *bridge, void *arg);
enum err bridges_list(struct bridges *b, bridges_each each, void *arg, struct err_note *note) MUST_CHECK;
/* Switches its own on (off) for a family. */
enum err bridges_show(struct bridges *b, int index, int family, bool on, struct err_note *note) MUST_CHECK;
/* The switch for all: 1, 0; -1: the kernel has none (br_netfilter is not loaded). */
int bridges_all_shown(int family);
enum err bridges_show_all(int family, bool on, struct err_note *note) MUST_CHECK;
/* The text of the note (below) that says for which families weft has put the switch for all off: 1 IPv4, 2 IPv6, 3 both; 0: "". */
const char *bridges_hidden_text(unsigned hidden);
unsigned bridges_hidden(struct bridges *b, const char *ifname); /* what the note on ifname says */
/* Puts the switch for all on again for these families, where it is off. Goes on after a failure and reports the last. */
enum err bridges_show_again(unsigned hidden, struct err_note *note) MUST_CHECK;

/* IPv4 subnets of an interface, with the host's address. */
typedef void (*bridges_subnet)(struct prefix subnet, void *arg);
enum err bridges_subnets(struct bridges *b, int index, bridges_subnet each, void *arg, struct err_note *note) MUST_CHECK;
/* Answers from the address for names to that subnet leave by that interface, and not by weft's bridge (link.h: link_dns_address). Goes with the interface. */
enum err bridges_answer_by(struct bridges *b, int index, struct prefix subnet, struct err_note *note) MUST_CHECK;

/* A note on an interface of ours, which lives as long as that; what is not there is "". */
enum err bridges_note(struct bridges *b, const char *ifname, const char *text, struct err_note *note) MUST_CHECK;
bool bridges_noted(struct bridges *b, const char *ifname, const char *text);

#endif
