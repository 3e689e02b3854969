"""What the panel knows of the page that it is on."""

from __future__ import annotations

import os

import anywidget
import traitlets


class CopyButton(anywidget.AnyWidget):
    """A button that puts `text` on the reader's clipboard, in the reader's own browser.

    It also says how wide the panel is on the page, in pixels (plotly's widget doesn't look), and how many views of
    it the page has: none once its cell or notebook is closed.
    """

    _esm = """
    let views = 0;  // of this page
    export default { render({ model, el }) {
        const button = document.createElement("button");
        const name = "Copy as command";
        button.className = "jupyter-button lm-Widget jupyter-widgets";
        button.style.width = "auto";
        button.textContent = name;
        button.title = "Copies the mankit train command that makes this run, number for number";
        button.onclick = async () => {
            await navigator.clipboard.writeText(model.get("text"));
            button.textContent = "Copied";
            setTimeout(() => { button.textContent = name; }, 1500);
        };
        el.appendChild(button);
        const observer = new ResizeObserver(([entry]) => {
            model.set("width", Math.round(entry.contentRect.width));
            model.save_changes();
        });
        requestAnimationFrame(() => observer.observe(el.closest(".jp-OutputArea-output") ?? document.body));
        const count = by => {
            views += by;
            model.set("views", views);
            model.save_changes();
        };
        count(+1);
        return () => { observer.disconnect(); count(-1); };  // the cell or the notebook was closed
    } }
    """
    text = traitlets.Unicode("").tag(sync=True)
    width = traitlets.Int(0).tag(sync=True)
    views = traitlets.Int(0).tag(sync=True)


def is_live(live: bool | None = None) -> bool:
    """Is there a page whose buttons somebody can press? See `panel`."""
    if live is None and "MANKIT_LIVE" in os.environ:
        return os.environ["MANKIT_LIVE"] not in ("0", "")
    return "JPY_SESSION_NAME" in os.environ if live is None else live
