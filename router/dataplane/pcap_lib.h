/* libpcap, loaded when a capture begins. It brings libraries of D-Bus, systemd and compression with it, a megabyte that most daemons never need. */
#ifndef WEFT_DATAPLANE_PCAP_LIB_H
#define WEFT_DATAPLANE_PCAP_LIB_H

#include <pcap/pcap.h>

#include "base/err.h"

/* X(result, name without pcap_, parameters): compared with pcap.h when this is compiled. */
#define PCAP_LIB_FUNCTIONS(X)                                                         \
	X(pcap_t *, create, (const char *, char *))                                       \
	X(int, set_snaplen, (pcap_t *, int))                                              \
	X(int, set_promisc, (pcap_t *, int))                                              \
	X(int, set_timeout, (pcap_t *, int))                                              \
	X(int, set_immediate_mode, (pcap_t *, int))                                       \
	X(int, set_buffer_size, (pcap_t *, int))                                          \
	X(int, set_tstamp_precision, (pcap_t *, int))                                     \
	X(int, activate, (pcap_t *))                                                      \
	X(int, compile, (pcap_t *, struct bpf_program *, const char *, int, bpf_u_int32)) \
	X(int, setfilter, (pcap_t *, struct bpf_program *))                               \
	X(void, freecode, (struct bpf_program *))                                         \
	X(int, setdirection, (pcap_t *, pcap_direction_t))                                \
	X(int, setnonblock, (pcap_t *, int, char *))                                      \
	X(int, fileno, (pcap_t *))                                                        \
	X(int, get_selectable_fd, (pcap_t *))                                             \
	X(int, dispatch, (pcap_t *, int, pcap_handler, u_char *))                         \
	X(void, breakloop, (pcap_t *))                                                    \
	X(int, inject, (pcap_t *, const void *, size_t))                                  \
	X(int, stats, (pcap_t *, struct pcap_stat *))                                     \
	X(char *, geterr, (pcap_t *))                                                     \
	X(const char *, statustostr, (int))                                               \
	X(void, close, (pcap_t *))

struct pcap_lib {
#define X(result, name, parameters) result(*name) parameters;
	PCAP_LIB_FUNCTIONS(X)
#undef X
};

/* Loads it, if it is not there yet. What it writes is good until the process ends; there is nothing to free. ERR_UNSUPPORTED: it is not
 * installed, or lacks a function; the note names the package. */
enum err pcap_lib_load(struct pcap_lib *out, struct err_note *note) MUST_CHECK;

#endif
