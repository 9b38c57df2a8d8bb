/* Beside the capture_ops: for tests. */
#ifndef WEFT_DATAPLANE_PCAP_H
#define WEFT_DATAPLANE_PCAP_H

#include "router/dataplane/capture.h"

/* As capture_pcap.open, but as on a kernel whose packet sockets take no virtio headers: frames are injected one by one, checksums complete. */
enum err pcap_open_plain(struct capture *c, const char *name, struct err_note *note) MUST_CHECK;

#endif
