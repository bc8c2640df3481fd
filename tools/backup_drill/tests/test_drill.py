"""The backup drill restores the data, and fails if the result differs."""

import re
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from dev.postgres import Postgres
from tools.backup_drill import drill
from tools.backup_drill.drill import Contents, DrillError

pytestmark = pytest.mark.slow
ROWS = 200


@pytest.fixture
def folder() -> Iterator[Path]:
    """A folder outside pytest's, which PostgreSQL's user may not be able to read."""
    with TemporaryDirectory(prefix="audifi-tests-") as name:
        Path(name).chmod(0o755)
        yield Path(name)


def compared_rows(capsys: pytest.CaptureFixture[str]) -> int:
    """Return how many rows the drill compared: accounts, their events, and what the migrations insert."""
    output = capsys.readouterr().out
    compared = re.search(r"compared: (\d+) rows", output)
    assert compared, output
    return int(compared[1])


def test_dump_is_restored_with_every_row(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    drill.dump_and_restore(folder, ROWS)

    assert not (folder / "before").exists()
    assert compared_rows(capsys) > 2 * ROWS

    drill.destroy(folder / "after")
    drill.restore_dump(folder, folder / "backup.dump")
    assert f"  users: {ROWS}\n" in capsys.readouterr().out


def test_restore_to_a_point_in_time_undoes_an_accident(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    drill.restore_to_a_point_in_time(folder, ROWS)

    assert compared_rows(capsys) > 2 * ROWS


def test_broken_dump_is_refused(folder: Path) -> None:
    (folder / "broken.dump").write_bytes(b"PGDMP")

    with pytest.raises(DrillError, match="pg_restore failed"):
        drill.restore_dump(folder, folder / "broken.dump")


def test_failing_check_fails_the_drill(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(drill, "CHECKS", [["sh", "-c", "echo $DATABASE_URL has no ledger; exit 1"]])

    with pytest.raises(DrillError, match=r"sh failed: postgresql://postgres@/audifi.* has no ledger"):
        drill.check(Postgres(socket_folder=folder, port=5432, pid=1))


@pytest.mark.parametrize("change", ["count", "content", "missing", "new"])
def test_any_difference_is_named(change: str) -> None:
    expected: Contents = {"sessions": (1, "a"), "users": (2, "b")}
    restored: Contents = {
        "count": expected | {"users": (1, "b")},
        "content": expected | {"users": (2, "c")},
        "missing": {"sessions": (1, "a")},
        "new": expected | {"accounts": (0, "")},
    }[change]

    with pytest.raises(DrillError, match="accounts" if change == "new" else "users"):
        drill.compare(expected, restored)
