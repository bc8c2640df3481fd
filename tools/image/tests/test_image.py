"""The real image: its release command migrates, its CMD serves, and it contains nothing else."""

import json
import os
import re
import shlex
import shutil
import signal
import time
import tomllib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import httpx2
import pytest

import audifi
from dev.postgres import Postgres
from tests.support import api as apis
from tests.support import databases, patient
from tests.support.api import ROOT
from tools.image import archive, containers
from tools.image import build as images
from tools.image.containers import Buildah, Container, Engine, EngineError
from tools.image.tests import simulators

pytestmark = [
    pytest.mark.image,
    pytest.mark.timeout(900),
    pytest.mark.skipif(containers.engine() is None, reason=containers.SKIP_REASON),
]

OVER_BASE_BYTES = 140_000_000  # 30 MB are botocore's descriptions of services, 15 MB Stripe's package
# What an image contains doesn't depend on the engine, and the simulated docker has no cache.
of_contents = pytest.mark.parametrize("engine", ["here"], indirect=True)
FLY = tomllib.loads((ROOT / "server" / "fly.toml").read_text())

LIST_IMAGE = """
import json, pathlib, shutil, sys
packages = pathlib.Path(sys.prefix, "lib/python3.13/site-packages")
print(json.dumps({
    "programs": [name for name in ("gcc", "cc", "ld", "make", "git", "curl", "pytest") if shutil.which(name)],
    "app": sorted(path.name for path in pathlib.Path("/app").iterdir()),
    "home": sorted(map(str, pathlib.Path("/root").glob(".cache/*"))),
    "packages": sorted(path.name for path in packages.glob("*.dist-info")),
    "not compiled": [
        str(path)
        for folder in (packages, pathlib.Path("/app/audifi"), pathlib.Path("/app/alembic/versions"))
        for path in folder.rglob("*.py")
        if not (path.parent / "__pycache__" / f"{path.stem}.cpython-313.pyc").exists()
    ],
}))
"""


@pytest.fixture(scope="session", params=["here", "as docker"])
def engine(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Engine:
    """The engine of this machine and, if that is buildah, also a simulated Docker 29 with BuildKit."""
    local = containers.engine()
    assert local
    if request.param == "here":
        return local
    if not isinstance(local, Buildah) or os.geteuid() != 0 or shutil.which("skopeo") is None:
        pytest.skip("needs buildah, skopeo and root; with docker, the simulator isn't needed")
    return simulators.docker(tmp_path_factory.mktemp("docker"))


@pytest.fixture(scope="session")
def image(engine: Engine) -> str:
    """The image that `make image` built and `make image-archive` saves; outside a workflow run, a new build."""
    return images.built(engine)


@pytest.fixture(scope="module")
def server() -> Iterator[Postgres]:
    """PostgreSQL on 127.0.0.1, where a container can reach it."""
    with databases.own_server(apis.free_port()) as running:
        yield running


@pytest.fixture
def database_url(server: Postgres) -> str:
    name = databases.create_database(server).split("/")[3].split("?")[0]
    return f"postgres://postgres@127.0.0.1:{server.port}/{name}?sslmode=disable"


def run(engine: Engine, image: str, command: Sequence[str], **environment: str) -> tuple[int, str]:
    return engine.start(image, command, environment, read_only=True).wait(120)


def start_server(engine: Engine, image: str, **environment: str) -> tuple[Container, str]:
    """Start the image's CMD as fly.toml does; return the container and its health URL once it answers."""
    port = str(apis.free_port())
    secrets = {"APP_URL": apis.APP_URL, "SENDGRID_API_KEY": "SG.key", **apis.SECRETS, **apis.FILES}
    ports = {"PORT": port, "METRICS_PORT": str(apis.free_port())}
    variables = FLY["env"] | secrets | environment | ports
    container = engine.start(image, engine.config(image)["Cmd"], variables, read_only=True)
    url = f"http://127.0.0.1:{port}{FLY['http_service']['checks'][0]['path']}"
    deadline = time.monotonic() + 60
    while True:
        try:
            patient.get(url)
        except httpx2.TransportError:
            if time.monotonic() > deadline:
                container.signal(signal.SIGKILL)
                raise AssertionError(container.wait(10)[1]) from None
            time.sleep(0.1)
        else:
            return container, url


@of_contents
def test_release_command_needs_only_database_url(engine: Engine, image: str, database_url: str) -> None:
    command = shlex.split(FLY["deploy"]["release_command"])

    first = run(engine, image, command, DATABASE_URL=database_url, RELEASE_COMMAND="1")
    elsewhere = ["sh", "-c", f"cd / && {FLY['deploy']['release_command']}"]  # from another folder, as in a console
    second = run(engine, image, elsewhere, DATABASE_URL=database_url)

    assert first[0] == 0, first[1]
    assert "applied 0001" in first[1]
    assert second[0] == 0, second[1]
    assert "nothing to apply" in second[1]


@of_contents
def test_release_command_fails_without_a_database(engine: Engine, image: str) -> None:
    status, output = run(
        engine,
        image,
        shlex.split(FLY["deploy"]["release_command"]),
        DATABASE_URL="postgres://u:s3cr3t@127.0.0.1:1/d",
        MIGRATION_WAKE_TIMEOUT_SECONDS="1",
    )

    assert status != 0
    assert "FAILED: can't reach 127.0.0.1:1/d: ConnectionRefusedError" in output
    assert "s3cr3t" not in output


def test_server_is_healthy_and_exits_0_on_flys_signal(engine: Engine, image: str, database_url: str) -> None:
    container, url = start_server(engine, image, DATABASE_URL=database_url)
    health = patient.get(url)
    began = time.monotonic()
    container.signal(signal.Signals[FLY["kill_signal"]])
    status, log = container.wait(30)

    assert health.status_code == 200
    assert health.json()["version"] == f"{audifi.__version__}+{images.commit()[:7]}"
    assert status == 0, log
    assert time.monotonic() - began < int(FLY["kill_timeout"].removesuffix("s")) / 3
    assert "Traceback" not in log


@of_contents
def test_operator_commands_run_in_the_image(engine: Engine, image: str, database_url: str) -> None:
    run(engine, image, shlex.split(FLY["deploy"]["release_command"]), DATABASE_URL=database_url)
    for command in ("users list", "jobs list", "users suspend --help"):
        status, output = run(engine, image, ["python", "-m", "audifi", *command.split()], DATABASE_URL=database_url)
        assert status == 0, output
    unknown = ["python", "-m", "audifi", "users", "show", "a@b.example"]
    status, output = run(engine, image, unknown, DATABASE_URL=database_url)
    assert (status, output.splitlines()[0]) == (1, "There is no account a@b.example.")
    elsewhere = ["sh", "-c", "cd / && python -m audifi doctor"]
    status, output = run(engine, image, elsewhere, DATABASE_URL=database_url)
    assert (status, "✓ migrations   The schema is at " in output) == (1, True), output


@of_contents
def test_server_is_degraded_without_a_database(engine: Engine, image: str) -> None:
    container, url = start_server(engine, image, DATABASE_URL="postgres://u:s3cr3t@127.0.0.1:1/d")
    health = patient.get(url)
    container.signal(signal.SIGTERM)
    status, log = container.wait(30)

    assert health.status_code == 503
    assert status == 0
    assert "s3cr3t" not in log


def test_image_has_numeric_user_exec_command_and_labels(engine: Engine, image: str) -> None:
    config: dict[str, Any] = engine.config(image)
    user, group = map(int, config["User"].split(":"))

    assert user > 0
    assert group > 0
    assert config["Cmd"] == ["python", "-m", "audifi.serve"]
    assert not config.get("Entrypoint")  # it would precede the release command
    assert config["StopSignal"] == FLY["kill_signal"]
    assert config["Labels"]["org.opencontainers.image.revision"] == images.commit()
    assert config["Labels"]["org.opencontainers.image.title"] == "AudiFi API"
    assert not [variable for variable in config["Env"] if "SECRET" in variable or "DATABASE" in variable]


@of_contents
def test_image_has_only_compiled_server_and_migrations(engine: Engine, image: str) -> None:
    status, output = run(engine, image, ["python", "-c", LIST_IMAGE])
    assert status == 0, output
    contents = json.loads(output)

    assert contents["programs"] == []
    assert contents["home"] == []
    assert contents["app"] == ["alembic", "alembic.ini", "audifi"]
    assert contents["not compiled"] == []
    locked = {
        line.split("==")[0].replace("-", "_").lower()
        for line in (ROOT / "server" / "requirements.lock").read_text().splitlines()
        if "==" in line
    }
    assert {name.split("-")[0].lower() for name in contents["packages"]} <= locked


@of_contents
def test_nothing_is_compiled_at_start(engine: Engine, image: str) -> None:
    status, output = run(engine, image, ["python", "-v", "-c", "import audifi.serve"])

    assert status == 0, output
    read = re.findall(r"^# code object from '(/opt/venv|/app)/.*\.pyc'$", output, re.MULTILINE)
    compiled = re.findall(r"^# code object from (?:/opt/venv|/app)/.*\.py$", output, re.MULTILINE)
    assert len(read) > 300, "python -v logs each module that it reads"
    assert compiled == []
    assert "bytecode is stale" not in output


@of_contents
def test_image_is_at_most_140_megabytes_over_its_base(engine: Engine, image: str, tmp_path: Path) -> None:
    """Compares unpacked layers: engines report the size of packed layers, or of both (moby/moby#53426)."""
    (base,) = set(re.findall(r"^FROM (\S+)", (ROOT / "server" / "Dockerfile").read_text(), re.MULTILINE))
    (tmp_path / "Dockerfile").write_text(f"FROM {base}\n")
    engine.build(tmp_path, "localhost/audifi-base:measured", {})  # BuildKit doesn't store the base itself
    engine.save("localhost/audifi-base:measured", tmp_path / "base.tar")
    engine.remove("localhost/audifi-base:measured")
    engine.save(image, tmp_path / "image.tar")

    of_base, of_image = (archive.read(tmp_path / name).layers for name in ("base.tar", "image.tar"))
    over_base = sum(size for layer, size in of_image.items() if layer not in of_base)
    print(f"\nthe image is {over_base / 1e6:.1f} MB over its base")
    assert set(of_base) & set(of_image)
    assert 0 < over_base <= OVER_BASE_BYTES


def test_archive_has_the_same_image_under_its_name(engine: Engine, image: str, tmp_path: Path) -> None:
    file = tmp_path / "image.tar"
    file.write_bytes(b"an older one")

    images.save(engine, file)

    saved = archive.read(file)
    assert saved.tags == [image]
    assert saved.config["Labels"]["org.opencontainers.image.revision"] == images.commit()


def test_workflow_run_reuses_the_built_image(engine: Engine, image: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GITHUB_SHA", image.rpartition(":")[2])
    before = engine.id(image)

    assert images.built(engine) == image
    assert engine.id(image) == before


@of_contents
def test_image_of_another_commit_names_that_commit(engine: Engine, image: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A cache must not reuse the image although only the commit has changed."""
    monkeypatch.setenv("GITHUB_SHA", "5" * 40)
    other = images.build(engine)
    labels = engine.config(other)["Labels"]
    engine.remove(other)

    assert engine.config(image)["Labels"]["org.opencontainers.image.revision"] != "5" * 40
    assert labels["org.opencontainers.image.revision"] == "5" * 40


def test_saving_a_missing_image_fails(engine: Engine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GITHUB_SHA", "0" * 40)

    with pytest.raises(EngineError, match="doesn't exist; `make image` builds it"):
        images.save(engine, tmp_path / "image.tar")


def test_container_output_goes_to_the_given_file(engine: Engine, image: str, tmp_path: Path) -> None:
    file = tmp_path / "log"
    with file.open("wb") as output:
        container = engine.start(image, ["sh", "-c", "echo output; echo wrote > /tmp/file"], {}, output=output)
        ended = container.wait(60)
    container.signal(signal.SIGKILL)  # no error after the end

    assert ended == (0, "")
    assert file.read_text() == "output\n"
