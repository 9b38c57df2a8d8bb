/* packaging/plugin/mnl.c, which stands for libmnl in the static daemon, does what the shared library does: both are given the same. */
#include <dlfcn.h>
#include <errno.h>
#include <libmnl/libmnl.h>
#include <string.h>

#include "base/rng.h"
#include "tests/unit/base/cmocka_all.h"
#include "tests/unit/base/seed.h"

enum { ROUNDS = 20000, ROOM = 4096 };

static void *library;
#define REAL(f) ((__typeof__(&f))(uintptr_t)dlsym(library, #f))

static int setup(void **state)
{
	(void)state;
	library = dlopen("libmnl.so.0", RTLD_NOW | RTLD_LOCAL);
	return library != NULL ? 0 : -1;
}

static int teardown(void **state)
{
	(void)state;
	return dlclose(library);
}

/* Writes the same with both; the callee differs only. */
#define BOTH(call)                   \
	do {                             \
		int ours = 1;                \
		struct nlmsghdr *nlh = m[0]; \
		call;                        \
		ours = 0;                    \
		nlh = m[1];                  \
		call;                        \
	} while (0)
#define DO(f) (ours ? f : REAL(f))

static void the_same_is_written(void **state)
{
	struct rng r;
	static const char text[] = "the quick brown fox jumps over the lazy dog";
	static _Alignas(8) uint8_t buf[2][ROOM];

	(void)state;
	rng_seed(&r, test_seed(__func__));
	for (int round = 0; round < ROUNDS; round++) {
		struct nlmsghdr *m[2];
		struct nlattr *nest[2] = { NULL, NULL };
		memset(buf, 0, sizeof(buf)); /* the library leaves what is between attributes as it was */
		m[0] = mnl_nlmsg_put_header(buf[0]);
		m[1] = REAL(mnl_nlmsg_put_header)(buf[1]);
		size_t extra = rng_below(&r, 24);
		BOTH(DO(mnl_nlmsg_put_extra_header)(nlh, extra));
		for (uint64_t n = rng_below(&r, 12); n > 0; n--) {
			uint16_t type = (uint16_t)rng_below(&r, 0x4000);
			uint64_t v = rng_u64(&r);
			size_t len = rng_below(&r, sizeof(text));
			const char *part = text + sizeof(text) - 1 - len;
			switch (rng_below(&r, 8)) {
			case 0: BOTH(DO(mnl_attr_put)(nlh, type, len, text)); break;
			case 1: BOTH(DO(mnl_attr_put_u8)(nlh, type, (uint8_t)v)); break;
			case 2: BOTH(DO(mnl_attr_put_u16)(nlh, type, (uint16_t)v)); break;
			case 3: BOTH(DO(mnl_attr_put_u32)(nlh, type, (uint32_t)v)); break;
			case 4: BOTH(DO(mnl_attr_put_u64)(nlh, type, v)); break;
			case 5: BOTH(DO(mnl_attr_put_str)(nlh, type, part)); break;
			case 6: BOTH(DO(mnl_attr_put_strz)(nlh, type, part)); break;
			default:
				if (nest[0] == NULL) {
					nest[0] = mnl_attr_nest_start(m[0], type);
					nest[1] = REAL(mnl_attr_nest_start)(m[1], type);
				}
			}
		}
		if (nest[0] != NULL) {
			mnl_attr_nest_end(m[0], nest[0]);
			REAL(mnl_attr_nest_end)(m[1], nest[1]);
		}
		assert_int_equal(m[0]->nlmsg_len, m[1]->nlmsg_len);
		assert_memory_equal(buf[0], buf[1], m[0]->nlmsg_len);
	}
}

/* An attribute of random length and content. */
static struct nlattr *attribute(struct rng *r, uint8_t *room)
{
	struct nlattr *a = (struct nlattr *)(void *)room;

	for (size_t i = 0; i < 64; i++)
		room[i] = (uint8_t)rng_below(r, 3);
	a->nla_len = (uint16_t)(sizeof(*a) + rng_below(r, 20));
	a->nla_type = (uint16_t)rng_u64(r);
	return a;
}

static void the_same_is_read(void **state)
{
	struct rng r;
	static _Alignas(8) uint8_t room[64];

	(void)state;
	rng_seed(&r, test_seed(__func__));
	for (int round = 0; round < ROUNDS; round++) {
		const struct nlattr *a = attribute(&r, room);
		assert_int_equal(mnl_attr_get_type(a), REAL(mnl_attr_get_type)(a));
		assert_int_equal(mnl_attr_get_payload_len(a), REAL(mnl_attr_get_payload_len)(a));
		assert_ptr_equal(mnl_attr_get_payload(a), REAL(mnl_attr_get_payload)(a));
		assert_ptr_equal(mnl_attr_get_str(a), REAL(mnl_attr_get_str)(a));
		assert_ptr_equal(mnl_attr_next(a), REAL(mnl_attr_next)(a));
		assert_int_equal(mnl_attr_get_u8(a), REAL(mnl_attr_get_u8)(a));
		assert_int_equal(mnl_attr_get_u16(a), REAL(mnl_attr_get_u16)(a));
		assert_int_equal(mnl_attr_get_u32(a), REAL(mnl_attr_get_u32)(a));
		assert_int_equal(mnl_attr_get_u64(a), REAL(mnl_attr_get_u64)(a));
		int len = (int)rng_below(&r, 30) - 4;
		assert_int_equal(mnl_attr_ok(a, len), REAL(mnl_attr_ok)(a, len));
		uint16_t most = (uint16_t)rng_below(&r, 0x4000);
		errno = 0;
		int want = REAL(mnl_attr_type_valid)(a, most), why = errno;
		errno = 0;
		assert_int_equal(mnl_attr_type_valid(a, most), want);
		assert_int_equal(errno, why);
		for (int type = 0; type <= MNL_TYPE_MAX; type++) {
			errno = 0;
			want = REAL(mnl_attr_validate)(a, (enum mnl_attr_data_type)type);
			why = errno;
			errno = 0;
			assert_int_equal(mnl_attr_validate(a, (enum mnl_attr_data_type)type), want);
			assert_int_equal(errno, why);
		}
	}
}

struct seen {
	size_t n;
	const void *at[64];
	int answer; /* of the callback to the last one */
	size_t stop_after;
};

static int on_attr(const struct nlattr *attr, void *data)
{
	struct seen *s = data;

	s->at[s->n++ % 64] = attr;
	return s->n >= s->stop_after ? s->answer : MNL_CB_OK;
}

static int on_message(const struct nlmsghdr *nlh, void *data)
{
	struct seen *s = data;

	s->at[s->n++ % 64] = nlh;
	return s->n >= s->stop_after ? s->answer : MNL_CB_OK;
}

static void same(const struct seen *a, const struct seen *b)
{
	assert_int_equal(a->n, b->n);
	assert_memory_equal(a->at, b->at, sizeof(a->at));
}

/* Messages as the kernel answers, and such as it never would. */
static size_t messages(struct rng *r, uint8_t *buf)
{
	static const uint16_t types[] = { NLMSG_NOOP, NLMSG_ERROR, NLMSG_DONE, NLMSG_OVERRUN, NLMSG_MIN_TYPE, 0x0a03, 0x0a03,
		0x0a03 };
	size_t used = 0;

	for (uint64_t n = rng_below(r, 6); n > 0; n--) {
		struct nlmsghdr *nlh = (struct nlmsghdr *)(void *)(buf + used);
		size_t body = 4 * rng_below(r, 12);
		for (size_t i = 0; i < body; i++)
			buf[used + sizeof(*nlh) + i] = (uint8_t)(rng_below(r, 4) == 0 ? rng_below(r, 12) : 0);
		*nlh = (struct nlmsghdr){ .nlmsg_len = (uint32_t)(sizeof(*nlh) + body - (body > 0 ? rng_below(r, 4) : 0)),
			.nlmsg_type = types[rng_below(r, sizeof(types) / sizeof(types[0]))],
			.nlmsg_flags = (uint16_t)(rng_below(r, 10) == 0 ? NLM_F_DUMP_INTR : NLM_F_MULTI),
			.nlmsg_seq = (uint32_t)(rng_below(r, 10) == 0 ? rng_below(r, 3) : 1),
			.nlmsg_pid = (uint32_t)(rng_below(r, 10) == 0 ? rng_below(r, 3) : 1) };
		used += sizeof(*nlh) + body;
	}
	return used - (used > 0 && rng_below(r, 10) == 0 ? rng_below(r, 20) % used : 0);
}

static void answers_are_gone_through_alike(void **state)
{
	struct rng r;
	static _Alignas(8) uint8_t buf[ROOM];

	(void)state;
	rng_seed(&r, test_seed(__func__));
	for (int round = 0; round < ROUNDS; round++) {
		size_t n = messages(&r, buf);
		const struct nlmsghdr *nlh = (const struct nlmsghdr *)(const void *)buf;
		struct seen a = { .answer = (int)rng_below(&r, 3) - 1, .stop_after = 1 + rng_below(&r, 6) }, b = a;
		uint32_t seq = (uint32_t)rng_below(&r, 2), port = (uint32_t)rng_below(&r, 2);
		errno = 0;
		int want = REAL(mnl_cb_run)(buf, n, seq, port, on_message, &a), why = errno;
		errno = 0;
		assert_int_equal(mnl_cb_run(buf, n, seq, port, on_message, &b), want);
		assert_int_equal(want < 0 ? errno : 0, want < 0 ? why : 0);
		same(&a, &b);
		assert_int_equal(mnl_nlmsg_ok(nlh, (int)n), REAL(mnl_nlmsg_ok)(nlh, (int)n));
		if (!mnl_nlmsg_ok(nlh, (int)n))
			continue;
		a = b = (struct seen){ .answer = a.answer, .stop_after = a.stop_after };
		unsigned offset = 4 * (unsigned)rng_below(&r, 2);
		assert_int_equal(mnl_attr_parse(nlh, offset, on_attr, &b), REAL(mnl_attr_parse)(nlh, offset, on_attr, &a));
		same(&a, &b);
		int left[2] = { (int)n, (int)n };
		assert_ptr_equal(mnl_nlmsg_next(nlh, &left[0]), REAL(mnl_nlmsg_next)(nlh, &left[1]));
		assert_int_equal(left[0], left[1]);
		assert_ptr_equal(mnl_nlmsg_get_payload(nlh), REAL(mnl_nlmsg_get_payload)(nlh));
	}
}

static void batches_fill_alike(void **state)
{
	struct rng r;
	static _Alignas(8) uint8_t buf[2][ROOM];

	(void)state;
	rng_seed(&r, test_seed(__func__));
	for (int round = 0; round < ROUNDS / 10; round++) {
		size_t limit = 64 + 4 * rng_below(&r, 200);
		memset(buf, 0, sizeof(buf));
		struct mnl_nlmsg_batch *a = mnl_nlmsg_batch_start(buf[0], limit), *b = REAL(mnl_nlmsg_batch_start)(buf[1], limit);
		for (int n = 0; n < 40; n++) {
			struct nlmsghdr *m[2] = { mnl_nlmsg_put_header(mnl_nlmsg_batch_current(a)), NULL };
			m[1] = mnl_nlmsg_put_header(REAL(mnl_nlmsg_batch_current)(b));
			uint32_t v = (uint32_t)rng_u64(&r);
			for (uint64_t k = rng_below(&r, 6); k > 0; k--) {
				mnl_attr_put_u32(m[0], 1, v);
				mnl_attr_put_u32(m[1], 1, v);
			}
			bool fits = mnl_nlmsg_batch_next(a);
			assert_int_equal(fits, REAL(mnl_nlmsg_batch_next)(b));
			assert_int_equal(mnl_nlmsg_batch_size(a), REAL(mnl_nlmsg_batch_size)(b));
			assert_int_equal(mnl_nlmsg_batch_is_empty(a), REAL(mnl_nlmsg_batch_is_empty)(b));
			if (!fits)
				break;
			assert_memory_equal(mnl_nlmsg_batch_head(a), REAL(mnl_nlmsg_batch_head)(b), mnl_nlmsg_batch_size(a));
		}
		mnl_nlmsg_batch_stop(a);
		REAL(mnl_nlmsg_batch_stop)(b);
	}
}

static void a_socket_asks_the_kernel(void **state)
{
	static _Alignas(8) uint8_t buf[ROOM];
	struct mnl_socket *s = mnl_socket_open2(0 /* NETLINK_ROUTE */, SOCK_CLOEXEC);

	(void)state;
	assert_non_null(s);
	assert_int_equal(mnl_socket_bind(s, 0, MNL_SOCKET_AUTOPID), 0);
	assert_true(mnl_socket_get_fd(s) >= 0 && mnl_socket_get_portid(s) != 0);
	struct nlmsghdr *nlh = mnl_nlmsg_put_header(buf);
	nlh->nlmsg_type = 18; /* RTM_GETLINK */
	nlh->nlmsg_flags = NLM_F_REQUEST | NLM_F_DUMP;
	nlh->nlmsg_seq = 7;
	(void)mnl_nlmsg_put_extra_header(nlh, 16);
	assert_int_equal(mnl_socket_sendto(s, nlh, nlh->nlmsg_len), (ssize_t)nlh->nlmsg_len);
	static uint8_t answer[65536];
	struct seen seen = { .stop_after = 1000 };
	int ret = MNL_CB_OK;
	while (ret > MNL_CB_STOP) {
		ssize_t got = mnl_socket_recvfrom(s, answer, sizeof(answer));
		assert_true(got > 0);
		ret = mnl_cb_run(answer, (size_t)got, 7, mnl_socket_get_portid(s), on_message, &seen);
	}
	assert_int_equal(ret, MNL_CB_STOP);
	assert_true(seen.n > 0);
	assert_int_equal(mnl_socket_close(s), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(the_same_is_written),
		cmocka_unit_test(the_same_is_read),
		cmocka_unit_test(answers_are_gone_through_alike),
		cmocka_unit_test(batches_fill_alike),
		cmocka_unit_test(a_socket_asks_the_kernel),
	};
	return cmocka_run_group_tests(tests, setup, teardown);
}
