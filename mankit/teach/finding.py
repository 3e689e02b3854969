"""An answer in whatever became of a notebook, found by syntax tree: no cell's place, id or metadata is needed."""

from __future__ import annotations

import ast
import json
import re
import symtable
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property

from IPython.core.inputtransformer2 import TransformerManager

LOOK_AT = set(  # an exercise needs none of these, and code that looks for a way round a check often does
    "os sys gc open setattr delattr check inspect ctypes subprocess importlib builtins exec eval compile globals vars "
    "pathlib shutil socket urllib requests signal multiprocessing threading pickle mankit.teach".split()
)


@dataclass(frozen=True)
class Statement:
    """A statement of a cell: its tree, its lines as they were written, the number of its cell, its names."""

    tree: ast.stmt
    text: str
    cell: int
    scopes: symtable.SymbolTable

    @cached_property
    def binds(self) -> set[str]:
        """The names that it gives a value, or changes in a part: `x = 1`, `def x`, `import x`, `x.a = 1`."""
        bound = {s.get_name() for s in self.scopes.get_symbols() if s.is_assigned() or s.is_imported()}
        return bound | {root for node in _at_once(self.tree) if (root := _changed(node))}

    @cached_property
    def needs(self) -> set[str]:
        """The notebook's names that it reads, in functions too; not the names of their own variables."""
        return {name for scope in _all_scopes(self.scopes) for name in _read(scope)}

    @property
    def stars(self) -> bool:
        """Is it a `from x import *`?"""
        return isinstance(self.tree, ast.ImportFrom) and self.tree.names[0].name == "*"

    def is_stub(self) -> bool:
        """Is it a function as it was handed out, with nothing but a docstring and its NotImplementedError?"""
        body = [node for node in getattr(self.tree, "body", []) if not _is_text(node)]
        return len(body) == 1 and isinstance(body[0], ast.Raise) and "NotImplementedError" in ast.unparse(body[0])


@dataclass(frozen=True)
class Answer:
    """code: of an exercise's function and what it needs; look_at: names in it that a person should look at."""

    code: str
    look_at: list[str]


def cells_of(notebook: bytes) -> list[str]:
    """The code of a notebook's code cells. ValueError: not a notebook, with a sentence for its reader."""
    try:
        nb = json.loads(notebook.decode().removeprefix("\ufeff"))
        return ["".join(cell["source"]) for cell in nb["cells"] if cell["cell_type"] == "code"]
    except UnicodeDecodeError:
        raise ValueError("the notebook isn't UTF-8 text: save it again in JupyterLab") from None
    except (ValueError, RecursionError, KeyError, TypeError):
        raise ValueError("the file isn't a notebook: is it empty, or cut off?") from None


def answer_in(cells: Iterable[str], name: str) -> Answer | None:
    """The last cell's answer that defines `name`, and is no stub while another one isn't. None: no cell defines it.

    With it come the imports, helpers and values that it needs, each from the last cell that has it, and nothing else:
    what a notebook trains, prints or changes in a check isn't run. SyntaxError: of the only cell that defines it.
    """
    statements, broken = [], None
    for number, cell in enumerate(cells):
        try:
            statements += list(_statements(cell, number))  # all of a cell, or nothing
        except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
            broken = error if _seems_to_define(cell, name) else broken
    defining = [s for s in statements if name in s.binds]
    answered = [s for s in defining if not s.is_stub()]
    if broken and not answered:
        raise broken if isinstance(broken, SyntaxError) else SyntaxError(str(broken))
    if not defining:
        return None
    last = (answered or defining)[-1].cell
    needed = _closure([s for s in defining if s.cell == last], statements)
    return Answer("\n".join(s.text for s in needed) + "\n", sorted(_words(needed) | _patches(statements)))


def names_read(cell: str) -> set[str]:
    """The names that a cell's code reads, but for the own variables of its functions."""
    return {name for statement in _statements(cell, 0) for name in statement.needs}


def _statements(cell: str, number: int) -> Iterator[Statement]:
    cell = re.sub("\r\n?", "\n", cell).replace("\f", " ")  # so that lines are counted as Python does
    try:
        tree = ast.parse(cell)
    except SyntaxError:  # a %magic or a !command?
        cell = TransformerManager().transform_cell(cell)
        tree = ast.parse(cell)
    lines, rows = cell.splitlines(), [(_first_line(node), node.end_lineno) for node in tree.body]
    taken = Counter(line for first, last in rows for line in range(first, last + 1))
    for node, (first, last) in zip(tree.body, rows, strict=True):
        alone = all(taken[line] == 1 for line in range(first, last + 1))  # else `a = 1; b = 2`
        text = "\n".join(lines[first - 1 : last]) if alone else ast.unparse(node)
        yield Statement(node, text, number, symtable.symtable(ast.unparse(node), "<answer>", "exec"))


def _first_line(node: ast.stmt) -> int:
    return min([node.lineno, *(d.lineno for d in getattr(node, "decorator_list", []))])


def _closure(chosen: list[Statement], statements: list[Statement]) -> list[Statement]:
    """The chosen statements and those that they need, in the notebook's order."""
    needed = {id(s): s for s in [*(s for s in statements if s.stars), *chosen]}
    have, missing = set().union(*(s.binds for s in chosen)), list(chosen)
    while missing:
        for name in missing.pop().needs - have:
            have.add(name)
            binding = [s for s in statements if name in s.binds]
            more = [s for s in binding if s.cell == binding[-1].cell and id(s) not in needed]
            needed |= {id(s): s for s in more}
            missing += more
    return [s for s in statements if id(s) in needed]


def _all_scopes(scope: symtable.SymbolTable) -> Iterator[symtable.SymbolTable]:
    yield scope
    for inner in scope.get_children():
        yield from _all_scopes(inner)


def _read(scope: symtable.SymbolTable) -> Iterator[str]:
    top = scope.get_type() == "module"
    return (s.get_name() for s in scope.get_symbols() if s.is_referenced() and (top or s.is_global()))


def _at_once(node: ast.AST) -> Iterator[ast.AST]:
    """The parts of a statement that run with it, not those of the functions that it defines."""
    yield node
    if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
        for inner in ast.iter_child_nodes(node):
            yield from _at_once(inner)


def _changed(node: ast.AST) -> str:
    """'x' for the part `x.a` or `x[0]` of an assignment's left side."""
    if not isinstance(node, ast.Attribute | ast.Subscript) or not isinstance(node.ctx, ast.Store):
        return ""
    while isinstance(node, ast.Attribute | ast.Subscript):
        node = node.value
    return node.id if isinstance(node, ast.Name) else ""


def _is_text(node: ast.stmt) -> bool:
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)


def _seems_to_define(cell: str, name: str) -> bool:
    return bool(re.search(rf"^\s*(def|class)\s+{name}\b|^{name}\s*=", cell, re.MULTILINE))


def _words(statements: list[Statement]) -> set[str]:
    """What of LOOK_AT these statements name, and attributes such as __globals__."""
    found = set()
    for node in (node for s in statements for node in ast.walk(s.tree)):
        if isinstance(node, ast.Import | ast.ImportFrom):
            modules = [getattr(node, "module", "") or "", *(alias.name for alias in node.names)]
            found |= {word for word in LOOK_AT for module in modules if f"{module}.".startswith(f"{word}.")}
        elif isinstance(node, ast.Name) and (node.id in LOOK_AT or node.id.startswith("__")):
            found.add(node.id)
        elif isinstance(node, ast.Attribute) and node.attr.startswith("__") and node.attr != "__init__":
            found.add(node.attr)
    return found


def _patches(statements: list[Statement]) -> set[str]:
    """Anywhere in the notebook: setattr, and a part of the checks that gets another value."""
    calls = {"setattr" for s in statements for n in ast.walk(s.tree) if isinstance(n, ast.Name) and n.id == "setattr"}
    parts = {"check" for s in statements for n in ast.walk(s.tree) if _changed(n) == "check"}
    return calls | parts
