# SPDX-License-Identifier: MIT
"""The smallest worker that uses `pyfaktory` as its README says. Jobs run in a pool of child processes."""
import logging
import os
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), ".."))
import jobs
from pyfaktory import Client, Consumer

if __name__ == "__main__":
    logging.basicConfig(level=os.environ.get("WORKER_LEVEL", "WARNING"))
    with Client(role="consumer") as client:
        consumer = Consumer(
            client=client,
            queues=os.environ.get("WORKER_QUEUES", "default").split(","),
            concurrency=int(os.environ.get("WORKER_CONCURRENCY", "1")),
        )
        for name, job in jobs.JOBS.items():
            consumer.register(name, job, bind=True)
        consumer.run()
