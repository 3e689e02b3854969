"""Tables and pictures of a study: they say what was trained, what was published and where the two disagree."""

import pandas as pd
import pytest

from mankit.studies.papers import MARK, SECONDARY, cell, cells, trained, with_profile
from mankit.studies.report import COLUMNS, error_by_K, notes, published_by_K, read_study, tables, trained_on

PAPERS = ("CIFAR-10", "ResNet-32", "ImageNet", "ResNet-101", "SVHN", "STL-10", "ResNet-110")
BP, DGL, MAN = (f"cifar10/resnet32/{what}" for what in ("bp/K1", "dgl/K16", "dgl-man/K16"))


def runs_of(errors, profile="quick"):
    """Finished runs: errors is {a cell's name: its test error with each seed}."""
    rows = []
    for name, by_seed in errors.items():
        each, recipe = cell(name), with_profile(cell(name).recipe, profile)
        same = (name, each.method, *trained(recipe), each.K, recipe.K)
        rows += [(*same, seed, error, error, 1.0, "done", 0.1, "") for seed, error in enumerate(by_seed)]
    return pd.DataFrame(rows, columns=COLUMNS)


# --- what was trained ---


@pytest.mark.parametrize("study", ["cifar10", "svhn_stl10", "imagenet", "controls", "family"])
def test_a_quick_table_never_bears_the_names_of_what_the_papers_trained(study, tmp_path):
    runs = read_study(study, "quick", 3, tmp_path)
    ours, theirs = tables(runs).items()
    assert ours[0].startswith("Ours: ") and theirs[0].startswith("Published: ")
    assert not any(word in ours[0] + ours[1].to_string() for word in (*PAPERS, "published"))
    labels = {f"{data}, {network}, 3 seeds" for data, network in zip(runs.data, runs.network, strict=True)}
    assert set(ours[1].index.get_level_values(0)) == labels
    assert labels <= {
        f"{what}, 3 seeds" for what in ("glyphs, lab16", "digits, lab16", "digits, lab", "digits, resnet18")
    }
    rows = [each for each in cells(study, "quick") if any("error" in p.metric for p in each.published)]
    assert len(ours[1]) == len(cells(study, "quick")) and len(theirs[1]) == len(rows)
    assert set(theirs[1].index.get_level_values(0)) == {f"{each.data}, {each.network}" for each in rows}
    assert all(title.startswith("Published (") for title in published_by_K(runs))


@pytest.mark.parametrize(
    "study, profile, together",
    [
        ("cifar10", "short", True),
        ("cifar10", "paper", True),
        ("svhn_stl10", "short", True),
        ("imagenet", "paper", True),
        ("family", "paper", True),
        ("family", "short", True),
        ("imagenet", "short", False),  # 50,000 small images of it are not ImageNet
    ],
)
def test_published_numbers_stand_beside_ours_where_the_same_was_trained(study, profile, together, tmp_path):
    found = list(tables(read_study(study, profile, 1, tmp_path)).values())
    assert len(found) == (1 if together else 2)
    published = [column for column in found[-1] if column.startswith("published (")]
    assert published and ("last epoch" in found[-1]) == together
    assert ("(50,000 images at 64 pixels)" in found[0].index[0][0]) == (not together)


def test_a_table_holds_our_numbers_and_the_published_ones():
    runs = runs_of({BP: [3.0, 4.0], DGL: [38.0, 40.0]}, "short")
    (table,) = tables(runs).values()
    row = table.loc[("CIFAR-10, ResNet-32, 2 seeds", "DGL", 16)]
    assert list(row[["last epoch", "best on validation", "runs"]]) == ["39.0 (38.0 to 40.0)"] * 2 + ["2 of 2"]
    assert (row["published (MAN)"], row["published (InfoPro)"]) == ("14.08" + MARK, "16.21")
    runs.loc[runs.seed == 1, "status"] = "failed: no room"
    (table,) = tables(runs).values()
    assert table["runs"].iloc[1] == "1 of 2, failed: no room" and table["last epoch"].iloc[1] == "38.0"


def test_curves_are_of_one_network_and_say_where_they_come_from(tmp_path):
    runs = read_study("cifar10", "paper", 2, tmp_path).assign(error_last=1.0)
    parts = dict(tuple(runs.groupby("network")))
    assert sorted(parts) == ["ResNet-110", "ResNet-32"]
    for network, part in parts.items():
        numbers, errors = error_by_K(part)["Greedy"]
        assert numbers == [2, *[3] * (network == "ResNet-32"), 4, 8, 16, *[32, 55] * (network == "ResNet-110")]
        assert len(errors) == 2 and all(error == 1 for K, error in zip(numbers, errors[0], strict=True) if K != 3)
        assert trained_on(part) == f"CIFAR-10, {network}, 2 seeds"
    published = published_by_K(parts["ResNet-32"])
    infopro, man = (f"Published ({paper}): CIFAR-10, ResNet-32" for paper in ("InfoPro", "MAN, secondary summary"))
    assert set(published) == {infopro, man}
    assert published[infopro]["DGL"] == ([2, 4, 8, 16], [[8.69, 11.48, 14.17, 16.21]]) and "BP" not in published[man]


# --- where ours disagrees ---


def about(runs):
    """The summary of the notes, and the lines on single pairs."""
    summary, *lines = [line for line in notes(runs) if line != SECONDARY]
    return summary, lines


def test_notes_name_the_pairs_whose_order_is_another_than_the_papers():
    summary, lines = about(runs_of({BP: [3.6], DGL: [38.8], MAN: [42.8]}))
    assert summary.startswith("In 1 of 4 pairs") and "one seed may be chance" in summary
    (line,) = lines  # MAN's: BP < DGL + MAN < DGL; InfoPro's: BP < DGL
    assert all(
        f"{word}" in line
        for word in (
            "CIFAR-10, ResNet-32, K=16: DGL + MAN below DGL",
            "9.11",
            "14.08",
            "here, on glyphs, lab16: 42.8 and 38.8",
        )
    )
    summary, lines = about(runs_of({BP: [3.6], DGL: [42.8], MAN: [38.8]}))
    assert summary.startswith("In 0 of 4 pairs") and not lines


def test_notes_see_the_spread_over_seeds():
    summary, lines = about(runs_of({DGL: [30.0, 32.0], MAN: [31.0, 35.0]}))
    assert "in 0 of them the ranges over 2 seeds are apart" in summary
    assert "here, on glyphs, lab16: 33.0 (31.0 to 35.0) and 31.0 (30.0 to 32.0)" in lines[0]
    summary, _ = about(runs_of({DGL: [30.0, 31.0], MAN: [32.0, 35.0]}))
    assert summary.startswith("In 1 of 1 pairs") and "in 1 of them the ranges over 2 seeds are apart" in summary


def test_numbers_of_two_papers_or_of_other_K_are_not_compared():
    # DGL at K=4 is InfoPro's alone, DGL + MAN at K=16 MAN's alone
    assert notes(runs_of({"cifar10/resnet32/dgl/K4": [30.0], MAN: [20.0]})) == [SECONDARY]
    assert notes(runs_of({"cifar10/resnet32/greedy/K4": [90.0], "cifar10/resnet32/greedy/K8": [1.0]})) == []


# --- what can't be checked ---


def test_every_number_from_a_secondary_summary_is_marked_and_no_other():
    published = [p for each in cells() for p in each.published]
    assert {p.shown.endswith(MARK) for p in published if p.source.startswith(("MAN", "AugLocal"))} == {True}
    assert {p.shown.endswith(MARK) for p in published if p.source.startswith("InfoPro")} == {False}


def test_a_line_under_the_tables_explains_the_mark(tmp_path):
    for study in ("cifar10", "imagenet", "controls", "family"):
        assert notes(read_study(study, "quick", 1, tmp_path)) == [SECONDARY]
    assert notes(read_study("svhn_stl10", "quick", 1, tmp_path)) == []  # all of it is InfoPro's
