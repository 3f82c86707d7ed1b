"""CHES of the pairs of an audited source under a policy, measured once somebody asks for it (no dash here)."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from dpo.arrays import Floats
from dpo.errors import DataError, DpoError
from dpo.training.config import TrainConfig

if TYPE_CHECKING:
    from dpo.preferences.audit import Audit
    from dpo.preferences.normalise import Normalised

CODE = "ches"
"""Of the finding that names the pairs with the highest CHES."""


@dataclass
class ChesJob:
    """One measuring: asked for, under way, done, or failed with a `problem`."""

    policy: str
    step: str = "waiting"
    share: float = 0.0
    problem: str = ""
    cancelled: bool = False
    done: bool = False
    scores: Floats | None = None
    """`(pairs,)`, in the order of the table; no number where the policy cannot read the pair."""

    @property
    def over(self) -> bool:
        """Whether nothing more will happen."""
        return self.done or bool(self.problem)

    def tell(self, step: str, share: float) -> None:
        """Note how far it is.

        Raises:
            DataError: it was cancelled meanwhile.
        """
        self.step, self.share = step, share
        if self.cancelled:
            raise DataError("The measuring was cancelled")


def measure(asked: ChesJob, result: Audit, data: Normalised) -> tuple[Audit, Floats]:
    """The audit with the CHES finding of a policy in the place of an earlier one's, and the scores `(pairs,)`.

    Raises:
        DpoError: it was cancelled, the policy cannot be loaded, or it can read none of the pairs.
    """
    asked.tell(f"reading {asked.policy}", 0.0)
    from dpo.evaluation.ches import ches
    from dpo.policies.loading import load_policy
    from dpo.policies.shared_weights import share_weights
    from dpo.preferences.audit.ches import with_ches

    policy = load_policy(asked.policy)
    share_weights(policy.model)  # with the copy that answers on Compare
    longest = TrainConfig.max_prompt_length, TrainConfig.max_completion_length
    scores = ches(policy, list(data.pairs), longest, lambda done, total: asked.tell("scoring pairs", done / total))
    plain = replace(result, findings=tuple(finding for finding in result.findings if finding.code != CODE))
    made = with_ches(plain, data, asked.policy, scores)
    if made is plain:
        raise DataError(f"{asked.policy} can read none of these pairs: they are longer than its context, or blank")
    return made, scores


def problem_of(error: Exception, work: str = "measuring") -> str:
    """What the page says of work in a thread that ended with an error."""
    if isinstance(error, DpoError):
        return str(error)
    return f"The {work} failed ({type(error).__name__}: {error}): this is a defect, please report it"
