"""The benchmark of single layers, on tiny ones."""

import json

from typer.testing import CliRunner

from benchmarks.__main__ import app


def test_every_layer_has_a_row_with_times_and_errors_of_rounding():
    asked = ["layers", "--channels", "16", "--size", "4", "--images", "4", "--repeats", "2", "--json"]
    result = json.loads(CliRunner().invoke(app, asked, catch_exceptions=False).stdout)
    assert [row["relu_and_pool"] for row in result["convs"]] == [False, True]
    assert [row["then"] for row in result["norms"]] == ["relu", "pooled"]
    for row in result["convs"] + result["norms"]:
        assert (row["size"], row["channels"]) == (4, 16)
        assert all(row[f"{way}_ms"] > 0 for way in ("channels_first", "channels_last", "compiled"))
        assert 0 < row["channels_last_error"] < 1e-5
        assert 0 < row["compiled_error"] < 1e-5


def test_sizes_that_the_kernels_lack_are_refused_by_name():
    for wrong in (["--channels", "24"], ["--size", "5"]):
        answer = CliRunner().invoke(app, ["layers", *wrong])
        assert answer.exit_code == 2
        assert f"{wrong[1]}: channels are multiples of 16, sizes of 2" in answer.output
