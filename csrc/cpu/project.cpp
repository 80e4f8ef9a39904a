// project and photon_survival on the CPU. A task is a view: tile by tile, plane after plane is rotated, attenuated and
// blurred across, and added to one picture per tap; how these are blurred along the slices ends a tile.
#include "project.h"

#include "cpu/blur.h"

namespace sf {
namespace {

// Makes one view of one member of the batch after the other.
class Viewer {
 public:
  Viewer(const ProjectCall& call, const Tiled& volumes, const Tiled* maps)
      : call_(call), volumes_(volumes), attenuator_(call.attenuation, call.stencils, maps, call.nz), n_(call.n()),
        reach_(call.taps.reach), pitch_(tiles_of(call.nz) * kLanes + 2 * reach_), room_(zeros(n_ + 2 * reach_)),
        rows_(Room(kGroup * n_)), pictures_(Room((reach_ + 1) * n_)), sum_(Room(tiles_of(n_ * pitch_))) {}

  // out: [n, nz].
  SF_HD void run(int64_t item, float* out) {
    member_ = item / call_.stencils.views;
    view_ = item % call_.stencils.views;
    std::fill_n(sum(), n_ * pitch_, 0.0f);
    for (int64_t t = 0; t < tiles_of(call_.nz); ++t) {
      std::fill_n(pictures_.get(), (reach_ + 1) * n_, Lanes{});
      if (call_.attenuation.any()) survivals_ = attenuator_.of(member_, view_, t);
      call_.taps.taps ? add_blurred(t) : add_plain(t);
      blur_along(t);
    }
    for (int64_t u = 0; u < n_; ++u) std::copy_n(sum() + u * pitch_ + reach_, call_.nz, out + u * call_.nz);
  }

 private:
  float* sum() const { return reinterpret_cast<float*>(sum_.get()); }

  // Hands every column of a plane that lies in the field to `take`, attenuated.
  template <class Take>
  SF_HD void rotate(int64_t t, int64_t depth, const Span& span, const Take& take) const {
    const Lanes* tile = volumes_.tile(member_, t);
    const int64_t at = call_.stencils.at(view_, depth, 0);
    if (!call_.attenuation.any()) {
      for (int64_t u = span.low; u < span.high; ++u) take(u, rotated(call_.stencils, tile, at + u));
      return;
    }
    for (int64_t u = span.low; u < span.high; ++u)
      take(u, rotated(call_.stencils, tile, at + u) * survivals_(depth * n_ + u));
  }

  SF_HD void add_plain(int64_t t) const {
    Lanes* picture = pictures_.get();
    for (int64_t depth = 0; depth < n_; ++depth)
      rotate(t, depth, span_of(call_.stencils.span, n_, view_, depth), [=](int64_t u, Lanes x) SF_INLINE { picture[u] += x; });
  }

  SF_HD void add_blurred(int64_t t) const {
    Addition addition{rows_.get(), {}, n_, n_, pictures_.get()};
    for (int64_t depth = 0; depth < n_; depth += kGroup) {
      const int64_t widest = taps_of(call_.taps, view_, depth, n_, addition.taps);
      for (int64_t k = 0; k < kGroup; ++k) make_row(t, depth + k, addition.taps[k], rows_.get() + k * n_);
      add_rows(addition, widest);
    }
  }

  // A plane of the tile, blurred across; nothing beyond the last one.
  SF_HD void make_row(int64_t t, int64_t depth, const float* taps, Lanes* row) const {
    const Span span = depth < n_ ? span_of(call_.stencils.span, n_, view_, depth) : Span{0, 0};
    const int64_t reach = reach_of(taps, reach_);
    const int64_t low = std::max<int64_t>(0, span.low - reach), high = std::min(n_, span.high + reach);
    if (span.low >= span.high) return std::fill_n(row, n_, Lanes{}), void();
    Lanes* room = room_.get() + reach_;
    std::fill(room + low - reach, room + span.low, Lanes{});
    rotate(t, depth, span, [=](int64_t u, Lanes x) SF_INLINE { room[u] = x; });
    std::fill(room + span.high, room + high + reach, Lanes{});
    std::fill(row, row + low, Lanes{});
    blur_across(room + low, high - low, taps, reach, row + low);
    std::fill(row + high, row + n_, Lanes{});
  }

  SF_HD void blur_along(int64_t t) const {
    for (int64_t u = 0; u < n_; ++u) {
      float* middle = sum() + u * pitch_ + reach_ + t * kLanes;
      add_lanes(pictures_[u], middle);
      for (int64_t r = 1; r <= reach_; ++r) {
        add_lanes(pictures_[r * n_ + u], middle - r);
        add_lanes(pictures_[r * n_ + u], middle + r);
      }
    }
  }

  const ProjectCall& call_;
  const Tiled& volumes_;
  const Attenuator attenuator_;
  const int64_t n_, reach_, pitch_;
  const Room room_, rows_, pictures_, sum_;
  int64_t member_ = 0, view_ = 0;
  Survivals survivals_{};
};

SF_WIDE void project_view(Viewer& viewer, int64_t item, float* out) { viewer.run(item, out); }

Tensor project(const Tensor& activity, const Tensor& index, const Tensor& weight, const Tensor& span,
               const MaybeTensor& mu, const MaybeTensor& survival, const MaybeTensor& taps, double step) {
  const Tensor views = empty_views(activity, index);
  const ProjectCall call = unpack_project(activity, index, weight, span, mu, survival, taps, step, views);
  if (views.numel() == 0) return views;
  const Tiled volumes(call.activity, call.batch, call.n(), call.nz);
  const auto maps = tiled_maps(call.attenuation, call.batch, call.n(), call.nz);
  torch::stable::parallel_for(0, call.items(), 1, [&](int64_t begin, int64_t end) {
    Viewer viewer(call, volumes, maps.get());
    for (int64_t item = begin; item < end; ++item)
      project_view(viewer, item, call.views + item * call.n() * call.nz);
  });
  return views;
}

// out: [n, n, nz] of the view, of which a tile is filled.
SF_WIDE void survive_tile(const SurvivalCall& call, const Lanes* map, int64_t view, int64_t z, Lanes* passed, float* out) {
  const int64_t nz = call.nz;
  survive<true>(call.stencils, map, call.step, view, passed,
          [=](int64_t column, Lanes survival) SF_INLINE { write_lanes(survival, nz - z, out + column * nz + z); });
}

Tensor photon_survival(const Tensor& mu, const Tensor& index, const Tensor& weight, const Tensor& span, double step) {
  const Tensor result = empty_survival(mu, index);
  const SurvivalCall call = unpack_photon_survival(mu, index, weight, span, step, result);
  if (result.numel() == 0) return result;
  const int64_t n = call.stencils.n, views = call.stencils.views, tiles = tiles_of(call.nz);
  const Tiled maps(call.mu, call.batch, n, call.nz);
  torch::stable::parallel_for(0, call.batch * views * tiles, 1, [&](int64_t begin, int64_t end) {
    const Room passed(n);
    for (int64_t i = begin; i < end; ++i) {
      const int64_t item = i / tiles, t = i % tiles;
      survive_tile(call, maps.tile(item / views, t), item % views, t * kLanes, passed.get(),
                   call.out + item * n * n * call.nz);
    }
  });
  return result;
}

}  // namespace
}  // namespace sf

STABLE_TORCH_LIBRARY_IMPL(spectac_fast, CPU, library) {
  library.impl("project", TORCH_BOX(&sf::project));
  library.impl("photon_survival", TORCH_BOX(&sf::photon_survival));
}
