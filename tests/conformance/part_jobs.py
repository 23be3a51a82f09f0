# SPDX-License-Identifier: MIT
"""What becomes of jobs: encoding, ACK and FAIL, retries, one jid twice, reports that come late."""
import datetime
import json
import time

from base import TIME, Case, make_job, new_jid


def ns(text):
    """A server's time in nanoseconds."""
    whole, _, fraction = text.rstrip("Z").partition(".")
    seconds = datetime.datetime.fromisoformat(whole + "+00:00").timestamp()
    return int(seconds) * 10**9 + int((fraction or "0").ljust(9, "0"))


class Encoding(Case):
    def through(self, text):
        """What FETCH says after a PUSH of this text, times masked; "JID" and "QUEUE" stand for themselves."""
        jid = new_jid()
        c = self.client()
        text = text.replace("QUEUE", self.queue).replace("JID", jid)
        self.assertEqual(c.command("PUSH " + text), "OK", text)
        answer = c.raw_command(f"FETCH {self.queue}")
        head, _, body = answer.partition(b"\r\n")
        self.assertEqual(head, b"$%d" % (len(body) - 2))
        self.assertTrue(body.endswith(b"\r\n"))
        c.ack(jid)
        body = TIME.sub(b"TIME", body[:-2]).replace(jid.encode(), b"JID").replace(self.queue.encode(), b"QUEUE")
        return body.decode()

    def test_key_order(self):
        self.assertEqual(
            self.through('{"args":[1],"jobtype":"T","jid":"JID","queue":"QUEUE","retry":3,"reserve_for":60,"backtrace":5,'
                         '"custom":{"z":1,"a":[1,{"b":2,"a":1}]},"priority":9,"foo":"bar","created_at":"2026-01-01T00:00:00Z",'
                         '"at":"2026-01-01T00:00:00Z","failure":{"retry_count":1,"backtrace":["b"],"errtype":"E","message":"m",'
                         '"next_at":"n","remaining":2,"failed_at":"f","x":1}}'),
            '{"retry":3,"failure":{"failed_at":"f","next_at":"n","message":"m","errtype":"E","backtrace":["b"],"retry_count":1,'
            '"remaining":2},"custom":{"a":[1,{"a":1,"b":2}],"z":1},"jid":"JID","queue":"QUEUE","jobtype":"T","created_at":"TIME",'
            '"enqueued_at":"TIME","at":"TIME","args":[1],"reserve_for":60,"backtrace":5}')

    def test_least(self):
        self.assertEqual(
            self.through('{"jid":"JID","jobtype":"T","args":[],"queue":"QUEUE","retry":25,"custom":{},"failure":{},"reserve_for":0,'
                         '"backtrace":0,"created_at":"","at":"","labels":null}'),
            '{"retry":25,"failure":{"failed_at":"","retry_count":0,"remaining":0},"jid":"JID","queue":"QUEUE","jobtype":"T",'
            '"created_at":"TIME","enqueued_at":"TIME","args":[]}')
        self.assertEqual(
            self.through('{"jid":"JID","jobtype":"T","args":[],"queue":"QUEUE","retry":25,"custom":null,"failure":null}'),
            '{"retry":25,"jid":"JID","queue":"QUEUE","jobtype":"T","created_at":"TIME","enqueued_at":"TIME","args":[]}')

    def args(self, text):
        out = self.through('{"jid":"JID","jobtype":"T","args":[%s],"queue":"QUEUE","retry":25}' % text)
        return out[out.index('"args":') + 8:-2]

    def test_numbers(self):
        for text, wanted in (
                ("1e3", "1000"), ("2.0", "2"), ("12345678901234567890", "12345678901234567000"), ("-0", "-0"), ("-0.0", "-0"),
                ("1.50", "1.5"), ("1e20", "100000000000000000000"), ("1e21", "1e+21"), ("1e-6", "0.000001"), ("1e-7", "1e-7"),
                ("123456789.125", "123456789.125"), ("9007199254740993", "9007199254740992"), ("0.1", "0.1"),
                ("1.7976931348623157e308", "1.7976931348623157e+308"), ("5e-324", "5e-324"), ("123e-20", "1.23e-18"),
                ("3.0e22", "3e+22"), ("-12.5e2", "-1250"), ("[1,[2.0]]", "[1,[2]]")):
            with self.subTest(text):
                self.assertEqual(self.args(text), wanted)

    def test_strings(self):
        for text, wanted in (
                ('"<>&"', '"\\u003c\\u003e\\u0026"'), ('"\\u2028\u2029"', '"\\u2028\\u2029"'), ('"\u00e9\U0001f600"', '"\u00e9\U0001f600"'),
                ('"\\u00e9\\ud83d\\ude00"', '"\u00e9\U0001f600"'), ('"\\ud800x"', '"\ufffdx"'), ('"\\/\\"\\\\"', '"/\\"\\\\"'),
                ('"\\n\\r\\t"', '"\\n\\r\\t"'), ('"\\u0000\\u001f\\u007f"', '"\\u0000\\u001f\x7f"'), ('{"<":1,"b":2,"B":3}', '{"\\u003c":1,"B":3,"b":2}'),
                ("null", "null"), ("[true,false,null]", "[true,false,null]"), ('{"a":1,"a":2}', '{"a":2}'), (' [ 1 , { } ] ', "[1,{}]")):
            with self.subTest(text):
                self.assertEqual(self.args(text), wanted)

    def test_control_characters(self):
        self.assertEqual(self.args('"\\b\\f\\u0008\\u000c"'), '"\\b\\f\\b\\f"')

    def test_bad_utf8(self):
        c = self.client()
        c.command(b'PUSH {"jid":"%s","jobtype":"T","args":["a\xff\xfe\xe2\x82b"],"retry":25,"queue":"%s"}'
                  % (new_jid().encode(), self.queue.encode()))
        self.assertEqual(c.fetch(self.queue)["args"], ["a\ufffd\ufffd\ufffd\ufffdb"])

    def test_jid_is_the_last_one(self):
        c = self.client()
        one, two = new_jid(), new_jid()
        c.command(f'PUSH {{"jid":"{one}","jobtype":"T","args":[],"queue":"{self.queue}","retry":1,"JID":"{two}"}}')
        self.assertEqual(c.fetch(self.queue)["jid"], two)
        self.assertEqual(c.ack(two), "OK")

    def test_other_jids_inside(self):
        c = self.client()
        jid = self.held(c, custom={"jid": "fakejid-1"}, args=[{"jid": "fakejid-2"}])
        body = json.dumps({"jid": jid})
        self.assertEqual(c.command(f"FAIL {body}"), "OK")
        self.assertEqual(self.place(jid), "retries")

    def test_odd_jids(self):
        c = self.client()
        for odd in ('a"b\\c-', "sp\u00e4ce jid ", "x|y|z-", "<&>\u2028-", "\u0001\u007f-", "'`$(x)-"):
            with self.subTest(odd):
                jid = self.held(c, jid=odd + new_jid())
                self.assertEqual(self.place(jid), "working")
                self.assertEqual(c.fail(jid), "OK")
                self.assertEqual(self.place(jid), "retries")


class Reports(Case):
    def test_ack(self):
        c, other = self.client(), self.client()
        jid = self.held(c)
        self.assertEqual(other.ack(jid), "OK")
        self.assertIsNone(self.place(jid))
        self.assertEqual(c.ack(jid), "OK")
        self.refused(f"ERR Job not found {jid}", c.fail, jid)

    def test_fail_then(self):
        c = self.client()
        jid = self.held(c)
        self.assertEqual(c.fail(jid, "m", "E", ["a", "b"]), "OK")
        failure = self.failure(jid)
        self.assertEqual({key: failure[key] for key in ("message", "errtype", "backtrace", "retry_count", "remaining")},
                         {"message": "m", "errtype": "E", "backtrace": ["a", "b"], "retry_count": 0, "remaining": 25})
        self.assertTrue(14.9 < (ns(failure["next_at"]) - ns(failure["failed_at"])) / 1e9 < 45.1)
        self.refused(f"ERR Job not found {jid}", c.fail, jid)
        self.assertEqual(c.ack(jid), "OK")
        self.assertEqual(self.place(jid), "retries")

    def test_not_fetched(self):
        c = self.client()
        jid = c.push(queue=self.queue)
        self.refused(f"ERR Job not found {jid}", c.fail, jid)
        self.assertEqual(c.ack(jid), "OK")
        self.assertEqual(self.place(jid), "queued")

    def again(self, c, jid, connection=None):
        """A job in retries, in somebody's hands again."""
        c.mutate("requeue", "retries", filter={"jids": [jid]})
        job = (connection or c).fetch(self.queue)
        self.assertEqual(job["jid"], jid)
        return job

    def test_retry(self):
        c = self.client()
        jid = self.held(c, retry=0)
        self.assertEqual(c.fail(jid), "OK")
        self.assertIsNone(self.place(jid))
        jid = self.held(c, retry=-1)
        self.assertEqual(c.fail(jid), "OK")
        failure = self.failure(jid, "dead")
        self.assertEqual((failure["retry_count"], failure["remaining"]), (0, -1))
        self.assertNotIn("next_at", failure)
        jid = self.held(c, retry=2)
        seen = []
        for _ in range(3):
            c.fail(jid)
            place, job = self.server.find(jid)
            seen.append((place, job["failure"]["retry_count"], job["failure"]["remaining"]))
            if place == "retries":
                self.again(c, jid)
        self.assertEqual(seen, [("retries", 0, 2), ("retries", 1, 1), ("dead", 2, 0)])

    def test_retry_of_others(self):
        """An explicit retry in a PUSH becomes everybody's default: a bug of the real server, and to be reckoned with."""
        s = self.own_server()
        c, other = self.client(s), self.client(s)
        for value, pushed in ((0, 0), (-1, -1), (3, 3), (25, 25)):
            c.push(retry=value, queue="other")
            for line in ("PUSH {}", "PUSHB [{}]"):
                other.command(line.replace("{}", json.dumps(make_job(retry=None, queue=self.queue))))
                self.assertEqual(other.fetch(self.queue)["retry"], pushed)
        c.pushb([make_job(retry=7, queue="other")])
        other.command("PUSH " + json.dumps({**make_job(queue=self.queue), "retry": None}))
        self.assertEqual(other.fetch(self.queue)["retry"], 25)

    def test_limits(self):
        c = self.client()
        for key, text, wanted in (
                ("errtype", b"A" * 150, "A" * 100), ("errtype", b"A" + "\u00e9".encode() * 80, "A" + "\u00e9" * 49 + "\ufffd"),
                ("message", b"B" * 1500, "B" * 1000), ("message", b"  x  ", "x"), ("message", b"   ", "unknown"),
                ("message", b"x\xff\xfey", "x\ufffd\ufffdy"), ("message", b"x\\ud800y", "x\ufffdy"),
                ("message", b"\\u0000<&>\\n", "\0<&>"), ("message", b"", "unknown"), ("errtype", b"", "unknown")):
            with self.subTest(key=key, text=text[:20]):
                jid = self.held(c)
                self.assertEqual(c.command(b'FAIL {"jid":"%s","%s":"%s"}' % (jid.encode(), key.encode(), text)), "OK")
                self.assertEqual(self.failure(jid)[key], wanted)

    def test_payload_forms(self):
        c = self.client()
        for more, wanted in (
                ("", {"errtype": "unknown", "message": "unknown"}), (',"ERRTYPE":"Big"', {"errtype": "Big"}),
                (',"errtype":"one","errtype":"two"', {"errtype": "two"}), (',"backtrace":null', {}), (',"foo":{"a":[1]}', {}),
                (',"backtrace":["a",null]', {"backtrace": ["a", ""]}), (',"backtrace":[]', {}),
                (',"backtrace":' + json.dumps([f"l{i}" for i in range(80)]), {"backtrace": [f"l{i}" for i in range(50)]}),
                (',"backtrace":["' + "L" * 100000 + '"]', {"backtrace": ["L" * 100000]})):
            with self.subTest(more[:40]):
                jid = self.held(c)
                self.assertEqual(c.command(f'FAIL {{"jid":"{jid}"{more}}}'), "OK")
                failure = self.failure(jid)
                self.assertEqual({key: failure[key] for key in wanted}, wanted)
                if "backtrace" not in wanted:
                    self.assertNotIn("backtrace", failure)

    def test_refused_is_still_held(self):
        c = self.client()
        jid = self.held(c)
        for line in (f'FAIL {{"jid":"{jid}","message":"x\ty"}}', f'FAIL {{"jid":"{jid}","errtype":5}}', f'ACK {{"jid":"{jid}","x":1}}',
                     f'ACK {{"JID":"{jid}"}}', "ACK", "FAIL"):
            self.assertTrue(c.raw_command(line).startswith(b"-ERR "))
        self.assertEqual(self.place(jid), "working")
        self.assertEqual(c.fail(jid), "OK")

    def test_failure_is_carried_on(self):
        """PUSH keeps a client's failure object, the next FAIL counts on."""
        c = self.client()
        jid = self.held(c, failure={"failed_at": "2026-01-01T00:00:00Z", "message": "old", "errtype": "O", "retry_count": 3, "remaining": 22})
        c.fail(jid, "new", "N")
        failure = self.failure(jid)
        self.assertEqual([failure[key] for key in ("failed_at", "message", "errtype", "retry_count", "remaining")],
                         ["2026-01-01T00:00:00Z", "new", "N", 4, 21])
        delay = (ns(failure["next_at"]) - time.time_ns()) / 1e9
        self.assertTrue(4**4 + 15 - 5 < delay < 4**4 + 15 + 29 * 5 + 1, delay)

    def test_back_to_its_queue(self):
        """ACK and PUSHB of the job as it came, in one write: nothing is lost, nothing counted."""
        c = self.client()
        jid = self.held(c, retry=3, custom={"a": 1})
        job = self.server.find(jid)[1]
        body = {key: job[key] for key in job if key not in ("wid", "reserved_at", "expires_at")}
        c.send_raw(f'ACK {{"jid":"{jid}"}}\r\nPUSHB {json.dumps([body])}\r\n'.encode())
        self.assertEqual((c.reply(), c.reply()), ("OK", b"{}"))
        again = c.fetch(self.queue)
        self.assertEqual({**again, "enqueued_at": ""}, {**body, "enqueued_at": ""})

    def test_late_fail_hits_the_next_run(self):
        a, b = self.client(), self.client()
        jid = self.held(a)
        a.fail(jid)
        self.again(a, jid, b)
        self.assertEqual(a.fail(jid, "again"), "OK")
        self.assertEqual(self.failure(jid)["retry_count"], 1)
        self.assertEqual(b.ack(jid), "OK")
        self.assertEqual(self.place(jid), "retries")
        self.refused(f"ERR Job not found {jid}", b.fail, jid)

    def test_late_ack_ends_the_next_run(self):
        a, b = self.client(), self.client()
        jid = self.held(a)
        a.fail(jid)
        self.again(a, jid, b)
        self.assertEqual(a.ack(jid), "OK")
        self.refused(f"ERR Job not found {jid}", b.fail, jid)
        self.assertIsNone(self.place(jid))

    def test_one_jid_twice(self):
        c = self.client()
        jid = new_jid()
        for _ in range(2):
            c.push(jid=jid, queue=self.queue)
        self.assertEqual([c.fetch(self.queue)["jid"] for _ in range(2)], [jid, jid])
        self.assertEqual([job["jid"] for job in self.server.working()].count(jid), 2)
        self.assertEqual(c.fail(jid), "OK")
        self.refused(f"ERR Job not found {jid}", c.fail, jid)
        self.assertEqual([job["jid"] for job in self.server.working()].count(jid), 1)

    def test_leases(self):
        c = self.client(wid=new_jid())
        for asked, seconds in ((None, 1800), (0, 1800), (1, 60), (59, 60), (-5, 60), (61, 61), (86400, 86400)):
            jid = c.push(queue=self.queue, reserve_for=asked)
            job = c.fetch(self.queue)
            self.assertEqual(job.get("reserve_for"), asked or None)
            held = self.server.find(jid)[1]
            self.assertEqual(ns(held["expires_at"]) - ns(held["reserved_at"]), seconds * 10**9)
            self.assertEqual(held["wid"], c.wid)

    def test_scheduled(self):
        c = self.client()
        later = c.push(queue=self.queue, at="2999-01-01T00:00:00.5+01:00")
        now = c.push(queue=self.queue, at="2001-01-01T00:00:00Z")
        self.assertEqual((self.place(later), self.place(now)), ("scheduled", "queued"))


class Mutate(Case):
    def failed(self, c, n, **more):
        jids = [self.held(c, **more) for _ in range(n)]
        for jid in jids:
            c.fail(jid)
        return jids

    def test_requeue(self):
        c = self.client()
        jids = self.failed(c, 3)
        waiting = c.push(queue=self.queue)
        c.mutate("requeue", "retries", filter={"jids": jids[:2] + ["nosuch123"]})
        self.assertEqual([self.place(jid) for jid in jids], ["queued", "queued", "retries"])
        self.assertEqual(c.fetch(self.queue)["jid"], waiting)  # to the end of the queue
        job = c.fetch(self.queue)
        self.assertIn("next_at", job["failure"])
        c.fail(job["jid"])
        self.assertEqual(self.failure(job["jid"])["retry_count"], 1)

    def test_where_a_jid_matches(self):
        c = self.client()
        wanted = new_jid()
        inside = self.held(c, args=[{"jid": wanted}])
        odd = self.held(c, jid="<&>" + new_jid())
        for jid in (inside, odd):
            c.fail(jid)
        c.mutate("requeue", "retries", filter={"jids": [wanted, odd]})
        self.assertEqual((self.place(inside), self.place(odd)), ("queued", "retries"))

    def test_kill_and_discard(self):
        c = self.client()
        kind = new_jid()
        jids = self.failed(c, 4, jobtype=kind)
        c.mutate("kill", "retries", filter={"jids": [jids[0]]})
        c.mutate("discard", "retries", filter={"jids": [jids[1]]})
        self.assertEqual([self.place(jid) for jid in jids], ["dead", None, "retries", "retries"])
        c.mutate("discard", "retries", filter={"jobtype": kind})
        c.mutate("requeue", "dead", filter={"regexp": f"*{jids[0]}*", "jobtype": kind})
        self.assertEqual([self.place(jid) for jid in jids], ["queued", None, None, None])

    def test_clear(self):
        s = self.own_server()
        c = self.client(s)
        for retry in (25, 25, -1):
            c.fail(self.held(c, retry=retry))
        c.mutate("clear", "retries")
        self.assertEqual((s.counts()["retries"], s.counts()["dead"]), (0, 1))
        c.mutate("discard", "dead")
        self.assertEqual(s.counts()["dead"], 0)
