#include "router/dns_resolv.h"

#include <fcntl.h>
#include <ifaddrs.h>
#include <netinet/in.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "base/mem.h"
#include "dns/resolvconf.h"

enum { DNS_PORT = 53, OWN_MAX = 128 };

enum err dns_resolv_init(struct dns_resolv *f, const char *path)
{
	*f = (struct dns_resolv){ 0 };
	if (!path || path[0] == '\0')
		return ERR_OK;
	f->path = mem_strdup(path);
	return f->path ? ERR_OK : ERR_NOMEM;
}

void dns_resolv_free(struct dns_resolv *f)
{
	mem_free(f->path);
	f->path = NULL;
}

/* Addresses of this host's interfaces. */
static size_t interface_addresses(struct hostport *out, size_t max)
{
	struct ifaddrs *all = NULL;
	size_t n = 0;
	if (getifaddrs(&all) != 0)
		return 0;
	for (const struct ifaddrs *i = all; i && n < max; i = i->ifa_next) {
		struct hostport h = { .port = DNS_PORT };
		struct sockaddr_in v4;
		struct sockaddr_in6 v6;
		if (i->ifa_addr && i->ifa_addr->sa_family == AF_INET) {
			memcpy(&v4, i->ifa_addr, sizeof(v4));
			h.ip.family = 4;
			memcpy(h.ip.b, &v4.sin_addr, 4);
		} else if (i->ifa_addr && i->ifa_addr->sa_family == AF_INET6) {
			memcpy(&v6, i->ifa_addr, sizeof(v6));
			h.ip.family = 6;
			memcpy(h.ip.b, &v6.sin6_addr, 16);
		} else {
			continue;
		}
		out[n++] = h;
	}
	freeifaddrs(all);
	return n;
}

static size_t all_own(const struct hostport *own, size_t n_own, struct hostport *out)
{
	size_t n = 0;
	bool every = false;
	for (; n < n_own && n < OWN_MAX; n++) {
		struct ip any = { .family = own[n].ip.family };
		out[n] = own[n];
		every = every || (ip_eq(own[n].ip, any) && own[n].port == DNS_PORT);
	}
	return every ? n + interface_addresses(out + n, OWN_MAX - n) : n;
}

/* The file's text in mem_alloc'ed memory; NULL: not to be had. */
static uint8_t *read_file(const char *path, size_t *n)
{
	uint8_t *text = mem_alloc(DNS_RESOLVCONF_MAX);
	int fd = text ? open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK) : -1;
	ssize_t got = -1;

	*n = 0;
	while (fd >= 0 && (got = read(fd, text + *n, DNS_RESOLVCONF_MAX - *n)) > 0)
		*n += (size_t)got;
	if (fd >= 0)
		close(fd);
	if (got == 0)
		return text;
	mem_free(text);
	return NULL;
}

bool dns_resolv_changed(
	struct dns_resolv *f, const struct hostport *own, size_t n_own, struct hostport *out, size_t max, size_t *n)
{
	struct hostport own_too[OWN_MAX];
	struct stat st;
	size_t len;

	if (!f->path || stat(f->path, &st) != 0 || !S_ISREG(st.st_mode))
		return false;
	if (st.st_dev == f->dev && st.st_ino == f->ino && st.st_size == f->size && st.st_mtim.tv_sec == f->mtime.tv_sec &&
		st.st_mtim.tv_nsec == f->mtime.tv_nsec)
		return false;
	uint8_t *text = read_file(f->path, &len);
	if (!text)
		return false;
	*n = dns_resolvconf_parse(slice_of(text, len), own_too, all_own(own, n_own, own_too), out, max);
	mem_free(text);

	/* The stat came before the read, so what was written meanwhile is seen next time. A time stamp younger than the clock's grain does not
	 * tell a second change from the first: then the file is simply read again. */
	f->dev = st.st_dev;
	f->ino = st.st_ino;
	f->size = st.st_size;
	f->mtime = st.st_mtim;
	if (st.st_mtim.tv_sec + 1 >= time(NULL))
		f->ino = 0;
	return true;
}
