"""`ard verify`."""

from pathlib import Path

from ard.artifacts.paths import CLAIM, RECORD, weights_file
from ard.artifacts.record_file import read_record
from ard.artifacts.signature import check_signature
from ard.cli.quick_imports import quick_imports
from ard.cli.refusals import check_data, check_weights
from ard.core.errors import UserError
from ard.core.files import existing, replaced_since, sha256
from ard.core.terminal import say
from ard.evaluation.request import Request

DISPROVED = 4  # the exit status for images that do not prove their claim, as of an evaluation that is unreliable


def verify_images(
    file: str,
    weights: str,
    data: str | None = None,
    data_dir: str | None = None,
    network: str | None = None,
    public_key: str | None = None,
    allow_mismatch: bool = False,
) -> int:
    """Check stored adversarial images against weights and data, in this fresh process: ball, range, labels, verdicts.

    Args:
        file: what `ard evaluate --save-adversarial` wrote; or a record, or a run's folder for its record, to see if that is
            whole and of these weights.
        weights: the weights they were made for, a file or a run's folder.
        data: a config with a `data:` section; by default what the weights were trained on.
        data_dir: the folder of the images, where they have moved.
        network: a network that is not ours: its class path, a YAML file {class_path, init_args}, or a run's config.yaml.
        public_key: minisign.pub, or the key in it: FILE.minisig beside the file must be a signature of it by this key, and
            the file names the weights by their SHA-256.
        allow_mismatch: allow other classes or sizes than the weights name.
    """
    check_weights(weights)
    if (record := Path(file) / RECORD).is_file() and not (Path(file) / CLAIM).is_file():
        file = str(record)  # a run's folder
    request = Request(data=data, data_dir=data_dir, network=network, allow_mismatch=allow_mismatch)
    if public_key is None:  # an empty one is a mistake, not a wish to do without
        status = _verify(file, weights, request)
        if Path(f"{file}.minisig").exists():
            say(f"{file}.minisig was not looked at: --public-key KEY checks it")
        return status
    # of a folder of images the claim, which has their digest
    signed = Path(file) / CLAIM if Path(file).is_dir() else Path(file)
    used = {str(signed): sha256(existing(signed, "a record, or adversarial images"))}
    comment = check_signature(signed, public_key)
    status = _verify(file, weights, request)
    if replaced := replaced_since(used):
        raise UserError(replaced[0])
    say(f"{signed}: signed by this key, which covers the weights by their SHA-256; the signer wrote: {comment}")
    return status


def _verify(file: str, weights: str, request: Request) -> int:
    if file.endswith(".json"):
        say(f"{file}: {verify_record(Path(file), Path(weights_file(weights)))}")
        return 0
    check_data(request.data)
    with quick_imports():
        from ard.commands.verify_file import verify_file

    claim, wrong, held = verify_file(Path(file), Path(weights_file(weights)), request)
    say(f"{file}: {claim}: {'; '.join(wrong) or held}")
    return DISPROVED if wrong else 0


def verify_record(file: Path, weights: Path) -> str:
    """What a record proves of itself; raises UserError where it was changed, or is of other weights."""
    record, used = read_record(file), sha256(weights)
    if record.weights.sha256 != used:
        found, of = used[:12], str(record.weights.sha256)[:12]
        raise UserError(
            f"{file} is of other weights than {weights}: of SHA-256 {of}…, these are {found}…; expected its own weights"
        )
    said = f"; its verdict: {record.verdict_in_words}"
    if not record.digest:
        without = f"it has no digest of itself (schema {record.schema}), so a change of it would not be seen"
        return f"of these weights; {without}{said}"
    return f"as it was written, and of these weights{said}"
