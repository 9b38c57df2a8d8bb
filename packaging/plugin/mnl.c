/*
 * libmnl for the static daemon. Debian has libmnl as a shared library only; what libnftnl and the data plane call of it is little: messages
 * and attributes are written and read in place, and a socket is a file descriptor with an address. These are those functions, with the
 * declarations of <libmnl/libmnl.h> and its rules: lengths of what is written are the caller's care, what is read is checked before.
 */
#include <errno.h>
#include <libmnl/libmnl.h>
#include <stdlib.h>
#include <string.h>

#define MESSAGE_HEADER sizeof(struct nlmsghdr)
#define ATTR_HEADER    sizeof(struct nlattr)
#define TYPE_MASK      ((uint16_t) ~(NLA_F_NESTED | NLA_F_NET_BYTEORDER))

struct mnl_socket {
	int fd;
	struct sockaddr_nl address;
};

struct mnl_nlmsg_batch {
	char *buf;
	size_t limit, size;
};

/* --- messages ------------------------------------------------------------------------------------------------------------------------- */

static size_t padded(size_t len)
{
	return (len + 3) & ~(size_t)3;
}

static void *tail(const struct nlmsghdr *nlh)
{
	return (char *)nlh + padded(nlh->nlmsg_len);
}

size_t mnl_nlmsg_size(size_t len)
{
	return len + MESSAGE_HEADER;
}

struct nlmsghdr *mnl_nlmsg_put_header(void *buf)
{
	struct nlmsghdr *nlh = buf;

	memset(nlh, 0, MESSAGE_HEADER);
	nlh->nlmsg_len = (uint32_t)MESSAGE_HEADER;
	return nlh;
}

void *mnl_nlmsg_put_extra_header(struct nlmsghdr *nlh, size_t size)
{
	void *p = tail(nlh);

	nlh->nlmsg_len += (uint32_t)padded(size);
	memset(p, 0, padded(size));
	return p;
}

void *mnl_nlmsg_get_payload(const struct nlmsghdr *nlh)
{
	return (char *)nlh + MESSAGE_HEADER;
}

bool mnl_nlmsg_ok(const struct nlmsghdr *nlh, int len)
{
	return len >= (int)sizeof(*nlh) && nlh->nlmsg_len >= sizeof(*nlh) && nlh->nlmsg_len <= (unsigned)len;
}

struct nlmsghdr *mnl_nlmsg_next(const struct nlmsghdr *nlh, int *len)
{
	*len -= (int)padded(nlh->nlmsg_len);
	return tail(nlh);
}

/* --- attributes, written -------------------------------------------------------------------------------------------------------------- */

void mnl_attr_put(struct nlmsghdr *nlh, uint16_t type, size_t len, const void *data)
{
	struct nlattr *attr = tail(nlh);
	char *payload = (char *)attr + ATTR_HEADER;
	size_t room = padded(len);

	attr->nla_type = type;
	attr->nla_len = (uint16_t)(ATTR_HEADER + len);
	if (len > 0)
		memcpy(payload, data, len);
	memset(payload + len, 0, room - len);
	nlh->nlmsg_len += (uint32_t)(ATTR_HEADER + room);
}

void mnl_attr_put_u8(struct nlmsghdr *nlh, uint16_t type, uint8_t data)
{
	mnl_attr_put(nlh, type, sizeof(data), &data);
}

void mnl_attr_put_u16(struct nlmsghdr *nlh, uint16_t type, uint16_t data)
{
	mnl_attr_put(nlh, type, sizeof(data), &data);
}

void mnl_attr_put_u32(struct nlmsghdr *nlh, uint16_t type, uint32_t data)
{
	mnl_attr_put(nlh, type, sizeof(data), &data);
}

void mnl_attr_put_u64(struct nlmsghdr *nlh, uint16_t type, uint64_t data)
{
	mnl_attr_put(nlh, type, sizeof(data), &data);
}

void mnl_attr_put_str(struct nlmsghdr *nlh, uint16_t type, const char *data)
{
	mnl_attr_put(nlh, type, strlen(data), data);
}

void mnl_attr_put_strz(struct nlmsghdr *nlh, uint16_t type, const char *data)
{
	mnl_attr_put(nlh, type, strlen(data) + 1, data);
}

struct nlattr *mnl_attr_nest_start(struct nlmsghdr *nlh, uint16_t type)
{
	struct nlattr *start = tail(nlh);

	start->nla_type = (uint16_t)(NLA_F_NESTED | type);
	nlh->nlmsg_len += (uint32_t)ATTR_HEADER;
	return start;
}

void mnl_attr_nest_end(struct nlmsghdr *nlh, struct nlattr *start)
{
	start->nla_len = (uint16_t)((char *)tail(nlh) - (char *)start);
}

/* --- attributes, read ----------------------------------------------------------------------------------------------------------------- */

uint16_t mnl_attr_get_type(const struct nlattr *attr)
{
	return attr->nla_type & TYPE_MASK;
}

uint16_t mnl_attr_get_payload_len(const struct nlattr *attr)
{
	return (uint16_t)(attr->nla_len - ATTR_HEADER);
}

void *mnl_attr_get_payload(const struct nlattr *attr)
{
	return (char *)attr + ATTR_HEADER;
}

uint8_t mnl_attr_get_u8(const struct nlattr *attr)
{
	return *(uint8_t *)mnl_attr_get_payload(attr);
}

uint16_t mnl_attr_get_u16(const struct nlattr *attr)
{
	uint16_t v;

	memcpy(&v, mnl_attr_get_payload(attr), sizeof(v));
	return v;
}

uint32_t mnl_attr_get_u32(const struct nlattr *attr)
{
	uint32_t v;

	memcpy(&v, mnl_attr_get_payload(attr), sizeof(v));
	return v;
}

uint64_t mnl_attr_get_u64(const struct nlattr *attr)
{
	uint64_t v;

	memcpy(&v, mnl_attr_get_payload(attr), sizeof(v));
	return v;
}

const char *mnl_attr_get_str(const struct nlattr *attr)
{
	return mnl_attr_get_payload(attr);
}

int mnl_attr_type_valid(const struct nlattr *attr, uint16_t maxtype)
{
	if (mnl_attr_get_type(attr) <= maxtype)
		return 1;
	errno = EOPNOTSUPP;
	return -1;
}

/* A number has exactly its bytes, a text at least one and, where it says so, its end; the others are for their readers. */
int mnl_attr_validate(const struct nlattr *attr, enum mnl_attr_data_type type)
{
	static const uint8_t exact[MNL_TYPE_MAX] = {
		[MNL_TYPE_U8] = sizeof(uint8_t),
		[MNL_TYPE_U16] = sizeof(uint16_t),
		[MNL_TYPE_U32] = sizeof(uint32_t),
		[MNL_TYPE_U64] = sizeof(uint64_t),
		[MNL_TYPE_MSECS] = sizeof(uint64_t),
	};
	size_t len = attr->nla_len >= ATTR_HEADER ? mnl_attr_get_payload_len(attr) : 0;
	const char *text = mnl_attr_get_payload(attr);
	bool ok = attr->nla_len >= ATTR_HEADER && type < MNL_TYPE_MAX;

	if (!ok) {
		errno = EINVAL;
		return -1;
	}
	if (exact[type] != 0)
		ok = len == exact[type];
	else if (type == MNL_TYPE_FLAG)
		ok = len == 0;
	else if (type == MNL_TYPE_STRING || type == MNL_TYPE_NUL_STRING)
		ok = len > 0;
	else if (type == MNL_TYPE_NESTED)
		ok = len == 0 || len >= ATTR_HEADER;
	if (!ok || (type == MNL_TYPE_NUL_STRING && text[len - 1] != '\0')) {
		errno = ok ? EINVAL : ERANGE;
		return -1;
	}
	return 0;
}

bool mnl_attr_ok(const struct nlattr *attr, int len)
{
	return len >= (int)sizeof(*attr) && attr->nla_len >= sizeof(*attr) && attr->nla_len <= len;
}

struct nlattr *mnl_attr_next(const struct nlattr *attr)
{
	return (struct nlattr *)((char *)attr + padded(attr->nla_len));
}

static int parse(const char *from, const char *end, mnl_attr_cb_t cb, void *data)
{
	const struct nlattr *attr = (const struct nlattr *)from;
	int ret = MNL_CB_OK;

	while (ret > MNL_CB_STOP && mnl_attr_ok(attr, (int)(end - (const char *)attr))) {
		ret = cb(attr, data);
		attr = mnl_attr_next(attr);
	}
	return ret;
}

int mnl_attr_parse(const struct nlmsghdr *nlh, unsigned int offset, mnl_attr_cb_t cb, void *data)
{
	return parse((char *)mnl_nlmsg_get_payload(nlh) + padded(offset), tail(nlh), cb, data);
}

int mnl_attr_parse_nested(const struct nlattr *attr, mnl_attr_cb_t cb, void *data)
{
	const char *from = mnl_attr_get_payload(attr);

	return parse(from, from + mnl_attr_get_payload_len(attr), cb, data);
}

/* --- several messages in one buffer --------------------------------------------------------------------------------------------------- */

struct mnl_nlmsg_batch *mnl_nlmsg_batch_start(void *buf, size_t bufsiz)
{
	struct mnl_nlmsg_batch *b = calloc(1, sizeof(*b));

	if (b != NULL) {
		b->buf = buf;
		b->limit = bufsiz;
	}
	return b;
}

void mnl_nlmsg_batch_stop(struct mnl_nlmsg_batch *b)
{
	free(b);
}

void *mnl_nlmsg_batch_current(struct mnl_nlmsg_batch *b)
{
	return b->buf + b->size;
}

/* Takes the message that was written at the current place; false when that one goes beyond the limit, so that it is for the next batch. */
bool mnl_nlmsg_batch_next(struct mnl_nlmsg_batch *b)
{
	const struct nlmsghdr *nlh = mnl_nlmsg_batch_current(b);

	if (b->size + nlh->nlmsg_len > b->limit)
		return false;
	b->size += padded(nlh->nlmsg_len);
	return true;
}

size_t mnl_nlmsg_batch_size(struct mnl_nlmsg_batch *b)
{
	return b->size;
}

void *mnl_nlmsg_batch_head(struct mnl_nlmsg_batch *b)
{
	return b->buf;
}

bool mnl_nlmsg_batch_is_empty(struct mnl_nlmsg_batch *b)
{
	return b->size == 0;
}

/* --- answers -------------------------------------------------------------------------------------------------------------------------- */

static int control(const struct nlmsghdr *nlh)
{
	const struct nlmsgerr *e = mnl_nlmsg_get_payload(nlh);

	if (nlh->nlmsg_type == NLMSG_DONE)
		return MNL_CB_STOP;
	if (nlh->nlmsg_type != NLMSG_ERROR)
		return MNL_CB_OK;
	if (nlh->nlmsg_len < mnl_nlmsg_size(sizeof(*e))) {
		errno = EBADMSG;
		return MNL_CB_ERROR;
	}
	errno = e->error < 0 ? -e->error : e->error;
	return e->error == 0 ? MNL_CB_STOP : MNL_CB_ERROR;
}

int mnl_cb_run(const void *buf, size_t numbytes, unsigned int seq, unsigned int portid, mnl_cb_t cb, void *data)
{
	const struct nlmsghdr *nlh = buf;
	int len = (int)numbytes, ret = MNL_CB_OK;

	for (; ret > MNL_CB_STOP && mnl_nlmsg_ok(nlh, len); nlh = mnl_nlmsg_next(nlh, &len)) {
		bool not_ours = nlh->nlmsg_pid != 0 && portid != 0 && nlh->nlmsg_pid != portid;
		if (not_ours || (nlh->nlmsg_seq != 0 && seq != 0 && nlh->nlmsg_seq != seq)) {
			errno = not_ours ? ESRCH : EPROTO;
			return MNL_CB_ERROR;
		}
		if ((nlh->nlmsg_flags & NLM_F_DUMP_INTR) != 0) {
			errno = EINTR;
			return MNL_CB_ERROR;
		}
		if (nlh->nlmsg_type < NLMSG_MIN_TYPE)
			ret = control(nlh);
		else if (cb != NULL)
			ret = cb(nlh, data);
	}
	return ret;
}

/* --- sockets -------------------------------------------------------------------------------------------------------------------------- */

struct mnl_socket *mnl_socket_open2(int bus, int flags)
{
	struct mnl_socket *nl = calloc(1, sizeof(*nl));

	if (nl == NULL)
		return NULL;
	nl->fd = socket(AF_NETLINK, SOCK_RAW | flags, bus);
	if (nl->fd < 0) {
		free(nl);
		return NULL;
	}
	return nl;
}

struct mnl_socket *mnl_socket_open(int bus)
{
	return mnl_socket_open2(bus, 0);
}

int mnl_socket_bind(struct mnl_socket *nl, unsigned int groups, pid_t pid)
{
	socklen_t len = sizeof(nl->address);

	nl->address = (struct sockaddr_nl){ .nl_family = AF_NETLINK, .nl_groups = groups, .nl_pid = (uint32_t)pid };
	if (bind(nl->fd, (struct sockaddr *)&nl->address, len) < 0)
		return -1;
	return getsockname(nl->fd, (struct sockaddr *)&nl->address, &len); /* the kernel may have chosen the number */
}

int mnl_socket_close(struct mnl_socket *nl)
{
	int ret = close(nl->fd);

	free(nl);
	return ret;
}

int mnl_socket_get_fd(const struct mnl_socket *nl)
{
	return nl->fd;
}

unsigned int mnl_socket_get_portid(const struct mnl_socket *nl)
{
	return nl->address.nl_pid;
}

ssize_t mnl_socket_sendto(const struct mnl_socket *nl, const void *req, size_t siz)
{
	static const struct sockaddr_nl kernel = { .nl_family = AF_NETLINK };

	return sendto(nl->fd, req, siz, 0, (const struct sockaddr *)&kernel, sizeof(kernel));
}

ssize_t mnl_socket_recvfrom(const struct mnl_socket *nl, void *buf, size_t siz)
{
	struct sockaddr_nl from = { 0 };
	struct iovec iov = { .iov_base = buf, .iov_len = siz };
	struct msghdr msg = { .msg_name = &from, .msg_namelen = sizeof(from), .msg_iov = &iov, .msg_iovlen = 1 };
	ssize_t got = recvmsg(nl->fd, &msg, 0);

	if (got >= 0 && ((msg.msg_flags & MSG_TRUNC) != 0 || msg.msg_namelen != sizeof(from))) {
		errno = (msg.msg_flags & MSG_TRUNC) != 0 ? ENOSPC : EINVAL;
		return -1;
	}
	return got;
}
