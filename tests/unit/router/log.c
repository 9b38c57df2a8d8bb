#include "tests/unit/base/cmocka_all.h"

#include <jansson.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "router/log.h"

struct catch
{
	int fd;
	char text[65536];
};

static void open_catch(struct catch *c)
{
	c->fd = memfd_create("log", MFD_CLOEXEC);
	assert_true(c->fd >= 0);
}

/* What was written so far. */
static const char *caught(struct catch *c)
{
	ssize_t n = pread(c->fd, c->text, sizeof(c->text) - 1, 0);

	assert_true(n >= 0);
	c->text[n] = '\0';
	return c->text;
}

static size_t lines(struct catch *c)
{
	size_t n = 0;

	for (const char *p = caught(c); *p != '\0'; p++)
		n += *p == '\n';
	return n;
}

static void levels_and_form(void **state)
{
	struct catch c;

	(void)state;
	open_catch(&c);
	struct log *l = log_new(c.fd, LOG_LEVEL_INFO, false);
	log_write(l, LOG_LEVEL_DEBUG, "unheard");
	log_write(l, LOG_LEVEL_WARNING, "tail %d\nof \x1b[31m", 7);
	assert_null(strstr(caught(&c), "unheard"));
	assert_non_null(strstr(c.text, "Z warning: tail 7?of ?[31m\n"));
	assert_int_equal(lines(&c), 1);
	log_free(l);
	close(c.fd);
}

static void json_lines(void **state)
{
	struct catch c;
	json_t *doc;

	(void)state;
	open_catch(&c);
	struct log *l = log_new(c.fd, LOG_LEVEL_DEBUG, true);
	log_write(l, LOG_LEVEL_ERROR, "a \"quoted\" word");
	doc = json_loads(caught(&c), 0, NULL);
	assert_string_equal(json_string_value(json_object_get(doc, "message")), "a \"quoted\" word");
	assert_string_equal(json_string_value(json_object_get(doc, "level")), "error");
	assert_non_null(json_object_get(doc, "time"));
	json_decref(doc);
	log_free(l);
	close(c.fd);
}

static void strangers_are_kept_short(void **state)
{
	struct catch c;
	uint64_t now = 1000000;

	(void)state;
	open_catch(&c);
	struct log *l = log_new(c.fd, LOG_LEVEL_INFO, false);
	for (int i = 0; i < 1000; i++)
		log_stranger(l, LOG_LEVEL_INFO, now, "%c%c: a stranger", 'a' + i % 26, 'a' + i / 26 % 26);
	assert_int_equal(lines(&c), LOG_STRANGER_BURST);
	assert_int_equal(log_suppressed(l), 1000 - LOG_STRANGER_BURST);
	now += LOG_STRANGER_S * 1000;
	log_stranger(l, LOG_LEVEL_INFO, now, "one more");
	assert_non_null(strstr(caught(&c), "one more (left out 990 lines caused by strangers)\n"));
	log_stranger(l, LOG_LEVEL_INFO, now, "too soon");
	assert_null(strstr(caught(&c), "too soon"));
	log_free(l);
	close(c.fd);
}

/* Whoever knocks all the time is heard once in a while: what is refused costs no token. */
static void constant_strangers_are_heard_now_and_then(void **state)
{
	struct catch c;

	(void)state;
	open_catch(&c);
	struct log *l = log_new(c.fd, LOG_LEVEL_INFO, false);
	for (uint64_t ms = 0; ms <= 3600 * 1000; ms += 100)
		log_stranger(l, LOG_LEVEL_INFO, 1000 + ms, "%c%c%c: a stranger", 'a' + (int)(ms / 100 % 26), 'a' + (int)(ms / 2600 % 26),
			'a' + (int)(ms / 67600 % 26));
	assert_in_range(lines(&c), 60, 60 + LOG_STRANGER_BURST);
	log_free(l);
	close(c.fd);
}

static void lines_stay_plain_text(void **state)
{
	struct catch c;
	char longest[3000];
	json_error_t error;

	(void)state;
	open_catch(&c);
	struct log *l = log_new(c.fd, LOG_LEVEL_INFO, true);
	log_write(l, LOG_LEVEL_INFO, "caf\xc3\xa9 \xff\xfe\xc3 \xe2\x82 \xed\xa0\x80 \x7f.");
	json_t *doc = json_loads(caught(&c), 0, &error);
	assert_string_equal(json_string_value(json_object_get(doc, "message")), "caf\xc3\xa9 ??? ?? ??? ?.");
	json_decref(doc);
	assert_int_equal(ftruncate(c.fd, 0), 0);
	assert_int_equal(lseek(c.fd, 0, SEEK_SET), 0);
	memset(longest, '"', sizeof(longest) - 1);
	longest[sizeof(longest) - 1] = '\0';
	log_write(l, LOG_LEVEL_INFO, "%s", longest);
	doc = json_loads(caught(&c), 0, &error);
	assert_non_null(doc);
	assert_int_equal(lines(&c), 1);
	json_decref(doc);
	log_free(l);
	close(c.fd);
}

static void repeats_are_counted(void **state)
{
	struct catch c;

	(void)state;
	open_catch(&c);
	struct log *l = log_new(c.fd, LOG_LEVEL_INFO, false);
	for (int i = 0; i < 100; i++)
		log_write(l, LOG_LEVEL_WARNING, "retry in %d ms", i * 7); /* the same but for its numbers */
	assert_int_equal(lines(&c), LOG_REPEAT_BURST);
	assert_int_equal(log_suppressed(l), 100 - LOG_REPEAT_BURST);
	log_write(l, LOG_LEVEL_WARNING, "something else");
	assert_non_null(strstr(caught(&c), "something else"));
	log_free(l);
	close(c.fd);
}

static void a_dead_sink_is_survived(void **state)
{
	(void)state;
	struct log *l = log_new(-1, LOG_LEVEL_INFO, false);
	log_write(l, LOG_LEVEL_ERROR, "nobody hears this");
	assert_int_equal(log_suppressed(l), 1);
	log_free(l);
	log_free(NULL);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(levels_and_form),
		cmocka_unit_test(json_lines),
		cmocka_unit_test(strangers_are_kept_short),
		cmocka_unit_test(constant_strangers_are_heard_now_and_then),
		cmocka_unit_test(lines_stay_plain_text),
		cmocka_unit_test(repeats_are_counted),
		cmocka_unit_test(a_dead_sink_is_survived),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
