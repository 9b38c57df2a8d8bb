/*
 * What the libraries of the static daemon ask of others that it has no use for: libmicrohttpd of GnuTLS, libcurl of OpenSSL, nghttp2,
 * libssh2, LDAP, Kerberos and more. The daemon speaks HTTP over Unix sockets and plain TCP, so none of it is reached, and not all of it
 * exists as static archive. `make` writes a stub for each such function, which ends the program; here are those that are called when the
 * libraries start and end, whatever they are used for afterwards.
 */
#include <stdio.h>
#include <stdlib.h>

_Noreturn void weft_without(const char *name);
int OPENSSL_init_ssl(unsigned long long options, const void *settings);
int libssh2_init(int flags);
void libssh2_exit(void);
int gnutls_global_init(void);
void gnutls_global_deinit(void);

_Noreturn void weft_without(const char *name)
{
	(void)fprintf(stderr, "<0>weftd: %s was called, which is left out of the static build\n", name);
	abort();
}

int OPENSSL_init_ssl(unsigned long long options, const void *settings)
{
	(void)options;
	(void)settings;
	return 1;
}

int libssh2_init(int flags)
{
	(void)flags;
	return 0;
}

void libssh2_exit(void) {}

int gnutls_global_init(void)
{
	return 0;
}

void gnutls_global_deinit(void) {}
