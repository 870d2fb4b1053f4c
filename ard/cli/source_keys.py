"""Which keys a class takes, read from its source: a misspelt key is refused before anything is imported, torch above all."""

import ast
from dataclasses import dataclass, field
from functools import cache
from importlib.util import find_spec
from pathlib import Path

LIGHTNING = "pytorch_lightning.trainer.trainer"


@dataclass(frozen=True)
class Source:
    """A class as its file writes it: the keys it takes with their annotations, and whether those are all."""

    keys: dict[str, str] = field(default_factory=dict)
    is_complete: bool = True
    module: str = ""  # where its annotations mean something
    is_dataclass: bool = False


@cache
def module_tree(module: str) -> ast.Module | None:
    """The syntax tree of a module of a package that is installed; None where there is no such file."""
    package, *parts = module.split(".")
    try:
        spec = find_spec(package)  # of the package alone: that imports nothing
    except (ImportError, ValueError):
        return None
    for folder in (spec and spec.submodule_search_locations) or ():
        place = Path(folder, *parts)
        for file in (place / "__init__.py", place.with_suffix(".py") if parts else place / "__init__.py"):
            if file.is_file():
                return ast.parse(file.read_bytes())
    return None


def names_of(module: str) -> list[str]:
    """The classes and functions that a module defines or imports from its own package, without private ones."""
    tree = module_tree(module)
    names = [node.name for node in _nodes(tree) if isinstance(node, ast.ClassDef | ast.FunctionDef)]
    names += [alias.name for node in _nodes(tree) if isinstance(node, ast.ImportFrom) for alias in node.names]
    return [name for name in names if not name.startswith("_")]


@cache
def class_node(class_path: str) -> tuple[str, ast.ClassDef] | None:
    """The module and the syntax tree of the class of a dotted name; None where its source is not found."""
    module, _, name = class_path.rpartition(".")
    for node in _nodes(module_tree(module) if module else None):
        if isinstance(node, ast.ClassDef) and node.name == name:
            return module, node
        if isinstance(node, ast.ImportFrom) and node.module and name in [alias.name for alias in node.names]:
            return class_node(f"{node.module}.{name}")
    return None


@cache
def class_source(class_path: str) -> Source | None:
    """The keys that the class of a dotted name takes; None where its source is not found, or the name is no class."""
    found = class_node(class_path)
    return None if found is None else _source(found[1], found[0])


@cache
def function_keys(class_path: str, method: str) -> list[str]:
    """The parameters of a method; none where its source is not found."""
    module, _, name = class_path.rpartition(".")
    for node in _nodes(module_tree(module)):
        if isinstance(node, ast.ClassDef) and node.name == name:
            return [*_parameters(_method(node, method))]
    return []


def annotated_class(annotation: str, module: str) -> Source | None:
    """The one class of an annotation such as `Training`, where that is a dataclass: its keys need no name before them."""
    source = class_source(f"{module}.{annotation}") if annotation.isidentifier() else None
    return source if source is not None and source.is_dataclass else None


def _nodes(tree: ast.Module | None) -> list[ast.AST]:
    """The statements at the top of a module, and those there for type checkers only."""
    statements: list[ast.AST] = []
    for node in tree.body if tree else ():
        statements += node.body if isinstance(node, ast.If) else [node]
    return statements


def _source(node: ast.ClassDef, module: str) -> Source:
    """Its own keys; those of its bases too, where it has no constructor or passes on what it does not know.

    A class that has one constructor for configs and one for Python takes the keys of the former.
    """
    if any("dataclass" in ast.unparse(decorator) for decorator in node.decorator_list):
        fields = [part for part in node.body if isinstance(part, ast.AnnAssign) and isinstance(part.target, ast.Name)]
        keys = {part.target.id: ast.unparse(part.annotation) for part in fields if isinstance(part.target, ast.Name)}
        return Source(keys, True, module, is_dataclass=True)
    init = constructor(node)
    keys, is_complete = _parameters(init), True
    if init is None or init.args.kwarg is not None:
        bases = [class_source(f"{module}.{ast.unparse(base).partition('[')[0]}") for base in node.bases]
        is_complete = bool(bases) and all(base is not None and base.is_complete for base in bases[:1])
        for base in filter(None, bases):
            keys = {**base.keys, **keys}
    return Source(keys, is_complete, module)


def constructor(node: ast.ClassDef) -> ast.FunctionDef | None:
    """How a config makes an object of a class, where the class itself says it: not always as Python does."""
    return _method(node, "from_config") or _method(node, "__init__")


def _method(node: ast.ClassDef, name: str) -> ast.FunctionDef | None:
    return next((part for part in node.body if isinstance(part, ast.FunctionDef) and part.name == name), None)


def _parameters(function: ast.FunctionDef | None) -> dict[str, str]:
    """The arguments that a caller gives, with their annotations."""
    every = [*function.args.posonlyargs, *function.args.args, *function.args.kwonlyargs] if function else []
    own = [part for part in every if part.arg not in ("self", "cls")]
    return {part.arg: ast.unparse(part.annotation) if part.annotation else "" for part in own}
