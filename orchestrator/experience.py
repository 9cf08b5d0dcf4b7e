"""What a run learns as it goes: every settled call and finished task, told to its predictor and kept for later runs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from orchestrator.budget import to_usd
from orchestrator.gateway import BookedCall
from orchestrator.prediction import Attempt, CostPredictor, Paid, Standing, Work
from orchestrator.state import Purpose
from orchestrator.store import ObservationStore


@dataclass(slots=True)
class Experience:
    """One run's experience; the averages move by its predictor's `alpha`."""

    predictor: CostPredictor
    store: ObservationStore
    unkept: list[tuple[Work, Paid | Attempt]] = field(default_factory=list)

    async def recall(self, run_id: str, fence: int) -> Mapping[tuple[str, str], Standing]:
        """Load what is known, and return the standings that this run chooses its models by.

        They are frozen when the run begins: whoever goes on with it asks the same models, and finds their answers.
        """
        self.predictor.load(await self.store.read())
        known = await self.store.frozen(run_id)
        if known is None:
            known = self.predictor.observations()
            await self.store.freeze(run_id, fence, known)
        frozen = CostPredictor(self.predictor.alpha)
        frozen.load(known)
        return frozen.standings()

    def booked(self, call: BookedCall) -> None:
        """Learn what a call cost; one whose answer was lost says nothing."""
        if call.usage is None:
            return
        work = Work(call.model.id, call.question.purpose, call.question.task_type)
        self._learn(work, Paid(to_usd(call.cost), call.usage.input_tokens, call.usage.output_tokens, call.seconds))

    def tried(self, task_type: str, attempts: Mapping[str, Attempt]) -> None:
        """Learn how a finished task's first attempt went, for each model that was asked."""
        for model, attempt in attempts.items():
            self._learn(Work(model, Purpose.GENERATE, task_type), attempt)

    async def keep(self) -> None:
        """Keep what was learned since the last time for later runs.

        Once a run ends and not after each call: the run itself does not choose by it, and what a killed process
        learned and did not keep is no loss that anybody would notice.
        """
        learned, self.unkept = self.unkept, []
        await self.store.add(learned, self.predictor.alpha)

    def _learn(self, work: Work, seen: Paid | Attempt) -> None:
        self.predictor.observe(work, seen)
        self.unkept.append((work, seen))
