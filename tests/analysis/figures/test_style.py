"""How nulls look: those we know as ever, any other by its name, in a colour and with a marker of its own."""

from espalier.analysis.figures.style import NULL_STYLE, null_styles
from espalier.tasks.spec import POOL_NULLS


def test_known_nulls_keep_their_style_and_order_and_pools_have_a_figure_of_their_own():
    there = ["permuted", "none", *POOL_NULLS, "self", "none"]
    assert null_styles(there) == {null: NULL_STYLE[null] for null in ("none", "self", "permuted")}
    assert list(null_styles(there)) == ["none", "self", "permuted"]


def test_other_nulls_come_last_and_look_like_no_other():
    styles = null_styles([*NULL_STYLE, "white_noise", "mirrored"])
    assert list(styles) == [*NULL_STYLE, "mirrored", "white_noise"]
    assert styles["white_noise"][0] == "white noise"
    for part in (0, 1, 2):
        assert len({style[part] for style in styles.values()}) == len(styles)
