/* SPDX-License-Identifier: MIT */
/*
 * clients.h - who is attached to the monitor, and the one message that is under way to all of them.
 *
 * Nothing is queued for a client beyond its socket: it is owed the message until it has room.
 */
#ifndef BB_CLIENTS_H
#define BB_CLIENTS_H

#include "session.h"

#include <stdbool.h>

#define CLIENTS 17 /* the first, and sixteen that attached */

struct client {
	int fd;	    /* -1: nobody */
	bool first; /* it started the container */
	bool owed;  /* has not got the message under way */
	bool gives; /* its input is being written to the container */
	bool taken; /* shall be told that its input was passed on */
	bool held;  /* has input, while another's is being written */
	bool quiet; /* waits for the end only */
};

struct clients {
	struct client at[CLIENTS];
	size_t length; /* of the message under way */
	char message[MESSAGE_BYTES];
};
extern struct clients clients;

/* clients_open - nobody is attached yet. */
void clients_open(void);

/* client_drop - it is gone, or does not keep to the protocol. */
void client_drop(struct client *client);

/* client_catch_up - send a client what it is to get, as far as its socket has room. */
void client_catch_up(struct client *client);

/* clients_spread - the message under way is a new one: for everybody. */
void clients_spread(void);

/* clients_owed - whether anybody has not got it yet. */
bool clients_owed(void);

/* clients_settle - wait until nobody is owed anything; who takes too long is dropped. For the end only. */
void clients_settle(uint64_t deadline_ms);

/* clients_widen - let all that a container may have left in its pipes fit into the clients' sockets. */
void clients_widen(void);

/* clients_accept - take one that connected, if it may attach. Returns 0 or -errno of accept. */
int clients_accept(int listen);

/* now_ms - the monotonic clock. */
uint64_t now_ms(void);

#endif
