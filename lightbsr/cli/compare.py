"""``lightbsr compare``: compare methods on the same LR images, with confidence intervals."""

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
from lightbsr_model.option_files.document import OptionDocument
from lightbsr_model.option_files.dotted_names import ALLOW_LOCAL_CODE, LOCAL_CODE_HELP, allow_local_code
from lightbsr_model.option_files.whole_options import read_options


def run(command: str, arguments: Sequence[str]) -> None:
    """Compare the models that a YAML lists.

    Raises:
        OptionError: The file has problems; all are reported at once.
        CommandFailed: The LR images have changed since the comparison in the output folder began.
    """
    args, document = read_yaml(
        command,
        arguments,
        "comparisons",
        "Restore the same LR images with all models of a YAML (options/compare/compare_setting1_x4.yml is an "
        "example with comments), measure the results, and write tables, figures and an HTML page. Run again, it continues "
        "where it stopped.",
    )
    settings = read_settings(document, args.opt)
    if settings.cost:
        require("matplotlib")
    device = choose_device(settings.device)
    folder = args.output or Path("comparisons") / settings.name
    results = run_comparison(settings, folder, device)
    files = write_report(results, folder, device)
    for preset in settings.presets:
        print(to_markdown(preset_table(results, preset)))
    print(f"Page: {files[0]}. Tables, figures and the results of every image are in the same folder.")


def read_yaml(
    command: str, arguments: Sequence[str], folder: str, description: str
) -> tuple[argparse.Namespace, OptionDocument]:
    """The command line of ``compare`` and ``analyze``, and the YAML that it names.

    Args:
        command: Its name.
        arguments: As they were given.
        folder: Where outputs go by default.
        description: For the help.
    """
    parser = argparse.ArgumentParser(prog=f"lightbsr {command}", description=description)
    parser.add_argument("-opt", required=True, metavar="FILE", help="YAML file")
    parser.add_argument("-o", "--output", type=Path, help=f"output folder (default: {folder}/NAME, the YAML's `name`)")
    parser.add_argument("--force_yml", nargs="+", default=[], metavar="KEY=VALUE", help="override keys")
    parser.add_argument(ALLOW_LOCAL_CODE, action="store_true", help=LOCAL_CODE_HELP)
    args = parser.parse_args(arguments)
    allow_local_code(args.allow_local_code)
    return args, read_options(find_option_file(args.opt), args.force_yml)


def choose_device(name: str) -> torch.device:
    """The device that ``auto``, ``cpu`` or ``cuda`` stands for.

    Raises:
        OptionError: ``cuda`` without a GPU.
    """
    if name == "cuda" and not torch.cuda.is_available():
        raise OptionError("device: cuda was requested, but torch finds no GPU; `auto` uses the CPU then.")
    return torch.device("cuda" if name != "cpu" and torch.cuda.is_available() else "cpu")
