"""Thirty tasks of one session at a time, each with events, a result and a key
of the session that it sets: on our side of the wire nothing is missing.  (What
the control plane itself loses under such load is not ours to test.)"""

import concurrent.futures

import harness

TASKS = 30
EVENTS = 5
ROUNDS = 20


class Parallel(harness.Case):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        # In a namespace that no control plane listens to: Python's takes a
        # hundred messages a second.  It keeps the states all the same.
        cls.apart = harness.Nginx(
            cls.redis, cls.control_plane, namespace="apart",
            common="max_concurrent_tasks 16; timeout 60s;", apart="interop")
        cls.addClassCleanup(cls.apart.kill)
        cls.apart_wire = harness.Wire(cls.redis, "apart")
        cls.addClassCleanup(cls.apart_wire.close)

    def check(self, wire, session, tasks):
        for i, task in enumerate(tasks):
            result = wire.completed(task, 60)
            self.assertEqual(result["data"],
                             {"status": "completed", "result": {"i": i}})
            self.assertEqual(
                wire.streamed(task),
                [{"task": task, "n": n} for n in range(EVENTS)]
                + [{"result": {"i": i}}])
            self.assertEqual(
                {m["session_id"] for m in wire.of(task, "task_stream")},
                {session})
        self.assertEqual(self.control_plane.globals(session),
                         {f"key{i}": i for i in range(TASKS)})

    def kwargs(self, i):
        return {"stream": EVENTS, "set": {f"key{i}": i}, "result": {"i": i}}

    def test_bugs_14_and_16_nothing_is_missing(self):
        with concurrent.futures.ThreadPoolExecutor(8) as pool:
            for _ in range(ROUNDS):
                session = self.session()
                tasks = list(pool.map(
                    lambda i: self.apart.submit("apart", session,
                                                **self.kwargs(i)),
                    range(TASKS)))
                self.check(self.apart_wire, session, tasks)
        # nor has anything come twice, or from nowhere
        self.assertEqual(len(self.apart_wire.messages),
                         ROUNDS * TASKS * (EVENTS + 2))

    def test_bugs_14_and_16_through_the_control_plane(self):
        # While it takes a task it writes the session back as it was before,
        # over what others have saved meanwhile: 4.3/a.  So all are there before
        # one may end.
        session = self.session()
        gate = self.gate()
        tasks = [self.control_plane.submit(
            session, "interop", gate=gate.path, **self.kwargs(i))
            for i in range(TASKS)]
        for task in tasks:
            self.wire.waits(task, EVENTS)
        gate.open()
        self.check(self.wire, session, tasks)

        for i, task in enumerate(tasks):
            self.assertEqual(
                self.control_plane.result(session, task)["data"]["result"],
                {"i": i})
