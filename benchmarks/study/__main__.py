"""``python -m benchmarks.study``: train all methods at one budget and compare them, with confidence intervals.

    python -m benchmarks.study --images FOLDER --sets Set5=FOLDER Set14=FOLDER -o OUT

With 400 iterations and bf16 the trainings took two and a half hours on one CPU core, the comparison half an hour. Run again, it
continues where it stopped.
"""

from __future__ import annotations

from benchmarks.study.arguments import add_amp, add_start, claim_parser, named_folder
from benchmarks.study.methods import ENCODERS, METHODS, SIZES, Budget, with_what_they_need
from benchmarks.study.report import report
from benchmarks.study.training import train_all


def main() -> None:
    """Run the study."""
    parser = claim_parser("benchmarks.study", __doc__)
    parser.add_argument(
        "--iterations", type=int, default=300, help="iterations of each training (default: %(default)s)"
    )
    parser.add_argument("--batch", type=int, default=8, help="samples per iteration (default: %(default)s)")
    parser.add_argument("--patch", type=int, default=24, help="side of an LR patch (default: %(default)s)")
    parser.add_argument("--size", choices=SIZES, default="small", help="size of the networks (default: %(default)s)")
    parser.add_argument(
        "--encoder-iterations",
        type=int,
        default=300,
        help="iterations of the encoders trained by contrast alone; 0 leaves them out",
    )
    parser.add_argument(
        "--encoder-batch", type=int, default=16, help="their samples per iteration (default: %(default)s)"
    )
    parser.add_argument("--lr", type=float, default=1e-3, help="learning rate, the same for all (default: %(default)s)")
    add_start(parser)
    add_amp(parser)
    names = [method.name for method in METHODS]
    parser.add_argument("--methods", nargs="+", choices=names, default=names, metavar="NAME", help=", ".join(names))
    args = parser.parse_args()
    budget = Budget(
        str(args.images.resolve()),
        args.iterations,
        args.batch,
        args.patch,
        args.size,
        args.encoder_iterations,
        args.encoder_batch,
        args.lr,
        start=args.start,
        amp=args.amp,
    )
    sets = dict(map(named_folder, args.sets))
    methods = list(with_what_they_need(args.methods))
    train_all(methods, args.seeds, budget, args.output)
    encoders = ENCODERS if args.encoder_iterations else ()
    train_all(encoders, args.seeds, budget, args.output)
    report([method for method in methods if method.is_compared], encoders, args.seeds, budget, sets, args.output)


if __name__ == "__main__":
    main()
