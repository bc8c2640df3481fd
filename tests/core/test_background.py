"""Background tasks are restarted when they fail, and awaited at the end."""

import asyncio
import logging

import pytest

from audifi.core.background import BackgroundTasks


def test_failed_task_is_restarted_and_counted(caplog: pytest.LogCaptureFixture) -> None:
    restarts: list[str] = []
    runs: list[int] = []
    running_again = asyncio.Event()

    async def fail_once() -> None:
        runs.append(len(runs))
        if len(runs) == 1:
            raise RuntimeError("a secret of a user")
        running_again.set()
        await asyncio.Event().wait()

    async def run() -> None:
        async with BackgroundTasks({"poller": fail_once}, on_restart=restarts.append, restart_seconds=0):
            await running_again.wait()

    with caplog.at_level(logging.ERROR):
        asyncio.run(run())

    assert runs == [0, 1]
    assert restarts == ["poller"]
    assert "background task restarts: task=poller reason=RuntimeError" in caplog.text
    assert "secret" not in caplog.text


def test_task_that_ends_is_restarted() -> None:
    restarts: list[str] = []
    restarted = asyncio.Event()

    async def end() -> None:
        if restarts:
            restarted.set()
            await asyncio.Event().wait()

    async def run() -> None:
        async with BackgroundTasks({"poller": end}, on_restart=restarts.append, restart_seconds=0):
            await restarted.wait()

    asyncio.run(run())

    assert restarts == ["poller"]


def test_tasks_have_ended_when_the_block_ends() -> None:
    ended: list[str] = []
    started = asyncio.Event()

    async def wait() -> None:
        try:
            started.set()
            await asyncio.Event().wait()
        finally:
            await asyncio.sleep(0)
            ended.append("wait")

    async def run() -> None:
        async with BackgroundTasks({"wait": wait}, on_restart=lambda _: None):
            await started.wait()
        assert ended == ["wait"]

    asyncio.run(run())
