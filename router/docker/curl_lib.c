#include "router/docker/curl_lib.h"

#include <stdbool.h>

#include "router/dataplane/library.h"

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

enum err curl_lib_load(struct curl_lib *out, struct err_note *note)
{
	const struct library_function v[] = {
#define X(result, name, parameters) { "curl_" #name, &out->name },
		CURL_LIB_FUNCTIONS(X)
#undef X
	};
	bool linked = true;

#define X(result, name, parameters) \
	out->name = curl_##name;        \
	linked = linked && out->name != NULL;
	CURL_LIB_FUNCTIONS(X)
#undef X
	return linked ? ERR_OK : library_load(FILE_NAME, PACKAGE, v, sizeof(v) / sizeof(v[0]), note);
}
