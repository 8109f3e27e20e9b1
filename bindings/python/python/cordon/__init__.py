"""De-identification of patient data under one policy.

>>> import cordon
>>> recipe = cordon.compile("clinic/policies/safe-harbor.yaml")
>>> safe = recipe.apply(patients, "patients")          # pandas, Polars, pyarrow or DuckDB in, the same out

What runs is the very recipe that ``cordon run`` runs: the same policy, keys and rows give the same bytes. Keys come from the project
folder that the policy stands in (or from ``project=``), and every call is on the project's record before its rows are handed over.
No error of this package holds a value of the data.
"""

from __future__ import annotations

import getpass
import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Mapping

from . import _cordon
from ._cordon import CordonError, DataError, KeysError, PolicyError, __version__
from ._frames import give, take

__all__ = [
    "Column",
    "CordonError",
    "DataError",
    "KeysError",
    "PolicyError",
    "Project",
    "Recipe",
    "Span",
    "__version__",
    "compile",
    "detect",
    "inspect",
]

Identities = Mapping[str, Mapping[str, str]]
#: How many of the rows that failed an error lists.
_LISTED = 20


class Project:
    """A project folder with its keys in hand.

    ``path`` is the folder, or one within it. ``user`` is who the record says that it was, without it the user of the operating system.
    ``passphrase`` is for projects whose ``keys.root`` is ``prompt``; all others have their secret where ``cordon.yaml`` says.

    :raises KeysError: keys, vault or record cannot be had.
    """

    def __init__(
        self, path: str | os.PathLike[str] = ".", *, user: str | None = None, passphrase: str | None = None
    ) -> None:
        self._native = _cordon.Project(os.fspath(path), user or getpass.getuser(), passphrase)

    @property
    def name(self) -> str:
        return self._native.name

    @property
    def path(self) -> Path:
        return Path(self._native.root)

    @property
    def key_ids(self) -> list[str]:
        """The newest keys, by name and version. Keys themselves are never shown."""
        return self._native.key_ids

    def compile(
        self,
        policy: str | os.PathLike[str],
        *,
        recipient: str | None = None,
        identities: Identities | None = None,
        run_date: Any = None,
    ) -> Recipe:
        """A policy of the project, by its name (``safe-harbor``) or by the path of a file. See :func:`compile`."""
        path = Path(policy)
        named = self.path / "policies" / f"{os.fspath(policy)}.yaml"
        if not path.exists() and named.exists():
            path = named
        return compile(path, project=self, recipient=recipient, identities=identities, run_date=run_date)

    def __repr__(self) -> str:
        return f"<cordon.Project {self.name!r}>"


class Recipe:
    """A policy, checked and compiled. Made by :func:`compile`."""

    def __init__(self, native: Any, path: Path, project: Project | None, recipient: str | None) -> None:
        self._native = native
        self._path = path
        self._project = project
        self._recipient = recipient

    @property
    def name(self) -> str:
        return self._native.name

    @property
    def description(self) -> str | None:
        return self._native.description

    @property
    def method(self) -> str:
        """``safe-harbor``, ``limited-data-set`` or ``expert-determination``."""
        return self._native.method

    @property
    def hash(self) -> str:
        """SHA-256 of the policy's text, as the record and the manifests of tables have it."""
        return self._native.hash

    @property
    def datasets(self) -> list[str]:
        """The datasets that are tables. Those of documents (FHIR, HL7 v2, C-CDA, X12) are read by ``cordon run``."""
        return self._native.datasets

    @property
    def project(self) -> Project:
        """The project whose keys are used; opened when it is first needed."""
        if self._project is None:
            self._project = Project(self._path.resolve().parent)
        return self._project

    def schema(self, dataset: str | None = None) -> Any:
        """The columns that come out, as a ``pyarrow.Schema``. Each field's metadata say what it was made of and how."""
        return self._native.schema(self._dataset(dataset))

    def explain(self) -> dict[str, Any]:
        """What is done to each field, why, and what settles each of the eighteen identifiers."""
        return json.loads(self._native.explain())

    def apply(
        self,
        data: Any,
        dataset: str | None = None,
        *,
        failures: Literal["raise", "return"] = "raise",
        threads: int | None = None,
    ) -> Any:
        """De-identifies the rows of a table.

        ``data`` is a pyarrow Table, RecordBatch or RecordBatchReader, a pandas or Polars DataFrame (or LazyFrame), a DuckDB relation, or
        whatever else gives rows by the Arrow PyCapsule interface. A DataFrame comes back as one of the same library, all else as a
        pyarrow Table. Columns that the policy does not name never pass; missing values stay missing.

        ``dataset`` is the one of the policy whose rules apply; it may be left out where there is only one.

        A row that a rule cannot handle (no date in a date, no subject) is never passed on. By ``failures="raise"`` nothing is given at
        all; by ``"return"`` the result is ``(rows, failed)``, where ``failed`` is a pyarrow Table of ``row`` (from 0), ``field`` and
        ``reason``.

        :raises PolicyError: the columns do not fit what the policy declares.
        :raises DataError: a rule could not handle a row.
        :raises KeysError: keys, vault or record cannot be had.
        """
        if failures not in ("raise", "return"):
            raise ValueError('failures is "raise" or "return"')
        threads = threads or os.cpu_count() or 1
        rows, failed = self.project._native.apply(
            self._native, self._dataset(dataset), take(data), self._recipient, threads
        )
        if failures == "return":
            return give(rows, data), failed
        if failed.num_rows:
            listed = [tuple(row.values()) for row in failed.slice(0, _LISTED).to_pylist()]
            where = "; ".join(f"row {row}, `{field}`: {reason}" for row, field, reason in listed[:3])
            more = f" and {failed.num_rows - 3} more" if failed.num_rows > 3 else ""
            raise DataError(
                f"{failed.num_rows} rows could not be handled ({where}{more})\n"
                '  help: mend them, or take `failures="return"` and keep what failed aside',
                listed,
            )
        return give(rows, data)

    def _dataset(self, dataset: str | None) -> str:
        if dataset is not None:
            return dataset
        if len(self.datasets) == 1:
            return self.datasets[0]
        raise PolicyError(f"say which dataset the rows are of: {', '.join(self.datasets)}")

    def __repr__(self) -> str:
        return f"<cordon.Recipe {self.name!r} {self.method} {self.hash[:12]}>"


def compile(  # noqa: A001 - the word of the field, as in re.compile
    policy: str | os.PathLike[str],
    *,
    project: Project | str | os.PathLike[str] | None = None,
    recipient: str | None = None,
    identities: Identities | None = None,
    run_date: Any = None,
) -> Recipe:
    """Checks and compiles the policy in a file.

    ``project`` has the keys; without it that is the project whose folder the policy is in. Nothing of it is opened before rows are
    de-identified.

    ``recipient`` is one of ``recipients`` in ``cordon.yaml``: its tokens, shifts and made-up names are not those of any other.

    ``identities`` says of each dataset which columns mean the person, and in which namespace, as ``identity`` of a pipeline's sources
    does: ``{"patients": {"mrn": "mrn"}}``. Give what the pipeline says, for the same rows.

    ``run_date`` (a date or ``YYYY-MM-DD``) is the day on which ages are counted where the policy names none; without it, today.

    :raises PolicyError: the policy is not valid, or not what its method allows; with file, line and clause.
    """
    path = Path(policy)
    text = path.read_text(encoding="utf-8")
    native = _cordon.Recipe(
        text,
        os.fspath(path),
        None if run_date is None else str(run_date),
        None if identities is None else json.dumps({of: dict(places) for of, places in identities.items()}),
    )
    opened = project if isinstance(project, Project) or project is None else Project(project)
    return Recipe(native, path, opened, recipient)


@dataclass(frozen=True)
class Span:
    """Where something was found: characters ``start`` to ``end`` of the text. It holds no text."""

    start: int
    end: int
    #: The kind of identifier, as policies spell it.
    kind: str
    #: From 0 to 1. Not a probability.
    score: float
    #: The rule that found it.
    source: str


def detect(text: str, *, min_score: float | None = None, everything: bool = False) -> list[Span]:
    """Finds identifiers in a text: sorted and disjoint.

    ``everything`` also reports what Safe Harbor lets stay: all ages, bare years, days of the week, states, names of organisations,
    numbers that only look like identifiers.
    """
    return [Span(*found) for found in _cordon.detect(text, min_score, everything)]


@dataclass(frozen=True)
class Column:
    """What a column seems to hold."""

    name: str
    #: The kind of identifier, as policies spell it.
    kind: str
    #: From 0 to 1; below about one half it is a guess that a person must look at.
    confidence: float
    #: Of the rows with a value, the share whose value looks of the kind.
    share: float
    rows: int
    nulls: int
    distinct: int
    #: The share of values that are sentences.
    prose: float
    #: The most frequent shapes, as ``99-aa-9``, never what stood there.
    shapes: list[tuple[str, float]]
    #: The rules that spoke for the kind.
    reasons: list[str]


def inspect(data: Any, *, rows: int = 100_000) -> list[Column]:
    """Says what each column of a table seems to hold, by its name and by at most so many of its rows."""
    return [Column(name, **told) for name, told in _cordon.inspect(take(data), rows)]
