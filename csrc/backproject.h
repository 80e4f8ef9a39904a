// The arguments of backproject and attenuation_gradient as plain pointers, checked once for both back ends.
#pragma once

#include "project.h"

namespace sf {

// The transposed stencils: what every column of the volume gets.
struct Shares {
  int64_t views, n;
  const int32_t* start;   // [n * n * views + 1] (column, view), places in the two others
  const int32_t* source;  // depth and lateral, see math/projection.h
  const float* share;
  const int32_t* span;    // as of the stencils
};

struct BackprojectCall {
  int64_t batch, nz;
  Shares shares;
  Taps taps;
  Survival survival;
  const float* views;  // [batch, views, n, nz]
  float* out;          // [batch, n, n, nz]

  SF_HD int64_t n() const { return shares.n; }
  SF_HD int64_t volume() const { return shares.n * shares.n * nz; }
  // Every plane of a view is the view itself.
  SF_HD bool plain() const { return !taps.taps && !survival.values; }
};

// Its gradient in mu needs what is projected, too.
struct GradientCall {
  BackprojectCall back;
  Stencils stencils;
  const float* activity;  // [batch, n, n, nz]
  float step;
};

inline Tensor empty_volume(const Tensor& views) {
  STD_TORCH_CHECK(views.dim() == 4, "backproject: views must be [B, V, n, nz].");
  return torch::stable::new_empty(views, {views.size(0), views.size(2), views.size(2), views.size(3)});
}

inline BackprojectCall unpack_backproject(const char* op, const Tensor& views, const Tensor& start, const Tensor& source,
                                          const Tensor& share, const Tensor& span, const MaybeTensor& survival,
                                          const MaybeTensor& taps, const Tensor& out) {
  BackprojectCall call{};
  const int64_t count = views.size(1), n = views.size(2);
  check_side(op, n);
  call.batch = views.size(0);
  call.nz = views.size(3);
  call.shares = {count,
                 n,
                 read_from<int32_t>(start, n * n * count + 1, op, "start"),
                 read_from<int32_t>(source, source.numel(), op, "source"),
                 read_from<float>(share, source.numel(), op, "share"),
                 read_from<int32_t>(span, 2 * count * n, op, "span")};
  call.taps = unpack_taps(op, taps, count, n);
  call.survival = unpack_survival(op, survival, call.batch, count, n, call.nz);
  call.views = read_from<float>(views, views.numel(), op, "views");
  call.out = out.mutable_data_ptr<float>();
  return call;
}

inline GradientCall unpack_gradient(const Tensor& activity, const Tensor& views, const Tensor& index, const Tensor& weight,
                                    const Tensor& span, const Tensor& start, const Tensor& source, const Tensor& share,
                                    const Tensor& survival, const MaybeTensor& taps, double step, const Tensor& out) {
  const char* op = "attenuation_gradient";
  GradientCall call{};
  call.stencils = unpack_stencils(op, index, weight, span);
  call.back = unpack_backproject(op, views, start, source, share, span, survival, taps, out);
  STD_TORCH_CHECK(call.stencils.views == call.back.shares.views && call.stencils.n == call.back.n(), op,
                  ": index must be of the views.");
  STD_TORCH_CHECK(slices_of(op, activity, call.stencils.n, "activity") == call.back.nz, op,
                  ": activity must have the slices of views.");
  call.activity = read_from<float>(activity, call.back.batch * call.back.volume(), op, "activity");
  call.step = float(step);
  return call;
}

}  // namespace sf
