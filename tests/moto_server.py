"""moto's S3 server with one request at a time.

moto looks whether a condition holds and then writes, without a lock between, so two racing writers could both win. S3 does not do that.
"""

import threading

import moto.server

run_simple, lock = moto.server.run_simple, threading.Lock()


def run_one_by_one(host, port, app, **options):
    def one_by_one(environment, start):
        with lock:
            return list(app(environment, start))

    run_simple(host, port, one_by_one, **options)


moto.server.run_simple = run_one_by_one
moto.server.main()
