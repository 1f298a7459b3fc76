from __future__ import annotations

import re
import shutil
import subprocess

import numpy as np
import pytest

from lightbsr_model.evaluation.comparison.page import Page
from lightbsr_model.evaluation.comparison.pictures import where_they_differ
from lightbsr_model.evaluation.comparison.published_figures import PUBLISHED
from lightbsr_model.evaluation.comparison.running import Results, Scored
from lightbsr_model.evaluation.comparison.settings import ModelEntry, Settings
from lightbsr_model.evaluation.comparison.tables import (
    difference_table,
    image_csv,
    image_table,
    preset_table,
    to_csv,
    to_latex,
    to_markdown,
)


@pytest.fixture
def results():
    entries = tuple(ModelEntry(name, network={"type": "x"}) for name in ("a_b", "b", "c"))
    settings = Settings("t", 4, {"Set5": "."}, ("iso_1.2",), entries, ("psnr_y",), bootstrap=500, published=("DASR",))
    scored = [
        Scored(name, "Set5", "iso_1.2", f"i{number}", f"hash{number}", {"psnr_y": 25.0 + number + gain})
        for name, gain in (("a_b", 2), ("b", 1), ("c", 0))
        for number in range(4)
    ]
    return Results(settings, scored)


def test_markdown(results):
    text = to_markdown(preset_table(results, "iso_1.2"))
    assert text.splitlines()[:6] == [
        "| iso_1.2 | Set5 PSNR-Y |",
        "|---|---|",
        "| a_b | **28.50** |",
        "| b | <u>27.50</u> |",
        "| c | 26.50 |",
        "| DASR (published) | 31.92 |",
    ]
    assert "not measured here, never marked" in text


def test_csv_has_full_precision(results):
    assert to_csv(preset_table(results, "iso_1.2")).splitlines()[1] == "a_b,28.5"
    lines = image_csv(results).splitlines()
    assert lines[0] == "method,set,preset,image,psnr_y,lr_sha256"
    assert lines[1] == "a_b,Set5,iso_1.2,i0,27.0,hash0"
    assert len(lines) == 13


def test_latex_is_escaped_and_marked(results):
    text = to_latex(preset_table(results, "iso_1.2"))
    assert r"a\_b & \textbf{28.50} \\" in text
    assert r"b & \underline{27.50} \\" in text
    assert r"95\% bootstrap" in text
    assert re.search(r"(?<!\\)_", text.replace(r"\usepackage", "")) is None


def test_differences_are_paired(results):
    table = difference_table(results, "iso_1.2")
    assert table.title == "iso_1.2, against c"
    assert [(name, cells[0].text) for name, cells in table.rows] == [
        ("a_b", "+2.00 [+2.00, +2.00] *"),
        ("b", "+1.00 [+1.00, +1.00] *"),
    ]


def test_every_image_has_a_row(results):
    table = image_table(results, "iso_1.2")
    assert table.columns == ("a_b PSNR-Y", "b PSNR-Y", "c PSNR-Y")
    assert [(name, [cell.text for cell in cells]) for name, cells in table.rows][1] == (
        "Set5, i1",
        ["28.00", "27.00", "26.00"],
    )
    assert len(table.rows) == 4


def test_published_figures_are_those_of_the_papers():
    assert PUBLISHED["CDFormer"]["Urban100", "iso_3.6"] == 25.72
    assert PUBLISHED["IKC"]["Set5", "iso_1.2"] == 31.77
    assert PUBLISHED["KDSR"]["B100", "iso_2.4"] == 27.60
    assert {len(figures) for figures in PUBLISHED.values()} == {12}


def test_crop_is_where_they_differ():
    one = np.full((40, 60, 3), 100, np.uint8)
    other = one.copy()
    other[21:29, 33:41] = 140
    box, difference = where_they_differ([one, other], 8)
    assert box == (33, 21, 8, 8)
    assert difference == pytest.approx(400)
    assert where_they_differ([one, other], 50)[0] == (0, 0, 50, 40)


def _page(results):
    page = Page("<script>alert(1)</script> & co")
    page.section("A section")
    page.table(preset_table(results, "iso_1.2"))
    page.picture(b"\x89PNG\r\n\x1a\n", "an image")
    return page.render()


def test_page_needs_nothing_else(results):
    text = _page(results)
    assert "<script>alert" not in text
    assert re.findall(r"""(?:src|href)\s*=\s*["']([^"']*)""", text) == [
        "data:,",
        "#section1",
        "data:image/png;base64,iVBORw0KGgo=",
    ]
    assert "http:" not in text
    assert "https:" not in text
    assert "@import" not in text
    assert "default-src 'none'" in text


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("chromium") is None, reason="needs Chromium")
def test_page_in_a_browser(results, tmp_path):
    """No console message (a load that the policy forbids would be one), and a click on a column sorts by it."""
    click = (
        "<script>document.querySelectorAll('th')[1].click();document.querySelectorAll('th')[1].click()</script></body>"
    )
    (tmp_path / "index.html").write_text(_page(results).replace("</body>", click))
    flags = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-sync"]
    result = subprocess.run(
        ["chromium", *flags, f"--user-data-dir={tmp_path / 'profile'}", "--enable-logging=stderr", "--dump-dom",
         (tmp_path / "index.html").as_uri()],
        capture_output=True, text=True, check=True, timeout=120,
    )  # fmt: skip
    assert "CONSOLE" not in result.stderr
    rows = re.findall(r"<tr><td>(.*?)</td>", result.stdout)
    assert rows == ["c", "b", "a_b", "DASR (published)"]
