/* DNS messages: bounded reader and compressing writer (RFC 1035 section 4, EDNS of RFC 6891).
 *
 * The reader is an rbuf over the *whole* message, from the header's first octet, because compression pointers are offsets into it.
 * It is sticky as every rbuf: after a failure everything reads as zero; ask rbuf_ok or rbuf_end.
 *
 *   header   0 id  2 flags  4 qdcount  6 ancount  8 nscount  10 arcount  (12 octets)
 *   flags    QR 1 | opcode 4 | AA TC RD RA 1 each | Z 1 | AD CD 1 each | rcode 4
 *   question name, type 2, class 2          record  name, type 2, class 2, ttl 4, rdlength 2, rdata */
#ifndef WEFT_DNS_WIRE_H
#define WEFT_DNS_WIRE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/addr.h"
#include "base/buf.h"
#include "base/err.h"
#include "dns/name.h"

#define DNS_HEADER_SIZE  12
#define DNS_MESSAGE_MAX  65535
#define DNS_UDP_PLAIN    512  /* a UDP answer without EDNS */
#define DNS_UDP_EDNS_MAX 4096 /* the most we send or accept to be asked for over UDP */
#define DNS_POINTERS_MAX 32   /* compression pointers followed in one name; real ones need a handful */
#define DNS_OPT_SIZE     11   /* an OPT record without options */

enum dns_flag {
	DNS_QR = 0x8000,
	DNS_OPCODE = 0x7800,
	DNS_AA = 0x0400,
	DNS_TC = 0x0200,
	DNS_RD = 0x0100,
	DNS_RA = 0x0080,
	DNS_AD = 0x0020,
	DNS_CD = 0x0010,
	DNS_RCODE = 0x000f,
};

enum dns_rcode {
	DNS_NOERROR = 0,
	DNS_FORMERR = 1,
	DNS_SERVFAIL = 2,
	DNS_NXDOMAIN = 3,
	DNS_NOTIMP = 4,
	DNS_REFUSED = 5,
	DNS_BADVERS = 16, /* extended: the upper bits travel in the OPT record */
};

enum dns_type {
	DNS_A = 1,
	DNS_NS = 2,
	DNS_CNAME = 5,
	DNS_SOA = 6,
	DNS_PTR = 12,
	DNS_HINFO = 13,
	DNS_MX = 15,
	DNS_TXT = 16,
	DNS_AAAA = 28,
	DNS_SRV = 33,
	DNS_DNAME = 39,
	DNS_OPT = 41,
	DNS_DS = 43,
	DNS_DNSKEY = 48,
	DNS_TKEY = 249, /* TKEY, TSIG, IXFR, AXFR, MAILB, MAILA: about transactions and transfers, not data */
	DNS_MAILA = 254,
	DNS_ANY = 255,
};

enum dns_class {
	DNS_IN = 1,
	DNS_CH = 3,
};

struct dns_header {
	uint16_t id, flags;
	uint16_t qd, an, ns, ar;
};
void dns_header_read(struct rbuf *r, struct dns_header *out);
static inline unsigned dns_opcode(uint16_t flags)
{
	return (unsigned)(flags & DNS_OPCODE) >> 11;
}

/* A name at the reader's position. Pointers must go strictly backwards from where the present run of labels began, not into the
 * header, and at most DNS_POINTERS_MAX deep, so reading ends. On failure *out is no name (len 0) and r is failed. */
void dns_name_read(struct rbuf *r, struct dns_name *out);

struct dns_question {
	struct dns_name name;
	uint16_t type, cls;
};
void dns_question_read(struct rbuf *r, struct dns_question *out);

struct dns_soa {
	struct dns_name mname, rname;
	uint32_t serial, refresh, retry, expire, minimum;
};

/* One record. What is used depends on type: ip (A, AAAA), name1 (NS, CNAME, PTR, MX after its preference), soa; all others, and those
 * when read, have their octets in rdata. Names inside rdata may be compressed: rdata of NS, CNAME, PTR, MX and SOA makes sense only
 * inside its message, so the writer writes them from the decoded fields. */
struct dns_rr {
	struct dns_name name;
	uint16_t type, cls;
	uint32_t ttl;
	struct slice rdata;
	struct ip ip;
	uint16_t preference;
	struct dns_name name1;
	struct dns_soa soa;
};
void dns_rr_read(struct rbuf *r, struct dns_rr *out);

/* The EDNS part of a message (RFC 6891 section 6.1). */
struct dns_edns {
	bool present, dnssec_ok;
	uint8_t version, ext_rcode;
	uint16_t size;
};
/* From an OPT record. ERR_MALFORMED: its name is not the root or its options do not fill its rdata. */
enum err dns_edns_from_rr(const struct dns_rr *rr, struct dns_edns *out) MUST_CHECK;

/* Writer. It begins at w's present length (so a length prefix may stand before) and never lets the message exceed `limit` octets or a
 * fixed w's room: a question or record that does not fit leaves the message as it was. Names are compressed against what is there,
 * exactly (case is never changed). Order: header, questions, then records by section. */
#define DNS_WRITER_NAMES 64 /* names remembered for compression; further ones are written in full */

enum dns_section {
	DNS_ANSWER,
	DNS_AUTHORITY,
	DNS_ADDITIONAL,
};

struct dns_writer {
	struct wbuf *w;
	size_t base, limit, reserved;
	bool over;
	uint16_t counts[4]; /* questions, then the three sections */
	uint16_t names[DNS_WRITER_NAMES];
	size_t n_names;
};
/* Writes the header with zero counts. false: limit or w has no room for it. */
bool dns_writer_init(struct dns_writer *d, struct wbuf *w, size_t limit, uint16_t id, uint16_t flags) MUST_CHECK;
bool dns_write_question(struct dns_writer *d, const struct dns_question *q) MUST_CHECK;
bool dns_write_rr(struct dns_writer *d, enum dns_section section, const struct dns_rr *rr) MUST_CHECK;
/* The OPT record of an answer: no options. */
bool dns_write_opt(struct dns_writer *d, const struct dns_edns *e) MUST_CHECK;
/* Keeps n octets back (what comes last must fit), until it is called with 0. */
void dns_writer_reserve(struct dns_writer *d, size_t n);
void dns_writer_set_flags(struct dns_writer *d, uint16_t flags);
size_t dns_writer_size(const struct dns_writer *d);
/* Fills the counts in. The error is wbuf_end's: ERR_NOMEM when a growing w ran out of memory. */
enum err dns_writer_finish(struct dns_writer *d) MUST_CHECK;

#endif
