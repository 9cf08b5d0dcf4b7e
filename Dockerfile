# syntax=docker/dockerfile:1
# The bot. Build: docker build -t orchestrator-bot .
# Run: docker run --read-only -v orchestrator-state:/state -p 127.0.0.1:8080:8080 --env-file bot.env orchestrator-bot
# docs/sandbox.md: the --security-opt settings with which generated code runs in bubblewrap inside of the container.

# Python 3.11.15 on Debian 13, all platforms; the digest is that of docker-library/repo-info,
# repos/python/remote/3.11-slim.md.
FROM python:3.11-slim@sha256:90744cff8f32887f075c47d747a173ff333e9e98801667af93c357fa9f5e28ff AS build
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1
WORKDIR /build
RUN python -m venv /opt/orchestrator
COPY requirements.txt .
RUN /opt/orchestrator/bin/python -m pip install --only-binary :all: --no-deps --require-hashes --requirement requirements.txt
# Copied instead of built: building would fetch tools that no hash pins.
COPY orchestrator /opt/orchestrator/lib/python3.11/site-packages/orchestrator
COPY bot /opt/orchestrator/lib/python3.11/site-packages/bot
RUN /opt/orchestrator/bin/python -m compileall -q /opt/orchestrator/lib \
    && /opt/orchestrator/bin/python -m pip uninstall --yes pip setuptools

FROM python:3.11-slim@sha256:90744cff8f32887f075c47d747a173ff333e9e98801667af93c357fa9f5e28ff
# Debian keeps one version of a package at a time, so that a pinned one would stop building with the next fix.
# hadolint ignore=DL3008
RUN apt-get update \
    && apt-get install --yes --no-install-recommends bubblewrap git tini \
    && rm -rf /var/lib/apt/lists/* \
    && useradd --uid 10001 --user-group --no-create-home --home-dir /state --shell /usr/sbin/nologin orchestrator \
    && install --directory --owner=orchestrator --group=orchestrator --mode=0700 /state
COPY --from=build /opt/orchestrator /opt/orchestrator
ENV PATH=/opt/orchestrator/bin:$PATH \
    PYTHONDONTWRITEBYTECODE=1 PYTHONUNBUFFERED=1 PYTHONSAFEPATH=1 \
    HOST=0.0.0.0 PORT=8080 ORCHESTRATOR_HOME=/state HOME=/state TMPDIR=/state
USER 10001:10001
WORKDIR /state
VOLUME /state
EXPOSE 8080
HEALTHCHECK --interval=30s --timeout=5s --start-period=20s --retries=3 \
    CMD ["python", "-c", "import os, urllib.request; urllib.request.urlopen(f\"http://127.0.0.1:{os.environ['PORT']}/healthz\", timeout=4)"]
# The first process reaps what sandboxes leave orphaned, which the bot does not; -s where an engine has put its own first.
ENTRYPOINT ["tini", "-s", "--", "python", "-m", "bot"]
