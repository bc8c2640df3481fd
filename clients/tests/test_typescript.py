"""The TypeScript client (`make test-client`): its types match the contract, and it works with a real server."""

import json
import os
import re
import shutil
import subprocess
from collections.abc import Iterator, Mapping
from itertools import chain
from pathlib import Path

import pytest
from stripe import StripeClient
from typer.testing import CliRunner

from audifi.cli import app as console
from tests.masters import samples
from tests.support import api
from tests.support.api import ROOT, free_port
from tests.support.app import check_invariants
from tools.stripe_stand_in import server as stand_ins

pytestmark = pytest.mark.client

CLIENT = ROOT / "clients" / "typescript"
CALLER_SECRET = "c" * 32
SELLING = ROOT / "docs" / "selling-shares.md"
PAYING = ROOT / "docs" / "paying-dividends.md"
GUIDES = (ROOT / "docs" / "frontends.md", SELLING, CLIENT / "README.md")
NODE_TESTS = ("node.test.ts", "session.test.ts", "retry.test.ts")
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


@pytest.fixture(scope="session")
def guides(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with the snippets of the guides, each under the name in its first line."""
    folder = tmp_path_factory.mktemp("guides")
    for guide in GUIDES:
        for block, name in re.findall(r"^```tsx?\n(// (\S+)\n.*?)^```$", guide.read_text(), re.DOTALL | re.MULTILINE):
            (folder / name).write_text(block)
    (folder / "node_modules").symlink_to(CLIENT / "node_modules")
    options = {
        "module": "preserve",
        "jsx": "react-jsx",
        "allowImportingTsExtensions": True,
        "rewriteRelativeImportExtensions": False,
        "noUnusedLocals": False,
        "paths": {"@audifi/api": [str(CLIENT / "src" / "index.ts")]},
    }
    config = {"extends": str(CLIENT / "tsconfig.json"), "compilerOptions": options, "include": ["*.ts", "*.tsx"]}
    (folder / "tsconfig.json").write_text(json.dumps(config))
    return folder


def test_every_snippet_of_the_guides_is_checked(guides: Path) -> None:
    blocks = sum(len(re.findall(r"^```tsx?$", guide.read_text(), re.MULTILINE)) for guide in GUIDES)
    assert len([*guides.glob("*.ts"), *guides.glob("*.tsx")]) == blocks > 0
    succeed("node_modules/.bin/tsc", "--project", guides)


def test_types_match_the_contract() -> None:
    """`make openapi` writes them."""
    generator = ROOT / "tools" / "node_modules" / ".bin" / "openapi-typescript"
    options = ["--default-non-nullable=false", "--output", "src/schema.ts", "--check"]
    succeed(generator, "../../server/openapi.json", *options)


def test_client_compiles_under_strict() -> None:
    succeed("node_modules/.bin/tsc")


@pytest.fixture
def server(tmp_path: Path, migrated_database_url: str, guides: Path) -> Iterator[dict[str, str]]:
    """Yield the variables of the tests in TypeScript: a server that stores its emails in a folder.

    Each test has its own database, whose rate limits allow it 20 sign-ins.
    """
    app_port = str(free_port())
    settings = {"APP_URL": f"http://localhost:{app_port}", "TRUSTED_CALLERS": f"web={CALLER_SECRET}"}
    with api.running(tmp_path, DATABASE_URL=migrated_database_url, **settings) as running:
        yield {
            "API_URL": f"http://localhost:{running.port}",
            "APP_PORT": app_port,
            "MAIL_FOLDER": str(tmp_path / "mail"),
            "CALLER_SECRET": CALLER_SECRET,
            "GUIDES": str(guides),
        }


@pytest.fixture
def market(
    tmp_path: Path, migrated_database_url: str, storage: Mapping[str, str], guides: Path
) -> Iterator[dict[str, str]]:
    """Yield the variables of a server where accounts can sell and buy, as with `make run`, and of two files."""
    (tmp_path / "song.wav").write_bytes(samples.wav())
    (tmp_path / "cover.png").write_bytes(samples.png())
    settings = {"FUNDING": "development", "TEST_CODE": "12345678", "DECLARE_NOTICE_HOURS": "0", **storage}
    with api.running(tmp_path, DATABASE_URL=migrated_database_url, **settings) as running:
        yield {
            "API": f"{running.url}/api/v1",
            "API_URL": running.url,
            "APP_PORT": "1",
            "MAIL_FOLDER": str(tmp_path / "mail"),
            "CALLER_SECRET": CALLER_SECRET,
            "CHROMIUM": "none",
            "GUIDES": str(guides),
            "AUDIO": str(tmp_path / "song.wav"),
            "COVER": str(tmp_path / "cover.png"),
        }
    check_invariants(migrated_database_url)


@pytest.fixture
def paying(tmp_path: Path, migrated_database_url: str, guides: Path) -> Iterator[dict[str, str]]:
    """Yield the variables of a server whose payments go to a stand-in of Stripe, which sends no events."""
    with stand_ins.running(start=None) as stand_in:
        v1 = StripeClient("rk_test_x", base_addresses={"api": stand_in.url}).v1
        product = v1.products.create({"name": "PRO"})
        v1.prices.create(
            {
                "product": product.id,
                "lookup_key": "pro_month_usd",
                "unit_amount": 2900,
                "currency": "usd",
                "recurring": {"interval": "month"},
            }
        )
        settings = {
            "PAYMENTS": "stand_in",
            "STRIPE_API_BASE": stand_in.url,
            "STRIPE_SECRET_KEY": "rk_test_of_the_client",
            "STRIPE_WEBHOOK_SECRET": "whsec_of_the_client",
        }
        variables = settings | {"DATABASE_URL": migrated_database_url}
        sold = CliRunner().invoke(console, ["subscriptions", "sync-prices"], env=api.MINIMAL | variables)
        assert sold.exit_code == 0, sold.output
        with api.running(tmp_path, **variables) as running:
            yield {
                "API_URL": running.url,
                "APP_PORT": "1",
                "MAIL_FOLDER": str(tmp_path / "mail"),
                "CALLER_SECRET": CALLER_SECRET,
                "GUIDES": str(guides),
            }
    check_invariants(migrated_database_url)


def run_commands(*guides: Path, folder: Path, variables: dict[str, str]) -> str:
    """Run the commands of guides in one shell; return its output, with single spaces."""
    blocks = [re.findall(r"^```bash\n(.*?)^```$", each.read_text(), re.DOTALL | re.MULTILINE) for each in guides]
    script = "\n".join(["set -euo pipefail", *chain.from_iterable(blocks)])
    done = subprocess.run(
        ["bash", "-c", script], cwd=folder, env=os.environ | variables, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return " ".join(done.stdout.split())


def test_commands_of_selling_shares_and_dividends_work(market: dict[str, str], tmp_path: Path) -> None:
    output = run_commands(SELLING, PAYING, folder=tmp_path, variables=market)

    for answer in (
        '"approved"',
        '"status": "scheduled", "terms_sha256": "',
        '"serials": [ [ 1, 20 ] ], "total": 5000, "minter_rank": 1',
        '"serials": [[21, 25]]',
        '"status": "completed", "sold": 25',
        '"purpose": "pending", "asset": "USD", "balance": 5938',
        '"title": "Night Drive", "shares": 25, "serials": [ [ 1, 20 ], [ 21, 25 ] ]',
        '"reason": "sale", "price": 250',
        '{ "serials": [ 1, 5 ], "total": 1500 }',
        '{"status":"imported","lines":4,"unmatched_lines":1,"suspected_lines":0,"failure":null}',
        '{"amount":"128.040159000000","recorded":12804,"carried_out":"0.000159000000"}',
        '{"number":5,"isrc":"USDEM2599999","amount":"0.011000000000"}',
        '{"source":"license","amount":5000,"status":"recorded"}',
        '{"status":"declared","gross":12804,"platform":1280,"artist":5122,"holders":6402}',
        '{"distributed":6402,"unclaimed":6402,"per_share":"6.402000000"}',
        '{"title":"Night Drive","shares":20,"amount":128}',
        '{"paid":128,"has_more":false} "dividend.nothing_to_claim"',
    ):
        assert answer in output, output


def test_snippets_of_selling_shares_work(market: dict[str, str]) -> None:
    succeed("node", "--test", "test/selling.test.ts", **market)


@pytest.fixture(scope="module")
def chromium() -> str:
    program = os.environ.get("CHROMIUM") or next(filter(None, map(shutil.which, CHROMIUMS)), None)
    if not program:
        pytest.fail("there is no Chromium: apt-get install chromium, or set CHROMIUM to one", pytrace=False)
    return program


@pytest.mark.parametrize("file", NODE_TESTS)
def test_client_works_in_node(server: dict[str, str], file: str) -> None:
    succeed("node", "--test", f"test/{file}", CHROMIUM="none", **server)


@pytest.mark.parametrize("file", ["browser.test.ts", "tabs.test.ts", "guides.test.ts"])
def test_client_works_in_pages_of_another_origin(server: dict[str, str], chromium: str, file: str) -> None:
    succeed("node_modules/.bin/tsc", "--project", "tsconfig.build.json")
    succeed("node", "--test", f"test/{file}", CHROMIUM=chromium, **server)


def test_person_signs_in_at_docs_by_clicking(server: dict[str, str], chromium: str) -> None:
    succeed("node", "--test", "test/docs.test.ts", CHROMIUM=chromium, **server)


def test_person_pays_by_clicking(paying: dict[str, str], chromium: str) -> None:
    succeed("node", "--test", "test/payments.test.ts", CHROMIUM=chromium, **paying)
