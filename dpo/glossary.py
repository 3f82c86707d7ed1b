"""The words of the workbench, each defined once: tooltips, the Training page and docs/glossary.md use these.

`python -m dpo.glossary` prints the page of the documentation.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Term:
    """A word and its definition in plain text; `source` is the paper or page that it comes from."""

    name: str
    definition: str
    source: str = ""


_DPO = "Rafailov et al. 2023, arXiv 2305.18290"
TERMS: dict[str, Term] = {
    key: Term(*entry)
    for key, entry in {
        "policy": ("Policy", "The model that is tuned: it gives every answer to a prompt a probability.", _DPO),
        "reference": ("Reference", "The frozen model that the policy started from; rewards measure the distance to it."
                      , _DPO),
        "prompt": ("Prompt", "What the policy is asked."),
        "chosen": ("Chosen", "The answer of a pair that people preferred.", _DPO),
        "rejected": ("Rejected", "The other answer of a pair.", _DPO),
        "beta": ("Beta", "How strongly the policy is held to the reference; rewards are in units of it. Smaller lets "
                 "the policy move further.", _DPO),
        "log-probability": ("Log-probability", "Logarithm of the probability the policy gives a whole answer, in nats: "
                            "the sum over its tokens, the end included. Longer answers have lower ones."),
        "reward": ("Reward", "beta x (log-probability under the policy - under the reference) of an answer: how much "
                   "likelier training has made it. It is implicit: no reward model is involved.", _DPO + ", section 4"),
        "chosen reward": ("Chosen reward", "Mean reward of the chosen answers. Below 0 they have become less likely "
                          "than under the reference, which is common in DPO and not a fault by itself.", _DPO),
        "rejected reward": ("Rejected reward", "Mean reward of the rejected answers. It should fall below the chosen "
                            "reward.", _DPO),
        "margin": ("Margin", "Chosen reward - rejected reward. Above 0, the pair is ranked as people ranked it.", _DPO),
        "loss": ("Loss", "What training lowers. With the sigmoid loss it is -log sigmoid(margin): ln 2 = 0.6931 where "
                 "policy and reference agree, 0 where every pair is ranked with a wide margin.", _DPO + ", equation 7"),
        "accuracy": ("Accuracy", "Share of the pairs whose margin is above 0, a tie counting half. A coin has 50%; "
                     "compare it with what a rule as simple as answer length reaches on the same data."),
        "step-0 check": ("Step-0 check", "Before the first update policy and reference are the same, so the sigmoid "
                         "loss must be ln 2 = 0.6931. Else dropout, a wrong reference or rounding is at fault."),
        "kl": ("KL to the reference", "How far the policy's own answers have moved from the reference, in nats, summed "
               "over an answer's first 64 tokens. Reward gained is paid for with it.",
               "Gao et al. 2022, arXiv 2210.10760"),
        "length ratio": ("Length ratio", "Words of the policy's answers over the reference's on the same prompts. Far "
                         "above 1 hints that length itself is being rewarded.", "Park et al. 2024, arXiv 2403.19159"),
        "repetition": ("Repetition", "Share of word triples in an answer that were in it before. Near 1 the policy is "
                       "caught in a loop."),
        "entropy": ("Entropy", "How undecided the policy is about the next token, in nats, averaged over the answers. "
                    "Falling towards 0 means ever more uniform text."),
        "learning rate": ("Learning rate", "Size of the updates; it rises during the warm-up, then falls by the "
                          "schedule."),
        "gradient norm": ("Gradient norm", "Length of the gradient before clipping. Spikes mean unusual batches or too "
                          "high a rate."),
        "power": ("Power", "Watts drawn by the GPUs, as the driver reports them."),
        "utilisation": ("Utilisation", "Share of the time in which the GPU, or else the CPU, was at work."),
        "memory": ("Memory", "Memory in use on the GPU, or else by the training process."),
        "tokens per second": ("Tokens per second", "Tokens of prompts and answers that training goes through in a "
                              "second."),
        "time left": ("Time left", "Steps that remain, at the pace so far."),
        "held out": ("Held out", "Pairs set aside by a hash of the prompt and never trained on; curves of them are "
                     "dashed. A prompt is never on both sides."),
        "smoothing": ("Smoothing", "Exponential moving average; the faint line behind shows what was logged."),
        "likelihood displacement": ("Likelihood displacement", "Chosen and rejected answers both become less likely; "
                                    "the probability goes to texts that nobody compared.",
                                    "Razin et al. 2024, arXiv 2410.08847"),
        "squeezing": ("Squeezing", "Pushing an unlikely answer down moves its probability to whatever is likeliest "
                      "just then, and everything else loses, the chosen answer too.",
                      "Ren and Sutherland 2024, arXiv 2407.10490"),
        "disentanglement band": ("Disentanglement band", "Where a step on a pair lifts its chosen and lowers its "
                                 "rejected answer at once, to first order; outside, one push undoes the other.",
                                 "arXiv 2604.18239"),
        "ches": ("CHES", "Centred hidden embedding similarity of a pair's answers under the model before training: the "
                 "higher, the more a step on the pair pushes its chosen answer down.",
                 "Razin et al. 2024, arXiv 2410.08847"),
        "win rate": ("Win rate", "Share of prompts on which a policy's answer beats the other's, a tie counting half."),
        "self-bleu": ("Self-BLEU", "How alike several answers to one prompt are: the BLEU of each beside the others. "
                      "Near 1 the policy always says the same.", "Zhu et al. 2018, arXiv 1802.01886"),
        "perplexity": ("Perplexity", "How surprised a policy is by a text, as the number of equally likely tokens that "
                       "it chooses from; lower is better, and only policies of one vocabulary can be compared."),
        "saturation": ("Saturation", "Every pair is ranked right with a large margin, so there is nothing left to "
                       "learn; often the pairs differ in something trivial."),
        "over-optimisation": ("Over-optimisation", "The training loss falls while the held-out loss rises: the policy "
                              "learns the pairs by heart.", "Gao et al. 2022, arXiv 2210.10760"),
        "shortcut": ("Shortcut", "A rule as simple as length or a single word that tells chosen from rejected; a "
                     "policy may learn it instead of the preference."),
        "sft": ("SFT", "Supervised fine-tuning: training on good answers alone. Recommended before DPO, so that the "
                "reference can say such answers at all."),
        "lora": ("LoRA", "Training two small matrices beside each frozen one: less memory, and the reference is the "
                 "policy with the adapter off.", "Hu et al. 2021, arXiv 2106.09685"),
        "epoch": ("Epoch", "One pass over the training pairs."),
        "checkpoint": ("Checkpoint", "Weights and optimizer as they were at a step; a stopped run goes on from the "
                       "newest one."),
    }.items()
}  # fmt: skip


def define(key: str) -> str:
    """The definition of a term, for a tooltip."""
    return TERMS[key].definition


def page() -> str:
    """The glossary as Markdown, alphabetical."""
    lines = [
        "# Glossary",
        "",
        "Made from `dpo/glossary.py` by `python -m dpo.glossary`; the page's tooltips say the same.",
    ]
    for term in sorted(TERMS.values(), key=lambda term: term.name.lower()):
        source = f" ({term.source})" if term.source else ""
        lines += ["", f"**{term.name}**: {term.definition}{source}"]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    print(page(), end="")
