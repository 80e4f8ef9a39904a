// One photon on its way to the detector; the formulas stand in spectac_fast/ops/project.py.
#pragma once

#include <math.h>

#include "math/norm.h"

namespace sf {

constexpr int64_t kMaxSide = 32767;  // of a matrix: two of them share a word

// Probability of leaving a path of this many attenuation lengths. Beyond 87 it is 0 to float32; NaN passes.
SF_HD float survival_of(float path) {
#if defined(__CUDA_ARCH__)
  return expf(-path);
#else
  const float held = path > 87.0f ? 87.0f : path;
  return exp_of(held < -87.0f ? 87.0f : -held);
#endif
}

SF_HD int32_t depth_of(int32_t source) { return source >> 16; }
SF_HD int32_t lateral_of(int32_t source) { return source & 0xffff; }

}  // namespace sf
