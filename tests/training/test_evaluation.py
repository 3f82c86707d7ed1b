"""An evaluation with tiny policies: made once, resumed after any kill, and a function of its two files."""

from __future__ import annotations

import json
import os
import random
import re
import shlex
import shutil
import signal
import threading
from collections.abc import Iterator
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, ClassVar

import pytest
import torch
from tiny import TEXTS, save_tiny, tiny_gpt2
from transformers import GPT2Config, GPT2ForSequenceClassification

from dpo.cli.main import main
from dpo.errors import BusyError, ConfigError, DataError, PolicyError
from dpo.evaluation.comparison import lineage
from dpo.evaluation.comparison.judges import Duel, JudgeSpec, Verdict
from dpo.evaluation.comparison.plan import EvaluationConfig, make_plan
from dpo.evaluation.comparison.result import result
from dpo.evaluation.comparison.rows import ROWS, VERDICTS, RowStore, read_result
from dpo.evaluation.comparison.work import Asked, evaluate, judge_missing
from dpo.evaluation.pairs import score_pairs
from dpo.evaluation.votes import Vote, Votes
from dpo.preferences.split import is_held_out
from dpo.training.config import TrainConfig
from dpo.training.run import train
from dpo.training.settings import make

PROMPTS = 4


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory with a tiny base `base`, a tuned run `run` of it (LoRA), and its pairs."""
    root = tmp_path_factory.mktemp("evaluation")
    save_tiny("gpt2", root / "base")
    words, draw = " ".join(TEXTS).split(), random.Random(1)
    rows = [
        {
            "prompt": f"Question {number}?",
            "chosen": " ".join(draw.choices(words, k=6)) + " 😄",
            "rejected": " ".join(draw.choices(words, k=5)),
        }
        for number in range(40)
    ]
    (root / "pairs.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    train(
        make(
            TrainConfig,
            {
                "model": str(root / "base"), "dataset": str(root / "pairs.jsonl"), "output_dir": str(root / "run"),
                "max_steps": 2, "batch_size": 4, "learning_rate": 0.02, "lora": True, "probes": 0, "device": "cpu",
                "eval_fraction": 0.3, "precision": "fp32", "max_prompt_length": 24, "max_completion_length": 60,
            },
        )
    )  # fmt: skip
    return root


def config_of(home: Path, target: Path, **settings: Any) -> EvaluationConfig:
    run = str(home / "run")
    given = {"judges": [f"reward:{run}"], "prompts": PROMPTS, "max_new_tokens": 6, "batch_size": 3, "device": "cpu"}
    return EvaluationConfig([run], output_dir=str(target), votes=str(target / "votes.sqlite"), **(given | settings))


@pytest.fixture(scope="module")
def whole(home: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The directory of an evaluation that nothing interrupted."""
    target = tmp_path_factory.mktemp("whole") / "e"
    evaluate(config_of(home, target))
    return target


def keys(path: Path) -> list[str]:
    return [json.loads(line)["key"] for line in path.read_text(encoding="utf-8").splitlines()]


def test_generates_scores_and_judges_once_and_never_again(home: Path, whole: Path) -> None:
    made = read_result(whole)
    store = RowStore(whole)
    assert made["complete"] and made["prompts"] == PROMPTS
    assert len(store.answers) == 2 * PROMPTS and len(store.pairs) == PROMPTS and len(store.verdicts) == 3 * PROMPTS
    assert all(is_held_out(prompt["prompt"], 0.3) for prompt in store.prompts.values())
    before = (whole / ROWS).read_bytes(), (whole / VERDICTS).read_bytes()
    again = evaluate(config_of(home, whole))
    assert (again.generated, again.scored, again.judged) == (0, 0, 0) and again.result == made
    assert before == ((whole / ROWS).read_bytes(), (whole / VERDICTS).read_bytes())
    assert result(RowStore(whole)) == made  # of the two files alone
    rows = (whole / ROWS).read_text(encoding="utf-8").splitlines()
    shuffled = whole.parent / "shuffled"
    shuffled.mkdir()
    (shuffled / ROWS).write_text("\n".join(rows[::-1]) + "\n", encoding="utf-8")
    shutil.copy(whole / VERDICTS, shuffled)
    assert result(RowStore(shuffled)) == made


def test_the_numbers_are_those_of_the_rows(home: Path, whole: Path) -> None:
    """Win rate, reward and held-out measures against the scorer and plain arithmetic."""
    from dpo.evaluation.lens import open_lens

    made, store, run = read_result(whole), RowStore(whole), str(home / "run")
    [row] = [row for row in made["comparisons"] if row["judge"] == f"reward:{run}"]
    assert row["relation"]["word"] == "related" and row["says"] == f"agreement with the training preference of {run}"
    answers = {(a["policy"], a["prompt_hash"]): a for a in store.answers.values()}
    base = str(home / "base")
    pairs = [
        {"prompt": p["prompt"], "chosen": answers[run, p["hash"]]["text"], "rejected": answers[base, p["hash"]]["text"]}
        for p in store.prompts.values()
    ]
    lens = open_lens(run, device="cpu")
    scores, _ = score_pairs(lens, pairs)
    assert row["win_rate"]["value"] == pytest.approx(sum(score.right for score in scores) / PROMPTS)
    assert row["wins"] + row["ties"] + row["losses"] == row["prompts"] == PROMPTS
    [held_out] = made["held_out"]
    data = [{"prompt": p["prompt"], **p["pairs"][0]} for p in store.prompts.values()]
    ranked, _ = score_pairs(lens, data)
    assert held_out["accuracy"]["value"] == pytest.approx(sum(score.right for score in ranked) / PROMPTS)
    assert held_out["margin"]["value"] == pytest.approx(sum(score.margin for score in ranked) / PROMPTS, abs=1e-6)
    assert held_out["rules"]["emoji"]["value"] == 1.0 and held_out["shortcut"]["feature"] == "emoji"
    [own, other] = made["measures"]
    words = [len(answers[run, p["hash"]]["text"].split()) for p in store.prompts.values()]
    theirs = [len(answers[base, p["hash"]]["text"].split()) for p in store.prompts.values()]
    assert own["values"]["words"]["value"]["value"] == pytest.approx(sum(words) / PROMPTS)
    assert own["values"]["words"]["difference"]["value"] == pytest.approx((sum(words) - sum(theirs)) / PROMPTS)
    assert other["against"] is None and other["values"]["words"]["difference"] is None


def test_killed_after_every_batch_and_resumed_it_is_the_same(home: Path, whole: Path, tmp_path: Path) -> None:
    """SIGKILL at each point at which something was just written, resume after resume, until nothing is left."""
    target, kills = tmp_path / "e", 0

    def once() -> int:
        child = os.fork()
        if child == 0:
            # New rows since this process began, of either file: then it is gone, without any clean-up.
            size = sum(path.stat().st_size for path in target.glob("*.jsonl"))

            def kill(stage: str, done: int, total: int) -> None:
                if sum(path.stat().st_size for path in target.glob("*.jsonl")) > size + 1:
                    os.kill(os.getpid(), signal.SIGKILL)

            try:
                evaluate(config_of(home, target), progress=kill)
                os._exit(0)
            except BaseException:
                os._exit(1)
        return os.waitpid(child, 0)[1]

    while (status := once()) != 0:
        assert os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGKILL
        kills += 1
        assert kills < 20
        for name in (ROWS, VERDICTS):  # what a kill within a write leaves
            if (target / name).exists():
                with (target / name).open("ab") as file:
                    file.write(b'{"kind": "answer", "key": "torn')
    assert kills >= 5
    assert read_result(target) == read_result(whole)
    for name in (ROWS, VERDICTS):
        assert sorted(keys(target / name)) == sorted(keys(whole / name)) and len(set(keys(target / name))) == len(
            keys(target / name)
        )


def test_what_changed_is_made_again_and_nothing_else(home: Path, whole: Path, tmp_path: Path) -> None:
    target = tmp_path / "e"
    shutil.copytree(whole, target)
    more = evaluate(config_of(home, target, temperatures=(0.7, 0.0), samples=2))
    # A second sample at 0.7 and one greedy answer, of both policies; the held-out pairs are the same.
    assert (more.generated, more.scored) == (2 * 2 * PROMPTS, 0)
    assert {row["temperature"] for row in more.result["comparisons"]} == {0.0, 0.7}
    back = evaluate(config_of(home, target))
    assert (back.generated, back.scored, back.judged) == (0, 0, 0) and back.result == read_result(whole)
    copy = tmp_path / "base"
    save_tiny("gpt2", copy, seed=3)
    assert make_plan(config_of(home, target, against=str(copy))).missing(RowStore(target)) == PROMPTS


def test_a_copy_of_the_pairs_makes_a_judge_related_and_other_prompts_do_not(home: Path, tmp_path: Path) -> None:
    rows = [json.loads(line) for line in (home / "pairs.jsonl").read_text(encoding="utf-8").splitlines()]
    shutil.copytree(home / "run", tmp_path / "judge")
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
        found = lineage.relation(str(tmp_path / "judge"), str(home / "run"))
        assert (found.word, why in found.why) == (word, True), found


def test_two_equal_policies_tie(home: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(home / "base", copy)
    given = config_of(home, tmp_path / "e", against=str(home / "base"), judges=())
    made = evaluate(replace(given, policies=[str(copy)], dataset=str(home / "pairs.jsonl"), eval_fraction=0.3))
    assert made.generated == PROMPTS  # equal weights answer once
    assert {row["win_rate"]["value"] for row in made.result["comparisons"]} == {0.5}
    assert {row["verdict"] for row in made.result["comparisons"]} <= {"cannot tell at this size", "equivalent"}


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
    home: Path, whole: Path, tmp_path: Path
) -> None:
    target = tmp_path / "e"
    shutil.copytree(whole, target)
    spec = JudgeSpec("first", "reward", "first-1", "what stands first", orders=("ab", "ba"))
    plan = replace(make_plan(config_of(home, target, judges=())), judges=(spec,))
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


def test_a_reward_model_judges_by_its_own_scores(home: Path, whole: Path, tmp_path: Path) -> None:
    tiny = tiny_gpt2()
    model = GPT2ForSequenceClassification(GPT2Config(**tiny.network.config.to_dict() | {"num_labels": 1}))
    torch.nn.init.normal_(model.score.weight)
    model.eval().save_pretrained(tmp_path / "rm")
    tiny.tokenizer.save_pretrained(tmp_path / "rm")
    target, name = tmp_path / "e", f"reward-model:{tmp_path / 'rm'}"
    shutil.copytree(whole, target)
    made = evaluate(config_of(home, target, judges=[name]))
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
        evaluate(config_of(home, target, judges=[f"reward-model:{home / 'base'}"]))


class _Chat(BaseHTTPRequestHandler):
    """A chat server: the longer answer is better, unless `mode` has it do something else."""

    mode, asked = "judge", 0
    seen: ClassVar[set[Any]] = set()

    def log_message(self, *_: Any) -> None:
        """Nothing is printed."""

    def do_GET(self) -> None:
        self.send_response(404)
        self.end_headers()

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
    home: Path,
    whole: Path,
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
            shutil.copytree(whole, target)
        return evaluate(config_of(home, target, judges=[f"endpoint:{chat}#big"], **settings))

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
    line = ["eval", str(home / "run"), "--prompts", str(PROMPTS), "--max-new-tokens", "6", "--device", "cpu"]
    line += ["--output-dir", str(tmp_path / "limit")]
    _Chat.mode = "unknown"
    assert main([*line, "--judge", f"endpoint:{chat}#small"]) == 2
    out = capsys.readouterr()
    assert f"Prompts and answers are sent to {chat}" in out.out and "it gave no verdict" in out.err
    assert main([*line, "--judge", "endpoint:http://127.0.0.1:9/v1#big"]) == 2
    assert "can't be asked" in capsys.readouterr().err
    assert main([*line, "--judge", "endpoint:nowhere"]) == 2


NO_MODEL = '{"error": "no such model"}'


def test_votes_on_the_prompts_judge_and_keep_their_temperature(home: Path, whole: Path, tmp_path: Path) -> None:
    target, run, base = tmp_path / "e", str(home / "run"), str(home / "base")
    shutil.copytree(whole, target)
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
    made = evaluate(config_of(home, target, judges=["votes"]))
    [row] = [row for row in made.result["comparisons"] if row["judge"] == "votes"]
    assert made.generated == 0 and row["prompts"] == 3
    assert (row["wins"], row["ties"], row["losses"], row["both_bad"]) == (1, 2, 0, 1)
    assert row["win_rate"]["value"] == pytest.approx((0.5 + 1 + 0.5) / 3)


@pytest.mark.parametrize(
    ("settings", "error", "match"),
    [
        ({"prompts": 0}, ConfigError, "prompts is 0"),
        ({"temperatures": (0.7, 0.7)}, ConfigError, "named twice"),
        ({"temperatures": (9.0,)}, ConfigError, "temperature"),
        ({"judges": ["oracle"]}, ConfigError, "No judge is called 'oracle'"),
        ({"judges": ["reward:BASE"]}, PolicyError, "no recorded reference"),
        ({"against": "RUN"}, ConfigError, "--against"),
        ({"eval_fraction": 0.5}, ConfigError, "held out 0.3 of the prompts"),
        ({"eval_fraction": 1.5}, ConfigError, "eval_fraction is 1.5"),
        ({"dataset": "missing.jsonl"}, DataError, "no file"),
        ({"policies": ["BASE"]}, ConfigError, "--against"),
        ({"policies": ["./nothing"]}, PolicyError, "No policy"),
    ],
)  # fmt: skip
def test_mistakes_are_one_line_before_anything_is_loaded(
    home: Path, tmp_path: Path, settings: dict[str, Any], error: type[Exception], match: str
) -> None:
    names = {"RUN": str(home / "run"), "BASE": str(home / "base")}

    def named(value: Any) -> Any:
        if isinstance(value, list):
            return [named(one) for one in value]
        if isinstance(value, str):
            for short, name in names.items():
                value = value.replace(short, name)
        return value

    with pytest.raises(error, match=match) as caught:
        make_plan(replace(config_of(home, tmp_path / "e"), **{key: named(value) for key, value in settings.items()}))
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "e").exists()


def test_the_command_says_what_it_can_show_prints_the_verdicts_and_exits_by_its_sentence(
    home: Path, whole: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    target, run = tmp_path / "e", str(home / "run")
    shutil.copytree(whole, target)
    line = ["eval", run, "--judge", f"reward:{run}", "--prompts", str(PROMPTS), "--max-new-tokens", "6"]
    line += ["--output-dir", str(target), "--device", "cpu"]
    assert main(line) == 0
    out = capsys.readouterr().out
    assert "This size can show a win rate that is 70.0 points or more from 50 %" in out
    assert "0 answers generated, 0 verdicts asked for: all of it was in" in out
    assert "related judge" in out and "agreement with the training preference" in out and "are longer than" in out
    assert main([*line, "--json"]) == 0
    made = json.loads(capsys.readouterr().out)
    assert made == read_result(target)
    [row] = [row for row in made["comparisons"] if row["judge"] == f"reward:{run}"]
    shown = 100 * row["win_rate"]["value"]
    for least, code, word in ((shown, 0, "passed"), (min(shown + 0.1, 100), int(shown < 100), "failed")):
        assert main([*line, "--fail-under", f"{least:g}"]) == code
        assert f"--fail-under {least:g}: {word if code or word == 'passed' else 'passed'}" in capsys.readouterr().out
    for wrong, says in (
        (["--fail-under", "55"], "--fail-under needs a --judge"),
        (["--temperatures", "warm"], "temperature is 'warm'"),
        (["--judge", "oracle"], "No judge is called"),
        (["--prompts", "0"], "prompts is 0"),
    ):
        assert main(["eval", run, *wrong]) == 2
        error = capsys.readouterr().err
        assert says in error and error.count("\n") == 1


def test_ctrl_c_keeps_what_is_finished_and_says_how_to_go_on(
    home: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    target, run = tmp_path / "e", str(home / "run")
    line = ["eval", run, "--prompts", str(PROMPTS), "--max-new-tokens", "6", "--batch-size", "3", "--device", "cpu"]
    line += ["--output-dir", str(target)]
    add = RowStore.add

    def interrupted(self: RowStore, *rows: Any) -> None:
        add(self, *rows)
        if len(self.answers) == 3:
            os.kill(os.getpid(), signal.SIGINT)

    with monkeypatch.context() as patch:
        patch.setattr(RowStore, "add", interrupted)
        assert main(line) == 130
    assert "run the same command to go on" in capsys.readouterr().err
    assert len(RowStore(target).answers) == 3
    assert main(line) == 0
    assert f"{2 * PROMPTS - 3} answers generated" in capsys.readouterr().out


def test_two_processes_do_not_write_into_one_evaluation(home: Path, whole: Path) -> None:
    store = RowStore(whole)
    with store.writing(), pytest.raises(BusyError, match="Another evaluation"):
        evaluate(config_of(home, whole))


def test_commands_and_snippet_of_the_documentation(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """As written, with few and short answers; `runs/first` is a tiny run."""
    text = (Path(__file__).parents[2] / "docs" / "evaluation.md").read_text(encoding="utf-8")
    blocks = re.findall(r"```(bash|python)\n(.*?)```", text, re.S)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "runs").mkdir()
    shutil.copytree(home / "run", tmp_path / "runs" / "first")
    lines = [line for kind, block in blocks if kind == "bash" for line in block.splitlines()]
    assert len(lines) == 5
    for line in lines:
        code = main([*shlex.split(line)[1:], "--prompts", "2", "--max-new-tokens", "4", "--device", "cpu"])
        assert code == 0 or ("--fail-under" in line and code == 1), line
    assert (tmp_path / "runs" / "first" / "evaluations" / "pairs" / "eval.json").is_file()
    capsys.readouterr()
    [snippet] = [block for kind, block in blocks if kind == "python"]
    exec(compile(snippet, "docs/evaluation.md", "exec"), {})
    assert "demo/gpt2-dpo" in capsys.readouterr().out
