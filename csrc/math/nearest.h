// Nearest code: the squared distance, term by term, and what decides between two codes. The definition stands in
// spectac_fast/ops/vq_nearest.py.
#pragma once

#include "math/hd.h"

namespace sf {

SF_HD float add_square(float total, float z, float e) {
  const float apart = z - e;
  return fma(apart, apart, total);
}

// Distance and code in one number, the least of which is the nearest code and among equals the lowest. Distances are not
// negative, so their bits are in their order.
SF_HD uint64_t nearness(float distance, uint32_t code) { return uint64_t(bits_as<uint32_t>(distance)) << 32 | code; }

SF_HD uint32_t code_of(uint64_t nearness) { return uint32_t(nearness); }

// Whether the distance is finite: otherwise no code is near.
SF_HD bool is_near(uint64_t nearness) { return uint32_t(nearness >> 32) < 0x7f800000u; }

constexpr float kFar = __builtin_inff();

}  // namespace sf
