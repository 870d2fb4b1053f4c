"""What a person at a terminal sees, and what is kept from them."""

import warnings


def show(markdown: str) -> None:
    """A table that fits a terminal, or the Markdown itself where the output is a file."""
    from rich.console import Console
    from rich.markdown import Markdown

    console = Console()
    if console.is_terminal:
        console.print(Markdown(markdown))
    else:
        print(markdown)


def quiet() -> None:
    """Lightning's advertisements and other people's deprecations are not the user's business."""
    warnings.filterwarnings("ignore", module="pytorch_lightning")
    warnings.filterwarnings("ignore", message="reduction: 'mean' divides")  # as the released codes do
    warnings.filterwarnings("ignore", category=FutureWarning)
    warnings.filterwarnings("ignore", category=DeprecationWarning)
