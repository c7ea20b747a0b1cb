from espalier.cluster.on_ray.blob_cache import EACH_BYTES, SMALL_BYTES, BlobCache


def test_the_cache_keeps_to_its_budget():
    cache = BlobCache(budget=100)
    for index in range(50):
        cache.put(str(index), index, size=30)
        assert cache.size <= 100
    assert [name for name in map(str, range(50)) if cache.get(name) is not None] == ["47", "48", "49"]
    cache.put("49", "again", size=40)
    assert (cache.get("49"), cache.size) == ("again", 100)
    cache.put("huge", "x", size=101)
    assert cache.get("huge") is None
    cache.drop(["49", "never there"])
    assert cache.size <= 60


def test_small_blobs_which_lie_in_the_drivers_memory_have_a_budget_of_their_own():
    """A node's object store may have a hundred gigabytes; the driver must not grow by that."""
    cache, own = BlobCache(budget=2**40, own=100 * (1000 + EACH_BYTES)), 0
    cache.put("large", "L", size=SMALL_BYTES)
    for index in range(500):
        cache.put(str(index), index, size=1000)
        cache.get("3")
        own = max(own, cache.held)
    assert own == 100 * (1000 + EACH_BYTES)
    kept = [index for index in range(500) if cache.get(str(index)) is not None]
    assert kept == [3, *range(401, 500)]  # 3 was always in use
    assert cache.get("large") == "L"
    assert cache.size == SMALL_BYTES + 100 * 1000
    cache.drop([str(index) for index in kept])
    assert (cache.held, cache.size) == (0, SMALL_BYTES)
