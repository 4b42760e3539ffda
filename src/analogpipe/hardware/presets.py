"""Published accelerators by name, and a user's own from a file.

Sources: H Haensch 2019 (10.1109/JPROC.2018.2871057); GV Gokmen and Vlasov 2016
(10.3389/fnins.2016.00333, in part by way of Li); R Rasch 2024 (10.1038/s41467-024-51221-z);
Li 2025 (arXiv 2510.02516); S Marinella 2018 (10.1109/JETCAS.2018.2796379); I Shafiee 2016
(10.1109/ISCA.2016.12); TPU Jouppi 2021 (TPUv4i, by way of accelforge). docs/hardware.md says how
each number follows.
"""

from pathlib import Path
from typing import Any

from analogpipe.files import read_yaml
from analogpipe.hardware.config import Hardware
from analogpipe.settings import ConfigError, checked

# Constants that every preset shares, and what they rest on.
_SHARED: dict[str, tuple[float, str]] = {
    "outer_product_operations": (2, "R, Table 1: one product and one sum; Li counts 1"),
    "output_operations": (4, "assumed"),
    "operation_energy": (
        0.5e-12,
        "fp16 product and sum, from memory; int8 with write-back 1.46 pJ (S)",
    ),
    "value_bits": (8, "R: FP8; S: 8 bit inputs and outputs"),
    "buffer_energy": (
        0.08e-12,
        "S: SRAM, 34 fJ/bit read and 46 fJ/bit written; HBM 14 pJ/bit (TPU)",
    ),
    "link_rate": (6.4e9, "I: chip to chip"),
    "link_energy": (7e-12, "TPU: HBM; chip to chip 51 pJ/bit derived from I"),
    "verify_iterations": (10, "assumed; HERMES takes up to 30"),
    "static_power": (0, "no usable number found"),
    "action_overhead": (0, "no usable number found"),
}
_AMPLIFIERS = 0.7 / 8192  # of 4096 rows and 4096 columns (GV, Li)
_DIGITAL = 175e9 / 512  # of an array with 512 lines (R); scaled with the lines


def _preset(name: str, lines: int, **own: tuple[float, str]) -> Hardware:
    constants = {**_SHARED, **own}
    values: dict[str, Any] = {key: value for key, (value, _) in constants.items()}
    sources = {"lines": own["read_time"][1].split(":")[0]}
    sources |= {key: source for key, (_, source) in constants.items()}
    return Hardware(name=name, lines=lines, sources=sources, **values)


PRESETS: dict[str, Hardware] = {
    hardware.name: hardware
    for hardware in (
        _preset(
            "rpu",
            4096,
            read_time=(80e-9, "H: integration; the conversion behind it is pipelined"),
            conversion_energy=(23e-12, "H: 23 pJ a sample"),
            read_power=(_AMPLIFIERS, "GV, Li: 0.7 W for 4096 rows and columns"),
            pulse_time=(1e-9, "GV, from memory"),
            phases=(4, "H: sign phases"),
            mean_pulses=(10, "GV, from memory: fixed length"),
            pulse_power=(_AMPLIFIERS, "GV, Li: 0.7 W for 4096 rows and columns"),
            scaling_operations=(
                0,
                "H: the update is 40 ns in all; AIHWKit's update management needs 1",
            ),
            digital_rate=(4096 * _DIGITAL, "R: 175 GFLOPS for 512 lines, scaled with the lines"),
            verify_time=(80e-9, "assumed: as a read"),
        ),
        _preset(
            "ibm-proj",
            512,
            read_time=(40e-9, "R: citing Jain 2022"),
            conversion_energy=(23e-12, "H: 23 pJ a sample"),
            read_power=(_AMPLIFIERS, "GV, Li: 0.7 W for 4096 rows and columns"),
            pulse_time=(5e-9, "R, Table 1"),
            phases=(1, "R, Table 1; its Methods count 2"),
            mean_pulses=(5, "R, Table 1"),
            pulse_power=(_AMPLIFIERS, "GV, Li: 0.7 W for 4096 rows and columns"),
            scaling_operations=(1, "R, Table 1: maxima of both vectors"),
            digital_rate=(175e9, "R, Table 1: 0.7 TFLOPS for 4 arrays"),
            verify_time=(40e-9, "assumed: as a read"),
        ),
        _preset(
            "reram-14",
            1024,
            read_time=(384e-9, "S: 128 ns drivers and 256 ns ADC, 8 bit"),
            conversion_energy=(12.21e-9 / 1024, "S: ADC 9.4 nJ and integrators 2.81 nJ a read"),
            read_power=(0.59e-9 / 384e-9 / 2048, "S: the rest of 12.8 nJ a read"),
            pulse_time=(1e-9, "S: shortest pulse"),
            phases=(4, "S: write phases"),
            mean_pulses=(128, "S: slots of an 8 bit pulse length"),
            pulse_power=(2.2e-9 / 512e-9 / 2048, "S: 2.2 nJ an outer product"),
            scaling_operations=(0, "S: the update is 512 ns in all"),
            digital_rate=(1024 * _DIGITAL, "R: 175 GFLOPS for 512 lines, scaled with the lines"),
            verify_time=(384e-9, "assumed: as a read"),
        ),
    )
}


def load(what: str) -> Hardware:
    """Return a preset by its name, or what a YAML file describes.

    A file gives the constants of ``Hardware`` as numbers in SI units or with one (``40 ns``). With
    ``like`` it names a preset for what it leaves out; ``sources`` says where its numbers are from.
    Raises ConfigError or FileError in one line that names the file, the key, what was found and the
    allowed range.
    """
    if what in PRESETS:
        return PRESETS[what]
    if not what.endswith((".yaml", ".yml")):
        raise ConfigError(f"hardware: found {what}, allowed: {', '.join(PRESETS)} or a YAML file")
    path = Path(what)
    given = dict(read_yaml(path))
    like = given.pop("like", None)
    if like is not None and like not in PRESETS:
        raise ConfigError(f"{path}: like: found {like!r}, allowed: {', '.join(PRESETS)}")
    base = PRESETS[like].model_dump() if like is not None else {"sources": {}}
    sources = given.get("sources", {})
    if isinstance(sources, dict):
        changed = {key: f"{path.name}" for key in given if key not in ("name", "sources")}
        given["sources"] = {**base["sources"], **changed, **sources}
    return checked(Hardware, {**base, **given}, path)
