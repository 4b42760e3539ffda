"""Published devices by name, with the parameters of AIHWKit 1.1.0's preset devices. Torch-free."""

from analogpipe.device.parameters import (
    ConstantStep,
    ExpStep,
    LinearStep,
    OneSided,
    Pulsed,
    SoftBoundsReference,
)

PRESETS: dict[str, Pulsed | OneSided] = {
    # Gokmen and Vlasov, Front. Neurosci. 2016, with the range of 1200 states of AIHWKit's preset
    "GokmenVlasov": ConstantStep(
        dw_min=0.0016, dw_min_dtod=0.3, dw_min_std=0.3, up_down_dtod=0.01, w_max=1.0, w_min=-1.0
    ),
    # as before, with finer and symmetric steps
    "Idealized": ConstantStep(
        dw_min=0.0002, dw_min_dtod=0.3, dw_min_std=0.3, up_down_dtod=0.0, w_max=1.0, w_min=-1.0
    ),
    # Gong et al., Nat. Commun. 2018, fitted by exponential steps and by soft bounds
    "ReRamES": ExpStep(
        dw_min=0.00135,
        up_down=0.259359,
        w_max=1.0,
        w_min=-1.0,
        a=-0.5,
        b=-0.5,
        gamma_up=5.0,
        gamma_down=5.0,
        A_up=-1.18445,
        A_down=-0.081404,
        dw_min_dtod=0.2,
        up_down_dtod=0.05,
        dw_min_std=5.0,
        write_noise_std=75.0,
    ),
    "ReRamSB": SoftBoundsReference(
        dw_min=0.002,
        w_max=1.25,
        w_min=-0.75,
        w_max_dtod=0.3 / 1.25,
        w_min_dtod=0.3 / 0.75,
        dw_min_dtod=0.3,
        up_down_dtod=0.01,
        dw_min_std=3.75,
        write_noise_std=56.0,
    ),
    # Tang et al., IEDM 2018 (lithium ECRAM)
    "EcRam": LinearStep(
        dw_min=0.002,
        w_max=1.1724,
        w_min=-0.8276,
        gamma_up=0.1153,
        gamma_down=0.5085,
        gamma_up_dtod=0.05,
        gamma_down_dtod=0.05,
        dw_min_dtod=0.1,
        up_down_dtod=0.01,
        w_max_dtod=0.05,
        w_min_dtod=0.05,
        dw_min_std=0.3,
    ),
    # Kim et al., IEDM 2019 (metal-oxide ECRAM)
    "EcRamMO": LinearStep(
        dw_min=2.8214e-4,
        w_max=1.1714,
        w_min=-0.8286,
        gamma_up=0.4152,
        gamma_down=0.7342,
        gamma_up_dtod=0.05,
        gamma_down_dtod=0.05,
        dw_min_dtod=0.1,
        up_down_dtod=0.01,
        w_max_dtod=0.05,
        w_min_dtod=0.05,
        dw_min_std=2.0,
    ),
    # Li et al., VLSI 2018 (capacitor; without its slow discharge)
    "Capacitor": LinearStep(
        dw_min=0.005,
        w_max=1.0,
        w_min=-1.0,
        mult_noise=False,
        gamma_up=0.05,
        gamma_down=0.05,
        gamma_up_dtod=0.01,
        gamma_down_dtod=0.01,
        dw_min_dtod=0.1,
        up_down_dtod=0.06,
        w_max_dtod=0.07,
        w_min_dtod=0.07,
        dw_min_std=0.3,
    ),
    # Nandakumar et al., Front. Neurosci. 2020 (phase-change memory, a pair with refresh)
    "PCM": OneSided(
        element=ExpStep(
            dw_min=0.01,
            w_max=2.0,
            w_min=0.0,
            a=-1.0,
            b=0.0,
            gamma_up=2.5,
            gamma_down=2.5,
            A_up=-27.235,
            A_down=-2.235,
            dw_min_dtod=0.2,
            up_down_dtod=0.05,
            w_max_dtod=0.1,
            w_min_dtod=0.0,
            dw_min_std=0.6,
            dw_min_std_add=0.042,
            dw_min_std_slope=0.108,
        ),
        reset=0.01,
        reset_dtod=0.02,
        reset_std=0.01,
    ),
}
