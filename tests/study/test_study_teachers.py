"""Which teachers a resolved config still lacks, by whichever name their class goes."""

import pytest

from ard.study.teachers import missing_teachers


@pytest.mark.parametrize(
    ("class_path", "is_missing"),
    [
        ("ard.models.Frozen", True),
        ("ard.models.Cached", True),
        ("ard.models.frozen.Frozen", True),
        ("ard.models.cached.Cached", True),
        ("ard.models.RobustBench", False),
        ("theirs.Frozen", False),
    ],
)
def test_a_teacher_without_weights_is_missing_by_both_of_its_names(class_path, is_missing):
    teacher = {"class_path": class_path, "init_args": {"weights": ""}}
    resolved = {"model": {"init_args": {"teacher": teacher}}}
    assert missing_teachers(resolved) == (["teacher"] if is_missing else [])
    teacher["init_args"]["weights"] = "teacher.safetensors"
    assert missing_teachers(resolved) == []
