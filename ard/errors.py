"""The exceptions a user may see."""


class UserError(ValueError):
    """Something the user can mend; its message is one line: what was found, what was expected, what to do."""


class StoppedError(UserError):
    """A run that a guard ended, because going on would have cost time or harmed what was there."""
