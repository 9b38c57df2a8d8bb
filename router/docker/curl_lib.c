#include "router/docker/curl_lib.h"

#include <dlfcn.h>
#include <stdbool.h>
#include <string.h>

#define FILE_NAME "libcurl.so.4"
#define PACKAGE   "libcurl4"

#define X(result, name, parameters) \
	_Static_assert(_Generic(&curl_##name, result(*) parameters : 1, default : 0), "curl_" #name " is another in curl.h");
CURL_LIB_FUNCTIONS(X)
#undef X

/* Nothing but a static link (packaging/plugin/make) has it when the program starts. */
#pragma weak curl_global_init
#pragma weak curl_easy_init
#pragma weak curl_easy_cleanup
#pragma weak curl_easy_setopt
#pragma weak curl_easy_getinfo
#pragma weak curl_easy_strerror
#pragma weak curl_multi_init
#pragma weak curl_multi_cleanup
#pragma weak curl_multi_setopt
#pragma weak curl_multi_add_handle
#pragma weak curl_multi_remove_handle
#pragma weak curl_multi_assign
#pragma weak curl_multi_socket_action
#pragma weak curl_multi_info_read

/* POSIX lets a function's address be a void *; C has no cast for it. false: there is none of that name. */
static bool find(void *library, const char *name, void *to, size_t size)
{
	void *address = dlsym(library, name);

	_Static_assert(sizeof(address) == sizeof(void (*)(void)), "addresses of functions and of objects are alike");
	memcpy(to, &address, size);
	return address != NULL;
}

enum err curl_lib_load(struct curl_lib *out, struct err_note *note)
{
	const char *missing = NULL;
	bool linked = true;

#define X(result, name, parameters) \
	out->name = curl_##name;        \
	linked = linked && out->name != NULL;
	CURL_LIB_FUNCTIONS(X)
#undef X
	if (linked)
		return ERR_OK;
	/* Closing does not unload it: whoever has the addresses keeps no count. */
	void *library = dlopen(FILE_NAME, RTLD_NOW | RTLD_LOCAL | RTLD_NODELETE);

	if (library == NULL) {
		const char *words = dlerror();
		return err_note(note, ERR_UNSUPPORTED, "cannot load libcurl: %.120s; install the package " PACKAGE,
			words != NULL ? words : FILE_NAME);
	}
#define X(result, name, parameters)                                   \
	if (!find(library, "curl_" #name, &out->name, sizeof(out->name))) \
		missing = "curl_" #name;
	CURL_LIB_FUNCTIONS(X)
#undef X
	(void)dlclose(library);
	if (missing != NULL)
		return err_note(note, ERR_UNSUPPORTED, FILE_NAME " is too old: it has no %s; install a newer package " PACKAGE, missing);
	return ERR_OK;
}
