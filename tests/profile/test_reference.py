"""The committed schemas and reference are those of the models, and the shipped profiles fit them."""

import json
import re
from pathlib import Path

import jsonschema
import pytest
import yaml

from analogpipe.profile.reference import SCHEMAS, reference

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "workflow" / "schemas"


@pytest.mark.parametrize("name", SCHEMAS)
def test_schema_is_current(name):
    committed = json.loads((FOLDER / f"{name}.schema.json").read_text())
    assert committed == json.loads(json.dumps(SCHEMAS[name]()))


def test_reference_is_current():
    assert (ROOT / "docs" / "config.md").read_text() == reference()


FILES = [*(ROOT / "config").glob("*.yaml"), *(ROOT / "tests" / "profiles").glob("*.yaml")]


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_a_file_names_its_schema_and_fits_it(path):
    """Editors read the first line."""
    named = re.match(r"# yaml-language-server: \$schema=(\S+)\n", path.read_text())[1]
    assert (path.parent / named).resolve().parent == FOLDER
    jsonschema.validate(
        yaml.safe_load(path.read_text()), json.loads((path.parent / named).read_text())
    )


def test_schema_refuses_what_the_model_refuses():
    profile = json.loads((FOLDER / "profile.schema.json").read_text())
    content = yaml.safe_load((ROOT / "config" / "quick.yaml").read_text())
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(content | {"modle": 1}, profile)


@pytest.mark.parametrize("tile", [{"preset": "None"}, {"preset": "EcRam", "devise": {}}])
def test_schema_of_devices_refuses_what_is_no_tile(tile):
    devices = json.loads((FOLDER / "devices.schema.json").read_text())
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate({"mine": tile}, devices)
