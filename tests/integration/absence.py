# SPDX-License-Identifier: MIT
"""What the tests of P8 share: a server that can be away or refuse, a worker, and reports that are looked for."""
import os
import signal
import time

import servers
from chargehand import Chargehand
from faktory_client import new_jid
from servers import wait_until

IN_TIME = 3.0  # a worker's library waits for 5 s at least; this leaves some of them to a busy machine


class Case(servers.Case):
    def begin(self, *options, url=None, env=None, **server):
        self.s = servers.make(self.kind, **server)
        self.addCleanup(self.s.close)
        self.c = Chargehand(self.s, url=url, env=env, options=["--restart", "never", *options])
        self.addCleanup(self.c.close)
        self.session = self.c.session(wid=f"w{new_jid()}")

    def held(self, n=1, session=None, **more):
        jids = [self.s.push(queue=self.queue, **more) for _ in range(n)]
        session = session or self.session
        taken = [wait_until(lambda: session.fetch(self.queue), what="a job") for _ in jids]  # asked again without a link
        self.assertEqual([job["jid"] for job in taken], jids)
        return jids

    def in_time(self, action, limit=IN_TIME):
        begun = time.monotonic()
        result = action()
        self.assertLess(time.monotonic() - begun, limit)
        return result

    def fail_ok(self, jid, message, session=None):
        """A FAIL that is answered +OK."""
        (session or self.session).fail(jid, message=message)

    def kill_worker(self, *sessions):
        for session in sessions:
            session.close()
        os.kill(self.c.worker_pid(), signal.SIGKILL)

    def check_failed(self, jid, message):
        failure = self.s.wait_jid(jid, "retries")["failure"]
        self.assertEqual((failure["message"], failure.get("retry_count", 0)), (message, 0))

    def check_gone(self, *jids):
        for jid in jids:
            self.s.wait_jid(jid, None)
