"""``python -m benchmarks.study``: train all methods at one budget and compare them, with confidence intervals.

    python -m benchmarks.study --images FOLDER --sets Set5=FOLDER Set14=FOLDER -o OUT

With 400 iterations and bf16 the trainings took two and a half hours on one CPU core, the comparison half an hour. Run again, it
continues where it stopped.
"""

from __future__ import annotations

from benchmarks.study.arguments import add_budget, budget_of, claim_parser, named_folder
from benchmarks.study.methods import ENCODERS, METHODS, with_what_they_need
from benchmarks.study.report import report
from benchmarks.study.training import train_all


def main() -> None:
    """Run the study."""
    parser = claim_parser("benchmarks.study", __doc__)
    add_budget(parser)
    parser.add_argument(
        "--encoder-iterations",
        type=int,
        default=300,
        help="iterations of the encoders trained by contrast alone; 0 leaves them out",
    )
    parser.add_argument(
        "--encoder-batch", type=int, default=16, help="their samples per iteration (default: %(default)s)"
    )
    names = [method.name for method in METHODS]
    parser.add_argument("--methods", nargs="+", choices=names, default=names, metavar="NAME", help=", ".join(names))
    args = parser.parse_args()
    budget = budget_of(args, args.encoder_iterations, args.encoder_batch)
    sets = dict(map(named_folder, args.sets))
    methods = list(with_what_they_need(args.methods))
    train_all(methods, args.seeds, budget, args.output)
    encoders = ENCODERS if args.encoder_iterations else ()
    train_all(encoders, args.seeds, budget, args.output)
    report([method for method in methods if method.is_compared], encoders, args.seeds, budget, sets, args.output)


if __name__ == "__main__":
    main()
