# SPDX-License-Identifier: MIT
"""A death certificate as the real server has it: in its Redis, and on the page that people look at.

  failure = check(self, server, jid, "WorkerSignaled", "was killed by SIGKILL", place="retries")

fails the test unless the job is there with this errtype and a message that the expression matches, both in ASCII, and all
of it within the limits of the server, and unless the pages show it. A page has 25 jobs: flush the server before.
"""
import html
import re
import urllib.request

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
