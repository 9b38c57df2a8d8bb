/* Our block of lines in /etc/hosts: what it makes of a file, and that it goes without a trace. */
#include "tests/unit/base/cmocka_all.h"

#include <string.h>

#include "base/rng.h"
#include "router/hosts.h"
#include "tests/unit/base/seed.h"

static struct prefix prefix(const char *text)
{
	struct prefix p;

	assert_int_equal(prefix_parse(text, &p), ERR_OK);
	return p;
}

static char *text_of(struct wbuf *w, char out[4096])
{
	assert_true(w->len < 4096);
	if (w->len > 0)
		memcpy(out, wbuf_slice(w).p, w->len);
	out[w->len] = '\0';
	wbuf_reset(w);
	return out;
}

static void becomes(const char *old, const struct hosts_want *want, const char *expected)
{
	struct wbuf w;
	char got[4096];

	wbuf_grow(&w, 4096);
	assert_int_equal(hosts_text(slice_str(old), want, &w), ERR_OK);
	assert_string_equal(text_of(&w, got), expected);
	assert_int_equal(hosts_text(slice_str(expected), want, &w), ERR_OK); /* twice is once */
	assert_string_equal(text_of(&w, got), expected);
	assert_int_equal(hosts_text(slice_str(expected), NULL, &w), ERR_OK); /* and it goes without a trace */
	assert_string_equal(text_of(&w, got), old);
	wbuf_free(&w);
}

static void a_block_comes_and_goes(void **state)
{
	const struct prefix addrs[] = { prefix("10.32.0.5/12"), prefix("fd00::5/108") };
	const struct attach_host more[] = { { "db", prefix("192.0.2.7/32").addr }, { "six", prefix("2001:db8::7/128").addr } };
	struct hosts_want want = { .own = "web.weft.local", .addrs = addrs, .n_addrs = 2 };

	(void)state;
	becomes("127.0.0.1\tlocalhost\n172.17.0.2\tweb.weft.local web\n172.17.0.2 WEB # comment\n10.0.0.1 website\n", &want,
		"# weft begin\n10.32.0.5\tweb.weft.local web\nfd00::5\tweb.weft.local web\n# weft end\n"
		"127.0.0.1\tlocalhost\n#weft# 172.17.0.2\tweb.weft.local web\n#weft# 172.17.0.2 WEB # comment\n10.0.0.1 website\n");
	want.own = "web";
	want.more = more;
	want.n_more = 2;
	becomes("172.17.0.2\tother #web", &want,
		"# weft begin\n10.32.0.5\tweb\nfd00::5\tweb\n192.0.2.7\tdb\n2001:db8::7\tsix\n# weft end\n172.17.0.2\tother #web");
	want.own = NULL;
	becomes("172.17.0.2\tweb\n", &want, "# weft begin\n192.0.2.7\tdb\n2001:db8::7\tsix\n# weft end\n172.17.0.2\tweb\n");
	want.n_more = 0;
	becomes("", &want, "");
}

/* What somebody else made of our block. */
static void damaged_blocks(void **state)
{
	struct wbuf w;
	char got[4096];

	(void)state;
	wbuf_grow(&w, 4096);
	assert_int_equal(hosts_text(slice_str("1.1.1.1 a\n# weft begin\n2.2.2.2 b\n"), NULL, &w), ERR_OK);
	assert_string_equal(text_of(&w, got), "1.1.1.1 a\n# weft begin\n2.2.2.2 b\n"); /* without an end nobody knows what is ours */
	assert_int_equal(
		hosts_text(slice_str("# weft begin\nx\n# weft end\n1.1.1.1 a\n# weft begin\n# weft end\n# weft end\n"), NULL, &w),
		ERR_OK);
	assert_string_equal(text_of(&w, got), "1.1.1.1 a\n# weft end\n");
	wbuf_free(&w);
}

static void some_addresses_go(void **state)
{
	const struct ip gone[] = { prefix("10.32.0.5/12").addr, prefix("fd00::5/128").addr };
	struct wbuf w;
	char got[4096];

	(void)state;
	wbuf_grow(&w, 4096);
	assert_int_equal(
		hosts_text_without(
			slice_str("10.32.0.5 mine\n# weft begin\n10.32.0.5\tweb\nfd00::5\tweb\n10.33.0.1\tweb\n# weft end\nx"), gone, 2, &w),
		ERR_OK);
	assert_string_equal(text_of(&w, got), "10.32.0.5 mine\n# weft begin\n10.33.0.1\tweb\n# weft end\nx");
	wbuf_free(&w);
}

/* Any file without marks of ours comes back byte for byte. */
static void any_file_comes_back(void **state)
{
	static const char *const words[] = { "127.0.0.1", "10.32.0.5", "web", "WEB.weft.local", "other", "\t", " ", "\n", "\n", "#",
		"::1", "\r" };
	const struct prefix addr = prefix("10.32.0.5/12");
	const struct hosts_want want = { .own = "web.weft.local", .addrs = &addr, .n_addrs = 1 };
	struct wbuf old, once, twice, back;
	struct rng rng;

	(void)state;
	rng_seed(&rng, test_seed("any_file_comes_back"));
	wbuf_grow(&old, 65536);
	wbuf_grow(&once, 65536);
	wbuf_grow(&twice, 65536);
	wbuf_grow(&back, 65536);
	for (int i = 0; i < 20000; i++) {
		wbuf_reset(&old);
		wbuf_reset(&once);
		wbuf_reset(&twice);
		wbuf_reset(&back);
		for (uint64_t n = rng_below(&rng, 40); n > 0; n--) {
			const char *word = words[rng_below(&rng, sizeof(words) / sizeof(words[0]))];
			wbuf_bytes(&old, word, strlen(word));
		}
		assert_int_equal(hosts_text(wbuf_slice(&old), &want, &once), ERR_OK);
		assert_int_equal(hosts_text(wbuf_slice(&once), &want, &twice), ERR_OK);
		assert_int_equal(hosts_text(wbuf_slice(&once), NULL, &back), ERR_OK);
		assert_true(slice_eq(wbuf_slice(&once), wbuf_slice(&twice)) && slice_eq(wbuf_slice(&old), wbuf_slice(&back)));
	}
	wbuf_free(&old);
	wbuf_free(&once);
	wbuf_free(&twice);
	wbuf_free(&back);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_block_comes_and_goes),
		cmocka_unit_test(damaged_blocks),
		cmocka_unit_test(some_addresses_go),
		cmocka_unit_test(any_file_comes_back),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
