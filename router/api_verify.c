/* GET /verify?wait=SECONDS: 200 when all belongs together, 503 when something was found, the document in either case. */
#include "router/api_request.h"
#include "router/verify.h"

static void on_verified(void *ctx, bool ok, json_t *doc)
{
	struct api_request *q = ctx;
	unsigned code = ok ? MHD_HTTP_OK : MHD_HTTP_SERVICE_UNAVAILABLE;

	if (doc == NULL) {
		api_answer_error(
			q, MHD_HTTP_SERVICE_UNAVAILABLE, "it could not be looked at; the daemon is stopping, or its log says why");
	} else if (q->json) {
		api_answer_json(q, code, doc);
	} else {
		verify_text(doc, &q->out);
		json_decref(doc);
		api_answer(q, code, "text/plain; charset=utf-8");
	}
}

void api_get_verify(struct api_request *q)
{
	unsigned long wait = VERIFY_WAIT_MS / 1000;

	if (!api_number(q, "wait", 0, VERIFY_WAIT_MAX_MS / 1000, &wait))
		return;
	q->pending = router_verify(q->router, (uint32_t)wait * 1000, on_verified, q);
	if (q->pending == 0)
		api_answer_err(q, ERR_NOMEM, NULL);
}
