"""SSIM, PSNR and RMSE of every slice from one read of both images.

With window weights k that sum to one, and means, variances and covariance of the two images inside a window,

    SSIM = (2 mx my + C1) (2 c + C2) / ((mx^2 + my^2 + C1) (vx + vy + C2)),    C1 = (0.01 R)^2,  C2 = (0.03 R)^2

(Wang, Bovik, Sheikh and Simoncelli, IEEE Transactions on Image Processing 13:600, 2004, eq. 13; R is the data range),
averaged over the windows that lie inside the slice.

The reference computes that in float64. In float32 variances must not be E[x^2] - E[x]^2, which loses its digits where
an image is flat: the fast implementations mix a window from its parts, and by the law of total variance, with m the
mean of the middle part and d_i = mean_i - m,

    mean = m + sum k_i d_i,    variance = sum k_i (variance_i + d_i^2) - (sum k_i d_i)^2,

likewise the covariance: first down the columns, where the parts are pixels, then along the rows. Instead of vx + vy all
carry the variance of the difference, d = vx + vy - 2 c: equal images then have an SSIM of exactly one.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any, Literal

import torch
from torch import Tensor
from torch.nn.functional import conv2d

from spectac_fast._op import Op
from spectac_fast.ops._check import check_contiguous, check_tensor, check_writing

GAUSSIAN_TAPS, UNIFORM_TAPS = 11, 7
SIGMA = 1.5
C1, C2 = 0.01**2, 0.03**2
"""For a data range of 1: values are divided by the range first."""

# What the kernels read; other integers, and images of two dtypes, become the float that holds both.
_READ = (torch.float32, torch.float64, torch.float16, torch.bfloat16, torch.uint8, torch.uint16)
_WIDE = (torch.float64, torch.int32, torch.uint32, torch.int64, torch.uint64)
PIXEL_DTYPES = (*_READ, torch.int8, torch.int16, *_WIDE[1:])
# Beyond these a product of four pixels, counted in the range, may leave float32; of Triton, which has nothing wider,
# where images that fill the range do.
_RANGES, _TRITON_RANGES = (1e-6, 1e9), (1e-14, 1e14)

_SCHEMA = (
    "slice_metrics(Tensor x, Tensor y, float data_range, int taps, bool sample_covariance, "
    "Tensor(a!)? ssim_map) -> Tensor"
)


def weights(taps: int) -> list[float]:
    """The window along one axis: uniform, or for 11 taps a Gaussian of sigma 1.5."""
    radius = taps // 2
    if taps == GAUSSIAN_TAPS:
        values = [math.exp(-0.5 * ((i - radius) / SIGMA) ** 2) for i in range(taps)]
    else:
        values = [1.0] * taps
    return [value / sum(values) for value in values]


def covariance_norm(taps: int, sample_covariance: bool) -> float:
    """What variances and covariances are multiplied by: N / (N - 1) for the N pixels of a window, or 1."""
    return taps**2 / (taps**2 - 1) if sample_covariance else 1.0


def window_sums(planes: Tensor, taps: int, padding: int = 0) -> Tensor:
    """Weighted sums over the windows of [..., H, W], with so many zeros around it; one axis after the other."""
    k = planes.new_tensor(weights(taps))
    rows = conv2d(planes.flatten(0, -3).unsqueeze(1), k.view(1, 1, -1, 1), padding=(padding, 0))
    sums = conv2d(rows, k.view(1, 1, 1, -1), padding=(0, padding))
    return sums.view(*planes.shape[:-2], *sums.shape[-2:])


def window_moments(x: Tensor, y: Tensor, taps: int) -> tuple[Tensor, ...]:
    """(mx, my, d, c) of every window inside the slices x, y [..., H, W] of a floating dtype, which float64 should be.

    Pixels are counted from the first one: a level that both images lie on does not cost digits.
    """
    level_x, level_y = x[..., :1, :1], y[..., :1, :1]
    x, y = x - level_x, y - level_y
    e = x - y
    mx, my, me, mean_e2, mean_xy = window_sums(torch.stack([x, y, e, e * e, x * y]), taps).unbind(0)
    return mx + level_x, my + level_y, mean_e2 - me * me, mean_xy - mx * my


def ssim_of_windows(x: Tensor, y: Tensor, data_range: float, taps: int, sample_covariance: bool) -> Tensor:
    """SSIM of every window inside the slices x, y [..., H, W] of a floating dtype; differentiable."""
    mx, my, d, c = window_moments(x, y, taps)
    norm = covariance_norm(taps, sample_covariance) / data_range**2
    luminance = C1 + 2 * mx * my / data_range**2
    structure = C2 + 2 * norm * c
    return luminance * structure / ((luminance + ((mx - my) / data_range) ** 2) * (structure + norm * d))


def _reference(
    x: Tensor, y: Tensor, data_range: float, taps: int, sample_covariance: bool, ssim_map: Tensor | None
) -> Tensor:
    x, y = x.double(), y.double()
    values = ssim_of_windows(x, y, data_range, taps, sample_covariance)
    if ssim_map is not None:
        ssim_map.copy_(values)
    mean_square = ((x - y) ** 2).mean(dim=(1, 2, 3))
    psnr = 10 * torch.log10(data_range**2 / mean_square)
    return torch.stack([values.mean(dim=(1, 2, 3)), psnr, mean_square.sqrt()], dim=1)


def _samples(device: torch.device) -> Iterator[dict[str, Any]]:
    """Calls that between them use every argument: counts, and channels with a map."""

    def pair(*shape: int) -> dict[str, Tensor]:
        return {name: torch.rand(shape, device=device) for name in ("x", "y")}

    counts = {name: (255 * value).to(torch.uint8) for name, value in pair(1, 1, 12, 11).items()}
    yield counts | {"data_range": 255.0, "window": "uniform", "sample_covariance": True}

    # More than one band of rows and more than one strip of columns.
    yield pair(1, 2, 44, 269) | {"data_range": 1.0, "ssim_map": torch.zeros(1, 2, 34, 259, device=device)}


op = Op(_SCHEMA, reference=_reference, triton="spectac_fast.kernels.slice_metrics:slice_metrics", samples=_samples)


def slice_metrics(
    x: Tensor,
    y: Tensor,
    *,
    data_range: float,
    window: Literal["gaussian", "uniform"] = "gaussian",
    sample_covariance: bool = False,
    ssim_map: Tensor | None = None,
    backend: str | None = None,
) -> Tensor:
    """Compare slices of two images; equals scikit-image argument by argument.

    x, y:               [B, H, W] or [B, C, H, W] of any real or integer dtype, of one or of two (a network's bfloat16
                        against a float32 target); H and W at least as long as the window. If one of them is float64 or
                        an integer of 32 bits or more both are compared in float64, otherwise in float32.
    data_range:         distance between the smallest and the largest possible value, for example 2 on [-1, 1]; there is
                        no default. Below 1e-6 and above 1e9 the comparison is in float64 whatever the dtype.
    window:             "gaussian": 11 taps, sigma 1.5 (Wang et al. 2004; scikit-image's `gaussian_weights=True,
                        sigma=1.5`). "uniform": 7 x 7 pixels (scikit-image's default).
    sample_covariance:  divide by N - 1 instead of N; scikit-image's `use_sample_covariance`, which is its default.
    ssim_map:           contiguous [B, H - taps + 1, W - taps + 1], with C if x has it, float64 if the dtypes of x and y
                        ask for float64, else float32; receives the SSIM of every window that lies inside its slice.
                        Element [i, j] belongs to pixel [i + taps // 2, j + taps // 2]. May be None.
    backend:            "reference", "native" or "triton"; None lets the dispatcher choose.

    Returns float64 [B, 3]: SSIM, PSNR in dB, RMSE in the unit of x. With channels, SSIM is their mean, and PSNR and
    RMSE are over all their pixels. PSNR is infinite where both are equal. NaN in a slice makes its numbers NaN, and no
    others.

    The numbers do not depend on the number of threads. Non-contiguous images are copied first. On a GPU float64 is
    computed by the reference. Raises TypeError for a wrong dtype, ValueError for a wrong shape, device, range or
    window, RuntimeError where a gradient would be needed (see `ssim_loss`) or the back end cannot run.
    """
    taps = _taps(window)
    if backend is None and is_ready(x, data_range, _READ) and op.may_try(x, y, ssim_map):
        try:
            return op.default(x, y, data_range, taps, sample_covariance, ssim_map)
        except (RuntimeError, TypeError):
            pass  # Either something is wrong, which is said below, or it has to be made ready.
    _check(x, y, data_range, taps, ssim_map)
    if x.dim() == 3:
        x, y = x.unsqueeze(1), y.unsqueeze(1)
        ssim_map = None if ssim_map is None else ssim_map.unsqueeze(1)
    x, y = compared(x, y, _READ, data_range, backend)
    if backend is None and x.dtype == torch.float64 and x.device.type != "cpu":
        backend = "reference"
    widened = ssim_map is not None and x.dtype == torch.float64 and ssim_map.dtype == torch.float32
    written = torch.empty_like(ssim_map, dtype=torch.float64) if widened else ssim_map
    if written is None and torch.compiler.is_compiling():
        # Inductor fails at an operator that returns something and could, but does not, write something too.
        map_dtype = torch.float64 if x.dtype == torch.float64 else torch.float32
        written = x.new_empty((*x.shape[:2], *(side - taps + 1 for side in x.shape[2:])), dtype=map_dtype)
    scores = op(x, y, float(data_range), taps, bool(sample_covariance), written, backend=backend)
    if widened and ssim_map is not None:
        ssim_map.copy_(written)
    return scores


def _taps(window: str) -> int:
    if window not in ("gaussian", "uniform"):
        raise ValueError(f"slice_metrics: window must be 'gaussian' or 'uniform', found {window!r}.")
    return GAUSSIAN_TAPS if window == "gaussian" else UNIFORM_TAPS


def check_pair(op: str, x: Tensor, y: Tensor, data_range: float, taps: int) -> None:
    """Raise unless x and y are slices of one shape and device, at least as large as the window."""
    if x.dim() not in (3, 4) or 0 in x.shape[1:-2]:
        raise ValueError(f"{op}: x must be [B, H, W] or [B, C, H, W] with C >= 1, found shape {list(x.shape)}.")
    check_tensor(op, "x", x, x, x.shape, PIXEL_DTYPES, "x")
    check_tensor(op, "y", y, x, x.shape, PIXEL_DTYPES, "x")
    if min(x.shape[-2:]) < taps:
        raise ValueError(f"{op}: x must have sides of at least {taps} pixels, found shape {list(x.shape)}.")
    if not 0 < data_range < math.inf:
        raise ValueError(f"{op}: data_range must be positive and finite, found {data_range}.")


def is_ready(x: Tensor, data_range: float, read: tuple[torch.dtype, ...]) -> bool:
    """Whether compiled code can take such an image and range as they are, as far as it does not say so itself."""
    ordinary = x.dtype in read and (x.is_cpu or x.dtype != torch.float64)
    return ordinary and x.dim() == 4 and _RANGES[0] <= data_range <= _RANGES[1]


def compared(
    x: Tensor, y: Tensor, read: tuple[torch.dtype, ...], data_range: float, backend: str | None
) -> tuple[Tensor, Tensor]:
    """Both images, contiguous, in a dtype that holds both and bears the range: theirs, where it is one that is read."""
    least, most = _TRITON_RANGES if backend == "triton" else _RANGES
    if not least <= data_range <= most:
        dtype = torch.float64
    elif x.dtype == y.dtype and x.dtype in read:
        dtype = x.dtype
    else:
        dtype = compared_in(x, y)
    return x.to(dtype).contiguous(), y.to(dtype).contiguous()


def compared_in(x: Tensor, y: Tensor) -> torch.dtype:
    """The float that holds both dtypes."""
    return torch.float64 if x.dtype in _WIDE or y.dtype in _WIDE else torch.float32


def _check(x: Tensor, y: Tensor, data_range: float, taps: int, ssim_map: Tensor | None) -> None:
    check_pair("slice_metrics", x, y, data_range, taps)
    if ssim_map is not None:
        shape = [*x.shape[:-2], *(side - taps + 1 for side in x.shape[-2:])]
        check_tensor("slice_metrics", "ssim_map", ssim_map, x, shape, (compared_in(x, y),), "x")
        check_contiguous("slice_metrics", "ssim_map", ssim_map)
    check_writing("slice_metrics", {"x": x, "y": y}, {"ssim_map": ssim_map})
