"""A sweep whose results are kept in another place than its sweep.toml, as those of a submitted job are."""

from typer.testing import CliRunner

from espalier import Sweep
from espalier.orchestrator.cli import app
from tests.integration.conftest import all_rows, published, smallest_config


def ran(*words):
    return CliRunner().invoke(app, ["run", "--in-process", *map(str, words)])


def test_the_results_are_those_of_a_run_in_place_and_the_recipe_lies_beside_them(smallest, tmp_path):
    folder, place = smallest_config(tmp_path / "sent"), tmp_path / "kept" / "results"
    answer = ran(folder, "--results", place)
    assert answer.exit_code == 0, answer.output
    assert f"espalier report {place}" in answer.output
    assert [path.name for path in folder.iterdir()] == ["sweep.toml"]
    assert all_rows(place) == all_rows(smallest)
    assert not Sweep(place).plan().tasks
    done = published(place)
    assert "nothing to do" in ran(folder, "--results", place).output
    assert published(place) == done


def test_a_recipe_that_asks_for_more_goes_on_there_and_another_is_refused(tmp_path):
    folder, place = smallest_config(tmp_path / "sent"), tmp_path / "kept"
    assert ran(folder, "--results", place).exit_code == 0
    smallest_config(folder, sweep__seeds=3)
    assert ran(folder, "--results", place).exit_code == 0
    assert len(Sweep(place).config.sweep.seeds) == 3
    smallest_config(folder, train__lr=0.5)
    answer = ran(folder, "--results", place)
    assert answer.exit_code == 1
    assert "train.lr" in answer.stderr
    assert len(Sweep(place).config.sweep.seeds) == 3


def test_results_may_be_kept_at_a_url(smallest, tmp_path):
    folder, place = smallest_config(tmp_path / "sent"), f"memory://{tmp_path.name}/kept"
    assert ran(folder, "--results", place).exit_code == 0
    assert all_rows(place) == all_rows(smallest)
    assert Sweep(place).config == Sweep(folder).config


def test_a_folder_without_a_recipe_is_not_read_from_the_results(tmp_path):
    place = smallest_config(tmp_path / "kept")
    (tmp_path / "sent").mkdir()
    answer = ran(tmp_path / "sent", "--results", place)
    assert answer.exit_code == 1
    assert f"{tmp_path / 'sent'}/sweep.toml does not exist" in answer.stderr


def test_images_of_a_relative_path_are_those_beside_the_recipe(tmp_path):
    folder = smallest_config(tmp_path / "sent", data__dataset='"parquet:images"')
    assert Sweep(folder, tmp_path / "kept").folder == str(folder.resolve())
