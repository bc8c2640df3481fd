"""A machine: the real image in a container, with its health check. https://fly.io/docs/machines/"""

import shlex
import signal
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Literal

import httpx2

from tests.support.api import free_port
from tools.fly_simulator.config import Check, MachineConfig
from tools.image.containers import Container, Engine

type State = Literal["created", "starting", "started", "stopping", "stopped", "destroyed"]
type Health = Literal["unchecked", "passing", "critical"]

RESTARTS = 10  # machines of a service have the restart policy "on-failure" with 10 retries by default
RESTART_DELAY_SECONDS = 1
RELEASE_COMMAND = "fly_app_release_command"  # fly-go v0.9.5, machine_types.go


class Machine:
    """A machine with two threads: one waits for its process, one checks its health. Each event calls `changed`."""

    def __init__(
        self,
        *,
        id_: str,
        app: str,
        config: MachineConfig,
        image: str,
        environment: dict[str, str],
        engine: Engine,
        folder: Path,
        changed: Callable[["Machine", str, str], None],
    ) -> None:
        self.id = id_
        self.app = app
        self.config = config
        self.state: State = "created"
        self.health: Health = "unchecked"
        self.cordoned = False
        self.metadata: dict[str, str] = {"fly_process_group": RELEASE_COMMAND if config.is_release_command else "app"}
        self.exit_status: int | None = None
        self.log_file = folder / f"{id_}.log"
        # On Fly each machine has its own network and listens on internal_port; here all machines share one network.
        self.port = free_port()
        self.image = image
        self._environment = environment
        port = environment.get("PORT")
        if port is not None and port == str(config.internal_port):
            self._environment = environment | {"PORT": str(self.port)}
        if "METRICS_PORT" in environment:  # for the same reason
            self._environment = self._environment | {"METRICS_PORT": str(free_port())}
        self._engine = engine
        self._changed = changed
        self._container: Container | None = None
        self._ended = threading.Event()
        self._wanted = False

    def start(self) -> None:
        self._wanted = True
        self.state = "starting"
        threading.Thread(target=self._run, name=self.id, daemon=True).start()

    def stop(self) -> None:
        """Send kill_signal, then SIGKILL after kill_timeout.

        https://fly.io/docs/reference/configuration/#kill_timeout-option
        """
        self._wanted = False
        if self.state not in {"starting", "started"}:
            return
        self.state = "stopping"
        if self._container is not None:
            self._container.signal(self.config.signal)
            self._changed(self, self.config.kill_signal, "")
        threading.Thread(target=self._kill_in_time, daemon=True).start()

    def kill(self) -> None:
        self._wanted = False
        if self._container is not None and not self._ended.is_set():
            self._container.signal(signal.SIGKILL)

    def wait(self, timeout: float) -> bool:
        """Wait for the end of the machine; return whether it ended in time."""
        return self._ended.wait(timeout)

    def execute(self, command: str, *, timeout: float) -> tuple[int, str]:
        """Run a command beside the machine's process, in its environment; return exit status and output."""
        return self._engine.start(self.image, shlex.split(command), self._environment).wait(timeout)

    @property
    def takes_traffic(self) -> bool:
        """A failing check removes a machine from routing: https://fly.io/docs/reference/health-checks/"""
        healthy = self.health == "passing" if self.config.check else True
        return self.state == "started" and healthy and not self.cordoned and self.config.internal_port is not None

    def _run(self) -> None:
        command = self.config.command or self._engine.config(self.image)["Cmd"]
        for attempt in range(1 + (0 if self.config.is_release_command else RESTARTS)):
            if attempt:
                time.sleep(RESTART_DELAY_SECONDS)
            if not self._wanted:
                break
            with self.log_file.open("ab") as output:
                self._container = self._engine.start(self.image, command, self._environment, output=output)
            self.state = "started"
            self._changed(self, "started", "")
            over = threading.Event()
            if self.config.check:
                threading.Thread(target=self._check, args=(self.config.check, over), daemon=True).start()
            self.exit_status, _ = self._container.wait(None)
            over.set()
            self.health = "unchecked"
            if self.exit_status == 0 or not self._wanted:
                break
            self._changed(self, "crashed", f"exit status {self.exit_status}")
        self.state = "stopped"
        self._ended.set()
        self._changed(self, "stopped", f"exit status {self.exit_status}")

    def _check(self, check: Check, over: threading.Event) -> None:
        """Check health directly at the machine, without redirects; any 2xx passes."""
        url = f"http://127.0.0.1:{self.port}{check.path}"
        if over.wait(check.grace_period):
            return
        while True:
            try:
                answer = httpx2.request(check.method, url, timeout=check.timeout, trust_env=False)
                health: Health = "passing" if answer.is_success else "critical"
                detail = f"status {answer.status_code}"
            except httpx2.TransportError as error:
                health, detail = "critical", type(error).__name__
            if over.is_set():
                return
            if health != self.health:
                self.health = health
                self._changed(self, f"check {health}", detail)
            if over.wait(check.interval):
                return

    def _kill_in_time(self) -> None:
        if not self.wait(self.config.kill_timeout):
            self._changed(self, "SIGKILL", f"it was still running {self.config.kill_timeout:.0f} s after the signal")
            self.kill()
