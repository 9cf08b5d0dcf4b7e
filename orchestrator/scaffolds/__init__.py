"""Starter projects as data: what each is made of, which features of it a request asks for, and its files.

A folder per app type holds `scaffold.yaml`, the templates of `base`, and those of each feature, which replace or add
to them; what two features need together lies in a folder named by both, as in `jwt+websocket`. Templates end in
`.tmpl`, so that no tool takes them for our own code. Everything here is a function of the app type and the job's text,
so that a plan and its files agree without any state between them.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from functools import cache
from html import escape
from importlib import resources
from importlib.resources.abc import Traversable
from itertools import combinations
from string import Template

import yaml
from pydantic import BaseModel, ConfigDict

from orchestrator.scaffolds.wording import asks_for, name_from, package_from, plain_title, slug_from, title_in_ascii
from orchestrator.state import ArchitectureDecision, Task, TaskType

_PACKAGE_FOLDER = "_package_"
_SUFFIX = ".tmpl"
_CODE = (".py", ".ts", ".tsx", ".js", ".html")
# No tool takes a name with a leading dot or with brackets for data of a package, so these are kept without them.
_KEPT_AS = {".gitignore": "gitignore", "app/products/[slug]/page.tsx": "app/products/_slug_/page.tsx"}


@dataclass(frozen=True, slots=True)
class Starter:
    """One starter project as a request asks for it.

    `title` is the request's, in plain letters; `label` the same in ASCII, for source code; `package` the name that
    is imported; `features` the recognised ones, in the scaffold's order; `summary` says what it does.
    """

    app_type: str
    title: str
    label: str
    package: str
    features: tuple[str, ...]
    summary: str


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class _Architecture(_Strict):
    structural_pattern: str
    topology: str
    api_paradigm: str
    data_paradigm: str
    summary: str


class _Feature(_Strict):
    words: tuple[str, ...]
    summary: str
    ignore: tuple[str, ...] = ()
    package: str = ""


class _PlannedFiles(_Strict):
    id: str
    title: str
    type: TaskType
    description: str
    files: tuple[str, ...]
    depends_on: tuple[str, ...] = ()
    critical: bool = False
    feature: str = ""
    unless: str = ""

    def stands_for(self, features: tuple[str, ...]) -> bool:
        return (not self.feature or self.feature in features) and self.unless not in features


class _Scaffold(_Strict):
    label: str
    summary: str
    architecture: _Architecture
    features: dict[str, _Feature]
    keep: tuple[str, ...]
    tasks: tuple[_PlannedFiles, ...]
    package: str = ""


def app_types() -> tuple[str, ...]:
    """Return the app types that have a starter project, sorted."""
    return tuple(sorted(folder.name for folder in _root().iterdir() if folder.joinpath("scaffold.yaml").is_file()))


def choose(app_type: str, text: str) -> Starter:
    """Return the starter project for a job's text, whose first line is its title.

    Raises `KeyError` for an app type without one.
    """
    scaffold = _scaffold(app_type)
    asked = {name: one for name, one in scaffold.features.items() if asks_for(text, one.words, one.ignore)}
    return _starter(app_type, text, asked)


def grown(app_type: str, text: str, paths: Collection[str]) -> tuple[Starter, Starter] | None:
    """Return the starter project that a repository with these paths is, and what a text's features make of it.

    None where it is none of ours, or where what the text asks for is no addition to it.
    """
    known = _scaffold(app_type).features
    asked = set(choose(app_type, text).features)
    there = {
        name
        for name in known
        if (own := [path for task in _scaffold(app_type).tasks if task.feature == name for path in task.files])
        and set(own) <= set(paths)
    }
    before, after = (
        _starter(app_type, text, {name: one for name, one in known.items() if name in chosen})
        for chosen in (there, there | asked)
    )
    had = [path for task in plan_of(before) for path in task.files]
    if not {path for path in had if path.endswith(_CODE)} <= set(paths):
        return None
    wanted = {path for task in plan_of(after) for path in task.files}
    return (before, after) if set(had) <= wanted else None


def _starter(app_type: str, text: str, asked: Mapping[str, _Feature]) -> Starter:
    scaffold = _scaffold(app_type)
    title = plain_title(text) or scaffold.label
    label = title_in_ascii(title) or scaffold.label
    named = next((one.package for one in asked.values() if one.package), scaffold.package)
    summary = "; ".join(one.summary for one in asked.values()) or scaffold.summary
    return Starter(app_type, title, label, named or package_from(label), tuple(asked), summary)


def plan(app_type: str, text: str) -> tuple[Task, ...]:
    """Return the tasks that build the starter project for a job's text; no two of them write the same file."""
    return plan_of(choose(app_type, text))


def plan_of(starter: Starter) -> tuple[Task, ...]:
    """Return the tasks that build a starter project."""
    chosen = [task for task in _scaffold(starter.app_type).tasks if task.stands_for(starter.features)]
    ids = {task.id for task in chosen}
    return tuple(
        Task(
            id=task.id,
            title=task.title,
            type=task.type,
            description=task.description,
            depends_on=tuple(other for other in task.depends_on if other in ids),
            files=tuple(_filled(path, starter) for path in task.files),
            critical=task.critical,
        )
        for task in chosen
    )


def render(app_type: str, text: str, path: str) -> str | None:
    """Return a planned file's content for a job's text, or None when the starter project has no such file."""
    return content_of(choose(app_type, text), path)


def content_of(starter: Starter, path: str) -> str | None:
    """Return the content of a starter project's file, or None when it has no such file."""
    if not any(path in task.files for task in plan_of(starter)):
        return None
    return _filled(_source(starter, path).read_text(encoding="utf-8"), starter)


def architecture(app_type: str) -> ArchitectureDecision:
    """Return the shape of a starter project; its rationale is a phrase that describes it."""
    shape = _scaffold(app_type).architecture
    return ArchitectureDecision(
        structural_pattern=shape.structural_pattern,
        topology=shape.topology,
        api_paradigm=shape.api_paradigm,
        data_paradigm=shape.data_paradigm,
        rationale=shape.summary,
    )


def kept(app_type: str) -> frozenset[str]:
    """Return the files that a repository may have already: its own stay, and the starter project works with them."""
    return frozenset(_scaffold(app_type).keep)


def _source(starter: Starter, path: str) -> Traversable:
    first, _, rest = path.partition("/")
    # The templates of a package whose name follows from the request lie in a folder that stands for it.
    named = bool(rest) and first == starter.package and not _scaffold(starter.app_type).package
    template = f"{_PACKAGE_FOLDER}/{rest}" if named else _KEPT_AS.get(path, path)
    for layer in _layers(starter):
        source = _root().joinpath(starter.app_type, layer, *f"{template}{_SUFFIX}".split("/"))
        if source.is_file():
            return source
    raise LookupError(f"the scaffold of {starter.app_type} plans {path} but has no template for it")


def _layers(starter: Starter) -> tuple[str, ...]:
    """Name the folders to look into, first to last: two features together, each feature, and the base."""
    pairs = combinations(starter.features, 2)
    return (*("+".join(pair) for pair in pairs), *reversed(starter.features), "base")


def _filled(text: str, starter: Starter) -> str:
    # Strict: a placeholder that nobody fills raises KeyError, a stray dollar sign ValueError.
    return Template(text).substitute(
        package=starter.package,
        command=starter.package.replace("_", "-"),
        title=starter.title,
        title_in_html=escape(starter.title),
        label=starter.label,
        name=name_from(starter.title),
        name_in_html=escape(name_from(starter.title)),
        slug=slug_from(starter.label),
    )


def _root() -> Traversable:
    return resources.files("orchestrator.scaffolds")


@cache
def _scaffold(app_type: str) -> _Scaffold:
    if app_type not in app_types():
        raise KeyError(f"there is no starter project for {app_type!r}; there is one for {', '.join(app_types())}")
    text = _root().joinpath(app_type, "scaffold.yaml").read_text(encoding="utf-8")
    return _Scaffold.model_validate(yaml.safe_load(text))
