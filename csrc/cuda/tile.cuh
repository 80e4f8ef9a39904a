// Four consecutive elements per thread, 16 bytes at a time where the addresses allow it. Knows no torch.
#pragma once

#include <cstdint>

#include "math/half.h"

namespace sf {

struct Quad {
  float v[4];
};

// kVector promises that p + at is aligned to four elements and that all four exist; otherwise `count` of them do.
template <bool kVector>
__device__ __forceinline__ Quad load(const float* p, int64_t at, int count) {
  Quad q;
  if (kVector) {
    const float4 w = *reinterpret_cast<const float4*>(p + at);
    q = {{w.x, w.y, w.z, w.w}};
  } else {
#pragma unroll
    for (int k = 0; k < 4; ++k) q.v[k] = k < count ? p[at + k] : 0.0f;
  }
  return q;
}

__device__ __forceinline__ float decode(uint16_t h, NetType type) {
  return type == NetType::bfloat16 ? from_bfloat16(h) : from_float16(h);
}

__device__ __forceinline__ uint16_t encode(float v, NetType type) {
  return type == NetType::bfloat16 ? to_bfloat16(v) : to_float16(v);
}

template <bool kVector>
__device__ __forceinline__ Quad load(const void* p, NetType type, int64_t at, int count) {
  if (type == NetType::float32) return load<kVector>(static_cast<const float*>(p), at, count);
  const uint16_t* h = static_cast<const uint16_t*>(p) + at;
  Quad q;
  if (kVector) {
    const uint2 w = *reinterpret_cast<const uint2*>(h);
    q = {{decode(uint16_t(w.x), type), decode(uint16_t(w.x >> 16), type), decode(uint16_t(w.y), type),
          decode(uint16_t(w.y >> 16), type)}};
  } else {
#pragma unroll
    for (int k = 0; k < 4; ++k) q.v[k] = k < count ? decode(h[k], type) : 0.0f;
  }
  return q;
}

// In PTX, because nvcc splits an assignment to a float4 into four stores and its intrinsics add ordering.
template <bool kVector>
__device__ __forceinline__ void store(float* p, int64_t at, int count, const Quad& q) {
  if (kVector) {
    asm volatile("st.global.v4.f32 [%0], {%1, %2, %3, %4};"
                 :: "l"(p + at), "f"(q.v[0]), "f"(q.v[1]), "f"(q.v[2]), "f"(q.v[3]) : "memory");
  } else {
#pragma unroll
    for (int k = 0; k < 4; ++k)
      if (k < count) p[at + k] = q.v[k];
  }
}

template <bool kVector>
__device__ __forceinline__ void store(void* p, NetType type, int64_t at, int count, const Quad& q) {
  if (type == NetType::float32) return store<kVector>(static_cast<float*>(p), at, count, q);
  uint16_t* h = static_cast<uint16_t*>(p) + at;
  if (kVector) {
    asm volatile("st.global.v2.u32 [%0], {%1, %2};"
                 :: "l"(h), "r"(to_pair(q.v[0], q.v[1], type)), "r"(to_pair(q.v[2], q.v[3], type)) : "memory");
  } else {
#pragma unroll
    for (int k = 0; k < 4; ++k)
      if (k < count) h[k] = encode(q.v[k], type);
  }
}

constexpr int quad_bytes(NetType type) { return type == NetType::float32 ? 16 : 8; }

inline bool aligned(const void* p, int bytes) { return reinterpret_cast<uintptr_t>(p) % bytes == 0; }

}  // namespace sf
