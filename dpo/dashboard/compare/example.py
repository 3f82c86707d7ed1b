"""The finished comparison that the Compare page opens with: stored answers of the bundled policies (no torch here).

`scripts/bundled/example.py` makes the file; nothing in it is written by hand, and it is shown only as long as the
policies are those that gave the answers.
"""

from __future__ import annotations

import logging
from dataclasses import fields
from pathlib import Path
from typing import Any

from dpo.errors import PolicyError
from dpo.evaluation.comparison.lineage import policy_hash
from dpo.evaluation.comparison.measures import EMOJI, FIRST_PERSON, SPEAKS_OF_AI
from dpo.generation.settings import Sampling
from dpo.policies.names import BUNDLED, BUNDLED_RUNS
from dpo.runs.files import read_object, reason

EXAMPLE = BUNDLED_RUNS.parent / "example.json"
# What the page counts in answers, by the same patterns as evaluations; the flag is JavaScript's.
PATTERNS = {
    "emoji": (EMOJI.pattern, "gu"),
    "first_person": (FIRST_PERSON.pattern, "gu"),
    "speaks_of_ai": (SPEAKS_OF_AI.pattern, "giu"),
}
logger = logging.getLogger(__name__)


def stored(path: Path = EXAMPLE) -> dict[str, Any] | None:
    """The stored comparison: `prompt`, `settings`, `tried` and an answer of each bundled policy in their order.

    None where there is none, or the policies are no longer those that gave the answers.
    """
    try:
        found = read_object(path)
        answers = found["answers"]
        current = [answer["policy"] for answer in answers] == list(BUNDLED) and all(
            answer["weights"] == policy_hash(answer["policy"]) for answer in answers
        )
        Sampling.from_values(dict(found["settings"]))
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, TypeError, PolicyError) as error:
        logger.warning("%s cannot be shown: %s", path, reason(error) if isinstance(error, OSError) else error)
        return None
    return found if current else None


def defaults(example: dict[str, Any] | None, prompt: str) -> dict[str, Any]:
    """What stands in the composer at first: the example's prompt and settings, so that its answers belong to them."""
    standard = {spec.name: spec.default for spec in fields(Sampling)}
    return (
        {"prompt": prompt}
        | standard
        | ({} if example is None else {"prompt": example["prompt"], **example["settings"]})
    )
