"""docs/reading.md: each example prints what stands below it, and three libraries give one answer."""

import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

ROOT = Path(__file__).parents[2]
EXAMPLES = re.findall(
    r"```python\n(.*?)```\s+```text\n(.*?)```",
    (ROOT / "docs" / "reading.md").read_text(encoding="utf-8"),
    re.DOTALL,
)


@pytest.fixture
def printed(monkeypatch, capsys):
    """Runs an example: what it printed, and its names."""
    monkeypatch.chdir(ROOT)
    monkeypatch.setenv("COLUMNS", "200")

    def run(code):
        names = {}
        exec(compile(code, "docs/reading.md", "exec"), names)
        return capsys.readouterr().out.strip(), names

    return run


def test_every_example_prints_what_is_shown_and_three_libraries_give_one_answer(printed):
    answers = []
    for code, shown in EXAMPLES:
        said, names = printed(code)
        assert said == shown.strip()
        if "answer" in names:
            answers.append(table(names["answer"]))
    assert len(EXAMPLES) == 5
    assert len(answers) == 3
    assert answers[0].shape == (7, 3)
    for other in answers[1:]:
        np.testing.assert_allclose(other, answers[0], rtol=1e-12)


def table(answer):
    """Width, error of trained and of untrained sources, a row per width."""
    frame = answer if isinstance(answer, pd.DataFrame) else answer.to_pandas()
    if "target_width" not in frame.columns:
        frame = frame.reset_index()
    return frame[["target_width", "none", "untrained"]].to_numpy(float)
