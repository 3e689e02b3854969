"""The study of heads: the same budget for all, costs from the library, and the table that is kept in data/."""

import json
import re
from pathlib import Path

import pandas as pd
import pytest
import torch

from mankit.rules import RULES
from mankit.studies import Recipe, Run
from mankit.studies.papers import cell, cells, heads
from mankit.studies.report import read_study

ROOT = Path(__file__).parents[1]
FILE = ROOT / "data" / "heads.csv"
SHOWN = [
    ("README.md", ["glyphs", "cifar10"], 7),
    ("docs/fair_table.md", ["glyphs"], 19),
    ("docs/fair_table.md", ["cifar10"], 9),
]


@pytest.fixture(scope="module")
def short():
    torch.set_num_threads(1)
    return cells("heads", "short")


def test_every_cell_is_a_recipe_of_its_own(short):
    names = [each.name for each in short]
    assert len(names) == len(set(names))
    assert all(cell(name, "short").recipe == each.recipe for name, each in zip(names[::20], short[::20], strict=True))
    assert all(Recipe.from_json(each.recipe.to_json()) == each.recipe for each in short)
    labels = {each.method for each in short}
    assert len(labels) == len(heads.METHODS) and {"DGL 1c2f + norm", "AugLocal depth=1", "MAN++ s=0.0 fixed"} <= labels
    assert {rule for rule, _ in heads.METHODS.values()} == {n for n in RULES if not heads.entry_of(n).unlabelled}


def test_nothing_but_the_head_differs_between_methods_of_one_budget(short):
    keys = ("network", "widths", "batch", "warmup", "momentum", "weight_decay", "per_step", "augment", "lr", "seed")
    assert len({tuple(each.recipe.__dict__[key] for key in keys) for each in short}) == 1
    for data in ("glyphs", "cifar10"):
        same = [each for each in short if each.recipe.data == data and heads.EQUAL_FLOPS not in each.name]
        assert len({(each.recipe.epochs, tuple(each.recipe.data_options.items())) for each in same}) == 1


def test_equal_flops_are_equal_but_for_whole_epochs(short):
    by_name = {each.name: each for each in short}
    scaled = [each for each in short if heads.EQUAL_FLOPS in each.name]
    assert len(scaled) > 15
    for each in scaled:
        whole = by_name[each.name.replace(heads.EQUAL_FLOPS, "")].recipe
        assert each.recipe == whole.but(epochs=each.recipe.epochs) and each.recipe.epochs != whole.epochs
        share = heads.cost(each.name.split("/")[2].removesuffix(heads.EQUAL_FLOPS), each.K)["flops_of_bp"]
        assert abs(each.recipe.epochs * share - whole.epochs) <= share / 2  # half an epoch of its own
    assert by_name["heads/glyphs/man-flops/K8"].recipe.epochs == 4  # 6 / 1.70


def test_costs_are_those_of_a_run(short):
    """The one net counts as the recipe's own does, whatever its data."""
    recipe = cell("heads/glyphs/man/K8", "quick").recipe
    run, bp = (Run(recipe.changed(rule=rule, K=K, train_size=50, test_size=1)) for rule, K in (("man", 8), ("bp", 1)))
    (x, y) = next(run.feed())
    bytes_, flops_ = ([f(each.net, x, y) for each in (run, bp)] for f in (heads.saved_bytes, heads.flops))
    found = heads.cost("man", 8)
    assert found["bytes_of_bp"] == pytest.approx(max(bytes_[0]) / bytes_[1][0], rel=1e-3)
    assert found["flops_of_bp"] == pytest.approx(flops_[0] / flops_[1], rel=1e-9)
    assert heads.cost("bp", 1) == {"bytes_of_bp": 1, "flops_of_bp": 1}


def test_an_interval_is_students():
    found = heads.interval([90.0, 92.0, 97.0])  # mean 93, sd 3.606, t(0.975, 2) = 4.303
    assert [round(found[key], 2) for key in ("accuracy", "low", "high")] == [93.0, 84.04, 100.0]
    wide = heads.interval([50.0, 54.0])  # sd 2.828, t(0.975, 1) = 12.706
    assert [round(wide[key], 1) for key in ("low", "high")] == [26.6, 77.4]
    one = heads.interval([50.0])
    assert one["accuracy"] == 50 and pd.isna([one["low"], one["high"]]).all()


def test_the_table_has_a_row_for_each_method_and_budget(tmp_path):
    runs = read_study("heads", "short", 3, tmp_path)  # nothing is trained there
    assert heads.fair_table(runs, "short").empty
    names = ["heads/glyphs/bp/K1", "heads/glyphs/man/K8", "heads/glyphs/man-flops/K8", "heads/glyphs/greedy-norm/K8"]
    names.append("heads/cifar10/lls/K8")
    done = runs.cell.isin(names)
    runs.loc[done, ["status", "error_last"]] = ["done", 10.0]
    runs.loc[(runs.cell == names[1]) & (runs.seed == 2), "error_last"] = 40.0
    whole = heads.fair_table(runs, "short")
    assert set(whole[whole.method == "LLS"].data) == {"cifar10"}
    table = whole[whole.data == "glyphs"].set_index(["method", "budget"])
    assert list(table.reset_index().columns.sort_values()) == sorted(heads.CSV)
    assert set(table.index) == {
        (heads.CHECKPOINTED, "epochs"),
        *((name, budget) for name in ("BP", "MAN", "Greedy + norm") for budget in ("epochs", "FLOPs")),
    }
    assert table.accuracy["MAN", "epochs"] == 80 and table.accuracy["MAN", "FLOPs"] == 90 and set(table.seeds) == {3}
    assert table.low["MAN", "epochs"] == pytest.approx(80 - 4.303 * 10, abs=0.01)
    again = table.loc[heads.CHECKPOINTED].iloc[0]
    assert again.accuracy == table.accuracy["BP", "epochs"] and 0.2 < again.bytes_of_bp < 0.4
    assert again.flops_of_bp == pytest.approx(4 / 3, abs=0.01) and again.K == 1
    assert json.loads(table.options["Greedy + norm", "FLOPs"]) == {"norm": True}


def test_the_kept_table_is_whole_and_its_costs_are_ours():
    kept = pd.read_csv(FILE)
    assert list(kept.columns) == heads.CSV and not kept.drop(columns=["low", "high"]).isna().any().any()
    assert set(kept.budget) == {"epochs", "FLOPs"} and (kept.seeds >= 3).all()
    assert kept.accuracy.between(kept.low, kept.high).all() and kept.accuracy.between(0, 100).all()
    assert not kept.duplicated(["method", "data", "K", "budget"]).any()
    names = {heads.label(name): name for name in heads.METHODS}
    for row in kept[kept.method != heads.CHECKPOINTED].itertuples():
        rule, options = heads.METHODS[names[row.method]]
        assert (row.rule, json.loads(row.options)) == (rule, options)
        assert heads.cost(names[row.method], row.K)["flops_of_bp"] == pytest.approx(row.flops_of_bp, rel=1e-4)
        assert heads.cost(names[row.method], row.K)["bytes_of_bp"] == pytest.approx(row.bytes_of_bp, rel=1e-2)


def test_a_recipe_says_what_was_measured_with_it_and_with_which_rate(mankit):
    kept = pd.read_csv(FILE).query("method == 'Greedy + norm' and data == 'glyphs' and K == 8").iloc[0]
    text = mankit("recipes", "heads/glyphs/greedy-norm/K8", "--profile", "short").out
    assert f"test accuracy with lr {kept.lr:g} {round(kept.accuracy, 1):g} % (mankit's)" in text
    assert "mankit's" not in mankit("recipes", "heads/glyphs/greedy-norm/K8", "--profile", "quick").out


def test_unknown_names_are_answered():
    with pytest.raises(ValueError, match="profile='fast'"):
        heads.cells("fast")
    with pytest.raises(ValueError, match="recipe='heads/glyphs/mann/K8'.*did you mean 'heads/glyphs/man/K8'"):
        cell("heads/glyphs/mann/K8", "quick")


def shown_rows(path, which):
    """The rows of a page's table, by its number, that is about heads: method, and the numbers in each other column."""
    text = (ROOT / path).read_text(encoding="utf-8")
    table = re.findall(r"\| method \| bytes .*\n\|[-|]+\n((?:\|.*\n)+)", text)[which]
    for line in table.splitlines():
        method, *columns = (column.strip() for column in line.strip("|").split("|"))
        yield method, [[float(number) for number in re.findall(r"[\d.]+", column)] for column in columns]


@pytest.mark.parametrize("path, datasets, count", SHOWN, ids=str)
def test_every_number_that_a_page_shows_stands_in_the_table(path, datasets, count):
    kept = {(row.method, row.data, row.budget): row for row in pd.read_csv(FILE).itertuples() if row.K in (1, 8)}
    rows = list(shown_rows(path, datasets == ["cifar10"]))
    assert len(rows) == count
    for method, (bytes_, flops_, *columns) in rows:
        for data in datasets:
            row = kept[method, data, "epochs"]
            assert (bytes_, flops_) == ([round(row.bytes_of_bp, 2)], [round(row.flops_of_bp, 2)]), method
        accuracies = [column for column in columns if len(column) == 3]
        wanted = [kept[method, data, "epochs"] for data in datasets]
        if len(accuracies) > len(wanted):
            wanted.append(kept[method, datasets[0], "FLOPs"])
        for shown, row in zip(accuracies, wanted, strict=True):
            assert shown == pytest.approx([row.accuracy, row.low, row.high], abs=0.051), (method, row.data)
