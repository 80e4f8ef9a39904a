// The arguments of one group_norm_silu call as plain pointers, checked once for both back ends.
#pragma once

#include <string>

#include "glue.h"
#include "math/norm.h"

namespace sf {

// Values per channel, and per sample where stride is not 0; null where they are absent.
struct ChannelValues {
  const void* data;
  NetType type;
  int64_t stride;
};

struct NormCall {
  int64_t samples, channels, spatial, groups;
  bool channels_last;  // [samples, spatial, channels] instead of [samples, channels, spatial]
  const void* x;
  void* out;  // as x: type and layout
  NetType type;
  ChannelValues weight, bias, scale, shift;
  float eps;
  Activation activation;

  SF_HD int64_t width() const { return channels / groups; }
};

SF_HD float half_to_float(const void* p, NetType type, int64_t at) {
  const uint16_t h = static_cast<const uint16_t*>(p)[at];
  return type == NetType::bfloat16 ? from_bfloat16(h) : from_float16(h);
}

SF_HD float value_of(const ChannelValues& v, int64_t sample, int64_t channel, float absent) {
  if (!v.data) return absent;
  const int64_t at = sample * v.stride + channel;
  return v.type == NetType::float32 ? static_cast<const float*>(v.data)[at] : half_to_float(v.data, v.type, at);
}

SF_HD Line line_of(const NormCall& call, int64_t sample, int64_t channel, float centre, float rest, float rstd) {
  return fold(centre, rest, rstd, value_of(call.weight, sample, channel, 1.0f), value_of(call.bias, sample, channel, 0.0f),
              value_of(call.scale, sample, channel, 0.0f), value_of(call.shift, sample, channel, 0.0f));
}

inline ChannelValues channel_values(const MaybeTensor& t, const Tensor& x, bool per_sample, const char* name) {
  const char* op = "group_norm_silu";
  const int64_t channels = x.size(1);
  if (!t) return {nullptr, NetType::float32, 0};
  const bool fits = per_sample ? has_shape(*t, {x.size(0), channels}) : has_shape(*t, {channels});
  STD_TORCH_CHECK(fits, op, ": ", name, " does not fit x.");
  check_device(*t, x, op, name);
  STD_TORCH_CHECK(channels == 1 || t->stride(t->dim() - 1) == 1, op, ": ", name, " must have its channels side by side.");
  return {t->const_data_ptr(), net_type(*t, op, name), per_sample ? t->stride(0) : 0};
}

inline Activation activation_named(const std::string& name) {
  if (name == "none") return Activation::none;
  if (name == "relu") return Activation::relu;
  if (name == "leaky_relu") return Activation::leaky_relu;
  STD_TORCH_CHECK(name == "silu", "group_norm_silu: activation must be none, relu, leaky_relu or silu, found ", name, ".");
  return Activation::silu;
}

inline NormCall unpack_norm(
    const Tensor& x, int64_t groups, const MaybeTensor& weight, const MaybeTensor& bias, const MaybeTensor& scale,
    const MaybeTensor& shift, double eps, const std::string& activation, const Tensor& out) {
  const char* op = "group_norm_silu";
  STD_TORCH_CHECK(x.dim() >= 3, op, ": x must be [B, C, ...].");
  NormCall call{};
  call.samples = x.size(0);
  call.channels = x.size(1);
  call.spatial = 1;
  for (int64_t dim = 2; dim < x.dim(); ++dim) call.spatial *= x.size(dim);
  STD_TORCH_CHECK(groups >= 1 && call.channels % groups == 0, op, ": groups must divide the channels of x.");
  call.groups = groups;
  const bool contiguous = x.is_contiguous() && out.is_contiguous();
  call.channels_last = !contiguous;
  STD_TORCH_CHECK(contiguous || (is_channels_last(x) && is_channels_last(out)), op,
                  ": x and out must both be contiguous or both channels_last.");
  STD_TORCH_CHECK(eps > 0, op, ": eps must be above 0.");
  STD_TORCH_CHECK(call.samples == 0 || x.numel() / call.samples / groups <= 2147483647, op,
                  ": a group must have at most 2^31 - 1 elements.");
  STD_TORCH_CHECK(out.sizes() == x.sizes() && out.scalar_type() == x.scalar_type(), op, ": out must be like x.");
  call.type = net_type(x, op, "x");
  call.x = x.const_data_ptr();
  call.out = out.mutable_data_ptr();
  call.weight = channel_values(weight, x, false, "weight");
  call.bias = channel_values(bias, x, false, "bias");
  call.scale = channel_values(scale, x, true, "scale");
  call.shift = channel_values(shift, x, true, "shift");
  call.eps = float(eps);
  call.activation = activation_named(activation);
  check_device(out, x, op, "out");
  const auto rows = [op](const MaybeTensor& t) { return t ? place_of_slices(*t, op, "scale or shift") : Place{}; };
  check_apart(op, {place_of(x), place_of(weight), place_of(bias), rows(scale), rows(shift)}, {place_of(out)});
  return call;
}

}  // namespace sf
