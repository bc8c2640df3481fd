"""The commands of flyctl that the workflow and the runbook use.

Like the real flyctl, it controls a deploy from the client through the platform's API, so an interrupted deploy leaves
its machines behind.

Each step names its source in flyctl (github.com/superfly/flyctl) or its page in Fly's documentation.
"""

import argparse
import base64
import json
import os
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Never

import httpx2

from tools.fly_simulator import config
from tools.fly_simulator.config import ConfigError, FlyToml

POLL_SECONDS = 0.1
# flyctl waits 10 s twice: for the proxies of all regions to see new machines, and to forget old ones
# (internal/command/deploy/strategy_bluegreen.go). The simulated proxy is updated at once.
PROXY_SECONDS = float(os.environ.get("FLY_STAND_IN_PROXY_SECONDS", "1"))


# The worst case that flyctl handles: a deploy token that can't read logs (machines_releasecommand.go waitForLogs).
NO_LOGS = "Warn: not authorized to retrieve app logs (this can happen when using deploy tokens)."


class FlyctlError(Exception):
    """An error that flyctl prints after "Error:" before it exits with status 1."""


class Api:
    """Client of the platform's API for one app."""

    def __init__(self, app: str) -> None:
        token = os.environ.get("FLY_API_TOKEN", "")
        if not token:
            raise FlyctlError("no access token available. Please login with 'flyctl auth login'")
        self._client = httpx2.Client(
            base_url=os.environ["FLY_FLAPS_BASE_URL"],
            headers={"Authorization": f"Bearer {token}"},
            timeout=300,
            trust_env=False,
        )
        self._path = f"/v1/apps/{app}"

    def ask(self, method: str, path: str = "", **options: Any) -> Any:
        answer = self._client.request(method, self._path + path, **options)
        if answer.is_error:
            raise FlyctlError(str(answer.json().get("detail", answer.text)))
        return answer.json()


def say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def deploy(options: argparse.Namespace) -> None:
    """https://fly.io/docs/flyctl/deploy/"""
    fly = config.read(Path.cwd())
    # Only from the flags and fly.toml: an old machine's environment isn't kept (internal/appconfig/machines.go).
    fly.env.update(each.split("=", 1) for each in options.env)
    api = Api(options.app or fly.app)
    app = api.ask("GET")
    image = options.image or build(api, fly, options)
    say(f"image: {image}")
    release = api.ask("POST", "/releases", json={"image": image})
    try:
        # Before any machine is changed (https://fly.io/docs/reference/configuration/#run-one-off-commands-before-releasing-a-deployment).
        if fly.deploy.release_command and not options.skip_release_command:
            run_release_command(api, fly, image)
        if app["machines"]:
            strategy = options.strategy or fly.deploy.strategy
            say(f"Updating existing machines with {strategy} strategy")
            STRATEGIES[strategy](api, fly, image, [each["id"] for each in app["machines"]])
        else:
            # "Two machines, for high availability" (https://fly.io/docs/launch/deploy/).
            say("Creating 2 machines")
            machines = [create(api, fly, image)["id"] for _ in range(2)]
            wait_until_healthy(api, machines, fly.deploy.wait_timeout)
    except (FlyctlError, KeyboardInterrupt) as error:
        ended = "failed" if isinstance(error, FlyctlError) else "interrupted"
        api.ask("PUT", f"/releases/{release}/status", params={"status": ended})
        raise
    api.ask("PUT", f"/releases/{release}/status", params={"status": "complete"})
    say(f"v{release} deployed successfully")


def build(api: Api, fly: FlyToml, options: argparse.Namespace) -> str:
    """Build the Dockerfile with this folder as its context, for a deploy without --image; the tag is --image-label."""
    app = options.app or fly.app
    label = options.image_label or f"deployment-{int(time.time())}"
    image = f"registry.fly.io/{app}:{label}"
    arguments = dict(each.split("=", 1) for each in options.build_arg)
    say("Building the image")
    api.ask("POST", "/builds", json={"folder": str(Path.cwd()), "image": image, "arguments": arguments})
    return image


def run_release_command(api: Api, fly: FlyToml, image: str) -> None:
    """internal/command/deploy/machines_releasecommand.go"""
    say(f"Running release_command: {fly.deploy.release_command}")
    body = {"config": config.releasing(fly, image).model_dump(mode="json")}
    machine = api.ask("POST", "/machines", json=body)["id"]
    deadline = time.monotonic() + fly.deploy.release_command_timeout
    while (state := api.ask("GET", f"/machines/{machine}"))["state"] != "stopped":
        if time.monotonic() > deadline:  # flyctl only stops waiting; the machine continues
            raise FlyctlError(f"error waiting for release_command machine {machine} to finish running: timeout")
        time.sleep(POLL_SECONDS)
    api.ask("POST", f"/machines/{machine}/destroy")
    if state["exit_status"]:
        say(f"Error release_command failed running on machine {machine} with exit code {state['exit_status']}.")
        say(NO_LOGS)
        raise FlyctlError(f"machine {machine} exited with non-zero status of {state['exit_status']}")
    say(f"release_command {machine} completed successfully")


def bluegreen(api: Api, fly: FlyToml, image: str, blue: Sequence[str]) -> None:
    """internal/command/deploy/strategy_bluegreen.go"""
    if not fly.http_service.checks:
        raise FlyctlError("You need to define at least 1 check in order to use blue-green deployments.")
    detect_multiple_images(api, blue)
    green: list[str] = []
    try:
        say("Creating green machines")
        green.extend(create(api, fly, image, cordoned=True)["id"] for _ in blue)
        say("Waiting for all green machines to be healthy")
        wait_until_healthy(api, green, fly.deploy.wait_timeout)
    except (FlyctlError, KeyboardInterrupt):
        say("Rolling back failed deployment")
        for each in green:
            api.ask("POST", f"/machines/{each}/destroy")
        raise
    say("Marking green machines as ready")
    for each in green:
        api.ask("POST", f"/machines/{each}/uncordon")
    for each in blue:
        body = {"value": "safe_to_destroy"}
        api.ask("POST", f"/machines/{each}/metadata/fly_bluegreen_deployment_tag", json=body)
    time.sleep(PROXY_SECONDS)
    for each in blue:
        api.ask("POST", f"/machines/{each}/cordon")
    time.sleep(PROXY_SECONDS)
    say("Stopping all blue machines")
    for each in blue:
        stop(api, each)
    for each in blue:
        wait_until_stopped(api, each, fly.deploy.wait_timeout)
        api.ask("POST", f"/machines/{each}/destroy")


def detect_multiple_images(api: Api, blue: Sequence[str]) -> None:
    """Refuse machines of several images, after the release command and before new machines.

    In flyctl: DetectMultipleImageVersions.
    """
    images: dict[str, list[str]] = {}
    for each in blue:
        images.setdefault(api.ask("GET", f"/machines/{each}")["image"], []).append(each)
    if len(images) > 1:
        say(
            f"\n  Found {len(images)} different images in your app"
            " (for bluegreen to work, all machines need to run a single image)"
        )
        for image, ids in images.items():
            say(f"    [x] {image} - {len(ids)} machine(s) ({','.join(ids)})")
        raise FlyctlError("found multiple image versions")


def rolling(api: Api, fly: FlyToml, image: str, old: Sequence[str]) -> None:
    """Replace machines one by one, waiting for each; a failure isn't rolled back (internal/command/deploy/plan.go)."""
    for each in old:
        replace(api, fly, image, each, wait=True)


def immediate(api: Api, fly: FlyToml, image: str, old: Sequence[str]) -> None:
    """Replace all machines at once, without waiting for health (https://fly.io/docs/flyctl/deploy/)."""
    for each in old:
        stop(api, each)
    for each in old:
        replace(api, fly, image, each, wait=False)


STRATEGIES: dict[str, Callable[[Api, FlyToml, str, Sequence[str]], None]] = {
    "bluegreen": bluegreen,
    "rolling": rolling,
    "immediate": immediate,
}


def create(api: Api, fly: FlyToml, image: str, *, cordoned: bool = False) -> Any:
    body = {"config": config.serving(fly, image).model_dump(mode="json"), "cordoned": cordoned}
    return api.ask("POST", "/machines", json=body)


def replace(api: Api, fly: FlyToml, image: str, old: str, *, wait: bool) -> None:
    """Update a machine: stop it, and start it with another image."""
    stop(api, old)
    wait_until_stopped(api, old, fly.deploy.wait_timeout)
    api.ask("POST", f"/machines/{old}/destroy")
    new = create(api, fly, image)["id"]
    if wait:
        wait_until_healthy(api, [new], fly.deploy.wait_timeout)


def stop(api: Api, machine: str) -> None:
    api.ask("POST", f"/machines/{machine}/stop")


def wait_until_stopped(api: Api, machine: str, timeout: float) -> None:
    deadline = time.monotonic() + timeout
    while api.ask("GET", f"/machines/{machine}")["state"] not in {"stopped", "created"}:
        if time.monotonic() > deadline:
            raise FlyctlError(f"could not get machine {machine} into stopped state: wait timeout")
        time.sleep(POLL_SECONDS)


def wait_until_healthy(api: Api, machines: Sequence[str], timeout: float) -> None:
    deadline = time.monotonic() + timeout
    for each in machines:
        while (state := api.ask("GET", f"/machines/{each}"))["check"] not in {"passing", None}:
            if state["state"] == "stopped":
                raise FlyctlError(f"machine {each} has exited with status {state['exit_status']}")
            if time.monotonic() > deadline:
                raise FlyctlError("wait timeout\ncould not get all green machines to be healthy")
            time.sleep(POLL_SECONDS)
        say(f"  Machine {each} - 1/1 passing")


def releases(options: argparse.Namespace) -> None:
    """https://fly.io/docs/flyctl/releases/"""
    rows = Api(options.app).ask("GET", "/releases")
    if options.json:
        print(json.dumps(rows))
        return
    for each in rows:
        row = [f"v{each['Version']}", each["Status"], each["Description"], each["CreatedAt"]]
        print("\t".join([*row, each["ImageRef"]] if options.image else row))


def status(options: argparse.Namespace) -> None:
    """https://fly.io/docs/flyctl/status/"""
    app = Api(options.app).ask("GET")
    print(f"App\n  Name = {options.app}\n\nMachines\nID\tSTATE\tCHECKS\tIMAGE")
    for each in app["machines"]:
        print(f"{each['id']}\t{each['state']}\t{each['check']}\t{each['image']}")


def logs(options: argparse.Namespace) -> None:
    """https://fly.io/docs/flyctl/logs/, with a deploy token that can't read logs."""
    Api(options.app).ask("GET")
    raise FlyctlError("not authorized to access this app's logs")


def machine_list(options: argparse.Namespace) -> None:
    """internal/command/machine/list.go"""
    machines = Api(options.app).ask("GET", "/machines")
    if options.json:
        print(json.dumps(machines))
        return
    for each in machines:
        image = each["image_ref"]
        print(f"{each['id']}\t{each['state']}\t{image['repository']}:{image['tag']}")


def machine_destroy(options: argparse.Namespace) -> None:
    """internal/command/machine/destroy.go"""
    api = Api(options.app)
    for each in options.machines:
        state = api.ask("GET", f"/machines/{each}")["state"]
        if state != "stopped" and not options.force:
            raise FlyctlError(f"machine {each} currently {state}, either stop first or use --force flag")
        api.ask("POST", f"/machines/{each}/destroy")
        print(f"{each} has been destroyed")


def machine_exec(options: argparse.Namespace) -> None:
    """internal/command/machine/exec.go"""
    body = {"command": options.command, "timeout": options.timeout}
    done = Api(options.app).ask("POST", f"/machines/{options.machine}/exec", json=body)
    if options.json:
        print(json.dumps(done))
        return
    if done["exit_code"]:
        print(f"Exit code: {done['exit_code']}")
    print(done["stdout"], end="")


def auth_docker(_: argparse.Namespace) -> None:
    """Add registry.fly.io to ~/.docker/config.json (internal/command/auth/docker.go)."""
    token = os.environ.get("FLY_API_TOKEN", "")
    if not token:
        raise FlyctlError("no access token available. Please login with 'flyctl auth login'")
    file = Path.home() / ".docker" / "config.json"
    file.parent.mkdir(mode=0o700, exist_ok=True)
    known = json.loads(file.read_text()) if file.exists() else {}
    auth = base64.urlsafe_b64encode(f"x:{token}".encode()).decode()
    known.setdefault("auths", {})["registry.fly.io"] = {"auth": auth}
    file.write_text(json.dumps(known))
    file.chmod(0o600)
    print("Authentication successful. You can now tag and push images to registry.fly.io/{your-app}")


class Parser(argparse.ArgumentParser):
    def error(self, message: str) -> Never:
        raise FlyctlError(message)


def parse(arguments: Sequence[str]) -> argparse.Namespace:
    parser = Parser(prog="flyctl", allow_abbrev=False)
    commands = parser.add_subparsers(required=True)

    def command(
        name: str,
        does: Callable[[argparse.Namespace], None],
        parsers: Any = commands,
    ) -> argparse.ArgumentParser:
        added: argparse.ArgumentParser = parsers.add_parser(name, allow_abbrev=False)
        added.set_defaults(does=does)
        added.add_argument("--app", "-a", default="")
        return added

    new = command("deploy", deploy)
    new.add_argument("--image")
    new.add_argument("--image-label")
    new.add_argument("--build-arg", action="append", default=[])
    new.add_argument("--env", "-e", action="append", default=[])
    new.add_argument("--strategy", choices=STRATEGIES)
    for flag in ("--remote-only", "--skip-release-command", "--yes"):
        new.add_argument(flag, action="store_true")
    listed = command("releases", releases)
    listed.add_argument("--image", action="store_true")
    listed.add_argument("--json", action="store_true")
    command("status", status)
    machine = commands.add_parser("machine", allow_abbrev=False).add_subparsers(required=True)
    command("list", machine_list, machine).add_argument("--json", action="store_true")
    destroys = command("destroy", machine_destroy, machine)
    destroys.add_argument("--force", "-f", action="store_true")
    destroys.add_argument("machines", nargs="+")
    executes = command("exec", machine_exec, machine)
    executes.add_argument("--json", action="store_true")
    executes.add_argument("--timeout", type=int, default=30)
    executes.add_argument("machine")
    executes.add_argument("command")
    command("logs", logs).add_argument("--no-tail", action="store_true")
    command("auth", auth_docker).add_argument("what", choices=["docker"])
    return parser.parse_args(arguments)


def main(arguments: Sequence[str]) -> int:
    try:
        options = parse(arguments)
        options.does(options)
    except (FlyctlError, ConfigError) as error:
        say(f"Error: {error}")
        return 1
    except KeyboardInterrupt:
        say("Error: deployment aborted by user")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
