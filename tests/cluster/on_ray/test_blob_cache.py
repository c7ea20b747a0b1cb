from espalier.cluster.on_ray.blob_cache import BlobCache


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
