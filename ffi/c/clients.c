/* SPDX-License-Identifier: MIT */
#include "clients.h"
#include "abi.h"
#include "sys.h"

#include <asm/socket.h>
#include <linux/poll.h>
#include <linux/time_types.h>

#define CLOCK_MONOTONIC 1
#define SEND_BYTES (8u << 20) /* room for what two pipes of the largest size hold */

struct clients clients;

void clients_open(void)
{
	for (int i = 0; i < CLIENTS; i++)
		clients.at[i].fd = -1;
}

void client_drop(struct client *client)
{
	sys_close(client->fd);
	*client = (struct client){.fd = -1};
}

/* Whether the message went off. One that does not fit now is for later; a client that is gone is dropped. */
static bool transmit(struct client *client, const char *message, size_t n)
{
	long sent = SYS_6(__NR_sendto, client->fd, message, n, MSG_DONTWAIT | MSG_NOSIGNAL, 0, 0);

	if (sent < 0 && sent != -EAGAIN && sent != -EINTR)
		client_drop(client);
	return sent >= 0;
}

void client_catch_up(struct client *client)
{
	const char taken = MESSAGE_STDIN_TAKEN;

	if (client->taken && transmit(client, &taken, 1))
		client->taken = false;
	if (client->owed && transmit(client, clients.message, clients.length))
		client->owed = false;
}

void clients_spread(void)
{
	bool output = clients.message[0] == MESSAGE_STDOUT || clients.message[0] == MESSAGE_STDERR;

	for (int i = 0; i < CLIENTS; i++) {
		if (clients.at[i].fd < 0 || (output && clients.at[i].quiet))
			continue;
		clients.at[i].owed = true;
		client_catch_up(&clients.at[i]);
	}
}

bool clients_owed(void)
{
	for (int i = 0; i < CLIENTS; i++)
		if (clients.at[i].owed)
			return true;
	return false;
}

uint64_t now_ms(void)
{
	struct __kernel_timespec now = {0};

	SYS_2(__NR_clock_gettime, CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
}

void clients_settle(uint64_t deadline_ms)
{
	while (clients_owed()) {
		struct pollfd fds[CLIENTS] = {0};
		struct __kernel_timespec left = {0};
		uint64_t now = now_ms();

		if (now < deadline_ms) {
			left.tv_sec = (int64_t)(deadline_ms - now) / 1000;
			left.tv_nsec = (int64_t)(deadline_ms - now) % 1000 * 1000000;
		}
		for (int i = 0; i < CLIENTS; i++)
			fds[i] = (struct pollfd){.fd = clients.at[i].owed ? clients.at[i].fd : -1,
						 .events = POLLOUT};
		SYS_5(__NR_ppoll, fds, CLIENTS, &left, 0, 0);
		for (int i = 0; i < CLIENTS; i++) {
			if (fds[i].revents)
				client_catch_up(&clients.at[i]);
			if (clients.at[i].owed && now >= deadline_ms)
				client_drop(&clients.at[i]);
		}
	}
}

void clients_widen(void)
{
	const int bytes = SEND_BYTES;

	for (int i = 0; i < CLIENTS; i++)
		if (clients.at[i].fd >= 0)
			SYS_5(__NR_setsockopt, clients.at[i].fd, SOL_SOCKET, SO_SNDBUFFORCE, &bytes,
			      sizeof(bytes));
}

static struct client *free_place(void)
{
	for (int i = 0; i < CLIENTS; i++)
		if (clients.at[i].fd < 0)
			return &clients.at[i];
	return 0;
}

static bool may_attach(int fd)
{
	struct credentials peer = {0};
	int length = sizeof(peer);

	if (SYS_5(__NR_getsockopt, fd, SOL_SOCKET, SO_PEERCRED, &peer, &length) < 0)
		return false;
	return peer.uid == 0 || peer.uid == (uint32_t)SYS_0(__NR_geteuid);
}

static void refuse(int fd, uint32_t error)
{
	const uint32_t why[3] = {SECTIONS, 0, error};
	char message[1 + sizeof(why)] = {MESSAGE_FAILED};

	memcpy(message + 1, why, sizeof(why));
	SYS_6(__NR_sendto, fd, message, sizeof(message), MSG_DONTWAIT | MSG_NOSIGNAL, 0, 0);
	sys_close(fd);
}

int clients_accept(int listen)
{
	int fd = (int)SYS_4(__NR_accept4, listen, 0, 0, SOCK_NONBLOCK | SOCK_CLOEXEC);
	struct client *place = free_place();

	if (fd < 0)
		return fd;
	if (!may_attach(fd))
		refuse(fd, EPERM);
	else if (!place)
		refuse(fd, EUSERS);
	else
		*place = (struct client){.fd = fd};
	return 0;
}
