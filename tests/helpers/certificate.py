# SPDX-License-Identifier: MIT
"""A death certificate as the real server has it: in its Redis, and on the page that people look at.

  failure = check(self, server, jid, "WorkerSignaled", "was killed by SIGKILL", place="retries")

fails the test unless the job is there with this errtype and a message that the expression matches, both in ASCII, and all
of it within the limits of the server, and unless the pages show it. A page has 25 jobs: flush the server before.

  class Deaths(certificate.Case):        puppets (puppets.py) with jobs in hand, at the real server
      p = self.holder(stage)             of which one will be on the page of retries, and one on that of the dead
      self.check(p, "WorkerSignaled", "was killed by SIGKILL")
"""
import html
import re
import unittest
import urllib.request

import servers
from faktory_client import make_job, new_jid

PAGES = {"retries": "retries", "dead": "morgue"}


def page(server, name):
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    with opener.open(f"http://127.0.0.1:{server.web}/{name}", timeout=10) as answer:
        return html.unescape(answer.read().decode("utf-8"))


def check(test, server, jid, errtype, message, place="retries"):
    job = server.wait_jid(jid, place)
    failure = job["failure"]
    test.assertEqual(failure["errtype"], errtype, failure)
    test.assertRegex(failure["message"], message)
    lines = failure.get("backtrace") or []
    for text in (failure["errtype"], failure["message"]):
        test.assertTrue(text.isascii() and text.isprintable(), text)
    for text in lines:  # what a worker says may be in any language
        test.assertIsInstance(text, str)
        test.assertTrue(text.replace("\t", " ").isprintable(), text)
    test.assertLessEqual(len(failure["errtype"]), 100)
    test.assertLessEqual(len(failure["message"]), 1000)
    test.assertLessEqual(len(lines), 50)
    shown = page(server, PAGES[place])
    test.assertIn(f"{failure['errtype']}: {failure['message']}", shown)
    link = re.search(rf'href="/(\S+\|{re.escape(jid)})"', shown)
    shown = page(server, link[1].replace("|", "%7C"))
    for line in lines:
        test.assertIn(line, shown)
    return failure


class Case(unittest.TestCase):
    maxDiff = 2000

    def setUp(self):
        servers.need_real()
        self.server = servers.shared("real")
        self.server.flush()
        self.queue = f"q{new_jid()}"

    def holder(self, stage):
        p = stage.take()
        jobs = [make_job(queue=self.queue), make_job(queue=self.queue, retry=-1)]
        self.server.pushb(jobs)
        p.hello("a", wid=new_jid())
        for _ in jobs:
            p.send("a", f"FETCH {self.queue}\r\n".encode())
            p.receive("a", int(p.line("a")[1:]) + 2)
        p.jids = [job["jid"] for job in jobs]
        return p

    def check(self, puppet, errtype, message):
        for jid, place in zip(puppet.jids, ("retries", "dead")):
            check(self, self.server, jid, errtype, message, place)
