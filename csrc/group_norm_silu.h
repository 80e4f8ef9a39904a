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

inline ChannelValues channel_values(const MaybeTensor& t, int64_t samples, int64_t channels, const char* name) {
  const char* op = "group_norm_silu";
  if (!t) return {nullptr, NetType::float32, 0};
  const bool per_sample = t->dim() == 2;
  STD_TORCH_CHECK(t->size(t->dim() - 1) == channels && (!per_sample || t->size(0) == samples), op, ": ", name,
                  " does not fit x.");
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
  STD_TORCH_CHECK(out.numel() == x.numel() && out.scalar_type() == x.scalar_type(), op, ": out must be like x.");
  call.type = net_type(x, op, "x");
  call.x = x.const_data_ptr();
  call.out = out.mutable_data_ptr();
  call.weight = channel_values(weight, call.samples, call.channels, "weight");
  call.bias = channel_values(bias, call.samples, call.channels, "bias");
  call.scale = channel_values(scale, call.samples, call.channels, "scale");
  call.shift = channel_values(shift, call.samples, call.channels, "shift");
  call.eps = float(eps);
  call.activation = activation_named(activation);
  return call;
}

}  // namespace sf
