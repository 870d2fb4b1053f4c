"""ard.core.supervision: which process speaks for its machine, whoever started them."""

import pytest

from ard.core.supervision import RANK_VARIABLES, is_first_of_node

STARTED_BY = {
    "nobody": {},
    "Lightning or torchrun": {"LOCAL_RANK": "{}", "RANK": "8"},
    "srun": {"SLURM_LOCALID": "{}", "SLURM_PROCID": "8", "SLURM_NTASKS": "16"},
    "jsrun": {"JSM_NAMESPACE_LOCAL_RANK": "{}", "JSM_NAMESPACE_RANK": "8"},
    "mpirun": {"OMPI_COMM_WORLD_LOCAL_RANK": "{}", "OMPI_COMM_WORLD_RANK": "8"},
    "torchrun in a task of srun": {"LOCAL_RANK": "{}", "SLURM_LOCALID": "0"},
}


@pytest.mark.parametrize("starter", STARTED_BY)
def test_the_first_process_of_a_machine_is_known(starter, monkeypatch):
    for name in RANK_VARIABLES:
        monkeypatch.delenv(name, raising=False)
    for local in (0, 1):
        for name, value in STARTED_BY[starter].items():
            monkeypatch.setenv(name, value.format(local))
        assert is_first_of_node() == (local == 0 or starter == "nobody")
