#include <string.h>

#include "../base/cmocka_all.h"
#include "ipam/ipam.h"

static struct prefix prefix(const char *text)
{
	struct prefix p;
	assert_int_equal(prefix_parse(text, &p), ERR_OK);
	return p;
}

static void parse(const char *text, enum err err, const char *expected, bool claims)
{
	struct prefix p, def = prefix("10.32.0.0/12");
	bool claim;
	struct err_note note = { "" };
	assert_int_equal(ipam_parse_addr(text, def, &p, &claim, &note), err);
	if (err != ERR_OK) {
		assert_true(note.text[0] != '\0');
		return;
	}
	assert_true(prefix_eq(p, prefix(expected)));
	assert_int_equal(claim, claims);
}

static void addresses_asked_for(void **state)
{
	(void)state;
	parse("", ERR_OK, "10.32.0.0/12", false);
	parse("net:default", ERR_OK, "10.32.0.0/12", false);
	parse("net:10.2.0.0/24", ERR_OK, "10.2.0.0/24", false);
	parse("ip:10.2.1.1/24", ERR_OK, "10.2.1.1/24", true);
	parse("10.2.1.1/24", ERR_OK, "10.2.1.1/24", true);
	parse("net:10.2.0.1/24", ERR_RANGE, "", false);
	parse("net:10.2.0.0/31", ERR_RANGE, "", false);
	parse("net:10.2.0.0/32", ERR_RANGE, "", false);
	parse("net:fd00::/64", ERR_UNSUPPORTED, "", false);
	parse("fd00::1/64", ERR_UNSUPPORTED, "", false);
	parse("net:", ERR_MALFORMED, "", false);
	parse("10.2.1.1", ERR_MALFORMED, "", false);
	parse("ip:net:10.2.0.0/24", ERR_MALFORMED, "", false);
	parse("net:10.2.0.0/33", ERR_MALFORMED, "", false);
}

static void subnets(void **state)
{
	(void)state;
	struct err_note note;
	assert_int_equal(ipam_check_subnet(prefix("10.2.0.0/30"), &note), ERR_OK);
	assert_int_equal(ipam_check_subnet(prefix("10.2.0.4/30"), &note), ERR_OK);
	assert_int_equal(ipam_check_subnet(prefix("10.2.0.0/31"), &note), ERR_RANGE);
	assert_int_equal(ipam_check_subnet(prefix("10.2.0.1/24"), &note), ERR_RANGE);
	assert_non_null(strstr(note.text, "10.2.0.0/24"));
	assert_int_equal(ipam_check_subnet(prefix("0.0.0.0/0"), &note), ERR_RANGE);
	assert_int_equal(ipam_check_subnet(prefix("fd00::/64"), &note), ERR_UNSUPPORTED);
}

int main(void)
{
	const struct CMUnitTest tests[] = { cmocka_unit_test(addresses_asked_for), cmocka_unit_test(subnets) };
	return cmocka_run_group_tests(tests, NULL, NULL);
}
