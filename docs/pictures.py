"""README's pictures, made again: the lessons' thumbnails from what the notebooks hold, the film from the real panel.

python docs/pictures.py lessons     # docs/path/*.webp, in seconds
python docs/pictures.py panel       # docs/panel.gif: needs Chromium and the extra [test]; about three minutes
"""

from __future__ import annotations

import base64
import io
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import nbformat
from PIL import Image, ImageChops

DOCS = Path(__file__).parent
SHOWN = {"00": 4, "01": 5, "02": 0, "03": 3, "04": 1, "05": 5, "06": 0, "07": 1, "08": 1, "09": 0}  # a lesson's figure
THUMB = (320, 180)
WIDTH, FRAMES = 860, 40
CALL = "'dgl', K=8, epochs=4"


def figures(notebook: Path) -> list[Image.Image]:
    """The pictures that a notebook holds, in order."""
    cells = nbformat.read(notebook, as_version=4).cells
    data = [output.get("data", {}) for cell in cells for output in cell.get("outputs", [])]
    pngs = [base64.b64decode(each["image/png"]) for each in data if "image/png" in each]
    return [Image.open(io.BytesIO(png)).convert("RGB") for png in pngs]


def thumbnail(picture: Image.Image) -> Image.Image:
    """A picture without its title and white margins, in the middle of a white card."""
    picture = picture.crop((0, 44, *picture.size))
    edge = ImageChops.difference(picture, Image.new("RGB", picture.size, "white")).getbbox()
    picture = picture.crop(edge)
    picture.thumbnail((THUMB[0] - 12, THUMB[1] - 12), Image.Resampling.LANCZOS)
    card = Image.new("RGB", THUMB, "white")
    card.paste(picture, [(a - b) // 2 for a, b in zip(THUMB, picture.size, strict=True)])
    return card


def lessons() -> None:
    """Write a thumbnail for each lesson."""
    for number, index in SHOWN.items():
        (notebook,) = DOCS.parent.glob(f"notebooks/{number}_*.ipynb")
        thumbnail(figures(notebook)[index]).save(DOCS / "path" / f"{number}.webp", quality=80, method=6)


def filmed(lab: object) -> Iterator[Image.Image]:
    """A run of DGL is kept; MAN trains beside it, its decay is moved to 0 on the way. A frame for each change."""
    from lab_page import wait_for

    page, panel = lab.page, lab.page.locator(".mankit-panel")
    lab.button("Start").press("Enter")
    wait_for(lambda: lab.ask("live.session.state") == "done", 300, "DGL's end")
    page.wait_for_timeout(3000)
    lab.button("Keep this run to compare").press("Enter")
    page.locator(".widget-dropdown", has_text="Rule").locator("select").select_option(label="MAN")
    page.wait_for_timeout(3000)
    lab.button("Start").press("Enter")
    wait_for(lambda: lab.ask("live.session.history is not None"), 60, "MAN's beginning")
    last = None
    for _ in range(10 * FRAMES):
        frame = Image.open(io.BytesIO(panel.screenshot())).convert("RGB")
        points, state = lab.ask("(len(live.session.history.points), live.session.state)")
        if points != last:
            last = points
            yield frame
        if points == 12:
            slider = page.locator(".widget-hslider", has_text="decay").get_by_role("slider")
            slider.focus()
            page.keyboard.press("Home")
        if state == "done":
            page.wait_for_timeout(3000)
            yield Image.open(io.BytesIO(panel.screenshot())).convert("RGB")
            return
        page.wait_for_timeout(150)


def panel() -> None:
    """Write docs/panel.gif and its last frame, docs/panel.png."""
    sys.path.insert(0, str(DOCS.parent / "tests"))
    from lab_page import LabPage, browser_page, jupyterlab

    with tempfile.TemporaryDirectory() as folder:
        cells = [nbformat.v4.new_code_cell(f"from mankit import lab\n\nlive = lab.panel({CALL})\nlive")]
        kernel = {"display_name": "Python 3", "language": "python", "name": "python3"}
        nbformat.write(nbformat.v4.new_notebook(cells=cells, metadata={"kernelspec": kernel}), f"{folder}/panel.ipynb")
        with jupyterlab(Path(folder)) as address, browser_page(1240, 1150) as page:
            lab = LabPage(page, address("panel.ipynb"))
            lab.command("application:toggle-left-area")
            lab.run_all()
            lab.wait_drawn()
            frames = list(filmed(lab))
    frames[-1].save(DOCS / "panel.png", optimize=True)
    high = frames[-1].height * WIDTH // frames[-1].width
    small = [frame.resize((WIDTH, high), Image.Resampling.LANCZOS) for frame in frames]
    both = Image.new("RGB", (WIDTH, 2 * high))  # of an early and the last one: similarity goes from blue to yellow
    for place, frame in enumerate((small[len(small) // 3], small[-1])):
        both.paste(frame, (0, place * high))
    palette = both.quantize(255, Image.Quantize.FASTOCTREE, dither=Image.Dither.NONE)
    small = [frame.quantize(palette=palette, dither=Image.Dither.NONE) for frame in small]
    times = [350] * (len(small) - 1) + [4000]
    small[0].save(DOCS / "panel.gif", save_all=True, append_images=small[1:], duration=times, loop=0, optimize=True)
    print(f"{len(small)} frames, {(DOCS / 'panel.gif').stat().st_size / 1e6:.2f} MB")


if __name__ == "__main__":
    {"lessons": lessons, "panel": panel}[sys.argv[1]]()
