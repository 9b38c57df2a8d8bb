/* Sessions up to the moment they open: any cutting of the streams, disagreements, altered bytes, alerts, garbage. */
#include "tests/unit/gossip/session_pair.h"

static void assert_agreed(const struct end *a, const struct end *b)
{
	assert_memory_equal(session_remote_key(a->s), keys[0][1], SESSION_KEY);
	assert_memory_equal(session_remote_key(b->s), keys[1][1], SESSION_KEY);
	assert_true(a->was[SESSION_HANDSHAKE] && a->was[SESSION_CONFIRM] && a->was[SESSION_OPEN]);
	assert_true(b->was[SESSION_HANDSHAKE] && !b->was[SESSION_CONFIRM] && b->was[SESSION_OPEN]);
}

static void any_cutting(void **state)
{
	static uint8_t data[200000];
	uint64_t seed = test_seed("any_cutting");
	struct rng r;

	(void)state;
	rng_seed(&r, seed);
	rng_fill(&r, data, sizeof data);
	for (int round = 0; round < 150; round++) {
		struct end e[2];
		size_t said[2] = { 0, 0 }, chunk_max = rng_chance(&r, 300000) ? 1 : rng_chance(&r, 500000) ? 40 : 30000;
		int left = chunk_max == 1 ? 3 : 12;

		make_pair(&e[0], &e[1]);
		while (left > 0 || !idle(&e[0], &e[1])) {
			size_t k = rng_below(&r, 2);

			if (rng_chance(&r, 900000)) {
				carry(&e[k], &e[1 - k], (size_t)rng_between(&r, 1, chunk_max));
			} else if (session_state(e[k].s) == SESSION_OPEN && left > 0) {
				bool small = chunk_max == 1 || rng_chance(&r, 700000);

				say(&e[k], data, (size_t)rng_between(&r, 1, small ? 300 : sizeof data));
				said[k]++;
				left--;
			}
		}
		assert_agreed(&e[0], &e[1]);
		assert_int_equal(e[0].messages, said[1]);
		assert_int_equal(e[1].messages, said[0]);
		assert_heard(&e[0], &e[1]);
		assert_heard(&e[1], &e[0]);
		free_pair(&e[0], &e[1]);
	}
}

static void not_before_it_is_open(void **state)
{
	struct end a, b;

	(void)state;
	make_pair(&a, &b);
	for (size_t steps = 0; session_state(a.s) != SESSION_OPEN; steps++) {
		assert_true(steps < 1000);
		assert_int_equal(session_send(a.s, slice_str("x"), &a.out), ERR_STATE);
		assert_null(session_remote_key(a.s));
		if (session_state(b.s) != SESSION_OPEN) {
			assert_null(session_remote_key(b.s));
			assert_int_equal(session_send(b.s, slice_str("x"), &b.out), ERR_STATE);
		}
		carry(&a, &b, 1);
		carry(&b, &a, 1);
	}
	assert_true(a.was[SESSION_CONFIRM]);
	assert_agreed(&a, &b);
	free_pair(&a, &b);
}

static void passwords(void **state)
{
	static const uint8_t none[1][SESSION_KEY];
	static const struct {
		const uint8_t (*initiator)[SESSION_KEY], (*responder)[SESSION_KEY];
		size_t n_responder;
		bool ok;
		size_t used;
	} cases[] = {
		{ psk_new, psk_new, 1, true, 0 },
		{ psk_new, psk_both, 2, true, 0 },
		{ psk_old, psk_both, 2, true, 1 },
		{ psk_old, psk_both, 1, false, 0 },
		{ none, none, 1, true, 0 },
		{ none, psk_both, 2, false, 0 },
		{ psk_new, none, 1, false, 0 },
	};

	(void)state;
	for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
		struct session_config ca = config(true, cases[i].initiator, 1),
							  cb = config(false, cases[i].responder, cases[i].n_responder);
		struct end a, b;

		make(&a, &ca);
		make(&b, &cb);
		settle(&a, &b);
		if (cases[i].ok) {
			assert_agreed(&a, &b);
			assert_int_equal(session_psk_used(b.s), cases[i].used);
			assert_int_equal(session_psk_used(a.s), 0);
		} else {
			struct end *both[] = { &a, &b };

			for (size_t k = 0; k < 2; k++) {
				assert_int_equal(session_error(both[k]->s), ERR_AUTH);
				assert_string_equal(session_error_text(both[k]->s), "the other end has a different password");
				assert_int_equal(session_alert(both[k]->s), SESSION_ALERT_PASSWORD);
				assert_false(both[k]->was[SESSION_OPEN]);
				assert_null(session_remote_key(both[k]->s));
				assert_int_equal(session_psk_used(both[k]->s), 0);
			}
		}
		free_pair(&a, &b);
	}
}

static void versions(void **state)
{
	static const struct {
		uint8_t a_min, a_max, b_min, b_max, used;
	} cases[] = { { 1, 1, 1, 1, 1 }, { 1, 3, 2, 4, 3 }, { 1, 2, 2, 2, 2 }, { 4, 255, 1, 4, 4 }, { 1, 1, 2, 3, 0 },
		{ 5, 9, 1, 4, 0 } };

	(void)state;
	for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
		struct session_config ca = config(true, psk_new, 1), cb = config(false, psk_new, 1);
		char text[200];
		struct end a, b;

		ca.version_min = cases[i].a_min;
		ca.version_max = cases[i].a_max;
		cb.version_min = cases[i].b_min;
		cb.version_max = cases[i].b_max;
		make(&a, &ca);
		make(&b, &cb);
		settle(&a, &b);
		if (cases[i].used != 0) {
			assert_int_equal(session_state(a.s), SESSION_OPEN);
		} else {
			assert_int_equal(session_error(a.s), ERR_VERSION);
			assert_int_equal(session_error(b.s), ERR_VERSION);
			assert_int_equal(session_alert(b.s), SESSION_ALERT_VERSION);
			snprintf(text, sizeof text,
				"the other end speaks versions %d-%d of the protocol, we speak %d-%d: upgrade the older one", cases[i].b_min,
				cases[i].b_max, cases[i].a_min, cases[i].a_max);
			assert_string_equal(session_error_text(a.s), text);
		}
		free_pair(&a, &b);
	}
}

static void not_weft_at_all(void **state)
{
	static const struct {
		const char *sent, *shown;
	} cases[] = { { "GET / HTTP/1.1\r\n", "GET / HT" }, { "S", "S" }, { "wex", "wex" }, { "weFt\1\1\1\1", "weFt...." },
		{ "\x16\x03\x01\x02", "...." }, { "\xff\"\\%n", ".\"\\%n" } };

	(void)state;
	for (size_t i = 0; i < 2 * sizeof cases / sizeof cases[0]; i++) {
		struct session_config c = config(i % 2, psk_new, 1);
		char text[100];
		struct end x;

		make(&x, &c);
		assert_int_equal(feed(&x, slice_str(cases[i / 2].sent)), ERR_MALFORMED);
		snprintf(text, sizeof text, "not a weft peer: what it sends begins with \"%s\"", cases[i / 2].shown);
		assert_string_equal(session_error_text(x.s), text);
		assert_int_equal(x.out.len, SESSION_GREETING);
		assert_int_equal(session_alert(x.s), SESSION_ALERT_NONE);
		/* For ever, whatever comes. */
		assert_int_equal(feed(&x, slice_str("weft\1\1\0\0")), ERR_MALFORMED);
		assert_string_equal(session_error_text(x.s), text);
		assert_int_equal(session_eof(x.s), ERR_MALFORMED);
		assert_int_equal(session_send(x.s, slice_str("x"), &x.out), ERR_MALFORMED);
		assert_int_equal(x.out.len, SESSION_GREETING);
		end_free(&x);
	}
}

/* Every byte of what either end says until the session is open, one of its bits changed. What was said with a changed byte
 * must not open the session for who hears it, nor for the initiator, who is last. */
static void every_handshake_byte(void **state)
{
	uint64_t seed = test_seed("every_handshake_byte");
	static const size_t lens[2] = { 8 + 2 + 48 + 2 + 64, 8 + 2 + 96 + 2 + 17 };
	struct rng r;

	(void)state;
	rng_seed(&r, seed);
	for (size_t who = 0; who < 2; who++)
		for (size_t at = 0; at < lens[who]; at++) {
			struct end e[2];
			bool done = false;

			make_pair(&e[0], &e[1]);
			while (!idle(&e[0], &e[1])) {
				if (!done && e[who].out.len > at) {
					e[who].out.data[at] = (uint8_t)(e[who].out.data[at] ^ 1u << rng_below(&r, 8));
					done = true;
				}
				carry(&e[0], &e[1], SIZE_MAX);
				if (!done && e[who].out.len > at)
					continue;
				carry(&e[1], &e[0], SIZE_MAX);
			}
			assert_true(done);
			assert_false(e[0].was[SESSION_OPEN]);
			if (who == 0)
				assert_false(e[1].was[SESSION_OPEN]);
			free_pair(&e[0], &e[1]);
		}
	/* Those were all of them. */
	struct end a, b;
	open_pair(&a, &b);
	assert_int_equal(a.out.len, lens[0]);
	assert_int_equal(b.out.len, lens[1]);
	free_pair(&a, &b);
}

static void every_ending(void **state)
{
	static const char *const texts[] = {
		[SESSION_GREETED] = "before it said what it is",
		[SESSION_HANDSHAKE] = "during the handshake",
		[SESSION_CONFIRM] = "before it confirmed the password",
		[SESSION_OPEN] = "closed by the other end",
	};

	(void)state;
	for (size_t who = 0; who < 2; who++)
		for (size_t cut = 0;; cut++) {
			struct end e[2];
			enum session_state before;
			bool ended;

			make_pair(&e[0], &e[1]);
			for (size_t i = 0; i < 10; i++) {
				carry(&e[who], &e[1 - who], cut - e[who].taken);
				carry(&e[1 - who], &e[who], SIZE_MAX);
			}
			ended = e[who].taken < cut;
			before = session_state(e[1 - who].s);
			assert_int_equal(session_eof(e[1 - who].s), ERR_CLOSED);
			assert_non_null(strstr(session_error_text(e[1 - who].s), texts[before]));
			assert_true((before == SESSION_OPEN) == (e[who].taken == (who == 0 ? 124 : 125)));
			assert_int_equal(session_eof(e[1 - who].s), ERR_CLOSED);
			free_pair(&e[0], &e[1]);
			if (ended)
				break;
		}

	/* An open session that ends inside a length, a record, or a message of several records. */
	static const uint8_t big[3 * SESSION_FRAGMENT_MAX];
	static const size_t cuts[] = { 1, 2, 3, SESSION_RECORD_MAX + 1, SESSION_RECORD_MAX + 2, SESSION_RECORD_MAX + 3 };
	for (size_t i = 0; i < sizeof cuts / sizeof cuts[0]; i++) {
		struct end a, b;

		open_pair(&a, &b);
		say(&a, big, sizeof big);
		carry(&a, &b, cuts[i]);
		assert_int_equal(session_eof(b.s), ERR_TRUNCATED);
		free_pair(&a, &b);

		open_pair(&a, &b);
		say(&a, big, sizeof big);
		settle(&a, &b);
		assert_int_equal(b.messages, 1);
		assert_int_equal(session_eof(b.s), ERR_CLOSED);
		free_pair(&a, &b);
	}
}

static void alerts_received(void **state)
{
	static const enum err want[] = { ERR_REFUSED, ERR_AUTH, ERR_VERSION, ERR_BUSY, ERR_SELF, ERR_DUPLICATE, ERR_REFUSED,
		ERR_REFUSED, ERR_REFUSED };

	(void)state;
	for (uint8_t code = 0; code < sizeof want / sizeof want[0]; code++)
		for (int initiator = 0; initiator < 2; initiator++) {
			struct session_config c = config(initiator, psk_new, 1);
			uint8_t bytes[] = { 'w', 'e', 'f', 't', 1, 1, 0, 0, 0xff, 0xff, code };
			bool known = code >= 1 && code <= 7;
			size_t len;
			struct end x;

			make(&x, &c);
			assert_int_equal(feed(&x, slice_of(bytes, sizeof bytes - 1)), ERR_OK);
			len = x.out.len;
			assert_int_equal(feed(&x, slice_of(&code, 1)), want[code]);
			assert_int_equal(session_alert(x.s), known ? code : SESSION_ALERT_NONE);
			assert_true((strstr(session_error_text(x.s), "do not know") == NULL) == known);
			assert_int_equal(x.out.len, len); /* no alert answers an alert */
			end_free(&x);
		}
}

static void refusing(void **state)
{
	(void)state;
	for (enum session_alert why = SESSION_ALERT_PASSWORD; why <= SESSION_ALERT_HANDSHAKE; why++) {
		struct session_config ca = config(true, psk_new, 1), cb = config(false, psk_new, 1);
		struct end a, b;

		/* Before a byte has come or gone, which is how a full daemon gets rid of a caller. */
		make(&a, &ca);
		assert_int_equal(end_new(&b, &cb), ERR_OK);
		session_refuse(b.s, why, &b.out);
		assert_int_equal(b.out.len, SESSION_GREETING + 3);
		assert_int_equal(session_error(b.s), alerts[why].err);
		settle(&a, &b);
		assert_int_equal(session_error(a.s), alerts[why].err);
		assert_int_equal(session_alert(a.s), why);
		session_refuse(b.s, SESSION_ALERT_BUSY, &b.out); /* once is enough */
		assert_int_equal(b.out.len, SESSION_GREETING + 3);
		assert_int_equal(session_error(b.s), alerts[why].err);
		free_pair(&a, &b);

		/* By the initiator, who has seen the greeting. */
		make_pair(&a, &b);
		carry(&b, &a, SIZE_MAX);
		session_refuse(a.s, why, &a.out);
		settle(&a, &b);
		assert_int_equal(session_error(b.s), alerts[why].err);
		free_pair(&a, &b);

		/* When it might be taken for a record nothing is said. */
		open_pair(&a, &b);
		session_refuse(a.s, why, &a.out);
		assert_int_equal(a.out.len, 124);
		assert_int_equal(session_state(a.s), SESSION_FAILED);
		free_pair(&a, &b);
	}
}

static void garbage(void **state)
{
	uint64_t seed = test_seed("garbage");
	uint8_t bytes[600];
	struct rng r;

	(void)state;
	rng_seed(&r, seed);
	for (int round = 0; round < 3000; round++) {
		bool initiator = rng_chance(&r, 500000);
		struct session_config c = config(initiator, psk_both, initiator ? 1 : 2);
		size_t n = (size_t)rng_between(&r, 1, sizeof bytes), prefix = rng_below(&r, 14);
		struct end x;

		rng_fill(&r, bytes, sizeof bytes);
		memcpy(bytes, "weft\1\1\0\0\0\x30\0\x60\0", prefix);
		if (prefix >= 9)
			bytes[9] = initiator ? 96 : 48;
		make(&x, &c);
		for (size_t at = 0; at < n;) {
			size_t len = (size_t)rng_between(&r, 1, n - at);

			(void)feed(&x, slice_of(bytes + at, len));
			at += len;
		}
		assert_false(x.was[SESSION_OPEN]);
		assert_false(x.was[SESSION_CONFIRM]);
		assert_true(x.out.len <= 8 + 50 + 98 + 3);
		end_free(&x);
	}
}

/* The bytes on the wire, for all time; computed by another implementation. */
static void golden(void **state)
{
	static const char *const want[2] = {
		/* greeting */
		"7765667401010000"
		/* e */
		"0030053795ee4df46ba07e932db33cf9129555619ba13b05ad4a1a7e211bd095f411935c16948fd075f03afb1cd81efd"
		"d95a"
		/* s, se, psk */
		"00407ee51649b342d5ef6e1127589d821542d8be369065180c55af175b0b9da5765a466734d8a22fda7f01c588038336"
		"a06419103a82a0291a14d7927caeac64693d"
		/* "hello" */
		"0016da5f8c02bc52fa7c9cd5e255a3e92c630bd47c33edd5",
		/* greeting */
		"7765667401010000"
		/* e, ee, s, es */
		"006089d61c645458323ac5e33e81dd92af41ec366b5d4a915a5c199fbb89168d381f3b1d29a5c3e61e47b40038ddac4e"
		"e5bea66262586900d1eb30ce18e84b81755f90dbbde4d090be99a4271c408ad4d8a72bfa64a5b22b63030b239a768b00"
		"e04c"
		/* empty record */
		"001141c69e0b2dbc7e7b7679d3d1d575c4ae97"
		/* "world" */
		"0016bc5f562e642b97796dafb116e1197c27effa70c45c42",
	};
	struct end e[2];

	(void)state;
	open_pair(&e[0], &e[1]);
	say(&e[0], (const uint8_t *)"hello", 5);
	say(&e[1], (const uint8_t *)"world", 5);
	settle(&e[0], &e[1]);
	for (size_t i = 0; i < 2; i++) {
		char hex[1024];

		assert_non_null(sodium_bin2hex(hex, sizeof hex, e[i].out.data, e[i].out.len));
		assert_string_equal(hex, want[i]);
	}
	free_pair(&e[0], &e[1]);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(any_cutting),
		cmocka_unit_test(not_before_it_is_open),
		cmocka_unit_test(passwords),
		cmocka_unit_test(versions),
		cmocka_unit_test(not_weft_at_all),
		cmocka_unit_test(every_handshake_byte),
		cmocka_unit_test(every_ending),
		cmocka_unit_test(alerts_received),
		cmocka_unit_test(refusing),
		cmocka_unit_test(garbage),
		cmocka_unit_test(golden),
	};

	if (!pairs_init())
		return 1;
	return cmocka_run_group_tests(tests, NULL, NULL);
}
