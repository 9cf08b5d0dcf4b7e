"""The architect: one decision before anything is planned, which every later prompt repeats."""

from __future__ import annotations

from orchestrator.run import Asking, Run
from orchestrator.state import ArchitectureDecision, Purpose
from orchestrator.wire import ArchitectureReply

CHAT = "deepseek-chat"
REASONER = "deepseek-reasoner"
# Above this many words a description has enough in it to weigh that thinking first pays.
CHAT_WORDS = 50


def architects(description: str) -> tuple[str, ...]:
    """Return the ids of the models that decide first, where they are available and allowed.

    DeepSeek's Reasoner decides for descriptions of more than 50 words, its Chat for all others.
    """
    return (REASONER, CHAT) if len(description.split()) > CHAT_WORDS else (CHAT,)


async def decide(run: Run) -> ArchitectureDecision:
    """Ask for the architecture of the run's job, DeepSeek first where it may be asked, else whom the router chooses.

    Raises `BudgetExhausted`, `NoModel` or `UnusableAnswers` as the gateway does.
    """
    answer, _ = await run.ask(
        Purpose.ARCHITECTURE,
        {"repository": await run.whole_repository(), "feedback": ""},
        ArchitectureReply,
        Asking(prefer=architects(run.job.description)),
    )
    reply = answer.reply
    return ArchitectureDecision(
        structural_pattern=reply.structural_pattern.value,
        topology=reply.topology.value,
        api_paradigm=reply.api_paradigm.value,
        data_paradigm=reply.data_paradigm.value,
        rationale=reply.rationale,
    )
