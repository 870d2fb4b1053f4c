"""The campaign over every reader: files changed at random, by their structure. `scripts/fuzz.py [INPUTS A READER] [SEED]`.

A reader survives an input that it reads, or refuses by a UserError of one line, in time and within the memory that it is
given; and no module that an input names is imported. Prints a table, and each input that was not survived.
"""

import io
import json
import os
import random
import resource
import sys
import tempfile
import traceback
import warnings
import zipfile
from collections import Counter
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "tests")]

import numpy as np  # noqa: E402
import torch  # noqa: E402
import yaml  # noqa: E402
from fuzzing import NAMES, damaged, mutated  # noqa: E402
from image_files import image_folder  # noqa: E402
from in_time import TooLong, in_time  # noqa: E402
from safetensors.torch import save  # noqa: E402
from small_records import first, write  # noqa: E402
from small_runs import CARD, DATA, narrow  # noqa: E402

from ard.artifacts.adversarial import AdversarialImages, claim_of, read_adversarial, write_adversarial  # noqa: E402
from ard.artifacts.card import Card, card_from  # noqa: E402
from ard.artifacts.checkpoint import read_checkpoint  # noqa: E402
from ard.artifacts.metrics import read_metrics  # noqa: E402
from ard.artifacts.paths import RunFolder  # noqa: E402
from ard.artifacts.record_file import read_record  # noqa: E402
from ard.artifacts.run_name import RunName, read_run_name, write_run_name  # noqa: E402
from ard.artifacts.weights import read_weights, save_weights  # noqa: E402
from ard.commands.subject import data_sections  # noqa: E402
from ard.configs.building import build  # noqa: E402
from ard.configs.files import read_yaml  # noqa: E402
from ard.core.errors import LONGEST, UserError  # noqa: E402
from ard.data import DataModule  # noqa: E402
from ard.data.cifar import nothing_fetched  # noqa: E402
from ard.data.image_folder import decode  # noqa: E402
from ard.data.mixed import NpzImages  # noqa: E402
from ard.evaluation.blocks import Store  # noqa: E402
from ard.evaluation.cascade import Block  # noqa: E402
from ard.evaluation.request import Request  # noqa: E402
from ard.models import load  # noqa: E402

Draw = random.Random
MEMORY = 6 * 2**30  # bytes of address space: a reader that asks for more gets a MemoryError
CANARY = ("canary.Data", "canary.Net", "ard.data.canary.Data", "ard.data.os.system", "ard.data.base.os.system")
DEAR = ("cards", "class_paths", "zip_members", "configs")  # a quarter as many: milliseconds each
IMAGES = sorted(("PNG", "JPEG", "GIF", "WEBP", "TIFF", "BMP", "PPM", "TGA"))


class Readers:
    """Good files in a folder, and for each reader a way to damage one of them and to read it."""

    def __init__(self, place: Path) -> None:
        self.place = place
        self.files: dict[str, bytes] = {}
        self._weights()
        self._rest()

    def _weights(self) -> None:
        network, place = narrow(), self.place
        card = Card(**{key: CARD[key] for key in ("class_path", "init_args", "num_classes", "data")})
        save_weights(place / "w.safetensors", network, card)
        loops = {"fit_loop": {"epoch_progress": {"total": {"processed": 1}}}}
        content = {"state_dict": network.state_dict(), "loops": loops, "optimizer_states": [], "lr_schedulers": []}
        torch.save(content | {"global_step": 4, "ard": CARD, "run": {"config": {}}}, place / "w.ckpt")
        torch.save(network.state_dict(), place / "old.pt", _use_new_zipfile_serialization=False)
        record = write(place / "evaluation.json", first(0.9, 20), first(0.5, 20), schema=4)
        images = AdversarialImages(
            x_adv=torch.zeros(20, 1, 8, 8),
            y=torch.zeros(20, dtype=torch.long),
            robust=torch.ones(20) > 0,
            claim=claim_of(record),
        )
        write_adversarial(place / "a.adversarial.safetensors", images)
        block = Block(0, {"clean": torch.ones(20) > 0}, {}, torch.zeros(20), torch.zeros(20, 1, 8, 8), True)
        store = Store(place / "blocks")
        store.open()
        store.write(block)
        for name in ("w.safetensors", "w.ckpt", "old.pt", "evaluation.json", "a.adversarial.safetensors"):
            self.files[name] = (place / name).read_bytes()
        self.files["block"] = store._path(0).read_bytes()

    def _rest(self) -> None:
        name = RunName(study=None, method="ard", role="student", swept={}, config_digest="cd")
        write_run_name(RunFolder(self.place), name)
        self.files["run.json"] = RunFolder(self.place).name.read_bytes()
        self.files["metrics.csv"] = b"step,epoch,train/loss,val/clean_acc\n0,0,1.5,\n1,0,1.25,0.5\n2,1,1.0,\n3,1,0.75,0.75\n"
        self.files["base.yaml"] = (ROOT / "configs/digits.yaml").read_bytes()
        np.savez(self.place / "x.npz", image=np.zeros((20, 8, 8, 1), np.uint8), label=np.arange(20) % 10)
        self.files["x.npz"] = (self.place / "x.npz").read_bytes()
        from PIL import Image

        image_folder(self.place / "images")
        for kind in IMAGES:
            file = io.BytesIO()
            Image.effect_noise((12, 12), 50).convert("RGB").save(file, kind)
            self.files[kind] = file.getvalue()

    def put(self, name: str, content: bytes) -> Path:
        path = self.place / name
        path.write_bytes(content)
        return path

    def cards(self, draw: Draw) -> Any:
        card = mutated(CARD, draw)
        return load(self.put("odd.safetensors", save(narrow().state_dict(), {"model": json.dumps(card)})))

    def class_paths(self, draw: Draw) -> Any:
        """A `data:` section of a card with names of classes where nobody expects them."""
        section = mutated(nested(draw, DATA), draw) if draw.randint(0, 1) else nested(draw, DATA)
        card = card_from(json.dumps({"data": section}), "odd")
        with nothing_fetched():
            return build(DataModule, data_sections(card, Request(), Path("odd"))[0])

    def safetensors(self, draw: Draw) -> Any:
        data = self.files["w.safetensors"]
        return read_weights(
            self.put("odd.safetensors", with_header(data, draw) if draw.randint(0, 2) else damaged(data, draw))
        )

    def zip_members(self, draw: Draw) -> Any:
        read = draw.choice((read_checkpoint, read_weights))
        return read(self.put("odd.ckpt", zipped(self.files["w.ckpt"], draw)))

    def pickles(self, draw: Draw) -> Any:
        name = draw.choice(("w.ckpt", "old.pt"))
        return read_weights(self.put("odd.pt", damaged(self.files[name], draw, self.files["old.pt"])))

    def digests_beside(self, draw: Draw) -> Any:
        path = self.put("beside.ckpt", self.files["w.ckpt"])
        self.put("beside.ckpt.sha256", damaged(b"a" * 64 + b"  beside.ckpt\n", draw, b"\xff\x00"))
        return read_checkpoint(path)

    def records(self, draw: Draw) -> Any:
        return read_record(self.put("odd.json", tree_or_bytes(self.files["evaluation.json"], draw)))

    def run_names(self, draw: Draw) -> Any:
        folder = RunFolder(self.place / "named")
        folder.root.mkdir(exist_ok=True)
        folder.name.write_bytes(tree_or_bytes(self.files["run.json"], draw))
        return read_run_name(folder, "cd")

    def metrics(self, draw: Draw) -> Any:
        return read_metrics(self.put("odd.csv", damaged(self.files["metrics.csv"], draw, b'\x00"\n,,"\r')))

    def configs(self, draw: Draw) -> Any:
        text = self.files["base.yaml"]
        if draw.randint(0, 1):
            text = yaml.safe_dump(mutated(yaml.safe_load(text), draw), allow_unicode=True).encode()
        tails = (
            *[b""] * 9,
            b"a: &a [*a]\n",
            b"a: &a {b: *a}\n",
            b"[" * 3000,
            b"? [1]\n: 2\n",
            b"\xff\xfe",
            b"!!python/object:os.x\n",
        )
        return read_yaml(self.put("odd.yaml", damaged(text, draw, text) + draw.choice(tails)))

    def adversarial(self, draw: Draw) -> Any:
        data = self.files["a.adversarial.safetensors"]
        path = self.put(
            "odd.adversarial.safetensors", with_header(data, draw) if draw.randint(0, 1) else damaged(data, draw)
        )
        return read_adversarial(path)

    def blocks(self, draw: Draw) -> Any:
        store, data = Store(self.place / "blocks"), self.files["block"]
        store._path(0).write_bytes(with_header(data, draw) if draw.randint(0, 1) else damaged(data, draw))
        return store.read(0)

    def npz(self, draw: Draw) -> Any:
        change = partial(zipped, self.files["x.npz"]) if draw.randint(0, 1) else partial(damaged, self.files["x.npz"])
        images = NpzImages(str(self.put("odd.npz", change(draw))))
        return images.__getitems__([0, len(images) - 1])

    def images(self, draw: Draw) -> Any:
        one, other = draw.choice(IMAGES), draw.choice(IMAGES)
        return decode(str(self.put("odd.png", damaged(self.files[one], draw, self.files[other]))), (3, 8, 8))


def nested(draw: Draw, section: Any) -> Any:
    """The section with a name from NAMES or CANARY in a place and a form of its own."""
    name = draw.choice((*CANARY, *NAMES))
    inner: Any = draw.choice(
        (name, {"class_path": name}, f"{{class_path: {name}}}", {"class_path": name, "dict_kwargs": {"x": 1}})
    )
    for _ in range(draw.randint(0, 3)):
        inner = draw.choice(
            ([inner], {"x": inner}, {"class_path": "ard.data.Mixed", "init_args": {"base": inner, "others": "x"}})
        )
    key = draw.choice(("base", "others", "fraction", "seed", "root", "init_args", "dict_kwargs", "init_args.base"))
    kind = draw.choice(("Mixed", "Digits", "ImageFolder", "CIFAR10"))
    place = draw.choice(("init_args", "dict_kwargs", None))
    tree = {"class_path": f"ard.data.{kind}", "init_args": {"base": section, "others": "x"} if kind == "Mixed" else {}}
    part = tree if place is None else tree.setdefault(place, {})
    part[key] = inner
    return tree


def tree_or_bytes(content: bytes, draw: Draw) -> bytes:
    """JSON changed as a tree or as bytes, now and then very deep."""
    kind = draw.randint(0, 5)
    if kind == 0:
        return b'{"x":' * draw.choice((60, 3000)) + content
    return json.dumps(mutated(json.loads(content), draw)).encode() if kind < 4 else damaged(content, draw, content)


def with_header(data: bytes, draw: Draw) -> bytes:
    """A safetensors file whose header was changed as a tree: offsets, shapes, kinds, metadata."""
    length = int.from_bytes(data[:8], "little")
    header = json.dumps(mutated(json.loads(data[8 : 8 + length]), draw)).encode()
    stated = len(header) if draw.randint(0, 5) else draw.choice((0, 2**63, 2**31, len(header) + 1))
    return stated.to_bytes(8, "little") + header + data[8 + length :]


def zipped(data: bytes, draw: Draw) -> bytes:
    """The members of an archive again: some packed, renamed, damaged, twice or missing."""
    target = io.BytesIO()
    kind = draw.choice((zipfile.ZIP_STORED, zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED))
    with zipfile.ZipFile(io.BytesIO(data)) as source, zipfile.ZipFile(target, "w", kind) as archive:
        for entry in source.infolist():
            change, content = draw.randint(0, 200), source.read(entry)
            name = entry.filename if change else draw.choice(("../x", "/x", "ß", entry.filename * 2, "archive/data.pkl"))
            packed = zipfile.ZIP_DEFLATED if change == 1 else None
            if change != 2:
                archive.writestr(name, damaged(content, draw) if change in (3, 4) else content, packed)
            if change == 5:
                archive.writestr(name, content)
    return target.getvalue() if draw.randint(0, 3) else damaged(target.getvalue(), draw)


def tried(read: Callable[[Draw], Any], draw: Draw) -> str:
    """`read`, `refused`, or what the reader did instead."""
    try:
        with in_time():
            read(draw)
        outcome = "read"
    except UserError as error:
        told = str(error)
        outcome = "refused" if told.isprintable() and len(told) <= LONGEST else f"odd message {told[:200]!r}"
    except (Exception, TooLong) as error:
        frame = traceback.extract_tb(error.__traceback__)[-1]
        outcome = f"{type(error).__name__}: {str(error)[:200]} ({Path(frame.filename).name}:{frame.lineno})"
    return "a name was imported" if sys.modules.pop("canary", None) else outcome


def main() -> int:
    inputs, seed = (int(word) for word in (*sys.argv[1:3], *("9500", "0")[len(sys.argv) - 1 :]))
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    print("| reader | tried | read | refused | not survived |\n|---|---|---|---|---|")
    total = lost = 0
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        Path("canary.py").write_text("class Data: pass\nclass Net: pass\n")
        sys.path.append(folder)
        readers = Readers(Path(folder))
        names = [name for name in vars(Readers) if not name.startswith("_") and name != "put"]
        for name in names:
            count = inputs // 4 if name in DEAR else inputs
            outcomes = Counter(tried(getattr(readers, name), Draw(f"{name} {seed} {k}")) for k in range(count))
            others = {what: count for what, count in outcomes.items() if what not in ("read", "refused")}
            lost += sum(others.values())
            total += count
            print(f"| {name} | {count} | {outcomes['read']} | {outcomes['refused']} | {sum(others.values())} |", flush=True)
            for what, count in others.items():
                print(f"  {count} × {what}", file=sys.stderr, flush=True)
    print(f"\n{total:,} inputs, {lost} not survived")
    return int(bool(lost))


if __name__ == "__main__":
    sys.exit(main())
