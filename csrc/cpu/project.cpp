// project and photon_survival on the CPU. A task is a tile of slices of one view: plane after plane is rotated, attenuated
// and blurred across, and added to one picture per tap; how these are blurred along the slices ends the tile.
#include "project.h"

#include "cpu/columns.h"

namespace sf {
namespace {

constexpr int64_t kStrip = 8;  // columns whose way to the detector one task follows

// kWidth slices, or `width` where it is 0.
template <int64_t kTile, int64_t kWidth>
SF_HD void rotate_columns(const Stencils& stencils, const float* volume, const float* survival, int64_t nz, int64_t at,
                          int64_t count, int64_t width, float* out) {
  const int64_t n = kWidth ? kWidth : width;
  for (int64_t u = 0; u < count; ++u, out += kTile) {
    const Stencil x(stencils, volume, nz, at + u);
    if (survival) {
      const float* s = survival + u * nz;
#pragma GCC ivdep
      for (int64_t z = 0; z < n; ++z) out[z] = s[z] * x(z);
    } else {
#pragma GCC ivdep
      for (int64_t z = 0; z < n; ++z) out[z] = x(z);
    }
  }
}

// `count` columns of a plane from `at` on, attenuated if survival is not null.
template <int64_t kTile>
SF_WIDE void rotate(const Stencils& stencils, const float* volume, const float* survival, int64_t nz, int64_t at,
                    int64_t count, int64_t width, float* out) {
  if (width == kTile) return rotate_columns<kTile, kTile>(stencils, volume, survival, nz, at, count, width, out);
  rotate_columns<kTile, 0>(stencils, volume, survival, nz, at, count, width, out);
}

// Adds kGroup planes of n floats to the pictures of all taps, `stride` floats from one plane or picture to the next.
struct Addition {
  const float* planes;
  const float* taps[kGroup];
  int64_t n, stride;
  float* pictures;

  template <int kTaps, bool kFirst>
  SF_HD void pass(int64_t first) const {
    add<kTaps>(planes, taps, first, n, stride, pictures + first * stride);
  }

  template <int kTaps>
  static SF_HD void add(const float* __restrict x, const float* const* taps, int64_t first, int64_t n, int64_t stride,
                        float* __restrict to) {
    float g[kGroup][kTaps + 1];
    for (int j = 0; j < kGroup; ++j)
      for (int k = 0; k < kTaps; ++k) g[j][k] = taps[j][first + k];
#pragma GCC ivdep
    for (int64_t i = 0; i < n; ++i) {
#pragma GCC unroll 8
      for (int k = 0; k < kTaps; ++k) {
        float sum = to[k * stride + i];
#pragma GCC unroll 4
        for (int j = 0; j < kGroup; ++j) sum = fma(g[j][k], x[j * stride + i], sum);
        to[k * stride + i] = sum;
      }
    }
  }
};

SF_WIDE void add_planes(const Addition& addition, int64_t reach) { by_taps(addition, 0, reach); }

// A column of every picture, blurred along: out has `reach` floats more on both sides of the tile.
template <int64_t kTile>
SF_WIDE void blur_along(const float* __restrict pictures, int64_t reach, int64_t stride, float* __restrict out) {
  std::fill_n(out, kTile + 2 * reach, 0.0f);
  float* middle = out + reach;
  for (int64_t z = 0; z < kTile; ++z) middle[z] = pictures[z];
  for (int64_t r = 1; r <= reach; ++r) {
    const float* x = pictures + r * stride;
#pragma GCC ivdep
    for (int64_t z = 0; z < kTile; ++z) middle[z + r] += x[z];
#pragma GCC ivdep
    for (int64_t z = 0; z < kTile; ++z) middle[z - r] += x[z];
  }
}

// One tile of one view.
template <int64_t kTile>
class Tile {
 public:
  Tile(const ProjectCall& call, int64_t item, int64_t tile)
      : call_(call), member_(item / call.stencils.views), view_(item % call.stencils.views), first_(tile * kTile),
        width_(std::min(kTile, call.nz - first_)), reach_(call.taps.reach), plane_(call.n() * kTile),
        room_(zeros(plane_ + 2 * reach_ * kTile)), planes_(zeros(kGroup * plane_)), pictures_(zeros((reach_ + 1) * plane_)) {}

  // out: [n, kTile + 2 * reach].
  void run(float* out) const {
    const int64_t n = call_.n();
    Addition addition{planes_.get(), {}, plane_, plane_, pictures_.get()};
    for (int64_t depth = 0; depth < n; depth += kGroup) {
      int64_t farthest = 0;
      for (int64_t k = 0; k < kGroup; ++k) {
        const float*& taps = addition.taps[k];
        taps = call_.taps.taps ? call_.taps.of(view_, std::min(depth + k, n - 1)) : &kNoBlur;
        const int64_t reach = reach_of(taps, reach_);
        farthest = std::max(farthest, reach);
        const Span span = depth + k < n ? span_of(call_.stencils.span, n, view_, depth + k) : Span{0, 0};
        make(depth + k, span, taps, reach, planes_.get() + k * plane_);
      }
      add_planes(addition, farthest);
    }
    for (int64_t u = 0; u < n; ++u)
      blur_along<kTile>(pictures_.get() + u * kTile, reach_, plane_, out + u * (kTile + 2 * reach_));
  }

 private:
  float* room(int64_t u) const { return room_.get() + (reach_ + u) * kTile; }

  void make(int64_t depth, const Span& span, const float* taps, int64_t reach, float* plane) const {
    const int64_t n = call_.n();
    if (span.low == span.high) {
      std::fill_n(plane, plane_, 0.0f);
      return;
    }
    const int64_t at = call_.stencils.at(view_, depth, span.low), low = std::max<int64_t>(0, span.low - reach);
    const int64_t high = std::min(n, span.high + reach);
    const float* survival = call_.survival.values;
    if (survival) survival += member_ * call_.survival.batch_stride + at * call_.nz + first_;
    std::fill(room(low - reach), room(span.low), 0.0f);
    rotate<kTile>(call_.stencils, call_.activity + member_ * n * n * call_.nz + first_, survival, call_.nz, at,
                  span.high - span.low, width_, room(span.low));
    std::fill(room(span.high), room(high + reach), 0.0f);
    std::fill_n(plane, low * kTile, 0.0f);
    blur_across<kTile>(room(low), high - low, taps, reach, plane + low * kTile);
    std::fill(plane + high * kTile, plane + plane_, 0.0f);
  }

  const ProjectCall& call_;
  const int64_t member_, view_, first_, width_, reach_, plane_;
  const Floats room_, planes_, pictures_;
};

// A view from its tiles, each of which reaches into its neighbours.
template <int64_t kTile>
void join(const ProjectCall& call, const float* tiles, float* out) {
  const int64_t reach = call.taps.reach, pitch = kTile + 2 * reach, n = call.n();
  std::fill_n(out, n * call.nz, 0.0f);
  for (int64_t t = 0; t < tiles_of(call.nz, kTile); ++t) {
    const int64_t begin = t * kTile - reach, low = std::max<int64_t>(0, begin), high = std::min(call.nz, begin + pitch);
    for (int64_t u = 0; u < n; ++u) {
      const float* in = tiles + (t * n + u) * pitch - begin;
      for (int64_t z = low; z < high; ++z) out[u * call.nz + z] += in[z];
    }
  }
}

template <int64_t kTile>
void project_in_tiles(const ProjectCall& call, const Tensor& like) {
  const int64_t tiles = tiles_of(call.nz, kTile), part = call.n() * (kTile + 2 * call.taps.reach);
  const Tensor scratch = torch::stable::new_empty(like, {call.items() * tiles * part});
  float* parts = scratch.mutable_data_ptr<float>();
  torch::stable::parallel_for(0, call.items() * tiles, 1, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) Tile<kTile>(call, i / tiles, i % tiles).run(parts + i * part);
  });
  torch::stable::parallel_for(0, call.items(), 1, [&](int64_t begin, int64_t end) {
    for (int64_t item = begin; item < end; ++item)
      join<kTile>(call, parts + item * tiles * part, call.views + item * call.n() * call.nz);
  });
}

Tensor project(const Tensor& activity, const Tensor& index, const Tensor& weight, const Tensor& span,
               const MaybeTensor& survival, const MaybeTensor& taps) {
  const Tensor views = empty_views(activity, index);
  const ProjectCall call = unpack_project(activity, index, weight, span, survival, taps, views);
  if (views.numel() == 0) return views;
  fits_wide(call.n(), call.taps.reach) ? project_in_tiles<64>(call, activity) : project_in_tiles<32>(call, activity);
  return views;
}

// One plane's columns from `at` on; `passed` is what lies between them and the detector.
SF_WIDE void survive(const SurvivalCall& call, const float* volume, int64_t at, int64_t count, float* __restrict passed,
                     float* __restrict out) {
  const int64_t nz = call.nz;
  const float step = call.step;
  for (int64_t u = 0; u < count; ++u, passed += nz, out += nz) {
    const Stencil x(call.stencils, volume, nz, at + u);
#pragma GCC ivdep
    for (int64_t z = 0; z < nz; ++z) {
      const float own = step * x(z), before = passed[z];
      out[z] = survival_of(fma(0.5f, own, before));
      passed[z] = before + own;
    }
  }
}

Tensor photon_survival(const Tensor& mu, const Tensor& index, const Tensor& weight, const Tensor& span, double step) {
  const Tensor result = empty_survival(mu, index);
  const SurvivalCall call = unpack_photon_survival(mu, index, weight, span, step, result);
  if (result.numel() == 0) return result;
  const int64_t n = call.stencils.n, views = call.stencils.views, strips = (n + kStrip - 1) / kStrip;
  torch::stable::parallel_for(0, call.batch * views * strips, 1, [&](int64_t begin, int64_t end) {
    const Floats passed = zeros(kStrip * call.nz);
    for (int64_t i = begin; i < end; ++i) {
      const int64_t item = i / strips, u = i % strips * kStrip, count = std::min(kStrip, n - u);
      const float* volume = call.mu + item / views * n * n * call.nz;
      std::fill_n(passed.get(), count * call.nz, 0.0f);
      for (int64_t depth = n - 1; depth >= 0; --depth)
        survive(call, volume, call.stencils.at(item % views, depth, u), count, passed.get(),
                call.out + ((item * n + depth) * n + u) * call.nz);
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
