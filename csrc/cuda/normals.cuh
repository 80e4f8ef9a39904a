// The four normals of one Philox counter, which are those of four consecutive elements. Knows no torch.
#pragma once

#include "cuda/tile.cuh"
#include "math/philox.h"

namespace sf {

__device__ __forceinline__ Quad normals(int64_t seed, uint32_t quad, uint32_t step, uint32_t sample, uint32_t purpose) {
  const uint64_t key = uint64_t(seed);
  const Words w = philox({quad, step, sample, purpose}, uint32_t(key), uint32_t(key >> 32));
  const NormalPair a = normal_pair(w.w0, w.w1), b = normal_pair(w.w2, w.w3);
  return {{a.z1, a.z2, b.z1, b.z2}};
}

}  // namespace sf
