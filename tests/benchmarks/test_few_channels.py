"""The benchmark of few channels, on few nets."""

import pytest

from benchmarks.simulated.few_channels import Setup, run


def test_measures_fall_short_with_few_channels_and_what_is_corrected_does_not():
    small = Setup(channels=(8, 32), nets=6, images=120, functions=60)
    found = {row["measure"]: (row["C=8"], row["C=32"]) for row in run(small)["means"]}
    assert found["cka"][0] < found["cka"][1] < 0.8
    assert found["cka, corrected"][1] == pytest.approx(1.0, abs=0.15)
    assert found["energy"] == pytest.approx((0.0, 0.0), abs=0.05)
    assert found["match"][0] < found["match"][1]
