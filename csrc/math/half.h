// float <-> bfloat16 and float16 held in uint16_t, rounded to nearest even: on a GPU one instruction, elsewhere arithmetic
// that every compiler vectorises. They differ in which NaN a NaN becomes.
#pragma once

#include "math/hd.h"

namespace sf {

// Element types a network may speak.
enum class NetType { float32, bfloat16, float16 };

SF_HD float from_bfloat16(uint16_t h) { return bits_as<float>(uint32_t(h) << 16); }

SF_HD uint16_t to_bfloat16(float value) {
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 800
  uint16_t result;
  asm("cvt.rn.bf16.f32 %0, %1;" : "=h"(result) : "f"(value));
  return result;
#else
  const uint32_t bits = bits_as<uint32_t>(value);
  const uint32_t rounded = (bits + 0x7fffu + ((bits >> 16) & 1u)) >> 16;
  const bool nan = (bits & 0x7fffffffu) > 0x7f800000u;
  return uint16_t(nan ? 0x7fc0u : rounded);
#endif
}

SF_HD float from_float16(uint16_t h) {
#if defined(__CUDA_ARCH__)
  float result;
  asm("cvt.f32.f16 %0, %1;" : "=f"(result) : "h"(h));
  return result;
#else
  const uint32_t magnitude = uint32_t(h & 0x7fffu) << 13;
  // Scaling by 2^112 moves the exponent from float16's bias to float32's and normalises subnormals on the way.
  const float scaled = bits_as<float>(magnitude) * 0x1p112f;
  const uint32_t special = magnitude | 0x7f800000u;
  const uint32_t bits = magnitude >= (0x7c00u << 13) ? special : bits_as<uint32_t>(scaled);
  return bits_as<float>(bits | uint32_t(h & 0x8000u) << 16);
#endif
}

SF_HD uint16_t to_float16(float value) {
#if defined(__CUDA_ARCH__)
  uint16_t result;
  asm("cvt.rn.f16.f32 %0, %1;" : "=h"(result) : "f"(value));
  return result;
#else
  const uint32_t bits = bits_as<uint32_t>(value);
  const uint32_t magnitude = bits & 0x7fffffffu;
  const uint32_t normal = (magnitude - (112u << 23) + 0xfffu + ((magnitude >> 13) & 1u)) >> 13;
  // Below 2^-14 the result is subnormal: adding 0.5 aligns its last bit with float32's and rounds in one go.
  const uint32_t subnormal = bits_as<uint32_t>(bits_as<float>(magnitude) + 0.5f) - bits_as<uint32_t>(0.5f);
  uint32_t result = magnitude < (113u << 23) ? subnormal : normal;
  result = magnitude >= (143u << 23) ? 0x7c00u : result;
  result = magnitude > 0x7f800000u ? 0x7e00u : result;
  return uint16_t(result | (bits >> 16 & 0x8000u));
#endif
}

// Two of either kind side by side, the first in the lower half.
SF_HD uint32_t to_pair(float low, float high, NetType type) {
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 800
  uint32_t result;
  if (type == NetType::bfloat16) {
    asm("cvt.rn.bf16x2.f32 %0, %1, %2;" : "=r"(result) : "f"(high), "f"(low));
  } else {
    asm("cvt.rn.f16x2.f32 %0, %1, %2;" : "=r"(result) : "f"(high), "f"(low));
  }
  return result;
#else
  const bool brain = type == NetType::bfloat16;
  return uint32_t(brain ? to_bfloat16(low) : to_float16(low)) | uint32_t(brain ? to_bfloat16(high) : to_float16(high)) << 16;
#endif
}

}  // namespace sf
