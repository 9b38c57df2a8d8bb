#include "http_client.h"

#include <errno.h>
#include <poll.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/mem.h"

enum { HEAD_MAX = 64 << 10, ANSWER_MAX = 256 << 20, CHUNK = 64 << 10 };

static enum err connect_to(const char *path, unsigned timeout_ms, int *out, struct err_note *note)
{
	struct sockaddr_un addr = { .sun_family = AF_UNIX };
	struct timeval wait = { .tv_sec = timeout_ms / 1000, .tv_usec = (suseconds_t)(timeout_ms % 1000) * 1000 };

	if (strlen(path) >= sizeof(addr.sun_path))
		return err_note(note, ERR_USAGE, "--socket '%.100s' is longer than the 107 bytes a Unix socket may have", path);
	(void)snprintf(addr.sun_path, sizeof(addr.sun_path), "%s", path);
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (fd < 0)
		return err_note(note, ERR_SYSTEM, "no socket: %s", strerror(errno));
	if (connect(fd, (const struct sockaddr *)&addr, sizeof(addr)) != 0) {
		int e = errno;
		(void)close(fd);
		if (e == ENOENT || e == ECONNREFUSED || e == ENOTDIR)
			return err_note(
				note, ERR_UNREACHABLE, "the daemon is not running (nobody answers at %.107s); start it with 'weft launch'", path);
		if (e == EACCES || e == EPERM)
			return err_note(note, ERR_PERMISSION, "no permission to use %.107s; be root or a member of the group weft", path);
		return err_note(note, ERR_SYSTEM, "cannot connect to %.107s: %s", path, strerror(e));
	}
	if (timeout_ms > 0)
		(void)setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &wait, sizeof(wait));
	*out = fd;
	return ERR_OK;
}

static enum err send_all(int fd, const char *data, size_t n, struct err_note *note)
{
	while (n > 0) {
		ssize_t w = send(fd, data, n, MSG_NOSIGNAL);
		if (w < 0 && errno == EINTR)
			continue;
		if (w < 0)
			return err_note(note, ERR_CLOSED, "the daemon hung up: %s", strerror(errno));
		data += w;
		n -= (size_t)w;
	}
	return ERR_OK;
}

static enum err send_request(int fd, const struct http_request *req, struct err_note *note)
{
	size_t body = req->body != NULL ? strlen(req->body) : 0;
	char head[512];
	int n = snprintf(head, sizeof(head), " HTTP/1.1\r\nHost: weft\r\nConnection: close\r\nAccept: %s\r\n",
		req->accept != NULL ? req->accept : "*/*");
	enum err err = send_all(fd, req->method, strlen(req->method), note);

	if (err == ERR_OK)
		err = send_all(fd, " ", 1, note);
	if (err == ERR_OK)
		err = send_all(fd, req->path, strlen(req->path), note);
	if (req->body != NULL)
		n += snprintf(head + n, sizeof(head) - (size_t)n, "Content-Type: %s\r\n", req->type);
	n += snprintf(head + n, sizeof(head) - (size_t)n, "Content-Length: %zu\r\n\r\n", body);
	if (err == ERR_OK)
		err = send_all(fd, head, (size_t)n, note);
	if (err == ERR_OK && body > 0)
		err = send_all(fd, req->body, body, note);
	return err;
}

/* Everything until the daemon closes, as we asked it to. */
static enum err read_all(int fd, struct wbuf *w, struct err_note *note)
{
	for (;;) {
		uint8_t *room = wbuf_reserve(w, CHUNK);
		if (room == NULL)
			return err_note(note, wbuf_end(w), "the daemon's answer is too long");
		ssize_t got = recv(fd, room, CHUNK, 0);
		int e = errno;
		w->len -= CHUNK - (got > 0 ? (size_t)got : 0);
		if (got == 0)
			return ERR_OK;
		if (got < 0 && e == EINTR)
			continue;
		if (got < 0 && (e == EAGAIN || e == EWOULDBLOCK))
			return err_note(note, ERR_TIMEOUT, "the daemon does not answer");
		if (got < 0)
			return err_note(note, ERR_CLOSED, "the daemon hung up: %s", strerror(e));
	}
}

static bool number(const char *p, size_t n, size_t *out)
{
	*out = 0;
	for (size_t i = 0; i < n; i++) {
		if (p[i] < '0' || p[i] > '9' || *out > ANSWER_MAX)
			return false;
		*out = *out * 10 + (size_t)(p[i] - '0');
	}
	return n > 0;
}

/* "HTTP/1.1 200 …" CRLF, header lines, an empty line, and exactly Content-Length bytes. */
static bool take_apart(const char *text, size_t n, struct http_response *out)
{
	const char *end = memmem(text, n < HEAD_MAX ? n : HEAD_MAX, "\r\n\r\n", 4), *line, *next;
	size_t code, length = 0;
	bool known = false;

	if (end == NULL || n < 12 || memcmp(text, "HTTP/1.1 ", 9) != 0 || !number(text + 9, 3, &code) || code < 100 || code > 599)
		return false;
	for (line = memmem(text, n, "\r\n", 2); line != NULL && line < end; line = next) {
		line += 2;
		next = memmem(line, (size_t)(end + 2 - line), "\r\n", 2);
		size_t len = next != NULL ? (size_t)(next - line) : 0;
		if (len > 15 && strncasecmp(line, "Content-Length:", 15) == 0) {
			size_t skip = 15 + (line[15] == ' ');
			if (known || !number(line + skip, len - skip, &length))
				return false;
			known = true;
		}
	}
	const char *body = end + 4;
	size_t got = n - (size_t)(body - text);
	if ((known && got != length) || (!known && (got != 0 || code != 204)))
		return false;
	out->code = (int)code;
	out->n = got;
	out->body = malloc(got + 1);
	if (out->body == NULL)
		return false;
	memcpy(out->body, body, got);
	out->body[got] = '\0';
	return true;
}

enum err http_request(const char *socket, const struct http_request *req, struct http_response *out, struct err_note *note)
{
	struct wbuf answer;
	int fd = -1;
	enum err err = connect_to(socket, req->timeout_ms, &fd, note);

	*out = (struct http_response){ 0 };
	if (err != ERR_OK)
		return err;
	wbuf_grow(&answer, ANSWER_MAX);
	err = send_request(fd, req, note);
	/* It may have answered and hung up before it had read everything. */
	if (err == ERR_OK || err == ERR_CLOSED) {
		enum err reading = read_all(fd, &answer, err == ERR_OK ? note : NULL);
		err = err == ERR_OK || answer.len > 0 ? reading : err;
	}
	(void)close(fd);
	if (err == ERR_OK && answer.len == 0)
		err = err_note(note, ERR_CLOSED, "the daemon hung up without an answer; its log may say why");
	else if (err == ERR_OK && !take_apart((const char *)answer.data, answer.len, out))
		err = err_note(note, ERR_MALFORMED, "what answers at %.107s is not weft's daemon", socket);
	wbuf_free(&answer);
	return err;
}

void http_response_free(struct http_response *r)
{
	free(r->body);
	r->body = NULL;
}

/* --- answers that go on ------------------------------------------------------------------------------------------------------------------- */

/* Transfer-Encoding: chunked (RFC 9112 section 7.1), as it comes: "1a;ext" CRLF, that many bytes, CRLF, …, "0" CRLF, trailers, an empty line. */
struct chunks {
	enum { CHUNK_SIZE, CHUNK_REST, CHUNK_BYTES, CHUNK_END, CHUNK_TRAILER, CHUNK_DONE, CHUNK_BROKEN } at;
	size_t left, digits, line;
	bool (*take)(void *ctx, const void *bytes, size_t n);
	void *ctx;
	bool unwanted;
};

static int digit(char c)
{
	return c >= '0' && c <= '9' ? c - '0' : c >= 'a' && c <= 'f' ? c - 'a' + 10 : c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
}

static void take_line(struct chunks *k, char c)
{
	int v = digit(c);

	if (k->at == CHUNK_SIZE && v >= 0 && k->digits < 8) {
		k->left = k->left * 16 + (size_t)v;
		k->digits++;
	} else if (k->at == CHUNK_SIZE && k->digits > 0 && (c == '\r' || c == ';' || c == ' ')) {
		k->at = CHUNK_REST;
	} else if (k->at == CHUNK_SIZE) {
		k->at = CHUNK_BROKEN;
	} else if (k->at == CHUNK_REST && c == '\n') {
		k->at = k->left > 0 ? CHUNK_BYTES : CHUNK_TRAILER;
		k->line = 0;
	} else if (k->at == CHUNK_END && c == '\n') {
		k->at = CHUNK_SIZE;
		k->left = k->digits = 0;
	} else if (k->at == CHUNK_TRAILER && c == '\n') {
		k->at = k->line == 0 ? CHUNK_DONE : CHUNK_TRAILER;
		k->line = 0;
	} else if (c != '\r' && k->at != CHUNK_REST) {
		if (k->at == CHUNK_END)
			k->at = CHUNK_BROKEN;
		k->line++;
	}
}

static void take_chunks(struct chunks *k, const char *p, size_t n)
{
	while (n > 0 && k->at != CHUNK_DONE && k->at != CHUNK_BROKEN && !k->unwanted) {
		size_t used = 1;
		if (k->at == CHUNK_BYTES) {
			used = n < k->left ? n : k->left;
			k->unwanted = !k->take(k->ctx, p, used);
			k->left -= used;
			if (k->left == 0)
				k->at = CHUNK_END;
		} else {
			take_line(k, *p);
		}
		p += used;
		n -= used;
	}
}

/* Waits for bytes, telling the daemon in between that this was all; when that is to be said a second time, it waits no longer. 0: the daemon
 * hung up; -1: with an error. */
static ssize_t await(int fd, int stop_fd, unsigned *stops, char *buf, size_t size)
{
	char word[sizeof(struct signalfd_siginfo)];

	for (;;) {
		struct pollfd p[] = { { .fd = fd, .events = POLLIN }, { .fd = stop_fd, .events = POLLIN } };
		if (poll(p, 2, -1) < 0 && errno != EINTR)
			return -1;
		if (p[1].revents != 0 && read(stop_fd, word, sizeof(word)) > 0) {
			(void)shutdown(fd, SHUT_WR);
			if (++*stops == 2) {
				errno = EINTR;
				return -1;
			}
		}
		if (p[0].revents == 0)
			continue;
		ssize_t got = recv(fd, buf, size, 0);
		if (got >= 0 || (errno != EINTR && errno != EAGAIN))
			return got;
	}
}

/* From the first bytes on: is it a stream (chunks begin at *body), a whole answer, or not to be known yet? */
static enum { HEAD_PART, HEAD_STREAM, HEAD_OTHER } look_at_head(const char *text, size_t n, size_t *body)
{
	static const char encoding[] = "\r\nTransfer-Encoding: chunked";
	const char *end = memmem(text, n < HEAD_MAX ? n : HEAD_MAX, "\r\n\r\n", 4);

	if (end == NULL)
		return n < HEAD_MAX ? HEAD_PART : HEAD_OTHER;
	*body = (size_t)(end - text) + 4;
	bool chunked = false;
	for (const char *p = text; p < end && !chunked; p++)
		chunked = *p == '\r' && (size_t)(end - p) >= sizeof(encoding) - 1 && strncasecmp(p, encoding, sizeof(encoding) - 1) == 0;
	return chunked && n > 12 && memcmp(text, "HTTP/1.1 200", 12) == 0 ? HEAD_STREAM : HEAD_OTHER;
}

static enum err follow(int fd, int stop_fd, struct chunks *k, struct wbuf *head, bool *stream, struct err_note *note)
{
	char buf[CHUNK];
	unsigned stops = 0;
	size_t body;
	ssize_t got;

	*stream = false;
	while (k->at != CHUNK_DONE && k->at != CHUNK_BROKEN && !k->unwanted &&
		(got = await(fd, stop_fd, &stops, buf, sizeof(buf))) != 0) {
		if (got < 0)
			return err_note(note, ERR_CLOSED, "the daemon hung up: %s", strerror(errno));
		if (*stream) {
			take_chunks(k, buf, (size_t)got);
			continue;
		}
		wbuf_bytes(head, buf, (size_t)got);
		if (head->failed)
			return err_note(note, ERR_LIMIT, "the daemon's answer is too long");
		*stream = look_at_head((const char *)head->data, head->len, &body) == HEAD_STREAM;
		if (*stream)
			take_chunks(k, (const char *)head->data + body, head->len - body);
	}
	if (k->unwanted)
		return ERR_CANCELLED;
	if (*stream && k->at != CHUNK_DONE)
		return err_note(note, ERR_CLOSED, "the daemon hung up before the end; its log may say why");
	return ERR_OK;
}

enum err http_stream(const char *socket, const struct http_request *req, int stop_fd,
	bool (*take)(void *ctx, const void *bytes, size_t n), void *ctx, struct http_response *out, struct err_note *note)
{
	struct chunks k = { .take = take, .ctx = ctx };
	struct wbuf head;
	bool stream = false;
	int fd = -1;

	*out = (struct http_response){ 0 };
	enum err err = connect_to(socket, 0, &fd, note);
	if (err != ERR_OK)
		return err;
	wbuf_grow(&head, ANSWER_MAX);
	err = send_request(fd, req, note);
	if (err == ERR_OK)
		err = follow(fd, stop_fd, &k, &head, &stream, note);
	(void)close(fd);
	if (err == ERR_OK && stream)
		out->code = 200;
	else if (err == ERR_OK && head.len == 0)
		err = err_note(note, ERR_CLOSED, "the daemon hung up without an answer; its log may say why");
	else if (err == ERR_OK && !take_apart((const char *)head.data, head.len, out))
		err = err_note(note, ERR_MALFORMED, "what answers at %.107s is not weft's daemon", socket);
	wbuf_free(&head);
	return err;
}

char *http_escape(const char *text)
{
	static const char plain[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-._~:";
	char *out = malloc(strlen(text) * 3 + 1), *p = out;

	for (; out != NULL && *text != '\0'; text++) {
		if (strchr(plain, *text) != NULL)
			*p++ = *text;
		else
			p += sprintf(p, "%%%02X", (unsigned char)*text);
	}
	if (out != NULL)
		*p = '\0';
	return out;
}
