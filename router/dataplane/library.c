#include "router/dataplane/library.h"

#include <dlfcn.h>
#include <string.h>

enum err library_load(const char *file, const char *package, const struct library_function *v, size_t n, struct err_note *note)
{
	const char *missing = NULL;
	/* Closing does not unload it: whoever has the addresses keeps no count. */
	void *library = dlopen(file, RTLD_NOW | RTLD_LOCAL | RTLD_NODELETE);

	if (library == NULL) {
		const char *words = dlerror();
		return err_note(note, ERR_UNSUPPORTED, "cannot load %s: %.120s; install the package %s", file,
			words != NULL ? words : "no reason given", package);
	}
	for (size_t i = 0; i < n; i++) {
		/* POSIX lets a function's address be a void *; C has no cast for it. */
		void *address = dlsym(library, v[i].name);
		_Static_assert(sizeof(address) == sizeof(void (*)(void)), "addresses of functions and of objects are alike");
		memcpy(v[i].to, &address, sizeof(address));
		if (address == NULL)
			missing = v[i].name;
	}
	(void)dlclose(library);
	if (missing != NULL)
		return err_note(note, ERR_UNSUPPORTED, "%s is too old: it has no %s; install a newer package %s", file, missing, package);
	return ERR_OK;
}
