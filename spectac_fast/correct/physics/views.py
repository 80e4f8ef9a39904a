"""The views of an acquisition, and what is done to them before they are reconstructed: less noise, and views that
nobody took.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Tensor

from spectac_fast.correct.physics.wanted import Wanted
from spectac_fast.formats.dicom.kind.tracer import TECHNETIUM
from spectac_fast.formats.projections import Projections, Window
from spectac_fast.models.views import cunet, dudoss
from spectac_fast.models.views.cunet import CountModel, load_count_model
from spectac_fast.models.views.dudoss import Layout, ViewModel, layout_of, load_view_model
from spectac_fast.reconstruct.acquired import Acquired

# A scatter window begins or ends so near to the photopeak, and is no wider, keV.
_BESIDE_KEV, _WIDEST_KEV = 4.0, 40.0


@dataclass(frozen=True, eq=False)
class Prepared:
    """Views to reconstruct. layout: where the measured ones stand among them, None where all were measured. words: what
    was done, for a header, "" for nothing. notes: sentences.
    """

    acquired: Acquired
    layout: Layout | None = None
    words: str = ""
    notes: tuple[str, ...] = ()

    @property
    def share(self) -> float:
        """Of the views that were measured: counts over all views are to be those of the measured ones."""
        return 1 / self.layout.factor if self.layout else 1.0

    def all_views(self, smooth: Tensor) -> Tensor:
        """What is known of the measured views [V, bins, rows] and changes little from one to the next, of all."""
        if self.layout is None:
            return smooth
        index, between = self.layout.beside(torch.arange(self.layout.all))
        before, behind = smooth[index[:, 1]], smooth[index[:, 2]]
        return torch.lerp(before, behind, between[:, None, None].to(smooth))


class Preparation:
    """The networks that settings ask for. settings: what identifies them, for a manifest; empty without any."""

    def __init__(self, wanted: Wanted) -> None:
        self._counts: CountModel | None = None
        self._views: ViewModel | None = None
        if wanted.denoise is not None:
            self._counts = load_count_model(_file(wanted.denoise, cunet.NAME), device="cpu")
        if wanted.views_by is not None:
            self._views = load_view_model(_file(wanted.views_by, dudoss.NAME), device="cpu")

    @property
    def settings(self) -> Mapping[str, str]:
        found = {"denoise": self._counts, "views by": self._views}
        return {name: model.weights_sha256 for name, model in found.items() if model is not None}

    def prepare(self, acquired: Acquired, projections: Projections) -> Prepared:
        """The views of `projections` as they are to be reconstructed; acquired: its photopeak.

        Missing views are made of what was counted, not of what denoising makes of it. Raises InputError for views that
        cannot be completed.
        """
        counts, views, path = self._counts, self._views, projections.path
        words, notes, layout = list[str](), list[str](), None
        if (counts or views) and projections.isotope != TECHNETIUM:
            notes.append(f"its counts are of {projections.isotope}; the networks of views learnt of {TECHNETIUM}.")
        made = acquired
        if views is not None:
            layout = layout_of(acquired, path)
            if layout is None:
                notes.append("its views are near enough to each other; none was added.")
            else:
                notes += views.learnt.doubts(acquired, dudoss.NAME)
                made = views.completed(acquired, layout)
                words.append(
                    f"{layout.factor - 1} of {layout.factor} views by {dudoss.NAME}, weights "
                    f"{views.weights_sha256[:12]}"
                )
        if counts is not None:
            notes += counts.learnt.doubts(acquired, cunet.NAME)
            if not torch.equal(acquired.counts, acquired.counts.round()):
                notes.append(
                    f"its counts are no whole numbers, as of views that were scaled or averaged; {cunet.NAME} learnt "
                    "of counts as they are counted."
                )
            less_noise = counts.denoised(acquired)
            if layout is None:
                made = replace(acquired, counts=less_noise, _projectors={})
            else:
                made.counts[layout.measured] = less_noise
            words.append(f"counts denoised by {cunet.NAME}, weights {counts.weights_sha256[:12]}")
        return Prepared(made, layout, ", ".join(words), tuple(notes))


def _file(asked: str | Path, name: str) -> Path | None:
    """The weight file that was asked for; None for the shipped one."""
    return None if str(asked) == name else Path(asked)


def window_beside(projections: Projections, side: int) -> Window | None:
    """The scatter window next below (-1) or above (1) the photopeak."""
    peak = projections.peak.ranges_kev
    if not peak:
        return None
    low, high = min(each[0] for each in peak), max(each[1] for each in peak)
    for window in projections.others:
        if len(window.ranges_kev) != 1 or window.width_kev > _WIDEST_KEV:
            continue
        first, last = window.ranges_kev[0]
        if abs(last - low if side < 0 else first - high) <= _BESIDE_KEV:
            return window
    return None
