"""Checkpoints from strangers: whatever loads them, nothing in them runs, and one line says why."""

import http.server
import os
import pickle
import re
import threading
import zipfile

import pytest
import torch
from small_runs import cli, write_weights, write_yaml
from tiny import user_error

from ard.artifacts.tensors import plain_from

pytestmark = pytest.mark.usefixtures("short_attacks")

TEACHER = "--model.init_args.teacher.init_args.weights"


class Bomb:
    """Makes a folder when it is unpickled."""

    def __init__(self, marker):
        self.marker = marker

    def __reduce__(self):
        return os.mkdir, (str(self.marker),)


class Zeros:
    """Becomes that many zeros when it is unpickled."""

    def __init__(self, count):
        self.count = count

    def __reduce__(self):
        return bytearray, (self.count,)


@pytest.fixture(scope="module")
def checkpoint(fit, tmp_path_factory):
    directory = tmp_path_factory.mktemp("run")
    fit(directory, "natural")
    return torch.load(directory / "last.ckpt", weights_only=True)


def routes(command, place, file):
    """Every command that reads weights or a checkpoint from `file`."""
    write_yaml(place / "data.yaml", {"data": {"class_path": "ard.data.Digits", "init_args": {"batch_size": 128}}})
    write_yaml(place / "network.yaml", {"class_path": "ard.models.ResNet", "init_args": {"in_channels": 1}})
    run, good = place / "run", write_weights(place / "good.safetensors")
    return {
        "fit --ckpt_path": command(run, "natural", f"--ckpt_path={file}"),
        "validate --ckpt_path": command(run, "natural", f"--ckpt_path={file}", verb="validate"),
        "teacher": command(run, "ard", f"{TEACHER}={file}"),
        "init": command(run, "natural", f"--model.init_args.init={file}"),
        "evaluate": ["evaluate", str(file), "--network", "network.yaml", "--data", "data.yaml", "--eps", "0.1"],
        "evaluate --teacher": ["evaluate", str(good), "--teacher", str(file), "--suite", "standard", "--limit", "10"],
    }


@pytest.mark.fault(12)
def test_a_malicious_pickle_runs_nowhere(command, capsys, place, checkpoint, observed):
    file, lines = place / "evil.ckpt", set()
    torch.save({**checkpoint, "hyper_parameters": Bomb(place / "ran")}, file)
    for route, words in routes(command, place, file).items():
        status, _, err = cli(capsys, *words)
        assert (status, err.count("\n"), "refused, " in err) == (2, 1, True), f"{route}: {err}"
        lines.add(re.sub(r"\d+ bytes", "N bytes", err.split("refused, ")[1]))
        assert not (place / "ran").exists(), route
    assert len({line.replace("a checkpoint", "a plain file of weights") for line in lines}) == 1
    assert all(f"it asks for {os.mkdir.__module__}.mkdir" in line for line in lines)
    assert not any("weights_only" in line for line in lines)  # torch's own advice is to load it unsafely
    observed(f"6 ways to load it, exit 2 each, nothing ran: refused, {min(lines)}")


@pytest.mark.parametrize("name", ["", "data.pkl", "DATA.PKL"])
def test_a_few_bytes_that_ask_for_much_memory_get_none(name, tmp_path):
    content = pickle.dumps(Zeros(2**40), protocol=2)
    file = tmp_path / "zeros.pt"
    file.write_bytes(content)
    if name:
        with zipfile.ZipFile(file, "w") as archive:
            archive.writestr(f"zeros/{name}", content)
            archive.writestr("zeros/version", "3")
    with user_error("zeros.pt: refused, not a plain file of weights .it asks for builtins.bytearray"):
        plain_from(file.read_bytes(), file)


def test_a_file_that_is_an_archive_at_its_end_alone_is_refused(tmp_path):
    """torch would read its beginning."""
    file = tmp_path / "both.pt"
    with zipfile.ZipFile(file, "w"):
        pass
    content = pickle.dumps(Zeros(2**40), protocol=2) + file.read_bytes()
    with user_error("both.pt: refused, .*an archive at one end alone"):
        plain_from(content, file)


@pytest.mark.fault(12)
def test_a_malicious_newest_checkpoint_is_passed_over(command, capsys, place, checkpoint, observed):
    run = place / "run"
    assert cli(capsys, *command(run, "natural"))[0] == 0
    torch.save({**checkpoint, "global_step": 10**6, "x": Bomb(place / "ran")}, run / "newest.ckpt")
    status, _, err = cli(capsys, *command(run, "natural", "--resume=auto"))
    assert status == 0
    assert re.search(r"resuming from .*last.ckpt, step 2; skipped: .*newest.ckpt: refused.*it asks for \w+.mkdir", err)
    assert not (place / "ran").exists()
    observed(f"exit {status}: {re.sub('[0-9]+ bytes', 'N bytes', err)}")


@pytest.fixture
def address(place):
    """Where a server offers a malicious checkpoint; it counts who asks."""
    asked = []

    class Handler(http.server.SimpleHTTPRequestHandler):
        def do_GET(self):
            asked.append(self.path)
            super().do_GET()

    torch.save({"state_dict": Bomb(place / "ran")}, place / "evil.ckpt")
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}/evil.ckpt", asked
    server.shutdown()
    server.server_close()


@pytest.mark.fault(12)
def test_an_address_in_the_net_is_not_even_asked(command, capsys, place, address, observed):
    """Lightning would load it with weights_only=False."""
    url, asked = address
    for route, words in routes(command, place, url).items():
        status, _, err = cli(capsys, *words)
        assert (status, err.count("\n")) == (2, 1), route
        if "evaluate" not in route:
            assert f"{url}: nothing is loaded from the net; download it first, then name the file" in err, route
        assert not (place / "ran").exists()
    assert asked == []
    observed(f"exit 2: {err.replace(url, 'http://host/evil.ckpt')}")


@pytest.mark.fault(11)
@pytest.mark.parametrize("verb", ["fit", "validate"])
def test_a_page_is_no_checkpoint(command, capsys, place, observed, verb):
    (place / "page.ckpt").write_text("<!DOCTYPE html><html><body>404: not found</body></html>\n")
    status, _, err = cli(capsys, *command(place / "run", "natural", "--ckpt_path=page.ckpt", verb=verb))
    assert (status, err) == (
        2,
        "ard: page.ckpt: refused, not a checkpoint (not a pickle of tensors, 56 bytes); nothing in it ran\n",
    )
    assert not (place / "run").exists()
    observed(f"exit {status}: {err}")


FOREIGN = {
    "weights alone": lambda content: content["state_dict"],
    "a tensor": lambda content: torch.ones(3),  # noqa: ARG005
    "no optimiser": lambda content: {key: value for key, value in content.items() if key != "optimizer_states"},
    "no tensors": lambda content: {**content, "state_dict": {"student.head.weight": "ones"}},
    "no loops": lambda content: {**content, "loops": 3},
    "no step": lambda content: {**content, "global_step": "many"},
}


@pytest.mark.fault(11)
@pytest.mark.parametrize("kind", FOREIGN)
def test_what_is_no_checkpoint_of_a_run_says_so(command, capsys, place, checkpoint, observed, kind):
    torch.save(FOREIGN[kind](checkpoint), place / "other.ckpt")
    status, _, err = cli(capsys, *command(place / "run", "natural", "--ckpt_path=other.ckpt"))
    assert (status, err.count("\n")) == (2, 1)
    assert re.search(r"other\.ckpt \(\d+ bytes\) is no checkpoint of a run: it holds no \w+", err)
    assert not (place / "run").exists()
    observed(f"{kind}: exit {status}: {re.sub('[0-9]+ bytes', 'N bytes', err)}")
