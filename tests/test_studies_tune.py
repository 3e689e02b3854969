"""lr chosen for each cell on validation images: once, kept beside the runs, and said under the table."""

import json
from pathlib import Path

import pytest
from test_studies_study import TINY, tiny_cell

from mankit.studies import read_run, report, study, train_in, tune
from mankit.studies.report import notes, read_study, tables
from mankit.studies.study import jobs_of, train_study

GRID = (0.5, 2)  # of TINY's 0.1


@pytest.fixture
def tiny_study(monkeypatch):
    """A study of one cell that trains in a second, and one that can't; trained here and not in other processes."""
    found = [tiny_cell(2), tiny_cell(2, TINY.but(data="folder:nowhere"), "broken", ())]
    trained = []

    def work_off(todo, jobs, where, tick):
        for job in todo:
            trained.append(job)
            try:
                train_in(job.folder, job.recipe)
                (job.folder / study.FAILED).unlink(missing_ok=True)
            except ValueError as error:
                study._note(job.folder, error)

    monkeypatch.setattr(study, "_work_off", work_off)
    for module in (study, report):
        monkeypatch.setattr(module, "cells", lambda *_: found)
    return found, trained


def train(out, seeds=2, grid=GRID):
    """Train the study 'controls' with lr chosen, and read it."""
    train_study("controls", seeds=seeds, out=out, tune_lr=grid)
    return read_study("controls", seeds=seeds, out=out, tune_lr=grid)


def test_the_rate_that_is_best_on_validation_images_is_trained_with_every_seed(tiny_study, tmp_path):
    _, trained = tiny_study
    runs = train(tmp_path)
    folder = tmp_path / "quick-tuned" / "tiny/DGL/K2"
    said = json.loads((folder / tune.TUNED).read_text())
    val = {
        rate: [read_run(folder / f"lr{rate}" / f"seed{seed}").summary.val_last for seed in (0, 1)]
        for rate in ("0.05", "0.2")
    }
    assert said["val_accuracy"] == val and said["seeds"] == [0, 1]
    assert said["lr"] == float(max(val, key=lambda rate: sum(val[rate])))
    assert list(runs.lr[:2]) == [said["lr"]] * 2 and list(runs.status[:2]) == ["done"] * 2
    best = [train_in(tmp_path / f"{seed}", TINY.but(seed=seed, lr=said["lr"])).test_last for seed in (0, 1)]
    assert list(100 - runs.error_last[:2]) == best
    # the grid's runs are among those that are reported: none is trained twice
    here = [job.folder for job in trained if job.cell.method == "DGL"]
    assert len(here) == len(set(here)) == 4


def test_what_was_chosen_is_not_done_again(tiny_study, tmp_path):
    found, trained = tiny_study
    train(tmp_path, seeds=1)
    del trained[:], found[1:]
    assert list(train(tmp_path, seeds=1).status) == ["done"] and trained == []
    train(tmp_path, seeds=3)
    assert [job.recipe.seed for job in trained] == [2]
    del trained[:]
    train(tmp_path, seeds=2, grid=(0.5, 2, 4))  # another grid: what is there already is used
    assert [job.recipe.lr for job in trained] == [0.4, 0.4]


def test_a_choice_that_was_cut_short_is_made_again_from_the_runs(tiny_study, tmp_path):
    found, trained = tiny_study
    del found[1:]
    before = train(tmp_path)
    file = tmp_path / "quick-tuned" / "tiny/DGL/K2" / tune.TUNED
    text = file.read_text()
    for damaged in (text[:40], "[]", '{"lr": 3}', ""):
        file.write_text(damaged)
        assert list(read_study("controls", seeds=2, out=tmp_path, tune_lr=GRID).status) == ["not run"] * 2
        del trained[:]
        assert train(tmp_path).equals(before) and trained == [] and file.read_text() == text


def test_a_rate_that_fails_is_not_chosen_and_without_any_the_reason_is_said(tiny_study, monkeypatch, tmp_path):
    found, _ = tiny_study
    found[0] = tiny_cell(2, TINY.but(lr=1.0))  # the higher one is 1e30: its loss is no number
    runs = train(tmp_path, 1, (0.1, 1e30))
    said = json.loads((tmp_path / "quick-tuned" / "tiny/DGL/K2" / tune.TUNED).read_text())
    assert said["val_accuracy"]["1e+30"] == [None, None] and runs.lr[0] == said["lr"] == 0.1
    assert runs.status[0] == "done" and "no rate of its grid" in runs.status[1] and "nowhere" in runs.status[1]
    found[1] = tiny_cell(2, TINY, "broken", ())  # mended
    assert list(train(tmp_path, 1, (0.1, 1)).status[1:]) == ["done"]


def test_the_lower_of_two_equal_rates_is_chosen_and_nothing_without_validation(tmp_path):
    tune.keep(tmp_path, TINY, {0.05: [40, 40], 0.1: [50, 70], 0.2: [60, 60], 0.4: [99, None], 0.8: [90, 20]})
    grid = [0.05, 0.1, 0.2, 0.4, 0.8]
    assert tune.chosen(tmp_path, TINY, grid) == 0.1
    assert tune.chosen(tmp_path, TINY, grid[1:]) is None
    assert tune.chosen(tmp_path, TINY.but(epochs=9), grid) is None
    with pytest.raises(ValueError, match="val_size"):
        tune.keep(tmp_path, TINY, {0.05: [None, None]})


def test_the_table_shows_rates_and_the_grid_and_only_then(tiny_study, tmp_path):
    del tiny_study[0][1:]
    runs = train(tmp_path, 1)
    (table,) = [table for table in tables(runs).values() if "last epoch" in table]
    assert list(table["lr"]) == list(runs.lr)
    (line,) = tune.note(runs)
    assert "from 0.05, 0.2" in line and "seeds 0 and 1" in line and f"tiny/DGL/K2 ({runs.lr[0]:g})" in line
    assert line in notes(runs)
    plain = read_study("controls", out=tmp_path)
    assert not any("lr" in table for table in tables(plain).values()) and tune.note(plain) == []


def test_folders_of_chosen_rates_are_their_own(tmp_path):
    plain, tuned = (jobs_of("cifar10", "quick", 2, tmp_path, None, how) for how in (False, True))
    assert not {job.folder for job in plain} & {job.folder for job in tuned}
    assert len({job.folder for job in tuned}) == len(plain)
    assert {job.grid for job in tuned} == {(0.05, 0.1, 0.2, 0.4)} and {job.grid for job in plain} == {()}
    assert jobs_of("memory", tune_lr=True) == []


@pytest.mark.parametrize("wrong", [(0,), (-1, 2), (float("nan"),), ("x",)])
def test_a_factor_must_be_a_positive_number(wrong):
    with pytest.raises(ValueError, match="factor of tune_lr=.*choose 0.001 or more"):
        jobs_of("controls", tune_lr=wrong)


def test_lr_and_tune_lr_exclude_each_other(mankit, tmp_path):
    result = mankit("reproduce", "controls", "--lr", "0.2", "--tune-lr", "-o", tmp_path / "out")
    assert result.code == 2 and "leave out one" in result.err and not (tmp_path / "out").exists()
    result = mankit("reproduce", "controls", "--tune-lr", "--lr-grid", "1;2", "-o", tmp_path / "out")
    assert result.code == 2 and "--lr-grid 1;2" in result.err and not (tmp_path / "out").exists()


def test_the_command_and_its_notebook_show_the_rates(mankit, monkeypatch, tmp_path):
    monkeypatch.setattr(study, "train_study", lambda *_, **__: None)
    grid = (1.0, 2.0)
    cell = next(each for each in study.cells("controls", "quick") if each.method == "DGL")
    (folder := tmp_path / "quick-tuned" / cell.name).mkdir(parents=True)
    tune.keep(folder, cell.recipe, {0.1: [50.0, 60.0], 0.2: [70.0, 70.0]})
    job = next(job for job in jobs_of("controls", "quick", 1, tmp_path, None, grid) if job.cell == cell)
    train_in(tmp_path / "tiny", TINY)  # a finished run, in the place where it is looked for
    job.folder.mkdir(parents=True)
    (job.folder / "summary.json").write_bytes((tmp_path / "tiny" / "summary.json").read_bytes())
    (job.folder / "recipe.json").write_text(job.recipe.to_json())
    result = mankit("reproduce", "controls", "--tune-lr", "--lr-grid", "1,2", "-o", tmp_path)
    assert result.code == 1 and "not run" in result.err  # but for one, nothing was trained
    html = Path(result.out.strip().splitlines()[-1]).read_text()
    assert "from 0.1, 0.2; at an end of it" in html and f"{cell.name} (0.2)" in html
    assert "--tune-lr --lr-grid 1,2" in html and "1 of 1" in html
