"""The committed schemas and reference are those of the models, and the shipped profiles fit them."""

import json
from pathlib import Path

import jsonschema
import pytest
import yaml

from analogpipe.profile.profile import Profile
from analogpipe.profile.reference import reference
from analogpipe.tile.config import TileConfig

ROOT = Path(__file__).parents[2]
SCHEMAS = ROOT / "workflow" / "schemas"


@pytest.mark.parametrize(("name", "model"), [("profile", Profile), ("tile", TileConfig)])
def test_schema_is_current(name, model):
    assert json.loads((SCHEMAS / f"{name}.schema.json").read_text()) == model.model_json_schema()


def test_reference_is_current():
    assert (ROOT / "docs" / "config.md").read_text() == reference()


def test_profiles_fit():
    profile = json.loads((SCHEMAS / "profile.schema.json").read_text())
    for path in (ROOT / "config").glob("*.yaml"):
        if path.name != "devices.yaml":
            jsonschema.validate(yaml.safe_load(path.read_text()), profile)


def test_schema_refuses_what_the_model_refuses():
    profile = json.loads((SCHEMAS / "profile.schema.json").read_text())
    content = yaml.safe_load((ROOT / "config" / "quick.yaml").read_text())
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(content | {"modle": 1}, profile)
