"""A report as Markdown with pictures beside it, and as one HTML page that needs no other file."""

from __future__ import annotations

import base64
import re
from pathlib import Path

from src.files import whole_file

STYLE = """
body { max-width: 75rem; margin: 2rem auto; padding: 0 1rem; font: 1rem/1.5 system-ui, sans-serif; color: #222; }
table { border-collapse: collapse; margin: 1rem 0; } img { max-width: 100%; }
th, td { padding: 0.3rem 0.8rem; border-bottom: 1px solid #ccc; text-align: right; font-variant-numeric: tabular-nums; }
th:first-child, td:first-child { text-align: left; } code { background: #f3f3f3; padding: 0 0.2rem; }
"""


def write_page(text: str, folder: Path, *, name: str = "report") -> None:
    """Write Markdown into a folder, and the same as HTML with the folder's pictures inside.

    **Raises**: UserError when the disk refuses.
    """
    import markdown

    def embed(found: re.Match[str]) -> str:
        content = base64.b64encode((folder / found[1]).read_bytes()).decode()
        return f'src="data:image/png;base64,{content}"'

    body = re.sub(r'src="([^":]+\.png)"', embed, markdown.markdown(text, extensions=["tables"]))
    title = text.partition("\n")[0].lstrip("# ")
    head = (
        f'<!doctype html>\n<html lang="en">\n<meta charset="utf-8">\n<title>{title}</title>\n<style>{STYLE}</style>\n'
    )
    for path, content in (
        (folder / f"{name}.md", text),
        (folder / f"{name}.html", f"{head}<body>\n{body}\n</body></html>\n"),
    ):
        with whole_file(path) as unfinished:
            unfinished.write_text(content, encoding="utf-8")
