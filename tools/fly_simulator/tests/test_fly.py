"""The simulator refuses what Fly refuses, and more, to find mistakes."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import machines
from tests.support.api import ROOT
from tools.fly_simulator import api, config
from tools.fly_simulator.config import ConfigError
from tools.fly_simulator.machine import Machine
from tools.fly_simulator.platform import App, Fly
from tools.image.containers import Buildah

FLY_TOML = (ROOT / "server" / "fly.toml").read_text()
NEEDED = "haproxy docker-registry".split()

needs_an_edge = pytest.mark.skipif(
    not all(map(shutil.which, NEEDED)),
    reason="apt-get install haproxy docker-registry, which `make rehearse` needs, too",
)


@pytest.fixture(scope="module")
def fly(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fly]:
    apps = {name: App(name=name, token=f"token-of-{name}") for name in ("audifi-api", "audifi-api-staging")}
    with api.running(tmp_path_factory.mktemp("fly"), None, apps) as running:
        yield running


def flyctl(fly: Fly, folder: Path, *arguments: str, token: str) -> subprocess.CompletedProcess[str]:
    variables = {
        "FLY_API_TOKEN": token,
        "FLY_FLAPS_BASE_URL": fly.api_url,
        "FLY_STAND_IN_ROOT": str(ROOT),
        "FLY_STAND_IN_PYTHON": sys.executable,
        "HOME": str(folder),
    }
    return subprocess.run(
        [ROOT / "tools" / "fly_simulator" / "bin" / "flyctl", *arguments],
        cwd=folder,
        env=os.environ | variables,
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )


@needs_an_edge
@pytest.mark.parametrize(
    ("app", "token", "sentence"),
    [
        ("audifi-api", "", "no access token available"),
        ("audifi-api", "made-up", "unauthorized: the token isn't valid"),
        ("audifi-api", "token-of-audifi-api-staging", 'the token isn\'t for App "audifi-api"'),
        ("audifi-apy", "token-of-audifi-api", 'Could not find App "audifi-apy"'),
    ],
)
@pytest.mark.parametrize("command", [["deploy", "--image", "registry.fly.io/a:b"], ["releases", "--json"], ["status"]])
def test_invalid_token_and_unknown_app_are_refused(
    fly: Fly, tmp_path: Path, command: list[str], app: str, token: str, sentence: str
) -> None:
    (tmp_path / "fly.toml").write_text(FLY_TOML)
    done = flyctl(fly, tmp_path, *command, "--app", app, token=token)

    assert done.returncode == 1
    assert sentence in done.stderr
    assert "Traceback" not in done.stderr


@needs_an_edge
@pytest.mark.parametrize("flag", ["--imagee", "--skip-release", "--force"])
def test_unknown_flag_is_refused(fly: Fly, tmp_path: Path, flag: str) -> None:
    done = flyctl(fly, tmp_path, "deploy", flag, token="token-of-audifi-api")

    assert done.returncode == 1
    assert flag in done.stderr


@needs_an_edge
def test_image_that_was_not_pushed_is_not_deployed(fly: Fly, tmp_path: Path) -> None:
    (tmp_path / "fly.toml").write_text(FLY_TOML)
    done = flyctl(fly, tmp_path, "deploy", "--image", "registry.fly.io/audifi-api:x", token="token-of-audifi-api")

    assert done.returncode == 1
    assert fly.apps["audifi-api"].machines == {}
    assert fly.apps["audifi-api"].releases[-1].status == "failed"


@pytest.fixture
def two_images(fly: Fly, tmp_path: Path) -> Iterator[list[Machine]]:
    """Machines of production without processes: an old one, and a new, cordoned one."""
    app = fly.apps["audifi-api"]
    two = []
    for tag in ("old", "new"):
        machine = Machine(
            id_=tag,
            app=app.name,
            config=config.MachineConfig(image=f"registry.fly.io/audifi-api:{tag}", env={"ROLL_BACK_PIN": "since then"}),
            image=tag,
            environment={},
            engine=Buildah(),
            folder=tmp_path,
            changed=lambda *_: None,
        )
        machine.cordoned = tag == "new"
        app.machines[tag] = machine
        two.append(machine)
    yield two
    app.machines.clear()


@needs_an_edge
def test_bluegreen_refuses_machines_of_two_images(fly: Fly, tmp_path: Path, two_images: list[Machine]) -> None:
    (tmp_path / "fly.toml").write_text(FLY_TOML)
    arguments = ["deploy", "--image", "registry.fly.io/audifi-api:x", "--skip-release-command"]
    done = flyctl(fly, tmp_path, *arguments, token="token-of-audifi-api")

    assert done.returncode == 1
    assert "[x] registry.fly.io/audifi-api:old - 1 machine(s) (old)" in done.stderr
    assert done.stderr.endswith("Error: found multiple image versions\n")
    assert fly.apps["audifi-api"].releases[-1].status == "failed"
    assert len(two_images) == len(fly.apps["audifi-api"].machines)


@needs_an_edge
@pytest.mark.usefixtures("two_images")
def test_machine_list_has_the_fields_that_deploy_py_reads(fly: Fly, tmp_path: Path) -> None:
    done = flyctl(fly, tmp_path, "machine", "list", "--json", "--app", "audifi-api", token="token-of-audifi-api")

    old, new = [machines.read_machine(each) for each in json.loads(done.stdout)]
    assert (old.image, old.cordoned, old.pin) == ("audifi-api:old", False, "since then")
    assert (new.image, new.cordoned) == ("audifi-api:new", True)
    assert machines.leftovers([old, new]) == [new]


@needs_an_edge
def test_deploy_token_cannot_read_logs(fly: Fly, tmp_path: Path) -> None:
    done = flyctl(fly, tmp_path, "logs", "--no-tail", "--app", "audifi-api", token="token-of-audifi-api")

    assert done.returncode == 1
    assert "not authorized" in done.stderr


def test_committed_fly_toml_is_accepted(tmp_path: Path) -> None:
    (tmp_path / "fly.toml").write_text(FLY_TOML)
    fly_toml = config.read(tmp_path)

    assert (fly_toml.app, fly_toml.kill_signal, fly_toml.kill_timeout) == ("audifi-api", "SIGTERM", 30)
    assert fly_toml.deploy.release_command_timeout == 600
    assert config.releasing(fly_toml, "x").command == ["alembic", "upgrade", "head"]
    (check,) = fly_toml.http_service.checks
    assert (check.path, check.interval, check.timeout, check.grace_period) == ("/api/v1/health", 30, 10, 10)


@pytest.mark.parametrize(
    ("old", "new", "sentence"),
    [
        ("kill_timeout =", "kill_timout =", "kill_timout: Extra inputs"),
        ("strategy =", "strategie =", "deploy.strategie: Extra inputs"),
        ("[http_service]", "[http_services]", "http_services: Extra inputs"),
        ('"bluegreen"', '"blue-green"', "deploy.strategy: Input should be"),
        ('kill_timeout = "30s"', 'kill_timeout = "301s"', "kill_timeout: Input should be less than or equal to 300"),
        ('interval = "30s"', 'interval = "half a minute"', "http_service.checks.0.interval: Input should be"),
        ('app = "audifi-api"', "app = audifi-api", "fly.toml: Invalid value"),
    ],
)
def test_unknown_key_or_value_is_refused_by_name(tmp_path: Path, old: str, new: str, sentence: str) -> None:
    assert old in FLY_TOML
    (tmp_path / "fly.toml").write_text(FLY_TOML.replace(old, new))

    with pytest.raises(ConfigError) as refused:
        config.read(tmp_path)
    assert sentence in str(refused.value)


def test_check_times_are_clamped_to_flys_range(tmp_path: Path) -> None:
    """The range is 1 to 60 seconds (flyctl `internal/appconfig/validation.go`)."""
    text = FLY_TOML.replace('interval = "30s"', 'interval = "2m"').replace('timeout = "10s"', 'timeout = "10ms"')
    (tmp_path / "fly.toml").write_text(text)
    (check,) = config.read(tmp_path).http_service.checks

    assert (check.interval, check.timeout) == (60, 1)
