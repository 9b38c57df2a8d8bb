/* Path MTU discovery for datagrams (RFC 8899): the largest IP packet that passes, by padded probes and their answers alone.
 *
 * What is sought lies between `good`, which passed (or is assumed to: `base`), and `bad`, which did not. The first size tried is the most the device
 * takes: mostly it passes, and one round trip has found the answer. Else the interval is halved, to the byte. A size is given up after
 * MTU_TRIES probes without an answer, or at once when our own kernel refuses it. What was found is looked at again from above after
 * the raise time; a black hole (what used to pass does no more) is the caller's to notice, who then starts from the base. */
#include "router/core/internal.h"

enum { MTU_TRIES = 3 };

void mtu_begin(struct mtu_search *s, uint32_t base, uint32_t most, uint64_t now_ms)
{
	if (most > UINT16_MAX)
		most = UINT16_MAX;
	if (base > most)
		base = most;
	*s = (struct mtu_search){ .base = base, .most = most, .good = base, .bad = most + 1, .next_ms = now_ms };
}

void mtu_raise(struct mtu_search *s, uint32_t most, uint64_t now_ms)
{
	uint32_t good = s->good;

	mtu_begin(s, s->base, most, now_ms);
	s->good = good < s->most ? good : s->most;
}

uint32_t mtu_due(struct mtu_search *s, uint64_t now_ms, uint64_t patience_ms, uint64_t raise_ms)
{
	if (s->found || now_ms < s->next_ms)
		return 0;
	if (s->asked != 0 && s->tries == MTU_TRIES) {
		s->bad = s->asked;
		s->asked = 0;
	}
	if (s->bad <= s->good + 1) {
		s->found = true;
		s->asked = 0;
		s->next_ms = now_ms + raise_ms;
		return 0;
	}
	if (s->asked == 0) {
		s->asked = s->bad > s->most ? s->most : s->good + (s->bad - s->good) / 2;
		s->tries = 0;
	}
	s->tries++;
	s->next_ms = now_ms + patience_ms;
	return s->asked;
}

void mtu_passed(struct mtu_search *s, uint32_t size, uint64_t now_ms)
{
	if (size <= s->good || size > s->most)
		return;
	s->good = size;
	if (s->bad <= size) /* the probes before were lost for another reason */
		s->bad = s->most + 1;
	s->asked = 0;
	s->found = false;
	s->next_ms = now_ms;
}

void mtu_refused(struct mtu_search *s, uint32_t size, uint64_t now_ms)
{
	if (size <= s->base || size >= s->bad)
		return;
	s->bad = size;
	if (s->good >= size)
		s->good = s->base;
	s->asked = 0;
	s->found = false;
	s->next_ms = now_ms;
}
