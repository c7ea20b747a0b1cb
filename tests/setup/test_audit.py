"""`make audit` believes a database where it answers, and the list with its date where none does."""

import importlib.util
import json
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[2] / ".ci" / "audit.py"

LISTED = {
    "date": "2026-01-02",
    "packages": {"ray": ["2.60.0"], "torch": ["2.13.0"], "old": ["1.0"]},
    "mended_in": {"old": {"CVE-1": "1.1"}},
    "accepted": {"pip": "installs uv", "CVE-2": "never called"},
}
SKIPPED = {"name": "ray", "skip_reason": "Dependency not found on PyPI and could not be audited"}


def load():
    spec = importlib.util.spec_from_file_location("audit", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


audit = load()


def found(name, *ids, **more):
    vulnerabilities = [{"id": each, "fix_versions": ["9"], "aliases": [], **more} for each in ids]
    return {"dependencies": [{"name": name, "version": "1", "vulns": vulnerabilities}]}


def test_what_a_database_tells_is_a_problem_unless_it_is_accepted_by_any_of_its_names():
    versions = {"torch": "2.13.0"}
    _, problems = audit.judge(versions, LISTED, {"osv": found("torch", "CVE-9"), "pypi": None})
    assert problems == ["torch 2.13.0: CVE-9, mended in 9"]
    assert not audit.judge(versions, LISTED, {"osv": found("torch", "CVE-2")})[1]
    assert not audit.judge(versions, LISTED, {"osv": found("torch", "PYSEC-9", aliases=["CVE-2"])})[1]
    words, problems = audit.judge(versions, LISTED, {"osv": found("torch")})
    assert not problems
    assert words == "1 packages were looked up by pip-audit (osv)"


@pytest.mark.parametrize("report", [None, {"dependencies": [SKIPPED]}, {"dependencies": []}])
def test_a_package_that_no_database_tells_of_is_compared_with_the_list(report):
    reports = {"osv": None, "pypi": report}
    words, problems = audit.judge({"ray": "2.60.0", "pip": "1"}, LISTED, reports)
    assert not problems
    assert "0 packages were looked up" in words
    assert "compared with the list of 2026-01-02" in words
    assert audit.judge({"ray": "2.61.0"}, LISTED, reports)[1] == [
        "ray 2.61.0 was not looked at (the list has 2.60.0)"
    ]
    assert audit.judge({"new": "1.0"}, LISTED, reports)[1] == [
        "new 1.0 was not looked at (the package is not on the list)"
    ]
    assert audit.judge({"old": "1.0"}, LISTED, reports)[1] == ["old 1.0: CVE-1, mended in 1.1"]


def test_the_list_is_recorded_with_what_is_pinned_and_installed(monkeypatch, tmp_path):
    pins = tmp_path / "constraints.txt"
    numpy = "numpy==2.4 ; python_version < '3.12'\nnumpy==2.5 ; python_version >= '3.12'\n"
    pins.write_text(f"Ray==2.60.0\n{numpy}")
    monkeypatch.setattr(audit, "PINS", pins)
    made = audit.record(LISTED, {"ray": "2.61.0", "pip": "24"})
    assert made["packages"] == {"numpy": ["2.4", "2.5"], "ray": ["2.60.0", "2.61.0"]}
    assert {name: made[name] for name in ("mended_in", "accepted")} == {
        name: LISTED[name] for name in ("mended_in", "accepted")
    }


def test_the_list_here_has_a_date_and_says_what_was_looked_at():
    listed = json.loads(audit.LIST.read_text())
    assert listed["date"] > "2026-11"
    assert listed["looked_at"]
    assert all(listed["accepted"].values())
    assert not audit.unlisted({name: max(seen) for name, seen in listed["packages"].items()}, listed)
