// What projecting and back-projecting on CUDA share. A thread is a ray (view, lateral, slice) or a place in a plane of one;
// neighbouring threads are neighbouring slices, so that what they read lies side by side.
#pragma once

#include <algorithm>

#include "project.h"

namespace sf {
namespace {

constexpr int kThreads = 128;
constexpr int64_t kPlanes = int64_t(1) << 26;  // floats of planes kept at a time, 256 MiB

__device__ __forceinline__ int64_t thread_number() { return int64_t(blockIdx.x) * kThreads + threadIdx.x; }

inline uint32_t blocks_of(int64_t threads) { return uint32_t((threads + kThreads - 1) / kThreads); }

// Views of one member of the batch, a part of them.
struct Part {
  int64_t member, first, count;
};

__device__ __forceinline__ float rotated(const Stencils& s, const float* volume, int64_t nz, int64_t at, int64_t z) {
  const float* first = volume + s.index[at] * nz + z;
  const float4 w = reinterpret_cast<const float4*>(s.weight)[at];
  return fma(w.x, first[0], fma(w.y, first[nz], fma(w.z, first[s.n * nz], w.w * first[(s.n + 1) * nz])));
}

// Survivals along a ray, asked for from the detector's side to the other.
struct Ray {
  const Attenuation& attenuation;
  const Stencils& stencils;
  int64_t member, nz;
  float passed = 0.0f;

  __device__ float survival(int64_t at, int64_t z) {
    if (attenuation.survival) return attenuation.survival[member * attenuation.batch_stride + at * nz + z];
    if (!attenuation.mu) return 1.0f;
    const float own =
        attenuation.step * rotated(stencils, attenuation.mu + member * attenuation.batch_stride, nz, at, z);
    const float path = fma(0.5f, own, passed);
    passed += own;
    return survival_of(path);
  }
};

// Of the columns of a plane, the sum of a symmetric kernel times what lies across, `step` apart.
__device__ __forceinline__ float across(const float* taps, int64_t reach, const float* middle, int64_t step, int64_t place,
                                        int64_t end) {
  const int last = int(reach), before = int(min(place, reach)), behind = int(min(end - 1 - place, reach));
  float sum = taps[0] * middle[0];
  for (int r = 1; r <= last; ++r) {
    const float near = r <= before ? middle[-r * step] : 0.0f, far = r <= behind ? middle[r * step] : 0.0f;
    sum = fma(taps[r], near + far, sum);
  }
  return sum;
}

// do_part(part) for so many views at a time that their planes fit.
template <class DoPart>
void by_parts(int64_t batch, int64_t views, int64_t volume, const DoPart& do_part) {
  const int64_t together = std::clamp<int64_t>(kPlanes / std::max<int64_t>(volume, 1), 1, std::max<int64_t>(views, 1));
  for (int64_t member = 0; member < batch; ++member)
    for (int64_t first = 0; first < views; first += together)
      do_part(Part{member, first, std::min(together, views - first)});
}

}  // namespace
}  // namespace sf
