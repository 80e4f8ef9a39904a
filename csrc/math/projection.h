// One photon on its way to the detector; the formulas stand in spectac_fast/ops/project.py.
#pragma once

#include <math.h>

#include "math/norm.h"

namespace sf {

constexpr int64_t kMaxSide = 32767;  // of a matrix: a voxel's number is an int32

// Probability of leaving a path of this many attenuation lengths. Beyond 87 it is e^-87; NaN passes.
template <class Real, class Bits>
SF_HD Real survival_by_bits(Real path) {
  const Real held = path > 87.0f ? Real{} + 87.0f : path;
  return exp_by_bits<Real, Bits>(held < -87.0f ? Real{} + 87.0f : -held);
}

SF_HD float survival_of(float path) {
#if defined(__CUDA_ARCH__)
  return expf(-path);
#else
  return survival_by_bits<float, uint32_t>(path);
#endif
}

// Where the voxels of a view begin that may have a share of the volume's voxel (y, x): all of them lie in the kNear x kNear
// from here on, whose middle is that voxel as the view sees it. turn: cosine and sine of the view's angle.
constexpr int64_t kNear = 4;  // a share reaches less than sqrt(2) voxels, and rounding of the place less than a tenth

struct Corner {
  int64_t depth, lateral;
};

SF_HD Corner corner_of(const float* turn, int64_t n, int64_t y, int64_t x) {
  const float middle = 0.5f * float(n) - 0.5f, right = float(x) - middle, down = float(y) - middle;
  const float lateral = right * turn[0] + down * turn[1] + middle, depth = right * turn[1] - down * turn[0] + middle;
  return {int64_t(floorf(depth)) - 1, int64_t(floorf(lateral)) - 1};
}

}  // namespace sf
