"""The TypeScript client (`make test-client`): its types are the contract's, and it works with the running server."""

import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support import api
from tests.support.api import ROOT, free_port

pytestmark = pytest.mark.client

CLIENT = ROOT / "clients" / "typescript"
CHROMIUMS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")


def succeed(*command: str | Path, **variables: str) -> None:
    done = subprocess.run(
        command,
        cwd=CLIENT,
        env=os.environ | variables,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    assert done.returncode == 0, f"\n{done.stdout}"


def test_its_types_are_those_of_the_contract() -> None:
    """`make openapi` writes them."""
    generator = ROOT / "dev" / "node_modules" / ".bin" / "openapi-typescript"
    options = ["--default-non-nullable=false", "--output", "src/schema.ts", "--check"]
    succeed(generator, "../../server/openapi.json", *options)


def test_it_compiles_under_strict() -> None:
    succeed("node_modules/.bin/tsc")


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory, database_url: str) -> Iterator[dict[str, str]]:
    """What the tests in TypeScript are told of a server that keeps its mails in a folder."""
    folder = tmp_path_factory.mktemp("api")
    app_port = str(free_port())
    with api.running(folder, DATABASE_URL=database_url, APP_URL=f"http://localhost:{app_port}") as running:
        yield {
            "API_URL": f"http://localhost:{running.port}",
            "APP_PORT": app_port,
            "MAIL_FOLDER": str(folder / "mail"),
        }


@pytest.fixture(scope="module")
def chromium() -> str:
    found = os.environ.get("CHROMIUM") or next(filter(None, map(shutil.which, CHROMIUMS)), None)
    if not found:
        pytest.fail("there is no Chromium: apt-get install chromium, or set CHROMIUM to one", pytrace=False)
    return found


def test_it_works_in_node(server: dict[str, str]) -> None:
    succeed("node", "--test", "test/node.test.ts", CHROMIUM="none", **server)


def test_it_works_in_a_browser_on_another_origin(server: dict[str, str], chromium: str) -> None:
    succeed("node_modules/.bin/tsc", "--project", "tsconfig.build.json")
    succeed("node", "--test", "test/browser.test.ts", CHROMIUM=chromium, **server)
