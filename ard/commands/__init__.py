"""The verbs of the command line, as data: `ard --help` and suggestions need no verb to be imported."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Verb:
    """One row of `ard --help`, and where its function is: `function` of ard.commands.`module`.

    With `raw` the function gets the words of the command line as they are, the verb first; otherwise its arguments, parsed
    by its signature.
    """

    module: str
    function: str
    usage: str
    summary: str
    raw: bool = False


RUN = "BASE METHOD [SCHEDULE]"

VERBS = {
    "fit": Verb("fit", "fit_student", RUN, "train one student", raw=True),
    "validate": Verb("fit", "fit_student", RUN, "measure again: --ckpt_path FILE", raw=True),
    "study": Verb("study", "study", "<name>", "teachers, methods, seeds; makes a table"),
    "evaluate": Verb("evaluate", "evaluate_weights", "WEIGHTS...", "clean and robust accuracy, with evidence"),
    "test": Verb("evaluate", "quick_test", "WEIGHTS...", "evaluate --suite quick"),
    "predict": Verb("predict", "predict_files", "WEIGHTS IMAGES...", "what does it see in image files?"),
    "verify": Verb("verify", "verify_images", "ADVERSARIAL WEIGHTS", "do stored images prove what they claim?"),
    "diagnose": Verb("diagnose", "diagnose_weights", "WEIGHTS...", "why is it robust, or not? looks inside"),
    "prune": Verb("prune", "prune_weights", "WEIGHTS", "fewer weights, by magnitude or whole channels"),
    "compare": Verb("compare", "compare_runs", "RUN_DIR...", "records -> tables and a picture"),
    "report": Verb("report", "report", "RUN_OR_STUDY_DIR", "a page to look at: report.html, one file"),
    "list": Verb("list", "list_known", "[methods|data|models|...]", "what comes with ard, by name", raw=True),
    "config": Verb("config", "print_config", "NAME", "print a config, as a start for your own"),
    "bench": Verb("bench", "bench", "", "our step against the released codes'"),
    "doctor": Verb("doctor", "doctor", "[options of fit]", "is the machine fit? would a run go well?", raw=True),
}
SYNONYMS = {"train": "fit", "distill": "fit"}
EVALUATED = "0 sound or upper bound; 2 refused; 3 warnings; 4 UNRELIABLE"
STATUSES = {
    "fit": "0 trained to its end; 2 refused, or ended by a guard; 3 no epoch is above chance; 129, 130, 143 interrupted",
    "study": "0 every run ended well; 1 one failed; 2 refused",
    "evaluate": EVALUATED,
    "test": EVALUATED,
    "verify": "0 proved; 2 refused, or nothing could be compared; 4 not proved",
}


def exit_statuses(verb: str) -> str:
    """What the exit statuses of a verb mean, as its help says it."""
    return STATUSES.get(verb, "0 done; 2 refused")


def overview() -> str:
    """The text of `ard --help`."""
    rows = []
    for name, verb in VERBS.items():
        line = f"  {name:<9} {verb.usage}"
        rows.append(f"{line:<39} {verb.summary}" if len(line) < 40 else f"{line}\n{'':<39} {verb.summary}")
    same = " and ".join(SYNONYMS)
    more = f"{same} are other names for fit; ard VERB --help says more."
    end = f"{more}\nErrors are one line, exit status 2; the other statuses: docs/training.md."
    return "\n".join(["usage: ard VERB ...", "", *rows, "", end])
