/* libcurl, loaded when Docker is asked for the first time. It brings some thirty libraries with it (TLS, Kerberos, LDAP, HTTP/2 …), five megabytes that a host without
 * Docker never needs. A program that is linked with it statically has it already. */
#ifndef WEFT_DOCKER_CURL_LIB_H
#define WEFT_DOCKER_CURL_LIB_H

#define CURL_DISABLE_TYPECHECK /* macros of the functions' names */
#include <curl/curl.h>

#include "base/err.h"

/* X(result, name without curl_, parameters): compared with curl.h when this is compiled. */
#define CURL_LIB_FUNCTIONS(X)                                               \
	X(CURLcode, global_init, (long))                                        \
	X(CURL *, easy_init, (void))                                            \
	X(void, easy_cleanup, (CURL *))                                         \
	X(CURLcode, easy_setopt, (CURL *, CURLoption, ...))                     \
	X(CURLcode, easy_getinfo, (CURL *, CURLINFO, ...))                      \
	X(const char *, easy_strerror, (CURLcode))                              \
	X(CURLM *, multi_init, (void))                                          \
	X(CURLMcode, multi_cleanup, (CURLM *))                                  \
	X(CURLMcode, multi_setopt, (CURLM *, CURLMoption, ...))                 \
	X(CURLMcode, multi_add_handle, (CURLM *, CURL *))                       \
	X(CURLMcode, multi_remove_handle, (CURLM *, CURL *))                    \
	X(CURLMcode, multi_assign, (CURLM *, curl_socket_t, void *))            \
	X(CURLMcode, multi_socket_action, (CURLM *, curl_socket_t, int, int *)) \
	X(CURLMsg *, multi_info_read, (CURLM *, int *))

struct curl_lib {
#define X(result, name, parameters) result(*name) parameters;
	CURL_LIB_FUNCTIONS(X)
#undef X
};

/* Loads it, if it is not there yet. What it writes is good until the process ends; there is nothing to free. ERR_UNSUPPORTED: it is not
 * installed, or lacks a function; the note names the package. */
enum err curl_lib_load(struct curl_lib *out, struct err_note *note) MUST_CHECK;

#endif
