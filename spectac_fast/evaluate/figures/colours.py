"""Colour maps of the figures, built so that equal steps of the value are equal steps of lightness.

``perfusion``: the warm map of nuclear cardiology, black - red - orange - yellow - white, with CIE lightness L* strictly
linear in the value: unlike the customary "hot iron" tables it has no bands, and it reads right in grey.
``table``: that one, or others that readers are used to, by name.
``difference``: blue below zero, black at zero, red above, so that agreement is as dark as the background.
"""

from __future__ import annotations

import numpy as np
from matplotlib.colors import Colormap, LinearSegmentedColormap, ListedColormap

_PERFUSION = ("#000000", "#4d0a1e", "#8f1318", "#c93a0c", "#ec7512", "#fbb32b", "#fde581", "#ffffff")
# Along the customary tables of workstations; each vendor's own differ a little.
_CUSTOMARY = {
    "cool": ("#000000", "#23106b", "#2b3fd0", "#1a9fc4", "#27c06a", "#d8d426", "#f07f1c", "#e02020", "#ffffff"),
    "grey": ("#000000", "#ffffff"),
    "french": ("#000000", "#001a80", "#0050e0", "#00b0e8", "#00c878", "#ffe600", "#ff8c00", "#ff1e1e", "#ffb0c8"),
}
TABLES = ("warm", *_CUSTOMARY)
_BELOW = ("#000000", "#0b2f6b", "#2a78c8", "#a9e0ff")
_ABOVE = ("#000000", "#64101c", "#d1452f", "#ffd2b8")


def _linear_rgb(srgb: np.ndarray) -> np.ndarray:
    return np.where(srgb <= 0.04045, srgb / 12.92, ((srgb + 0.055) / 1.055) ** 2.4)


def lightness(srgb: np.ndarray) -> np.ndarray:
    """CIE L* (0..100) of sRGB colours [..., 3] in 0..1 (IEC 61966-2-1; CIE 15)."""
    y = _linear_rgb(np.asarray(srgb, dtype=np.float64)) @ np.array([0.2126729, 0.7151522, 0.0721750])
    return np.where(y > (6 / 29) ** 3, 116 * np.cbrt(y) - 16, y * (29 / 3) ** 3)


def _even_lightness(anchors: tuple[str, ...], steps: int) -> np.ndarray:
    """Colours [steps, 3] along the polyline of ``anchors``, respaced so that L* rises in equal steps."""
    corners = np.array([[int(a[i : i + 2], 16) / 255 for i in (1, 3, 5)] for a in anchors])
    dense = np.linspace(0, len(corners) - 1, 4001)
    path = np.stack([np.interp(dense, np.arange(len(corners)), corners[:, k]) for k in range(3)], axis=1)
    light = lightness(path)
    where = np.interp(np.linspace(light[0], light[-1], steps), light, np.arange(len(path)))
    return np.stack([np.interp(where, np.arange(len(path)), path[:, k]) for k in range(3)], axis=1)


def perfusion() -> ListedColormap:
    """Black - red - orange - yellow - white, 256 colours."""
    return ListedColormap(_even_lightness(_PERFUSION, 256), name="perfusion")


def table(name: str) -> Colormap:
    """The colours of counts by name, one of `TABLES`: "warm" is `perfusion`; 256 colours."""
    if name == "warm":
        return perfusion()
    if name == "grey":
        return ListedColormap(_even_lightness(_CUSTOMARY[name], 256), name=name)
    # Their lightness rises and falls by custom, so that colours tell levels.
    return LinearSegmentedColormap.from_list(name, _CUSTOMARY[name], 256)


def difference() -> ListedColormap:
    """Pale blue - blue - black - red - pale red, 257 colours, zero in the middle."""
    below, above = _even_lightness(_BELOW, 129), _even_lightness(_ABOVE, 129)
    return ListedColormap(np.concatenate([below[:0:-1], above]), name="difference")
