#include "router/dataplane/pcap_lib.h"

#include "router/dataplane/library.h"

#define FILE_NAME "libpcap.so.0.8"
#define PACKAGE   "libpcap0.8"

#define X(result, name, parameters) \
	_Static_assert(_Generic(&pcap_##name, result(*) parameters : 1, default : 0), "pcap_" #name " is another in pcap.h");
PCAP_LIB_FUNCTIONS(X)
#undef X

enum err pcap_lib_load(struct pcap_lib *out, struct err_note *note)
{
	const struct library_function v[] = {
#define X(result, name, parameters) { "pcap_" #name, &out->name },
		PCAP_LIB_FUNCTIONS(X)
#undef X
	};

	return library_load(FILE_NAME, PACKAGE, v, sizeof(v) / sizeof(v[0]), note);
}
