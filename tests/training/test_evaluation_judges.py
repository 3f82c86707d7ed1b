"""Who judges, how it is asked, and what counts: tiny policies, a reward model, a server, votes."""

from __future__ import annotations

import json
import re
import shutil
import threading
from collections.abc import Iterator
from dataclasses import asdict, replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, ClassVar

import pytest
import torch
from evaluations import PROMPTS, by_hand, config_of
from tiny import tiny_gpt2
from transformers import GPT2Config, GPT2ForSequenceClassification

from dpo.cli.main import main
from dpo.errors import PolicyError
from dpo.evaluation.comparison import lineage
from dpo.evaluation.comparison.judges import Duel, JudgeSpec, Verdict
from dpo.evaluation.comparison.plan import make_plan
from dpo.evaluation.comparison.result import result
from dpo.evaluation.comparison.rows import RowStore
from dpo.evaluation.comparison.work import Asked, evaluate, judge_missing
from dpo.evaluation.statistics.judges import corrected_by_people
from dpo.evaluation.votes import Vote, Votes


def test_a_copy_of_the_pairs_makes_a_judge_related_and_other_prompts_do_not(tuned_home: Path, tmp_path: Path) -> None:
    rows = [json.loads(line) for line in (tuned_home / "pairs.jsonl").read_text(encoding="utf-8").splitlines()]
    shutil.copytree(tuned_home / "run", tmp_path / "judge")
    record = tmp_path / "judge" / "run.json"
    info = json.loads(record.read_text(encoding="utf-8"))
    pairs = tmp_path / "other.jsonl"
    for change, word, why in (
        (lambda text: text, "related", "common prompts"),
        (lambda text: text + "!", "not related", "different prompts"),
        (None, "unknown", "can be read"),
    ):
        if change is None:
            pairs.unlink()
        else:
            changed = [row | {"prompt": change(row["prompt"]), "chosen": row["chosen"] + "."} for row in rows]
            pairs.write_text("".join(json.dumps(row) + "\n" for row in changed), encoding="utf-8")
        own = {"config": info["config"] | {"dataset": str(pairs)}, "dataset": info["dataset"] | {"fingerprint": word}}
        record.write_text(json.dumps(info | own), encoding="utf-8")
        (tmp_path / "judge" / "policy" / "vocab.json").write_text("{}")  # other files, so other weights
        lineage._prompts_of.cache_clear()
        found = lineage.relation(str(tmp_path / "judge"), str(tuned_home / "run"))
        assert (found.word, why in found.why) == (word, True), found


def test_two_halves_of_one_file_make_judges_that_are_not_related(tuned_home: Path, tmp_path: Path) -> None:
    """Both trained on the same file: related, unless each on its own half of the prompts."""
    names = []
    for place, half in enumerate((1, 2, 2, None)):
        run = tmp_path / str(place)
        shutil.copytree(tuned_home / "run", run)
        info = json.loads((run / "run.json").read_text(encoding="utf-8"))
        (run / "run.json").write_text(json.dumps(info | {"config": info["config"] | {"half": half}}), encoding="utf-8")
        (run / "policy" / "vocab.json").write_text(json.dumps(place))  # other weights
        names.append(str(run))
    lineage._prompts_of.cache_clear()
    one, two, again, whole = names
    assert lineage.relation(one, two).word == "not related"
    assert lineage.relation(two, again).word == lineage.relation(one, whole).word == "related"


class _First:
    """Prefers whatever stands first; invalid on one prompt, out of reach on another."""

    def __init__(self, invalid: str, down: str) -> None:
        self.invalid, self.down, self.asked = invalid, down, 0

    def judge(self, duels: list[Duel]) -> list[Verdict]:
        self.asked += len(duels)
        return [
            Verdict("invalid", raw="neither")
            if duel.prompt["hash"] == self.invalid
            else Verdict("invalid", error="no answer")
            if duel.prompt["hash"] == self.down
            else Verdict("a", raw="[[A]]")
            for duel in duels
        ]


def test_a_judge_of_both_orders_flips_is_counted_and_asked_again_after_errors(
    tuned_home: Path, evaluated: Path, tmp_path: Path
) -> None:
    target = tmp_path / "e"
    shutil.copytree(evaluated, target)
    spec = JudgeSpec("first", "reward", "first-1", "what stands first", orders=("ab", "ba"))
    plan = replace(make_plan(config_of(tuned_home, target, judges=())), judges=(spec,))
    store = RowStore(target)
    hashes = [prompt["hash"] for prompt in plan.prompts]
    judge = _First(hashes[0], hashes[1])
    with store.writing():
        store.add(plan.row())
        assert judge_missing(spec, lambda: judge, plan, store, lambda *_: None) == Asked(2 * PROMPTS, 2, "no answer")
    made = result(RowStore(target))
    [row] = made["comparisons"]
    assert not made["complete"] and row["prompts"] == PROMPTS - 2 and row["invalid"] == 2
    assert row["win_rate"]["value"] == 0.5 and row["ties"] == PROMPTS - 2
    assert row["order"]["bias"]["value"] == 0.5 and row["order"]["flips"] == row["order"]["decided"] == PROMPTS - 2
    judge.down, store = "", RowStore(target)
    with store.writing():
        assert judge_missing(spec, lambda: judge, plan, store, lambda *_: None).count == 2  # the errors only
    assert result(RowStore(target))["complete"]


def test_a_reward_model_judges_by_its_own_scores(tuned_home: Path, evaluated: Path, tmp_path: Path) -> None:
    tiny = tiny_gpt2()
    model = GPT2ForSequenceClassification(GPT2Config(**tiny.network.config.to_dict() | {"num_labels": 1}))
    torch.nn.init.normal_(model.score.weight)
    model.eval().save_pretrained(tmp_path / "rm")
    tiny.tokenizer.save_pretrained(tmp_path / "rm")
    target, name = tmp_path / "e", f"reward-model:{tmp_path / 'rm'}"
    shutil.copytree(evaluated, target)
    made = evaluate(config_of(tuned_home, target, judges=[name]))
    assert (made.generated, made.judged) == (0, PROMPTS) and made.result["complete"]
    store, seen = RowStore(target), 0
    for row in store.verdicts.values():
        if row["judge"] != name:
            continue
        prompt = store.prompts[row["prompt"]]["prompt"]
        for policy, score in zip(("policy_a", "policy_b"), row["scores"], strict=True):
            [answer] = [a for a in store.answers.values() if (a["policy"], a["prompt"]) == (row[policy], row["prompt"])]
            ids = tiny.tokenizer(prompt, answer["text"], return_tensors="pt")
            with torch.no_grad():
                assert score == pytest.approx(float(model(**ids).logits[0, 0]), abs=1e-5)
        gap = row["scores"][0] - row["scores"][1]
        assert row["verdict"] == ("tie" if abs(gap) < 1e-5 else "a" if gap > 0 else "b")
        seen += 1
    assert seen == PROMPTS
    with pytest.raises(PolicyError, match="is no reward model"):
        evaluate(config_of(tuned_home, target, judges=[f"reward-model:{tuned_home / 'base'}"]))


class _Chat(BaseHTTPRequestHandler):
    """A chat server: the longer answer is better, unless `mode` has it do something else."""

    mode, asked = "judge", 0
    seen: ClassVar[set[Any]] = set()

    def log_message(self, *_: Any) -> None:
        """Nothing is printed."""

    def do_POST(self) -> None:
        kind = type(self)
        kind.asked += 1
        body = json.loads(self.rfile.read(int(self.headers["content-length"])))
        found = re.search(r"Answer A:\n(.*?)\n\nAnswer B:\n(.*?)\n\nVerdict:", body["messages"][1]["content"], re.S)
        assert found is not None and body["temperature"] == 0 and body["model"] in ("big", "small")
        first, second = map(len, found.groups())
        word = "C" if first == second else "A" if first > second else "B"
        status, text = 200, f"Not [[C]], I think.\n[[{word}]]"
        if kind.mode == "first":
            text = "[[A]]"
        if kind.mode == "nonsense":
            text = "Both have merits."
        if kind.mode == "unknown":
            status = 404
        if kind.mode == "busy" and found.groups() not in kind.seen:
            status = 429
        kind.seen.add(found.groups())
        content = {"model": "big-2026", "choices": [{"message": {"content": text}}], "usage": {"total_tokens": 10}}
        sent = json.dumps(content if status == 200 else {"error": "no such model"}).encode()
        self.send_response(status)
        self.send_header("retry-after", "0")
        self.send_header("content-length", str(len(sent)))
        self.end_headers()
        self.wfile.write(sent)


@pytest.fixture
def chat() -> Iterator[str]:
    """The address of a chat server."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Chat)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}/v1"
    server.shutdown()
    thread.join()
    server.server_close()


def test_a_chat_model_judges_in_both_orders_over_http(
    tuned_home: Path,
    evaluated: Path,
    tmp_path: Path,
    chat: str,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Busy, of one opinion, without one, unknown, at its limit, gone: what was judged is kept, no error counts."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("dpo.evaluation.comparison.endpoint._ASKED_TWICE", 1)

    def judged(mode: str, **settings: Any) -> Any:
        _Chat.mode, _Chat.asked = mode, 0
        _Chat.seen.clear()
        target = tmp_path / mode
        if not target.exists():
            shutil.copytree(evaluated, target)
        return evaluate(config_of(tuned_home, target, judges=[f"endpoint:{chat}#big"], **settings))

    made = judged("judge")
    rows = {row["judge"]: row for row in made.result["comparisons"]}
    endpoint, longer = rows[f"endpoint:{chat}#big"], rows["longer"]
    assert (endpoint["wins"], endpoint["ties"], endpoint["losses"]) == (
        longer["wins"],
        longer["ties"],
        longer["losses"],
    )
    assert endpoint["order"]["bias"]["value"] == 0 and made.judged == 2 * PROMPTS and made.result["complete"]
    card = made.result["judges"][0]
    assert card["models"] == ["big-2026"] and card["repeated"] == card["repeated_alike"] == 2 * PROMPTS
    assert _Chat.asked == 4 * PROMPTS
    assert judged("judge").judged == 0 and _Chat.asked == 0
    assert judged("first").result["comparisons"][0]["order"]["bias"]["value"] == 0.5
    assert judged("busy").result["comparisons"][0]["wins"] == endpoint["wins"]
    nonsense = judged("nonsense")
    assert nonsense.result["comparisons"][0]["invalid"] == 2 * PROMPTS and nonsense.result["complete"]
    unknown = judged("unknown")
    assert unknown.failed[f"endpoint:{chat}#big"] == (2 * PROMPTS, f"{chat} answers with status 404 ({NO_MODEL})")
    assert not unknown.result["complete"] and unknown.result["comparisons"][0]["win_rate"] is None
    shutil.move(tmp_path / "unknown", tmp_path / "limit")
    some = judged("limit", judge_tokens=1)
    left = some.failed[f"endpoint:{chat}#big"]
    assert 0 < left[0] < 2 * PROMPTS and "the limit of 1 tokens is reached" in left[1]
    assert judged("limit").judged == left[0] and judged("limit").result["complete"]
    line = ["eval", str(tuned_home / "run"), "--prompts", str(PROMPTS), "--max-new-tokens", "6", "--device", "cpu"]
    line += ["--output-dir", str(tmp_path / "limit")]
    assert main([*line, "--judge", f"endpoint:{chat}#big"]) == 0
    assert f"calls itself big-2026; {card['tokens']:,.0f} tokens" in capsys.readouterr().out
    _Chat.mode = "unknown"
    assert main([*line, "--judge", f"endpoint:{chat}#small"]) == 2
    out = capsys.readouterr()
    assert f"Prompts and answers are sent to {chat}" in out.out and "it gave no verdict" in out.err
    assert main([*line, "--judge", "endpoint:http://127.0.0.1:9/v1#big"]) == 2
    out = capsys.readouterr()
    assert "can't be asked" in out.err and "are longer than" in out.out  # the others have judged
    assert main([*line, "--judge", "endpoint:nowhere"]) == 2


NO_MODEL = '{"error": "no such model"}'


def test_votes_on_the_prompts_judge_and_keep_their_temperature(
    tuned_home: Path, evaluated: Path, tmp_path: Path
) -> None:
    target, run, base = tmp_path / "e", str(tuned_home / "run"), str(tuned_home / "base")
    shutil.copytree(evaluated, target)
    votes = Votes(target / "votes.sqlite")
    prompts = [prompt["prompt"] for prompt in RowStore(target).prompts.values()]

    def vote(key: str, prompt: str, verdict: str, turned: bool = False, **more: Any) -> None:
        names = (base, run) if turned else (run, base)
        values = {"key": key, "prompt": prompt, "policy_a": names[0], "policy_b": names[1], "text_a": "x"}
        votes.add(Vote.from_values(values | {"text_b": "y", "verdict": verdict, "temperature": 0.7} | more))

    vote("1", prompts[0], "a")
    vote("2", prompts[0], "a", turned=True)
    vote("3", prompts[1], "b", turned=True)
    vote("4", prompts[2], "bad")
    vote("5", prompts[2], "a", temperature=1.3)  # another temperature
    vote("6", "What nobody was asked?", "a")
    made = evaluate(config_of(tuned_home, target, judges=["votes"]))
    [row] = [row for row in made.result["comparisons"] if row["judge"] == "votes"]
    assert made.generated == 0 and row["prompts"] == 3 and row["people"] is None
    assert (row["wins"], row["ties"], row["losses"], row["both_bad"]) == (1, 2, 0, 1)
    assert row["win_rate"]["value"] == pytest.approx((0.5 + 1 + 0.5) / 3)


def test_votes_on_some_prompts_correct_a_judge(tmp_path: Path) -> None:
    """The estimate of prediction-powered inference on the votes' prompts and the others, and none from few votes."""
    verdicts = [["a"], ["b"], ["tie"], ["a"]] * 6
    votes = ["a", "b", "a", "tie", "b", "a", "a", "b", "tie", "a"]
    row = by_hand(tmp_path / "e", verdicts, votes=votes)["comparisons"][0]
    worth = {"a": 1.0, "b": 0.0, "tie": 0.5}
    judge = [worth[one[0]] for one in verdicts]
    estimate, weight = corrected_by_people([worth[one] for one in votes], judge[:10], judge[10:])
    assert row["people"] == asdict(estimate) | {"weight": weight}
    assert by_hand(tmp_path / "few", verdicts, votes=votes[:9])["comparisons"][0]["people"] is None
