"""A model server on the loopback interface that speaks the wire formats of OpenAI, Anthropic and Google.

It imports nothing of the orchestrator, so that what it checks is what a vendor would check.

    with ModelServer(Script(tasks=2)) as server:
        environment = server.environment()   # keys and base URLs for the product
        ...
        server.journal                        # every call, with what it was billed
"""

from tests.loopback.journal import Call, Journal
from tests.loopback.script import Answer, Asked, Fault, Script
from tests.loopback.server import ModelServer

__all__ = ["Answer", "Asked", "Call", "Fault", "Journal", "ModelServer", "Script"]
