# SPDX-License-Identifier: MIT
"""Greeting, HELLO, passwords, the limit of connections."""
import json
import resource
import time

from base import Case, Client, Closed, pwdhash, socket


class Handshake(Case):
    def silent(self, first, **more):
        """Closed without a word after these first bytes?"""
        c = self.client(shake=False, **more)
        self.assertEqual(c.raw_reply(), b'+HI {"v":2}\r\n')
        c.send_raw(first)
        with self.assertRaises(Closed, msg=first) as e:
            c.raw_reply()
        self.assertEqual(e.exception.partial, b"")

    def test_greeting(self):
        c = self.client(shake=False)
        self.assertEqual(c.raw_reply(), b'+HI {"v":2}\r\n')
        c.send_raw(b'HELLO {"v":2}\r\n')
        self.assertEqual(c.raw_reply(), b"+OK\r\n")

    def test_hello_forms(self):
        for hello in (b'{"v":2}\n', b'{}\r\n', b'{"V":2,"WID":"x"}\r\n', b'{ "v" : 2 }  \r\n', b'{"v":2,"unknown":[1,{"a":2}]}\r\n',
                      b'{"v":2,"wid":null,"labels":null,"pid":null}\r\n', b'{"v":2,"pid":-1,"rss_kb":5}\r\n',
                      b'{"v":255}\r\n', b'{"v":2,"wid":"\xff"}\r\n'):
            c = self.client(shake=False)
            c.raw_reply()
            c.send_raw(b"HELLO " + hello)
            self.assertEqual(c.raw_reply(), b"+OK\r\n", hello)

    def test_hello_refused_without_a_word(self):
        for first in (b"HELLO{}\r\n", b"HELLO  {}\r\n", b"hello {}\r\n", b"HELLO {bad\r\n", b"PUSH {}\r\n", b"HELLO []\r\n",
                      b"\r\n", b'HELLO {"v":256}\r\n', b'HELLO {"v":-1}\r\n', b'HELLO {"v":"2"}\r\n', b'HELLO {"v":2.0}\r\n',
                      b'HELLO {"wid":5}\r\n', b'HELLO {"pid":"1"}\r\n', b'HELLO {"pid":1.5}\r\n', b'HELLO {"labels":"x"}\r\n',
                      b'HELLO {"labels":[1]}\r\n', b'HELLO {} x\r\n', b'HELLO {"a":NaN}\r\n', b'HELLO {"a":"\t"}\r\n'):
            self.silent(first)

    def test_commands_before_the_greeting_is_read(self):
        c = self.client(shake=False)
        c.send_raw(b'HELLO {"v":2}\r\nINFO\r\nFETCH none\r\n')
        self.assertEqual(c.raw_reply(), b'+HI {"v":2}\r\n')
        self.assertEqual(c.reply(), "OK")
        self.assertIn("faktory", json.loads(c.reply()))
        self.assertIsNone(c.reply())

    def test_two_seconds(self):
        c = self.client(shake=False)
        c.raw_reply()
        self.assertTrue(self.took(1.7, 2.6, c.eof))

    def test_two_seconds_byte_by_byte(self):
        c = self.client(shake=False)
        start = time.monotonic()
        with self.assertRaises(Closed):
            c.raw_reply()
            for byte in b'HELLO {"v":2,"x":1':
                c.send_raw(bytes([byte]))
                try:
                    c.sock.settimeout(0.3)
                    if not c.sock.recv(1):
                        raise Closed(False)
                except (TimeoutError, socket.timeout):
                    pass
                except ConnectionError as e:
                    raise Closed(True) from e
        self.assertLess(abs(time.monotonic() - start - 2.0), 0.6)

    def test_password_is_not_asked_for(self):
        c = self.client(hello={"pwdhash": "00", "v": 2})
        self.assertIn("faktory", c.info())


class Password(Case):
    PASSWORD = "s3 c\u00e9%+"

    def setUp(self):
        super().setUp()
        self.s = self.own_server(password=self.PASSWORD)

    def hello(self, **fields):
        """HELLO with a hash of so many rounds (None: as the greeting says); the answer's bytes."""
        c = self.client(self.s, shake=False)
        hi = json.loads(c.raw_reply()[4:])
        rounds = fields.pop("rounds", None) or hi["i"]
        change = fields.pop("change", lambda digest: digest)
        fields.setdefault("pwdhash", change(pwdhash(fields.pop("password", self.PASSWORD), hi["s"], rounds)))
        c.send("HELLO " + json.dumps(fields))
        answer = c.raw_reply()
        if answer != b"+OK\r\n":
            self.assertTrue(c.eof())
        return answer

    def test_greeting(self):
        seen = set()
        for _ in range(10):
            with Client(self.s.url, shake=False) as c:
                hi = c.raw_reply().decode()
            self.assertRegex(hi, r'\A\+HI \{"v":2,"i":[4-8]\d{3},"s":"[1-9a-f][0-9a-f]{0,15}"\}\r\n\Z')
            seen.add(hi)
        self.assertEqual(len(seen), 10)

    def test_rounds(self):
        bad = b"-ERR Invalid password\r\n"
        for version, one_round in ((None, True), (0, True), (1, True), (2, False), (3, False)):
            fields = {} if version is None else {"v": version}
            self.assertEqual(self.hello(rounds=1, **fields), b"+OK\r\n" if one_round else bad, version)
            self.assertEqual(self.hello(**fields), bad if one_round else b"+OK\r\n", version)

    def test_refused(self):
        bad = b"-ERR Invalid password\r\n"
        self.assertEqual(self.hello(v=2, password="wrong"), bad)
        self.assertEqual(self.hello(v=2, pwdhash=""), bad)
        self.assertEqual(self.hello(v=2, pwdhash=None), bad)
        self.assertEqual(self.hello(v=2, change=str.upper), bad)

    def test_works(self):
        c = self.client(self.s, wid="w")
        jid = self.held(c)
        self.assertEqual(c.ack(jid), "OK")


class Limit(Case):
    def test_connection_2001(self):
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        if hard < 2200:
            self.skipTest(f"only {hard} descriptors allowed")
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
        self.addCleanup(resource.setrlimit, resource.RLIMIT_NOFILE, (soft, hard))
        s = self.own_server()
        s._reset_admin()
        all_of_them = [self.client(s) for _ in range(2000)]
        self.assertEqual(all_of_them[-1].info()["server"]["connections"], 2000)
        c = self.client(s)  # its HELLO is answered +OK, then
        self.assertEqual(c.raw_reply(), b"-ERR too many connections: 2001\r\n")
        self.assertTrue(c.eof())
        self.assertEqual(all_of_them[0].raw_command("FETCH nothing")[:4], b"$-1\r")
        all_of_them[5].close()
        first = all_of_them[0]
        deadline = time.monotonic() + 5
        while first.info()["server"]["connections"] != 1999 and time.monotonic() < deadline:
            time.sleep(0.01)
        self.assertIn("server", self.client(s).info())
