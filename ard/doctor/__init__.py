"""`ard doctor`: is this machine fit for training, and would this run go well?"""

from ard.doctor.command import doctor
from ard.doctor.finding import Finding, table
from ard.doctor.machine import examine
from ard.doctor.preflight import preflight

__all__ = ["Finding", "doctor", "examine", "preflight", "table"]
