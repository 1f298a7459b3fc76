"""Write the results of an analysis: a table, plots of the codes, the codes themselves, and a page."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np

from lightbsr_arch.saving import inside, write_whole
from lightbsr_model.evaluation.analysis.codes import CodeTable
from lightbsr_model.evaluation.analysis.probing import Knowledge, probe
from lightbsr_model.evaluation.analysis.settings import AnalysisSettings
from lightbsr_model.evaluation.comparison.page import Page
from lightbsr_model.evaluation.comparison.tables import Cell, Table, to_csv, to_markdown
from lightbsr_model.evaluation.plotting import plain_label, pyplot, require

COLUMNS = {
    "silhouette_degradation": "Silhouette by degradation",
    "silhouette_content": "Silhouette by content",
    "sigma_r2": "Sigma, R^2",
    "kernel_accuracy": "Kernel, accuracy",
    "noise_r2": "Noise level, R^2",
    "retrieval": "Retrieval@1",
}


def knowledge_table(settings: AnalysisSettings, found: dict[str, Knowledge]) -> Table:
    """The figures of all networks; columns that do not apply to the grid are left out."""
    asked = [key for key in COLUMNS if any(getattr(each, key) is not None for each in found.values())]
    rows = []
    for name, knowledge in found.items():
        values = [getattr(knowledge, key) for key in asked]
        rows.append((name, tuple(Cell("" if value is None else f"{value:.3f}", value) for value in values)))
    grid, kernels = settings.grid, len(settings.sigmas) + len(settings.kernels)
    notes = (
        f"Linear probes are trained on {settings.seen:.0%} of the images and measured on the others. {len(grid)} degradations; "
        f"chance level is {1 / kernels:.3f} for the kernel's accuracy and {1 / len(grid):.3f} for retrieval. "
        f"Seed {settings.seed}.",
    )
    return Table(settings.name, tuple(COLUMNS[key] for key in asked), tuple(rows), notes)


def picture(settings: AnalysisSettings, name: str, codes: CodeTable) -> bytes:
    """PCA and t-SNE of a network's codes, coloured by degradation and by image, as PNG.

    Raises:
        OptionError: matplotlib or scikit-learn is not installed.
    """
    require("sklearn")
    from sklearn.decomposition import PCA
    from sklearn.manifold import TSNE
    from sklearn.preprocessing import StandardScaler

    plot = pyplot()
    vectors = StandardScaler().fit_transform(codes.vectors)
    perplexity = min(30, (len(vectors) - 1) // 3)
    embeddings = {
        "PCA": PCA(2, random_state=settings.seed).fit_transform(vectors),
        "t-SNE": TSNE(2, perplexity=perplexity, init="pca", random_state=settings.seed).fit_transform(vectors),
    }
    colours, label = _degradation_colours(settings, codes)
    figure, grid = plot.subplots(2, 2, figsize=(11, 9), layout="constrained")
    for row, (kind, points) in enumerate(embeddings.items()):
        by_degradation = grid[row][0].scatter(*points.T, c=colours, cmap="viridis", s=9)
        grid[row][0].set_title(f"{kind}, by degradation")
        figure.colorbar(by_degradation, ax=grid[row][0], label=label)
        grid[row][1].scatter(*points.T, c=codes.image % 20, cmap="tab20", s=9)
        grid[row][1].set_title(f"{kind}, by image")
        for axes in grid[row]:
            axes.set_xticks([])
            axes.set_yticks([])
    figure.suptitle(plain_label(name))
    file = io.BytesIO()
    figure.savefig(file, format="png", dpi=90)
    plot.close(figure)
    return file.getvalue()


def _degradation_colours(settings: AnalysisSettings, codes: CodeTable) -> tuple[Any, str]:
    grid = settings.grid
    if not settings.kernels and len(settings.noise_levels) == 1:
        return [grid[place].sigma for place in codes.point], "sigma"
    return codes.point, "index of the degradation"


def write_analysis(settings: AnalysisSettings, codes: dict[str, CodeTable], folder: Path) -> Table:
    """Probe and plot the codes of every network, and write the results.

    Returns:
        The table.
    """
    folder.mkdir(parents=True, exist_ok=True)
    table = knowledge_table(settings, {name: probe(settings, each) for name, each in codes.items()})
    page = Page(settings.name)
    page.section("What the representations encode")
    page.table(table)
    files = {"table.md": to_markdown(table).encode(), "table.csv": to_csv(table).encode()}
    page.section("Codes")
    for name, each in codes.items():
        content = picture(settings, name, each)
        page.picture(content, name)
        files[f"codes_{name}.png"] = content
        arrays = io.BytesIO()
        np.savez_compressed(
            arrays, vectors=each.vectors, image=each.image, point=each.point, names=np.array(each.names)
        )
        files[f"codes_{name}.npz"] = arrays.getvalue()
    points = [f"{point.label}, noise {point.noise_level:g}" for point in settings.grid]
    notes = ["Degradations by index: " + "; ".join(f"{number}: {words}" for number, words in enumerate(points)) + "."]
    files["index.html"] = page.render(notes).encode()
    for name, content in files.items():
        write_whole(inside(folder, name), content)
    return table
