/* Lines of events, and how many are kept. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdio.h>
#include <string.h>

#include "base/mem.h"
#include "router/events.h"

static void a_line(void **s)
{
	struct events *e = events_new(NULL);
	(void)s;
	assert_non_null(e);
	assert_null(events_line(e, 0));
	events_add(e, UINT64_C(1700000000007), "path",
		json_pack("{s:s, s:s, s:n, s:s}", "peer", "02:00:00:00:00:02", "nickname", "h\"2\n", "from", "event", "attach"));
	assert_string_equal(events_line(e, 0),
		"{\"time\":\"2023-11-14T22:13:20.007Z\",\"event\":\"path\",\"peer\":\"02:00:00:00:00:02\",\"nickname\":\"h\\\"2\\n\",\"from\":null}\n");
	events_add(e, UINT64_C(1700000000999), "none", NULL);
	assert_string_equal(events_line(e, 0), "{\"time\":\"2023-11-14T22:13:20.999Z\",\"event\":\"none\"}\n");
	assert_non_null(strstr(events_line(e, 1), "\"path\""));
	assert_null(events_line(e, 2));
	events_free(e);
}

static void so_many_are_kept(void **s)
{
	struct events *e = events_new(NULL);
	char text[EVENTS_LINE_MAX + 1];
	(void)s;
	for (int i = 0; i < 3 * EVENTS_KEPT + 5; i++)
		events_add(e, 0, "n", json_pack("{s:i}", "i", i));
	for (int i = 0; i < EVENTS_KEPT; i++) {
		(void)snprintf(text, sizeof(text), "\"i\":%d}", 3 * EVENTS_KEPT + 4 - i);
		assert_non_null(strstr(events_line(e, (size_t)i), text));
	}
	assert_null(events_line(e, EVENTS_KEPT));
	/* One that is too long is not told, one that just fits is. */
	memset(text, 'x', sizeof(text) - 1);
	text[sizeof(text) - 1] = '\0';
	events_add(e, 0, "long", json_pack("{s:s}", "text", text));
	assert_non_null(strstr(events_line(e, 0), "\"n\""));
	size_t rest = strlen("{\"time\":\"1970-01-01T00:00:00.000Z\",\"event\":\"long\",\"text\":\"\"}\n") + 1;
	text[EVENTS_LINE_MAX - rest] = '\0';
	events_add(e, 0, "long", json_pack("{s:s}", "text", text));
	assert_int_equal(strlen(events_line(e, 0)), EVENTS_LINE_MAX - 1);
	events_free(e);
}

static void without_memory(void **s)
{
	(void)s;
	for (size_t n = 1; n < 10; n++) {
		long live = mem_live();
		mem_fail_at(n, true);
		struct events *e = events_new(NULL);
		if (e != NULL)
			events_add(e, 0, "a", NULL);
		mem_fail_at(0, false);
		if (e != NULL)
			events_add(e, 0, "b", NULL);
		assert_true(e == NULL || strstr(events_line(e, 0), "\"b\"") != NULL);
		events_free(e);
		assert_int_equal(mem_live(), live);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_line),
		cmocka_unit_test(so_many_are_kept),
		cmocka_unit_test(without_memory),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
