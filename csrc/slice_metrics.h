// The arguments of one slice_metrics call as plain pointers, checked once for both back ends.
#pragma once

#include <cmath>

#include "glue.h"
#include "math/moments.h"

namespace sf {

enum class Pixel { float32, float64, bfloat16, float16, uint8, uint16 };

inline Pixel pixel_type(const Tensor& t, const char* op) {
  using torch::headeronly::ScalarType;
  switch (t.scalar_type()) {
    case ScalarType::Float: return Pixel::float32;
    case ScalarType::Double: return Pixel::float64;
    case ScalarType::BFloat16: return Pixel::bfloat16;
    case ScalarType::Half: return Pixel::float16;
    case ScalarType::Byte: return Pixel::uint8;
    case ScalarType::UInt16: return Pixel::uint16;
    default: STD_TORCH_CHECK(false, op, ": x must be float32, float64, bfloat16, float16, uint8 or uint16.");
  }
}

inline int pixel_bytes(Pixel type) {
  switch (type) {
    case Pixel::float64: return 8;
    case Pixel::float32: return 4;
    case Pixel::uint8: return 1;
    default: return 2;
  }
}

struct MetricsCall {
  int64_t samples, channels, height, width;
  int radius;           // of the window, and so of the border that has no window
  const void *x, *y;    // [samples, channels, height, width] of `type`
  Pixel type;
  double range, norm;   // norm: what sample covariance multiplies variances by, or 1
  void* map;            // [samples, channels, height - 2 radius, width - 2 radius], or null; float64 if x is, or float32
  double* scores;       // [samples, 3]

  SF_HD int64_t planes() const { return samples * channels; }
  SF_HD int64_t map_height() const { return height - 2 * radius; }
  SF_HD int64_t map_width() const { return width - 2 * radius; }
};

inline MetricsCall unpack_metrics(const Tensor& x, const Tensor& y, double range, int64_t taps, bool sample_covariance,
                                  const MaybeTensor& map, const Tensor& scores) {
  const char* op = "slice_metrics";
  STD_TORCH_CHECK(x.dim() == 4, op, ": x must be [B, C, H, W].");
  STD_TORCH_CHECK(taps == 2 * kGaussianRadius + 1 || taps == 2 * kUniformRadius + 1, op, ": taps must be 11 or 7.");
  MetricsCall call{};
  call.samples = x.size(0);
  call.channels = x.size(1);
  call.height = x.size(2);
  call.width = x.size(3);
  STD_TORCH_CHECK(call.channels >= 1 && call.height >= taps && call.width >= taps, op, ": a side is below ", taps, ".");
  call.radius = int(taps / 2);
  call.type = pixel_type(x, op);
  STD_TORCH_CHECK(y.scalar_type() == x.scalar_type(), op, ": y must have the dtype of x.");
  check_dense(x, x.numel(), op, "x");
  check_like(y, x, op, "y");
  STD_TORCH_CHECK(range > 0 && std::isfinite(range), op, ": data_range must be positive and finite.");
  call.x = x.const_data_ptr();
  call.y = y.const_data_ptr();
  call.range = range;
  call.norm = sample_covariance ? double(taps * taps) / double(taps * taps - 1) : 1.0;
  const Shape windows = {call.samples, call.channels, call.map_height(), call.map_width()};
  call.map = call.type == Pixel::float64 ? static_cast<void*>(write_shaped<double>(map, windows, x, op, "ssim_map"))
                                         : static_cast<void*>(write_shaped<float>(map, windows, x, op, "ssim_map"));
  check_apart(op, {place_of(x), place_of(y)}, {place_of(map)});
  call.scores = scores.mutable_data_ptr<double>();
  return call;
}

// Uniform weights for the short window, a Gaussian of sigma 1.5 for the long one.
template <class T, int R>
Window<T, R> window() {
  static_assert(R == kGaussianRadius || R == kUniformRadius, "two windows are known");
  double weights[R + 1], sum = 0.0;
  for (int i = 0; i <= R; ++i) {
    weights[i] = R == kGaussianRadius ? std::exp(-i * i / (2 * 1.5 * 1.5)) : 1.0;
    sum += (i ? 2 : 1) * weights[i];
  }
  Window<T, R> w;
  for (int i = 0; i <= R; ++i) w.k[i] = T(weights[i] / sum);
  return w;
}

// SSIM, PSNR and RMSE of a sample from its sums over all windows and all pixels.
SF_HD void write_scores(const MetricsCall& call, int64_t sample, double ssim, double squares) {
  const double mean_square = squares / double(call.channels * call.height * call.width);
  double* scores = call.scores + 3 * sample;
  scores[0] = ssim / double(call.channels * call.map_height() * call.map_width());
  scores[1] = 10.0 * log10(call.range * call.range / mean_square);
  scores[2] = sqrt(mean_square);
}

template <class T>
Scales<T> scales(const MetricsCall& call) {
  return {T(1.0 / call.range), T(call.norm / (call.range * call.range))};
}

}  // namespace sf
