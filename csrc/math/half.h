// float <-> bfloat16 and float16 held in uint16_t, rounded to nearest even, in arithmetic that every compiler vectorises.
#pragma once

#include "math/hd.h"

namespace sf {

// Element types a network may speak.
enum class NetType { float32, bfloat16, float16 };

SF_HD float from_bfloat16(uint16_t h) { return bits_as<float>(uint32_t(h) << 16); }

SF_HD uint16_t to_bfloat16(float value) {
  const uint32_t bits = bits_as<uint32_t>(value);
  const uint32_t rounded = (bits + 0x7fffu + ((bits >> 16) & 1u)) >> 16;
  const bool nan = (bits & 0x7fffffffu) > 0x7f800000u;
  return uint16_t(nan ? 0x7fc0u : rounded);
}

SF_HD float from_float16(uint16_t h) {
  const uint32_t magnitude = uint32_t(h & 0x7fffu) << 13;
  // Scaling by 2^112 moves the exponent from float16's bias to float32's and normalises subnormals on the way.
  const float scaled = bits_as<float>(magnitude) * 0x1p112f;
  const uint32_t special = magnitude | 0x7f800000u;
  const uint32_t bits = magnitude >= (0x7c00u << 13) ? special : bits_as<uint32_t>(scaled);
  return bits_as<float>(bits | uint32_t(h & 0x8000u) << 16);
}

SF_HD uint16_t to_float16(float value) {
  const uint32_t bits = bits_as<uint32_t>(value);
  const uint32_t magnitude = bits & 0x7fffffffu;
  const uint32_t normal = (magnitude - (112u << 23) + 0xfffu + ((magnitude >> 13) & 1u)) >> 13;
  // Below 2^-14 the result is subnormal: adding 0.5 aligns its last bit with float32's and rounds in one go.
  const uint32_t subnormal = bits_as<uint32_t>(bits_as<float>(magnitude) + 0.5f) - bits_as<uint32_t>(0.5f);
  uint32_t result = magnitude < (113u << 23) ? subnormal : normal;
  result = magnitude >= (143u << 23) ? 0x7c00u : result;
  result = magnitude > 0x7f800000u ? 0x7e00u : result;
  return uint16_t(result | (bits >> 16 & 0x8000u));
}

}  // namespace sf
