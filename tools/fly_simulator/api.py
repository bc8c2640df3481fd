"""A subset of the Machines API (https://fly.io/docs/machines/api/), and more routes for the simulated flyctl.

Routes are sync, because they wait for containers.
"""

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

from fastapi import APIRouter, Depends, FastAPI, Header, HTTPException, Request
from fastapi.responses import JSONResponse
from pydantic import BaseModel

from tests.support.app import serving
from tools.fly_simulator.config import MachineConfig
from tools.fly_simulator.machine import Machine
from tools.fly_simulator.platform import App, Fly, RefusedError, Release
from tools.image.containers import Engine

router = APIRouter(prefix="/v1/apps/{name}")


class NewMachine(BaseModel):
    config: MachineConfig
    cordoned: bool = False


class NewRelease(BaseModel):
    image: str


class NewBuild(BaseModel):
    folder: Path
    image: str
    arguments: dict[str, str]


@contextmanager
def running(folder: Path, engine: Engine | None, apps: dict[str, App]) -> Iterator[Fly]:
    """Run the platform while the block runs, then stop all machines.

    Args:
        folder: receives logs, events and images.
        engine: runs machines; None: machines can't be created.
        apps: existing apps.
    """
    folder.mkdir(parents=True, exist_ok=True)
    fly = Fly(folder, engine, apps)
    app = FastAPI()
    app.state.fly = fly
    app.include_router(router)
    app.add_exception_handler(RefusedError, lambda _, error: JSONResponse({"detail": str(error)}, 422))
    with fly.edge, serving(app) as url:
        fly.api_url = url
        try:
            yield fly
        finally:
            fly.stop_everything()


def the_platform(request: Request) -> Fly:
    fly: Fly = request.app.state.fly
    return fly


Platform = Annotated[Fly, Depends(the_platform)]


def app_of_token(fly: Platform, name: str, authorization: Annotated[str, Header()] = "") -> App:
    """Return the app of a token. A deploy token is valid for its own app only (https://fly.io/docs/security/tokens/)."""
    token = authorization.removeprefix("Bearer ")
    if token not in {each.token for each in fly.apps.values()}:
        raise HTTPException(401, "unauthorized: the token isn't valid")
    if name not in fly.apps:
        raise HTTPException(404, f'Could not find App "{name}"')
    if token != fly.apps[name].token:
        raise HTTPException(403, f'unauthorized: the token isn\'t for App "{name}"')
    return fly.apps[name]


Authorized = Annotated[App, Depends(app_of_token)]


def machine_of_app(app: Authorized, machine_id: str) -> Machine:
    if machine_id not in app.machines:
        raise HTTPException(404, f"machine {machine_id} not found")
    return app.machines[machine_id]


OfApp = Annotated[Machine, Depends(machine_of_app)]


class Command(BaseModel):
    command: str
    timeout: int


class Metadata(BaseModel):
    value: str


@router.get("")
def show_app(app: Authorized) -> dict[str, Any]:
    return {"machines": [shown(each) for each in app.serving()]}


@router.get("/machines")
def list_machines(app: Authorized) -> list[dict[str, Any]]:
    return [listed(each) for each in app.machines.values()]


@router.get("/releases")
def list_releases(app: Authorized) -> list[dict[str, Any]]:
    return [each.to_json() for each in reversed(app.releases)]


@router.post("/releases")
def create_release(app: Authorized, body: NewRelease) -> int:
    app.releases.append(Release(version=len(app.releases) + 1, image=body.image))
    return app.releases[-1].version


@router.put("/releases/{version}/status")
def end_release(app: Authorized, version: int, status: str) -> None:
    app.releases[version - 1].status = status


@router.post("/builds")
def build(fly: Platform, app: Authorized, body: NewBuild) -> None:
    assert body.image.partition(":")[0].endswith(f"/{app.name}")
    fly.build(body.folder, body.image, body.arguments)


@router.post("/machines")
def create_machine(fly: Platform, app: Authorized, body: NewMachine) -> dict[str, Any]:
    return shown(fly.create_machine(app, body.config, cordoned=body.cordoned))


@router.get("/machines/{machine_id}")
def show_machine(machine: OfApp) -> dict[str, Any]:
    return shown(machine)


@router.get("/machines/{machine_id}/log")
def show_log(machine: OfApp) -> str:
    return machine.log_file.read_text(errors="replace") if machine.log_file.exists() else ""


@router.post("/machines/{machine_id}/cordon")
def cordon(fly: Platform, machine: OfApp) -> None:
    fly.cordon(machine, cordoned=True)


@router.post("/machines/{machine_id}/uncordon")
def uncordon(fly: Platform, machine: OfApp) -> None:
    fly.cordon(machine, cordoned=False)


@router.post("/machines/{machine_id}/metadata/{key}")
def set_metadata(machine: OfApp, key: str, body: Metadata) -> None:
    machine.metadata[key] = body.value


@router.post("/machines/{machine_id}/exec")
def execute(machine: OfApp, body: Command) -> dict[str, Any]:
    if machine.state != "started":
        raise HTTPException(412, f"machine {machine.id} isn't started")
    try:
        status, output = machine.execute(body.command, timeout=body.timeout)
    except subprocess.TimeoutExpired:
        raise HTTPException(408, f"the command didn't end within {body.timeout} s") from None
    return {"exit_code": status, "stdout": output}


@router.post("/machines/{machine_id}/stop")
def stop(machine: OfApp) -> None:
    machine.stop()


@router.post("/machines/{machine_id}/destroy")
def destroy(fly: Platform, app: Authorized, machine: OfApp) -> None:
    fly.destroy(app, machine)


def shown(machine: Machine) -> dict[str, Any]:
    return {
        "id": machine.id,
        "state": machine.state,
        "check": machine.health if machine.config.check else None,
        "cordoned": machine.cordoned,
        "image": machine.config.image,
        "exit_status": machine.exit_status,
    }


def listed(machine: Machine) -> dict[str, Any]:
    """Return a machine as in `flyctl machine list --json` (fly-go v0.9.5, machine_types.go, Machine)."""
    registry, _, name = machine.config.image.partition("/")
    repository, _, tag = name.partition(":")
    return {
        "id": machine.id,
        "state": machine.state,
        "image_ref": {"registry": registry, "repository": repository, "tag": tag},
        "config": {"env": machine.config.env, "metadata": machine.metadata},
        "host_status": "ok",
        "cordoned": machine.cordoned,
    }
