"""A simulator of Fly.io: apps with secrets and tokens, machines, releases, logs, and an API for the simulated flyctl.

It models only documented behaviour, and names the page of each. Not modelled: regions, volumes, auto-stop and
auto-start, WireGuard, leases, metrics.
"""

import json
import secrets
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from audifi import __version__
from tests.support.api import whole_lines
from tools.fly_simulator.config import MachineConfig
from tools.fly_simulator.edge import REGISTRY_HOST, Edge
from tools.fly_simulator.machine import Machine
from tools.image.containers import Engine, EngineError


class RefusedError(Exception):
    """The platform refuses a request; the message says why."""


@dataclass(kw_only=True)
class Release:
    """A release (https://fly.io/docs/flyctl/releases/); its JSON has the names of fly-go's `Release`."""

    version: int
    image: str
    status: str = "running"
    created_at: float = field(default_factory=time.time)

    def to_json(self) -> dict[str, Any]:
        return {
            "Version": self.version,
            "Status": self.status,
            "ImageRef": self.image,
            "Description": "Release",
            "CreatedAt": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(self.created_at)),
        }


@dataclass(kw_only=True)
class App:
    name: str
    token: str
    secrets: dict[str, str] = field(default_factory=dict)
    machines: dict[str, Machine] = field(default_factory=dict)
    releases: list[Release] = field(default_factory=list)

    def serving(self) -> list[Machine]:
        return [each for each in self.machines.values() if not each.config.is_release_command]


class Fly:
    """The platform. Use `api.running`."""

    def __init__(self, folder: Path, engine: Engine | None, apps: dict[str, App]) -> None:
        self.folder = folder
        self.apps = apps
        self.edge = Edge(folder, {name: app.token for name, app in apps.items()})
        self.events_file = folder / "events.jsonl"
        self.api_url = ""
        self._maybe_engine = engine
        self._lock = threading.RLock()
        self._pulled: dict[str, str] = {}

    @property
    def _engine(self) -> Engine:
        if self._maybe_engine is None:
            raise RefusedError("this platform has no container engine")
        return self._maybe_engine

    def events(self) -> list[dict[str, Any]]:
        """Return the events of machines, oldest first."""
        if not self.events_file.exists():
            return []
        return [json.loads(line) for line in whole_lines(self.events_file).splitlines()]

    def create_machine(self, app: App, config: MachineConfig, *, cordoned: bool = False) -> Machine:
        """Create and start a machine.

        Raises:
            RefusedError: another release command is running, or the image isn't in the registry.
        """
        image = self._pull(config.image)
        with self._lock:
            if config.is_release_command:
                for other in app.machines.values():
                    # flyctl would destroy the other machine and interrupt its migration
                    # (`internal/command/deploy/machines_releasecommand.go`). Here it fails, so that tests notice.
                    if other.config.is_release_command and other.state != "destroyed":
                        raise RefusedError(f"the release command of another deploy runs on machine {other.id}")
            id_ = secrets.token_hex(7)
            machine = Machine(
                id_=id_,
                app=app.name,
                config=config,
                image=image,
                environment=config.env | app.secrets | self._runtime(app, id_, config),
                engine=self._engine,
                folder=self.folder,
                changed=self._changed,
            )
            machine.cordoned = cordoned
            app.machines[id_] = machine
        self._event(machine, "created", "release command" if config.is_release_command else "")
        machine.start()
        return machine

    def cordon(self, machine: Machine, *, cordoned: bool) -> None:
        """The proxy sends no new requests to a cordoned machine: https://fly.io/docs/machines/api/machines-resource/"""
        machine.cordoned = cordoned
        self._changed(machine, "cordoned" if cordoned else "uncordoned", "")

    def destroy(self, app: App, machine: Machine) -> None:
        machine.kill()
        machine.wait(10)
        self.edge.forget(app.name, machine.id)
        machine.state = "destroyed"
        app.machines.pop(machine.id, None)
        self._event(machine, "destroyed", "")

    def stop_everything(self) -> None:
        machines = [(app, machine) for app in self.apps.values() for machine in list(app.machines.values())]
        for _, machine in machines:
            machine.stop()
        for app, machine in machines:
            machine.wait(5)
            self.destroy(app, machine)
        for image in self._pulled.values():
            self._engine.remove(image)

    def _runtime(self, app: App, id_: str, config: MachineConfig) -> dict[str, str]:
        """https://fly.io/docs/machines/runtime-environment/"""
        return {
            "FLY_APP_NAME": app.name,
            "FLY_MACHINE_ID": id_,
            "FLY_REGION": "iad",
            "PRIMARY_REGION": "iad",
            "FLY_IMAGE_REF": config.image,
        }

    def build(self, folder: Path, image: str, arguments: dict[str, str]) -> None:
        """Build an image and push it to the registry, as the remote builder does.

        Raises:
            RefusedError: the build failed; the message has its output.
        """
        local_name = self._local_name(image)
        try:
            self._engine.build(folder, local_name, arguments)
            self._engine.push(local_name)
        except EngineError as error:
            raise RefusedError(f"failed to build: {error}") from None

    def _local_name(self, reference: str) -> str:
        """Return the reference at the registry itself, without the proxy."""
        return reference.replace(REGISTRY_HOST, f"127.0.0.1:{self.edge.registry_port}", 1)

    def _pull(self, reference: str) -> str:
        """Pull an image; return its name in the engine."""
        with self._lock:
            if reference not in self._pulled:
                local_name = self._local_name(reference)
                try:
                    self._engine.pull(local_name)
                except EngineError as error:
                    raise RefusedError(f"can't find the image {reference}: {error}") from None
                self._pulled[reference] = local_name
            return self._pulled[reference]

    def _changed(self, machine: Machine, event: str, detail: str) -> None:
        self._event(machine, event, detail)
        if machine.takes_traffic:
            self.edge.route(machine.app, machine.id, machine.port, machine.config.hard_limit)
        elif machine.state == "stopped":
            self.edge.forget(machine.app, machine.id)
        else:
            self.edge.drain(machine.app, machine.id)

    def _event(self, machine: Machine, event: str, detail: str) -> None:
        commit = machine.config.image.rpartition(":")[2]
        line = {
            "at": time.time(),
            "app": machine.app,
            "event": event,
            "machine": machine.id,
            "version": f"{__version__}+{commit[:7]}",
            "detail": detail,
        }
        with self._lock, self.events_file.open("a") as file:
            file.write(json.dumps(line) + "\n")
