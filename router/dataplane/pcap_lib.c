#include "router/dataplane/pcap_lib.h"

#include <dlfcn.h>
#include <stdbool.h>
#include <string.h>

#define FILE_NAME "libpcap.so.0.8"
#define PACKAGE   "libpcap0.8"

#define X(result, name, parameters) \
	_Static_assert(_Generic(&pcap_##name, result(*) parameters : 1, default : 0), "pcap_" #name " is another in pcap.h");
PCAP_LIB_FUNCTIONS(X)
#undef X

/* POSIX lets a function's address be a void *; C has no cast for it. false: there is none of that name. */
static bool find(void *library, const char *name, void *to, size_t size)
{
	void *address = dlsym(library, name);

	_Static_assert(sizeof(address) == sizeof(void (*)(void)), "addresses of functions and of objects are alike");
	memcpy(to, &address, size);
	return address != NULL;
}

enum err pcap_lib_load(struct pcap_lib *out, struct err_note *note)
{
	const char *missing = NULL;
	/* Closing does not unload it: whoever has the addresses keeps no count. */
	void *library = dlopen(FILE_NAME, RTLD_NOW | RTLD_LOCAL | RTLD_NODELETE);

	if (library == NULL) {
		const char *words = dlerror();
		return err_note(note, ERR_UNSUPPORTED, "cannot load libpcap: %.120s; install the package " PACKAGE,
			words != NULL ? words : FILE_NAME);
	}
#define X(result, name, parameters)                                   \
	if (!find(library, "pcap_" #name, &out->name, sizeof(out->name))) \
		missing = "pcap_" #name;
	PCAP_LIB_FUNCTIONS(X)
#undef X
	(void)dlclose(library);
	if (missing != NULL)
		return err_note(note, ERR_UNSUPPORTED, FILE_NAME " is too old: it has no %s; install a newer package " PACKAGE, missing);
	return ERR_OK;
}
