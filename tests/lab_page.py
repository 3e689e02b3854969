"""A real JupyterLab in a real browser, for tests that press the panel's buttons."""

import os
import re
import secrets
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from contextlib import contextmanager

FLAGS = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--js-flags=--expose-gc",
    "--enable-precise-memory-info",
]


def wait_for(condition, seconds=30.0, what="it"):
    """Poll until condition() is true and return it; an AssertionError says what never came."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if result := condition():
            return result
        time.sleep(0.05)
    raise AssertionError(f"waited {seconds} s, but {what} never came")


@contextmanager
def jupyterlab(folder):
    """JupyterLab on a free port; gives the address of a file, `address('a.ipynb')`."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port, token = free.getsockname()[1], secrets.token_hex(8)
    options = {
        "port": port,
        "IdentityProvider.token": token,
        "LabApp.expose_app_in_browser": True,
        "ServerApp.root_dir": folder,
        "LabApp.news_url": None,
        "ServerApp.ip": "127.0.0.1",
    }
    words = [f"--{name}={value}" for name, value in options.items()]
    # no setting or workspace of the user's, and nothing of this test in the user's
    home = {
        name: str(folder / ".jupyter")
        for name in ("JUPYTER_CONFIG_DIR", "JUPYTERLAB_SETTINGS_DIR", "JUPYTERLAB_WORKSPACES_DIR")
    }
    environment = {name: value for name, value in os.environ.items() if name != "MANKIT_LIVE"}
    with open(folder / "lab.log", "w") as log:
        server = subprocess.Popen(
            [sys.executable, "-m", "jupyterlab", "--no-browser", "--allow-root", *words],
            env={**environment, **home},
            stdout=log,
            stderr=log,
        )
    base = f"http://127.0.0.1:{port}"

    def answers():
        try:
            return urllib.request.urlopen(f"{base}/api?token={token}", timeout=1).status == 200
        except OSError:
            return False

    try:
        wait_for(answers, 60, "JupyterLab")
        yield lambda path: f"{base}/lab/tree/{path}?token={token}&reset"  # reset: no other notebook is open
    finally:
        server.terminate()
        server.wait(20)


@contextmanager
def browser_page(width=1280, height=900):
    """A page of Debian's (or any installed) Chromium; gives None where there is no Chromium or no Playwright."""
    chromium = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    try:
        from playwright.sync_api import sync_playwright
    except ImportError:
        chromium = None
    if chromium is None:
        yield None
        return
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=FLAGS)
        context = browser.new_context(
            viewport={"width": width, "height": height}, permissions=["clipboard-read", "clipboard-write"]
        )
        yield context.new_page()
        browser.close()


class LabPage:
    """A notebook that is open in JupyterLab: run it, ask its kernel, look at its plots."""

    def __init__(self, page, address):
        self.page = page
        page.goto(address)
        page.wait_for_selector(".jp-NotebookPanel .jp-Cell", timeout=60_000)
        self.wait_kernel("idle")

    def command(self, name, **arguments):
        self.page.evaluate("([name, args]) => window.jupyterapp.commands.execute(name, args)", [name, arguments])

    def kernel(self):
        return self.page.evaluate("window.jupyterapp.shell.currentWidget.sessionContext.session?.kernel?.status")

    def wait_kernel(self, status, seconds=120):
        wait_for(lambda: self.kernel() == status, seconds, f"a kernel that is {status}")

    def run_all(self, seconds=300):
        """Run every cell to its end; an AssertionError shows the cells that failed."""
        self.page.evaluate("window.ranAll = window.jupyterapp.commands.execute('notebook:run-all-cells'), 0")
        self.page.set_default_timeout(1000 * seconds)
        self.page.evaluate("window.ranAll")
        errors = self.page.evaluate(
            """window.jupyterapp.shell.currentWidget.content.widgets.filter(c => c.model.type === 'code')
               .flatMap(c => c.model.outputs.toJSON()).filter(o => o.output_type === 'error').map(o => o.evalue)"""
        )
        assert not errors, errors
        self.page.set_default_timeout(30_000)

    def ask(self, expression):
        """The value of a Python expression in the notebook's kernel."""
        import ast

        result = self.page.evaluate(
            """async text => {
                 const kernel = window.jupyterapp.shell.currentWidget.sessionContext.session.kernel;
                 const asked = kernel.requestExecute({code: '', silent: true, user_expressions: {value: text}});
                 return (await asked.done).content.user_expressions.value; }""",
            expression,
        )
        assert result["status"] == "ok", result
        return ast.literal_eval(result["data"]["text/plain"])

    def plotted(self):
        """What stands in the page: the traces of each of the panel's plots by its name, with the x, y or z of each."""
        return self.page.evaluate(
            """() => {
                 const list = v => v === undefined ? null : Array.from(v, r => r?.length >= 0 && typeof r !== 'string'
                                                                            ? Array.from(r) : r);
                 const traces = plot => (plot.data ?? []).map(t => (
                     {name: t.name, visible: t.visible !== false, x: list(t.x), y: list(t.y), z: list(t.z)}));
                 const figures = [...document.querySelectorAll('.mankit-grid figure')];
                 return Object.fromEntries(figures.map(f => [f.className, traces(f.querySelector('div'))])); }"""
        )

    def wait_drawn(self, seconds=60):
        """Until all of the panel's plots stand in the page."""
        wait_for(lambda: self.page.locator(".mankit-grid .main-svg").count() >= 8, seconds, "the plots")
        wait_for(lambda: self.page.locator(".mankit-plots p").count() == 0, seconds, "the end of loading")

    def button(self, name):
        return self.page.locator("button.jupyter-button").filter(has_text=re.compile(rf"^\s*{re.escape(name)}\s*$"))
