"""Records below a folder: each once, whatever is linked."""

from ard.artifacts.paths import records_below


def test_records_are_found_through_links_to_folders_and_each_once(tmp_path):
    study, elsewhere = tmp_path / "study", tmp_path / "disk" / "adaad"
    for run in (study / "ard", elsewhere):
        run.mkdir(parents=True)
        (run / "evaluation.json").write_text("{}")
    (study / "adaad").symlink_to(elsewhere)
    (study / "a copy").symlink_to(study / "ard")
    (study / "round").symlink_to(study)
    (study / "gone").symlink_to(tmp_path / "nowhere")
    assert records_below(study) == [study / "adaad" / "evaluation.json", study / "ard" / "evaluation.json"]
