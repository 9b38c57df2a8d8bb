/* weft setup-cni: puts the plugin where container runtimes look for it, and a configuration that names it where they read it. The program comes first,
 * since they take a configuration up as soon as it is there. Both are written beside their place and then moved. */
#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "weft.h"

#define PLUGIN   "weft-cni"
#define CONFLIST "10-weft.conflist"
/* What every weft-cni has in it, and hardly anything else. */
#define MARK "this program is run by a container runtime, see weft-cni(8)"

enum { FILE_MAX = 64 << 20 };

struct setup {
	const struct weft *w;
	const char *dir, *bin_dir, *name, *network;
	bool force;
};

struct bytes {
	char *p;
	size_t n;
};

/* 0; or what errno is. */
static int read_file(const char *path, struct bytes *out)
{
	struct stat st;
	int fd = open(path, O_RDONLY | O_CLOEXEC), e = 0;
	ssize_t got = 0;

	*out = (struct bytes){ 0 };
	if (fd < 0)
		return errno;
	if (fstat(fd, &st) != 0)
		e = errno;
	else if (!S_ISREG(st.st_mode) || st.st_size > FILE_MAX)
		e = EINVAL;
	else if ((out->p = malloc((size_t)st.st_size + 1)) == NULL)
		e = ENOMEM;
	while (e == 0 && out->n < (size_t)st.st_size) {
		got = read(fd, out->p + out->n, (size_t)st.st_size - out->n);
		if (got < 0)
			e = errno;
		if (got <= 0)
			break;
		out->n += (size_t)got;
	}
	(void)close(fd);
	if (e != 0) {
		free(out->p);
		*out = (struct bytes){ 0 };
	}
	return e;
}

static int write_all(int fd, const char *p, size_t n)
{
	while (n > 0) {
		ssize_t done = write(fd, p, n);
		if (done < 0)
			return errno;
		p += done;
		n -= (size_t)done;
	}
	return fsync(fd) == 0 ? 0 : errno;
}

/* The new file gets its name when it is whole. Runtimes pass over what begins with a dot and ends in nothing they know. */
static int put_file(const char *dir, const char *name, struct bytes b, mode_t mode)
{
	char *path = format("%s/%s", dir, name), *part = format("%s/.%s.XXXXXX", dir, name);
	int fd = mkostemp(part, O_CLOEXEC), e = fd < 0 ? errno : 0;

	if (e == 0)
		e = write_all(fd, b.p, b.n);
	if (e == 0 && (fchmod(fd, mode) != 0 || rename(part, path) != 0))
		e = errno;
	if (fd >= 0 && e != 0)
		(void)unlink(part);
	if (fd >= 0)
		(void)close(fd);
	int code = e == 0 ? DONE : say(FAILED, "cannot write %s: %s", path, strerror(e));
	free(part);
	free(path);
	return code;
}

/* The directory and those above it. */
static int make_dirs(const char *dir)
{
	char *path = format("%s", dir);
	int e = 0;

	for (char *p = path + 1; e == 0 && p != NULL; p = p != NULL ? p + 1 : NULL) {
		p = strchr(p, '/');
		if (p != NULL)
			*p = '\0';
		if (mkdir(path, 0755) != 0 && errno != EEXIST)
			e = errno;
		if (p != NULL)
			*p = '/';
		else
			break;
	}
	free(path);
	return e == 0 ? DONE : say(FAILED, "cannot make the directory %s: %s", dir, strerror(e));
}

/* --- the program --------------------------------------------------------------------------------------------------------------------------- */

/* It lies beside this program. */
static int find_plugin(struct bytes *out)
{
	char self[PATH_MAX];
	ssize_t n = readlink("/proc/self/exe", self, sizeof(self) - 1);

	if (n < 0)
		return say(FAILED, "cannot find out where this program lies: %s", strerror(errno));
	self[n] = '\0';
	*strrchr(self, '/') = '\0';
	char *path = format("%s/" PLUGIN, self);
	int e = read_file(path, out), code = e == 0 ? DONE : say(FAILED, "%s, which is to be installed: %s", path, strerror(e));
	free(path);
	return code;
}

static int install_plugin(const struct setup *s)
{
	char *path = format("%s/" PLUGIN, s->bin_dir);
	struct bytes ours = { 0 }, there;
	int code = find_plugin(&ours), e;

	if (code != DONE) {
		free(path);
		return code;
	}
	e = read_file(path, &there);
	assert(ours.p != NULL);
	bool same = e == 0 && there.n == ours.n && memcmp(there.p, ours.p, ours.n) == 0,
		 weft = e == 0 && memmem(there.p, there.n, MARK, sizeof(MARK) - 1) != NULL;
	if (!same && !weft && e != ENOENT && !s->force)
		code = say(FAILED, "%s is there and is not weft's; --force replaces it", path);
	else if (!same)
		code = put_file(s->bin_dir, PLUGIN, ours, 0755);
	free(there.p);
	free(ours.p);
	free(path);
	return code;
}

/* --- the configuration --------------------------------------------------------------------------------------------------------------------- */

static bool has_portmap(const struct setup *s)
{
	const char *const dirs[] = { s->bin_dir, "/opt/cni/bin", "/usr/lib/cni", "/usr/libexec/cni" };
	bool found = false;

	for (size_t i = 0; i < sizeof(dirs) / sizeof(dirs[0]) && !found; i++) {
		char *path = format("%s/portmap", dirs[i]);
		found = access(path, X_OK) == 0;
		free(path);
	}
	return found;
}

/* portmap has to be there: a runtime starts no container with a list of which a plugin is missing. */
static json_t *conflist(const struct setup *s, bool portmap)
{
	json_t *plugins = json_array(),
		   *weft = json_pack("{s:s, s:b, s:{s:b, s:b, s:b, s:b, s:b}}", "type", PLUGIN, "hairpinMode", 1, "capabilities", "ips",
			   1, "mac", 1, "bandwidth", 1, "dns", 1, "aliases", 1);

	if (s->network != NULL)
		(void)json_object_set_new(weft, "network", json_string(s->network));
	if (strcmp(s->w->socket, WEFT_SOCKET_DEFAULT) != 0)
		(void)json_object_set_new(weft, "socket", json_string(s->w->socket));
	(void)json_array_append_new(plugins, weft);
	if (portmap)
		(void)json_array_append_new(
			plugins, json_pack("{s:s, s:{s:b}, s:b}", "type", "portmap", "capabilities", "portMappings", 1, "snat", 1));
	return json_pack("{s:s, s:s, s:o}", "cniVersion", "1.0.0", "name", s->name, "plugins", plugins);
}

static int install_conflist(const struct setup *s)
{
	bool portmap = has_portmap(s);
	json_t *doc = conflist(s, portmap);
	char *text = json_dumps(doc, JSON_INDENT(2)), *path = format("%s/" CONFLIST, s->dir), *whole;
	struct bytes there;

	json_decref(doc);
	if (text == NULL) {
		free(path);
		return say(FAILED, "a name is not UTF-8");
	}
	whole = format("%s\n", text);
	int e = read_file(path, &there), code = DONE;
	struct bytes ours = { whole, strlen(whole) };
	bool same = e == 0 && there.n == ours.n && memcmp(there.p, ours.p, ours.n) == 0;
	if (!same && e != ENOENT && !s->force)
		code = say(FAILED, "%s is there and says something else; --force replaces it", path);
	else if (!same)
		code = put_file(s->dir, CONFLIST, ours, 0644);
	if (code == DONE && !portmap)
		(void)say(DONE,
			"there is no portmap plugin here, so that ports of containers cannot be published; with Debian's package "
			"containernetworking-plugins, 'weft setup-cni --force' puts it into the list");
	free(there.p);
	free(whole);
	free(path);
	free(text);
	return code;
}

/* --- the verb ------------------------------------------------------------------------------------------------------------------------------ */

/* What the spec wants of a network's name. */
static bool is_name(const char *s)
{
	static const char plain[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_.-";

	return s[0] != '\0' && strchr("_.-", s[0]) == NULL && s[strspn(s, plain)] == '\0';
}

int verb_setup_cni(const struct weft *w, int argc, char **argv)
{
	struct setup s = { .w = w, .dir = "/etc/cni/net.d", .bin_dir = "/opt/cni/bin", .name = "weft" };
	struct words p = { .argc = argc, .argv = argv };
	const char *option, *value;
	enum word kind;

	while ((kind = next_word(&p, "dir= bin-dir= name= network= force", &option, &value)) != WORD_END) {
		if (kind != WORD_OPTION)
			return usage(w, kind == WORD_WRONG ? "an option is not understood" : "it takes options only");
		if (strncmp(option, "dir", 3) == 0)
			s.dir = value;
		else if (strncmp(option, "bin-dir", 7) == 0)
			s.bin_dir = value;
		else if (strncmp(option, "name", 4) == 0)
			s.name = value;
		else if (strncmp(option, "network", 7) == 0)
			s.network = value;
		else
			s.force = true;
	}
	if (w->socket[0] != '/')
		return usage(w, "--socket has to be a path from / on, since the plugin is run anywhere");
	if (!is_name(s.name) || s.dir[0] == '\0' || s.bin_dir[0] == '\0' || (s.network != NULL && s.network[0] == '\0'))
		return usage(w, "a name has to be letters, digits, '_', '.' and '-', and a directory cannot be empty");
	int code = make_dirs(s.bin_dir);
	if (code == DONE)
		code = make_dirs(s.dir);
	if (code == DONE)
		code = install_plugin(&s);
	if (code == DONE)
		code = install_conflist(&s);
	if (code != DONE)
		return code;
	char *plugin = format("%s/" PLUGIN, s.bin_dir), *list = format("%s/" CONFLIST, s.dir);
	if (w->json)
		code = print_json(json_pack("{s:i, s:s, s:s}", "schema", 1, "plugin", plugin, "conflist", list));
	else
		(void)printf("%s\n%s\n", plugin, list);
	free(list);
	free(plugin);
	return code == DONE ? print_bytes("", 0) : code;
}
