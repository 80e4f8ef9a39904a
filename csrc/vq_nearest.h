// The arguments of one vq_nearest call as plain pointers, checked once for both back ends.
#pragma once

#include "glue.h"
#include "math/nearest.h"

namespace sf {

struct NearestCall {
  int64_t samples, dim, positions, codes;
  bool channels_last;  // z and code are [samples, positions, dim] instead of [samples, dim, positions]
  const void* z;
  NetType z_type;
  const void* codebook;  // [codes, dim]
  void* code;            // as codebook in type, as z in shape
  NetType code_type;
  int64_t* index;  // [samples, positions]

  SF_HD int64_t tokens() const { return samples * positions; }

  // Of element k of a token in z and code.
  SF_HD int64_t place(int64_t token, int64_t k) const {
    return channels_last ? token * dim + k : (token / positions * dim + k) * positions + token % positions;
  }
};

SF_HD void copy_element(NetType type, const void* from, int64_t i, void* to, int64_t j) {
  if (type == NetType::float32) {
    static_cast<float*>(to)[j] = static_cast<const float*>(from)[i];
  } else {
    static_cast<uint16_t*>(to)[j] = static_cast<const uint16_t*>(from)[i];
  }
}

SF_HD void store_nan(NetType type, void* to, int64_t j) {
  if (type == NetType::float32) {
    static_cast<uint32_t*>(to)[j] = 0x7fc00000u;
  } else {
    static_cast<uint16_t*>(to)[j] = type == NetType::bfloat16 ? 0x7fc0u : 0x7e00u;
  }
}

inline NearestCall unpack_nearest(const Tensor& z, const Tensor& codebook, const Tensor& index, const Tensor& code) {
  const char* op = "vq_nearest";
  STD_TORCH_CHECK(z.dim() >= 2 && codebook.dim() == 2 && codebook.size(1) == z.size(1), op,
                  ": z must be [B, D, ...] and codebook [N, D].");
  NearestCall call{};
  call.samples = z.size(0);
  call.dim = z.size(1);
  call.positions = 1;
  for (int64_t i = 2; i < z.dim(); ++i) call.positions *= z.size(i);
  call.codes = codebook.size(0);
  STD_TORCH_CHECK(call.codes >= 1 && call.codes <= 2147483647, op, ": codebook must have 1 to 2^31 - 1 codes.");
  const bool contiguous = z.is_contiguous() && code.is_contiguous();
  call.channels_last = !contiguous;
  STD_TORCH_CHECK(contiguous || (is_channels_last(z) && is_channels_last(code)), op,
                  ": z and code must both be contiguous or both channels_last.");
  STD_TORCH_CHECK(code.sizes() == z.sizes() && code.scalar_type() == codebook.scalar_type(), op,
                  ": code must have the shape of z and the dtype of codebook.");
  check_dense(codebook, call.codes * call.dim, op, "codebook");
  call.z = z.const_data_ptr();
  call.z_type = net_type(z, op, "z");
  call.codebook = codebook.const_data_ptr();
  call.code_type = net_type(codebook, op, "codebook");
  call.code = code.mutable_data_ptr();
  call.index = write_to<int64_t>(index, call.tokens(), op, "index");
  bool fits = index.dim() == z.dim() - 1 && index.size(0) == z.size(0);
  for (int64_t i = 2; fits && i < z.dim(); ++i) fits = index.size(i - 1) == z.size(i);
  STD_TORCH_CHECK(fits, op, ": index must have the shape of z without its channels.");
  for (const Tensor* t : {&codebook, &index, &code}) check_device(*t, z, op, "codebook, index and code");
  check_apart(op, {place_of(z), place_of(codebook)}, {place_of(index), place_of(code)});
  return call;
}

}  // namespace sf
