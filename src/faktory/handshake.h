/* SPDX-License-Identifier: MIT
 *
 * The opening of a connection: the server's HI, the worker's HELLO, and the password's hash (server.go,
 * startConnection; client.go, hash). chargehand stands between: a worker's HELLO is passed on with every field as it
 * came, byte for byte, and chargehand's own pwdhash for the link's nonce.
 */
#ifndef CHARGEHAND_FAKTORY_HANDSHAKE_H
#define CHARGEHAND_FAKTORY_HANDSHAKE_H

#include "base/macro.h"
#include "faktory/job.h"
#include <stdbool.h>
#include <sys/types.h>

/* What a session is greeted with. No space inside the JSON: one client library splits at the first (Node). */
#define HANDSHAKE_HI "+HI {\"v\":2}\r\n"

#define HANDSHAKE_SALT_MAX 64
#define HANDSHAKE_HASH_MAX 65 /* hex of SHA-256, terminated */

struct hi {
	int version;
	unsigned iterations; /* 0 when the server wants no password */
	char salt[HANDSHAKE_SALT_MAX];
};

/* Reads the line of a HI without its '+' and line end: "HI {...}". -EBADMSG when it is no HI (another kind of server),
 * -EPROTONOSUPPORT for a version other than 2, -ERANGE for more rounds than HANDSHAKE_ROUNDS_MAX. */
#define HANDSHAKE_ROUNDS_MAX 65536
int hi_parse(const char *line, size_t bytes, struct hi *ret) _must_check_;

struct hello {
	char *json; /* owned: the object as it came, without any pwdhash, ready for hello_write() */
	size_t json_bytes;
	long version;          /* 0 when absent: then the hash has one round only (faktory-live 10) */
	pid_t pid;             /* 0 when absent or not positive */
	char wid[JOB_WID_MAX]; /* decoded, empty when absent or null */
};

/* Reads the argument of HELLO. -EBADMSG for what the server would close the connection for: no object, a pid or v that
 * is no number, a wid that is no string. On success the caller owns *ret: hello_done(). */
int hello_parse(const char *args, size_t bytes, struct hello *ret) _must_check_;
void hello_done(struct hello *h);

/* SHA-256 of password+salt, then of the digest, `iterations` times in all; lower-case hex. About 0.3 µs a round, so
 * some milliseconds for the server's 4000 to 8100 rounds: never more than one in a turn of the loop (hazards 23). */
void handshake_hash(const char *password, const char *salt, unsigned iterations, char ret_hex[HANDSHAKE_HASH_MAX]);

/* "HELLO {...}\r\n" with pwdhash added where the server asked for one and password is not NULL. malloc'ed, the
 * caller's. -ENOMEM. */
int hello_write(const struct hello *h, const struct hi *hi, const char *password, char **ret,
		size_t *ret_bytes) _must_check_;

#endif
