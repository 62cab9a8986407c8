"""llama_deploy 0.4.4: llama_peer.py N M.  N tasks are published at once, for a
service that is up; then M are sent one at a time.  Prints {"rate", "p50"} as
JSON.

Its control plane and a service as t/interop starts them, with a Redis of their
own; max_concurrent_tasks and step_interval as the environment has them
(WORKFLOW_SERVICE_...).  It has no queue that outlasts its process, so the tasks
cannot be there before it.
"""

import json
import os
import statistics
import sys
import time

TOP = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..", "..")
sys.path.insert(0, os.path.join(TOP, "t", "interop"))

import harness

PAD = "x" * int(os.environ.get("PEER_PAD", 280))
SECONDS = 120


def message(task, session):
    return json.dumps({
        "id_": harness.unique("m"), "publisher_id": "bench",
        "type": "echo", "action": "new_task",
        "data": {"task_id": task, "session_id": session,
                 "input": json.dumps({"arg1": PAD})},
    })


class Results:
    """Times at which tasks have ended."""

    def __init__(self, client):
        self.pubsub = client.pubsub(ignore_subscribe_messages=True)
        self.pubsub.subscribe("llama_deploy.control_plane")

    def next(self, end):
        while True:
            left = end - time.monotonic()
            if left <= 0:
                return None
            got = self.pubsub.get_message(timeout=left)
            if got and json.loads(got["data"])["action"] == "completed_task":
                return time.monotonic()


def main():
    n, m = int(sys.argv[1]), int(sys.argv[2])

    redis = harness.Redis()
    control_plane = harness.ControlPlane(redis)
    harness.PythonServices(control_plane, echo="echo")
    results = Results(redis.client)
    run = harness.unique("t")

    # One without a session has no result; tasks that share one lose some.
    sessions = [control_plane.create_session() for _ in range(n + m)]

    def send(i):
        redis.client.publish("llama_deploy.echo",
                             message(f"{run}-{i}", sessions[i]))

    began = time.monotonic()
    end = began + SECONDS
    for i in range(n):
        send(i)

    ended = []
    while len(ended) < n:
        when = results.next(end)
        if when is None:
            break
        ended.append(when)

    if len(ended) < 2:
        sys.exit("hardly any task has ended")

    took = []
    for i in range(m):
        start = time.monotonic()
        send(n + i)
        when = results.next(start + 30)
        if when:
            took.append(1e6 * (when - start))

    print(json.dumps({"n": len(ended), "of": n,
                      "rate": len(ended) / (ended[-1] - began),
                      "p50": statistics.median(took)}))


main()
