"""Mixed fleets: Python's services and ours in one namespace, two NGINXes with
the same service, tasks that services send to each other."""

import json
import threading

import harness


class OneSession(harness.Case):
    """Tasks of one session by both sides: what one has set the other one
    reads."""

    def test_count_goes_on_across_both(self):
        for services in (["counter", "py_counter", "counter", "py_counter"],
                         ["py_counter", "counter", "py_counter", "counter"],
                         ["py_counter", "py_counter", "counter", "counter"]):
            session = self.session()
            self.assertEqual(
                [self.control_plane.run(session, s) for s in services],
                ["1", "2", "3", "4"], services)

    def test_values_of_all_kinds_cross(self):
        values = {"text": "Zoë \u20ac \U0001f600 \"'\\\n", "none": None,
                  "yes": True, "n": 2**53, "x": 0.1, "list": [1, [2], {}],
                  "object": {"a": {"b": [None]}},
                  "with space": 1, "ключ": "Значение"}

        session = self.session()
        self.control_plane.run(session, "py_interop", set=values)
        task = self.control_plane.submit(session, "interop",
                                         get=list(values))
        self.assertEqual(self.wire.completed(task)["data"]["result"], values)

        session = self.session()
        self.control_plane.run(session, "interop", set=values)
        known = {k: v for k, v in values.items() if v is not None}
        self.assertEqual(
            self.control_plane.run(session, "py_interop", get=list(values)),
            str(known))

    def test_keys_of_the_other_side_are_kept(self):
        session = self.session()
        self.control_plane.run(session, "interop", set={"ours": 1})
        self.control_plane.run(session, "py_interop", set={"theirs": 2})
        self.control_plane.run(session, "interop", set={"again": 3})
        found = self.control_plane.run(session, "py_interop",
                                       get=["ours", "theirs", "again"])
        self.assertEqual(found, "{'ours': 1, 'theirs': 2, 'again': 3}")

    def test_what_python_has_pickled_is_kept_and_not_read(self):
        session = self.session()
        self.control_plane.run(session, "py_interop", set={"plain": 1},
                               pickled="date")
        task = self.control_plane.submit(session, "interop", set={"more": 2},
                                         get=["plain", "date"])
        self.assertEqual(self.wire.completed(task)["data"]["result"],
                         {"plain": 1})
        self.assertIn("pickled", self.nginx.log())
        self.assertEqual(
            self.control_plane.run(session, "py_interop",
                                   get=["plain", "date", "more"]),
            "{'plain': 1, 'date': datetime.date(2025, 1, 25), 'more': 2}")

    def test_questions_of_both_sides(self):
        session = self.session()
        for service in "py_ask", "ask", "py_ask", "ask":
            task = self.control_plane.submit(session, service)
            self.wire.waits(task)
            harness.http.post(
                f"{self.control_plane.url}/sessions/{session}/tasks/{task}"
                "/send_event", json={
                    "agent_id": service,
                    "event_obj_str": json.dumps({
                        "__is_pydantic": True, "value": {"response": "7"},
                        "qualified_name": "llama_index.core.workflow.events."
                                          "HumanResponseEvent"})},
            ).raise_for_status()
            self.assertEqual(
                self.control_plane.result(session, task)["result"], "7")
            self.assertEqual(len(self.wire.streamed(task)), 2)
            # What Python's engine leaves of a question it asks again, 3.5/13.
            session = self.session() if service == "py_ask" else session


class Replicas(harness.Case):
    """Bug 32: there, each replica runs each task."""

    def test_bug_32_two_nginxes_run_each_task_once(self):
        nginxes = [self.start(harness.Nginx, self.redis, self.control_plane,
                              shared="interop", shared_counter="counter")
                   for _ in range(2)]
        for name in "shared", "shared_counter":
            self.redis.listens(f"llama_deploy.{name}", 4)

        session = self.session()
        tasks = [self.control_plane.submit(session, "shared", stream=2,
                                           result=i) for i in range(40)]
        for i, task in enumerate(tasks):
            self.assertEqual(self.wire.completed(task)["result"], str(i))
        # One that ran twice would have told by now, or with the next ones.
        for i in range(1, 5):
            self.assertEqual(
                self.control_plane.run(session, "shared_counter"), str(i))
        for task in tasks:
            self.wire.completed(task)
            self.assertEqual(len(self.wire.streamed(task)), 3)

        # Both of them know each task, and either goes on alone.
        for nginx in nginxes:
            self.assertEqual(nginx.task("shared", tasks[0]).json()["status"],
                             "completed")
        self.assertEqual(nginxes[0].quit(), 0)
        self.assertEqual(
            self.control_plane.run(session, "shared_counter"), "5")

    def test_bug_32_both_have_their_share(self):
        nginxes = [self.start(harness.Nginx, self.redis, self.control_plane,
                              common="max_concurrent_tasks 2;", wide="interop")
                   for _ in range(2)]
        self.redis.listens("llama_deploy.wide", 4)
        gate = self.gate()
        session = self.session()
        tasks = [self.control_plane.submit(session, "wide", stream=1,
                                           gate=gate.path) for _ in range(8)]
        for task in tasks:
            self.wire.waits(task)       # eight slots of four workers
        gate.open()
        for task in tasks:
            self.wire.completed(task)
        workers = {
            self.redis.client.get(f"{{llama_deploy.wide}}:task:{task}")
            .split()[2] for task in tasks}
        self.assertEqual(len(workers), 4)
        for nginx in nginxes:
            self.assertEqual(nginx.quit(), 0)


class Relay(harness.Case):
    """Bug 40: there, a workflow with sub-workflows fails when it is
    deployed."""

    def relayed(self, *tasks, session=None, service="relay"):
        task = self.nginx.submit(service, session or self.session(),
                                 tasks=[{"service": s, "input": i}
                                        for s, i in tasks])
        return self.wire.completed(task)["data"]["result"]

    def test_bug_40_to_python_and_back(self):
        (event,) = self.relayed(("py_echo", {"arg1": "there"}))
        self.assertEqual(event["service"], "py_echo")
        self.assertEqual(event["status"], "completed")
        self.assertEqual(event["result"], "there_result")
        self.assertIsNone(event["error"])

    def test_bug_40_to_python_to_ours_and_back(self):
        events = self.relayed(("py_echo", {"arg1": "a"}),
                              ("echo", {"arg1": "b"}),
                              ("py_echo", {"arg1": "c"}),
                              ("interop", {"result": {"n": [1]}}))
        self.assertEqual([e["result"] for e in events],
                         ["a_result", "b_result", "c_result", {"n": [1]}])
        self.assertEqual(len({e["task_id"] for e in events}), 4)

    def test_bug_40_failures_come_back(self):
        events = self.relayed(("interop", {"fail": "on purpose"}),
                              ("py_interop", {"fail": "on purpose"}))
        self.assertEqual(events[0]["status"], "failed")
        self.assertEqual(events[0]["error"]["message"],
                         "Error in step 'begin': on purpose")
        # Python's services do not tell a failure from a result, 3.5/8.
        self.assertEqual(events[1]["result"],
                         "Error in step 'begin': on purpose")

    def test_bug_40_through_the_control_plane(self):
        session = self.session()
        self.assertEqual(
            json.loads(self.control_plane.run(session, "relay", tasks=[
                {"service": "py_echo", "input": {"arg1": "x"}}]))[0]["result"],
            "x_result")

    def test_bug_40_relays_of_relays(self):
        inner = {"tasks": [{"service": "py_echo", "input": {"arg1": "deep"}}]}
        (outer,) = self.relayed(("relay", inner))
        self.assertEqual(outer["result"][0]["result"], "deep_result")

    def test_bug_40_waiting_for_others_holds_no_slot(self):
        # as many as wait for each other could not all have one
        deep = {"tasks": [{"service": "echo", "input": {"arg1": "end"}}]}
        for _ in range(3):
            deep = {"tasks": [{"service": "relay", "input": deep}]}
        found = []
        threads = [threading.Thread(target=lambda: found.append(self.relayed(
            ("relay", deep), session=self.session()))) for _ in range(20)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        self.assertEqual(len(found), 20)

    def test_bug_40_delegate(self):
        nginx = self.start(harness.Nginx, self.redis, self.control_plane,
                           examples=["delegate"], delegate="delegate")
        self.assertEqual(self.control_plane.run(
            self.session(), "delegate", service="py_echo",
            input={"arg1": "x"}), "x_result")
        self.assertEqual(nginx.quit(), 0)
