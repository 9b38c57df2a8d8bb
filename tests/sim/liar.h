/* A member that lies: well-formed messages of every kind, signed with its own key or with what it may find, put on the links that its own,
 * honest, core has made. The simulator, the fuzzer and the end-to-end tests use it.
 *
 * It says nothing that is any member's to say (docs/adr/0012): it writes no names, networks and holds of its own and does not vote. */
#ifndef WEFT_TESTS_LIAR_H
#define WEFT_TESTS_LIAR_H

#include "base/rng.h"
#include "router/core/core.h"

/* What a token said that should never be taken. */
struct lie {
	uint8_t key[9], value[11];
	struct stamp stamp;
	uint64_t victim; /* who had the addresses */
};

#define LIAR_RECENT 64
struct liar {
	struct rng rng;
	struct lie recent[LIAR_RECENT]; /* a ring */
	size_t n_recent;
	bool
		tokens; /* also tokens over others' addresses, and floors of others: not while some of those cannot be reached, for then any member may */
	size_t said;
	bool floods;        /* publishes far more than a host may, and forgets hosts that never were */
	uint32_t published; /* items of that */
};
void liar_init(struct liar *l, uint64_t seed);
/* Puts one message on a link of c's; the next core_step sends it. false: there is no link. */
bool liar_say(struct liar *l, struct core *c);
/* The same with bytes given. */
bool liar_say_bytes(struct core *c, size_t link, struct slice message);
size_t liar_links(const struct core *c);

#endif
