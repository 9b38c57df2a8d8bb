/* weft-sim [--seeds A-B] [--nodes N] [--busy MS] [--quiet MS] [--no-faults] [--trace] [--commit TEXT]
 *
 * Runs each seed twice and compares the traces. Prints one line for each failure with what replays it; ends with "N passed, N failed". */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/sim/sim.h"

struct args {
	uint64_t first, last;
	struct sim_cfg cfg;
	const char *commit;
};

static bool number(const char *text, uint64_t *out)
{
	char *end;

	errno = 0;
	*out = strtoull(text, &end, 10);
	return errno == 0 && end != text && *end == '\0';
}

static bool seeds(const char *text, struct args *a)
{
	char first[32];
	const char *dash = strchr(text, '-');

	if (dash == NULL)
		return number(text, &a->first) && number(text, &a->last);
	if ((size_t)(dash - text) >= sizeof(first))
		return false;
	memcpy(first, text, (size_t)(dash - text));
	first[dash - text] = '\0';
	return number(first, &a->first) && number(dash + 1, &a->last) && a->first <= a->last;
}

static bool parse(int argc, char **argv, struct args *a)
{
	for (int i = 1; i < argc; i++) {
		const char *value = i + 1 < argc ? argv[i + 1] : "";
		uint64_t n = 0;
		if (strcmp(argv[i], "--no-faults") == 0) {
			a->cfg.faults = false;
			continue;
		}
		if (strcmp(argv[i], "--trace") == 0) {
			a->cfg.trace = stdout;
			continue;
		}
		i++;
		if (strcmp(argv[i - 1], "--commit") == 0)
			a->commit = value;
		else if (strcmp(argv[i - 1], "--seeds") == 0 && seeds(value, a))
			continue;
		else if (strcmp(argv[i - 1], "--nodes") == 0 && number(value, &n) && n >= 2 && n <= SIM_NODES_MAX)
			a->cfg.nodes = (size_t)n;
		else if (strcmp(argv[i - 1], "--busy") == 0 && number(value, &a->cfg.busy_ms))
			continue;
		else if (strcmp(argv[i - 1], "--quiet") == 0 && number(value, &a->cfg.quiet_ms))
			continue;
		else {
			(void)fprintf(stderr, "weft-sim: '%s %s' is not understood; see the top of tests/sim/main.c\n", argv[i - 1], value);
			return false;
		}
	}
	return true;
}

static bool one_seed(const struct args *a, uint64_t seed, uint64_t *events)
{
	struct sim_cfg cfg = a->cfg;
	char failure[512], again[512];
	uint64_t hash[2], more = 0;

	cfg.seed = seed;
	bool ok = sim_run(&cfg, &hash[0], failure, sizeof(failure), events);
	cfg.trace = NULL;
	if (ok && !sim_run(&cfg, &hash[1], again, sizeof(again), &more)) {
		(void)snprintf(failure, sizeof(failure), "only in the second run: %.400s", again);
		ok = false;
	}
	if (ok && hash[0] != hash[1]) {
		(void)snprintf(failure, sizeof(failure), "two runs of one seed differ");
		ok = false;
	}
	if (!ok)
		(void)printf("FAILED seed %" PRIu64 " at commit %s: %s\n  replay: ./dev sim --seeds %" PRIu64 "-%" PRIu64
					 " --nodes %zu --trace\n",
			seed, a->commit, failure, seed, seed, cfg.nodes);
	return ok;
}

int main(int argc, char **argv)
{
	struct args a = {
		.first = 1, .last = 1, .commit = "(unknown)", .cfg = { .nodes = 5, .busy_ms = 30000, .quiet_ms = 120000, .faults = true }
	};
	uint64_t passed = 0, failed = 0, events = 0;

	if (!parse(argc, argv, &a))
		return 2;
	(void)setvbuf(stdout, NULL, _IOLBF, 0);
	for (uint64_t seed = a.first; seed <= a.last; seed++) {
		uint64_t n = 0;
		if (one_seed(&a, seed, &n))
			passed++;
		else
			failed++;
		events += n;
	}
	(void)printf("simulated %" PRIu64 " seeds with %zu nodes, %" PRIu64 " events, each twice\n", a.last - a.first + 1,
		a.cfg.nodes, events);
	(void)printf("%" PRIu64 " passed, %" PRIu64 " failed\n", passed, failed);
	return failed > 0 ? 1 : 0;
}
