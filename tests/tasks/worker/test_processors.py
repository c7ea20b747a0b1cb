"""The tests marked `bits` under the kernels that libraries have for a lesser processor than this one."""

import os
import subprocess
import sys

import pytest

TESTS = ("tests/tasks/training/test_bit_company.py", "tests/integration/test_groups.py")
SCRIPT = """
import sys, pytest, torch
print(torch.backends.cpu.get_cpu_capability())
sys.exit(pytest.main(["-q", "-m", "bits", "-p", "no:cacheprovider", *sys.argv[1:]]))
"""
AVX2 = {"ATEN_CPU_CAPABILITY": "avx2", "ONEDNN_MAX_CPU_ISA": "AVX2", "MKL_ENABLE_INSTRUCTIONS": "AVX2"}


@pytest.mark.slow
def test_a_nets_bits_keep_to_their_promise_without_avx_512(request):
    """As far as variables go; the suite itself runs these tests under what the machine has."""
    answer = subprocess.run(
        [sys.executable, "-c", SCRIPT, *TESTS],
        cwd=request.config.rootpath,
        env=os.environ | AVX2,
        capture_output=True,
        text=True,
        check=False,
    )
    assert answer.returncode == 0, answer.stdout[-5000:] + answer.stderr[-2000:]
    capability, *lines = answer.stdout.splitlines()
    assert capability != "AVX512"
    assert "passed" in lines[-1]
