"""The machines of an app: leftovers of interrupted deploys, and the pin of a roll-back.

Python 3.12 to 3.14, standard library only.
"""

import os
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import flyctl

PIN = "ROLL_BACK_PIN"
"""A machine's environment variable. `flyctl deploy --env` sets it with the machine's image, and a deploy without it
drops it: flyctl doesn't keep the old machine's environment (v0.4.87, internal/appconfig/machines.go,
updateMachineConfig). So the pin needs no credential besides the app's deploy token, and always belongs to the image
that serves.
"""
TAG = "fly_bluegreen_deployment_tag"
"""fly-go v0.9.5, machine_types.go, MachineConfigMetadataKeyFlyctlBGTag."""
SAFE_TO_DESTROY = "safe_to_destroy"
"""flyctl's tag of old machines, once new ones take traffic (strategy_bluegreen.go TagBlueMachinesAsSafeForDeletion)."""
RELEASE_COMMAND = "fly_app_release_command"


@dataclass(frozen=True)
class Machine:
    """A machine of the app's own process group."""

    id: str
    state: str
    image: str
    """Repository and tag, as flyctl compares them (fly-go v0.9.5, machine_types.go, ImageRefWithVersion)."""
    cordoned: bool = False
    """Fly's proxy sends it no requests."""
    safe_to_destroy: bool = False
    pin: str = ""

    @property
    def name(self) -> str:
        """The short commit for messages, or the image if it names none."""
        return flyctl.commit_of(self.image)[:7] or self.image


def list_machines(app: str) -> list[Machine] | None:
    """Return the app's machines without those of release commands; None if flyctl can't list them."""
    try:
        machines = flyctl.machines(app)
        return None if machines is None else [read_machine(each) for each in machines if _is_active(each)]
    except (KeyError, TypeError, AttributeError):
        return None


def _is_active(machine: dict[str, Any]) -> bool:
    metadata = (machine.get("config") or {}).get("metadata") or {}
    return machine["state"] not in {"destroyed", "destroying"} and metadata.get("fly_process_group") != RELEASE_COMMAND


def read_machine(machine: dict[str, Any]) -> Machine:
    config = machine.get("config") or {}
    image = machine.get("image_ref") or {}
    return Machine(
        id=str(machine["id"]),
        state=str(machine["state"]),
        image=f"{image.get('repository', '')}:{image.get('tag', '')}",
        cordoned=bool(machine.get("cordoned")),
        safe_to_destroy=(config.get("metadata") or {}).get(TAG) == SAFE_TO_DESTROY,
        pin=str((config.get("env") or {}).get(PIN, "")),
    )


def leftovers(machines: Sequence[Machine]) -> list[Machine]:
    """Return the machines that an interrupted deploy left beside those in service.

    New machines are cordoned until all of them are healthy, old ones once new ones have taken over. In between, old
    ones are tagged. A tag counts only beside an untagged machine of another image: `--strategy immediate` keeps it.
    """
    serving = [each for each in machines if not each.cordoned and not each.safe_to_destroy]
    images = {each.image for each in serving}
    left = [
        each for each in machines if each.cordoned or (each.safe_to_destroy and images and each.image not in images)
    ]
    return left if len(left) < len(machines) else []


def are_mixed(machines: Sequence[Machine]) -> bool:
    """Return whether `bluegreen` refuses the machines (flyctl v0.4.87, strategy_bluegreen.go
    DetectMultipleImageVersions).
    """
    return len({each.image for each in machines}) > 1


def destroy_command(app: str, machines: Sequence[Machine]) -> list[str]:
    return ["machine", "destroy", "--app", app, "--force", *(each.id for each in machines)]


def clear_leftovers(app: str, machines: Sequence[Machine]) -> tuple[list[Machine], str]:
    """Destroy the leftovers of an interrupted deploy; return the other machines, and a sentence for the report."""
    left = leftovers(machines)
    if not left:
        return list(machines), ""
    command = destroy_command(app, left)
    names = ", ".join(f"`{each.id}` ({each.name})" for each in left)
    if flyctl.look(*command) is None:
        return list(machines), f"{names} were left by an interrupted deploy: run `flyctl {' '.join(command)}`."
    kept = [each for each in machines if each not in left]
    return kept, f"{names} were left by an interrupted deploy and have been destroyed."


def explain_mixed(app: str, machines: Sequence[Machine]) -> str:
    """Return a message with the command that destroys the machines of each image."""
    commands = []
    for image in sorted({each.image for each in machines}):
        same = [each for each in machines if each.image == image]
        commands.append(f"for {same[0].name}, `flyctl {' '.join(destroy_command(app, same))}`")
    return (
        f"The machines of {app} have different images, and flyctl refuses to deploy to them. Destroy the machines that"
        f" shouldn't serve, then run this again: {'; '.join(commands)}. Or roll back, which replaces all of them."
    )


def new_pin() -> str:
    """Return a pin with the time, the author and the workflow run."""
    run = "{GITHUB_SERVER_URL}/{GITHUB_REPOSITORY}/actions/runs/{GITHUB_RUN_ID}"
    parts = [time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())]
    if actor := os.environ.get("GITHUB_ACTOR"):
        parts.append(f"by {actor}")
    if "GITHUB_RUN_ID" in os.environ:
        parts.append(run.format_map(os.environ))
    return " ".join(parts)


def pin_of(machines: Sequence[Machine]) -> str:
    return next((each.pin for each in machines if each.pin), "")


def pin_options(pin: str) -> tuple[str, ...]:
    return ("--env", f"{PIN}={pin}") if pin else ()
