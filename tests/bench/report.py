# SPDX-License-Identifier: MIT
"""What the measurements come to: tables, and of each figure that is to be reached whether it was."""
import math
import statistics
import sys

REACHED, LEVEL, MISSED, LEFT_OUT = "reached", "level", "NOT REACHED", "not measured"


def interval(values):
    """The median, between the two values that have the true one between them in 19 of 20 cases, or as near as few values
    come to it: the true median is below the k-th of n as often as fewer than k of n coins show heads."""
    values, n, k = sorted(values), len(values), 1
    while sum(math.comb(n, i) for i in range(k + 1)) / 2**n <= 0.025:
        k += 1
    return values[k - 1], statistics.median(values), values[n - k]


class Output:
    def __init__(self, tap, required, slack):
        self.tap, self.required, self.slack = tap, required, slack
        self.verdicts = []  # (verdict, text)

    def line(self, text=""):
        print(("# " + text).rstrip() if self.tap else text, flush=True)

    def note(self, text):
        if sys.stderr.isatty():
            print(f"\r\033[K{text} ...", end="", file=sys.stderr, flush=True)

    def table(self, title, head, rows):
        if sys.stderr.isatty():
            print("\r\033[K", end="", file=sys.stderr, flush=True)
        rows = [[str(v) for v in row] for row in [head, *rows]]
        widths = [max(len(row[i]) for row in rows) for i in range(len(head))]
        self.line()
        self.line(title)
        for row in rows:
            self.line("  " + "  ".join(v.ljust(w) if i == 0 else v.rjust(w) for i, (v, w) in enumerate(zip(row, widths))))

    def check(self, name, value, limit, slack=None):
        """value is to be at most limit. slack: the most of --slack that it gets."""
        limit *= min(self.slack, slack or self.slack)
        self.say(REACHED if value <= limit else MISSED, f"{name}: {value:.4g}, at most {limit:.4g}")

    def compare(self, name, values, others, peer, limit=1.0, more=False):
        """Of each round what chargehand needed, and what the peer did in the same round; None: the peer is missing. Their
        ratio is to be at most limit, or with `more` at least that."""
        name = f"{name}, beside {peer}"
        if others is None:
            self.say(MISSED if self.required else LEFT_OUT, f"{name}: {peer} is missing")
            return
        limit = limit / self.slack if more else limit * self.slack
        low, middle, high = interval([v / o for v, o in zip(values, others, strict=True)])
        if (middle >= limit) if more else (middle <= limit):
            verdict = REACHED
        else:
            verdict = LEVEL if low <= limit <= high else MISSED
        self.say(verdict, f"{name}: {middle:.3f} ({low:.3f} to {high:.3f}), {'at least' if more else 'at most'} {limit:.3f}")

    def say(self, verdict, text):
        self.verdicts.append((verdict, text))

    def finish(self):
        self.line()
        if self.tap:
            print(f"1..{len(self.verdicts)}")
        for i, (verdict, text) in enumerate(self.verdicts, 1):
            if self.tap:
                text = text.replace("#", "")
                print(f"not ok {i} - {text}" if verdict == MISSED else
                      f"ok {i} # SKIP {text}" if verdict == LEFT_OUT else f"ok {i} - {text}")
            else:
                print(verdict.ljust(13) + text)
        return 1 if any(verdict == MISSED for verdict, _ in self.verdicts) else 0
