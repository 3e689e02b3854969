"""What `import mankit` loads: nothing until a name is asked for, and then the library without its wings."""

import json
import subprocess
import sys

import mankit

WINGS_NEED = (
    "dask",
    "distributed",
    "pandas",
    "filelock",
    "tqdm",
    "plotly",
    "matplotlib",
    "ipywidgets",
    "IPython",
    "typer",
    "papermill",
)


def loaded_after(code):
    """The packages in sys.modules after some code, in a process of its own."""
    code += "\nimport json, sys\nprint(json.dumps(sorted({name.partition('.')[0] for name in sys.modules})))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=120)
    return set(json.loads(done.stdout))


def test_import_mankit_loads_nothing_until_a_name_is_asked_for():
    assert not loaded_after("import mankit") & {"torch", "torchvision", "numpy", "sklearn", *WINGS_NEED}
    assert "torch" in loaded_after("from mankit import cut")


def test_the_whole_library_needs_none_of_what_its_wings_need():
    of_torch = loaded_after("import torch, torchvision")  # torch itself may load tqdm
    everything = "import mankit\nfrom mankit import *\nassert callable(cut)\n"
    loaded = loaded_after(everything + "import mankit.images, mankit.measure, mankit.rules, mankit.scaling")
    assert "torchvision" in loaded
    assert not (loaded - of_torch) & set(WINGS_NEED)


def test_every_name_is_there_can_be_completed_and_is_the_librarys():
    assert set(dir(mankit)) == set(mankit.__all__) and "local_net" in dir(mankit)
    for name in mankit.__all__:
        value = mankit.__getattr__(name)
        module = getattr(value, "__module__", "mankit.rules")  # RULES is a dict
        assert module.startswith("mankit.") and not module.startswith(("mankit.studies", "mankit.lab"))


def test_a_wrong_name_is_an_import_error():
    done = subprocess.run([sys.executable, "-c", "from mankit import local_nets"], capture_output=True, text=True)
    assert done.returncode == 1 and "ImportError: cannot import name 'local_nets' from 'mankit'" in done.stderr
