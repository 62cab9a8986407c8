"""What llama_deploy 0.4 gets wrong, and we do not, where it is about state,
events or registration: one class for each, named after the number of the bug in
our notes about it, section 3.5, against the real control plane.  Some numbers
are in other files: 1, 4 and 39 in test_faults, 14 and 16 in test_parallel, 40
in test_fleets."""

import base64
import concurrent.futures
import json
import os
import time
import uuid

import harness

EVENTS = "llama_index.core.workflow.events."


def event(name, value):
    """As JsonSerializer writes it."""
    return json.dumps({"__is_pydantic": True, "value": value,
                       "qualified_name": name})


class Bugs(harness.Case):
    def outcome(self, service, session, **kwargs):
        """What a task has ended with, for the TaskResult's data."""
        return self.wire.completed(
            self.nginx.submit(service, session, **kwargs))["data"]

    def value(self, service, session, **kwargs):
        data = self.outcome(service, session, **kwargs)
        self.assertEqual(data["status"], "completed", data)
        return data["result"]

    def send_event(self, service, session, task, text):
        harness.http.post(
            f"{self.control_plane.url}/sessions/{session}/tasks/{task}"
            "/send_event",
            json={"agent_id": service, "event_obj_str": text},
        ).raise_for_status()

    def answer(self, service, session, task, response):
        self.send_event(service, session, task, event(
            EVENTS + "HumanResponseEvent", {"response": response}))


class Bug01(Bugs):
    """There: what fails before the run begins gives no result, ever."""

    def test_arguments_with_the_names_of_parameters(self):
        self.assertEqual(
            self.control_plane.run(self.session(), "echo", arg1="x", ctx=1,
                                   self="s", checkpoint_callback=None),
            "x_result")

    def test_a_state_that_is_no_state_is_told(self):
        for bad in ("not JSON", "[]", '{"state": 1}', '{"state": {"globals": '
                    '[]}}', '{"state": {"globals": {"count": 1}}}',
                    '{"state": null}', 5, None, {"state": {}}):
            session = self.session()
            self.control_plane.set_state(session, {session: bad})
            data = self.outcome("counter", session)
            if data["status"] == "completed":
                self.assertEqual(data["result"], 1, bad)
            else:
                self.assertEqual(data["status"], "failed", bad)
                self.assertIn("state", data["error"]["message"], bad)

    def test_one_bad_state_does_no_harm_to_other_sessions(self):
        session = self.session()
        self.control_plane.set_state(session, {session: "{"})
        self.outcome("counter", session)
        self.assertEqual(self.value("counter", self.session()), 1)


class Bug02(Bugs):
    """There: each process has another hash of a state, and refuses those of
    others."""

    def test_a_state_with_pythons_hash_is_read(self):
        session = self.session()
        self.control_plane.run(session, "py_counter")
        self.assertIsInstance(
            self.control_plane.workflow_state(session)["hash"], int)
        self.assertEqual(self.control_plane.run(session, "counter"), "2")
        self.assertIsNone(self.control_plane.workflow_state(session)["hash"])

    def test_a_session_goes_on_after_a_restart_and_on_a_replica(self):
        session = self.session()
        secret = harness.scratch.path("secret")
        with open(secret, "w") as file:
            file.write("a secret of the tests, long enough\n")
        for i in range(1, 4):
            nginx = self.start(
                harness.Nginx, self.redis, self.control_plane,
                signed=("counter", f"hash_secret_file {secret};"))
            self.assertEqual(self.control_plane.run(session, "signed"), str(i))
            self.assertEqual(nginx.quit(), 0)

        # no other state than one that we have signed
        nginx = self.start(harness.Nginx, self.redis, self.control_plane,
                           signed=("counter", f"hash_secret_file {secret};"))
        state = self.control_plane.workflow_state(session)
        self.assertIn("hmac", state)
        state["state"]["globals"]["count"] = "1000"
        self.control_plane.set_state(session, {session: json.dumps(state)})
        task = self.control_plane.submit(session, "signed")
        data = self.wire.completed(task)["data"]
        self.assertEqual(data["status"], "failed")
        self.assertIn("refused", data["error"]["message"])

        # which Python's take nevertheless: they do not know of it
        self.control_plane.set_state(session, {session: json.dumps(
            {**state, "state": {**state["state"], "globals": {"count": "7"}}}
        )})
        self.assertEqual(self.control_plane.run(session, "py_counter"), "8")

    def test_python_takes_ours_in_any_process(self):
        session = self.session()
        self.assertEqual(self.control_plane.run(session, "counter"), "1")
        python = self.start(harness.PythonServices, self.control_plane,
                            restarted="counter")
        self.assertEqual(self.control_plane.run(session, "restarted"), "2")
        python.kill()


class Bug03(Bugs):
    """There: a task without a session gives no result."""

    def test_no_session(self):
        self.assertEqual(self.value("echo", None, arg1="x"), "x_result")
        self.assertEqual([self.value("counter", None) for _ in range(2)],
                         [1, 1])

    def test_a_session_that_is_not_known(self):
        session = str(uuid.uuid4())
        data = self.outcome("counter", session)
        self.assertEqual(data["result"], 1)
        self.assertIs(data["session"]["saved"], False)

    def test_by_pubsub(self):
        task = harness.unique()
        self.redis.client.publish("llama_deploy.echo", json.dumps({
            "action": "new_task", "type": "echo",
            "data": {"task_id": task, "input": '{"arg1": "x"}'}}))
        self.assertEqual(self.wire.completed(task)["result"], "x_result")


class Bug05(Bugs):
    """There: a workflow that collects events cannot save its state, which
    takes its result along."""

    def test_collected_events(self):
        session = self.session()
        for _ in range(2):
            self.assertEqual(
                json.loads(self.control_plane.run(session, "fanout", n=5)),
                [0, 1, 4, 9, 16])
        self.assertEqual(self.control_plane.run(session, "counter"), "1")
        self.assertEqual(
            self.control_plane.workflow_state(session)["state"]
            ["event_buffers"], {})


class Bug09(Bugs):
    """There: results become Python's str()."""

    def test_results_keep_their_structure(self):
        session = self.session()
        for value in ({"a": [1, {"b": None}], "é": "ü"}, [1, 2.5, True], "text",
                      "", None, True, 0, 12345678901234567):
            task = self.control_plane.submit(session, "interop", result=value)
            result = self.control_plane.result(session, task)
            self.assertEqual(result["data"]["result"], value)
            self.assertEqual(self.wire.streamed(task), [{"result": value}])
            if isinstance(value, (dict, list)):
                self.assertEqual(json.loads(result["result"]), value)
            else:
                self.assertEqual(result["result"], str(value))

    def test_a_failure_is_told_from_a_result(self):
        session = self.session()
        text = "Error in step 'begin': why"
        failed = self.control_plane.result(session, self.control_plane.submit(
            session, "interop", fail="why"))
        said = self.control_plane.result(session, self.control_plane.submit(
            session, "interop", result=text))
        self.assertEqual(failed["result"], said["result"])
        self.assertEqual(failed["data"], {
            "status": "failed",
            "error": {"type": "WorkflowRuntimeError", "message": text}})
        self.assertEqual(said["data"],
                         {"status": "completed", "result": text})


class Bug10(Bugs):
    """There: an event that cannot be streamed becomes the result, while the
    workflow goes on."""

    def test_what_is_no_event_fails_the_step(self):
        for bad in "[]", "null", "{", "":
            session = self.session()
            task = self.nginx.submit("interop", session, stream=2, text=bad,
                                     set={"after": 1})
            data = self.wire.completed(task)["data"]
            self.assertEqual(data["status"], "failed")
            self.assertIn("Error in step 'begin': wf_stream",
                          data["error"]["message"])
            events = self.wire.streamed(task)
            self.assertEqual(events[-1], {"result": None})
            self.assertEqual([e["n"] for e in events[:-1]], [0, 1])
            self.assertEqual(self.value("interop", session, get=["after"]), {})


class Bug11(Bugs):
    """There: the argument "stepwise" makes the run wait for ever."""

    def test_stepwise_is_a_field(self):
        self.assertEqual(self.control_plane.run(
            self.session(), "echo", arg1="x", stepwise=True), "x_result")


class Bug12(Bugs):
    """There: with raise_exceptions the error is gone, and the service with
    it."""

    def test_the_error_and_the_input_are_kept(self):
        task = self.nginx.submit("raising", self.session(), fail="loud")
        state = harness.wait_for(
            lambda: (s := self.nginx.task("raising", task).json())["status"]
            == "dead" and s, "it to fail")
        self.assertEqual(state["error"], "Error in step 'begin': loud")
        letters = self.redis.client.xrange("{llama_deploy.raising}:dead")
        self.assertIn((task, '{"fail": "loud"}'),
                      [(l["task"], l["input"]) for _, l in letters])
        self.assertEqual(self.wire.of(task, "completed_task"), [])
        self.assertEqual(self.value("raising", self.session(), result=1), 1)


class Bug13(Bugs):
    """There: events of a failed task, and of one that has asked, are replayed
    to the next task of the session."""

    def test_a_failed_task_does_not_poison_its_session(self):
        session = self.session()
        self.assertEqual(self.value("interop", session, result=1, set={"a": 1}),
                         1)
        self.assertEqual(self.outcome("interop", session, fail="bad")["status"],
                         "failed")
        task = self.control_plane.submit(session, "interop", result=2)
        self.assertEqual(self.control_plane.result(session, task)["result"],
                         "2")
        self.assertEqual(self.wire.streamed(task), [{"result": 2}])

    def test_nor_does_one_of_python(self):
        session = self.session()
        self.control_plane.run(session, "py_interop", set={"a": 1})
        self.control_plane.run(session, "py_interop", fail="bad")
        self.assertTrue(any(self.control_plane.workflow_state(session)["state"]
                            ["in_progress"].values()),
                        "there is nothing to be poisoned by")
        self.assertEqual(self.control_plane.run(session, "interop", result=2,
                                                set={"b": 1}), "2")
        # ours has healed it for Python's too
        self.assertEqual(
            self.control_plane.run(session, "py_interop", result="3"), "3")

    def test_a_session_asks_once_a_task(self):
        session = self.session()
        for response in "1", "2", "3":
            task = self.control_plane.submit(session, "ask")
            self.wire.waits(task)
            self.answer("ask", session, task, response)
            self.assertEqual(
                self.control_plane.result(session, task)["result"], response)
            self.assertEqual(self.wire.streamed(task), [
                {"prefix": "Enter a number: "}, {"result": response}])

    def test_nor_is_a_task_that_was_cancelled_replayed(self):
        session = self.session()
        task = self.control_plane.submit(session, "ask")
        self.wire.waits(task)
        self.assertEqual(harness.http.delete(
            self.nginx.url(f"ask/tasks/{task}")).status_code, 202)
        self.assertEqual(self.wire.completed(task)["data"]["status"],
                         "cancelled")
        task = self.control_plane.submit(session, "ask")
        self.wire.waits(task)
        self.answer("ask", session, task, "5")
        self.assertEqual(self.wire.completed(task)["result"], "5")
        self.assertEqual(len(self.wire.streamed(task)), 2)


class Bug14(Bugs):
    """There: a service that saves its state writes back all of the session's,
    old streams and results included; in 3 of 40 runs the last event of a stream
    was lost."""

    def test_streams_and_results_of_the_session_are_whole(self):
        session = self.session()
        tasks = []
        for i in range(20):
            tasks.append(self.control_plane.submit(
                session, "interop", stream=3, set={"n": i}, result=i))
            self.control_plane.result(session, tasks[-1])
        state = self.control_plane.state(session)
        for i, task in enumerate(tasks):
            self.assertEqual([e["index"] for e in state[f"stream_{task}"]],
                             [0, 1, 2, 3])
            self.assertEqual(state[f"result_{task}"]["result"], str(i))
        self.assertEqual(self.control_plane.globals(session), {"n": 19})

    def test_keys_of_others_stay(self):
        session = self.session()
        self.control_plane.set_state(session, {"theirs": {"a": [1]}})
        gate = self.gate()
        task = self.nginx.submit("interop", session, stream=1, gate=gate.path,
                                 set={"a": 1})
        self.wire.waits(task)
        self.control_plane.set_state(session, {"meanwhile": 2})
        gate.open()
        self.wire.completed(task)
        state = self.control_plane.state(session)
        self.assertEqual((state["theirs"], state["meanwhile"]), ({"a": [1]}, 2))


class Bug15(Bugs):
    """There: while the session's state is {} nothing is saved, silently."""

    def test_an_empty_state_is_saved_to(self):
        session = self.session()
        self.assertEqual(self.control_plane.state(session), {})
        self.assertEqual([self.value("counter", session) for _ in range(2)],
                         [1, 2])


class Bug16(Bugs):
    """There: of tasks of a session that run at a time the last one to end
    overwrites what the others have saved."""

    def test_by_key(self):
        session = self.session()
        self.value("interop", session, set={"both": 0, "old": 0})
        gates = [self.gate(), self.gate()]
        tasks = [self.nginx.submit(
            "interop", session, stream=1, gate=gate.path,
            set={f"only{i}": i, "both": i}) for i, gate in enumerate(gates)]
        for task in tasks:
            self.wire.waits(task)
        for i in 1, 0:
            gates[i].open()
            self.wire.completed(tasks[i])
        self.assertEqual(self.control_plane.globals(session),
                         {"both": 0, "old": 0, "only0": 0, "only1": 1})


class Bug17(Bugs):
    """There: a session's state grows with each event of each task."""

    def test_the_state_does_not_grow(self):
        session = self.session()
        sizes = []
        for i in range(10):
            self.value("interop", session, stream=4, set={"n": 100 + i})
            self.assertEqual(self.value("fanout", session, n=20)[2], 4)
            sizes.append(len(self.control_plane.state(session)[session]))
        self.assertLessEqual(max(sizes), min(sizes) + 50)

    def test_what_python_has_let_grow_shrinks(self):
        session = self.session()
        for _ in range(5):
            self.control_plane.run(session, "py_counter")
        grown = len(self.control_plane.state(session)[session])
        self.assertEqual(self.control_plane.run(session, "counter"), "6")
        self.assertLess(len(self.control_plane.state(session)[session]),
                        grown / 2)


class Bug18(Bugs):
    """There: a WorkflowState without a context gives no result."""

    def test_a_state_without_a_context_is_a_fresh_one(self):
        for state in ({"hash": None, "state": {}, "run_kwargs": {},
                       "session_id": None, "task_id": "x"},
                      {"task_id": "x"}):
            session = self.session()
            self.control_plane.set_state(session, {session: json.dumps(state)})
            self.assertEqual([self.value("counter", session)
                              for _ in range(2)], [1, 2], state)

    def test_layouts_of_other_engines_are_read(self):
        january = {"globals": {"count": "41"}, "streaming_queue": "[]",
                   "queues": {}, "stepwise": False, "events_buffer": {},
                   "in_progress": {}, "accepted_events": [], "broker_log": [],
                   "waiter_id": "w", "is_running": False}
        later = {"state": {"state_data": {"_data": {"count": "41"}},
                           "state_type": "DictState",
                           "state_module": "workflows.context.state_store"},
                 "streaming_queue": "[]", "queues": {}, "stepwise": False,
                 "event_buffers": {}, "in_progress": {}, "accepted_events": [],
                 "broker_log": [], "is_running": False}
        for context in january, later:
            session = self.session()
            self.control_plane.set_state(session, {session: json.dumps({
                "hash": 123, "state": context, "run_kwargs": {},
                "session_id": session, "task_id": "x"})})
            self.assertEqual(self.value("counter", session), 42, context)
            self.assertEqual(self.control_plane.run(session, "py_counter"),
                             "43", context)


class Bug19(Bugs):
    """There: buffers of events are never removed, and a task that uses an id
    again gets what is in them."""

    def test_late_events_are_not_kept(self):
        session = self.session()
        task = self.control_plane.submit(session, "ask")
        self.wire.waits(task)
        self.answer("ask", session, task, "1")
        self.assertEqual(self.wire.completed(task)["result"], "1")
        self.answer("ask", session, task, "late")
        harness.wait_for(
            lambda: f'task "{task}": an event came after the task\'s end'
            in self.nginx.log(), "the line of the log")
        self.assertFalse(self.redis.client.exists(
            f"{{llama_deploy.ask}}:events:{task}"))
        self.wire.completed(task)

    def test_events_for_nobody_expire(self):
        task = harness.unique()
        self.answer("ask", self.session(), task, "x")
        key = f"{{llama_deploy.ask}}:events:{task}"
        harness.wait_for(lambda: self.redis.client.exists(key), "the event")
        self.assertGreater(self.redis.client.ttl(key), 0)

    def test_no_task_leaves_a_buffer(self):
        session = self.session()
        for _ in range(3):
            task = self.control_plane.submit(session, "inbox", n=2)
            for response in "a", "b":
                self.answer("inbox", session, task, response)
            self.wire.completed(task)
        self.assertEqual(
            self.redis.client.keys("{llama_deploy.inbox}:events:*"), [])


class Bug20(Bugs):
    """There: an event is given to a task each 0.1 s, and those that are left
    when it ends are lost."""

    def test_events_come_in_order_and_at_once(self):
        n = 50
        session = self.session()
        task = self.nginx.submit("inbox", session, n=n)
        self.wire.waits(task)
        began = time.monotonic()
        for i in range(n):
            self.assertEqual(self.nginx.post("inbox", "send_event", {
                "task_id": task, "session_id": session, "input": event(
                    EVENTS + "HumanResponseEvent", {"response": str(i)}),
            }).status_code, 200)
        result = self.wire.completed(task)["data"]["result"]
        self.assertLess(time.monotonic() - began, n * 0.1)
        self.assertEqual([e["response"] for e in result],
                         [str(i) for i in range(n)])

    def test_events_of_other_types_with_all_their_fields(self):
        session = self.session()
        task = self.nginx.submit("inbox", session, n=3)
        for name, value in (
                ("python_workflows.ApprovalEvent",
                 {"by": "a", "level": 2, "_data": {"extra": [1]}}),
                ("elsewhere.ApprovalEvent", {"by": "b", "level": 1}),
                (EVENTS + "HumanResponseEvent",
                 {"response": "c", "_data": {"user": {"id": 5}}})):
            self.send_event("inbox", session, task, event(name, value))
        self.assertEqual(self.wire.completed(task)["data"]["result"], [
            {"by": "a", "level": 2, "extra": [1]}, {"by": "b", "level": 1},
            {"response": "c", "user": {"id": 5}}])


class Bug25(Bugs):
    """There: a task that is sent again runs again, or replaces the one that is
    queued."""

    def test_sent_twice_runs_once(self):
        session = self.session()
        task = harness.unique()
        gate = self.gate()
        kwargs = {"stream": 1, "gate": gate.path, "set": {"a": 1}}
        with concurrent.futures.ThreadPoolExecutor(4) as pool:
            list(pool.map(lambda _: self.nginx.submit(
                "interop", session, task, **kwargs), range(8)))
        self.wire.waits(task)
        self.nginx.submit("interop", session, task, **kwargs)
        gate.open()
        self.wire.completed(task)
        self.nginx.submit("interop", session, task, **kwargs)

        answer = self.nginx.post("interop", "new_task", {
            "task_id": task, "session_id": session, "input": "{}"})
        self.assertEqual(answer.status_code, 409)

        # what ran again would have ended before this one
        self.value("interop", session)
        self.wire.completed(task)
        self.assertEqual(len(self.wire.streamed(task)), 2)

    def test_sent_twice_by_the_control_plane(self):
        session = self.session()
        gate = self.gate()
        task = {"agent_id": "interop", "task_id": harness.unique(),
                "input": json.dumps({"stream": 1, "gate": gate.path,
                                     "set": {"a": 1}})}

        def send():
            harness.http.post(
                f"{self.control_plane.url}/sessions/{session}/tasks",
                json=task).raise_for_status()

        # While it takes a task it writes the session back as it was before,
        # over what others have saved meanwhile: 4.3/a.
        send()
        send()
        self.wire.waits(task["task_id"])
        gate.open()
        self.control_plane.result(session, task["task_id"])
        self.assertEqual(self.value("interop", session, get=["a"]), {"a": 1})
        send()

        # what ran again would have ended before this one
        self.value("interop", session)
        self.wire.completed(task["task_id"])
        self.assertEqual(len(self.wire.streamed(task["task_id"])), 2)


class Bug27(Bugs):
    """There: no cancel, no status, no back-pressure."""

    def test_status_and_cancel(self):
        session = self.session()
        gate = self.gate()
        task = self.control_plane.submit(session, "interop", stream=1,
                                         gate=gate.path, set={"a": 1})
        self.wire.waits(task)
        state = self.nginx.task("interop", task).json()
        self.assertEqual((state["status"], state["session_id"]),
                         ("running", session))
        self.assertEqual(harness.http.delete(
            self.nginx.url(f"interop/tasks/{task}")).status_code, 202)

        result = self.control_plane.result(session, task)
        self.assertEqual(result["result"], "The task was cancelled.")
        self.assertEqual(result["data"]["status"], "cancelled")
        self.assertEqual(self.wire.streamed(task)[-1], {"result": None})
        self.assertEqual(self.nginx.task("interop", task).json()["status"],
                         "cancelled")
        self.assertEqual(self.value("interop", session, get=["a"]), {})

    def test_outstanding_tasks_are_bounded(self):
        nginx = self.start(
            harness.Nginx, self.redis, self.control_plane,
            bounded=("interop", "max_queued 3;"))
        gate = self.gate()
        statuses = [nginx.post("bounded", "new_task", {
            "task_id": f"bounded-{i}", "session_id": None,
            "input": json.dumps({"gate": gate.path})}).status_code
            for i in range(5)]
        self.assertEqual(statuses, [200] * 3 + [503] * 2)
        # by Pub/Sub the answer is a result
        session = self.session()
        task = self.control_plane.submit(session, "bounded")
        self.assertEqual(self.control_plane.result(session, task)["result"],
                         "The service's queue is full.")
        gate.open()
        for i in range(3):
            self.wire.completed(f"bounded-{i}")


class Bug37(Bugs):
    """There: a service that is started again, or a second one, may not
    start."""

    def test_started_again_and_again(self):
        session = self.session()
        for i in range(1, 4):
            nginx = self.start(harness.Nginx, self.redis, self.control_plane,
                               again="counter")
            second = self.start(harness.Nginx, self.redis, self.control_plane,
                                again="counter")
            self.assertEqual(self.control_plane.run(session, "again"), str(i))
            nginx.kill()
            self.assertEqual(second.quit(), 0)


class Bug38(Bugs):
    """There: a service is listed before it listens, and what is sent in between
    is lost."""

    def test_who_is_listed_listens(self):
        for i in range(5):
            name = f"listed{i}"
            nginx = harness.Nginx(self.redis, self.control_plane, start=False,
                                  **{name: "echo"})
            self.addCleanup(nginx.kill)
            nginx.start(wait=False)
            harness.wait_for(lambda: name in self.control_plane.services(),
                             "it to be listed")
            self.assertGreaterEqual(
                self.redis.subscribers(f"llama_deploy.{name}"), 1)
            self.assertEqual(self.control_plane.run(
                self.session(), name, arg1="x"), "x_result")
            self.assertEqual(nginx.quit(), 0)

    def test_on_the_topic_of_a_custom_namespace(self):
        control_plane = self.start(harness.ControlPlane, self.redis,
                                   "custom.namespace")
        nginx = self.start(harness.Nginx, self.redis, control_plane,
                           wait=False, listed="echo")
        control_plane.lists("listed")
        self.assertGreaterEqual(
            self.redis.subscribers("custom.namespace.listed"), 1)
        self.assertEqual(self.redis.subscribers("llama_deploy.listed"), 0)
        self.assertEqual(control_plane.run(control_plane.create_session(),
                                           "listed", arg1="x"), "x_result")
        self.assertEqual(nginx.quit(), 0)


class Bug41(Bugs):
    """There: no authentication; passwords are handed out."""

    PASSWORD = "s3cret-of-the-tests"

    def test_a_location_can_be_protected(self):
        users = harness.scratch.path("users")
        with open(users, "w") as file:
            file.write("ada:{PLAIN}lovelace\n")
        nginx = self.start(
            harness.Nginx, self.redis, self.control_plane, guarded="echo",
            location=f"auth_basic workflows; auth_basic_user_file {users};")
        url = nginx.url("guarded/process_message")
        message = {"action": "new_task", "data": {
            "task_id": "guarded", "session_id": None,
            "input": '{"arg1": "x"}'}}
        for auth in None, ("ada", "wrong"):
            self.assertEqual(harness.http.post(
                url, json=message, auth=auth).status_code, 401)
            self.assertEqual(harness.http.get(
                nginx.url("guarded/tasks/guarded"),
                auth=auth).status_code, 401)
        self.assertEqual(harness.http.post(
            url, json=message, auth=("ada", "lovelace")).status_code, 200)
        self.assertEqual(self.wire.completed("guarded")["result"], "x_result")
        # the control plane has no part in it
        self.assertEqual(self.control_plane.run(self.session(), "guarded",
                                                arg1="y"), "y_result")

    def test_passwords_of_the_queue_stay_where_they_are(self):
        store = self.start(harness.Redis, password=self.PASSWORD)
        control_plane = self.start(harness.ControlPlane, store)
        nginx = self.start(
            harness.Nginx, store, control_plane, queue="",
            common="message_queue_config on;", taken="counter")
        self.assertIn(self.PASSWORD, harness.http.get(
            f"{control_plane.url}/queue_config").text)
        session = control_plane.create_session()
        self.assertEqual([control_plane.run(session, "taken")
                          for _ in range(2)], ["1", "2"])

        said = [nginx.log(), json.dumps(control_plane.services()),
                json.dumps(control_plane.state(session)),
                harness.http.get(nginx.url("taken/")).text]
        store.kill()
        harness.wait_for(lambda: "connecting again" in nginx.log(),
                         "the loss of Redis")
        said.append(nginx.log())
        said.append(nginx.post("taken", "new_task", {"input": "{}"}).text)
        for text in said:
            self.assertNotIn(self.PASSWORD, text)

    def test_what_is_unpickled_there_is_not_here(self):
        marker = harness.scratch.path("unpickled")
        code = (b"cposix\nsystem\n(S'touch " + marker.encode() + b"'\ntR.")
        session = self.session()
        self.control_plane.set_state(session, {session: json.dumps({
            "hash": None, "run_kwargs": {}, "session_id": session,
            "task_id": "x", "state": {
                "globals": {"evil": base64.b64encode(code).decode(),
                            "count": "1"},
                "streaming_queue": "[]", "queues": {}, "stepwise": False,
                "events_buffer": {}, "in_progress": {}, "accepted_events": [],
                "broker_log": [], "is_running": False}})})
        self.assertEqual(self.value("counter", session), 2)
        self.assertFalse(os.path.exists(marker))


class Bug43(Bugs):
    """There: a streamed event does not tell its type."""

    def test_types_beside_what_the_control_plane_reads(self):
        nginx = self.start(harness.Nginx, self.redis, self.control_plane,
                           typed=("progress", "stream_event_types on;"))
        session = self.session()
        task = self.control_plane.submit(session, "typed", arg1="x")
        self.control_plane.result(session, task)
        self.assertEqual(
            [event["type"] for event in self.wire.of(task, "task_stream")],
            ["ProgressEvent"] * 3 + ["StopEvent"])
        self.assertEqual(
            [event["data"] for event
             in self.control_plane.state(session)[f"stream_{task}"]],
            self.wire.streamed(task))
        self.assertEqual(nginx.quit(), 0)
