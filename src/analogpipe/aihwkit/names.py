"""What attributes of AIHWKit 1.1.0 are called here, and which values of the others mean the same here.

One table for each of its dataclasses, for reading and for writing. Torch-free; AIHWKit is not imported.
"""

from collections.abc import Mapping
from typing import NamedTuple


class Names(NamedTuple):
    """A dataclass of AIHWKit's, by its attributes."""

    ours: Mapping[str, str]
    """Attributes that are entries here, with the names of these."""
    fixed: Mapping[str, tuple[object, ...]]
    """Attributes that must have one of some values: those that do what is done here. A path with a
    dot is that of an attribute's attribute. Of enumerations, the value."""
    idle: frozenset[str]
    """Attributes that change nothing in training while the fixed ones are as they must be."""

    def __or__(self, other: "Names") -> "Names":
        fixed = {**self.fixed, **other.fixed}
        ours = {key: name for key, name in self.ours.items() if key not in other.fixed}
        return Names({**ours, **other.ours}, fixed, self.idle | other.idle)


def _names(same: str = "", idle: str = "", *, fixed: Mapping[str, object] | None = None) -> Names:
    """Names from words: ``theirs=ours``, or one word for both."""
    pairs = [word.partition("=") for word in same.split()]
    values = {
        key: value if isinstance(value, tuple) else (value,) for key, value in (fixed or {}).items()
    }
    ours = {theirs: name or theirs for theirs, _, name in pairs}
    return Names(ours, values, frozenset(idle.split()))


_DRIFT = {"drift.nu": 0.0}
_PULSED = _names(
    "dw_min dw_min_dtod dw_min_std w_max w_min w_max_dtod w_min_dtod up_down up_down_dtod",
    "construction_seed corrupt_devices_range diffusion_dtod lifetime_dtod count_pulses drift "
    "reset reset_dtod reset_std",
    fixed={
        "corrupt_devices_prob": 0.0,
        "diffusion": 0.0,
        "lifetime": 0.0,
        "dw_min_dtod_log_normal": False,
        "enforce_consistency": True,
        "perfect_bias": False,
        "drift.nu": 0.0,
        "drift.nu_dtod": 0.0,
        "drift.nu_std": 0.0,
        "drift.w_noise_std": 0.0,
    },
)
_WRITTEN = _names("write_noise_std", fixed={"apply_write_noise_on_set": True})
_ONE_WAY = _names("", "reverse_offset", fixed={"reverse_up": False, "reverse_down": False})
_POWER = _names("pow_gamma pow_gamma_dtod pow_up_down pow_up_down_dtod")
_NO_REFERENCE = {
    "reference_mean": 0.0,
    "reference_std": 0.0,
    "subtract_symmetry_point": False,
}

DEVICES: dict[str, tuple[str, Names]] = {
    "ConstantStepDevice": ("constant_step", _PULSED),
    "LinearStepDevice": (
        "linear_step",
        _PULSED
        | _WRITTEN
        | _ONE_WAY
        | _names(
            "gamma_up gamma_down gamma_up_dtod gamma_down_dtod mult_noise mean_bound_reference",
            fixed={"allow_increasing": False},
        ),
    ),
    "SoftBoundsDevice": ("soft_bounds", _PULSED | _WRITTEN | _ONE_WAY | _names("mult_noise")),
    "SoftBoundsReferenceDevice": (
        "soft_bounds_reference",
        _PULSED
        | _WRITTEN
        | _names(
            "mult_noise reference_mean reference_std subtract_symmetry_point",
            fixed={"slope_up_dtod": 0.0, "slope_down_dtod": 0.0},
        ),
    ),
    "ExpStepDevice": (
        "exp_step",
        _PULSED
        | _WRITTEN
        | _names("A_up A_down gamma_up gamma_down a b dw_min_std_add dw_min_std_slope"),
    ),
    "PowStepDevice": ("pow_step", _PULSED | _WRITTEN | _POWER),
    "PowStepReferenceDevice": (
        "pow_step",
        _PULSED | _POWER | _names("", "n_estimation_steps", fixed=_NO_REFERENCE),
    ),
    "IdealDevice": (
        "ideal",
        _names("", "construction_seed reset_std", fixed={"diffusion": 0.0, "lifetime": 0.0}),
    ),
    "FloatingPointDevice": (
        "ideal",
        _names("", "drift", fixed={"diffusion": 0.0, "lifetime": 0.0, **_DRIFT}),
    ),
}
"""Devices of one element: class, kind here, attributes. Of two classes of a kind, the first is written."""

_IO = {
    "mv_type": "OnePass",
    "inp_sto_round": False,
    "out_sto_round": False,
    "out_noise_std": 0.0,
    "out_scale": 1.0,
    "w_noise_type": "None",
    "ir_drop": 0.0,
    "out_nonlinearity": 0.0,
    "slope_calibration": 0.0,
    "v_offset_std": 0.0,
    "v_offset_w_min": -1.0,
    "r_series": 0.0,
    "w_read_asymmetry_dtod": 0.0,
    "bm_test_negative_bound": True,
    "nm_thres": 0.0,
}
IO = _names(
    "is_perfect=perfect inp_bound inp_res inp_noise out_bound out_res out_noise noise_management "
    "bound_management max_bm_factor max_bm_res",
    "inp_asymmetry out_asymmetry w_noise ir_drop_g_ratio out_nonlinearity_std",
    fixed=_IO,
)
"""IOParameters."""
MANAGEMENT = {"None": "none", "AbsMax": "abs_max", "Iterative": "iterative"}
"""Values of NoiseManagementType and BoundManagementType."""

UPDATE = _names(
    "desired_bl update_management update_bl_management",
    "x_res_implicit d_res_implicit d_sparsity",
    fixed={
        "fixed_bl": True,
        "pulse_type": "StochasticCompressed",
        "res": (0, -1),
        "sto_round": False,
        "um_grad_scale": 1.0,
    },
)
"""UpdateParameters."""

MAPPING = _names(
    "weight_scaling_omega weight_scaling_columnwise weight_scaling_lr_compensation learn_out_scaling "
    "out_scaling_columnwise max_input_size max_output_size",
    fixed={"digital_bias": True},
)
"""MappingParameter."""

_CELL = _names("", "construction_seed unit_cell_devices")
CELL = _CELL | _names("", "update_policy", fixed={"first_update_idx": 0, "gamma_vec": ([], [1.0])})
"""VectorUnitCell of one device."""
ONE_SIDED = _CELL | _names(
    "refresh_every=every refresh_upper_thres=upper refresh_lower_thres=lower",
    "refresh_forward refresh_update",
    fixed={"units_in_mbatch": True, "copy_inverted": False},
)
"""OneSidedUnitCell."""
RESET = _names("reset reset_dtod reset_std")
"""What a PulsedDevice says beside its response where it is an element of a OneSidedUnitCell."""

_TRANSFER = _CELL | _names(
    "gamma transfer_every=every n_reads_per_transfer=columns units_in_mbatch fast_lr transfer_lr "
    "scale_transfer_lr",
    "transfer_forward transfer_update",
    fixed={
        "gamma_vec": ([],),
        "transfer_every_vec": ([],),
        "transfer_lr_vec": ([],),
        "transfer_columns": True,
        "with_reset_prob": 0.0,
        "random_selection": False,
        "no_self_transfer": True,
    },
)
_BUFFER = _names("momentum forget_buffer", fixed={"step": 1.0})
_CHOPPED = (
    _TRANSFER
    | _BUFFER
    | _names(
        "in_chop_prob in_chop_random out_chop_prob buffer_granularity auto_granularity auto_scale "
        "auto_momentum correct_gradient_magnitudes",
        fixed={"gamma": 0.0, "no_buffer": False},
    )
)
TRANSFERS: dict[str, tuple[str, Names]] = {
    "TransferCompound": ("ttv1", _TRANSFER),
    "BufferedTransferCompound": ("ttv2", _TRANSFER | _BUFFER | _names("thres_scale=threshold")),
    "ChoppedTransferCompound": ("cttv2", _CHOPPED),
    "DynamicTransferCompound": (
        "agad",
        _CHOPPED
        | _names(
            "tail_weightening buffer_cap",
            fixed={
                "in_chop_random": False,
                "out_chop_prob": 0.0,
                "experimental_correct_accumulation": False,
            },
        ),
    ),
}
"""Compounds of a fast and a slow array: class, kind here, attributes."""

MIXED_PRECISION = _names(
    "transfer_every n_rows_per_transfer random_row granularity transfer_lr n_x_bins n_d_bins "
    "stoc_round_x stoc_round_d",
    "device construction_seed",
)
"""MixedPrecisionCompound."""

CONFIGS = (
    "SingleRPUConfig",
    "UnitCellRPUConfig",
    "DigitalRankUpdateRPUConfig",
    "FloatingPointRPUConfig",
)
CONFIG = _names(
    "",
    "runtime pre_post mapping forward backward update device",
    fixed={
        "tile_class.__name__": ("AnalogTile", "FloatingPointTile"),
        "tile_array_class.__name__": "TileModuleArray",
        "runtime.data_type": "float",
        "pre_post.input_range.enable": False,
    },
)
"""What all configurations have."""
