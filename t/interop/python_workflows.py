"""The workflows of Python's services: counterparts of ours."""

import asyncio
import datetime

from llama_index.core.workflow import (
    Context,
    Event,
    HumanResponseEvent,
    InputRequiredEvent,
    StartEvent,
    StopEvent,
    Workflow,
    step,
)


class Echo(Workflow):
    @step
    async def echo(self, ev: StartEvent) -> StopEvent:
        return StopEvent(result=f"{ev.arg1}_result")


class Counter(Workflow):
    @step
    async def count(self, ctx: Context, ev: StartEvent) -> StopEvent:
        n = await ctx.store.get("count", default=0) + 1
        await ctx.store.set("count", n)
        return StopEvent(result=n)


class FirstEvent(Event):
    arg1: str


class SecondEvent(Event):
    arg1: str


class ProgressEvent(Event):
    progress: float


class Progress(Workflow):
    @step
    async def s1(self, ctx: Context, ev: StartEvent) -> FirstEvent:
        ctx.write_event_to_stream(ProgressEvent(progress=0.3))
        return FirstEvent(arg1=f"{ev.arg1}_result")

    @step
    async def s2(self, ctx: Context, ev: FirstEvent) -> SecondEvent:
        ctx.write_event_to_stream(ProgressEvent(progress=0.6))
        return SecondEvent(arg1=f"{ev.arg1}_result")

    @step
    async def s3(self, ctx: Context, ev: SecondEvent) -> StopEvent:
        ctx.write_event_to_stream(ProgressEvent(progress=0.9))
        return StopEvent(result=f"{ev.arg1}_result")


class Ask(Workflow):
    @step
    async def ask(self, ev: StartEvent) -> InputRequiredEvent:
        return InputRequiredEvent(prefix="Enter a number: ")

    @step
    async def answer(self, ev: HumanResponseEvent) -> StopEvent:
        return StopEvent(result=ev.response)


class ApprovalEvent(Event):
    """Declared fields, and what else it is given."""

    by: str
    level: int = 1


class Interop(Workflow):
    """sleep, get, set, fail, result, as the workflow of that name in C;
    pickled: sets this key to what only pickle can hold."""

    @step
    async def begin(self, ctx: Context, ev: StartEvent) -> StopEvent:
        await asyncio.sleep(ev.get("sleep", 0))

        found = {}
        for name in ev.get("get", []):
            value = await ctx.store.get(name, default=None)
            if value is not None:
                found[name] = value

        for name, value in ev.get("set", {}).items():
            await ctx.store.set(name, value)

        if ev.get("pickled", None):
            await ctx.store.set(ev.pickled, datetime.date(2025, 1, 25))

        if ev.get("fail", None):
            raise ValueError(ev.fail)

        return StopEvent(result=ev.get("result", str(found)))


CLASSES = {
    "echo": Echo,
    "counter": Counter,
    "progress": Progress,
    "ask": Ask,
    "interop": Interop,
}
