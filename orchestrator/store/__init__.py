"""The durable truth about runs, money, deliveries and effects, on SQLAlchemy: SQLite or PostgreSQL."""

from orchestrator.store.database import Database
from orchestrator.store.deliveries import Delivery, DeliveryStore, Stored
from orchestrator.store.effects import EffectStore
from orchestrator.store.ledger import Ledger, LedgerCall
from orchestrator.store.runs import RunRow, RunStore
from orchestrator.store.uninterrupted import finished

__all__ = [
    "Database",
    "Delivery",
    "DeliveryStore",
    "EffectStore",
    "Ledger",
    "LedgerCall",
    "RunRow",
    "RunStore",
    "Stored",
    "finished",
]
