"""A run's policy to the Hugging Face hub, with its card, its curves and its record."""

from __future__ import annotations

import dataclasses
import json
import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dpo.errors import DataError, HubError, PolicyError, RunError
from dpo.policies.names import base_of
from dpo.preferences.audit import Audit
from dpo.preferences.audit.findings import PRIVATE_FINDINGS
from dpo.publishing.card import Publication, base_on_the_hub, model_card
from dpo.publishing.client import check_name, explained
from dpo.publishing.curves import draw_curves
from dpo.publishing.directories import whole
from dpo.publishing.layout import CARD, CURVES, RECORD, RECORDED, is_policy_file
from dpo.publishing.licences import LLAMA3, sources
from dpo.runs import Run
from dpo.runs.record import AUDIT, RUN


@dataclass(frozen=True)
class Pushed:
    """What was published: `url` is None for a dry run; `notes` is what the publisher should know."""

    files: dict[str, int]
    url: str | None
    notes: list[str]


def push(
    run: Run,
    repo_id: str,
    *,
    private: bool = False,
    merged: bool = False,
    licence: str | None = None,
    dry_run: str | Path | None = None,
) -> Pushed:
    """Publish a run's policy as the hub's model `repo_id`.

    Weights (safetensors), tokenizer and card lie at the top, where every library looks for them; the
    run's record lies in `run/`, without host, process and paths, so that `dpo pull` brings the curves too.

    Args:
        private: for a repository that does not exist yet.
        merged: fold an adapter into its base first.
        licence: what the publisher gives the policy under, as the hub spells it.
        dry_run: write the files into this new directory instead, and reach for nothing.

    Raises:
        RunError: no finished policy, or a run of others without a record.
        PolicyError: an adapter whose base nobody else has.
        HubError: a bad name, no connection, the hub refuses, or `private` and the repository is public.
        StorageError: the files cannot be written.
    """
    from huggingface_hub import HfApi

    check_name(repo_id)
    kind, base = _checked(run, merged)
    title = repo_id.rpartition("/")[2]
    publication = Publication(title, kind, base, repo_id, licence)
    if dry_run is not None:
        with whole(Path(dry_run)) as directory:
            _write(run, directory, publication)
        return Pushed(_sizes(Path(dry_run)), None, _notes(run, title, licence))
    with tempfile.TemporaryDirectory(prefix="dpo-push-") as temporary, explained(repo_id, "published"):
        directory = Path(temporary) / title
        directory.mkdir()
        api = HfApi()
        # Before the work of folding and drawing: a wrong name or token shows at once.
        created = api.create_repo(repo_id, private=private or None, exist_ok=True)
        there = api.repo_info(created.repo_id)
        if private and not there.private:
            raise HubError(f"{repo_id} exists and is public: make it private on its page, or choose another name")
        _write(run, directory, publication)
        files = _sizes(directory)
        # What an earlier publication left (an adapter, say, where a full checkpoint is now) would be loaded with it.
        names = [file.rfilename for file in there.siblings or []]
        stale = [
            name for name in names if name not in files and (is_policy_file(name) or name.startswith(f"{RECORD}/"))
        ]
        api.upload_folder(
            repo_id=created.repo_id,
            folder_path=directory,
            delete_patterns=stale or None,
            commit_message=f"Publish {run.name} with the DPO workbench",
        )
    return Pushed(files, str(created), _notes(run, title, licence))


def _checked(run: Run, merged: bool) -> tuple[str, str | None]:
    """What is published (full, adapter or merged) and the hub id of its base."""
    if not run.config:
        raise RunError(f"{run.path} was not made by dpo, so there is no record to make a card from: use hf upload")
    if run.state == "running":
        raise RunError(f"{run.path} is running now: wait until it is finished")
    policy = run.policy_path
    if policy is None:
        raise RunError(f"{run.path} has no policy yet ({run.state}): go on with dpo train --resume {run.path}")
    base = base_on_the_hub(str(run.config.get("model") or ""))
    if not (policy / "adapter_config.json").is_file():
        return "full", base
    if merged:
        return "merged", base
    needed = base_of(policy)
    if base_on_the_hub(needed) is None:
        raise PolicyError(
            f"{run.name} is an adapter of {needed}, which nobody finds on the hub: add --merge to publish both in one"
        )
    return "adapter", needed


def _write(run: Run, directory: Path, publication: Publication) -> None:
    """Everything that is published, into an empty directory."""
    assert run.policy_path is not None
    if publication.kind == "merged":
        from dpo.publishing.merge import merge

        merge(str(run.policy_path), directory)
    else:
        for path in sorted(run.policy_path.iterdir()):
            if path.is_file() and is_policy_file(path.name):
                shutil.copyfile(path, directory / path.name)
    record = directory / RECORD
    record.mkdir()
    for name in RECORDED:
        if name == AUDIT and (run.path / name).is_file():
            (record / name).write_text(_public_audit(run.path / name), encoding="utf-8")
        elif (run.path / name).is_file():
            shutil.copyfile(run.path / name, record / name)
    info = _public(run.info) | {"pid": None, "host": None, "reason": None}
    (record / RUN).write_text(json.dumps(info, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    picture = CURVES if draw_curves(run, directory / CURVES) else None
    card = model_card(run, dataclasses.replace(publication, picture=picture, weights=directory))
    (directory / CARD).write_text(card, encoding="utf-8")


def _public_audit(path: Path) -> str:
    """The run's audit, without the rows of personal data and secrets: they would lead a reader to them."""
    try:
        read = dataclasses.asdict(Audit.from_json(path.read_text(encoding="utf-8")))
    except DataError as error:
        raise RunError(f"{path} cannot be published: {error}") from error
    for finding in read["findings"]:
        if finding["code"] in PRIVATE_FINDINGS:
            finding["rows"] = []
    return json.dumps(_public(read), indent=1, ensure_ascii=False) + "\n"


def _public(value: Any) -> Any:
    """Absolute paths say more about a machine and its owner than about the policy: the last part stays."""
    if isinstance(value, str):
        return Path(value).name if Path(value).is_absolute() else value
    if isinstance(value, dict):
        return {name: _public(item) for name, item in value.items()}
    return [_public(item) for item in value] if isinstance(value, list) else value


def _sizes(directory: Path) -> dict[str, int]:
    """Bytes of each file."""
    files = sorted(path for path in directory.rglob("*") if path.is_file())
    return {path.relative_to(directory).as_posix(): path.stat().st_size for path in files}


def _notes(run: Run, title: str, licence: str | None) -> list[str]:
    parts = sources(run.info)
    unknown = [name for name, known in parts if known is None]
    notes = []
    if any(known == LLAMA3 for _, known in parts) and not title.startswith("Llama-3"):
        notes.append("Llama 3 wrote the data: its licence asks that the model's name begin with Llama-3")
    if unknown and licence is None:
        notes.append(f"the licence of {', '.join(unknown)} is not known here: say yours with --license")
    return notes
