#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""What the measurements make of their figures: reached, level, missed or left out."""
import contextlib
import io
import math
import os
import sys
import unittest

sys.dont_write_bytecode = True
HERE = os.path.dirname(os.path.abspath(__file__))
sys.path[:0] = [HERE, os.path.join(HERE, "..", "helpers")]
import tap
from report import LEFT_OUT, LEVEL, MISSED, REACHED, Output, interval

HUNDRED = [100.0] * 12
TWELVE = [94, 95, 96, 97, 98, 99, 100, 101, 102, 103, 104, 105]


class Interval(unittest.TestCase):
    def test_it_is_between_two_of_the_values(self):
        self.assertEqual(interval([5, 1, 4, 2, 3]), (1, 3, 5))
        self.assertEqual(interval([7]), (7, 7, 7))
        self.assertEqual(interval(TWELVE), (96, 99.5, 103))
        self.assertEqual(interval(range(20)), (5, 9.5, 14))

    def test_how_often_it_has_the_true_one(self):
        """Of coins that show on which side of the true median each value is."""
        for n in range(6, 60):
            low, _, high = interval(range(1, n + 1))
            self.assertEqual(low - 1, n - high)
            outside = 2 * sum(math.comb(n, i) for i in range(low)) / 2**n
            self.assertLessEqual(outside, 0.05, n)
            self.assertGreater(2 * sum(math.comb(n, i) for i in range(low + 1)) / 2**n, 0.05, n)


class Verdicts(unittest.TestCase):
    def verdict(self, *args, required=False, slack=1.0, **more):
        self.output = Output(False, required, slack)
        self.output.compare("speed", *args, "snail", **more)
        return self.output.verdicts[0][0]

    def test_less_is_better(self):
        self.assertEqual(self.verdict([90.0] * 12, HUNDRED), REACHED)
        self.assertEqual(self.verdict(HUNDRED, HUNDRED), REACHED)
        self.assertEqual(self.verdict([101.0] * 12, HUNDRED), MISSED)
        self.assertEqual(self.verdict([v + 1 for v in TWELVE], HUNDRED), LEVEL)
        self.assertEqual(self.verdict([v + 4 for v in TWELVE], HUNDRED), LEVEL)
        self.assertEqual(self.verdict([v + 5 for v in TWELVE], HUNDRED), MISSED)

    def test_more_is_better(self):
        self.assertEqual(self.verdict([110.0] * 12, HUNDRED, more=True), REACHED)
        self.assertEqual(self.verdict([99.0] * 12, HUNDRED, more=True), MISSED)
        self.assertEqual(self.verdict(TWELVE, HUNDRED, more=True), LEVEL)
        self.assertEqual(self.verdict([v - 4 for v in TWELVE], HUNDRED, more=True), MISSED)

    def test_rounds_are_compared_one_by_one(self):
        """Half of them on a machine that is three times as slow."""
        slow = [100.0, 300.0] * 6
        self.assertEqual(self.verdict([v * 0.99 for v in slow], slow), REACHED)
        self.assertEqual(self.verdict([v * 1.01 for v in slow], slow), MISSED)

    def test_a_limit_and_a_slack(self):
        self.assertEqual(self.verdict([33.0] * 12, HUNDRED, limit=1 / 3), REACHED)
        self.assertEqual(self.verdict([34.0] * 12, HUNDRED, limit=1 / 3), MISSED)
        self.assertEqual(self.verdict([190.0] * 12, HUNDRED, slack=2.0), REACHED)
        self.assertEqual(self.verdict([210.0] * 12, HUNDRED, slack=2.0), MISSED)
        self.assertEqual(self.verdict([51.0] * 12, HUNDRED, slack=2.0, more=True), REACHED)
        self.assertEqual(self.verdict([49.0] * 12, HUNDRED, slack=2.0, more=True), MISSED)

    def test_a_missing_peer(self):
        self.assertEqual(self.verdict(HUNDRED, None), LEFT_OUT)
        self.assertEqual(self.verdict(HUNDRED, None, required=True), MISSED)

    def test_a_figure_without_a_peer(self):
        output = Output(False, False, 3.0)
        output.check("memory", 4096, 4096, slack=1)
        output.check("memory", 4097, 4096, slack=1)
        output.check("time", 29, 10)
        output.check("time", 31, 10)
        output.check("wake-ups", 0, 0)
        output.check("wake-ups", 0.1, 0)
        self.assertEqual([v for v, _ in output.verdicts], [REACHED, MISSED, REACHED, MISSED, REACHED, MISSED])


class Finish(unittest.TestCase):
    def finish(self, tap_wanted, *verdicts):
        output = Output(tap_wanted, False, 1.0)
        for v in verdicts:
            output.say(v, "speed")
        with contextlib.redirect_stdout(io.StringIO()) as text:
            status = output.finish()
        return status, text.getvalue().splitlines()[1:]

    def test_status(self):
        self.assertEqual(self.finish(False, REACHED, LEVEL, LEFT_OUT)[0], 0)
        self.assertEqual(self.finish(False, REACHED, MISSED)[0], 1)

    def test_tap(self):
        self.assertEqual(self.finish(True, REACHED, LEVEL, MISSED, LEFT_OUT)[1],
                         ["1..4", "ok 1 - speed", "ok 2 - speed", "not ok 3 - speed", "ok 4 # SKIP speed"])


if __name__ == "__main__":
    tap.main()
