/* Sessions that are open: crafted, altered and too many records; memory, room and secrets over a whole life. */
#include "tests/unit/gossip/session_pair.h"

/* A record with that plaintext, sealed as the next of x. */
static void craft(struct end *x, const void *plain, size_t n)
{
	uint8_t *dst;

	wbuf_u16(&x->out, (uint16_t)(n + NOISE_TAG));
	dst = wbuf_reserve(&x->out, n + NOISE_TAG);
	assert_non_null(dst);
	assert_int_equal(noise_seal(&x->s->tx, slice_of(NULL, 0), slice_of(plain, n), dst), ERR_OK);
}

static void crafted_records(void **state)
{
	static const struct {
		const char *plain[3];
		size_t n[3];
		enum err want;
		size_t messages;
	} cases[] = {
		{ { "\1a" }, { 2 }, ERR_OK, 1 }, { { "\0a", "\1b", "\1c" }, { 2, 2, 2 }, ERR_OK, 2 },
		{ { "\0a", "\0", "\1" }, { 2, 1, 1 }, ERR_OK, 1 }, /* the end of a message may come alone */
		{ { "\0", "\1a" }, { 1, 2 }, ERR_OK, 1 }, { { "\1" }, { 1 }, ERR_MALFORMED, 0 },
		{ { "\1a", "\1" }, { 2, 1 }, ERR_MALFORMED, 1 }, { { "\2a" }, { 2 }, ERR_MALFORMED, 0 },
		{ { "\x81z" }, { 2 }, ERR_MALFORMED, 0 }, { { "" }, { 0 }, ERR_MALFORMED, 0 }, /* not even flags */
	};

	(void)state;
	for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
		struct end a, b;

		open_pair(&a, &b);
		for (size_t k = 0; k < 3 && cases[i].plain[k]; k++)
			craft(&a, cases[i].plain[k], cases[i].n[k]);
		settle(&a, &b);
		assert_int_equal(session_error(b.s), cases[i].want);
		assert_int_equal(b.messages, cases[i].messages);
		assert_int_equal(session_alert(b.s), SESSION_ALERT_NONE);
		/* A link that was open says nothing more in the clear. */
		assert_int_equal(b.out.len, 125);
		assert_non_null(session_remote_key(b.s));
		free_pair(&a, &b);
	}
}

/* Who handles a message may give up the session and still look at the message. */
static void message_outlives_refusal(void **state)
{
	struct end a, b;
	struct slice msg;
	struct rbuf in;

	(void)state;
	open_pair(&a, &b);
	say(&a, (const uint8_t *)"hello", 5);
	rbuf_init(&in, a.out.data + a.taken, a.out.len - a.taken);
	assert_int_equal(session_input(b.s, &in, &b.out, &msg), ERR_OK);
	session_refuse(b.s, SESSION_ALERT_BUSY, &b.out);
	assert_int_equal(msg.n, 5);
	assert_memory_equal(msg.p, "hello", 5);
	free_pair(&a, &b);
}

static void lengths(void **state)
{
	static const struct {
		uint16_t n;
		bool ok;
	} cases[] = { { 0, false }, { 16, false }, { 17, true }, { SESSION_RECORD_MAX, true }, { SESSION_RECORD_MAX + 1, false },
		{ SESSION_ALERT_MARK, false } };

	(void)state;
	for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
		uint8_t bytes[2] = { (uint8_t)(cases[i].n >> 8), (uint8_t)cases[i].n };
		struct end a, b;

		open_pair(&a, &b);
		assert_int_equal(feed(&b, slice_of(bytes, 2)), cases[i].ok ? ERR_OK : ERR_MALFORMED);
		free_pair(&a, &b);
	}
	for (size_t n = 0; n <= 0x10000;
		 n += n == 0 || n >= SESSION_HANDSHAKE_MAX - 1 ? (n < 300 ? 1 : 0xfeff) : SESSION_HANDSHAKE_MAX - 1) {
		uint8_t bytes[2] = { (uint8_t)(n >> 8), (uint8_t)n };
		struct session_config c = config(false, psk_new, 1);
		bool ok = n >= 1 && n <= SESSION_HANDSHAKE_MAX;
		struct end x;

		if (n >= SESSION_ALERT_MARK)
			break;
		make(&x, &c);
		assert_int_equal(feed(&x, slice_of("weft\1\1\0\0", 8)), ERR_OK);
		assert_int_equal(feed(&x, slice_of(bytes, 2)), ok ? ERR_OK : ERR_MALFORMED);
		assert_int_equal(session_alert(x.s), ok ? SESSION_ALERT_NONE : SESSION_ALERT_HANDSHAKE);
		assert_int_equal(x.out.len, ok ? 8 : 11);
		end_free(&x);
	}
}

static void altered_records(void **state)
{
	struct end a, b;
	size_t start = 0, one = 2 + 1 + 5 + 16;

	(void)state;
	for (size_t at = 0; at < one; at++) {
		open_pair(&a, &b);
		start = a.out.len;
		say(&a, (const uint8_t *)"hello", 5);
		assert_int_equal(a.out.len, start + one);
		a.out.data[start + at] = (uint8_t)(a.out.data[start + at] ^ 4);
		say(&a, (const uint8_t *)"hello", 5); /* so that a longer length finds its bytes */
		settle(&a, &b);
		assert_int_equal(b.messages, 0);
		if (at >= 2)
			assert_int_equal(session_error(b.s), ERR_AUTH);
		free_pair(&a, &b);
	}
	for (int how = 0; how < 3; how++) {
		uint8_t first[64];

		open_pair(&a, &b);
		start = a.out.len;
		say(&a, (const uint8_t *)"first", 5);
		say(&a, (const uint8_t *)"other", 5);
		memcpy(first, a.out.data + start, one);
		if (how == 0) { /* repeated */
			memcpy(a.out.data + start + one, first, one);
		} else if (how == 1) { /* out of order */
			memmove(a.out.data + start, a.out.data + start + one, one);
			memcpy(a.out.data + start + one, first, one);
		} else { /* left out */
			a.taken += one;
		}
		settle(&a, &b);
		assert_int_equal(session_error(b.s), ERR_AUTH);
		assert_int_equal(b.messages, how == 0 ? 1 : 0);
		free_pair(&a, &b);
	}
	/* Its own record sent back. */
	open_pair(&a, &b);
	start = a.out.len;
	say(&a, (const uint8_t *)"hello", 5);
	assert_int_equal(feed(&a, slice_of(a.out.data + start, one)), ERR_AUTH);
	free_pair(&a, &b);
}

static void empties_are_bounded(void **state)
{
	struct end a, b;

	(void)state;
	open_pair(&a, &b);
	for (int round = 0; round < 3; round++) {
		for (int i = 0; i < SESSION_EMPTY_MAX; i++)
			craft(&a, "\0", 1);
		craft(&a, round < 2 ? "\0a" : "\1a", 2);
	}
	settle(&a, &b);
	assert_int_equal(session_error(b.s), ERR_OK);
	assert_int_equal(b.messages, 1);
	for (int i = 0; i < SESSION_EMPTY_MAX + 1; i++)
		craft(&a, "\0", 1);
	settle(&a, &b);
	assert_int_equal(session_error(b.s), ERR_LIMIT);
	free_pair(&a, &b);
}

static void largest_message(void **state)
{
	uint8_t *big = mem_zalloc(1, SESSION_MESSAGE_MAX + 1);
	static uint8_t full[SESSION_FRAGMENT_MAX + 1];
	size_t start;
	struct end a, b;

	(void)state;
	assert_non_null(big);
	for (size_t i = 0; i < SESSION_MESSAGE_MAX; i++)
		big[i] = (uint8_t)(i * 7 >> 3);
	open_pair(&a, &b);
	start = a.out.len;
	assert_int_equal(session_send(a.s, slice_of(big, SESSION_MESSAGE_MAX + 1), &a.out), ERR_LIMIT);
	assert_int_equal(a.out.len, start);
	say(&a, big, SESSION_FRAGMENT_MAX);
	assert_int_equal(a.out.len, start + 2 + SESSION_RECORD_MAX);
	start = a.out.len;
	say(&a, big, SESSION_FRAGMENT_MAX + 1);
	assert_int_equal(a.out.len, start + 2 + SESSION_RECORD_MAX + 2 + 18);
	say(&a, big, SESSION_MESSAGE_MAX);
	say(&a, (const uint8_t *)"after", 5);
	settle(&a, &b);
	assert_int_equal(session_error(b.s), ERR_OK);
	assert_int_equal(b.messages, 4);
	assert_heard(&a, &b);
	/* Nothing of it is kept. */
	assert_true(b.s->message.cap <= KEEP_MAX);
	free_pair(&a, &b);
	mem_free(big);

	/* One byte more, by someone who does not keep to it. */
	open_pair(&a, &b);
	for (size_t sent = 0; sent <= SESSION_MESSAGE_MAX - SESSION_FRAGMENT_MAX; sent += SESSION_FRAGMENT_MAX)
		craft(&a, full, sizeof full);
	craft(&a, full, 1 + SESSION_MESSAGE_MAX % SESSION_FRAGMENT_MAX);
	settle(&a, &b);
	assert_int_equal(session_error(b.s), ERR_OK);
	craft(&a, full, 2);
	settle(&a, &b);
	assert_int_equal(session_error(b.s), ERR_LIMIT);
	assert_string_equal(session_error_text(b.s), "the other end sent a message of more than 4194304 bytes");
	assert_int_equal(b.messages, 0);
	assert_int_equal(b.s->message.cap, 0);
	free_pair(&a, &b);
}

static void records_run_out(void **state)
{
	static const uint8_t two[2 * SESSION_FRAGMENT_MAX];
	struct end a, b;
	size_t len;

	(void)state;
	open_pair(&a, &b);
	a.s->tx.nonce = b.s->rx.nonce = UINT64_MAX - 2;
	say(&a, (const uint8_t *)"last", 4);
	len = a.out.len;
	assert_int_equal(session_send(a.s, slice_of(two, sizeof two), &a.out), ERR_LIMIT);
	assert_int_equal(a.out.len, len);
	assert_int_equal(session_state(a.s), SESSION_FAILED);
	settle(&a, &b);
	assert_int_equal(b.messages, 1);
	assert_heard(&a, &b);
	free_pair(&a, &b);
}

/* The whole life of two sessions, stopping at the first error. */
static enum err life(void)
{
	static const uint8_t big[20000];
	struct session_config ca = config(true, psk_both, 1), cb = config(false, psk_both, 2);
	struct end a, b;
	enum err e, eb;
	bool begun = false, said = false;

	e = end_new(&a, &ca);
	eb = end_new(&b, &cb);
	if (e == ERR_OK && eb == ERR_OK) {
		begun = true;
		e = session_start(a.s, &a.out);
		eb = session_start(b.s, &b.out);
	}
	while (begun && e == ERR_OK && eb == ERR_OK && (!said || !idle(&a, &b))) {
		size_t n = said ? 5000 : 30;

		if (!said && session_state(a.s) == SESSION_OPEN) {
			e = session_send(a.s, slice_of(big, sizeof big), &a.out);
			said = true;
		}
		for (size_t k = 0; k < 2 && e == ERR_OK; k++) {
			struct end *from = k ? &b : &a, *to = k ? &a : &b;
			size_t left = from->out.len - from->taken;

			/* Not carry(), whose own allocation may fail. */
			if (left > 0 && feed(to, slice_of(from->out.data + from->taken, left < n ? left : n)) != ERR_OK)
				e = session_error(to->s);
			from->taken += left < n ? left : n;
		}
	}
	if (e == ERR_OK && eb == ERR_OK)
		assert_int_equal(b.messages, 1);
	free_pair(&a, &b);
	return e != ERR_OK ? e : eb;
}

static void memory_runs_out(void **state)
{
	long live = mem_live();
	enum err e = ERR_NOMEM;
	size_t n;

	(void)state;
	for (size_t sticky = 0; sticky < 2; sticky++) {
		for (n = 1; n < 200; n++) {
			mem_fail_at(n, sticky);
			e = life();
			mem_fail_at(0, false);
			assert_int_equal(mem_live(), live);
			if (e == ERR_OK)
				break;
			assert_int_equal(e, ERR_NOMEM);
		}
		assert_int_equal(e, ERR_OK);
		assert_true(n > 10);
	}
}

static void no_room(void **state)
{
	uint8_t mem[256];
	struct wbuf small;
	struct rbuf in;
	struct slice msg;
	struct end a, b;

	(void)state;
	/* Starting. */
	for (size_t cap = 0; cap <= SESSION_GREETING; cap++) {
		struct session_config c = config(true, psk_new, 1);

		assert_int_equal(end_new(&a, &c), ERR_OK);
		wbuf_fixed(&small, mem, cap);
		assert_int_equal(session_start(a.s, &small), cap < SESSION_GREETING ? ERR_LIMIT : ERR_OK);
		assert_int_equal(session_error(a.s), cap < SESSION_GREETING ? ERR_LIMIT : ERR_OK);
		end_free(&a);
	}
	/* Each answer of the handshake, in turn: by the initiator, the responder, and both again. */
	static const size_t answers[] = { 50, 98, 66, 19 };
	for (size_t i = 0; i < 4; i++)
		for (size_t cap = 0; cap <= answers[i]; cap++) {
			struct end *to = i % 2 ? &b : &a, *from = i % 2 ? &a : &b;

			make_pair(&a, &b);
			for (size_t k = 0; k < i; k++)
				carry(k % 2 ? &a : &b, k % 2 ? &b : &a, SIZE_MAX);
			wbuf_fixed(&small, mem, cap);
			rbuf_init(&in, from->out.data + from->taken, from->out.len - from->taken);
			assert_int_equal(session_input(to->s, &in, &small, &msg), cap < answers[i] ? ERR_LIMIT : ERR_OK);
			if (cap == answers[i])
				assert_int_equal(small.len, cap);
			free_pair(&a, &b);
		}
	/* Sending: all or nothing, and the session goes on. */
	open_pair(&a, &b);
	for (size_t cap = 0; cap < 2 + 1 + 5 + 16; cap++) {
		wbuf_fixed(&small, mem, cap);
		assert_int_equal(session_send(a.s, slice_str("hello"), &small), ERR_LIMIT);
		assert_int_equal(small.len, 0);
	}
	say(&a, (const uint8_t *)"hello", 5);
	settle(&a, &b);
	assert_int_equal(b.messages, 1);
	assert_heard(&a, &b);
	free_pair(&a, &b);
}

static void half_open_is_small(void **state)
{
	static const uint8_t zeros[SESSION_HANDSHAKE_MAX - 1];
	struct session_config c = config(false, psk_both, 2);
	struct end x, a, b;

	(void)state;
	/* The largest handshake message but one byte, a byte at a time. */
	make(&x, &c);
	assert_int_equal(feed(&x, slice_of("weft\1\1\0\0\1\0", 10)), ERR_OK);
	for (size_t i = 0; i < sizeof zeros; i++)
		assert_int_equal(feed(&x, slice_of(zeros + i, 1)), ERR_OK);
	assert_int_equal(x.s->frame.len, sizeof zeros);
	assert_true(sizeof *x.s + x.s->frame.cap + x.s->message.cap < 2048);
	end_free(&x);

	make_pair(&a, &b);
	while (session_state(a.s) != SESSION_OPEN) {
		carry(&a, &b, 1);
		carry(&b, &a, 1);
		assert_true(sizeof *a.s + a.s->frame.cap + a.s->message.cap < 2048);
		assert_true(sizeof *b.s + b.s->frame.cap + b.s->message.cap < 2048);
	}
	free_pair(&a, &b);
}

static bool holds_secret(const struct session *s, const uint8_t secret[SESSION_KEY])
{
	const uint8_t *p = (const uint8_t *)s;

	for (size_t i = 0; i + SESSION_KEY <= sizeof *s; i++)
		if (memcmp(p + i, secret, SESSION_KEY) == 0)
			return true;
	return false;
}

static void assert_secrets(const struct end *x, bool initiator, bool want)
{
	struct session_config c = config(initiator, psk_new, 1);

	assert_int_equal(holds_secret(x->s, c.s_sk), want);
	assert_int_equal(holds_secret(x->s, c.e_sk), want);
	assert_int_equal(holds_secret(x->s, psk_new[0]), want);
}

/* Long-lived secrets are gone from a session as soon as it can do without, and everything is before the memory goes back. */
static void secrets_are_wiped(void **state)
{
	size_t before = sessions_freed;
	struct end a, b;
	uint8_t tx[SESSION_KEY], rx[SESSION_KEY];

	(void)state;
	make_pair(&a, &b);
	assert_secrets(&a, true, true);
	assert_secrets(&b, false, true);
	settle(&a, &b);
	assert_secrets(&a, true, false);
	assert_secrets(&b, false, false);
	memcpy(tx, b.s->tx.key, sizeof tx);
	memcpy(rx, b.s->rx.key, sizeof rx);
	assert_true(holds_secret(b.s, tx) && holds_secret(b.s, rx));
	assert_int_equal(feed(&b, slice_of("\0\1", 2)), ERR_MALFORMED);
	assert_false(holds_secret(b.s, tx));
	assert_false(holds_secret(b.s, rx));
	free_pair(&a, &b);

	make_pair(&a, &b);
	carry(&a, &b, SIZE_MAX);
	carry(&b, &a, SIZE_MAX);
	session_refuse(a.s, SESSION_ALERT_BUSY, &a.out);
	assert_secrets(&a, true, false);
	settle(&a, &b);
	assert_secrets(&b, false, false);
	free_pair(&a, &b);
	session_free(NULL);
	assert_int_equal(sessions_freed, before + 4); /* watched_free() has looked at each */
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(crafted_records),
		cmocka_unit_test(message_outlives_refusal),
		cmocka_unit_test(lengths),
		cmocka_unit_test(altered_records),
		cmocka_unit_test(empties_are_bounded),
		cmocka_unit_test(largest_message),
		cmocka_unit_test(records_run_out),
		cmocka_unit_test(memory_runs_out),
		cmocka_unit_test(no_room),
		cmocka_unit_test(half_open_is_small),
		cmocka_unit_test(secrets_are_wiped),
	};

	if (!pairs_init())
		return 1;
	return cmocka_run_group_tests(tests, NULL, NULL);
}
