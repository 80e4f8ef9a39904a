// The arguments of backproject and attenuation_gradient as plain pointers, checked once for both back ends.
#pragma once

#include "project.h"

namespace sf {

struct BackprojectCall {
  int64_t batch, nz;
  Stencils stencils;
  const float* turn;   // [views, 2], see math/projection.h
  Taps taps;
  Attenuation attenuation;
  const float* views;  // [batch, views, n, nz]
  float* out;          // [batch, n, n, nz]

  SF_HD int64_t n() const { return stencils.n; }
  SF_HD int64_t volume() const { return n() * n() * nz; }
};

// Its gradient in mu needs what is projected, too.
struct GradientCall {
  BackprojectCall back;
  const float* activity;  // [batch, n, n, nz]
};

inline Tensor empty_volume(const Tensor& views) {
  STD_TORCH_CHECK(views.dim() == 4, "backproject: views must be [B, V, n, nz].");
  return torch::stable::new_empty(views, {views.size(0), views.size(2), views.size(2), views.size(3)});
}

inline BackprojectCall unpack_backproject(const char* op, const Tensor& views, const Tensor& index, const Tensor& weight,
                                          const Tensor& span, const Tensor& turn, const MaybeTensor& mu,
                                          const MaybeTensor& survival, const MaybeTensor& taps, double step,
                                          const Tensor& out) {
  BackprojectCall call{};
  call.stencils = unpack_stencils(op, index, weight, span);
  const int64_t count = call.stencils.views, n = call.n();
  STD_TORCH_CHECK(views.dim() == 4 && views.size(1) == count && views.size(2) == n, op, ": views must be [B, V, n, nz].");
  call.batch = views.size(0);
  call.nz = views.size(3);
  check_one_device(op, views, {&index, mu ? &*mu : nullptr, survival ? &*survival : nullptr, taps ? &*taps : nullptr});
  call.turn = read_shaped<float>(turn, {count, 2}, views, op, "turn");
  call.taps = unpack_taps(op, taps, count, n);
  call.attenuation = unpack_attenuation(op, mu, survival, step, call.batch, call.stencils, call.nz);
  call.views = read_from<float>(views, views.numel(), op, "views");
  call.out = out.mutable_data_ptr<float>();
  return call;
}

inline GradientCall unpack_gradient(const Tensor& activity, const Tensor& views, const Tensor& index, const Tensor& weight,
                                    const Tensor& span, const Tensor& turn, const MaybeTensor& mu,
                                    const MaybeTensor& survival, const MaybeTensor& taps, double step, const Tensor& out) {
  const char* op = "attenuation_gradient";
  GradientCall call{};
  call.back = unpack_backproject(op, views, index, weight, span, turn, mu, survival, taps, step, out);
  STD_TORCH_CHECK(mu || survival, op, ": mu or survival must be given.");
  STD_TORCH_CHECK(slices_of(op, activity, call.back.n(), "activity") == call.back.nz, op,
                  ": activity must have the slices of views.");
  check_device(activity, views, op, "activity");
  STD_TORCH_CHECK(activity.size(0) == views.size(0), op, ": activity must have the batch of views.");
  call.activity = read_from<float>(activity, call.back.batch * call.back.volume(), op, "activity");
  return call;
}

}  // namespace sf
