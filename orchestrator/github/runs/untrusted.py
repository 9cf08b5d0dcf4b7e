"""When a head must not run the repository's own CI by itself (SECURITY 27); pure."""

from __future__ import annotations

from collections.abc import Iterable

from wcmatch import glob

CI_PATHS = (
    "**/{Makefile,makefile,GNUmakefile,*.mk,CMakeLists.txt,Rakefile,justfile,Justfile,Taskfile.y*ml,Vagrantfile}",
    "**/{Dockerfile*,*.dockerfile,compose.y*ml,docker-compose*.y*ml,Jenkinsfile,.dockerignore}",
    "**/{package.json,package-lock.json,pnpm-lock.yaml,yarn.lock,.npmrc,.yarnrc*,lerna.json,turbo.json,nx.json}",
    "**/{*.config.js,*.config.cjs,*.config.mjs,*.config.ts,.babelrc*,.eslintrc*,.mocharc*,karma.conf.*,.nycrc*}",
    "**/{pyproject.toml,setup.py,setup.cfg,tox.ini,noxfile.py,pytest.ini,conftest.py,.coveragerc,*.pth}",
    "**/{requirements*.txt,requirements*.in,Pipfile*,poetry.lock,uv.lock,sitecustomize.py,usercustomize.py}",
    "**/{*.gradle,*.gradle.kts,gradlew*,pom.xml,mvnw*,build.xml,build.sbt,*.csproj,*.sln,Directory.Build.*}",
    "**/{Cargo.toml,build.rs,go.mod,Gemfile*,*.gemspec,composer.json,mix.exs,Package.swift,deno.json*}",
    "**/{.pre-commit-config.yaml,.gitlab-ci.yml,.travis.yml,appveyor.yml,azure-pipelines*.yml,.drone.yml}",
    "**/{*.sh,*.bash,*.ps1,*.bat,*.cmd}",
    "{.github,.circleci,.buildkite,.ci,ci,scripts,bin,tools}/**",
)
_HELD = "The repository's own CI was not started"
_FLAGS = glob.GLOBSTAR | glob.DOTGLOB | glob.IGNORECASE | glob.BRACE


def ci_paths(paths: Iterable[str]) -> tuple[str, ...]:
    """Return those paths that CI executes or obeys: build files, package scripts, test configuration, scripts."""
    return tuple(path for path in paths if glob.globmatch(path, list(CI_PATHS), flags=_FLAGS))


def held_back(why: str) -> str:
    """Return the sentence that says that CI was not started, why, and how it is."""
    return f"{_HELD}: {why}. Read the changes, then comment `/orchestrate ci`."


def released(body: str, sha: str, actor: str) -> str:
    """Return a published text in which the word that CI was held back has become the word that it may run."""
    said = f"The repository's own CI runs since `{sha[:12]}`, as `{actor}` asked."
    return "\n".join(
        f"{line[: len(line) - len(bare)]}{said}" if bare.startswith(_HELD) else line
        for line, bare in ((line, line.removeprefix("- ")) for line in body.splitlines())
    )
