/* Shared by options.c (sources) and options_values.c (what a value may be). */
#ifndef WEFT_ROUTER_OPTIONS_INTERNAL_H
#define WEFT_ROUTER_OPTIONS_INTERNAL_H

#include "router/options.h"

enum { OPTIONS_LINE_MAX = 4096 }; /* bytes of a line of the configuration file */

enum source { FROM_DEFAULT, FROM_FILE, FROM_ENVIRONMENT, FROM_COMMAND_LINE };

struct setting { /* one value being set */
	struct options *o;
	const struct option *option;
	const char *value;
	enum source source;
	const char *file;
	unsigned line;
	bool first; /* of this source for this option */
	struct err_note *note;
};
typedef enum err (*option_set)(const struct setting *s);

struct option {
	const char *name, *arg; /* arg: with a blank before it; empty: a switch */
	option_set set;
	size_t field;
	bool list, anywhere; /* may be repeated; may stand in file and environment */
};

/* "--port '99999' (weftd.conf:3): a port is …" */
enum err options_wrong(const struct setting *s, const char *right) MUST_CHECK;
enum err options_no_memory(struct err_note *note) MUST_CHECK;
bool options_is_nickname(const char *v);
void options_clear_texts(char ***list, size_t *n);

/* Each takes one value of the kind in its name. */
enum err options_set_action(const struct setting *s) MUST_CHECK;
enum err options_set_capture(const struct setting *s) MUST_CHECK;
enum err options_set_conn_limit(const struct setting *s) MUST_CHECK;
enum err options_set_default_subnet(const struct setting *s) MUST_CHECK;
enum err options_set_dns_listen(const struct setting *s) MUST_CHECK;
enum err options_set_docker(const struct setting *s) MUST_CHECK;
enum err options_set_domain(const struct setting *s) MUST_CHECK;
enum err options_set_format(const struct setting *s) MUST_CHECK;
enum err options_set_scope(const struct setting *s) MUST_CHECK;
enum err options_set_host(const struct setting *s) MUST_CHECK;
enum err options_set_http_addr(const struct setting *s) MUST_CHECK;
enum err options_set_init(const struct setting *s) MUST_CHECK;
enum err options_set_level(const struct setting *s) MUST_CHECK;
enum err options_set_mtu(const struct setting *s) MUST_CHECK;
enum err options_set_name(const struct setting *s) MUST_CHECK;
enum err options_set_nickname(const struct setting *s) MUST_CHECK;
enum err options_set_password(const struct setting *s) MUST_CHECK;
enum err options_set_password_file(const struct setting *s) MUST_CHECK;
enum err options_set_path(const struct setting *s) MUST_CHECK;
enum err options_set_peer(const struct setting *s) MUST_CHECK;
enum err options_set_port(const struct setting *s) MUST_CHECK;
enum err options_set_queues(const struct setting *s) MUST_CHECK;
enum err options_set_range(const struct setting *s) MUST_CHECK;
enum err options_set_range6(const struct setting *s) MUST_CHECK;
enum err options_set_socket(const struct setting *s) MUST_CHECK;
enum err options_set_status_addr(const struct setting *s) MUST_CHECK;
enum err options_set_switch(const struct setting *s) MUST_CHECK;
enum err options_set_trusted(const struct setting *s) MUST_CHECK;
enum err options_set_duration(const struct setting *s) MUST_CHECK;
enum err options_set_ttl(const struct setting *s) MUST_CHECK;

#endif
