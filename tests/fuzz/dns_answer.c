/* Any query against a small table: the answer is read back by our own reader without fault, keeps the limit, and carries the id and
 * the question asked. The first octet says TCP or UDP and how much room there is. */
#include <assert.h>
#include <stdint.h>
#include <string.h>

#include "dns/answer.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void put(struct dns_table *t, uint64_t owner, const char *text, const char *addr)
{
	struct dns_name name;
	struct ip ip;
	assert(dns_name_parse(text, &name) == ERR_OK && ip_parse(addr, &ip) == ERR_OK);
	assert(dns_table_add(t, owner, "c", &name, ip) == ERR_OK);
}

static struct dns_table *small_table(void)
{
	struct dns_table *t;
	assert(dns_table_new(&t, 1) == ERR_OK);
	put(t, 1, "web.weft.local", "10.32.0.1");
	put(t, 1, "a.b.weft.local", "10.32.0.2");
	put(t, 1, "six.weft.local", "fd00::1");
	put(t, 2, "gone.weft.local", "10.32.0.3");
	assert(dns_table_set_reachable(t, 2, false) == ERR_OK);
	for (unsigned i = 0; i < 60; i++) {
		struct dns_name name;
		char id[] = { (char)('A' + i), '\0' };
		assert(dns_name_parse("many.weft.local", &name) == ERR_OK);
		assert(dns_table_add(t, 1, id, &name, ip_v4(0x0a210000u + i)) == ERR_OK);
	}
	return t;
}

static void check(const struct dns_result *res, struct slice query, struct slice answer)
{
	struct dns_question asked, q;
	struct dns_header h;
	struct dns_rr rr;
	struct rbuf r, qr;

	assert(answer.n <= (res->limit ? res->limit : DNS_UDP_PLAIN));
	rbuf_init(&r, answer.p, answer.n);
	rbuf_init(&qr, query.p, query.n);
	dns_header_read(&qr, &h);
	dns_question_read(&qr, &asked);
	uint16_t id = h.id;
	dns_header_read(&r, &h);
	assert(h.id == id && (h.flags & DNS_QR) && h.qd <= 1);
	if (h.qd == 1) {
		dns_question_read(&r, &q);
		assert(rbuf_ok(&qr) && dns_name_exact(&q.name, &asked.name) && q.type == asked.type && q.cls == asked.cls);
	}
	for (unsigned i = 0; i < (unsigned)h.an + h.ns + h.ar; i++)
		dns_rr_read(&r, &rr);
	assert(rbuf_end(&r) == ERR_OK);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static uint8_t mem[DNS_MESSAGE_MAX];
	struct dns_stats stats = { 0 };
	struct dns_answer_cfg cfg;
	struct rng rng;
	struct wbuf w;

	if (size == 0)
		return 0;
	bool is_tcp = data[0] & 1;
	size_t room = (data[0] & 2) ? (size_t)(data[0] >> 2) * 8 : sizeof(mem);
	struct slice query = slice_of(data + 1, size - 1);
	struct dns_table *t = small_table();
	assert(dns_answer_cfg_init(&cfg, NULL, 1, NULL) == ERR_OK);
	assert(prefix_parse("10.32.0.0/12", &cfg.ours[cfg.n_ours++]) == ERR_OK);
	assert(ip_parse("10.32.0.1", &cfg.self[cfg.n_self++]) == ERR_OK);
	rng_seed(&rng, size);
	wbuf_fixed(&w, mem, room);
	struct dns_result res = dns_answer(&cfg, t, NULL, &rng, query, is_tcp, &w, &stats);
	if (res.verdict == DNS_VERDICT_ANSWER)
		check(&res, query, wbuf_slice(&w));
	else
		assert(w.len == 0);
	if (res.verdict == DNS_VERDICT_FORWARD) {
		wbuf_fixed(&w, mem, DNS_UDP_PLAIN);
		assert(dns_answer_error(query, DNS_SERVFAIL, &w));
		res.limit = DNS_UDP_PLAIN;
		check(&res, query, wbuf_slice(&w));
	}
	dns_table_free(t);
	return 0;
}
