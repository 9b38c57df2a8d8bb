/* Steps of the core between being made and taking effect. What steps of one turn of the loop persist is one transaction with one commit; nothing
 * that any of them asks for is done before it is durable, and then all is done in the order in which the steps were made. */
#ifndef WEFT_ROUTER_BATCH_H
#define WEFT_ROUTER_BATCH_H

#include <stdbool.h>
#include <stddef.h>

#include "router/core/core.h"

#define BATCH_STEPS_MAX 1024       /* so many steps wait at most, unless they are made while others take effect */
#define BATCH_BYTES_MAX (1u << 20) /* of what they send */

struct store;
struct batch;
struct batch_cfg {
	struct store *store;
	void *ctx;
	/* Steps are durable now and will take effect: first all of them are shown, then of each its actions but replies, then its replies. What these
	 * functions do may make further steps (batch_begin, batch_add): those follow when these are through. */
	void (*ready)(void *ctx, const struct core_actions *steps, size_t n);
	void (*effect)(void *ctx, const struct core_action *a);
	void (*reply)(void *ctx, const struct core_action *a);
	void (*failed)(void *ctx, const char *why); /* told once: what waited is gone, and nothing takes effect any more */
};

enum err batch_new(struct batch **out, const struct batch_cfg *cfg) MUST_CHECK;
void batch_free(struct batch *b);
/* Room for one more step; its actions live until they have taken effect. ERR_NOMEM. */
enum err batch_begin(struct batch *b, struct core_actions *acts) MUST_CHECK;
/* The step that was begun has been made. It takes effect now if neither it nor any before it persists anything, and later otherwise. */
void batch_add(struct batch *b, const struct core_actions *acts);
/* Commits and carries out what waits, and what that makes, until nothing waits. From within a step's effects: does nothing, since what waits is
 * carried out after them. */
void batch_flush(struct batch *b);
/* Nothing is stored any more; steps take effect at once. */
void batch_store_no_more(struct batch *b);

#endif
