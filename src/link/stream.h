/* SPDX-License-Identifier: MIT
 *
 * A non-blocking TCP socket in the event loop: read when asked, written at once, and what the kernel does not take is
 * kept in a backlog that is written as soon as it does. Used by sessions and links alike; knows nothing of Faktory.
 *
 * The read event stays registered and the write event exists only while there is a backlog, so a command that passes
 * costs one recv(2) and one send(2), and an idle stream less than two hundred bytes. (bufferevents ask FIONREAD before
 * each read and change the epoll set around each write.)
 *
 * Events are edges (epoll(7)): the kernel tells of what is new, and is not asked about the same stream again, which is
 * 3 % of the processor time of a gateway with 50 sessions. What it does not tell again the stream knows: a read
 * that brought as much as it could is followed by another in the next turn, and so is each one once the other side has
 * closed. Of a reset that comes with the last words libevent says no more than that there is something to read (the
 * kernel's EPOLLERR is EV_READ there), so whatever seems to be read to its end is read once more a little later.
 *
 * Where many streams have something to say, each is read before any is written: a send(2) wakes the other side, and one
 * that is woken for a single command goes back to sleep. With 50 sessions on two processors a worker and its server
 * slept 180 times in a thousand commands, and 260 times before.
 *
 * Callbacks come from the event loop and stream_end_turn() only, never out of a write; all but on_sent. The owner
 * embeds the struct and finds itself by container_of(); it may close the stream and free itself in a callback.
 */
#ifndef CHARGEHAND_LINK_STREAM_H
#define CHARGEHAND_LINK_STREAM_H

#include "base/macro.h"
#include <event2/event.h>
#include <event2/event_struct.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/queue.h>
#include <sys/types.h>

/* How much is read at a time: one turn's share of a stream, so that a 100 MB job makes nobody else wait. Of 64 KB
 * system calls are a tenth of the cost of copying, and a command beside 10 MB jobs took 165 µs; of 16 KB, 70 µs, with a
 * quarter less of the jobs' 2 GB/s. So it is 16 where there is anybody to wait: more than one session, its link and the
 * reporter's. */
#define STREAM_READ_BYTES (64 * 1024)
#define STREAM_READ_BESIDE_BYTES (16 * 1024)
#define STREAM_ALONE_MAX 3

/* A backlog above HIGH stops the source, below LOW starts it again. */
#define STREAM_BACKLOG_HIGH_BYTES (256 * 1024)
#define STREAM_BACKLOG_LOW_BYTES (64 * 1024)

/* What all streams together may leave to the end of the turn, and how much of it one write. */
#define STREAM_BATCH_BYTES (16 * 1024)
#define STREAM_BATCH_PIECES 64
#define STREAM_BATCHED_MAX_BYTES (4 * 1024)

/* After this time what seems to be read to its end is read once more. */
#define STREAM_DOUBT_USEC (50 * 1000)

struct stream;
struct stream_ops {
	/* What is read answers what was written: a look for it at the end of the turn has sense. */
	bool is_answered;
	/* It reads once, at least, or pauses: there may be nothing. */
	void (*on_readable)(struct stream *s);
	/* The backlog has fallen below LOW after having been above HIGH, or is empty. */
	void (*on_drained)(struct stream *s);
	/* Writing the backlog failed; nothing will be written any more. It can be read to its end, as after a write
	 * that failed. */
	void (*on_broken)(struct stream *s, int error);
	/* What stream_write_told() was given has been written, as far as error and stream_backlog_bytes() say. It comes
	 * out of any write to any stream, so all that may be done here is to take note. */
	void (*on_sent)(struct stream *s, const char *p, size_t bytes);
};

struct outbox;
struct stream {
	int fd;         /* -EBADF when closed */
	uint16_t error; /* a write failed with this errno (positive): all later writes are refused */
	uint8_t piece;  /* of the turn's batch: its number from 1 on, 0 for none */
	bool reading:1;
	bool ending:1; /* the other side has closed: what it has said is here */
	enum stream_listed {
		STREAM_UNLISTED,
		STREAM_UNFINISHED, /* more may be there than was read: its next turn comes without an event */
		STREAM_DOUBTFUL,   /* it seems that all is read */
	} listed:2;
	LIST_ENTRY(stream) in_list;
	const struct stream_ops *ops;
	struct event read_event;
	struct outbox *outbox; /* NULL while nothing is waiting */
};

/* Takes the descriptor (non-blocking, close-on-exec) on success. Reading is on. */
int stream_open(struct stream *s, struct event_base *base, int fd, const struct stream_ops *ops) _must_check_;

/* For a socket that both ends of are on this machine, or that listens for such: Reno, which every kernel has and lets
 * everybody choose (tcp(7), TCP_CONGESTION), whatever the system's congestion control is. There is no network to share
 * with anybody, and BBR's model of one, where that is the default, costs 1 to 2 % of the processor time of a command.
 * Fails silently: every other one works as well. */
void stream_choose_loopback_congestion(int fd);

/* Sets fd to -EBADF and nothing else: for a struct that is not open yet. */
void stream_init(struct stream *s);

/* Bytes read, fewer perhaps than there are, 0 at the end, -EAGAIN, or -errno. */
ssize_t stream_read(struct stream *s, char *buffer, size_t bytes) _must_check_;

/* At once, and what is long goes out behind all that is batched. Takes all bytes or fails: 0, or -errno of the socket
 * (EPIPE, ECONNRESET, …), or -ENOMEM. After a failure the stream can be read to what had come by then, and to an end:
 * on_readable will tell. */
int stream_write(struct stream *s, const char *p, size_t bytes) _must_check_;

/* The same for what may wait until the end of the turn, if it is short and a turn was begun. A failure then is seen in
 * reading alone. What is written to the stream afterwards comes afterwards. The backlog does not count it. */
int stream_write_batched(struct stream *s, const char *p, size_t bytes) _must_check_;

/* The same for what has to be known to have reached the kernel: on_sent is called once, now or later. */
void stream_write_told(struct stream *s, const char *p, size_t bytes);

/* Sends what is batched of this one. */
void stream_flush(struct stream *s);

/* Before something that takes long in the middle of a turn. */
void stream_send_batch(void);

/* Around each turn of the loop. At the end what was batched is sent, and then the stream that was written in this turn
 * is read, if there was only one and it is of those that are answered, for the answer may be here by now: where a
 * worker, its server and we share a processor, send(2) often returns after the server has run, and the answer costs no
 * epoll_wait(2) then. Where it is in vain most looks are left out. on_readable has to put up with -EAGAIN.
 *
 * No look at what comes from workers: their deaths must be seen before their last words are, or it would be fetched for
 * the dead (hazards 9). */
void stream_begin_turn(void);
void stream_end_turn(void);

/* What the kernel would not take yet. */
size_t stream_backlog_bytes(const struct stream *s);

void stream_pause(struct stream *s);
int stream_resume(struct stream *s);

/* Closes; what is batched is sent before. With reset it is not, and the connection ends in RST (SO_LINGER 0), which
 * recalls bytes that were not sent yet (hazards 16). */
void stream_close(struct stream *s, bool reset);

#endif
