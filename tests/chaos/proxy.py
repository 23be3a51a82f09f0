# SPDX-License-Identifier: MIT
"""Between chargehand and the server: passes bytes on, does harm to connections, and is the witness of all that was said.

  p = Proxy(server_port)        a thread of its own; ends with p.close()
  port = p.door("mail")         a port for one chargehand: its links are known by that name
  p.links("mail")               those that are open now
  p.cut(link, how)              "reset", "end": at once
  p.cut(link, how, up=N)        after N more bytes to the server; down=N: to chargehand. In the middle of a line, say
  p.stall(link, seconds)        nothing passes, both ends wait; p.silence("mail", seconds) for all of a chargehand's
  p.swallow(link, seconds, how) everything is lost in both directions, then the cut; replies=True: only what the server says
  p.slow(link, seconds, delay)  for so many seconds every chunk arrives that much later
  p.refuse(seconds)             new connections are reset, all doors
  p.hindrances["mail"]          when all its links were silent or, under "", new ones refused
  p.killed("mail", since)       that chargehand was killed; p.server_gone(since)  the server was
  p.calm()                      no harm from now on

What was said is in p.words, in order: Word(when, link, owner, verb, jid, …); what chargehand has said and harm has kept from
the server is in p.lost, as far as it came here. A job given out is a Gift, with the link and
whether its reply has reached chargehand's socket as a whole. When a link is cut with a FETCH at the server, the
connection to the server is kept until it is answered: the server would give the job to the dead connection all the
same, and so it is known which job that was.
"""
import collections
import itertools
import json
import selectors
import socket
import struct
import threading
import time

from hindrance import REFUSED, SILENT, Hindrance

GHOST_SECONDS = 8
UNREAD_SECONDS = 0.5  # what a chargehand that is paused may leave lying
REPORTS = ("ACK", "FAIL", "PUSH", "PUSHB")  # what is written down
CHUNK = 65536


class Word:
    """A command that has left for the server. answer: None, or the first byte of its reply ("+", "-", "$")."""

    def __init__(self, when, link, verb, jid=None, errtype=None, queues=(), text=""):
        self.when, self.link, self.owner, self.verb = when, link, link.owner, verb
        self.jid, self.errtype, self.queues, self.text = jid, errtype, queues, text
        self.answer, self.answered = None, None
        self.lost_with_server = None  # the number of the server's end that it was unanswered at
        self.lost = None  # why the server has not had it

    def __repr__(self):
        return f"<{self.when:.3f} {self.link} {self.verb} {self.jid or ''} {self.errtype or ''} -> {self.answer}>"


class Gift:
    """A job in a reply to FETCH."""

    def __init__(self, when, link, jid, end):
        self.when, self.link, self.jid, self.end = when, link, jid, end
        self.delivered = self.lost = False  # lost here

    def __repr__(self):
        return f"<{self.when:.3f} {self.link} gave {self.jid}{'' if self.delivered else ', not delivered'}>"


class Link:
    def __init__(self, number, owner, near, far):
        self.number, self.owner, self.near, self.far = number, owner, near, far
        self.up, self.down = [], []  # [(due, bytes)], to the server and to chargehand
        self.up_sent = self.down_sent = 0
        self.up_cut = self.down_cut = None  # (bytes sent at which it is cut, how)
        self.stalled_until = self.slow_until = self.swallow_until = 0
        self.swallow_how, self.passes_up, self.delay = None, False, 0
        self.line, self.lost_line, self.reply, self.down_seen = b"", b"", b"", 0
        self.asked = []  # Words without an answer; the greeting comes unasked
        self.greeted, self.welcomed = False, None  # HI has been said; when HELLO had its +OK
        self.is_reporters, self.harmed = False, None  # by its HELLO; since when not all has been passed on
        self.begun, self.wid = time.monotonic(), None
        self.gifts = []
        self.last_reply = None  # a Gift or None: what the last answer was
        self.end, self.ended = None, None  # "cut", "closed" by chargehand, "killed", "server"; when
        self.ghost_until = None
        self.near_eof = self.far_eof = False
        self.near_ended = self.far_ended = None

    def __str__(self):
        return f"{self.owner}#{self.number}"

    def fetching(self):
        return [w for w in self.asked if w.verb == "FETCH"]


def _close(sock, how="end"):
    if sock is None:
        return
    if how == "reset":
        try:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        except OSError:
            pass
    sock.close()


def _jid_of(text):
    try:
        found = json.loads(text)
        if isinstance(found, list):
            found = found[0] if found else {}
        return found.get("jid"), found.get("errtype")
    except (ValueError, AttributeError):
        return None, None


class Proxy:
    def __init__(self, server_port, tell=lambda owner, text: None):
        self.server_port, self.tell = server_port, tell
        self.words, self.gifts, self.all_links = [], [], []
        self.lost = []  # Words of chargehand's that were lost here
        self.unanswered = []  # Words that the server's end has left without an answer
        self.counts = {}
        self.hindrances = collections.defaultdict(list)  # owner, "" for all: [Hindrance]
        self.server_ends = 0
        self.lock = threading.RLock()
        self._under_way = {}  # (owner, what): the Hindrance
        self._doors, self._numbers = {}, itertools.count(1)
        self._selector = selectors.DefaultSelector()
        self._open = set()
        self._wake, self._woken = socket.socketpair()
        self._wake.setblocking(False)
        self._woken.setblocking(False)
        self._selector.register(self._woken, selectors.EVENT_READ, ("wake", None))
        self._ending, self.error = False, None
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    # --- for the runner's thread

    def door(self, owner):
        with self.lock:
            if owner not in self._doors:
                s = socket.create_server(("127.0.0.1", 0), backlog=512)
                s.setblocking(False)
                self._doors[owner] = s
                self._selector.register(s, selectors.EVENT_READ, ("door", owner))
                self._nudge()
            return self._doors[owner].getsockname()[1]

    def links(self, owner=None):
        with self.lock:
            return sorted((l for l in self._open if l.end is None and l.far and owner in (None, l.owner)),
                          key=lambda l: l.number)

    def _did(self, what, link=None, detail="", owner=""):
        self.counts[what] = self.counts.get(what, 0) + 1
        self.tell(link.owner if link else owner, f"{link or 'links'}: {what} {detail}".rstrip())

    def _hinder(self, owner, what, seconds):
        now = time.monotonic()
        self._end_hindrance(owner, what, now)
        self._did(f"{what} for a time", None, f"{seconds:.1f} s", owner)
        self._under_way[owner, what] = begun = Hindrance(what, now, now + seconds)
        self.hindrances[owner].append(begun)
        self._nudge()
        return begun.end

    def _end_hindrance(self, owner, what, now):
        if ended := self._under_way.pop((owner, what), None):
            ended.stop(now)
            self.tell(owner, f"links: {what} no more")

    def _until(self, owner, what):
        under_way = self._under_way.get((owner, what))
        return under_way.end if under_way else 0

    def cut(self, link, how, up=None, down=None):
        with self.lock:
            if link.end is None:
                if up is not None:
                    link.up_cut = (link.up_sent + up, how)
                elif down is not None:
                    link.down_cut = (link.down_sent + down, how)
                else:
                    self._cut(link, how)
                self._nudge()

    def stall(self, link, seconds):
        with self.lock:
            self._did("stalled", link, f"for {seconds:.1f} s")
            self._stall(link, time.monotonic() + seconds)
            self._nudge()

    @staticmethod
    def _stall(link, until):
        link.harmed = link.harmed or time.monotonic()
        link.stalled_until = until

    def silence(self, owner, seconds):
        """All links of this chargehand, and those that it makes meanwhile."""
        with self.lock:
            until = self._hinder(owner, SILENT, seconds)
            for link in self.links(owner):
                self._stall(link, until)

    def swallow(self, link, seconds, how, replies=False):
        with self.lock:
            link.passes_up = replies
            self._did("half-open", link, f"for {seconds:.1f} s, then {how}")
            link.harmed = link.harmed or time.monotonic()
            link.swallow_until, link.swallow_how = time.monotonic() + seconds, how
            self._nudge()

    def slow(self, link, seconds, delay):
        with self.lock:
            self._did("delayed", link, f"by {delay:.2f} s, for {seconds:.1f} s")
            link.slow_until, link.delay = time.monotonic() + seconds, delay
            self._nudge()

    def refuse(self, seconds):
        with self.lock:
            self._hinder("", REFUSED, seconds)

    def calm(self):
        """No harm from now on; what is under way (a stall, a delay) ends at once."""
        with self.lock:
            for owner, what in list(self._under_way):
                self._end_hindrance(owner, what, time.monotonic())
            for link in self._open:
                link.stalled_until = link.slow_until = 0
                link.up_cut = link.down_cut = None
                if link.swallow_until:
                    link.swallow_until = time.monotonic()
            self._nudge()

    def killed(self, owner, since):
        """That chargehand is dead, and has done nothing more since: what ended then has ended with it. The links."""
        with self.lock:
            for link in list(self._open):
                self._pump(link)
            # One that the server has ended can have had something to pass on yet, or it has just been passed on.
            ended = [l for l in self.all_links if l.owner == owner and
                     (l.end is None or l.end == "closed" and l.ended >= since or
                      l.end == "server" and (l.near_ended or l.ended) >= since - UNREAD_SECONDS)]
            for link in ended:
                self._end(link, "killed")
                link.end = "killed"
            self._nudge()
            return ended

    def server_gone(self, since):
        """The server is dead, and was told so at that time: its number among such ends, and what it has not answered."""
        with self.lock:
            self.server_ends += 1
            for link in list(self._open):
                self._pump(link)
            left = [w for w in self.unanswered if w.lost_with_server is None and w.link.far_ended >= since]
            for word in left:
                word.lost_with_server = self.server_ends
            return self.server_ends, left

    def close(self):
        self._ending = True
        self._nudge()
        self._thread.join(10)
        for door in self._doors.values():
            door.close()
        for link in self._open:
            _close(link.near)
            _close(link.far)

    def _nudge(self):
        try:
            self._wake.send(b"x")
        except BlockingIOError:
            pass

    # --- the loop

    def _run(self):
        try:
            while not self._ending:
                self._turn()
        except BaseException as e:  # a witness that has fainted must not go unnoticed
            self.error = e
            raise

    def _turn(self):
        with self.lock:
            now = time.monotonic()
            for owner, what in [key for key, under_way in self._under_way.items() if under_way.end <= now]:
                self._end_hindrance(owner, what, now)
            times = [d for d in (self._due(l, now) for l in self._open) if d is not None]
            due = min(times + [under_way.end for under_way in self._under_way.values()], default=now + 0.5)
        ready = self._selector.select(max(0, min(due - now, 0.5)))
        with self.lock:
            for key, _ in ready:
                what, who = key.data
                if what == "wake":
                    try:
                        self._woken.recv(4096)
                    except BlockingIOError:
                        pass
                elif what == "door":
                    self._accept(key.fileobj, who)
            for link in list(self._open):
                self._pump(link)

    @staticmethod
    def _due(link, now):
        times = [t for t in (link.stalled_until, link.swallow_until, link.ghost_until or 0) if t > now]
        times += [queue[0][0] for queue in (link.up, link.down) if queue and queue[0][0] > now]
        return min(times, default=None)

    def _accept(self, door, owner):
        while True:
            try:
                near, _ = door.accept()
            except (BlockingIOError, ConnectionError):
                return
            near.setblocking(False)
            near.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            far = None
            if time.monotonic() >= self._until("", REFUSED):
                try:
                    far = socket.create_connection(("127.0.0.1", self.server_port), timeout=2)
                except OSError:
                    pass
            if far is None:
                _close(near, "reset")
                continue
            far.setblocking(False)
            far.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            link = Link(next(self._numbers), owner, near, far)
            if (silent_until := self._until(owner, SILENT)) > time.monotonic():
                self._stall(link, silent_until)
            self._open.add(link)
            self.all_links.append(link)
            self._watch(link)

    def _watch(self, link):
        now = time.monotonic()
        still = link.stalled_until > now
        for sock, queue, eof in ((link.near, link.down, link.near_eof), (link.far, link.up, link.far_eof)):
            if sock is None:
                continue
            wanted = 0 if still or eof else selectors.EVENT_READ
            if queue and queue[0][0] <= now and not still:
                wanted |= selectors.EVENT_WRITE
            have = self._selector.get_map().get(sock)
            if wanted == 0 and have:
                self._selector.unregister(sock)
            elif wanted and not have:
                self._selector.register(sock, wanted, ("link", link))
            elif wanted and have.events != wanted:
                self._selector.modify(sock, wanted, ("link", link))

    def _drop_socket(self, link, name, how="end"):
        sock = getattr(link, name)
        if sock is not None:
            if sock in self._selector.get_map():
                self._selector.unregister(sock)
            _close(sock, how)
            setattr(link, name, None)

    def _end(self, link, why):
        if link.end is None:
            link.end, link.ended = why, time.monotonic()
            link.ghost_until = link.ended + GHOST_SECONDS

    def _cut(self, link, how):
        self._did("cut" if how == "reset" else "closed", link)
        self._end(link, "cut")
        self._drop_socket(link, "near", how)
        self._lose(link, "cut off on its way")
        self._lose_gifts(link)
        link.up, link.down = [], []

    # --- one link: everything that can be done now

    def _read(self, sock):
        try:
            return sock.recv(CHUNK)
        except BlockingIOError:
            return None

    def _pump(self, link):
        if link not in self._open:
            return
        now = time.monotonic()
        if link.stalled_until > now and link.end is None:
            self._watch(link)
            return
        if link.stalled_until and link.near is not None:
            self._pump_near(link, now)
            link.stalled_until = 0
        if link.swallow_until and link.swallow_until <= now and link.end is None:
            link.swallow_until = 0
            self._cut(link, link.swallow_how)
        self._pump_near(link, now)
        self._pump_far(link, now)
        self._send_up(link, now)
        self._send_down(link, now)
        self._finish(link, now)

    def _later_by(self, link, now):
        return now + link.delay if link.slow_until > now else now

    def _pump_near(self, link, now):
        while link.near is not None and not link.near_eof:
            try:
                data = self._read(link.near)
            except ConnectionError:
                data = b""
                if link.stalled_until:
                    # TCP would have had them in chargehand's queue, from where RST recalls them.
                    self._lose(link, "recalled")
                    link.up = []
            if data is None:
                return
            if data == b"":
                link.near_eof, link.near_ended = True, time.monotonic()
                self._end(link, "closed")
                self._drop_socket(link, "near")
                link.down = []
                return
            if link.swallow_until and not link.passes_up:
                self._lose(link, "swallowed", data)
            else:
                link.up.append((self._later_by(link, now), data))

    def _pump_far(self, link, now):
        while link.far is not None and not link.far_eof:
            try:
                data = self._read(link.far)
            except ConnectionError:
                data = b""
            if data is None:
                return
            if data == b"":
                link.far_eof, link.far_ended = True, now
                self.unanswered += link.asked
                link.asked = []
                self._end(link, "server")
                return
            self._hear_server(link, data, now)
            if link.near is not None and not link.swallow_until:
                link.down.append((self._later_by(link, now), data))
            elif link.swallow_until:
                self._lose_gifts(link)

    @staticmethod
    def _ready(queue, now):
        """The first chunk that is due, or None."""
        return queue[0][1] if queue and queue[0][0] <= now else None

    def _send(self, sock, queue, limit):
        """One chunk or a part of it: bytes sent, None when it would block, -1 when the other side is gone."""
        due, data = queue[0]
        part = data if limit is None else data[:limit]
        try:
            n = sock.send(part)
        except BlockingIOError:
            return None
        except OSError:
            return -1
        if n < len(data):
            queue[0] = (due, data[n:])
        else:
            queue.pop(0)
        return n

    def _send_up(self, link, now):
        while link.far is not None and self._ready(link.up, now) is not None:
            limit = link.up_cut[0] - link.up_sent if link.up_cut else None
            data = link.up[0][1]
            n = self._send(link.far, link.up, limit) if limit != 0 else 0
            if n is None:
                return
            if n < 0:
                self._lose(link, "left when the server had gone")
                link.up = []
                return
            link.up_sent += n
            self._hear_chargehand(link, data[:n], now)
            if link.up_cut and link.up_sent >= link.up_cut[0]:
                self._did("cut in a command", link)
                self._cut(link, link.up_cut[1])
                return

    def _send_down(self, link, now):
        while link.near is not None and self._ready(link.down, now) is not None:
            limit = link.down_cut[0] - link.down_sent if link.down_cut else None
            n = self._send(link.near, link.down, limit) if limit != 0 else 0
            if n is None:
                return
            if n < 0:
                link.down = []
                return
            link.down_sent += n
            for gift in link.gifts:
                if not gift.delivered and gift.end <= link.down_sent:
                    gift.delivered = True
            if link.down_cut and link.down_sent >= link.down_cut[0]:
                self._did("cut in a reply", link)
                self._cut(link, link.down_cut[1])
                return

    def _finish(self, link, now):
        if link.end == "server" and not link.down:
            self._drop_socket(link, "near")
        if link.near is None:
            # What chargehand said before it closed is on its way, as it would be in any network.
            waits = link.end != "cut" and link.up and not link.far_eof
            if link.far_eof or not (waits or link.fetching()) or now > link.ghost_until:
                self._drop_socket(link, "far")
                self._open.discard(link)
                return
        self._watch(link)

    # --- what is said

    @staticmethod
    def _word(link, line, now):
        verb, _, rest = line.rstrip(b"\r").partition(b" ")
        verb = verb.decode("latin-1")
        if verb == "HELLO":
            try:
                hello = json.loads(rest)
                link.wid = hello.get("wid")
                link.is_reporters = any(str(label).startswith("chargehand-") for label in hello.get("labels") or ())
            except ValueError:
                pass
        jid, errtype = _jid_of(rest) if verb in REPORTS else (None, None)
        return Word(now, link, verb, jid, errtype, tuple(rest.decode("latin-1").split()) if verb == "FETCH" else (),
                    rest.decode("utf-8", "replace") if verb == "FAIL" else "")

    def _lose(self, link, why, data=None):
        """What chargehand has sent, the data or all that is still here, does not reach the server."""
        if data is None:
            data = b"".join(chunk for _, chunk in link.up)
        now = time.monotonic()
        *lines, link.lost_line = ((link.lost_line or link.line) + data).split(b"\n")
        for line in lines + ([link.lost_line] if link.lost_line and why != "swallowed" else []):
            word = self._word(link, line, now)
            word.lost = why
            if word.verb in REPORTS or word.verb == "FETCH":
                self.lost.append(word)

    @staticmethod
    def _lose_gifts(link):
        for gift in link.gifts:
            gift.lost = not gift.delivered

    def _hear_chargehand(self, link, data, now):
        *lines, link.line = (link.line + data).split(b"\n")
        for line in lines:
            word = self._word(link, line, now)
            if word.verb != "END":
                link.asked.append(word)
            if word.verb in REPORTS:
                self.words.append(word)

    def _hear_server(self, link, data, now):
        link.reply += data
        while True:
            end = link.reply.find(b"\r\n")
            if end < 0:
                return
            kind, n, body = link.reply[:1], end + 2, b""
            if kind == b"$" and link.reply[1:end] != b"-1":
                size = int(link.reply[1:end])
                if len(link.reply) < n + size + 2:
                    return
                body = link.reply[n:n + size]
                n += size + 2
            head, link.reply = link.reply[:end], link.reply[n:]
            link.down_seen += n
            if not link.greeted:
                link.greeted = True
                continue
            if not link.asked:
                continue  # "-ERR" said unasked, before the server closes
            word = link.asked.pop(0)
            word.answer, word.answered = head.decode("latin-1"), now
            if word.verb == "HELLO" and word.answer == "+OK":
                link.welcomed = now
            link.last_reply = None
            if word.verb == "FETCH" and body:
                gift = Gift(now, link, _jid_of(body)[0], link.down_seen)
                link.last_reply = gift
                link.gifts.append(gift)
                self.gifts.append(gift)
