"""The control plane goes away: at the start, at the load of a state, at its
save, and while tasks run."""

import harness


class Faults(harness.Case):
    """A control plane and an nginx of each test's own."""

    def setUp(self):
        super().setUp()
        self.control_plane = self.start(harness.ControlPlane, self.redis,
                                        harness.unique("faults"), start=False)
        self.namespace = self.control_plane.namespace
        self.wire = self.start(harness.Wire, self.redis, self.namespace)

    def launch(self, **options):
        return self.start(
            harness.Nginx, self.redis, self.control_plane,
            common="max_attempts 2; retry_delay 100ms; timeout 60s;",
            counter="counter", interop="interop", ask="ask", **options)

    def test_bug_39_restarted_lists_us_again(self):
        self.control_plane.start()
        nginx = self.launch()
        session = self.session()
        self.assertEqual(self.control_plane.run(session, "counter"), "1")

        self.control_plane.stop()
        self.control_plane.start()
        self.assertNotIn("counter", self.control_plane.services())
        nginx.wait()
        self.assertEqual(self.control_plane.run(session, "counter"), "2")

        # it may be killed as well
        self.control_plane.kill()
        self.control_plane.start()
        nginx.wait()
        self.assertEqual(self.control_plane.run(self.session(), "counter"),
                         "1")

    def test_restarted_while_tasks_run(self):
        self.control_plane.start()
        nginx = self.launch()
        session = self.session()
        gate = self.gate()
        tasks = [self.control_plane.submit(
            session, "interop", stream=1, gate=gate.path, result=i,
            set={f"key{i}": i}) for i in range(5)]
        question = self.control_plane.submit(session, "ask")
        for task in (*tasks, question):
            self.wire.waits(task)

        self.control_plane.stop()
        self.control_plane.start()
        nginx.wait()
        gate.open()

        for i, task in enumerate(tasks):
            result = self.control_plane.result(session, task)
            self.assertEqual(result["result"], str(i))
            self.assertNotIn("session", result["data"])
        self.assertEqual(self.control_plane.globals(session),
                         {f"key{i}": i for i in range(5)})

        harness.http.post(
            f"{self.control_plane.url}/sessions/{session}/tasks/{question}"
            "/send_event", json={"agent_id": "ask", "event_obj_str":
                '{"__is_pydantic": true, "value": {"response": "1"}, '
                '"qualified_name": "x.HumanResponseEvent"}'},
        ).raise_for_status()
        self.assertEqual(
            self.control_plane.result(session, question)["result"], "1")

    def test_ended_while_it_was_away(self):
        # nobody hears the result then, and it is not lost: GET tasks/ID
        self.control_plane.start()
        nginx = self.launch()
        session = self.session()
        gate = self.gate()
        task = self.control_plane.submit(session, "interop", stream=1,
                                         gate=gate.path, result=1)
        self.wire.waits(task)
        self.control_plane.stop()
        gate.open()
        self.assertEqual(self.wire.completed(task)["result"], "1")
        self.assertEqual(nginx.task("interop", task).json()["result"], 1)

    def test_away_at_start(self):
        nginx = self.launch(namespace=self.namespace, wait=False)
        self.redis.listens(f"{self.namespace}.interop", 2)
        # it works without, where there is no session
        task = nginx.submit("interop", None, result=1)
        self.assertEqual(self.wire.completed(task)["result"], "1")

        self.control_plane.start()
        nginx.wait()
        self.assertEqual(
            [self.control_plane.run(s, "counter")
             for s in [self.session()] * 2], ["1", "2"])

    def test_away_at_start_and_the_namespace_is_its(self):
        nginx = self.launch(wait=False)
        answer = nginx.post("interop", "new_task",
                            {"task_id": "early", "input": "{}"})
        self.assertEqual(answer.status_code, 503)
        self.assertIn("Retry-After", answer.headers)

        self.control_plane.start()
        nginx.wait()
        self.assertEqual(self.control_plane.run(self.session(), "interop",
                                                result="late"), "late")

    def test_quit_and_reload_before_it_was_there(self):
        nginx = self.launch(wait=False)
        old = nginx.workers()
        nginx.popen.send_signal(harness.signal.SIGHUP)
        harness.wait_for(lambda: not set(old) & set(nginx.workers()),
                         "new workers")
        self.assertEqual(nginx.quit(), 0)

    def test_bug_01_away_at_load(self):
        self.control_plane.start()
        nginx = self.launch()
        session = self.session()
        self.control_plane.stop()
        task = nginx.submit("interop", session, result=1)
        result = self.wire.completed(task)
        self.assertIn("could not be read from the control plane",
                      result["result"])
        self.assertEqual(result["data"]["status"], "failed")
        self.assertIn("could not be read",
                      result["data"]["error"]["message"])
        self.assertEqual(self.wire.streamed(task), [{"result": None}])
        state = nginx.task("interop", task).json()
        self.assertEqual((state["status"], state["attempts"]), ("dead", 2))

    def test_bug_01_back_before_the_last_attempt(self):
        self.control_plane.start()
        session = self.session()
        nginx = self.start(
            harness.Nginx, self.redis, self.control_plane,
            common="max_attempts 100; retry_delay 100ms; retry_delay_max 1s;",
            interop="interop")
        self.control_plane.stop()
        task = nginx.submit("interop", session, result=1, set={"a": 1})
        harness.wait_for(
            lambda: nginx.task("interop", task).json()["attempts"] >= 2,
            "two attempts")
        self.control_plane.start()
        self.assertEqual(self.wire.completed(task)["data"]["status"],
                         "completed")
        self.assertEqual(self.control_plane.globals(session), {"a": 1})

    def test_bug_04_away_at_save(self):
        self.control_plane.start()
        nginx = self.launch()
        session = self.session()
        self.assertEqual(self.control_plane.run(session, "counter"), "1")
        gate = self.gate()
        task = nginx.submit("interop", session, stream=1, gate=gate.path,
                            set={"lost": 1}, result={"done": True})
        self.wire.waits(task)
        self.control_plane.stop()
        gate.open()

        data = self.wire.completed(task)["data"]
        self.assertEqual(data["status"], "completed")
        self.assertEqual(data["result"], {"done": True})
        self.assertIs(data["session"]["saved"], False)
        self.assertTrue(data["session"]["error"])
        self.assertIn("not saved", nginx.log())

        # the session is as it was, and goes on
        self.control_plane.start()
        nginx.wait()
        self.assertEqual(self.control_plane.globals(session), {"count": 1})
        self.assertEqual(self.control_plane.run(session, "counter"), "2")

    def test_bug_04_the_session_is_deleted_meanwhile(self):
        self.control_plane.start()
        nginx = self.launch()
        session = self.session()
        gate = self.gate()
        task = nginx.submit("interop", session, stream=1, gate=gate.path,
                            set={"lost": 1}, result=1)
        self.wire.waits(task)
        harness.http.post(
            f"{self.control_plane.url}/sessions/{session}/delete")
        gate.open()
        data = self.wire.completed(task)["data"]
        self.assertEqual(data["status"], "completed")
        self.assertIs(data["session"]["saved"], False)
