"""The house: who may import whom, how large a room may be, and what no file may do. Read from the source only."""

import ast
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

from mankit.rules import RULES

PACKAGE = Path(__file__).parents[1] / "mankit"
FILES = sorted(PACKAGE.rglob("*.py"))
every_file = pytest.mark.parametrize("file", FILES, ids=lambda file: str(file.relative_to(PACKAGE)))

# A part of mankit (a top file or a folder), and the parts that it may import.
LIBRARY = {"errors", "shipped", "networks", "heads", "blocks", "rules", "training", "measure", "images", "scaling"}
ARROWS = {
    "errors": set(),
    "shipped": set(),
    "measure": set(),
    "heads": {"errors"},
    "networks": {"errors"},
    "blocks": {"heads", "errors"},
    "rules": {"heads", "blocks", "networks", "errors"},
    "training": {"heads", "blocks", "errors"},
    "images": {"errors"},
    "scaling": {"heads", "blocks", "training", "errors"},
    "charts": {"errors"},
    "studies": LIBRARY | {"charts"},
    "execution": {"scaling", "charts", "errors"},
    "teach": LIBRARY,
    "lab": LIBRARY | {"studies", "charts", "teach"},
    "commands": LIBRARY | {"studies", "charts", "execution", "teach"},
    "__main__": {"commands", "errors"},
    "__init__": set(),  # it names the library's parts, and loads them when they are asked for
}


def part_of(file):
    """mankit/heads.py -> heads, mankit/charts/plots.py -> charts."""
    return Path(file).relative_to(PACKAGE).with_suffix("").parts[0]


def imported_modules(source, file):
    """What a file imports of mankit, wherever in the file that is, as dotted names without `mankit.`"""
    package = ("mankit", *Path(file).relative_to(PACKAGE).parent.parts)
    names = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            above = package[: len(package) + 1 - node.level] if node.level else ()
            base = ".".join([*above, *([node.module] if node.module else [])])
            names |= {f"{base}.{alias.name}" for alias in node.names}  # a module, or a name in one
    return {name.removeprefix("mankit").removeprefix(".") for name in names if name.split(".")[0] == "mankit"}


def imported_parts(source, file):
    """The parts of mankit that a file imports."""
    parts = {name.split(".")[0] or "__init__" for name in imported_modules(source, file)}
    return {part if part in ARROWS else "__init__" for part in parts}  # `from mankit import cut`


def text(file):
    return file.read_text(encoding="utf-8")


def parse(file):
    return ast.parse(text(file))


def functions(tree):
    return [node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)]


def where(file, node):
    return f"{file.relative_to(PACKAGE.parent)}:{node.lineno}"


# --- arrows ---


@every_file
def test_imports_follow_the_arrows(file):
    part = part_of(file)
    assert part in ARROWS, f"mankit/{part} is new: add an arrow for it to ARROWS in tests/test_architecture.py"
    wrong = imported_parts(text(file), file) - ARROWS[part] - {part}
    assert not wrong, f"{part} imports {sorted(wrong)}, but may only import {sorted(ARROWS[part]) or 'nothing'}"


def test_arrows_go_one_way_and_none_is_left_over():
    order = list(TopologicalSorter(ARROWS).static_order())  # raises CycleError for a circle
    assert set(order) == set(ARROWS) == {part_of(file) for file in FILES}


def test_a_readers_checks_know_nothing_of_the_library():
    checks = [file for file in FILES if "checks" in file.relative_to(PACKAGE).parts]
    assert len(checks) > 5
    assert all(name.startswith("teach.checks") for file in checks for name in imported_modules(text(file), file))


@pytest.mark.parametrize("folder", sorted({part_of(file) for file in FILES if file.parent != PACKAGE}))
def test_inside_a_folder_files_go_one_way_too(folder):
    files = {".".join(f.relative_to(PACKAGE).with_suffix("").parts): f for f in FILES if part_of(f) == folder}
    files = {name: file for name, file in files.items() if not name.endswith("__init__")}
    graph = {}
    for name, file in files.items():
        found = imported_modules(text(file), file)
        graph[name] = {other for other in files if other != name for one in found if f"{one}.".startswith(f"{other}.")}
    assert set(TopologicalSorter(graph).static_order()) == set(files)  # raises CycleError for a circle


@pytest.mark.parametrize(
    "file, source, parts",
    [
        ("heads.py", "from .errors import a\nimport torch", {"errors"}),
        ("blocks.py", "from . import heads, networks", {"heads", "networks"}),
        ("blocks.py", "def f():\n    import mankit.studies as r", {"studies"}),
        ("charts/plots.py", "from mankit.charts.looks import x\nfrom .png import y\nfrom . import words", {"charts"}),
        ("charts/plots.py", "from ..studies.recipe import x\nfrom .. import lab", {"studies", "lab"}),
        ("charts/plots.py", "import mankit\nfrom mankit import cut", {"__init__"}),
        ("training.py", "import torch.data\nfrom mankitchen import x", set()),
    ],
)
def test_imports_are_found_in_every_form(file, source, parts):
    assert imported_parts(source, PACKAGE / file) == parts


# --- a rule's name stands in its own file and in RULES ---

# a recipe says which rule it trains: that is data
RECIPES = {"studies/recipe.py", "studies/papers"}


@every_file
def test_no_other_list_of_rules_stands_anywhere(file):
    place = file.relative_to(PACKAGE).as_posix()
    if place.startswith("rules/") or any(place.startswith(recipes) for recipes in RECIPES):
        return
    constants = [node for node in ast.walk(parse(file)) if isinstance(node, ast.Constant)]
    named = [where(file, node) for node in constants if node.value in RULES]
    assert not named, f"ask RULES (its entries say what a rule has): {named}"


# --- sizes, counted after `ruff format` ---

CORE = LIBRARY - {"measure", "images", "scaling"} | {"__init__", "__main__"}


def lines(files):
    return sum(len(text(file).splitlines()) for file in files)


@pytest.mark.parametrize(
    "parts, cap",
    [(CORE, 1625), (LIBRARY | CORE, 4450), (set(ARROWS) - {"teach"}, 10730)],
    ids=["core", "library", "all but teach"],
)
def test_the_house_stays_small(parts, cap):
    assert lines(file for file in FILES if part_of(file) in parts) <= cap


@every_file
def test_a_file_is_read_in_one_go(file):
    cap = {"rules": 150, "commands": 90}.get(part_of(file), 250)
    assert lines([file]) <= cap


def length(function):
    return function.end_lineno - function.lineno + 1


def test_a_function_is_mostly_under_20_lines():
    lengths = [length(function) for file in FILES for function in functions(parse(file))]
    assert sum(n < 20 for n in lengths) >= 0.75 * len(lengths)


@every_file
def test_no_function_is_long(file):
    long = {f.name: length(f) for f in functions(parse(file)) if length(f) > 60}
    assert not long


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


@every_file
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


@every_file
def test_public_names_have_docstrings_and_types(file):
    tree = parse(file)
    assert ast.get_docstring(tree), f"{file.name}: say in one line what the file is for"
    bare = [f"{where(file, node)} {node.name}" for node in public(tree) if not ast.get_docstring(node)]
    assert not bare, f"no docstring: {bare}"
    untyped = [f"{where(file, f)} {f.name}({name})" for f in public_functions(tree) for name in without_annotation(f)]
    assert not untyped, f"no annotation: {untyped}"
    silent = [f"{where(file, f)} {f.name}" for f in public_functions(tree) if f.returns is None]
    assert not silent, f"no annotation of what is returned: {silent}"
