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

// Half of a symmetric kernel for every depth, the middle first; null where nothing blurs.
struct Taps {
  const float* taps;  // [views or 1, n, reach + 1]
  int64_t reach, view_stride;

  SF_HD const float* of(int64_t view, int64_t depth) const { return taps + view * view_stride + depth * (reach + 1); }
};

// A map [batch or 1, n, n, nz], or what it lets through, [batch or 1, views, n, n, nz]; both null where nothing attenuates.
struct Attenuation {
  const float *mu, *survival;
  int64_t batch_stride;  // of either; 0 where the batch shares it
  float step;            // side of a voxel, in the unit of 1 / mu

  SF_HD bool any() const { return mu || survival; }
};

struct ProjectCall {
  int64_t batch, nz;
  Stencils stencils;
  Taps taps;
  Attenuation attenuation;
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

inline void check_one_device(const char* op, const Tensor& like, std::initializer_list<const Tensor*> others) {
  for (const Tensor* t : others)
    if (t) check_device(*t, like, op, "the tables, mu and survival");
}

inline void check_side(const char* op, int64_t n) {
  STD_TORCH_CHECK(2 <= n && n <= kMaxSide, op, ": n must be 2 to ", kMaxSide, ", found ", n, ".");
}

inline Stencils unpack_stencils(const char* op, const Tensor& index, const Tensor& weight, const Tensor& span) {
  STD_TORCH_CHECK(index.dim() == 3 && index.size(1) == index.size(2), op, ": index must be [V, n, n].");
  const int64_t views = index.size(0), n = index.size(1);
  check_side(op, n);
  return {views, n, read_from<int32_t>(index, index.numel(), op, "index"),
          read_shaped<float>(weight, {views, n, n, 4}, index, op, "weight"),
          read_shaped<int32_t>(span, {views, n, 2}, index, op, "span")};
}

inline Taps unpack_taps(const char* op, const MaybeTensor& taps, int64_t views, int64_t n) {
  if (!taps) return {nullptr, 0, 0};
  STD_TORCH_CHECK(taps->dim() == 3 && (taps->size(0) == 1 || taps->size(0) == views) && taps->size(1) == n &&
                      1 <= taps->size(2) && taps->size(2) <= n, op, ": taps must be [V or 1, n, reach + 1].");
  const int64_t width = taps->size(2);
  return {read_from<float>(*taps, taps->numel(), op, "taps"), width - 1, taps->size(0) == 1 ? 0 : n * width};
}

inline Attenuation unpack_attenuation(const char* op, const MaybeTensor& mu, const MaybeTensor& survival, double step,
                                      int64_t batch, const Stencils& stencils, int64_t nz) {
  STD_TORCH_CHECK(!mu || !survival, op, ": mu and survival exclude each other.");
  if (!mu && !survival) return {nullptr, nullptr, 0, 0.0f};
  const Tensor& given = mu ? *mu : *survival;
  const int64_t one = (mu ? 1 : stencils.views) * stencils.n * stencils.n * nz;
  const int64_t n = stencils.n, members = given.dim() && given.size(0) == 1 ? 1 : batch;
  const bool fits = mu ? has_shape(given, {members, n, n, nz}) : has_shape(given, {members, stencils.views, n, n, nz});
  STD_TORCH_CHECK(fits, op, ": ", mu ? "mu must be [B or 1, n, n, nz]." : "survival must be [B or 1, V, n, n, nz].");
  const float* values = read_from<float>(given, given.size(0) * one, op, mu ? "mu" : "survival");
  return {mu ? values : nullptr, mu ? nullptr : values, given.size(0) == 1 ? 0 : one, float(step)};
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
                                  const MaybeTensor& mu, const MaybeTensor& survival, const MaybeTensor& taps, double step,
                                  const Tensor& views) {
  const char* op = "project";
  ProjectCall call{};
  call.stencils = unpack_stencils(op, index, weight, span);
  call.batch = activity.size(0);
  call.nz = slices_of(op, activity, call.n(), "activity");
  call.taps = unpack_taps(op, taps, call.stencils.views, call.n());
  call.attenuation = unpack_attenuation(op, mu, survival, step, call.batch, call.stencils, call.nz);
  check_one_device(op, activity, {&index, mu ? &*mu : nullptr, survival ? &*survival : nullptr, taps ? &*taps : nullptr});
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
  check_one_device(op, mu, {&index});
  call.mu = read_from<float>(mu, mu.numel(), op, "mu");
  call.step = float(step);
  call.out = out.mutable_data_ptr<float>();
  return call;
}

}  // namespace sf
