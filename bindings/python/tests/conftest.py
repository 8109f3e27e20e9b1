"""A synthetic hospital, made and run once by the program under test: ``CORDON_BIN``."""

from __future__ import annotations

import csv
import io
import json
import os
import subprocess
from pathlib import Path

import pytest

BIN = os.environ["CORDON_BIN"]


class Hospital:
    """A project folder, and what `cordon run` made of its files."""

    def __init__(self, path: Path, patients: int) -> None:
        self.path = path
        self.cordon("demo", str(path), "--patients", str(patients), "-q", at=path.parent)

    def cordon(self, *args: str, at: Path | None = None, ok: bool = True) -> str:
        done = subprocess.run([BIN, *args], cwd=at or self.path, capture_output=True, text=True, timeout=600)
        assert done.returncode == 0 or not ok, done.stderr
        return done.stdout

    @property
    def policy(self) -> Path:
        return self.path / "policies" / "safe-harbor-hospital.yaml"

    def raw(self, dataset: str) -> list[dict[str, str | None]]:
        """Rows as `cordon run` reads them: text, without those that are no rows at all."""
        with open(self.path / "data" / "csv" / f"{dataset}.csv", encoding="utf-8", newline="") as file:
            rows = list(csv.reader(file))
        header = rows[0]
        return [dict(zip(header, row)) for row in rows[1:] if len(row) == len(header)]

    def table(self, dataset: str) -> list[dict[str, str]]:
        """What stands in the table."""
        text = self.cordon(
            "sql", f"select * from {dataset}", "--as", "engineer", "--purpose", "operations", "--format", "csv"
        )
        return list(csv.DictReader(io.StringIO(text)))

    def record(self) -> list[dict[str, object]]:
        return json.loads(self.cordon("audit", "list", "--format", "json"))


@pytest.fixture(scope="session")
def hospital(tmp_path_factory: pytest.TempPathFactory) -> Hospital:
    return Hospital(tmp_path_factory.mktemp("hospital") / "clinic", 200)


def as_text(rows: list[dict[str, object]]) -> list[tuple[str, ...]]:
    """Rows as `cordon sql --format csv` spells them, in an order of their own."""

    def cell(value: object) -> str:
        if value is None or value != value:
            return ""
        if isinstance(value, bool):
            return str(value).lower()
        return str(value)

    return sorted(tuple(cell(value) for value in row.values()) for row in rows)
