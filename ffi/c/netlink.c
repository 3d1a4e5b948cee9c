/* SPDX-License-Identifier: MIT */
/* One batch of rtnetlink requests whose messages each ask for an acknowledgement. */
#include "builtins.h"
#include "sys.h"

#include <linux/netlink.h>

/* The acknowledgements of a batch come in several datagrams; with NETLINK_CAP_ACK each is small. */
#define RECEIVE_BYTES 8192

long netlink_batch(int socket, const void *batch, size_t length, uint64_t acks)
{
	char buffer[RECEIVE_BYTES] __attribute__((aligned(8)));
	long first_error = 0;
	long sent = SYS_6(__NR_sendto, socket, batch, length, 0, 0, 0);

	if (sent < 0)
		return sent;
	while (acks) {
		long n = SYS_6(__NR_recvfrom, socket, buffer, sizeof(buffer), 0, 0, 0);
		size_t left, at = 0;

		if (n == -EINTR)
			continue;
		if (n <= 0)
			return n ? n : -EPIPE;
		left = (size_t)n;
		while (left >= sizeof(struct nlmsghdr)) {
			const struct nlmsghdr *h = (const struct nlmsghdr *)(buffer + at);
			size_t step;

			if (h->nlmsg_len < sizeof(*h) || h->nlmsg_len > left)
				return -EBADMSG;
			if (h->nlmsg_type == NLMSG_ERROR && acks) {
				const struct nlmsgerr *answer = NLMSG_DATA(h);

				if (h->nlmsg_len < NLMSG_LENGTH(sizeof(answer->error)))
					return -EBADMSG;
				if (answer->error && !first_error)
					first_error = answer->error;
				acks--;
			}
			step = NLMSG_ALIGN(h->nlmsg_len);
			if (step >= left)
				break;
			at += step;
			left -= step;
		}
	}
	return first_error;
}
