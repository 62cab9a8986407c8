"""Celery: celery_peer.py PORT N M.  N tasks are queued before its workers
start; then M are sent one at a time.  Prints {"rate", "p50"} as JSON.

As its guide to optimizing says for short tasks: two prefork processes for two
cores, a large prefetch multiplier, the fast parser of Redis' client, no
gossip, mingling, heartbeats or events.  Results are kept, as ours are.
"""

import json
import os
import statistics
import subprocess
import sys
import time

import celery
import redis

PORT = os.environ.setdefault("PEER_PORT", sys.argv[1])
URL = f"redis://127.0.0.1:{PORT}/0"
PAD = "x" * int(os.environ.get("PEER_PAD", 280))

OWN_KEYS = ["celery", "unacked", "unacked_index", "_kombu.binding.celery",
            "_kombu.binding_permanent.celery", "_kombu.binding_deadlines"]


def application(backend):
    app = celery.Celery("celery_peer", broker=URL, backend=backend)
    app.conf.update(
        task_serializer="json",
        result_serializer="json",
        accept_content=["json"],
        worker_prefetch_multiplier=128,
        worker_disable_rate_limits=True,
        worker_send_task_events=False,
        result_expires=3600,
        broker_connection_retry_on_startup=True,
    )
    return app


app = application(URL)


@app.task(name="echo")
def echo(fields):
    return {"result": f"{fields['arg1']}_result"}


def fill(n):
    # A sender with a backend would subscribe to each of the results.
    sender = application("disabled://")
    with sender.producer_pool.acquire(block=True) as producer:
        for _ in range(n):
            sender.send_task("echo", ({"arg1": PAD},), producer=producer)


def worker():
    return subprocess.Popen(
        [sys.executable, "-W", "ignore", "-m", "celery", "-A", "celery_peer",
         "worker", "--pool=prefork", "--concurrency=2", "--without-gossip",
         "--without-mingle", "--without-heartbeat", "--loglevel=ERROR"],
        cwd=os.path.dirname(os.path.abspath(__file__)),
        stdout=subprocess.DEVNULL, stderr=sys.stderr)


def finished(client):
    return client.dbsize() - client.exists(*OWN_KEYS)


def drained(client, n):
    """Tasks a second, from the first result on."""
    first = began = None
    while True:
        done = finished(client)
        now = time.monotonic()
        if began is None and done > 0:
            first, began = done, now
        if done >= n:
            return (n - first) / (now - began)
        time.sleep(0.01)


def main():
    n, m = int(sys.argv[2]), int(sys.argv[3])
    client = redis.Redis(port=int(PORT))

    fill(n)
    process = worker()
    try:
        rate = drained(client, n)
        took = []
        for _ in range(m):
            began = time.perf_counter()
            echo.apply_async(({"arg1": PAD},)).get(timeout=30)
            took.append(time.perf_counter() - began)
    finally:
        process.terminate()
        process.wait()

    print(json.dumps({"n": n, "rate": rate,
                      "p50": 1e6 * statistics.median(took)}))


if __name__ == "__main__":
    main()
