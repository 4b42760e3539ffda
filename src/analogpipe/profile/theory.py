"""Sizes of the theory's experiments: the section ``theory`` of a profile."""

from typing import Annotated, Literal

from pydantic import Field, model_validator

from analogpipe.settings import Strict

Positive = Annotated[float, Field(gt=0)]


class Theory(Strict):
    """Sizes of the experiments on a least-squares problem (docs/theory.md)."""

    rows: int = Field(ge=2, description="independent problems per setting, the seeds of the theory")
    stages: list[Literal[2, 4, 8]] = Field(min_length=1, description="stage counts of async")
    mini_batch: int = Field(default=4, ge=1, description="micro-batches per update of sync")
    samples: list[Annotated[int, Field(ge=1)]] = Field(
        min_length=2, description="micro-batches K of the runs with the best step of that length"
    )
    sigma: Positive = Field(default=0.3, description="standard deviation of a target")
    size: Positive = Field(default=0.1, description="|w*| of every weight")
    tau: Positive = Field(default=0.6, description="dynamic range of the linear device")
    dw_min: Positive = Field(
        default=3e-5, description="change by one pulse; fine, to show the bias"
    )
    floor_rows: int = Field(ge=2, description="independent problems per setting of the error floor")
    floor_samples: int = Field(
        ge=4, description="micro-batches of a run of the floor; the first half is left out"
    )
    floor_step: Positive = Field(default=0.05, description="step of the runs of the floor")
    ranges: list[Positive] = Field(min_length=1, description="values of tau, for the floor")
    sigmas: list[Positive] = Field(min_length=1, description="values of sigma, for the floor")
    sizes: list[Positive] = Field(min_length=1, description="values of |w*|, for the floor")
    dw_mins: list[Positive] = Field(default=[], description="values of dw_min, for the floor")
    noises: list[Positive] = Field(
        default=[], description="values of the read-out noise, for the floor"
    )

    @model_validator(mode="after")
    def _long_enough(self) -> "Theory":
        short = [k for k in self.samples if k % self.mini_batch]
        if short:
            raise ValueError(
                f"samples: found {short[0]}, allowed: multiples of mini_batch, {self.mini_batch}"
            )
        return self
