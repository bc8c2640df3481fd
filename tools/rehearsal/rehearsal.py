"""Two apps on a simulated Fly, the workflow that deploys to them, and the actions of an operator."""

import os
import ssl
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx2

from dev.postgres import Postgres
from tests.support import databases
from tests.support.api import APP_URL, FILES, ROOT, SECRETS
from tools.fly_simulator import api
from tools.fly_simulator.platform import App, Fly
from tools.image.containers import Engine
from tools.rehearsal.act import BAKE_SECONDS, Run, Workflow
from tools.rehearsal.checkout import Checkout
from tools.rehearsal.github import Event

STAGING, PRODUCTION = "audifi-api-staging", "audifi-api"
APP_OF = {"develop": STAGING, "main": PRODUCTION}
BRANCH_OF = {app: branch for branch, app in APP_OF.items()}
MACHINES = 2
PIN = "ROLL_BACK_PIN"


@dataclass(kw_only=True)
class Rehearsal:
    """The platform, the checkout and the workflow of one rehearsal."""

    folder: Path
    engine: Engine
    fly: Fly
    checkout: Checkout
    workflow: Workflow
    postgres: Postgres
    builder: ThreadPoolExecutor
    builds: dict[str, Future[None]] = field(default_factory=dict)
    """Image builds by commit."""

    def build_ahead(self, *commits: str) -> None:
        """Build images in the background, so that later runs find them."""
        for commit in commits:
            self.builds[commit] = self.builder.submit(self._build, commit)

    def _build(self, commit: str) -> None:
        folder = self.folder / "ahead" / commit
        subprocess.run(["git", "clone", "--quiet", "--shared", self.checkout.folder, folder], check=True)
        subprocess.run(["git", "checkout", "--quiet", commit], cwd=folder, check=True)
        environment = os.environ | {"GITHUB_SHA": commit, "PYTHONPATH": f"{folder / 'server'}:{folder}"}
        command = ["nice", "-n", "19", sys.executable, "-m", "tools.image.build", "build"]
        subprocess.run(command, cwd=folder, env=environment, stdout=subprocess.DEVNULL, check=True)

    def push(self, branch: str, commit: str, *, bake_seconds: int = BAKE_SECONDS) -> Run:
        """Push a commit and wait until the workflow has ended."""
        self.checkout.git("checkout", "--quiet", "-B", branch, commit)
        paths = self.checkout.git("diff-tree", "--no-commit-id", "--name-only", "-r", "--root", commit).splitlines()
        event = Event(name="push", ref=f"refs/heads/{branch}", paths=[*paths, "server/"])
        if (build := self.builds.get(commit)) and not build.cancel():
            build.result()
        return self.workflow.run(event, secrets=self.secrets(APP_OF[branch]), bake_seconds=bake_seconds)

    def dispatch(self, environment: str, *, commit: str = "", **inputs: str) -> Run:
        """Start the workflow by hand on main, by default at its current commit."""
        app = {"staging": STAGING, "production": PRODUCTION}[environment]
        if commit:
            self.checkout.git("checkout", "--quiet", "-B", "main", commit)
        event = Event(name="workflow_dispatch", ref="refs/heads/main", inputs={"environment": environment, **inputs})
        return self.workflow.run(event, secrets=self.secrets(app))

    def restore(self, app: str, commit: str) -> None:
        """Make two unpinned machines serve a commit, unless they already do."""
        image = f"registry.fly.io/{app}:{commit}"
        fly_app = self.fly.apps[app]
        serving = fly_app.serving()
        good = [
            each for each in serving if each.takes_traffic and each.config.image == image and PIN not in each.config.env
        ]
        if len(good) == len(serving) == MACHINES and self.served(app) == commit[:7]:
            return
        progress(f"    restoring {app} to {commit[:7]}")
        for each in list(fly_app.machines.values()):
            self.fly.destroy(fly_app, each)
        if any(each.image == image for each in fly_app.releases):
            self.checkout.git("checkout", "--quiet", "--detach", commit)
            done = self.flyctl("deploy", "--image", image, app=app)
            assert done.returncode == 0, done.stderr
        else:
            run = self.push(BRANCH_OF[app], commit)
            assert run.succeeded, run.log

    def secrets(self, app: str) -> dict[str, str]:
        """Return the secrets of the app's GitHub environment."""
        return {"FLY_API_TOKEN": self.fly.apps[app].token}

    def flyctl(self, *arguments: str, app: str, folder: str = "server") -> subprocess.CompletedProcess[str]:
        """Run flyctl in the checkout, as an operator does."""
        return subprocess.run(
            [ROOT / "tools" / "fly_simulator" / "bin" / "flyctl", *arguments, "--app", app],
            cwd=self.checkout.folder / folder,
            env=os.environ
            | {
                "FLY_API_TOKEN": self.fly.apps[app].token,
                "FLY_FLAPS_BASE_URL": self.fly.api_url,
                "FLY_STAND_IN_ROOT": str(ROOT),
                "FLY_STAND_IN_PYTHON": sys.executable,
            },
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
        )

    def ask(self, app: str, path: str = "/api/v1/health") -> httpx2.Response:
        """Send a public HTTPS request to the app's host name."""
        tls = ssl.create_default_context(cafile=str(self.fly.edge.ca_file))
        with httpx2.Client(proxy=self.fly.edge.proxy_url, verify=tls, timeout=10) as client:
            return client.get(f"https://{app}.fly.dev{path}")

    def served(self, app: str) -> str:
        """Return the first 7 digits of the commit in the health answer."""
        return str(self.ask(app).json()["version"]).partition("+")[2]

    def database(self, app: str) -> str:
        return self.postgres.url(app.replace("-", "_"))

    def schema(self, app: str) -> object:
        """Return all columns, constraints and indexes, and Alembic's revision."""
        return databases.fetch_value(
            self.database(app),
            """
            SELECT array_agg(fact ORDER BY fact) FROM (
                SELECT format('%s.%s %s', table_name, column_name, data_type)
                FROM information_schema.columns WHERE table_schema = 'public'
                UNION ALL SELECT format('%s %s', conrelid::regclass, pg_get_constraintdef(oid)) FROM pg_constraint
                UNION ALL SELECT indexdef FROM pg_indexes WHERE schemaname = 'public'
                UNION ALL SELECT version_num FROM alembic_version
            ) AS facts (fact)
            """,
        )

    def events_since(self, when: float, app: str, *names: str) -> list[dict[str, Any]]:
        return [
            each
            for each in self.fly.events()
            if each["at"] >= when and each["app"] == app and (not names or each["event"] in names)
        ]


def app(name: str, postgres: Postgres, sendgrid_url: str) -> App:
    """Return an app as `flyctl apps create`, `postgres attach` and `secrets set` create it (docs/deploying.md)."""
    database = name.replace("-", "_")
    databases.execute(postgres.url(), f"CREATE DATABASE {database} TEMPLATE template0")
    return App(
        name=name,
        token=f"fo1_token-of-{name}",
        secrets={
            "DATABASE_URL": f"postgres://postgres@127.0.0.1:{postgres.port}/{database}?sslmode=disable",
            "APP_URL": APP_URL,
            "SENDGRID_API_KEY": "SG.rehearsal",
            "SENDGRID_API_URL": sendgrid_url,
            "TRUSTED_PROXIES": "127.0.0.0/8",  # the simulated proxy
            "CLIENT_REQUESTS_PER_MINUTE": "1000000",  # the traffic comes from one address,
            "ACCOUNT_REQUESTS_PER_MINUTE": "1000000",  # and from few accounts
            "ACCOUNT_CHANGES_PER_DAY": "1000000",
            **SECRETS,
            **FILES,
        },
    )


@contextmanager
def running(folder: Path, engine: Engine, postgres: Postgres, sendgrid_url: str) -> Iterator[Rehearsal]:
    apps = {name: app(name, postgres, sendgrid_url) for name in (STAGING, PRODUCTION)}
    checkout = Checkout(folder / "checkout")
    with api.running(folder / "fly", engine, apps) as fly, ThreadPoolExecutor(1) as builder:
        workflow = Workflow(checkout.folder, fly, folder / "runs", {})
        yield Rehearsal(
            folder=folder,
            engine=engine,
            fly=fly,
            checkout=checkout,
            workflow=workflow,
            postgres=postgres,
            builder=builder,
        )
        builder.shutdown(cancel_futures=True)


def wait_for_event(rehearsal: Rehearsal, since: float, app_name: str, name: str, *, of: Future[Any]) -> dict[str, Any]:
    """Wait for an event of the simulator, as long as `of`, which causes it, isn't done."""
    while True:
        is_over = of.done()
        if events := rehearsal.events_since(since, app_name, name):
            return events[0]
        assert not is_over, f"no {name!r} of {app_name}: {of.result()}"
        time.sleep(0.02)


def progress(text: str) -> None:
    """Print a line for the operator."""
    print(text, flush=True)
