"""A config that asks for too much, or is no config in any way, is refused at once, in a few lines."""

import math
import time

import pytest

from espalier.orchestrator.config.size_limits import MOST_NETS, MOST_PAIRS, MOST_SETTINGS
from espalier.orchestrator.config.sweep_config import ConfigError, SweepConfig

HUGE = [math.inf, -math.inf, math.nan, 10**18, -(10**400), 10**5000, [10**30], [math.inf], [[1]]]
ODD = [{"a": 1}, {}, [], [{}], "x", "", True, [True], ["\x00"], [1e308] * 3, {"train.lr": [math.inf]}, None]
FIELDS = [
    (section, name)
    for section, field in SweepConfig.model_fields.items()
    for name in field.annotation.model_fields
]


def refusal(values):
    start = time.monotonic()
    with pytest.raises(ConfigError) as caught:
        SweepConfig.parse(values)
    assert time.monotonic() - start < 10
    return str(caught.value)


@pytest.mark.parametrize(("section", "name"), FIELDS, ids=".".join)
def test_whatever_a_field_holds_is_taken_or_refused_in_a_few_short_lines(section, name):
    for value in (*HUGE, *ODD):
        told = ""
        try:
            SweepConfig.parse({section: {name: value}})
        except ConfigError as error:
            told = str(error)
        assert len(told) < 3000
        assert len(told.splitlines()) <= 12


@pytest.mark.parametrize("count", [10_001, 10**7, 10**9, 10**30], ids=str)
def test_more_seeds_than_anyone_wants_are_refused_with_their_number(count):
    told = f"{count:,}" if count < 10**15 else "more than 1,000,000,000,000,000"
    assert f"sweep.seeds: {told} seeds are asked for; at most 10,000 would do" in refusal(
        {"sweep": {"seeds": count}}
    )


def test_more_settings_nets_or_pairs_than_can_be_planned_are_refused_with_their_number():
    many = [float(n) for n in range(1, 200)]
    cross = {"train.lr": many, "train.reg_weight": many, "train.gamma": many}
    text = refusal({"sweep": {"cross": cross}})
    assert f"make {199**3:,} settings; at most {MOST_SETTINGS:,}" in text
    text = refusal({"sweep": {"widths": list(range(1, 102)), "seeds": 1000}})
    assert (
        f"make 101,000 nets, and 6 snapshots with 24 nulls of them about {101_000 * 1000 * 30:,} pairs"
        in text
    )
    assert f"{MOST_NETS:,} nets and {MOST_PAIRS:,} pairs" in text
    SweepConfig.parse({"sweep": {"widths": [4, 8, 16, 32], "seeds": 200}})


def test_nulls_at_few_snapshots_count_there_alone():
    sweep = {"sweep": {"widths": [4, 8, 16, 32], "seeds": 500}}  # of 6 snapshots and 4 nulls
    assert f"about {4 * 500**2 * 30:,} pairs" in refusal(sweep)
    SweepConfig.parse(sweep | {"graft": {"null_epochs": [20]}})


def test_few_partners_let_a_sweep_have_more_seeds():
    many = {"widths": [2], "seeds": 5000}
    assert "few partners (graft.partners)" in refusal({"sweep": many})
    SweepConfig.parse({"sweep": many, "graft": {"partners": 2}})
    text = refusal({"sweep": {"widths": [2], "seeds": 10_000}, "graft": {"partners": 40}})
    assert f"about {10_000 * 41 * 30:,} pairs" in text


def test_ten_faults_are_shown_and_the_others_counted():
    lines = refusal({"train": {f"no{n}": 1 for n in range(50_000)}}).splitlines()
    assert len(lines) == 12
    assert lines[-1] == "  and 49,990 more"


@pytest.mark.parametrize(
    "text", ["[sweep]\nseeds = " + "9" * 5000, "a = " + "[" * 20_000], ids=["digits", "deep"]
)
def test_toml_that_python_cannot_hold_is_no_valid_toml(text):
    with pytest.raises(ConfigError, match="is not valid TOML"):
        SweepConfig.parse_toml(text.encode(), "sweep.toml")
