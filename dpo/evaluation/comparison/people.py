"""What people say of an evaluation: their votes as verdicts, and counted in one that is there (no torch here)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path

from dpo.errors import DataError
from dpo.evaluation.comparison.judges import JudgeSpec, Winner, parse_judge
from dpo.evaluation.comparison.result import result
from dpo.evaluation.comparison.rows import Row, RowStore, key_of
from dpo.evaluation.votes import Vote, Votes
from dpo.policies.names import resolve, weights_state

_OTHER: Mapping[str, Winner] = {"a": "b", "b": "a"}


def vote_rows(
    spec: JudgeSpec, policies: Mapping[str, str], comparisons: Sequence[Sequence[str]], prompts: Sequence[Row]
) -> list[Row]:
    """Votes on an evaluation's prompts between its policies, cast since their weights last changed, as verdicts.

    A vote is on texts of its own, drawn at its own temperature; the row names the vote.

    Args:
        spec: of people, with the file of their votes.
        policies: name and hash of each.

    Raises:
        StorageError: the votes cannot be read.
    """
    asked = {prompt["prompt"]: prompt for prompt in prompts if not prompt["messages"]}
    since = {name: _changed(name) for name in policies}
    rows = []
    for vote in Votes(str(spec.path)).all():
        prompt = asked.get(vote.prompt)
        if prompt is None or "turns_a" in vote.settings:
            continue
        for policy, against in comparisons:
            if {vote.policy_a, vote.policy_b} != {policy, against} or _cast(vote) < max(since[policy], since[against]):
                continue
            straight = vote.policy_a == policy
            winner: Winner = vote.verdict if straight or vote.verdict not in ("a", "b") else _OTHER[vote.verdict]
            hashes = policies[policy], policies[against]
            rows.append(
                {
                    "key": key_of(spec.identity, vote.key, policy, against, *hashes), "prompt": prompt["key"],
                    "prompt_hash": prompt["hash"], "policy_a": policy, "hash_a": hashes[0], "policy_b": against,
                    "hash_b": hashes[1], "temperature": vote.temperature, "seed": vote.seed_a, "sample": 0,
                    "order": "ab" if straight else "ba", "judge": spec.name, "identity": spec.identity,
                    "verdict": winner, "scores": None, "raw": None, "cost": None, "error": None, "cached": False,
                    "vote": vote.key,
                }
            )  # fmt: skip
    return rows


def count_votes(directory: str | Path, votes: str | Path) -> int:
    """Add the votes on an evaluation's prompts that are not counted yet, and write its result anew; how many.

    People become one of its judges, so that their votes correct the others.

    Args:
        votes: the file of the votes.

    Raises:
        DataError: the directory holds no evaluation.
        BusyError: it is being made.
        PolicyError: a policy is gone, so that nobody knows whether it was trained since.
        StorageError: votes or rows cannot be read or written.
    """
    store = RowStore(directory)
    if store.plan is None:
        raise DataError(f"{directory} holds no evaluation yet: run dpo eval")
    spec = parse_judge("votes", str(votes))
    with store.writing():
        plan = _with_people(store.plan, spec)
        prompts = [store.prompts[key] for key in plan["prompts"] if key in store.prompts]
        rows = vote_rows(spec, plan["policies"], plan["comparisons"], prompts)
        new = [row for row in rows if row["key"] not in store.verdicts]
        store.add(plan)
        store.add_verdicts(*new)
        store.write_result(result(store))
    return len(new)


def _with_people(plan: Row, spec: JudgeSpec) -> Row:
    if any(judge["kind"] == spec.kind for judge in plan["judges"]):
        return plan
    people = {"name": spec.name, "kind": spec.kind, "identity": spec.identity, "says": spec.says, "orders": [""]}
    content = {name: value for name, value in plan.items() if name not in ("kind", "key")}
    content["judges"] = [*plan["judges"], people]
    return {"kind": "plan", "key": key_of(content)} | content


def _changed(name: str) -> float:
    """When a policy's weights last changed (seconds since 1970); 0 for those that never do under their name."""
    if resolve(name).kind in ("bundled", "hub"):
        return 0.0
    return max((changed / 1e9 for _path, changed, _size in weights_state(name)), default=0.0)


def _cast(vote: Vote) -> float:
    try:
        return datetime.fromisoformat(vote.created).timestamp()
    except ValueError:
        return 0.0
