# SPDX-License-Identifier: MIT
"""The smallest worker that uses `faktory` (cdrx) as its documentation says.

Jobs run in a pool of child processes, the default of the library. WORKER_THREADS=1
selects the library's threads instead (use_threads): then a job runs in the worker's own
process, and the job type "orphan" exists.
"""
import logging
import os
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), ".."))
import jobs
from faktory import Worker

threads = "WORKER_THREADS" in os.environ


def orphan(jid, seconds=0):
    """The first process ends with status 0 at once; its child finishes the job and sends the ACK
    on the connection that it inherited. Meant for WORKER_CONCURRENCY=1: with a free slot
    the dead parent's FETCH would still be outstanding on that connection."""
    jobs.log("start", jid)
    if os.fork():
        os._exit(0)
    time.sleep(seconds)
    jobs.log("done", jid)
    worker._ack(jid)
    os._exit(0)


if __name__ == "__main__":
    logging.basicConfig(level=os.environ.get("WORKER_LEVEL", "WARNING"))
    worker = Worker(
        queues=os.environ.get("WORKER_QUEUES", "default").split(","),
        concurrency=int(os.environ.get("WORKER_CONCURRENCY", "1")),
        use_threads=threads,
    )
    for name, job in jobs.JOBS.items():
        worker.register(name, job, bind=True)
    if threads:
        worker.register("orphan", orphan, bind=True)
    worker.run()
