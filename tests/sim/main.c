/* weft-sim [--seeds A-B] [--nodes N] [--busy MS] [--quiet MS] [--no-faults] [--hostile] [--trace] [--stop-at-failure] [--commit TEXT]
 * weft-sim --scenario FILE [--trace]
 * weft-sim --soak SECONDS [--seeds A] [--step N]: every N-th seed from A on, of all sizes, until the time is over
 * weft-sim --measure boot|change|death|heal|idle [--nodes N] [--rtt-ms MS] [--loss PERCENT%] [--containers K] [--seeds A-B]
 *
 * Each N-th seed (--twice N; 1, in a soak 17, which falls on all sizes in turn; 0: none) runs twice and the traces are compared.
 * Prints one line for each failure with what replays it; ends with "N passed, N failed". */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "tests/sim/sim.h"

struct args {
	uint64_t first, last;
	struct sim_cfg cfg;
	const char *commit, *scenario;
	uint64_t soak_s, step, twice;
	bool stop;
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

static bool measure(const char *text, enum measure *out)
{
	static const char *const names[] = { "", "boot", "change", "death", "heal", "idle" };

	for (size_t i = 1; i < sizeof(names) / sizeof(names[0]); i++)
		if (strcmp(text, names[i]) == 0)
			*out = (enum measure)i;
	return *out != MEASURE_NONE;
}

/* "1%", "0.5%" */
static bool percent(const char *text, uint32_t *pm)
{
	char *end;
	double v = strtod(text, &end);

	*pm = (uint32_t)(v * 10000 + 0.5);
	return end != text && strcmp(end, "%") == 0 && v >= 0 && v <= 100;
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
		if (strcmp(argv[i], "--hostile") == 0) {
			a->cfg.hostile = true;
			continue;
		}
		if (strcmp(argv[i], "--stop-at-failure") == 0) {
			a->stop = true;
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
		else if (strcmp(argv[i - 1], "--measure") == 0 && measure(value, &a->cfg.measure))
			continue;
		else if (strcmp(argv[i - 1], "--scenario") == 0 && *value != '\0')
			a->scenario = value;
		else if (strcmp(argv[i - 1], "--soak") == 0 && number(value, &a->soak_s) && a->soak_s > 0)
			continue;
		else if (strcmp(argv[i - 1], "--step") == 0 && number(value, &a->step) && a->step > 0)
			continue;
		else if (strcmp(argv[i - 1], "--twice") == 0 && number(value, &a->twice))
			continue;
		else if (strcmp(argv[i - 1], "--rtt-ms") == 0 && number(value, &a->cfg.rtt_ms) && a->cfg.rtt_ms <= 10000)
			continue;
		else if (strcmp(argv[i - 1], "--loss") == 0 && percent(value, &a->cfg.loss_pm))
			continue;
		else if (strcmp(argv[i - 1], "--containers") == 0 && number(value, &n) && n <= 1000)
			a->cfg.containers = (size_t)n;
		else {
			(void)fprintf(stderr, "weft-sim: '%s %s' is not understood; see the top of tests/sim/main.c\n", argv[i - 1], value);
			return false;
		}
	}
	return true;
}

/* That a run is a function of its seed is a property of the whole program: a share of the seeds shows it as well as all of them. */
static bool run_twice(const struct args *a, uint64_t seed)
{
	return a->twice > 0 && seed / a->step % a->twice == 0;
}

static bool one_seed(const struct args *a, uint64_t seed, uint64_t *events)
{
	struct sim_cfg cfg = a->cfg;
	const bool twice = run_twice(a, seed);
	char failure[512], again[512];
	uint64_t hash[2], more = 0;

	cfg.seed = seed;
	bool ok = sim_run(&cfg, &hash[0], failure, sizeof(failure), events);
	cfg.trace = NULL;
	if (ok && twice && !sim_run(&cfg, &hash[1], again, sizeof(again), &more)) {
		(void)snprintf(failure, sizeof(failure), "only in the second run: %.400s", again);
		ok = false;
	}
	if (ok && twice && hash[0] != hash[1]) {
		(void)snprintf(failure, sizeof(failure), "two runs of one seed differ");
		ok = false;
	}
	if (!ok)
		(void)printf("FAILED seed %" PRIu64 " at commit %s: %s\n  replay: ./dev sim --seeds %" PRIu64 "-%" PRIu64
					 " --nodes %zu%s --trace\n",
			seed, a->commit, failure, seed, seed, cfg.nodes, cfg.hostile ? " --hostile" : "");
	return ok;
}

static int one_scenario(const struct args *a)
{
	char error[900];

	if (scenario_run(&a->cfg, a->scenario, error, sizeof(error))) {
		(void)printf("%s: as expected\n1 passed, 0 failed\n", a->scenario);
		return 0;
	}
	(void)printf("FAILED %s\n0 passed, 1 failed\n", error);
	return 1;
}

/* Seeds of all sizes. Only here the real clock is looked at, and only to know when to end. */
static int soak(const struct args *a)
{
	static const size_t sizes[] = { 5, 3, 5, 8, 4, 5, 2, 6, 5, 12 };
	struct args one = *a;
	uint64_t passed = 0, failed = 0, events = 0, n;
	time_t end = time(NULL) + (time_t)a->soak_s;

	for (uint64_t seed = a->first; time(NULL) < end; seed += a->step) {
		one.cfg.nodes = sizes[seed / a->step % (sizeof(sizes) / sizeof(sizes[0]))];
		if (one_seed(&one, seed, &n))
			passed++;
		else
			failed++;
		events += n;
	}
	(void)printf("soaked %" PRIu64 " seeds from %" PRIu64 " on, %" PRIu64 " events\n", passed + failed, a->first, events);
	(void)printf("%" PRIu64 " passed, %" PRIu64 " failed\n", passed, failed);
	return failed > 0 ? 1 : 0;
}

static int measure_all(const struct args *a)
{
	int rc = 0;

	for (uint64_t seed = a->first; seed <= a->last; seed++) {
		struct sim_cfg cfg = a->cfg;
		char failure[512];
		cfg.seed = seed;
		if (measure_run(&cfg, stdout, failure, sizeof(failure)))
			continue;
		(void)fprintf(stderr, "seed %" PRIu64 ": %s\n", seed, failure);
		rc = 1;
	}
	return rc;
}

int main(int argc, char **argv)
{
	struct args a = { .first = 1,
		.last = 1,
		.step = 1,
		.twice = UINT64_MAX,
		.commit = "(unknown)",
		.cfg = { .nodes = 5, .busy_ms = 30000, .quiet_ms = 120000, .faults = true } };
	uint64_t passed = 0, failed = 0, events = 0;

	if (!parse(argc, argv, &a))
		return 2;
	if (a.twice == UINT64_MAX)
		a.twice = a.soak_s > 0 ? 17 : 1;
	(void)setvbuf(stdout, NULL, _IOLBF, 0);
	if (a.scenario != NULL)
		return one_scenario(&a);
	if (a.soak_s > 0)
		return soak(&a);
	if (a.cfg.measure != MEASURE_NONE)
		return measure_all(&a);
	for (uint64_t seed = a.first; seed <= a.last && !(a.stop && failed > 0); seed++) {
		uint64_t n = 0;
		if (one_seed(&a, seed, &n))
			passed++;
		else
			failed++;
		events += n;
	}
	(void)printf("simulated %" PRIu64 " seeds with %zu nodes, %" PRIu64 " events%s\n", passed + failed, a.cfg.nodes, events,
		a.twice == 1 ? ", each twice" : "");
	(void)printf("%" PRIu64 " passed, %" PRIu64 " failed\n", passed, failed);
	return failed > 0 ? 1 : 0;
}
