/* Status of what has to do with Docker. */
#include "router/docker/containers.h"
#include "router/docker/plugin.h"
#include "router/status_internal.h"

static const char *health(const struct docker *d, const struct docker_stats *s)
{
	if (docker_connected(d))
		return "ok";
	return s->connects > 0 ? "lost" : "absent"; /* most hosts without Docker run with the default option: that is no fault */
}

/* null: not served */
static json_t *plugin(struct maker *m)
{
	struct plugin_view v;
	json_t *doc;

	plugin_view(router_plugin(m->r), &v);
	if (v.socket[0] == '\0')
		return json_null();
	doc = json_object();
	put(m, doc, "socket", text(v.socket));
	put(m, doc, "networks", number(v.networks));
	put(m, doc, "pools", number(v.pools));
	put(m, doc, "endpoints", number(v.endpoints));
	put(m, doc, "calls", number(v.calls));
	put(m, doc, "refused", number(v.failed));
	put(m, doc, "waiting", number(v.waiting));
	return doc;
}

json_t *status_docker(struct maker *m)
{
	const struct docker_keeper *k = router_keeper(m->r);
	json_t *doc = json_object();
	struct docker_stats s;

	put(m, doc, "plugin", plugin(m));
	if (k == NULL) {
		put(m, doc, "host", json_string(""));
		put(m, doc, "connected", json_false());
		put(m, doc, "health", json_string("off"));
		return doc;
	}
	docker_keeper_stats(k, &s);
	put(m, doc, "host", text(router_options(m->r)->docker_host));
	put(m, doc, "connected", json_boolean(docker_connected(docker_keeper_docker(k))));
	put(m, doc, "version", text(s.version));
	put(m, doc, "trouble", s.trouble[0] != '\0' ? text(s.trouble) : json_null());
	put(m, doc, "containers", number(s.containers));
	put(m, doc, "named", number(s.named));
	put(m, doc, "attached", number(s.wishes));
	put(m, doc, "events", number(s.events));
	put(m, doc, "connects", number(s.connects));
	put(m, doc, "resyncs", number(s.resyncs));
	put(m, doc, "health", json_string(health(docker_keeper_docker(k), &s)));
	return doc;
}
