"""The durable truth about runs, money, deliveries, effects and what is learned, on SQLAlchemy: SQLite or PostgreSQL."""

from orchestrator.store.audit import AuditEntry, AuditStore
from orchestrator.store.cancellations import CancellationStore
from orchestrator.store.content import ContentStore
from orchestrator.store.database import Database
from orchestrator.store.deliveries import Delivery, DeliveryStore, Stored
from orchestrator.store.effects import EffectStore
from orchestrator.store.holds import HoldStore
from orchestrator.store.ledger import NO_CAP, Ledger, LedgerCall, Room, spent_up
from orchestrator.store.observations import ObservationStore
from orchestrator.store.previews import PreviewStore
from orchestrator.store.retention import forget
from orchestrator.store.runs import RunRow, RunStore
from orchestrator.store.schema import SCHEMA_VERSION
from orchestrator.store.uninterrupted import finished

__all__ = [
    "NO_CAP",
    "SCHEMA_VERSION",
    "AuditEntry",
    "AuditStore",
    "CancellationStore",
    "ContentStore",
    "Database",
    "Delivery",
    "DeliveryStore",
    "EffectStore",
    "HoldStore",
    "Ledger",
    "LedgerCall",
    "ObservationStore",
    "PreviewStore",
    "Room",
    "RunRow",
    "RunStore",
    "Stored",
    "finished",
    "forget",
    "spent_up",
]
