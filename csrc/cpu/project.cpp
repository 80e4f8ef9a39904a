// project and photon_survival on the CPU. A task is a tile of slices of one view: plane after plane is rotated, attenuated
// and blurred across, and added to one picture per tap; how these are blurred along the slices ends the view.
#include "project.h"

#include "cpu/columns.h"

namespace sf {
namespace {

constexpr int64_t kGroup = 4;  // planes that are added together, so that the pictures are read and written half as often

struct ProjectCall {
  int64_t batch, nz;
  Stencils stencils;
  Taps taps;
  Survival survival;
  const float* activity;  // [batch, n, n, nz]
  float* views;           // [batch, views, n, nz]

  int64_t n() const { return stencils.n; }
  int64_t tiles() const { return up_to(kTile, nz) / kTile; }
  int64_t picture() const { return n() * tiles() * kTile; }  // floats of one, tile by tile
  int64_t pictures() const { return (taps.reach + 1) * picture(); }
};

// A rotated column from its four neighbours in the volume.
struct Stencil {
  const float *a, *b, *c, *d;
  float wa, wb, wc, wd;

  SF_HD Stencil(const Stencils& s, const float* volume, int64_t nz, int64_t at) {
    a = volume + s.index[at] * nz;
    b = a + nz;
    c = a + s.n * nz;
    d = c + nz;
    const float* w = s.weight + 4 * at;
    wa = w[0], wb = w[1], wc = w[2], wd = w[3];
  }
  SF_HD float operator()(int64_t z) const { return fma(wa, a[z], fma(wb, b[z], fma(wc, c[z], wd * d[z]))); }
};

// kWidth slices, or `width` where it is 0.
template <int64_t kWidth>
SF_HD void rotate_columns(const Stencils& stencils, const float* volume, const float* survival, int64_t nz, int64_t at,
                          int64_t count, int64_t width, float* out) {
  const int64_t n = kWidth ? kWidth : width;
  for (int64_t u = 0; u < count; ++u, out += kTile) {
    const Stencil x(stencils, volume, nz, at + u);
    const float* s = survival + u * nz;
    if (survival) {
    for (int64_t z = 0; z < n; z += 16) __builtin_prefetch(s + 1024 + z);

#pragma GCC ivdep
      for (int64_t z = 0; z < n; ++z) out[z] = s[z] * x(z);
    } else {
#pragma GCC ivdep
      for (int64_t z = 0; z < n; ++z) out[z] = x(z);
    }
  }
}

// `count` columns of a plane from `at` on, attenuated if survival is not null.
SF_WIDE void rotate(const Stencils& stencils, const float* volume, const float* survival, int64_t nz, int64_t at,
                    int64_t count, int64_t width, float* out) {
  if (width == kTile) return rotate_columns<kTile>(stencils, volume, survival, nz, at, count, width, out);
  rotate_columns<0>(stencils, volume, survival, nz, at, count, width, out);
}

// Adds kGroup planes of n floats to the pictures of all taps, `stride` floats from one plane or picture to the next.
struct Group {
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
#pragma GCC unroll 8
        for (int j = 0; j < kGroup; ++j) sum = fma(g[j][k], x[j * stride + i], sum);
        to[k * stride + i] = sum;
      }
    }
  }
};

SF_WIDE void add_planes(const Group& group, int64_t reach) { by_taps(group, 0, reach); }

// One tile of one view.
class Tile {
 public:
  Tile(const ProjectCall& call, int64_t member, int64_t view, int64_t tile)
      : call_(call), view_(view), nz_(call.nz), width_(std::min(kTile, call.nz - tile * kTile)), reach_(call.taps.reach),
        room_(zeros((call.n() + 2 * reach_) * kTile)), planes_(zeros(kGroup * call.n() * kTile)),
        pictures_(zeros((reach_ + 1) * call.n() * kTile)),
        activity_(call.activity + member * call.n() * call.n() * nz_ + tile * kTile),
        survival_(call.survival.values ? call.survival.values + member * call.survival.batch_stride + tile * kTile : nullptr) {}

  void run() {
    const int64_t plane = call_.n() * kTile;
    Group group{planes_.get(), {}, plane, plane, pictures_.get()};
    for (int64_t depth = 0; depth < call_.n(); depth += kGroup) {
      int64_t reach = 0;
      for (int64_t k = 0; k < kGroup; ++k) {
        group.taps[k] = call_.taps.taps ? call_.taps.of(view_, std::min(depth + k, call_.n() - 1)) : &kNoBlur;
        const int64_t own = reach_of(group.taps[k], reach_);
        reach = std::max(reach, own);
        make(depth + k, group.taps[k], own, planes_.get() + k * plane);
      }
      add_planes(group, reach);
    }
  }

  const float* pictures() const { return pictures_.get(); }

 private:
  float* room(int64_t u) const { return room_.get() + (reach_ + u) * kTile; }

  void make(int64_t depth, const float* taps, int64_t reach, float* plane) const {
    const int64_t n = call_.n();
    const Span span = depth < n ? span_of(call_.stencils.span, n, view_, depth) : Span{0, 0};
    if (span.low == span.high) {
      std::fill_n(plane, n * kTile, 0.0f);
      return;
    }
    const int64_t at = call_.stencils.at(view_, depth, span.low);
    const int64_t low = std::max<int64_t>(0, span.low - reach), high = std::min(n, span.high + reach);
    std::fill(room(low - reach), room(span.low), 0.0f);
    rotate(call_.stencils, activity_, survival_ ? survival_ + at * nz_ : nullptr, nz_, at, span.high - span.low, width_,
           room(span.low));
    std::fill(room(span.high), room(high + reach), 0.0f);
    std::fill(plane, plane + low * kTile, 0.0f);
    blur_across(room(low), high - low, taps, reach, plane + low * kTile);
    std::fill(plane + high * kTile, plane + n * kTile, 0.0f);
  }

  const ProjectCall& call_;
  const int64_t view_, nz_, width_, reach_;
  const Floats room_, planes_, pictures_;
  const float *const activity_, *const survival_;
};

Tensor project(const Tensor& activity, const Tensor& index, const Tensor& weight, const Tensor& span,
               const MaybeTensor& survival, const MaybeTensor& taps) {
  const char* op = "project";
  ProjectCall call{};
  call.stencils = unpack_stencils(op, index, weight, span);
  const int64_t views = call.stencils.views, n = call.n();
  call.nz = slices_of(op, activity, n, "activity");
  call.batch = activity.size(0);
  call.taps = unpack_taps(op, taps, views, n);
  call.survival = unpack_survival(op, survival, call.batch, views, n, call.nz);
  call.activity = read_from<float>(activity, activity.numel(), op, "activity");
  const Tensor out = torch::stable::new_empty(activity, {call.batch, views, n, call.nz});
  call.views = out.mutable_data_ptr<float>();
  const int64_t items = call.batch * views;
  if (items * call.nz == 0) return out;
  const int64_t tiles = call.tiles(), wide = tiles * kTile, margin = up_to(kTile, call.taps.reach), pitch = wide + 2 * margin;
  const Tensor scratch = torch::stable::new_empty(activity, {items * (call.taps.reach + 1) * n * wide});
  float* pictures = scratch.mutable_data_ptr<float>();
  torch::stable::parallel_for(0, items * tiles, 1, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) {
      Tile tile(call, i / tiles / views, i / tiles % views, i % tiles);
      tile.run();
      float* to = pictures + (i / tiles) * (call.taps.reach + 1) * n * wide + i % tiles * kTile;
      for (int64_t r = 0; r < (call.taps.reach + 1) * n; ++r) std::copy_n(tile.pictures() + r * kTile, kTile, to + r * wide);
    }
  });
  torch::stable::parallel_for(0, items, 1, [&](int64_t begin, int64_t end) {
    const Floats column = zeros(pitch), sum = zeros(wide);
    for (int64_t item = begin; item < end; ++item)
      for (int64_t u = 0; u < n; ++u) {
        const float* from = pictures + (item * (call.taps.reach + 1) * n + u) * wide;
        float* to = call.views + (item * n + u) * call.nz;
        std::copy_n(from, call.nz, to);
        for (int64_t r = 1; r <= call.taps.reach; ++r) {
          const float* a = from + r * n * wide;
          for (int64_t z = r; z < call.nz; ++z) to[z] += a[z - r];
          for (int64_t z = 0; z + r < call.nz; ++z) to[z] += a[z + r];
        }
      }
  });
  return out;
}

// From the detector inwards; `passed` is what lies in front of a plane.
SF_WIDE void survive(const Stencils& stencils, const float* volume, float step, int64_t nz, int64_t at, int64_t count,
                     float* passed, float* out) {
  for (int64_t u = 0; u < count; ++u) {
    const Stencil x(stencils, volume, nz, at + u);
    float *__restrict p = passed + u * nz, *__restrict o = out + u * nz;
#pragma GCC ivdep
    for (int64_t z = 0; z < nz; ++z) {
      const float own = step * x(z), before = p[z];
      o[z] = survival_of(fma(0.5f, own, before));
      p[z] = before + own;
    }
  }
}

constexpr int64_t kStrip = 8;

Tensor photon_survival(const Tensor& mu, const Tensor& index, const Tensor& weight, const Tensor& span, double step) {
  const char* op = "photon_survival";
  const Stencils stencils = unpack_stencils(op, index, weight, span);
  const int64_t n = stencils.n, views = stencils.views, nz = slices_of(op, mu, n, "mu"), batch = mu.size(0);
  const float* volumes = read_from<float>(mu, mu.numel(), op, "mu");
  const Tensor result = torch::stable::new_empty(mu, {batch, views, n, n, nz});
  if (result.numel() == 0) return result;
  float* out = result.mutable_data_ptr<float>();
  const int64_t strips = up_to(kStrip, n) / kStrip;
  torch::stable::parallel_for(0, batch * views * strips, 1, [&](int64_t begin, int64_t end) {
    const std::unique_ptr<float[]> passed(new float[kStrip * nz]);
    for (int64_t i = begin; i < end; ++i) {
      const int64_t member = i / strips / views, view = i / strips % views, u = i % strips * kStrip;
      const int64_t count = std::min(kStrip, n - u);
      std::fill_n(passed.get(), count * nz, 0.0f);
      for (int64_t depth = n - 1; depth >= 0; --depth) {
        const int64_t at = stencils.at(view, depth, u);
        survive(stencils, volumes + member * n * n * nz, float(step), nz, at, count, passed.get(),
                out + (member * views * n * n + at) * nz);
      }
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
