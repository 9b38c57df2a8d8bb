#include <string.h>

#include "ipam/ipam.h"

enum err ipam_check_subnet(struct prefix subnet, struct err_note *note)
{
	char text[PREFIX_TEXT], net[PREFIX_TEXT];
	prefix_format(subnet, text);
	if (subnet.addr.family != 4)
		return err_note(note, ERR_UNSUPPORTED, "%s: only IPv4 subnets can be asked for", text);
	if (!prefix_is_network(subnet))
		return err_note(
			note, ERR_RANGE, "%s has bits after the prefix: did you mean %s?", text, prefix_format(prefix_network(subnet), net));
	if (subnet.len > IPAM_SUBNET_MAX_LEN)
		return err_note(note, ERR_RANGE,
			"%s is too small: the smallest subnet is a /%d, since its first and last address are never given", text,
			IPAM_SUBNET_MAX_LEN);
	if (subnet.len < 1)
		return err_note(note, ERR_RANGE, "%s is too large", text);
	return ERR_OK;
}

enum err ipam_parse_addr(const char *text, struct prefix default_subnet, struct prefix *out, bool *claim, struct err_note *note)
{
	const char *rest = text;
	bool net = strncmp(text, "net:", 4) == 0, ip = strncmp(text, "ip:", 3) == 0;
	struct prefix p;
	if (text[0] == '\0' || strcmp(text, "net:default") == 0) {
		*out = default_subnet;
		*claim = false;
		return ERR_OK;
	}
	if (net)
		rest = text + 4;
	if (ip)
		rest = text + 3;
	if (prefix_parse(rest, &p) != ERR_OK)
		return err_note(
			note, ERR_MALFORMED, "\"%.80s\" is not an address: write net:default, net:10.2.0.0/24 or ip:10.2.1.1/24", text);
	if (net) {
		enum err e = ipam_check_subnet(p, note);
		if (e != ERR_OK)
			return e;
	} else if (p.addr.family != 4) {
		return err_note(note, ERR_UNSUPPORTED, "%.80s: only IPv4 addresses can be asked for", text);
	}
	*out = p;
	*claim = !net;
	return ERR_OK;
}
