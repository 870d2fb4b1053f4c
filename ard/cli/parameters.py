"""What the classes and functions of a command take, as help shows it: name, kind of value, default, a sentence.

All of it is read from their source, as the refusals are, so that help needs neither torch nor a list that could be wrong.
"""

import ast
import inspect
import re
from collections.abc import Iterator
from dataclasses import dataclass

from ard.cli.source_keys import class_node, class_source, constructor, module_tree

SIMPLE = {
    "int": "N",
    "float": "NUMBER",
    "str": "TEXT",
    "Path": "PATH",
    "bool": "true|false",
    "Radius": "RADIUS",
    "RadiusLike": "RADIUS",
    "None": "null",
}


@dataclass(frozen=True)
class Parameter:
    """One argument; `default` is its source, None where there is none, which makes it a positional of a verb."""

    name: str
    value: str
    default: str | None
    about: str


def class_parameters(class_path: str) -> list[Parameter]:
    """Of a class, in the order of its constructor; what it does not describe itself is described by its bases."""
    source = class_source(class_path)
    defaults: dict[str, str] = {}
    sentences: dict[str, str] = {}
    for module, node in _lineage(class_path):
        defaults = _defaults(node, module) | defaults
        sentences = _sentences(node) | sentences
    keys = source.keys.items() if source else ()
    return [
        Parameter(key, kind(annotation, source.module if source else ""), defaults.get(key), sentences.get(key, ""))
        for key, annotation in keys
    ]


def function_parameters(module: str, name: str) -> tuple[str, list[Parameter]]:
    """What a function says of itself, and its arguments; a dataclass among them stands for its fields."""
    tree = module_tree(module)
    node = next(part for part in tree.body if isinstance(part, ast.FunctionDef) and part.name == name)  # type: ignore[union-attr]
    text = ast.get_docstring(node) or ""
    defaults, sentences, found = _of_arguments(node.args, module), argument_sentences(text), []
    for part in [*node.args.args, *node.args.kwonlyargs]:
        annotation = ast.unparse(part.annotation) if part.annotation else "str"
        block = class_source(f"{module}.{annotation}") if annotation.isidentifier() else None
        if block is not None and block.is_dataclass:
            found += class_parameters(f"{module}.{annotation}")
        else:
            found.append(Parameter(part.arg, kind(annotation, module), defaults.get(part.arg), sentences.get(part.arg, "")))
    return text.partition("\n\nArgs:")[0], found


def argument_sentences(docstring: str) -> dict[str, str]:
    """The sentences below `Args:`, by the name that each is about."""
    _, _, block = inspect.cleandoc(docstring).partition("Args:\n")
    block = re.split(r"\n(?=\S)", block)[0]
    found = re.findall(r"^    (\w+): (.*(?:\n(?:     .*|$))*)", block, re.MULTILINE)
    return {name: " ".join(text.split()) for name, text in found}


def kind(annotation: str, module: str) -> str:
    """The values of an annotation as help shows them: N, NUMBER|null, uniform|gaussian|zero, CLASS."""
    return "|".join(dict.fromkeys(_kinds(ast.parse(annotation, mode="eval").body, module))) if annotation else "VALUE"


def _kinds(node: ast.expr, module: str) -> Iterator[str]:
    name = ast.unparse(node)
    if name in SIMPLE:
        yield SIMPLE[name]
    elif isinstance(node, ast.BinOp):
        yield from (part for side in (node.left, node.right) for part in _kinds(side, module))
    elif isinstance(node, ast.Subscript):
        outer = ast.unparse(node.value).rpartition(".")[2]
        inner = node.slice.elts if isinstance(node.slice, ast.Tuple) else [node.slice]
        if outer == "Literal":
            yield from (str(ast.literal_eval(part)) for part in inner)
        elif outer in ("Optional", "Union"):
            yield from (part for side in inner for part in _kinds(side, module))
            yield from ["null"] if outer == "Optional" else []
        else:
            yield "LIST"
    elif (meant := constant(name, module)) is not None:
        yield from _kinds(meant, module)
    else:
        yield "VALUE" if name.startswith("_") else "CLASS"


def constant(name: str, module: str) -> ast.expr | None:
    """What a module assigns to a name at its top, or the module that it has the name from."""
    tree = module_tree(module) if module and name.isidentifier() else None
    for node in tree.body if tree else ():
        if isinstance(node, ast.Assign) and [ast.unparse(target) for target in node.targets] == [name]:
            return node.value
        if isinstance(node, ast.ImportFrom) and node.module and name in [alias.name for alias in node.names]:
            return constant(name, node.module)
    return None


def _lineage(class_path: str) -> Iterator[tuple[str, ast.ClassDef]]:
    """A class and its bases, as far as their source is found."""
    found = class_node(class_path)
    if found is not None:
        yield found
        for base in found[1].bases:
            yield from _lineage(f"{found[0]}.{ast.unparse(base).partition('[')[0]}")


def _defaults(node: ast.ClassDef, module: str) -> dict[str, str]:
    """Of a constructor, or of the fields of a dataclass."""
    fields = [part for part in node.body if isinstance(part, ast.AnnAssign) and part.value]
    found = {ast.unparse(part.target): default_text(part.value, module) for part in fields if part.value}
    init = constructor(node)
    return found | (_of_arguments(init.args, module) if init else {})


def _of_arguments(arguments: ast.arguments, module: str) -> dict[str, str]:
    last = len(arguments.args) - len(arguments.defaults)
    pairs = [*zip(arguments.args[last:], arguments.defaults, strict=True)]
    pairs += [(part, value) for part, value in zip(arguments.kwonlyargs, arguments.kw_defaults, strict=True) if value]
    return {part.arg: default_text(value, module) for part, value in pairs}


def default_text(value: ast.expr, module: str) -> str:
    """A default as YAML would have it."""
    meant = constant(ast.unparse(value), module)
    text = ast.unparse(meant if meant is not None else value)
    return {"None": "null", "True": "true", "False": "false"}.get(text, text.strip("'").replace("(", "[").replace(")", "]"))


def _sentences(node: ast.ClassDef) -> dict[str, str]:
    init = constructor(node)
    found = argument_sentences((ast.get_docstring(init) if init else None) or "")
    return found | argument_sentences(ast.get_docstring(node) or "")
