"""A kind of work that nobody knew: two files and one line, and it is planned, run, resumed and told."""

import re
import shutil

import pytest
from typer.testing import CliRunner

from espalier import Sweep, load
from espalier.analysis.report.html_page import make_report
from espalier.analysis.report_cli import app
from espalier.orchestrator.config.sweep_config import ConfigError
from espalier.orchestrator.planning.kinds import registry
from espalier.orchestrator.planning.plan import without
from espalier.orchestrator.planning.rates import rates
from espalier.orchestrator.planning.simulate import makespan
from espalier.orchestrator.running.pool_makers import in_process
from espalier.tasks.jobs.worker_inputs import Results
from espalier.tasks.tables import schemas
from tests.integration.conftest import all_rows, run
from tests.orchestrator.toy_kind import count_job
from tests.orchestrator.toy_kind.parameter_counts import PARAMETER_COUNTS


@pytest.fixture
def seventh():
    """The one line, taken back after the test."""
    registry.KINDS.append(PARAMETER_COUNTS)
    registry.know_tables()
    yield
    registry.KINDS.remove(PARAMETER_COUNTS)
    for table in PARAMETER_COUNTS.own_tables:
        for known in (schemas.SCHEMAS, schemas.ROW_PER, schemas.ROW_IDENTITY):
            del known[table.name]


@pytest.fixture
def asked(seventh, finished):
    """A finished sweep whose config names the measure now."""
    config = finished / "sweep.toml"
    config.write_text(config.read_text().replace("[sweep]", '[sweep]\nmeasures = ["count_parameters"]'))
    return finished


def test_a_measure_that_is_not_asked_for_makes_no_work(seventh, finished):
    plan = Sweep(finished).plan()
    assert plan.tasks == ()
    assert "count_parameters" not in plan.total


def test_a_measure_that_is_not_registered_is_refused_by_name(asked):
    config = asked / "sweep.toml"
    config.write_text(config.read_text().replace("count_parameters", "count_layers"))
    with pytest.raises(ConfigError, match=r"sweep.measures: found \['count_layers'\], but .*count_par"):
        Sweep(asked).plan()


def test_a_seventh_kind_is_planned_run_shown_loaded_and_reported(asked, capsys):
    before = all_rows(asked)
    plan = Sweep(asked).plan()
    assert plan.total["count_parameters"] == 4  # 2 widths x 2 seeds
    assert plan.done["count_parameters"] == 0
    assert {task.job.kind for task in plan.tasks} == {"count_parameters"}
    speed = rates(Sweep(asked).store.read_table("jobs"), 1e9)
    assert makespan(plan, set(Sweep(asked).store.blobs()), 2, speed) > 0

    assert Sweep(asked).run(pool=in_process).outcome.done == {"count_parameters": 4}
    assert "count_parameters 4/4 counts" in capsys.readouterr().out
    tables = load(asked)
    assert sorted(tables.parameter_counts["parameters"]) == sorted(
        tables.nets.loc[tables.nets["epoch"] == 2, "parameters"]
    )
    assert (tables.jobs["kind"] == "count_parameters").sum() == 4
    assert all_rows(asked) == before
    page = make_report(asked, bootstraps=50).path.read_text()
    assert "4 parameter_counts" in page
    status = CliRunner().invoke(app, ["status", str(asked)])
    assert "counts" in status.output
    assert "Nothing is missing." in status.output


def test_a_seventh_kind_is_resumed_where_it_was_and_reads_checkpoints_that_are_made_again(asked):
    assert run(asked).complete
    shutil.rmtree(asked / "checkpoints")
    assert Sweep(asked).run(pool=in_process).outcome.done == {}
    parts = sorted((asked / "tables" / "parameter_counts").glob("*.parquet"))
    parts[0].unlink()
    plan = Sweep(asked).plan()
    counts = [task for task in plan.tasks if task.job.kind == "count_parameters"]
    assert len(counts) == 1
    assert without(counts[0], set(counts[0].job.inputs), Sweep(asked).facts) is None
    assert plan.tasks[0].job.kind == "train"  # its checkpoint is gone
    assert run(asked).complete
    assert len(load(asked).parameter_counts) == 4


ROW = {"key": "of something else", "parameters": 1}


@pytest.mark.parametrize(
    ("tables", "refusal"),
    [
        ({}, "a job of 'count_parameters' must give rows of table 'parameter_counts'"),
        ({"parameter_counts": []}, "must give rows of table 'parameter_counts' with its key .*, found none"),
        ({"parameter_counts": [ROW]}, "with its key .*, found of something else"),
        ({"parameter_count": [ROW]}, "no kind of work has a table 'parameter_count'; tables are: .*, param"),
    ],
    ids=["no table", "no row", "another key", "another table"],
)
def test_a_job_that_does_not_answer_what_was_asked_has_failed(asked, monkeypatch, tables, refusal):
    monkeypatch.setattr(count_job, "count_parameters", lambda asked, inputs: Results(tables))
    summary = run(asked)
    assert not summary.complete
    assert len(summary.outcome.failures) == 4
    assert re.search(refusal, summary.outcome.failures[0])
    assert not (asked / "tables" / "parameter_counts").exists()
