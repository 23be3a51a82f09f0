/* SPDX-License-Identifier: MIT
 *
 * load: a closed-loop client that speaks Faktory, for a server or for whatever stands before it.
 *
 *   load [HOST:PORT] [OPTION...]      without HOST:PORT: $FAKTORY_URL, so that it can run as a worker
 *     -m beat|job|idle   BEAT in a loop; FETCH and ACK in a loop; connections that only wait (default beat)
 *     -c N               connections (1)
 *     -d SECONDS         measured time (3), after -w SECONDS to warm up (0.3)
 *     -q QUEUE           to fetch from (s300)
 *     -g USEC            pause between two commands of a connection (0)
 *     -P PID             tell the CPU time of this process as well
 *     -o FILE            append the line of JSON to FILE, not to standard output
 *
 * Latency is from just before send(2) to the last byte of the reply, in a histogram with buckets of 0.4 %. With -m idle
 * the line comes when all connections are ready, and the program ends after -d.
 */
#include <arpa/inet.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/timerfd.h>
#include <time.h>
#include <unistd.h>

#define SUB_BUCKETS 256 /* for each power of two */
#define IN_BYTES 16384

struct histogram {
	uint64_t n, max, buckets[64 * SUB_BUCKETS];
};

enum state { GREETING, SAYING_HELLO, IDLE, BEATING, FETCHING, ACKING };

struct connection {
	int fd;
	enum state state;
	char in[IN_BYTES];
	size_t in_bytes;
	size_t bulk_left; /* of the body of a reply, with its line end; 0: a line is expected */
	char jid[64];
	uint64_t sent_at, next_at;
};

static struct histogram first_latency, ack_latency; /* first: BEAT, or FETCH */
static bool beating, measuring;
static uint64_t gap_nsec, n_commands, n_bytes, n_errors;
static unsigned n_pausing;
static char hello[256], beat[128], fetch[128];

static void die(const char *what)
{
	fprintf(stderr, "load: %s: %s\n", what, strerror(errno));
	exit(1);
}

static uint64_t now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000000000U + (uint64_t)t.tv_nsec;
}

static void count(struct histogram *h, uint64_t v)
{
	int shift = v < SUB_BUCKETS ? 0 : 63 - __builtin_clzll(v) - 7;

	h->buckets[shift ? (uint64_t)shift * (SUB_BUCKETS / 2) + (v >> shift) : v]++;
	h->n++;
	if (v > h->max)
		h->max = v;
}

/* In microseconds. */
static double percentile(const struct histogram *h, double q)
{
	uint64_t rank = (uint64_t)(q * (double)h->n), seen = 0;

	if (h->n > 0 && rank >= h->n)
		rank = h->n - 1;
	for (uint64_t i = 0; i < 64 * SUB_BUCKETS && h->n > 0; i++) {
		seen += h->buckets[i];
		if (seen > rank) {
			uint64_t shift = i < SUB_BUCKETS ? 0 : i / (SUB_BUCKETS / 2) - 1;
			uint64_t v = shift ? (i - shift * (SUB_BUCKETS / 2)) << shift : i;

			return (double)(v > h->max ? h->max : v) / 1000.0;
		}
	}
	return (double)h->max / 1000.0;
}

static void say(struct connection *c, const char *text, enum state state)
{
	size_t bytes = strlen(text);

	c->state = state;
	c->sent_at = now();
	if (send(c->fd, text, bytes, MSG_NOSIGNAL) != (ssize_t)bytes)
		die("send");
}

static void start(struct connection *c)
{
	if (beating)
		say(c, beat, BEATING);
	else
		say(c, fetch, FETCHING);
}

/* A whole reply has come. */
static void on_reply(struct connection *c)
{
	uint64_t latency = now() - c->sent_at;

	if (measuring) {
		n_commands++;
		count(c->state == ACKING ? &ack_latency : &first_latency, latency);
	}
	if (c->state == FETCHING && c->jid[0]) {
		char text[128];

		snprintf(text, sizeof(text), "ACK {\"jid\":\"%s\"}\r\n", c->jid);
		c->jid[0] = '\0';
		say(c, text, ACKING);
	} else if (gap_nsec > 0) {
		c->next_at = now() + gap_nsec;
		c->state = IDLE;
		n_pausing++;
	} else {
		start(c);
	}
}

static void on_line(struct connection *c, const char *line, size_t bytes)
{
	if (line[0] == '$' && line[1] != '-') {
		c->bulk_left = strtoull(line + 1, NULL, 10) + 2;
		c->jid[0] = '\0';
		return;
	}
	if (line[0] == '-' && n_errors++ == 0)
		fprintf(stderr, "load: %.*s\n", (int)bytes, line);
	on_reply(c);
}

static void find_jid(struct connection *c, const char *p, size_t bytes)
{
	const char *jid = memmem(p, bytes, "\"jid\":\"", 7), *end;

	if (!jid)
		return;
	jid += 7;
	end = memchr(jid, '"', bytes - (size_t)(jid - p));
	if (end && (size_t)(end - jid) < sizeof(c->jid)) {
		memcpy(c->jid, jid, (size_t)(end - jid));
		c->jid[end - jid] = '\0';
	}
}

/* Lines and bodies in the buffer, as far as they have come. The jid is at the head of a job. */
static void on_input(struct connection *c)
{
	char *p = c->in, *end = c->in + c->in_bytes;

	while (p < end) {
		size_t there = (size_t)(end - p);

		if (c->bulk_left > 0) {
			if (!c->jid[0]) {
				find_jid(c, p, there);
				if (!c->jid[0] && there < c->bulk_left && there < 400)
					break;
			}
			there = there < c->bulk_left ? there : c->bulk_left;
			p += there;
			c->bulk_left -= there;
			if (c->bulk_left == 0)
				on_reply(c);
			continue;
		}
		char *newline = memchr(p, '\n', there);

		if (!newline)
			break;
		on_line(c, p, (size_t)(newline - p));
		p = newline + 1;
	}
	c->in_bytes = (size_t)(end - p);
	if (p != c->in)
		memmove(c->in, p, c->in_bytes);
}

static void receive(struct connection *c)
{
	static char sink[256 * 1024];

	for (;;) {
		bool large = c->bulk_left > sizeof(c->in) && c->in_bytes == 0 && c->jid[0];
		ssize_t n;

		if (large)
			n = recv(c->fd, sink, c->bulk_left - 2 < sizeof(sink) ? c->bulk_left - 2 : sizeof(sink), 0);
		else
			n = recv(c->fd, c->in + c->in_bytes, sizeof(c->in) - c->in_bytes, 0);
		if (n < 0 && errno == EAGAIN)
			return;
		if (n == 0)
			errno = ECONNRESET;
		if (n <= 0)
			die("recv");
		if (measuring)
			n_bytes += (uint64_t)n;
		if (large) {
			c->bulk_left -= (size_t)n;
		} else {
			c->in_bytes += (size_t)n;
			on_input(c);
		}
	}
}

/* CPU time of all threads, in nanoseconds. */
static uint64_t cpu_nsec(const char *pid)
{
	char path[320];
	uint64_t sum = 0;
	struct dirent *e;
	DIR *dir;

	snprintf(path, sizeof(path), "/proc/%s/task", pid);
	dir = opendir(path);
	if (!dir)
		die(path);
	while ((e = readdir(dir))) {
		unsigned long long ran = 0;
		FILE *f;

		if (e->d_name[0] == '.')
			continue;
		snprintf(path, sizeof(path), "/proc/%s/task/%s/schedstat", pid, e->d_name);
		f = fopen(path, "r");
		if (f && fscanf(f, "%llu", &ran) == 1)
			sum += ran;
		if (f)
			fclose(f);
	}
	closedir(dir);
	return sum;
}

static void dial(struct connection *c, const struct sockaddr_in *address)
{
	struct timeval limit = {.tv_sec = 10};
	int one = 1;

	c->fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (c->fd < 0 || connect(c->fd, (const struct sockaddr *)address, sizeof(*address)) < 0)
		die("connect");
	setsockopt(c->fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
	setsockopt(c->fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof(limit));
	while (c->state != IDLE) {
		ssize_t n = recv(c->fd, c->in + c->in_bytes, sizeof(c->in) - c->in_bytes, 0);

		if (n <= 0)
			die("greeting");
		c->in_bytes += (size_t)n;
		if (!memchr(c->in, '\n', c->in_bytes))
			continue;
		if (c->in[0] != '+') {
			fprintf(stderr, "load: %.*s\n", (int)c->in_bytes, c->in);
			exit(1);
		}
		c->in_bytes = 0;
		if (c->state == GREETING)
			say(c, hello, SAYING_HELLO);
		else
			c->state = IDLE;
	}
	if (fcntl(c->fd, F_SETFL, O_NONBLOCK) < 0)
		die("fcntl");
}

/* Those whose pause is over; returns when the next one is, or 0. */
static uint64_t start_paused(struct connection *connections, int n)
{
	uint64_t t = now(), first = 0;

	for (int i = 0; i < n; i++) {
		struct connection *c = &connections[i];

		if (c->state != IDLE || c->next_at == 0)
			continue;
		if (c->next_at <= t) {
			c->next_at = 0;
			n_pausing--;
			start(c);
		} else if (first == 0 || c->next_at < first) {
			first = c->next_at;
		}
	}
	return first;
}

static void print_latency(FILE *f, const char *name, const struct histogram *h)
{
	if (h->n > 0)
		fprintf(f, ",\"%s\":{\"n\":%llu,\"p50\":%.1f,\"p99\":%.1f,\"max\":%.1f}", name,
			(unsigned long long)h->n, percentile(h, 0.5), percentile(h, 0.99), (double)h->max / 1000.0);
}

int main(int argc, char **argv)
{
	int n = 1, option, epoll_fd = epoll_create1(EPOLL_CLOEXEC), timer_fd;
	const char *mode = "beat", *queue = "s300", *pid = NULL, *out = NULL, *target;
	double seconds = 3, warm_up = 0.3;
	struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	struct connection *connections;
	struct epoll_event e = {.events = EPOLLIN}, events[256];
	uint64_t begin, end, cpu = 0;
	struct rlimit limit;
	FILE *f;

	while ((option = getopt(argc, argv, "m:c:d:w:q:g:P:o:")) != -1)
		switch (option) {
		case 'm':
			mode = optarg;
			break;
		case 'c':
			n = atoi(optarg);
			break;
		case 'd':
			seconds = atof(optarg);
			break;
		case 'w':
			warm_up = atof(optarg);
			break;
		case 'q':
			queue = optarg;
			break;
		case 'g':
			gap_nsec = (uint64_t)(atof(optarg) * 1000);
			break;
		case 'P':
			pid = optarg;
			break;
		case 'o':
			out = optarg;
			break;
		default:
			return 2;
		}
	target = optind < argc ? argv[optind] : getenv("FAKTORY_URL");
	if (!target || !strrchr(target, ':')) {
		fprintf(stderr, "load: neither 127.0.0.1:PORT nor $FAKTORY_URL\n");
		return 2;
	}
	address.sin_port = htons((uint16_t)atoi(strrchr(target, ':') + 1));
	beating = mode[0] == 'b';
	snprintf(hello, sizeof(hello),
		 "HELLO {\"hostname\":\"bench\",\"wid\":\"bench-%08d\",\"pid\":%d,\"labels\":[\"bench\"],\"v\":2}\r\n",
		 (int)getpid(), (int)getpid());
	snprintf(beat, sizeof(beat), "BEAT {\"wid\":\"bench-%08d\",\"rss_kb\":123456,\"pad\":\"xxxx\"}\r\n",
		 (int)getpid());
	snprintf(fetch, sizeof(fetch), "FETCH %.100s\r\n", queue);
	if (getrlimit(RLIMIT_NOFILE, &limit) == 0) {
		limit.rlim_cur = limit.rlim_max;
		setrlimit(RLIMIT_NOFILE, &limit);
	}
	connections = calloc((size_t)n, sizeof(*connections));
	f = out ? fopen(out, "a") : stdout;
	if (!connections || !f)
		die(out ? out : "calloc");
	for (int i = 0; i < n; i++)
		dial(&connections[i], &address);
	if (mode[0] == 'i') {
		fprintf(f, "{\"ready\":%d}\n", n);
		fflush(f);
		usleep((useconds_t)(seconds * 1e6));
		return 0;
	}
	for (int i = 0; i < n; i++) {
		e.data.ptr = &connections[i];
		epoll_ctl(epoll_fd, EPOLL_CTL_ADD, connections[i].fd, &e);
	}
	timer_fd = timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK | TFD_CLOEXEC);
	e.data.ptr = NULL;
	epoll_ctl(epoll_fd, EPOLL_CTL_ADD, timer_fd, &e);

	begin = now() + (uint64_t)(warm_up * 1e9);
	end = begin + (uint64_t)(seconds * 1e9);
	for (int i = 0; i < n; i++)
		start(&connections[i]);
	for (;;) {
		int k = epoll_wait(epoll_fd, events, 256, 1000);
		uint64_t t = now(), expirations;

		if (!measuring && t >= begin) {
			measuring = true;
			cpu = pid ? cpu_nsec(pid) : 0;
			begin = t = now();
		}
		if (t >= end)
			break;
		for (int i = 0; i < k; i++) {
			if (events[i].data.ptr)
				receive(events[i].data.ptr);
			else if (read(timer_fd, &expirations, sizeof(expirations)) < 0)
				continue;
		}
		uint64_t next = n_pausing > 0 ? start_paused(connections, n) : 0;

		if (next > 0) {
			struct itimerspec it = {.it_value = {(time_t)(next / 1000000000U), (long)(next % 1000000000U)}};
			timerfd_settime(timer_fd, TFD_TIMER_ABSTIME, &it, NULL);
		}
	}
	cpu = pid ? cpu_nsec(pid) - cpu : 0;
	seconds = (double)(now() - begin) / 1e9;
	fprintf(f, "{\"commands\":%llu,\"per_s\":%.0f,\"mb_s\":%.1f,\"errors\":%llu", (unsigned long long)n_commands,
		(double)n_commands / seconds, (double)n_bytes / 1e6 / seconds, (unsigned long long)n_errors);
	if (pid && n_commands > 0)
		fprintf(f, ",\"cpu_us\":%.3f,\"cpu_us_per_mb\":%.1f", (double)cpu / 1e3 / (double)n_commands,
			n_bytes ? (double)cpu / 1e3 / ((double)n_bytes / 1e6) : 0);
	print_latency(f, beating ? "beat" : "fetch", &first_latency);
	print_latency(f, "ack", &ack_latency);
	fprintf(f, "}\n");
	return n_errors > 0 || fflush(f) != 0;
}
