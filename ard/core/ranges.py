"""Numbers out of range are refused by the name that the user typed."""

from ard.core.errors import UserError


def at_least(least: float, **options: float) -> None:
    """Raises UserError for the first option that is below `least`."""
    for name, value in options.items():
        if not value >= least:
            raise UserError(f"{name} = {value}: expected at least {least:g}")
