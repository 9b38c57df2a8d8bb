/* Who a host is: the key's file, the machine it belongs to, incarnations. */
#include "dir.h"

#include <fcntl.h>
#include <sodium.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "base/addr.h"
#include "router/identity.h"

static enum err load(const struct dir *d, struct identity *id, struct err_note *note)
{
	struct store *s = NULL;
	enum err err = store_open(&s, d->path, note);

	if (err == ERR_OK)
		err = identity_load(d->path, s, id, note);
	store_close(s);
	return err;
}

static void put(const struct dir *d, const char *key, struct slice value)
{
	struct store *s = NULL;
	struct err_note note;

	assert_int_equal(store_open(&s, d->path, &note), ERR_OK);
	assert_int_equal(store_put_one(s, key, value, &note), ERR_OK);
	store_close(s);
}

static bool has(const struct dir *d, const char *key)
{
	struct store *s = NULL;
	struct err_note note;
	char value[64];
	size_t n;

	assert_int_equal(store_open(&s, d->path, &note), ERR_OK);
	enum err err = store_get(s, key, value, sizeof(value), &n);
	store_close(s);
	return err == ERR_OK;
}

static void one_is_made_and_stays(void **state)
{
	struct dir d;
	struct identity a, b;
	struct err_note note;
	struct stat st;
	char file[128];

	(void)state;
	dir_make(&d);
	assert_int_equal(load(&d, &a, &note), ERR_OK);
	assert_true(a.made && !a.cloned);
	assert_int_equal(stat(dir_file(&d, "identity.key", file), &st), 0);
	assert_int_equal(st.st_mode & 0777, 0600);
	assert_int_equal(st.st_size, 32);
	assert_int_equal(load(&d, &b, &note), ERR_OK);
	assert_false(b.made);
	assert_memory_equal(a.secret, b.secret, 32);
	assert_int_equal(a.name, b.name);
	assert_int_equal(a.name >> 40 & 3, 2); /* locally administered, unicast */
	assert_true(a.name <= PEER_MAX);
	uint8_t public[32];
	assert_int_equal(crypto_scalarmult_base(public, a.secret), 0);
	assert_memory_equal(public, a.public, 32);
	dir_remove(&d);
}

static void a_broken_key_is_not_replaced(void **state)
{
	struct dir d;
	struct identity id;
	struct err_note note;
	char file[128];

	(void)state;
	dir_make(&d);
	dir_file(&d, "identity.key", file);
	for (int n = 0; n <= 33; n += n == 0 ? 31 : 2) { /* 0, 31, 33 bytes */
		int fd = open(file, O_CREAT | O_TRUNC | O_WRONLY, 0600);
		assert_int_equal(write(fd, "0123456789012345678901234567890123", (size_t)n), n);
		close(fd);
		assert_int_equal(load(&d, &id, &note), ERR_MALFORMED);
		assert_non_null(strstr(note.text, file));
	}
	assert_int_equal(unlink(file), 0);
	assert_int_equal(symlink("/etc/hostname", file), 0);
	assert_int_not_equal(load(&d, &id, &note), ERR_OK);
	dir_remove(&d);
}

static void a_clone_gets_its_own(void **state)
{
	struct dir d;
	struct identity a, b;
	struct err_note note;
	char file[128];

	(void)state;
	dir_make(&d);
	assert_int_equal(load(&d, &a, &note), ERR_OK);
	if (!has(&d, "meta/machine")) {
		dir_remove(&d);
		print_message("SKIPPED: this machine has no machine-id\n");
		skip();
	}
	put(&d, "target/10.0.0.1", slice_str(""));
	put(&d, "meta/machine", slice_str("of another machine"));
	assert_int_equal(load(&d, &b, &note), ERR_OK);
	assert_true(b.made && b.cloned);
	assert_int_not_equal(a.name, b.name);
	assert_true(has(&d, "aside/target/10.0.0.1") && has(&d, "aside/meta/machine") && has(&d, "meta/machine"));
	assert_false(has(&d, "target/10.0.0.1"));
	assert_int_equal(access(dir_file(&d, "identity.key.aside", file), F_OK), 0);
	assert_int_equal(load(&d, &a, &note), ERR_OK);
	assert_true(!a.made && !a.cloned && a.name == b.name);
	/* ended half-way: the key is aside already, the records are not */
	put(&d, "meta/machine", slice_str("a third"));
	assert_int_equal(unlink(dir_file(&d, "identity.key", file)), 0);
	assert_int_equal(load(&d, &b, &note), ERR_OK);
	assert_true(b.made && b.cloned && b.name != a.name);
	dir_remove(&d);
}

static void incarnations_only_grow(void **state)
{
	struct dir d;
	struct store *s = NULL;
	struct err_note note;
	uint64_t last = 0, inc;
	static const uint8_t far[8] = { 0, 1, 2, 3, 4, 5, 6, 7 }, end[8] = { 255, 255, 255, 255, 255, 255, 255, 255 };

	(void)state;
	dir_make(&d);
	assert_int_equal(store_open(&s, d.path, &note), ERR_OK);
	for (int i = 0; i < 10; i++) {
		assert_int_equal(identity_incarnation(s, &inc, &note), ERR_OK);
		assert_true(inc > last && inc >= (uint64_t)time(NULL) - 10);
		last = inc;
	}
	assert_int_equal(store_put_one(s, "meta/incarnation", slice_of(far, 8), &note), ERR_OK); /* a clock that was wrong once */
	assert_int_equal(identity_incarnation(s, &inc, &note), ERR_OK);
	assert_int_equal(inc, UINT64_C(0x0001020304050608));
	assert_int_equal(store_put_one(s, "meta/incarnation", slice_of(end, 8), &note), ERR_OK);
	assert_int_equal(identity_incarnation(s, &inc, &note), ERR_MALFORMED);
	assert_int_equal(store_put_one(s, "meta/incarnation", slice_of(end, 3), &note), ERR_OK);
	assert_int_equal(identity_incarnation(s, &inc, &note), ERR_MALFORMED);
	assert_int_equal(store_put_one(s, "meta/incarnation", slice_str("123456789"), &note), ERR_OK);
	assert_int_not_equal(identity_incarnation(s, &inc, &note), ERR_OK);
	store_close(s);
	dir_remove(&d);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(one_is_made_and_stays),
		cmocka_unit_test(a_broken_key_is_not_replaced),
		cmocka_unit_test(a_clone_gets_its_own),
		cmocka_unit_test(incarnations_only_grow),
	};

	return sodium_init() < 0 ? 1 : cmocka_run_group_tests(tests, NULL, NULL);
}
