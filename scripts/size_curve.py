#!/usr/bin/env python3
"""Draw docs/results/student-sizes/gains.png from records: what RSLAD is above each control, against its teacher's lead."""

import sys

from study_tables import RESULTS, SIZES, lead_of, row_of

from ard.report.differences import difference_of
from ard.report.pictures.gains import Gain, draw_gains

CONTROLS = "PGD-AT", "PGD-AT with smoothed labels", "PGD-AT on the teacher's labels"


def main() -> int:
    curves: dict[str, list[Gain]] = {f"RSLAD − {control}": [] for control in CONTROLS}
    for parameters, paths in SIZES.items():
        *controls, student = map(row_of, paths)
        for curve, control in zip(curves.values(), controls, strict=True):
            difference = difference_of(student, control, "worst")
            assert difference is not None
            curve.append(Gain(lead_of(paths), difference, parameters))
    axes = "the teacher − that of PGD-AT's student", "RSLAD's student − that of a control"
    draw_gains(curves, [row_of(paths[-1]) for paths in SIZES.values()], *axes, RESULTS / "student-sizes" / "gains.png")
    return 0


if __name__ == "__main__":
    sys.exit(main())
