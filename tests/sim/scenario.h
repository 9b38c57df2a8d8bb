/* scenario.c and expect.c: what they share. */
#ifndef WEFT_TESTS_SCENARIO_H
#define WEFT_TESTS_SCENARIO_H

#include "tests/sim/sim.h"

enum { WORDS_MAX = 80, LINE_MAX_BYTES = 512, NAMES_MAX = 256, POLL_US = 50000 };

struct named_container {
	char name[24];
	size_t node;
	uint64_t number;
};

struct line {
	size_t number; /* in the file, from 1 */
	size_t n;
	char *word[WORDS_MAX];
	char *text; /* the words point into it */
};

struct scenario {
	const char *path;
	struct world w;
	struct sim_cfg cfg;
	struct line *lines;
	size_t n_lines, cap_lines, at;
	struct named_container names[NAMES_MAX];
	size_t n_names;
	bool made;
	char *error;
	size_t error_size;
};

/* scenario.c. Words are read by these; false: said what is wrong with them. */
bool scenario_bad(struct scenario *s, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
bool scenario_number(struct scenario *s, const char *word, uint64_t least, uint64_t most, uint64_t *out);
bool scenario_duration(struct scenario *s, const char *word, uint64_t *us);
bool scenario_nodes(struct scenario *s, const char *word, bool *set);
bool scenario_node(struct scenario *s, const char *word, size_t *out);
bool scenario_address(struct scenario *s, const char *word, struct ip *out);
bool scenario_up(struct scenario *s, size_t node);
struct named_container *scenario_find(struct scenario *s, const char *name);
const struct container *scenario_container(const struct scenario *s, const struct named_container *c); /* NULL: gone */

/* expect.c */
bool scenario_expects(const char *word); /* is there such an expectation? */
bool scenario_expect(struct scenario *s, const struct line *l);

#endif
