"""The JSON schemas of the configuration files, and the reference that people read, both from the models."""

from collections.abc import Callable
from typing import Any

from analogpipe.device.presets import PRESETS
from analogpipe.profile.profile import Profile
from analogpipe.tile.config import TileConfig
from analogpipe.tile.presets import RULES

HEAD = """# Configuration

A profile is one YAML file, `config/NAME.yaml`; `snakemake --config profile=NAME` or `profile=PATH` runs it.
A devices file maps names to tiles. Unknown keys, wrong types and values out of range are refused before
anything starts. This page is generated from the models (`make docs`); the same models as JSON schemas for
editors are in `workflow/schemas/`.
"""


def devices_schema() -> dict[str, Any]:
    """Return the schema of a devices file: tiles by name, each maybe a preset with changes."""
    tile = TileConfig.model_json_schema()
    definitions = tile.pop("$defs")
    tile["properties"] = {"preset": {"enum": [*PRESETS, *RULES]}, **tile["properties"]}
    return {
        "$defs": {**definitions, "TileConfig": tile},
        "additionalProperties": {"$ref": "#/$defs/TileConfig"},
        "title": "Devices",
        "type": "object",
    }


SCHEMAS: dict[str, Callable[[], dict[str, Any]]] = {
    "profile": Profile.model_json_schema,
    "tile": TileConfig.model_json_schema,
    "devices": devices_schema,
}
"""The schemas of the configuration files, in workflow/schemas/."""


def reference() -> str:
    """Return the reference of all keys as Markdown."""
    parts = [HEAD]
    for title, schema in (
        ("Profile", Profile.model_json_schema()),
        ("Tile", TileConfig.model_json_schema()),
    ):
        parts.append(_section(title, schema))
        parts += [_section(name, part) for name, part in schema.get("$defs", {}).items()]
    return "\n".join(parts)


def _section(title: str, schema: dict[str, Any]) -> str:
    lines = [f"## {title}", "", _text(schema.get("description", "")), ""]
    if "properties" in schema:
        lines += ["| key | value | default | meaning |", "|---|---|---|---|"]
        required = schema.get("required", [])
        for key, value in schema["properties"].items():
            default = "required" if key in required else f"`{_default(value)}`"
            meaning = _text(value.get("description", ""))
            lines.append(f"| `{key}` | {_kind(value)} | {default} | {meaning} |")
    return "\n".join([*lines, ""])


def _text(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")


def _default(value: dict[str, Any]) -> str:
    default = value.get("default", "see there")
    return str(default) if not isinstance(default, dict) else "see there"


def _kind(value: dict[str, Any]) -> str:
    """Describe the allowed values of one key."""
    if "$ref" in value:
        return f"[{(name := value['$ref'].rsplit('/', 1)[-1])}](#{name.lower()})"
    for joint in ("anyOf", "oneOf"):
        if joint in value:
            return " or ".join(_kind(option) for option in value[joint])
    if "enum" in value:
        return ", ".join(f"`{option}`" for option in value["enum"])
    if "const" in value:
        return f"`{value['const']}`"
    if value.get("type") == "array":
        return f"list of {_kind(value.get('items', {}))}"
    below = [*value.get("patternProperties", {}).values(), value.get("additionalProperties")][0]
    if value.get("type") == "object" and isinstance(below, dict):
        return f"mapping of names to {_kind(below)}"
    signs = {"minimum": ">=", "exclusiveMinimum": ">", "maximum": "<=", "exclusiveMaximum": "<"}
    bounds = [f"{sign} {value[name]}" for name, sign in signs.items() if name in value]
    return " ".join([str(value.get("type", "any")), *bounds])
