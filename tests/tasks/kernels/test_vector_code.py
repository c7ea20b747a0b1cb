"""Kernels do what their operators say, in vectors of every length."""

import numpy as np
import pytest
import torch

from espalier.tasks.kernels.vector_code import Code

LANES = pytest.mark.parametrize("lanes", [4, 8, 16])


def made(build, pointers, sizes, lanes):
    code = Code(pointers, sizes, lanes)
    build(code, *code.arguments)
    return code.compile()


@LANES
def test_arithmetic_is_that_of_numpy(lanes):
    def build(code, a, b, out, count):
        with code.loop(count) as i:
            one, other = (code.load(part + i * code.lanes) for part in (a, b))
            code.store(out + i * code.lanes, (one + other) * 0.5 - other * other)

    generator = torch.Generator().manual_seed(lanes)
    a, b = (torch.randn(3 * lanes, generator=generator) for _ in range(2))
    out = torch.empty(3 * lanes)
    made(build, 3, 1, lanes)(a, b, out, 3)
    x, y = a.numpy().astype(np.float64), b.numpy().astype(np.float64)
    # Three operations on numbers up to 20, each rounded to 6e-8 of them.
    np.testing.assert_allclose(out.numpy(), (x + y) * 0.5 - y * y, rtol=0, atol=4e-6)


@LANES
def test_sums_in_nested_loops_start_at_zero_each_time(lanes):
    def build(code, a, out, rows, columns):
        with code.loop(rows) as row:
            total = code.total()
            with code.loop(columns) as column:
                total.add(code.load(a + (row * columns + column) * code.lanes))
            code.store(out + row * code.lanes, total.value)

    a = torch.arange(3 * 5 * lanes).float().view(3, 5, lanes)
    out = torch.empty(3, lanes)
    made(build, 2, 2, lanes)(a, out, 3, 5)
    assert torch.equal(out, a.sum(1))


def test_comparisons_choose_and_nan_is_the_largest():
    def build(code, a, b, largest, which, positive, count):
        with code.loop(count) as i:
            at = i * code.lanes
            best, index = code.largest([code.load(a + at), code.load(b + at)])
            code.store(largest + at, best)
            code.store(which + at, index)
            chosen = best.exceeds(0.0).choose(code.number(1.0), code.number(-1.0))
            code.store(positive + at, index.equals(1.0).choose(chosen, code.number(7.0)))

    nan = float("nan")
    a = torch.tensor([1.0, 2.0, 2.0, nan, -1.0, nan, 0.0, -3.0])
    b = torch.tensor([2.0, 1.0, 2.0, 5.0, nan, nan, 1.0, -2.0])
    found = [torch.empty(8) for _ in range(3)]
    made(build, 5, 1, 8)(a, b, *found, 1)
    largest, which, positive = (value.tolist() for value in found)
    assert [value for value in largest if value == value] == [2.0, 2.0, 2.0, 1.0, -2.0]
    assert [value != value for value in largest] == [False, False, False, True, True, True, False, False]
    assert which == [1.0, 0.0, 0.0, 0.0, 1.0, 1.0, 1.0, 1.0]
    assert positive == [1.0, 7.0, 7.0, 7.0, -1.0, -1.0, 1.0, -1.0]


def test_sizes_are_compared_and_pointers_chosen():
    """Numbers at -1 and past the end come from elsewhere."""

    def build(code, a, outside, out, count, wanted):
        with code.loop(wanted) as i:
            place = i - 1
            source = place.below(count).choose(a + place * 4, outside)
            code.store(out + i * 4, code.load(source))

    a, outside, out = torch.arange(8.0), torch.full((4,), 9.0), torch.empty(16)
    made(build, 3, 2, 4)(a, outside, out, 2, 4)
    assert out.tolist() == [9.0] * 4 + list(range(8)) + [9.0] * 4


def test_what_is_built_for_a_case_runs_in_that_case_alone():
    def build(code, out, count, most):
        with code.loop(count) as i:
            at = out + i * code.lanes
            code.store(at, code.number(1.0))
            with code.when(i.exceeds(0)), code.when(i.below(most)), code.loop(2):
                code.store(at, code.load(at) + 1.0)

    out = torch.empty(4, 4)
    made(build, 1, 2, 4)(out, 4, 3)
    assert out[:, 0].tolist() == [1.0, 3.0, 3.0, 1.0]


def test_one_number_fills_a_vector_and_sizes_are_divided():
    def build(code, a, out, count, divisor):
        with code.loop(count) as i:
            code.store(out + i * code.lanes, code.load_one(a + i.over(divisor)))

    a, out = torch.tensor([3.0, 5.0]), torch.empty(5, 4)
    made(build, 2, 2, 4)(a, out, 5, 3)
    assert out.tolist() == [[3.0] * 4] * 3 + [[5.0] * 4] * 2


def test_a_kernel_gives_the_same_bits_again():
    def build(code, a, out, count):
        total = code.total()
        with code.loop(count) as i:
            value = code.load(a + i * code.lanes)
            total.add(value * value * 3.0)
        code.store(out, total.value)

    a, outs = torch.randn(64, 16), [torch.empty(16) for _ in range(2)]
    for out in outs:
        made(build, 2, 1, 16)(a, out, 64)
    assert torch.equal(*outs)


def test_what_a_kernel_cannot_take_is_refused_before_it_runs():
    def build(code, a, out, count):
        with code.loop(count) as i:
            code.store(out + i * code.lanes, code.load(a + i * code.lanes))

    run, good = made(build, 2, 1, 4), torch.zeros(4)
    run(good, torch.zeros(4), 1)
    for wrong, match in (
        ((good.double(), good, 1), "float64 on cpu: it takes float32 on the CPU"),
        ((good, good.to("meta"), 1), "float32 on meta"),
        ((good, good), "2 tensors and 1 sizes was given 2 arguments"),
        ((good, good, 1, 1), "2 tensors and 1 sizes was given 4 arguments"),
    ):
        with pytest.raises(TypeError, match=match):
            run(*wrong)


def test_a_pooled_relu_marks_its_winner_and_spreads_back_to_it():
    def build(code, a, b, made, which, back, count):
        with code.loop(count) as i:
            at = i * code.lanes
            value, mark = code.pooled_relu([code.load(a + at), code.load(b + at)])
            code.store(made + at, value)
            code.store(which + at, mark)
            code.store(back + at, code.spread(code.number(3.0), mark, 2)[1])

    a, b = torch.tensor([1.0, -1.0, 2.0, 0.0]), torch.tensor([2.0, -2.0, 2.0, -1.0])
    found = [torch.empty(4) for _ in range(3)]
    made(build, 5, 1, 4)(a, b, *found, 1)
    assert [value.tolist() for value in found] == [
        [2.0, 0.0, 2.0, 0.0],
        [1.0, -1.0, 0.0, -1.0],
        [3.0, 0.0, 0.0, 0.0],
    ]
