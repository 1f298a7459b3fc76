"""``lightbsr compare``: methods side by side, on the same LR images, with intervals."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

import torch

from lightbsr.shipped_options import find_option_file
from lightbsr_arch.errors import OptionError
from lightbsr_model.evaluation.comparison.report import write_report
from lightbsr_model.evaluation.comparison.running import run_comparison
from lightbsr_model.evaluation.comparison.settings import read_settings
from lightbsr_model.evaluation.comparison.tables import preset_table, to_markdown
from lightbsr_model.evaluation.plotting import require
from lightbsr_model.option_files.document import force_options, read_document
from lightbsr_model.option_files.dotted_names import ALLOW_LOCAL_CODE, LOCAL_CODE_HELP, allow_local_code


def run(command: str, arguments: Sequence[str]) -> None:
    """Compare what a YAML lists.

    Raises:
        OptionError: Something in the file does not fit; all problems at once.
        CommandFailed: The LR images have changed since the comparison in the output folder began.
    """
    parser = argparse.ArgumentParser(
        prog=f"lightbsr {command}",
        description="Restore the same LR images by all models of a YAML (options/compare/compare_setting1_x4.yml is one with "
        "comments), measure them, and write tables, pictures and a page. Started again it goes on where it stopped.",
    )
    parser.add_argument("-opt", required=True, metavar="FILE", help="the YAML")
    parser.add_argument("-o", "--output", type=Path, help="folder (default: comparisons/ and the YAML's name)")
    parser.add_argument("--force_yml", nargs="+", default=[], metavar="KEY=VALUE", help="override keys")
    parser.add_argument(ALLOW_LOCAL_CODE, action="store_true", help=LOCAL_CODE_HELP)
    args = parser.parse_args(arguments)
    allow_local_code(args.allow_local_code)
    document = read_document(find_option_file(args.opt))
    force_options(document, args.force_yml)
    settings = read_settings(document, args.opt)
    if settings.cost:
        require("matplotlib")
    device = choose_device(settings.device)
    folder = args.output or Path("comparisons") / settings.name
    results = run_comparison(settings, folder, device)
    files = write_report(results, folder, device)
    for preset in settings.presets:
        print(to_markdown(preset_table(results, preset)))
    print(f"Page: {files[0]}. Tables, pictures and the figures of every image are beside it.")


def choose_device(name: str) -> torch.device:
    """The device of ``auto``, ``cpu`` or ``cuda``.

    Raises:
        OptionError: There is no GPU for ``cuda``.
    """
    if name == "cuda" and not torch.cuda.is_available():
        raise OptionError("device: cuda asked for, but torch finds no GPU; `auto` takes what there is.")
    return torch.device("cuda" if name != "cpu" and torch.cuda.is_available() else "cpu")
