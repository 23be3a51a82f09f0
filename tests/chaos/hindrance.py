# SPDX-License-Identifier: MIT
"""What keeps a chargehand from saying a FAIL, from when to when, and whether some time was full of such things. Pure.

  AWAY      the server was told to end, or killed, and does not answer yet
  REFUSED   the proxy resets new connections; those that are open go on
  SILENT    the proxy passes nothing on, whatever the connection
  DOWN      there is no chargehand; PAUSED: there is one, and it does not run
  SAID      the FAIL has been said, into a link that swallows it: its answer is waited for

windows() are the times that were long enough to say a FAIL in, and had none of these.
"""
import math

AWAY, REFUSED, SILENT, DOWN, PAUSED, SAID = "away", "refused", "silent", "down", "paused", "said"

# From the moment when nothing hinders it until a FAIL has left. A link that was lost is dialled again after 50 to 75 ms
# (LINK_REDIAL_FIRST_USEC); a chargehand that was started reads its journal and dials at once, and had its link after 10 to
# 75 ms. Connect, HI, HELLO, +OK and the FAIL, in one write with all others, are five turns of the proxy's. Of passwords one
# is hashed in a turn of the loop, 1.2 ms for each session that comes back. That is 0.2 s where nobody is in the way; but in
# a storm a chargehand starts together with all its workers, on processors that are busy. When the link that swallowed a
# FAIL is given up there are still 2.5 s in which it can be repeated: whoever forgets that leaves a longer window.
SAY_SECONDS = 0.5

# LINK_REDIAL_FIRST_USEC, LINK_REDIAL_MAX_USEC: the wait for the next dial doubles, and has up to a half of it added.
REDIAL_FIRST_SECONDS, REDIAL_MAX_SECONDS, REDIAL_MORE = 0.05, 2, 1.5


class Hindrance:
    def __init__(self, what, begin, end=math.inf):
        self.what, self.begin, self.end = what, begin, end

    def stop(self, when):
        self.end = min(self.end, when)

    def __repr__(self):
        return f"<{self.what} {self.begin:.3f} to {self.end:.3f}>"


def union(intervals):
    """[(begin, end)] in order, none touching another."""
    merged = []
    for begin, end in sorted(i for i in intervals if i[0] < i[1]):
        if merged and begin <= merged[-1][1]:
            merged[-1] = (merged[-1][0], max(merged[-1][1], end))
        else:
            merged.append((begin, end))
    return merged


def gaps(intervals, since, until):
    """What they leave free between the two."""
    free = []
    for begin, end in [*union(intervals), (until, math.inf)]:
        if since < min(begin, until):
            free.append((since, min(begin, until)))
        since = max(since, end)
    return free


def redial_seconds(failing):
    """The longest wait for the next dial, when dials have failed for so many seconds: the waits before it, each half of the
    next, are among them."""
    return REDIAL_MORE * min(failing + REDIAL_FIRST_SECONDS, REDIAL_MAX_SECONDS)


def without_dials(hindrances):
    """When a chargehand that had no link could not get one: its dials failed, or it waited for the next, as it does for the
    longer the longer they have failed. One that is started anew begins anew."""
    failing = union((h.begin, h.end) for h in hindrances if h.what in (AWAY, REFUSED))
    found = []
    for born, died in gaps([(h.begin, h.end) for h in hindrances if h.what == DOWN], -math.inf, math.inf):
        first = waits_until = -math.inf
        for begin, end in failing:
            begin, end = max(begin, born), min(end, died)
            if begin < end:
                first = begin if begin > waits_until else first
                waits_until = end + redial_seconds(end - first)
                found.append((begin, min(waits_until, died)))
    return found


def windows(hindrances, since, until, ready=()):
    """[(begin, end)]. ready: when its reporter had a link that had come to no harm, and needed no other."""
    undialled = [part for begin, end in without_dials(hindrances) for part in gaps(ready, begin, end)]
    solid = [(h.begin, h.end) for h in hindrances if h.what != REFUSED]
    return [(begin, end) for begin, end in gaps(solid + undialled, since, until) if end - begin > SAY_SECONDS]
