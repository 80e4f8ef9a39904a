// What projecting and back-projecting on the CPU share. A view is worked on in tiles of kTile slices, [n, kTile], whose
// distance from a column to the next is known when compiling. Kernels are symmetric, so along the slices they are applied
// through sums of what lies r before and r behind: those are made once a view for every r, not once a depth.
#pragma once

#include <algorithm>
#include <memory>

#include "project.h"

namespace sf {
namespace {

constexpr int kTogether = 8;     // taps that one pass adds
constexpr int kGroup = 4;        // planes that share the reading of a picture
constexpr int64_t kBeside = 4;   // columns that are blurred across together, so that a load serves all of them
constexpr float kNoBlur = 1.0f;  // the taps of a plane that is not blurred

using Floats = std::unique_ptr<float[]>;
inline Floats zeros(int64_t n) { return Floats(new float[n]()); }

inline int64_t tiles_of(int64_t nz, int64_t tile) { return (nz + tile - 1) / tile; }

// Whether the pictures of all taps stay in a core's own cache with tiles of 64 slices.
inline bool fits_wide(int64_t n, int64_t reach) { return (reach + 1 + kGroup) * n * 64 <= 1 << 16; }

// How far a depth's kernel reaches.
inline int64_t reach_of(const float* taps, int64_t reach) {
  while (reach > 0 && taps[reach] == 0.0f) --reach;
  return reach;
}

// kernel.pass<number of taps, whether it is the first pass>(first tap), for at most kTogether taps at a time, because what
// the compiler knows it unrolls.
template <bool kFirst, int kMost, class Kernel>
SF_HD void pass(const Kernel& kernel, int64_t taps, int64_t first) {
  if (taps == kMost) return kernel.template pass<kMost, kFirst>(first);
  if constexpr (kMost > 0) pass<kFirst, kMost - 1>(kernel, taps, first);
}

template <class Kernel>
SF_HD void by_taps(const Kernel& kernel, int64_t first, int64_t last) {
  pass<true, kTogether>(kernel, std::min<int64_t>(last - first + 1, kTogether), first);
  while ((first += kTogether) <= last)
    pass<false, kTogether>(kernel, std::min<int64_t>(last - first + 1, kTogether), first);
}

// kColumns columns blurred across: kTaps taps from `first` on are added on both sides, and the middle one if kMiddle.
template <int64_t kTile, int kColumns, int kTaps, bool kMiddle>
SF_HD void across_columns(const float* __restrict in, const float* taps, int64_t first, float* __restrict out) {
  const float *left = in - first * kTile, *right = in + first * kTile;
  const float middle = taps[0];
  float g[kTaps + 1];
  for (int k = 0; k < kTaps; ++k) g[k] = taps[first + k];
#pragma GCC ivdep
  for (int64_t z = 0; z < kTile; ++z) {
    float sum[kColumns];
#pragma GCC unroll 4
    for (int c = 0; c < kColumns; ++c) sum[c] = kMiddle ? middle * in[z + c * kTile] : out[z + c * kTile];
#pragma GCC unroll 8
    for (int k = 0; k < kTaps; ++k)
#pragma GCC unroll 4
      for (int c = 0; c < kColumns; ++c)
        sum[c] = fma(g[k], left[z + (c - k) * kTile] + right[z + (c + k) * kTile], sum[c]);
#pragma GCC unroll 4
    for (int c = 0; c < kColumns; ++c) out[z + c * kTile] = sum[c];
  }
}

template <int64_t kTile>
struct Across {
  const float* in;
  int64_t count;
  const float* taps;
  float* out;

  template <int kTaps, bool kFirst>
  SF_HD void pass(int64_t first) const {
    int64_t u = 0;
    for (; u + kBeside <= count; u += kBeside)
      across_columns<kTile, kBeside, kTaps, kFirst>(in + u * kTile, taps, first, out + u * kTile);
    for (; u < count; ++u) across_columns<kTile, 1, kTaps, kFirst>(in + u * kTile, taps, first, out + u * kTile);
  }
};

// in, out: the first of `count` columns; in has `reach` more on both sides.
template <int64_t kTile>
SF_WIDE void blur_across(const float* in, int64_t count, const float* taps, int64_t reach, float* out) {
  by_taps(Across<kTile>{in, count, taps, out}, 1, reach);
}

}  // namespace
}  // namespace sf
