"""data/published.csv says what the papers say, and every cell of their tables is a recipe that can be trained."""

import csv
from collections import Counter
from itertools import pairwise
from pathlib import Path

import pytest
import torch

from mankit.images import Augment, Data, Split
from mankit.rules import options_of
from mankit.studies import LAB, Recipe, Run
from mankit.studies.papers import PROFILES, STUDIES, cell, cells, with_profile

FILE = Path(__file__).parents[1] / "data" / "published.csv"
ROWS = list(csv.DictReader(FILE.read_text(encoding="utf-8").splitlines()))
COLUMNS = ["method", "network", "data", "K", "metric", "value", "unit", "source", "note"]
UNITS = {"test error": "%", "top-1 error": "%", "top-5 error": "%", "GPU memory": "GB", "extra wall time": "%"}
LAYERS = {"ResNet-32": 16, "ResNet-110": 55, "ResNet-101": 34, "ResNet-152": 51}  # stem + residual units


def values(**where) -> list[float]:
    return [float(row["value"]) for row in ROWS if all(row[k].startswith(str(v)) for k, v in where.items())]


def test_every_row_is_complete():
    assert list(ROWS[0]) == COLUMNS
    assert all(row[c] for row in ROWS for c in COLUMNS if c != "note")
    assert all(None not in row for row in ROWS)  # DictReader's key for cells too many
    assert all(row["unit"] == UNITS[row["metric"]] for row in ROWS)
    assert {row["data"] for row in ROWS} == {"CIFAR-10", "SVHN", "STL-10", "ImageNet"}


def test_no_number_is_given_twice():
    key = ("method", "network", "data", "K", "metric", "source")
    keys = Counter(tuple(row[c] for c in key) for row in ROWS)
    assert [key for key, times in keys.items() if times > 1] == []


def test_numbers_are_possible():
    for row in ROWS:
        assert 0 < float(row["value"]) < 100, row
        assert 1 <= int(row["K"]) <= LAYERS[row["network"]], row
        assert (row["method"].startswith("BP")) == (row["K"] == "1"), row


def test_top1_errors_are_above_top5():
    for network in ("ResNet-101", "ResNet-152"):
        for method in ("BP", "InfoPro", "InfoPro + MAN"):
            where = [r for r in ROWS if (r["network"], r["method"]) == (network, method)]
            by_metric = {r["metric"]: float(r["value"]) for r in where}
            assert by_metric["top-1 error"] > by_metric["top-5 error"]


def test_more_blocks_do_not_lower_the_error():
    groups = {}
    for row in ROWS:
        if row["metric"] == "test error":
            key = (row["method"], row["network"], row["data"], row["source"])
            groups.setdefault(key, []).append((int(row["K"]), float(row["value"])))
    assert len(groups) > 20
    for key, points in groups.items():
        errors = [error for _, error in sorted(points)]
        assert errors == sorted(errors), key


@pytest.mark.parametrize(
    "value, where",
    [
        (6.37, dict(method="BP", network="ResNet-32", data="CIFAR-10", source="MAN")),
        (7.37, dict(method="BP", network="ResNet-32", data="CIFAR-10", source="InfoPro")),
        (5.42, dict(method="BP", network="ResNet-110", data="CIFAR-10", source="MAN", metric="test error")),
        (6.50, dict(method="BP", network="ResNet-110", data="CIFAR-10", source="InfoPro", metric="test error")),
        (9.11, dict(method="DGL + MAN", network="ResNet-32", K=16, note="also the ablation")),
        (11.07, dict(method="DGL + MAN (EMA only)")),
        (9.73, dict(method="DGL + MAN", network="ResNet-110", K=55)),
        (9.06, dict(method="InfoPro + MAN", network="ResNet-110", K=32)),
        (24.59, dict(method="Greedy", network="ResNet-32", K=16)),
        (3.15, dict(method="InfoPro (SupCon)", data="SVHN", K=2)),
        (26.05, dict(method="InfoPro (CE)", data="STL-10", K=16)),
        (20.78, dict(method="InfoPro + MAN", network="ResNet-152", metric="top-1")),
        (10.37, dict(method="InfoPro", network="ResNet-101", metric="GPU", note="taken")),
        (3.91, dict(method="BP + gradient checkpointing", metric="GPU")),
        (13.4, dict(method="InfoPro*", metric="extra", K=4)),
    ],
)
def test_spot_values(value, where):
    assert values(**where) == [value]


def test_every_table_is_whole():
    assert len(values(source="MAN", data="CIFAR-10")) == 2 + 4 * 4 + 1  # BP, table, ablation
    assert len(values(source="MAN", data="ImageNet")) == 2 * 3 * 3
    assert len(values(source="InfoPro (ICLR 2021), figures")) == 4 * (1 + 4 * 4)
    assert len(values(source="InfoPro (ICLR 2021), memory")) == 3 + 3 * 2
    assert len(values(source="AugLocal (ICLR 2024), secondary summary")) == 4 + 2


def test_what_was_not_found_is_not_invented():
    assert values(source="MAN", data="SVHN") == values(source="MAN", data="STL-10") == []
    assert not any("MAN++" in row["method"] + row["source"] for row in ROWS)


# --- every cell is a recipe ---

SMALL_NETS = ("ResNet-32", "ResNet-110")


def tiny_data(recipe):
    """Two random images of the recipe's size, and its number of classes."""
    size = recipe.data_options.get("size") or {"cifar10": 32, "svhn": 32, "stl10": 96}.get(recipe.data, 16)
    images = torch.randint(256, (2, 3, size, size), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    split = Split(images, torch.arange(2))
    classes = tuple(map(str, range(1000 if recipe.data == "folder:imagenet" else 10)))
    return Data("tiny", split, split, split, classes, (0.5,) * 3, (0.3,) * 3, Augment(1))


def prepared(recipe):
    return Run(recipe.but(batch=2, epochs=1), tiny_data(recipe))


def test_names_are_unique_and_find_their_cell():
    names = [each.name for each in cells()]
    assert len(names) == len(set(names)) == 179
    assert all(cell(each.name) == each for each in cells())
    assert sorted({each.study for each in cells()}) == sorted(STUDIES)
    assert sum(len(cells(study)) for study in STUDIES) == 179


def test_every_published_number_stands_in_a_cell():
    shown = {(row.value, row.metric, row.source) for each in cells() for row in each.published}
    assert shown == {(float(row["value"]), row["metric"], row["source"]) for row in ROWS}


@pytest.mark.parametrize(
    "name, numbers",
    [
        ("cifar10/resnet32/bp/K1", [6.37, 7.37]),
        ("cifar10/resnet32/dgl/K16", [14.08, 16.21]),
        ("cifar10/resnet32/infopro/K8", [11.51, 11.40]),
        ("cifar10/resnet32/infopro-supcon/K2", [7.76]),
        ("cifar10/resnet110/infopro-man/K55", [9.77]),
        ("cifar10/resnet110/bp/K1", [5.42, 6.50, 5.39]),
        ("svhn/resnet110/greedy/K8", [5.75]),
        ("svhn/resnet110/dgl-man/K8", []),
        ("stl10/resnet110/infopro/K16", [26.05]),
        ("imagenet/resnet152/infopro-man/K4", [20.78, 5.56, 13.61]),
        ("imagenet/resnext101/infopro/K2", []),
        ("memory/resnet110/bp/K1", [9.40]),
        ("memory/resnet110/bp-checkpointing/K1", [3.91, 27.5]),
        ("memory/resnet110/infopro-star/K3", [4.22, 7.5]),
        ("controls/resnet32/none/K16", [14.08]),
        ("controls/resnet32/ema-only/K16", [11.07]),
        ("controls/resnet32/bias-only/K16", []),
        ("controls/resnet32/both/K16", [9.11]),
        ("family/resnet110/auglocal-d6/K55", [6.04]),
        ("family/resnet110/predsim/K55", [25.05]),
        ("family/resnet110/infopro/K55", [13.22, 13.05]),
        ("family/resnet110/dgl-manpp/K55", []),
        ("family/resnet101/bp/K1", [22.66]),
        ("family/resnet101/auglocal-d4/K34", [23.30]),
    ],
)
def test_published_numbers_of_a_cell(name, numbers):
    assert [row.value for row in cell(name).published] == numbers


@pytest.mark.parametrize(
    "name, at",
    [  # METHOD: stage and unit of each block's last unit, counted by hand
        ("cifar10/resnet32/dgl/K2", (8,)),  # stem, 5 units, and 2 of the second stage
        ("cifar10/resnet32/dgl/K4", (4, 8, 12)),
        ("cifar10/resnet32/dgl/K8", (2, 4, 6, 8, 10, 12, 14)),
        ("cifar10/resnet32/dgl-man/K16", tuple(range(2, 16))),
        ("cifar10/resnet110/dgl/K55", tuple(range(2, 55))),
        ("memory/resnet110/infopro-star/K2", (16,)),
        ("memory/resnet110/infopro-star/K3", (11, 22)),
        ("memory/resnet110/infopro-star/K4", (8, 16, 28)),
        ("family/resnet110/predsim/K55", tuple(range(1, 55))),  # the stem is a block too
        ("family/resnet110/dgl-manpp/K55", tuple(range(1, 55))),
        ("family/resnet32/auglocal-d2/K16", tuple(range(1, 14))),  # the last d + 1 layers are one block
        ("family/resnet110/auglocal-d6/K55", tuple(range(1, 49))),
    ],
)
def test_published_splits(name, at):
    recipe = cell(name).recipe
    assert recipe.at == at and recipe.K == len(at) + 1
    assert [len(block) for block in prepared(recipe).net.blocks] == [
        b - a for a, b in pairwise([0, *at, LAYERS[cell(name).network]])
    ]


def test_recipes_are_as_published():
    r = cell("cifar10/resnet110/infopro-man/K32").recipe
    assert (r.epochs, r.batch, r.lr, r.warmup, r.momentum, r.weight_decay) == (400, 1024, 0.8, 10, 0.9, 1e-4)
    assert r.augment and not r.per_step and r.data == "cifar10" and r.network == "cifar_resnet110" and r.K == 32
    assert r.options["decay"] == 0.995 and r.options["lam_x"] == (5.0, 0.5) and r.options["lam_y"] == (0.5, 1.0)
    stl, imagenet = cell("stl10/resnet110/dgl/K2").recipe, cell("imagenet/resnext101/dgl/K2").recipe
    assert (stl.batch, stl.lr) == (128, 0.1)
    assert (imagenet.epochs, imagenet.batch, imagenet.lr, imagenet.network) == (90, 128, 0.05, "resnext101_32x8d")
    controls = {each.name.split("/")[2]: each.recipe.options for each in cells("controls")}
    assert controls["frozen"]["decay"] == 1 and controls["copy"]["decay"] == 0
    assert [controls[f"{branch}-only"]["branches"] for branch in ("ema", "bias")] == ["ema", "bias"]
    assert {options["head"] for name, options in controls.items() if name != "bp"} == {"2c2f"}  # nothing else differs


def test_every_recipe_survives_json():
    for profile in PROFILES:
        for each in cells(profile=profile):
            assert Recipe.from_json(each.recipe.to_json()) == each.recipe


@pytest.mark.parametrize("study", ["cifar10", "svhn_stl10", "memory", "controls", "family"])
def test_every_recipe_can_be_prepared(study):
    for each in cells(study):
        if each.data == "ImageNet":
            continue  # see below
        assert prepared(each.recipe).net.K == each.recipe.K, each.name


def large_cells():
    for each in cells("imagenet"):
        often = each.network == "ResNet-101" and each.name.split("/")[2] in ("bp", "dgl", "infopro-man") and each.K != 2
        marks = [] if often else [pytest.mark.slow]  # ten seconds each
        yield pytest.param(each.name, marks=marks)


@pytest.mark.parametrize("name", list(large_cells()))
def test_imagenet_networks_make_a_step_on_224_pixels(name):
    run = prepared(cell(name).recipe)
    (step,) = run
    assert step.losses.shape == (run.net.K,) == (cell(name).K,) and step.losses.isfinite().all()
    assert run.data.train.images.shape[2:] == (224, 224)
    assert all(parameter.isfinite().all() for parameter in run.net.parameters())


@pytest.mark.slow
def test_auglocal_makes_a_step_with_bottleneck_heads():
    recipe = cell("family/resnet101/auglocal-d4/K34").recipe
    run = prepared(recipe.but(data_options={"size": 64}))  # at 224 it needs many GB
    (step,) = run
    assert step.losses.shape == (run.net.K,) == (30,) and step.losses.isfinite().all()
    assert {len([m for m in head.body if type(m).__name__ == "Bottleneck"]) for head in run.net.heads[:-1]} == {4}


# --- profiles ---


@pytest.mark.parametrize("profile", ["quick", "short"])
@pytest.mark.parametrize("study", STUDIES)
def test_a_profile_keeps_every_method(study, profile):
    small, whole = cells(study, profile), cells(study)
    kept, all_of_it = ({each.method.partition(" (d =")[0] for each in these} for these in (small, whole))
    assert kept == all_of_it  # of AugLocal's depths one is enough
    assert {each.name for each in small} <= {each.name for each in whole}
    heads = {each.recipe.options["head"] for each in small if "head" in options_of(each.recipe.rule)}
    assert heads <= {"1c2f"} and (heads or study == "memory")  # rules that have a choice get the same head


def test_short_has_the_cells_that_a_gpu_is_asked_for():
    names = {each.name for each in [*cells("cifar10", "short"), *cells("controls", "short")]}
    for method in ("dgl", "infopro", "dgl-man"):
        assert {f"cifar10/resnet32/{method}/K{K}" for K in (8, 16)} <= names
    assert {"cifar10/resnet32/bp/K1", "controls/resnet32/bias-only/K16"} <= names
    recipe = cell("cifar10/resnet32/dgl/K16").recipe
    short = with_profile(recipe, "short")
    assert (short.data, short.network, short.at) == (recipe.data, recipe.network, recipe.at)
    assert short.bf16 and short.per_step and short.epochs == 20


@pytest.mark.parametrize("study", STUDIES)
def test_every_quick_recipe_can_be_prepared(study):
    names = {each.name for each in cells(study, "quick")}
    for each in cells(study):
        recipe = cell(each.name, "quick").recipe
        assert recipe.data in ("glyphs", "digits")
        assert recipe.K == min(each.recipe.K, {"lab16": 16, "lab": 9, "resnet18": 9}[recipe.network])
        if each.name in names:
            assert prepared(recipe).net.K == recipe.K


def test_every_rule_of_the_family_makes_a_step_of_its_quick_recipe():
    for each in cells("family", "quick"):
        assert cell(each.name, "quick") == each and each.recipe.data_options == {"size": 8}
        (step,) = prepared(each.recipe)
        assert step.losses.isfinite().all(), each.name


def test_quick_splits_are_those_of_resnet32():
    recipe = with_profile(cell("controls/resnet32/twin/K16").recipe, "quick")
    assert [len(block) for block in prepared(recipe).net.blocks] == [2] + [1] * 14


def test_learning_rate_of_a_profile_can_be_varied():
    assert {each.recipe.lr for each in cells("cifar10", "quick")} == {0.1}
    assert {each.recipe.lr for each in cells("cifar10", "quick", lr=0.4)} == {0.4}
    assert with_profile(LAB["DGL"], "paper", lr=0.4) == LAB["DGL"].but(lr=0.4)


@pytest.mark.parametrize(
    "call, message",
    [
        (lambda: cells("cifar"), "study='cifar': did you mean 'cifar10'"),
        (lambda: cells("cifar10", "quik"), "profile='quik': did you mean 'quick'"),
        (lambda: cell("cifar10/resnet32/dgl/K15"), "recipe='cifar10/resnet32/dgl/K15': did you mean .*/dgl/K16"),
        (lambda: cell("zzz"), "recipe='zzz': `mankit recipes` lists them"),
        (lambda: with_profile(LAB["DGL"], "fast"), "profile='fast'.*quick, short, paper"),
        (lambda: with_profile(LAB["DGL"], "quick"), "profile 'quick' is not for data='glyphs': choose from cifar10"),
    ],
)
def test_unknown_names_are_answered(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def test_every_study_says_what_to_expect():
    for name, study in STUDIES.items():
        for words in (f"Command: mankit reproduce {name}", "Time: ", "Expected: ", "Departures: "):
            assert words in study.__doc__, (name, words)
