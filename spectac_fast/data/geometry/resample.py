"""In-plane resampling by millimetres: to the pixel size a model was trained at, and back without losing detail.

Values are intensities, not sums: a uniform field keeps its value. Both grids share the centre of the field; the
model's grid covers the whole field. Each axis is a small matrix of triangular weights whose width is the larger of the
two pixel sizes: linear interpolation when pixels shrink, an antialiased (area-aware) average when they grow.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from spectac_fast.errors import InputError
from spectac_fast.formats.series import Series

# Within one percent nothing is resampled: that is a third of a pixel at the edge of a 64-pixel field and nothing at the
# heart, while interpolation would blur every slice.
SAME_PIXEL = 0.01

# 2 to 10 mm of a model's 6.8: what lies beyond was not measured. Up to 8 mm a correction differs from that of 6.8 mm by
# 2.2 to 2.7 % on average, at 10 mm by 3.6 % (bench/results/fields).
PIXEL_RATIO_REFUSED = (5 / 17, 25 / 17)
PIXEL_RATIO_FLAGGED = (0.7, 1.2)
SLICE_RATIO_FLAGGED = (0.5, 2.0)
SLICES_FLAGGED = (10, 90)
FIELD_FLAGGED_MM = 120.0
FIELD_REFUSED_MM = 1000.0
STACK_REFUSED_MM = 1000.0

# Relative to the scale of the phase: where NC holds less than this, a ratio AC / NC says nothing.
_RATIO_FLOOR = 0.05


def check_pixels(name: str, pixel_mm: tuple[float, float], model_mm: float) -> None:
    """Raise InputError for pixels (row, column), mm, beyond 5/17 to 25/17 of a model's. name: of what has them."""
    low, high = PIXEL_RATIO_REFUSED
    if min(pixel_mm) < low * model_mm * (1 - SAME_PIXEL) or max(pixel_mm) > high * model_mm * (1 + SAME_PIXEL):
        needed = f"{low * model_mm:.3g} to {high * model_mm:.3g} mm"
        raise InputError(f"{name}: the model needs pixels of {needed}, found {_said(pixel_mm)}.")


def _said(pixel_mm: tuple[float, float]) -> str:
    return f"pixels of {pixel_mm[0]:g} x {pixel_mm[1]:g} mm"


def check_geometry(series: Series, model_mm: float) -> list[str]:
    """Hold a series' geometry against the pixel size of a model, mm.

    Returns one sentence for each property that is unusual but can be worked with (pixels finer than 0.7 or coarser than
    1.2 times the model's, slice spacing more than 2 x off, fewer than 10 or more than 90 slices, a field below 120 mm).
    Raises InputError for a pixel beyond 5/17 to 25/17 of the model's, and for a field or a stack longer than 1 m.
    """
    check_pixels(str(series.path), series.pixel_mm, model_mm)
    field = [n * mm for n, mm in zip(series.counts.shape[1:], series.pixel_mm)]
    if max(field) > FIELD_REFUSED_MM:
        raise InputError(
            f"{series.path}: expected a field of at most {FIELD_REFUSED_MM:.0f} mm, found {max(field):.0f} mm."
        )
    length = len(series.counts) * abs(series.slice_mm)
    if length > STACK_REFUSED_MM:
        raise InputError(
            f"{series.path}: expected a stack at most {STACK_REFUSED_MM:.0f} mm long, found {length:.0f} mm "
            f"({len(series.counts)} slices {abs(series.slice_mm):g} mm apart)."
        )

    warnings = []
    ratios = [mm / model_mm for mm in series.pixel_mm]
    low, high = PIXEL_RATIO_FLAGGED
    if min(ratios) < low or max(ratios) > high:
        warnings.append(
            f"{series.path}: the model was trained on pixels of {model_mm:g} mm, found {_said(series.pixel_mm)}."
        )
    low, high = SLICE_RATIO_FLAGGED
    spacing = abs(series.slice_mm)
    if not low <= spacing / model_mm <= high:
        warnings.append(f"{series.path}: the model was trained on slices {model_mm:g} mm apart, found {spacing:g} mm.")
    low, high = SLICES_FLAGGED
    if not low <= len(series.counts) <= high:
        warnings.append(f"{series.path}: expected {low} to {high} slices, found {len(series.counts)}.")
    if min(field) < FIELD_FLAGGED_MM:
        warnings.append(
            f"{series.path}: expected a field of at least {FIELD_FLAGGED_MM:.0f} mm, found {min(field):.0f} mm."
        )
    return warnings


class InPlane:
    """The way between a series' grid and a model's, for slices of one shape.

    Args:
        shape: (rows, columns) of the source.
        pixel_mm: (row, column) pixel size of the source, mm.
        model_mm: pixel size of the model, mm.

    `unchanged` says that both grids are the same, within one percent; `pixel_mm` is the (row, column) pixel size at
    which the model sees the slices.
    """

    def __init__(self, shape: tuple[int, int], pixel_mm: tuple[float, float], model_mm: float) -> None:
        same = [abs(mm / model_mm - 1) <= SAME_PIXEL for mm in pixel_mm]
        self._axes = [None if s else _Axis(n, mm, model_mm) for s, n, mm in zip(same, shape, pixel_mm)]
        self.unchanged = all(same)
        row_mm, column_mm = (mm if s else model_mm for s, mm in zip(same, pixel_mm))
        self.pixel_mm = row_mm, column_mm

    def to_model(self, stack: NDArray[np.floating]) -> NDArray[np.float32]:
        """[slices, rows, columns] on the source's grid -> the same field on the model's grid, float32."""
        return self._apply(stack, "to_model")

    def to_source(self, stack: NDArray[np.floating]) -> NDArray[np.float32]:
        """The way back onto the source's grid; detail finer than the coarser grid is gone."""
        return self._apply(stack, "to_source")

    def carry_back(
        self,
        nc: NDArray[np.float32],
        nc_model: NDArray[np.float32],
        ac_model: NDArray[np.float32],
        *,
        scale: float,
        gain: float,
    ) -> NDArray[np.float32]:
        """Corrected counts on the source's grid, with the source's own detail.

        Interpolating the model's output alone would blur a finer source. What the round trip nc -> nc_model -> back
        loses is therefore added again, multiplied by the local ratio AC / NC, because attenuation weakens an edge by
        the same factor as its surroundings:

            ac = B(ac_model) + B((ac_model + e gain) / (nc_model + e)) (nc - B(nc_model)),   e = 0.05 scale

        B is `to_source`; e keeps the ratio finite in air, where it tends to the gain. A model that multiplies by its
        gain gives exactly gain * nc at any pixel size, and with equal pixel sizes the result is ac_model itself.

        Args:
            nc: NC counts [S, H, W] on the source's grid.
            nc_model, ac_model: NC and corrected counts on the model's grid.
            scale: counts that map to +1 (`spectac_fast.data.scale.count_scale`).
            gain: the model's AC / NC gain.

        Returns float32 [S, H, W], counts >= 0.
        """
        if self.unchanged:
            return ac_model
        floor = _RATIO_FLOOR * scale
        ratio = (ac_model + floor * gain) / (np.maximum(nc_model, 0) + floor)
        detail = nc - self.to_source(nc_model)
        return np.maximum(self.to_source(ac_model) + self.to_source(ratio) * detail, 0).astype(np.float32)

    def carry_back_deviation(
        self,
        nc: NDArray[np.float32],
        nc_model: NDArray[np.float32],
        std_model: NDArray[np.float32],
        *,
        scale: float,
    ) -> NDArray[np.float32]:
        """Standard deviation of the counts that `carry_back` makes, from that of ac_model, [S, H, W] in counts.

        `carry_back` is linear in ac_model, so an error d there becomes B(d) + B(d / (nc_model + e)) (nc - B(nc_model)).
        The errors of a voxel's neighbours go together (the blur of the camera spans several), and where they do
        wholly, deviations add up as errors do; otherwise this is an upper bound. Returns float32 [S, H, W], >= 0.
        """
        if self.unchanged:
            return std_model
        relative = std_model / (np.maximum(nc_model, 0) + _RATIO_FLOOR * scale)
        detail = nc - self.to_source(nc_model)
        return np.abs(self.to_source(std_model) + self.to_source(relative) * detail).astype(np.float32)

    def _apply(self, stack: NDArray[np.floating], way: str) -> NDArray[np.float32]:
        rows, columns = (None if axis is None else getattr(axis, way) for axis in self._axes)
        if rows is not None:
            stack = rows @ stack
        if columns is not None:
            stack = stack @ columns.T
        return np.asarray(stack, np.float32)


class _Axis:
    def __init__(self, n: int, source_mm: float, model_mm: float) -> None:
        # A thousandth of a pixel of rounding must not add a row.
        m = max(1, math.ceil(n * source_mm / model_mm - 1e-3))
        self.to_model = linear_weights(n, source_mm, m, model_mm)
        self.to_source = linear_weights(m, model_mm, n, source_mm)


def linear_weights(n: int, from_mm: float, m: int, to_mm: float) -> NDArray[np.float64]:
    """[m, n] weights from n pixels of `from_mm` to m of `to_mm` about the same centre; each row sums to 1."""
    source = (np.arange(n) - (n - 1) / 2) * from_mm
    target = (np.arange(m) - (m - 1) / 2) * to_mm
    # Beyond the outermost centres the field continues as it ends.
    target = np.clip(target, source[0], source[-1])
    weights = np.maximum(0.0, 1.0 - np.abs(target[:, None] - source[None, :]) / max(from_mm, to_mm))
    return weights / weights.sum(axis=1, keepdims=True)
