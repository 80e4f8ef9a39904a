// What the element-wise operators share: slices cut into blocks, and network types read and written block by block.
#pragma once

#include <algorithm>

#include "cpu/normals.h"
#include "glue.h"
#include "math/half.h"

namespace sf {

constexpr int64_t kBlock = 4 * kCounters;  // elements; whole counters
constexpr int64_t kGrain = 64;  // blocks a thread must have before another one is woken

// Calls body(slice, first element, elements) for every block of every slice, on torch's threads.
template <class Body>
void for_blocks(int64_t slices, int64_t elements, const Body& body) {
  const int64_t per_slice = (elements + kBlock - 1) / kBlock;
  torch::stable::parallel_for(0, slices * per_slice, kGrain, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) {
      const int64_t first = i % per_slice * kBlock;
      body(i / per_slice, first, std::min(kBlock, elements - first));
    }
  });
}

// The normals of n elements of a slice from `first` on, a multiple of four; out has room for whole counters.
inline void draw_normals(float* out, int64_t seed, int64_t first, int64_t n, uint32_t step, uint32_t sample,
                         uint32_t purpose) {
  const uint64_t key = uint64_t(seed);
  fill_normals(out, (n + 3) / 4, uint32_t(first / 4), {step, sample, purpose, uint32_t(key), uint32_t(key >> 32)});
}

SF_WIDE inline void widen_bfloat16(const uint16_t* in, int64_t n, float* out) {
  for (int64_t i = 0; i < n; ++i) out[i] = from_bfloat16(in[i]);
}

SF_WIDE inline void widen_float16(const uint16_t* in, int64_t n, float* out) {
  for (int64_t i = 0; i < n; ++i) out[i] = from_float16(in[i]);
}

SF_WIDE inline void narrow_bfloat16(const float* in, int64_t n, uint16_t* out) {
  for (int64_t i = 0; i < n; ++i) out[i] = to_bfloat16(in[i]);
}

SF_WIDE inline void narrow_float16(const float* in, int64_t n, uint16_t* out) {
  for (int64_t i = 0; i < n; ++i) out[i] = to_float16(in[i]);
}

// The n floats at p + at, in place or widened into the buffer.
inline const float* as_float(const void* p, NetType type, int64_t at, int64_t n, float* buffer) {
  if (type == NetType::float32) return static_cast<const float*>(p) + at;
  const uint16_t* half = static_cast<const uint16_t*>(p) + at;
  type == NetType::bfloat16 ? widen_bfloat16(half, n, buffer) : widen_float16(half, n, buffer);
  return buffer;
}

// Where to compute n floats that belong at p + at: there, or in the buffer, from which `deliver` narrows them.
inline float* float_room(void* p, NetType type, int64_t at, float* buffer) {
  return type == NetType::float32 ? static_cast<float*>(p) + at : buffer;
}

inline void deliver(const float* values, int64_t n, void* p, NetType type, int64_t at) {
  if (type == NetType::float32) {
    float* out = static_cast<float*>(p) + at;
    if (out != values) std::copy_n(values, n, out);
    return;
  }
  uint16_t* out = static_cast<uint16_t*>(p) + at;
  type == NetType::bfloat16 ? narrow_bfloat16(values, n, out) : narrow_float16(values, n, out);
}

}  // namespace sf
