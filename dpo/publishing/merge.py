"""A LoRA adapter folded into its base: one full checkpoint that plain transformers loads."""

from __future__ import annotations

from pathlib import Path

from peft import PeftModel

from dpo.errors import PolicyError
from dpo.policies.loading import load_policy, save_policy
from dpo.policies.names import base_of, resolve
from dpo.publishing.directories import whole
from dpo.publishing.use import transformers_code


def merge(name: str, directory: str | Path) -> Path:
    """Write the adapter policy `name` (see `dpo.policies.names`) as a full float32 checkpoint.

    W + (alpha / rank) * B A takes the place of W in every adapted layer (Hu et al. 2021, section 4.1),
    and embeddings trained with the adapter take the place of the base's.  Log-probabilities stay what
    they were, up to the rounding of float32.

    Raises:
        PolicyError: not found, or no adapter.
        StorageError: the directory holds something already, or cannot be written.
    """
    policy = load_policy(name, device="cpu")
    if not isinstance(policy.model, PeftModel):
        raise PolicyError(f"{name} is a full checkpoint, there is no adapter to fold in: use it as it is")
    base = base_of(Path(resolve(name).location))
    if Path(base).is_dir():
        base = Path(base).name  # a path of this machine says nothing elsewhere
    policy.model = policy.model.merge_and_unload(safe_merge=True)
    with whole(Path(directory)) as target:
        save_policy(policy, target)
        sentence = f"The LoRA adapter of `{Path(name).name}` folded into `{base}` by `dpo merge`."
        code = transformers_code(target, str(directory))
        card = f"# {Path(directory).name}\n\n{sentence}\n\nIn plain transformers:\n\n```python\n{code}\n```\n"
        (target / "README.md").write_text(card, encoding="utf-8")
    return Path(directory)
