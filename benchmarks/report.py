"""Results of the benchmarks as Markdown, JSON and plots."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any


@dataclass
class Section:
    """One table."""

    title: str
    note: str
    """What the columns mean, in a sentence or two."""
    columns: Sequence[str]
    rows: list[list[Any]] = field(default_factory=list)
    """The values, one list per row."""
    curves: dict[str, tuple[list[float], list[float]]] = field(default_factory=dict)
    """Curves to plot: name to x and y, on logarithmic axes."""
    axes: tuple[str, str] = ("", "")
    """Labels of x and y."""

    def markdown(self) -> str:
        """The table with its heading."""
        lines = [f"| {' | '.join(self.columns)} |", "|" + "---|" * len(self.columns)]
        lines += ["| " + " | ".join(_shown(value) for value in row) + " |" for row in self.rows]
        return f"### {self.title}\n\n{self.note}\n\n" + "\n".join(lines) + "\n"


def _shown(value: Any) -> str:
    if not isinstance(value, float):
        return str(value)
    return f"{value:.3g}" if value < 100 else f"{value:.0f}"


def write(sections: Sequence[Section], head: str, folder: Path) -> None:
    """Write ``table.md``, ``table.json`` and a plot of each section that has curves."""
    folder.mkdir(parents=True, exist_ok=True)
    plots = [_plot(section, folder) for section in sections if section.curves]
    texts = [section.markdown() for section in sections]
    figures = "".join(f"\n![{path.stem}]({path.name})\n" for path in plots if path is not None)
    (folder / "table.md").write_text(f"{head}\n" + "\n".join(texts) + figures, encoding="utf-8")
    document = {"machine": head, "sections": [asdict(section) for section in sections]}
    (folder / "table.json").write_text(json.dumps(document, indent=1), encoding="utf-8")


def _plot(section: Section, folder: Path) -> Path | None:
    try:
        from matplotlib import pyplot
    except ImportError:
        print(f"{section.title}: no plot without matplotlib (pip install matplotlib).")
        return None
    figure, axes = pyplot.subplots(figsize=(6, 4), dpi=110)
    for name, (x, y) in section.curves.items():
        axes.loglog(x, y, "o-", label=name)
    axes.set_xlabel(section.axes[0])
    axes.set_ylabel(section.axes[1])
    axes.set_title(section.title)
    axes.grid(True, which="both", alpha=0.3)
    axes.legend()
    path = folder / f"{section.title.lower().replace(' ', '_').replace(',', '')}.png"
    figure.tight_layout()
    figure.savefig(path)
    pyplot.close(figure)
    return path
