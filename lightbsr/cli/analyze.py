"""``lightbsr analyze``: measure what networks' representations encode of degradations."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch

from lightbsr.cli.compare import choose_device, read_yaml
from lightbsr_model.evaluation.analysis.codes import collect_codes
from lightbsr_model.evaluation.analysis.report import write_analysis
from lightbsr_model.evaluation.analysis.settings import read_analysis
from lightbsr_model.evaluation.comparison.methods import NetworkRestoration
from lightbsr_model.evaluation.comparison.tables import to_markdown
from lightbsr_model.evaluation.plotting import require


def run(command: str, arguments: Sequence[str]) -> None:
    """Analyse the codes of the models that a YAML lists.

    Raises:
        OptionError: The file has problems; all are reported at once.
    """
    args, document = read_yaml(
        command,
        arguments,
        "analyses",
        "Encode many images under a grid of degradations and measure what the codes contain: t-SNE and PCA "
        "plots, silhouettes, linear probes on unseen images, retrieval. options/compare/analyze_setting1_x4.yml is an "
        "example with comments.",
    )
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
