"""The JSON of a Keras model, as `model.to_json()` gives it: a net without weights."""

import json
from pathlib import Path

from gpunet.data.raw import clean_name, read_whole
from gpunet.errors import DataError
from gpunet.formats.foreign import NOTHING, Asked, Foreign
from gpunet.formats.keras.net import ERRORS, foreign

MOST_BYTES = 1 << 25


def read(path: Path, asked: Asked = NOTHING) -> Foreign:
    """The net. Raises DataError for what is none, naming all layers that cannot be said.

    `asked`  its `input`, where the file leaves the size of images open, or another is wanted
    """
    try:
        said = json.loads(read_whole(path, MOST_BYTES))
        version = "3" if "module" in said else str(said.get("keras_version", "1"))
    except ERRORS as error:
        raise DataError(f"{path} is no JSON of a Keras model ({clean_name(str(error))})") from None
    return foreign(path, "Keras's JSON", said, version, lambda layer, place, owner: (), asked.input)
