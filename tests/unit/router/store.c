/* The store on a real file system: what is kept, what is refused, what a broken file does. */
#include "dir.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/mem.h"
#include "router/store.h"

static struct store *open_in(const struct dir *d)
{
	struct store *s = NULL;
	struct err_note note = { "" };

	if (store_open(&s, d->path, &note) != ERR_OK)
		fail_msg("%s", note.text);
	return s;
}

static void put(struct store *s, const char *key, const char *value)
{
	struct err_note note;
	assert_int_equal(store_put_one(s, key, value != NULL ? slice_str(value) : (struct slice){ NULL, 0 }, &note), ERR_OK);
}

static const char *get(struct store *s, const char *key)
{
	static char value[256];
	size_t n = 0;

	if (store_get(s, key, value, sizeof(value) - 1, &n) != ERR_OK)
		return NULL;
	value[n] = '\0';
	return value;
}

struct seen {
	char text[512];
	size_t n, fail_at;
};

static enum err see(void *ctx, struct slice key, struct slice value)
{
	struct seen *s = ctx;
	size_t at = strlen(s->text);

	snprintf(
		s->text + at, sizeof(s->text) - at, "%.*s=%.*s ", (int)key.n, (const char *)key.p, (int)value.n, (const char *)value.p);
	return ++s->n == s->fail_at ? ERR_CANCELLED : ERR_OK;
}

static void records_are_kept(void **state)
{
	struct dir d;
	struct err_note note;
	struct seen all = { .n = 0 }, some = { .n = 0 }, two = { .fail_at = 2 };
	char small[2];
	size_t n;

	(void)state;
	dir_make(&d);
	struct store *s = open_in(&d);
	put(s, "b/1", "one");
	put(s, "b/2", "");
	put(s, "a/1", "x");
	put(s, "c/1", "gone");
	put(s, "c/1", NULL);
	put(s, "c/2", NULL); /* never there */
	store_close(s);
	s = open_in(&d);
	assert_string_equal(get(s, "b/1"), "one");
	assert_string_equal(get(s, "b/2"), "");
	assert_null(get(s, "c/1"));
	assert_int_equal(store_get(s, "c/1", small, sizeof(small), &n), ERR_NOT_FOUND);
	assert_int_equal(store_get(s, "b/1", small, sizeof(small), &n), ERR_LIMIT);
	assert_int_equal(store_each(s, "", see, &all, &note), ERR_OK);
	assert_string_equal(all.text, "a/1=x b/1=one b/2= ");
	assert_int_equal(store_each(s, "b/", see, &some, &note), ERR_OK);
	assert_string_equal(some.text, "b/1=one b/2= ");
	assert_int_equal(store_each(s, "", see, &two, &note), ERR_CANCELLED);
	assert_int_equal(two.n, 2);
	assert_int_equal(store_each(s, "zzz", see, &two, &note), ERR_OK);
	assert_true(store_bytes(s) > 0);
	store_close(s);
	store_close(NULL);
	dir_remove(&d);
}

static void a_transaction_is_all_or_nothing(void **state)
{
	struct dir d;
	struct err_note note;
	char key[STORE_KEY_MAX + 2];

	(void)state;
	dir_make(&d);
	struct store *s = open_in(&d);
	unsigned long long before = store_commits(s);
	assert_int_equal(store_begin(s, &note), ERR_OK);
	assert_int_equal(store_put(s, slice_str("a"), slice_str("1"), &note), ERR_OK);
	store_abort(s);
	assert_null(get(s, "a"));
	assert_int_equal(store_commits(s), before);
	assert_int_equal(store_begin(s, &note), ERR_OK);
	assert_int_equal(store_put(s, slice_str("a"), slice_str("1"), &note), ERR_OK);
	assert_int_equal(store_put(s, slice_str("b"), slice_str("2"), &note), ERR_OK);
	memset(key, 'k', sizeof(key));
	assert_int_equal(store_put(s, slice_of(key, STORE_KEY_MAX + 1), slice_str("2"), &note), ERR_LIMIT);
	assert_int_equal(store_put(s, slice_of(key, 0), slice_str("2"), &note), ERR_LIMIT);
	assert_int_equal(store_put(s, slice_of(key, STORE_KEY_MAX), slice_str("3"), &note), ERR_OK);
	assert_int_equal(store_commit(s, &note), ERR_OK);
	assert_int_equal(store_commits(s), before + 1);
	assert_string_equal(get(s, "a"), "1");
	/* the longest key still fits aside, cut */
	assert_int_equal(store_set_aside(s, slice_of(key, STORE_KEY_MAX), &note), ERR_OK);
	assert_int_equal(store_erase(s, &note), ERR_OK);
	assert_null(get(s, "a"));
	store_close(s);
	s = open_in(&d);
	assert_null(get(s, "a"));
	store_close(s);
	dir_remove(&d);
}

/* A process that is killed after a commit has lost nothing, in the middle of a transaction only that, and its lock is gone. */
static void killed_at_any_time(void **state)
{
	struct dir d;
	int ready[2];

	(void)state;
	dir_make(&d);
	assert_int_equal(pipe(ready), 0);
	pid_t pid = fork();
	if (pid == 0) {
		struct err_note note;
		struct store *s = NULL;
		if (store_open(&s, d.path, &note) != ERR_OK || store_put_one(s, "a", slice_str("1"), &note) != ERR_OK ||
			store_begin(s, &note) != ERR_OK || store_put(s, slice_str("b"), slice_str("2"), &note) != ERR_OK ||
			write(ready[1], "!", 1) != 1)
			_exit(1);
		pause();
		_exit(1);
	}
	char byte;
	struct err_note note;
	struct store *s = NULL;
	assert_int_equal(read(ready[0], &byte, 1), 1);
	assert_int_equal(store_open(&s, d.path, &note), ERR_BUSY);
	assert_non_null(strstr(note.text, d.path));
	kill(pid, SIGKILL);
	assert_int_equal(waitpid(pid, NULL, 0), pid);
	s = open_in(&d);
	assert_string_equal(get(s, "a"), "1");
	assert_null(get(s, "b"));
	store_close(s);
	close(ready[0]);
	close(ready[1]);
	dir_remove(&d);
}

static void set_aside(void **state)
{
	struct dir d;
	struct err_note note;
	struct seen all = { .n = 0 };

	(void)state;
	dir_make(&d);
	struct store *s = open_in(&d);
	put(s, "a", "1");
	put(s, "z", "");
	put(s, "aside/old", "0");
	assert_int_equal(store_set_aside(s, slice_str("a"), &note), ERR_OK);
	assert_null(get(s, "a"));
	assert_string_equal(get(s, "aside/a"), "1");
	assert_int_equal(store_set_aside(s, slice_str("never there"), &note), ERR_OK);
	put(s, "a", "2");
	put(s, "asidf", "behind");
	assert_int_equal(store_set_all_aside(s, &note), ERR_OK);
	assert_int_equal(store_each(s, "", see, &all, &note), ERR_OK);
	assert_string_equal(all.text, "aside/a=2 aside/asidf=behind aside/old=0 aside/z= ");
	assert_int_equal(store_set_all_aside(s, &note), ERR_OK); /* nothing is left to do */
	store_close(s);
	dir_remove(&d);
}

static void many_set_aside(void **state)
{
	struct dir d;
	struct err_note note;
	struct seen left = { .n = 0 };
	char key[32];

	(void)state;
	dir_make(&d);
	struct store *s = open_in(&d);
	assert_int_equal(store_begin(s, &note), ERR_OK);
	for (int i = 0; i < 5000; i++) {
		snprintf(key, sizeof(key), "%c/%d", 'a' + i % 26, i);
		assert_int_equal(store_put(s, slice_str(key), slice_str(key), &note), ERR_OK);
	}
	assert_int_equal(store_commit(s, &note), ERR_OK);
	unsigned long long before = store_commits(s);
	assert_int_equal(store_set_all_aside(s, &note), ERR_OK);
	assert_int_equal(store_commits(s), before + 1); /* all or nothing */
	assert_int_equal(store_each(s, "b/", see, &left, &note), ERR_OK);
	assert_int_equal(left.n, 0);
	assert_string_equal(get(s, "aside/a/0"), "a/0");
	store_close(s);
	dir_remove(&d);
}

static void a_broken_file_is_named(void **state)
{
	struct dir d;
	char file[128];
	struct err_note note;
	struct store *s = NULL;
	struct stat st;

	(void)state;
	dir_make(&d);
	dir_file(&d, "weft.mdb", file);
	int fd = open(file, O_CREAT | O_WRONLY, 0600);
	char noise[20000];
	memset(noise, 'x', sizeof(noise));
	assert_int_equal(write(fd, noise, sizeof(noise)), (int)sizeof(noise));
	close(fd);
	assert_int_equal(store_open(&s, d.path, &note), ERR_MALFORMED);
	assert_non_null(strstr(note.text, file));
	assert_int_equal(stat(file, &st), 0);
	assert_int_equal(st.st_size, (int)sizeof(noise)); /* left as it is */
	dir_remove(&d);
	/* cut short at any page: an error or what can still be read, not a signal */
	for (off_t cut = 0; cut < 40 * 4096; cut += 4096) {
		dir_make(&d);
		dir_file(&d, "weft.mdb", file);
		s = open_in(&d);
		char key[16];
		assert_int_equal(store_begin(s, &note), ERR_OK);
		for (int i = 0; i < 1500; i++) {
			snprintf(key, sizeof(key), "key %d", i);
			assert_int_equal(store_put(s, slice_str(key), slice_of(noise, 60), &note), ERR_OK);
		}
		assert_int_equal(store_commit(s, &note), ERR_OK);
		store_close(s);
		assert_int_equal(stat(file, &st), 0);
		if (cut >= st.st_size) {
			dir_remove(&d);
			break;
		}
		assert_int_equal(truncate(file, cut), 0);
		fflush(stdout);
		pid_t pid = fork();
		if (pid == 0) {
			struct seen all = { .n = 0 };
			if (freopen("/dev/null", "w", stderr) == NULL)
				_exit(4);
			s = NULL;
			enum err err = store_open(&s, d.path, &note);
			if (err == ERR_OK)
				err = store_each(s, "", see, &all, &note);
			_exit(err == ERR_OK && all.n == 1500 && cut > 0 ? 3 : 0);
		}
		int status;
		assert_int_equal(waitpid(pid, &status, 0), pid);
		assert_true(WIFEXITED(status));
		assert_in_range(WEXITSTATUS(status), 0, 1);
		dir_remove(&d);
	}
}

static void bad_places(void **state)
{
	struct dir d;
	char file[128], longest[5000];
	struct err_note note;
	struct store *s = NULL;
	struct stat st;

	(void)state;
	dir_make(&d);
	assert_int_equal(store_open(&s, "", &note), ERR_USAGE);
	memset(longest, 'd', sizeof(longest) - 1);
	longest[sizeof(longest) - 1] = '\0';
	assert_int_equal(store_open(&s, longest, &note), ERR_USAGE);
	close(open(dir_file(&d, "file", file), O_CREAT | O_WRONLY, 0600));
	assert_int_not_equal(store_open(&s, file, &note), ERR_OK);
	dir_file(&d, "a/b/c", file);
	assert_int_equal(store_open(&s, file, &note), ERR_OK); /* made, for us alone */
	assert_int_equal(stat(file, &st), 0);
	assert_int_equal(st.st_mode & 0777, 0700);
	store_close(s);
	dir_remove(&d);
}

static void memory_runs_out(void **state)
{
	struct dir d;
	struct err_note note;
	bool enough = false;

	(void)state;
	dir_make(&d);
	long before = mem_live();
	for (size_t n = 1; !enough; n++) {
		struct store *s = NULL;
		mem_fail_at(n, true);
		enum err err = store_open(&s, d.path, &note);
		if (err == ERR_OK)
			err = store_put_one(s, "a", slice_str("1"), &note);
		if (err == ERR_OK)
			err = store_set_aside(s, slice_str("a"), &note);
		if (err == ERR_OK)
			err = store_set_all_aside(s, &note);
		mem_fail_at(0, false);
		assert_true(err == ERR_OK || err == ERR_NOMEM);
		enough = err == ERR_OK;
		store_close(s);
	}
	assert_int_equal(mem_live(), before);
	dir_remove(&d);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(records_are_kept),
		cmocka_unit_test(a_transaction_is_all_or_nothing),
		cmocka_unit_test(killed_at_any_time),
		cmocka_unit_test(set_aside),
		cmocka_unit_test(many_set_aside),
		cmocka_unit_test(a_broken_file_is_named),
		cmocka_unit_test(bad_places),
		cmocka_unit_test(memory_runs_out),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
