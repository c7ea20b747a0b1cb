import subprocess
import sys
from pathlib import Path

CLUSTER = Path(__file__).parents[3] / "cluster"


def test_ray_beside_the_room_is_the_library():
    """`python cluster/submit.py` puts `cluster/` first on the path, so `cluster/ray/` would be taken."""
    code = (
        f"import sys; sys.path.insert(0, {str(CLUSTER)!r}); import ray; print(ray.__version__, ray.__file__)"
    )
    answer = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=100
    )
    version, file = answer.stdout.split(maxsplit=1)
    assert version[0].isdigit()
    assert not Path(file.strip()).is_relative_to(CLUSTER)
    assert not [path.name for path in CLUSTER.iterdir() if path.stem == "ray"]
