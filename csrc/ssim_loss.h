// The arguments of one ssim_loss call as plain pointers, checked once for both back ends.
#pragma once

#include "slice_metrics.h"

namespace sf {

struct LossCall {
  int64_t planes, height, width;
  const void *x, *y;            // [planes, height, width], float64 or float32
  Pixel type;
  double range;
  void *grad_x, *grad_y;        // like x, or null
  void* loss;                   // one value like x

  SF_HD int64_t map_height() const { return height - 2 * kGaussianRadius; }
  SF_HD int64_t map_width() const { return width - 2 * kGaussianRadius; }
  SF_HD double windows() const { return double(planes) * double(map_height()) * double(map_width()); }
};

struct LossResult {
  Tensor loss, grad_x, grad_y;
};

inline LossResult empty_result(const Tensor& x, bool need_x, bool need_y) {
  const auto like = [&](bool needed) { return needed ? torch::stable::empty_like(x) : torch::stable::new_empty(x, {0}); };
  return {torch::stable::new_empty(x, {}), like(need_x), like(need_y)};
}

inline LossCall unpack_loss(const Tensor& x, const Tensor& y, double range, bool need_x, bool need_y,
                            const LossResult& result) {
  const char* op = "ssim_loss";
  constexpr int kTaps = 2 * kGaussianRadius + 1;
  STD_TORCH_CHECK(x.dim() == 4, op, ": x must be [B, C, H, W].");
  LossCall call{};
  call.planes = x.size(0) * x.size(1);
  call.height = x.size(2);
  call.width = x.size(3);
  STD_TORCH_CHECK(call.height >= kTaps && call.width >= kTaps, op, ": a side is below ", kTaps, ".");
  call.type = pixel_type(x, op);
  STD_TORCH_CHECK(call.type == Pixel::float32 || call.type == Pixel::float64, op, ": x must be float32 or float64.");
  STD_TORCH_CHECK(y.scalar_type() == x.scalar_type(), op, ": y must have the dtype of x.");
  check_dense(x, x.numel(), op, "x");
  check_like(y, x, op, "y");
  STD_TORCH_CHECK(range > 0 && std::isfinite(range), op, ": data_range must be positive and finite.");
  call.x = x.const_data_ptr();
  call.y = y.const_data_ptr();
  call.range = range;
  call.grad_x = need_x ? result.grad_x.mutable_data_ptr() : nullptr;
  call.grad_y = need_y ? result.grad_y.mutable_data_ptr() : nullptr;
  call.loss = result.loss.mutable_data_ptr();
  return call;
}

// The loss from the sum of SSIM over all windows.
SF_HD void write_loss(const LossCall& call, double sum) {
  const double loss = 1.0 - sum / call.windows();
  if (call.type == Pixel::float64) {
    *static_cast<double*>(call.loss) = loss;
  } else {
    *static_cast<float*>(call.loss) = float(loss);
  }
}

}  // namespace sf
