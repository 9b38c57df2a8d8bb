/* Help for tests of kernel truth: anonymous network namespaces (gone when their descriptors are), and what ip and bridge say in them. */
#ifndef WEFT_TESTS_UNIT_DATAPLANE_NS_H
#define WEFT_TESTS_UNIT_DATAPLANE_NS_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <errno.h>
#include <fcntl.h>
#include <jansson.h>
#include <sched.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/addr.h"
#include "base/err.h"

static inline int ns_here(void)
{
	int fd = open("/proc/thread-self/ns/net", O_RDONLY | O_CLOEXEC);
	assert_true(fd >= 0);
	return fd;
}

static inline void ns_go(int fd)
{
	assert_int_equal(setns(fd, CLONE_NEWNET), 0);
}

/* Moves this program into a namespace of its own. false, with the reason on stderr: it may not. */
static inline bool ns_start(void)
{
	if (unshare(CLONE_NEWNET) == 0)
		return true;
	fprintf(stderr, "SKIPPED: no network namespace of our own: %s; run as root\n", strerror(errno));
	return false;
}

/* A new namespace, with lo up; the caller stays where it is. */
static inline int ns_new(void)
{
	int home = ns_here();
	assert_int_equal(unshare(CLONE_NEWNET), 0);
	int fd = ns_here();
	assert_int_equal(system("ip link set lo up"), 0);
	ns_go(home);
	close(home);
	return fd;
}

/* Runs a shell command in a namespace (-1: here) and gives its exit status. */
static inline int ns_run(int ns, const char *command)
{
	int home = ns_here();
	if (ns >= 0)
		ns_go(ns);
	int status = system(command);
	ns_go(home);
	close(home);
	return status;
}

/* Output of a command that speaks JSON; NULL when it prints none. Owner: json_decref. */
static inline json_t *ns_json(int ns, const char *command)
{
	int home = ns_here();
	if (ns >= 0)
		ns_go(ns);
	FILE *f = popen(command, "r");
	assert_non_null(f);
	json_t *j = json_loadf(f, 0, NULL);
	pclose(f);
	ns_go(home);
	close(home);
	return j;
}

/* The member of the array whose key is value; borrowed; NULL. */
static inline json_t *ns_pick(json_t *array, const char *key, const char *value)
{
	size_t i;
	json_t *o;
	json_array_foreach(array, i, o)
	{
		const char *s = json_string_value(json_object_get(o, key));
		if (s && strcmp(s, value) == 0)
			return o;
	}
	return NULL;
}

static inline const char *ns_text(json_t *o, const char *key)
{
	const char *s = json_string_value(json_object_get(o, key));
	return s ? s : "";
}

/* Whether an array of strings has this one. */
static inline bool ns_has(json_t *array, const char *value)
{
	size_t i;
	json_t *o;
	json_array_foreach(array, i, o) if (strcmp(json_string_value(o), value) == 0) return true;
	return false;
}

/* The call sees a note of its own, which is shown when it fails. */
#define OK(call)                                         \
	do {                                                 \
		struct err_note note = { "" };                   \
		enum err e_ = (call);                            \
		if (e_ != ERR_OK)                                \
			fail_msg("%s: %s", err_name(e_), note.text); \
	} while (0)

static inline struct mac mac_of(const char *text)
{
	struct mac m;
	assert_int_equal(mac_parse(text, &m), ERR_OK);
	return m;
}

static inline struct ip ip_of(const char *text)
{
	struct ip a;
	assert_int_equal(ip_parse(text, &a), ERR_OK);
	return a;
}

#endif
