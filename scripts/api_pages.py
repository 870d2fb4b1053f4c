"""MkDocs hook: a page of the API reference for every module of the package, made from the folders as they are."""

from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files

ROOT = Path(__file__).resolve().parents[1]


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the pages before the navigation is made of all of them."""
    for module in sorted((ROOT / "ard").rglob("*.py")):
        place = module.relative_to(ROOT).with_suffix("")
        if place.name == "__main__" or (place.name.startswith("_") and place.name != "__init__"):
            continue
        package = place.name == "__init__"
        name = ".".join(place.parent.parts if package else place.parts)
        page = place.with_name("index.md" if package else f"{place.name}.md")
        title = name if package else place.name
        files.append(File.generated(config, str(page), content=f"---\ntitle: {title}\n---\n\n::: {name}\n"))
    return files
