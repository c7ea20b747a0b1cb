"""The benchmark of measures at a tiny size: what is compared with what, and what is left out is told."""

from importlib.metadata import PackageNotFoundError

import pytest

from benchmarks import measures_cost, public_measures
from benchmarks.measures_cost import Setup, run
from benchmarks.public_measures import PUBLIC, pair_seconds
from espalier.tasks.measures.known_measures import MEASURES


def test_measures_stand_beside_grafts_and_beside_the_packages_that_are_installed(monkeypatch):
    found = public_measures.version

    def only_scipy(package):
        if package != "scipy":
            raise PackageNotFoundError(package)
        return found(package)

    monkeypatch.setattr(public_measures, "version", only_scipy)
    monkeypatch.setattr(measures_cost, "FEW", (1, 2))
    result = run(Setup(width=2, nets=2, images=40, permutations=19, repeats=1))
    (tile,) = result["tile"]
    assert (tile["values"], tile["real grafts"]) == (5 * len(MEASURES), 2 * 4)
    assert tile["grafts"] == (2 + 2 + 2 + 2 + 2) * 4  # real, self, untrained, shuffled images, permuted
    assert tile["measure_seconds"] > 0
    rows = {row["measure"]: row for row in result["public"]}
    assert rows.keys() == PUBLIC.keys()
    for name, row in rows.items():
        if PUBLIC[name].package == "scipy":
            assert row["permutations"] == "19"
            assert row["ratio"] == pytest.approx(row["public_seconds"] / row["seconds"])
        else:
            assert row["call"] == f"not installed: pip install {PUBLIC[name].package}"
            assert row["ratio"] is None
    (summary,) = result["summary"]
    assert summary["measures"] == "procrustes, match"
    assert set(result["machine"]["not_compared"]) == set(MEASURES) - set(PUBLIC)


def test_the_time_of_many_permutations_is_that_of_few_scaled():
    now = [0.0]

    def null(count):
        now[0] += 5 + 2 * count

    assert pair_seconds(null, 999, (1, 4), lambda: now[0]) == pytest.approx(5 + 2 * 999)
