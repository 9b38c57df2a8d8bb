/* Shared by the files of weft-bench: sockets in other namespaces, the API, names. Whatever goes wrong ends the program. */
#ifndef WEFT_BENCH_CLIENT_H
#define WEFT_BENCH_CLIENT_H

#include <netinet/in.h>
#include <poll.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
	HOSTS_MAX = 64,
	HTTP_BYTES = 4096,
	DNS_BYTES = 512,
	TURN_US = 100,         /* longest sleep of a loop */
	REQUEST_US = 10000000, /* longest wait for one answer of the API, or for a name */
};

_Noreturn void bench_die(const char *what); /* says errno */
_Noreturn void bench_fail(const char *what);
int64_t bench_now_us(void); /* CLOCK_MONOTONIC, as Python's time.monotonic() */
void bench_rest_us(long us);
void bench_wait(struct pollfd *fds, nfds_t n, long us);
long bench_number(const char *text, long max);                        /* 1 … max */
int64_t *bench_times(size_t n);                                       /* zero; freed by the caller */
void bench_print_times(const char *name, const int64_t *v, size_t n); /* "name": [ … ] */

/* A socket in a network namespace of /run/netns. */
int bench_socket_in(const char *netns, int domain, int type, int protocol);
/* Waits for so many `weft-bench gate`, opens it, and gives the moment. */
int64_t bench_open_gate(const char *fifo, long waiters);

struct http {
	int fd;
	size_t n;
	char in[HTTP_BYTES + 1]; /* what has come of the answer */
};
int bench_http_connect(const char *path); /* -1: nobody listens there yet */
void bench_http_open(struct http *h, const char *path);
void bench_http_send(struct http *h, const char *method, const char *path, const char *type, const char *body);
const char *bench_http_poll(struct http *h, int *status); /* the body; NULL: not whole yet */
const char *bench_http_wait(struct http *h, int *status);
void bench_insist(const struct http *h, int status); /* on 2xx */

/* An A query for LABEL.weft.local. Gives its length. */
size_t bench_dns_query(uint8_t out[DNS_BYTES], uint16_t id, const char *label);

/* control.c */
int control_boot(int argc, char **argv);
int control_rate(char **argv);
int control_watch(int argc, char **argv);

#endif
