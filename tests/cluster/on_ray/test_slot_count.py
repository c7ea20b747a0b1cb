import pytest

from espalier.cluster.on_ray.slot_count import count_slots

NODES = [{"CPU": 8.0, "GPU": 1.0, "memory": 100.0}, {"CPU": 4.0, "memory": 50.0}]


@pytest.mark.parametrize(
    ("need", "count"),
    [
        ({"CPU": 1, "GPU": 0, "memory": 0}, 12),
        ({"CPU": 3, "GPU": 0, "memory": 0}, 3),  # 12 cores, but a slot lives on one node
        ({"CPU": 1, "GPU": 0.1, "memory": 0}, 8),
        ({"CPU": 1, "GPU": 0, "memory": 30}, 4),
    ],
)
def test_as_many_slots_as_fit(need, count):
    assert count_slots(NODES, need, None) == count
    assert count_slots(NODES, need, 2) == 2
    with pytest.raises(ValueError, match=f"slots={count + 1} .*room for {count}"):
        count_slots(NODES, need, count + 1)


def test_a_slot_that_fits_nowhere_is_told_with_the_cure():
    with pytest.raises(ValueError, match=r"1 CPU and 2 GPU .*has 12 CPU and 1 GPU on 2 .*less per slot"):
        count_slots(NODES, {"CPU": 1, "GPU": 2}, None)
    with pytest.raises(ValueError, match="1 to 12 slots"):
        count_slots(NODES, {"CPU": 1}, 0)
