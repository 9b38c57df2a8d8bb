#include "base/err.h"

#include <string.h>

#include "cmocka_all.h"

static const enum err all[] = {
#define X(name, text) name,
	ERR_LIST(X)
#undef X
};
enum { ALL = sizeof all / sizeof all[0] };

static void names_and_texts(void **state)
{
	(void)state;
	assert_string_equal(err_name(ERR_OK), "ERR_OK");
	assert_string_equal(err_text(ERR_OK), "ok");
	assert_string_equal(err_name(ERR_SYSTEM), "ERR_SYSTEM");
	assert_string_equal(err_text(ERR_LIMIT), "over a limit");
	for (size_t i = 0; i < ALL; i++) {
		assert_int_equal(all[i], i);
		assert_memory_equal(err_name(all[i]), "ERR_", 4);
		assert_true(strlen(err_text(all[i])) > 0);
		for (size_t j = 0; j < i; j++) {
			assert_string_not_equal(err_name(all[i]), err_name(all[j]));
			assert_string_not_equal(err_text(all[i]), err_text(all[j]));
		}
	}
}

static void unknown_value(void **state)
{
	(void)state;
	enum err e = (enum err)ALL;
	assert_non_null(err_name(e));
	assert_non_null(err_text(e));
	assert_string_not_equal(err_name(e), err_name(ERR_SYSTEM));
}

static void note_is_written(void **state)
{
	(void)state;
	struct err_note n;
	memset(&n, 'x', sizeof n);
	assert_int_equal(err_note(&n, ERR_RANGE, "port %d of \"%s\"", 70000, "h"), ERR_RANGE);
	assert_string_equal(n.text, "port 70000 of \"h\"");
	assert_int_equal(err_note(NULL, ERR_BUSY, "%s", "nobody reads this"), ERR_BUSY);
}

static void note_is_cut(void **state)
{
	(void)state;
	struct {
		struct err_note n;
		char guard;
	} s = { .guard = 'g' };
	char line[1000];
	memset(line, 'a', sizeof line - 1);
	line[sizeof line - 1] = '\0';
	assert_int_equal(err_note(&s.n, ERR_IO, "%s", line), ERR_IO);
	assert_int_equal(strlen(s.n.text), sizeof s.n.text - 1);
	assert_memory_equal(s.n.text, line, sizeof s.n.text - 1);
	assert_int_equal(s.guard, 'g');
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(names_and_texts),
		cmocka_unit_test(unknown_value),
		cmocka_unit_test(note_is_written),
		cmocka_unit_test(note_is_cut),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
