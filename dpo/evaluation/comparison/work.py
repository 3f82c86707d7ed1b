"""An evaluation from its plan to its result: generate, score, judge, and each only once."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from dpo.counting import counted
from dpo.evaluation.comparison.answering import generate_missing
from dpo.evaluation.comparison.drift_rows import measure_missing
from dpo.evaluation.comparison.judges import VOTED, Duel, Judge, JudgeSpec, Verdict, Winner
from dpo.evaluation.comparison.judging import held_out_rows, open_judge, waiting_pairs
from dpo.evaluation.comparison.lineage import NOT_DOWNLOADED
from dpo.evaluation.comparison.measured import speeds
from dpo.evaluation.comparison.outside import outside_rows
from dpo.evaluation.comparison.people import vote_rows
from dpo.evaluation.comparison.plan import EvaluationConfig, Plan, make_plan
from dpo.evaluation.comparison.result import is_clear, result
from dpo.evaluation.comparison.rows import Row, RowStore, key_of, verdict_key
from dpo.evaluation.comparison.table import Table
from dpo.notebook import NotebookView, PlotLine, Sheet
from dpo.policies.loading import load_policy

Progress = Callable[[str, int, int], None]
"""Called with the stage ("generate", "score", "measure" or "judge"), how much of it is done, and of how much."""
_AT_ONCE = 32  # pairs or verdicts between two writes


@dataclass(frozen=True)
class Evaluation(NotebookView):
    """A finished evaluation: its directory, what `eval.json` says, and what had to be done for it.

    In a notebook it shows who won.

    `generated` answers, `scored` held-out pairs, `judged` verdicts, `measured` KLs and likelihoods; all 0 where
    everything was there already.
    `failed` has the judges that gave no answer to some question: how many times, and why.  `speeds` are those at which
    the policies answered (`dpo.evaluation.comparison.measured.speeds`), which are no part of the result.
    """

    path: Path
    result: Row
    generated: int
    scored: int
    judged: int
    failed: Mapping[str, tuple[int, str]] = field(default_factory=dict)
    speeds: Sequence[Row] = ()
    measured: int = 0

    def sheet(self) -> Sheet:
        """Each comparison with its win rate, as a notebook shows them."""
        rows = [row for row in self.result["comparisons"] if row["win_rate"]]
        columns = {
            name: [row[name] for row in rows] for name in ("policy", "against", "judge", "temperature", "verdict")
        }
        columns |= {name: [row["win_rate"][name] for row in rows] for name in ("value", "low", "high")}
        names = [f"{row['policy']} against {row['against']}, {row['judge']}" for row in rows]
        bars = PlotLine("win rate", names, columns["value"], bars=True)
        return Sheet(counted(self.result["prompts"], "prompt"), columns, [bars], "", "win rate")


@dataclass(frozen=True)
class Asked:
    """Questions to a judge: how many, how many of them failed, and why the last one did."""

    count: int = 0
    failed: int = 0
    why: str = ""


def evaluate(
    config: EvaluationConfig,
    *,
    announce: Callable[[Plan, RowStore], None] = lambda plan, store: None,
    progress: Progress = lambda stage, done, total: None,
) -> Evaluation:
    """Answer held-out prompts with every policy, judge the answers, and say what that shows.

    What is in the directory already is neither generated nor judged again, so that a stopped evaluation
    goes on where it was; every batch is on the disk once it is done, also where this is interrupted.

    >>> from dpo import EvaluationConfig, evaluate
    >>> made = evaluate(EvaluationConfig(["demo/gpt2-dpo"], dataset="sample"))  # doctest: +SKIP
    >>> made.result["comparisons"][0]["verdict"]  # doctest: +SKIP
    'better'

    Args:
        announce: called once before anything is generated, with the plan and what is there already.
        progress: called after each batch.

    Raises:
        ConfigError: settings out of range, an unknown judge, or nothing to compare with.
        PolicyError: a policy is not there or cannot be loaded.
        DataError: no held-out prompts.
        BusyError: another process writes into the directory.
        StorageError: the directory cannot be written.
    """
    plan = make_plan(config)
    missing = [name for name, known in plan.policies.items() if known == NOT_DOWNLOADED]
    for name in missing:
        load_policy(name, device="cpu")
    plan = make_plan(config) if missing else plan
    store = RowStore(plan.directory)
    announce(plan, store)
    with store.writing():
        done = Evaluation(plan.directory, {}, 0, 0, 0)
        for count in plan.rounds(store):
            done = _round(replace(plan, prompts=plan.prompts[:count]), store, progress, done)
            if is_clear(done.result):
                break
        store.write_result(done.result)
        assert store.plan is not None
        return replace(done, speeds=tuple(speeds(Table(store, store.plan))))


def _round(plan: Plan, store: RowStore, progress: Progress, before: Evaluation) -> Evaluation:
    """Make what is missing for the prompts of a plan, and count it with what the rounds before it made."""
    store.add(*plan.prompts, *plan.texts)
    store.add(plan.row())
    generated = generate_missing(plan, store, lambda done, total: progress("generate", done, total))
    scored = _score(plan, store, progress)
    measured = measure_missing(plan, store, lambda done, total: progress("measure", done, total))
    judged = _judge(plan, store, progress)
    failed = {name: (asked.failed, asked.why) for name, asked in judged.items() if asked.failed}
    return Evaluation(
        plan.directory, result(store), before.generated + generated, before.scored + scored,
        before.judged + sum(asked.count for asked in judged.values()), failed,
        measured=before.measured + measured,
    )  # fmt: skip


def _score(plan: Plan, store: RowStore, progress: Progress) -> int:
    """Held-out pairs under every tuned policy, those that judge too."""
    waiting = {name: waiting_pairs(plan, name, store.pairs) for name in plan.tuned}
    total, scored = sum(map(len, waiting.values())), 0
    for name, pairs in waiting.items():
        if not pairs:
            continue
        progress("score", scored, total)
        for rows in held_out_rows(plan, name, pairs, _AT_ONCE):
            store.add(*rows)
            scored += len(rows)
            progress("score", scored, total)
    return scored


def _judge(plan: Plan, store: RowStore, progress: Progress) -> dict[str, Asked]:
    """What each judge was asked for."""
    judged: dict[str, Asked] = {}
    for spec in plan.judges:
        if spec.kind in VOTED:
            people = spec.kind == "people"
            rows = (
                vote_rows(spec, plan.policies, plan.comparisons, plan.prompts) if people else outside_rows(spec, plan)
            )
            new = [row for row in rows if row["key"] not in store.verdicts]
            store.add_verdicts(*new)
            judged[spec.name] = Asked(len(new))
            continue
        open_it = functools.partial(open_judge, spec, plan.config.device, plan.config.judge_tokens)
        judged[spec.name] = judge_missing(spec, open_it, plan, store, progress)
    return judged


def judge_missing(
    spec: JudgeSpec, open_it: Callable[[], Judge], plan: Plan, store: RowStore, progress: Progress
) -> Asked:
    """Ask a judge for the verdicts that are not in the store, in each of its orders.

    Equal texts under one prompt are judged once; the verdict's other rows are `cached`.  The judge is opened only
    if there is something to ask.  A verdict with an error is stored as a record and asked for again next time.
    """
    waiting = [
        (prompt, a, b, order)
        for prompt, a, b in _duels(plan, store)
        for order in spec.orders
        if verdict_key(spec.identity, a, b, order) not in store.verdicts
    ]
    if not waiting:
        return Asked()
    judge, asked = open_it(), Asked()
    seen = {row["content"]: row for row in store.verdicts.values() if row["identity"] == spec.identity}
    for start in range(0, len(waiting), _AT_ONCE):
        batch = waiting[start : start + _AT_ONCE]
        contents = [_content(spec, duel) for duel in batch]
        fresh: dict[str, Duel] = {}
        for content, (prompt, a, b, order) in zip(contents, batch, strict=True):
            if content not in seen:
                first, second = (b, a) if order == "ba" else (a, b)
                fresh.setdefault(content, Duel(prompt, first["text"], second["text"]))
        verdicts = dict(zip(fresh, judge.judge(list(fresh.values())), strict=True)) if fresh else {}
        errors = [made.error for made in verdicts.values() if made.error is not None]
        asked = Asked(asked.count + len(verdicts), asked.failed + len(errors), errors[-1] if errors else asked.why)
        rows = []
        for content, duel in zip(contents, batch, strict=True):
            made = verdicts.pop(content, None)
            row = _verdict_row(spec, duel, content, made, seen.get(content))
            rows.append(row)
            if row["error"] is None:
                seen[content] = row
        store.add_verdicts(*rows)
        progress("judge", start + len(batch), len(waiting))
        if all(row["error"] is not None for row in rows):
            break  # it answers nothing any more: what is missing is asked for next time
    return asked


_Waiting = tuple[Row, Row, Row, str]


def _content(spec: JudgeSpec, duel: _Waiting) -> str:
    prompt, a, b, order = duel
    return key_of(spec.identity, prompt["hash"], a["text"], b["text"], order)


def _verdict_row(spec: JudgeSpec, duel: _Waiting, content: str, made: Verdict | None, known: Row | None) -> Row:
    """A verdict as a row, where `a` is the policy's answer whatever the order; from the one that is `known`, if any."""
    prompt, a, b, order = duel
    row: Row = {
        "key": verdict_key(spec.identity, a, b, order), "content": content, "prompt": prompt["key"],
        "prompt_hash": prompt["hash"], "policy_a": a["policy"], "hash_a": a["policy_hash"], "policy_b": b["policy"],
        "hash_b": b["policy_hash"], "temperature": a["temperature"], "seed": a["seed"], "sample": a["sample"],
        "order": order, "judge": spec.name, "identity": spec.identity,
    }  # fmt: skip
    if made is None and known is not None:
        same = {name: known.get(name) for name in ("verdict", "scores", "raw", "model")}
        return row | same | {"cost": None, "error": None, "cached": True, "repeat": None}
    made = made or Verdict("invalid", error="the same question failed just now")
    turned = order == "ba"
    scores = None if made.scores is None else list(made.scores[::-1] if turned else made.scores)
    return row | {
        "verdict": None if made.error else _of_policy(made.winner, turned), "scores": scores, "raw": made.raw,
        "cost": made.cost, "error": made.error, "cached": False, "model": made.model,
        "repeat": made.repeat and _of_policy(made.repeat, turned),
    }  # fmt: skip


def _of_policy(winner: Winner, turned: bool) -> Winner:
    """The winner where `a` is the policy's answer, of one where `a` is the answer that stood first."""
    others: dict[Winner, Winner] = {"a": "b", "b": "a"}
    return others.get(winner, winner) if turned else winner


def _duels(plan: Plan, store: RowStore) -> Iterator[tuple[Row, Row, Row]]:
    """Prompt, the policy's answer and the other's, wherever both could answer."""
    for policy, against in plan.comparisons:
        for temperature, sample in plan.draws():
            for prompt in plan.prompts:
                a, b = (
                    store.answers.get(plan.answer_key(prompt, name, temperature, sample)) for name in (policy, against)
                )
                if a is not None and b is not None and a["text"] is not None and b["text"] is not None:
                    yield prompt, a, b
