"""`make migration` and the checks of `make lint`."""

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.support.databases import alembic
from tools.migrations import ALEMBIC
from tools.migrations.checkouts import NEWEST, NEXT, Checkout, git
from tools.migrations.hashes import LIST

pytestmark = pytest.mark.slow

RELEASED = "0003_rate_limit_counters.py"
UNSAFE = "ALTER TABLE users ADD CONSTRAINT ck_users_short CHECK (char_length(email) < 200)"
RULE = "constraint-missing-not-valid"
ALL_WELL = r"migrations: \d+ in one line, {} of them new\n"


@pytest.fixture
def checkout(tmp_path: Path) -> Checkout:
    return Checkout.make(tmp_path)


def refusal(checkout: Checkout) -> str:
    done = checkout.run("tools.migrations.check")
    assert done.returncode == 1, done.stdout + done.stderr
    assert "Traceback" not in done.stderr
    return done.stderr


def acceptance(checkout: Checkout) -> str:
    done = checkout.run("tools.migrations.check")
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


# New migrations


def test_new_migration_has_the_limits_of_the_template(checkout: Checkout) -> None:
    made = checkout.make_target("migration", "name=add users.bio")

    assert made.returncode == 0, made.stderr
    path = checkout.migration(NEXT)
    text = path.read_text()
    assert path.name == f"{NEXT}_add_users_bio.py"
    assert text.startswith('"""Add users.bio.\n\nStep: ')
    assert f'revision: str = "{NEXT}"\ndown_revision: str | Sequence[str] | None = "{NEWEST}"\n' in text
    assert "SET LOCAL lock_timeout = '1s'" in text
    assert "SET LOCAL statement_timeout = '10s'" in text
    for step in ("expand", "migrate", "contract"):
        assert re.search(rf"^  {step} +\w+", text, re.MULTILINE)
    subprocess.run(["ruff", "format", "--check", path], cwd=checkout.root, check=True)
    subprocess.run(["sha256sum", "--check", "--strict", "released.sha256"], cwd=checkout.root / ALEMBIC, check=True)
    assert path.name in (checkout.root / LIST).read_text()


@pytest.mark.parametrize("name", ["", "name=", 'name=say "this"', "name=two\nlines", "name=ends with a dot."])
def test_invalid_name_is_refused_with_an_example(checkout: Checkout, name: str) -> None:
    made = checkout.make_target("migration", *filter(None, [name]))

    assert made.returncode != 0
    assert 'make migration name="add users.bio"' in made.stderr
    assert git(checkout.root, "status", "--porcelain") == ""


def test_limits_override_those_of_the_run(checkout: Checkout, migrated_database_url: str) -> None:
    checkout.make_target("migration", "name=sleep")
    path = checkout.migration(NEXT)
    limit = """op.execute("SET LOCAL statement_timeout = '10s'")"""
    path.write_text(
        path.read_text().replace(limit, limit.replace("10s", "100ms") + '; op.execute("SELECT pg_sleep(9)")')
    )

    failed = alembic("upgrade", "head", folder=checkout.root / "server", DATABASE_URL=migrated_database_url)

    assert "statement timeout" in failed.stdout


# Steps


def test_template_without_a_step_is_refused(checkout: Checkout) -> None:
    checkout.make_target("migration", "name=add users.bio")

    assert f"{NEXT}_add_users_bio.py must name its step" in refusal(checkout)


@pytest.mark.parametrize(
    "step", ["", "Step: expand and contract", "Step: expand\nStep: contract", "step: expand", "Step: Expand"]
)
def test_unknown_step_is_refused(checkout: Checkout, step: str) -> None:
    checkout.add_migration("SELECT", step=step)

    assert "`Step: expand`, `Step: migrate` or `Step: contract`" in refusal(checkout)


# History


def test_edited_released_migration_is_refused(checkout: Checkout) -> None:
    path = checkout.migration("0003")
    path.write_text(path.read_text() + "\n# a word\n")

    output = refusal(checkout)

    assert f"{RELEASED} was released" in output
    assert "has changed, but no database runs it again" in output


def test_edited_released_migration_keeps_its_hash(checkout: Checkout) -> None:
    path = checkout.migration("0003")
    path.write_text(path.read_text() + "\n# a word\n")
    hashes = checkout.make_target("hashes")
    unchanged = git(checkout.root, "status", "--porcelain", str(LIST))
    by_hand = subprocess.run(
        ["sha256sum", *sorted(f"versions/{file.name}" for file in path.parent.glob("*.py"))],
        cwd=checkout.root / ALEMBIC,
        capture_output=True,
        text=True,
        check=True,
    )
    (checkout.root / LIST).write_text(by_hand.stdout)

    assert f"{RELEASED} was released" in hashes.stderr
    assert unchanged == ""
    assert f"{RELEASED} was released" in refusal(checkout)


def test_advice_for_an_edited_migration_works(checkout: Checkout) -> None:
    checkout.migration("0003").write_text("broken")
    way = re.search(r"`git (checkout [^`]+)`", refusal(checkout))
    assert way

    git(checkout.root, *way[1].split())

    acceptance(checkout)


def test_deleted_released_migration_is_refused(checkout: Checkout) -> None:
    checkout.migration("0003").unlink()
    listed = (checkout.root / LIST).read_text()
    (checkout.root / LIST).write_text(re.sub(rf"\w+  versions/{RELEASED}\n", "", listed))

    assert f"{RELEASED} was released" in refusal(checkout)
    assert "is gone" in checkout.make_target("hashes").stderr


def test_unlisted_migration_is_refused(checkout: Checkout) -> None:
    path = checkout.add_migration("SELECT")
    git(checkout.root, "checkout", "--", str(LIST))

    assert f"{path.name} isn't in {LIST}; `make hashes` adds it" in refusal(checkout)


def test_changed_new_migration_is_listed_again(checkout: Checkout) -> None:
    path = checkout.add_migration("SELECT")
    path.write_text(path.read_text() + "# a word\n")
    stale = refusal(checkout)

    assert checkout.make_target("hashes").returncode == 0
    assert f"{path.name} isn't what {LIST} says" in stale
    assert re.search(ALL_WELL.format(1), acceptance(checkout))


def test_list_protects_migrations_without_git_history(checkout: Checkout) -> None:
    shutil.rmtree(checkout.root / ".git")
    output = acceptance(checkout)
    checkout.migration("0003").write_text("broken")

    assert "migrations: all are taken for new ones" in output
    assert "there is no git history here" in output
    assert re.search(ALL_WELL.format(int(NEWEST)), output)
    assert f"{RELEASED} isn't what {LIST} says" in refusal(checkout)
    assert "its release is unknown" in checkout.make_target("hashes").stderr


# DDL


def test_unsafe_ddl_is_refused(checkout: Checkout) -> None:
    path = checkout.add_migration(UNSAFE)

    output = refusal(checkout)

    assert f"{path.name} can hurt:" in output
    assert RULE in output
    assert "-- squawk-ignore RULE -- REASON" in output


@pytest.mark.parametrize(
    "comment", [f"-- squawk-ignore {RULE}", f"-- squawk-ignore {RULE} -- ", "--squawk-ignore-file"]
)
def test_unsafe_ddl_needs_a_reason(checkout: Checkout, comment: str) -> None:
    checkout.add_migration(f"{comment}\n{UNSAFE}")

    assert "doesn't say why it can't hurt" in refusal(checkout)


def test_unsafe_ddl_with_a_reason_is_allowed(checkout: Checkout) -> None:
    checkout.add_migration(f"-- squawk-ignore {RULE} -- nobody has an account yet, so there are no rows\n{UNSAFE}")

    assert re.search(ALL_WELL.format(1), acceptance(checkout))


def test_unsafe_ddl_of_a_released_migration_is_allowed(checkout: Checkout) -> None:
    checkout.add_migration(UNSAFE, step="")
    checkout.release()

    assert re.search(ALL_WELL.format(0), acceptance(checkout))


# Revisions and models


def test_two_heads_are_refused(checkout: Checkout) -> None:
    later = f"{int(NEXT) + 1:04}"
    checkout.add_migration("SELECT")
    checkout.add_migration("SELECT", revision=later)

    assert f"there are 2 heads, {NEXT} and {later}; have the one that main lacks come after the other" in refusal(
        checkout
    )


def test_duplicate_number_is_refused(checkout: Checkout) -> None:
    checkout.add_migration("SELECT", name="one")
    checkout.add_migration("SELECT", name="two")

    assert f"{NEXT} is there twice, {NEXT}_one.py and {NEXT}_two.py; have the one that main lacks" in refusal(checkout)


def test_missing_predecessor_is_refused(checkout: Checkout) -> None:
    checkout.add_migration("SELECT", down="8999")

    assert re.search("Revision 8999 .*is not present; mend revision and down_revision in it", refusal(checkout))


def test_changed_models_without_a_migration_are_refused(checkout: Checkout) -> None:
    models = checkout.root / "server" / "audifi" / "auth" / "models.py"
    table = '    __tablename__ = "users"\n'
    models.write_text(models.read_text().replace(table, f"{table}    shoe_size: Mapped[str | None]\n"))

    done = checkout.run("tools.migrations.models")

    assert done.returncode == 1
    assert 'make the migration that is missing, `make migration name="…"`' in done.stderr
    assert "shoe_size" in done.stderr


@pytest.mark.parametrize(
    ("before", "changed", "named"),
    [
        ('"producer", "admin"', '"producer", "label", "admin"', "ck_users_role"),
        (
            '"ix_sessions_user_id", "user_id", postgresql_where=text("revoked_at IS NULL")',
            '"ix_sessions_user_id", "user_id"',
            "ix_sessions_user_id",
        ),
    ],
    ids=["a value that a constraint allows", "an index's condition"],
)
def test_changed_definition_of_the_same_name_is_refused(
    checkout: Checkout, before: str, changed: str, named: str
) -> None:
    models = checkout.root / "server" / "audifi" / "auth" / "models.py"
    assert before in models.read_text()
    models.write_text(models.read_text().replace(before, changed))

    done = checkout.run("tools.migrations.models")

    assert done.returncode == 1
    assert 'make the migration that is missing, `make migration name="…"`' in done.stderr
    assert re.search(rf"only in the models: .*{named}", done.stderr)
    assert re.search(rf"only in the migrations: .*{named}", done.stderr)
