"""Who may import whom, and what no file may do. Read from the source, so nothing is run here."""

import ast
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "mankit"
FILES = sorted([*PACKAGE.rglob("*.py"), *PACKAGE.rglob("*.pyi")])

# A part of mankit, and the parts that it may import. A folder is one part.
ARROWS = {
    "errors": set(),
    "charts": {"errors"},
    "networks": {"errors"},
    "measure": set(),
    "lab": {"blocks", "charts", "heads", "images", "measure", "networks", "rules", "studies", "training"},
    "heads": {"errors"},
    "blocks": {"heads", "errors"},
    "rules": {"heads", "blocks", "networks", "errors"},
    "scaling": {"heads", "blocks", "training", "errors"},
    "training": {"blocks", "heads", "errors"},
    "images": {"errors"},
    "studies": {"blocks", "errors", "heads", "images", "measure", "networks", "rules", "scaling", "training"},
    "execution": {"charts", "errors"},
    "teach": set(),
    "commands": {"charts", "errors", "execution", "images", "lab", "rules", "studies", "teach"},
    "__main__": {"commands", "errors"},
    # what a reader gets from `import mankit`: the imports stand in __init__.pyi
    "__init__": {"blocks", "heads", "images", "measure", "networks", "rules", "training"},
}


def part_of(file):
    """mankit/heads.py -> heads, mankit/lab/figure.py -> lab."""
    return Path(file).relative_to(PACKAGE).with_suffix("").parts[0]


def imported_parts(source, file):
    """The parts of mankit that a file imports, wherever in the file that is."""
    package = ("mankit", *Path(file).relative_to(PACKAGE).parent.parts)
    names = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            above = package[: len(package) + 1 - node.level] if node.level else ()
            base = ".".join([*above, *([node.module] if node.module else [])])
            # in `from . import blocks` the part is one of the names
            names |= {f"{base}.{alias.name}" for alias in node.names} if base == "mankit" else {base}
    return {name.split(".")[1] if "." in name else "__init__" for name in names if name.split(".")[0] == "mankit"}


def parse(file):
    return ast.parse(file.read_text(encoding="utf-8"))


def functions(tree):
    return [node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)]


def where(file, node):
    return f"{file.relative_to(PACKAGE.parent)}:{node.lineno}"


# --- arrows ---


@pytest.mark.parametrize("file", FILES, ids=lambda file: str(file.relative_to(PACKAGE)))
def test_imports_follow_the_arrows(file):
    part = part_of(file)
    assert part in ARROWS, f"mankit/{part} is new: add an arrow for it to ARROWS in tests/test_architecture.py"
    wrong = imported_parts(file.read_text(encoding="utf-8"), file) - ARROWS[part] - {part}
    assert not wrong, f"{part} imports {sorted(wrong)}, but may only import {sorted(ARROWS[part]) or 'nothing'}"


def test_arrows_go_one_way_and_none_is_left_over():
    order = list(TopologicalSorter(ARROWS).static_order())  # raises CycleError for a circle
    parts = {part_of(file) for file in FILES}
    assert set(order) == set(ARROWS) == parts


def test_the_lab_is_the_live_panel_and_nothing_else():
    names = {file.stem for file in FILES if part_of(file) == "lab"}
    assert names == {"__init__", "panel", "controls", "page", "session", "watch", "figure"}


@pytest.mark.parametrize(
    "file, source, parts",
    [
        ("heads.py", "from .losses import a\nimport torch", {"losses"}),
        ("heads.py", "from . import blocks, images", {"blocks", "images"}),
        ("heads.py", "def f():\n    import mankit.studies.run as r", {"studies"}),
        ("lab/figure.py", "from mankit.lab.session import x\nfrom .watch import y\nfrom . import controls", {"lab"}),
        ("lab/figure.py", "from ..studies import x\nfrom .. import rules", {"studies", "rules"}),
        ("lab/figure.py", "import mankit\nfrom mankit import images", {"__init__", "images"}),
        ("blocks.py", "import torch.data\nfrom mankitchen import x", set()),
    ],
)
def test_imports_are_found_in_every_form(file, source, parts):
    assert imported_parts(source, PACKAGE / file) == parts


# --- what no file may do ---


def attribute_calls(tree, name):
    calls = [node for node in ast.walk(tree) if isinstance(node, ast.Call)]
    return [call for call in calls if isinstance(call.func, ast.Attribute) and call.func.attr == name]


def name_calls(tree, names):
    calls = [node for node in ast.walk(tree) if isinstance(node, ast.Call)]
    return [call for call in calls if isinstance(call.func, ast.Name) and call.func.id in names]


def built_up_names(tree):
    """getattr and its like with a name that isn't written there."""
    calls = name_calls(tree, {"getattr", "setattr", "hasattr", "delattr"})
    return [call for call in calls if len(call.args) < 2 or not isinstance(call.args[1], ast.Constant)]


def test_one_line_in_mankit_calls_backward():
    calls = [(part_of(file), call) for file in FILES for call in attribute_calls(parse(file), "backward")]
    assert [part for part, _ in calls] == ["training"]


@pytest.mark.parametrize("file", FILES, ids=lambda file: str(file.relative_to(PACKAGE)))
def test_nothing_is_evaluated_built_up_or_global(file):
    tree = parse(file)
    wrong = name_calls(tree, {"eval", "exec", "compile", "__import__", "globals", "vars"}) + built_up_names(tree)
    wrong += [node for node in ast.walk(tree) if isinstance(node, ast.Global)]
    assert not wrong, [f"{where(file, node)}: {ast.unparse(node)}" for node in wrong]


def test_the_checks_find_what_they_look_for():
    tree = ast.parse("loss.backward()\neval('1')\ngetattr(a, b)\ngetattr(a, 'b')\nsetattr(a, f'{b}', 1)\nre.compile(c)")
    assert len(attribute_calls(tree, "backward")) == 1
    assert [call.lineno for call in name_calls(tree, {"eval", "compile"})] == [2]
    assert [call.lineno for call in built_up_names(tree)] == [3, 5]


# --- what every public name has ---


def public(tree):
    """The public functions and classes of a file."""
    kinds = ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef
    return [node for node in tree.body if isinstance(node, kinds) and not node.name.startswith("_")]


def public_functions(tree):
    """Public functions, and the public methods (and __init__) of public classes."""
    for node in public(tree):
        if isinstance(node, ast.ClassDef):
            methods = [member for member in node.body if isinstance(member, ast.FunctionDef)]
            yield from (m for m in methods if m.name == "__init__" or not m.name.startswith("_"))
        else:
            yield node


def without_annotation(function):
    """The parameters that lack one; self and cls need none."""
    arguments = function.args
    every = [*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs, arguments.vararg, arguments.kwarg]
    return [a.arg for a in every if a and a.annotation is None and a.arg not in ("self", "cls")]


@pytest.mark.parametrize("file", FILES, ids=lambda file: str(file.relative_to(PACKAGE)))
def test_public_names_have_docstrings_and_types(file):
    tree = parse(file)
    assert ast.get_docstring(tree), f"{file.name}: say in one line what the file is for"
    bare = [f"{where(file, node)} {node.name}" for node in public(tree) if not ast.get_docstring(node)]
    assert not bare, f"no docstring: {bare}"
    untyped = [f"{where(file, f)} {f.name}({name})" for f in public_functions(tree) for name in without_annotation(f)]
    assert not untyped, f"no annotation: {untyped}"
    silent = [f"{where(file, f)} {f.name}" for f in public_functions(tree) if f.returns is None]
    assert not silent, f"no annotation of what is returned: {silent}"


@pytest.mark.parametrize("file", FILES, ids=lambda file: str(file.relative_to(PACKAGE)))
def test_no_function_is_long(file):
    lengths = {f.name: f.end_lineno - f.lineno + 1 for f in functions(parse(file))}
    assert all(length <= 60 for length in lengths.values()), {n: k for n, k in lengths.items() if k > 60}
