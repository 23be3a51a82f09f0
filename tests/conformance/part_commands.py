# SPDX-License-Identifier: MIT
"""Every verb, what is wrong with it, and the exact answer; line ends; END."""
import json
import time

from base import Case, Closed, make_job, new_jid, servers

NO_JSON = b"-ERR invalid JSON: unexpected end of JSON input\r\n"
BREAK = b"-ERR internal error\r\n"
NO_JID = b"-ERR jobs must have a reasonable jid parameter\r\n"
NIL, OK = b"$-1\r\n", b"+OK\r\n"


def bulk(text):
    return f"${len(text.encode())}\r\n{text}\r\n".encode()


class Commands(Case):
    def test_unknown(self):
        self.table(self.client(), [
            ("NOSUCH verb", b"-ERR unknown command NOSUCH\r\n"), ("", b"-ERR unknown command \r\n"),
            (" INFO", b"-ERR unknown command \r\n"), ("info", b"-ERR unknown command info\r\n"),
            ("FLUSHX", b"-ERR unknown command FLUSHX\r\n"), (b"\x00\xff", b"-ERR unknown command \x00\xff\r\n"),
            ("INFO\r", b"-ERR unknown command INFO\r\r\n"),
            ("BATCH NEW {}", b"-ERR batch subsystem is only available in Faktory Enterprise\r\n"),
            ("TRACK GET x", b"-ERR tracking subsystem is only available in Faktory Enterprise\r\n"),
            ("BATCH", b"-ERR batch subsystem is only available in Faktory Enterprise\r\n")])

    def test_push(self):
        def job(**more):
            return "PUSH " + json.dumps({**make_job(queue=self.queue), **more})

        def number(name, got, wanted="int"):
            return f"-ERR invalid JSON: json: cannot unmarshal {got} into Go struct field Job.{name} of type {wanted}\r\n".encode()

        self.table(self.client(), [
            (job(), OK), ("PUSH", BREAK), ("PUSH ", NO_JSON), ("PUSH {", NO_JSON), ("PUSH null", NO_JID), ("PUSH {}", NO_JID),
            ("PUSH x", b"-ERR invalid JSON: invalid character 'x' looking for beginning of value\r\n"),
            ("PUSH []", b"-ERR invalid JSON: json: cannot unmarshal array into Go value of type client.Job\r\n"),
            ('PUSH {"jid":"short"}', NO_JID), ('PUSH {"jid":"\u00e9\u00e9\u00e9"}', NO_JID),
            ('PUSH {"jid":"\u00e9\u00e9\u00e9\u00e9"}', b"-ERR jobs must have a jobtype parameter\r\n"),
            ('PUSH {"jid":"abcdefgh"}', b"-ERR jobs must have a jobtype parameter\r\n"),
            (job(args=None), b"-ERR jobs must have an args parameter\r\n"),
            (job(reserve_for=86401), b"-ERR jobs cannot be reserved for more than one day\r\n"),
            (job(reserve_for=86400), OK), (job(priority=9, unknown={"a": 1}), OK),
            (job(jid=5), number("jid", "number", "string")), (job(retry=1.5), number("retry", "number 1.5")),
            (job(retry="x"), number("retry", "string")), (job(retry=True), number("retry", "bool")),
            (job().replace('"retry": 25', '"retry": 1e2'), number("retry", "number 1e2")),
            (job(args={}), number("args", "object", "[]interface {}")),
            (job(custom=[]), number("custom", "array", "map[string]interface {}")),
            (job(at="x"), r"\A-ERR invalid timestamp for 'at': \"x\": .*\r\n\Z"),
            (job(queue="a b"), rb'-ERR cannot get "a b" queue: queue names must match \A[a-zA-Z0-9._-]+\z' + b"\r\n"),
            (job(queue="x\u00e9\"<"), '-ERR cannot get "x\u00e9\\"<" queue: queue names must match '.encode()
             + rb"\A[a-zA-Z0-9._-]+\z" + b"\r\n"),
            (job(queue="A.b-c_9" + self.queue), OK), (job(queue="x" * 300), OK), (job(queue="q:a"), r"\A-ERR cannot get"),
            (job(queue="*"), r"\A-ERR cannot get")])

    def test_push_to_the_default_queue(self):
        s = self.own_server()
        c = self.client(s)
        for name in ("", None):
            c.command("PUSH " + json.dumps({**make_job(), "queue": name}))
        self.assertEqual(len(s.queues()["default"]), 2)

    def test_pushb(self):
        jids = sorted(new_jid() for _ in range(3))
        jobs = [make_job(jid=jid, queue=self.queue) for jid in jids]
        del jobs[1]["jobtype"]
        self.table(self.client(), [
            ("PUSHB", BREAK), ("PUSHB ", NO_JSON), ("PUSHB []", bulk("{}")), ("PUSHB null", bulk("{}")),
            ("PUSHB {}", b"-ERR invalid JSON: json: cannot unmarshal object into Go value of type []client.Job\r\n"),
            ("PUSHB " + json.dumps(jobs), bulk(json.dumps({jids[1]: "jobs must have a jobtype parameter"}, separators=(",", ":")))),
            ('PUSHB [{"jid":"b"},{"jid":"a"},{}]', bulk(",".join(
                f'"{jid}":"jobs must have a reasonable jid parameter"' for jid in ("", "a", "b")).join("{}")))])
        self.assertEqual([job["jid"] for job in self.server.queues()[self.queue]], [jids[0], jids[2]])

    def test_fetch(self):
        c = self.client()
        c.push(queue=self.queue)
        self.table(c, [("FETCH", b"-ERR must call fetch with at least one queue\r\n"),
                       (f"FETCH  {self.queue}", rb"\A\$\d+\r\n\{.*\}\r\n\Z".decode())])
        self.assertIsNone(self.took(1.9, 2.5, c.command, "FETCH "))
        self.assertIsNone(self.took(1.9, 2.5, c.command, "FETCH no such queue q:a"))

    def test_ack(self):
        def bad(data):
            return (f"ACK {data}", f"-ERR invalid ACK {data}\r\n".encode())

        self.table(self.client(), [
            ("ACK", BREAK), bad(""), bad("x"), bad("{}"), bad("[]"), bad("null"), bad('"x"'), bad('{"jid":1}'), bad('{"JID":"n"}'),
            bad('{"jid":"n","x":1}'), bad('{"jid":"n"} x'), bad('{"jid":"n","x":{}}'), bad('{"jid":"a\tb"}'),
            ('ACK {"jid":""}', OK), ('ACK {"jid":null}', OK), ('ACK {"jid":"n","x":null}', OK), ('ACK {"jid":"n","x":"y"}', OK),
            ('ACK  {"jid":"n"}', OK),
            (b'ACK {"jid":"a\xff"}', OK), (b'ACK {"x\xff":1}', b'-ERR invalid ACK {"x\xff":1}\r\n')])

    def test_fail(self):
        def bad(data):
            return (f"FAIL {data}", f"-ERR invalid FAIL {data}\r\n".encode())

        missing = b"-ERR missing JID\r\n"
        self.table(self.client(), [
            ("FAIL", BREAK), bad(""), bad("x"), bad("[]"), bad('{"jid":1}'), bad('{"jid":"nosuch","errtype":5}'),
            bad('{"jid":"nosuch","backtrace":"a"}'), bad('{"jid":"nosuch","backtrace":["a",1]}'), bad('{"jid":"nosuch","message":"\t"}'),
            ("FAIL {}", missing), ("FAIL null", missing), ('FAIL {"jid":""}', missing), ('FAIL {"jid":null}', missing),
            ('FAIL {"jid":"nosuch"}', b"-ERR Job not found nosuch\r\n"), ('FAIL {"JID":"nosuch2"}', b"-ERR Job not found nosuch2\r\n"),
            ('FAIL {"jid":"\\u00e9\\u003c"}', "-ERR Job not found \u00e9<\r\n".encode()),
            ('FAIL {"jid":"\\ud800"}', "-ERR Job not found \ufffd\r\n".encode()),
            (b'FAIL {"jid":"\xff\xfe"}', "-ERR Job not found \ufffd\ufffd\r\n".encode())])

    def test_beat(self):
        def bad(data):
            return (f"BEAT {data}", f"-ERR invalid BEAT {data}\r\n".encode())

        wid = new_jid()
        self.table(self.client(wid=wid), [
            ("BEAT", BREAK), bad(""), bad("x"), bad("[]"), bad(f'{{"wid":"{wid}","rss_kb":"5"}}'), bad(f'{{"wid":"{wid}","rss_kb":5.5}}'),
            ("BEAT {}", b"-ERR unknown worker \r\n"), ('BEAT {"wid":"nosuch"}', b"-ERR unknown worker nosuch\r\n"),
            (f'BEAT {{"wid":"{wid}"}}', OK), (f'BEAT {{"WID":"{wid}","rss_kb":5,"x":[1]}}', OK),
            (f'BEAT {{"wid":"{wid}","current_state":"running"}}', OK)])

    def test_queue(self):
        self.table(self.client(), [
            ("QUEUE", BREAK), ("QUEUE PAUSE", BREAK), ("QUEUE ", b"-ERR no such QUEUE subcommand: \r\n"),
            ("QUEUE x", b"-ERR no such QUEUE subcommand: X\r\n"), ("QUEUE pause nosuch", OK), ("QUEUE RESUME nosuch other", OK),
            ("QUEUE REMOVE nosuch", OK), ("QUEUE LATENCY *", b"-ERR QUEUE LATENCY does not support wildcards\r\n"),
            ("QUEUE LATENCY nosuch", bulk('{"nosuch":0}'))])

    def test_queue_remove(self):
        c = self.client()
        c.push(queue=self.queue)
        c.command(f"QUEUE REMOVE {self.queue}")
        self.assertNotIn(self.queue, self.server.queues())
        self.assertNotIn(self.queue, c.info()["faktory"]["queues"])

    def test_mutate_errors(self):
        self.table(self.client(), [
            ("MUTATE", b"-ERR invalid format\r\n"), ('MUTATE {"cmd": "x"}', b"-ERR invalid format\r\n"),
            ("MUTATE x", b"-ERR invalid character 'x' looking for beginning of value\r\n"),
            ("MUTATE {}", b"-ERR unknown mutate operation\r\n"),
            ('MUTATE {"cmd":"nosuch","target":"retries"}', b"-ERR unknown mutate operation\r\n"),
            ('MUTATE {"cmd":"requeue"}', b"-ERR invalid target for mutation command\r\n"),
            ('MUTATE {"cmd":"requeue","target":"working"}', b"-ERR invalid target for mutation command\r\n"),
            ('MUTATE {"cmd":5}', b"-ERR json: cannot unmarshal number into Go struct field Operation.cmd of type string\r\n"),
            ('MUTATE {"cmd":"requeue","target":"retries","filter":{"jids":["nosuch12"]}}', OK)])

    def test_info(self):
        info = self.client().info()
        self.assertLessEqual({"now", "server_utc_time", "faktory", "server"}, set(info))
        self.assertLessEqual({"queues", "sets", "tasks", "total_failures", "total_processed", "total_enqueued", "total_queues"},
                             set(info["faktory"]))
        self.assertEqual(set(info["faktory"]["sets"]), {"dead", "retries", "scheduled", "working"})
        self.assertEqual(info["server"]["description"], "Faktory")
        self.assertIn("faktory", json.loads(self.client().command("INFO extra words")))

    def test_counts(self):
        s = self.own_server()
        c = self.client(s)
        jids = [self.held(c, retry=retry) for retry in (25, 25, 0, -1)]
        c.ack(jids[0])
        for jid in jids[1:]:
            c.fail(jid)
        c.push(queue=self.queue)
        self.assertEqual(s.counts(), {"queued": 1, "working": 0, "retries": 1, "dead": 1, "scheduled": 0, "processed": 4,
                                      "failures": 3, "connections": 1})
        self.assertEqual(c.info()["faktory"]["queues"], {self.queue: 1})
        c.fetch(self.queue)
        self.assertEqual(c.flush(), "OK")
        self.assertEqual({k: v for k, v in s.counts().items() if v}, {"connections": 1})

    def test_flush_forgets_no_reservation(self):
        s = self.own_server()
        c = self.client(s)
        one, two = self.held(c), self.held(c)
        c.flush()
        self.assertEqual(c.fail(one), "OK")
        self.refused(f"ERR Job not found {one}", c.fail, one)
        self.assertEqual(c.ack(two), "OK")
        self.assertEqual(s.counts()["retries"], 0)


class Lines(Case):
    def test_line_ends(self):
        c = self.client(eol=b"\n")
        self.assertEqual(c.ack("nosuch"), "OK")
        c.eol = b"\r\n"
        self.assertEqual(c.ack("nosuch"), "OK")
        c.send_raw(b'ACK {"jid":"n"}\r\r\n')
        self.assertEqual(c.raw_reply(), OK)  # a carriage return is white space to JSON
        c.send_raw(b"INFO\r\r\n")
        self.assertEqual(c.raw_reply(), b"-ERR unknown command INFO\r\r\n")

    def test_byte_by_byte(self):
        c = self.client()
        jid = self.held(c)
        for byte in f'ACK {{"jid":"{jid}"}}\r\n'.encode():
            c.send_raw(bytes([byte]))
            time.sleep(0.001)
        self.assertEqual(c.raw_reply(), OK)
        self.assertEqual(self.place(jid), None)

    def test_half_a_command(self):
        for end in (lambda c: c.close(), lambda c: c.close(reset=True), lambda c: c.sock.shutdown(1)):
            for half in ('FAIL {"jid":"%s"', 'FAIL {"jid":"%s"}', 'FAIL {"jid":"%s"}\r'):
                c = self.client()
                jid = self.held(c)
                c.send_raw((half % jid).encode())
                end(c)
                if c.sock.fileno() >= 0:
                    self.assertTrue(c.eof())
                probe = self.client()
                self.assertEqual(probe.ack("nosuch"), "OK")
                self.assertEqual(self.place(jid), "working", half)

    def test_end(self):
        for line in ("END", "END now"):
            c = self.client()
            jid = self.held(c)
            c.send_raw(line.encode() + b"\r\nFAIL " + json.dumps({"jid": jid}).encode() + b"\r\n")
            with self.assertRaises(Closed) as e:
                c.raw_reply()
            self.assertEqual(e.exception.partial, b"")
            self.assertEqual(self.place(jid), "working")
            self.assertEqual(self.client().ack(jid), "OK")

    def test_pipeline(self):
        c = self.client()
        jids = c.pushb([make_job(queue=self.queue, args=[i]) for i in range(500)])
        c.send_raw(b"".join(f'FETCH {self.queue}\r\nACK {{"jid":"{jid}"}}\r\nFAIL {{"jid":"{jid}"}}\r\n'.encode() for jid in jids))
        for jid in jids:
            self.assertEqual(json.loads(c.reply())["jid"], jid)
            self.assertEqual(c.raw_reply(), OK)
            self.assertEqual(c.raw_reply(), f"-ERR Job not found {jid}\r\n".encode())

    def test_last_words_are_carried_out(self):
        """Commands in one write and then the end, without reading: FIN and RST."""
        for reset in (False, True):
            c = self.client()
            c.pushb([make_job(queue=self.queue) for _ in range(300)])
            jids = [c.fetch(self.queue)["jid"] for _ in range(300)]
            c.send_raw(b"".join(f'FAIL {{"jid":"{jid}"}}\n'.encode() for jid in jids))
            c.close(reset=reset)
            wanted = set(jids)
            servers.wait_until(lambda: wanted <= {job["jid"] for job in self.server.retries()}, 10, f"300 retries, reset={reset}")

    def test_big_jobs(self):
        c = self.client(timeout=60)
        for size in (1 << 10, 1 << 16, 1 << 20, 10 << 20):
            text = "x" * size
            jid = c.push(args=[text], queue=self.queue)
            job = c.fetch(self.queue)
            self.assertEqual((job["jid"], job["args"]), (jid, [text]))
            self.assertEqual(c.fail(jid, backtrace=["y" * size]), "OK")
            c.mutate("discard", "retries", filter={"jids": [jid]})
            self.assertIsNone(self.place(jid))
