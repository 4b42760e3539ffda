"""Files that a user may have been given: whatever they hold, the documented error or nothing."""

# ruff: noqa: PT017 -- the error is allowed, not required, and what it says is checked
import json
import os
import shutil
import struct
from pathlib import Path

import pytest
import torch
import yaml
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from analogpipe.calibration.measure import MeasurementError, read_csv
from analogpipe.experiment.checkpoint import Checkpoint, Store
from analogpipe.files import FileError
from analogpipe.profile.profile import load_devices, load_profile, load_tile
from analogpipe.results import run as runs
from analogpipe.results.compare import compare, summary
from analogpipe.schedule.modes import MODES, ScheduleError
from analogpipe.schedule.table import build
from analogpipe.schedule.text import from_text, to_text
from analogpipe.settings import override

ROOT = Path(__file__).parents[2]
PROFILE = (ROOT / "tests" / "profiles" / "tiny.yaml").read_text()
DEVICES = (ROOT / "config" / "devices.yaml").read_text()
many = settings(
    max_examples=200,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)

SCALARS = (
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8)
    | st.sampled_from(["async", "digital", ".inf", "2001-99-99", "soft_bounds", "../../etc", 10**400])
)  # fmt: skip
VALUES = st.recursive(
    SCALARS,
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.text(max_size=6) | st.integers(), inner, max_size=3)
    ),
    max_leaves=6,
)
YAML_TEXT = st.text(alphabet="ab:-[]{},&*!|>#'\"?%@`<~ \n\t0x1.e_\x00\u2028é", max_size=60)


@st.composite
def spoiled(draw: st.DrawFn, text: str) -> bytes:
    """Valid YAML with one value replaced, or with some bytes replaced."""
    if draw(st.booleans()):
        content = yaml.safe_load(text)
        section, key = content, draw(st.sampled_from(sorted(content)))
        while isinstance(section[key], dict) and section[key] and draw(st.booleans()):
            section = section[key]
            key = draw(st.sampled_from(sorted(section)))
        section[key] = draw(VALUES)
        return yaml.safe_dump(content, allow_unicode=True).encode("utf-8", "surrogatepass")
    data = bytearray(text.encode())
    start = draw(st.integers(0, len(data)))
    data[start : start + draw(st.integers(0, 20))] = draw(st.binary(max_size=8))
    return bytes(data)


LAUGHS = "a0: &a0 [ha]\n" + "".join(
    f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 9)}]\n" for i in range(1, 30)
)
NASTY = [
    b"profile: 0x" + b"f" * 5000,
    b"stages: " + b"[" * 5000,
    b"seeds: &a [*a]",
    b"&a {profile: *a}",
    b"? [1, 2]\n: 3",
    b"!!python/object/apply:os.system ['touch hacked']",
    b"profile: !!binary '=='",
    b"profile: 2001-99-99",
    b"profile: !!int 'x'",
    b"profile: 1:99:99999999999999999999.5",
    b"%YAML 9.9\n---\na: 1",
    LAUGHS.encode() + b"profile: *a29",
    b"<<: [1]",
    b"\xff\xfe\x00",
    PROFILE.replace("0.1", ".inf").encode(),
]


def refused_or_read(read, path: Path, content: bytes, error: type[Exception] = FileError) -> object:
    """Read a file with this content; the documented error must have one line that says something."""
    path.write_bytes(content)
    try:
        return read(path)
    except error as found:
        assert str(found)
        assert len(str(found).splitlines()) == 1
        assert len(str(found)) < 2000
        return None


@many
@given(content=spoiled(PROFILE) | YAML_TEXT.map(lambda t: t.encode()) | st.binary(max_size=40))
def test_profile(tmp_path, content):
    refused_or_read(load_profile, tmp_path / "profile.yaml", content)


@many
@given(content=spoiled(DEVICES) | YAML_TEXT.map(lambda t: t.encode()) | st.binary(max_size=40))
def test_devices(tmp_path, content):
    refused_or_read(load_devices, tmp_path / "devices.yaml", content)


@pytest.mark.parametrize("read", [load_profile, load_devices, load_tile])
@pytest.mark.parametrize("content", NASTY, ids=range(len(NASTY)))
def test_nasty_yaml(tmp_path, monkeypatch, read, content):
    monkeypatch.chdir(tmp_path)
    assert refused_or_read(read, tmp_path / "file.yaml", content) is None
    assert os.listdir(tmp_path) == ["file.yaml"]


@many
@given(text=st.text(max_size=30) | st.tuples(st.text(max_size=8), YAML_TEXT).map("=".join))
@example("a=" + "[" * 100_000)
@example("a=0x" + "f" * 5000)
def test_override(text):
    content = yaml.safe_load(PROFILE)
    try:
        override(content, [text])
    except FileError as error:
        assert len(str(error).splitlines()) == 1
    assert content == yaml.safe_load(PROFILE)


MEASURED = "pulse,polarity,conductance\n0,0,0\n" + "".join(
    f"{i},{1 if i <= 40 else -1},{min(i, 80 - i) * 0.01 + 0.001 * (i % 3)}\n" for i in range(1, 81)
)


@many
@given(
    start=st.integers(0, 800),
    length=st.integers(0, 300),
    new=st.binary(max_size=6) | st.sampled_from([b",", b"\n", b"inf", b"1e999", b'"', b"0", b"-"]),
)
@example(0, 10**6, b"")
@example(0, 10**6, b"pulse,pulse,polarity,conductance\n1,1,1,1\n")
@example(0, 10**6, b"pulse,polarity,conductance,element\n1,1,inf,[]\n")
def test_measured(tmp_path, start, length, new):
    text = MEASURED.encode()
    path = tmp_path / "measured.csv"
    path.write_bytes(text[:start] + new + text[start + length :])
    try:
        read_csv(path, 0.6)
    except MeasurementError as error:
        assert str(error)


@st.composite
def tables(draw: st.DrawFn) -> str:
    """The text of a schedule with some tokens or characters replaced."""
    mode = draw(st.sampled_from(MODES))
    sync = mode.startswith("sync")
    text = to_text(build(mode, draw(st.integers(1, 3)), 4, 2 if sync else 1))
    for _ in range(draw(st.integers(0, 3))):
        start = draw(st.integers(0, len(text)))
        new = draw(
            st.sampled_from([".", "F1", "B0+U0", "U9", "+", "\n", " ", "9", "#", "٣", "F99999"])
        )
        text = text[:start] + new + text[start + draw(st.integers(0, 4)) :]
    return text


HEADER = "# mode=async stages={} micro_batches={} mini_batch={}\n"


@many
@given(text=tables() | st.text(max_size=60))
def test_schedule(text):
    try:
        table = from_text(text)
    except ScheduleError as error:
        assert str(error)
    else:
        assert from_text(to_text(table)) == table


@pytest.mark.parametrize(
    "text",
    [
        HEADER.format("9" * 5000, 1, 1) + "F0 B0+U0\n",
        HEADER.format(1, "9" * 30, 1) + "F0 B0+U0\n",
        HEADER.format(1, 10**13, 1) + "F0 B0+U0\n",
        HEADER.format(1, 1, 10**30) + "F0 B0+U0\n",
        HEADER.format(1, 1, 1) + "F99999999999999999999999 B0+U0\n",
        HEADER.format(1, 1, 1) + "F0+F0+F0 B0\n",
        HEADER.format(0, 0, 0),
    ],
)
def test_nasty_schedule(text):
    with pytest.raises(ScheduleError):
        from_text(text)


@pytest.fixture(scope="module")
def checkpoint_bytes(tmp_path_factory) -> bytes:
    store = Store(tmp_path_factory.mktemp("checkpoint"), "key")
    store.save(3, {"w": torch.arange(6.0).view(2, 3)}, {"rows": [1], "seconds": 2.0})
    return (store.folder / "000000003.safetensors").read_bytes()


def with_header(header: object, body: bytes = b"") -> bytes:
    """A safetensors file with a header of one's own."""
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + body


@many
@given(start=st.integers(0, 400), length=st.integers(0, 300), new=st.binary(max_size=12))
def test_checkpoint(tmp_path, checkpoint_bytes, start, length, new):
    content = checkpoint_bytes[:start] + new + checkpoint_bytes[start + length :]
    (tmp_path / "000000003.safetensors").write_bytes(content)
    found = Store(tmp_path, "key").load()
    assert found is None or isinstance(found, Checkpoint)


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\x80\x04cos\nsystem\n(S'touch hacked'\ntR.",
        struct.pack("<Q", 2**63) + b"{}",
        with_header({}),
        with_header(b"[" * 100_000),
        with_header({"__metadata__": {"key": "key"}}),
        with_header({"__metadata__": {"key": "key", "notes": "1"}}),
        with_header({"__metadata__": {"key": "key", "notes": "[" * 100_000}}),
        with_header({"__metadata__": {"key": "other", "notes": "{}"}}),
        with_header(
            {
                "__metadata__": {"key": "key", "notes": "{}"},
                "w": {"dtype": "F32", "shape": [2**40], "data_offsets": [0, 2**42]},
            }
        ),
    ],
    ids=range(10),
)
def test_nasty_checkpoint(tmp_path, capsys, content):
    (tmp_path / "000000003.safetensors").write_bytes(content)
    assert Store(tmp_path, "key").load() is None
    assert "000000003.safetensors: checkpoint refused: " in capsys.readouterr().err


def test_other_names_beside_checkpoints(tmp_path, checkpoint_bytes):
    for name in ("000000003.safetensors", "4 copy.safetensors", "5.bak.safetensors"):
        (tmp_path / name).write_bytes(checkpoint_bytes)
    (tmp_path / "000000009.safetensors").mkdir()
    assert Store(tmp_path, "key").load().notes == {"rows": [1], "seconds": 2.0}


@pytest.fixture(scope="module")
def run_files(tmp_path_factory, tiny_profile) -> Path:
    from analogpipe.experiment import train as training

    folder = tmp_path_factory.mktemp("run")
    training.train(
        load_profile(tiny_profile, ["training.epochs=1"]).run("digital", "async", 1, 0), folder
    )
    return folder


@many
@given(
    name=st.sampled_from(["run.json", "metrics.csv", "schedule.txt"]),
    start=st.integers(0, 1500),
    length=st.integers(0, 400),
    new=st.binary(max_size=8) | st.sampled_from([b"{", b"null", b",", b"\n", b"NaN", b'"']),
)
def test_run(tmp_path, run_files, name, start, length, new):
    copy = tmp_path / "run"
    shutil.copytree(run_files, copy, dirs_exist_ok=True)
    content = (copy / name).read_bytes()
    (copy / name).write_bytes(content[:start] + new + content[start + length :])
    try:
        found = runs.read(copy)
        summary(found)
        compare(found, found)
        found.schedule()
    except (FileError, ScheduleError) as error:
        assert str(error)
