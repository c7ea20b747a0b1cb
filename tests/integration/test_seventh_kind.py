"""A kind of work that nobody knew: two files and one line, and it is planned, run, resumed and told."""

import shutil

import pytest
from typer.testing import CliRunner

from espalier import Sweep, load
from espalier.analysis.report.html_page import make_report
from espalier.analysis.report_cli import app
from espalier.orchestrator.planning.kinds import registry
from espalier.orchestrator.planning.plan import without
from espalier.orchestrator.planning.simulate import makespan, rates
from espalier.orchestrator.running.pool_makers import in_process
from espalier.tasks.tables import schemas
from tests.integration.conftest import all_rows, run
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


def test_a_seventh_kind_is_planned_run_shown_loaded_and_reported(seventh, finished, capsys):
    before = all_rows(finished)
    plan = Sweep(finished).plan()
    assert plan.total["count_parameters"] == 4  # 2 widths x 2 seeds
    assert plan.done["count_parameters"] == 0
    assert {task.job.kind for task in plan.tasks} == {"count_parameters"}
    speed = rates(Sweep(finished).store.read_table("jobs"), 1e9)
    assert makespan(plan, set(Sweep(finished).store.blobs()), 2, speed) > 0

    assert Sweep(finished).run(pool=in_process).outcome.done == {"count_parameters": 4}
    assert "count_parameters 4/4 counts" in capsys.readouterr().out
    tables = load(finished)
    assert sorted(tables.parameter_counts["parameters"]) == sorted(
        tables.nets.loc[tables.nets["epoch"] == 2, "parameters"]
    )
    assert (tables.jobs["kind"] == "count_parameters").sum() == 4
    assert all_rows(finished) == before
    page = make_report(finished, bootstraps=50).path.read_text()
    assert "4 parameter_counts" in page
    status = CliRunner().invoke(app, ["status", str(finished)])
    assert "counts" in status.output
    assert "Nothing is missing." in status.output


def test_a_seventh_kind_is_resumed_where_it_was_and_reads_checkpoints_that_are_made_again(seventh, finished):
    assert run(finished).complete
    shutil.rmtree(finished / "checkpoints")
    assert Sweep(finished).run(pool=in_process).outcome.done == {}
    parts = sorted((finished / "tables" / "parameter_counts").glob("*.parquet"))
    parts[0].unlink()
    plan = Sweep(finished).plan()
    counts = [task for task in plan.tasks if task.job.kind == "count_parameters"]
    assert len(counts) == 1
    assert without(counts[0], set(counts[0].job.inputs), Sweep(finished).facts) is None
    assert plan.tasks[0].job.kind == "train"  # its checkpoint is gone
    assert run(finished).complete
    assert len(load(finished).parameter_counts) == 4
