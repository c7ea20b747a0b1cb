from __future__ import annotations

import platform
import subprocess
import sys
from contextlib import contextmanager

import pytest

import espalier.tasks.worker.kept_memory
from espalier.cluster.pool import Job
from espalier.orchestrator.running.execute import execute

MEASURE = """
import resource
import torch
from espalier.tasks.worker.kept_memory import kept_memory

def step():
    # 120 MB in blocks that glibc takes from its heap
    blocks = [torch.ones(7_500_000 // 4) for _ in range(16)]
    del blocks

def faults(steps):
    step()
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(steps):
        step()
    return (resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before) // steps

def resident():
    return int(open("/proc/self/statm").read().split()[1]) * resource.getpagesize()

torch.ones(1)
start = resident()
with kept_memory():
    inside, kept = faults(20), resident() - start
print(inside, kept, resident() - start)
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="there is nothing to set elsewhere")
def test_freed_memory_is_used_again_within_a_job_and_given_back_after_it():
    answer = subprocess.run([sys.executable, "-c", MEASURE], capture_output=True, text=True, check=True)
    faults, kept, left = (int(number) for number in answer.stdout.split())
    assert faults < 5000  # of 29,000 pages that a step touches; 22,000 without
    assert kept > 100e6
    assert left < 20e6


def test_every_job_keeps_its_memory(monkeypatch):
    entered = []

    @contextmanager
    def kept_memory():
        entered.append(True)
        yield

    monkeypatch.setattr(espalier.tasks.worker.kept_memory, "kept_memory", kept_memory)
    with pytest.raises(KeyError):
        execute(Job("key", "no such kind", None, (), {}), {})
    assert entered
