"""Check the syntax of files without executing them; runs inside the sandbox.

Started as `python -I orchestrator_check.py JSON` in the workspace. It prints one JSON object a line: `{"begin",
"validator"}` before each file, so that a parser that crashes is known by the file it died on, `{"validator", "path",
"line", "message"}` for each finding, and `{"files": {validator: count}}` at the end.
"""

from __future__ import annotations

import fnmatch
import json
import os
import sys
import tomllib
import warnings
from collections.abc import Callable, Iterator

MAX_BYTES = 4 * 1024 * 1024
WITH_COMMENTS = ("tsconfig*.json", "jsconfig*.json", "devcontainer.json", ".eslintrc.json", ".swcrc")

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
        json.loads(text)
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
        words = str(error).replace(",", " ").replace(")", " ").split()
        line = int(words[words.index("line") + 1]) if "line" in words else text.count(b"\n") + 1
        return line, f"not TOML: {error}"
    except (UnicodeDecodeError, RecursionError) as error:
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


def json_schema(path: str, text: bytes) -> Problem | None:
    """Validate a JSON Schema against the meta-schema that it names."""
    import jsonschema

    try:
        schema = json.loads(text)
        jsonschema.validators.validator_for(schema, jsonschema.Draft202012Validator).check_schema(schema)
    except jsonschema.SchemaError as error:
        return 1, f"not a JSON Schema: {error.message} at {error.json_path}"
    except (ValueError, RecursionError) as error:
        return 1, f"not a JSON Schema: {type(error).__name__}: {error}"
    return None


CHECKS: dict[str, tuple[tuple[str, ...], Callable[[str, bytes], Problem | None]]] = {
    "python_syntax": ((".py", ".pyi"), python_syntax),
    "json_syntax": ((".json",), json_syntax),
    "yaml_syntax": ((".yaml", ".yml"), yaml_syntax),
    "toml_syntax": ((".toml",), toml_syntax),
    "json_schema": ((".schema.json",), json_schema),
}


def files(foreign: list[str]) -> Iterator[str]:
    """Name all files of the workspace, without links and without what others made."""
    for folder, folders, names in os.walk("."):
        folders[:] = sorted(set(folders) - set(foreign))
        for name in sorted(names):
            yield os.path.relpath(os.path.join(folder, name), ".")


def read(path: str) -> bytes | None:
    """Read a regular file of bearable size."""
    if os.path.islink(path) or not os.path.isfile(path) or os.path.getsize(path) > MAX_BYTES:
        return None
    with open(path, "rb") as stream:
        return stream.read()


def say(record: dict[str, object]) -> None:
    """Print one record, and make sure that it is out before anything can crash."""
    print(json.dumps(record), flush=True)


def main() -> None:
    """Check every file with every validator that looks at files of its name."""
    order = json.loads(sys.argv[1])
    sys.path += order["packages"]
    warnings.simplefilter("ignore")
    paths = list(files(order["foreign"])) if order["paths"] is None else order["paths"]
    count = dict.fromkeys(order["validators"], 0)
    for validator in order["validators"]:
        suffixes, check = CHECKS[validator]
        for path in paths:
            text = read(path) if path.endswith(suffixes) else None
            if text is None:
                continue
            shown = path.encode("utf-8", "backslashreplace").decode()
            say({"begin": shown, "validator": validator})
            count[validator] += 1
            problem = check(path, text)
            if problem:
                say({"validator": validator, "path": shown, "line": problem[0], "message": problem[1]})
    say({"files": count})


if __name__ == "__main__":
    main()
