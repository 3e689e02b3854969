"""Wheels and environments for tests of the package. A new environment borrows torch, so that it takes seconds."""

import os
import shutil
import subprocess
import sys
import sysconfig
import venv
from importlib.metadata import distributions
from pathlib import Path

ROOT = Path(__file__).parents[1]
BIN = "Scripts" if sys.platform == "win32" else "bin"
HERE = sorted({sysconfig.get_path("purelib"), sysconfig.get_path("platlib")})  # where this Python's packages lie
LARGE = ("torch", "torchvision", "nvidia-", "triton", "cuda-")  # torch and what comes with it on a machine with a GPU


def away():
    """The environment's variables, without those that lead to this checkout."""
    return {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "MANKIT_LIVE")}


def run(*words, cwd, code=0):
    """A command's output and errors, away from this checkout; it must end with this code."""
    done = subprocess.run([*map(str, words)], cwd=cwd, env=away(), capture_output=True, text=True, timeout=500)
    assert done.returncode == code, f"{words}\n{done.stdout[-3000:]}\n{done.stderr[-3000:]}"
    return done.stdout or done.stderr


def copied_project(folder):
    """What a wheel is made of: the code, the notebooks, the tables, and no file that was built or downloaded."""
    for name in ("mankit", "notebooks"):
        shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__", ".ipynb_checkpoints"))
    (folder / "data").mkdir()
    for file in [*ROOT.glob("data/*.csv"), ROOT / "pyproject.toml", ROOT / "README.md", *ROOT.glob("LICENSE*")]:
        shutil.copy(file, folder / file.relative_to(ROOT))
    return folder


def wheel(folder):
    """The project's wheel, built from a clean copy."""
    how = ["--no-deps", "--no-build-isolation", "-q", "-w", folder / "dist"]
    run(sys.executable, "-m", "pip", "wheel", *how, copied_project(folder / "project"), cwd=folder)
    return next((folder / "dist").glob("*.whl"))


def environment(folder):
    """An empty environment; its python."""
    venv.create(folder, symlinks=True)
    return folder / BIN / "python"


def site_packages(python):
    """Where an environment's packages lie."""
    code = "import sysconfig; print(sysconfig.get_path('purelib'))"
    return Path(run(python, "-c", code, cwd=python.parent).strip())


def borrow_all(python):
    """Let an environment see every package of this one, after its own, and what nbconvert and JupyterLab read."""
    (site_packages(python) / "borrowed.pth").write_text("\n".join(HERE) + "\n")
    share = python.parents[1] / "share" / "jupyter"  # without kernels: its own Python is to be the kernel
    share.mkdir(parents=True)
    for name in ("lab", "nbconvert"):
        (share / name).symlink_to(Path(sys.prefix, "share", "jupyter", name))


def borrow_torch(python):
    """Let an environment have this one's torch, and nothing else of it."""
    for found in distributions(path=HERE):
        if found.metadata["Name"].lower() in LARGE or found.metadata["Name"].lower().startswith(LARGE[2:]):
            for top in {file.parts[0] for file in found.files if file.parts[0] not in ("..", "__pycache__")}:
                link = site_packages(python) / top
                if not link.exists():
                    link.symlink_to(found.locate_file(top))


def install(python, *words):
    """Install into an environment: by uv where it is there, else by this one's pip."""
    beside = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    if uv := shutil.which("uv", path=beside):
        run(uv, "pip", "install", "--quiet", "--python", python, *words, cwd=python.parent)
    else:
        run(sys.executable, "-m", "pip", "--python", python, "install", "--quiet", *words, cwd=python.parent)
