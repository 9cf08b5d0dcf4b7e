"""Check files by reading them, without executing them; runs inside the sandbox, and fetches nothing.

Started as `python -I orchestrator_check.py JSON` in the workspace. It prints one JSON object a line: `{"begin",
"validator"}` before each file, so that a parser that crashes is known by the file it died on, `{"validator", "path",
"line", "message"}` for each finding, and `{"files": {validator: count}}` at the end.
"""

from __future__ import annotations

import fnmatch
import functools
import json
import os
import re
import sys
import tomllib
import urllib.parse
import warnings
from collections.abc import Callable, Iterator
from typing import Any

MAX_BYTES = 4 * 1024 * 1024
MAX_ERRORS = 20
MESSAGE_CHARACTERS = 500
ROOT = "file:///"
WITH_COMMENTS = ("tsconfig*.json", "jsconfig*.json", "devcontainer.json", ".eslintrc.json", ".swcrc")

TOML_PLACE = re.compile(r"\(at line (\d+), column \d+\)$")

Problem = tuple[int, str]


def python_syntax(path: str, text: bytes) -> Problem | None:
    """Compile Python; the compiler executes nothing."""
    try:
        compile(text, path, "exec", dont_inherit=True)
    except SyntaxError as error:
        return error.lineno or 1, f"{type(error).__name__}: {error.msg}"
    except (ValueError, RecursionError, MemoryError) as error:
        return 1, f"{type(error).__name__}: {error}"
    return None


def json_syntax(path: str, text: bytes) -> Problem | None:
    """Parse JSON, but not the kinds in which comments are allowed."""
    name = os.path.basename(path)
    if ".vscode/" in path or any(fnmatch.fnmatch(name, pattern) for pattern in WITH_COMMENTS):
        return None
    try:
        json.loads(text, parse_int=str)  # no number of JSON is too long
    except json.JSONDecodeError as error:
        return error.lineno, f"not JSON: {error.msg} at column {error.colno}"
    except (UnicodeDecodeError, RecursionError) as error:
        return 1, f"not JSON: {type(error).__name__}: {error}"
    return None


def toml_syntax(path: str, text: bytes) -> Problem | None:
    """Parse TOML."""
    try:
        tomllib.loads(text.decode("utf-8"))
    except tomllib.TOMLDecodeError as error:
        place = TOML_PLACE.search(str(error))
        return int(place[1]) if place else text.count(b"\n") + 1, f"not TOML: {error}"
    except (ValueError, RecursionError) as error:  # a number may have too many digits
        return 1, f"not TOML: {type(error).__name__}: {error}"
    return None


def yaml_syntax(path: str, text: bytes) -> Problem | None:
    """Parse YAML to nodes, constructing nothing; templates of other programs are not YAML."""
    import yaml

    if "templates/" in path:
        return None
    try:
        for _ in yaml.compose_all(text, yaml.SafeLoader):
            pass
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else 1
        return line, f"not YAML: {error.problem or error.context}"
    except (yaml.YAMLError, RecursionError) as error:
        return 1, f"not YAML: {error}"
    return None


SCHEMA_ENDING = ".schema.json"
DATA_ENDINGS = (".json", ".yaml", ".yml")
SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*:")
# Editors' way to name a YAML file's schema: https://github.com/redhat-developer/yaml-language-server#using-inlined-schema
MODELINE = re.compile(r"^#\s*yaml-language-server:\s*\$schema=(\S+)", re.MULTILINE)


def json_schema(path: str, text: bytes) -> list[Problem] | None:
    """Validate a JSON Schema against its meta-schema, and data against the schema of the project that belongs to it.

    Data belong to the local file or the `$id` that their `$schema` names, else to NAME.schema.json beside NAME.json or
    NAME.yaml. None for data without a schema in the project, and for those that do not parse.
    """
    import jsonschema
    import referencing.exceptions

    if path.endswith(SCHEMA_ENDING):
        try:
            return not_a_schema(json.loads(text))
        except (ValueError, RecursionError) as error:
            return [(1, f"not a JSON Schema: {type(error).__name__}: {error}")]
    data = parsed(path, text)
    named = data.get("$schema") if isinstance(data, dict) else None
    if isinstance(named, str) and named in meta_schemas():
        return not_a_schema(data)
    where = schema_for(path, text, named) if data is not None else None
    schema = parsed(where, read(where) or b"") if where else None
    if where is None or schema is None or isinstance(schema, list):
        return None
    if not_a_schema(schema):
        return [(1, f"its schema {where} is not a JSON Schema")]
    kind = jsonschema.validators.validator_for(schema, jsonschema.Draft202012Validator)
    validator = kind({"$ref": ROOT + urllib.parse.quote(where)}, registry=local_registry())
    try:
        errors = list(validator.iter_errors(data))
    except referencing.exceptions.Unresolvable as error:
        # What lies elsewhere is not fetched, and nothing can be said without it.
        elsewhere = SCHEME.match(str(error.ref)) or (isinstance(schema, dict) and "$id" in schema)
        return None if elsewhere else [(1, f"its schema {where} refers to {error.ref}, which does not exist")]
    except (re.error, RecursionError) as error:
        return [(1, f"its schema {where} cannot be used: {type(error).__name__}: {error}")]
    errors.sort(key=lambda error: [str(part) for part in error.absolute_path])
    return [
        (line_of(text, list(error.absolute_path)), f"{error.json_path}: {error.message}"[:MESSAGE_CHARACTERS])
        for error in errors[:MAX_ERRORS]
    ]


def meta_schemas() -> Any:
    """Return the registry of the drafts' own schemas."""
    from jsonschema_specifications import REGISTRY  # type: ignore[import-untyped]  # the package has no annotations

    return REGISTRY


def not_a_schema(schema: Any) -> list[Problem]:
    """Say why an object is no JSON Schema; an empty list when it is one."""
    import jsonschema

    try:
        jsonschema.validators.validator_for(schema, jsonschema.Draft202012Validator).check_schema(schema)
    except jsonschema.SchemaError as error:
        return [(1, f"not a JSON Schema: {error.message} at {error.json_path}"[:MESSAGE_CHARACTERS])]
    except (AttributeError, TypeError, RecursionError) as error:
        return [(1, f"not a JSON Schema: {type(error).__name__}: {error}")]
    return []


def parsed(path: str, text: bytes) -> Any:
    """Read JSON, or YAML as JSON's values; None for what does not parse, which other checks say."""
    import yaml

    class Plain(yaml.SafeLoader):
        """Leaves dates the texts that JSON has for them."""

    Plain.yaml_implicit_resolvers = {
        letter: [(tag, pattern) for tag, pattern in resolvers if tag != "tag:yaml.org,2002:timestamp"]
        for letter, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
    }
    try:
        return json.loads(text) if path.endswith(".json") else yaml.load(text, Plain)  # noqa: S506 - a safe loader
    except (ValueError, yaml.YAMLError, RecursionError, TypeError, LookupError, AttributeError, OverflowError):
        return None  # what a tag such as `!!int` or `!!timestamp` is given may be none


def schema_for(path: str, text: bytes, named: object) -> str | None:
    """Return the path of the project's schema that a file belongs to, or None."""
    comment = None if path.endswith(".json") else MODELINE.search(text.decode("utf-8", "replace"))
    name = named if isinstance(named, str) else comment[1] if comment else ""
    if not name:
        beside = os.path.splitext(path)[0] + SCHEMA_ENDING
        return beside if os.path.isfile(beside) else None
    if SCHEME.match(name):
        return schema_ids().get(name.rstrip("#"))
    local = os.path.normpath(os.path.join(os.path.dirname(path), urllib.parse.unquote(name.partition("#")[0])))
    return local if not local.startswith(("..", "/")) and os.path.isfile(local) else None


@functools.cache
def schema_ids() -> dict[str, str]:
    """Return the `$id` of every schema of the project that has one, and its path."""
    found: dict[str, str] = {}
    for path in files(ORDER["foreign"]):
        schema = parsed(path, read(path) or b"") if path.endswith(SCHEMA_ENDING) else None
        if isinstance(schema, dict) and isinstance(schema.get("$id"), str):
            found.setdefault(schema["$id"].rstrip("#"), path)
    return found


@functools.cache
def local_registry() -> Any:
    """Return a registry that knows the drafts' meta-schemas and the project's files, and fetches nothing."""
    import referencing
    from referencing.jsonschema import DRAFT202012

    def retrieve(uri: str) -> Any:
        if uri in meta_schemas():
            return meta_schemas()[uri]
        local = urllib.parse.unquote(uri.removeprefix(ROOT)) if uri.startswith(ROOT) else schema_ids().get(uri, "")
        inside = local and not os.path.normpath(local).startswith(("..", "/"))
        schema = parsed(local, read(local) or b"") if inside else None
        if schema is None:
            raise referencing.exceptions.NoSuchResource(uri)
        return referencing.Resource.from_contents(schema, default_specification=DRAFT202012)

    return referencing.Registry(retrieve=retrieve)  # type: ignore[call-arg]  # mypy does not know attrs here


def line_of(text: bytes, path: list[str | int]) -> int:
    """Return the line at which a value stands in JSON or YAML; the nearest line above where it cannot be found."""
    import yaml

    try:
        # JSON is YAML but for its tabs, which stand between values only.
        node = yaml.compose(text.replace(b"\t", b" "), yaml.SafeLoader)
    except (yaml.YAMLError, RecursionError):
        return 1
    line = 1
    for part in path:
        if node is None:
            break
        line = node.start_mark.line + 1
        if isinstance(node, yaml.MappingNode):
            node = next((value for key, value in node.value if key.value == part), None)
        else:
            inner = isinstance(node, yaml.SequenceNode) and isinstance(part, int) and part < len(node.value)
            node = node.value[part] if inner else None
    return node.start_mark.line + 1 if node is not None else line


# Files that are long by nature: programs write them.
GENERATED = ("*.lock", "*-lock.json", "*-lock.yaml", "go.sum", "*.min.js", "*.min.css", "*.map", "*.svg")
# Endings of files that somebody writes to say something, and the ones among them that often say nothing.
WRITTEN = (
    ".py",
    ".pyi",
    ".md",
    ".rst",
    ".html",
    ".css",
    ".js",
    ".jsx",
    ".ts",
    ".tsx",
    ".json",
    ".yaml",
    ".yml",
    ".toml",
)
OFTEN_EMPTY = ("__init__.py", "__init__.pyi", "conftest.py")


def length(path: str, text: bytes) -> list[Problem] | None:
    """Say whether a text file is empty where content is expected, or longer than anybody reads; None for no text."""
    name = os.path.basename(path)
    if b"\0" in text:
        return None
    if not text.strip() and name.endswith(WRITTEN) and name not in OFTEN_EMPTY:
        return [(1, "this file is empty; write its content, or leave the file out")]
    lines, most = text.count(b"\n") + (not text.endswith(b"\n")), ORDER["max_lines"]
    if lines > most and not any(fnmatch.fnmatch(name, pattern) for pattern in GENERATED):
        return [
            (most + 1, f"this file has {lines} lines, {lines - most} more than the {most} that are allowed; split it")
        ]
    return []


def at_once(check: Callable[[str, bytes], Problem | None]) -> Callable[[str, bytes], list[Problem] | None]:
    """Turn a check that ends at its first problem into one that returns a list."""

    def checked(path: str, text: bytes) -> list[Problem]:
        problem = check(path, text)
        return [problem] if problem else []

    return checked


CHECKS: dict[str, tuple[tuple[str, ...], Callable[[str, bytes], list[Problem] | None]]] = {
    "python_syntax": ((".py", ".pyi"), at_once(python_syntax)),
    "json_syntax": ((".json",), at_once(json_syntax)),
    "yaml_syntax": ((".yaml", ".yml"), at_once(yaml_syntax)),
    "toml_syntax": ((".toml",), at_once(toml_syntax)),
    "json_schema": (DATA_ENDINGS, json_schema),
    "length": (("",), length),
}
# What the program was started with: validators, paths, packages, foreign folders and limits.
ORDER: dict[str, Any] = {}


def files(foreign: list[str]) -> Iterator[str]:
    """Name all files of the workspace, without links to folders and without what others made, at any depth."""
    waiting = [""]
    while waiting:
        above = waiting.pop()
        try:
            with os.scandir(above or ".") as found:
                entries = sorted(found, key=lambda entry: entry.name)
        except OSError:
            continue  # nobody may read it
        yield from (above + entry.name for entry in entries if not entry.is_dir())
        folders = (entry.name for entry in entries if entry.is_dir(follow_symlinks=False))
        waiting += [f"{above}{name}/" for name in reversed(list(folders)) if name not in foreign]


def read(path: str) -> bytes | None:
    """Read a regular file of bearable size with no link on the way: where nothing isolates, it may lead anywhere."""
    whole = os.path.join(os.path.realpath("."), os.path.normpath(path))
    if os.path.realpath(path) != whole or not os.path.isfile(path) or os.path.getsize(path) > MAX_BYTES:
        return None
    with open(path, "rb") as stream:
        return stream.read()


def say(record: dict[str, object]) -> None:
    """Print one record, and make sure that it is out before anything can crash."""
    print(json.dumps(record), flush=True)


def main() -> None:
    """Check every file with every validator that looks at files of its name."""
    ORDER.update(json.loads(sys.argv[1]))
    sys.path += ORDER["packages"]
    warnings.simplefilter("ignore")
    paths = list(files(ORDER["foreign"])) if ORDER["paths"] is None else ORDER["paths"]
    count = dict.fromkeys(ORDER["validators"], 0)
    for validator in ORDER["validators"]:
        suffixes, check = CHECKS[validator]
        for path in paths:
            text = read(path) if path.endswith(suffixes) else None
            if text is None and not (validator == "length" and os.path.isfile(path) and not os.path.islink(path)):
                continue
            shown = path.encode("utf-8", "backslashreplace").decode()
            say({"begin": shown, "validator": validator})
            problems = too_large(path) if validator == "length" else None
            if not problems and text is not None:
                problems = check(path, text)
            count[validator] += problems is not None
            for line, message in problems or ():
                say({"validator": validator, "path": shown, "line": line, "message": message})
    say({"files": count})


def too_large(path: str) -> list[Problem] | None:
    """Say whether a file has more bytes than an answer may write."""
    size, most = os.path.getsize(path), ORDER["max_bytes"]
    return (
        [(1, f"this file has {size} bytes, {size - most} more than the {most} that are allowed")]
        if size > most
        else None
    )


if __name__ == "__main__":
    main()
