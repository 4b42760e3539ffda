"""The names of the front door for type checkers; __init__.py says where each is loaded from."""

from analogpipe.aihwkit.layers import from_aihwkit as from_aihwkit
from analogpipe.aihwkit.layers import to_aihwkit as to_aihwkit
from analogpipe.aihwkit.read import from_rpu_config as from_rpu_config
from analogpipe.aihwkit.write import to_rpu_config as to_rpu_config
from analogpipe.calibration.calibrate import calibrate as calibrate
from analogpipe.calibration.calibrate import calibrate_csv as calibrate_csv
from analogpipe.device.parameters import ConstantStep as ConstantStep
from analogpipe.device.parameters import ExpStep as ExpStep
from analogpipe.device.parameters import Ideal as Ideal
from analogpipe.device.parameters import LinearStep as LinearStep
from analogpipe.device.parameters import OneSided as OneSided
from analogpipe.device.parameters import PowStep as PowStep
from analogpipe.device.parameters import SoftBounds as SoftBounds
from analogpipe.device.parameters import SoftBoundsReference as SoftBoundsReference
from analogpipe.experiment.train import train as train
from analogpipe.figures.gantt import figure
from analogpipe.layer.convert import to_analog as to_analog
from analogpipe.layer.convolution import AnalogConv2d as AnalogConv2d
from analogpipe.layer.linear import AnalogLinear as AnalogLinear
from analogpipe.layer.multiply import multiply_in as multiply_in
from analogpipe.layer.steps import train_arrays as train_arrays
from analogpipe.layer.steps import update_arrays as update_arrays
from analogpipe.pipeline.cut import cut as cut
from analogpipe.pipeline.pipeline import Pipeline as Pipeline
from analogpipe.profile.profile import load_devices as load_devices
from analogpipe.profile.profile import load_profile as load_profile
from analogpipe.results.compare import compare as compare
from analogpipe.results.load import load_claims as load_claims
from analogpipe.results.load import load_run as load_run
from analogpipe.results.load import load_runs as load_runs
from analogpipe.results.load import load_schedule as load_schedule
from analogpipe.results.load import load_table as load_table
from analogpipe.schedule.modes import MODES as MODES
from analogpipe.schedule.table import Schedule as Schedule
from analogpipe.schedule.table import build
from analogpipe.tile.config import TileConfig as TileConfig
from analogpipe.tile.config import preset as preset

__version__: str
draw = figure
plan = build
