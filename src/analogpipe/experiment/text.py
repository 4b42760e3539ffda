"""Text as a data set of characters: windows of a file, and at each place the character that follows."""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from analogpipe.settings import ConfigError

SHAKESPEARE = (
    "https://raw.githubusercontent.com/karpathy/char-rnn/master/data/tinyshakespeare/input.txt"
)
CHECKSUM = "86c4e6aa9db7c042ec79f339dcb96d42b0075e16b8fc2e86bf0ca57e2dc565ed"
"""SHA-256 of the Tiny Shakespeare text: 1,115,394 bytes, 65 characters."""
TEST_SHARE = 0.1

Windows = tuple[NDArray[np.uint8], NDArray[np.int64]]


def read(path: Path, context: int, *, download: bool = False) -> tuple[Windows, Windows]:
    """Return training and test windows of a text: characters (N, context), and those that follow.

    Characters are numbered in the order of their codes. The last tenth of the text is the test. Windows do
    not overlap. With ``download``, the Tiny Shakespeare text is fetched to a ``path`` that does not
    exist, and checked.

    Raises:
        ConfigError: there is no such text, it is no UTF-8, has more than 256 characters or is too short.
    """
    if download and not path.exists():
        _download(path)
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "is not UTF-8 text"
        raise ConfigError(f"dataset.path: {path}: cannot be read: {reason}") from None
    codes, numbered = np.unique(
        np.frombuffer(text.encode("utf-32-le"), np.uint32), return_inverse=True
    )
    if len(codes) > 256:
        raise ConfigError(
            f"dataset.path: {path}: found {len(codes)} characters, allowed: at most 256"
        )
    split = len(numbered) - round(TEST_SHARE * len(numbered))
    if len(numbered) - split <= context:
        raise ConfigError(
            f"dataset.context: found {context}, allowed: less than the {len(numbered) - split} characters "
            f"of the test, a tenth of {path}"
        )
    return _windows(numbered[:split], context), _windows(numbered[split:], context)


def _windows(characters: NDArray[np.int64], context: int) -> Windows:
    count = (len(characters) - 1) // context
    inputs = characters[: count * context].reshape(count, context)
    targets = characters[1 : count * context + 1].reshape(count, context)
    return inputs.astype(np.uint8), np.ascontiguousarray(targets, dtype=np.int64)


def _download(path: Path) -> None:
    from torch.hub import download_url_to_file

    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        download_url_to_file(SHAKESPEARE, str(path), hash_prefix=CHECKSUM, progress=False)
    except (OSError, RuntimeError) as error:
        reason = next(iter(str(error).splitlines()), "")
        raise ConfigError(f"dataset.path: {path} could not be downloaded: {reason}") from None
