/* The simulator: whole nodes (router/core) under simulated time, network and disk, from one seed.
 *
 *   world.c   one queue of events ordered by (time, sequence); runs it, injects clients' requests and faults by the seed
 *   net.c     connections: byte streams made of segments that may be lost, delayed, duplicated, reordered, cut in one direction
 *   data.c    datagrams of the data plane, and frames of containers by what the cores decided about them
 *   node.c    one host: core, disk, containers; carries out the core's actions, may die between any two of them
 *   faults.c  what goes wrong, and how often
 *   check.c   the invariants of DESIGN section 8
 *   hostile.c a host that lies; what it says is made up in liar.c
 *   prover.c  signatures that cost little, for most seeds
 *   scenario.c histories written down in text files; expect.c what is expected in them
 *   measure.c how long a large mesh takes for this and that, and at what cost
 *   main.c    seeds, replay, trace
 *
 * Nothing here reads a clock or a random source: the same seed gives the same run, and each seed is run twice to prove it. */
#ifndef WEFT_TESTS_SIM_H
#define WEFT_TESTS_SIM_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

#include "base/heap.h"
#include "base/map.h"
#include "base/rng.h"
#include "router/core/core.h"

#define SIM_NODES_MAX      2000
#define SIM_CONTAINERS_MAX 65536
#define SIM_NETWORKS       3
#define SIM_GONE_MAX       256

enum measure { MEASURE_NONE, MEASURE_BOOT, MEASURE_CHANGE, MEASURE_DEATH, MEASURE_HEAL, MEASURE_IDLE };

enum sim_init { SIM_INIT_ANY, SIM_INIT_CONSENSUS, SIM_INIT_SEEDS, SIM_INIT_TARGETS };

enum sim_targets { SIM_TARGETS_ALL, SIM_TARGETS_CHAIN, SIM_TARGETS_NONE };

struct sim_cfg {
	uint64_t seed;
	size_t nodes;
	uint64_t busy_ms, quiet_ms; /* time with requests and faults; longest time given to come to rest after it */
	bool faults;
	bool hostile;              /* the last host lies (hostile.c) */
	enum measure measure;      /* nothing goes wrong then but what is measured, no users act, and there is no data plane */
	uint64_t rtt_ms;           /* 0: a few milliseconds, and sometimes much more */
	uint32_t loss_pm;          /* segments lost for ever, per million */
	size_t containers;         /* measured runs: per node */
	bool scenario;             /* no users act but those of the scenario, and no line of hosts */
	enum sim_init init;        /* how the first division is made; ANY: by the seed */
	uint8_t range_len;         /* of the address range; 0: by the seed */
	uint32_t range_first;      /* 0: 10.32.0.0 */
	size_t quorum_of;          /* --ipalloc-init consensus=N; 0: as many as there are nodes */
	uint64_t reclaim_after_ms; /* scenarios: 0: never; else by the seed */
	bool apart;                /* the range is divided twice in it, on purpose: neither invariant 1 nor 2 holds */
	bool no_discovery;
	enum sim_targets targets;                           /* whom each host is told of when it starts */
	bool down[SIM_NODES_MAX], observers[SIM_NODES_MAX]; /* scenarios: not started at the beginning; without a vote */
	FILE *trace;                                        /* NULL: none */
};

struct world;
struct link;

enum sim_kind {
	SIM_TIMER,
	SIM_SEGMENT,
	SIM_RETRANSMIT,
	SIM_CONNECTED,
	SIM_CLOSED,
	SIM_DRAINED,
	SIM_CLIENT,
	SIM_FAULT,
	SIM_REVIVE,
	SIM_HEAL,
	SIM_DATAGRAM,
	SIM_TRAFFIC,
	SIM_START_CONTAINER,
	SIM_FLAP
};
struct sim_event {
	struct heap_node at; /* key = µs */
	enum sim_kind kind;
	size_t node;
	uint64_t life; /* of the node it is meant for: one that died meanwhile does not get it */
	uint64_t conn;
	struct link *link;
	struct segment *segment;
	struct packet *packet; /* data.c */
	int side;
	const char *why;
	uint64_t generation;
};

struct container {
	uint64_t number; /* its ident is c<number> */
	bool live;       /* the client has its address and uses it */
	bool named;
	struct ip addr;     /* live: its address; else the one claimed, family 0: any */
	uint64_t request;   /* pending allocation or claim; 0: none */
	bool given_up, had; /* had: when it asked an address was noted for it already, and only the answer had been lost */
};

struct habits { /* how its operator has configured the data plane, for ever */
	bool vxlan, password, trusts, sealed_only;
};

enum torn {
	TORN_NOT,
	TORN_BEFORE,
	TORN_AFTER
}; /* dies at its next transaction: it is not there; it is, and nothing that follows from it */

struct node {
	struct world *w;
	struct habits habits;
	size_t index;
	struct core *core; /* NULL: down */
	uint64_t life;     /* grows at each start */
	struct map *disk;  /* key -> struct blob */
	uint64_t name, incarnation, next_conn, next_request, timer_generation;
	uint8_t secret[32];
	bool observer, lost_disk;
	bool gone;          /* does not come back by itself */
	bool off;           /* without power: nobody says that nobody is there */
	struct map *halves; /* conn -> struct half */
	struct container *containers;
	size_t n_containers, cap_containers;
	struct ip wants; /* the address of the next container */
	bool wiped;      /* its state is lost, and its name is still its own: containers are found at the start */
	struct {         /* its operator's last command */
		uint64_t request;
		bool answered;
		enum err err;
		uint64_t count;
		char text[200];
	} command;
	int crash_in; /* actions until it dies; -1: not */
	bool disk_full;
	enum torn torn;
	uint64_t machine, disk_machine; /* whose state the disk holds: an image that was made on another machine is set aside */
	uint64_t clock_us, clock_at_us; /* what its clock showed when the world's did this, */
	int32_t drift_ppm;              /* and how much faster it goes since then */
	uint64_t stalled_until_us;
	uint64_t boot;         /* of the host: its clock begins anew with it */
	struct range4 *claims; /* what it says is its own, at its last step */
	size_t n_claims, cap_claims;
};

struct world {
	struct sim_cfg cfg;
	struct heap queue;
	struct rng rng;
	uint64_t now_us, trace_hash, events;
	struct node *nodes;
	struct data *data;
	struct hostile *hostile; /* NULL: nobody lies */
	uint32_t menu;           /* of faults (faults.c) */
	bool lossy, drifting;
	uint64_t flaps, machines;
	uint64_t gone[SIM_GONE_MAX]; /* hosts that will never come back, and whom nobody has removed */
	size_t n_gone;
	uint64_t removed[SIM_GONE_MAX]; /* and those whom somebody has removed, once */
	size_t n_removed;
	bool line;    /* each host knows its neighbours only, and nobody looks for others */
	uint8_t *cut; /* [from * nodes + to]: segments that way are lost */
	struct link *links;
	void (*after_step)(struct node *n); /* measure.c; NULL: none */
	void *watch;
	uint32_t loss_pm, dup_pm, late_pm; /* per million */
	uint64_t delay_max_us;
	uint64_t next_container;
	uint16_t *claimed;     /* 1 + the node that says so, of each address of the range; 0: nobody (invariant 2) */
	struct map *addresses; /* address -> struct container that uses it: invariant 1 */
	struct universe universe;
	enum ipam_init init;
	uint64_t reclaim_after_ms;
	bool by_targets; /* the first agreement expects as many hosts as there are targets */
	uint64_t *seeds; /* the same list for every host, for ever */
	bool busy;
	char failure[512]; /* first broken invariant; empty: none */
};

/* world.c */
bool sim_run(const struct sim_cfg *cfg, uint64_t *trace_hash, char *failure, size_t size, uint64_t *events);
void world_make(struct world *w, const struct sim_cfg *cfg);
void world_run_until(struct world *w, uint64_t until_us); /* or until an invariant is broken */
void world_free(struct world *w);
uint64_t world_delay_us(struct world *w); /* of one segment or datagram, one way */
void sim_fail(struct world *w, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
void sim_trace(struct world *w, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
struct sim_event *sim_schedule(struct world *w, uint64_t delay_us, enum sim_kind kind, size_t node);
void *sim_must(void *p); /* the machine's own memory is out: ends the program */

/* net.c */
void net_dial(struct node *n, uint64_t conn, const char *host, uint16_t port);
void net_send(struct node *n, uint64_t conn, struct slice bytes);
void net_close(struct node *n, uint64_t conn);
void net_node_died(struct node *n, bool silently);
void net_event(struct world *w, struct sim_event *ev);
void net_free(struct world *w);

/* prover.c */
const struct gossip_prover *prover_choose(uint64_t seed, size_t nodes);

/* scenario.c */
bool scenario_run(const struct sim_cfg *cfg, const char *path, char *error, size_t size);

/* measure.c */
bool measure_run(const struct sim_cfg *cfg, FILE *out, char *failure, size_t size);

/* faults.c */
void faults_make(struct world *w);
void faults_event(struct world *w);
void faults_calm(struct world *w);
uint64_t faults_late_us(struct world *w);
void fault_cut(struct world *w, size_t from, size_t to, bool cut);
void fault_cut_both(struct world *w, size_t a, size_t b, bool cut);
void fault_heal(struct world *w);
void fault_flap(struct world *w, size_t a, size_t b, unsigned times);
void fault_flap_event(struct world *w, const struct sim_event *ev);
bool fault_may_lose(const struct world *w, const struct node *n);
void fault_replace(struct world *w, struct node *n);
void fault_clone(struct world *w, struct node *from, struct node *to);
bool fault_remove_gone(struct world *w, struct node *n);  /* the last one; false: not now */
bool fault_remove_again(struct world *w, struct node *n); /* one that was removed too early; false: there is none */
void fault_torn(struct world *w, struct node *n);
void fault_restart_all(struct world *w, uint32_t part_pm);
void fault_stall(struct world *w, struct node *n, uint64_t us);
void fault_drift(struct world *w, struct node *n, int32_t ppm);

/* hostile.c */
void hostile_make(struct world *w);
void hostile_free(struct world *w);
bool hostile_is(const struct node *n);
bool hostile_floods(const struct node *n); /* it keeps itself what nobody else keeps of it */
bool hostile_acts(struct node *n);         /* instead of its users; false: it is an honest host */

/* data.c */
void data_make(struct world *w);
void data_free(struct world *w);
void data_configure(const struct node *n, struct core_cfg *cfg);
uint32_t data_device_mtu(void *ctx, struct ip local);
void data_send(struct node *n, const struct core_action *a);
void data_event(struct world *w, struct sim_event *ev);
void data_fault(struct world *w);
void data_calm(struct world *w);
bool data_sealed(const struct world *w, size_t a, size_t b); /* has the data of these two to be? */
bool data_at_rest(struct world *w, bool final);

/* node.c */
extern const char *const sim_networks[SIM_NETWORKS]; /* names that users make and remove */
void node_start(struct node *n);
void node_die(struct node *n, bool silently);
void node_lose_disk(struct node *n);
void node_wipe(struct node *n); /* its state is lost; it keeps its name, and its containers go on */
void node_step(struct node *n, const struct core_event *ev);
void node_timer(struct node *n, uint64_t generation);
void node_client(struct node *n);
void node_start_container(struct node *n, bool claim);
uint64_t node_add_container(struct node *n, struct ip at); /* at: family 0, or the address it wants; gives its number */
void node_drop_container(struct node *n, uint64_t number);
void node_free(struct node *n);
uint64_t node_now_ms(const struct node *n); /* by its own clock */
uint64_t node_now_us(const struct node *n);
void node_connect(struct node *n, const bool *to, bool replace, bool forget); /* to: of each node */
void node_copy_disk(struct node *to, const struct node *from);
void node_remove_peer(struct node *n, uint64_t peer); /* its operator runs rmpeer */

/* check.c */
void check_address_given(struct node *n, struct container *c, struct ip addr);
void check_address_gone(struct node *n, struct container *c);
void check_after_step(struct node *n);
void check_after_death(struct node *n);
void check_after_start(struct node *n);
bool check_digests_equal(const struct world *w); /* of all living nodes */
bool check_at_rest(struct world *w, bool final); /* true: converged. final: say what is not */

#endif
