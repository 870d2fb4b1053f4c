"""A config resolved as the command line does, without building its parts."""

from ard.cli.lightning import DryRun


class Parsed(DryRun):
    """Resolves a config and builds nothing: its pictures and weights need not be on this machine."""

    def instantiate_classes(self) -> None:
        pass

    def _add_configure_optimizers_method_to_model(self, subcommand: str | None) -> None:
        pass
