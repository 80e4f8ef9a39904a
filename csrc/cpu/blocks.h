// What the element-wise operators share: slices cut into blocks, and network types read and written block by block.
#pragma once

#include <algorithm>
#include <cstddef>

#include "cpu/normals.h"
#include "glue.h"
#include "math/half.h"

namespace sf {

// Elements. So few that the processor already fetches the next block while it makes this one's noise.
constexpr int64_t kBlock = 4 * kCounters;
constexpr int64_t kGrain = 64;  // blocks a thread must have before another one is woken

// Cuts slices into blocks, on torch's threads: start(slice) gives what the blocks of a slice have in common, and
// body(that, slice, first element, elements) handles one.
template <class Start, class Body>
void for_blocks(int64_t slices, int64_t elements, const Start& start, const Body& body) {
  const int64_t per_slice = (elements + kBlock - 1) / kBlock;
  torch::stable::parallel_for(0, slices * per_slice, kGrain, [&](int64_t begin, int64_t end) {
    while (begin < end) {
      const int64_t slice = begin / per_slice, within = begin % per_slice;
      const int64_t stop = std::min(per_slice, within + end - begin);
      const auto common = start(slice);
      for (int64_t block = within; block < stop; ++block)
        body(common, slice, block * kBlock, std::min(kBlock, elements - block * kBlock));
      begin += stop - within;
    }
  });
}

// The same where the blocks of a slice have nothing in common: body(slice, first element, elements).
template <class Body>
void for_blocks(int64_t slices, int64_t elements, const Body& body) {
  for_blocks(
      slices, elements, [](int64_t) { return nullptr; },
      [&](std::nullptr_t, int64_t slice, int64_t first, int64_t n) { body(slice, first, n); });
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
