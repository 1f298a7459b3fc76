"""``python -m benchmarks.study.meta_stage``: does MRDA's meta-learning help its student?

    python -m benchmarks.study.meta_stage --images BSD400 --sets Set5=Set5 Set14=Set14 -o OUT

Teacher and student are trained, at the study's budget and everything else equal, with a meta-learning network that adapts anew
to each batch (`reset`), that drifts as in the published code (`drift`), that does not adapt (`none`), or that adapts anew but
was trained on bicubic images alone, without the meta stage (`no_meta`). Run again, it continues where it stopped.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch

from benchmarks.study.arguments import add_budget, budget_of, claim_parser, named_folder
from benchmarks.study.methods import METHODS, Budget, Method, training_options
from benchmarks.study.report import budget_words, compare, difference_table, quality_table
from benchmarks.study.training import train

VARIANTS: dict[str, tuple[str, dict[str, Any] | None]] = {
    "reset": ("adapts anew to each batch", {"reset": True}),
    "drift": ("drifts, as published", {"reset": False}),
    "none": ("does not adapt", None),
    "no_meta": ("adapts anew, without the meta stage", {"reset": True}),
}
"""By name: what the meta-learning network does, and keys of ``adapt_opt`` of both stages."""

PAIRS = (
    ("reset", "none", "adapting anew"),
    ("drift", "none", "adapting with a drift"),
    ("reset", "drift", "starting anew against drifting"),
    ("reset", "no_meta", "the meta stage"),
)
_BY_NAME = {method.name: method for method in METHODS}


def student_of(variant: str) -> Method:
    """The student of a variant as a row of the tables."""
    label = f"MRDA, whose meta-learning network {VARIANTS[variant][0]}"
    trainings = 3 if variant == "no_meta" else 4
    return replace(_BY_NAME["mrda_student"], name=f"mrda_student_{variant}", label=label, trainings=trainings)


def options(stage: str, variant: str, budget: Budget, seed: int) -> dict[str, Any]:
    """The options of a variant's ``teacher`` or ``student``: the study's, but for how the meta-learning network adapts."""
    opt = training_options(_BY_NAME[f"mrda_{stage}"], budget, seed)
    opt["name"] = f"mrda_{stage}_{variant}"
    adaptation = VARIANTS[variant][1]
    opt["train"]["adapt_opt"] = None if adaptation is None else {**opt["train"]["adapt_opt"], **adaptation}
    if stage == "student":
        opt["teacher"]["path"] = f"experiments/mrda_teacher_{variant}/models/net_g_latest.pth"
    elif variant == "no_meta":
        opt["path"]["pretrain_network_meta"] = "experiments/mrda_mln/models/net_g_latest.pth"
    return opt


def main() -> None:
    """Train all variants, compare their students and print the tables."""
    parser = claim_parser("benchmarks.study.meta_stage", __doc__)
    add_budget(parser)
    parser.add_argument("--variants", nargs="+", choices=VARIANTS, default=list(VARIANTS), help="default: all")
    args = parser.parse_args()
    sets = dict(map(named_folder, args.sets))
    budget = budget_of(args)
    for seed in args.seeds:
        folder = args.output / f"seed{seed}"
        for name in ("mrda_mln", "mrda_meta"):
            train(training_options(_BY_NAME[name], budget, seed), folder)
        for variant in args.variants:
            for stage in ("teacher", "student"):
                train(options(stage, variant, budget, seed), folder)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    students = [student_of(variant) for variant in args.variants]
    compared = {seed: compare(students, seed, sets, args.output, device) for seed in args.seeds}
    pairs = [(student_of(one).name, student_of(other).name, words) for one, other, words in PAIRS]
    parts = [
        budget_words(budget, args.seeds),
        *(quality_table(students, compared, name) for name in sets),
        difference_table(students, compared, sets, pairs),
    ]
    text = "\n\n".join(parts) + "\n"
    (args.output / "meta_stage.md").write_text(text, encoding="utf-8")
    print(text)


if __name__ == "__main__":
    main()
