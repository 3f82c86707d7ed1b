"""Which weights a name stands for just now, what they were trained on, and who is related to whom (no torch here)."""

from __future__ import annotations

import functools
import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from huggingface_hub import try_to_load_from_cache

from dpo.errors import DpoError, PolicyError
from dpo.evaluation.tuning import data_of, run_of, tuning_of
from dpo.policies.names import base_of, resolve, weights_files, weights_state
from dpo.preferences.spec import DataSpec
from dpo.preferences.split import position
from dpo.runs import Run

# What besides the weights decides how a policy reads and writes.
_READ_WITH = (
    "config.json",
    "adapter_config.json",
    "tokenizer*.json",
    "*.model",
    "vocab.*",
    "merges.txt",
    "chat_template*",
)
NOT_DOWNLOADED = "not-downloaded"
_MOST_ANCESTORS = 8
_ON_PAIRS = ("dpo", "sft")  # kinds of runs that learn from preference data


def policy_hash(name: str) -> str:
    """16 hex digits of the content of a policy's files, those of an adapter's base included.

    Of a hub model the commit in the cache; `NOT_DOWNLOADED` before there is one.

    Raises:
        PolicyError: no such policy.
    """
    source = resolve(name)
    if source.kind == "hub":
        found = try_to_load_from_cache(source.location, "config.json")
        return Path(found).parent.name[:16] if isinstance(found, str) else NOT_DOWNLOADED
    state = weights_state(name)
    directories = dict.fromkeys([Path(source.location), *(path.parent for path in weights_files(source))])
    files = sorted({path for place in directories for pattern in _READ_WITH for path in place.glob(pattern)})
    known = [(str(path), path.stat().st_mtime_ns, path.stat().st_size) for path in files]
    return _content_hash((*state, *known))


@functools.lru_cache(maxsize=64)
def _content_hash(state: tuple[tuple[str, int, int], ...]) -> str:
    digest = hashlib.sha256()
    for path, _changed, size in state:
        digest.update(f"{Path(path).name}\0{size}\0".encode())
        try:
            with open(path, "rb") as file:
                while block := file.read(1 << 20):
                    digest.update(block)
        except OSError as error:
            raise PolicyError(f"{path} cannot be read ({error.strerror}): restore it") from error
    return digest.hexdigest()[:16]


def base_policy(name: str) -> str | None:
    """Name of the policy that `name` was tuned from: its reference, or what an SFT began with; None if none is known.

    Raises:
        PolicyError: no such policy.
    """
    source = resolve(name)
    if source.kind == "hub":
        return None
    run = run_of(Path(source.location))
    if run is not None and run.kind == "sft":
        found = str(run.config.get("model") or "")
    else:
        try:
            found = tuning_of(name).reference or base_of(Path(source.location))
        except PolicyError:
            return None
    try:
        resolve(found)
    except PolicyError:
        return None
    return found


def trained_on(name: str) -> list[DataSpec]:
    """The pairs that a policy and those that it was made from were trained on, as far as runs say."""
    specs: list[DataSpec] = []
    for ancestor in _ancestors(name):
        run = _run(ancestor)
        if run is None or run.kind not in _ON_PAIRS:
            continue
        try:
            spec = data_of(ancestor)
        except DpoError:
            continue
        if spec is not None and spec not in specs:
            specs.append(spec)
    return specs


def held_out_fraction(policies: tuple[str, ...]) -> float:
    """The share of prompts, from the start of the line of hashes, that none of the policies was trained on.

    Every run holds out the prompts whose hash lies below its fraction, in whatever data they come: the least
    fraction is kept out of all of them.  The default where no run says, 0 where one held nothing out.
    """
    fractions = [spec.eval_fraction for name in policies for spec in trained_on(name)]
    return min(fractions, default=DataSpec.eval_fraction)


@dataclass(frozen=True)
class Relation:
    """Whether a judge learned from what a judged policy learned from, and how that is known."""

    word: Literal["related", "not related", "unknown"]
    why: str


def relation(judge: str, policy: str) -> Relation:
    """How a judging policy is related to a judged one (preference leakage, arXiv 2502.01534)."""
    if policy_hash(judge) == policy_hash(policy):
        return Relation("related", f"{judge} is itself judged")
    ours, theirs = _data(judge), _data(policy)
    if not ours or not theirs:
        return Relation("unknown", f"no run says what {policy if ours else judge} was trained on")
    if any(one.shares_pairs_with(other) for one in ours for other in theirs):
        return Relation("related", f"{judge} and {policy} were trained on the same pairs")
    # Other files may hold the same prompts, a repaired or filtered copy or a mix; two halves of one file may not.
    try:
        first, second = (_prompts_of(tuple(trained_on(name))) for name in (judge, policy))
    except DpoError as error:
        return Relation("unknown", f"not all pairs that they were trained on can be read ({error})")
    common = len(first & second)
    if common:
        return Relation("related", f"{judge} and {policy} were trained on {common:,} common prompts")
    return Relation("not related", f"{judge} and {policy} were trained on different prompts")


@functools.lru_cache(maxsize=16)
def _prompts_of(specs: tuple[DataSpec, ...]) -> frozenset[int]:
    """The prompts that were trained on, by their hash's place."""
    from dpo.preferences.load import load

    return frozenset(position(prompt) for spec in specs for prompt in load(spec).train["prompt"])


@dataclass(frozen=True)
class _Data:
    """A source, the fingerprint of its pairs, and the half that was trained on, if it was one."""

    source: str
    mark: str | None
    half: int | None

    def shares_pairs_with(self, other: _Data) -> bool:
        """Whether both are of one source, and not of its two halves."""
        same = self.source == other.source or (self.mark is not None and self.mark == other.mark)
        return same and (self.half is None or other.half is None or self.half == other.half)


def _data(name: str) -> set[_Data]:
    """All data behind a policy."""
    found: set[_Data] = set()
    for ancestor in _ancestors(name):
        run = _run(ancestor)
        if run is None or run.kind not in _ON_PAIRS or not run.config.get("dataset"):
            continue
        mark = (run.info.get("dataset") or {}).get("fingerprint")
        half = run.config.get("half")
        found |= {_Data(source, mark, half) for source in str(run.config["dataset"]).split(",")}
    return found


def _ancestors(name: str) -> list[str]:
    """The policy, what it was tuned from, what that was tuned from, ..."""
    names: list[str] = []
    following: str | None = name
    while following and following not in names and len(names) < _MOST_ANCESTORS:
        names.append(following)
        try:
            following = base_policy(following)
        except DpoError:
            break
    return names


def _run(name: str) -> Run | None:
    source = resolve(name)
    return None if source.kind == "hub" else run_of(Path(source.location))
