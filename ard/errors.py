"""The one exception a user may see."""


class UserError(ValueError):
    """Something the user can mend; its message is one line: what was found, what was expected, what to do."""
