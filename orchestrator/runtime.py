"""What a process opens once and all its runs share: database, catalog, providers, operator's word and sandbox."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

from orchestrator.breaker import Breaker
from orchestrator.catalog import Catalog, load_catalog
from orchestrator.operator_config import (
    CONFIG_NAME,
    OperatorConfig,
    database_url,
    load_operator_config,
    operator_config_path,
    state_home,
)
from orchestrator.pace import PROCESS, Pace
from orchestrator.providers.base import Provider
from orchestrator.providers.registry import endpoints_from_environment, open_provider
from orchestrator.sandbox import Rung, Sandbox, open_sandbox
from orchestrator.stops import Stops
from orchestrator.store import Database, RunStore


@dataclass(slots=True)
class Runtime:
    """The shared parts; `providers` holds every available one by id, `pace` when each model was called.

    `breaker` knows which of these providers serve no call: others may be reached by the same names elsewhere.
    `stops` is looked at before every call; it reads the operator's file `config` again, which must exist if `named`.
    """

    home: Path
    operator: OperatorConfig
    database: Database
    runs: RunStore
    catalog: Catalog
    providers: Mapping[str, Provider]
    pace: Pace = field(default_factory=Pace)
    config: Path | None = None
    named: bool = False
    breaker: Breaker = field(default_factory=Breaker)
    stops: Stops = field(init=False)
    _sandbox: Sandbox | None = None
    _choosing: asyncio.Lock = field(default_factory=asyncio.Lock)

    def __post_init__(self) -> None:
        self.stops = Stops(self.database, self.config, named=self.named)

    @classmethod
    @asynccontextmanager
    async def open(
        cls, env: Mapping[str, str], *, providers: Mapping[str, Provider] | None = None
    ) -> AsyncIterator[Runtime]:
        """Open everything that the environment names; `providers` replaces those that keys make available.

        Raises `UsageError` for a variable, configuration or database that cannot be used.
        """
        home = state_home(env)
        config = operator_config_path(env)
        operator = load_operator_config(config)
        catalog = load_catalog(operator.model_overrides(), local_model=env.get("LOCAL_LLM_MODEL") or None)
        async with AsyncExitStack() as stack:
            if providers is None:
                providers = {
                    name: open_provider(endpoint) for name, endpoint in endpoints_from_environment(env).items()
                }
                for provider in providers.values():
                    stack.push_async_callback(provider.aclose)
            database = await stack.enter_async_context(Database.open(database_url(env)))
            yield cls(
                home,
                operator,
                database,
                RunStore(database),
                catalog,
                providers,
                PROCESS,
                config=config or home / CONFIG_NAME,
                named=config is not None,
            )

    def operator_now(self) -> OperatorConfig:
        """Return the operator's configuration with the kill switch as it stands now."""
        return replace(self.operator, enabled=not self.stops.switched_off()) if self.config else self.operator

    async def sandbox(self) -> Sandbox:
        """Return the strongest sandbox that works here, or the one the operator forces; tested once a process."""
        async with self._choosing:
            if self._sandbox is None:
                forced = None if self.operator.sandbox == "auto" else Rung(self.operator.sandbox)
                self._sandbox = await open_sandbox(
                    forced, allow_unisolated=self.operator.allow_unisolated, index_hosts=self.operator.index_hosts
                )
            return self._sandbox
