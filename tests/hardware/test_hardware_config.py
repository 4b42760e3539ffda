"""Constants of accelerators: their ranges, units, sources, and one clear line for a mistake."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from analogpipe.files import FileError
from analogpipe.hardware.config import quantities
from analogpipe.hardware.presets import PRESETS, load
from analogpipe.hardware.quantity import Quantity
from analogpipe.settings import ConfigError


def written(folder: Path, text: str) -> str:
    """The name of a file with this text."""
    path = folder / "chip.yaml"
    path.write_text(text)
    return str(path)


@pytest.mark.parametrize("name", PRESETS)
def test_every_constant_of_a_preset_has_unit_source_and_range(name: str) -> None:
    constants = list(PRESETS[name].constants())
    assert len(constants) == 21
    for constant in constants:
        assert constant.low <= constant.value <= constant.high
        assert constant.source != "not given"
        assert constant.unit
        assert constant.meaning


def test_a_file_changes_a_preset(tmp_path: Path) -> None:
    text = """
        name: mine
        like: ibm-proj
        read_time: 60 ns
        pulse_time: 10e-9   # YAML takes this for a text
        link_rate: 25 GB/s
        mean_pulses: 7
        sources: {read_time: "own measurement"}
    """
    mine = load(written(tmp_path, text))
    assert (mine.read_time, mine.pulse_time, mine.link_rate) == pytest.approx((60e-9, 1e-8, 25e9))
    assert mine.lines == PRESETS["ibm-proj"].lines
    source = {constant.name: constant.source for constant in mine.constants()}
    assert source["read_time"] == "own measurement"
    assert source["mean_pulses"] == "chip.yaml"
    assert source["digital_rate"] == PRESETS["ibm-proj"].sources["digital_rate"]


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("read_time: 40", "read_time: found 40 s, allowed: 5 ns to 2.5 us (40 ns meant?)"),
        ("read_time: 40e-6", "read_time: found 40 us, allowed: 5 ns to 2.5 us (40 ns meant?)"),
        ("pulse_time: 5.0", "pulse_time: found 5 s, allowed: 500 ps to 2.5 us (5 ns meant?)"),
        (
            "conversion_energy: 23",
            "conversion_energy: found 23 J, allowed: 400 fJ to 350 pJ (23 pJ meant?)",
        ),
        (
            "operation_energy: 0.5",
            "operation_energy: found 500 mJ, allowed: 100 fJ to 1.5 pJ (500 fJ meant?)",
        ),
        (
            "digital_rate: 175",
            "digital_rate: found 175 op/s, allowed: 50 Gop/s to 8000 Gop/s (175 Gop/s meant?)",
        ),
        (
            "link_rate: 6.4",
            "link_rate: found 6.4 B/s, allowed: 1 GB/s to 100 GB/s (6.4 GB/s meant?)",
        ),
        ("phases: 5", "phases: found 5, allowed: 1 to 4"),
        (
            "read_time: 40 nJ",
            "read_time: found '40 nJ', allowed: a number in s, or with a unit such as 5 ns",
        ),
        ("read_time: [1]", "read_time: found [1], allowed: a number in s, or with a unit such as"),
        ("read_time: true", "read_time: found True, allowed: a number in s"),
        ("read_time: .nan", "read_time: found nan s, allowed: 5 ns to 2.5 us"),
        ("read_time: 1" + "0" * 400, "read_time: found inf s, allowed: 5 ns to 2.5 us"),
        ("read_time: -40 ns", "read_time: found -40 ns, allowed: 5 ns to 2.5 us"),
        ("lines: 0", "lines: found 0, allowed: greater than or equal to 16"),
        ("speed: 3", "speed: unknown key, allowed: action_overhead, buffer_energy"),
        ("sources: {speed: me}", "sources: found speed, allowed: lines, read_time"),
        ("like: tpu", "like: found 'tpu', allowed: rpu, ibm-proj, reram-14"),
    ],
)
def test_a_mistake_gives_one_line_with_file_key_value_and_range(
    tmp_path: Path, line: str, message: str
) -> None:
    head = "name: mine\n" + ("" if line.startswith("like") else "like: ibm-proj\n")
    file = written(tmp_path, head + line + "\n")
    with pytest.raises(ConfigError) as error:
        load(file)
    assert str(error.value).startswith(f"{file}: {message}")
    assert "\n" not in str(error.value)


def test_a_file_without_a_preset_needs_every_constant(tmp_path: Path) -> None:
    file = written(tmp_path, "name: mine\nlines: 512\n")
    with pytest.raises(ConfigError, match=r"chip\.yaml: read_time: missing, a value is required"):
        load(file)


def test_what_is_neither_preset_nor_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(
        ConfigError, match="found abacus, allowed: rpu, ibm-proj, reram-14 or a YAML"
    ):
        load("abacus")
    with pytest.raises(FileError, match="cannot be read"):
        load(str(tmp_path / "none.yaml"))


@given(st.sampled_from(sorted(quantities().items())), st.floats(0, 1))
def test_a_quantity_reads_what_it_writes(named: tuple[str, Quantity], where: float) -> None:
    _, quantity = named
    value = quantity.low + where * (quantity.high - quantity.low)
    rounded = quantity.parse(float(f"{value:.4g}")) if quantity.low else value
    text = quantity.text(rounded)
    assert quantity.parse(text) == pytest.approx(rounded, rel=1e-3, abs=1e-15)
