"""A whole report in one self-contained HTML file, which loads nothing."""

from __future__ import annotations

import base64
from collections.abc import Sequence

from lightbsr_model.evaluation.comparison.tables import Table
from lightbsr_model.evaluation.escaping import html_text

_STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; margin: 2rem auto; max-width: 80rem; padding: 0 1rem; color: #1a1a1a; }
table { border-collapse: collapse; margin: .5rem 0; display: block; overflow-x: auto; }
th, td { padding: .25rem .7rem; border-bottom: 1px solid #ddd; text-align: right; white-space: nowrap; }
th:first-child, td:first-child { text-align: left; }
th { cursor: pointer; border-bottom: 2px solid #888; }
td.best { font-weight: bold; } td.second { text-decoration: underline; }
figure { margin: 1.5rem 0; } figcaption, .note { color: #555; font-size: .9rem; }
img { max-width: 100%; } figure.crop img { max-width: none; } figure.crop div { overflow-x: auto; }
nav a { margin-right: 1rem; }
"""

# A click on a column's header sorts by it, empty cells last.
_SCRIPT = """
for (const table of document.querySelectorAll("table")) {
  table.querySelectorAll("th").forEach((head, column) => head.addEventListener("click", () => {
    const body = table.tBodies[0], down = head.dataset.down !== "yes";
    head.dataset.down = down ? "yes" : "no";
    const value = (row) => row.cells[column].dataset.value ?? row.cells[column].textContent;
    const rows = [...body.rows].sort((a, b) => {
      const x = value(a), y = value(b);
      if (x === "" || y === "") return (x === "") - (y === "");
      const order = isNaN(x) || isNaN(y) ? x.localeCompare(y) : x - y;
      return down ? -order : order;
    });
    body.append(...rows);
  }));
}
"""


class Page:
    """A page that is assembled piece by piece.

    Args:
        title: Its heading.
    """

    def __init__(self, title: str) -> None:
        self._title = html_text(title)
        self._parts: list[str] = []
        self._sections: list[str] = []

    def section(self, title: str) -> None:
        """Begin a section, with a link in the list at the top."""
        self._sections.append(html_text(title))
        self._parts.append(f'<h2 id="section{len(self._sections)}">{html_text(title)}</h2>')

    def text(self, words: str) -> None:
        """Add a paragraph."""
        self._parts.append(f"<p>{html_text(words)}</p>")

    def table(self, table: Table) -> None:
        """Add a sortable table and its notes."""
        heads = "".join(f"<th>{html_text(name)}</th>" for name in (table.title, *table.columns))
        body = "".join(
            f"<tr><td>{html_text(name)}</td>"
            + "".join(
                f'<td class="{cell.mark}" data-value="{"" if cell.value is None else repr(cell.value)}">'
                f"{html_text(cell.text)}</td>"
                for cell in cells
            )
            + "</tr>"
            for name, cells in table.rows
        )
        self._parts.append(f"<table><thead><tr>{heads}</tr></thead><tbody>{body}</tbody></table>")
        self._parts += [f'<p class="note">{html_text(note)}</p>' for note in table.notes]

    def details(self, title: str, table: Table) -> None:
        """Add a table that is collapsed until it is opened."""
        self._parts.append(f"<details><summary>{html_text(title)}</summary>")
        self.table(table)
        self._parts.append("</details>")

    def picture(self, content: bytes, caption: str, kind: str = "plot") -> None:
        """Add a PNG or JPEG file, embedded in the page."""
        mime = "image/png" if content.startswith(b"\x89PNG") else "image/jpeg"
        data = base64.b64encode(content).decode()
        words = html_text(caption)
        self._parts.append(
            f'<figure class="{kind}"><div><img alt="{words}" src="data:{mime};base64,{data}"></div>'
            f"<figcaption>{words}</figcaption></figure>"
        )

    def render(self, notes: Sequence[str] = ()) -> str:
        """The whole file. Its content security policy forbids loading anything."""
        links = "".join(f'<a href="#section{number}">{name}</a>' for number, name in enumerate(self._sections, 1))
        closing = "".join(f'<p class="note">{html_text(note)}</p>' for note in notes)
        policy = "default-src 'none'; img-src data:; style-src 'unsafe-inline'; script-src 'unsafe-inline'"
        return (
            '<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8">'
            f'<meta http-equiv="Content-Security-Policy" content="{policy}">'
            '<link rel="icon" href="data:,">'
            f"<title>{self._title}</title><style>{_STYLE}</style></head>\n"
            f"<body><h1>{self._title}</h1><nav>{links}</nav>\n"
            + "\n".join(self._parts)
            + f"\n{closing}<script>{_SCRIPT}</script></body></html>\n"
        )
