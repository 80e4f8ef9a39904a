// The arguments of project and photon_survival as plain pointers, checked once for both back ends. A volume is [n * n, nz]:
// for every (y, x) a column along the axis of rotation. A plane of a view is [n, nz] at one depth.
#pragma once

#include "glue.h"
#include "math/projection.h"

namespace sf {

// The columns of a plane that lie in the field: first, and past the last.
struct Span {
  int64_t low, high;
};

// Where the columns of every plane come from: [views, n, n] (view, depth, lateral).
struct Stencils {
  int64_t views, n;
  const int32_t* index;  // first of four neighbours (y, x), (y, x + 1), (y + 1, x), (y + 1, x + 1)
  const float* weight;   // of the four
  const int32_t* span;   // [views, n, 2]

  SF_HD int64_t at(int64_t view, int64_t depth, int64_t lateral) const { return (view * n + depth) * n + lateral; }
};

SF_HD Span span_of(const int32_t* spans, int64_t n, int64_t view, int64_t depth) {
  const int32_t* s = spans + 2 * (view * n + depth);
  return {s[0], s[1]};
}

// A column of a plane from its four neighbours in the volume.
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

// Half of a symmetric kernel for every depth, the middle first; null where nothing blurs.
struct Taps {
  const float* taps;  // [views or 1, n, reach + 1]
  int64_t reach, view_stride;

  SF_HD const float* of(int64_t view, int64_t depth) const { return taps + view * view_stride + depth * (reach + 1); }
};

// Probabilities [batch or 1, views, n, n, nz]; null where nothing attenuates.
struct Survival {
  const float* values;
  int64_t batch_stride;
};

struct ProjectCall {
  int64_t batch, nz;
  Stencils stencils;
  Taps taps;
  Survival survival;
  const float* activity;  // [batch, n, n, nz]
  float* views;           // [batch, views, n, nz]

  SF_HD int64_t n() const { return stencils.n; }
  SF_HD int64_t items() const { return batch * stencils.views; }
};

struct SurvivalCall {
  int64_t batch, nz;
  Stencils stencils;
  const float* mu;  // [batch, n, n, nz]
  float step;       // side of a voxel, in the unit of 1 / mu
  float* out;       // [batch, views, n, n, nz]
};

inline void check_side(const char* op, int64_t n) {
  STD_TORCH_CHECK(2 <= n && n <= kMaxSide, op, ": n must be 2 to ", kMaxSide, ", found ", n, ".");
}

inline Stencils unpack_stencils(const char* op, const Tensor& index, const Tensor& weight, const Tensor& span) {
  STD_TORCH_CHECK(index.dim() == 3 && index.size(1) == index.size(2), op, ": index must be [V, n, n].");
  const int64_t views = index.size(0), n = index.size(1);
  check_side(op, n);
  return {views, n, read_from<int32_t>(index, index.numel(), op, "index"),
          read_from<float>(weight, 4 * index.numel(), op, "weight"), read_from<int32_t>(span, 2 * views * n, op, "span")};
}

inline Taps unpack_taps(const char* op, const MaybeTensor& taps, int64_t views, int64_t n) {
  if (!taps) return {nullptr, 0, 0};
  STD_TORCH_CHECK(taps->dim() == 3 && (taps->size(0) == 1 || taps->size(0) == views) && taps->size(1) == n &&
                      1 <= taps->size(2) && taps->size(2) <= n, op, ": taps must be [V or 1, n, reach + 1].");
  const int64_t width = taps->size(2);
  return {read_from<float>(*taps, taps->numel(), op, "taps"), width - 1, taps->size(0) == 1 ? 0 : n * width};
}

inline Survival unpack_survival(const char* op, const MaybeTensor& survival, int64_t batch, int64_t views, int64_t n,
                                int64_t nz) {
  if (!survival) return {nullptr, 0};
  const int64_t one = views * n * n * nz;
  STD_TORCH_CHECK(survival->dim() == 5 && (survival->size(0) == 1 || survival->size(0) == batch), op,
                  ": survival must be [B or 1, V, n, n, nz].");
  return {read_from<float>(*survival, survival->size(0) * one, op, "survival"), survival->size(0) == 1 ? 0 : one};
}

// Slices of a volume [batch, n, n, nz].
inline int64_t slices_of(const char* op, const Tensor& volume, int64_t n, const char* name) {
  STD_TORCH_CHECK(volume.dim() == 4 && volume.size(1) == n && volume.size(2) == n, op, ": ", name,
                  " must be [B, n, n, nz].");
  return volume.size(3);
}

inline Tensor empty_views(const Tensor& activity, const Tensor& index) {
  return torch::stable::new_empty(activity, {activity.size(0), index.size(0), index.size(1), activity.size(3)});
}

inline ProjectCall unpack_project(const Tensor& activity, const Tensor& index, const Tensor& weight, const Tensor& span,
                                  const MaybeTensor& survival, const MaybeTensor& taps, const Tensor& views) {
  const char* op = "project";
  ProjectCall call{};
  call.stencils = unpack_stencils(op, index, weight, span);
  call.batch = activity.size(0);
  call.nz = slices_of(op, activity, call.n(), "activity");
  call.taps = unpack_taps(op, taps, call.stencils.views, call.n());
  call.survival = unpack_survival(op, survival, call.batch, call.stencils.views, call.n(), call.nz);
  call.activity = read_from<float>(activity, activity.numel(), op, "activity");
  call.views = views.mutable_data_ptr<float>();
  return call;
}

inline Tensor empty_survival(const Tensor& mu, const Tensor& index) {
  const int64_t n = index.size(1);
  return torch::stable::new_empty(mu, {mu.size(0), index.size(0), n, n, mu.size(3)});
}

inline SurvivalCall unpack_photon_survival(const Tensor& mu, const Tensor& index, const Tensor& weight, const Tensor& span,
                                           double step, const Tensor& out) {
  const char* op = "photon_survival";
  SurvivalCall call{};
  call.stencils = unpack_stencils(op, index, weight, span);
  call.batch = mu.size(0);
  call.nz = slices_of(op, mu, call.stencils.n, "mu");
  call.mu = read_from<float>(mu, mu.numel(), op, "mu");
  call.step = float(step);
  call.out = out.mutable_data_ptr<float>();
  return call;
}

}  // namespace sf
