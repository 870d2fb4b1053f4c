"""The kinds of files that a picture can be; imports nothing large."""

from ard.core.errors import UserError

PNG = "png"
FORMATS = (PNG, "svg", "pdf")


def formats_of(text: str) -> list[str]:
    """The formats in a comma-separated list; raises UserError for none, or one that there is not."""
    formats = list(dict.fromkeys(part.strip().lower().removeprefix(".") for part in text.split(",") if part.strip()))
    if not formats or not set(formats) <= set(FORMATS):
        raise UserError(f"formats {text!r}: expected one or several of {', '.join(FORMATS)}, separated by commas")
    return formats
