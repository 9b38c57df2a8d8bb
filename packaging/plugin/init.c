/*
 * First program of the managed plugin: makes /proc/sys and /sys writable, which the container runtime makes read-only for every plugin while
 * the daemon has to set what the kernel does with its own interfaces (they are the host's: the plugin is in the host's network namespace),
 * and becomes weftd with the arguments that the plugin was given.
 */
#include <stdio.h>
#include <string.h>
#include <errno.h>
#include <sys/mount.h>
#include <unistd.h>

int main(int argc, char **argv)
{
	static const char *const writable[] = { "/proc/sys", "/sys" };

	(void)argc;
	for (size_t i = 0; i < sizeof(writable) / sizeof(writable[0]); i++)
		if (mount(NULL, writable[i], NULL, MS_REMOUNT | MS_BIND | MS_NOSUID | MS_NODEV | MS_NOEXEC, NULL) != 0)
			(void)fprintf(stderr, "<4>weftd: %s stays read-only: %s\n", writable[i], strerror(errno));
	argv[0] = "/usr/sbin/weftd";
	(void)execv(argv[0], argv);
	(void)fprintf(stderr, "<3>weftd: cannot be started: %s\n", strerror(errno));
	return 1;
}
