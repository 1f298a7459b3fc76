"""The tables of a comparison in Markdown, CSV and LaTeX, with the best methods marked."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Sequence
from dataclasses import dataclass

from lightbsr_arch.display import printable
from lightbsr_model.evaluation.comparison.cost import Cost
from lightbsr_model.evaluation.comparison.metrics import get_metric
from lightbsr_model.evaluation.comparison.published_figures import PUBLISHED
from lightbsr_model.evaluation.comparison.running import Results
from lightbsr_model.evaluation.comparison.statistics import Interval, Ranking, bootstrap_mean, rank
from lightbsr_model.evaluation.escaping import csv_text, markdown_text

COST_COLUMNS = ("Parameters (M)", "Passes", "GMACs", "Time (ms)", "Memory (MiB)")


@dataclass(frozen=True)
class Cell:
    """A value of a table."""

    text: str
    """The rounded value, without marks."""
    value: float | None = None
    """The value in full precision."""
    mark: str = ""
    """``best``, ``second`` or nothing."""


@dataclass(frozen=True)
class Table:
    """Rows of methods under one preset."""

    title: str
    """The preset."""
    columns: tuple[str, ...]
    """Headers, without that of the first column, the method's name."""
    rows: tuple[tuple[str, tuple[Cell, ...]], ...]
    """Name and cells of each method."""
    notes: tuple[str, ...]
    """Notes below the table."""


def preset_table(results: Results, preset: str) -> Table:
    """All methods under one preset: means over the images of each set, and costs."""
    settings = results.settings
    columns: list[str] = []
    cells: dict[str, list[Cell]] = {entry.name: [] for entry in settings.models}
    published: dict[str, list[Cell]] = {name: [] for name in settings.published if settings.scale == 4}
    for set_name in settings.sets:
        for metric in settings.metrics:
            described = get_metric(metric)
            columns.append(f"{set_name} {described.label}")
            values = results.values(set_name, preset, metric)
            ranking = rank(values, described.higher_is_better, settings.bootstrap, settings.confidence)
            for name, each in values.items():
                mean = sum(each) / len(each)
                cells[name].append(Cell(f"{mean:.{described.decimals}f}", mean, _mark(ranking, name)))
            for name, row in published.items():
                figure = PUBLISHED[name].get((set_name, preset)) if metric == "psnr_y" else None
                row.append(Cell("" if figure is None else f"{figure:.2f}", figure))
    if results.costs:
        columns += COST_COLUMNS
        for name, row in cells.items():
            row += _cost_cells(results.costs.get(name))
        for row in published.values():
            row += _cost_cells(None)
    rows = [(name, tuple(row)) for name, row in cells.items()]
    known = [(f"{name} (published)", tuple(row)) for name, row in published.items() if any(cell.text for cell in row)]
    return Table(preset, tuple(columns), (*rows, *known), tuple(_notes(results, bool(known))))


def difference_table(results: Results, preset: str) -> Table:
    """Paired differences of all methods to the reference, with intervals, in the first metric."""
    settings = results.settings
    metric = settings.metrics[0]
    described = get_metric(metric)
    reference = settings.reference or settings.models[-1].name
    rows: dict[str, list[Cell]] = {entry.name: [] for entry in settings.models if entry.name != reference}
    for set_name in settings.sets:
        values = results.values(set_name, preset, metric)
        for name, row in rows.items():
            interval = difference(values[name], values[reference], settings.bootstrap, settings.confidence)
            row.append(Cell(_interval_text(interval, described.decimals), interval.mean))
    images = {name: len(next(iter(results.values(name, preset, metric).values()))) for name in settings.sets}
    notes = (
        f"{described.label} minus that of {reference}, mean over images, with the {settings.confidence:.0%} interval of "
        f"{settings.bootstrap} bootstrap resamples of the images ("
        + ", ".join(f"{name}: {count}" for name, count in images.items())
        + "). * marks intervals that exclude 0. With few images an interval is too narrow.",
    )
    columns = tuple(f"{name} difference" for name in settings.sets)
    return Table(
        f"{preset}, against {reference}", columns, tuple((name, tuple(row)) for name, row in rows.items()), notes
    )


def difference(values: Sequence[float], reference: Sequence[float], resamples: int, confidence: float) -> Interval:
    """The interval of a paired difference; the images are in the same order."""
    return bootstrap_mean([a - b for a, b in zip(values, reference, strict=True)], resamples, confidence)


def _interval_text(interval: Interval, decimals: int) -> str:
    star = "" if interval.is_noise else " *"
    return f"{interval.mean:+.{decimals}f} [{interval.low:+.{decimals}f}, {interval.high:+.{decimals}f}]{star}"


def _mark(ranking: Ranking, name: str) -> str:
    return "best" if name in ranking.best else "second" if name in ranking.second else ""


def _cost_cells(cost: Cost | None) -> list[Cell]:
    if cost is None:
        return [Cell("")] * len(COST_COLUMNS)
    memory = Cell("") if cost.peak_mib is None else Cell(f"{cost.peak_mib:.0f}", cost.peak_mib)
    return [
        Cell(f"{cost.parameters / 1e6:.2f}", cost.parameters / 1e6),
        Cell(str(cost.passes), cost.passes),
        Cell(f"{cost.gmacs:.1f}", cost.gmacs),
        Cell(f"{cost.milliseconds:.0f}", cost.milliseconds),
        memory,
    ]


def _notes(results: Results, published: bool) -> list[str]:
    settings = results.settings
    notes = [
        f"x{settings.scale}; means over images, leaving out a border of {settings.scale} pixels. Bold: the best, and all whose "
        f"paired difference to it has 0 in its {settings.confidence:.0%} bootstrap interval. Underlined: the best of the rest."
    ]
    if results.costs:
        height, width = settings.cost_size
        notes.append(
            f"Parameters used to restore an image; GMACs, time and memory for one of {height}x{width} LR pixels."
        )
    if published:
        notes.append("Published: as reported by the papers, on their own LR images; not measured here, never marked.")
    if results.unchecked:
        notes.append(f"LR images not checked, because only SR images were given: {', '.join(results.unchecked)}.")
    return notes


def to_markdown(table: Table) -> str:
    """A pipe table with bold and underlined values, followed by its notes."""
    marks = {"best": "**{}**", "second": "<u>{}</u>", "": "{}"}
    lines = [
        "| " + " | ".join(map(markdown_text, (table.title, *table.columns))) + " |",
        "|" + "---|" * (len(table.columns) + 1),
        *(
            f"| {markdown_text(name)} | "
            + " | ".join(marks[cell.mark].format(cell.text) if cell.text else "" for cell in cells)
            + " |"
            for name, cells in table.rows
        ),
    ]
    return "\n".join(lines) + "\n\n" + "\n".join(map(markdown_text, table.notes)) + "\n"


def to_csv(table: Table) -> str:
    """The values in full precision, without marks."""
    file = io.StringIO()
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow(["method", *map(csv_text, table.columns)])
    for name, cells in table.rows:
        writer.writerow([csv_text(name), *("" if cell.value is None else repr(cell.value) for cell in cells)])
    return file.getvalue()


def to_latex(table: Table) -> str:
    """A booktabs table with bold and underlined values, its notes as caption."""
    marks = {"best": r"\textbf{{{}}}", "second": r"\underline{{{}}}", "": "{}"}
    lines = [
        r"% needs \usepackage{booktabs}",
        r"\begin{table}",
        r"\caption{" + _latex(f"{table.title}. {' '.join(table.notes)}") + "}",
        r"\begin{tabular}{l" + "r" * len(table.columns) + "}",
        r"\toprule",
        " & ".join(["Method", *map(_latex, table.columns)]) + r" \\",
        r"\midrule",
        *(
            " & ".join([_latex(name), *(marks[cell.mark].format(_latex(cell.text)) for cell in cells)]) + r" \\"
            for name, cells in table.rows
        ),
        r"\bottomrule",
        r"\end{tabular}",
        r"\end{table}",
    ]
    return "\n".join(lines) + "\n"


def _latex(text: str) -> str:
    escaped = re.sub(r"([&%$#_{}])", r"\\\1", printable(text, 10_000).replace("\\", r"\textbackslash "))
    return escaped.replace("~", r"\textasciitilde{}").replace("^", r"\textasciicircum{}")


def image_table(results: Results, preset: str) -> Table:
    """The first metric of every image, one column per method."""
    settings = results.settings
    described = get_metric(settings.metrics[0])
    rows: dict[str, list[Cell]] = {}
    for each in results.scored:
        if each.preset == preset:
            value = each.figures[settings.metrics[0]]
            rows.setdefault(f"{each.set}, {each.image}", []).append(Cell(f"{value:.{described.decimals}f}", value))
    columns = tuple(f"{entry.name} {described.label}" for entry in settings.models)
    return Table(f"{preset}, every image", columns, tuple((name, tuple(cells)) for name, cells in rows.items()), ())


def image_csv(results: Results) -> str:
    """Every image of every method: its figures, and the hash of its LR image."""
    file = io.StringIO()
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow(["method", "set", "preset", "image", *results.settings.metrics, "lr_sha256"])
    for each in results.scored:
        figures = [repr(each.figures[metric]) for metric in results.settings.metrics]
        names = map(csv_text, (each.model, each.set, each.preset, each.image))
        writer.writerow([*names, *figures, each.lr_sha256])
    return file.getvalue()
