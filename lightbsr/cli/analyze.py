"""``lightbsr analyze``: measure what networks' representations encode of degradations."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

import torch

from lightbsr.cli.compare import choose_device
from lightbsr.shipped_options import find_option_file
from lightbsr_model.evaluation.analysis.codes import collect_codes
from lightbsr_model.evaluation.analysis.report import write_analysis
from lightbsr_model.evaluation.analysis.settings import read_analysis
from lightbsr_model.evaluation.comparison.methods import NetworkRestoration
from lightbsr_model.evaluation.comparison.tables import to_markdown
from lightbsr_model.evaluation.plotting import require
from lightbsr_model.option_files.dotted_names import ALLOW_LOCAL_CODE, LOCAL_CODE_HELP, allow_local_code
from lightbsr_model.option_files.whole_options import read_options


def run(command: str, arguments: Sequence[str]) -> None:
    """Analyse the codes of the models that a YAML lists.

    Raises:
        OptionError: The file has problems; all are reported at once.
    """
    parser = argparse.ArgumentParser(
        prog=f"lightbsr {command}",
        description="Encode many images under a grid of degradations and measure what the codes contain: t-SNE and PCA "
        "plots, silhouettes, linear probes on unseen images, retrieval. options/compare/analyze_setting1_x4.yml is an "
        "example with comments.",
    )
    parser.add_argument("-opt", required=True, metavar="FILE", help="YAML file")
    parser.add_argument("-o", "--output", type=Path, help="output folder (default: analyses/NAME, the YAML's `name`)")
    parser.add_argument("--force_yml", nargs="+", default=[], metavar="KEY=VALUE", help="override keys")
    parser.add_argument(ALLOW_LOCAL_CODE, action="store_true", help=LOCAL_CODE_HELP)
    args = parser.parse_args(arguments)
    allow_local_code(args.allow_local_code)
    document = read_options(find_option_file(args.opt), args.force_yml)
    settings = read_analysis(document, args.opt)
    require("matplotlib", "sklearn")
    device = choose_device(settings.device)
    methods = {}
    for entry in settings.models:
        torch.manual_seed(settings.seed)
        methods[entry.name] = (NetworkRestoration(entry, settings.scale, device), entry.code)
    folder = args.output or Path("analyses") / settings.name
    table = write_analysis(settings, collect_codes(settings, methods), folder)
    print(to_markdown(table))
    print(f"Page: {folder / 'index.html'}. Table, plots and codes are in the same folder.")
