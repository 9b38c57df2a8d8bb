#include "router/dataplane/foreign.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/mem.h"
#include "router/dataplane/foreign_internal.h"
#include "router/dataplane/netlink.h"

enum { ROUTES_BYTES = 65536 };

void foreign_iptables_remedy(struct foreign_verdict *v, const char *program, int family, bool docker_user)
{
	const char *chain = docker_user ? "DOCKER-USER" : "FORWARD", *six = family == 6 ? "6" : "";

	(void)snprintf(v->remedy, sizeof(v->remedy), "ip%stables%s -I %s -i weft+ -j ACCEPT && ip%stables%s -I %s -o weft+ -j ACCEPT",
		six, program, chain, six, program, chain);
}

struct foreign {
	struct foreign_nft *nft;
	struct foreign_legacy *legacy[2]; /* of IPv4, IPv6; NULL: there is none */
};

enum err foreign_read(struct foreign **out, struct err_note *note)
{
	struct foreign *f = mem_zalloc(1, sizeof *f);
	if (!f)
		return err_note(note, ERR_NOMEM, "out of memory");
	int bad = 0;
	for (int what = 0; what < 3 && bad == 0; what++) {
		int result = what == 2 ? foreign_nft_read(&f->nft) : foreign_legacy_read(what == 0 ? 4 : 6, &f->legacy[what]);
		if (result != -ENOENT && result != -EPROTONOSUPPORT)
			bad = result;
	}
	if (bad) {
		foreign_free(f);
		return err_note(note, netlink_err_of(bad), "cannot read the host's other packet filters: %s", strerror(-bad));
	}
	*out = f;
	return ERR_OK;
}

void foreign_free(struct foreign *f)
{
	if (!f)
		return;
	foreign_nft_free(f->nft);
	foreign_legacy_free(f->legacy[0]);
	foreign_legacy_free(f->legacy[1]);
	mem_free(f);
}

void foreign_forward(const struct foreign *f, const struct foreign_packet *p, const char *bridge, struct foreign_verdict *out)
{
	const struct foreign_legacy *legacy = f->legacy[p->family == 6];
	*out = (struct foreign_verdict){ .drops = false };
	if (f->nft)
		foreign_nft_ask(f->nft, p, bridge, out);
	if (!out->drops && legacy)
		foreign_legacy_ask(legacy, p, out);
}

/* --- the host's routing ---- */

static ssize_t read_text(const char *path, char *out, size_t size)
{
	size_t n = 0;
	ssize_t got = -1;
	int fd = open(path, O_RDONLY | O_CLOEXEC);

	while (fd >= 0 && n + 1 < size && (got = read(fd, out + n, size - 1 - n)) > 0)
		n += (size_t)got;
	if (fd >= 0)
		(void)close(fd);
	out[n] = '\0';
	return fd < 0 || got < 0 ? -1 : (ssize_t)n;
}

int foreign_forwarding(int family)
{
	char text[8];
	ssize_t n =
		read_text(family == 6 ? "/proc/sys/net/ipv6/conf/all/forwarding" : "/proc/sys/net/ipv4/ip_forward", text, sizeof(text));

	return n <= 0 ? -1 : text[0] != '0';
}

/* Of a line of /proc/net/route: "eth0 00000000 …"; of /proc/net/ipv6_route: "0000… 00 … eth0". */
static bool default_of_line(int family, char *line, char out[16])
{
	char *words[12], *rest = NULL;
	size_t n = 0;

	for (char *w = strtok_r(line, " \t", &rest); w != NULL && n < 12; w = strtok_r(NULL, " \t", &rest))
		words[n++] = w;
	if (family == 4 && n > 7 && strcmp(words[1], "00000000") == 0 && strcmp(words[7], "00000000") == 0) {
		(void)snprintf(out, 16, "%s", words[0]);
		return true;
	}
	if (family == 6 && n > 9 && strspn(words[0], "0") == 32 && strcmp(words[1], "00") == 0 && strcmp(words[9], "lo") != 0) {
		(void)snprintf(out, 16, "%s", words[9]);
		return true;
	}
	return false;
}

void foreign_default_interface(int family, char out[16])
{
	static const char *const paths[] = { "/proc/self/net/route", "/proc/self/net/ipv6_route" };
	char *text = malloc(ROUTES_BYTES), *rest = NULL;
	bool found = false;

	out[0] = '\0';
	if (text != NULL && read_text(paths[family == 6], text, ROUTES_BYTES) > 0)
		for (char *line = strtok_r(text, "\n", &rest); line != NULL && !found; line = strtok_r(NULL, "\n", &rest))
			found = default_of_line(family, line, out);
	free(text);
}
