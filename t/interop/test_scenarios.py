"""The end-to-end scenarios of llama_deploy's own suite, with its client, async
and sync, against our services; and against Python's, which shows that what is
asked here is what the reference does."""

import asyncio
import unittest

from llama_deploy import Client
from llama_index.core.workflow.events import HumanResponseEvent

import harness


def client(control_plane):
    return Client(control_plane_url=control_plane.url, timeout=30,
                  poll_interval=0.05)


class Scenarios:
    """prefix: of the services' names."""

    prefix = ""

    async def asyncSetUp(self):
        self.core = client(self.control_plane).core

    # Two events as they are streamed.

    def question(self):
        return {"prefix": "Enter a number: "}

    def stop(self, result):
        return {"result": result}

    async def streamed(self, session, task, begin=None):
        """The events as they came, and all of them.  The control plane may end
        a stream before its last ones (4.3/b); once the result is there it has
        them all.  begin: is called at the first one."""
        live = []
        async for event in session.get_task_result_stream(task):
            live.append(event)
            if begin and len(live) == 1:
                await begin()
        whole = [event async for event in session.get_task_result_stream(task)]
        return live, whole

    async def assert_streamed(self, session, task, expected, begin=None):
        live, whole = await self.streamed(session, task, begin)
        self.assertEqual(live, expected[:len(live)])
        self.assertEqual(whole, expected)

    async def test_basic(self):
        session = await self.core.sessions.create()
        result = await session.run(self.prefix + "echo", arg1="hello_world")
        self.assertEqual(result, "hello_world_result")

        (task,) = await session.get_tasks()
        self.assertEqual(task.agent_id, self.prefix + "echo")
        self.assertEqual(task.session_id, session.id)
        self.assertEqual(task.input, '{"arg1": "hello_world"}')

        await self.core.sessions.delete(session.id)
        self.assertNotIn(session.id,
                         [s.id for s in await self.core.sessions.list()])

    async def test_session(self):
        counter = self.prefix + "counter"
        session = await self.core.sessions.create()
        self.assertEqual(await session.run(counter), "1")
        self.assertEqual(await session.run(counter), "2")

        again = await self.core.sessions.get(session.id)
        self.assertEqual(await again.run(counter), "3")

        new = await self.core.sessions.create()
        self.assertEqual(await new.run(counter), "1")

    async def test_streaming(self):
        session = await self.core.sessions.create()
        task = await session.run_nowait(self.prefix + "progress",
                                        arg1="hello_world")
        await self.assert_streamed(session, task, [
            {"progress": 0.3}, {"progress": 0.6}, {"progress": 0.9},
            self.stop("hello_world_result_result_result")])

        result = await session.get_task_result(task)
        self.assertEqual(result.result, "hello_world_result_result_result")
        self.assertEqual(result.task_id, task)
        self.assertEqual(result.history, [])

    async def test_human_in_the_loop_answer_right_behind_the_task(self):
        ask = self.prefix + "ask"
        session = await self.core.sessions.create()
        task = await session.run_nowait(ask)
        await session.send_event(ask, task, HumanResponseEvent(response="42"))
        await self.assert_streamed(session, task,
                                   [self.question(), self.stop("42")])
        self.assertEqual((await session.get_task_result(task)).result, "42")

    async def test_human_in_the_loop_answer_to_the_question(self):
        ask = self.prefix + "ask"
        session = await self.core.sessions.create()
        task = await session.run_nowait(ask)
        await self.assert_streamed(
            session, task, [self.question(), self.stop("43")],
            lambda: session.send_event(
                ask, task, HumanResponseEvent(response="43")))

    async def test_error_result(self):
        session = await self.core.sessions.create()
        task = await session.run_nowait(self.prefix + "interop", fail="broken")
        await self.assert_streamed(session, task, [self.stop(None)])
        self.assertEqual((await session.get_task_result(task)).result,
                         "Error in step 'begin': broken")

    async def test_many_tasks_at_once(self):
        async def one(i):
            session = await self.core.sessions.create()
            return await session.run(self.prefix + "echo", arg1=str(i))

        self.assertEqual(await asyncio.gather(*map(one, range(20))),
                         [f"{i}_result" for i in range(20)])

    async def test_services_list(self):
        names = [service.id for service in await self.core.services.list()]
        for name in harness.Fleet.EXAMPLES:
            self.assertIn(self.prefix + name, names)


class Ours(Scenarios, harness.Case, unittest.IsolatedAsyncioTestCase):
    async def test_services_list_says_what_nginx_conf_says(self):
        said = self.control_plane.services()["echo"]
        self.assertEqual(said["service_name"], "echo")
        self.assertIsInstance(said["description"], str)


class Pythons(Scenarios, harness.Case, unittest.IsolatedAsyncioTestCase):
    """Its engine is a later one, in which two events have lost declared fields;
    ours says what that of llama_deploy's time did."""

    prefix = "py_"

    def question(self):
        return {"_data": super().question()}

    def stop(self, result):
        return {}

    async def assert_streamed(self, session, task, expected, begin=None):
        """Its services write old lists of events over new ones when they save
        a session (3.5/14): any of them may be missing."""
        for events in await self.streamed(session, task, begin):
            self.assertTrue(events)
            left = iter(expected)
            self.assertTrue(all(event in left for event in events), events)


class OursSync(harness.Case):
    """The sync client cannot be used where a loop runs."""

    def setUp(self):
        super().setUp()
        self.core = client(self.control_plane).sync.core

    def test_basic(self):
        session = self.core.sessions.create()
        self.assertEqual(session.run("echo", arg1="hello_world"),
                         "hello_world_result")
        self.assertEqual([t.agent_id for t in session.get_tasks()], ["echo"])

    def test_session(self):
        session = self.core.sessions.create()
        self.assertEqual([session.run("counter") for _ in range(3)],
                         ["1", "2", "3"])
        self.assertEqual(self.core.sessions.create().run("counter"), "1")

    def test_streaming(self):
        session = self.core.sessions.create()
        task = session.run_nowait("progress", arg1="hello_world")
        self.control_plane.result(session.id, task)
        self.assertEqual(list(session.get_task_result_stream(task)), [
            {"progress": 0.3}, {"progress": 0.6}, {"progress": 0.9},
            {"result": "hello_world_result_result_result"}])

    def test_human_in_the_loop(self):
        session = self.core.sessions.create()
        task = session.run_nowait("ask")
        session.send_event("ask", task, HumanResponseEvent(response="42"))
        self.assertEqual(
            self.control_plane.result(session.id, task)["result"], "42")

    def test_error_result(self):
        session = self.core.sessions.create()
        self.assertEqual(session.run("interop", fail="broken"),
                         "Error in step 'begin': broken")

    def test_services_list(self):
        self.assertIn("echo", [s.id for s in self.core.services.list()])


class Lists(harness.Case):
    """Who is listed when."""

    def test_deregistered_after_quit_and_by_no_reload(self):
        nginx = self.start(harness.Nginx, self.redis, self.control_plane,
                           leaves="echo")
        # Twice the register_interval would list it again.
        old = nginx.workers()
        nginx.popen.send_signal(harness.signal.SIGHUP)
        gone = []

        def reloaded():
            if "leaves" not in self.control_plane.services():
                gone.append(1)
            return not set(old) & set(nginx.workers())

        harness.wait_for(reloaded, "new workers", 40)
        nginx.wait()
        self.assertEqual(gone, [], "a reload takes it off the list")
        self.assertEqual(self.control_plane.run(self.session(), "leaves",
                                                arg1="x"), "x_result")

        self.assertEqual(nginx.quit(), 0)
        harness.wait_for(
            lambda: "leaves" not in self.control_plane.services(),
            "it to be taken off the list")
        self.assertIn("echo", self.control_plane.services())


class Namespaces(harness.Case):
    """Two control planes with two namespaces on one Redis; the namespaces come
    from the control planes."""

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.two = []
        for namespace in "core_one", "core_two":
            control_plane = harness.ControlPlane(cls.redis, namespace)
            cls.addClassCleanup(control_plane.kill)
            wire = harness.Wire(cls.redis, namespace)
            cls.addClassCleanup(wire.close)
            nginx = harness.Nginx(cls.redis, control_plane, basic="interop",
                                  counter="counter")
            cls.addClassCleanup(nginx.kill)
            cls.two.append((control_plane, wire, nginx))

    def test_services_of_the_same_name_do_not_mix(self):
        wires = [self.two[0][1], self.two[1][1]]
        for i, (control_plane, wire, _) in enumerate(self.two):
            before = [len(w.messages) for w in (*wires, self.wire)]
            session = control_plane.create_session()
            task = control_plane.submit(session, "basic", stream=2, result="x")
            self.assertEqual(control_plane.result(session, task)["result"], "x")
            self.assertEqual(len(wire.streamed(task)), 3)
            after = [len(w.messages) for w in (*wires, self.wire)]
            self.assertEqual([a - b for a, b in zip(after, before)],
                             [4 if w is wire else 0 for w in
                              (*wires, self.wire)])

    def test_sessions_do_not_mix(self):
        for control_plane, _, _ in self.two:
            session = control_plane.create_session()
            self.assertEqual([control_plane.run(session, "counter")
                              for _ in range(2)], ["1", "2"])
