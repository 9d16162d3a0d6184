import base64
from pathlib import Path

from PIL import Image

from src.viewing.page import write_page

TEXT = """# A title

| a | b |
|---|---|
| 1 | **2** |

![a picture](red.png)
"""


def test_the_page_holds_its_tables_and_pictures(tmp_path: Path) -> None:
    Image.new("RGB", (4, 4), "red").save(tmp_path / "red.png")
    write_page(TEXT, tmp_path)
    assert (tmp_path / "report.md").read_text() == TEXT
    page = (tmp_path / "report.html").read_text()
    assert "<title>A title</title>" in page
    assert "<td><strong>2</strong></td>" in page
    assert base64.b64encode((tmp_path / "red.png").read_bytes()).decode() in page
    assert "red.png" not in page.replace("a picture", "")
    assert "http" not in page
