"""`mankit train`'s options: made from the Recipe, the rules and the data; a rule of one's own has its options too."""

import inspect
import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

from mankit.rules import RULES, options_of
from mankit.studies import Recipe, read_run
from mankit.studies.recipe import LAB_SETTINGS, data_options

FEW = ("--train-size", 100, "--val-size", 20, "--test-size", 100)
SMALL = ("train", *FEW, "--epochs", 1, "--device", "cpu", "-K", 3)
TOY = '''
from mankit.heads import Head
from mankit.rules.dgl import dgl

class Scaled(Head):
    def __init__(self, body, scale):
        super().__init__(body)
        self.scale = scale

    def loss(self, h, x, y):
        return self.scale * super().loss(h, x, y)

def scaled(place, *, scale: float = 2.0, head: str = "mlp"):
    """DGL with a larger loss.

    Args:
        scale: what the loss is multiplied with.
    """
    return Scaled(dgl(place, head=head).body, scale)
'''


def flat(text):
    """A help page in one line, without its boxes."""
    return " ".join(re.sub("[│╭╮╰╯─]", " ", text).split())


@pytest.fixture
def rules(monkeypatch):
    """RULES, as they were again after the test."""
    before = dict(RULES)
    yield RULES
    RULES.clear()
    RULES.update(before)


@pytest.fixture
def wide(monkeypatch):
    monkeypatch.setenv("COLUMNS", "200")  # a help page breaks no option's name


def test_a_rule_of_ones_own_has_its_options_in_help_and_trains_by_them(mankit, rules, wide, tmp_path):
    def scaled(place, *, scale: float = 2.0, head: str = "mlp"):
        """DGL with a larger loss.

        Args:
            scale: what the loss is multiplied with.
        """
        inner = RULES["dgl"].build(place, head=head)
        loss = inner.loss
        inner.loss = lambda h, x, y: scale * loss(h, x, y)
        return inner

    rules["scaled"] = scaled
    text = flat(mankit("train", "--help").out)
    assert "--scale" in text and "scaled: what the loss is multiplied with. [default: 2.0]" in text
    tables = {}
    for scale in (0.5, 8):
        result = mankit(*SMALL, "--rule", "scaled", "--scale", scale, "-o", tmp_path / str(scale))
        assert result.code == 0 and result.out.startswith("scaled on glyphs"), result.err
        tables[scale] = result.out.splitlines()[2:]
        assert read_run(tmp_path / str(scale)).recipe.options["scale"] == scale
    assert tables[0.5] != tables[8]
    assert "takes no option ['scale']" in mankit(*SMALL, "--rule", "dgl", "--scale", 2).err


def test_a_rule_in_a_file_is_named_by_file_and_function(mankit, rules, wide, tmp_path):
    file, out = tmp_path / "mine.py", tmp_path / "out"
    file.write_text(TOY)
    assert "--scale" in mankit("train", "--rule", f"{file}:scaled", "--help").out
    for words in (("--rule", f"{file}:scaled"), (f"--rule={file}:scaled",)):  # the second time it is read
        result = mankit(*SMALL, *words, "--scale", 3, "-o", out)
        assert result.code == 0 and result.out.startswith("scaled on glyphs"), result.err
    assert read_run(out).recipe.options == {"scale": 3.0, "head": LAB_SETTINGS["head"]}
    assert mankit(*SMALL, "--base", f"{file}:scaled", "--scale", 3).code == 0  # MAN over it
    wrong = mankit(*SMALL, "--rule", f"{file}:scaledd")
    assert wrong.code == 2 and "rule='scaledd': did you mean 'scaled'?" in wrong.err
    missing = mankit(*SMALL, "--rule", f"{tmp_path}/none.py:scaled")
    assert missing.code == 2 and "none.py" in missing.err and missing.err.count("\n") == 1


def test_every_field_and_every_option_is_there_with_its_help(mankit, wide):
    text = " " + flat(mankit("train", "--help").out).partition(" The recipe ")[2] + " --end"
    names = {*inspect.signature(Recipe).parameters, *data_options()} - {"options", "data_options"}
    for name in names | {name for rule in RULES for name in options_of(rule)}:
        said = re.search(rf" --{name.replace('_', '-')} (.+?) --[a-z]{{2}}", re.sub(r" --no-\S+", "", text))
        assert said and len(said[1].split()) > 3, name  # its kind and a few words
    for words in (
        "man, manpp: of the EMA, 0 (copy",
        "both|bias|ema|twin|pulled",
        "passes over",
        "[default: 0c1f]",
        "[default: man]",
    ):
        assert words in text.replace("0 (a copy", "0 (copy")


@pytest.mark.parametrize(
    "words, name, value",
    [
        (("--rule", "infopro", "--lam-x", "5,0.5"), "lam_x", (5, 0.5)),
        (("--rule", "infopro", "--lam-x", "2"), "lam_x", 2),
        (("--rule", "infopro", "--contrast"), "contrast", True),
        (("--rule", "infopro", "--no-contrast"), "contrast", False),
        (("--at", "2,5"), "at", (2, 5)),
        (("--widths", "4,6,8"), "widths", (4, 6, 8)),
        (("--val-size", "30"), "val_size", 30),
        (("--balance", "memory"), "balance", "memory"),
        (("--per-step",), "per_step", True),
    ],
    ids=lambda value: str(value),
)
def test_a_typed_option_is_a_setting_of_the_recipe(mankit, tmp_path, words, name, value):
    result = mankit(*SMALL, *words, "-o", tmp_path / "run")
    assert result.code == 0, result.err
    assert read_run(tmp_path / "run").recipe.settings()[name] == value


@pytest.mark.parametrize("rule", RULES)
def test_what_is_not_typed_is_the_labs(mankit, tmp_path, rule):
    assert mankit(*SMALL, "--rule", rule, "-o", tmp_path / "run").code == 0
    options = read_run(tmp_path / "run").recipe.options
    assert options == {name: LAB_SETTINGS[name] for name in options_of(rule) if name in LAB_SETTINGS}


@pytest.mark.parametrize("words", [("--lam-x", "a,b"), ("--lam-x", ""), ("--at", "2;5"), ("--widths", "wide")], ids=str)
def test_what_is_no_number_is_one_line(mankit, words):
    result = mankit(*SMALL, "--rule", "infopro", *words)
    assert result.code == 2 and result.out == "" and result.err.count("\n") == 1 and words[0][2:5] in result.err


def test_help_of_all_commands_without_torch():
    code = "import sys\nsys.modules['torch'] = None\nsys.argv = ['mankit', '--help']\n"
    code += "from mankit.__main__ import main\nmain()"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=300)
    assert done.returncode == 0 and done.stderr == ""
    for command in ("lab", "run", "student", "train", "recipes", "reproduce", "sweep", "bench"):
        assert re.search(rf"│ {command} +[A-Z][^│]{{20}}", done.stdout), command


def test_a_new_rules_option_can_be_swept(mankit, rules, monkeypatch, tmp_path):
    seen = []
    monkeypatch.setattr("mankit.execution.sweep.sweep", lambda notebook, cells, *_: seen.extend(cells))
    rules["scaled"] = lambda place, *, scale=2.0: None
    notebook = Path(__file__).parents[1] / "notebooks" / "reproduce" / "sweep.ipynb"
    with pytest.raises(AttributeError):  # there is no table to plot
        mankit("sweep", notebook, "-p", "rule", "scaled", "-g", "scale", "1,2", "-o", tmp_path)
    assert seen == [{"rule": "scaled", "scale": 1}, {"rule": "scaled", "scale": 2}]
    wrong = mankit("sweep", notebook, "-g", "scal", "1,2", "-o", tmp_path)
    assert wrong.code == 2 and "did you mean 'scale'" in wrong.err


@pytest.mark.parametrize(
    "recipe, fragments",
    [
        ({"rule": "man", "options": {"decya": 0.9}}, ["'decya'", "did you mean 'decay'"]),
        ({"rule": "dgl", "options": {"decay": 0.5}}, ["'decay'"]),
    ],
    ids=str,
)
def test_an_option_in_a_recipes_file_is_never_dropped_silently(mankit, tmp_path, recipe, fragments):
    (tmp_path / "r.json").write_text(json.dumps(recipe))
    said = mankit("train", "--recipe", tmp_path / "r.json", "--epochs", 1, "--train-size", 40)
    assert said.code == 2 and not said.out and len(said.err.splitlines()) == 1
    assert all(fragment in said.err for fragment in fragments)


@pytest.mark.parametrize("words, fragment", [(["--recipe", ""], "recipe="), (["-o", ""], "name a folder")], ids=str)
def test_an_empty_value_is_not_as_if_it_were_absent(mankit, words, fragment):
    said = mankit("train", "--epochs", 1, "--train-size", 40, *words)
    assert said.code == 2 and not said.out and fragment in said.err and len(said.err.splitlines()) == 1


def test_the_folder_one_is_in_is_a_folder_too(mankit, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    said = mankit("student", Path(__file__).parents[1] / "notebooks" / "02_dgl.ipynb", "-o", ".")
    assert said.code == 0 and (tmp_path / "02_dgl.ipynb").is_file()
    assert "an empty value" in mankit("student", "a.ipynb", "--out=").err


def test_a_parameter_that_stands_twice_is_a_line(mankit):
    said = mankit("run", Path(__file__).parents[1] / "notebooks" / "00_tour.ipynb", "-p", "K", 3, "-p", "K", 4)
    assert said.code == 2 and "parameter 'K' is given twice: give it once" in said.err
