"""What the tests share: processes of their own on free ports of loopback, in a
temporary directory, ended whatever happens; and what goes over the wire."""

import atexit
import contextlib
import functools
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
import traceback
import unittest
import uuid

import httpx
import redis

HERE = os.path.dirname(os.path.abspath(__file__))
TOP = os.path.dirname(os.path.dirname(HERE))
BUILD = os.path.abspath(os.environ["BUILD"])
MODULE = os.environ.get("TEST_NGINX_MODULE",
                        f"{BUILD}/ngx_http_workflow_module.so")
PLUGINS = os.environ.get("TEST_NGINX_WORKFLOWS", f"{BUILD}/workflows")
NGINX = os.environ.get("TEST_NGINX_BINARY", "nginx")

ALARM = re.compile(r"\[(?:alert|emerg|crit)\]|Sanitizer|runtime error:")

http = httpx.Client(timeout=30)


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def unique(what="t"):
    return f"{what}-{uuid.uuid4().hex[:12]}"


def wait_for(ask, what, seconds=20):
    """Ask until the answer is true, and return it."""
    end = time.monotonic() + seconds
    while True:
        answer = ask()
        if answer:
            return answer
        if time.monotonic() > end:
            raise AssertionError(f"not in {seconds} s: {what}")
        time.sleep(0.01)


class Scratch:
    """The temporary directory, and all processes, newest last."""

    def __init__(self):
        self.dir = tempfile.mkdtemp(prefix="workflow-interop-")
        os.chmod(self.dir, 0o755)
        self.running = []
        self.logs = []
        atexit.register(self.clean_up)

    def path(self, name):
        return os.path.join(self.dir, name)

    def clean_up(self):
        for process in reversed(self.running[:]):
            with contextlib.suppress(Exception):
                process.kill()
        shutil.rmtree(self.dir, ignore_errors=True)


scratch = Scratch()


class Process:
    """A process and its log file."""

    def __init__(self, name):
        self.name = unique(name)
        self.log_path = scratch.path(f"{self.name}.log")
        self.popen = None
        scratch.logs.append(self)

    def spawn(self, *command, env=None):
        with open(self.log_path, "ab") as log:
            self.popen = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                cwd=TOP, env={**os.environ, **(env or {})})
        scratch.running.append(self)

    def alive(self):
        if self.popen.poll() is not None:
            raise AssertionError(f"{self.name} has ended: {self.log()[-3000:]}")

    def end(self, number, seconds=20):
        """Send a signal and wait; returns the exit status."""
        self.popen.send_signal(number)
        try:
            status = self.popen.wait(seconds)
        except subprocess.TimeoutExpired:
            self.kill()
            raise AssertionError(f"{self.name} has not ended in time") from None
        self.ended()
        return status

    def kill(self):
        if self.popen:
            self.popen.kill()
            self.popen.wait()
            self.ended()

    def ended(self):
        self.popen = None
        scratch.running.remove(self)

    def log(self):
        with contextlib.suppress(FileNotFoundError):
            with open(self.log_path, errors="replace") as log:
                return log.read()
        return ""


class Redis(Process):
    def __init__(self, password=None):
        super().__init__("redis")
        self.port = free_port()
        auth = f":{password}@" if password else ""
        self.url = f"redis://{auth}127.0.0.1:{self.port}/0"
        self.password = password
        self.start()

    def start(self):
        command = ["redis-server", "--bind", "127.0.0.1",
                   "--port", str(self.port), "--dir", scratch.dir,
                   "--save", "", "--appendonly", "no",
                   "--loglevel", "warning"]
        if self.password:
            command += ["--requirepass", self.password]
        self.spawn(*command)
        self.client = redis.Redis.from_url(self.url, decode_responses=True)
        wait_for(self.answers, "Redis")

    def answers(self):
        self.alive()
        with contextlib.suppress(redis.exceptions.ConnectionError):
            return self.client.ping()
        return False

    def subscribers(self, topic):
        return self.client.pubsub_numsub(topic)[0][1]

    def listens(self, topic, count=1, seconds=20):
        wait_for(lambda: self.subscribers(topic) >= count,
                 f"{count} subscribers of {topic}", seconds)


class ControlPlane(Process):
    """The one of llama_deploy."""

    def __init__(self, on, namespace="llama_deploy", start=True):
        super().__init__("control-plane")
        self.redis = on
        self.namespace = namespace
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.store = scratch.path(f"{self.name}.json")
        if start:
            self.start()

    def start(self):
        self.spawn(sys.executable, "-W", "ignore", f"{HERE}/launch.py",
                   "control_plane", json.dumps({
                       "redis": self.redis.url, "namespace": self.namespace,
                       "port": self.port, "store": self.store}))
        wait_for(self.answers, "the control plane", 60)

    def answers(self):
        self.alive()
        with contextlib.suppress(httpx.TransportError):
            return http.get(self.url).status_code == 200
        return False

    def stop(self):
        """What it knows is there when it is started again, but for the
        services."""
        self.end(signal.SIGUSR1)

    def services(self):
        return http.get(f"{self.url}/services").raise_for_status().json()

    def lists(self, *names, seconds=20):
        wait_for(lambda: self.services().keys() >= set(names),
                 f"{names} to be listed", seconds)

    def create_session(self):
        return http.post(f"{self.url}/sessions/create") \
            .raise_for_status().json()

    def state(self, session):
        return http.get(f"{self.url}/sessions/{session}/state") \
            .raise_for_status().json()

    def set_state(self, session, state):
        http.post(f"{self.url}/sessions/{session}/state", json=state) \
            .raise_for_status()

    def workflow_state(self, session):
        """What services have saved for the session."""
        return json.loads(self.state(session)[session])

    def globals(self, session):
        """Its context, as ours writes it."""
        values = self.workflow_state(session)["state"]["globals"]
        return {key: json.loads(text) for key, text in values.items()}

    def submit(self, session, service, /, **kwargs):
        """A task, the way of the client; returns its id."""
        return http.post(f"{self.url}/sessions/{session}/tasks", json={
            "input": json.dumps(kwargs), "agent_id": service,
            "task_id": str(uuid.uuid4()),
        }).raise_for_status().json()

    def result(self, session, task, seconds=30):
        """Its TaskResult, once the control plane has it."""
        url = f"{self.url}/sessions/{session}/tasks/{task}/result"
        return wait_for(lambda: http.get(url).raise_for_status().json(),
                        f"the result of {task}", seconds)

    def run(self, session, service, /, **kwargs):
        return self.result(session,
                           self.submit(session, service, **kwargs))["result"]


class PythonServices(Process):
    """Services of llama_deploy in one process: name=workflow."""

    def __init__(self, control_plane, timeout=10.0, **services):
        super().__init__("python")
        self.control_plane = control_plane
        self.services = [
            {"name": name, "workflow": workflow, "port": free_port(),
             "timeout": timeout} for name, workflow in services.items()]
        self.start()

    def start(self):
        # The hash of strings, with which it signs, differs between processes.
        self.spawn(sys.executable, "-W", "ignore", f"{HERE}/launch.py",
                   "services", json.dumps({
                       "control_plane": self.control_plane.port,
                       "services": self.services}),
                   env={"PYTHONHASHSEED": "random"})
        names = [service["name"] for service in self.services]
        for name in names:
            topic = f"{self.control_plane.namespace}.{name}"
            wait_for(lambda: self.alive() or self.control_plane.redis
                     .subscribers(topic) >= 1, f"{name} to subscribe", 60)
        self.control_plane.lists(*names)


@functools.cache
def plugin():
    """t/plugins/interop.c, compiled."""
    path = scratch.path("interop.so")
    subprocess.run(
        [os.environ.get("CC", "cc"), "-std=gnu99", "-Wall", "-Wextra",
         "-Wpedantic", "-Werror", "-O2", "-g", "-fPIC",
         "-fvisibility=hidden", "-Iinclude", "-shared", "-o", path,
         "t/plugins/interop.c", "-ljansson"], cwd=TOP, check=True)
    os.chmod(path, 0o644)
    return path


class Nginx(Process):
    """Ours, with two workers.  services: name=workflow, or a tuple of it and
    more directives of the service; examples: more plugins to load."""

    EXAMPLES = ["ask", "counter", "echo", "fanout", "progress", "sleeper"]

    def __init__(self, on, control_plane=None, namespace=None, queue=None,
                 common="", location="", examples=(), start=True, wait=True,
                 **services):
        super().__init__("nginx")
        self.redis = on
        self.control_plane = control_plane
        self.namespace = namespace or (control_plane.namespace
                                       if control_plane else "llama_deploy")
        self.port = free_port()
        self.dir = scratch.path(self.name)
        self.log_path = f"{self.dir}/error.log"
        self.services = {
            name: (value, "") if isinstance(value, str) else value
            for name, value in services.items()}
        self.examples = [*self.EXAMPLES, *examples]
        self.seen = 0
        self.expected = []
        os.makedirs(f"{self.dir}/temp")
        os.chmod(self.dir, 0o755)
        if queue is None:
            queue = f"workflow_queue tasks {{ url {on.url};" + (
                f" topic_namespace {namespace};" if namespace else "") + " }"
            common += " queue tasks;"
        self.write(queue, common, location)
        if start:
            self.start(wait)

    def write(self, queue, common, location):
        if self.control_plane:
            common += (f" control_plane {self.control_plane.url};"
                       " register_interval 1s; control_plane_timeout 5s;")
        blocks = [f"workflow_service {name} {{ workflow {workflow}; {common}"
                  f" {more} }}"
                  for name, (workflow, more) in self.services.items()]
        places = [f"location /{name}/ {{ workflow_pass {name}; {location} }}"
                  for name in self.services]
        loads = [f"workflow_load {PLUGINS}/{name}.so;"
                 for name in self.examples]
        user = os.environ.get("TEST_NGINX_WORKER_USER")
        lines = "\n".join(
            [f"load_module {MODULE};",
             f"user {user};" if user and os.geteuid() == 0 else "",
             "worker_processes 2;",
             "daemon off;",
             "pid nginx.pid;",
             "error_log error.log info;",
             "thread_pool workflow threads=40 max_queue=65536;",
             "events { worker_connections 1024; }",
             "http {",
             "access_log off;"]
            + [f"{what}_temp_path temp/{what};" for what in
               ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")]
            + loads + [f"workflow_load {plugin()};", queue] + blocks
            + ["server {", f"listen 127.0.0.1:{self.port};"] + places
            + ["}", "}", ""])
        with open(f"{self.dir}/nginx.conf", "w") as conf:
            conf.write(lines)

    def start(self, wait=True):
        self.spawn(NGINX, "-p", self.dir, "-c", f"{self.dir}/nginx.conf",
                   "-e", self.log_path)
        wait_for(self.answers, "nginx to listen")
        if wait:
            self.wait()

    def wait(self):
        """Until it hears of tasks, and the control plane lists it."""
        for name in self.services:
            self.redis.listens(f"{self.namespace}.{name}", 2)
        if self.control_plane:
            self.control_plane.lists(*self.services)

    def answers(self):
        self.alive()
        with contextlib.suppress(OSError):
            socket.create_connection(("127.0.0.1", self.port), 1).close()
            return True
        return False

    def quit(self):
        return self.end(signal.SIGQUIT, 40)

    def kill(self):
        # Workers go on without their master.
        workers = self.workers() if self.popen else []
        super().kill()
        for pid in workers:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)

    def workers(self):
        with contextlib.suppress(OSError):
            pid = self.popen.pid
            with open(f"/proc/{pid}/task/{pid}/children") as children:
                return [int(child) for child in children.read().split()]
        return []

    def url(self, path):
        return f"http://127.0.0.1:{self.port}/{path}"

    def post(self, service, action, data, **fields):
        return http.post(self.url(f"{service}/process_message"), json={
            "action": action, "data": data, "type": service, **fields})

    def submit(self, service, session, task=None, **kwargs):
        """A task without the control plane; returns its id."""
        task = task or unique("task")
        answer = self.post(service, "new_task", {
            "task_id": task, "session_id": session,
            "input": json.dumps(kwargs), "agent_id": service})
        if answer.status_code != 200:
            raise AssertionError(f"{answer.status_code} {answer.text}")
        return task

    def task(self, service, task):
        return http.get(self.url(f"{service}/tasks/{task}"))

    def expect(self, pattern):
        """An alarm that is part of the test."""
        self.expected.append(re.compile(pattern))

    def new_alarms(self):
        lines = self.log().split("\n")
        new, self.seen = lines[self.seen:], len(lines) - 1
        return [line for line in new if ALARM.search(line)
                and not any(e.search(line) for e in self.expected)]


class Wire:
    """What is published to the control plane of a namespace, from now on."""

    def __init__(self, on, namespace="llama_deploy"):
        self.messages = []
        self.changed = threading.Condition()
        self.stopping = False
        self.pubsub = on.client.pubsub(ignore_subscribe_messages=True)
        self.topic = f"{namespace}.control_plane"
        before = on.subscribers(self.topic)
        self.pubsub.subscribe(self.topic)
        self.thread = threading.Thread(target=self.listen, daemon=True)
        self.thread.start()
        on.listens(self.topic, before + 1)

    def listen(self):
        while not self.stopping:
            try:
                message = self.pubsub.get_message(timeout=0.2)
            except (redis.exceptions.ConnectionError, ValueError, OSError):
                return
            if message:
                with self.changed:
                    self.messages.append(json.loads(message["data"]))
                    self.changed.notify_all()

    def close(self):
        self.stopping = True
        self.thread.join()
        self.pubsub.close()

    def of(self, task, action=None):
        with self.changed:
            return [m["data"] for m in self.messages
                    if m["data"].get("task_id") == task
                    and action in (None, m["action"])]

    def streamed(self, task):
        """The events' data, in order; their numbers must be without a gap."""
        events = self.of(task, "task_stream")
        numbers = [event["index"] for event in events]
        if numbers != list(range(len(events))):
            raise AssertionError(f"{task}: events {numbers}")
        return [event["data"] for event in events]

    def wait(self, ask, what, seconds=30):
        with self.changed:
            if not self.changed.wait_for(ask, seconds):
                raise AssertionError(f"not in {seconds} s: {what}")

    def completed(self, task, seconds=30):
        """The TaskResult, which must be the only one so far."""
        def ended():
            return any(m["action"] == "completed_task"
                       and m["data"]["task_id"] == task
                       for m in reversed(self.messages))
        self.wait(ended, f"the end of {task}", seconds)
        results = self.of(task, "completed_task")
        if len(results) != 1:
            raise AssertionError(f"{task} has ended {len(results)} times")
        return results[0]

    def waits(self, task, count=1):
        """Until so many events were streamed."""
        self.wait(lambda: sum(m["action"] == "task_stream"
                              and m["data"]["task_id"] == task
                              for m in self.messages) >= count,
                  f"{count} events of {task}")


class Gate:
    """A file for which tasks wait, with {"gate": gate.path}."""

    def __init__(self):
        self.path = scratch.path(unique("gate"))

    def open(self):
        open(self.path, "w").close()


class Fleet:
    """What most tests share: Redis, the control plane, ours, Python's."""

    EXAMPLES = {"echo": "echo", "counter": "counter", "progress": "progress",
                "ask": "ask", "interop": "interop"}

    def __init__(self):
        self.redis = Redis()
        self.control_plane = ControlPlane(self.redis)
        self.wire = Wire(self.redis)
        self.nginx = Nginx(
            self.redis, self.control_plane,
            common="max_attempts 2; retry_delay 50ms; timeout 60s;"
                   " max_concurrent_tasks 32;",
            **self.EXAMPLES, fanout="fanout", sleeper="sleeper", inbox="inbox",
            relay="relay", raising=("interop", "raise_exceptions on;"))
        self.python = PythonServices(
            self.control_plane,
            **{f"py_{name}": value for name, value in self.EXAMPLES.items()})


@functools.cache
def fleet():
    try:
        return Fleet()
    except Exception:
        # No test can do without it.
        traceback.print_exc()
        for process in scratch.logs:
            print(f"--- {process.name}\n{process.log()[-3000:]}")
        sys.exit(1)


class Case(unittest.TestCase):
    """Tests fail when an nginx has something to alarm about; what they have
    started by self.start() is ended with them."""

    maxDiff = None

    @classmethod
    def setUpClass(cls):
        cls.fleet = fleet()
        cls.nginx = cls.fleet.nginx
        cls.control_plane = cls.fleet.control_plane
        cls.wire = cls.fleet.wire
        cls.redis = cls.fleet.redis

    def setUp(self):
        self.addCleanup(self.no_alarms)

    def shortDescription(self):
        return None

    def no_alarms(self):
        alarms = [line for process in scratch.logs
                  if isinstance(process, Nginx)
                  for line in process.new_alarms()]
        self.assertEqual(alarms, [], "alarms in the error log")

    def start(self, cls, *args, **options):
        """A process, or a wire, for this test only."""
        thing = cls(*args, **options)
        self.addCleanup(thing.close if isinstance(thing, Wire) else thing.kill)
        return thing

    def gate(self):
        """One that is open in the end, whatever happens."""
        gate = Gate()
        self.addCleanup(gate.open)
        return gate

    def session(self):
        return self.control_plane.create_session()
